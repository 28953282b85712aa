"""The synthetic language: one to one, line by line, lexeme by lexeme."""

import builtins
import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokprof.models.corpora import load_corpus
from tokprof.models.lexers import UNIVERSAL_PATTERN, universal_count
from tokprof.models.synthetic import from_tazmus, to_tazmus

PYTHON = load_corpus(None, languages=["python"]).items
PIECES = st.sampled_from(
    [
        "'",
        '"',
        "'''",
        '"""',
        "#",
        "\\",
        "\n",
        " ",
        "if x:",
        "f'{a}'",
        "(",
        "]",
        "+=",
        "->",
        "0x1F",
        "3.14",
        "é",
        "def y",
    ]
)


@pytest.mark.parametrize("item", PYTHON, ids=lambda item: item.task)
def test_the_corpus_comes_back_and_keeps_its_shape(item):
    made = to_tazmus(item.text)
    assert from_tazmus(made) == item.text
    assert made != item.text
    assert [len(line) for line in made.split("\n")] == [len(line) for line in item.text.split("\n")]
    assert [re.match(r"\s*", line).group() for line in made.split("\n")] == [
        re.match(r"\s*", line).group() for line in item.text.split("\n")
    ]
    assert universal_count(made) == universal_count(item.text)


@given(st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=30).map("".join))
def test_any_text_comes_back(text):
    assert from_tazmus(to_tazmus(text)) == text
    assert to_tazmus(from_tazmus(text)) == text
    assert len(re.findall(UNIVERSAL_PATTERN, to_tazmus(text))) == len(re.findall(UNIVERSAL_PATTERN, text))


def test_words_and_signs_change_and_strings_comments_and_numbers_stay():
    made = to_tazmus('def python(a, b=3.14):  # a comment\n    return a[0] + "a string"\n')
    assert made == 'jik tazmus[e; g:3.14]+  # a comment\n    wizyws e{0} - "a string"\n'


def test_no_keyword_or_builtin_of_python_becomes_another():
    words = {*keyword.kwlist, *dir(builtins)}
    assert not {to_tazmus(word) for word in words} & words
