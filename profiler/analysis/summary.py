"""What runs say about prefill and decode: pure functions from :class:`~tokprof.profiler.record.Run` to a summary.

Every time comes from the clean pass. The unit of an interval is the process: with one process there is none, and the
range over its repetitions is shown for what it is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokprof.models.devices import Ceiling
from tokprof.profiler.analysis.profiled import (
    MUCH,
    ProfiledPhase,
    busy_share,
    category_shares,
    profiled_phases,
    same_steps_ns,
    steps_text,
)
from tokprof.profiler.analysis.roofline import (
    PhaseRoofline,
    below_floor,
    ceiling_of,
    kernel_floors,
    kernel_limit,
    no_floor,
    phase_roofline,
    step_limits,
)
from tokprof.profiler.errors import InputError
from tokprof.profiler.record import (
    Array,
    Calibration,
    DecodeMode,
    InterpreterStacks,
    KernelEvents,
    KernelLimit,
    Mark,
    Note,
    NoteLevel,
    PassKind,
    Phase,
    PowerSamples,
    Run,
    Spans,
    StepLimits,
    Stop,
)

TOP_COUNT = 5
MUCH_LEFT = 0.1  # of a phase, which its kernels' medians leave over
MINIMUM_CLOCK_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval over processes, or with the range over repetitions of the only process."""

    value: float
    low: float | None = None  # None with one process: no interval can be given
    high: float | None = None
    minimum: float | None = None  # over repetitions of all processes
    maximum: float | None = None
    process_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelShare:
    """One kernel's part of a phase in the profiled pass."""

    name: str
    category: str
    share: float  # of the phase's kernel time
    count_per_span: float  # launches in one prefill or one decode step
    time_us_per_span: float | None  # None where the clean pass lacks a step of the profiled one
    limit: KernelLimit | None = None  # where the device was calibrated, and the operators' calls tell it


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameShare:
    """A Python function's part of the samples in which Python itself ran."""

    function: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSummary:
    """One phase of one cell. Absent figures were not measured; a note says why."""

    phase: Phase
    repetition_count: int  # over all processes, without warm-up
    marked_count: int  # of these, with a mark: throttled, shared device or contended host
    token_count: int  # of one repetition, over the batch
    time_ms: Estimate
    tokens_per_s: Estimate
    bytes_per_s: Estimate | None
    time_to_first_token_ms: Estimate | None  # prefill only: from the call to the first token on the device
    latency_median_ms: float | None  # decode only: over all steps of all repetitions
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    latency_sample_count: int | None
    host_issue_ms: float | None  # on a GPU: the host's time to issue the work; None on a CPU, where both are one
    energy_per_token_mj: float | None
    energy_error_mj: float | None
    energy_reason: str
    mean_sm_clock_mhz: float | None  # by NVML's samples inside the phase
    kernel_busy_share: float | None
    gap_share: float | None
    share_basis: str  # the time the two shares refer to
    kernels: tuple[KernelShare, ...] = ()
    profiled_steps: str = ""  # which decode steps the kernels and shares are of: "1 to 16 of 499"; nothing where all
    roofline: PhaseRoofline | None = None  # where the device was calibrated
    step_limits: StepLimits | None = None  # of the typical step: who owns its gap
    start_sm_clock_mhz: float | None = None  # as the device itself counted it right before and after the phase; medians
    end_sm_clock_mhz: float | None = None

    @property
    def sm_clock_difference(self) -> float | None:
        """How far the device's own reading after the phase is from NVML's mean inside it, relative to the latter."""
        if self.end_sm_clock_mhz is None or not self.mean_sm_clock_mhz:
            return None
        return self.end_sm_clock_mhz / self.mean_sm_clock_mhz - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowdown:
    """How much longer a step took in a pass than in the clean one: medians over the same steps."""

    pass_kind: PassKind
    prefill: float | None
    decode: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The answer of ``tokprof profile``."""

    model: str
    device: str
    software: str
    fingerprint: str
    mode: DecodeMode
    batch_size: int
    prompt: str
    prompt_token_count: int
    new_token_count: int
    process_count: int
    outcome: str
    stops: tuple[Stop, ...]
    phases: tuple[PhaseSummary, ...]
    total_ms: Estimate
    slowdowns: tuple[Slowdown, ...]
    python_share: float | None  # of the host's time in the stacks pass in which Python itself ran
    frames: tuple[FrameShare, ...]
    notes: tuple[Note, ...]
    ceiling: str | None = None  # where the figures of rooflines and floors come from


def summarize(runs: Sequence[Run], *, fingerprint: str, calibration: Calibration | None = None) -> Summary:
    """Summarise the processes of one cell.

    ``fingerprint`` is the digest of what must agree between runs to be compared (see ``tokprof.profiler.environment``);
    ``calibration`` is that of the runs' device, from which floors are reckoned.

    Raises
    ------
    InputError
        No repetition of the clean pass was finished.
    """
    first = runs[0]
    phases = tuple(
        summarize_phase(runs, phase) for phase in Phase if any(len(_clean(run.spans, phase)) for run in runs)
    )
    if not phases:
        raise InputError(f"run {first.run_id}: holds no finished repetition of the clean pass, so there is no summary")
    phases, ceiling, limit_notes = _beside_ceilings(runs, phases, calibration)
    facts = first.model
    adapter = f" with {facts.adapter} adapter {facts.adapter_name}" if facts.adapter else ""
    python_share, frames = host_frames(runs)
    return Summary(
        model=f"{facts.name}{adapter} · {facts.architecture} · {facts.parameter_count / 1e6:,.1f} M parameters · "
        f"{facts.dtype} · {facts.attention}{' · compiled' if facts.compiled else ''}"
        f"{' · random weights' if facts.weights == 'random' else ''}",
        device=device_line(first),
        software=software_line(first),
        fingerprint=fingerprint,
        mode=first.cell.mode,
        batch_size=first.cell.batch_size,
        prompt=first.cell.prompt,
        prompt_token_count=first.cell.prompt_token_count,
        new_token_count=first.cell.new_token_count,
        process_count=len(runs),
        outcome=str(first.outcome if len({run.outcome for run in runs}) == 1 else runs[-1].outcome),
        stops=tuple(run.stop for run in runs),
        phases=phases,
        total_ms=_over_processes([_total_ms(run) for run in runs]),
        slowdowns=_slowdowns(runs),
        python_share=python_share,
        frames=frames,
        notes=(*distinct_notes(runs), *_on_profiled(runs), *limit_notes),
        ceiling=ceiling,
    )


def _beside_ceilings(
    runs: Sequence[Run], phases: tuple[PhaseSummary, ...], calibration: Calibration | None
) -> tuple[tuple[PhaseSummary, ...], str | None, list[Note]]:
    """Give each phase its roofline and its kernels their floors; where there is none, a note says why."""
    if calibration is None:
        words = "how far this is from the device's limits is not known: the device was not calibrated"
        advice = "run `tokprof calibrate` on it once, then `tokprof show` this run again"
        return phases, None, [Note(code="not-calibrated", message=words, advice=advice, level=NoteLevel.INFO)]
    ceiling = ceiling_of(calibration)
    profiled = {phase.phase: profiled_phases(runs, phase.phase) for phase in phases}
    placed = tuple(
        replace(
            phase,
            kernels=heaviest_kernels(profiled[phase.phase], ceiling=ceiling),
            roofline=phase_roofline(runs[0], phase.phase, ceiling, time_ms=phase.time_ms.value),
            step_limits=_step_limits(runs, phase.phase, ceiling, profiled[phase.phase]),
        )
        for phase in phases
    )
    quick = [str(phase.phase) for phase in placed if phase.roofline is not None and phase.roofline.gap_ms < 0]
    quick += [
        f"{kernel.name} in {phase.phase}"
        for phase in placed
        for kernel in phase.kernels
        if kernel.limit is not None and kernel.limit.undercut
    ]
    notes = [below_floor(what) for what in quick]
    if (note := no_floor(runs[0])) is not None:
        notes.append(note)
    return placed, ceiling.source, notes


def _step_limits(
    runs: Sequence[Run], phase: Phase, ceiling: Ceiling, profiled: Sequence[ProfiledPhase]
) -> StepLimits | None:
    clean_ns = [one.clean_ns for one in profiled if one.clean_ns]
    if not clean_ns:
        return None
    time_ms, clock_mhz = float(np.mean(clean_ns)) / 1e6, sm_clock_mhz(runs, phase)
    return step_limits(runs, phase, ceiling, time_ms=time_ms, mean_sm_clock_mhz=clock_mhz)


def device_line(run: Run) -> str:
    """Name the device in one line."""
    device, machine = run.environment.device, run.environment
    if device.kind == "cpu":
        count = machine.thread_count
        threads = f"{count} thread{'s' * (count > 1)} on " if count else ""
        return f"{device.name} · {threads}{machine.cpu_count} cores"
    limit = f" · limit {device.power_limit_mw / 1e3:.0f} W" if device.power_limit_mw else ""
    return f"{device.name} · driver {device.driver or 'unknown'}{limit}"


def software_line(run: Run) -> str:
    """Name the versions that times depend on the most."""
    libraries = dict(run.environment.libraries)
    return f"torch {libraries.get('torch', '?')} · transformers {libraries.get('transformers', '?')}"


def summarize_phase(runs: Sequence[Run], phase: Phase) -> PhaseSummary:
    """Summarise one phase over the processes that measured it."""
    times_ms = [phase_times_ms(run.spans, phase) for run in runs]
    tables = [_clean(run.spans, phase) for run in runs]
    steps = np.concatenate([table.duration_ns for table in tables]) / 1e6
    tokens = [_per_repetition(table, table.token_count) for table in tables]
    bytes_ = [_per_repetition(table, table.byte_count) for table in tables if table.byte_count is not None]
    decode = phase is Phase.DECODE
    energy, error, reason = _energy(runs, phase)
    profiled = profiled_phases(runs, phase)
    busy, basis = busy_share(profiled)
    start_mhz, end_mhz = own_clock_mhz(runs, phase)
    quantiles = np.percentile(steps, [50, 95, 99]).tolist() if decode else [None] * 3
    return PhaseSummary(
        phase=phase,
        repetition_count=sum(len(values) for values in times_ms),
        marked_count=sum(_marked_repetitions(table) for table in tables),
        token_count=int(np.median(np.concatenate(tokens))),
        time_ms=_over_processes(times_ms),
        tokens_per_s=_rate(tokens, times_ms),
        bytes_per_s=_rate(bytes_, times_ms) if len(bytes_) == len(tables) else None,
        time_to_first_token_ms=None if decode else _over_processes([_first_token_ms(table) for table in tables]),
        latency_median_ms=quantiles[0],
        latency_p95_ms=quantiles[1],
        latency_p99_ms=quantiles[2],
        latency_sample_count=len(steps) if decode else None,
        host_issue_ms=_host_issue_ms(tables),
        energy_per_token_mj=energy,
        energy_error_mj=error,
        energy_reason=reason,
        mean_sm_clock_mhz=_mean_clock_mhz(runs, phase),
        kernel_busy_share=busy,
        gap_share=None if busy is None else 1.0 - busy,
        share_basis=basis,
        kernels=heaviest_kernels(profiled),
        profiled_steps=_profiled_steps(profiled) if decode else "",
        start_sm_clock_mhz=start_mhz,
        end_sm_clock_mhz=end_mhz,
    )


def _profiled_steps(profiled: Sequence[ProfiledPhase]) -> str:
    """Say which decode steps the profiled pass has, where it has not all of them."""
    partly = (one for one in profiled if len(one.steps) < one.clean_step_count)
    return next((f"{steps_text(one)} of {one.clean_step_count}" for one in partly), "")


def phase_times_ms(spans: Spans, phase: Phase) -> Array:
    """Return each clean repetition's time of one phase, in milliseconds: from its first start to its last end."""
    table = _clean(spans, phase)
    starts, ends = _edges(table)
    return (table.end_ns[ends] - table.start_ns[starts]) / 1e6


