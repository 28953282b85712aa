"""Splits that must be exact, a fit that must find its costs again, and effects whose truth was planted."""

import importlib.util
import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprof.profiler.analysis.attribution import (
    Decoded,
    Factor,
    State,
    TimeModel,
    additive_log_shares,
    fit_time_model,
    log_mean,
    log_mean_divisia,
    shapley,
    shapley_values,
    split_decode,
)

positive = st.floats(1e-6, 1e6)
factor = st.floats(0.1, 10)


def close(a, b, scale):
    return np.all(np.abs(np.asarray(a) - np.asarray(b)) <= 1e-9 * np.asarray(scale))


@given(positive, positive)
def test_the_log_mean_lies_between_and_divides_by_the_logarithm(x, y):
    mean = log_mean(x, y)
    assert min(x, y) * (1 - 1e-12) <= mean <= max(x, y) * (1 + 1e-12)
    assert mean == log_mean(y, x)
    assert mean * math.log(x / y) == pytest.approx(x - y, rel=1e-9, abs=1e-9 * max(x, y))
    assert log_mean(x, x) == x


def test_the_log_mean_of_neighbours_loses_no_digits():
    y = 1 + 1e-8
    assert log_mean(1.0, y) == pytest.approx(1 + 0.5e-8, rel=1e-15)


@given(*[st.tuples(*[positive] * 5)] * 2)
def test_the_identity_of_decode_time_has_no_residual(first, second):
    names = ("task_count", "lexeme_count", "token_count", "step_count", "decode_s")
    states = [Decoded(**dict(zip(names, values, strict=True))) for values in (first, second)]
    split = split_decode(*states)
    parts = (split.verbosity, split.fertility, split.steps, split.step_cost)
    assert split.total == pytest.approx(math.log(second[4] / second[0]) - math.log(first[4] / first[0]), abs=1e-9)
    assert close(sum(parts), split.total, sum(map(abs, parts)) + 1)
    back = split_decode(*reversed(states))
    assert close(back.fertility, -split.fertility, abs(split.fertility) + 1)


def test_with_one_tokenizer_fertility_cancels_exactly():
    base = Decoded(
        task_count=3,
        lexeme_count=100.0,
        token_count=np.array([133, 140]),
        step_count=np.array([130, 137]),
        decode_s=4.1,
    )
    split = split_decode(base, replace(base, decode_s=4.5))
    assert not split.fertility.any()
    assert not split.verbosity
    assert split.step_cost == pytest.approx(math.log(4.5 / 4.1))


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=6))
def test_additive_shares_sum_to_the_log_ratio(parts):
    x, y = np.array(parts).T
    assert close(
        additive_log_shares(x, y).sum(), math.log(y.sum() / x.sum()), 10 + np.abs(additive_log_shares(x, y)).sum()
    )


items = st.lists(st.tuples(*[st.one_of(st.just(0.0), factor)] * 6), min_size=1, max_size=6)


@given(items)
def test_divisia_sums_to_the_difference_and_turns_with_time(rows):
    x, y = (np.array(rows)[:, part] for part in (slice(0, 3), slice(3, 6)))
    split, back = log_mean_divisia(x, y), log_mean_divisia(y, x)
    whole = y.prod(axis=1).sum() - x.prod(axis=1).sum()
    scale = y.prod(axis=1).sum() + x.prod(axis=1).sum() + np.abs(split.effect).sum()
    assert close(split.effect.sum() + split.item_set.sum(), whole, scale)
    assert close(back.effect, -split.effect, scale)
    assert np.array_equal(back.item_set, -split.item_set)
    order = [2, 0, 1]
    assert close(log_mean_divisia(x[:, order], y[:, order]).effect, split.effect[:, order], scale)
    alone = (x.prod(axis=1) > 0) != (y.prod(axis=1) > 0)
    assert not split.effect[alone].any()
    y[:, 1] = x[:, 1]
    assert not log_mean_divisia(x, y).effect[:, 1].any()


