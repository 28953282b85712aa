"""The light process around the measured one: starts it, runs the instruments that watch from outside, and reports.

It waits on a pipe and imports neither torch nor transformers. Ctrl-C reaches the measured process as a request to keep
what is finished; a second one ends it. If this process is killed, the kernel ends the measured one, and the run's
folder never appears.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

import msgspec

from tokprof.profiler.errors import Interrupted, MeasurementError, OutputError, TokprofError
from tokprof.profiler.measure.assemble import Observations, assemble
from tokprof.profiler.measure.loop import interrupts_held, on_interrupt
from tokprof.profiler.measure.request import KINETO_FILE, NOTHING_KEPT, RAW_FOLDER, Message, Request
from tokprof.profiler.record import ClockAlignment, HostStacks, InterpreterStacks, Note, Outcome, PassKind, Run
from tokprof.profiler.sensors.marker import ClockMarker
from tokprof.profiler.sensors.pyspy import PySpy, start_pyspy
from tokprof.profiler.sensors.samples import SampleLog, SamplerProcess, read_samples
from tokprof.profiler.store import is_run_folder, new_folder, refuse_existing, save_run, save_study

Report = Callable[[Message], None]
SAMPLES_FILE = "samples.bin"


def profile(
    request: Request, out: Path, *, process_count: int = 1, force: bool = False, report: Report = lambda _: None
) -> tuple[Run, ...]:
    """Measure one cell in ``process_count`` fresh processes and write the run folder ``out``.

    Returns the runs in the order of their processes; after Ctrl-C the finished part, with outcome ``INTERRUPTED``.
    Where a process after the first fails, those before it are returned and kept, the last of them with a note.

    Raises
    ------
    TokprofError
        With nothing written: a bad request, out of memory, a full disk, or Ctrl-C before the first repetition ended.
    """
    runs: list[Run] = []
    with new_folder(out, force=force) as folder:
        for index in range(process_count):
            name = f"process-{index:02d}"
            place = folder if process_count == 1 else folder / name
            place.mkdir(exist_ok=True)
            try:
                run = _measure_once(replace(request, process_index=index), place, report)
            except (Interrupted, KeyboardInterrupt) as error:
                if not runs:
                    raise error if isinstance(error, Interrupted) else Interrupted(NOTHING_KEPT) from error
                shutil.rmtree(place)
                runs[-1] = _interrupted(runs[-1], folder / f"process-{index - 1:02d}")
                break
            except MeasurementError as error:
                if not runs:
                    raise
                shutil.rmtree(place)
                runs[-1] = _last_of_fewer(runs[-1], folder / f"process-{index - 1:02d}", process_count, error)
                break
            runs.append(run)
            if run.outcome is Outcome.INTERRUPTED:
                break
        if process_count > 1:
            save_study(folder, [f"process-{i:02d}" for i in range(len(runs))])
    return tuple(runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What became of one shape of several."""

    folder: Path
    run: Run | None = None
    failure: str = ""  # why there is no run


def shape_folder(out: Path, batch_size: int, prompt_token_count: int) -> Path:
    """Return where below ``out`` :func:`profile_shapes` puts a shape's run."""
    return out / f"b{batch_size}-c{prompt_token_count}"


