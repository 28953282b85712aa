"""What a model costs, from its configuration alone: parameters, bytes read per token, bytes of cache per token.

Nothing here needs torch. The counts follow from the published layer definitions of each family and are checked against
models built on the meta device.
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
    )


def _window(config: Mapping[str, Any]) -> int | None:
    if config.get("use_sliding_window") is False:
        return None
    return config.get("sliding_window")
