"""Real tokenizers, without a model hub where the package index carries their vocabulary.

Text is data: a sentinel such as ``<|endoftext|>`` inside a source file is encoded as the characters it is made of.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from tokprof.models.errors import ModelError
from tokprof.models.pull import Progress, cache_folder, cached, members, pull
from tokprof.models.zoo import ZOO, PackageFile


class Tokenizer(Protocol):
    """What measuring and fertility need of a tokenizer."""

    name: str
    digest: str  # of everything that determines its output
    vocabulary_count: int
    end_ids: tuple[int, ...]
    byte_ids: frozenset[int]  # byte-fallback tokens, one for each byte; none where every token is made of bytes

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without sentinels at its ends."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of many texts, in parallel where the library can."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; bytes that are no UTF-8 become U+FFFD."""

    def byte_counts(self, ids: Sequence[int]) -> list[int]:
        """Return the UTF-8 bytes each token stands for; 0 for sentinels."""

    def fill_in_the_middle(self, prefix: str, suffix: str) -> list[int] | None:
        """Return a prompt whose continuation is the text between; ``None`` without such sentinels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """How a family asks for the middle: the order of its sentinels and the two texts."""

    template: tuple[str, ...]  # sentinels, with "prefix" and "suffix" where the texts go


# From each family's published tokenizer files and model cards.
FILL_IN_THE_MIDDLE = (
    Sentinels(template=("<fim_prefix>", "prefix", "<fim_suffix>", "suffix", "<fim_middle>")),  # StarCoder, StarCoder2
    Sentinels(template=("<fim-prefix>", "prefix", "<fim-suffix>", "suffix", "<fim-middle>")),  # SantaCoder
    Sentinels(template=("<|fim_prefix|>", "prefix", "<|fim_suffix|>", "suffix", "<|fim_middle|>")),  # Qwen2.5-Coder
    Sentinels(template=("<｜fim▁begin｜>", "prefix", "<｜fim▁hole｜>", "suffix", "<｜fim▁end｜>")),  # DeepSeek-Coder
)


class FastTokenizer:
    """A :class:`Tokenizer` around the ``tokenizers`` library."""

    def __init__(self, backend: Any, *, name: str, end_ids: Sequence[int] = ()) -> None:
        self.backend = backend
        self.name = name
        self.end_ids = tuple(end_ids)
        description = backend.to_str()
        self.digest = hashlib.sha256(description.encode()).hexdigest()[:16]
        self.vocabulary_count = backend.get_vocab_size(with_added_tokens=True)
        self._special = {added.content: number for number, added in backend.get_added_tokens_decoder().items()}
        byte_level = '"ByteLevel"' in json.dumps(json.loads(description)["decoder"])
        self._sizes = _token_sizes(backend, set(self._special.values()), byte_level=byte_level)
        pieces = {} if byte_level else backend.get_vocab(with_added_tokens=False)
        self.byte_ids = frozenset(i for piece, i in pieces.items() if _is_byte(piece))
        backend.encode_special_tokens = True

    def encode(self, text: str) -> list[int]:
        """See :meth:`Tokenizer.encode`."""
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """See :meth:`Tokenizer.encode_batch`."""
        return [e.ids for e in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """See :meth:`Tokenizer.decode`."""
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def byte_counts(self, ids: Sequence[int]) -> list[int]:
        """See :meth:`Tokenizer.byte_counts`."""
        known = len(self._sizes)
        return [self._sizes[i] if i < known else 0 for i in ids]

    def fill_in_the_middle(self, prefix: str, suffix: str) -> list[int] | None:
        """See :meth:`Tokenizer.fill_in_the_middle`."""
        texts = {"prefix": prefix, "suffix": suffix}
        for family in FILL_IN_THE_MIDDLE:
            numbers = {s: self.backend.token_to_id(s) for s in family.template if s not in texts}
            if None not in numbers.values():
                parts = (self.encode(texts[s]) if s in texts else [numbers[s]] for s in family.template)
                return [number for part in parts for number in part]
        return None


def _token_sizes(backend: Any, special: set[int], *, byte_level: bool) -> list[int]:
    vocabulary = backend.get_vocab(with_added_tokens=True)
    sizes = [0] * (max(vocabulary.values(), default=-1) + 1)
    for piece, number in vocabulary.items():
        sizes[number] = 0 if number in special else (len(piece) if byte_level else _piece_bytes(piece))
    return sizes


def _piece_bytes(piece: str) -> int:
    """Return the bytes of a SentencePiece piece: a byte-fallback token is one byte, U+2581 is a space."""
    return 1 if _is_byte(piece) else len(piece.replace("\u2581", " ").encode())


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


class MistralTokenizer:
    """A :class:`Tokenizer` around mistral-common, Codestral's own."""

    def __init__(self, *, name: str) -> None:
        try:
            from mistral_common.tokens.tokenizers.mistral import MistralTokenizer as Backend
        except ImportError as error:
            raise ModelError(f"{name}: its tokenizer needs mistral-common; pip install 'tokprof[mistral]'") from error
        self.name = name
        self._whole = Backend.v3()
        self.backend: Any = self._whole.instruct_tokenizer.tokenizer
        self.vocabulary_count = int(self.backend.n_words)
        self.end_ids: tuple[int, ...] = (int(self.backend.eos_id),)
        pieces = [self.backend.id_to_piece(i) for i in range(self.vocabulary_count)]
        self.digest = hashlib.sha256(json.dumps(pieces).encode()).hexdigest()[:16]
        model = self.backend._model  # the SentencePiece processor, which alone knows which pieces are sentinels
        self._sizes = [0 if model.is_control(i) else _piece_bytes(piece) for i, piece in enumerate(pieces)]
        self.byte_ids = frozenset(i for i, piece in enumerate(pieces) if _is_byte(piece))

    def encode(self, text: str) -> list[int]:
        """See :meth:`Tokenizer.encode`."""
        return list(self.backend.encode(text, bos=False, eos=False))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """See :meth:`Tokenizer.encode_batch`."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """See :meth:`Tokenizer.decode`."""
        return str(self.backend.decode(list(ids)))

    def byte_counts(self, ids: Sequence[int]) -> list[int]:
        """See :meth:`Tokenizer.byte_counts`; the first token counts the space that SentencePiece puts before a text."""
        return [self._sizes[i] for i in ids]

    def fill_in_the_middle(self, prefix: str, suffix: str) -> list[int] | None:
        """See :meth:`Tokenizer.fill_in_the_middle`; Codestral takes the suffix first."""
        from mistral_common.protocol.fim.request import FIMRequest

        return [int(i) for i in self._whole.encode_fim(FIMRequest(prompt=prefix, suffix=suffix)).tokens]


# ------------------------------------------------------------------------------------------------------ vocabularies

# The vocabularies that llama.cpp tests its tokenizers with; StarCoder's is the front of Refact's, which adds sentinels.
_LLAMA_CPP = PackageFile(
    project="llama-cpp-python",
    version="0.3.16",
    archive="llama_cpp_python-0.3.16.tar.gz",
    sha256="34ed0f9bd9431af045bb63d9324ae620ad0536653740e9bb163a2e1fcb973be6",
    member="",
)
_LLAMA_CPP_FOLDER = "llama_cpp_python-0.3.16/vendor/llama.cpp/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Where a tokenizer's vocabulary comes from."""

    gguf: str | None = None  # name of llama.cpp's vocabulary file; None: another source
    token_count: int | None = None  # keep only so many of the file's tokens
    sentinels: tuple[tuple[int, str], ...] = ()  # tokens that the file leaves unnamed, from the makers' model card


