"""The samples of a study as columns: what its processes recorded, with what the instruments saw meanwhile."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tokprof.profiler.errors import FileFormatError, InputError
from tokprof.profiler.record import Array, Columns, DecodeMode, Mark, ModelFacts, Note, column
from tokprof.profiler.sensors.marks import marks_for
from tokprof.profiler.sensors.samples import read_samples
from tokprof.profiler.studies import (
    TRACES,
    FinishedBlock,
    Header,
    Plan,
    Sample,
    Unit,
    check_fingerprints,
    file_name,
    read_blocks,
    samples_file,
    trace_file,
)

UNFINISHED_NAMED = 3  # processes, in the note that some are not finished
CLOCKS_AGREE = 0.01  # relative


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudySamples(Columns):
    """One row per sample of a study; codes are indices into the plan's arms and items.

    ``step_start`` and ``step_start + step_count`` delimit a sample's decode steps in :attr:`Study.step_ns`.
    """

    process: Array = column(np.int32)
    session: Array = column(np.int32)
    block: Array = column(np.int32)
    position: Array = column(np.int32)  # in the block's order
    mode: Array = column(np.int8, vocabulary=DecodeMode)
    item: Array = column(np.int32)
    arm: Array = column(np.int32)
    prompt_token_count: Array = column(np.int32)
    token_count: Array = column(np.int32)  # new tokens: N_out
    start_ns: Array = column(np.int64)
    prefill_ns: Array = column(np.int64)
    decode_ns: Array = column(np.int64)
    issue_ns: Array = column(np.int64)  # the host's time to issue the decode steps; on a CPU that of the steps
    step_start: Array = column(np.int64)
    step_count: Array = column(np.int32)
    ended: Array = column(np.int8)
    mark: Array = column(np.uint8)  # bits of Mark
    sm_clock_mhz: Array | None = column(np.float64, optional=True)  # mean of the driver's readings; NaN without one
    counted_clock_mhz: Array | None = column(np.float64, optional=True)  # as the device counted it around the phases
    power_mw: Array | None = column(np.float64, optional=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """A study read back: its plan, its machines and models, and every sample."""

    folder: Path
    plan: Plan
    headers: tuple[Header, ...]
    samples: StudySamples
    step_ns: Array  # of every decode step of every sample, in the order of the samples
    finished_block_count: int
    planned_block_count: int
    notes: tuple[Note, ...] = field(default=())

    def model(self, arm: int) -> ModelFacts:
        """Return the model of an arm, as the first process counted it."""
        for header in self.headers:
            if arm in header.arms:
                return header.models[header.arms.index(arm)]
        raise KeyError(arm)

    def traces(self) -> dict[tuple[int, int], Path]:
        """Return the trace of each arm and process, (arm, process), whose kernel pass has come that far."""
        found = {}
        processes = dict.fromkeys(header.process for header in self.headers)
        for process, (arm, facts) in itertools.product(processes, enumerate(self.plan.arms)):
            file = trace_file(self.folder, process, facts.name)
            earlier = self.folder / TRACES / f"{file_name(facts.name)}.json.gz"  # of version 1: the first process's
            if file.is_file():
                found[arm, process] = file
            elif process == 0 and earlier.is_file():
                found[arm, process] = earlier
        return found


def load_study(folder: Path, units: Sequence[Unit], plan: Plan) -> Study:
    """Read every finished block of a study; ``units`` are those of its plan's schedule.

    Raises
    ------
    InputError
        Nothing was measured yet, or arms or processes differ in an unexplained key of the fingerprint.
    FileFormatError
        A file is damaged: a line in the middle is none of ours, or points outside the plan.
    """
    found = read_blocks(folder, units, plan)
    if not found.blocks:
        raise InputError(f"{folder}: nothing was measured yet; go on with `tokprof attribute --resume --out {folder}`")
    check_fingerprints(plan, found.headers, folder)
    planned = sum(len(unit.blocks) for unit in units)
    notes = list(found.notes)
    if unfinished := found.unfinished:
        more = f"; and {len(unfinished) - UNFINISHED_NAMED} more" if len(unfinished) > UNFINISHED_NAMED else ""
        notes.append(
            Note(
                code="unfinished",
                message=f"{len(found.blocks)} of {planned} blocks are measured; {len(unfinished)} of {len(units)} "
                f"processes are not finished: {'; '.join(unfinished[:UNFINISHED_NAMED])}{more}",
                advice=f"go on with `tokprof attribute --resume --out {folder}`, or copy the folder again if it was "
                "finished where it was measured",
            )
        )
    samples, step_ns = _table(found.blocks)
    samples, mark_notes = _with_instruments(folder, units, found.headers, samples)
    return Study(
        folder=folder,
        plan=plan,
        headers=found.headers,
        samples=samples,
        step_ns=step_ns,
        finished_block_count=len(found.blocks),
        planned_block_count=planned,
        notes=tuple(dict.fromkeys((*notes, *mark_notes))),
    )


# ----------------------------------------------------------------------------------------------------------- details


def _pause_ns(sample: Sample) -> int:
    return sample.pause_host_ns if sample.device_ns is None else sample.pause_device_ns


def _table(parts: Sequence[tuple[Header, FinishedBlock]]) -> tuple[StudySamples, Array]:
    modes = {mode: code for code, mode in enumerate(DecodeMode)}
    rows: list[tuple[Any, ...]] = []
    steps: list[Array] = []
    counted_mhz: list[float] = []
    at = 0
    for header, line in parts:
        block = line.block
        for position, sample in enumerate(line.samples):
            host = np.array(sample.host_ns, dtype=np.int64)
            device = host if sample.device_ns is None else np.array(sample.device_ns, dtype=np.int64)
            kept = min(sample.token_count, len(device) - 1)
            own = np.diff(device[1 : kept + 1])
            own[:1] -= _pause_ns(sample)
            steps.append(own)
            rows.append(
                (
                    header.process,
                    line.session,
                    block.index,
                    position,
                    modes[block.mode],
                    block.item,
                    sample.arm,
                    header.prompt_token_counts[header.arms.index(sample.arm)][block.item],
                    kept,
                    int(host[0]),
                    int(device[1] - device[0]),
                    int(own.sum()),
                    int(host[kept] - host[1]) - (sample.pause_host_ns if kept > 1 else 0),
                    at,
                    len(own),
                    int(sample.ended),
                    0,
                )
            )
            at += len(own)
            rates = [1e3 * cycles / ns for cycles, ns in sample.sm_clocks]
            counted_mhz.append(float(np.mean(rates)) if rates else math.nan)
    names = (
        "process", "session", "block", "position", "mode", "item", "arm", "prompt_token_count", "token_count",
        "start_ns", "prefill_ns", "decode_ns", "issue_ns", "step_start", "step_count", "ended", "mark",
    )  # fmt: skip
    columns = np.array(rows, dtype=np.int64).T
    counted = None if np.isnan(counted_mhz).all() else np.array(counted_mhz)
    table = StudySamples(**dict(zip(names, columns, strict=True)), counted_clock_mhz=counted)
    return table, np.concatenate(steps) if steps else np.array([], dtype=np.int64)


def _with_instruments(
    folder: Path, units: Sequence[Unit], headers: Sequence[Header], samples: StudySamples
) -> tuple[StudySamples, list[Note]]:
    """Add the marks, clocks and power that the samplers saw; what none saw is absent."""
    notes: list[Note] = []
    marks = samples.mark.copy()
    clock = np.full(len(samples), np.nan)
    power = np.full(len(samples), np.nan)
    end_ns = samples.start_ns + samples.prefill_ns + samples.decode_ns
    for unit in units:
        for header in (h for h in headers if h.process == unit.process and set(h.arms) == set(unit.arms)):
            rows = np.flatnonzero(
                (samples.process == header.process)
                & (samples.session == header.session)
                & np.isin(samples.arm, header.arms)
            )
            if not len(rows):
                continue
            file = samples_file(folder, unit, header.session)
            try:
                log = read_samples(file)
                seen = marks_for(
                    samples.start_ns[rows],
                    end_ns[rows],
                    log.power,
                    log.host,
                    core_count=log.facts.get("core_count") or header.environment.cpu_count,
                )
            except (FileFormatError, OSError, ValueError, TypeError, AttributeError):  # a stranger's can hold anything
                notes.append(
                    Note(
                        code="samples-absent",
                        message=f"{file.name} is missing or damaged: nothing is known of clocks and contention there",
                    )
                )
                continue
            notes += log.notes
            marks[rows] |= seen
            if log.power is not None:
                _means(clock, rows, samples.start_ns, end_ns, log.power.time_ns, log.power.sm_clock_mhz)
                _means(power, rows, samples.start_ns, end_ns, log.power.time_ns, log.power.power_mw)
    for mark, words, advice in (
        (Mark.THROTTLED, "had clocks held down", "lock the clocks below the limit, or cool the device"),
        (Mark.SHARED_DEVICE, "shared the device with another process", "end the other process"),
        (Mark.CONTAMINATED, "ran on a contended host", "end other work on this machine, or add blocks"),
    ):
        if count := int(((marks & mark) != 0).sum()):
            notes.append(
                Note(
                    code=mark.name.lower() if mark.name else "",
                    message=f"{count} of {len(samples)} samples {words}; they are kept",
                    advice=advice,
                )
            )
    if samples.counted_clock_mhz is not None:
        notes += _beside_the_devices_own(clock, samples.counted_clock_mhz)
    values = {
        name: getattr(samples, name)
        for name in StudySamples.__dataclass_fields__
        if name not in ("mark", "sm_clock_mhz", "power_mw")
    }
    return (
        StudySamples(
            **values,
            mark=marks,
            sm_clock_mhz=None if np.isnan(clock).all() else clock,
            power_mw=None if np.isnan(power).all() else power,
        ),
        notes,
    )


def _beside_the_devices_own(read_mhz: Array, counted_mhz: Array) -> list[Note]:
    """Say how far the clocks that the driver read are from those that the device counted, if by much."""
    both = ~np.isnan(read_mhz) & ~np.isnan(counted_mhz) & (read_mhz > 0)
    if not both.any():
        return []
    excess = float(np.median(counted_mhz[both] / read_mhz[both])) - 1
    if abs(excess) <= CLOCKS_AGREE:
        return []
    return [
        Note(
            code="clocks-differ",
            message=f"the device counted a clock {excess:+.1%} beside the driver's reading, median of {both.sum()} "
            "samples",
            advice="the driver reads a few times a second, the device right before and after each phase; where the "
            "clock swings, neither is the mean of a sample",
        )
    ]


def _means(into: Array, rows: Array, start_ns: Array, end_ns: Array, time_ns: Array, values: Array | None) -> None:
    """Put the mean of the values read during each sample into its row."""
    if values is None:
        return
    low = np.searchsorted(time_ns, start_ns[rows], side="left")
    high = np.searchsorted(time_ns, end_ns[rows], side="right")
    sums = np.concatenate([[0.0], np.cumsum(values.astype(np.float64))])
    here = high > low
    into[rows[here]] = (sums[high[here]] - sums[low[here]]) / (high[here] - low[here])
