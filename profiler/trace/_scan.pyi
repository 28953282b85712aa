"""The native scanner of Chrome traces (see _scan.c); absent where it was not compiled."""

from collections.abc import Iterable
from typing import Any

VERSION: int

class Scanner:
    """Collects ordinary events of a list into columns."""

    def __init__(self, device_categories: Iterable[bytes]) -> None: ...
    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Rows taken, flow events, missing commas, stray commas."""
    def feed(self, buffer: Any, first: int, stop: int, /) -> tuple[int, int, list[tuple[int, int]]]:
        """Read ``buffer[first:stop]``; return where it stopped, why, and the ranges it left to the caller."""
    def skipped(self) -> None:
        """Say that the caller took the element at which :meth:`feed` was stuck."""
    def restart(self) -> None:
        """Begin another list."""
    def take(
        self,
    ) -> tuple[list[bytearray], list[bytearray], list[bytearray], list[bytes], list[bytes], list[bytes], list[bytes]]:
        """Return host, device and instant columns, names, categories, threads and shapes; they leave the scanner."""

def parents(starts: Any, ends: Any, into: Any, /) -> None:
    """Do what ``links.parents`` does, on buffers of int64."""
