"""The report of ``tokprof attribute`` for a terminal, through rich."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokprof.profiler.analysis.attribution import Factor
from tokprof.profiler.analysis.stats import Estimate
from tokprof.profiler.analysis.study import Claim, Comparison, StudyReport
from tokprof.profiler.analysis.study_parts import FactorLine, IdentityLine
from tokprof.profiler.report.text import notes_text, quantity
from tokprof.profiler.report.timeline_text import print_phase
from tokprof.profiler.studies import ArmRole, Exposure, Plan

LEDGER_LINES = 6
UNKNOWN = float(np.log(4))  # a bound beyond it, and the estimate tells nothing


def print_study(report: StudyReport, console: Console) -> None:
    """Print the answer: the sentence first, then what it rests on."""
    console.print(Text(report.sentence, style="bold"))
    console.print(Text(design_line(report), style="dim"))
    console.print()
    console.print(_claim_table(report))
    if scatter := scatter_line(report):
        console.print(Text(scatter, style="dim"))
    for comparison in report.comparisons:
        if comparison.factors and comparison.role != ArmRole.AGAIN:
            console.print()
            console.print(_factor_table(comparison))
    console.print()
    console.print(_rate_table(report))
    console.print()
    title = f"why a task takes longer in another language: the base, against {report.pivot} (the parts multiply)"
    console.print(_identity_table(title, report.language_identity))
    for comparison in report.comparisons:
        if not comparison.same_tokens:
            title = f"{comparison.arm}: decode time per task, against the base (the parts multiply)"
            console.print()
            console.print(_identity_table(title, comparison.identity, pooled=True))
    for comparison in report.comparisons:
        if comparison.role != ArmRole.AGAIN:
            console.print()
            console.print(_language_table(comparison, report.margin))
    if report.natural:
        console.print()
        console.print(_natural_table(report))
    for comparison in report.comparisons:
        if comparison.timeline is None or comparison.role == ArmRole.AGAIN:
            continue
        for phase in comparison.timeline.phases:
            console.print()
            console.print(Text(f"{comparison.arm}: kernels of {phase.phase} against the base's", style="bold"))
            print_phase(phase, console, by="category", top=LEDGER_LINES)
    if report.notes:
        console.print()
        console.print(notes_text(report.notes))


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
    if len(plan.arms) == 2:
        console.print(Text("  no other model is named: the base against itself shows the machine's own noise"))
    tasks = len({item.task for item in plan.items})
    if plan.apart:
        process = f"{plan.process_count:,} for each arm; each loads its model anew, and intervals are over them"
        block = "one text, measured with each arm in its own process"
    else:
        process = f"{plan.process_count:,}, one after the other; each loads every arm anew, and intervals are over them"
        block = "one text, measured with every arm in a random order and back"
    counts = f"{plan.block_count:,} per language and process"
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
        "; one process gives no interval"
        if log is None
        else f", finding differences of ±{np.expm1(log):.2%} with 80 % power by one claim alone, if this "
        "machine is as noisy as the one the defaults come from"
    )
    expected = f"about {duration(outlook.expected_s)} (a guess by the models' sizes, put right as blocks are measured)"
    console.print(Text(f"  expected: {expected}{found}"))
    console.print()


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


def percent(log: float, digits: int = 2) -> str:
    """Write a log ratio as a relative difference."""
    return f"{np.expm1(log):+.{digits}%}"


def tells(estimate: Estimate) -> bool:
    """Say whether an estimate has an interval that is not too wide to tell anything."""
    return estimate.low is not None and estimate.high is not None and max(-estimate.low, estimate.high) <= UNKNOWN


def interval(estimate: Estimate) -> str:
    """Write an estimate of a log ratio with its interval, as relative differences."""
    if estimate.low is None or estimate.high is None:
        return f"{percent(estimate.value)} (one {estimate.unit}: no interval)"
    if not tells(estimate):
        factor = np.exp(max(-estimate.low, estimate.high))
        return f"{percent(estimate.value, 0)} (known to a factor of {factor:.1g} only)"
    return f"{percent(estimate.value)} [{percent(estimate.low)}, {percent(estimate.high)}]"


def design_line(report: StudyReport) -> str:
    """Say in one line what was measured how often."""
    marked = f", {report.marked_count} of them marked" if report.marked_count else ""
    counts = (
        counted(report.process_count, "process"),
        counted(report.block_count, "block"),
        counted(report.sample_count, "sample"),
    )
    return (
        f"{report.device} · base {report.base} · {', '.join(counts)}{marked} · equivalence within {margin(report)} "
        f"({report.margin_reason}) · {counted(report.claim_count, 'claim')}, whose verdicts are Holm-corrected"
    )


def margin(report: StudyReport) -> str:
    """Write the margin of equivalence."""
    return f"±{np.expm1(report.margin):.2%}"


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


def _claim_table(report: StudyReport) -> Table:
    title = "time per byte of the same text, against the base (intervals and what is found with 80 % power: each alone)"
    table = _table(title, "arm", ["difference, 95 %", "finds"], "verdict")
    for comparison in report.comparisons:
        for claim in comparison.claims:
            effect = claim.detectable
            found = "" if effect is None or effect > UNKNOWN else f"±{np.expm1(effect):.2%}"
            name = Text.assemble(f"{claim.arm} ", (what(claim), "dim"))
            words = verdict(claim.verdict, claim.estimate, report.margin, "claims")
            table.add_row(name, interval(claim.estimate), found, Text(words))
    return table


def verdict(word: str, estimate: Estimate, margin: float, family: str) -> str:
    """Return a verdict; where its interval alone would tell more, with what withholds that: the rest of its family."""
    low, high = estimate.low, estimate.high
    alone = low is not None and high is not None and (low > 0 or high < 0 or (low > -margin and high < margin))
    return f"{word} among all {family}" if alone and word == "inconclusive" else word


def what(claim: Claim) -> str:
    """Say of what and for which languages a claim is."""
    return claim.scope if claim.quantity == "total" else f"{claim.quantity}, {claim.scope}"


def told_factors(comparison: Comparison) -> list[FactorLine]:
    """Return the factors to show; what an adapter adds to a step is a factor of its own, not a cost of steps."""
    return [x for x in comparison.factors if not (comparison.role == ArmRole.ADAPTER and x.factor == Factor.STEP_COST)]


def _factor_table(comparison: Comparison) -> Table:
    title = f"{comparison.arm}: what the difference is due to (Shapley), per excerpt"
    table = _table(title, "factor", ["seconds", "share of ln ratio, 95 %"], "")
    for line in told_factors(comparison):
        table.add_row(line.factor, f"{line.seconds:+.4f}", _log_share(line.effect), Text(line.remark, style="dim"))
    whole = [sum(values) for values in zip(*((x.seconds, x.effect.value) for x in comparison.factors), strict=True)]
    remark = f"of mean times, so {percent(whole[1])}; the claims above go by the middle of the blocks"
    table.add_row("sum", f"{whole[0]:+.4f}", f"{whole[1]:+.2%}", Text(remark, style="dim"))
    table.add_section()
    for line in comparison.phases:
        table.add_row(
            line.factor, f"{line.seconds:+.4f}", _log_share(line.effect), Text(f"{line.remark} (log-mean)", style="dim")
        )
    return table


def _log_share(effect: Estimate) -> str:
    """Write a share of a log ratio as it is: shares add up, relative differences would not."""
    if effect.value == effect.low == effect.high == 0:
        return "0 exactly"
    if effect.low is None or effect.high is None:
        return f"{effect.value:+.2%} (one {effect.unit}: no interval)"
    if effect.high - effect.low > 2 * UNKNOWN:
        return f"{effect.value:+.0%} (not known)"
    return f"{effect.value:+.2%} [{effect.low:+.2%}, {effect.high:+.2%}]"


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


def _parts(line: IdentityLine) -> tuple[float, ...]:
    return line.total, line.verbosity, line.fertility, line.steps, line.step_cost


def _share(log: float) -> str:
    return percent(log, 1)


def _identity_table(title: str, lines: Sequence[IdentityLine], *, pooled: bool = False) -> Table:
    table = _table(title, "language", ["decode time", "verbosity", "fertility", "steps", "per step"])
    for line in lines:
        table.add_row(Text(line.language), *map(_share, _parts(line)))
    if pooled and lines:
        table.add_row(Text("mean", style="bold"), *map(_share, np.mean([_parts(line) for line in lines], axis=0)))
    return table


def _language_table(comparison: Comparison, margin: float) -> Table:
    table = _table(f"{comparison.arm} against the base, by language", "language", ["difference, 95 %"], "")
    for line in comparison.languages:
        name = Text.assemble(f"{line.language} ", (line.exposure, "dim"))
        words = verdict(line.verdict, line.total, margin, "languages")
        table.add_row(name, interval(line.total), Text(words))
    return table


def _natural_table(report: StudyReport) -> Table:
    table = _table("the models' own answers", "arm", ["answers", "tokens, mean", "ended by themselves", "against base"])
    for line in report.natural:
        ratio = "" if line.log_ratio is None else percent(line.log_ratio, 1)
        table.add_row(
            Text(line.arm), str(line.answer_count), f"{line.token_count:.1f}", f"{line.ended_share:.0%}", ratio
        )
    return table
