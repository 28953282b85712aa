"""What happened in a trace: pure functions from its timeline to sums, gaps and queues."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokprof.models.devices import Ceiling
from tokprof.profiler.analysis.profiled import union_ns
from tokprof.profiler.analysis.roofline import KernelFloors, below_floor, ceiling_of, kernel_floors, kernel_limit
from tokprof.profiler.analysis.runs import at_clean_times, counted_steps
from tokprof.profiler.errors import visible
from tokprof.profiler.record import (
    Array,
    Calibration,
    EventKind,
    KernelLimit,
    Note,
    Run,
    StepKernels,
    Trace,
    TraceCounts,
    TypicalStep,
)
from tokprof.profiler.trace.steps import Timeline, step_spans, typical_steps

ALIKE = 0.5  # of the kernel names of two traces: with fewer in common they are not ranks of one job
_LAUNCH = re.compile(r"^(cuda|hip|cu)\w*Launch")
_VENDORS = ((r"^hip|^Cijk_|gfx9|_MI3\d\d", "AMD"), (r"^cuda|^cu[A-Z]|sm\d\d_|^volta_|^ampere_|cutlass", "NVIDIA"))


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
    gap_ms: float  # between its first start and its last end, without any
    overlap_ms: float  # of its busy time, in which another stream was busy as well


@dataclass(frozen=True, slots=True, kw_only=True)
class GapTotal:
    """The idle time of a typical step that one cause explains."""

    cause: str
    gap_ms: float
    count: int
    owners: tuple[tuple[str, float], ...]  # (call, operator and frame; copy; or stream, milliseconds), largest first


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """A kernel of a typical step, or the same kernel of each of several equal layers."""

    layer: int | None  # the first of the layers it stands in; None outside them
    repeat_count: int  # layers it stands in
    name: str
    category: str
    operator: str
    stream: int
    duration_us: float  # median over the layers of the medians over the steps
    spread: float | None  # over the steps: standard deviation of its time over the mean; None with one step
    total_ms: float  # in the whole step
    gap_ms: float  # idle time right before it, in the whole step
    gap_cause: str
    limit: KernelLimit | None = None  # of a run on a calibrated device, where the operators' calls tell it


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTotal:
    """One phase's typical step in short."""

    phase: str | None
    title: str  # the phase, else what is known of it: "training step"
    step_count: int
    sampled_step_count: int
    kernel_count: int
    layer_count: int
    layer_kernel_count: int
    wall_ms: float  # kernel_ms + idle_ms - overlap_ms + residual_ms
    kernel_ms: float  # the sum of the kernels' medians
    idle_ms: float  # the sum of the gaps' medians
    overlap_ms: float
    residual_ms: float  # what medians over several steps, each by itself, leave over
    busy_ms: float  # median time in which at least one kernel ran
    time_of: str  # which steps wall_ns is the median of, where it is not of those of the trace
    spread: float | None  # standard deviation of the wall time over its mean; of a run over its clean repetitions
    gaps: tuple[GapTotal, ...]
    lines: tuple[StepLine, ...]  # in the order of time, repeated layers folded; the heaviest where there are more
    line_count: int  # of all lines
    category_ms: tuple[tuple[str, float], ...]
    confidence: float
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What lies outside all steps of a time line: work that belongs to none, and idle time before or between them."""

    kernel_count: int
    early_count: int  # of these, began before any step's own work
    busy_ms: float
    idle_ms: float
    longest_idle_ms: float
    longest_idle_at_ms: float  # from the first work on


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTotal:
    """One trace of a folder of ranks in short, to see who waits for whom."""

    file: str
    rank: int | None  # as the trace says; None where it does not
    span_ms: float
    busy_ms: float
    collective_ms: float  # the union of communication kernels: on the rank that comes last it is the shortest
    step_ms: float | None  # the typical step of the trace, the decode step where there are several


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
    outside: Outside | None = None  # None: the steps hold everything
    ranks: tuple[RankTotal, ...] = ()  # of a folder of ranks, this trace among them
    ceiling: str | None = None  # where the figures of floors come from; None without any


def analyze(
    trace: Trace, line: Timeline, *, run: Run | None = None, calibration: Calibration | None = None, top: int = 15
) -> Analysis:
    """Sum up a trace. Busy time is the union of intervals, never a sum of durations.

    With the ``run`` it belongs to, the typical steps are put to the times of the clean pass; all else stays as traced.
    With the ``calibration`` of its device, the kernels of the steps stand beside their floors.
    """
    ceiling = None if calibration is None else ceiling_of(calibration)
    work = line.work
    own = line if run is None else counted_steps(line, trace, run)
    steps, notes = typical_steps(trace, line=own), (*trace.notes, *_missing_work(trace, line))
    if run is not None:
        steps, _, said = at_clean_times([steps], [run])
        notes = (*notes, *said)
    totals = tuple(_step_total(step, top, ceiling) for step in steps)
    quick = [f"{one.name} in {step.title}" for step in totals for one in step.lines if one.limit and one.limit.undercut]
    notes = (*notes, *map(below_floor, dict.fromkeys(quick)))
    begins = step_spans(line)[0]  # on a CPU a step begins with its call, before its first operator
    first_ns = min([int(work.start_ns[0]), *begins.tolist()[:1]]) if len(work) else 0
    span_ns = int(work.end_ns.max()) - first_ns if len(work) else 0
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
        steps=totals,
        notes=notes,
        outside=outside_steps(line),
        ceiling=None if ceiling is None else ceiling.source,
    )


def outside_steps(line: Timeline) -> Outside | None:
    """Return what the steps of a time line leave out, ``None`` where they hold everything."""
    work = line.work
    out = np.flatnonzero(line.steps.step_of_row < 0)
    begins, ends = step_spans(line)
    if not len(begins):
        return None
    reach = np.maximum.accumulate(work.end_ns)
    idle = np.maximum(0, work.start_ns[1:] - reach[:-1])
    at = np.searchsorted(begins, reach[:-1], side="right") - 1
    idle[(at >= 0) & (reach[:-1] < np.maximum.accumulate(ends)[np.maximum(at, 0)])] = 0
    if not len(out) and not idle.any():
        return None
    longest = int(idle.argmax())
    return Outside(
        kernel_count=len(out),
        early_count=int((work.start_ns[out] < work.start_ns[line.steps.step_of_row >= 0].min()).sum()),
        busy_ms=union_ns(work.start_ns[out], work.end_ns[out]) / 1e6,
        idle_ms=int(idle.sum()) / 1e6,
        longest_idle_ms=int(idle[longest]) / 1e6,
        longest_idle_at_ms=int(reach[longest] - work.start_ns[0]) / 1e6,
    )


def rank_total(trace: Trace, line: Timeline, file: str) -> RankTotal:
    """Sum up one rank of several."""
    work = line.work
    collective = work.kind == EventKind.COLLECTIVE
    steps = typical_steps(trace, line=line)
    return RankTotal(
        file=file,
        rank=_rank(trace),
        span_ms=int(work.end_ns.max() - work.start_ns.min()) / 1e6 if len(work) else 0.0,
        busy_ms=union_ns(work.start_ns, work.end_ns) / 1e6,
        collective_ms=union_ns(work.start_ns[collective], work.end_ns[collective]) / 1e6,
        step_ms=steps[-1].wall_ns / 1e6 if steps else None,
    )


def _rank(trace: Trace) -> int | None:
    import json

    info = json.loads(dict(trace.properties).get("distributedInfo", "null"))
    rank = info.get("rank") if isinstance(info, dict) else None
    return rank if isinstance(rank, int) else None


def rank_notes(ranks: Sequence[RankTotal], used: Sequence[frozenset[str]]) -> tuple[Note, ...]:
    """Say where the traces of a folder do not look like the ranks of one job; ``used`` are each one's kernel names."""
    notes = []
    for rank, names in zip(ranks[1:], used[1:], strict=True):
        everything = used[0] | names
        shared = len(used[0] & names) / len(everything) if everything else 1.0
        if shared < ALIKE:
            notes.append(
                Note(
                    code="ranks-unlike",
                    message=f"{rank.file} and {ranks[0].file} share {shared:.0%} of their kernel names: "
                    "they do not look like ranks of one job",
                    advice="give a folder that holds one job's ranks alone, or `tokprof compare` the two",
                )
            )
    numbers = [rank.rank for rank in ranks if rank.rank is not None]
    if len(set(numbers)) < len(numbers):
        twice = sorted({n for n in numbers if numbers.count(n) > 1})
        files = ", ".join(rank.file for rank in ranks if rank.rank in twice)
        notes.append(Note(code="ranks-twice", message=f"more than one file says it is the same rank: {files}"))
    for rank in ranks:
        named = re.search(r"rank[-_]?(\d+)", rank.file, re.IGNORECASE)
        if named and rank.rank is not None and int(named[1]) != rank.rank:
            notes.append(
                Note(code="rank-named", message=f"{rank.file} says inside that it is rank {rank.rank}: that is taken")
            )
    return tuple(notes)


