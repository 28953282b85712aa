"""The measured process: loads one model, measures a cell or several, and leaves raw samples in a folder.

It is started by :mod:`tokprof.profiler.measure.supervisor`, which runs the instruments that watch from outside. Its
standard output carries :class:`~tokprof.profiler.measure.request.Message` lines, written only between repetitions.
"""

import gc
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tokprof.models.engine import TransformersEngine
from tokprof.models.errors import ModelError
from tokprof.profiler.errors import MeasurementError
from tokprof.profiler.measure.child import (
    Channel,
    Interrupts,
    choose_device,
    clock_probe,
    clock_unread,
    device_uuid,
    fetching,
    machine,
    model_facts,
    model_spec,
    out_of_memory_explained,
    run_child,
)
from tokprof.profiler.measure.clocks import Clock, CudaClock, HostClock
from tokprof.profiler.measure.loop import (
    CleanPass,
    SpanBuilder,
    Workload,
    measure_clean,
    measure_energy,
    profiled,
    repeat,
)
from tokprof.profiler.measure.request import KINETO_FILE, RAW_FOLDER, Request
from tokprof.profiler.measure.stopping import StopState
from tokprof.profiler.record import (
    Cell,
    ClockAlignment,
    DecodeMode,
    Note,
    NoteLevel,
    Outcome,
    Pass,
    PassKind,
    Run,
    StopRule,
)
from tokprof.profiler.sensors.marker import clock_marker

if TYPE_CHECKING:
    from tokprof.models.loading import ModelSpec


def measure(request: Request, folder: Path, channel: Channel) -> None:
    """Load the model, run the passes, and save the raw run and the profiler's trace into ``folder``.

    Of several cells each is handed over before the next one takes its place there; one that fails costs only itself.
    """
    from tokprof.models.loading import load

    channel.send("stage", "loading")
    device = choose_device(request.device)
    if request.thread_count is not None:
        import torch

        torch.set_num_threads(request.thread_count)
    spec = model_spec(request, device)
    with out_of_memory_explained(spec):
        loaded = load(spec, fetching(channel))
        swapped = None if request.kernels == "eager" else _swap_kernels(loaded.model)
    if not request.shapes:
        run = _measured(request, spec, folder, channel, loaded, swapped)
        channel.send("stage", "saving")
        _save(run, folder)
        return
    handler = signal.getsignal(signal.SIGINT)
    for number, cell in enumerate(request.cells, start=1):
        failure, more = "", True
        try:
            run = _measured(cell, spec, folder, channel, loaded, swapped)
            more = run.outcome is Outcome.COMPLETE
            others = [_one_of_several(number, len(request.shapes))] if len(request.shapes) > 1 else []
            _save(replace(run, notes=(*run.notes, *others)), folder)
        except (MeasurementError, ModelError) as error:
            failure = str(error)  # another shape may fit
        _free_memory(device)
        signal.signal(signal.SIGINT, handler)
        if channel.ask("keep", detail=failure) is None or not more:
            return


def _measured(
    request: Request, spec: "ModelSpec", folder: Path, channel: Channel, loaded: Any, swapped: Note | None
) -> Run:
    """Measure one cell with a loaded model."""
    with out_of_memory_explained(spec):
        prompt = _prompt(request, loaded)
        engine = TransformersEngine(
            loaded.model,
            prompt.ids,
            prompt.continuation_ids,
            batch_size=request.batch_size,
            end_ids=loaded.end_ids,
        )
        return _passes(request, spec, folder, channel, loaded, prompt, engine, swapped)


def _passes(
    request: Request,
    spec: "ModelSpec",
    folder: Path,
    channel: Channel,
    loaded: Any,
    prompt: Any,
    engine: TransformersEngine,
    swapped: Note | None,
) -> Run:
    device = spec.device
    clock: Clock = HostClock()
    clean_clock: CudaClock | None = None  # the same, but that it lets the device read its own clock between the phases
    work = Workload(mode=request.mode, new_token_count=request.new_token_count)
    tokenizer = loaded.tokenizer
    spans = SpanBuilder(
        engine,
        byte_count=None if tokenizer is None else tokenizer.byte_counts,
        prompt_byte_count=prompt.byte_count,
        forced_ids=prompt.continuation_ids,
        end_ids=loaded.end_ids,
    )
    passes: list[Pass] = []
    notes = _notes_on(swapped, request)
    if device.startswith("cuda"):
        probe, unread = clock_probe(device)
        clock, clean_clock = CudaClock(device), CudaClock(device, probe=probe)
        notes += unread

    channel.send("stage", "clean")
    channel.ask("sampling", detail=device_uuid(device))
    gc.collect()
    Interrupts.check()
    gc.freeze()  # the libraries' own objects stay; looking through them again after each repetition takes a second
    gc.disable()  # no collection inside a repetition; the host's own garbage is not what is measured
    started = time.monotonic_ns()

    def tell(state: StopState) -> None:
        gc.collect()
        Interrupts.check()
        channel.send("progress", "clean", count=state.count, total=request.limits.repetition_count)

    profiler: Any = None

    def energy_pass() -> list[Pass]:
        window_ns = channel.ask("energy")
        if window_ns is None:
            return []
        if work.mode is not DecodeMode.TEACHER_FORCED:
            notes.append(_energy_only_when_forced(work.mode))
            return []
        return [_energy_pass(int(window_ns), channel, engine, clock, work, spans)]

    def kernel_pass() -> list[Pass]:
        nonlocal profiler
        channel.send("stage", "kernels")
        # Where the time was too short for as many clean repetitions, a prefill takes long: no more of them here.
        most = clean.stop.repetition_count if clean and clean.stop.rule is StopRule.TIME_LIMIT else None
        profiler, made = _kernel_pass(request, engine, clock, work, spans, device, most)
        return [made]

    later: dict[PassKind, Callable[[], list[Pass]]] = {
        PassKind.ENERGY: energy_pass,
        PassKind.KERNELS: kernel_pass,
        PassKind.STACKS: lambda: _stack_passes(request, channel, engine, clock, work, spans),
    }
    clean: CleanPass | None = None
    try:
        clean = measure_clean(
            engine,
            clean_clock or clock,
            work,
            spans,
            request.limits,
            warm_up_count=request.warm_up_count,
            on_repetition=tell,
        )
        count = clean.stop.repetition_count
        passes.append(Pass(kind=PassKind.CLEAN, repetition_count=count, start_ns=started, end_ns=time.monotonic_ns()))
        interrupted = clean.stop.rule is StopRule.INTERRUPTED
        if not interrupted:
            for kind in [kind for kind in later if kind in request.passes]:
                made, failure = _attempt(kind, later[kind], spec)
                passes += made
                notes += failure
            Interrupts.check()
    except KeyboardInterrupt:
        if clean is None:
            raise
        interrupted = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is left is to keep what is finished
    if clean_clock is not None and clean_clock.probe_failure:
        notes.append(clock_unread(clean_clock.probe_failure))
    channel.ask("sampling ends")
    gc.enable()
    gc.unfreeze()
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
        model=model_facts(loaded, request),
        environment=machine(device),
        stop=clean.stop,
        passes=tuple(passes),
        spans=spans.build(),
        sm_clocks=spans.sm_clocks(),
        alignments=_worst(spans.alignments),
        notes=tuple(notes),
        process_index=request.process_index,
    )


