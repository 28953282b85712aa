"""Inference over few processes and few languages: intervals, equivalence, multiplicity, what a design can detect.

Estimates are of natural logarithms of ratios, and so are margins. The unit of replication is a process (every arm
loaded afresh) or, for claims about a class of languages, a language; never a block or a step, which are not
independent.
Every interval here was put to the test of planted effects: ``benchmarks/attribution_simulation.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tokprof.profiler.record import Array

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8

# Variance of the Hodges-Lehmann estimate over that of the mean, where the noise is normal (Hodges and Lehmann 1963).
HODGES_LEHMANN_VARIANCE = float(np.pi / 3)

# A normal distribution's standard deviation over its median absolute deviation.
NORMAL_OVER_MAD = 1.4826


# Processes (or languages) count as a source of scatter of their own where the F test against the rest is below this.
# Simulated with normal noise, nominal 95 % then cover 93 to 97 % with five to twenty processes and eight languages,
# 93 to 97.5 % with three processes, whose own scatter is hardly known, and with two it can be 88 %.
POOLED_ABOVE = 0.20
POOLED_ABOVE_OF_THREE = 0.35

# Robust standard deviations by which a cell of processes x languages may stand out of what its row and column say.
OUTLYING = 3.0
MINORITY = 0.25  # of values that stand far out: with more, the noise has two modes rather than outliers
FEWEST_JUDGED = 8  # values of which one can be told to stand out

TELLING = float(np.log(4))  # half of an interval's width at most; a wider one tells nothing
FACTOR_TOLD = 1e3  # to which something is known, at most: beyond, it does not matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with Student's interval over independent units; with one unit there is no interval.

    ``mean_value`` is the figure beside it that was made of plain means throughout, where ``value`` was not.
    """

    value: float
    low: float | None
    high: float | None
    error: float | None  # standard error of ``value``
    freedom: float | None  # degrees of freedom
    sd: float | None  # between units; None also where two groups of units have one each
    count: int  # of units; of two groups their sum
    unit: str  # "process", "language"
    method: str
    confidence: float = CONFIDENCE
    mean_value: float | None = None

    def known_to(self) -> str | None:
        """Say how well the estimate is known if its interval is too wide to tell anything; ``None`` of any other."""
        if self.low is None or self.high is None or not (self.high - self.low) / 2 > TELLING:
            return None
        half = (self.high - self.low) / 2
        within = half < np.log(FACTOR_TOLD)
        factor = f"{float(f'{np.exp(half):.1g}'):,.0f}" if within else f"over {FACTOR_TOLD:,.0f}"
        return f"known to a factor of {factor} only"

    def at(self, confidence: float) -> "Estimate":
        """Return the same estimate with the interval of another confidence, 0.9 for a test of equivalence at 5 %."""
        if self.error is None or self.freedom is None:
            return replace(self, confidence=confidence)
        half = _t_quantile(self.freedom, confidence) * self.error
        return replace(self, low=self.value - half, high=self.value + half, confidence=confidence)


class VerdictWord(StrEnum):
    """The three things that a report may say of a difference; "no effect" is none of them."""

    EFFECT = "effect"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an estimate tells. ``str()`` gives the words to print."""

    word: VerdictWord
    margin: float | None  # a logarithm, as the estimate; None where equivalence cannot be told
    below_margin: bool  # shown to lie within the margin; an effect can

    def __str__(self) -> str:
        within = "" if self.margin is None else f"±{100 * np.expm1(self.margin):.3g} %"
        if self.word is VerdictWord.EQUIVALENT:
            return f"equivalent within {within}"
        if self.word is VerdictWord.EFFECT and self.below_margin:
            return f"effect, though below the margin of {within}"
        return str(self.word)


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceComponents:
    """Where the scatter of block log differences comes from, robust against single outlying blocks."""

    between_sd: float  # of the processes' true differences
    within_sd: float  # of blocks around their process, as a normal distribution of the same middle would have it
    process_count: int
    block_count: float  # per process, on average

    def sd(self, block_count: float) -> float:
        """Return the standard deviation to expect of a process's value z from so many blocks."""
        return float(np.sqrt(self.between_sd**2 + HODGES_LEHMANN_VARIANCE * self.within_sd**2 / block_count))

    def detectable_effect(
        self, process_count: int, block_count: float, *, alpha: float = ALPHA, power: float = POWER
    ) -> float | None:
        """Return the minimal detectable effect of a design before it is run; see :func:`minimal_detectable_effect`."""
        return minimal_detectable_effect(self.sd(block_count), process_count, alpha=alpha, power=power)


