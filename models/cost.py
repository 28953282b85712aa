"""What computing costs: a model's step from its configuration alone, one call of an operator from its operands.

Nothing here needs torch. A model's counts follow from the published layer definitions of its family and are checked
against models built on the meta device; both are checked against the products that torch's FlopCounterMode counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tokprof.models.errors import ModelError

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes that determine a decoder's cost, whatever its family calls them."""

    family: str
    hidden: int
    ffn: int
    layer_count: int
    head_count: int
    kv_head_count: int
    head_dim: int
    vocabulary_count: int
    context_token_count: int
    tied: bool  # input embedding and LM head are one matrix
    gated: bool  # SwiGLU: three matrices instead of two
    attention_bias: bool = False  # on q, k and v
    output_bias: bool = False  # on the attention output and the feed-forward matrices
    norm_bias: bool = False  # LayerNorm has a bias, RMSNorm none
    position_rows: int = 0  # learned positions
    window_token_count: int | None = None  # sliding window
    state_size: int = 0  # of a state-space model; 0 otherwise
    group_count: int = 0
    convolution_width: int = 0
    chunk_token_count: int = 0  # of a state-space prefill, which goes by matrix products within and between chunks

    def __post_init__(self) -> None:
        for name in ("hidden", "layer_count", "head_count", "vocabulary_count", "window_token_count"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}, wants 1 or more")
        for name in ("ffn", "kv_head_count", "head_dim", "position_rows", "state_size", "group_count"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, wants 0 or more")

    @property
    def is_state_space(self) -> bool:
        """Whether the cache is a state of constant size."""
        return self.state_size > 0


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Read a transformers configuration.

    Raises
    ------
    ModelError
        The family is unknown here, or a key is missing.
    """
    family = str(config.get("model_type"))
    readers = {
        "llama": _read_gated,
        "mistral": _read_gated,
        "qwen2": _read_gated,
        "gpt_bigcode": _read_gpt_bigcode,
        "starcoder2": _read_starcoder2,
        "mamba2": _read_mamba2,
    }
    if family not in readers:
        raise ModelError(f"model_type {family!r}: no cost formula; known are {', '.join(readers)}")
    try:
        return readers[family](config)
    except KeyError as error:
        raise ModelError(f"a {family} configuration wants the key {error}") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"a {family} configuration has a size that is none: {error}") from error


def parameter_count(shape: ModelShape) -> int:
    """Return the number of parameters; a matrix used twice counts once."""
    embedding = shape.vocabulary_count * shape.hidden
    head = 0 if shape.tied else embedding
    return embedding + shape.position_rows * shape.hidden + _layers(shape) + _norm(shape, shape.hidden) + head


def weight_bytes_per_token(shape: ModelShape, dtype: str) -> int:
    """Return the bytes of weights that one decode step reads: all but the rows of tables that are only looked up."""
    looked_up = shape.position_rows * shape.hidden
    if not shape.tied:
        looked_up += shape.vocabulary_count * shape.hidden
    return (parameter_count(shape) - looked_up) * DTYPE_BYTES[dtype]


def kv_bytes_per_token(shape: ModelShape, dtype: str) -> int:
    """Return the bytes that one more token adds to one sequence's cache; 0 for a state-space model."""
    if shape.is_state_space:
        return 0
    return 2 * shape.layer_count * shape.kv_head_count * shape.head_dim * DTYPE_BYTES[dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCost:
    """What one kind of operator costs in one step, over all layers and the whole batch.

    A multiplication and an addition count as two operations. ``weight_bytes`` and ``cache_bytes`` have to cross the
    memory's interface however the step is computed; ``activation_bytes`` cross it only if the operator is a kernel of
    its own and its operands do not stay in a cache.
    """

    name: str
    category: str  # as in trace/categories.toml
    flop_count: int = 0  # of matrix products, convolutions and attention: what runs on matrix units
    redundant_flop_count: int = 0  # on top, where a library computes what it then throws away, to run on matrix units
    vector_flop_count: int = 0
    weight_bytes: int = 0
    cache_bytes: int = 0  # KV cache or state, read and written
    activation_bytes: int = 0  # read and written


def step_cost(
    shape: ModelShape, *, batch_size: int, token_count: int, context_token_count: int, dtype: str
) -> tuple[OperatorCost, ...]:
    """Return what a forward costs that adds ``token_count`` tokens to sequences of ``context_token_count`` tokens.

    A prefill has many tokens and no context, a decode step one token. Logits are computed for the last token alone.
    Where the family slides a window over the context, keys beyond it are neither read nor multiplied.
    """
    size = DTYPE_BYTES[dtype]
    rows = batch_size * token_count
    hidden, vocabulary = shape.hidden, shape.vocabulary_count
    step = _Step(batch_size, token_count, context_token_count, size)
    layer = _mamba2_operators(shape, step) if shape.is_state_space else _transformer_operators(shape, step)
    depth = shape.layer_count
    return (
        OperatorCost(name="embedding", category="embedding/sampling", activation_bytes=2 * rows * hidden * size),
        *(
            OperatorCost(
                name=one.name,
                category=one.category,
                flop_count=depth * one.flop_count,
                redundant_flop_count=depth * one.redundant_flop_count,
                vector_flop_count=depth * one.vector_flop_count,
                weight_bytes=depth * one.weight_bytes,
                cache_bytes=depth * one.cache_bytes,
                activation_bytes=depth * one.activation_bytes,
            )
            for one in layer
        ),
        OperatorCost(
            name="final norm",
            category="norm",
            vector_flop_count=4 * rows * hidden,
            weight_bytes=_norm(shape, hidden) * size,
            activation_bytes=2 * rows * hidden * size,
        ),
        step.product("LM head", hidden, vocabulary, rows=batch_size),
        OperatorCost(name="sampling", category="embedding/sampling", activation_bytes=batch_size * vocabulary * size),
    )


@dataclass(frozen=True, slots=True)
class _Step:
    batch_size: int
    token_count: int
    context_token_count: int
    size: int  # bytes of a number

    @property
    def rows(self) -> int:
        return self.batch_size * self.token_count

    def product(
        self, name: str, inner: int, outer: int, *, bias: bool = False, rows: int | None = None
    ) -> OperatorCost:
        """Cost of multiplying rows of width ``inner`` with a matrix (inner, outer)."""
        rows = self.rows if rows is None else rows
        return OperatorCost(
            name=name,
            category="gemm",
            flop_count=2 * rows * inner * outer,
            vector_flop_count=rows * outer * bias,
            weight_bytes=(inner + bias) * outer * self.size,
            activation_bytes=rows * (inner + outer) * self.size,
        )

    def elementwise(self, name: str, width: int, *, read: int = 1, flops: int = 1, weights: int = 0) -> OperatorCost:
        """Cost of an operator that reads ``read`` rows of ``width`` for each that it writes."""
        return OperatorCost(
            name=name,
            category="norm" if "norm" in name else "elementwise",
            vector_flop_count=flops * self.rows * width,
            weight_bytes=weights * self.size,
            activation_bytes=(read + 1) * self.rows * width * self.size,
        )


def _transformer_operators(shape: ModelShape, step: _Step) -> tuple[OperatorCost, ...]:
    query = shape.head_count * shape.head_dim
    keys_values = 2 * shape.kv_head_count * shape.head_dim
    hidden, ffn = shape.hidden, shape.ffn
    rotary = (step.elementwise("rotary", query + keys_values // 2, flops=3),) if not shape.position_rows else ()
    return (
        step.elementwise("norms", 2 * hidden, flops=4, weights=2 * _norm(shape, hidden)),
        step.product("query, key, value", hidden, query + keys_values, bias=shape.attention_bias),
        *rotary,
        _attention(shape, step),
        step.product("attention output", query, hidden, bias=shape.output_bias),
        step.product("feed-forward in", hidden, ffn * (1 + shape.gated), bias=shape.output_bias),
        step.elementwise("activation", ffn, read=1 + shape.gated, flops=8 + shape.gated),
        step.product("feed-forward out", ffn, hidden, bias=shape.output_bias),
        step.elementwise("residuals", 2 * hidden, read=2),
    )


def _attention(shape: ModelShape, step: _Step) -> OperatorCost:
    new, context, window = step.token_count, step.context_token_count, shape.window_token_count
    reach = context + new if window is None else window  # keys that a query sees at most, its own among them
    kept = min(context, reach - 1)  # of the context, what any query sees
    pairs = _causal_pairs(new, context, reach)
    per_pair = 4 * step.batch_size * shape.head_count * shape.head_dim
    row = 2 * shape.kv_head_count * shape.head_dim * step.size
    return OperatorCost(
        name="attention",
        category="attention",
        flop_count=per_pair * pairs,
        redundant_flop_count=per_pair * (new * (kept + new) - pairs),
        vector_flop_count=5 * step.batch_size * shape.head_count * pairs,
        cache_bytes=step.batch_size * (kept + min(new, reach)) * row,
        activation_bytes=2 * step.rows * shape.head_count * shape.head_dim * step.size,
    )


def _causal_pairs(new: int, context: int, reach: int) -> int:
    """Return how many keys all new queries see: the query i of them sees min(context + i + 1, reach)."""
    growing = max(0, min(new, reach - context))
    return growing * context + growing * (growing + 1) // 2 + (new - growing) * reach


def _mamba2_operators(shape: ModelShape, step: _Step) -> tuple[OperatorCost, ...]:
    """Count the recurrence, and as redundant what transformers' own form of it multiplies besides.

    That form takes a prompt in whole chunks (arXiv 2405.21060), and convolves more columns than it keeps.
    """
    inner = shape.head_count * shape.head_dim
    mixed = inner + 2 * shape.group_count * shape.state_size
    passes = 2 if step.context_token_count else 1  # a prefill writes the state and reads none
    per_head = 3 * shape.head_count
    columns_over = 1 if step.context_token_count else shape.convolution_width - 1
    state_flops = 2 * step.rows * inner * shape.state_size  # reading it out; the update is no product
    return (
        step.elementwise("norms", shape.hidden, flops=4, weights=_norm(shape, shape.hidden)),
        step.product("projection in", shape.hidden, inner + mixed + shape.head_count),
        OperatorCost(
            name="convolution",
            category="convolution",
            flop_count=2 * step.rows * mixed * shape.convolution_width,
            redundant_flop_count=2 * step.batch_size * columns_over * mixed * shape.convolution_width,
            weight_bytes=(mixed * shape.convolution_width + mixed) * step.size,
            cache_bytes=passes * step.batch_size * mixed * (shape.convolution_width - 1) * step.size,
            activation_bytes=2 * step.rows * mixed * step.size,
        ),
        OperatorCost(
            name="state",
            category="state space",
            flop_count=state_flops,
            redundant_flop_count=0 if step.context_token_count else _chunked_flops(shape, step) - state_flops,
            vector_flop_count=3 * step.rows * inner * shape.state_size,
            weight_bytes=per_head * step.size,
            cache_bytes=passes * step.batch_size * inner * shape.state_size * step.size,
            activation_bytes=step.rows * (mixed + inner) * step.size,
        ),
        step.elementwise("gated norm", inner, read=2, flops=9, weights=inner),
        step.product("projection out", inner, shape.hidden),
        step.elementwise("residuals", shape.hidden, read=2),
    )


def _chunked_flops(shape: ModelShape, step: _Step) -> int:
    """Return the products of a prefill's recurrence in chunks: like attention within each, by states between them."""
    chunk = shape.chunk_token_count or step.token_count
    chunks = -(-step.token_count // chunk)
    within = chunk * chunk * (shape.state_size + shape.head_dim)  # scores of all pairs, and what they weigh
    state = shape.head_dim * shape.state_size
    into_and_out = 2 * chunk * state
    return 2 * step.batch_size * shape.head_count * (chunks * (within + into_and_out) + (chunks + 1) ** 2 * state)


def _layers(shape: ModelShape) -> int:
    if shape.is_state_space:
        return shape.layer_count * _mamba2_layer(shape)
    query = shape.head_count * shape.head_dim
    keys_values = 2 * shape.kv_head_count * shape.head_dim
    attention = shape.hidden * (query + keys_values) + query * shape.hidden
    attention += (query + keys_values) * shape.attention_bias + shape.hidden * shape.output_bias
    feed_forward = (3 if shape.gated else 2) * shape.hidden * shape.ffn
    feed_forward += (shape.ffn + shape.hidden) * shape.output_bias
    return shape.layer_count * (attention + feed_forward + 2 * _norm(shape, shape.hidden))


def _mamba2_layer(shape: ModelShape) -> int:
    inner = shape.head_count * shape.head_dim
    mixed = inner + 2 * shape.group_count * shape.state_size  # what the convolution runs over
    projection_in = shape.hidden * (inner + mixed + shape.head_count)
    convolution = mixed * shape.convolution_width + mixed
    per_head = 3 * shape.head_count  # dt_bias, A_log, D
    return projection_in + convolution + per_head + inner + inner * shape.hidden + _norm(shape, shape.hidden)


def _norm(shape: ModelShape, width: int) -> int:
    return width * (2 if shape.norm_bias else 1)


def _read_gated(config: Mapping[str, Any]) -> ModelShape:
    heads = config["num_attention_heads"]
    biased = config["model_type"] == "qwen2" or bool(config.get("attention_bias"))
    return ModelShape(
        family=config["model_type"],
        hidden=config["hidden_size"],
        ffn=config["intermediate_size"],
        layer_count=config["num_hidden_layers"],
        head_count=heads,
        kv_head_count=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary_count=config["vocab_size"],
        context_token_count=config["max_position_embeddings"],
        tied=bool(config.get("tie_word_embeddings", False)),
        gated=True,
        attention_bias=biased,
        window_token_count=_window(config),
    )


def _read_gpt_bigcode(config: Mapping[str, Any]) -> ModelShape:
    heads = config["n_head"]
    return ModelShape(
        family="gpt_bigcode",
        hidden=config["n_embd"],
        ffn=config.get("n_inner") or 4 * config["n_embd"],
        layer_count=config["n_layer"],
        head_count=heads,
        kv_head_count=1 if config.get("multi_query", True) else heads,
        head_dim=config["n_embd"] // heads,
        vocabulary_count=config["vocab_size"],
        context_token_count=config["n_positions"],
        tied=bool(config.get("tie_word_embeddings", True)),
        gated=False,
        attention_bias=True,
        output_bias=True,
        norm_bias=True,
        position_rows=config["n_positions"],
    )


def _read_starcoder2(config: Mapping[str, Any]) -> ModelShape:
    biased = bool(config.get("use_bias", True))
    heads = config["num_attention_heads"]
    return ModelShape(
        family="starcoder2",
        hidden=config["hidden_size"],
        ffn=config["intermediate_size"],
        layer_count=config["num_hidden_layers"],
        head_count=heads,
        kv_head_count=config["num_key_value_heads"],
        head_dim=config["hidden_size"] // heads,
        vocabulary_count=config["vocab_size"],
        context_token_count=config["max_position_embeddings"],
        tied=bool(config.get("tie_word_embeddings", True)),
        gated=False,
        attention_bias=biased,
        output_bias=biased,
        norm_bias=True,
        window_token_count=_window(config),
    )


def _read_mamba2(config: Mapping[str, Any]) -> ModelShape:
    return ModelShape(
        family="mamba2",
        hidden=config["hidden_size"],
        ffn=0,
        layer_count=config["num_hidden_layers"],
        head_count=config["num_heads"],
        kv_head_count=0,
        head_dim=config["head_dim"],
        vocabulary_count=config["vocab_size"],
        context_token_count=config.get("max_position_embeddings") or 2**20,  # the state has no length
        tied=bool(config.get("tie_word_embeddings", False)),
        gated=False,
        state_size=config["state_size"],
        group_count=config["n_groups"],
        convolution_width=config["conv_kernel"],
        chunk_token_count=config.get("chunk_size") or 256,
    )


def _window(config: Mapping[str, Any]) -> int | None:
    if config.get("use_sliding_window") is False:
        return None
    return config.get("sliding_window")


# ------------------------------------------------------------------------------------------------- calls of operators


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCost:
    """What one call of an operator costs at least, whatever kernels it launches: its operands cross the memory once."""

    flop_count: int  # of matrix products and attention, as in OperatorCost; of attention under a causal mask
    redundant_flop_count: int  # on top, without that mask: the arguments do not tell whether there was one
    byte_count: int  # operands read and results written; what is repeated without being stored (stride 0) counts once
    dtype: str  # of the products


def call_cost(operator: str, sizes: Sequence[Any], strides: Sequence[Any], types: Sequence[str]) -> CallCost | None:
    """Return the cost of a call of an ATen operator; ``None`` where its operands do not tell it.

    Each sequence has an entry per argument: of a tensor its sizes, its strides and torch's name of its type ("float",
    "c10::BFloat16"); of a list of tensors, whose type is not told, lists of these; of anything else an empty list.
    """
    space, _, name = operator.rpartition("::")
    inside = name.endswith("_") and not name.endswith("__")  # the first operand is also the result
    name = name[:-1] if inside else name
    operands = _operands(sizes, strides, types)
    if space != "aten" or not operands:
        return None
    if name in _LEFT_OF:
        return _product(operands, _LEFT_OF[name], transposed=name == "linear")
    if name in _ATTENTION_LAYOUTS:
        return _attention_call(operands, heads_first=_ATTENTION_LAYOUTS[name])
    moved = _moved_bytes(name, operands, inside=inside)
    if moved is None:
        return None
    return CallCost(flop_count=0, redundant_flop_count=0, byte_count=moved, dtype=operands[0].dtype)


@dataclass(frozen=True, slots=True)
class _Operand:
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    item_bytes: int

    @property
    def count(self) -> int:
        return prod(self.sizes)

    @property
    def byte_count(self) -> int:
        """Bytes of memory behind it: a repeated element, or one that two windows share, is there once."""
        if not self.count:
            return 0
        pairs = list(zip(self.sizes, self.strides, strict=True))
        stored = prod(size for size, stride in pairs if stride)
        return min(stored, 1 + sum((size - 1) * stride for size, stride in pairs)) * self.item_bytes


_TYPES = {
    "double": ("float64", 8), "float": ("float32", 4), "c10::Half": ("float16", 2), "c10::BFloat16": ("bfloat16", 2),
    "long int": ("int64", 8), "int": ("int32", 4), "short int": ("int16", 2), "signed char": ("int8", 1),
    "unsigned char": ("uint8", 1), "bool": ("bool", 1),
}  # fmt: skip

# The place of the left factor among the operands; the right one follows.
_LEFT_OF = {
    "mm": 0, "bmm": 0, "mv": 0, "matmul": 0, "linear": 0, "addmm": 1, "_addmm_activation": 1, "addmv": 1, "baddbmm": 1,
}  # fmt: skip

# Whether the heads stand before the tokens.
_ATTENTION_LAYOUTS = {
    "scaled_dot_product_attention": True,
    "_scaled_dot_product_flash_attention": True,
    "_scaled_dot_product_flash_attention_for_cpu": True,
    "_scaled_dot_product_efficient_attention": True,
    "_scaled_dot_product_cudnn_attention": True,
    "_cudnn_attention_forward": True,
    "_flash_attention_forward": False,
    "_efficient_attention_forward": False,
}

# How many operands are read; the result has the sizes that they broadcast to.
_ELEMENTWISE = {
    "abs": 1, "bitwise_not": 1, "ceil": 1, "clamp": 1, "clamp_max": 1, "clamp_min": 1, "cos": 1, "erf": 1, "exp": 1,
    "floor": 1, "gelu": 1, "hardswish": 1, "leaky_relu": 1, "log": 1, "log1p": 1, "log2": 1, "logical_not": 1, "neg": 1,
    "reciprocal": 1, "relu": 1, "round": 1, "rsqrt": 1, "sigmoid": 1, "sign": 1, "silu": 1, "sin": 1, "softplus": 1,
    "sqrt": 1, "square": 1, "tanh": 1,
    "add": 2, "atan2": 2, "bitwise_and": 2, "bitwise_or": 2, "bitwise_xor": 2, "div": 2, "eq": 2, "floor_divide": 2,
    "fmod": 2, "ge": 2, "gt": 2, "le": 2, "logical_and": 2, "logical_or": 2, "lt": 2, "maximum": 2, "minimum": 2,
    "mul": 2, "ne": 2, "pow": 2, "remainder": 2, "rsub": 2, "sub": 2,
    "addcdiv": 3, "addcmul": 3, "lerp": 3, "where": 3,
}  # fmt: skip
_TRUTHS = {"eq", "ge", "gt", "le", "logical_and", "logical_not", "logical_or", "lt", "ne"}
# The result is like the first operand; weights and biases are read as well.
_BY_ROW = {
    "_fused_rms_norm", "_log_softmax", "_softmax", "cumsum", "group_norm", "layer_norm", "log_softmax",
    "native_group_norm", "native_layer_norm", "rms_norm", "softmax",
}  # fmt: skip
# The first operand is read; how much is written, the arguments do not tell.
_REDUCTIONS = {
    "amax", "amin", "argmax", "argmin", "linalg_vector_norm", "logsumexp", "max", "mean", "min", "norm", "prod", "sort",
    "std", "sum", "topk", "var",
}  # fmt: skip
_LOOK_UPS = {"embedding", "gather", "index_select"}
_MOST_ELEMENTS = 2**62  # of a tensor; a file that tells of more is wrong


def _operands(sizes: Sequence[Any], strides: Sequence[Any], types: Sequence[str]) -> list[_Operand] | None:
    """Return the tensors among the arguments; ``None`` where one is not told whole."""
    found: list[_Operand] = []
    if not len(sizes) == len(strides) == len(types):
        return None
    for size, stride, kind in zip(sizes, strides, types, strict=True):
        known = _TYPES.get(kind)
        if known is not None and len(size) == len(stride) and all(isinstance(one, int) for one in (*size, *stride)):
            found.append(_Operand(tuple(size), tuple(stride), *known))
            if found[-1].count > _MOST_ELEMENTS:
                return None
        elif known is not None or size:
            return None
    return found


def _broadcast(*sizes: Sequence[int]) -> tuple[int, ...] | None:
    """Return the sizes of what comes of operands of these; ``None`` where they do not fit."""
    wide = max(map(len, sizes))
    columns = zip(*((1,) * (wide - len(one)) + tuple(one) for one in sizes), strict=True)
    result = []
    for column in columns:
        others = {size for size in column if size != 1}
        if len(others) > 1:
            return None
        result.append(others.pop() if others else 1)
    return tuple(result)


def _product(operands: Sequence[_Operand], left_at: int, *, transposed: bool) -> CallCost | None:
    if len(operands) < left_at + 2:
        return None
    left, right = operands[left_at : left_at + 2]
    rows = left.sizes if len(left.sizes) > 1 else (1, *left.sizes)
    columns = right.sizes if len(right.sizes) > 1 else (*right.sizes, 1)
    if transposed:
        columns = columns[::-1]
    if not left.sizes or not right.sizes or rows[-1] != columns[-2]:
        return None
    batch = _broadcast(rows[:-2], columns[:-2])
    if batch is None:
        return None
    results = prod(batch) * rows[-2] * columns[-1]
    # What is added to products may be multiplied by 0, which arguments do not tell; then it is not read.
    bias = operands[2:3] if transposed else []
    moved = sum(one.byte_count for one in (left, right, *bias)) + results * left.item_bytes
    return CallCost(flop_count=2 * results * rows[-1], redundant_flop_count=0, byte_count=moved, dtype=left.dtype)


def _attention_call(operands: Sequence[_Operand], *, heads_first: bool) -> CallCost | None:
    if len(operands) < 3 or any(len(one.sizes) != 4 for one in operands[:3]):
        return None
    query, key, value = operands[:3]
    shapes = [one.sizes if heads_first else tuple(one.sizes[i] for i in (0, 2, 1, 3)) for one in operands[:3]]
    (batch, heads, new, width), (_, _, seen, key_width), (_, _, value_count, out_width) = shapes
    if key_width != width or value_count != seen or shapes[1][0] != batch or shapes[2][0] != batch:
        return None
    per_pair = 2 * batch * heads * (width + out_width)
    pairs = _causal_pairs(new, max(0, seen - new), seen)
    written = batch * heads * new * out_width * query.item_bytes
    return CallCost(
        flop_count=per_pair * pairs,
        redundant_flop_count=per_pair * (new * seen - pairs),
        byte_count=query.byte_count + key.byte_count + value.byte_count + written,
        dtype=query.dtype,
    )


def _moved_bytes(name: str, operands: Sequence[_Operand], *, inside: bool) -> int | None:
    """Return the bytes that an operator without products reads and writes at least; ``None`` of an unknown one."""
    first = operands[0]
    if name in ("copy", "fill", "zero"):
        return sum(one.byte_count for one in operands[: 2 if name == "copy" else 1])
    if name in _BY_ROW:
        return sum(one.byte_count for one in operands) + first.count * first.item_bytes
    if name in _REDUCTIONS:
        return first.byte_count
    if name in _LOOK_UPS and len(operands) > 1:
        # Which rows are read, and along which dimension, the sizes do not tell: one row, and the fewest results.
        index = operands[1]
        row = first.count // max(first.sizes) if first.count and first.sizes and name != "gather" else 1
        return index.byte_count + (index.count + 1) * row * first.item_bytes
    if name in _ELEMENTWISE:
        used = operands[: _ELEMENTWISE[name]]
        result = _broadcast(*(one.sizes for one in used))
        if result is None:
            return None
        item = 1 if name in _TRUTHS else first.item_bytes if inside else _promoted_bytes(used)
        return sum(one.byte_count for one in used) + prod(result) * item
    return None


def _promoted_bytes(operands: Sequence[_Operand]) -> int:
    """Return the bytes of an element of the result: of the widest float that has dimensions, else the fewest it can."""
    floats = [one for one in operands if one.dtype.startswith(("float", "bfloat"))]
    if not floats:  # a quotient or root of integers is a float of 32 bits
        return min(4, max(one.item_bytes for one in operands))
    return max(one.item_bytes for one in ([one for one in floats if one.sizes] or floats))
