"""The measured process: loads one model, measures one cell, and leaves raw samples in a folder.

It is started by :mod:`tokprof.profiler.measure.supervisor`, which runs the instruments that watch from outside. Its
standard output carries :class:`~tokprof.profiler.measure.request.Message` lines, written only between repetitions.
"""

import contextlib
import gc
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import msgspec

from tokprof.models.engine import TransformersEngine
from tokprof.models.errors import ModelError
from tokprof.profiler.errors import InputError, Interrupted, MeasurementError, TokprofError
from tokprof.profiler.measure.clocks import Clock, CudaClock, HostClock
from tokprof.profiler.measure.loop import (
    CleanPass,
    Repetition,
    SpanBuilder,
    Workload,
    measure_clean,
    measure_energy,
    repeat,
)
from tokprof.profiler.measure.request import KINETO_FILE, NOTHING_KEPT, RAW_FOLDER, Message, Request
from tokprof.profiler.measure.stopping import StopState
from tokprof.profiler.record import (
    Cell,
    ClockAlignment,
    DecodeMode,
    ModelFacts,
    Note,
    NoteLevel,
    Outcome,
    Pass,
    PassKind,
    Run,
    StopRule,
)
from tokprof.profiler.sensors.marker import allow_tracing_by, clock_marker


class Interrupts:
    """The handler of Ctrl-C, which remembers: Python drops an interrupt that comes while garbage is being collected."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Interrupt what runs."""
        self._asked = True
        raise KeyboardInterrupt

    @staticmethod
    def check() -> None:
        """Raise the interrupt again where it was dropped."""
        handler = signal.getsignal(signal.SIGINT)
        if isinstance(handler, Interrupts) and handler._asked:
            raise KeyboardInterrupt


class Channel:
    """The two pipes to the supervisor."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, kind: str, text: str = "", **values: Any) -> None:
        """Send one message."""
        self._writer.write(msgspec.json.encode(Message(kind=kind, text=text, **values)) + b"\n")
        self._writer.flush()

    def ask(self, what: str, detail: str = "") -> str | None:
        """Ask the supervisor to start or stop an instrument; return its answer, or None where it could not."""
        self.send("want", what, detail=detail)
        answer = self._reader.readline().decode().strip()
        return None if answer in ("", "no") else answer


def main() -> None:
    """Run the request in the file named first, into the folder named second."""
    _die_with_parent()
    allow_tracing_by(os.getppid())  # py-spy is the parent's child
    signal.signal(signal.SIGINT, Interrupts())
    channel = Channel(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever a library prints goes to standard error, not among the messages
    try:
        request = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Request)
        measure(request, Path(sys.argv[2]), channel)
        channel.send("done")
    except (TokprofError, ModelError) as error:
        exit_code = getattr(error, "exit_code", InputError.exit_code)
        channel.send("error", str(error), detail=type(error).__name__, exit_code=exit_code)
        sys.exit(1)
    except KeyboardInterrupt:
        channel.send("error", NOTHING_KEPT, exit_code=Interrupted.exit_code)
        sys.exit(1)


def measure(request: Request, folder: Path, channel: Channel) -> None:
    """Load the model, run the passes, and save the raw run and the profiler's trace into ``folder``."""
    from tokprof.models.loading import load

    channel.send("stage", "loading")
    device = _device(request.device)
    if request.thread_count is not None:
        import torch

        torch.set_num_threads(request.thread_count)
    with _out_of_memory_explained(request):
        loaded = load(_model_spec(request, device), _fetching(channel))
        prompt = _prompt(request, loaded)
        engine = TransformersEngine(
            loaded.model,
            prompt.ids,
            prompt.continuation_ids,
            batch_size=request.batch_size,
            end_ids=loaded.end_ids,
        )
        run = _passes(request, folder, channel, loaded, prompt, engine, device)
    channel.send("stage", "saving")
    _save(run, folder)


