"""Readings of /proc about real processes."""

import os
import subprocess
import sys
import threading
import time

import pytest

from tokprof.profiler.sensors.host import HostReader, HostReading, foreign_cores, process_alive

BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@pytest.mark.alone
def test_a_busy_process_is_seen_to_compute_and_a_sleeping_one_not() -> None:
    busy, idle = subprocess.Popen([sys.executable, "-c", BUSY]), subprocess.Popen(["sleep", "60"])
    try:
        readers = HostReader(busy.pid), HostReader(idle.pid)
        time.sleep(0.2)
        before = [reader.read() for reader in readers]
        time.sleep(1.0)
        after = [reader.read() for reader in readers]
    finally:
        for child in (busy, idle):
            child.kill()
            child.wait()
    spent = [b.process_cpu_ns - a.process_cpu_ns for a, b in zip(before, after, strict=True) if b.process_cpu_ns]
    assert spent[0] > 0.2e9  # the machine may be shared
    assert before[1].process_cpu_ns == after[1].process_cpu_ns
    assert before[0].busy_ns is not None
    assert after[0].busy_ns is not None
    assert after[0].busy_ns - before[0].busy_ns >= spent[0] - 0.05e9
    assert after[0].load_1min is not None
    assert after[0].steal_ns is not None


def test_crowding_shows_as_waiting_for_a_core_and_involuntary_switches() -> None:
    """Three busy processes on one core: each waits about two thirds of the time."""
    core = {sorted(os.sched_getaffinity(0))[0]}
    children = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(3)]
    try:
        for child in children:
            os.sched_setaffinity(child.pid, core)
        reader = HostReader(children[0].pid)
        time.sleep(0.3)
        before = reader.read()
        time.sleep(1.5)
        after = reader.read()
    finally:
        for child in children:
            child.kill()
            child.wait()
    if after.run_delay_ns is None or before.run_delay_ns is None:
        pytest.skip("this kernel keeps no schedstat")
    assert after.run_delay_ns - before.run_delay_ns > 0.5e9
    assert after.involuntary_switch_count is not None
    assert before.involuntary_switch_count is not None
    assert after.involuntary_switch_count - before.involuntary_switch_count > 20


def test_counters_keep_what_ended_threads_had() -> None:
    reader = HostReader(os.getpid())
    counts = []
    for _ in range(3):
        worker = threading.Thread(target=sum, args=(range(2_000_000),))
        worker.start()
        counts.append(reader.read())
        worker.join()
        counts.append(reader.read())
    for name in ("involuntary_switch_count", "run_delay_ns"):
        values = [getattr(count, name) for count in counts if getattr(count, name) is not None]
        assert values == sorted(values)


def test_a_process_that_is_gone_reads_as_absent() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    reading = HostReader(child.pid).read()
    assert reading.process_cpu_ns is None
    assert reading.involuntary_switch_count is None
    assert reading.run_delay_ns is None
    assert reading.busy_ns is not None


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["sleep", "60"])
    assert process_alive(child.pid)
    child.kill()
    deadline = time.monotonic() + 5
    while process_alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process_alive(child.pid)
    child.wait()
    assert not process_alive(child.pid)


def test_cores_that_others_use_leave_out_the_process_itself() -> None:
    before = HostReading(time_ns=0, busy_ns=1_000, process_cpu_ns=500)
    after = HostReading(time_ns=1_000, busy_ns=2_700, process_cpu_ns=1_300)
    assert foreign_cores(before, after) == pytest.approx(0.9)
    assert foreign_cores(before, HostReading(time_ns=1_000, busy_ns=1_100, process_cpu_ns=1_300)) == 0
    assert foreign_cores(before, HostReading(time_ns=1_000)) is None
