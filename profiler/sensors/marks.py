"""Which measured spans were disturbed: clocks held down, another process on the device, a contended host.

Marked spans are kept and counted, never dropped. A span outside all samples is not marked: nothing is known of it.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np

from tokprof.profiler.record import Array, HostSamples, Mark, Note, PowerSamples
from tokprof.profiler.sensors.nvml import COSTLY_REASONS, reason_names

# /proc counts in ticks of 10 ms, so rates are taken over at least this long: one tick of one core in it is under 1 %.
RATE_WINDOW_NS = 1_000_000_000

# A hypervisor that gives one hundredth of the cores' time to others costs as much, on average, and more in its tail.
STEAL_SHARE = 0.01

# Share of the threads' running and waiting time that they waited for a core. A quiet 2-core machine with all cores
# computing showed 0.5 %, one competing process 36 %.
RUN_DELAY_SHARE = 0.03

# Involuntary switches of the measured process, per second and core. A quiet 2-core machine
# with all cores computing showed 20, one competing process 100.
INVOLUNTARY_PER_S_AND_CORE = 60.0

# Other processes' CPU time matters when it is more than the kernel's housekeeping and the cores are nearly all taken.
FOREIGN_CORES = 0.15
BUSY_SHARE = 0.90

# Share of the time between two samples in which the driver held the clocks down, by its own counters.
HELD_DOWN_SHARE = 0.01

# A span farther than this from the samples around it says nothing about them.
REACH_NS = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Rates of the host around each of its samples; absent where a counter is."""

    time_ns: Array
    steal_share: Array | None = None  # of all cores' time
    run_delay_share: Array | None = None  # of the measured process's running and waiting time
    involuntary_per_s: Array | None = None
    foreign_cores: Array | None = None  # cores that other processes kept busy
    busy_share: Array | None = None  # of all cores

    def flags(self, core_count: int) -> Array:
        """Return which samples show a contended host."""
        bad = np.zeros(len(self.time_ns), dtype=bool)
        if self.steal_share is not None:
            bad |= self.steal_share > STEAL_SHARE
        if self.run_delay_share is not None:
            bad |= self.run_delay_share > RUN_DELAY_SHARE
        if self.involuntary_per_s is not None:
            bad |= self.involuntary_per_s > INVOLUNTARY_PER_S_AND_CORE * core_count
        if self.foreign_cores is not None and self.busy_share is not None:
            bad |= (self.foreign_cores > FOREIGN_CORES) & (self.busy_share > BUSY_SHARE)
        return bad


