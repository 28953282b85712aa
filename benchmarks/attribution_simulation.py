"""Planted effects under the noise of real machines: are the intervals of `tokprof attribute` as good as they say?

Every experiment is a study made sample by sample (processes that load their arms afresh, blocks in the tool's order,
prefill and decode steps, clocks as they were read) that goes through the analysis of the report: what is counted
is what a user reads. Per design and effect: bias, spread, and how often the nominal 95 % interval holds the truth; then
the error rates of the verdicts, what the minimal detectable effect is worth, and what wrong analyses would do.
Effects without an interval, like the parts of the identity, have a bias alone.

    python benchmarks/attribution_simulation.py --seed 4171 --out RESULT.json

Noise is assumed or, in the designs called "measured", scaled until the variance components are those of a
recorded study (--components: what `tokprof attribute --from STUDY --json` writes). The estimators were chosen
while looking at seed 20, so a record wants another. Of designs beside the main ones every fifth experiment is run.

One figure to read with care: "arms apart" cannot tell clocks, as no item is measured twice in a process, so what is
expected of its costs is at the clock they ran at.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.attribution import State, TimeModel, shapley
from tokprof.profiler.analysis.ledger import compare_steps
from tokprof.profiler.analysis.study import DIFFERENCE, EVERY, analyze_study
from tokprof.profiler.analysis.study_parts import kernel_passes
from tokprof.profiler.measure.schedule import units
from tokprof.profiler.record import (
    DecodeMode,
    Device,
    Mark,
    Phase,
    StepKernels,
    TypicalStep,
)
from tokprof.profiler.studies import (
    Arm,
    ArmRole,
    Exposure,
    Header,
    Plan,
    StudyItem,
    StudyLanguage,
)
from tokprof.profiler.study_samples import Study, StudySamples

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from study_makers import MACHINE, MODEL

PROCESS_COUNTS = (3, 5, 8, 20)
RECORDED = Path(__file__).parent / "results" / "cpu-2core-amd-epyc" / "study" / "report.json"
MARGIN = float(np.log1p(0.01))
CONTENT_TOKENS = 16
TOKENS_PER_LEXEME = 1.2
TOKENIZER_EFFECT = 0.10  # ln of the tuned arm's tokens to the base's, where it has a tokenizer of its own
REFERENCE_MHZ = 1400.0
BASE, AGAIN, ADAPTER, TUNED, CLASSES = range(5)
ROLES = (ArmRole.BASE, ArmRole.AGAIN, ArmRole.ADAPTER, ArmRole.TUNED, ArmRole.CONTROL)
NAMES = ("base", "A/A", "adapter", "tuned", "languages differ")
CHUNK = 5  # experiments of one task of a worker
ROUND = 50  # experiments of each design before the next round


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What disturbs a sample; standard deviations are of natural logarithms."""

    between_sd: float = 0.004  # of a process's difference between two arms
    machine_sd: float = 0.005  # of a process as a whole, which all its arms share
    clock_sd: float = 0.004  # of an arm's clock in a process
    clock_sample_sd: float = 0.008  # of a sample's clock around it
    clock_reading_sd: float = 0.001  # of the reading
    gap_sd: float = 0.01  # of an arm's host gap in a process
    busy_trace_sd: float = 0.003  # of the kernels' time in a step as an arm's trace in a process shows it
    gap_trace_excess: float = 2.0  # the host's gap under the profiler, over the one without
    drift_sd: float = 0.010  # stationary first-order autoregression from sample to sample
    drift_correlation: float = 0.95
    trend_sd: float = 0.010  # linear, from a process's start to its end
    sample_sd: float = 0.012
    prefill_sd: float = 0.006  # of prefill alone
    step_sd: float = 0.030  # of decode steps around their sample
    outlier_share: float = 0.02  # of samples, which only ever take longer: half in both phases, half in one of them
    outlier_mean: float = 0.15
    step_outlier_share: float = 0.01
    step_outlier_mean: float = 0.30
    language_sd: float = 0.006  # of languages' own true effects around that of their class

    def scaled(self, between, within):
        """Return this noise with that between processes and that within them multiplied."""
        factors = dict.fromkeys(BETWEEN, between) | dict.fromkeys(WITHIN, within)
        return replace(self, **{name: getattr(self, name) * factor for name, factor in factors.items()})


