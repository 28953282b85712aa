"""A real py-spy on a real child, what its output means, and what happens when it may not look."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from tokprof.profiler.record import ClockAlignment, HostStacks, Note
from tokprof.profiler.sensors.marker import MARKER_NAME, TICK_SHARES, ClockMarker, allow_tracing_by, clock_marker
from tokprof.profiler.sensors.pyspy import (
    PySpy,
    _quality_notes,
    attach_check,
    find_pyspy,
    ptrace_scope,
    refusal,
    start_pyspy,
)
from tokprof.profiler.sensors.stacks import StackRow, align, interpreter_stacks, stack_rows, to_columns

CHILD = """
import json, os, sys, threading, time
from tokprof.profiler.sensors.marker import allow_tracing_by, clock_marker

allow_tracing_by(os.getppid())

def computing():
    start = time.monotonic_ns()
    while time.monotonic_ns() < start + 400_000_000:
        sum(range(1000))
    return start, time.monotonic_ns()

def waiting():
    start = time.monotonic_ns()
    time.sleep(0.4)
    return start, time.monotonic_ns()

print("up", flush=True)
sys.stdin.readline()
first = clock_marker(0)
windows = [("computing", computing()), ("waiting", waiting()), ("computing", computing())]
last = clock_marker(1)
print(json.dumps([first.edges_ns, last.edges_ns, windows]), flush=True)
sys.stdin.readline()
"""

LONGEST_GAP_NS = 150_000_000  # of py-spy's exponential intervals at 100 Hz: longer once in three million


class Child:
    """The watched process."""

    def __init__(self, folder: Path) -> None:
        script = folder / "watched.py"
        script.write_text(CHILD)
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def work(self) -> tuple[list[ClockMarker], list[Any]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        first, last, windows = json.loads(self.process.stdout.readline())
        return [ClockMarker(0, tuple(first)), ClockMarker(1, tuple(last))], windows


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    watched = Child(tmp_path)
    yield watched
    watched.process.kill()
    watched.process.communicate()


def started(found: PySpy | Note) -> PySpy:
    if isinstance(found, Note):
        pytest.skip(f"py-spy may not look here: {found.message}")
    return found


def rows_inside(stacks: HostStacks, function: str, alignment: ClockAlignment, windows: list[Any]) -> None:
    """Every row that shows the function begins in a window of it, but for the alignment's error."""
    shown = [f";{function} (" in stack for stack in stacks.stacks]
    times = [int(stacks.time_ns[row]) for row in range(len(stacks)) if shown[stacks.stack[row]]]
    own = [span for name, span in windows if name == function]
    assert times
    for at in times:
        assert any(start - alignment.error_ns <= at <= end + alignment.error_ns + 2_000_000 for start, end in own), [
            (at - start, at - end) for start, end in own
        ]


@pytest.mark.alone
@pytest.mark.parametrize("mode", ["nonblocking", "blocking", "native"])
def test_functions_land_in_the_windows_in_which_they_ran(child: Child, tmp_path: Path, mode: str) -> None:
    spy = started(
        start_pyspy(child.pid, tmp_path / "stacks.json", native=mode == "native", nonblocking=mode == "nonblocking")
    )
    markers, windows = child.work()
    recording = spy.stop(markers)
    stacks, alignment = recording.stacks, recording.alignment
    assert stacks is not None
    assert alignment is not None
    assert alignment.source == "py-spy"
    assert alignment.error_ns < 10_000_000  # less than one sampling period
    assert alignment.drift_ns == 0
    assert stacks.threads == ("MainThread",)
    rows_inside(stacks, "computing", alignment, windows)
    rows_inside(stacks, "waiting", alignment, windows)
    assert not any(MARKER_NAME in stack for stack in stacks.stacks)
    # Idle time belongs to the function that waited, not to the one that ran before it.
    waited_ns = sum(
        int(stacks.duration_ns[row]) for row in range(len(stacks)) if ";waiting (" in stacks.stacks[stacks.stack[row]]
    )
    own_ns = sum(end - start for name, (start, end) in windows if name == "waiting")
    assert waited_ns == pytest.approx(own_ns, abs=LONGEST_GAP_NS)
    frame = stacks.stacks[0].split(";")[0]
    assert frame.endswith(")")
    assert str(tmp_path / "watched.py") in "".join(stacks.stacks)