VOCABULARIES: dict[str, Vocabulary] = {
    "smollm2": Vocabulary(),
    "codestral": Vocabulary(),
    "starcoder": Vocabulary(gguf="refact", token_count=49152),
    "starcoder2": Vocabulary(gguf="starcoder"),
    "deepseek-coder": Vocabulary(gguf="deepseek-coder"),
    # Qwen2's text tokens are Qwen2.5-Coder's; the sentinels of filling in the middle came later, in unused places.
    "qwen2": Vocabulary(
        gguf="qwen2",
        sentinels=((151659, "<|fim_prefix|>"), (151660, "<|fim_middle|>"), (151661, "<|fim_suffix|>")),
    ),
}


def tokenizer_of(key: str, progress: Progress = lambda _done, _all: None) -> Tokenizer:
    """Return a tokenizer of :data:`VOCABULARIES`, fetching its vocabulary if it is not cached.

    Raises
    ------
    ModelError
        An unknown key, no network, or a library that is not installed.
    """
    if key not in VOCABULARIES:
        raise ModelError(f"{key!r}: no such tokenizer; known are {', '.join(VOCABULARIES)}")
    if key == "codestral":
        return MistralTokenizer(name=key)
    return _load_cached(key, _tokenizer_file(key, progress))


def vocabulary_cached(key: str) -> bool:
    """Say whether :func:`tokenizer_of` needs no network."""
    return key == "codestral" or _built(key).is_file()


def published_cases(key: str, progress: Progress = lambda _done, _all: None) -> list[tuple[str, list[int]]]:
    """Return llama.cpp's published cases for one of its vocabularies: texts and the tokens they must give."""
    stem = _vocabulary_file(str(VOCABULARIES[key].gguf))
    files = _llama_cpp_files(progress)
    texts = files[f"{stem}.inp"].read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    rows = files[f"{stem}.out"].read_text(encoding="utf-8").split("\n")
    return [(text, [int(word) for word in row.split()]) for text, row in zip(texts, rows, strict=False)]


