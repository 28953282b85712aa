"""What every measured process shares: its pipes to the supervisor, Ctrl-C, and loading a model for a request."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import msgspec

from tokprof.models.errors import ModelError
from tokprof.profiler.errors import InputError, Interrupted, MeasurementError, TokprofError
from tokprof.profiler.measure.request import NOTHING_KEPT, Message, Request
from tokprof.profiler.record import Environment, ModelFacts, Note, NoteLevel
from tokprof.profiler.sensors.marker import allow_tracing_by

if TYPE_CHECKING:
    from tokprof.models.loading import LoadedModel, ModelSpec
    from tokprof.profiler.measure.clocks import ClockProbe


class Interrupts:
    """The handler of Ctrl-C, which remembers: Python drops an interrupt that comes while garbage is being collected."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Interrupt what runs."""
        self._asked = True
        raise KeyboardInterrupt

    @staticmethod
    def check() -> None:
        """Raise the interrupt again where it was dropped."""
        handler = signal.getsignal(signal.SIGINT)
        if isinstance(handler, Interrupts) and handler._asked:
            raise KeyboardInterrupt


class Channel:
    """The two pipes to the supervisor."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, kind: str, text: str = "", **values: Any) -> None:
        """Send one message."""
        self._writer.write(msgspec.json.encode(Message(kind=kind, text=text, **values)) + b"\n")
        self._writer.flush()

    def ask(self, what: str, detail: str = "") -> str | None:
        """Ask the supervisor to start or stop an instrument; return its answer, or None where it could not."""
        self.send("want", what, detail=detail)
        answer = self._reader.readline().decode().strip()
        return None if answer in ("", "no") else answer


RequestT = TypeVar("RequestT")


def run_child(request_type: type[RequestT], measure: Callable[[RequestT, Path, Channel], None]) -> None:
    """Be the measured process: read the request in the file named first, and measure into the folder named second."""
    _die_with_parent()
    allow_tracing_by(os.getppid())  # py-spy is the parent's child
    signal.signal(signal.SIGINT, Interrupts())
    channel = Channel(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever a library prints goes to standard error, not among the messages
    try:
        request = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=request_type)
        measure(request, Path(sys.argv[2]), channel)
        channel.send("done")
    except (TokprofError, ModelError) as error:
        exit_code = getattr(error, "exit_code", InputError.exit_code)
        channel.send("error", str(error), detail=type(error).__name__, exit_code=exit_code)
        sys.exit(1)
    except KeyboardInterrupt:
        channel.send("error", NOTHING_KEPT, exit_code=Interrupted.exit_code)
        sys.exit(1)


def choose_device(asked: str) -> str:
    """Return torch's name of the device that was asked for, and make a GPU the current one.

    What names no device (a Triton launch, an event) goes to the current one, which is otherwise the first.

    Raises
    ------
    MeasurementError
        No such device is known, or torch sees no GPU of that number.
    """
    import torch

    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cpu":
        return asked
    if not asked.startswith("cuda"):
        raise MeasurementError(f"--device {asked}: unknown; choose cpu, cuda, cuda:1, ... or auto")
    if not torch.cuda.is_available():
        raise MeasurementError(f"--device {asked}: torch sees no CUDA device here; `tokprof env` says why")
    count = torch.cuda.device_count()
    index = asked.removeprefix("cuda").removeprefix(":") or "0"
    if not index.isdecimal() or int(index) >= count:
        raise MeasurementError(f"--device {asked}: torch sees {count} CUDA devices here, cuda:0 to cuda:{count - 1}")
    torch.cuda.set_device(int(index))
    return f"cuda:{int(index)}"


def device_uuid(device: str) -> str:
    """Return the GPU's identifier as NVML knows it; empty for a CPU."""
    if not device.startswith("cuda"):
        return ""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def model_spec(request: Request, device: str) -> "ModelSpec":
    """Return what to load for a request."""
    from tokprof.models.loading import ModelSpec

    return ModelSpec(
        name=request.model,
        weights=request.weights,
        dtype=request.dtype or ("bfloat16" if device.startswith("cuda") else "float32"),
        device=device,
        attention=request.attention,
        adapter=None if request.adapter is None else Path(request.adapter),
        merge_adapter=request.merge_adapter,
        trust_remote_code=request.trust_remote_code,
        compile=request.compile,
        seed=request.seed,
    )


