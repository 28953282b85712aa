"""Python stacks of another process, by py-spy from outside, on the machine's monotonic clock.

py-spy samples at random instants (exponential intervals, so that it cannot beat with the program), and of its formats
only ``chrometrace`` keeps them. Its clock starts when it starts. To find out when that was, the watched process runs
:func:`.marker.clock_marker`: a row of short functions with known names at known times. Every sample that caught one
bounds py-spy's clock from both sides, and all the bounds together leave far less than a sampling period.

py-spy is asked for idle threads too: without them it writes nothing while a thread waits, and the last stack before
would seem to last. Who holds the interpreter lock it tells only in a recording of its own, which needs no times: that
one is written as counts (``raw``).
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokprof.profiler.record import ClockAlignment, HostStacks, InterpreterStacks, Note
from tokprof.profiler.sensors.marker import ClockMarker
from tokprof.profiler.sensors.stacks import align, interpreter_stacks, stack_rows, to_columns

DEFAULT_RATE_HZ = 100
START_TIMEOUT_S = 20.0  # with --native it reads the symbols of every library first
STOP_TIMEOUT_S = 30.0


def find_pyspy() -> Path | None:
    """Return the py-spy beside the running Python, else the one on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("py-spy")
    return Path(found) if found else None


def ptrace_scope() -> int | None:
    """Return Yama's restriction: 0 none, 1 parents only, 2 administrators, 3 nobody; ``None`` without Yama."""
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        return None


def permission_advice() -> str:
    """Return what to do when py-spy may not look into a process, for this machine."""
    scope = ptrace_scope()
    if scope == 3:
        return "ptrace is off until the next boot (kernel.yama.ptrace_scope=3): boot without it"
    if scope == 2 or (scope == 1 and os.geteuid() != 0):
        return "sudo sysctl kernel.yama.ptrace_scope=0, or run as root"
    if Path("/.dockerenv").exists() or os.geteuid() == 0:
        return "start the container with --cap-add SYS_PTRACE (and a seccomp profile that allows ptrace)"
    return "run as the same user as the measured process, or as root"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRecording:
    """What a recording gave; where it failed, the notes say why and the rest is ``None``."""

    stacks: HostStacks | None = None
    interpreter_stacks: InterpreterStacks | None = None
    alignment: ClockAlignment | None = None
    notes: tuple[Note, ...] = ()


def _absent(message: str, advice: str) -> Note:
    return Note(code="pyspy-absent", message=f"host stacks are absent: {message}", advice=advice)


