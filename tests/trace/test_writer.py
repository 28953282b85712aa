"""Written traces read back exactly, and nothing overlaps where a viewer would drop it."""

import gzip
import json
import sys
from pathlib import Path

from tokprof.profiler.record import ClockAlignment, ClockReadings, EventKind, HostSamples, HostStacks, PowerSamples
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.writer import write_run_trace

sys.path.insert(0, str(Path(__file__).parent.parent))
from test_store import a_run

SHAPE = '[[[4,8],[8,2]],[[8,1],[2,1]],["float","float"]]'


def kineto(tmp_path):
    """A small trace with overlapping kernels on one stream, as programmatic launches give."""

    def slice_(category, name, thread, start, duration, **args):
        place = {"pid": 0 if category == "kernel" else 1, "tid": thread}
        return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration, **place, "args": args}

    told = dict(zip(("Input Dims", "Input Strides", "Input type"), json.loads(SHAPE), strict=True))
    events = [
        slice_("cpu_op", "aten::mm", 1, 10.001, 9.5, **{"External id": 3} | told),
        slice_("cuda_runtime", "cudaLaunchKernel", 1, 11, 2, correlation=5),
        slice_("kernel", '<script>"k"', 7, 20.123, 10, stream=7, device=0, correlation=5),
        slice_("kernel", "k2", 7, 25, 10.777, stream=7, device=0, correlation=6),
    ]
    path = tmp_path / "kineto.json"
    path.write_text(json.dumps({"traceEvents": events, "baseTimeNanoseconds": 1_000_000}))
    return read_trace(path)


def test_a_run_trace_reads_back_with_exact_times(tmp_path):
    run = a_run(
        alignments=(ClockAlignment(source="kineto", offset_ns=2**59, error_ns=5),),
        power=PowerSamples(time_ns=[5, 1000], power_mw=[300_500, 300_600], sm_clock_mhz=[1980, 1980]),
        sm_clocks=ClockReadings(
            repetition=[0, 0], step=[-1, 0], time_ns=[3, 900], duration_ns=[20_000] * 2, cycle_count=[39_600, 35_103]
        ),
        host=HostSamples(time_ns=[1, 2001], load_1min=[0.5, 0.75], busy_ns=[0, 3000]),
        stacks=HostStacks(
            time_ns=[100, 110, 150], duration_ns=[10, 10, 10], thread=[0, 0, 0], stack=[0, 1, 0],
            threads=("main",), stacks=("a;b", "a;c"),
        ),
    )  # fmt: skip
    source = kineto(tmp_path)
    write_run_trace(run, source, tmp_path / "trace.json.gz")
    back = read_trace(tmp_path / "trace.json.gz")
    shift = 2**59 + 1_000_000
    kernels = back.device.select(back.device.kind == EventKind.KERNEL)
    assert (kernels.start_ns + back.base_ns - shift).tolist() == source.device.start_ns.tolist()
    assert kernels.duration_ns.tolist() == [10_000, 10_777]
    assert [back.device.names[i] for i in kernels.name] == ['<script>"k"', "k2"]
    assert kernels.launch[0] >= 0
    assert back.host.names[back.host.name[kernels.operator[0]]] == "aten::mm"
    assert (back.host.shape[kernels.operator[0]], back.host.shapes) == (0, (SHAPE,))
    assert {back.threads[t].thread_name for t in kernels.thread} == {"stream 7", "stream 7, lane 2"}
    assert back.counts.overlapped == 1  # still told, though on lanes of their own
    assert "power / W" in back.counters.names
    power = back.counters.name == back.counters.names.index("power / W")
    assert back.counters.value[power].tolist() == [300.5, 300.6]
    clock = back.counters.name == back.counters.names.index("SM clock, by the device / MHz")
    assert back.counters.value[clock].tolist() == [1980.0, 1755.15]
    assert (back.counters.time_ns[clock] + back.base_ns).tolist() == [3, 900]
    stacks = [
        (back.host.names[n], s + back.base_ns, d)
        for n, s, d in zip(back.host.name, back.host.start_ns, back.host.duration_ns, strict=True)
        if back.host.names[n] in "abc"
    ]
    assert stacks == [("a", 100, 20), ("b", 100, 10), ("c", 110, 10), ("a", 150, 10), ("b", 150, 10)]
    steps = [back.host.names[n] for n in back.host.name if back.host.names[n] in ("prefill", "decode 1")]
    assert sorted(steps) == ["decode 1", "decode 1", "prefill", "prefill"]


def test_no_instant_lies_before_the_viewers_zero(tmp_path):
    run = a_run(host=HostSamples(time_ns=[-500, 10], load_1min=[0.1, 0.1]))
    write_run_trace(run, None, tmp_path / "t.json.gz")
    content = json.loads(gzip.decompress((tmp_path / "t.json.gz").read_bytes()))
    assert min(event["ts"] for event in content["traceEvents"]) == 0


def test_perfetto_shows_every_slice_of_a_run(tmp_path, perfetto):
    source = kineto(tmp_path)
    write_run_trace(a_run(), source, tmp_path / "t.json.gz")
    kernels, spans, lost = perfetto(
        tmp_path / "t.json.gz",
        "select name, dur from slice where category = 'kernel' order by ts",
        "select count(*) from slice where category = 'tokprof_step'",
        "select value from stats where name like 'slice_drop%' and value > 0",
    )
    assert kernels == [['<script>"k"', 10_000], ["k2", 10_777]]
    assert spans == [[len(a_run().spans)]]
    assert lost == []
