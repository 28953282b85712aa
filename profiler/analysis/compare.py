"""Compare two timelines kernel by kernel, and account for the whole difference of each phase.

The difference of a step's wall time is divided among lines: for each, how often its kernels ran (count), how long
(duration), which only one side has (kernel set), and the idle time before them (gaps). Count and duration are split by
the logarithmic mean (Ang 2005, LMDI-I), which is exact. What kernels did side by side is a line of its own, so that the
lines sum to the difference; what medians do not add up to is the residual, and is printed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tokprof.profiler.analysis.alignment import align, normal_name
from tokprof.profiler.analysis.attribution import log_mean
from tokprof.profiler.analysis.profiled import MUCH, profiled_phases, union_ns
from tokprof.profiler.analysis.roofline import KernelFloors, below_floor, ceiling_of, kernel_floors, kernel_limit
from tokprof.profiler.analysis.runs import (
    Recording,
    at_clean_times,
    counted_steps,
    marked_repetitions,
    step_limits,
)
from tokprof.profiler.analysis.stats import variance_of_median
from tokprof.profiler.analysis.summary import distinct_notes
from tokprof.profiler.analysis.timeline import outside_steps
from tokprof.profiler.record import (
    Array,
    Calibration,
    KernelLimit,
    LedgerLine,
    Note,
    NoteLevel,
    Phase,
    PhaseDiff,
    Run,
    StepKernels,
    StepLimits,
    TimelineDiff,
    Trace,
    TypicalStep,
)
from tokprof.profiler.trace.categories import Rules
from tokprof.profiler.trace.steps import Timeline, timeline, typical_steps

GROUPINGS = ("category", "operator", "kernel", "layer", "frame")
SIDE_BY_SIDE = "(kernels side by side)"
CONFIDENCE = 0.95
LOW_CONFIDENCE = 0.75
LEFT_OUT_SHARE = 0.01  # of the busy time: less of it outside the steps goes unsaid
MARKED_SHARE = 0.5  # of the repetitions: with more of them marked, no difference is called an effect
RESIDUAL_SHARE = 0.25  # of the difference: with more of it in no line, likewise
NOISE_SHARE = 0.01  # of A's step: an interval that holds 0 and stays within it is noise


def compare(
    a: Trace | Sequence[Recording],
    b: Trace | Sequence[Recording],
    *,
    a_name: str | None = None,
    b_name: str | None = None,
    table: Rules | None = None,
    calibrations: tuple[Calibration | None, Calibration | None] | None = None,
) -> TimelineDiff:
    """Compare two traces or runs: their typical prefill, their typical decode step, or what stands in for them.

    A run is given as its processes' recordings. Two runs are compared at the times of their clean passes, and stand
    beside their floors where the ``calibrations`` of their devices are given; a run and a trace are compared as two
    traces, the run by its first process.
    """
    sides = [[Recording(trace=side)] if isinstance(side, Trace) else list(side) for side in (a, b)]
    clean = all(recording.run is not None for side in sides for recording in side)
    names = [given or side[0].trace.source for given, side in zip((a_name, b_name), sides, strict=True)]
    notes: list[Note] = []
    found: list[tuple[TypicalStep, ...]] = []
    for letter, side in zip("AB", sides, strict=True):
        used = side if clean else side[:1]
        lines = [timeline(recording.trace, table) for recording in used]
        counted = [
            line if r.run is None else counted_steps(line, r.trace, r.run) for r, line in zip(used, lines, strict=True)
        ]
        raw = [typical_steps(r.trace, line=line) for r, line in zip(used, counted, strict=True)]
        runs = [recording.run for recording in side if recording.run is not None]
        steps, said = at_clean_times(raw, runs) if clean else (raw[0], ())
        found.append(steps)
        if not any(raw):
            notes.append(
                Note(
                    code="no-kernels",
                    message=f"{letter}'s trace holds neither device work nor operators",
                    advice="profile it with the kernel pass" if runs else "record it with the profiler's activities on",
                )
            )
        notes += [note for recording in side for note in recording.trace.notes]
        for note in distinct_notes(runs) if runs else ():
            if note.level is NoteLevel.WARNING:
                notes.append(replace(note, message=f"{letter}: {note.message}"))
        notes += [] if runs else _left_out(letter, lines[0])
        notes += [replace(note, message=f"{letter}: {note.message}") for note in said]
        if not clean and side[0].run is not None:
            notes.append(_profiled_times(letter, side))
    pairs = _pairs(found[0], found[1], notes)
    phases = tuple(compare_steps(x, y) for x, y in pairs)
    if clean:
        phases = tuple(_with_run_doubts(diff, sides) for diff in phases)
    phases = tuple(with_residual_doubts(diff) for diff in phases)
    if clean and calibrations is not None:
        phases = tuple(_beside_floors(diff, sides, calibrations) for diff in phases)
        notes += _on_floors(phases, sides, calibrations)
    for letter, steps in zip("AB", found, strict=True):
        notes += [_doubt(letter, step) for step in steps if step.confidence < LOW_CONFIDENCE]
    notes += _on_samples(phases)
    counters = [side[0].trace.counters for side in sides]
    return TimelineDiff(
        a_name=names[0],
        b_name=names[1],
        phases=phases,
        a_counters=counters[0] if len(counters[0]) else None,
        b_counters=counters[1] if len(counters[1]) else None,
        unlike=_unlike_work(*(side[0].run for side in sides)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _unlike_work(a: Run | None, b: Run | None) -> tuple[str, ...]:
    """Say in what the work of two runs differs."""
    if a is None or b is None:
        return ()
    words = {
        "mode": "mode",
        "batch_size": "batch",
        "prompt_token_count": "prompt tokens",
        "new_token_count": "new tokens",
    }
    found = ((word, getattr(a.cell, key), getattr(b.cell, key)) for key, word in words.items())
    return tuple(f"{word} {mine} → {other}" for word, mine, other in found if mine != other)


def _with_run_doubts(diff: PhaseDiff, sides: Sequence[Sequence[Recording]]) -> PhaseDiff:
    """Return the comparison of two runs with what about their measurement takes its worth from it."""
    disturbed, unlike = [], []
    for letter, side, step in zip("AB", sides, (diff.a, diff.b), strict=True):
        if step.phase is None:
            continue
        runs = [recording.run for recording in side if recording.run is not None]
        marked, total = (sum(c) for c in zip(*(marked_repetitions(run, step.phase) for run in runs), strict=True))
        if marked > MARKED_SHARE * total:
            which = f"{marked} of {total}" if marked < total else f"all {total}" if total > 1 else "the only"
            plural = "s" * (total > 1)
            disturbed.append(f"{which} repetition{plural} of {letter} ran on a disturbed machine")
        seen = [one for one in profiled_phases(runs, step.phase) if one.clean_ns is not None]
        ratio = sum(one.profiled_ns for one in seen) / sum(one.clean_ns or 0.0 for one in seen) if seen else 1.0
        if not 1 / MUCH < ratio < MUCH:
            unlike.append(f"{letter}'s profiled pass took ×{ratio:.2f} the clean pass's time")
    return replace(_doubted(diff, [*disturbed, *unlike]), disturbed=tuple(disturbed))


def with_residual_doubts(diff: PhaseDiff) -> PhaseDiff:
    """Return the comparison, doubted where much of the difference is in no line of its ledgers."""
    change = diff.b.wall_ns - diff.a.wall_ns
    if abs(change) < NOISE_SHARE * diff.a.wall_ns or abs(diff.residual_ns) < RESIDUAL_SHARE * abs(change):
        return diff
    left = f"{abs(diff.residual_ns) / 1e6:.3f} ms beside a difference of {abs(change) / 1e6:.3f} ms is in no line"
    return _doubted(diff, [left])


def _doubted(diff: PhaseDiff, doubts: Sequence[str]) -> PhaseDiff:
    """Return the comparison with its doubts, under which no line is called an effect."""
    if not doubts:
        return diff
    ledgers = tuple((by, tuple(_without_effect(line) for line in lines)) for by, lines in diff.ledgers)
    return replace(diff, ledgers=ledgers, doubts=(*diff.doubts, *doubts))


def _without_effect(line: LedgerLine) -> LedgerLine:
    return replace(line, verdict="doubtful") if line.verdict == "effect" else line


def _beside_floors(
    diff: PhaseDiff, sides: Sequence[Sequence[Recording]], calibrations: Sequence[Calibration | None]
) -> PhaseDiff:
    """Return the comparison of two runs with both steps beside their floors, as far as these are known."""
    limits: list[StepLimits | None] = []
    for step, side, calibration in zip((diff.a, diff.b), sides, calibrations, strict=True):
        runs = [recording.run for recording in side if recording.run is not None]
        if step.phase is None or calibration is None:
            limits.append(None)
        else:
            limits.append(step_limits(runs, step.phase, step.wall_ns, calibration))
    return _with_kernel_limits(replace(diff, a_limits=limits[0], b_limits=limits[1]), calibrations)


def _with_kernel_limits(diff: PhaseDiff, calibrations: Sequence[Calibration | None]) -> PhaseDiff:
    """Return the comparison with the kernels of every line beside their floors, on each side that is calibrated."""
    sides: list[tuple[Array, KernelFloors, Array] | None] = []
    for step, rows, calibration in zip((diff.a, diff.b), (diff.a_row, diff.b_row), calibrations, strict=True):
        if calibration is None:
            sides.append(None)
        else:
            own = rows >= 0
            floors = kernel_floors(step.kernels, ceiling_of(calibration)).select(rows[own])
            sides.append((own, floors, step.measured_ns[rows[own]]))
    ledgers = []
    for (by, lines), (_, of) in zip(diff.ledgers, diff.line_of, strict=True):
        limits: list[list[KernelLimit | None]] = []
        for side in sides:
            if side is None:
                limits.append([None] * len(lines))
            else:
                own, floors, measured_ns = side
                limits.append([kernel_limit(sums) for sums in floors.sums(measured_ns, of[own], len(lines)).T])
        beside = zip(lines, *limits, strict=True)
        ledgers.append((by, tuple(replace(line, a_limit=a, b_limit=b) for line, a, b in beside)))
    return replace(diff, ledgers=tuple(ledgers))


def _on_floors(
    phases: Sequence[PhaseDiff], sides: Sequence[Sequence[Recording]], calibrations: Sequence[Calibration | None]
) -> list[Note]:
    """Say why a run stands beside no floor, or below it."""
    notes = []
    uncalibrated = [letter for letter, calibration in zip("AB", calibrations, strict=True) if calibration is None]
    if uncalibrated:
        notes.append(
            Note(
                code="not-calibrated",
                message=f"{' and '.join(uncalibrated)}: how far from the device's limits is not known: the device was "
                "not calibrated",
                advice="run `tokprof calibrate` on it once, then compare again",
                level=NoteLevel.INFO,
            )
        )
    for letter, side, calibration in zip("AB", sides, calibrations, strict=True):
        run = side[0].run
        if run is not None and calibration is not None and run.model.shape is None:
            words = "its cost formula is unknown, or was when this was recorded"
            message = f"{letter}: no floor for {run.model.architecture}: {words}"
            notes.append(Note(code="no-floor", message=message, level=NoteLevel.INFO))
    notes += [
        below_floor(f"{letter}: {diff.title}")
        for diff in phases
        for letter, limits in (("A", diff.a_limits), ("B", diff.b_limits))
        if limits is not None and limits.gap_ms < 0
    ]
    notes += [
        below_floor(f"{letter}: {line.key} in {diff.title}")
        for diff in phases
        for line in dict(diff.ledgers)["kernel"]
        for letter, limit in (("A", line.a_limit), ("B", line.b_limit))
        if limit is not None and limit.undercut
    ]
    return notes


def _profiled_times(letter: str, side: Sequence[Recording]) -> Note:
    others = f" and its other {len(side) - 1} processes are left out" if len(side) > 1 else ""
    return Note(
        code="profiled-times",
        message=f"{letter} is a run, the other side a trace: {letter}'s times are those of its profiled pass{others}",
        advice="compare two runs for times of their clean passes",
    )


def _left_out(letter: str, line: Timeline) -> list[Note]:
    """Say what of a trace lies outside its steps and is therefore not compared, unless that is next to nothing."""
    outside = outside_steps(line)
    busy_ms = union_ns(line.work.start_ns, line.work.end_ns) / 1e6
    if outside is None or outside.busy_ms < LEFT_OUT_SHARE * busy_ms:
        return []
    early = (
        f"; {outside.early_count:,} of them ran before any step's own work, left over from what was launched earlier"
        if outside.early_count
        else ""
    )
    return [
        Note(
            code="outside-steps",
            message=f"{letter}: {outside.kernel_count:,} of {len(line.work):,} kernels ({outside.busy_ms:.3f} of "
            f"{busy_ms:.3f} ms busy) belong to no step and are not compared{early}",
        )
    ]


def _on_samples(phases: Sequence[PhaseDiff]) -> list[Note]:
    """Say what the intervals of the lines are over, or why there are none."""
    kinds = set()
    for diff in phases:
        several = _has_samples(diff.a) and _has_samples(diff.b)
        alike = diff.a.sample_unit == diff.b.sample_unit
        unit = diff.a.sample_unit
        if unit == "step" and diff.a.repetition_samples_ns is not None and diff.b.repetition_samples_ns is not None:
            unit = "repetition"
        kinds.add("one-sample" if not several else f"unit-{unit}" if alike else "unit-mixed")
    return [
        Note(code=code, message=m, advice=advice, level=NoteLevel.INFO) for code, m, advice in _UNITS if code in kinds
    ]


_UNITS = (
    ("unit-process", "intervals are Welch's over processes, the unit of replication", ""),
    (
        "unit-repetition",
        "the interval of a whole step is over the clean repetitions of one process a side, those of lines are over its "
        "profiled steps: they tell noise inside these two recordings, not differences between processes",
        "profile both sides with --processes 5 for intervals between processes",
    ),
    (
        "unit-step",
        "intervals are over the steps of one process a side: they tell noise inside these two recordings, not "
        "differences between processes",
        "profile both sides with --processes 5 for intervals between processes",
    ),
    (
        "unit-mixed",
        "one side has several processes and the other one, so the lines have no interval",
        "profile both sides with --processes 5",
    ),
    (
        "one-sample",
        "one side holds a single step of a phase, so its lines have no interval",
        "trace several steps; compare run folders of several processes for intervals between machines",
    ),
)


def _has_samples(step: TypicalStep) -> bool:
    return step.samples_ns is not None and len(step.samples_ns) > 1


def _pairs(
    steps_a: Sequence[TypicalStep], steps_b: Sequence[TypicalStep], notes: list[Note]
) -> list[tuple[TypicalStep, TypicalStep]]:
    """Pair the steps of one phase; where no phase is shared, the only step of each side."""
    by_phase = {step.phase: step for step in steps_b}
    pairs = [(step, by_phase[step.phase]) for step in steps_a if step.phase in by_phase]
    if not pairs and len(steps_a) == 1 and len(steps_b) == 1:
        names = [s.title for s in (*steps_a, *steps_b)]
        notes.append(
            Note(
                code="phases-differ",
                message=f"A has a {names[0]}, B a {names[1]}; they are compared because neither has another",
            )
        )
        pairs = [(steps_a[0], steps_b[0])]
    if not pairs and steps_a and steps_b:
        has = [", ".join(step.title for step in steps) for steps in (steps_a, steps_b)]
        notes.append(Note(code="phases-apart", message=f"A has {has[0]}, B has {has[1]}, and no phase is in both"))
    for side, own, other in (("A", steps_a, steps_b), ("B", steps_b, steps_a)):
        alone = [s.title for s in own if s.phase not in {t.phase for t in other}]
        if alone and pairs and len(own) > 1:
            notes.append(Note(code="phase-alone", message=f"only {side} has {', '.join(alone)}: not compared"))
    return pairs


def _doubt(side: str, step: TypicalStep) -> Note:
    return Note(
        code="phase-unsure",
        message=f"{side}: {step.title} is taken from {step.evidence} (confidence {step.confidence:.0%})",
        advice="annotate the steps (record_function) or record the run with tokprof",
        level=NoteLevel.INFO,
    )


def compare_steps(a: TypicalStep, b: TypicalStep) -> PhaseDiff:
    """Align two typical steps and account for the difference of their wall times."""
    rows_a, rows_b = align(a.kernels, b.kernels)
    kernels = line_keys(a.kernels, b.kernels, rows_a, rows_b, "kernel")
    ledgers, line_of = [], []
    for by in GROUPINGS:
        groups = kernels if by == "kernel" else line_keys(a.kernels, b.kernels, rows_a, rows_b, by)
        lines, of = _ledger(a, b, rows_a, rows_b, groups, kernels)
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


# ------------------------------------------------------------------------------------------------------------ ledger

_Keys = tuple[Array, tuple[str, ...]]  # for each line of the alignment the code of its key; the keys


def _ledger(
    a: TypicalStep, b: TypicalStep, rows_a: Array, rows_b: Array, groups: _Keys, kernels: _Keys
) -> tuple[tuple[LedgerLine, ...], Array]:
    """Return the lines of a ledger, the largest difference first, and for each line of the alignment its line."""
    code, keys = groups
    count = len(keys)
    # Within a line, each kernel is split by itself: count and duration where both sides have it, else the kernel set.
    cells, cell = np.unique(code * len(kernels[1]) + kernels[0], return_inverse=True)
    cell = cell.reshape(-1)
    in_a, in_b = rows_a >= 0, rows_b >= 0
    count_a, total_a = _sums(cell[in_a], a.kernels.duration_ns[rows_a[in_a]], len(cells))
    count_b, total_b = _sums(cell[in_b], b.kernels.duration_ns[rows_b[in_b]], len(cells))
    both = (total_a > 0) & (total_b > 0)
    change = total_b - total_a
    by_count = np.zeros(len(cells))
    by_count[both] = log_mean(total_b[both], total_a[both]) * np.log(count_b[both] / count_a[both])
    line_of_cell = cells // len(kernels[1])
    count_effect = np.bincount(line_of_cell, weights=by_count, minlength=count)
    duration_effect = np.bincount(line_of_cell, weights=np.where(both, change - by_count, 0), minlength=count)
    set_effect = np.bincount(line_of_cell, weights=np.where(both, 0, change), minlength=count)
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
    samples: list[Array | None] = [None, None]
    if a.sample_unit == b.sample_unit:
        samples = [_line_samples(side, rows, code, count) for side, rows in ((a, rows_a), (b, rows_b))]
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
    lines = _with_intervals(lines, samples, NOISE_SHARE * a.wall_ns, a.sample_unit)
    order = sorted(range(len(lines)), key=lambda k: -abs(lines[k].difference_ns))
    place = np.empty(len(lines), dtype=np.int32)
    place[order] = np.arange(len(lines))
    return tuple(lines[k] for k in order), place[code]


def _sums(code: Array, values: Array, count: int) -> tuple[Array, Array]:
    return np.bincount(code, minlength=count), np.bincount(code, weights=values, minlength=count)


def _line_samples(step: TypicalStep, rows: Array, code: Array, count: int) -> Array | None:
    """Return each sample's time of each line, shape (samples, lines + 1); the last is what ran side by side."""
    if step.samples_ns is None or step.gap_samples_ns is None or len(step.samples_ns) < 2:
        return None
    total = step.samples_ns + step.gap_samples_ns
    result = np.zeros((len(total), count + 1))
    own = rows >= 0
    order = np.argsort(code[own], kind="stable")
    present, first = np.unique(code[own][order], return_index=True)
    if len(present):
        result[:, present] = np.add.reduceat(total[:, rows[own][order]], first, axis=1)
    if step.wall_samples_ns is not None:
        result[:, count] = step.wall_samples_ns - total.sum(axis=1)
    return result