def device_name(trace: Trace) -> str:
    """Return the name of the device the work ran on: by the trace's own properties, else the vendor by its calls."""
    import json

    listed = json.loads(dict(trace.properties).get("deviceProperties", "[]"))
    named = [e for e in listed if isinstance(e, dict) and e.get("name")] if isinstance(listed, list) else []
    every = ", ".join(dict.fromkeys(visible(e["name"]) for e in named))
    if not len(trace.device):
        if not _lacks_device(trace):
            return "CPU"
        return f"{every}, of whose work nothing is in the file" if every else "CPU, as far as the file goes"
    used = np.unique(trace.device.device).tolist()  # a list: an identifier in the file may be anything
    names = [visible(e["name"]) for e in named if e.get("id") in used] or [visible(e["name"]) for e in named[:1]]
    return ", ".join(dict.fromkeys(names)) or _vendor(trace)


def _vendor(trace: Trace) -> str:
    """Tell the vendor of a device that the trace does not name by the names of calls and kernels."""
    calls = np.unique(trace.host.name[trace.host.kind == EventKind.RUNTIME])
    words = [trace.host.names[code] for code in calls]
    words += [trace.device.names[code] for code in np.unique(trace.device.name)]
    for pattern, vendor in _VENDORS:
        if any(re.search(pattern, word) for word in words):
            return f"a device of {vendor}, by its calls and kernels"
    return "unknown device"