BETWEEN = ("between_sd", "clock_sd")
WITHIN = ("drift_sd", "trend_sd", "sample_sd", "prefill_sd", "step_sd", "outlier_mean", "step_outlier_mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The true costs: of the base, and what the other arms do to them."""

    base: TimeModel = TimeModel(  # noqa: RUF009  (frozen)
        prefill_s=0.010,
        prefill_token_s=0.001,
        prefill_token2_s=3e-7,
        step_s=0.030,
        context_s=8e-6,
        gap_s=0.001,
        clock_mhz=REFERENCE_MHZ,
        reference_clock_mhz=REFERENCE_MHZ,
        prefill_elasticity=0.9,
        decode_elasticity=0.3,
    )
    adapter_s: float = 0.0009
    class_effect: tuple[float, float] = (0.015, 0.005)  # ln, unseen and seen languages

    def models(self, on_gpu):
        b = self.base if on_gpu else replace(self.base, gap_s=None, clock_mhz=None, reference_clock_mhz=None)
        tuned = replace(
            b,
            prefill_s=b.prefill_s * 1.01,
            prefill_token_s=b.prefill_token_s * 1.01,
            prefill_token2_s=b.prefill_token2_s * 1.01,
            step_s=b.step_s * 1.012,
            context_s=b.context_s * 1.05,
        )
        if on_gpu:
            tuned = replace(tuned, gap_s=0.0013, clock_mhz=1370.0)
        adapter = replace(b, prefill_token_s=b.prefill_token_s * 1.02, adapter_s=self.adapter_s)
        return [b, b, adapter, tuned, b]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The shape of a study. Its items, their tokens and its order are drawn anew in every experiment."""

    processes: int
    languages: int = 16  # one half unseen, the other seen
    tasks: int = 2  # per language; with as many blocks every process measures the same items
    blocks: int = 2  # per language and process
    on_gpu: bool = True  # clocks are read and host gaps known; the tuned arm has a tokenizer of its own
    unfinished: bool = False  # the last process was interrupted; one arm's, if arms have processes of their own
    apart: bool = False

    def items(self, rng):
        """Return each item's language, and N_in and N_out of shape (arms, items)."""
        language = np.repeat(np.arange(self.languages), self.tasks)
        n_in = np.round(np.exp(rng.uniform(np.log(60), np.log(480), len(language))))
        n_out = np.full(len(language), float(CONTENT_TOKENS))
        counts = np.stack([[n_in, n_out]] * len(ROLES), axis=1)
        if self.on_gpu:
            more = np.exp(rng.normal(TOKENIZER_EFFECT, 0.05, (2, len(language))))
            counts[:, TUNED] = np.round(counts[:, TUNED] * more)
        return language, *counts

    def plan(self, language, n_in, n_out, rng):
        lexemes = np.exp(rng.normal(0, 0.1, len(language))) / TOKENS_PER_LEXEME
        return Plan(
            arms=tuple(Arm(name=name, role=role, model="m") for name, role in zip(NAMES, ROLES, strict=True)),
            languages=tuple(
                StudyLanguage(key=f"l{k}", name=f"L{k}", exposure=exposure, evidence="planted")
                for k in range(self.languages)
                for exposure in [Exposure.UNSEEN if self.unseen(k) else Exposure.SEEN]
            ),
            items=tuple(
                StudyItem(
                    language=f"l{k}",
                    task=f"t{number % self.tasks}",
                    prompt="x" * int(3 * n_in[BASE, number]),
                    content="y" * int(3 * n_out[BASE, number]),
                    share=0.1,
                    prompt_lexeme_count=round(n_in[BASE, number] * lexemes[number]),
                    content_lexeme_count=round(n_out[BASE, number] * lexemes[number]),
                )
                for number, k in enumerate(language.tolist())
            ),
            corpus="planted",
            corpus_digest="",
            lexer="none",
            process_count=self.processes,
            block_count=self.blocks,
            margin=0.01,
            seed=int(rng.integers(1 << 31)),
            apart=self.apart,
        )

    def unseen(self, language):
        return language < self.languages // 2

    def measured(self, plan, rng):
        """Return the units of the schedule with the blocks that were finished."""
        whole = list(units(plan))
        if self.unfinished and self.apart:
            return whole[:-1]
        if self.unfinished:
            last = whole[-1]
            whole[-1] = replace(last, blocks=last.blocks[: int(rng.integers(1, len(last.blocks)))])
        return whole


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What was planted: ln of times of shape (arms, items), each item's language and each language's own effect."""

    language: np.ndarray
    n_in: np.ndarray
    n_out: np.ndarray
    models: list[TimeModel]
    logs: dict[str, np.ndarray]
    own: np.ndarray

    def difference(self, quantity, arm, rows=slice(None)):
        return float((self.logs[quantity][arm] - self.logs[quantity][BASE])[rows].mean())


def experiment(design, noise, plant, rng):
    """Make one study; return it, what the kernel passes show of the host's gaps, and the truth."""
    language, n_in, n_out = design.items(rng)
    plan = design.plan(language, n_in, n_out, rng)
    models = plant.models(design.on_gpu)
    unseen = design.unseen(np.arange(design.languages))
    own = np.where(unseen, *plant.class_effect) + rng.normal(0, noise.language_sd, design.languages)
    truth = planted(language, n_in, n_out, models, own)
    rows = [
        (number, unit.process, block.index, position, block.item, arm)
        for number, unit in enumerate(design.measured(plan, rng))
        for block in unit.blocks
        for position, arm in enumerate(block.order)
    ]
    unit, process, block, position, item, arm = np.array(rows).T
    shape = (unit.max() + 1, len(ROLES))
    late = rng.random(len(unit)) < noise.outlier_share
    log = rng.normal(0, noise.sample_sd, len(unit)) + rng.normal(0, noise.machine_sd, shape[0])[unit]
    where = rng.choice(["both", "both", "prefill", "decode"], len(unit))
    lateness = late * rng.exponential(noise.outlier_mean, len(unit))
    for number, count in enumerate(np.bincount(unit)):
        trend = rng.normal(0, noise.trend_sd) * np.linspace(-1, 1, count)
        log[unit == number] += trend + autoregression(noise, count, rng)
    log += np.where(arm == CLASSES, own[language[item]], 0.0)
    # What a process does to an arm: mostly to all of its costs alike, partly to each.
    each = noise.between_sd / np.sqrt(2)
    costs = np.exp(rng.normal(0, each * 0.8, (*shape, 1)) + rng.normal(0, each * 0.6, (*shape, 3)))[unit, arm]
    speed, clock, gaps = np.ones(len(unit)), None, np.zeros(shape)
    if design.on_gpu:
        clock = np.array([m.clock_mhz for m in models])[arm]
        clock *= np.exp(
            rng.normal(0, noise.clock_sd, shape)[unit, arm] + rng.normal(0, noise.clock_sample_sd, len(unit))
        )
        speed = REFERENCE_MHZ / clock
        clock = clock * np.exp(rng.normal(0, noise.clock_reading_sd, len(unit)))
        gaps = np.array([m.gap_s for m in models]) * np.exp(rng.normal(0, noise.gap_sd, shape))
    base = models[BASE]

    def cost(name):
        return np.array([getattr(m, name) or 0.0 for m in models])[arm]

    n, steps = n_in[arm, item], (n_out[arm, item] - 1).astype(int)
    prefill_log = log + np.where(where == "decode", 0.0, lateness) + rng.normal(0, noise.prefill_sd, len(unit))
    prefill = (cost("prefill_s") + cost("prefill_token_s") * n + cost("prefill_token2_s") * n**2) * costs[:, 0]
    prefill = (prefill * speed**base.prefill_elasticity + gaps[unit, arm]) * np.exp(prefill_log)
    here = np.arange(steps.max()) < steps[:, None]
    context = n[:, None] + 1 + np.arange(steps.max())
    scatter = rng.normal(0, noise.step_sd, context.shape)
    scatter += (rng.random(context.shape) < noise.step_outlier_share) * rng.exponential(
        noise.step_outlier_mean, context.shape
    )
    decode_log = log + np.where(where == "prefill", 0.0, lateness)
    busy = ((cost("step_s") + cost("adapter_s")) * costs[:, 1])[:, None]
    busy = (busy + (cost("context_s") * costs[:, 2])[:, None] * context) * (speed**base.decode_elasticity)[:, None]
    step = (busy + gaps[unit, arm][:, None]) * np.exp(decode_log[:, None] + scatter)
    step = np.round(1e9 * step).astype(np.int64)
    decode = (step * here).sum(axis=1)
    samples = StudySamples(
        process=process,
        session=np.zeros_like(unit),
        block=block,
        position=position,
        mode=np.full(len(unit), list(DecodeMode).index(DecodeMode.TEACHER_FORCED)),
        item=item,
        arm=arm,
        prompt_token_count=n,
        token_count=steps + 1,
        start_ns=np.arange(len(unit)),
        prefill_ns=np.round(1e9 * prefill),
        decode_ns=decode,
        issue_ns=decode,
        step_start=np.cumsum(steps) - steps,
        step_count=steps,
        ended=np.zeros_like(unit),
        mark=late * int(Mark.CONTAMINATED),
        counted_clock_mhz=clock,
    )
    study = Study(
        folder=Path("study"),
        plan=plan,
        headers=(header(design, n_in, n_out),),
        samples=samples,
        step_ns=step[here],
        finished_block_count=len(unit),
        planned_block_count=len(unit),
    )
    passes = {}
    if design.on_gpu:
        found = {}
        for number, own in enumerate(np.split(np.arange(len(unit)), np.flatnonzero(np.diff(unit)) + 1)):
            if design.unfinished and number == unit.max():
                continue  # the kernel pass comes last
            traced = own[item[own] == item[own[0]]]
            for k in np.unique(arm[own]).tolist():
                first = busy[traced[arm[traced] == k], : plan.trace_step_count]
                busy_ns = 1e9 * float(first.mean()) * np.exp(rng.normal(0, noise.busy_trace_sd))
                gap_ns = 1e9 * gaps[number, k] * noise.gap_trace_excess
                step_ns = ([busy_ns / 2] * 2, [gap_ns / 2] * 2)
                found[k, int(process[own[0]])] = (typical_step(*step_ns),)
        passes = kernel_passes(study, found)
    return study, passes, truth


def planted(language, n_in, n_out, models, own):
    prefill, total = [], []
    for arm, m in enumerate(models):
        more = np.exp(own[language]) if arm == CLASSES else 1.0
        prefill.append((m.prefill_time(n_in[arm]) + (m.gap_s or 0.0)) * more)
        total.append(m.time(n_in[arm], n_out[arm]) * more)
    times = {"total": np.array(total), "prefill": np.array(prefill), "decode": np.array(total) - np.array(prefill)}
    logs = {name: np.log(values) for name, values in times.items()}
    return Truth(language=language, n_in=n_in, n_out=n_out, models=models, logs=logs, own=own)


def autoregression(noise, count, rng):
    """Return a stationary series of first order."""
    rho = noise.drift_correlation
    shock = rng.normal(0, noise.drift_sd, count)
    shock[1:] *= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], shock)


