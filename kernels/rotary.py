"""Rotary position embedding (arXiv 2104.09864), halves rotated against each other: queries and keys in one launch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, launch


def rotary_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``x`` (batch, heads, tokens, size) by ``cos`` and ``sin`` (batch, tokens, size), in its own dtype."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]


@triton.jit
def _rotate(
    x, out, batch, token, head, column, mask, c, s, half, heads, tokens, batch_stride, head_stride, token_stride, stride
):  # fmt: skip
    """Rotate a block of heads of one token; ``head`` and ``column`` span a tile (heads, half of the size)."""
    at = x + batch * batch_stride + head * head_stride + token * token_stride + column * stride
    first = tl.load(at, mask=mask).to(tl.float32)
    second = tl.load(at + half * stride, mask=mask).to(tl.float32)
    to = out + ((batch * heads + head) * tokens + token) * (2 * half) + column
    tl.store(to, (first * c - second * s).to(out.dtype.element_ty), mask=mask)
    tl.store(to + half, (second * c + first * s).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _rotary_kernel(
    q,
    k,
    q_out,
    k_out,
    cos,
    sin,
    q_batch_stride,
    q_head_stride,
    q_token_stride,
    q_stride,
    k_batch_stride,
    k_head_stride,
    k_token_stride,
    k_stride,
    table_batch_stride,
    table_token_stride,
    tokens,
    q_heads,
    k_heads,
    half,
    HEADS: tl.constexpr,  # heads of a program
    HALF: tl.constexpr,  # half of a head's size, rounded up
):
    batch = (tl.program_id(0) // tokens).to(tl.int64)
    token = (tl.program_id(0) % tokens).to(tl.int64)
    column = tl.arange(0, HALF)[None, :]
    # The tables' halves are equal, so half of each is read.
    angle = batch * table_batch_stride + token * table_token_stride + column
    c = tl.load(cos + angle, mask=column < half).to(tl.float32)
    s = tl.load(sin + angle, mask=column < half).to(tl.float32)
    q_programs = tl.cdiv(q_heads, HEADS)
    if tl.program_id(1) < q_programs:
        head = (tl.program_id(1) * HEADS + tl.arange(0, HEADS)).to(tl.int64)[:, None]
        mask = (head < q_heads) & (column < half)
        _rotate(
            q, q_out, batch, token, head, column, mask, c, s, half, q_heads, tokens,
            q_batch_stride, q_head_stride, q_token_stride, q_stride,
        )  # fmt: skip
    else:
        head = ((tl.program_id(1) - q_programs) * HEADS + tl.arange(0, HEADS)).to(tl.int64)[:, None]
        mask = (head < k_heads) & (column < half)
        _rotate(
            k, k_out, batch, token, head, column, mask, c, s, half, k_heads, tokens,
            k_batch_stride, k_head_stride, k_token_stride, k_stride,
        )  # fmt: skip


def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Return rotated copies of ``q`` (batch, q heads, tokens, size) and ``k`` (batch, k heads, tokens, size).

    ``cos`` and ``sin`` are (batch or 1, tokens, size) with equal halves, as transformers makes them. ``q`` and ``k``
    may have any strides; what is returned is contiguous.
    """
    batch, q_heads, tokens, size = q.shape
    k_heads = k.shape[1]
    if size % 2 or k.shape[0] != batch or k.shape[2:] != q.shape[2:] or cos.shape[-1] != size:
        raise ValueError(f"q {tuple(q.shape)}, k {tuple(k.shape)}, cos {tuple(cos.shape)} must agree, in an even size")
    cos, sin = (table.contiguous().expand(batch, tokens, size) for table in (cos, sin))
    q_out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    k_out = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    if not batch * tokens:
        return q_out, k_out
    heads = min(triton.next_power_of_2(max(q_heads, k_heads)), 16)
    launch(
        _rotary_kernel,
        (batch * tokens, triton.cdiv(q_heads, heads) + triton.cdiv(k_heads, heads)),
        q,
        k,
        q_out,
        k_out,
        cos,
        sin,
        *q.stride(),
        *k.stride(),
        cos.stride(0),
        cos.stride(1),
        tokens,
        q_heads,
        k_heads,
        size // 2,
        HEADS=heads,
        HALF=triton.next_power_of_2(size // 2),
    )
    return q_out, k_out


def rotary_cost(q: Tensor, k: Tensor, cos: Tensor) -> Cost:
    """Return the cost of one call: both tensors read and written, half of each table read."""
    moved = 2 * (q.numel() + k.numel()) * q.element_size() + cos.numel() * cos.element_size()
    return Cost(bytes=moved, flops=3 * (q.numel() + k.numel()))
