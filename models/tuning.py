"""Fine-tuning a model, and changing it by as much without learning.

Training is a plain loop over packed sequences: AdamW, a learning rate that rises and falls linearly, clipped gradients.
Dropout is off and the data's order comes from the seed, so a step depends on its number alone: a run that was
interrupted goes on from its checkpoint and ends, on the same machine, with the same bytes as one that was not.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tokprof.models.errors import ModelError
from tokprof.models.loading import LoadedModel, ModelSpec, check, free_bytes, load, tokenizer_at_hand
from tokprof.models.tokenizers import Tokenizer
from tokprof.models.tuning_data import Texts, batches, read_texts

RECORD_FILE = "tokprof-tune.json"
ADAPTER_FOLDER = "adapter"  # inside a merged result: the same change, kept apart
RECORD_VERSION = 1
METHODS = ("lora", "full")
LEARNING_RATES = {"lora": 2e-4, "full": 2e-5}
WARM_UP_SHARE = 0.1  # of the steps
CLIP_NORM = 1.0
ALPHA_PER_RANK = 2
EVALUATED_TOKEN_COUNT = 2048  # of the data, in its own order; for the loss before and after

_ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Which linear layers of a block take an adapter. Any other architecture: all but the head, as peft finds them.
LORA_TARGETS: dict[str, tuple[str, ...]] = {
    "llama": _ATTENTION_AND_MLP,
    "mistral": _ATTENTION_AND_MLP,
    "qwen2": _ATTENTION_AND_MLP,
    "gpt_bigcode": ("c_attn", "c_proj", "c_fc"),
    "starcoder2": ("q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"),
    # The fused kernel of a Mamba block reads the weight of out_proj itself and would pass an adapter by.
    "mamba2": ("in_proj",),
}

Report = Callable[[str, int, int | None, float | None], None]  # stage, done, of how many, loss


class Stopped(Exception):  # noqa: N818 - it is an outcome, not a defect
    """Training was asked to stop and lies in its checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSpec:
    """What to tune, on what and how."""

    model: str
    weights: str = "real"
    data: str = "cwe"  # or "general", a file of JSON lines, a folder of source files
    method: str = "lora"  # or "full": every weight
    rank: int = 16
    steps: int = 40
    learning_rate: float | None = None  # None: LEARNING_RATES
    batch: int = 4  # sequences of a step
    length: int = 256  # tokens of a sequence
    seed: int = 0
    merge: bool = False
    dtype: str = "float32"  # of the base; an adapter trains in float32
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How far a group of tensors moved."""

    tensor_count: int
    norm: float  # Frobenius, over all tensors of the group
    base_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRecord:
    """Where a result came from: all of ``tokprof-tune.json``."""

    form: str  # "adapter", "merged", "full"
    placebo_of: str | None  # digest of the result whose norms were matched; None: it was trained
    base: dict[str, Any]
    data: dict[str, Any]
    settings: dict[str, Any]
    dtype: str  # of the base, and of what is merged
    adapter_dtype: str | None
    parameter_count: int  # that were changed: of an adapter, its own
    loss_before: float  # nats per token over the first tokens of the data
    loss_after: float
    losses: tuple[float, ...]  # of every training step
    changes: dict[str, Change]  # by kind of layer
    digest: str  # of the safetensors file
    tokenizer_written: bool
    resumed_at_steps: tuple[int, ...] = ()
    libraries: dict[str, str] | None = None
    format: str = "tokprof tune"
    version: int = RECORD_VERSION

    @property
    def norm(self) -> float:
        """Frobenius norm of the whole change."""
        return math.sqrt(sum(change.norm**2 for change in self.changes.values()))


# -------------------------------------------------------------------------------------------------------------- tuning


def learning_rate_at(step: int, *, steps: int, peak: float) -> float:
    """Return the rate of one step, counted from 0: up to the peak, then down, never 0."""
    rising = max(1, round(steps * WARM_UP_SHARE))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / (steps - rising + 1)


def settings_of(spec: TuneSpec) -> dict[str, Any]:
    """Return everything asked for that determines the result."""
    settings = asdict(spec)
    settings["learning_rate"] = spec.learning_rate or LEARNING_RATES[spec.method]
    if spec.method == "full":
        del settings["rank"]
    return settings


def check_tuning(spec: TuneSpec) -> None:
    """Refuse what is wrong without torch.

    Raises
    ------
    ModelError
        An unknown method, base or data; a base that is a pickle, or has no tokenizer; numbers that cannot be.
    """
    if spec.method not in METHODS:
        raise ModelError(f"method {spec.method!r}: unknown; choose {' or '.join(METHODS)}")
    for name in ("rank", "steps", "batch"):
        if getattr(spec, name) < 1:
            raise ModelError(f"{name} {getattr(spec, name)}: wants at least 1")
    if spec.length < 2:
        raise ModelError(f"length {spec.length}: wants at least 2 tokens, for the second is told from the first")
    if spec.learning_rate is not None and not 0 < spec.learning_rate < 1:
        raise ModelError(f"learning rate {spec.learning_rate:g}: wants more than 0 and less than 1")
    if spec.method == "full" and spec.merge:
        raise ModelError("merge: full tuning changes the weights themselves; leave it out")
    if spec.method == "full" and spec.dtype != "float32":
        raise ModelError(
            f"dtype {spec.dtype}: full tuning wants float32, for small steps vanish in {spec.dtype}; a run may still "
            f"load the result in {spec.dtype}"
        )
    check(_model_spec(spec))
    at_hand = tokenizer_at_hand(_model_spec(spec))
    if at_hand is not None:
        _check_texts(spec, *at_hand)


def _check_texts(spec: TuneSpec, tokenizer: Tokenizer | None, context_token_count: int) -> Tokenizer:
    """Return the tokenizer of a base that can be trained on sequences of the length asked for."""
    if tokenizer is None:
        raise ModelError(f"{spec.model}: has no tokenizer here, so there is nothing to train on; use a folder with one")
    if spec.length > context_token_count:
        raise ModelError(
            f"length {spec.length}: beyond the context of {spec.model}, {context_token_count} tokens; choose less"
        )
    return tokenizer


def tune(
    spec: TuneSpec,
    folder: Path,
    checkpoint: Path,
    *,
    resume: bool = False,
    checkpoint_steps: int = 10,
    report: Report = lambda _stage, _done, _all, _loss: None,
    stopped: Callable[[], bool] = lambda: False,
) -> TuneRecord:
    """Tune a model and write the result into an existing empty folder.

    Parameters
    ----------
    folder
        Takes an adapter (``adapter_config.json``, ``adapter_model.safetensors``) or, merged or tuned in full, a model
        (``model.safetensors``, ``config.json``, ``tokenizer.json``), and ``tokprof-tune.json``.
    checkpoint
        A file, replaced every ``checkpoint_steps`` steps and left for the caller to remove.
    resume
        Go on from the checkpoint.
    report
        Called with the stage, the steps done, their number and the loss.
    stopped
        Asked after each step; if so, the step is kept.

    Raises
    ------
    ModelError
        What :func:`check_tuning` refuses; no tokenizer; a length beyond the model's context; too little memory; a loss
        that is no number; a checkpoint that is none, or of other settings.
    Stopped
        ``stopped`` said so.
    OSError
        A file cannot be written.
    """
    check_tuning(spec)
    data = read_texts(spec.data)
    report("loading", 0, None, None)
    with _memory_errors(spec):
        base = _load_base(spec)
        documents, evaluated = _tokens(base, spec, data)
        trained = _Trained.of(base, spec)
        state = _State(identity=_identity(spec, base, data, len(trained.parameters)))
        optimizer = _optimizer(trained)
        if resume:
            _restore(state, trained, optimizer, checkpoint)
        if state.loss_before is None:
            report("loss before", 0, None, None)
            state.loss_before = _loss(base.model, evaluated, spec)
        _train(spec, base.model, trained, optimizer, state, documents, checkpoint, checkpoint_steps, report, stopped)
        report("loss after", 0, None, None)
        loss_after = _loss(base.model, evaluated, spec)
        changes = trained.changes()
        report("writing", spec.steps, spec.steps, loss_after)
        result = _write(folder, base, spec, trained.peft, spec.merge)
    record = TuneRecord(
        **result,
        placebo_of=None,
        base=_described(base),
        data=_data_facts(data, documents),
        settings=settings_of(spec) | {"thread_count": state.identity["thread_count"]} | trained.facts(),
        dtype=spec.dtype,
        parameter_count=sum(p.numel() for p in trained.parameters.values()),
        loss_before=state.loss_before,
        loss_after=loss_after,
        losses=tuple(state.losses),
        changes=changes,
        resumed_at_steps=tuple(state.resumed_at_steps),
        libraries=_libraries(),
    )
    _write_record(record, folder)
    return record


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return a result's ``tokprof-tune.json``; ``None`` if there is none."""
    file = folder / RECORD_FILE
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file}: not readable: {error}") from error
    if not isinstance(record, dict) or record.get("version") != RECORD_VERSION:
        raise ModelError(f"{file}: of another version than {RECORD_VERSION}; tune again with this one")
    for key, kind in (("base", dict), ("data", dict), ("settings", dict), ("dtype", str)):
        if not isinstance(record.get(key), kind):
            raise ModelError(f"{file}: key {key!r} is absent or no {kind.__name__}; tune again")
    return record


