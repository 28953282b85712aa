"""From the samples of a study to its report: what differs between arms, by how much, and what of it is due to what.

Differences are natural logarithms of time per byte of the same text, an arm's minus the base's: +0.01 is one per cent
more time. They come from blocks in which both arms ran. The process is the unit of an interval; the language is that of
a claim about a class of languages. All claims of a report share one family of Holm, the languages of an arm another,
the lines of a kernel ledger a third.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.fertility import made_languages
from tokprof.profiler.analysis.stats import Estimate
from tokprof.profiler.analysis.study_parts import (
    FactorLine,
    FertilityLine,
    IdentityLine,
    KernelPass,
    NaturalLine,
    Rates,
    against_base,
    against_pivot,
    factors,
    fertility,
    forced,
    item_bytes,
    natural,
    phase_split,
    rates,
    same_tokens,
    seconds,
)
from tokprof.profiler.errors import InputError
from tokprof.profiler.record import Array, Note, NoteLevel, TimelineDiff
from tokprof.profiler.studies import ArmRole, Exposure
from tokprof.profiler.study_samples import Study

QUANTITIES = ("total", "prefill", "decode", "step")
EVERY = "every language"
DIFFERENCE = "unseen less seen"
WIDEST_MARGIN = float(np.log(2))  # of equivalence: what may take twice as long is not as long
METHOD_APART = "Hodges-Lehmann of blocks in processes side by side, Student's t over them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of the report, with what it rests on."""

    arm: str
    quantity: str  # "total", "prefill" or "decode": of the time per byte
    scope: str  # EVERY, "seen", "unseen" or DIFFERENCE
    estimate: Estimate  # of ln(arm / base)
    p: float | None  # two-sided, adjusted over the family
    p_equivalence: float | None  # adjusted likewise
    verdict: str
    detectable_log: float | None  # minimal detectable effect of the design as it was run


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageLine:
    """What an arm changes in one language."""

    language: str
    exposure: str
    evidence: str
    total: Estimate
    prefill: Estimate
    decode: Estimate
    verdict: str  # on the total, adjusted over the languages of the arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm against the base."""

    arm: str
    role: str
    same_tokens: bool  # both tokenizers give the same tokens: fertility cancels exactly
    claims: tuple[Claim, ...]
    languages: tuple[LanguageLine, ...]
    identity: tuple[IdentityLine, ...]
    components: stats.VarianceComponents | None
    factors: tuple[FactorLine, ...] = ()  # by Shapley
    step: FactorLine | None = None  # of these, all that a decode step costs together; None: no cost of context is known
    step_told_apart: bool | None = None  # False: the sum is clearly better known than each part; None: not known
    phases: tuple[FactorLine, ...] = ()  # by the log-mean: prefill and decode, which sum to the whole
    timeline: TimelineDiff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """The whole answer of ``tokprof attribute``."""

    sentences: tuple[str, ...]  # the answer in plain words, the most telling first
    study: str
    device: str
    base: str
    margin_log: float | None  # of equivalence; None where it cannot be told
    margin_reason: str
    claim_count: int
    process_count: int  # in the claims
    block_count: int  # measured, with those of the models' own answers
    sample_count: int
    marked_count: int
    bytes_per_item: float  # of prompt and text, mean over the samples
    base_seconds_per_item: float  # prefill and decode of the base, mean
    rates: tuple[Rates, ...]
    comparisons: tuple[Comparison, ...]
    language_identity: tuple[IdentityLine, ...]  # of the base, each language against the pivot
    pivot: str
    fertility: tuple[FertilityLine, ...]
    natural: tuple[NaturalLine, ...]
    notes: tuple[Note, ...]


# ----------------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """Mean logs of the forced samples: one row per block, one column per arm, NaN where an arm did not run in it."""

    process: Array  # per row
    item: Array
    language: Array
    logs: dict[str, Array]  # quantity -> (rows, arms)