def _passes(
    request: Request, folder: Path, channel: Channel, loaded: Any, prompt: Any, engine: TransformersEngine, device: str
) -> Run:
    clock: Clock = CudaClock(device) if device.startswith("cuda") else HostClock()
    work = Workload(mode=request.mode, new_token_count=request.new_token_count)
    tokenizer = loaded.tokenizer
    spans = SpanBuilder(
        engine,
        byte_count=None if tokenizer is None else tokenizer.byte_counts,
        prompt_byte_count=prompt.byte_count,
        forced_ids=prompt.continuation_ids,
    )
    passes: list[Pass] = []
    notes: list[Note] = list(_notes_on(loaded, request))

    channel.send("stage", "clean")
    channel.ask("sampling", detail=_device_uuid(device))
    gc.collect()
    Interrupts.check()
    gc.freeze()  # the libraries' own objects stay; looking through them again after each repetition takes a second
    gc.disable()  # no collection inside a repetition; the host's own garbage is not what is measured
    started = time.monotonic_ns()

    def tell(state: StopState) -> None:
        gc.collect()
        Interrupts.check()
        channel.send("progress", "clean", count=state.count, total=request.limits.repetition_count)

    clean: CleanPass | None = None
    profiler: Any = None
    try:
        clean = measure_clean(
            engine, clock, work, spans, request.limits, warm_up_count=request.warm_up_count, on_repetition=tell
        )
        count = clean.stop.repetition_count
        passes.append(Pass(kind=PassKind.CLEAN, repetition_count=count, start_ns=started, end_ns=time.monotonic_ns()))
        interrupted = clean.stop.rule is StopRule.INTERRUPTED
        if not interrupted:
            if PassKind.ENERGY in request.passes and (window_ns := channel.ask("energy")) is not None:
                passes.append(_energy_pass(int(window_ns), channel, engine, clock, work, spans))
            if PassKind.KERNELS in request.passes:
                channel.send("stage", "kernels")
                profiler, made = _kernel_pass(request, engine, clock, work, spans, device)
                passes.append(made)
            if PassKind.STACKS in request.passes:
                passes += _stack_passes(request, channel, engine, clock, work, spans)
            Interrupts.check()
    except KeyboardInterrupt:
        if clean is None:
            raise
        interrupted = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is left is to keep what is finished
    channel.ask("sampling ends")
    gc.enable()
    if profiler is not None:
        channel.send("stage", "exporting")
        profiler.export_chrome_trace(str(folder / KINETO_FILE))
    return Run(
        run_id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        tokprof_version=version("tokprof"),
        outcome=Outcome.INTERRUPTED if interrupted else Outcome.COMPLETE,
        cell=_cell(request, prompt),
        model=_facts(loaded, request),
        environment=_environment(device),
        stop=clean.stop,
        passes=tuple(passes),
        spans=spans.build(),
        alignments=_worst(spans.alignments),
        notes=tuple(notes),
        process_index=request.process_index,
    )


# ------------------------------------------------------------------------------------------------------------ passes


def _energy_pass(
    window_ns: int,
    channel: Channel,
    engine: TransformersEngine,
    clock: Clock,
    work: Workload,
    spans: SpanBuilder,
) -> Pass:
    channel.send("stage", "energy")
    started = time.monotonic_ns()
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        channel.send("progress", "energy", count=done)

    measure_energy(engine, clock, work, spans, window_ns=window_ns, on_repetition=tell)
    return Pass(kind=PassKind.ENERGY, repetition_count=done, start_ns=started, end_ns=time.monotonic_ns())


