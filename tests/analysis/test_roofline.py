"""Floors, utilisations and the owners of the gap on costs and ceilings whose truth is known."""

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tokprof.models.cost import OperatorCost, call_cost, shape_of, step_cost
from tokprof.models.devices import Ceiling, device
from tokprof.models.zoo import entry
from tokprof.profiler.analysis.roofline import (
    cache_equals_weights_context,
    ceiling_of,
    compute_bound_batch,
    floor_of,
    kernel_floors,
    kernel_limit,
    phase_roofline,
    step_limits,
)
from tokprof.profiler.analysis.summary import summarize
from tokprof.profiler.errors import FileFormatError
from tokprof.profiler.record import (
    Calibration,
    Cell,
    DecodeMode,
    Device,
    Environment,
    KernelEvents,
    ModelFacts,
    Note,
    Outcome,
    Pass,
    PassKind,
    Phase,
    Probe,
    Run,
    Spans,
    Stop,
    StopRule,
)
from tokprof.profiler.report.text import print_summary
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import kernel_events

CEILING = Ceiling(
    name="d", bandwidth_bytes_per_s=1e9, flops_per_s={"float32": 1e12}, cache_bytes=1000,
    cache_bandwidth_bytes_per_s=1e10, measured=True, source="here",
)  # fmt: skip
MACHINE = Environment(
    device=Device(kind="cpu", name="The CPU", core_count=2), system="Linux", cpu="cpu", cpu_count=2,
    memory_bytes=None, python="3.11", libraries=(),
)  # fmt: skip


def operator(flops=0, weights=0, cache=0, category="gemm"):
    return OperatorCost(name="x", category=category, flop_count=flops, weight_bytes=weights, cache_bytes=cache)


def probe(name, best, *, size=None, dtype=None, unit="B/s"):
    return Probe(name=name, unit=unit, samples=(best / 2, best), method="m", working_set_bytes=size, dtype=dtype)


def calibrated(*more, cache=32):
    probes = (
        probe("memory read", 50e9, size=16), probe("memory read", 10e9, size=256), probe("memory copy", 8e9, size=256),
        probe("matrix product", 90e9, dtype="float32"), probe("matrix product", 100e9, dtype="float32"), *more,
    )  # fmt: skip
    return Calibration(
        created="2030-01-02T00:00:00", tokprof_version="0", environment=MACHINE, cache_bytes=cache, probes=probes
    )


def test_a_floor_is_the_longer_of_computing_and_moving_step_by_step():
    computing, moving = [operator(flops=10**12)], [operator(weights=10**9 + 1000)]
    floor = floor_of([computing, moving], CEILING, "float32")
    assert floor.floor_s == pytest.approx(1.0 + 1.0)
    assert (floor.compute_s, floor.memory_s) == (pytest.approx(1.0), pytest.approx(1.0))
    assert floor_of([[*computing, *moving]], CEILING, "float32").floor_s == pytest.approx(1.0)
    assert floor_of([[operator(flops=2 * 10**12), *moving]], CEILING, "float32").bound == "compute"


def test_what_fits_into_the_cache_is_read_at_the_cache_s_pace():
    assert floor_of([[operator(cache=1000)]], CEILING, "float32").floor_s == pytest.approx(1000 / 1e10)
    plain = replace(CEILING, cache_bytes=0, cache_bandwidth_bytes_per_s=None)
    assert floor_of([[operator(cache=1000)]], plain, "float32").floor_s == pytest.approx(1000 / 1e9)


def test_a_dtype_nobody_measured_has_no_computing_time():
    floor = floor_of([[operator(flops=10**15, weights=2000)]], CEILING, "bfloat16")
    assert floor.compute_s is None
    assert floor.bound == "memory"


def test_the_ceiling_is_the_best_attempt_beyond_the_cache():
    ceiling = ceiling_of(
        calibrated(probe("SM clock", 1.5e9, unit="Hz"), probe("matrix product, Triton", 1e11, dtype="float16"))
    )
    assert ceiling.bandwidth_bytes_per_s == 10e9
    assert ceiling.cache_bandwidth_bytes_per_s == 50e9
    assert ceiling.flops_per_s == {"float32": 100e9, "float16": 1e11}
    assert ceiling.sm_clock_hz == pytest.approx((1.5e9 + 0.75e9) / 2)
    assert ceiling_of(calibrated(cache=4)).bandwidth_bytes_per_s == 50e9
    assert ceiling_of(calibrated(cache=None)).bandwidth_bytes_per_s == 10e9


