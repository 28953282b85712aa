"""Traces and comparisons for a terminal, through rich.

A table gives up columns before it cuts a number, and shortens names where they are alike, not where they differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokprof.profiler.analysis.compare import headline
from tokprof.profiler.analysis.timeline import Analysis, GapTotal, Outside, StepTotal
from tokprof.profiler.errors import visible
from tokprof.profiler.record import LedgerLine, PhaseDiff, TimelineDiff
from tokprof.profiler.report.text import FLOORS_BY, floor_text, notes_text, quantity, reached_text

OWNERS = 3  # of each cause of gaps, that are listed
NAME_MINIMUM = 30  # columns of names before which others are given up
NAME_MAXIMUM = 90


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print what happened in a trace."""
    counts = analysis.counts
    console.print(Text(f"{analysis.source}: {analysis.device}", style="bold"), soft_wrap=True)
    console.print(Text(_counts_line(analysis), style="dim"))
    repaired = [f"{what} ({count:,})" for what, count in (*counts.repaired, *counts.rejected)]
    if repaired:
        console.print(Text("repaired or left out: " + "; ".join(repaired), style="yellow"))
    kind = "operators" if analysis.on_cpu else "kernels"
    if analysis.span_ms:
        busy = analysis.busy_ms / analysis.span_ms
        console.print(
            f"{duration(analysis.span_ms)} from first to last, {kind} busy {busy:.1%}, "
            f"{duration(analysis.overlap_ms)} of them side by side{_queue(analysis)}"
        )
    if analysis.ranks:
        console.print()
        console.print(_rank_table(analysis, console.width))
    for step in analysis.steps:
        console.print()
        _print_step(step, console, kind=kind)
    if any(line.limit is not None for step in analysis.steps for line in step.lines):
        console.print(Text(FLOORS_BY.format(analysis.ceiling), style="dim"))
    if analysis.outside is not None:
        console.print()
        _print_outside(analysis.outside, console, kind=kind)
    if analysis.kernels:
        console.print()
        _print_kernels(analysis, console)
    if analysis.streams:
        console.print()
        console.print(_stream_table(analysis, console.width))
    if analysis.notes:
        console.print()
        console.print(notes_text(analysis.notes))


def duration(value_ms: float) -> str:
    """Write a time in the unit that suits it: ``1,234 ms``, ``5.20 µs``, ``2 ns``."""
    size = abs(value_ms)
    if size == 0 or size >= 0.1:
        return quantity(value_ms, "ms")
    return quantity(value_ms * 1e3, "µs") if size >= 1e-3 else quantity(value_ms * 1e6, "ns")


def _ms(value_ms: float) -> str:
    """Write a time for a column, all in milliseconds with three decimals."""
    return f"{value_ms:,.3f}" if abs(value_ms) >= 0.0005 or value_ms == 0 else "<0.001"


# ------------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of cells that are never cut; the one of the least ``worth`` is given up first, 9 never."""

    title: str
    cells: Sequence[str]
    worth: int = 9
    left: bool = False

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.cells)))