def model_facts(loaded: "LoadedModel", request: Request) -> ModelFacts:
    """Return what was counted on a loaded model."""
    return ModelFacts(
        name=loaded.name,
        architecture=loaded.architecture,
        source=loaded.source,
        weights=request.weights,
        weights_digest=loaded.weights_digest,
        config_digest=loaded.config_digest,
        tokenizer_digest=loaded.tokenizer_digest,
        parameter_count=loaded.parameter_count,
        vocabulary_count=loaded.vocabulary_count,
        context_token_count=loaded.context_token_count,
        dtype=loaded.dtype,
        attention=loaded.attention,
        weight_bytes_per_token=loaded.weight_bytes_per_token,
        kv_bytes_per_token=loaded.kv_bytes_per_token,
        adapter=None if request.adapter is None else ("merged" if request.merge_adapter else "unmerged"),
        adapter_digest=loaded.adapter_digest,
        adapter_name=None if request.adapter is None else Path(request.adapter).name,
        compiled=request.compile,
        kernels=request.kernels,
        shape=None if loaded.shape is None else asdict(loaded.shape),
    )


def machine(device: str) -> Environment:
    """Return the machine as the measured process sees it."""
    import torch

    from tokprof.profiler.environment import environment

    return environment(device, thread_count=torch.get_num_threads())


def clock_probe(device: str) -> "tuple[ClockProbe | None, list[Note]]":
    """Return what lets the device read its own SM clock, compiled and run once; without it, the note that says why."""
    from tokprof.kernels import probes

    try:
        return probes.ClockProbe(device), []
    except ImportError as error:
        return None, [clock_unread(str(error), "pip install 'tokprof[triton]'")]
    except Exception as error:  # whatever the compiler or the driver raises: a profile does not hang on this
        return None, [clock_unread((str(error).strip() or type(error).__name__).splitlines()[0])]


def clock_unread(why: str, advice: str = "") -> Note:
    """Return the note that the device's own clock is not known, and why."""
    return Note(
        code="clock-unread",
        message=f"the device did not read its own SM clock between the phases: {why}",
        advice=advice,
        level=NoteLevel.INFO,
    )


def fetching(channel: Channel) -> Callable[[int, int | None], None]:
    """Return a callback that tells how far a download is, a few times a second."""
    told_s: float | None = None

    def tell(done: int, total: int | None) -> None:
        nonlocal told_s
        if told_s is None:
            channel.send("stage", "fetching")
        if told_s is None or done == total or time.monotonic() - told_s > 0.25:
            told_s = time.monotonic()
            channel.send("progress", "fetching", count=done, total=total)

    return tell


@contextlib.contextmanager
def out_of_memory_explained(spec: "ModelSpec") -> Iterator[None]:
    """Turn the allocators' refusals into one line that says what would fit."""
    try:
        yield
    except MemoryError as error:
        raise MeasurementError(_what_fits(spec)) from error
    except RuntimeError as error:
        # The CUDA allocator has a class of its own; the CPU's has only these words, which differ between systems.
        words = ("allocate memory", "not enough memory")
        if type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words):
            raise MeasurementError(_what_fits(spec)) from error
        raise


def _what_fits(spec: "ModelSpec") -> str:
    from tokprof.models.loading import what_fits

    return f"out of memory with {spec.name}: {what_fits(spec.name, spec.dtype, spec.device)}"


def _die_with_parent() -> None:
    """Ask Linux to end this process when its supervisor is killed, so that nothing keeps computing for nobody."""
    import ctypes

    parent_death_signal = 1  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
