"""``tokprof kernels`` and ``tokprof profile --kernels`` as a user meets them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used")


def tokprof(*words, interpreted=False, code=0):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"} | {"COLUMNS": "200"}
    if interpreted:
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-m", "tokprof.profiler.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_sizes_and_heads_are_listed_as_they_are():
    text = tokprof("kernels", "--list", "--model", "tiny-mamba2", "--batch", 1).stdout
    assert re.search(r"RMSNorm +tiny-mamba2 +1 x 64 +0\.000384 ", text)
    assert "4 heads over 1 KV head of" in tokprof("kernels", "--list", "--model", "tiny-gpt-bigcode").stdout
    assert "'skinny product, int8', 'LM head, greedy'" in tokprof("kernels", "--only", "softmax", code=2).stderr


@no_gpu
def test_without_a_gpu_the_kernels_are_listed_and_it_is_said_that_nothing_was_timed():
    done = tokprof("kernels", "--only", "attention", "--context", 512)
    assert done.stdout.count("decode_attention") == 4  # two models, two batches
    assert "F.scaled_dot_product_attention" in done.stdout
    assert done.stderr.strip() == (
        "torch sees no CUDA device here, so nothing was timed; --resources compiles them without one"
    )
    facts = json.loads(tokprof("kernels", "--list", "--json", "--model", "starcoder", "--batch", 1).stdout)
    head = next(fact for fact in facts if fact["kernel"] == "LM head, greedy")
    assert head["byte_count"] == 2 * 49152 * 6144 + 2 * 6144 + 8
    assert head["flop_count"] == 2 * 49152 * 6144
    assert {fact["model"] for fact in facts} == {"StarCoder", "MQA of 48 heads"}


def test_no_model_is_listed_with_more_tokens_than_it_takes():
    def attention(*words):
        facts = json.loads(tokprof("kernels", "--list", "--json", "--only", "attention", "--batch", 1, *words).stdout)
        return [(fact["model"], int(fact["shape"].split()[2])) for fact in facts]

    codestral = [("Codestral-22B-v0.1", count) for count in (2048, 8192, 32768)]
    assert attention() == [*codestral, ("StarCoder", 2048), ("StarCoder", 8192), ("MQA of 48 heads", 32768)]
    assert attention("--model", "StarCoder2-3B") == [("StarCoder2-3B", 2048)]  # its window is 4096
    assert attention("--model", "tiny-llama") == [("tiny-llama", 512)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "softmax"), "--only softmax: no kernel of that name; choose from 'RMSNorm', 'SwiGLU', 'rotary'"),
        (("--model", "Codestrel-22B-v0.1"), "did you mean Codestral-22B-v0.1"),
        (
            ("--model", "StarCoder2-3B", "--context", "9999"),
            "9999: no model attends to so many tokens: StarCoder2-3B to",
        ),
        (("--batch", "0"), "greater than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(words, said):
    done = tokprof("kernels", *words, code=2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_resources_are_compiled_for_three_generations():
    facts = json.loads(tokprof("kernels", "--resources", "--json", "--only", "GELU").stdout)
    assert [fact["target"] for fact in facts] == ["sm_80", "sm_90", "sm_100"]
    assert all(fact["launch"] == "gelu_kernel" and fact["register_count"] > 0 for fact in facts)
    assert {fact["spill_bytes"] for fact in facts} == {0}
    refused = tokprof("kernels", "--resources", "--only", "GELU", interpreted=True, code=2)
    assert (
        refused.stderr == "tokprof: --resources: TRITON_INTERPRET=1 is set, so there is nothing to compile; unset it\n"
    )


@pytest.mark.parametrize("stopped", [False, True])
def test_a_case_that_fails_or_a_stop_costs_no_other_case_its_figures(monkeypatch, capsys, stopped):
    from tokprof.kernels import benchmark
    from tokprof.profiler.commands import kernels as command
    from tokprof.profiler.errors import MeasurementError

    ends = iter([None, torch.OutOfMemoryError("no"), RuntimeError("ptxas fatal\nand more"), None, "late"])
    late = []  # what the next call that waits for the device raises
    timing = benchmark.Timing(cold_ns=(2000.0,), warm_ns=(1000.0,), late_count=0)

    def measure(case, dtype, _count):
        error = next(ends, KeyboardInterrupt() if stopped else None)
        if error == "late":
            late.append(RuntimeError("an illegal memory access"))
        elif error is not None:
            raise error
        cost = case.cost(dtype)
        return benchmark.Measured(
            case=case, cost=cost, difference=0.0, allowed_difference=1.0, kernel=timing, library=timing
        )

    monkeypatch.setattr(benchmark, "measure", measure)

    def ask_the_device():
        if late:
            raise late.pop()

    monkeypatch.setattr(torch.cuda, "synchronize", ask_the_device)
    monkeypatch.setattr(torch.cuda, "empty_cache", ask_the_device)
    device = SimpleNamespace(name="a device", driver="1")
    monkeypatch.setattr("tokprof.profiler.environment.environment", lambda _: SimpleNamespace(device=device))
    monkeypatch.setattr("tokprof.profiler.commands.calibrate.kept_calibration", lambda _: None)
    chosen = list(command._chosen(["StarCoder"], "skinny", [1], [512]))
    with pytest.raises(KeyboardInterrupt if stopped else MeasurementError):
        command._benchmark(chosen, torch.bfloat16, 5, as_json=True)
    kept = json.loads(capsys.readouterr().out)["cases"]
    assert len(kept) == (5 if stopped else len(chosen))
    assert [case.get("failure") for case in kept[:5]] == [
        None, "out of memory", "ptxas fatal", None, "an illegal memory access",
    ]  # fmt: skip
    assert kept[3]["kernel_time"]["cold_ns"] == [2000.0]


PROFILE = ("profile", "tiny-llama", "--weights", "random", "--kernels", "triton", "--device", "cpu")


def test_triton_kernels_are_refused_on_a_cpu_and_under_torch_compile(tmp_path: Path):
    done = tokprof(*PROFILE, "--compile", "--out", tmp_path / "run", code=2)
    assert "--kernels triton: torch.compile would replace these kernels" in done.stderr
    done = tokprof(*PROFILE, "--out", tmp_path / "run", code=2)
    assert "Triton kernels need a GPU, and the model is on cpu" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_profile_by_the_interpreter_says_what_stood_in_for_what(tmp_path: Path):
    words = ("-n", 2, "-r", 1, "--warm-up", 0, "--prompt-tokens", 4, "--skip", "energy", "--skip", "stacks", "--json")
    done = tokprof(*PROFILE, *words, "--out", tmp_path / "run", interpreted=True)
    summary = json.loads(done.stdout)
    notes = {note["code"]: note for note in summary["notes"]}
    assert "15 x skinny product, 2 x SwiGLU, 5 x RMSNorm, 1 x rotary" in notes["kernels-swapped"]["message"]
    assert "whose times say nothing of a GPU" in notes["kernels-swapped"]["message"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["model"]["kernels"] == "triton"