def header(design, n_in, n_out):
    kind = "cuda" if design.on_gpu else "cpu"
    machine = replace(MACHINE, device=Device(kind=kind, name="simulated"))
    other = replace(MODEL, tokenizer_digest="own") if design.on_gpu else MODEL
    return Header(
        process=0,
        session=0,
        arms=tuple(range(len(ROLES))),
        environment=machine,
        models=tuple(other if arm == TUNED else MODEL for arm in range(len(ROLES))),
        prompt_token_counts=tuple(tuple(own.astype(int).tolist()) for own in n_in),
        content_token_counts=tuple(tuple(own.astype(int).tolist()) for own in n_out),
    )


# ----------------------------------------------------------------------------------------------------- what is counted


@dataclass(slots=True)
class Tally:
    """Estimates of effects beside their truths, and how often something happened."""

    rows: dict = field(default_factory=lambda: defaultdict(list))  # value, truth, then error and both intervals or NaN
    seen: dict = field(default_factory=lambda: defaultdict(list))
    kept: dict = field(default_factory=lambda: defaultdict(list))

    def add(self, name, estimate, truth):
        if estimate.error is None:
            self.point(name, estimate.value, truth)
            return
        wide, narrow = estimate.at(0.95), estimate.at(0.90)
        self.rows[name].append((estimate.value, truth, estimate.error, wide.low, wide.high, narrow.low, narrow.high))

    def point(self, name, value, truth):
        self.rows[name].append((value, truth, *[math.nan] * 5))

    def happened(self, name, did):
        self.seen[name].append(bool(did))

    def join(self, other):
        for mine, more in ((self.rows, other.rows), (self.seen, other.seen), (self.kept, other.kept)):
            for name, values in more.items():
                mine[name] += values

    def effects(self):
        rows = {}
        for name, values in self.rows.items():
            value, truth, error, *intervals = np.array(values).T
            if name.endswith(POPULATION):  # the languages measured are a sample: the truth is that of all
                truth = np.full_like(truth, truth.mean())
            difference = value - truth
            rows[name] = {
                "truth": float(truth.mean()),
                "bias": float(difference.mean()),
                "bias_error": float(difference.std() / np.sqrt(len(difference))),
                "sd": float(difference.std()),
                "estimates": len(difference),
            }
            known = np.isfinite(error)
            if known.any():
                low, high, low90, high90 = (bound[known] for bound in intervals)
                at = truth[known]
                rows[name] |= {
                    "mean_error": float(error[known].mean()),
                    "coverage": float(np.mean((low <= at) & (at <= high))),
                    "coverage90": float(np.mean((low90 <= at) & (at <= high90))),
                }
        return rows

    def rates(self):
        return {name: float(np.mean(values)) for name, values in self.seen.items()}


