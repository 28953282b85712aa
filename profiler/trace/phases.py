"""Which stretches of a trace are prefill and which are decode steps; stated with evidence, never invented.

Evidence, the strongest first: tokprof's own step names; SGLang's and vLLM's annotations; annotations that say prefill
or decode; the profiler's own steps; the periodic structure of the kernel sequence. What nothing tells stays of unknown
phase (``None``), a training step among them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tokprof.profiler.record import Array, DeviceEvents, EventKind, Phase, Trace

STEP_LABEL = re.compile(r"tokprof\.(prefill|decode)#rep=(-?\d+)(?:,step=(\d+))?")
_SGLANG = re.compile(r"step\[(\w+)")
_VLLM = re.compile(r"execute_(?:\d+_)?context_(\d+)\(.*\)_generation_(\d+)\(")
_PROFILER_STEP = re.compile(r"ProfilerStep#?\d+")
_TRAINING = re.compile(r"backward|_bwd|_bw_|dgrad|wgrad|_grad_|optimizer|adam|multi_tensor_apply", re.IGNORECASE)
_DECODING = re.compile(r"gemv|splitkv|split_kv|paged_attention|decode|argmax|sampl|combine", re.IGNORECASE)

MINIMUM_PERIODS = 4  # of a sequence that is to be taken for steps
MAXIMUM_IDLE = 10.0  # longest gap between steps that follow each other, in steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Steps of a time line in the order of time, and for each device row the step it belongs to (-1: none).

    ``follows`` says whether a step comes right after the one before it, so that the gap between them is its own.
    """

    phase: tuple[Phase | None, ...]
    start_ns: Array  # when the host began it; -1 where only the device is known
    follows: Array
    step_of_row: Array
    evidence: str
    confidence: float

    def __len__(self) -> int:
        return len(self.phase)


def find_steps(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps:
    """Find the steps of a trace.

    ``work`` is the device work in the order of start, ``launched_ns`` the host instant of each launch (-1 if unknown).
    """
    for reader in (_own, _sglang, _vllm, _worded, _profiler_steps):
        found = reader(trace, work, launched_ns)
        if found is not None:
            return found
    return _periodic(work) or _whole(work)


# ------------------------------------------------------------------------------------------------------- annotations


def _annotations(
    trace: Trace, matches: Callable[[str], Phase | bool | None]
) -> Iterator[tuple[int, int, Phase | None]]:
    """Yield start, end and phase of the host annotations that a reader takes; it returns False for the others."""
    host = trace.host
    taken = {code: found for code, name in enumerate(host.names) if (found := matches(name)) is not False}
    rows = np.flatnonzero((host.kind == EventKind.ANNOTATION) & np.isin(host.name, list(taken)))
    reach = -1
    for row in rows:
        start, end = int(host.start_ns[row]), int(host.end_ns[row])
        if start < reach:
            continue  # inside another of the same kind
        reach = end
        phase = taken[int(host.name[row])]
        assert not isinstance(phase, bool)
        yield start, end, phase


def _assigned(
    windows: list[tuple[int, int, Phase | None]],
    work: DeviceEvents,
    launched_ns: Array,
    evidence: str,
    confidence: float,
    *,
    until_next: bool,
) -> Steps | None:
    """Give each launch the step in whose window it lies; ``until_next`` lets a step reach to the next one's start."""
    if not windows:
        return None
    starts = np.array([w[0] for w in windows], dtype=np.int64)
    ends = np.array([w[1] for w in windows], dtype=np.int64)
    if until_next:
        ends = np.append(starts[1:], np.iinfo(np.int64).max)
    known = launched_ns >= 0
    at = np.searchsorted(starts, launched_ns, side="right") - 1
    inside = known & (at >= 0) & (launched_ns < ends[np.maximum(at, 0)])
    step = np.where(inside, at, -1)
    # Work whose launch the trace lost runs in the order of its stream: it belongs where its predecessor does.
    lost = np.flatnonzero(~known)
    if len(lost) and inside.any():
        last_known = np.maximum.accumulate(np.where(known, np.arange(len(work)), -1))
        before = last_known[lost]
        step[lost] = np.where(before >= 0, step[np.maximum(before, 0)], -1)
        if (before < 0).any():
            step[lost[before < 0]] = step[np.flatnonzero(known)[0]]
    if not (step >= 0).any():
        return None
    phases = tuple(w[2] for w in windows)
    follows = _follows(phases, step, work)
    return Steps(
        phase=phases, start_ns=starts, follows=follows, step_of_row=step, evidence=evidence, confidence=confidence
    )


def _follows(phases: tuple[Phase | None, ...], step: Array, work: DeviceEvents) -> Array:
    """A decode step follows the step before it, unless the device idled for many steps between them."""
    count = len(phases)
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1, dtype=np.int64)
    rows = np.flatnonzero(step >= 0)
    np.minimum.at(first, step[rows], work.start_ns[rows])
    np.maximum.at(last, step[rows], work.end_ns[rows])
    length = np.maximum(1, last - first)
    follows = np.zeros(count, dtype=bool)
    for index in range(1, count):
        idle = first[index] - last[index - 1]
        repeats = phases[index] is not Phase.PREFILL
        follows[index] = repeats and last[index - 1] >= 0 and idle <= MAXIMUM_IDLE * length[index]
    return follows


