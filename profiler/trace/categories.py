"""Kernel categories, from names by a readable table (categories.toml)."""

import functools
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokprof.profiler.errors import FileFormatError, InputError
from tokprof.profiler.record import Array, EventKind

CATEGORIES = ("gemm", "attention", "norm", "elementwise", "embedding/sampling", "copy", "collective", "other")

_KEYS = ("category", "patterns")
Rules = tuple[tuple[str, re.Pattern[str]], ...]


def rules(own: Path | None = None) -> Rules:
    """Return the rules of the table, a user's own before them.

    Raises
    ------
    InputError, FileFormatError
        The user's file is missing, no TOML, names an unknown category, or holds a damaged pattern.
    """
    return _built_in() if own is None else (*_read(own), *_built_in())


@functools.cache
def _built_in() -> Rules:
    return _read(Path(__file__).with_name("categories.toml"))


def _read(path: Path) -> Rules:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: no TOML: {error}") from error
    entries = table.get("rule")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FileFormatError(f"{path}: wants tables [[rule]] with category and patterns")
    strange = [*(key for key in table if key != "rule"), *(k for e in entries for k in e if k not in _KEYS)]
    if strange:
        raise FileFormatError(f"{path}: key {strange[0]!r}: unknown; a [[rule]] has category and patterns")
    result = []
    for entry in entries:
        category, patterns = entry.get("category"), entry.get("patterns")
        if category not in CATEGORIES:
            raise FileFormatError(f"{path}: category {category!r}: unknown; choose one of {', '.join(CATEGORIES)}")
        if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) for p in patterns):
            raise FileFormatError(f"{path}: rule {category!r}: 'patterns' wants a list of strings")
        try:
            result.append((category, re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE)))
        except re.error as error:
            raise FileFormatError(f"{path}: rule {category!r}: no regular expression: {error}") from error
    return tuple(result)


def category_of(name: str, table: Rules | None = None) -> str:
    """Return the category of a kernel or operator of that name."""
    for category, pattern in rules() if table is None else table:
        if pattern.search(name):
            return category
    return "other"


def category_codes(names: Sequence[str], kinds: Array, name_codes: Array, table: Rules | None = None) -> Array:
    """Return the category of each event as an index into :data:`CATEGORIES`; copies and collectives by their kind."""
    by_name = np.array([CATEGORIES.index(category_of(name, table)) for name in names] + [0], dtype=np.int8)
    codes = by_name[name_codes]
    codes[(kinds == EventKind.MEMCPY) | (kinds == EventKind.MEMSET)] = CATEGORIES.index("copy")
    codes[kinds == EventKind.COLLECTIVE] = CATEGORIES.index("collective")
    return codes
