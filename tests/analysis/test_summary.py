"""Metrics on runs whose truth is known: counts, units, sums, and what is absent."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from tokprof.profiler.analysis.profiled import busy_share, profiled_phases, same_steps_ns, union_ns
from tokprof.profiler.analysis.summary import heaviest_kernels, sm_clock_mhz, summarize, summarize_phase
from tokprof.profiler.errors import InputError
from tokprof.profiler.record import (
    Cell,
    ClockReadings,
    DecodeMode,
    Device,
    Energy,
    Environment,
    InterpreterStacks,
    KernelEvents,
    Mark,
    ModelFacts,
    Outcome,
    Pass,
    PassKind,
    Phase,
    PowerSamples,
    Run,
    Spans,
    Stop,
    StopRule,
)
from tokprof.profiler.report.text import print_summary

MS = 1_000_000


def spans_of(repetitions, *, prefill_ms=10.0, step_ms=2.0, steps=4, kind=0, start_ns=0, device=False, bytes_=True):
    """Repetitions of one prefill of 8 tokens (32 bytes) and some steps of one token (3 bytes) each, gaps between."""
    rows = []
    now = start_ns
    for repetition in range(repetitions):
        for step in range(steps + 1):
            length = round((prefill_ms if step == 0 else step_ms) * MS)
            rows.append((repetition, step, now, now + length))
            now += length
        now += 5 * MS
    repetition, step, begin, end = map(np.array, zip(*rows, strict=True))
    lag = 300_000
    return Spans(
        pass_kind=np.full(len(rows), kind),
        repetition=repetition,
        phase=(step > 0).astype(int),
        step=step,
        token_count=np.where(step == 0, 8, 1),
        context_token_count=np.where(step == 0, 0, 7 + step),
        byte_count=np.where(step == 0, 32, 3) if bytes_ else None,
        host_start_ns=begin,
        host_end_ns=end,
        device_start_ns=begin + lag if device else None,
        device_end_ns=end + lag if device else None,
        mark=np.zeros(len(rows)),
    )


def run_of(spans, *, device="cpu", **changes):
    facts = ModelFacts(
        name="m", architecture="llama", source="zoo", weights="real", weights_digest="w", config_digest="c",
        tokenizer_digest="t", parameter_count=7_000_000, vocabulary_count=3, context_token_count=16, dtype="float32",
        attention="sdpa", weight_bytes_per_token=28, kv_bytes_per_token=0,
    )  # fmt: skip
    machine = Environment(
        device=Device(kind=device, name="The Device"), system="Linux", cpu="cpu", cpu_count=2, memory_bytes=None,
        python="3.11", libraries=(("torch", "2"),),
    )  # fmt: skip
    cell = Cell(
        model="m", mode=DecodeMode.TEACHER_FORCED, batch_size=1, prompt_token_count=8, new_token_count=5, prompt="p",
        prompt_digest="d",
    )  # fmt: skip
    run = Run(
        run_id="id", created="2026-01-01T00:00:00+00:00", command=(), tokprof_version="0", outcome=Outcome.COMPLETE,
        cell=cell, model=facts, environment=machine,
        stop=Stop(rule=StopRule.FIXED_COUNT, repetition_count=1, detail=""),
        passes=(Pass(kind=PassKind.CLEAN, repetition_count=1, start_ns=0, end_ns=9),), spans=spans,
    )  # fmt: skip
    return replace(run, **changes)


def test_rates_and_latencies_of_known_times():
    runs = [run_of(spans_of(3))]
    prefill, decode = (summarize_phase(runs, phase) for phase in Phase)
    assert prefill.time_ms.value == pytest.approx(10.0)
    assert prefill.tokens_per_s.value == pytest.approx(800.0)
    assert prefill.bytes_per_s.value == pytest.approx(3200.0)
    assert prefill.time_to_first_token_ms.value == pytest.approx(10.0)
    assert prefill.latency_median_ms is None
    assert decode.time_ms.value == pytest.approx(8.0)
    assert decode.tokens_per_s.value == pytest.approx(500.0)
    assert decode.bytes_per_s.value == pytest.approx(1500.0)
    assert decode.time_to_first_token_ms is None
    assert (decode.latency_median_ms, decode.latency_p99_ms) == (pytest.approx(2.0), pytest.approx(2.0))
    assert decode.latency_sample_count == 3 * 4
    assert decode.host_issue_ms is None


def test_phases_sum_to_the_total():
    summary = summarize([run_of(spans_of(3, prefill_ms=7.5, step_ms=1.25))], fingerprint="f")
    assert summary.total_ms.value == pytest.approx(sum(phase.time_ms.value for phase in summary.phases))


def test_bytes_per_second_over_tokens_per_second_is_bytes_per_token():
    decode = summarize_phase([run_of(spans_of(2))], Phase.DECODE)
    assert decode.bytes_per_s.value / decode.tokens_per_s.value == pytest.approx(3.0)


def test_a_device_has_its_own_times_and_the_hosts_issue_time_beside_them():
    prefill = summarize_phase([run_of(spans_of(2, device=True), device="cuda")], Phase.PREFILL)
    assert prefill.time_ms.value == pytest.approx(10.0)
    assert prefill.time_to_first_token_ms.value == pytest.approx(10.3)  # from the call on the host
    assert prefill.host_issue_ms == pytest.approx(10.0)


def test_warm_up_overrun_and_other_passes_never_count():
    spans = spans_of(4)
    marks = np.zeros(len(spans), dtype=np.uint8)
    marks[spans.repetition == 0] = Mark.WARM_UP
    marks[(spans.repetition == 3) & (spans.step == 4)] = Mark.OVERRUN
    disturbed = spans_of(1, prefill_ms=999, step_ms=999, kind=2, start_ns=10**12)
    run = run_of(Spans.concatenate([replace(spans, mark=marks), disturbed]))
    decode = summarize_phase([run], Phase.DECODE)
    assert decode.repetition_count == 3
    assert decode.latency_sample_count == 4 + 4 + 3
    assert decode.latency_p99_ms == pytest.approx(2.0)


def test_a_run_of_nothing_but_warm_up_is_refused():
    spans = spans_of(2)
    with pytest.raises(InputError, match="run id: holds no finished repetition"):
        summarize([run_of(replace(spans, mark=np.full(len(spans), Mark.WARM_UP)))], fingerprint="f")


def test_marked_repetitions_are_counted_and_kept():
    spans = spans_of(4)
    marks = np.where(spans.repetition == 1, int(Mark.THROTTLED | Mark.CONTAMINATED), 0)
    decode = summarize_phase([run_of(replace(spans, mark=marks))], Phase.DECODE)
    assert (decode.repetition_count, decode.marked_count) == (4, 1)


def test_the_process_is_the_unit_of_an_interval():
    one = summarize_phase([run_of(spans_of(5))], Phase.DECODE)
    assert one.time_ms.low is None
    runs = [run_of(spans_of(5, step_ms=ms)) for ms in (2.0, 2.2, 2.4)]
    three = summarize_phase(runs, Phase.DECODE)
    assert three.time_ms.value == pytest.approx(8.8)
    half = 4.302653 * 0.8 / 3**0.5  # t(0.975, 2) times the standard deviation of 8.0, 8.8, 9.6
    assert three.time_ms.high - three.time_ms.value == pytest.approx(half, rel=1e-5)


def test_without_a_tokenizer_bytes_are_absent_not_zero():
    assert summarize_phase([run_of(spans_of(1, bytes_=False))], Phase.DECODE).bytes_per_s is None


def kernels_in(spans, *, share=0.5, names=("gemm_kernel", "copy")):
    """Two kernels in each span: the first covers ``share`` of it, the second lies wholly inside the first."""
    length = np.rint(spans.duration_ns * share).astype(int)
    return KernelEvents(
        name=np.tile([0, 1], len(spans)),
        category=np.tile([0, 1], len(spans)),
        operator=np.zeros(2 * len(spans)),
        stream=np.zeros(2 * len(spans)),
        repetition=np.repeat(spans.repetition, 2),
        phase=np.repeat(spans.phase, 2),
        step=np.repeat(spans.step, 2),
        start_ns=np.repeat(spans.host_start_ns, 2),
        duration_ns=np.stack([length, length // 2], axis=1).ravel(),
        names=names,
        categories=("gemm", "copy"),
        operators=("",),
    )


@pytest.mark.parametrize(("device", "share", "basis"), [("cpu", 0.5, "profiled pass"), ("cuda", 0.75, "clean pass")])
def test_overlapping_kernels_are_busy_once_and_gaps_never_come_from_the_profiler(device, share, basis):
    clean = spans_of(2)
    profiled = spans_of(1, prefill_ms=15, step_ms=3, kind=2, start_ns=10**12)  # half as slow again
    run = run_of(Spans.concatenate([clean, profiled]), device=device, kernels=kernels_in(profiled))
    for phase in Phase:
        busy, told = busy_share(profiled_phases([run], phase))
        assert told == basis
        assert busy == pytest.approx(share)
        assert summarize_phase([run], phase).gap_share == pytest.approx(1 - share)


def test_the_heaviest_kernels_are_per_step():
    profiled = spans_of(2, kind=2)
    run = run_of(Spans.concatenate([spans_of(1), profiled]), kernels=kernels_in(profiled))
    first, second = heaviest_kernels(profiled_phases([run], Phase.DECODE))
    assert (first.name, first.category, first.count_per_span) == ("gemm_kernel", "gemm", 1.0)
    assert first.time_us_per_span == pytest.approx(1000.0)
    assert first.share == pytest.approx(2 / 3)
    assert second.share == pytest.approx(1 / 3)


def test_shapes_are_those_of_the_middle_context_however_many_repetitions():
    for repetitions in (1, 2, 3):
        profiled = spans_of(repetitions, steps=9, kind=2, start_ns=10**12)
        run = run_of(Spans.concatenate([spans_of(1, steps=9), profiled]), kernels=kernels_in(profiled))
        (one,) = profiled_phases([run], Phase.DECODE)
        assert set(one.kernels.step.tolist()) == {5}


def test_the_steps_that_kernels_are_of_are_named_where_they_are_not_all():
    clean, profiled = spans_of(2, steps=9), spans_of(1, steps=4, kind=2, start_ns=10**12)
    run = run_of(Spans.concatenate([clean, profiled]), kernels=kernels_in(profiled))
    summary = summarize([run], fingerprint="f")
    assert [phase.profiled_steps for phase in summary.phases] == ["", "1 to 4 of 9"]
    console = Console(file=io.StringIO(), width=100)
    print_summary(summary, console)
    assert re.search(r"gaps .*\n +of decode steps +1 to 4 of 9", console.file.getvalue())
    assert "\nof decode steps 1 to 4 of 9" in console.file.getvalue()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_kernels_of_steps_after_the_end_do_not_count(device):
    def ended(spans):
        return replace(spans, mark=np.where(spans.step > 2, Mark.OVERRUN, 0))

    clean, profiled = ended(spans_of(2)), spans_of(2, kind=2, start_ns=10**12)
    run = run_of(Spans.concatenate([clean, ended(profiled)]), device=device, kernels=kernels_in(profiled))
    assert busy_share(profiled_phases([run], Phase.DECODE))[0] == pytest.approx(0.5)
    first = heaviest_kernels(profiled_phases([run], Phase.DECODE))[0]
    assert (first.count_per_span, first.time_us_per_span) == (1.0, pytest.approx(1000.0))


def test_slowdown_compares_the_same_steps():
    clean = spans_of(3, steps=4)
    clean = replace(clean, host_end_ns=clean.host_end_ns + clean.step * MS)  # later steps take longer
    short = spans_of(1, step_ms=6.0, steps=2, kind=2)
    assert same_steps_ns(Spans.concatenate([clean, short]), PassKind.KERNELS, Phase.DECODE) == (3.5 * MS, 6 * MS)
    longer = spans_of(1, step_ms=9.0, steps=6, kind=2)  # two of them are steps that the clean pass never ran
    longer = replace(longer, host_end_ns=longer.host_end_ns + np.where(longer.step > 4, 50 * MS, 0))
    assert same_steps_ns(Spans.concatenate([clean, longer]), PassKind.KERNELS, Phase.DECODE) == (4.5 * MS, 9 * MS)
    (slowdown,) = summarize([run_of(Spans.concatenate([clean, short]))], fingerprint="f").slowdowns
    assert (slowdown.pass_kind, slowdown.prefill) == (PassKind.KERNELS, 1.0)
    assert slowdown.decode == pytest.approx(6 / 3.5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_that_was_disturbed_while_profiled_counts_no_more_than_another(device):
    profiled = spans_of(3, kind=2, start_ns=10**12)
    kernels = kernels_in(profiled)
    quiet = run_of(Spans.concatenate([spans_of(3), profiled]), device=device, kernels=kernels)
    slow = profiled.repetition == 1
    late = replace(profiled, host_end_ns=profiled.host_end_ns + np.where(slow, 100 * MS, 0))
    busy = replace(kernels, duration_ns=np.where(kernels.repetition == 1, 50, 1) * kernels.duration_ns)
    disturbed = run_of(Spans.concatenate([spans_of(3), late]), device=device, kernels=busy)
    quiet, disturbed = (summarize([run], fingerprint="f") for run in (quiet, disturbed))
    assert disturbed.slowdowns == quiet.slowdowns
    assert [p.kernel_busy_share for p in disturbed.phases] == [p.kernel_busy_share for p in quiet.phases]
    assert [p.kernels for p in disturbed.phases] == [p.kernels for p in quiet.phases]


def test_what_disturbed_steps_leave_in_no_median_has_an_owner_and_a_note():
    """Every step was disturbed at another kernel: each median is of an undisturbed one, their sum is of none."""
    profiled = spans_of(1, steps=4, step_ms=40.0, kind=2, start_ns=10**12)
    count = len(profiled)
    events = KernelEvents(
        name=np.tile(np.arange(4), count), category=np.zeros(4 * count), operator=np.zeros(4 * count),
        stream=np.zeros(4 * count), repetition=np.repeat(profiled.repetition, 4), phase=np.repeat(profiled.phase, 4),
        step=np.repeat(profiled.step, 4),
        start_ns=(profiled.host_start_ns[:, None] + 10 * MS * np.arange(4)).ravel(),
        duration_ns=np.where(np.arange(4)[None, :] == (profiled.step % 4)[:, None], 10, 1).ravel() * MS,
        names=("a", "b", "c", "d"), categories=("gemm",), operators=("",),
    )  # fmt: skip
    run = run_of(Spans.concatenate([spans_of(1, step_ms=40.0), profiled]), kernels=events)
    summary = summarize([run], fingerprint="f")
    decode = summary.phases[1]
    assert decode.kernel_busy_share == pytest.approx(13 / 40)
    assert sum(kernel.time_us_per_span for kernel in decode.kernels) == pytest.approx(4000)
    (note,) = [note for note in summary.notes if "decode is in no kernel's median" in note.message]
    assert note.message.startswith("22% of decode")


def test_a_pass_quite_unlike_the_clean_one_is_a_warning():
    profiled = spans_of(1, step_ms=6.0, kind=2, start_ns=10**12)
    run = run_of(Spans.concatenate([spans_of(1), profiled]), kernels=kernels_in(profiled, share=1.0))
    said = [note for note in summarize([run], fingerprint="f").notes if note.code == "unlike-pass"]
    assert [note.message.split(" the")[0] for note in said] == ["decode took ×3.00"]


def test_kernels_are_those_of_the_steps_that_most_have_in_common_and_a_note_says_of_how_many():
    profiled = spans_of(3, kind=2, start_ns=10**12)
    kernels = kernels_in(profiled, names=("gemm_kernel", "copy", "rare"))
    odd = (kernels.repetition == 1) & (kernels.step == 2) & (kernels.name == 1)
    run = run_of(
        Spans.concatenate([spans_of(3), profiled]), kernels=replace(kernels, name=np.where(odd, 2, kernels.name))
    )
    summary = summarize([run], fingerprint="f")
    assert [k.name for k in summary.phases[1].kernels] == ["gemm_kernel", "copy"]
    (note,) = [n for n in summary.notes if n.code == "unlike-steps"]
    assert "kernels of decode: of the 11 of 12 profiled steps" in note.message


def test_energy_is_per_token_with_its_error_or_has_a_reason():
    known = Energy(
        phase=Phase.DECODE, window_ns=1, repetition_count=5, token_count=100, energy_mj=50_000.0, error_mj=400.0,
        integrated_mj=None, counter_period_ns=None, source="counter",
    )  # fmt: skip
    decode = summarize_phase([run_of(spans_of(1), energies=(known,))], Phase.DECODE)
    assert (decode.energy_per_token_mj, decode.energy_error_mj) == (500.0, 4.0)
    refused = replace(known, energy_mj=None, reason="counter and power disagree")
    decode = summarize_phase([run_of(spans_of(1), energies=(refused,))], Phase.DECODE)
    assert decode.energy_per_token_mj is None
    assert decode.energy_reason == "counter and power disagree"


def test_the_mean_clock_is_that_of_samples_inside_the_phase():
    spans = spans_of(1, prefill_ms=10, step_ms=10, steps=2)
    times = np.arange(0, 30) * MS
    clock = np.where(times < 10 * MS, 1000, 1500)
    run = run_of(spans, power=PowerSamples(time_ns=times, sm_clock_mhz=clock))
    assert summarize_phase([run], Phase.PREFILL).mean_sm_clock_mhz == pytest.approx(1000)
    assert summarize_phase([run], Phase.DECODE).mean_sm_clock_mhz == pytest.approx(1500)
    few = run_of(spans, power=PowerSamples(time_ns=times[:2], sm_clock_mhz=clock[:2]))
    assert summarize_phase([few], Phase.PREFILL).mean_sm_clock_mhz is None


def clocks_of(rows):
    """Readings of (repetition, step, MHz), each of 20 us."""
    repetition, step, mhz = map(np.array, zip(*rows, strict=True))
    return ClockReadings(
        repetition=repetition, step=step, time_ns=np.arange(len(rows)), duration_ns=np.full(len(rows), 20_000),
        cycle_count=mhz * 20,
    )  # fmt: skip


def test_the_device_s_own_clock_stands_at_both_ends_of_a_phase_beside_nvml_s_mean():
    spans = spans_of(3, prefill_ms=10, step_ms=10, steps=2)
    clocks = [(r, step, mhz + r) for r in range(3) for step, mhz in ((-1, 1980), (0, 1400), (2, 1755))]
    warm_up = [(-1, -1, 1), (-1, 0, 1), (-1, 2, 1)]
    times = np.arange(0, 120) * MS
    power = PowerSamples(time_ns=times, sm_clock_mhz=np.full(120, 1750))
    run = run_of(spans, sm_clocks=clocks_of(warm_up + clocks), power=power)
    prefill, decode = (summarize_phase([run], phase) for phase in Phase)
    assert (prefill.start_sm_clock_mhz, prefill.end_sm_clock_mhz) == (1981, 1401)
    assert (decode.start_sm_clock_mhz, decode.end_sm_clock_mhz) == (1401, 1756)
    assert decode.sm_clock_difference == pytest.approx(1756 / 1750 - 1)
    assert sm_clock_mhz([run], Phase.DECODE) == 1756
    without = summarize_phase([run_of(spans, power=power)], Phase.DECODE)
    assert without.end_sm_clock_mhz is without.start_sm_clock_mhz is without.sm_clock_difference is None
    assert sm_clock_mhz([run_of(spans, power=power)], Phase.DECODE) == 1750
    alone = summarize_phase([run_of(spans, sm_clocks=clocks_of(clocks))], Phase.DECODE)
    assert (alone.end_sm_clock_mhz, alone.mean_sm_clock_mhz, alone.sm_clock_difference) == (1756, None, None)


def test_what_lies_between_the_phases_is_in_no_time():
    spans = spans_of(3, device=True)
    later = 25_000 * (spans.step > 0)
    apart = replace(spans, **{c: getattr(spans, c) + later for c in (
        "host_start_ns", "host_end_ns", "device_start_ns", "device_end_ns")})  # fmt: skip
    near, far = (summarize([run_of(s, device="cuda")], fingerprint="f") for s in (spans, apart))
    assert far.total_ms == near.total_ms
    assert [p.time_ms for p in far.phases] == [p.time_ms for p in near.phases]


def test_python_frames_are_those_that_held_the_interpreter():
    stacks = InterpreterStacks(
        stack=[0, 1, 2], sample_count=[6, 3, 1], stacks=("a;f (x.py:1)", "b;f (x.py:1)", "g (y.py:2)"),
        window_sample_count=100,
    )  # fmt: skip
    summary = summarize([run_of(spans_of(1), interpreter_stacks=stacks)], fingerprint="f")
    assert summary.python_share == pytest.approx(0.1)
    assert [(f.function, f.share) for f in summary.frames] == [("f (x.py:1)", 0.9), ("g (y.py:2)", 0.1)]


@pytest.mark.parametrize(
    ("intervals", "length"),
    [
        ([], 0),
        ([(0, 5)], 5),
        ([(0, 5), (5, 9)], 9),
        ([(0, 9), (2, 4)], 9),
        ([(3, 6), (0, 4)], 6),
        ([(0, 1), (5, 6)], 2),
    ],
)
def test_union_of_intervals(intervals, length):
    starts = np.array([a for a, _ in intervals], dtype=np.int64)
    ends = np.array([b for _, b in intervals], dtype=np.int64)
    assert union_ns(starts, ends) == length
