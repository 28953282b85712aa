"""Any Chrome trace is read exactly or refused in one line: real traces, every layout, every kind of event, damage."""

import gzip
import io
import itertools
import json
import pickle
import re
import sys
import tracemalloc
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.errors import FileFormatError, InputError, TokprofError
from tokprof.profiler.record import EventKind
from tokprof.profiler.trace import events as events_of
from tokprof.profiler.trace.reader import read_trace

sys.path.insert(0, str(Path(__file__).parent))
from trace_makers import (
    LAYOUTS,
    SCANNERS,
    Verbatim,
    accounted,
    document,
    expected,
    is_device,
    kind_of,
    parsed,
    rows_of,
    small_blocks,
    use_scanner,
    whole_ns,
    written,
)

QUICK = (
    "a100_multi_stream",
    "h100_qwen1.5-0.5b_prefill",
    "mi300x_sglang_qwen3-8b_decode",
    "mi300x_vllm_decode_fullgraph",
)
LARGE = (
    "a100_segment_anything",
    "a100_training_control",
    "a100_training_rank0",
    "b200_vllm_eager_prefill",
    "mi300x_qwen1.5-0.5b_prefill",
    "mi300x_sglang_qwen3-8b_mixed",
    "rtx2080ti_linear",
    "v100_resnet50",
    "v100_training_test",
)


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


def operator(start, duration, external, *, name="aten::mm", thread=11, category="cpu_op"):
    place = {"pid": 10, "tid": thread, "ts": start, "dur": duration}
    return {"ph": "X", "cat": category, "name": name, **place, "args": {"External id": external}}


@pytest.fixture(params=SCANNERS, autouse=True, scope="module")
def scanner(request):
    """Read by the native scanner, then by the one in Python."""
    with pytest.MonkeyPatch.context() as patch:
        use_scanner(request.param, patch)
        yield request.param


@pytest.fixture
def read(tmp_path):
    """Return a function that writes bytes to a file and reads them as a trace."""

    def read(content, name="t.json"):
        path = tmp_path / name
        path.write_bytes(content)
        return read_trace(path, cache=False)

    return read


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


# ------------------------------------------------------------------------------------------------------- real traces


