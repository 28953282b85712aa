"""Steps of a timeline: which device work belongs to which prefill or decode step."""

from dataclasses import dataclass

import numpy as np

from tokprof.profiler.record import (
    Array,
    DeviceEvents,
    EventKind,
    HostEvents,
    KernelEvents,
    Phase,
    StepKernels,
    Trace,
    TypicalStep,
    codes_of,
)
from tokprof.profiler.trace.categories import CATEGORIES, Rules, category_codes
from tokprof.profiler.trace.links import enclosing, parents
from tokprof.profiler.trace.phases import STEP_LABEL, Steps, find_steps, repeating_block


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWindows:
    """The host's windows of our own named steps, in the order of time."""

    start_ns: Array
    end_ns: Array
    phase: Array
    repetition: Array
    step: Array

    def __len__(self) -> int:
        return len(self.start_ns)


def own_steps(trace: Trace) -> StepWindows:
    """Return the windows that tokprof named when it recorded the trace; none in anyone else's."""
    labels = {code: match for code, name in enumerate(trace.host.names) if (match := STEP_LABEL.fullmatch(name))}
    rows = np.flatnonzero(np.isin(trace.host.name, list(labels)) & (trace.host.kind == EventKind.ANNOTATION))
    found = [labels[int(code)] for code in trace.host.name[rows]]
    return StepWindows(
        start_ns=trace.host.start_ns[rows],
        end_ns=trace.host.end_ns[rows],
        phase=np.array([codes_of(Phase(match[1])) for match in found], dtype=np.int8),
        repetition=np.array([int(match[2]) for match in found], dtype=np.int32),
        step=np.array([int(match[3] or 0) for match in found], dtype=np.int32),
    )


def kernel_events(trace: Trace, table: Rules | None = None) -> KernelEvents:
    """Return what the device executed, each event with the step that launched it.

    An event belongs to the step in whose host window its launch lies, so work that runs after its step's end on the
    host still counts to it. In a trace without device work the host's computing operators play the kernels (see
    :func:`computing_operators`). Instants stay on the trace's clock.
    """
    device = trace.device.select(trace.device.kind <= EventKind.COLLECTIVE)
    return _from_device(trace, table) if len(device) else _from_operators(trace, table)


def _from_device(trace: Trace, table: Rules | None) -> KernelEvents:
    rows = np.flatnonzero(trace.device.kind <= EventKind.COLLECTIVE)
    device = trace.device.select(rows)
    launched = device.launch >= 0
    at_ns = np.where(launched, trace.host.start_ns[np.maximum(device.launch, 0)], device.start_ns)
    operators = np.where(device.operator >= 0, trace.host.name[np.maximum(device.operator, 0)] + 1, 0)
    return _assigned(
        trace,
        at_ns,
        name=device.name,
        names=device.names,
        category=category_codes(device.names, device.kind, device.name, table),
        operator=operators,
        stream=np.clip(device.stream, -1, 2**31 - 1),
        start_ns=device.start_ns,
        duration_ns=device.duration_ns,
    )


def _from_operators(trace: Trace, table: Rules | None) -> KernelEvents:
    rows = computing_operators(trace.host)
    host = trace.host.select(rows)
    return _assigned(
        trace,
        host.start_ns,
        name=host.name,
        names=host.names,
        category=category_codes(host.names, host.kind, host.name, table),
        operator=host.name + 1,
        stream=host.thread,
        start_ns=host.start_ns,
        duration_ns=host.duration_ns,
    )


# They change how memory is looked at, or ask for it; the computing is done by the operator that calls them.
_BOOKKEEPING = frozenset(
    f"aten::{name}"
    for name in (
        "alias", "as_strided", "broadcast_to", "chunk", "detach", "diagonal", "empty", "empty_like", "empty_strided",
        "expand", "expand_as", "flatten", "is_nonzero", "item", "lift_fresh", "movedim", "narrow", "new_empty",
        "numpy_T", "permute", "reshape", "_reshape_alias", "resize_", "resolve_conj", "resolve_neg", "result_type",
        "select", "set_", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "t", "transpose", "unbind",
        "unflatten", "unfold", "_unsafe_view", "unsqueeze", "view", "view_as", "_local_scalar_dense",
    )
)  # fmt: skip


def computing_operators(host: HostEvents) -> Array:
    """Return the rows of the innermost operators that compute, in the order of start.

    Operators that only change how memory is looked at, or ask for it, do not count: neither by themselves nor as the
    inside of another.
    """
    idle = np.array([name in _BOOKKEEPING for name in host.names] + [False])
    operators = np.flatnonzero((host.kind == EventKind.OPERATOR) & ~idle[host.name])
    innermost = []
    for thread in np.unique(host.thread[operators]):
        rows = operators[host.thread[operators] == thread]
        parent = parents(host.start_ns[rows], host.end_ns[rows])
        is_parent = np.zeros(len(rows), dtype=bool)
        is_parent[parent[parent >= 0]] = True
        innermost.append(rows[~is_parent])
    return np.sort(np.concatenate(innermost)) if innermost else np.array([], dtype=np.int64)


