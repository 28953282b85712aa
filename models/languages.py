"""Programming languages by key, and how much is known of a model's having seen them.

A label is never more than its evidence: only a published list makes a language "trained", only a list together with the
map of the data it was drawn from makes one "unseen", and where nothing is published the answer is "unknown". Issues,
commits and notebooks can hold any language, so "unseen" is what the documents say of the files; only a language made
here is unseen by construction.
"""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Label = Literal["trained", "named", "unseen", "not trained", "not named", "unknown"]
Evidence = Literal["documented", "by construction", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One programming language; ``starcoder`` and ``stack`` are its names in the published lists."""

    key: str
    name: str
    extensions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    starcoder: str | None = None
    stack: str | None = None
    codestral: bool = False
    pygments: str | None = None  # lexer's alias; "" where Pygments has none that fits; None: the key
    synthetic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Whether a model family has seen a language in pre-training.

    Parameters
    ----------
    label
        "trained": in the published list. "named": named by the makers, who published no list. "unseen": absent from the
        list and without an entry in the map of the data it was drawn from. "not trained": absent from the list, but
        that map has it. "not named": the makers name others. "unknown": nothing is published, or not of this model.
    evidence
        "documented" by its makers, "by construction" for a language made here, or "none".
    source
        The document, in words.
    """

    label: Label
    evidence: Evidence
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the makers of a family of models have published of its languages."""

    key: str
    name: str
    source: str
    list: str | None = None
    listed: Label = "unknown"
    rest: Label | None = None  # None: "unseen" or "not trained", by The Stack's map


@functools.cache
def _tables() -> tuple[dict[str, Language], dict[str, Family]]:
    content = tomllib.loads(Path(__file__).with_name("languages.toml").read_text(encoding="utf-8"))
    languages = {}
    for key, fields in content["languages"].items():
        extensions, aliases = (tuple(fields.pop(name, ())) for name in ("extensions", "aliases"))
        languages[key] = Language(key=key, extensions=extensions, aliases=aliases, **fields)
    return languages, {key: Family(key=key, **fields) for key, fields in content["families"].items()}


def languages() -> dict[str, Language]:
    """Return every known language by its key."""
    return _tables()[0]


def families() -> dict[str, Family]:
    """Return every model family with something known of its languages, by its key: that of its tokenizer."""
    return _tables()[1]


@functools.cache
def _keys() -> dict[str, str]:
    found: dict[str, str] = {}
    for language in languages().values():
        for word in (language.key, language.name, language.starcoder, language.stack, *language.aliases):
            if word:
                found.setdefault(word.lower(), language.key)
    return found


def language_key(word: str) -> str | None:
    """Return the key of a language by key, name or alias in any case (``C++``, ``c-sharp``); ``None``: not known."""
    return _keys().get(word.lower())


@functools.cache
def language_of_extension(suffix: str) -> str | None:
    """Return the key of the one language whose files end so (``.py``); ``None`` for none or several."""
    found = [language.key for language in languages().values() if suffix in language.extensions]
    return found[0] if len(found) == 1 else None


def display_name(key: str) -> str:
    """Return a language's name as its makers write it; the key itself if it is not known."""
    return languages()[key].name if key in languages() else key


def exposure(language: str, family: str | None) -> Exposure:
    """Say what is known of a family's having seen a language in pre-training.

    Parameters
    ----------
    language
        Key of :func:`languages`; a language that is not known there is "unknown" to every family.
    family
        Key of :func:`families`, which is the name of its tokenizer; ``None`` or another: nothing is known.
    """
    known = languages().get(language)
    if known is not None and known.synthetic:
        return Exposure(label="unseen", evidence="by construction", source="made by tokprof.models.synthetic")
    about = families().get(family or "")
    if about is None:
        return Exposure(label="unknown", evidence="none", source="nothing is recorded of this model's languages")
    if about.list is None:
        return Exposure(label="unknown", evidence="none", source=about.source)
    if known is None:
        return Exposure(label="unknown", evidence="none", source="a language that tokprof does not know")
    if getattr(known, about.list):
        label = about.listed
    elif about.rest is not None:
        label = about.rest
    else:
        label = "unseen" if known.stack is None else "not trained"
    return Exposure(label=label, evidence="documented", source=about.source)
