"""What a device can do at best: its memory's bandwidth, matrix products, launches and clock, measured on it.

Every probe repeats one operation and gives the rate or the time of each attempt; nothing is averaged here. On a CPU
torch's operators are the library; on a GPU the vendor's library stands beside Triton kernels.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

_MB = 2**20
_SWEEP_BYTES = tuple(n * _MB for n in (1, 4, 16, 64, 256, 1024))
_CPU_SWEEP_BYTES = _SWEEP_BYTES[:-1]
_PART_BYTES = 16 * _MB  # of a working set on a CPU, read in one attempt
_CUDA_READ_BYTES = 512 * _MB  # of a launch that reads, at least
_SAMPLE_S = 0.002  # a sample is so long at least, by repetition, so that neither clock nor call counts
# Rows and width of products. On a CPU a few rows take other code than many do, and in float16 it is the faster.
_CPU_PRODUCTS = ((1, 1024), (8, 1024), (64, 1024), (256, 256), (512, 512), (1024, 1024), (2048, 2048))
_CUDA_PRODUCTS = ((2048, 2048), (4096, 4096), (8192, 8192))
_CUDA_PRODUCT_SIZE = 4096  # of the products in Triton, and of those that bring the device to its clock
_CUDA_PRODUCTS_AFTER = 500  # a tenth of a second and more, in which the driver is asked for its clock
_SLOW_S = 0.5  # a product that takes longer is not tried in a larger size


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Samples of one probe; see ``tokprof.profiler.record.Probe``."""

    name: str
    unit: str
    samples: tuple[float, ...]
    method: str
    dtype: str | None = None
    working_set_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Probes of one kind that could not be made to the end; what they had read before stands."""

    kind: str
    reason: str  # in one line


DriverClock = Callable[[], float | None]


def probes(
    device: str = "cpu", *, seconds: float = 0.5, driver_clock_hz: DriverClock = lambda: None
) -> Iterator[Reading | Failure]:
    """Measure a device, probe by probe; each tries for about ``seconds``. On a GPU a failure costs its own kind alone.

    Memory probes touch at most an eighth of the device's free memory, and less where that is too little. On a GPU
    ``driver_clock_hz`` is asked what the driver says of the SM clock, in Hz, while the device is at work; what it says
    once the work has ended is left out.
    """
    with _quiet_inference():
        if device.startswith("cuda"):
            yield from _cuda_probes(device, seconds, driver_clock_hz)
        else:
            yield from _cpu_probes(seconds)


def cache_bytes(device: str = "cpu") -> int | None:
    """Return the size of the last level of cache, as the driver or the kernel tells it; ``None`` where none does."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.append(int(text[:-1]) * {"K": 2**10, "M": _MB, "G": 2**30}[text[-1]])
    return max(sizes, default=None)


def _quiet_inference() -> Any:
    import torch

    return torch.inference_mode()


# ----------------------------------------------------------------------------------------------------------- any device


def _cpu_timer(call: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - started) / 1e9


def _event_pair() -> tuple[Any, Any]:
    import torch

    make: Any = torch.cuda.Event  # untyped in torch
    return make(enable_timing=True), make(enable_timing=True)


def _cuda_timer(call: Callable[[], object], repeats: int) -> float:
    begin, end = _event_pair()
    call()  # on an idle device the beginning would be noted at once, and the first launch be timed with the work
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


Timer = Callable[[Callable[[], object], int], float]


def _rates(call: Callable[[], object], work: float, timer: Timer, seconds: float) -> tuple[float, ...]:
    """Return ``work`` over the time of one call, for as many samples as ``seconds`` hold, three at least."""
    call()
    once = timer(call, 1)
    repeats = max(1, round(_SAMPLE_S / max(once, 1e-9)))
    samples: list[float] = []
    ends = time.monotonic() + seconds
    while len(samples) < 3 or time.monotonic() < ends:
        samples.append(work * repeats / timer(call, repeats))
    return tuple(samples)


def _sweep(sizes: tuple[int, ...], free_bytes: int) -> list[int]:
    return [size for size in sizes if 8 * size <= free_bytes] or [sizes[0]]


