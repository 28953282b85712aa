"""The report of ``tokprof attribute`` for a terminal, through rich."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokprof.profiler.analysis.fertility import made_languages
from tokprof.profiler.analysis.stats import TELLING, Estimate
from tokprof.profiler.analysis.study import EVERY, Claim, Comparison, StudyReport, interval, percent
from tokprof.profiler.analysis.study_parts import STEP_PARTS, FactorLine, IdentityLine
from tokprof.profiler.report.text import notes_text, quantity
from tokprof.profiler.report.timeline_text import print_phase
from tokprof.profiler.studies import ArmRole, Exposure, Plan

LEDGER_LINES = 6
FACTOR_TABLES = 3  # in short: of so many arms that differ
LOG_PARTS = "100 ln(arm / base), 95 %"


def print_study(report: StudyReport, console: Console, *, full: bool = False) -> None:
    """Print the answer in sentences first, then what it rests on; in short, or ``full`` with every table."""
    for number, sentence in enumerate(report.sentences):
        console.print(Text(sentence, style="" if number else "bold"))
    console.print()
    console.print(Text(design_line(report), style="dim"))
    console.print()
    console.print(_claim_table(report, full=full))
    others = [comparison for comparison in report.comparisons if comparison.role != ArmRole.AGAIN]
    if full and (scatter := scatter_line(report)):
        console.print(Text(scatter, style="dim"))
    differing = [c for c in others if full or any(_is_whole(claim) and _is_effect(claim) for claim in c.claims)]
    for comparison in differing[: None if full else FACTOR_TABLES]:
        if comparison.factors:
            console.print()
            console.print(_factor_table(comparison))
            console.print(Text("; ".join(factor_words(comparison)), style="dim"))
    if full:
        _print_the_rest(report, others, console)
    if report.notes:
        console.print()
        console.print(notes_text(report.notes))


def _print_the_rest(report: StudyReport, others: Sequence[Comparison], console: Console) -> None:
    console.print()
    console.print(_rate_table(report))
    console.print()
    title = f"why a task takes longer in another language: the base, against {report.pivot} (the parts multiply)"
    console.print(_identity_table(title, report.language_identity))
    for comparison in report.comparisons:
        if not comparison.same_tokens:
            title = f"{comparison.arm}: decode time per task, against the base (the parts multiply; "
            title += "verbosity is the same by design: one text)"
            console.print()
            console.print(_identity_table(title, comparison.identity, against_base=True))
    for comparison in others:
        console.print()
        console.print(_language_table(comparison, report.margin_log))
    if report.natural:
        console.print()
        console.print(_natural_table(report))
        if words := natural_words(report):
            console.print(Text(words, style="dim"))
    for comparison in others:
        for phase in comparison.timeline.phases if comparison.timeline is not None else ():
            console.print()
            console.print(Text(f"{comparison.arm}: kernels of {phase.phase} against the base's", style="bold"))
            print_phase(phase, console, by="category", top=LEDGER_LINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be expected of a plan, before it is run."""

    folder: Path
    block_count: int
    natural_block_count: int  # of these, with the models' own answers
    sample_count: int
    finished_block_count: int  # of these, measured already
    expected_s: float  # for the rest; a guess by the models' sizes
    detectable_log: float | None  # minimal detectable effect of one claim; None where one process gives no interval


