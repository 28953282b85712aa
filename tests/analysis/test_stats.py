"""Intervals, tests and verdicts against scipy's own, against figures known beforehand, and by property."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from tokprof.profiler.analysis import stats

numbers = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


def test_hodges_lehmann_is_the_median_of_pairwise_means():
    values = [1.0, 2.0, 7.0]
    means = [1.0, 1.5, 4.0, 2.0, 4.5, 7.0]
    assert stats.hodges_lehmann(values) == np.median(means)
    assert stats.hodges_lehmann([[1.0, 3.0], [5.0, 5.0]]).tolist() == [2.0, 5.0]
    assert abs(stats.hodges_lehmann([*np.linspace(-1, 1, 20), 1e6])) < 0.2  # one wild value does little


@pytest.mark.parametrize(("values", "words"), [([], "no values"), ([1.0, math.nan], "not finite")])
def test_what_cannot_be_estimated_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        stats.hodges_lehmann(values)
    with pytest.raises(ValueError, match=words):
        stats.student(values)


@given(numbers)
def test_students_interval_and_p_are_scipys(values):
    estimate = stats.student(values)
    sd = np.std(values, ddof=1)
    if sd < 1e-9:
        return
    low, high = reference.t.interval(0.95, len(values) - 1, np.mean(values), sd / len(values) ** 0.5)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert stats.p_value(estimate) == pytest.approx(reference.ttest_1samp(values, 0).pvalue, rel=1e-7, abs=1e-300)
    assert estimate.at(0.9).low > low
    assert (estimate.count, estimate.unit) == (len(values), "process")


@given(numbers, numbers)
def test_welch_is_scipys(first, second):
    estimate = stats.welch(first, second)
    if np.std(first) < 1e-9 or np.std(second) < 1e-9:
        return
    same = reference.ttest_ind(first, second, equal_var=False)
    assert stats.p_value(estimate) == pytest.approx(same.pvalue, rel=1e-6, abs=1e-300)
    assert estimate.low == pytest.approx(same.confidence_interval().low, rel=1e-9, abs=1e-12)
    swapped = stats.welch(second, first)
    assert swapped.value == pytest.approx(-estimate.value, rel=1e-9, abs=1e-15)


@given(numbers, st.floats(0.01, 1))
def test_equivalence_holds_exactly_where_the_interval_of_90_percent_lies_within(values, margin):
    estimate = stats.student(values)
    narrow = estimate.at(0.9)
    if min(abs(narrow.high - margin), abs(narrow.low + margin)) < 1e-9:
        return
    assert (stats.tost(estimate, margin) <= 0.05) == (-margin <= narrow.low and narrow.high <= margin)
    assert stats.equivalence_margin(estimate) == pytest.approx(max(-narrow.low, narrow.high))


def test_one_process_has_a_value_and_no_interval():
    estimate = stats.over_processes([np.array([0.1, 0.2])])
    assert estimate.value == pytest.approx(0.15)
    assert estimate.low is estimate.high is estimate.sd is stats.p_value(estimate) is stats.tost(estimate, 0.1) is None
    assert stats.detectable_effect(estimate) is stats.equivalence_margin(estimate) is None
    assert str(stats.verdict(estimate, None, None, 0.1)) == "inconclusive"
    assert stats.welch([0.1], [0.2, 0.3]).low is None
    assert stats.over_languages(np.ones((1, 4))).low is None


def test_what_is_the_same_everywhere_is_known_exactly():
    nothing = stats.student([0.0, 0.0, 0.0])
    assert (nothing.low, nothing.high, stats.p_value(nothing), stats.tost(nothing, 0.01)) == (0, 0, 1, 0)
    something = stats.student([0.5, 0.5])
    assert (stats.p_value(something), stats.tost(something, 0.01)) == (0, 1)
    assert stats.over_languages(np.zeros((3, 4))).high == 0
    assert stats.welch([1.0, 1.0], [1.0, 1.0]).high == 0


def test_holm_adjusts_in_order_and_leaves_out_what_has_no_p():
    assert stats.holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_never_lowers_a_p_nor_changes_their_order(p):
    adjusted = stats.holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert np.all(np.diff(np.array(adjusted)[np.argsort(p, kind="stable")]) >= 0)
    assert all(a <= len(p) * b or a == 1 for a, b in zip(adjusted, p, strict=True))


def test_the_words_of_a_verdict():
    sure, wide = stats.student([0.004, 0.005, 0.006]), stats.student([-0.1, 0.1, 0.05])
    margin = math.log1p(0.01)
    assert str(stats.verdict(sure, 0.01, 0.2, margin)) == "effect"
    assert str(stats.verdict(sure, 0.01, 0.01, margin)) == "effect, though below the margin of ±1 %"
    assert str(stats.verdict(sure, 0.2, 0.01, margin)) == "equivalent within ±1 %"
    assert str(stats.verdict(wide, 0.2, 0.2, margin)) == "inconclusive"
    assert str(stats.verdict(wide, 0.2, 0.01, math.log1p(0.0125))) == "equivalent within ±1.25 %"
    assert stats.verdict(sure, 0.01, 0.01, margin).word == "effect"


@pytest.mark.parametrize(("count", "power", "alpha"), [(3, 0.8, 0.05), (5, 0.8, 0.05), (20, 0.8, 0.05), (8, 0.3, 0.1)])
def test_the_minimal_detectable_effect_has_its_power(count, power, alpha):
    sd = 0.7
    effect = stats.minimal_detectable_effect(sd, count, alpha=alpha, power=power)
    shift, critical = effect / (sd / count**0.5), reference.t.ppf(1 - alpha / 2, count - 1)
    reached = reference.nct.sf(critical, count - 1, shift) + reference.nct.cdf(-critical, count - 1, shift)
    assert reached == pytest.approx(power, abs=1e-6)
    assert stats.minimal_detectable_effect(sd, 1) is None


def test_designs_detect_what_was_simulated_beforehand():
    # Simulated figures for 5x8, 8x8, 10x10 and 20x10 processes x blocks, of components that fit all four.
    components = stats.VarianceComponents(between_sd=0.00268, within_sd=0.0046, process_count=5, block_count=8)
    expected = {(5, 8): 0.0052, (8, 8): 0.0037, (10, 10): 0.0031, (20, 10): 0.0020}
    for (processes, blocks), effect in expected.items():
        assert components.detectable_effect(processes, blocks) == pytest.approx(effect, rel=0.05)


def test_variance_components_are_found_again_and_outliers_do_not_swell_them():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(40):
        blocks = rng.normal(0, 0.004, (12, 1)) + rng.normal(0, 0.01, (12, 16))
        blocks[rng.random(blocks.shape) < 0.02] += 0.3
        found.append(stats.variance_components(list(blocks)))
    assert np.mean([c.within_sd for c in found]) == pytest.approx(0.01, rel=0.08)
    assert np.mean([c.between_sd**2 for c in found]) ** 0.5 == pytest.approx(0.004, rel=0.15)
    assert (found[0].process_count, found[0].block_count) == (12, 16)
    assert stats.variance_components([np.ones(4)]) is None
    assert stats.variance_components([np.ones(1), np.ones(1)]) is None


def test_a_language_of_its_own_counts_in_the_mean_and_is_no_scatter():
    rng = np.random.default_rng(6)
    groups = [np.repeat(["c", "odin", "roc", "zig"], 6)] * 5
    blocks = [rng.normal(0, 0.001, 24) + 0.4 * (labels == "roc") for labels in groups]
    pooled = stats.over_processes(blocks, groups)
    assert pooled.value == pytest.approx(0.1, abs=0.002)  # robust over all blocks alike, the quarter would be lost
    assert pooled.mean_value == pytest.approx(0.1, abs=0.002)
    assert pooled.sd < 0.002
    assert stats.over_processes(blocks).value < 0.05
    assert stats.variance_components(blocks, groups).within_sd < 0.002


def test_with_few_blocks_of_a_language_its_mean_is_taken_as_it_is():
    groups = [np.array(["c", "roc", "roc"])] * 2
    blocks = [np.array([0.0, 0.2, 0.4]), np.array([0.1, 0.3, 0.3])]
    assert stats.process_values(blocks, groups).tolist() == pytest.approx([0.15, 0.2])
    assert stats.over_processes(blocks[:1], groups[:1]).value == pytest.approx(0.15)


def test_a_wild_block_does_little_where_its_language_has_others():
    rng = np.random.default_rng(8)
    groups = [np.repeat(np.arange(8), 2)] * 4
    blocks = [rng.normal(0, 0.001, 16) for _ in groups]
    before = stats.process_values(blocks, groups)
    blocks[1][3] += 5
    assert np.abs(stats.process_values(blocks, groups) - before).max() < 0.002
    assert stats.over_processes(blocks, groups).mean_value > 0.05


def test_processes_of_unequal_length_and_missing_languages():
    blocks = [np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.3])]
    assert stats.process_values(blocks).tolist() == pytest.approx([0.2, 0.2])
    groups = [np.array(["a", "a", "b"]), np.array(["a", "b"])]
    assert stats.process_values(blocks, groups).tolist() == pytest.approx([0.225, 0.2])
    four = stats.process_values([*blocks, *blocks, np.array([0.5])], [*groups, *groups, np.array(["b"])])
    assert np.isfinite(four).all()
    assert stats.over_processes(blocks, groups).mean_value == pytest.approx((0.225 + 0.2) / 2)


def test_what_a_process_does_to_all_languages_widens_a_claim_about_languages():
    language = np.linspace(-0.001, 0.001, 8)
    alike = np.tile(language, (4, 1))
    shifted = alike + np.array([[-0.02], [-0.01], [0.01], [0.02]])
    assert stats.over_languages(shifted).error > 5 * stats.over_languages(alike).error
    values = shifted.mean(axis=0)
    did = stats.difference_in_differences(values[:4], values[4:])
    assert did.unit == "language"
    assert did.error == pytest.approx(stats.welch(alike.mean(axis=0)[:4], alike.mean(axis=0)[4:]).error)  # it cancels


def test_an_outlying_cell_does_little_and_a_language_or_process_of_its_own_all():
    rng = np.random.default_rng(4)
    table = rng.normal(0, 0.01, (5, 8))
    table[:, 3] += 0.3
    table[2] += 0.2
    np.testing.assert_allclose(stats.without_outliers(table), table, atol=0.02)
    wild = table.copy()
    wild[1, 6] += 1.0
    kept = stats.without_outliers(wild)
    assert abs(kept.mean() - table.mean()) < 0.002 < 0.02 < abs(wild.mean() - table.mean())
    exact = np.zeros((3, 4))
    exact[1, 1] = 1.0
    np.testing.assert_array_equal(stats.without_outliers(exact), exact)  # nothing scatters: nothing is judged
    np.testing.assert_array_equal(stats.without_outliers(wild[:2]), wild[:2])  # of two nobody knows which is wrong
    tables = rng.normal(0, 1, (300, 3, 8))
    brought_back = np.mean([np.abs(stats.without_outliers(one) - one) > 1e-9 for one in tables])
    assert brought_back < 0.04  # of normal noise hardly a cell


@pytest.mark.parametrize("count", [3, 4, 8, 9, 18])
def test_the_variance_of_a_median_is_that_of_medians(count):
    rng = np.random.default_rng(count)
    draws = rng.normal(0, 1, (count, 20_000))
    assert np.mean(stats.variance_of_median(draws)) == pytest.approx(np.median(draws, axis=0).var(), rel=0.07)
    late = draws + 30 * (rng.random(draws.shape) < 0.02)
    if count >= 8:  # the median hardly moves, a plain variance is 18 times what it was
        most = 1.5 if count > 9 else 4  # three late of eight may be a mode of their own
        assert np.mean(stats.variance_of_median(late)) < most * np.mean(stats.variance_of_median(draws))
    np.testing.assert_array_equal(stats.variance_of_median(np.ones((count, 2))), [0, 0])


@pytest.mark.parametrize("share", [0.5, 0.65, 0.8])
def test_the_median_of_two_modes_is_known_no_better_than_these_are_apart(share):
    """Else two samples of the same noise differ in up to two thirds of all cases."""
    rng = np.random.default_rng(1)
    draws = 1.0 + (rng.random((2, 20, 4000)) > share) + rng.normal(0, 0.02, (2, 20, 4000))
    error = np.sqrt(sum(stats.variance_of_median(side) for side in draws))
    apart = np.abs(np.median(draws[0], axis=0) - np.median(draws[1], axis=0))
    assert np.mean(apart > 2.02 * error) < 0.06


@pytest.mark.parametrize("processes", [3, 8])
def test_intervals_over_processes_and_languages_cover(processes):
    # A small part of benchmarks/attribution_simulation.py; 600 experiments tell 95 % from 91 and from 99.
    rng = np.random.default_rng((1, processes))
    held, wrong = [], []
    for _ in range(600):
        language = rng.normal(0, 0.006, 12)
        z = rng.normal(0, 0.004, (processes, 1)) + language + rng.normal(0, 0.008, (processes, 12))
        estimates = (
            (stats.over_languages(z), 0.0),
            (stats.student(z.mean(axis=1)), language.mean()),  # of these languages, not of their class
            (stats.difference_in_differences(z[:, :6].mean(axis=0), z[:, 6:].mean(axis=0)), 0.0),
        )
        held.append([e.low <= truth <= e.high for e, truth in estimates])
        every = stats.student(z.ravel())
        wrong.append(every.low <= 0 <= every.high)
    assert np.all((np.mean(held, axis=0) > 0.925) & (np.mean(held, axis=0) < 0.98)), np.mean(held, axis=0)
    assert np.mean(wrong) < 0.9


def test_of_a_single_language_the_values_are_those_of_its_blocks():
    blocks = list(np.random.default_rng(4).normal(0, 1, (5, 6)))
    alone = stats.process_values(blocks, [np.full(6, 3)] * 5)
    assert alone == pytest.approx(stats.process_values(blocks), abs=1e-12)