def test_a_kernel_of_one_side_goes_wholly_to_the_kernel_set():
    split = log_mean_divisia([[2, 3.0], [4, 1.0], [0, 0]], [[2, 4.0], [0, 1.0], [5, 2.0]])
    assert split.effect[0].tolist() == pytest.approx([0, 2])
    assert split.item_set.tolist() == [0, -4, 10]


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.floats(-100, 100), min_size=2**n, max_size=2**n)))
def test_shapley_is_the_mean_over_all_orders(values):
    n = len(values).bit_length() - 1
    expected = np.zeros(n)
    for order in permutations(range(n)):
        done = 0
        for i in order:
            expected[i] += (values[done | 1 << i] - values[done]) / math.factorial(n)
            done |= 1 << i
    assert close(shapley_values(values), expected, np.abs(values).sum() + 1e-300)
    assert close(shapley_values(values).sum(), values[-1] - values[0], np.abs(values).sum() + 1e-300)
    relabelled = [values[sum(1 << (n - 1 - i) for i in range(n) if s >> i & 1)] for s in range(1 << n)]
    assert close(shapley_values(relabelled), shapley_values(values)[::-1], np.abs(values).sum() + 1e-300)


def test_shapley_wants_every_coalition():
    with pytest.raises(ValueError, match="3 coalitions"):
        shapley_values([1, 2, 3])


FIELDS = ("prefill_s", "prefill_token_s", "prefill_token2_s", "step_s", "context_s", "adapter_s", "gap_s", "clock_mhz")
OF_FIELD = dict(
    zip(
        FIELDS,
        [Factor.PREFILL_COST] * 3 + [Factor.STEP_COST, Factor.CONTEXT_COST, Factor.ADAPTER, Factor.GAP, Factor.CLOCK],
        strict=True,
    )
)


@st.composite
def states(draw):
    values = [draw(st.tuples(*[factor] * len(FIELDS))) for _ in range(2)]
    same = draw(st.sets(st.sampled_from([*FIELDS, "n_in", "n_out"])))
    made = []
    for own in values:
        facts = {name: (values[0] if name in same else own)[i] for i, name in enumerate(FIELDS)}
        made.append(facts)
    tokens = [draw(st.tuples(*[st.lists(st.integers(1, 3000), min_size=3, max_size=3)] * 2)) for _ in range(2)]
    result = []
    for facts, (n_in, n_out) in zip(made, tokens, strict=True):
        model = TimeModel(**facts, reference_clock_mhz=1.0, prefill_elasticity=0.9, decode_elasticity=0.3)
        n_in = tokens[0][0] if "n_in" in same else n_in
        n_out = tokens[0][1] if "n_out" in same else n_out
        result.append(State(model=model, n_in=np.array(n_in), n_out=np.array(n_out)))
    return result, same


@settings(max_examples=60)
@given(states())
def test_shapley_of_the_time_model_is_exact_null_and_symmetric_in_time(drawn):
    (state0, state1), same = drawn
    split, back = shapley(state0, state1), shapley(state1, state0)
    scale = np.maximum(split.model0_s, split.model1_s)
    assert len(split.factors) == 8
    assert close(split.effect_s.sum(axis=0), split.model1_s - split.model0_s, scale)
    assert close(back.effect_s, -split.effect_s, scale)
    assert close(split.model1_s, state1.model.time(state1.n_in, state1.n_out), scale)
    for name, of in {**OF_FIELD, "n_in": Factor.N_IN, "n_out": Factor.N_OUT}.items():
        fields = [field for field, other in OF_FIELD.items() if other is of] or [name]
        if same.issuperset(fields):
            assert not split.of(of).any()
    whole = split.summed()
    assert close(
        whole.log_shares().sum(), math.log(whole.model1_s / whole.model0_s), np.abs(whole.log_shares()).sum() + 1
    )


