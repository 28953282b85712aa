"""Write Chrome traces that Perfetto opens whole.

Slices that overlap go to lanes of their own, with their durations unchanged (see :mod:`~tokprof.profiler.trace.lanes`).
Instants are written as decimal microseconds with three digits, which are exact nanoseconds, counted from a base that
the file states.
"""

import gzip
from collections.abc import Iterator, Sequence
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
from tokprof.profiler.trace.lanes import lanes, nesting_lanes, tracks

COMPRESSION_LEVEL = 4
_BATCH = 4096

# Where things stand in the viewer of a run, from the top.
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
    device_at = host_at = np.array([], dtype=np.int64)
    if kineto is not None:
        alignment = next((a for a in run.alignments if a.source == "kineto"), None)
        shift = kineto.base_ns + (alignment.offset_ns if alignment is not None else 0)
        device_at, host_at = kineto.device.start_ns + shift, kineto.host.start_ns + shift
    tables = [times for times in (device_at, host_at, *_instants(run)) if len(times)]
    base = min((int(times.min()) for times in tables), default=0)  # Perfetto drops what lies before 0
    with chrome_trace(path, base, {"tokprof": {"run": run.run_id, "notes": msgspec.to_builtins(run.notes)}}) as trace:
        _write_steps(trace, run.spans)
        if kineto is not None:
            if len(kineto.device):
                trace.process(_DEVICE, f"{run.environment.device.name} (profiled pass)")
            trace.process(_HOST, "host (profiled pass)")
            write_events(trace, kineto, device_at, host_at, device_process=_DEVICE, host_process=_HOST)
        _write_power(trace, run)
        if run.stacks is not None:
            _write_stacks(trace, run.stacks)


def _instants(run: Run) -> Iterator[Array]:
    yield run.spans.host_start_ns
    for table in (run.power, run.sm_clocks, run.host, run.stacks):
        if table is not None:
            yield table.time_ns


# ------------------------------------------------------------------------------------------------------------ output


class Writer:
    """Encodes events in batches into an open JSON array."""

    def __init__(self, stream: gzip.GzipFile, base_ns: int) -> None:
        self.base_ns = base_ns
        self._stream = stream
        self._batch: list[bytes] = []
        self._first = True
        self._arrows = 0
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
        """Name a group of tracks. Groups stand in the order of their numbers; in Perfetto the fullest comes first."""
        self.metadata("process_name", number, name=name)
        self.metadata("process_sort_index", number, sort_index=number)

    def thread(self, process: int, number: int, name: str) -> None:
        """Name a track."""
        self.metadata("thread_name", process, number, name=name)
        self.metadata("thread_sort_index", process, number, sort_index=number)

    def slices(
        self,
        process: int,
        track: Array,
        start_ns: Array,
        duration_ns: Array,
        heads: list[bytes],
        head: Array,
        ends: Any,
    ) -> None:
        """Add many slices: ``heads`` are the texts of their names and categories, ``ends`` those of the arguments."""
        form = b'{"ph":"X","pid":%d,"tid":%d,"ts":%d.%03d,"dur":%d.%03d,%b%b}'
        start, start_rest = np.divmod(start_ns - self.base_ns, 1000)
        duration, duration_rest = np.divmod(duration_ns, 1000)
        columns = (track, start, start_rest, duration, duration_rest, head)
        for on, s, sr, d, dr, code, end in zip(*(column.tolist() for column in columns), ends, strict=True):
            self._add(form % (process, on, s, sr, d, dr, heads[code], end))

    def arrow(self, start: tuple[int, int, int], end: tuple[int, int, int]) -> None:
        """Add an arrow between two slices: each is the instant of its start, its process and its track."""
        self._arrows += 1
        for (time_ns, process, track), kind in ((start, b"s"), (end, b'f","bp":"e')):
            form = b'{"ph":"%b","cat":"ac2g","name":"ac2g","id":%d,"pid":%d,"tid":%d,"ts":%b}'
            self._add(form % (kind, self._arrows, process, track, _microseconds(time_ns - self.base_ns)))

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
def chrome_trace(path: Path, base_ns: int, more: dict[str, Any]) -> Iterator[Writer]:
    """Give a writer of a new trace, whose 0 is ``base_ns``: no event may lie before it."""
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as stream,
    ):
        head = msgspec.json.encode({"displayTimeUnit": "ms", "baseTimeNanoseconds": base_ns, **more})
        stream.write(head[:-1] + b',"traceEvents":[\n')
        writer = Writer(stream, base_ns)
        yield writer
        writer.flush()
        stream.write(b"\n]}\n")


def _microseconds(value_ns: int) -> bytes:
    sign = "-" if value_ns < 0 else ""
    whole, rest = divmod(abs(value_ns), 1000)
    return f"{sign}{whole}.{rest:03d}".encode()


# ------------------------------------------------------------------------------------------------------------- parts


def _write_steps(trace: Writer, spans: Spans) -> None:
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


