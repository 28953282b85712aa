"""Align two kernel sequences: one joint alignment that keeps the order, by names made comparable.

It needs no CPU events: graph replays and traces of the device alone align by name, category and order. Where both sides
know the operator that launched a kernel, that helps.
"""

import functools
import re
from collections.abc import Callable

import numpy as np

from tokprof.profiler.record import Array, StepKernels

# What a pair of kernels is worth, in quarters. Kernels of different categories never match.
SAME_NAME = 16
SAME_NORMAL_NAME = 12
SAME_OPERATOR = 10
SAME_CATEGORY = 4
AND_OPERATOR = 2  # more, where the operator is the same as well
SAME_LAYER = 1  # more, so that repeated layers keep their number
# In these, another operator or functor is another piece of work.
_TOLD_APART_BY_NAME = ("elementwise", "copy", "embedding/sampling", "other")

WHOLE = 6000  # kernels of each side aligned at once; longer sequences go window by window
WINDOW = 1200
_KEPT = 0.75  # of a window's alignment, before the next window starts at its last match


def align(a: StepKernels, b: StepKernels) -> tuple[Array, Array]:
    """Return the rows of ``a`` and ``b`` line by line, in order; -1 where one side has no counterpart."""
    score, key_a, key_b = _pair_scores(a, b)
    rows_a: list[Array] = []
    rows_b: list[Array] = []
    at_a = at_b = 0
    window = WHOLE if max(len(a), len(b)) <= WHOLE else WINDOW
    while True:
        same = _equal_ahead(score, key_a[at_a:], key_b[at_b:])
        rows_a.append(np.arange(at_a, at_a + same))
        rows_b.append(np.arange(at_b, at_b + same))
        at_a, at_b = at_a + same, at_b + same
        end_a, end_b = min(len(a), at_a + window), min(len(b), at_b + window)
        last = end_a == len(a) and end_b == len(b)
        part_a, part_b = _best_path(
            score, key_a[at_a:end_a], key_b[at_b:end_b], a.layer[at_a:end_a], b.layer[at_b:end_b]
        )
        if not last:
            matched = np.flatnonzero((part_a >= 0) & (part_b >= 0))
            keep = matched[int(len(matched) * _KEPT)] + 1 if len(matched) else len(part_a)
            part_a, part_b = part_a[:keep], part_b[:keep]
        rows_a.append(np.where(part_a >= 0, part_a + at_a, -1))
        rows_b.append(np.where(part_b >= 0, part_b + at_b, -1))
        if last:
            return np.concatenate(rows_a), np.concatenate(rows_b)
        at_a += int((part_a >= 0).sum())
        at_b += int((part_b >= 0).sum())


def _equal_ahead(score: Array, key_a: Array, key_b: Array) -> int:
    """Return how many kernels have the same name on both sides from here on: they match, whatever follows."""
    count = min(len(key_a), len(key_b))
    length = 64
    while True:
        stop = min(count, length)
        differs = np.flatnonzero(score[key_a[:stop], key_b[:stop]] < SAME_NAME)
        if len(differs):
            return int(differs[0])
        if stop == count:
            return count
        length *= 8


def _pair_scores(a: StepKernels, b: StepKernels) -> tuple[Array, Array, Array]:
    """Return the score of each pair of distinct kernels, and which distinct kernel each row is. 0 is no match."""
    kinds_a, key_a = _distinct(a)
    kinds_b, key_b = _distinct(b)
    codes: dict[str, int] = {"": 0}

    def same(of: Callable[[tuple[str, str, str]], str]) -> tuple[Array, Array]:
        columns = [np.array([codes.setdefault(of(kind), len(codes)) for kind in kinds]) for kinds in (kinds_a, kinds_b)]
        first, second = columns
        return first[:, None] == second[None, :], first[:, None] > 0

    name, _ = same(lambda kind: kind[0])
    normal, _ = same(lambda kind: normal_name(kind[0]))
    category, _ = same(lambda kind: kind[1])
    equal, known = same(lambda kind: kind[2])
    operator = equal & known
    alike = np.array([kind[1] not in _TOLD_APART_BY_NAME for kind in kinds_a], dtype=bool)[:, None] & category
    score = np.select([name, normal, operator, alike], [SAME_NAME, SAME_NORMAL_NAME, SAME_OPERATOR, SAME_CATEGORY], 0)
    score = score + np.where(operator & (name | normal), AND_OPERATOR, 0)
    return np.where(category, score, 0).astype(np.int32), key_a, key_b


def _distinct(kernels: StepKernels) -> tuple[list[tuple[str, str, str]], Array]:
    operators = len(kernels.operators) + 1
    codes = (kernels.name.astype(np.int64) * operators + kernels.operator) * 128 + kernels.category
    _, first, key = np.unique(codes, return_index=True, return_inverse=True)
    rows = np.stack([kernels.name[first], kernels.category[first], kernels.operator[first]], axis=1).tolist()
    words = [(kernels.names[n], kernels.categories[c], kernels.operators[o]) for n, c, o in rows]
    return words, key.reshape(-1)


