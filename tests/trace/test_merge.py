"""Two traces in one: phases start together, no duration changes, and Perfetto shows every slice."""

import json

import numpy as np
import pytest

from tokprof.profiler.record import EventKind
from tokprof.profiler.trace.merge import recorded_together, write_merged_trace
from tokprof.profiler.trace.reader import read_trace

EVIL = "<script>steal()</script>"


def a_trace(path, repetitions, *, prefill=100, decode=10, steps=3, base=0, overlap=0):
    """Write and read a trace of named steps: each launches two kernels, the second on the heels of the first."""
    events, at, number = [], 50, 0

    def add(category, name, start, duration, **args):
        place = {"pid": 0, "tid": 7} if category == "kernel" else {"pid": 9, "tid": 9}
        events.append({"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration, **place, "args": args})

    for repetition in range(repetitions):
        for step in range(steps + 1):
            length = decode if step else prefill
            what = f"decode#rep={repetition},step={step}" if step else f"prefill#rep={repetition}"
            add("user_annotation", f"tokprof.{what}", at, 5)
            for kernel in range(2):
                number += 1
                add("cuda_runtime", "cudaLaunchKernel", at + 1 + kernel, 1, correlation=number)
                start = at + 10 + kernel * (length / 2 - overlap)
                add("kernel", f"{EVIL} {kernel}", start, length / 2 + 0.123, stream=7, device=0, correlation=number)
            at += length + 30
    path.write_text(json.dumps({"baseTimeNanoseconds": base, "traceEvents": events}))
    return read_trace(path, cache=False)


def kernels_of(query, trace, process):
    rows, steps = query(
        trace,
        "select s.name, s.ts, s.dur from slice s join thread_track tt on s.track_id = tt.id join thread t using (utid)"
        f" join process p using (upid) where s.category = 'kernel' and p.name = '{process}' order by s.ts, s.dur",
        "select s.name, s.ts, s.dur from slice s join thread_track tt on s.track_id = tt.id join thread t using (utid)"
        f" join process p using (upid) where s.category = 'tokprof_step' and p.name = '{process}' order by s.ts",
    )
    return rows, steps


def test_every_phase_starts_at_one_instant_and_nothing_changes_its_length(tmp_path, perfetto):
    a = a_trace(tmp_path / "a.json", 2)
    b = a_trace(tmp_path / "b.json", 3, prefill=400, decode=4, overlap=1)  # overlapping kernels, other lengths
    write_merged_trace([("A: a", a), ("B: b", b)], tmp_path / "m.json.gz")
    steps = {}
    for name, trace in (("A: a", a), ("B: b", b)):
        rows, steps[name] = kernels_of(perfetto, tmp_path / "m.json.gz", name)
        assert [row[0] for row in rows] == [trace.device.names[code] for code in trace.device.name]
        assert [row[2] for row in rows] == trace.device.duration_ns.tolist()
        assert all(np.diff([row[1] for row in rows]) > 0)  # no two changed places

    def starts(name):
        previous = [None, *[row[0].split()[0] for row in steps[name]]]
        return [row[1] for row, before in zip(steps[name], previous, strict=False) if row[0].split()[0] != before]

    assert starts("A: a") == starts("B: b")[:4]  # prefill, decode, prefill, decode
    assert starts("B: b")[4] > starts("B: b")[3]  # the third repetition, which A does not have, follows
    inside = [row[1] for row in steps["A: a"] if row[0].startswith("decode")][:3]
    assert np.diff(inside).tolist() == [40_000, 40_000]  # steps of one phase keep their distances
    (dropped,) = perfetto(tmp_path / "m.json.gz", "select value from stats where name like 'slice_drop%' and value > 0")
    assert dropped == []
    (arrows,) = perfetto(tmp_path / "m.json.gz", "select count(*) from flow")
    assert arrows == [[len(a.device) + len(b.device)]]


def test_a_trace_beside_itself_is_itself_twice(tmp_path, perfetto):
    a = a_trace(tmp_path / "a.json", 2)
    write_merged_trace([("A: a", a), ("B: a", a)], tmp_path / "m.json.gz")
    assert kernels_of(perfetto, tmp_path / "m.json.gz", "A: a") == kernels_of(perfetto, tmp_path / "m.json.gz", "B: a")
    back = read_trace(tmp_path / "m.json.gz", cache=False)
    assert np.diff(a.device.start_ns).tolist() == np.diff(back.device.start_ns[::2]).tolist()


def test_no_side_passes_for_the_launches_of_another(tmp_path):
    a, b = a_trace(tmp_path / "a.json", 2), a_trace(tmp_path / "b.json", 3)  # both number their launches from 1 on
    write_merged_trace([("A", a), ("B", b)], tmp_path / "m.json.gz")
    back = read_trace(tmp_path / "m.json.gz", cache=False)
    assert (back.counts.linked, back.counts.ambiguous) == (a.counts.linked + b.counts.linked, 0)
    process = np.array([int(thread.process) for thread in back.threads])
    assert process[back.device.thread].tolist() == process[back.host.thread[back.device.launch]].tolist()
    numbers = [set(back.device.correlation[process[back.device.thread] == side].tolist()) for side in (1, 2)]
    assert [len(of) for of in numbers] == [len(a.device), len(b.device)]
    assert not numbers[0] & numbers[1]


def test_ranks_keep_their_clocks(tmp_path):
    a = a_trace(tmp_path / "a.json", 1, base=10**18)
    b = a_trace(tmp_path / "b.json", 1, base=10**18 + 25_000)
    assert recorded_together([a, b])
    assert not recorded_together([a, a_trace(tmp_path / "c.json", 1, base=10**18 + 10**9)])
    write_merged_trace([("rank 0", a), ("rank 1", b)], tmp_path / "m.json.gz", aligned=False)
    back = read_trace(tmp_path / "m.json.gz", cache=False)
    first = sorted(back.device.start_ns[back.device.kind == EventKind.KERNEL].tolist())[:2]
    assert first[1] - first[0] == 25_000


def test_traces_without_any_work_merge_too(tmp_path):
    (tmp_path / "e.json").write_text('{"traceEvents": [{"ph": "i", "name": "x", "ts": 5, "pid": 1, "tid": 1}]}')
    empty = read_trace(tmp_path / "e.json", cache=False)
    write_merged_trace([("A", empty), ("B", a_trace(tmp_path / "a.json", 1))], tmp_path / "m.json.gz")
    assert len(read_trace(tmp_path / "m.json.gz", cache=False).device) == 8


PAIRS = [
    ("h100_qwen1.5-0.5b_prefill", "mi300x_qwen1.5-0.5b_prefill"),
    ("a100_training_control", "v100_training_test"),
    ("mi300x_sglang_qwen3-8b_decode", "mi300x_sglang_qwen3-8b_mixed"),
    ("b200_vllm_eager_prefill", "a100_training_rank0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_real_pairs_are_shown_whole(pair, real_traces, tmp_path, perfetto):
    sides = [(name, read_trace(real_traces / f"{name}.json.gz", cache=False)) for name in pair]
    write_merged_trace(sides, tmp_path / "m.json.gz")
    (sums,) = perfetto(
        tmp_path / "m.json.gz",
        "select p.name, count(*), sum(s.dur) from slice s join thread_track tt on s.track_id = tt.id join thread t"
        " using (utid) join process p using (upid) where s.category != 'tokprof_step' group by p.name",
    )
    expected = [
        [name, len(t.device) + len(t.host), int(t.device.duration_ns.sum() + t.host.duration_ns.sum())]
        for name, t in sides
    ]
    assert sorted(sums) == sorted(expected)
