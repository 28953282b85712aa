"""Any Chrome trace is read exactly: every layout, every figure, every kind of event."""

import gzip
import itertools
import json
import re
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.errors import InputError
from tokprof.profiler.record import EventKind
from tokprof.profiler.trace.reader import read_trace

sys.path.insert(0, str(Path(__file__).parent))
from trace_makers import (
    GOOD,
    LAYOUTS,
    MM,
    SMALL,
    V,
    accounted,
    document,
    kernel,
    launch,
    operator,
    rows_of,
    said,
    small_blocks,
    small_is_whole,
)

pytestmark = pytest.mark.usefixtures("scanner")

# ----------------------------------------------------------------------------------------------------------- layouts

BEFORE = {
    "schemaVersion": 1,
    "deviceProperties": [{"id": 0, "name": 'NVIDIA "H100" {[,', "warpSize": 32, "numSms": 132}],
    "baseTimeNanoseconds": 1_700_000_000_000_000_000,
    "note": 'a key called "traceEvents": [ inside a string',
}
AFTER = {"traceName": "/tmp/x.json", "displayTimeUnit": "ms", "empty": {}, "list": [], "nothing": None, "n": -1.5e3}


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
    assert rows_of(trace) == Counter({(0, '\U0001f600\n"', ("0", "7"), 1000, 2000, 4, -1, 7, None): 1})


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
    assert rows_of(trace) == Counter({(0, '"ts": 5, "dur": 6', ("0", "1"), 3000, 4000, -1, -1, -1, None): 1})


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
        rows = {(k, n, s, d, e) for k, n, _, s, d, _, e, *_ in rows_of(trace)}
        assert rows == found
        assert dict(trace.counts.rejected) == {"end without a begin": 1, "begin without an end": 1}
        accounted(trace.counts, pairs=4)
        assert trace.counts.total == 10


def test_an_outer_pair_stands_before_an_inner_one_of_the_same_times(read):
    names = [("B", "outer", 5), ("B", "inner", 5), ("E", "inner", 9), ("E", "outer", 9)]
    trace = read(document([{"ph": ph, "name": name, "pid": 1, "tid": 2, "ts": ts} for ph, name, ts in names]))
    assert [trace.host.names[code] for code in trace.host.name] == ["outer", "inner"]


def test_begin_and_end_events_are_kept_as_numbers(read, monkeypatch):
    """Not as objects of several hundred bytes each."""
    small_blocks(monkeypatch, 1 << 16)
    place = {"cat": "cpu_op", "name": "op", "pid": 1, "tid": 2}
    content = document([{"ph": "BE"[n % 2], "ts": n, **place} for n in range(20_000)])
    tracemalloc.start()
    try:
        trace = read(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert trace.counts.pairs == 10_000
    assert trace.host.duration_ns.tolist() == [1000] * 10_000
    assert peak < 20_000 * 300 + (1 << 20)


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


# ------------------------------------------------------------------------------------------------------------- shapes


def shapes_in(trace):
    return [None if code < 0 else json.loads(trace.host.shapes[code]) for code in trace.host.shape.tolist()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_shapes_are_one_whatever_the_layout(layout, read):
    events = [operator(i, 1, i + 1, shape=MM) for i in range(3)] + [operator(9, 1, 9)]
    trace = read(document(events, layout))
    assert shapes_in(trace) == [MM, MM, MM, None]
    assert trace.host.shapes == (json.dumps(MM, separators=(",", ":")),)


def test_a_trace_without_shapes_has_no_column_of_them(read):
    assert read(document([operator(1, 1, 1)])).host.shape is None
    old = operator(1, 1, 1, shape=MM)
    del old["args"]["Input Strides"]  # before torch 2.1
    assert read(document([old])).host.shape is None


def test_a_list_of_tensors_keeps_its_sizes(read):
    shape = [[[[1, 2], [1, 2]], []], [[[2, 1], [2, 1]], []], ["TensorList", "Scalar"]]
    assert shapes_in(read(document([operator(1, 1, 1, shape=shape)]))) == [shape]


@pytest.mark.parametrize(
    "damage",
    [
        {"Input Dims": 5}, {"Input Dims": None}, {"Input Dims": "[[4, 8]]"}, {"Input Dims": [4, 8]},
        {"Input Dims": [[-4, 8]]}, {"Input Dims": [[V("1.5")]]}, {"Input Dims": [[2**64]]}, {"Input Dims": [["4"]]},
        {"Input Strides": [[None]]}, {"Input type": [7]}, {"Input type": ["x" * 5000]}, {"Input type": {}},
        {"Input type": [V(r'"\ud800"')]}, {"Input Dims": [[[[1]]]]}, {"Input Dims": [[True]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_shape_that_cannot_be_is_none_and_costs_nothing_else(damage, read):
    bad = operator(5, 1, 2, shape=MM)
    bad["args"] |= damage
    trace = read(document([operator(1, 1, 1, shape=MM), bad, *GOOD]))
    assert shapes_in(trace) == [MM, None]
    assert trace.counts.device_events == 3
    assert trace.notes == ()


def test_invalid_text_in_a_shape_is_no_shape(read):
    content = document([operator(1, 1, 1, shape=MM), operator(5, 1, 2, shape=MM)])
    content = content[::-1].replace(b"float"[::-1], b"fl\xffat"[::-1], 1)[::-1]
    assert shapes_in(read(content)) == [MM, None]


def test_events_read_one_by_one_have_their_shapes_too(read):
    pair = {"ph": "B", "name": "aten::mm", "cat": "cpu_op", "pid": 10, "tid": 11, "ts": 20}
    half = pair | {"args": operator(0, 0, 7, shape=MM)["args"]}
    odd = operator(V('"40"'), 1, 3, shape=MM)  # a time written as a string
    damaged = document([half, {"ph": "E", "pid": 10, "tid": 11, "ts": 25}, odd]).replace(b'"float"]', b'"float",]', 1)
    trace = read(damaged)
    assert shapes_in(trace) == [MM, MM]
