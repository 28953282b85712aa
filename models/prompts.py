"""Prompts: from a file, a folder, or a number of tokens; and the continuation that teacher forcing decodes."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokprof.models.errors import ModelError
from tokprof.models.loading import LoadedModel
from tokprof.models.tokenizers import Tokenizer

DEFAULT_TOKEN_COUNT = 256
MAXIMUM_FOLDER_BYTES = 4 << 20
SENTINEL_ROOM = 8  # tokens: more than any family puts around the two texts of a fill-in-the-middle prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpec:
    """Where a prompt comes from."""

    source: Path | None = None  # file or folder; None: text that comes with tokprof, or random tokens
    name: str | None = None  # what to call it
    token_count: int | None = None  # cut or repeat to this length; None: as long as it is
    continuation: Path | None = None  # text to decode under teacher forcing; None: what follows the prompt
    fill_in_the_middle: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt in tokens, with the continuation to be forced."""

    name: str
    ids: tuple[int, ...]
    continuation_ids: tuple[int, ...]
    byte_count: int | None  # UTF-8 bytes of the prompt's text; None for random tokens
    digest: str  # of the prompt's and the continuation's tokens


def make_prompt(spec: PromptSpec, loaded: LoadedModel, *, new_token_count: int, forced: bool) -> Prompt:
    """Make the prompt of a run.

    A file longer than asked is cut, and the continuation is what follows; a shorter one is repeated. Without a length
    the whole file is used, its last tokens as the continuation. A fill-in-the-middle prompt takes its continuation out
    of the middle of the file.

    Raises
    ------
    ModelError
        An unreadable or empty source, or prompt and new tokens that exceed the model's context.
    """
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        prompt = _random_prompt(spec, loaded, new_token_count)
    elif spec.fill_in_the_middle:
        prompt = _middle_prompt(spec, tokenizer, new_token_count)
    else:
        prompt = _text_prompt(spec, tokenizer, new_token_count if forced else 0)
    if len(prompt.ids) + new_token_count > loaded.context_token_count:
        raise ModelError(
            f"{prompt.name}: the prompt's {len(prompt.ids):,} tokens and {new_token_count:,} new ones exceed the "
            f"context of {loaded.name}, {loaded.context_token_count:,}; "
            f"pass {_what_fits(spec, len(prompt.ids), new_token_count, loaded.context_token_count)}"
        )
    return prompt


def _what_fits(spec: PromptSpec, prompt_count: int, new_count: int, context_count: int) -> str:
    """Say which options bring a prompt and its new tokens into the context."""
    room = context_count - new_count - (SENTINEL_ROOM if spec.fill_in_the_middle else 0)
    if room > 0:
        return f"--prompt-tokens {room} or fewer"
    if prompt_count >= context_count:
        return f"--prompt-tokens and --new-tokens that are {context_count} or fewer together"
    fewer = f"--new-tokens {context_count - prompt_count} or fewer"
    whole = spec.token_count is None and (spec.source is not None or spec.fill_in_the_middle)
    return f"--prompt-tokens {prompt_count} and {fewer}" if whole else fewer  # what is not decoded is read instead


