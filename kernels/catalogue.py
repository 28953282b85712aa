"""Every kernel at the shapes of a model, beside the library's way to do the same."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokprof.kernels.activations import gelu, gelu_cost, gelu_reference, swiglu, swiglu_cost, swiglu_reference
from tokprof.kernels.attention import attention_cost, attention_reference, decode_attention
from tokprof.kernels.launch import Cost, Launch, recording
from tokprof.kernels.lm_head import greedy, greedy_cost
from tokprof.kernels.lora import lora, lora_cost, lora_reference
from tokprof.kernels.matvec import MAX_ROWS, matvec, matvec_cost, matvec_reference, quantize_rows
from tokprof.kernels.norms import layer_norm, layer_norm_reference, norm_cost, rms_norm, rms_norm_reference
from tokprof.kernels.rotary import rotary, rotary_cost, rotary_reference

PREFILL_TOKENS = 4096  # of the kernels that a prompt runs as well
LORA_RANK = 16
_ATTENTION = "F.scaled_dot_product_attention"
_EPS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One kernel on one set of random inputs."""

    run: Callable[[], Any]  # ours
    library: Callable[[], Any]  # torch's own, or the vendor's behind it
    difference: Callable[[], float]  # of ours from the float64 reference, relative
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kernel at one shape; ``make(device, dtype)`` draws the inputs, on the device "meta" none."""

    kernel: str
    model: str
    shape: str
    library: str  # what the library's way is called
    make: Callable[[str, torch.dtype], Trial]

    def launches(self, dtype: torch.dtype = torch.bfloat16) -> list[Launch]:
        """Return what a call launches, without a device."""
        with recording() as launches:
            self.make("meta", dtype).run()
        return launches

    def cost(self, dtype: torch.dtype = torch.bfloat16) -> Cost:
        """Return what a call must move and compute at least."""
        return self.make("meta", dtype).cost


def attended_count(shape: Any) -> int:
    """Return how many tokens a step of a model attends to at most: its context, or its window."""
    return int(min(shape.context_token_count, shape.window_token_count or shape.context_token_count))


def cases(shape: Any, model: str, *, batches: Sequence[int], contexts: Sequence[int]) -> Iterator[Case]:
    """Give every kernel that a model can use, for decoding at each batch size and context length.

    ``shape`` holds the sizes of a decoder by the names of ``tokprof.models.cost.ModelShape``. Attention to more tokens
    than the model takes is left out; with a single KV head it is given all the same, but as no model's.
    """
    beyond: list[tuple[str, Any]] = []
    kernels: list[tuple[str, str, list[tuple[str, Any]]]] = []
    many = [(f"{rows} x {shape.hidden}", rows) for rows in (*batches, PREFILL_TOKENS)]
    biased = shape.norm_bias
    kernels.append(
        ("LayerNorm" if biased else "RMSNorm", f"F.{'layer' if biased else 'rms'}_norm",
         [(words, _norm(rows, shape.hidden, centred=biased)) for words, rows in many])
    )  # fmt: skip
    if shape.ffn:
        kernels.append(
            ("SwiGLU" if shape.gated else "GELU", "F.silu * up" if shape.gated else "F.gelu",
             [(f"{rows} x {shape.ffn}", _activation(rows, shape.ffn, gated=shape.gated)) for _, rows in many])
        )  # fmt: skip
    if not shape.is_state_space:
        heads, kv_heads, size = shape.head_count, shape.kv_head_count, shape.head_dim
        over = f"{heads} heads over {kv_heads} KV {'head' if kv_heads == 1 else 'heads'} of {size}"
        if not shape.position_rows:
            kernels.append(
                ("rotary", "torch operators",
                 [(f"{batch} x 1 token, {heads} + {kv_heads} heads of {size}", _rotary(batch, heads, kv_heads, size))
                  for batch in batches])
            )  # fmt: skip
        attention = [
            (context, (f"{batch} x {context} tokens, {over}", _attention(batch, heads, kv_heads, context, size)))
            for batch in batches for context in contexts
        ]  # fmt: skip
        most = attended_count(shape)
        kernels.append(("decode attention", _ATTENTION, [made for context, made in attention if context <= most]))
        if kv_heads == 1:
            beyond = [made for context, made in attention if context > most]
        query = heads * size
        kernels.append(
            ("LoRA", "torch operators",
             [(f"{rows} x {shape.hidden} to {query}, rank {LORA_RANK} in float32", _lora(rows, shape.hidden, query))
              for rows in batches if rows <= MAX_ROWS])
        )  # fmt: skip
    skinny = [rows for rows in batches if rows <= MAX_ROWS]
    products = [
        (f"{rows} x {n_in} to {n_out}", rows, n_in, n_out) for n_in, n_out in _products(shape) for rows in skinny
    ]
    kernels.append(
        ("skinny product", "F.linear", [(words, _product(*sizes, int8=False)) for words, *sizes in products])
    )
    kernels.append(
        (
            "skinny product, int8",
            "F.linear in full",
            [(words, _product(*sizes, int8=True)) for words, *sizes in products],
        )
    )
    kernels.append(
        ("LM head, greedy", "F.linear, argmax",
         [(f"{rows} x {shape.hidden} to {shape.vocabulary_count}", _head(rows, shape.hidden, shape.vocabulary_count))
          for rows in skinny])
    )  # fmt: skip
    for kernel, library, made in kernels:
        for words, make in made:
            yield Case(kernel=kernel, model=model, shape=words, library=library, make=make)
    whose = f"MQA of {shape.head_count} heads"
    for words, make in beyond:
        yield Case(kernel="decode attention", model=whose, shape=words, library=_ATTENTION, make=make)


def _products(shape: Any) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of a layer's matrices, each size once; a state-space layer's are left to the library."""
    if shape.is_state_space:
        return []
    query, keys = shape.head_count * shape.head_dim, shape.kv_head_count * shape.head_dim
    if shape.family == "gpt_bigcode":
        inward = [(shape.hidden, query + 2 * keys)]  # one matrix for queries, keys and values
    else:
        inward = [(shape.hidden, query), (shape.hidden, keys)]
    sizes = [*inward, (query, shape.hidden)]
    sizes += [(shape.hidden, shape.ffn), (shape.ffn, shape.hidden)]
    return list(dict.fromkeys(sizes))


