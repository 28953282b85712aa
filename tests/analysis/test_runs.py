"""Runs compared at the times of their clean pass: what is scaled, what keeps its length, and what a sample is."""

import io
import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.console import Console

from tokprof.models.cost import shape_of, step_cost
from tokprof.models.zoo import entry
from tokprof.profiler.analysis.compare import compare, headline, with_residual_doubts
from tokprof.profiler.analysis.ledger import compare_steps
from tokprof.profiler.analysis.profiled import same_steps_ns
from tokprof.profiler.analysis.roofline import ceiling_of, floor_of
from tokprof.profiler.analysis.runs import Recording, clean_step, pooled
from tokprof.profiler.analysis.summary import summarize_phase
from tokprof.profiler.analysis.timeline import analyze
from tokprof.profiler.record import (
    Calibration,
    Cell,
    ClockReadings,
    DecodeMode,
    Device,
    Environment,
    KernelEvents,
    Mark,
    ModelFacts,
    NoteLevel,
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
from tokprof.profiler.report.timeline_text import print_analysis, print_comparison
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import kernel_events, timeline, typical_steps

US = 1000


def run_of(clean_us, *, steps=(1, 2, 3), device="cuda", profiled_us=100.0, **changes):
    """A run whose clean decode steps took ``clean_us`` (one value, or a function of the step's number)."""
    of, profiled = (us if callable(us) else lambda _, us=us: us for us in (clean_us, profiled_us))
    kinds = list(PassKind)
    rows = [(kinds.index(PassKind.CLEAN), r, s, of(s)) for r in range(3) for s in range(1, 9)]
    rows += [(kinds.index(PassKind.KERNELS), 0, s, profiled(s)) for s in steps]
    kind, repetition, step, length = map(np.array, zip(*rows, strict=True))
    end = np.cumsum(length * US).astype(np.int64)
    spans = Spans(
        pass_kind=kind, repetition=repetition, phase=np.full(len(rows), list(Phase).index(Phase.DECODE)), step=step,
        token_count=np.ones(len(rows)), context_token_count=step, byte_count=None, host_start_ns=end - length * US,
        host_end_ns=end, mark=np.zeros(len(rows)),
    )  # fmt: skip
    model = ModelFacts(
        name="m", architecture="llama", source="zoo", weights="real", weights_digest="w", config_digest="c",
        tokenizer_digest="t", parameter_count=7, vocabulary_count=3, context_token_count=16, dtype="float32",
        attention="sdpa", weight_bytes_per_token=28, kv_bytes_per_token=0,
    )  # fmt: skip
    machine = Environment(
        device=Device(kind=device, name="The Device"), system="Linux", cpu="cpu", cpu_count=2, memory_bytes=None,
        python="3.11.1", libraries=(("torch", "2"),),
    )  # fmt: skip
    cell = Cell(
        model="m", mode=DecodeMode.TEACHER_FORCED, batch_size=1, prompt_token_count=8, new_token_count=9, prompt="p",
        prompt_digest="d",
    )  # fmt: skip
    run = Run(
        run_id="id", created="2026-01-01T00:00:00+00:00", command=(), tokprof_version="0", outcome=Outcome.COMPLETE,
        cell=cell, model=model, environment=machine,
        stop=Stop(rule=StopRule.FIXED_COUNT, repetition_count=3, detail=""),
        passes=(Pass(kind=PassKind.CLEAN, repetition_count=3, start_ns=0, end_ns=9),), spans=spans,
    )  # fmt: skip
    return replace(run, **changes)


KERNELS = (("gemm_kernel", 40.0, 10.0), ("rms_norm_kernel", 10.0, 30.0), ("argmax_kernel", 10.0, 0.0))  # sum: 100


def trace_of(tmp_path, *, kernels=KERNELS, steps=3, cat="kernel", jitter=0.0, odd=None):
    """Profiled decode steps of 100 us, 60 in kernels and 40 in gaps; some ``odd`` ones of other kernels."""
    rng = np.random.default_rng(0)
    events, now = [], 1000.0
    for step in range(1, steps + 1):
        start = now
        for number, (name, duration, gap) in enumerate((odd or {}).get(step, kernels)):
            correlation = step * 100 + number
            call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1}
            events.append(
                call | {"ts": round(start + number * 0.1, 3), "dur": 0.05, "args": {"correlation": correlation}}
            )
            length = round(duration + jitter * rng.standard_normal(), 3)
            now += gap
            place = {"pid": 0, "tid": 7, "args": {"device": 0, "stream": 7, "correlation": correlation}}
            events.append({"ph": "X", "cat": cat, "name": name, "ts": round(now, 3), "dur": length, **place})
            now += length
        label = {"ph": "X", "cat": "user_annotation", "name": f"tokprof.decode#rep=0,step={step}", "pid": 1, "tid": 1}
        events.append(label | {"ts": round(start - 1, 3), "dur": round(now - start, 3)})
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return read_trace(path)


