"""Tie device events to the host: the runtime call that launched each, and the operator around it."""

import numpy as np

from tokprof.profiler.record import Array, DeviceEvents, EventKind, HostEvents
from tokprof.profiler.trace.native import scanner_module


def link_launches(device: DeviceEvents, host: HostEvents, process: Array) -> tuple[Array, Array, Array]:
    """Return, for each device event, the rows of its launching call and operator, and whether these are ambiguous.

    A launch is the runtime call of the same correlation id. Its operator is the innermost one on the call's thread that
    contains the call; without a call it is the operator of the same external id. -1 where there is none. A number that
    events of several processes bear, as in traces put together, is ambiguous: only the event's own process can tell.
    ``process`` is the process of each thread.
    """
    operator = np.full(len(device), -1, dtype=np.int32)
    calls = np.flatnonzero((host.kind == EventKind.RUNTIME) & (host.correlation > 0))
    launch, ambiguous = _bearers(host, host.correlation, calls, device, device.correlation, process)
    launched = np.flatnonzero(launch >= 0)
    if len(launched):
        operator[launched] = enclosing(host, launch[launched], EventKind.OPERATOR)
    alone = np.flatnonzero((operator < 0) & (device.external > 0))
    operators = np.flatnonzero((host.kind == EventKind.OPERATOR) & (host.external > 0))
    if len(alone):
        operator[alone], unsure = _bearers(
            host, host.external, operators, device.select(alone), device.external[alone], process
        )
        ambiguous[alone] |= unsure
    return launch, operator, ambiguous & (launch < 0) & (operator < 0)


def _bearers(
    host: HostEvents, numbers: Array, rows: Array, device: DeviceEvents, wanted: Array, process: Array
) -> tuple[Array, Array]:
    """Return the first of the host's ``rows`` that bears each wanted number, -1 if none; and where it is ambiguous."""
    found = np.full(len(device), -1, dtype=np.int32)
    ambiguous = np.zeros(len(device), dtype=bool)
    if not len(rows) or not len(device):
        return found, ambiguous
    order = np.argsort(numbers[rows], kind="stable")
    ids = numbers[rows][order]
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    borne = (ids[at] == wanted) & (wanted > 0)
    found[borne] = rows[order[at[borne]]]
    of = process[host.thread[rows]]
    if (of == of[0]).all():
        return found, ambiguous
    code = np.cumsum(np.diff(ids, prepend=ids[0]) != 0)  # the same for one number
    wide = int(process.max()) + 1
    pairs, first = np.unique(code * wide + of[order], return_index=True)
    several = np.bincount(pairs // wide) > 1
    asked = np.flatnonzero(borne)
    asked = asked[several[code[at[asked]]]]
    own = code[at[asked]] * wide + process[device.thread[asked]]
    place = np.minimum(np.searchsorted(pairs, own), len(pairs) - 1)
    same = pairs[place] == own
    found[asked] = np.where(same, rows[order[first[place]]], -1)
    ambiguous[asked] = ~same
    return found, ambiguous


def enclosing(host: HostEvents, rows: Array, kind: EventKind) -> Array:
    """Return, for each host row, the innermost event of ``kind`` on its thread that contains it; -1 if none."""
    result = np.full(len(rows), -1, dtype=np.int32)
    for thread in np.unique(host.thread[rows]):
        asked = np.flatnonzero(host.thread[rows] == thread)
        around = np.flatnonzero((host.thread == thread) & (host.kind == kind))
        if not len(around):
            continue
        parent = parents(host.start_ns[around], host.end_ns[around])
        start, end = host.start_ns[rows[asked]], host.end_ns[rows[asked]]
        candidate = np.searchsorted(host.start_ns[around], start, side="right") - 1
        # Climb out of what ended before: each round settles all whose candidate contains them.
        active = candidate >= 0
        while True:
            outside = active & (host.end_ns[around][np.maximum(candidate, 0)] < end)
            if not outside.any():
                break
            candidate[outside] = parent[candidate[outside]]
            active = candidate >= 0
        result[asked[active]] = around[candidate[active]]
    return result


def parents(start_ns: Array, end_ns: Array) -> Array:
    """Return the index of the innermost interval containing each, in order of start; -1 for the outermost."""
    native = scanner_module()
    if native is not None:
        parent = np.empty(len(start_ns), dtype=np.int64)
        native.parents(np.ascontiguousarray(start_ns, np.int64), np.ascontiguousarray(end_ns, np.int64), parent)
        return parent
    ends = [*end_ns.tolist(), 2**63]  # the last, at -1, is never over
    found: list[int] = []
    for index, (start, end) in enumerate(zip(start_ns.tolist(), end_ns.tolist(), strict=True)):
        at = index - 1  # climb from the one before to what contains this one
        while ends[at] <= start or ends[at] < end:
            at = found[at]
        found.append(at)
    return np.array(found, dtype=np.int64)


def overlapped_count(device: DeviceEvents) -> int:
    """Count device work that starts before an earlier one on its stream has ended."""
    work = device.select(device.kind <= EventKind.COLLECTIVE)
    count = 0
    keys = np.stack([work.device.astype(np.int64), work.stream], axis=1)
    for key in np.unique(keys, axis=0):
        rows = np.flatnonzero((keys == key).all(axis=1))
        reach = np.maximum.accumulate(work.end_ns[rows])
        count += int((work.start_ns[rows][1:] < reach[:-1]).sum())
    return count