def _table(study: Study) -> _Table:
    samples = forced(study)
    if not len(samples):
        raise _nothing_beside(study)
    key = samples.process.astype(np.int64) << 32 | samples.block
    keys, row = np.unique(key, return_inverse=True)
    arms = len(study.plan.arms)
    place = row * arms + samples.arm
    counts = np.bincount(place, minlength=len(keys) * arms).astype(float)
    times = {
        "total": samples.prefill_ns + samples.decode_ns,
        "prefill": samples.prefill_ns,
        "decode": samples.decode_ns,
        "step": samples.decode_ns / np.maximum(samples.step_count, 1),
    }
    logs = {}
    for name, values in times.items():
        sums = np.bincount(place, weights=np.log(np.maximum(values, 1)), minlength=len(keys) * arms)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs[name] = (sums / counts).reshape(len(keys), arms)
    first = np.zeros(len(keys), dtype=np.int64)
    first[row] = np.arange(len(row))
    codes = {language.key: code for code, language in enumerate(study.plan.languages)}
    languages = np.array([codes[item.language] for item in study.plan.items])
    return _Table(
        process=samples.process[first],
        item=samples.item[first],
        language=languages[samples.item[first]],
        logs=logs,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Differences:
    """Log differences of one arm to the base, per process: of blocks that both measured.

    Arms in processes of their own measure the same items in the same order; there a block's two halves are of
    two processes, and the scatter between processes has all that came between them.
    """

    blocks: list[Array]
    languages: list[Array]
    groups: list[Array]  # what a block's difference is typical of: its language; its item where the tokens differ
    left_out: tuple[int, ...]  # processes that lack a language which others have: theirs would be a mean of others
    apart: bool

    def estimate(self) -> Estimate | None:
        """Estimate the mean over the languages that were measured; the process is the unit."""
        if not self.blocks:
            return None
        estimate = stats.over_processes(self.blocks, self.groups)
        return replace(estimate, method=METHOD_APART) if self.apart else estimate

    def by_language(self) -> Array | None:
        """Return shape (processes, languages): each process's value in each language that all measured."""
        known = [set(own.tolist()) for own in self.languages]
        shared = sorted(set.intersection(*known)) if known else []
        if not shared:
            return None
        table = [
            [float(stats.hodges_lehmann(own[labels == code])) for code in shared]
            for own, labels in zip(self.blocks, self.languages, strict=True)
        ]
        return stats.without_outliers(table)


def _differences(study: Study, table: _Table, arm: int, quantity: str, languages: Sequence[int]) -> _Differences:
    logs = table.logs[quantity]
    both = ~np.isnan(logs[:, arm] - logs[:, 0])
    processes = np.unique(table.process).tolist()
    # A process counts in every estimate or in none: else classes of languages would be those of other processes.
    measured = {process: set(table.language[both & (table.process == process)].tolist()) for process in processes}
    measured = {process: own for process, own in measured.items() if own}
    whole = set(table.language[both].tolist())
    complete = [process for process, own in measured.items() if own == whole]
    counted = complete if len(complete) > 1 else list(measured)
    rows = {
        process: np.flatnonzero(both & (table.process == process) & np.isin(table.language, languages))
        for process in counted
    }
    kept = [process for process in counted if len(rows[process])]
    labels = [table.language[rows[process]] for process in kept]
    return _Differences(
        blocks=[(logs[:, arm] - logs[:, 0])[rows[process]] for process in kept],
        languages=labels,
        groups=labels if same_tokens(study, arm) else [table.item[rows[process]] for process in kept],
        left_out=tuple(process for process in measured if process not in counted),
        apart=study.plan.apart,
    )


# ---------------------------------------------------------------------------------------------------------- the report


def analyze_study(study: Study, passes: Mapping[int, KernelPass] | None = None) -> StudyReport:
    """Analyse every finished block of a study; ``passes`` holds what the profiled pass tells of an arm.

    Raises
    ------
    InputError
        No arm was measured beside the base.
    """
    plan = study.plan
    table = _table(study)
    arms, left_out, notes = _measured_arms(study, table)
    margin, reason = _margin(study, table, arms)
    raw: list[tuple[int, str, str, Estimate]] = []
    for arm in arms:
        raw += _raw_claims(study, table, arm)
    adjusted = stats.holm([stats.p_value(estimate) for *_, estimate in raw])
    equivalence = stats.holm([stats.tost(estimate, margin) for *_, estimate in raw])
    claims = [
        Claim(
            arm=plan.arms[arm].name,
            quantity=quantity,
            scope=scope,
            estimate=estimate,
            p=p,
            p_equivalence=q,
            verdict=str(stats.verdict(estimate, p, q, margin)),
            detectable_log=stats.detectable_effect(estimate),
        )
        for (arm, quantity, scope, estimate), p, q in zip(raw, adjusted, equivalence, strict=True)
    ]
    comparisons = []
    for arm in arms:
        own_claims = [claim for claim in claims if claim.arm == plan.arms[arm].name]
        comparison, said = _comparison(study, table, arm, own_claims, margin, (passes or {}).get(arm))
        comparisons.append(comparison)
        notes += said
    pivot = next((language for language in plan.languages if language.key == "python"), plan.languages[0])
    notes = [*study.notes, *notes, *_notes(study, [0, *arms], comparisons)]
    header = study.headers[0]
    report = StudyReport(
        sentences=(),
        study=str(study.folder),
        device=f"{header.environment.device.name} ({header.environment.device.kind})",
        base=plan.arms[0].model,
        margin_log=margin,
        margin_reason=reason,
        claim_count=len(claims),
        process_count=len(np.setdiff1d(study.samples.process, left_out)),
        block_count=study.finished_block_count,
        sample_count=len(study.samples),
        bytes_per_item=float(np.mean(item_bytes(study)[forced(study).item])),
        base_seconds_per_item=float(np.mean(seconds(forced(study, 0)))),
        marked_count=int((study.samples.mark != 0).sum()),
        rates=rates(study),
        comparisons=tuple(comparisons),
        language_identity=against_pivot(study, pivot.key),
        pivot=pivot.name,
        fertility=fertility(study),
        natural=natural(study),
        notes=tuple(dict.fromkeys(notes)),
    )
    return replace(report, sentences=sentences(report))


def _nothing_beside(study: Study) -> InputError:
    way_out = f"go on with `tokprof attribute --resume --out {study.folder}`"
    return InputError(
        f"{study.folder}: no arm was measured beside the base yet, so there is nothing to compare; {way_out}"
    )


def _measured_arms(study: Study, table: _Table) -> tuple[list[int], list[int], list[Note]]:
    """Return the arms measured beside the base, the processes left out of the claims, and words on what is missing."""
    plan = study.plan
    every = range(len(plan.languages))
    known = {arm for header in study.headers for arm in header.arms}
    found = {arm: _differences(study, table, arm, "total", every) for arm in sorted(known - {0}) if 0 in known}
    arms = [arm for arm, differences in found.items() if differences.blocks]
    if not arms:
        raise _nothing_beside(study)
    notes = []
    if absent := [facts.name for arm, facts in enumerate(plan.arms) if arm and arm not in arms]:
        notes.append(Note(code="arms-absent", message=f"not measured yet: {', '.join(absent)}"))
    left_out = sorted({process for differences in found.values() for process in differences.left_out})
    if left_out:
        words = ", ".join(f"process-{process:02d}" for process in left_out)
        notes.append(
            Note(
                code="incomplete-process",
                message=f"of {words} not every language is measured; such a process is left out of the claims",
            )
        )
    return arms, left_out, notes


def _margin(study: Study, table: _Table, arms: Sequence[int]) -> tuple[float | None, str]:
    """Return the margin of equivalence and why it is that.

    It is the one that was asked for, but never below what A/A itself shows; ``None`` where that is nothing like equal.
    """
    asked = float(np.log1p(study.plan.margin))
    floor = 0.0
    for arm, facts in enumerate(study.plan.arms):
        if facts.role is ArmRole.AGAIN and arm in arms:
            estimate = _differences(study, table, arm, "total", range(len(study.plan.languages))).estimate()
            floor = max(floor, (stats.equivalence_margin(estimate) if estimate is not None else None) or 0.0)
    if floor > WIDEST_MARGIN:
        return None, f"A/A is not known to be zero within ±100%; ±{study.plan.margin:.2%} was asked for"
    if floor > asked:
        return floor, f"A/A is known to be zero only within this; ±{study.plan.margin:.2%} was asked for"
    return asked, "set before the run"


def _raw_claims(study: Study, table: _Table, arm: int) -> list[tuple[int, str, str, Estimate]]:
    plan = study.plan
    found: list[tuple[int, str, str, Estimate]] = []
    every = range(len(plan.languages))
    for quantity in ("total", "prefill", "decode"):
        estimate = _differences(study, table, arm, quantity, every).estimate()
        if estimate is not None:
            found.append((arm, quantity, EVERY, estimate))
    sides = {
        side: [code for code, language in enumerate(plan.languages) if language.exposure is side]
        for side in (Exposure.SEEN, Exposure.UNSEEN)
    }
    values: dict[Exposure, Array] = {}
    for side, codes in sides.items():
        if len(codes) > 1:
            by_language = _differences(study, table, arm, "total", codes).by_language()
            if by_language is not None and by_language.shape[1] > 1:
                values[side] = by_language
                found.append((arm, "total", str(side), stats.over_languages(by_language)))
    if len(values) == 2:
        estimate = stats.difference_in_differences(
            values[Exposure.UNSEEN].mean(axis=0), values[Exposure.SEEN].mean(axis=0)
        )
        found.append((arm, "total", DIFFERENCE, estimate))
    return found


def _comparison(
    study: Study, table: _Table, arm: int, claims: Sequence[Claim], margin: float | None, traced: KernelPass | None
) -> tuple[Comparison, list[Note]]:
    plan = study.plan
    every = _differences(study, table, arm, "total", range(len(plan.languages)))
    parts = factors(study, arm, traced.busy if traced is not None else None, every.left_out)
    lines = []
    for code, language in enumerate(plan.languages):
        found = {q: _differences(study, table, arm, q, [code]).estimate() for q in ("total", "prefill", "decode")}
        if found["total"] is not None and found["prefill"] is not None and found["decode"] is not None:
            lines.append((language, found["total"], found["prefill"], found["decode"]))
    adjusted = stats.holm([stats.p_value(total) for _, total, _, _ in lines])
    equivalence = stats.holm([stats.tost(total, margin) for _, total, _, _ in lines])
    comparison = Comparison(
        arm=plan.arms[arm].name,
        role=str(plan.arms[arm].role),
        same_tokens=same_tokens(study, arm),
        claims=tuple(claims),
        languages=tuple(
            LanguageLine(
                language=language.name,
                exposure=str(language.exposure),
                evidence=language.evidence,
                total=total,
                prefill=prefill,
                decode=decode,
                verdict=str(stats.verdict(total, p, q, margin)),
            )
            for (language, total, prefill, decode), p, q in zip(lines, adjusted, equivalence, strict=True)
        ),
        identity=against_base(study, arm),
        components=stats.variance_components(every.blocks, every.groups),
        factors=parts.lines,
        step=parts.step,
        step_told_apart=parts.step_told_apart,
        phases=phase_split(study, arm, every.left_out),
        timeline=traced.timeline if traced is not None else None,
    )
    return comparison, [*parts.notes, *(traced.timeline.notes if traced is not None else ())]


def _notes(study: Study, arms: Sequence[int], comparisons: Sequence[Comparison]) -> list[Note]:
    notes = []
    plan = study.plan
    sizes = {plan.arms[arm].name: study.model(arm).vocabulary_count for arm in arms}
    if len(set(sizes.values())) > 1:
        words = ", ".join(f"{name} {size} (mod 8: {size % 8}, mod 64: {size % 64})" for name, size in sizes.items())
        notes.append(
            Note(
                code="vocabulary-resized",
                message=f"the vocabularies differ in size: {words}",
                advice="a size that is no multiple of 64 can cost the last layer its fast kernels",
            )
        )
    if all(item.share < 1 for item in plan.items):
        notes.append(
            Note(
                code="excerpts",
                message="a part of each task was decoded; seconds per task are that part's, scaled to the whole",
                level=NoteLevel.INFO,
            )
        )
    notes += made_languages(language.key for language in plan.languages)
    if plan.stood_in:
        notes.append(Note(code="exposure", message=plan.stood_in, level=NoteLevel.INFO))
    if not any(c.role == ArmRole.AGAIN for c in comparisons):
        notes.append(Note(code="no-a-a", message="no arm repeats the base, so the noise floor was not measured"))
    return notes


# ------------------------------------------------------------------------------------------------------ the sentences


def sentences(report: StudyReport) -> tuple[str, ...]:
    """Answer in plain words: how much each arm differs, effects first, and if the tokenizer or the machine did it."""
    again = [c for c in report.comparisons if c.role == ArmRole.AGAIN]
    others = [(c, claim) for c in report.comparisons if c not in again and (claim := _whole(c)) is not None]
    others.sort(key=lambda pair: not pair[1].verdict.startswith("effect"))
    placebo = next((c for c in report.comparisons if c.role == ArmRole.PLACEBO), None)
    count = report.claim_count
    told = [_told(comparison, claim, count) + _but(comparison, claim, placebo) for comparison, claim in others]
    if report.marked_count > report.sample_count / 2:
        told.append(
            f"{report.marked_count} of {report.sample_count} samples are marked: the machine was busy or held back, so "
            "measure again while nothing else runs"
        )
    if others and all(comparison.same_tokens for comparison, _ in others):
        told.append("all read the same tokens, so the tokenizer has no part in it")
    for comparison in again:
        if (claim := _whole(comparison)) is not None:
            known_to = claim.estimate.known_to()
            noise = interval(claim.estimate, 1) if known_to is None else f"a difference {known_to}"
            told.append(f"the machine alone, the base against itself, shows {noise}")
    return tuple(f"{text[:1].upper()}{text[1:]}." for text in told)


def _told(comparison: Comparison, claim: Claim, claim_count: int) -> str:
    """Say in words what an arm does to the time of the same text, and with the same tokens to tokens per second."""
    log = claim.estimate.value
    if claim.verdict.startswith("effect"):
        more = "longer" if log > 0 else "less time"
        told = f"{comparison.arm} takes {abs(np.expm1(log)):.1%} {more} than the base, {bounds(claim.estimate, 1)}"
        if comparison.same_tokens:
            told += f", {abs(np.expm1(-log)):.1%} {'fewer' if log > 0 else 'more'} tokens per second"
    elif claim.verdict.startswith("equivalent"):
        told = f"{comparison.arm} takes as long as the base, {interval(claim.estimate, 1)}"
    else:
        low, high = claim.estimate.low, claim.estimate.high
        alone = low is not None and high is not None and (low > 0 or high < 0)
        among = f" among {claim_count} claims, only by this one alone" if alone else ""
        known_to = claim.estimate.known_to()
        told = f"whether {comparison.arm} takes longer than the base or less cannot be told{among}, "
        told += interval(claim.estimate, 1) if known_to is None else f"the difference is {known_to}"
    if not comparison.same_tokens:
        told += f", with {percent(_mean_fertility(comparison), 1)} tokens for the same text"
    return f"{told}: {claim.verdict}"


def _but(comparison: Comparison, whole: Claim, placebo: Comparison | None) -> str:
    """Name the phases in which an arm differs although the whole is no effect, and whether the placebo does as well."""
    if whole.verdict.startswith("effect"):
        return ""
    found = []
    for phase in ("prefill", "decode"):
        claim = _effect_in(comparison, phase)
        if claim is None:
            continue
        log = claim.estimate.value
        told = f"{phase} by itself takes {abs(np.expm1(log)):.1%} {'longer' if log > 0 else 'less time'}, an effect"
        alike = _effect_in(placebo, phase) if placebo is not None and placebo is not comparison else None
        if alike is not None and (alike.estimate.value > 0) == (log > 0):
            told += " that the placebo shows too, so not of what was learned"
        found.append(told)
    return f"; but {' and '.join(found)}" if found else ""


def _effect_in(comparison: Comparison, phase: str) -> Claim | None:
    claims = (c for c in comparison.claims if c.quantity == phase and c.scope == EVERY)
    return next((c for c in claims if c.verdict.startswith("effect")), None)


def _whole(comparison: Comparison) -> Claim | None:
    return next((c for c in comparison.claims if c.quantity == "total" and c.scope == EVERY), None)


def _mean_fertility(comparison: Comparison) -> float:
    return float(np.mean([line.fertility for line in comparison.identity])) if comparison.identity else 0.0


def percent(log: float, digits: int = 2) -> str:
    """Write a log ratio as a relative difference."""
    return f"{np.expm1(log):+.{digits}%}"


def bounds(estimate: Estimate, digits: int = 2) -> str:
    """Write the interval of an estimate of a log ratio, as relative differences, or how well it is known."""
    if estimate.low is None or estimate.high is None:
        return f"(one {estimate.unit if estimate.count < 2 else 'process'}: no interval)"
    return estimate.known_to() or f"[{percent(estimate.low, digits)}, {percent(estimate.high, digits)}]"


def interval(estimate: Estimate, digits: int = 2) -> str:
    """Write an estimate of a log ratio with its interval, as relative differences; of one not known, only that."""
    return estimate.known_to() or f"{percent(estimate.value, digits)} {bounds(estimate, digits)}"
