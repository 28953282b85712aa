"""An unmerged LoRA adapter (arXiv 2106.09685) applied inside its base product: two launches instead of five or more.

The first product, into the adapter's few ranks, is :func:`~tokprof.kernels.matvec.matvec`. The second is added where
the base product is still in registers: the adapter costs its own weights and no further trip of the outputs to memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, dot, launch
from tokprof.kernels.matvec import dot_one, dot_some, launch_for_one, launch_for_some, matvec, rows_of_program

_RANKS = 16  # of the adapter's inner vector that a program takes at a time


def lora_reference(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scaling: float, bias: Tensor | None = None
) -> Tensor:
    """Return ``x @ weight.T + scaling * (x @ a.T) @ b.T + bias`` in the inputs' dtype; shapes as in :func:`lora`."""
    out = x @ weight.T + scaling * ((x @ a.T) @ b.T)
    return out if bias is None else out + bias


@triton.jit
def _lora_gemv(
    x, weight, inner, b, bias, out, scaling, x_stride, row_stride, b_stride, outputs, inputs, rank,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, RANKS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < outputs
    total = dot_one(x, x_stride, weight, row, inside, row_stride, inputs, ROWS, COLUMNS)
    for start in tl.range(0, rank, RANKS):
        r = start + tl.arange(0, RANKS)
        h = tl.load(inner + r, mask=r < rank, other=0.0) * scaling
        up = tl.load(b + row[:, None] * b_stride + r[None, :], mask=inside[:, None] & (r < rank)[None, :], other=0.0)
        total += tl.sum(up.to(tl.float32) * h[None, :], 1)
    if bias is not None:
        total += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _lora_gemm(
    x, weight, inner, b, bias, out, scaling, count, x_row_stride, x_stride, row_stride, b_stride, outputs, inputs, rank,
    HEIGHT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr, RANKS: tl.constexpr,
):  # fmt: skip
    row, inside = rows_of_program(outputs, HEIGHT, ROWS)
    total = dot_some(
        x, x_row_stride, x_stride, count, weight, row, inside, row_stride, 0, inputs, ROWS, COLUMNS, COUNT
    )  # fmt: skip
    vector = tl.arange(0, COUNT)
    for start in tl.range(0, rank, RANKS):
        r = start + tl.arange(0, RANKS)
        wanted = (r < rank)[:, None] & (vector < count)[None, :]
        h = tl.load(inner + vector[None, :] * rank + r[:, None], mask=wanted, other=0.0) * scaling
        up = tl.load(b + row[:, None] * b_stride + r[None, :], mask=inside[:, None] & (r < rank)[None, :], other=0.0)
        total = dot(up.to(tl.float32), h, total)
    if bias is not None:
        total += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)[:, None]
    to = out + vector.to(tl.int64)[None, :] * outputs + row[:, None]
    tl.store(to, total.to(out.dtype.element_ty), mask=inside[:, None] & (vector < count)[None, :])


def lora(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scaling: float, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + scaling * (x @ a.T) @ b.T + bias``, (rows, outputs) in ``x``'s dtype.

    Parameters
    ----------
    x
        (rows, inputs), 1 to 64 rows, of any strides.
    weight
        (outputs, inputs), each row contiguous.
    a, b
        (rank, inputs) and (outputs, rank), each row contiguous; float32, as PEFT keeps them, or ``x``'s dtype.
    """
    if a.shape[0] != b.shape[1] or b.shape[0] != weight.shape[0] or b.stride(1) != 1:
        raise ValueError(f"a {tuple(a.shape)} and b {tuple(b.shape)} are no adapter of weight {tuple(weight.shape)}")
    rows, rank, (outputs, inputs) = x.shape[0], a.shape[0], weight.shape
    out = torch.empty((rows, outputs), dtype=x.dtype, device=x.device)
    inner = matvec(x, a, dtype=torch.float32)
    if rows == 1:
        programs, how = launch_for_one(weight)
        launch(
            _lora_gemv, (programs,), x, weight, inner, b, bias, out, scaling,
            x.stride(1), weight.stride(0), b.stride(0), outputs, inputs, rank,
            RANKS=_RANKS, **how,
        )  # fmt: skip
    else:
        programs, how = launch_for_some(x, weight)
        launch(
            _lora_gemm, (programs,), x, weight, inner, b, bias, out, scaling,
            rows, x.stride(0), x.stride(1), weight.stride(0), b.stride(0), outputs, inputs, rank,
            RANKS=_RANKS, **how,
        )  # fmt: skip
    return out


def lora_cost(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, *, biased: bool = False) -> Cost:
    """Return the cost of one call; the inner vectors stay in the cache."""
    rows, rank, (outputs, inputs) = x.shape[0], a.shape[0], weight.shape
    moved = weight.numel() * weight.element_size() + a.numel() * a.element_size() + b.numel() * b.element_size()
    moved += (rows * (inputs + outputs) + outputs * biased) * x.element_size()
    return Cost(bytes=moved, flops=2 * rows * (outputs * inputs + rank * (inputs + outputs)) + rows * outputs * biased)