def profile_shapes(
    request: Request, out: Path, *, force: bool = False, report: Report = lambda _: None
) -> tuple[Measured, ...]:
    """Measure every shape of a request in one process, which loads the model once.

    Each run is a folder of its own below ``out``, whole as soon as it is there; what ends the process later does not
    touch it. Returns what became of each shape in the order asked for; after Ctrl-C the last run may have outcome
    ``INTERRUPTED``, and shapes that it did not come to are left out.

    Raises
    ------
    TokprofError
        With nothing written: what :func:`profile` raises, before the first shape was done.
    """
    if is_run_folder(out):
        raise OutputError(f"{out} is a run's folder; choose another --out for the folder of several runs")
    places = [shape_folder(out, batch_size, tokens) for batch_size, tokens in request.shapes]
    for place in places:
        refuse_existing(place, force=force)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="tokprof-profile-") as name:
        scratch = Path(name)

        def keep(failure: str) -> None:
            """Put what the process left in the scratch folder together, and make room for the next."""
            cell, place = request.cells[len(found)], places[len(found)]
            if failure:
                found.append(Measured(folder=place, failure=failure))
            else:
                report(Message(kind="stage", text="assembling"))
                with new_folder(place, force=force) as folder:
                    run = assemble(cell, scratch, folder, session.observations())
                found.append(Measured(folder=place, run=run))
            shutil.rmtree(scratch / RAW_FOLDER, ignore_errors=True)
            for left in (KINETO_FILE, SAMPLES_FILE):
                (scratch / left).unlink(missing_ok=True)

        session = _session(request, scratch, report, keep)
        with on_interrupt(session.interrupt):
            try:
                session.start()
                session.serve()
            except (Interrupted, MeasurementError) as error:
                if not any(one.run for one in found):
                    raise
                if isinstance(error, MeasurementError):
                    found += [Measured(folder=place, failure=str(error)) for place in places[len(found) :]]
            finally:
                session.end()
    if not any(one.run for one in found):
        raise MeasurementError(found[0].failure)
    return tuple(found)


def _session(request: Request, scratch: Path, report: Report, keep: Callable[[str], None] | None = None) -> "_Profile":
    return _Profile(
        request=request,
        module="tokprof.profiler.measure.worker",
        scratch=scratch,
        report=report,
        subject=request.model,
        nvml_device=request.nvml_device,
        counter_period=PassKind.ENERGY in request.passes,
        keep=keep,
    )


