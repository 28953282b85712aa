"""What happened in a trace: pure functions from its timeline to sums, gaps and queues."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokprof.profiler.analysis.summary import union_ns
from tokprof.profiler.record import Array, Note, Trace, TraceCounts, TypicalStep
from tokprof.profiler.trace.steps import Timeline, typical_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTotal:
    """All runs of one kernel."""

    name: str
    category: str
    count: int
    total_ms: float
    share: float  # of the sum over all kernels
    median_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTotal:
    """One stream of one device."""

    device: int
    stream: int
    kernel_count: int
    busy_ms: float  # the union of its kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTotal:
    """One phase's typical step in short."""

    phase: str | None
    step_count: int
    sampled_step_count: int
    kernel_count: int
    layer_count: int
    layer_kernel_count: int
    wall_ms: float
    busy_ms: float
    overlap_ms: float
    spread: float | None  # standard deviation of the wall time over its mean
    gap_ms: tuple[tuple[str, float], ...]  # idle time by cause
    category_ms: tuple[tuple[str, float], ...]
    confidence: float
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What happened in a trace."""

    source: str
    device: str
    span_ms: float  # from the first kernel's start to the last one's end
    busy_ms: float  # in which at least one kernel ran
    overlap_ms: float  # kernel time beyond that: what ran side by side
    on_cpu: bool
    counts: TraceCounts
    queue_median: float | None  # launched but not yet started, seen at each start; None without launches
    queue_maximum: int | None
    streams: tuple[StreamTotal, ...]
    categories: tuple[tuple[str, float], ...]  # milliseconds
    kernels: tuple[KernelTotal, ...]
    steps: tuple[StepTotal, ...]
    notes: tuple[Note, ...]


def analyze(trace: Trace, line: Timeline, *, top: int = 15) -> Analysis:
    """Sum up a trace. Busy time is the union of intervals, never a sum of durations."""
    work = line.work
    steps = typical_steps(trace, line=line)
    span_ns = int(work.end_ns.max() - work.start_ns.min()) if len(work) else 0
    busy_ns = union_ns(work.start_ns, work.end_ns)
    queue = queue_lengths(line.launched_ns, work.start_ns) if not line.on_cpu else None
    return Analysis(
        source=trace.source,
        device=device_name(trace),
        span_ms=span_ns / 1e6,
        busy_ms=busy_ns / 1e6,
        overlap_ms=(int(work.duration_ns.sum()) - busy_ns) / 1e6,
        on_cpu=line.on_cpu,
        counts=trace.counts,
        queue_median=float(np.median(queue)) if queue is not None and len(queue) else None,
        queue_maximum=int(queue.max()) if queue is not None and len(queue) else None,
        streams=_streams(line),
        categories=_by_category(line),
        kernels=_kernel_totals(line, top),
        steps=tuple(_step_total(step) for step in steps),
        notes=trace.notes,
    )


def device_name(trace: Trace) -> str:
    """Return the name of the device the work ran on, from the trace's own properties."""
    import json

    listed = dict(trace.properties).get("deviceProperties")
    if not listed:
        return "CPU" if not len(trace.device) else "unknown device"
    used = set(np.unique(trace.device.device).tolist())
    entries = [e for e in json.loads(listed) if isinstance(e, dict)]
    names = [str(e.get("name")) for e in entries if e.get("id") in used] or [str(e.get("name")) for e in entries[:1]]
    return ", ".join(dict.fromkeys(names)) or "unknown device"


def queue_lengths(launched_ns: Array, start_ns: Array) -> Array:
    """Return, at each kernel's start, how many kernels were launched but had not started; it counts itself out."""
    known = launched_ns >= 0
    launches, starts = np.sort(launched_ns[known]), np.sort(start_ns[known])
    launched_by_then = np.searchsorted(launches, starts, side="right")
    lengths: Array = launched_by_then - np.arange(1, len(starts) + 1)
    return np.maximum(0, lengths)


def _streams(line: Timeline) -> tuple[StreamTotal, ...]:
    work = line.work
    keys = np.stack([work.device.astype(np.int64), work.stream], axis=1)
    totals = []
    for device, stream in np.unique(keys, axis=0).tolist():
        rows = (work.device == device) & (work.stream == stream)
        busy = union_ns(work.start_ns[rows], work.end_ns[rows]) / 1e6
        totals.append(StreamTotal(device=device, stream=stream, kernel_count=int(rows.sum()), busy_ms=busy))
    return tuple(sorted(totals, key=lambda t: -t.busy_ms))


def _by_category(line: Timeline) -> tuple[tuple[str, float], ...]:
    from tokprof.profiler.trace.categories import CATEGORIES

    sums = np.bincount(line.category, weights=line.work.duration_ns, minlength=len(CATEGORIES)) / 1e6
    return _largest(CATEGORIES, sums)


def _largest(words: Sequence[str], values: Array) -> tuple[tuple[str, float], ...]:
    return tuple((words[i], float(values[i])) for i in np.argsort(-values, kind="stable") if values[i] > 0)


def _kernel_totals(line: Timeline, top: int) -> tuple[KernelTotal, ...]:
    from tokprof.profiler.trace.categories import CATEGORIES

    work = line.work
    sums = np.bincount(work.name, weights=work.duration_ns, minlength=len(work.names))
    whole = sums.sum()
    totals = []
    for code in np.argsort(-sums, kind="stable")[:top]:
        rows = np.flatnonzero(work.name == code)
        if len(rows):
            totals.append(
                KernelTotal(
                    name=work.names[code],
                    category=CATEGORIES[line.category[rows[0]]],
                    count=len(rows),
                    total_ms=float(sums[code]) / 1e6,
                    share=float(sums[code] / whole) if whole else 0.0,
                    median_us=float(np.median(work.duration_ns[rows])) / 1e3,
                )
            )
    return tuple(totals)


def _step_total(step: TypicalStep) -> StepTotal:
    kernels = step.kernels
    gaps = np.bincount(kernels.gap_cause, weights=kernels.gap_ns, minlength=len(kernels.gap_causes)) / 1e6
    categories = np.bincount(kernels.category, weights=kernels.duration_ns, minlength=len(kernels.categories)) / 1e6
    samples = step.wall_samples_ns
    return StepTotal(
        phase=None if step.phase is None else str(step.phase),
        step_count=step.step_count,
        sampled_step_count=step.sampled_step_count,
        kernel_count=len(kernels),
        layer_count=int(kernels.layer.max(initial=-1)) + 1,
        layer_kernel_count=int((kernels.layer == 0).sum()),
        wall_ms=step.wall_ns / 1e6,
        busy_ms=step.busy_ns / 1e6,
        overlap_ms=step.overlap_ns / 1e6,
        spread=None if samples is None else float(np.std(samples, ddof=1) / np.mean(samples)),
        gap_ms=_largest(kernels.gap_causes, gaps),
        category_ms=_largest(kernels.categories, categories),
        confidence=step.confidence,
        evidence=step.evidence,
    )
