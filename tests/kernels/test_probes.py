"""The probes' kernels: right by Triton's interpreter, compiled for three generations of devices; the CPU's own probes."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

INTERPRETED = """
import sys, torch
from tokprof.kernels import probe_kernels
from tokprof.kernels.launch import INTERPRETED
assert INTERPRETED
torch.manual_seed(int(sys.argv[1]))
nan = float("nan")
for count in (1, 4096, 32768, 100_001):
    x = torch.randn(count)
    torch.testing.assert_close(probe_kernels.read(x, torch.full((-(-count // 32768),), nan)).sum(), x.sum(), rtol=1e-4, atol=1e-3)
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
    from tokprof.kernels.launch import recording

    with recording() as launches:
        probe_kernels.clock(torch.empty(3, dtype=torch.int64, device="meta"))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    (one,) = launches
    source = ASTSource(fn=one.kernel, signature=dict(one.signature), constexprs=dict(one.constants))
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ptx"]
    assert ptx.count("%clock64") == 2
    assert ptx.count("%globaltimer") == 3
