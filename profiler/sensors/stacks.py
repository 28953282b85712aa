"""Read what py-spy wrote, and tie its clock to the host's by the marks the watched process left on its stack."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokprof.profiler.record import ClockAlignment, HostStacks, InterpreterStacks
from tokprof.profiler.sensors.marker import MARKER_NAME, ClockMarker

_MARKER = re.compile(rf"^{MARKER_NAME}(\d+)_(\d+)_$")

# With fewer agreeing samples than this share the clocks are not taken as tied.
MINIMUM_AGREEMENT = 0.75


@dataclass(slots=True)
class StackRow:
    """One stretch of one thread's unchanged stack, on py-spy's own clock."""

    thread: str
    start_ns: int
    end_ns: int
    frames: tuple[str, ...]  # from the root, as "function (file:line)"


def _frame_text(event: dict[str, Any]) -> str:
    arguments = event.get("args") or {}
    file, line = str(arguments.get("filename") or ""), arguments.get("line")
    name = str(event["name"]).replace(";", ",")
    place = f"{file}:{line}" if line else file
    return f"{name} ({place.replace(';', ',')})" if place else name


_THREAD_FRAME = re.compile(r"^thread \((?P<id>[^)]*)\)(?:: (?P<name>.*))?$")


def stack_rows(events: list[dict[str, Any]]) -> list[StackRow]:
    """Turn py-spy's begin and end events into rows, in the order of time."""
    rows: list[StackRow] = []
    open_frames: dict[Any, list[str]] = {}
    since: dict[Any, int] = {}

    def close(thread: Any, process: Any, now_ns: int) -> None:
        frames = open_frames.get(thread)
        if frames and now_ns > since[thread]:
            found = _THREAD_FRAME.match(frames[0])
            name = str(thread)
            if found:
                # Threads have names only once the threading module is loaded.
                name = found["name"] or ("MainThread" if found["id"] == str(process) else found["id"])
            rows.append(StackRow(name, since[thread], now_ns, tuple(frames[1:] if found else frames)))
        since[thread] = now_ns

    for event in events:
        kind = event.get("ph")
        if kind not in ("B", "E"):
            continue
        thread, now_ns = event["tid"], int(event["ts"]) * 1000
        frames = open_frames.setdefault(thread, [])
        if now_ns != since.get(thread):
            close(thread, event.get("pid"), now_ns)
        if kind == "B":
            frames.append(_frame_text(event))
        elif frames:
            frames.pop()
    rows = [row for row in rows if row.frames]
    rows.sort(key=lambda row: (row.start_ns, row.thread))
    return rows


def align(rows: Sequence[StackRow], markers: Sequence[ClockMarker]) -> ClockAlignment | None:
    """Solve for the instant of py-spy's zero from the marker ticks it caught; ``None`` where it caught none.

    A row that shows tick ``k`` starts at a sample taken between the tick's edges, so the offset lies between
    ``edge[k] - start`` and ``edge[k + 1] - start``. The answer is the stretch that most of these intervals share: a
    torn read in non-blocking mode cannot shift it. Both clocks are the kernel's monotonic clock, so a drift between the
    first and the last marker would be a defect; the least drift that the bounds allow is stated all the same.
    """
    by_ordinal = {marker.ordinal: marker for marker in markers}
    bounds: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        for frame in row.frames:
            found = _MARKER.match(frame.split(" ", 1)[0])
            if found and (marker := by_ordinal.get(int(found[1]))) is not None:
                tick = int(found[2])
                edges = marker.edges_ns[tick : tick + 2]
                if len(edges) == 2:
                    bounds.setdefault(marker.ordinal, []).append((edges[0] - row.start_ns, edges[1] - row.start_ns))
    together = [bound for found_bounds in bounds.values() for bound in found_bounds]
    if not together:
        return None
    low, high, agreeing = _densest(together)
    if agreeing < MINIMUM_AGREEMENT * len(together):
        return None
    drift: int | None = None
    if len(bounds) > 1:
        first, last = (_densest(bounds[ordinal]) for ordinal in (min(bounds), max(bounds)))
        drift = max(0, last[0] - first[1]) - max(0, first[0] - last[1])
    return ClockAlignment(
        source="py-spy",
        offset_ns=(low + high) // 2,
        error_ns=(high - low) // 2 + 1,
        drift_ns=drift,
        method=f"{agreeing} of {len(together)} samples of {len(bounds)} clock markers agree",
    )


def _densest(bounds: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    """Return the stretch that the largest number of intervals share, and that number."""
    edges = sorted([(low, 0) for low, _ in bounds] + [(high, 1) for _, high in bounds])
    depth = best = 0
    stretch = (edges[0][0], edges[-1][0])
    for place, (at, closing) in enumerate(edges):
        if closing:
            depth -= 1
            continue
        depth += 1
        if depth > best:
            best = depth
            stretch = (at, edges[place + 1][0])
    return (*stretch, best)


def to_columns(rows: Sequence[StackRow], offset_ns: int) -> HostStacks:
    """Put the rows into columns, moved by the offset. The marker's own rows are left out."""
    kept = [row for row in rows if not any(frame.startswith(MARKER_NAME) for frame in row.frames)]
    threads: dict[str, int] = {}
    stacks: dict[str, int] = {}
    columns: dict[str, list[int]] = {"time_ns": [], "duration_ns": [], "thread": [], "stack": []}
    for row in kept:
        columns["time_ns"].append(row.start_ns + offset_ns)
        columns["duration_ns"].append(row.end_ns - row.start_ns)
        columns["thread"].append(threads.setdefault(row.thread, len(threads)))
        columns["stack"].append(stacks.setdefault(";".join(row.frames), len(stacks)))
    arrays = {name: np.array(values, dtype=np.int64) for name, values in columns.items()}
    return HostStacks(**arrays, threads=tuple(threads), stacks=tuple(stacks))


def interpreter_stacks(text: str, window_sample_count: float) -> InterpreterStacks:
    """Read py-spy's counted stacks: lines of frames joined with ";", a blank and a count."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if frames and _THREAD_FRAME.match(frames[0]):
            frames = frames[1:]
        if not frames or any(frame.startswith(MARKER_NAME) for frame in frames):
            continue
        name = ";".join(frames)
        counts[name] = counts.get(name, 0) + int(count)
    return InterpreterStacks(
        stack=np.arange(len(counts)),
        sample_count=np.array(list(counts.values()), dtype=np.int64),
        stacks=tuple(counts),
        window_sample_count=round(window_sample_count),
    )
