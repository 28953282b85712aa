"""Tie device events to the host: the runtime call that launched each, and the operator around it."""

import numpy as np

from tokprof.profiler.record import Array, DeviceEvents, EventKind, HostEvents
from tokprof.profiler.trace.native import scanner_module


def link_launches(device: DeviceEvents, host: HostEvents) -> tuple[Array, Array]:
    """Return, for each device event, the row of its launching call and of the innermost operator around that call.

    A launch is the runtime call of the same correlation id. Its operator is the innermost one on the call's thread that
    contains the call; without a call it is the operator of the same external id. -1 where there is none.
    """
    launch = np.full(len(device), -1, dtype=np.int32)
    operator = np.full(len(device), -1, dtype=np.int32)
    calls = np.flatnonzero((host.kind == EventKind.RUNTIME) & (host.correlation > 0))
    if len(calls) and len(device):
        order = np.argsort(host.correlation[calls], kind="stable")
        ids = host.correlation[calls][order]
        at = np.minimum(np.searchsorted(ids, device.correlation), len(ids) - 1)
        found = (ids[at] == device.correlation) & (device.correlation > 0)
        launch[found] = calls[order][at[found]]
    launched = np.flatnonzero(launch >= 0)
    if len(launched):
        operator[launched] = enclosing(host, launch[launched], EventKind.OPERATOR)
    alone = np.flatnonzero((operator < 0) & (device.external > 0))
    operators = np.flatnonzero((host.kind == EventKind.OPERATOR) & (host.external > 0))
    if len(alone) and len(operators):
        order = np.argsort(host.external[operators], kind="stable")
        ids = host.external[operators][order]
        at = np.minimum(np.searchsorted(ids, device.external[alone]), len(ids) - 1)
        found = ids[at] == device.external[alone]
        operator[alone[found]] = operators[order][at[found]]
    return launch, operator


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