def _text_prompt(spec: PromptSpec, tokenizer: Tokenizer, forced_count: int) -> Prompt:
    text = _text(spec)
    ids = tokenizer.encode(text)
    if not ids:
        raise ModelError(f"{_origin(spec)}: no text to make a prompt of")
    wanted = spec.token_count
    if wanted is None and spec.source is None:
        wanted = DEFAULT_TOKEN_COUNT
    taken = forced_count if spec.continuation is None else 0
    if wanted is None:
        if len(ids) <= taken:
            raise ModelError(
                f"{_origin(spec)}: its {len(ids)} tokens are no more than the {taken} to be decoded; pass fewer "
                "--new-tokens, a --prompt-tokens to repeat it to, or a --continuation"
            )
        wanted = len(ids) - taken
    needed = wanted + taken
    ids = (ids * (needed // len(ids) + 1))[:needed]
    continuation = ids[wanted:]
    if spec.continuation is not None and forced_count:
        continuation = tokenizer.encode(_read(spec.continuation))[:forced_count]
        if len(continuation) < forced_count:
            raise ModelError(
                f"{spec.continuation}: {len(continuation)} tokens, but {forced_count} are to be decoded; "
                "pass a longer one or fewer --new-tokens"
            )
    return _prompt(_name(spec, wanted), ids[:wanted], continuation, sum(tokenizer.byte_counts(ids[:wanted])))


def _middle_prompt(spec: PromptSpec, tokenizer: Tokenizer, middle_count: int) -> Prompt:
    ids = tokenizer.encode(_text(spec))
    if len(ids) < middle_count + 2:
        raise ModelError(
            f"{_origin(spec)}: {len(ids)} tokens are too few to take {middle_count} out of the middle; "
            "pass fewer --new-tokens or a longer text"
        )
    around = len(ids) - middle_count if spec.token_count is None else min(spec.token_count, len(ids) - middle_count)
    start = (len(ids) - middle_count) // 2
    prefix = ids[max(0, start - around // 2) : start]
    suffix = ids[start + middle_count : start + middle_count + around // 2]
    prompt_ids = tokenizer.fill_in_the_middle(tokenizer.decode(prefix), tokenizer.decode(suffix))
    if prompt_ids is None:
        raise ModelError(f"{tokenizer.name}: this tokenizer has no fill-in-the-middle sentinels; leave out --fim")
    middle = ids[start : start + middle_count]
    name = f"{_name(spec, len(prompt_ids))}, fill in the middle"
    return _prompt(name, prompt_ids, middle, sum(tokenizer.byte_counts(prompt_ids)))


def _random_prompt(spec: PromptSpec, loaded: LoadedModel, forced_count: int) -> Prompt:
    if spec.fill_in_the_middle:
        raise ModelError(
            f"{loaded.name}: has no tokenizer here, so no text can be left out of the middle; leave out --fim"
        )
    if spec.source is not None:
        raise ModelError(f"{loaded.name}: has no tokenizer here, so text cannot be its prompt; pass --prompt-tokens")
    count = spec.token_count or DEFAULT_TOKEN_COUNT
    draw = random.Random(spec.seed)
    ids = [draw.randrange(loaded.vocabulary_count) for _ in range(count + forced_count)]
    return _prompt(f"{count} random tokens", ids[:count], ids[count:], None)


def _prompt(name: str, ids: Sequence[int], continuation: Sequence[int], byte_count: int | None) -> Prompt:
    words = " ".join(map(str, ids)) + "|" + " ".join(map(str, continuation))
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    return Prompt(name=name, ids=tuple(ids), continuation_ids=tuple(continuation), byte_count=byte_count, digest=digest)


def _origin(spec: PromptSpec) -> str:
    """Say where the text comes from, as the user knows it."""
    return spec.name or ("tokprof's own source" if spec.source is None else str(spec.source))


def _name(spec: PromptSpec, count: int) -> str:
    if spec.name is not None:
        return spec.name
    return f"{count} tokens of tokprof's own source" if spec.source is None else spec.source.name


def _text(spec: PromptSpec) -> str:
    if spec.source is None:
        return _read(Path(__file__)) + _read(Path(__file__).with_name("engine.py"))
    if spec.source.is_dir():
        return _folder_text(spec.source)
    return _read(spec.source, _origin(spec))


def _folder_text(folder: Path) -> str:
    """Join a folder's text files by name, up to a few megabytes; hidden and binary ones are left out."""
    parts, size = [], 0
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.is_symlink() or not path.is_file() or path.stat().st_size > MAXIMUM_FOLDER_BYTES:
            continue
        data = path.read_bytes()
        if b"\0" in data:
            continue
        parts.append(data.decode("utf-8", errors="replace"))
        size += len(data)
        if size >= MAXIMUM_FOLDER_BYTES:
            break
    if not parts:
        raise ModelError(f"{folder}: no text file in this folder")
    return "\n".join(parts)


def _read(path: Path, name: str | None = None) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{name or path}: not UTF-8 text (byte {error.start}); a prompt is text") from error
    except OSError as error:
        raise ModelError(f"{name or path}: {error.strerror}") from error
