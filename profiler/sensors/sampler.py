"""The sampler: a process of its own that watches the device and the host while another process is measured.

``python -m tokprof.profiler.sensors.sampler --pid PID --out FILE`` sleeps until the next deadline, reads, appends one
row to the file and sleeps again. It never spins, and stretches its period when its own CPU time would pass
:data:`CPU_BUDGET` of a core, or the share that ``TOKPROF_SAMPLER_SHARE`` of the environment allows. It ends when the
measured process ends, when its standard input closes (its parent died or wants it to stop), or on SIGTERM. When it is
ready it writes the line ``ready`` to its standard output.

The file is a row of records, each a tag byte and a fixed binary layout, so that whatever ended the sampler, at most
the last record is lost. :mod:`tokprof.profiler.sensors.samples` starts the process and reads the file. Nothing is
imported here that the rows do not need: neither numpy nor torch.
"""

import argparse
import json
import os
import select
import signal
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from tokprof.profiler.sensors.host import HOST_QUANTITIES, HostReader, HostReading, process_alive
from tokprof.profiler.sensors.nvml import QUANTITIES, UNKNOWN_COUNT, NvmlAbsent, NvmlDevice, Reading, nvml

MAGIC = b"tokprof samples 1\n"
TAG_FACTS = b"J"  # followed by the length (u32) and a JSON object; later ones add to earlier ones
TAG_POWER = b"P"
TAG_HOST = b"H"
LENGTH = struct.Struct("<I")

# time, duration of the reading, bits of the present quantities, then the quantities in the order of QUANTITIES.
POWER_ROW = struct.Struct("<qIH" + "qqiiiQqqi")
# time, bits of the present quantities, then the quantities in the order of HOST_QUANTITIES.
HOST_ROW = struct.Struct("<qH" + "dqqqqq")

DEFAULT_PERIOD_MS = 50.0
DEFAULT_HOST_PERIOD_MS = 200.0
# Of one core. The promise is 0.01; the rest is for what the kernel does on our behalf. Where there are few cores and
# all compute, what they compute together waits for the one that samples.
CPU_BUDGET = min(0.007, 0.0015 * (os.cpu_count() or 1))
MAX_PERIOD_NS = 5_000_000_000


def pack_power(reading: Reading) -> bytes:
    """Return the row of one device reading."""
    values = [getattr(reading, name) for name in QUANTITIES]
    present = sum(1 << i for i, value in enumerate(values) if value is not None)
    if reading.other_process_count is None:
        values[QUANTITIES.index("other_process_count")] = UNKNOWN_COUNT
    read_ns = min(reading.read_ns, 0xFFFFFFFF)
    return TAG_POWER + POWER_ROW.pack(reading.time_ns, read_ns, present, *(value or 0 for value in values))


def pack_host(reading: HostReading) -> bytes:
    """Return the row of one host reading."""
    values = [getattr(reading, name) for name in HOST_QUANTITIES]
    present = sum(1 << i for i, value in enumerate(values) if value is not None)
    return TAG_HOST + HOST_ROW.pack(reading.time_ns, present, *(value or 0 for value in values))


def pack_facts(facts: dict[str, Any]) -> bytes:
    """Return a record of named facts."""
    text = json.dumps(facts).encode()
    return TAG_FACTS + LENGTH.pack(len(text)) + text


class _Watch:
    """Sleeps until a deadline, and notices the end of the measured process or of standard input."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._waited: list[int] = [sys.stdin.fileno()]
        self._pid_descriptor: int | None = None
        try:
            self._pid_descriptor = os.pidfd_open(pid)
            self._waited.append(self._pid_descriptor)
        except OSError:  # an old kernel: look at /proc instead
            pass

    def sleep_until(self, deadline_ns: int) -> str | None:
        """Sleep; return why to stop, or ``None`` at the deadline."""
        remaining_ns = max(0, deadline_ns - time.monotonic_ns())
        ready, _, _ = select.select(self._waited, [], [], remaining_ns / 1e9)
        if self._pid_descriptor in ready:
            return "the measured process ended"
        if ready and not os.read(self._waited[0], 4096):
            return "stopped"
        if self._pid_descriptor is None and not process_alive(self._pid):
            return "the measured process ended"
        return None


class _Stopped(Exception):  # noqa: N818 - the asked-for end
    """SIGTERM came."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


