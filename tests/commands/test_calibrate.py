"""``tokprof calibrate`` and ``limits`` as a user runs them, and the floors that follow in a report."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tokprof.models.cost import ModelShape, step_cost
from tokprof.profiler.analysis.roofline import BUSY_MACHINE, ceiling_of, floor_of
from tokprof.profiler.commands import calibrate
from tokprof.profiler.record import Note, PassKind, Phase
from tokprof.profiler.sensors.host import HostReading
from tokprof.profiler.store import load_calibration, load_run

pytest.importorskip("torch")
# Its weights are four times this machine's last cache, so that decoding has to read the memory.
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 512, "intermediate_size": 1536,
    "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 8192,
    "max_position_embeddings": 1024, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def tokprof(cache, *words):
    environment = os.environ | {"TOKPROF_CACHE": str(cache), "COLUMNS": "160"}
    words = [sys.executable, "-m", "tokprof.profiler.cli", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """The cache folder of a machine calibrated in haste, and the calibration."""
    cache = tmp_path_factory.mktemp("cache")
    done = tokprof(cache, "calibrate", "--device", "cpu", "--seconds", 0.02, "--out", cache / "copy.json")
    assert done.returncode == 0, done.stderr
    return cache, done, load_calibration(cache / "copy.json")


def test_a_calibration_holds_every_sample_of_every_probe(calibrated):
    cache, done, calibration = calibrated
    kinds = {probe.name for probe in calibration.probes}
    kinds -= {"memory read, one thread", "matrix product, one thread"}  # there is none on a machine of one
    assert kinds == {"memory read", "memory copy", "matrix product", "operator call", "clock step"}
    assert {p.dtype for p in calibration.probes if p.name == "matrix product"} == {"float32", "bfloat16", "float16"}
    assert all(len(probe.samples) >= 3 and min(probe.samples) > 0 for probe in calibration.probes)
    rows = {p.method.split()[2] for p in calibration.probes if p.name == "matrix product" and p.dtype == "float16"}
    assert {"1", "8"} <= rows  # by which decoding in float16 is faster than any square product
    ceiling = ceiling_of(calibration)
    assert 1e8 < ceiling.bandwidth_bytes_per_s < 1e12
    assert 1e8 < ceiling.flops_per_s["float32"] < 1e14
    (kept,) = (cache / "calibrations").iterdir()
    assert kept.read_bytes() == (cache / "copy.json").read_bytes()
    assert str(kept) in done.stdout
    assert "memory read" in done.stdout


def test_a_disturbed_calibration_does_not_replace_a_quiet_one(calibrated, tmp_path, monkeypatch, capsys):
    quiet = replace(calibrated[2], notes=())
    busy = replace(quiet, notes=(Note(code=BUSY_MACHINE, message="m"),), created="2031-01-01")
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path))

    def kept_after(measured):
        monkeypatch.setattr(calibrate, "_measure", lambda *_: measured)
        calibrate.calibrate(device="cpu", seconds=0.01, out=tmp_path / "out.json", force=True, as_json=True)
        assert load_calibration(tmp_path / "out.json") == measured
        return calibrate.kept_calibration(quiet.environment.device)

    assert kept_after(busy) == busy  # better than none
    assert "while other programs ran" in ceiling_of(busy).source
    assert kept_after(quiet) == quiet
    assert capsys.readouterr().err == ""
    assert kept_after(busy) == quiet
    assert f"the calibration of {quiet.created[:10]} is kept" in capsys.readouterr().err
    assert kept_after(later := replace(quiet, created="2032-01-01")) == later


def test_a_calibration_of_few_samples_does_not_replace_one_of_many_unless_told_to(
    calibrated, tmp_path, monkeypatch, capsys
):
    def of(count, notes=()):
        probes = tuple(replace(probe, samples=probe.samples[:1] * count) for probe in calibrated[2].probes)
        return replace(calibrated[2], probes=probes, notes=notes)

    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path))

    def kept_after(measured, **options):
        monkeypatch.setattr(calibrate, "_measure", lambda *_: measured)
        calibrate.calibrate(device="cpu", seconds=0.01, as_json=True, **options)
        return calibrate.kept_calibration(measured.environment.device)

    thorough, half, hasty = of(60), of(30), of(3)
    assert kept_after(thorough) == thorough
    assert kept_after(half) == half  # a busier minute, perhaps
    assert kept_after(thorough) == thorough
    assert capsys.readouterr().err == ""
    assert kept_after(hasty) == thorough
    said = capsys.readouterr().err
    count = len(hasty.probes)
    assert f"this one has {3 * count} samples and an earlier one {60 * count:,}, so the calibration of" in said
    assert said.rstrip().endswith("; --keep keeps the new one all the same")
    assert kept_after(hasty, keep=True) == hasty
    assert capsys.readouterr().err == ""
    busy = (Note(code=BUSY_MACHINE, message="m"),)
    assert kept_after(disturbed := of(60, busy), keep=True) == disturbed
    assert kept_after(of(3, busy)) == disturbed
    assert kept_after(hasty) == hasty  # quiet, at least


def test_a_file_of_a_calibration_is_told_and_replaced_only_when_asked(calibrated, tmp_path):
    assert f"written to {calibrated[0] / 'copy.json'}" in calibrated[1].stdout
    (tmp_path / "old.json").write_text("mine")
    for out, said in (("old.json", "old.json exists already; choose another --out or pass --force"),
                      ("none/new.json", "there is no folder")):  # fmt: skip
        done = tokprof(tmp_path / "cache", "calibrate", "--device", "cpu", "--out", tmp_path / out)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "mine"


def test_others_at_work_meanwhile_are_told():
    before = HostReading(time_ns=0, busy_ns=0, process_cpu_ns=0)
    alone = HostReading(time_ns=10**9, busy_ns=2 * 10**9, process_cpu_ns=2 * 10**9)
    assert calibrate._busy_notes(before, alone) == ()
    (note,) = calibrate._busy_notes(before, replace(alone, process_cpu_ns=10**9))
    assert note.code == BUSY_MACHINE
    assert "other programs used 1.0 cores" in note.message


def test_limits_of_this_machine_and_of_one_that_is_not_here(calibrated):
    cache, _, calibration = calibrated
    here = json.loads(tokprof(cache, "limits", "tiny-llama", "--context", 100, "--device", "cpu", "--json").stdout)
    assert here["measured"]
    assert here["bandwidth_bytes_per_s"] == ceiling_of(calibration).bandwidth_bytes_per_s
    words = ("limits", "codestral-22b-v0.1", "--device", "h100", "--batch", 32, "--context", 8192)
    there = json.loads(tokprof(cache, *words, "--json").stdout)
    assert there["decode"]["floor_s"] == pytest.approx((44.09e9 + 32 * 8193 * 229_376) / 3.35e12, rel=1e-2)
    for facts in (here, there):
        for phase in ("prefill", "decode"):
            parts = facts[phase]["operators"]
            assert sum(one["floor_s"] for one in parts) == pytest.approx(facts[phase]["floor_s"])
            assert all((one["bound"] is None) == (not one["floor_s"] and not one["weight_bytes"]) for one in parts)
    norms = next(one for one in there["decode"]["operators"] if one["name"] == "norms")
    assert norms["floor_s"] > 0  # its weights are read as well
    assert norms["bound"] == "memory"
    assert there["device_figures"].startswith("data sheet, not measured")
    text = tokprof(cache, *words).stdout
    assert "data sheet, not measured" in text
    assert "KV reads equal weight reads at a context of 6,008 tokens" in text
    assert "DO NOT FIT" in text
    assert "the floor is weights and KV cache over the bandwidth above" in text
    small = tokprof(cache, "limits", "codestral-22b-v0.1", "--device", "h200").stdout
    tables = "402.7 MB of them in tables of embeddings, of which a step reads single rows"
    assert f"weights and cache, 44.96 GB ({tables}), fit into" in small


def test_a_step_that_fits_into_the_cache_is_not_read_from_memory(tmp_path):
    """Its floor and its operators' agree on that, and a line says what the figures are then worth."""
    words = ("limits", "tiny-mamba2", "--device", "h100")
    text = tokprof(tmp_path, *words).stdout
    assert re.search(r"projection in +83\.97 kFLOP +83\.97 kB +1\.57 kB +< 0\.1 µs compute", text)
    fits = "weights and state fit into the device's last cache (52.43 MB): the floor reads them in no time; "
    assert f"{fits}launching the operators is not in it" in text
    assert "decode is compute-bound at every batch" in text
    facts = json.loads(tokprof(tmp_path, *words, "--json").stdout)
    assert facts["decode"]["bound"] == "compute"
    assert {one["bound"] for one in facts["decode"]["operators"]} == {"compute", None}
    state_bytes = facts["decode"]["cache_bytes"] // 2  # read and written
    assert facts["needed_memory_bytes"] == facts["parameter_bytes"] + state_bytes