# ------------------------------------------------------------------------------------------------------------ passes


def _attempt(kind: PassKind, make: Callable[[], list[Pass]], spec: "ModelSpec") -> tuple[list[Pass], list[Note]]:
    """Run a pass after the clean one; if it fails, what is finished stays, and a note says why this is absent."""
    try:
        with out_of_memory_explained(spec):
            return make(), []
    except Exception as error:  # whatever the model or a library raises: the clean pass is not its to throw away
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
    # Only now, without the error, is the memory of the frames that it went through free again.
    _free_memory(spec.device)
    return [], [
        Note(
            code="pass-failed",
            message=f"the {kind} pass failed, so what it measures is absent: {words}",
            advice="the other passes are not touched by it",
        )
    ]


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


def _energy_only_when_forced(mode: DecodeMode) -> Note:
    return Note(
        code="energy-refused",
        message=f"energy was not measured: its windows repeat a given number of steps, which {mode} mode does not have",
        advice="profile the same in the teacher-forced mode for its energy",
    )


def _kernel_pass(
    request: Request,
    engine: TransformersEngine,
    clock: Clock,
    work: Workload,
    spans: SpanBuilder,
    device: str,
    most: int | None,
) -> tuple[Any, Pass]:
    """Run a few repetitions under torch.profiler, bounded in steps; the trace is exported later."""
    repetitions = max(
        1, min(request.trace_repetition_count, request.trace_step_limit, most or request.trace_step_limit)
    )
    steps = min(work.step_count, max(1, request.trace_step_limit // repetitions))
    short = Workload(mode=work.mode, new_token_count=steps + 1)
    started = time.monotonic_ns()
    profiler, results = profiled(engine, clock, short, repetition_count=repetitions, on_gpu=device.startswith("cuda"))
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


def _swap_kernels(model: Any) -> Note:
    """Put the Triton kernels into the model; return the note that says which."""
    try:
        from tokprof.kernels.launch import KernelError
        from tokprof.kernels.swap import swap
    except ImportError as error:
        raise MeasurementError(f"--kernels triton: {error}; pip install 'tokprof[triton]'") from error
    try:
        swapped = swap(model)
    except KernelError as error:
        raise MeasurementError(f"--kernels triton: {error}") from error
    words = ", ".join(f"{count} x {kernel}" for kernel, count in swapped.counts)
    by = "; they ran in Triton's interpreter, whose times say nothing of a GPU" if swapped.interpreted else ""
    return Note(
        code="kernels-swapped",
        message=f"Triton kernels stand in for the model's own: {words}; each was run beside the original on random "
        f"inputs, and none differed by more than {swapped.largest_difference:.1e} of its result{by}",
        advice="profile the same with --kernels eager and compare the two",
        level=NoteLevel.WARNING if swapped.interpreted else NoteLevel.INFO,
    )


def _notes_on(swapped: Note | None, request: Request) -> list[Note]:
    notes = [] if swapped is None else [swapped]
    if request.mode is DecodeMode.NATURAL:
        notes.append(
            Note(
                code="natural-watch",
                message="in natural mode each step also looks for the end of the sequences: four small operators, "
                "whose time is in the step's and whose kernels are in no step's",
                advice="the teacher-forced mode does without",
                level=NoteLevel.INFO,
            )
        )
    if request.weights == "random":
        notes.append(
            Note(
                code="random-weights",
                message="weights are random: a dense model's kernels and times do not depend on them, "
                "but power and clocks do, and so does the text of the natural mode",
                advice="compare energy and clocks only between runs with the same weights",
                level=NoteLevel.INFO,
            )
        )
    return notes


def _one_of_several(number: int, count: int) -> Note:
    return Note(
        code="one-of-several",
        message=f"shape {number} of {count} that one process measured with the model loaded once",
        advice="an interval over fresh processes wants --processes with one shape",
        level=NoteLevel.INFO,
    )


def _free_memory(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


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


if __name__ == "__main__":
    run_child(Request, measure)
