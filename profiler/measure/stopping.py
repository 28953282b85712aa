"""When to stop repeating: pure state machines that are fed the time of each repetition.

A rule never looks at a comparison with another run, so it cannot stop on significance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tokprof.profiler.record import Array, Phase, Stop, StopRule

FEW = 3  # repetitions: below it, an interval as wide as the mean itself is their number's doing
LOOK_GROWTH = 1.25  # repetitions at one look at the precision, over those at the look before


@dataclass(frozen=True, slots=True, kw_only=True)
class StopLimits:
    """What ends the clean repetitions; the first rule that is met does.

    ``repetition_count`` fixes the count and silences the others. Otherwise repetitions go on until each phase's mean is
    known to ``relative_precision`` (half-width of its 95 % interval over repetitions of this process), until the spread
    has stopped shrinking (noise plateau), or until ``time_limit_s`` has passed.

    Who looks after each repetition and stops at the first narrow interval stops too often at one that is narrow by
    chance. So precision is looked at only when the count has grown by a quarter, and at few repetitions the interval
    has to be narrower still (:func:`guarded`); then the true mean lies within what was asked in about 95 % of stops.
    """

    repetition_count: int | None = None
    relative_precision: float = 0.01
    time_limit_s: float = 30.0
    minimum_count: int = 5
    plateau_count: int = 10  # repetitions over which the relative spread must have stopped changing
    plateau_change: float = 0.05


@dataclass(slots=True)
class StopState:
    """Collects the phase times of finished repetitions and says when they suffice."""

    limits: StopLimits
    _phase_ns: dict[Phase, list[int]] = field(default_factory=dict)
    _spreads: list[float] = field(default_factory=list)
    _elapsed_ns: int = 0
    _count: int = 0
    _next_look: int = 0

    def add(self, phase_ns: dict[Phase, int], elapsed_ns: int) -> Stop | None:
        """Take one repetition's time per phase and the time it cost in all; return the reason to stop, if any."""
        self._count += 1
        self._elapsed_ns += elapsed_ns
        for phase, duration_ns in phase_ns.items():
            self._phase_ns.setdefault(phase, []).append(duration_ns)
        limits = self.limits
        if limits.repetition_count is not None:
            if self._count >= limits.repetition_count:
                return self._stop(StopRule.FIXED_COUNT, f"{self._count} repetitions, as asked")
            return None
        half_width, phase = self._widest()
        spread = max((relative_spread(values) for values in self._phase_ns.values()), default=0.0)
        self._spreads.append(spread)
        if self._count >= max(limits.minimum_count, self._next_look):
            self._next_look = max(self._count + 1, math.ceil(LOOK_GROWTH * self._count))
            if guarded(half_width, self._count) <= limits.relative_precision:
                asked = f"±{limits.relative_precision:.2%} asked"
                detail = f"the mean of {phase} within this process is known to the {asked}"
                return self._stop(StopRule.PRECISION, detail)
        if self._elapsed_ns >= limits.time_limit_s * 1e9:
            known = f"{phase} known to ±{half_width:.2%}"
            if half_width >= 1:
                few = self._count < FEW
                known = "too few repetitions to know more" if few else f"{phase} scatters too much to know more"
            return self._stop(StopRule.TIME_LIMIT, f"{limits.time_limit_s:g} s passed; {known}")
        if self._count >= 2 * limits.plateau_count:
            window = self._spreads[-limits.plateau_count :]
            if max(window) - min(window) <= limits.plateau_change * max(window):
                detail = f"the spread of {spread:.2%} no longer shrinks; {phase} known to ±{half_width:.2%}"
                return self._stop(StopRule.NOISE_PLATEAU, detail)
        return None

    def interrupted(self) -> Stop:
        """Say that the user ended it."""
        return self._stop(StopRule.INTERRUPTED, f"Ctrl-C after {self._count} finished repetitions")

    @property
    def count(self) -> int:
        """How many repetitions were added."""
        return self._count

    def _widest(self) -> tuple[float, Phase]:
        widths = {phase: relative_half_width(values) for phase, values in self._phase_ns.items()}
        phase = max(widths, key=lambda p: widths[p])
        return widths[phase], phase

    def _stop(self, rule: StopRule, detail: str) -> Stop:
        return Stop(rule=rule, repetition_count=self._count, detail=detail)


def guarded(half_width: float, count: int) -> float:
    """Return a half-width made wider by what a spread estimated from few repetitions and looked at often leaves out."""
    return half_width * math.sqrt(1 + 4 / count)


def relative_spread(values: Sequence[float] | Array) -> float:
    """Return the standard deviation over the mean; infinite for fewer than two values."""
    if len(values) < 2:
        return float("inf")
    return float(np.std(values, ddof=1) / np.mean(values))


def relative_half_width(values: Sequence[float] | Array) -> float:
    """Return the half-width of Student's 95 % interval of the mean, over the mean; infinite below two values."""
    if len(values) < 2:
        return float("inf")
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.975))
    return quantile * relative_spread(values) / float(np.sqrt(len(values)))
