"""Steps of a timeline: which device work belongs to which prefill or decode step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from tokprof.profiler.trace.gaps import BETWEEN, GAP_CAUSES, gap_causes, gap_owners, innermost_at, owner_words
from tokprof.profiler.trace.links import parents
from tokprof.profiler.trace.phases import STEP_LABEL, Steps, find_steps
from tokprof.profiler.trace.repeats import layers


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
    at_ns = device.start_ns.copy()
    at_ns[launched] = trace.host.start_ns[device.launch[launched]]
    known = device.operator >= 0
    operators = np.zeros(len(device), dtype=np.int32)
    operators[known] = trace.host.name[device.operator[known]] + 1
    return _assigned(
        trace,
        at_ns,
        name=device.name,
        names=device.names,
        category=category_codes(device.names, device.kind, device.name, table),
        operator=operators,
        **_calls(trace.host, device.operator),
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
        **_calls(trace.host, rows),
        stream=host.thread,
        start_ns=host.start_ns,
        duration_ns=host.duration_ns,
    )


def _calls(host: HostEvents, operator: Array) -> dict[str, Any]:
    """Return the columns that tell which call of an operator launched each kernel, and with what shape.

    ``operator`` are rows of the host, -1 where unknown. Without any shape in the trace there are no columns.
    """
    if host.shape is None or not len(host):
        return {}
    shape = np.where(operator >= 0, host.shape[np.maximum(operator, 0)], -1)
    used, code = np.unique(shape[shape >= 0], return_inverse=True)
    shape[shape >= 0] = code.reshape(-1)
    return {"call": operator, "shape": shape, "shapes": tuple(host.shapes[i] for i in used.tolist())}


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


def _assigned(trace: Trace, at_ns: Array, *, name: Array, names: tuple[str, ...], **columns: Any) -> KernelEvents:
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

# A repeated block of nothing but these is no layer.
_SMALL_WORK = ("elementwise", "copy", "embedding/sampling", "collective")


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
        known = work.launch >= 0
        launched = np.where(known, trace.host.start_ns[np.maximum(work.launch, 0)], -1) if known.any() else work.launch
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


def step_spans(line: Timeline) -> tuple[Array, Array]:
    """Return when each step that holds work begins and ends, in the order of their beginnings."""
    rows_of = _rows_by_step(line)
    begins = np.array([_begin(line, step, rows_of)[0] for step in rows_of], dtype=np.int64)
    ends = np.array([int(line.work.end_ns[rows].max()) for rows in rows_of.values()], dtype=np.int64)
    order = np.argsort(begins, kind="stable")
    return begins[order], ends[order]


def typical_steps(trace: Trace, table: Rules | None = None, line: Timeline | None = None) -> tuple[TypicalStep, ...]:
    """Return the median prefill and the median decode step, kernel by kernel; or the step of unknown phase.

    Steps of one phase are grouped by what each stream ran, in its order; the largest group (of equal ones that of the
    median time) is the typical one, and its spread is over its own steps.
    """
    line = line or timeline(trace, table)
    rows_of = _rows_by_step(line)
    found: list[TypicalStep] = []
    for phase in (Phase.PREFILL, Phase.DECODE, None):
        rows = {i: rows_of[i] for i, p in enumerate(line.steps.phase) if p is phase and i in rows_of}
        if rows:
            found.append(_typical(trace, line, phase, rows, rows_of))
    return tuple(found)


def _rows_by_step(line: Timeline) -> dict[int, Array]:
    order = np.argsort(line.steps.step_of_row, kind="stable")  # stable: still in the order of start
    if not len(order):
        return {}
    numbers, first = np.unique(line.steps.step_of_row[order], return_index=True)
    parts = np.split(order, first[1:])
    return {int(number): part for number, part in zip(numbers, parts, strict=True) if number >= 0}


def _typical(
    trace: Trace, line: Timeline, phase: Phase | None, rows: dict[int, Array], rows_of: dict[int, Array]
) -> TypicalStep:
    work = line.work
    begun = {number: _begin(line, number, rows_of) for number in rows}
    walls = {number: int(work.end_ns[members].max()) - begun[number][0] for number, members in rows.items()}
    group, by_stream = alike_steps(rows, work.stream, work.name, walls)

    matrix = np.stack([rows[number] for number in group])  # (steps, kernels), each in its own order of time
    begin = np.array([begun[number][0] for number in group])[:, None]
    last = np.array([begun[number][1] for number in group])[:, None]
    start, duration = work.start_ns[matrix], work.duration_ns[matrix]
    reach = np.maximum.accumulate(start + duration, axis=1)
    before = np.concatenate([begin, reach[:, :-1]], axis=1)
    gap = np.maximum(0, start - before)
    holder = np.maximum.accumulate(np.where(start + duration >= reach, np.arange(matrix.shape[1]), 0), axis=1)
    previous = np.concatenate([last, np.take_along_axis(matrix, holder[:, :-1], axis=1)], axis=1)
    wall = reach[:, -1] - begin[:, 0]
    busy = wall - gap.sum(axis=1)
    overlap = duration.sum(axis=1) - busy

    # The same kernel of every step stands in one column; columns in the order of their median start.
    place = np.stack([by_stream[number] for number in group])
    columns = np.argsort(np.median(np.take_along_axis(start - begin, place, axis=1), axis=0), kind="stable")
    place = place[:, columns]

    def sorted_columns(values: Array) -> Array:
        return np.take_along_axis(values, place, axis=1)

    matrix, duration, gap = sorted_columns(matrix), sorted_columns(duration), sorted_columns(gap)
    before, previous = sorted_columns(before), sorted_columns(previous)
    middle_step = int(np.argmin(np.abs(wall - np.median(wall))))
    cause, owner, owners = _gaps(trace, line, matrix, gap, before, previous, middle_step)
    sample = matrix[middle_step]
    (operator, operators), (frame, frames) = _host_names(trace, line, sample)
    small = np.isin(line.category[sample], [CATEGORIES.index(word) for word in _SMALL_WORK])
    several = len(group) > 1
    kernels = StepKernels(
        name=work.name[sample],
        category=line.category[sample],
        operator=operator,
        **_calls(trace.host, line.operator[matrix[_middle(trace, line, group)]]),
        frame=frame,
        layer=layers(work.name[sample], ~small),
        stream=work.stream[sample],
        start_ns=np.median(sorted_columns(start - begin), axis=0),
        duration_ns=np.median(duration, axis=0),
        gap_ns=np.median(gap, axis=0),
        gap_cause=cause,
        gap_owner=owner,
        names=work.names,
        categories=CATEGORIES,
        operators=operators,
        frames=frames,
        gap_causes=GAP_CAUSES,
        gap_owners=owners,
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
        word=line.steps.word,
        samples_ns=duration if several else None,
        gap_samples_ns=gap if several else None,
        wall_samples_ns=wall if several else None,
    )


def alike_steps(
    rows: Mapping[int, Array], stream: Array, name: Array, wall_ns: Mapping[int, float]
) -> tuple[list[int], dict[int, Array]]:
    """Return the largest group of steps in which every stream ran the same kernels in its order.

    Of equally large ones it is that whose median of ``wall_ns`` is the nearest to that of all. ``rows`` holds each
    step's rows in the order of time; returned with the group is, for each step, their places in the order of streams.
    """
    groups: dict[bytes, list[int]] = {}
    places: dict[int, Array] = {}
    for number, members in rows.items():
        places[number] = np.argsort(stream[members], kind="stable")
        ordered = members[places[number]]
        groups.setdefault(stream[ordered].tobytes() + name[ordered].tobytes(), []).append(number)
    middle = float(np.median([wall_ns[number] for number in rows]))
    return max(
        groups.values(), key=lambda g: (len(g), -abs(float(np.median([wall_ns[n] for n in g])) - middle))
    ), places


def _middle(trace: Trace, line: Timeline, group: Sequence[int]) -> int:
    """Return the place of the step with the middle context, with which shapes grow; a repetition begins it anew."""
    own = own_steps(trace)
    numbers = dict(zip(own.start_ns.tolist(), own.step.tolist(), strict=True))
    in_order = sorted(range(len(group)), key=lambda place: numbers.get(int(line.steps.start_ns[group[place]]), 0))
    return in_order[len(group) // 2]


def _begin(line: Timeline, number: int, rows_of: dict[int, Array]) -> tuple[int, int]:
    """Return when a step begins, and the row that ended then (-1: none).

    A step that follows another begins where that one's work ended; else at its first kernel, on a CPU at its call. A
    phase of ours, for which an idle device is waited for, does so on a GPU, too, or when what was still running had
    ended: like the marks of the clean pass.
    """
    row = int(rows_of[number][0])
    first = int(line.work.start_ns[row])
    called = int(line.steps.start_ns[number])
    begins_phase = Phase.PREFILL in line.steps.phase[max(0, number - 1) : number + 1]
    if line.steps.marked and not line.on_cpu and begins_phase and called >= 0:
        return min(first, max(called, int(line.work.end_ns[:row].max(initial=-1)))), -1
    if line.steps.follows[number] and number - 1 in rows_of:
        before = rows_of[number - 1]
        last = before[int(np.argmax(line.work.end_ns[before]))]
        return min(int(line.work.end_ns[last]), first), int(last)
    if line.on_cpu and called >= 0:
        return called, -1
    return first, -1


def _gaps(
    trace: Trace, line: Timeline, matrix: Array, gap: Array, before: Array, previous: Array, middle_step: int
) -> tuple[Array, Array, tuple[str, ...]]:
    """Return the cause that cost the most before each kernel over the steps, and who owns the gap then.

    All arrays have the shape (steps, kernels). Owners are those of the step of the median time, where it shows the same
    cause, else of the step with the longest such gap.
    """
    columns = np.arange(matrix.shape[1])
    if line.on_cpu:
        cause = np.where(np.median(gap, axis=0) > 0, BETWEEN, 0).astype(np.int8)
        rows = matrix[middle_step]
        middle = line.work.start_ns[rows] - gap[middle_step] // 2
        inside = {}
        for kind in (EventKind.OPERATOR, EventKind.PYTHON):
            inside[kind] = np.full(len(rows), -1, dtype=np.int64)
            idle = np.flatnonzero(cause)
            found = innermost_at(trace.host, kind, line.work.thread[rows[idle]], middle[idle])
            inside[kind][idle] = np.where(found >= 0, trace.host.name[np.maximum(found, 0)], -1)
        owner, words = owner_words(trace.host, operator=inside[EventKind.OPERATOR], frame=inside[EventKind.PYTHON])
        return cause, owner, words
    causes, wait = gap_causes(trace.host, line.work, matrix, before, gap, previous)
    cost = np.stack([np.where(causes == code, gap, 0).sum(axis=0) for code in range(len(GAP_CAUSES))])
    cause = np.where(cost.max(axis=0) > 0, cost.argmax(axis=0), 0).astype(np.int8)
    shown = np.where(causes == cause, gap, -1).argmax(axis=0)
    shown = np.where(causes[middle_step] == cause, middle_step, shown)
    owner, owners = gap_owners(
        trace.host, line.work, matrix[shown, columns], cause, before[shown, columns], wait[shown, columns],
        previous[shown, columns],
    )  # fmt: skip
    return cause, owner, owners


def _host_names(
    trace: Trace, line: Timeline, rows: Array
) -> tuple[tuple[Array, tuple[str, ...]], tuple[Array, tuple[str, ...]]]:
    """Return operator codes with their names, and codes and names of the innermost Python frame of each launch."""
    host = trace.host
    names = ("", *host.names)
    if not len(host):
        return (np.zeros(len(rows), dtype=np.int32), names), (np.zeros(len(rows), dtype=np.int32), names)
    operator = np.where(line.operator[rows] >= 0, host.name[np.maximum(line.operator[rows], 0)] + 1, 0)
    called = line.operator[rows] if line.on_cpu else line.work.launch[rows]
    frame = np.zeros(len(rows), dtype=np.int32)
    known = np.flatnonzero(called >= 0)
    if len(known):
        call = called[known]
        around = innermost_at(host, EventKind.PYTHON, host.thread[call], host.start_ns[call])
        frame[known] = np.where(around >= 0, host.name[np.maximum(around, 0)] + 1, 0)
    return (operator, names), (frame, names)
