"""Divide the difference of two states' times among what differs: exact splits, and a model of one item's time.

A state is a model with its tokenizer on one machine: base and tuned, for example. Three ways to divide, all exact:
factors of a product by logarithms, sums of products by the logarithmic mean (Ang 2005, LMDI-I), and the time model by
Shapley values (every order in which the factors can change counts alike). What the model does not explain is the
residual and is always there. Times are in seconds.
"""

import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from tokprof.profiler.analysis.stats import NORMAL_OVER_MAD
from tokprof.profiler.record import Array, Note, NoteLevel

Value = float | Array
"""One number, or an array of processes (or items) that broadcasts against the others."""


# ---------------------------------------------------------------------------------------------------- exact splits


def log_mean(x: npt.ArrayLike, y: npt.ArrayLike) -> Any:
    """Return the logarithmic mean of positive numbers, (x - y) / ln(x / y), and x where they are equal."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    low, high = np.minimum(x, y), np.maximum(x, y)
    excess = (high - low) / low  # exact to rounding even where both are close, hence log1p
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(excess > 0, (high - low) / np.log1p(excess), low)[()]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSplit:
    """ln(T1 / T0) of decoding one task, in parts that sum to it with no residual."""

    verbosity: Value  # ln of lexemes per task
    fertility: Value  # ln of tokens per lexeme
    steps: Value  # ln of decode steps per token
    step_cost: Value  # ln of seconds per decode step
    total: Value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """What one state decoded, summed over its tasks. Fields broadcast: one number or one per process or language."""

    task_count: Value
    lexeme_count: Value
    token_count: Value  # N_out
    step_count: Value  # M, the decode steps that have a predecessor
    decode_s: Value


def split_decode(state0: Decoded, state1: Decoded) -> DecodeSplit:
    """Split ln(T1 / T0), T = decode seconds per task = lexemes/task · tokens/lexeme · steps/token · seconds/step."""

    def change(above: str, below: str) -> Any:
        ratios = [np.asarray(getattr(s, above), dtype=np.float64) / getattr(s, below) for s in (state0, state1)]
        return np.log(ratios[1] / ratios[0])

    return DecodeSplit(
        verbosity=change("lexeme_count", "task_count"),
        fertility=change("token_count", "lexeme_count"),
        steps=change("step_count", "token_count"),
        step_cost=change("decode_s", "step_count"),
        total=change("decode_s", "task_count"),
    )


def additive_log_shares(parts0: npt.ArrayLike, parts1: npt.ArrayLike) -> Array:
    """Return each part's share of ln(T1 / T0) where T is the sum of its parts, for example prefill and decode.

    The last axis holds the parts. Shares are (T_p1 - T_p0) / L(T1, T0) and sum to ln(T1 / T0).
    """
    x, y = np.asarray(parts0, dtype=np.float64), np.asarray(parts1, dtype=np.float64)
    return np.asarray((y - x) / log_mean(y.sum(axis=-1), x.sum(axis=-1))[..., None])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DivisiaSplit:
    """The difference of a sum of products, per item and factor; all of it sums to the difference."""

    effect: Array  # (..., items, factors); 0 where an item is present in one state only
    item_set: Array  # (..., items): of items present in one state only, "kernel set" where the items are kernels


def log_mean_divisia(factors0: npt.ArrayLike, factors1: npt.ArrayLike) -> DivisiaSplit:
    """Split the difference of y = sum over items of the product of an item's factors, each of shape (..., items, n).

    An item is absent from a state where a factor of it is 0 there; it then goes wholly to the item set.
    """
    x, y = np.asarray(factors0, dtype=np.float64), np.asarray(factors1, dtype=np.float64)
    product0, product1 = x.prod(axis=-1), y.prod(axis=-1)
    both = (product0 > 0) & (product1 > 0)
    mean = np.asarray(log_mean(np.where(both, product1, 1.0), np.where(both, product0, 1.0)))
    ratio = np.log(np.where(both[..., None], y, 1.0) / np.where(both[..., None], x, 1.0))
    return DivisiaSplit(
        effect=np.where(both[..., None], mean[..., None] * ratio, 0.0),
        item_set=np.where(both, 0.0, product1 - product0),
    )


# ------------------------------------------------------------------------------------------------- model of the time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeModel:
    """Time of one item: prefill of N_in tokens, then M = N_out - 1 decode steps at contexts N_in + 1 ... N_in + M.

    T = (p0 + p1 N_in + p2 N_in²) (f0 / f)^eps_prefill
    + [(a + l) M + b (M N_in + M (M + 1) / 2)] (f0 / f)^eps_decode + g (M + 1)

    What was not measured is ``None`` and stays out of the sum: a CPU has no ``gap_s``. ``adapter_s=None`` says that
    there is no adapter kept apart.
    """

    prefill_s: Value = 0.0  # p0
    prefill_token_s: Value = 0.0  # p1, per token
    prefill_token2_s: Value = 0.0  # p2, per token squared
    step_s: Value  # a, per decode step
    context_s: Value | None = None  # b, per decode step and token of context
    adapter_s: Value | None = None  # l, per decode step
    gap_s: Value | None = None  # g, the host's gap per step; ``step_s`` is then without it
    clock_mhz: Value | None = None  # f, of the SMs
    reference_clock_mhz: float | None = None  # f0, at which the costs above hold
    prefill_elasticity: float = 1.0
    decode_elasticity: float = 1.0

    def __post_init__(self) -> None:
        if (self.clock_mhz is None) is not (self.reference_clock_mhz is None):
            raise ValueError("clock_mhz and reference_clock_mhz are given together or not at all")

    def prefill_time(self, n_in: Value) -> Any:
        """Return the seconds of prefill, without a host gap."""
        cost = self.prefill_s + self.prefill_token_s * n_in + self.prefill_token2_s * n_in * n_in
        return cost * self._slowness(self.prefill_elasticity)

    def time(self, n_in: Value, n_out: Value) -> Any:
        """Return the seconds of items of so many tokens; everything broadcasts."""
        steps = n_out - 1
        decode = (self.step_s + (0.0 if self.adapter_s is None else self.adapter_s)) * steps
        if self.context_s is not None:
            decode = decode + self.context_s * (steps * n_in + steps * (steps + 1) / 2)
        gaps = 0.0 if self.gap_s is None else self.gap_s * (steps + 1)
        return self.prefill_time(n_in) + decode * self._slowness(self.decode_elasticity) + gaps

    def beside(self, without_adapter: "TimeModel") -> "TimeModel":
        """Return this model, of a state with an adapter, so that its extra cost per step is the adapter's.

        ``without_adapter`` is the same state merged, or the base: what a step costs there is not the adapter.
        """
        return replace(self, step_s=without_adapter.step_s, adapter_s=self.step_s - without_adapter.step_s)

    def _slowness(self, elasticity: float) -> Any:
        if self.clock_mhz is None or self.reference_clock_mhz is None:
            return 1.0
        return (self.reference_clock_mhz / np.asarray(self.clock_mhz)) ** elasticity


class Factor(StrEnum):
    """What a difference of two states is divided among."""

    N_IN = "N_in"
    N_OUT = "N_out"
    PREFILL_COST = "prefill cost"
    STEP_COST = "step cost"
    CONTEXT_COST = "context cost"
    ADAPTER = "adapter"
    CLOCK = "clock"
    GAP = "gap"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """A model of the time and the items it is asked about; ``n_in`` and ``n_out`` are tokens, shape (..., items)."""

    model: TimeModel
    n_in: Value
    n_out: Value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShapleySplit:
    """The effect of each factor in seconds, beside the model's times and those observed; state 1 minus state 0."""

    factors: tuple[Factor, ...]
    effect_s: Array  # (factors, ...)
    model0_s: Array
    model1_s: Array
    observed0_s: Array | None = None
    observed1_s: Array | None = None

    @property
    def residual_s(self) -> Any:
        """What the model leaves of the observed difference: (T1 - model1) - (T0 - model0); ``None`` if not observed."""
        if self.observed0_s is None or self.observed1_s is None:
            return None
        return (self.observed1_s - self.model1_s) - (self.observed0_s - self.model0_s)

    def log_shares(self) -> Array:
        """Return each factor's share of ln(T1 / T0), shape (factors, ...): effect / L(model1, model0).

        They sum to ln(model1 / model0), and with :meth:`residual_log_share` to ln(T1 / T0). The mean is of the model's
        times: outliers lengthen those observed in both states alike, and would make every share smaller.
        """
        return np.asarray(self.effect_s / log_mean(self.model1_s, self.model0_s))

    def residual_log_share(self) -> Any:
        """Return the residual's share, ln(T1 / T0) - ln(model1 / model0); ``None`` if no times were observed."""
        if self.observed0_s is None or self.observed1_s is None:
            return None
        return np.log(self.observed1_s / self.model1_s) - np.log(self.observed0_s / self.model0_s)

    def summed(self, axis: int = -1) -> "ShapleySplit":
        """Return the split of the sum over an axis of the items or processes (counted without the factors' axis)."""
        whole: dict[str, Any] = {
            f.name: None if value is None else np.sum(value, axis=axis if axis < 0 else axis + (f.name == "effect_s"))
            for f in fields(self)
            if f.name != "factors"
            for value in [getattr(self, f.name)]
        }
        return replace(self, **whole)

    def of(self, factor: Factor) -> Array | None:
        """Return the effect of one factor in seconds; ``None`` if it is absent."""
        return self.effect_s[self.factors.index(factor)] if factor in self.factors else None