@pytest.fixture(scope="module", params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def parsed_trace(request, real_traces):
    path = real_traces / f"{request.param}.json.gz"
    return path, *parsed(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module")
def real(scanner, parsed_trace):  # noqa: ARG001 - the scanner is chosen before
    path, events, properties = parsed_trace
    return read_trace(path, cache=False), events, dict(properties)


def test_every_slice_of_a_real_trace_has_its_eight_columns(real):
    trace, events, _ = real
    rows, counts = expected(events)
    assert rows_of(trace) == rows
    for what in ("slices", "instants", "counters", "flows", "metadata"):
        assert getattr(trace.counts, what) == counts[what], what
    assert trace.counts.total == len(events)
    assert trace.counts.rejected == ()
    assert trace.counts.repaired == ()
    assert trace.notes == ()
    accounted(trace.counts)


@pytest.mark.parametrize("name", ["h100_qwen1.5-0.5b_prefill", "mi300x_sglang_qwen3-8b_decode"])
def test_few_events_of_real_traces_are_taken_one_by_one(name, real_traces, scanner, monkeypatch):
    taken, add = [], events_of.Events.add
    monkeypatch.setattr(events_of.Events, "add", lambda self, events: (taken.extend(events), add(self, events)))
    trace = read_trace(real_traces / f"{name}.json.gz", cache=False)
    assert len(taken) < 0.05 * trace.counts.total, scanner


def test_device_time_is_the_sum_of_the_files_decimal_figures(real):
    trace, events, _ = real
    of_kinds = {kind: [] for kind in EventKind}
    for event in events:
        if event["ph"] == "X":
            of_kinds[kind_of(event)].append(event)
    for kind, of_kind in of_kinds.items():
        table = trace.device if is_device(kind) else trace.host
        chosen = table.kind == kind
        assert int(chosen.sum()) == len(of_kind)
        assert int(table.duration_ns[chosen].sum()) == sum(Decimal(e["dur"]) for e in of_kind) * 1000
        assert sum(map(int, table.start_ns[chosen])) == sum(Decimal(e["ts"]) for e in of_kind) * 1000
    work = trace.device.kind <= EventKind.COLLECTIVE
    assert trace.counts.device_events == int(work.sum())


def test_events_of_a_real_trace_are_in_the_order_of_start(real):
    trace, _, _ = real
    for table in (trace.host, trace.device, trace.instants):
        assert np.all(np.diff(table.start_ns) >= 0)


def test_properties_and_names_of_a_real_trace(real):
    trace, events, properties = real
    base = properties.pop("baseTimeNanoseconds", 0)
    assert trace.base_ns == base
    found = {key: json.loads(value, parse_float=Decimal) for key, value in trace.properties}
    assert found == properties
    for event in events:
        if event["ph"] == "M" and event["name"] == "process_name":
            for thread in trace.threads:
                if thread.process == str(event["pid"]):
                    assert thread.process_name == event["args"]["name"]
    places = {(t.process, t.thread) for t in trace.threads}
    assert {(str(e["pid"]), str(e["tid"])) for e in events if e["ph"] == "X"} <= places


def test_every_device_event_of_a_real_trace_finds_its_launch_and_operator(real):
    trace, events, _ = real
    runtime, by_external, operators = {}, {}, {}
    for event in events:
        if event["ph"] != "X":
            continue
        args, kind = event.get("args", {}), kind_of(event)
        span = (whole_ns(event["ts"]), whole_ns(event["dur"]))
        thread = (str(event["pid"]), str(event["tid"]))
        if kind == EventKind.RUNTIME and args.get("correlation", 0) > 0:
            runtime.setdefault(args["correlation"], set()).add((event["name"], thread, *span))
        if kind == EventKind.OPERATOR:
            operators.setdefault(thread, []).append((*span, event["name"]))
            external = args.get("External id", args.get("external id", -1))
            by_external.setdefault(external, set()).add((*span, event["name"]))
    spans = {
        thread: (np.array([s for s, _, _ in rows]), np.array([s + d for s, d, _ in rows]))
        for thread, rows in operators.items()
    }
    host, device = trace.host, trace.device
    step = max(1, len(device) // 400)
    linked = 0
    for row in range(0, len(device), step):
        correlation, calls = int(device.correlation[row]), set()
        if correlation > 0:  # 0 is CUPTI's word for none
            calls = runtime.get(correlation, set())
        call, outer = int(device.launch[row]), int(device.operator[row])
        assert (call >= 0) == bool(calls), row
        inner = by_external.get(int(device.external[row]), set()) if device.external[row] > 0 else set()
        if call >= 0:
            linked += 1
            place = trace.threads[host.thread[call]]
            thread = (place.process, place.thread)
            span = int(host.start_ns[call]), int(host.duration_ns[call])
            assert (host.names[host.name[call]], thread, *span) in calls
            starts, ends = spans.get(thread, (np.array([]), np.array([])))
            around = np.flatnonzero((starts <= span[0]) & (ends >= sum(span)))
            if len(around):
                shortest = (ends - starts)[around].min()
                inner = {operators[thread][i] for i in around if ends[i] - starts[i] == shortest}
        assert (outer >= 0) == bool(inner), row
        if outer >= 0:
            found = (int(host.start_ns[outer]), int(host.duration_ns[outer]), host.names[host.name[outer]])
            assert found in inner
    if trace.counts.linked:
        assert linked


@pytest.mark.parametrize(
    ("name", "least"), [("mi300x_vllm_decode_fullgraph", 400), ("mi300x_sglang_qwen3-8b_decode", 500)]
)
def test_graph_replays_of_real_traces_are_counted(real_traces, name, least):
    trace = read_trace(real_traces / f"{name}.json.gz", cache=False)
    assert least <= trace.counts.graph_launched <= trace.counts.device_events
    names = {trace.host.names[n] for n in trace.host.name[trace.device.launch[trace.device.launch >= 0]].tolist()}
    assert "hipGraphLaunch" in names


def test_overlapping_kernels_of_one_stream_are_all_kept_and_counted(real_traces):
    trace = read_trace(real_traces / "b200_vllm_eager_prefill.json.gz", cache=False)
    work = trace.device.select(trace.device.kind <= EventKind.COLLECTIVE)
    overlapped, reach = 0, {}
    for row in range(len(work)):  # a plain recount
        key = (int(work.device[row]), int(work.stream[row]))
        overlapped += int(work.start_ns[row]) < reach.get(key, -1)
        reach[key] = max(reach.get(key, -1), int(work.end_ns[row]))
    assert trace.counts.overlapped == overlapped > 0


def test_the_same_trace_in_another_layout_is_the_same(real_traces, read):
    path = real_traces / "mi300x_vllm_decode_fullgraph.json.gz"
    content = gzip.decompress(path.read_bytes())
    plain = json.loads(content, parse_float=lambda text: Verbatim(text))
    events = plain.pop("traceEvents")
    rows = rows_of(read_trace(path, cache=False))
    for layout in LAYOUTS:
        assert rows_of(read(document(events, layout, before=plain))) == rows, layout


# ----------------------------------------------------------------------------------------------------------- layouts

SMALL = [
    {"ph": "M", "name": "process_name", "pid": 10, "tid": 0, "ts": 1, "args": {"name": "python"}},
    {"ph": "M", "name": "thread_name", "pid": 10, "tid": 11, "ts": 1, "args": {"name": "main"}},
    operator(V("10.001"), V("9.5"), 3),
    launch(11, 2, 5),
    {"ph": "s", "cat": "ac2g", "name": "ac2g", "pid": 10, "tid": 11, "ts": 11, "id": 5},
    {"ph": "f", "cat": "ac2g", "name": "ac2g", "pid": 0, "tid": 7, "ts": V("20.123"), "id": 5, "bp": "e"},
    kernel(V("20.123"), 10, 5, name="void k<float, \"q\">(int, 'x') \\ {[ü\u2028\U0001f600]}"),
    kernel(V("31.5"), V("0.777"), 6, name="memcpy HtoD") | {"cat": "gpu_memcpy"},
    {"ph": "i", "s": "t", "name": "mark", "pid": 10, "tid": 11, "ts": 12},
    {"ph": "C", "name": "power", "pid": 0, "tid": 0, "ts": 13, "args": {"W": V("300.5")}},
]
BEFORE = {
    "schemaVersion": 1,
    "deviceProperties": [{"id": 0, "name": 'NVIDIA "H100" {[,', "warpSize": 32, "numSms": 132}],
    "baseTimeNanoseconds": 1_700_000_000_000_000_000,
    "note": 'a key called "traceEvents": [ inside a string',
}
AFTER = {"traceName": "/tmp/x.json", "displayTimeUnit": "ms", "empty": {}, "list": [], "nothing": None, "n": -1.5e3}


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


SMALL_PARSED = parsed(document(SMALL))[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("block", [1, 7, 64, 2 << 20])
def test_every_layout_and_block_size(layout, block, read, monkeypatch):
    small_blocks(monkeypatch, block)
    content = document(SMALL, layout, BEFORE, AFTER)
    trace = read(content)
    keys = {} if layout == "array" else {**BEFORE, **AFTER}
    base = keys.pop("baseTimeNanoseconds", 0)
    small_is_whole(trace, keys)
    assert trace.base_ns == base
    assert trace.notes == ()
    assert trace.counts.repaired == ()


@pytest.mark.parametrize("name", ["t.json", "t.json.gz", "t.pt.trace.json", "t", "t.txt", "t.gz"])
def test_gzip_is_told_by_content_not_by_name(name, read):
    content = document(SMALL, "native", BEFORE)
    small_is_whole(read(content, name))
    small_is_whole(read(gzip.compress(content), name))


def test_gzip_of_many_members(read):
    content = document(SMALL, "native", BEFORE)
    cuts = [0, 1, 100, 101, len(content) - 3, len(content)]
    members = b"".join(gzip.compress(content[a:b]) for a, b in itertools.pairwise(cuts))
    trace = read(members)
    small_is_whole(trace)
    assert trace.notes == ()
    small_is_whole(read(gzip.compress(content) + b"\0" * 512))  # padding after the last member, as tape and tar leave


def test_byte_order_mark_is_left_out_with_a_note(read):
    for content in (b"\xef\xbb\xbf" + document(SMALL), gzip.compress(b"\xef\xbb\xbf" + document(SMALL, "native"))):
        trace = read(content)
        small_is_whole(trace)
        assert "byte-order mark" in said(trace)


def test_white_space_anywhere(read):
    text = json.dumps({"traceEvents": json.loads(document(SMALL[2:4], "array"))}).replace("::", "_")
    loose = re.sub(r"([{}\[\],]|(?<=\"):)(?=[^a-zA-Z0-9])", "\\1 \t\r\n ", " \n\t" + text) + "\n\n"
    trace = read(loose.encode())
    assert trace.host.duration_ns.tolist() == [9500, 2000]
    assert trace.notes == ()


def test_escaped_keys_and_names_mean_what_they_say(read):
    text = rb'{"\u0074raceEvents": [{"\u0070h": "X", "cat": "\u006bernel", "n\u0061me": "\ud83d\ude00\n\"", '
    text += rb'"ts": 1, "d\u0075r": 2, "pid": 0, "tid": 7, "args": {"str\u0065am": 7, "corr\u0065lation": 4}}]}'
    trace = read(text)
    assert rows_of(trace) == Counter({(0, '\U0001f600\n"', ("0", "7"), 1000, 2000, 4, -1, 7): 1})


def test_a_quoted_word_in_a_value_is_no_key(read):
    """Keys that stand inside strings, nested arguments or before the true one are not taken for the event's own."""
    inside = {"dur": 99, "ts": 98, "name": "no", "correlation": {"correlation": 1}, "x": '"dur": 77', "stream": [7]}
    event = {
        "args": inside,
        "name": '"ts": 5, "dur": 6',
        "ph": "X",
        "cat": "kernel",
        "pid": 0,
        "tid": 1,
        "ts": 3,
        "dur": 4,
    }
    trace = read(document([event]))
    assert rows_of(trace) == Counter({(0, '"ts": 5, "dur": 6', ("0", "1"), 3000, 4000, -1, -1, -1): 1})


def test_a_run_folder_and_what_is_no_trace(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_trace(tmp_path / "absent.json", cache=False)
    with pytest.raises(InputError, match="no trace"):
        read_trace(tmp_path, cache=False)
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress(document(SMALL)))
    small_is_whole(read_trace(tmp_path, cache=False))


def test_a_digest_tells_files_apart(read):
    content = document(SMALL)
    assert read(content).digest == read(content, "other.json").digest
    assert read(content).digest != read(content.replace(b"9.5", b"9.6")).digest


# ------------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("figure", "ns"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("7", 7000),
        ("7.0", 7000),
        ("1.5", 1500),
        ("1.25", 1250),
        ("1.125", 1125),
        ("0.0005", 0),  # half to even
        ("0.0015", 2),
        ("0.0025", 2),
        ("0.00250000001", 3),
        ("0.0004999999", 0),
        ("1.2345", 1234),
        ("1.23456", 1235),
        ("1.234567", 1235),
        ("1.2345678", 1235),
        ("1.23456789", 1235),
        ("1.234567890", 1235),
        ("1.5e3", 1_500_000),
        ("1.5E+3", 1_500_000),
        ("15e-1", 1500),
        ("1e-3", 1),
        ("5e-4", 0),
        ("1e-400", 0),
        ("0.000000000000000000000000000000000000000000000000000000000000000001", 0),
        ("1700000000000000.123", 1_700_000_000_000_000_123),
        ("1700000000000000.1235", 1_700_000_000_000_000_124),
        ("1.700000000000000123e15", 1_700_000_000_000_000_123),
        ("1712867402332545", 1_712_867_402_332_545_000),
        ("2305843009213693.951", 2_305_843_009_213_693_951),  # the last instant: two of them stay within 64 bits
        ("2305843009213693.952", None),
        ("9007199254740993", None),
        ("9999999999999999", None),
        ("9999999999999999.999", None),
        ("18446744073709552", None),  # wraps to a small number in 64 bits
        ("18446744073709551616", None),
        ("18446744073709551.616", None),
        ("2000000000000000.999", 2_000_000_000_000_000_999),
    ],
)
@pytest.mark.parametrize("field", ["ts", "dur"])
def test_decimal_figures_are_exact(figure, ns, field, read):
    event = kernel(1, 1, 4) | {field: V(figure)}
    trace = read(document([kernel(3, 1, 9), event]))
    if ns is None:
        assert len(trace.device) == 1
        assert f"{ {'ts': 'start', 'dur': 'duration'}[field] } out of range" in said(trace)
    else:
        row = int(np.flatnonzero(trace.device.correlation == 4)[0])
        assert (trace.device.start_ns if field == "ts" else trace.device.duration_ns)[row] == ns
        assert trace.notes == ()
    accounted(trace.counts)


def test_a_negative_start_is_an_instant_before_the_base(read):
    trace = read(document([kernel(V("-12.345"), 1, 4)], before={"baseTimeNanoseconds": 20_000}))
    assert trace.device.start_ns.tolist() == [-12_345]
    assert trace.base_ns == 20_000


@pytest.mark.parametrize("base", ["null", '"17"', "17.5", "1" + "0" * 30, "true", "[]", "-5", "17e0"])
def test_an_odd_base_time_is_taken_exactly_or_said(base, read):
    trace = read(document([kernel(1, 1, 4)], before={"baseTimeNanoseconds": V(base)}))
    assert trace.device.start_ns.tolist() == [1000]
    exact = {'"17"': 17, "-5": -5, "17e0": 17, "null": 0}
    assert trace.base_ns == exact.get(base) or (trace.base_ns == 0 and "baseTimeNanoseconds" in said(trace))


# ---------------------------------------------------------------------------------------------------- kinds of event


def test_begin_and_end_pairs_nest_and_keep_to_their_threads(read):
    def edge(phase, name, start, thread, **args):
        return {"ph": phase, "cat": "cpu_op", "name": name, "pid": 1, "tid": thread, "ts": start, "args": args}

    events = [
        edge("B", "outer", V("1.5"), 1, **{"External id": 8}),
        edge("B", "inner", 2, 1),
        edge("B", "elsewhere", 2, 2),
        edge("E", "inner", V("3.25"), 1),
        edge("B", "inner", 4, 1),
        edge("E", "", 5, 1),
        edge("E", "outer", 9, 1),
        edge("E", "elsewhere", V("9.001"), 2),
        edge("E", "never begun", 10, 2),
        edge("B", "never ended", 11, 3),
    ]
    found = {(7, "outer", 1500, 7500, 8), (7, "inner", 2000, 1250, -1), (7, "inner", 4000, 1000, -1)}
    found.add((7, "elsewhere", 2000, 7001, -1))
    for listed in (events, events[::-1]):
        trace = read(document(listed))
        rows = {(k, n, s, d, e) for k, n, _, s, d, _, e, _ in rows_of(trace)}
        assert rows == found
        assert dict(trace.counts.rejected) == {"end without a begin": 1, "begin without an end": 1}
        accounted(trace.counts, pairs=4)
        assert trace.counts.total == 10


def test_an_outer_pair_stands_before_an_inner_one_of_the_same_times(read):
    names = [("B", "outer", 5), ("B", "inner", 5), ("E", "inner", 9), ("E", "outer", 9)]
    trace = read(document([{"ph": ph, "name": name, "pid": 1, "tid": 2, "ts": ts} for ph, name, ts in names]))
    assert [trace.host.names[code] for code in trace.host.name] == ["outer", "inner"]


def test_begin_and_end_events_are_kept_as_numbers(read):
    """Not as objects of several hundred bytes each."""
    place = {"cat": "cpu_op", "name": "op", "pid": 1, "tid": 2}
    events = [{"ph": "BE"[n % 2], "ts": n, **place} for n in range(60_000)]
    tracemalloc.start()
    try:
        trace = read(document(events))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert trace.counts.pairs == 30_000
    assert trace.host.duration_ns.tolist() == [1000] * 30_000
    assert peak < len(events) * 250 + (24 << 20)


def test_a_begin_end_pair_of_the_device_is_device_work(read):
    begin = kernel(5, 0, 4) | {"ph": "B"}
    del begin["dur"]
    trace = read(document([begin, {"ph": "E", "pid": 0, "tid": 7, "ts": V("6.5")}]))
    assert trace.device.duration_ns.tolist() == [1500]
    assert trace.device.stream.tolist() == [7]


def test_instants_counters_flows_and_metadata(read):
    where = {"pid": 1, "tid": 2}
    events = [
        {"ph": "i", "name": "a", "ts": V("1.5"), "s": "g", **where},
        {"ph": "I", "name": "b", "ts": 1, **where},
        {"ph": "C", "name": "memory", "ts": 3, "args": {"used": 5, "free": V("2.5"), "label": "text"}, **where},
        {"ph": "C", "name": "memory", "ts": 2, "args": {"used": V("1e3")}, **where},
        {"ph": "C", "name": "load", "ts": 2, "args": {"value": -1}, **where},
        {"ph": "s", "id": 1, "ts": 1, **where},
        {"ph": "t", "id": 1, "ts": 2, **where},
        {"ph": "f", "id": 1, "ts": 3, **where},
        {"ph": "M", "name": "process_labels", "args": {"labels": "GPU 0"}, **where},
        kernel(1, 1, 4),
    ]
    trace = read(document(events))
    instants = trace.instants
    assert [(instants.names[n], int(s)) for n, s in zip(instants.name, instants.start_ns, strict=True)] == [
        ("b", 1000),
        ("a", 1500),
    ]
    counters = trace.counters
    found = {
        (counters.names[n], int(t), float(v))
        for n, t, v in zip(counters.name, counters.time_ns, counters.value, strict=True)
    }
    assert found == {
        ("memory / used", 3000, 5.0),
        ("memory / free", 3000, 2.5),
        ("memory / used", 2000, 1000.0),
        ("load", 2000, -1.0),
    }
    counts = trace.counts
    assert (counts.instants, counts.counters, counts.flows, counts.metadata, counts.slices) == (2, 3, 3, 1, 1)
    accounted(counts)


def test_what_is_no_known_phase_is_counted_by_its_phase(read):
    events = [{"ph": phase, "name": "n", "pid": 1, "tid": 1, "ts": 1} for phase in ("b", "e", "N", "Q", 5, None)]
    trace = read(document([*events, {"name": "no phase at all", "ts": 1}, kernel(1, 1, 1)]))
    assert sum(n for _, n in trace.counts.rejected) == 7
    assert any("'b'" in reason for reason, _ in trace.counts.rejected)
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("category", "name", "kind"),
    [
        ("kernel", "gemm", EventKind.KERNEL),
        ("Kernel", "gemm", EventKind.KERNEL),
        (V(r'"\u006bernel"'), "gemm", EventKind.KERNEL),
        (V('"\u212aernel"'), "gemm", EventKind.KERNEL),  # the sign of kelvin, a k in lower case
        (V(r'"cpu\u005fop"'), "aten::mm", EventKind.OPERATOR),
        ("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", EventKind.MEMCPY),
        ("Memcpy", "Memcpy", EventKind.MEMCPY),
        ("gpu_memset", "Memset (Device)", EventKind.MEMSET),
        ("Memset", "Memset", EventKind.MEMSET),
        ("cuda_sync", "Stream Sync", EventKind.DEVICE_SYNC),
        ("gpu_user_annotation", "step", EventKind.DEVICE_ANNOTATION),
        ("kernel", "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", EventKind.COLLECTIVE),
        ("kernel", "ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", EventKind.COLLECTIVE),
        ("kernel", "ncclKernel_SendRecv(ncclDevComm*, unsigned long, ncclWork*)", EventKind.COLLECTIVE),
        ("kernel", "void vllm::cross_device_reduce_1stage<__half, 2>(vllm::RankData*)", EventKind.COLLECTIVE),
        ("kernel", "void one_shot_all_reduce_kernel<float>()", EventKind.COLLECTIVE),
        ("kernel", "reduce_kernel", EventKind.KERNEL),
        ("cuda_runtime", "cudaLaunchKernel", EventKind.RUNTIME),
        ("cuda_driver", "cuLaunchKernelEx", EventKind.RUNTIME),
        ("Runtime", "cudaMemcpyAsync", EventKind.RUNTIME),
        ("cpu_op", "aten::mm", EventKind.OPERATOR),
        ("Operator", "aten::mm", EventKind.OPERATOR),
        ("user_annotation", "ProfilerStep#3", EventKind.ANNOTATION),
        ("python_function", "torch/nn/modules/module.py(1501): _call_impl", EventKind.PYTHON),
        ("overhead", "Activity Buffer Request", EventKind.OVERHEAD),
        ("Trace", "PyTorch Profiler (0)", EventKind.OTHER),
        ("anything", "x", EventKind.OTHER),
        (None, "x", EventKind.OTHER),
        (5, "x", EventKind.OTHER),
    ],
)
def test_kinds(category, name, kind, read):
    trace = read(document([kernel(1, 2, 3, name=name) | {"cat": category}]))
    table = trace.device if kind <= EventKind.DEVICE_ANNOTATION else trace.host
    assert table.kind.tolist() == [kind]
    assert table.duration_ns.tolist() == [2000]
    assert len(trace.host) + len(trace.device) == 1


def test_device_columns(read):
    collective = kernel(20, 5, 3, name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL()", stream=13, bytes=4096)
    copy = kernel(10, 2, 2, name="Memcpy HtoD", stream=8, bytes=1_000_000_000_000) | {"cat": "gpu_memcpy"}
    replay = kernel(5, 1, 1, **{"graph node id": 77, "External id": 12})
    replay["args"]["device"] = 3
    device = read(document([collective, copy, replay])).device
    assert device.stream.tolist() == [7, 8, 13]
    assert device.device.tolist() == [3, 0, 0]
    assert device.byte_count.tolist() == [-1, 1_000_000_000_000, 4096]
    assert device.graph_node.tolist() == [77, -1, -1]
    assert device.external.tolist() == [12, -1, -1]


def test_amd_null_stream_and_wide_identifiers(read):
    """HIP's stream 0 is a stream, and correlation ids of AMD exceed 32 bits."""
    events = [
        launch(1, 1, 2**40 + 1, name="hipLaunchKernel", category="hip_runtime"),
        kernel(3, 1, 2**40 + 1, stream=0),
        kernel(5, 1, 2**63 - 1, stream=2**62),
    ]
    trace = read(document(events))
    assert trace.device.stream.tolist() == [0, 2**62]
    assert trace.device.correlation.tolist() == [2**40 + 1, 2**63 - 1]
    assert trace.device.launch.tolist() == [0, -1]
    assert (trace.counts.linked, trace.counts.unlinked) == (1, 1)


def test_a_kernel_finds_the_innermost_operator_around_its_launch(read):
    events = [
        operator(0, 100, 1, name="outer"),
        operator(10, 30, 2, name="middle"),
        operator(12, 3, 3, name="ended before"),
        operator(10, 30, 4, name="on another thread", thread=12),
        launch(20, 5, 50),
        operator(28, 5, 5, name="begins later"),
        kernel(40, 5, 50),
        launch(60, 5, 51),
        kernel(66, 1, 51, name="in outer"),
        launch(200, 5, 52),
        kernel(210, 1, 52, name="in none"),
        kernel(220, 1, 999, name="no launch") | {"args": {"correlation": 999, "External id": 5}},
        kernel(230, 1, 998, name="nothing known"),
        kernel(240, 1, 0, name="zero external") | {"args": {"External id": 0}},
    ]
    for listed in (events, events[::-1]):
        trace = read(document(listed))
        names = [trace.device.names[n] for n in trace.device.name.tolist()]
        outer = [trace.host.names[trace.host.name[o]] if o >= 0 else None for o in trace.device.operator.tolist()]
        assert dict(zip(names, outer, strict=True)) == {
            "gemm": "middle",
            "in outer": "outer",
            "in none": None,
            "no launch": "begins later",
            "nothing known": None,
            "zero external": None,
        }
        assert (trace.counts.linked, trace.counts.unlinked) == (3, 3)


def test_a_number_that_calls_of_several_processes_bear_is_ambiguous(read):
    """Traces put together without a thought: a kernel goes to its own process's call, or to none and that is said."""
    events = [launch(1, 1, 4), launch(1, 1, 5), launch(2, 1, 4) | {"pid": 20}, launch(2, 1, 5) | {"pid": 20}]
    events += [operator(0, 9, 6), operator(0, 9, 6) | {"pid": 20}]
    events += [kernel(10, 2, 4) | {"pid": 20}, kernel(20, 2, 5), kernel(30, 2, 4) | {"pid": 10}]
    events += [launch(3, 1, 8), kernel(40, 2, 8), kernel(50, 2, -1, **{"External id": 6})]
    trace = read(document(events))
    places = [trace.threads[trace.host.thread[row]].process if row >= 0 else None for row in trace.device.launch]
    assert places == ["20", None, "10", "10", None]
    assert trace.device.operator.tolist()[1::3] == [-1, -1]
    assert (trace.counts.linked, trace.counts.unlinked, trace.counts.ambiguous) == (3, 2, 2)
    assert "2 device events have a number that calls of several processes bear" in said(trace)
    accounted(trace.counts)


def test_graph_launches_link_every_kernel_of_the_replay(read):
    events = [operator(0, 10, 1, name="forward"), launch(1, 5, 9, name="cudaGraphLaunch")]
    events += [kernel(20 + n, 1, 9, name=f"k{n}") for n in range(5)]
    events += [launch(30, 1, 10), kernel(32, 1, 10, name="eager")]
    trace = read(document(events))
    assert trace.counts.graph_launched == 5
    assert trace.counts.linked == 6
    assert {trace.host.names[trace.host.name[o]] for o in trace.device.operator[:5].tolist()} == {"forward"}


def test_overlaps_are_counted_by_stream_and_no_time_is_lost(read):
    events = [
        kernel(0, 10, 1),
        kernel(5, 10, 2),  # overlaps
        kernel(15, 5, 3),  # touches
        kernel(16, 1, 4),  # inside
        kernel(17, 2, 5),  # still inside the third
        kernel(2, 2, 6, stream=8),
        kernel(2, 2, 7) | {"args": {"device": 1, "stream": 7, "correlation": 7}},
        kernel(0, 100, 8) | {"cat": "gpu_user_annotation"},
    ]
    trace = read(document(events))
    assert trace.counts.overlapped == 3
    work = trace.device.kind <= EventKind.COLLECTIVE
    assert int(trace.device.duration_ns[work].sum()) == 32_000
    assert trace.counts.device_events == 7


def test_threads_of_numbers_and_words(read):
    """A pid may be a number or a word ("Spans", "Trace"); 7 and "7" are one track."""
    events = [
        {"ph": "X", "name": "a", "pid": pid, "tid": tid, "ts": at, "dur": 1}
        for at, (pid, tid) in enumerate([(7, 1), ("7", "1"), ("Spans", "PyTorch Profiler"), (2**40, -1), ("", 0)])
    ]
    trace = read(document(events))
    places = [(trace.threads[t].process, trace.threads[t].thread) for t in trace.host.thread.tolist()]
    assert places == [("7", "1"), ("7", "1"), ("Spans", "PyTorch Profiler"), (str(2**40), "-1"), ("", "0")]


@pytest.mark.parametrize("field", ["pid", "tid"])
@pytest.mark.parametrize(
    ("label", "printed"), [("2.50", "2.5"), ("1e3", "1000.0"), ("2e35556", "inf"), ("-0", "0"), ("9" * 30, "9" * 30)]
)
def test_a_thread_of_an_odd_number_is_one_whether_its_events_are_mended_or_not(field, label, printed, read):
    notes = ["", V("NaN"), V("1e999")]
    events = [kernel(50 + at, 1, 50 + at, note=note) | {field: V(label)} for at, note in enumerate(notes)]
    trace = read(document([*GOOD, *events]))
    names = {"pid": "process", "tid": "thread"}
    assert [getattr(trace.threads[t], names[field]) for t in trace.device.thread[-3:].tolist()] == [printed] * 3


def test_long_names_and_many_of_them(read, monkeypatch):
    small_blocks(monkeypatch, 4096)
    names = [f"{'x' * (n * 37 % 9000)}{n}" for n in range(200)]
    trace = read(document([kernel(n, 1, n, name=name) for n, name in enumerate(names)], "native"))
    assert [trace.device.names[n] for n in trace.device.name.tolist()] == names


# ------------------------------------------------------------------------------------------------------------ damage

GOOD = [kernel(1, 1, 1), kernel(3, V("2.5"), 2), kernel(7, V("0.125"), 3)]  # 3,625 ns


def with_event(event):
    """Return a trace whose third of four elements is this one."""
    return document([*GOOD[:2], event, GOOD[2]], "one event a line")


@pytest.mark.parametrize("field", ["ts", "dur"])
@pytest.mark.parametrize(
    "figure",
    [
        "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e999999999", "1e99999999999999999999", "1" + "0" * 30,
        "-1" + "0" * 30, "9" * 5000, "0." + "9" * 5000 + "e4999", "true", "false", "[]", "[1]", "{}", '{"a": 1}', '""',
        '"abc"',
        '"NaN"', '"Infinity"', '"1_0"', '"0x10"', '"1 2"', '"1,5"', '"\\u0663"', "9223372036854775807",
        "9223372036854776", "-9223372036854776",
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_figures_that_are_no_time_reject_their_event_alone(field, figure, read):
    trace = read(with_event(kernel(5, 50, 9) | {field: V(figure)}))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert trace.device.correlation.tolist() == [1, 2, 3]
    assert sum(n for _, n in trace.counts.rejected) == 1
    word = "start" if field == "ts" else "duration"
    assert word in trace.counts.rejected[0][0]
    assert word in said(trace)
    assert any(note.code == "trace-left-out" for note in trace.notes)
    assert trace.counts.total == 4
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("change", "rows", "words"),
    [
        ({"dur": -1}, None, "negative duration"),
        ({"dur": V("-0.001")}, None, "negative duration"),
        ({"ts": None}, None, "no start"),
        ({"ts": ...}, None, "no start"),
        ({"dur": None}, (5000, 0), "duration missing"),
        ({"dur": ...}, (5000, 0), "duration missing"),
        ({"dur": "50"}, (5000, 50_000), "duration written as a string"),
        ({"ts": "5.125", "dur": " 50.25 "}, (5125, 50_250), "start written as a string"),
        ({"ph": None}, None, "phase"),
        ({"ph": ...}, None, "phase"),
        ({"ph": ["X"]}, None, "phase"),
    ],
    ids=str,
)
def test_missing_negative_and_quoted_times(change, rows, words, read):
    event = kernel(5, 50, 9) | {key: value for key, value in change.items() if value is not ...}
    for key in [key for key, value in change.items() if value is ...]:
        del event[key]
    trace = read(with_event(event))
    expected_rows = [(1000, 1000), (3000, 2500), (7000, 125)]
    if rows:
        expected_rows.insert(2, rows)
    assert list(zip(trace.device.start_ns.tolist(), trace.device.duration_ns.tolist(), strict=True)) == expected_rows
    assert words in said(trace)
    assert trace.notes
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("9", 9), (" 9 ", 9), ("-9", -9), (V("9.0"), 9), (V("9e0"), 9), (None, -1), (True, -1), ("x", -1), ("", -1),
        ("1_0", -1), ([9], -1), ({"a": 9}, -1), (V("9.5"), -1), (V("NaN"), -1), (2**63 - 1, 2**63 - 1), (2**63, -1),
        (2**64 - 1, -1), (-(2**63) - 1, -1), (10**30, -1), (V("9" * 5000), -1), (V("1e400"), -1),
        (2**53 + 1, 2**53 + 1),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
@pytest.mark.parametrize("key", ["correlation", "External id", "stream"])
def test_odd_identifiers_never_cost_the_event(key, value, number, read):
    event = kernel(5, 50, 9)
    event["args"][key] = value
    trace = read(with_event(event))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 50_000, 125]
    column = {"correlation": "correlation", "External id": "external", "stream": "stream"}[key]
    assert getattr(trace.device, column)[2] == number
    accounted(trace.counts)
    if isinstance(value, str) and not isinstance(value, Verbatim) and number == 9:
        assert "identifier written as a string" in said(trace)


@pytest.mark.parametrize("args", ["null", "5", '"text"', "[]", "[[1]]", "NaN", "true", "{}"], ids=str)
def test_arguments_that_are_no_object_never_cost_the_event(args, read):
    trace = read(with_event(kernel(5, 50, 9) | {"args": V(args)}))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 50_000, 125]
    assert trace.device.correlation[2] == -1
    accounted(trace.counts)


@pytest.mark.parametrize(
    "element", ["null", "5", "-1.5e3", '"text"', '"}, {"', "[]", '[{"ph": "X"}]', "true", "NaN", "[[[]]]"]
)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_elements_that_are_no_event_are_counted(element, place, read):
    listed = [*GOOD[:place], V(element), *GOOD[place:]]
    trace = read(document(listed))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert sum(n for _, n in trace.counts.rejected) == 1
    assert trace.counts.total == 4
    assert any(note.code == "trace-left-out" for note in trace.notes)
    accounted(trace.counts)


def test_an_empty_object_is_an_event_without_phase(read):
    trace = read(with_event({}))
    assert trace.counts.rejected == (("no phase", 1),)
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (b'"name": "ge\xffmm"', "ge�mm"),
        (b'"name": "\xc3"', "�"),
        (b'"name": "\xed\xa0\x80"', "���"),
        (b'"name": "\xf8\x88\x80\x80\x80"', "�����"),
        (b'"name": "\\ud800"', "�"),
        (b'"name": "\\udc00\\ud800x"', "��x"),
        (b'"na\xffme": "x", "name": "gemm"', "gemm"),
        (b'"note": "\xff\xfe", "name": "gemm"', "gemm"),
        (b'"name": "gemm", "other": "\\ud800"', "gemm"),
    ],
)
def test_bytes_that_are_no_text_become_replacement_signs(damage, name, read):
    content = with_event(kernel(5, 50, 9)).replace(b"\n", b"\0")
    lines = document([*GOOD[:2], kernel(5, 50, 9), GOOD[2]], "one event a line").split(b"\n")
    content = b"\n".join(line.replace(b'"name": "gemm"', damage) if b'"ts": 5' in line else line for line in lines)
    trace = read(content)
    assert trace.device.duration_ns.tolist() == [1000, 2500, 50_000, 125]
    found = trace.device.names[trace.device.name[2]]
    found.encode()  # it can be written to any file
    assert found == name or found == name.replace("�", "?") or set(found) == set(name)
    accounted(trace.counts)
    if "�" in name:
        assert trace.notes


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"name": "#"}, "invalid UTF-8 replaced"),
        ({"cat": "kernel#"}, "invalid UTF-8 replaced"),
        ({"pid": "#"}, "invalid UTF-8 replaced"),
        ({"tid": "7#", "name": "#"}, "invalid UTF-8 replaced"),
        ({"ph": "M", "name": "thread_name", "args": {"name": "#"}}, "invalid UTF-8 replaced"),
        ({"name": "~"}, "unpaired surrogate in a name"),
        # What nobody reads is not judged either.
        ({"note": "#"}, None),
        ({"args": {"note": "#", "#": 1}}, None),
        ({"ph": "s", "name": "#", "cat": "#", "pid": "#"}, None),
        ({"ph": "s", "name": "~"}, None),
    ],
)
def test_bytes_that_are_no_text_are_counted_by_event_where_they_are_kept(place, reason, read):
    events = [{**kernel(at, 1, at), **place, "ts": at} for at in range(3)]
    content = document([*GOOD, *events]).replace(b"#", b"\xff").replace(b"~", b"\\ud800")
    assert read(content).counts.repaired == (((reason, 3),) if reason else ())


