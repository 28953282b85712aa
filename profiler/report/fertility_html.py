"""The page of ``tokprof fertility``: one self-contained HTML file, its picture drawn by bokeh, with every figure."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from tokprof.profiler.analysis.fertility import Fertility, LanguageFertility, Ratio, headlines, interval, percent
from tokprof.profiler.errors import MeasurementError, new_file
from tokprof.profiler.report.page import INK, SHADE, SOFT, STYLE, plain

# Okabe and Ito's palette: told apart in every common kind of colour blindness, and by place within a row besides.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
SEEN = ("trained", "named")
ROW_PIXELS, TOKENIZER_PIXELS = 12, 9
TICKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 10.0)
PERCENT_TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)


class Panel(NamedTuple):
    """One quantity, drawn beside the others on the same rows."""

    title: str
    figure: Callable[[LanguageFertility], Ratio | None]
    ticks: Sequence[float]  # empty: the scale chooses
    label: Callable[[float], str]
    once: bool = False  # the same for every tokenizer


def write_fertility_page(report: Fertility, path: Path) -> None:
    """Write the page, which needs no network.

    Raises
    ------
    MeasurementError
        bokeh is not installed.
    """
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
    except ImportError as error:
        raise MeasurementError("the picture needs bokeh; pip install 'tokprof[report]'") from error
    script, picture = components(_picture(report))
    page = _PAGE.format(
        head=Resources(mode="inline", components=["bokeh"]).render(),
        style=STYLE,
        title="What the same tasks cost in tokens" if report.pivot else "What code costs in tokens",
        corpus=escape(report.corpus),
        facts=escape(f"digest {report.corpus_digest} · lexer: {report.lexer}"),
        sentences="".join(f"<p>{_sentence(words)}</p>" for words in headlines(report)),
        key=_key(report),
        picture=picture,
        reading=_READING[report.pivot is not None],
        tables="".join(_tables(report)),
        notes="".join(f"<li>{escape('; '.join(filter(None, (x.message, x.advice))))}</li>" for x in report.notes),
        script=script,
    )
    with new_file(path, "--html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def _panels(report: Fertility) -> list[Panel]:
    if report.pivot is None:
        return [
            Panel("tokens per kB", lambda f: f.tokens_per_kb, (), lambda v: f"{v:g}"),
            Panel("tokens per lexeme", lambda f: f.tokens_per_lexeme, TICKS, lambda v: f"{v:g}"),
        ]
    pivot = next(f.name for f in report.tokenizers[0].languages if f.language == report.pivot)
    return [
        Panel(f"Parity: tokens, {pivot} = 1", lambda f: f.parity, TICKS, lambda v: f"{v:g}"),
        Panel("= Verbosity: lexemes", lambda f: f.verbosity, TICKS, lambda v: f"{v:g}", once=True),
        Panel("× Premium: tokens per lexeme", lambda f: f.premium, PERCENT_TICKS, _percent_tick),
    ]


def _percent_tick(ratio: float) -> str:
    return "0 %" if ratio == 1 else f"{100 * (ratio - 1):+.0f} %"


def _picture(report: Fertility) -> Any:
    from bokeh.layouts import row

    order = [f.language for f in report.tokenizers[0].languages]
    order.reverse()  # the costliest on top
    height = 78 + len(order) * (ROW_PIXELS + TOKENIZER_PIXELS * len(report.tokenizers))
    figures = [_figure(report, panel, order, height, labels=i == 0) for i, panel in enumerate(_panels(report))]
    return row(figures, sizing_mode="stretch_width")


def _figure(report: Fertility, panel: Panel, order: list[str], height: int, *, labels: bool) -> Any:
    from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Range1d, Span, Whisker
    from bokeh.plotting import figure

    columns = [_column(report, panel, order, index) for index in range(1 if panel.once else len(report.tokenizers))]
    ends = [bound for column in columns for key in ("value", "low", "high") for bound in column[key]]
    low, high = min(ends, default=1.0), max(ends, default=1.0)
    margin = max(1.02, (high / low) ** 0.06)
    if panel.ticks:
        low, high = min(low, 1.0), max(high, 1.0)
    plot = figure(
        title=panel.title,
        x_axis_type="log",
        x_range=Range1d(low / margin, high * margin),
        y_range=Range1d(-0.6, len(order) - 0.4),
        height=height,
        min_width=220,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
    )
    plain(plot)
    plot.title.text_font_size = "13px"
    plot.hbar(
        y=list(range(0, len(order), 2)),
        height=1.0,
        left=low / margin,
        right=high * margin,
        color=SHADE,
        level="underlay",
    )
    if panel.ticks:
        plot.add_layout(Span(location=1.0, dimension="height", line_color=INK, line_width=1, level="underlay"))
        shown = _thinned([t for t in panel.ticks if low / margin <= t <= high * margin])
        plot.xaxis.ticker = FixedTicker(ticks=shown)
        plot.xaxis.major_label_overrides = {t: panel.label(t) for t in shown}
    for index, column in enumerate(columns):
        colour = INK if panel.once else COLOURS[index % len(COLOURS)]
        source = ColumnDataSource({**column, "fill": [colour if seen else "#ffffff" for seen in column["seen"]]})
        plot.add_layout(
            Whisker(
                source=source,
                base="y",
                lower="low",
                upper="high",
                dimension="width",
                line_color=colour,
                line_width=1.4,
                upper_head=None,
                lower_head=None,
                level="glyph",
            )
        )
        dots = plot.scatter(
            "value",
            "y",
            source=source,
            size=7,
            line_color=colour,
            line_width=1.6,
            fill_color=colour if panel.once else "fill",
        )
        tips = [
            ("language", "@name"),
            (panel.title.partition(":")[0].strip("=× "), "@text"),
            ("tokens", "@tokens{0,0}"),
        ]
        tips += [] if panel.once else [("tokenizer", "@tokenizer"), ("training", "@label")]
        lines = "".join(f'<div><span style="color:{SOFT}">{name}</span> {value}</div>' for name, value in tips)
        plot.add_tools(HoverTool(renderers=[dots], tooltips=lines))
    written = {f.language: f.name for f in report.tokenizers[0].languages}
    names = {i: _shortened(written[language]) for i, language in enumerate(order)}
    plot.yaxis.ticker = FixedTicker(ticks=list(names))
    plot.yaxis.major_label_overrides = names
    plot.yaxis.major_label_text_font_size = "12.5px" if labels else "0px"
    plot.yaxis.axis_line_color = plot.yaxis.major_tick_line_color = None
    plot.xaxis.axis_line_color = plot.xaxis.minor_tick_line_color = None
    plot.ygrid.grid_line_color = None
    return plot


def _shortened(name: str, most: int = 28) -> str:
    """Leave the picture its room, whatever a corpus calls a language."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _thinned(ticks: list[float], most: int = 6) -> list[float]:
    """Keep no more ticks than have room, 1 always among them."""
    while len(ticks) > most:
        middle = ticks.index(1.0)
        ticks = [tick for i, tick in enumerate(ticks) if (i - middle) % 2 == 0]
    return ticks