def is_result_of(record: dict[str, Any], spec: TuneSpec) -> bool:
    """Say whether a finished result is what a specification asks for."""
    settings = settings_of(spec)
    same = all(record["settings"].get(key) == value for key, value in settings.items())
    return same and record["data"].get("digest") == read_texts(spec.data).digest


@dataclass(slots=True)
class _Trained:
    """What is learned in a model, and what it was before."""

    parameters: dict[str, Any]  # name -> torch.nn.Parameter
    peft: Any = None  # the PeftModel around the base; None: full tuning
    before: dict[str, Any] | None = None  # of full tuning: copies of the parameters

    @classmethod
    def of(cls, base: LoadedModel, spec: TuneSpec) -> "_Trained":
        if spec.method == "full":
            parameters = dict(base.model.named_parameters())
            _refuse_what_does_not_fit(sum(p.numel() for p in parameters.values()), 4 + 8 + 4, spec)
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            return cls(parameters=parameters, before={n: p.detach().clone() for n, p in parameters.items()})
        import torch

        peft = _peft()
        torch.manual_seed(spec.seed)
        config = peft.LoraConfig(
            r=spec.rank,
            lora_alpha=ALPHA_PER_RANK * spec.rank,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
            target_modules=list(LORA_TARGETS.get(base.architecture, ())) or "all-linear",
        )
        wrapped = peft.get_peft_model(base.model, config)
        wrapped.eval()
        parameters = {name: p for name, p in wrapped.named_parameters() if p.requires_grad}
        _refuse_what_does_not_fit(sum(p.numel() for p in parameters.values()), 4 + 8, spec)
        return cls(parameters=parameters, peft=wrapped)

    def changes(self) -> dict[str, Change]:
        if self.peft is not None:
            return _adapter_changes(self.peft)
        assert self.before is not None
        return _changes((name, self.before[name], p.detach()) for name, p in self.parameters.items())

    def facts(self) -> dict[str, Any]:
        if self.peft is None:
            return {}
        config = self.peft.peft_config["default"]
        return {"alpha": config.lora_alpha, "targets": sorted(config.target_modules)}


