"""Several traces as processes of one, which Perfetto shows one below the other with their phases aligned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tokprof.profiler.record import Array, Phase, Trace
from tokprof.profiler.trace.lanes import lanes
from tokprof.profiler.trace.steps import Timeline, timeline
from tokprof.profiler.trace.writer import Writer, chrome_trace, rows_of, write_events


def write_merged_trace(sides: Sequence[tuple[str, Trace]], path: Path, *, aligned: bool = True) -> None:
    """Write several traces as processes of one, each under its name.

    With ``aligned`` the phases start together: the first prefill of every side at one instant, then the first decode
    step, and so on through the phases they have in common, in order (where no phase is common, the first steps). What
    comes after such a start is moved with it as a whole, so the side that was done sooner waits for the next one; no
    duration changes, and no two slices of a stream change places. A slice of the host that reaches over the start of a
    phase keeps its duration too, and so no longer covers what was moved. Without ``aligned`` all keep the clocks that
    they were recorded on. Identifiers are numbered anew, so that no side's launches and operators pass for another's.
    """
    lines = [timeline(trace) for _, trace in sides]
    clocks = _common_clocks([trace for _, trace in sides], lines, aligned=aligned)
    used = 0
    with chrome_trace(path, 0, {}) as output:
        for process, ((name, original), line, clock) in enumerate(zip(sides, lines, clocks, strict=True), start=1):
            trace, used = _numbered(original, used)
            output.process(process, name)
            # No track has a process's number: Perfetto would call it that one's main thread.
            first = _write_step_tracks(output, line, clock, process, len(sides) + 1)
            device_at, host_at = clock.on_device(trace.device.start_ns), clock.on_host(trace.host.start_ns)
            places = {"device_process": process, "host_process": process, "first_track": first}
            write_events(output, trace, device_at, host_at, **places)
            counters = trace.counters
            times = clock.on_device(counters.time_ns).tolist()
            for code, time_ns, value in zip(counters.name.tolist(), times, counters.value.tolist(), strict=True):
                if np.isfinite(value):
                    output.event(time_ns, ph="C", name=counters.names[code], pid=process, args={"value": value})


def _numbered(trace: Trace, used: int) -> tuple[Trace, int]:
    """Return the trace with its identifiers numbered from ``used`` on in their order, and the last of these numbers."""
    columns: dict[str, dict[str, Any]] = {"device": {}, "host": {}}
    last = used
    for column in ("correlation", "external"):
        of = {table: getattr(getattr(trace, table), column) for table in columns}
        known = np.unique(np.concatenate(list(of.values())))
        known = known[known > 0]
        for table, values in of.items():
            columns[table][column] = np.where(values > 0, used + 1 + np.searchsorted(known, values), values)
        last = max(last, used + len(known))
    device, host = replace(trace.device, **columns["device"]), replace(trace.host, **columns["host"])
    return replace(trace, device=device, host=host), last


def recorded_together(traces: Sequence[Trace]) -> bool:
    """Say whether there is an instant that lies in all traces, as in those of the ranks of one job."""
    extents = [(trace.base_ns, *_extent_ns(trace)) for trace in traces]
    return max(base + begin for base, begin, _ in extents) < min(base + end for base, _, end in extents)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    """How one trace's instants move to the clock of a merged one: by ``shift_ns`` from each phase's start on."""

    device_ns: Array  # where each phase starts on the device, and when the host begins with it
    host_ns: Array
    shift_ns: Array

    def on_device(self, time_ns: Array) -> Array:
        moved: Array = time_ns + self.shift_ns[np.searchsorted(self.device_ns[1:], time_ns, side="right")]
        return moved

    def on_host(self, time_ns: Array) -> Array:
        moved: Array = time_ns + self.shift_ns[np.searchsorted(self.host_ns[1:], time_ns, side="right")]
        return moved


_PhaseStart = tuple[Phase | None, int, int]  # on the device, on the host


def _common_clocks(traces: Sequence[Trace], lines: Sequence[Timeline], *, aligned: bool) -> list[_Clock]:
    begin = [_extent_ns(trace)[0] for trace in traces]
    starts = [_phase_starts(line) for line in lines] if aligned else []
    anchors = _common_starts(starts)
    if not aligned:
        first = min(trace.base_ns + start for trace, start in zip(traces, begin, strict=True))
        shifts = [np.array([trace.base_ns - first]) for trace in traces]
        return [_Clock(device_ns=np.zeros(1), host_ns=np.zeros(1), shift_ns=shift) for shift in shifts]
    if not anchors:
        return [_Clock(device_ns=np.zeros(1), host_ns=np.zeros(1), shift_ns=np.array([-start])) for start in begin]
    device = np.array([[starts[side][k][1] for k in anchors[side]] for side in range(len(traces))])
    host = np.array([[starts[side][k][2] for k in anchors[side]] for side in range(len(traces))])
    lead = (device[:, 0] - begin).max()
    common = np.concatenate([[lead], lead + np.cumsum(np.diff(device, axis=1).max(axis=0))])
    return [
        _Clock(device_ns=device[side], host_ns=host[side], shift_ns=common - device[side])
        for side in range(len(traces))
    ]


def _extent_ns(trace: Trace) -> tuple[int, int]:
    """Return the first and the last instant of a trace, on its own clock without its base."""
    begins = (trace.device.start_ns, trace.host.start_ns, trace.counters.time_ns)
    ends = (trace.device.end_ns, trace.host.end_ns, trace.counters.time_ns)
    begin = min((int(times.min()) for times in begins if len(times)), default=0)
    return begin, max((int(times.max()) for times in ends if len(times)), default=0)


def _phase_starts(line: Timeline) -> list[_PhaseStart]:
    """Return where the phase changes: before the first prefill, before the first decode step after it, and so on."""
    steps, work = line.steps, line.work
    starts: list[_PhaseStart] = []
    previous: object = ...
    order = np.argsort(steps.step_of_row, kind="stable")
    bounds = np.searchsorted(steps.step_of_row[order], np.arange(len(steps) + 1))
    for step, phase in enumerate(steps.phase):
        rows = order[bounds[step] : bounds[step + 1]]
        if not len(rows) or phase is previous:
            continue
        previous = phase
        device, host = int(work.start_ns[rows].min()), int(steps.start_ns[step])
        launched = line.launched_ns[rows]
        if host < 0:
            host = min([device, *launched[launched >= 0].tolist()])
        starts.append((phase, host if line.on_cpu else device, host))
    return starts


def _common_starts(starts: Sequence[list[_PhaseStart]]) -> list[list[int]]:
    """Return, for each side, which of its phase starts stand together with one of every other side."""

    def following(side: list[_PhaseStart], phase: Phase | None, after: int) -> int | None:
        return next((k for k in range(after + 1, len(side)) if side[k][0] is phase), None)

    if not starts or not all(starts):
        return []
    at: list[int] = [0] * len(starts)
    for phase in (Phase.PREFILL, Phase.DECODE, None):
        found = [following(side, phase, -1) for side in starts]
        if None not in found:
            at = [k for k in found if k is not None]
            break
    chosen = [[k] for k in at]
    for phase, *_ in starts[0][at[0] + 1 :]:
        found = [following(side, phase, taken[-1]) for side, taken in zip(starts, chosen, strict=True)]
        if None not in found:
            for taken, k in zip(chosen, found, strict=True):
                taken += [k] if k is not None else []
    return chosen


def _write_step_tracks(output: Writer, line: Timeline, clock: _Clock, process: int, first: int) -> int:
    """Write one slice for each step, from its first device work to the end of its last.

    Tracks are numbered from ``first`` on; returns the next free number.
    """
    rows = np.flatnonzero(line.steps.step_of_row >= 0)
    step = line.steps.step_of_row[rows]
    start = np.full(len(line.steps), np.iinfo(np.int64).max)
    end = np.full(len(line.steps), -1)
    np.minimum.at(start, step, line.work.start_ns[rows])
    np.maximum.at(end, step, line.work.end_ns[rows])
    order = np.argsort(start, kind="stable")
    order = order[end[order] >= 0]  # a step without device work has no place here
    at = (clock.on_host if line.on_cpu else clock.on_device)(start[order])
    lane = lanes(at, at + (end - start)[order])
    for number in range(int(lane.max(initial=0)) + 1):
        name = f"steps ({line.steps.evidence})" + (f", lane {number + 1}" if number else "")
        output.thread(process, first + number, name)
    for number, on, at_ns, length in rows_of(order, lane, at, (end - start)[order]):
        place = {"ph": "X", "cat": "tokprof_step", "pid": process, "tid": first + on}
        output.event(at_ns, length, name=f"{line.steps.phase[number] or 'step'} {number}", **place)
    return first + 1 + int(lane.max(initial=0))