POPULATION = (f"total, {Exposure.SEEN}", f"total, {Exposure.UNSEEN}")


def one_experiment(tally, design, noise, plant, rng):
    study, passes, truth = experiment(design, noise, plant, rng)
    report = analyze_study(study, passes)
    comparisons = {c.arm: c for c in report.comparisons}
    for arm in range(1, len(ROLES)):
        comparison = comparisons[NAMES[arm]]
        for claim in comparison.claims:
            expected = truth.difference(claim.quantity, arm)
            if arm == CLASSES and claim.scope != EVERY:
                unseen, seen = plant.class_effect
                expected = {"unseen": unseen, "seen": seen, DIFFERENCE: unseen - seen}[claim.scope]
            elif claim.scope == DIFFERENCE:
                expected = 0.0
            tally.add(f"{NAMES[arm]}: {claim.quantity}, {claim.scope}", claim.estimate, expected)
        if not design.apart:
            tally.happened("claims about classes of languages are made", len(comparison.claims) == 6)
        for line in comparison.languages:
            rows = truth.language == int(line.language[1:])
            for quantity in ("total", "prefill", "decode"):
                expected = truth.difference(quantity, arm, rows)
                tally.add(f"{NAMES[arm]}: {quantity}, one language", getattr(line, quantity), expected)
        factors(tally, comparison, truth, arm)
        identity(tally, comparison.identity, truth, arm)
    identity(tally, report.language_identity, truth, BASE)
    for line in report.fertility:
        expected = np.log(TOKENS_PER_LEXEME) + (TOKENIZER_EFFECT if line.arm == NAMES[TUNED] else 0.0)
        tally.add(f"{line.arm}: fertility, one language", line.tokens_per_lexeme, expected)
    verdicts(tally, report, comparisons, truth)
    if not design.apart:
        wrong(tally, study, truth, plant, design)


