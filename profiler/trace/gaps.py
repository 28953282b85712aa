"""Why a device was idle: the cause of each gap before a kernel, and who owns it.

Every gap lies between the end of the last work and the start of the next. Where the next was launched only after the
device had run dry, the host is the cause: a call that waited for the device (synchronisation), or the launch was just
late; the owner is then the operator and the Python frame in which the host spent the middle of that time. Where the
work was queued in time, the device is: work of another stream had to end first, or nothing tells why. A copy or memset
beside such a gap is named, for setting one up takes time; that it is the cause is not known.
"""

import re

import numpy as np

from tokprof.profiler.record import Array, DeviceEvents, EventKind, HostEvents
from tokprof.profiler.trace.links import parents

GAP_CAUSES = (
    "",
    "host launch late",
    "synchronisation",
    "idle beside a memory copy",
    "dependency on another stream",
    "idle, work queued",
    "idle, launch not traced",
    "host between operators",
)
LATE, SYNCHRONISED, COPY, DEPENDENCY, QUEUED, UNKNOWN, BETWEEN = range(1, len(GAP_CAUSES))

# Calls that return when the device has done what it was asked for.
_WAITS = re.compile(r"Synchronize|^(cuda|hip)Memcpy(?!.*(Async|Peer))|^cuMemcpy(?!.*Async)|^(cuda|hip|cu)(Mem)?Free")
# Calls that may wait, by where the memory lies: only one in progress when the device ran dry did.
_MAY_WAIT = re.compile(r"^(cuda|hip|cu)Memcpy.*Async")


def gap_causes(
    host: HostEvents, work: DeviceEvents, rows: Array, before_ns: Array, gap_ns: Array, previous: Array
) -> tuple[Array, Array]:
    """Return the cause of the idle time before each of some rows of device work, and the host call that waited.

    ``before_ns`` is when the device ran dry, ``previous`` the row whose end that was (-1: unknown). The second array
    holds rows of the host's events, -1 where no call waited. All have the shape of ``rows``.
    """
    launch = work.launch[rows]
    known = launch >= 0
    call = np.maximum(launch, 0)
    copy = np.isin(work.kind[rows], (EventKind.MEMCPY, EventKind.MEMSET))
    nothing_known = len(host) == 0
    issued = np.zeros(rows.shape, dtype=np.int64) if nothing_known else host.start_ns[call]
    # A kernel is queued when its launching call ends; a copy's call may last as long as the copy.
    queued = issued if nothing_known else np.where(copy, issued, host.end_ns[call])
    late = known & (queued > before_ns)
    wait = np.full(rows.shape, -1, dtype=np.int64)
    if late.any():
        wait[late] = _waits(host, call[late], before_ns[late])
    after_copy = (previous >= 0) & np.isin(work.kind[np.maximum(previous, 0)], (EventKind.MEMCPY, EventKind.MEMSET))
    other_stream = (previous >= 0) & (
        (work.stream[np.maximum(previous, 0)] != work.stream[rows])
        | (work.device[np.maximum(previous, 0)] != work.device[rows])
    )
    cause = np.select(
        [gap_ns <= 0, ~known, late & (wait >= 0), late, copy | after_copy, other_stream],
        [0, UNKNOWN, SYNCHRONISED, LATE, COPY, DEPENDENCY],
        default=QUEUED,
    ).astype(np.int8)
    return cause, wait


def _waits(host: HostEvents, call: Array, before_ns: Array) -> Array:
    """Return, for each launching call, the last call on its thread that waited past the instant the device ran dry."""
    certain = np.array([bool(_WAITS.search(name)) for name in host.names], dtype=bool)
    possible = np.array([bool(_MAY_WAIT.search(name)) for name in host.names], dtype=bool)
    rows = np.flatnonzero((host.kind == EventKind.RUNTIME) & (certain | possible)[host.name])
    found = np.full(len(call), -1, dtype=np.int64)
    for thread in np.unique(host.thread[call]):
        asked = np.flatnonzero(host.thread[call] == thread)
        waits = rows[host.thread[rows] == thread]
        if not len(waits):
            continue
        at = np.searchsorted(host.start_ns[waits], host.start_ns[call[asked]], side="left") - 1
        row = waits[np.maximum(at, 0)]
        spans = host.start_ns[row] < before_ns[asked]
        holds = (at >= 0) & (host.end_ns[row] >= before_ns[asked]) & (certain[host.name[row]] | spans)
        found[asked] = np.where(holds, row, -1)
    return found


