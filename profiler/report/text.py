"""Summaries for a terminal, through rich. Names that come from models and traces are never read as markup."""

from collections.abc import Mapping, Sequence

from rich.console import Console, ConsoleRenderable, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tokprof.profiler.analysis.summary import Estimate, PhaseSummary, Summary
from tokprof.profiler.record import KernelLimit, Note, NoteLevel, Phase

ABSENT = "not measured"
NO_FLOOR = "–"
WHOLE = 0.9995  # of a group's time: of kernels with a floor, when that of all is known
LOPSIDED = 0.1  # of half an interval: with less, it is written with one half-width
LEAST_NAME, MOST_NAME, LEAST_CATEGORY = 19, 72, 11  # columns of a kernel's name, and of its category
ON_A_GPU = ("host issue time", "mean SM clock, by NVML", "SM clock, by the device", "  after it, beside NVML's")


def summary_text(summary: Summary, width: int = 100) -> ConsoleRenderable:
    """Lay out the answer of ``tokprof profile`` in ``width`` columns: each phase, its kernels, the host, the notes."""
    parts: list[ConsoleRenderable] = [
        Text.assemble((summary.model, "bold")),
        Text(f"{summary.device} · fingerprint {summary.fingerprint}"),
        Text(_work_line(summary), style="dim"),
        Text(""),
        _phase_table(summary),
    ]
    if any(phase.roofline is not None for phase in summary.phases):
        parts += [Text(""), _roofline_table(summary)]
    limited = any(kernel.limit is not None for phase in summary.phases for kernel in phase.kernels)
    for phase in summary.phases:
        if phase.kernels:
            parts += [Text(""), _kernel_table(phase, width, limited)]
            if phase.profiled_steps:
                parts.append(Text(f"of {phase.phase} steps {phase.profiled_steps}", style="dim"))
    if limited:
        parts.append(Text(FLOORS_BY.format(summary.ceiling), style="dim"))
    if summary.frames:
        parts += [Text(""), _host_table(summary, max(52, min(104, width - 24)))]
    parts += [Text(""), *_pass_lines(summary)]
    if summary.notes:
        parts += [Text(""), notes_text(summary.notes)]
    return Group(*parts)


def print_summary(summary: Summary, console: Console) -> None:
    """Print the answer of ``tokprof profile``."""
    console.print(summary_text(summary, console.width))


def notes_text(notes: tuple[Note, ...]) -> ConsoleRenderable:
    """List notes with their advice, warnings first."""
    lines: list[ConsoleRenderable] = []
    for note in sorted(notes, key=lambda n: n.level is not NoteLevel.WARNING):
        sign, style = ("!", "yellow") if note.level is NoteLevel.WARNING else ("·", "dim")
        lines.append(Text.assemble((f"{sign} ", style), note.message))
        if note.advice:
            lines.append(Padding(Text(f"→ {note.advice}", style="dim"), (0, 0, 0, 2)))
    return Group(*lines)


def quantity(value: float, unit: str = "") -> str:
    """Write a number with three or four telling digits: ``1,234``, ``56.7``, ``0.0891``."""
    if value == 0:
        text = "0"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif abs(value) >= 100:
        text = f"{value:.1f}"
    elif abs(value) >= 1:
        text = f"{value:.2f}"
    else:
        text = f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def estimate(value: Estimate | None, unit: str = "") -> str:
    """Write an estimate with its interval over processes, where there is one."""
    if value is None:
        return ABSENT
    figure = quantity(value.value, unit)
    if value.process_count == 1:
        return figure
    if value.low is None or value.high is None or value.low <= 0:  # as wide as the value itself
        return f"{figure} (too few processes to tell)"
    below, above = value.value - value.low, value.high - value.value
    if abs(above - below) > LOPSIDED * (above + below) / 2:  # that of a rate: it is one over that of a time
        return f"{figure} [{quantity(value.low)}, {quantity(value.high)}]"
    return f"{figure} ±{quantity((below + above) / 2)}"


def _work_line(summary: Summary) -> str:
    processes = f"{summary.process_count} processes" if summary.process_count > 1 else "1 process"
    return (
        f"{summary.mode} · batch {summary.batch_size} · prompt {summary.prompt_token_count} tokens ({summary.prompt})"
        f" · {summary.new_token_count} new tokens · {processes} · {summary.software}"
    )


