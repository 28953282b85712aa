"""The benchmark's own logic on a device made of words, and itself on a GPU."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from tokprof.kernels import benchmark  # noqa: E402 - not without Triton


def test_the_interval_of_a_median_holds_it_in_nineteen_of_twenty():
    middle, low, high = benchmark.median_interval(range(1, 101))
    assert middle == 50.5
    assert (low, high) == (41, 60)  # ranks by the binomial of 100 and one half
    assert benchmark.median_interval([3.0]) == (3.0, 3.0, 3.0)
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(2000, 40, generator=generator).tolist()
    held = sum(low <= 0 <= high for _, low, high in map(benchmark.median_interval, draws))
    assert 0.93 < held / 2000 < 0.985


class Device:
    """Runs what is queued only when it is waited for, unless the host was late."""

    def __init__(self, late):
        self.order, self.late = [], list(late)

    def install(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: self.order.append("wait"))
        monkeypatch.setattr(torch.cuda, "Event", lambda **_: Event(self))

    def sum(self):
        self.order.append("read")


class Event:
    def __init__(self, device):
        self.device = device

    def record(self):
        self.device.order.append("event")

    def query(self):
        return self.device.late.pop(0) if self.device.late else False

    def synchronize(self):
        self.device.order.append("wait")

    def elapsed_time(self, _end):
        return 0.002  # milliseconds


def test_a_sample_is_queued_behind_a_read_of_the_buffer_and_warm_ones_behind_a_call(monkeypatch):
    device = Device([])
    device.install(monkeypatch)
    timing = benchmark._time(lambda: device.order.append("call"), device, 2)
    warm_up = ["call"] * 3 + ["wait"]
    cold, warm = (["read", "event", "call", "event", "wait"], ["read", "call", "event", "call", "event", "wait"])
    assert device.order == warm_up + 2 * (cold + warm)
    assert timing == benchmark.Timing(cold_ns=(2000.0,) * 2, warm_ns=(2000.0,) * 2, late_count=0)


def test_a_sample_that_the_host_was_late_for_is_left_out_and_the_next_waits_longer(monkeypatch):
    device = Device([False, True, False, False])
    device.install(monkeypatch)
    timing = benchmark._time(lambda: None, device, 2)
    assert timing.late_count == 1
    assert len(timing.warm_ns) == 2
    assert device.order[4:7] == ["wait", "read", "event"]
    reads = "".join("r" if word == "read" else " " for word in device.order).split()
    assert reads == ["r", "r", "rr", "rr", "rr", "rr"]


def test_a_host_that_is_always_late_ends_the_measurement_without_samples(monkeypatch):
    device = Device([True] * 100)
    device.install(monkeypatch)
    timing = benchmark._time(lambda: None, device, 5)
    assert timing.cold_ns == timing.warm_ns == ()
    assert timing.late_count >= 5


@pytest.mark.gpu
def test_a_kernel_is_checked_and_timed_on_a_gpu():
    from tokprof.kernels.catalogue import cases
    from tokprof.models.cost import shape_of
    from tokprof.models.zoo import entry

    shape = shape_of(entry("SmolLM2-135M-Instruct").config)
    for case in cases(shape, "SmolLM2", batches=(1, 4), contexts=(512,)):
        found = benchmark.measure(case, torch.bfloat16, 10)
        assert found.difference <= found.allowed_difference, case
        assert found.kernel is not None
        assert min(found.kernel.cold_ns + found.kernel.warm_ns) > 0
