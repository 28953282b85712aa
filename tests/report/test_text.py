"""The terminal's answer fits its width, keeps foreign names as text, and says what was not measured."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tokprof.profiler.analysis.summary import Estimate, KernelShare, PhaseSummary, Summary
from tokprof.profiler.record import DecodeMode, KernelLimit, Note, Phase, Stop, StopRule
from tokprof.profiler.report.text import estimate, print_summary, quantity, short_frame


def a_phase(**changes):
    phase = PhaseSummary(
        phase=Phase.DECODE, repetition_count=3, marked_count=1, token_count=9,
        time_ms=Estimate(value=12.0, minimum=11.0, maximum=13.0), tokens_per_s=Estimate(value=750.0),
        bytes_per_s=None, time_to_first_token_ms=None, latency_median_ms=1.2,
        latency_p95_ms=1.3, latency_p99_ms=1.4, latency_sample_count=27, host_issue_ms=None, energy_per_token_mj=None,
        energy_error_mj=None, energy_reason="", mean_sm_clock_mhz=None, kernel_busy_share=0.75, gap_share=0.25,
        share_basis="profiled pass",
        kernels=(KernelShare(name="void k<[bold]x[/bold]>" + "y" * 300, category="embedding/sampling", share=0.5,
                             count_per_span=2e4, time_us_per_span=123_456.0),),
    )  # fmt: skip
    return replace(phase, **changes)


def a_summary(**changes):
    summary = Summary(
        model="m [red]x[/red]", device="d", software="s", fingerprint="f" * 12, mode=DecodeMode.NATURAL, batch_size=1,
        prompt="[link=x]p", prompt_token_count=8, new_token_count=9, process_count=1, outcome="complete",
        stops=(Stop(rule=StopRule.TIME_LIMIT, repetition_count=3, detail="20 s passed"),), phases=(a_phase(),),
        total_ms=Estimate(value=12.0), slowdowns=(), python_share=None, frames=(),
        notes=(Note(code="c", message="[b]hm"),),
    )  # fmt: skip
    return replace(summary, **changes)


def printed(summary, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_summary(summary, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_it_fits_the_terminal_without_breaking_a_table_row(width):
    text = printed(a_summary(), width)
    assert max(map(len, text.splitlines())) <= width
    row = next(line for line in text.splitlines() if "void k<" in line)
    assert "embedding/sampling" in row
    assert "50.0%" in row


def test_beside_floors_figures_stay_whole_and_names_give_way():
    limit = KernelLimit(floor_us=98_765.4, reached=0.63, bound="compute", known_share=0.5)
    phase = a_phase(kernels=(replace(a_phase().kernels[0], limit=limit),))
    for width in (80, 100, 160):
        text = printed(a_summary(phases=(phase,)), width)
        assert max(map(len, text.splitlines())) <= width
        (row,) = (line for line in text.splitlines() if "void k<" in line)
        for figure in ("50.0%", "123.5 ms", "≥ 98.77 ms", "≥ 63% compute"):
            assert figure in row
        assert ("20,000" in row or "2e+04" in row) == ("launches" in text)


def test_foreign_names_are_text_not_markup():
    text = printed(a_summary())
    for words in ("[red]x[/red]", "[link=x]p", "[b]hm", "void k<[bold]x"):
        assert words in text


def test_what_was_not_measured_says_so():
    text = printed(a_summary())
    assert "energy per token" in text
    assert "not measured" in text
    assert "1 marked" in text
    assert " 0 mJ" not in text


def test_percentiles_say_of_how_many_steps_they_are():
    (row,) = [line for line in printed(a_summary()).splitlines() if "decode steps they are of" in line]
    assert row.split()[-1] == "27"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1,234"), (123.45, "123.5"), (12.345, "12.35"), (0.01234, "0.0123")]
)
def test_quantities_keep_the_digits_that_tell(value, text):
    assert quantity(value) == text


def test_an_interval_is_shown_only_where_there_is_one():
    assert estimate(Estimate(value=10.0), "ms") == "10.00 ms"
    assert estimate(Estimate(value=10.0, low=9.0, high=11.0, process_count=3), "ms") == "10.00 ms ±1.00"
    rate = Estimate(value=9677.0, low=7078.0, high=15_293.0, process_count=3)  # one over a time: no ± tells it
    assert estimate(rate) == "9,677 [7,078, 15,293]"
    for unknown in ({"low": -1.0, "high": 21.0}, {"low": None, "high": None}):
        assert estimate(Estimate(value=10.0, process_count=2, **unknown)) == "10.00 (too few processes to tell)"
    assert estimate(None) == "not measured"


def test_frames_keep_what_tells():
    assert short_frame("f (/a/b/site-packages/torch/nn/linear.py:3)") == "f (torch/nn/linear.py:3)"
    assert short_frame("<native>") == "<native>"


def test_the_device_s_own_clock_stands_below_nvml_s_and_is_silent_where_there_is_neither():
    phase = a_phase(mean_sm_clock_mhz=1750.0, start_sm_clock_mhz=1980.0, end_sm_clock_mhz=1756.0)
    lines = [" ".join(line.split()) for line in printed(a_summary(phases=(phase, phase))).splitlines()]
    assert "mean SM clock, by NVML 1,750 MHz 1,750 MHz" in lines
    assert "SM clock, by the device 1,980 → 1,756 MHz 1,980 → 1,756 MHz" in lines
    assert "after it, beside NVML's +0.3% +0.3%" in lines
    alone = printed(a_summary(phases=(a_phase(end_sm_clock_mhz=1756.0),)))
    assert "1,756 MHz" in alone
    assert "NVML" not in alone
    assert "SM clock" not in printed(a_summary())
