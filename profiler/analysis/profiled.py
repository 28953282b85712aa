"""What the profiled pass tells of a phase: which kernels a step is made of, and how much of its time they ran.

Everything is told of the *typical step*, here as in the analysis of a trace: of the steps that ran the same kernels in
the same order the largest group, and the median of each kernel over them. So a step that the machine disturbed while it
was profiled does not count for more than one, and every report gives the same figures. How long these steps take, the
clean pass tells: by the median over its repetitions, each with its median over the steps of the same numbers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.record import Array, KernelEvents, PassKind, Phase, Run, Spans
from tokprof.profiler.trace.steps import alike_steps

MUCH = 1.5  # of a pass's time: beyond it the profiled pass ran too unlike the clean one to go unseen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfiledPhase:
    """The typical step of a phase in the profiled pass of one process; times are as profiled, unless said otherwise."""

    kernels: KernelEvents  # of the typical step, each with its median duration
    step_count: int  # that were profiled and count
    alike_step_count: int  # of these, those that the typical step stands for
    steps: Array  # their numbers in a repetition, each once
    busy_ns: float  # in which at least one kernel ran
    profiled_ns: float  # that one of them took
    clean_samples_ns: Array  # that they took in the clean pass: the median of each repetition that has any
    clean_step_count: int  # of a repetition of the clean pass
    on_cpu: bool

    @property
    def clean_ns(self) -> float | None:
        """What the same steps took in the clean pass: the median over its repetitions; ``None`` where it has none."""
        return float(np.median(self.clean_samples_ns)) if len(self.clean_samples_ns) else None

    @property
    def kernel_scale(self) -> float | None:
        """What puts the kernels' times to the clean pass: 1 on a GPU, where kernels keep their durations."""
        if not self.on_cpu:
            return 1.0
        return self.clean_ns / self.profiled_ns if self.clean_ns and self.profiled_ns else None


def clean_samples_ns(spans: Spans, phase: Phase, steps: Array) -> Array:
    """Return the median of each clean repetition over its steps of these numbers, of those that have any."""
    clean = spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    clean = clean.select(np.isin(clean.step, steps))
    return np.array([np.median(clean.duration_ns[clean.repetition == r]) for r in np.unique(clean.repetition)])


def same_steps_ns(spans: Spans, kind: PassKind, phase: Phase) -> tuple[float, float] | None:
    """Return the median time of a phase's steps in the clean pass and in another, over the steps that both have."""
    clean, other = (spans.of(pass_kind=k, phase=phase, counted=True) for k in (PassKind.CLEAN, kind))
    other = other.select(np.isin(other.step, clean.step))
    if not len(other):
        return None
    return float(np.median(clean_samples_ns(spans, phase, other.step))), float(np.median(other.duration_ns))


