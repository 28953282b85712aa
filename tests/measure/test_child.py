"""The measured process: which device it takes, what it says when memory runs out, what it keeps when a pass fails."""

import gc
import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from tokprof.profiler.errors import MeasurementError  # noqa: E402
from tokprof.profiler.measure import supervisor, worker  # noqa: E402
from tokprof.profiler.measure.child import choose_device, clock_probe, model_spec, out_of_memory_explained  # noqa: E402
from tokprof.profiler.measure.clocks import CudaClock  # noqa: E402
from tokprof.profiler.measure.request import RAW_FOLDER, Request  # noqa: E402
from tokprof.profiler.measure.stopping import StopLimits  # noqa: E402
from tokprof.profiler.record import DecodeMode, NoteLevel, Outcome, PassKind, Phase, StopRule  # noqa: E402
from tokprof.profiler.store import load_run, load_runs, save_run  # noqa: E402

TINY = Request(
    model="tiny-llama",
    weights="random",
    device="cpu",
    prompt_token_count=16,
    new_token_count=4,
    stack_time_s=0.0,
    limits=StopLimits(repetition_count=2),
)


@pytest.fixture
def two_gpus(monkeypatch):
    """Let torch see two GPUs; return the list of those that were made the current one."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


@pytest.mark.parametrize(("asked", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_the_gpu_that_is_asked_for_becomes_the_current_one(two_gpus, asked, index):
    assert choose_device(asked) == f"cuda:{index}"
    assert two_gpus == [index]


@pytest.mark.parametrize("asked", ["cuda:2", "cuda:x", "cuda:-1", "cuda1x"])
def test_a_gpu_that_is_not_there_is_refused(two_gpus, asked):
    with pytest.raises(MeasurementError, match=f"--device {asked}: torch sees 2 CUDA devices here, cuda:0 to cuda:1"):
        choose_device(asked)
    assert two_gpus == []


def test_a_cpu_needs_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(MeasurementError, match="torch sees no CUDA device"):
        choose_device("cuda:0")


@pytest.mark.usefixtures("two_gpus")
def test_out_of_memory_on_a_gpu_tells_of_the_gpus_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(3.25e9), 10**11) if device == "cuda:0" else 0)
    request = Request(model="StarCoder2-3B", device="auto")
    with (
        pytest.raises(MeasurementError, match=r"on cuda:0 it wants 6\.1 GB of weights .* bfloat16; 3\.2 GB are free"),
        out_of_memory_explained(model_spec(request, choose_device(request.device))),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


class Supervisor:
    """The other end of the measured process's pipes: has every instrument, and an energy window of a millisecond."""

    def send(self, *_, **__):
        pass

    def ask(self, what, detail=""):
        del detail
        return "1000000" if what == "energy" else "yes"


@pytest.fixture
def measure(tmp_path):
    """Measure in this process, and give back what measuring takes of it."""
    before = signal.getsignal(signal.SIGINT)

    def once(request=TINY):
        worker.measure(request, tmp_path, Supervisor())
        return load_run(tmp_path / RAW_FOLDER)

    yield once
    signal.signal(signal.SIGINT, before)
    gc.enable()
    gc.unfreeze()


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


@pytest.mark.parametrize(
    ("name", "failed"),
    [("measure_energy", PassKind.ENERGY), ("profiled", PassKind.KERNELS), ("clock_marker", PassKind.STACKS)],
)
def test_a_later_pass_that_fails_costs_only_itself(measure, monkeypatch, name, failed):
    monkeypatch.setattr(worker, name, out_of_memory)
    run = measure()
    assert run.outcome is Outcome.COMPLETE
    assert len(run.spans.of(pass_kind=PassKind.CLEAN, phase=Phase.DECODE, counted=True)) == 2 * 3
    assert {made.kind for made in run.passes} == set(PassKind) - {failed}
    (note,) = [note for note in run.notes if note.code == "pass-failed"]
    assert note.message.startswith(f"the {failed} pass failed, so what it measures is absent: out of memory with tiny")


def test_a_clean_pass_that_fails_leaves_nothing(measure, monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "measure_clean", out_of_memory)
    with pytest.raises(MeasurementError, match="out of memory with tiny-llama"):
        measure()
    assert not (tmp_path / RAW_FOLDER).exists()


def test_a_process_that_fails_leaves_those_before_it(measure, monkeypatch, tmp_path):
    finished = measure(replace(TINY, passes=(PassKind.CLEAN,)))

    def once(request, folder, _report):
        if request.process_index == 2:
            raise MeasurementError("the measured process was killed")
        run = replace(finished, process_index=request.process_index)
        save_run(run, folder)
        return run

    monkeypatch.setattr(supervisor, "_measure_once", once)
    place = tmp_path / "run"
    assert len(supervisor.profile(TINY, place, process_count=5)) == 2
    first, second = load_runs(place)
    assert not [note for note in first.notes if note.code == "process-failed"]
    (note,) = [note for note in second.notes if note.code == "process-failed"]
    assert note.message == "process 3 failed, so 2 of 5 are all there is: the measured process was killed"
    assert sorted(path.name for path in place.iterdir()) == ["process-00", "process-01", "study.json"]


