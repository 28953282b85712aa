"""LM head with the greedy choice fused: the logits never reach memory.

The first kernel gives each program a block of the vocabulary, of which it keeps the largest logit and its token; the
second takes the largest of those. Logits are compared in float32, so that two which bf16 would round to a tie are told
apart; at equal logits the lower token wins, and a NaN counts as the largest, as in torch.argmax.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokprof.kernels.launch import Cost, launch
from tokprof.kernels.matvec import check_skinny, dot_one, dot_some, launch_for_one, launch_for_some, rows_of_program


def greedy_reference(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``argmax(x @ weight.T)`` (rows,), computed in the inputs' own dtype; shapes as in :func:`greedy`."""
    return (x @ weight.T).argmax(-1)


@triton.jit
def _lm_head_gemv(
    x, weight, best, choice, x_stride, row_stride, tokens, inputs, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    logit = dot_one(x, x_stride, weight, token, token < tokens, row_stride, inputs, ROWS, COLUMNS)
    logit = tl.where(logit != logit, float("inf"), logit)
    logit = tl.where(token < tokens, logit, float("-inf"))
    largest, at = tl.max(logit, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(best + tl.program_id(0), largest)
    tl.store(choice + tl.program_id(0), tl.program_id(0) * ROWS + at)


@triton.jit
def _lm_head_gemm(
    x, weight, best, choice, count, x_row_stride, x_stride, row_stride, tokens, inputs,
    HEIGHT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    token, inside = rows_of_program(tokens, HEIGHT, ROWS)
    logit = dot_some(
        x, x_row_stride, x_stride, count, weight, token, inside, row_stride, 0, inputs, ROWS, COLUMNS, COUNT
    )  # fmt: skip
    logit = tl.where(logit != logit, float("inf"), logit)
    logit = tl.where(inside[:, None], logit, float("-inf"))
    largest, at = tl.max(logit, 0, return_indices=True, return_indices_tie_break_left=True)
    vector = tl.arange(0, COUNT)
    to = vector * tl.num_programs(0) + tl.program_id(0)
    tl.store(best + to, largest, mask=vector < count)
    tl.store(choice + to, tl.program_id(0) * HEIGHT + at, mask=vector < count)


@triton.jit
def _argmax(best, choice, out, blocks, BLOCK: tl.constexpr):
    vector = tl.program_id(0)
    block = tl.arange(0, BLOCK)
    logit = tl.load(best + vector * blocks + block, mask=block < blocks, other=float("-inf"))
    _, at = tl.max(logit, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(out + vector, tl.load(choice + vector * blocks + at).to(tl.int64))


def greedy(x: Tensor, weight: Tensor) -> Tensor:
    """Return each row's token of the largest logit, (rows,) int64; shapes as ``x`` and ``weight`` of ``matvec``."""
    check_skinny(x, weight)
    rows, (tokens, inputs) = x.shape[0], weight.shape
    blocks, how = launch_for_one(weight) if rows == 1 else launch_for_some(x, weight)
    best = torch.empty((rows, blocks), dtype=torch.float32, device=x.device)
    choice = torch.empty((rows, blocks), dtype=torch.int32, device=x.device)
    out = torch.empty(rows, dtype=torch.int64, device=x.device)
    if rows == 1:
        launch(
            _lm_head_gemv, (blocks,), x, weight, best, choice, x.stride(1), weight.stride(0), tokens, inputs, **how
        )  # fmt: skip
    else:
        launch(
            _lm_head_gemm, (blocks,), x, weight, best, choice,
            rows, x.stride(0), x.stride(1), weight.stride(0), tokens, inputs, **how,
        )  # fmt: skip
    launch(_argmax, (rows,), best, choice, out, blocks, BLOCK=triton.next_power_of_2(blocks), num_warps=8)
    return out


def greedy_cost(x: Tensor, weight: Tensor) -> Cost:
    """Return the cost of one call: no logit is written."""
    rows, (tokens, inputs) = x.shape[0], weight.shape
    moved = weight.numel() * weight.element_size() + rows * inputs * x.element_size() + 8 * rows
    return Cost(bytes=moved, flops=2 * rows * tokens * inputs)