def _own(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    def matches(name: str) -> Phase | bool:
        found = STEP_LABEL.fullmatch(name)
        return Phase(found[1]) if found else False

    windows = list(_annotations(trace, matches))
    return _assigned(windows, work, launched_ns, "tokprof's step names", 1.0, until_next=False)


def _sglang(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    phases = {"DECODE": Phase.DECODE, "EXTEND": Phase.PREFILL, "PREFILL": Phase.PREFILL}

    def matches(name: str) -> Phase | bool | None:
        found = _SGLANG.match(name)
        return phases.get(found[1].upper()) if found else False

    windows = list(_annotations(trace, matches))
    return _assigned(windows, work, launched_ns, "SGLang's annotations", 0.98, until_next=True)


def _vllm(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    def matches(name: str) -> Phase | bool | None:
        found = _VLLM.match(name)
        if not found:
            return False
        prefills, decodes = int(found[1]) > 0, int(found[2]) > 0
        return None if prefills == decodes else Phase.PREFILL if prefills else Phase.DECODE

    windows = list(_annotations(trace, matches))
    return _assigned(windows, work, launched_ns, "vLLM's annotations", 0.98, until_next=True)


def _worded(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    def matches(name: str) -> Phase | bool:
        lowered = name.lower()
        prefill, decode = "prefill" in lowered, "decode" in lowered
        return False if prefill == decode else Phase.PREFILL if prefill else Phase.DECODE

    windows = list(_annotations(trace, matches))
    return _assigned(windows, work, launched_ns, "annotations that say prefill or decode", 0.8, until_next=False)


def _profiler_steps(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    windows = list(_annotations(trace, lambda name: None if _PROFILER_STEP.fullmatch(name) else False))
    return _assigned(windows, work, launched_ns, "the profiler's steps, of unknown phase", 0.9, until_next=False)


# --------------------------------------------------------------------------------------------------------- structure


def _periodic(work: DeviceEvents) -> Steps | None:
    """Find a sequence of kernels that repeats right after itself."""
    found = repeating_block(work.name, minimum_count=MINIMUM_PERIODS)
    if found is None:
        return None
    start, period, count = found
    names = [work.names[code] for code in np.unique(work.name[start : start + period])]
    training = any(_TRAINING.search(name) for name in names)
    decoding = sum(bool(_DECODING.search(name)) for name in names)
    step = np.full(len(work), -1, dtype=np.int64)
    step[start : start + period * count] = np.repeat(np.arange(count), period)
    if training or not decoding:
        what = "a training step" if training else "nothing in it tells of decoding"
        evidence, confidence = f"a sequence of {period} kernels that repeats {count} times; {what}", 0.7
        phases: tuple[Phase | None, ...] = (None,) * count
    else:
        confidence = min(0.9, 0.5 + 0.1 * decoding + (0.1 if start > 0 else 0.0))
        evidence = f"a sequence of {period} kernels that repeats {count} times, with kernels that only decoding runs"
        phases = (Phase.DECODE,) * count
        if start >= period // 2:
            step = np.where(step >= 0, step + 1, -1)
            step[:start] = 0
            phases = (Phase.PREFILL, *phases)
    return Steps(
        phase=phases,
        start_ns=np.full(len(phases), -1, dtype=np.int64),
        follows=_follows(phases, step, work),
        step_of_row=step,
        evidence=evidence,
        confidence=confidence,
    )


def _whole(work: DeviceEvents) -> Steps:
    return Steps(
        phase=(None,),
        start_ns=np.array([-1]),
        follows=np.array([False]),
        step_of_row=np.zeros(len(work), dtype=np.int64),
        evidence="no annotation and no repetition: the whole time line as one step",
        confidence=0.0 if len(work) else 1.0,
    )


def repeating_block(codes: Array, *, minimum_count: int, minimum_share: float = 0.3) -> tuple[int, int, int] | None:
    """Find the block of codes that repeats right after itself and covers the most.

    Returns its start, its length and how often it stands there in a row; ``None`` where no block repeats
    ``minimum_count`` times over ``minimum_share`` of the sequence. Of blocks that cover about as much, the shortest
    wins.
    """
    count = len(codes)
    if count < 2 * minimum_count:
        return None
    best: tuple[int, int, int] | None = None
    covered = 0
    for period in _candidate_periods(codes, count // minimum_count):
        same = codes[period:] == codes[:-period]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.view(np.int8), [0]])))
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        if not len(starts):
            continue
        longest = int(np.argmax(lengths))
        repeats = int(lengths[longest]) // period + 1
        if repeats >= minimum_count and repeats * period > 1.05 * covered:
            best, covered = (int(starts[longest]), period, repeats), repeats * period
    return best if covered >= minimum_share * count else None


def _candidate_periods(codes: Array, longest: int) -> list[int]:
    """Return distances between occurrences of the same code, those that rare codes show first; ascending."""
    values, first, counts = np.unique(codes, return_index=True, return_counts=True)
    del first
    periods: set[int] = set()
    for code in values[np.argsort(counts)][:64]:
        places = np.flatnonzero(codes == code)
        if len(places) < 2:
            continue
        distances, often = np.unique(np.diff(places), return_counts=True)
        periods.update(distances[np.argsort(-often)][:4].tolist())
        # A code that stands several times in a block shows the block as a sum of its distances.
        for stride in range(2, min(9, len(places))):
            distances, often = np.unique(places[stride:] - places[:-stride], return_counts=True)
            periods.update(distances[np.argsort(-often)][:2].tolist())
    return sorted(p for p in periods if 1 <= p <= longest)
