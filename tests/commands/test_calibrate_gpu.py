"""``tokprof calibrate`` on a GPU that is not there: NVML is a stub, and probes are made up."""

import json
import subprocess
import sys

import pytest

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
