"""The order of warm-up, work, marks and waiting, and the exact counts and units of every row."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.measure import loop
from tokprof.profiler.measure.clocks import CudaClock, HostClock
from tokprof.profiler.measure.loop import SpanBuilder, Workload, measure_clean, measure_energy, repeat
from tokprof.profiler.measure.stopping import StopLimits
from tokprof.profiler.record import DecodeMode, Mark, PassKind, Phase, StopRule, codes_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from simulated_gpu import SimulatedGpu


class Diary:
    """A clock that tells made-up time, and an engine that spends it; both write down what was called."""

    def __init__(self, *, prefill_ns=1000, decode_ns=100, end_after=None, known_late=0):
        self.now_ns = 0
        self.calls = []
        self.batch_size = 2
        self.prompt_token_count = 7
        self.prefill_ns = prefill_ns
        self.decode_ns = decode_ns
        self.end_after = end_after
        self.known_late = known_late
        self.sampled = 0
        self.fail_at_call = None

    def tell_ns(self):
        self.calls.append("mark")
        return self.now_ns

    def prefill(self):
        self.calls.append("prefill")
        self.now_ns += self.prefill_ns
        self.sampled = 1
        return ("sampled", 0)

    def decode(self, token):
        self.calls.append(f"decode {token[0]} {token[1]}")
        if self.fail_at_call is not None and len(self.calls) >= self.fail_at_call:
            raise KeyboardInterrupt
        self.now_ns += self.decode_ns
        self.sampled += 1
        return ("sampled", self.sampled - 1)

    def forced(self, index):
        return ("forced", index)

    def watch(self, new_token_count):
        self.calls.append(f"watch {new_token_count}")

    def ended(self, _token):
        known = self.end_after is not None and self.sampled >= self.end_after + self.known_late
        return self.end_after if known else None

    def hold(self):
        self.calls.append("hold")

    def rewind(self):
        self.calls.append("rewind")

    def release(self):
        self.calls.append("release")

    def generate(self, new_token_count, on_forward):
        self.now_ns += 50  # the library's own set-up
        for index in range(new_token_count):
            on_forward()
            self.now_ns += self.prefill_ns if index == 0 else self.decode_ns
        self.sampled = new_token_count
        return new_token_count

    def sampled_ids(self):
        return [[10 * row + i for i in range(self.sampled)] for row in range(self.batch_size)]


def builder(diary, **values):
    return SpanBuilder(diary, byte_count=lambda ids: [i % 10 + 1 for i in ids], prompt_byte_count=20, **values)


def work(new_token_count=4, mode=DecodeMode.TEACHER_FORCED):
    return Workload(mode=mode, new_token_count=new_token_count)


def test_a_repetition_marks_around_each_call_and_nothing_else():
    diary = Diary()
    repeat(diary, HostClock(diary.tell_ns), work())
    assert diary.calls == [
        "mark", "prefill", "mark", "decode forced 0", "mark", "decode forced 1", "mark", "decode forced 2", "mark",
    ]  # fmt: skip


def test_natural_mode_decodes_its_own_tokens():
    diary = Diary()
    repeat(diary, HostClock(diary.tell_ns), work(mode=DecodeMode.NATURAL))
    assert [call for call in diary.calls if call.startswith("decode")] == [f"decode sampled {i}" for i in range(3)]


def test_what_watches_for_the_end_is_made_before_the_first_mark():
    diary = Diary()
    repeat(diary, HostClock(diary.tell_ns), work(mode=DecodeMode.NATURAL))
    assert diary.calls[:3] == ["watch 4", "mark", "prefill"]


def test_the_device_is_waited_for_around_each_phase_but_not_inside():
    diary = Diary()
    cuda = FakeCuda(diary)
    repeat(diary, CudaClock("cuda:0", diary.tell_ns, cuda), work())
    first = diary.calls.index("prefill")
    assert "wait" in diary.calls[:first]
    assert diary.calls[first:] == [
        "prefill", "mark", "wait", "mark", "decode forced 0", "mark", "decode forced 1", "mark", "decode forced 2",
        "mark", "wait",
    ]  # fmt: skip


class FakeCuda:
    """CUDA events; ``device`` works, lags 37 ns behind and runs on a clock of its own, other devices stand still."""

    def __init__(self, diary, device="cuda:0"):
        self.diary = diary
        self.device = device

    def synchronize(self, device):
        assert device == self.device
        self.diary.calls.append("wait")

    def current_stream(self, device="cuda:0"):
        return device

    def Event(self, *, enable_timing):  # noqa: N802 - torch's name
        assert enable_timing
        diary, busy = self.diary, self.device
        diary.calls.append("create")

        class Event:
            at_ns = 0

            def record(self, stream="cuda:0"):
                self.at_ns = diary.now_ns + 37 + 5_000_000 if stream == busy else 0

            def synchronize(self):
                diary.calls.append("wait")
                diary.now_ns += 40

            def elapsed_time(self, other):
                return (other.at_ns - self.at_ns) / 1e6

        return Event()


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_device_instants_land_on_the_hosts_clock_within_the_stated_error(device):
    diary = Diary(prefill_ns=1_000_000, decode_ns=1_000)
    clock = CudaClock(device, diary.tell_ns, FakeCuda(diary, device))
    instants = repeat(diary, clock, work()).instants
    assert np.diff(instants.device_ns).tolist() == [1_000_000, 1_000, 1_000, 1_000]
    assert np.diff(instants.host_ns).tolist() == [1_000_000, 1_000, 1_000, 1_000]
    true_ns = instants.host_ns + 37
    assert np.all(np.abs(instants.device_ns - true_ns) <= instants.alignment.error_ns + 37)
    assert instants.alignment.error_ns == 20


def test_every_row_counts_its_tokens_bytes_and_context():
    diary = Diary()
    spans = builder(diary, forced_ids=[4, 5, 6, 7])
    measure_clean(diary, HostClock(diary.tell_ns), work(), spans, StopLimits(repetition_count=3), warm_up_count=2)
    table = spans.build()
    assert len(table) == (3 + 2) * 4
    clean = table.of(pass_kind=PassKind.CLEAN, counted=True)
    assert sorted(set(clean.repetition.tolist())) == [0, 1, 2]
    decode = clean.of(phase=Phase.DECODE)
    assert len(decode) == 3 * (4 - 1)
    assert decode.duration_ns.tolist() == [100] * 9
    assert decode.token_count.tolist() == [2] * 9
    assert decode.context_token_count.tolist() == [7, 8, 9] * 3
    assert decode.byte_count.tolist() == [2 * 6, 2 * 7, 2 * 8] * 3  # the tokens the steps lead to: 5, 6, 7
    prefill = clean.of(phase=Phase.PREFILL)
    assert prefill.duration_ns.tolist() == [1000] * 3
    assert prefill.token_count.tolist() == [14] * 3
    assert prefill.byte_count.tolist() == [40] * 3
    whole = clean.end_ns.reshape(3, 4)[:, -1] - clean.start_ns.reshape(3, 4)[:, 0]
    assert (prefill.duration_ns + decode.duration_ns.reshape(3, 3).sum(axis=1)).tolist() == whole.tolist()
    assert np.all(table.mark[: 2 * 4] == Mark.WARM_UP)
    assert np.all(table.mark[2 * 4 :] == 0)


def test_natural_mode_stops_at_the_end_of_the_sequences_and_marks_late_steps():
    diary = Diary(end_after=3, known_late=2)
    spans = builder(diary)
    natural = work(10, DecodeMode.NATURAL)
    clock = HostClock(diary.tell_ns)
    measure_clean(diary, clock, natural, spans, StopLimits(repetition_count=1), warm_up_count=0)
    table = spans.build()
    assert len(table) == 5  # prefill and four steps: two of them issued before the end was known
    assert (table.mark == Mark.OVERRUN).tolist() == [False, False, False, True, True]
    assert len(table.of(counted=True)) == 3


@pytest.mark.parametrize("mode", [DecodeMode.NATURAL, DecodeMode.GENERATE])
def test_tokens_after_a_sequence_has_ended_are_nobodys(mode):
    diary = Diary(end_after=4)
    spans = builder(diary, end_ids=[2, 13])  # of the sequences 0 1 2 3 and 10 11 12 13
    measure_clean(
        diary, HostClock(diary.tell_ns), work(4, mode), spans, StopLimits(repetition_count=1), warm_up_count=0
    )
    table = spans.build()
    assert table.token_count.tolist() == [14, 2, 2, 1]  # the first sequence ends with its third token
    assert table.byte_count.tolist() == [40, 2 + 2, 3 + 3, 4]


def test_an_end_inside_a_given_continuation_ends_nothing():
    diary = Diary()
    spans = builder(diary, end_ids=[1, 11], forced_ids=[1, 1, 1, 1])
    measure_clean(diary, HostClock(diary.tell_ns), work(), spans, StopLimits(repetition_count=1), warm_up_count=0)
    assert spans.build().token_count.tolist() == [14, 2, 2, 2]


def test_generate_splits_phases_at_the_second_forward():
    diary = Diary()
    spans = builder(diary)
    clock = HostClock(diary.tell_ns)
    generate = work(4, DecodeMode.GENERATE)
    measure_clean(diary, clock, generate, spans, StopLimits(repetition_count=1), warm_up_count=0)
    table = spans.build()
    assert table.phase.tolist() == [0, 1, 1, 1]
    assert table.duration_ns.tolist() == [1050, 100, 100, 100]


def test_one_new_token_is_a_prefill_without_decode():
    diary = Diary()
    spans = builder(diary, forced_ids=[1])
    clock = HostClock(diary.tell_ns)
    clean = measure_clean(diary, clock, work(1), spans, StopLimits(repetition_count=2), warm_up_count=0)
    assert clean.stop.rule is StopRule.FIXED_COUNT
    assert spans.build().phase.tolist() == [codes_of(Phase.PREFILL)] * 2


def test_scopes_name_the_phase_the_repetition_and_the_step():
    names = []

    @contextmanager
    def scope(name):
        names.append(name)
        yield

    diary = Diary()
    repeat(diary, HostClock(diary.tell_ns), work(3), scope=scope, repetition=2)
    assert names == ["tokprof.prefill#rep=2", "tokprof.decode#rep=2,step=1", "tokprof.decode#rep=2,step=2"]


def test_an_interrupt_keeps_the_finished_repetitions():
    diary = Diary()
    diary.fail_at_call = 25
    spans = builder(diary, forced_ids=[1, 2, 3, 4])
    clock = HostClock(diary.tell_ns)
    clean = measure_clean(diary, clock, work(), spans, StopLimits(repetition_count=100), warm_up_count=0)
    assert clean.stop.rule is StopRule.INTERRUPTED
    assert clean.stop.repetition_count == 2
    assert len(spans.build()) == 2 * 4


def test_an_interrupt_before_the_first_repetition_keeps_nothing():
    diary = Diary()
    diary.fail_at_call = 2
    with pytest.raises(KeyboardInterrupt):
        measure_clean(diary, HostClock(diary.tell_ns), work(), builder(diary), StopLimits(), warm_up_count=0)


def test_the_energy_pass_fills_its_window_with_one_phase_at_a_time():
    diary = Diary()
    spans = builder(diary)
    measure_energy(diary, HostClock(diary.tell_ns), work(), spans, window_ns=2500)
    table = spans.build()
    assert table.phase.tolist() == [0, 0, 0, *[1] * 9]
    assert table.token_count.tolist() == [14] * 3 + [6] * 9
    assert table.duration_ns.tolist() == [1000] * 3 + [300] * 9
    assert diary.calls.count("rewind") == 9
    assert diary.calls.count("hold") == 1
    assert diary.calls[-1] == "release"


def test_an_interrupted_energy_pass_keeps_no_copy_of_the_cache():
    diary = Diary()
    diary.fail_at_call = 1
    with pytest.raises(KeyboardInterrupt):
        measure_energy(diary, HostClock(diary.tell_ns), work(), builder(diary), window_ns=2500)
    assert diary.calls[-1] == "release"


class FakeProbe:
    """A probe that occupies the device for 25 us; it may fail at one of its calls, having occupied it all the same."""

    def __init__(self, diary, *, fail_at=None, mute=()):
        self.diary = diary
        self.fail_at = fail_at
        self.mute = mute
        self.calls = 0

    def _call(self, name):
        self.diary.calls.append(name)
        self.diary.now_ns += 25_000
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            raise RuntimeError("no such kernel\nand many lines more")

    def read(self, row):
        self._call(f"probe {row}")

    def take(self):
        self._call("take")
        return [None if row in self.mute else (30_000 + row, 20_000) for row in range(3)]


def probed(diary, **values):
    return CudaClock("cuda:0", diary.tell_ns, FakeCuda(diary), probe=FakeProbe(diary, **values))


def measured(mode, tokens, *, repetitions=2, probe=True, **values):
    diary = Diary(prefill_ns=1_000_000, decode_ns=1_000)
    spans = builder(diary, forced_ids=[4, 5, 6, 7])
    clock = probed(diary, **values) if probe else CudaClock("cuda:0", diary.tell_ns, FakeCuda(diary))
    limits = StopLimits(repetition_count=repetitions)
    measure_clean(diary, clock, work(tokens, mode), spans, limits, warm_up_count=1)
    return diary, clock, spans


def test_the_device_reads_its_clock_around_the_phases_and_is_waited_for_in_none():
    diary = Diary()
    repeat(diary, probed(diary), work())
    first, last = diary.calls.index("prefill"), max(i for i, c in enumerate(diary.calls) if c.startswith("decode"))
    begun = diary.calls.index("decode forced 0")
    assert [call for call in diary.calls if call not in ("mark", "wait", "create")] == [
        "probe 0", "prefill", "probe 1", "decode forced 0", "decode forced 1", "decode forced 2", "probe 2", "take",
    ]  # fmt: skip
    assert "wait" in diary.calls[diary.calls.index("probe 0") : first]  # so that prefill meets an idle device
    assert diary.calls[first:begun] == ["prefill", "mark", "probe 1", "wait", "mark"]  # and the first step does
    assert "wait" not in diary.calls[begun:last]
    assert "create" not in diary.calls[first:]
    assert "wait" in diary.calls[diary.calls.index("probe 2") : diary.calls.index("take")]


@pytest.mark.parametrize("fail_at", [None, 0, 1, 2, 3, 5])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("mode", list(DecodeMode))
def test_no_span_holds_the_reading_of_the_clock_also_when_it_fails(mode, tokens, fail_at):
    _, plain, without = measured(mode, tokens, probe=False)
    _, clock, spans = measured(mode, tokens, fail_at=fail_at)
    bare, table = without.build(), spans.build()
    assert table.step.tolist() == bare.step.tolist()
    assert table.duration_ns.tolist() == bare.duration_ns.tolist()
    for own, other in ((table, bare), (bare, table)):
        host_ns = own.host_end_ns - own.host_start_ns
        assert host_ns.tolist() == (other.host_end_ns - other.host_start_ns).tolist()
        assert set(own.device_start_ns - own.host_start_ns) == {20}
    assert plain.probe_failure == ""
    assert without.sm_clocks() is None
    assert clock.probe_failure == ("" if fail_at is None else "no such kernel")


def test_a_repetition_s_own_times_are_those_of_its_spans():
    diary = Diary(prefill_ns=1_000_000, decode_ns=1_000)
    result = repeat(diary, probed(diary), work())
    assert result.phase_ns() == {Phase.PREFILL: 1_000_000, Phase.DECODE: 3_000}
    assert result.instants.pause_device_ns == result.instants.pause_host_ns == 25_000


def test_every_reading_says_which_span_it_follows_and_stands_at_its_edge():
    _, _, spans = measured(DecodeMode.TEACHER_FORCED, 4)
    clocks, table = spans.sm_clocks(), spans.build()
    assert clocks.repetition.tolist() == [-1] * 3 + [0] * 3 + [1] * 3
    assert clocks.step.tolist() == [-1, 0, 3] * 3
    assert clocks.clock_mhz == pytest.approx([1500.0, 1500.05, 1500.1] * 3)
    edges = [(table.start_ns[r], table.end_ns[r], table.end_ns[r + 3]) for r in (0, 4, 8)]
    assert clocks.time_ns.tolist() == [instant for edge in edges for instant in edge]


def test_a_probe_that_fails_is_given_up_and_what_it_read_before_is_kept():
    diary, clock, spans = measured(DecodeMode.TEACHER_FORCED, 4, repetitions=3, fail_at=9)
    assert clock.probe_failure == "no such kernel"
    assert spans.sm_clocks().repetition.tolist() == [-1] * 3 + [0] * 3
    assert sum(call.startswith("probe") for call in diary.calls) == 8


class Model:
    """An engine whose prefill and steps are some launches each on a simulated GPU."""

    batch_size = prompt_token_count = 1

    def __init__(self, gpu, *, launches, host_ns, prefill_ns, step_ns):
        self.gpu, self.launches, self.host_ns = gpu, launches, host_ns
        self.prefill_ns, self.step_ns = prefill_ns, step_ns

    def run(self, device_ns):
        for _ in range(self.launches):
            self.gpu.launch(device_ns=device_ns // self.launches, host_ns=self.host_ns // self.launches)

    def prefill(self):
        self.run(self.prefill_ns)

    def decode(self, _token):
        self.run(self.step_ns)

    def forced(self, _index):
        return None

    def sampled_ids(self):
        return [[]]


class SimulatedProbe:
    def __init__(self, gpu):
        self.gpu = gpu

    def read(self, _row):
        self.gpu.launch(device_ns=20_000, host_ns=15_000)

    def take(self):
        return []


@pytest.mark.parametrize("prefill_ms", [20, 38, 900])
@pytest.mark.parametrize(("host_ms", "step_ms"), [(39, 15), (15, 39)])
@pytest.mark.parametrize("probe", [False, True])
def test_decode_takes_its_own_time_however_long_prefill_keeps_the_device(prefill_ms, host_ms, step_ms, probe):
    """Without waiting, as many steps as the queue holds would be issued while the device is still at prefill."""
    gpu = SimulatedGpu()
    model = Model(gpu, launches=800, host_ns=host_ms * 10**6, prefill_ns=prefill_ms * 10**6, step_ns=step_ms * 10**6)
    clock = CudaClock(0, gpu.now_ns, gpu, SimulatedProbe(gpu) if probe else None)
    result = repeat(model, clock, work(17))
    times = result.phase_ns()
    assert times[Phase.PREFILL] == pytest.approx(1e6 * max(prefill_ms, host_ms), rel=0.01)
    assert times[Phase.DECODE] == pytest.approx(16e6 * max(step_ms, host_ms), rel=0.005)
    instants = result.instants
    steps_ns = instants.end_ns[1:] - instants.start_ns[1:]
    assert steps_ns == pytest.approx(np.full(16, 1e6 * max(step_ms, host_ms)), rel=0.01)
    issue_ns = instants.host_ns[-1] - instants.host_start_ns[1]
    assert issue_ns <= times[Phase.DECODE]  # nothing of prefill is in it
    whole_ns = times[Phase.PREFILL] + instants.pause_device_ns + times[Phase.DECODE]
    assert whole_ns == pytest.approx(instants.end_ns[-1] - instants.start_ns[0], abs=10)
    assert instants.host_start_ns[1] >= instants.end_ns[0]


def test_only_the_first_profile_of_a_process_sets_tracing_up(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(loop, "_tracing_is_set_up", False)
    diary = Diary()
    clock = HostClock(diary.tell_ns)
    for prefills in (1 + 2, 2):
        diary.calls.clear()
        _, results = loop.profiled(diary, clock, work(3), repetition_count=2, on_gpu=False)
        assert len(results) == 2
        assert diary.calls.count("prefill") == prefills


def test_on_a_gpu_a_trace_lets_go_of_the_device_before_the_next_and_when_it_is_done(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(loop, "_tracing_is_set_up", False)
    monkeypatch.delenv("TEARDOWN_CUPTI", raising=False)
    told = []

    @contextmanager
    def profile(**_options):
        told.append("profile")
        yield
        told.append("end")

    class Clock(HostClock):
        def begin(self, mark_count):
            told.append("driver")
            super().begin(mark_count)

    monkeypatch.setattr(torch.profiler, "profile", profile)
    diary = Diary()
    loop.profiled(diary, Clock(diary.tell_ns), work(3), repetition_count=1, on_gpu=True)
    assert told == ["profile", "driver", "end", "driver", "profile", "driver", "end"]
    assert os.environ["TEARDOWN_CUPTI"] == "1"
    monkeypatch.setenv("TEARDOWN_CUPTI", "0")  # whoever has set it knows why
    loop.profiled(diary, Clock(diary.tell_ns), work(3), repetition_count=1, on_gpu=True)
    assert os.environ["TEARDOWN_CUPTI"] == "0"


def test_what_ends_with_its_first_token_has_no_pause():
    diary = Diary(end_after=1)
    instants = repeat(diary, probed(diary), work(mode=DecodeMode.NATURAL)).instants
    assert len(instants.host_ns) == 2
    assert instants.pause_host_ns == instants.pause_device_ns == 0


def test_a_reading_that_tells_nothing_is_absent():
    _, clock, spans = measured(DecodeMode.TEACHER_FORCED, 4, mute=(1,))
    assert spans.sm_clocks().step.tolist() == [-1, 3] * 3
    assert clock.probe_failure == ""
