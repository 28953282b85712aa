"""What the kernel tells about the load beside one process, from /proc.

The sampler imports this file: standard library only. Files stay open between readings, since opening costs more than
reading.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class HostReading:
    """One reading; counters are cumulative, absent ones ``None``."""

    time_ns: int
    load_1min: float | None = None
    busy_ns: int | None = None
    steal_ns: int | None = None
    process_cpu_ns: int | None = None
    involuntary_switch_count: int | None = None
    run_delay_ns: int | None = None


def foreign_cores(before: HostReading, after: HostReading) -> float | None:
    """Return how many cores all but the process used between two readings; ``None`` where /proc/stat told nothing."""
    if before.busy_ns is None or after.busy_ns is None:
        return None
    own_ns = (after.process_cpu_ns or 0) - (before.process_cpu_ns or 0)
    return max(0.0, (after.busy_ns - before.busy_ns - own_ns) / (after.time_ns - before.time_ns))


HOST_QUANTITIES = tuple(name for name in HostReading.__slots__ if name != "time_ns")


class _ProcFile:
    """A file of /proc that is read again and again."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        return os.pread(self._descriptor, 8192, 0)

    def close(self) -> None:
        os.close(self._descriptor)


class _Thread:
    """One thread's counters, kept when the thread has ended."""

    def __init__(self, pid: int, thread: str) -> None:
        self._status = _ProcFile(f"/proc/{pid}/task/{thread}/status")
        self._schedule: _ProcFile | None = None
        with contextlib.suppress(OSError):
            self._schedule = _ProcFile(f"/proc/{pid}/task/{thread}/schedstat")
        self.switch_count: int | None = None
        self.run_delay_ns: int | None = None

    def update(self) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            self.switch_count = int(self._status.read().rpartition(b"nonvoluntary_ctxt_switches:")[2])
        if self._schedule is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                self.run_delay_ns = int(self._schedule.read().split()[1])

    def close(self) -> None:
        self._status.close()
        if self._schedule is not None:
            self._schedule.close()


class HostReader:
    """Reads the host and one process. Counters of threads that ended stay in the sums."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._threads: dict[str, _Thread] = {}
        self._ended_switch_count = 0
        self._ended_run_delay_ns = 0
        self._stat = self._open("/proc/stat")
        self._load = self._open("/proc/loadavg")
        self._process = self._open(f"/proc/{pid}/stat")

    @staticmethod
    def _open(path: str) -> _ProcFile | None:
        try:
            return _ProcFile(path)
        except OSError:
            return None

    def read(self) -> HostReading:
        """Read everything once; what cannot be read is ``None``."""
        reading = HostReading(time_ns=time.monotonic_ns())
        if self._load is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                reading.load_1min = float(self._load.read().split(None, 1)[0])
        if self._stat is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                ticks = [int(word) for word in self._stat.read().split(b"\n", 1)[0].split()[1:9]]
                user, nice, system, _idle, _wait, interrupt, soft, steal = ticks
                reading.busy_ns = (user + nice + system + interrupt + soft) * TICK_NS
                reading.steal_ns = steal * TICK_NS
        if self._process is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The command's name may hold anything, so count from its closing bracket.
                words = self._process.read().rpartition(b")")[2].split()
                reading.process_cpu_ns = (int(words[11]) + int(words[12])) * TICK_NS
        self._read_threads(reading)
        return reading

    def _read_threads(self, reading: HostReading) -> None:
        try:
            present = os.listdir(f"/proc/{self._pid}/task")  # noqa: PTH208 - names alone, several times a second
        except OSError:
            return
        for ended in self._threads.keys() - set(present):
            thread = self._threads.pop(ended)
            self._ended_switch_count += thread.switch_count or 0
            self._ended_run_delay_ns += thread.run_delay_ns or 0
            thread.close()
        for name in present:
            if name not in self._threads:
                with contextlib.suppress(OSError):
                    self._threads[name] = _Thread(self._pid, name)
        for thread in self._threads.values():
            thread.update()
        switches = [t.switch_count for t in self._threads.values() if t.switch_count is not None]
        delays = [t.run_delay_ns for t in self._threads.values() if t.run_delay_ns is not None]
        if switches:
            reading.involuntary_switch_count = sum(switches) + self._ended_switch_count
        if delays:
            reading.run_delay_ns = sum(delays) + self._ended_run_delay_ns


def process_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent (a zombie) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False