def contention(host: HostSamples, core_count: int) -> Contention:
    """Turn cumulative counters into rates, each over at least :data:`RATE_WINDOW_NS` around its sample."""
    time_ns = host.time_ns
    if len(time_ns) < 2:
        return Contention(time_ns=time_ns)
    low = np.searchsorted(time_ns, time_ns - RATE_WINDOW_NS // 2, side="right") - 1
    high = np.searchsorted(time_ns, time_ns + RATE_WINDOW_NS // 2, side="left")
    low, high = np.maximum(low, 0), np.minimum(high, len(time_ns) - 1)
    elapsed_ns = np.maximum(time_ns[high] - time_ns[low], 1)

    def per_second(counter: Array | None) -> Array | None:
        return None if counter is None else cast(Array, np.maximum(counter[high] - counter[low], 0) / elapsed_ns)

    steal, busy, own = per_second(host.steal_ns), per_second(host.busy_ns), per_second(host.process_cpu_ns)
    delay, switches = per_second(host.run_delay_ns), per_second(host.involuntary_switch_count)
    return Contention(
        time_ns=time_ns,
        steal_share=None if steal is None else steal / core_count,
        run_delay_share=None if delay is None or own is None else delay / np.maximum(delay + own, 0.01),
        involuntary_per_s=None if switches is None else switches * 1e9,
        foreign_cores=None if busy is None or own is None else np.maximum(busy - own, 0),
        busy_share=None if busy is None else busy / core_count,
    )


def throttled(power: PowerSamples) -> Array:
    """Return which samples show clocks held down, by the event reasons or by the cumulative counters."""
    bad = np.zeros(len(power), dtype=bool)
    if power.event_reasons is not None:
        bad |= (power.event_reasons & np.uint64(COSTLY_REASONS)) != 0
    elapsed_ns = np.maximum(np.diff(power.time_ns), 1)
    for counter in (power.power_cap_ns, power.thermal_ns):
        if counter is not None and len(counter) > 1:
            held = np.diff(counter) / elapsed_ns > HELD_DOWN_SHARE
            # The counter moved somewhere between the two samples.
            bad[1:] |= held
            bad[:-1] |= held
    return bad


def shared(power: PowerSamples) -> Array:
    """Return which samples show another process on the device."""
    if power.other_process_count is None:
        return np.zeros(len(power), dtype=bool)
    return cast(Array, power.other_process_count > 0)


def _touched(start_ns: Array, end_ns: Array, time_ns: Array, bad: Array) -> Array:
    """Return which spans have a bad sample inside, or right before or after them within reach."""
    if not len(time_ns) or not bad.any():
        return np.zeros(len(start_ns), dtype=bool)
    first = np.maximum(np.searchsorted(time_ns, start_ns, side="right") - 1, 0)
    last = np.minimum(np.searchsorted(time_ns, end_ns, side="left"), len(time_ns) - 1)
    # A neighbour out of reach does not count.
    first = np.where((time_ns[first] < start_ns - REACH_NS) & (first < last), first + 1, first)
    last = np.where((time_ns[last] > end_ns + REACH_NS) & (last > first), last - 1, last)
    near = (time_ns[first] >= start_ns - REACH_NS) & (time_ns[last] <= end_ns + REACH_NS) & (first <= last)
    running = np.concatenate(([0], np.cumsum(bad)))
    return cast(Array, near & (running[last + 1] - running[first] > 0))


def marks_for(
    start_ns: Array, end_ns: Array, power: PowerSamples | None, host: HostSamples | None, *, core_count: int
) -> Array:
    """Return the marks of some spans, as bits of :class:`Mark` (uint8).

    ``core_count`` is the number of cores of the whole machine: /proc's counters are sums over all of them.
    """
    marks = np.zeros(len(start_ns), dtype=np.uint8)
    if power is not None and len(power):
        marks[_touched(start_ns, end_ns, power.time_ns, throttled(power))] |= np.uint8(Mark.THROTTLED)
        marks[_touched(start_ns, end_ns, power.time_ns, shared(power))] |= np.uint8(Mark.SHARED_DEVICE)
    if host is not None and len(host) > 1:
        flags = contention(host, core_count).flags(core_count)
        marks[_touched(start_ns, end_ns, host.time_ns, flags)] |= np.uint8(Mark.CONTAMINATED)
    return marks


def marks_notes(
    marks: Array,
    power: PowerSamples | None = None,
    host: HostSamples | None = None,
    *,
    core_count: int = 1,
    unit: str = "repetitions",
) -> tuple[Note, ...]:
    """Say what the marks of some spans count, with what to do; with the samples, also the cause."""
    notes = []
    total = len(marks)

    def counted(mark: Mark) -> int:
        return int(((marks & mark) != 0).sum())

    def because(causes: list[str]) -> str:
        return f" ({', '.join(causes)})" if causes else ""

    if count := counted(Mark.THROTTLED):
        cause = because(_causes(power))
        notes.append(
            Note(
                code="throttled",
                message=f"clocks were held down during {count} of {total} {unit}{cause}; they are kept and marked",
                advice="lock the clocks below the cap (sudo nvidia-smi -lgc MHZ) and let the device cool",
            )
        )
    if count := counted(Mark.SHARED_DEVICE):
        notes.append(
            Note(
                code="shared-device",
                message=f"another process was on the device during {count} of {total} {unit}; they are kept and marked",
                advice="see nvidia-smi, and measure on a device of your own",
            )
        )
    if count := counted(Mark.CONTAMINATED):
        cause = because(_signs(contention(host, core_count), core_count) if host is not None else [])
        notes.append(
            Note(
                code="host-contended",
                message=f"the host was contended during {count} of {total} {unit}{cause}; they are kept and marked",
                advice="stop other work on this machine, or give torch fewer threads than there are cores",
            )
        )
    return tuple(notes)


def _causes(power: PowerSamples | None) -> list[str]:
    if power is None or power.event_reasons is None or not len(power):
        return []
    return reason_names(int(np.bitwise_or.reduce(power.event_reasons)) & COSTLY_REASONS)


def _signs(rates: Contention, core_count: int) -> list[str]:
    """Name the signs that passed their thresholds, with their largest value."""

    def largest(values: Array | None) -> float:
        return float(values.max()) if values is not None and len(values) else 0.0

    signs = []
    if (steal := largest(rates.steal_share)) > STEAL_SHARE:
        signs.append(f"{steal:.1%} of the time stolen by the hypervisor")
    if (delay := largest(rates.run_delay_share)) > RUN_DELAY_SHARE:
        signs.append(f"threads waited for a core {delay:.0%} of their time")
    if (switches := largest(rates.involuntary_per_s)) > INVOLUNTARY_PER_S_AND_CORE * core_count:
        signs.append(f"{switches:.0f} involuntary switches per second")
    if largest(rates.busy_share) > BUSY_SHARE and (foreign := largest(rates.foreign_cores)) > FOREIGN_CORES:
        signs.append(f"other processes used {foreign:.1f} cores")
    return signs
