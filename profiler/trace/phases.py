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
from tokprof.profiler.trace.repeats import repeating_block

STEP_LABEL = re.compile(r"tokprof\.(prefill|decode)#rep=(-?\d+)(?:,step=(\d+))?")
_SGLANG = re.compile(r"step\[(\w+)")
_VLLM = re.compile(r"execute_(?:\d+_)?context_(\d+)\(.*\)_generation_(\d+)\(")
_PROFILER_STEP = re.compile(r"ProfilerStep#?\d+")
_TRAINING = re.compile(r"backward|_bwd|_bw_|wgrad|_grad_|optimizer|adam|multi_tensor_apply", re.IGNORECASE)
# What only decoding runs: attention over a cache in parts, products with one row, the choice of a token.
_CACHE_ATTENTION = re.compile(r"split_?kv|flash_?decod|paged_?attention|batch_?decode|decode_attention", re.IGNORECASE)
_VECTOR_PRODUCT = re.compile(r"gemv|gemmSN|wvSplitK|LLMM1", re.IGNORECASE)
_CHOICE = re.compile(r"arg_?max|multinomial|(?<!up)(?<!re)(?<!down)(?<!sub)sampl", re.IGNORECASE)
# What a step does once: a repeated sequence without any of these may be a layer as well.
_ONCE = re.compile(
    f"{_CHOICE.pattern}|(?<!rotary_)(?<!rope_)embedding|embs_|index_?select|vectorized_gather|logit", re.IGNORECASE
)

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
    until_next: bool | None,
) -> Steps | None:
    """Give each launch the step in whose window it lies.

    ``until_next`` lets a step reach to the next one's start, so that what follows the annotated forward pass (LM head,
    sampling) belongs to it; ``None`` does so only where that is at most half as much work as the window holds.
    """
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
    if until_next is None:
        behind = known & (at >= 0) & ~inside
        own, more = (np.bincount(at[rows], minlength=len(windows)) for rows in (inside, behind))
        step = np.where(behind & (2 * more <= own)[np.maximum(at, 0)], at, step)
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
    repeats = np.array([phase is not Phase.PREFILL for phase in phases], dtype=bool)
    follows = np.zeros(count, dtype=bool)
    some = last >= 0
    both = some[1:] & some[:-1] & repeats[1:]
    idle, length = first[1:][both] - last[:-1][both], np.maximum(1, last - first)[1:][both]
    follows[1:][both] = idle <= MAXIMUM_IDLE * length
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
    return _assigned(windows, work, launched_ns, "annotations that say prefill or decode", 0.8, until_next=None)


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
    cached, vector, choice = (
        any(pattern.search(name) for name in names) for pattern in (_CACHE_ATTENTION, _VECTOR_PRODUCT, _CHOICE)
    )
    decoding = (cached or (vector and choice)) * (cached + vector + choice)
    if not training and not any(_ONCE.search(name) for name in names):
        return None  # the layers of one step repeat as well
    start, count = _turned(work, start, period)
    step = np.full(len(work), -1, dtype=np.int64)
    step[start : start + period * count] = np.repeat(np.arange(count), period)
    if training or not decoding:
        what = "a training step" if training else "nothing in it tells of decoding"
        evidence, confidence = f"a sequence of {period} kernels that repeats {count} times; {what}", 0.7
        phases: tuple[Phase | None, ...] = (None,) * count
    else:
        confidence = min(0.9, 0.5 + 0.1 * decoding + (0.1 if start >= period // 2 else 0.0))
        evidence = f"a sequence of {period} kernels that repeats {count} times, with kernels that only decoding runs"
        phases = (Phase.DECODE,) * count
        if period // 2 <= start <= 3 * period:  # as much work as one forward pass
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


def _turned(work: DeviceEvents, start: int, period: int) -> tuple[int, int]:
    """Return where the first whole step begins and how many there are: a repetition alone does not tell its beginning.

    A step ends with the choice of its token, and the device idles the longest before the next; where no kernel tells of
    that choice, the longest idling alone decides.
    """
    codes = work.name
    same = codes[start + period :] == codes[start:-period]
    differs = np.flatnonzero(~same)
    length = period + (int(differs[0]) if len(differs) else len(same))
    reach = np.maximum.accumulate(work.end_ns[start : start + length])
    idle = np.maximum(0, work.start_ns[start + 1 : start + length] - reach[:-1])
    idle = np.append(idle[period - 1 : period], idle)  # of the very first, that of the next of its kind
    whole = length // period * period
    before = np.median(idle[:whole].reshape(-1, period), axis=0)
    choosing = [bool(_CHOICE.search(work.names[code])) for code in codes[start : start + period]]
    if any(choosing):
        last = int(np.flatnonzero(choosing)[-1])
        places = (last + 1 + np.arange(max(1, period // 4))) % period
    else:
        places = np.arange(period)
    shift = int(places[int(np.argmax(before[places]))])
    return start + shift, (length - shift) // period


def _whole(work: DeviceEvents) -> Steps:
    return Steps(
        phase=(None,),
        start_ns=np.array([-1]),
        follows=np.array([False]),
        step_of_row=np.zeros(len(work), dtype=np.int64),
        evidence="no annotation, and nothing that repeats like steps: the whole time line as one step",
        confidence=0.0 if len(work) else 1.0,
    )
