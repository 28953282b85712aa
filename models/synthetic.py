"""Tazmus: a programming language that no model can have read, made from Python one lexeme at a time.

Every word outside strings and comments becomes another word by a substitution of its letters (vowels for vowels, so
that words stay pronounceable: ``python`` is ``tazmus``, ``def`` is ``jik``), and every sign another sign of its kind.
White space, numbers, strings and comments stay. The mapping is one to one, so a program keeps its lines, its lexemes
and its bytes; what a tokenizer spends more on it than on Python is the price of unknown words and nothing else.
"""

import re

DESCRIPTION = (
    "Tazmus is a made language: Python programs with other keywords, names and signs, which no model can have read"
)
_VOWELS, _CONSONANTS = "aeiouy", "bcdfghjklmnpqrstvwxz"
# Signs turn within what the universal lexer counts alike: brackets, single signs, signs that join into operators.
# '.', '#', quotes and the backslash stay, so that numbers, comments and strings are found again.
_RINGS = ("([{", ")]}", ",;", "=:+-*/%<>!&|^~@")


def _mapping() -> dict[int, int]:
    shifts = [(_VOWELS, 1), (_VOWELS.upper(), 1), (_CONSONANTS, 4), (_CONSONANTS.upper(), 4), *((r, 1) for r in _RINGS)]
    return {ord(sign): ord(ring[(i + by) % len(ring)]) for ring, by in shifts for i, sign in enumerate(ring)}


_FORTH = _mapping()
_BACK = {target: sign for sign, target in _FORTH.items()}
# A triple-quoted or plain string, or a comment: left as it is.
_KEPT = re.compile(
    r'"""(?s:\\.|[^\\])*?"""|'
    r"'''(?s:\\.|[^\\])*?'''|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])*'|"
    r"#[^\n]*"
)


def to_tazmus(python: str) -> str:
    """Return a Python program in Tazmus."""
    return _outside(python, _FORTH)


def from_tazmus(tazmus: str) -> str:
    """Return the Python program that became this one: the inverse of :func:`to_tazmus`, for any text."""
    return _outside(tazmus, _BACK)


def _outside(text: str, mapping: dict[int, int]) -> str:
    parts, end = [], 0
    for kept in _KEPT.finditer(text):
        parts += [text[end : kept.start()].translate(mapping), kept.group()]
        end = kept.end()
    return "".join([*parts, text[end:].translate(mapping)])
