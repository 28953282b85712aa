"""From the samples of a study to its report: what differs between arms, by how much, and what of it is due to what.

Differences are natural logarithms of time per byte of the same text, an arm's minus the base's: +0.01 is one per cent
more time. They come from blocks in which both arms ran. The process is the unit of an interval; the language is that of
a claim about a class of languages. All claims of a report share one family of Holm, the languages of an arm another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.compare import compare_steps
from tokprof.profiler.analysis.runs import clean_step
from tokprof.profiler.analysis.stats import Estimate
from tokprof.profiler.record import Array, DecodeMode, Note, NoteLevel, Phase, TimelineDiff, Trace, TypicalStep
from tokprof.profiler.studies import ArmRole, Exposure, Study, StudySamples
from tokprof.profiler.trace.steps import typical_steps

QUANTITIES = ("total", "prefill", "decode", "step")
EVERY = "every language"
DIFFERENCE = "unseen less seen"


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
    detectable: float | None  # minimal detectable effect of the design as it was run


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """One arm in one language, side by side; decode alone but for ``seconds_per_prompt``."""

    arm: str
    language: str
    tokens_per_s: float
    bytes_per_s: float
    lexemes_per_s: float
    seconds_per_task: float  # the whole task decoded at this speed
    seconds_per_kb: float
    prefill_seconds_per_kb: float
    tokens_per_kb: float
    tokens_per_lexeme: float


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
class IdentityLine:
    """ln of decode time per task against a reference: the parts sum to ``total`` with no residual."""

    arm: str
    language: str
    reference: str  # "base" in the same language, or the pivot language of the same arm
    total: float
    verbosity: float  # lexemes per task
    fertility: float  # tokens per lexeme
    steps: float  # decode steps per token
    step_cost: float  # seconds per decode step


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorLine:
    """One factor's part in an arm's difference, by Shapley over the fitted time model."""

    factor: str
    seconds: float  # per item, mean
    effect: Estimate  # its part of ln(arm / base); the factors and the residual sum to the whole
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FertilityLine:
    """How many tokens an arm's tokenizer makes of a lexeme; ln, with the task as the unit."""

    arm: str
    language: str
    exposure: str
    tokens_per_lexeme: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalLine:
    """How long an arm's own answers are."""

    arm: str
    answer_count: int
    token_count: float  # mean
    ended_share: float  # by the model's own end; the rest was cut off at the limit
    log_ratio: float | None  # ln of the mean number of tokens to the base's
    same_tokens: float | None  # share of answers as long as the base's


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
    factors: tuple[FactorLine, ...] = ()
    timeline: TimelineDiff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """The whole answer of ``tokprof attribute``."""

    sentence: str
    study: str
    device: str
    base: str
    margin: float  # of equivalence, as a logarithm
    margin_reason: str
    claim_count: int
    process_count: int
    block_count: int
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
    forced = _forced(study)
    if not len(forced):
        raise ValueError("a study without teacher-forced samples")
    key = forced.process.astype(np.int64) << 32 | forced.block
    keys, row = np.unique(key, return_inverse=True)
    arms = len(study.plan.arms)
    place = row * arms + forced.arm
    counts = np.bincount(place, minlength=len(keys) * arms).astype(float)
    times = {
        "total": forced.prefill_ns + forced.decode_ns,
        "prefill": forced.prefill_ns,
        "decode": forced.decode_ns,
        "step": forced.decode_ns / np.maximum(forced.step_count, 1),
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
        process=forced.process[first],
        item=forced.item[first],
        language=languages[forced.item[first]],
        logs=logs,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Differences:
    """Log differences of one arm to the base, per process: block differences, or with arms apart each arm's logs."""

    blocks: list[Array]
    languages: list[Array]
    paired: bool
    arm_logs: list[Array]
    base_logs: list[Array]

    def estimate(self) -> Estimate | None:
        """Estimate the mean over the languages that were measured; the process is the unit."""
        if self.paired:
            kept = [i for i, own in enumerate(self.blocks) if len(own)]
            if not kept:
                return None
            return stats.over_processes([self.blocks[i] for i in kept], [self.languages[i] for i in kept])
        a = [float(np.mean(own)) for own in self.arm_logs if len(own)]
        b = [float(np.mean(own)) for own in self.base_logs if len(own)]
        return stats.welch(a, b) if a and b else None

    def by_language(self) -> Array | None:
        """Return shape (processes, languages): each process's value in each language that every process measured."""
        if not self.paired:
            return None
        known = [set(own.tolist()) for own in self.languages if len(own)]
        shared = sorted(set.intersection(*known)) if known else []
        if not shared:
            return None
        return np.array(
            [
                [float(stats.hodges_lehmann(own[labels == code])) for code in shared]
                for own, labels in zip(self.blocks, self.languages, strict=True)
                if len(own)
            ]
        )


def _differences(study: Study, table: _Table, arm: int, quantity: str, languages: Sequence[int]) -> _Differences:
    logs = table.logs[quantity]
    here = np.isin(table.language, np.array(languages, dtype=np.int64))
    own, base = logs[:, arm], logs[:, 0]
    both = here & ~np.isnan(own) & ~np.isnan(base)
    processes = np.unique(table.process)
    blocks = [(own - base)[both & (table.process == p)] for p in processes]
    labels = [table.language[both & (table.process == p)] for p in processes]
    return _Differences(
        blocks=blocks,
        languages=labels,
        paired=not study.plan.apart,
        arm_logs=[own[here & ~np.isnan(own) & (table.process == p)] for p in processes],
        base_logs=[base[here & ~np.isnan(base) & (table.process == p)] for p in processes],
    )


# ---------------------------------------------------------------------------------------------------------- the report


def analyze_study(study: Study, timelines: dict[int, TimelineDiff] | None = None) -> StudyReport:
    """Analyse every finished block of a study.

    ``timelines`` holds, per arm, the comparison of its traced steps with the base's, at the times of the clean samples.

    Raises
    ------
    ValueError
        The study holds no teacher-forced sample.
    """
    plan = study.plan
    table = _table(study)
    notes = list(study.notes)
    margin, reason = _margin(study, table)
    raw: list[tuple[int, str, str, Estimate]] = []
    for arm in range(1, len(plan.arms)):
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
            detectable=stats.detectable_effect(estimate),
        )
        for (arm, quantity, scope, estimate), p, q in zip(raw, adjusted, equivalence, strict=True)
    ]
    comparisons = tuple(
        _comparison(study, table, arm, [c for c in claims if c.arm == plan.arms[arm].name], margin, timelines or {})
        for arm in range(1, len(plan.arms))
    )
    pivot = next((i.language for i in plan.items if i.language == "python"), plan.items[0].language)
    rates = _rates(study)
    notes += _notes(study, comparisons)
    header = study.headers[0]
    report = StudyReport(
        sentence="",
        study=str(study.folder),
        device=f"{header.environment.device.name} ({header.environment.device.kind})",
        base=plan.arms[0].model,
        margin=margin,
        margin_reason=reason,
        claim_count=len(claims),
        process_count=len(np.unique(study.samples.process)),
        block_count=len(table.process),
        sample_count=len(study.samples),
        bytes_per_item=float(np.mean(_item_bytes(study)[_forced(study).item])),
        base_seconds_per_item=float(np.mean(_seconds(_forced(study, 0)))),
        marked_count=int((study.samples.mark != 0).sum()),
        rates=rates,
        comparisons=comparisons,
        language_identity=_against_pivot(study, pivot),
        pivot=pivot,
        fertility=_fertility(study),
        natural=_natural(study),
        notes=tuple(dict.fromkeys(notes)),
    )
    return replace(report, sentence=sentence(report))


