"""Account for the whole difference of two typical steps, line by line.

The difference of their wall times is divided among lines: for each, how often its kernels ran (count), how long
(duration), which only one side has (kernel set), and the idle time before them (gaps). Count and duration are split by
the logarithmic mean (Ang 2005, LMDI-I), which is exact. What kernels did side by side is a line of its own, so that the
lines sum to the difference; what medians do not add up to is the residual, and is printed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tokprof.profiler.analysis.alignment import align, normal_name, shared_shapes
from tokprof.profiler.analysis.attribution import log_mean_divisia
from tokprof.profiler.analysis.stats import variance_of_median
from tokprof.profiler.record import Array, LedgerLine, PhaseDiff, StepKernels, TypicalStep

GROUPINGS = ("category", "operator", "kernel", "layer", "frame")
SIDE_BY_SIDE = "(kernels side by side)"
CONFIDENCE = 0.95
NOISE_SHARE = 0.01  # of A's step: an interval that holds 0 and stays within it is noise


def compare_steps(a: TypicalStep, b: TypicalStep) -> PhaseDiff:
    """Align two typical steps and account for the difference of their wall times."""
    rows_a, rows_b = align(a.kernels, b.kernels)
    kernels = _line_keys(a.kernels, b.kernels, rows_a, rows_b, "kernel")
    kinds = _kinds(a.kernels, b.kernels, rows_a, rows_b, kernels)
    ledgers, line_of = [], []
    for by in GROUPINGS:
        groups = kernels if by == "kernel" else _line_keys(a.kernels, b.kernels, rows_a, rows_b, by)
        lines, of = _ledger(a, b, rows_a, rows_b, groups, kinds)
        ledgers.append((by, lines))
        line_of.append((by, of))
    explained = sum(line.difference_ns for line in ledgers[0][1])
    return PhaseDiff(
        phase=a.phase if a.phase is b.phase else None,
        a=a,
        b=b,
        a_row=rows_a,
        b_row=rows_b,
        ledgers=tuple(ledgers),
        line_of=tuple(line_of),
        residual_ns=(b.wall_ns - a.wall_ns) - explained,
    )


def total_line(diff: PhaseDiff) -> tuple[LedgerLine, str]:
    """Return the difference of the whole step as a line, with its interval and verdict where there are samples.

    The interval is over what the word returned with it names: processes, else the clean repetitions of two runs, else
    the steps of two traces.
    """
    line = LedgerLine(
        key="the whole step",
        a_count=len(diff.a.kernels),
        b_count=len(diff.b.kernels),
        a_ns=diff.a.wall_ns,
        b_ns=diff.b.wall_ns,
        a_gap_ns=0.0,
        b_gap_ns=0.0,
        count_effect_ns=0.0,
        duration_effect_ns=diff.b.wall_ns - diff.a.wall_ns,
        kernel_set_effect_ns=0.0,
        gap_effect_ns=0.0,
    )
    walls, unit = (diff.a.wall_samples_ns, diff.b.wall_samples_ns), "steps"
    repetitions = (diff.a.repetition_samples_ns, diff.b.repetition_samples_ns)
    if diff.a.sample_unit == diff.b.sample_unit == "process":
        unit = "processes"
    elif all(samples is not None for samples in repetitions):
        walls, unit = repetitions, "repetitions"  # also a single one: how it scatters, the profiled steps do not tell
    if diff.a.sample_unit != diff.b.sample_unit or any(wall is None or len(wall) < 2 for wall in walls):
        return line, unit
    errors = [_error(np.asarray(wall, dtype=np.float64).reshape(-1, 1), diff.a.sample_unit) for wall in walls]
    (line,) = _with_intervals([line], errors, NOISE_SHARE * diff.a.wall_ns)
    return (without_effect(line) if diff.disturbed else line), unit


def without_effect(line: LedgerLine) -> LedgerLine:
    """Return the line as one that claims nothing, if it claimed an effect."""
    return replace(line, verdict="doubtful") if line.verdict == "effect" else line


# ----------------------------------------------------------------------------------------------------------- details

_Error = tuple[Array, int]  # a variance for each line of a ledger, and its degrees of freedom
_Keys = tuple[Array, tuple[str, ...]]  # for each line of the alignment the code of its key; the keys


def _ledger(
    a: TypicalStep, b: TypicalStep, rows_a: Array, rows_b: Array, groups: _Keys, kinds: Array
) -> tuple[tuple[LedgerLine, ...], Array]:
    """Return the lines of a ledger, the largest difference first, and for each line of the alignment its line.

    Within a line each of the ``kinds`` of kernels is split by itself: count and duration where both sides have it, else
    the kernel set.
    """
    code, keys = groups
    count = len(keys)
    kind_count = int(kinds.max(initial=0)) + 1
    cells, cell = np.unique(code * kind_count + kinds, return_inverse=True)
    cell = cell.reshape(-1)
    in_a, in_b = rows_a >= 0, rows_b >= 0
    count_a, total_a = _sums(cell[in_a], a.kernels.duration_ns[rows_a[in_a]], len(cells))
    count_b, total_b = _sums(cell[in_b], b.kernels.duration_ns[rows_b[in_b]], len(cells))
    counted = [(count_a, total_a), (count_b, total_b)]
    split = log_mean_divisia(*(np.stack([n, total / np.maximum(n, 1)], axis=-1) for n, total in counted))
    count_effect, duration_effect, set_effect = (
        np.bincount(cells // kind_count, weights=part, minlength=count)
        for part in (split.effect[:, 0], split.effect[:, 1], split.item_set)
    )
    n_a, a_ns = _sums(code[in_a], a.kernels.duration_ns[rows_a[in_a]], count)
    n_b, b_ns = _sums(code[in_b], b.kernels.duration_ns[rows_b[in_b]], count)
    _, a_gap = _sums(code[in_a], a.kernels.gap_ns[rows_a[in_a]], count)
    _, b_gap = _sums(code[in_b], b.kernels.gap_ns[rows_b[in_b]], count)
    lines = [
        LedgerLine(
            key=keys[k],
            a_count=int(n_a[k]),
            b_count=int(n_b[k]),
            a_ns=float(a_ns[k]),
            b_ns=float(b_ns[k]),
            a_gap_ns=float(a_gap[k]),
            b_gap_ns=float(b_gap[k]),
            count_effect_ns=float(count_effect[k]),
            duration_effect_ns=float(duration_effect[k]),
            kernel_set_effect_ns=float(set_effect[k]),
            gap_effect_ns=float(b_gap[k] - a_gap[k]),
        )
        for k in range(count)
    ]
    errors: list[_Error] = []
    if a.sample_unit == b.sample_unit:
        known = [_line_errors(side, rows, code, count) for side, rows in ((a, rows_a), (b, rows_b))]
        errors = [*known[0], *known[1]] if all(known) else []
    if a.overlap_ns or b.overlap_ns:
        lines.append(
            LedgerLine(
                key=SIDE_BY_SIDE,
                a_count=0,
                b_count=0,
                a_ns=-a.overlap_ns,
                b_ns=-b.overlap_ns,
                a_gap_ns=0.0,
                b_gap_ns=0.0,
                count_effect_ns=0.0,
                duration_effect_ns=a.overlap_ns - b.overlap_ns,
                kernel_set_effect_ns=0.0,
                gap_effect_ns=0.0,
            )
        )
    lines = _with_intervals(lines, errors, NOISE_SHARE * a.wall_ns)
    order = sorted(range(len(lines)), key=lambda k: -abs(lines[k].difference_ns))
    place = np.empty(len(lines), dtype=np.int32)
    place[order] = np.arange(len(lines))
    return tuple(lines[k] for k in order), place[code]


def _sums(code: Array, values: Array, count: int) -> tuple[Array, Array]:
    return np.bincount(code, minlength=count), np.bincount(code, weights=values, minlength=count)


def _line_errors(step: TypicalStep, rows: Array, code: Array, count: int) -> list[_Error]:
    """Return what makes a side's lines uncertain: how its samples scatter, and how well the clean time is known.

    The variances are of ``count`` lines and, last, of what ran side by side. Nothing where one sample or one clean
    repetition tells no error.
    """
    if step.samples_ns is None or step.gap_samples_ns is None or len(step.samples_ns) < 2:
        return []
    total = step.samples_ns + step.gap_samples_ns
    result = np.zeros((len(total), count + 1))
    own = rows >= 0
    order = np.argsort(code[own], kind="stable")
    present, first = np.unique(code[own][order], return_index=True)
    if len(present):
        result[:, present] = np.add.reduceat(total[:, rows[own][order]], first, axis=1)
    if step.wall_samples_ns is not None:
        result[:, count] = step.wall_samples_ns - total.sum(axis=1)
    errors = [_error(result, step.sample_unit)]
    if step.repetition_samples_ns is not None:
        if step.scale_error_ns is None:
            return []
        moved = np.append(np.bincount(code[own], weights=step.scale_error_ns[rows[own]], minlength=count), 0.0)
        moved[count] = step.scale_error_ns[-1]
        errors.append((moved**2, len(step.repetition_samples_ns) - 1))
    return errors


def _error(samples: Array, unit: str) -> _Error:
    """Return the variances of medians of steps or repetitions, of means of processes; shape (samples, lines)."""
    n = len(samples)
    return variance_of_median(samples) if unit == "step" else np.var(samples, axis=0, ddof=1) / n, n - 1


def _with_intervals(lines: list[LedgerLine], errors: Sequence[_Error], margin_ns: float) -> list[LedgerLine]:
    """Give each line Welch's 95 % interval by the errors of both sides, if they are known, and say what it tells.

    Steps and repetitions tell noise inside two recordings, processes that between runs. A line is an effect where it
    stays one among all lines of the ledger (Holm 1979), noise where its interval holds 0 and nothing beyond the margin,
    else inconclusive.
    """
    if not errors:
        return lines
    from scipy.special import stdtr, stdtrit

    variances = np.stack([variance[: len(lines)] for variance, _ in errors])
    free = np.array([freedom for _, freedom in errors])
    error = np.sqrt(variances.sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = error**4 / (variances**2 / free[:, None]).sum(axis=0)
        difference = np.array([line.difference_ns for line in lines])
        chance = 2 * stdtr(freedom, -np.abs(difference) / error)
        half = stdtrit(freedom, (1 + CONFIDENCE) / 2) * error
    exact = error == 0
    half = np.where(exact, 0.0, half)
    chance = np.where(exact, np.where(difference == 0, 1.0, 0.0), chance)
    order = np.argsort(chance, kind="stable")
    held = np.maximum.accumulate(chance[order] * np.arange(len(lines), 0, -1))
    effect = np.zeros(len(lines), dtype=bool)
    effect[order] = held <= 1 - CONFIDENCE
    result = []
    for line, reach, is_effect in zip(lines, half.tolist(), effect.tolist(), strict=True):
        low, high = line.difference_ns - reach, line.difference_ns + reach
        small = low <= 0 <= high and max(-low, high) <= margin_ns
        verdict = "effect" if is_effect else "noise" if small else "inconclusive"
        result.append(replace(line, low_ns=low, high_ns=high, verdict=verdict))
    return result


def _line_keys(a: StepKernels, b: StepKernels, rows_a: Array, rows_b: Array, by: str) -> _Keys:
    """Return, for each line of the alignment, the code of its key in a ledger, and the keys."""
    if by == "kernel":
        return _kernel_keys(a, b, rows_a, rows_b)
    if by == "layer":
        number = np.where(rows_a >= 0, _taken(a.layer, rows_a), _taken(b.layer, rows_b))
        values, code = np.unique(number, return_inverse=True)
        return code.reshape(-1), tuple(f"layer {n}" if n >= 0 else "outside the layers" for n in values.tolist())
    columns = {
        "category": (a.category, a.categories, b.category, b.categories),
        "operator": (a.operator, a.operators, b.operator, b.operators),
        "frame": (a.frame, a.frames, b.frame, b.frames),
    }
    codes_a, words_a, codes_b, words_b = columns[by]
    return _named(
        np.where(rows_a >= 0, _taken(codes_a, rows_a), -1),
        np.where(rows_b >= 0, _taken(codes_b, rows_b), -1),
        lambda x, y: (words_a[x] if x >= 0 else "") or (words_b[y] if y >= 0 else "") or f"(no {by} known)",
    )


def _kernel_keys(a: StepKernels, b: StepKernels, rows_a: Array, rows_b: Array) -> _Keys:
    """Name the kernel that each line of the alignment is: by what is the same on both sides."""

    def word(x: int, y: int) -> str:
        name_a = normal_name(a.names[x]) if x >= 0 else ""
        name_b = normal_name(b.names[y]) if y >= 0 else ""
        return name_a or name_b if x < 0 or y < 0 or name_a == name_b else f"{name_a} → {name_b}"

    name_a = np.where(rows_a >= 0, _taken(a.name, rows_a), -1)
    name_b = np.where(rows_b >= 0, _taken(b.name, rows_b), -1)
    return _named(name_a, name_b, word)


def _kinds(a: StepKernels, b: StepKernels, rows_a: Array, rows_b: Array, kernels: _Keys) -> Array:
    """Return for each line of the alignment the code of its kernel and of its call's shape, if both sides have that.

    So products of an adapter, which one side alone has, are not taken for more of the large ones.
    """
    shapes_a, shapes_b = shared_shapes(a, b)
    own_a, own_b = (
        np.where(rows_a >= 0, _taken(shapes_a, rows_a), 0),
        np.where(rows_b >= 0, _taken(shapes_b, rows_b), 0),
    )
    paired = (rows_a >= 0) & (rows_b >= 0)
    shape = np.where(paired & (own_a != own_b), 0, np.maximum(own_a, own_b))
    kinds: Array = kernels[0] * (int(shape.max(initial=0)) + 1) + shape
    return kinds


def _taken(values: Array, rows: Array) -> Array:
    """Return the values of some rows; of a row that is none, whatever."""
    return values[np.maximum(rows, 0)] if len(values) else np.full(len(rows), -1)


def _named(x: Array, y: Array, word: Callable[[int, int], str]) -> _Keys:
    """Return codes of the words of pairs of codes, and the words."""
    wide = np.int64(int(y.max(initial=0)) + 2)
    pairs, code = np.unique((x.astype(np.int64) + 1) * wide + y + 1, return_inverse=True)
    words = [word(int(pair // wide) - 1, int(pair % wide) - 1) for pair in pairs]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(words))}
    return np.array([numbers[key] for key in words], dtype=np.int64)[code.reshape(-1)], tuple(numbers)
