"""Planted effects under the noise of real machines: are the intervals of `tokprof attribute` as good as they say?

Every experiment is made sample by sample, as a study measures it (processes that load their arms afresh, ABBA blocks
over languages, prefill and decode steps) and goes through the functions that the report uses. Printed per design and
effect: the bias, the spread, and how often the nominal 95 % interval holds the truth; then the error rates of the
verdicts, what the minimal detectable effect is worth, and two wrong analyses, which must fail here.

    python benchmarks/attribution_simulation.py --out benchmarks/results/cpu-2core-amd-epyc/attribution_simulation.json
    python benchmarks/attribution_simulation.py --components COMPONENTS.json   # {"between_sd": ..., "within_sd": ...}

With --components the noise is scaled so that it has the variance components that a study measured.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.attribution import State, TimeModel, fit_time_model, shapley

PROCESS_COUNTS = (3, 5, 8, 20)
LANGUAGES = 24  # the first half unseen, the second seen; 8 + 8 are two thirds of each
MARGIN = float(np.log1p(0.01))
POINTS = 6  # of a sample's decode steps, each the mean of a sixth of them
CONTENT_TOKENS = 48
REFERENCE_MHZ = 1400.0
BASE, AGAIN, TUNED, ADAPTER, OTHER = range(5)
ARMS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What disturbs a sample; standard deviations are of natural logarithms."""

    between_sd: float = 0.004  # of a process's difference between two arms
    machine_sd: float = 0.005  # of a process as a whole, which all its arms share
    clock_sd: float = 0.004  # of an arm's clock in a process, which is measured
    drift_sd: float = 0.010  # stationary first-order autoregression from sample to sample
    drift_correlation: float = 0.95
    trend_sd: float = 0.010  # linear, from a process's start to its end
    sample_sd: float = 0.012
    point_sd: float = 0.015  # of decode steps around their sample
    outlier_share: float = 0.02  # of samples, which only ever take longer
    outlier_mean: float = 0.15
    point_outlier_share: float = 0.01
    point_outlier_mean: float = 0.30
    language_sd: float = 0.006  # of languages' own true effects around that of their class

    def scaled(self, between, within):
        """Return this noise with that between processes and that within them multiplied."""
        factors = dict.fromkeys(BETWEEN, between) | dict.fromkeys(WITHIN, within)
        return replace(self, **{name: getattr(self, name) * factor for name, factor in factors.items()})


