"""The real sampler process, watching a real child, against the NVML stub."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.errors import FileFormatError
from tokprof.profiler.sensors.host import HostReader, HostReading
from tokprof.profiler.sensors.nvml import Reading
from tokprof.profiler.sensors.sampler import MAGIC, pack_facts, pack_host, pack_power
from tokprof.profiler.sensors.samples import SampleLog, SamplerProcess, read_samples

Stub = Callable[..., None]


@pytest.fixture
def watched() -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen(["sleep", "600"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture(autouse=True)
def whatever_a_row_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it keep its period; tests of its cost take that back."""
    monkeypatch.setenv("TOKPROF_SAMPLER_SHARE", "1")


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)


def sampled(pid: int, path: Path, seconds: float, **options: float) -> SampleLog:
    with SamplerProcess(pid, path, **options) as sampler:  # type: ignore[arg-type]
        time.sleep(seconds)
        return sampler.stop()


def codes(log: SampleLog) -> set[str]:
    return {note.code for note in log.notes}


@pytest.mark.alone
def test_samples_of_the_device_and_the_host_reach_the_columns(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub(power_mw=400_000, temperature_c=52, reasons=4, compute=f"{watched.pid} 4001", power_cap_share=0.25)
    before_ns = time.monotonic_ns()
    log = sampled(watched.pid, tmp_path / "samples", 1.5, period_ms=20, counter_period=True)
    after_ns = time.monotonic_ns()
    power, host = log.power, log.host
    assert power is not None
    assert host is not None
    assert power.power_source == "instant"
    for column, value in (("power_mw", 400_000), ("temperature_c", 52), ("event_reasons", 4)):
        assert set(getattr(power, column).tolist()) == {value}
    assert set(power.other_process_count.tolist()) == {1}
    assert before_ns < power.time_ns[0]
    assert power.time_ns[-1] < after_ns
    assert (np.diff(power.time_ns) > 0).all()
    seconds = (power.time_ns[-1] - power.time_ns[0]) / 1e9
    assert (power.energy_mj[-1] - power.energy_mj[0]) / seconds == pytest.approx(400_000, rel=0.05)
    assert (power.power_cap_ns[-1] - power.power_cap_ns[0]) / 1e9 == pytest.approx(seconds / 4, rel=0.02)
    assert log.counter_period_ns == pytest.approx(20e6, rel=0.1)
    assert log.alignment is not None
    assert log.alignment.offset_ns == 0
    assert log.alignment.error_ns > 0
    assert 5 <= len(host) <= 12
    assert (np.diff(host.busy_ns) >= 0).all()
    assert (host.process_cpu_ns < 1e9).all()  # it sleeps
    assert log.facts["end"] == "stopped"
    assert codes(log) == set()


def test_the_energy_counter_is_watched_only_for_who_wants_its_period(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub(counter_period_ms=10)
    assert sampled(watched.pid, tmp_path / "plain", 0.1).counter_period_ns is None
    assert sampled(watched.pid, tmp_path / "watched", 0.1, counter_period=True).counter_period_ns is not None


@pytest.mark.alone
def test_a_power_wave_is_followed(nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    # Were half a wave a multiple of the period, all readings could meet its steps.
    nvml_stub(power_mw=100_000, high_power_mw=500_000, wave_ms=340)
    power = sampled(watched.pid, tmp_path / "samples", 1.6, period_ms=20).power
    assert power is not None
    expected = np.where(power.time_ns / 1e6 % 340 < 170, 100_000, 500_000)
    edge = np.abs(power.time_ns / 1e6 % 170 - 85) > 80  # a reading beside a step may be either
    assert (power.power_mw[~edge] == expected[~edge]).all()
    assert set(power.power_mw[~edge].tolist()) == {100_000, 500_000}


def test_what_the_driver_does_not_give_is_an_absent_column_and_a_note(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub(**{"error.nvmlDeviceGetTotalEnergyConsumption": 3, "field_error.74": 3})
    log = sampled(watched.pid, tmp_path / "samples", 0.3, counter_period=True)
    assert log.power is not None
    assert log.power.energy_mj is None
    assert log.power.power_cap_ns is None
    assert log.power.power_mw is not None
    assert log.counter_period_ns is None
    (note,) = log.notes
    assert note.code == "nvml-partly-absent"
    assert "the energy counter (Not Supported)" in note.message
    assert "time under the power cap (field 74 does not answer)" in note.message


@pytest.mark.alone
def test_samples_that_fail_in_the_middle_are_left_out_aloud(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub()
    with SamplerProcess(watched.pid, tmp_path / "samples", period_ms=20) as sampler:
        time.sleep(1.0)
        nvml_stub(**{"error.nvmlDeviceGetClockInfo": 15})  # the device is lost
        time.sleep(0.6)  # longer than a busy machine keeps the sampler waiting
        nvml_stub()
        time.sleep(0.5)
        log = sampler.stop()
    assert log.power is not None
    assert (log.power.sm_clock_mhz == 1410).all()
    assert np.diff(log.power.time_ns).max() > 150e6
    assert codes(log) == {"nvml-rows-incomplete"}


@pytest.mark.alone
@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_the_host_is_sampled_and_a_note_says_why(
    watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    log = sampled(watched.pid, tmp_path / "samples", 0.5, host_period_ms=50)
    if log.power is not None:
        pytest.skip("this machine has a real NVIDIA driver")
    assert log.host is not None
    assert len(log.host) >= 3
    assert codes(log) == {"nvml-absent"}
    assert log.alignment is None


def test_a_wrong_device_leaves_host_samples(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub()
    with SamplerProcess(watched.pid, tmp_path / "samples", device_uuid="GPU-none") as sampler:
        log = sampler.stop()
    assert log.power is None
    assert log.host is not None
    (note,) = log.notes
    assert "GPU-none" in note.message


# ---------------------------------------------------------------------------------------------------------- life time


def start_alone(pid: int, path: Path, *words: str) -> "subprocess.Popen[bytes]":
    """Start the sampler as the supervisor does, and wait until it samples."""
    command = [sys.executable, "-m", "tokprof.profiler.sensors.sampler", "--pid", str(pid), "--out", str(path), *words]
    process = subprocess.Popen([*command, "--no-nvml"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_it_ends_when_the_measured_process_ends_even_as_a_zombie(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "600"])
    sampler = start_alone(child.pid, tmp_path / "samples")
    child.kill()  # and not waited for
    assert sampler.wait(timeout=30) == 0
    child.wait()
    assert read_samples(tmp_path / "samples").facts["end"] == "the measured process ended"


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_it_ends_when_told(watched: "subprocess.Popen[bytes]", tmp_path: Path, how: str) -> None:
    sampler = start_alone(watched.pid, tmp_path / "samples")
    time.sleep(0.3)
    assert sampler.stdin is not None
    sampler.stdin.close() if how == "close" else sampler.terminate()
    assert sampler.wait(timeout=30) == 0
    log = read_samples(tmp_path / "samples")
    assert log.facts["end"] == "stopped"
    assert log.own_cpu_share is not None


def test_what_ended_right_before_the_stop_is_covered(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub()
    with SamplerProcess(watched.pid, tmp_path / "samples", period_ms=5_000) as sampler:
        time.sleep(0.2)
        end_ns = time.monotonic_ns()
        log = sampler.stop()
    assert log.power is not None
    assert log.host is not None
    assert log.power.time_ns[-1] >= end_ns
    assert log.host.time_ns[-1] >= end_ns


def test_ctrl_c_is_left_to_the_parent(watched: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    sampler = start_alone(watched.pid, tmp_path / "samples")
    sampler.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert sampler.poll() is None
    sampler.terminate()
    sampler.wait()


@pytest.mark.alone
def test_a_killed_sampler_leaves_every_row_written(watched: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    path = tmp_path / "samples"
    sampler = start_alone(watched.pid, path, "--host-period-ms", "20")
    time.sleep(0.5)
    killed_ns = time.monotonic_ns()
    sampler.kill()
    sampler.wait()
    log = read_samples(path)
    assert log.host is not None
    assert log.host.time_ns[-1] > killed_ns - 400_000_000
    assert log.own_cpu_share is None


def test_a_full_disk_is_a_note_and_no_crash(watched: "subprocess.Popen[bytes]") -> None:
    with SamplerProcess(watched.pid, Path("/dev/full"), use_nvml=False) as sampler:
        log = sampler.stop()
    assert log.power is None
    assert log.host is None
    (note,) = log.notes
    assert note.code == "sampler-failed"
    assert "No space left" in note.message


def test_rows_can_be_read_while_they_are_written(watched: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    with SamplerProcess(watched.pid, tmp_path / "samples", use_nvml=False, host_period_ms=20) as sampler:
        begun_ns, latest_ns = time.monotonic_ns(), 0
        while latest_ns < begun_ns and time.monotonic_ns() < begun_ns + 20 * 10**9:
            time.sleep(0.02)
            host = read_samples(sampler.path).host
            latest_ns = 0 if host is None or not len(host) else int(host.time_ns[-1])
    assert latest_ns >= begun_ns


# --------------------------------------------------------------------------------------------------------------- cost


def test_a_share_that_is_none_is_a_note(
    watched: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKPROF_SAMPLER_SHARE", "much")
    log = sampled(watched.pid, tmp_path / "samples", 0.3, use_nvml=False)
    (note,) = (note for note in log.notes if note.code == "sampler-failed")
    assert "TOKPROF_SAMPLER_SHARE is 'much', and wants a share of a core" in note.message


@pytest.fixture
def default_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sampler have its own budget, where that is enough for a row in five seconds."""
    monkeypatch.delenv("TOKPROF_SAMPLER_SHARE")
    host = HostReader(os.getpid())
    costs_ms = []
    for _ in range(4):
        time.sleep(0.3)
        begun_ns = time.process_time_ns()
        host.read()
        costs_ms.append((time.process_time_ns() - begun_ns) / 1e6)
    if np.median(costs_ms) > 1:  # where everything is warm it is a fortieth of that
        pytest.skip(f"to read after a rest costs {np.median(costs_ms):.1f} ms of CPU here: idle memory is taken away")


BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.usefixtures("default_share")
def test_the_sampler_uses_less_than_a_hundredth_of_a_core(nvml_stub: Stub, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        nvml_stub(compute=child.pid)
        log = sampled(child.pid, tmp_path / "samples", 8.0)
    finally:
        child.kill()
        child.wait()
    assert log.own_cpu_share is not None
    assert 0 < log.own_cpu_share < 0.01
    assert log.power is not None
    assert len(log.power) > 3  # where a row costs much, few of them


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.usefixtures("default_share")
def test_a_slow_driver_stretches_the_period_instead_of_the_cost(
    nvml_stub: Stub, watched: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    nvml_stub(**{"spin_us.nvmlDeviceGetClockInfo": 2000})  # twice per reading: 8 % of a core at 50 ms
    log = sampled(watched.pid, tmp_path / "samples", 12.0)
    assert log.own_cpu_share is not None
    assert log.own_cpu_share < 0.01
    assert "sampling-stretched" in codes(log)
    assert log.power is not None
    assert len(log.power) > 3


def test_the_hot_process_loads_nothing_heavy() -> None:
    code = (
        "import sys, tokprof.profiler.sensors.sampler\n"
        "print(sorted({'numpy', 'torch', 'msgspec', 'rich', 'typer', 'asyncio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --------------------------------------------------------------------------------------------------------- the file

POWER = Reading(
    time_ns=10**15 + 7,
    read_ns=123_456,
    power_mw=701_234,
    energy_mj=2**45 + 3,
    sm_clock_mhz=1980,
    memory_clock_mhz=2619,
    temperature_c=-5,
    event_reasons=2**63 + 4,
    power_cap_ns=2**60,
    thermal_ns=17,
    other_process_count=2,
)
HOST = HostReading(
    time_ns=10**15 + 9,
    load_1min=1.25,
    busy_ns=2**50,
    steal_ns=3,
    process_cpu_ns=4,
    involuntary_switch_count=5,
    run_delay_ns=6,
)


def test_rows_survive_the_file_exactly(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    path.write_bytes(MAGIC + pack_facts({"power_source": "average"}) + pack_power(POWER) + pack_host(HOST))
    log = read_samples(path)
    assert log.power is not None
    assert log.host is not None
    assert log.power.power_source == "average"
    for name in Reading.__slots__:
        if name != "read_ns":
            assert getattr(log.power, name).tolist() == [getattr(POWER, name)]
    for name in HostReading.__slots__:
        assert getattr(log.host, name).tolist() == [getattr(HOST, name)]


def test_a_file_cut_anywhere_keeps_its_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    whole = MAGIC + pack_facts({}) + pack_power(POWER) + pack_host(HOST) + pack_power(POWER)
    last = len(whole) - len(pack_power(POWER))
    for cut in range(last + 1, len(whole)):
        path.write_bytes(whole[:cut])
        log = read_samples(path)
        assert log.power is not None
        assert len(log.power) == 1
        assert log.host is not None
        assert len(log.host) == 1
        assert "samples-cut-off" in codes(log)


def test_an_unknown_count_of_processes_is_no_reason_to_drop_a_row(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    hidden = Reading(time_ns=1, read_ns=1, power_mw=5)
    known = Reading(time_ns=2, read_ns=1, power_mw=6, other_process_count=0)
    path.write_bytes(MAGIC + pack_power(hidden) + pack_power(known))
    power = read_samples(path).power
    assert power is not None
    assert power.power_mw.tolist() == [5, 6]
    assert power.other_process_count.tolist() == [-1, 0]
    path.write_bytes(MAGIC + pack_power(hidden))
    power = read_samples(path).power
    assert power is not None
    assert power.other_process_count is None


@pytest.mark.parametrize("content", [b"", b"PAR1", b"tokprof samples 2\n", pytest.param(os.urandom(100), id="noise")])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="samples: not a file of the sampler"):
        read_samples(path)
