"""What the watched process does for py-spy: leave marks of the clock on its stack, and let itself be looked into.

Light, because the measured process imports it.
"""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType

MARKER_NAME = "_tokprof_clock_marker_"
# Relative lengths of the ticks: short ones bound the clock tightly when caught, long ones are caught at low rates too.
# Simulated: half-width 0.5 ms at 100 samples per second, 0.3 at 1000, 2 at 20; with equal ticks 0.5, 3 and 2.
TICK_SHARES = (2, 6, 12, 20) * 4
MARKER_DURATION_S = 0.16  # at 100 samples per second about 16 of them

_PR_SET_PTRACER = 0x59616D61  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class ClockMarker:
    """One run of the marker: tick ``i`` was on the stack from ``edges_ns[i]`` to ``edges_ns[i + 1]``."""

    ordinal: int
    edges_ns: tuple[int, ...]

    @property
    def start_ns(self) -> int:
        """When the marker began."""
        return self.edges_ns[0]

    @property
    def end_ns(self) -> int:
        """When the marker ended."""
        return self.edges_ns[-1]


def _tick(duration_s: float) -> None:
    time.sleep(duration_s)


def _named_tick(ordinal: int, index: int) -> Callable[[float], None]:
    """Return ``_tick`` under a name of its own: py-spy takes the name from the code object."""
    name = f"{MARKER_NAME}{ordinal}_{index:02d}_"
    code = _tick.__code__.replace(co_name=name, co_qualname=name)
    return FunctionType(code, globals(), name)


def clock_marker(ordinal: int, duration_s: float = MARKER_DURATION_S) -> ClockMarker:
    """Leave known names on this thread's stack at known times. Each call in a recording wants an ordinal of its own.

    Call it right after the recording began and again before it is stopped; two markers show a drift.
    """
    ticks = [_named_tick(ordinal, index) for index in range(len(TICK_SHARES))]
    edges = [time.monotonic_ns()]
    for tick, share in zip(ticks, TICK_SHARES, strict=True):
        tick(duration_s * share / sum(TICK_SHARES))
        edges.append(time.monotonic_ns())
    return ClockMarker(ordinal, tuple(edges))


def allow_tracing_by(pid: int) -> bool:
    """Let a process and its descendants look into this one, where Yama restricts that to parents (ptrace_scope 1).

    Returns whether the kernel took it; without Yama there is nothing to allow, and it is ``False``.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(pid), 0, 0, 0)) == 0
    except (OSError, AttributeError):
        return False
