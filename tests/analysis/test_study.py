"""A study's report against planted differences; and what must hold exactly whatever was measured."""

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tokprof.profiler.analysis.study import DIFFERENCE, EVERY, analyze_study
from tokprof.profiler.analysis.study_parts import kernel_passes
from tokprof.profiler.errors import InputError
from tokprof.profiler.record import Device, Phase, StepKernels, TypicalStep
from tokprof.profiler.studies import ArmRole

sys.path.insert(0, str(Path(__file__).parents[1]))
from study_makers import SEEN, UNSEEN, plan_of, study_of


def claim(report, arm, scope=EVERY, quantity="total"):
    comparison = next(c for c in report.comparisons if c.arm == arm)
    return next(c for c in comparison.claims if (c.scope, c.quantity) == (scope, quantity))


def test_a_planted_difference_is_an_effect_and_the_base_against_itself_is_equivalent():
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED)
    effects = {"tuned": 0.05}
    report = analyze_study(study_of(plan, lambda arm, _: effects.get(arm, 0.0), noise=0.001))
    found = claim(report, "tuned")
    assert found.verdict == "effect"
    assert found.estimate.low < 0.05 < found.estimate.high
    assert claim(report, "base again").verdict.startswith("equivalent within ±1 %")
    assert report.sentences[0].startswith("Tuned takes 5.")
    assert "the tokenizer has no part in it" in report.sentences[1]


def test_a_difference_of_the_unseen_languages_alone_is_found_there():
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED)
    report = analyze_study(
        study_of(plan, lambda arm, language: 0.04 if arm == "tuned" and language in UNSEEN else 0.0, noise=0.002)
    )
    difference = claim(report, "tuned", DIFFERENCE)
    assert difference.verdict == "effect"
    assert difference.estimate.unit == "language"
    assert difference.estimate.value == pytest.approx(0.04, abs=0.004)
    assert claim(report, "tuned", "unseen").verdict == "effect"
    assert claim(report, "tuned", "seen").verdict != "effect"


def test_noise_as_large_as_the_difference_is_inconclusive():
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED, process_count=3)
    report = analyze_study(study_of(plan, lambda arm, _: 0.02 if arm == "tuned" else 0.0, noise=0.05))
    assert claim(report, "tuned").verdict == "inconclusive"


def test_a_margin_below_what_a_a_shows_is_widened_and_said():
    plan = plan_of(ArmRole.AGAIN, process_count=3)
    report = analyze_study(study_of(plan, noise=0.03))
    assert report.margin_log > np.log1p(0.01)
    assert "A/A" in report.margin_reason


def test_one_process_gives_no_interval_and_no_verdict():
    plan = plan_of(ArmRole.AGAIN, process_count=1)
    report = analyze_study(study_of(plan, lambda arm, _: 0.5 if arm == "base again" else 0.0))
    found = claim(report, "base again")
    assert found.estimate.low is None
    assert found.p is None
    assert found.verdict == "inconclusive"


def test_the_parts_of_the_identity_sum_to_the_whole_exactly():
    plan = plan_of(ArmRole.TUNED)
    report = analyze_study(study_of(plan, tokens_per_byte=[0.35, 0.45]))
    lines = [*report.language_identity, *(line for c in report.comparisons for line in c.identity)]
    assert len(lines) == 11 + 12
    for line in lines:
        parts = line.verbosity + line.fertility + line.steps + line.step_cost
        assert parts == pytest.approx(line.total, abs=1e-12)
    against_base = report.comparisons[0].identity[0]
    assert against_base.verbosity == 0  # the same text
    assert against_base.fertility == pytest.approx(np.log(0.45 / 0.35), abs=0.03)


def test_with_one_tokenizer_fertility_cancels_exactly():
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED)
    report = analyze_study(study_of(plan, noise=0.02))
    for comparison in report.comparisons:
        assert comparison.same_tokens
        assert all(line.fertility == line.verbosity == line.steps == 0.0 for line in comparison.identity)


def test_rates_are_one_identity():
    report = analyze_study(study_of(plan_of(ArmRole.TUNED)))
    for rate in report.rates:
        assert rate.tokens_per_s / rate.bytes_per_s == pytest.approx(rate.tokens_per_kb / 1000, rel=1e-12)
        assert rate.tokens_per_s / rate.lexemes_per_s == pytest.approx(rate.tokens_per_lexeme, rel=1e-12)
        assert rate.seconds_per_kb == pytest.approx(1000 / rate.bytes_per_s, rel=1e-12)