def _print_fitted(
    console: Console,
    title: str,
    names: Sequence[str],
    columns: Sequence[_Column],
    *,
    at: int = 0,
    from_end: bool = False,
    last: Sequence[tuple[str, Sequence[str]]] = (),
    indent: int = 0,
) -> None:
    """Print a table of names and numbers in the console's width; ``at`` is the place of the names among the columns.

    Columns without content, and those there is no room for, are left out, the latter said. ``last`` are rows below.
    """
    kept = [column for column in columns if any(column.cells)]
    names = list(map(visible, names))
    longest = max([len(title), *map(len, names)])

    def room() -> int:
        return console.width - indent - sum(column.width + 2 for column in kept)

    given_up = []
    while room() < min(longest, NAME_MINIMUM) and any(column.worth < 9 for column in kept):
        least = min(kept, key=lambda column: column.worth)
        kept.remove(least)
        given_up.append(least.title)
    width = max(8, min(longest, room(), NAME_MAXIMUM))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    at -= sum(column not in kept for column in columns[:at])
    for place in range(len(kept) + 1):
        if place == at:
            table.add_column(Text(" " * (indent if at == 0 else 0) + title), width=width + (indent if at == 0 else 0),
                             no_wrap=True, overflow="crop")  # fmt: skip
        if place < len(kept):
            column = kept[place]
            table.add_column(column.title, justify="left" if column.left else "right", no_wrap=True)
    for row, name in enumerate(shortened(names, width, from_end=from_end)):
        cells = [Text(column.cells[row]) for column in kept]
        cells.insert(at, Text(" " * (indent if at == 0 else 0) + name))
        table.add_row(*cells)
    for name, values in last:
        words = dict(zip((column.title for column in columns), values, strict=True))
        below = [Text(words[column.title], style="bold") for column in kept]
        below.insert(at, Text(name, style="bold"))
        table.add_row(*below)
    console.print(table)
    if given_up:
        console.print(Text(f"  no room for: {', '.join(reversed(given_up))} (--json has all)", style="dim"))


def shortened(names: Sequence[str], width: int, *, from_end: bool = False) -> list[str]:
    """Return the names in at most ``width`` signs each, so that names which differ still do where that can be.

    Of a longer one the beginning is kept and what comes where it begins to differ from others of the same beginning;
    ``from_end`` keeps the end, as of paths.
    """
    if from_end:
        return [name if len(name) <= width else f"…{name[len(name) - width + 1 :]}" for name in names]
    cut = {name: tidy if len(tidy := _tidy(name)) <= width else f"{tidy[: width - 1]}…" for name in names}
    alike: dict[str, list[str]] = {}
    for name, short in cut.items():
        alike.setdefault(short, []).append(_tidy(name))
    head = max(1, int(0.4 * width))
    rest = width - head - 1
    result = []
    for name in names:
        tidy, others = _tidy(name), alike[cut[name]]
        if len(others) == 1 or len(tidy) <= width:
            result.append(cut[name])
            continue
        common = max((_common(tidy, other) for other in others if other != tidy), default=len(tidy))
        begin = min(common - 1, len(tidy) - rest)
        tail = tidy[begin : begin + rest]
        result.append(f"{tidy[:head]}…{tail if begin + rest >= len(tidy) else tail[:-1] + '…'}")
    return result


def _common(x: str, y: str) -> int:
    """Return how many signs two names begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(x, y, strict=False)) if a != b), min(len(x), len(y)))


def _tidy(name: str) -> str:
    """Take from a kernel's name what every one of its library has."""
    for word in ("void ", "at::native::", "at::cuda::", "(anonymous namespace)::", "c10::", "std::"):
        name = name.replace(word, "")
    return name


def _counts_line(analysis: Analysis) -> str:
    c = analysis.counts
    parts = [f"{c.total:,} events", f"{c.device_events:,} on the device"]
    for count, word in (
        (c.linked, "linked"),
        (c.unlinked, "unlinked"),
        (c.graph_launched, "by graph launch"),
        (c.overlapped, "overlapping"),
    ):
        parts.append(f"{count:,} {word}")
    return " · ".join(parts)


def _queue(analysis: Analysis) -> str:
    if analysis.queue_median is None:
        return ""
    return f"; launch queue median {analysis.queue_median:.0f}, longest {analysis.queue_maximum}"


def _print_outside(outside: Outside, console: Console, *, kind: str) -> None:
    parts = []
    if outside.kernel_count:
        early = f", {outside.early_count:,} of them begun before any step's own" if outside.early_count else ""
        parts.append(f"{outside.kernel_count:,} {kind}, busy {duration(outside.busy_ms)}{early}")
    if outside.idle_ms:
        parts.append(
            f"idle {duration(outside.idle_ms)}, at the longest {duration(outside.longest_idle_ms)} from "
            f"{duration(outside.longest_idle_at_ms)} on"
        )
    console.print(Text("outside the steps: " + "; ".join(parts)))


