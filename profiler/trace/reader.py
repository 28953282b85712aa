"""Read Chrome traces (torch.profiler's and anyone's) into columns, as a stream.

Memory is bounded by the columns, not by the text: the file is decoded block by block. Instants are exact: the decimal
figures of the file become integer nanoseconds without passing through binary floating point. What cannot be used is
counted under its reason in :class:`~tokprof.profiler.record.TraceCounts`; nothing is lost unsaid.

Ordinary events are read by a native scanner (_scan.c) where one was compiled, else by msgspec; the answer is the same.
Damaged elements are read one by one, leniently; where an element does not end, reading goes on at the next one that
looks like an event.
"""

import gzip
import json
import re
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tokprof.profiler.errors import FileFormatError, InputError, no_such, visible
from tokprof.profiler.record import Note, Trace
from tokprof.profiler.trace.events import BLOCK, DEVICE_CATEGORIES, FLOW_PHASES, Event, Events
from tokprof.profiler.trace.native import scanner_module
from tokprof.profiler.trace.text import Text

BLOCK_BYTES = 2 << 20  # of text, read at once
MAXIMUM_EVENT_BYTES = 64 << 20  # of one event; a longer one is damage or an attack
_WANTS_MORE, _LIST_ENDED, _STUCK = range(3)  # what feed() says, as in _scan.c

RUN_TRACE = "trace.json.gz"  # in a run folder


def read_trace(path: Path, *, cache: bool = True) -> Trace:
    """Read one trace: ``.json`` or gzip (told by content), or a folder (see :func:`trace_files`), of which the first.

    With ``cache`` the columns of a large trace are kept beside it, keyed by its content, and read from there next time.

    Raises
    ------
    InputError
        There is no such file, or a folder holds no trace.
    FileFormatError
        The file is no Chrome trace, or is damaged before its first event; the message names the place.
    """
    from tokprof.profiler.trace.cache import load_cached, save_cached

    file = trace_files(path)[0]
    if cache and (known := load_cached(file)) is not None:
        return known
    with Text(file, BLOCK_BYTES) as text:
        events = Events(visible(file))
        _read_document(text, events)
        text.drain()
        if text.broken and not any(note.code == "trace-truncated" for note in events.notes):
            _note_break(text, events)
        events.repaired.update(text.repaired)
        trace = events.build(text.digest())
    if cache:
        save_cached(trace, file)
    return trace


def trace_files(path: Path) -> tuple[Path, ...]:
    """Return the traces at ``path``: the file itself, those of a run folder's processes, or one per rank of a folder.

    Ranks come in the order of their numbers, other files in that of their names.
    """
    if not path.is_dir():
        if not path.exists():
            raise no_such(path, "file or folder")
        return (path,)
    inside = [path / RUN_TRACE, *sorted(path.glob(f"process-*/{RUN_TRACE}"))]
    found = [file for file in inside if file.is_file()]
    if not found:
        ranks = [file for file in path.iterdir() if file.name.endswith((".json", ".json.gz")) and file.is_file()]
        found = sorted((file for file in ranks if looks_like_trace(file)), key=_rank_order)
    if not found:
        below = sorted(file.parent.name for file in path.glob(f"*/{RUN_TRACE}"))
        words = f"neither {RUN_TRACE} of a run nor .json or .json.gz files of ranks"
        if below:
            words = f"give one of the runs in it: {', '.join(below)}"
        raise InputError(f"{path}: no trace here; {words}")
    return tuple(found)


