"""Tokenizers against published cases and against their makers' own library."""

import json

import pytest

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from tokprof.models.errors import ModelError
from tokprof.models.tokenizers import (
    VOCABULARIES,
    FastTokenizer,
    published_cases,
    tokenizer_of,
    tokenizer_of_folder,
    vocabulary_cached,
)

NASTY = [
    "",
    " ",
    "\t\tx\n",
    "def f():\r\n    return 'ä🙂'",
    "<|endoftext|><fim_prefix>",
    "e\u0301\u200b",
    "0123 45",
    "日本語",
]


def byte_level():
    """A byte-level tokenizer of 256 bytes, one merge and one sentinel."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(alphabet)} | {"ab": 256}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return FastTokenizer(backend, name="bytes", end_ids=(257,))


@pytest.mark.parametrize("text", NASTY)
def test_byte_counts_sum_to_the_texts_bytes_and_sentinels_in_text_stay_text(text):
    tokenizer = byte_level()
    ids = tokenizer.encode(text)
    assert sum(tokenizer.byte_counts(ids)) == len(text.encode())
    assert 257 not in ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text, "ab"]) == [ids, [256]]


def test_a_sentinel_has_no_bytes_and_an_unknown_number_none():
    assert byte_level().byte_counts([256, 257, 9999]) == [2, 0, 0]


def test_the_digest_follows_the_vocabulary():
    one, two = byte_level(), byte_level()
    assert one.digest == two.digest
    two.backend.add_special_tokens(["<more>"])
    assert FastTokenizer(two.backend, name="x").digest != one.digest


def test_a_folders_tokenizer_ends_where_its_configuration_says(tmp_path):
    assert tokenizer_of_folder(tmp_path) is None
    byte_level().backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [257, 999_999]}))
    assert tokenizer_of_folder(tmp_path).end_ids == (257,)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not readable as a tokenizer"):
        tokenizer_of_folder(tmp_path)


def test_an_unknown_vocabulary_names_the_known():
    with pytest.raises(ModelError, match="known are smollm2, codestral"):
        tokenizer_of("gpt-5")


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, source in VOCABULARIES.items() if source.gguf])
def test_published_cases_all_match(key):
    tokenizer = tokenizer_of(key)
    cases = published_cases(key)
    assert len(cases) > 40
    wrong = [text for text, ids in cases if tokenizer.encode(text) != ids]
    assert wrong == []
    assert vocabulary_cached(key)


@pytest.mark.slow
def test_starcoders_sentinels_and_size():
    tokenizer = tokenizer_of("starcoder")
    assert tokenizer.vocabulary_count == 49_152
    prefix, suffix = tokenizer.encode("a = "), tokenizer.encode("\nprint(a)")
    assert tokenizer.fill_in_the_middle("a = ", "\nprint(a)") == [1, *prefix, 3, *suffix, 2]


@pytest.mark.slow
def test_qwen_coders_sentinels_are_those_of_its_model_card():
    tokenizer = tokenizer_of("qwen2")
    assert tokenizer.vocabulary_count == 151_936
    prefix, suffix = tokenizer.encode("a = "), tokenizer.encode("\nprint(a)")
    ids = tokenizer.fill_in_the_middle("a = ", "\nprint(a)")
    assert ids == [151_659, *prefix, 151_661, *suffix, 151_660]
    assert sum(tokenizer.byte_counts(ids)) == len("a = \nprint(a)")


def test_codestral_is_mistral_commons_own():
    mistral = pytest.importorskip("mistral_common.tokens.tokenizers.mistral")
    from mistral_common.protocol.fim.request import FIMRequest

    theirs = mistral.MistralTokenizer.v3()
    ours = tokenizer_of("codestral")
    for text in [*NASTY, "x = 1\n" * 50, "\tif err != nil {\n\t\treturn err\n\t}\n"]:
        ids = ours.encode(text)
        assert ids == theirs.instruct_tokenizer.tokenizer.encode(text, bos=False, eos=False)
        added = 1 if text else 0  # SentencePiece puts a space before the text
        assert sum(ours.byte_counts(ids)) == len(text.encode()) + added
    request = FIMRequest(prompt="def f(x):\n", suffix="\nprint(f(1))")
    assert ours.fill_in_the_middle("def f(x):\n", "\nprint(f(1))") == theirs.encode_fim(request).tokens