def test_the_clean_time_is_that_of_the_steps_that_were_profiled():
    run = run_of(lambda step: 50.0 + step)  # later steps have more context
    assert same_steps_ns(run.spans, PassKind.KERNELS, Phase.DECODE) == (52 * US, 100 * US)
    assert same_steps_ns(run.spans, PassKind.KERNELS, Phase.PREFILL) is None
    assert same_steps_ns(run.spans, PassKind.STACKS, Phase.DECODE) is None


def test_on_a_gpu_kernels_keep_their_length_and_gaps_take_the_rest(tmp_path):
    (step,) = typical_steps(trace_of(tmp_path))
    clean = clean_step(step, 80.0 * US, 1.0)
    assert step.wall_ns == 100 * US
    assert (clean.kernels.duration_ns == step.kernels.duration_ns).all()
    assert clean.kernels.gap_ns.sum() == pytest.approx(20 * US)
    assert clean.kernels.gap_ns == pytest.approx(step.kernels.gap_ns / 2)
    assert clean.busy_ns == step.busy_ns == 60 * US
    assert clean.wall_samples_ns == pytest.approx([75 * US, 80 * US, 80 * US])  # the first begins at its first kernel
    ends = clean.kernels.start_ns + clean.kernels.duration_ns
    assert clean.kernels.start_ns[1:] - ends[:-1] == pytest.approx(clean.kernels.gap_ns[1:])
    assert ends[-1] == pytest.approx(80 * US)


def test_kernels_longer_than_the_clean_step_leave_a_residual_not_a_negative_gap(tmp_path):
    (step,) = typical_steps(trace_of(tmp_path))
    clean = clean_step(step, 50.0 * US, 1.0)
    assert (clean.kernels.gap_ns == 0).all()
    assert clean.wall_ns == 50 * US


def test_on_a_cpu_everything_is_scaled_alike(tmp_path):
    (step,) = typical_steps(trace_of(tmp_path))
    clean = clean_step(step, 80.0 * US, 0.8)
    for column in ("start_ns", "duration_ns", "gap_ns"):
        assert getattr(clean.kernels, column) == pytest.approx(0.8 * getattr(step.kernels, column))
    assert clean.wall_samples_ns == pytest.approx(0.8 * step.wall_samples_ns)


def test_gaps_fill_what_scaled_kernels_leave(tmp_path):
    (step,) = typical_steps(trace_of(tmp_path))
    clean = clean_step(step, 80.0 * US, 0.9)  # 60 us of kernels become 54
    assert clean.kernels.gap_ns.sum() == pytest.approx(26 * US)
    ends = clean.kernels.start_ns + clean.kernels.duration_ns
    assert clean.kernels.start_ns[1:] - ends[:-1] == pytest.approx(clean.kernels.gap_ns[1:])
    assert ends[-1] == pytest.approx(80 * US)


def sides(tmp_path, a_us, b_us, *, device="cuda", kernels_b=KERNELS):
    a, b = trace_of(tmp_path, jitter=0.5), trace_of(tmp_path, kernels=kernels_b, jitter=0.5)
    profiled_b_us = sum(duration + gap for _, duration, gap in kernels_b)
    return (
        [recording_of(a, us, device=device) for us in a_us],
        [recording_of(b, us, device=device, profiled_us=profiled_b_us) for us in b_us],
    )


def recording_of(trace, clean_us, **changes):
    """A run of that trace, whose kernels it has in its table."""
    return Recording(trace=trace, run=run_of(clean_us, kernels=kernel_events(trace), **changes))


def codes(diff):
    return {note.code for note in diff.notes}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_two_runs_differ_by_their_clean_times_exactly(tmp_path, device):
    slower = (("gemm_kernel", 50.0, 10.0), *KERNELS[1:])
    diff = compare(*sides(tmp_path, [80.0], [92.0], device=device, kernels_b=slower))
    (phase,) = diff.phases
    assert (phase.a.wall_ns, phase.b.wall_ns) == (80 * US, 92 * US)
    for _, lines in phase.ledgers:
        assert sum(line.difference_ns for line in lines) + phase.residual_ns == pytest.approx(12 * US)
    assert abs(phase.residual_ns) < 1.5 * US
    gemm = next(line for line in dict(phase.ledgers)["category"] if line.key == "gemm")
    assert gemm.duration_effect_ns == pytest.approx(
        10 * US if device == "cuda" else (50 * 92 / 110 - 40 * 0.8) * US, rel=0.15
    )
    said = [note for note in diff.notes if note.code == "clean-times"]
    assert len(said) == 2
    assert "80.000" not in said[0].message
    assert "0.080 ms in the clean pass" in said[0].message
    assert ("scaled by 0.800" if device == "cpu" else "keep their durations") in said[0].message
    assert codes(diff) == {"clean-times", "unit-repetition"}