def print_plan(plan: Plan, outlook: Outlook, console: Console) -> None:
    """Print a design before it is run: what, how often, how long it should take, and what it can find."""
    console.print(Text(f"study {outlook.folder}", style="bold"), soft_wrap=True)
    for arm in plan.arms:
        adapter = "" if arm.adapter is None else f" + {arm.adapter} ({'merged' if arm.merge_adapter else 'unmerged'})"
        console.print(Text(f"  {arm.name:<12}{arm.model}{adapter}"), soft_wrap=True)
    for side in Exposure:
        named = [language.name for language in plan.languages if language.exposure is side]
        if named:
            console.print(Text(f"  {side!s:<12}{counted(len(named), 'language')}: {', '.join(named)}"))
    for words in (plan.stood_in, *(note.message for note in made_languages(one.key for one in plan.languages))):
        if words:
            console.print(Text(f"  {'':<12}{words}"))
    if len(plan.arms) == 2:
        console.print(Text("  no other model is named: the base against itself shows the machine's own noise"))
    tasks = len({item.task for item in plan.items})
    if plan.apart:
        process = f"{plan.process_count:,} for each arm; each loads its model anew, and intervals are over them"
        block = "one text, measured with one arm"
    else:
        process = f"{plan.process_count:,}, one after the other; each loads every arm anew, and intervals are over them"
        block = "one text, measured with every arm in a random order and back"
    counts = f"{plan.block_count:,} per language and process" + " of each arm" * plan.apart
    if outlook.natural_block_count:
        counts += f", and {outlook.natural_block_count:,} with the models' own answers"
    if outlook.finished_block_count:
        counts += f"; {outlook.finished_block_count:,} are measured already"
    for word, meaning in (
        ("process", process),
        ("block", f"{outlook.block_count:,}: {block}; {counts}"),
        ("sample", f"{outlook.sample_count:,}: one arm reads a text (prefill) and decodes what follows it"),
        ("text", f"{counted(tasks, 'task')} of {plan.corpus}; seed {plan.seed}"),
    ):
        console.print(Text(f"  {word:<12}{meaning}"))
    log = outlook.detectable_log
    found = (
        ""
        if log is None
        else f", finding differences of ±{np.expm1(log):.2%} with 80 % power by one claim alone, if this "
        "machine is as noisy as the one the defaults come from"
    )
    expected = f"about {duration(outlook.expected_s)} (a guess by the models' sizes, put right as blocks are measured)"
    console.print(Text(f"  expected: {expected}{found}"))
    if warning := few_processes(plan.process_count):
        console.print(Text(f"  {warning}", style="yellow"))
    console.print()


def few_processes(count: int) -> str:
    """Warn that intervals over so few processes tell next to nothing; empty where they tell something."""
    if count > 2:
        return ""
    if count == 1:
        return "one process gives no interval, so it tells no effect from noise; pass -P 5"
    return "2 processes tell next to nothing: their intervals are 7 times as wide as those of 5; pass -P 5"


def duration(seconds: float) -> str:
    """Write a time to wait: ``40 s``, ``12 min``, ``3.5 h``."""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


def counted(count: int, thing: str) -> str:
    """Write how many there are of something: ``1 process``, ``3 processes``."""
    return f"{count:,} {thing}{'' if count == 1 else 'es' if thing.endswith('s') else 's'}"


def design_line(report: StudyReport) -> str:
    """Say in one line what was measured how often."""
    marked = f", {report.marked_count} of them marked" if report.marked_count else ""
    counts = (
        counted(report.process_count, "process"),
        counted(report.block_count, "block"),
        counted(report.sample_count, "sample"),
    )
    return (
        f"{report.device} · base {report.base} · {', '.join(counts)}{marked} · {margin(report)} "
        f"({report.margin_reason}) · {counted(report.claim_count, 'claim')}, whose verdicts are Holm-corrected"
    )


def margin(report: StudyReport) -> str:
    """Say within what arms are called equivalent, if they can be."""
    log = report.margin_log
    return "equivalence cannot be told" if log is None else f"equivalence within ±{np.expm1(log):.2%}"


def scatter_line(report: StudyReport) -> str:
    """Say how block differences scatter between and within processes; empty where nothing tells."""
    known = [(c.arm, c.components) for c in report.comparisons if c.components is not None]
    listed = ", ".join(f"{arm} {c.between_sd:.2%} and {c.within_sd:.2%}" for arm, c in known)
    return f"scatter of the differences between processes and of one block within: {listed}" if known else ""


def _table(title: str, first: str, numbers: Iterable[str], last: str | None = None) -> Table:
    table = Table(
        box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), title=Text(title), title_justify="left",
        title_style="bold",
    )  # fmt: skip
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right")
    if last is not None:
        table.add_column(last)
    return table