@dataclass(slots=True)
class _State:
    """How far training is."""

    identity: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    loss_before: float | None = None
    resumed_at_steps: list[int] = field(default_factory=list)

    @property
    def step(self) -> int:
        return len(self.losses)


def _train(
    spec: TuneSpec,
    model: Any,
    trained: _Trained,
    optimizer: Any,
    state: _State,
    documents: Sequence[Sequence[int]],
    checkpoint: Path,
    checkpoint_steps: int,
    report: Report,
    stopped: Callable[[], bool],
) -> None:
    import torch

    parameters = list(trained.parameters.values())
    peak = spec.learning_rate or LEARNING_RATES[spec.method]
    source = batches(documents, length=spec.length, batch=spec.batch, seed=spec.seed)
    report("training", state.step, spec.steps, state.losses[-1] if state.losses else None)
    for rows in islice(source, state.step, spec.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(state.step, steps=spec.steps, peak=peak)
        ids = torch.tensor(rows, device=spec.device)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"{spec.model}: the loss of step {state.step + 1} is {value}; a smaller learning rate than {peak:g} "
                "may keep it finite"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state.losses.append(value)
        report("training", state.step, spec.steps, value)
        done = state.step == spec.steps
        asked = stopped()
        if asked or done or state.step % checkpoint_steps == 0:
            _save_checkpoint(state, trained, optimizer, checkpoint)
        if asked and not done:
            raise Stopped(state.step)


def _loss(model: Any, sequences: Sequence[Sequence[int]], spec: TuneSpec) -> float:
    """Return the mean loss in nats per predicted token."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for row in sequences:
            ids = torch.tensor([row], device=spec.device)
            predicted = len(row) - 1
            total += float(model(input_ids=ids, labels=ids, use_cache=False).loss) * predicted
            count += predicted
    return total / count


def _tokens(base: LoadedModel, spec: TuneSpec, data: Texts) -> tuple[list[list[int]], list[list[int]]]:
    """Return the documents in tokens, each with the token that ends it, and the sequences that are evaluated."""
    tokenizer = _check_texts(spec, base.tokenizer, base.context_token_count)
    if tokenizer.vocabulary_count > base.vocabulary_count:
        raise ModelError(
            f"{spec.model}: its tokenizer has {tokenizer.vocabulary_count} tokens, the model knows "
            f"{base.vocabulary_count}; they do not belong together"
        )
    end = list(base.end_ids[:1])
    documents = [[*ids, *end] for ids in tokenizer.encode_batch(data.texts)]
    first = list(islice((i for ids in documents for i in ids), EVALUATED_TOKEN_COUNT))
    rows = [first[i : i + spec.length] for i in range(0, len(first), spec.length)]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise ModelError(f"{data.name}: too little text to train on: {len(first)} tokens")
    return documents, rows


def _optimizer(trained: _Trained) -> Any:
    import torch

    return torch.optim.AdamW(trained.parameters.values(), lr=0.0, weight_decay=0.0, foreach=False)


# --------------------------------------------------------------------------------------------------------- checkpoints


def _identity(spec: TuneSpec, base: LoadedModel, data: Texts, tensor_count: int) -> dict[str, Any]:
    """Return what must agree before a checkpoint's steps are of this run. Threads belong to it: sums depend on them."""
    import torch

    settings = {key: value for key, value in settings_of(spec).items() if key not in ("merge", "data", "model")}
    return {
        **settings,
        "data": data.digest,
        "base": base.weights_digest,
        "tokenizer": base.tokenizer_digest,
        "tensor_count": tensor_count,
        "thread_count": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _save_checkpoint(state: _State, trained: _Trained, optimizer: Any, path: Path) -> None:
    tensors = {}
    for name, parameter in trained.parameters.items():
        tensors[name] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{name} {moment}"] = optimizer.state[parameter][moment]
    values = {
        "identity": state.identity,
        "losses": state.losses,
        "loss_before": state.loss_before,
        "resumed_at_steps": state.resumed_at_steps,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _save(tensors, temporary, {"tokprof": json.dumps(values)})
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _restore(state: _State, trained: _Trained, optimizer: Any, path: Path) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            values = json.loads((file.metadata() or {})["tokprof"])
            for key, mine in state.identity.items():
                other = values["identity"].get(key)
                if other != mine:
                    raise ModelError(f"{path}: of other settings: {key} is {other}, not {mine}; resume with the same")
            state.losses = values["losses"]
            state.loss_before = values["loss_before"]
            state.resumed_at_steps = [*values["resumed_at_steps"], len(state.losses)]
            with torch.no_grad():
                for name, parameter in trained.parameters.items():
                    parameter.copy_(file.get_tensor(name))
                    optimizer.state[parameter] = {
                        "step": torch.tensor(float(len(state.losses))),
                        **{
                            moment: file.get_tensor(f"{name} {moment}").to(parameter.device)
                            for moment in ("exp_avg", "exp_avg_sq")
                        },
                    }
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ModelError(f"{path}: no checkpoint of `tokprof tune` ({error}); begin again without --resume") from error


# ------------------------------------------------------------------------------------------------------------- placebo


def placebo(
    spec: TuneSpec, like: Path, folder: Path, *, report: Report = lambda _stage, _done, _all, _loss: None
) -> TuneRecord:
    """Change the base by as much as a tuned result did, at random, and write it in the result's form.

    Of an adapter, random factors of the same shapes, scaled until each product has its norm; a merged result that
    carries its adapter is treated alike and merged. Of any other model, a random tensor of the norm of the difference,
    for each parameter that differs.

    Raises
    ------
    ModelError
        ``like`` is no result, is one of another base, or equals its base.
    """
    if not (like / "adapter_config.json").is_file() and not (like / "config.json").is_file():
        raise ModelError(f"{like}: neither an adapter nor a model; the placebo wants the folder of a tuned result")
    made = read_record(like)
    if made is not None:  # in its form, and its losses taken over sequences of its length
        length = made["settings"].get("length", spec.length)
        if not isinstance(length, int) or length < 2:
            raise ModelError(f"{like / RECORD_FILE}: key 'settings.length' is {length!r}; tune again")
        spec = replace(spec, dtype=made["dtype"], length=length)
    check(_model_spec(spec))
    data = read_texts(spec.data)
    report("loading", 0, None, None)
    with _memory_errors(spec):
        base = _load_base(spec)
        if made is not None and (digest := made["base"].get("weights_digest")) != base.weights_digest:
            raise ModelError(
                f"{like}: tuned from {made['base'].get('name')} with weights {digest}, but those of {spec.model} are "
                f"{base.weights_digest}; name its own base"
            )
        documents, evaluated = _tokens(base, spec, data)
        before = _loss(base.model, evaluated, spec)
        adapter = next((p for p in (like, like / ADAPTER_FOLDER) if (p / "adapter_config.json").is_file()), None)
        report("drawing", 0, None, None)
        model: Any = None
        if adapter is not None:
            file = adapter / "adapter_model.safetensors"
            place = folder if adapter == like else folder / ADAPTER_FOLDER
            place.mkdir(exist_ok=True)
            _draw_factors(adapter, place, spec.seed)
            try:
                model = _peft().PeftModel.from_pretrained(base.model, str(place))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                first = (str(error).strip() or repr(error)).splitlines()[0]
                raise ModelError(f"{adapter}: no adapter that fits {spec.model}: {first}") from error
            model.eval()
            changes = _adapter_changes(model)
            count = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
        else:
            other = load(replace(_model_spec(spec), name=str(like)))
            changes, count = _draw_weights(base.model, other.model, like, spec.seed)
            file = next(iter(sorted(like.glob("*.safetensors"))))
        after = _loss(base.model, evaluated, spec)
        report("writing", 0, None, after)
        result = _write(folder, base, spec, model, merge=adapter is not None and adapter != like)
    record = TuneRecord(
        **result,
        placebo_of=_file_digest(file),
        base=_described(base),
        data=_data_facts(data, documents),
        settings={
            "model": spec.model,
            "weights": spec.weights,
            "seed": spec.seed,
            "length": spec.length,
            "like": like.name,
        },
        dtype=spec.dtype,
        parameter_count=count,
        loss_before=before,
        loss_after=after,
        losses=(),
        changes=changes,
        libraries=_libraries(),
    )
    _write_record(record, folder)
    return record


def _draw_factors(adapter: Path, place: Path, seed: int) -> None:
    """Write an adapter of random factors, each pair's product of the same norm as in ``adapter``."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        raise ModelError(f"{adapter}: adapter_model.safetensors is missing")
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise ModelError(f"{file}: a damaged safetensors file: {error}") from error
    names = sorted(name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight"))
    strange = set(tensors) - {f"{name}.lora_{factor}.weight" for name in names for factor in "AB"}
    if strange or not names:
        raise ModelError(f"{file}: no plain LoRA: {min(strange, default='it holds no factors')}; no placebo is known")
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name in names:
        old_a, old_b = (tensors.get(f"{name}.lora_{factor}.weight") for factor in "AB")
        if old_a is None or old_b is None or old_a.ndim != 2 or old_b.ndim != 2 or old_b.shape[1] != old_a.shape[0]:
            raise ModelError(f"{file}: the factors of {name} do not belong together; no placebo is known")
        new_a, new_b = (torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (old_a, old_b))
        new_a /= math.sqrt(new_a.shape[1])
        new_b *= _product_norm(old_a, old_b) / _product_norm(new_a, new_b)
        drawn[f"{name}.lora_A.weight"] = new_a.to(old_a.dtype)
        drawn[f"{name}.lora_B.weight"] = new_b.to(old_b.dtype)
    if not any(tensor.any() for name, tensor in drawn.items() if name.endswith(".lora_B.weight")):
        raise ModelError(f"{adapter}: changes nothing, so there is no norm to match")
    _save(drawn, place / "adapter_model.safetensors", {"format": "pt"})
    (place / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())


def _draw_weights(model: Any, other: Any, like: Path, seed: int) -> tuple[dict[str, Change], int]:
    """Add to each parameter that differs from ``other``'s a random tensor of the difference's norm, in place."""
    import torch

    theirs = dict(other.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    rows, count = [], 0
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if name not in theirs or theirs[name].shape != parameter.shape:
                raise ModelError(f"{like}: has no {name} of shape {tuple(parameter.shape)}; it is no tuned form of it")
            norm = float((theirs[name].double() - parameter.double()).norm())
            if norm == 0:
                continue
            noise = torch.randn(parameter.shape, generator=generator).double().to(parameter.device)
            before = parameter.clone()
            parameter.copy_(parameter.double() + noise * (norm / float(noise.norm())))
            rows.append((name, before, parameter.detach()))
            count += parameter.numel()
    if not rows:
        raise ModelError(f"{like}: equals its base, so there is no norm to match")
    return _changes(rows), count


# ------------------------------------------------------------------------------------------------------------- changes


def _changes(rows: Iterable[tuple[str, Any, Any]]) -> dict[str, Change]:
    """Return by kind of layer how far tensors moved; a row is name, before, after."""
    squares: dict[str, list[tuple[float, float]]] = {}
    for name, before, after in rows:
        moved = float((after.double() - before.double()).norm())
        squares.setdefault(_kind(name), []).append((moved, float(before.double().norm())))
    return _by_kind(squares)


def _adapter_changes(model: Any) -> dict[str, Change]:
    squares: dict[str, list[tuple[float, float]]] = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            a, b = module.lora_A["default"].weight.detach(), module.lora_B["default"].weight.detach()
            base = float(module.get_base_layer().weight.detach().double().norm())
            squares.setdefault(_kind(name), []).append((module.scaling["default"] * _product_norm(a, b), base))
    return _by_kind(squares)


def _by_kind(norms: dict[str, list[tuple[float, float]]]) -> dict[str, Change]:
    return {
        kind: Change(
            tensor_count=len(pairs),
            norm=math.sqrt(sum(moved**2 for moved, _ in pairs)),
            base_norm=math.sqrt(sum(base**2 for _, base in pairs)),
        )
        for kind, pairs in sorted(norms.items())
    }


def _kind(name: str) -> str:
    parts = [part for part in name.split(".") if part not in ("weight", "bias")]
    return parts[-1] + (".bias" if name.endswith(".bias") else "")


def _product_norm(a: Any, b: Any) -> float:
    """Return the Frobenius norm of b @ a without forming it."""
    a, b = a.double(), b.double()
    return math.sqrt(max(0.0, float(((a @ a.T) * (b.T @ b)).sum())))


# ------------------------------------------------------------------------------------------------------------- writing


def _write(folder: Path, base: LoadedModel, spec: TuneSpec, peft: Any, merge: bool) -> dict[str, Any]:
    """Write weights, configuration and tokenizer; return what the record says of them."""
    adapter_dtype = None
    if peft is not None:
        adapter_dtype = str(next(p for n, p in peft.named_parameters() if ".lora_" in n).dtype).removeprefix("torch.")
        place = folder / ADAPTER_FOLDER if merge else folder
        peft.peft_config["default"].base_model_name_or_path = spec.model
        peft.save_pretrained(place, safe_serialization=True, save_embedding_layers=False)
        (place / "README.md").unlink(missing_ok=True)  # a form for the hub, with nothing filled in
        if not merge:
            return {
                "form": "adapter",
                "adapter_dtype": adapter_dtype,
                "digest": _file_digest(folder / "adapter_model.safetensors"),
                "tokenizer_written": False,
            }
        model = peft.merge_and_unload(safe_merge=True)
    else:
        model = base.model
    state = model.state_dict()
    # A tied tensor has several names; the first is the one that loading expects.
    tied = set(dict(model.named_parameters(remove_duplicate=False))) - set(dict(model.named_parameters()))
    tensors = {name: tensor.contiguous() for name, tensor in state.items() if name not in tied}
    file = folder / "model.safetensors"
    _save(tensors, file, {"format": "pt"})
    config = model.config.to_dict()
    for key in ("_name_or_path", "quantization_config"):
        config.pop(key, None)
    config["dtype"] = spec.dtype
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str))
    generation = {} if model.generation_config is None else model.generation_config.to_dict()
    if base.end_ids:
        generation["eos_token_id"] = list(base.end_ids)
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1, default=str))
    tokenizer = getattr(base.tokenizer, "backend", None)
    written = hasattr(tokenizer, "save")
    if tokenizer is not None and written:
        tokenizer.save(str(folder / "tokenizer.json"))
    return {
        "form": "full" if peft is None else "merged",
        "adapter_dtype": adapter_dtype,
        "digest": _file_digest(file),
        "tokenizer_written": written,
    }


def _write_record(record: TuneRecord, folder: Path) -> None:
    (folder / RECORD_FILE).write_text(json.dumps(asdict(record) | {"norm": record.norm}, indent=1) + "\n")


def _save(tensors: dict[str, Any], file: Path, metadata: dict[str, str]) -> None:
    """Write safetensors; what the operating system refuses is an :class:`OSError`, as everywhere."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, file, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


# --------------------------------------------------------------------------------------------------------------- parts


def _model_spec(spec: TuneSpec) -> ModelSpec:
    return ModelSpec(name=spec.model, weights=spec.weights, dtype=spec.dtype, device=spec.device)


def _load_base(spec: TuneSpec) -> LoadedModel:
    import torch

    if spec.device != "cpu":
        # Sums on a GPU come in any order unless asked not to; read before the library of matrix products starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    base = load(_model_spec(spec))
    for parameter in base.model.parameters():
        parameter.requires_grad_(False)
    return base


def _described(base: LoadedModel) -> dict[str, Any]:
    keys = ("name", "source", "architecture", "dtype", "weights_digest", "config_digest", "tokenizer_digest")
    return {key: getattr(base, key) for key in keys}


def _data_facts(data: Texts, documents: Sequence[Sequence[int]]) -> dict[str, Any]:
    return {
        "name": data.name,
        "digest": data.digest,
        "text_count": len(data.texts),
        "skipped_file_count": data.skipped_count,
        "byte_count": sum(len(text.encode()) for text in data.texts),
        "token_count": sum(map(len, documents)),
    }


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("tokprof", "torch", "transformers", "peft", "safetensors", "tokenizers")}


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ModelError("LoRA needs peft; pip install 'tokprof[measure]'") from error
    # It asks the model for a property that transformers is about to rename.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    return peft


def _refuse_what_does_not_fit(parameter_count: int, bytes_each: int, spec: TuneSpec) -> None:
    free = free_bytes(spec.device)
    wanted = parameter_count * bytes_each
    if free is not None and wanted > free:
        raise ModelError(_too_little_memory(spec, f"{wanted / 1e9:.1f} GB for gradients and moments", free))


def _too_little_memory(spec: TuneSpec, what: str, free: int | None) -> str:
    way_out = "try a smaller --batch or --length" + (", or --method lora" if spec.method == "full" else "")
    known = "" if free is None else f", and {free / 1e9:.1f} GB are free"
    return f"out of memory tuning {spec.model}: it wants {what}{known}; {way_out}"


@contextlib.contextmanager
def _memory_errors(spec: TuneSpec) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ModelError(_too_little_memory(spec, "more than there is", free_bytes(spec.device))) from error
    except RuntimeError as error:
        # torch's own for a GPU is a RuntimeError, too; on a CPU only the words tell.
        if type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
            tokens = f"room for {spec.batch} x {spec.length} tokens a step"
            raise ModelError(_too_little_memory(spec, tokens, free_bytes(spec.device))) from error
        raise
