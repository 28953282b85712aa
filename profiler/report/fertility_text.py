"""The answer of ``tokprof fertility`` in a terminal."""

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tokprof.profiler.analysis.fertility import (
    Fertility,
    LanguageFertility,
    Ratio,
    TokenizerFertility,
    headlines,
    percent,
)
from tokprof.profiler.report.text import notes_text

ABSENT = "–"


def print_fertility(report: Fertility, console: Console) -> None:
    """Print a table for each tokenizer, the costliest language first, under one sentence that says it in words."""
    count = len(report.tokenizers[0].languages)
    facts = f" · {count} language{'s' if count != 1 else ''} · lexer: {report.lexer} · digest {report.corpus_digest}"
    console.print(Text.assemble((report.corpus, "bold"), facts))
    for found, words in zip(report.tokenizers, headlines(report), strict=True):
        console.print()
        console.print(Text.assemble((found.tokenizer, "bold"), words.removeprefix(found.tokenizer)))
        console.print(Padding(_table(report, found, console.width), (1, 0, 0, 0)))
    console.print()
    console.print(Text(_legend(report), style="dim"))
    if report.notes:
        console.print(Group(Text(""), notes_text(report.notes)))


def _table(report: Fertility, found: TokenizerFertility, width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("language", max_width=24, min_width=min(14, max(len(f.name) for f in found.languages)))
    compared = report.pivot is not None
    wide = width >= 128
    columns = ["tok/kB", "tok/lexeme"]
    columns += ["parity", "= verbosity", "× premium"] if compared else []
    columns += ["tab", "newline", "byte", "Rényi"] if wide else []
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("training", no_wrap=True)
    for f in found.languages:
        cells = [f"{f.tokens_per_kb.value:.0f}", _plain(f.tokens_per_lexeme)]
        if compared:
            cells += ["pivot", "", ""] if f.language == report.pivot else _against(f)
        if wide:
            shares = (f.tab_share, f.newline_share, f.byte_fallback_share)
            cells += [*map(_share, shares), f"{f.renyi_efficiency:.2f}"]
        style = "bold" if f.language == report.pivot else None
        table.add_row(Text(f.name), *cells, f.exposure.label, style=style)
    return table


def _against(f: LanguageFertility) -> list[str]:
    parity = ABSENT if f.parity is None else f"{f.parity.value:.2f}{_bounds(f.parity)}"
    return [parity, _plain(f.verbosity), ABSENT if f.premium is None else percent(f.premium)]


def _bounds(ratio: Ratio) -> str:
    return "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"


def _plain(ratio: Ratio | None) -> str:
    return ABSENT if ratio is None else f"{ratio.value:.2f}"


def _share(share: float) -> str:
    return ABSENT if share == 0 else f"{share:.1%}"


def _legend(report: Fertility) -> str:
    words = []
    if report.pivot is not None:
        most = max((f.shared_task_count for found in report.tokenizers for f in found.languages), default=0)
        words.append(
            "parity: tokens for the same tasks over the pivot's; verbosity: the same of lexemes; premium: the same of "
            "tokens per lexeme" + (f", with 95 % intervals over {most} tasks." if most > 1 else ".")
        )
    words.append("tab, newline, byte: shares of the tokens that are white space with one, or byte fallback.")
    words.append("training: what is published of the model's having seen the language; --json names the sources.")
    return "\n".join(words)