def heaviest_kernels(
    profiled: Sequence[ProfiledPhase], count: int = TOP_COUNT, *, ceiling: Ceiling | None = None
) -> tuple[KernelShare, ...]:
    """Return the kernels that take the most time of a phase's typical step, beside their floors by ``ceiling``.

    Their times are at the speed of the clean pass: on a CPU the profiler stretches them, and they are scaled back, as
    are the shares. What of their floors they reach is told of the times as measured. Of several processes they are
    means.
    """
    scales = [scale for one in profiled if (scale := one.kernel_scale) is not None]
    known = len(scales) == len(profiled)
    if not known:  # a process has no clean time of its profiled steps: shares are as profiled
        scales = [1.0] * len(profiled)
    time_ns: dict[str, float] = {}
    launches: Counter[str] = Counter()
    limits: dict[str, Array] = {}
    category: dict[str, str] = {}
    for one, scale in zip(profiled, scales, strict=True):
        kernels = one.kernels
        sums = np.bincount(kernels.name, weights=kernels.duration_ns, minlength=len(kernels.names))
        counts = np.bincount(kernels.name, minlength=len(kernels.names))
        floors = None if ceiling is None else kernel_floors(kernels, ceiling)
        of_names = None if floors is None else floors.sums(kernels.duration_ns, kernels.name, len(kernels.names))
        for code in np.flatnonzero(counts):
            name = kernels.names[code]
            time_ns[name] = time_ns.get(name, 0.0) + float(sums[code]) * scale
            launches[name] += int(counts[code])
            if of_names is not None:
                limits[name] = limits.get(name, 0.0) + of_names[:, code]
        category.update(_categories(kernels))
    total = sum(time_ns.values())
    if not total:
        return ()
    return tuple(
        KernelShare(
            name=name,
            category=category.get(name, ""),
            share=value / total,
            count_per_span=launches[name] / len(profiled),
            time_us_per_span=value / len(profiled) / 1e3 if known else None,
            limit=kernel_limit(limits[name], len(profiled)) if name in limits else None,
        )
        for name, value in sorted(time_ns.items(), key=lambda item: -item[1])[:count]
    )


