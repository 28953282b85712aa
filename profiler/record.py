"""Everything a measurement leaves behind, as immutable values.

Scalars live in frozen dataclasses, samples in :class:`Columns` (equally long numpy arrays). Every number's name ends in
its unit; times are integer nanoseconds; what was not measured is ``None``, never 0. Nothing here measures, reads files
or prints.

All ``*_ns`` instants of one run lie on one clock: the monotonic clock of the machine (``time.monotonic_ns``). What was
read on another clock (CUDA events, Kineto, py-spy) has been moved there, and the run's :class:`ClockAlignment` entries
say by how much and how exactly.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import IntEnum, IntFlag, StrEnum
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Phase(StrEnum):
    """The two halves of inference, measured apart."""

    PREFILL = "prefill"
    DECODE = "decode"


class DecodeMode(StrEnum):
    """Where the next token comes from."""

    TEACHER_FORCED = "teacher-forced"  # a given continuation; the sampler runs and its token is overridden
    NATURAL = "natural"  # the model's own tokens, until end-of-sequence
    GENERATE = "generate"  # the library's own generate()


class PassKind(StrEnum):
    """Passes over the same work, each under other instruments. Times come from ``CLEAN`` alone."""

    CLEAN = "clean"
    ENERGY = "energy"
    KERNELS = "kernels"
    STACKS = "stacks"


class StopRule(StrEnum):
    """Which rule ended the clean repetitions."""

    FIXED_COUNT = "fixed count"
    TIME_LIMIT = "time limit"
    PRECISION = "relative precision"
    NOISE_PLATEAU = "noise plateau"
    INTERRUPTED = "interrupted"


class Outcome(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"  # Ctrl-C: the finished repetitions are kept


class Mark(IntFlag):
    """Why a sample should be read with care. Marked samples are kept and counted; ``0`` is a clean sample."""

    WARM_UP = 1
    THROTTLED = 2  # the device reported a clock-event reason that costs performance
    SHARED_DEVICE = 4  # another process was on the device
    CONTAMINATED = 8  # the host was contended: stolen time, involuntary switches, foreign load
    OVERRUN = 16  # a step issued after end-of-sequence, before the host could know


class NoteLevel(StrEnum):
    """How much a note matters."""

    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the reader of a number must know, with what to do about it."""

    code: str  # stable and short, for tools: "nvml-absent"
    message: str
    advice: str = ""
    level: NoteLevel = NoteLevel.WARNING


# ---------------------------------------------------------------------------------------------------------- columns


def column(
    dtype: Any, *, vocabulary: str | type[StrEnum] | None = None, optional: bool = False, nullable: bool = False
) -> Any:
    """Declare a column of a :class:`Columns` class.

    ``vocabulary`` makes it a column of codes: into the field of that name (a tuple of strings) or into the members of a
    StrEnum in their order; one that is ``nullable`` may hold -1, for none. A missing optional column is ``None``.
    """
    metadata = {"dtype": np.dtype(dtype), "vocabulary": vocabulary, "optional": optional, "nullable": nullable}
    return field(default=None, metadata=metadata) if optional else field(metadata=metadata)


