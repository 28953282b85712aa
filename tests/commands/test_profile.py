"""``tokprof profile`` and ``show``, run the way a user runs them; what is measured runs in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.record import Mark, Outcome, PassKind, Phase, StopRule
from tokprof.profiler.store import load_run, load_runs
from tokprof.profiler.trace.reader import read_trace

pytest.importorskip("torch")
TINY = ("tiny-llama", "--weights", "random", "--prompt-tokens", "32", "-n", "6")


def command(*words):
    return [sys.executable, "-m", "tokprof.profiler.cli", *map(str, words)]


def tokprof(*words, **options):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """One whole run of a tiny model, every pass included."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = tokprof("profile", *TINY, "-r", 5, "--trace-steps", 6, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_holds_every_sample_and_every_pass(tiny_run):
    folder, _ = tiny_run
    run = load_run(folder)
    assert run.outcome is Outcome.COMPLETE
    assert (run.stop.rule, run.stop.repetition_count) == (StopRule.FIXED_COUNT, 5)
    clean = run.spans.of(pass_kind=PassKind.CLEAN, counted=True)
    assert len(clean.of(phase=Phase.PREFILL)) == 5
    assert len(clean.of(phase=Phase.DECODE)) == 5 * (6 - 1)
    assert np.all(clean.duration_ns > 0)
    kinds = [p.kind for p in run.passes]
    assert kinds[:2] == [PassKind.CLEAN, PassKind.KERNELS]
    assert run.model.parameter_count == 125_248
    assert run.host is not None
    assert run.power is None
    assert any(note.code == "random-weights" for note in run.notes)
    assert any(note.code == "nvml-absent" for note in run.notes)


def test_every_report_of_a_run_gives_the_same_shares_and_ratios(in_process, tiny_run):
    folder = tiny_run[0]
    shown = json.loads(in_process("show", folder, "--json").stdout)
    analysis = json.loads(in_process("analyze", folder, "--json", "--top", 999).stdout)
    ratios = shown["slowdowns"][0]
    assert ratios["pass_kind"] == "kernels"
    compared = json.loads(in_process("compare", folder, folder, "--json", "--no-page").stdout)
    for phase, step, pair in zip(shown["phases"], analysis["steps"], compared["phases"], strict=True):
        assert phase["phase"] == step["phase"] == pair["phase"]
        assert step["busy_ms"] / step["wall_ms"] == pytest.approx(phase["kernel_busy_share"], rel=1e-3)
        assert pair["a_wall_ns"] / 1e6 == pytest.approx(step["wall_ms"])
        ratio = f"(×{ratios[phase['phase']]:.2f})"
        assert any(ratio in note["message"] for note in analysis["notes"] if note["code"] == "clean-times")
        for kernel in phase["kernels"]:
            lines_ms = sum(line["total_ms"] for line in step["lines"] if line["name"] == kernel["name"])
            assert kernel["time_us_per_span"] / 1e3 == pytest.approx(lines_ms, rel=1e-3)


def test_the_profiler_is_exported_after_the_last_clean_repetition(tiny_run):
    run = load_run(tiny_run[0])
    by_kind = {p.kind: p for p in run.passes}
    assert by_kind[PassKind.KERNELS].start_ns >= by_kind[PassKind.CLEAN].end_ns


def test_kernels_lie_inside_their_steps_on_the_hosts_clock(tiny_run):
    run = load_run(tiny_run[0])
    alignment = next(a for a in run.alignments if a.source == "kineto")
    assert alignment.error_ns < 50_000_000  # a busy machine may have taken the core between the two clocks
    spans = run.spans.of(pass_kind=PassKind.KERNELS)
    for phase in (0, 1):
        kernels = run.kernels.select((run.kernels.phase == phase) & (run.kernels.repetition == 0))
        rows = spans.select((spans.phase == phase) & (spans.repetition == 0))
        assert len(kernels) > 10
        assert kernels.start_ns.min() >= rows.start_ns.min() - alignment.error_ns
        assert kernels.end_ns.max() <= rows.end_ns.max() + alignment.error_ns
    assert (run.kernels.step == 2).sum() == (run.kernels.step == 1).sum()  # decode steps repeat


