"""Triton kernels that measure a device instead of a model: reading, copying, multiplying, and the clock from inside.

The clock probe waits for an edge of the device's nanosecond timer before it reads the cycle counter, and ends at
another edge, so that the timer's step (a microsecond before Hopper) costs little accuracy even in a short probe. Where
that timer stands still it gives up after some milliseconds, so that nothing hangs on it.
"""

# Triton's decorator and its kernels' arguments carry no types.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import dot, launch

_READ_BLOCK, _READ_BLOCKS = 4096, 8  # elements of one load of a program, and its loads
_COPY_BLOCK = 4096
# Tiles of the product (rows, columns, inner), warps and stages; a probe takes the fastest.
PRODUCT_TILES = ((128, 256, 64, 8, 3), (128, 128, 64, 8, 4), (64, 128, 32, 4, 4))

CLOCK_WAIT_NS = 20_000  # of the device's timer, that one reading lasts; one that was given up lasts less
_CLOCK_PTX = tl.constexpr("""{
.reg .pred on;
.reg .u64 begun, past, start, now, stop, first, last, spent;
mov.u64 begun, %clock64;
mov.u64 past, %globaltimer;
before: mov.u64 start, %globaltimer;
mov.u64 first, %clock64;
sub.u64 spent, first, begun;
setp.eq.u64 on, start, past;
setp.lt.and.u64 on, spent, 16777216, on;
@on bra before;
add.u64 stop, start, $3;
during: mov.u64 now, %globaltimer;
mov.u64 last, %clock64;
sub.u64 spent, last, begun;
setp.lt.u64 on, now, stop;
setp.lt.and.u64 on, spent, 16777216, on;
@on bra during;
sub.u64 $0, last, first;
sub.u64 $1, now, start;
mov.u64 $2, start;
}""")


@triton.jit
def _read(source, out, count, parts, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in tl.static_range(BLOCKS):
        at = ((program % parts) * BLOCKS + i) * BLOCK + tl.arange(0, BLOCK)
        # Past the multiprocessor's own cache, which may hold the part from the pass before.
        total += tl.load(source + at, mask=at < count, other=0.0, cache_modifier=".cg")
    tl.store(out + program, tl.sum(total, 0))


@triton.jit
def _copy(source, target, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    tl.store(target + at, tl.load(source + at, mask=inside), mask=inside)


@triton.jit
def _product(
    a, b, out, rows, columns, inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr
):
    # Programs that run together share rows of a and columns of b: groups of GROUP tiles in a column keep them in L2.
    program = tl.program_id(0)
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    group = program // (GROUP * across)
    height = min(down - group * GROUP, GROUP)
    row = (group * GROUP + (program % (GROUP * across)) % height) * ROWS + tl.arange(0, ROWS)
    column = ((program % (GROUP * across)) // height) * COLUMNS + tl.arange(0, COLUMNS)
    step = tl.arange(0, INNER)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, inner, INNER):
        k = start + step
        left = tl.load(a + row[:, None] * inner + k, mask=(row[:, None] < rows) & (k < inner), other=0.0)
        right = tl.load(b + k[:, None] * columns + column, mask=(k[:, None] < inner) & (column < columns), other=0.0)
        total = dot(left, right, total)
    at = row[:, None] * columns + column
    tl.store(out + at, total.to(out.dtype.element_ty), mask=(row[:, None] < rows) & (column < columns))


@triton.jit
def _clock(out, wait_ns):
    cycles, elapsed_ns, start_ns = tl.inline_asm_elementwise(
        _CLOCK_PTX, "=l,=l,=l,l", [wait_ns], dtype=(tl.int64, tl.int64, tl.int64), is_pure=False, pack=1
    )
    tl.store(out, cycles)
    tl.store(out + 1, elapsed_ns)
    tl.store(out + 2, start_ns)


def read(source: Tensor, out: Tensor | None = None, passes: int = 1) -> Tensor:
    """Read ``source`` (count,) of float32 ``passes`` times in one launch; return the sum of each program's part.

    The sums, pass after pass, prove the reading. Many passes over a little keep every multiprocessor at work for longer
    than a launch takes, so that the time is that of the cache and not of the host.
    """
    parts = triton.cdiv(source.numel(), _READ_BLOCK * _READ_BLOCKS)
    programs = parts * passes
    out = torch.empty(programs, dtype=torch.float32, device=source.device) if out is None else out
    launch(_read, (programs,), source, out, source.numel(), parts, num_warps=8, BLOCK=_READ_BLOCK, BLOCKS=_READ_BLOCKS)
    return out


def copy(source: Tensor, target: Tensor) -> None:
    """Copy ``source`` (count,) to ``target``, of the same dtype."""
    programs = triton.cdiv(source.numel(), _COPY_BLOCK)
    launch(_copy, (programs,), source, target, source.numel(), num_warps=8, BLOCK=_COPY_BLOCK)


def product(a: Tensor, b: Tensor, out: Tensor, tile: tuple[int, int, int, int, int] = PRODUCT_TILES[0]) -> None:
    """Write ``a`` (rows, inner) times ``b`` (inner, columns) to ``out``; all contiguous, of one dtype."""
    rows, inner = a.shape
    columns = b.shape[1]
    height, width, depth, warps, stages = tile
    grid = (triton.cdiv(rows, height) * triton.cdiv(columns, width),)
    constants = {"ROWS": height, "COLUMNS": width, "INNER": depth, "GROUP": 8}
    launch(_product, grid, a, b, out, rows, columns, inner, num_warps=warps, num_stages=stages, **constants)


def clock(out: Tensor, wait_ns: int = CLOCK_WAIT_NS) -> None:
    """Write to ``out`` (3,) of int64: SM cycles, nanoseconds they took, and the device's instant when they began.

    Nothing waits for it, and it takes ``wait_ns`` of one multiprocessor, so it can stand between two phases; cycles
    over nanoseconds is the clock in GHz.
    """
    launch(_clock, (1,), out, wait_ns, num_warps=1)
