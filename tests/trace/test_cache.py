"""A trace read before comes from its columns on disk, and never when they are not those of this file."""

import dataclasses
import json
import os

import numpy as np
import pytest

from tokprof.profiler.record import Columns
from tokprof.profiler.trace import cache, reader
from tokprof.profiler.trace.reader import read_trace

NAMES = ("host", "device", "instants", "counters")


def events(duration=5):
    return [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "python"}},
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::mm",
            "pid": 1,
            "tid": 2,
            "ts": 1,
            "dur": 9,
            "args": {"Input Dims": [[4, 8]], "Input Strides": [[8, 1]], "Input type": ["float"]},
        },
        {
            "ph": "X",
            "cat": "cuda_runtime",
            "name": "cudaLaunchKernel",
            "pid": 1,
            "tid": 2,
            "ts": 2,
            "dur": 1,
            "args": {"correlation": 7},
        },
        {
            "ph": "X",
            "cat": "kernel",
            "name": "gemm",
            "pid": 0,
            "tid": 7,
            "ts": 4,
            "dur": duration,
            "args": {"device": 0, "stream": 7, "correlation": 7},
        },
        {"ph": "i", "name": "mark", "pid": 1, "tid": 2, "ts": 3},
        {"ph": "C", "name": "power", "pid": 1, "tid": 2, "ts": 3, "args": {"mW": 250}},
    ]


@pytest.fixture
def trace_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MINIMUM_BYTES", 0)
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"deviceProperties": [{"id": 0, "name": "H100"}], "traceEvents": events()}))
    return path


@pytest.fixture
def no_reading(monkeypatch):
    """Make reading the text itself fail, so that only the cache can answer."""

    def forbid(*_):
        raise AssertionError("the text was read")

    return lambda: monkeypatch.setattr(reader, "_read_document", forbid)


def same(a, b):
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, Columns):
            for part in dataclasses.fields(x):
                np.testing.assert_array_equal(getattr(x, part.name), getattr(y, part.name))
        else:
            assert x == y, field.name


def test_a_second_reading_comes_from_the_cache_and_is_the_same(trace_file, no_reading):
    first = read_trace(trace_file)
    no_reading()
    same(first, read_trace(trace_file))


def test_a_renamed_trace_of_the_same_folder_is_read_anew_and_right(trace_file):
    read_trace(trace_file)
    moved = trace_file.rename(trace_file.with_name("other.json"))
    assert read_trace(moved).source == str(moved)


def test_other_content_of_the_same_size_and_time_is_not_taken_from_the_cache(trace_file):
    read_trace(trace_file)
    times = trace_file.stat()
    trace_file.write_text(trace_file.read_text().replace('"dur": 5', '"dur": 6'))
    os.utime(trace_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert trace_file.stat().st_size == times.st_size
    assert read_trace(trace_file).device.duration_ns.tolist() == [6000]
    kept = list((trace_file.parent / ".tokprof").iterdir())
    assert len(kept) == 1, "the older columns made room"


@pytest.mark.parametrize("name", [*(f"{name}.parquet" for name in NAMES), "trace.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_a_damaged_cache_is_not_used(name, damage, trace_file):
    first = read_trace(trace_file)
    (file,) = (trace_file.parent / ".tokprof").glob(f"*/{name}")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"x" * len(content))
    same(first, read_trace(trace_file))


def test_a_cache_whose_rows_point_nowhere_is_not_used(trace_file):
    first = read_trace(trace_file)
    (file,) = (trace_file.parent / ".tokprof").glob("*/device.parquet")
    cache._write(dataclasses.replace(first.device, launch=[99]), file)
    same(first, read_trace(trace_file))


def test_a_cache_of_another_version_is_not_used(trace_file, monkeypatch):
    read_trace(trace_file)
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    assert cache.load_cached(trace_file) is None


def test_small_damaged_and_unasked_traces_leave_no_cache(trace_file, monkeypatch):
    read_trace(trace_file, cache=False)
    text = trace_file.read_text()
    damaged = trace_file.with_name("cut.json")
    damaged.write_text(text[: text.rindex("{")])
    assert read_trace(damaged).notes
    monkeypatch.setattr(cache, "MINIMUM_BYTES", 10**6)
    read_trace(trace_file)
    assert not (trace_file.parent / ".tokprof").exists()


def test_where_no_cache_can_be_written_the_trace_is_read_all_the_same(trace_file):
    (trace_file.parent / ".tokprof").write_text("a file stands in the way")
    assert len(read_trace(trace_file).device) == 1
    assert len(read_trace(trace_file).device) == 1


def test_a_folder_of_ranks_is_in_the_order_of_their_numbers(tmp_path):
    for rank in (10, 2, 0):
        content = {"distributedInfo": {"rank": rank}, "traceEvents": events(rank + 1)}
        (tmp_path / f"trace_rank{rank}.json").write_text(json.dumps(content))
    (tmp_path / "notes.txt").write_text("no trace")
    (tmp_path / "page.json").write_text("<html>")
    files = reader.trace_files(tmp_path)
    assert [file.name for file in files] == ["trace_rank0.json", "trace_rank2.json", "trace_rank10.json"]
    assert [read_trace(file).threads[0].rank for file in files] == [0, 2, 10]
    assert read_trace(tmp_path).device.duration_ns.tolist() == [1000]