def test_lone_surrogates_in_threads_properties_and_metadata_can_be_written(read):
    event = kernel(5, 50, 9) | {"pid": V('"\\ud800"'), "cat": V('"\\udfff"')}
    meta = {"ph": "M", "name": "process_name", "pid": V('"\\ud800"'), "tid": 0, "args": {"name": V('"a\\udc12"')}}
    trace = read(document([meta, event, *GOOD], before={"key": V('"\\ud800"')}))
    text = [*(t.process + t.process_name + t.thread + t.thread_name for t in trace.threads), *sum(trace.properties, ())]
    "".join([*text, *trace.host.names]).encode()
    assert trace.host.duration_ns.tolist() == [50_000]


@pytest.mark.parametrize("sign", [b"\n", b"\t", b"\0", b"\x1f", b"\x7f"])
def test_control_signs_inside_strings(sign, read):
    content = with_event(kernel(5, 50, 9, name="a#b")).replace(b"#", sign)
    trace = read(content)
    durations = trace.device.duration_ns.tolist()
    if durations == [1000, 2500, 125]:
        assert sum(n for _, n in trace.counts.rejected) == 1
    else:
        assert durations == [1000, 2500, 50_000, 125]
        assert trace.device.names[trace.device.name[2]] == f"a{sign.decode()}b"
    accounted(trace.counts)