def sample(
    output: int, watch: _Watch, device: NvmlDevice | None, host: HostReader, period_ns: int, host_period_ns: int
) -> dict[str, Any]:
    """Append rows to the file descriptor until told to stop; return facts about the sampling itself."""
    asked_ns = period_ns if device is not None else host_period_ns
    budget = _budget()
    # The first reading loads code and opens files; it would stand for the cost of all.
    host.read()
    if device is not None:
        device.read()
    cost_ns = 0.0
    count = 0
    begin_ns = deadline_ns = host_due_ns = time.monotonic_ns()
    begin_cpu_ns = cpu_ns = time.process_time_ns()
    end = ""
    try:
        while not end:
            rows = b""
            if device is not None:
                rows += pack_power(device.read())
            if deadline_ns >= host_due_ns:
                rows += pack_host(host.read())
                host_due_ns += host_period_ns
            os.write(output, rows)
            count += 1

            now_cpu_ns = time.process_time_ns()
            # A mean over about the last 16 rows: one expensive row must not halve the rate.
            cost_ns += (now_cpu_ns - cpu_ns - cost_ns) / min(count, 16)
            cpu_ns = now_cpu_ns
            step_ns = min(max(asked_ns, int(cost_ns / budget)), MAX_PERIOD_NS)
            deadline_ns += step_ns
            now_ns = time.monotonic_ns()
            if deadline_ns < now_ns:  # the machine was away; missed rows are not made up for
                deadline_ns = now_ns + step_ns
            host_due_ns = max(host_due_ns, now_ns)
            end = watch.sleep_until(deadline_ns) or ""
    except _Stopped:
        end = "stopped"
    # One more row, so that a window that ended right before the stop has a sample on either side.
    os.write(output, (pack_power(device.read()) if device is not None else b"") + pack_host(host.read()))
    return {
        "end": end,
        "row_count": count,
        "own_cpu_ns": time.process_time_ns() - begin_cpu_ns,
        "own_wall_ns": time.monotonic_ns() - begin_ns,
    }


def _budget() -> float:
    """Return the share of a core that the sampler may take; on a virtual machine to wake up can cost milliseconds."""
    asked = os.environ.get("TOKPROF_SAMPLER_SHARE", str(CPU_BUDGET))
    try:
        share = float(asked)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        sys.exit(f"TOKPROF_SAMPLER_SHARE is {asked!r}, and wants a share of a core above 0 and up to 1")
    return share


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sampler", description="Sample one device and one process into a file.")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--period-ms", type=float, default=DEFAULT_PERIOD_MS)
    parser.add_argument("--host-period-ms", type=float, default=DEFAULT_HOST_PERIOD_MS)
    parser.add_argument("--device-uuid")
    parser.add_argument("--device-index", type=int, default=0)
    parser.add_argument("--no-nvml", action="store_true")
    parser.add_argument("--counter-period", action="store_true", help="first measure it, which takes up to 1.5 s")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Run the sampler."""
    asked = _arguments(words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides when to stop
    signal.signal(signal.SIGTERM, _stop)
    period_ns, host_period_ns = int(asked.period_ms * 1e6), int(asked.host_period_ms * 1e6)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    output = os.open(asked.out, flags, 0o644)
    facts: dict[str, Any] = {
        "pid": asked.pid,
        "period_ns": period_ns,
        "host_period_ns": host_period_ns,
        "core_count": os.cpu_count(),
    }
    try:
        watch = _Watch(asked.pid)
        host = HostReader(asked.pid)
        try:
            if asked.no_nvml:
                raise NvmlAbsent("the model does not run on a GPU")
            with nvml() as library:
                device = library.device(uuid=asked.device_uuid, index=asked.device_index, pid=asked.pid)
                facts["nvml"] = asdict(device.facts())
                facts["power_source"] = device.power_source
                if asked.counter_period:
                    facts["counter_period_ns"] = device.counter_period_ns()
                facts["absent"] = device.absent
                os.write(output, MAGIC + pack_facts(facts))
                print("ready", flush=True)
                end = sample(output, watch, device, host, period_ns, host_period_ns)
                end["absent"] = device.absent
        except NvmlAbsent as reason:
            if "nvml" in facts:
                raise
            facts["nvml_absent"] = str(reason)
            facts["nvml_advice"] = reason.advice
            os.write(output, MAGIC + pack_facts(facts))
            print("ready", flush=True)
            end = sample(output, watch, None, host, period_ns, host_period_ns)
        os.write(output, pack_facts(end))
    except _Stopped:  # before the first row
        pass
    finally:
        os.close(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
