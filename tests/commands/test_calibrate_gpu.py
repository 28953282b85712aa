"""``tokprof calibrate`` on a GPU that is not there: NVML is a stub, and probes are made up."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tokprof.kernels import probes
from tokprof.profiler.analysis.roofline import PROBE_FAILED
from tokprof.profiler.commands import calibrate
from tokprof.profiler.environment import cpu_device, environment
from tokprof.profiler.errors import MeasurementError
from tokprof.profiler.store import load_calibration

pytest.importorskip("torch")

READ_TWICE = """
import json
import pynvml
from tokprof.profiler.commands.calibrate import _driver_clock

calls = []
real = pynvml._nvmlGetFunctionPointer

def spied(name):
    calls.append(name)
    return real(name)

pynvml._nvmlGetFunctionPointer = spied
with _driver_clock("cuda") as clock_hz:
    opened = len(calls)
    read = [clock_hz(), clock_hz()]
    print(json.dumps([read, calls[:opened], calls[opened:]]))
"""


def test_the_driver_is_opened_before_it_is_asked_for_its_clock(nvml_stub):
    nvml_stub(sm_clock_mhz=1755)
    done = subprocess.run([sys.executable, "-c", READ_TWICE], capture_output=True, text=True, check=True)
    read, opening, reading = json.loads(done.stdout)
    assert read == [1755e6, 1755e6]
    assert "nvmlInitWithFlags" in opening
    assert reading.count("nvmlDeviceGetClockInfo") == 4  # the SM's and the memory's, twice
    assert not {"nvmlInitWithFlags", "nvmlShutdown", "nvmlDeviceGetName"} & set(reading)


def test_without_a_driver_there_is_no_clock(nvml_stub):
    nvml_stub(**{"error.nvmlInitWithFlags": 9})
    done = subprocess.run([sys.executable, "-c", READ_TWICE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0] == [None, None]


GPU = replace(cpu_device(), kind="cuda", name="H100", driver="570.1", memory_bytes=80 << 30)


def reading(name, rate, **more):
    return probes.Reading(name=name, unit="B/s", samples=(rate,), method="m", **more)


MEMORY = reading("memory read", 3e12, working_set_bytes=1 << 30)
PRODUCTS = reading("matrix product", 7e14, dtype="bfloat16")
NO_COMPILER = probes.Failure(kind="SM clock", reason="Failed to find C compiler.")
NO_MEMORY = probes.Failure(kind="memory, torch", reason="CUDA out of memory.")


@pytest.fixture
def calibrated(monkeypatch, tmp_path):
    """Calibrate a GPU whose probes give what a test says; return what is kept for it."""
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path / "cache"))
    here = replace(environment("cpu"), device=GPU)
    monkeypatch.setattr("tokprof.profiler.environment.environment", lambda *_, **__: here)
    monkeypatch.setattr("tokprof.profiler.environment.cuda_device", lambda _device: GPU)
    monkeypatch.setattr(calibrate, "chosen_device", lambda _device: "cuda")
    monkeypatch.setattr(probes, "cache_bytes", lambda _device: 50 << 20)

    def run(*found):
        monkeypatch.setattr(probes, "probes", lambda *_, **__: iter(found))
        calibrate.calibrate(device="cuda", seconds=0.01, out=tmp_path / "out.json", force=True, as_json=False)
        return calibrate.kept_calibration(GPU)

    return run


def test_what_was_measured_is_kept_where_probes_fail_and_a_note_says_which(calibrated, capsys):
    kept = calibrated(MEMORY, PRODUCTS, NO_COMPILER)
    assert [probe.name for probe in kept.probes] == ["memory read", "matrix product"]
    (note,) = kept.notes
    assert note.code == PROBE_FAILED
    assert note.message == "SM clock: not measured, or not all of it: Failed to find C compiler."
    assert "Failed to find C compiler" in capsys.readouterr().out


def test_a_calibration_that_lacks_probes_does_not_replace_one_that_has_them(calibrated, capsys, tmp_path):
    whole = calibrated(MEMORY, PRODUCTS)
    assert calibrated(MEMORY, NO_COMPILER) == whole
    assert f"probes failed, so the calibration of {whole.created[:10]} is kept" in capsys.readouterr().err
    assert load_calibration(tmp_path / "out.json").notes
    assert calibrated(MEMORY, PRODUCTS, NO_COMPILER).notes  # nothing that was there is lost with it


def test_a_sweep_that_broke_off_does_not_replace_a_whole_one_but_a_late_driver_costs_nothing(calibrated):
    small = replace(MEMORY, working_set_bytes=1 << 20)
    drivers = replace(MEMORY, name=calibrate.DRIVERS_CLOCK, unit="Hz")
    whole = calibrated(MEMORY, small, drivers)
    assert calibrated(MEMORY, drivers, replace(NO_MEMORY, kind="memory, Triton")) == whole
    late = calibrated(MEMORY, small, replace(NO_COMPILER, kind=calibrate.DRIVERS_CLOCK))
    assert late != whole
    assert late.notes


def test_without_a_memory_probe_nothing_is_written(calibrated, tmp_path):
    with pytest.raises(MeasurementError, match=r"its memory could not be measured: CUDA out of memory\.$"):
        calibrated(PRODUCTS, NO_MEMORY, replace(NO_MEMORY, kind="memory, Triton"))
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_without_a_clock_of_its_own_is_asked_for_bfloat16_all_the_same(calibrated, in_process):
    calibrated(MEMORY, PRODUCTS, NO_COMPILER)
    facts = json.loads(in_process("limits", "SmolLM2-135M-Instruct", "--device", "cuda", "--json").stdout)
    assert facts["dtype"] == "bfloat16"
    assert facts["flops_per_s"] == 7e14
    ended = in_process("limits", "SmolLM2-135M-Instruct", "--device", "cuda", "--dtype", "float16")
    assert "--dtype float16: no rate of products for H100; there is one for bfloat16" in ended.stderr


def test_a_gpu_without_products_has_no_floor_of_them(calibrated, in_process):
    calibrated(MEMORY, NO_COMPILER)
    ended = in_process("limits", "SmolLM2-135M-Instruct", "--device", "cuda")
    assert "--dtype bfloat16: no rate of products for H100; there is one for no other" in ended.stderr