@pytest.mark.alone
def test_the_interpreter_lock_is_seen_held_while_computing_only(child: Child, tmp_path: Path) -> None:
    spy = started(start_pyspy(child.pid, tmp_path / "stacks.txt", only_interpreter=True))
    markers, windows = child.work()
    recording = spy.stop(markers)
    stacks = recording.interpreter_stacks
    assert stacks is not None
    assert recording.stacks is None
    between_s = (windows[-1][1][1] - windows[0][1][0]) / 1e9
    assert stacks.window_sample_count == pytest.approx(100 * between_s, abs=3)  # at 100 Hz
    counts = dict(zip(stacks.stacks, stacks.sample_count.tolist(), strict=True))
    computing = sum(count for stack, count in counts.items() if ";computing (" in stack)
    waiting = sum(count for stack, count in counts.items() if ";waiting (" in stack)
    assert 40 < computing <= stacks.window_sample_count + 5
    assert waiting <= 2


def test_a_recording_of_a_process_that_dies_keeps_what_it_saw(child: Child, tmp_path: Path) -> None:
    spy = started(start_pyspy(child.pid, tmp_path / "stacks.json"))
    markers, _ = child.work()
    child.process.kill()
    child.process.wait()
    recording = spy.stop(markers)
    assert recording.stacks is not None
    assert recording.alignment is not None


def test_a_killed_recording_is_gone(child: Child, tmp_path: Path) -> None:
    spy = started(start_pyspy(child.pid, tmp_path / "stacks.json"))
    spy.kill()
    assert not (tmp_path / "stacks.json").exists()


@pytest.mark.alone
def test_without_markers_the_error_says_how_little_is_known(child: Child, tmp_path: Path) -> None:
    spy = started(start_pyspy(child.pid, tmp_path / "stacks.json"))
    _, windows = child.work()
    recording = spy.stop([])
    assert recording.stacks is not None
    assert recording.alignment is not None
    assert {note.code for note in recording.notes} == {"pyspy-not-aligned"}
    rows_inside(recording.stacks, "computing", recording.alignment, windows)


def test_attaching_is_tried_on_a_child_of_ours(child: Child, tmp_path: Path) -> None:
    if find_pyspy() is None:
        pytest.skip("py-spy is not installed")
    assert isinstance(start_pyspy(child.pid, tmp_path / "stacks.json"), Note) == (attach_check() is not None)
    refused = attach_check(fake(tmp_path, "echo Permission Denied; exit 1"))
    assert refused is not None
    assert refused.advice


# ----------------------------------------------------------------------------------------------------------- refusals


def fake(tmp_path: Path, script: str) -> Path:
    binary = tmp_path / "py-spy"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return binary


@pytest.mark.parametrize(
    ("script", "words"),
    [
        # The very words of py-spy 0.4.3, as another user.
        (
            "echo \"Permission Denied: Try running again with elevated permissions by going 'sudo env'\" >&2; exit 1",
            "does not let py-spy look",
        ),
        ("echo 'Error: Failed to find python version from target process' >&2; exit 1", "does not know Python 3."),
        (
            "echo 'Error: Failed to get process executable name. Check that the process is running.' >&2; exit 1",
            "had already ended",
        ),
        ("echo 'Error: something new'; echo 'Stack backtrace:'; echo '0: main'; exit 1", "Error: something new"),
        ("exit 3", "it said nothing"),
    ],
)
def test_a_refusal_is_a_note_with_the_way_out(tmp_path: Path, script: str, words: str) -> None:
    found = start_pyspy(os.getpid(), tmp_path / "stacks.json", binary=fake(tmp_path, script))
    assert isinstance(found, Note)
    assert found.code == "pyspy-absent"
    assert words in found.message
    assert "backtrace" not in found.message
    assert found.advice


def test_a_missing_binary_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_pyspy() is None
    found = start_pyspy(os.getpid(), tmp_path / "stacks.json")
    assert isinstance(found, Note)
    assert found.advice == "pip install py-spy"
    gone = start_pyspy(os.getpid(), tmp_path / "stacks.json", binary=tmp_path / "nothing")
    assert isinstance(gone, Note)


def test_the_binary_beside_python_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, elsewhere = tmp_path / "bin", tmp_path / "path"
    for folder in (beside, elsewhere):
        folder.mkdir()
        fake(folder, "exit 0")
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setenv("PATH", f"{elsewhere}:{os.environ['PATH']}")
    assert find_pyspy() == beside / "py-spy"
    (beside / "py-spy").unlink()
    assert find_pyspy() == elsewhere / "py-spy"


