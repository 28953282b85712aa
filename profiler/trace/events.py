"""From the events of a Chrome trace to columns: what each is, exactly when, and what could not be used and why."""

import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from itertools import compress
from operator import or_
from typing import Annotated, Any

import msgspec
import numpy as np

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

_LATEST_NS = (2**63 - 1) // 4  # sums of two instants stay within int64
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
    r"^(?:nccl|rccl)(?:Dev)?Kernel|^ncclKernel|all_?reduce.*(?:kernel|cross_device)|cross_device_reduce", re.IGNORECASE
)
_DEVICE_KINDS = frozenset(
    {EventKind.KERNEL, EventKind.MEMCPY, EventKind.MEMSET, EventKind.DEVICE_SYNC, EventKind.DEVICE_ANNOTATION}
)
DEVICE_CATEGORIES = tuple(word for word, kind in KIND_OF_CATEGORY.items() if kind in _DEVICE_KINDS)

FLOW_PHASES = ("s", "t", "f")
INSTANT_PHASES = ("i", "I", "R")

_SLICE_COLUMNS = ("name", "category", "thread", "start_ns", "duration_ns", "correlation", "external")
_HOST_COLUMNS = (*_SLICE_COLUMNS, "shape")
_DEVICE_COLUMNS = (*_SLICE_COLUMNS, "device", "stream", "graph_node", "byte_count")
_NARROW_COLUMNS = ("name", "category", "thread", "shape")  # of 32 bits; the others have 64

_LONGEST_SHAPE = 4096  # bytes of an operator's sizes, strides and types; longer ones are not kept
_NO_TEXT = msgspec.Raw()


class _Args(msgspec.Struct, gc=False):
    device: Any = None
    stream: Any = None
    correlation: Any = None
    external: Any = msgspec.field(default=None, name="External id")
    external_old: Any = msgspec.field(default=None, name="external id")
    graph_node: Any = msgspec.field(default=None, name="graph node id")
    byte_count: Any = msgspec.field(default=None, name="bytes")
    sizes: msgspec.Raw = msgspec.field(default=_NO_TEXT, name="Input Dims")
    strides: msgspec.Raw = msgspec.field(default=_NO_TEXT, name="Input Strides")
    types: msgspec.Raw = msgspec.field(default=_NO_TEXT, name="Input type")


class Event(msgspec.Struct, gc=False):
    """One element of the event list as it stands there; times and arguments are still text."""

    ph: Any = None
    name: Any = None
    cat: Any = None
    pid: Any = None
    tid: Any = None
    ts: msgspec.Raw = msgspec.Raw()
    dur: msgspec.Raw = msgspec.Raw()
    args: msgspec.Raw = msgspec.Raw()


class _Identifiers(msgspec.Struct, gc=False, omit_defaults=True):
    """Arguments of which each is an integer or not there; elsewhere than on a device the size may be a string."""

    device: int = -1
    stream: int = -1
    correlation: int = -1
    external: int = msgspec.field(default=-1, name="External id")
    external_old: int = msgspec.field(default=-1, name="external id")
    graph_node: int = msgspec.field(default=-1, name="graph node id")
    byte_count: int | str = msgspec.field(default=-1, name="bytes")
    sizes: msgspec.Raw = msgspec.field(default=_NO_TEXT, name="Input Dims")
    strides: msgspec.Raw = msgspec.field(default=_NO_TEXT, name="Input Strides")
    types: msgspec.Raw = msgspec.field(default=_NO_TEXT, name="Input type")


class _Slice(msgspec.Struct, gc=False, tag_field="ph", tag="X"):
    """A complete event as profilers write it; times are still text."""

    ts: msgspec.Raw = msgspec.Raw()
    dur: msgspec.Raw = msgspec.Raw()
    name: str = ""
    cat: str = ""
    pid: int | str | None = None
    tid: int | str | None = None
    args: _Identifiers | None = None


def _of_phase(phase: str, fields: Sequence[Any] = (), **options: Any) -> Any:
    return msgspec.defstruct(f"_Phase{phase}", fields, gc=False, tag_field="ph", tag=phase, **options)


