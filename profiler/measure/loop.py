"""The one measuring loop. Everything timed anywhere in tokprof goes through :func:`repeat`.

A repetition is one prefill and the decode steps after it. Within either phase nothing synchronises, prints, allocates
for the instruments or talks to another process; that all happens between repetitions. Between prefill and decode, in
neither's time, the device is waited for, so that each phase begins on an idle one, and may read its own clock
(``Clock.between``).
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from tokprof.models.engine import Engine
from tokprof.profiler.measure.clocks import Clock, Instants
from tokprof.profiler.measure.stopping import StopLimits, StopState
from tokprof.profiler.record import (
    Array,
    ClockAlignment,
    ClockReadings,
    DecodeMode,
    Mark,
    PassKind,
    Phase,
    Spans,
    Stop,
    codes_of,
)

Scope = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What one repetition does."""

    mode: DecodeMode
    new_token_count: int  # the prefill samples the first; each decode step one more

    @property
    def step_count(self) -> int:
        """Decode steps at most: one fewer than the new tokens."""
        return self.new_token_count - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The instants of one repetition: the start, the end of prefill, the end of each decode step."""

    instants: Instants
    wanted_count: int  # tokens sampled until every sequence had ended; all of them if none had
    sampled_ids: list[list[int]]

    def phase_ns(self) -> dict[Phase, int]:
        """Return the time of each phase, without steps issued after the end."""
        start_ns, end_ns = self.instants.start_ns, self.instants.end_ns
        durations = {Phase.PREFILL: int(end_ns[0] - start_ns[0])}
        if self.wanted_count > 1:
            durations[Phase.DECODE] = int(end_ns[self.wanted_count - 1] - start_ns[1])
        return durations


def no_scope(_: str) -> AbstractContextManager[Any]:
    """Name nothing: the scope of the passes without a profiler."""
    return nullcontext()


def repeat(engine: Engine, clock: Clock, work: Workload, *, scope: Scope = no_scope, repetition: int = 0) -> Repetition:
    """Run one repetition and return its instants.

    ``scope`` names the prefill and every step for a profiler: ``tokprof.prefill#rep=R`` and
    ``tokprof.decode#rep=R,step=S``.
    """
    if work.mode is DecodeMode.GENERATE:
        return _generate(engine, clock, work, scope=scope, repetition=repetition)
    forced = work.mode is DecodeMode.TEACHER_FORCED
    if not forced:
        engine.watch(work.new_token_count)
    clock.begin(work.new_token_count + 1)
    clock.mark()
    with scope(f"tokprof.prefill#rep={repetition}"):
        token = engine.prefill()
    clock.mark()
    if work.step_count:
        clock.between()
    end = None if forced else engine.ended(token)
    for step in range(1, work.new_token_count):
        if end is not None:
            break
        with scope(f"tokprof.decode#rep={repetition},step={step}"):
            token = engine.decode(engine.forced(step - 1) if forced else token)
        clock.mark()
        if not forced:
            end = engine.ended(token)
    instants = clock.finish()
    return Repetition(
        instants=instants, wanted_count=_wanted(end, len(instants.host_ns) - 1), sampled_ids=engine.sampled_ids()
    )


def _generate(engine: Engine, clock: Clock, work: Workload, *, scope: Scope, repetition: int) -> Repetition:
    """Run the library's own loop; a step lasts from one forward's start to the next, its host work included."""
    clock.begin(work.new_token_count + 1)
    forwards = 0
    current = scope(f"tokprof.prefill#rep={repetition}")

    def on_forward() -> None:
        nonlocal forwards, current
        if forwards > 0:
            current.__exit__(None, None, None)
            clock.mark()
            if forwards == 1:
                clock.between()
            current = scope(f"tokprof.decode#rep={repetition},step={forwards}")
            current.__enter__()
        forwards += 1

    clock.mark()
    current.__enter__()
    try:
        engine.generate(work.new_token_count, on_forward)
    finally:
        current.__exit__(None, None, None)
    clock.mark()
    instants = clock.finish()
    return Repetition(instants=instants, wanted_count=len(instants.host_ns) - 1, sampled_ids=engine.sampled_ids())


_tracing_is_set_up = False  # in this process


def profiled(
    engine: Engine, clock: Clock, work: Workload, *, repetition_count: int, on_gpu: bool
) -> tuple[Any, list[Repetition]]:
    """Run repetitions under torch.profiler; return the profiler, whose trace is still to be exported, and the times."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    global _tracing_is_set_up
    if on_gpu:
        # CUPTI, once attached, would slow what is measured after this, such as the next shape's clean pass.
        os.environ.setdefault("TEARDOWN_CUPTI", "1")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    if not _tracing_is_set_up:
        # The first profile of a process sets up the tracing library; that is not part of any figure.
        with profile(activities=activities, record_shapes=True):
            repeat(engine, clock, Workload(mode=work.mode, new_token_count=min(2, work.new_token_count)))
        clock.begin(0)  # CUPTI detaches at the next call of the driver, and a profile begun before waits for that
        _tracing_is_set_up = True
    with profile(activities=activities, record_shapes=True) as profiler:  # by their shapes kernels have floors
        results = [
            repeat(engine, clock, work, scope=torch.profiler.record_function, repetition=index)
            for index in range(repetition_count)
        ]
    return profiler, results


