"""Read Chrome traces (torch.profiler's and anyone's) into columns, as a stream.

Memory is bounded by the columns, not by the text: the file is decoded block by block. Instants are exact: the decimal
figures of the file become integer nanoseconds without passing through binary floating point. What cannot be used is
counted under its reason in :class:`~tokprof.profiler.record.TraceCounts`; nothing is lost unsaid.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from tokprof.profiler.errors import FileFormatError, InputError
from tokprof.profiler.record import (
    Array,
    DeviceEvents,
    EventKind,
    HostEvents,
    Note,
    Trace,
    TraceCounters,
    TraceCounts,
    TraceThread,
)
from tokprof.profiler.trace.links import link_launches, overlapped_count

BLOCK_BYTES = 2 << 20
MAXIMUM_EVENT_BYTES = 64 << 20  # of one event; a longer one is damage or an attack
_INT64_MAX = 2**63 - 1

KIND_OF_CATEGORY = {
    "kernel": EventKind.KERNEL,
    "gpu_memcpy": EventKind.MEMCPY,
    "memcpy": EventKind.MEMCPY,
    "gpu_memset": EventKind.MEMSET,
    "memset": EventKind.MEMSET,
    "cuda_sync": EventKind.DEVICE_SYNC,
    "gpu_user_annotation": EventKind.DEVICE_ANNOTATION,
    "cuda_runtime": EventKind.RUNTIME,
    "cuda_driver": EventKind.RUNTIME,
    "hip_runtime": EventKind.RUNTIME,
    "runtime": EventKind.RUNTIME,
    "cpu_op": EventKind.OPERATOR,
    "operator": EventKind.OPERATOR,
    "user_annotation": EventKind.ANNOTATION,
    "python_function": EventKind.PYTHON,
    "overhead": EventKind.OVERHEAD,
}
_COLLECTIVE = re.compile(
    r"^(?:nccl|rccl)(?:Dev)?Kernel|^ncclKernel|all_?reduce.*(?:kernel|cross_device)", re.IGNORECASE
)
_DEVICE_KINDS = frozenset(
    {EventKind.KERNEL, EventKind.MEMCPY, EventKind.MEMSET, EventKind.DEVICE_SYNC, EventKind.DEVICE_ANNOTATION}
)


class _Args(msgspec.Struct, gc=False):
    device: Any = None
    stream: Any = None
    correlation: Any = None
    external: Any = msgspec.field(default=None, name="External id")
    external_old: Any = msgspec.field(default=None, name="external id")
    graph_node: Any = msgspec.field(default=None, name="graph node id")
    byte_count: Any = msgspec.field(default=None, name="bytes")


class _Event(msgspec.Struct, gc=False):
    ph: Any = None
    name: Any = None
    cat: Any = None
    pid: Any = None
    tid: Any = None
    ts: msgspec.Raw = msgspec.Raw()
    dur: msgspec.Raw = msgspec.Raw()
    args: msgspec.Raw = msgspec.Raw()


_EVENTS = msgspec.json.Decoder(list[_Event])
_ARGS = msgspec.json.Decoder(_Args)
_ANY = msgspec.json.Decoder()


def read_trace(path: Path, *, cache: bool = True) -> Trace:
    """Read one trace: ``.json`` or gzip (told by content), or a run folder.

    Raises
    ------
    InputError
        There is no such file, or a folder holds no trace.
    FileFormatError
        The file is no Chrome trace, or is damaged beyond the first event; the message names the place.
    """
    del cache
    if path.is_dir():
        inside = path / "trace.json.gz"
        if not inside.is_file():
            raise InputError(f"{path}: no trace here (trace.json.gz is missing)")
        path = inside
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    builder = _Builder(str(path))
    with path.open("rb") as stream:
        source = _Source(stream, path)
        _read_document(source, builder)
    return builder.build(source.digest())


# ------------------------------------------------------------------------------------------------------------- bytes


class _Source:
    """The decompressed bytes of a file, a window at a time, and where in the text that window lies."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.path = path
        self.broken: str | None = None  # why the bytes ended early
        self._hash = hashlib.blake2b(digest_size=16)
        self._raw = stream
        head = stream.read(2)
        stream.seek(0)
        self._text: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=stream) if head == b"\x1f\x8b" else stream
        self.window = b""
        self.offset = 0  # of the window's first byte in the text
        self.ended = False

    def more(self) -> bool:
        """Append a block to the window; return whether there was one."""
        if self.ended:
            return False
        try:
            block = self._text.read(BLOCK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            block = b""
            self.broken = f"the gzip stream breaks off ({error})"
        if not block:
            self.ended = True
            return False
        self._hash.update(block)
        self.window += block
        return True

    def drop(self, count: int) -> None:
        """Forget the window's first bytes."""
        self.window = self.window[count:]
        self.offset += count

    def digest(self) -> str:
        """Return the hash of the text read."""
        return self._hash.hexdigest()


# ---------------------------------------------------------------------------------------------------------- document

_SPACE = re.compile(rb"[ \t\r\n]*")
_BOUNDARY = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)")


