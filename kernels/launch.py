"""How every kernel here is launched, or compiled ahead of time instead, and what its compiled form takes."""

import contextlib
import contextvars
import functools
import math
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPE_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int8: "i8",
    torch.int32: "i32",
    torch.int64: "i64",
}
INTERPRETED = bool(triton.knobs.runtime.interpret)
_WIDENED = tl.constexpr(INTERPRETED)
_OPTIONS = {"enable_fp_fusion": True}  # said, because Triton's default for it is about to change
_SM_COUNT_RECORDED = 132  # an H100's, for launches that are only compiled


class KernelError(Exception):
    """A kernel that cannot run here, or whose numbers are wrong; one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one call must move and compute at least: each input read once, each output written once."""

    bytes: int  # of device memory
    flops: int  # a multiplication and an addition are two

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(bytes=self.bytes + other.bytes, flops=self.flops + other.flops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One launch as a compiler sees it: types, constants, and which arguments divide by 16."""

    kernel: Any
    signature: tuple[tuple[str, str], ...]  # argument and its Triton type, "constexpr" for a constant
    constants: tuple[tuple[str, Any], ...]
    divisible: tuple[int, ...]  # positions of the arguments that divide by 16
    num_warps: int
    num_stages: int
    program_count: int = field(compare=False)  # of which the compiler knows nothing

    @property
    def name(self) -> str:
        """The kernel's name."""
        return str(self.kernel.__name__).lstrip("_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a compiled kernel takes: registers per thread, and bytes of shared and of spilled memory."""

    register_count: int  # per thread
    shared_bytes: int  # per program
    spill_bytes: int  # of local memory per thread; every byte is a trip to device memory


@triton.jit
def dot(a, b, total):
    """Return ``total + a @ b`` in float32, by tensor cores also where ``a`` and ``b`` are float32."""
    if _WIDENED:  # the interpreter multiplies the bits of bfloat16 as if they were integers
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    # Three TF32 products are as exact as float32 to a bit or two; without tensor cores such a tile would spill.
    return tl.dot(a, b, total, input_precision="tf32x3")


_recorder: contextvars.ContextVar[list[Launch] | None] = contextvars.ContextVar("recorder", default=None)


def launch(
    kernel: Any, grid: tuple[int, ...], *arguments: Any, num_warps: int = 4, num_stages: int = 3, **constants: Any
) -> None:
    """Launch a kernel on the current device, or note the launch inside :func:`recording`.

    Raises
    ------
    KernelError
        The tensors are not on a GPU, and Triton's interpreter is off.
    """
    recorder = _recorder.get()
    if recorder is not None:
        recorder.append(_as_compiled(kernel, grid, arguments, constants, num_warps, num_stages))
        return
    if not INTERPRETED and not arguments[0].is_cuda:
        raise KernelError(
            f"{kernel.__name__.lstrip('_')}: its tensors are on {arguments[0].device}; Triton runs on a GPU, or "
            "with TRITON_INTERPRET=1 in its interpreter, thousands of times slower"
        )
    kernel[grid](*arguments, num_warps=num_warps, num_stages=num_stages, **_OPTIONS, **constants)


@contextlib.contextmanager
def recording() -> Iterator[list[Launch]]:
    """Note launches in the list that is given instead of running them; tensors may be on the device "meta"."""
    launches: list[Launch] = []
    token = _recorder.set(launches)
    try:
        yield launches
    finally:
        _recorder.reset(token)


def _as_compiled(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: Sequence[Any],
    constants: Mapping[str, Any],
    num_warps: int,
    num_stages: int,
) -> Launch:
    """Specialise as Triton's own launcher does: None and 1 become constants, multiples of 16 are known to be such."""
    signature, fixed, divisible = {}, dict(constants), []
    frozen = set(getattr(kernel, "do_not_specialize", ()))  # the interpreter knows none
    for position, name in enumerate(kernel.arg_names):
        if position >= len(arguments):
            signature[name] = "constexpr"
            continue
        value = arguments[position]
        if value is None or (value == 1 if type(value) is int and name not in frozen else False):
            signature[name] = "constexpr"
            fixed[name] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + TYPE_NAMES[value.dtype]
            offset_bytes = value.storage_offset() * value.element_size()  # memory itself is aligned
            if offset_bytes % 16 == 0:
                divisible.append(position)
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0 and name not in frozen:
                divisible.append(position)
    return Launch(
        kernel=kernel,
        signature=tuple(signature.items()),
        constants=tuple(fixed.items()),
        divisible=tuple(divisible),
        num_warps=num_warps,
        num_stages=num_stages,
        program_count=math.prod(grid),
    )


def compiled_for(launch_: Launch, capability: int) -> Any:
    """Return Triton's compiled kernel of a recorded launch for ``sm_<capability>`` (80, 90, ...); no GPU is needed.

    Raises
    ------
    KernelError
        This process has Triton's interpreter on, which leaves nothing to compile.
    """
    if INTERPRETED:
        raise KernelError("TRITON_INTERPRET=1 is set, so there is nothing to compile; unset it")
    source = ASTSource(
        fn=launch_.kernel,
        signature=dict(launch_.signature),
        constexprs=dict(launch_.constants),
        attrs={(position,): [["tt.divisibility", 16]] for position in launch_.divisible},
    )
    return triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": launch_.num_warps, "num_stages": launch_.num_stages, **_OPTIONS},
    )


@functools.cache
def compiled_resources(launch_: Launch, capability: int) -> Resources:
    """Return what a recorded launch takes of ``sm_<capability>``; see :func:`compiled_for`."""
    compiled = compiled_for(launch_, capability)
    # ptxas counts what it spilled as the stack frame of the kernel, which no kernel here needs for anything else.
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        words = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    facts = dict(word.split(":") for word in said.split() if word.startswith(("REG:", "STACK:", "LOCAL:")))
    return Resources(
        register_count=int(facts["REG"]),
        shared_bytes=int(compiled.metadata.shared),
        spill_bytes=int(facts["STACK"]) + int(facts["LOCAL"]),
    )


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` (..., width) as (rows, width), a view where it can be one.

    Kernels count rows in 64 bits and columns in 32: a row that is spread wider than that is copied.
    """
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    return rows if rows.stride(1) * width < 2**31 else rows.contiguous()


@functools.cache
def sm_count(device: torch.device) -> int:
    """Return how many multiprocessors a device has; the interpreter runs one program after another."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).multi_processor_count)
    return _SM_COUNT_RECORDED if device.type == "meta" else 1