@pytest.mark.parametrize(
    "broken",
    [
        '{"ph": "X" "cat": "kernel", "ts": 5, "dur": 50}',
        '{"ph": "X", "ts": 5, "dur": }',
        '{"ph": "X", "ts": 5, "dur"}',
        '{"ph": "X", "ts": 5, "dur": 5x}',
        '{"ph": "X", "ts": 5, "dur": +5}',
        '{"ph": "X", "ts": 5, "dur": 05}',
        '{"ph": "X", "ts": 5, "dur": .5}',
        '{"ph": "X", "ts": 5, "dur": 5.}',
        '{"ph": "X", "ts": 5, "dur": 1e}',
        '{"ph": "X", "ts": 5, "dur": --5}',
        '{"ph": "X", "ts": 5, "dur": 5, ,}',
        '{"ph": "X", "ts": 5, "dur": 5, "name": "\\x"}',
        '{"ph": "X", "ts": 5, "dur": 5, "name": "\\u12"}',
        "{'ph': 'X', 'ts': 5, 'dur': 5}",
        '{ph: "X", ts: 5, dur: 5}',
        '{"ph": "X", "ts": 5, "dur": 5, "args": {1: 2}}',
        '{"ph": "X", "ts": 5, "dur": 5, "args": nul}',
        '{"ph": "X", "ts": 5, "dur": 5, "args": [1, 2}}',
        "nul",
    ],
)
def test_an_element_that_is_no_json_is_left_out_alone(broken, read):
    """Either nothing but this element is lost, or the file is refused; it is never half-read unsaid."""
    content = with_event(V(broken))
    trace = read(content)
    assert trace.device.duration_ns.tolist()[:2] == [1000, 2500]
    assert trace.device.duration_ns.tolist()[2:] in ([125], [])
    assert trace.host.duration_ns.tolist() == []
    assert trace.notes
    if trace.device.duration_ns.tolist()[2:] == []:
        assert any(note.code == "trace-truncated" for note in trace.notes)
    else:
        assert sum(n for _, n in trace.counts.rejected) == 1
    accounted(trace.counts)


