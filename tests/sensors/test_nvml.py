"""NVML through the real nvidia-ml-py against the compiled stub, each in a fresh process: a library stays loaded."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

READ = """
import json, os
from dataclasses import asdict
from tokprof.profiler.sensors.nvml import nvml
with nvml() as library:
    device = library.device(pid={pid})
    print(json.dumps({{
        "reading": asdict(device.read()),
        "facts": asdict(device.facts()),
        "source": device.power_source,
        "absent": device.absent,
    }}))
"""

Stub = Callable[..., None]


def run(code: str) -> Any:
    """Run code that prints JSON in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(pid: int | None = None) -> Any:
    return run(READ.format(pid=pid))


def failure(call: str) -> str:
    """Return what NvmlAbsent says when a call on the library fails."""
    return str(
        run(
            "import json\n"
            "from tokprof.profiler.sensors.nvml import NvmlAbsent, nvml\n"
            "try:\n"
            "    with nvml() as library:\n"
            f"        {call}\n"
            "        print(json.dumps('none'))\n"
            "except NvmlAbsent as absent:\n"
            "    print(json.dumps(f'{absent} | {absent.advice}'))\n"
        )
    )


def test_a_reading_holds_what_the_driver_says(nvml_stub: Stub) -> None:
    nvml_stub(power_mw=312_500, sm_clock_mhz=1755, memory_clock_mhz=2600, temperature_c=61, reasons=0x24)
    seen = read()
    reading = seen["reading"]
    assert reading["power_mw"] == 312_500
    assert reading["sm_clock_mhz"] == 1755
    assert reading["memory_clock_mhz"] == 2600
    assert reading["temperature_c"] == 61
    assert reading["event_reasons"] == 0x24
    assert reading["other_process_count"] == 0
    assert reading["energy_mj"] > 0
    assert 0 < reading["read_ns"] < 1_000_000_000
    assert seen["source"] == "instant"
    assert seen["absent"] == {}
    assert seen["facts"] | {"uuid": None} == {
        "index": 0,
        "name": "NVIDIA Stub 80GB",
        "uuid": None,
        "driver": "580.65.06",
        "cuda_driver": "13.0",
        "memory_bytes": 85_899_345_920,
        "capability": "9.0",
        "power_limit_mw": 700_000,
        "default_power_limit_mw": 700_000,
        "max_sm_clock_mhz": 1980,
        "max_memory_clock_mhz": 2600,
        "clocks_locked": None,
    }


def test_clocks_are_known_to_be_limited_only_when_the_driver_says_so(nvml_stub: Stub) -> None:
    nvml_stub(reasons=0x2)
    assert read()["facts"]["clocks_locked"] is True


@pytest.mark.parametrize(
    ("errors", "source", "power_mw"),
    [
        ({"field_error.186": 3}, "average", 300_000),
        ({"field_error.186": 3, "field_error.185": 3}, "usage (1 s average)", 300_000),
        ({"error.nvmlDeviceGetFieldValues": 3}, "usage (1 s average)", 300_000),
        ({"error.nvmlDeviceGetFieldValues": 3, "error.nvmlDeviceGetPowerUsage": 3}, None, None),
    ],
)
def test_power_comes_from_the_best_source_that_answers(
    nvml_stub: Stub, errors: dict[str, int], source: str | None, power_mw: int | None
) -> None:
    nvml_stub(**errors)
    seen = read()
    assert seen["source"] == source
    assert seen["reading"]["power_mw"] == power_mw
    assert ("power_mw" in seen["absent"]) == (source is None)


@pytest.mark.parametrize(
    ("function", "quantity"),
    [
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_mj"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", None),
    ],
)
def test_a_missing_quantity_is_absent_with_its_reason(nvml_stub: Stub, function: str, quantity: str | None) -> None:
    nvml_stub(**{f"error.{function}": 3})
    seen = read()
    if quantity is None:  # graphics processes still answer
        assert seen["reading"]["other_process_count"] == 0
        return
    assert seen["reading"][quantity] is None
    assert seen["absent"][quantity] == "Not Supported"
    assert seen["reading"]["power_mw"] == 300_000


@pytest.mark.parametrize(
    ("newer", "quantity", "value"),
    [
        ("nvmlDeviceGetTemperatureV", "temperature_c", 45),
        ("nvmlDeviceGetCurrentClocksEventReasons", "event_reasons", 0x40),
    ],
)
def test_an_older_driver_is_asked_by_the_older_name(nvml_stub: Stub, newer: str, quantity: str, value: int) -> None:
    nvml_stub(**{f"error.{newer}": 13, "reasons": 0x40})
    seen = read()
    assert seen["reading"][quantity] == value
    assert quantity not in seen["absent"]


