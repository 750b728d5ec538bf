"""A run's page as a browser draws it: the card on the first screen, nothing cut without a hint, on wide and narrow."""

import shutil
from pathlib import Path

import pytest

from stepladder.report import pages
from tests.launch.test_costs import lost_then_done
from tests.report.test_card import VERDICT, walked
from tests.report.test_pages import _draw

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
REASON = "does not fit: needs 31.0 of 20 GB at batch 64, and a smaller batch was not asked for in ladder.batch"
GATE = "nRMSE 0.627 (against 0.163) of the spatial mean; it is not kept, its predecessor answers"
# What hides a part of itself: wider than its box, and not by a box that scrolls with a bar.
CUT = """() => [...document.querySelectorAll('main *')].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1
  && getComputedStyle(e).overflowX !== 'visible' && !e.matches('.scroll, pre')).map(e => e.className || e.tagName)"""
BOX = """text => { const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) if (walker.currentNode.data.includes(text)) {
    const range = document.createRange(); range.selectNode(walker.currentNode);
    return range.getBoundingClientRect() } }"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page with a long verdict on twelve metrics, a wide table, a table of many columns with reasons."""
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    metrics = [f"a metric @ {i} s" for i in range(1, 13)]
    scores = [[f"method_{m}", *(f"0.{m}{i % 10}0 [0.123, 0.987]" for i in range(12))] for m in range(6)]
    wide = {"title": "Results", "columns": ["method", *metrics], "rows": scores, "note": "", "measured": True}
    columns = ["setting", "samples/s", "forecast", "off", "waiting", "memory GB", "verdict", "reason"]
    rungs = [
        ["4 workers, batch 64, bfloat16", "64.3 ± 6.4", "31.3", "-51%", "6%", str(i), "refused", REASON]
        for i in range(3)
    ]
    reasons = {"title": "Rungs", "columns": columns, "rows": rungs, "note": "", "measured": True}
    gate = ["a phase of training", "a gate with a name", "no", GATE]
    gates = {"title": "Gates", "columns": ["stage", "gate", "verdict", "reason"], "rows": [gate], "measured": True}
    told = (
        f"{VERDICT} Of the others better in {', '.join(metrics[:6])}; no clear difference in {', '.join(metrics[6:])}."
    )
    at = {
        "at_6": {"tables": [wide], "sentence": told},
        "at_4": {"tables": [reasons]},
        "at_5": {"tables": [gates]},
        "at_7": {"shown": [3]},
    }
    run = walked(
        tmp_path, 7, "failed", "06_evaluation: ValueError in cell 3 of 4: " + "a reason of many words " * 8, **at
    )
    _draw(run.stage_folder("07_visualization") / "figures" / "sample_3.png", "A test sample, truth beside forecast.")
    return pages.run_page(run)


def test_the_card_is_read_without_scrolling(browser, page_file):
    page = browser.new_page(viewport=LAPTOP)
    page.goto(page_file.as_uri())
    for text in (
        "06_evaluation: ValueError",
        "9,518 parameters",
        VERDICT[:40],
        "Compute-bound",
        "stepladder run toy",
        "$0.78",
    ):
        box = page.evaluate(BOX, text)
        assert box["top"] >= 0 and box["bottom"] <= LAPTOP["height"], (text, box)
    picture = page.evaluate("document.querySelector('.card img').getBoundingClientRect()")
    assert picture["bottom"] <= LAPTOP["height"] and picture["width"] > 200


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_nothing_is_cut_without_a_hint(browser, page_file, size):
    page = browser.new_page(viewport=size)
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate(CUT) == []
    for reason in (REASON, GATE):  # stands inside the screen, whatever scrolls
        box = page.evaluate(BOX, reason)
        assert box["left"] >= 0 and box["right"] <= size["width"]


def test_on_a_laptop_no_table_needs_scrolling(browser, page_file):
    page = browser.new_page(viewport=LAPTOP)
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    wide = "() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert page.evaluate(wide) == 0


def test_the_bill_of_a_launched_run_is_read_on_a_wide_and_on_a_narrow_window(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    run = walked(tmp_path)
    lost_then_done(run)
    path = pages.run_page(run)
    for viewport in (LAPTOP, PHONE):
        page = browser.new_page(viewport=viewport)
        page.goto(path.as_uri())
        assert page.evaluate(CUT) == []
        box = page.evaluate(BOX, "7.88")
        assert box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]  # dollars are not scrolled for
