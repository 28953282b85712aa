"""Lexemes: the fast count is the pattern's, and each language's own lexer where it has one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokprof.models.corpora import load_corpus
from tokprof.models.lexers import UNIVERSAL_PATTERN, lexeme_counts, lexer_version, universal_count


@given(st.text())
def test_the_fast_count_is_what_the_pattern_finds(text):
    assert universal_count(text) == len(re.findall(UNIVERSAL_PATTERN, text))


@given(st.text(alphabet="ab_0 \n\t+-=.([\"'", max_size=40))
def test_so_it_is_on_code(text):
    assert universal_count(text) == len(re.findall(UNIVERSAL_PATTERN, text))


@pytest.mark.parametrize(
    ("text", "lexemes"),
    [
        ("", 0),
        (" \n", 0),
        ("x += 10", 3),
        ("f(a, b)", 6),
        ("a->b::c", 5),
        ('"two words"', 4),
        ("größe = 1", 3),
        ("⊂⊙∘", 3),  # glyphs are lexemes of their own
        ("日本", 1),
    ],
)
def test_what_counts_as_one(text, lexemes):
    assert universal_count(text) == lexemes


def test_it_agrees_with_the_pattern_on_the_corpus():
    for item in load_corpus(None).items:
        assert universal_count(item.text) == len(re.findall(UNIVERSAL_PATTERN, item.text)), item.name


def test_pygments_counts_by_the_language_and_says_where_it_cannot():
    pytest.importorskip("pygments")
    assert lexeme_counts(["x = 1  # a comment\n"], "python", "pygments") == [4]
    assert lexeme_counts(["// a b c\n"], "cpp", "pygments") == [1]
    assert lexeme_counts(["x"], "uiua", "pygments") is None
    assert lexeme_counts(["x"], "tazmus", "pygments") is None
    assert lexeme_counts(["x y"], "uiua", "universal") == [2]


def test_the_version_is_recorded():
    pygments = pytest.importorskip("pygments")
    assert lexer_version("universal") == "universal 1"
    assert lexer_version("pygments") == f"pygments {pygments.__version__}"
