"""Lexemes: what a programmer would call one word, number or sign of a program; tokens are counted against them.

``universal`` knows no language and so treats all alike; ``pygments`` uses the lexer of each language, where Pygments
has one. Only figures of one lexer can be compared with each other.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tokprof.models.errors import ModelError
from tokprof.models.languages import languages

LexerName = Literal["universal", "pygments"]

# A word or number, a run of signs that join into operators, or any other single sign; white space parts them. Strings
# and comments are lexed like the rest, for where they begin and end depends on the language.
UNIVERSAL_PATTERN = r"\w+|[!#$%&*+\-./:<=>?@\\^|~]+|[^\w\s!#$%&*+\-./:<=>?@\\^|~]"
_JOINING = frozenset("!#$%&*+-./:<=>?@\\^|~")
_SPACE, _WORD, _OPERATOR, _SINGLE = range(4)


def lexer_version(lexer: LexerName) -> str:
    """Return a lexer's name with its version, to be recorded beside what it counted."""
    if lexer == "universal":
        return "universal 1"  # the number grows when the pattern changes
    return f"pygments {_pygments().__version__}"


def lexeme_counts(texts: Sequence[str], language: str, lexer: LexerName) -> list[int] | None:
    """Count the lexemes of texts in one language; ``None`` if the lexer does not know the language.

    Raises
    ------
    ModelError
        Pygments is asked for and not installed.
    """
    if lexer == "universal":
        return [universal_count(text) for text in texts]
    found = _pygments_lexer(language)
    return None if found is None else [_pygments_count(found, text) for text in texts]


def universal_count(text: str) -> int:
    """Return how often :data:`UNIVERSAL_PATTERN` matches, at the speed of memory.

    A lexeme begins wherever the kind of sign changes to another than white space, and at every single sign.
    """
    if text.isascii():
        kinds = np.frombuffer(text.encode("ascii").translate(_ascii_kinds()), np.uint8)
    else:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        distinct, where = np.unique(points, return_inverse=True)
        kinds = np.array([_kind(chr(point)) for point in distinct], np.uint8)[where]
    if not len(kinds):
        return 0
    before, here = kinds[:-1], kinds[1:]
    begins = (here != before) & (here != _SPACE) | (here == _SINGLE)
    return int(np.count_nonzero(begins)) + int(kinds[0] != _SPACE)


def _kind(sign: str) -> int:
    if sign.isspace():
        return _SPACE
    if sign.isalnum() or sign == "_":
        return _WORD
    return _OPERATOR if sign in _JOINING else _SINGLE


@functools.cache
def _ascii_kinds() -> bytes:
    return bytes(_kind(chr(point)) for point in range(256))


def _pygments() -> Any:
    try:
        import pygments
    except ImportError as error:
        raise ModelError("the lexers of Pygments are not installed; pip install 'tokprof[report]'") from error
    return pygments


@functools.cache
def _pygments_lexer(language: str) -> Any:
    _pygments()
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    known = languages().get(language)
    alias = language if known is None or known.pygments is None else known.pygments
    try:
        return get_lexer_by_name(alias, stripnl=False, ensurenl=False) if alias else None
    except ClassNotFound:
        return None


def _pygments_count(lexer: Any, text: str) -> int:
    """Count tokens that are more than white space; a comment is one."""
    return sum(1 for _, word in lexer.get_tokens(text) if word and not word.isspace())
