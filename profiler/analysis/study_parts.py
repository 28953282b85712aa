"""What a study's samples say beside its claims: rates, the identity of decode time, fertility, factors, kernels."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.attribution import (
    Decoded,
    Factor,
    ShapleySplit,
    State,
    TimeFit,
    TimeModel,
    additive_log_shares,
    fit_time_model,
    shapley,
    split_decode,
)
from tokprof.profiler.analysis.ledger import compare_steps
from tokprof.profiler.analysis.runs import clean_step, pooled, sequence_of
from tokprof.profiler.analysis.stats import Estimate
from tokprof.profiler.record import (
    Array,
    DecodeMode,
    Note,
    NoteLevel,
    Phase,
    PhaseDiff,
    TimelineDiff,
    TypicalStep,
)
from tokprof.profiler.studies import ArmRole
from tokprof.profiler.study_samples import Study, StudySamples


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
    """A factor's part in an arm's difference, by Shapley over the fitted time model, or a phase's by the log-mean."""

    factor: str
    seconds: float  # per item, mean
    effect: Estimate  # its part of ln of the arm's summed times over the base's: with the residual it is the whole
    remark: str = ""
    by_design: bool = False  # zero because it cannot differ, not because no difference was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """An arm's difference to the base, divided among factors."""

    lines: tuple[FactorLine, ...] = ()
    step: FactorLine | None = None  # all that a decode step costs, at the measured contexts; None: no cost of context
    step_told_apart: bool | None = None  # False: the sum is clearly better known than each part; None: not known
    notes: tuple[Note, ...] = ()


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
    log_ratio: float | None  # ln of the mean number of tokens to the base's; None where the limit alone made them
    same_tokens: float | None  # share of answers as long as the base's; likewise


def forced(study: Study, arm: int | None = None, among: Array | bool = True) -> StudySamples:
    """Return the teacher-forced samples, of one arm or of all; ``among`` is a mask of those in question."""
    rows = (study.samples.mode == list(DecodeMode).index(DecodeMode.TEACHER_FORCED)) & among
    return study.samples.select(rows if arm is None else rows & (study.samples.arm == arm))


def same_tokens(study: Study, arm: int) -> bool:
    """Say whether an arm's tokenizer gives the base's tokens, so that fertility cancels exactly."""
    own = study.model(arm).tokenizer_digest
    return own is not None and own == study.model(0).tokenizer_digest


def seconds(samples: StudySamples) -> Array:
    """Return the time of each sample, prefill and decode."""
    return cast(Array, (samples.prefill_ns + samples.decode_ns) / 1e9)


def item_bytes(study: Study) -> Array:
    """Return the bytes of each item, prompt and content."""
    return np.array([len(item.prompt.encode()) + len(item.content.encode()) for item in study.plan.items])


# ------------------------------------------------------------------------------------------------- counts and identity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """What the forced samples of one arm in one language hold, summed: each block weighs the same."""

    decoded: Decoded
    byte_count: float
    prompt_byte_count: float
    prefill_s: float


def _counts(study: Study, arm: int, code: int) -> _Counts | None:
    plan = study.plan
    key = plan.languages[code].key
    here = np.array([item.language == key for item in plan.items])
    own = forced(study, arm, here[study.samples.item])
    if not len(own):
        return None
    facts = [plan.items[i] for i in own.item.tolist()]
    return _Counts(
        decoded=Decoded(
            task_count=float(sum(f.share for f in facts)),
            lexeme_count=float(sum(max(f.content_lexeme_count, 1) for f in facts)),
            token_count=float(own.token_count.sum()),
            step_count=float(own.step_count.sum()),
            decode_s=float(own.decode_ns.sum()) / 1e9,
        ),
        byte_count=float(sum(len(f.content.encode()) for f in facts)),
        prompt_byte_count=float(sum(len(f.prompt.encode()) for f in facts)),
        prefill_s=float(own.prefill_ns.sum()) / 1e9,
    )