def _claim_table(report: StudyReport, *, full: bool) -> Table:
    """Lay out the claims; in short, of the base against itself only how much the machine alone shows in all.

    Only in full is what each can find, so that a line fits 80 columns.
    """
    title = "time per byte of the same text, against the base (intervals: each alone)"
    if full:
        title = f"{title[:-1]}; what is found with 80 % power: likewise)"
    table = _table(title, "arm", ["difference, 95 %", *(["finds"] if full else [])], "verdict")
    table.columns[1].no_wrap = True
    for comparison in report.comparisons:
        for claim in comparison.claims:
            if not (full or comparison.role != ArmRole.AGAIN or _is_whole(claim)):
                continue
            effect = claim.detectable_log
            found = "" if effect is None or effect > TELLING else f"±{np.expm1(effect):.2%}"
            name = Text.assemble(f"{claim.arm} ", (what(claim), "dim"))
            words = verdict(claim.verdict, claim.estimate, report.margin_log, "claims")
            table.add_row(name, interval(claim.estimate), *([found] if full else []), Text(words))
    return table


def verdict(word: str, estimate: Estimate, margin: float | None, family: str) -> str:
    """Return a verdict; where its interval alone would tell more, with what withholds that: the rest of its family."""
    low, high = estimate.low, estimate.high
    alone = low is not None and high is not None and (low > 0 or high < 0)
    alone |= low is not None and high is not None and margin is not None and low > -margin and high < margin
    return f"{word} among all {family}" if alone and word == "inconclusive" else word


def what(claim: Claim) -> str:
    """Say of what and for which languages a claim is; a phase alone is that of every language."""
    if claim.quantity == "total":
        return claim.scope
    return claim.quantity if claim.scope == EVERY else f"{claim.quantity}, {claim.scope}"


def _is_whole(claim: Claim) -> bool:
    return claim.quantity == "total" and claim.scope == EVERY


def _is_effect(claim: Claim) -> bool:
    return claim.verdict.startswith("effect")


def told_factors(comparison: Comparison) -> list[FactorLine]:
    """Return the factors that can differ; they add up to the difference."""
    return [line for line in comparison.factors if not line.by_design]


def joined_step(comparison: Comparison) -> FactorLine | None:
    """Return what a decode step costs in all, unless its parts are known to be told apart."""
    return None if comparison.step_told_apart else comparison.step


def factor_words(comparison: Comparison) -> list[str]:
    """Say which factors are not shown, because they cannot differ, and which are not to be read by themselves."""
    left_out: dict[str, list[str]] = {}
    for line in comparison.factors:
        if line.by_design:
            left_out.setdefault(line.remark, []).append(line.factor)
    words = [f"{' and '.join(names)}: {remark}" for remark, names in left_out.items()]
    if (step := joined_step(comparison)) is not None:
        parts = " and ".join(line.factor for line in told_factors(comparison) if line.factor in STEP_PARTS)
        if comparison.step_told_apart is None:
            if step.effect.count < 2:
                why = f"one process cannot tell how well each is known, nor their sum, the {step.factor}"
            else:
                why = f"these {step.effect.count} processes cannot tell them apart; their sum is the {step.factor}"
        else:
            why = "these contexts hardly tell them apart (where one comes out higher, the other comes out lower); "
            why += f"their sum, the {step.factor}, is known better, with at most half the error of either"
        words.append(f"{parts}: {why}")
    return words


def _factor_table(comparison: Comparison) -> Table:
    title = f"{comparison.arm}: what the difference is due to (Shapley), per excerpt"
    table = _table(title, "factor", ["seconds", LOG_PARTS], "")
    for line in told_factors(comparison):
        table.add_row(line.factor, factor_seconds(line), log_part(line.effect), Text(line.remark, style="dim"))
    whole = [sum(values) for values in zip(*((x.seconds, x.effect.value) for x in comparison.factors), strict=True)]
    remark = f"of mean times, so {percent(whole[1])}; the claims above go by the middle of the blocks"
    table.add_row("sum", f"{whole[0]:+.4f}", f"{100 * whole[1]:+.2f}", Text(remark, style="dim"))
    if (step := joined_step(comparison)) is not None:
        table.add_row(step.factor, factor_seconds(step), log_part(step.effect), Text(step.remark, style="dim"))
    table.add_section()
    for line in comparison.phases:
        table.add_row(
            line.factor, factor_seconds(line), log_part(line.effect), Text(f"{line.remark} (log-mean)", style="dim")
        )
    return table


