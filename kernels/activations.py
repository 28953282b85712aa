"""SwiGLU and GELU: element by element, each read once and written once."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, launch, rows_of

_BLOCK = 1024


def swiglu_reference(gate: Tensor, up: Tensor) -> Tensor:
    """Return ``silu(gate) * up`` (arXiv 2002.05202) in the inputs' own dtype."""
    return gate * torch.sigmoid(gate) * up


def gelu_reference(x: Tensor, *, tanh: bool) -> Tensor:
    """Return GELU (arXiv 1606.08415), or with ``tanh`` its approximation, in the input's own dtype."""
    if tanh:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


@triton.jit
def _swiglu_kernel(gate, up, out, gate_row_stride, gate_stride, up_row_stride, up_stride, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    g = tl.load(gate + row * gate_row_stride + column * gate_stride, mask=inside).to(tl.float32)
    u = tl.load(up + row * up_row_stride + column * up_stride, mask=inside).to(tl.float32)
    tl.store(out + row * width + column, (g * tl.sigmoid(g) * u).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gelu_kernel(x, out, row_stride, stride, width, TANH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    v = tl.load(x + row * row_stride + column * stride, mask=inside).to(tl.float32)
    if TANH:
        # (1 + tanh(z)) / 2 is sigmoid(2z), which has one exponential and no cancellation.
        v = v * tl.sigmoid(1.5957691216057308 * (v + 0.044715 * v * v * v))
    else:
        v = 0.5 * v * (1 + tl.erf(0.7071067811865476 * v))
    tl.store(out + row * width + column, v.to(out.dtype.element_ty), mask=inside)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return ``silu(gate) * up``, contiguous: both (..., width) of any strides, such as halves of one tensor."""
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(f"gate {tuple(gate.shape)} {gate.dtype} and up {tuple(up.shape)} {up.dtype} must agree")
    width = gate.shape[-1]
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    g, u = rows_of(gate), rows_of(up)
    if out.numel():
        grid = (g.shape[0], triton.cdiv(width, _BLOCK))
        launch(_swiglu_kernel, grid, g, u, out, g.stride(0), g.stride(1), u.stride(0), u.stride(1), width, BLOCK=_BLOCK)
    return out


def gelu(x: Tensor, *, tanh: bool) -> Tensor:
    """Return GELU of ``x`` (..., width), of any strides, or its ``tanh`` approximation; contiguous."""
    width = x.shape[-1]
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    rows = rows_of(x)
    if out.numel():
        grid = (rows.shape[0], triton.cdiv(width, _BLOCK))
        launch(_gelu_kernel, grid, rows, out, rows.stride(0), rows.stride(1), width, TANH=tanh, BLOCK=_BLOCK)
    return out


def swiglu_cost(gate: Tensor) -> Cost:
    """Return the cost of one call; an exponential and a division count as one operation each."""
    return Cost(bytes=3 * gate.numel() * gate.element_size(), flops=5 * gate.numel())


def gelu_cost(x: Tensor) -> Cost:
    """Return the cost of one call; an exponential, a division and an error function count as one operation each."""
    return Cost(bytes=2 * x.numel() * x.element_size(), flops=9 * x.numel())
