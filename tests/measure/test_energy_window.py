"""When the energy counter's own period is measured, and how long a window it is given."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tokprof.profiler.measure import study, supervisor
from tokprof.profiler.measure.request import Message, Request
from tokprof.profiler.record import PassKind
from tokprof.profiler.sensors.samples import SampleLog


class Sampler:
    """Stands for the sampler's process, and keeps what it was asked for."""

    asked: dict = {}  # noqa: RUF012
    path = Path("samples.bin")

    def __init__(self, _pid, _path, **asked):
        Sampler.asked = asked

    def start(self):
        return self


@pytest.fixture
def session(monkeypatch, tmp_path):
    """Return a function that makes a session whose sampler is asked for."""
    monkeypatch.setattr(supervisor, "SamplerProcess", Sampler)

    def sampling(made):
        made.worker = SimpleNamespace(pid=1)
        assert made._start_sampler("GPU-1") == "yes"
        return made

    def profiling(*passes):
        request = Request(model="tiny-llama", passes=(PassKind.CLEAN, *passes))
        return sampling(supervisor._session(request, tmp_path, print))

    profiling.sampling = sampling
    return profiling


def test_the_counter_is_watched_only_where_energy_is_measured(session, tmp_path):
    session(PassKind.ENERGY)
    assert Sampler.asked["counter_period"]
    session(PassKind.KERNELS)
    assert not Sampler.asked["counter_period"]
    plain = supervisor.Session(request=None, module="", scratch=tmp_path, report=print, subject="a study")
    session.sampling(plain)
    assert issubclass(study._StudySession, supervisor.Session)
    assert not Sampler.asked["counter_period"]


@pytest.mark.parametrize(("period_ms", "answer"), [(None, "no"), (20, "2000000000"), (150, "15000000000"), (200, "no")])
def test_a_window_is_as_long_as_the_counter_wants_or_there_is_none(session, monkeypatch, period_ms, answer):
    period_ns = None if period_ms is None else period_ms * 1_000_000
    monkeypatch.setattr(supervisor, "read_samples", lambda _path: SampleLog(
        power=None, host=None, alignment=None, counter_period_ns=period_ns
    ))  # fmt: skip
    asking = session(PassKind.ENERGY)
    assert asking.instrument(Message(kind="want", text="energy")) == answer
    if period_ms != 200:
        assert asking.notes == []
        return
    (note,) = asking.notes
    assert note.code == "energy-refused"
    assert "moves every 200 ms and wants windows of 20.0 s, longer than the 15 s" in note.message
