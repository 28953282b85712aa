"""Fertility: exact identities, golden counts on a tokenizer of bytes, and the cover of its intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from tokprof.models.corpora import Corpus, Item, load_corpus
from tokprof.models.errors import ModelError
from tokprof.models.tokenizers import FastTokenizer, tokenizer_of
from tokprof.profiler.analysis import fertility as module
from tokprof.profiler.analysis.fertility import fertility, headlines, percent, ratio_of_sums, renyi_efficiency


def of_bytes(name="starcoder"):
    """A byte-level tokenizer: 256 bytes, one merge."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE(vocab={s: i for i, s in enumerate(alphabet)} | {"ab": 256}, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return FastTokenizer(backend, name=name)


def of_pieces(name="codestral"):
    """A tokenizer of pieces with byte fallback, as SentencePiece's are."""
    vocabulary = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[("a", "b")], byte_fallback=True, unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return FastTokenizer(backend, name=name)


def corpus(**texts):
    """Return a corpus of ``language=[text of task 0, text of task 1, ...]``."""
    items = [
        Item(task=f"t{i}", language=language, text=text, name=f"{language}{i}")
        for language, listed in texts.items()
        for i, text in enumerate(listed)
        if text is not None
    ]
    return Corpus(name="test", items=tuple(items))


def language(report, key, index=0):
    return next(f for f in report.tokenizers[index].languages if f.language == key)


def test_golden_counts():
    report = fertility(corpus(python=["ab a\n", "ab\n"], go=["\tab\n\tab\n", "\tb\n"]), [of_bytes()])
    python, go = language(report, "python"), language(report, "go")
    # "ab", " ", "a", "\n" and "ab", "\n"; "\t", "ab", "\n", "\t", "ab", "\n" and "\t", "b", "\n".
    assert (python.token_count, python.lexeme_count, python.byte_count) == (6, 3, 8)
    assert (go.token_count, go.lexeme_count, go.byte_count) == (9, 3, 11)
    assert python.tokens_per_kb.value == pytest.approx(750)
    assert go.tokens_per_lexeme.value == pytest.approx(3)
    assert go.parity.value == pytest.approx(1.5)
    assert go.parity_median == pytest.approx((6 / 4 + 3 / 2) / 2)
    assert go.verbosity.value == pytest.approx(1)
    assert go.premium.value == pytest.approx(1.5)
    assert (go.tab_share, go.newline_share, go.byte_fallback_share) == pytest.approx((3 / 9, 3 / 9, 0))
    assert python.exposure.label == "trained"
    assert (report.pivot, report.lexer, report.tokenizers[0].vocabulary_count) == ("python", "universal 1", 257)


def test_byte_fallback_is_a_byte_of_a_vocabulary_of_pieces_or_part_of_a_character():
    texts = corpus(python=["ab\té"])
    pieces = language(fertility(texts, [of_pieces()]), "python")
    assert pieces.token_count == 4  # ab, tab, two bytes of é
    assert (pieces.tab_share, pieces.byte_fallback_share) == pytest.approx((1 / 4, 3 / 4))
    level = language(fertility(texts, [of_bytes()]), "python")
    assert level.token_count == 4
    assert level.byte_fallback_share == pytest.approx(2 / 4)  # the tab is a token like any other


def test_codestral_spends_a_byte_token_on_each_tab_and_newline():
    pytest.importorskip("mistral_common")
    texts = load_corpus(None, languages=["go"])
    go = language(fertility(texts, [tokenizer_of("codestral")], "go"), "go")
    written = "".join(item.text for item in texts.items)
    assert go.tab_share * go.token_count == pytest.approx(written.count("\t"))
    assert go.newline_share * go.token_count == pytest.approx(written.count("\n"))
    assert go.byte_fallback_share == pytest.approx(go.tab_share + go.newline_share)
    assert go.exposure.label == "not named"


def test_a_tokenizer_that_makes_nothing_of_a_language_is_refused():
    empty = FastTokenizer(Backend(models.BPE(vocab={"a": 0, "b": 1}, merges=[])), name="empty")
    with pytest.raises(ModelError, match=r"^empty: makes no token at all of go0; it is no tokenizer of text$"):
        fertility(corpus(go=["xyz"]), [empty])


COUNTS = st.integers(1, 10**7)
ROWS = st.lists(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), min_size=1, max_size=20)