def rates(study: Study) -> tuple[Rates, ...]:
    """Return what each arm does in each language, side by side."""
    rows = []
    for code, language in enumerate(study.plan.languages):
        for arm, facts in enumerate(study.plan.arms):
            counts = _counts(study, arm, code)
            if counts is None:
                continue
            done = counts.decoded
            # The first token comes out of prefill: decode is charged for the bytes of its own tokens.
            whole_s = done.decode_s * done.token_count / done.step_count
            rows.append(
                Rates(
                    arm=facts.name,
                    language=language.name,
                    tokens_per_s=float(done.token_count / whole_s),
                    bytes_per_s=float(counts.byte_count / whole_s),
                    lexemes_per_s=float(done.lexeme_count / whole_s),
                    seconds_per_task=float(whole_s / done.task_count),
                    seconds_per_kb=float(1000 * whole_s / counts.byte_count),
                    prefill_seconds_per_kb=1000 * counts.prefill_s / counts.prompt_byte_count,
                    tokens_per_kb=float(1000 * done.token_count / counts.byte_count),
                    tokens_per_lexeme=float(done.token_count / done.lexeme_count),
                )
            )
    return tuple(rows)


def _identity(arm: str, language: str, reference: str, a: Decoded, b: Decoded) -> IdentityLine:
    split = split_decode(a, b)
    return IdentityLine(
        arm=arm,
        language=language,
        reference=reference,
        total=float(split.total),
        verbosity=float(split.verbosity),
        fertility=float(split.fertility),
        steps=float(split.steps),
        step_cost=float(split.step_cost),
    )


def against_base(study: Study, arm: int) -> tuple[IdentityLine, ...]:
    """Split ln of an arm's decode time per task against the base's, language by language."""
    lines = []
    for code, language in enumerate(study.plan.languages):
        a, b = _counts(study, 0, code), _counts(study, arm, code)
        if a is not None and b is not None:
            lines.append(_identity(study.plan.arms[arm].name, language.name, "base", a.decoded, b.decoded))
    return tuple(lines)


def against_pivot(study: Study, pivot: str) -> tuple[IdentityLine, ...]:
    """Split ln of the base's decode time per task in each language against that in the pivot."""
    code = next((c for c, language in enumerate(study.plan.languages) if language.key == pivot), 0)
    a = _counts(study, 0, code)
    lines = []
    for other, language in enumerate(study.plan.languages):
        b = _counts(study, 0, other)
        if a is not None and b is not None and other != code:
            lines.append(_identity(study.plan.arms[0].name, language.name, pivot, a.decoded, b.decoded))
    return tuple(lines)


def fertility(study: Study) -> tuple[FertilityLine, ...]:
    """Return each arm's tokens per lexeme by language; arms with the same tokenizer are one line, the first's."""
    lines = []
    told: set[str | None] = set()
    for arm, facts in enumerate(study.plan.arms):
        header = next((h for h in study.headers if arm in h.arms), None)
        if header is None:
            continue  # not measured yet
        digest = header.models[header.arms.index(arm)].tokenizer_digest
        if digest is not None and digest in told:
            continue
        told.add(digest)
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


def natural(study: Study) -> tuple[NaturalLine, ...]:
    """Return how long each arm's own answers are; empty without a natural arm."""
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
    ended_by_themselves = {arm: bool(rows.select(rows.arm == arm).ended.any()) for arm in lengths}
    lines = []
    for arm, answers in lengths.items():
        shared = [i for i in answers if base is not None and i in base]
        mean = float(np.mean(list(answers.values())))
        ratio = same = None
        if arm and base is not None and shared and (ended_by_themselves[0] or ended_by_themselves[arm]):
            ratio = float(np.log(sum(answers[i] for i in shared) / sum(base[i] for i in shared)))
            same = float(np.mean([answers[i] == base[i] for i in shared]))
        ended = rows.select(rows.arm == arm).ended
        lines.append(
            NaturalLine(
                arm=study.plan.arms[arm].name,
                answer_count=len(answers),
                token_count=mean,
                ended_share=float(ended.mean()),
                log_ratio=ratio,
                same_tokens=same,
            )
        )
    return tuple(lines)


# ------------------------------------------------------------------------------------------------------------ factors


