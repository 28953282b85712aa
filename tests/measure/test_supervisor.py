"""The process around the measured one, interrupted and killed at every stage."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tokprof.profiler.record import Outcome, PassKind, Phase
from tokprof.profiler.store import load_run, load_runs

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

# Measures a tiny model and signals a process when a stage is reported.
SCRIPT = """
import os, signal, subprocess, sys, threading
from pathlib import Path
from tokprof.profiler.errors import TokprofError
from tokprof.profiler.measure.request import Request
from tokprof.profiler.measure.stopping import StopLimits
from tokprof.profiler.measure.supervisor import profile, profile_shapes

folder, stage, delay_s, number, whom, processes, shapes = sys.argv[1:]
seen = 0

def hit():
    pid = os.getpid()
    if whom != "supervisor":
        found = subprocess.run(["pgrep", "-P", str(pid), "-f", whom], capture_output=True, text=True)
        pid = int(found.stdout.split()[0])
    os.kill(pid, int(number))

def report(message):
    global seen
    if message.kind == "stage" and message.text == stage:
        seen += 1
        if int(shapes) and seen != 2:
            return
        timer = threading.Timer(float(delay_s), hit)
        timer.daemon = True
        timer.start()

request = Request(model="tiny-llama", weights="random", prompt_token_count=32, new_token_count=6, stack_time_s=0.5,
                  shapes=tuple((batch + 1, 16) for batch in range(int(shapes))), limits=StopLimits(repetition_count=20))
try:
    if int(shapes):
        found = profile_shapes(request, Path(folder), report=report)
        print([(one.folder.name, one.run and str(one.run.outcome), one.failure) for one in found])
        sys.exit()
    runs = profile(request, Path(folder), process_count=int(processes), report=report)
except TokprofError as error:
    print(error.exit_code, error)
else:
    print([str(run.outcome) for run in runs])
"""


def measured(folder, stage, delay_s=0.0, *, number=signal.SIGINT, whom="supervisor", processes=1, shapes=0):
    words = [sys.executable, "-c", SCRIPT, folder, stage, delay_s, int(number), whom, processes, shapes]
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=300, check=False)


def left_running(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def wait_until_gone(folder: Path, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while (running := left_running(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running


@pytest.mark.parametrize(("stage", "delay_s"), [("loading", 0.0), ("loading", 0.5), ("loading", 2.0), ("clean", 0.0)])
def test_ctrl_c_before_the_first_repetition_keeps_nothing(tmp_path, stage, delay_s):
    done = measured(tmp_path / "run", stage, delay_s)
    assert done.stdout.startswith("130 interrupted before the first repetition"), done.stderr
    assert list(tmp_path.iterdir()) == []
    wait_until_gone(tmp_path)


@pytest.mark.parametrize("stage", ["kernels", "stacks", "interpreter stacks", "exporting", "saving", "assembling"])
def test_ctrl_c_after_the_clean_pass_keeps_it_and_marks_the_run(tmp_path, stage):
    done = measured(tmp_path / "run", stage, 0.05)
    assert done.stdout.strip() == "['interrupted']", done.stderr
    run = load_run(tmp_path / "run")
    assert run.outcome is Outcome.INTERRUPTED
    assert len(run.spans.of(pass_kind=PassKind.CLEAN, phase=Phase.DECODE, counted=True)) == 20 * 5
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    wait_until_gone(tmp_path)


@pytest.mark.parametrize(("stage", "delay_s"), [("stacks", 0.05), ("assembling", 0.0)])
def test_ctrl_c_keeps_the_shapes_that_are_finished(tmp_path, stage, delay_s):
    done = measured(tmp_path / "runs", stage, delay_s, shapes=3)
    found = ast.literal_eval(done.stdout)
    assert [name for name, _, _ in found] == ["b1-c16", "b2-c16"], done.stderr
    assert load_run(tmp_path / "runs/b1-c16").outcome is Outcome.COMPLETE
    assert load_run(tmp_path / "runs/b2-c16").spans is not None
    assert sorted(place.name for place in (tmp_path / "runs").iterdir()) == ["b1-c16", "b2-c16"]
    wait_until_gone(tmp_path)


def test_a_killed_worker_keeps_the_shapes_that_are_finished(tmp_path):
    done = measured(tmp_path / "runs", "kernels", number=signal.SIGKILL, whom="measure.worker", shapes=3)
    first, second, third = ast.literal_eval(done.stdout)
    assert first == ("b1-c16", "complete", ""), done.stderr
    for name, outcome, failure in (second, third):
        assert outcome is None, name
        assert "the measured process was killed" in failure
    assert [place.name for place in (tmp_path / "runs").iterdir()] == ["b1-c16"]
    wait_until_gone(tmp_path)


def test_ctrl_c_keeps_the_processes_that_are_finished(tmp_path):
    done = measured(tmp_path / "run", "assembling", processes=2)
    assert done.stdout.strip() == "['interrupted']", done.stderr
    (run,) = load_runs(tmp_path / "run")
    assert run.outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize("stage", ["loading", "clean", "kernels", "stacks", "exporting", "saving", "assembling"])
def test_a_killed_supervisor_leaves_no_run_and_no_process(tmp_path, stage):
    done = measured(tmp_path / "run", stage, 0.05, number=signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "run").exists()
    wait_until_gone(tmp_path)


@pytest.mark.parametrize("stage", ["clean", "stacks", "exporting"])
def test_a_killed_worker_is_one_line_and_no_run(tmp_path, stage):
    done = measured(tmp_path / "run", stage, number=signal.SIGKILL, whom="measure.worker")
    assert done.stdout.startswith("2 the measured process was killed"), done.stderr
    assert list(tmp_path.iterdir()) == []
    wait_until_gone(tmp_path)


def test_a_killed_sampler_or_pyspy_is_a_note_in_a_whole_run(tmp_path):
    for whom, code in (("sensors.sampler", "sampler-failed"), ("py-spy", "pyspy-absent")):
        folder = tmp_path / code
        done = measured(folder, "stacks", 1.0, number=signal.SIGKILL, whom=whom)
        assert done.stdout.strip() == "['complete']", done.stderr
        assert code in {note.code for note in load_run(folder).notes}


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk wants root")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("no small disk can be mounted here")
    try:
        for size in ("60k", "200k", "500k"):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            done = measured(disk / "run", "")
            assert done.stdout.startswith(f"2 {disk / 'run'}: the disk is full"), (size, done.stdout, done.stderr)
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=False)
