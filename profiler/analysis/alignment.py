"""Align two kernel sequences: one joint alignment that keeps the order, by names made comparable.

It needs no CPU events: graph replays and traces of the device alone align by name, category and order. Where both sides
know the operator that launched a kernel, that helps.
"""

import functools
import re
from dataclasses import dataclass

import numpy as np

from tokprof.profiler.record import Array, StepKernels

# What a pair of kernels is worth, in quarters. Kernels of different categories never match.
SAME_NAME = 16
SAME_NORMAL_NAME = 12
SAME_OPERATOR = 10
SAME_CATEGORY = 4
AND_OPERATOR = 2  # more, where the operator is the same as well
AND_SHAPE = 4  # more, where the operator's call had the same sizes: no large product is paired with a small one
SAME_LAYER = 1  # more, so that repeated layers keep their number
# In these, another operator or functor is another piece of work.
_TOLD_APART_BY_NAME = ("elementwise", "copy", "embedding/sampling", "other")

WHOLE = 6000  # kernels of each side aligned at once; longer sequences go window by window
WINDOW = 1200
_KEPT = 0.75  # of a window's alignment, before the next window starts at its last match


def align(a: StepKernels, b: StepKernels) -> tuple[Array, Array]:
    """Return the rows of ``a`` and ``b`` line by line, in order; -1 where one side has no counterpart."""
    words_a, words_b = _words(a, b)
    rows_a: list[Array] = []
    rows_b: list[Array] = []
    at_a = at_b = 0
    window = WHOLE if max(len(a), len(b)) <= WHOLE else WINDOW
    while True:
        same = _equal_ahead(words_a[at_a:], words_b[at_b:])
        rows_a.append(np.arange(at_a, at_a + same))
        rows_b.append(np.arange(at_b, at_b + same))
        at_a, at_b = at_a + same, at_b + same
        end_a, end_b = min(len(a), at_a + window), min(len(b), at_b + window)
        last = end_a == len(a) and end_b == len(b)
        part_a, part_b = _best_path(words_a[at_a:end_a], words_b[at_b:end_b])
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


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """What one side's kernels are called, in codes that both sides share: the same word has the same code."""

    name: Array
    normal: Array
    category: Array
    operator: Array  # 0: unknown
    alike: Array  # whether two of its category are the same work under any name
    shape: Array  # 0: unknown, or of one side only
    kind: Array  # the same number for kernels that are the same in all these
    layer: Array

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, rows: slice) -> "_Words":
        return _Words(*(getattr(self, column)[rows] for column in self.__slots__))


def shared_shapes(*sides: StepKernels) -> list[Array]:
    """Return for each kernel of each side the code of its call's shape, the same on both; 0 where one side lacks it."""
    shared = set[str].intersection(*(_shapes_of(kernels) for kernels in sides))
    codes = {shape: number for number, shape in enumerate(sorted(shared), start=1)}
    found = []
    for kernels in sides:
        of_code = np.array([*(codes.get(shape, 0) for shape in kernels.shapes), 0], dtype=np.int64)  # -1: unknown
        found.append(np.zeros(len(kernels), dtype=np.int64) if kernels.shape is None else of_code[kernels.shape])
    return found


def _shapes_of(kernels: StepKernels) -> set[str]:
    return set() if kernels.shape is None else {kernels.shapes[code] for code in np.unique(kernels.shape) if code >= 0}


def _words(*sides: StepKernels) -> list[_Words]:
    codes: dict[str, int] = {"": 0}
    found = []
    for kernels, shape in zip(sides, shared_shapes(*sides), strict=True):
        kinds, key = _distinct(kernels)
        rows = [
            [codes.setdefault(word, len(codes)) for word in (name, normal_name(name), category, operator)]
            + [category not in _TOLD_APART_BY_NAME]
            for name, category, operator in kinds
        ]
        name, normal, category, operator, alike = np.array(rows, dtype=np.int64).reshape(-1, 5)[key].T
        kind = key * (int(shape.max(initial=0)) + 1) + shape
        found.append(_Words(name, normal, category, operator, alike > 0, shape, kind, kernels.layer))
    return found


def _equal_ahead(a: _Words, b: _Words) -> int:
    """Return how many kernels have the same name and shape on both sides from here on: they match, whatever follows."""
    count = min(len(a), len(b))
    unlike = [getattr(a, part)[:count] != getattr(b, part)[:count] for part in ("name", "category", "shape")]
    differs = np.flatnonzero(unlike[0] | unlike[1] | unlike[2])
    return int(differs[0]) if len(differs) else count


def _scores(a: _Words, row: int, b: _Words) -> Array:
    """Return what it is worth to pair a row of ``a`` with each of ``b``; 0 is no match."""
    name, normal, category = b.name == a.name[row], b.normal == a.normal[row], b.category == a.category[row]
    operator = (b.operator == a.operator[row]) & (a.operator[row] > 0)
    alike = category & a.alike[row]
    score = np.select([name, normal, operator, alike], [SAME_NAME, SAME_NORMAL_NAME, SAME_OPERATOR, SAME_CATEGORY], 0)
    score = score + np.where(operator & (name | normal), AND_OPERATOR, 0)
    if a.shape[row]:
        score = score + np.where((score > 0) & (b.shape == a.shape[row]), AND_SHAPE, 0)
    return np.where(category, score, 0).astype(np.int8)


def _distinct(kernels: StepKernels) -> tuple[list[tuple[str, str, str]], Array]:
    operators = len(kernels.operators) + 1
    codes = (kernels.name.astype(np.int64) * operators + kernels.operator) * 128 + kernels.category
    _, first, key = np.unique(codes, return_index=True, return_inverse=True)
    rows = np.stack([kernels.name[first], kernels.category[first], kernels.operator[first]], axis=1).tolist()
    words = [(kernels.names[n], kernels.categories[c], kernels.operators[o]) for n, c, o in rows]
    return words, key.reshape(-1)


def _best_path(a: _Words, b: _Words) -> tuple[Array, Array]:
    """Maximise the sum of scores over pairs that keep the order (Needleman and Wunsch 1970, gaps cost nothing).

    As gaps cost nothing, the best value up to each column is a running maximum, so numpy fills a row at once.
    """
    n, m = len(a), len(b)
    if n == 0 or m == 0:
        return np.concatenate([np.arange(n), np.full(m, -1)]), np.concatenate([np.full(n, -1), np.arange(m)])
    scores_of: dict[int, Array] = {}  # by kind of A: a byte for each pair within this window, never of all with all
    layer_at = {int(layer): np.flatnonzero(b.layer == layer) for layer in np.unique(b.layer) if layer >= 0}
    match = np.zeros((n, m), dtype=bool)
    skip_a = np.zeros((n, m), dtype=bool)
    above = np.zeros(m + 1, dtype=np.int32)
    for i, (kind, layer) in enumerate(zip(a.kind.tolist(), a.layer.tolist(), strict=True)):
        worth = scores_of.get(kind)
        if worth is None:
            worth = scores_of[kind] = _scores(a, i, b)
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