def test_swapping_the_arms_turns_every_sign():
    plan = plan_of(ArmRole.TUNED)
    study = study_of(plan, lambda arm, _: 0.03 if arm == "tuned" else 0.0)
    turned = replace(study, samples=replace(study.samples, arm=1 - study.samples.arm))
    for a, b in zip(
        analyze_study(study).comparisons[0].claims, analyze_study(turned).comparisons[0].claims, strict=True
    ):
        assert a.estimate.value == pytest.approx(-b.estimate.value, abs=1e-12)


def test_arms_in_processes_of_their_own_are_compared_item_by_item():
    # Each process has other items, some three times as long: as means of processes these would hide any difference.
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED, process_count=5, apart=True)
    items = tuple(
        replace(item, prompt="x" * (100 + 250 * (number % 3)), content="y" * (60 + 90 * (number % 3)))
        for number, item in enumerate(plan.items)
    )
    plan = replace(plan, items=items)
    report = analyze_study(study_of(plan, lambda arm, _: 0.05 if arm == "tuned" else 0.0, noise=0.002))
    found = claim(report, "tuned")
    assert "processes side by side" in found.estimate.method
    assert found.estimate.low < 0.05 < found.estimate.high
    assert found.estimate.high - found.estimate.low < 0.02
    assert claim(report, "tuned", DIFFERENCE).estimate.count == 12  # classes of languages are compared as well


def only(study, rows):
    return replace(study, samples=study.samples.select(rows))


@pytest.mark.parametrize("apart", [False, True])
def test_a_process_that_lacks_languages_is_left_out_of_the_claims_aloud(apart):
    # Its mean would be of other languages, and claims about a class would shrink to the languages that it has.
    plan = plan_of(ArmRole.TUNED, process_count=4, apart=apart)
    study = study_of(plan, noise=0.002)
    samples = study.samples
    report = analyze_study(only(study, (samples.process < 3) | (samples.arm == 0) | (samples.block < 4)))
    assert "of process-03 not every language is measured" in next(
        note.message for note in report.notes if note.code == "incomplete-process"
    )
    assert claim(report, "tuned").estimate.count == report.process_count == 3
    assert claim(report, "tuned", "seen").estimate.count == len(SEEN)
    assert claim(report, "tuned", DIFFERENCE).verdict.startswith("equivalent")


def test_with_one_whole_process_the_others_are_kept():
    study = study_of(plan_of(ArmRole.TUNED, process_count=2))
    samples = study.samples
    report = analyze_study(only(study, (samples.process == 0) | (samples.block < 4)))
    assert claim(report, "tuned").estimate.count == 2


def test_an_arm_that_was_not_measured_yet_is_said_and_without_any_nothing_is_reported():
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED, process_count=2, apart=True)
    study = study_of(plan)
    (whole,) = study.headers
    for arms in ((0, 1), (1, 2), (0,)):
        header = msgspec.structs.replace(
            whole,
            arms=arms,
            models=tuple(whole.models[arm] for arm in arms),
            prompt_token_counts=tuple(whole.prompt_token_counts[arm] for arm in arms),
            content_token_counts=tuple(whole.content_token_counts[arm] for arm in arms),
        )
        part = replace(only(study, np.isin(study.samples.arm, arms)), headers=(header,))
        if arms == (0, 1):
            report = analyze_study(part)
            assert [comparison.arm for comparison in report.comparisons] == ["base again"]
            assert "not measured yet: tuned" in {note.message for note in report.notes}
        else:
            with pytest.raises(InputError, match="no arm was measured beside the base yet"):
                analyze_study(part)


def test_the_scatter_within_processes_is_unknown_where_every_item_comes_once():
    plan = plan_of(ArmRole.TUNED, process_count=3)
    same = analyze_study(study_of(plan, noise=0.01)).comparisons[0].components
    assert same.within_sd == pytest.approx(0.01, rel=0.5)
    other = analyze_study(study_of(plan, noise=0.01, tokens_per_byte=[0.35, 0.45])).comparisons[0].components
    assert other is None


def factors_of(report, arm):
    comparison = next(c for c in report.comparisons if c.arm == arm)
    return {line.factor: line for line in comparison.factors}


def test_the_factors_and_the_residual_sum_to_the_difference_of_the_times():
    plan = plan_of(ArmRole.TUNED)
    study = study_of(plan, lambda arm, _: 0.05 if arm == "tuned" else 0.0, tokens_per_byte=[0.35, 0.45])
    lines = factors_of(analyze_study(study), "tuned")
    own = {arm: study.samples.select(study.samples.arm == arm) for arm in (0, 1)}
    means_s = [float((s.prefill_ns + s.decode_ns).mean()) / 1e9 for s in own.values()]
    assert sum(line.seconds for line in lines.values()) == pytest.approx(means_s[1] - means_s[0], rel=1e-9)
    assert lines["N_out"].effect.value == pytest.approx(np.log(0.45 / 0.35), abs=0.1)
    assert lines["N_out"].effect.low > 0


