"""Corpora: the same tasks solved in many languages, or any labelled code.

The built-in corpus (``corpus/<task>/<language>.<ext>``) needs nothing. A user's own is a folder of such a layout, a
checkout of Exercism tracks, a file of JSON lines, or a data set of the Hugging Face hub.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokprof.models.errors import ModelError
from tokprof.models.languages import language_key, language_of_extension
from tokprof.models.synthetic import to_tazmus

BUILT_IN = "tokprof's parallel corpus"
SYNTHETIC = "tazmus"
STREAMED_BYTE_COUNT = 50_000_000  # of a hub's data set: the texts taken end here
STREAMED_ROW_COUNT = 200_000  # ... and the rows looked at

TEXT_KEYS = ("text", "content", "code")
LANGUAGE_KEYS = ("language", "lang", "programming_language")
NO_SOURCE = frozenset({"expected.txt"})  # what lies beside a task's solutions and is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One solution of one task in one language."""

    task: str | None  # None: the corpus does not say, so it is parallel to nothing
    language: str  # key of tokprof.models.languages, or a word that is not known there
    text: str
    name: str  # where it came from, for messages


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Items of one source."""

    name: str
    items: tuple[Item, ...]

    @cached_property
    def digest(self) -> str:
        """What was measured: a hash over every item's task, language and text, whatever their order."""
        rows = sorted(json.dumps([item.task or "", item.language, item.text]) for item in self.items)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language, in the order of the alphabet."""
        return tuple(sorted({item.language for item in self.items}))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that has a name, in the order of the alphabet."""
        return tuple(sorted({item.task for item in self.items if item.task is not None}))


def load_corpus(
    source: str | None, *, languages: Iterable[str] | None = None, tasks: Iterable[str] | None = None
) -> Corpus:
    """Load a corpus.

    Parameters
    ----------
    source
        ``None``: the built-in corpus with its synthetic language. A folder laid out ``task/language.ext`` or
        ``task/language/files``; a checkout of one Exercism track or a folder of them; a file of JSON lines
        ``{"text", "language", "task"?}``; or a data set id of the Hugging Face hub, ``owner/name`` or
        ``owner/name:configuration``, streamed up to :data:`STREAMED_BYTE_COUNT` bytes.
    languages, tasks
        Keep only these; languages by key, name or alias.

    Raises
    ------
    ModelError
        No such source, an unknown layout, a file that is not UTF-8, a line without its keys, or nothing that is left.
    """
    wanted = _Wanted(
        None if languages is None else frozenset(map(_key, languages)),
        None if tasks is None else frozenset(tasks),
    )
    name, items = _read(source, wanted)
    return Corpus(name=name, items=_kept(items, wanted, name))


@dataclass(frozen=True)
class _Wanted:
    languages: frozenset[str] | None
    tasks: frozenset[str] | None

    def __call__(self, task: str | None, language: str) -> bool:
        return (self.languages is None or language in self.languages) and (self.tasks is None or task in self.tasks)


def _read(source: str | None, wanted: _Wanted) -> tuple[str, Iterator[Item]]:
    if source is None:
        return BUILT_IN, _built_in()
    path = Path(source)
    if path.is_dir():
        return source, _exercism(path) if _tracks(path) else _folder(path)
    if path.is_file() and language_of_extension(path.suffix) is not None:
        raise ModelError(f"{source}: one source file; files are read as a folder task/language.ext, or as rows of JSON")
    if path.is_file():
        return source, _json_lines(path)
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+(:[\w.-]+)?", source) and path.suffix not in (".jsonl", ".json"):
        return source, _streamed(source, wanted)
    raise ModelError(f"{source}: no such file or folder; a corpus is one of these, or a data set id owner/name")


def _kept(items: Iterable[Item], wanted: _Wanted, name: str) -> tuple[Item, ...]:
    kept, seen_languages, seen_tasks = [], set(), set()
    for item in items:
        seen_languages.add(item.language)
        seen_tasks.add(item.task or "")
        if wanted(item.task, item.language) and item.text:
            kept.append(item)
    for word, asked, seen in (("language", wanted.languages, seen_languages), ("task", wanted.tasks, seen_tasks)):
        missing = sorted((asked or frozenset()) - seen)
        if missing and seen:
            raise ModelError(f"{name}: has no {word} {', '.join(missing)}; it has {_listed(seen)}")
    if not kept:
        raise ModelError(f"{name}: holds no text{' of those languages and tasks' if seen_languages else ''}")
    return tuple(kept)


def _key(word: str) -> str:
    return language_key(word) or word.lower()


def _listed(words: set[str], most: int = 12) -> str:
    first = sorted(words)[:most]
    return ", ".join(first) + (f" and {len(words) - most} more" if len(words) > most else "")


# ------------------------------------------------------------------------------------------------------------- folders


def _built_in() -> Iterator[Item]:
    for item in _folder(Path(__file__).with_name("corpus")):
        yield item
        if item.language == "python":
            yield Item(task=item.task, language=SYNTHETIC, text=to_tazmus(item.text), name=f"{item.name} in Tazmus")


