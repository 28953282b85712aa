"""Compare two traces or runs: which of their steps answer each other, what differs, and how far that is to be trusted.

What the difference of two steps is made of, :mod:`ledger` tells.
"""

from collections.abc import Sequence
from dataclasses import replace

from tokprof.profiler.analysis.ledger import NOISE_SHARE, SIDE_BY_SIDE, compare_steps, total_line, without_effect
from tokprof.profiler.analysis.profiled import MUCH, profiled_phases, union_ns
from tokprof.profiler.analysis.roofline import (
    KernelFloors,
    below_floor,
    ceiling_of,
    kernel_floors,
    kernel_limit,
    no_floor,
    step_limits,
)
from tokprof.profiler.analysis.runs import (
    Recording,
    RunsOf,
    at_clean_times,
    counted_steps,
    marked_repetitions,
)
from tokprof.profiler.analysis.summary import distinct_notes, sm_clock_mhz
from tokprof.profiler.analysis.timeline import outside_steps
from tokprof.profiler.record import (
    Array,
    Calibration,
    KernelLimit,
    Note,
    NoteLevel,
    Phase,
    PhaseDiff,
    Run,
    StepLimits,
    TimelineDiff,
    Trace,
    TypicalStep,
)
from tokprof.profiler.trace.categories import Rules
from tokprof.profiler.trace.steps import Timeline, timeline, typical_steps

