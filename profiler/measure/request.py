"""What is asked of a measured process, and what it says back while it works."""

from dataclasses import dataclass, field, replace

import msgspec

from tokprof.profiler.measure.stopping import StopLimits
from tokprof.profiler.record import DecodeMode, PassKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one process measures, as the command line understood it: one cell, or one after another with one model."""

    model: str  # zoo name, hub id, folder or .gguf file
    weights: str = "real"  # or "random"
    adapter: str | None = None
    merge_adapter: bool = False
    dtype: str | None = None  # None: float32 on a CPU, the checkpoint's own on a GPU
    attention: str = "sdpa"
    device: str = "auto"
    compile: bool = False
    trust_remote_code: bool = False
    kernels: str = "eager"

    prompt: str | None = None  # file or folder; None: text that comes with tokprof
    prompt_name: str | None = None  # how the summary calls it, where the file is not its name
    prompt_token_count: int | None = None  # cut or repeat to this length
    continuation: str | None = None
    fill_in_the_middle: bool = False
    mode: DecodeMode = DecodeMode.TEACHER_FORCED
    batch_size: int = 1
    shapes: tuple[tuple[int, int], ...] = ()  # (batch_size, prompt_token_count) of several cells; empty: as said above
    new_token_count: int = 64
    seed: int = 0

    limits: StopLimits = field(default_factory=StopLimits)
    warm_up_count: int = 1
    passes: tuple[PassKind, ...] = (PassKind.CLEAN, PassKind.ENERGY, PassKind.KERNELS, PassKind.STACKS)
    trace_step_limit: int = 48  # decode steps in the profiled pass, over its repetitions
    trace_repetition_count: int = 3
    energy_window_s: float = 15.0  # longest window the counter may ask for
    stack_rate_hz: int = 100
    stack_time_s: float = 3.0
    native_stacks: bool = False
    blocking_stacks: bool = False

    nvml_device: int | None = None  # sample this board even when the model runs on the CPU
    thread_count: int | None = None
    process_index: int = 0
    language: str | None = None
    arm: str | None = None
    command: tuple[str, ...] = ()

    @property
    def cells(self) -> "tuple[Request, ...]":
        """One request for each shape; itself without shapes."""
        made = (replace(self, batch_size=b, prompt_token_count=tokens, shapes=()) for b, tokens in self.shapes)
        return tuple(made) or (self,)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One line from the measured process to its supervisor."""

    kind: str  # "stage", "progress", "want" (waits for a line in answer), "error" or "done"
    text: str = ""
    detail: str = ""
    count: int | None = None
    total: int | None = None
    exit_code: int = 2


NOTHING_KEPT = "interrupted before the first repetition was finished; nothing was kept"
RAW_FOLDER = "raw"
KINETO_FILE = "kineto.json"
