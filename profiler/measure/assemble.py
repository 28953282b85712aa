"""From raw samples and instruments to one run: marks, kernels, energy, and everything on one clock.

The measured process leaves spans and a Kineto trace; the supervisor adds what it saw from outside. This joins them and
writes the run folder.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tokprof.profiler.errors import writing
from tokprof.profiler.measure.request import KINETO_FILE, RAW_FOLDER, Request
from tokprof.profiler.record import (
    Array,
    ClockAlignment,
    Energy,
    HostSamples,
    HostStacks,
    InterpreterStacks,
    KernelEvents,
    Mark,
    Note,
    NoteLevel,
    Outcome,
    PassKind,
    Phase,
    PowerSamples,
    Run,
    Spans,
    StopRule,
    Trace,
)
from tokprof.profiler.sensors.samples import SampleLog
from tokprof.profiler.store import TRACE_FILE, load_run, save_run
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.steps import kernel_events, own_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was seen from outside the measured process."""

    log: SampleLog | None = None
    stacks: HostStacks | None = None
    interpreter_stacks: InterpreterStacks | None = None
    alignments: tuple[ClockAlignment, ...] = ()
    notes: tuple[Note, ...] = field(default=())


def assemble(request: Request, scratch: Path, folder: Path, seen: Observations) -> Run:
    """Join what the measured process left in ``scratch`` with what was seen, and write the run into ``folder``."""
    from tokprof.profiler.trace.writer import write_run_trace

    raw = load_run(scratch / RAW_FOLDER)
    notes = [*raw.notes, *seen.notes]
    alignments = [*raw.alignments, *seen.alignments]
    power = seen.log.power if seen.log is not None else None
    host = seen.log.host if seen.log is not None else None
    if seen.log is not None:
        notes += seen.log.notes
        if seen.log.alignment is not None:
            alignments.append(seen.log.alignment)

    spans = raw.spans
    if power is not None or host is not None:
        spans, mark_notes = _marked(spans, power, host, raw)
        notes += mark_notes
    kineto, kernels = None, None
    if (scratch / KINETO_FILE).exists():
        kineto, kernels, alignment, kernel_notes = _kernels(scratch / KINETO_FILE, spans)
        notes += kernel_notes
        if alignment is not None:
            alignments.append(alignment)
    energies, energy_notes = _energies(request, spans, seen.log)
    run = replace(
        raw,
        command=request.command,
        spans=spans,
        power=power,
        host=host,
        kernels=kernels,
        stacks=seen.stacks,
        interpreter_stacks=seen.interpreter_stacks,
        energies=energies,
        alignments=tuple(alignments),
        notes=(*notes, *energy_notes, *_notes_on_passes(request, raw)),
    )
    save_run(run, folder)
    with writing(folder / TRACE_FILE):
        write_run_trace(run, kineto, folder / TRACE_FILE)
    return run


def _marked(spans: Spans, power: PowerSamples | None, host: HostSamples | None, run: Run) -> tuple[Spans, list[Note]]:
    """Mark every span of a repetition in which the device was throttled or shared, or the host contended."""
    from tokprof.profiler.sensors.marks import marks_for, marks_notes

    starts, ends, first_rows = _repetitions(spans)
    marks = marks_for(starts, ends, power, host, core_count=run.environment.cpu_count)
    repeated = np.repeat(marks, np.diff(np.append(first_rows, len(spans))))
    clean = spans.pass_kind[first_rows] == list(PassKind).index(PassKind.CLEAN)
    clean &= (spans.mark[first_rows] & Mark.WARM_UP) == 0
    notes = marks_notes(marks[clean], power, host, core_count=run.environment.cpu_count)
    return replace(spans, mark=spans.mark | repeated), list(notes)


def _repetitions(spans: Spans) -> tuple[Array, Array, Array]:
    """Return the start, the end and the first row of each repetition of each pass."""
    key = spans.pass_kind.astype(np.int64) * 2**33 + spans.repetition
    first_rows = np.flatnonzero(np.concatenate([[True], np.diff(key) != 0]))
    last_rows = np.append(first_rows[1:], len(spans)) - 1
    return spans.host_start_ns[first_rows], spans.end_ns[last_rows], first_rows