def test_a_first_process_that_fails_leaves_nothing(monkeypatch, tmp_path):
    def fail(*_):
        raise MeasurementError("the measured process was killed")

    monkeypatch.setattr(supervisor, "_measure_once", fail)
    with pytest.raises(MeasurementError, match="was killed"):
        supervisor.profile(TINY, tmp_path / "run", process_count=5)
    assert list(tmp_path.iterdir()) == []


def test_a_clean_pass_without_time_is_profiled_no_more_often(measure):
    short = StopLimits(time_limit_s=1e-6)
    run = measure(replace(TINY, limits=short, passes=(PassKind.CLEAN, PassKind.KERNELS)))
    assert run.stop.rule is StopRule.TIME_LIMIT
    assert [made.repetition_count for made in run.passes] == [1, 1]


class Keeper(Supervisor):
    """Takes finished cells as the supervisor does; answers the ``refused``th that no other may follow."""

    def __init__(self, folder, refused=0):
        self.folder = folder
        self.refused = refused
        self.runs = []

    def ask(self, what, detail=""):
        if what != "keep":
            return Supervisor.ask(self, what, detail)
        self.runs.append(detail or load_run(self.folder / RAW_FOLDER))
        shutil.rmtree(self.folder / RAW_FOLDER, ignore_errors=True)
        return None if len(self.runs) == self.refused else "yes"


SHAPES = replace(TINY, shapes=((1, 8), (2, 8), (1, 16)), passes=(PassKind.CLEAN,))


@pytest.mark.usefixtures("measure")  # gives back what measuring takes of this process
def test_several_shapes_are_measured_one_after_another(tmp_path):
    keeper = Keeper(tmp_path)
    worker.measure(SHAPES, tmp_path, keeper)
    assert [(run.cell.batch_size, run.cell.prompt_token_count) for run in keeper.runs] == [(1, 8), (2, 8), (1, 16)]
    for number, run in enumerate(keeper.runs, start=1):
        assert [note.message[:12] for note in run.notes if note.code == "one-of-several"] == [f"shape {number} of 3"]
    refusing = Keeper(tmp_path, refused=2)
    worker.measure(SHAPES, tmp_path, refusing)
    assert len(refusing.runs) == 2


@pytest.mark.usefixtures("measure")
def test_a_shape_that_does_not_fit_costs_only_itself(monkeypatch, tmp_path):
    clean = worker.measure_clean

    def too_large(engine, *words, **more):
        return out_of_memory() if engine.batch_size == 2 else clean(engine, *words, **more)

    monkeypatch.setattr(worker, "measure_clean", too_large)
    keeper = Keeper(tmp_path)
    worker.measure(SHAPES, tmp_path, keeper)
    first, failure, last = keeper.runs
    assert failure.startswith("out of memory with tiny-llama")
    assert first.outcome is last.outcome is Outcome.COMPLETE


@pytest.mark.parametrize(("limit", "repetitions", "steps"), [(1, 1, 1), (2, 2, 2), (5, 3, 3), (48, 3, 9)])
def test_the_kernel_pass_keeps_to_its_limit_of_steps(measure, limit, repetitions, steps):
    run = measure(replace(TINY, trace_step_limit=limit, passes=(PassKind.CLEAN, PassKind.KERNELS)))
    assert [made.repetition_count for made in run.passes if made.kind is PassKind.KERNELS] == [repetitions]
    assert len(run.spans.of(pass_kind=PassKind.KERNELS, phase=Phase.DECODE)) == steps


def test_a_failed_processs_words_are_kept_where_no_link_can_lie_in_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"tokprof-failure-{os.getpid()}.txt").symlink_to(victim)
    words = tmp_path / "stderr.txt"
    words.write_text("it broke")
    kept = [supervisor._keep_report(words) for _ in range(2)]
    assert victim.read_text() == "precious"
    assert kept[0] != kept[1]
    assert [path.read_text() for path in kept] == ["it broke"] * 2
    assert kept[0].stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [DecodeMode.NATURAL, DecodeMode.GENERATE])
def test_energy_is_refused_where_the_loop_would_be_another(measure, mode):
    run = measure(replace(TINY, mode=mode, passes=(PassKind.CLEAN, PassKind.ENERGY)))
    assert not len(run.spans.of(pass_kind=PassKind.ENERGY))
    assert [made.kind for made in run.passes] == [PassKind.CLEAN]
    (note,) = [note for note in run.notes if note.code == "energy-refused"]
    assert f"which {mode} mode does not have" in note.message
    assert ("natural-watch" in {note.code for note in run.notes}) == (mode is DecodeMode.NATURAL)