def test_the_summary_says_what_it_must(tiny_run):
    _, done = tiny_run
    figures = ("tokens/s", "per token, p99", "kernels busy", "gaps", "heaviest in decode", "not measured")
    for words in (*figures, "fingerprint", "stopped by fixed count", "kernels pass against the clean one"):
        assert words in done.stdout
    assert str(tiny_run[0]) in done.stdout


def test_show_prints_the_same_figures_from_disk(in_process, tiny_run):
    folder, done = tiny_run
    shown = tokprof("show", folder)
    assert shown.returncode == 0
    assert shown.stdout.strip() in done.stdout
    data = json.loads(in_process("show", folder, "--json").stdout)
    decode = next(phase for phase in data["phases"] if phase["phase"] == "decode")
    assert decode["latency_sample_count"] == 25
    assert decode["energy_per_token_mj"] is None
    assert decode["tokens_per_s"]["value"] == pytest.approx(5e3 / decode["time_ms"]["value"], rel=0.05)
    assert decode["time_ms"]["low"] is None  # one process gives no interval


def test_the_runs_trace_reads_back_with_its_steps(tiny_run):
    trace = read_trace(tiny_run[0])
    names = set(trace.host.names)
    assert {"prefill", "decode 1", "tokprof.decode#rep=0,step=1", "aten::mm"} <= names
    assert trace.counts.rejected == ()


def test_an_existing_folder_is_left_alone_without_force(in_process, tiny_run):
    folder, _ = tiny_run
    before = (folder / "run.json").read_bytes()
    done = in_process("profile", *TINY, "--out", folder)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert "--force" in done.stderr
    assert (folder / "run.json").read_bytes() == before


@pytest.mark.slow
def test_fresh_processes_give_an_interval(in_process, tmp_path):
    done = tokprof("profile", *TINY, "-r", 3, "--processes", 3, "--skip", "stacks", "--out", tmp_path / "p")
    assert done.returncode == 0, done.stderr
    runs = load_runs(tmp_path / "p")
    assert [run.process_index for run in runs] == [0, 1, 2]
    assert len({run.model.weights_digest for run in runs}) == 1
    data = json.loads(in_process("show", tmp_path / "p", "--json").stdout)
    time_ms = data["phases"][0]["time_ms"]
    assert time_ms["low"] < time_ms["value"] < time_ms["high"]
    assert time_ms["process_count"] == 3
    said = " ".join(in_process("analyze", tmp_path / "p").stdout.split())
    assert "p holds 3 processes; this is the first" in said


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["natural", "generate"])
def test_other_decode_modes(tmp_path, mode):
    words = ("--mode", mode, "-r", 2, "--skip", "stacks", "--out", tmp_path / "m")
    done = tokprof("profile", *TINY, *words)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "m")
    steps = len(run.spans.of(pass_kind=PassKind.CLEAN, phase=Phase.DECODE, counted=True))
    assert 0 < steps <= 2 * 5
    assert run.kernels is not None


BAD_INPUT = [
    (("no-such-model",), "no model of the zoo"),
    (("tiny-lama",), "did you mean tiny-llama"),
    (("tiny-llama",), "pass --weights random"),
    ((*TINY, "-n", "0"), "--new-tokens 0: wants at least 1"),
    ((*TINY, "--batch", "0"), "--batch 0: wants at least 1"),
    ((*TINY, "--dtype", "float8"), "--dtype float8: unknown; choose one of float32"),
    ((*TINY, "--attention", "magic"), "unknown; choose one of sdpa"),
    ((*TINY, "--prompt-tokens", "510"), "exceed the context of tiny-llama"),
    ((*TINY, "-n", "100000"), "exceed the context of tiny-llama, 512; pass --new-tokens 480 or fewer"),
    ((*TINY, "--skip", "clean"), "'clean' is not one of 'energy', 'kernels', 'stacks'"),
    ((*TINY, "--merge"), "--merge wants an --adapter"),
    ((*TINY, "--device", "cuda:7"), "no CUDA device"),
    ((*TINY, "--device", "tpu"), "--device tpu: unknown; choose cpu"),
    ((*TINY, "-n", "many"), "Invalid value for '--new-tokens'"),
    ((*TINY, "--shape", "1x8"), "--shape says batch and prompt tokens"),
    ((*TINY[:3], "--shape", "8"), "--shape 8: wants batch and prompt tokens"),
    ((*TINY[:3], "--shape", "0x8"), "--shape 0x8: wants batch and prompt tokens"),
    ((*TINY[:3], "--shape", "1x8", "--shape", "01x8"), "--shape 01x8: given twice"),
    ((*TINY[:3], "--shape", "1x8", "--processes", "2"), "--shape measures in one process"),
    ((*TINY[:3], "--shape", "1x8", "--shape", "2x8", "--compile"), "--compile: what was compiled for one shape"),
    ((*TINY, "--mode", "magic"), "Invalid value for '--mode'"),
    ((*TINY, "--fim"), "leave out --fim"),
    ((*TINY, "--prompt", "missing.txt"), "--prompt missing.txt: no such file or folder"),
    ((*TINY, "--prompt", ""), "--prompt '': an empty path"),
    ((*TINY, "--adapter", "missing"), "no PEFT adapter here"),
    (("./missing",), "no such file or folder"),
    (("missing.gguf",), "missing.gguf: no such file"),
]