def factors(tally, comparison, truth, arm):
    """Count the Shapley factors; where only languages differ there is no true model of the time to compare with."""
    if arm == CLASSES:
        return
    tally.happened(f"{NAMES[arm]}: factors are told", comparison.factors)
    models = [truth.models[BASE], truth.models[arm]]
    if "clock" not in {line.factor for line in comparison.factors}:
        models = [at_its_clock(model) for model in models]
    states = [
        State(model=m, n_in=truth.n_in[k], n_out=truth.n_out[k]) for m, k in zip(models, (BASE, arm), strict=True)
    ]
    split = shapley(*states).summed()
    expected = dict(zip(map(str, split.factors), split.log_shares().tolist(), strict=True))
    for line in comparison.factors:
        planted = expected.get(line.factor, 0.0)
        if line.effect.value == planted == 0.0 == line.effect.error:
            continue  # what is the same in both states has no effect, exactly
        tally.add(f"{NAMES[arm]}: Shapley {line.factor}", line.effect, planted)


def at_its_clock(model):
    """Return the model with its costs at the clock it runs at: what is told where the clock is no factor of its own."""
    if model.clock_mhz is None:
        return model
    slow = model.reference_clock_mhz / model.clock_mhz
    prefill, decode = slow**model.prefill_elasticity, slow**model.decode_elasticity
    factors = dict.fromkeys(("prefill_s", "prefill_token_s", "prefill_token2_s"), prefill)
    factors |= dict.fromkeys(("step_s", "context_s", "adapter_s"), decode)
    costs = {
        name: getattr(model, name) * factor for name, factor in factors.items() if getattr(model, name) is not None
    }
    return replace(model, clock_mhz=None, reference_clock_mhz=None, **costs)


def identity(tally, lines, truth, arm):
    """Count the parts of the exact identity, means over the languages; against the pivot where the arm is the base."""
    tokens, steps = truth.n_out, truth.n_out - 1
    seconds = np.exp(truth.logs["decode"])

    def summed(values, k, language):
        return values[k, truth.language == language].sum()

    parts = defaultdict(list)
    for line in lines:
        here = int(line.language[1:])
        (a, b) = ((BASE, 0), (BASE, here)) if arm == BASE else ((BASE, here), (arm, here))
        for name, (above, below) in {"steps": (steps, tokens), "step_cost": (seconds, steps)}.items():
            change = np.log(summed(above, *b) / summed(below, *b)) - np.log(summed(above, *a) / summed(below, *a))
            parts[name].append((getattr(line, name), change))
        if arm != BASE:
            parts["verbosity"].append((line.verbosity, 0.0))
            parts["fertility"].append((line.fertility, np.log(summed(tokens, *b) / summed(tokens, *a))))
    for name, pairs in parts.items():
        value, expected = np.mean(pairs, axis=0)
        against = "the pivot" if arm == BASE else "the base"
        tally.point(f"{NAMES[arm]}: identity against {against}, {name.replace('_', ' ')}", value, expected)