def innermost_at(host: HostEvents, kind: EventKind, thread: Array, time_ns: Array) -> Array:
    """Return, for each thread and instant, the row of the innermost host event of ``kind`` that holds it; -1 if none.

    Of Python only functions with a source count: which built-in one of them called, the operator tells better.
    """
    result = np.full(len(time_ns), -1, dtype=np.int64)
    wanted = host.kind == kind
    if kind is EventKind.PYTHON and wanted.any():
        wanted &= ~np.array([name.startswith("<") for name in host.names], dtype=bool)[host.name]
    of_kind = np.flatnonzero(wanted)
    if not len(of_kind) or not len(time_ns):
        return result
    for one in np.unique(thread):
        asked = np.flatnonzero(thread == one)
        instants = np.sort(time_ns[asked])
        rows = of_kind[host.thread[of_kind] == one]
        # Only events that hold an instant matter; of a long trace those are few.
        first = np.searchsorted(instants, host.start_ns[rows], side="left")
        rows = rows[np.searchsorted(instants, host.end_ns[rows], side="right") > first]
        if not len(rows):
            continue
        parent = parents(host.start_ns[rows], host.end_ns[rows])
        ends = host.end_ns[rows]
        candidate = np.searchsorted(host.start_ns[rows], time_ns[asked], side="right") - 1
        while True:
            outside = (candidate >= 0) & (ends[np.maximum(candidate, 0)] < time_ns[asked])
            if not outside.any():
                break
            candidate[outside] = parent[candidate[outside]]
        result[asked] = np.where(candidate >= 0, rows[np.maximum(candidate, 0)], -1)
    return result


def gap_owners(
    host: HostEvents, work: DeviceEvents, rows: Array, cause: Array, before_ns: Array, wait: Array, previous: Array
) -> tuple[Array, tuple[str, ...]]:
    """Return who owns each gap, as codes into words: the waiting call, the operator and the Python frame, or a stream.

    Arguments as in :func:`gap_causes`, with one dimension.
    """
    count = len(rows)
    operator, frame, call = (np.full(count, -1, dtype=np.int64) for _ in range(3))
    by_host = np.flatnonzero((cause == LATE) | (cause == SYNCHRONISED))
    if len(by_host):
        launch = work.launch[rows[by_host]]
        thread = host.thread[launch]
        waited = wait[by_host] >= 0
        middle = (before_ns[by_host] + np.maximum(host.start_ns[launch], before_ns[by_host])) // 2
        middle = np.where(waited, host.start_ns[np.maximum(wait[by_host], 0)], middle)
        inside = innermost_at(host, EventKind.OPERATOR, thread, middle)
        own = work.operator[rows[by_host]]  # the host was on the way to it
        at = np.where((inside < 0) & ~waited, own, inside)
        operator[by_host] = np.where(at >= 0, host.name[np.maximum(at, 0)], -1)
        around = innermost_at(host, EventKind.PYTHON, thread, middle)
        frame[by_host] = np.where(around >= 0, host.name[np.maximum(around, 0)], -1)
        call[by_host] = np.where(waited, host.name[np.maximum(wait[by_host], 0)], -1)
    copies = np.flatnonzero(cause == COPY)
    before_is_copy = np.isin(work.kind[np.maximum(previous[copies], 0)], (EventKind.MEMCPY, EventKind.MEMSET))
    name = np.full(count, -1, dtype=np.int64)
    own_copy = np.isin(work.kind[rows[copies]], (EventKind.MEMCPY, EventKind.MEMSET))
    name[copies] = work.name[np.where(own_copy | ~before_is_copy, rows[copies], previous[copies])]
    code, words = owner_words(host, call=call, operator=operator, frame=frame)
    other = np.flatnonzero(cause == DEPENDENCY)
    streams = np.unique(work.stream[previous[other]])
    code[other] = len(words) + np.searchsorted(streams, work.stream[previous[other]])
    code[copies] = len(words) + len(streams) + name[copies]
    return code, (*words, *(f"stream {stream}" for stream in streams.tolist()), *work.names)


def owner_words(host: HostEvents, **names: Array) -> tuple[Array, tuple[str, ...]]:
    """Return codes of "call, operator, in frame", and these words; arguments are codes of host names, -1 for none."""
    unique, code = np.unique(np.stack(list(names.values()), axis=1), axis=0, return_inverse=True)
    words = []
    for row in unique.tolist():
        parts = [
            f"in {host.names[value]}" if key == "frame" else host.names[value]
            for key, value in zip(names, row, strict=True)
            if value >= 0
        ]
        words.append(", ".join(parts))
    return code.reshape(-1), tuple(words)
