"""Energy of a window, on samples of a counter whose truth is known."""

from typing import Any

import numpy as np
import pytest

from tokprof.profiler.analysis.energy import energy_of_window, integrate_power_mj, required_window_ns
from tokprof.profiler.record import Energy, Phase, PowerSamples

SECOND = 1_000_000_000
MS = 1_000_000


def samples(
    power_mw: float = 300_000,
    *,
    period_ms: int = 50,
    counter_period_ms: int = 100,
    seconds: float = 40,
    counter_scale: float = 1.0,
    begin_ns: int = 7_000 * SECOND,
    phase_ms: int = 0,
    wave: Any = None,
    source: str = "instant",
) -> PowerSamples:
    """Sample a device every ``period_ms``; its counter moves every ``counter_period_ms``. ``wave`` maps s to mW."""
    time_ns = begin_ns + np.arange(0, int(seconds * SECOND), period_ms * MS) + phase_ms * MS
    fine_s = np.arange(0, seconds + 1, 0.001)
    fine_mw = np.full(len(fine_s), power_mw) if wave is None else wave(fine_s)
    fine_mj = np.concatenate(([0], np.cumsum(fine_mw[:-1]) * 0.001))
    at_s = (time_ns - begin_ns) / SECOND
    updated_s = np.floor(at_s * 1000 / counter_period_ms + 1e-9) * counter_period_ms / 1000
    return PowerSamples(
        time_ns=time_ns,
        power_mw=np.interp(at_s, fine_s, fine_mw),
        energy_mj=10**9 + counter_scale * np.interp(updated_s, fine_s, fine_mj),
        power_source=source,
    )


def window(power: PowerSamples | None, start_s: float, end_s: float, counter_period_ms: float | None = 100) -> Energy:
    return energy_of_window(
        power,
        7_000 * SECOND + int(start_s * SECOND),
        7_000 * SECOND + int(end_s * SECOND),
        None if counter_period_ms is None else int(counter_period_ms * MS),
        phase=Phase.DECODE,
        repetition_count=20,
        token_count=640,
    )


def test_the_counters_difference_is_the_energy_and_the_truth_lies_within_the_error() -> None:
    energy = window(samples(), 5, 35)
    assert energy.energy_mj == pytest.approx(300_000 * 30, rel=0.004)
    assert energy.error_mj == pytest.approx(300_000 * 0.1)  # one counter period
    assert abs(energy.energy_mj - 300_000 * 30) <= energy.error_mj
    assert energy.integrated_mj == pytest.approx(300_000 * 30)
    assert energy.window_ns == 30 * SECOND
    assert energy.counter_period_ns == 100 * MS
    assert (energy.phase, energy.repetition_count, energy.token_count) == (Phase.DECODE, 20, 640)
    assert energy.source == "NVML total-energy counter"
    assert energy.reason == ""


@pytest.mark.parametrize("start_s", [5.0, 5.013, 5.049, 5.081])
@pytest.mark.parametrize("counter_period_ms", [20, 100])
@pytest.mark.parametrize("phase_ms", [0, 17])
def test_the_error_holds_wherever_the_window_lies(start_s: float, counter_period_ms: int, phase_ms: int) -> None:
    power = samples(counter_period_ms=counter_period_ms, phase_ms=phase_ms)
    energy = window(power, start_s, start_s + 20, counter_period_ms)
    assert energy.energy_mj is not None
    assert energy.error_mj is not None
    assert abs(energy.energy_mj - 300_000 * 20) <= energy.error_mj
    assert energy.error_mj / energy.energy_mj <= 0.01


def test_the_error_holds_when_power_steps_at_the_edges() -> None:
    power = samples(wave=lambda s: np.where((s >= 10) & (s < 30), 600_000.0, 100_000.0))
    energy = window(power, 10, 30)
    assert energy.energy_mj is not None
    assert energy.error_mj is not None
    assert abs(energy.energy_mj - 600_000 * 20) <= energy.error_mj


def test_a_window_of_a_hundred_periods_is_required() -> None:
    assert required_window_ns(100 * MS) == 10 * SECOND
    assert required_window_ns(20 * MS) == 2 * SECOND
    short = window(samples(), 5, 14.9)
    assert short.energy_mj is None
    assert short.error_mj is None
    assert short.reason == (
        "could not resolve: the window is 9.90 s, the counter moves every 100 ms and wants 10.0 s for 1%"
    )
    assert window(samples(), 5, 15).energy_mj is not None
    assert window(samples(counter_period_ms=20), 5, 14.9, 20).energy_mj is not None