def _forced(study: Study, arm: int | None = None) -> StudySamples:
    """Return the teacher-forced samples, of one arm or of all."""
    rows = study.samples.mode == list(DecodeMode).index(DecodeMode.TEACHER_FORCED)
    return study.samples.select(rows if arm is None else rows & (study.samples.arm == arm))


def _seconds(samples: StudySamples) -> Array:
    return cast(Array, (samples.prefill_ns + samples.decode_ns) / 1e9)


def _item_bytes(study: Study) -> Array:
    return np.array([len(item.prompt.encode()) + len(item.content.encode()) for item in study.plan.items])


def _margin(study: Study, table: _Table) -> tuple[float, str]:
    """Return the margin of equivalence: the one that was asked for, but never below what A/A itself shows."""
    asked = float(np.log1p(study.plan.margin))
    floor = 0.0
    for arm, facts in enumerate(study.plan.arms):
        if facts.role is ArmRole.AGAIN:
            estimate = _differences(study, table, arm, "total", range(len(study.plan.languages))).estimate()
            floor = max(floor, (stats.equivalence_margin(estimate) if estimate is not None else None) or 0.0)
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
    study: Study, table: _Table, arm: int, claims: Sequence[Claim], margin: float, timelines: dict[int, TimelineDiff]
) -> Comparison:
    plan = study.plan
    every = _differences(study, table, arm, "total", range(len(plan.languages)))
    lines = []
    for code, language in enumerate(plan.languages):
        found = {q: _differences(study, table, arm, q, [code]).estimate() for q in ("total", "prefill", "decode")}
        if found["total"] is not None and found["prefill"] is not None and found["decode"] is not None:
            lines.append((language, found["total"], found["prefill"], found["decode"]))
    adjusted = stats.holm([stats.p_value(total) for _, total, _, _ in lines])
    equivalence = stats.holm([stats.tost(total, margin) for _, total, _, _ in lines])
    base, own = study.model(0), study.model(arm)
    return Comparison(
        arm=plan.arms[arm].name,
        role=str(plan.arms[arm].role),
        same_tokens=base.tokenizer_digest is not None and base.tokenizer_digest == own.tokenizer_digest,
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
        identity=_against_base(study, arm),
        components=stats.variance_components(every.blocks, every.languages) if every.paired else None,
        timeline=timelines.get(arm),
    )