def host_frames(runs: Sequence[Run], count: int = TOP_COUNT) -> tuple[float | None, tuple[FrameShare, ...]]:
    """Return Python's own share of the host's time, and the functions it ran then, heaviest first.

    Operators release the interpreter lock while they work, so samples of the lock's holder are the host's own work:
    what a GPU waits for in a gap.
    """
    weights: Counter[str] = Counter()
    window = 0
    for run in runs:
        if run.interpreter_stacks is not None:
            weights.update(_leaf_functions(run.interpreter_stacks))
            window += run.interpreter_stacks.window_sample_count
    total = sum(weights.values())
    if not total:
        return None, ()
    frames = tuple(FrameShare(function=name, share=value / total) for name, value in weights.most_common(count))
    return (min(1.0, total / window) if window else None), frames


# ----------------------------------------------------------------------------------------------------------- details


def _clean(spans: Spans, phase: Phase) -> Spans:
    return spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)


def _edges(table: Spans) -> tuple[Array, Array]:
    """Return the first and last row of each repetition; the rows of one repetition are consecutive."""
    if not len(table):
        return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    changes = np.flatnonzero(np.diff(table.repetition)) + 1
    return np.concatenate([[0], changes]), np.concatenate([changes - 1, [len(table) - 1]])


def _per_repetition(table: Spans, values: Array) -> Array:
    starts, _ = _edges(table)
    return np.add.reduceat(values, starts) if len(starts) else np.array([], dtype=np.int64)