def write_events(
    output: Writer,
    source: Trace,
    device_at: Array,
    host_at: Array,
    *,
    device_process: int,
    host_process: int,
    first_track: int = 1,
) -> None:
    """Write a trace's slices, with arrows from launches to device work.

    ``device_at`` and ``host_at`` are when its slices start on the clock of ``output``; its tracks are numbered from
    ``first_track`` on.
    """
    device, host = source.device, source.host
    streams, place = np.unique(np.stack([device.device, device.stream]), axis=1, return_inverse=True)
    # An annotation on its stream's own track would push the kernels that it covers to another lane.
    group = 2 * place.reshape(-1) + (device.kind <= EventKind.COLLECTIVE)
    device_track, names = tracks(group, device_at, device_at + device.duration_ns, lanes)
    device_track += first_track
    several = len(np.unique(streams[0][streams[0] >= 0])) > 1
    for number, (member, lane) in enumerate(names, start=first_track):
        index, stream = streams[:, member // 2].tolist()
        name = ("" if member % 2 else "annotations of ") + (f"stream {stream}" if stream >= 0 else "the device")
        name = f"device {index}, {name}" if several and index >= 0 else name
        output.thread(device_process, number, name + (f", lane {lane + 1}" if lane else ""))
    host_track, host_names = tracks(host.thread, host_at, host_at + host.duration_ns, nesting_lanes)
    host_track += first_track + len(names)
    several = len({source.threads[thread].process for thread, _ in host_names}) > 1
    for number, (thread, lane) in enumerate(host_names, start=first_track + len(names)):
        known = source.threads[thread]
        name = known.thread_name or f"thread {known.thread}"
        name = f"{known.process_name or known.process}, {name}" if several else name
        output.thread(host_process, number, name + (f", lane {lane + 1}" if lane else ""))

    ends = (
        b',"args":{"device":%d,"stream":%d%b}' % (number, stream, _identifiers(correlation, external))
        for number, stream, correlation, external in rows_of(
            device.device, device.stream, device.correlation, device.external
        )
    )
    heads, head = _heads(device.kind, device.name, device.names)
    output.slices(device_process, device_track, device_at, device.duration_ns, heads, head, ends)
    for row, launch in rows_of(np.flatnonzero(device.launch >= 0), device.launch[device.launch >= 0]):
        call = (int(host_at[launch]), host_process, int(host_track[launch]))
        output.arrow(call, (int(device_at[row]), device_process, int(device_track[row])))

    told = [*map(_shape, host.shapes), b""]
    shape = np.full(len(host), -1) if host.shape is None else host.shape
    texts = ((_identifiers(c, e) + told[s])[1:] for c, e, s in rows_of(host.correlation, host.external, shape))
    ends = (b',"args":{%b}' % text if text else b"" for text in texts)
    heads, head = _heads(host.kind, host.name, host.names)
    output.slices(host_process, host_track, host_at, host.duration_ns, heads, head, ends)


def rows_of(*columns: Array) -> Iterator[tuple[Any, ...]]:
    """Return an iterator over the rows of some columns, as plain numbers."""
    return zip(*(column.tolist() for column in columns), strict=True)


def _heads(kind: Array, name: Array, names: Sequence[str]) -> tuple[list[bytes], Array]:
    """Return the text of each pair of category and name that occurs, and for each row which of them it has."""
    pairs, index = np.unique(np.stack([kind.astype(np.int32), name]), axis=1, return_inverse=True)
    encode = msgspec.json.encode
    texts = [encode({"cat": _CATEGORY[k], "name": names[n]})[1:-1] for k, n in pairs.T.tolist()]
    return texts, index.reshape(-1)


def _identifiers(correlation: int, external: int) -> bytes:
    text = b',"correlation":%d' % correlation if correlation >= 0 else b""
    return text + (b',"External id":%d' % external if external >= 0 else b"")


def _shape(shape: str) -> bytes:
    """Return the arguments that tell an operator's shape, as the profiler writes them."""
    parts = zip(("Input Dims", "Input Strides", "Input type"), msgspec.json.decode(shape), strict=True)
    return b"".join(b',"%b":%b' % (key.encode(), msgspec.json.encode(part)) for key, part in parts)


def _write_power(trace: Writer, run: Run) -> None:
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
    if run.sm_clocks is not None:
        series.append(("SM clock, by the device / MHz", run.sm_clocks.time_ns, run.sm_clocks.clock_mhz))
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


def _write_stacks(trace: Writer, stacks: HostStacks) -> None:
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


def _close_frames(trace: Writer, thread: int, open_frames: list[tuple[str, int]], keep: int, end_ns: int) -> None:
    for frame, start in open_frames[keep:]:  # the outer frame first: of equal slices, viewers take the first as parent
        place = {"pid": _STACKS, "tid": thread}
        trace.event(start, max(0, end_ns - start), ph="X", cat="py_spy", name=frame, **place)
    del open_frames[keep:]
