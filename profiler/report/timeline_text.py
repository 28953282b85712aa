"""Traces and comparisons for a terminal, through rich."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokprof.profiler.analysis.compare import headline
from tokprof.profiler.analysis.timeline import Analysis, GapTotal, Outside, StepTotal
from tokprof.profiler.record import LedgerLine, PhaseDiff, TimelineDiff
from tokprof.profiler.report.text import notes_text, quantity

OWNERS = 3  # of each cause of gaps, that are listed


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print what happened in a trace."""
    counts = analysis.counts
    console.print(Text(f"{analysis.source}: {analysis.device}", style="bold"), soft_wrap=True)
    console.print(Text(_counts_line(analysis), style="dim"))
    repaired = [f"{what} ({count:,})" for what, count in (*counts.repaired, *counts.rejected)]
    if repaired:
        console.print(Text("repaired or left out: " + "; ".join(repaired), style="yellow"))
    if analysis.span_ms:
        busy = analysis.busy_ms / analysis.span_ms
        kind = "operators" if analysis.on_cpu else "kernels"
        console.print(
            f"{quantity(analysis.span_ms, 'ms')} from first to last, {kind} busy {busy:.1%}, "
            f"{quantity(analysis.overlap_ms, 'ms')} of them side by side{_queue(analysis)}"
        )
    for step in analysis.steps:
        console.print()
        _print_step(step, console)
    if analysis.outside is not None:
        console.print()
        _print_outside(analysis.outside, console, kind="operators" if analysis.on_cpu else "kernels")
    console.print()
    console.print(_kernel_table(analysis, console.width))
    if analysis.streams:
        console.print()
        console.print(_stream_table(analysis))
    if analysis.ranks:
        console.print()
        console.print(_rank_table(analysis))
    if analysis.notes:
        console.print()
        console.print(notes_text(analysis.notes))


def _print_outside(outside: Outside, console: Console, *, kind: str) -> None:
    parts = []
    if outside.kernel_count:
        early = f", {outside.early_count:,} of them begun before any step's own" if outside.early_count else ""
        parts.append(f"{outside.kernel_count:,} {kind}, busy {quantity(outside.busy_ms, 'ms')}{early}")
    if outside.idle_ms:
        parts.append(
            f"idle {quantity(outside.idle_ms, 'ms')}, at the longest {quantity(outside.longest_idle_ms, 'ms')} from "
            f"{quantity(outside.longest_idle_at_ms, 'ms')} on"
        )
    console.print(Text("outside the steps: " + "; ".join(parts)))


def _rank_table(analysis: Analysis) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("rank", justify="right")
    table.add_column("file", overflow="ellipsis", no_wrap=True)
    for name in ("from first to last", "busy", "collectives", "typical step"):
        table.add_column(name, justify="right", no_wrap=True)
    for rank in analysis.ranks:
        step = "" if rank.step_ms is None else quantity(rank.step_ms, "ms")
        times = [quantity(value, "ms") for value in (rank.span_ms, rank.busy_ms, rank.collective_ms)]
        table.add_row(str(rank.rank), Text(rank.file), *times, step)
    return table


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


def _print_step(step: StepTotal, console: Console) -> None:
    spread = f" (spread {step.spread:.1%})" if step.spread is not None else ""
    console.print(Text(f"{step.title}: {quantity(step.wall_ms, 'ms')}{spread}", style="bold"))
    layers = f", {step.layer_count} layers of {step.layer_kernel_count}" if step.layer_count else ""
    shared = f"{step.sampled_step_count} of {step.step_count} steps share this sequence"
    console.print(Text(f"  {shared} of {step.kernel_count} kernels{layers}"))
    console.print(Text(f"  by {step.evidence}; confidence {step.confidence:.0%}", style="dim"))
    if step.category_ms:
        listed = ", ".join(f"{word} {quantity(value, 'ms')}" for word, value in step.category_ms)
        console.print(Text(f"  by category: {listed}"))
    idle = sum(gap.gap_ms for gap in step.gaps)
    console.print(
        Text(f"  busy {quantity(step.busy_ms, 'ms')}, idle {quantity(idle, 'ms')}, ")
        + Text(f"side by side {quantity(step.overlap_ms, 'ms')}")
    )
    if step.gaps:
        console.print(_gap_table(step.gaps))
    console.print(_step_table(step, console.width))