@given(ROWS)
def test_parity_is_exactly_verbosity_times_premium(rows):
    tokens, lexemes, pivot_tokens, pivot_lexemes = zip(*rows, strict=True)
    parity = ratio_of_sums([tokens], [pivot_tokens]).value
    verbosity = ratio_of_sums([lexemes], [pivot_lexemes]).value
    premium = ratio_of_sums([tokens, pivot_lexemes], [lexemes, pivot_tokens]).value
    assert parity == pytest.approx(verbosity * premium, rel=1e-12)


@given(ROWS)
def test_turning_a_ratio_over_turns_its_interval_over(rows):
    tokens, _, pivot_tokens, _ = zip(*rows, strict=True)
    there, back = ratio_of_sums([tokens], [pivot_tokens]), ratio_of_sums([pivot_tokens], [tokens])
    assert there.value * back.value == pytest.approx(1)
    if len(rows) == 1:
        assert there.low is None
        assert there.high is None
    else:
        assert there.low <= there.value <= there.high
        assert there.low * back.high == pytest.approx(1)


def test_the_built_in_corpus_keeps_the_identity_and_the_synthetic_language_its_lexemes():
    report = fertility(load_corpus(None), [of_bytes(), of_pieces()])
    for found in report.tokenizers:
        for f in found.languages:
            assert f.parity.value == pytest.approx(f.verbosity.value * f.premium.value, rel=1e-12)
    tazmus = language(report, "tazmus")
    assert tazmus.verbosity.value == 1
    assert tazmus.exposure.evidence == "by construction"
    assert [note.code for note in report.notes if "Tazmus is a made language" in note.message] == ["made-language"]
    costs = [f.parity.value for f in report.tokenizers[0].languages]
    assert costs == sorted(costs, reverse=True)


def test_only_shared_tasks_are_compared_and_items_of_one_task_are_one():
    texts = corpus(python=["ab", "ab ab", "a"], go=["ab ab", None, None])
    more = Item(task="t0", language="go", text="ab ab", name="second file")
    go = language(fertility(replace(texts, items=(*texts.items, more)), [of_bytes()]), "go")
    assert (go.item_count, go.shared_task_count) == (2, 1)
    assert go.parity.value == pytest.approx(6)  # two times "ab", " ", "ab" over "ab"
    assert go.parity.low is None


def test_without_tasks_or_pivot_nothing_is_compared_and_a_note_says_so():
    loose = Corpus(
        name="loose",
        items=tuple(Item(task=None, language=key, text=f"ab {key}", name=key) for key in ("python", "go", "go")),
    )
    report = fertility(loose, [of_bytes()])
    go = language(report, "go")
    assert go.parity is go.verbosity is go.premium is go.parity_median is None
    assert go.tokens_per_kb.unit_count == 2
    assert [note.code for note in report.notes] == ["no-tasks"]
    report = fertility(corpus(go=["ab"] * 9), [of_bytes()])
    assert report.pivot is None
    assert [note.code for note in report.notes] == ["no-pivot"]
    assert headlines(report) == ("starcoder: 500 to 500 tokens per kB of code.",)


def test_a_language_without_a_lexer_keeps_its_parity():
    pytest.importorskip("pygments")
    report = fertility(corpus(python=["ab"] * 9, uiua=["ab ab"] * 9), [of_bytes()], lexer="pygments")
    uiua = language(report, "uiua")
    assert uiua.parity.value == pytest.approx(3)
    assert uiua.tokens_per_lexeme is uiua.verbosity is uiua.premium is uiua.lexeme_count is None
    assert [note.code for note in report.notes] == ["no-lexer"]
    assert "Uiua" in report.notes[0].message


def test_blank_texts_have_tokens_and_no_lexemes():
    go = language(fertility(corpus(python=["ab", "ab"], go=["\n", "\n\n"]), [of_bytes()]), "go")
    assert (go.lexeme_count, go.tokens_per_lexeme, go.premium) == (0, None, None)
    assert go.parity.value == pytest.approx(1.5)


def test_batches_do_not_change_the_counts(monkeypatch):
    whole = fertility(load_corpus(None, languages=["python", "go"]), [of_bytes()])
    seen = []
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 700)
    parts = fertility(
        load_corpus(None, languages=["python", "go"]), [of_bytes()], progress=lambda *done: seen.append(done)
    )
    assert parts == whole
    assert len(seen) > 10
    assert seen[-1][0] == seen[-1][1]


def test_renyi_efficiency():
    assert renyi_efficiency([5, 5, 5, 5], 4) == pytest.approx(1)
    assert renyi_efficiency([7, 0, 0, 0], 4) == 0
    shares = np.array([0.5, 0.3, 0.2])
    by_hand = math.log((shares**2.5).sum()) / (1 - 2.5) / math.log(8)
    assert renyi_efficiency([5, 3, 2], 8) == pytest.approx(by_hand)


