"""A run's folder holds everything, is complete or absent, and is read with distrust."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.errors import FileFormatError, InputError, OutputError
from tokprof.profiler.record import (
    Cell,
    ClockAlignment,
    ClockReadings,
    Columns,
    DecodeMode,
    Device,
    Energy,
    Environment,
    HostStacks,
    InterpreterStacks,
    KernelEvents,
    ModelFacts,
    Note,
    Outcome,
    Pass,
    PassKind,
    Phase,
    PowerSamples,
    Run,
    Spans,
    Stop,
    StopRule,
)
from tokprof.profiler.store import load_run, load_runs, new_folder, save_run, save_study


def a_run(**changes):
    spans = Spans(
        pass_kind=[0, 0, 0, 2],
        repetition=[-1, 0, 0, 0],
        phase=[0, 0, 1, 1],
        step=[0, 0, 1, 1],
        token_count=[8, 8, 1, 1],
        context_token_count=[0, 0, 8, 8],
        byte_count=[30, 30, 4, 4],
        host_start_ns=[0, 2**60, 2**60 + 500, 2**60 + 900],
        host_end_ns=[10, 2**60 + 400, 2**60 + 800, 2**60 + 1300],
        mark=[1, 0, 4, 0],
    )
    facts = ModelFacts(
        name="m", architecture="llama", source="zoo", weights="random", weights_digest="w", config_digest="c",
        tokenizer_digest=None, parameter_count=7, vocabulary_count=3, context_token_count=16, dtype="float32",
        attention="sdpa", weight_bytes_per_token=28, kv_bytes_per_token=0,
    )  # fmt: skip
    machine = Environment(
        device=Device(kind="cpu", name="cpu"), system="Linux", cpu="cpu", cpu_count=2, memory_bytes=None,
        python="3.11", libraries=(("torch", "2"),),
    )  # fmt: skip
    cell = Cell(
        model="m", mode=DecodeMode.NATURAL, batch_size=1, prompt_token_count=8, new_token_count=2, prompt="p",
        prompt_digest="d",
    )  # fmt: skip
    run = Run(
        run_id="id", created="2026-01-01T00:00:00+00:00", command=("tokprof", "<script>"), tokprof_version="0",
        outcome=Outcome.COMPLETE, cell=cell, model=facts, environment=machine,
        stop=Stop(rule=StopRule.PRECISION, repetition_count=1, detail="ä"),
        passes=(Pass(kind=PassKind.CLEAN, repetition_count=1, start_ns=0, end_ns=9),), spans=spans,
    )  # fmt: skip
    return replace(run, **changes)


def a_full_run():
    return a_run(
        power=PowerSamples(
            time_ns=[1, 2], power_mw=[100_000, 2], event_reasons=[2**63, 0], other_process_count=[-1, 0],
            power_source="instant",
        ),
        sm_clocks=ClockReadings(
            repetition=[-1, 0], step=[-1, 1], time_ns=[5, 2**60], duration_ns=[20_000, 20_001], cycle_count=[1, 35_000]
        ),
        kernels=KernelEvents(
            name=[1, 0], category=[0, 0], operator=[0, 1], stream=[7, -1], repetition=[0, -1], phase=[1, -1],
            step=[1, -1], start_ns=[5, 6], duration_ns=[1, 2], names=("unused", "void k<a, b>()"),
            categories=("gemm", "other"), operators=("", "aten::mm"), call=[-1, 4], shape=[-1, 0],
            shapes=('[[[4]],[[1]],["float"]]',),
        ),
        stacks=HostStacks(
            time_ns=[1], duration_ns=[2], thread=[0], stack=[0], threads=("main",), stacks=("a (f.py:1);b (f.py:2)",)
        ),
        interpreter_stacks=InterpreterStacks(stack=[0], sample_count=[3], stacks=("x",), window_sample_count=10),
        energies=(
            Energy(phase=Phase.DECODE, window_ns=1, repetition_count=1, token_count=1, energy_mj=None, error_mj=None,
                   integrated_mj=None, counter_period_ns=None, source="counter", reason="too short"),
        ),
        alignments=(ClockAlignment(source="kineto", offset_ns=-5, error_ns=3, drift_ns=None),),
        notes=(Note(code="n", message="m"),),
    )  # fmt: skip


def save(run, folder):
    with new_folder(folder) as temporary:
        save_run(run, temporary)


def assert_same(a, b):
    for spec in fields(a):
        left, right = getattr(a, spec.name), getattr(b, spec.name)
        if isinstance(left, Columns):
            assert_same(left, right)
        elif isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right, spec.name


@pytest.mark.parametrize("run", [a_run(), a_full_run()], ids=["sparse", "full"])
def test_a_run_comes_back_as_it_was(tmp_path, run):
    save(run, tmp_path / "r")
    back = load_run(tmp_path / "r")
    assert_same(run, back)
    assert_same(run, load_runs(tmp_path / "r")[0])


def test_a_run_of_the_first_version_has_no_readings_of_the_device_s_own_clock(tmp_path):
    save(a_full_run(), tmp_path / "r")
    edited(tmp_path / "r", lambda content: content.update(schema_version=1) or content.pop("sm_clocks"))
    (tmp_path / "r" / "sm_clocks.parquet").unlink()
    assert_same(replace(a_full_run(), sm_clocks=None), load_run(tmp_path / "r"))


def test_a_run_of_an_older_version_has_no_shapes(tmp_path):
    import msgspec
    import pyarrow.parquet as pq

    save(a_full_run(), tmp_path / "r")
    edited(tmp_path / "r", lambda content: content.update(schema_version=2))
    file = tmp_path / "r" / "kernels.parquet"
    table = pq.read_table(file)
    words = msgspec.json.decode(table.schema.metadata[b"tokprof"])
    del words["shapes"]
    table = table.drop_columns(["call", "shape"]).replace_schema_metadata({"tokprof": msgspec.json.encode(words)})
    pq.write_table(table, file)
    back = load_run(tmp_path / "r").kernels
    assert (back.call, back.shape, back.shapes) == (None, None, ())
    assert back.operators == ("", "aten::mm")


def test_columns_read_without_tokprof_hold_words_not_codes(tmp_path):
    import pyarrow.parquet as pq

    save(a_full_run(), tmp_path / "r")
    spans = pq.read_table(tmp_path / "r" / "spans.parquet").to_pylist()
    assert spans[3]["pass_kind"] == "kernels"
    assert spans[2]["phase"] == "decode"
    kernels = pq.read_table(tmp_path / "r" / "kernels.parquet").to_pylist()
    assert kernels[0]["name"] == "void k<a, b>()"
    assert kernels[1]["phase"] is None


def test_columns_are_read_only_and_of_one_length():
    run = a_run()
    with pytest.raises(ValueError, match="read-only"):
        run.spans.step[0] = 5
    with pytest.raises(ValueError, match="rows"):
        replace(run.spans, step=[1, 2])


def test_a_study_lists_its_runs_in_order(tmp_path):
    with new_folder(tmp_path / "s") as folder:
        for name in ("process-00", "process-01"):
            (folder / name).mkdir()
            save_run(a_run(process_index=int(name[-1])), folder / name)
        save_study(folder, ["process-00", "process-01"])
    assert [run.process_index for run in load_runs(tmp_path / "s")] == [0, 1]


def test_a_study_cannot_point_outside_its_folder(tmp_path):
    with new_folder(tmp_path / "s") as folder:
        save_study(folder, ["../elsewhere"])
    with pytest.raises(FileFormatError, match="runs"):
        load_runs(tmp_path / "s")


# --------------------------------------------------------------------------------------------------------- atomicity


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    def fail_after_writing():
        with new_folder(tmp_path / "r") as folder:
            save_run(a_run(), folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_writing()
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_a_run_but_never_another_folder(tmp_path):
    save(a_run(), tmp_path / "r")
    with pytest.raises(OutputError, match="exists already"):
        save(a_run(), tmp_path / "r")
    with new_folder(tmp_path / "r", force=True) as folder:
        save_run(a_run(run_id="second"), folder)
    assert load_run(tmp_path / "r").run_id == "second"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="no run folder"), new_folder(tmp_path / "home", force=True):
        pass
    assert (tmp_path / "home" / "letter.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "r"]


REPLACER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import a_run
from tokprof.profiler import store
store._exchange = store._exchange if {can_exchange} else lambda *_: False
calls = 0

def watched(real):
    def call(*words):
        global calls
        if real is not Path.rename or words[0].name.startswith((".r", "r")):
            calls += 1
            if calls == {kill_at}:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*words)
    return call

Path.rename, store._exchange, store._delete = map(watched, (Path.rename, store._exchange, store._delete))
with store.new_folder(Path({folder!r}), force=True) as folder:
    store.save_run(a_run(run_id="new"), folder)
"""


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_run_that_is_replaced_is_there_before_and_after_whenever_the_process_is_killed(tmp_path, can_exchange):
    ends = set()
    for kill_at in range(1, 7):
        folder = tmp_path / str(kill_at) / "r"
        save(a_run(run_id="old"), folder)
        words = REPLACER.format(
            tests=str(Path(__file__).parent), folder=str(folder), kill_at=kill_at, can_exchange=can_exchange
        )
        code = subprocess.run([sys.executable, "-c", words], check=False).returncode
        assert code in (0, -signal.SIGKILL)
        if can_exchange:
            assert load_run(folder).run_id in ("old", "new")
        with pytest.raises(OutputError, match="exists already"):
            save(a_run(), folder)
        ends.add((code, load_run(folder).run_id))
        assert [path.name for path in folder.parent.iterdir()] == ["r"]
    assert ends == {(-signal.SIGKILL, "old"), (-signal.SIGKILL, "new"), (0, "new")}


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import a_full_run, save
run = a_full_run()
for i in range(10_000):
    save(run, Path({folder!r}) / f"run-{{i:05d}}")
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_only_whole_runs(tmp_path):
    script = WRITER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    checked = 0
    for round_ in range(6):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("run-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2 + 0.037 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for folder in tmp_path.glob("run-*"):
            assert load_run(folder).run_id == "id"
            checked += 1
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    assert checked > 10


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for the disk's end: the write fails with the same kind of error."""
    script = f"""
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import a_full_run, save
from tokprof.profiler.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
try:
    save(a_full_run(), Path({str(tmp_path / "r")!r}))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert str(tmp_path / "r") in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        save(a_run(), tmp_path / "r")


# ---------------------------------------------------------------------------------------------------------- distrust


def edited(folder, change):
    file = folder / "run.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


DAMAGE = {
    "unknown version": (lambda c: c.update(schema_version=99), "schema_version is 99"),
    "no version": (lambda c: c.pop("schema_version"), "schema_version is None"),
    "another format": (lambda c: c.update(format="x"), "'format'"),
    "missing key": (lambda c: c.pop("stop"), "key 'stop' is missing"),
    "missing table": (lambda c: c.pop("sm_clocks"), "key 'sm_clocks' is missing"),
    "wrong type": (lambda c: c["cell"].update(batch_size="many"), "'cell.batch_size' is 'many', and wants a whole"),
    "no batch": (lambda c: c["cell"].update(batch_size=0), "batch_size is 0, wants 1 or more"),
    "unknown word": (lambda c: c.update(outcome="fine"), "key 'outcome'"),
    "broken invariant": (lambda c: c.update(passes=[]), "clean pass"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_json_is_refused_with_its_key(tmp_path, name):
    change, message = DAMAGE[name]
    save(a_full_run(), tmp_path / "r")
    edited(tmp_path / "r", change)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_run(tmp_path / "r")
    assert "run.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000])
def test_text_that_is_no_run_is_refused(tmp_path, content):
    save(a_run(), tmp_path / "r")
    (tmp_path / "r" / "run.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"run\.json"):
        load_run(tmp_path / "r")


def test_missing_and_damaged_columns_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    save(a_full_run(), tmp_path / "r")
    kernels = tmp_path / "r" / "kernels.parquet"
    whole = pq.read_table(kernels)
    for content, message in (
        (None, "missing"),
        (b"PAR1 nonsense PAR1", "parquet"),
        (whole.drop_columns(["start_ns"]), "'start_ns' is missing"),
        (whole.replace_schema_metadata({}), "missing from the file's metadata"),
        (whole.set_column(0, "name", pa.array(["stranger"] * len(whole))), "'stranger'"),
        (whole.set_column(0, "name", pa.nulls(len(whole), pa.string())), f"'name' lacks {len(whole)} of its"),
        (whole.set_column(7, "start_ns", pa.array(["x"] * len(whole))), "kernels.parquet"),
    ):
        if content is None:
            kernels.unlink()
        elif isinstance(content, bytes):
            kernels.write_bytes(content)
        else:
            pq.write_table(content, kernels)
        with pytest.raises(FileFormatError, match=message) as caught:
            load_run(tmp_path / "r")
        assert "kernels.parquet" in str(caught.value)


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_runs(tmp_path / "missing")
    with pytest.raises(InputError, match="no run here"):
        load_runs(tmp_path)