def clean_timelines(study: Study, traces: Mapping[int, Trace]) -> dict[int, TimelineDiff]:
    """Compare each traced arm's typical prefill and decode step with the base's, at the times of the clean samples.

    ``traces`` holds the arms' traces; the base's is arm 0. The profiled pass tells the kernels, the clean samples of
    the same item and the same steps tell the time.
    """
    if 0 not in traces:
        return {}
    steps = {arm: _clean_steps(study, arm, trace) for arm, trace in traces.items()}
    return {
        arm: TimelineDiff(
            a_name=study.plan.arms[0].name,
            b_name=study.plan.arms[arm].name,
            phases=tuple(compare_steps(a, b) for a in steps[0] for b in own if a.phase is b.phase),
        )
        for arm, own in steps.items()
        if arm != 0
    }


def _clean_steps(study: Study, arm: int, trace: Trace) -> tuple[TypicalStep, ...]:
    samples = study.samples
    traced_item = int(samples.item[np.lexsort((samples.block, samples.process))[0]])
    rows = (samples.arm == arm) & (samples.mode == list(DecodeMode).index(DecodeMode.TEACHER_FORCED))
    same = rows & (samples.item == traced_item)
    chosen = np.flatnonzero(same if same.any() else rows)
    if not len(chosen):
        return ()
    starts, counts = samples.step_start[chosen], samples.step_count[chosen]
    first = [study.step_ns[a : a + min(n, study.plan.trace_step_count)] for a, n in zip(starts, counts, strict=True)]
    walls = {
        Phase.PREFILL: float(np.median(samples.prefill_ns[chosen])),
        Phase.DECODE: float(np.median(np.concatenate(first))),
    }
    on_cpu = study.headers[0].environment.device.kind == "cpu"
    return tuple(
        clean_step(step, walls[step.phase], on_cpu=on_cpu)
        for step in typical_steps(trace)
        if step.phase is not None and walls[step.phase] > 0
    )


# ------------------------------------------------------------------------------------------------- counts and identity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """What the measured items of one language hold, for one arm, each block weighing the same."""

    bytes: float
    prompt_bytes: float
    lexemes: float
    tokens: float
    steps: float
    tasks: float  # the part of a task that the contents are
    decode_s: float
    prefill_s: float


