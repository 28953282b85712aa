"""The page of ``tokprof fertility``: whole, offline, and deaf to what a corpus may be called."""

import re

import pytest

pytest.importorskip("bokeh")

from tokprof.models.languages import Exposure
from tokprof.profiler.analysis.fertility import Fertility, LanguageFertility, Ratio, TokenizerFertility
from tokprof.profiler.errors import OutputError
from tokprof.profiler.record import Note
from tokprof.profiler.report.fertility_html import write_fertility_page

EVIL = "</script><script>alert(1)</script><b>&\"'"


def ratio(value, low=None, high=None):
    return Ratio(value=value, low=low, high=high, unit_count=3)


def row(key, *, compared=True, **changes):
    return LanguageFertility(
        **{
            "language": key,
            "name": key,
            "exposure": Exposure(label="unseen", evidence="documented", source=EVIL),
            "item_count": 3,
            "byte_count": 1000,
            "token_count": 400,
            "lexeme_count": 300,
            "tokens_per_kb": ratio(400.0, 390.0, 410.0),
            "tokens_per_lexeme": ratio(1.33),
            "shared_task_count": 3,
            "parity": ratio(1.5, 1.25, 1.8) if compared else None,
            "parity_median": 1.4 if compared else None,
            "verbosity": ratio(1.2, 1.1, 1.3) if compared else None,
            "premium": ratio(1.25, 1.2, 1.3) if compared else None,
            "tab_share": 0.0,
            "newline_share": 0.125,
            "byte_fallback_share": 0.0,
            "renyi_efficiency": 0.4,
            **changes,
        }
    )


def report(*rows, pivot="python"):
    found = TokenizerFertility(
        tokenizer=EVIL, digest="d", vocabulary_count=1000, languages=rows, classes=(), verbosity_share=None
    )
    return Fertility(
        corpus=EVIL,
        corpus_digest="c",
        lexer="universal 1",
        pivot=pivot,
        tokenizers=(found, found),
        notes=(Note(code="x", message=EVIL, advice=EVIL),),
    )


@pytest.mark.parametrize("pivot", ["python", None])
def test_the_page_stands_alone_and_no_name_becomes_markup(tmp_path, pivot):
    page = tmp_path / "f.html"
    compared = pivot is not None
    write_fertility_page(report(row(EVIL, compared=compared), row("python", compared=compared), pivot=pivot), page)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert '<b>&"' not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src 'none'" in text
    # bokeh's library names the network for mathematics, which the policy above forbids; nothing outside it does.
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", re.sub(r"(?s)<script.*?</script>", "", text))
    assert not re.findall(r"<script[^>]*src=", re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", text))
    assert len(text) < 2_000_000


def test_the_page_has_every_figure(tmp_path):
    page = tmp_path / "f.html"
    write_fertility_page(report(row("gleam", lexeme_count=None, tokens_per_lexeme=None), row("python")), page)
    text = page.read_text(encoding="utf-8")
    assert "<td>400 [390, 410]</td><td>–</td><td>1.50 [1.25, 1.80]</td><td>1.40</td><td>1.20 [1.10, 1.30]</td>" in text
    assert "<td>+25.0 % [+20.0, +30.0]</td><td>0.0%</td><td>12.5%</td><td>0.0%</td><td>0.400</td>" in text
    assert "<tr class=pivot><td>python</td>" in text


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"f\.html: No such file"):
        write_fertility_page(report(row("python")), tmp_path / "nowhere" / "f.html")
    assert not list(tmp_path.iterdir())
