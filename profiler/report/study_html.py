"""The page of ``tokprof attribute``: one self-contained HTML file that opens from disk, drawn by bokeh."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tokprof.profiler.analysis.stats import Estimate
from tokprof.profiler.analysis.study import Comparison, StudyReport, interval, percent
from tokprof.profiler.analysis.study_parts import STEP_PARTS, FactorLine
from tokprof.profiler.errors import MeasurementError, new_file
from tokprof.profiler.record import PhaseDiff
from tokprof.profiler.report.page import FONT, INK, LINE, STYLE, plain
from tokprof.profiler.report.study_text import (
    LOG_PARTS,
    NATURAL,
    RATES,
    design_line,
    factor_seconds,
    factor_words,
    joined_step,
    log_part,
    margin,
    natural_rows,
    natural_words,
    rate_rows,
    scatter_line,
    told_factors,
    verdict,
    what,
)

# Okabe and Ito's palette, told apart in every common kind of colour blindness.
SEEN, UNSEEN, NEITHER = "#0072B2", "#D55E00", "#5F6368"
SIDE_COLOURS = {"seen": SEEN, "unseen": UNSEEN, "neither": NEITHER}
SLOWER, FASTER, TOTAL = "#D55E00", "#009E73", "#5F6368"
PARTS = {"verbosity": "#0072B2", "fertility": "#D55E00", "steps": "#CC79A7", "step_cost": "#009E73"}
WORDS = {"step_cost": "cost per step", "steps": "steps per token"}
WIDTH = 860


def write_study_page(report: StudyReport, path: Path) -> None:
    """Write the report to one HTML file, which needs no network.

    Raises
    ------
    OutputError
        The file cannot be written.
    MeasurementError
        bokeh is not installed.
    """
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
    except ImportError as error:
        raise MeasurementError("the page needs bokeh; pip install 'tokprof[report]'") from error

    figures = {name: made for name, made in _figures(report).items() if made is not None}
    script, divisions = components(figures) if figures else ("", {})
    page = _PAGE.format(
        style=STYLE,
        title=html.escape(f"tokprof attribute: {report.base}"),
        answer=html.escape("".join(report.sentences[:1])),
        more="".join(f"<li>{html.escape(sentence)}</li>" for sentence in report.sentences[1:]),
        design=html.escape(design_line(report)),
        sections="\n".join(_sections(report, divisions)),
        bokeh=Resources(mode="inline", components=["bokeh"]).render() if figures else "",
        script=script,
    )
    with new_file(path, "--html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def _sections(report: StudyReport, divisions: dict[str, str]) -> list[str]:
    parts = []

    def section(name: str, title: str, words: str, more: str = "", key: str = "") -> None:
        if name in divisions or more:
            division = f'<div class="drawn">{divisions[name]}</div>' if name in divisions else ""
            words = html.escape(words)
            parts.append(f"<section><h2>{html.escape(title)}</h2><p>{words}{key}</p>{division}{more}</section>")

    sides = "".join(
        f' <b class="drawn" style="color:{colour}">●</b> {side}'
        for side, colour in SIDE_COLOURS.items()
        if any(line.exposure == side for line in report.fertility)
    )

    band = "No margin is drawn" if report.margin_log is None else "The grey band is the margin"
    section(
        "claims",
        "Does it take longer?",
        "Time per byte of the same text against the base, with 95 % intervals over processes (over languages for "
        f"claims about a class), each claim's own; the verdicts are corrected for all. {band}: {margin(report)} "
        f"({report.margin_reason}).",
        f"{_claims(report)}<p>{html.escape(scatter_line(report))}</p>",
    )
    section(
        "waterfalls",
        "Where each arm spends it",
        "From the base's seconds per KB (prompt and text) to each arm's, divided among the factors of the time model "
        "by Shapley's rule: orange adds time, green takes it away. The residual is what the model does not explain. "
        "These are means of all samples; the claims go by the middle of the blocks, which late samples move less. "
        "An arm of which a factor is not known is in the table only. "
        "Prefill and decode, at the foot of each arm in the table, divide the same difference by the log-mean.",
        _factors(report),
    )
    words = "Each arm against the base in each language, with 95 % intervals over processes."
    section("languages", "By language", words, key=sides)
    section(
        "rates",
        "Side by side",
        "Decoding: tokens and lexemes are those of the decoded parts; seconds per task are scaled to the whole task.",
        _html_table(("language", "arm", *RATES), rate_rows(report)),
    )
    section(
        "identity",
        "Why some languages take longer in the same model",
        f"The base's decode time per task against {report.pivot}: the bars add up, in logarithms, to the "
        "diamond. Verbosity is the language's, fertility the tokenizer's.",
    )
    section(
        "natural",
        "The models' own answers",
        natural_words(report),
        _html_table(NATURAL, natural_rows(report)) if report.natural else "",
    )
    words = "Tokens per lexeme of what is read and decoded, with 95 % intervals over tasks."
    section("fertility", "Fertility", words, key=sides)
    for comparison in report.comparisons:
        arm = html.escape(comparison.arm)
        parts += [
            f"<section><h2>Kernels of {phase.phase}: {arm} against the base</h2>{_ledger(phase)}</section>"
            for phase in (comparison.timeline.phases if comparison.timeline is not None else ())
        ]
    if report.notes:
        notes = "".join(
            f"<li class={note.level}>{html.escape('; '.join(filter(None, (note.message, note.advice))))}</li>"
            for note in report.notes
        )
        parts.append(f"<section><h2>To be read with it</h2><ul>{notes}</ul></section>")
    return parts


def _claims(report: StudyReport) -> str:
    rows = [
        (
            c.arm,
            what(c),
            interval(c.estimate),
            "" if c.p is None else f"{c.p:.2g}" if c.p >= 1e-4 else "< 0.0001",
            verdict(c.verdict, c.estimate, report.margin_log, "claims"),
        )
        for comparison in report.comparisons
        for c in comparison.claims
    ]
    return _html_table(("arm", "of what", "difference [95 %]", "p, Holm", "verdict"), rows)


def _ledger(phase: PhaseDiff) -> str:
    lines = dict(phase.ledgers)["category"]
    rows: list[tuple[str, ...]] = []
    for line in lines:  # of categories there are few
        sides = (line.a_ns + line.a_gap_ns, line.b_ns + line.b_gap_ns)
        effects = (
            line.difference_ns,
            line.count_effect_ns,
            line.duration_effect_ns,
            line.kernel_set_effect_ns,
            line.gap_effect_ns,
        )
        half = "" if line.high_ns is None else f"±{(line.high_ns - line.difference_ns) / 1e6:.3f}"
        figures = (*(f"{x / 1e6:.3f}" for x in sides), *(f"{x / 1e6:+.3f}" for x in effects))
        rows.append((line.key, *figures, half, line.finding))
    total = sum(line.difference_ns for line in lines) / 1e6
    walls = (f"{phase.a.wall_ns / 1e6:.3f}", f"{phase.b.wall_ns / 1e6:.3f}")
    known = any(line.high_ns is not None for line in lines)
    blank = [""] * 6
    rows.append(("sum", *walls, f"{total:+.3f}", *blank))
    rows.append(("residual", "", "", f"{phase.residual_ns / 1e6:+.3f}", *blank))
    heads = ("category", "base ms", "arm ms", "change", "count", "duration", "only in one", "gaps", "95 %", "finding")
    shown = len(heads) if known else len(heads) - 2
    return _html_table(heads[:shown], [row[:shown] for row in rows])


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"


# ------------------------------------------------------------------------------------------------------------- figures


def _figures(report: StudyReport) -> dict[str, Any]:
    return {
        "claims": _claim_figure(report),
        "waterfalls": _waterfalls(report),
        "languages": _language_figure(report),
        "identity": _identity_figure(report),
        "fertility": _fertility_figure(report),
    }


def _figure(rows: Sequence[Any], axis: str, *, row_height: int = 20, **more: Any) -> Any:
    """Return an empty figure with named rows from top to bottom and relative differences along the bottom."""
    from bokeh.models import FactorRange
    from bokeh.plotting import figure

    made = figure(
        y_range=FactorRange(*reversed(rows)),
        width=WIDTH,
        height=70 + row_height * len(rows),
        x_axis_label=axis,
        toolbar_location=None,
        tools="hover",
        tooltips=[("", "@text")],
        **more,
    )
    plain(made)
    made.ygrid.visible = False
    made.yaxis.axis_line_color = None
    made.yaxis.major_tick_line_color = None
    made.yaxis.group_label_orientation = 0
    made.yaxis.separator_line_color = LINE
    made.yaxis.group_text_color = INK
    made.yaxis.group_text_font = FONT
    return made


def _dots(made: Any, rows: Sequence[Any], estimates: Sequence[Estimate], colours: Sequence[str]) -> None:
    """Draw estimates with their intervals; of one that is not known, the words that say so instead."""
    from bokeh.models import ColumnDataSource

    def relative(value: float | None) -> float:
        return float("nan") if value is None else 100 * float(np.expm1(value))

    every = list(zip(rows, estimates, colours, strict=True))
    known = [(row, estimate, colour) for row, estimate, colour in every if not estimate.known_to()]
    source = ColumnDataSource(
        {
            "row": [row for row, _, _ in known],
            "value": [relative(e.value) for _, e, _ in known],
            "low": [relative(e.low) for _, e, _ in known],
            "high": [relative(e.high) for _, e, _ in known],
            "colour": [colour for _, _, colour in known],
            "text": [interval(e) for _, e, _ in known],
        }
    )
    made.segment("low", "row", "high", "row", color="colour", line_width=2, source=source)
    made.scatter("value", "row", color="colour", size=8, source=source)
    if len(known) < len(every):
        others = [(row, words) for row, estimate, _ in every if (words := estimate.known_to())]
        unknown = {"row": [row for row, _ in others], "text": [words for _, words in others]}
        _words(made, ColumnDataSource(unknown | {"beside": [0.0] * len(others)}))


def _words(made: Any, source: Any) -> None:
    made.text(
        x="beside",
        y="row",
        text="text",
        x_offset=6,
        text_baseline="middle",
        text_font_size="11px",
        text_color=INK,
        source=source,
    )


def _zero(made: Any, margin: float | None = None) -> None:
    from bokeh.models import BoxAnnotation, Span

    if margin is not None:
        wide = 100 * float(np.expm1(margin))
        made.add_layout(BoxAnnotation(left=-wide, right=wide, fill_color="#9e9e9e", fill_alpha=0.18, level="underlay"))
    made.add_layout(Span(location=0, dimension="height", line_color="#5F6368", line_width=1))


def _claim_figure(report: StudyReport) -> Any:
    claims = [claim for comparison in report.comparisons for claim in comparison.claims]
    if not claims:
        return None
    rows = [(claim.arm, what(claim)) for claim in claims]
    made = _figure(rows, "time per byte against the base / %")
    _zero(made, report.margin_log)
    _dots(made, rows, [claim.estimate for claim in claims], ["#0072B2"] * len(claims))
    return made


def _language_figure(report: StudyReport) -> Any:
    lines = [(c.arm, line) for c in report.comparisons for line in c.languages]
    if not lines:
        return None
    rows = [(arm, line.language) for arm, line in lines]
    made = _figure(rows, "time per byte against the base / %", row_height=16)
    _zero(made, report.margin_log)
    colours = [SIDE_COLOURS[line.exposure] for _, line in lines]
    _dots(made, rows, [line.total for _, line in lines], colours)
    return made


def _identity_figure(report: StudyReport) -> Any:
    from bokeh.models import ColumnDataSource, Legend, LegendItem

    lines = sorted(report.language_identity, key=lambda line: line.total)
    if not lines:
        return None
    rows = [line.language for line in lines]
    made = _figure(rows, f"ln of decode time per task, against {report.pivot}")
    _zero(made)
    ends = {sign: np.zeros(len(lines)) for sign in (1, -1)}
    items = []
    for part, colour in PARTS.items():
        values = np.array([getattr(line, part) for line in lines])
        left, right = np.zeros(len(lines)), np.zeros(len(lines))
        for sign, end in ends.items():
            here = values * sign > 0
            left[here], right[here] = end[here], end[here] + values[here]
            end[here] += values[here]
        word = WORDS.get(part, part)
        text = [f"{word}: {percent(value)}" for value in values]
        source = ColumnDataSource({"row": rows, "left": left, "right": right, "text": text})
        bars = made.hbar(y="row", left="left", right="right", height=0.6, color=colour, source=source)
        items.append(LegendItem(label=word, renderers=[bars]))
    totals = ColumnDataSource(
        {"row": rows, "total": [line.total for line in lines], "text": [f"all: {percent(x.total)}" for x in lines]}
    )
    made.scatter("total", "row", marker="diamond", fill_color=INK, line_color="white", size=11, source=totals)
    made.add_layout(
        Legend(
            items=items,
            orientation="horizontal",
            border_line_color=None,
            background_fill_color=None,
            label_text_color=INK,
            label_text_font=FONT,
        ),
        "above",
    )
    return made


def _fertility_figure(report: StudyReport) -> Any:
    if not report.fertility:
        return None
    from bokeh.models import ColumnDataSource

    lines = sorted(report.fertility, key=lambda line: (line.arm, line.tokens_per_lexeme.value))
    several = len({line.arm for line in lines}) > 1
    rows: list[Any] = [(line.arm, line.language) if several else line.language for line in lines]
    made = _figure(rows, "tokens per lexeme", row_height=16)
    estimates = [line.tokens_per_lexeme for line in lines]
    low = [float(np.exp(e.value if e.low is None else e.low)) for e in estimates]
    high = [float(np.exp(e.value if e.high is None else e.high)) for e in estimates]
    source = ColumnDataSource(
        {
            "row": rows,
            "value": [float(np.exp(e.value)) for e in estimates],
            "low": low,
            "high": high,
            "colour": [SIDE_COLOURS[line.exposure] for line in lines],
            "text": [f"{np.exp(e.value):.3f} [{a:.3f}, {b:.3f}]" for e, a, b in zip(estimates, low, high, strict=True)],
        }
    )
    made.segment("low", "row", "high", "row", color="colour", line_width=2, source=source)
    made.scatter("value", "row", color="colour", size=8, source=source)
    return made


def _drawn_factors(comparison: Comparison) -> list[FactorLine]:
    """Return the bars of a waterfall: the factors, those of a decode step as one where only their sum is known well."""
    lines = told_factors(comparison)
    if (step := joined_step(comparison)) is not None:
        *lines, residual = [line for line in lines if line.factor not in STEP_PARTS]
        lines += [step, residual]
    return lines


def _waterfalls(report: StudyReport) -> Any:
    """From the base's seconds per KB to each arm's, factor by factor, on one axis that begins at the base."""
    from bokeh.models import ColumnDataSource

    per_kb = 1000 / report.bytes_per_item
    base = per_kb * report.base_seconds_per_item
    rows, left, right, colours, texts = [], [], [], [], []
    for comparison in report.comparisons:
        drawn = _drawn_factors(comparison)
        if not drawn or any(line.effect.known_to() for line in drawn):
            continue
        at = 0.0
        for line in drawn:
            change = per_kb * line.seconds
            rows.append((comparison.arm, line.factor))
            left.append(min(at, at + change))
            right.append(max(at, at + change))
            colours.append(SLOWER if change > 0 else FASTER)
            texts.append(f"{change:+.4f}")
            at += change
        rows.append((comparison.arm, "in all"))
        left.append(min(at, 0.0))
        right.append(max(at, 0.0))
        colours.append(TOTAL)
        texts.append(f"{at:+.4f}, so {base + at:.3f} s/KB")
    if not rows:
        return None
    made = _figure(rows, f"seconds per KB more than the base, which takes {base:.3f}")
    _zero(made)
    bars = {"row": rows, "left": left, "right": right, "colour": colours, "text": texts}
    source = ColumnDataSource(bars | {"beside": [max(0.0, end) for end in right]})
    made.hbar(y="row", left="left", right="right", height=0.7, color="colour", source=source)
    _words(made, source)
    lowest, highest = min(0.0, *left), max(0.0, *right)
    made.x_range.start = lowest - 0.02 * (highest - lowest)
    made.x_range.end = highest + 0.3 * (highest - lowest)  # room for the words beside the longest bar
    return made


def _factors(report: StudyReport) -> str:
    """Lay out every factor that is drawn, and the parts of those that are drawn as one."""
    rows, words = [], []
    for comparison in report.comparisons:
        joined = joined_step(comparison)
        own = [*told_factors(comparison), *([] if joined is None else [joined]), *comparison.phases]
        for place, line in enumerate(own):
            seconds = factor_seconds(line, 1000 / report.bytes_per_item)
            arm = "" if place else comparison.arm
            rows.append((arm, line.factor, seconds, log_part(line.effect), line.remark))
        words += factor_words(comparison)
    told = "".join(f"<p>{html.escape(line)}</p>" for line in dict.fromkeys(words))
    return _html_table(("arm", "factor", "s/KB", LOG_PARTS, ""), rows) + told if rows else ""


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:">
<title>{title}</title>
<style>{style}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 920px; margin: 2em auto;
  padding: 0 1em; }}
h1 {{ font-size: 1.35em; font-weight: 600; line-height: 1.4; }}
h2 {{ font-size: 1.1em; margin: 2.2em 0 .3em; }}
ul.answer {{ margin: .3em 0 1.2em; padding-left: 1.2em; }}
ul.answer li {{ margin: .25em 0; }}
p {{ margin: .3em 0 .8em; color: var(--soft); }}
table {{ border-collapse: collapse; font-size: .87em; font-variant-numeric: tabular-nums; margin: .8em 0; }}
th, td {{ text-align: left; padding: .25em 1.2em .25em 0; border-bottom: 1px solid var(--line); }}
th {{ color: var(--soft); font-weight: 500; }}
section {{ overflow-x: auto; }}
li.warning {{ color: var(--worse); }}
</style>
{bokeh}
</head><body>
<h1>{answer}</h1>
<ul class="answer">{more}</ul>
<p>{design}</p>
{sections}
{script}
</body></html>
"""
