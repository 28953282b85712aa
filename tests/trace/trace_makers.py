"""Chrome traces written in every layout, and a slow, plain reading of them to compare the reader with.

The reading here is written from the format's description, on :mod:`json` and :mod:`decimal` alone. It shares nothing
with the reader but the names of :class:`EventKind`.
"""

import importlib.util
import json
import re
from collections import Counter
from decimal import ROUND_HALF_EVEN, Context, Decimal

from tokprof.profiler.record import EventKind
from tokprof.profiler.trace import reader

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
KINDS = {
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
NATIVE = importlib.util.find_spec("tokprof.profiler.trace._scan") is not None
SCANNERS = ("native", "python") if NATIVE else ("python",)
LAYOUTS = ("one line", "native", "indent 2", "array", "one event a line", "CRLF")


class Verbatim(str):
    """Text that stands in the file as it is: a number with all its digits, or damage."""

    __slots__ = ()


def written(value, indent=None, depth=0):
    """Return the JSON text of a value; :class:`Verbatim` keeps its text."""
    if isinstance(value, Verbatim):
        return str(value)
    if isinstance(value, dict | list) and value:
        gap = "\n" + " " * indent * (depth + 1) if indent else ""
        end = "\n" + " " * indent * depth if indent else ""
        pairs = isinstance(value, dict)
        parts = [
            (json.dumps(item) + ": " + written(value[item], indent, depth + 1))
            if pairs
            else written(item, indent, depth + 1)
            for item in value
        ]
        inside = ("," if indent else ", ").join(gap + part for part in parts)
        return f"{{{inside}{end}}}" if pairs else f"[{inside}{end}]"
    return json.dumps(value)


def native(event):
    """Return an event as Kineto itself writes it: three lines and one per argument."""
    if not isinstance(event, dict):
        return "  " + written(event)
    head = {key: value for key, value in event.items() if key not in ("ts", "dur", "args")}
    lines = [", ".join(f"{json.dumps(key)}: {written(value)}" for key, value in head.items())]
    times = [f'"{key}": {written(event[key])}' for key in ("ts", "dur") if key in event]
    if times:
        lines.append(", ".join(times))
    if "args" in event:
        args = event["args"]
        if isinstance(args, dict):
            inside = ", ".join(f"\n      {json.dumps(key)}: {written(value)}" for key, value in args.items())
            lines.append(f'"args": {{{inside}\n    }}')
        else:
            lines.append(f'"args": {written(args)}')
    return "  {\n    " + ",\n    ".join(line for line in lines if line) + "\n  }"


def document(events, layout="one line", before=None, after=None):
    """Return the bytes of a trace with these events in a layout, with other keys before and after the list."""
    before, after = before or {}, after or {}
    if layout == "array":
        content = written(events)
    elif layout == "indent 2":
        content = written({**before, "traceEvents": events, **after}, indent=2) + "\n"
    elif layout in ("native", "CRLF"):
        keys = "".join(f"  {json.dumps(key)}: {written(value)},\n" for key, value in before.items())
        tail = "".join(f",\n  {json.dumps(key)}: {written(value)}" for key, value in after.items())
        listed = ",\n".join(map(native, events))
        content = f'\n{{\n{keys}  "traceEvents": [\n{listed}\n  ]{tail}\n}}\n'
        if layout == "CRLF":
            content = content.replace("\n", "\r\n")
    elif layout == "one event a line":
        keys = "".join(f"{json.dumps(key)}: {written(value)},\n" for key, value in before.items())
        tail = "".join(f",\n{json.dumps(key)}: {written(value)}" for key, value in after.items())
        listed = ",\n".join(map(written, events))
        content = f'{{{keys}"traceEvents": [\n{listed}\n]{tail}}}'
    else:
        content = written({**before, "traceEvents": events, **after})
    return content.encode("utf-8", "surrogatepass")


def use_scanner(name, patch):
    """Let the reader use its native scanner or the one in Python."""
    if name == "python":
        patch.setenv("TOKPROF_PURE_PYTHON", "1")
    else:
        patch.delenv("TOKPROF_PURE_PYTHON", raising=False)


def small_blocks(patch, block_bytes):
    """Let the reader take the file in blocks of another length."""
    patch.setattr(reader, "BLOCK_BYTES", block_bytes)


# ----------------------------------------------------------------------------------------------------- slow reading


def whole_ns(value):
    """Return a JSON number of microseconds in whole nanoseconds, half to even; ``None`` if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or (abs(value) >= Decimal(10) ** 20):
        return None
    return int(EXACT.quantize(EXACT.multiply(Decimal(value), 1000), Decimal(1)))


def identifier(value):
    """Return an identifier of an event's arguments, -1 where there is none."""
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"-?\d{1,18}", value.strip()) else -1
    if isinstance(value, Decimal):  # written with a point or an exponent: a double, in which 1e-400 is 0
        value = int(float(value)) if float(value).is_integer() else -1
    return value if type(value) is int and abs(value) < 2**63 else -1


