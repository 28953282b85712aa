"""``make gpu`` without a GPU: its plan, how its parts may end, and a dry run of all of it."""

import gzip
import importlib
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tokprof.profiler.store import load_calibration, load_runs

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks/gpu_evidence.py"
H100_BYTES, H200_BYTES = 85_520_809_984, 150_754_820_096


@pytest.fixture(scope="module")
def program():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # as when it is run
        yield importlib.import_module("gpu_evidence")


# ---------------------------------------------------------------------------------------------------------------- plan


def whole_plan(program, tmp_path, memory_bytes=H100_BYTES, *, tiny=False):
    sizes = program.tiny_sizes() if tiny else program.true_sizes(memory_bytes)
    return [
        *program.parts(sizes, tmp_path / "work", tmp_path),
        *program.parts(sizes, tmp_path / "work", tmp_path, study=True),
    ]


def test_the_command_line_takes_every_part_of_the_plan(program, tmp_path):
    import typer

    from tokprof.profiler.cli import app

    command = typer.main.get_command(app)
    plan = whole_plan(program, tmp_path)
    words = [part.words[3:] for part in plan if part.words[1:3] == ("-m", "tokprof.profiler")]
    assert {w[0] for w in words} == {"env", "calibrate", "kernels", "profile", "compare", "models", "attribute"}
    for name, *rest in words:
        with command.make_context("tokprof", [name, *rest]) as context:
            inner = command.get_command(context, name)
            inner.make_context(name, list(rest), parent=context, resilient_parsing=False)


def test_the_parts_are_named_once_and_follow_what_they_need(program, tmp_path):
    plan = whole_plan(program, tmp_path)
    names = [part.name for part in plan]
    assert len(set(names)) == len(names)
    for place, part in enumerate(plan):
        assert {need.partition("/")[0] for need in part.needs} <= set(names[:place])
    # Of a run among several shapes, its folder is named as `tokprof profile` names it.
    made = {
        f"{part.name}/b{shape.replace('x', '-c')}"
        for part in plan
        for option, shape in itertools.pairwise(part.words)
        if option == "--shape"
    }
    assert {need for part in plan for need in part.needs if "/" in need} <= made


@pytest.mark.parametrize("memory_bytes", [H100_BYTES, H200_BYTES])
@pytest.mark.parametrize("study", [False, True])
def test_the_parts_fit_the_budget_with_a_reserve(program, tmp_path, memory_bytes, study):
    plan = program.parts(program.true_sizes(memory_bytes), tmp_path, tmp_path, study=study)
    expected_s = sum(part.expected_s for part in plan)
    assert 0.5 * program.BUDGET_S < expected_s < 0.95 * (program.BUDGET_S - program.RESERVE_S)
    for part in plan:
        assert part.expected_s < part.limit_s <= program.BUDGET_S


def test_the_plan_counts_every_prefill_of_a_shape(program, monkeypatch):
    """Where one repetition takes all the time there is: two clean ones, one traced; the first shape sets tracing up."""
    sizes = program.true_sizes(H100_BYTES)
    around_s = program.load_s("StarCoder") + program.AROUND_S
    monkeypatch.setattr(program, "repetition_s", lambda *_: (100.0, 0.0))
    assert program.profile_s("StarCoder", [(1, 512)], sizes) == pytest.approx(around_s + 400)
    both_s = program.profile_s("StarCoder", [(1, 512), (32, 8192)], sizes)
    assert both_s == pytest.approx(around_s + 700 + program.AROUND_S)


def test_the_plan_of_a_study_counts_every_prefill_and_trace_of_its_processes(program, monkeypatch):
    sizes = program.true_sizes(H100_BYTES)
    own_s = program.load_s("StarCoder") + program.TRACE_S
    monkeypatch.setattr(program, "repetition_s", lambda *_: (100.0, 0.0))
    # To warm up, twice in each of six languages, and four times under the profiler, where all takes twice as long.
    assert program.study_s("StarCoder", sizes) == pytest.approx(4 * 3 * (own_s + 100 * (1 + 2 * 6 + 2 * 4)))