def _marked_repetitions(table: Spans) -> int:
    bits = Mark.THROTTLED | Mark.SHARED_DEVICE | Mark.CONTAMINATED
    return len(np.unique(table.repetition[(table.mark & bits) != 0]))


def _first_token_ms(table: Spans) -> Array:
    return (table.end_ns - table.host_start_ns) / 1e6


def _host_issue_ms(tables: Sequence[Spans]) -> float | None:
    if any(table.device_start_ns is None for table in tables):
        return None
    issue = []
    for table in tables:
        starts, ends = _edges(table)
        issue.append((table.host_end_ns[ends] - table.host_start_ns[starts]) / 1e6)
    return float(np.median(np.concatenate(issue)))


def _total_ms(run: Run) -> Array:
    """Return each clean repetition's time: its spans, without the reading of the clock between them."""
    table = run.spans.of(pass_kind=PassKind.CLEAN, counted=True)
    return _per_repetition(table, table.duration_ns) / 1e6


def _over_processes(samples: Sequence[Array]) -> Estimate:
    """Take each process's median; with several processes, their mean and Student's 95 % interval."""
    filled = [values for values in samples if len(values)]
    medians = np.array([np.median(values) for values in filled])
    everything = np.concatenate(filled)
    low = high = None
    if len(medians) > 1:
        from scipy.special import stdtrit

        half = float(stdtrit(len(medians) - 1, 0.975)) * float(np.std(medians, ddof=1)) / len(medians) ** 0.5
        low, high = float(medians.mean()) - half, float(medians.mean()) + half
    return Estimate(
        value=float(medians.mean()),
        low=low,
        high=high,
        minimum=float(everything.min()),
        maximum=float(everything.max()),
        process_count=len(medians),
    )


