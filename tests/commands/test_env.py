"""``tokprof env`` as a user meets it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

PROGRAM = "import typer\nfrom tokprof.profiler.commands.env import env\ntyper.run(env)"


def said(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def checks() -> dict[str, dict[str, Any]]:
    return {check["what"]: check for check in json.loads(said("--json"))["checks"]}


def test_a_machine_without_a_driver_says_what_is_left_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    found = checks()
    if found["GPU"]["state"] == "yes":
        pytest.skip("this machine has a real NVIDIA driver")
    assert found["GPU"]["state"] == "no"
    assert "NVIDIA driver" in found["GPU"]["advice"]
    assert found["CPU"]["state"] == "yes"
    assert found["cores"]["detail"]
    assert found["quiet"]["state"] in ("yes", "no")
    assert "py-spy" in found
    text = said()
    assert "libnvidia-ml.so.1 is not on this machine" in text
    assert "→ install the NVIDIA driver" in text


def test_each_quantity_of_a_device_is_said_one_by_one(nvml_stub: Callable[..., None]) -> None:
    nvml_stub(
        power_mw=123_000,
        reasons=4,
        compute="4001 4002",
        counter_period_ms=50,
        **{"error.nvmlDeviceGetTemperatureV": 3, "error.nvmlDeviceGetTemperature": 3},
    )
    found = checks()
    assert "NVIDIA Stub 80GB" in found["GPU"]["detail"]
    assert found["power"]["detail"] == "instant, now 123 W"
    assert "repeated for 5." in found["energy counter"]["detail"] or "for 4.9" in found["energy counter"]["detail"]
    assert found["temperature"]["state"] == "no"
    assert found["temperature"]["detail"] == "Not Supported"
    assert found["clock-event reasons"]["detail"] == "now: power cap"
    assert found["alone on the device"]["state"] == "no"
    assert found["alone on the device"]["detail"].startswith("2 other processes")
    assert found["clocks locked"]["state"] == "unknown"
    assert "nvidia-smi -i 0 -lgc 1485,1485" in found["clocks locked"]["advice"]


def test_the_advice_for_locking_clocks_goes_when_they_are_limited(nvml_stub: Callable[..., None]) -> None:
    nvml_stub(reasons=2)
    found = checks()
    assert found["clocks locked"]["state"] == "yes"
    assert found["clocks locked"]["advice"] == ""
    assert found["alone on the device"]["state"] == "yes"


def test_a_missing_pyspy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokprof.profiler.commands.env import _stack_checks
    from tokprof.profiler.sensors import pyspy

    monkeypatch.setattr(pyspy, "find_pyspy", lambda: None)
    (check,) = _stack_checks()
    assert (check.state, check.advice) == ("no", "pip install py-spy")
    refusing = pyspy.refusal("Permission Denied: Try running again")
    monkeypatch.setattr(pyspy, "find_pyspy", lambda: "/bin/py-spy")
    monkeypatch.setattr(pyspy, "attach_check", lambda _: refusing)
    _, attach = _stack_checks()
    assert attach.state == "no"
    assert attach.advice == refusing.advice