def test_with_one_tokenizer_the_token_counts_are_no_factor_at_all():
    report = analyze_study(study_of(plan_of(ArmRole.AGAIN), noise=0.02))
    lines = factors_of(report, "base again")
    assert lines["N_in"].seconds == lines["N_out"].seconds == 0.0
    assert "clock" not in lines  # nobody read one: absent, not 0
    assert "gap" not in lines
    assert abs(lines["residual"].effect.value) < 0.01


def test_what_an_unmerged_adapter_adds_to_a_step_is_the_adapters():
    plan = plan_of(ArmRole.AGAIN, ArmRole.ADAPTER)
    report = analyze_study(study_of(plan, lambda arm, _: 0.2 if arm == "adapter" else 0.0, noise=0.002))
    lines = factors_of(report, "adapter")
    assert lines["adapter"].effect.low > 0.05
    assert lines["step cost"].seconds == 0.0


def test_a_clock_that_moved_is_a_factor_with_its_measured_elasticity():
    plan = plan_of(ArmRole.TUNED)
    study = study_of(plan, noise=0.0005)
    draw = np.random.default_rng(1)
    samples = study.samples
    ratio = np.where(samples.arm == 1, 0.9, 1.0) * np.exp(draw.normal(0, 0.02, len(samples)))
    slower = ratio**-0.5  # half of the time follows the clock
    steps = study.step_ns * np.repeat(slower, samples.step_count)
    moved = replace(
        samples,
        prefill_ns=np.round(samples.prefill_ns * slower).astype(np.int64),
        decode_ns=np.round(samples.decode_ns * slower).astype(np.int64),
        sm_clock_mhz=1500.0 * ratio,
    )
    lines = factors_of(analyze_study(replace(study, samples=moved, step_ns=np.round(steps).astype(np.int64))), "tuned")
    assert lines["clock"].effect.value == pytest.approx(-0.5 * np.log(0.9), rel=0.1)
    assert abs(lines["step cost"].effect.value) < 0.01


def test_a_clock_that_stood_still_is_said_to_tell_nothing():
    study = study_of(plan_of(ArmRole.TUNED))
    clock = np.full(len(study.samples), 1410.0)
    report = analyze_study(replace(study, samples=replace(study.samples, sm_clock_mhz=clock)))
    assert "clock" not in factors_of(report, "tuned")
    assert any(note.code == "clock-steady" for note in report.notes)


def test_a_clock_that_was_read_for_one_arm_alone_is_no_factor():
    study = study_of(plan_of(ArmRole.TUNED, process_count=3))
    clock = 1400 * np.exp(np.random.default_rng(1).normal(0, 0.02, len(study.samples)))
    for absent in (np.nan, 0.0):
        read = np.where(study.samples.arm == 1, absent, clock)
        report = analyze_study(replace(study, samples=replace(study.samples, sm_clock_mhz=read)))
        assert "clock" not in factors_of(report, "tuned")
        assert "step cost" in factors_of(report, "tuned")


def test_processes_whose_factors_differ_from_most_are_left_out_aloud():
    study = study_of(plan_of(ArmRole.TUNED, process_count=5))
    clock = 1400 * np.exp(np.random.default_rng(1).normal(0, 0.02, len(study.samples)))
    clock[study.samples.process == 2] = 1400.0
    report = analyze_study(replace(study, samples=replace(study.samples, sm_clock_mhz=clock)))
    assert factors_of(report, "tuned")["clock"].effect.count == 4
    assert any("1 of 5 processes tell other factors apart" in note.message for note in report.notes)


def test_the_sentence_names_a_phase_that_differs_although_the_whole_does_not():
    study = study_of(plan_of(ArmRole.AGAIN, ArmRole.TUNED, ArmRole.PLACEBO, process_count=8), noise=0.002)
    samples = study.samples
    steps_of = np.repeat(samples.arm >= 2, samples.step_count)
    step_ns = np.where(steps_of, np.round(study.step_ns * 0.985), study.step_ns).astype(np.int64)
    decode_ns = np.add.reduceat(step_ns, samples.step_start)
    more = samples.prefill_ns + samples.decode_ns - decode_ns  # prefill takes as much longer
    samples = replace(samples, prefill_ns=more, decode_ns=decode_ns)
    report = analyze_study(replace(study, samples=samples, step_ns=step_ns))
    tuned = next(c for c in report.comparisons if c.arm == "tuned")
    assert not tuned.claims[0].verdict.startswith("effect")
    words = [told for told in report.sentences if told.lower().startswith("tuned")]
    assert "but prefill by itself takes" in words[0]
    assert words[0].endswith("less time, an effect that the placebo shows too, so not of what was learned.")
    words = [told for told in report.sentences if told.lower().startswith("placebo")]
    assert "an effect" in words[0]
    assert "placebo shows too" not in words[0]