def shapley_values(values: npt.ArrayLike) -> Array:
    """Return the Shapley values of n factors from all 2^n coalitions: shape (2^n, ...) gives (n, ...).

    Entry S holds the value with factor i in state 1 where bit i of S is set, else in state 0 (Shapley 1953).
    """
    v = np.asarray(values, dtype=np.float64)
    n = v.shape[0].bit_length() - 1
    if v.shape[0] != 1 << n:
        raise ValueError(f"{v.shape[0]} coalitions are no power of two")
    result = np.empty((n, *v.shape[1:]))
    size = np.array([s.bit_count() for s in range(1 << (n - 1))])  # of the coalitions without one factor, in order
    weight = np.array([1 / (n * math.comb(n - 1, k)) for k in range(n)])[size]
    for i in range(n):
        pairs = v.reshape(-1, 2, 1 << i, *v.shape[1:])
        result[i] = np.tensordot(weight, (pairs[:, 1] - pairs[:, 0]).reshape(-1, *v.shape[1:]), axes=1)
    return result


def shapley(
    state0: State, state1: State, observed0_s: Value | None = None, observed1_s: Value | None = None
) -> ShapleySplit:
    """Divide the difference of two states' times among the factors that both have.

    Parameters and tokens broadcast, so many items and processes are divided at once: fields of shape (processes, 1)
    and tokens of shape (items,) give effects of shape (factors, processes, items).

    Raises
    ------
    ValueError
        A factor was measured in one state only (an adapter may be in one only), or the reference clocks or the
        elasticities differ.
    """
    states = (state0, state1)
    m0, m1 = state0.model, state1.model
    for name in ("context_s", "gap_s", "clock_mhz"):
        if (getattr(m0, name) is None) is not (getattr(m1, name) is None):
            raise ValueError(f"{name} was measured in one of the two states only")
    for name in ("reference_clock_mhz", "prefill_elasticity", "decode_elasticity"):
        if getattr(m0, name) != getattr(m1, name):
            raise ValueError(f"{name} differs: {getattr(m0, name)} and {getattr(m1, name)}")
    names = {
        Factor.PREFILL_COST: ("prefill_s", "prefill_token_s", "prefill_token2_s"),
        Factor.STEP_COST: ("step_s",),
        Factor.CONTEXT_COST: ("context_s",),
        Factor.ADAPTER: ("adapter_s",),
        Factor.CLOCK: ("clock_mhz",),
        Factor.GAP: ("gap_s",),
    }
    present = {factor: own for factor, own in names.items() if any(getattr(m, own[0]) is not None for m in (m0, m1))}
    factors = (Factor.N_IN, Factor.N_OUT, *present)
    shape = np.broadcast_shapes(
        *(np.shape(x) for s in states for x in (s.n_in, s.n_out)),
        *(
            np.shape(getattr(m, name))
            for m in (m0, m1)
            for own in present.values()
            for name in own
            if getattr(m, name) is not None
        ),
    )
    coalition = np.arange(1 << len(factors)).reshape(-1, *([1] * len(shape)))

    def chosen(factor: Factor, value0: Value | None, value1: Value | None) -> Array:
        of = [np.asarray(0.0 if v is None else v, dtype=np.float64) for v in (value0, value1)]
        return np.where((coalition >> factors.index(factor)) & 1 == 1, of[1], of[0])

    costs: dict[str, Any] = {
        name: chosen(f, getattr(m0, name), getattr(m1, name)) for f, own in present.items() for name in own
    }
    mixed = replace(m0, **costs)
    times = np.broadcast_to(
        mixed.time(chosen(Factor.N_IN, state0.n_in, state1.n_in), chosen(Factor.N_OUT, state0.n_out, state1.n_out)),
        (1 << len(factors), *shape),
    )
    observed = [
        None if t is None else np.broadcast_to(np.asarray(t, dtype=np.float64), shape)
        for t in (observed0_s, observed1_s)
    ]
    return ShapleySplit(
        factors=factors,
        effect_s=shapley_values(times),
        model0_s=times[0],
        model1_s=times[-1],
        observed0_s=observed[0],
        observed1_s=observed[1],
    )