@pytest.mark.parametrize("block", [1, 50, 400, 2 << 20])
@pytest.mark.parametrize("gone", [b'"', b'": ', b"}", b"{", b'"dur": ', b"}}"])
def test_a_torn_event_costs_itself_alone(gone, block, read, monkeypatch):
    """A sign is missing inside one of many events: what stands after it is found again, in any block."""
    small_blocks(monkeypatch, block)
    listed = [kernel(n, V(f"0.{n:03}"), n, name=f"kernel {n}") for n in range(1, 21)]
    lines = document(listed, "one event a line").split(b"\n")
    place = len(lines) // 2
    lines[place] = lines[place].replace(gone, b"", 1)
    trace = read(b"\n".join(lines))
    kept = trace.device.correlation.tolist()
    lost = set(range(1, 21)) - set(kept)
    assert 1 <= len(lost) <= 2  # the event itself and at most its neighbour, into which it runs
    assert max(lost) - min(lost) < 2
    assert trace.device.duration_ns.tolist() == kept
    assert trace.notes
    accounted(trace.counts)


def test_a_list_that_a_stray_bracket_seems_to_end_goes_on(read):
    listed = document(GOOD, "one event a line")
    trace = read(listed.replace(b"[\n{", b"[\n{x} ],\n{"))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert "stray ]" in said(trace)
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"}\n]", b"},\n]", "comma"),
        (b"}\n]", b"},,,\n]", "comma"),
        (b"[\n{", b"[,\n{", "comma"),
        (b"}},\n{", b"}}\n{", "comma"),
        (b"}},\n{", b"}},,{", "comma"),
    ],
)
def test_commas_too_many_or_too_few_are_mended_with_a_note(before, after, words, read):
    content = document(GOOD, "one event a line")
    assert before in content
    trace = read(content.replace(before, after))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert words in said(trace)
    assert trace.notes
    accounted(trace.counts)


