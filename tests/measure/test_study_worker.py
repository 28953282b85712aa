"""The measured process of a study on a GPU that is not there: what it asks of the clock, and what it traces."""

import gc
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokprof.models.loading import ModelSpec, load
from tokprof.profiler.measure import study_worker
from tokprof.profiler.measure.clocks import ClockReading, CudaClock, Instants
from tokprof.profiler.measure.schedule import units
from tokprof.profiler.record import DecodeMode, Note
from tokprof.profiler.studies import ArmRole, FinishedBlock, Header

sys.path.insert(0, str(Path(__file__).parents[1]))
from study_makers import plan_of

PROMPT, CONTENT = tuple(range(5, 25)), (30, 31, 32)


@dataclass
class Pipe:
    """What would go to the supervisor."""

    sent: list = field(default_factory=list)

    def send(self, kind, text="", *, detail="", **_progress):
        self.sent.append((kind, text, detail))

    def ask(self, text, *, detail=""):
        self.sent.append(("ask", text, detail))

    def of(self, text):
        return [detail for _, other, detail in self.sent if other == text]


class FakeClock(CudaClock):
    """A device whose every span lasts 10, of which its pause after prefill takes 4."""

    made: list = []  # noqa: RUF012

    def __init__(self, _device, probe=None):
        FakeClock.made.append(probe)
        self.probe, self.probe_failure, self.count = probe, "", 0

    def begin(self, _mark_count):
        self.count = 0

    def mark(self):
        self.count += 1

    def between(self):
        if self.probe == "breaks":
            self.probe, self.probe_failure = None, "driver gone"

    def finish(self):
        instants = 10 * np.arange(self.count, dtype=np.int64)
        steps = () if self.probe is None else (-1, 0, 2)
        readings = tuple(ClockReading(step=step, cycle_count=28_000, duration_ns=20_000) for step in steps)
        return Instants(host_ns=instants, device_ns=instants, pause_host_ns=3, pause_device_ns=4, sm_clocks=readings)


def plan():
    """Return a plan of one language, so of one block a process."""
    whole = plan_of(ArmRole.TUNED, process_count=2)
    (language, *_) = whole.languages
    items = tuple(item for item in whole.items if item.language == language.key)
    return replace(whole, languages=(language,), items=items)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measure process 1 of a study with a probe, or for a reason without; return the pipe and what was traced."""
    loaded = load(ModelSpec(name="tiny-llama", weights="random"))
    traced = []

    def run(*, device="cuda:0", probe="probe", unread=()):
        asked = plan()
        FakeClock.made = []
        monkeypatch.setattr(study_worker, "choose_device", lambda _asked: device)
        monkeypatch.setattr(study_worker, "device_uuid", lambda _device: "")
        monkeypatch.setattr(study_worker, "machine", lambda _device: study_worker.child_machine)
        monkeypatch.setattr(study_worker, "CudaClock", FakeClock)
        monkeypatch.setattr(study_worker, "clock_probe", lambda _device: (probe, list(unread)))
        monkeypatch.setattr(
            study_worker,
            "_loaded_arm",
            lambda plan, arm, _device, _channel: study_worker.LoadedArm(
                loaded=loaded,
                request=study_worker.arm_request(plan, arm),
                prompts=(PROMPT,) * len(plan.items),
                contents=(CONTENT,) * len(plan.items),
            ),
        )
        monkeypatch.setattr(
            study_worker,
            "_trace",
            lambda _arm, _item, _plan, clock, _file, *, on_gpu: traced.append((getattr(clock, "probe", None), on_gpu)),
        )
        unit = units(asked)[1]
        request = study_worker.StudyRequest(
            plan=asked, unit=unit, session=0, blocks=unit.blocks, traced_arms=(0, 1), traced_item=0
        )
        pipe = Pipe()
        try:
            study_worker.measure(request, tmp_path, pipe)
        finally:
            gc.unfreeze()
            gc.enable()
        return pipe, traced

    from tokprof.profiler.measure.child import machine

    monkeypatch.setattr(study_worker, "child_machine", machine("cpu"), raising=False)
    return run


def test_the_device_reads_its_clock_around_each_phase_and_every_process_is_traced_without_that(measured):
    pipe, traced = measured()
    (block,) = (msgspec.json.decode(detail, type=FinishedBlock) for kind, _, detail in pipe.sent if kind == "block")
    assert block.block.mode is DecodeMode.TEACHER_FORCED
    for sample in block.samples:
        assert (sample.pause_host_ns, sample.pause_device_ns) == (3, 4)
        assert sample.sm_clocks == ((28_000, 20_000),) * 3
        assert len(sample.device_ns) == 4  # the start, prefill, two steps
    assert FakeClock.made == ["probe", None]  # under the profiler no probe's kernel stands among the model's
    assert traced == [(None, True)] * 2
    assert pipe.of("note") == []
    assert pipe.of("trace") == ["0", "1"]


def test_a_clock_that_cannot_be_read_is_said_and_the_device_is_waited_for_all_the_same(measured):
    pipe, _ = measured(probe=None, unread=[Note(code="clock-unread", message="no triton")])
    (header,) = (msgspec.json.decode(detail, type=Header) for detail in pipe.of("header"))
    assert [note.message for note in header.notes] == ["no triton"]
    (block,) = (msgspec.json.decode(detail, type=FinishedBlock) for kind, _, detail in pipe.sent if kind == "block")
    assert {(sample.pause_host_ns, sample.pause_device_ns, sample.sm_clocks) for sample in block.samples} == {
        (3, 4, ())
    }


def test_a_probe_that_fails_in_the_middle_is_said_at_the_end(measured):
    pipe, _ = measured(probe="breaks")
    (note,) = (msgspec.json.decode(detail, type=Note) for detail in pipe.of("note"))
    assert note.code == "clock-unread"
    assert note.message.endswith("driver gone")


@pytest.mark.parametrize("device", ["cuda:0", "cpu"])
def test_on_a_gpu_no_sample_is_an_arm_s_first_at_its_length(measured, monkeypatch, device):
    calls = []

    class Watched(study_worker.TransformersEngine):
        def prefill(self):
            calls.append("prefill")
            return super().prefill()

        def decode(self, token):
            calls.append("step")
            return super().decode(token)

    monkeypatch.setattr(study_worker, "TransformersEngine", Watched)
    pipe, _ = measured(device=device)
    (block,) = (msgspec.json.decode(detail, type=FinishedBlock) for kind, _, detail in pipe.sent if kind == "block")
    arm_count, order = len(set(block.block.order)), block.block.order
    sample = ["prefill", "step", "step"]
    beforehand = ["prefill"] * (arm_count if device != "cpu" else 0)
    assert calls == sample * arm_count + beforehand + sample * len(order)


def test_on_a_cpu_only_the_first_process_is_traced(measured):
    pipe, traced = measured(device="cpu")
    assert traced == []
    assert pipe.of("trace") == []
    assert FakeClock.made == []