def _phase_table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for phase in summary.phases:
        table.add_column(str(phase.phase), justify="right")
    rows: list[tuple[str, list[str]]] = [
        ("time", [estimate(p.time_ms, "ms") for p in summary.phases]),
        ("  range over repetitions", [_range(p) for p in summary.phases]),
        ("tokens/s", [estimate(p.tokens_per_s) for p in summary.phases]),
        ("bytes/s", [estimate(p.bytes_per_s) for p in summary.phases]),
        (
            "time to first token",
            [_only(p, Phase.PREFILL, estimate(p.time_to_first_token_ms, "ms")) for p in summary.phases],
        ),
        ("per token, median", [_latency(p, p.latency_median_ms) for p in summary.phases]),
        ("per token, p95", [_latency(p, p.latency_p95_ms) for p in summary.phases]),
        ("per token, p99", [_latency(p, p.latency_p99_ms) for p in summary.phases]),
        ("  decode steps they are of", [_steps(p) for p in summary.phases]),
        ("host issue time", [_optional(p.host_issue_ms, "ms") for p in summary.phases]),
        ("energy per token", [_energy(p) for p in summary.phases]),
        ("mean SM clock, by NVML", [_optional(p.mean_sm_clock_mhz, "MHz") for p in summary.phases]),
        ("SM clock, by the device", [_own_clock(p) for p in summary.phases]),
        ("  after it, beside NVML's", [_clock_difference(p) for p in summary.phases]),
        ("kernels busy", [_share(p.kernel_busy_share) for p in summary.phases]),
        ("gaps", [_share(p.gap_share) for p in summary.phases]),
        *_of_steps(summary),
    ]
    for name, cells in rows:
        if name in ON_A_GPU and all(cell in (ABSENT, "") for cell in cells):
            continue
        style = "dim" if name.startswith(" ") else ""
        table.add_row(Text(name, style=style), *(Text(c, style="dim" if c in (ABSENT, "") else style) for c in cells))
    return table


def _roofline_table(summary: Summary) -> Table:
    """Stand each phase beside its floor, and divide the gap to it among its owners."""
    lines = [phase.roofline for phase in summary.phases]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("beside the limits " + (summary.ceiling or ""))
    for phase in summary.phases:
        table.add_column(str(phase.phase), justify="right", no_wrap=True)
    rows: list[tuple[str, list[str]]] = [
        ("floor", [ABSENT if r is None else f"{quantity(r.floor_ms, 'ms')}, by {r.bound}" for r in lines]),
        ("time over floor", [ABSENT if r is None else f"×{r.time_ms / r.floor_ms:,.2f}" for r in lines]),
        ("MFU", [_share(None if r is None else r.mfu) for r in lines]),
        ("MBU", [_share(None if r is None else r.mbu) for r in lines]),
    ]
    owners = [{} if p.step_limits is None else {o.name: o for o in p.step_limits.owners} for p in summary.phases]
    if any(owners):
        steps = [phase.step_limits for phase in summary.phases]
        rows.append(("  a step, and its floor", ["" if s is None else _beside(s.time_ms, s.floor_ms) for s in steps]))
    rows += [
        (f"  gap of a step: {name}", [quantity(own[name].gap_ms, "ms") if name in own else "" for own in owners])
        for name in dict.fromkeys(name for own in owners for name in own)
    ]
    rows += _of_steps(summary) if any(owners) else []
    for name, cells in rows:
        style = "dim" if name.startswith(" ") else ""
        table.add_row(Text(name, style=style), *(Text(c, style="dim" if c in (ABSENT, "") else style) for c in cells))
    return table


def _beside(time_ms: float, floor_ms: float) -> str:
    return f"{quantity(time_ms)}, {quantity(floor_ms, 'ms')}"


def _of_steps(summary: Summary) -> list[tuple[str, list[str]]]:
    """Return the row that says which steps figures of the profiled pass are of, where it has not all of them."""
    cells = [phase.profiled_steps for phase in summary.phases]
    return [("  of decode steps", cells)] if any(cells) else []


FLOORS_BY = "floors: what the launching operators multiply and move, by what was {}; shares of the time when profiled"


def floor_text(limit: KernelLimit | None) -> str:
    """Write the floor of a group of kernels, with a sign where that of some of them is not known."""
    return NO_FLOOR if limit is None else at_least(limit) + _microseconds(limit.floor_us)


def reached_text(limit: KernelLimit | None) -> str:
    """Write what share of its ceiling a group of kernels reached, and which ceiling that is."""
    return NO_FLOOR if limit is None else f"{at_least(limit)}{limit.reached:.0%} {limit.bound}"


def at_least(limit: KernelLimit) -> str:
    """Return the sign of a figure that lacks the kernels without a floor."""
    return "" if limit.known_share > WHOLE else "≥ "