def _measure_once(request: Request, folder: Path, report: Report) -> Run:
    """Measure in one fresh process and write its run into an existing folder."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder) as name:
        scratch = Path(name)
        session = _session(request, scratch, report)
        with on_interrupt(session.interrupt):
            try:
                session.start()
                session.serve()
            finally:
                session.end()
            report(Message(kind="stage", text="assembling"))
            run = assemble(request, scratch, folder, session.observations())
        return _interrupted(run, folder) if session.interrupts and run.outcome is Outcome.COMPLETE else run


def _interrupted(run: Run, folder: Path) -> Run:
    """Mark a run that is written already, because Ctrl-C came after its last repetition."""
    run = replace(run, outcome=Outcome.INTERRUPTED)
    save_run(run, folder)
    return run


def _last_of_fewer(run: Run, folder: Path, wanted_count: int, error: MeasurementError) -> Run:
    """Note on a run that is written already that the process after it failed."""
    finished = run.process_index + 1
    note = Note(
        code="process-failed",
        message=f"process {finished + 1} failed, so {finished} of {wanted_count} are all there is: {error}",
        advice="an interval over fewer processes is wider; measure again for all of them",
    )
    run = replace(run, notes=(*run.notes, note))
    save_run(run, folder)
    return run


@dataclass(slots=True)
class Session:
    """One measured process: started, listened to, interrupted, ended; and the sampler beside it."""

    request: Any  # what the process decodes from its first argument
    module: str
    scratch: Path
    report: Report
    subject: str  # what is measured, for the user's eyes
    nvml_device: int | None = None
    counter_period: bool = False  # whether the energy counter's own is to be known; the process waits for that
    samples: Path | None = None  # where the sampler writes; None: into the scratch folder
    worker: "subprocess.Popen[bytes] | None" = None
    sampler: SamplerProcess | None = None
    log: SampleLog | None = None
    interrupts: int = 0

    def start(self) -> None:
        """Start the process."""
        request_file = self.scratch / "request.json"
        request_file.write_bytes(msgspec.json.encode(self.request))
        self.worker = subprocess.Popen(
            [sys.executable, "-m", self.module, str(request_file), str(self.scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.scratch / "stderr.txt").open("wb"),
            process_group=0,  # Ctrl-C reaches this process first, which passes it on
        )

    def serve(self) -> None:
        """Answer the measured process until it is done; turn its failure into an error."""
        done = False
        while True:
            line = self._stream().readline()
            if not line.endswith(b"\n"):  # the end, or what a killed process could not finish saying
                break
            message = msgspec.json.decode(line, type=Message)
            if message.kind == "want":
                with interrupts_held():  # it waits for the answer
                    self._answer(self.instrument(message))
            elif message.kind == "error":
                raise _failure(message, self.scratch)
            else:
                done = done or message.kind == "done"
                self.take(message)
        if not done and self.interrupts:
            raise Interrupted(NOTHING_KEPT)
        if not done:
            self._explain_death()

    def take(self, message: Message) -> None:
        """Take a message that wants no answer."""
        self.report(message)

    def instrument(self, message: Message) -> str:
        """Start or stop what the measured process asks for; return the answer."""
        if message.text == "sampling":
            return self._start_sampler(message.detail)
        if message.text == "sampling ends":
            if self.sampler is not None:
                self.log, self.sampler = self.sampler.stop(), None
            return "yes"
        raise MeasurementError(f"the measured process asked for an unknown instrument {message.text!r}")

    def end(self) -> None:
        """Stop whatever still runs."""
        if self.worker is not None:
            if self.worker.poll() is None:
                self.worker.kill()
            self.worker.wait()
            for stream in (self.worker.stdin, self.worker.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):  # an answer that nobody took
                        stream.close()
        if self.sampler is not None:
            self.log = self.sampler.stop()
            self.sampler = None

    def interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """Take Ctrl-C: ask the measured process to keep what is finished; the second time, end everything.

        The first raises nothing here, so that no message is lost half read.
        """
        self.interrupts += 1
        if self.worker is None:
            raise Interrupted(NOTHING_KEPT)
        if self.interrupts > 1:
            raise Interrupted("interrupted twice; nothing was kept")
        self.report(Message(kind="stage", text="interrupted, keeping what is finished"))
        self.worker.send_signal(signal.SIGINT)

    def _start_sampler(self, device_uuid: str) -> str:
        assert self.worker is not None
        forced = self.nvml_device
        self.sampler = SamplerProcess(
            self.worker.pid,
            self.samples or self.scratch / SAMPLES_FILE,
            device_uuid=device_uuid if device_uuid and forced is None else None,
            device_index=forced,
            use_nvml=bool(device_uuid) or forced is not None,
            counter_period=self.counter_period,
        ).start()
        return "yes"

    def _stream(self) -> IO[bytes]:
        assert self.worker is not None
        assert self.worker.stdout is not None
        return self.worker.stdout

    def _answer(self, text: str) -> None:
        assert self.worker is not None
        assert self.worker.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead; the end of its messages tells
            self.worker.stdin.write(text.encode() + b"\n")
            self.worker.stdin.flush()

    def _explain_death(self) -> None:
        assert self.worker is not None
        code = self.worker.wait()
        if code == -signal.SIGKILL:
            raise MeasurementError(
                f"the measured process was killed, most often for want of memory; {self.subject} wants a smaller "
                "--batch, --prompt-tokens or --dtype bfloat16, or a machine with more memory"
            )
        lines = (self.scratch / "stderr.txt").read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"it ended with code {code} and no words"
        kept = _keep_report(self.scratch / "stderr.txt")
        raise MeasurementError(f"the measured process failed: {last} (all of its words: {kept})")


@dataclass(slots=True)
class _Profile(Session):
    """The measured process of ``tokprof profile``, with py-spy and the energy counter."""

    spy: PySpy | None = None
    stacks: HostStacks | None = None
    interpreter_stacks: InterpreterStacks | None = None
    alignments: list[ClockAlignment] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    keep: Callable[[str], None] | None = None  # of several cells, what takes one that is finished, or why it failed

    def observations(self) -> Observations:
        return Observations(
            log=self.log,
            stacks=self.stacks,
            interpreter_stacks=self.interpreter_stacks,
            alignments=tuple(self.alignments),
            notes=tuple(self.notes),
        )

    def end(self) -> None:
        """Stop whatever still runs."""
        Session.end(self)
        self._end_instruments()

    def _end_instruments(self) -> None:
        if self.sampler is not None:
            self.log, self.sampler = self.sampler.stop(), None
        if self.spy is not None:
            self.spy.kill()
            self.spy = None

    def instrument(self, message: Message) -> str:
        """Start or stop what the measured process asks for; return the answer."""
        what = message.text
        if what == "keep" and self.keep is not None:
            return self._keep(message.detail, self.keep)
        if what == "energy":
            return self._energy_window()
        if what in ("stacks", "interpreter stacks"):
            return self._start_spy(only_interpreter=what != "stacks")
        if what in ("stacks end", "interpreter stacks end"):
            return self._stop_spy(message.detail)
        return Session.instrument(self, message)

    def _keep(self, failure: str, keep: Callable[[str], None]) -> str:
        """Let a finished cell be kept, forget what was seen of it, and say whether the next may follow."""
        if failure:
            self._end_instruments()
        keep(failure)
        self.log, self.stacks, self.interpreter_stacks = None, None, None
        self.alignments, self.notes = [], []
        return "no" if self.interrupts else "yes"

    def _energy_window(self) -> str:
        """Return how long a window the counter wants, in nanoseconds; "no" where there is none or that is too long."""
        from tokprof.profiler.analysis.energy import required_window_ns

        if self.sampler is None:
            return "no"
        period_ns = read_samples(self.sampler.path).counter_period_ns
        if period_ns is None:
            return "no"
        window_ns = required_window_ns(period_ns)
        if window_ns > self.request.energy_window_s * 1e9:
            message = (
                f"energy was not measured: the counter moves every {period_ns / 1e6:.0f} ms and wants windows of "
                f"{window_ns / 1e9:.1f} s, longer than the {self.request.energy_window_s:g} s that one may take"
            )
            self.notes.append(Note(code="energy-refused", message=message))
            return "no"
        return str(window_ns)

    def _start_spy(self, *, only_interpreter: bool) -> str:
        assert self.worker is not None
        started = start_pyspy(
            self.worker.pid,
            self.scratch / "stacks.txt",
            rate_hz=self.request.stack_rate_hz,
            native=self.request.native_stacks and not only_interpreter,
            nonblocking=not self.request.blocking_stacks,
            only_interpreter=only_interpreter,
        )
        if isinstance(started, Note):
            if started not in self.notes:
                self.notes.append(started)
            return "no"
        self.spy = started
        return "yes"

    def _stop_spy(self, markers: str) -> str:
        assert self.spy is not None
        spy, self.spy = self.spy, None
        seen = spy.stop(msgspec.json.decode(markers, type=list[ClockMarker]))
        self.notes += [note for note in seen.notes if note not in self.notes]
        self.stacks = seen.stacks or self.stacks
        self.interpreter_stacks = seen.interpreter_stacks or self.interpreter_stacks
        if seen.alignment is not None:
            self.alignments.append(seen.alignment)
        return "yes"


def _failure(message: Message, scratch: Path) -> TokprofError:
    if message.detail == OutputError.__name__:
        # It knows only where it writes meanwhile; the run's folder is the one above.
        return OutputError(message.text.replace(str(scratch / RAW_FOLDER), str(scratch.parent)))
    if message.exit_code == Interrupted.exit_code:
        return Interrupted(message.text)
    return MeasurementError(message.text)


def _keep_report(path: Path) -> Path:
    """Copy a failed process's standard error out of the scratch folder, so that the user can read it."""
    # A name that nobody can foresee: in a folder that all may write to, a foreseen one can be a link to anywhere.
    descriptor, kept = tempfile.mkstemp(prefix="tokprof-failure-", suffix=".txt")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(path.read_bytes())
    return Path(kept)
