"""RMSNorm and LayerNorm over the last dimension: one program per row, the row read once and kept in registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, launch, rows_of

MAX_WIDTH = 16_384  # elements of a row, which stays in the registers of one program


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm (arXiv 1910.07467) as written, in the inputs' own dtype: ``x`` (..., width), ``weight`` (width,)."""
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def layer_norm_reference(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """LayerNorm (arXiv 1607.06450) as written: ``x`` (..., width), ``weight`` and ``bias`` (width,)."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight
    return scaled if bias is None else scaled + bias


@triton.jit
def _row_norm_kernel(
    x,
    weight,
    bias,
    out,
    x_row_stride,
    x_stride,
    width,
    eps,
    CENTRED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    values = tl.load(x + row * x_row_stride + column * x_stride, mask=inside, other=0.0).to(tl.float32)
    if CENTRED:
        # Two passes over registers: the difference of the mean square and the squared mean would cancel.
        values = tl.where(inside, values - tl.sum(values, 0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(values * values, 0) / width + eps)
    values = values * scale * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    if bias is not None:
        values += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + column, values.to(out.dtype.element_ty), mask=inside)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return RMSNorm of ``x`` (..., width), of any strides, times ``weight`` (width,), contiguous."""
    return _launch(x, weight, None, eps, centred=False)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Return LayerNorm of ``x`` (..., width), of any strides, with ``weight`` and ``bias`` (width,), contiguous."""
    return _launch(x, weight, bias, eps, centred=True)


def norm_cost(x: Tensor, *, centred: bool, biased: bool = False) -> Cost:
    """Return the cost of one call on ``x``; weight and bias have its dtype."""
    width = x.shape[-1]
    per_element = (7 if centred else 4) + biased
    return Cost(bytes=x.element_size() * (2 * x.numel() + width * (1 + biased)), flops=per_element * x.numel())


def _launch(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, *, centred: bool) -> Tensor:
    width = x.shape[-1]
    if width > MAX_WIDTH:
        raise ValueError(f"a row of {width} elements: this kernel keeps a row in registers, {MAX_WIDTH} at most")
    if not weight.is_contiguous() or not (bias is None or bias.is_contiguous()):
        raise ValueError("weight and bias want to be contiguous")
    rows = rows_of(x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if rows.shape[0] == 0:
        return out
    block = triton.next_power_of_2(width)
    launch(
        _row_norm_kernel,
        (rows.shape[0],),
        rows,
        weight,
        bias,
        out,
        rows.stride(0),
        rows.stride(1),
        width,
        eps,
        CENTRED=centred,
        BLOCK=block,
        num_warps=min(max(block // 1024, 1), 16),
    )
    return out
