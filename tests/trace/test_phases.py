"""Phases and repetition: taken from what names them, from structure with a stated confidence, and never invented."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprof.profiler.record import Phase
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.repeats import layers, repeating_block
from tokprof.profiler.trace.steps import timeline, typical_steps

PREFILL, DECODE = Phase.PREFILL, Phase.DECODE
LAYER = ["rms_norm_kernel", "gemm_qkv", "flash_fwd_splitkv_kernel", "gemm_out", "gemm_up", "silu_kernel", "gemm_down"]
STEP = ["vectorized_gather_kernel", *LAYER * 4, "gemm_head", "argmax_kernel"]
PROMPT = ["vectorized_gather_kernel", *[n.replace("splitkv", "whole") for n in LAYER] * 4, "gemm_head", "argmax_kernel"]


def trace_of(tmp_path, forwards, *, annotate=None, annotated_kernels=None, launches=True):
    """Forward passes one after the other; ``annotate`` gives the name of each one's annotation (None: none).

    The annotation ends before the launches beyond ``annotated_kernels``, as where sampling follows the model.
    """
    events, now, correlation = [], 1000.0, 0
    for number, names in enumerate(forwards):
        host = now - 50.0
        label_end = None
        for index, name in enumerate(names):
            correlation += 1
            if launches:
                call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1}
                events.append(call | {"ts": round(host, 3), "dur": 0.1, "args": {"correlation": correlation}})
            place = {"pid": 0, "tid": 7, "args": {"device": 0, "stream": 7, "correlation": correlation}}
            events.append({"ph": "X", "cat": "kernel", "name": name, "ts": round(now, 3), "dur": 5.0, **place})
            now += 6.0
            host += 0.2
            if annotated_kernels is None or index < annotated_kernels:
                label_end = host
        name = annotate(number) if annotate else None
        if name:
            start = host - 0.2 * len(names) - 0.1
            label = {"ph": "X", "cat": "user_annotation", "name": name, "pid": 1, "tid": 1}
            events.append(label | {"ts": round(start, 3), "dur": round(label_end - start, 3)})
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return read_trace(path)


def phases_of(trace):
    return list(timeline(trace).steps.phase)


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        ("tokprof.decode#rep=0,step={n}", DECODE),
        ("tokprof.prefill#rep={n}", PREFILL),
        ("step[DECODE bs=32]", DECODE),
        ("step[EXTEND bs=15 toks=15360]", PREFILL),
        ("step[MIXED bs=15 toks=15360]", None),
        ("execute_32_context_0(sq0sk0)_generation_32(sq32sk32785)", DECODE),
        ("execute_15360_context_15(sq15360)_generation_0(sq0)", PREFILL),
        ("execute_context_1(888_788544)_generation_0(0)", PREFILL),
        ("execute_40_context_2(8)_generation_30(30)", None),
        ("my decode loop", DECODE),
        ("Prefill", PREFILL),
        ("ProfilerStep#{n}", None),
    ],
)
def test_annotations_name_the_phase(tmp_path, name, phase):
    trace = trace_of(tmp_path, [STEP] * 3, annotate=lambda n: name.format(n=n + 1))
    found = timeline(trace).steps
    assert list(found.phase) == [phase] * 3
    assert np.bincount(found.step_of_row).tolist() == [len(STEP)] * 3
    assert found.confidence >= 0.8


def test_a_name_that_says_both_or_neither_says_nothing(tmp_path):
    trace = trace_of(tmp_path, [["a_kernel", "b_kernel"]] * 2, annotate=lambda _: "prefill and decode")
    assert phases_of(trace) == [None]


@pytest.mark.parametrize("name", ["step[DECODE bs=1]", "execute_1_context_0(0)_generation_1(1)", "decode"])
def test_what_follows_the_annotated_model_belongs_to_the_step_before(tmp_path, name):
    trace = trace_of(tmp_path, [STEP] * 4, annotate=lambda _: name, annotated_kernels=len(STEP) - 2)
    found = timeline(trace).steps
    assert np.bincount(found.step_of_row).tolist() == [len(STEP)] * 4
    (step,) = typical_steps(trace)
    assert step.kernels.names[step.kernels.name[-1]] == "argmax_kernel"


def test_a_named_stretch_does_not_take_in_work_far_behind_it(tmp_path):
    forwards = [STEP, ["strange_kernel"] * 40 * len(STEP), STEP]
    trace = trace_of(tmp_path, forwards, annotate=lambda n: "decode" if n != 1 else None)
    steps = timeline(trace).steps
    assert (steps.step_of_row == -1).sum() == 40 * len(STEP)


def kernel(name, start_us, *, stream=7, correlation=None):
    args = {"device": 0, "stream": stream} | ({} if correlation is None else {"correlation": correlation})
    return {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": stream, "ts": start_us, "dur": 5.0, "args": args}


def call(start_us, correlation):
    args = {"correlation": correlation}
    launch = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1}
    return launch | {"ts": start_us, "dur": 0.5, "args": args}


def label(name, start_us, length_us, *, on_device=False, external=3):
    place = {"cat": "gpu_user_annotation" if on_device else "user_annotation", "pid": int(not on_device), "tid": 7}
    times = {"ts": start_us, "dur": length_us, "args": {"External id": external}}
    return {"ph": "X", "name": name} | place | times


def read(tmp_path, events):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return read_trace(path)


LEFT_OVER = [kernel(f"old_{n}", 90.0 + 6 * n) for n in range(5)]  # up to 119, launched before the trace began
OWN = [kernel(f"new_{n}", 120.0 + 6 * n, correlation=n + 1) for n in range(10)]  # 120 to 179
CALLS = [call(101.0 + n, n + 1) for n in range(10)]


@pytest.mark.parametrize("annotated_device", [True, False])
def test_what_was_launched_before_the_trace_is_of_no_step(tmp_path, annotated_device):
    events = [*LEFT_OVER, *OWN, *CALLS, label("ProfilerStep#6", 95.0, 60.0)]
    if annotated_device:
        events.append(label("ProfilerStep#6", 120.0, 59.0, on_device=True))
    trace = read(tmp_path, events)
    steps = timeline(trace).steps
    assert steps.step_of_row.tolist() == [-1] * 5 + [0] * 10
    assert steps.confidence == 0.9
    (step,) = typical_steps(trace)
    assert (step.wall_ns, len(step.kernels)) == (59_000, 10)


def test_a_stream_that_ran_on_from_before_does_not_follow_another_stream(tmp_path):
    old = [kernel(f"old_{n}", 123.0 + 6 * n) for n in range(3)]  # beside what another stream runs for the step
    copies = [kernel("new_0", 120.0, stream=9, correlation=1), kernel("new_1", 133.0, stream=9, correlation=2)]
    trace = read(tmp_path, [*old, *copies, call(110.0, 1), call(111.0, 2), label("ProfilerStep#1", 105.0, 60.0)])
    line = timeline(trace)
    named = {line.work.names[name]: step for name, step in zip(line.work.name, line.steps.step_of_row, strict=True)}
    assert named == {"old_0": -1, "old_1": -1, "old_2": -1, "new_0": 0, "new_1": 0}


def test_lost_launches_inside_a_step_make_it_less_sure(tmp_path):
    some = [event if n % 2 else kernel(event["name"], event["ts"]) for n, event in enumerate(OWN)]
    found = timeline(read(tmp_path, [*some, *CALLS, label("ProfilerStep#6", 95.0, 60.0)])).steps
    assert found.step_of_row.tolist() == [-1] + [0] * 9  # nothing tells of the first
    assert found.confidence == pytest.approx(0.9 * (1 - 0.5 * 4 / 9))
    ranged = label("ProfilerStep#6", 120.0, 59.0, on_device=True)
    found = timeline(read(tmp_path, [*some, *CALLS, label("ProfilerStep#6", 95.0, 60.0), ranged])).steps
    assert found.step_of_row.tolist() == [0] * 10


def test_a_trace_of_the_device_alone_goes_by_its_own_annotations(tmp_path):
    ranges = [label("step[DECODE bs=1]", 120.0 + 30 * n, 29.0, on_device=True, external=n + 1) for n in range(2)]
    second = label("step[DECODE bs=1]", 122.0, 29.0, on_device=True, external=1)  # the same on another stream
    trace = read(tmp_path, [*LEFT_OVER, *[kernel(e["name"], e["ts"]) for e in OWN], *ranges, second])
    steps = timeline(trace).steps
    assert list(steps.phase) == [DECODE, DECODE]
    assert steps.step_of_row.tolist() == [-1] * 5 + [0] * 5 + [1] * 5


def test_steps_of_the_profiler_around_an_optimizer_are_training(tmp_path):
    update = {"ph": "X", "cat": "user_annotation", "name": "Optimizer.step#Adam.step", "pid": 1, "tid": 1}
    for more, word in (([], "step of unknown phase"), ([update | {"ts": 110.0, "dur": 5.0}], "training step")):
        (step,) = typical_steps(read(tmp_path, [*OWN, *CALLS, label("ProfilerStep#6", 95.0, 60.0), *more]))
        assert (step.phase, step.title) == (None, word)


def test_unannotated_decoding_shows_by_its_repetition(tmp_path):
    trace = trace_of(tmp_path, [PROMPT, *[STEP] * 6], launches=False)
    found = timeline(trace).steps
    assert list(found.phase) == [PREFILL, *[DECODE] * 6]
    assert np.bincount(found.step_of_row).tolist() == [len(STEP)] * 7
    assert 0.5 < found.confidence < 1
    prefill, decode = typical_steps(trace)
    assert (prefill.step_count, decode.step_count) == (1, 6)
    assert decode.kernels.layer.max() == 3
    assert "repeats 6 times" in decode.evidence


def test_layers_of_one_forward_pass_are_not_taken_for_steps(tmp_path):
    for forward in (STEP, PROMPT):
        (step,) = typical_steps(trace_of(tmp_path, [forward], launches=False))
        assert step.phase is None
        assert step.step_count == 1
        assert step.kernels.layer.max() == 3
        assert step.confidence == 0


def test_a_repetition_that_nothing_tells_to_be_decoding_has_no_phase(tmp_path):
    plain = [name.replace("splitkv", "whole") for name in STEP]
    found = timeline(trace_of(tmp_path, [plain] * 5, launches=False)).steps
    assert set(found.phase) == {None}
    assert len(found) == 5


def test_training_is_no_decoding_even_with_its_words(tmp_path):
    training = [*STEP, "embedding_backward_kernel", "multi_tensor_apply_kernel"]
    found = timeline(trace_of(tmp_path, [training] * 5, launches=False)).steps
    assert set(found.phase) == {None}
    assert "training" in found.evidence


def test_upsampling_is_no_sampling(tmp_path):
    vision = ["gemvx_kernel", "upsample_bilinear_kernel", "vectorized_gather_kernel", "conv_kernel"]
    assert set(phases_of(trace_of(tmp_path, [vision] * 8, launches=False))) == {None}


def test_a_long_lead_is_not_called_prefill(tmp_path):
    lead = [f"warm_up_{i % 97}_kernel" for i in range(4 * len(STEP))]
    found = timeline(trace_of(tmp_path, [lead, *[STEP] * 8], launches=False)).steps
    assert set(found.phase) == {DECODE}
    assert (found.step_of_row == -1).sum() == len(lead)


# -------------------------------------------------------------------------------------------------------- repetition


def codes(words):
    table = {word: code for code, word in enumerate(dict.fromkeys(words))}
    return np.array([table[word] for word in words])


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 9), min_size=3, max_size=12),
    st.integers(4, 12),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_a_planted_block_is_found(block, count, before, after):
    sequence = np.array([*range(20, 20 + before), *(block * count), *range(40, 40 + after)])
    found = repeating_block(sequence, minimum_count=3)
    start, period, repeats = found
    assert period * repeats >= 0.9 * len(block) * count
    assert len(block) % period == 0 or period % len(block) == 0
    for step in range(repeats):
        at = start + step * period
        assert sequence[at : at + period].tolist() == sequence[start : start + period].tolist()


def test_no_block_is_found_where_none_repeats():
    assert repeating_block(np.arange(500), minimum_count=3) is None
    assert repeating_block(np.array([1, 2, 1, 2]), minimum_count=3) is None


def test_a_strange_kernel_between_layers_and_a_short_first_layer_do_not_cost_layers():
    layer = list("qkvopfg")
    first = layer[2:]  # lacks what the others begin with
    sequence = ["embed", *first, *layer * 3, "strange", *layer * 8, "q", "k", "head"]
    found = layers(codes(sequence))
    assert found.max() + 1 == 12
    assert (np.diff(found[found >= 0]) >= 0).all()
    assert found[0] == found[-1] == -1
    assert found[sequence.index("strange")] >= 0


def test_a_block_without_telling_work_is_no_layer():
    sequence = codes(["gemm", *["mul", "add", "copy"] * 20, "gemm"])
    assert (layers(sequence) >= 0).sum() == 60
    assert (layers(sequence, np.zeros(len(sequence), dtype=bool)) == -1).all()


# ------------------------------------------------------------------------------------------------------- real traces


@pytest.mark.parametrize(
    ("name", "phase", "layer_count"),
    [
        ("mi300x_sglang_qwen3-8b_decode", DECODE, 36),
        ("mi300x_sglang_qwen3-8b_mixed", PREFILL, 36),
        ("mi300x_vllm_decode_fullgraph", DECODE, 12),  # blocks of two layers: attention alternates
        ("b200_vllm_eager_prefill", PREFILL, 18),  # likewise
        ("h100_qwen1.5-0.5b_prefill", None, 24),
        ("mi300x_qwen1.5-0.5b_prefill", None, 24),
        ("v100_resnet50", None, 0),
        ("a100_training_control", None, 0),
        ("a100_segment_anything", None, 0),
    ],
)
def test_real_traces_have_their_phases_and_layers(real_traces, name, phase, layer_count):
    (step,) = typical_steps(read_trace(real_traces / f"{name}.json.gz"))
    assert step.phase is phase
    assert step.kernels.layer.max() + 1 == layer_count


@pytest.mark.parametrize(
    ("name", "count", "left_out"), [("v100_training_test", 6, 614), ("a100_training_rank0", 5, 872)]
)
def test_every_training_step_of_a_real_trace_is_the_same_once_leftovers_are_out(real_traces, name, count, left_out):
    trace = read_trace(real_traces / f"{name}.json.gz")
    line = timeline(trace)
    (step,) = typical_steps(trace, line=line)
    assert (step.step_count, step.sampled_step_count) == (count, count)
    assert (line.steps.step_of_row < 0).sum() == left_out == trace.counts.unlinked
    assert step.title == "training step"


@pytest.mark.parametrize("name", ["mi300x_vllm_decode_fullgraph", "mi300x_sglang_qwen3-8b_decode"])
def test_one_serving_step_without_its_annotation_is_not_given_a_phase(real_traces, tmp_path, name):
    import gzip

    content = json.loads(gzip.decompress((real_traces / f"{name}.json.gz").read_bytes()))
    content["traceEvents"] = [e for e in content["traceEvents"] if "annotation" not in e.get("cat", "")]
    path = tmp_path / "bare.json"
    path.write_text(json.dumps(content))
    (step,) = typical_steps(read_trace(path))
    assert step.phase is None
    assert step.step_count == 1