class Columns:
    """A table of equally long, read-only numpy arrays, one per field declared with :func:`column`."""

    __slots__ = ()

    def __post_init__(self) -> None:
        length: int | None = None
        for spec in column_fields(type(self)):
            values = getattr(self, spec.name)
            if values is None:
                if not spec.metadata["optional"]:
                    raise ValueError(f"{type(self).__name__}.{spec.name} is missing")
                continue
            array = np.ascontiguousarray(values, dtype=spec.metadata["dtype"])
            if array.ndim != 1:
                raise ValueError(f"{type(self).__name__}.{spec.name} has {array.ndim} dimensions, wants 1")
            if length is not None and len(array) != length:
                raise ValueError(f"{type(self).__name__}.{spec.name} has {len(array)} rows, others have {length}")
            length = len(array)
            if array.flags.writeable and array.base is None and array is not values:
                array.flags.writeable = False
            else:
                array = array.view()
                array.flags.writeable = False
            object.__setattr__(self, spec.name, array)

    def __len__(self) -> int:
        for spec in column_fields(type(self)):
            values = getattr(self, spec.name)
            if values is not None:
                return len(values)
        return 0

    def select(self, rows: Array | slice) -> Self:
        """Return the rows of a mask, of indices or of a slice; vocabularies are kept whole."""
        changed = {
            spec.name: values[rows]
            for spec in column_fields(type(self))
            if (values := getattr(self, spec.name)) is not None
        }
        kept = {f.name: getattr(self, f.name) for f in fields(cast(Any, self)) if f.name not in changed}
        return type(self)(**kept, **changed)

    @classmethod
    def concatenate(cls, parts: "list[Self]") -> Self:
        """Put tables of the same vocabularies below each other; a column absent in any part is absent."""
        if not parts:
            raise ValueError(f"no {cls.__name__} to put together")
        merged: dict[str, Any] = {}
        for spec in fields(cast(Any, cls)):
            values = [getattr(part, spec.name) for part in parts]
            if "dtype" in spec.metadata:
                absent = any(value is None for value in values)
                merged[spec.name] = None if absent else np.concatenate(values)
            else:
                if any(value != values[0] for value in values):
                    raise ValueError(f"{cls.__name__}.{spec.name} differs between the parts")
                merged[spec.name] = values[0]
        return cls(**merged)


def column_fields(table: type[Columns]) -> Iterator[Any]:
    """Yield the dataclass fields of a table that were declared with :func:`column`."""
    return (spec for spec in fields(cast(Any, table)) if "dtype" in spec.metadata)