def name_of(event):
    """Return an event's name; a number there is its text."""
    name = event.get("name")
    return "" if name is None else str(float(name) if isinstance(name, Decimal) else name)


def kind_of(event):
    category = event.get("cat")
    kind = KINDS.get(category.lower(), EventKind.OTHER) if isinstance(category, str) else EventKind.OTHER
    collective = r"(?i)^(nccl|rccl)(dev)?kernel|all_?reduce.*(kernel|cross_device)|cross_device_reduce"
    if kind == EventKind.KERNEL and re.search(collective, name_of(event)):
        return EventKind.COLLECTIVE
    return kind


def is_device(kind):
    return kind <= EventKind.DEVICE_ANNOTATION


def place_of(event):
    """Return the labels of an event's process and thread."""
    labels = (event.get("pid"), event.get("tid"))
    return tuple(str(float(label) if isinstance(label, Decimal) else label) for label in labels)


def shape_of(args):
    """Return the shape of an operator's inputs in compact JSON, "" where its arguments do not tell it all."""
    sizes, strides, types = (args.get(key) for key in ("Input Dims", "Input Strides", "Input type"))

    def sound(one):
        return type(one) is int and 0 <= one < 2**63

    def listed(parts):
        return isinstance(parts, list) and all(
            isinstance(part, list)
            and all(sound(one) or (isinstance(one, list) and all(map(sound, one))) for one in part)
            for part in parts
        )

    if not (listed(sizes) and listed(strides) and isinstance(types, list) and all(isinstance(t, str) for t in types)):
        return ""
    text = json.dumps([sizes, strides, types], separators=(",", ":"), ensure_ascii=False)
    unsound = "\ufffd" in text or any("\ud800" <= sign <= "\udfff" for sign in text)
    return "" if unsound or len(text.encode()) > 4096 else json.dumps(json.loads(text))


def slice_row(event, duration_ns):
    """Return kind, name, thread, start, duration, correlation, external, stream, shape of a slice with sound times."""
    args = event.get("args")
    args = args if isinstance(args, dict) else {}
    kind = kind_of(event)
    external = args.get("External id", args.get("external id"))
    stream = identifier(args.get("stream")) if is_device(kind) else None
    thread = place_of(event)
    name = name_of(event)
    times = (whole_ns(event["ts"]), duration_ns)
    shape = None if is_device(kind) else shape_of(args)
    return (int(kind), name, thread, *times, identifier(args.get("correlation")), identifier(external), stream, shape)


def parsed(content):
    """Return the event list of a valid document and its other keys; numbers are whole or Decimal.

    Control signs inside strings are let pass, as the reader does: they change nothing that counts.
    """
    value = json.loads(content.decode("utf-8-sig", "replace"), parse_float=Decimal, strict=False)
    if isinstance(value, list):
        return value, {}
    return value["traceEvents"], {key: inner for key, inner in value.items() if key != "traceEvents"}


def expected(events):
    """Return the slices of sound events as a Counter of rows, and how many objects each phase and pairing took."""
    rows, counts, open_slices = Counter(), Counter(), {}
    for event in events:
        phase = event["ph"]
        thread = place_of(event)
        if phase == "X":
            rows[slice_row(event, whole_ns(event["dur"]))] += 1
        elif phase == "B":
            open_slices.setdefault(thread, []).append(event)
        elif phase == "E":
            begin = open_slices[thread].pop()
            rows[slice_row(begin, whole_ns(event["ts"]) - whole_ns(begin["ts"]))] += 1
            counts["pairs"] += 1
        else:
            counts[{"i": "instants", "I": "instants", "C": "counters", "M": "metadata"}.get(phase, "flows")] += 1
    counts["slices"] = sum(rows.values())
    return rows, counts


def rows_of(trace):
    """Return the slices that the reader found, as :func:`expected` does."""
    rows = Counter()
    for table in (trace.host, trace.device):
        on_device = table is trace.device
        threads = [(trace.threads[t].process, trace.threads[t].thread) for t in table.thread.tolist()]
        rows.update(
            zip(
                table.kind.tolist(),
                (table.names[n] for n in table.name.tolist()),
                threads,
                table.start_ns.tolist(),
                table.duration_ns.tolist(),
                table.correlation.tolist(),
                table.external.tolist(),
                table.stream.tolist() if on_device else [None] * len(table),
                [None] * len(table) if on_device else shapes_of(table),
                strict=True,
            )
        )
    return rows