@pytest.mark.parametrize("scale", [0.57, 0.9, 1.12])
def test_counter_and_power_that_disagree_give_no_figure(scale: float) -> None:
    energy = window(samples(counter_scale=scale), 5, 35)
    assert energy.energy_mj is None
    assert energy.error_mj is None
    assert energy.integrated_mj == pytest.approx(300_000 * 30)
    assert energy.reason.startswith(f"refused: the counter says {300 * 30 * scale:.1f} J, integrated power 9000.0 J")


@pytest.mark.parametrize("scale", [0.97, 1.04])
def test_they_may_differ_by_what_the_sensor_promises(scale: float) -> None:
    assert window(samples(counter_scale=scale), 5, 35).energy_mj == pytest.approx(300_000 * 30 * scale, rel=0.01)


def test_averaged_power_may_lag_where_it_steps() -> None:
    def wave(s: Any) -> Any:
        return np.where(s >= 15, 600_000.0, 100_000.0)

    averaged = samples(wave=wave, source="usage (1 s average)")
    lagging = PowerSamples(
        time_ns=averaged.time_ns,
        power_mw=np.interp(averaged.time_ns - SECOND, averaged.time_ns, averaged.power_mw),
        energy_mj=averaged.energy_mj,
        power_source=averaged.power_source,
    )
    assert window(lagging, 14, 25).energy_mj is not None
    instant = PowerSamples(
        time_ns=lagging.time_ns, power_mw=lagging.power_mw, energy_mj=lagging.energy_mj, power_source="instant"
    )
    assert window(instant, 14, 25).energy_mj is None


@pytest.mark.parametrize(
    ("power", "start_s", "end_s", "period_ms", "words"),
    [
        (None, 5, 35, 100, "no NVML samples"),
        (samples(), 5, 45, 100, "do not cover"),
        (samples(), -1, 35, 100, "do not cover"),
        (samples(), 35, 5, 100, "window is empty"),
        (samples(), 5, 35, None, "period is unknown"),
        (samples(power_mw=0), 5, 35, 100, "did not move"),
    ],
)
def test_what_cannot_be_told_is_absent_with_a_reason(
    power: PowerSamples | None, start_s: float, end_s: float, period_ms: float | None, words: str
) -> None:
    energy = window(power, start_s, end_s, period_ms)
    assert energy.energy_mj is None
    assert energy.error_mj is None
    assert words in energy.reason


def without(power: PowerSamples, **changes: Any) -> PowerSamples:
    columns = {"time_ns": power.time_ns, "power_mw": power.power_mw, "energy_mj": power.energy_mj} | changes
    return PowerSamples(**columns, power_source=power.power_source)


def test_a_device_without_counter_or_power_gives_no_figure() -> None:
    no_counter = window(without(samples(), energy_mj=None), 5, 35)
    assert no_counter.energy_mj is None
    assert no_counter.reason == "this device has no energy counter"
    assert no_counter.integrated_mj == pytest.approx(9_000_000)
    no_power = window(without(samples(), power_mw=None), 5, 35)
    assert no_power.energy_mj is None
    assert no_power.integrated_mj is None
    assert "cannot be checked" in no_power.reason


def test_a_counter_that_starts_again_gives_no_figure() -> None:
    power = samples()
    reset = power.energy_mj.copy()
    reset[400:] -= 10**9
    energy = window(without(power, energy_mj=reset), 5, 35)
    assert energy.energy_mj is None
    assert "went backwards" in energy.reason


def test_a_gap_in_the_samples_gives_no_figure_rather_than_a_guess() -> None:
    power = samples()
    gap = power.select((power.time_ns < 7_001 * SECOND) | (power.time_ns > 7_038 * SECOND))
    energy = window(gap, 5, 35)
    assert energy.energy_mj is None
    assert "fewer than two" in energy.reason


def test_power_is_integrated_by_trapezoids_with_interpolated_edges() -> None:
    power = PowerSamples(
        time_ns=np.array([0, SECOND, 2 * SECOND]), power_mw=np.array([100, 300, 300]), power_source="instant"
    )
    assert integrate_power_mj(power, 0, 2 * SECOND) == pytest.approx(200 + 300)
    assert integrate_power_mj(power, SECOND // 2, SECOND) == pytest.approx((200 + 300) / 2 / 2)
    assert integrate_power_mj(power, SECOND + 1, SECOND + 1 + SECOND // 4) == pytest.approx(75)