# --------------------------------------------------------------------------------------------------------- estimates


def hodges_lehmann(values: npt.ArrayLike) -> Any:
    """Return the median of the means of all pairs, each value with itself included; over the last axis.

    Shape (..., n) gives (...). It needs n² / 2 numbers. Hodges and Lehmann, Ann. Math. Statist. 34 (1963).

    Raises
    ------
    ValueError
        There is no value, or one is not finite.
    """
    v = _finite(values)
    first, second = _pairs(v.shape[-1])
    return np.median((v[..., first] + v[..., second]) / 2, axis=-1)


def process_values(blocks: Sequence[Array], groups: Sequence[Array] | None = None) -> Array:
    """Return one log difference z per process, shape (processes,).

    ``blocks`` holds each process's ABBA-block log differences. Without ``groups`` z is their Hodges-Lehmann estimate.
    ``groups`` names each block's language: z then estimates the *mean* over the languages of a process. What is
    typical of a language is taken off before the robust step and its mean added back, so that one language with an
    effect of its own is not thrown away as an outlier, and few blocks per language do no harm. Typical is the estimate
    over the *other* processes: with the process's own blocks in it, processes would share their outliers, and three of
    them would scatter up to a fifth less than they should. Where a language has fewer than three other blocks there is
    no telling an outlier from an effect, and z is the plain mean of the languages' own estimates. Where the items of a
    language differ among themselves by more than noise, as with another tokenizer, name items rather than languages:
    of unequal ones Hodges-Lehmann estimates the middle, not the mean.
    """
    if groups is None or len(np.unique(np.concatenate(groups))) == 1:
        return _each(blocks)  # of a single language nothing has to be taken off: it would be added back
    cells, codes = _cells(blocks, groups)
    present = ~np.isnan(cells)
    others = present.sum(axis=(0, 2)) - present.sum(axis=2)
    if np.any((others < 3) & present.any(axis=2)):
        return np.array([_by_group(own[None]).mean() for own in cells])
    centred, added = [], []
    for process, (own, code) in enumerate(zip(blocks, codes, strict=True)):
        names, place = np.unique(code, return_inverse=True)
        typical = _by_group(np.delete(cells, process, axis=0)[:, names])
        centred.append(own - typical[place])
        added.append(float(typical.mean()))
    return np.asarray(_each(centred) + np.array(added))


def student(
    values: npt.ArrayLike,
    *,
    unit: str = "process",
    method: str = "mean of processes, Student's t",
    confidence: float = CONFIDENCE,
    mean_value: float | None = None,
) -> Estimate:
    """Estimate the mean of independent units' values, shape (units,), with Student's interval."""
    v = _finite(values)
    sd = float(v.std(ddof=1)) if len(v) > 1 else None
    error = None if sd is None else sd / float(np.sqrt(len(v)))
    return _estimate(
        float(v.mean()),
        error=error,
        freedom=None if sd is None else len(v) - 1.0,
        sd=sd,
        count=len(v),
        unit=unit,
        method=method,
        confidence=confidence,
        mean_value=mean_value,
    )


def over_processes(
    blocks: Sequence[Array], groups: Sequence[Array] | None = None, *, confidence: float = CONFIDENCE
) -> Estimate:
    """Estimate a log difference from each process's block log differences; the process is the unit.

    See :func:`process_values` for the arguments. ``mean_value`` is made of plain means of blocks (within languages,
    within processes).
    """
    return student(
        process_values(blocks, groups),
        method="Hodges-Lehmann of ABBA blocks, Student's t over processes",
        confidence=confidence,
        mean_value=float(np.mean(_plain_means(blocks, groups))),
    )