# -------------------------------------------------------------------------------------------------------------- trials


def relative_difference(got: Tensor, wanted: Tensor) -> float:
    """Return the Euclidean norm of the difference over that of ``wanted``, in float64; NaN where anything is."""
    return float((got.double() - wanted).norm() / wanted.norm())


def _random(device: str, dtype: torch.dtype) -> Callable[..., Tensor]:
    if device == "meta":
        return lambda *sizes, dtype=dtype: torch.empty(*sizes, dtype=dtype, device=device)
    return lambda *sizes, dtype=dtype: torch.randn(*sizes, dtype=dtype, device=device)


def _norm(rows: int, width: int, *, centred: bool) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        x, weight, bias = random(rows, width), random(width), random(width)
        cost = norm_cost(x, centred=centred, biased=centred)
        if centred:
            return Trial(
                run=lambda: layer_norm(x, weight, bias, _EPS),
                library=lambda: functional.layer_norm(x, (width,), weight, bias, _EPS),
                difference=lambda: relative_difference(
                    layer_norm(x, weight, bias, _EPS),
                    layer_norm_reference(x.double(), weight.double(), bias.double(), _EPS),
                ),
                cost=cost,
            )
        return Trial(
            run=lambda: rms_norm(x, weight, _EPS),
            library=lambda: functional.rms_norm(x, (width,), weight, _EPS),
            difference=lambda: relative_difference(
                rms_norm(x, weight, _EPS), rms_norm_reference(x.double(), weight.double(), _EPS)
            ),
            cost=cost,
        )

    return make


