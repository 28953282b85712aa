"""Skinny matrix products for decoding: a few rows of activations times a weight matrix, in bf16 or with int8 weights.

All the time goes into reading the weights once, so what matters is many wide loads under way at the same time. One row
needs no tensor core: its products are summed in registers and reduced across threads once, at the end. Several rows
would repeat that sum for each of them, so they go through the tensor cores, with the weights as the tall operand.
Of int8 weights, two programs to a multiprocessor take turns at converting them: where the outputs are too few for that,
the inputs are cut into parts as well, and a second kernel adds the parts' sums, always in the same order (split-K).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, dot, launch, sm_count

MAX_ROWS = 64  # beyond, a product is no longer bound by its weights, and the vendor library is the right tool
_FEW_OUTPUTS = 256  # weights of so few rows stay in the cache: a program for each row and vector waits the least
_LEAST_CUT = 2**24  # bytes of weights; with fewer, a second launch takes longer than it saves
_SUMMED = 512  # outputs to a program that adds parts


def matvec_reference(x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ (scale * weight).T + bias`` in ``x``'s own dtype; shapes as in :func:`matvec`."""
    full = weight.to(x.dtype) if scale is None else weight.to(x.dtype) * scale.to(x.dtype)[:, None]
    out = x @ full.T
    return out if bias is None else out + bias


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 weights (outputs, inputs) and the float32 scale (outputs,) of each row: symmetric, to nearest."""
    largest = weight.abs().amax(dim=1).float()
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return torch.round(weight.float() / scale[:, None]).to(torch.int8), scale


@triton.jit
def _as_float(w):
    """Return weights in float32."""
    if w.dtype == tl.int8:
        # The bits of 2^23 + 128 + w, less the constant: exact, and not by the few units that convert integers.
        return ((w.to(tl.int32) & 0xFF) ^ 0x4B000080).to(tl.float32, bitcast=True) - 8388736.0
    return w.to(tl.float32)


@triton.jit
def dot_one(x, x_stride, weight, row, row_inside, row_stride, inputs, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return the products (ROWS,) of the weights' rows ``row`` with the vector ``x``, in float32."""
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    start_of_row = weight + row.to(tl.int64)[:, None] * row_stride
    for start in tl.range(0, inputs, COLUMNS, num_stages=4):
        column = start + tl.arange(0, COLUMNS)
        inside = column < inputs
        w = tl.load(start_of_row + column[None, :], mask=row_inside[:, None] & inside[None, :], other=0)
        v = tl.load(x + column * x_stride, mask=inside, other=0)
        total += _as_float(w) * v.to(tl.float32)[None, :]
    return tl.sum(total, 1)


@triton.jit
def rows_of_program(outputs, HEIGHT: tl.constexpr, ROWS: tl.constexpr):
    """Return a tile of the weights' rows (ROWS,), and which of them this program has: HEIGHT at most."""
    offset = tl.arange(0, ROWS)
    row = tl.program_id(0) * HEIGHT + offset
    inside = row < outputs
    if HEIGHT < ROWS:
        inside &= offset < HEIGHT
    return row, inside


