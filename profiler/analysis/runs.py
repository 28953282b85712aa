"""Typical steps of tokprof's own runs, at the speed of the clean pass.

The profiled pass tells which kernels a step is made of and how they share its time; how long a step takes, the clean
pass tells. On a GPU kernels keep their durations and the gaps take the rest; on a CPU the profiler stretches the
operators themselves, so everything is scaled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.analysis.roofline import ceiling_of, phase_roofline
from tokprof.profiler.analysis.summary import kernel_busy_share, sm_clock_mhz
from tokprof.profiler.record import (
    Array,
    Calibration,
    Mark,
    Note,
    NoteLevel,
    PassKind,
    Phase,
    Run,
    StepLimits,
    Trace,
    TypicalStep,
    codes_of,
)

MUCH = 1.5  # of a pass's time: beyond it the profiled pass ran too unlike the clean one to go unseen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """One trace, and the run it belongs to (``None``: a trace of anyone's)."""

    trace: Trace
    run: Run | None = None


def at_clean_times(
    found: Sequence[tuple[TypicalStep, ...]], runs: Sequence[Run]
) -> tuple[tuple[TypicalStep, ...], tuple[Note, ...]]:
    """Put each process's typical steps to the time of its clean pass, and make one of those of a phase.

    Steps of several processes become the means of the processes' medians, which are its samples.
    """
    notes: list[Note] = []
    steps = []
    for phase in dict.fromkeys(step.phase for own in found for step in own):
        pairs = []
        for own, run in zip(found, runs, strict=True):
            step = next((s for s in own if s.phase is phase), None)
            wall = clean_wall_ns(run, phase) if phase is not None else None
            if step is not None and wall is not None:
                clean = clean_step(step, wall, on_cpu=run.environment.device.kind == "cpu")
                pairs.append((step, replace(clean, time_of=_time_of(run, step.title, phase))))
        if pairs:
            steps.append(pooled([after for _, after in pairs], notes))
            notes.append(_scaling(phase, pairs, on_cpu=runs[0].environment.device.kind == "cpu"))
        else:
            notes.append(
                Note(
                    code="phase-not-clean",
                    message=f"{phase or 'a step of unknown phase'} was traced, but the clean pass has no time of it: "
                    "left out",
                )
            )
    return tuple(steps), tuple(notes)


def clean_wall_ns(run: Run, phase: Phase) -> float | None:
    """Return the clean pass's median time of the steps of a phase that the profiled pass has; ``None`` without them."""
    profiled = run.spans.of(pass_kind=PassKind.KERNELS, phase=phase, counted=True)
    clean = run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    same = clean.duration_ns[np.isin(clean.step, profiled.step)]
    return float(np.median(same)) if len(same) else None


def _time_of(run: Run, title: str, phase: Phase | None) -> str:
    """Say which of the clean pass's steps a time is the median of."""
    profiled = run.spans.of(pass_kind=PassKind.KERNELS, phase=phase, counted=True)
    clean = run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    repetitions = f"{len(np.unique(clean.repetition))} clean repetitions"
    if phase is Phase.PREFILL:
        return f"median over {repetitions}"
    numbers = np.intersect1d(clean.step, profiled.step)
    which = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
    return (
        f"median over {title} steps {which} of {repetitions}, those that the profiled pass has of "
        f"{len(np.unique(clean.step))} steps"
    )


def marked_repetitions(run: Run, phase: Phase) -> tuple[int, int]:
    """Return how many clean repetitions of a phase ran on a disturbed machine, and how many there are."""
    clean = run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    bits = Mark.THROTTLED | Mark.SHARED_DEVICE | Mark.CONTAMINATED
    return len(np.unique(clean.repetition[(clean.mark & bits) != 0])), len(np.unique(clean.repetition))


def clean_step(step: TypicalStep, wall_ns: float, *, on_cpu: bool) -> TypicalStep:
    """Return the step as it would take ``wall_ns``.

    On a CPU all times are scaled alike. On a GPU the gaps are, so that they fill what the kernels leave; where the
    kernels alone take longer than ``wall_ns``, no gap remains and the rest stays a residual.
    """
    gaps_ns = step.wall_ns - step.busy_ns
    if on_cpu:
        kernel_factor = gap_factor = wall_ns / step.wall_ns if step.wall_ns > 0 else 1.0
    else:
        kernel_factor = 1.0
        gap_factor = max(0.0, wall_ns - step.busy_ns) / gaps_ns if gaps_ns > 0 else 1.0
    kernels = step.kernels
    moved = kernels.start_ns * kernel_factor
    if not on_cpu:
        moved = kernels.start_ns - (1 - gap_factor) * np.cumsum(kernels.gap_ns)
    samples, gap_samples = step.samples_ns, step.gap_samples_ns
    scaled_samples = None if samples is None else samples * kernel_factor
    scaled_gaps = None if gap_samples is None else gap_samples * gap_factor
    walls = step.wall_samples_ns
    if walls is not None and gap_samples is not None:
        walls = walls * kernel_factor + (gap_factor - kernel_factor) * gap_samples.sum(axis=1)
    return replace(
        step,
        wall_ns=wall_ns,
        busy_ns=step.busy_ns * kernel_factor,
        overlap_ns=step.overlap_ns * kernel_factor,
        kernel_scale=step.kernel_scale * kernel_factor,
        kernels=replace(
            kernels,
            start_ns=moved,
            duration_ns=kernels.duration_ns * kernel_factor,
            gap_ns=kernels.gap_ns * gap_factor,
        ),
        samples_ns=scaled_samples,
        gap_samples_ns=scaled_gaps,
        wall_samples_ns=walls,
    )


def step_limits(runs: Sequence[Run], phase: Phase, wall_ns: float, calibration: Calibration) -> StepLimits | None:
    """Put a step of ``wall_ns`` beside its floor: the mean of the floors of the steps that it is typical of.

    ``None`` where the run does not hold the sizes of its model, or has no clean time of the profiled steps.
    """
    run, table = runs[0], runs[0].spans
    profiled = table.of(pass_kind=PassKind.KERNELS, phase=phase, counted=True)
    clean = (table.pass_kind == codes_of(PassKind.CLEAN)) & (table.phase == codes_of(phase))
    alike = replace(run, spans=table.select(~clean | np.isin(table.step, profiled.step)))
    steps = alike.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    count = int((steps.repetition == steps.repetition[:1]).sum())  # of one repetition: what a roofline is of
    line = phase_roofline(
        [alike, *runs[1:]],
        phase,
        ceiling_of(calibration),
        time_ms=count * wall_ns / 1e6,
        busy_share=kernel_busy_share(runs, phase)[0],
        mean_sm_clock_mhz=sm_clock_mhz(runs, phase),
    )
    if line is None:
        return None
    owners = sorted(((owner.name, owner.gap_ms / count) for owner in line.owners), key=lambda part: -part[1])
    return StepLimits(
        floor_ms=line.floor_ms / count,
        time_ms=wall_ns / 1e6,
        bound=line.bound,
        mfu=line.mfu,
        mbu=line.mbu,
        owners=tuple(owners),
        source=ceiling_of(calibration).source,
    )


def sequence_of(step: TypicalStep) -> tuple[object, ...]:
    """Return what two steps have in common whose kernels can be averaged one by one: names and streams, in order."""
    kernels = step.kernels
    return tuple(kernels.names[code] for code in kernels.name.tolist()), kernels.stream.tobytes()


def pooled(steps: Sequence[TypicalStep], notes: list[Note]) -> TypicalStep:
    """Return the mean of the processes' steps of a phase, with these as its samples; of one process its step as it is.

    Where processes ran other sequences of kernels, those that agree most are taken, and a note says so.
    """
    if len(steps) == 1:
        return steps[0]
    groups: dict[tuple[object, ...], list[TypicalStep]] = {}
    for step in steps:
        groups.setdefault(sequence_of(step), []).append(step)
    same = max(groups.values(), key=len)
    first = same[0]
    if len(same) < len(steps):
        notes.append(
            Note(
                code="processes-differ",
                message=f"{len(steps) - len(same)} of {len(steps)} processes ran another sequence of kernels in "
                f"{first.phase or 'the step'} than the others; their lines are not in it",
            )
        )

    def column(name: str) -> Array:
        return np.stack([getattr(step.kernels, name) for step in same])

    durations, gaps = column("duration_ns"), column("gap_ns")
    walls = np.array([step.wall_ns for step in same])
    several = len(same) > 1
    return replace(
        first,
        step_count=sum(step.step_count for step in same),
        sampled_step_count=sum(step.sampled_step_count for step in same),
        wall_ns=float(walls.mean()),
        busy_ns=float(np.mean([step.busy_ns for step in same])),
        overlap_ns=float(np.mean([step.overlap_ns for step in same])),
        kernel_scale=float(np.mean([step.kernel_scale for step in same])),
        kernels=replace(
            first.kernels,
            start_ns=column("start_ns").mean(axis=0),
            duration_ns=durations.mean(axis=0),
            gap_ns=gaps.mean(axis=0),
        ),
        samples_ns=durations if several else first.samples_ns,
        gap_samples_ns=gaps if several else first.gap_samples_ns,
        wall_samples_ns=walls if several else first.wall_samples_ns,
        sample_unit="process" if several else "step",
    )


def _scaling(phase: Phase | None, pairs: Sequence[tuple[TypicalStep, TypicalStep]], *, on_cpu: bool) -> Note:
    """Say how far the clean pass's times are from those of the profiled one, and what was scaled."""
    raw = float(np.mean([before.wall_ns for before, _ in pairs]))
    wall = float(np.mean([after.wall_ns for _, after in pairs]))
    if on_cpu:
        how = f"its operators and gaps are scaled by {wall / raw:.3f}"
    else:
        gaps = sum(before.wall_ns - before.busy_ns for before, _ in pairs)
        left = sum(after.wall_ns - after.busy_ns for _, after in pairs)
        how = (
            f"its kernels keep their durations, its gaps are scaled by {max(0.0, left) / gaps:.3f}"
            if gaps
            else ("its kernels keep their durations, and it has no gaps")
        )
        if left < 0:
            how += f"; its kernels took {-left / len(pairs) / 1e6:.3f} ms longer than the clean step, which is residual"
    return Note(
        code="clean-times",
        message=f"{phase}: {wall / 1e6:.3f} ms in the clean pass, {raw / 1e6:.3f} ms under the profiler "
        f"(×{raw / wall:.2f}); {how}",
        level=NoteLevel.INFO if 1 / MUCH < raw / wall < MUCH else NoteLevel.WARNING,
    )