def _kernel_pass(
    request: Request, engine: TransformersEngine, clock: Clock, work: Workload, spans: SpanBuilder, device: str
) -> tuple[Any, Pass]:
    """Run a few repetitions under torch.profiler, bounded in steps; the trace is exported later."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    repetitions = max(1, request.trace_repetition_count)
    steps = min(work.step_count, max(1, request.trace_step_limit // repetitions))
    short = Workload(mode=work.mode, new_token_count=steps + 1)
    with profile(activities=activities):
        # The first profile of a process sets up the tracing library; that is not part of any figure.
        repeat(engine, clock, Workload(mode=work.mode, new_token_count=min(2, work.new_token_count)))
    started = time.monotonic_ns()
    results: list[Repetition] = []
    with profile(activities=activities) as profiler:
        results += [
            repeat(engine, clock, short, scope=torch.profiler.record_function, repetition=index)
            for index in range(repetitions)
        ]
    for index, result in enumerate(results):
        spans.add(result, pass_kind=PassKind.KERNELS, repetition=index, work=short)
    made = Pass(kind=PassKind.KERNELS, repetition_count=repetitions, start_ns=started, end_ns=time.monotonic_ns())
    return profiler, made


def _stack_passes(
    request: Request,
    channel: Channel,
    engine: TransformersEngine,
    clock: Clock,
    work: Workload,
    spans: SpanBuilder,
) -> list[Pass]:
    """Repeat while py-spy looks on: once at every active thread, once at the holder of the interpreter lock."""
    passes: list[Pass] = []
    index = 0
    for what in ("stacks", "interpreter stacks"):
        channel.send("stage", what)
        if channel.ask(what) is None:
            continue
        first = clock_marker(2 * len(passes))
        started = time.monotonic_ns()
        before = index
        while index == before or time.monotonic_ns() - started < request.stack_time_s * 1e9:
            spans.add(
                repeat(engine, clock, work, repetition=index), pass_kind=PassKind.STACKS, repetition=index, work=work
            )
            index += 1
        ended = time.monotonic_ns()
        last = clock_marker(2 * len(passes) + 1)
        channel.ask(f"{what} end", detail=msgspec.json.encode([first, last]).decode())
        passes.append(Pass(kind=PassKind.STACKS, repetition_count=index - before, start_ns=started, end_ns=ended))
    return passes


# ----------------------------------------------------------------------------------------------------------- helpers


def _fetching(channel: Channel) -> Callable[[int, int | None], None]:
    """Return a callback that tells how far a download is, a few times a second."""
    told_s: float | None = None

    def tell(done: int, total: int | None) -> None:
        nonlocal told_s
        if told_s is None:
            channel.send("stage", "fetching")
        if told_s is None or done == total or time.monotonic() - told_s > 0.25:
            told_s = time.monotonic()
            channel.send("progress", "fetching", count=done, total=total)

    return tell


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise MeasurementError(f"--device {asked}: torch sees no CUDA device here; `tokprof env` says why")
    return "cuda:0" if asked == "cuda" else asked


def _device_uuid(device: str) -> str:
    if not device.startswith("cuda"):
        return ""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _model_spec(request: Request, device: str) -> Any:
    from tokprof.models.loading import ModelSpec

    return ModelSpec(
        name=request.model,
        weights=request.weights,
        dtype=request.dtype or ("bfloat16" if device.startswith("cuda") else "float32"),
        device=device,
        attention=request.attention,
        adapter=None if request.adapter is None else Path(request.adapter),
        merge_adapter=request.merge_adapter,
        trust_remote_code=request.trust_remote_code,
        compile=request.compile,
        seed=request.seed,
    )


def _prompt(request: Request, loaded: Any) -> Any:
    from tokprof.models.prompts import PromptSpec, make_prompt

    return make_prompt(
        PromptSpec(
            source=None if request.prompt is None else Path(request.prompt),
            name=request.prompt_name,
            token_count=request.prompt_token_count,
            continuation=None if request.continuation is None else Path(request.continuation),
            fill_in_the_middle=request.fill_in_the_middle,
            seed=request.seed,
        ),
        loaded,
        new_token_count=request.new_token_count,
        forced=request.mode is DecodeMode.TEACHER_FORCED,
    )


def _cell(request: Request, prompt: Any) -> Cell:
    return Cell(
        model=request.model,
        mode=request.mode,
        batch_size=request.batch_size,
        prompt_token_count=len(prompt.ids),
        new_token_count=request.new_token_count,
        prompt=prompt.name,
        prompt_digest=prompt.digest,
        prompt_byte_count=prompt.byte_count,
        language=request.language,
        arm=request.arm,
        seed=request.seed,
    )


def _facts(loaded: Any, request: Request) -> ModelFacts:
    return ModelFacts(
        name=loaded.name,
        architecture=loaded.architecture,
        source=loaded.source,
        weights=request.weights,
        weights_digest=loaded.weights_digest,
        config_digest=loaded.config_digest,
        tokenizer_digest=loaded.tokenizer_digest,
        parameter_count=loaded.parameter_count,
        vocabulary_count=loaded.vocabulary_count,
        context_token_count=loaded.context_token_count,
        dtype=loaded.dtype,
        attention=loaded.attention,
        weight_bytes_per_token=loaded.weight_bytes_per_token,
        kv_bytes_per_token=loaded.kv_bytes_per_token,
        adapter=None if request.adapter is None else ("merged" if request.merge_adapter else "unmerged"),
        adapter_digest=loaded.adapter_digest,
        adapter_name=None if request.adapter is None else Path(request.adapter).name,
        compiled=request.compile,
        kernels=request.kernels,
    )


def _environment(device: str) -> Any:
    import torch

    from tokprof.profiler.environment import environment

    return environment(device, thread_count=torch.get_num_threads())


def _notes_on(loaded: Any, request: Request) -> Sequence[Note]:
    del loaded
    if request.weights != "random":
        return ()
    return (
        Note(
            code="random-weights",
            message="weights are random: a dense model's kernels and times do not depend on them, "
            "but power and clocks do, and so does the text of the natural mode",
            advice="compare energy and clocks only between runs with the same weights",
            level=NoteLevel.INFO,
        ),
    )


def _worst(alignments: Sequence[ClockAlignment]) -> tuple[ClockAlignment, ...]:
    """Keep one alignment per source: the first anchor, with the largest error and the drift between anchors."""
    if not alignments:
        return ()
    error = max(a.error_ns for a in alignments)
    return (replace(alignments[0], error_ns=error, method=f"{alignments[0].method}; {len(alignments)} anchors"),)


def _save(run: Run, folder: Path) -> None:
    from tokprof.profiler.store import save_run

    raw = folder / RAW_FOLDER
    raw.mkdir()
    save_run(run, raw)


@contextlib.contextmanager
def _out_of_memory_explained(request: Request) -> Any:
    try:
        yield
    except MemoryError as error:
        raise MeasurementError(_what_fits(request)) from error
    except RuntimeError as error:
        # The CUDA allocator has a class of its own; the CPU's has only these words, which differ between systems.
        words = ("allocate memory", "not enough memory")
        if type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words):
            raise MeasurementError(_what_fits(request)) from error
        raise


def _what_fits(request: Request) -> str:
    from tokprof.models.loading import what_fits

    return f"out of memory with {request.model}: {what_fits(request.model, request.dtype, request.device)}"


def _die_with_parent() -> None:
    """Ask Linux to end this process when its supervisor is killed, so that nothing keeps computing for nobody."""
    import ctypes

    parent_death_signal = 1  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    main()
