"""The report of ``tokprof attribute`` as text and page: what it says, and that a stranger's names steer nothing."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.analysis import stats
from tokprof.profiler.analysis.study import EVERY, analyze_study, interval
from tokprof.profiler.analysis.study_parts import NaturalLine
from tokprof.profiler.commands.attribute import as_text
from tokprof.profiler.measure.schedule import units
from tokprof.profiler.report.study_html import _claim_figure, _waterfalls, write_study_page
from tokprof.profiler.report.study_text import Outlook, print_plan, print_study, verdict
from tokprof.profiler.report.terminal import open_console
from tokprof.profiler.studies import ArmRole, load_plan
from tokprof.profiler.study_samples import load_study

sys.path.insert(0, str(Path(__file__).parents[1]))
from study_makers import plan_of, study_of

EVIL = "</script><script>alert(1)</script>[/red]\x1b[2J"


@pytest.fixture
def printed(capsys, monkeypatch):
    """Return a function that prints a report and gives back its words, parted by single spaces."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(report, *, full=True):
        print_study(report, open_console(), full=full)
        return " ".join(capsys.readouterr().out.split())

    return run


def test_the_answer_comes_first_and_every_figure_says_what_it_is(printed):
    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED)
    words = printed(analyze_study(study_of(plan, lambda arm, _: 0.05 if arm == "tuned" else 0.0, noise=0.001)))
    assert words.startswith("Tuned takes 5.")
    assert "equivalence within ±1.00% (set before the run)" in words
    assert "12 claims, whose verdicts are Holm-corrected" in words
    assert "(intervals: each alone; what is found with 80 % power: likewise)" in words
    assert "scatter of the differences between processes and of one block within: base again 0." in words
    assert "against Python (the parts multiply)" in words
    assert "tuned: decode time per task" not in words  # one tokenizer: nothing but the cost of a step differs


def test_with_another_tokenizer_the_difference_is_split_by_language_and_in_the_mean(printed):
    report = analyze_study(study_of(plan_of(ArmRole.TUNED, process_count=3), tokens_per_byte=[0.35, 0.45], noise=0.001))
    words = printed(report)
    assert "tokens for the same text: effect" in words
    table = words.partition("verbosity is the same by design: one text)")[2]
    assert table.split()[:7] == ["language", "decode", "time", "fertility", "steps", "per", "step"]
    mean = table.partition(" mean ")[2].split()
    assert mean[1].startswith("+2")
    assert "tuned: decode time per task, against the base (the parts multiply; verbosity is the same by design" in words
    assert "scatter of" not in words  # no item comes twice


def test_parts_of_the_log_ratio_add_up_and_what_cannot_differ_is_nothing_exactly(printed):
    report = analyze_study(study_of(plan_of(ArmRole.TUNED), lambda arm, _: 0.05 * (arm == "tuned"), noise=0.001))
    table = printed(report).partition("what the difference is due to")[2].partition("decode, side by side")[0]
    assert "+0.0000" not in table
    assert "N_in and N_out: the same by design: one tokenizer, so the same tokens" in table
    factors, _, phases = table.partition(" sum ")
    phases = re.sub(r" decode step \S+ \S+ \[\S+ \S+\]", "", phases)  # a sum of two of the factors
    total = float(re.match(r"\+[\d.]+ ([+-][\d.]+) of mean times", phases)[1])
    assert "factor seconds 100 ln(arm / base), 95 %" in factors
    for parts in (re.findall(r"([+-]\d+\.\d\d) \[", part) for part in (factors, phases)):
        assert sum(map(float, parts)) == pytest.approx(total, abs=0.03)
    assert total == pytest.approx(5, abs=0.3)


def test_a_verdict_says_when_its_family_withholds_what_the_interval_shows():
    known = stats.student([0.010, 0.012, 0.011])
    assert verdict("inconclusive", known, 0.001, "claims") == "inconclusive among all claims"
    assert verdict("inconclusive", known, 0.05, "claims") == "inconclusive among all claims"
    assert verdict("effect", known, 0.001, "claims") == "effect"
    wide = stats.student([-0.10, 0.12, 0.01])
    assert verdict("inconclusive", wide, 0.001, "claims") == "inconclusive"
    assert interval(stats.student([-2.0, 2.0, 0.3])) == "known to a factor of 100 only"
    assert interval(stats.student([-9.0, 9.0, 0.3])) == "known to a factor of over 1,000 only"
    assert interval(stats.student([1.60, 1.61, 1.62])).startswith("+400.28% [+")  # large, and known well
    assert interval(stats.student([0.1])) == "+10.52% (one process: no interval)"
    assert interval(stats.over_languages([[0.1, 0.1, 0.1]])) == "+10.52% (one process: no interval)"
    assert interval(stats.over_languages([[0.1], [0.1]])) == "+10.52% (one language: no interval)"