def test_a_comma_at_the_end_of_an_event_or_its_arguments(read):
    for inside in ('"tid": 7, "ts": 5, "dur": 50,}', '"tid": 7, "ts": 5, "dur": 50, "args": {"stream": 7,}}'):
        content = with_event(V('{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, ' + inside))
        trace = read(content)
        assert trace.device.duration_ns.tolist() in ([1000, 2500, 125], [1000, 2500, 50_000, 125])
        assert trace.notes
        accounted(trace.counts)


@pytest.mark.parametrize("second", [b'{"traceEvents": []}', document(GOOD), b"[]", b"garbage", b"]", b"}", b"\0" * 9])
@pytest.mark.parametrize("layout", ["one line", "native", "array"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_follows_the_document_is_said(second, layout, packed, read):
    content = document(SMALL, layout)
    pack = gzip.compress if packed else bytes
    trace = read(pack(content) + b"\n" * (not packed) + pack(second))
    small_is_whole(trace)
    assert any(f"{len(content):,}"[:-1] in n.message or "byte" in n.message for n in trace.notes), trace.notes


def test_exact_duplicates_of_device_events_count_once(read):
    copy = dict(reversed(GOOD[1].items()))
    other_stream = kernel(3, V("2.5"), 2, stream=8)
    trace = read(document([*GOOD, copy, other_stream, GOOD[1], kernel(3, V("2.500"), 2)]))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 2500, 125]
    assert "duplicate" in said(trace)
    assert trace.notes
    assert trace.counts.total == 7
    assert trace.counts.device_events == 4
    accounted(trace.counts)


def test_equal_kernels_without_identity_are_all_kept(read):
    """Without a correlation id nothing says that two equal rows are one event."""
    event = {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 5, "dur": 0}
    assert len(read(document([event, event])).device) == 2


def test_the_last_of_two_equal_keys_counts_as_json_has_it(read):
    text = '{"ph": "M", "cat": "x", "ph": "X", "cat": "kernel", "name": "a", "name": "b", "pid": 0, "tid": 7, '
    text += '"ts": 1, "ts": 5, "dur": 1, "dur": 50, "args": {"stream": 1}, '
    text += '"args": {"stream": 7, "correlation": 1, "correlation": 9}}'
    trace = read(with_event(V(text)))
    rows = [row for row in rows_of(trace) if row[3] == 5000]
    assert rows == [(0, "b", ("0", "7"), 5000, 50_000, 9, -1, 7)]


def test_two_event_lists_are_both_read_and_said(read):
    text = written({"traceEvents": GOOD[:2]})[:-1] + ', "traceEvents": ' + written(GOOD[2:]) + "}"
    trace = read(text.encode())
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert "second event list" in said(trace)
    assert trace.notes
    accounted(trace.counts)


def test_reversed_order_is_the_same_trace(read):
    forward, backward = read(document(SMALL)), read(document(SMALL[::-1]))
    assert rows_of(forward) == rows_of(backward)
    assert forward.device.start_ns.tolist() == backward.device.start_ns.tolist()
    small_is_whole(backward)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("place", ["args", "element", "property", "name"])
def test_deep_nesting_breaks_nothing(opening, place, read):
    closing = "".join({"[": "]", "{": "}"}[sign] for sign in reversed(opening) if sign in "[{")
    deep = V(opening * 100_000 + "1" + closing * 100_000)
    if place == "property":
        try:
            trace = read(document(GOOD, before={"deep": deep}))
        except FileFormatError as error:
            refused(error, "byte")
            return
        assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
        return
    trace = read(with_event(deep if place == "element" else kernel(5, 50, 9) | {place: deep}))
    durations = trace.device.duration_ns.tolist()
    if durations != [1000, 2500, 50_000, 125]:
        assert durations == [1000, 2500, 125]
        assert sum(n for _, n in trace.counts.rejected) == 1
    accounted(trace.counts)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [True, False])
