"""``tokprof open``: what it shows, what it says, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("viztracer")
from tokprof.profiler.commands.open import perfetto_trace
from tokprof.profiler.errors import TokprofError
from tokprof.profiler.trace.reader import read_trace


def a_file(path, *, gap=20, cut=False, base=0):
    events = [
        {
            "ph": "X",
            "cat": "kernel",
            "name": f"k{i}",
            "ts": gap * i,
            "dur": 20,
            "pid": 0,
            "tid": 7,
            "args": {"stream": 7},
        }
        for i in range(5)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"baseTimeNanoseconds": base, "traceEvents": events})
    path.write_text(text[:-40] if cut else text)
    return path


def test_a_sound_file_is_shown_as_it_is(tmp_path, capsys):
    file = a_file(tmp_path / "t.json")
    assert perfetto_trace([file], tmp_path / "x.json.gz") == file
    assert capsys.readouterr().out == ""


def test_overlapping_kernels_are_laid_on_lanes_and_that_is_said(tmp_path, capsys):
    shown = perfetto_trace([a_file(tmp_path / "t.json", gap=15)], tmp_path / "x.json.gz")
    assert shown == tmp_path / "x.json.gz"
    assert "lanes of their own" in capsys.readouterr().out
    assert read_trace(shown, cache=False).device.duration_ns.tolist() == [20_000] * 5


def test_a_cut_off_file_shows_its_whole_events(tmp_path, capsys):
    shown = perfetto_trace([a_file(tmp_path / "t.json", cut=True)], tmp_path / "x.json.gz")
    assert len(read_trace(shown, cache=False).device) == 4
    assert "4 whole events" in capsys.readouterr().out


def test_two_stand_below_each_other_under_their_names(tmp_path):
    files = [a_file(tmp_path / "a" / "t.json"), a_file(tmp_path / "b" / "t.json", gap=30)]
    back = read_trace(perfetto_trace(files, tmp_path / "x.json.gz"), cache=False)
    assert {t.process_name for t in back.threads} == {f"A: {files[0]}", f"B: {files[1]}"}
    assert len(back.device) == 10


@pytest.mark.parametrize(("base", "first_two"), [(10_000, 10_000), (10**12, 0)], ids=["ranks", "processes in turn"])
def test_a_folder_of_several_shows_them_all(tmp_path, base, first_two):
    a_file(tmp_path / "job" / "rank0.json")
    a_file(tmp_path / "job" / "rank1.json", base=base)
    back = read_trace(perfetto_trace([tmp_path / "job"], tmp_path / "x.json.gz"), cache=False)
    assert {t.process_name for t in back.threads} == {"rank0.json", "rank1.json"}
    assert back.device.start_ns[1] - back.device.start_ns[0] == first_two


@pytest.mark.parametrize("text", ["", "hello", '{"a": 1}'])
def test_what_is_no_trace_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "no.json").write_text(text)
    for path in (tmp_path / "no.json", tmp_path / "missing.json"):
        with pytest.raises(TokprofError) as caught:
            perfetto_trace([path], tmp_path / "x.json.gz")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_it_says_the_address_and_ends_cleanly_at_ctrl_c(tmp_path):
    file = a_file(tmp_path / "t.json", gap=15)
    words = [sys.executable, "-m", "tokprof.profiler.cli", "open", "--no-browser", str(file)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    try:
        said = next(line for line in process.stdout if "http://127.0.0.1:" in line)
        address = next(word for word in said.split() if word.startswith("http://"))
        with urllib.request.urlopen(address + "localtrace", timeout=10) as response:
            assert response.read(2) == b"\x1f\x8b"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert errors == ""
    assert list(tmp_path.glob("tokprof-open-*")) == []
