"""Write Chrome traces that Perfetto opens whole.

Perfetto drops slices that overlap others of their track without nesting, silently. So overlapping slices go to lanes of
their own, with their durations unchanged. Instants are written as decimal microseconds with three digits, which are
exact nanoseconds, counted from a base that the file states.
"""

import gzip
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tokprof.profiler.record import (
    Array,
    EventKind,
    HostStacks,
    Mark,
    PassKind,
    Phase,
    Run,
    Spans,
    Trace,
)

COMPRESSION_LEVEL = 4
_BATCH = 4096

# Where things stand in the viewer, from the top.
_STEPS, _DEVICE, _HOST, _STACKS, _POWER = 1, 2, 3, 4, 5
_CATEGORY: dict[int, str] = {
    EventKind.KERNEL: "kernel",
    EventKind.MEMCPY: "gpu_memcpy",
    EventKind.MEMSET: "gpu_memset",
    EventKind.COLLECTIVE: "kernel",
    EventKind.DEVICE_SYNC: "cuda_sync",
    EventKind.DEVICE_ANNOTATION: "gpu_user_annotation",
    EventKind.RUNTIME: "cuda_runtime",
    EventKind.OPERATOR: "cpu_op",
    EventKind.ANNOTATION: "user_annotation",
    EventKind.PYTHON: "python_function",
    EventKind.OVERHEAD: "overhead",
    EventKind.OTHER: "other",
}


def write_run_trace(run: Run, kineto: Trace | None, path: Path) -> None:
    """Write a run's time line: its steps, kernels and operators, power and clocks, and host stacks, on one clock."""
    tables = [times for times in _instants(run) if len(times)]
    base = min((int(times.min()) for times in tables), default=0)  # Perfetto drops what lies before 0
    with _chrome_trace(path, base, {"tokprof": {"run": run.run_id, "notes": msgspec.to_builtins(run.notes)}}) as trace:
        _write_steps(trace, run.spans)
        if kineto is not None:
            alignment = next((a for a in run.alignments if a.source == "kineto"), None)
            shift = kineto.base_ns + (alignment.offset_ns if alignment is not None else 0)
            device = run.environment.device
            _write_events(trace, kineto, shift, label=f"{device.name} (profiled pass)")
        _write_power(trace, run)
        if run.stacks is not None:
            _write_stacks(trace, run.stacks)


def _instants(run: Run) -> Iterator[Array]:
    yield run.spans.host_start_ns
    for table in (run.power, run.host, run.stacks):
        if table is not None:
            yield table.time_ns


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
    """Return a lane for each interval so that those of one lane nest or are apart; for slices of host threads."""
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


# ------------------------------------------------------------------------------------------------------------ output


class _Writer:
    """Encodes events in batches into an open JSON array."""

    def __init__(self, stream: gzip.GzipFile, base_ns: int) -> None:
        self.base_ns = base_ns
        self._stream = stream
        self._batch: list[bytes] = []
        self._first = True
        self._encode = msgspec.json.Encoder().encode

    def event(self, start_ns: int, duration_ns: int | None = None, **values: Any) -> None:
        """Add one event; instants are on the run's clock."""
        times = b'"ts":' + _microseconds(start_ns - self.base_ns)
        if duration_ns is not None:
            times += b',"dur":' + _microseconds(duration_ns)
        self._add(b"{" + times + b"," + self._encode(values)[1:])

    def metadata(self, kind: str, process: int, thread: int = 0, **values: Any) -> None:
        """Name or order a process or a thread."""
        self._add(self._encode({"ph": "M", "name": kind, "pid": process, "tid": thread, "ts": 0, "args": values}))

    def process(self, number: int, name: str) -> None:
        """Name a group of tracks; groups stand in the order of their numbers."""
        self.metadata("process_name", number, name=name)
        self.metadata("process_sort_index", number, sort_index=number)

    def thread(self, process: int, number: int, name: str) -> None:
        """Name a track."""
        self.metadata("thread_name", process, number, name=name)
        self.metadata("thread_sort_index", process, number, sort_index=number)

    def _add(self, text: bytes) -> None:
        self._batch.append(text)
        if len(self._batch) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        if self._batch:
            self._stream.write((b"" if self._first else b",\n") + b",\n".join(self._batch))
            self._first = False
            self._batch.clear()


