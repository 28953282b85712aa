"""``tokprof analyze`` and ``tokprof compare``: what happened in a trace, and what differs between two."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokprof.profiler.errors import InputError, TokprofError, visible

if TYPE_CHECKING:
    from tokprof.profiler.analysis.runs import Recording
    from tokprof.profiler.record import Note, PhaseDiff, TimelineDiff
    from tokprof.profiler.trace.steps import Timeline

Categories = Annotated[Path | None, typer.Option(help="TOML file of your own rule tables, tried before tokprof's.")]
Json = Annotated[bool, typer.Option("--json", help="Print the same as data.")]


NOTHING = ("no-kernels", "phases-apart", "phase-not-clean")  # notes that say why there is nothing to compare


class Grouping(StrEnum):
    """What one line of the ledger stands for."""

    CATEGORY = "category"
    OPERATOR = "operator"
    KERNEL = "kernel"
    LAYER = "layer"
    FRAME = "frame"


def analyze(
    trace: Annotated[
        Path, typer.Argument(help="A Chrome trace (.json or .json.gz), a run folder or a folder of ranks.")
    ],
    top: Annotated[int, typer.Option(help="Lines of each table.", min=1)] = 15,
    categories: Categories = None,
    parquet: Annotated[Path | None, typer.Option(help="Folder to write the device's events to, as Parquet.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what --parquet wrote before.")] = False,
    as_json: Json = False,
) -> None:
    """Say what happened in a trace: phases, the typical step, gaps and their causes, the heaviest kernels."""
    from dataclasses import replace

    from tokprof.profiler.analysis.timeline import analyze as analyze_timeline
    from tokprof.profiler.analysis.timeline import rank_notes, rank_total
    from tokprof.profiler.commands.calibrate import kept_calibration
    from tokprof.profiler.record import Note
    from tokprof.profiler.trace.categories import rules
    from tokprof.profiler.trace.reader import read_trace, trace_files
    from tokprof.profiler.trace.steps import kernel_events, timeline

    events = None if parquet is None else parquet / "kernels.parquet"
    if events is not None and events.exists() and not force:
        raise InputError(f"{events} exists already; choose another --parquet or pass --force to replace it")
    table = rules(categories)
    recordings = _recordings(trace)
    recording, content = recordings[0], recordings[0].trace
    if len(recordings) > 1:
        first = Note(
            code="one-of-several",
            message=visible(f"{trace} holds {len(recordings)} processes; this is the first"),
            advice=visible(f"`tokprof show {trace}` has the means over all; name another of its folders to see that"),
        )
        content = replace(content, notes=(*content.notes, first))
    line = timeline(content, table)
    calibration = None if recording.run is None else kept_calibration(recording.run.environment.device)
    analysis = analyze_timeline(content, line, run=recording.run, calibration=calibration, top=top)
    if not len(content.host) and not len(content.device):
        raise InputError(
            f"{content.source}: holds nothing that took time ({content.counts.total} events), so nothing to say"
        )
    files = trace_files(trace)
    if len(files) > 1 and recording.run is None:
        shown = [visible(file) for file in files].index(content.source)  # those before it cannot be read
        totals, used, said = [rank_total(content, line, visible(files[shown].name))], [_used_names(line)], []
        for file in files[shown + 1 :]:
            try:
                other = read_trace(file)
            except TokprofError as error:
                said.append(_unreadable(error))
                continue
            of = timeline(other, table)
            totals.append(rank_total(other, of, visible(file.name)))
            used.append(_used_names(of))
        said += rank_notes(totals, used)
        totals.sort(key=lambda total: (total.rank is None, total.rank or 0))
        analysis = replace(analysis, ranks=tuple(totals), notes=(*analysis.notes, *said))
    if events is not None:
        from tokprof.profiler.errors import new_file, writing
        from tokprof.profiler.store import write_table

        with writing(events.parent, "--parquet"):
            events.parent.mkdir(parents=True, exist_ok=True)
        with new_file(events, "--parquet") as temporary:
            write_table(kernel_events(content, table), temporary)
    if as_json:
        _print_json(analysis)
        return
    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.report.timeline_text import print_analysis

    print_analysis(analysis, open_console())
    if events is not None:
        typer.echo(f"\nthe device's events: {visible(events)}")


def compare(
    a: Annotated[Path, typer.Argument(help="A run folder or a Chrome trace.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    by: Annotated[Grouping, typer.Option(help="What one line of the ledger stands for.")] = Grouping.CATEGORY,
    top: Annotated[int, typer.Option(help="Lines of each ledger.", min=1)] = 12,
    html: Annotated[
        Path | None,
        typer.Option(help="Where to write the page; default compare.html, which is never replaced unasked."),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the page.")] = True,
    trace: Annotated[
        Path | None,
        typer.Option(help="Where to write both as one Chrome trace, phases aligned."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    categories: Categories = None,
    as_json: Json = False,
) -> None:
    """Compare two runs or traces kernel by kernel: what got slower, and by how much of the difference."""
    from dataclasses import replace

    from tokprof.profiler.analysis.compare import compare as compare_traces
    from tokprof.profiler.commands.calibrate import kept_calibration
    from tokprof.profiler.trace.categories import rules

    place = html or Path("compare.html")
    in_the_way = html is None and place.exists() and not force
    for option, wanted in (("--html", html if page else None), ("--trace", trace)):
        if wanted is not None and wanted.exists() and not force:
            raise InputError(f"{wanted} exists already; choose another {option} or pass --force to replace it")
    table = rules(categories)
    sides = _recordings(a), _recordings(b)
    runs = [side[0].run for side in sides]
    known = [None if run is None else kept_calibration(run.environment.device) for run in runs]
    diff = compare_traces(*sides, a_name=visible(a), b_name=visible(b), table=table, calibrations=(known[0], known[1]))
    diff = replace(diff, notes=(*_unlike(*sides), *diff.notes))
    # Files first: whoever reads only the head of what is printed has them all the same.
    if diff.phases and page and not in_the_way:
        from tokprof.profiler.report.compare_html import write_compare_page

        write_compare_page(diff, place)
    if diff.phases and trace is not None:
        from tokprof.profiler.errors import new_file
        from tokprof.profiler.trace.merge import write_merged_trace

        merged = [
            (visible(f"{side}: {path}"), both[0].trace) for side, path, both in zip("AB", (a, b), sides, strict=True)
        ]
        with new_file(trace, "--trace") as temporary:
            write_merged_trace(merged, temporary)
    if as_json:
        _print_json(_as_data(diff))
    else:
        from tokprof.profiler.report.terminal import open_console
        from tokprof.profiler.report.timeline_text import print_comparison

        print_comparison(diff, open_console(), by=by, top=top)
    if not diff.phases:
        raise InputError(f"nothing is compared: {'; '.join(n.message for n in diff.notes if n.code in NOTHING)}")
    if page and in_the_way:
        typer.echo(
            f"\nno page: {visible(place)} is there already; --force replaces it, --html names another", err=as_json
        )
    elif page and not as_json:
        typer.echo(f"\nside by side: {visible(place)}\nin Perfetto:  tokprof open {visible(a)} {visible(b)}")
    if trace is not None and not as_json:
        typer.echo(f"as one trace: {visible(trace)}")


def _used_names(line: "Timeline") -> frozenset[str]:
    return frozenset(line.work.names[code] for code in set(line.work.name.tolist()))


def _recordings(path: Path) -> "list[Recording]":
    """Return the trace of a file, or the trace of each process of a run folder with its run."""
    from dataclasses import replace

    from tokprof.profiler.analysis.runs import Recording
    from tokprof.profiler.record import Note
    from tokprof.profiler.store import TRACE_FILE, is_run_folder, load_runs, run_folders
    from tokprof.profiler.trace.reader import read_trace, trace_files

    if is_run_folder(path):
        folders = run_folders(path)
        return [Recording(trace=read_trace(f), run=run) for f, run in zip(folders, load_runs(path), strict=True)]
    files = trace_files(path)
    errors: list[TokprofError] = []
    for file in files:
        try:
            trace = read_trace(file)
            break
        except TokprofError as error:
            errors.append(error)
    else:
        raise errors[0]
    if len(files) > 1:
        others = Note(
            code="one-of-several",
            message=visible(f"{path} holds {len(files)} traces; this is {file.name}"),
            advice="name another of its files to see that",
        )
        trace = replace(trace, notes=(*trace.notes, others, *map(_unreadable, errors)))
    if path.is_dir() and files[0].name != TRACE_FILE:
        beside = sorted(file for file in path.iterdir() if file.name.endswith((".json", ".json.gz")))
        strange = [file.name for file in beside if file not in files]
        if strange:
            left = Note(
                code="rank-unreadable", message=visible(f"left out, for they are no traces: {', '.join(strange)}")
            )
            trace = replace(trace, notes=(*trace.notes, left))
    return [Recording(trace=trace)]


def _unreadable(error: TokprofError) -> "Note":
    from tokprof.profiler.record import Note

    return Note(code="rank-unreadable", message=f"left out: {error}")


def _unlike(a: "list[Recording]", b: "list[Recording]") -> "tuple[Note, ...]":
    """Say in what the fingerprints of two runs differ: what else may be behind a difference of their times."""
    from tokprof.profiler.environment import differences, fingerprint
    from tokprof.profiler.record import Note

    if a[0].run is None or b[0].run is None:
        return ()
    found = differences(fingerprint(a[0].run), fingerprint(b[0].run))
    if not found:
        return ()
    listed = "; ".join(f"{key}: {mine} → {other}" for key, mine, other in found)
    return (
        Note(
            code="fingerprint-differs",
            message=f"A and B differ in more than what is compared: {listed}",
            advice="a difference of times may come from any of these",
        ),
    )


def _as_data(diff: "TimelineDiff") -> dict[str, object]:
    """Return a comparison as plain data: phases with their ledgers, without the kernel tables."""
    import msgspec

    from tokprof.profiler.analysis.compare import headline

    return {
        "headline": headline(diff),
        "unlike": diff.unlike,
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
                "whole_step": _whole_step(p),
                "residual_ns": p.residual_ns,
                "doubts": p.doubts,
                "disturbed": p.disturbed,
                "a_time_of": p.a.time_of,
                "b_time_of": p.b.time_of,
                "a_limits": msgspec.to_builtins(p.a_limits),
                "b_limits": msgspec.to_builtins(p.b_limits),
                "ledgers": {by: [msgspec.to_builtins(line) for line in lines] for by, lines in p.ledgers},
            }
            for p in diff.phases
        ],
        "notes": msgspec.to_builtins(diff.notes),
    }


def _whole_step(diff: "PhaseDiff") -> dict[str, object]:
    from tokprof.profiler.analysis.ledger import total_line

    line, unit = total_line(diff)
    return {
        "difference_ns": line.difference_ns,
        "low_ns": line.low_ns,
        "high_ns": line.high_ns,
        "verdict": line.verdict,
        "interval_over": None if line.low_ns is None else unit,
    }


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
