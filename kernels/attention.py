"""Attention of one new token over a long cache, for MQA and GQA: the keys and values are split among programs.

At a small batch there are fewer (sequence, KV head) pairs than multiprocessors, so each pair's cache is cut along the
tokens (flash-decoding). A program reads its part once for all query heads that share the KV head, which is what makes
MQA and GQA cheap, and leaves its own attention with the logarithm of the sum of its weights, by which a second kernel
averages the parts. The softmax is computed as it goes (arXiv 2112.05682, 2205.14135), in base 2.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, dot, launch, sm_count

_MAX_SPLITS = 512
MAX_SIZE = 256  # of a head: its row of queries stays in registers


def attention_reference(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Return ``softmax(scale * q k^T) v`` in the inputs' own dtype; shapes as in :func:`decode_attention`."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    grouped = q.reshape(q.shape[0], k.shape[1], -1, q.shape[-1])  # the query heads of each KV head, side by side
    return (torch.softmax(grouped @ k.transpose(-1, -2) * scale, -1) @ v).reshape(q.shape)


@triton.jit(do_not_specialize=["tokens", "part_tokens", "splits"])  # they change from step to step
def _decode_attention(
    q, k, v, out, parts, log_sums, scale_log2,
    q_batch_stride, q_head_stride, k_batch_stride, k_head_stride, k_token_stride,
    v_batch_stride, v_head_stride, v_token_stride, kv_heads, tokens, part_tokens, splits, size,
    SHARED: tl.constexpr, HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    batch = (tl.program_id(0) // kv_heads).to(tl.int64)
    kv_head = (tl.program_id(0) % kv_heads).to(tl.int64)
    part = tl.program_id(1)
    shared = tl.program_id(2) * HEADS + tl.arange(0, HEADS)  # query heads of this KV head, padded for tensor cores
    column = tl.arange(0, SIZE)
    head = kv_head * SHARED + shared
    wanted = (shared < SHARED)[:, None] & (column < size)[None, :]
    queries = q + batch * q_batch_stride
    query = tl.load(queries + head[:, None] * q_head_stride + column[None, :], mask=wanted, other=0.0)

    largest = tl.full((HEADS,), float("-inf"), tl.float32)
    total = tl.zeros((HEADS,), tl.float32)
    weighted = tl.zeros((HEADS, SIZE), tl.float32)
    first = part * part_tokens
    last = tl.minimum(first + part_tokens, tokens)
    keys = k + batch * k_batch_stride + kv_head * k_head_stride
    values = v + batch * v_batch_stride + kv_head * v_head_stride
    for start in tl.range(first, last, BLOCK):
        token = start + tl.arange(0, BLOCK)
        mask = (token < last)[:, None] & (column < size)[None, :]
        at = token.to(tl.int64)[:, None]
        key = tl.load(keys + at * k_token_stride + column[None, :], mask=mask, other=0.0)
        score = dot(query, tl.trans(key), tl.zeros((HEADS, BLOCK), tl.float32)) * scale_log2
        score = tl.where((token < last)[None, :], score, float("-inf"))
        now = tl.maximum(largest, tl.max(score, 1))
        weight = tl.exp2(score - now[:, None])
        shrink = tl.exp2(largest - now)
        value = tl.load(values + at * v_token_stride + column[None, :], mask=mask, other=0.0)
        weighted = dot(weight.to(value.dtype), value, weighted * shrink[:, None])
        total = total * shrink + tl.sum(weight, 1)
        largest = now

    row = batch * kv_heads * SHARED + head
    result = weighted / total[:, None]
    if SPLIT:
        to = (row * splits + part)[:, None] * size + column[None, :]
        tl.store(parts + to, result, mask=wanted)
        tl.store(log_sums + row * splits + part, largest + tl.log2(total), mask=shared < SHARED)
    else:
        tl.store(out + row[:, None] * size + column[None, :], result.to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["splits"])
def _combine_attention(parts, log_sums, out, splits, size, PARTS: tl.constexpr, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, SIZE)
    # Each of PARTS averages every PARTS-th part by itself, so that no load waits for what other threads have read.
    largest = tl.full((PARTS,), -1e30, tl.float32)  # finite, for the difference of two is taken
    norm = tl.zeros((PARTS,), tl.float32)
    total = tl.zeros((PARTS, SIZE), tl.float32)
    for start in tl.range(0, splits, PARTS):
        part = start + tl.arange(0, PARTS)
        mask = (part < splits)[:, None] & (column < size)[None, :]
        value = tl.load(parts + (row * splits + part)[:, None] * size + column[None, :], mask=mask, other=0.0)
        log_sum = tl.load(log_sums + row * splits + part, mask=part < splits, other=-1e30)
        now = tl.maximum(largest, log_sum)
        shrink = tl.exp2(largest - now)
        weight = tl.exp2(log_sum - now)
        total = total * shrink[:, None] + weight[:, None] * value
        norm = norm * shrink + weight
        largest = now
    share = tl.exp2(largest - tl.max(largest, 0))
    result = tl.sum(total * share[:, None], 0) / tl.sum(norm * share, 0)
    tl.store(out + row * size + column, result.to(out.dtype.element_ty), mask=column < size)


def decode_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, splits: int | None = None) -> Tensor:
    """Return attention of one token per sequence over the whole cache, contiguous: (batch, heads, 1, size).

    Parameters
    ----------
    q
        (batch, heads, 1, size), the last dimension contiguous; size at most 256.
    k, v
        (batch, KV heads, tokens, size), the last dimension contiguous, any other strides; KV heads divide heads.
    scale
        Of the scores; else one over the square root of the size.
    splits
        Parts that each cache is cut into; else as many as give every multiprocessor two programs.
    """
    batch, heads, _, size = q.shape
    kv_heads, tokens = k.shape[1], k.shape[2]
    if q.shape[2] != 1 or tokens == 0 or heads % kv_heads or k.shape != v.shape or k.shape[::3] != (batch, size):
        raise ValueError(f"q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)} do not go together")
    if size > MAX_SIZE or q.stride(3) != 1 or k.stride(3) != 1 or v.stride(3) != 1:
        raise ValueError(f"the last dimension wants to be contiguous and at most {MAX_SIZE}")
    shared = heads // kv_heads
    if splits is None:
        splits = 2 * sm_count(q.device) // (batch * kv_heads)
    splits = min(max(splits, 1), _MAX_SPLITS)
    most = triton.next_power_of_2(splits)  # the second kernel is compiled for these, however few the tokens
    padded = max(16, triton.next_power_of_2(size))
    # Tokens and query heads that a program takes at a time; three TF32 products in place of one want the registers.
    block, padded_heads = (64, max(16, triton.next_power_of_2(shared))) if q.element_size() == 2 else (32, 16)
    blocks = triton.cdiv(tokens, block)
    part_blocks = triton.cdiv(blocks, splits)
    splits = triton.cdiv(blocks, part_blocks)  # no part is empty
    out = torch.empty((batch, heads, 1, size), dtype=q.dtype, device=q.device)
    parts = log_sums = None
    if splits > 1:
        parts = torch.empty((batch * heads, splits, size), dtype=torch.float32, device=q.device)
        log_sums = torch.empty((batch * heads, splits), dtype=torch.float32, device=q.device)
    scale_log2 = (1 / math.sqrt(size) if scale is None else scale) * math.log2(math.e)
    grid = (batch * kv_heads, splits, triton.cdiv(shared, padded_heads))
    launch(
        _decode_attention, grid, q, k, v, out, parts, log_sums, scale_log2,
        *q.stride()[:2], *k.stride()[:3], *v.stride()[:3], kv_heads, tokens, part_blocks * block, splits, size,
        SHARED=shared, HEADS=padded_heads, SIZE=padded, BLOCK=block, SPLIT=splits > 1,
        num_stages=3 if padded * q.element_size() <= 256 else 2,  # what fits the shared memory of each generation
        num_warps=4 if padded_heads * padded <= 8192 and block == 64 else 8,
    )  # fmt: skip
    if splits > 1:
        launch(
            _combine_attention, (batch * heads,), parts, log_sums, out, splits, size,
            PARTS=min(most, 8192 // padded), SIZE=padded,  # no more than registers hold
        )  # fmt: skip
    return out


def attention_cost(q: Tensor, k: Tensor) -> Cost:
    """Return the cost of one call: keys and values read once, queries read and outputs written."""
    batch, heads, _, size = q.shape
    tokens = k.shape[2]
    moved = (2 * k.numel() + 2 * q.numel()) * q.element_size()
    return Cost(bytes=moved, flops=batch * heads * tokens * (4 * size + 5))