def _print_step(step: StepTotal, console: Console, *, kind: str) -> None:
    over = " over clean repetitions" * bool(step.time_of)
    spread = f" (spread {step.spread:.1%}{over})" if step.spread is not None else ""
    console.print(Text(f"{step.title}: {duration(step.wall_ms)}{spread}", style="bold"))
    layers = f", {step.layer_count} layers of {step.layer_kernel_count}" if step.layer_count else ""
    shared = f"{step.sampled_step_count} of {step.step_count} steps share this sequence"
    console.print(Text(f"  {shared} of {step.kernel_count} {kind}{layers}"))
    if step.time_of:
        console.print(Text(f"  its time is the {step.time_of}"))
    console.print(Text(f"  by {step.evidence}; confidence {step.confidence:.0%}", style="dim"))
    if step.category_ms:
        listed = ", ".join(f"{word} {duration(value)}" for word, value in step.category_ms)
        console.print(Text(f"  by category: {listed}"))
    console.print(Text(f"  {_sum_line(step, kind)}"))
    if step.gaps:
        _print_gaps(step.gaps, console)
    _print_lines(step, console)


def _sum_line(step: StepTotal, kind: str) -> str:
    """Say how the step's time is made up, down to what the medians leave over."""
    parts = [f"{kind} {duration(step.kernel_ms)}", f"+ idle {duration(step.idle_ms)}"]
    if step.overlap_ms:
        parts.append(f"- side by side {duration(step.overlap_ms)}")
    if abs(step.residual_ms) > 1e-6 * step.wall_ms:
        sign = "+" if step.residual_ms > 0 else "-"
        why = f"which medians of single {kind} and gaps leave over"
        if step.time_of:  # put to the clean pass, whose time need not have been in what the profiled one saw
            why = f"which was in no gap of the profiled pass, or which medians of single {kind} and gaps leave over"
        parts.append(f"{sign} residual {duration(abs(step.residual_ms))}, {why}")
    busy = f"; kernels ran in {step.busy_ms / step.wall_ms:.1%} of whole steps" if step.wall_ms else ""
    return f"{' '.join(parts)} = {duration(step.wall_ms)}{busy}"


def _print_gaps(gaps: Sequence[GapTotal], console: Console) -> None:
    """Print each cause of idle time, with its owners below it."""
    wide = max(map(len, ["idle by cause", *(gap.cause for gap in gaps)]))
    times = max(map(len, ["ms", *(_ms(gap.gap_ms) for gap in gaps)]))
    counts = max(map(len, ["gaps", *(f"{gap.count:,}" for gap in gaps)]))
    console.print(Text(f"  {'idle by cause':<{wide}}  {'ms':>{times}}  {'gaps':>{counts}}", style="bold"))
    for gap in gaps:
        console.print(Text(f"  {gap.cause:<{wide}}  {_ms(gap.gap_ms):>{times}}  {gap.count:>{counts},}"))
        for owner, value in gap.owners[:OWNERS]:
            begin = f"{'':<6}{duration(value):>9}  "
            console.print(Text(begin + _owner(owner, console.width - len(begin)), style="dim"))


def _owner(words: str, width: int) -> str:
    """Shorten "call, operator, in frame": the beginning of the frame's path tells the least."""
    call, mark, frame = words.rpartition(", in ")
    room = width - len(call) - len(mark)
    if len(words) <= width or not mark or room < 24:
        return shortened([words], width, from_end=True)[0]
    return call + mark + shortened([frame], room, from_end=True)[0]


def _print_lines(step: StepTotal, console: Console) -> None:
    lines = step.lines
    columns = [
        _Column("", [f"{line.repeat_count} ×" if line.layer is not None else "" for line in lines]),
        _Column("category", [line.category for line in lines], 2, left=True),
        _Column("each µs", [f"{line.duration_us:,.2f}" for line in lines]),
        _Column("spread", [f"{line.spread:.1%}" if line.spread is not None else "" for line in lines], 1),
        _Column("all ms", [_ms(line.total_ms) for line in lines]),
        _Column("gaps ms", [_ms(line.gap_ms) if line.gap_ms >= 0.0005 else "" for line in lines], 3),
    ]
    if any(line.limit is not None for line in lines):
        columns.append(_Column("all floors", [floor_text(line.limit) for line in lines], 4))
        columns.append(_Column("of ceiling", [reached_text(line.limit) for line in lines], 5))
    _print_fitted(console, "the step in order", [line.name for line in lines], columns, at=1)
    rest = step.line_count - len(lines)
    if rest:
        console.print(Text(f"  {rest:,} lighter left out (--top)", style="dim"))