def looks_like_trace(path: Path) -> bool:
    """Say whether a file begins as a trace does, and if it is a short object, whether it has the key of the events.

    What begins so may still be something else; a gzip file that is damaged is left to the reader, which says where.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            text: bytes = stream.read(_LOOK_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, EOFError, zlib.error):
        return True
    return text.startswith(b"[") or (
        text.startswith(b"{") and (len(text) > _LOOK_BYTES // 2 or b'"traceEvents"' in text)
    )


_LOOK_BYTES = 1 << 20


def _rank_order(path: Path) -> tuple[list[int], str]:
    named = re.search(r"rank[-_]?(\d+)", path.name, re.IGNORECASE)
    numbers = [named[1]] if named else re.findall(r"\d+", path.name)
    return [int(number) for number in numbers], path.name


# ---------------------------------------------------------------------------------------------------------- document


def _read_document(text: Text, events: Events) -> None:
    """Walk the top level: the event array wherever it stands, other keys kept as they are."""
    text.more()
    if text.buffer.startswith(b"\xef\xbb\xbf", text.at, text.stop):
        text.at += 3
        events.repaired["byte-order mark left out"] += 1
    first = _sign(text)
    scanner = new_scanner(events, text)
    if first == b"[":
        text.at += 1
        whole = _read_events(text, events, scanner)
    elif first == b"{":
        text.at += 1
        whole = _read_members(text, events, scanner)
    else:
        start = bytes(text.buffer[text.at : min(text.at + 12, text.stop)])
        what = f"it begins with {start!r}" if start else text.broken or "it is empty"
        raise FileFormatError(
            f"{text.name}: byte {text.offset:,}: no Chrome trace: {what}; a trace is JSON, plain or gzip"
        )
    _settle(scanner, events)
    if not whole:
        _note_break(text, events)
    elif _sign(text):
        events.notes.append(
            Note(
                code="trace-second-document",
                message=f"{text.name}: something more begins at byte {text.offset:,}, after the trace; it was not read",
                advice="split the file if it is a second trace",
            )
        )


def _read_members(text: Text, events: Events, scanner: Any) -> bool:
    """Read the members of the top-level object; return whether it ended."""
    lists = 0
    after_value = False
    while (sign := _sign(text)) != b"}":
        if sign == b",":
            text.at += 1
            after_value = False
            continue
        if after_value and sign == b'"':
            events.repaired["missing comma between keys put in"] += 1
        after_value = True
        key = _read_key(text)
        if key is None or _sign(text) != b":":
            if text.ended and bytes(text.buffer[text.at : min(text.at + 1, text.stop)]) in (b"", b'"'):
                break  # inside a key, or right behind it
            if not lists:
                raise FileFormatError(
                    f"{text.name}: byte {text.offset:,}: not JSON: a key with its colon was expected; "
                    "export the trace again, or cut the file down to its event list"
                )
            events.notes.append(
                Note(
                    code="trace-tail",
                    message=f"{text.name}: byte {text.offset:,}: what follows the event list is no JSON; left unread",
                    advice="the events are whole; device names or ranks may be missing",
                )
            )
            text.drain()
            return True
        text.at += 1
        sign = _sign(text)
        if key == "traceEvents" and sign == b"[":
            text.at += 1
            lists += 1
            if lists == 2:
                events.repaired["a second event list read, too"] += 1
            if not _read_events(text, events, scanner):
                return False
        elif not _read_property(key, text, events):
            break
    else:
        text.at += 1
        if lists:
            return True
        raise _no_events(text, "the key 'traceEvents' with a list is missing")
    if lists:
        return False
    raise _no_events(text, text.broken or "the text ends inside the document")


def _no_events(text: Text, why: str) -> FileFormatError:
    return FileFormatError(
        f"{text.name}: byte {text.offset:,}: no Chrome trace: {why}; export it again, e.g. by export_chrome_trace()"
    )


_KEY = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _read_key(text: Text) -> str | None:
    """Read a string; ``None`` where none stands, or where the text ends inside it."""
    while (found := _KEY.match(text.buffer, text.at, text.stop)) is None:
        if text.buffer[text.at : text.at + 1] != b'"' or text.stop - text.at > MAXIMUM_EVENT_BYTES or not text.more():
            return None
    text.at = found.end()
    key = _leniently(found.group())
    return key if isinstance(key, str) else None


def _read_property(key: str, text: Text, events: Events) -> bool:
    """Keep a value of the top level, or note why not; return False where the text ends inside it."""
    while (end := _element_end(text.buffer, text.at, text.stop)) is None:
        if text.stop - text.at > MAXIMUM_EVENT_BYTES:
            raise FileFormatError(
                f"{text.name}: byte {text.offset:,}: key {key[:40]!r}: its value is longer than 64 MiB; cut it out"
            )
        if not text.more():
            text.at = text.stop
            return False
    value = _leniently(bytes(text.buffer[text.at : end]))
    if value is _NO_JSON:
        events.notes.append(
            Note(
                code="trace-property",
                message=f"{text.name}: byte {text.offset:,}: key {key[:40]!r}: its value is no JSON, and was left out",
            )
        )
    else:
        events.properties[key] = value
    text.at = end
    return True


def _sign(text: Text) -> bytes:
    """Move to the next sign that is no white space and return it; empty at the end."""
    while True:
        text.at = _SPACE.match(text.buffer, text.at, text.stop).end()  # type: ignore[union-attr]
        if text.at < text.stop:
            return bytes(text.buffer[text.at : text.at + 1])
        if not text.more():
            return b""


_SPACE = re.compile(rb"[ \t\r\n]*")


def _note_break(text: Text, events: Events) -> None:
    """Note where the file breaks off; refuse it if nothing came before."""
    why = text.broken or "the text ends inside the event list"
    kept = events.total - sum(events.rejected.values())
    whole = "" if text.garbled else "whole "
    if kept == 0:
        raise FileFormatError(
            f"{text.name}: byte {text.offset:,}: {why}, before the first whole event; "
            "nothing can be saved from it, so record the trace again"
        )
    events.notes.append(
        Note(
            code="trace-truncated",
            message=f"{text.name}: {why} at byte {text.offset:,} of its text; "
            f"the {kept:,} {whole}events before it were kept",
            advice="what was kept may be wrong: copy or export the file again"
            if text.garbled
            else "the end of the work is missing: totals are lower bounds",
        )
    )


# ------------------------------------------------------------------------------------------------------------ events


def _read_events(text: Text, events: Events, scanner: Any) -> bool:
    """Read the elements of the event list; return whether it ended."""
    scanner.restart()
    resynchroniser = scanner.resynchroniser if isinstance(scanner, _PythonScanner) else _Resynchroniser(text)
    while True:
        if text.stop - text.at < BLOCK_BYTES:
            text.more()
        text.at, state, others = scanner.feed(text.buffer, text.at, text.stop)
        for start, stop in others:
            if not _add_odd(bytes(text.buffer[start:stop]), events):
                events.leave_out("not JSON")
        if state == _LIST_ENDED:
            # In damaged text a bracket of an event's own list may stand there as if it ended the events.
            on = _SURE_BEGINNING.search(text.buffer, text.at, text.stop) if events.rejected["not JSON"] else None
            if on is None:
                return True
            text.at = on.start()
            events.repaired["events read on behind a stray ]"] += 1
            scanner.restart()
            continue
        if state == _STUCK or (text.ended and text.at < text.stop):
            if not resynchroniser.read_odd(events):
                return False
            scanner.skipped()
        elif text.ended:
            return False
        elif not text.more():
            continue
        elif text.stop - text.at > MAXIMUM_EVENT_BYTES:
            raise FileFormatError(
                f"{text.name}: byte {text.offset:,}: one event is longer than 64 MiB; cut it out to read the others"
            )


_EVENT = msgspec.json.Decoder(Event)
_EVENTS = msgspec.json.Decoder(list[Event])
_RESUME = re.compile(rb'(?<=[},])[\s\0]*(\{\s*"(?:ph|name|cat|pid|tid|ts|dur|id|args|s|bp)"\s*:)')
_SURE_BEGINNING = re.compile(rb'\{\s*"ph"\s*:\s*"')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[{}\[\],]', re.DOTALL)


class _Resynchroniser:
    """Goes on behind what is no JSON, in time linear in the text however much of it is damaged.

    An element may reach over what looks like the next event's beginning, if such objects lie inside it. To tell, its
    brackets are followed as far as the window reaches; where it does not end, that look was in vain. Vain looks are
    paid from an allowance, which reading on refills; without it, an element is taken to end at the next beginning.
    """

    def __init__(self, text: Text) -> None:
        self._text = text
        self._beginning = -1  # of an event, the last one found; offsets are those of the text
        self._searched = 0  # no other begins before it, from the last search on
        self._allowance = LOOK_BYTES
        self._refilled = 0  # up to where

    def beginning(self, at: int) -> int | None:
        """Return where in the window the next event begins behind ``at``; ``None`` if nowhere."""
        text = self._text
        base = text.offset - text.at
        if self._beginning > base + at:
            return self._beginning - base
        start = min(max(at + 1, self._searched - base), text.stop)
        found = _RESUME.search(text.buffer, start, text.stop)
        if found is None:
            # What the window cuts off may still be one.
            self._searched = max(base + at + 1, base + text.stop - _BEGINNING_BYTES)
            return None
        self._beginning = self._searched = base + found.start(1)
        return found.start(1)

    def read_odd(self, events: Events) -> bool:
        """Read the element at which the scanner is stuck, or leave it out; return whether reading goes on behind it."""
        text = self._text
        self._allowance = min(LOOK_BYTES, self._allowance + text.offset - self._refilled)
        self._refilled = text.offset
        grown = 0
        while True:
            next_one = self.beginning(text.at)
            looks = next_one is None or self._allowance > 0
            end = _element_end(text.buffer, text.at, text.stop if looks or next_one is None else next_one)
            if end == text.at:  # a sign that begins nothing
                end += 1
            if end is not None and _add_odd(bytes(text.buffer[text.at : end]), events):
                text.at = end
                return True
            if next_one is not None and looks:
                self._allowance -= max(0, (text.stop if end is None else end) - next_one)
            if end is not None and (next_one is None or next_one >= end):
                text.at = end
            elif next_one is not None and (end is not None or not looks or grown >= 2 or text.ended):
                text.at = next_one
            elif text.stop - text.at <= MAXIMUM_EVENT_BYTES and not text.ended:
                text.more()  # which moves the window, so all is looked for again
                grown += 1
                continue
            elif next_one is not None:
                text.at = next_one
            else:
                events.leave_out("cut off")
                return False
            events.leave_out("not JSON")
            return True


LOOK_BYTES = 8 << 20  # of text, the allowance for looks in vain
_BEGINNING_BYTES = 256  # more than an event's first key takes


def _add_odd(raw: bytes, events: Events) -> bool:
    """Add an element, strictly JSON or to be mended; return False where it cannot be."""
    try:
        found = _EVENT.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _add_leniently(raw, events)
    events.add([found])
    return True


def _element_end(buffer: bytearray, start: int, stop: int) -> int | None:
    """Return where the element that begins at ``start`` ends, by its brackets; ``None`` if not before ``stop``."""
    depth = 0
    for token in _TOKEN.finditer(buffer, start, stop):
        sign = token.group()[:1]
        if sign == b'"':
            continue
        depth += (sign in b"{[") - (sign in b"}]")
        if depth < 0 or (depth == 0 and sign == b","):
            return token.start()
        if depth == 0:
            return token.end()
    return None


_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_LENIENT = json.JSONDecoder(parse_float=Decimal, parse_constant=Decimal, strict=False)
_NO_JSON = object()


def _leniently(raw: bytes) -> Any:
    """Decode one value as leniently as can be without guessing; ``_NO_JSON`` where that does not help."""
    try:
        return _LENIENT.decode(raw.decode("utf-8", "replace").strip(" \t\r\n"))
    except (ValueError, RecursionError):
        return _NO_JSON


def _add_leniently(raw: bytes, events: Events) -> bool:
    """Add an element that is not strictly JSON, mended, and count how; return False where it cannot be mended."""
    value = _leniently(raw)
    if value is _NO_JSON:
        mended = _TRAILING_COMMA.sub(lambda found: found[1] or "", raw.decode("utf-8", "replace"))
        value = _leniently(mended.encode("utf-8"))
        if value is _NO_JSON:
            return False
        events.repaired["trailing comma left out"] += 1
    try:
        raw.decode()
    except UnicodeDecodeError:
        if not (isinstance(value, dict) and value.get("ph") in FLOW_PHASES):  # of which only the number is kept
            events.repaired["invalid UTF-8 replaced"] += 1
    if _CONTROL.search(raw) and _strictly_not(raw):
        events.repaired["control sign in a string kept"] += 1
    events.add_value(value)
    return True


_CONTROL = re.compile(rb"[\x00-\x1f]")


def _strictly_not(raw: bytes) -> bool:
    try:
        json.loads(raw.decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        return "control character" in str(error)
    except (ValueError, RecursionError):
        pass
    return False


# ----------------------------------------------------------------------------------------------------------- scanners


def new_scanner(events: Events, text: Text) -> Any:
    """Return the native scanner, or the one in Python where that is missing."""
    native = scanner_module()
    if native is not None:
        return native.Scanner([word.encode() for word in DEVICE_CATEGORIES])
    return _PythonScanner(events, text)


def _settle(scanner: Any, events: Events) -> None:
    """Take over what a scanner collected and mended."""
    _, _, missing, stray = scanner.counts
    for reason, count in (("missing comma put in", missing), ("trailing or doubled comma left out", stray)):
        if count:
            events.repaired[reason] += count
    if not isinstance(scanner, _PythonScanner):
        events.take_bulk(scanner)


class _PythonScanner:
    """Does what the native scanner does, and hands every event on at once instead of collecting it."""

    def __init__(self, events: Events, text: Text) -> None:
        self.resynchroniser = _Resynchroniser(text)
        self._events = events
        self._reach = MAXIMUM_EVENT_BYTES  # of text that is decoded at once: less where some of it proved to be no JSON
        self._missing = self._stray = 0
        self.restart()

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return 0, 0, self._missing, self._stray

    def restart(self) -> None:
        self._started = self._after_comma = False

    def skipped(self) -> None:
        self._missing += self._started and not self._after_comma
        self._started, self._after_comma = True, False

    def feed(self, buffer: bytearray, first: int, stop: int) -> tuple[int, int, list[tuple[int, int]]]:
        at = first
        while True:
            at = _SPACE.match(buffer, at, stop).end()  # type: ignore[union-attr]
            sign = buffer[at : at + 1] if at < stop else b""
            if not sign:
                return at, _WANTS_MORE, []
            if sign == b"]":
                self._stray += self._after_comma
                return at + 1, _LIST_ENDED, []
            if sign == b",":
                self._stray += self._after_comma or not self._started
                self._started = self._after_comma = True
                at += 1
                continue
            if sign != b"{":
                return at, _STUCK, []
            cut = _last_boundary(buffer, at, min(stop, at + self._reach))
            if cut > at and self._takes(b"[" + buffer[at:cut] + b"]"):
                self._reach = min(2 * self._reach, MAXIMUM_EVENT_BYTES)
            elif cut > at and self._reach > LEAST_REACH_BYTES:
                self._reach = max(min(self._reach, cut - at) // 2, LEAST_REACH_BYTES)
                continue
            else:
                if self.resynchroniser.beginning(at) is not None:
                    return at, _STUCK, []
                end = _element_end(buffer, at, stop)
                if end is None:
                    return at, _WANTS_MORE, []
                cut = end
                if not self._takes(b"[" + buffer[at:end] + b"]"):
                    return at, _STUCK, []
            self.skipped()
            at = cut

    def _takes(self, block: bytes) -> bool:
        """Hand a list of events on, at once if all are ordinary; return False where it is not JSON."""
        for decode, add in ((BLOCK.decode, self._events.add_block), (_EVENTS.decode, self._events.add)):
            try:
                events = decode(block)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            add(events)
            return True
        return False


LEAST_REACH_BYTES = 4 << 10
_BOUNDARY = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)")


def _last_boundary(buffer: bytearray, first: int, stop: int) -> int:
    """Return the end of the last event that another follows, or ``first``."""
    at = stop
    while (at := buffer.rfind(b"}", first, at)) >= 0:
        if _BOUNDARY.match(buffer, at, stop):
            return at + 1
    return first
