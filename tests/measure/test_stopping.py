"""Stop rules are fed numbers and say why they end."""

import numpy as np
import pytest

from tokprof.profiler.measure.stopping import StopLimits, StopState, relative_half_width
from tokprof.profiler.record import Phase, StopRule


def feed(limits, durations_ns):
    state = StopState(limits)
    for duration in durations_ns:
        stop = state.add({Phase.PREFILL: 1000, Phase.DECODE: int(duration)}, int(duration) + 1000)
        if stop is not None:
            return stop
    return None


def test_a_fixed_count_ignores_precision():
    stop = feed(StopLimits(repetition_count=3), [100] * 10)
    assert (stop.rule, stop.repetition_count) == (StopRule.FIXED_COUNT, 3)


def test_equal_times_stop_at_the_minimum_count():
    stop = feed(StopLimits(minimum_count=4), [100] * 10)
    assert (stop.rule, stop.repetition_count) == (StopRule.PRECISION, 4)


def test_precision_waits_for_the_noisier_phase():
    noisy = 1e6 * (1 + 0.05 * np.random.default_rng(1).standard_normal(4000))
    stop = feed(StopLimits(relative_precision=0.01, plateau_count=10_000, time_limit_s=1e9), noisy)
    assert stop.rule is StopRule.PRECISION
    assert 40 < stop.repetition_count < 250  # (1.96 * 5 % / 1 %) ** 2 = 96
    assert "decode" in stop.detail


@pytest.mark.parametrize("spread", [0.01, 0.015, 0.02, 0.03])
def test_a_stop_by_precision_keeps_what_it_states_in_95_percent(spread):
    random = np.random.default_rng(7)
    count, missed = 0, 0
    for _ in range(800):
        state, seen, stop = StopState(StopLimits(relative_precision=0.01, time_limit_s=1e9)), [], None
        while stop is None:
            seen.append(int(random.normal(1e9, spread * 1e9)))
            stop = state.add({Phase.DECODE: seen[-1]}, 1)
        if stop.rule is StopRule.PRECISION:
            count += 1
            missed += abs(np.mean(seen) / 1e9 - 1) > 0.01
    assert count > 100
    assert missed / count <= 0.05 + 1.645 * (0.05 * 0.95 / count) ** 0.5


def test_the_time_limit_ends_a_noisy_run():
    noisy = [1e9, 2e9] * 50
    stop = feed(StopLimits(time_limit_s=4.0), noisy)
    assert (stop.rule, stop.repetition_count) == (StopRule.TIME_LIMIT, 3)
    assert stop.detail == "4 s passed; decode scatters too much to know more"
    assert feed(StopLimits(time_limit_s=1.5), noisy).detail.endswith("; too few repetitions to know more")


def test_a_spread_that_no_longer_shrinks_is_a_plateau():
    stop = feed(StopLimits(relative_precision=1e-4, time_limit_s=1e9), [1e6, 1.1e6] * 100)
    assert stop.rule is StopRule.NOISE_PLATEAU
    assert stop.repetition_count >= 20


def test_one_repetition_never_looks_precise():
    assert relative_half_width([1.0]) == float("inf")
    assert feed(StopLimits(minimum_count=1), [100]) is None


def test_the_half_width_is_students():
    # t(0.975, 3) = 3.182446; sd of 1, 2, 3, 4 = 1.290994; mean 2.5
    assert relative_half_width([1, 2, 3, 4]) == pytest.approx(3.182446 * 1.290994 / 2 / 2.5, rel=1e-6)