def _counts(study: Study, arm: int, code: int) -> _Counts | None:
    """Sum the forced samples of an arm in one language."""
    samples, plan = study.samples, study.plan
    key = plan.languages[code].key
    inside = np.array([item.language == key for item in plan.items])
    rows = (
        (samples.mode == list(DecodeMode).index(DecodeMode.TEACHER_FORCED))
        & (samples.arm == arm)
        & inside[samples.item]
    )
    if not rows.any():
        return None
    items = samples.item[rows]
    facts = [plan.items[i] for i in items.tolist()]
    return _Counts(
        bytes=float(sum(len(f.content.encode()) for f in facts)),
        prompt_bytes=float(sum(len(f.prompt.encode()) for f in facts)),
        lexemes=float(sum(f.content_lexeme_count for f in facts)),
        tokens=float(samples.token_count[rows].sum()),
        steps=float(samples.step_count[rows].sum()),
        tasks=float(sum(f.share for f in facts)),
        decode_s=float(samples.decode_ns[rows].sum()) / 1e9,
        prefill_s=float(samples.prefill_ns[rows].sum()) / 1e9,
    )


def _rates(study: Study) -> tuple[Rates, ...]:
    rows = []
    for code, language in enumerate(study.plan.languages):
        for arm, facts in enumerate(study.plan.arms):
            counts = _counts(study, arm, code)
            if counts is None:
                continue
            # The first token comes out of prefill: decode is charged for the bytes of its own tokens.
            whole_s = counts.decode_s * counts.tokens / counts.steps
            rows.append(
                Rates(
                    arm=facts.name,
                    language=language.name,
                    tokens_per_s=counts.tokens / whole_s,
                    bytes_per_s=counts.bytes / whole_s,
                    lexemes_per_s=counts.lexemes / whole_s,
                    seconds_per_task=whole_s / counts.tasks,
                    seconds_per_kb=1000 * whole_s / counts.bytes,
                    prefill_seconds_per_kb=1000 * counts.prefill_s / counts.prompt_bytes,
                    tokens_per_kb=1000 * counts.tokens / counts.bytes,
                    tokens_per_lexeme=counts.tokens / max(counts.lexemes, 1.0),
                )
            )
    return tuple(rows)


def _identity(arm: str, language: str, reference: str, a: _Counts, b: _Counts) -> IdentityLine:
    """Split ln of b's decode time per task to a's: verbosity, fertility, steps per token and cost per step."""

    def log(x: float, y: float) -> float:
        return float(np.log(x / y))

    verbosity = log(b.lexemes / b.tasks, a.lexemes / a.tasks)
    fertility = log(b.tokens / b.lexemes, a.tokens / a.lexemes)
    steps = log(b.steps / b.tokens, a.steps / a.tokens)
    step_cost = log(b.decode_s / b.steps, a.decode_s / a.steps)
    return IdentityLine(
        arm=arm,
        language=language,
        reference=reference,
        total=log(b.decode_s / b.tasks, a.decode_s / a.tasks),
        verbosity=verbosity,
        fertility=fertility,
        steps=steps,
        step_cost=step_cost,
    )


def _against_base(study: Study, arm: int) -> tuple[IdentityLine, ...]:
    lines = []
    for code, language in enumerate(study.plan.languages):
        a, b = _counts(study, 0, code), _counts(study, arm, code)
        if a is not None and b is not None:
            lines.append(_identity(study.plan.arms[arm].name, language.name, "base", a, b))
    return tuple(lines)


def _against_pivot(study: Study, pivot: str) -> tuple[IdentityLine, ...]:
    code = next((c for c, language in enumerate(study.plan.languages) if language.key == pivot), 0)
    a = _counts(study, 0, code)
    lines = []
    for other, language in enumerate(study.plan.languages):
        b = _counts(study, 0, other)
        if a is not None and b is not None and other != code:
            lines.append(_identity(study.plan.arms[0].name, language.name, pivot, a, b))
    return tuple(lines)