def verdicts(tally, report, comparisons, truth):
    """The errors of tests and verdicts, where nothing differs and where just the margin does."""
    again, tuned = comparisons[NAMES[AGAIN]], comparisons[NAMES[TUNED]]
    estimate = again.claims[0].estimate
    tally.kept["again"].append(estimate)
    if again.components is not None:
        tally.kept["components"].append((again.components.between_sd, again.components.within_sd))
        tally.kept["blocks"].append(again.components.block_count)
    tally.happened("false effect: A/A", stats.p_value(estimate) <= stats.ALPHA)
    tally.happened("equivalent: A/A within 1 %", stats.tost(estimate, MARGIN) <= stats.ALPHA)
    at = replace(estimate, value=estimate.value + MARGIN)
    tally.happened("false equivalence: the difference is the margin", stats.tost(at, MARGIN) <= stats.ALPHA)
    # The report takes the margin that was asked for or what A/A shows; another arm differs by the margin taken.
    other = tuned.claims[0].estimate
    at = replace(other, value=other.value - truth.difference("total", TUNED) + report.margin_log)
    within = stats.tost(at, report.margin_log) <= stats.ALPHA
    tally.happened("false equivalence: the difference is A/A's margin", within)
    # The report's own families: of all claims, of which A/A's are null; of A/A's languages.
    null = [c.p for c in again.claims]
    tally.happened("any false effect among a report's claims, Holm", min(null) <= stats.ALPHA)
    said = [line.verdict.startswith("effect") for line in again.languages]
    tally.happened(f"any false effect among A/A's {len(said)} languages, Holm", any(said))
    claims = [c.estimate for c in again.claims] + [line.total for line in again.languages]
    raw = [stats.p_value(claim) for claim in claims]
    tally.happened(f"any false effect among {len(claims)} null claims, Holm", min(stats.holm(raw)) <= stats.ALPHA)
    tally.happened(f"WRONG: any false effect among {len(claims)} null claims, unadjusted", min(raw) <= stats.ALPHA)
    q = [stats.tost(replace(claim, value=claim.value + MARGIN), MARGIN) for claim in claims]
    tally.happened(f"any false equivalence among {len(claims)} claims, Holm", min(stats.holm(q)) <= stats.ALPHA)
    difference = next((c.estimate for c in again.claims if c.scope == DIFFERENCE), None)
    if difference is not None:
        tally.happened("false effect: A/A, unseen less seen", stats.p_value(difference) <= stats.ALPHA)


def wrong(tally, study, truth, plant, design):
    """Blocks, or items of languages, as if they were independent."""
    samples = study.samples
    key = samples.process.astype(np.int64) << 32 | samples.block
    keys, place = np.unique(key, return_inverse=True)
    log = np.log(samples.prefill_ns + samples.decode_ns)
    logs = [np.bincount(place, weights=np.where(samples.arm == arm, log, 0.0)) / 2 for arm in range(len(ROLES))]
    name = "WRONG: tuned: total, blocks as units"
    tally.add(name, stats.student(logs[TUNED] - logs[BASE], unit="block"), truth.difference("total", TUNED))
    item = np.zeros(len(keys), dtype=int)
    item[place] = samples.item
    unseen = design.unseen(truth.language[item])
    change = logs[CLASSES] - logs[BASE]
    name = "WRONG: unseen less seen, items as units"
    tally.add(name, stats.welch(change[unseen], change[~unseen], unit="item"), np.subtract(*plant.class_effect))


# ------------------------------------------------------------------------------------------------------------- ledgers


KERNELS = (("gemm", 400e3, 0.01), ("attention", 90e3, 0.05), ("elementwise", 40e3, 0.0), ("copy", 15e3, 0.0))
REPEATS = 3  # of each kernel in a step
GAP_NS = 4e3


def typical_step(durations_ns, gaps_ns, words=("gemm",), samples=None, gap_samples=None, unit="step"):
    """Return a step of kernels that follow each other."""
    count = len(durations_ns)
    code = np.arange(count) % len(words)
    kernels = StepKernels(
        name=code,
        category=code,
        operator=np.zeros(count),
        frame=np.zeros(count),
        layer=np.full(count, -1),
        stream=np.zeros(count),
        start_ns=np.cumsum(np.add(durations_ns, gaps_ns)) - durations_ns,
        duration_ns=durations_ns,
        gap_ns=gaps_ns,
        gap_cause=np.zeros(count),
        names=words,
        categories=words,
        operators=("",),
        frames=("",),
        gap_causes=("",),
    )
    return TypicalStep(
        phase=Phase.DECODE,
        step_count=1,
        sampled_step_count=1,
        wall_ns=float(np.sum(durations_ns) + np.sum(gaps_ns)),
        busy_ns=float(np.sum(durations_ns)),
        overlap_ns=0.0,
        kernels=kernels,
        confidence=1.0,
        evidence="",
        samples_ns=samples,
        gap_samples_ns=gap_samples,
        sample_unit=unit,
    )


