"""Comparisons whose truth is known: a trace against itself, and against itself with four edits."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprof.profiler.analysis.alignment import align, normal_name
from tokprof.profiler.analysis.compare import GROUPINGS, compare, compare_steps, headline, log_mean
from tokprof.profiler.record import Phase, StepKernels, TypicalStep
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import typical_steps

LAYER = (
    ("void rms_norm_kernel<bf16>(int)", 3.0),
    ("sm90_xmma_gemm_bf16_tn_tilesize128x128", 20.0),
    ("void rotary_kernel(float*)", 2.0),
    ("void flash_fwd_splitkv_kernel<64>(params)", 12.0),
    ("ampere_bf16_s16816gemm_64x64_tn", 15.0),
    ("void silu_kernel(float*)", 2.5),
    ("void mul_kernel(float*)", 2.5),
    ("void gemvx::kernel<int, bf16>(x)", 18.0),
)


def decode_trace(tmp_path, name, steps=6, edit=None):
    """A GPU-only trace of some decode steps of three layers, by annotations of their steps."""
    events, now, correlation = [], 1000.0, 0
    for step in range(1, steps + 1):
        kernels = [(f"L{layer}", n, d, 1.0) for layer in range(3) for n, d in LAYER] + [("", "argmax_kernel", 4.0, 1.0)]
        kernels = edit(kernels) if edit else kernels
        host = now - 5.0
        for _, kernel, duration, gap in kernels:
            correlation += 1
            now += gap
            launch = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1}
            events.append(launch | {"ts": round(host, 3), "dur": 0.01, "args": {"correlation": correlation}})
            host += 0.02
            place = {"pid": 0, "tid": 7, "args": {"device": 0, "stream": 7, "correlation": correlation}}
            kind = "gpu_memcpy" if kernel.startswith("Memcpy") else "kernel"
            events.append({"ph": "X", "cat": kind, "name": kernel, "ts": round(now, 3), "dur": duration, **place})
            now += duration
        label = {"ph": "X", "cat": "user_annotation", "name": f"tokprof.decode#rep=0,step={step}", "pid": 1, "tid": 1}
        events.append(
            label | {"ts": round(host - 0.02 * len(kernels) - 0.5, 3), "dur": round(0.02 * len(kernels) + 0.6, 3)}
        )
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return read_trace(path)


def four_edits(kernels):
    """One kernel 20 % slower, one fused pair, one extra copy, one longer gap."""
    edited = []
    for layer, name, duration, gap in kernels:
        if layer == "L1" and name.startswith("void flash"):
            duration *= 1.2
        if layer == "L2" and name.startswith("sm90"):
            gap = 9.0
        if name == "void silu_kernel(float*)":
            edited.append((layer, "void silu_and_mul_fused(float*)", 3.0, gap))
        elif name == "void mul_kernel(float*)":
            continue
        else:
            edited.append((layer, name, duration, gap))
        if name == "argmax_kernel":
            edited.append(("", "Memcpy DtoH (Device -> Pageable)", 1.5, 1.0))
    return edited


def test_a_trace_against_itself_is_all_zeros(tmp_path):
    trace = decode_trace(tmp_path, "a")
    diff = compare(trace, trace)
    (phase,) = diff.phases
    assert phase.phase is Phase.DECODE
    assert (phase.a_row == phase.b_row).all()
    assert phase.residual_ns == 0
    for _, lines in phase.ledgers:
        for line in lines:
            assert line.difference_ns == line.count_effect_ns == line.gap_effect_ns == line.kernel_set_effect_ns == 0
    assert "the same time in both" in headline(diff)


def test_four_edits_are_named_and_sum_exactly(tmp_path):
    a, b = decode_trace(tmp_path, "a"), decode_trace(tmp_path, "b", edit=four_edits)
    (phase,) = compare(a, b).phases
    lines = {line.key: line for line in dict(phase.ledgers)["kernel"]}
    changed = {key for key, line in lines.items() if abs(line.difference_ns) > 1e-6}
    slower = next(line for key, line in lines.items() if key.startswith("attention"))
    assert slower.duration_effect_ns == pytest.approx(2400)
    assert slower.count_effect_ns == 0
    copy = next(line for key, line in lines.items() if key.startswith("Memcpy"))
    assert (copy.a_count, copy.b_count) == (0, 1)
    assert copy.kernel_set_effect_ns == pytest.approx(1500)
    assert copy.gap_effect_ns == pytest.approx(1000)
    gemm = lines["gemm"]
    assert gemm.gap_effect_ns == pytest.approx(8000)
    assert gemm.duration_effect_ns == pytest.approx(0)
    gone = [line for key, line in lines.items() if "silu" in key or "mul" in key]
    assert sum(line.difference_ns for line in gone) == pytest.approx(3 * (3000 - 5000 - 1000))
    assert changed == {slower.key, copy.key, "gemm", *(line.key for line in gone if line.difference_ns)}
    truth = 2400 + 2500 + 8000 - 9000
    assert phase.b.wall_ns - phase.a.wall_ns == pytest.approx(truth)
    for by, ledger in phase.ledgers:
        assert sum(line.difference_ns for line in ledger) == pytest.approx(truth, abs=1e-6), by
    assert phase.residual_ns == pytest.approx(0, abs=1e-6)
    by_layer = {line.key: line.difference_ns for line in dict(phase.ledgers)["layer"]}
    assert by_layer["layer 1"] - by_layer["layer 0"] == pytest.approx(2400)
    assert by_layer["layer 2"] - by_layer["layer 0"] == pytest.approx(8000)


def test_swapping_the_sides_flips_every_sign(tmp_path):
    a, b = decode_trace(tmp_path, "a"), decode_trace(tmp_path, "b", edit=four_edits)
    (forth,), (back,) = compare(a, b).phases, compare(b, a).phases
    for by in ("category", "layer"):
        there = {line.key: line for line in dict(forth.ledgers)[by]}
        for line in dict(back.ledgers)[by]:
            assert line.difference_ns == pytest.approx(-there[line.key].difference_ns, abs=1e-6)
            assert line.gap_effect_ns == pytest.approx(-there[line.key].gap_effect_ns, abs=1e-6)


def a_step(names, durations, gaps, samples=None):
    count = len(names)
    words = tuple(dict.fromkeys(names))
    wall = float(np.sum(durations) + np.sum(gaps))
    kernels = StepKernels(
        name=[words.index(n) for n in names],
        category=[0] * count,
        operator=[0] * count,
        frame=[0] * count,
        layer=[-1] * count,
        stream=[0] * count,
        start_ns=np.cumsum(np.array(durations) + np.array(gaps)) - np.array(durations),
        duration_ns=durations,
        gap_ns=gaps,
        gap_cause=[0] * count,
        names=words,
        categories=("gemm",),
        operators=("",),
        frames=("",),
        gap_causes=("",),
    )
    return TypicalStep(
        phase=Phase.DECODE, step_count=1, sampled_step_count=1, wall_ns=wall, busy_ns=float(np.sum(durations)),
        overlap_ns=0.0, kernels=kernels, confidence=1.0, evidence="", samples_ns=samples,
        gap_samples_ns=None if samples is None else np.zeros_like(samples),
    )  # fmt: skip


KERNELS = st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(1, 1e6), st.floats(0, 1e5)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(KERNELS, KERNELS)
def test_any_two_steps_are_accounted_for_exactly(first, second):
    a, b = (a_step(*map(list, zip(*kernels, strict=True))) for kernels in (first, second))
    diff = compare_steps(a, b)
    assert sorted(diff.a_row[diff.a_row >= 0]) == list(range(len(first)))
    assert sorted(diff.b_row[diff.b_row >= 0]) == list(range(len(second)))
    both = (diff.a_row >= 0) & (diff.b_row >= 0)
    assert (np.diff(diff.a_row[both]) > 0).all()
    assert (np.diff(diff.b_row[both]) > 0).all()
    scale = a.wall_ns + b.wall_ns
    for by in GROUPINGS:
        total = sum(line.difference_ns for line in dict(diff.ledgers)[by])
        assert total == pytest.approx(b.wall_ns - a.wall_ns, abs=1e-9 * scale)
    assert abs(diff.residual_ns) <= 1e-9 * scale


@given(st.floats(1e-3, 1e9), st.floats(1e-3, 1e9))
def test_the_logarithmic_mean_lies_between_and_is_symmetric(x, y):
    mean = log_mean(x, y)
    assert min(x, y) * (1 - 1e-9) <= mean <= max(x, y) * (1 + 1e-9)
    assert mean == pytest.approx(log_mean(y, x), rel=1e-9)


def test_small_differences_within_the_spread_are_noise_and_large_ones_effects():
    rng = np.random.default_rng(0)
    durations = np.full(4, 1000.0)

    def step(scale, seed):
        samples = durations * scale * (1 + 0.01 * np.random.default_rng(seed).standard_normal((30, 4)))
        return a_step(list("abcd"), durations * scale, np.zeros(4), samples)

    del rng
    assert dict(compare_steps(step(1.0, 1), step(1.0005, 2)).ledgers)["category"][0].verdict == "noise"
    line = dict(compare_steps(step(1.0, 1), step(1.2, 2)).ledgers)["category"][0]
    assert line.verdict == "effect"
    assert line.low_ns < 800 < line.high_ns
    single = compare_steps(a_step(["a"], [5.0], [0.0]), a_step(["a"], [6.0], [0.0]))
    assert dict(single.ledgers)["category"][0].verdict == "one sample"


def test_alignment_keeps_order_and_finds_the_inserted_kernel():
    a = a_step(list("abcabc"), [1.0] * 6, [0.0] * 6).kernels
    b = a_step(list("abcxabc"), [1.0] * 7, [0.0] * 7).kernels
    b = replace(b, category=[0, 0, 0, 1, 0, 0, 0], categories=("gemm", "copy"))
    rows_a, rows_b = align(a, b)
    assert rows_a.tolist() == [0, 1, 2, -1, 3, 4, 5]
    assert rows_b.tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Cijk_Alik_Bljk_BBS_BH_MT128x256x32_MI16x16x1", "gemm"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "gemm"),
        ("void pytorch_flash::flash_fwd_kernel<traits<32, 128>>(params)", "attention"),
        ("attn_fwd", "attention"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, x>(int)",
         "elementwise CUDAFunctor_add"),
        ("void at::native::(anonymous namespace)::CatArrayBatchedCopy<float, 2>(float*)", "CatArrayBatchedCopy"),
        ("_ZN5aiter24add_rmsnorm_quant_kernelIDF16bDF16bLi64E", "add_rmsnorm_quant_kernel"),
        ("aten::mm", "aten::mm"),
    ],
)  # fmt: skip
def test_names_lose_what_device_tile_and_vendor_put_in(name, normal):
    assert normal_name(name) == normal


# ------------------------------------------------------------------------------------------------------- real traces


def real(folder, name):
    return read_trace(folder / f"{name}.json.gz")


def test_the_same_model_on_two_vendors(real_traces):
    a, b = real(real_traces, "h100_qwen1.5-0.5b_prefill"), real(real_traces, "mi300x_qwen1.5-0.5b_prefill")
    (step_a,), (step_b,) = typical_steps(a), typical_steps(b)
    assert (len(step_a.kernels), len(step_b.kernels)) == (1707, 1517)
    assert step_a.kernels.layer.max() + 1 == step_b.kernels.layer.max() + 1 == 24
    (phase,) = compare(a, b).phases
    matched = int(((phase.a_row >= 0) & (phase.b_row >= 0)).sum())
    assert matched > 1400
    by = {line.key: line for line in dict(phase.ledgers)["category"]}
    assert by["gemm"].difference_ns > 3e6  # slower matrix products ...
    assert by["elementwise"].difference_ns < -4e6  # ... and faster pointwise work
    assert abs(phase.residual_ns) < 1e-3
    memsets = next(line for line in dict(phase.ledgers)["kernel"] if line.key.startswith("Memset"))
    assert (memsets.a_count, memsets.b_count) == (241, 0)


def test_serving_traces_know_their_phase(real_traces):
    decode = typical_steps(real(real_traces, "mi300x_sglang_qwen3-8b_decode"))
    mixed = typical_steps(real(real_traces, "mi300x_sglang_qwen3-8b_mixed"))
    graph = typical_steps(real(real_traces, "mi300x_vllm_decode_fullgraph"))
    eager = typical_steps(real(real_traces, "b200_vllm_eager_prefill"))
    assert [s.phase for s in decode] == [Phase.DECODE]
    assert [s.phase for s in mixed] == [Phase.PREFILL]
    assert [s.phase for s in graph] == [Phase.DECODE]
    assert [s.phase for s in eager] == [Phase.PREFILL]


def test_training_is_never_called_prefill_or_decode(real_traces):
    for name in (
        "a100_training_control",
        "v100_training_test",
        "a100_training_rank0",
        "v100_resnet50",
        "rtx2080ti_linear",
    ):
        assert [s.phase for s in typical_steps(real(real_traces, name))] == [None], name


def test_training_steps_of_two_devices_compare_and_sum(real_traces):
    diff = compare(real(real_traces, "a100_training_control"), real(real_traces, "v100_training_test"))
    (phase,) = diff.phases
    for _, lines in phase.ledgers:
        total = sum(line.difference_ns for line in lines)
        assert total == pytest.approx(phase.b.wall_ns - phase.a.wall_ns, rel=1e-9)