def _print_kernels(analysis: Analysis, console: Console) -> None:
    kernels = analysis.kernels
    columns = [
        _Column("category", [kernel.category for kernel in kernels], 2, left=True),
        _Column("share", [f"{kernel.share:.1%}" for kernel in kernels]),
        _Column("total ms", [_ms(kernel.total_ms) for kernel in kernels]),
        _Column("count", [f"{kernel.count:,}" for kernel in kernels]),
        _Column("median µs", [f"{kernel.median_us:,.2f}" for kernel in kernels], 1),
    ]
    _print_fitted(console, "heaviest in the trace", [kernel.name for kernel in kernels], columns)


def _rank_table(analysis: Analysis, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("rank", justify="right")
    table.add_column("file", overflow="fold", max_width=max(12, width - 62))
    for name in ("first to last ms", "busy ms", "collectives ms", "step ms"):
        table.add_column(name, justify="right")
    for rank in analysis.ranks:
        step = "" if rank.step_ms is None else _ms(rank.step_ms)
        times = [_ms(value) for value in (rank.span_ms, rank.busy_ms, rank.collective_ms)]
        table.add_row("?" if rank.rank is None else str(rank.rank), Text(rank.file), *times, step)
    return table


def _stream_table(analysis: Analysis, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("device", "stream", "kernels", "busy ms", "gaps ms", "overlap with others ms"):
        table.add_column(name, justify="right", no_wrap=width >= 80)
    for stream in analysis.streams:
        table.add_row(
            str(stream.device),
            str(stream.stream),
            f"{stream.kernel_count:,}",
            *(_ms(value) for value in (stream.busy_ms, stream.gap_ms, stream.overlap_ms)),
        )
    return table


# --------------------------------------------------------------------------------------------------------- comparison


def print_comparison(diff: TimelineDiff, console: Console, *, by: str, top: int) -> None:
    """Print a comparison: the answer in words, then each phase's ledger."""
    console.print(Text(f"A  {diff.a_name}"), soft_wrap=True)
    console.print(Text(f"B  {diff.b_name}"), soft_wrap=True)
    console.print()
    console.print(Text(headline(diff), style="bold"))
    for phase in diff.phases:
        console.print()
        print_phase(phase, console, by=by, top=top)
    if diff.phases:
        console.print(Text(LEGEND, style="dim"))
    if diff.notes:
        console.print()
        console.print(notes_text(diff.notes))


LEGEND = (
    "A ms and B ms are the kernels' own time. change = count (run more or less often) + duration (took longer or "
    "shorter) + new/gone (of a kind that only one side has) + gaps (idle time right before them). What ran behind "
    "other kernels is in their lines, but not in the step: (kernels side by side) takes it off."
)


def print_phase(diff: PhaseDiff, console: Console, *, by: str, top: int) -> None:
    """Print one phase's ledger, by one of its groupings, down to its sum and its residual."""
    matched = int(((diff.a_row >= 0) & (diff.b_row >= 0)).sum())
    alone_a, alone_b = len(diff.a.kernels) - matched, len(diff.b.kernels) - matched
    partners = f"{matched:,} kernels matched"
    if alone_a or alone_b:
        partners += f"; {alone_a:,} of A and {alone_b:,} of B have no partner"
    console.print(Text(f"{diff.title}: {diff.a.wall_ns / 1e6:,.3f} → {diff.b.wall_ns / 1e6:,.3f} ms; {partners}"))
    for letter, step in (("A", diff.a), ("B", diff.b)):
        of = step.time_of or f"median of {step.sampled_step_count} of {step.step_count} steps, those of one sequence"
        if step.time_of or step.step_count > 1:
            console.print(Text(f"  {letter}: {of}", style="dim"))
    _print_limits(diff, console)
    lines = dict(diff.ledgers)[by]
    shown = lines[:top]
    rest = lines[top:]
    cells = [_cells(line) for line in shown]
    names = [line.key for line in shown]
    if rest:
        names.append(f"{len(rest)} more")
        cells.append(_sums(rest))
    total = sum(line.difference_ns for line in lines)
    last = [("sum", _sums(lines)), ("residual", ["", "", _change(diff.residual_ns), *[""] * 6])]
    assert abs(total + diff.residual_ns - (diff.b.wall_ns - diff.a.wall_ns)) <= 1 + 1e-6 * abs(total)
    titles = ("A ms", "B ms", "change", "count", "duration", "new/gone", "gaps", "±", "")
    worth = (9, 9, 9, 2, 3, 1, 9, 4, 9)
    columns = [
        _Column(title, [*(row[i] for row in cells), *(row[i] for _, row in last)], worth[i], left=not title)
        for i, title in enumerate(titles)
    ]
    for side, limits in (("A", [line.a_limit for line in shown]), ("B", [line.b_limit for line in shown])):
        if any(limits):
            blank = [""] * (len(cells) - len(shown) + len(last))
            columns[-1:-1] = [
                _Column(f"{side} floor", [*map(floor_text, limits), *blank], 0),
                _Column(f"{side} of ceiling", [*map(reached_text, limits), *blank], 5),
            ]
            last = [(name, [*row[:-1], "", "", row[-1]]) for name, row in last]
    _print_fitted(console, by, names, columns, from_end=by == "frame", last=last)


def _print_limits(diff: PhaseDiff, console: Console) -> None:
    """Print each side that has a floor beside it, on a line of its own."""
    sides = [(letter, of) for letter, of in (("A", diff.a_limits), ("B", diff.b_limits)) if of is not None]
    if not sides:
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for letter, of in sides:
        over = f"×{of.time_ms / of.floor_ms:,.2f}"
        parts = [
            f"{duration(of.floor_ms)}, by {of.bound}; measured {duration(of.time_ms)}, {over}",
            ("" if of.mfu is None else f"MFU {of.mfu:.1%}, ") + f"MBU {of.mbu:.1%}",
            f"gap {duration(of.gap_ms)}",
        ]
        owned = ", ".join(f"{owner.name} {duration(owner.gap_ms)}" for owner in of.owners)
        table.add_row(f"  {letter}'s floor", Text("; ".join(parts) + (f": {owned}" if owned else "")))
    console.print(table)
    sources = dict.fromkeys(of.source for _, of in sides)
    words = "; what kernels reach of theirs is of their time under the profiler"
    console.print(Text(f"  floors by what was {', '.join(sources)}{words}", style="dim"))


def _change(value_ns: float) -> str:
    return f"{value_ns / 1e6:+,.3f}" if abs(value_ns) >= 500 else "·"


def _sums(lines: Sequence[LedgerLine]) -> list[str]:
    effects = [_change(sum(values)) for values in zip(*(_effects(line) for line in lines), strict=True)]
    own = [f"{sum(getattr(line, side) for line in lines) / 1e6:,.3f}" for side in ("a_ns", "b_ns")]
    change = sum(line.difference_ns for line in lines)
    return [*own, _change(change), *(effects or ["·"] * 4), "", ""]


def _effects(line: LedgerLine) -> tuple[float, float, float, float]:
    return line.count_effect_ns, line.duration_effect_ns, line.kernel_set_effect_ns, line.gap_effect_ns


def _cells(line: LedgerLine) -> list[str]:
    return [
        f"{line.a_ns / 1e6:,.3f}",
        f"{line.b_ns / 1e6:,.3f}",
        _change(line.difference_ns),
        *map(_change, _effects(line)),
        "" if line.high_ns is None else f"{(line.high_ns - line.difference_ns) / 1e6:,.3f}",
        line.finding,
    ]