def test_log_shares_and_the_residuals_sum_to_the_observed_log_ratio():
    model0 = TimeModel(step_s=0.03, context_s=1e-5)
    model1 = replace(model0, step_s=0.033)
    n = np.array([100, 300])
    # Outliers lengthen both states alike, by 4 %: a matter of neither the factors nor the residual.
    seen = [1.04 * model.time(n, 33) for model in (model0, model1)]
    split = shapley(State(model=model0, n_in=n, n_out=33), State(model=model1, n_in=n, n_out=33), *seen).summed()
    assert split.factors == (Factor.N_IN, Factor.N_OUT, Factor.PREFILL_COST, Factor.STEP_COST, Factor.CONTEXT_COST)
    assert split.residual_log_share() == pytest.approx(0, abs=1e-12)
    assert split.log_shares().sum() == pytest.approx(math.log(seen[1].sum() / seen[0].sum()))
    assert split.residual_s == pytest.approx(0.04 * split.effect_s.sum())
    assert shapley(State(model=model0, n_in=n, n_out=33), State(model=model1, n_in=n, n_out=33)).residual_s is None


def test_the_time_of_an_item_is_the_sum_of_its_steps():
    model = TimeModel(
        prefill_s=0.01, prefill_token_s=1e-3, prefill_token2_s=1e-6, step_s=0.03, context_s=1e-5, adapter_s=0.002,
        gap_s=0.001, clock_mhz=1000.0, reference_clock_mhz=1500.0, prefill_elasticity=1.0, decode_elasticity=0.5,
    )  # fmt: skip
    steps = sum(0.03 + 0.002 + 1e-5 * (200 + i) for i in range(1, 48))
    expected = (0.01 + 0.2 + 0.04) * 1.5 + steps * 1.5**0.5 + 0.001 * 48
    assert model.time(200, 48) == pytest.approx(expected, rel=1e-12)
    assert TimeModel(step_s=0.03).time(200, 48) == pytest.approx(0.03 * 47)


def test_absent_factors_stay_out_and_half_measured_ones_are_refused():
    plain = TimeModel(step_s=0.03)
    state = State(model=plain, n_in=10, n_out=20)
    with_gap = State(model=replace(plain, gap_s=0.001), n_in=10, n_out=20)
    assert Factor.GAP not in shapley(state, state).factors
    assert shapley(state, state).of(Factor.CLOCK) is None
    with pytest.raises(ValueError, match="gap_s was measured in one"):
        shapley(state, with_gap)
    clocks = [replace(plain, clock_mhz=1000.0, reference_clock_mhz=f) for f in (1000.0, 1100.0)]
    with pytest.raises(ValueError, match="reference_clock_mhz differs"):
        shapley(*[State(model=model, n_in=10, n_out=20) for model in clocks])
    with pytest.raises(ValueError, match="given together"):
        TimeModel(step_s=0.03, clock_mhz=1000.0)


def test_an_adapter_kept_apart_is_the_whole_of_its_extra_cost():
    base = TimeModel(step_s=0.030, context_s=1e-5)
    measured = replace(base, step_s=0.0315).beside(base)
    split = shapley(State(model=base, n_in=50, n_out=11), State(model=measured, n_in=50, n_out=11))
    assert split.of(Factor.STEP_COST) == 0
    assert split.of(Factor.ADAPTER) == pytest.approx(0.0015 * 10)


def test_many_processes_and_items_at_once():
    model = TimeModel(step_s=np.array([[0.03], [0.04]]), context_s=1e-5)
    n = np.array([10.0, 20.0, 30.0])
    split = shapley(State(model=model, n_in=n, n_out=9), State(model=replace(model, step_s=0.05), n_in=n, n_out=9))
    assert split.effect_s.shape == (5, 2, 3)
    assert split.summed().of(Factor.STEP_COST).tolist() == pytest.approx([0.02 * 8 * 3, 0.01 * 8 * 3])
    assert split.summed().summed().model0_s == pytest.approx(model.time(n, 9).sum())


# ------------------------------------------------------------------------------------------------------------ fitting

TRUE = TimeModel(prefill_s=0.005, prefill_token_s=1e-3, prefill_token2_s=1e-6, step_s=0.03, context_s=1e-5)


def samples(n_in, model=TRUE, noise=0.0, steps=24, seed=1):
    rng = np.random.default_rng(seed)
    n_in = np.asarray(n_in, dtype=float)
    context = (n_in[:, None] + np.arange(1, steps + 1)).ravel()
    prefill = model.prefill_time(n_in) * np.exp(noise * rng.normal(size=n_in.shape))
    step = (model.step_s + model.context_s * context) * np.exp(noise * rng.normal(size=context.shape))
    return n_in, prefill, context, step