def test_clocks_are_those_of_one_instrument():
    study = study_of(plan_of(ArmRole.TUNED, process_count=3))
    draw = np.random.default_rng(1)
    counted = 1400 * np.exp(draw.normal(0, 0.02, len(study.samples)))
    driver = np.where(draw.random(len(study.samples)) < 0.3, np.nan, 1.1 * counted)

    def clock_of(**columns):
        report = analyze_study(replace(study, samples=replace(study.samples, **columns)))
        return factors_of(report, "tuned")["clock"].effect.value

    alone = clock_of(counted_clock_mhz=counted)
    assert clock_of(counted_clock_mhz=counted, sm_clock_mhz=driver) == alone
    some = np.where(study.samples.arm == 1, np.nan, counted)
    assert clock_of(counted_clock_mhz=some, sm_clock_mhz=driver) == clock_of(sm_clock_mhz=driver)


def test_classes_of_languages_are_those_of_the_same_processes():
    # The last process lacks one seen language: it counts for the unseen ones as little as for the seen.
    study = study_of(plan_of(ArmRole.TUNED, process_count=4))
    lacking = study.plan.languages.index(next(own for own in study.plan.languages if own.key == SEEN[0]))
    items = [
        number for number, item in enumerate(study.plan.items) if item.language == study.plan.languages[lacking].key
    ]
    rows = (study.samples.process == 3) & np.isin(study.samples.item, items)
    cut, whole = only(study, ~rows), only(study, study.samples.process != 3)
    ours, theirs = analyze_study(cut), analyze_study(whole)
    assert [c.estimate for c in ours.comparisons[0].claims] == [c.estimate for c in theirs.comparisons[0].claims]
    assert [line.total for line in ours.comparisons[0].languages] == [
        line.total for line in theirs.comparisons[0].languages
    ]


def traced(wall_ns, gap_ns, phase):
    """Return a step of two kernels as a trace shows it."""
    durations = np.full(2, (wall_ns - gap_ns) / 2)
    kernels = StepKernels(
        **dict.fromkeys(("name", "category", "operator", "frame", "stream", "gap_cause"), np.zeros(2)),
        layer=np.full(2, -1),
        start_ns=np.array([0, durations[0] + gap_ns / 2]),
        duration_ns=durations,
        gap_ns=np.full(2, gap_ns / 2),
        names=("gemm",),
        categories=("gemm",),
        operators=("",),
        frames=("",),
        gap_causes=("",),
    )
    facts = {"step_count": 9, "sampled_step_count": 9, "overlap_ns": 0.0, "confidence": 1.0, "evidence": ""}
    return TypicalStep(phase=phase, wall_ns=wall_ns, busy_ns=wall_ns - gap_ns, kernels=kernels, **facts)


def on_gpu(study):
    header = study.headers[0]
    device = Device(kind="cuda", name="made up")
    machine = replace(header.environment, device=device)
    return replace(study, headers=(msgspec.structs.replace(header, environment=machine),))


def test_the_hosts_gap_of_each_process_gives_the_gap_an_interval():
    study = on_gpu(study_of(plan_of(ArmRole.TUNED, process_count=4), noise=0.0005))
    draw = np.random.default_rng(5)
    busy_ns = {0: 29.5e6, 1: 26.5e6}  # of steps of 30.5 ms, by the times that study_of gives them
    found = {
        (arm, process): (traced(own * np.exp(draw.normal(0, 0.002)) + 5e6, 5e6, Phase.DECODE),)
        for arm, own in busy_ns.items()
        for process in range(4)
    }
    passes = kernel_passes(study, found)
    lines = factors_of(analyze_study(study, passes), "tuned")
    # 3 ms more of the host's, which the device makes up for: a step takes as long as before.
    steps = float(np.mean(study.samples.step_count))
    assert lines["gap"].effect.count == 4
    assert lines["gap"].effect.low > 0.04
    assert lines["gap"].seconds == pytest.approx(3e-3 * (steps + 1), rel=0.1)  # prefill has one as well
    assert lines["step cost"].effect.high < 0
    verdicts = {line.verdict for _, ledger in passes[1].timeline.phases[0].ledgers for line in ledger}
    assert verdicts == {"noise"}  # over processes: what the kernels gave up, the gaps took