def _gap_table(gaps: Sequence[GapTotal]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 2))
    table.add_column("idle by cause", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("gaps", justify="right", no_wrap=True)
    table.add_column("owned by", overflow="fold")
    for gap in gaps:
        owners = gap.owners[:OWNERS] or (("", 0.0),)
        for number, (owner, value) in enumerate(owners):
            named = Text(f"{quantity(value, 'ms')}  {owner}" if owner else "", style="dim")
            head = (Text(gap.cause), quantity(gap.gap_ms, "ms"), f"{gap.count:,}") if number == 0 else ("", "", "")
            table.add_row(*head, named)
    return table


def _step_table(step: StepTotal, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 1))
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("the step in order", width=max(20, min(76, width - 62)), no_wrap=True, overflow="ellipsis")
    table.add_column("category", no_wrap=True)
    for title in ("each µs", "spread", "all ms", "gaps ms"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in step.lines:
        table.add_row(
            f"{line.repeat_count} ×" if line.layer is not None else "",
            Text(line.name),
            Text(line.category),
            f"{line.duration_us:,.2f}",
            f"{line.spread:.1%}" if line.spread is not None else "",
            f"{line.total_ms:,.3f}",
            f"{line.gap_ms:,.3f}" if line.gap_ms >= 0.0005 else "",
        )
    rest = step.line_count - len(step.lines)
    if rest:
        table.add_row("", Text(f"{rest:,} lighter left out (--top)", style="dim"))
    return table


def _kernel_table(analysis: Analysis, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("heaviest in the trace", width=max(20, min(72, width - 62)), no_wrap=True, overflow="ellipsis")
    table.add_column("category", no_wrap=True)
    for name in ("share", "total", "count", "median"):
        table.add_column(name, justify="right", no_wrap=True)
    for kernel in analysis.kernels:
        table.add_row(
            Text(kernel.name),
            Text(kernel.category),
            f"{kernel.share:.1%}",
            quantity(kernel.total_ms, "ms"),
            f"{kernel.count:,}",
            quantity(kernel.median_us, "µs"),
        )
    return table


def _stream_table(analysis: Analysis) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("device", "stream", "kernels", "busy", "gaps", "overlap with others"):
        table.add_column(name, justify="right", no_wrap=True)
    for stream in analysis.streams:
        table.add_row(
            str(stream.device),
            str(stream.stream),
            f"{stream.kernel_count:,}",
            *(quantity(value, "ms") for value in (stream.busy_ms, stream.gap_ms, stream.overlap_ms)),
        )
    return table


def print_comparison(diff: TimelineDiff, console: Console, *, by: str, top: int) -> None:
    """Print a comparison: the answer in words, then each phase's ledger."""
    console.print(Text(f"A  {diff.a_name}"), soft_wrap=True)
    console.print(Text(f"B  {diff.b_name}"), soft_wrap=True)
    console.print()
    console.print(Text(headline(diff), style="bold"))
    for phase in diff.phases:
        console.print()
        print_phase(phase, console, by=by, top=top)
    if diff.notes:
        console.print()
        console.print(notes_text(diff.notes))


def print_phase(diff: PhaseDiff, console: Console, *, by: str, top: int) -> None:
    """Print one phase's ledger, by one of its groupings, down to its sum and its residual."""
    matched = int(((diff.a_row >= 0) & (diff.b_row >= 0)).sum())
    only_a, only_b = len(diff.a.kernels) - matched, len(diff.b.kernels) - matched
    console.print(
        Text(
            f"{diff.title}: {diff.a.wall_ns / 1e6:.3f} → {diff.b.wall_ns / 1e6:.3f} ms; "
            f"{matched:,} kernels matched, {only_a:,} only in A, {only_b:,} only in B"
        )
    )
    lines = dict(diff.ledgers)[by]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    width = max(16, min(64, console.width - 78))
    table.add_column(by, width=width, no_wrap=True, overflow="ellipsis")
    for title in ("A ms", "B ms", "change", "count", "duration", "only in", "gaps"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("±", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for line in lines[:top]:
        # Frames differ at their ends, in line and function; all else at its beginning.
        key = f"…{line.key[1 - width :]}" if by == "frame" and len(line.key) > width else line.key
        table.add_row(Text(key), *_cells(line))
    if len(lines) > top:
        rest = sum(line.difference_ns for line in lines[top:])
        table.add_row(Text(f"{len(lines) - top} more", style="dim"), "", "", f"{rest / 1e6:+.3f}")
    total = sum(line.difference_ns for line in lines)
    table.add_row(Text("sum", style="bold"), *_sums(lines), f"{total / 1e6:+.3f}")
    table.add_row(Text("residual", style="dim"), "", "", f"{diff.residual_ns / 1e6:+.3f}")
    console.print(table)


def _sums(lines: Sequence[LedgerLine]) -> tuple[str, str]:
    a = sum(line.a_ns + line.a_gap_ns for line in lines)
    b = sum(line.b_ns + line.b_gap_ns for line in lines)
    return f"{a / 1e6:.3f}", f"{b / 1e6:.3f}"


def _cells(line: LedgerLine) -> list[str]:
    effects = (line.count_effect_ns, line.duration_effect_ns, line.kernel_set_effect_ns, line.gap_effect_ns)
    return [
        f"{(line.a_ns + line.a_gap_ns) / 1e6:.3f}",
        f"{(line.b_ns + line.b_gap_ns) / 1e6:.3f}",
        f"{line.difference_ns / 1e6:+.3f}",
        *(f"{value / 1e6:+.3f}" if abs(value) >= 500 else "·" for value in effects),
        "" if line.high_ns is None else f"{(line.high_ns - line.difference_ns) / 1e6:.3f}",
        "" if line.verdict == "one sample" else line.verdict,
    ]
