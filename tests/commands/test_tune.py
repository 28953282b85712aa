"""``tokprof tune`` as a user meets it: results, refusals of one line, Ctrl-C and going on."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from tokprof.models.loading import ModelSpec, load
from tokprof.models.tuning import TuneSpec
from tokprof.profiler import cli
from tokprof.profiler.commands.tune import _progress

TOKPROF = (sys.executable, "-m", "tokprof.profiler.cli")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Return a folder of a tiny model with random weights and one token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("base") / "tiny"
    load(ModelSpec(name="tiny-llama", weights="random")).model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.fixture
def tokprof(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["tokprof", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return call


SMALL = ("--steps", "4", "--batch", "1", "--length", "32", "--rank", "4")


def test_a_control_and_a_placebo_beside_the_tuned_model(tokprof, base, tmp_path):
    out = tmp_path / "cwe"
    code, said, progress = tokprof("tune", base, *SMALL, "--control", "general", "--merge", "--out", out, "--json")
    assert code == 0, progress
    tuned, control = json.loads(said)
    assert (tuned["data"]["name"], control["data"]["name"]) == ("cwe", "general")
    same = {key: value for key, value in tuned["settings"].items() if key != "data"}
    assert same == {key: value for key, value in control["settings"].items() if key != "data"}
    assert tuned["digest"] != control["digest"]
    assert "tokprof: training, loss of its batch " in progress
    assert "tokprof: the loss after\n" in progress  # not known yet, and the last batch's is another
    assert re.findall(r"writing \S+, loss ([\d.]+)", progress) == [
        f"{one['loss_after']:.4f}" for one in (tuned, control)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cwe", "cwe-control"]

    code, said, _ = tokprof("tune", base, "--placebo", out, "--out", tmp_path / "placebo")
    assert code == 0
    assert "placebo, nothing learned" in said
    record = json.loads((tmp_path / "placebo" / "tokprof-tune.json").read_text())
    assert record["norm"] == pytest.approx(json.loads((out / "tokprof-tune.json").read_text())["norm"], rel=1e-5)

    code, _, said = tokprof("tune", base, *SMALL, "--out", out)
    assert (code, said.count("\n")) == (2, 1)
    assert "exists already" in said
    code, said, _ = tokprof("tune", base, *SMALL, "--out", out, "--force")
    assert code == 0
    assert "a LoRA adapter" in said
    assert f"--adapter {out}" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere.jsonl"), "no such data; it is cwe or general"),
        (("--control", "nowhere.jsonl"), "no such data; it is cwe or general"),
        (("--method", "qlora"), "'qlora' is not one of 'lora', 'full'"),
        (("--rank", "0"), "rank 0: wants at least 1"),
        (("--length", "9999"), "beyond the context"),
        (("--dtype", "int4"), "--dtype int4: unknown"),
        (("--device", "abacus"), "--device abacus: unknown"),
        (("--placebo", "nowhere"), "--placebo nowhere: no such folder"),
        (("--placebo", ".", "--merge"), "leave out --control, --resume, --merge"),
        (("--placebo", "."), "neither an adapter nor a model"),
        (("--resume",), "no unfinished run"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tokprof, base, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, said = tokprof("tune", base, "--out", tmp_path / "out", *words)
    lines = [line for line in said.splitlines() if "loading" not in line]
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_what_the_disk_tells_is_refused_before_a_model_is_loaded(tokprof, base, tmp_path):
    for words, message in (
        (("tiny-llama", "--weights", "random"), "tiny-llama: has no tokenizer here, so there is nothing to train on"),
        ((base, "--length", "9999"), "beyond the context"),
    ):
        code, _, said = tokprof("tune", *words, "--out", tmp_path / "out")
        assert code == 2
        assert message in said
        assert "loading" not in said

    assert list(tmp_path.iterdir()) == []


def test_names_with_brackets_are_shown_as_they_are(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with _progress(TuneSpec(model="m[/b]"), Path("o[/b]")) as show:
        show("loading", 0, None, None)
    assert "loading m[/b]" in capsys.readouterr().err


def test_an_unknown_base_offers_near_names(tokprof, tmp_path):
    code, _, said = tokprof("tune", "SmolLM-135M", "--out", tmp_path / "out")
    assert code == 2
    assert "did you mean SmolLM2-135M-Instruct" in said


@pytest.mark.slow
def test_ctrl_c_keeps_the_step_and_resume_ends_with_the_same_bytes(tokprof, base, tmp_path):
    words = ("tune", base, "--steps", "400", "--batch", "1", "--length", "32", "--rank", "4")
    out = tmp_path / "part"
    command = [*TOKPROF, *words, "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "at step 40 " in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "with --resume goes on" in rest
    assert not out.exists()
    checkpoint = tmp_path / "part.checkpoint"
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]

    code, _, said = tokprof(*words, "--out", out)
    assert code == 2
    assert "unfinished run; go on with --resume" in said
    code, _, _ = tokprof(*words, "--out", out, "--resume")
    assert code == 0
    assert not checkpoint.exists()
    whole = tmp_path / "whole"
    assert tokprof(*words, "--out", whole)[0] == 0
    resumed, straight = (json.loads((place / "tokprof-tune.json").read_text()) for place in (out, whole))
    assert 40 <= resumed["resumed_at_steps"][0] < 400
    assert resumed["digest"] == straight["digest"]
    assert resumed["losses"] == straight["losses"]

    code, said, progress = tokprof(*words, "--out", out, "--resume")
    assert code == 0
    assert "is finished already" in progress
    code, _, said = tokprof("tune", base, *SMALL, "--out", out, "--resume")
    assert code == 2
    assert "not what is asked for now" in said


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(tokprof, base, tmp_path):
    words = ("tune", base, "--steps", "200", "--batch", "1", "--length", "32", "--rank", "4")
    command = [*TOKPROF, *words, "--checkpoint-steps", "5", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out.checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert tokprof(*words, "--out", tmp_path / "out", "--resume")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert tokprof(*words, "--out", tmp_path / "whole")[0] == 0
    resumed, straight = (json.loads((tmp_path / n / "tokprof-tune.json").read_text()) for n in ("out", "whole"))
    assert resumed["resumed_at_steps"][0] % 5 == 0
    assert resumed["digest"] == straight["digest"]