def profiled_phase(run: Run, phase: Phase) -> ProfiledPhase | None:
    """Return the typical step of a phase in a run's profiled pass; ``None`` where that saw no kernel of it."""
    spans = run.spans.of(pass_kind=PassKind.KERNELS, phase=phase, counted=True)
    if run.kernels is None or not len(spans):
        return None
    kernels = run.kernels
    of_span, of_kernel = _keys(spans.repetition, spans.step), _keys(kernels.repetition, kernels.step)
    counted = np.isin(of_kernel, of_span)
    if not counted.any():
        return None
    kernels, of_kernel = kernels.select(counted), of_kernel[counted]
    rows_of = {int(key): np.flatnonzero(of_kernel == key) for key in np.unique(of_kernel)}
    took_ns = dict(zip(of_span.tolist(), spans.duration_ns.tolist(), strict=True))
    group, place = alike_steps(rows_of, kernels.stream, kernels.name, took_ns)
    matrix = np.stack([rows_of[key][place[key]] for key in group])  # (steps, kernels)
    steps = np.unique(spans.step[np.isin(of_span, group)])
    in_order = np.argsort([key & 0xFFFFFFFF for key in group], kind="stable")
    typical = kernels.select(matrix[in_order[len(group) // 2]])  # shapes grow with the context: those of the middle one
    return ProfiledPhase(
        kernels=replace(typical, duration_ns=np.rint(np.median(kernels.duration_ns[matrix], axis=0)).astype(np.int64)),
        step_count=len(spans),
        alike_step_count=len(group),
        steps=steps,
        busy_ns=float(np.median([union_ns(kernels.start_ns[rows], kernels.end_ns[rows]) for rows in matrix])),
        profiled_ns=float(np.median([took_ns[key] for key in group])),
        clean_samples_ns=clean_samples_ns(run.spans, phase, steps),
        clean_step_count=len(np.unique(run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True).step)),
        on_cpu=run.environment.device.kind != "cuda",
    )


def steps_text(seen: ProfiledPhase) -> str:
    """Name the steps by their numbers: "1 to 16", or "3 to 9 (5 of them)"."""
    numbers = seen.steps
    which = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
    gapless = len(numbers) == numbers[-1] - numbers[0] + 1
    return which if gapless else f"{which} ({len(numbers)} of them)"


def profiled_phases(runs: Sequence[Run], phase: Phase) -> tuple[ProfiledPhase, ...]:
    """Return the typical step of a phase in each process whose profiled pass saw one."""
    found = (profiled_phase(run, phase) for run in runs)
    return tuple(one for one in found if one is not None)


def busy_share(profiled: Sequence[ProfiledPhase]) -> tuple[float | None, str]:
    """Return the share of a step in which at least one kernel ran, and the time that share refers to.

    On a GPU, kernels keep their durations under the profiler but the gaps grow, so the kernels' time is taken from the
    profiled pass and the step's time from the clean one. On a CPU the profiler stretches the operators themselves, so
    it is the share of the profiled pass. Of several processes each counts with its clean time.
    """
    busy_ns = wall_ns = 0.0
    for one in profiled:
        if one.clean_ns and one.kernel_scale is not None:
            busy_ns, wall_ns = busy_ns + one.busy_ns * one.kernel_scale, wall_ns + one.clean_ns
    if not wall_ns:
        return None, ""
    return min(1.0, busy_ns / wall_ns), "profiled pass" if profiled[0].on_cpu else "clean pass"


def category_shares(profiled: Sequence[ProfiledPhase]) -> dict[str, float]:
    """Return the share of a step that the kernels of each category take, by their medians.

    Where kernels ran side by side they add up to more than the busy share; where the profiled steps were disturbed,
    each at other kernels, to less.
    """
    times: Counter[str] = Counter()
    wall_ns = 0.0
    for one in profiled:
        if one.clean_ns and one.kernel_scale is not None:
            wall_ns += one.clean_ns
            weights = one.kernels.duration_ns * one.kernel_scale
            sums = np.bincount(one.kernels.category, weights=weights, minlength=len(one.kernels.categories))
            times.update(dict(zip(one.kernels.categories, sums.tolist(), strict=True)))
    return {category: time_ns / wall_ns for category, time_ns in times.items()}


def union_ns(start_ns: Array, end_ns: Array) -> int:
    """Return the total length of the union of intervals, in nanoseconds; overlaps count once."""
    if not len(start_ns):
        return 0
    order = np.argsort(start_ns, kind="stable")
    starts, reach = start_ns[order], np.maximum.accumulate(end_ns[order])
    fresh = np.concatenate([[True], starts[1:] > reach[:-1]])
    firsts = np.flatnonzero(fresh)
    lasts = np.concatenate([firsts[1:] - 1, [len(starts) - 1]])
    return int((reach[lasts] - starts[firsts]).sum())


def _keys(repetition: Array, step: Array) -> Array:
    """Return one integer for each pair of a repetition and a step, both of 32 bits."""
    keys: Array = repetition.astype(np.int64) << 32 | step
    return keys