_FIELDS = [(field.name, field.type, field.default) for field in msgspec.structs.fields(Event) if field.name != "ph"]
_INSTANTS = tuple(_of_phase(phase, bases=(_Slice,)) for phase in INSTANT_PHASES)
_FLOWS = tuple(_of_phase(phase) for phase in FLOW_PHASES)
_OTHERS = tuple(_of_phase(phase, _FIELDS) for phase in ("M", "C", "B", "E"))
# Decodes ordinary events, told apart by their phase; what is odd in any is an error to it.
BLOCK = msgspec.json.Decoder(list[reduce(or_, (*_INSTANTS, *_FLOWS, *_OTHERS), _Slice)])  # type: ignore[misc]
_NO_IDENTIFIERS = _Identifiers()
_Size = Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)]
# Sizes, strides and types of an operator's arguments; a list of tensors has a list of these.
_SHAPE = msgspec.json.Decoder(tuple[list[list[_Size | list[_Size]]], list[list[_Size | list[_Size]]], list[str]])
_ARGS = msgspec.json.Decoder(_Args)
_NO_ARGS = _Args()
_HALVES = 1 << 16  # begin and end events joined at once
_LONGEST_FIGURE = 1000  # signs
_EXACT = Context(prec=2 * _LONGEST_FIGURE)
_FIGURE = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,6})?")


def nanoseconds(raw: bytes) -> int | None:
    """Return the integer nanoseconds of a decimal figure of microseconds; ``None`` where it is no such figure.

    A fraction of a nanosecond is rounded half to even. What lies beyond 10**30 ns comes back as such a number.
    """
    whole, dot, fraction = raw.partition(b".")
    if len(whole) < 20 and whole.isdigit():
        if not dot:
            return int(whole) * 1000
        if len(fraction) <= 3 and fraction.isdigit():
            return int(whole) * 1000 + int(fraction.ljust(3, b"0"))
    if len(raw) > _LONGEST_FIGURE or not _FIGURE.fullmatch(raw):
        return None
    value = Decimal(raw.decode("ascii"))
    if value.adjusted() > 27:
        return -(10**30) if value < 0 else 10**30
    return int(value.scaleb(3, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT))


def _plain_figures(raws: Sequence[msgspec.Raw | bytes]) -> Array:
    """Return what :func:`nanoseconds` returns of each figure, at once; -1 where a figure wants a closer look."""
    text = b"\n".join(raws)
    signs = np.frombuffer(text, dtype=np.uint8)
    ends = np.append(np.flatnonzero(signs == ord("\n")), len(signs))
    if len(ends) != len(raws):
        return np.full(len(raws), -1, dtype=np.int64)
    dots = np.flatnonzero(signs == ord("."))
    digit_count = np.diff(ends, prepend=-1) - 1
    fraction = np.zeros(len(raws), dtype=np.int64)
    figure = np.searchsorted(ends, dots)
    digit_count[figure] -= 1
    fraction[figure] = ends[figure] - dots - 1
    odd = (fraction > 3) | (digit_count < 1) | (digit_count > 18)
    others = np.flatnonzero((signs - ord("0") > 9) & (signs != ord(".")) & (signs != ord("\n")))
    odd[np.searchsorted(ends, others)] = True
    if odd.any():
        found = _plain_figures([b"0" if skip else raw for raw, skip in zip(raws, odd.tolist(), strict=True)])
        found[odd] = -1
        return found
    value = np.fromstring(text.translate(None, b"."), dtype=np.int64, sep="\n")
    scale = 10 ** (3 - fraction)
    return np.where(value <= _LATEST_NS // scale, value * scale, -1)


def _codes(words: Sequence[Any], code_of: dict[Any, int], new_code: Callable[[Any], int]) -> Array:
    """Return the code of each word; ``new_code`` gives those of words not known before."""
    try:
        codes = list(map(code_of.__getitem__, words))
    except KeyError:
        for word in dict.fromkeys(words):
            if word not in code_of:
                code_of[word] = new_code(word)
        codes = list(map(code_of.__getitem__, words))
    return np.array(codes, dtype=np.int32)


def _identifiers(values: Sequence[Any]) -> Array:
    numbers = np.frombuffer(array("q", values), dtype=np.int64)
    return np.where(numbers >= -_INT64_MAX, numbers, -1)


def _as_event(event: Any) -> Event:
    """Return an event of a block as the text of its parts, for a closer look."""
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, _Slice):
        values["args"] = msgspec.Raw(msgspec.json.encode(event.args) if event.args is not None else b"")
    return Event(ph=event.__struct_config__.tag, **values)