def test_an_event_of_many_megabytes(closed, tmp_path):
    path = tmp_path / "t.json"
    long = kernel(5, 50, 9) | {"args": {"x": "y" * 20_000_000, "stream": 7, "correlation": 9}}
    content = with_event(long)
    path.write_bytes(content if closed else content[:12_000_000])
    try:
        trace = read_trace(path, cache=False)
    except FileFormatError as error:
        refused(error, path)
    else:
        assert trace.device.duration_ns.tolist() == ([1000, 2500, 50_000, 125] if closed else [1000, 2500])
        accounted(trace.counts)


# --------------------------------------------------------------------------------------------------------- truncation


def ends_of(content, events):
    """Return where each event of the list ends in the text."""
    ends, at = [], content.index(b'"traceEvents"') if b'"traceEvents"' in content else 0
    decoder = json.JSONDecoder()
    text = content.decode()
    at = text.index("[", at) + 1
    for _ in events:
        at = text.index("{", at)
        at = decoder.raw_decode(text, at)[1]
        ends.append(len(text[:at].encode()))
    return ends


CUT = [
    kernel(V("1.5"), 1, 1, name='a\\u"}{]['),
    {
        "ph": "X",
        "name": "ü",
        "pid": "p",
        "tid": [1],
        "ts": V("2.5e0"),
        "dur": 2,
        "args": {"a": {"b": [1, {"c": None}]}},
    },
    kernel(4, V("0.25"), 3),
]