def test_a_binary_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    begin = time.monotonic()
    found = start_pyspy(os.getpid(), tmp_path / "stacks.json", binary=fake(tmp_path, "exec sleep 60"), timeout_s=0.3)
    assert isinstance(found, Note)
    assert "not ready" in found.message
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo Sampling process 1; exec sleep 0.2", "it said nothing|py-spy failed"),  # dies at the signal
        ("echo Sampling process 1; echo '[{' > OUT", "unreadable"),
        ('echo Sampling process 1; echo \'[{"ph": "B"}]\' > OUT', "unreadable"),
        ("echo Sampling process 1; echo '{\"ph\": 1}' > OUT", "unreadable"),
    ],
)
def test_a_recording_that_went_wrong_is_a_note(tmp_path: Path, script: str, words: str) -> None:
    output = tmp_path / "stacks.json"
    spy = start_pyspy(os.getpid(), output, binary=fake(tmp_path, script.replace("OUT", str(output))))
    assert isinstance(spy, PySpy)
    spy._process.wait() if "OUT" in script else None
    recording = spy.stop([])
    assert recording.stacks is None
    (note,) = recording.notes
    assert any(word in note.message for word in words.split("|"))


def test_failed_samples_are_said_when_they_are_many() -> None:
    assert refusal("EPERM: Operation not permitted").advice
    assert _quality_notes("Wrote chrome trace to 'x'. Samples: 990 Errors: 10") == []
    (note,) = _quality_notes("Wrote chrome trace to 'x'. Samples: 80 Errors: 20")
    assert "20 of 100" in note.message


# ------------------------------------------------------------------------------------------------------------ parsing


def event(kind: str, ts_us: int, name: str, *, line: int | None = 3, thread: int = 7) -> dict[str, Any]:
    arguments = {"filename": f"/src/{name}.py", "line": line}
    return {"ph": kind, "ts": ts_us, "name": name, "tid": thread, "pid": 42, "args": arguments}


def thread_event(kind: str, ts_us: int, name: str, thread: int = 7) -> dict[str, Any]:
    return event(kind, ts_us, name, thread=thread) | {"args": {"filename": "", "line": 0}}


def test_begin_and_end_events_become_rows_of_unchanged_stacks() -> None:
    events = [
        thread_event("B", 10, "thread (42): MainThread"),
        event("B", 10, "main"),
        event("B", 10, "work", line=5),
        event("E", 30, "work", line=5),
        event("B", 30, "work", line=6),
        event("E", 60, "work", line=6),
        event("E", 60, "main"),
        thread_event("E", 60, "thread (42): MainThread"),
    ]
    assert stack_rows(events) == [
        StackRow("MainThread", 10_000, 30_000, ("main (/src/main.py:3)", "work (/src/work.py:5)")),
        StackRow("MainThread", 30_000, 60_000, ("main (/src/main.py:3)", "work (/src/work.py:6)")),
    ]


def test_threads_are_kept_apart_and_the_main_one_is_named_by_its_id() -> None:
    events = []
    for thread, name in ((1, "thread (42)"), (2, "thread (43)"), (3, "thread (44): loader")):
        events += [thread_event("B", 5 * thread, name, thread), event("B", 5 * thread, "f", thread=thread)]
    for thread in (1, 2, 3):
        events += [event("E", 100, "f", thread=thread), thread_event("E", 100, "any", thread)]
    rows = stack_rows(events)
    assert [(row.thread, row.start_ns, row.end_ns) for row in rows] == [
        ("MainThread", 5_000, 100_000),
        ("43", 10_000, 100_000),
        ("loader", 15_000, 100_000),
    ]


def test_frames_cannot_break_the_stack_apart() -> None:
    odd = event("B", 0, "f;g", line=None) | {"args": {"filename": "/a;b.py", "line": None}}
    (row,) = stack_rows([odd, odd | {"ph": "E", "ts": 9}])
    assert row.frames == ("f,g (/a,b.py)",)
    columns = to_columns([row, row], 1_000)
    assert columns.stacks == ("f,g (/a,b.py)",)
    assert columns.time_ns.tolist() == [1_000, 1_000]
    assert columns.duration_ns.tolist() == [9_000, 9_000]


