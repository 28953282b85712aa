"""``tokprof calibrate``: measure once what this device can do, so that reports can say how far from it a run is."""

import os
import re
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokprof.profiler.errors import FileFormatError, InputError, MeasurementError, check_new_file, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokprof.kernels.probes import Failure
    from tokprof.profiler.record import Calibration, Device, Note
    from tokprof.profiler.sensors.host import HostReading

BUSY_CORES = 0.15  # used by others meanwhile, from which a CPU's ceilings come out too low
DRIVERS_CLOCK = "SM clock, NVML"
FEW_SAMPLES = 1 / 3  # of another calibration's: the fastest of so few says less of what the device can do


def calibrate(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")] = "auto",
    seconds: Annotated[float, typer.Option(help="Seconds for each probe; a probe is some attempts.", min=0.01)] = 0.5,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the calibration to this file, too.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --out.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep this one even where an earlier one is sounder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON.")] = False,
) -> None:
    """Measure what this device can do at best; reports then say how far from it a run is.

    Memory bandwidth by the size of what is read, matrix products by dtype, what a call costs; on a GPU launches, copies
    from the host and the SM clock besides. Kept per device and driver, and used by profile, show, compare and limits;
    one that other programs disturbed, of which probes failed or that has far fewer samples does not take the place of a
    sound one, unless --keep says so.
    """
    from tokprof.models.pull import cache_folder
    from tokprof.profiler.store import calibration_file, save_calibration

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: unknown; choose cpu, cuda, cuda:1, ... or auto")
    if out is not None:
        check_new_file(out, force=force)
    calibration = _measure(chosen_device(device), seconds)
    kept = calibration_file(cache_folder(), calibration.environment.device)
    stored = kept_calibration(calibration.environment.device)
    worse = "" if stored is None or keep else _worse(calibration, stored)
    for path in (None if worse else kept, out):
        if path is not None:
            save_calibration(calibration, path)
    if worse and stored is not None:
        words = f"{worse}, so the calibration of {stored.created[:10]} is kept, which is sounder"
        print(f"tokprof: {words}: {visible(kept)}; --keep keeps the new one all the same", file=sys.stderr)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode())
        return
    _print(calibration, None if worse else kept, out)


def _worse(fresh: "Calibration", stored: "Calibration") -> str:
    """Say from what a calibration suffers that the stored one does not; "" where from nothing."""
    from collections import Counter

    from tokprof.profiler.analysis.roofline import PROBE_FAILED, disturbed

    # A sweep over sizes is many probes of one name. What the driver says of the clock no ceiling rests on.
    had, has = (Counter((p.name, p.dtype) for p in one.probes if p.name != DRIVERS_CLOCK) for one in (stored, fresh))
    lacking = had - has
    failed = any(note.code == PROBE_FAILED for note in fresh.notes)
    busy = disturbed(fresh) and not disturbed(stored)
    count, before = (sum(len(probe.samples) for probe in one.probes) for one in (fresh, stored))
    few = count < FEW_SAMPLES * before and disturbed(fresh) >= disturbed(stored)  # fewer but quiet ones are welcome
    words = ["other programs were running"] * busy + ["probes failed"] * (failed and bool(lacking))
    words += [f"this one has {count:,} samples and an earlier one {before:,}"] * few
    return " and ".join(words)


def kept_calibration(device: "Device") -> "Calibration | None":
    """Return the calibration of a device with its driver from the cache; ``None`` without a readable one."""
    from tokprof.models.pull import cache_folder
    from tokprof.profiler.store import calibration_file, load_calibration

    try:
        return load_calibration(calibration_file(cache_folder(), device))
    except (InputError, FileFormatError):
        return None  # the report advises to calibrate, which replaces it


def chosen_device(device: str) -> str:
    """Return the device that "auto" means here, or a named one if torch sees it and it can be calibrated."""
    try:
        import torch
    except ImportError as error:
        raise InputError("calibrate needs torch; pip install 'tokprof[measure]'") from error
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise InputError(
                f"--device {device}: torch sees {torch.cuda.device_count()} CUDA devices; try --device cpu"
            )
        try:
            import triton  # noqa: F401 - whether it is there
        except ImportError as error:
            raise InputError("calibrating a GPU needs Triton; pip install 'tokprof[triton]'") from error
    return device


