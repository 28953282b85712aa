"""The least time that a phase or a kernel could take on its device, and how far the measured time is from it.

The roofline model (Williams, Waterman and Patterson, CACM 2009) over a whole step: all its products at the device's
rate of products, or all the bytes that must cross the memory's interface at its bandwidth, whichever takes longer.
Only weights and cache count as bytes, because a fused step could keep everything else on the chip, and what fits into
the last cache is not asked of the memory: a floor is what no implementation in that dtype can undercut.

A kernel's floor is that of the operator's call that launched it: its own operands once, under the same rule for what
fits into the cache. So the kernels of a phase have floors that a fused step could undercut, and those of a model that
fits into the cache may together lie below the phase's, which reads all weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tokprof.models.cost import (
    DTYPE_BYTES,
    ModelShape,
    OperatorCost,
    call_cost,
    kv_bytes_per_token,
    step_cost,
    weight_bytes_per_token,
)
from tokprof.models.devices import Ceiling
from tokprof.profiler.analysis.profiled import ProfiledPhase, busy_share, category_shares, profiled_phases
from tokprof.profiler.errors import FileFormatError
from tokprof.profiler.record import (
    MEMORY_PROBES,
    Array,
    Calibration,
    GapOwner,
    KernelEvents,
    KernelLimit,
    Note,
    NoteLevel,
    PassKind,
    Phase,
    Probe,
    Run,
    StepKernels,
    StepLimits,
)

# A working set so many times the last cache is read from the memory, up to the share that stays in the cache.
MEMORY_OVER_CACHE = 4
LEAST_LEFT = 0.01  # of a time: less than that, left over by the medians of kernels, goes to the gaps
PROBE_FAILED = "probe-failed"  # code of the note of a calibration that lacks probes
BUSY_MACHINE = "busy-machine"  # code of the note of a calibration beside which other programs ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least time of some steps on a device."""

    flop_count: int
    byte_count: int  # of weights and cache
    compute_s: float | None  # None: nobody knows the device's rate in this dtype
    memory_s: float  # at the memory's bandwidth, less what the last cache holds, or at that cache's own
    cache_s: float  # of this, at the cache's
    floor_s: float

    @property
    def bound(self) -> str:
        """What takes longest: "compute", "memory", or "cache" where most of what is read could lie in it."""
        if self.compute_s is not None and self.compute_s > self.memory_s:
            return "compute"
        return "cache" if self.cache_s > self.memory_s / 2 else "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRoofline:
    """The whole of a phase beside its floor; who owns the gap is told of the steps that were profiled."""

    phase: Phase
    bound: str
    floor_ms: float
    time_ms: float
    flop_count: int
    byte_count: int
    mfu: float | None  # model FLOPs utilisation: of the device's measured rate of products in the model's dtype
    mbu: float  # model bandwidth utilisation: weights and cache over the measured bandwidth

    @property
    def gap_ms(self) -> float:
        """The measured time beyond the floor."""
        return self.time_ms - self.floor_ms


def disturbed(calibration: Calibration) -> bool:
    """Say whether other programs ran while the device was calibrated."""
    return any(note.code == BUSY_MACHINE for note in calibration.notes)


def below_floor(what: str) -> Note:
    """Return the note on a time that lies below its floor."""
    return Note(
        code="below-floor",
        message=f"{what} took less than its floor: the calibration found less than the device can do",
        advice="run `tokprof calibrate` again while nothing else runs",
    )


def no_floor(run: Run) -> Note | None:
    """Return the note on why a run has no floor, if it has none whatever its device can do."""
    model = run.model
    if model.shape is None:
        why = f"no floor for {model.architecture}: its cost formula is unknown, or was when this was recorded"
    elif model.dtype not in DTYPE_BYTES:
        why = f"no floor in {model.dtype}: known are {', '.join(DTYPE_BYTES)}"
    else:
        return None
    return Note(code="no-floor", message=why, level=NoteLevel.INFO)


