"""Typical steps of tokprof's own runs, at the speed of the clean pass.

The profiled pass tells which kernels a step is made of and how they share its time; how long a step takes, the clean
pass tells. On a GPU kernels keep their durations; on a CPU the profiler stretches the operators themselves, so they are
scaled as the step is. The gaps take the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.analysis.profiled import MUCH, ProfiledPhase, profiled_phase, steps_text
from tokprof.profiler.analysis.stats import variance_of_median
from tokprof.profiler.record import (
    Array,
    Mark,
    Note,
    NoteLevel,
    PassKind,
    Phase,
    Run,
    Trace,
    TypicalStep,
)
from tokprof.profiler.trace.steps import Timeline, own_steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """One trace, and the run it belongs to (``None``: a trace of anyone's)."""

    trace: Trace
    run: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cleaned:
    """A process's step at clean times, and what it was made from."""

    run: Run
    step: TypicalStep
    seen: ProfiledPhase
    gap_scale: float


RunsOf = dict[Phase | None, list[Run]]


def at_clean_times(
    found: Sequence[tuple[TypicalStep, ...]], runs: Sequence[Run]
) -> tuple[tuple[TypicalStep, ...], RunsOf, tuple[Note, ...]]:
    """Put each process's typical steps to the time of its clean pass, and make one of those of a phase.

    Steps of several processes become the means of the processes' medians, which are its samples. Where processes ran
    other sequences of kernels, those that agree most are taken, which are returned, and a note says so.
    """
    notes: list[Note] = []
    steps = []
    runs_of: RunsOf = {}
    for phase in dict.fromkeys(step.phase for own in found for step in own):
        cleaned: list[_Cleaned] = []
        for own, run in zip(found, runs, strict=True):
            step = next((s for s in own if s.phase is phase), None)
            seen = None if phase is None else profiled_phase(run, phase)
            if step is None or seen is None or seen.clean_ns is None or seen.kernel_scale is None:
                continue
            clean = clean_step(step, seen.clean_ns, seen.kernel_scale)
            time_of = _time_of(step.title, seen)
            gap_scale = _gap_scale(step, seen.clean_ns, seen.kernel_scale)
            clean = replace(
                clean,
                time_of=time_of,
                repetition_samples_ns=seen.clean_samples_ns,
                scale_error_ns=_scale_error_ns(clean, seen, gap_scale),
            )
            cleaned.append(_Cleaned(run=run, step=clean, seen=seen, gap_scale=gap_scale))
        if cleaned:
            agreeing = _agreeing(cleaned, notes)
            steps.append(pooled([one.step for one in agreeing]))
            runs_of[phase] = [one.run for one in agreeing]
            notes.append(_scaling(phase, agreeing))
        else:
            notes.append(
                Note(
                    code="phase-not-clean",
                    message=f"{phase or 'a step of unknown phase'} was traced, but the clean pass has no time of it: "
                    "left out",
                )
            )
    return tuple(steps), runs_of, tuple(notes)


def counted_steps(line: Timeline, trace: Trace, run: Run) -> Timeline:
    """Return a run's time line without the steps that do not count: those after the end of the sequences."""
    spans = run.spans.of(pass_kind=PassKind.KERNELS, counted=True)
    counted = set(zip(spans.repetition.tolist(), spans.step.tolist(), strict=True))
    own = own_steps(trace)
    uncounted = {
        start
        for start, *key in zip(own.start_ns.tolist(), own.repetition.tolist(), own.step.tolist(), strict=True)
        if tuple(key) not in counted
    }
    numbers = [number for number, start in enumerate(line.steps.start_ns.tolist()) if start in uncounted]
    step_of_row = np.where(np.isin(line.steps.step_of_row, numbers), -1, line.steps.step_of_row)
    return replace(line, steps=replace(line.steps, step_of_row=step_of_row))


def _time_of(title: str, seen: ProfiledPhase) -> str:
    """Say which of the clean pass's steps a time is the median of."""
    count = len(seen.clean_samples_ns)
    repetitions = f"{count} clean repetition{'s' * (count > 1)}"
    if title == Phase.PREFILL:
        return f"median over {repetitions}"
    which, total = steps_text(seen), seen.clean_step_count
    return f"median over {title} steps {which} of {repetitions}, those that the profiled pass has of {total} steps"


def marked_repetitions(run: Run, phase: Phase) -> tuple[int, int]:
    """Return how many clean repetitions of a phase ran on a disturbed machine, and how many there are."""
    clean = run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    bits = Mark.THROTTLED | Mark.SHARED_DEVICE | Mark.CONTAMINATED
    return len(np.unique(clean.repetition[(clean.mark & bits) != 0])), len(np.unique(clean.repetition))


def clean_step(step: TypicalStep, wall_ns: float, kernel_scale: float) -> TypicalStep:
    """Return the step as it would take ``wall_ns`` with its kernels' times multiplied by ``kernel_scale``.

    Its gaps are multiplied so that they fill what the kernels leave, but by no more than ``MUCH`` times that scale:
    what is missing then lay in no gap of the profiled pass, and stays a residual. It does so, too, where the kernels
    alone take longer than ``wall_ns``; no gap remains then.
    """
    gap_scale = _gap_scale(step, wall_ns, kernel_scale)
    kernels = step.kernels
    samples, gap_samples, walls = step.samples_ns, step.gap_samples_ns, step.wall_samples_ns
    if walls is not None and gap_samples is not None:
        walls = walls * kernel_scale + (gap_scale - kernel_scale) * gap_samples.sum(axis=1)
    return replace(
        step,
        wall_ns=wall_ns,
        busy_ns=step.busy_ns * kernel_scale,
        overlap_ns=step.overlap_ns * kernel_scale,
        profiled_ns=step.measured_ns,
        kernels=replace(
            kernels,
            start_ns=kernels.start_ns * kernel_scale + (gap_scale - kernel_scale) * np.cumsum(kernels.gap_ns),
            duration_ns=kernels.duration_ns * kernel_scale,
            gap_ns=kernels.gap_ns * gap_scale,
        ),
        samples_ns=None if samples is None else samples * kernel_scale,
        gap_samples_ns=None if gap_samples is None else gap_samples * gap_scale,
        wall_samples_ns=walls,
    )


def _gap_scale(step: TypicalStep, wall_ns: float, kernel_scale: float) -> float:
    gaps_ns = step.wall_ns - step.busy_ns
    filling = max(0.0, wall_ns - step.busy_ns * kernel_scale) / gaps_ns if gaps_ns > 0 else 1.0
    return min(filling, MUCH * kernel_scale)


def _scale_error_ns(clean: TypicalStep, seen: ProfiledPhase, gap_scale: float) -> Array | None:
    """Return what one standard error of the clean time moves each kernel by; ``None`` where one repetition tells none.

    On a CPU all of the step is scaled to that time, on a GPU the gaps alone, as far as they are.
    """
    if len(seen.clean_samples_ns) < 2:
        return None
    kernels = clean.kernels
    if seen.on_cpu:
        moved, whole = np.append(kernels.duration_ns + kernels.gap_ns, -clean.overlap_ns), clean.wall_ns
    else:
        fill = gap_scale < MUCH
        moved, whole = np.append(kernels.gap_ns * fill, 0.0), float(kernels.gap_ns.sum())
    return moved / max(whole, 1.0) * float(np.sqrt(variance_of_median(seen.clean_samples_ns)))


def sequence_of(step: TypicalStep) -> tuple[object, ...]:
    """Return what two steps have in common whose kernels can be averaged one by one: names and streams, in order."""
    kernels = step.kernels
    return tuple(kernels.names[code] for code in kernels.name.tolist()), kernels.stream.tobytes()


def _agreeing(cleaned: Sequence[_Cleaned], notes: list[Note]) -> list[_Cleaned]:
    """Return the processes that ran the most common sequence of kernels; a note says how many did not."""
    groups: dict[tuple[object, ...], list[_Cleaned]] = {}
    for one in cleaned:
        groups.setdefault(sequence_of(one.step), []).append(one)
    same = max(groups.values(), key=len)
    if len(same) < len(cleaned):
        notes.append(
            Note(
                code="processes-differ",
                message=f"{len(cleaned) - len(same)} of {len(cleaned)} processes ran another sequence of kernels in "
                f"{same[0].step.phase or 'the step'} than the others; they are not in it",
            )
        )
    return same


def pooled(steps: Sequence[TypicalStep]) -> TypicalStep:
    """Return the mean of processes' steps of the same kernels, with these as its samples; a single one as it is."""
    if len(steps) == 1:
        return steps[0]
    first = steps[0]

    def column(name: str) -> Array:
        return np.stack([getattr(step.kernels, name) for step in steps])

    durations, gaps = column("duration_ns"), column("gap_ns")
    walls = np.array([step.wall_ns for step in steps])
    time_of = f"mean over {len(steps)} processes, of the first the {first.time_of}" if first.time_of else ""
    return replace(
        first,
        step_count=sum(step.step_count for step in steps),
        sampled_step_count=sum(step.sampled_step_count for step in steps),
        wall_ns=float(walls.mean()),
        busy_ns=float(np.mean([step.busy_ns for step in steps])),
        overlap_ns=float(np.mean([step.overlap_ns for step in steps])),
        profiled_ns=np.stack([step.measured_ns for step in steps]).mean(axis=0),
        kernels=replace(
            first.kernels,
            start_ns=column("start_ns").mean(axis=0),
            duration_ns=durations.mean(axis=0),
            gap_ns=gaps.mean(axis=0),
        ),
        samples_ns=durations,
        gap_samples_ns=gaps,
        wall_samples_ns=walls,
        repetition_samples_ns=None,
        scale_error_ns=None,
        sample_unit="process",
        time_of=time_of,
    )


def _scaling(phase: Phase | None, cleaned: Sequence[_Cleaned]) -> Note:
    """Say how far the clean pass's times are from those of the profiled one, and what was scaled."""
    wall = float(np.mean([one.step.wall_ns for one in cleaned]))
    profiled = float(np.mean([one.seen.profiled_ns for one in cleaned]))
    scales = sorted({f"{one.gap_scale:.3f}" for one in cleaned})
    gaps = f"its gaps by {' to '.join(dict.fromkeys((scales[0], scales[-1])))}"
    operators = f"its operators are scaled by {wall / profiled:.3f}"
    how = f"{operators}, {gaps}" if cleaned[0].seen.on_cpu else f"its kernels keep their durations, {gaps}"
    late = [max(0.0, one.step.busy_ns - one.step.wall_ns) for one in cleaned]
    if sum(late) > 0:
        how += f"; its kernels took {sum(late) / len(late) / 1e6:.3f} ms longer than the clean step, which is residual"
    return Note(
        code="clean-times",
        message=f"{phase}: {wall / 1e6:.3f} ms in the clean pass, {profiled / 1e6:.3f} ms under the profiler "
        f"(×{profiled / wall:.2f}); {how}",
        level=NoteLevel.INFO if 1 / MUCH < profiled / wall < MUCH else NoteLevel.WARNING,
    )
