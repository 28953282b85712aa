"""Comparisons whose truth is known: a trace against itself, and against itself with four edits."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprof.profiler.analysis.alignment import align, normal_name
from tokprof.profiler.analysis.compare import compare, headline
from tokprof.profiler.analysis.ledger import GROUPINGS, compare_steps
from tokprof.profiler.record import EventKind, Phase, StepKernels, TimelineDiff, TypicalStep
from tokprof.profiler.trace.categories import CATEGORIES, category_of
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import timeline, typical_steps

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


def noisy(scale, seed, *, count=30, spread=0.01, unit="step"):
    """A step of four kernels, each with independent noise, sampled ``count`` times."""
    durations = np.full(4, 1000.0)
    samples = durations * scale * (1 + spread * np.random.default_rng(seed).standard_normal((count, 4)))
    step = a_step(list("abcd"), durations * scale, np.zeros(4), samples)
    return replace(step, wall_samples_ns=samples.sum(axis=1), sample_unit=unit)


def test_small_differences_are_noise_large_ones_effects_and_unclear_ones_inconclusive():
    def line(a, b):
        return dict(compare_steps(a, b).ledgers)["category"][0]

    assert line(noisy(1.0, 1), noisy(1.0005, 2)).verdict == "noise"
    found = line(noisy(1.0, 1), noisy(1.2, 2))
    assert found.verdict == "effect"
    assert found.low_ns < 800 < found.high_ns
    wide = line(noisy(1.0, 1, count=3, spread=0.2), noisy(1.03, 2, count=3, spread=0.2))
    assert wide.verdict == "inconclusive"
    assert wide.low_ns < 0 < wide.high_ns
    single = compare_steps(a_step(["a"], [5.0], [0.0]), a_step(["a"], [6.0], [0.0]))
    assert dict(single.ledgers)["category"][0].verdict == "one sample"


def test_the_interval_is_welchs_over_the_samples():
    from scipy import stats

    a, b = noisy(1.0, 1, count=6, unit="process"), noisy(1.05, 2, count=9, spread=0.03, unit="process")
    line = dict(compare_steps(a, b).ledgers)["category"][0]
    test = stats.ttest_ind(b.samples_ns.sum(axis=1), a.samples_ns.sum(axis=1), equal_var=False)
    expected = test.confidence_interval(0.95)
    assert line.high_ns - line.low_ns == pytest.approx(expected.high - expected.low)
    assert (line.high_ns + line.low_ns) / 2 == pytest.approx(line.difference_ns)
    # A line of steps holds medians, whose error is larger and which slow steps hardly move.
    a, b = noisy(1.0, 1, count=30), noisy(1.05, 2, count=30)
    line = dict(compare_steps(a, b).ledgers)["category"][0]
    late = replace(b, samples_ns=b.samples_ns + np.where(np.arange(30) == 7, 5000.0, 0.0)[:, None])
    slow = dict(compare_steps(a, late).ledgers)["category"][0]
    expected = stats.ttest_ind(b.samples_ns.sum(axis=1), a.samples_ns.sum(axis=1)).confidence_interval(0.95)
    assert line.high_ns - line.low_ns == pytest.approx((expected.high - expected.low) * np.sqrt(np.pi / 2), rel=0.05)
    assert slow.high_ns - slow.low_ns < 1.2 * (line.high_ns - line.low_ns)


def test_the_interval_of_medians_covers():
    rng, held = np.random.default_rng(8), 0
    for _ in range(400):
        sides = (1000 * (1 + 0.02 * rng.standard_normal((16, 1))) for _ in "ab")
        a, b = (a_step(["k"], np.median(s, axis=0), [0.0], s) for s in sides)
        line = dict(compare_steps(a, b).ledgers)["category"][0]
        held += line.low_ns <= 0 <= line.high_ns
    assert 0.92 <= held / 400 <= 0.985  # an interval made for means holds it 89 times of 100


def test_among_many_lines_of_pure_noise_none_is_called_an_effect():
    rng = np.random.default_rng(3)
    count = 200
    names = [
        f"kernel_{'abcdefghij'[i // 20]}{'klmnopqrstuvwxyzabcd'[i % 20]}{'xyz'[i % 3] * (i % 7 + 1)}"
        for i in range(count)
    ]
    flat = np.full(count, 1000.0)
    a, b = (flat * (1 + 0.01 * rng.standard_normal((8, count))) for _ in "ab")
    a, b = (a_step(names, samples.mean(axis=0), np.zeros(count), samples) for samples in (a, b))
    lines = dict(compare_steps(a, b).ledgers)
    outside = [line for line in lines["kernel"] if line.low_ns > 0 or line.high_ns < 0]
    assert len(outside) > 2  # 95 % intervals one by one would claim these
    assert not [line for line in lines["kernel"] if line.verdict == "effect"]


def test_small_products_beside_large_ones_are_new_and_not_more_of_the_large():
    """As of an adapter kept apart: by their name alone, they would be priced like the products of the weights."""

    def step(shapes, durations):
        one = a_step(["mm"] * len(shapes), durations, [0.0] * len(shapes))
        words = tuple(dict.fromkeys(shapes))
        told = {"shape": [words.index(shape) for shape in shapes], "shapes": words, "call": list(range(len(shapes)))}
        return replace(one, kernels=replace(one.kernels, **told))

    base = step(["wide", "tall"] * 3, [100.0, 200.0] * 3)
    beside = step(["wide", "down", "up", "tall", "down", "up"] * 3, [101.0, 2.0, 3.0, 198.0, 2.0, 3.0] * 3)
    diff = compare_steps(base, beside)
    pairs = [(i, j) for i, j in zip(diff.a_row.tolist(), diff.b_row.tolist(), strict=True) if i >= 0 and j >= 0]
    assert pairs == [(0, 0), (1, 3), (2, 6), (3, 9), (4, 12), (5, 15)]
    (line,) = dict(diff.ledgers)["category"]
    assert line.kernel_set_effect_ns == pytest.approx(30.0)
    assert line.duration_effect_ns == pytest.approx(-3.0)
    assert line.count_effect_ns == pytest.approx(0.0)
    # What both sides have more or less often is still counted, and shapes of one side alone are no reason against it.
    longer = compare_steps(base, step(["wide of more", "tall of more"] * 4, [100.0, 200.0] * 4))
    (line,) = dict(longer.ledgers)["category"]
    assert line.kernel_set_effect_ns == 0.0
    assert line.count_effect_ns == pytest.approx(300.0)


def test_processes_and_steps_are_not_mixed_into_one_interval():
    diff = compare_steps(noisy(1.0, 1, unit="process"), noisy(1.2, 2))
    assert {line.verdict for _, lines in diff.ledgers for line in lines} == {"one sample"}


def test_the_headline_owns_up_to_what_is_not_accounted_for():
    quick, slow = noisy(1.0, 1), noisy(1.0, 1)
    later = {"wall_ns": slow.wall_ns + 2e6, "wall_samples_ns": slow.wall_samples_ns + 2e6}
    diff = compare_steps(quick, replace(slow, **later))
    said = headline(TimelineDiff(a_name="a", b_name="b", phases=(diff,)))
    assert diff.residual_ns == pytest.approx(2e6)
    assert "not accounted for +2.000 ms" in said


def test_the_headline_abstains_inside_the_noise():
    def said(a, b):
        diff = compare_steps(a, b)
        return headline(TimelineDiff(a_name="a", b_name="b", phases=(diff,)))

    assert "differs by no more than noise" in said(noisy(1.0, 1), noisy(1.001, 2))
    assert "beyond its noise" in said(noisy(1.0, 1, count=3, spread=0.2), noisy(1.03, 2, count=3, spread=0.2))
    assert "20.0% slower" in said(noisy(1.0, 1), noisy(1.2, 2))


def test_the_headline_says_which_of_the_lines_it_names_are_not_sure():
    diff = compare_steps(noisy(1.0, 1), noisy(1.2, 2))
    said = []
    for verdict in ("effect", "inconclusive"):
        ledgers = tuple((by, tuple(replace(line, verdict=verdict) for line in lines)) for by, lines in diff.ledgers)
        said.append(headline(TimelineDiff(a_name="a", b_name="b", phases=(replace(diff, ledgers=ledgers),))))
    key = dict(diff.ledgers)["category"][0].key
    assert f"): {key} +" in said[0]
    assert f"): {key} (inconclusive) +" in said[1]


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


def test_alignment_of_long_sequences_goes_by_windows_and_misses_nothing():
    rng = np.random.default_rng(5)
    names = [f"k{'abcdefghijklmnopqrstuvwxyz'[i]}" for i in rng.integers(0, 26, 9000)]
    dropped = np.sort(rng.choice(9000, 40, replace=False))
    a = a_step(names, [1.0] * 9000, [0.0] * 9000).kernels
    a = replace(a, categories=("other",))
    b = a.select(np.setdiff1d(np.arange(9000), dropped))
    rows_a, rows_b = align(a, b)
    assert rows_a[rows_a >= 0].tolist() == list(range(9000))
    assert rows_b[rows_b >= 0].tolist() == list(range(8960))
    both = (rows_a >= 0) & (rows_b >= 0)
    assert both.sum() == 8960
    assert (a.name[rows_a[both]] == b.name[rows_b[both]]).all()


def test_alignment_of_many_names_keeps_no_table_of_all_with_all():
    names = [f"k{n:04}" for n in range(6400)]
    tracemalloc.start()
    try:
        steps = [a_step([side + name for name in names], [1.0] * 6400, [0.0] * 6400).kernels for side in "ab"]
        rows_a, rows_b = align(*steps)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (np.diff(rows_a[rows_a >= 0]) == 1).all()
    assert (np.diff(rows_b[rows_b >= 0]) == 1).all()
    assert peak < 40 << 20  # all with all, a byte each, were 41 MB


# ------------------------------------------------------------------------------------------------------------- edits


def step_of_layers(edit=None, count=4):
    """A decode step of ``count`` layers as (layer, name, duration, gap) rows, edited, with its categories."""
    rows = [(layer, name, 1000 * d, 500.0) for layer in range(count) for name, d in LAYER]
    rows.append((-1, "argmax_kernel", 4000.0, 500.0))
    rows = edit(rows) if edit else rows
    layer, names, durations, gaps = map(list, zip(*rows, strict=True))
    step = a_step(names, durations, gaps)
    words = CATEGORIES
    categories = [words.index("copy" if n.startswith("Memcpy") else category_of(n)) for n in names]
    return replace(step, kernels=replace(step.kernels, layer=layer, category=categories, categories=words))


@settings(max_examples=60, deadline=None)
@given(
    slower=st.integers(0, 32),
    factor=st.floats(1.05, 3),
    later=st.integers(0, 32),
    extra_gap=st.floats(100, 1e5),
    fused=st.integers(0, 3),
    copied=st.integers(0, 32),
)
def test_edits_of_a_step_are_found_where_they_were_made(slower, factor, later, extra_gap, fused, copied):
    silu = fused * len(LAYER) + 5  # and the multiplication behind it
    if slower in (silu, silu + 1) or later in (silu, silu + 1) or copied == silu:
        return

    def edit(rows):
        result = []
        for index, (layer, name, duration, gap) in enumerate(rows):
            if index == slower:
                duration *= factor
            if index == later:
                gap += extra_gap
            if index == silu:
                name, duration = "void silu_and_mul_fused(float*)", 3000.0
            if index != silu + 1:
                result.append((layer, name, duration, gap))
            if index == copied:
                result.append((layer, "Memcpy DtoD (Device -> Device)", 1500.0, 700.0))
        return result

    a, b = step_of_layers(), step_of_layers(edit)
    diff = compare_steps(a, b)
    both = (diff.a_row >= 0) & (diff.b_row >= 0)
    changed = {
        int(row)
        for row, other in zip(diff.a_row[both], diff.b_row[both], strict=True)
        if a.kernels.duration_ns[row] != b.kernels.duration_ns[other]
        or a.kernels.gap_ns[row] != b.kernels.gap_ns[other]
    }
    assert changed == {slower, later}
    assert set(diff.a_row[diff.b_row < 0].tolist()) == {silu, silu + 1}
    new = {b.kernels.names[b.kernels.name[row]] for row in diff.b_row[diff.a_row < 0]}
    assert new == {"void silu_and_mul_fused(float*)", "Memcpy DtoD (Device -> Device)"}
    truth = (factor - 1) * a.kernels.duration_ns[slower] + extra_gap + (1500 + 700) + (3000 - 5000 - 500)
    for by in GROUPINGS:
        lines = dict(diff.ledgers)[by]
        assert sum(line.difference_ns for line in lines) == pytest.approx(truth, abs=1e-6)
        codes = dict(diff.line_of)[by]
        counted = np.bincount(codes[diff.a_row >= 0], minlength=len(lines))
        assert counted.tolist() == [line.a_count for line in lines]
    assert diff.residual_ns == pytest.approx(0, abs=1e-6)


def edited(trace, edits):
    """Edit the device's work of a trace: ``edits`` maps a row to ("slower", factor), ("gap", ns), ("fuse", name) with
    the row behind it, or ("copy", ns) for a copy of that length right behind it. All that starts later moves along."""
    device, shift = trace.device, 0
    names = [*device.names, "fused_kernel", "Memcpy DtoD (Device -> Device)"]
    rows, start, duration, name, kind = [], [], [], [], []

    def add(row, begin, length, code, what):
        rows.append(row)
        start.append(begin)
        duration.append(length)
        name.append(code)
        kind.append(what)

    skip = set()
    for row in range(len(device)):
        if row in skip:
            continue
        begin, length = int(device.start_ns[row]), int(device.duration_ns[row])
        code, what = int(device.name[row]), int(device.kind[row])
        action, value = edits.get(row, (None, 0))
        if action == "gap":
            shift += value
        if action == "fuse":
            skip.add(row + 1)
            code = len(names) - 2
            whole = int(device.start_ns[row + 1] + device.duration_ns[row + 1]) - begin
            add(row, begin + shift, value, code, what)
            shift += value - whole
            continue
        grown = round(length * value) if action == "slower" else length
        add(row, begin + shift, grown, code, what)
        shift += grown - length
        if action == "copy":
            add(row, begin + shift + grown + 1000, value, len(names) - 1, int(EventKind.MEMCPY))
            shift += value + 1000
    table = device.select(np.array(rows))
    return replace(
        trace, device=replace(table, start_ns=start, duration_ns=duration, name=name, kind=kind, names=tuple(names))
    )


# ------------------------------------------------------------------------------------------------------- real traces


def real(folder, name):
    return read_trace(folder / f"{name}.json.gz")


def test_the_same_model_on_two_vendors(real_traces):
    a, b = real(real_traces, "h100_qwen1.5-0.5b_prefill"), real(real_traces, "mi300x_qwen1.5-0.5b_prefill")
    (step_a,), (step_b,) = typical_steps(a), typical_steps(b)
    # What the forward pass before it left in the queue is no part of the step: the device's own range tells.
    assert (len(step_a.kernels), len(step_b.kernels)) == (1198, 1054)
    assert (step_a.wall_ns, step_b.wall_ns) == (pytest.approx(34.892e6, abs=1e3), pytest.approx(33.131e6, abs=1e3))
    assert step_a.kernels.layer.max() + 1 == step_b.kernels.layer.max() + 1 == 24
    diff = compare(a, b)
    (phase,) = diff.phases
    left_out = [note.message for note in diff.notes if note.code == "outside-steps"]
    assert [message.split(" (")[0] for message in left_out] == ["A: 509 of 1,707 kernels", "B: 463 of 1,517 kernels"]
    matched = int(((phase.a_row >= 0) & (phase.b_row >= 0)).sum())
    assert matched > 1000
    by = {line.key: line for line in dict(phase.ledgers)["category"]}
    assert (by["attention"].a_count, by["attention"].b_count) == (24, 24)  # one per layer
    assert by["gemm"].difference_ns > 3e6  # slower matrix products ...
    assert by["elementwise"].difference_ns < -3e6  # ... and faster pointwise work
    assert abs(phase.residual_ns) < 1e-3
    memsets = next(line for line in dict(phase.ledgers)["kernel"] if line.key.startswith("Memset"))
    assert (memsets.a_count, memsets.b_count) == (168, 0)


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
    change = phase.b.wall_ns - phase.a.wall_ns
    assert change > 80e6
    for _, lines in phase.ledgers:
        total = sum(line.difference_ns for line in lines)
        assert total + phase.residual_ns == pytest.approx(change, rel=1e-9)
    assert abs(phase.residual_ns) < 0.1 * change  # what medians over steps do not add up to
    by = {line.key: line for line in dict(phase.ledgers)["category"]}
    assert by["gemm"].verdict == "effect"
    assert by["gemm"].duration_effect_ns > 15e6


def test_layers_of_two_vendors_correspond_kind_by_kind(real_traces):
    a, b = real(real_traces, "h100_qwen1.5-0.5b_prefill"), real(real_traces, "mi300x_qwen1.5-0.5b_prefill")
    (phase,) = compare(a, b).phases
    both = (phase.a_row >= 0) & (phase.b_row >= 0)
    rows_a, rows_b = phase.a_row[both], phase.b_row[both]
    ka, kb = phase.a.kernels, phase.b.kernels
    assert (ka.layer[rows_a] == kb.layer[rows_b]).mean() > 0.99
    assert (ka.category[rows_a] == kb.category[rows_b]).all()
    for category, least in (("gemm", 0.95), ("attention", 0.95), ("norm", 0.9)):
        code = ka.categories.index(category)
        fewer = min((ka.category == code).sum(), (kb.category == code).sum())
        if fewer:
            assert (ka.category[rows_a] == code).sum() >= least * fewer, category
    known = [(ka.operators[ka.operator[x]], kb.operators[kb.operator[y]]) for x, y in zip(rows_a, rows_b, strict=True)]
    agree = [x == y for x, y in known if x and y]
    assert len(agree) > 500
    assert np.mean(agree) > 0.9


@pytest.mark.parametrize(
    "name",
    ["mi300x_sglang_qwen3-8b_decode", "mi300x_vllm_decode_fullgraph", "b200_vllm_eager_prefill", "rtx2080ti_linear"],
)
def test_a_real_trace_against_itself_is_all_zeros(real_traces, name):
    trace = real(real_traces, name)
    for phase in compare(trace, trace).phases:
        assert (phase.a_row == phase.b_row).all()
        assert phase.residual_ns == 0
        for _, lines in phase.ledgers:
            for line in lines:
                assert line.difference_ns == line.duration_effect_ns == line.count_effect_ns == line.gap_effect_ns == 0
                assert line.verdict != "effect"


def find(trace, word, nth=0, first=0):
    """Return the nth row of device work, from ``first`` on, whose name has the word in it."""
    rows = [row for row in range(first, len(trace.device)) if word in trace.device.names[trace.device.name[row]]]
    return rows[nth]


def test_four_edits_of_a_real_graph_replay_are_named_and_sum_exactly(real_traces):
    a = real(real_traces, "mi300x_sglang_qwen3-8b_decode")
    slower = find(a, "paged_attention_ll4mi_QKV", 10)
    pair = find(a, "rotary_embedding", 20)  # and the cache store behind it
    copied = find(a, "act_and_mul", 30)
    gap = find(a, "act_and_mul", 5)
    assert "store_kvcache" in a.device.names[a.device.name[pair + 1]]
    b = edited(a, {slower: ("slower", 1.2), pair: ("fuse", 6000), copied: ("copy", 2500), gap: ("gap", 40_000)})
    (phase,) = compare(a, b).phases
    device = a.device
    grown = round(device.duration_ns[slower] * 1.2) - int(device.duration_ns[slower])
    taken = int(device.start_ns[pair + 1] + device.duration_ns[pair + 1] - device.start_ns[pair])
    truth = grown + (6000 - taken) + 3500 + 40_000
    assert phase.b.wall_ns - phase.a.wall_ns == truth
    assert phase.residual_ns == pytest.approx(0, abs=1e-6)
    lines = {line.key: line for line in dict(phase.ledgers)["kernel"] if abs(line.difference_ns) > 1}
    fused = next(line for key, line in lines.items() if "fused" in key)
    copy = next(line for key, line in lines.items() if key.startswith("Memcpy DtoD"))
    assert lines["attention"].duration_effect_ns == pytest.approx(grown)
    assert copy.difference_ns == pytest.approx(3500)
    assert fused.kernel_set_effect_ns == 6000
    assert lines["act_and_mul_kernel"].gap_effect_ns == pytest.approx(40_000)
    gone = {key for key in lines if "rotary" in key or "store_kvcache" in key}
    assert len(gone) == 2
    assert set(lines) == {fused.key, copy.key, "attention", "act_and_mul_kernel", *gone}
    layers = {line.key: line.difference_ns for line in dict(phase.ledgers)["layer"] if abs(line.difference_ns) > 1}
    assert len(layers) == 4  # each edit lies in a layer of its own
    assert sum(layers.values()) == pytest.approx(truth)


def test_four_edits_of_every_step_of_a_real_trace_are_effects(real_traces):
    a = real(real_traces, "rtx2080ti_linear")
    steps = timeline(a).steps
    edits = {}
    for number in range(len(steps)):
        rows = np.flatnonzero(steps.step_of_row == number)
        edits |= {rows[100]: ("slower", 1.2), rows[150]: ("gap", 500_000), rows[200]: ("copy", 90_000)}
    b = edited(a, {int(row): edit for row, edit in edits.items()})
    (phase,) = compare(a, b).phases
    assert phase.a.sampled_step_count == phase.b.sampled_step_count == len(steps)
    matched = (phase.a_row >= 0) & (phase.b_row >= 0)
    assert matched.sum() == len(phase.a.kernels)
    changed = [
        int(x)
        for x, y in zip(phase.a_row[matched], phase.b_row[matched], strict=True)
        if phase.b.kernels.duration_ns[y] != phase.a.kernels.duration_ns[x]
    ]
    assert changed == [100]
    copies = next(line for line in dict(phase.ledgers)["kernel"] if line.key.startswith("Memcpy DtoD"))
    assert copies.difference_ns == pytest.approx(91_000)
    assert copies.verdict == "effect"
    total = sum(line.difference_ns for line in dict(phase.ledgers)["category"])
    assert total + phase.residual_ns == pytest.approx(phase.b.wall_ns - phase.a.wall_ns)
    assert abs(phase.residual_ns) < 0.01 * phase.a.wall_ns