def _read_document(source: _Source, builder: "_Builder") -> None:
    """Walk the top level: the event array wherever it stands, other keys kept as they are."""
    source.more()
    if source.window.startswith(b"\xef\xbb\xbf"):
        source.drop(3)
        builder.repaired["byte-order mark left out"] += 1
    _skip_space(source)
    first = source.window[:1]
    if first == b"[":
        source.drop(1)
        _read_events(source, builder)
        return
    if first != b"{":
        what = "it is empty" if not source.window else f"it begins with {source.window[:12]!r}"
        raise FileFormatError(f"{source.path}: no Chrome trace: {what}; a trace is JSON, plain or gzip")
    source.drop(1)
    while True:
        _skip_space(source)
        sign = source.window[:1]
        if sign == b",":
            source.drop(1)
            continue
        if sign == b"}":
            break
        if not sign:
            source.broken = source.broken or "the text ends inside the document"
            break
        key = _read_value(source)
        _skip_space(source)
        if not isinstance(key, str) or source.window[:1] != b":":
            raise FileFormatError(f"{source.path}: byte {source.offset:,}: not JSON: a key with its colon was expected")
        source.drop(1)
        _skip_space(source)
        if key == "traceEvents" and source.window[:1] == b"[":
            source.drop(1)
            builder.found = True
            _read_events(source, builder)
            if source.ended and not source.window:
                break
        else:
            value = _read_value(source)
            if value is _BROKEN:
                break
            builder.properties[key] = value
    if not builder.found:
        raise FileFormatError(f"{source.path}: no Chrome trace: the key 'traceEvents' is missing")
    _check_end(source, builder)


_BROKEN = object()


def _read_value(source: _Source) -> Any:
    """Read one JSON value of the top level."""
    decoder = json.JSONDecoder()
    while True:
        text = source.window.decode("utf-8", errors="replace")
        try:
            value, end = decoder.raw_decode(text)
        except (json.JSONDecodeError, RecursionError) as error:
            if len(source.window) < MAXIMUM_EVENT_BYTES and source.more():
                continue
            if source.ended:
                source.broken = source.broken or "the text ends inside the document"
                source.drop(len(source.window))
                return _BROKEN
            raise FileFormatError(f"{source.path}: byte {source.offset:,}: not JSON: {error}") from error
        if end == len(text) and source.more():
            continue  # a number may go on
        source.drop(len(text[:end].encode("utf-8")))
        return value


def _read_events(source: _Source, builder: "_Builder") -> None:
    """Read the elements of the event array up to its end."""
    builder.found = True
    while True:
        _skip_space(source)
        cut = 0
        if not source.ended:
            while len(source.window) < BLOCK_BYTES and source.more():
                pass
            cut = _last_boundary(source.window)
        if cut:
            block = source.window[:cut]
            try:
                events = _EVENTS.decode(b"[" + block + b"]")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                events = None
            if events is not None:
                builder.add(events)
                source.drop(cut)
                _skip_space(source)
                if source.window[:1] == b",":
                    source.drop(1)
                continue
        if _read_slowly(source, builder, until=cut):
            return