def _kernel_table(phase: PhaseSummary, width: int, limited: bool) -> Table:
    """List the heaviest kernels in ``width`` columns: names and categories are cut there, figures never."""
    figures = {
        "share": [f"{kernel.share:.1%}" for kernel in phase.kernels],
        "time a step" if phase.phase is Phase.DECODE else "time": [
            ABSENT if kernel.time_us_per_span is None else _microseconds(kernel.time_us_per_span)
            for kernel in phase.kernels
        ],
        "launches": [f"{kernel.count_per_span:,.4g}" for kernel in phase.kernels],
    }
    if limited:
        figures["floor"] = [floor_text(kernel.limit) for kernel in phase.kernels]
        figures["of ceiling"] = [reached_text(kernel.limit) for kernel in phase.kernels]
    category_width = max(map(len, ["category", *(kernel.category for kernel in phase.kernels)]))
    if width - 2 - category_width - _wide(figures) < LEAST_NAME:
        category_width = min(category_width, LEAST_CATEGORY)
    if width - 2 - category_width - _wide(figures) < LEAST_NAME:
        del figures["launches"]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    name_width = max(LEAST_NAME, min(MOST_NAME, width - 2 - category_width - _wide(figures)))
    table.add_column(f"heaviest in {phase.phase}", width=name_width, no_wrap=True, overflow="ellipsis")
    table.add_column("category", width=category_width, no_wrap=True, overflow="ellipsis")
    for title in figures:
        table.add_column(title, justify="right", no_wrap=True)
    for row, kernel in enumerate(phase.kernels):
        table.add_row(Text(kernel.name), Text(kernel.category), *(cells[row] for cells in figures.values()))
    return table


def _wide(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(2 + max(map(len, [title, *cells])) for title, cells in columns.items())


def _steps(phase: PhaseSummary) -> str:
    return "" if phase.latency_sample_count is None else f"{phase.latency_sample_count:,}"


def _microseconds(value: float) -> str:
    return quantity(value, "µs") if value < 10_000 else quantity(value / 1e3, "ms")


def _host_table(summary: Summary, name_width: int) -> Table:
    share = f" ({summary.python_share:.0%} of the host's time)" if summary.python_share is not None else ""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(f"host: where Python itself ran{share}", width=name_width, no_wrap=True, overflow="ellipsis")
    table.add_column("share", justify="right", no_wrap=True)
    for frame in summary.frames:
        table.add_row(Text(short_frame(frame.function)), f"{frame.share:.1%}")
    return table


def short_frame(frame: str) -> str:
    """Shorten the path of ``function (path:line)`` to what tells: from the package on."""
    function, mark, place = frame.rpartition(" (")
    if not mark:
        return frame
    for anchor in ("/site-packages/", "/dist-packages/", "/lib/python"):
        place = place.rpartition(anchor)[2]
    parts = place.rstrip(")").split("/")
    return f"{function} ({'/'.join(parts[-3:])})"


def _pass_lines(summary: Summary) -> list[ConsoleRenderable]:
    lines: list[ConsoleRenderable] = []
    stops = {(str(stop.rule), stop.detail) for stop in summary.stops}
    rule, detail = sorted(stops)[0]
    more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
    lines.append(Text.assemble(("stopped by ", "dim"), rule, (f": {detail}{more}", "dim")))
    for slowdown in summary.slowdowns:
        figures = [
            f"{name} ×{value:.2f}"
            for name, value in (("prefill", slowdown.prefill), ("decode", slowdown.decode))
            if value is not None
        ]
        lines.append(Text.assemble((f"{slowdown.pass_kind} pass against the clean one: ", "dim"), ", ".join(figures)))
    return lines


def _range(phase: PhaseSummary) -> str:
    low, high = phase.time_ms.minimum, phase.time_ms.maximum
    if low is None or high is None:
        return ""
    marked = f", {phase.marked_count} marked" if phase.marked_count else ""
    return f"{quantity(low)} – {quantity(high)} (n={phase.repetition_count}{marked})"


def _only(phase: PhaseSummary, wanted: Phase, text: str) -> str:
    return text if phase.phase is wanted else ""


def _latency(phase: PhaseSummary, value: float | None) -> str:
    return _only(phase, Phase.DECODE, _optional(value, "ms"))


def _optional(value: float | None, unit: str) -> str:
    return ABSENT if value is None else quantity(value, unit)


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1%}"


def _own_clock(phase: PhaseSummary) -> str:
    """Write the clock as the device counted it before and after a phase."""
    if phase.end_sm_clock_mhz is None:
        return ABSENT
    before = "" if phase.start_sm_clock_mhz is None else f"{quantity(phase.start_sm_clock_mhz)} → "
    return before + quantity(phase.end_sm_clock_mhz, "MHz")


def _clock_difference(phase: PhaseSummary) -> str:
    return "" if phase.sm_clock_difference is None else f"{phase.sm_clock_difference:+.1%}"


def _energy(phase: PhaseSummary) -> str:
    if phase.energy_per_token_mj is None:
        return ABSENT
    error = f" ±{quantity(phase.energy_error_mj)}" if phase.energy_error_mj is not None else ""
    return f"{quantity(phase.energy_per_token_mj, 'mJ')}{error}"
