"""Which stretches of a trace are prefill and which are decode steps; stated with evidence, never invented.

Evidence, the strongest first: tokprof's own step names; SGLang's and vLLM's annotations; annotations that say prefill
or decode; the profiler's own steps; the periodic structure of the kernel sequence. What nothing tells stays of unknown
phase (``None``), a training step among them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tokprof.profiler.record import Array, DeviceEvents, EventKind, HostEvents, Phase, Trace
from tokprof.profiler.trace.repeats import repeating_block

STEP_LABEL = re.compile(r"tokprof\.(prefill|decode)#rep=(-?\d{1,9})(?:,step=(\d{1,9}))?")
_SGLANG = re.compile(r"step\[(\w+)")
_VLLM = re.compile(r"execute_(?:\d+_)?context_(\d{1,9})\(.*\)_generation_(\d{1,9})\(")
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

TRAINING_STEP = "training step"
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
    word: str = "step of unknown phase"  # what to call those without a phase
    marked: bool = False  # tokprof's own: a prefill begins with the host's call, not with its first kernel

    def __len__(self) -> int:
        return len(self.phase)


def find_steps(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps:
    """Find the steps of a trace.

    ``work`` is the device work in the order of start, ``launched_ns`` the host instant of each launch (-1 if unknown).
    """
    for reader in (_own, _sglang, _vllm, _worded, _profiler_steps):
        found = reader(trace, work, launched_ns)
        if found is not None:
            break
    found = found or _periodic(work) or _whole(work)
    if any(note.code == "trace-truncated" for note in trace.notes):
        evidence = f"{found.evidence}; the trace breaks off, perhaps inside one"
        found = replace(found, evidence=evidence, confidence=0.5 * found.confidence)
    return found


# ------------------------------------------------------------------------------------------------------- annotations


_Window = tuple[int, int, Phase | None]
_NOWHERE = np.iinfo(np.int64).max


def _windows(
    trace: Trace, matches: Callable[[str], Phase | bool | None]
) -> tuple[list[_Window], dict[int, tuple[int, int]]]:
    """Return the annotations that a reader takes, and for those that the device's rows repeat, their range there.

    ``matches`` returns False for annotations that are not its own. Where only the device has them, the windows are the
    device's, and the second value holds them all.
    """
    host, device = _annotations(trace.host, matches), _annotations(trace.device, matches)
    if not host:
        windows = [(start, end, phase) for start, end, phase, _ in device]
        return windows, {number: (start, end) for number, (start, end, *_) in enumerate(device)}
    of = {key: (start, end) for start, end, _, key in device}
    ranges = {number: of[key] for number, (*_, key) in enumerate(host) if key in of}
    return [(start, end, phase) for start, end, phase, _ in host], ranges


def _annotations(
    events: HostEvents | DeviceEvents, matches: Callable[[str], Phase | bool | None]
) -> list[tuple[int, int, Phase | None, tuple[str, int]]]:
    """Return start, end, phase and identity of the annotations that a reader takes.

    On a device one annotation has a row per stream: these are put together.
    """
    kind = EventKind.ANNOTATION if isinstance(events, HostEvents) else EventKind.DEVICE_ANNOTATION
    taken = {code: found for code, name in enumerate(events.names) if (found := matches(name)) is not False}
    rows = np.flatnonzero((events.kind == kind) & np.isin(events.name, list(taken)))
    spans: dict[tuple[str, int], tuple[int, int, Phase | None]] = {}
    reach = -1
    for row in rows:
        start, end = int(events.start_ns[row]), int(events.end_ns[row])
        code = int(events.name[row])
        key = (events.names[code], int(events.external[row]))
        if key in spans and kind is EventKind.DEVICE_ANNOTATION and key[1] >= 0:
            start, end = spans[key][0], max(end, spans[key][1])
        elif (end if kind is EventKind.DEVICE_ANNOTATION else start + 1) <= reach:
            continue  # inside another of the same kind; of two steps, streams may overlap
        elif key in spans:
            key = (f"{key[0]} {row}", key[1])  # the same name again, without an identifier
        reach = max(reach, end)
        phase = taken[code]
        assert not isinstance(phase, bool)
        spans[key] = start, end, phase
    return [(start, end, phase, key) for key, (start, end, phase) in spans.items()]


def _assigned(
    found: tuple[list[_Window], dict[int, tuple[int, int]]],
    work: DeviceEvents,
    launched_ns: Array,
    evidence: str,
    confidence: float,
    *,
    until_next: bool | None,
) -> Steps | None:
    """Give each launch the step in whose window it lies; work whose launch the trace lost, by the device's own ranges.

    ``until_next`` lets a step reach to the next one's start, so that what follows the annotated forward pass (LM head,
    sampling) belongs to it; ``None`` does so only where that is at most half as much work as the window holds. What
    nothing ties to a step belongs to none.
    """
    windows, ranges = found
    if not windows:
        return None
    starts = np.array([w[0] for w in windows], dtype=np.int64)
    known = launched_ns >= 0
    if not known.any() and len(ranges) == len(windows):
        # The host is not in the trace: the device's own ranges stand for its windows.
        launched_ns, known = work.start_ns, np.ones(len(work), dtype=bool)
        starts = np.array([ranges[number][0] for number in range(len(windows))], dtype=np.int64)
        ends = np.array([ranges[number][1] for number in range(len(windows))], dtype=np.int64)
    else:
        ends = np.array([w[1] for w in windows], dtype=np.int64)
    if until_next:
        ends = np.append(starts[1:], _NOWHERE)
    at = np.searchsorted(starts, launched_ns, side="right") - 1
    inside = known & (at >= 0) & (launched_ns < ends[np.maximum(at, 0)])
    step = np.where(inside, at, -1)
    if until_next is None:
        behind = known & (at >= 0) & ~inside
        own, more = (np.bincount(at[rows], minlength=len(windows)) for rows in (inside, behind))
        step = np.where(behind & (2 * more <= own)[np.maximum(at, 0)], at, step)
    step = _with_lost(step, known, work, ranges, strict=until_next is False)
    taken = step >= 0
    if not taken.any():
        return None
    # Launches that the trace lost make it less sure what belongs to a step.
    confidence *= 1 - 0.5 * float((taken & ~known).sum() / taken.sum())
    phases = tuple(w[2] for w in windows)
    follows = _follows(phases, step, work)
    return Steps(
        phase=phases, start_ns=starts, follows=follows, step_of_row=step, evidence=evidence, confidence=confidence
    )


def _with_lost(
    step: Array, known: Array, work: DeviceEvents, ranges: dict[int, tuple[int, int]], *, strict: bool
) -> Array:
    """Give work whose launch the trace lost the step of the range on the device that holds it, else its predecessor's.

    A stream runs in order, so it belongs where its predecessor there does; before all of known launch, it was launched
    before the trace began and is of no step. ``strict``: a step ends with its range.
    """
    lost = np.flatnonzero(~known)
    if not len(lost) or not known.any():
        return step
    step = step.copy()
    queues = np.stack([work.device.astype(np.int64), work.stream], axis=1)[lost]
    for device, stream in np.unique(queues, axis=0).tolist():
        rows = np.flatnonzero((work.device == device) & (work.stream == stream))
        before = np.maximum.accumulate(np.where(known[rows], np.arange(len(rows)), -1))
        step[rows] = np.where(before >= 0, step[rows[np.maximum(before, 0)]], -1)
    for number, (start, end) in ranges.items():
        held = (work.start_ns[lost] >= start) & (work.end_ns[lost] <= end)
        if strict:
            step[lost[~held & (step[lost] == number)]] = -1
        step[lost[held]] = number
    return step


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

    found = _assigned(_windows(trace, matches), work, launched_ns, "tokprof's step names", 1.0, until_next=False)
    return None if found is None else replace(found, marked=True)


def _sglang(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    phases = {"DECODE": Phase.DECODE, "EXTEND": Phase.PREFILL, "PREFILL": Phase.PREFILL}

    def matches(name: str) -> Phase | bool | None:
        found = _SGLANG.match(name)
        return phases.get(found[1].upper()) if found else False

    return _assigned(_windows(trace, matches), work, launched_ns, "SGLang's annotations", 0.98, until_next=True)


def _vllm(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    def matches(name: str) -> Phase | bool | None:
        found = _VLLM.match(name)
        if not found:
            return False
        prefills, decodes = int(found[1]) > 0, int(found[2]) > 0
        return None if prefills == decodes else Phase.PREFILL if prefills else Phase.DECODE

    return _assigned(_windows(trace, matches), work, launched_ns, "vLLM's annotations", 0.98, until_next=True)


def _worded(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    def matches(name: str) -> Phase | bool:
        lowered = name.lower()
        prefill, decode = "prefill" in lowered, "decode" in lowered
        return False if prefill == decode else Phase.PREFILL if prefill else Phase.DECODE

    return _assigned(
        _windows(trace, matches), work, launched_ns, "annotations that say prefill or decode", 0.8, until_next=None
    )


def _profiler_steps(trace: Trace, work: DeviceEvents, launched_ns: Array) -> Steps | None:
    windows = _windows(trace, lambda name: None if _PROFILER_STEP.fullmatch(name) else False)
    found = _assigned(windows, work, launched_ns, "the profiler's steps", 0.9, until_next=False)
    if found is None:
        return None
    used = [work.names[code] for code in np.unique(work.name[found.step_of_row >= 0])]
    named = np.isin(trace.host.kind, (EventKind.OPERATOR, EventKind.ANNOTATION))
    used += [trace.host.names[code] for code in np.unique(trace.host.name[named])]
    return replace(found, word=TRAINING_STEP) if any(_TRAINING.search(name) for name in used) else found


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
    word = TRAINING_STEP if training else "step of unknown phase"
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
        word=word,
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
        evidence="no annotation, and nothing that repeats like steps",
        confidence=0.0 if len(work) else 1.0,
        word="the whole time line as one step",
    )
