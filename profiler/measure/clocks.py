"""Clocks that mark instants without disturbing what they time.

``begin`` prepares, ``mark`` notes one instant (it never waits and allocates nothing on the device), ``finish`` waits
once, after the work, and returns every instant on the host's monotonic clock.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tokprof.profiler.record import Array, ClockAlignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """The marked instants: when the host passed each mark, and when the device did (None on a CPU)."""

    host_ns: Array
    device_ns: Array | None
    alignment: ClockAlignment | None = None


class Clock(Protocol):
    """Marks instants on the host and, where there is one, on the device."""

    def begin(self, mark_count: int) -> None:
        """Prepare for at most ``mark_count`` marks."""

    def mark(self) -> None:
        """Note this instant."""

    def finish(self) -> Instants:
        """Wait for the device and return the instants in the order of their marks."""


class HostClock:
    """The monotonic clock alone: a CPU has finished the work when the call returns."""

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._host_ns: list[int] = []

    def begin(self, mark_count: int) -> None:
        """Forget the marks of the last repetition."""
        del mark_count
        self._host_ns = []

    def mark(self) -> None:
        """Note this instant."""
        self._host_ns.append(self._now_ns())

    def finish(self) -> Instants:
        """Return the instants; there is no device to wait for."""
        return Instants(host_ns=np.array(self._host_ns, dtype=np.int64), device_ns=None)


class CudaClock:
    """CUDA events beside the monotonic clock.

    Events are created before the repetition. An anchor event, recorded and waited for between two readings of the
    host's clock before the first mark, ties the device's instants to the host's clock; half the time between the two
    readings is the error. Instants are summed over consecutive events, because ``elapsed_time`` is a 32-bit float of
    milliseconds that loses microseconds over long spans.
    """

    def __init__(self, device: Any, now_ns: Callable[[], int] = time.monotonic_ns, cuda: Any = None) -> None:
        if cuda is None:
            import torch

            cuda = torch.cuda
        self._cuda = cuda
        self._device = device
        self._now_ns = now_ns
        self._pool: list[Any] = []
        self._host_ns: list[int] = []
        self._anchor_ns = (0, 0)
        self._stream: Any = None

    def begin(self, mark_count: int) -> None:
        """Create the events, wait for an idle device, and anchor the device's clock."""
        while len(self._pool) < mark_count + 1:
            self._pool.append(self._cuda.Event(enable_timing=True))
        self._host_ns = []
        self._stream = self._cuda.current_stream(self._device)  # without one, events go to the current device
        self._cuda.synchronize(self._device)
        before = self._now_ns()
        self._pool[0].record(self._stream)
        self._pool[0].synchronize()
        self._anchor_ns = (before, self._now_ns())

    def mark(self) -> None:
        """Note this instant on the host, and ask the device to note when it gets here."""
        self._host_ns.append(self._now_ns())
        self._pool[len(self._host_ns)].record(self._stream)

    def finish(self) -> Instants:
        """Wait for the device, once, and return the instants."""
        self._cuda.synchronize(self._device)
        count = len(self._host_ns)
        steps_ms = [self._pool[i].elapsed_time(self._pool[i + 1]) for i in range(count)]
        before, after = self._anchor_ns
        anchor = (before + after) // 2
        device_ns = anchor + np.rint(np.cumsum(np.array(steps_ms, dtype=np.float64)) * 1e6).astype(np.int64)
        alignment = ClockAlignment(
            source="cuda events",
            offset_ns=anchor,
            error_ns=(after - before + 1) // 2,
            method="one anchor event waited for between two readings of the host's clock, before each repetition",
        )
        return Instants(host_ns=np.array(self._host_ns, dtype=np.int64), device_ns=device_ns, alignment=alignment)