def tokenizer_of_folder(folder: Path) -> Tokenizer | None:
    """Return the tokenizer in a model's folder; ``None`` if it holds no ``tokenizer.json``."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(file))
    except Exception as error:
        raise ModelError(f"{file}: not readable as a tokenizer: {error}") from error
    return FastTokenizer(backend, name=folder.name, end_ids=_end_ids(folder, backend))


def tokenizer_of_gguf(file: Path) -> Tokenizer:
    """Return the tokenizer inside a .gguf file."""
    backend, end_ids = _read_gguf(file, None)
    return FastTokenizer(backend, name=file.name, end_ids=end_ids)


def _vocabulary_file(name: str) -> str:
    return f"{_LLAMA_CPP_FOLDER}/ggml-vocab-{name}.gguf"


def _llama_cpp_files(progress: Progress) -> dict[str, Path]:
    """Return every vocabulary and its cases: the archive is large, so it is fetched once for all."""
    stems = [_vocabulary_file(source.gguf) for source in VOCABULARIES.values() if source.gguf is not None]
    return members(_LLAMA_CPP, [stem + suffix for stem in stems for suffix in ("", ".inp", ".out")], progress)


def _end_ids(folder: Path, backend: Any) -> tuple[int, ...]:
    ids: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            ids.update(value if isinstance(value, list) else [] if value is None else [value])
    return tuple(sorted(i for i in ids if i < backend.get_vocab_size(with_added_tokens=True)))


def _built(key: str) -> Path:
    return cache_folder() / "tokenizers" / f"{key}-2.json"  # the number grows when the construction changes


@functools.cache
def _load_cached(key: str, file: Path) -> FastTokenizer:
    from tokenizers import Tokenizer as Backend

    return FastTokenizer(Backend.from_file(str(file)), name=key, end_ids=_KNOWN_ENDS.get(key, ()))


_KNOWN_ENDS = {
    "smollm2": (2,),
    "starcoder": (0,),
    "starcoder2": (0,),
    "deepseek-coder": (32014,),
    "qwen2": (151643,),
}


def _tokenizer_file(key: str, progress: Progress) -> Path:
    """Build the tokenizer once, for reading a vocabulary out of GGUF takes seconds."""
    place = _built(key)
    if not place.is_file():
        source = VOCABULARIES[key]
        if source.gguf is None:
            weights = ZOO["SmolLM2-135M-Instruct"].weights
            assert weights is not None
            file = cached(weights) or pull(weights, progress)
        else:
            file = _llama_cpp_files(progress)[_vocabulary_file(source.gguf)]
        backend, _ = _read_gguf(file, source.token_count, dict(source.sentinels))
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(".partial")
        backend.save(str(temporary))
        temporary.rename(place)
    return place


def _read_gguf(
    file: Path, token_count: int | None, sentinels: Mapping[int, str] = MappingProxyType({})
) -> tuple[Any, tuple[int, ...]]:
    """Build a ``tokenizers`` BPE from a GGUF file's vocabulary; return it and the tokens that end a sequence."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(f"{file}: reading GGUF needs gguf; pip install 'tokprof[measure]'") from error
    from tokenizers import AddedToken, Tokenizer, decoders, models

    try:
        values = GGUFReader(str(file)).fields
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise ModelError(f"{file}: not readable as GGUF: {error}") from error

    def strings(key: str) -> list[str]:
        found = values[key]
        return [bytes(found.parts[i]).decode("utf-8") for i in found.data]

    kind, pre = values["tokenizer.ggml.model"].contents(), values["tokenizer.ggml.pre"].contents()
    if kind != "gpt2":
        raise ModelError(f"{file}: its tokenizer is of kind {kind!r}; only byte-level BPE ('gpt2') is read from GGUF")
    tokens = strings("tokenizer.ggml.tokens")[:token_count]
    tokens = [sentinels.get(i, token) for i, token in enumerate(tokens)]
    types = [int(values["tokenizer.ggml.token_type"].parts[i][0]) for i in values["tokenizer.ggml.token_type"].data]
    pairs = [merge.partition(" ") for merge in strings("tokenizer.ggml.merges")]
    merges = [(left, right) for left, _, right in pairs]
    number = {token: i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=number, merges=merges, fuse_unk=False))
    normalizer, splitter = _splitting(pre, file)
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.ByteLevel()
    special = 3  # llama.cpp's token type "control"; 4 is "user defined"
    backend.add_special_tokens(
        [
            AddedToken(token, special=True)
            for i, (token, kind_of_token) in enumerate(zip(tokens, types, strict=False))
            if kind_of_token == special or i in sentinels
        ]
    )
    end = values.get("tokenizer.ggml.eos_token_id")
    return backend, () if end is None else (int(end.contents()),)


def _splitting(pre: str, file: Path) -> tuple[Any, Any]:
    """Return the normalizer and pre-tokenizer that llama.cpp's name stands for."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    def split(pattern: str) -> Any:
        return pre_tokenizers.Split(Regex(pattern), behavior="isolated")

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    if pre in ("starcoder", "refact", "smollm", "command-r"):
        return None, pre_tokenizers.Sequence([digits, gpt2])
    if pre in ("gpt-2", "default"):
        return None, gpt2
    if pre == "qwen2":
        words = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
            r"\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        return normalizers.NFC(), pre_tokenizers.Sequence([split(words), byte_level])
    if pre == "deepseek-coder":
        patterns = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
        return None, pre_tokenizers.Sequence([*map(split, patterns), digits, byte_level])
    raise ModelError(f"{file}: its text is split the way {pre!r} does, which is not known here")