def shapes_of(host):
    """Return the shape of each of the host's events, as :func:`shape_of` does."""
    codes = [-1] * len(host) if host.shape is None else host.shape.tolist()
    return [json.dumps(json.loads(host.shapes[code])) if code >= 0 else "" for code in codes]


def accounted(counts, pairs=None):
    """Assert the identity of the counts: every element of the event list has become something, or says why not.

    total = slices + pairs + instants + counters + flows + metadata + rejected, where ``pairs`` are the begin/end pairs
    among the slices (two elements gave one slice).
    """
    kept = counts.slices + counts.pairs + counts.instants + counts.counters + counts.flows + counts.metadata
    assert counts.total == kept + sum(n for _, n in counts.rejected), counts
    assert pairs is None or counts.pairs == pairs
    assert counts.linked + counts.unlinked == counts.device_events


# ------------------------------------------------------------------------------------------ small traces of good events


def V(text):  # noqa: N802 - short, for it stands in every table below
    return Verbatim(text)


def kernel(start, duration, number, *, name="gemm", stream=7, **other):
    args = {"device": 0, "stream": stream, "correlation": number, **other}
    return {
        "ph": "X",
        "cat": "kernel",
        "name": name,
        "pid": 0,
        "tid": stream,
        "ts": start,
        "dur": duration,
        "args": args,
    }


def launch(start, duration, number, *, name="cudaLaunchKernel", thread=11, category="cuda_runtime"):
    place = {"pid": 10, "tid": thread, "ts": start, "dur": duration}
    return {"ph": "X", "cat": category, "name": name, **place, "args": {"correlation": number}}


def operator(start, duration, external, *, name="aten::mm", thread=11, category="cpu_op", shape=None):
    place = {"pid": 10, "tid": thread, "ts": start, "dur": duration}
    told = dict(zip(("Input Dims", "Input Strides", "Input type"), shape or (), strict=False))
    return {"ph": "X", "cat": category, "name": name, **place, "args": {"External id": external, **told}}


MM = [[[4, 8], [8, 2]], [[8, 1], [2, 1]], ["float", "float"]]


SMALL = [
    {"ph": "M", "name": "process_name", "pid": 10, "tid": 0, "ts": 1, "args": {"name": "python"}},
    {"ph": "M", "name": "thread_name", "pid": 10, "tid": 11, "ts": 1, "args": {"name": "main"}},
    operator(V("10.001"), V("9.5"), 3, shape=MM),
    launch(11, 2, 5),
    {"ph": "s", "cat": "ac2g", "name": "ac2g", "pid": 10, "tid": 11, "ts": 11, "id": 5},
    {"ph": "f", "cat": "ac2g", "name": "ac2g", "pid": 0, "tid": 7, "ts": V("20.123"), "id": 5, "bp": "e"},
    kernel(V("20.123"), 10, 5, name="void k<float, \"q\">(int, 'x') \\ {[ü\u2028\U0001f600]}"),
    kernel(V("31.5"), V("0.777"), 6, name="memcpy HtoD") | {"cat": "gpu_memcpy"},
    {"ph": "i", "s": "t", "name": "mark", "pid": 10, "tid": 11, "ts": 12},
    {"ph": "C", "name": "power", "pid": 0, "tid": 0, "ts": 13, "args": {"W": V("300.5")}},
]
SMALL_PARSED = parsed(document(SMALL))[0]


def small_is_whole(trace, properties=None):
    rows, counts = expected(SMALL_PARSED)
    assert rows_of(trace) == rows
    for what in ("slices", "instants", "counters", "flows", "metadata"):
        assert getattr(trace.counts, what) == counts[what], what
    assert trace.device.duration_ns.tolist() == [10_000, 777]
    assert trace.counts.linked == 1
    assert trace.counts.unlinked == 1
    assert {(t.process_name, t.thread_name) for t in trace.threads if t.thread == "11"} == {("python", "main")}
    accounted(trace.counts)
    if properties is not None:
        assert {key: json.loads(value) for key, value in trace.properties} == properties


GOOD = [kernel(1, 1, 1), kernel(3, V("2.5"), 2), kernel(7, V("0.125"), 3)]  # 3,625 ns


def with_event(event):
    """Return a trace whose third of four elements is this one."""
    return document([*GOOD[:2], event, GOOD[2]], "one event a line")


# ------------------------------------------------------------------------------------------------------ what is said


def said(trace):
    """Return everything that the trace says about mended and lost events, in one text."""
    mended = [reason for reason, _ in (*trace.counts.repaired, *trace.counts.rejected)]
    return "\n".join([*(note.message for note in trace.notes), *mended])


def refused(error, path):
    """Assert that an error is one clear line with the file in it."""
    message = str(error)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < 400 + len(str(path))
    assert message.isprintable()
    assert re.search(r"byte \d", message)
    assert "; " in message  # then comes the way out
