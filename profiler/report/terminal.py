"""The terminal all output goes to: nothing in a foreign name steers it, and a pipe is not cut to a window's width."""

import os
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tokprof.profiler.errors import visible

WIDE = 140  # columns of output that goes to a file or a pipe, where nobody's window cuts it


def open_console(*, stderr: bool = False) -> Console:
    """Return the terminal; where the output is none and COLUMNS does not say how wide, one that cuts nothing short."""
    console = _Terminal(stderr=stderr)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return _Terminal(stderr=stderr, width=WIDE)


class _Terminal(Console):
    """A console whose texts steer nothing, wherever they come from: only rich's own styles reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                lines = segment.text.split("\n")  # of a layout; names in it have none
                yield Segment("\n".join(map(visible, lines)), segment.style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line what a reader that went away means; rich would call it a failure."""
        raise BrokenPipeError