def _with_intervals(
    lines: list[LedgerLine], samples: list[Array | None], margin_ns: float, unit: str
) -> list[LedgerLine]:
    """Give each line Welch's 95 % interval over the samples of both sides, and say what it tells.

    The unit is that of the samples: steps tell noise inside two recordings, processes that between runs. A line holds
    medians of steps, means of processes, and has the error of these. It is an effect where it stays one among all lines
    of the ledger (Holm 1979), noise where its interval holds 0 and nothing beyond the margin, else inconclusive.
    """
    a, b = samples
    if a is None or b is None:
        return lines
    from scipy.special import stdtr, stdtrit

    columns = slice(0, len(lines))
    part_a, part_b = (
        variance_of_median(s[:, columns]) if unit == "step" else np.var(s[:, columns], axis=0, ddof=1) / len(s)
        for s in (a, b)
    )
    error = np.sqrt(part_a + part_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (part_a + part_b) ** 2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
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


def line_keys(a: StepKernels, b: StepKernels, rows_a: Array, rows_b: Array, by: str) -> _Keys:
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


def headline(diff: TimelineDiff) -> str:
    """Say in one or two sentences what differs and where it comes from."""
    if not diff.phases:
        return "The two have no phase in common, so nothing is compared."
    sentences = [_sentence(phase) for phase in diff.phases]
    if diff.unlike:
        sentences.append(f"The two did not do the same work: {', '.join(diff.unlike)}.")
    return " ".join(sentences)


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
    times = f"{diff.a.wall_ns / 1e6:.3f} → {diff.b.wall_ns / 1e6:.3f} ms, {change / 1e6:+.3f} ms"
    total, units = total_line(diff)
    here = "" if units == "processes" else " in these two recordings"
    if total.high_ns is not None:
        times += f" ± {(total.high_ns - total.difference_ns) / 1e6:.3f} over {units}"
    if total.verdict in ("noise", "inconclusive"):
        found = "differs by no more than noise" if total.verdict == "noise" else "shows no difference beyond its noise"
        return f"{what} {found}{here} ({times}, {relative:+.1%}; 95 % interval)."
    word = "slower" if change > 0 else "faster"
    lines = [line for line in dict(diff.ledgers)["category"] if line.key != SIDE_BY_SIDE]
    unsure = {line.key: f" ({line.verdict})" for line in lines if line.verdict in ("noise", "inconclusive")}
    parts = [(line.key + unsure.get(line.key, ""), line.difference_ns - line.gap_effect_ns) for line in lines]
    gaps = sum(line.gap_effect_ns for line in lines)
    parts += [("gaps", gaps), ("not accounted for", diff.residual_ns)]
    telling = sorted((p for p in parts if abs(p[1]) >= 0.05 * abs(change)), key=lambda p: -abs(p[1]))[:4]
    listed = ", ".join(f"{name} {value / 1e6:+.3f} ms" for name, value in telling)
    doubts = "; ".join(diff.doubts)
    if diff.disturbed:
        return (
            f"{what} of B came out {abs(relative):.1%} {word} than A's{here} ({times}), which is not to be relied on: "
            f"{doubts}. In the ledger: {listed}."
        )
    if diff.doubts:
        return (
            f"{what} of B is {abs(relative):.1%} {word} than A's{here} ({times}); where that comes from is not to be "
            f"relied on: {doubts}. In the ledger: {listed}."
        )
    return f"{what} of B is {abs(relative):.1%} {word} than A's{here} ({times}): {listed}."


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
    if diff.a.sample_unit == "process":
        unit = "processes"
    elif all(samples is not None for samples in repetitions):
        walls, unit = repetitions, "repetitions"  # also a single one: how it scatters, the profiled steps do not tell
    if diff.a.sample_unit != diff.b.sample_unit or any(wall is None or len(wall) < 2 for wall in walls):
        return line, unit
    samples = [np.asarray(wall, dtype=np.float64).reshape(-1, 1) for wall in walls]
    (line,) = _with_intervals([line], list(samples), NOISE_SHARE * diff.a.wall_ns, diff.a.sample_unit)
    return (_without_effect(line) if diff.disturbed else line), unit
