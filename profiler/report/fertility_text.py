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
    interval,
    percent,
)
from tokprof.profiler.report.text import notes_text

ABSENT = "–"
MIDDLE, WIDE = 100, 128  # columns of a terminal that has room for both intervals, and for everything


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
    console.print(Text(_legend(report, console.width), style="dim"))
    if report.notes:
        console.print(Group(Text(""), notes_text(report.notes)))


def _table(report: Fertility, found: TokenizerFertility, width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    name_width = min(14, max(len("language"), *(len(f.name) for f in found.languages)))
    table.add_column("language", max_width=24, min_width=name_width, overflow="fold")
    compared = report.pivot is not None
    columns = ["tok/kB", *(["tok/lexeme"] if width >= MIDDLE or not compared else [])]
    columns += ["parity", "= verbosity", "× premium"] if compared else []
    columns += ["tab", "newline", "byte", "Rényi"] if width >= WIDE else []
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("training", no_wrap=True)
    for f in found.languages:
        cells = [f"{f.tokens_per_kb.value:.0f}"]
        if "tok/lexeme" in columns:
            cells.append(_plain(f.tokens_per_lexeme))
        if compared:
            cells += ["pivot", "", ""] if f.language == report.pivot else _against(f, bounds=width >= MIDDLE)
        if width >= WIDE:
            shares = (f.tab_share, f.newline_share, f.byte_fallback_share)
            cells += [*(f"{share:.1%}" for share in shares), f"{f.renyi_efficiency:.2f}"]
        style = "bold" if f.language == report.pivot else None
        table.add_row(Text(f.name), *cells, f.exposure.label, style=style)
    return table


def _against(f: LanguageFertility, *, bounds: bool) -> list[str]:
    known = interval(f.parity, lambda bound: f"{bound:.2f}") if bounds and f.parity is not None else ""
    parity = _plain(f.parity) + known
    return [parity, _plain(f.verbosity), ABSENT if f.premium is None else percent(f.premium)]


def _plain(ratio: Ratio | None) -> str:
    return ABSENT if ratio is None else f"{ratio.value:.2f}"


def _legend(report: Fertility, width: int) -> str:
    words = []
    if report.pivot is not None:
        most = max((f.shared_task_count for found in report.tokenizers for f in found.languages), default=0)
        words.append(
            "parity: tokens for the same tasks over the pivot's; verbosity: the same of lexemes; premium: the same of "
            "tokens per lexeme" + (f", with 95 % intervals over {most} tasks." if most > 1 else ".")
        )
    if width >= WIDE:
        words.append(
            "tab, newline: shares of the tokens that are white space with one in it; byte: of those that are one byte "
            "of what the vocabulary lacks, white space among it; Rényi: efficiency of the vocabulary's use."
        )
    else:
        words.append("a wider terminal, --html and --json show more columns.")
    absent = [f for found in report.tokenizers for f in found.languages if f.language != report.pivot]
    if report.pivot is not None and any(f.parity is None or f.premium is None for f in absent):
        words.append(f"{ABSENT}: not compared, for want of a task that the pivot has as well, or of a lexeme.")
    words.append("training: what is published of the model's having seen the language; --json names the sources.")
    return "\n".join(words)
