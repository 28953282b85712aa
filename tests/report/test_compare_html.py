"""The page of a comparison, in a real headless Chromium: it shows, zooms, hovers, sorts, and keeps names as text."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tokprof.profiler.analysis.ledger import compare_steps
from tokprof.profiler.errors import OutputError
from tokprof.profiler.record import (
    GapOwner,
    KernelLimit,
    Note,
    Phase,
    StepKernels,
    StepLimits,
    TimelineDiff,
    TraceCounters,
    TypicalStep,
)
from tokprof.profiler.report.compare_html import COLOURS, embedded, write_compare_page

EVIL = "<script>window.stolen = 1</script></script><img src=x onerror=window.stolen=1>"
NAMES = ("void gemm_kernel<float>(int)", "flash_fwd_kernel", EVIL, "rms_norm_kernel")


def a_step(layers=24, *, slower=1.0, phase=Phase.DECODE, per_layer=12, steps=5):
    """A step of some layers: a gemm, an attention and a norm kernel in turn, one with a name that is markup."""
    count = layers * per_layer
    name = np.arange(count) % 4
    duration = np.where(name == 0, 40_000.0 * slower, 9_000.0)
    gap = np.where(np.arange(count) % per_layer == 0, 3_000.0, 500.0)
    start = np.cumsum(duration + gap) - duration
    noise = np.random.default_rng(3).normal(1, 0.002, (steps, count))
    kernels = StepKernels(
        name=name,
        category=np.array([0, 1, 3, 2])[name],
        operator=name % 2,
        frame=np.zeros(count),
        layer=np.arange(count) // per_layer,
        stream=np.where(name == 3, 20, 7),
        start_ns=start,
        duration_ns=duration,
        gap_ns=gap,
        gap_cause=np.ones(count),
        names=NAMES,
        categories=("gemm", "attention", "norm", "elementwise"),
        operators=("aten::mm", "aten::" + EVIL),
        frames=("model.py(12): forward",),
        gap_causes=("", "host: launched late"),
    )
    wall = float((duration + gap).sum())
    return TypicalStep(
        phase=phase,
        step_count=steps,
        sampled_step_count=steps,
        wall_ns=wall,
        busy_ns=float(duration.sum()),
        overlap_ns=0.0,
        kernels=kernels,
        confidence=1.0,
        evidence="test",
        samples_ns=duration * noise,
        gap_samples_ns=gap * noise,
        wall_samples_ns=(duration * noise).sum(axis=1),
    )


def a_diff(**values):
    counters = TraceCounters(name=[0, 0, 0], time_ns=[0, 10**6, 2 * 10**6], value=[300, 310, 305], names=("power / W",))
    decode = compare_steps(a_step(), a_step(slower=1.2))
    prefill = compare_steps(a_step(4, phase=Phase.PREFILL), a_step(4, phase=Phase.PREFILL))
    diff = TimelineDiff(
        a_name="base " + EVIL,
        b_name="tuned",
        phases=(prefill, decode),
        a_counters=counters,
        notes=(Note(code="n", message=EVIL),),
    )
    return replace(diff, **values)


def test_nothing_in_the_data_can_end_its_script_element():
    text = embedded({"k": "</script><!-- & \u2028"})
    for sign in ("<", ">", "&", "\u2028"):
        assert sign not in text


def test_the_page_stands_alone(tmp_path):
    write_compare_page(a_diff(), tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count("<script") == 2
    assert page.count("</script>") == 2


@pytest.fixture
def page(browser, tmp_path):
    def show(diff):
        write_compare_page(diff, tmp_path / "c.html")
        browser.get((tmp_path / "c.html").as_uri())
        return browser

    return show


def quiet(driver):
    return [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def place_of(driver, side, row):
    """Return where on the screen the middle of a kernel is, relative to the middle of the canvas."""
    return driver.execute_script(
        """
        const [side, row] = arguments, { state, data } = window.tokprof;
        const canvas = document.getElementById("timeline"), part = data.phases[state.phase][side];
        const plot = canvas.clientWidth - 102, scale = plot / (state.to - state.from);
        const x = 92 + (part.start[row] + part.duration[row] / 2 - state.from) * scale;
        const lanes = data.phases[state.phase].a.lanes.length;
        const top = side === "a" ? 26 : 26 + lanes * 30 + 64;
        return [x - canvas.clientWidth / 2, top + part.lane[row] * 30 + 15 - canvas.clientHeight / 2];
        """,
        side,
        row,
    )


def over(driver, side, row):
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = driver.find_element("id", "timeline")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    x, y = place_of(driver, side, row)
    return ActionChains(driver, duration=0).move_to_element_with_offset(canvas, round(x), round(y))


def test_it_opens_on_decode_and_says_what_got_slower(page):
    driver = page(a_diff())
    text = driver.find_element("tag name", "body").text
    assert "The decode step of B is" in text
    assert "slower than A's" in text
    assert "gemm +" in text
    assert driver.execute_script("return window.tokprof.data.phases[window.tokprof.state.phase].name") == "decode"
    painted = driver.execute_script(
        """
        const canvas = document.getElementById("timeline");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Set();
        for (let i = 0; i < pixels.length; i += 4) seen.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
        return [0x0072B2, 0xD55E00, 0x009E73].filter(c => seen.has(c)).length;
        """
    )
    assert painted == 3
    assert quiet(driver) == []


def test_a_bar_of_the_waterfall_leads_to_the_kernel_behind_it(page):
    driver = page(a_diff())
    rows = driver.find_elements("css selector", "#waterfall .step")
    assert [row.text.splitlines()[0] for row in rows][:2] == ["A", "gemm"]
    assert rows[-1].text.splitlines()[0] == "B"
    ends = driver.execute_script(
        """
        const bars = [...document.querySelectorAll("#waterfall i")].map(i => i.getBoundingClientRect());
        return bars.map(b => [b.left, b.right]);
        """
    )
    assert ends[1][0] == pytest.approx(ends[0][1], abs=1.5)  # a slower category begins where A ends
    assert ends[-1][1] == pytest.approx(ends[-2][1], abs=2.5)  # and the last one ends at B
    rows[1].click()
    kernel = driver.execute_script("return window.tokprof.state.kernel")
    assert driver.execute_script("return window.tokprof.data.phases[1].a.name")[kernel["row"]] == 0  # a gemm kernel
    detail = driver.find_element("id", "detail").text
    assert "void gemm_kernel<float>(int)" in detail
    assert "48.00 µs" in detail
    assert driver.execute_script("return window.tokprof.state.chosen") is not None
    driver.find_element("css selector", "#detail button").click()
    assert driver.execute_script("return window.tokprof.state.to - window.tokprof.state.from") < 600
    assert quiet(driver) == []


def test_the_keyboard_goes_from_kernel_to_kernel(page):
    driver = page(a_diff())
    canvas = driver.find_element("id", "timeline")
    canvas.send_keys("n")
    canvas.send_keys("n")
    canvas.send_keys("n")
    assert driver.execute_script("return window.tokprof.state.kernel") == {"side": "a", "row": 2}
    canvas.send_keys("p")
    assert driver.execute_script("return window.tokprof.state.kernel.row") == 1
    assert "flash_fwd_kernel" in driver.find_element("id", "detail").text


def test_nothing_is_wider_than_the_window(page):
    driver = page(a_diff())
    over(driver, "a", 2).click().perform()
    assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "missing" / "c.html", tmp_path / "file" / "c.html", tmp_path):
        with pytest.raises(OutputError):
            write_compare_page(a_diff(), place)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(colour, seen_by):
    """Return CIE L*a*b* of a colour such as "#0072B2" as someone sees it."""
    sign = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.clip(seen_by @ np.where(sign <= 0.04045, sign / 12.92, ((sign + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175],
                       [0.0193339, 0.119192, 0.9503041]])  # fmt: skip
    x, y, z = np.cbrt(to_xyz @ linear / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colour_blind_tell_the_categories_apart(kind):
    seen = {name: lab(colour, np.array(BLINDNESS[kind])) for name, colour in COLOURS.items()}
    for one, two in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[two]) > 15, (one, two)


def test_names_from_traces_stay_text(page):
    driver = page(a_diff())
    for by in ("kernel", "operator", "frame", "layer", "category"):
        driver.execute_script(f"const s = document.getElementById('by'); s.value = '{by}'; s.onchange()")
    over(driver, "a", 2).click().perform()
    assert "<script>window.stolen" in driver.find_element("id", "detail").text
    assert "<img src=x" in driver.find_element("id", "notes").text
    assert driver.execute_script("return window.stolen") is None
    assert driver.execute_script("return document.images.length") == 0
    assert quiet(driver) == []


def test_zoom_and_move_change_both_lanes_alike(page):
    driver = page(a_diff())
    before = [place_of(driver, side, 100)[0] - place_of(driver, side, 99)[0] for side in "ab"]
    driver.execute_script("window.tokprof.zoom(0.25, 600)")
    after = [place_of(driver, side, 100)[0] - place_of(driver, side, 99)[0] for side in "ab"]
    assert after == pytest.approx([4 * value for value in before], rel=1e-6)
    start = driver.execute_script("return window.tokprof.state.from")
    from selenium.webdriver.common.keys import Keys

    driver.find_element("id", "timeline").send_keys(Keys.ARROW_RIGHT)
    assert driver.execute_script("return window.tokprof.state.from") > start


def test_hover_shows_both_durations_and_the_operator(page):
    driver = page(a_diff())
    driver.execute_script("window.tokprof.zoom(0.05, 100)")
    over(driver, "a", _visible(driver)).perform()
    tip = driver.find_element("id", "tip").text
    assert "A: 40.00 µs" in tip
    assert "B: 48.00 µs" in tip
    assert "1.20 ×" in tip
    assert "aten::mm" in tip


def test_what_overlaps_on_a_stream_stands_on_lanes_of_its_own(page):
    step = a_step()
    kernels = replace(step.kernels, stream=np.where(step.kernels.name == 2, 20, 7))
    attention = kernels.name == 1
    overlapping = replace(kernels, start_ns=kernels.start_ns - np.where(attention, 9_000, 0))
    touching = replace(kernels, start_ns=kernels.start_ns - np.where(attention, 1_000, 0))
    sides = [replace(step, kernels=k, overlap_ns=o) for k, o in ((overlapping, 8_000.0), (touching, 500.0))]
    driver = page(a_diff(phases=(compare_steps(*sides),)))
    lanes = driver.execute_script("return ['a', 'b'].map(side => window.tokprof.data.phases[0][side].lanes)")
    assert lanes == [[7, 7, 20], [7, 20]]
    gemm = 24
    driver.execute_script(
        "const s = window.tokprof.state; s.from = arguments[0]; s.to = s.from + 60; dispatchEvent(new Event('resize'))",
        sides[0].kernels.start_ns[gemm] / 1e3,
    )
    for row, word in ((gemm, "gemm_kernel"), (gemm + 1, "flash_fwd_kernel")):
        over(driver, "a", row).perform()
        assert word in driver.find_element("id", "tip").text
    assert quiet(driver) == []


def _visible(driver):
    """Return a gemm kernel of A that lies wholly in view."""
    return driver.execute_script(
        """
        const { state, data } = window.tokprof, part = data.phases[state.phase].a;
        return part.start.findIndex((s, k) => s > state.from + 0.3 * (state.to - state.from)
          && part.categorys[part.category[k]] === "gemm");
        """
    )


def test_a_click_leads_to_the_kernel_and_a_ledger_line_to_its_kernels(page):
    driver = page(a_diff())
    driver.execute_script("window.tokprof.zoom(0.05, 100)")
    over(driver, "b", _visible(driver)).click().perform()
    detail = driver.find_element("id", "detail").text
    for words in ("void gemm_kernel<float>(int)", "48.00 µs", "40.00 µs", "layer", "B takes 1.20 × A's time"):
        assert words in detail
    driver.execute_script("const s = document.getElementById('by'); s.value = 'layer'; s.onchange()")
    row = next(r for r in driver.find_elements("css selector", "#ledger tbody tr") if r.text.startswith("layer 7"))
    driver.execute_script("arguments[0].click()", row)
    window = driver.execute_script(
        """
        const { state, data } = window.tokprof, part = data.phases[state.phase].a;
        const rows = part.layer.map((l, k) => l === 7 ? k : -1).filter(k => k >= 0);
        return [state.from <= part.start[rows[0]], state.to < 0.45 * part.wall, state.chosen !== null];
        """
    )
    assert window == [True, True, True]


def test_the_ledger_sorts_and_sums(page):
    driver = page(a_diff())

    def column(index):
        return [
            r.find_elements("tag name", "td")[index].text
            for r in driver.find_elements("css selector", "#ledger tbody tr")
        ]

    assert column(0)[0] == "gemm"  # the largest change first
    driver.find_element("css selector", "#ledger th[data-column=key]").click()
    assert column(0) == sorted(column(0))
    driver.find_element("css selector", "#ledger th[data-column=key]").click()
    assert column(0) == sorted(column(0), reverse=True)
    foot = driver.find_element("css selector", "#ledger tfoot").text
    whole = driver.find_element("id", "residual").text.partition("B less A: ")[2].partition(" ms")[0]
    assert whole in foot
    assert driver.find_element("id", "residual").text.endswith("residual: none")
    assert "effect ± 0." in driver.find_element("id", "ledger").text


def test_the_ledger_is_whole_at_1280_pixels_and_in_one_unit(page):
    big = 1000.0  # a step of seconds, with verdicts of every kind
    step = a_step()
    kernels = replace(step.kernels, duration_ns=step.kernels.duration_ns * big, gap_ns=step.kernels.gap_ns * big)
    of = {f: getattr(step, f) * big for f in ("wall_ns", "busy_ns", "samples_ns", "gap_samples_ns", "wall_samples_ns")}
    a = replace(step, kernels=kernels, **of)
    b = replace(a, kernels=replace(kernels, duration_ns=kernels.duration_ns * 1.3), samples_ns=a.samples_ns * 1.3)
    driver = page(a_diff(phases=(compare_steps(a, b),)))
    driver.set_window_size(1280, 1400)
    for by in ("category", "kernel", "operator"):
        driver.execute_script(f"const s = document.getElementById('by'); s.value = '{by}'; s.onchange()")
        room = driver.execute_script(
            "const s = document.querySelector('.scroll'); return [s.scrollWidth, s.clientWidth]"
        )
        assert room[0] <= room[1]
    cells = [cell.text for cell in driver.find_elements("css selector", "#ledger tbody td")]
    assert not any(unit in cell for cell in cells for unit in (" ms", " µs"))
    heads = [cell.text.rstrip(" ▼") for cell in driver.find_elements("css selector", "#ledger th")]
    assert heads[1:4] == ["A ms", "B ms", "change ms"]


def test_ledger_and_waterfall_mean_the_same_by_a_category(page):
    driver = page(a_diff())
    line = next(line for line in dict(a_diff().phases[1].ledgers)["category"] if line.key == "gemm")
    row = driver.find_element("css selector", "#ledger tbody tr").text.split()
    assert row[:3] == ["gemm", f"{line.a_ns / 1e6:.3f}", f"{line.b_ns / 1e6:.3f}"]
    bar = driver.find_elements("css selector", "#waterfall .step")[1].text.split()
    assert bar == ["gemm", f"{(line.b_ns - line.a_ns) / 1e6:+.3f}", "ms"]


def test_a_difference_of_a_few_percent_looks_like_a_few_percent(page):
    def lengths(slower):
        driver = page(a_diff(phases=(compare_steps(a_step(), a_step(slower=slower)),)))
        ends = driver.execute_script(
            "return [...document.querySelectorAll('#waterfall i')].map(i => i.getBoundingClientRect().width)"
        )
        return ends[-1] / ends[0], driver.find_element("id", "cut").text

    diff = compare_steps(a_step(), a_step(slower=1.08))
    ratio, said = lengths(1.08)
    assert ratio == pytest.approx(diff.b.wall_ns / diff.a.wall_ns, abs=0.005)
    assert said == ""
    assert "nearly as long" in lengths(1.005)[1]  # half a percent would not be seen


LIMITS = StepLimits(
    floor_ms=1.25, time_ms=5.0, bound="memory", mfu=0.0314, mbu=0.25, source="measured on this device on 2030-01-02",
    owners=tuple(GapOwner(name=name, time_ms=gap_ms + 1, floor_ms=1.0)
                 for name, gap_ms in (("matrix products", 2.5), ("gaps between kernels", 1.0), (EVIL, 0.25))),
)  # fmt: skip


def test_runs_stand_beside_their_floors_one_line_each(page):
    prefill, decode = a_diff().phases
    blind = replace(LIMITS, mfu=None, owners=())
    driver = page(a_diff(phases=(prefill, replace(decode, a_limits=LIMITS, b_limits=blind))))
    box = driver.find_element("id", "limits")
    cells = [cell.text for cell in box.find_elements("xpath", "./*")]
    assert cells == [
        "A", "memory floor 1.250 ms", "measured 5.000 ms, ×4.00", "MFU 3.1 %, MBU 25.0 %",
        f"gap 3.750 ms: matrix products 2.500, gaps between kernels 1.000, {EVIL} 0.250",
        "B", "memory floor 1.250 ms", "measured 5.000 ms, ×4.00", "MBU 25.0 %", "gap 3.750 ms",
    ]  # fmt: skip
    assert "measured on this device on 2030-01-02" in box.find_element("css selector", "[title]").get_attribute("title")
    assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert driver.execute_script("return window.stolen") is None
    driver.find_elements("css selector", "#phases button")[0].click()
    assert not box.is_displayed()
    assert quiet(driver) == []


def test_advice_stands_apart_from_its_note(page):
    driver = page(a_diff(notes=(Note(code="n", message="something", advice="do this"),)))
    assert driver.find_element("id", "notes").text.splitlines() == ["! something", "→ do this"]


def test_phases_switch_and_counters_show(page):
    driver = page(a_diff())
    assert driver.find_element("id", "counters").is_displayed()
    driver.find_elements("css selector", "#phases button")[0].click()
    assert driver.execute_script("return window.tokprof.state.phase") == 0
    assert quiet(driver) == []


def test_nothing_in_common_is_an_answer_too(page):
    driver = page(a_diff(phases=(), a_counters=None))
    assert "Nothing is compared" in driver.find_element("tag name", "h1").text
    assert not driver.find_element("id", "timeline").is_displayed()
    assert quiet(driver) == []


def test_five_thousand_kernels_a_side_draw_as_many_rectangles_as_a_screen_holds(page):
    step = a_step(400, per_layer=13)
    assert len(step.kernels) > 5_000
    driver = page(a_diff(phases=(compare_steps(step, a_step(400, per_layer=13, slower=1.1)),)))
    drawn = []
    for _ in range(12):
        driver.execute_async_script(
            "window.tokprof.zoom(0.7, 600); requestAnimationFrame(() => setTimeout(arguments[0], 0))"
        )
        drawn.append(driver.execute_script("return window.tokprof.stats.drawn"))
    assert max(drawn) < 4_000  # by the pixel, not by the kernel
    assert min(drawn) > 10
    frames = driver.execute_script("return window.tokprof.stats.frames")
    assert len(frames) >= 12
    assert sorted(frames)[len(frames) // 2] < 200  # generous: a frame takes a few milliseconds on an idle machine


def test_the_ledger_says_what_of_the_ceiling_each_side_reaches(page):
    diff = a_diff()
    limit = KernelLimit(floor_us=12.5, reached=0.634, bound="memory", known_share=0.5)
    prefill, decode = diff.phases
    ledgers = tuple((by, (replace(lines[0], a_limit=limit), *lines[1:])) for by, lines in decode.ledgers)
    driver = page(replace(diff, phases=(prefill, replace(decode, ledgers=ledgers))))
    titles = [cell.text for cell in driver.find_elements("css selector", "#ledger thead th")]
    column = titles.index("of ceiling A → B")
    cells = [
        row.find_elements("css selector", "td") for row in driver.find_elements("css selector", "#ledger tbody tr")
    ]
    assert {len(row) for row in cells} == {len(titles)}
    assert len(driver.find_elements("css selector", "#ledger tfoot td")) == len(titles)
    told = {row[0].text: (row[column].text, row[column].get_attribute("title")) for row in cells}
    key = dict(decode.ledgers)["category"][0].key
    assert told.pop(key) == ("≥ 63 → – %", "A: floor ≥ 12.50 µs, ≥ 63% memory")
    assert set(told.values()) == {("–", "")}
    driver.find_elements("css selector", "#ledger thead th")[column].click()
    assert driver.find_element("css selector", "#ledger tbody td").text == key
    assert quiet(driver) == []