def ceiling_of(calibration: Calibration) -> Ceiling:
    """Return what a calibrated device can do: the best attempt of the probes of each kind."""
    device = calibration.environment.device
    # Where other programs ran, threads waited for each other: together they can do at most what each can do alone.
    busy = disturbed(calibration)
    alone = (calibration.environment.thread_count or 1) if busy else 1

    def best(probe: Probe) -> float:
        return probe.best * (alone if probe.name.endswith(", one thread") else 1)

    reads = [probe for probe in calibration.probes if probe.name.startswith(MEMORY_PROBES)]
    if not reads:
        raise ValueError("a calibration without a memory probe")
    largest = max(_size(probe) for probe in reads)
    cache = calibration.cache_bytes or 0
    from_memory = [best(p) for p in reads if _size(p) >= min(largest, MEMORY_OVER_CACHE * cache or largest)]
    # By what fits into it; without the whole sweep nobody knows how fast it is, and a floor too high is none.
    lost = any(note.code == PROBE_FAILED and "memory" in note.message for note in calibration.notes)
    from_cache = [best(p) for p in reads if _size(p) <= cache and not lost]
    products: dict[str, float] = {}
    for probe in calibration.probes:
        if probe.name.startswith("matrix product") and probe.dtype is not None:
            products[probe.dtype] = max(best(probe), products.get(probe.dtype, 0.0))
    count = calibration.environment.thread_count if device.kind == "cpu" else None
    threads = "" if count is None else f", {count} thread{'s' * (count > 1)}"
    clocks = [float(np.median(probe.samples)) for probe in calibration.probes if probe.name == "SM clock"]
    return Ceiling(
        name=device.name,
        bandwidth_bytes_per_s=max(from_memory),
        flops_per_s=products,
        cache_bytes=cache,
        cache_bandwidth_bytes_per_s=max(from_cache, default=None),
        memory_bytes=device.memory_bytes,
        sm_clock_hz=clocks[0] if clocks else None,
        measured=True,
        source=f"measured on this device on {calibration.created[:10]}{threads}"
        + (", some probes of its memory failed" if lost else "")
        + (", whose cache could hold all that was read" if largest <= cache else "")
        + (", while other programs ran: calibrate again" if busy else ""),
    )


def floor_of(steps: Sequence[Sequence[OperatorCost]], ceiling: Ceiling, dtype: str) -> Floor:
    """Return the least time of steps that follow each other, each bound by itself."""
    compute_s = memory_s = cache_s = floor_s = 0.0
    flops = moved = 0
    for step in steps:
        products = sum(operator.flop_count for operator in step)
        size = sum(operator.weight_bytes + operator.cache_bytes for operator in step)
        computing, moving, cached = _least_s(products, size, ceiling, dtype)
        flops, moved = flops + products, moved + size
        compute_s, memory_s, floor_s = compute_s + computing, memory_s + moving, floor_s + max(computing, moving)
        cache_s += moving if cached else 0.0
    return Floor(
        flop_count=flops,
        byte_count=moved,
        compute_s=compute_s if ceiling.flops_per_s.get(dtype) else None,
        memory_s=memory_s,
        cache_s=cache_s,
        floor_s=floor_s,
    )


def _least_s(flop_count: int, byte_count: int, ceiling: Ceiling, dtype: str) -> tuple[float, float, bool]:
    """Return how long products and bytes take at least, and whether the latter is by the cache's bandwidth.

    Products in a dtype whose rate nobody knows take no time.
    """
    rate = ceiling.flops_per_s.get(dtype)
    moving = max(0, byte_count - ceiling.cache_bytes) / ceiling.bandwidth_bytes_per_s
    from_cache = byte_count / ceiling.cache_bandwidth_bytes_per_s if ceiling.cache_bandwidth_bytes_per_s else 0.0
    return flop_count / rate if rate else 0.0, max(moving, from_cache), from_cache > moving


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelFloors:
    """The floor of each kernel of a table, in its order."""

    floor_ns: Array  # NaN where nothing tells it
    computing: Array  # whether it is products that take so long

    def select(self, rows: Array) -> "KernelFloors":
        """Return the floors of some kernels."""
        return KernelFloors(floor_ns=self.floor_ns[rows], computing=self.computing[rows])

    def sums(self, measured_ns: Array, code: Array, count: int) -> Array:
        """Sum floors, floors of products, times of kernels with a floor and of all over groups, shape (4, count)."""
        known = ~np.isnan(self.floor_ns)
        floor_ns = np.where(known, self.floor_ns, 0.0)
        parts = (floor_ns, np.where(self.computing, floor_ns, 0.0), np.where(known, measured_ns, 0.0), measured_ns)
        return np.stack([np.bincount(code, weights=part, minlength=count) for part in parts])