@pytest.mark.parametrize(
    ("layout", "block"),
    [("one line", 5), ("one line", 2 << 20), ("array", 5), ("native", 2 << 20), ("indent 2", 64)],
)
def test_a_trace_cut_off_anywhere_keeps_its_whole_events(layout, block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    content = document(CUT, layout, {"schemaVersion": 1}, {"traceName": "x", "n": 12})
    ends = ends_of(content, CUT)
    whole = [1000, 2000, 250]
    done = len(content.rstrip())
    path = tmp_path / "t.json"
    for cut in range(done):
        path.write_bytes(content[:cut])
        kept = sum(end <= cut for end in ends)
        if not kept:
            with pytest.raises(FileFormatError) as caught:
                read_trace(path, cache=False)
            refused(caught.value, path)
            continue
        trace = read_trace(path, cache=False)
        durations = [*trace.device.duration_ns.tolist(), *trace.host.duration_ns.tolist()]
        assert sorted(durations) == sorted(whole[:kept]), (cut, content[:cut][-40:])
        note = next(note for note in trace.notes if note.code == "trace-truncated")
        assert re.search(rf"\b{kept}\b", note.message)
        assert re.search(r"byte \d", note.message)
        accounted(trace.counts)
    path.write_bytes(content[:done])
    assert read_trace(path, cache=False).notes == ()


@pytest.mark.parametrize("block", [64, 2 << 20])
def test_a_gzip_cut_off_anywhere_keeps_a_prefix(block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    events = [kernel(n, V(f"0.{n:03}"), n, name=f"kernel {n * 7919 % 1000}") for n in range(1, 40)]
    packed = gzip.compress(document(events, "native"), compresslevel=1)
    path = tmp_path / "t.json.gz"
    most = 0
    for cut in [*range(2, len(packed) - 30, 9), *range(len(packed) - 30, len(packed))]:
        path.write_bytes(packed[:cut])
        try:
            trace = read_trace(path, cache=False)
        except FileFormatError as error:
            refused(error, path)
            continue
        kept = len(trace.device)
        assert trace.device.duration_ns.tolist() == list(range(1, kept + 1))
        assert kept >= most
        most = kept
        assert any(note.code == "trace-truncated" for note in trace.notes), cut
    assert most == len(events)


def test_a_truncated_gzip_gives_all_that_can_be_unpacked(tmp_path):
    events = [kernel(n, 1, n, name=f"kernel {n * 7919 % 100_003}") for n in range(1, 4000)]
    packed = gzip.compress(document(events, "native"))
    path = tmp_path / "t.json.gz"
    path.write_bytes(packed[: len(packed) // 2])
    assert 1500 < len(read_trace(path, cache=False).device) < 2500


@pytest.mark.parametrize("place", [-8, -4])
def test_a_gzip_whose_checksum_or_length_is_wrong_is_said(place, read):
    packed = bytearray(gzip.compress(document(GOOD)))
    packed[place] ^= 1
    trace = read(bytes(packed))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert "gzip" in said(trace)


def test_a_flipped_bit_in_a_gzip_is_never_silent(tmp_path):
    content = document([kernel(n, V(f"0.{n:03}"), n) for n in range(1, 60)], "native")
    packed = gzip.compress(content)
    path = tmp_path / "t.json.gz"
    for place in range(10, len(packed), 5):
        broken = bytearray(packed)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            trace = read_trace(path, cache=False)
        except TokprofError as error:
            refused(error, path)
        else:
            assert trace.notes, place


# ------------------------------------------------------------------------------------------------- files of other kinds


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("trace.json", document(GOOD))
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[",
        b" \n\t",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b'{"',
        b"\x1f",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00",
        gzip.compress(b""),
        gzip.compress(b"{"),
        gzip.compress(document(GOOD))[:20],
        gzip.compress(gzip.compress(document(GOOD))),
        b"\x1f\x8b" + b"\xff" * 100,
        b"<!DOCTYPE html>\n<html><body>404</body></html>",
        pickle.dumps({"traceEvents": [1, 2]}),
        zipped(),
        b"\x28\xb5\x2f\xfd\x04\x00" + b"x" * 50,  # zstd
        b"SQLite format 3\0" + b"\0" * 100,
        '[{"ph": "X"}]'.encode("utf-16"),
        b"hello",
        b"null",
        b"12",
        b'"traceEvents"',
        b"{}",
        b'{"a": 1}',
        b'{"traceEvents"}',
        b'{"traceEvents" [',
        b'{"traceEvents":',
        b'{"traceEvents": [',
        b'{"traceEvents": [{',
        b'{"traceEvents": null}',
        b'{"traceEvents": 5}',
        b'{"traceEvents": "x"}',
        b'{"traceEvents": {"a": []}}',
        b'{"a": {"traceEvents": []}}',
        b"{5: 6}",
        b'{"a": }',
        b'{"a": "\xff',
        b"\0" * 100,
        b"}{",
        b"]",
        bytes(range(256)),
    ],
    ids=lambda content: repr(content[:28]),
)
def test_what_is_no_trace_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        read_trace(path, cache=False)
    refused(caught.value, path)


def test_refusals_say_the_way_out(tmp_path):
    path = tmp_path / "t.json"
    for content, words in [
        (zipped(), "zip"),
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (b"<html>", "JSON"),
        (b'{"traceEvents": 5}', "list"),
        (gzip.compress(gzip.compress(document(GOOD))), "gzip"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=f"(?i){words}"):
            read_trace(path, cache=False)


@pytest.mark.parametrize("value", ["nul", "'x'", "", "+5", "[1,]", "{a: 1}", '"\\x"'])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_property_that_is_no_json_is_refused_or_said(value, place, read):
    try:
        trace = read(document(GOOD, "native", **{place: {"odd": V(value), "next": 5}}))
    except FileFormatError as error:
        refused(error, "t.json")
        return
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert trace.notes


def test_lists_without_events_are_traces_of_nothing(read):
    for content in (b"[]", b'{"traceEvents": []}', b'{"traceEvents":[ ] , "a": 1}'):
        trace = read(content)
        assert trace.counts.total == len(trace.host) == len(trace.device) == 0


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1e400", "-1e999999999", "NaN", "-Infinity", '"\\ud800"', "{}", '[[], {"a": [1, "]}"]}]']
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_odd_properties_never_cost_the_events(value, place, read):
    trace = read(document(GOOD, **{place: {"odd": V(value)}}))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    json.dumps(dict(trace.properties)).encode()


@pytest.mark.parametrize("event", ["C", "i", "M", "s", "B"])
@pytest.mark.parametrize(
    "change", [{"ts": V("NaN")}, {"ts": V("1e999999999")}, {"args": V("[NaN]")}, {"name": V("[1]")}, {"pid": V("{}")}]
)
def test_damage_in_other_kinds_of_event_is_accounted_for(event, change, read):
    trace = read(
        document([*GOOD, {"ph": event, "name": "n", "pid": 1, "tid": 1, "ts": 1, "args": {"name": "x"}} | change])
    )
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    accounted(trace.counts)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", '"12"', "true", "null", "[1]", "9" * 400])
def test_counter_values_that_are_no_finite_number_are_left_out_aloud(value, read):
    track = {"ph": "C", "name": "power", "pid": 0, "tid": 0, "ts": 1}
    trace = read(document([*GOOD, track | {"args": {"W": V(value)}}, track | {"args": {"W": 5}}]))
    assert trace.counters.value.tolist()[-1:] == [5.0]
    assert np.isfinite(trace.counters.value).all()
    accounted(trace.counts)
    if value in ("NaN", "Infinity", "1e400"):
        assert trace.notes


def test_a_pair_whose_edge_has_no_time_is_accounted_for(read):
    where = {"pid": 1, "tid": 1, "name": "n"}
    for edges in (
        [{"ph": "B", "ts": V("NaN"), **where}, {"ph": "E", "ts": 4, **where}],
        [{"ph": "B", "ts": 4, **where}, {"ph": "E", **where}],
        [{"ph": "B", "ts": 4, **where}, {"ph": "E", "ts": 3, **where}],
    ):
        trace = read(document([*GOOD, *edges]))
        assert len(trace.host) == 0
        assert trace.notes
        accounted(trace.counts)


def test_an_event_that_is_wrong_twice_is_left_out_once(read):
    trace = read(document([kernel(1, 2, 7), {**kernel(1, 2, 8), "ts": None, "dur": "long"}]))
    assert (trace.counts.total, len(trace.device), sum(n for _, n in trace.counts.rejected)) == (2, 1, 1)
