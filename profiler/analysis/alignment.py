"""Align two kernel sequences: one joint alignment that keeps the order, by names made comparable.

It needs no CPU events: graph replays and traces of the device alone align by name, category and order. Where both sides
know the operator that launched a kernel, that helps.
"""

import functools
import re

import numpy as np

from tokprof.profiler.record import Array, StepKernels

# What a pair of kernels is worth. Kernels of different categories never match.
SAME_NAME = 4.0
SAME_NORMAL_NAME = 3.0
SAME_OPERATOR = 2.5
SAME_CATEGORY = 1.0
SAME_LAYER = 0.25  # more, so that repeated layers keep their number
# In these, another operator or functor is another piece of work.
_TOLD_APART_BY_NAME = frozenset({"elementwise", "copy", "embedding/sampling", "other"})

WINDOW = 6000  # kernels of each side aligned at once; longer sequences go window by window
_KEPT = 0.75  # of a window's alignment, before the next window starts at its last match

_DIAGONAL, _SKIP_A, _SKIP_B = 0, 1, 2


def align(a: StepKernels, b: StepKernels) -> tuple[Array, Array]:
    """Return the rows of ``a`` and ``b`` line by line, in order; -1 where one side has no counterpart."""
    score, key_a, key_b = _pair_scores(a, b)
    rows_a: list[Array] = []
    rows_b: list[Array] = []
    at_a = at_b = 0
    while True:
        end_a, end_b = min(len(a), at_a + WINDOW), min(len(b), at_b + WINDOW)
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


def _pair_scores(a: StepKernels, b: StepKernels) -> tuple[Array, Array, Array]:
    """Return the score of each pair of distinct kernels, and which distinct kernel each row is. 0 is no match."""
    kinds_a, key_a = _distinct(a)
    kinds_b, key_b = _distinct(b)
    score = np.zeros((len(kinds_a), len(kinds_b)))
    for i, (name, category, operator) in enumerate(kinds_a):
        for j, (other_name, other_category, other_operator) in enumerate(kinds_b):
            if category == other_category:
                score[i, j] = _worth(name, other_name, operator, other_operator, category)
    return score, key_a, key_b


def _distinct(kernels: StepKernels) -> tuple[list[tuple[str, str, str]], Array]:
    codes = np.stack([kernels.name, kernels.category.astype(np.int32), kernels.operator], axis=1)
    unique, key = np.unique(codes, axis=0, return_inverse=True)
    words = [(kernels.names[n], kernels.categories[c], kernels.operators[o]) for n, c, o in unique.tolist()]
    return words, key.reshape(-1)


def _worth(name: str, other: str, operator: str, other_operator: str, category: str) -> float:
    operators = bool(operator) and bool(other_operator)
    agree = 0.5 if operators and operator == other_operator else 0.0
    if name == other:
        return SAME_NAME + agree
    normal, other_normal = normal_name(name), normal_name(other)
    if normal == other_normal:
        return SAME_NORMAL_NAME + agree
    if agree:
        return SAME_OPERATOR
    if category in _TOLD_APART_BY_NAME:
        return 0.0
    return SAME_CATEGORY


def _best_path(score: Array, key_a: Array, key_b: Array, layer_a: Array, layer_b: Array) -> tuple[Array, Array]:
    """Maximise the sum of scores over pairs that keep the order (Needleman and Wunsch 1970, gaps cost nothing).

    Cells are filled along anti-diagonals, so that numpy fills each at once.
    """
    n, m = len(key_a), len(key_b)
    if n == 0 or m == 0:
        return np.concatenate([np.arange(n), np.full(m, -1)]), np.concatenate([np.full(n, -1), np.arange(m)])
    choice = np.zeros((n + 1, m + 1), dtype=np.int8)
    choice[0, :] = _SKIP_B
    choice[:, 0] = _SKIP_A
    before_last = np.zeros(n + 1)  # values of diagonal d-2, indexed by row
    last = np.zeros(n + 1)
    for diagonal in range(2, n + m + 1):
        rows = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        columns = diagonal - rows
        worth = score[key_a[rows - 1], key_b[columns - 1]]
        same_layer = (layer_a[rows - 1] == layer_b[columns - 1]) & (worth > 0)
        match = np.where(worth > 0, before_last[rows - 1] + worth + SAME_LAYER * same_layer, -1.0)
        skip_a, skip_b = last[rows - 1], last[rows]
        best = np.maximum(match, np.maximum(skip_a, skip_b))
        choice[rows, columns] = np.where(match >= best, _DIAGONAL, np.where(skip_a >= best, _SKIP_A, _SKIP_B))
        current = np.zeros(n + 1)
        current[rows] = best
        before_last, last = last, current
    return _traced(choice, n, m)


def _traced(choice: Array, n: int, m: int) -> tuple[Array, Array]:
    rows_a, rows_b = [], []
    i, j = n, m
    steps = choice.tolist() if n * m < 4_000_000 else choice
    while i > 0 or j > 0:
        step = int(steps[i][j])
        take_a = i > 0 and (j == 0 or step != _SKIP_B)
        take_b = j > 0 and (i == 0 or step != _SKIP_A)
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
_LENGTH = re.compile(r"(\d+)([A-Za-z_])")


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