def _activation(rows: int, width: int, *, gated: bool) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        x, up = random(rows, width), random(rows, width)
        if gated:
            return Trial(
                run=lambda: swiglu(x, up),
                library=lambda: functional.silu(x) * up,
                difference=lambda: relative_difference(swiglu(x, up), swiglu_reference(x.double(), up.double())),
                cost=swiglu_cost(x),
            )
        return Trial(
            run=lambda: gelu(x, tanh=True),
            library=lambda: functional.gelu(x, approximate="tanh"),
            difference=lambda: relative_difference(gelu(x, tanh=True), gelu_reference(x.double(), tanh=True)),
            cost=gelu_cost(x),
        )

    return make


def _rotary(batch: int, heads: int, kv_heads: int, size: int) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        q, k = random(batch, heads, 1, size), random(batch, kv_heads, 1, size)
        angle = random(1, 1, size // 2).repeat(1, 1, 2)
        cos, sin = angle.cos(), angle.sin()

        def difference() -> float:
            got = torch.cat(rotary(q, k, cos, sin), 1)
            wanted = [rotary_reference(x.double(), cos.double(), sin.double()) for x in (q, k)]
            return relative_difference(got, torch.cat(wanted, 1))

        return Trial(
            run=lambda: rotary(q, k, cos, sin),
            library=lambda: (rotary_reference(q, cos, sin), rotary_reference(k, cos, sin)),
            difference=difference,
            cost=rotary_cost(q, k, cos),
        )

    return make


def _attention(batch: int, heads: int, kv_heads: int, context: int, size: int) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        q = random(batch, heads, 1, size)
        k, v = random(batch, kv_heads, context, size), random(batch, kv_heads, context, size)
        return Trial(
            run=lambda: decode_attention(q, k, v),
            library=lambda: functional.scaled_dot_product_attention(q, k, v, enable_gqa=heads != kv_heads),
            difference=lambda: relative_difference(
                decode_attention(q, k, v), attention_reference(q.double(), k.double(), v.double())
            ),
            cost=attention_cost(q, k),
        )

    return make


def _product(rows: int, inputs: int, outputs: int, *, int8: bool) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        x, weight = random(rows, inputs), random(outputs, inputs)
        packed, scale = quantize_rows(weight) if int8 else (weight, None)
        return Trial(
            run=lambda: matvec(x, packed, scale),
            library=lambda: functional.linear(x, weight),
            difference=lambda: relative_difference(
                matvec(x, packed, scale),
                matvec_reference(x.double(), packed, None if scale is None else scale.double()),
            ),
            cost=matvec_cost(x, packed, scaled=int8),
        )

    return make


def _lora(rows: int, inputs: int, outputs: int) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        x, weight = random(rows, inputs), random(outputs, inputs)
        a = random(LORA_RANK, inputs, dtype=torch.float32)
        b = random(outputs, LORA_RANK, dtype=torch.float32)
        scaling = 1 / math.sqrt(LORA_RANK)

        def unmerged() -> Tensor:
            inner = functional.linear(functional.linear(x.float(), a), b) * scaling
            return (functional.linear(x, weight) + inner).to(dtype)

        return Trial(
            run=lambda: lora(x, weight, a, b, scaling),
            library=unmerged,
            difference=lambda: relative_difference(
                lora(x, weight, a, b, scaling),
                lora_reference(x.double(), weight.double(), a.double(), b.double(), scaling),
            ),
            cost=lora_cost(x, weight, a, b),
        )

    return make


def _head(rows: int, inputs: int, tokens: int) -> Callable[[str, torch.dtype], Trial]:
    def make(device: str, dtype: torch.dtype) -> Trial:
        random = _random(device, dtype)
        x, weight = random(rows, inputs), random(tokens, inputs)

        def difference() -> float:
            """How far the chosen logits are below the largest, relative to those: two may differ by a rounding."""
            logits = x.double() @ weight.double().T
            chosen = logits.gather(1, greedy(x, weight)[:, None])[:, 0]
            return relative_difference(chosen, logits.amax(1))

        return Trial(
            run=lambda: greedy(x, weight),
            library=lambda: functional.linear(x, weight).argmax(-1),
            difference=difference,
            cost=greedy_cost(x, weight),
        )

    return make