def test_with_several_processes_a_side_the_process_is_the_unit(tmp_path):
    a_us, b_us = [80.0, 82.0, 81.0], [90.0, 92.0, 91.0, 91.0]
    diff = compare(*sides(tmp_path, a_us, b_us))
    (phase,) = diff.phases
    assert phase.a.sample_unit == phase.b.sample_unit == "process"
    assert phase.a.wall_samples_ns.tolist() == [us * US for us in a_us]
    assert phase.b.wall_ns == pytest.approx(np.mean(b_us) * US)
    assert phase.b.time_of.startswith("mean over 4 processes, of the first the median over decode steps 1 to 3")
    line = max(dict(phase.ledgers)["category"], key=lambda line: abs(line.difference_ns))
    assert line.verdict == "effect"
    assert line.low_ns > 0
    assert (line.low_ns + line.high_ns) / 2 == pytest.approx(line.difference_ns)
    assert codes(diff) == {"clean-times", "unit-process"}


def marked(run, share):
    """The run with this share of its clean repetitions marked as contended."""
    spans = run.spans
    count = round(share * len(np.unique(spans.repetition)))
    return replace(run, spans=replace(spans, mark=np.where(spans.repetition < count, Mark.CONTAMINATED, 0)))


def test_between_disturbed_runs_nothing_is_called_an_effect(tmp_path):
    a, b = sides(tmp_path, [80.0, 82.0, 81.0], [110.0, 112.0, 111.0])
    verdicts = {}
    for share in (1 / 3, 1.0):
        disturbed = [replace(recording, run=marked(recording.run, share)) for recording in b]
        diff = compare(a, disturbed)
        (phase,) = diff.phases
        verdicts[share] = {line.verdict for _, lines in phase.ledgers for line in lines}
        said = headline(diff)
    assert "effect" in verdicts[1 / 3]
    assert "doubtful" in verdicts[1.0]
    assert "effect" not in verdicts[1.0]
    assert "came out 37.0% slower" in said
    assert "not to be relied on: all 9 repetitions of B ran on a disturbed machine" in said


def test_a_profiled_pass_quite_unlike_the_clean_one_takes_the_worth_from_a_difference(tmp_path):
    diff = compare(*sides(tmp_path, [14.0], [80.0]))
    said = headline(diff)
    assert said.startswith(
        "The decode step of B takes ×5.71 the time of A's in these two recordings (0.014 → 0.080 ms, "
    )
    assert "; where that comes from is not to be relied on: A's profiled pass took ×7.14 the clean pass's time" in said
    assert {line.verdict for _, lines in diff.phases[0].ledgers for line in lines} <= {"doubtful", "inconclusive"}


def scattered(recording, by_us, repetitions=3):
    """The recording with clean repetitions that differ by so much."""
    spans = recording.run.spans
    clean = spans.pass_kind == list(PassKind).index(PassKind.CLEAN)
    late = np.where(clean, (spans.repetition - 1) * by_us * US, 0).astype(np.int64)
    spans = replace(spans, host_end_ns=spans.host_end_ns + late).select(~clean | (spans.repetition < repetitions))
    return [replace(recording, run=replace(recording.run, spans=spans))]


def test_how_well_a_whole_difference_is_known_the_clean_repetitions_tell(tmp_path):
    """However the few profiled steps scattered; and of one process a side it is told of these recordings alone."""
    (a,), (b,) = sides(tmp_path, [80.0], [92.0])
    told = headline(compare([a], [b]))
    assert told.startswith("The decode step of B is 15.0% slower than A's in these two recordings (0.080 → 0.092 ms, ")
    told = headline(compare(scattered(a, 30.0), scattered(b, 30.0)))
    assert "shows no difference beyond its noise in these two recordings (0.080 → 0.092 ms, +0.012 ms ± 0." in told
    assert "over repetitions" in told
    a_us, b_us = [80.0, 82.0, 81.0], [90.0, 92.0, 91.0]
    assert "recordings" not in headline(compare(*sides(tmp_path, a_us, b_us)))
    several, one = sides(tmp_path, a_us, [90.0])
    for both in ((several, one), (one, several)):
        assert "in these two recordings" in headline(compare(*both))


