"""``tokprof open``: a run or a trace in the offline Perfetto UI."""

from pathlib import Path
from typing import Annotated

import typer

from tokprof.profiler.errors import InputError


def open_(
    trace: Annotated[Path, typer.Argument(help="A run folder or a Chrome trace (.json or .json.gz).")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes a free one.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    once: Annotated[bool, typer.Option("--once", help="End when the page has read the trace.")] = False,
) -> None:
    """Show a run or any Chrome trace in the offline Perfetto UI, on this machine only."""
    import threading
    import webbrowser

    from tokprof.profiler.report.perfetto import server_for

    served = threading.Event()
    server, address = server_for(trace_file(trace), port=port, on_served=served.set)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    typer.echo(f"{trace} in Perfetto: {address}  (Ctrl-C ends)")
    try:
        if browser:
            webbrowser.open(address)
        if once:
            served.wait()
        else:
            while True:
                threading.Event().wait(3600)
    except KeyboardInterrupt:
        typer.echo("")
    finally:
        server.shutdown()
        server.server_close()


def trace_file(path: Path) -> Path:
    """Return the trace of a run folder (the first process's), or the file itself if it looks like a trace."""
    from tokprof.profiler.store import TRACE_FILE, is_run_folder

    if path.is_dir():
        candidates = [path / TRACE_FILE, *sorted(path.glob(f"process-*/{TRACE_FILE}"))]
        found = next((file for file in candidates if file.is_file()), None)
        if found is None:
            kind = "this run has" if is_run_folder(path) else "this folder is no run and has"
            raise InputError(f"{path}: {kind} no {TRACE_FILE}")
        return found
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head.startswith((b"\x1f\x8b", b"{", b"[")):
        raise InputError(f"{path}: no Chrome trace: a trace is JSON, plain or gzip")
    return path