def _last_boundary(window: bytes) -> int:
    """Return the end of the last event that another follows, or 0."""
    start = len(window)
    while start > 0:
        start = window.rfind(b"}", 0, start)
        if start < 0:
            return 0
        if _BOUNDARY.match(window, start):
            return start + 1
        if len(window) - start > BLOCK_BYTES:
            return 0
    return 0


def _read_slowly(source: _Source, builder: "_Builder", *, until: int) -> bool:
    """Read events one by one, mending or leaving out what is damaged; return whether the array has ended."""
    decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_constant)
    stop = source.offset + until
    while not until or source.offset < stop:
        _skip_space(source)
        sign = source.window[:1]
        if sign == b"]":
            source.drop(1)
            return True
        if sign == b",":
            source.drop(1)
            _skip_space(source)
            if source.window[:1] == b"]":
                builder.repaired["trailing comma left out"] += 1
            continue
        if not sign:
            source.broken = source.broken or "the text ends inside the event list"
            builder.broke(source, 0)
            return True
        text, length = _event_text(source)
        if text is None:
            builder.broke(source, length)
            return True
        try:
            value, _ = decoder.raw_decode(text)
            builder.add([_loosely(value)])
        except (json.JSONDecodeError, RecursionError, msgspec.MsgspecError):
            builder.rejected["not JSON"] += 1
        source.drop(length)
    return False


def _event_text(source: _Source) -> tuple[str | None, int]:
    """Return the text of the next element and its length in bytes; ``None`` where the file ends inside it."""
    position = depth = 0
    in_string = False
    token = re.compile(rb'[\\"{}\[\],]')
    while True:
        for match in token.finditer(source.window, position):
            sign = match.group()
            if match.start() < position:
                continue
            if sign == b"\\":
                position = match.start() + 2 if in_string else match.end()
                continue
            if sign == b'"':
                in_string = not in_string
            elif not in_string:
                depth += (sign in b"{[") - (sign in b"}]")
                if depth < 0 or (depth == 0 and sign == b","):
                    return source.window[: match.start()].decode("utf-8", "replace"), match.start()
                if depth == 0 and sign in b"}]":
                    return source.window[: match.end()].decode("utf-8", "replace"), match.end()
            position = match.end()
        position = max(position, len(source.window))
        if len(source.window) > MAXIMUM_EVENT_BYTES:
            raise FileFormatError(f"{source.path}: byte {source.offset:,}: one event is longer than 64 MiB")
        if not source.more():
            return None, len(source.window)


def _constant(word: str) -> Decimal:
    return Decimal(word)


def _loosely(value: Any) -> _Event:
    """Make an event of whatever stood in the list, keeping numbers as the text they were."""
    if not isinstance(value, dict):
        return _Event(ph=_NO_EVENT)
    return _Event(
        ph=value.get("ph"),
        name=value.get("name"),
        cat=value.get("cat"),
        pid=value.get("pid"),
        tid=value.get("tid"),
        ts=_raw(value.get("ts")),
        dur=_raw(value.get("dur")),
        args=msgspec.Raw(json.dumps(value["args"], default=str).encode()) if "args" in value else msgspec.Raw(),
    )


_NO_EVENT = object()


def _raw(value: Any) -> msgspec.Raw:
    if value is None:
        return msgspec.Raw()
    return msgspec.Raw(str(value).encode() if isinstance(value, Decimal | int) else json.dumps(value).encode())


def _skip_space(source: _Source) -> None:
    while True:
        match = _SPACE.match(source.window)
        assert match is not None
        if match.end():
            source.drop(match.end())
        if source.window or not source.more():
            return


def _check_end(source: _Source, builder: "_Builder") -> None:
    if source.broken:
        builder.broke(source, 0)
        return
    source.drop(1)
    _skip_space(source)
    if source.window:
        builder.notes.append(
            Note(
                code="trace-second-document",
                message=f"{source.path}: a second document begins at byte {source.offset:,}; only the first was read",
                advice="split the file if the second is a trace, too",
            )
        )