class PySpy:
    """A running recording; made by :func:`start_pyspy`, ended by :meth:`stop`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        output: Path,
        *,
        rate_hz: int,
        spawned_ns: int,
        only_interpreter: bool,
    ) -> None:
        self._process = process
        self._output = output
        self._rate_hz = rate_hz
        self._spawned_ns = spawned_ns
        self._only_interpreter = only_interpreter
        self._sampling_ns = time.monotonic_ns()

    @property
    def pid(self) -> int:
        """py-spy's own process id."""
        return self._process.pid

    def kill(self) -> None:
        """End the recording at once and forget it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def stop(self, markers: Sequence[ClockMarker]) -> StackRecording:
        """End the recording and read it; the markers are those the watched process ran, in the order of time.

        Stacks are moved to the monotonic clock; an interpreter recording counts what lies between the markers.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            printed, _ = self._process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return StackRecording(notes=(_absent("py-spy did not stop", "lower the rate, or leave out native frames"),))
        text = printed.decode(errors="replace")
        if self._process.returncode != 0 or not self._output.is_file():
            return StackRecording(notes=(refusal(text),))
        notes = list(_quality_notes(text))
        try:
            if self._only_interpreter:
                stacks = interpreter_stacks(self._output.read_text(), _between(markers) * self._rate_hz)
                return StackRecording(interpreter_stacks=stacks, notes=tuple(notes))
            rows = stack_rows(json.loads(self._output.read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            note = _absent(f"py-spy wrote something unreadable ({error})", "report the version of py-spy")
            return StackRecording(notes=(note,))
        alignment = align(rows, markers)
        if alignment is None:
            alignment = self._rough_alignment()
            notes.append(
                Note(
                    code="pyspy-not-aligned",
                    message=f"no clock marker ties py-spy's clock: stacks lie within {alignment.error_ns / 1e6:.0f} ms",
                    advice="raise the sampling rate",
                )
            )
        return StackRecording(stacks=to_columns(rows, alignment.offset_ns), alignment=alignment, notes=tuple(notes))

    def _rough_alignment(self) -> ClockAlignment:
        """Its clock began between its start and its first words."""
        early, late = self._spawned_ns, self._sampling_ns
        return ClockAlignment(
            source="py-spy",
            offset_ns=(early + late) // 2,
            error_ns=(late - early) // 2 + 1,
            method="between the start of py-spy and its first words; no marker was caught",
        )


def _between(markers: Sequence[ClockMarker]) -> float:
    """Return the seconds between the end of the first marker and the start of the last."""
    if len(markers) < 2:
        return 0.0
    return max(0, markers[-1].edges_ns[0] - markers[0].edges_ns[-1]) / 1e9


def start_pyspy(
    pid: int,
    output: Path,
    *,
    rate_hz: int = DEFAULT_RATE_HZ,
    native: bool = False,
    nonblocking: bool = True,
    only_interpreter: bool = False,
    binary: Path | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> PySpy | Note:
    """Start recording the stacks of a process and return once py-spy samples; a refusal comes back as a note.

    ``only_interpreter`` counts the stacks that hold the interpreter lock instead of recording all stacks over time.
    py-spy can walk native frames only while the process stands still, so ``native`` overrides ``nonblocking``.
    """
    binary = binary or find_pyspy()
    if binary is None:
        return _absent("py-spy is not installed", "pip install py-spy")
    words = [str(binary), "record", "--pid", str(pid), "--output", str(output), "--rate", str(rate_hz)]
    words += ["--full-filenames", "--threads"]
    words += ["--format", "raw", "--gil"] if only_interpreter else ["--format", "chrometrace", "--idle"]
    words += ["--native"] if native else []
    words += ["--nonblocking"] if nonblocking and not native else []
    spawned_ns = time.monotonic_ns()
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which then stops py-spy in order
        )
    except OSError as error:
        return _absent(f"{binary} does not start: {error}", "reinstall py-spy")
    printed, ended = _read_until(process, b"Sampling process", timeout_s)
    if b"Sampling process" in printed:
        return PySpy(process, output, rate_hz=rate_hz, spawned_ns=spawned_ns, only_interpreter=only_interpreter)
    if not ended:
        process.kill()
    process.communicate()
    if not ended:
        return _absent(f"py-spy was not ready within {timeout_s:g} s", "try without native frames")
    return refusal(printed.decode(errors="replace"))


def _read_until(process: subprocess.Popen[bytes], wanted: bytes, timeout_s: float) -> tuple[bytes, bool]:
    """Read the process's output up to some words, its end or a deadline; return it and whether it ended."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + timeout_s
    printed = b""
    while wanted not in printed and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([descriptor], [], [], left)
        if ready:
            piece = os.read(descriptor, 4096)
            if not piece:
                return printed, True
            printed += piece
    return printed, False


def refusal(printed: str) -> Note:
    """Turn py-spy's last words into a note with the way out."""
    text = " ".join(printed.partition("Stack backtrace:")[0].split())
    lower = text.lower()
    if "permission denied" in lower or "operation not permitted" in lower or "eperm" in lower:
        return _absent("the system does not let py-spy look into the measured process", permission_advice())
    if "unsupported version" in lower or "python version" in lower:
        version = ".".join(map(str, sys.version_info[:3]))
        return _absent(f"this py-spy does not know Python {version}", "pip install --upgrade py-spy")
    if "no such process" in lower or "check that the process is running" in lower:
        return _absent("the measured process had already ended", "see its own message")
    return _absent(
        f"py-spy failed: {text[-300:] or 'it said nothing'}", "run py-spy dump --pid PID by hand to see more"
    )


def _quality_notes(printed: str) -> list[Note]:
    """Say how many samples failed, by py-spy's own summary."""
    found = re.search(r"Samples: (\d+) Errors: (\d+)", printed)
    if not found:
        return []
    samples, errors = int(found[1]), int(found[2])
    if samples + errors == 0 or errors <= 0.05 * (samples + errors):
        return []
    return [
        Note(
            code="pyspy-errors",
            message=f"{errors} of {samples + errors} stack samples failed: the process changed while it was read",
            advice="use the blocking mode: slower, but exact",
        )
    ]


def attach_check(binary: Path | None = None) -> Note | None:
    """Try py-spy on a short-lived child of ours; return why it cannot, or ``None`` where it can."""
    binary = binary or find_pyspy()
    if binary is None:
        return _absent("py-spy is not installed", "pip install py-spy")
    with contextlib.ExitStack() as stack:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.DEVNULL)
        stack.callback(child.wait)
        stack.callback(child.kill)
        time.sleep(0.2)
        try:
            found = subprocess.run(
                [str(binary), "dump", "--nonblocking", "--pid", str(child.pid)],
                capture_output=True,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return _absent(f"{binary} does not run: {error}", "reinstall py-spy")
    return None if found.returncode == 0 else refusal((found.stdout + found.stderr).decode(errors="replace"))
