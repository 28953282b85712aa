"""The machine as described, and what must agree between two runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokprof.profiler import environment as module
from tokprof.profiler.environment import (
    FINGERPRINTED,
    OTHER_LIBRARIES,
    cpu_device,
    differences,
    environment,
    fingerprint,
    fingerprint_digest,
)
from tokprof.profiler.record import (
    Cell,
    DecodeMode,
    Device,
    Environment,
    ModelFacts,
    Outcome,
    Pass,
    PassKind,
    Run,
    Spans,
    Stop,
    StopRule,
)

GPU = Device(kind="cuda", name="NVIDIA H100", driver="580.65", runtime="12.8", power_limit_mw=700_000)
MACHINE = Environment(
    device=GPU,
    system="Linux",
    cpu="EPYC",
    cpu_count=64,
    memory_bytes=2**38,
    python="3.11.7",
    libraries=(("numpy", "2.3"), ("torch", "2.13.0"), ("transformers", "5.23.0")),
    thread_count=8,
    governor="performance",
)
MODEL = ModelFacts(
    name="codestral-22b",
    architecture="mistral",
    source="zoo",
    weights="random",
    weights_digest="w",
    config_digest="c",
    tokenizer_digest="t",
    parameter_count=1,
    vocabulary_count=1,
    context_token_count=1,
    dtype="bfloat16",
    attention="sdpa",
    weight_bytes_per_token=1,
    kv_bytes_per_token=1,
)
CELL = Cell(
    model="codestral-22b",
    mode=DecodeMode.TEACHER_FORCED,
    batch_size=1,
    prompt_token_count=512,
    new_token_count=64,
    prompt="a.py",
    prompt_digest="p",
)


def run(environment: Environment = MACHINE, model: ModelFacts = MODEL, cell: Cell = CELL) -> Run:
    empty = np.array([], dtype=np.int64)
    columns = ("pass_kind", "repetition", "phase", "step", "token_count", "context_token_count", "mark")
    return Run(
        run_id="r",
        created="2026-01-01T00:00:00+00:00",
        command=(),
        tokprof_version="0",
        outcome=Outcome.COMPLETE,
        cell=cell,
        model=model,
        environment=environment,
        stop=Stop(rule=StopRule.FIXED_COUNT, repetition_count=0, detail=""),
        passes=(Pass(kind=PassKind.CLEAN, repetition_count=0, start_ns=0, end_ns=0),),
        spans=Spans(host_start_ns=empty, host_end_ns=empty, **dict.fromkeys(columns, empty)),
    )


def test_the_machine_is_described() -> None:
    machine = environment("cpu", thread_count=3)
    assert machine.device == cpu_device()
    assert machine.device.kind == "cpu"
    assert machine.cpu_count == os.cpu_count()
    assert machine.device.core_count is not None
    assert 1 <= machine.device.core_count <= len(os.sched_getaffinity(0))
    assert machine.memory_bytes is not None
    assert machine.memory_bytes > 2**28
    assert machine.cpu
    assert machine.system.startswith("Linux ")
    assert machine.python == ".".join(map(str, sys.version_info[:3]))
    assert machine.thread_count == 3
    assert list(machine.libraries) == sorted(machine.libraries)
    assert dict(machine.libraries)["numpy"] == metadata.version("numpy")
    assert {name for name, _ in machine.libraries} <= {*FINGERPRINTED, *OTHER_LIBRARIES}


def test_describing_the_machine_imports_no_library() -> None:
    code = (
        "import sys\n"
        "from tokprof.profiler.environment import environment\n"
        "environment('cpu')\n"
        "print(sorted({'torch', 'transformers', 'triton', 'peft'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_gpu_is_described_by_the_driver(nvml_stub: Callable[..., None]) -> None:
    nvml_stub(power_limit_mw=650_000, max_sm_clock_mhz=1905, reasons=2)
    code = (
        "import json\n"
        "from dataclasses import asdict\n"
        "from tokprof.profiler.environment import environment\n"
        "print(json.dumps(asdict(environment('cuda:0').device)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == {
        "kind": "cuda",
        "name": "NVIDIA Stub 80GB",
        "index": 0,
        "core_count": None,
        "memory_bytes": 85_899_345_920,
        "capability": "9.0",
        "driver": "580.65.06",
        "runtime": None,
        "uuid": "GPU-00000000-5174-4b90-8000-000000000000",
        "power_limit_mw": 650_000,
        "max_sm_clock_mhz": 1905,
        "clocks_locked": True,
    }


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"/sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"/sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
        ({"/sys/fs/cgroup/cpu.max": "nonsense"}, None),
    ],
)
def test_a_containers_quota_is_read(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: float | None
) -> None:
    monkeypatch.setattr(module, "_read", files.get)
    assert module.cpu_quota() == cores


def test_a_quota_limits_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quota, cores in ((None, 8), (2.4, 2), (0.3, 1), (64.0, 8)):
        monkeypatch.setattr(module, "cpu_quota", lambda quota=quota: quota)
        assert module.usable_core_count() == cores


def test_a_containers_memory_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_read", {"/sys/fs/cgroup/memory.max": "1000000"}.get)
    assert module.memory_bytes() == 1_000_000
    monkeypatch.setattr(module, "_read", {"/sys/fs/cgroup/memory.max": "max"}.get)
    assert module.memory_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("text", ["processor\t: 0\nmodel name\t: Fast CPU\n", "Model\t: Fast CPU\n"])
def test_the_processors_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(module, "_read", {"/proc/cpuinfo": text}.get)
    assert module.cpu_name() == "Fast CPU"
    monkeypatch.setattr(module, "_read", lambda _: None)
    assert module.cpu_name()


# --------------------------------------------------------------------------------------------------------- fingerprint


def test_equal_runs_have_equal_fingerprints() -> None:
    facts = fingerprint(run())
    assert differences(facts, fingerprint(run())) == []
    digest = fingerprint_digest(facts)
    assert digest == fingerprint_digest(dict(reversed(facts.items())))
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    assert facts["library.torch"] == "2.13.0"
    assert facts["library.triton"] == "absent"
    assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (
            run(replace(MACHINE, device=replace(GPU, power_limit_mw=500_000))),
            ("device.power_limit_mw", "700000", "500000"),
        ),
        (run(replace(MACHINE, device=replace(GPU, runtime=None))), ("device.runtime", "12.8", "absent")),
        (run(replace(MACHINE, libraries=(("torch", "2.12.0"), *MACHINE.libraries[2:]))), None),
        (run(replace(MACHINE, thread_count=4)), ("host.thread_count", "8", "4")),
        (run(replace(MACHINE, python="3.12.1")), ("python", "3.11", "3.12")),
        (run(model=replace(MODEL, dtype="float16")), ("model.dtype", "bfloat16", "float16")),
        (run(model=replace(MODEL, attention="eager")), ("model.attention", "sdpa", "eager")),
        (run(model=replace(MODEL, compiled=True)), ("model.compiled", "False", "True")),
        (run(model=replace(MODEL, config_digest="d")), ("model.config", "c", "d")),
        (run(cell=replace(CELL, batch_size=8)), ("cell.batch_size", "1", "8")),
        (run(cell=replace(CELL, mode=DecodeMode.NATURAL)), ("cell.mode", "teacher-forced", "natural")),
    ],
)
def test_a_difference_is_named_with_both_values(changed: Run, found: tuple[str, str, str] | None) -> None:
    a, b = fingerprint(run()), fingerprint(changed)
    if found is None:
        found = ("library.torch", "2.13.0", "2.12.0")
    assert differences(a, b) == [found]
    assert differences(b, a) == [(found[0], found[2], found[1])]
    assert differences(a, b, explained={found[0]}) == []
    assert fingerprint_digest(a) != fingerprint_digest(b)


@pytest.mark.parametrize(
    "varied",
    [
        run(model=replace(MODEL, weights_digest="x", adapter="unmerged", adapter_digest="y", tokenizer_digest="z")),
        run(cell=replace(CELL, prompt_token_count=99, new_token_count=7, prompt_digest="q", arm="tuned")),
        run(replace(MACHINE, python="3.11.9", libraries=(*MACHINE.libraries, ("py-spy", "0.4.3")))),
        run(replace(MACHINE, device=replace(GPU, uuid="GPU-1", index=3, clocks_locked=True))),
    ],
)
def test_what_an_experiment_varies_is_no_difference(varied: Run) -> None:
    assert differences(fingerprint(run()), fingerprint(varied)) == []


def test_a_key_that_one_side_lacks_is_a_difference() -> None:
    assert differences({"a": "1"}, {"a": "1", "b": "2"}) == [("b", "absent", "2")]


def test_cores_that_may_be_used_matter_on_a_cpu_only() -> None:
    def on(kind: str, cores: int) -> dict[str, str]:
        return fingerprint(run(replace(MACHINE, device=replace(GPU, kind=kind, core_count=cores))))

    assert differences(on("cpu", 2), on("cpu", 4)) == [("device.core_count", "2", "4")]
    assert differences(on("cuda", 2), on("cuda", 4)) == []


def read_nothing(_: str) -> Any:
    return None


def test_a_machine_without_any_of_the_files_is_still_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_read", read_nothing)
    monkeypatch.setattr(module, "Path", lambda *_: tmp_path / "nothing")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    machine = environment("cpu")
    assert machine.governor is None
    assert machine.container is None
    assert machine.cpu_count >= 1
