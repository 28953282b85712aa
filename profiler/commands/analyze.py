"""``tokprof analyze`` and ``tokprof compare``: what happened in a trace, and what differs between two."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokprof.profiler.errors import InputError

if TYPE_CHECKING:
    from tokprof.profiler.record import TimelineDiff, Trace

Categories = Annotated[Path | None, typer.Option(help="TOML file of your own [[rule]] tables, tried before tokprof's.")]
Json = Annotated[bool, typer.Option("--json", help="Print the same as data.")]


class Grouping(StrEnum):
    """What one line of the ledger stands for."""

    CATEGORY = "category"
    OPERATOR = "operator"
    KERNEL = "kernel"
    LAYER = "layer"
    FRAME = "frame"


def analyze(
    trace: Annotated[Path, typer.Argument(help="A Chrome trace (.json or .json.gz) or a run folder.")],
    top: Annotated[int, typer.Option(help="How many kernels to list.", min=1)] = 15,
    categories: Categories = None,
    parquet: Annotated[Path | None, typer.Option(help="Folder to write the device's events to, as Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Say what happened in a trace: phases, the typical step, gaps and their causes, the heaviest kernels."""
    from tokprof.profiler.analysis.timeline import analyze as analyze_timeline
    from tokprof.profiler.trace.categories import rules
    from tokprof.profiler.trace.steps import kernel_events, timeline

    table = rules(categories)
    content = _read(trace)
    line = timeline(content, table)
    analysis = analyze_timeline(content, line, top=top)
    if parquet is not None:
        from tokprof.profiler.errors import writing
        from tokprof.profiler.store import write_table

        with writing(parquet):
            parquet.mkdir(parents=True, exist_ok=True)
            write_table(kernel_events(content, table), parquet / "kernels.parquet")
    if as_json:
        _print_json(analysis)
        return
    from rich.console import Console

    from tokprof.profiler.report.timeline_text import print_analysis

    print_analysis(analysis, Console())


def compare(
    a: Annotated[Path, typer.Argument(help="A run folder or a Chrome trace.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    by: Annotated[Grouping, typer.Option(help="What one line of the ledger stands for.")] = Grouping.CATEGORY,
    top: Annotated[int, typer.Option(help="Lines of each ledger.", min=1)] = 12,
    html: Annotated[Path | None, typer.Option(help="Where to write the page; default compare.html.")] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the page.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    categories: Categories = None,
    as_json: Json = False,
) -> None:
    """Compare two runs or traces kernel by kernel: what got slower, and by how much of the difference."""
    from tokprof.profiler.analysis.compare import compare as compare_traces
    from tokprof.profiler.trace.categories import rules

    place = html or Path("compare.html")
    if page and place.exists() and not force and html is not None:
        raise InputError(f"{place} exists already; choose another --html or pass --force to replace it")
    diff = compare_traces(_read(a), _read(b), a_name=str(a), b_name=str(b), table=rules(categories))
    if as_json:
        _print_json(_as_data(diff))
    else:
        from rich.console import Console

        from tokprof.profiler.report.timeline_text import print_comparison

        print_comparison(diff, Console(), by=by, top=top)
    if page:
        from tokprof.profiler.report.compare_html import write_compare_page

        write_compare_page(diff, place)
        if not as_json:
            typer.echo(f"\nside by side: {place}")


def _read(path: Path) -> "Trace":
    from tokprof.profiler.trace.reader import read_trace

    return read_trace(path)


def _as_data(diff: "TimelineDiff") -> dict[str, object]:
    """Return a comparison as plain data: phases with their ledgers, without the kernel tables."""
    import msgspec

    from tokprof.profiler.analysis.compare import headline

    return {
        "headline": headline(diff),
        "a": diff.a_name,
        "b": diff.b_name,
        "phases": [
            {
                "phase": None if p.phase is None else str(p.phase),
                "a_wall_ns": p.a.wall_ns,
                "b_wall_ns": p.b.wall_ns,
                "matched": int(((p.a_row >= 0) & (p.b_row >= 0)).sum()),
                "a_kernel_count": len(p.a.kernels),
                "b_kernel_count": len(p.b.kernels),
                "residual_ns": p.residual_ns,
                "ledgers": {by: [msgspec.to_builtins(line) for line in lines] for by, lines in p.ledgers},
            }
            for p in diff.phases
        ],
        "notes": msgspec.to_builtins(diff.notes),
    }


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
