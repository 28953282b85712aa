"""One NVIDIA device through NVML: what it is, what it can tell, and one reading of it.

Everything goes through NVIDIA's own ``pynvml`` (nvidia-ml-py). A quantity that the driver does not give is ``None`` in
every reading and has its reason in :attr:`NvmlDevice.absent`; without the library or the driver, :class:`NvmlAbsent`
says why. The sampler imports this file, so it needs nothing but pynvml and the standard library.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# The cause of each bit of nvmlClocksEventReasons, and whether it takes performance away (nvml.h, NVML API reference).
EVENT_REASONS: tuple[tuple[int, str, bool], ...] = (
    (0x001, "idle", False),
    (0x002, "application clocks setting", False),
    (0x004, "power cap", True),
    (0x008, "hardware slowdown", True),
    (0x010, "sync boost", True),
    (0x020, "software thermal slowdown", True),
    (0x040, "hardware thermal slowdown", True),
    (0x080, "hardware power brake", True),
    (0x100, "display clock setting", False),
)
COSTLY_REASONS = sum(bit for bit, _, costly in EVENT_REASONS if costly)
CLOCK_SETTING_REASON = 0x002

# Numbers of NVML fields. 74 and 75 mean the same in every driver; those of the finer thermal counters moved between
# releases (251-253, then 269-271), so a newer library asking an older driver would read something else.
FIELD_POWER_CAP_NS = 74
FIELD_THERMAL_NS = 75
FIELD_POWER_AVERAGE = 185
FIELD_POWER_INSTANT = 186

PROCESS_PERIOD_NS = 1_000_000_000  # the list of processes is the driver's slowest answer, and changes rarely
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel: outside any container

UNKNOWN_COUNT = -1


class NvmlAbsent(Exception):  # noqa: N818 - on a machine without a GPU it is a fact, not a defect
    """NVML cannot be used here; the text says why, ``advice`` what to do."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


@dataclass(slots=True)
class Reading:
    """One sample of a device. ``time_ns`` is the middle of reading power and energy, ``read_ns`` how long all took."""

    time_ns: int
    read_ns: int
    power_mw: int | None = None
    energy_mj: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    event_reasons: int | None = None
    power_cap_ns: int | None = None
    thermal_ns: int | None = None
    other_process_count: int | None = None


