"""What a viewer would drop goes to lanes of its own: proved in Perfetto's own trace processor."""

import gzip
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokprof.profiler.record import EventKind
from tokprof.profiler.trace import lanes as lanes_module
from tokprof.profiler.trace.lanes import lanes, nesting_lanes, write_on_lanes
from tokprof.profiler.trace.reader import read_trace

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=40)


def sorted_intervals(pairs):
    rows = sorted((start, -length) for start, length in pairs)
    starts = np.array([start for start, _ in rows], dtype=np.int64)
    return starts, starts + np.array([-length for _, length in rows], dtype=np.int64)


@given(INTERVALS)
def test_no_two_intervals_of_a_lane_overlap(pairs):
    starts, ends = sorted_intervals(pairs)
    lane = lanes(starts, ends)
    for number in set(lane.tolist()):
        rows = lane == number
        assert np.all(starts[rows][1:] >= ends[rows][:-1])
    depth = max((int(((starts <= s) & (ends > s)).sum()) for s in starts.tolist()), default=1)
    assert lane.max(initial=0) + 1 <= max(1, depth) + int((starts == ends).sum())


@given(INTERVALS)
def test_slices_of_a_nesting_lane_nest_or_are_apart(pairs):
    starts, ends = sorted_intervals(pairs)
    lane = nesting_lanes(starts, ends)
    for number in set(lane.tolist()):
        rows = np.flatnonzero(lane == number)
        for i, a in enumerate(rows):
            for b in rows[i + 1 :]:
                apart = starts[b] >= ends[a]
                inside = ends[b] <= ends[a]
                assert apart or inside


DROPPED = "select coalesce(sum(value), 0) from stats where name = 'slice_drop_overlapping_complete_event'"
SLICES = "select count(*), sum(dur) from slice"
WORK = SLICES + " where lower(category) in ('kernel', 'gpu_memcpy', 'gpu_memset', 'memcpy', 'memset')"
EPOCH = 1_661_203_462_760_447  # microseconds, beyond what a double holds with nanoseconds


def slice_(name, thread, start, duration, process=0, **more):
    """An event whose times are written out as text, as decimal figures."""
    head = {"ph": "X", "cat": "kernel", "name": name, "pid": process, "tid": thread, **more}
    return json.dumps(head)[:-1] + f', "ts": {EPOCH + start}, "dur": {duration}' + "}"


def arrow(phase, thread, start, number, process=0):
    head = {"ph": phase, "bp": "e", "id": number, "cat": "ac2g", "name": "ac2g", "pid": process, "tid": thread}
    return json.dumps(head)[:-1] + f', "ts": {EPOCH + start}}}'


HARD = [
    '{"ph":"M","name":"thread_name","pid":0,"tid":7,"ts":0,"args":{"name":"stream 7"}}',
    '{"ph":"M","name":"thread_sort_index","pid":0,"tid":7,"ts":0,"args":{"sort_index":7}}',
    slice_("launch 1", 1, -9, 1, process=5),
    slice_("launch 2", 1, -7, 1, process=5),
    arrow("s", 1, -9, 1, process=5),
    arrow("s", 1, -7, 2, process=5),
    slice_("first", 7, 0, 10, args={"grid": [1, 2, 3]}),
    slice_("<script>second</script>", 7, 5, "10.123", args={"grid": [4, 5, 6]}),
    arrow("f", 7, 0, 1),
    arrow("f", 7, 5, 2),
    slice_("child", 2, 20, 3, process=5),
    slice_("parent", 2, 20, 30, process=5),
    slice_("of a thread of negative number", -5, 22, 2, process=2),
    slice_("of the thread it would be laid onto", 2, 21, 2, process=2),
]


def written(path, events, **more):
    more = json.dumps(more)[:-1] + (", " if more else "")
    path.write_text(more + '"traceEvents": [' + ",".join(events) + "]}")
    return path