@triton.jit
def dot_some(
    x, x_row_stride, x_stride, count, weight, row, row_inside, row_stride, first, last,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """Return the products (ROWS, COUNT) of the weights' rows ``row`` with ``count`` vectors ``x``, in float32.

    The sums are over the inputs from ``first`` to before ``last``, of which there must be some.
    """
    total = tl.zeros((ROWS, COUNT), tl.float32)
    start_of_row = weight + row.to(tl.int64)[:, None] * row_stride
    vector = tl.arange(0, COUNT)
    start_of_vector = x + vector.to(tl.int64)[None, :] * x_row_stride
    # Zeros that come past an empty loop are not the tensor cores' own: Hopper's would stop after each product for them.
    tl.assume(first < last)
    for start in tl.range(first, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < last
        w = tl.load(start_of_row + column[None, :], mask=row_inside[:, None] & inside[None, :], other=0)
        wanted = inside[:, None] & (vector < count)[None, :]
        v = tl.load(start_of_vector + column[:, None] * x_stride, mask=wanted, other=0)
        if w.dtype == tl.float32:
            v = v.to(tl.float32)
        if w.dtype == tl.int8:
            w = _as_float(w)
        total = dot(w.to(v.dtype), v, total)
    return total


@triton.jit
def _gemv(
    x, weight, scale, bias, out, x_row_stride, x_stride, row_stride, outputs, inputs,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    vector = tl.program_id(1).to(tl.int64)
    inside = row < outputs
    total = dot_one(x + vector * x_row_stride, x_stride, weight, row, inside, row_stride, inputs, ROWS, COLUMNS)
    if scale is not None:
        total *= tl.load(scale + row, mask=inside, other=0.0)
    if bias is not None:
        total += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + vector * outputs + row, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _skinny_gemm(
    x, weight, scale, bias, out, count, x_row_stride, x_stride, row_stride, outputs, inputs, part_inputs,
    HEIGHT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    row, inside = rows_of_program(outputs, HEIGHT, ROWS)
    part = tl.program_id(1)
    first = part * part_inputs
    last = tl.minimum(first + part_inputs, inputs)
    total = dot_some(
        x, x_row_stride, x_stride, count, weight, row, inside, row_stride, first, last, ROWS, COLUMNS, COUNT
    )  # fmt: skip
    if scale is not None:
        total *= tl.load(scale + row, mask=inside, other=0.0)[:, None]
    if bias is not None:
        total += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)[:, None]
    vector = tl.arange(0, COUNT)
    to = out + (part * count + vector).to(tl.int64)[None, :] * outputs + row[:, None]
    tl.store(to, total.to(out.dtype.element_ty), mask=inside[:, None] & (vector < count)[None, :])


@triton.jit
def _sum_parts(parts, scale, bias, out, count, outputs, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    vector = tl.program_id(1)
    inside = row < outputs
    total = tl.zeros((BLOCK,), tl.float32)
    for part in tl.static_range(PARTS):
        total += tl.load(parts + (part * count + vector).to(tl.int64) * outputs + row, mask=inside, other=0.0)
    if scale is not None:
        total *= tl.load(scale + row, mask=inside, other=0.0)
    if bias is not None:
        total += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + vector.to(tl.int64) * outputs + row, total.to(out.dtype.element_ty), mask=inside)


def matvec(
    x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return ``x @ (scale * weight).T + bias`` as (rows, outputs) in ``dtype``, else in ``x``'s.

    Parameters
    ----------
    x
        (rows, inputs), 1 to 64 rows, of any strides.
    weight
        (outputs, inputs), each row contiguous: in a floating dtype, or int8 with a ``scale`` (outputs,) in float32.
    bias
        (outputs,).
    """
    check_skinny(x, weight)
    rows, (outputs, inputs) = x.shape[0], weight.shape
    out = torch.empty((rows, outputs), dtype=dtype or x.dtype, device=x.device)
    if rows == 1 or outputs <= _FEW_OUTPUTS:
        programs, how = launch_for_one(weight)
        launch(
            _gemv, (programs, rows), x, weight, scale, bias, out,
            x.stride(0), x.stride(1), weight.stride(0), outputs, inputs, **how,
        )  # fmt: skip
    else:
        grid, part_inputs, how = _launch_in_parts(x, weight)
        sizes = (rows, x.stride(0), x.stride(1), weight.stride(0), outputs, inputs, part_inputs)
        parts = grid[1]
        if parts == 1:
            launch(_skinny_gemm, grid, x, weight, scale, bias, out, *sizes, **how)
        else:
            sums = torch.empty((parts, rows, outputs), dtype=torch.float32, device=x.device)
            launch(_skinny_gemm, grid, x, weight, None, None, sums, *sizes, **how)
            grid = (triton.cdiv(outputs, _SUMMED), rows)
            launch(_sum_parts, grid, sums, scale, bias, out, rows, outputs, PARTS=parts, BLOCK=_SUMMED)
    return out


def matvec_cost(x: Tensor, weight: Tensor, *, scaled: bool = False, biased: bool = False) -> Cost:
    """Return the cost of one call that writes ``x``'s dtype."""
    rows, (outputs, inputs) = x.shape[0], weight.shape
    moved = weight.numel() * weight.element_size() + rows * (inputs + outputs) * x.element_size()
    moved += outputs * (4 * scaled + x.element_size() * biased)
    return Cost(bytes=moved, flops=2 * rows * outputs * inputs + rows * outputs * (scaled + biased))


# What the kernels built on the same inner loops share.


def check_skinny(x: Tensor, weight: Tensor) -> None:
    """Refuse shapes and strides that :func:`dot_one` and :func:`dot_some` are not made for."""
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"x {tuple(x.shape)} is no (rows, inputs) to weight {tuple(weight.shape)}, (outputs, inputs)")
    if x.shape[1] == 0:
        raise ValueError(f"weight {tuple(weight.shape)} has no inputs to take a product over")
    if not 1 <= x.shape[0] <= MAX_ROWS:
        raise ValueError(f"{x.shape[0]} rows: a skinny product takes 1 to {MAX_ROWS}")
    if weight.stride(1) != 1:
        raise ValueError("each row of weight wants to be contiguous: a transposed one would be read far slower")


def launch_for_one(weight: Tensor) -> tuple[int, dict[str, int]]:
    """Return how many programs multiply one row, and the constants of their launch.

    A program has three tiles of 8 KiB under way, the narrower the weights, the more of them: as tall as leaves two
    programs to every multiprocessor.
    """
    outputs, inputs = weight.shape
    rows = 16
    while rows > 1 and triton.cdiv(outputs, rows) < 2 * sm_count(weight.device):
        rows //= 2
    columns = min(8192 // (rows * weight.element_size()), 2048, max(16, triton.next_power_of_2(inputs)))
    return triton.cdiv(outputs, rows), {"ROWS": rows, "COLUMNS": columns}


def launch_for_some(x: Tensor, weight: Tensor) -> tuple[int, dict[str, int]]:
    """Return how many programs multiply several rows, and the constants and options of their launch.

    Every program reads all of ``x`` from the second-level cache, at 32 rows as much as 32 rows of the weights: the more
    rows of the weights it takes, the less of that. They are as many as still leave a program to nearly every
    multiprocessor, and need not fill a tile: its other rows are not read.
    """
    count, (outputs, inputs) = x.shape[0], weight.shape
    heights = (height for height in (64, 48, 32) if triton.cdiv(outputs, height) >= 0.9 * sm_count(x.device))
    height = next(heights, 16)
    columns = 256 if height == 16 and count <= 32 else 128
    if max(x.element_size(), weight.element_size()) == 4:
        columns = 32  # each product is three of TF32, with as many registers
    constants = {
        "HEIGHT": height,
        "ROWS": 16 if height == 16 else 64,
        "COLUMNS": min(columns, max(16, triton.next_power_of_2(inputs))),
        "COUNT": max(16, triton.next_power_of_2(count)),
    }
    stages = 5 if weight.element_size() == 1 else 4  # of half the bytes: one more, and still room for three programs
    return triton.cdiv(outputs, height), constants | {"num_stages": stages, "num_warps": 4 if count <= 32 else 8}


def _launch_in_parts(x: Tensor, weight: Tensor) -> tuple[tuple[int, int], int, dict[str, int]]:
    """Return the grid for several rows (outputs, then parts of the inputs), the inputs of a part, and the constants.

    To bring an int8 weight to the tensor cores takes some six of a thread's instructions (counted in the code compiled
    for sm_90), of the nine for which an H100 would have the time, and more in a tile that is not full. One program,
    which also waits, does not keep up: two share a multiprocessor, with full tiles. And a row of ``x`` has twice the
    bytes of a row of the weights. So where outputs are too few, tiles are twice as tall, to read ``x`` half as often,
    and parts leave float32 sums for another launch.
    """
    outputs, inputs = weight.shape
    programs, how = launch_for_some(x, weight)
    enough = triton.cdiv(outputs, 64) >= 1.8 * sm_count(x.device)
    if weight.element_size() > 1 or enough or weight.numel() < _LEAST_CUT:
        return (programs, 1), inputs, how
    programs = triton.cdiv(outputs, 128)
    columns = min(how["COLUMNS"], 128 if x.shape[0] <= 32 else 64)
    part_inputs = columns * triton.cdiv(triton.cdiv(inputs, columns), 2 * sm_count(x.device) // programs)
    how |= {"HEIGHT": 128, "ROWS": 128, "COLUMNS": columns, "num_stages": 4, "num_warps": 8}
    return (programs, triton.cdiv(inputs, part_inputs)), part_inputs, how  # no part is empty