def _column(report: Fertility, panel: Panel, order: list[str], index: int) -> dict[str, list[Any]]:
    found = report.tokenizers[index]
    count = 1 if panel.once else len(report.tokenizers)
    by_language = {f.language: f for f in found.languages}
    names = ("y", "value", "low", "high", "name", "text", "tokens", "tokenizer", "label", "seen")
    column: dict[str, list[Any]] = {name: [] for name in names}
    for position, language in enumerate(order):
        f = by_language[language]
        ratio = panel.figure(f)
        if ratio is None:
            continue
        bounds = ratio.bounds or (ratio.value, ratio.value)
        y = position + 0.62 * ((count - 1) / 2 - index) / count
        text = _interval(ratio) if panel.label(1.1) != "+10 %" else percent(ratio)
        seen = f.exposure.label in SEEN
        cells = (y, ratio.value, *bounds, f.name, text, f.token_count, found.tokenizer, f.exposure.label, seen)
        for name, cell in zip(names, cells, strict=True):
            column[name].append(cell)
    return column


def _interval(ratio: Ratio) -> str:
    digits = 0 if ratio.value >= 20 else 2
    return f"{ratio.value:.{digits}f}{interval(ratio, lambda bound: f'{bound:.{digits}f}')}"


# ---------------------------------------------------------------------------------------------------------------- words


