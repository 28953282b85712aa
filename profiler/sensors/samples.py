"""Start and stop the sampler process, and read what it wrote."""

import json
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tokprof.profiler.errors import FileFormatError
from tokprof.profiler.record import ClockAlignment, HostSamples, Note, NoteLevel, PowerSamples
from tokprof.profiler.sensors.host import HOST_QUANTITIES
from tokprof.profiler.sensors.nvml import QUANTITIES
from tokprof.profiler.sensors.sampler import (
    DEFAULT_HOST_PERIOD_MS,
    DEFAULT_PERIOD_MS,
    HOST_ROW,
    LENGTH,
    MAGIC,
    POWER_ROW,
    TAG_FACTS,
    TAG_HOST,
    TAG_POWER,
)

READY_TIMEOUT_S = 30.0  # NVML's start alone takes seconds where no process keeps the driver loaded
STOP_TIMEOUT_S = 5.0

# A quantity is a column when it is in this share of the rows; rows that miss one of the columns are left out, aloud.
MINIMUM_SHARE = 0.5

STRETCHED = 3.0  # times the asked period: from here on it is said


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLog:
    """What the sampler saw. ``facts`` are the sampler's own words about the device and about itself."""

    power: PowerSamples | None
    host: HostSamples | None
    alignment: ClockAlignment | None
    counter_period_ns: int | None = None  # of the energy counter, as measured on the device where that was asked for
    own_cpu_share: float | None = None  # of one core, used by the sampler itself; None where it was killed
    notes: tuple[Note, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class SamplerProcess:
    """The running sampler. Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    With ``counter_period`` it begins by watching how often the energy counter moves, for up to 1.5 s.
    """

    def __init__(
        self,
        pid: int,
        path: Path,
        *,
        device_uuid: str | None = None,
        device_index: int | None = None,
        use_nvml: bool = True,
        counter_period: bool = False,
        period_ms: float = DEFAULT_PERIOD_MS,
        host_period_ms: float = DEFAULT_HOST_PERIOD_MS,
    ) -> None:
        self.path = path
        self._words = [sys.executable, "-m", "tokprof.profiler.sensors.sampler", "--pid", str(pid), "--out", str(path)]
        self._words += ["--period-ms", str(period_ms), "--host-period-ms", str(host_period_ms)]
        if device_uuid is not None:
            self._words += ["--device-uuid", device_uuid]
        if device_index is not None:
            self._words += ["--device-index", str(device_index)]
        if not use_nvml:
            self._words.append("--no-nvml")
        if counter_period:
            self._words.append("--counter-period")
        self._process: subprocess.Popen[bytes] | None = None
        self._failure = ""

    @property
    def pid(self) -> int | None:
        """The sampler's own process id, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self, timeout_s: float = READY_TIMEOUT_S) -> Self:
        """Start the process and wait until it samples; a failure to start shows in the notes of :meth:`stop`."""
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not ready:
            self._failure = f"it was not ready within {timeout_s:g} s"
            self._end()
        return self

    def _end(self) -> None:
        """Close its standard input, then insist."""
        process = self._process
        if process is None:
            return
        self._process = None
        try:
            _, errors = process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            self._failure = self._failure or "it did not stop when told to"
        if process.returncode and not self._failure:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            self._failure = last or f"it ended with code {process.returncode}"

    def stop(self) -> SampleLog:
        """Stop the process and return what it saw; whatever went wrong is among the notes."""
        self._end()
        notes: tuple[Note, ...] = ()
        if self._failure:
            notes = (Note(code="sampler-failed", message=f"the sampler failed: {self._failure}"),)
        try:
            log = read_samples(self.path)
        except (FileFormatError, OSError):
            return SampleLog(power=None, host=None, alignment=None, notes=notes)
        return SampleLog(
            power=log.power,
            host=log.host,
            alignment=log.alignment,
            counter_period_ns=log.counter_period_ns,
            own_cpu_share=log.own_cpu_share,
            notes=notes + log.notes,
            facts=log.facts,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def read_samples(path: Path) -> SampleLog:
    """Read the sampler's file, also while it is being written; a last record that was cut off is left out.

    Raises :class:`FileFormatError` where the file is not the sampler's.
    """
    data = path.read_bytes() if path.is_file() else b""
    if not data.startswith(MAGIC):
        raise FileFormatError(f"{path}: not a file of the sampler")
    facts, power_rows, host_rows, lost = _split(data)
    notes: list[Note] = []
    if lost:
        notes.append(
            Note(
                code="samples-cut-off",
                message=f"the last {lost} bytes of the samples are no whole row: the sampler was killed",
                level=NoteLevel.INFO,
            )
        )
    power, alignment = _power(power_rows, facts, notes)
    host = _host(host_rows, notes)
    _device_notes(facts, notes)
    wall_ns, cpu_ns = facts.get("own_wall_ns"), facts.get("own_cpu_ns")
    share = cpu_ns / wall_ns if cpu_ns is not None and wall_ns else None
    if power is not None and len(power) > 1:
        apart_ns = float(np.median(np.diff(power.time_ns)))
        if apart_ns > STRETCHED * facts.get("period_ns", apart_ns):
            notes.append(
                Note(
                    code="sampling-stretched",
                    message=f"a sample costs much here: they are {apart_ns / 1e6:.0f} ms apart, to spare the CPU",
                    advice="TOKPROF_SAMPLER_SHARE=0.03 in the environment lets the sampler take 3 % of a core",
                    level=NoteLevel.INFO,
                )
            )
    return SampleLog(
        power=power,
        host=host,
        alignment=alignment,
        counter_period_ns=facts.get("counter_period_ns"),
        own_cpu_share=share,
        notes=tuple(notes),
        facts=facts,
    )


def _split(data: bytes) -> tuple[dict[str, Any], list[bytes], list[bytes], int]:
    """Cut the records apart; return facts, rows and the number of bytes that make no whole record."""
    facts: dict[str, Any] = {}
    power: list[bytes] = []
    host: list[bytes] = []
    at = len(MAGIC)
    while at < len(data):
        tag = data[at : at + 1]
        start = at + 1
        if tag == TAG_FACTS and start + LENGTH.size <= len(data):
            body = start + LENGTH.size
            end = body + LENGTH.unpack_from(data, start)[0]
        else:
            body = start
            end = start + {TAG_POWER: POWER_ROW.size, TAG_HOST: HOST_ROW.size}.get(tag, len(data))
        if end > len(data):
            break
        if tag == TAG_FACTS:
            facts |= json.loads(data[body:end])
        else:
            (power if tag == TAG_POWER else host).append(data[body:end])
        at = end
    return facts, power, host, len(data) - at


_POWER_KINDS = ("<i8", "<i8", "<i4", "<i4", "<i4", "<u8", "<i8", "<i8", "<i4")
_POWER_TYPE = np.dtype(
    [("time_ns", "<i8"), ("read_ns", "<u4"), ("present", "<u2"), *zip(QUANTITIES, _POWER_KINDS, strict=True)]
)
_HOST_KINDS = ("<f8", "<i8", "<i8", "<i8", "<i8", "<i8")
_HOST_TYPE = np.dtype([("time_ns", "<i8"), ("present", "<u2"), *zip(HOST_QUANTITIES, _HOST_KINDS, strict=True)])


def _columns(rows: list[bytes], row_type: np.dtype[Any], quantities: tuple[str, ...]) -> tuple[dict[str, Any], int]:
    """Return the columns that most rows have, of the rows that have all of these, and how many rows do not."""
    table = np.frombuffer(b"".join(rows), dtype=row_type)
    shares = {name: (table["present"] >> i & 1).astype(bool) for i, name in enumerate(quantities)}
    kept = [name for name, here in shares.items() if here.mean() >= MINIMUM_SHARE or name == "other_process_count"]
    whole = np.ones(len(table), dtype=bool)
    for name in kept:
        if name != "other_process_count":
            whole &= shares[name]
    if "other_process_count" in kept and not shares["other_process_count"].any():
        kept.remove("other_process_count")
    names = ["time_ns", *kept] + (["read_ns"] if "read_ns" in (row_type.names or ()) else [])
    return {name: table[name][whole] for name in names}, int((~whole).sum())


def _power(
    rows: list[bytes], facts: dict[str, Any], notes: list[Note]
) -> tuple[PowerSamples | None, ClockAlignment | None]:
    if not rows:
        return None, None
    columns, incomplete = _columns(rows, _POWER_TYPE, QUANTITIES)
    read_ns = columns.pop("read_ns")
    if incomplete:
        notes.append(
            Note(
                code="nvml-rows-incomplete",
                message=f"{incomplete} of {len(rows)} NVML samples missed a quantity and were left out",
                advice="see dmesg for messages of the NVIDIA driver (Xid)",
            )
        )
    if not len(read_ns):
        return None, None
    power = PowerSamples(**columns, power_source=facts.get("power_source"))
    alignment = ClockAlignment(
        source="nvml",
        offset_ns=0,
        error_ns=int(read_ns.max()) // 2 + 1,
        drift_ns=0,
        method="the host's monotonic clock, read before and after each sample",
    )
    return power, alignment


def _host(rows: list[bytes], notes: list[Note]) -> HostSamples | None:
    if not rows:
        notes.append(Note(code="host-absent", message="the host's load was not sampled"))
        return None
    columns, _ = _columns(rows, _HOST_TYPE, HOST_QUANTITIES)
    return HostSamples(**columns)


WORDS_OF_QUANTITY = {
    "power_mw": "power",
    "energy_mj": "the energy counter",
    "sm_clock_mhz": "the SM clock",
    "memory_clock_mhz": "the memory clock",
    "temperature_c": "temperature",
    "event_reasons": "clock-event reasons",
    "power_cap_ns": "time under the power cap",
    "thermal_ns": "time under thermal limits",
    "other_process_count": "other processes on the device",
}


def _device_notes(facts: dict[str, Any], notes: list[Note]) -> None:
    """Say what NVML did not tell."""
    if reason := facts.get("nvml_absent"):
        notes.append(
            Note(
                code="nvml-absent",
                message=f"power, energy and clocks are absent: {reason}",
                advice=facts.get("nvml_advice", ""),
                level=NoteLevel.INFO,
            )
        )
    absent = {name: why for name, why in facts.get("absent", {}).items() if name in WORDS_OF_QUANTITY}
    if absent:
        listed = "; ".join(f"{WORDS_OF_QUANTITY[name]} ({why})" for name, why in absent.items())
        notes.append(Note(code="nvml-partly-absent", message=f"this device does not tell: {listed}"))