def _assigned(trace: Trace, at_ns: Array, *, name: Array, names: tuple[str, ...], **columns: Array) -> KernelEvents:
    """Give each event the step whose host window holds the instant ``at_ns``."""
    windows = own_steps(trace)
    repetition = np.full(len(at_ns), -1, dtype=np.int32)
    phase = np.full(len(at_ns), -1, dtype=np.int8)
    step = np.full(len(at_ns), -1, dtype=np.int32)
    if len(windows):
        at = np.searchsorted(windows.start_ns, at_ns, side="right") - 1
        inside = (at >= 0) & (at_ns < windows.end_ns[np.maximum(at, 0)])
        repetition[inside] = windows.repetition[at[inside]]
        phase[inside] = windows.phase[at[inside]]
        step[inside] = windows.step[at[inside]]
    return KernelEvents(
        name=name,
        repetition=repetition,
        phase=phase,
        step=step,
        names=names,
        categories=CATEGORIES,
        operators=("", *trace.host.names),
        **columns,
    )


# ----------------------------------------------------------------------------------------------------- typical steps

GAP_CAUSES = ("", "host: launched late", "host: synchronised", "memory copy", "device", "host", "unknown")
_LATE, _SYNCHRONISED, _COPY, _DEVICE, _HOST, _UNKNOWN = range(1, len(GAP_CAUSES))
_SYNCHRONISING = ("Synchronize", "cudaMemcpy", "hipMemcpy", "EventQuery", "StreamQuery")
LAYER_MINIMUM = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """A trace's device work in the order of start, with what the host says about each row."""

    work: DeviceEvents
    category: Array
    operator: Array  # row of the host operator, -1 if unknown
    launched_ns: Array  # when the host launched it, -1 if unknown
    on_cpu: bool
    steps: Steps


def timeline(trace: Trace, table: Rules | None = None) -> Timeline:
    """Return the device work of a trace (the computing operators where no device was traced) and its steps."""
    work = trace.device.select(trace.device.kind <= EventKind.COLLECTIVE)
    if len(work):
        launched = np.where(work.launch >= 0, trace.host.start_ns[np.maximum(work.launch, 0)], -1)
        category = category_codes(work.names, work.kind, work.name, table)
        operator, on_cpu = work.operator, False
    else:
        rows = computing_operators(trace.host)
        work = _as_device_work(trace.host.select(rows))
        launched, operator, on_cpu = work.start_ns, rows, True
        category = category_codes(work.names, work.kind, work.name, table)
    steps = find_steps(trace, work, launched)
    return Timeline(work=work, category=category, operator=operator, launched_ns=launched, on_cpu=on_cpu, steps=steps)


def _as_device_work(host: HostEvents) -> DeviceEvents:
    nothing = np.full(len(host), -1)
    return DeviceEvents(
        kind=host.kind,
        name=host.name,
        thread=host.thread,
        start_ns=host.start_ns,
        duration_ns=host.duration_ns,
        device=nothing,
        stream=host.thread,
        correlation=nothing,
        external=host.external,
        graph_node=nothing,
        byte_count=nothing,
        launch=nothing,
        operator=nothing,
        names=host.names,
    )


def typical_steps(trace: Trace, table: Rules | None = None, line: Timeline | None = None) -> tuple[TypicalStep, ...]:
    """Return the median prefill and the median decode step, kernel by kernel; or the step of unknown phase.

    Steps of one phase are grouped by their exact kernel sequence; the largest group (of equal ones that of the median
    time) is the typical one, and its spread is over its own steps.
    """
    line = line or timeline(trace, table)
    found: list[TypicalStep] = []
    for phase in (Phase.PREFILL, Phase.DECODE, None):
        numbers = [i for i, p in enumerate(line.steps.phase) if p is phase]
        rows = _rows_by_step(line, numbers)
        if rows:
            found.append(_typical(trace, line, phase, rows))
    return tuple(found)


def _rows_by_step(line: Timeline, numbers: list[int]) -> dict[int, Array]:
    order = np.argsort(line.steps.step_of_row, kind="stable")
    sorted_steps = line.steps.step_of_row[order]
    found = {}
    for number in numbers:
        low, high = np.searchsorted(sorted_steps, [number, number + 1])
        if high > low:
            found[number] = order[low:high]  # stable: still in the order of start
    return found


