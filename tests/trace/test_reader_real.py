"""Real traces are read as a plain reading of their text has them: every slice, every sum, every launch."""

import gzip
import json
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

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
    use_scanner,
    whole_ns,
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


@pytest.fixture(scope="module", params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def plain(request, real_traces):
    """Read a trace plainly, once for both scanners: its events and other keys, and what must be found in them."""
    path = real_traces / f"{request.param}.json.gz"
    events, properties = parsed(gzip.decompress(path.read_bytes()))
    rows, counts = expected(events)
    sums = dict.fromkeys(EventKind, (0, 0, 0))
    for event in events:
        if event["ph"] == "X":
            count, durations, starts = sums[kind_of(event)]
            sums[kind_of(event)] = count + 1, durations + Decimal(event["dur"]), starts + Decimal(event["ts"])
    found = {"rows": rows, "counts": counts, "sums": sums, "host": hosts_work(events)}
    return SimpleNamespace(path=path, events=events, properties=properties, traces={}, **found)


def hosts_work(events):
    """Return runtime calls by correlation id, operators by external id, and operators by thread with their spans."""
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
    return runtime, by_external, operators, spans


@pytest.fixture(params=SCANNERS)
def trace(request, plain, monkeypatch):
    """What each scanner makes of the trace, read once."""
    if request.param not in plain.traces:
        use_scanner(request.param, monkeypatch)
        plain.traces[request.param] = read_trace(plain.path, cache=False)
    return plain.traces[request.param]


def test_every_slice_of_a_real_trace_has_its_nine_columns(trace, plain):
    assert rows_of(trace) == plain.rows
    for what in ("slices", "instants", "counters", "flows", "metadata"):
        assert getattr(trace.counts, what) == plain.counts[what], what
    assert trace.counts.total == len(plain.events)
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


def test_device_time_is_the_sum_of_the_files_decimal_figures(trace, plain):
    for kind, (count, durations, starts) in plain.sums.items():
        table = trace.device if is_device(kind) else trace.host
        chosen = table.kind == kind
        assert int(chosen.sum()) == count
        assert int(table.duration_ns[chosen].sum()) == durations * 1000
        assert sum(map(int, table.start_ns[chosen])) == starts * 1000
    work = trace.device.kind <= EventKind.COLLECTIVE
    assert trace.counts.device_events == int(work.sum())


def test_events_of_a_real_trace_are_in_the_order_of_start(trace):
    for table in (trace.host, trace.device, trace.instants):
        assert np.all(np.diff(table.start_ns) >= 0)


def test_properties_and_names_of_a_real_trace(trace, plain):
    properties = dict(plain.properties)
    assert trace.base_ns == properties.pop("baseTimeNanoseconds", 0)
    found = {key: json.loads(value, parse_float=Decimal) for key, value in trace.properties}
    assert found == properties
    for event in plain.events:
        if event["ph"] == "M" and event["name"] == "process_name":
            for thread in trace.threads:
                if thread.process == str(event["pid"]):
                    assert thread.process_name == event["args"]["name"]
    places = {(t.process, t.thread) for t in trace.threads}
    assert {(str(e["pid"]), str(e["tid"])) for e in plain.events if e["ph"] == "X"} <= places


def test_every_device_event_of_a_real_trace_finds_its_launch_and_operator(trace, plain):
    runtime, by_external, operators, spans = plain.host
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


@pytest.mark.usefixtures("scanner")
@pytest.mark.parametrize(
    ("name", "least"), [("mi300x_vllm_decode_fullgraph", 400), ("mi300x_sglang_qwen3-8b_decode", 500)]
)
def test_graph_replays_of_real_traces_are_counted(real_traces, name, least):
    trace = read_trace(real_traces / f"{name}.json.gz", cache=False)
    assert least <= trace.counts.graph_launched <= trace.counts.device_events
    names = {trace.host.names[n] for n in trace.host.name[trace.device.launch[trace.device.launch >= 0]].tolist()}
    assert "hipGraphLaunch" in names


@pytest.mark.usefixtures("scanner")
def test_overlapping_kernels_of_one_stream_are_all_kept_and_counted(real_traces):
    trace = read_trace(real_traces / "b200_vllm_eager_prefill.json.gz", cache=False)
    work = trace.device.select(trace.device.kind <= EventKind.COLLECTIVE)
    overlapped, reach = 0, {}
    for row in range(len(work)):  # a plain recount
        key = (int(work.device[row]), int(work.stream[row]))
        overlapped += int(work.start_ns[row]) < reach.get(key, -1)
        reach[key] = max(reach.get(key, -1), int(work.end_ns[row]))
    assert trace.counts.overlapped == overlapped > 0


@pytest.mark.usefixtures("scanner")
def test_the_same_trace_in_another_layout_is_the_same(real_traces, read):
    path = real_traces / "mi300x_vllm_decode_fullgraph.json.gz"
    content = gzip.decompress(path.read_bytes())
    plain = json.loads(content, parse_float=lambda text: Verbatim(text))
    events = plain.pop("traceEvents")
    rows = rows_of(read_trace(path, cache=False))
    for layout in LAYOUTS:
        assert rows_of(read(document(events, layout, before=plain))) == rows, layout