def codes_of(member: StrEnum) -> int:
    """Return the code of an enum member in a column of its vocabulary."""
    return list(type(member)).index(member)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spans(Columns):
    """One row per prefill and per decode step, of every pass and repetition, in the order of time.

    In the energy pass, whose windows hold many steps, one row is a whole phase and its ``step`` is 0.

    ``host_*_ns`` is wall time as the host saw it; ``device_*_ns`` is time on the device by CUDA events, moved to the
    host's clock, and absent on a CPU, where both are one. Between two decode steps nothing synchronises, so on a GPU
    the host's steps show when work was *issued* and the device's steps when it *ran*.
    """

    pass_kind: Array = column(np.int8, vocabulary=PassKind)
    repetition: Array = column(np.int32)
    phase: Array = column(np.int8, vocabulary=Phase)
    step: Array = column(np.int32)  # 0 for prefill; 1, 2, ... for the decode steps
    token_count: Array = column(np.int32)  # computed for sequences that had not ended, over the whole batch
    context_token_count: Array = column(np.int32)  # tokens in each sequence's KV cache before the step
    byte_count: Array | None = column(np.int32, optional=True)  # UTF-8 bytes those tokens stand for; no tokenizer: none
    host_start_ns: Array = column(np.int64)
    host_end_ns: Array = column(np.int64)
    device_start_ns: Array | None = column(np.int64, optional=True)
    device_end_ns: Array | None = column(np.int64, optional=True)
    mark: Array = column(np.uint8)  # bits of Mark

    def of(self, *, pass_kind: PassKind | None = None, phase: Phase | None = None, counted: bool = False) -> "Spans":
        """Return the rows of one pass and phase; ``counted`` leaves out warm-up and overrun."""
        keep = np.ones(len(self), dtype=bool)
        if pass_kind is not None:
            keep &= self.pass_kind == codes_of(pass_kind)
        if phase is not None:
            keep &= self.phase == codes_of(phase)
        if counted:
            keep &= (self.mark & (Mark.WARM_UP | Mark.OVERRUN)) == 0
        return self.select(keep)

    @property
    def start_ns(self) -> Array:
        """When each span began: on the device where there is one, else on the host."""
        return self.host_start_ns if self.device_start_ns is None else self.device_start_ns

    @property
    def end_ns(self) -> Array:
        """When each span ended: on the device where there is one, else on the host."""
        return self.host_end_ns if self.device_end_ns is None else self.device_end_ns

    @property
    def duration_ns(self) -> Array:
        """How long each span took: on the device where there is one, else on the host."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelEvents(Columns):
    """What the device executed in the profiled pass: kernels and copies, or on a CPU the computing operators.

    ``step`` and ``repetition`` are those of :class:`Spans` (-1 outside any). Durations are those of the profiled pass.
    """

    name: Array = column(np.int32, vocabulary="names")
    category: Array = column(np.int8, vocabulary="categories")
    operator: Array = column(np.int32, vocabulary="operators")  # "" where no operator is known
    call: Array | None = column(np.int32, optional=True)  # the same for what one call of it launched; -1 unknown
    shape: Array | None = column(
        np.int32, vocabulary="shapes", optional=True, nullable=True
    )  # of that call; -1 unknown
    stream: Array = column(np.int32)
    repetition: Array = column(np.int32)
    phase: Array = column(np.int8, vocabulary=Phase, nullable=True)  # -1 outside both
    step: Array = column(np.int32)
    start_ns: Array = column(np.int64)
    duration_ns: Array = column(np.int64)
    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()  # as in HostEvents

    @property
    def end_ns(self) -> Array:
        """When each event ended."""
        return self.start_ns + self.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerSamples(Columns):
    """NVML readings of one device, in the order of time; a quantity the driver does not give is absent."""

    time_ns: Array = column(np.int64)
    power_mw: Array | None = column(np.int64, optional=True)
    energy_mj: Array | None = column(np.int64, optional=True)  # total since the driver was loaded
    sm_clock_mhz: Array | None = column(np.int32, optional=True)
    memory_clock_mhz: Array | None = column(np.int32, optional=True)
    temperature_c: Array | None = column(np.int32, optional=True)
    event_reasons: Array | None = column(np.uint64, optional=True)  # bits of nvmlClocksEventReasons
    power_cap_ns: Array | None = column(np.int64, optional=True)  # cumulative time below requested clocks, by cause
    thermal_ns: Array | None = column(np.int64, optional=True)
    other_process_count: Array | None = column(np.int32, optional=True)  # -1 where the driver did not tell
    power_source: str | None = None  # "instant", "average" or "usage (1 s average)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClockReadings(Columns):
    """The SM clock as the device itself counted it, beside the spans of the clean pass and in none of them.

    Cycles over nanoseconds is the clock in GHz. ``time_ns`` is the edge of the span that the reading stands beside.
    """

    repetition: Array = column(np.int32)  # as in Spans; below 0 in the warm-up
    step: Array = column(np.int32)  # of the span that it follows; -1 before prefill
    time_ns: Array = column(np.int64)
    duration_ns: Array = column(np.int64)  # that it lasted, by the device's own timer
    cycle_count: Array = column(np.int64)

    @property
    def clock_mhz(self) -> Array:
        """The clock of each reading."""
        return self.cycle_count / self.duration_ns * 1e3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostSamples(Columns):
    """Readings of the host beside the measured process; counters are cumulative."""

    time_ns: Array = column(np.int64)
    load_1min: Array | None = column(np.float32, optional=True)
    busy_ns: Array | None = column(np.int64, optional=True)  # CPU time of all processes, over all cores
    steal_ns: Array | None = column(np.int64, optional=True)  # CPU time the hypervisor gave to others
    process_cpu_ns: Array | None = column(np.int64, optional=True)  # CPU time of the measured process
    involuntary_switch_count: Array | None = column(np.int64, optional=True)  # of the measured process
    run_delay_ns: Array | None = column(np.int64, optional=True)  # its threads ready to run and waiting for a core


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostStacks(Columns):
    """Python stacks of the measured process, seen by py-spy from outside; consecutive equal stacks are one row."""

    time_ns: Array = column(np.int64)
    duration_ns: Array = column(np.int64)
    thread: Array = column(np.int32, vocabulary="threads")
    stack: Array = column(np.int32, vocabulary="stacks")
    threads: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()  # frames from the root, "function (file:line)", joined with ";"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InterpreterStacks(Columns):
    """How often py-spy saw each stack hold the interpreter lock.

    Operators release the lock while they compute, so these samples are the host's own work: Python, not the model.
    """

    stack: Array = column(np.int32, vocabulary="stacks")
    sample_count: Array = column(np.int64)
    stacks: tuple[str, ...] = ()  # as in HostStacks
    window_sample_count: int = 0  # samples the window would hold if the lock had been held all the time


# ----------------------------------------------------------------------------------------------------------- scalars


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAlignment:
    """How one source's clock was moved to the monotonic clock of the host."""

    source: str  # "cuda events", "kineto", "py-spy", "nvml"
    offset_ns: int  # added to the source's instants
    error_ns: int  # half-width: the true offset lies within offset_ns +- error_ns
    drift_ns: int | None = None  # change of the offset over the run, where two anchors were taken
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The machine part that computes: one GPU, or the CPU."""

    kind: str  # "cuda" or "cpu"
    name: str
    index: int = 0
    core_count: int | None = None  # streaming multiprocessors, or CPU cores this process may use
    memory_bytes: int | None = None
    capability: str | None = None  # "9.0"
    driver: str | None = None
    runtime: str | None = None  # CUDA version torch was built for
    uuid: str | None = None
    power_limit_mw: int | None = None
    max_sm_clock_mhz: int | None = None
    clocks_locked: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the software of a run."""

    device: Device
    system: str  # "Linux 6.1.0 x86_64"
    cpu: str
    cpu_count: int
    memory_bytes: int | None
    python: str
    libraries: tuple[tuple[str, str], ...]  # ("torch", "2.13.0+cpu"), sorted
    thread_count: int | None = None  # torch's intra-op threads
    governor: str | None = None  # cpufreq scaling governor
    container: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model that was loaded, as counted on it."""

    name: str
    architecture: str  # transformers' model_type: "llama", "gpt_bigcode"
    source: str  # "zoo", "hub", "folder", "gguf"
    weights: str  # "real" or "random"
    weights_digest: str  # of names, shapes and sampled values; the same weights give the same digest
    config_digest: str
    tokenizer_digest: str | None
    parameter_count: int
    vocabulary_count: int
    context_token_count: int
    dtype: str
    attention: str  # "sdpa", "eager", "flash_attention_2"
    weight_bytes_per_token: int  # read by one decode step
    kv_bytes_per_token: int  # one sequence's KV cache growth per token, in the cache's dtype
    adapter: str | None = None  # None, "merged" or "unmerged"
    adapter_digest: str | None = None
    adapter_name: str | None = None
    compiled: bool = False
    kernels: str = "eager"
    # The sizes that its cost follows from, fields of models.cost.ModelShape; None for a family without a formula.
    shape: dict[str, int | bool | str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The factor levels of a run: what was asked of which model."""

    model: str
    mode: DecodeMode
    batch_size: int
    prompt_token_count: int  # in each sequence
    new_token_count: int  # asked for, in each sequence
    prompt: str  # where it came from: a file's name, "stdin", "512 tokens"
    prompt_digest: str
    prompt_byte_count: int | None = None
    language: str | None = None
    arm: str | None = None  # "base", "tuned", "placebo": the study's word for the weights
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, wants 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over the work under one set of instruments."""

    kind: PassKind
    repetition_count: int  # without warm-up
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why the clean repetitions ended."""

    rule: StopRule
    repetition_count: int
    detail: str  # "the mean of decode within this process is known to the ±1.00% asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """The board's energy over repetitions of one phase; where it was refused it is None and ``reason`` says why."""

    phase: Phase
    window_ns: int
    repetition_count: int
    token_count: int
    energy_mj: float | None
    error_mj: float | None
    integrated_mj: float | None  # from power samples over the same window
    counter_period_ns: int | None
    source: str
    reason: str = ""

    def __post_init__(self) -> None:
        if self.energy_mj is None and not self.reason:
            raise ValueError("an absent energy wants a reason")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One process measuring one cell, with every raw sample."""

    run_id: str
    created: str  # UTC, ISO 8601
    command: tuple[str, ...]
    tokprof_version: str
    outcome: Outcome
    cell: Cell
    model: ModelFacts
    environment: Environment
    stop: Stop
    passes: tuple[Pass, ...]
    spans: Spans
    power: PowerSamples | None = None
    sm_clocks: ClockReadings | None = None
    host: HostSamples | None = None
    kernels: KernelEvents | None = None
    stacks: HostStacks | None = None  # of every active thread
    interpreter_stacks: InterpreterStacks | None = None
    energies: tuple[Energy, ...] = ()
    alignments: tuple[ClockAlignment, ...] = ()
    notes: tuple[Note, ...] = ()
    process_index: int = 0

    def __post_init__(self) -> None:
        if not any(p.kind is PassKind.CLEAN for p in self.passes):
            raise ValueError("a run wants a clean pass")
        if self.outcome is Outcome.COMPLETE and self.stop.rule is StopRule.INTERRUPTED:
            raise ValueError("an interrupted run is not complete")


MEMORY_PROBES = ("memory read", "memory copy")  # how the names of those begin that give a bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Samples of one thing that a device can do, each the rate or the time of one attempt."""

    name: str  # "memory read", "matrix product", "launch latency", ...
    unit: str  # "B/s", "FLOP/s", "s" or "Hz"
    samples: tuple[float, ...]
    method: str  # what was run: "torch.mm of 2048 x 2048 matrices"
    dtype: str | None = None
    working_set_bytes: int | None = None  # of memory probes

    def __post_init__(self) -> None:
        least = 0.0 if self.unit == "s" else 1.0  # of bytes, products or cycles a second
        if not self.samples or not all(least <= sample < math.inf for sample in self.samples):
            raise ValueError(
                f"samples of {self.name!r} are {self.samples}, want some, of {least:g} {self.unit} or more"
            )

    @property
    def best(self) -> float:
        """The fastest sample: others shared the device with something."""
        return min(self.samples) if self.unit == "s" else max(self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one device with one driver can do, as measured on it."""

    created: str  # UTC, ISO 8601
    tokprof_version: str
    environment: Environment
    cache_bytes: int | None  # of its last level of cache
    probes: tuple[Probe, ...]
    notes: tuple[Note, ...] = ()


class EventKind(IntEnum):
    """What an event of a trace is, whatever vendor or version wrote it."""

    KERNEL = 0
    MEMCPY = 1
    MEMSET = 2
    COLLECTIVE = 3  # a communication kernel on the device
    DEVICE_SYNC = 4  # a row that says a stream or event was waited for; no work
    DEVICE_ANNOTATION = 5  # a user annotation as seen on the device
    RUNTIME = 6  # a CUDA/HIP runtime or driver call on the host
    OPERATOR = 7  # an ATen or other framework operator on the host
    ANNOTATION = 8  # a user annotation on the host
    PYTHON = 9  # a Python function on the host
    OVERHEAD = 10  # the profiler's own
    OTHER = 11


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostEvents(Columns):
    """The host's slices of a Chrome trace (complete events, and begin/end pairs joined), in the order of start.

    Instants are nanoseconds since :attr:`Trace.base_ns`, exact to the file's decimal figures (a fraction of a
    nanosecond is rounded half to even). ``-1`` is an identifier that the event does not carry.
    """

    kind: Array = column(np.int8)  # code of EventKind
    name: Array = column(np.int32, vocabulary="names")
    thread: Array = column(np.int32)  # index into Trace.threads
    start_ns: Array = column(np.int64)
    duration_ns: Array = column(np.int64)
    correlation: Array = column(np.int64)  # of runtime calls
    external: Array = column(np.int64)  # of operators and annotations
    # Of an operator's inputs; -1 unknown.
    shape: Array | None = column(np.int32, vocabulary="shapes", optional=True, nullable=True)
    names: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()  # JSON, [sizes, strides, types], each with an entry per argument of the operator

    @property
    def end_ns(self) -> Array:
        """When each event ended."""
        return self.start_ns + self.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceEvents(Columns):
    """The devices' slices of a Chrome trace, in the order of start; conventions as in :class:`HostEvents`."""

    kind: Array = column(np.int8)  # code of EventKind
    name: Array = column(np.int32, vocabulary="names")
    thread: Array = column(np.int32)  # index into Trace.threads
    start_ns: Array = column(np.int64)
    duration_ns: Array = column(np.int64)
    device: Array = column(np.int16)
    stream: Array = column(np.int64)
    correlation: Array = column(np.int64)
    external: Array = column(np.int64)
    graph_node: Array = column(np.int64)  # node or graph id of a CUDA/HIP graph replay
    byte_count: Array = column(np.int64)  # of copies and collectives
    launch: Array = column(np.int32)  # row of the HostEvents runtime call that launched it
    operator: Array = column(np.int32)  # row of the innermost HostEvents operator around the launch
    names: tuple[str, ...] = ()

    @property
    def end_ns(self) -> Array:
        """When each event ended."""
        return self.start_ns + self.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceCounters(Columns):
    """The samples of counter tracks (power, clocks, memory)."""

    name: Array = column(np.int32, vocabulary="names")
    time_ns: Array = column(np.int64)
    value: Array = column(np.float64)
    names: tuple[str, ...] = ()  # "GPU 0 power / mW": track and series


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceThread:
    """A row of the trace's own viewer: a host thread or a device stream."""

    process: str
    thread: str
    process_name: str = ""
    thread_name: str = ""
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCounts:
    """What became of every event of a file; nothing is lost unsaid.

    ``total`` is ``slices + pairs + instants + counters + flows + metadata`` and all that was rejected. ``linked`` and
    ``unlinked`` divide ``device_events``.
    """

    total: int = 0  # elements of the file's event list
    slices: int = 0
    pairs: int = 0  # of the slices, those joined of a begin and an end event
    device_events: int = 0
    linked: int = 0  # device events whose launching call was found
    unlinked: int = 0
    ambiguous: int = 0  # of the unlinked, those whose number calls of several processes bear
    graph_launched: int = 0
    overlapped: int = 0  # device events that start before the previous one of their stream ended
    instants: int = 0
    counters: int = 0
    flows: int = 0
    metadata: int = 0
    repaired: tuple[tuple[str, int], ...] = ()  # (what was mended, how often)
    rejected: tuple[tuple[str, int], ...] = ()  # (why, how often)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """A Chrome trace read into columns."""

    source: str
    digest: str  # of the file's bytes, as stored on disk
    base_ns: int  # instant of 0 of every *_ns column, on the file's own clock
    host: HostEvents
    device: DeviceEvents
    counters: TraceCounters
    instants: HostEvents  # of no duration
    threads: tuple[TraceThread, ...]
    counts: TraceCounts
    properties: tuple[tuple[str, str], ...] = ()  # the file's other top-level values, as JSON: deviceProperties, ...
    notes: tuple[Note, ...] = ()