QUANTITIES = tuple(name for name in Reading.__slots__ if name not in ("time_ns", "read_ns"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlFacts:
    """What a device is, by the driver; absent facts are ``None``."""

    index: int
    name: str
    uuid: str | None
    driver: str | None
    cuda_driver: str | None
    memory_bytes: int | None
    capability: str | None
    power_limit_mw: int | None
    default_power_limit_mw: int | None
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None
    clocks_locked: bool | None  # True where the driver says a clock setting limits them; it cannot say that none does


def _load() -> Any:
    try:
        import pynvml
    except ImportError:
        raise NvmlAbsent("the package nvidia-ml-py is not installed", "pip install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NvmlAbsent(*_init_failure(pynvml, error)) from None
    except OSError as error:
        raise NvmlAbsent(f"libnvidia-ml.so.1 cannot be loaded: {error}", "reinstall the NVIDIA driver") from None
    return pynvml


def _init_failure(pynvml: Any, error: Any) -> tuple[str, str]:
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return (
            "libnvidia-ml.so.1 is not on this machine",
            "install the NVIDIA driver; in a container, start it with --gpus all",
        )
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return ("the NVIDIA driver is not loaded", "load it (modprobe nvidia), or start the container with --gpus all")
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return ("the NVIDIA driver and its library are of different versions", "reboot, or reload the nvidia module")
    if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
        return ("no permission to talk to the NVIDIA driver", "check the rights of /dev/nvidiactl")
    return (f"NVML does not start: {error}", "see what nvidia-smi says")


@contextlib.contextmanager
def nvml() -> Iterator["Nvml"]:
    """Open NVML for the length of a ``with`` block; raises :class:`NvmlAbsent`."""
    pynvml = _load()
    try:
        yield Nvml(pynvml)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


class Nvml:
    """The opened library."""

    def __init__(self, pynvml: Any) -> None:
        self._pynvml = pynvml

    def count(self) -> int:
        """Return the number of devices."""
        return int(self._pynvml.nvmlDeviceGetCount())

    def device(self, *, uuid: str | None = None, index: int = 0, pid: int | None = None) -> "NvmlDevice":
        """Return a device by uuid, else by NVML's own index; raises :class:`NvmlAbsent`.

        CUDA's index is not NVML's: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER renumber. Take the uuid from
        ``torch.cuda.get_device_properties(i).uuid``. ``pid`` is the process whose own use of the device is not counted
        as another's.
        """
        pynvml = self._pynvml
        try:
            if uuid:
                # CUDA leaves out the prefix that NVML wants.
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
            else:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            wanted = uuid or f"index {index}"
            raise NvmlAbsent(f"NVML finds no device {wanted}: {error}", "compare with nvidia-smi -L") from None
        return NvmlDevice(pynvml, handle, pid)


class NvmlDevice:
    """A device: its facts, its readings, and what it does not tell."""

    def __init__(self, pynvml: Any, handle: Any, pid: int | None) -> None:
        self._pynvml = pynvml
        self._handle = handle
        self._pid = pid
        self._processes_read_ns = -PROCESS_PERIOD_NS
        self._other_process_count: int | None = None
        self._power_fields: list[int] = []
        self.absent: dict[str, str] = {}
        self.power_source: str | None = None
        self._power_fields = self._answering_fields()
        self._readers = self._answering_readers()

    def _ask(self, quantity: str, *functions: str, arguments: tuple[Any, ...] = ()) -> Any:
        """Call the first of the functions that answers; where none does, note why and return ``None``."""
        reason = "this nvidia-ml-py does not know it"
        for name in functions:
            function = getattr(self._pynvml, name, None)
            if function is None:
                continue
            try:
                return function(self._handle, *arguments)
            except self._pynvml.NVMLError as error:
                reason = str(error)
        self.absent[quantity] = reason
        return None

    # ------------------------------------------------------------------------------------------------------- facts

    def facts(self) -> NvmlFacts:
        """Ask what the device is."""
        pynvml = self._pynvml
        sm = (pynvml.NVML_CLOCK_SM,)
        memory = self._ask("memory", "nvmlDeviceGetMemoryInfo")
        capability = self._ask("compute capability", "nvmlDeviceGetCudaComputeCapability")
        reasons = self._ask("event_reasons", *_REASON_FUNCTIONS)
        limited = bool(reasons & CLOCK_SETTING_REASON) if reasons is not None else False
        return NvmlFacts(
            index=self._ask("index", "nvmlDeviceGetIndex") or 0,
            name=self._ask("name", "nvmlDeviceGetName") or "unnamed device",
            uuid=self._ask("uuid", "nvmlDeviceGetUUID"),
            driver=self._system("nvmlSystemGetDriverVersion"),
            cuda_driver=_cuda_version(self._system("nvmlSystemGetCudaDriverVersion_v2")),
            memory_bytes=memory.total if memory is not None else None,
            capability=f"{capability[0]}.{capability[1]}" if capability else None,
            power_limit_mw=self._ask("power limit", "nvmlDeviceGetEnforcedPowerLimit"),
            default_power_limit_mw=self._ask("default power limit", "nvmlDeviceGetPowerManagementDefaultLimit"),
            max_sm_clock_mhz=self._ask("largest SM clock", "nvmlDeviceGetMaxClockInfo", arguments=sm),
            max_memory_clock_mhz=self._ask(
                "largest memory clock", "nvmlDeviceGetMaxClockInfo", arguments=(pynvml.NVML_CLOCK_MEM,)
            ),
            clocks_locked=True if limited else None,
        )

    def _system(self, function: str) -> Any:
        try:
            return getattr(self._pynvml, function)()
        except self._pynvml.NVMLError:
            return None

    # ---------------------------------------------------------------------------------------------------- readings

    def _answering_fields(self) -> list[int]:
        """Find the fields that answer, the best source of power first, and remember where power comes from."""
        fields = [FIELD_POWER_INSTANT, FIELD_POWER_AVERAGE, FIELD_POWER_CAP_NS, FIELD_THERMAL_NS]
        answers = self._field_values(fields)
        answering: list[int] = []
        if FIELD_POWER_INSTANT in answers:
            self.power_source = "instant"
            answering.append(FIELD_POWER_INSTANT)
        elif FIELD_POWER_AVERAGE in answers:
            self.power_source = "average"
            answering.append(FIELD_POWER_AVERAGE)
        elif self._ask("power_mw", "nvmlDeviceGetPowerUsage") is not None:
            self.power_source = "usage (1 s average)"
        for quantity, number in (("power_cap_ns", FIELD_POWER_CAP_NS), ("thermal_ns", FIELD_THERMAL_NS)):
            if number in answers:
                answering.append(number)
            else:
                self.absent[quantity] = f"field {number} does not answer"
        return answering

    def _field_values(self, numbers: list[int]) -> dict[int, int]:
        """Return the answering ones of some fields; each field has an error code and a type of its own."""
        pynvml = self._pynvml
        if not numbers:
            return {}
        try:
            values = pynvml.nvmlDeviceGetFieldValues(self._handle, numbers)
        except pynvml.NVMLError:
            return {}
        return {v.fieldId: _field_number(pynvml, v) for v in values if v.nvmlReturn == pynvml.NVML_SUCCESS}

    def _answering_readers(self) -> list[tuple[str, Callable[[], Any]]]:
        """Find the functions that answer, so that a reading asks nothing in vain."""
        pynvml = self._pynvml
        clock = "nvmlDeviceGetClockInfo"
        choices: tuple[tuple[str, tuple[str, ...], tuple[Any, ...]], ...] = (
            ("energy_mj", ("nvmlDeviceGetTotalEnergyConsumption",), ()),
            ("sm_clock_mhz", (clock,), (pynvml.NVML_CLOCK_SM,)),
            ("memory_clock_mhz", (clock,), (pynvml.NVML_CLOCK_MEM,)),
            (
                "temperature_c",
                ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"),
                (pynvml.NVML_TEMPERATURE_GPU,),
            ),
            ("event_reasons", _REASON_FUNCTIONS, ()),
        )
        readers: list[tuple[str, Callable[[], Any]]] = []
        for quantity, functions, arguments in choices:
            for name in functions:
                function = getattr(pynvml, name, None)
                if function is not None and self._ask(quantity, name, arguments=arguments) is not None:
                    self.absent.pop(quantity, None)
                    readers.append((quantity, partial(function, self._handle, *arguments)))
                    break
        return readers

    def read(self) -> Reading:
        """Read the device once; a quantity that fails this time is ``None`` in this reading."""
        pynvml = self._pynvml
        reading = Reading(time_ns=0, read_ns=0)
        begin_ns = time.monotonic_ns()
        fields = self._field_values(self._power_fields)
        if self.power_source == "instant":
            reading.power_mw = fields.get(FIELD_POWER_INSTANT)
        elif self.power_source == "average":
            reading.power_mw = fields.get(FIELD_POWER_AVERAGE)
        elif self.power_source is not None:
            with contextlib.suppress(pynvml.NVMLError):
                reading.power_mw = pynvml.nvmlDeviceGetPowerUsage(self._handle)
        reading.power_cap_ns = fields.get(FIELD_POWER_CAP_NS)
        reading.thermal_ns = fields.get(FIELD_THERMAL_NS)
        energy_ns = 0
        for quantity, reader in self._readers:
            with contextlib.suppress(pynvml.NVMLError):
                setattr(reading, quantity, reader())
            energy_ns = energy_ns or time.monotonic_ns()  # energy is the first of the readers
        if begin_ns - self._processes_read_ns >= PROCESS_PERIOD_NS:
            self._processes_read_ns = begin_ns
            self._other_process_count = self.other_process_count()
        reading.other_process_count = self._other_process_count
        end_ns = time.monotonic_ns()
        reading.time_ns = (begin_ns + (energy_ns or end_ns)) // 2
        reading.read_ns = end_ns - begin_ns
        return reading

    # --------------------------------------------------------------------------------------------------- processes

    def processes(self) -> set[int] | None:
        """Return the pids on the device as the driver numbers them, or ``None`` where it does not tell."""
        pids: set[int] | None = None
        for kind in ("Compute", "Graphics"):
            name = f"nvmlDeviceGet{kind}RunningProcesses"
            found = self._ask("other_process_count", f"{name}_v3", f"{name}_v2")
            if found is not None:
                pids = (pids or set()) | {process.pid for process in found}
        if pids is not None:
            self.absent.pop("other_process_count", None)
        return pids

    def other_process_count(self) -> int | None:
        """Return how many processes beside the measured one and its children are on the device; ``None``: unknown.

        In a container the driver may give the host's numbers, or nothing. Where our process is not among them, it is
        taken to be one of those listed; where nothing is listed although it runs there, the number is unknown.
        """
        pids = self.processes()
        if pids is None:
            return None
        if self._pid is None:
            return len(pids)
        own = process_tree(self._pid)
        if pids & own or in_initial_pid_namespace():
            return len(pids - own)
        if not pids:
            self.absent["other_process_count"] = "the driver hides the processes of other pid namespaces"
            return None
        return len(pids) - 1

    # ------------------------------------------------------------------------------------------------------ energy

    def counter_period_ns(self, limit_s: float = 1.5) -> int | None:
        """Measure how often the energy counter moves, by asking it about every millisecond for up to ``limit_s``.

        Published figures differ by system (20 ms, 100 ms), so it is measured on the device. ``None`` where there is no
        counter, or where it moved less than three times.
        """
        pynvml = self._pynvml
        if "energy_mj" in self.absent:
            return None
        changes: list[int] = []
        last: int | None = None
        begin_ns = time.monotonic_ns()
        deadline_ns = begin_ns + int(limit_s * 1e9)
        while (now_ns := time.monotonic_ns()) < deadline_ns and len(changes) < 32:
            try:
                value = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
            except pynvml.NVMLError:
                return None
            if last is not None and value != last:
                changes.append(now_ns)
            last = value
            time.sleep(0.001)
        if len(changes) < 4:
            return None
        steps = [b - a for a, b in pairwise(changes)]
        typical = median(steps)
        # The mean is finer than the median of polls a millisecond apart; a step that hid an update counts as two.
        return int((changes[-1] - changes[0]) / sum(max(1, round(step / typical)) for step in steps))


_REASON_FUNCTIONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


def _field_number(pynvml: Any, value: Any) -> int:
    """Return the member of a field's union that its type names."""
    member = {
        pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    }.get(value.valueType, "uiVal")
    return int(getattr(value.value, member))


def _cuda_version(number: int | None) -> str | None:
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def in_initial_pid_namespace() -> bool:
    """Whether pids here are those that the driver counts in."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def process_tree(pid: int) -> set[int]:
    """Return a process and its descendants, as far as the kernel lists children."""
    tree = {pid}
    queue = [pid]
    while queue:
        parent = queue.pop()
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found = {int(child) for child in children.read_text().split()} - tree
                tree |= found
                queue.extend(found)
    return tree


def reason_names(reasons: int) -> list[str]:
    """Return the words for the set bits of an event mask."""
    return [name for bit, name, _ in EVENT_REASONS if reasons & bit]