BETWEEN = ("between_sd", "clock_sd")
WITHIN = ("drift_sd", "trend_sd", "sample_sd", "point_sd", "outlier_mean", "point_outlier_mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The true costs: of the base, and what the other arms do to them."""

    base: TimeModel = TimeModel(  # noqa: RUF009  (frozen)
        prefill_s=0.010,
        prefill_token_s=0.003,
        prefill_token2_s=1e-6,
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

    def models(self):
        b = self.base
        tuned = replace(
            b,
            prefill_s=b.prefill_s * 1.01,
            prefill_token_s=b.prefill_token_s * 1.01,
            prefill_token2_s=b.prefill_token2_s * 1.01,
            step_s=b.step_s * 1.012,
            context_s=b.context_s * 1.05,
        )
        adapter = replace(b, prefill_token_s=b.prefill_token_s * 1.02, adapter_s=self.adapter_s)
        other = replace(tuned, gap_s=0.0013, clock_mhz=1370.0)
        return [b, b, tuned, adapter, other]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A study's shape. Items, their tokens and the languages are the same in all experiments."""

    processes: int
    blocks: int = 2  # per language and process
    languages: int = LANGUAGES

    def tokens(self):
        """Return language, N_in and N_out of each block's item, the latter two of shape (arms, items)."""
        rng = np.random.default_rng(7)
        language = np.repeat(np.arange(self.languages), self.blocks)
        n_in = np.round(np.exp(rng.uniform(np.log(60), np.log(480), len(language))))
        n_out = np.full(len(language), float(CONTENT_TOKENS))
        more = np.exp(rng.normal(0.10, 0.05, (2, len(language))))
        own_in, own_out = np.round(n_in * more[0]), np.round(n_out * more[1])
        return language, np.stack([n_in] * 4 + [own_in]), np.stack([n_out] * 4 + [own_out])


def simulate(design, noise, plant, experiments, rng):
    """Return prefill times (E, P, arms, items, 2), step times (..., 2, points), their contexts, gaps and clocks."""
    _, n_in, n_out = design.tokens()
    items, shape = n_in.shape[1], (experiments, design.processes)
    # Each block runs the arms in a random order and back; blocks in a random order of items.
    order = rng.random((*shape, items, ARMS)).argsort(axis=-1)
    turn = rng.random((*shape, items)).argsort(axis=-1)
    place = order.argsort(axis=-1)  # of an arm in its block
    there, back = turn[..., None] * 2 * ARMS + place, turn[..., None] * 2 * ARMS + 2 * ARMS - 1 - place
    when = np.stack([there, back], axis=-1).transpose(0, 1, 3, 2, 4)  # E, P, arms, items, 2
    samples = 2 * ARMS * items
    series = autoregression(noise, (*shape, samples), rng)
    series += rng.normal(0, noise.trend_sd, (*shape, 1)) * np.linspace(-1, 1, samples)
    late = rng.random(series.shape) < noise.outlier_share
    series += rng.normal(0, noise.sample_sd, series.shape) + late * rng.exponential(noise.outlier_mean, series.shape)
    series += rng.normal(0, noise.machine_sd, (*shape, 1))
    log = np.take_along_axis(series, when.reshape(*shape, -1), axis=-1).reshape(when.shape)
    # What a process does to an arm: mostly to all of its costs alike, partly to each.
    each = noise.between_sd / np.sqrt(2)
    common = rng.normal(0, each * 0.8, (*shape, ARMS, 1))
    own = common + rng.normal(0, each * 0.6, (*shape, ARMS, 3))
    models = plant.models()
    clock = np.array([m.clock_mhz for m in models]) * np.exp(rng.normal(0, noise.clock_sd, (*shape, ARMS)))
    gap = np.array([m.gap_s for m in models]) * np.exp(rng.normal(0, 0.01, (*shape, ARMS)))
    steps = n_out - 1
    context = n_in[..., None] + 0.5 + steps[..., None] * (np.arange(POINTS) + 0.5) / POINTS
    prefill, step = np.empty(when.shape), np.empty((*when.shape, POINTS))
    for arm, m in enumerate(models):
        speed = REFERENCE_MHZ / clock[:, :, arm, None]
        costs = np.exp(own[:, :, arm, :, None])
        cost = m.prefill_s + m.prefill_token_s * n_in[arm] + m.prefill_token2_s * n_in[arm] ** 2
        true = cost * costs[:, :, 0] * speed**m.prefill_elasticity + gap[:, :, arm, None]
        prefill[:, :, arm] = true[..., None] * np.exp(log[:, :, arm])
        cost = (m.step_s + (m.adapter_s or 0.0)) * costs[:, :, 1, :, None] + m.context_s * context[arm] * costs[
            :, :, 2, :, None
        ]
        true = cost * speed[..., None] ** m.decode_elasticity + gap[:, :, arm, None, None]
        scatter = rng.normal(0, noise.point_sd, step[:, :, arm].shape)
        late = rng.random(scatter.shape) < noise.point_outlier_share
        scatter += late * rng.exponential(noise.point_outlier_mean, scatter.shape)
        step[:, :, arm] = true[..., None, :] * np.exp(scatter + log[:, :, arm, ..., None])
    return prefill, step, context, gap, clock


def autoregression(noise, shape, rng):
    rho = noise.drift_correlation
    shock = rng.normal(0, noise.drift_sd, shape)
    shock[..., 1:] *= np.sqrt(1 - rho**2)
    for i in range(1, shape[-1]):
        shock[..., i] += rho * shock[..., i - 1]
    return shock


class Tally:
    """Estimates of effects beside their truths."""

    def __init__(self):
        self.value, self.truth, self.held, self.held90, self.error = (defaultdict(list) for _ in range(5))

    def add(self, name, estimate, truth):
        wide, narrow = estimate.at(0.95), estimate.at(0.90)
        self.value[name].append(estimate.value)
        self.truth[name].append(truth)
        self.held[name].append(wide.low <= truth <= wide.high)
        self.held90[name].append(narrow.low <= truth <= narrow.high)
        self.error[name].append(estimate.error)

    def table(self):
        rows = {}
        for name, values in self.value.items():
            difference = np.array(values) - np.array(self.truth[name])
            rows[name] = {
                "truth": float(np.mean(self.truth[name])),
                "bias": float(difference.mean()),
                "bias_error": float(difference.std() / np.sqrt(len(difference))),
                "sd": float(difference.std()),
                "mean_error": float(np.mean(self.error[name])),
                "coverage": float(np.mean(self.held[name])),
                "coverage90": float(np.mean(self.held90[name])),
            }
        return rows


class Rates:
    """How often something happened."""

    def __init__(self):
        self.seen = defaultdict(list)

    def add(self, name, happened):
        self.seen[name].append(bool(happened))

    def table(self):
        return {name: float(np.mean(values)) for name, values in self.seen.items()}


def true_times(design, plant):
    """Return each arm's noise-free prefill and decode times (without and with what a step's gap is), per item."""
    _, n_in, n_out = design.tokens()
    prefill, total = [], []
    for arm, m in enumerate(plant.models()):
        prefill.append(m.prefill_time(n_in[arm]) + m.gap_s)
        total.append(m.time(n_in[arm], n_out[arm]))
    prefill, total = np.array(prefill), np.array(total)
    return {"total": total, "prefill": prefill, "decode": total - prefill, "step": (total - prefill) / (n_out - 1)}


def log_times(design, prefill, step):
    """Return mean logs of the two samples of each block, shape (E, P, arms, items), as the report takes them."""
    steps = design.tokens()[2] - 1
    mean = step.mean(axis=-1)
    decode = mean * steps[..., None]
    times = {"total": prefill + decode, "prefill": prefill, "decode": decode, "step": mean}
    return {name: np.log(values).mean(axis=-1) for name, values in times.items()}


COMPARED = {
    "tuned": (BASE, TUNED),
    "A/A": (BASE, AGAIN),
    "adapter": (BASE, ADAPTER),
    "other tokenizer": (BASE, OTHER),
}


def run(design, noise, plant, experiments, rng):
    """Simulate and analyse; return the tables of effects and of rates."""
    tally, rates = Tally(), Rates()
    language = design.tokens()[0]
    truth = {name: np.log(values) for name, values in true_times(design, plant).items()}
    found_components, values = [], []
    chunk = max(1, 240 // design.processes)
    done = 0
    while done < experiments:
        count = min(chunk, experiments - done)
        prefill, step, context, gap, clock = simulate(design, noise, plant, count, rng)
        logs = log_times(design, prefill, step)
        decomposition(tally, design, plant, prefill, step, context, gap, clock)
        for e in range(count):
            again = ratios(tally, {name: own[e] for name, own in logs.items()}, truth, language)
            languages_as_units(tally, rates, logs["total"][e], noise, plant, language, rng)
            blocks = logs["total"][e, :, AGAIN] - logs["total"][e, :, BASE]
            components, estimate = verdicts(rates, blocks, again, values[-1:], language)
            found_components.append(components)
            values.append(estimate)
            # Arms in processes of their own: the tuned of this experiment, the base of the next one's processes.
            other = logs["total"][(e + 1) % count, :, BASE].mean(axis=-1)
            if count > 1:
                tally.add(
                    "tuned, arms apart: total",
                    stats.welch(logs["total"][e, :, TUNED].mean(axis=-1), other),
                    (truth["total"][TUNED] - truth["total"][BASE]).mean(),
                )
        done += count
    # One study's own figure scatters as its sd does; here it is made of the mean components of all studies.
    components = stats.VarianceComponents(
        between_sd=float(np.sqrt(np.mean([c.between_sd**2 for c in found_components]))),
        within_sd=float(np.sqrt(np.mean([c.within_sd**2 for c in found_components]))),
        process_count=design.processes,
        block_count=len(language),
    )
    predicted = components.detectable_effect(design.processes, len(language))
    found = [stats.p_value(replace(own, value=own.value + predicted)) <= stats.ALPHA for own in values]
    more = {"power at the predicted minimal detectable effect": float(np.mean(found))}
    return {
        "effects": tally.table(),
        "rates": rates.table() | more,
        "minimal_detectable_effect": predicted,
        "between_sd": components.between_sd,
        "within_sd": components.within_sd,
    }


def ratios(tally, logs, truth, language):
    """The total, prefill, decode and per-step differences of each arm, the process as the unit; return those of A/A."""
    groups = [language] * len(logs["total"])
    again = []
    for name, (a, b) in COMPARED.items():
        for quantity in ("total", "decode", "step" if name == "other tokenizer" else "prefill"):
            estimate = stats.over_processes(list(logs[quantity][:, b] - logs[quantity][:, a]), groups)
            tally.add(f"{name}: {quantity}", estimate, (truth[quantity][b] - truth[quantity][a]).mean())
            again += [estimate] if name == "A/A" else []
    one = logs["total"][:, TUNED] - logs["total"][:, BASE]
    here = language == 0
    expected = (truth["total"][TUNED] - truth["total"][BASE])[here].mean()
    tally.add("tuned: total in one language", stats.over_processes(list(one[:, here])), expected)
    everything = one.ravel()
    expected = (truth["total"][TUNED] - truth["total"][BASE]).mean()
    tally.add("WRONG: tuned: total, blocks as units", stats.student(everything, unit="block"), expected)
    return again


def languages_as_units(tally, rates, logs, noise, plant, language, rng):
    """Claims about classes of languages, which are a sample: each has an effect of its own around that of its class."""
    count = language.max() + 1
    unseen = np.arange(count) < count // 2
    own = np.where(unseen, *plant.class_effect) + rng.normal(0, noise.language_sd, count)
    blocks = logs[:, AGAIN] - logs[:, BASE] + own[language]
    by_language = stats.hodges_lehmann(blocks.reshape(len(blocks), count, -1))  # languages follow each other
    expected = plant.class_effect[0] - plant.class_effect[1]
    for size in (count // 3, count // 2):
        a, b = by_language[:, :size], by_language[:, count // 2 : count // 2 + size]
        estimate = stats.difference_in_differences(a.mean(axis=0), b.mean(axis=0))
        tally.add(f"unseen less seen, {size}+{size} languages", estimate, expected)
        tally.add(f"unseen languages, {size}", stats.over_languages(a), plant.class_effect[0])
    a, b = blocks[:, unseen[language]].ravel(), blocks[:, ~unseen[language]].ravel()
    tally.add("WRONG: unseen less seen, items as units", stats.welch(a, b, unit="item"), expected)
    # Without any difference of the classes: a false effect?
    null = own - np.where(unseen, *plant.class_effect)
    values = (by_language - own + null).mean(axis=0)
    p = stats.p_value(stats.difference_in_differences(values[unseen], values[~unseen]))
    rates.add("false effect: unseen less seen", p <= stats.ALPHA)


def verdicts(rates, blocks, again, before, language):
    """The errors of tests and verdicts, where nothing differs and where just the margin does.

    ``blocks`` and ``again`` are A/A's, ``before`` the same estimate of another experiment.
    """
    estimate = again[0]
    rates.add("false effect: A/A", stats.p_value(estimate) <= stats.ALPHA)
    rates.add("equivalent: A/A within 1 %", stats.tost(estimate, MARGIN) <= stats.ALPHA)
    at = replace(estimate, value=estimate.value + MARGIN)
    rates.add("false equivalence: the difference is the margin", stats.tost(at, MARGIN) <= stats.ALPHA)
    # The report takes the margin that was asked for or what A/A shows; another arm differs by the margin taken.
    margin = max(MARGIN, stats.equivalence_margin(estimate))
    for other in before:
        at = replace(other, value=other.value + margin)
        rates.add("false equivalence: the difference is A/A's margin", stats.tost(at, margin) <= stats.ALPHA)
    # The claims of one report, all of them null: every language, and the three quantities over all.
    claims = [stats.over_processes(list(blocks[:, language == k])) for k in range(language.max() + 1)] + again
    p = [stats.p_value(claim) for claim in claims]
    rates.add(f"any false effect among {len(claims)} claims, Holm", min(stats.holm(p)) <= stats.ALPHA)
    rates.add(f"WRONG: any false effect among {len(claims)} claims, unadjusted", min(p) <= stats.ALPHA)
    q = [stats.tost(replace(claim, value=claim.value + MARGIN), MARGIN) for claim in claims]
    rates.add(f"any false equivalence among {len(claims)} claims, Holm", min(stats.holm(q)) <= stats.ALPHA)
    groups = [language] * len(blocks)
    components = stats.variance_components(list(blocks), groups)
    return components, estimate


def decomposition(tally, design, plant, prefill, step, context, gap, clock):
    """Fit each arm in each process, divide the differences by Shapley, and take Student's interval over processes."""
    _, n_in, n_out = design.tokens()
    truth = plant.models()
    experiments, processes = prefill.shape[:2]
    b = plant.base
    fitted = []
    for arm in range(ARMS):
        fit = fit_time_model(
            np.repeat(n_in[arm], 2),
            prefill[:, :, arm].reshape(experiments, processes, -1),
            np.repeat(context[arm][:, None], 2, axis=1).ravel(),
            step[:, :, arm].reshape(experiments, processes, -1),
            gap_s=gap[:, :, arm],
            clock_mhz=clock[:, :, arm],
            reference_clock_mhz=REFERENCE_MHZ,
            prefill_elasticity=b.prefill_elasticity,
            decode_elasticity=b.decode_elasticity,
        )
        fitted.append(fit.model)
    observed = np.exp(log_times(design, prefill, step)["total"])
    for name, (a, c) in COMPARED.items():
        model0, model1 = (columns(fitted[arm]) for arm in (a, c))
        true0, true1 = truth[a], truth[c]
        if c == ADAPTER:
            model1, true1 = model1.beside(model0), replace(true1, step_s=true0.step_s)
        split = shapley(
            State(model=model0, n_in=n_in[a], n_out=n_out[a]),
            State(model=model1, n_in=n_in[c], n_out=n_out[c]),
            observed[:, :, a],
            observed[:, :, c],
        ).summed()
        expected = shapley(
            State(model=true0, n_in=n_in[a], n_out=n_out[a]), State(model=true1, n_in=n_in[c], n_out=n_out[c])
        ).summed()
        shares, true_shares = split.log_shares(), expected.log_shares()
        residual = split.residual_log_share()
        for e in range(experiments):
            for k, factor in enumerate(split.factors):
                if shares[k, e].any():  # what is the same in both states has no effect, exactly
                    tally.add(f"{name}: Shapley {factor}", stats.student(shares[k, e]), true_shares[k])
            tally.add(f"{name}: Shapley residual", stats.student(residual[e]), 0.0)


def columns(model):
    """Return a model of (experiments, processes) with a last axis for the items."""
    names = ("prefill_s", "prefill_token_s", "prefill_token2_s", "step_s", "context_s", "gap_s", "clock_mhz")
    return replace(model, **{name: getattr(model, name)[..., None] for name in names})


def measured_noise(noise, plant, file):
    """Scale the noise to the variance components in a file."""
    facts = json.loads(Path(file).read_text())
    design = Design(processes=20)
    for _ in range(4):  # outliers make it not quite linear
        pilot = run(design, noise, plant, 24, np.random.default_rng(11))
        noise = noise.scaled(*(facts[k] / pilot[k] if pilot[k] else 1.0 for k in ("between_sd", "within_sd")))
    return noise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--components", type=Path)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    noise, plant = Noise(), Plant()
    if options.components is not None:
        noise = measured_noise(noise, plant, options.components)
    started = time.perf_counter()
    designs, failed = {}, []
    for processes in PROCESS_COUNTS:
        rng = np.random.default_rng((options.seed, processes))
        result = run(Design(processes=processes), noise, plant, options.experiments, rng)
        designs[str(processes)] = result
        print(
            f"\n{processes} processes, {time.perf_counter() - started:.0f} s; minimal detectable effect "
            f"{result['minimal_detectable_effect']:.2%}, within {result['within_sd']:.2%}"
        )
        for name, row in result["effects"].items():
            wrong = name.startswith("WRONG")
            bad = not 0.93 <= row["coverage"] <= 0.97
            if bad and not wrong:
                failed.append((processes, name, row["coverage"]))
            print(
                f"  {name:48s} truth {row['truth']:+.4%} bias {row['bias']:+.4%} ± {row['bias_error']:.4%} "
                f"sd {row['sd']:.3%} covers {row['coverage']:.1%} {'<--' if bad else ''}"
            )
        for name, rate in result["rates"].items():
            print(f"  {name:60s} {rate:.1%}")
    print("\noutside 93-97 %:", failed or "none")
    if options.out is not None:
        record = {
            "command": " ".join(["python", *sys.argv]),
            "experiments": options.experiments,
            "seconds": round(time.perf_counter() - started, 1),
            "noise": asdict(noise),
            "outside_93_97": failed,
            "designs": designs,
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