def _best_path(score: Array, key_a: Array, key_b: Array, layer_a: Array, layer_b: Array) -> tuple[Array, Array]:
    """Maximise the sum of scores over pairs that keep the order (Needleman and Wunsch 1970, gaps cost nothing).

    As gaps cost nothing, the best value up to each column is a running maximum, so numpy fills a row at once.
    """
    n, m = len(key_a), len(key_b)
    if n == 0 or m == 0:
        return np.concatenate([np.arange(n), np.full(m, -1)]), np.concatenate([np.full(n, -1), np.arange(m)])
    worth_of = score[:, key_b]  # (distinct kernels of A, kernels of B)
    layer_at = {int(layer): np.flatnonzero(layer_b == layer) for layer in np.unique(layer_b) if layer >= 0}
    match = np.zeros((n, m), dtype=bool)
    skip_a = np.zeros((n, m), dtype=bool)
    above = np.zeros(m + 1, dtype=np.int32)
    for i, (key, layer) in enumerate(zip(key_a.tolist(), layer_a.tolist(), strict=True)):
        worth = worth_of[key]
        if layer in layer_at:
            worth = worth.copy()
            columns = layer_at[layer]
            worth[columns] += SAME_LAYER * (worth[columns] > 0)
        diagonal = above[:-1] + worth
        best = np.maximum(above[1:], diagonal)
        np.maximum.accumulate(best, out=best)
        np.equal(diagonal, best, out=match[i])
        match[i] &= worth > 0
        np.equal(above[1:], best, out=skip_a[i])
        above = np.concatenate([_ZERO, best])
    return _traced(match, skip_a)


_ZERO = np.zeros(1, dtype=np.int32)


def _traced(match: Array, skip_a: Array) -> tuple[Array, Array]:
    n, m = match.shape
    rows_a, rows_b = [], []
    i, j = n, m
    while i > 0 or j > 0:
        both = i > 0 and j > 0
        paired = both and match[i - 1, j - 1]
        take_a = j == 0 or (both and (paired or skip_a[i - 1, j - 1]))
        take_b = paired or not take_a
        i -= take_a
        j -= take_b
        rows_a.append(i if take_a else -1)
        rows_b.append(j if take_b else -1)
    return np.array(rows_a[::-1], dtype=np.int64), np.array(rows_b[::-1], dtype=np.int64)


# -------------------------------------------------------------------------------------------------------------- names

_FUNCTOR = re.compile(r"(\w+Functor\w*|\w+_functor|\w+_kernel_cuda|\w+_kernel_impl|\w+KernelImpl|\w+Ops)\b")
_GEMM = re.compile(
    r"^(void )?(Cijk_|nvjet|cutlass|sm\d+_xmma_gemm|ampere_|volta_|turing_|hopper_|maxwell_|gemm|cublas)"
    r"|_gemm_|s\d+gemm"
)
_GEMV = re.compile(r"gemv|gemmSN|dot_kernel|wvSplitK|LLMM1", re.IGNORECASE)
_FLASH = re.compile(
    r"flash_fwd|fmha|FlashAttn|attn_fwd|_fwd_kernel|PagedAttention|paged_attention|pa_fwd", re.IGNORECASE
)
_MANGLED = re.compile(r"^_Z")
_LENGTH = re.compile(r"(\d{1,9})([A-Za-z_])")


@functools.lru_cache(maxsize=65536)
def normal_name(name: str) -> str:
    """Return a kernel's name without what the device, the tile shape or the vendor put into it.

    Libraries' matrix products become ``gemm``, flash attention becomes ``attention``, PyTorch's pointwise kernels the
    function they apply; of all others the bare function remains, without template arguments, namespaces and numbers.
    """
    if name.startswith("aten::"):
        return name
    if _FLASH.search(name):
        return "attention, split" if "split" in name.lower() else "attention"
    if _GEMV.search(name):
        return "gemv"
    if "splitK" in name and "reduce" in name.lower():
        return "gemm, split-K reduction"
    if _GEMM.search(name):
        return "gemm"
    if "at::native" in name and ("elementwise" in name or "reduce_kernel" in name):
        launchers = ("elementwise_kernel", "reduce_kernel", "gpu_kernel_impl")
        found = [f for f in _FUNCTOR.findall(name) if f not in launchers]
        kind = "reduce" if "reduce_kernel" in name else "elementwise"
        return f"{kind} {found[0]}" if found else kind
    if _MANGLED.match(name):
        return _demangled(name)
    bare = _without_templates(name.removeprefix("void ").replace("(anonymous namespace)::", ""))
    bare = bare.partition("(")[0].rpartition("::")[2] or bare
    return re.sub(r"_*\d+[a-z0-9]*", "", bare).strip("_ ") or bare


def _without_templates(name: str) -> str:
    depth, kept = 0, []
    for sign in name:
        if sign == "<":
            depth += 1
        elif sign == ">":
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(sign)
    return "".join(kept)


def _demangled(name: str) -> str:
    """Return the innermost function of a mangled nested name, by its own lengths (Itanium C++ ABI, 5.1.3)."""
    position = 3 if name.startswith("_ZN") else 2
    words = []
    while found := _LENGTH.match(name, position):
        length = int(found[1])
        start = found.end(1)
        words.append(name[start : start + length])
        position = start + length
    return words[-1] if words else name