def test_no_difference_is_claimed_only_where_noise_leaves_room_for_none(tmp_path):
    (a,), (b,) = sides(tmp_path, [80.0], [80.0])
    assert "The decode step takes the same time in both in these two recordings (0.080 ms)." in headline(
        compare([a], [b])
    )
    told = headline(compare(scattered(a, 30.0), scattered(b, 30.0)))
    assert "same time" not in told
    assert "shows no difference beyond its noise" in told
    disturbed = [replace(b, run=marked(b.run, 1.0))]
    assert headline(compare([a], disturbed)).endswith(
        "That is not to be relied on: all 3 repetitions of B ran on a disturbed machine."
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_lines_are_known_no_better_than_the_clean_time_that_they_are_put_to(tmp_path, device):
    """The same trace on both sides: whatever differs is the clean repetitions' scatter."""
    trace = trace_of(tmp_path, jitter=0.2)
    called = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        both = []
        for _ in "ab":
            recording = recording_of(trace, 90.0, device=device)
            spans = recording.run.spans
            clean = spans.pass_kind == list(PassKind).index(PassKind.CLEAN)
            parts = [spans.select(~clean)]
            for repetition in range(8):
                one = spans.select(clean & (spans.repetition == 0))
                took = (one.duration_ns * np.exp(0.05 * random.standard_normal())).astype(np.int64)
                parts.append(replace(one, repetition=np.full(len(one), repetition), host_end_ns=one.start_ns + took))
            run = replace(recording.run, spans=Spans.concatenate(parts))
            both.append([Recording(trace=trace, run=run)])
        lines = dict(compare(*both).phases[0].ledgers)["category"]
        called += any(line.verdict == "effect" for line in lines)
    assert called <= 3  # were the profiled steps' scatter all, nearly every one would be


def test_one_clean_repetition_tells_no_interval(tmp_path):
    (a,), (b,) = sides(tmp_path, [80.0], [92.0])
    for alone in (scattered(a, 0.0, 1), scattered(b, 0.0, 1)):
        diff = compare(alone, [b])
        assert "±" not in headline(diff)
        assert {line.verdict for _, lines in diff.phases[0].ledgers for line in lines} == {"one sample"}
        assert "one-repetition" in codes(diff)
        assert "unit-repetition" not in codes(diff)
    (quiet,) = scattered(a, 0.0, 1)
    (busy,) = scattered(b, 0.0, 1)
    told = headline(compare([quiet], [replace(busy, run=marked(busy.run, 1.0))]))
    assert "not to be relied on: the only repetition of B ran on a disturbed machine." in told
    (step,) = analyze(a.trace, timeline(a.trace), run=scattered(a, 0.0, 1)[0].run).steps
    assert step.spread is None
    assert step.time_of.startswith("median over decode steps 1 to 3 of 1 clean repetition, ")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_s_time_is_that_of_the_steps_whose_kernels_it_has(tmp_path, device):
    """Not of all that were profiled: most of these ran other kernels, each its own, and took twice as long."""
    steps = (1, 2, 3, 4, 5, 6)
    odd = {step: (*KERNELS[:2], (f"kernel of step {step}", 110.0, 0.0)) for step in steps[3:]}
    trace = trace_of(tmp_path, steps=6, odd=odd)
    run = run_of(
        lambda step: 80.0 if step < 4 else 160.0, steps=steps, device=device, kernels=kernel_events(trace),
        profiled_us=lambda step: 100.0 if step < 4 else 200.0,
    )  # fmt: skip
    summary = summarize_phase([run], Phase.DECODE)
    assert summary.kernel_busy_share == pytest.approx(0.6 if device == "cpu" else 0.75)
    (step,) = analyze(trace, timeline(trace), run=run).steps
    assert (step.step_count, step.sampled_step_count) == (6, 3)
    assert step.wall_ms == pytest.approx(0.08)
    assert step.busy_ms / step.wall_ms == pytest.approx(summary.kernel_busy_share)
    assert step.time_of.startswith("median over decode steps 1 to 3 of 3 clean repetitions")


def test_steps_after_the_end_of_the_sequences_are_in_no_report(tmp_path):
    trace = trace_of(tmp_path, steps=6, odd=dict.fromkeys((4, 5, 6), (("gemm_kernel", 90.0, 10.0), *KERNELS[1:])))
    run = run_of(80.0, steps=(1, 2, 3, 4, 5, 6), kernels=kernel_events(trace))
    run = replace(run, spans=replace(run.spans, mark=np.where(run.spans.step > 3, Mark.OVERRUN, 0)))
    (step,) = analyze(trace, timeline(trace), run=run).steps
    assert step.step_count == 3
    assert step.busy_ms / step.wall_ms == pytest.approx(summarize_phase([run], Phase.DECODE).kernel_busy_share)


def test_what_lay_in_no_gap_of_the_profiled_pass_stays_a_residual(tmp_path):
    (step,) = typical_steps(trace_of(tmp_path, kernels=(("gemm_kernel", 90.0, 1.0), ("norm_kernel", 9.0, 0.0))))
    clean = clean_step(step, 150.0 * US, 1.0)
    assert clean.kernels.gap_ns.sum() == pytest.approx(1.5 * US)  # not the 51 us that are missing
    assert clean.wall_ns == 150 * US


def test_a_difference_that_lies_in_no_line_is_not_relied_on(tmp_path):
    (step,) = typical_steps(trace_of(tmp_path, jitter=0.5))
    later = replace(step, wall_ns=step.wall_ns + 20 * US, wall_samples_ns=step.wall_samples_ns + 20 * US)
    phase = with_residual_doubts(compare_steps(step, later))
    assert phase.doubts == ("0.020 ms beside a difference of 0.020 ms is in no line",)
    assert with_residual_doubts(compare_steps(step, step)).doubts == ()


def test_other_work_is_said_in_the_headline(tmp_path):
    a, b = sides(tmp_path, [80.0], [92.0])
    other = [replace(r, run=replace(r.run, cell=replace(r.run.cell, mode=DecodeMode.GENERATE))) for r in b]
    assert "did not do the same work" not in headline(compare(a, b))
    assert headline(compare(a, other)).endswith("did not do the same work: mode teacher-forced → generate.")


def test_the_time_of_a_step_says_which_steps_it_is_of(tmp_path):
    (phase,) = compare(*sides(tmp_path, [80.0], [92.0])).phases
    assert (
        phase.a.time_of == "median over decode steps 1 to 3 of 3 clean repetitions, those that the profiled pass has "
        "of 8 steps"
    )


def test_one_process_against_several_has_no_interval(tmp_path):
    diff = compare(*sides(tmp_path, [80.0], [90.0, 92.0]))
    assert "unit-mixed" in codes(diff)
    assert {line.verdict for _, lines in diff.phases[0].ledgers for line in lines} == {"one sample"}


def test_a_process_with_other_kernels_is_left_out_and_said(tmp_path):
    a, b = sides(tmp_path, [80.0, 82.0, 81.0], [90.0, 91.0])
    odd = trace_of(tmp_path, kernels=(*KERNELS, ("another_kernel", 1.0, 1.0)))
    diff = compare([*a, recording_of(odd, 99.0)], b)
    assert "processes-differ" in codes(diff)
    assert len(diff.phases[0].a.samples_ns) == 3
    assert diff.phases[0].a.time_of.startswith("mean over 3 processes")
    assert any(note.message.startswith("A: decode: 0.081 ms in the clean pass") for note in diff.notes)


def test_what_is_left_out_of_the_step_is_left_out_of_its_floor_and_doubts(tmp_path):
    def recording(trace, profiled_us):
        run = replace(known_run(400.0, profiled_us=profiled_us), kernels=kernel_events(trace))
        return Recording(trace=trace, run=run)

    trace = trace_of(tmp_path, jitter=0.2)
    alike = [recording(trace, 100.0) for _ in range(2)]
    other = recording(trace_of(tmp_path, kernels=(("gemm_kernel", 290.0, 10.0), ("a_kernel", 10.0, 30.0))), 5000.0)
    found = [compare(side, alike, calibrations=(calibration_of(),) * 2).phases[0] for side in (alike, [*alike, other])]
    assert found[1].a_limits == found[0].a_limits
    assert found[1].doubts == found[0].doubts


def test_a_run_against_a_trace_is_compared_as_traced(tmp_path):
    (run, _), _ = sides(tmp_path, [80.0, 81.0], [90.0])
    diff = compare([run], trace_of(tmp_path))
    assert diff.phases[0].a.wall_ns == pytest.approx(100 * US, rel=0.02)
    assert "profiled-times" in codes(diff)
    assert "clean-times" not in codes(diff)


def test_a_profiled_pass_that_ran_quite_otherwise_is_a_warning(tmp_path):
    diff = compare(*sides(tmp_path, [20.0], [80.0]))
    levels = [note.level for note in diff.notes if note.code == "clean-times"]
    assert levels == [NoteLevel.WARNING, NoteLevel.INFO]
    assert "20.000" not in diff.notes[0].message


def test_a_phase_that_only_the_profiled_pass_has_is_left_out_and_said(tmp_path):
    a, b = sides(tmp_path, [80.0], [90.0])
    nothing = replace(a[0].run, spans=a[0].run.spans.of(pass_kind=PassKind.KERNELS))
    diff = compare([Recording(trace=a[0].trace, run=nothing)], b)
    assert diff.phases == ()
    assert "phase-not-clean" in codes(diff)


def test_a_run_without_kernels_says_why_nothing_is_compared(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text('{"traceEvents": []}')
    _, b = sides(tmp_path, [80.0], [90.0])
    diff = compare([Recording(trace=read_trace(path), run=run_of(80.0))], b)
    assert diff.phases == ()
    assert "no-kernels" in codes(diff)


def test_run_folders_compare_and_say_in_what_they_differ(tmp_path, monkeypatch, capsys):
    from tokprof.profiler.cli import main
    from tokprof.profiler.store import save_run, save_study

    trace = trace_of(tmp_path, jitter=0.5)
    for side, clean_us, dtype in (("a", (80.0, 82.0), "float32"), ("b", (90.0, 94.0), "bfloat16")):
        for process, us in enumerate(clean_us):
            folder = tmp_path / side / f"process-{process:02}"
            folder.mkdir(parents=True)
            run = run_of(us, kernels=kernel_events(trace))
            save_run(replace(run, model=replace(run.model, dtype=dtype), process_index=process), folder)
            (folder / "trace.json.gz").write_bytes((tmp_path / "trace.json").read_bytes())
        save_study(tmp_path / side, ["process-00", "process-01"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tokprof", "compare", "a", "b", "--no-page"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert not ended.value.code
    assert "0.081 → 0.092 ms" in said  # means of the processes' clean medians
    assert "model.dtype: float32 → bfloat16" in said
    assert "over processes" in said
    monkeypatch.setattr("sys.argv", ["tokprof", "analyze", "a/process-01"])
    with pytest.raises(SystemExit):
        main()
    assert "decode: 0.082 ms" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- floors

SHAPE = shape_of(entry("tiny-llama").config)


def known_run(clean_us, *, known=True, batch=1, device="cuda", **changes):
    """A run whose model's sizes are known; in each of its profiled steps products take 40 us, another kernel 20."""
    run = run_of(clean_us, device=device, **changes)
    profiled = run.spans.of(pass_kind=PassKind.KERNELS)
    start_ns = np.stack([profiled.start_ns, profiled.start_ns + 40 * US], 1).ravel()
    count = len(profiled)
    events = KernelEvents(
        name=[0, 1] * count, category=[0, 1] * count, operator=[0] * 2 * count, stream=[0] * 2 * count,
        repetition=np.repeat(profiled.repetition, 2), phase=np.repeat(profiled.phase, 2),
        step=np.repeat(profiled.step, 2), start_ns=start_ns, duration_ns=[40 * US, 20 * US] * count,
        names=("gemm_kernel", "rms_norm_kernel"), categories=("gemm", "norm"), operators=("",),
    )  # fmt: skip
    return replace(
        run,
        model=replace(run.model, shape=asdict(SHAPE) if known else None),
        cell=replace(run.cell, batch_size=batch),
        kernels=events,
    )


def calibration_of(bandwidth=50e9, *, created="2030-01-02T00:00:00"):
    probes = (
        Probe(name="memory read", unit="B/s", samples=(bandwidth,), method="m", working_set_bytes=2**30),
        Probe(name="matrix product", unit="FLOP/s", samples=(1e12,), method="m", dtype="float32"),
    )
    machine = run_of(1.0).environment
    return Calibration(created=created, tokprof_version="0", environment=machine, cache_bytes=0, probes=probes)


def said(diff, code):
    return next(note.message for note in diff.notes if note.code == code)


def against_floors(tmp_path, a, b, calibrations):
    traces = [trace_of(tmp_path, jitter=0.5) for _ in range(2)]
    sides = [[Recording(trace=trace, run=run)] for trace, run in zip(traces, (a, b), strict=True)]
    diff = compare(*sides, calibrations=calibrations)
    return diff, diff.phases[0].a_limits, diff.phases[0].b_limits


def gaps_of(limits):
    return {owner.name: owner.gap_ms for owner in limits.owners}


def test_a_step_stands_beside_the_floor_of_the_very_steps_it_is_typical_of(tmp_path):
    calibration = calibration_of()
    diff, a, b = against_floors(tmp_path, known_run(80.0), known_run(90.0), (calibration, calibration))
    steps = [step_cost(SHAPE, batch_size=1, token_count=1, context_token_count=n, dtype="float32") for n in (1, 2, 3)]
    floor = floor_of(steps, ceiling_of(calibration), "float32")
    assert a.floor_ms == b.floor_ms == pytest.approx(floor.floor_s / 3 * 1e3)
    assert (a.time_ms, b.time_ms) == (0.08, 0.09)
    assert a.mbu == pytest.approx(floor.byte_count / 3 / 80e-6 / 50e9)
    assert a.mfu == pytest.approx(floor.flop_count / 3 / 80e-6 / 1e12)
    assert a.bound == "memory"
    assert a.source == "measured on this device on 2030-01-02"
    for limits in (a, b):
        gaps = list(gaps_of(limits).values())
        assert sum(gaps) == pytest.approx(limits.gap_ms)
        assert gaps == sorted(gaps, reverse=True)
    assert gaps_of(b)["gaps between kernels"] == pytest.approx(0.030)  # 60 of 90 us are kernels'
    assert not {"not-calibrated", "no-floor", "below-floor"} & codes(diff)


def test_each_side_goes_by_its_own_device_and_is_silent_without_one(tmp_path):
    fast, slow = calibration_of(), calibration_of(25e9, created="2031-01-01T00:00:00")
    _, a, b = against_floors(tmp_path, known_run(80.0), known_run(80.0), (fast, slow))
    assert b.floor_ms == pytest.approx(2 * a.floor_ms)
    diff, a, b = against_floors(tmp_path, known_run(80.0), known_run(80.0), (None, slow))
    assert a is None
    assert b.source.endswith("2031-01-01")
    assert said(diff, "not-calibrated").startswith("A: how far from the device's limits is not known")
    diff, a, b = against_floors(tmp_path, known_run(80.0, known=False), known_run(80.0), (fast, fast))
    assert a is None
    assert b is not None
    assert said(diff, "no-floor").startswith("A: no floor for llama")
    diff, a, b = against_floors(tmp_path, known_run(80.0), known_run(80.0), None)
    assert a is b is None
    assert "not-calibrated" not in codes(diff)


def test_a_run_beside_a_trace_has_no_floor(tmp_path):
    trace, run = trace_of(tmp_path), known_run(80.0)
    diff = compare([Recording(trace=trace, run=run)], [Recording(trace=trace)], calibrations=(calibration_of(), None))
    assert diff.phases[0].a_limits is diff.phases[0].b_limits is None
    assert "not-calibrated" not in codes(diff)


def test_less_than_a_floor_is_told(tmp_path):
    calibration = calibration_of(1e9)
    diff, a, _ = against_floors(tmp_path, known_run(80.0), known_run(80.0), (calibration, calibration))
    assert a.gap_ms < 0
    assert "took less than its floor" in said(diff, "below-floor")


def test_the_floors_of_stored_runs_are_in_the_text_in_the_data_and_on_the_page(tmp_path, monkeypatch, capsys):
    from tokprof.profiler.cli import main
    from tokprof.profiler.store import calibration_file, save_calibration, save_run

    trace_of(tmp_path, jitter=0.5)
    for side, us in (("a", 80.0), ("b", 90.0)):
        (tmp_path / side).mkdir()
        save_run(known_run(us), tmp_path / side)
        (tmp_path / side / "trace.json.gz").write_bytes((tmp_path / "trace.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")

    def compared(*words):
        monkeypatch.setattr("sys.argv", ["tokprof", "compare", "a", "b", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    plain = compared("--no-page")
    assert "floor" not in plain
    assert "tokprof calibrate" in plain
    calibration = calibration_of()
    save_calibration(calibration, calibration_file(tmp_path / "cache", calibration.environment.device))
    text = compared()
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    floor_us = 1e3 * json.loads(compared("--json", "--no-page"))["phases"][0]["a_limits"]["floor_ms"]
    for side, time, ratio in (("A", "80.00 µs", 80.0), ("B", "90.00 µs", 90.0)):
        assert re.search(rf"{side}'s floor [\d.]+ µs, by memory; measured {time}, ×{ratio / floor_us:.2f}; MFU", words)
    assert "floors by what was measured on this device on 2030-01-02" in words
    page = (tmp_path / "compare.html").read_text()
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)
    limits = json.loads(data)["phases"][0]["limits"]
    assert limits["a"]["time"] == 80.0
    assert limits["b"]["gap"] == pytest.approx(90.0 - limits["b"]["floor"], abs=0.002)


def test_the_clock_that_the_device_itself_counted_owns_its_part_of_the_gap(tmp_path):
    calibration = calibration_of()
    slow = Probe(name="matrix product", unit="FLOP/s", samples=(1.25e10,), method="m", dtype="float32")
    clock = Probe(name="SM clock", unit="Hz", samples=(2e9,), method="m")
    calibration = replace(calibration, probes=(calibration.probes[0], slow, clock))
    clocks = ClockReadings(repetition=[0], step=[8], time_ns=[0], duration_ns=[20_000], cycle_count=[32_000])
    _, a, b = against_floors(tmp_path, known_run(80.0, sm_clocks=clocks), known_run(80.0), (calibration, calibration))
    assert a.bound == "compute"
    assert gaps_of(a)["lower clock"] == pytest.approx(0.25 * a.floor_ms)  # 1.6 GHz beside 2
    assert sum(gaps_of(a).values()) == pytest.approx(a.gap_ms)
    assert "lower clock" not in gaps_of(b)


def shaped_trace(tmp_path):
    """The trace of runs, its products launched by a call whose shape is told: 128 KB and 2 MFLOP."""
    path = tmp_path / "trace.json"
    trace_of(tmp_path, jitter=0.5)
    content = json.loads(path.read_text())
    calls = [
        e for e in content["traceEvents"] if e["name"] == "cudaLaunchKernel" and e["args"]["correlation"] % 100 == 0
    ]
    told = {"Input Dims": [[128, 64], [64, 128]], "Input Strides": [[64, 1], [128, 1]], "Input type": ["float"] * 2}
    content["traceEvents"] += [
        {**call, "cat": "cpu_op", "name": "aten::mm", "ts": call["ts"] - 0.01, "dur": 0.07, "args": told}
        for call in calls
    ]
    path.write_text(json.dumps(content))
    return read_trace(path)


def test_a_trace_has_the_shapes_of_the_middle_context_however_many_repetitions(tmp_path):
    events = []
    for number in range(10):  # two repetitions of five steps, whose products grow
        repetition, step = divmod(number, 5)
        at, sizes = 1000.0 + 100 * number, [[1, 10 + step], [10 + step, 8]]
        told = {"Input Dims": sizes, "Input Strides": [[s[1], 1] for s in sizes], "Input type": ["float"] * 2}
        label = f"tokprof.decode#rep={repetition},step={step + 1}"
        call = {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "args": {"correlation": number}}
        events += [
            {"ph": "X", "cat": "user_annotation", "name": label, "pid": 1, "tid": 1, "ts": at, "dur": 90},
            {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": at + 1, "dur": 9, "args": told},
            {"ph": "X", **call, "ts": at + 2, "dur": 1},
            {"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": at + 5, "dur": 50,
             "args": {"device": 0, "stream": 7, "correlation": number}},
        ]  # fmt: skip
    (tmp_path / "t.json").write_text(json.dumps({"traceEvents": events}))
    (step,) = typical_steps(read_trace(tmp_path / "t.json"))
    assert json.loads(step.kernels.shapes[step.kernels.shape[0]])[0] == [[1, 12], [12, 8]]


MM_US = 2 * 128 * 128 * 4 / 50e9 * 1e6  # by the calibration below, which knows of no cache


def test_the_lines_of_a_ledger_stand_beside_their_kernels_floors(tmp_path):
    trace = shaped_trace(tmp_path)
    sides = [[Recording(trace=trace, run=known_run(us))] for us in (80.0, 90.0)]
    diff = compare(*sides, calibrations=(calibration_of(), None)).phases[0]
    ledgers = {by: {line.key: line for line in lines} for by, lines in diff.ledgers}
    line = ledgers["operator"]["aten::mm"]
    assert line.a_limit.floor_us == pytest.approx(MM_US)
    assert line.a_limit.reached == pytest.approx(MM_US / 40, rel=0.1)
    assert (line.a_limit.bound, line.a_limit.known_share) == ("memory", 1.0)
    assert line.b_limit is None
    assert next(line for key, line in ledgers["kernel"].items() if "gemm" in key).a_limit == line.a_limit
    norm = next(line for key, line in ledgers["kernel"].items() if "norm" in key)
    assert norm.a_limit is None
    layer = ledgers["layer"]["outside the layers"]
    assert layer.a_limit.floor_us == pytest.approx(MM_US)
    assert layer.a_limit.known_share == pytest.approx(40 / 60, rel=0.1)


def test_what_processes_reach_is_of_their_mean_times_as_measured(tmp_path):
    """Of one that the profiler slowed twice as much as the other, whatever their clean times are."""
    (step,) = typical_steps(trace_of(tmp_path))
    longer = replace(step, kernels=replace(step.kernels, duration_ns=3 * step.kernels.duration_ns))
    together = pooled([clean_step(step, step.wall_ns, 0.9), clean_step(longer, step.wall_ns, 0.3)])
    np.testing.assert_allclose(together.measured_ns, 2 * step.kernels.duration_ns)
    np.testing.assert_allclose(together.kernels.duration_ns, 0.9 * step.kernels.duration_ns)


def test_the_steps_of_a_run_stand_beside_their_kernels_floors(tmp_path):
    trace = shaped_trace(tmp_path)
    line = timeline(trace)
    for device in ("cuda", "cpu"):  # on a CPU all times are scaled, and what is reached is told of those measured
        found = analyze(trace, line, run=known_run(80.0, device=device), calibration=calibration_of())
        assert found.ceiling == "measured on this device on 2030-01-02"
        limits = {one.name: one.limit for one in found.steps[0].lines}
        assert limits["gemm_kernel"].floor_us == pytest.approx(MM_US)
        assert limits["gemm_kernel"].reached == pytest.approx(MM_US / 40, rel=0.1)
        assert limits["rms_norm_kernel"] is None
    console = Console(file=io.StringIO(), width=120)
    print_analysis(found, console)
    lines = console.file.getvalue().splitlines()
    assert "of ceiling" in next(text for text in lines if "the step in order" in text)
    assert "7% memory" in next(text for text in lines if "gemm_kernel" in text)
    assert next(text for text in lines if "rms_norm_kernel" in text).split()[-2:] == ["–", "–"]
    assert not any(note.code == "below-floor" for note in found.notes)
    quick = analyze(trace, line, run=known_run(80.0), calibration=calibration_of(1e9))
    assert [n.message.split(" took")[0] for n in quick.notes if n.code == "below-floor"] == ["gemm_kernel in decode"]
    bare = analyze(trace, line, run=known_run(80.0))
    assert bare.ceiling is None
    assert all(one.limit is None for one in bare.steps[0].lines)


def test_a_comparison_says_what_of_the_ceiling_each_side_reaches(tmp_path):
    trace = shaped_trace(tmp_path)
    sides = [[Recording(trace=trace, run=known_run(us))] for us in (80.0, 90.0)]
    diff = compare(*sides, calibrations=(calibration_of(), calibration_of(25e9)))
    console = Console(file=io.StringIO(), width=160)
    print_comparison(diff, console, by="kernel", top=5)
    lines = console.file.getvalue().splitlines()
    titles = next(text for text in lines if "A ms" in text)
    assert "below-floor" not in codes(diff)
    wrong = compare(*sides, calibrations=(calibration_of(), calibration_of(1e9)))
    said = [note.message.split(" took")[0] for note in wrong.notes if note.code == "below-floor"]
    assert said == ["B: decode", "B: gemm in decode"]
    assert re.search(r"A floor +A of ceiling +B floor +B of ceiling", titles)
    assert next(text for text in lines if text.lstrip().startswith("rms_norm")).count("–") == 4
    narrow = Console(file=io.StringIO(), width=80)
    print_comparison(diff, narrow, by="kernel", top=5)
    own = [text for text in narrow.file.getvalue().splitlines() if "trace.json" not in text]  # paths are not cut
    assert max(map(len, own)) <= 80
    row = next(text for text in lines if text.lstrip().startswith("gemm"))
    assert "7% memory" in row
    assert "13% memory" in row