def one_ledger(tally, processes, noise, rng, steps=18):
    """A kernel ledger over processes; and over the steps of one process a side, as a study's traces are compared."""
    words = tuple(word for word, _, _ in KERNELS)
    base_ns = np.tile([time_ns for _, time_ns, _ in KERNELS], REPEATS)
    change = np.tile([more for _, _, more in KERNELS], REPEATS)
    sides = []
    for true_ns in (base_ns, base_ns * (1 + change)):
        own = rng.normal(0, noise.between_sd, (processes, 1)) + rng.normal(0, 0.01, (processes, len(true_ns)))
        expected = np.exp(own) * true_ns
        gaps = GAP_NS * np.exp(rng.normal(0, 0.05, (processes, len(true_ns))))
        scatter = rng.normal(0, noise.step_sd, (processes, steps, len(true_ns)))
        scatter += rng.normal(0, noise.sample_sd, (processes, steps, 1))
        late = rng.random(scatter.shape) < noise.step_outlier_share
        scatter += late * rng.exponential(noise.step_outlier_mean, scatter.shape)
        times = expected[:, None] * np.exp(scatter)
        gap_times = np.broadcast_to(gaps[:, None], times.shape) * np.exp(rng.normal(0, 0.1, times.shape))
        medians, gap_medians = np.median(times, axis=1), np.median(gap_times, axis=1)
        pooled = typical_step(
            medians.mean(axis=0), gap_medians.mean(axis=0), words, medians, gap_medians, unit="process"
        )
        single = typical_step(medians[0], gap_medians[0], words, times[0], gap_times[0])
        sides.append((pooled, single, expected[0] + gaps[0]))
    (pooled_a, single_a, own_a), (pooled_b, single_b, own_b) = sides
    code = np.arange(len(base_ns)) % len(words)
    truth = dict(zip(words, np.bincount(code, weights=base_ns * change), strict=True))
    own = dict(zip(words, np.bincount(code, weights=own_b - own_a), strict=True))
    for a, b, name, expected in (
        (pooled_a, pooled_b, "ledger over processes", truth),
        (single_a, single_b, "ledger over one process's steps, of these two recordings", own),
        (single_a, single_b, "WRONG: ledger over one process's steps, of the arms", truth),
    ):
        wall = a.wall_ns
        for line in dict(compare_steps(a, b).ledgers)["category"]:
            half = (line.high_ns - line.low_ns) / 2 / wall
            value, at = line.difference_ns / wall, expected[line.key] / wall
            tally.rows[f"{name}: {line.key}"].append((value, at, half, value - half, value + half, value, value))
            if name == "ledger over processes" and not truth[line.key]:
                tally.happened(f"false effect: {line.key} of a ledger", line.verdict == "effect")


# ---------------------------------------------------------------------------------------------------------- many times


def work(design, noise, plant, chunk):
    """Run some experiments of a design and return their tally."""
    seed, count = chunk
    tally, rng = Tally(), np.random.default_rng(seed)
    for _ in range(count):
        if design.on_gpu and not design.unfinished:
            one_ledger(tally, design.processes, noise, rng)
        one_experiment(tally, design, noise, plant, rng)
    return tally


def run(design, noise, plant, experiments, seed, mapped=map):
    """Simulate and analyse studies of a design; ``mapped`` may be that of a pool of processes."""
    tally = Tally()
    counts = [min(CHUNK, experiments - done) for done in range(0, experiments, CHUNK)]
    seeds = [(*seed, design.processes, number) for number in range(len(counts))]
    for part in mapped(partial(work, design, noise, plant), list(zip(seeds, counts, strict=True))):
        tally.join(part)
    return tally