def test_a_state_space_model_has_a_state_and_no_cache(tmp_path):
    text = tokprof(tmp_path, "limits", "mamba-codestral", "--device", "h100").stdout
    assert "Mamba-Codestral-7B-v0.1" in text
    assert "state" in text
    assert "KV" not in text
    assert "weights and cache" not in text
    assert re.search(r"final norm +8\.19 kB +16\.38 kB +< 0\.1 µs memory", text)


@pytest.mark.parametrize("batch", [1, 512])
def test_figures_are_whole_at_80_columns(in_process, monkeypatch, batch):
    monkeypatch.setenv("COLUMNS", "80")
    for model in ("Codestral-22B-v0.1", "StarCoder", "SmolLM2-135M-Instruct", "mamba-codestral", "tiny-qwen2"):
        text = in_process("limits", model, "--device", "h100", "--batch", batch).stdout
        assert "…" not in text
        assert re.search(r"of a decode step +operations +weights +(KV cache|state) +activations +of floor +bound", text)
        assert re.search(r"\nLM head +[\d.]+ .?FLOP +[\d.]+ .?B +[\d.]+ .?B +(< )?[\d.]+ .?s (memory|compute)", text)


def test_an_adapter_is_told_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "StarCoder"}))
    for words in (("limits",), ("tune", "--out", tmp_path / "t"), ("profile",), ("attribute", "--base")):
        done = tokprof(tmp_path / "cache", *words, tmp_path)
        assert done.returncode == 2
        assert "this is an adapter; name StarCoder instead" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_limits_of_a_folder(calibrated, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    facts = json.loads(tokprof(calibrated[0], "limits", tmp_path, "--device", "l4", "--json").stdout)
    assert facts["context_token_count"] == CONFIG["max_position_embeddings"] - 1  # 2048 tokens are more than it takes
    facts = json.loads(tokprof(calibrated[0], "limits", tmp_path, "--device", "l4", "--context", 9, "--json").stdout)
    assert facts["parameter_count"] == 33_563_136


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("limits", "StarCoder", "--device", "h101"), "did you mean h100"),
        (("limits", "StarCoder", "--device", "h100", "--context", 8192), "takes up to 8192 tokens"),
        (("limits", "StarCoder", "--device", "b200", "--dtype", "float32"), "there is one for bfloat16, float16"),
        (("limits", "StarCoder", "--device", "h100", "--dtype", "int8"), "--dtype int8: unknown"),
        (("limits", __file__, "--device", "h100"), "a file; limits wants a model's folder or a zoo name"),
        (("limits", "StarCodr", "--device", "h100"), "did you mean StarCoder"),
        (("limits", "starcoder2", "--device", "h100"), "mean StarCoder2-3B or StarCoder2-7B or StarCoder2-15B?"),
        (("limits", "StarCoder", "--device", "cpu"), "run `tokprof calibrate`"),
        (("calibrate", "--device", "tpu"), "--device tpu: unknown"),
        (("calibrate", "--device", "cuda:77"), "torch sees"),
    ],
)
def test_mistakes_get_one_line_with_the_way_out(words, said, tmp_path):
    done = tokprof(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_calibration_is_as_good_as_none(calibrated, tmp_path):
    (kept,) = (calibrated[0] / "calibrations").iterdir()
    folder = tmp_path / "calibrations"
    folder.mkdir()
    whole = json.loads(kept.read_text())
    damage = [{"schema_version": 99}, {"probes": []}]
    damage += [
        {"probes": [p | {"samples": samples} for p in whole["probes"]]} for samples in ([], [0.0], [-1], [1e-300])
    ]
    for content in ("{", *(json.dumps(whole | changed) for changed in damage)):
        (folder / kept.name).write_text(content)
        done = tokprof(tmp_path, "limits", "tiny-llama", "--device", "cpu", "--context", 9)
        assert done.returncode == 2
        assert "was not calibrated" in done.stderr


@pytest.mark.alone
@pytest.mark.slow
def test_no_measured_time_lies_below_its_floor(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    assert tokprof(tmp_path, "calibrate", "--device", "cpu", "--seconds", 0.2).returncode == 0
    words = ("--weights", "random", "--device", "cpu", "--prompt-tokens", 96, "-n", 12, "-r", 6)
    out = tmp_path / "run"
    done = tokprof(tmp_path, "profile", tmp_path / "model", *words, "--skip", "stacks", "--out", out)
    assert done.returncode == 0, done.stderr
    for line in ("beside the limits measured on this device", "MFU", "MBU", "gap of a step: matrix products"):
        assert line in done.stdout
    run = load_run(out)
    (kept,) = (tmp_path / "calibrations").iterdir()
    ceiling = ceiling_of(load_calibration(kept))
    shape = ModelShape(**run.model.shape)
    clean = run.spans.of(pass_kind=PassKind.CLEAN)
    assert len(clean.of(phase=Phase.DECODE)) >= 6 * 11
    for tokens, context, taken_ns in zip(
        clean.token_count.tolist(), clean.context_token_count.tolist(), clean.duration_ns.tolist(), strict=True
    ):
        step = step_cost(shape, batch_size=1, token_count=tokens, context_token_count=context, dtype="float32")
        assert taken_ns >= floor_of([step], ceiling, "float32").floor_s * 1e9, (tokens, context)
    shown = json.loads(tokprof(tmp_path, "show", out, "--json").stdout)
    for phase in shown["phases"]:
        line = phase["roofline"]
        assert 0 < line["mfu"] <= 1
        assert 0 < line["mbu"] <= 1
        assert line["time_ms"] >= line["floor_ms"] > 0
        step = phase["step_limits"]
        assert np.isclose(sum(o["time_ms"] for o in step["owners"]), step["time_ms"])
        limits = {kernel["name"]: kernel["limit"] for kernel in phase["kernels"]}
        assert limits["aten::mm"]["known_share"] == 1
        assert all(0 < limit["reached"] <= 1 for limit in limits.values() if limit is not None)
        # What all kernels need together is below what the phase needs: they may find their weights in the cache.
        steps = 1 if phase["phase"] == "prefill" else 11
        assert sum(limit["floor_us"] for limit in limits.values() if limit) * steps <= 1.5e3 * line["floor_ms"]
    in_order = json.loads(tokprof(tmp_path, "analyze", out, "--json").stdout)
    assert in_order["ceiling"] == ceiling.source
    placed = [line["limit"] for step in in_order["steps"] for line in step["lines"]]
    assert all(limit is None or 0 < limit["reached"] <= 1 for limit in placed)
    assert sum(limit is not None for limit in placed) > len(placed) / 2
    bare = tokprof(tmp_path / "elsewhere", "show", out)
    assert "tokprof calibrate" in bare.stdout
    assert "MFU" not in bare.stdout