# ------------------------------------------------------------------------------------------------------------ fitting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeFit:
    """A time model fitted to samples, and what had to be left out of it."""

    model: TimeModel
    prefill_terms: int  # 3: p0 + p1 N + p2 N²; 2: p0 + p1 N; 1: p1 N
    prefill_scatter: Value  # relative: robust standard deviation of prefill times around the model
    step_scatter: Value
    notes: tuple[Note, ...] = ()


def fit_time_model(
    n_in: npt.ArrayLike,
    prefill_s: npt.ArrayLike,
    context: npt.ArrayLike,
    step_s: npt.ArrayLike,
    *,
    step_sample: npt.ArrayLike | None = None,
    prefill_terms: int | None = None,
    gap_s: Value | None = None,
    clock_mhz: Value | None = None,
    reference_clock_mhz: float | None = None,
    prefill_elasticity: float = 1.0,
    decode_elasticity: float = 1.0,
) -> TimeFit:
    """Fit the time model to one state's samples in one process, robustly and to constant relative error.

    ``n_in`` and ``prefill_s`` hold one entry per prefill, ``context`` and ``step_s`` one per decode step, where
    ``context`` counts the tokens the step attends to, N_in + i at step i >= 1. Prefill and step times may have leading
    axes, (..., samples), of processes with the same items; the model's fields then have these axes. A gap and a clock
    (each one number, or of the leading axes' shape) are taken out of the times, so that the model gives them back.

    ``step_sample`` says of which prefill each step is the continuation, in ascending order. By how much all steps of a
    sample ran slower is then taken off them, and off its prefill as far as prefills followed: else robust fits would
    trust the two phases' outliers unlike, by how each scatters, and shift one against the other.

    The fullest form of prefill is taken whose terms the samples tell apart and whose time grows with N_in; a note says
    if that is not p0 + p1 N + p2 N². ``prefill_terms`` bounds the number of terms: two states that are compared should
    have the same.

    Raises
    ------
    ValueError
        There are no samples, not as many times as token counts, a time is not positive and finite, or ``step_sample``
        does not name a prefill for every step.
    """
    n, context_count = (np.asarray(x, dtype=np.float64) for x in (n_in, context))
    for counts, times, what in ((n, prefill_s, "prefills"), (context_count, step_s, "decode steps")):
        if counts.ndim != 1 or counts.shape[-1:] != np.shape(times)[-1:]:
            raise ValueError(f"{what}: token counts of shape {counts.shape}, times of shape {np.shape(times)}")
    told_apart = len(np.unique(context_count)) > 2 and context_count.max() >= 1.2 * context_count.min()
    decode_design = context_count[:, None] ** np.array((0, 1) if told_apart else (0,))
    prefill, step = _positive(prefill_s, "prefill"), _positive(step_s, "decode step")
    slow = None
    if step_sample is not None:
        slow, sample = _slow_samples(decode_design, step, step_sample, len(n))
        step = step / np.exp(slow[..., sample])
    gap = np.asarray(0.0 if gap_s is None else gap_s)[..., None]
    speed = np.ones(1)
    if clock_mhz is not None and reference_clock_mhz is not None:
        speed = np.asarray(clock_mhz, dtype=np.float64)[..., None] / reference_clock_mhz
    prefill = _positive(prefill - gap, "prefill") * speed**prefill_elasticity
    step = _positive(step - gap, "decode step") * speed**decode_elasticity
    notes = []
    wanted = min(prefill_terms or 3, _prefill_terms(n))
    if slow is not None:
        prefill = prefill / np.exp(_following(n[:, None] ** np.array(_POWERS[wanted]), prefill, slow))
    for terms in range(wanted, 0, -1):
        p, prefill_scatter = _robust_fit(n[:, None] ** np.array(_POWERS[terms]), prefill)
        costs = dict(zip(_POWERS[terms], np.moveaxis(p, -1, 0), strict=True))
        p0, p1, p2 = (costs.get(power, 0.0 * p[..., 0])[()] for power in (0, 1, 2))
        ends = np.array([n.min(), n.max()])
        rises = all(np.all((p0 + p1 * end + p2 * end**2 > 0) & (p1 + 2 * p2 * end >= 0)) for end in ends)
        if terms == 1 or prefill_terms is not None or rises:
            break
    if terms < 3 and prefill_terms is None:
        why = "the prompts' lengths do not tell more terms apart" if terms == wanted else "more terms fall with N_in"
        notes.append(
            Note(
                code="prefill-form",
                message=f"prefill is modelled as {_FORMS[terms]}: {why}",
                advice="measure prompts of at least five lengths, the longest three times the shortest",
                level=NoteLevel.INFO,
            )
        )
    a, step_scatter = _robust_fit(decode_design, step)
    if not told_apart:
        notes.append(
            Note(
                code="context-cost-unknown",
                message="the contexts are too alike to tell the cost of context from that of a step; it is part of it",
                advice="decode at contexts whose longest is at least 1.2 times the shortest",
                level=NoteLevel.INFO,
            )
        )
    model = TimeModel(
        prefill_s=p0,
        prefill_token_s=p1,
        prefill_token2_s=p2,
        step_s=a[..., 0][()],
        context_s=a[..., 1][()] if told_apart else None,
        gap_s=gap_s,
        clock_mhz=clock_mhz,
        reference_clock_mhz=reference_clock_mhz,
        prefill_elasticity=prefill_elasticity,
        decode_elasticity=decode_elasticity,
    )
    return TimeFit(
        model=model,
        prefill_terms=terms,
        prefill_scatter=prefill_scatter,
        step_scatter=step_scatter,
        notes=tuple(notes),
    )


