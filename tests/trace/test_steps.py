"""Typical steps: medians kernel by kernel, spread over steps, and each gap with its cause and owner."""

import json

import numpy as np
import pytest

from tokprof.profiler.analysis.runs import clean_step
from tokprof.profiler.record import Phase
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import kernel_events, timeline, typical_steps


def slice_of(cat, name, start, end, *, tid=1, **args):
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": end - start, "args": args}


def work(name, start, end, correlation, *, stream=7, cat="kernel"):
    args = {"device": 0, "stream": stream, "correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "pid": 0, "tid": stream, "ts": start, "dur": end - start, "args": args}


def launch(start, end, correlation, *, name="cudaLaunchKernel", tid=1):
    return slice_of("cuda_runtime", name, start, end, tid=tid, correlation=correlation)


def step_of(tmp_path, *events, annotated=True):
    label = [slice_of("user_annotation", "decode", 10, 900)] if annotated else []
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": [*label, *events]}))
    (step,) = typical_steps(read_trace(path))
    return step


def gap_of(step, row=-1):
    """Return length in microseconds, cause and owner of the gap before a kernel."""
    kernels = step.kernels
    cause = kernels.gap_causes[kernels.gap_cause[row]]
    return kernels.gap_ns[row] / 1e3, cause, kernels.gap_owners[kernels.gap_owner[row]]


FIRST = (launch(20, 21, 1), work("first", 100, 110, 1))


def test_a_late_launch_is_owned_by_the_operator_and_frame_the_host_was_in(tmp_path):
    step = step_of(
        tmp_path,
        *FIRST,
        slice_of("cpu_op", "aten::slow", 105, 124),
        slice_of("cpu_op", "aten::mm", 124.5, 127),
        slice_of("python_function", "model.py(3): forward", 15, 200),
        slice_of("python_function", "model.py(9): attend", 104, 124.2),
        slice_of("python_function", "<built-in method slow>", 105, 124),
        launch(125, 126, 2),
        work("late", 130, 140, 2),
    )
    assert gap_of(step) == (20, "host launch late", "aten::slow, in model.py(9): attend")
    kernels = step.kernels
    assert kernels.operators[kernels.operator[1]] == "aten::mm"
    assert kernels.frames[kernels.frame[1]] == "model.py(3): forward"


def test_between_operators_the_host_was_on_its_way_to_the_next(tmp_path):
    mm = slice_of("cpu_op", "aten::mm", 124.5, 127)
    step = step_of(tmp_path, *FIRST, mm, launch(125, 126, 2), work("late", 130, 140, 2))
    assert gap_of(step) == (20, "host launch late", "aten::mm")


def test_a_launch_still_under_way_when_the_device_ran_dry_is_late(tmp_path):
    step = step_of(tmp_path, *FIRST, launch(109, 118, 2), work("late", 119, 140, 2))
    assert gap_of(step)[:2] == (9, "host launch late")


@pytest.mark.parametrize(
    "call", ["cudaStreamSynchronize", "hipDeviceSynchronize", "cudaEventSynchronize", "hipMemcpyWithStream", "cudaFree"]
)
def test_a_call_that_waited_is_a_synchronisation(tmp_path, call):
    item = slice_of("cpu_op", "aten::item", 80, 113)
    wait = slice_of("cuda_runtime", call, 90, 112, correlation=9)
    step = step_of(tmp_path, *FIRST, item, wait, launch(115, 116, 2), work("late", 118, 140, 2))
    assert gap_of(step) == (8, "synchronisation", f"{call}, aten::item")


@pytest.mark.parametrize(
    ("call", "begin", "end", "tid", "cause"),
    [
        ("cudaStreamSynchronize", 90, 95, 1, "host launch late"),  # over before the device ran dry
        ("cudaStreamSynchronize", 90, 112, 2, "host launch late"),  # another thread's
        ("cudaEventQuery", 90, 112, 1, "host launch late"),  # asks, does not wait
        ("cudaMemcpyAsync", 90, 112, 1, "synchronisation"),  # of pageable memory: it did wait
        ("cudaMemcpyAsync", 111, 112, 1, "host launch late"),
    ],
)
def test_only_a_call_of_the_launching_thread_that_waited_counts(tmp_path, call, begin, end, tid, cause):
    wait = slice_of("cuda_runtime", call, begin, end, tid=tid, correlation=9)
    step = step_of(tmp_path, *FIRST, wait, launch(115, 116, 2), work("late", 118, 140, 2))
    assert gap_of(step)[:2] == (8, cause)


def test_work_queued_in_time_is_not_the_hosts_fault(tmp_path):
    step = step_of(tmp_path, *FIRST, launch(30, 31, 2), work("next", 112, 140, 2))
    assert gap_of(step) == (2, "idle, work queued", "")


@pytest.mark.parametrize("order", ["before", "behind"])
def test_a_copy_before_or_behind_the_gap_is_its_cause(tmp_path, order):
    copy = {"name": "Memcpy DtoH", "cat": "gpu_memcpy"}
    one, other = (copy, {"name": "kernel"}) if order == "before" else ({"name": "kernel"}, copy)
    events = launch(22, 23, 2), launch(24, 25, 3)
    step = step_of(
        tmp_path, *FIRST, *events, work(start=110, end=120, correlation=2, **one),
        work(start=123, end=140, correlation=3, **other),
    )  # fmt: skip
    assert gap_of(step) == (3, "idle beside a memory copy", "Memcpy DtoH")


def test_work_that_waited_for_another_stream_names_it(tmp_path):
    step = step_of(tmp_path, *FIRST, launch(30, 31, 2), work("other", 114, 140, 2, stream=21))
    assert gap_of(step) == (4, "dependency on another stream", "stream 7")


def test_a_graph_replay_is_late_once_and_queued_after(tmp_path):
    graph = launch(112, 118, 5, name="cudaGraphLaunch")
    kernels = [work(f"node_{i}", 120 + 12 * i, 130 + 12 * i, 5) for i in range(4)]
    step = step_of(tmp_path, *FIRST, graph, *kernels)
    assert gap_of(step, 1)[:2] == (10, "host launch late")
    assert {gap_of(step, row)[:2] for row in (2, 3, 4)} == {(2, "idle, work queued")}


def test_a_trace_of_the_device_alone_says_that_it_cannot_know(tmp_path):
    step = step_of(tmp_path, work("a", 100, 110, 1), work("b", 113, 120, 2), annotated=False)
    assert gap_of(step) == (3, "idle, launch not traced", "")
    assert step.kernels.operators[step.kernels.operator[0]] == ""


def test_kernels_side_by_side_leave_no_gap_and_their_overlap_is_counted(tmp_path):
    step = step_of(
        tmp_path, *FIRST, launch(22, 23, 2), launch(24, 25, 3), work("beside", 105, 130, 2, stream=8),
        work("inside", 112, 120, 3, stream=7),
    )  # fmt: skip
    assert step.wall_ns == step.busy_ns == 30_000
    assert step.overlap_ns == 5_000 + 8_000
    assert not step.kernels.gap_ns.any()
    assert not step.kernels.gap_cause.any()


# ------------------------------------------------------------------------------------------------------ several steps


def steps_trace(tmp_path, walls, *, swap=()):
    """Steps of three kernels on two streams; ``walls`` are the durations of the second, ``swap`` turns two streams."""
    events, now, correlation = [], 1000.0, 0
    for number, wall in enumerate(walls):
        events.append(slice_of("user_annotation", f"tokprof.decode#rep=0,step={number + 1}", now - 30, now - 20))
        plan = [("norm", 7, 0, 4), ("gemm", 7, 5, 5 + wall), ("nccl", 20, 6, 8), ("head", 7, 6 + wall, 10 + wall)]
        if number in swap:
            plan[2] = ("nccl", 20, 4.5, 8)  # starts before the gemm of its step
        for name, stream, start, end in plan:
            correlation += 1
            events.append(launch(now - 29 + correlation * 1e-3, now - 28.9 + correlation * 1e-3, correlation))
            events.append(work(name, now + start, now + end, correlation, stream=stream))
        now += 11 + wall
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return read_trace(path)


def test_the_typical_step_is_the_median_and_keeps_every_sample(tmp_path):
    (step,) = typical_steps(steps_trace(tmp_path, [20, 30, 22, 24, 21]))
    assert step.phase is Phase.DECODE
    assert step.step_count == step.sampled_step_count == 5
    names = [step.kernels.names[code] for code in step.kernels.name]
    assert names == ["norm", "gemm", "nccl", "head"]
    assert step.kernels.duration_ns.tolist() == [4000, 22000, 2000, 4000]
    assert sorted(step.samples_ns[:, 1].tolist()) == [20000, 21000, 22000, 24000, 30000]
    durations, gaps = step.samples_ns.sum(axis=1), step.gap_samples_ns.sum(axis=1)
    assert (durations + gaps - step.wall_samples_ns).tolist() == [2000] * 5  # what ran beside the gemm


def test_streams_that_interleave_otherwise_are_still_the_same_step(tmp_path):
    (step,) = typical_steps(steps_trace(tmp_path, [20, 20, 20, 20], swap=(1, 3)))
    assert step.sampled_step_count == 4
    columns = {step.kernels.names[code]: step.samples_ns[:, i].tolist() for i, code in enumerate(step.kernels.name)}
    assert columns["gemm"] == [20000] * 4
    assert columns["nccl"] == [2000, 3500, 2000, 3500]


def test_steps_sum_to_the_time_line_between_them(tmp_path):
    trace = steps_trace(tmp_path, [20, 30, 22])
    (step,) = typical_steps(trace)
    device = trace.device
    span = int(device.end_ns.max() - device.start_ns.min())
    assert int(step.wall_samples_ns.sum()) == span  # each following step begins where the last ended


@pytest.mark.parametrize(
    "name", ["a100_training_control", "v100_training_test", "rtx2080ti_linear", "b200_vllm_eager_prefill"]
)
def test_every_gap_of_a_real_trace_has_a_cause(real_traces, name):
    (step,) = typical_steps(read_trace(real_traces / f"{name}.json.gz"))
    kernels = step.kernels
    assert (kernels.gap_cause[kernels.gap_ns > 0] > 0).all()
    late = np.isin(kernels.gap_cause, [kernels.gap_causes.index("host launch late")])
    assert late.any()
    owners = {kernels.gap_owners[code] for code in kernels.gap_owner[late]}
    assert any(owner.startswith("aten::") for owner in owners)


def test_training_steps_of_several_streams_are_all_sampled(real_traces):
    for name in ("a100_training_control", "v100_training_test"):
        (step,) = typical_steps(read_trace(real_traces / f"{name}.json.gz"))
        assert step.step_count == 6
        assert step.sampled_step_count >= 5, name


def test_the_watchdogs_polling_is_no_synchronisation(real_traces):
    trace = read_trace(real_traces / "a100_training_rank0.json.gz")
    assert sum(name == "cudaEventQuery" for name in trace.host.names) == 1
    (step,) = typical_steps(trace)
    assert not any("EventQuery" in step.kernels.gap_owners[code] for code in step.kernels.gap_owner)


@pytest.mark.parametrize("running", [None, 1030])
def test_a_prefill_of_ours_begins_at_its_call_and_its_latency_is_the_first_kernels_gap(tmp_path, running):
    """As the clean pass's mark does: on an idle device there, else when what was running has ended."""
    events = [
        slice_of("user_annotation", "tokprof.prefill#rep=0", 1000, 1300),
        *(event for n in range(1, 4) for event in (
            launch(1190 + n, 1190.5 + n, n), work(f"gemm {n}", 1190 + 11 * n, 1200 + 11 * n, n))),
    ]  # fmt: skip
    if running:
        events += [launch(900, 901, 9), work("before", 950, running, 9)]
    step = step_of(tmp_path, *events, annotated=False)
    begin = running or 1000
    assert step.kernels.start_ns[0] == (1201 - begin) * 1000
    assert step.wall_ns == (1233 - begin) * 1000
    assert step.kernels.gap_ns.tolist() == [(1201 - begin) * 1000, 1000, 1000]
    assert gap_of(step, 0)[1] == "host launch late"
    clean = clean_step(step, step.wall_ns, 1.0)
    assert clean.kernels.gap_ns.tolist() == step.kernels.gap_ns.tolist()


def test_our_first_decode_step_begins_at_its_call_and_not_with_the_wait_before_it(tmp_path):
    """Between its phases tokprof itself waits for the device: that is no synchronisation of the model's."""
    names = ("prefill#rep=0", "decode#rep=0,step=1", "decode#rep=0,step=2")
    calls = ((1000, 1100), (1300, 1400), (1400, 1500))
    kernels = ((1120, 1190), (1350, 1420), (1430, 1500))
    events = [slice_of("cuda_runtime", "cudaDeviceSynchronize", 1110, 1290)]
    for number, (name, call, kernel) in enumerate(zip(names, calls, kernels, strict=True), start=1):
        events += [
            slice_of("user_annotation", f"tokprof.{name}", *call),
            launch(call[0] + 40, call[0] + 41, number),
            work("gemm", *kernel, number),
        ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    _, decode = typical_steps(read_trace(path))
    assert decode.phase is Phase.DECODE
    assert decode.wall_samples_ns.tolist() == [120_000, 80_000]
    assert decode.gap_samples_ns[:, 0].tolist() == [50_000, 10_000]
    assert gap_of(decode)[1] == "host launch late"


def test_no_trace_at_all_gives_no_step(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text('{"traceEvents": []}')
    trace = read_trace(path)
    assert typical_steps(trace) == ()
    assert len(timeline(trace).steps) <= 1


MM = {"Input Dims": [[4, 8], [8, 2]], "Input Strides": [[8, 1], [2, 1]], "Input type": ["float", "float"]}


def test_kernels_know_the_call_that_launched_them_and_its_shape(tmp_path):
    step = step_of(
        tmp_path,
        slice_of("cpu_op", "aten::linear", 15, 40, **{**MM, "Input Dims": [[9], [9]]}),
        slice_of("cpu_op", "aten::mm", 18, 30, **MM), launch(20, 21, 1), launch(22, 23, 2),
        slice_of("cpu_op", "aten::mul", 50, 60), launch(51, 52, 3), launch(70, 71, 4),
        *(work(name, 100 + 10 * n, 105 + 10 * n, n + 1) for n, name in enumerate(("gemm", "reduce", "mul", "alone"))),
    )  # fmt: skip
    kernels = step.kernels
    assert [kernels.operators[code] for code in kernels.operator] == ["aten::mm", "aten::mm", "aten::mul", ""]
    assert kernels.shape.tolist() == [0, 0, -1, -1]  # those of other operators are not kept
    assert json.loads(kernels.shapes[0]) == list(MM.values())
    assert kernels.call[0] == kernels.call[1] >= 0
    assert kernels.call[2] not in (-1, kernels.call[0])
    assert kernels.call[3] == -1
    events = kernel_events(read_trace(tmp_path / "trace.json"))
    assert events.shape.tolist() == [0, 0, -1, -1]
    assert events.call.tolist() == kernels.call.tolist()


def test_without_shapes_in_a_trace_kernels_have_none(tmp_path):
    kernels = step_of(tmp_path, *FIRST).kernels
    assert (kernels.call, kernels.shape, kernels.shapes) == (None, None, ())
