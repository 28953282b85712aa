"""The report of ``tokprof attribute`` as text and page: what it says, and that a stranger's names steer nothing."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.study import analyze_study
from tokprof.profiler.report.study_html import _waterfall, write_study_page
from tokprof.profiler.report.study_text import Outlook, interval, print_plan, print_study, verdict
from tokprof.profiler.report.terminal import open_console
from tokprof.profiler.studies import ArmRole

sys.path.insert(0, str(Path(__file__).parents[1]))
from study_makers import plan_of, study_of

EVIL = "</script><script>alert(1)</script>[/red]\x1b[2J"


@pytest.fixture
def printed(capsys, monkeypatch):
    """Return a function that prints a report and gives back its words, parted by single spaces."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(report):
        print_study(report, open_console())
        return " ".join(capsys.readouterr().out.split())

    return run


def test_the_answer_comes_first_and_every_figure_says_what_it_is(printed):
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED)
    words = printed(analyze_study(study_of(plan, lambda arm, _: 0.05 if arm == "tuned" else 0.0, noise=0.001)))
    assert words.startswith("Tuned takes 5.")
    assert "equivalence within ±1.00% (set before the run)" in words
    assert "12 claims, whose verdicts are Holm-corrected" in words
    assert "what is found with 80 % power: each alone" in words
    assert "scatter of the differences between processes and of one block within: base again 0." in words
    assert "against Python (the parts multiply)" in words
    assert "tuned: decode time per task" not in words  # one tokenizer: nothing but the cost of a step differs


def test_with_another_tokenizer_the_difference_is_split_by_language_and_in_the_mean(printed):
    report = analyze_study(study_of(plan_of(ArmRole.TUNED, process_count=3), tokens_per_byte=[0.35, 0.45], noise=0.001))
    words = printed(report)
    assert "tokens for the same text: effect" in words
    table = words.partition("tuned: decode time per task, against the base (the parts multiply)")[2]
    mean = table.partition(" mean ")[2].split()
    assert mean[1] == "+0.0%"  # verbosity: the same text
    assert mean[2].startswith("+2")
    assert "scatter of" not in words  # no item comes twice


def test_shares_of_the_log_ratio_add_up_and_what_cannot_differ_is_nothing_exactly(printed):
    report = analyze_study(study_of(plan_of(ArmRole.TUNED), lambda arm, _: 0.05 * (arm == "tuned"), noise=0.001))
    table = printed(report).partition("what the difference is due to")[2].partition("decode, side by side")[0]
    assert "N_in +0.0000 0 exactly" in table
    factors, _, phases = table.partition(" sum ")
    total = float(re.match(r"\+[\d.]+ ([+-][\d.]+)%", phases)[1])
    for shares in (re.findall(r"([+-]\d+\.\d\d)% \[", part) for part in (factors, phases)):
        assert sum(map(float, shares)) == pytest.approx(total, abs=0.03)
    assert total == pytest.approx(5, abs=0.3)


def test_a_verdict_says_when_its_family_withholds_what_the_interval_shows():
    known = stats.student([0.010, 0.012, 0.011])
    assert verdict("inconclusive", known, 0.001, "claims") == "inconclusive among all claims"
    assert verdict("inconclusive", known, 0.05, "claims") == "inconclusive among all claims"
    assert verdict("effect", known, 0.001, "claims") == "effect"
    wide = stats.student([-0.10, 0.12, 0.01])
    assert verdict("inconclusive", wide, 0.001, "claims") == "inconclusive"
    assert interval(stats.student([-2.0, 2.0, 0.3])).endswith("only)")


def test_a_study_on_a_busy_machine_says_so_in_its_first_sentence():
    study = study_of(plan_of(ArmRole.TUNED, process_count=3))
    assert "samples are marked" not in analyze_study(study).sentence
    marked = replace(study.samples, mark=np.ones_like(study.samples.mark))
    count = len(marked)
    assert f"{count} of {count} samples are marked" in analyze_study(replace(study, samples=marked)).sentence


def test_every_bar_of_a_waterfall_ends_on_its_axis():
    pytest.importorskip("bokeh")
    report = analyze_study(study_of(plan_of(ArmRole.TUNED), lambda arm, _: 0.05 * (arm == "tuned")))
    (compared,) = report.comparisons
    far = 3 * report.base_seconds_per_item
    moved = {"step cost": -far, "context cost": far}
    factors = tuple(replace(line, seconds=moved.get(line.factor, line.seconds)) for line in compared.factors)
    figure = _waterfall(report, replace(compared, factors=factors))
    bars = next(r.data_source.data for r in figure.renderers)
    assert min(bars["left"]) < 0
    assert figure.x_range.start <= min(bars["left"])
    assert figure.x_range.end >= max(bars["right"])
    lengths = np.subtract(bars["right"], bars["left"])
    step = list(bars["row"]).index("step cost")
    assert lengths[step] == pytest.approx(1000 * far / report.bytes_per_item)


def strange():
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED, process_count=2)
    arms = (*plan.arms[:2], replace(plan.arms[2], name=EVIL))
    languages = (replace(plan.languages[0], name=EVIL), *plan.languages[1:])
    return replace(plan, arms=arms, languages=languages, corpus=EVIL)


def test_a_strangers_names_are_text_in_the_terminal(printed, capsys):
    words = printed(analyze_study(study_of(strange(), tokens_per_byte=[0.35, 0.35, 0.45])))
    assert "[/red]" in words
    assert "\x1b[2J" not in words
    counts = {"block_count": 9, "natural_block_count": 0, "sample_count": 9, "finished_block_count": 0}
    outlook = Outlook(folder=Path("s[/b]"), expected_s=1.0, detectable_log=0.01, **counts)
    print_plan(strange(), outlook, open_console())
    assert "[/red]" in capsys.readouterr().out


def test_a_strangers_names_are_text_on_the_page(tmp_path):
    pytest.importorskip("bokeh")
    report = analyze_study(study_of(strange(), tokens_per_byte=[0.35, 0.35, 0.45]))
    write_study_page(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src 'none'" in page