class _Table:
    """Rows of one kind of event, as flat integers."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.names: dict[str, int] = {}
        self.rows = array("q")
        self.begun = array("q")  # rows of begin events, whose duration their ends will tell
        self.bulk: dict[str, Array] = {}
        self._grown = {name: bytearray() for name in columns}

    def name(self, text: str) -> int:
        return self.names.setdefault(text, len(self.names))

    def extend(self, columns: Sequence[Array]) -> None:
        """Append rows, given as all the columns in their order."""
        for grown, values in zip(self._grown.values(), columns, strict=True):
            grown += values.tobytes()

    def take_columns(self) -> dict[str, Array]:
        """Return all rows as columns in the order of start, longer first where starts are equal; they leave here."""
        for name, grown in self._grown.items():
            if grown:
                self.bulk[name] = np.frombuffer(grown, dtype=_column_type(name))
        self._grown = {}
        width = len(self.columns)
        single = np.frombuffer(self.rows, dtype=np.int64).reshape(-1, width) if self.rows else None
        single_of = {name: single[:, i] for i, name in enumerate(self.columns)} if single is not None else {}

        def whole(name: str) -> Array:
            parts = [part for part in (self.bulk.pop(name, None), single_of.get(name)) if part is not None]
            return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

        start = whole("start_ns")
        if "duration_ns" not in self.columns:
            order = np.argsort(start, kind="stable")
            return {"start_ns": start[order], **{name: whole(name)[order] for name in self.columns[:3]}}
        duration = whole("duration_ns")
        order = in_order(start, duration)
        sorted_columns = {"start_ns": start[order], "duration_ns": duration[order]}
        del start, duration
        for name in self.columns:
            if name not in sorted_columns:
                sorted_columns[name] = whole(name)[order]
        return sorted_columns


def _column_type(name: str) -> type:
    return np.int32 if name in _NARROW_COLUMNS else np.int64


def in_order(start: Array, duration: Array) -> Array:
    """Return the rows in the order of start, longer first where starts are equal, else as they stood."""
    order = np.argsort(start, kind="stable")
    same = np.diff(start[order]) == 0
    if same.any():
        tied = np.zeros(len(order), dtype=bool)
        tied[1:] |= same
        tied[:-1] |= same
        rows = order[tied]
        order[tied] = rows[np.lexsort((-duration[rows], start[rows]))]
    return order


class Events:
    """Collects the events of one file, counts what was mended or left out, and builds the trace."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.properties: dict[str, Any] = {}
        self.repaired: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.notes: list[Note] = []
        self.total = 0
        self._host, self._device = _Table(_HOST_COLUMNS), _Table(_DEVICE_COLUMNS)
        self._instants = _Table(_HOST_COLUMNS[:4])
        self._counters: list[tuple[int, int, float]] = []
        self._counter_names: dict[str, int] = {}
        self._threads: dict[tuple[str, str], int] = {}
        self._names: dict[tuple[str, str | None], str] = {}
        self._halves = array("q")  # thread, time, place: of a begin twice that of its row (and 1: device); of an end -1
        self._kinds: Counter[str] = Counter()
        self._categories: dict[str, int] = {}
        self._place_codes: dict[tuple[Any, Any], int] = {}
        self._shapes: dict[str, int] = {}
        self._shape_codes: dict[bytes, int] = {b"": -1}  # by the text of the file

    def add(self, events: Sequence[Event]) -> None:
        """Take events in the file's order."""
        self.total += len(events)
        for event in events:
            phase = event.ph
            if phase == "X":
                start = self._time(event.ts, "start")
                duration = None if start is None else self._time(event.dur, "duration", missing=0)
                if start is not None and duration is not None:
                    self._slice(event, start, duration)
            elif phase in FLOW_PHASES:
                self._kinds["flows"] += 1
            elif phase == "M":
                self._metadata(event)
            elif phase in INSTANT_PHASES:
                self._instant(event)
            elif phase == "C":
                self._counter(event)
            elif phase in ("B", "E"):
                start = self._time(event.ts, "start")
                if start is not None:
                    self._half(event, start)
            else:
                self.reject(f"phase {str(phase)[:20]!r}" if phase is not None else "no phase")

    def add_block(self, block: Sequence[Any]) -> None:
        """Take what :data:`BLOCK` decoded: ordinary slices and instants column by column, all else one by one."""
        slices = [event for event in block if type(event) is _Slice]
        instants = [event for event in block if type(event) in _INSTANTS]
        others = [event for event in block if type(event) in _OTHERS]
        self._kinds["flows"] += len(block) - len(slices) - len(instants) - len(others)
        others += self._extend_slices(slices)
        others += self._extend_instants(instants)
        self.total += len(block) - len(others)
        self.add([_as_event(event) for event in others])

    def _extend_slices(self, slices: Sequence[_Slice]) -> Sequence[_Slice]:
        """Append slices to their tables; return those that want a closer look."""
        start, duration = _plain_figures([e.ts for e in slices]), _plain_figures([e.dur for e in slices])
        sound = (start >= 0) & (duration >= 0)
        odd = list(compress(slices, (~sound).tolist()))
        if odd:
            slices = list(compress(slices, sound.tolist()))
            start, duration = start[sound], duration[sound]
        category = _codes([e.cat for e in slices], self._categories, self._category)
        thread = self._thread_codes(slices)
        on_device = np.isin(category, list(self._device_codes))
        for table, chosen in ((self._host, ~on_device), (self._device, on_device)):
            rows = list(compress(slices, chosen.tolist()))
            args = [event.args or _NO_IDENTIFIERS for event in rows]
            try:
                external = _identifiers([a.external for a in args])
                columns = [
                    _codes([event.name for event in rows], table.names, table.name),
                    *(values[chosen] for values in (category, thread, start, duration)),
                    _identifiers([a.correlation for a in args]),
                    np.where(external != -1, external, _identifiers([a.external_old for a in args])),
                ]
                if table is self._device:
                    columns += [
                        _identifiers([a.device for a in args]),
                        _identifiers([a.stream for a in args]),
                        _identifiers([a.graph_node for a in args]),
                        _identifiers([a.byte_count for a in args]),
                    ]
                else:
                    columns.append(self._shapes_of(args))
            except (OverflowError, TypeError):  # beyond 64 bits, or a string
                odd += rows
            else:
                table.extend(columns)
        return odd

    def _extend_instants(self, instants: Sequence[_Slice]) -> Sequence[_Slice]:
        """Append instants to their table; return those that want a closer look."""
        start = _plain_figures([e.ts for e in instants])
        sound = start >= 0
        rows = list(compress(instants, sound.tolist()))
        names = _codes([e.name for e in rows], self._instants.names, self._instants.name)
        category = np.full(len(rows), -1, dtype=np.int32)
        self._instants.extend([names, category, self._thread_codes(rows), start[sound]])
        return list(compress(instants, (~sound).tolist()))

    def _thread_codes(self, events: Sequence[_Slice]) -> Array:
        places = list(zip([e.pid for e in events], [e.tid for e in events], strict=True))
        return _codes(places, self._place_codes, lambda place: self._thread_of(*place))

    def _shapes_of(self, args: Sequence[_Args | _Identifiers]) -> Array:
        """Return the code of each operator's shape, -1 where its arguments do not tell it all."""
        texts = [b",".join((a.sizes, a.strides, a.types)) if a.types is not _NO_TEXT else b"" for a in args]
        known = [text if len(text) <= _LONGEST_SHAPE + 2 else b"" for text in texts]
        return _codes(known, self._shape_codes, self._shape_code)

    def _shape_code(self, text: bytes) -> int:
        """Return the code of a shape, whose text is checked and written alike however the file wrote it."""
        try:
            plain = msgspec.json.encode(_SHAPE.decode(b"[" + text + b"]")).decode()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return -1
        return self._shapes.setdefault(plain, len(self._shapes))

    def reject(self, reason: str, count: int = 1) -> None:
        """Count events that cannot be used."""
        self.rejected[reason] += count

    def leave_out(self, reason: str) -> None:
        """Count an element of the list that is no event."""
        self.total += 1
        self.reject(reason)

    def add_value(self, value: Any) -> None:
        """Take an element that was read leniently; times may be ``Decimal``."""
        if not isinstance(value, dict):
            self.leave_out("not an object")
            return
        fields = {key: value.get(key) for key in ("ph", "name", "cat", "pid", "tid")}
        # A fraction that names something is printed alike, whether its event had to be mended or not.
        fields = {key: float(item) if isinstance(item, Decimal) else item for key, item in fields.items()}
        args = msgspec.Raw(json.dumps(value["args"], default=_plain).encode()) if "args" in value else msgspec.Raw()
        self.add([Event(**fields, ts=_raw(value.get("ts")), dur=_raw(value.get("dur")), args=args)])

    # ------------------------------------------------------------------------------------------------------ events

    def _slice(self, event: Event, start: int, duration: int) -> None:
        if duration < 0:
            self.reject("negative duration")
            return
        table, row = self._row(event, start, duration)
        table.rows.extend(row)

    def _half(self, event: Event, time: int) -> None:
        place = -1
        if event.ph == "B":
            table, row = self._row(event, time, 0)
            place = 2 * (len(table.begun) // len(table.columns)) + (table is self._device)
            table.begun.extend(row)
        self._halves.extend((self._thread(event), time, place))

    def _row(self, event: Event, start: int, duration: int) -> tuple[_Table, tuple[int, ...]]:
        """Return the table that a slice belongs to, and its row there."""
        category = event.cat
        code = self._category(category) if isinstance(category, str) else -1
        args = self._args(event)
        external = args.external_old if args.external in (None, -1) else args.external
        table = self._device if code in self._device_codes else self._host
        row: tuple[int, ...] = (
            table.name(self._text(event.name)),
            code,
            self._thread(event),
            start,
            duration,
            self._number(args.correlation),
            self._number(external),
        )
        if table is self._device:
            row += tuple(map(self._number, (args.device, args.stream, args.graph_node, args.byte_count)))
        else:
            row += (int(self._shapes_of([args])[0]),)
        return table, row

    def _instant(self, event: Event) -> None:
        start = self._time(event.ts, "start")
        if start is not None:
            table = self._instants
            table.rows.extend((table.name(self._text(event.name)), -1, self._thread(event), start))

    def _counter(self, event: Event) -> None:
        start = self._time(event.ts, "start")
        if start is None:
            return
        self._kinds["counters"] += 1
        track = self._text(event.name)
        for series, value in self._any_args(event).items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e300:
                self.repaired["counter value that is no finite number left out"] += 1
                continue
            name = track if series in ("", "value") else f"{track} / {self._text(series)}"
            self._counters.append((self._counter_names.setdefault(name, len(self._counter_names)), start, value))

    def _metadata(self, event: Event) -> None:
        self._kinds["metadata"] += 1
        if event.name in ("process_name", "thread_name"):
            name = self._any_args(event).get("name")
            if isinstance(name, str):
                thread = None if event.name == "process_name" else str(event.tid)
                self._names[(str(event.pid), thread)] = self._text(name)

    def _join_halves(self) -> int:
        """Join begin and end events, thread by thread in the order of time; return how many pairs there were."""
        tables = (self._host, self._device)
        lasted = [array("q", [-1]) * (len(table.begun) // len(table.columns)) for table in tables]
        halves = np.frombuffer(self._halves, dtype=np.int64).reshape(-1, 3)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        pairs = stray = unended = 0
        thread, stack = -1, list[tuple[int, int]]()
        for first in range(0, len(order), _HALVES):
            for on, time, place in halves[order[first : first + _HALVES]].tolist():
                if on != thread:
                    unended += len(stack)
                    thread, stack = on, []
                if place >= 0:
                    stack.append((place, time))
                elif stack:
                    place, start = stack.pop()
                    lasted[place & 1][place >> 1] = time - start
                    pairs += 1
                else:
                    stray += 1
        if stray:
            self.reject("end without a begin", stray)
        if unended := unended + len(stack):
            self.reject("begin without an end", unended)
        for table, durations in zip(tables, lasted, strict=True):
            rows = np.frombuffer(table.begun, dtype=np.int64).reshape(-1, len(table.columns))
            duration = np.frombuffer(durations, dtype=np.int64)
            whole = rows[duration >= 0]
            whole[:, table.columns.index("duration_ns")] = duration[duration >= 0]
            table.rows.frombytes(whole.tobytes())
            table.begun = array("q")
        self._halves = array("q")
        return pairs

    # ------------------------------------------------------------------------------------------------------- parts

    def _time(self, raw: msgspec.Raw, what: str, missing: int | None = None) -> int | None:
        text = bytes(raw)
        if not text or text == b"null":
            if missing is not None:
                self.repaired[f"{what} missing, taken as {missing}"] += 1
                return missing
            self.reject(f"no {what}")
            return None
        value = nanoseconds(text)
        if value is None and text[:1] == b'"':
            value = nanoseconds(text.strip(b'"').strip())
            if value is not None:
                self.repaired[f"{what} written as a string"] += 1
        if value is None:
            self.reject(f"{what} is no finite number")
            return None
        if abs(value) > _LATEST_NS:
            self.reject(f"{what} out of range")
            return None
        return value

    def _number(self, value: Any) -> int:
        if type(value) is int:
            return value if -_INT64_MAX <= value <= _INT64_MAX else -1
        if value is None:
            return -1
        if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
            self.repaired["identifier written as a string"] += 1
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        return -1

    def _text(self, value: Any) -> str:
        text = value if isinstance(value, str) else "" if value is None else str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.repaired["unpaired surrogate in a name"] += 1
            return text.encode("utf-8", "replace").decode()
        return text

    def _args(self, event: Event) -> _Args:
        if not event.args:
            return _NO_ARGS
        try:
            return _ARGS.decode(event.args)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            values = self._any_args(event)
            keys = zip(_Args.__struct_fields__, _Args.__struct_encode_fields__, strict=True)
            fields: dict[str, Any] = {name: values.get(key) for name, key in keys}
            return _Args(**fields | {name: _raw(fields[name]) for name in ("sizes", "strides", "types")})

    def _any_args(self, event: Event) -> dict[str, Any]:
        """Return an event's arguments; those that cannot be read are none, and that is said."""
        if not event.args:
            return {}
        text = bytes(event.args).decode("utf-8", "replace")
        if "\ufffd" in text and text.encode() != bytes(event.args):
            self.repaired["invalid UTF-8 replaced"] += 1
        try:
            values = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            self.repaired["arguments that cannot be read left out"] += 1
            return {}
        return values if isinstance(values, dict) else {}

    def _thread(self, event: Event) -> int:
        return self._thread_of(event.pid, event.tid)

    def _thread_of(self, process: Any, thread: Any) -> int:
        labels = str(process), str(thread)
        known = self._threads.get(labels)
        if known is None:
            known = self._threads[labels] = len(self._threads)
        return known

    def _category(self, category: str) -> int:
        return self._categories.setdefault(category, len(self._categories))

    @property
    def _device_codes(self) -> set[int]:
        """The codes of the categories whose events run on a device."""
        if len(self._categories) != self._device_codes_known:
            self._device_codes_now = {
                code for word, code in self._categories.items() if KIND_OF_CATEGORY.get(word.lower()) in _DEVICE_KINDS
            }
            self._device_codes_known = len(self._categories)
        return self._device_codes_now

    _device_codes_known = 0
    _device_codes_now: set[int] = set()  # noqa: RUF012 - replaced, never changed

    # -------------------------------------------------------------------------------------------------------- bulk

    def take_bulk(self, scanner: Any) -> None:
        """Take over what the native scanner collected (see _scan.c)."""
        row_count, flow_count, _, _ = scanner.counts
        self.total += row_count + flow_count
        self._kinds["flows"] += flow_count
        host, device, instants, names, categories, threads, shapes = scanner.take()
        category_of = np.array([self._category(_word(word)) for word in categories] + [-1], dtype=np.int32)
        thread_of = np.array(
            [self._thread_of(*map(msgspec.json.decode, word.split(b"\0"))) for word in threads], dtype=np.int32
        )
        for table, columns in ((self._host, host), (self._device, device), (self._instants, instants)):
            pairs = zip(table.columns, columns, strict=True)
            arrays: list[Array] = [np.frombuffer(column, dtype=_column_type(name)) for name, column in pairs]
            columns.clear()
            used = np.bincount(arrays[0], minlength=len(names))
            name_of = np.zeros(len(names), dtype=np.int32)
            for code in np.flatnonzero(used).tolist():
                name_of[code] = table.name(_word(names[code]))
            arrays[0], arrays[1], arrays[2] = name_of[arrays[0]], category_of[arrays[1]], thread_of[arrays[2]]
            table.bulk = dict(zip(table.columns, arrays, strict=True))
        used = np.bincount(self._host.bulk["shape"] + 1, minlength=len(shapes) + 1)[1:]
        shape_of = np.full(len(shapes) + 1, -1, dtype=np.int32)
        for code in np.flatnonzero(used).tolist():
            shape_of[code] = self._shape_code(shapes[code][1:-1])
        self._host.bulk["shape"] = shape_of[self._host.bulk["shape"]]

    # ------------------------------------------------------------------------------------------------------- build

    def build(self, digest: str) -> Trace:
        """Return the trace; ``digest`` is that of the file."""
        pairs = self._join_halves()
        base = self._base_ns()
        host = self._host_columns()
        device = self._device_columns()
        processes: dict[str, int] = {}
        process = np.array([processes.setdefault(pid, len(processes)) for pid, _ in self._threads], dtype=np.int64)
        launch, operator, ambiguous = link_launches(device, host, process)
        device = DeviceEvents(**{**_columns_of(device), "launch": launch, "operator": operator})
        is_work = device.kind <= EventKind.COLLECTIVE
        work_count = int(is_work.sum())
        linked = int((device.launch[is_work] >= 0).sum())
        instants = self._instant_columns()
        counts = TraceCounts(
            total=self.total,
            slices=len(host) + len(device),
            pairs=pairs,
            device_events=work_count,
            linked=linked,
            unlinked=work_count - linked,
            ambiguous=int((ambiguous & is_work).sum()),
            graph_launched=_graph_launched(device, host),
            overlapped=overlapped_count(device),
            instants=len(instants),
            counters=self._kinds["counters"],
            flows=self._kinds["flows"],
            metadata=self._kinds["metadata"],
            repaired=tuple(sorted(self.repaired.items())),
            rejected=tuple(sorted(self.rejected.items())),
        )
        rank = self._rank()
        return Trace(
            source=self.source,
            digest=digest,
            base_ns=base,
            host=host,
            device=device,
            counters=TraceCounters(
                name=np.array([r[0] for r in self._counters], dtype=np.int32),
                time_ns=np.array([r[1] for r in self._counters], dtype=np.int64),
                value=np.array([r[2] for r in self._counters], dtype=np.float64),
                names=tuple(self._counter_names),
            ),
            instants=instants,
            threads=tuple(
                TraceThread(
                    process=self._text(pid),
                    thread=self._text(tid),
                    process_name=self._names.get((pid, None), ""),
                    thread_name=self._names.get((pid, tid), ""),
                    rank=rank,
                )
                for pid, tid in self._threads
            ),
            counts=counts,
            properties=tuple(
                (self._text(key), json.dumps(value, default=_plain)) for key, value in self.properties.items()
            ),
            notes=(*self.notes, *self._repair_notes(), *self._link_notes(counts)),
        )

    def _base_ns(self) -> int:
        base = self.properties.pop("baseTimeNanoseconds", 0)
        if type(base) is int and abs(base) <= _LATEST_NS:
            return base
        self.notes.append(
            Note(
                code="trace-base-time",
                message=f"{self.source}: baseTimeNanoseconds is {str(base)[:40]!r}, no number of nanoseconds; "
                "instants count from 0",
            )
        )
        return 0

    def _rank(self) -> int:
        info = self.properties.get("distributedInfo")
        rank = info.get("rank") if isinstance(info, dict) else None
        return rank if type(rank) is int and 0 <= rank < 2**31 else 0

    def _repair_notes(self) -> Iterator[Note]:
        for word, what in (("repaired", self.repaired), ("left out", self.rejected)):
            if what:
                listed = "; ".join(f"{reason} ({count:,})" for reason, count in sorted(what.items()))
                yield Note(code=f"trace-{word.replace(' ', '-')}", message=f"{self.source}: events {word}: {listed}")

    def _link_notes(self, counts: TraceCounts) -> Iterator[Note]:
        if counts.ambiguous:
            yield Note(
                code="trace-ambiguous",
                message=f"{self.source}: {counts.ambiguous:,} device events have a number that calls of several "
                "processes bear; which of them launched each is not told, so they stay unlinked",
                advice="look at each process's own trace, or put them together with `tokprof open`",
            )

    def _kinds_of(self, categories: Array) -> Array:
        kinds = [KIND_OF_CATEGORY.get(word.lower(), EventKind.OTHER) for word in self._categories]
        kind_of: Array = np.array([*kinds, EventKind.OTHER], dtype=np.int8)[categories]
        return kind_of

    def _host_columns(self) -> HostEvents:
        columns = dict[str, Any](self._host.take_columns())
        kind = self._kinds_of(columns.pop("category"))
        shape = columns.pop("shape")
        return HostEvents(
            kind=kind,
            **columns,
            shape=shape if self._shapes else None,
            names=tuple(self._host.names),
            shapes=tuple(self._shapes),
        )

    def _instant_columns(self) -> HostEvents:
        columns = dict[str, Any](self._instants.take_columns())
        del columns["category"]
        nothing = np.full(len(columns["name"]), -1)
        return HostEvents(
            kind=np.full(len(nothing), EventKind.OTHER),
            **columns,
            duration_ns=np.zeros(len(nothing)),
            correlation=nothing,
            external=nothing,
            names=tuple(self._instants.names),
        )

    def _device_columns(self) -> DeviceEvents:
        columns = self._device.take_columns()
        kind = self._kinds_of(columns.pop("category"))
        collective = np.array([bool(_COLLECTIVE.search(name)) for name in self._device.names] + [False])
        kind[(kind == EventKind.KERNEL) & collective[columns["name"]]] = EventKind.COLLECTIVE
        columns["device"] = np.where(np.abs(columns["device"]) < 2**15, columns["device"], -1)
        twice = _repeated(kind, columns)
        if twice.any():
            self.reject("exact duplicate of a device event", int(twice.sum()))
            kind = kind[~twice]
            columns = {name: values[~twice] for name, values in columns.items()}
        unlinked = np.full(len(kind), -1)
        return DeviceEvents(kind=kind, **columns, launch=unlinked, operator=unlinked, names=tuple(self._device.names))


def _repeated(kind: Array, columns: dict[str, Array]) -> Array:
    """Mark device work that stands in the file twice, equal in everything and with a launch that tells it apart."""
    twice = np.zeros(len(kind), dtype=bool)
    start, duration = columns["start_ns"], columns["duration_ns"]
    near = np.flatnonzero((np.diff(start) == 0) & (np.diff(duration) == 0))
    rows = np.unique(np.concatenate([near, near + 1]))
    rows = rows[(kind[rows] <= EventKind.COLLECTIVE) & (columns["correlation"][rows] > 0) & (duration[rows] > 0)]
    if len(rows):
        values = np.stack([column[rows] for column in columns.values()], axis=1)
        _, first = np.unique(values, axis=0, return_index=True)
        twice[np.delete(rows, first)] = True
    return twice


def _graph_launched(device: DeviceEvents, host: HostEvents) -> int:
    names = np.array(["GraphLaunch" in name for name in host.names] + [False])
    launched = device.launch >= 0
    of_graph = np.zeros(len(device), dtype=bool)
    of_graph[launched] = names[host.name[device.launch[launched]]]
    return int(((of_graph | (device.graph_node > 0)) & (device.kind <= EventKind.COLLECTIVE)).sum())


def _columns_of(table: DeviceEvents) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.__dataclass_fields__}


def _word(raw: bytes) -> str:
    """Decode a string as it stands between its quotes, which the native scanner found sound."""
    return str(msgspec.json.decode(b'"' + raw + b'"')) if b"\\" in raw else raw.decode()


def _raw(value: Any) -> msgspec.Raw:
    if value is None:
        return msgspec.Raw()
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return msgspec.Raw(str(value).encode())
    return msgspec.Raw(json.dumps(value, default=str).encode())


def _plain(value: Any) -> Any:
    """Return a number that JSON can hold; a figure that is not finite becomes text."""
    return float(value) if isinstance(value, Decimal) and value.is_finite() else str(value)