def test_a_study_on_a_busy_machine_says_so_in_its_answer():
    study = study_of(plan_of(ArmRole.TUNED, process_count=3))
    assert "samples are marked" not in " ".join(analyze_study(study).sentences)
    marked = replace(study.samples, mark=np.ones_like(study.samples.mark))
    count = len(marked)
    assert f"{count} of {count} samples are marked" in analyze_study(replace(study, samples=marked)).sentences[1]


def test_of_what_is_not_known_no_figure_is_printed_or_drawn(printed, tmp_path):
    pytest.importorskip("bokeh")
    from bokeh.models import BoxAnnotation

    plan = plan_of(ArmRole.AGAIN, ArmRole.TUNED, process_count=2)
    report = analyze_study(study_of(plan, noise=0.5))
    assert report.margin_log is None
    assert all("equivalent" not in claim.verdict for c in report.comparisons for claim in c.claims)
    words = printed(report)
    assert "equivalence cannot be told (A/A is not known to be zero within ±100%; ±1.00% was asked for)" in words
    assert "cannot be told, the difference is known to a factor of over 1,000 only: inconclusive" in words
    assert "shows a difference known to a factor of 100 only" in words
    assert "context cost known to a factor of" in words  # without seconds that look exact
    assert "step cost and context cost: these 2 processes cannot tell them apart" in words
    assert _waterfalls(report) is None
    figure = _claim_figure(report)
    assert not [one for one in figure.center if isinstance(one, BoxAnnotation)]
    dots, unknown = figure.renderers[1].data_source.data, figure.renderers[2].data_source.data
    assert dots["row"] == [("base again", "unseen less seen"), ("tuned", "unseen less seen")]
    assert len(unknown["row"]) == 10
    assert all(text.startswith("known to a factor of") for text in unknown["text"])
    write_study_page(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "No margin is drawn: equivalence cannot be told" in page
    assert "The grey band" not in page


@pytest.mark.parametrize(("count", "warning"), [(1, "one process gives no"), (2, "2 processes tell next to"), (3, "")])
def test_a_plan_of_too_few_processes_warns_and_names_the_way_out(capsys, count, warning):
    counts = {"block_count": 9, "natural_block_count": 0, "sample_count": 9, "finished_block_count": 0}
    outlook = Outlook(folder=Path("s"), expected_s=1.0, detectable_log=None, **counts)
    print_plan(plan_of(ArmRole.TUNED, process_count=count), outlook, open_console())
    words = " ".join(capsys.readouterr().out.split())
    assert warning in words
    assert ("pass -P 5" in words) is bool(warning)


def bars_of(report):
    figure = _waterfalls(report)
    return figure, next(r.data_source.data for r in figure.renderers)


def differing(arm, _):
    return {"tuned": 0.05, "control": 0.4}.get(arm, 0.0)


def test_every_arm_has_its_waterfall_on_one_axis_from_the_base_to_its_time():
    pytest.importorskip("bokeh")
    report = analyze_study(study_of(plan_of(ArmRole.TUNED, ArmRole.CONTROL), differing))
    figure, bars = bars_of(report)
    for comparison in report.comparisons:
        own = [place for place, row in enumerate(bars["row"]) if row[0] == comparison.arm]
        assert bars["row"][own[-1]][1] == "in all"
        assert not {"N_in", "N_out"} & {bars["row"][place][1] for place in own}
        change = 1000 * sum(x.seconds for x in comparison.factors) / report.bytes_per_item
        assert bars["right"][own[-1]] == pytest.approx(change)
        assert sum(float(bars["text"][place]) for place in own[:-1]) == pytest.approx(change, abs=1e-3)
    assert figure.x_range.start <= min(bars["left"]) <= 0
    assert figure.x_range.end >= max(bars["right"])


def test_parts_of_a_step_that_only_their_sum_tells_are_one_bar_and_two_lines_of_the_table(printed, tmp_path):
    pytest.importorskip("bokeh")
    report = analyze_study(study_of(plan_of(ArmRole.TUNED), differing))
    for told_apart, drawn in ((False, {"decode step"}), (True, {"step cost", "context cost"})):
        compared = replace(report, comparisons=(replace(report.comparisons[0], step_told_apart=told_apart),))
        _, bars = bars_of(compared)
        assert {row[1] for row in bars["row"]} == {"prefill cost", "residual", "in all"} | drawn
        write_study_page(
            compared,
            tmp_path / "r.html",
        )
        page = (tmp_path / "r.html").read_text()
        for words in (printed(compared), page):
            assert all(name in words for name in ("step cost", "context cost"))
            assert ("their sum, the decode step, is known better" in words) is not told_apart


def stepwise(tilt, shift):
    """Make a study whose tuned arm's steps differ between processes in two ways, which are not correlated.

    They turn around their mean context by ``tilt`` ns per token of context, and they are longer by ``shift`` ns, both
    times a number of the process. So the context's cost scatters by ``tilt`` alone and the sum by ``shift`` alone; the
    step's cost, which stands at no context at all, by both.
    """
    study = study_of(plan_of(ArmRole.TUNED, process_count=5), noise=0.0)
    step_ns, decode_ns = study.step_ns.astype(float), study.samples.decode_ns.copy()
    starts, counts, prompts = (
        getattr(study.samples, name) for name in ("step_start", "step_count", "prompt_token_count")
    )
    contexts = {row: prompts[row] + np.arange(1, counts[row] + 1) for row in np.flatnonzero(study.samples.arm == 1)}
    middle = np.concatenate(list(contexts.values())).mean()
    for row, own in contexts.items():
        process, steps = study.samples.process[row], slice(starts[row], starts[row] + counts[row])
        step_ns[steps] += (2, -1, -2, -1, 2)[process] * tilt * (own - middle) + (process - 2) * shift
        decode_ns[row] = step_ns[steps].sum()
    return replace(study, step_ns=step_ns, samples=replace(study.samples, decode_ns=decode_ns))


def test_a_step_is_told_in_parts_unless_their_sum_is_clearly_better_known():
    # Its error is 0.03, 0.4, 0.65 and 1.2 of the context's, and in the end of the step's own.
    for tilt, shift, told_apart in (
        (5e3, 0.0, False),
        (5e3, 0.3e6, False),
        (5e3, 0.5e6, True),
        (5e3, 0.9e6, True),
        (0.0, 0.9e6, True),
    ):
        (compared,) = analyze_study(stepwise(tilt, shift)).comparisons
        parts = [x.effect.value for x in compared.factors if x.factor in ("step cost", "context cost")]
        assert compared.step.effect.value == pytest.approx(sum(parts))
        assert compared.step_told_apart is told_apart, (tilt, shift)
    (compared,) = analyze_study(study_of(plan_of(ArmRole.ADAPTER), seed=1)).comparisons
    (step,) = (x for x in compared.factors if x.factor == "step cost")
    assert step.by_design
    assert compared.step.effect.value == pytest.approx(
        sum(x.effect.value for x in compared.factors if x.factor in ("adapter", "context cost"))
    )


def test_one_process_does_not_say_how_well_the_parts_of_a_step_are_known(printed, tmp_path):
    pytest.importorskip("bokeh")
    report = analyze_study(study_of(plan_of(ArmRole.TUNED, process_count=1), differing))
    assert report.comparisons[0].step_told_apart is None
    write_study_page(report, tmp_path / "r.html")
    for words in (printed(report), (tmp_path / "r.html").read_text()):
        told = (
            "step cost and context cost: one process cannot tell how well each is known, nor their sum, the decode step"
        )
        assert told in words
        assert "hardly tell them apart" not in words
        assert "known better" not in words
    _, bars = bars_of(report)
    assert {row[1] for row in bars["row"]} == {"prefill cost", "residual", "in all", "decode step"}


def test_in_short_are_the_answer_the_claims_the_factors_of_arms_that_differ_and_the_notes(printed):
    roles = (ArmRole.AGAIN, ArmRole.TUNED, ArmRole.CONTROL, ArmRole.PLACEBO, ArmRole.ADAPTER)
    report = analyze_study(study_of(plan_of(*roles), lambda arm, _: 0.4 * (arm == "control"), noise=0.001))
    words = printed(report, full=False)
    for told in (*report.sentences, "control: what the difference", "unseen less seen", report.notes[0].message):
        assert told in words
    assert "tuned: what the difference" not in words
    assert "decode, side by side" not in words
    assert "base again every language" in words
    assert "base again prefill" not in words
    assert "base again prefill" in printed(report)


def test_a_recorded_study_in_short_is_some_80_lines_and_in_full_has_every_table(monkeypatch, capsys):
    folder = Path(__file__).parents[2] / "benchmarks" / "results" / "cpu-2core-amd-epyc" / "study"
    plan = load_plan(folder)
    report = analyze_study(load_study(folder, units(plan), plan))
    for width in ("80", "140"):
        monkeypatch.setenv("COLUMNS", width)
        print_study(report, open_console())
        assert len(capsys.readouterr().out.splitlines()) <= 85
    print_study(report, open_console(), full=True)
    words = capsys.readouterr().out
    assert "5 processes, 102 blocks, 1,122 samples" in words  # as the plan counts them
    for told in (
        "decode, side by side",
        "why a task takes longer",
        "adapter against the base, by language",
        "own answers",
    ):
        assert told in words
    assert "+0.0%\n" not in words  # answers that the limit alone made equally long


def test_the_recorded_report_and_what_is_said_of_it_are_of_todays_analysis():
    root = Path(__file__).parents[2]
    folder = root / "benchmarks" / "results" / "cpu-2core-amd-epyc" / "study"
    plan = load_plan(folder)
    report = analyze_study(load_study(folder, units(plan), plan))
    kept, now = json.loads((folder / "report.json").read_text()), json.loads(as_text(report))
    assert kept.keys() == now.keys()
    assert kept["sentences"] == now["sentences"]
    for a, b in zip(kept["comparisons"], now["comparisons"], strict=True):
        for lines in ("claims", "factors", "phases"):
            for one, other in zip(a[lines], b[lines], strict=True):
                ends = [x["estimate" if lines == "claims" else "effect"] for x in (one, other)]
                assert (ends[0] is None) is (ends[1] is None)
                if ends[0] is not None:
                    bounds = [[end[key] for key in ("value", "low", "high")] for end in ends]
                    assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)
    words = " ".join((root / "docs" / "findings.md").read_text().split())

    def said(estimate):
        value, *ends = (f"{100 * np.expm1(x):+.1f}" for x in (estimate.value, estimate.low, estimate.high))
        return f"{value} % [{', '.join(ends)}]"

    arms = {comparison.arm: comparison for comparison in report.comparisons}
    factors = {line.factor: line.effect for line in arms["adapter"].factors}
    claims = {(c.arm, c.quantity, c.scope): c.estimate for one in report.comparisons for c in one.claims}
    told = [factors["adapter"], factors["prefill cost"], claims["placebo", "prefill", EVERY]]
    told += [claims[arm, "total", EVERY] for arm in ("base again", "tuned", "control", "placebo", "adapter")]
    for estimate in told:
        assert said(estimate) in words