def _wanted(end: int | None, sampled: int) -> int:
    return sampled if end is None else min(end, sampled)


@dataclass(slots=True)
class SpanBuilder:
    """Gathers repetitions into :class:`~tokprof.profiler.record.Spans`, and the clock alignments seen on the way."""

    engine: Engine
    byte_count: Callable[[Sequence[int]], list[int]] | None = None  # UTF-8 bytes of each token
    prompt_byte_count: int | None = None
    forced_ids: Sequence[int] = ()
    end_ids: Sequence[int] = ()
    alignments: list[ClockAlignment] = field(default_factory=list)
    _rows: dict[str, list[Any]] = field(default_factory=dict)
    _clocks: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def add(self, result: Repetition, *, pass_kind: PassKind, repetition: int, work: Workload, mark: int = 0) -> None:
        """Add the prefill and the decode steps of one repetition."""
        instants = result.instants
        batch = self.engine.batch_size
        count = len(instants.host_ns) - 1
        live = self._live(result, work, count)
        steps = np.arange(count)
        marks = np.where(steps >= result.wanted_count, mark | Mark.OVERRUN, mark)
        context = np.where(steps == 0, 0, self.engine.prompt_token_count + steps - 1)
        tokens = np.where(steps == 0, self.engine.prompt_token_count * batch, live.sum(axis=0))
        self._append(
            pass_kind=np.full(count, codes_of(pass_kind)),
            repetition=np.full(count, repetition),
            phase=np.where(steps == 0, codes_of(Phase.PREFILL), codes_of(Phase.DECODE)),
            step=steps,
            token_count=tokens,
            context_token_count=context,
            byte_count=self._bytes(result, work, live),
            host_start_ns=instants.host_start_ns,
            host_end_ns=instants.host_ns[1:],
            device_start_ns=instants.device_start_ns,
            device_end_ns=None if instants.device_ns is None else instants.device_ns[1:],
            mark=marks,
        )
        if instants.alignment is not None:
            self.alignments.append(instants.alignment)
        edges_ns = [instants.start_ns[0], *instants.end_ns]
        self._clocks += [
            (repetition, reading.step, int(edges_ns[reading.step + 1]), reading.duration_ns, reading.cycle_count)
            for reading in instants.sm_clocks
        ]

    def add_window(self, instants: Instants, *, phase: Phase, repetition: int, token_count: int) -> None:
        """Add one whole phase of the energy pass as a single row of step 0."""
        self._append(
            pass_kind=[codes_of(PassKind.ENERGY)],
            repetition=[repetition],
            phase=[codes_of(phase)],
            step=[0],
            token_count=[token_count],
            context_token_count=[0 if phase is Phase.PREFILL else self.engine.prompt_token_count],
            byte_count=None if self.byte_count is None else [-1],
            host_start_ns=instants.host_ns[:1],
            host_end_ns=instants.host_ns[1:],
            device_start_ns=None if instants.device_ns is None else instants.device_ns[:1],
            device_end_ns=None if instants.device_ns is None else instants.device_ns[1:],
            mark=[0],
        )

    def build(self) -> Spans:
        """Return every row so far."""
        columns: dict[str, Any] = {
            name: None if any(part is None for part in parts) else np.concatenate(parts)
            for name, parts in self._rows.items()
        }
        return Spans(**columns)

    def sm_clocks(self) -> ClockReadings | None:
        """Return every reading of the SM clock so far; ``None`` without any."""
        if not self._clocks:
            return None
        repetition, step, time_ns, duration_ns, cycle_count = np.array(self._clocks, dtype=np.int64).T
        return ClockReadings(
            repetition=repetition, step=step, time_ns=time_ns, duration_ns=duration_ns, cycle_count=cycle_count
        )

    def _append(self, **columns: Any) -> None:
        with interrupts_held():
            for name, values in columns.items():
                self._rows.setdefault(name, []).append(values)

    def _live(self, result: Repetition, work: Workload, count: int) -> Array:
        """Tell which sequences still ran in which span, shape (batch, count); the token that ends one is its last.

        A batch runs on until all have ended, and what it computes for those that have is nobody's token.
        """
        live = np.ones((self.engine.batch_size, count), dtype=bool)
        if work.mode is not DecodeMode.TEACHER_FORCED and count > 1:
            ended = np.isin(np.array(result.sampled_ids)[:, : count - 1], list(self.end_ids))
            live[:, 1:] = ~np.logical_or.accumulate(ended, axis=1)
        return live

    def _bytes(self, result: Repetition, work: Workload, live: Array) -> Any:
        """Bytes that each span's tokens stand for: the prompt's, then those of the token each step leads to."""
        if self.byte_count is None or self.prompt_byte_count is None:
            return None
        count = live.shape[1]
        rows = result.sampled_ids
        if work.mode is DecodeMode.TEACHER_FORCED:
            rows = [list(self.forced_ids[:count])] * self.engine.batch_size
        sizes = np.array([self.byte_count(row) for row in rows], dtype=np.int64)
        per_step = np.where(live, sizes[:, :count], 0).sum(axis=0)
        return np.concatenate([[self.prompt_byte_count * self.engine.batch_size], per_step[1:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanPass:
    """What the clean pass leaves: why it ended and how many repetitions count."""

    stop: Stop
    warm_up_count: int


def measure_clean(
    engine: Engine,
    clock: Clock,
    work: Workload,
    spans: SpanBuilder,
    limits: StopLimits,
    *,
    warm_up_count: int,
    on_repetition: Callable[[StopState], None] = lambda _: None,
) -> CleanPass:
    """Warm up, then repeat until a stop rule is met. Ctrl-C keeps the finished repetitions and re-raises if none is."""
    for index in range(warm_up_count):
        result = repeat(engine, clock, work, repetition=index - warm_up_count)
        spans.add(result, pass_kind=PassKind.CLEAN, repetition=index - warm_up_count, work=work, mark=Mark.WARM_UP)
    state = StopState(limits)
    stop: Stop | None = None
    try:
        while stop is None:
            result = repeat(engine, clock, work, repetition=state.count)
            host = result.instants.host_ns
            with interrupts_held():
                spans.add(result, pass_kind=PassKind.CLEAN, repetition=state.count, work=work)
                stop = state.add(result.phase_ns(), int(host[-1] - host[0]))
            on_repetition(state)
    except KeyboardInterrupt:
        if state.count == 0:
            raise
        stop = state.interrupted()
    return CleanPass(stop=stop, warm_up_count=warm_up_count)


@contextmanager
def on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a function take Ctrl-C for the length of the block; signals are the main thread's, so in others it is void.

    Masking the signal instead would leave it to torch's threads to take.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Put Ctrl-C off until the block has ended, so that nothing is left half done; a second Ctrl-C is not put off."""
    caught = 0

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal caught
        caught += 1
        if caught > 1:
            raise KeyboardInterrupt

    try:
        with on_interrupt(note):
            yield
    finally:
        if caught == 1:
            signal.raise_signal(signal.SIGINT)


def measure_energy(
    engine: Engine,
    clock: Clock,
    work: Workload,
    spans: SpanBuilder,
    *,
    window_ns: int,
    on_repetition: Callable[[], None] = lambda: None,
) -> None:
    """Repeat each phase by itself until it has filled ``window_ns``, for a counter that moves slowly.

    Only for teacher-forced work: the length of the other modes is not given, nor has the library's loop two phases.
    The decode steps of one window all start from a copy of the cache after prefill, so no prefill lies between them;
    only the copying does, and it is inside the window.
    """

    def prefill() -> int:
        engine.prefill()
        return engine.batch_size * engine.prompt_token_count

    def decode() -> int:
        engine.rewind()
        for step in range(1, work.new_token_count):
            engine.decode(engine.forced(step - 1))
        return engine.batch_size * work.step_count

    engine.prefill()
    engine.hold()
    try:
        for phase, once in ((Phase.PREFILL, prefill), (Phase.DECODE, decode)):
            if phase is Phase.DECODE and work.step_count == 0:
                continue
            repetition = 0
            elapsed_ns = 0
            while elapsed_ns < window_ns:
                clock.begin(2)
                clock.mark()
                token_count = once()
                clock.mark()
                instants = clock.finish()
                spans.add_window(instants, phase=phase, repetition=repetition, token_count=token_count)
                elapsed_ns += int(instants.host_ns[-1] - instants.host_ns[0])
                repetition += 1
                on_repetition()
    finally:
        engine.release()