def test_costs_are_found_again_exactly_without_noise():
    fit = fit_time_model(*samples([50, 80, 120, 200, 350, 500]))
    assert (fit.prefill_terms, fit.notes) == (3, ())
    for name in FIELDS[:5]:
        assert getattr(fit.model, name) == pytest.approx(getattr(TRUE, name), rel=1e-6)


def test_slow_outliers_do_not_lengthen_the_costs():
    n_in, prefill, context, step = samples(np.geomspace(60, 500, 60), noise=0.02)
    rng = np.random.default_rng(2)
    clean = fit_time_model(n_in, prefill, context, step).model
    step, prefill = step.copy(), prefill.copy()
    step[rng.random(len(step)) < 0.05] *= 3
    prefill[::20] *= 2
    spoilt = fit_time_model(n_in, prefill, context, step).model
    assert spoilt.time(200, 50) == pytest.approx(clean.time(200, 50), rel=0.002)
    assert spoilt.time(200, 50) == pytest.approx(TRUE.time(200, 50), rel=0.005)
    assert np.mean(step) > 1.08 * (clean.step_s + clean.context_s * context.mean())  # the mean is far off


@pytest.mark.parametrize(("in_both", "without"), [(True, 0.007), (False, 0.0)])
def test_slow_samples_do_not_shift_prefill_against_decode(in_both, without):
    # A third of the samples runs slower, mostly by what makes a prefill, but not a step, an outlier.
    rng = np.random.default_rng(2)
    n_in = np.repeat(np.arange(100, 600, 50), 40)
    slow = np.exp(rng.normal(0, 0.01, len(n_in)) + (rng.random(len(n_in)) < 0.3) * rng.exponential(0.1, len(n_in)))
    sample = np.repeat(np.arange(len(n_in)), 20)
    context = n_in[sample] + np.tile(np.arange(1, 21), len(n_in))
    prefill = 1e-3 * n_in * (slow if in_both else 1.0) * np.exp(rng.normal(0, 0.004, len(n_in)))
    step = (0.03 + 1e-5 * context) * slow[sample] * np.exp(rng.normal(0, 0.05, len(sample)))

    def shift(**more):
        model = fit_time_model(n_in, prefill, context, step, prefill_terms=1, **more).model
        return np.log(model.prefill_token_s / 1e-3) - np.log((model.step_s + 300 * model.context_s) / 0.033)

    assert abs(shift()) > without
    if in_both:
        assert abs(shift(step_sample=sample)) < 0.003
    else:  # what decoding alone suffers is not taken off prefill
        assert abs(shift(step_sample=sample)) < abs(shift())


@pytest.mark.parametrize("sample", [[0, 0, 1], [0, 0, 1, 9], [1, 0, 0, 1], [-1, 0, 0, 1]])
def test_steps_that_belong_to_no_prefill_are_refused(sample):
    with pytest.raises(ValueError, match="step_sample"):
        fit_time_model([10, 20], [1.0, 2.0], [11, 12, 21, 22], [1.0, 1.0, 1.0, 1.0], step_sample=sample)


@pytest.mark.parametrize(
    ("n_in", "terms", "form"),
    [([100, 150, 200], 2, "p0 + p1 N:"), ([100] * 6, 1, "p1 N:"), ([100, 101, 102], 1, "p1 N:")],
)
def test_fewer_terms_where_the_prompts_do_not_tell_them_apart(n_in, terms, form):
    fit = fit_time_model(*samples(n_in, noise=0.001))
    assert fit.prefill_terms == terms
    assert form in fit.notes[0].message
    assert fit.model.prefill_time(np.mean(n_in)) == pytest.approx(TRUE.prefill_time(np.mean(n_in)), rel=0.03)


def test_terms_are_dropped_where_the_time_would_fall_and_can_be_bounded():
    n_in, prefill, context, step = samples([50, 100, 200, 300, 400, 500])
    bent = prefill.copy()
    bent[-1] = bent[-2] = bent[-3] * 0.9
    fit = fit_time_model(n_in, bent, context, step)
    assert fit.prefill_terms < 3
    assert "fall with N_in" in fit.notes[0].message
    assert fit_time_model(n_in, prefill, context, step, prefill_terms=2).model.prefill_token2_s == 0