def factors(
    study: Study,
    arm: int,
    busy: Mapping[int, tuple["BusyStep", "BusyStep"]] | None = None,
    left_out: Collection[int] = (),
) -> Factors:
    """Divide an arm's difference to the base among the factors of the time model, by Shapley's rule.

    Each process has a model of its own for either arm, fitted to its samples, so the process is the unit. ``busy``
    holds, per process, how long the device works in a decode step of base and arm, where the kernel pass can tell it
    (on a GPU): the rest of a step is the host's gap. Where processes were traced, those that were not are left out.
    ``left_out`` names processes that are not counted.
    """
    busy = busy or {}
    notes: list[Note] = []
    found: list[_ProcessSplit] = []
    untraced = 0
    arms = forced(study, 0), forced(study, arm)
    for process in np.unique(study.samples.process).tolist():
        sides = [own.select(own.process == process) for own in arms]
        shared = np.intersect1d(sides[0].item, sides[1].item)
        if process in left_out or not len(shared):
            continue
        if busy and process not in busy:
            untraced += 1
            continue
        try:
            models, said = _models(study, sides, busy.get(process))
        except ValueError as error:
            words = f"process {process}: {error}; it is left out of the factors"
            notes.append(Note(code="model-not-fitted", message=words))
            continue
        notes += said
        if study.plan.arms[arm].role is ArmRole.ADAPTER:
            models[1] = models[1].beside(models[0])
        states = [
            State(
                model=model,
                n_in=_per_item(side, side.prompt_token_count, shared),
                n_out=_per_item(side, side.token_count, shared),
            )
            for model, side in zip(models, sides, strict=True)
        ]
        observed = [_per_item(side, seconds(side), shared) for side in sides]
        split = shapley(states[0], states[1], observed[0], observed[1]).summed()
        found.append(_ProcessSplit(split=split, item_count=len(shared)))
    if untraced:
        words = f"{untraced} of {untraced + len(found)} processes were not traced, so their host's gaps are not known; "
        notes.append(Note(code="gaps-of-fewer", message=f"{words}they are left out of the factors"))
    if not found:
        return Factors(notes=tuple(dict.fromkeys(notes)))
    found, said = _of_one_form(found)
    by_design: dict[str, str] = {}
    if same_tokens(study, arm):
        by_design |= {Factor.N_IN: SAME_TOKENS, Factor.N_OUT: SAME_TOKENS}
    if study.plan.arms[arm].role is ArmRole.ADAPTER:
        by_design[Factor.STEP_COST] = "the same by design: what the adapter adds is a factor of its own"

    def line(name: str, *places: int) -> FactorLine:
        shares = [sum(one.log_share(place) for place in places) for one in found]
        return FactorLine(
            factor=name,
            seconds=float(np.mean([sum(one.seconds(place) for place in places) for one in found])),
            effect=stats.student(shares, method="Shapley, Student's t over processes"),
            remark=by_design.get(name, REMARKS[name]),
            by_design=name in by_design,
        )

    factors_of = found[0].split.factors
    lines = [line(name, place) for place, name in enumerate([*map(str, factors_of), RESIDUAL])]
    step, told_apart = None, None
    if Factor.CONTEXT_COST in factors_of:
        places = [place for place, factor in enumerate(factors_of) if factor in STEP_PARTS]
        step = line(STEP, *places)
        parts = [lines[place].effect for place in places if not lines[place].by_design]
        known = [part.error for part in parts if part.error is not None]
        if len(found) >= FEWEST_JUDGING and step.effect.error is not None and known:
            if step.effect.error < CLEARLY * min(known):
                told_apart = False
            elif not any(part.known_to() for part in parts):
                told_apart = True
    return Factors(
        lines=tuple(lines), step=step, step_told_apart=told_apart, notes=tuple(dict.fromkeys([*notes, *said]))
    )


