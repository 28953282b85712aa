"""Light and dark: the pages follow the screen, everything on them can be read, and paper stays light."""

import re
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("bokeh")

from tokprof.profiler.analysis.study import analyze_study
from tokprof.profiler.report import compare_html, fertility_html, page, study_html
from tokprof.profiler.studies import ArmRole

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from study_makers import plan_of, study_of
from test_compare_html import a_diff
from test_fertility_html import report, row

VARIABLES = re.compile(r"--([a-z]+): (#[0-9a-f]+)")
LIGHT, DARK = (dict(VARIABLES.findall(part)) for part in page.STYLE.split("@media"))


def channels(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    return [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]


def turned(colour):
    """Return what the style's filter makes of a colour (Filter Effects Module Level 1, feColorMatrix)."""
    share = float(re.search(r"invert\(([.\d]+)\) hue-rotate\(180deg\)", page.STYLE)[1])
    inverted = [share * (1 - value) + (1 - share) * value for value in channels(colour)]
    grey = (0.213, 0.715, 0.072)
    mean = sum(weight * value for weight, value in zip(grey, inverted, strict=True))
    return [min(1.0, max(0.0, 2 * mean - value)) for value in inverted]


def luminance(values):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Return the contrast of two colours as WCAG 2 has it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, {**LIGHT, **DARK}], ids=["light", "dark"])
@pytest.mark.parametrize("word", ["ink", "soft", "worse", "better"])
@pytest.mark.parametrize("ground", ["ground", "lane"])
def test_words_can_be_read_in_both_schemes(scheme, word, ground):
    assert contrast(channels(scheme[word]), channels(scheme[ground])) >= 4.5


def test_pictures_can_be_read_on_a_dark_screen():
    ground = channels(DARK["ground"])
    for ink in (page.INK, page.SOFT):
        assert contrast(turned(ink), ground) >= 4.5
    drawn = {*fertility_html.COLOURS, *study_html.SIDE_COLOURS.values(), *study_html.PARTS.values()}
    drawn |= {study_html.SLOWER, study_html.FASTER, study_html.TOTAL}
    for colour in drawn:
        assert contrast(turned(colour), ground) >= 3, colour
    assert contrast(turned(page.LINE), ground) > 1.3
    for name, colour in compare_html.COLOURS.items():  # its own canvas is not turned
        assert contrast(channels(colour), channels(DARK["lane"])) >= 3, name


@pytest.fixture
def pages(tmp_path):
    study = study_of(plan_of(ArmRole.AGAIN, ArmRole.TUNED), lambda arm, _: 0.05 * (arm == "tuned"), noise=0.001)
    compare_html.write_compare_page(a_diff(), tmp_path / "compare.html")
    fertility_html.write_fertility_page(report(row("gleam"), row("python")), tmp_path / "fertility.html")
    study_html.write_study_page(analyze_study(study), tmp_path / "study.html")
    return sorted(tmp_path.iterdir())


COUNT = """
const [png, done] = arguments, image = new Image();
image.onload = () => {
  const canvas = document.createElement("canvas");
  canvas.width = image.width; canvas.height = image.height;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const data = pen.getImageData(0, 0, image.width, image.height).data;
  let light = 0;
  for (let i = 0; i < data.length; i += 4) light += data[i] + data[i + 1] + data[i + 2] > 600;
  done(light / (data.length / 4));
};
image.src = "data:image/png;base64," + png;
"""


DRAWN = "return !window.Bokeh || (Bokeh.documents.length > 0 && Bokeh.documents.every(made => made.is_idle))"


def wait(condition, *, most_s=20):
    deadline = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def light_share(driver, png):
    """Return the share of a picture's pixels that are nearly white."""
    driver.get("about:blank")
    return driver.execute_async_script(COUNT, png)


def test_pages_follow_the_screen_and_paper_is_light(pages, browser):
    try:
        for file in pages:
            shares = {}
            for scheme in ("light", "dark"):
                media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
                browser.get(file.as_uri())
                wait(lambda: browser.execute_script(DRAWN))
                shares[scheme] = light_share(browser, browser.get_screenshot_as_base64())
            assert shares["light"] > 0.75, file.name
            assert shares["dark"] < 0.12, file.name  # words and thin lines; no tile of a picture stayed white
            browser.get(file.as_uri())
            on_screen = "return matchMedia('screen and (prefers-color-scheme: dark)').matches"
            assert browser.execute_script(on_screen)
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", **media})
            assert not browser.execute_script(on_screen)
            ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert ground == "rgb(255, 255, 255)"
            filters = "return [...document.querySelectorAll('.drawn')].map(e => getComputedStyle(e).filter)"
            assert set(browser.execute_script(filters)) <= {"none"}
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