@contextmanager
def _chrome_trace(path: Path, base_ns: int, more: dict[str, Any]) -> Iterator[_Writer]:
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as stream,
    ):
        head = msgspec.json.encode({"displayTimeUnit": "ms", "baseTimeNanoseconds": base_ns, **more})
        stream.write(head[:-1] + b',"traceEvents":[\n')
        writer = _Writer(stream, base_ns)
        yield writer
        writer.flush()
        stream.write(b"\n]}\n")


def _microseconds(value_ns: int) -> bytes:
    sign = "-" if value_ns < 0 else ""
    whole, rest = divmod(abs(value_ns), 1000)
    return f"{sign}{whole}.{rest:03d}".encode()


# ------------------------------------------------------------------------------------------------------------- parts


def _write_steps(trace: _Writer, spans: Spans) -> None:
    """Write one track per pass, and its device times on a track below where there are some."""
    trace.process(_STEPS, "tokprof: prefill and decode steps")
    kinds, phases = list(PassKind), list(Phase)
    present = [code for code in range(len(kinds)) if (spans.pass_kind == code).any()]
    for code in present:
        host, device = 2 * code + 1, 2 * code + 2
        trace.thread(_STEPS, host, f"{kinds[code]} pass" + (", host" if spans.device_start_ns is not None else ""))
        if spans.device_start_ns is not None:
            trace.thread(_STEPS, device, f"{kinds[code]} pass, device")
    columns = {name: getattr(spans, name) for name in spans.__dataclass_fields__}
    rows = {name: values.tolist() for name, values in columns.items() if values is not None}
    for row in range(len(spans)):
        code, phase = rows["pass_kind"][row], phases[rows["phase"][row]]
        step = rows["step"][row]
        name = str(phase) if phase is Phase.PREFILL or step == 0 else f"decode {step}"
        args: dict[str, Any] = {
            key: rows[key][row]
            for key in ("repetition", "token_count", "context_token_count", "byte_count")
            if key in rows
        }
        marks = [m.name for m in Mark if rows["mark"][row] & m]
        if marks:
            args["marks"] = ", ".join(str(mark) for mark in marks)
        for prefix, thread in (("host", 2 * code + 1), ("device", 2 * code + 2)):
            if f"{prefix}_start_ns" in rows:
                start, end = rows[f"{prefix}_start_ns"][row], rows[f"{prefix}_end_ns"][row]
                common = {"ph": "X", "cat": "tokprof_step", "pid": _STEPS, "tid": thread}
                trace.event(start, end - start, name=name, **common, args=args)


def _write_events(trace: _Writer, source: Trace, shift_ns: int, *, label: str) -> None:
    """Write a trace's device and host slices, moved by ``shift_ns``, with arrows from launches to device work."""
    device, host = source.device, source.host
    if len(device):
        trace.process(_DEVICE, label)
    trace.process(_HOST, "host (profiled pass)")
    device_track, names = _tracks(device.stream, device.start_ns, device.end_ns, lanes)
    for number, (stream, lane) in enumerate(names):
        trace.thread(_DEVICE, number, f"stream {stream}" + (f", lane {lane + 1}" if lane else ""))
    host_track, names = _tracks(host.thread, host.start_ns, host.end_ns, nesting_lanes)
    for number, (thread, lane) in enumerate(names):
        known = source.threads[thread]
        name = known.thread_name or f"thread {known.thread}"
        trace.thread(_HOST, number, name + (f", lane {lane + 1}" if lane else ""))

    columns = (device_track, device.start_ns + shift_ns, device.duration_ns, device.kind, device.name)
    links = (device.correlation, device.external, device.stream, device.device, device.launch)
    for row, (track, start, duration, kind, name, correlation, external, stream, number, launch) in enumerate(
        zip(*(column.tolist() for column in (*columns, *links)), strict=True)
    ):
        args = {"device": number, "stream": stream, **_identifiers(correlation, external)}
        place = {"pid": _DEVICE, "tid": track}
        trace.event(start, duration, ph="X", cat=_CATEGORY[kind], name=device.names[name], **place, args=args)
        if launch >= 0:
            flow: dict[str, Any] = {"cat": "ac2g", "name": "ac2g", "id": row + 1}
            trace.event(int(host.start_ns[launch]) + shift_ns, ph="s", **flow, pid=_HOST, tid=int(host_track[launch]))
            trace.event(start, ph="f", bp="e", **flow, **place)

    columns = (host_track, host.start_ns + shift_ns, host.duration_ns, host.kind, host.name)
    for track, start, duration, kind, name, correlation, external in zip(
        *(column.tolist() for column in (*columns, host.correlation, host.external)), strict=True
    ):
        args = _identifiers(correlation, external)
        more = {"args": args} if args else {}
        category, place = _CATEGORY[kind], {"pid": _HOST, "tid": track}
        trace.event(start, duration, ph="X", cat=category, name=host.names[name], **place, **more)