# ------------------------------------------------------------------------------------------------------------- times


def nanoseconds(raw: bytes) -> int | None:
    """Return the integer nanoseconds of a decimal figure of microseconds; ``None`` where it is no such figure.

    A fraction of a nanosecond is rounded half to even.
    """
    whole, dot, fraction = raw.partition(b".")
    if not dot and raw.isdigit():
        return int(raw) * 1000
    if len(fraction) <= 3 and fraction.isdigit() and whole.isdigit():
        return int(whole) * 1000 + int(fraction.ljust(3, b"0"))
    try:
        value = Decimal(raw.decode("ascii"))
        if not value.is_finite():
            return None
        return int((value * 1000).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    except (InvalidOperation, UnicodeDecodeError, ValueError):
        return None


# ----------------------------------------------------------------------------------------------------------- builder


@dataclass(slots=True)
class _Table:
    rows: list[tuple[int, ...]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def name(self, text: str) -> int:
        return self.names.setdefault(text, len(self.names))


class _Builder:
    """Collects events into columns."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found = False
        self.properties: dict[str, Any] = {}
        self.repaired: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.notes: list[Note] = []
        self._host, self._device, self._instants, self._counters = _Table(), _Table(), _Table(), _Table()
        self._threads: dict[tuple[str, str], int] = {}
        self._names: dict[tuple[str, str | None], str] = {}
        self._open: dict[int, list[_Event]] = {}
        self._total = 0
        self._kinds: Counter[str] = Counter()
        self._categories: dict[str, EventKind] = {}

    def add(self, events: list[_Event]) -> None:
        """Take a block of events in the file's order."""
        self._total += len(events)
        for event in events:
            phase = event.ph
            if phase == "X":
                self._slice(event, event.dur)
            elif phase in ("s", "t", "f"):
                self._kinds["flows"] += 1
            elif phase == "M":
                self._metadata(event)
            elif phase in ("i", "I", "R"):
                self._instant(event)
            elif phase == "C":
                self._counter(event)
            elif phase == "B":
                self._open.setdefault(self._thread(event), []).append(event)
            elif phase == "E":
                self._close(event)
            elif phase is _NO_EVENT:
                self.rejected["not an object"] += 1
            else:
                self.rejected[f"phase {phase!r}" if phase is not None else "no phase"] += 1

    def broke(self, source: _Source, lost: int) -> None:
        """Note where the file breaks off."""
        if lost:
            self.rejected["cut off"] += 1
        kept = self._total
        if kept == 0:
            raise FileFormatError(
                f"{source.path}: {source.broken or 'breaks off'} at byte {source.offset:,}, before the first event; "
                "nothing can be saved from it"
            )
        self.notes.append(
            Note(
                code="trace-truncated",
                message=f"{source.path}: {source.broken or 'breaks off'} at byte {source.offset:,} of its text; "
                f"the {kept:,} whole events before it were kept",
                advice="the end of the work is missing: totals are lower bounds",
            )
        )

    # ------------------------------------------------------------------------------------------------------ events

    def _slice(self, event: _Event, duration: bytes | msgspec.Raw, duration_ns: int | None = None) -> None:
        start = self._time(event.ts, "start")
        if start is None:
            return
        if duration_ns is None:
            duration_ns = self._time(duration, "duration", missing=0)
        if duration_ns is None:
            return
        if duration_ns < 0:
            self.rejected["negative duration"] += 1
            return
        name = self._text(event.name)
        kind = self._kind(event.cat, name)
        args = self._args(event)
        thread = self._thread(event)
        correlation = self._number(args.correlation)
        external = self._number(args.external if args.external is not None else args.external_old)
        if kind in _DEVICE_KINDS or kind == EventKind.COLLECTIVE:
            table = self._device
            device, stream = self._number(args.device), self._number(args.stream)
            graph, size = self._number(args.graph_node), self._number(args.byte_count)
            table.rows.append(
                (kind, table.name(name), thread, start, duration_ns, device, stream, correlation, external, graph, size)
            )
        else:
            table = self._host
            table.rows.append((kind, table.name(name), thread, start, duration_ns, correlation, external))

    def _close(self, event: _Event) -> None:
        stack = self._open.get(self._thread(event))
        if not stack:
            self.rejected["end without a begin"] += 1
            return
        begin = stack.pop()
        start, end = self._time(begin.ts, "start"), self._time(event.ts, "start")
        if start is None or end is None:
            return
        self._slice(begin, b"", end - start)

    def _instant(self, event: _Event) -> None:
        start = self._time(event.ts, "start")
        if start is None:
            return
        self._kinds["instants"] += 1
        table = self._instants
        table.rows.append((EventKind.OTHER, table.name(self._text(event.name)), self._thread(event), start, 0, -1, -1))

    def _counter(self, event: _Event) -> None:
        start = self._time(event.ts, "start")
        if start is None:
            return
        self._kinds["counters"] += 1
        values = self._any_args(event)
        track = self._text(event.name)
        for series, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                code = self._counters.name(track if series in ("", "value") else f"{track} / {series}")
                self._counters.rows.append((code, start, value))  # type: ignore[arg-type]

    def _metadata(self, event: _Event) -> None:
        self._kinds["metadata"] += 1
        values = self._any_args(event)
        if event.name in ("process_name", "thread_name") and isinstance(values.get("name"), str):
            thread = None if event.name == "process_name" else str(event.tid)
            self._names[(str(event.pid), thread)] = values["name"]

    # ------------------------------------------------------------------------------------------------------- parts

    def _time(self, raw: bytes | msgspec.Raw, what: str, missing: int | None = None) -> int | None:
        text = bytes(raw)
        if not text or text == b"null":
            if missing is not None:
                self.repaired[f"{what} missing, taken as {missing}"] += 1
                return missing
            self.rejected[f"no {what}"] += 1
            return None
        value = nanoseconds(text)
        if value is None and text[:1] == b'"':
            value = nanoseconds(text.strip(b'"').strip())
            if value is not None:
                self.repaired[f"{what} written as a string"] += 1
        if value is None:
            self.rejected[f"{what} is no finite number"] += 1
            return None
        if abs(value) > _INT64_MAX // 4:
            self.rejected[f"{what} out of range"] += 1
            return None
        return value

    def _number(self, value: Any) -> int:
        if type(value) is int:
            return value if -_INT64_MAX <= value <= _INT64_MAX else -1
        if isinstance(value, str) and value.strip().lstrip("-").isdigit() and len(value) < 19:
            self.repaired["identifier written as a string"] += 1
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        return -1

    def _text(self, value: Any) -> str:
        return value if isinstance(value, str) else "" if value is None else str(value)

    def _args(self, event: _Event) -> _Args:
        if not event.args:
            return _NO_ARGS
        try:
            return _ARGS.decode(event.args)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _NO_ARGS

    def _any_args(self, event: _Event) -> dict[str, Any]:
        try:
            values = _ANY.decode(event.args) if event.args else {}
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return {}
        return values if isinstance(values, dict) else {}

    def _thread(self, event: _Event) -> int:
        return self._threads.setdefault((str(event.pid), str(event.tid)), len(self._threads))

    def _kind(self, category: Any, name: str) -> EventKind:
        kind = KIND_OF_CATEGORY.get(category.lower(), EventKind.OTHER) if isinstance(category, str) else EventKind.OTHER
        if kind == EventKind.KERNEL and _COLLECTIVE.search(name):
            return EventKind.COLLECTIVE
        return kind

    # ------------------------------------------------------------------------------------------------------- build

    def build(self, digest: str) -> Trace:
        for stack in self._open.values():
            self.rejected["begin without an end"] += len(stack)
        base = int(self.properties.pop("baseTimeNanoseconds", 0) or 0) if self._base_is_number() else 0
        device = self._device_columns()
        host = self._host_columns(self._host)
        launch, operator = link_launches(device, host)
        device = DeviceEvents(**{**_columns_of(device), "launch": launch, "operator": operator})
        linked = int((device.launch >= 0).sum())
        work = device.kind <= EventKind.COLLECTIVE
        counts = TraceCounts(
            total=self._total,
            slices=len(host) + len(device),
            device_events=int(work.sum()),
            linked=linked,
            unlinked=len(device) - linked,
            graph_launched=_graph_launched(device, host),
            overlapped=overlapped_count(device),
            instants=self._kinds["instants"],
            counters=self._kinds["counters"],
            flows=self._kinds["flows"],
            metadata=self._kinds["metadata"],
            repaired=tuple(sorted(self.repaired.items())),
            rejected=tuple(sorted(self.rejected.items())),
        )
        rows = self._counters.rows
        return Trace(
            source=self.source,
            digest=digest,
            base_ns=base,
            host=host,
            device=device,
            counters=TraceCounters(
                name=np.array([r[0] for r in rows], dtype=np.int32),
                time_ns=np.array([r[1] for r in rows], dtype=np.int64),
                value=np.array([r[2] for r in rows], dtype=np.float64),
                names=tuple(self._counters.names),
            ),
            instants=self._host_columns(self._instants),
            threads=tuple(
                TraceThread(
                    process=pid,
                    thread=tid,
                    process_name=self._names.get((pid, None), ""),
                    thread_name=self._names.get((pid, tid), ""),
                )
                for pid, tid in self._threads
            ),
            counts=counts,
            properties=tuple((key, json.dumps(value, default=str)) for key, value in self.properties.items()),
            notes=(*self.notes, *self._repair_notes()),
        )

    def _base_is_number(self) -> bool:
        return type(self.properties.get("baseTimeNanoseconds", 0)) is int

    def _repair_notes(self) -> Iterator[Note]:
        for word, what in (("repaired", self.repaired), ("left out", self.rejected)):
            if what:
                listed = "; ".join(f"{reason} ({count:,})" for reason, count in sorted(what.items()))
                yield Note(code=f"trace-{word.replace(' ', '-')}", message=f"{self.source}: events {word}: {listed}")

    def _host_columns(self, table: _Table) -> HostEvents:
        values = _sorted_rows(table.rows, 7)
        return HostEvents(
            kind=values[0],
            name=values[1],
            thread=values[2],
            start_ns=values[3],
            duration_ns=values[4],
            correlation=values[5],
            external=values[6],
            names=tuple(table.names),
        )

    def _device_columns(self) -> DeviceEvents:
        values = _sorted_rows(self._device.rows, 11)
        unlinked = np.full(len(values[0]), -1)
        return DeviceEvents(
            kind=values[0],
            name=values[1],
            thread=values[2],
            start_ns=values[3],
            duration_ns=values[4],
            device=np.where(np.abs(values[5]) < 2**15, values[5], -1),
            stream=values[6],
            correlation=values[7],
            external=values[8],
            graph_node=values[9],
            byte_count=values[10],
            launch=unlinked,
            operator=unlinked,
            names=tuple(self._device.names),
        )


_NO_ARGS = _Args()


def _columns_of(table: DeviceEvents) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.__dataclass_fields__}


def _sorted_rows(rows: list[tuple[int, ...]], width: int) -> list[Array]:
    """Return the columns of rows, in the order of start (column 3), longer first where starts are equal."""
    values = np.array(rows, dtype=np.int64).reshape(len(rows), width)
    order = np.lexsort((-values[:, 4], values[:, 3]))
    return list(values[order].T)


def _graph_launched(device: DeviceEvents, host: HostEvents) -> int:
    names = np.array(["GraphLaunch" in name for name in host.names] + [False])
    launched = device.launch >= 0
    of_graph = np.zeros(len(device), dtype=bool)
    of_graph[launched] = names[host.name[device.launch[launched]]]
    return int((of_graph | (device.graph_node > 0)).sum())
