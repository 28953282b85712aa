"""What a trace adds up to: unions of intervals by stream, gaps by cause and owner, a step folded into its layers."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from tokprof.profiler.analysis.timeline import analyze, folded, queue_lengths
from tokprof.profiler.record import Phase, StepKernels, TypicalStep
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import timeline


def analysis_of(tmp_path, events, **options):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    trace = read_trace(path)
    return analyze(trace, timeline(trace), **options)


def work(name, start_us, end_us, stream, device=0):
    args = {"device": device, "stream": stream}
    place = {"ph": "X", "cat": "kernel", "pid": device, "tid": stream, "args": args}
    return place | {"name": name, "ts": start_us, "dur": end_us - start_us}


def test_busy_gap_and_overlap_by_stream_are_unions(tmp_path):
    analysis = analysis_of(
        tmp_path,
        [
            work("a", 0, 10, 7),
            work("b", 8, 12, 7),  # on the same stream, 2 beside a
            work("c", 20, 30, 7),
            work("d", 25, 40, 9),  # 5 beside c
            work("e", 5, 6, 7, device=1),
        ],
    )
    totals = {(s.device, s.stream): s for s in analysis.streams}
    first = totals[0, 7]
    assert (first.kernel_count, first.busy_ms, first.gap_ms) == (3, 0.022, 0.008)
    assert first.overlap_ms == pytest.approx(0.001 + 0.005)
    assert (totals[0, 9].busy_ms, totals[0, 9].gap_ms) == (0.015, 0.0)
    assert totals[0, 9].overlap_ms == pytest.approx(0.005)
    assert totals[1, 7].overlap_ms == pytest.approx(0.001)
    assert analysis.span_ms == 0.040
    assert analysis.busy_ms == pytest.approx(0.032)
    assert analysis.overlap_ms == pytest.approx(0.002 + 0.005 + 0.001)


def test_idle_time_and_work_outside_the_steps_is_told(tmp_path):
    def label(start_us, end_us):
        place = {"ph": "X", "cat": "user_annotation", "name": "my decode", "pid": 1, "tid": 1}
        return place | {"ts": start_us, "dur": end_us - start_us}

    def launched(name, start_us, end_us, correlation):
        kernel = work(name, start_us, end_us, 7)
        kernel["args"]["correlation"] = correlation
        call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1}
        return [kernel, call | {"ts": start_us - 1, "dur": 0.5, "args": {"correlation": correlation}}]

    events = [
        *launched("lone", 1, 11, 1),
        *launched("a", 500, 510, 2),  # the step, with 5 idle inside it
        *launched("b", 515, 520, 3),
        label(498, 525),
    ]
    outside = analysis_of(tmp_path, events).outside
    assert (outside.kernel_count, outside.early_count, outside.busy_ms) == (1, 1, 0.010)
    assert (outside.idle_ms, outside.longest_idle_ms, outside.longest_idle_at_ms) == (0.489, 0.489, 0.010)
    assert analysis_of(tmp_path, [*launched("a", 500, 510, 2), label(498, 525)]).outside is None


def test_a_step_adds_up_to_its_residual():
    from tokprof.profiler.analysis.timeline import _step_total

    samples = np.array([[5.0, 1, 9], [1, 5, 9], [1, 1, 9]])  # medians 1, 1, 9 of steps that took 15, 15 and 11
    step = replace(a_step(["a", "b", "c"], [-1] * 3, [1.0, 1, 9], samples=samples), wall_ns=15.0, busy_ns=15.0)
    total = _step_total(step, 9)
    assert (total.kernel_ms, total.idle_ms, total.overlap_ms) == (11e-6, 0, 0)
    assert total.residual_ms == pytest.approx(4e-6)


@pytest.mark.parametrize(
    ("properties", "calls", "kernels", "name"),
    [
        ({"deviceProperties": [{"id": 0, "name": "The GPU"}]}, [], ["gemm"], "The GPU"),
        ({"deviceProperties": [{"id": 0, "name": ""}]}, [], ["Cijk_Alik"], "a device of AMD, by its calls and kernels"),
        ({}, ["hipLaunchKernel"], ["gemm"], "a device of AMD, by its calls and kernels"),
        ({}, ["cudaLaunchKernel"], ["gemm"], "a device of NVIDIA, by its calls and kernels"),
        ({}, [], ["gemm"], "unknown device"),
        ({"deviceProperties": [{"id": 0, "name": "The GPU"}]}, ["cudaLaunchKernel"], [],
         "The GPU, of whose work nothing is in the file"),
        ({"deviceProperties": [{"id": 0, "name": "The GPU"}]}, [], [], "CPU"),
    ],
)  # fmt: skip
def test_the_device_is_named_as_far_as_the_trace_tells(tmp_path, properties, calls, kernels, name):
    events = [work(kernel, 10 * n, 10 * n + 5, 7) for n, kernel in enumerate(kernels)]
    host = {"ph": "X", "pid": 1, "tid": 1, "ts": 1, "dur": 1}
    events += [host | {"cat": "cuda_runtime", "name": call} for call in calls]
    events.append(host | {"cat": "cpu_op", "name": "aten::mm"})
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({**properties, "traceEvents": events}))
    trace = read_trace(path)
    analysis = analyze(trace, timeline(trace))
    assert analysis.device == name
    assert ("device-missing" in {note.code for note in analysis.notes}) is ("nothing is in the file" in name)


def test_a_trace_that_breaks_off_before_its_kernels_says_so(real_traces, tmp_path):
    content = gzip.decompress((real_traces / "h100_qwen1.5-0.5b_prefill.json.gz").read_bytes())
    path = tmp_path / "cut.json"
    path.write_bytes(content[: len(content) // 2])
    trace = read_trace(path)
    analysis = analyze(trace, timeline(trace))
    assert analysis.device == "CPU, as far as the file goes"
    assert {"trace-truncated", "device-missing"} <= {note.code for note in analysis.notes}
    (step,) = analysis.steps
    assert step.wall_ms <= analysis.span_ms  # the step begins with its call
    assert step.confidence < 0.5
    assert "breaks off" in step.evidence


def test_the_launch_queue_counts_what_was_launched_and_had_not_started():
    launched = np.array([0, 1, 2, 3, -1])
    assert queue_lengths(launched, np.array([1, 2, 10, 20, 30])).tolist() == [1, 1, 1, 0]


def a_step(names, layer, durations, *, samples=None, gaps=None, causes=None, owners=None):
    words = tuple(dict.fromkeys(names))
    count = len(names)
    gaps = gaps or [0.0] * count
    kernels = StepKernels(
        name=[words.index(n) for n in names], category=[0] * count, operator=[0] * count, frame=[0] * count,
        layer=layer, stream=[7] * count, start_ns=np.arange(count), duration_ns=durations, gap_ns=gaps,
        gap_cause=causes or [0] * count, gap_owner=owners, names=words, categories=("gemm",), operators=("",),
        frames=("",), gap_causes=("", "late", "copy"), gap_owners=("aten::mm", "aten::add", ""),
    )  # fmt: skip
    wall = float(np.sum(durations) + np.sum(gaps))
    return TypicalStep(
        phase=Phase.DECODE, step_count=1, sampled_step_count=1, wall_ns=wall, busy_ns=float(np.sum(durations)),
        overlap_ns=0.0, kernels=kernels, confidence=1.0, evidence="", samples_ns=samples,
        gap_samples_ns=None if samples is None else np.zeros_like(samples),
        wall_samples_ns=None if samples is None else samples.sum(axis=1),
    )  # fmt: skip


NAMES = ["embed", *["norm", "gemm"] * 2, "norm", "extra", "gemm", *["norm", "gemm"], "head"]
LAYER = [-1, 0, 0, 1, 1, 2, 2, 2, 3, 3, -1]
DURATIONS = [5.0, 1, 10, 2, 20, 3, 4, 30, 3, 30, 50]


def test_equal_layers_share_their_lines_and_nothing_is_lost():
    lines, count = folded(a_step(NAMES, LAYER, DURATIONS), 100)
    assert count == len(lines) == 7
    told = [(line.name, line.repeat_count, line.layer, round(line.total_ms * 1e6)) for line in lines]
    assert told == [
        ("embed", 1, None, 5),
        ("norm", 3, 0, 6),
        ("gemm", 3, 0, 60),
        ("norm", 1, 2, 3),
        ("extra", 1, 2, 4),
        ("gemm", 1, 2, 30),
        ("head", 1, None, 50),
    ]
    assert lines[2].duration_us == pytest.approx(0.020)
    assert sum(line.total_ms for line in lines) * 1e6 == pytest.approx(sum(DURATIONS))


def test_the_heaviest_lines_stay_in_the_order_of_time():
    lines, count = folded(a_step(NAMES, LAYER, DURATIONS), 2)
    assert [line.name for line in lines] == ["gemm", "head"]
    assert count == 7


def test_the_spread_is_over_steps_not_over_layers():
    samples = np.array([DURATIONS, DURATIONS, np.array(DURATIONS) * 1.0])
    samples[:, 10] = [40, 50, 60]  # the head alone varies
    lines, _ = folded(a_step(NAMES, LAYER, DURATIONS, samples=samples), 100)
    assert [line.spread for line in lines[:-1]] == [0.0] * 6
    assert lines[-1].spread == pytest.approx(0.2)
    assert folded(a_step(NAMES, LAYER, DURATIONS), 1)[0][0].spread is None


def test_gaps_add_up_by_cause_and_by_owner(tmp_path):
    def launch(start, correlation):
        args = {"correlation": correlation}
        call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "args": args}
        return call | {"ts": start, "dur": 1}

    def operator(name, start, end):
        return {"ph": "X", "cat": "cpu_op", "name": name, "pid": 1, "tid": 1, "ts": start, "dur": end - start}

    events, now = [], 100
    for number, (name, gap) in enumerate([("aten::mm", 0), ("aten::mm", 30), ("aten::add", 10), ("aten::mm", 5)]):
        begin = now + gap
        events += [launch(begin - 3, number), operator(name, begin - 3.5, begin - 1)]
        kernel = work(f"k{number}", begin, begin + 10, 7)
        kernel["args"]["correlation"] = number
        events.append(kernel)
        now = begin + 10
    (step,) = analysis_of(tmp_path, events).steps
    (late,) = step.gaps
    assert (late.cause, late.count, late.gap_ms) == ("host launch late", 3, pytest.approx(0.045))
    assert dict(late.owners) == {"aten::mm": pytest.approx(0.035), "aten::add": pytest.approx(0.010)}
    assert step.wall_ms == pytest.approx(step.busy_ms + late.gap_ms)


@pytest.mark.parametrize(
    "name", ["a100_training_control", "h100_qwen1.5-0.5b_prefill", "mi300x_sglang_qwen3-8b_decode"]
)
def test_real_traces_add_up(real_traces, name):
    trace = read_trace(real_traces / f"{name}.json.gz")
    analysis = analyze(trace, timeline(trace), top=10_000)
    assert sum(s.kernel_count for s in analysis.streams) == trace.counts.device_events
    assert sum(k.total_ms for k in analysis.kernels) == pytest.approx(sum(ms for _, ms in analysis.categories))
    for step in analysis.steps:
        assert len(step.lines) == step.line_count <= step.kernel_count
        assert sum(line.total_ms for line in step.lines) == pytest.approx(sum(ms for _, ms in step.category_ms))
        assert sum(line.gap_ms for line in step.lines) == pytest.approx(sum(gap.gap_ms for gap in step.gaps))
        if step.sampled_step_count == 1:
            assert step.wall_ms == pytest.approx(step.busy_ms + sum(gap.gap_ms for gap in step.gaps))
            assert step.residual_ms == pytest.approx(0, abs=1e-9)
        parts = step.kernel_ms + step.idle_ms - step.overlap_ms + step.residual_ms
        assert step.wall_ms == pytest.approx(parts)


def test_the_silence_before_a_real_step_is_told(real_traces):
    trace = read_trace(real_traces / "mi300x_sglang_qwen3-8b_mixed.json.gz")
    analysis = analyze(trace, timeline(trace))
    assert analysis.outside.longest_idle_ms == pytest.approx(493.28, abs=0.01)
    (step,) = analysis.steps
    idle = sum(gap.gap_ms for gap in step.gaps)
    assert analysis.span_ms - analysis.busy_ms == pytest.approx(idle + analysis.outside.idle_ms)


def test_a_real_decode_step_folds_into_its_layers(real_traces):
    trace = read_trace(real_traces / "mi300x_sglang_qwen3-8b_decode.json.gz")
    (step,) = analyze(trace, timeline(trace), top=1000).steps
    assert (step.layer_count, step.layer_kernel_count) == (36, 15)
    assert sum(line.repeat_count == 35 for line in step.lines) == 15  # one layer has a strange kernel in it
    assert step.line_count < 50