LOW_CONFIDENCE = 0.75
LEFT_OUT_SHARE = 0.01  # of the busy time: less of it outside the steps goes unsaid
MARKED_SHARE = 0.5  # of the repetitions: with more of them marked, no difference is called an effect
RESIDUAL_SHARE = 0.25  # of the difference: with more of it in no line, likewise


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
    agreeing: list[RunsOf] = []
    for letter, side in zip("AB", sides, strict=True):
        used = side if clean else side[:1]
        lines = [timeline(recording.trace, table) for recording in used]
        counted = [
            line if r.run is None else counted_steps(line, r.trace, r.run) for r, line in zip(used, lines, strict=True)
        ]
        raw = [typical_steps(r.trace, line=line) for r, line in zip(used, counted, strict=True)]
        runs = [recording.run for recording in side if recording.run is not None]
        steps, runs_of, said = at_clean_times(raw, runs) if clean else (raw[0], {}, ())
        found.append(steps)
        agreeing.append(runs_of)
        if not any(raw):
            notes.append(
                Note(
                    code="no-kernels",
                    message=f"{letter} has no kernel pass"
                    if runs
                    else f"{letter}'s trace holds neither device work nor operators",
                    advice="profile it without --skip kernels; `tokprof show` has its times"
                    if runs
                    else "record it with the profiler's activities on",
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
        phases = tuple(_with_run_doubts(diff, agreeing) for diff in phases)
    phases = tuple(with_residual_doubts(diff) for diff in phases)
    if clean and calibrations is not None:
        phases = tuple(_beside_floors(diff, agreeing, calibrations) for diff in phases)
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


def _with_run_doubts(diff: PhaseDiff, runs_of: Sequence[RunsOf]) -> PhaseDiff:
    """Return the comparison of two runs with what about their measurement takes its worth from it."""
    disturbed, unlike = [], []
    for letter, by_phase, step in zip("AB", runs_of, (diff.a, diff.b), strict=True):
        if step.phase is None:
            continue
        runs = by_phase[step.phase]
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
    ledgers = tuple((by, tuple(without_effect(line) for line in lines)) for by, lines in diff.ledgers)
    return replace(diff, ledgers=ledgers, doubts=(*diff.doubts, *doubts))


def _beside_floors(diff: PhaseDiff, runs_of: Sequence[RunsOf], calibrations: Sequence[Calibration | None]) -> PhaseDiff:
    """Return the comparison of two runs with both steps beside their floors, as far as these are known."""
    limits: list[StepLimits | None] = []
    for step, by_phase, calibration in zip((diff.a, diff.b), runs_of, calibrations, strict=True):
        if step.phase is None or calibration is None:
            limits.append(None)
            continue
        runs = by_phase[step.phase]
        ceiling, clock = ceiling_of(calibration), sm_clock_mhz(runs, step.phase)
        time_ms = step.wall_ns / 1e6
        limits.append(step_limits(runs, step.phase, ceiling, time_ms=time_ms, mean_sm_clock_mhz=clock))
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
        if run is not None and calibration is not None and (note := no_floor(run)) is not None:
            notes.append(replace(note, message=f"{letter}: {note.message}"))
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
        repetitions = [side.repetition_samples_ns for side in (diff.a, diff.b)]
        if not (_has_samples(diff.a) and _has_samples(diff.b)):
            kinds.add("one-sample")
        elif diff.a.sample_unit != diff.b.sample_unit:
            kinds.add("unit-mixed")
        elif diff.a.sample_unit == "step" and all(samples is not None for samples in repetitions):
            fewest = min(len(samples) for samples in repetitions if samples is not None)
            kinds.add("unit-repetition" if fewest > 1 else "one-repetition")
        else:
            kinds.add(f"unit-{diff.a.sample_unit}")
    return [
        Note(code=code, message=m, advice=advice, level=NoteLevel.INFO) for code, m, advice in _UNITS if code in kinds
    ]


_UNITS = (
    ("unit-process", "intervals are Welch's over processes, the unit of replication", ""),
    (
        "unit-repetition",
        "the interval of a whole step is over the clean repetitions of one process a side, those of lines are over its "
        "profiled steps and hold how well the clean time is known: they tell noise inside these two recordings, not "
        "differences between processes",
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
        "one-repetition",
        "one side has a single clean repetition, so there is no interval",
        "profile both sides with several repetitions, or with --processes 5",
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


def headline(diff: TimelineDiff) -> str:
    """Say in one or two sentences what differs and where it comes from."""
    if not diff.phases:
        kernels = [note for note in diff.notes if note.code == "no-kernels"]
        why = "there are no kernels to compare" if kernels else "the two have no phase in common"
        return f"Nothing is compared: {why}."
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
    times = f"{diff.a.wall_ns / 1e6:.3f} → {diff.b.wall_ns / 1e6:.3f} ms, {change / 1e6:+.3f} ms"
    total, units = total_line(diff)
    here = "" if units == "processes" else " in these two recordings"
    if total.high_ns is not None:
        times += f" ± {(total.high_ns - total.difference_ns) / 1e6:.3f} over {units}"
    doubts = "; ".join(diff.doubts)
    worth = f" That is not to be relied on: {doubts}." if doubts else ""
    if abs(relative) < 0.0005 and total.verdict in ("noise", "one sample"):
        return f"{what} takes the same time in both{here} ({diff.a.wall_ns / 1e6:.3f} ms).{worth}"
    if total.verdict in ("noise", "inconclusive"):
        found = "differs by no more than noise" if total.verdict == "noise" else "shows no difference beyond its noise"
        return f"{what} {found}{here} ({times}, {relative:+.1%}; 95 % interval).{worth}"
    word = f"{abs(relative):.1%} slower" if change > 0 else f"{abs(relative):.1%} faster"
    is_so, came_out = f"is {word} than A's", f"came out {word} than A's"
    if relative >= 1:  # a share beyond 100 % is hard to read
        is_so = came_out = f"takes ×{diff.b.wall_ns / diff.a.wall_ns:,.3g} the time of A's"
    lines = [line for line in dict(diff.ledgers)["category"] if line.key != SIDE_BY_SIDE]
    unsure = {line.key: f" ({line.verdict})" for line in lines if line.verdict in ("noise", "inconclusive")}
    parts = [(line.key + unsure.get(line.key, ""), line.difference_ns - line.gap_effect_ns) for line in lines]
    gaps = sum(line.gap_effect_ns for line in lines)
    parts += [("gaps", gaps), ("not accounted for", diff.residual_ns)]
    telling = sorted((p for p in parts if abs(p[1]) >= 0.05 * abs(change)), key=lambda p: -abs(p[1]))[:4]
    listed = ", ".join(f"{name} {value / 1e6:+.3f} ms" for name, value in telling)
    if diff.disturbed:
        return (
            f"{what} of B {came_out}{here} ({times}), which is not to be relied on: {doubts}. In the ledger: {listed}."
        )
    if diff.doubts:
        return (
            f"{what} of B {is_so}{here} ({times}); where that comes from is not to be "
            f"relied on: {doubts}. In the ledger: {listed}."
        )
    return f"{what} of B {is_so}{here} ({times}): {listed}."