def phase_split(study: Study, arm: int, left_out: Collection[int] = ()) -> tuple[FactorLine, ...]:
    """Divide an arm's difference to the base between prefill and decode, by the log-mean (Divisia).

    It is exact, with no model and no residual, and stands beside Shapley's: there prefill is a cost and a count.
    """
    arms = forced(study, 0), forced(study, arm)
    times, shares = [], []
    for process in np.unique(study.samples.process).tolist():
        sides = [own.select(own.process == process) for own in arms]
        shared = np.intersect1d(sides[0].item, sides[1].item)
        if process in left_out or not len(shared):
            continue
        parts = [
            np.array([_per_item(side, ns / 1e9, shared).mean() for ns in (side.prefill_ns, side.decode_ns)])
            for side in sides
        ]
        times.append(parts[1] - parts[0])
        shares.append(additive_log_shares(*parts))
    return tuple(
        FactorLine(
            factor=phase,
            seconds=float(np.mean([time[place] for time in times])),
            effect=stats.student(
                [float(share[place]) for share in shares], method="log-mean, Student's t over processes"
            ),
            remark=REMARKS[phase],
        )
        for place, phase in enumerate(("prefill", "decode") if shares else ())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProcessSplit:
    """The split of one process; the place after its factors is the residual's."""

    split: ShapleySplit
    item_count: int

    def seconds(self, place: int) -> float:
        return float([*self.split.effect_s, self.split.residual_s][place] / self.item_count)

    def log_share(self, place: int) -> float:
        return float([*self.split.log_shares(), self.split.residual_log_share()][place])


def _of_one_form(found: Sequence[_ProcessSplit]) -> tuple[list[_ProcessSplit], list[Note]]:
    """Keep the processes with the factors that most of them have: only these can be averaged."""
    forms = Counter(one.split.factors for one in found)
    form = max(forms, key=lambda factors: (forms[factors], len(factors)))
    kept = [one for one in found if one.split.factors == form]
    notes = []
    if len(kept) < len(found):
        notes.append(
            Note(
                code="factors-of-fewer",
                message=f"{len(found) - len(kept)} of {len(found)} processes tell other factors apart than the rest; "
                "they are left out of the factors",
            )
        )
    return kept, notes


def _models(
    study: Study, sides: Sequence[StudySamples], busy: tuple["BusyStep", "BusyStep"] | None
) -> tuple[list[TimeModel], list[Note]]:
    """Fit the time model to the samples of base and arm in one process, in the same form for both."""
    first = [_fit(study, side) for side in sides]
    terms = min(fit.prefill_terms for fit in first)
    flat = any(fit.model.context_s is None for fit in first)  # one side cannot tell its cost of context
    clocks, elasticities, notes = _clocks(sides)
    gaps_s = [None, None] if busy is None else [own.gap_s(fit.model) for own, fit in zip(busy, first, strict=True)]
    models = []
    for side, gap, clock, fit in zip(sides, gaps_s, clocks, first, strict=True):
        notes += fit.notes
        model = fit.model
        if gap is not None or clock is not None or flat or fit.prefill_terms != terms:
            more = {"clock_mhz": clock, "reference_clock_mhz": clocks[0]}
            more |= {"prefill_elasticity": elasticities[0], "decode_elasticity": elasticities[1]}
            known = more if clock is not None else {}
            model = _fit(study, side, flat=flat, prefill_terms=terms, gap_s=gap, **known).model
        models.append(model)
    return models, notes


def _fit(study: Study, samples: StudySamples, *, flat: bool = False, **more: Any) -> TimeFit:
    """Fit the time model to samples; ``flat`` leaves the cost of context within that of a step."""
    starts, counts = samples.step_start, samples.step_count
    steps = [study.step_ns[start : start + count] for start, count in zip(starts, counts, strict=True)]
    contexts = [n_in + np.arange(1, n + 1) for n_in, n in zip(samples.prompt_token_count, counts, strict=True)]
    context = np.concatenate(contexts)
    return fit_time_model(
        samples.prompt_token_count,
        samples.prefill_ns / 1e9,
        np.ones_like(context) if flat else context,
        np.concatenate(steps) / 1e9,
        step_sample=np.repeat(np.arange(len(counts)), counts),
        **more,
    )


def _clocks(
    sides: Sequence[StudySamples],
) -> tuple[tuple[float, float] | tuple[None, None], tuple[float, float], list[Note]]:
    """Return both sides' mean SM clocks and how prefill and decode follow the clock; absent unless both are known.

    The elasticity is the slope of ln time over ln clock among the samples of the same item and side. Where the clock
    hardly moved it cannot be known, and a plain 1 would be wrong for kernels that wait for memory.
    """
    unknown: tuple[None, None] = (None, None)
    sides = _with_clocks(sides)
    if not all(map(len, sides)):
        return unknown, (1.0, 1.0), []
    logs: dict[str, list[Array]] = {"clock": [], "prefill": [], "decode": []}
    for side in sides:
        columns = {"clock": cast(Array, side.sm_clock_mhz), "prefill": side.prefill_ns, "decode": side.decode_ns}
        for item in np.unique(side.item).tolist():
            for name, values in columns.items():
                own = np.log(values[side.item == item].astype(np.float64))
                logs[name].append(own - own.mean())
    clock, prefill, decode = (np.concatenate([*parts, []]) for parts in logs.values())
    moved = float(clock @ clock)
    freedom = len(clock) - sum(len(np.unique(side.item)) for side in sides)
    if freedom <= 0 or np.sqrt(moved / freedom) < STEADY_CLOCK:
        why = "the SM clock hardly moved" if freedom > 0 else "no process measured an item twice with an arm"
        note = Note(
            code="clock-steady" if freedom > 0 else "clock-elasticity-unknown",
            message=f"{why}, so how times follow the clock is not known: it is no factor of its own",
            level=NoteLevel.INFO,
        )
        return unknown, (1.0, 1.0), [note]
    # Not kept within 0 and 1: each is as uncertain as its process is short, and their mean would be pushed inwards.
    slopes = [-float(clock @ times) / moved for times in (prefill, decode)]
    means = [float(np.mean(cast(Array, side.sm_clock_mhz))) for side in sides]
    return (means[0], means[1]), (slopes[0], slopes[1]), []


def _with_clocks(sides: Sequence[StudySamples]) -> list[StudySamples]:
    """Return the samples whose clock is known, in ``sm_clock_mhz``: by one instrument for both sides, never by two.

    It is the device's own count where every sample has one, else the driver's reading: a few times a second, so that a
    short sample can go without.
    """
    if all(side.counted_clock_mhz is not None and not np.isnan(side.counted_clock_mhz).any() for side in sides):
        return [replace(side, sm_clock_mhz=side.counted_clock_mhz) for side in sides]
    if any(side.sm_clock_mhz is None for side in sides):
        return [side.select(np.zeros(len(side), dtype=bool)) for side in sides]
    return [side.select(np.nan_to_num(cast(Array, side.sm_clock_mhz)) > 0) for side in sides]


def _per_item(samples: StudySamples, values: Array, items: Array) -> Array:
    """Return the mean of the values over the samples of each item."""
    inside = np.isin(samples.item, items)
    place = np.searchsorted(items, samples.item[inside])
    sums = np.bincount(place, weights=values[inside].astype(np.float64), minlength=len(items))
    return cast(Array, sums / np.bincount(place, minlength=len(items)))


RESIDUAL, STEP = "residual", "decode step"
# A line through times at contexts far from zero: the higher its foot, the flatter it is. How well the parts are known
# is not how well their sum is, at the contexts that were measured.
STEP_PARTS = (Factor.STEP_COST, Factor.CONTEXT_COST, Factor.ADAPTER)
CLEARLY = 0.5  # of a part's error, at most, is the sum's: errors from five processes differ by a third by chance alone
FEWEST_JUDGING = 3  # processes: the errors of two are too uncertain to be held against each other
SAME_TOKENS = "the same by design: one tokenizer, so the same tokens"
STEADY_CLOCK = 0.003  # standard deviation of ln clock within an item, below which it tells nothing
REMARKS = {
    "prefill": "all of it: tokens and cost",
    "decode": "all of it: steps and cost",
    "N_in": "tokens of the prompt: fertility",
    "N_out": "tokens of the text: fertility",
    "prefill cost": "seconds per prompt token",
    "step cost": "seconds per decode step at no context",
    "context cost": "seconds per step and token of context",
    STEP: "all parts of a step together, at the measured contexts",
    "adapter": "what the adapter adds to a step",
    "clock": "of the SMs",
    "gap": "the host's, per step",
    RESIDUAL: "not explained by the model",
}


# ------------------------------------------------------------------------------------------------------------ kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyStep:
    """How long the device works in a traced decode step."""

    busy_s: float
    context: float  # tokens that the traced steps attend to, mean

    def gap_s(self, model: TimeModel) -> float:
        """Return what is left of a step of the model, fitted without a gap; noise can make it less than nothing."""
        return float(model.step_s + (model.context_s or 0.0) * self.context - self.busy_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPass:
    """What the profiled pass tells of an arm beside the base, at the times of the clean samples."""

    timeline: TimelineDiff  # typical prefill and decode step, the means of the processes in which both were traced
    busy: Mapping[int, tuple[BusyStep, BusyStep]]  # per process, of base and arm; none on a CPU


def kernel_passes(study: Study, found: Mapping[tuple[int, int], Sequence[TypicalStep]]) -> dict[int, KernelPass]:
    """Compare each traced arm's typical prefill and decode step with the base's.

    ``found`` holds the typical steps of the trace of each (arm, process); the base's is arm 0. The profiled pass tells
    the kernels, the process's clean samples of the same item and the same steps tell the time. Of processes that ran
    other sequences of kernels those are taken in which most agree, the same for both arms.
    """
    names = [arm.name for arm in study.plan.arms]
    passes = {}
    for arm in sorted({arm for arm, _ in found} - {0}):
        notes: list[Note] = []
        phases = []
        busy = {}
        for phase in (Phase.PREFILL, Phase.DECODE):
            pairs = {}
            for process in sorted(process for other, process in found if other == arm and (0, process) in found):
                sides = [_clean_step(study, side, process, phase, found[side, process]) for side in (0, arm)]
                if sides[0] is not None and sides[1] is not None:
                    pairs[process] = (sides[0], sides[1])
            if pairs:
                agreeing = _agreeing([(base[0], other[0]) for base, other in pairs.values()], names[arm], notes)
                base, other = (pooled(steps) for steps in zip(*agreeing, strict=True))
                phases.append(_with_verdicts_over_processes(compare_steps(base, other)))
            if phase is Phase.DECODE and not _on_cpu(study):
                busy = {process: (base[1], other[1]) for process, (base, other) in pairs.items()}
        if phases:
            timeline = TimelineDiff(a_name=names[0], b_name=names[arm], phases=tuple(phases), notes=tuple(notes))
            passes[arm] = KernelPass(timeline=timeline, busy=busy)
    return passes


def _agreeing(
    pairs: Sequence[tuple[TypicalStep, TypicalStep]], arm: str, notes: list[Note]
) -> list[tuple[TypicalStep, TypicalStep]]:
    groups: dict[tuple[object, ...], list[tuple[TypicalStep, TypicalStep]]] = {}
    for pair in pairs:
        groups.setdefault(tuple(sequence_of(step) for step in pair), []).append(pair)
    most = max(groups.values(), key=len)
    if len(most) < len(pairs):
        words = f"{len(pairs) - len(most)} of {len(pairs)} processes ran other kernels in {most[0][0].phase} than most"
        notes.append(Note(code="processes-differ", message=f"{arm} and base: {words}; the ledger is without them"))
    return most


def _on_cpu(study: Study) -> bool:
    return study.headers[0].environment.device.kind == "cpu"


def _with_verdicts_over_processes(diff: PhaseDiff) -> PhaseDiff:
    """Return the comparison, without its verdicts if the arms were traced in one process.

    How that process's steps scatter is not how processes do, and an effect of a study has to stand out of the latter.
    """
    if diff.a.sample_unit == diff.b.sample_unit == "process":
        return diff
    ledgers = tuple(
        (name, tuple(replace(line, low_ns=None, high_ns=None, verdict="one sample") for line in lines))
        for name, lines in diff.ledgers
    )
    return replace(diff, ledgers=ledgers)


def _clean_step(
    study: Study, arm: int, process: int, phase: Phase, found: Sequence[TypicalStep]
) -> tuple[TypicalStep, BusyStep] | None:
    """Put the typical step of an arm's trace in a process to the time of that process's clean samples."""
    samples = study.samples
    measured = np.flatnonzero(samples.process == process)
    rows = (samples.arm == arm) & (samples.mode == list(DecodeMode).index(DecodeMode.TEACHER_FORCED))
    chosen = np.flatnonzero(rows & (samples.process == process))
    step = next((step for step in found if step.phase is phase), None)
    if not len(chosen) or step is None:
        return None
    traced_item = samples.item[measured[np.argmin(samples.block[measured])]]  # that of the process's first block
    same = chosen[samples.item[chosen] == traced_item]
    chosen = same if len(same) else chosen
    starts = samples.step_start[chosen]
    counts = np.minimum(samples.step_count[chosen], study.plan.trace_step_count)
    if phase is Phase.PREFILL:
        wall_ns = float(np.median(samples.prefill_ns[chosen]))
    else:
        steps = [study.step_ns[a : a + n] for a, n in zip(starts, counts, strict=True)]
        wall_ns = float(np.median(np.concatenate(steps)))
    if not wall_ns > 0:
        return None
    of = f"{len(chosen)} clean sample{'s' * (len(chosen) > 1)} of one item"
    if phase is Phase.DECODE:
        of = f"the first {int(counts.max())} steps of {of}"
    context = float(np.mean(samples.prompt_token_count[chosen] + (counts + 1) / 2))
    busy = BusyStep(busy_s=step.busy_ns / 1e9, context=context)
    scale = wall_ns / step.wall_ns if _on_cpu(study) and step.wall_ns > 0 else 1.0
    return replace(clean_step(step, wall_ns, scale), time_of=f"median over {of}"), busy