def welch(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    unit: str = "process",
    method: str = "difference of independent means, Welch's t",
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Estimate mean(first) - mean(second) of two independent groups of units, with Satterthwaite's freedom.

    For arms that live in separate processes: the processes' ln(seconds) of the one arm and of the other.
    """
    a, b = _finite(first), _finite(second)
    error = freedom = sd = None
    if len(a) > 1 and len(b) > 1:
        part_a, part_b = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
        error = float(np.sqrt(part_a + part_b))
        freedom = float(len(a) + len(b) - 2)
        if error > 0:  # by shares, whose squares are no smaller than a float can be
            share_a, share_b = part_a / (part_a + part_b), part_b / (part_a + part_b)
            freedom = 1 / (share_a**2 / (len(a) - 1) + share_b**2 / (len(b) - 1))
        pooled = (len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)
        sd = float(np.sqrt(pooled / (len(a) + len(b) - 2)))
    return _estimate(
        float(a.mean() - b.mean()),
        error=error,
        freedom=freedom,
        sd=sd,
        count=len(a) + len(b),
        unit=unit,
        method=method,
        confidence=confidence,
    )


def difference_in_differences(
    unseen: npt.ArrayLike, seen: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> Estimate:
    """Estimate [tuned - base on unseen languages] - [tuned - base on seen ones]; the language is the unit.

    Both are log differences of shape (languages,), each the mean over processes: what a process does to all languages
    alike is in both groups and cancels. The two classes hold different languages, so there is nothing to pair.
    """
    return welch(
        unseen,
        seen,
        unit="language",
        method="difference in differences, Welch's t over languages",
        confidence=confidence,
    )


def without_outliers(values: npt.ArrayLike) -> Array:
    """Bring the outlying cells of a table of shape (processes, languages) back to three robust deviations.

    A cell is judged by what its process and its language do in the other cells, by medians (Tukey's median polish), so
    neither a slow process nor a language with an effect of its own is one. The mean of a class of languages would
    otherwise scatter by the one cell that was disturbed. With fewer than three of either nothing can be told to stand
    out, and the table is returned as it is.
    """
    z = _finite(values)
    if min(z.shape) < 3:
        return z
    rest = z.copy()
    for _ in range(3):
        rest -= np.median(rest, axis=1, keepdims=True)
        rest -= np.median(rest, axis=0, keepdims=True)
    # The polish makes some residuals exactly zero; of the others the scale is made.
    deviations = np.abs(rest[np.abs(rest) > 1e-9 * np.abs(rest).max()])
    scale = NORMAL_OVER_MAD * float(np.median(deviations)) if deviations.size else 0.0
    return np.asarray(z - rest + _clipped(rest, np.array(scale)))


def variance_of_median(values: npt.ArrayLike) -> Array:
    """Return the variance of the median over the first axis, (n, ...) giving (...), of noise normal but for outliers.

    It is pi/2 times that of the mean for many values and less for few (the terms beside n are fitted to 200,000 draws
    of 3 to 50 values; with what follows to within 6 %). Values that stand far out move the median as little as nearer
    ones, so of eight or more they are brought back to three robust deviations first. With more than a
    quarter far out the values have two modes rather than outliers, and the median may lie in either: how far the ranks
    are apart that hold it in 95 % of samples then tells.
    """
    v = np.asarray(values, dtype=np.float64)
    n = len(v)
    rest = v - np.median(v, axis=0)
    of_noise = np.pi / 2 / (n + (0.49 if n % 2 else 1.27))
    if n < FEWEST_JUDGED:
        return np.asarray(of_noise * np.var(rest, axis=0, ddof=1))
    clipped = _clipped(rest, n / (n - 0.8) * NORMAL_OVER_MAD * np.median(np.abs(rest), axis=0))
    variance = of_noise * np.var(clipped, axis=0, ddof=1)
    rank = max(0, int(n / 2 - 0.98 * n**0.5))
    ordered = np.sort(v, axis=0)
    two_modes = np.mean(clipped != rest, axis=0) > MINORITY
    return np.asarray(np.where(two_modes, ((ordered[n - 1 - rank] - ordered[rank]) / 1.96) ** 2, variance))


def _clipped(rest: Array, scale: Array) -> Array:
    """Bring deviations back to so many of their scale; where that is 0, as of mostly equal values, none is judged."""
    limit = np.where(scale > 0, OUTLYING * scale, np.inf)
    return np.clip(rest, -limit, limit)


def over_languages(values: npt.ArrayLike, *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the mean log difference of a class of languages, of which those measured are a sample.

    ``values`` has shape (processes, languages). Processes and languages are crossed: all languages of a process share
    what the process does, so scatter among languages alone would miss it. With one process or one language there is no
    interval.
    """
    from scipy.special import fdtrc

    z = _finite(values)
    processes, languages = z.shape
    error = freedom = sd = None
    if processes > 1 and languages > 1:
        rows, columns = z.mean(axis=1), z.mean(axis=0)
        rest = z - rows[:, None] - columns[None, :] + z.mean()
        square = np.array([languages * rows.var(ddof=1), processes * columns.var(ddof=1)])  # mean squares of either
        free = np.array([processes - 1.0, languages - 1.0])
        sum_of_rest, freedom_of_rest = float((rest**2).sum()), float(free.prod())
        # Where processes or languages do not scatter beyond the rest, they are part of it; then Satterthwaite.
        below = np.where(free <= 2, POOLED_ABOVE_OF_THREE, POOLED_ABOVE)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = fdtrc(free, freedom_of_rest, square * freedom_of_rest / sum_of_rest) < below
        freedom_of_rest += float(free[~apart].sum())
        square_of_rest = (sum_of_rest + float((free * square)[~apart].sum())) / freedom_of_rest
        variance = max(square_of_rest + float((square - square_of_rest)[apart].sum()), square_of_rest)
        error = float(np.sqrt(variance / z.size))
        freedom = freedom_of_rest
        if variance > 0:
            shares = np.append(square[apart], square_of_rest) / variance
            freedom = 1 / float((shares**2 / np.append(free[apart], freedom_of_rest)).sum())
        sd = float(columns.std(ddof=1))
    return _estimate(
        float(z.mean()),
        error=error,
        freedom=freedom,
        sd=sd,
        count=languages,
        unit="language",
        method="mean over processes and languages, both random (crossed)",
        confidence=confidence,
    )


# ------------------------------------------------------------------------------------------------- tests and verdicts


def p_value(estimate: Estimate) -> float | None:
    """Return the two-sided p of the estimate being zero; ``None`` where there is no interval."""
    from scipy.special import stdtr

    if estimate.error is None or estimate.freedom is None:
        return None
    if estimate.error == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return float(2 * stdtr(estimate.freedom, -abs(estimate.value) / estimate.error))


def tost(estimate: Estimate, margin: float | None) -> float | None:
    """Return the p of equivalence within ±margin: the larger of two one-sided tests (Schuirmann 1987).

    At most 0.05 exactly where the 90 % interval lies within the margin. ``None`` where there is no interval, or no
    margin.
    """
    from scipy.special import stdtr

    if margin is None or estimate.error is None or estimate.freedom is None:
        return None
    inside = margin - abs(estimate.value)
    if estimate.error == 0:
        return 0.0 if inside > 0 else 1.0
    return float(stdtr(estimate.freedom, -inside / estimate.error))


def equivalence_margin(estimate: Estimate, *, alpha: float = ALPHA) -> float | None:
    """Return the smallest margin within which the estimate counts as equivalent; of A/A, the floor of every margin."""
    interval = estimate.at(1 - 2 * alpha)
    return None if interval.low is None or interval.high is None else max(-interval.low, interval.high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p values of all claims of one report (Holm 1979); a claim without one stays so and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    result: list[float | None] = [None] * len(p_values)
    held = 0.0
    for rank, (p, place) in enumerate(known):
        held = max(held, min(1.0, p * (len(known) - rank)))
        result[place] = held
    return result


def verdict(
    estimate: Estimate, p: float | None, p_equivalence: float | None, margin: float | None, *, alpha: float = ALPHA
) -> Verdict:
    """Say what an estimate tells, from its p values, both adjusted for the claims of the report.

    A difference can be told from zero and yet be shown to be within the margin. Then "effect" wins, because it is the
    stronger statement about the direction, and the words say that it is below the margin. One unit tells nothing.
    """
    known = estimate.error is not None
    inside = known and p_equivalence is not None and p_equivalence <= alpha
    if known and p is not None and p <= alpha:
        word = VerdictWord.EFFECT
    else:
        word = VerdictWord.EQUIVALENT if inside else VerdictWord.INCONCLUSIVE
    return Verdict(word=word, margin=margin, below_margin=inside)


# ----------------------------------------------------------------------------------------------- what can be detected


def minimal_detectable_effect(sd: float, count: int, *, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Return the true difference that a two-sided t test over ``count`` units finds with this power; ``None`` below 2.

    ``sd`` is that of the units' values. By the noncentral t distribution.
    """
    return None if count < 2 else _noncentrality(count - 1.0, alpha, power) * sd / float(np.sqrt(count))


def detectable_effect(estimate: Estimate, *, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Return the minimal detectable effect of the design behind an estimate, by its own error and freedom."""
    if estimate.error is None or estimate.freedom is None:
        return None
    return _noncentrality(estimate.freedom, alpha, power) * estimate.error


def variance_components(blocks: Sequence[Array], groups: Sequence[Array] | None = None) -> VarianceComponents | None:
    """Split the scatter of block log differences into that between and that within processes.

    Arguments as :func:`process_values`; ``None`` unless there are two processes and a process with two blocks, and more
    blocks of groups that come again than the means that are taken off them: of a group's only block nothing is told.
    The scatter within is the median absolute deviation from the process's value, put to a normal standard deviation;
    what the processes' values scatter beyond it is that between, or 0 where they scatter less.
    """
    counts = [len(own) for own in blocks]
    if len(counts) < 2 or max(counts) < 2:
        return None
    z = process_values(blocks, groups)
    centred = [np.asarray(own, dtype=np.float64) for own in blocks]
    fitted = 0
    if groups is not None:
        cells, codes = _cells(blocks, groups)
        typical = _by_group(cells)
        again = np.bincount(np.concatenate(codes)) > 1  # a group's only block is its own middle
        centred = [(own - typical[code])[again[code]] for own, code in zip(centred, codes, strict=True)]
        fitted = int(again.sum()) - 1
    centred = [own for own in centred if len(own)]
    fitted += len(centred)
    total, blocks_each = sum(map(len, centred)), sum(counts) / len(counts)
    if total <= max(fitted, 0):
        return None
    rest = [own - middle for own, middle in zip(centred, _each(centred), strict=True)]
    scale = float(np.sqrt(total / (total - fitted)))
    within = NORMAL_OVER_MAD * scale * float(np.median(np.abs(np.concatenate(rest))))
    beyond = float(z.var(ddof=1)) - HODGES_LEHMANN_VARIANCE * within**2 / blocks_each
    return VarianceComponents(
        between_sd=float(np.sqrt(max(0.0, beyond))),
        within_sd=within,
        process_count=len(counts),
        block_count=blocks_each,
    )


# ------------------------------------------------------------------------------------------------------------ helpers


def _finite(values: npt.ArrayLike) -> Array:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim == 0 or v.shape[-1] == 0:
        raise ValueError("no values to estimate from")
    if not np.isfinite(v).all():
        raise ValueError("a value is not finite")
    return v


def _estimate(value: float, *, confidence: float, mean_value: float | None = None, **facts: Any) -> Estimate:
    bare = Estimate(value=value, low=None, high=None, confidence=confidence, mean_value=mean_value, **facts)
    return bare.at(confidence)


@lru_cache(maxsize=1024)
def _t_quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


@lru_cache(maxsize=1024)
def _noncentrality(freedom: float, alpha: float, power: float) -> float:
    """Return the noncentrality at which a two-sided t test has this power, by bisection."""
    from scipy.special import nctdtr

    critical = _t_quantile(freedom, 1 - alpha)
    low, high = 0.0, critical + 40.0
    for _ in range(60):
        middle = (low + high) / 2
        reached = 1 - nctdtr(freedom, middle, critical) + nctdtr(freedom, middle, -critical)
        low, high = (middle, high) if reached < power else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=64)
def _pairs(count: int) -> tuple[Array, Array]:
    first, second = np.triu_indices(count)
    return first, second


def _each(parts: Sequence[Array]) -> Array:
    """Return the Hodges-Lehmann estimate of each part; of equally long ones at once, which is quicker."""
    length = len(parts[0])
    if len({len(own) for own in parts}) == 1 and len(parts) * length**2 < 10_000_000:
        return np.asarray(hodges_lehmann(np.stack(parts)))
    return np.array([float(hodges_lehmann(own)) for own in parts])


def _codes(groups: Sequence[Array]) -> list[Array]:
    """Return the number of each block's group, per process."""
    _, code = np.unique(np.concatenate(groups), return_inverse=True)
    return np.split(code, np.cumsum([len(own) for own in groups])[:-1])


def _cells(blocks: Sequence[Array], groups: Sequence[Array]) -> tuple[Array, list[Array]]:
    """Return blocks of shape (processes, groups, blocks), filled up with NaN, and the number of each block's group."""
    codes = _codes(groups)
    group_count = max(int(code.max()) for code in codes) + 1
    counts = np.array([np.bincount(code, minlength=group_count) for code in codes])
    cells = np.full((*counts.shape, counts.max()), np.nan)
    for process, (own, code) in enumerate(zip(blocks, codes, strict=True)):
        order = np.argsort(code, kind="stable")
        place = np.arange(len(code)) - np.repeat(np.cumsum(counts[process]) - counts[process], counts[process])
        cells[process, code[order], place] = np.asarray(own, dtype=np.float64)[order]
    return cells, codes


def _by_group(cells: Array) -> Array:
    """Return the Hodges-Lehmann estimate of each group that has blocks, over the processes of :func:`_cells`."""
    rows = [own[~np.isnan(own)] for own in cells.transpose(1, 0, 2).reshape(cells.shape[1], -1)]
    return _each([own for own in rows if len(own)])


def _plain_means(blocks: Sequence[Array], groups: Sequence[Array] | None) -> list[float]:
    if groups is None:
        return [float(np.mean(own)) for own in blocks]
    result = []
    for own, code in zip(blocks, _codes(groups), strict=True):
        count = np.bincount(code)
        result.append(float(np.mean(np.bincount(code, weights=own)[count > 0] / count[count > 0])))
    return result
