"""Clocks that mark instants without disturbing what they time.

``begin`` prepares, ``mark`` notes one instant (it never waits and allocates nothing on the device), ``between`` stands
between two phases and waits until the device has done the first, ``finish`` waits after the work and returns every
instant on the host's monotonic clock.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tokprof.profiler.record import Array, ClockAlignment


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The SM clock as the device itself counted it."""

    step: int  # of the span that it follows; -1 before the first
    cycle_count: int
    duration_ns: int  # by the device's own timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """The marked instants: when the host passed each mark, and when the device did (None on a CPU).

    A span lasts from one mark to the next, but the second begins ``pause_*_ns`` after the first has ended.
    """

    host_ns: Array
    device_ns: Array | None
    alignment: ClockAlignment | None = None
    pause_host_ns: int = 0  # between the first span and the second, in neither: waiting for the device
    pause_device_ns: int = 0
    sm_clocks: tuple[ClockReading, ...] = ()

    @property
    def host_start_ns(self) -> Array:
        """When each span began, as the host saw it."""
        return _starts(self.host_ns, self.pause_host_ns)

    @property
    def device_start_ns(self) -> Array | None:
        """When each span began on the device."""
        return None if self.device_ns is None else _starts(self.device_ns, self.pause_device_ns)

    @property
    def start_ns(self) -> Array:
        """When each span began: on the device where there is one, else on the host."""
        return self.host_start_ns if self.device_start_ns is None else self.device_start_ns

    @property
    def end_ns(self) -> Array:
        """When each span ended: on the device where there is one, else on the host."""
        return (self.host_ns if self.device_ns is None else self.device_ns)[1:]


def _starts(marks_ns: Array, pause_ns: int) -> Array:
    starts = marks_ns[:-1].copy()
    starts[1:2] += pause_ns
    return starts


class Clock(Protocol):
    """Marks instants on the host and, where there is one, on the device."""

    def begin(self, mark_count: int) -> None:
        """Prepare for at most ``mark_count`` marks."""

    def mark(self) -> None:
        """Note this instant."""

    def between(self) -> None:
        """Wait for the device between the first span and the second, right after the mark that ends the first."""

    def finish(self) -> Instants:
        """Wait for the device and return the instants in the order of their marks."""


class ClockProbe(Protocol):
    """Reads the SM clock on the device itself (``tokprof.kernels.probes.ClockProbe``)."""

    def read(self, row: int) -> None:
        """Ask the device for a reading, into one of three rows; nothing waits for it."""

    def take(self) -> Sequence[tuple[int, int] | None]:
        """Return cycles and nanoseconds of each row, ``None`` where they tell nothing; the device has finished."""


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

    def between(self) -> None:
        """Do nothing: a CPU has finished the first span, and has no clock of its own to be read."""

    def finish(self) -> Instants:
        """Return the instants; there is no device to wait for."""
        return Instants(host_ns=np.array(self._host_ns, dtype=np.int64), device_ns=None)


class CudaClock:
    """CUDA events beside the monotonic clock.

    Events are created before the repetition. An anchor event, recorded and waited for between two readings of the
    host's clock before the first mark, ties the device's instants to the host's clock; half the time between the two
    readings is the error. Instants are summed over consecutive events, because ``elapsed_time`` is a 32-bit float of
    milliseconds that loses microseconds over long spans.

    The second span begins on an idle device, like the first. Otherwise the host would issue the first decode steps
    while the device is still at prefill, as many as the launch queue holds: these would then run at the device's pace,
    and the host's time of the phase would hold prefill.

    With a ``probe`` the device reads its own SM clock before the first mark, between the first span and the second,
    and after the last: never inside a span, and what it read is fetched in :meth:`finish`. A probe that fails is given
    up, and ``probe_failure`` says why.
    """

    def __init__(
        self,
        device: Any,
        now_ns: Callable[[], int] = time.monotonic_ns,
        cuda: Any = None,
        probe: ClockProbe | None = None,
    ) -> None:
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
        self._probe = probe
        self._readings_after: list[int] = []  # for each reading, how many spans had ended
        self._resumed: Any = None  # the event that begins the second span
        self._resumed_ns: int | None = None
        self.probe_failure = ""

    def begin(self, mark_count: int) -> None:
        """Create the events, wait for an idle device, and anchor the device's clock."""
        while len(self._pool) < mark_count + 1:
            self._pool.append(self._cuda.Event(enable_timing=True))
        if self._resumed is None:
            self._resumed = self._cuda.Event(enable_timing=True)
        self._host_ns = []
        self._readings_after, self._resumed_ns = [], None
        self._stream = self._cuda.current_stream(self._device)  # without one, events go to the current device
        self._read_clock()
        self._cuda.synchronize(self._device)
        before = self._now_ns()
        self._pool[0].record(self._stream)
        self._pool[0].synchronize()
        self._anchor_ns = (before, self._now_ns())

    def mark(self) -> None:
        """Note this instant on the host, and ask the device to note when it gets here."""
        self._host_ns.append(self._now_ns())
        self._pool[len(self._host_ns)].record(self._stream)

    def between(self) -> None:
        """Let the device read its clock, if there is a probe; wait until it is idle, and begin the second span."""
        self._read_clock()
        self._cuda.synchronize(self._device)
        self._resumed_ns = self._now_ns()
        self._resumed.record(self._stream)

    def finish(self) -> Instants:
        """Wait for the device and return the instants."""
        self._read_clock()
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
        pause_host_ns = pause_device_ns = 0
        if self._resumed_ns is not None and count > 2:  # there is a second span
            pause_host_ns = self._resumed_ns - self._host_ns[1]
            pause_device_ns = round(self._pool[2].elapsed_time(self._resumed) * 1e6)
        return Instants(
            host_ns=np.array(self._host_ns, dtype=np.int64),
            device_ns=device_ns,
            alignment=alignment,
            pause_host_ns=pause_host_ns,
            pause_device_ns=pause_device_ns,
            sm_clocks=self._taken(),
        )

    def _read_clock(self) -> None:
        if self._probe is None:
            return
        try:
            self._probe.read(len(self._readings_after))
        except Exception as error:  # whatever the compiler or the driver raises: times do not depend on it
            self._give_up(error)
        else:
            self._readings_after.append(max(0, len(self._host_ns) - 1))

    def _taken(self) -> tuple[ClockReading, ...]:
        if self._probe is None:
            return ()
        try:
            read = self._probe.take()
        except Exception as error:
            self._give_up(error)
            return ()
        return tuple(
            ClockReading(step=ended - 1, cycle_count=reading[0], duration_ns=reading[1])
            for ended, reading in zip(self._readings_after, read, strict=False)
            if reading is not None
        )

    def _give_up(self, error: Exception) -> None:
        self._probe = None
        self.probe_failure = (str(error).strip() or type(error).__name__).splitlines()[0]
