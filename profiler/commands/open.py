"""``tokprof open``: runs and traces in the offline Perfetto UI."""

import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from tokprof.profiler.errors import visible

LOOKS_S = 0.2  # how often it looks whether to end


def open_(
    traces: Annotated[
        list[Path],
        typer.Argument(
            help="A run folder, a Chrome trace (.json or .json.gz) or a folder of ranks; or two to compare."
        ),
    ],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes a free one.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    once: Annotated[bool, typer.Option("--once", help="End when the page has read the trace.")] = False,
) -> None:
    """Show a run or any Chrome trace in the offline Perfetto UI, on this machine only.

    Several stand one below the other as processes of one trace, and every phase starts at the same instant in all.
    """
    import tempfile
    import threading
    import webbrowser

    from tokprof.profiler.measure.loop import on_interrupt
    from tokprof.profiler.report.perfetto import server_for

    served = threading.Event()
    asked = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked  # no exception: one that is raised while garbage is collected would be dropped
        asked = True

    with tempfile.TemporaryDirectory(prefix="tokprof-open-") as folder:
        shown = perfetto_trace(traces, Path(folder) / "trace.json.gz")
        server, address = server_for(shown, port=port, on_served=served.set)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        typer.echo(f"{visible(' and '.join(map(str, traces)))} in Perfetto: {address}  (Ctrl-C ends)")
        try:
            with on_interrupt(end):
                if browser:
                    webbrowser.open(address)
                while not asked and not (once and served.is_set()):
                    time.sleep(LOOKS_S)
            if asked:
                typer.echo("")
        finally:
            server.shutdown()
            server.server_close()


def perfetto_trace(paths: list[Path], temporary: Path) -> Path:
    """Return a file in which Perfetto shows all that the traces hold; says what had to be done for that.

    One sound file is shown as it is, or with lanes of their own for what Perfetto would drop. Several, and a damaged
    one, are read and written to ``temporary``: the slices and counters, without the arguments that the file gave them.
    """
    import zlib

    import msgspec

    from tokprof.profiler.trace.lanes import write_on_lanes
    from tokprof.profiler.trace.merge import recorded_together, write_merged_trace
    from tokprof.profiler.trace.reader import read_trace, trace_files

    found = [trace_files(path) for path in paths]
    files = found[0]
    if len(paths) > 1:
        for path, several in zip(paths, found, strict=True):
            if len(several) > 1:
                said = f"{path}: {len(several)} traces, of which {several[0].relative_to(path)} is shown"
                typer.echo(visible(said))
        names = [visible(f"{chr(ord('A') + index % 26)}: {path}") for index, path in enumerate(paths)]
        write_merged_trace([(n, read_trace(f[0])) for n, f in zip(names, found, strict=True)], temporary)
        return temporary
    if len(files) > 1:
        sides = [(visible(file.relative_to(paths[0])), read_trace(file)) for file in files]
        write_merged_trace(sides, temporary, aligned=not recorded_together([trace for _, trace in sides]))
        return temporary
    try:
        lost = write_on_lanes(files[0], temporary)
    except (ValueError, msgspec.MsgspecError, EOFError, zlib.error, OSError) as error:
        trace = read_trace(files[0])  # says what is wrong where nothing can be shown
        for note in trace.notes:
            typer.echo(visible(note.message))
        if not trace.notes:
            typer.echo(visible(f"{files[0]}: {error}; its slices are shown without the file's arguments"))
        write_merged_trace([(visible(files[0]), trace)], temporary)
        return temporary
    if lost:
        said = f"{files[0]}: {lost} slices stand where Perfetto drops some; they are shown on lanes of their own"
        typer.echo(visible(said))
    return temporary if lost else files[0]