def test_beside_other_programs_threads_count_alone():
    alone = probe("memory read, one thread", 6e9, size=256), probe("matrix product, one thread", 70e9, dtype="float32")
    quiet = calibrated(*alone)
    quiet = replace(quiet, environment=replace(MACHINE, thread_count=2))
    assert ceiling_of(quiet).flops_per_s == {"float32": 100e9}
    assert ceiling_of(quiet).bandwidth_bytes_per_s == 10e9
    busy = replace(quiet, notes=(Note(code="busy-machine", message="m"),))
    assert ceiling_of(busy).flops_per_s == {"float32": 140e9}
    assert ceiling_of(busy).bandwidth_bytes_per_s == 12e9


@settings(max_examples=60)
@given(context=st.integers(0, 4000), name=st.sampled_from(["Codestral-22B-v0.1", "StarCoder", "Qwen2.5-Coder-0.5B"]))
def test_the_turning_batch_is_where_the_bound_changes(context, name):
    shape, h100 = shape_of(entry(name).config), device("h100")
    turn = compute_bound_batch(shape, h100, context_token_count=context, dtype="bfloat16")
    bounds = [
        floor_of(
            [step_cost(shape, batch_size=b, token_count=1, context_token_count=context, dtype="bfloat16")],
            h100,
            "bfloat16",
        ).bound
        for b in ([turn - 1, turn] if turn is not None else [1, 10**6])
    ]
    assert bounds == (["memory", "compute"] if turn is not None else ["memory", "memory"])


def test_cache_and_weights_are_equal_where_it_is_said():
    codestral = shape_of(entry("Codestral-22B-v0.1").config)
    assert cache_equals_weights_context(codestral, batch_size=1, dtype="bfloat16") == 192_226  # 44.09 GB / 229,376
    assert cache_equals_weights_context(codestral, batch_size=32, dtype="bfloat16") == 6_008
    assert cache_equals_weights_context(shape_of(entry("StarCoder2-3B").config), batch_size=1, dtype="bfloat16") is None
    mamba = shape_of(entry("Mamba-Codestral-7B-v0.1").config)
    assert cache_equals_weights_context(mamba, batch_size=1, dtype="bfloat16") is None


# ------------------------------------------------------------------------------------------------------------ a run