def test_what_perfetto_drops_is_shown_with_arguments_and_arrows(tmp_path, perfetto):
    source = written(tmp_path / "hard.json", HARD, deviceProperties=[{"id": 0}])
    assert perfetto(source, DROPPED) != [[[0]]], "the case is none"
    assert write_on_lanes(source, tmp_path / "laid.json.gz") > 0
    slices, dropped, names, arrows, arguments = perfetto(
        tmp_path / "laid.json.gz",
        SLICES,
        DROPPED,
        "select t.name, s.name from slice s join thread_track tt on s.track_id = tt.id join thread t using (utid)"
        " where t.name like 'stream%' order by s.ts",
        "select o.name, i.name from flow f join slice o on o.id = f.slice_out join slice i on i.id = f.slice_in"
        " order by o.ts",
        "select int_value from args where key like '%grid[0]' order by int_value",
    )
    assert slices == [[8, 1_000 * (1 + 1 + 10 + 3 + 30 + 2 + 2) + 10_123]]
    assert dropped == [[0]]
    assert names == [["stream 7", "first"], ["stream 7, lane 2", "<script>second</script>"]]
    assert arrows == [["launch 1", "first"], ["launch 2", "<script>second</script>"]]
    assert arguments == [[1], [4]]
    laid = json.loads(gzip.decompress((tmp_path / "laid.json.gz").read_bytes()))
    assert laid["deviceProperties"] == [{"id": 0}]
    assert f'"ts":{EPOCH + 5}'.encode() in gzip.decompress((tmp_path / "laid.json.gz").read_bytes()).replace(b" ", b"")


def test_a_file_that_perfetto_shows_whole_is_not_written_anew(tmp_path):
    source = written(tmp_path / "sound.json", [slice_("a", 7, 0, 10), slice_("b", 7, 10, 5), slice_("in b", 7, 11, 2)])
    assert write_on_lanes(source, tmp_path / "out.json.gz") == 0
    assert not (tmp_path / "out.json.gz").exists()
    source.write_text("[" + ",".join(HARD) + "]")  # a bare list is a trace too
    assert write_on_lanes(source, tmp_path / "out.json.gz") > 0


@pytest.mark.parametrize(
    "text",
    [
        '{"traceEvents": [' + HARD[6],
        '{"traceEvents": [' + HARD[6].replace("10}", "NaN}") + "]}",
        '{"traceEvents": [' + slice_("a", 7, 0, -1) + "]}",
        '{"traceEvents": [' + slice_("a", 7, 0, '"x"') + "]}",
        '{"traceEvents": [{"ph": "X", "name": "no duration", "ts": 1}]}',
        '{"traceEvents": [null]}',
        '{"other": 1}',
        "",
    ],
)
def test_a_damaged_file_is_left_to_the_reader(tmp_path, text):
    (tmp_path / "damaged.json").write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's errors are among them
        write_on_lanes(tmp_path / "damaged.json", tmp_path / "out.json.gz")
    assert not (tmp_path / "out.json.gz").exists()


@pytest.mark.slow
def test_real_traces_are_shown_whole(real_traces, tmp_path, perfetto):
    dropped_as_they_are = 0
    for file in sorted(real_traces.glob("*.json.gz")):
        laid = tmp_path / file.name
        lost = write_on_lanes(file, laid)
        trace = read_trace(file, cache=False)
        work = trace.device.kind <= EventKind.COLLECTIVE
        expected = [int(work.sum()), int(trace.device.duration_ns[work].sum())]
        shown, dropped = perfetto(laid if lost else file, WORK, DROPPED)
        assert shown == [expected], file.name
        assert dropped == [[0]], file.name
        if lost:
            dropped_as_they_are += perfetto(file, DROPPED)[0][0][0]
    assert dropped_as_they_are > 100  # or nothing was proved


def test_a_text_too_long_to_be_held_is_not_unpacked(tmp_path, monkeypatch):
    """A small file of gzip may hold any length."""
    monkeypatch.setattr(lanes_module, "MAXIMUM_TEXT_BYTES", 1 << 20)
    content = b'{"traceEvents": [' + b" " * (64 << 20) + b"]}"
    (tmp_path / "t.json").write_bytes(content[: 2 << 20])
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(content))
    tracemalloc.start()
    try:
        for name in ("t.json", "t.json.gz"):
            with pytest.raises(ValueError, match="longer than 1 MiB"):
                write_on_lanes(tmp_path / name, tmp_path / "shown.json.gz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
