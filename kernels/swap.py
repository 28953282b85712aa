"""Triton kernels in place of a transformers model's own, by module type, each checked against what it replaces.

A module keeps its parameters and its place; only its ``forward`` becomes another. Where a call is not what the kernel
is made for (a long prompt through a skinny product, attention with a mask), the original runs.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprof.kernels.activations import gelu, swiglu
from tokprof.kernels.attention import MAX_SIZE, decode_attention
from tokprof.kernels.launch import INTERPRETED, KernelError
from tokprof.kernels.lora import lora
from tokprof.kernels.matvec import MAX_ROWS, matvec
from tokprof.kernels.norms import layer_norm, rms_norm
from tokprof.kernels.rotary import rotary

# Relative to the original, which rounds after each of its operations: a few units of the dtype's last place.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}
_ATTENTION = "tokprof_triton"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What was put in: how many of each kernel, and the largest relative difference that any check found."""

    counts: tuple[tuple[str, int], ...]
    largest_difference: float
    interpreted: bool  # by Triton's interpreter, whose times say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swap:
    kernel: str
    place: str  # the module's name in the model
    new: Callable[..., Any]
    old: Callable[..., Any]
    inputs: tuple[tuple[Any, ...], ...]  # of each check
    put: Callable[[], None]


@torch.no_grad()
def swap(model: nn.Module) -> Swapped:
    """Put the kernels into a loaded model, for as long as this process lives.

    Each replacement is first run on random inputs beside the original; none is put in unless all agree.

    Raises
    ------
    KernelError
        The model is not on a GPU and Triton's interpreter is off, its dtype has no kernels, it holds nothing that they
        replace, or one of them disagrees with the original.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cuda" and not INTERPRETED:
        raise KernelError(
            f"Triton kernels need a GPU, and the model is on {parameter.device}; to run them in Triton's interpreter, "
            "thousands of times slower, set TRITON_INTERPRET=1"
        )
    if parameter.dtype not in TOLERANCES:
        raise KernelError(f"no Triton kernels for {parameter.dtype}; choose float32, bfloat16 or float16")
    if parameter.device.type == "cuda":
        torch.cuda.set_device(parameter.device)  # where Triton launches
    generator = torch.Generator(parameter.device).manual_seed(0)
    random = functools.partial(torch.randn, generator=generator, dtype=parameter.dtype, device=parameter.device)
    swaps = [*_modules(model, random), *_rotaries(model, random), *_attentions(model, random)]
    if not swaps:
        raise KernelError(f"{type(model).__name__} has no module that a Triton kernel replaces")
    largest = max(_difference(one, TOLERANCES[parameter.dtype]) for one in swaps)
    for one in swaps:
        one.put()
    return Swapped(
        counts=tuple(Counter(one.kernel for one in swaps).items()), largest_difference=largest, interpreted=INTERPRETED
    )


def _difference(one: _Swap, tolerance: float) -> float:
    largest = 0.0
    for inputs in one.inputs:
        wanted, got = one.old(*inputs), one.new(*inputs)
        pairs = zip(wanted, got, strict=True) if isinstance(wanted, tuple) else [(wanted, got)]
        for a, b in pairs:
            if a is None:
                continue
            difference = float((a.double() - b.double()).norm() / a.double().norm())
            if not difference <= tolerance or a.shape != b.shape or a.dtype != b.dtype:  # a NaN is no agreement
                raise KernelError(
                    f"{one.place}: the Triton kernel of {one.kernel} differs from the original by {difference:.1e}, "
                    f"beyond {tolerance:.0e}; this model wants --kernels eager"
                )
            largest = max(largest, difference)
    return largest


# ----------------------------------------------------------------------------------------------------------- modules


def _modules(model: nn.Module, random: Callable[..., Tensor]) -> Iterator[_Swap]:
    inside: tuple[str, ...] = ()  # modules whose children their own kernel replaces
    for place, module in model.named_modules():
        if inside and place.startswith(inside):
            continue
        for kind, make in _MAKERS.items():
            made = make(module, random)
            if made is not None:
                new, inputs = made
                put = functools.partial(setattr, module, "forward", new)
                yield _Swap(kernel=kind, place=place, new=new, old=module.forward, inputs=inputs, put=put)
                if kind == "LoRA":
                    inside = (*inside, f"{place}.")
                break


def _rms_norm(module: Any, random: Callable[..., Tensor]) -> Any:
    if not type(module).__name__.endswith("RMSNorm") or not hasattr(module, "variance_epsilon"):
        return None
    weight, eps = module.weight, module.variance_epsilon

    def forward(hidden_states: Tensor) -> Tensor:
        return rms_norm(hidden_states, weight, eps)

    return forward, ((random(2, 3, weight.shape[0]),),)


def _layer_norm(module: Any, random: Callable[..., Tensor]) -> Any:
    if type(module) is not nn.LayerNorm or len(module.normalized_shape) != 1 or module.weight is None:
        return None
    weight, bias, eps = module.weight, module.bias, module.eps

    def forward(x: Tensor) -> Tensor:
        return layer_norm(x, weight, bias, eps)

    return forward, ((random(2, 3, weight.shape[0]),),)


def _swiglu(module: Any, random: Callable[..., Tensor]) -> Any:
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    if not all(hasattr(module, part) for part in parts) or "SiLU" not in type(module.act_fn).__name__:
        return None

    def forward(x: Tensor) -> Tensor:
        return module.down_proj(swiglu(module.gate_proj(x), module.up_proj(x)))  # type: ignore[no-any-return]

    return forward, ((random(2, 1, getattr(module, "hidden_size", None) or module.gate_proj.in_features),),)


def _gelu(module: Any, random: Callable[..., Tensor]) -> Any:
    name = type(module).__name__
    tanh = name in ("GELUTanh", "PytorchGELUTanh", "NewGELUActivation") or getattr(module, "approximate", "") == "tanh"
    if not tanh and name not in ("GELUActivation", "GELU"):
        return None

    def forward(x: Tensor) -> Tensor:
        return gelu(x, tanh=tanh)

    return forward, ((random(2, 3, 500),),)


def _linear(module: Any, random: Callable[..., Tensor]) -> Any:
    if type(module) is not nn.Linear or module.weight.stride(1) != 1:
        return None
    weight, bias, old = module.weight, module.bias, module.forward
    outputs, inputs = weight.shape

    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(-1, inputs)
        if rows.shape[0] > MAX_ROWS or x.dtype != weight.dtype:
            return old(x)
        return matvec(rows, weight, bias=bias).view(*x.shape[:-1], outputs)

    return forward, ((random(1, 1, inputs),), (random(3, 1, inputs),))


def _lora(module: Any, random: Callable[..., Tensor]) -> Any:
    if type(module).__module__ != "peft.tuners.lora.layer" or type(module).__name__ != "Linear":
        return None
    base, active = module.get_base_layer(), list(module.active_adapters)
    plain = len(active) == 1 and active[0] in module.lora_A and not module.merged and not module.disable_adapters
    if not plain or module.lora_variant or module.lora_bias[active[0]] or type(base) is not nn.Linear:
        return None
    weight, bias, old = base.weight, base.bias, module.forward
    a, b, scaling = module.lora_A[active[0]].weight, module.lora_B[active[0]].weight, module.scaling[active[0]]
    if weight.stride(1) != 1:
        return None
    outputs, inputs = weight.shape

    def forward(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        rows = x.reshape(-1, inputs)
        if rows.shape[0] > MAX_ROWS or x.dtype != weight.dtype or arguments or options:
            return old(x, *arguments, **options)  # type: ignore[no-any-return]
        return lora(rows, weight, a, b, scaling, bias).view(*x.shape[:-1], outputs)

    return forward, ((random(1, 1, inputs),), (random(3, 1, inputs),))


_MAKERS: dict[str, Callable[[Any, Callable[..., Tensor]], Any]] = {
    "RMSNorm": _rms_norm,
    "LayerNorm": _layer_norm,
    "SwiGLU": _swiglu,
    "GELU": _gelu,
    "LoRA": _lora,
    "skinny product": _linear,
}


# --------------------------------------------------------------------------------------------------------- functions


def _attention_modules(model: nn.Module) -> list[tuple[str, Any]]:
    wanted = ("head_dim", "num_key_value_groups", "scaling", "config")
    named = [(place, module) for place, module in model.named_modules() if type(module).__name__.endswith("Attention")]
    return [(place, module) for place, module in named if all(hasattr(module, name) for name in wanted)]


def _rotaries(model: nn.Module, random: Callable[..., Tensor]) -> Iterator[_Swap]:
    """Replace the function that a family's attention calls by a name of its file, once for the file."""
    files = {type(module).__module__: (place, module) for place, module in reversed(_attention_modules(model))}
    for file, (place, module) in files.items():
        old = getattr(sys.modules[file], "apply_rotary_pos_emb", None)
        if old is None:
            continue

        def new(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, old: Any = old, **options: Any) -> Any:
            if rest or options or cos.shape[-1] != q.shape[-1] or cos.dim() != 3 or q.dtype != k.dtype:
                return old(q, k, cos, sin, *rest, **options)
            return rotary(q, k, cos, sin)

        heads, size = module.config.num_attention_heads, module.head_dim
        angle = random(2, 3, size // 2).repeat(1, 1, 2)
        inputs = (random(2, heads, 3, size), random(2, heads // module.num_key_value_groups, 3, size))
        put = functools.partial(setattr, sys.modules[file], "apply_rotary_pos_emb", new)
        yield _Swap(
            kernel="rotary", place=place, new=new, old=old, inputs=((*inputs, angle.cos(), angle.sin()),), put=put
        )


def _attentions(model: Any, random: Callable[..., Tensor]) -> Iterator[_Swap]:
    """Register a backend of attention that decodes by the kernel and leaves all else to sdpa, and choose it."""
    modules = _attention_modules(model)
    if not modules or getattr(model.config, "_attn_implementation", None) != "sdpa":
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        window = options.get("sliding_window")
        plain = query.shape[2] == 1 and attention_mask is None and not options.get("dropout")
        plain = plain and options.get("position_bias") is None and options.get("softcap") is None
        plain = plain and (window is None or key.shape[2] <= window) and query.shape[3] <= MAX_SIZE
        if not plain or query.stride(3) != 1 or key.stride(3) != 1 or value.stride(3) != 1:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
        return decode_attention(query, key, value, options.get("scaling")).transpose(1, 2), None

    def choose() -> None:
        AttentionInterface.register(_ATTENTION, attend)
        AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
        model.set_attn_implementation(_ATTENTION)

    for place, module in modules:
        heads, size = module.config.num_attention_heads, module.head_dim
        cache = (2, heads // module.num_key_value_groups, 150, size)
        inputs = (module, random(2, heads, 1, size), random(*cache), random(*cache), None)
        new, old = (
            functools.partial(function, scaling=module.scaling) for function in (attend, sdpa_attention_forward)
        )
        yield _Swap(kernel="decode attention", place=place, new=new, old=old, inputs=(inputs,), put=choose)
        choose = _nothing  # once is enough for all


def _nothing() -> None:
    """The backend is chosen already."""