def _measure(device: str, seconds: float) -> "Calibration":
    from datetime import UTC, datetime
    from importlib.metadata import version

    import torch
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from tokprof.kernels import probes
    from tokprof.profiler.environment import environment
    from tokprof.profiler.record import Calibration, Probe
    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.sensors.host import HostReader

    host = HostReader(os.getpid())
    before = host.read()
    found: list[Probe] = []
    failures: list[probes.Failure] = []
    console = open_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with progress, _driver_clock(device) as driver_clock_hz:
        task = progress.add_task("calibrating: the first probes", total=None)
        for read in probes.probes(device, seconds=seconds, driver_clock_hz=driver_clock_hz):
            if isinstance(read, probes.Failure):
                failures.append(read)
                continue
            found.append(Probe(**asdict(read)))
            progress.update(task, description=f"calibrating: after {read.name}, {read.method}")
    if not any(probe.name.startswith("memory") for probe in found):  # no ceiling is known without
        reasons = "; ".join(dict.fromkeys(failure.reason for failure in failures))
        raise MeasurementError(f"calibrating {device}: its memory could not be measured: {reasons}")
    return Calibration(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tokprof_version=version("tokprof"),
        environment=environment(device, thread_count=torch.get_num_threads()),
        cache_bytes=probes.cache_bytes(device),
        probes=tuple(found),
        notes=_busy_notes(before, host.read()) if device == "cpu" else tuple(map(_failed, failures)),
    )


def _failed(failure: "Failure") -> "Note":
    from tokprof.profiler.analysis.roofline import PROBE_FAILED
    from tokprof.profiler.record import Note

    return Note(
        code=PROBE_FAILED,
        message=f"{failure.kind}: not measured, or not all of it: {failure.reason}",
        advice="run `tokprof calibrate` again when the reason is gone",
    )


def _busy_notes(before: "HostReading", after: "HostReading") -> "tuple[Note, ...]":
    """Warn where others computed meanwhile."""
    from tokprof.profiler.analysis.roofline import BUSY_MACHINE
    from tokprof.profiler.record import Note
    from tokprof.profiler.sensors.host import foreign_cores

    others = foreign_cores(before, after)
    if others is None or others < BUSY_CORES:
        return ()
    return (
        Note(
            code=BUSY_MACHINE,
            message=f"other programs used {others:.1f} cores meanwhile, so threads waited for each other: where that "
            "is more, the ceiling is what one thread did times the threads",
            advice="run `tokprof calibrate` again while nothing else runs",
        ),
    )


@contextmanager
def _driver_clock(device: str) -> "Iterator[Callable[[], float | None]]":
    """Open NVML, which takes longer than a load lasts, and give what reads the SM clock in Hz: ``None`` without one."""
    from tokprof.profiler.environment import cuda_device
    from tokprof.profiler.sensors.nvml import NvmlAbsent, NvmlDevice, nvml

    board: NvmlDevice | None = None
    with ExitStack() as opened:
        if device.startswith("cuda"):
            uuid, index = cuda_device(device).uuid, int(device.partition(":")[2] or 0)
            with suppress(NvmlAbsent):
                board = opened.enter_context(nvml()).device(uuid=uuid, index=index)

        def clock_hz() -> float | None:
            clock_mhz = None if board is None else board.read().sm_clock_mhz
            return None if clock_mhz is None else clock_mhz * 1e6

        yield clock_hz


def _print(calibration: "Calibration", kept: Path | None, out: Path | None) -> None:
    from rich.table import Table
    from rich.text import Text

    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.report.text import notes_text

    console = open_console()
    device = calibration.environment.device
    count = calibration.environment.thread_count if device.kind == "cpu" else None
    threads = "" if count is None else f", {count} thread{'s' * (count > 1)}"
    console.print(Text(f"{device.name}{threads}", style="bold"))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("probe", no_wrap=True)
    for name in ("best", "median"):
        table.add_column(name, justify="right", no_wrap=True, min_width=13)
    table.add_column("how", no_wrap=True, overflow="ellipsis")
    for probe in calibration.probes:
        median = sorted(probe.samples)[len(probe.samples) // 2]
        size = "" if probe.working_set_bytes is None else f", {probe.working_set_bytes / 2**20:,.0f} MiB"
        name = f"{probe.name}{f', {probe.dtype}' if probe.dtype else ''}{size}"
        table.add_row(name, _figure(probe.best, probe.unit), _figure(median, probe.unit), Text(probe.method))
    console.print(table)
    if calibration.notes:
        console.print(notes_text(calibration.notes))
    if kept is not None:
        console.print(Text(f"kept in {kept}", style="dim"), soft_wrap=True)
    if out is not None:
        console.print(Text(f"written to {out}", style="dim"), soft_wrap=True)


def _figure(value: float, unit: str) -> str:
    from tokprof.profiler.report.text import quantity

    scale, name = {"B/s": (1e-9, "GB/s"), "FLOP/s": (1e-9, "GFLOP/s"), "s": (1e6, "µs"), "Hz": (1e-6, "MHz")}[unit]
    if unit == "FLOP/s" and value >= 1e13:
        scale, name = 1e-12, "TFLOP/s"
    return quantity(value * scale, name)