def kernel_floors(kernels: KernelEvents | StepKernels, ceiling: Ceiling) -> KernelFloors:
    """Return the floor of each kernel by the operands of the operator's call that launched it.

    What several kernels of one call need together is divided among them by their durations.
    """
    floor_ns, computing = np.full(len(kernels), np.nan), np.zeros(len(kernels), dtype=bool)
    if kernels.call is None or kernels.shape is None:
        return KernelFloors(floor_ns=floor_ns, computing=computing)
    # What crosses the bus between host and device is not bound by the device's memory.
    on_bus = np.array(["HtoD" in name or "DtoH" in name for name in kernels.names] + [False])
    rows = np.flatnonzero((kernels.shape >= 0) & (kernels.call >= 0) & ~on_bus[kernels.name])
    wide = len(kernels.shapes)
    pairs, of = np.unique(kernels.operator[rows].astype(np.int64) * wide + kernels.shape[rows], return_inverse=True)
    limits = [_call_floor(kernels.operators[pair // wide], kernels.shapes[pair % wide], ceiling) for pair in pairs]
    _, call = np.unique(kernels.call[rows], return_inverse=True)
    duration = kernels.duration_ns[rows].astype(np.float64)
    whole = np.bincount(call.reshape(-1), weights=duration)[call.reshape(-1)] if len(rows) else duration
    share = np.divide(duration, whole, out=np.zeros(len(rows)), where=whole > 0)
    floor_ns[rows] = share * np.array([limit[0] for limit in limits], dtype=np.float64)[of.reshape(-1)]
    computing[rows] = np.array([limit[1] for limit in limits], dtype=bool)[of.reshape(-1)]
    return KernelFloors(floor_ns=floor_ns, computing=computing)


def kernel_limit(sums: Array, step_count: int = 1) -> KernelLimit | None:
    """Return the limit of a group from its sums over so many steps; ``None`` where no kernel has a floor.

    ``sums`` are a column of what :meth:`KernelFloors.sums` returns.
    """
    floor_ns, computing_ns, known_ns, whole_ns = sums.tolist()
    if not known_ns > 0:
        return None
    return KernelLimit(
        floor_us=floor_ns / step_count / 1e3,
        reached=floor_ns / whole_ns,
        bound="compute" if computing_ns > floor_ns / 2 else "memory",
        known_share=known_ns / whole_ns,
    )


def _call_floor(operator: str, shape: str, ceiling: Ceiling) -> tuple[float, bool]:
    """Return the floor of a call in nanoseconds, and whether compute binds it; NaN where nothing tells it."""
    try:
        sizes, strides, types = msgspec.json.decode(shape, type=tuple[list[list[Any]], list[list[Any]], list[str]])
    except msgspec.MsgspecError:
        return float("nan"), False
    cost = call_cost(operator, sizes, strides, types)
    if cost is None:
        return float("nan"), False
    computing, moving, _ = _least_s(cost.flop_count, cost.byte_count, ceiling, cost.dtype)
    return max(computing, moving) * 1e9, computing > moving


def phase_roofline(run: Run, phase: Phase, ceiling: Ceiling, *, time_ms: float) -> PhaseRoofline | None:
    """Put a phase's measured time beside its floor.

    ``None`` where the run does not hold the sizes of its model: an unknown family, or an older tokprof.
    """
    steps = _steps(run, phase)
    if not steps:
        return None
    floor, mfu, mbu = _beside_floor(run, steps, ceiling, time_ms)
    return PhaseRoofline(
        phase=phase,
        bound=floor.bound,
        floor_ms=floor.floor_s * 1e3,
        time_ms=time_ms,
        flop_count=floor.flop_count,
        byte_count=floor.byte_count,
        mfu=mfu,
        mbu=mbu,
    )


def step_limits(
    runs: Sequence[Run], phase: Phase, ceiling: Ceiling, *, time_ms: float, mean_sm_clock_mhz: float | None = None
) -> StepLimits | None:
    """Put the typical step, of ``time_ms``, beside its floor: the mean of the floors of the steps it is typical of.

    ``None`` where the run does not hold the sizes of its model, or no pass saw the kernels of steps with a clean time.
    """
    seen = profiled_phases(runs, phase)
    steps = _steps(runs[0], phase, seen[0].steps) if seen else []
    busy = busy_share(seen)[0]
    shares = None if busy is None else _kernel_shares(seen, busy)
    if not steps or busy is None or shares is None:
        return None
    floor, mfu, mbu = _beside_floor(runs[0], steps, ceiling, time_ms * len(steps))
    floor_ms = floor.floor_s * 1e3 / len(steps)
    clock_loss_ms = 0.0
    if floor.bound == "compute" and ceiling.sm_clock_hz and mean_sm_clock_mhz:
        clock_loss_ms = max(0.0, floor_ms * (ceiling.sm_clock_hz / (mean_sm_clock_mhz * 1e6) - 1.0))
    floors = _floor_shares(steps, floor.bound, eager=runs[0].model.attention == "eager")
    floors_ms = {name: floor_ms * share for name, share in floors.items()}
    owners = _owners(time_ms, busy, shares, floors_ms, clock_loss_ms)
    return StepLimits(
        floor_ms=floor_ms,
        time_ms=time_ms,
        bound=floor.bound,
        mfu=mfu,
        mbu=mbu,
        owners=tuple(sorted(owners, key=lambda owner: -owner.gap_ms)),
        source=ceiling.source,
    )


def compute_bound_batch(shape: ModelShape, ceiling: Ceiling, *, context_token_count: int, dtype: str) -> int | None:
    """Return the smallest batch whose decode step takes longer to compute than to read.

    ``None`` where none does: each sequence brings its own cache to read, which can outgrow what it computes.
    """

    def computes(batch_size: int) -> bool:
        step = step_cost(
            shape, batch_size=batch_size, token_count=1, context_token_count=context_token_count, dtype=dtype
        )
        return floor_of([step], ceiling, dtype).bound == "compute"

    low, high = 0, 1
    while not computes(high):  # once true it stays true: compute starts at nothing and grows the faster
        low, high = high, 2 * high
        if high > 2**24:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if computes(middle) else (middle, high)
    return high


def cache_equals_weights_context(shape: ModelShape, *, batch_size: int, dtype: str) -> int | None:
    """Return the context from which a decode step reads more of the KV cache than of weights.

    ``None`` where it never does: a window bounds what is read, or the state has a constant size.
    """
    row = kv_bytes_per_token(shape, dtype) * batch_size
    if not row:
        return None
    context = -(-weight_bytes_per_token(shape, dtype) // row)
    window = shape.window_token_count
    return None if window is not None and context > window - 1 else context


# ------------------------------------------------------------------------------------------------------------ details

_PRODUCTS, _ATTENTION, _OTHER = "matrix products", "attention", "other kernels"
_KERNEL_OWNERS = {"gemm": _PRODUCTS, "convolution": _PRODUCTS, "attention": _ATTENTION}


def _size(probe: Probe) -> int:
    return probe.working_set_bytes or 0


def _steps(run: Run, phase: Phase, numbers: Array | None = None) -> list[tuple[OperatorCost, ...]]:
    """Return the cost of every step of the first clean repetition of a phase that has any, or of these alone."""
    if no_floor(run) is not None:
        return []
    try:
        shape = msgspec.convert(run.model.shape, ModelShape)
    except (msgspec.ValidationError, ValueError) as error:
        raise FileFormatError(f"run {run.run_id}: key 'model.shape': {error}") from error
    spans = run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True)
    if numbers is not None:
        spans = spans.select(np.isin(spans.step, numbers))
    if not len(spans):
        return []
    first = spans.select(spans.repetition == spans.repetition[0])
    return [
        step_cost(
            shape,
            batch_size=run.cell.batch_size,
            # A decode step computes the whole batch, also for sequences that have ended and count no token.
            token_count=1 if phase is Phase.DECODE else tokens // run.cell.batch_size,
            context_token_count=context,
            dtype=run.model.dtype,
        )
        for tokens, context in zip(first.token_count.tolist(), first.context_token_count.tolist(), strict=True)
    ]


def _beside_floor(
    run: Run, steps: Sequence[Sequence[OperatorCost]], ceiling: Ceiling, time_ms: float
) -> tuple[Floor, float | None, float]:
    """Return the floor of some steps, and what share of the device's rates they reached, MFU and MBU."""
    floor = floor_of(steps, ceiling, run.model.dtype)
    rate = ceiling.flops_per_s.get(run.model.dtype)
    seconds = time_ms / 1e3
    mfu = floor.flop_count / seconds / rate if rate else None
    return floor, mfu, floor.byte_count / seconds / ceiling.bandwidth_bytes_per_s


def _kernel_shares(seen: Sequence[ProfiledPhase], busy_share: float) -> dict[str, float] | None:
    """Return each owner's share of the time; of kernels side by side a part of it. ``None`` without any kernel."""
    shares = {_PRODUCTS: 0.0, _ATTENTION: 0.0, _OTHER: 0.0}
    for category, share in category_shares(seen).items():
        shares[_KERNEL_OWNERS.get(category, _OTHER)] += share
    total = sum(shares.values())
    if not total:
        return None
    return {name: share * min(1.0, busy_share / total) for name, share in shares.items()}


def _floor_shares(steps: Sequence[Sequence[OperatorCost]], bound: str, *, eager: bool) -> dict[str, float]:
    """Divide the floor among the owners by what binds it; eager attention is made of matrix products."""
    shares = {_PRODUCTS: 0.0, _ATTENTION: 0.0, _OTHER: 0.0}
    for operator in (operator for step in steps for operator in step):
        owner = _KERNEL_OWNERS.get(operator.category, _OTHER)
        if owner == _ATTENTION and eager:
            owner = _PRODUCTS
        part = operator.flop_count if bound == "compute" else operator.weight_bytes + operator.cache_bytes
        shares[owner] += part
    total = sum(shares.values())
    return {name: value / total for name, value in shares.items()}


def _owners(
    time_ms: float, busy_share: float, shares: dict[str, float], floors_ms: dict[str, float], clock_loss_ms: float
) -> tuple[GapOwner, ...]:
    owners = []
    for name, share in shares.items():
        busy_ms, floor_ms = share * time_ms, floors_ms[name]
        if name == _PRODUCTS:
            clock_loss_ms = min(clock_loss_ms, max(0.0, busy_ms - floor_ms))
            busy_ms -= clock_loss_ms
        if not share and floor_ms:
            name += " (no kernel seen)"
        if busy_ms or floor_ms:
            owners.append(GapOwner(name=name, time_ms=busy_ms, floor_ms=floor_ms))
    if clock_loss_ms:
        owners.append(GapOwner(name="lower clock", time_ms=clock_loss_ms, floor_ms=0.0))
    if (left := busy_share - sum(shares.values())) > LEAST_LEFT:
        owners.append(GapOwner(name="in no kernel's median", time_ms=left * time_ms, floor_ms=0.0))
    else:
        busy_share -= left
    owners.append(GapOwner(name="gaps between kernels", time_ms=(1.0 - busy_share) * time_ms, floor_ms=0.0))
    return tuple(owners)