def run_of(*, kernels=True, shape=True, prefill_ns=4_000_000, step_ns=1_000_000, attention="sdpa"):
    """One repetition of a prefill of 8 tokens and two steps; products half of the time, attention a quarter."""
    starts = np.array([0, prefill_ns, prefill_ns + step_ns])
    lengths = np.array([prefill_ns, step_ns, step_ns])
    base = {
        "repetition": np.zeros(3), "phase": [0, 1, 1], "step": [0, 1, 2], "token_count": [8, 1, 1],
        "context_token_count": [0, 8, 9], "mark": np.zeros(3),
    }  # fmt: skip
    spans = [
        Spans(pass_kind=np.full(3, kind), host_start_ns=starts + offset, host_end_ns=starts + lengths + offset, **base)
        for kind, offset in ((0, 0), (2, 10**9))
    ]
    events = None
    if kernels:
        events = KernelEvents(
            name=[0, 1] * 3, category=[0, 1] * 3, operator=[0] * 6, stream=[0] * 6, repetition=[0] * 6,
            phase=np.repeat([0, 1, 1], 2), step=np.repeat([0, 1, 2], 2),
            start_ns=np.stack([starts, starts + lengths // 2], 1).ravel() + 10**9,
            duration_ns=np.stack([lengths // 2, lengths // 4], 1).ravel(),
            names=("mm", "flash"), categories=("gemm", "attention"), operators=("",),
        )  # fmt: skip
    config = entry("tiny-llama").config
    return Run(
        run_id="r", created="2030-01-01", command=(), tokprof_version="0", outcome=Outcome.COMPLETE,
        cell=Cell(model="m", mode=DecodeMode.TEACHER_FORCED, batch_size=1, prompt_token_count=8, new_token_count=3,
                  prompt="p", prompt_digest="d"),
        model=ModelFacts(name="m", architecture="llama", source="zoo", weights="random", weights_digest="w",
                         config_digest="c", tokenizer_digest=None, parameter_count=1, vocabulary_count=512,
                         context_token_count=512, dtype="float32", attention=attention, weight_bytes_per_token=1,
                         kv_bytes_per_token=1, shape=asdict(shape_of(config)) if shape else None),
        environment=MACHINE, stop=Stop(rule=StopRule.FIXED_COUNT, repetition_count=1, detail=""),
        passes=(Pass(kind=PassKind.CLEAN, repetition_count=1, start_ns=0, end_ns=1),),
        spans=Spans.concatenate(spans), kernels=events,
    )  # fmt: skip


def test_owners_sum_to_the_time_and_to_the_floor():
    for attention in ("sdpa", "eager"):
        summary = summarize([run_of(attention=attention)], fingerprint="f", calibration=calibrated())
        for phase in summary.phases:
            line = phase.roofline
            assert line.floor_ms > 0
            assert line.gap_ms == pytest.approx(phase.time_ms.value - line.floor_ms)
            step, count = phase.step_limits, 2 if phase.phase is Phase.DECODE else 1
            assert step.floor_ms == pytest.approx(line.floor_ms / count)
            assert step.time_ms == pytest.approx(line.time_ms / count)
            assert sum(o.time_ms for o in step.owners) == pytest.approx(step.time_ms)
            assert sum(o.floor_ms for o in step.owners) == pytest.approx(step.floor_ms)
            by_name = {o.name: o for o in step.owners}
            assert by_name["matrix products"].time_ms == pytest.approx(step.time_ms / 2)
            assert by_name["gaps between kernels"].time_ms == pytest.approx(step.time_ms / 4)
            assert (by_name["attention"].floor_ms == 0) == (attention == "eager")
    assert summary.ceiling.startswith("measured")


def test_an_owner_of_whom_no_kernel_was_seen_says_so():
    run = run_of()
    products = replace(run.kernels, name=[0] * 6, category=[0] * 6)
    summary = summarize([replace(run, kernels=products)], fingerprint="f", calibration=calibrated())
    for phase in summary.phases:
        owners = {owner.name: owner for owner in phase.step_limits.owners}
        assert "attention" not in owners
        unseen = owners["attention (no kernel seen)"]
        assert unseen.time_ms == 0
        assert unseen.floor_ms > 0
        assert unseen.gap_ms == -unseen.floor_ms


def test_utilisations_are_the_floor_s_parts_over_the_time():
    run = run_of()
    line = phase_roofline(run, Phase.DECODE, ceiling_of(calibrated()), time_ms=2.0)
    shape = shape_of(entry("tiny-llama").config)
    steps = [step_cost(shape, batch_size=1, token_count=1, context_token_count=c, dtype="float32") for c in (8, 9)]
    assert line.flop_count == sum(o.flop_count for step in steps for o in step)
    assert line.mfu == pytest.approx(line.flop_count / 2e-3 / 100e9)
    assert line.mbu == pytest.approx(line.byte_count / 2e-3 / 10e9)


def test_a_bandwidth_that_may_be_the_cache_s_says_so():
    known = calibrated()
    for cache, said in ((32, False), (512, True)):
        source = ceiling_of(replace(known, cache_bytes=cache)).source
        assert ("whose cache could hold all that was read" in source) == said


def test_how_fast_a_cache_is_tells_only_what_fits_into_it_and_a_whole_sweep():
    whole = calibrated()
    assert ceiling_of(whole).cache_bandwidth_bytes_per_s == 50e9
    large = replace(whole, probes=tuple(p for p in whole.probes if p.working_set_bytes != 16))
    assert ceiling_of(large).cache_bandwidth_bytes_per_s is None
    note = Note(code="probe-failed", message="memory, Triton: not measured, or not all of it: no compiler")
    broken = ceiling_of(replace(whole, notes=(note,)))
    assert broken.cache_bandwidth_bytes_per_s is None
    assert "some probes of its memory failed" in broken.source


def test_what_could_lie_in_the_cache_is_bound_by_it_and_says_so():
    run = run_of()
    memory = replace(ceiling_of(calibrated()), cache_bytes=0, cache_bandwidth_bytes_per_s=None)
    line = phase_roofline(run, Phase.DECODE, memory, time_ms=20.0)
    assert line.bound == "memory"
    held = replace(memory, cache_bytes=line.byte_count, cache_bandwidth_bytes_per_s=4 * memory.bandwidth_bytes_per_s)
    beside = phase_roofline(run, Phase.DECODE, held, time_ms=20.0)
    assert beside.bound == "cache"
    assert beside.floor_ms == pytest.approx(line.floor_ms / 4)
    assert beside.mbu == line.mbu  # of the memory's bandwidth


def test_a_lower_clock_owns_its_part_of_a_gap_that_computing_binds():
    slow = ceiling_of(calibrated(probe("SM clock", 2e9, unit="Hz")))
    slow = replace(slow, flops_per_s={"float32": 1e9}, sm_clock_hz=2e9)
    line = step_limits([run_of()], Phase.PREFILL, slow, time_ms=20.0, mean_sm_clock_mhz=1600.0)
    assert line.bound == "compute"
    lost = next(o for o in line.owners if o.name == "lower clock")
    assert lost.gap_ms == pytest.approx(line.floor_ms * 0.25)
    assert sum(o.time_ms for o in line.owners) == pytest.approx(20.0)
    full = step_limits([run_of()], Phase.PREFILL, slow, time_ms=20.0, mean_sm_clock_mhz=2000.0)
    assert all(o.name != "lower clock" for o in full.owners)


def test_without_calibration_or_shape_there_is_no_floor_and_a_note_says_why():
    absent = summarize([run_of()], fingerprint="f")
    assert all(phase.roofline is None for phase in absent.phases)
    (note,) = [n for n in absent.notes if n.code == "not-calibrated"]
    assert "tokprof calibrate" in note.advice
    unknown = summarize([run_of(shape=False)], fingerprint="f", calibration=calibrated())
    assert all(phase.roofline is None for phase in unknown.phases)
    assert "no-floor" in {n.code for n in unknown.notes}


@pytest.mark.parametrize(
    ("changed", "said"),
    [({}, "hidden"), ({"hidden": "x"}, "hidden"), ({"layer_count": -1}, "layer_count is -1, wants 1 or more")],
)
def test_sizes_that_are_none_are_refused_by_name(changed, said):
    run = run_of()
    run = replace(run, model=replace(run.model, shape=run.model.shape | changed if changed else {"family": "llama"}))
    with pytest.raises(FileFormatError, match=f"run r: key 'model.shape': .*{said}"):
        summarize([run], fingerprint="f", calibration=calibrated())


def test_a_dtype_whose_bytes_nobody_knows_has_no_floor():
    run = run_of()
    summary = summarize([replace(run, model=replace(run.model, dtype="float64"))], fingerprint="f",
                        calibration=calibrated())  # fmt: skip
    assert all(phase.roofline is None and phase.step_limits is None for phase in summary.phases)
    (note,) = [note for note in summary.notes if note.code == "no-floor"]
    assert note.message.startswith("no floor in float64: known are float32")


def test_a_step_costs_its_whole_batch_also_when_a_sequence_has_ended():
    def floor_ms(token_count):
        run = run_of()
        run = replace(run, cell=replace(run.cell, batch_size=4), spans=replace(run.spans, token_count=token_count))
        decode = summarize([run], fingerprint="f", calibration=calibrated()).phases[1]
        return decode.roofline.floor_ms

    assert floor_ms([32, 4, 1] * 2) == floor_ms([32, 4, 4] * 2) > 0


def test_a_time_below_its_floor_is_told():
    summary = summarize([run_of(step_ns=1000)], fingerprint="f", calibration=calibrated())
    assert [n.message.split()[0] for n in summary.notes if n.code == "below-floor"] == ["decode"]


def test_without_a_kernel_pass_nobody_owns_the_gap():
    summary = summarize([run_of(kernels=False)], fingerprint="f", calibration=calibrated())
    assert all(phase.roofline is not None and phase.step_limits is None for phase in summary.phases)


def test_the_terminal_shows_the_floor_and_who_owns_the_gap_in_eighty_columns():
    console = Console(file=io.StringIO(), width=80)
    print_summary(summarize([run_of()], fingerprint="f", calibration=calibrated()), console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for words in (
        "beside the limits",
        "floor",
        "MFU",
        "MBU",
        "gap of a step: matrix products",
        "gap of a step: gaps between kernels",
    ):
        assert any(words in line for line in lines), words
    console = Console(file=io.StringIO(), width=80)
    print_summary(summarize([run_of()], fingerprint="f"), console)
    assert "tokprof calibrate" in console.file.getvalue()
    assert "MFU" not in console.file.getvalue()


# ------------------------------------------------------------------------------------------------------ single kernels

MM = json.dumps([[[1000, 1000], [1000, 1000]], [[1000, 1], [1000, 1]], ["float", "float"]])
MUL = json.dumps([[[1000], [1000]], [[1], [1]], ["float", "float"]])
MM_S, MUL_S = (3 * 4e6 - 1000) / 1e9, (3 * 4000 - 1000) / 1e9  # by CEILING: less what its cache holds


def launched(rows, shapes=(MM, MUL, "{", "[1]")):
    """Kernels given as (name, operator, shape, call, duration in nanoseconds)."""
    names, operators = ("gemm", "reduce", "Memcpy HtoD"), ("", "aten::mm", "aten::mul", "a_kernel_of_mine")
    name, operator, shape, call, duration = zip(*rows, strict=True)
    return KernelEvents(
        name=[names.index(n) for n in name], category=[0] * len(rows), operator=[operators.index(o) for o in operator],
        call=call, shape=shape, stream=[7] * len(rows), repetition=[0] * len(rows), phase=[0] * len(rows),
        step=[0] * len(rows), start_ns=np.arange(len(rows)), duration_ns=duration, names=names, categories=("gemm",),
        operators=operators, shapes=shapes,
    )  # fmt: skip


def test_the_kernels_of_one_call_share_its_floor_by_their_durations():
    kernels = launched([("gemm", "aten::mm", 0, 5, 300), ("reduce", "aten::mm", 0, 5, 100),
                        ("gemm", "aten::mm", 0, 6, 400)])  # fmt: skip
    floors = kernel_floors(kernels, CEILING)
    np.testing.assert_allclose(floors.floor_ns, np.array([0.75, 0.25, 1.0]) * MM_S * 1e9)
    sums = floors.sums(kernels.duration_ns, kernels.name, 3)
    limit = kernel_limit(sums[:, 0], step_count=2)
    assert limit.floor_us == pytest.approx(1.75 * MM_S * 1e6 / 2)
    assert limit.reached == pytest.approx(1.75 * MM_S * 1e9 / 700)
    assert limit.bound == "memory"
    assert limit.known_share == 1.0
    assert kernel_limit(sums[:, 2]) is None


def test_what_nothing_tells_has_no_floor_and_is_no_zero():
    kernels = launched([
        ("gemm", "aten::mul", 1, 1, 100), ("gemm", "", -1, -1, 100), ("gemm", "a_kernel_of_mine", 0, 2, 100),
        ("gemm", "aten::mm", 2, 3, 100), ("gemm", "aten::mm", 3, 4, 100), ("Memcpy HtoD", "aten::mul", 1, 5, 100),
    ])  # fmt: skip
    floors = kernel_floors(kernels, CEILING)
    assert np.isnan(floors.floor_ns).tolist() == [False, True, True, True, True, True]
    limit = kernel_limit(floors.sums(kernels.duration_ns, kernels.name, 3)[:, 0])
    assert limit.known_share == pytest.approx(0.2)
    assert limit.reached == pytest.approx(MUL_S * 1e9 / 500)  # at least: of the time of all five
    assert limit.undercut == (MUL_S * 1e9 > 100)
    for absent in ({"shape": None}, {"call": None}):
        assert np.isnan(kernel_floors(replace(kernels, **absent), CEILING).floor_ns).all()


def test_products_bind_where_they_take_longer():
    slow = replace(CEILING, flops_per_s={"float32": 1e9})
    kernels = launched([("gemm", "aten::mm", 0, 1, 100), ("gemm", "aten::mul", 1, 2, 100)])
    floors = kernel_floors(kernels, slow)
    assert floors.floor_ns.tolist() == pytest.approx([2e9, MUL_S * 1e9])
    assert floors.computing.tolist() == [True, False]
    assert kernel_limit(floors.sums(kernels.duration_ns, kernels.name, 3)[:, 0]).bound == "compute"


def test_a_summary_puts_kernels_beside_their_floors_also_of_unknown_families():
    run = run_of(shape=False)
    shape = json.loads(MUL)
    kernels = replace(
        run.kernels, operator=[1, 0] * 3, operators=("", "aten::mul"), call=[0, -1, 1, -1, 2, -1], shape=[0, -1] * 3,
        shapes=(MUL,),
    )  # fmt: skip
    summary = summarize([replace(run, kernels=kernels)], fingerprint="f", calibration=calibrated())
    cost = call_cost("aten::mul", *shape)
    for phase in summary.phases:
        product, attention = phase.kernels
        floor_us = max(cost.byte_count / 50e9, (cost.byte_count - 32) / 10e9) * 1e6
        assert product.limit.floor_us == pytest.approx(floor_us)
        assert product.limit.reached == pytest.approx(floor_us / product.time_us_per_span)  # the passes ran alike
        assert attention.limit is None
    assert {n.code for n in summary.notes} >= {"no-floor"}
    console = Console(file=io.StringIO(), width=80)
    print_summary(summary, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("mm ")).split()
    assert row[-2:] == ["0%", "memory"]
    assert next(line for line in lines if line.startswith("flash ")).split()[-2:] == ["–", "–"]
    assert "measured on this device on 2030-01-02; shares of the time when profiled" in " ".join(
        " ".join(lines).split()
    )


def test_a_kernel_below_its_floor_is_told():
    run = run_of()
    kernels = replace(run.kernels, operator=[1, 0] * 3, operators=("", "aten::mm"), call=[0, -1, 1, -1, 2, -1],
                      shape=[0, -1] * 3, shapes=(MM,))  # fmt: skip
    summary = summarize([replace(run, kernels=kernels)], fingerprint="f", calibration=calibrated())
    said = [n.message for n in summary.notes if n.code == "below-floor"]
    assert [words.split(" took")[0] for words in said] == ["mm in prefill", "mm in decode"]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_calls_of_a_forward_multiply_what_torch_counts(attention, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    values = dict(entry("tiny-llama").config)
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    counted, kernels = None, {}
    for implementation in ("eager", attention):  # of fused attention torch counts nothing on a CPU
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()
        ids = torch.zeros((3, 20), dtype=torch.long)
        with torch.inference_mode():
            if counted is None:
                with FlopCounterMode(display=False) as counter:
                    model(input_ids=ids)
                counted = counter.get_total_flops()
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
                model(input_ids=ids)
        profiler.export_chrome_trace(str(tmp_path / "t.json"))
        kernels = kernel_events(read_trace(tmp_path / "t.json"))
    costs = [
        call_cost(kernels.operators[operator], *json.loads(kernels.shapes[shape]))
        for operator, shape in zip(kernels.operator.tolist(), kernels.shape.tolist(), strict=True)
        if shape >= 0
    ]
    found = sum(cost.flop_count + cost.redundant_flop_count for cost in costs if cost is not None)
    assert found == pytest.approx(counted, rel=0.01)
    assert len([cost for cost in costs if cost is None]) < len(costs) / 2


@pytest.mark.parametrize(
    ("name", "key", "known_share"),
    [
        ("h100_qwen1.5-0.5b_prefill", "h100", 0.6),
        ("mi300x_qwen1.5-0.5b_prefill", "mi300x", 0.6),
        ("mi300x_sglang_qwen3-8b_mixed", "mi300x", 0.8),
        ("b200_vllm_eager_prefill", "b200", 0.1),  # most of its operators are vLLM's own
    ],
)
def test_no_kernel_of_a_real_trace_is_faster_than_the_data_sheet_allows(real_traces, name, key, known_share):
    kernels = kernel_events(read_trace(real_traces / f"{name}.json.gz", cache=False))
    floors = kernel_floors(kernels, device(key))
    known = ~np.isnan(floors.floor_ns)
    assert kernels.duration_ns[known].sum() > known_share * kernels.duration_ns.sum()
    assert 0.4 < (floors.floor_ns[known] / np.maximum(kernels.duration_ns[known], 1)).max() <= 1
