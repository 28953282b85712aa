"""The probes: their kernels by Triton's interpreter and compiled for three generations of devices, and their paths."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

sys.path.insert(0, str(Path(__file__).parents[1]))
from simulated_gpu import SimulatedGpu  # noqa: E402 - after the skips

INTERPRETED = """
import sys, torch
from tokprof.kernels import probe_kernels
from tokprof.kernels.launch import INTERPRETED
assert INTERPRETED
torch.manual_seed(int(sys.argv[1]))
nan = float("nan")
for count in (1, 4096, 100_001):
    x = torch.randn(count)
    parts = probe_kernels.read(x, torch.full((-(-count // 32768),), nan))
    torch.testing.assert_close(parts.sum(), x.sum(), rtol=1e-4, atol=1e-3)
    again = probe_kernels.read(x, torch.full((3 * len(parts),), nan), 3)
    assert torch.equal(again, parts.repeat(3))
    y = torch.full((count + 5,), nan)
    probe_kernels.copy(x, y)
    assert torch.equal(y[:count], x) and y[count:].isnan().all()
for rows, inner, columns in ((1, 3, 2), (70, 33, 129), (128, 64, 64)):
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)):
        a, b = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
        out = torch.full((rows, columns), nan, dtype=dtype)
        probe_kernels.product(a, b, out, (64, 64, 32, 4, 2))
        exact = a.double() @ b.double()
        assert ((out.double() - exact).norm() / exact.norm()) < bound, (dtype, rows)
print("right")
"""


# CUDA's events and memory are played by stand-ins, kernels by Triton's interpreter, all small: the path, not a figure.
ON_STAND_INS = """
import contextlib, json, time
import torch
from tokprof.kernels import probe_kernels, probes

class Event:
    def __init__(self, enable_timing):
        assert enable_timing
    def record(self):
        self.at = time.perf_counter()
    def synchronize(self):
        pass
    def query(self):
        return False
    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3 + 1e-6

torch.cuda.Event = Event
torch.cuda.synchronize = lambda: None
torch.cuda.device = lambda device: contextlib.nullcontext()
torch.cuda.mem_get_info = lambda device: (2**22, 2**23)
torch.Tensor.pin_memory = lambda self: self
probe_kernels.clock = lambda out: out.copy_(torch.tensor([30_000, 20_000, 5]))
probe_kernels.PRODUCT_TILES = ((16, 16, 16, 4, 2),)
probes._SWEEP_BYTES, probes._CUDA_READ_BYTES = (2**18, 2**19, 2**25), 2**19
probes._CUDA_PRODUCTS, probes._CUDA_PRODUCT_SIZE = ((16, 16), (32, 32)), 32
print(json.dumps([[r.name, r.method, r.dtype, r.unit, min(r.samples), r.working_set_bytes]
                  for r in probes._cuda_probes("cpu", 0.001, lambda: 1.4e9)]))
"""


def test_the_probes_of_a_gpu_run_through_on_stand_ins():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", ON_STAND_INS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    readings = json.loads(done.stdout)
    assert {name for name, *_ in readings} == {
        "launch latency", "launch interval, host", "launch interval, device", "event resolution", "memory read",
        "memory copy", "host to device", "matrix product", "matrix product, Triton", "SM clock", "SM clock, NVML",
    }  # fmt: skip
    assert all(least > 0 for *_, least, _ in readings)
    assert {size for name, *_, size in readings if name == "memory read"} == {2**18, 2**19}  # an eighth of what is free
    reads = {(size, method) for name, method, _, _, _, size in readings if name == "memory read"}
    assert reads == {(2**18, "Triton, 2 times in one launch"), (2**19, "Triton"), (2**19, "torch.sum")}
    assert {dtype for name, _, dtype, *_ in readings if name == "matrix product"} == {
        "bfloat16", "float16", "tf32", "float32",
    }  # fmt: skip
    assert [least for name, *_, least, _ in readings if name == "SM clock"] == [1.5e9]


@pytest.mark.parametrize(("device_us", "host_us"), [(23, 7), (89, 20), (270, 20), (1470, 7), (22_000, 7)])
def test_a_rate_holds_no_launch(monkeypatch, device_us, host_us):
    from tokprof.kernels import probes

    gpu = SimulatedGpu()
    monkeypatch.setattr(torch.cuda, "Event", gpu.Event)
    call = lambda: gpu.launch(device_ns=device_us * 1e3, host_ns=host_us * 1e3)  # noqa: E731
    rates = probes._rates(call, device_us * 1e-6, probes._cuda_timer, 0)
    assert len(rates) == 3
    assert rates == pytest.approx([1.0] * 3, rel=1e-6)


@pytest.mark.parametrize(("answer_ms", "kept"), [(0, True), (40, True), (60, False)])
def test_the_driver_s_clock_counts_only_while_the_device_is_at_work(monkeypatch, answer_ms, kept):
    from tokprof.kernels import probes

    gpu = SimulatedGpu()
    asked = []

    class Probe:
        def __init__(self, _device, *, row_count):
            self.row_count = row_count

        def read(self, _row):
            gpu.launch(device_ns=20_000, host_ns=10_000)

        def take(self):
            gpu.synchronize()
            return [(30_000, 20_000)] * self.row_count

    def driver_clock_hz():
        asked.append((gpu.now_ns(), gpu.device_ns))
        gpu.host_ns += answer_ms * 1e6 if len(asked) > 1 else 500e6  # the first answer loads code
        return 1.4e9

    monkeypatch.setattr(probes, "ClockProbe", Probe)
    monkeypatch.setattr(probes, "_CUDA_PRODUCT_SIZE", 2)
    monkeypatch.setattr(torch, "mm", lambda *_, **__: gpu.launch(device_ns=100_000, host_ns=5_000))
    monkeypatch.setattr(torch.cuda, "Event", gpu.Event)
    inside, driver = probes._cuda_clock("cpu", driver_clock_hz)
    assert (inside.name, inside.samples) == ("SM clock", (1.5e9,) * 20)
    if kept:
        assert (driver.name, driver.samples) == ("SM clock, NVML", (1.4e9,))
    else:
        assert driver.reason == "the driver answered when the load had ended"
    asked_ns, done_ns = asked[-1]
    assert done_ns - asked_ns > 45e6  # of 500 products


KINDS = ("_cuda_launches", "_triton_memory", "_torch_memory", "_products", "_triton_products", "_cuda_clock")


@pytest.mark.parametrize("failing", KINDS)
def test_probes_that_fail_cost_only_their_kind(monkeypatch, failing):
    from tokprof.kernels import probes

    def made_up(name):
        def read(*_arguments):
            yield probes.Reading(name=name, unit="s", samples=(1.0,), method="m")
            if name == failing:
                raise RuntimeError("Failed to find C compiler.\nand many lines more")
            yield probes.Reading(name=name, unit="s", samples=(2.0,), method="m")

        return read

    monkeypatch.setattr(torch.cuda, "device", lambda _device: contextlib.nullcontext())
    for name in KINDS:
        monkeypatch.setattr(probes, name, made_up(name))
    found = list(probes.probes("cuda"))
    (failure,) = (one for one in found if isinstance(one, probes.Failure))
    assert failure.reason == "Failed to find C compiler."
    read = [one.name for one in found if isinstance(one, probes.Reading)]
    assert read == [name for name in KINDS for _ in range(1 if name == failing else 2)]


def test_reading_copying_and_multiplying_are_right_by_the_interpreter():
    seed = str(torch.seed() % 2**31)
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", INTERPRETED, seed], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "right", f"seed {seed}: {done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_every_probe_compiles_without_spilling(capability):
    from tokprof.kernels import probe_kernels
    from tokprof.kernels.launch import compiled_resources, recording

    def empty(*shape, dtype=torch.float32):
        return torch.empty(*shape, dtype=dtype, device="meta")

    with recording() as launches:
        probe_kernels.read(empty(2**28))
        probe_kernels.copy(empty(2**28), empty(2**28))
        probe_kernels.clock(empty(3, dtype=torch.int64))
        for dtype in (torch.bfloat16, torch.float16):
            for tile in probe_kernels.PRODUCT_TILES:
                square = empty(4096, 4096, dtype=dtype)
                probe_kernels.product(square, square, square, tile)
    assert len(launches) == 9
    for one in launches:
        resources = compiled_resources(one, capability)
        assert resources.spill_bytes == 0, one.name
        assert 0 < resources.register_count <= 255
        assert resources.shared_bytes <= 163 * 1024  # what an A100 gives one program


def test_the_clock_probe_reads_the_device_s_own_counters():
    from tokprof.kernels import probe_kernels
    from tokprof.kernels.launch import compiled_for, recording

    with recording() as launches:
        probe_kernels.clock(torch.empty(3, dtype=torch.int64, device="meta"))
    ptx = compiled_for(launches[0], 90).asm["ptx"]
    assert ptx.count("%clock64") == 3
    assert ptx.count("%globaltimer") == 3
