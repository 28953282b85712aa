"""The measured process: which device it takes, and what it says when memory runs out."""

import pytest

torch = pytest.importorskip("torch")

from tokprof.profiler.errors import MeasurementError  # noqa: E402
from tokprof.profiler.measure.child import choose_device, model_spec, out_of_memory_explained  # noqa: E402
from tokprof.profiler.measure.request import Request  # noqa: E402


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