def log_part(effect: Estimate) -> str:
    """Write a part of 100 ln(arm / base) as it is: parts add up, relative differences would not."""
    if effect.value == effect.low == effect.high == 0:
        return "0 exactly"
    if effect.low is None or effect.high is None:
        return f"{100 * effect.value:+.2f} (one {effect.unit}: no interval)"
    return effect.known_to() or f"{100 * effect.value:+.2f} [{100 * effect.low:+.2f}, {100 * effect.high:+.2f}]"


def factor_seconds(line: FactorLine, scale: float = 1.0) -> str:
    """Write a factor's seconds, ``scale`` times; empty where its part of the difference is not known."""
    return "" if line.effect.known_to() else f"{scale * line.seconds:+.4f}"


RATES = ("tokens/s", "bytes/s", "lexemes/s", "s/task", "tokens/KB", "tokens/lexeme")


def rate_rows(report: StudyReport) -> list[tuple[str, ...]]:
    """Return language, arm and the figures named in ``RATES``, of every arm but the base again."""
    again = {comparison.arm for comparison in report.comparisons if comparison.role == ArmRole.AGAIN}
    rows = []
    for x in (rate for rate in report.rates if rate.arm not in again):
        rates = (x.tokens_per_s, x.bytes_per_s, x.lexemes_per_s, x.seconds_per_task)
        rows.append((x.language, x.arm, *map(quantity, (*rates, x.tokens_per_kb, x.tokens_per_lexeme))))
    return rows


def _rate_table(report: StudyReport) -> Table:
    table = _table("decode, side by side (tokens and lexemes of what is decoded)", "language", ["arm", *RATES])
    before = ""
    for language, *cells in rate_rows(report):
        table.add_row(Text("" if language == before else language), *map(Text, cells))
        before = language
    return table


def _share(log: float) -> str:
    return percent(log, 1)


def _identity_table(title: str, lines: Sequence[IdentityLine], *, against_base: bool = False) -> Table:
    """Lay out the identity; ``against_base``, over the same text, without its verbosity and with a mean."""
    parts = {"total": "decode time", "verbosity": "verbosity", "fertility": "fertility", "steps": "steps"}
    parts |= {"step_cost": "per step"}
    if against_base:
        del parts["verbosity"]
    values = [[getattr(line, part) for part in parts] for line in lines]
    table = _table(title, "language", parts.values())
    for line, own in zip(lines, values, strict=True):
        table.add_row(Text(line.language), *map(_share, own))
    if against_base and lines:
        table.add_row(Text("mean", style="bold"), *map(_share, np.mean(values, axis=0)))
    return table


def _language_table(comparison: Comparison, margin: float | None) -> Table:
    table = _table(f"{comparison.arm} against the base, by language", "language", ["difference, 95 %"], "")
    for line in comparison.languages:
        name = Text.assemble(f"{line.language} ", (line.exposure, "dim"))
        words = verdict(line.verdict, line.total, margin, "languages")
        table.add_row(name, interval(line.total), Text(words))
    return table


NATURAL = ("arm", "answers", "tokens, mean", "ended by themselves", "against base")


def natural_rows(report: StudyReport) -> list[tuple[str, ...]]:
    """Return the figures named in ``NATURAL`` of each arm's own answers."""
    return [
        (
            line.arm,
            str(line.answer_count),
            f"{line.token_count:.1f}",
            f"{line.ended_share:.0%}",
            "" if line.log_ratio is None else percent(line.log_ratio, 1),
        )
        for line in report.natural
    ]


def natural_words(report: StudyReport) -> str:
    """Say where the lengths of answers are not compared, because the limit alone made them; empty where none are."""
    cut = [line.arm for line in report.natural if line.ended_share == 0]
    if len(cut) < 2 or all(line.log_ratio is not None for line in report.natural[1:]):
        return ""
    whose = "every answer" if len(cut) == len(report.natural) else f"every answer of {', '.join(cut)}"
    limit = next(line.token_count for line in report.natural if line.arm in cut)
    cause = f"{whose} was cut off at {limit:.0f} tokens"
    return f"{cause}: the same by design, so not compared; a larger --natural can tell"


def _natural_table(report: StudyReport) -> Table:
    first, *numbers = NATURAL
    table = _table("the models' own answers", first, numbers)
    for row in natural_rows(report):
        table.add_row(*map(Text, row))
    return table
