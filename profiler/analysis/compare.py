"""Compare two timelines kernel by kernel, and account for the whole difference of each phase.

The difference of a step's wall time is divided among lines: for each, how often its kernels ran (count), how long
(duration), which only one side has (kernel set), and the idle time before them (gaps). Count and duration are split by
the logarithmic mean (Ang 2005, LMDI-I), which is exact. What kernels did side by side is a line of its own, so that the
lines sum to the difference; what medians do not add up to is the residual, and is printed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tokprof.profiler.analysis.alignment import align, normal_name
from tokprof.profiler.record import (
    Array,
    LedgerLine,
    Note,
    NoteLevel,
    Phase,
    PhaseDiff,
    StepKernels,
    TimelineDiff,
    Trace,
    TypicalStep,
)
from tokprof.profiler.trace.categories import Rules
from tokprof.profiler.trace.steps import typical_steps

GROUPINGS = ("category", "operator", "kernel", "layer", "frame")
SIDE_BY_SIDE = "(kernels side by side)"
CONFIDENCE = 0.95
LOW_CONFIDENCE = 0.75


def compare(
    a: Trace, b: Trace, *, a_name: str | None = None, b_name: str | None = None, table: Rules | None = None
) -> TimelineDiff:
    """Compare two traces: their typical prefill, their typical decode step, or what stands in for them."""
    steps_a, steps_b = typical_steps(a, table), typical_steps(b, table)
    notes: list[Note] = [*a.notes, *b.notes]
    pairs = _pairs(steps_a, steps_b, notes)
    phases = tuple(compare_steps(x, y) for x, y in pairs)
    for side, steps in ((a_name or a.source, steps_a), (b_name or b.source, steps_b)):
        notes += [_doubt(side, step) for step in steps if step.confidence < LOW_CONFIDENCE]
    if any(line.verdict == "one sample" for diff in phases for _, lines in diff.ledgers for line in lines[:1]):
        notes.append(
            Note(
                code="one-sample",
                message="one side holds a single step of a phase, so its lines have no interval",
                advice="trace several steps; compare run folders of several processes for intervals between machines",
                level=NoteLevel.INFO,
            )
        )
    return TimelineDiff(
        a_name=a_name or a.source,
        b_name=b_name or b.source,
        phases=phases,
        a_counters=a.counters if len(a.counters) else None,
        b_counters=b.counters if len(b.counters) else None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _pairs(
    steps_a: Sequence[TypicalStep], steps_b: Sequence[TypicalStep], notes: list[Note]
) -> list[tuple[TypicalStep, TypicalStep]]:
    """Pair the steps of one phase; where no phase is shared, the only step of each side."""
    by_phase = {step.phase: step for step in steps_b}
    pairs = [(step, by_phase[step.phase]) for step in steps_a if step.phase in by_phase]
    if not pairs and len(steps_a) == 1 and len(steps_b) == 1:
        names = [str(s.phase) if s.phase else "of unknown phase" for s in (*steps_a, *steps_b)]
        notes.append(
            Note(
                code="phases-differ",
                message=f"A's step is {names[0]}, B's is {names[1]}; they are compared because neither has another",
            )
        )
        pairs = [(steps_a[0], steps_b[0])]
    for side, own, other in (("A", steps_a, steps_b), ("B", steps_b, steps_a)):
        alone = [str(s.phase or "unknown phase") for s in own if s.phase not in {t.phase for t in other}]
        if alone and pairs and len(own) > 1:
            notes.append(Note(code="phase-alone", message=f"only {side} has {', '.join(alone)}: not compared"))
    return pairs


def _doubt(side: str, step: TypicalStep) -> Note:
    what = str(step.phase) if step.phase else "a step of unknown phase"
    return Note(
        code="phase-unsure",
        message=f"{side}: {what} is taken from {step.evidence} (confidence {step.confidence:.0%})",
        advice="annotate the steps (record_function) or record the run with tokprof",
        level=NoteLevel.INFO,
    )


def compare_steps(a: TypicalStep, b: TypicalStep) -> PhaseDiff:
    """Align two typical steps and account for the difference of their wall times."""
    rows_a, rows_b = align(a.kernels, b.kernels)
    ledgers = tuple((by, tuple(_ledger(a, b, rows_a, rows_b, by))) for by in GROUPINGS)
    explained = sum(line.difference_ns for line in ledgers[0][1])
    return PhaseDiff(
        phase=a.phase,
        a=a,
        b=b,
        a_row=rows_a,
        b_row=rows_b,
        ledgers=ledgers,
        residual_ns=(b.wall_ns - a.wall_ns) - explained,
    )


# ------------------------------------------------------------------------------------------------------------ ledger


@dataclass(slots=True)
class _Group:
    """The kernels of one line."""

    a_rows: list[int] = field(default_factory=list)
    b_rows: list[int] = field(default_factory=list)
    classes: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)  # the same kernel on both sides


def _ledger(a: TypicalStep, b: TypicalStep, rows_a: Array, rows_b: Array, by: str) -> list[LedgerLine]:
    key_of = line_keys(a.kernels, b.kernels, by)
    groups: dict[str, _Group] = {}
    for row_a, row_b in zip(rows_a.tolist(), rows_b.tolist(), strict=True):
        group = groups.setdefault(key_of(row_a, row_b), _Group())
        kind = group.classes.setdefault(_class_of(a.kernels, b.kernels, row_a, row_b), ([], []))
        if row_a >= 0:
            group.a_rows.append(row_a)
            kind[0].append(row_a)
        if row_b >= 0:
            group.b_rows.append(row_b)
            kind[1].append(row_b)
    lines = [_line(key, group, a, b) for key, group in groups.items()]
    overlap_ns = b.overlap_ns - a.overlap_ns
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
                duration_effect_ns=-overlap_ns,
                kernel_set_effect_ns=0.0,
                gap_effect_ns=0.0,
            )
        )
    return sorted(lines, key=lambda line: -abs(line.difference_ns))


def _line(key: str, group: _Group, a: TypicalStep, b: TypicalStep) -> LedgerLine:
    count = duration = kernel_set = 0.0
    for members_a, members_b in group.classes.values():
        total_a = float(a.kernels.duration_ns[members_a].sum())
        total_b = float(b.kernels.duration_ns[members_b].sum())
        if not members_a or not members_b or total_a <= 0 or total_b <= 0:
            kernel_set += total_b - total_a
            continue
        mean = log_mean(total_b, total_a)
        by_count = mean * float(np.log(len(members_b) / len(members_a)))
        count += by_count
        duration += (total_b - total_a) - by_count
    gap_a = float(a.kernels.gap_ns[group.a_rows].sum())
    gap_b = float(b.kernels.gap_ns[group.b_rows].sum())
    difference = count + duration + kernel_set + gap_b - gap_a
    low, high, verdict = _interval(difference, group, a, b)
    return LedgerLine(
        key=key,
        a_count=len(group.a_rows),
        b_count=len(group.b_rows),
        a_ns=float(a.kernels.duration_ns[group.a_rows].sum()),
        b_ns=float(b.kernels.duration_ns[group.b_rows].sum()),
        a_gap_ns=gap_a,
        b_gap_ns=gap_b,
        count_effect_ns=count,
        duration_effect_ns=duration,
        kernel_set_effect_ns=kernel_set,
        gap_effect_ns=gap_b - gap_a,
        low_ns=low,
        high_ns=high,
        verdict=verdict,
    )


def log_mean(x: float, y: float) -> float:
    """Return the logarithmic mean of two positive numbers: (x - y) / ln(x / y), and x where they are equal."""
    if x == y:
        return x
    ratio = x / y
    return (x - y) / float(np.log(ratio)) if abs(ratio - 1) > 1e-9 else (x + y) / 2


def _interval(
    difference: float, group: _Group, a: TypicalStep, b: TypicalStep
) -> tuple[float | None, float | None, str]:
    """Return Welch's 95 % interval of a line over the steps of both sides, and what it says.

    The unit is the step: it tells noise inside these two recordings, not differences between machines or processes.
    """
    samples = [s for s in (_sums(a, group.a_rows), _sums(b, group.b_rows)) if s is not None and len(s) > 1]
    if len(samples) < 2:
        return None, None, "one sample"
    from scipy.special import stdtrit

    parts = [float(np.var(s, ddof=1)) / len(s) for s in samples]
    error = float(np.sqrt(sum(parts)))
    if error == 0:
        return difference, difference, "effect" if difference else "noise"
    freedom = sum(parts) ** 2 / sum(p**2 / (len(s) - 1) for p, s in zip(parts, samples, strict=True))
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return difference - half, difference + half, "effect" if abs(difference) > half else "noise"


def _sums(step: TypicalStep, rows: list[int]) -> Array | None:
    if step.samples_ns is None or step.gap_samples_ns is None:
        return None
    total: Array = step.samples_ns[:, rows].sum(axis=1) + step.gap_samples_ns[:, rows].sum(axis=1)
    return total


def _class_of(a: StepKernels, b: StepKernels, row_a: int, row_b: int) -> str:
    """Name the kernel that a line of the alignment is: by what is the same on both sides."""
    name_a = normal_name(a.names[a.name[row_a]]) if row_a >= 0 else ""
    name_b = normal_name(b.names[b.name[row_b]]) if row_b >= 0 else ""
    if row_a < 0 or row_b < 0 or name_a == name_b:
        return name_a or name_b
    return f"{name_a} → {name_b}"


def line_keys(a: StepKernels, b: StepKernels, by: str) -> Callable[[int, int], str]:
    """Return the function from a line of the alignment (its two rows) to the key of its ledger line."""
    if by == "kernel":
        return lambda row_a, row_b: _class_of(a, b, row_a, row_b)
    if by == "layer":

        def layer(row_a: int, row_b: int) -> str:
            number = int(a.layer[row_a]) if row_a >= 0 else int(b.layer[row_b])
            return f"layer {number}" if number >= 0 else "outside the layers"

        return layer
    columns = {
        "category": (a.category, a.categories, b.category, b.categories),
        "operator": (a.operator, a.operators, b.operator, b.operators),
        "frame": (a.frame, a.frames, b.frame, b.frames),
    }
    codes_a, words_a, codes_b, words_b = columns[by]

    def word(row_a: int, row_b: int) -> str:
        own = words_a[codes_a[row_a]] if row_a >= 0 else ""
        return own or (words_b[codes_b[row_b]] if row_b >= 0 else "") or f"(no {by} known)"

    return word


def headline(diff: TimelineDiff) -> str:
    """Say in one or two sentences what differs and where it comes from."""
    sentences = [_sentence(phase) for phase in diff.phases]
    return " ".join(sentences) if sentences else "The two have no phase in common, so nothing is compared."


def _sentence(diff: PhaseDiff) -> str:
    change = diff.b.wall_ns - diff.a.wall_ns
    what = (
        {Phase.PREFILL: "Prefill", Phase.DECODE: "The decode step"}.get(diff.phase, "The step")
        if diff.phase
        else "The step"
    )
    if diff.a.wall_ns <= 0:
        return f"{what} of A takes no time, so there is no ratio."
    relative = change / diff.a.wall_ns
    if abs(relative) < 0.0005:
        return f"{what} takes the same time in both ({diff.a.wall_ns / 1e6:.3f} ms)."
    word = "slower" if change > 0 else "faster"
    lines = [line for line in dict(diff.ledgers)["category"] if line.key != SIDE_BY_SIDE]
    parts = [(line.key, line.difference_ns - line.gap_effect_ns) for line in lines]
    gaps = sum(line.gap_effect_ns for line in lines)
    parts.append(("gaps", gaps))
    telling = sorted((p for p in parts if abs(p[1]) >= 0.05 * abs(change)), key=lambda p: -abs(p[1]))[:4]
    listed = ", ".join(f"{name} {value / 1e6:+.3f} ms" for name, value in telling)
    return (
        f"{what} of B is {abs(relative):.1%} {word} than A's "
        f"({diff.a.wall_ns / 1e6:.3f} → {diff.b.wall_ns / 1e6:.3f} ms, {change / 1e6:+.3f} ms): {listed}."
    )