def launch_count(trace: Trace) -> int:
    """Return how many calls of the host launched device work, whether that is in the trace or not."""
    launches = [code for code, name in enumerate(trace.host.names) if _LAUNCH.search(name)]
    return int(((trace.host.kind == EventKind.RUNTIME) & np.isin(trace.host.name, launches)).sum())


def _lacks_device(trace: Trace) -> bool:
    """Say whether a trace without device work had some: it was launched, or the file breaks off before it."""
    return launch_count(trace) > 0 or any(note.code == "trace-truncated" for note in trace.notes)


def _missing_work(trace: Trace, line: Timeline) -> tuple[Note, ...]:
    """Say what a trace does not hold although it should."""
    if line.on_cpu and _lacks_device(trace):
        launches = launch_count(trace)
        why = f"the host launched work {launches:,} times" if launches else "the file breaks off early"
        return (
            Note(
                code="device-missing",
                message=f"{why}, and no work of a device is in it: all times here are the host's own in its operators",
                advice="record it anew with the profiler's CUDA activity on, and let the export end",
            ),
        )
    if not len(line.work):
        return (
            Note(
                code="no-kernels",
                message="the trace holds neither device work nor operators that compute",
                advice="record it with the profiler's activities on",
            ),
        )
    return ()


def queue_lengths(launched_ns: Array, start_ns: Array) -> Array:
    """Return, at each kernel's start, how many kernels were launched but had not started; it counts itself out."""
    known = launched_ns >= 0
    launches, starts = np.sort(launched_ns[known]), np.sort(start_ns[known])
    launched_by_then = np.searchsorted(launches, starts, side="right")
    lengths: Array = launched_by_then - np.arange(1, len(starts) + 1)
    return np.maximum(0, lengths)


def _streams(line: Timeline) -> tuple[StreamTotal, ...]:
    work = line.work
    if not len(work):
        return ()
    streams, code = np.unique(work.stream, return_inverse=True)
    keys = work.device.astype(np.int64) * len(streams) + code.reshape(-1)
    everything = union_ns(work.start_ns, work.end_ns)
    totals = []
    for key in np.unique(keys).tolist():
        own = keys == key
        start, end = work.start_ns[own], work.end_ns[own]
        busy = union_ns(start, end)
        others = union_ns(work.start_ns[~own], work.end_ns[~own])
        totals.append(
            StreamTotal(
                device=key // len(streams),
                stream=int(streams[key % len(streams)]),
                kernel_count=int(own.sum()),
                busy_ms=busy / 1e6,
                gap_ms=(int(end.max() - start.min()) - busy) / 1e6,
                overlap_ms=(busy + others - everything) / 1e6,
            )
        )
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


def _step_total(step: TypicalStep, top: int, ceiling: Ceiling | None = None) -> StepTotal:
    kernels = step.kernels
    categories = np.bincount(kernels.category, weights=kernels.duration_ns, minlength=len(kernels.categories)) / 1e6
    samples = step.wall_samples_ns if step.repetition_samples_ns is None else step.repetition_samples_ns
    kernel_ns, idle_ns = float(kernels.duration_ns.sum()), float(kernels.gap_ns.sum())
    lines, line_count = folded(step, top, None if ceiling is None else kernel_floors(kernels, ceiling))
    return StepTotal(
        phase=None if step.phase is None else str(step.phase),
        title=step.title,
        step_count=step.step_count,
        sampled_step_count=step.sampled_step_count,
        kernel_count=len(kernels),
        layer_count=int(kernels.layer.max(initial=-1)) + 1,
        layer_kernel_count=int((kernels.layer == 0).sum()),
        wall_ms=step.wall_ns / 1e6,
        kernel_ms=kernel_ns / 1e6,
        idle_ms=idle_ns / 1e6,
        overlap_ms=step.overlap_ns / 1e6,
        residual_ms=(step.wall_ns - (kernel_ns + idle_ns - step.overlap_ns)) / 1e6,
        busy_ms=step.busy_ns / 1e6,
        time_of=step.time_of,
        spread=None if samples is None or len(samples) < 2 else float(np.std(samples, ddof=1) / np.mean(samples)),
        gaps=_gap_totals(step, top),
        lines=lines,
        line_count=line_count,
        category_ms=_largest(kernels.categories, categories),
        confidence=step.confidence,
        evidence=step.evidence,
    )