def _typical(trace: Trace, line: Timeline, phase: Phase | None, rows: dict[int, Array]) -> TypicalStep:
    groups: dict[bytes, list[int]] = {}
    for number, members in rows.items():
        groups.setdefault(line.work.name[members].tobytes(), []).append(number)
    starts = {number: _step_start(line, number, members) for number, members in rows.items()}
    ends = {number: int(line.work.end_ns[members].max()) for number, members in rows.items()}
    middle = float(np.median([ends[n] - starts[n] for n in rows]))
    group = max(
        groups.values(), key=lambda g: (len(g), -abs(float(np.median([ends[n] - starts[n] for n in g])) - middle))
    )
    matrix = np.stack([rows[number] for number in group])  # (steps, kernels)
    begin = np.array([starts[number] for number in group])[:, None]
    start, duration = line.work.start_ns[matrix], line.work.duration_ns[matrix]
    reach = np.maximum.accumulate(start + duration, axis=1)
    before = np.concatenate([begin, reach[:, :-1]], axis=1)
    gap = np.maximum(0, start - before)
    wall = reach[:, -1] - begin[:, 0]
    busy = wall - gap.sum(axis=1)
    overlap = duration.sum(axis=1) - busy
    first = matrix[0]
    names, operators, frames = line.work.names, *_host_names(trace, line, first)
    cause = _gap_causes(trace, line, matrix, gap, before)
    several = len(group) > 1
    kernels = StepKernels(
        name=line.work.name[first],
        category=line.category[first],
        operator=operators[0],
        frame=frames[0],
        layer=layers(line.work.name[first]),
        stream=line.work.stream[first],
        start_ns=np.median(start - begin, axis=0),
        duration_ns=np.median(duration, axis=0),
        gap_ns=np.median(gap, axis=0),
        gap_cause=cause,
        names=names,
        categories=CATEGORIES,
        operators=operators[1],
        frames=frames[1],
        gap_causes=GAP_CAUSES,
    )
    return TypicalStep(
        phase=phase,
        step_count=len(rows),
        sampled_step_count=len(group),
        wall_ns=float(np.median(wall)),
        busy_ns=float(np.median(busy)),
        overlap_ns=float(np.median(overlap)),
        kernels=kernels,
        confidence=line.steps.confidence,
        evidence=line.steps.evidence,
        samples_ns=duration if several else None,
        gap_samples_ns=gap if several else None,
        wall_samples_ns=wall if several else None,
    )


def _step_start(line: Timeline, number: int, members: Array) -> int:
    """A step that follows another begins where that one's work ended; else at its first kernel, on a CPU its call."""
    if line.steps.follows[number]:
        previous = np.flatnonzero(line.steps.step_of_row == number - 1)
        if len(previous):
            return min(int(line.work.end_ns[previous].max()), int(line.work.start_ns[members[0]]))
    if line.on_cpu and line.steps.start_ns[number] >= 0:
        return int(line.steps.start_ns[number])
    return int(line.work.start_ns[members[0]])


def _host_names(
    trace: Trace, line: Timeline, rows: Array
) -> tuple[tuple[Array, tuple[str, ...]], tuple[Array, tuple[str, ...]]]:
    """Return operator codes with their names, and codes and names of the innermost Python frame of each launch."""
    host = trace.host
    operator = np.where(line.operator[rows] >= 0, host.name[np.maximum(line.operator[rows], 0)] + 1, 0)
    called = line.operator[rows] if line.on_cpu else line.work.launch[rows]
    frame = np.zeros(len(rows), dtype=np.int32)
    known = np.flatnonzero(called >= 0)
    if len(known) and (host.kind == EventKind.PYTHON).any():
        around = enclosing(host, called[known], EventKind.PYTHON)
        frame[known] = np.where(around >= 0, host.name[np.maximum(around, 0)] + 1, 0)
    names = ("", *host.names)
    return (operator, names), (frame, names)


def _gap_causes(trace: Trace, line: Timeline, matrix: Array, gap: Array, before: Array) -> Array:
    """Return the commonest cause of the idle time before each kernel, over the steps."""
    if line.on_cpu:
        return np.where(np.median(gap, axis=0) > 0, _HOST, 0)
    host = trace.host
    waits = np.array([any(word in name for word in _SYNCHRONISING) for name in host.names] + [False])
    rows = np.flatnonzero((host.kind == EventKind.RUNTIME) & waits[host.name])
    wait_end = np.maximum.accumulate(host.end_ns[rows]) if len(rows) else np.array([], dtype=np.int64)
    wait_start = host.start_ns[rows]
    launched = line.launched_ns[matrix]
    late = launched > before
    # A wait that ended between the device's last work and the launch held the host up.
    at = np.searchsorted(wait_start, launched.ravel(), side="right") - 1
    held = np.zeros(launched.size, dtype=bool)
    if len(rows):
        held = (at >= 0) & (wait_end[np.maximum(at, 0)] >= before.ravel())
    copies = np.isin(line.work.kind[matrix], (EventKind.MEMCPY, EventKind.MEMSET))
    cause = np.where(late, np.where(held.reshape(late.shape), _SYNCHRONISED, _LATE), np.where(copies, _COPY, _DEVICE))
    cause = np.where(launched < 0, _UNKNOWN, cause)
    cause = np.where(gap > 0, cause, 0)
    return np.array([np.bincount(column, minlength=len(GAP_CAUSES)).argmax() for column in cause.T], dtype=np.int8)


def layers(names: Array) -> Array:
    """Return the layer of each kernel of a step, by the block of names that repeats; -1 outside it."""
    layer = np.full(len(names), -1, dtype=np.int32)
    found = repeating_block(names, minimum_count=LAYER_MINIMUM)
    if found is not None:
        start, period, count = found
        layer[start : start + period * count] = np.repeat(np.arange(count), period)
    return layer
