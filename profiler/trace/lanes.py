"""Lanes: what overlaps on one track of a viewer goes side by side, with its duration unchanged.

Perfetto drops a slice that overlaps another of its track without nesting, silently: kernels of one stream under
programmatic dependent launch, parents that the file names after a child of the same start, and whole threads of a
negative number, which it lays onto another one.
"""

import gzip
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from pathlib import Path

import msgspec
import numpy as np

from tokprof.profiler.record import Array
from tokprof.profiler.trace.events import nanoseconds


def lanes(start_ns: Array, end_ns: Array) -> Array:
    """Return a lane for each interval so that none overlaps another of its lane; the first lane is 0.

    Intervals must be in the order of start. Intervals that only touch share a lane.
    """
    result = np.zeros(len(start_ns), dtype=np.int32)
    if len(start_ns) < 2 or not (start_ns[1:] < np.maximum.accumulate(end_ns)[:-1]).any():
        return result
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    count = 0
    for row, (start, end) in enumerate(zip(start_ns.tolist(), end_ns.tolist(), strict=True)):
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, count = count, count + 1
        result[row] = lane
        heapq.heappush(busy, (end, lane))
    return result


def nesting_lanes(start_ns: Array, end_ns: Array) -> Array:
    """Return a lane for each interval so that those of one lane nest or are apart; for slices of host threads.

    Intervals must be in the order of start, of equal starts the longest first.
    """
    result = np.zeros(len(start_ns), dtype=np.int32)
    stacks: list[list[int]] = [[]]
    for row, (start, end) in enumerate(zip(start_ns.tolist(), end_ns.tolist(), strict=True)):
        for lane, stack in enumerate(stacks):
            while stack and stack[-1] <= start:
                stack.pop()
            if not stack or end <= stack[-1]:
                stack.append(end)
                result[row] = lane
                break
        else:
            result[row] = len(stacks)
            stacks.append([end])
    return result


def tracks(
    group: Array, start_ns: Array, end_ns: Array, divide: Callable[[Array, Array], Array]
) -> tuple[Array, list[tuple[int, int]]]:
    """Return each row's track and, for each track, its group (a stream or a thread) and its lane within that."""
    track = np.zeros(len(group), dtype=np.int32)
    names: list[tuple[int, int]] = []
    for member in np.unique(group):
        rows = np.flatnonzero(group == member)
        lane = divide(start_ns[rows], end_ns[rows])
        track[rows] = len(names) + lane
        names += [(int(member), number) for number in range(int(lane.max(initial=0)) + 1)]
    return track, names


# ------------------------------------------------------------------------------------------------ other tools' files

_Track = tuple[bytes, bytes]  # process and thread, as the file writes them


MAXIMUM_TEXT_BYTES = 1 << 30  # of a trace that is to be shown letter by letter


class _Event(msgspec.Struct, gc=False):
    """The parts of an event that say where it stands."""

    ph: str = ""
    name: str = ""
    ts: msgspec.Raw = msgspec.Raw(b"0")
    dur: msgspec.Raw = msgspec.Raw(b"")
    pid: msgspec.Raw = msgspec.Raw(b"0")
    tid: msgspec.Raw = msgspec.Raw(b"0")
    args: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def track(self) -> _Track:
        return bytes(self.pid), bytes(self.tid)

    @property
    def start_ns(self) -> int:
        return _exact(self.ts)