def _sentence(words: str) -> str:
    name, _, rest = words.partition(":")
    return f"<b>{escape(name)}</b>:{escape(rest)}"


def _key(report: Fertility) -> str:
    parts = [
        f'<span><i class="drawn" style="background:{COLOURS[i % len(COLOURS)]}"></i>{escape(found.tokenizer)}</span>'
        for i, found in enumerate(report.tokenizers)
    ]
    parts.append('<span><i class="full"></i>trained on, or named by its makers</span>')
    parts.append('<span><i class="hollow"></i>unseen, not named or unknown</span>')
    return "".join(parts)


def _tables(report: Fertility) -> list[str]:
    parts = []
    for found in report.tokenizers:
        rows = "".join(_row(f, report.pivot) for f in found.languages)
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        parts.append(
            f"<section><h2>{escape(found.tokenizer)} <small>{found.vocabulary_count:,} tokens, digest "
            f'{escape(found.digest)}</small></h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div></section>"
        )
    return parts


_READING = {
    True: "Dots are ratios of sums over the tasks that a language shares with the pivot; lines are 95 % intervals with "
    "the task as sampling unit. Parity is exactly verbosity times premium.",
    False: "Dots are ratios of sums; lines are 95 % intervals with the task, or the file where no tasks are named, as "
    "sampling unit.",
}
_COLUMNS = (
    "language", "training", "tokens/kB", "tokens/lexeme", "parity", "median", "verbosity", "premium", "tab", "newline",
    "byte fallback", "Rényi efficiency", "bytes",
)  # fmt: skip


def _row(f: LanguageFertility, pivot: str | None) -> str:
    def optional(ratio: Ratio | None, write: Callable[[Ratio], str] = _interval) -> str:
        return "–" if ratio is None else write(ratio)

    itself = f.language == pivot
    against = ["pivot", "", "", ""] if itself else [
        optional(f.parity), "–" if f.parity_median is None else f"{f.parity_median:.2f}", optional(f.verbosity),
        optional(f.premium, percent),
    ]  # fmt: skip
    cells = [
        _interval(f.tokens_per_kb), optional(f.tokens_per_lexeme), *against, _share(f.tab_share),
        _share(f.newline_share), _share(f.byte_fallback_share), f"{f.renyi_efficiency:.3f}", f"{f.byte_count:,}",
    ]  # fmt: skip
    training = f'<td title="{escape(f"{f.exposure.evidence}: {f.exposure.source}")}">{escape(f.exposure.label)}</td>'
    figures = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{' class=pivot' if itself else ''}><td>{escape(f.name)}</td>{training}{figures}</tr>"


def _share(share: float) -> str:
    return f"{share:.1%}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:">
<title>tokprof fertility</title>
<link rel="icon" href="data:,">
<style>{style}
body {{ margin: 0 auto; max-width: 1360px; padding: 20px 28px 60px;
  font: 14px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 20px; font-weight: 600; margin: 0 0 2px; overflow-wrap: anywhere; }}
h2 {{ font-size: 14px; font-weight: 600; margin: 26px 0 4px; }}
small, .soft {{ color: var(--soft); font-weight: 400; }}
p {{ max-width: 78em; margin: 6px 0; }}
.key {{ display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 16px 0 6px; }}
.key i {{ display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px;
  border: 2px solid transparent; box-sizing: border-box; }}
.key .full {{ background: var(--soft); }} .key .hollow {{ border-color: var(--soft); }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 12px; }}
th, td {{ text-align: right; padding: 2px 4px; white-space: nowrap; }}
th {{ font-weight: 600; border-bottom: 1px solid var(--line); }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
tr:nth-child(even) td {{ background: var(--lane); }} .pivot td {{ font-weight: 600; }}
</style>
{head}
</head>
<body>
<h1>{title}</h1>
<div class="soft">{corpus} · {facts}</div>
{sentences}
<div class="key">{key}</div>
<div class="drawn">{picture}</div>
<p class="soft">{reading} Point at a dot for its figures, at a word under “training” for its source.</p>
{tables}
<ul class="soft">{notes}</ul>
{script}
</body>
</html>
"""
