"""What a model is tuned on: texts from this package, a file of JSON lines or a folder, and the batches made of them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tokprof.models.corpora import json_rows, text_of
from tokprof.models.errors import ModelError
from tokprof.models.languages import languages

BUILT_IN_DATA = ("cwe", "general")


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What is trained on."""

    name: str
    texts: tuple[str, ...]
    skipped_count: int = 0  # files of a folder that are no text

    @property
    def digest(self) -> str:
        """A hash over the texts in their order."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()[:16]


def read_texts(source: str) -> Texts:
    """Read the texts of ``cwe``, ``general``, a file of JSON lines ``{"text", ...}`` or a folder of source files.

    Raises
    ------
    ModelError
        No such source, a line that is no object with a text (the message names file and line), or no text at all.
    """
    if source in BUILT_IN_DATA:
        return _json_lines(Path(__file__).with_name("cwe") / f"{source}.jsonl", source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _source_files(path)
    if path.is_file():
        return _json_lines(path, source)
    raise ModelError(
        f"{source}: no such data; it is {' or '.join(BUILT_IN_DATA)}, a file of JSON lines or a folder of source files"
    )


def _json_lines(path: Path, name: str) -> Texts:
    texts = tuple(text for row, place in json_rows(path) if (text := text_of(row, place)))
    if not texts:
        raise ModelError(f'{path}: holds no rows; a row is one line {{"text": ...}}')
    return Texts(name=name, texts=texts)


def _source_files(folder: Path) -> Texts:
    suffixes = {suffix for language in languages().values() for suffix in language.extensions}
    texts, skipped = [], 0
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix not in suffixes or not path.is_file():
            continue
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            skipped += 1
            continue
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from error
        if text and "\0" not in text:
            texts.append(text)
        else:
            skipped += 1
    if not texts:
        raise ModelError(f"{folder}: holds no source files of a known language")
    return Texts(name=str(folder), texts=tuple(texts), skipped_count=skipped)


def batches(documents: Sequence[Sequence[int]], *, length: int, batch: int, seed: int) -> Iterator[list[list[int]]]:
    """Yield, for ever, ``batch`` sequences of ``length`` tokens, packed from the documents in a new order each time."""
    import numpy as np

    order = np.random.default_rng(seed)

    def stream() -> Iterator[int]:
        while True:
            for index in order.permutation(len(documents)):
                yield from documents[index]

    tokens = stream()
    while True:
        yield [list(islice(tokens, length)) for _ in range(batch)]