@pytest.mark.parametrize(
    ("model", "memory", "batch", "why"),
    [
        ("Codestral-22B-v0.1", None, 32, ""),
        ("Codestral-22B-v0.1", H100_BYTES, 8, "44.5 GB of weights, 60.1 of cache and 38.7 of activations exceed 81.2"),
        ("StarCoder", H100_BYTES, 16, "31.0 GB of weights, 5.4 of cache"),
        ("StarCoder", H200_BYTES, 32, ""),
    ],
)
def test_a_batch_is_halved_until_it_fits(program, model, memory, batch, why):
    found, remark = program.fitting_batch(model, 32, 8192, memory, prefill_limit_s=1e9)
    assert found == batch
    assert why in remark
    assert bool(remark) == (batch < 32)
    if memory is not None:
        assert sum(program.memory_needed(model, batch, 8192)) < memory


def test_a_batch_that_takes_too_long_is_halved_too(program):
    found, remark = program.fitting_batch("StarCoder", 32, 8192, H200_BYTES, prefill_limit_s=8.0)
    assert found == 8
    assert "a prefill of 32x8192 would take" in remark


def test_what_was_not_tried_is_said_and_what_is_measured_named(program, tmp_path):
    plan = {part.name: part for part in whole_plan(program, tmp_path)}
    words = plan["codestral"].words
    shapes = [shape for option, shape in itertools.pairwise(words) if option == "--shape"]
    assert shapes == ["1x512", "32x512", "1x8192", "8x8192"]
    assert plan["codestral"].remark.startswith("32x8192 was not tried: 44.5 GB of weights")
    assert plan["codestral"].remark.endswith("8x8192 is in its place")


def test_every_test_that_wants_a_gpu_is_among_those_that_run(program):
    holding = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()]
    holding.remove(Path(__file__).relative_to(ROOT))  # for the words above
    assert Path("tests/measure/test_gpu.py") in holding
    for path in holding:
        assert any(path.is_relative_to(place) for place in program.true_sizes(None).tests), path


def test_prompts_leave_room_for_the_new_tokens(program):
    assert program.prompt_tokens("Codestral-22B-v0.1", 8192, 32) == 8192
    assert program.prompt_tokens("StarCoder", 8192, 32) == 8160  # it has 8192 positions


def test_chosen_parts_bring_what_they_need(program, tmp_path):
    plan = program.parts(program.true_sizes(None), tmp_path, tmp_path)
    names = [part.name for part in program.chosen(plan, ["compare-smollm2-adapter", "trace-starcoder"])]
    assert names == [
        "starcoder",
        "trace-starcoder",
        "smollm2-model",
        "smollm2-unmerged",
        "smollm2-merged",
        "compare-smollm2-adapter",
    ]
    with pytest.raises(SystemExit, match="no such part"):
        program.chosen(plan, ["nothing-*"])


def test_the_plan_is_listed_without_a_gpu(tmp_path):
    for words in ([], ["--study"]):
        listed = [sys.executable, str(SCRIPT), "--list", "--out", str(tmp_path / "none"), *words]
        done = subprocess.run(listed, capture_output=True, text=True, check=True)
        last = done.stdout.splitlines()[-1].split()
        assert (last[0], last[2:]) == ("all", ["s", "of", "515"])
    assert "codestral-study" in done.stdout
    assert not (tmp_path / "none").exists()


# ------------------------------------------------------------------------------------------------------------ outcomes


def gathered(program, tmp_path, *plan, budget_s=60.0):
    work, results = tmp_path / "work", tmp_path / "results"
    work.mkdir(exist_ok=True)
    evidence = program.Evidence(results, work, budget_s=budget_s, environment={}, facts={"device": None})
    evidence.run(list(plan))
    kept = json.loads((results / "outcomes.json").read_text())
    assert kept["device"] is None
    return {part["part"]: part for part in kept["parts"]}


def python(program, name, code, **more):
    words = (sys.executable, "-c", code)
    return program.Part(name=name, words=words, **{"expected_s": 1.0, "limit_s": 30.0} | more)