def test_one_context_alone_leaves_its_cost_unknown():
    n_in, prefill, _, _ = samples([100, 200, 300])
    fit = fit_time_model(n_in, prefill, [100, 101, 102], [0.031, 0.031, 0.031])
    assert fit.model.context_s is None
    assert fit.model.step_s == pytest.approx(0.031)
    assert fit.notes[-1].code == "context-cost-unknown"


def test_gap_and_clock_are_taken_out_and_given_back():
    n_in, prefill, context, step = samples([50, 80, 120, 200, 350, 500])
    slow = 1500 / 1200
    gap = 0.002
    fit = fit_time_model(
        n_in, prefill * slow + gap, context, step * slow**0.4 + gap, gap_s=gap, clock_mhz=1200.0,
        reference_clock_mhz=1500.0, prefill_elasticity=1.0, decode_elasticity=0.4,
    )  # fmt: skip
    assert fit.model.step_s == pytest.approx(TRUE.step_s, rel=1e-6)
    observed = prefill[0] * slow + gap + sum(0.002 + (0.03 + 1e-5 * (50 + i)) * slow**0.4 for i in range(1, 10))
    assert fit.model.time(50, 10) == pytest.approx(observed, rel=1e-6)


def test_processes_are_fitted_at_once_as_each_alone():
    n_in, prefill, context, step = samples([50, 80, 120, 200, 350, 500], noise=0.01)
    both = fit_time_model(n_in, np.stack([prefill, 2 * prefill]), context, np.stack([step, 2 * step])).model
    alone = fit_time_model(n_in, prefill, context, step).model
    assert both.step_s.tolist() == pytest.approx([alone.step_s, 2 * alone.step_s], rel=1e-6)
    assert both.prefill_token_s.shape == (2,)


def test_samples_that_cannot_be_fitted_are_refused():
    good = samples([50, 100, 200])
    with pytest.raises(ValueError, match="decode steps: token counts"):
        fit_time_model(good[0], good[1], good[2][:-1], good[3])
    with pytest.raises(ValueError, match="a prefill takes no time"):
        fit_time_model(good[0], good[1] * 0, good[2], good[3])
    with pytest.raises(ValueError, match="gap"):
        fit_time_model(*good, gap_s=1.0)
    with pytest.raises(ValueError, match="no prefill"):
        fit_time_model([], [], good[2], good[3])


# --------------------------------------------------------------------------------------------------------- simulation


def simulation():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "attribution_simulation.py"
    spec = importlib.util.spec_from_file_location("attribution_simulation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_planted_effects_are_covered():
    # 40 experiments: 95 % shows as 82 % or more in all but one of a thousand.
    sim = simulation()
    design = sim.Design(processes=3, languages=8, tasks=1, blocks=1)
    result = sim.tables(design, sim.run(design, sim.Noise(), sim.Plant(), 40, (3,)))
    effects = {name: row for name, row in result["effects"].items() if not name.startswith("WRONG")}
    covered = {name for name, row in effects.items() if "coverage" in row}
    assert len(covered) > 50
    for name, row in effects.items():
        assert name not in covered or row["coverage"] > 0.8, (name, row)
        assert abs(row["bias"]) <= 4.5 * row["bias_error"] + 1e-12, (name, row)
    assert {f"{arm}: Shapley gap" for arm in ("A/A", "adapter", "tuned")} <= covered
    assert effects["adapter: Shapley adapter"]["truth"] > 0.015
    assert result["rates"]["false effect: A/A"] < 0.2


def test_an_experiment_of_an_unfinished_study_with_arms_apart_is_counted():
    sim = simulation()
    design = sim.Design(processes=3, languages=8, tasks=1, blocks=1, unfinished=True, apart=True, on_gpu=False)
    result = sim.tables(design, sim.run(design, sim.Noise(), sim.Plant(), 1, (3,)))
    assert result["effects"]["A/A: total, every language"]["estimates"] == 1
