"""Timing a kernel beside the library on a GPU, with the cache cold and warm; every sample is kept.

A kernel of a few microseconds is shorter than its launch from Python, so the clock must not see the launch. Each sample
therefore begins with a read of a large buffer, which also empties the cache; while the device is busy with it, the host
queues everything else. A sample for which the host came late is counted and left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tokprof.kernels.catalogue import Case
from tokprof.kernels.launch import Cost

DIFFERENCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}  # from float64, at most
_MOST_READS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Samples of one call in nanoseconds."""

    cold_ns: tuple[float, ...]  # nothing of its inputs in the cache
    warm_ns: tuple[float, ...]  # right after a call on the same inputs
    late_count: int  # samples left out because the host came late


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case: how far the kernel is from the reference, and its times beside the library's.

    A kernel whose numbers are wrong has no times.
    """

    case: Case
    cost: Cost
    difference: float
    allowed_difference: float
    kernel: Timing | None
    library: Timing | None


def measure(case: Case, dtype: torch.dtype, sample_count: int = 40) -> Measured:
    """Check a case against its float64 reference on the current CUDA device, and time it beside the library."""
    device = "cuda"
    trial = case.make(device, dtype)
    difference = trial.difference()
    right = difference <= DIFFERENCES[dtype]
    buffer = torch.ones(_buffer_bytes() // 4, device=device) if right else None
    return Measured(
        case=case,
        cost=trial.cost,
        difference=difference,
        allowed_difference=DIFFERENCES[dtype],
        kernel=_time(trial.run, buffer, sample_count) if buffer is not None else None,
        library=_time(trial.library, buffer, sample_count) if buffer is not None else None,
    )


def median_interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % interval by order statistics, for samples of one process."""
    ordered, count = sorted(samples), len(samples)
    half = 0.98 * count**0.5  # 1.96 standard deviations of a binomial with probability one half
    low = max(0, int(count / 2 - half))
    high = min(count - 1, int(count / 2 + half))
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return middle, ordered[low], ordered[high]


def _buffer_bytes() -> int:
    """Return several times the second-level cache, enough for a read of a tenth of a millisecond."""
    cache = int(torch.cuda.get_device_properties("cuda").L2_cache_size)
    return max(4 * cache, 512 * 2**20)


def _time(call: Callable[[], Any], buffer: torch.Tensor, sample_count: int) -> Timing:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    samples: dict[bool, list[float]] = {False: [], True: []}
    late, reads = 0, 1
    while min(map(len, samples.values())) < sample_count and late < sample_count:
        for warm in (False, True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            for _ in range(reads):
                buffer.sum()  # read, not written: nothing is left to be written back during the sample
            if warm:
                call()
            start.record()
            call()
            end.record()
            in_time = not start.query()  # type: ignore[no-untyped-call]  # the device has not come so far
            end.synchronize()
            if in_time:
                samples[warm].append(start.elapsed_time(end) * 1e6)
            else:
                late += 1
                reads = min(2 * reads, _MOST_READS)
    return Timing(cold_ns=tuple(samples[False]), warm_ns=tuple(samples[True]), late_count=late)