def test_each_outcome_is_told_from_the_others_and_costs_only_itself(program, tmp_path):
    outcomes = gathered(
        program,
        tmp_path,
        python(program, "bad", "import sys; print('first'); sys.exit('tokprof: no such thing')"),
        python(program, "after-bad", "", needs=("bad",)),
        python(program, "lacking", "", packages=("no_such_package",)),
        python(program, "not-to-be-had", "raise SystemExit('out of reach')", optional=True),
        python(program, "long", "", expected_s=1e6, limit_s=1e6),
        python(program, "crash", "import os; print('at it', flush=True); os.abort()"),
        python(program, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        python(program, "too-large", "import sys; sys.exit('tokprof: out of memory with X: 1 GB is free')"),
        python(program, "good", "print('[1]')", output="good.json"),
        python(program, "after-good", "", needs=("good",)),
    )
    assert {name: o["outcome"] for name, o in outcomes.items()} == {
        "bad": "failed",
        "after-bad": "absent",
        "lacking": "absent",
        "not-to-be-had": "absent",
        "long": "skipped",
        "crash": "failed",
        "killed": "failed",
        "too-large": "failed",
        "good": "done",
        "after-good": "done",
    }
    assert outcomes["bad"]["detail"] == "tokprof: no such thing"
    assert outcomes["bad"]["exit_code"] == 1
    assert outcomes["long"]["detail"].endswith("s were left, it takes about 1000000 s")
    assert outcomes["crash"]["detail"] == "ended by SIGABRT; at it"
    assert outcomes["killed"]["detail"] == "ended by SIGKILL; it said nothing"
    assert outcomes["too-large"]["detail"] == "tokprof: out of memory with X: 1 GB is free"
    assert outcomes["not-to-be-had"]["detail"] == "out of reach"
    assert outcomes["after-bad"]["exit_code"] is None
    assert "first" in (tmp_path / "results/logs/bad.txt").read_text()
    assert json.loads((tmp_path / "results/good.json").read_text()) == [1]


def test_a_part_that_takes_too_long_ends_with_all_its_processes(program, tmp_path, monkeypatch):
    monkeypatch.setattr("evidence_parts.GRACE_S", 0.3)
    note = tmp_path / "child"
    code = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'], process_group=0)\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "print('still at it', flush=True); time.sleep(100)"
    )
    started = time.monotonic()
    outcomes = gathered(program, tmp_path, python(program, "stuck", code, limit_s=6.0), python(program, "next", ""))
    assert time.monotonic() - started < 30
    assert outcomes["stuck"]["outcome"] == "timed out"
    assert outcomes["stuck"]["detail"].endswith("still at it")
    assert outcomes["next"]["outcome"] == "done"
    child = Path(f"/proc/{note.read_text()}/stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_budget_ends_the_part_that_runs_and_skips_the_rest(program, tmp_path, monkeypatch):
    monkeypatch.setattr("evidence_parts.GRACE_S", 0.3)
    stuck = "import time; print('at it', flush=True); time.sleep(100)"
    started = time.monotonic()
    outcomes = gathered(
        program,
        tmp_path,
        python(program, "first", ""),
        python(program, "cut", stuck, limit_s=60.0),
        python(program, "rest", "", expected_s=30.0),
        budget_s=program.RESERVE_S + 8,
    )
    assert time.monotonic() - started < 30
    assert {name: o["outcome"] for name, o in outcomes.items()} == {
        "first": "done",
        "cut": "timed out",
        "rest": "skipped",
    }
    assert "all that was left" in outcomes["cut"]["detail"]


RUN = (
    "import pathlib, sys, time\n"
    "def run(place):\n"
    "    place = pathlib.Path(place); place.mkdir(parents=True)\n"
    "    for name in ('spans.parquet', 'trace.json.gz', 'run.json'): (place / name).write_text('x')\n"
)


def test_runs_are_kept_while_their_part_goes_on(program, tmp_path, monkeypatch):
    monkeypatch.setattr("evidence_parts.LOOK_S", 0.1)
    kept = tmp_path / "results/runs/shapes/b1-c8/run.json"
    code = RUN + (
        f"run({str(tmp_path / 'work/shapes/b1-c8')!r})\n"
        "for _ in range(300):\n"
        f"    if pathlib.Path({str(kept)!r}).exists(): break\n"
        "    time.sleep(0.1)\n"
        "else: sys.exit('nothing was kept')\n"
        f"run({str(tmp_path / 'work/shapes/b2-c8')!r})\n"
        "sys.exit('out of memory')"
    )
    outcomes = gathered(
        program,
        tmp_path,
        python(program, "shapes", code, limit_s=60.0),
        python(program, "after", "", needs=("shapes/b2-c8",)),
        python(program, "without", "", needs=("shapes/b9-c8",)),
    )
    assert outcomes["shapes"]["detail"] == "out of memory"
    assert outcomes["shapes"]["run"] == "runs/shapes"
    files = {str(path.relative_to(tmp_path / "results/runs/shapes")) for path in kept.parent.parent.rglob("*.*")}
    assert files == {f"{run}/{name}" for run in ("b1-c8", "b2-c8") for name in ("run.json", "spans.parquet")}
    # What of a part is there serves those that need no more than it.
    assert (outcomes["after"]["outcome"], outcomes["without"]["outcome"]) == ("done", "absent")


def test_a_study_that_was_ended_is_reported_on(program, tmp_path):
    study = tmp_path / "work/study"
    code = f"import pathlib; p = pathlib.Path({str(study)!r}); p.mkdir(); (p / 'plan.json').write_text('x'); 1 / 0"
    outcomes = gathered(
        program, tmp_path, python(program, "study", code), python(program, "report", "", needs=("study",))
    )
    assert (outcomes["study"]["outcome"], outcomes["report"]["outcome"]) == ("failed", "done")
    assert (tmp_path / "results/runs/study/plan.json").is_file()


def test_an_interrupted_run_is_kept_without_its_trace(program, tmp_path):
    code = RUN + f"run({str(tmp_path / 'work/run')!r}); sys.exit(130)"
    outcomes = gathered(program, tmp_path, python(program, "run", code))
    assert outcomes["run"]["run"] == "runs/run"
    assert sorted(p.name for p in (tmp_path / "results/runs/run").iterdir()) == ["run.json", "spans.parquet"]


def test_a_later_call_adds_to_the_record(program, tmp_path):
    gathered(program, tmp_path, python(program, "a", "raise SystemExit(1)"), python(program, "b", ""))
    outcomes = gathered(program, tmp_path, python(program, "a", ""), python(program, "c", "", needs=("b",)))
    assert {name: o["outcome"] for name, o in outcomes.items()} == {"a": "done", "b": "done", "c": "absent"}


# -------------------------------------------------------------------------------------------------------------- traces


def test_a_trace_is_cut_to_what_one_repetition_launched(program, tmp_path):
    def slice_(name, ts, dur, category, **args):
        process = 2 if "stream" in args else 1
        return {"ph": "X", "pid": process, "tid": 1, "name": name, "cat": category, "ts": ts, "dur": dur, "args": args}

    events = [{"ph": "M", "pid": 1, "tid": 1, "name": "process_name", "args": {"name": "host"}}]
    for repetition, start in enumerate((100.0, 200.0)):
        for step, name in enumerate(("prefill#rep={}", "decode#rep={},step=1")):
            at, number = start + 20 * step, 10 * repetition + step
            events += [
                slice_("tokprof." + name.format(repetition), at, 15.0, "user_annotation"),
                slice_("cudaLaunchKernel", at + 1, 2.0, "cuda_runtime", correlation=number),
                {"ph": "s", "id": number, "pid": 1, "tid": 1, "ts": at + 1, "cat": "ac2g", "name": "ac2g"},
                # The device is late: what the first repetition launched runs during the second.
                slice_(f"kernel {number}", at + 105, 9.0, "kernel", correlation=number, stream=7),
                {"ph": "f", "id": number, "pid": 2, "tid": 1, "ts": at + 105, "cat": "ac2g", "name": "ac2g"},
            ]
    source, out = tmp_path / "trace.json.gz", tmp_path / "cut.json.gz"
    source.write_bytes(gzip.compress(json.dumps({"baseTimeNanoseconds": 5, "traceEvents": events}).encode()))
    program.trim(str(source), out)
    cut = json.loads(gzip.decompress(out.read_bytes()))
    assert cut["baseTimeNanoseconds"] == 5
    names = [event["name"] for event in cut["traceEvents"]]
    assert [name for name in names if name.startswith("kernel")] == ["kernel 0", "kernel 1"]
    assert [name for name in names if name.startswith("tokprof")] == [
        "tokprof.prefill#rep=0",
        "tokprof.decode#rep=0,step=1",
    ]
    assert names.count("process_name") == 1
    arrows = [(event["ph"], event["id"]) for event in cut["traceEvents"] if event["ph"] in "sf"]
    assert arrows == [("s", 0), ("f", 0), ("s", 1), ("f", 1)]


# ------------------------------------------------------------------------------------------------------------- dry run


@pytest.mark.slow
def test_a_dry_run_goes_through_every_part(tmp_path):
    pytest.importorskip("peft")
    pytest.importorskip("triton")
    out = tmp_path / "evidence"
    # The budget is the GPU's; a machine that others use as well may take longer.
    dry_run = [sys.executable, str(SCRIPT), "--dry-run", "--out", str(out), "--budget", "1500"]
    done = subprocess.run(dry_run, capture_output=True, text=True, timeout=1600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((out / "outcomes.json").read_text())
    parts = {part["part"]: part for part in record["parts"]}
    assert {name: part["detail"] for name, part in parts.items() if part["outcome"] != "done"} == {}
    assert record["dry_run"] is True
    assert record["device"]["kind"] == "cpu"

    assert {name for name, part in parts.items() if part["run"]} == {
        "codestral",
        "codestral-triton",
        "starcoder",
        *(f"smollm2-{what}" for what in ("eager", "compiled", "merged", "unmerged", "trained")),
        "codestral-study",
        "starcoder-study",
    }
    runs = {f"{f.parent.parent.name}/{f.parent.name}": load_runs(f.parent)[0] for f in out.glob("runs/*/*/run.json")}
    assert {f"codestral/b{batch}-c{length}" for batch in (1, 2) for length in (8, 12)} <= set(runs)
    spied = runs["smollm2-eager/b1-c8"]
    assert spied.stacks is not None or "pyspy-absent" in {note.code for note in spied.notes}
    assert runs["starcoder/b1-c8"].model.architecture == "gpt_bigcode"
    merged, unmerged = runs["smollm2-merged/b1-c8"].model, runs["smollm2-unmerged/b1-c8"].model
    assert merged.adapter_digest == unmerged.adapter_digest is not None
    assert (merged.adapter, unmerged.adapter) == ("merged", "unmerged")
    assert runs["starcoder/b2-c12"].cell.batch_size == 2
    assert load_calibration(out / "calibration.json").environment.device.kind == "cpu"
    for name in ("codestral-study.json", "starcoder-study.json"):
        study = json.loads((out / name).read_text())
        assert {comparison["arm"] for comparison in study["comparisons"]} == {"base again", "placebo", "adapter"}
    difference = json.loads((out / "compare-smollm2-adapter.json").read_text())
    assert {ledger["phase"] for ledger in difference["phases"]} == {"prefill", "decode"}
    assert "clean pass" in (out / "overhead.json").read_text()
    for name in ("trace-codestral.json.gz", "trace-starcoder.json.gz"):
        words = [sys.executable, "-m", "tokprof.profiler", "analyze", str(out / name), "--json"]
        said = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert {step["phase"] for step in said["steps"]} == {"prefill", "decode"}
    assert not list(out.rglob("trace.json.gz"))
    assert sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) < 4e6
    again = subprocess.run(dry_run, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "holds an earlier gathering" in again.stderr
