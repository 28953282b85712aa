"""What the profiled pass tells of a phase: which kernels a step is made of, and how much of its time they ran.

Everything is told of the *typical step*, here as in the analysis of a trace: of the steps that ran the same kernels in
the same order the largest group, and the median of each kernel over them. So a step that the machine disturbed while it
was profiled does not count for more than one, and every report gives the same figures. How long a step takes, the clean
pass tells: by the median over its steps of the same numbers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.record import Array, KernelEvents, PassKind, Phase, Run, Spans
from tokprof.profiler.trace.steps import alike_steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfiledPhase:
    """The typical step of a phase in the profiled pass of one process; times are as profiled, unless said otherwise."""

    kernels: KernelEvents  # of the typical step, each with its median duration
    step_count: int  # that were profiled and count
    alike_step_count: int  # of these, those that the typical step stands for
    busy_ns: float  # in which at least one kernel ran
    profiled_ns: float  # that a step took
    clean_ns: float | None  # that the same steps took in the clean pass; None where it has none of them
    on_cpu: bool

    @property
    def kernel_scale(self) -> float | None:
        """What puts the kernels' times to the clean pass: 1 on a GPU, where kernels keep their durations."""
        if not self.on_cpu:
            return 1.0
        return None if self.clean_ns is None else self.clean_ns / self.profiled_ns


def same_steps_ns(spans: Spans, kind: PassKind, phase: Phase) -> tuple[float, float] | None:
    """Return the median time of a phase's steps in the clean pass and in another, over the steps that both have."""
    clean, other = (spans.of(pass_kind=k, phase=phase, counted=True) for k in (PassKind.CLEAN, kind))
    clean_ns = clean.duration_ns[np.isin(clean.step, other.step)]
    other_ns = other.duration_ns[np.isin(other.step, clean.step)]
    if not len(clean_ns) or not len(other_ns):
        return None
    return float(np.median(clean_ns)), float(np.median(other_ns))


def repetition_samples_ns(spans: Spans, phase: Phase) -> Array:
    """Return the median of each clean repetition over those steps of a phase that were profiled as well."""
    clean, other = (spans.of(pass_kind=k, phase=phase, counted=True) for k in (PassKind.CLEAN, PassKind.KERNELS))
    clean = clean.select(np.isin(clean.step, other.step))
    return np.array([np.median(clean.duration_ns[clean.repetition == r]) for r in np.unique(clean.repetition)])


def profiled_phase(run: Run, phase: Phase) -> ProfiledPhase | None:
    """Return the typical step of a phase in a run's profiled pass; ``None`` where that saw no kernel of it."""
    steps = run.spans.of(pass_kind=PassKind.KERNELS, phase=phase, counted=True)
    if run.kernels is None or not len(steps):
        return None
    kernels = run.kernels
    wanted, own = _keys(steps.repetition, steps.step), _keys(kernels.repetition, kernels.step)
    kernels = kernels.select(np.isin(own, wanted))
    if not len(kernels):
        return None
    own = _keys(kernels.repetition, kernels.step)
    rows_of = {int(key): np.flatnonzero(own == key) for key in np.unique(own)}
    took = dict(zip(wanted.tolist(), steps.duration_ns.tolist(), strict=True))
    group, place = alike_steps(rows_of, kernels.stream, kernels.name, took)
    matrix = np.stack([rows_of[number][place[number]] for number in group])  # (steps, kernels)
    busy = [union_ns(kernels.start_ns[rows], kernels.end_ns[rows]) for rows in matrix]
    both = same_steps_ns(run.spans, PassKind.KERNELS, phase)
    typical = kernels.select(matrix[0])
    return ProfiledPhase(
        kernels=replace(typical, duration_ns=np.rint(np.median(kernels.duration_ns[matrix], axis=0)).astype(np.int64)),
        step_count=len(steps),
        alike_step_count=len(group),
        busy_ns=float(np.median(busy)),
        profiled_ns=float(np.median(steps.duration_ns)) if both is None else both[1],
        clean_ns=None if both is None else both[0],
        on_cpu=run.environment.device.kind != "cuda",
    )


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


def category_ns(profiled: Sequence[ProfiledPhase]) -> dict[str, float]:
    """Return the time of the kernels of each category, summed over the processes' typical steps."""
    times: Counter[str] = Counter()
    for one in profiled:
        sums = np.bincount(one.kernels.category, weights=one.kernels.duration_ns, minlength=len(one.kernels.categories))
        times.update(dict(zip(one.kernels.categories, sums.tolist(), strict=True)))
    return dict(times)


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