def _kernels(path: Path, spans: Spans) -> tuple[Trace, KernelEvents, ClockAlignment | None, list[Note]]:
    trace = read_trace(path, cache=False)
    alignment = align_kineto(trace, spans)
    kernels = kernel_events(trace)
    notes = list(trace.notes)
    if alignment is None:
        notes.append(
            Note(
                code="kineto-unaligned",
                message="the profiler's trace holds none of this run's step names, so its clock could not be tied",
                advice="power and stacks may lie beside the kernels in trace.json.gz; times do not depend on it",
            )
        )
        return trace, kernels, None, notes
    shift = trace.base_ns + alignment.offset_ns
    return trace, replace(kernels, start_ns=kernels.start_ns + shift), alignment, notes


def align_kineto(trace: Trace, spans: Spans) -> ClockAlignment | None:
    """Tie the profiler's clock to the host's by the step names that both noted.

    The host notes an instant right before it enters a step's name and right after it leaves it, so each step bounds the
    offset from both sides. The offset is the middle of the tightest bounds, the error half their distance.
    """
    steps = own_steps(trace)
    table = spans.of(pass_kind=PassKind.KERNELS)
    host = {
        (int(r), int(s)): (int(a), int(b))
        for r, s, a, b in zip(table.repetition, table.step, table.host_start_ns, table.host_end_ns, strict=True)
    }
    lows, highs = [], []
    for start, end, repetition, step in zip(
        steps.start_ns.tolist(), steps.end_ns.tolist(), steps.repetition.tolist(), steps.step.tolist(), strict=True
    ):
        span = host.get((repetition, step))
        if span is not None:
            lows.append(span[0] - start - trace.base_ns)
            highs.append(span[1] - end - trace.base_ns)
    if not lows:
        return None
    low, high = max(lows), min(highs)
    if low > high:
        # Kineto rounds to microseconds or the clocks drift: no offset meets every bound, so take the middle of all.
        low, high = min(highs), max(lows)
    third = max(1, len(lows) // 3)
    drift = int(np.median(lows[-third:]) - np.median(lows[:third]))
    return ClockAlignment(
        source="kineto",
        offset_ns=(low + high) // 2,
        error_ns=(high - low + 1) // 2,
        drift_ns=drift,
        method=f"bounds from {len(lows)} step names noted by both clocks",
    )


def _energies(request: Request, spans: Spans, log: SampleLog | None) -> tuple[tuple[Energy, ...], list[Note]]:
    from tokprof.profiler.analysis.energy import energy_of_window

    if PassKind.ENERGY not in request.passes or log is None or log.power is None:
        return (), []
    energies = []
    for phase in Phase:
        rows = spans.of(pass_kind=PassKind.ENERGY, phase=phase)
        if len(rows):
            energies.append(
                energy_of_window(
                    log.power,
                    int(rows.host_start_ns[0]),
                    int(rows.end_ns[-1]),
                    phase=phase,
                    repetition_count=len(rows),
                    token_count=int(rows.token_count.sum()),
                    counter_period_ns=log.counter_period_ns,
                )
            )
    notes = [
        Note(code="energy-refused", message=f"energy of {energy.phase}: {energy.reason}")
        for energy in energies
        if energy.energy_mj is None
    ]
    return tuple(energies), notes


def _notes_on_passes(request: Request, run: Run) -> list[Note]:
    """Say what the machine or the request left unmeasured."""
    notes = []
    if run.environment.device.kind == "cpu":
        notes.append(
            Note(
                code="cpu-kernels",
                message="this ran on a CPU: 'kernels' are the computing operators, and host and device time are one",
                level=NoteLevel.INFO,
            )
        )
    if run.stop.rule is StopRule.TIME_LIMIT and run.stop.repetition_count < request.limits.minimum_count:
        notes.append(
            Note(
                code="few-repetitions",
                message=f"only {run.stop.repetition_count} repetitions fitted into the time limit: their range says "
                "little, and nothing should rest on these times",
                advice="a longer --time-limit, or fewer --new-tokens",
            )
        )
    interrupted = run.outcome is Outcome.INTERRUPTED
    if interrupted and request.process_index == 0 and len(run.passes) == 1 and len(request.passes) > 1:
        notes.append(Note(code="passes-missing", message="the run ended before the passes after the clean one"))
    return notes