def test_answers_that_the_limit_cut_off_are_not_compared(printed, tmp_path):
    pytest.importorskip("bokeh")
    common = {"answer_count": 4, "token_count": 32.0, "same_tokens": None}
    cut = [NaturalLine(arm=arm, ended_share=0.0, log_ratio=None, **common) for arm in ("base", "tuned")]
    report = replace(analyze_study(study_of(plan_of(ArmRole.TUNED))), natural=tuple(cut))
    words = "every answer was cut off at 32 tokens: the same by design, so not compared"
    assert words in printed(report)
    write_study_page(report, tmp_path / "r.html")
    assert words in (tmp_path / "r.html").read_text()
    ended = replace(cut[1], ended_share=0.5, log_ratio=-0.2)
    assert "cut off" not in printed(replace(report, natural=(cut[0], ended)))


def test_a_made_language_is_explained(printed, tmp_path):
    pytest.importorskip("bokeh")
    plan = plan_of(ArmRole.TUNED)
    assert "Tazmus is" not in printed(analyze_study(study_of(plan)), full=False)
    made = replace(plan.languages[-1], key="tazmus", name="Tazmus")
    items = tuple(replace(x, language="tazmus") if x.language == plan.languages[-1].key else x for x in plan.items)
    report = analyze_study(study_of(replace(plan, languages=(*plan.languages[:-1], made), items=items)))
    assert "Tazmus is a made language" in printed(report, full=False)
    write_study_page(report, tmp_path / "r.html")
    assert "Tazmus is a made language" in (tmp_path / "r.html").read_text()


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