@pytest.mark.parametrize(("words", "message"), BAD_INPUT, ids=[message[:24] for _, message in BAD_INPUT])
def test_a_users_mistake_gets_one_line_and_leaves_nothing(in_process, tmp_path, words, message):
    if "cuda:7" in words:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    done = in_process("profile", *words, "--out", tmp_path / "runs" / "bad")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("tokprof: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
    left = list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else []
    assert left == []


def test_shapes_are_runs_of_their_own_from_one_process(in_process, tmp_path):
    out = tmp_path / "shapes"
    words = (*TINY[:3], "-n", 4, "-r", 2, "--skip", "stacks", "--out", out)
    done = in_process("profile", *words, "--shape", "1x8", "--shape", "2x9999", "--shape", "2x16")
    assert done.returncode == 2
    assert "2 of 3 shapes are kept in" in done.stderr
    assert "b2-c9999: " in done.stderr  # beyond what the model reads
    assert sorted(place.name for place in out.iterdir()) == ["b1-c8", "b2-c16"]
    small, large = load_run(out / "b1-c8"), load_run(out / "b2-c16")
    assert (large.cell.batch_size, large.cell.prompt_token_count) == (2, 16)
    assert small.model.weights_digest == large.model.weights_digest
    assert small.host is not None
    assert large.host is not None
    assert small.host.time_ns[-1] < large.host.time_ns[0]  # each with its own samples
    assert small.kernels is not None
    assert large.kernels is not None
    assert "batch 1 · prompt 8" in done.stdout
    assert "batch 2 · prompt 16" in done.stdout
    assert "shape 3 of 3 that one process measured" in done.stdout

    done = in_process("show", out)
    assert done.returncode == 2
    assert "give one of the runs in it: b1-c8, b2-c16" in done.stderr
    done = in_process("profile", *words, "--shape", "1x4", "--shape", "2x16")
    assert done.returncode == 2
    assert "b2-c16 exists already" in done.stderr
    assert len(list(out.iterdir())) == 2
    done = in_process("profile", *words, "--shape", "1x4")
    assert done.returncode == 0
    assert "that one process measured" not in done.stdout  # it had one shape only
    done = in_process("profile", *words[:-1], out / "b1-c8", "--shape", "1x4")
    assert "is a run's folder" in done.stderr


def test_folders_that_are_no_runs(in_process, tmp_path):
    for words, message in (
        (("show", tmp_path / "missing"), "no such folder"),
        (("show", tmp_path), "no run here"),
    ):
        done = in_process(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr


def start(*words):
    return subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_worker(process, folder, seconds=60):
    """Wait until the sampler of the measured process writes: the clean pass has begun."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if list(folder.parent.glob(f".{folder.name}.*.partial/.scratch-*/samples.bin")):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("the measured process did not begin")


def test_ctrl_c_keeps_the_finished_repetitions_and_marks_the_run(tmp_path):
    folder = tmp_path / "stopped"
    process = start("profile", *TINY, "-r", 1_000_000, "--out", folder)
    wait_for_worker(process, folder)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "kept in" in err
    run = load_run(folder)
    assert run.outcome is Outcome.INTERRUPTED
    assert run.stop.rule is StopRule.INTERRUPTED
    assert run.stop.repetition_count >= 1
    assert len(run.spans.of(phase=Phase.PREFILL, counted=True)) == run.stop.repetition_count
    assert "interrupted" in out


def test_ctrl_c_before_the_first_repetition_leaves_nothing(tmp_path):
    folder = tmp_path / "early"
    process = start("profile", *TINY, "--out", folder)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".early.*.partial")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert list(tmp_path.iterdir()) == []


def test_a_second_ctrl_c_does_not_break_into_the_end():
    script = """if True:
        import atexit, time
        from tokprof.profiler import cli
        def stopped(**_):
            raise KeyboardInterrupt
        def last():
            print("ending", flush=True)
            time.sleep(1)
        cli.app = stopped
        atexit.register(last)
        cli.main()"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "tokprof: interrupted\n"


@pytest.mark.slow
def test_a_killed_run_is_complete_or_absent_and_leaves_no_process(tmp_path):
    for delay_s in (0.5, 3.0, 5.0):
        folder = tmp_path / f"killed-{delay_s}"
        process = start("profile", *TINY, "-r", 1_000_000, "--out", folder)
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not folder.exists()
    time.sleep(1.0)
    assert not _processes_below(tmp_path)
    # The next run of the same name clears what the killed one left.
    done = tokprof("profile", *TINY, "-r", 1, "--skip", "stacks", "--skip", "kernels", "--out", tmp_path / "killed-5.0")
    assert done.returncode == 0
    assert not list(tmp_path.glob(".killed-5.0.*"))


def _processes_below(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_a_killed_worker_is_explained(tmp_path):
    folder = tmp_path / "lost"
    process = start("profile", *TINY, "-r", 1_000_000, "--out", folder)
    wait_for_worker(process, folder)
    worker = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "measure.worker"], capture_output=True, text=True, check=True
    )
    os.kill(int(worker.stdout.split()[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "want of memory" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_standard_input_is_a_prompt(tmp_path):
    pytest.importorskip("tokenizers")
    done = tokprof("profile", *TINY, "--prompt", "-", "--out", tmp_path / "x", input="def f(): pass\n" * 20)
    assert done.returncode == 2  # a tiny model has no tokenizer, and says so
    assert "no tokenizer" in done.stderr


@pytest.mark.alone
@pytest.mark.slow
def test_energy_power_and_clocks_reach_the_summary_from_the_driver(nvml_stub, tmp_path):
    """The model runs on the CPU beside a stub driver, whose counter and power say 200 W."""
    nvml_stub(power_mw=200_000, counter_period_ms=20)
    words = ("--nvml-device", 0, "-r", 3, "--skip", "kernels", "--skip", "stacks", "--json", "--out", tmp_path / "e")
    done = tokprof("profile", *TINY, *words)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "e")
    for energy in run.energies:
        assert energy.counter_period_ns == pytest.approx(20e6, rel=0.2)
        assert energy.window_ns >= 100 * energy.counter_period_ns
        assert energy.energy_mj / energy.window_ns == pytest.approx(200_000 / 1e9, rel=0.02)
        assert energy.integrated_mj == pytest.approx(energy.energy_mj, rel=0.02)
        assert energy.error_mj < 0.02 * energy.energy_mj
    for phase, tokens in zip(json.loads(done.stdout)["phases"], (32, 5), strict=True):
        energy = next(e for e in run.energies if e.phase == phase["phase"])
        assert energy.token_count == energy.repetition_count * tokens
        assert phase["energy_per_token_mj"] == pytest.approx(energy.energy_mj / energy.token_count)


@pytest.mark.alone
@pytest.mark.slow
def test_a_counter_that_contradicts_the_power_gives_no_figure(nvml_stub, tmp_path):
    nvml_stub(power_mw=200_000, counter_period_ms=20, energy_scale=1.5)
    words = ("--nvml-device", 0, "-r", 3, "--skip", "kernels", "--skip", "stacks", "--out", tmp_path / "e")
    done = tokprof("profile", *TINY, *words)
    assert done.returncode == 0, done.stderr
    assert all(energy.energy_mj is None for energy in load_run(tmp_path / "e").energies)
    assert "refused: the counter says" in done.stdout


@pytest.mark.slow
def test_throttled_and_shared_repetitions_are_kept_marked_and_said(nvml_stub, tmp_path):
    nvml_stub(power_mw=200_000, reasons=4, compute="4001")
    words = ("--nvml-device", 0, "-r", 5, "--skip", "energy", "--skip", "kernels", "--skip", "stacks")
    done = tokprof("profile", *TINY, *words, "--out", tmp_path / "t", env=os.environ | {"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    clean = load_run(tmp_path / "t").spans.of(pass_kind=PassKind.CLEAN, counted=True)
    assert len(clean) == 5 * 6
    assert np.all(clean.mark & Mark.THROTTLED)
    assert np.all(clean.mark & Mark.SHARED_DEVICE)
    assert "5 marked" in done.stdout


@pytest.mark.slow
def test_a_pyspy_that_is_refused_is_a_note_with_advice(tmp_path):
    place = Path(sys.executable).parent
    venv = tmp_path / "bin"
    venv.mkdir()
    (venv / "py-spy").write_text("#!/bin/sh\necho 'Error: Permission Denied: run it as root' >&2\nexit 1\n")
    (venv / "py-spy").chmod(0o755)
    (venv / "python").symlink_to(place / "python")
    (tmp_path / "pyvenv.cfg").write_text((place.parent / "pyvenv.cfg").read_text())
    (tmp_path / "lib").symlink_to(place.parent / "lib")
    words = ["profile", *TINY, "-r", 3, "--skip", "kernels", "--out", tmp_path / "r"]
    done = subprocess.run(
        [str(w) for w in (venv / "python", "-m", "tokprof.profiler.cli", *words)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the system does not let py-spy look into the measured process" in " ".join(done.stdout.split())
    assert "→" in done.stdout
    assert load_run(tmp_path / "r").stacks is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--batch", 4, "--dtype", "bfloat16"),
        ("--attention", "eager", "--dtype", "float16"),
        ("--precision", 0.5, "--time-limit", 2),
        ("--compile", "--warm-up", 2),
        ("--native",),
        ("--blocking",),
    ],
    ids=lambda words: words[0].lstrip("-"),
)
def test_options_of_a_run(tmp_path, words):
    stacks = () if words[0] in ("--native", "--blocking") else ("--skip", "stacks")
    count = () if "--precision" in words else ("-r", 3)
    done = tokprof("profile", *TINY, *count, "--skip", "kernels", *stacks, *words, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "o")
    assert run.model.compiled == ("--compile" in words)
    assert run.model.attention == ("eager" if "eager" in words else "sdpa")
    assert run.model.dtype == next((w for w in words if str(w) in ("bfloat16", "float16")), "float32")
    assert run.cell.batch_size == (4 if "--batch" in words else 1)
    if "--precision" in words:
        assert run.stop.rule in (StopRule.PRECISION, StopRule.TIME_LIMIT, StopRule.NOISE_PLATEAU)
    if stacks == ():
        assert run.stacks is not None


@pytest.mark.slow
def test_the_real_model_on_a_real_file(in_process, tmp_path):
    source = Path(__file__)
    words = ("SmolLM2-135M-Instruct", "--prompt", source, "--prompt-tokens", 64, "-n", 8, "-r", 3)
    done = tokprof("profile", *words, "--out", tmp_path / "real")
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "real")
    assert run.model.parameter_count == 134_515_008
    assert run.cell.prompt == source.name
    assert run.spans.byte_count is not None
    assert run.cell.prompt_byte_count == run.spans.of(phase=Phase.PREFILL).byte_count[0]
    data = json.loads(in_process("show", tmp_path / "real", "--json").stdout)
    decode = next(phase for phase in data["phases"] if phase["phase"] == "decode")
    assert "gemm" in {kernel["category"] for kernel in decode["kernels"]}
    assert 0.5 < decode["kernel_busy_share"] <= 1.0
    assert data["frames"], "py-spy saw no Python frame"