def write_on_lanes(source: Path, target: Path) -> int:
    """Write ``source`` to ``target`` with lanes of their own for the slices that Perfetto would drop.

    All else stays as the file has it, letter by letter: arguments, flows, instants, counters. Returns how many slices
    stand where Perfetto loses some; where it is 0, nothing is written, because ``source`` can be shown as it is. The
    text is held in memory, as the viewer holds it.

    Raises
    ------
    ValueError
        The file is damaged, or its text longer than :data:`MAXIMUM_TEXT_BYTES`; so say the errors of ``msgspec`` and
        ``gzip`` (``OSError``, ``EOFError``, ``zlib.error``).
    """
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(source) if packed else source.open("rb") as stream:
        content: bytes = stream.read(MAXIMUM_TEXT_BYTES + 1)
    if len(content) > MAXIMUM_TEXT_BYTES:
        raise ValueError(f"its text is longer than {MAXIMUM_TEXT_BYTES >> 20:,} MiB")
    document: dict[str, msgspec.Raw] = {}
    if content.lstrip()[:1] == b"{":
        document = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        if "traceEvents" not in document:
            raise ValueError("no event list")
        content = bytes(document.pop("traceEvents"))
    texts = msgspec.json.decode(content, type=list[msgspec.Raw])
    decode = msgspec.json.Decoder(_Event).decode
    order, lane, astray, lost = _lanes_of(map(decode, texts))
    if not lost:
        return 0
    moved = {row: decode(texts[row]) for row in np.flatnonzero(lane).tolist()}
    free = (number for number in count(1_000_000) if str(number).encode() not in content)
    number_of: dict[tuple[_Track, int], int] = defaultdict(lambda: next(free))
    new_track = {row: number_of[event.track, int(lane[row])] for row, event in moved.items()}
    other_number = {track: number_of[track, 0] for track in astray}
    arrival = {(event.track, event.start_ns): new_track[row] for row, event in moved.items()}
    encode = msgspec.json.Encoder().encode
    lines = [encode(event) for event in _named(number_of, [decode(t) for t in texts if b'"thread_' in bytes(t)])]
    for row in order.tolist():
        text = texts[row]
        number = new_track.get(row)
        if number is None:
            event = decode(text)
            number = other_number.get(event.track)
            if event.ph in ("s", "t", "f"):  # an arrow goes with the slice that it starts or ends at
                number = arrival.get((event.track, event.start_ns), number)
        if number is not None:
            text = encode(msgspec.json.decode(text, type=dict[str, msgspec.Raw]) | {"tid": number})
        lines.append(bytes(text))
    head = encode(document)[:-1] + (b"," if document else b"")
    with target.open("wb") as output, gzip.GzipFile("", "wb", 1, output, mtime=0) as stream:
        stream.write(head + b'"traceEvents":[\n' + b",\n".join(lines) + b"\n]}\n")
    return lost


def _lanes_of(events: Iterable[_Event]) -> tuple[Array, Array, list[_Track], int]:
    """Return the order to write the events in, the lane of each, tracks of no proper number, and what would be lost.

    Of slices that start together on one track the longest comes first; all else stays in its place.
    """
    codes: dict[_Track, int] = {}
    slices: list[tuple[int, int, int, int]] = []
    total = 0
    for event in events:
        if event.ph == "X":
            slices.append((total, codes.setdefault(event.track, len(codes)), event.start_ns, _exact(event.dur)))
        total += 1
    row, track, start, duration = np.array(slices, dtype=np.int64).reshape(-1, 4).T
    if (duration < 0).any():
        raise ValueError("a slice of negative duration")
    as_filed = np.lexsort((row, start, track))
    longest_first = np.lexsort((row, -duration, start, track))
    bounds = np.searchsorted(track[as_filed], np.arange(len(codes) + 1))
    lane = np.zeros(total, dtype=np.int32)
    astray = [known for known in codes if known[1].lstrip(b"-").isdigit() and not 0 <= int(known[1]) < 2**32]
    lost = int(np.isin(track, [codes[known] for known in astray]).sum())
    for low, high in pairwise(bounds.tolist()):
        filed, by_length = as_filed[low:high], longest_first[low:high]
        lost += int((nesting_lanes(start[filed], start[filed] + duration[filed]) > 0).sum())
        lane[row[by_length]] = nesting_lanes(start[by_length], start[by_length] + duration[by_length])
    order = np.arange(total)
    order[row[as_filed]] = row[longest_first]
    return order, lane, astray, lost


def _named(number_of: dict[tuple[_Track, int], int], metadata: list[_Event]) -> Iterator[dict[str, object]]:
    """Yield the names of the new tracks, which stand below the one they were taken from."""
    known = {(event.name, event.track): msgspec.json.decode(event.args) for event in metadata if event.ph == "M"}
    for (track, lane), number in number_of.items():
        if not lane:
            continue  # the file's own words for it are kept
        common = {"ph": "M", "ts": 0, "pid": msgspec.Raw(track[0]), "tid": number}
        name = known.get(("thread_name", track), {}).get("name", f"thread {track[1].decode()}")
        yield {"name": "thread_name", **common, "args": {"name": f"{name}, lane {lane + 1}"}}
        if ("thread_sort_index", track) in known:
            yield {"name": "thread_sort_index", **common, "args": known["thread_sort_index", track]}


def _exact(text: msgspec.Raw) -> int:
    value = nanoseconds(bytes(text))
    if value is None:
        raise ValueError(f"{bytes(text)[:40]!r} is no time")
    return value