def _products(
    device: str, dtypes: tuple[str, ...], shapes: tuple[tuple[int, int], ...], timer: Timer, seconds: float
) -> Iterator[Reading]:
    """Multiply ``rows`` rows by a square matrix of ``width`` by the library, as a linear layer does, shape by shape.

    A shape is left out where the rate of the one before says that it would take too long.
    """
    import torch

    for dtype in dtypes:
        kind = getattr(torch, "float32" if dtype == "tf32" else dtype)
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        rate = float("inf")
        try:
            for rows, width in shapes:
                flops = 2.0 * rows * width**2
                if flops / rate > _SLOW_S:
                    continue
                a, weight = (torch.randn(n, width, device=device).to(kind) for n in (rows, width))
                out = torch.empty_like(a)
                samples = _rates(partial(torch.mm, a, weight.t(), out=out), flops, timer, seconds)
                rate = max(samples)
                method = f"torch.mm of {rows} x {width} and {width} x {width}"
                yield Reading(name="matrix product", unit="FLOP/s", samples=samples, method=method, dtype=dtype)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed


# ------------------------------------------------------------------------------------------------------------------ CPU


def _cpu_probes(seconds: float) -> Iterator[Reading]:
    """Probe with all of torch's threads, and with one, which waits for no other where the machine is busy."""
    import os

    import torch

    timer = _cpu_timer
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    sizes = _sweep(_CPU_SWEEP_BYTES, free)
    row = torch.ones(1, 1024)
    for threads, method in _each_thread_count("a row times a matrix"):
        for size in sizes if threads > 1 else sizes[-1:]:
            # Part after part of the whole: an attempt is short enough to meet no other program, and finds its part
            # no more in the cache than one attempt over everything would.
            parts = torch.ones(size // 4).view(-1, 1024).chunk(-(-size // _PART_BYTES))
            turn = itertools.cycle(parts)
            read = lambda turn=turn: torch.nn.functional.linear(row, next(turn))  # noqa: E731 - next() at each call
            samples = _rates(read, min(size, _PART_BYTES), timer, seconds)
            name = "memory read" if threads > 1 else "memory read, one thread"
            yield Reading(name=name, unit="B/s", samples=samples, method=method, working_set_bytes=size)
    largest = sizes[-1]
    turn = itertools.cycle(torch.ones(largest // 4).chunk(-(-largest // _PART_BYTES)))
    samples = _rates(lambda: next(turn).sum(), min(largest, _PART_BYTES), timer, seconds)
    yield Reading(name="memory read", unit="B/s", samples=samples, method="torch.sum", working_set_bytes=largest)
    pairs = itertools.cycle(torch.ones(2, largest // 8).chunk(-(-largest // _PART_BYTES), dim=1))

    def copy() -> None:
        source, target = next(pairs)
        target.copy_(source)

    samples = _rates(copy, min(largest, _PART_BYTES), timer, seconds)
    method = "copy_, read and written bytes"
    yield Reading(name="memory copy", unit="B/s", samples=samples, method=method, working_set_bytes=largest)
    for threads, method in _each_thread_count(""):
        for reading in _products("cpu", ("float32", "bfloat16", "float16"), _CPU_PRODUCTS, timer, seconds):
            name = reading.name if threads > 1 else "matrix product, one thread"
            yield replace(reading, name=name, method=reading.method + method)
    one = torch.ones(1)
    samples = tuple(1 / rate for rate in _rates(lambda: one.add_(1), 1, timer, seconds / 5))
    yield Reading(name="operator call", unit="s", samples=samples, method="add_ of one element, back to back")
    yield Reading(name="clock step", unit="s", samples=_clock_steps(), method="perf_counter_ns, successive readings")


def _each_thread_count(method: str) -> Iterator[tuple[int, str]]:
    """Give the number of threads and the method's name, with all of torch's threads and, where these are more, one."""
    import torch

    threads = torch.get_num_threads()
    yield max(2, threads), method  # a machine of one thread has no other way, and is probed once
    if threads > 1:
        torch.set_num_threads(1)
        try:
            yield 1, f"{method}, one thread"
        finally:
            torch.set_num_threads(threads)


def _clock_steps(count: int = 100) -> tuple[float, ...]:
    steps: list[float] = []
    while len(steps) < count:
        first = now = time.perf_counter_ns()
        while now == first:
            now = time.perf_counter_ns()
        steps.append((now - first) / 1e9)
    return tuple(steps)


# ------------------------------------------------------------------------------------------------------------------ GPU


def _cuda_probes(device: str, seconds: float, driver_clock_hz: DriverClock) -> Iterator[Reading | Failure]:
    import torch

    dtypes = ("bfloat16", "float16", "tf32", "float32")
    kinds: dict[str, Iterator[Reading | Failure]] = {
        "launches": _cuda_launches(device),
        "memory, Triton": _triton_memory(device, seconds),
        "memory, torch": _torch_memory(device, seconds),
        "matrix products": _products(device, dtypes, _CUDA_PRODUCTS, _cuda_timer, seconds),
        "matrix products, Triton": _triton_products(device, seconds),
        "SM clock": _cuda_clock(device, driver_clock_hz),
    }
    for kind, readings in kinds.items():
        try:
            with torch.cuda.device(device):
                yield from readings
        except Exception as error:  # want of memory, or whatever a compiler or the driver raises
            yield Failure(kind=kind, reason=(str(error).strip() or type(error).__name__).splitlines()[0][:200])


def _cuda_launches(device: str, count: int = 200) -> Iterator[Reading]:
    """Launch the smallest kernel: alone until it is done, back to back, and nothing at all between two events."""
    import torch

    one = torch.ones(1, device=device)
    for _ in range(20):
        one.add_(1)
    torch.cuda.synchronize()
    latencies = []
    for _ in range(count):
        started = time.perf_counter_ns()
        one.add_(1)
        torch.cuda.synchronize()
        latencies.append((time.perf_counter_ns() - started) / 1e9)
    method = "add_ of one element, from the call until it is known to be done"
    yield Reading(name="launch latency", unit="s", samples=tuple(latencies), method=method)
    issued, ran = [], []
    for _ in range(20):
        begin, end = _event_pair()
        started = time.perf_counter_ns()
        begin.record()
        for _ in range(count):
            one.add_(1)
        end.record()
        issued.append((time.perf_counter_ns() - started) / 1e9 / count)
        end.synchronize()
        ran.append(float(begin.elapsed_time(end)) / 1e3 / count)
    method = f"{count} add_ of one element back to back"
    yield Reading(name="launch interval, host", unit="s", samples=tuple(issued), method=method)
    yield Reading(name="launch interval, device", unit="s", samples=tuple(ran), method=method)
    pairs = [_event_pair() for _ in range(count)]
    for begin, end in pairs:
        begin.record()
        end.record()
    torch.cuda.synchronize()
    empty = tuple(float(begin.elapsed_time(end)) / 1e3 for begin, end in pairs)
    yield Reading(name="event resolution", unit="s", samples=empty, method="two events with nothing between them")


def _cuda_sweep(device: str) -> list[int]:
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return _sweep(_SWEEP_BYTES, int(free))


def _triton_memory(device: str, seconds: float) -> Iterator[Reading]:
    import torch

    from tokprof.kernels import probe_kernels

    sizes = _cuda_sweep(device)
    largest = sizes[-1]
    for size in reversed(sizes):  # so that none of the cache alone is left where a probe fails
        # What the cache holds is read in microseconds: one launch reads it many times, or the launch would be timed.
        passes = max(1, _CUDA_READ_BYTES // size)
        source = torch.ones(size // 4, device=device)
        read = partial(probe_kernels.read, source, probe_kernels.read(source, passes=passes), passes)
        method = "Triton" if passes == 1 else f"Triton, {passes} times in one launch"
        samples = _rates(read, passes * size, _cuda_timer, seconds)
        yield Reading(name="memory read", unit="B/s", samples=samples, method=method, working_set_bytes=size)
    source, target = (torch.ones(largest // 8, device=device) for _ in range(2))
    samples = _rates(partial(probe_kernels.copy, source, target), largest, _cuda_timer, seconds)
    method = "Triton, read and written bytes"
    yield Reading(name="memory copy", unit="B/s", samples=samples, method=method, working_set_bytes=largest)


def _torch_memory(device: str, seconds: float) -> Iterator[Reading]:
    import torch

    largest = _cuda_sweep(device)[-1]
    source = torch.ones(largest // 4, device=device)
    samples = _rates(source.sum, largest, _cuda_timer, seconds)
    yield Reading(name="memory read", unit="B/s", samples=samples, method="torch.sum", working_set_bytes=largest)
    source, target = (torch.ones(largest // 8, device=device) for _ in range(2))
    samples = _rates(partial(target.copy_, source), largest, _cuda_timer, seconds)
    method = "copy_, read and written bytes"
    yield Reading(name="memory copy", unit="B/s", samples=samples, method=method, working_set_bytes=largest)
    host = torch.ones(min(largest, 256 * _MB) // 4)
    staged = torch.empty_like(host, device=device)
    for method, origin in (("pinned", host.pin_memory()), ("pageable", host)):
        byte_count = origin.numel() * 4
        call = partial(staged.copy_, origin, non_blocking=True)
        samples = _rates(call, byte_count, _cuda_timer, seconds)
        yield Reading(name="host to device", unit="B/s", samples=samples, method=method, working_set_bytes=byte_count)


def _triton_products(device: str, seconds: float) -> Iterator[Reading]:
    import torch

    from tokprof.kernels import probe_kernels

    size = _CUDA_PRODUCT_SIZE
    for dtype in ("bfloat16", "float16"):
        a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
        out = torch.empty_like(a)
        for tile in probe_kernels.PRODUCT_TILES:
            try:
                samples = _rates(
                    partial(probe_kernels.product, a, b, out, tile),
                    2.0 * size**3,
                    _cuda_timer,
                    seconds / 2,
                )
            except Exception as error:
                if "OutOfResources" not in type(error).__name__:
                    raise
                continue  # the tile wants more shared memory than this device has
            method = f"Triton, tiles of {tile[0]} x {tile[1]} x {tile[2]}, of {size} x {size} matrices"
            yield Reading(name="matrix product, Triton", unit="FLOP/s", samples=samples, method=method, dtype=dtype)


def _cuda_clock(device: str, driver_clock_hz: DriverClock, count: int = 20) -> Iterator[Reading | Failure]:
    """Read the SM clock from inside, right after products that bring the device to the clock it works at.

    Then the device goes on with such products while the driver is asked, so that both tell of the same load.
    """
    import torch

    from tokprof.kernels.launch import KernelError

    size = _CUDA_PRODUCT_SIZE
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    out = torch.empty_like(a)
    try:
        probe = ClockProbe(device, row_count=count)
    except KernelError:
        return  # a timer that stands still tells no clock
    driver_clock_hz()  # the first answer may take longer than the products do
    for row in range(count):
        for _ in range(10):
            torch.mm(a, a, out=out)
        probe.read(row)
    read, last = _event_pair()
    read.record()
    for _ in range(_CUDA_PRODUCTS_AFTER):
        torch.mm(a, a, out=out)
    last.record()
    read.synchronize()
    driver_hz = driver_clock_hz()
    in_time = not last.query()
    hertz = tuple(reading[0] / reading[1] * 1e9 for reading in probe.take() if reading is not None)
    if hertz:
        method = "cycles over nanoseconds, both read in a kernel"
        yield Reading(name="SM clock", unit="Hz", samples=hertz, method=method)
    if driver_hz is not None and in_time:
        yield Reading(name="SM clock, NVML", unit="Hz", samples=(driver_hz,), method="read under the same load")
    elif driver_hz is not None:
        yield Failure(kind="SM clock, NVML", reason="the driver answered when the load had ended")


class ClockProbe:
    """Lets a device read its own SM clock between other work, which waits no longer than the reading lasts.

    The kernel is compiled and run when the probe is made, so that a first reading takes no longer than others.

    Parameters
    ----------
    device
        A GPU; the readings are launched on the current stream of the current device.
    row_count
        Readings that can wait to be taken.

    Raises
    ------
    ImportError
        Triton is missing.
    KernelError
        The device's timer stands still.
    """

    def __init__(self, device: str, *, row_count: int = 3) -> None:
        import torch

        from tokprof.kernels import probe_kernels
        from tokprof.kernels.launch import KernelError

        self._launch = probe_kernels.clock
        self._least_ns = probe_kernels.CLOCK_WAIT_NS
        # Of four numbers to a row the last is idle: so every row begins at 16 bytes, and one kernel fits them all.
        self._table = torch.zeros(row_count, 4, dtype=torch.int64, device=device)
        self._rows = [row[:3] for row in self._table]
        self.read(0)
        if self.take()[0] is None:
            raise KernelError("the device's own timer stands still")

    def read(self, row: int) -> None:
        """Ask for a reading into one of the rows; nothing on the host waits for it."""
        self._launch(self._rows[row])

    def take(self) -> list[tuple[int, int] | None]:
        """Return the cycles and the nanoseconds of each row, ``None`` where the device's timer stood still."""
        return [(cycles, ns) if ns >= self._least_ns else None for cycles, ns, *_ in self._table.tolist()]