def _folder(root: Path) -> Iterator[Item]:
    tasks = [path for path in _visible(root) if path.is_dir()]
    if not tasks:
        raise ModelError(
            f"{root}: not a corpus: expected task/language.ext or task/language/files below it, or Exercism tracks"
        )
    for task in tasks:
        for path in _visible(task):
            if path.is_dir():
                language = _key(path.name)
                files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file, path)]
                if files:
                    text = "".join(map(_text, files))
                    yield Item(task=task.name, language=language, text=text, name=str(path))
            elif path.name not in NO_SOURCE:
                yield Item(task=task.name, language=_language_of_file(path), text=_text(path), name=str(path))


def _language_of_file(path: Path) -> str:
    known = language_key(path.stem)
    other = language_of_extension(path.suffix)
    if known is None and other is not None:
        raise ModelError(
            f"{path}: {path.stem!r} is no known language; below a corpus lie folders of tasks, and in each a solution "
            f"named after its language, as {other}{path.suffix}"
        )
    return _key(path.stem)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.relative_to(root).parts)


def _text(path: Path) -> str:
    """Return a file's text with its own line ends."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text (byte {error.start}); a corpus is text") from error
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error


# ------------------------------------------------------------------------------------------------------------ Exercism


def _tracks(root: Path) -> list[Path]:
    """Return the Exercism tracks of a folder: itself, or those below it."""
    places = [root, *(path for path in _visible(root) if path.is_dir())]
    return [place for place in places if (place / "exercises" / "practice").is_dir()]


def _exercism(root: Path) -> Iterator[Item]:
    """Yield the reference solution of every practice exercise, as its .meta/config.json names the files."""
    for track in _tracks(root):
        language = _key(track.resolve().name)
        for exercise in _visible(track / "exercises" / "practice"):
            files = _example_files(exercise)
            if files:
                yield Item(task=exercise.name, language=language, text="".join(map(_text, files)), name=str(exercise))


def _example_files(exercise: Path) -> list[Path]:
    config = exercise / ".meta" / "config.json"
    if not config.is_file():
        return sorted(p for p in exercise.glob(".meta/*") if p.is_file() and p.stem.lower() in ("example", "proof"))
    try:
        names = json.loads(_text(config))["files"]["example"]
        files = [exercise / name for name in names]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{config}: names no solution: expected files.example, a list of paths") from error
    for file in files:
        if not file.resolve().is_relative_to(exercise.resolve()):
            raise ModelError(f"{config}: names {file}, which lies outside of the exercise")
    return files


# ---------------------------------------------------------------------------------------------------------------- rows


def json_rows(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the object in each line of a file of JSON lines, with the place it has for messages."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{place}: not a line of JSON: {error}") from error
        if not isinstance(row, Mapping):
            raise ModelError(f"{place}: not an object; a row is {{text, ...}}")
        yield row, place


def text_of(row: Mapping[str, Any], place: str) -> str:
    """Return the text of a row; refuse a row without one."""
    return _value(row, TEXT_KEYS, place)


def _json_lines(path: Path) -> Iterator[Item]:
    for row, place in json_rows(path):
        yield _row_item(row, place)


def _row_item(row: Mapping[str, Any], place: str) -> Item:
    text, language = text_of(row, place), _value(row, LANGUAGE_KEYS, place)
    task = row.get("task")
    if task is not None and not isinstance(task, str | int):
        raise ModelError(f"{place}: task is {task!r}; it is a word or a number")
    return Item(
        task=None if task is None else str(task),
        language=_key(language),
        text=text,
        name=place,
    )


def _value(row: Mapping[str, Any], keys: Sequence[str], place: str) -> str:
    key = next((key for key in keys if key in row), None)
    if key is None:
        has = ", ".join(map(str, row)) or "nothing"
        raise ModelError(f"{place}: has no {keys[0]!r} (nor {' nor '.join(map(repr, keys[1:]))}); it has {has}")
    value = row[key]
    if not isinstance(value, str):
        raise ModelError(f"{place}: {key} is {type(value).__name__}, not text")
    if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise ModelError(f"{place}: {key} holds half of a surrogate pair, which is no text")
    return value


def _streamed(source: str, wanted: _Wanted) -> Iterator[Item]:
    """Yield rows of a hub's data set as they arrive, until enough text is there."""
    try:
        from datasets import load_dataset
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ModelError(
            f"{source}: no such file or folder; as a data set of the hub it needs datasets: pip install "
            "'tokprof[datasets]'"
        ) from error
    name, _, config = source.partition(":")
    try:
        HfApi().dataset_info(name, timeout=10)  # fails at once, where the library would try for half a minute
        splits = load_dataset(name, config or None, streaming=True)
        split = "train" if "train" in splits else next(iter(splits))
        size = 0
        for number, row in enumerate(splits[split]):
            if number >= STREAMED_ROW_COUNT or size >= STREAMED_BYTE_COUNT:
                return
            item = _row_item(row, f"{source} {split} row {number}")
            if wanted(item.task, item.language):
                size += len(item.text.encode())
                yield item
    except ModelError:
        raise
    except Exception as error:  # its own, the hub's and the network's errors share no base
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"{source}: no such file or folder here, and not to be had from the hub: {reason}; pass a folder or a "
            ".jsonl file instead"
        ) from error