def _fertility(study: Study) -> tuple[FertilityLine, ...]:
    """Return each arm's tokens per lexeme by language; arms with the same tokenizer are one line, the first's."""
    lines = []
    told: set[str | None] = set()
    for arm, facts in enumerate(study.plan.arms):
        digest = study.model(arm).tokenizer_digest
        if digest in told:
            continue
        told.add(digest)
        header = next(h for h in study.headers if arm in h.arms)
        place = header.arms.index(arm)
        prompts, contents = header.prompt_token_counts[place], header.content_token_counts[place]
        for language in study.plan.languages:
            logs = [
                float(np.log((prompts[i] + contents[i]) / (item.prompt_lexeme_count + item.content_lexeme_count)))
                for i, item in enumerate(study.plan.items)
                if item.language == language.key and item.prompt_lexeme_count + item.content_lexeme_count
            ]
            if logs:
                estimate = stats.student(logs, unit="task", method="mean of ln over tasks, Student's t")
                lines.append(
                    FertilityLine(
                        arm=facts.name,
                        language=language.name,
                        exposure=str(language.exposure),
                        tokens_per_lexeme=estimate,
                    )
                )
    return tuple(lines)


def _natural(study: Study) -> tuple[NaturalLine, ...]:
    samples = study.samples
    rows = samples.select(samples.mode == list(DecodeMode).index(DecodeMode.NATURAL))
    if not len(rows):
        return ()
    lengths = {
        arm: {int(i): int(n) for i, n in zip(own.item, own.token_count, strict=True)}
        for arm in range(len(study.plan.arms))
        if len(own := rows.select(rows.arm == arm))
    }
    base = lengths.get(0)
    lines = []
    for arm, own in lengths.items():
        shared = [i for i in own if base is not None and i in base]
        mean = float(np.mean(list(own.values())))
        ratio = same = None
        if arm and base is not None and shared:
            ratio = float(np.log(sum(own[i] for i in shared) / sum(base[i] for i in shared)))
            same = float(np.mean([own[i] == base[i] for i in shared]))
        ended = rows.select(rows.arm == arm).ended
        lines.append(
            NaturalLine(
                arm=study.plan.arms[arm].name,
                answer_count=len(own),
                token_count=mean,
                ended_share=float(ended.mean()),
                log_ratio=ratio,
                same_tokens=same,
            )
        )
    return tuple(lines)


def _notes(study: Study, comparisons: Sequence[Comparison]) -> list[Note]:
    notes = []
    plan = study.plan
    sizes = {study.model(arm).vocabulary_count for arm in range(len(plan.arms))}
    if len(sizes) > 1:
        words = ", ".join(
            f"{facts.name} {size} (mod 8: {size % 8}, mod 64: {size % 64})"
            for arm, facts in enumerate(plan.arms)
            for size in (study.model(arm).vocabulary_count,)
        )
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
    if not any(c.role == ArmRole.AGAIN for c in comparisons):
        notes.append(Note(code="no-a-a", message="no arm repeats the base, so the noise floor was not measured"))
    return notes


# ------------------------------------------------------------------------------------------------------- the sentence


def sentence(report: StudyReport) -> str:
    """Answer in plain words: how much the arms differ, and whether tokenizer, weights or machine did it."""
    parts = []
    again = next((c for c in report.comparisons if c.role == ArmRole.AGAIN), None)
    for comparison in report.comparisons:
        if comparison is again:
            continue
        claim = next((c for c in comparison.claims if c.quantity == "total" and c.scope == EVERY), None)
        if claim is not None:
            tokens = (
                "the same tokens, so the tokenizer has no part in it"
                if comparison.same_tokens
                else f"other tokens ({_percent(_mean_fertility(comparison))} for the same text)"
            )
            parts.append(
                f"{comparison.arm} takes {_percent(claim.estimate.value)} {_interval(claim.estimate)} time per byte "
                f"against the base ({claim.verdict}; {tokens})"
            )
    if again is not None:
        claim = next((c for c in again.claims if c.quantity == "total" and c.scope == EVERY), None)
        if claim is not None:
            parts.append(
                f"the machine alone: the base against itself shows {_percent(claim.estimate.value)} "
                f"{_interval(claim.estimate)}"
            )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else "Nothing can be said: no arm was measured beside the base."


def _mean_fertility(comparison: Comparison) -> float:
    return float(np.mean([line.fertility for line in comparison.identity])) if comparison.identity else 0.0


def _percent(log: float) -> str:
    return f"{np.expm1(log):+.1%}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "[one process: no interval]"
    return f"[{np.expm1(estimate.low):+.1%}, {np.expm1(estimate.high):+.1%}]"