def _rate(amounts: Sequence[Array], times_ms: Sequence[Array]) -> Estimate:
    """Return amounts per second: the mean amount of a repetition over the time that is printed beside it."""
    time, amount = _over_processes(times_ms), float(np.mean(np.concatenate(amounts)))
    single = np.concatenate([a / ms for a, ms in zip(amounts, times_ms, strict=True)]) * 1e3
    known = time.low is not None and time.high is not None and time.low > 0
    return Estimate(
        value=amount / time.value * 1e3,
        low=amount / time.high * 1e3 if known and time.high is not None else None,
        high=amount / time.low * 1e3 if known and time.low is not None else None,
        minimum=float(single.min()),
        maximum=float(single.max()),
        process_count=time.process_count,
    )


def _energy(runs: Sequence[Run], phase: Phase) -> tuple[float | None, float | None, str]:
    entries = [energy for run in runs for energy in run.energies if energy.phase is phase]
    known = [e for e in entries if e.energy_mj is not None and e.token_count]
    if not known:
        return None, None, entries[0].reason if entries else ""
    tokens = sum(e.token_count for e in known)
    error = sum(e.error_mj or 0.0 for e in known) / tokens if all(e.error_mj is not None for e in known) else None
    return sum(e.energy_mj or 0.0 for e in known) / tokens, error, ""


def _mean_clock_mhz(runs: Sequence[Run], phase: Phase) -> float | None:
    readings = [_within(run.power, _clean(run.spans, phase)) for run in runs if run.power is not None]
    clocks = [r for r in readings if r is not None]
    if not clocks:
        return None
    everything = np.concatenate(clocks)
    return float(everything.mean()) if len(everything) >= MINIMUM_CLOCK_SAMPLES else None


def own_clock_mhz(runs: Sequence[Run], phase: Phase) -> tuple[float | None, float | None]:
    """Return the SM clock as the device counted it right before and right after a phase: medians over repetitions.

    The reading after a phase follows its last kernel at once, so that it is the clock at which the phase ended; before
    prefill the device had waited.
    """
    before: list[float] = []
    after: list[float] = []
    for run in runs:
        if run.sm_clocks is None:
            continue
        spans = _clean(run.spans, phase)
        clocks = run.sm_clocks.select(np.isin(run.sm_clocks.repetition, spans.repetition))
        ended = clocks.step == 0 if phase is Phase.PREFILL else clocks.step > 0
        before += clocks.clock_mhz[clocks.step == (-1 if phase is Phase.PREFILL else 0)].tolist()
        after += clocks.clock_mhz[ended].tolist()
    return (float(np.median(before)) if before else None), (float(np.median(after)) if after else None)


def sm_clock_mhz(runs: Sequence[Run], phase: Phase) -> float | None:
    """Return the SM clock a phase ran at: the device's own reading after it, else the mean of NVML's inside it."""
    return own_clock_mhz(runs, phase)[1] or _mean_clock_mhz(runs, phase)


