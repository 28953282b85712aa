"""Which spans are marked, on samples made by hand."""

from typing import Any

import numpy as np
import pytest

from tokprof.profiler.record import HostSamples, Mark, PowerSamples
from tokprof.profiler.sensors.marks import marks_for, marks_notes

SECOND = 1_000_000_000
PERIOD = 50_000_000
TIMES = np.arange(0, 20 * SECOND, PERIOD)
STARTS = np.arange(0, 20) * SECOND + 100_000_000
ENDS = STARTS + 800_000_000  # twenty spans of 0.8 s, one in each second


def power(**columns: Any) -> PowerSamples:
    return PowerSamples(time_ns=TIMES, **columns)


def marked(mark: Mark, samples: PowerSamples | None = None, host: HostSamples | None = None) -> list[int]:
    marks = marks_for(STARTS, ENDS, samples, host, core_count=2)
    assert marks.dtype == np.uint8
    assert set(marks.tolist()) <= {0, int(mark)}
    return [int(row) for row in np.flatnonzero(marks)]


def at(second: float, value: int, otherwise: int = 0) -> Any:
    column = np.full(len(TIMES), otherwise, dtype=np.int64)
    column[int(second * SECOND) // PERIOD] = value
    return column


@pytest.mark.parametrize("bit", [0x4, 0x8, 0x10, 0x20, 0x40, 0x80])
def test_reasons_that_cost_performance_mark_the_span_they_lie_in(bit: int) -> None:
    assert marked(Mark.THROTTLED, power(event_reasons=at(5.5, bit).astype(np.uint64))) == [5]


@pytest.mark.parametrize("bit", [0x1, 0x2, 0x100])
def test_benign_reasons_mark_nothing(bit: int) -> None:
    assert marked(Mark.THROTTLED, power(event_reasons=np.full(len(TIMES), bit, dtype=np.uint64))) == []


def test_the_counters_catch_throttling_that_no_sample_saw() -> None:
    held = np.where(TIMES >= 7.5 * SECOND, PERIOD // 10, 0).cumsum() * (TIMES < 7.6 * SECOND)
    held = np.maximum.accumulate(held)
    reasons = np.zeros(len(TIMES), dtype=np.uint64)
    assert marked(Mark.THROTTLED, power(power_cap_ns=held, event_reasons=reasons)) == [7]
    assert marked(Mark.THROTTLED, power(thermal_ns=held)) == [7]
    assert marked(Mark.THROTTLED, power(thermal_ns=np.full(len(TIMES), 10**12))) == []


def test_a_short_span_between_two_samples_takes_the_neighbours_word() -> None:
    samples = power(event_reasons=at(5.5, 4).astype(np.uint64))
    before, after = 5.5 * SECOND - 20e6, 5.5 * SECOND + 20e6
    starts = np.array([before, after, 5.7 * SECOND]).astype(np.int64)
    assert marks_for(starts, starts + 1_000_000, samples, None, core_count=2).tolist() == [2, 2, 0]


def test_other_processes_mark_spans_and_unknown_ones_do_not() -> None:
    assert marked(Mark.SHARED_DEVICE, power(other_process_count=at(3.2, 1))) == [3]
    assert marked(Mark.SHARED_DEVICE, power(other_process_count=np.full(len(TIMES), -1))) == []


def test_spans_far_from_all_samples_are_not_marked() -> None:
    samples = PowerSamples(time_ns=TIMES[:3], event_reasons=np.full(3, 4, dtype=np.uint64))
    far = np.array([100 * SECOND])
    assert marks_for(far, far + SECOND, samples, None, core_count=2).tolist() == [0]
    assert marks_for(far[:0], far[:0], samples, None, core_count=2).tolist() == []


# ---------------------------------------------------------------------------------------------------------------- host

HOST_PERIOD = 200_000_000
HOST_TIMES = np.arange(0, 20 * SECOND, HOST_PERIOD)


def host(from_s: float = 10.0, to_s: float = 12.0, **rates: tuple[float, float]) -> HostSamples:
    """Make samples whose counters grow at the first rate, and between two instants at the second (per second)."""
    seconds = HOST_TIMES / SECOND
    inside = (seconds > from_s) & (seconds <= to_s)
    columns = {
        name: np.where(inside, crowded, quiet).cumsum() * (HOST_PERIOD / SECOND)
        for name, (quiet, crowded) in rates.items()
    }
    return HostSamples(time_ns=HOST_TIMES, **{name: values.astype(np.int64) for name, values in columns.items()})


@pytest.mark.parametrize(
    "rates",
    [
        {"steal_ns": (0, 0.1e9)},  # 5 % of two cores
        {"process_cpu_ns": (1.9e9, 1.5e9), "run_delay_ns": (0.01e9, 0.3e9)},
        {"involuntary_switch_count": (20, 300)},
        {"busy_ns": (1.9e9, 2.0e9), "process_cpu_ns": (1.9e9, 1.3e9)},
    ],
)
def test_each_sign_of_a_crowded_host_marks_its_spans(rates: dict[str, tuple[float, float]]) -> None:
    rows = marked(Mark.CONTAMINATED, host=host(**rates))
    assert {10, 11} <= set(rows) <= {9, 10, 11, 12}  # rates are taken over a second, so a neighbour may be touched


@pytest.mark.parametrize(
    "rates",
    [
        {"steal_ns": (0.005e9, 0.01e9)},  # under one hundredth of two cores
        {"process_cpu_ns": (1.9e9, 1.9e9), "run_delay_ns": (0.0, 0.02e9)},
        {"involuntary_switch_count": (20, 60)},
        {"busy_ns": (1.1e9, 1.6e9), "process_cpu_ns": (1.0e9, 1.0e9)},  # others compute, but there is a core for them
    ],
)
def test_what_a_quiet_host_shows_marks_nothing(rates: dict[str, tuple[float, float]]) -> None:
    assert marked(Mark.CONTAMINATED, host=host(**rates)) == []


def test_marks_add_up() -> None:
    samples = power(event_reasons=at(10.5, 4).astype(np.uint64), other_process_count=at(10.5, 1))
    marks = marks_for(STARTS, ENDS, samples, host(steal_ns=(0, 0.5e9)), core_count=2)
    assert marks[10] == Mark.THROTTLED | Mark.SHARED_DEVICE | Mark.CONTAMINATED


def test_no_samples_no_marks() -> None:
    assert marks_for(STARTS, ENDS, None, None, core_count=2).tolist() == [0] * 20
    assert marks_notes(np.zeros(20, dtype=np.uint8)) == ()


def test_notes_count_the_spans_and_name_the_causes() -> None:
    samples = power(event_reasons=at(10.5, 0x44).astype(np.uint64), other_process_count=at(3.5, 1))
    crowd = host(steal_ns=(0, 0.1e9), involuntary_switch_count=(10, 300))
    marks = marks_for(STARTS, ENDS, samples, crowd, core_count=2)
    notes = {note.code: note for note in marks_notes(marks, samples, crowd, core_count=2)}
    assert set(notes) == {"throttled", "shared-device", "host-contended"}
    assert "during 1 of 20 repetitions (power cap, hardware thermal slowdown)" in notes["throttled"].message
    assert "during 1 of 20" in notes["shared-device"].message
    assert "5.0% of the time stolen" in notes["host-contended"].message
    assert "300 involuntary switches per second" in notes["host-contended"].message
    assert all(note.advice for note in notes.values())
    assert {note.code for note in marks_notes(marks)} == set(notes)