def test_cumulative_counters_are_nanoseconds(nvml_stub: Stub) -> None:
    nvml_stub(power_cap_share=0.5, thermal_share=0.25)
    reading = read()["reading"]
    assert reading["power_cap_ns"] == pytest.approx(reading["time_ns"] * 0.5, rel=1e-3)
    assert reading["thermal_ns"] == pytest.approx(reading["time_ns"] * 0.25, rel=1e-3)


def test_a_device_is_found_by_uuid_whatever_its_index(nvml_stub: Stub) -> None:
    nvml_stub(device_count=4)
    indices = run(
        "import json\n"
        "from tokprof.profiler.sensors.nvml import nvml\n"
        "with nvml() as library:\n"
        "    found = [library.device(uuid='GPU-00000000-5174-4b90-8000-000000000002'),\n"
        "             library.device(uuid='00000000-5174-4b90-8000-000000000002'),\n"
        "             library.device(index=1)]\n"
        "    print(json.dumps([device.facts().index for device in found] + [library.count()]))\n"
    )
    assert indices == [2, 2, 1, 4]


def test_an_unknown_device_is_named(nvml_stub: Stub) -> None:
    nvml_stub()
    assert failure("library.device(uuid='GPU-nowhere')") == "NVML finds no device GPU-nowhere: Not Found | " + (
        "compare with nvidia-smi -L"
    )
    assert failure("library.device(index=7)").startswith("NVML finds no device index 7")


@pytest.mark.parametrize(
    ("code", "words"),
    [(9, "driver is not loaded"), (18, "different versions"), (4, "no permission"), (999, "does not start")],
)
def test_a_driver_that_does_not_start_is_explained(nvml_stub: Stub, code: int, words: str) -> None:
    nvml_stub(**{"error.nvmlInitWithFlags": code})
    said = failure("pass")
    assert words in said
    assert not said.endswith("| ")  # there is advice


def test_no_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    said = failure("pass")
    if said == "none":
        pytest.skip("this machine has a real NVIDIA driver")
    assert said.startswith("libnvidia-ml.so.1 is not on this machine | install the NVIDIA driver")


@pytest.mark.parametrize("period_ms", [10, 100])
def test_the_energy_counters_own_period_is_measured(nvml_stub: Stub, period_ms: int) -> None:
    nvml_stub(counter_period_ms=period_ms)
    period_ns = run(
        "import json\n"
        "from tokprof.profiler.sensors.nvml import nvml\n"
        "with nvml() as library:\n"
        "    print(json.dumps(library.device().counter_period_ns()))\n"
    )
    assert period_ns == pytest.approx(period_ms * 1e6, rel=0.1)


@pytest.mark.parametrize("settings", [{"power_mw": 0}, {"error.nvmlDeviceGetTotalEnergyConsumption": 3}])
def test_a_counter_that_never_moves_has_no_period(nvml_stub: Stub, settings: dict[str, int]) -> None:
    nvml_stub(**settings)
    code = (
        "import json\n"
        "from tokprof.profiler.sensors.nvml import nvml\n"
        "with nvml() as library:\n"
        "    print(json.dumps(library.device().counter_period_ns(limit_s=0.2)))\n"
    )
    assert run(code) is None


COUNT = """
import json, sys
import tokprof.profiler.sensors.nvml as module
module.in_initial_pid_namespace = lambda: {outside}
with module.nvml() as library:
    device = library.device(pid={pid})
    print(json.dumps([device.other_process_count(), device.absent]))
"""


@pytest.mark.parametrize(
    ("listed", "outside", "count"),
    [
        ("OWN 4001", True, 1),
        ("OWN", True, 0),
        ("4001 4002", True, 2),  # not on the device yet: both are others
        ("", True, 0),
        ("OWN 4001", False, 1),  # a container whose driver translates
        ("900001 900002", False, 1),  # the host's numbers: one of them is ours
        ("900001", False, 0),
        ("", False, None),  # hidden
    ],
)
def test_other_processes_are_counted_or_unknown(nvml_stub: Stub, listed: str, outside: bool, count: int | None) -> None:
    own = os.getpid()
    nvml_stub(compute=listed.replace("OWN", str(own)))
    found, absent = run(COUNT.format(outside=outside, pid=own))
    assert found == count
    assert ("other_process_count" in absent) == (count is None)


def test_children_of_the_measured_process_are_its_own(nvml_stub: Stub) -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        nvml_stub(compute=f"{os.getpid()} {child.pid} 4001", graphics="4002")
        found, _ = run(COUNT.format(outside=True, pid=os.getpid()))
        assert found == 2
    finally:
        child.kill()
        child.wait()