class HostCuda:
    """CUDA's events on the host's clock."""

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self, _stream):
            self.at_ns = time.monotonic_ns()

        def synchronize(self):
            pass

        def elapsed_time(self, other):
            return (other.at_ns - self.at_ns) / 1e6

    def synchronize(self, _device):
        pass

    def current_stream(self, _device):
        return None


class SlowProbe:
    """Stands in for the probe: 20 ms for a reading, which shows wherever it is not left out; it may fail to work."""

    fails_to = ""

    def __init__(self, device):
        assert device == "cuda:0"
        if self.fails_to == "import":
            raise ImportError("No module named 'triton'")
        if self.fails_to == "compile":
            raise RuntimeError("Failed to find C compiler\nlong story")

    def read(self, row):
        time.sleep(0.02)
        if self.fails_to == "launch" and row == 1:
            raise RuntimeError("Triton Error [CUDA]: invalid device context")

    def take(self):
        return [(35_100, 20_000)] * 3


@pytest.fixture
def played_gpu(monkeypatch):
    """Let the worker believe that the model, which runs on the CPU, runs on a GPU."""
    from tokprof.kernels import probes
    from tokprof.models import loading

    real_load, real_machine = loading.load, worker.machine
    monkeypatch.setattr(loading, "load", lambda spec, *more: real_load(replace(spec, device="cpu"), *more))
    monkeypatch.setattr(worker, "machine", lambda _: real_machine("cpu"))
    monkeypatch.setattr(worker, "choose_device", lambda _: "cuda:0")
    monkeypatch.setattr(worker, "device_uuid", lambda _: "")
    monkeypatch.setattr(worker, "CudaClock", partial(CudaClock, cuda=HostCuda()))
    monkeypatch.setattr(probes, "ClockProbe", SlowProbe)


PROBED = replace(TINY, passes=(PassKind.CLEAN, PassKind.ENERGY))


@pytest.mark.usefixtures("played_gpu")
def test_on_a_gpu_the_device_reads_its_clock_in_the_clean_pass_and_in_no_time(measure):
    run = measure(PROBED)
    assert run.sm_clocks.repetition.tolist() == [-1] * 3 + [0] * 3 + [1] * 3
    assert run.sm_clocks.step.tolist() == [-1, 0, 3] * 3
    assert set(run.sm_clocks.clock_mhz) == {1755.0}
    clean = run.spans.of(pass_kind=PassKind.CLEAN, counted=True)
    ends, starts = clean.end_ns[clean.step == 0], clean.start_ns[clean.step == 1]
    assert (starts - ends >= 20_000_000).all()
    rest = clean.select(clean.step > 1)
    assert (rest.start_ns == clean.end_ns[(clean.step > 0) & (clean.step < 3)]).all()
    assert len(run.spans.of(pass_kind=PassKind.ENERGY)) > 0
    assert "clock-unread" not in {note.code for note in run.notes}


@pytest.mark.usefixtures("played_gpu")
@pytest.mark.parametrize(
    ("fails_to", "said"),
    [
        ("import", "No module named 'triton'"),
        ("compile", "Failed to find C compiler"),
        ("launch", "Triton Error [CUDA]: invalid device context"),
    ],
)
def test_a_clock_that_is_not_read_costs_a_note(measure, monkeypatch, fails_to, said):
    monkeypatch.setattr(SlowProbe, "fails_to", fails_to)
    run = measure(PROBED)
    assert run.outcome is Outcome.COMPLETE
    assert len(run.spans.of(pass_kind=PassKind.CLEAN, counted=True)) == 2 * 4
    assert run.sm_clocks is None
    (note,) = [note for note in run.notes if note.code == "clock-unread"]
    assert note.message == f"the device did not read its own SM clock between the phases: {said}"
    assert note.level is NoteLevel.INFO
    assert ("tokprof[triton]" in note.advice) == (fails_to == "import")


def test_a_cpu_has_no_clock_to_be_read_and_nothing_is_said(measure):
    run = measure(replace(TINY, passes=(PassKind.CLEAN,)))
    assert run.sm_clocks is None
    assert "clock-unread" not in {note.code for note in run.notes}


def test_the_probe_reads_each_row_by_itself_and_a_timer_that_stands_still_is_told(monkeypatch):
    pytest.importorskip("triton")
    from tokprof.kernels import probe_kernels

    given = iter(range(1, 9))
    monkeypatch.setattr(
        probe_kernels,
        "clock",
        lambda out: out.copy_(torch.tensor([35_000 + next(given), 20_000 + out.data_ptr() % 16, 7])),
    )
    probe, notes = clock_probe("cpu")
    assert notes == []
    probe.read(1)
    probe.read(2)
    assert probe.take() == [(35_001, 20_000), (35_002, 20_000), (35_003, 20_000)]  # each begins at 16 bytes
    monkeypatch.setattr(probe_kernels, "clock", lambda out: out.copy_(torch.tensor([2**24, 0, 7])))
    probe, (note,) = clock_probe("cpu")
    assert probe is None
    assert note.message.endswith(": the device's own timer stands still")
