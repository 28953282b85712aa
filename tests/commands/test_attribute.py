"""``tokprof attribute`` as users meet it: tiny models, all the way, interrupted and gone on with."""

import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tokprof.profiler.analysis.stats import VarianceComponents
from tokprof.profiler.analysis.study import analyze_study
from tokprof.profiler.analysis.study_parts import NaturalLine
from tokprof.profiler.commands.attribute import _arms, _progress, as_text, make_plan
from tokprof.profiler.measure import study as measure_study
from tokprof.profiler.measure.request import Message
from tokprof.profiler.measure.schedule import units
from tokprof.profiler.measure.study import Overhead, Pace, StudyProgress
from tokprof.profiler.record import Device, Note
from tokprof.profiler.studies import ArmRole, FinishedBlock, create_study, load_plan
from tokprof.profiler.study_samples import load_study

sys.path.insert(0, str(Path(__file__).parents[1]))
from study_makers import MACHINE, plan_of, study_of

torch = pytest.importorskip("torch")

WITHOUT_TORCH = """
import sys
REFUSED = {"torch", "transformers"} | ({"tokenizers"} if "--from" in sys.argv else set())
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from tokprof.profiler.cli import main
main()"""


def tokprof(*words, timeout=300, **more):
    command = [sys.executable, "-m", "tokprof.profiler.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Make a tiny model with a byte-level tokenizer, and another of the same shape with other weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for seed, name in enumerate(("base", "tuned")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=256,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            bos_token_id=None,
            eos_token_id=None,
        )
        LlamaForCausalLM(config).save_pretrained(folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for task in ("one", "two"):
        (folder / task).mkdir()
        for name in ("python.py", "go.go", "odin.odin", "gleam.gleam"):
            (folder / task / name).write_text(f"// {task} {name}\n" + "let value = 3 + call(x)\n" * 6)
    return folder


def options(tiny, corpus, out):
    return [
        *("attribute", "--base", tiny / "base", "--tuned", tiny / "tuned", "--corpus", corpus, "--device", "cpu"),
        *("-P", 2, "--content-share", 0.2, "--natural", 4, "--trace-steps", 3, "--threads", 1, "--out", out),
    ]


@pytest.fixture(scope="session")
def finished(tiny, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "s"
    done = tokprof(*options(tiny, corpus, folder))
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_study_from_the_plan_to_the_page(finished):
    folder, done = finished
    assert "tuned takes" in done.stdout.lower()
    assert "expected: about" in done.stdout
    told = done.stderr.splitlines()  # no terminal: lines
    assert told[0].startswith("process 1 of 2: loading")
    assert any(re.fullmatch(r"process 1 of 2: measuring, 1 of 12 blocks measured, about \d+ s left", x) for x in told)
    assert told[-1].startswith("process 2 of 2: done, 12 of 12 blocks measured")
    assert "with 80 % power" in done.stdout
    for words in ("the base against itself", "the tokenizer has no part in it", "unseen less seen", "every table"):
        assert words in " ".join(done.stdout.split())
    page = (folder / "report.html").read_text()
    assert "<h1>" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)  # it needs no network
    plan = load_plan(folder)
    study = load_study(folder, units(plan), plan)
    assert study.finished_block_count == study.planned_block_count == 4 * 2 + 4
    assert {arm.name for arm in plan.arms} == {"base", "base again", "tuned"}
    assert sorted(study.traces()) == [(arm, 0) for arm in range(3)]


def test_what_is_left_is_guessed_by_what_was_measured():
    pace = Pace(work_left=100.0, loading=Overhead(left=2), tracing=Overhead(left=2))
    pace.enter("starting", 1000.0)
    pace.enter("loading", 1002.0)
    assert pace.left_s(1005.0) is None  # nothing is known yet
    pace.enter("blocks", 1010.0)
    pace.advance(25.0, 5.0)
    assert pace.left_s(1015.0) == 75 * 5 / 25 + 10  # blocks as so far; another process loads as long as this one
    pace.advance(25.0, 15.0)
    assert pace.left_s(1030.0) == 50 * 20 / 50 + 10
    pace.enter("tracing", 1030.0)
    pace.enter("tracing", 1033.0)  # the next arm
    pace.enter("ended", 1036.0)
    assert pace.left_s(1036.0) == 20 + 10 + 6
    pace.enter("starting", 1036.0)
    assert [pace.left_s(now) for now in (1040.0, 1046.0, 1050.0)] == [20 + 6 + 6, 20 + 6, 20 + 6]  # it loads longer
    pace.enter("blocks", 1050.0)
    pace.advance(50.0, 20.0)
    assert pace.left_s(1070.0) == 6
    pace.enter("tracing", 1070.0)
    assert pace.left_s(1072.0) == 4
    pace.enter("ended", 1078.0)
    assert pace.left_s(1078.0) == 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_time_left_falls_while_the_next_process_loads_and_on_a_cpu_only_the_first_traces(monkeypatch, tmp_path, device):
    load_s, block_s, trace_s, count = 600.0, 30.0, 50.0, 3
    traces = [True, device != "cpu", device != "cpu"]
    now = 0.0
    told = []  # process, seconds that are left, seconds that are said to be left
    every = load_s + count * block_s
    whole = len(traces) * every + sum(traces) * trace_s

    def serve(session):
        nonlocal now
        process = session.request.unit.process
        for _ in range(4):
            now += load_s / 4
            session.take(Message(kind="stage", text="loading"))
        machine = replace(MACHINE, device=Device(kind=device, name=device))
        header = msgspec.structs.replace(study_of(plan).headers[0], process=process, environment=machine)
        session.instrument(Message(kind="want", text="header", detail=msgspec.json.encode(header).decode()))
        for block in session.request.blocks:
            session.take(Message(kind="stage", text="blocks"))
            now += block_s
            line = msgspec.json.encode(FinishedBlock(session=0, block=block, samples=()))
            session.take(Message(kind="block", detail=line.decode(), count=round(1000 * block_s)))
        if traces[process]:
            session.take(Message(kind="stage", text="tracing"))
            now += trace_s
        session.take(Message(kind="done"))

    monkeypatch.setattr(measure_study.time, "monotonic", lambda: now)
    monkeypatch.setattr(measure_study.Session, "start", lambda _: None)
    monkeypatch.setattr(measure_study.Session, "serve", serve)
    monkeypatch.setattr(measure_study, "load_study", lambda *_: None)
    monkeypatch.setattr(measure_study, "_disturbances", lambda *_: ())
    plan = plan_of(ArmRole.AGAIN, process_count=len(traces))
    items = tuple(replace(item, prompt="x" * 90, content="y" * 90) for item in plan.items)
    plan = replace(plan, languages=plan.languages[:count], items=items)
    create_study(tmp_path / "s", plan)
    measure_study.run_study(tmp_path / "s", plan, lambda p: told.append((p.process, whole - now, p.left_s)))
    assert all(left is None for process, true, left in told if process == 0 and true > whole - load_s - block_s)
    later = [(true, left) for process, true, left in told if process]
    assert len(later) == 2 * (4 + 2 * count + 2) + sum(traces[1:])
    assert [left for _, left in later] == pytest.approx([true for true, _ in later])


def test_without_a_terminal_progress_is_lines_and_says_when_the_machine_was_busy(capfd):
    busy = Note(code="contaminated", message="3 of 12 samples ran on a contended host", advice="end other work")
    common = {"planned_block_count": 6, "process_count": 2, "arm": ""}
    with _progress() as tell:
        tell(StudyProgress(**common, finished_block_count=0, process=0, stage="loading", detail="base"))
        for done in (1, 1, 2, 3):
            tell(StudyProgress(**common, finished_block_count=done, process=0, stage="blocks", left_s=200.0))
        tell(StudyProgress(**common, finished_block_count=3, process=0, stage="ended", left_s=100.0, notes=(busy,)))
        apart = common | {"arm": "tuned"}
        tell(StudyProgress(**apart, finished_block_count=6, process=1, stage="ended", left_s=0.0))
    assert capfd.readouterr().err.splitlines() == [
        "process 1 of 2: loading base, 0 of 6 blocks measured",
        "process 1 of 2: measuring, 1 of 6 blocks measured, about 3 min left",
        "process 1 of 2: done, 3 of 6 blocks measured, about 2 min left; 3 of 12 samples ran on a contended host: end "
        "other work",
        "process 2 of 2 of tuned: done, 6 of 6 blocks measured",
    ]


def test_a_recorded_study_says_the_same_again(finished):
    folder, done = finished
    again = tokprof("attribute", "--from", folder)
    assert again.returncode == 0
    assert again.stdout == done.stdout[done.stdout.index(again.stdout.split("\n", 1)[0]) :]
    full = tokprof("attribute", "--from", folder, "--full").stdout
    assert "against base" in full  # of the models' own answers
    assert "against base" not in again.stdout
    page = (folder / "report.html").stat()
    data = json.loads(tokprof("attribute", "--from", folder, "--json").stdout)
    assert (folder / "report.html").stat() == page  # it was asked for data
    assert math.log1p(data["margin_relative"]) == pytest.approx(data["margin_log"])
    cancelled = [line for c in data["comparisons"] for line in c["factors"] if line["factor"] == "N_in"]
    assert [(x["by_design"], x["seconds"], x["effect"]) for x in cancelled] == [(True, None, None)] * 2
    assert [(x["ended_share"], x["token_count_log"]) for x in data["natural"]] == [
        (0.0, None)
    ] * 3  # all cut off at 4 tokens
    assert data["sentences"][0].split()[0] == again.stdout.split()[0]
    assert {c["arm"] for c in data["comparisons"]} == {"base again", "tuned"}
    timeline = data["comparisons"][1]["timeline"]
    assert {phase["phase"] for phase in timeline} == {"prefill", "decode"}
    # Each arm was traced in one process: its lines have no verdict, which would rest on that process's steps.
    assert {line["verdict"] for phase in timeline for line in phase["ledger"]} == {"one sample"}


def test_logarithms_in_the_json_are_of_what_it_says_they_are():
    plan = plan_of(ArmRole.TUNED, process_count=3)
    study = study_of(plan, tokens_per_byte=[0.35, 0.5])
    report = analyze_study(study)
    answers = NaturalLine(
        arm="tuned", answer_count=4, token_count=8.0, ended_share=1.0, log_ratio=-0.2, same_tokens=0.5
    )
    known = VarianceComponents(between_sd=0.003, within_sd=0.005, process_count=3, block_count=8)
    comparisons = tuple(replace(comparison, components=known) for comparison in report.comparisons)
    data = json.loads(as_text(replace(report, natural=(answers,), comparisons=comparisons)))
    rates = {(x["arm"], x["language"]): x for x in data["rates"]}
    own = [(arm, i, item) for arm in (0, 1) for i, item in enumerate(plan.items) if item.language == "go"]
    for arm, name in enumerate(("base", "tuned")):
        (line,) = (x for x in data["fertility"] if (x["arm"], x["language"]) == (name, "Go"))
        header = study.headers[0]
        counts = [
            (header.prompt_token_counts[a][i] + header.content_token_counts[a][i])
            / (item.prompt_lexeme_count + item.content_lexeme_count)
            for a, i, item in own
            if a == arm
        ]
        assert math.exp(line["tokens_per_lexeme_log"]["value"]) == pytest.approx(statistics.geometric_mean(counts))

    def decode_s(arm, language):
        items = [i for i, item in enumerate(plan.items) if item.language == language]
        rows = (study.samples.arm == arm) & np.isin(study.samples.item, items)
        return study.samples.decode_ns[rows].sum()

    (compared,) = data["comparisons"]
    line = next(x for x in compared["identity"] if x["language"] == "Go")
    assert math.exp(line["total_log"]) == pytest.approx(decode_s(1, "go") / decode_s(0, "go"))
    tokens = [rates[arm, "Go"]["tokens_per_lexeme"] for arm in ("base", "tuned")]
    assert math.exp(line["fertility_log"]) == pytest.approx(tokens[1] / tokens[0])
    line = next(x for x in data["language_identity"] if x["language"] == "Go")
    assert math.exp(line["total_log"]) == pytest.approx(decode_s(0, "go") / decode_s(0, "python"))
    assert math.exp(line["fertility_log"]) == pytest.approx(tokens[0] / rates["base", "Python"]["tokens_per_lexeme"])
    parts = [line[f"{part}_log"] for part in ("verbosity", "fertility", "steps", "step_cost")]
    assert sum(parts) == pytest.approx(line["total_log"])
    assert data["natural"][0]["token_count_log"] == -0.2
    assert data["comparisons"][0]["components"]["between_sd_log"] == 0.003
    assert data["comparisons"][0]["components"]["within_sd_log"] == 0.005


def test_an_analysis_needs_neither_models_nor_torch(finished, tmp_path):
    folder, _ = finished
    words = [sys.executable, "-c", WITHOUT_TORCH, "attribute", "--from", folder, "--html", tmp_path / "r.html"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def started(tiny, corpus, folder):
    words = [sys.executable, "-m", "tokprof.profiler.cli", *map(str, options(tiny, corpus, folder))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished_lines(folder: Path) -> list[str]:
    return [
        line
        for file in sorted(folder.glob("process-*.jsonl"))
        for line in file.read_text().splitlines()
        if '"type":"block"' in line
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_finished_block_is_lost_or_measured_twice(tiny, corpus, tmp_path, number):
    folder = tmp_path / "s"
    process = started(tiny, corpus, folder)
    deadline = time.monotonic() + 120
    while len(finished_lines(folder)) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    kept = finished_lines(folder)
    assert 3 <= len(kept) < 12
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"{len(kept)} of 12 blocks are kept in {folder}, go on with --resume" in err
    done = tokprof("attribute", "--resume", "--out", folder)
    assert done.returncode == 0, done.stderr
    lines = finished_lines(folder)
    assert len(lines) == 12
    assert set(kept) <= set(lines)  # byte for byte: nothing was measured again
    assert "was measured in 2 sessions" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_a_full_disk_loses_no_finished_block(tiny, corpus, tmp_path):
    folder = tmp_path / "s"
    script = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
from tokprof.profiler.cli import main
main()"""
    words = [sys.executable, "-c", script, *map(str, options(tiny, corpus, folder)), "--content-share", "0.6"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2, done.stdout
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    kept = finished_lines(folder)
    assert tokprof("attribute", "--resume", "--out", folder).returncode == 0
    assert set(kept) <= set(finished_lines(folder))


def test_arms_of_another_shape_are_refused_by_key(tiny, corpus, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny / "base")
    config.intermediate_size = 96
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wide")
    (tmp_path / "wide" / "tokenizer.json").write_bytes((tiny / "base" / "tokenizer.json").read_bytes())
    words = options(tiny, corpus, tmp_path / "s")
    words[words.index(tiny / "tuned")] = tmp_path / "wide"
    done = tokprof(*words, "--plan")  # before anything is loaded
    assert done.returncode == 2
    assert f"{tmp_path / 'wide'}: intermediate_size is 96 and 64 for the base" in done.stderr
    assert "--explained model.config" in done.stderr
    assert tokprof(*words, "--plan", "--explained", "model.config").returncode == 0


def test_arms_of_another_configuration_are_refused_by_key_once_they_are_loaded(tiny, corpus, tmp_path):
    shutil.copytree(tiny / "base", tmp_path / "other")
    facts = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(facts | {"rms_norm_eps": 1e-5}))
    words = options(tiny, corpus, tmp_path / "s")
    words[words.index(tiny / "tuned")] = tmp_path / "other"
    done = tokprof(*words)
    assert done.returncode == 2
    assert "model.config is" in done.stderr
    assert "--explained model.config" in done.stderr
    assert not (tmp_path / "s").exists()  # nothing was measured: the same command can be given again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--base is missing"),
        (("--base", "Codestrol-22B"), "Codestral-22B"),
        (("--base", "BASE", "--margin", "much"), "--margin much: no number; write 1% or 0.01"),
        (("--base", "BASE", "--margin", "0"), "--margin 0: wants to lie between"),
        (("--base", "BASE", "--languages", "klingon"), "--languages klingon: not in this corpus, which has"),
        (("--base", "BASE", "--seen", "go", "--unseen", "go"), "both name go"),
        (("--base", "BASE", "--family", "gpt"), "--family gpt: unknown; choose one of"),
        (("--base", "BASE", "--prompt-share", "0.9", "--content-share", "0.5"), "exceed the whole text"),
        (("--base", "BASE", "--corpus", "/nowhere"), "/nowhere: no such file or folder"),
        (("--base", "BASE", "-P", "1000000"), "blocks are more than 1,000,000"),
        (("--base", "BASE", "-P", "9999999999"), "key 'process_count' is 9999999999, and wants a whole number <="),
        (("--base", "BASE", "--resume", "--out", "x"), "leave out --base"),
        (("--resume", "--out", "x", "-P", "9", "--margin", "2%"), "leave out --processes, --margin"),
        (("--resume",), "--resume wants --out"),
        (("--resume", "--out", "/nowhere"), "/nowhere: no such study folder"),
        (("--from", "/nowhere"), "/nowhere: no such study folder"),
        (("--from", "/nowhere", "--base", "BASE"), "leave out --base"),
        (("--from", "/nowhere", "--margin", "2%"), "leave out --margin"),
        (("--base", "BASE", "--swap"), "--swap wants --tuned"),
        (("--base", "BASE", "--tuned", "/nowhere"), "/nowhere: no such file or folder; name a model's folder"),
        (("--base", "BASE", "--adapter", "/nowhere"), "no PEFT adapter here"),
    ],
)
def test_a_mistake_is_one_line_that_says_the_way_out(tiny, tmp_path, words, message):
    words = [str(tiny / "base") if word == "BASE" else word for word in words]
    done = tokprof("attribute", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="session")
def coarse(tiny, tmp_path_factory):
    """Make a model of the base's shape whose tokenizer joins pairs of letters: other tokens for the same text."""
    import shutil

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("coarse") / "coarse"
    shutil.copytree(tiny / "tuned", folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    unused = [sign for sign in alphabet if not sign.isascii()]
    merges = [("l", "e"), ("c", "a"), ("l", "l")]
    signs = [sign for sign in alphabet if sign not in unused[:3]] + ["le", "ca", "ll"]
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(signs)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.slow
def test_swapped_arms_read_each_others_tokens(tiny, coarse, corpus, tmp_path):
    words = options(tiny, corpus, tmp_path / "s")
    words[words.index(tiny / "tuned")] = coarse
    words[words.index("-P") + 1] = 1
    done = tokprof(*words, "--swap")
    assert done.returncode == 0, done.stderr
    plan = load_plan(tmp_path / "s")
    study = load_study(tmp_path / "s", units(plan), plan)
    counts = {
        plan.arms[arm].name: study.samples.select(study.samples.arm == arm).prompt_token_count.sum()
        for arm in range(len(plan.arms))
    }
    assert counts["base, tuned's tokens"] == counts["tuned"] < counts["base"]
    assert counts["tuned, base's tokens"] == counts["base"]
    assert re.search(r"tuned takes .* with -[\d.]+% tokens", " ".join(done.stdout.split()), re.IGNORECASE)


def test_code_that_comes_with_a_model_runs_only_if_it_is_asked_for_again(finished, tmp_path):
    folder, _ = finished
    facts = json.loads((folder / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(facts | {"trust_remote_code": True}))
    done = tokprof("attribute", "--resume", "--out", tmp_path)
    assert done.returncode == 2
    assert "planned with --trust-remote-code; pass it again if you trust" in done.stderr
    again = tokprof("attribute", "--resume", "--out", tmp_path, "--trust-remote-code", "--plan")
    assert again.returncode == 0, again.stderr


def test_a_text_too_short_to_cut_is_named(tiny, tmp_path):
    (tmp_path / "c" / "one").mkdir(parents=True)
    (tmp_path / "c" / "one" / "go.go").write_text("x")
    done = tokprof("attribute", "--base", tiny / "base", "--corpus", tmp_path / "c", "--out", tmp_path / "s")
    assert done.returncode == 2
    assert "go.go: 1 characters are too few to read a part and decode another" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--content-share", "0.01"), r"go/one: 10 tokens to read and 1 to decode for \S+; a step wants two"),
        (("--natural", "3000"), r"go/one: 3,010 tokens exceed the context of \S+, 2,048; pass a smaller"),
    ],
)
@pytest.mark.parametrize("start", [True, False])
def test_texts_that_no_arm_can_read_are_refused_before_the_plan(tiny, tmp_path, words, message, start):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "go.go").write_text("x" * 50)
    script = [sys.executable, "-c", WITHOUT_TORCH, *map(str, options(tiny, tmp_path, tmp_path / "s")), *words]
    done = subprocess.run(script + ["--plan"] * (not start), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not done.stdout  # no plan that cannot be run
    assert not (tmp_path / "s").exists()


def test_a_model_that_cannot_read_is_refused_before_the_plan():
    done = tokprof("attribute", "--base", "tiny-llama", "--weights", "random", "--plan")
    assert done.returncode == 2
    assert "tiny-llama: has no tokenizer here, so it cannot read the corpus; name a folder that" in done.stderr


def test_a_plan_holds_the_texts_that_are_measured_and_no_others(tiny, tmp_path):
    rows = [
        {"text": f"// {task}\n" + "let value = 3 + call(x)\n" * 6, "language": key, "task": f"task {task}"}
        for key in ("go", "odin", "python")
        for task in range(400 if key != "odin" else 2)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arms = _arms(str(tiny / "base"), None, None, None, None, weights="real", swap=False, apart=False)
    design = {"corpus": str(tmp_path / "rows.jsonl"), "languages": [], "seen": ["go", "python"], "unseen": ["odin"]}
    design |= {"family": None, "prompt_share": 0.2, "content_share": 0.2, "margin": 0.01}
    plan, other = (make_plan(arms, **design, process_count=3, block_count=2, seed=seed) for seed in (0, 1))
    tasks = {language.key: [] for language in plan.languages}
    for item in plan.items:
        tasks[item.language].append(item.task)
    assert {key: len(own) for key, own in tasks.items()} == {"go": 6, "odin": 2, "python": 6}
    assert tasks["go"] == tasks["python"]  # languages are compared over the same tasks as far as both have them
    assert {item.task for item in other.items} != {item.task for item in plan.items}
    assert {block.item for unit in units(plan) for block in unit.blocks} == set(range(14))
    assert plan.corpus_digest == other.corpus_digest  # of all that there was to draw from


def test_languages_go_by_their_names_and_aliases(tiny, corpus, tmp_path):
    done = tokprof(*options(tiny, corpus, tmp_path / "s"), "--languages", "PYTHON, Go", "--plan")
    assert done.returncode == 0, done.stderr
    assert "2 languages: Go, Python" in done.stdout


def test_the_plan_alone_measures_nothing(tiny, corpus, tmp_path):
    done = tokprof(*options(tiny, corpus, tmp_path / "s"), "--plan")
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    assert "process 2, one after the other" in words
    assert "block 12: one text, measured with every arm in a random order and back; 1 per language and pro" in words
    assert "sample 60:" in words
    assert not (tmp_path / "s").exists()


def test_the_plan_as_json_says_what_would_be_measured_and_measures_nothing(tiny, corpus, tmp_path):
    done = tokprof(*options(tiny, corpus, tmp_path / "s"), "--plan", "--json", "--margin", "2%")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    plan = json.loads(done.stdout)
    assert [arm["name"] for arm in plan["arms"]] == ["base", "base again", "tuned"]
    counts = ("process_count", "blocks_per_language_and_process", "block_count", "natural_block_count", "sample_count")
    assert [plan[key] for key in counts] == [2, 1, 12, 4, 8 * 6 + 4 * 3]
    assert plan["margin_relative"] == 0.02
    assert plan["detectable_relative"] > 0
    assert plan["expected_s"] > 0
    assert {(item["language"], item["task"]) for item in plan["items"]} >= {("go", "one"), ("odin", "two")}
    assert not (tmp_path / "s").exists()


def test_with_a_process_for_each_arm_a_block_is_one_arms(tiny, corpus, tmp_path):
    done = tokprof(*options(tiny, corpus, tmp_path / "s"), "--plan", "--apart")
    words = " ".join(done.stdout.split())
    assert "process 2 for each arm; each loads its model anew" in words
    assert "block 36: one text, measured with one arm; 1 per language and process of each arm" in words


def test_a_plan_to_go_on_with_counts_what_is_measured_already(finished, tmp_path):
    folder, _ = finished
    (tmp_path / "plan.json").write_bytes((folder / "plan.json").read_bytes())
    lines = (folder / "process-00.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "process-00.jsonl").write_bytes(b"".join(lines[:4]))
    words = ("attribute", "--resume", "--out", tmp_path, "--plan")
    plan = json.loads(tokprof(*words, "--json").stdout)
    assert (plan["finished_block_count"], plan["block_count"]) == (3, 12)
    assert "3 are measured already" in " ".join(tokprof(*words).stdout.split())