def test_where_processes_were_traced_those_that_were_not_are_left_out_of_the_factors_aloud():
    study = on_gpu(study_of(plan_of(ArmRole.TUNED, process_count=4), noise=0.0005))
    found = {(arm, process): (traced(34e6, 5e6, Phase.DECODE),) for arm in (0, 1) for process in (1, 2)}
    report = analyze_study(study, kernel_passes(study, found))
    lines = factors_of(report, "tuned")
    assert {line.effect.count for line in lines.values()} == {2}
    assert any("2 of 4 processes were not traced" in note.message for note in report.notes)
    single = kernel_passes(study, {place: steps for place, steps in found.items() if place[1] == 2})
    lines = factors_of(analyze_study(study, single), "tuned")
    assert {line.effect.error for line in lines.values()} == {None}  # one process tells of no other
    ledgers = [line for _, ledger in single[1].timeline.phases[0].ledgers for line in ledger]
    assert {(line.verdict, line.low_ns) for line in ledgers} == {("one sample", None)}


def test_processes_with_other_kernels_are_left_out_on_both_sides():
    study = on_gpu(study_of(plan_of(ArmRole.TUNED, process_count=3)))
    found = {(arm, process): (traced(34e6, 5e6, Phase.DECODE),) for arm in (0, 1) for process in range(3)}
    (step,) = found[1, 0]
    found[1, 0] = (replace(step, kernels=replace(step.kernels, names=("another",))),)
    traced_pass = kernel_passes(study, found)[1]
    assert [len(side.samples_ns) for side in (traced_pass.timeline.phases[0].a, traced_pass.timeline.phases[0].b)] == [
        2,
        2,
    ]
    (note,) = traced_pass.timeline.notes
    assert note.message.startswith("tuned and base: 1 of 3 processes ran other kernels in decode")
    assert sorted(traced_pass.busy) == [0, 1, 2]


def test_processes_in_which_one_side_alone_was_traced_are_not_compared():
    study = study_of(plan_of(ArmRole.TUNED))
    step = (traced(30e6, 1e6, Phase.DECODE),)
    assert kernel_passes(study, {(0, 0): step, (1, 1): step}) == {}
    passes = kernel_passes(study, {(0, 0): step, (1, 0): step, (0, 1): step})
    assert passes[1].busy == {}  # on a CPU host and device are one
    assert passes[1].timeline.phases[0].a.sample_unit == "step"


def test_the_log_mean_split_between_phases_is_the_whole_difference_exactly():
    study = study_of(plan_of(ArmRole.TUNED), lambda arm, _: 0.04 * (arm == "tuned"))
    (compared,) = analyze_study(study).comparisons
    prefill, decode = compared.phases
    assert [line.factor for line in compared.phases] == ["prefill", "decode"]
    whole = [sum(x.seconds for x in lines) for lines in (compared.phases, compared.factors)]
    assert whole[0] == pytest.approx(whole[1], rel=1e-9)
    assert prefill.effect.value + decode.effect.value == pytest.approx(
        sum(line.effect.value for line in compared.factors), rel=1e-6
    )
    assert decode.effect.value > prefill.effect.value > 0


def test_by_whose_list_languages_are_seen_is_said_where_the_model_s_own_is_not_known():
    study = study_of(plan_of(ArmRole.TUNED, process_count=3))
    assert "exposure" not in {note.code for note in analyze_study(study).notes}
    stood_in = [replace(one, evidence="by X's list, this model's is not known") for one in study.plan.languages]
    plan = replace(study.plan, languages=(replace(stood_in[0], evidence="by construction"), *stood_in[1:]))
    (note,) = [note for note in analyze_study(replace(study, plan=plan)).notes if note.code == "exposure"]
    assert note.message == "seen and unseen are told by X's list, this model's is not known"


def test_an_effect_by_itself_that_is_none_among_all_claims_is_told_as_such():
    study = study_of(plan_of(ArmRole.AGAIN, ArmRole.TUNED, process_count=2), lambda arm, _: 0.1 * (arm == "tuned"))
    report = analyze_study(study)
    (told,) = [words for words in report.sentences if "tuned" in words.lower()]
    tuned = next(c for c in report.comparisons if c.arm == "tuned").claims[0]
    assert tuned.verdict == "inconclusive"
    assert tuned.estimate.low > 0
    assert f"cannot be told among {report.claim_count} claims, only by this one alone, +1" in told