def _gap_totals(step: TypicalStep, top: int) -> tuple[GapTotal, ...]:
    kernels = step.kernels
    count = len(kernels.gap_causes)
    sums = np.bincount(kernels.gap_cause, weights=kernels.gap_ns, minlength=count) / 1e6
    owner = kernels.gap_owner if kernels.gap_owner is not None else np.zeros(len(kernels), dtype=np.int32)
    owners = kernels.gap_owners or ("",)
    totals = []
    for code in np.argsort(-sums, kind="stable"):
        rows = (kernels.gap_cause == code) & (kernels.gap_ns > 0)
        if not rows.any():
            continue
        own = np.bincount(owner[rows], weights=kernels.gap_ns[rows], minlength=len(owners)) / 1e6
        totals.append(
            GapTotal(
                cause=kernels.gap_causes[code],
                gap_ms=float(sums[code]),
                count=int(rows.sum()),
                owners=tuple(entry for entry in _largest(owners, own)[:top] if entry[0]),
            )
        )
    return tuple(totals)


def folded(step: TypicalStep, top: int, floors: KernelFloors | None = None) -> tuple[tuple[StepLine, ...], int]:
    """Return the ``top`` heaviest lines of a typical step in the order of time, and how many lines there are.

    Layers of one kernel sequence share their lines. ``floors`` are those of the step's kernels.
    """
    kernels = step.kernels
    blocks = [*_equal_layers(kernels), np.flatnonzero(kernels.layer < 0).reshape(1, -1)]  # (layers, kernels of each)
    weight = np.concatenate([(kernels.duration_ns + kernels.gap_ns)[block].sum(axis=0) for block in blocks])
    first = np.concatenate([block[0] for block in blocks])
    of_block = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])
    begins = np.cumsum([0, *(block.shape[1] for block in blocks)])
    chosen = np.argsort(-weight, kind="stable")[:top]
    # A block stands where its first layer does.
    place = np.array([blocks[k][0, 0] if k < len(blocks) - 1 else -1 for k in of_block[chosen]])
    order = np.lexsort((first[chosen], np.where(place >= 0, place, first[chosen])))
    lines = [_line_of(step, blocks[of_block[i]][:, i - begins[of_block[i]]], floors) for i in chosen[order].tolist()]
    return tuple(lines), len(first)


def _equal_layers(kernels: StepKernels) -> list[Array]:
    """Return the rows of layers with the same kernels, shape (layers, kernels of each), for each such group."""
    order = np.argsort(kernels.layer, kind="stable")
    order = order[kernels.layer[order] >= 0]
    if not len(order):
        return []
    _, first = np.unique(kernels.layer[order], return_index=True)
    groups: dict[bytes, list[Array]] = {}
    for rows in np.split(order, first[1:]):
        groups.setdefault(kernels.name[rows].tobytes(), []).append(rows)
    return [np.stack(rows) for rows in groups.values()]


def _line_of(step: TypicalStep, rows: Array, floors: KernelFloors | None) -> StepLine:
    kernels = step.kernels
    limit = None
    if floors is not None:
        one_group = np.zeros(len(rows), dtype=np.int64)
        limit = kernel_limit(floors.select(rows).sums(step.measured_ns[rows], one_group, 1)[:, 0])
    spread = None
    if step.samples_ns is not None and len(step.samples_ns) > 1:
        times = step.samples_ns[:, rows].sum(axis=1)
        spread = float(np.std(times, ddof=1) / np.mean(times)) if times.any() else 0.0
    row, widest = int(rows[0]), rows[int(kernels.gap_ns[rows].argmax())]
    return StepLine(
        layer=int(kernels.layer[row]) if kernels.layer[row] >= 0 else None,
        repeat_count=len(rows),
        name=kernels.names[kernels.name[row]],
        category=kernels.categories[kernels.category[row]],
        operator=kernels.operators[kernels.operator[row]],
        stream=int(kernels.stream[row]),
        duration_us=float(np.median(kernels.duration_ns[rows])) / 1e3,
        spread=spread,
        total_ms=float(kernels.duration_ns[rows].sum()) / 1e6,
        gap_ms=float(kernels.gap_ns[rows].sum()) / 1e6,
        gap_cause=kernels.gap_causes[kernels.gap_cause[widest]],
        limit=limit,
    )
