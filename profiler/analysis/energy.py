"""Energy of one phase: the board's counter over a window of repetitions, with an error bar, checked against power.

The counter of total energy moves in steps of its own period (20 ms on one system, 100 ms on another), so a window must
hold many of them. Readings at the window's edges are interpolated between samples. Where counter and integrated power
disagree by more than both can be wrong, no figure is given. The power sensor of A100 and H100 boards looks at only a
quarter of the time (arXiv 2312.02741), which is why power alone makes no figure here.
"""

import numpy as np

from tokprof.profiler.record import Array, Energy, Phase, PowerSamples

# The counter's step may cost this share of a window's energy, which asks for a hundred periods.
QUANTISATION_SHARE = 0.01

# NVIDIA states the accuracy of the power reading as +-5 %; beyond that and the errors below, one of the two is wrong.
AGREEMENT_SHARE = 0.05

# Time over which each source of power is averaged by the driver, hence how far it lags at the window's edges.
AVERAGING_NS = {"instant": 100_000_000, "average": 1_000_000_000, "usage (1 s average)": 1_000_000_000}

SOURCE = "NVML total-energy counter"


def required_window_ns(counter_period_ns: int) -> int:
    """Return how long a window must be for the counter's step to cost under :data:`QUANTISATION_SHARE` of it."""
    return int(np.ceil(counter_period_ns / QUANTISATION_SHARE))


def energy_of_window(
    power: PowerSamples | None,
    start_ns: int,
    end_ns: int,
    counter_period_ns: int | None,
    *,
    phase: Phase,
    repetition_count: int,
    token_count: int,
) -> Energy:
    """Return the energy between two instants, during which a phase was repeated.

    ``token_count`` counts the tokens computed in the window over all repetitions. The error is a bound: the counter may
    be one period late at either edge, and between two samples the power may have been that of either. Where no figure
    can be given, ``energy_mj`` is ``None`` and ``reason`` says why; ``integrated_mj`` is kept beside it.
    """
    energy_mj: float | None = None
    error_mj: float | None = None
    integrated_mj: float | None = None
    reason = ""
    if power is None or not len(power):
        reason = "no NVML samples"
    elif end_ns <= start_ns:
        reason = "the window is empty"
    elif power.time_ns[0] > start_ns or power.time_ns[-1] < end_ns:
        reason = "the NVML samples do not cover the window"
    else:
        integrated_mj = integrate_power_mj(power, start_ns, end_ns)
        energy_mj, error_mj, reason = _by_counter(power, start_ns, end_ns, counter_period_ns)
        if energy_mj is not None and error_mj is not None:
            reason = _disagreement(power, start_ns, end_ns, energy_mj, error_mj, integrated_mj)
        if reason:
            energy_mj = error_mj = None
    return Energy(
        phase=phase,
        window_ns=max(0, end_ns - start_ns),
        repetition_count=repetition_count,
        token_count=token_count,
        energy_mj=energy_mj,
        error_mj=error_mj,
        integrated_mj=integrated_mj,
        counter_period_ns=counter_period_ns,
        source=SOURCE,
        reason=reason,
    )


def _by_counter(
    power: PowerSamples, start_ns: int, end_ns: int, counter_period_ns: int | None
) -> tuple[float | None, float | None, str]:
    """Return energy, its error and, where there is none, why."""
    if power.energy_mj is None:
        return None, None, "this device has no energy counter"
    if counter_period_ns is None:
        return None, None, "the energy counter's period is unknown: it did not move while it was watched"
    window_ns = end_ns - start_ns
    needed_ns = required_window_ns(counter_period_ns)
    if window_ns < needed_ns:
        text = (
            f"could not resolve: the window is {window_ns / 1e9:.2f} s, the counter moves every "
            f"{counter_period_ns / 1e6:.0f} ms and wants {needed_ns / 1e9:.1f} s for {QUANTISATION_SHARE:.0%}"
        )
        return None, None, text
    inside = (power.time_ns >= start_ns) & (power.time_ns <= end_ns)
    if inside.sum() < 2:
        return None, None, "fewer than two NVML samples lie in the window"
    if (np.diff(power.energy_mj[_with_neighbours(inside)]) < 0).any():
        return None, None, "the energy counter went backwards: the driver was reloaded or the device reset"
    at = np.interp([start_ns, end_ns], power.time_ns, power.energy_mj)
    energy_mj = float(at[1] - at[0])
    mean_mw = energy_mj / window_ns * 1e9
    error_mj = mean_mw * counter_period_ns / 1e9 + sum(_edge_error_mj(power, at_ns) for at_ns in (start_ns, end_ns))
    return energy_mj, error_mj, ""


def _with_neighbours(inside: Array) -> slice:
    rows = np.flatnonzero(inside)
    return slice(max(0, int(rows[0]) - 1), int(rows[-1]) + 2)


def _edge_error_mj(power: PowerSamples, at_ns: int) -> float:
    """Bound what interpolating the counter between the two samples around an edge can be wrong by."""
    after = int(np.searchsorted(power.time_ns, at_ns))
    if after == 0 or power.time_ns[after] == at_ns:
        return 0.0
    gap_s = (power.time_ns[after] - power.time_ns[after - 1]) / 1e9
    if power.power_mw is None:
        return 0.0
    # Energy bends most when the power changed at the edge itself; a quarter of gap times change is that bend's height.
    change_mw = abs(int(power.power_mw[after]) - int(power.power_mw[after - 1]))
    return float(gap_s * change_mw / 4)


def integrate_power_mj(power: PowerSamples, start_ns: int, end_ns: int) -> float | None:
    """Integrate power over a window by the trapezoid rule, with interpolated edges; ``None`` without power."""
    if power.power_mw is None or len(power) < 2:
        return None
    inside = (power.time_ns > start_ns) & (power.time_ns < end_ns)
    time_ns = np.concatenate(([start_ns], power.time_ns[inside], [end_ns]))
    power_mw = np.interp(time_ns, power.time_ns, power.power_mw)
    return float(np.sum(np.diff(time_ns) / 1e9 * (power_mw[1:] + power_mw[:-1]) / 2))


def _disagreement(
    power: PowerSamples, start_ns: int, end_ns: int, energy_mj: float, error_mj: float, integrated_mj: float | None
) -> str:
    """Return why counter and power exclude each other, or nothing."""
    if energy_mj == 0:
        return "the energy counter did not move in the window"
    if integrated_mj is None:
        return "the counter cannot be checked: this device tells no power"
    inside = (power.time_ns >= start_ns) & (power.time_ns <= end_ns)
    assert power.power_mw is not None
    spread_mw = float(np.ptp(power.power_mw[inside])) if inside.any() else 0.0
    lag_mj = spread_mw * AVERAGING_NS.get(power.power_source or "", 1_000_000_000) / 1e9
    allowed_mj = AGREEMENT_SHARE * max(energy_mj, integrated_mj) + error_mj + lag_mj
    if abs(energy_mj - integrated_mj) <= allowed_mj:
        return ""
    return (
        f"refused: the counter says {energy_mj / 1e3:.1f} J, integrated power {integrated_mj / 1e3:.1f} J "
        f"({power.power_source}); they may differ by {allowed_mj / 1e3:.1f} J"
    )
