"""Typical steps of tokprof's own runs, at the speed of the clean pass.

The profiled pass tells which kernels a step is made of and how they share its time; how long a step takes, the clean
pass tells. On a GPU kernels keep their durations; on a CPU the profiler stretches the operators themselves, so they are
scaled as the step is. The gaps take the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.analysis.profiled import (
    busy_share,
    category_ns,
    profiled_phases,
    repetition_samples_ns,
    same_steps_ns,
)
from tokprof.profiler.analysis.roofline import ceiling_of, phase_roofline
from tokprof.profiler.analysis.summary import sm_clock_mhz
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
    on_cpu = runs[0].environment.device.kind != "cuda"
    for phase in dict.fromkeys(step.phase for own in found for step in own):
        cleaned, walls = [], []
        for own, run in zip(found, runs, strict=True):
            step = next((s for s in own if s.phase is phase), None)
            both = None if phase is None else same_steps_ns(run.spans, PassKind.KERNELS, phase)
            if phase is not None and step is not None and both is not None:
                clean_ns, profiled_ns = both
                clean = clean_step(step, clean_ns, clean_ns / profiled_ns if on_cpu else 1.0)
                samples = repetition_samples_ns(run.spans, phase)
                several = samples if len(samples) > 1 else None
                time_of = _time_of(run, step.title, phase)
                cleaned.append(replace(clean, time_of=time_of, repetition_samples_ns=several))
                walls.append(both)
        if cleaned:
            step = pooled(cleaned, notes)
            if len(cleaned) > 1:
                step = replace(step, time_of=f"mean over {len(cleaned)} processes, of the first the {step.time_of}")
            steps.append(step)
            notes.append(_scaling(phase, cleaned, walls, on_cpu=on_cpu))
        else:
            notes.append(
                Note(
                    code="phase-not-clean",
                    message=f"{phase or 'a step of unknown phase'} was traced, but the clean pass has no time of it: "
                    "left out",
                )
            )
    return tuple(steps), tuple(notes)


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


def clean_step(step: TypicalStep, wall_ns: float, kernel_scale: float) -> TypicalStep:
    """Return the step as it would take ``wall_ns`` with its kernels' times multiplied by ``kernel_scale``.

    Its gaps are multiplied so that they fill what the kernels leave; where the kernels alone take longer than
    ``wall_ns``, no gap remains and the rest stays a residual.
    """
    gaps_ns = step.wall_ns - step.busy_ns
    gap_scale = max(0.0, wall_ns - step.busy_ns * kernel_scale) / gaps_ns if gaps_ns > 0 else 1.0
    kernels = step.kernels
    samples, gap_samples, walls = step.samples_ns, step.gap_samples_ns, step.wall_samples_ns
    if walls is not None and gap_samples is not None:
        walls = walls * kernel_scale + (gap_scale - kernel_scale) * gap_samples.sum(axis=1)
    return replace(
        step,
        wall_ns=wall_ns,
        busy_ns=step.busy_ns * kernel_scale,
        overlap_ns=step.overlap_ns * kernel_scale,
        kernel_scale=step.kernel_scale * kernel_scale,
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
    seen = profiled_phases(runs, phase)
    line = phase_roofline(
        [alike, *runs[1:]],
        phase,
        ceiling_of(calibration),
        time_ms=count * wall_ns / 1e6,
        busy_share=busy_share(seen)[0],
        category_ns=category_ns(seen),
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
        repetition_samples_ns=None,
        sample_unit="process" if several else "step",
    )


def _scaling(
    phase: Phase | None, steps: Sequence[TypicalStep], walls: Sequence[tuple[float, float]], *, on_cpu: bool
) -> Note:
    """Say how far the clean pass's times are from those of the profiled one, and what was scaled.

    ``walls`` are the median times of the steps of each process in both passes.
    """
    wall, profiled = (float(np.mean(side)) for side in zip(*walls, strict=True))
    over = [step.busy_ns - step.wall_ns for step in steps]
    how = f"its operators are scaled by {wall / profiled:.3f}" if on_cpu else "its kernels keep their durations"
    how += ", its gaps take the rest"
    if sum(over) > 0:
        how += f"; its kernels took {sum(over) / len(over) / 1e6:.3f} ms longer than the clean step, which is residual"
    return Note(
        code="clean-times",
        message=f"{phase}: {wall / 1e6:.3f} ms in the clean pass, {profiled / 1e6:.3f} ms under the profiler "
        f"(×{profiled / wall:.2f}); {how}",
        level=NoteLevel.INFO if 1 / MUCH < profiled / wall < MUCH else NoteLevel.WARNING,
    )