def _within(power: PowerSamples | None, spans: Spans) -> Array | None:
    if power is None or power.sm_clock_mhz is None or not len(spans):
        return None
    at = np.searchsorted(spans.start_ns, power.time_ns, side="right") - 1
    inside = (at >= 0) & (power.time_ns < spans.end_ns[np.maximum(at, 0)])
    clocks: Array = power.sm_clock_mhz[inside]
    return clocks


def _categories(kernels: KernelEvents) -> dict[str, str]:
    if not kernels.categories:
        return {}
    names, first = np.unique(kernels.name, return_index=True)
    return {
        kernels.names[code]: kernels.categories[kernels.category[row]] for code, row in zip(names, first, strict=True)
    }


def _leaf_functions(stacks: InterpreterStacks) -> dict[str, int]:
    weights: Counter[str] = Counter()
    for code, samples in zip(stacks.stack.tolist(), stacks.sample_count.tolist(), strict=True):
        weights[stacks.stacks[code].rpartition(";")[2]] += samples
    return dict(weights)


def _slowdowns(runs: Sequence[Run]) -> tuple[Slowdown, ...]:
    result = []
    for kind in (PassKind.KERNELS, PassKind.STACKS):
        ratios = {phase: _slowdown(runs, kind, phase) for phase in Phase}
        if any(ratio is not None for ratio in ratios.values()):
            result.append(Slowdown(pass_kind=kind, prefill=ratios[Phase.PREFILL], decode=ratios[Phase.DECODE]))
    return tuple(result)


def _slowdown(runs: Sequence[Run], kind: PassKind, phase: Phase) -> float | None:
    """Return a pass's time over the clean one's; of the profiled pass that of the typical step."""
    seen = profiled_phases(runs, phase) if kind is PassKind.KERNELS else ()
    both = [(one.clean_ns, one.profiled_ns) for one in seen if one.clean_ns is not None]
    if not seen:
        both = [ns for run in runs if (ns := same_steps_ns(run.spans, kind, phase)) is not None]
    clean_ns = sum(clean for clean, _ in both)
    return sum(other for _, other in both) / clean_ns if clean_ns else None


def _on_profiled(runs: Sequence[Run]) -> list[Note]:
    """Say where the kernels shown are not those of all profiled steps, or these ran quite unlike the clean ones."""
    notes = []
    for phase in Phase:
        profiled = profiled_phases(runs, phase)
        ratio = _slowdown(runs, PassKind.KERNELS, phase)
        if ratio is not None and not 1 / MUCH < ratio < MUCH:
            words = f"{phase} took ×{ratio:.2f} the clean pass's time while it was profiled: times and shares of its "
            words += "kernels are not to be relied on"
            notes.append(Note(code="unlike-pass", message=words, advice="profile again while nothing else runs"))
        busy, shares = busy_share(profiled)[0], category_shares(profiled)
        if busy is not None and busy - sum(shares.values()) > MUCH_LEFT:
            words = f"{busy - sum(shares.values()):.0%} of {phase} is in no kernel's median, though kernels ran then: "
            words += "its profiled steps were disturbed, each at other kernels"
            notes.append(Note(code="unlike-steps", message=words, advice="profile again while nothing else runs"))
        alike, count = (sum(getattr(one, key) for one in profiled) for key in ("alike_step_count", "step_count"))
        if alike < count:
            words = (
                f"kernels of {phase}: of the {alike} of {count} profiled steps that ran the same ones in the same order"
            )
            notes.append(Note(code="unlike-steps", message=words, level=NoteLevel.INFO))
    return notes


def distinct_notes(runs: Sequence[Run]) -> tuple[Note, ...]:
    """Return the runs' notes, each once; one that only some of several processes have says which."""
    places: dict[Note, list[int]] = {}
    for number, run in enumerate(runs, start=1):
        for note in dict.fromkeys(run.notes):
            places.setdefault(note, []).append(number)
    return tuple(
        note if len(own) == len(runs) else replace(note, message=f"process {', '.join(map(str, own))}: {note.message}")
        for note, own in places.items()
    )