def test_classes_take_the_language_as_the_unit_and_leave_out_the_one_made_here():
    tasks = 9
    report = fertility(
        corpus(
            python=["ab"] * tasks, go=["aa"] * tasks, c=["aaa"] * tasks, gleam=["ab ab"] * tasks, tazmus=["ba"] * tasks
        ),
        [of_bytes()],
    )
    classes = {group.label: group for group in report.tokenizers[0].classes}
    assert {label: group.languages for label, group in classes.items()} == {
        "trained": ("c", "go"),
        "unseen": ("gleam",),
    }
    trained = classes["trained"].premium
    assert trained.value == pytest.approx(math.sqrt(2 * 3))
    half = 12.7062047 * abs(math.log(3 / 2)) / 2  # t(1) times the standard error of two logarithms
    assert trained.high == pytest.approx(trained.value * math.exp(half), rel=1e-6)
    assert classes["unseen"].premium.low is None
    assert "per lexeme" not in headlines(report)[0]  # of so few


def test_a_sentence_gives_ends_with_intervals_over_all_tasks_and_speaks_of_classes_of_three():
    tasks = [f"{'a' * n}" for n in range(4, 13)]
    report = fertility(
        corpus(
            python=tasks, go=[t * 2 for t in tasks], c=[t * 3 for t in tasks], java=[t * 4 for t in tasks], gleam=["a"]
        ),
        [of_bytes()],
    )
    sentence = headlines(report)[0]
    assert "take from 2.00 [2.00, 2.00] in Go to 4.00 [4.00, 4.00] in Java times the tokens of Python" in sentence
    assert "the 3 seen in training cost +188.4 %" in sentence  # the cube root of 24
    assert "unseen" not in sentence
    with_made = {"gleam": [f"{t}a" for t in tasks], "odin": tasks, "hare": tasks, "tazmus": tasks}
    among = headlines(fertility(corpus(python=tasks, **with_made), [of_bytes()]))[0]
    assert "per lexeme the 3 unseen (without Tazmus) cost" in among  # the table has a fourth
    del with_made["tazmus"]
    among = headlines(fertility(corpus(python=tasks, **with_made), [of_bytes()]))[0]
    assert "per lexeme the 3 unseen cost" in among
    alone = fertility(corpus(python=tasks, go=[t * 2 for t in tasks]), [of_bytes()])
    assert "take 2.00 [2.00, 2.00] in Go times" in headlines(alone)[0]


def test_an_interval_that_tells_nothing_is_said_to():
    known = module.Ratio(value=0.63, low=0.2, high=2.0, unit_count=3)
    assert known.bounds == (0.2, 2.0)
    assert percent(known) == "-37.0 % [-80.0, +100.0]"
    unknown = replace(known, low=0.0, high=1.5e11)
    assert unknown.bounds is None
    assert percent(unknown) == "-37.0 % (too few to tell)"
    assert percent(replace(known, low=None, high=None)) == "-37.0 %"
    report = fertility(corpus(python=["a" * 9, "ab"], go=["a", "ab" * 40]), [of_bytes()])
    assert "(too few to tell) in Go" in headlines(report)[0]


def test_verbosity_share_is_all_where_every_word_costs_the_same():
    texts = {"python": ["ab."] * 9, "go": ["ab.ab."] * 9, "c": ["ab.ab.ab."] * 9, "rust": ["ab.ab.ab.ab."] * 9}
    report = fertility(corpus(**texts), [of_bytes()])
    assert report.tokenizers[0].verbosity_share == pytest.approx(1)
    assert percent(language(report, "rust").premium).startswith("+0.0 %")


@pytest.mark.parametrize("tasks", [6, 12, 30])
def test_the_interval_of_a_ratio_of_sums_covers(tasks):
    """Lognormal tasks of unequal size; true ratio 1. Nominal 95 %; the jackknife reaches 93 % at few tasks."""
    draw = np.random.default_rng(tasks)
    size = draw.normal(0, 0.5, (1200, tasks))
    mine, theirs = (1e6 * np.exp(size + draw.normal(0, 0.25, size.shape)) for _ in range(2))
    found = [ratio_of_sums([a], [b]) for a, b in zip(mine, theirs, strict=True)]
    cover = np.mean([ratio.low <= 1 <= ratio.high for ratio in found])
    assert 0.92 <= cover <= 0.97