_POWERS = {1: (1,), 2: (0, 1), 3: (0, 1, 2)}
_FORMS = {1: "p1 N", 2: "p0 + p1 N", 3: "p0 + p1 N + p2 N²"}


def _prefill_terms(n: Array) -> int:
    """Return how many terms of prefill the prompts' lengths can tell apart."""
    different, spread = len(np.unique(n)), float(n.max() / n.min())
    if different >= 5 and spread >= 3:
        return 3
    return 2 if different >= 2 and spread >= 1.2 else 1


def _positive(times: npt.ArrayLike, what: str) -> Array:
    t = np.asarray(times, dtype=np.float64)
    if t.ndim == 0 or t.shape[-1] == 0:
        raise ValueError(f"no {what} was measured")
    if not (np.isfinite(t) & (t > 0)).all():
        raise ValueError(f"a {what} takes no time at all, or less than the host's gap")
    return t


def _slow_samples(design: Array, step: Array, step_sample: npt.ArrayLike, count: int) -> tuple[Array, Array]:
    """Return by how much each sample's steps ran slower than most samples', (..., samples), and each step's sample.

    It is a logarithm, 0 where a sample has no step.
    """
    sample = np.asarray(step_sample)
    if sample.shape != step.shape[-1:] or sample.min() < 0 or sample.max() >= count or (np.diff(sample) < 0).any():
        raise ValueError(f"step_sample of shape {sample.shape} does not name one of {count} prefills for each step")
    solution, _ = _robust_fit(design, step)
    logs = np.log(step / np.maximum(solution @ design.T, _least(step)))
    bounds = np.searchsorted(sample, np.arange(count + 1))
    known = np.flatnonzero(np.diff(bounds))
    # All samples' medians at once: sorted together, with each sample's logs in a range of their own.
    width = np.ptp(logs) + 1
    ordered = np.sort(logs + width * sample, axis=-1)
    middles = (ordered[..., (bounds[known] + bounds[known + 1] - 1 + odd) // 2] for odd in (0, 1))
    medians = sum(middles) / 2 - width * known
    slow = np.zeros((*step.shape[:-1], count))
    middle, _ = _robust_fit(np.ones((len(known), 1)), np.exp(medians))
    slow[..., known] = medians - np.log(middle)
    return slow, sample


def _following(design: Array, prefill: Array, slow: Array) -> Array:
    """Return by how much each prefill is slower because its sample is, (..., samples): its share of it times ``slow``.

    The share is the slope of ln prefill over ``slow``, between 0 and 1: none where decoding alone was disturbed, or
    where the samples differ by no more than their own steps' noise.
    """
    solution, _ = _robust_fit(design, prefill)
    error = np.log(prefill / np.maximum(solution @ design.T, _least(prefill)))
    error = error - np.median(error, axis=-1, keepdims=True)
    square = (slow**2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(square > 0, np.clip((slow * error).sum(axis=-1) / square, 0.0, 1.0), 0.0)
    return np.asarray(share[..., None] * slow)


def _least(times: Array) -> Array:
    """Return what a modelled time is not let below: a thousandth of the median."""
    return np.asarray(1e-3 * np.median(times, axis=-1, keepdims=True))


def _robust_fit(design: Array, times: Array) -> tuple[Array, Any]:
    """Fit times (..., n) by the columns of a design (n, k) to constant relative error; return (..., k) and the scale.

    Iteratively reweighted least squares on logarithms: Huber's weights until they settle and with them the scale (by
    the median absolute deviation), then Tukey's bisquare, whose weights fall to zero (Huber 1964; Beaton and Tukey
    1974). Slow outliers only ever lengthen a time: with Huber's weights alone they would, a little, and prefill's
    unlike decode's. Bisquare's constant is that of 85 % efficiency, where 95 % would let in twice as much of them.
    """
    size = np.abs(design).max(axis=0)
    x = design / size
    n, k = x.shape
    squares = (x[:, :, None] * x[:, None, :]).reshape(n, k * k)
    weight = np.ones_like(times)
    solution = np.zeros((*times.shape[:-1], k))
    scale: Any = np.zeros(times.shape[:-1])
    least = _least(times)
    target = times
    redescending = False
    for _ in range(60):
        before = solution
        left = (weight @ squares).reshape(*times.shape[:-1], k, k)
        solution = np.linalg.solve(left, ((weight * target) @ x)[..., None])[..., 0]
        fitted = np.maximum(solution @ x.T, least)
        log_error = np.log(times / fitted)
        target = fitted * (1 + log_error)
        error = np.abs(log_error)
        if not redescending:
            scale = NORMAL_OVER_MAD * np.median(error, axis=-1)
        error = error / np.maximum(scale, 1e-12)[..., None]
        settled = np.abs(solution - before).max() <= (1e-7 if redescending else 1e-4) * np.abs(solution).max()
        if settled and redescending:
            break
        redescending = redescending or bool(settled)
        pull = (
            np.maximum(0.0, 1 - (error / _BISQUARE) ** 2) ** 2 if redescending else _HUBER / np.maximum(error, _HUBER)
        )
        weight = pull * (least / fitted) ** 2
    return solution / size, scale[()]


_HUBER = 1.345
_BISQUARE = 3.443