def test_counted_stacks_lose_thread_names_and_markers() -> None:
    text = (
        "thread (1): MainThread;main (/a b.py:1);f (/a b.py:2) 30\n"
        "thread (2): other;main (/a b.py:1);f (/a b.py:2) 4\n"
        f"thread (1): MainThread;main (/a b.py:1);{MARKER_NAME}0_03_ (/m.py:1) 2\n"
    )
    stacks = interpreter_stacks(text, 99.6)
    assert stacks.stacks == ("main (/a b.py:1);f (/a b.py:2)",)
    assert stacks.sample_count.tolist() == [34]
    assert stacks.window_sample_count == 100
    assert len(interpreter_stacks("", 10)) == 0


# ---------------------------------------------------------------------------------------------------------- alignment


def simulate(offset_ns: int, markers: list[ClockMarker], seed: int, *, rate_hz: int = 100) -> list[StackRow]:
    """Sample the markers as py-spy does: at exponential intervals, one row per change of the tick."""
    random_numbers = random.Random(seed)
    rows: list[StackRow] = []
    at_ns = markers[0].start_ns - 50_000_000
    shown = ""
    while at_ns < markers[-1].end_ns + 50_000_000:
        at_ns += int(random_numbers.expovariate(rate_hz) * 1e9)
        now = ""
        for marker in markers:
            for tick in range(len(marker.edges_ns) - 1):
                if marker.edges_ns[tick] <= at_ns < marker.edges_ns[tick + 1]:
                    now = f"{MARKER_NAME}{marker.ordinal}_{tick:02d}_ (/m.py:1)"
        if now and now != shown:
            rows.append(StackRow("MainThread", at_ns - offset_ns, at_ns - offset_ns + 1, ("f (/a.py:1)", now)))
        shown = now
    return rows


def markers_at(*starts_ns: int) -> list[ClockMarker]:
    return [
        ClockMarker(ordinal, tuple(accumulate((1_000_000 * share for share in TICK_SHARES), initial=start)))
        for ordinal, start in enumerate(starts_ns)
    ]


@pytest.mark.parametrize("seed", range(30))
def test_the_true_offset_lies_within_the_stated_error(seed: int) -> None:
    markers = markers_at(10**12, 10**12 + 3 * 10**9)
    truth = 987_654_321_000 + seed * 12_345
    alignment = align(simulate(truth, markers, seed), markers)
    assert alignment is not None
    assert abs(alignment.offset_ns - truth) <= alignment.error_ns
    assert alignment.error_ns <= 5_000_000
    assert alignment.drift_ns == 0


def test_more_samples_tell_the_offset_better() -> None:
    markers = markers_at(10**12, 10**12 + 3 * 10**9)
    few = [align(simulate(5, markers[:1], seed), markers[:1]) for seed in range(20)]
    many = [align(simulate(5, markers, seed, rate_hz=1000), markers) for seed in range(20)]
    errors = [sum(a.error_ns for a in found if a is not None) for found in (few, many)]
    assert errors[1] < errors[0] / 1.5


def test_markers_that_exclude_each_other_tie_nothing() -> None:
    markers = markers_at(10**12, 10**12 + 3 * 10**9)
    moved = simulate(1000, markers[:1], 1) + simulate(1000 + 40_000_000, markers[1:], 2)
    assert align(moved, markers) is None


def test_a_torn_sample_does_not_move_the_offset() -> None:
    markers = markers_at(10**12, 10**12 + 3 * 10**9)
    rows = simulate(0, markers, 4)
    torn = StackRow(
        "MainThread", markers[0].edges_ns[9], markers[0].edges_ns[9] + 1, (f"{MARKER_NAME}0_02_ (/m.py:1)",)
    )
    alignment = align([*rows, torn], markers)
    assert alignment is not None
    assert abs(alignment.offset_ns) <= alignment.error_ns
    assert f"{len(rows)} of {len(rows) + 1} samples" in alignment.method


def test_nothing_caught_nothing_tied() -> None:
    assert align([], markers_at(10**12)) is None
    assert align([StackRow("MainThread", 0, 1, ("main (/a.py:1)",))], markers_at(10**12)) is None


def test_the_marker_leaves_its_ticks_on_the_stack_in_order() -> None:
    marker = clock_marker(3, duration_s=0.032)
    assert marker.ordinal == 3
    assert len(marker.edges_ns) == len(TICK_SHARES) + 1
    assert list(marker.edges_ns) == sorted(marker.edges_ns)
    assert marker.end_ns - marker.start_ns >= 32_000_000


def test_asking_to_be_traced_succeeds_where_yama_listens() -> None:
    assert allow_tracing_by(os.getppid()) == (ptrace_scope() is not None)
