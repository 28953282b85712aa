"""What a model costs, from its configuration alone: parameters, and the operations and bytes of every step.

Nothing here needs torch. The counts follow from the published layer definitions of each family and are checked against
models built on the meta device and against the products that torch's FlopCounterMode sees them compute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
    # The query i of the new ones sees min(context + i + 1, reach) keys.
    growing = max(0, min(new, reach - context))
    pairs = growing * context + growing * (growing + 1) // 2 + (new - growing) * reach
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