def tables(design, tally):
    """Return what was counted: effects, rates and the design's minimal detectable effect."""
    result = {"design": asdict(design), "experiments": len(tally.kept["again"])}
    result |= {"effects": tally.effects(), "rates": tally.rates()}
    if tally.kept["components"]:
        # One study's own figure scatters as its sd does; here it is made of the mean components of all studies.
        between, within = np.sqrt((np.array(tally.kept["components"]) ** 2).mean(axis=0)).tolist()
        blocks = float(np.mean(tally.kept["blocks"]))
        components = stats.VarianceComponents(
            between_sd=between, within_sd=within, process_count=design.processes, block_count=blocks
        )
        effect = components.detectable_effect(design.processes, blocks)
        found = [stats.p_value(replace(own, value=own.value + effect)) <= stats.ALPHA for own in tally.kept["again"]]
        result["rates"]["power at the predicted minimal detectable effect"] = float(np.mean(found))
        result |= {"minimal_detectable_effect": effect, "between_sd": between, "within_sd": within}
    return result


def measured_components(file):
    """Return the variance components of a recorded study, root mean squares over its arms."""
    found = [c["components"] for c in json.loads(file.read_text())["comparisons"] if c["components"]]
    return {k: float(np.sqrt(np.mean([c[f"{k}_log"] ** 2 for c in found]))) for k in ("between_sd", "within_sd")}


def measured_noise(noise, plant, design, components, mapped):
    """Scale the noise until studies of a design have the given variance components."""
    for attempt in range(3):  # outliers make it not quite linear
        pilot = tables(design, run(design, noise, plant, 20, (11, attempt), mapped))
        noise = noise.scaled(*(components[k] / pilot[k] if pilot[k] else 1.0 for k in ("between_sd", "within_sd")))
    return noise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--components", type=Path, default=RECORDED)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # of the workers, each of which is one of many
        os.environ[name] = "1"
    noise, plant = Noise(), Plant()
    components = measured_components(options.components)
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        shape = {"languages": 17, "tasks": 12, "blocks": 1, "on_gpu": False}
        measured = measured_noise(noise, plant, Design(processes=20, **shape), components, pool.imap)
        contended = replace(noise, outlier_share=0.10)
        designs = {
            f"{name}, {p} processes": (Design(processes=p, **more), own)
            for name, own, more, counts in (
                ("assumed noise", noise, {}, PROCESS_COUNTS),
                ("measured noise", measured, shape, PROCESS_COUNTS),
                ("unfinished, contended", contended, {"unfinished": True}, (3, 8)),
                ("arms apart, one missing", noise, {"unfinished": True, "apart": True}, (3, 8)),
            )
            for p in counts
        }
        tallies = {title: Tally() for title in designs}
        for done in range(0, options.experiments, ROUND):  # so that what was interrupted still tells of all designs
            count = min(ROUND, options.experiments - done)
            for number, (title, (design, own)) in enumerate(designs.items()):
                some = -(-count // 5) if design.unfinished else count
                tallies[title].join(run(design, own, plant, some, (options.seed, number, done), pool.imap))
            results = {title: tables(design, tallies[title]) for title, (design, _) in designs.items()}
            record = {
                "command": " ".join(["python", *sys.argv]),
                "seed": options.seed,
                "experiments": done + count,
                "seconds": round(time.perf_counter() - started, 1),
                "noise": {"assumed": asdict(noise), "measured": asdict(measured)},
                "measured_components": components,
                "outside_93_97": outside(results),
                "designs": results,
            }
            if options.out is not None:
                options.out.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{done + count} experiments, {record['seconds']:.0f} s", flush=True)
    for title, result in results.items():
        tell(title, result)
    print("\noutside 93-97 %:", *record["outside_93_97"], sep="\n  ")


def outside(results):
    """Return what covers outside 93 to 97 %, with its distance from 95 % in standard errors of so many experiments."""
    found = []
    for title, result in results.items():
        error = float(np.sqrt(0.95 * 0.05 / result["experiments"]))
        for name, row in result["effects"].items():
            coverage = row.get("coverage", 0.95)
            if not 0.93 <= coverage <= 0.97 and not name.startswith("WRONG"):
                away = round((coverage - 0.95) / error, 1)
                found.append({"design": title, "effect": name, "coverage": coverage, "standard_errors": away})
    return found


def tell(title, result):
    """Print the tables of a design."""
    effect = result.get("minimal_detectable_effect")
    print(f"\n{title}" + (f"; minimal detectable effect {effect:.2%}" if effect else ""))
    for name, row in result["effects"].items():
        line = f"  {name:58s} truth {row['truth']:+.4%} bias {row['bias']:+.4%} ± {row['bias_error']:.4%}"
        if "coverage" in row:
            line += f" sd {row['sd']:.3%} covers {row['coverage']:.1%} "
            line += "" if 0.93 <= row["coverage"] <= 0.97 else "<--"
        print(line)
    for name, rate in result["rates"].items():
        print(f"  {name:66s} {rate:.1%}")


if __name__ == "__main__":
    main()