# ---------------------------------------------------------------------------------------------- timelines compared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepKernels(Columns):
    """The device events of one typical prefill or decode step, in the order of start.

    Instants and durations are medians over the steps it stands for, instants counted from the step's start.
    """

    name: Array = column(np.int32, vocabulary="names")
    category: Array = column(np.int8, vocabulary="categories")
    operator: Array = column(np.int32, vocabulary="operators")  # "" where unknown
    call: Array | None = column(np.int32, optional=True)  # call and shape as in KernelEvents
    shape: Array | None = column(np.int32, vocabulary="shapes", optional=True, nullable=True)
    frame: Array = column(np.int32, vocabulary="frames")  # innermost Python frame of the launch; "" where unknown
    layer: Array = column(np.int32)  # 0, 1, ... where a repeating structure was found; -1 outside it
    stream: Array = column(np.int64)
    start_ns: Array = column(np.float64)
    duration_ns: Array = column(np.float64)
    gap_ns: Array = column(np.float64)  # idle time of the whole device right before it; 0 where it overlaps
    gap_cause: Array = column(np.int8, vocabulary="gap_causes")
    # Who owns the gap: the call that waited, the operator and frame the host was in, the copy, the other stream.
    gap_owner: Array | None = column(np.int32, vocabulary="gap_owners", optional=True)
    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    gap_causes: tuple[str, ...] = ()
    gap_owners: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TypicalStep:
    """The median step of a phase, kernel by kernel.

    ``samples_ns`` and ``gap_samples_ns`` hold the single steps behind the medians: shape (steps, kernels), only the
    steps with the same kernel sequence as the typical one; ``None`` where there was one step only. Of a run of several
    processes, times are means over processes and the samples are the processes' medians (``sample_unit``).
    """

    phase: Phase | None  # None: a repeated step, or the whole time line, of which nothing says what it is
    step_count: int  # steps of the phase that were seen
    sampled_step_count: int  # of these, steps with the typical kernel sequence
    wall_ns: float  # median time from a step's start to its end, gaps included
    busy_ns: float  # median time in which at least one kernel ran
    overlap_ns: float  # median time that kernels spent behind others: durations and gaps less the wall time
    kernels: StepKernels
    confidence: float  # 0 to 1: how surely these are steps of this phase
    evidence: str  # "tokprof slices", "vLLM annotations", "periodic kernel sequence"
    samples_ns: Array | None = None
    gap_samples_ns: Array | None = None
    wall_samples_ns: Array | None = None
    repetition_samples_ns: Array | None = None  # of one process at clean times: the median step of each repetition
    scale_error_ns: Array | None = None  # shape (kernels + 1,): what one standard error of the clean time moves each
    # kernel with its gap by, and, last, what ran side by side
    sample_unit: str = "step"  # or "process"
    profiled_ns: Array | None = None  # kernels' durations under the profiler, where they were put to the clean pass's
    word: str = "step of unknown phase"  # what to call it where it has no phase: "training step"
    time_of: str = ""  # which steps ``wall_ns`` is the median of, where it is not of those of the trace

    @property
    def measured_ns(self) -> Array:
        """How long each kernel took as it was measured."""
        return self.kernels.duration_ns if self.profiled_ns is None else self.profiled_ns

    @property
    def title(self) -> str:
        """What to call it: by its phase, else by what is known of it."""
        return self.word if self.phase is None else str(self.phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLimit:
    """A group of kernels beside its floor, the sum over the operators' calls that launched them."""

    floor_us: float  # in one step
    reached: float  # the share of the ceiling: the floor over the group's time as measured
    bound: str  # what most of the floor is made of: "compute" or "memory"
    known_share: float  # of that time, of kernels that have a floor; the floors of the rest are in neither

    @property
    def undercut(self) -> bool:
        """Whether the kernels that have a floor took less than it: then the ceiling is not one."""
        return self.reached > self.known_share


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """What one group of kernels contributes to the difference B - A of a phase, in nanoseconds per step.

    ``count_effect_ns + duration_effect_ns + kernel_set_effect_ns + gap_effect_ns`` is the line's whole difference.
    """

    key: str  # the operator, category, layer, kernel or frame
    a_count: float
    b_count: float
    a_ns: float
    b_ns: float
    a_gap_ns: float
    b_gap_ns: float
    count_effect_ns: float
    duration_effect_ns: float
    kernel_set_effect_ns: float  # kernels that only one side has
    gap_effect_ns: float
    low_ns: float | None = None  # 95 % interval of the whole difference, where repetitions exist
    high_ns: float | None = None
    verdict: str = "one sample"  # "effect", "noise", "inconclusive", "doubtful" (see PhaseDiff), or "one sample"
    a_limit: KernelLimit | None = None  # of runs on calibrated devices, where any kernel's floor is known
    b_limit: KernelLimit | None = None

    @property
    def finding(self) -> str:
        """The verdict in words: where most of an effect is idle time before the kernels, that is said."""
        if self.verdict == "one sample":
            return ""
        gaps = self.verdict == "effect" and abs(self.gap_effect_ns) > 0.5 * abs(self.difference_ns)
        return "effect, in gaps" if gaps else self.verdict

    @property
    def difference_ns(self) -> float:
        """The line's whole difference."""
        return self.count_effect_ns + self.duration_effect_ns + self.kernel_set_effect_ns + self.gap_effect_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class GapOwner:
    """A part of a step's measured time beside its part of the floor; the rest is its part of the gap."""

    name: str
    time_ms: float
    floor_ms: float

    @property
    def gap_ms(self) -> float:
        """What it costs beyond its floor."""
        return self.time_ms - self.floor_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """A step of a run beside its floor, the least time that its device could take for it; times are of one step."""

    floor_ms: float
    time_ms: float
    bound: str  # what the floor is made of: "compute", "memory" or "cache"
    mfu: float | None  # of the device's rate of products in the model's dtype; None where that was not measured
    mbu: float  # of its bandwidth
    owners: tuple[GapOwner, ...]  # of the time and of the floor, which both are the sums of theirs; largest gap first
    source: str  # of the device's figures: "measured on this device on 2030-01-02"

    @property
    def gap_ms(self) -> float:
        """The time beyond the floor; the owners' parts sum to it."""
        return self.time_ms - self.floor_ms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhaseDiff:
    """Two typical steps of one phase, aligned kernel by kernel.

    ``a_row`` and ``b_row`` have one entry per line of the alignment, in order: rows of the two kernel tables, -1 where
    one side has no counterpart. Ledgers sum to ``b.wall_ns - a.wall_ns`` up to ``residual_ns``. ``line_of`` has, for
    each ledger, the index of the ledger's line to which each line of the alignment belongs.
    """

    phase: Phase | None
    a: TypicalStep
    b: TypicalStep
    a_row: Array
    b_row: Array
    ledgers: tuple[tuple[str, tuple[LedgerLine, ...]], ...]  # ("category", lines), ("layer", lines), ...
    line_of: tuple[tuple[str, Array], ...]
    residual_ns: float
    doubts: tuple[str, ...] = ()  # why its lines are not to be relied on; what would be an effect is then "doubtful"
    disturbed: tuple[str, ...] = ()  # of these, why the whole difference is not, either
    a_limits: StepLimits | None = None  # of a run whose model and whose device's calibration are known
    b_limits: StepLimits | None = None

    @property
    def title(self) -> str:
        """What to call the two: their phase, else what is known of both."""
        return str(self.phase) if self.phase else self.a.title if self.a.title == self.b.title else "step"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimelineDiff:
    """Two timelines compared."""

    a_name: str
    b_name: str
    phases: tuple[PhaseDiff, ...]
    a_counters: TraceCounters | None = None
    b_counters: TraceCounters | None = None
    unlike: tuple[str, ...] = ()  # in what the two runs' work differs: "mode generate → natural"
    notes: tuple[Note, ...] = ()
