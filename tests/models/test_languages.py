"""Languages and what is published of who has seen them."""

import json

import pytest

from tokprof.models.corpora import load_corpus
from tokprof.models.languages import (
    display_name,
    exposure,
    families,
    language_key,
    language_of_extension,
    languages,
)
from tokprof.models.tokenizers import VOCABULARIES

ROC = "Gleam, Odin, Roc, Hare, Janet, Wren, Move, Cairo, Noir, Unison, Koka, Ballerina, Futhark, ReScript, Mojo, Carbon"


@pytest.fixture
def published(request):
    """Return the published lists, where they lie beside the checkout."""
    folder = request.config.rootpath.parent / "shared" / "languages"
    if not folder.is_dir():
        pytest.skip("no published lists of languages beside the checkout")
    names = ("starcoder_training_languages", "the_stack_v1_languages")
    return [set(json.loads((folder / f"{name}.json").read_text())) for name in names]


def test_every_language_of_starcoders_list_is_here_and_no_other_claims_to_be(published):
    listed, mapped = published
    found = [language.starcoder for language in languages().values() if language.starcoder is not None]
    assert sorted(found) == sorted(listed)
    assert {language.stack for language in languages().values() if language.stack is not None} <= mapped


def test_a_language_without_a_name_in_the_stack_has_none_there(published):
    _, mapped = published
    lowered = {name.lower() for name in mapped}
    for language in languages().values():
        if language.stack is None:
            assert not {language.name.lower(), language.key} & lowered, language


def test_no_two_languages_share_a_name_or_an_extension():
    words = [w.lower() for x in languages().values() for w in {x.key, x.name.lower(), *x.aliases}]
    assert sorted(words) == sorted(set(words))
    extensions = [suffix for language in languages().values() for suffix in language.extensions]
    assert sorted(extensions) == sorted(set(extensions))


@pytest.mark.parametrize("name", [*ROC.split(", "), "Typst", "Uiua"])
def test_starcoder_has_not_seen_what_the_stack_has_no_entry_for(name):
    found = exposure(language_key(name), "starcoder")
    assert (found.label, found.evidence) == ("unseen", "documented")
    assert "bigcode-dataset" in found.source


@pytest.mark.parametrize("name", ["Swift", "D", "Nim", "Crystal", "Objective-C", "Haxe", "Vala", "Pony"])
def test_starcoder_was_not_trained_on_what_its_list_lacks_though_the_stack_has_it(name):
    assert exposure(language_key(name), "starcoder").label == "not trained"


@pytest.mark.parametrize("name", ["Idris", "Lean", "Zig", "Agda", "Python", "C#"])
def test_starcoder_was_trained_on_its_list(name):
    assert exposure(language_key(name), "starcoder").label == "trained"


def test_codestral_never_has_an_unseen_language_but_the_one_made_here():
    labels = {key: exposure(key, "codestral").label for key in languages()}
    named = ["c", "cpp", "fortran", "java", "javascript", "python", "shell", "swift"]
    assert sorted(key for key, label in labels.items() if label == "named") == named
    assert {key for key, label in labels.items() if label == "unseen"} == {"tazmus"}


@pytest.mark.parametrize("family", [*families(), None, "some-model"])
def test_the_language_made_here_is_unseen_by_construction(family):
    assert exposure("tazmus", family).label == "unseen"
    assert exposure("tazmus", family).evidence == "by construction"


def test_where_nothing_is_published_nothing_is_claimed():
    assert exposure("python", None).label == exposure("python", "smollm2").label == "unknown"
    assert exposure("klingon", "starcoder").label == exposure("klingon", "codestral").label == "unknown"
    assert exposure("python", "smollm2").evidence == "none"


def test_every_tokenizer_is_a_family_and_every_label_has_a_source():
    assert set(VOCABULARIES) == set(families())
    assert all(exposure(key, family).source for key in languages() for family in families())


def test_every_language_of_the_corpus_is_known():
    assert not [key for key in load_corpus(None).languages if key not in languages()]


def test_names_are_found_in_any_case():
    assert {language_key(word) for word in ("C++", "cpp", "CPP")} == {"cpp"}
    assert {language_key(word) for word in ("c-sharp", "C#", "CSharp")} == {"csharp"}
    assert language_key("bash") == "shell"
    assert language_key("klingon") is None
    assert language_of_extension(".gleam") == "gleam"
    assert language_of_extension(".xyz") is None
    assert display_name("standard-ml") == "Standard ML"
    assert display_name("klingon") == "klingon"