def _identifiers(correlation: int, external: int) -> dict[str, int]:
    known = {"correlation": correlation} if correlation >= 0 else {}
    return known | ({"External id": external} if external >= 0 else {})


def _tracks(
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


def _write_power(trace: _Writer, run: Run) -> None:
    """Write counter tracks: the device's power, clocks and temperature; the host's load and stolen time."""
    series: list[tuple[str, Array, Array | None]] = []
    if run.power is not None:
        power = run.power
        watts = None if power.power_mw is None else power.power_mw / 1e3
        series += [
            ("power / W", power.time_ns, watts),
            ("SM clock / MHz", power.time_ns, power.sm_clock_mhz),
            ("memory clock / MHz", power.time_ns, power.memory_clock_mhz),
            ("temperature / °C", power.time_ns, power.temperature_c),
        ]
    if run.host is not None:
        series.append(("host load, 1 min", run.host.time_ns, run.host.load_1min))
        for name, counter in (("cores busy", run.host.busy_ns), ("cores stolen", run.host.steal_ns)):
            if counter is not None and len(counter) > 1:
                rate = np.diff(counter) / np.maximum(1, np.diff(run.host.time_ns))
                series.append((name, run.host.time_ns[:-1], rate))
    present = [(name, times, values) for name, times, values in series if values is not None]
    if present:
        trace.process(_POWER, "power, clocks and host")
    for name, times, values in present:
        for time_ns, value in zip(times.tolist(), values.tolist(), strict=True):
            trace.event(time_ns, ph="C", name=name, pid=_POWER, args={"value": round(value, 3)})


def _write_stacks(trace: _Writer, stacks: HostStacks) -> None:
    """Write sampled stacks as nested slices; a frame that stays over consecutive samples is one slice."""
    trace.process(_STACKS, "host stacks (py-spy, stacks pass)")
    for thread, name in enumerate(stacks.threads):
        trace.thread(_STACKS, thread, name)
        rows = np.flatnonzero(stacks.thread == thread)
        open_frames: list[tuple[str, int]] = []
        last_end = 0
        for start, duration, code in zip(
            stacks.time_ns[rows].tolist(), stacks.duration_ns[rows].tolist(), stacks.stack[rows].tolist(), strict=True
        ):
            frames = stacks.stacks[code].split(";")
            same = 0
            if start <= last_end:
                while same < min(len(frames), len(open_frames)) and open_frames[same][0] == frames[same]:
                    same += 1
            _close_frames(trace, thread, open_frames, same, min(last_end, start) if open_frames else 0)
            open_frames += [(frame, start) for frame in frames[same:]]
            last_end = max(last_end, start + duration)
        _close_frames(trace, thread, open_frames, 0, last_end)


def _close_frames(trace: _Writer, thread: int, open_frames: list[tuple[str, int]], keep: int, end_ns: int) -> None:
    for frame, start in open_frames[keep:]:  # the outer frame first: of equal slices, viewers take the first as parent
        place = {"pid": _STACKS, "tid": thread}
        trace.event(start, max(0, end_ns - start), ph="X", cat="py_spy", name=frame, **place)
    del open_frames[keep:]
