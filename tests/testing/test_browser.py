"""JupyterLab as a new user meets it: open a notebook, run all cells, move a slider; in Debian's headless Chromium.

The walk begins where the smoke walk's ladder ended: what 01, 03 and 04 do is told by their golden notebooks. The four
notebooks that are run here are those that do more for a person than for nbval: a slider, a training that is followed,
scores and scenes.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from stepladder.core.run import Run
from stepladder.core.stages import before

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
RUN_SECONDS = 240
SLIDER, LATER = "02_conversion", ("05_training", "06_evaluation", "07_visualization")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(1800),  # the smoke walk included, where this test is the first to need it
    pytest.mark.xdist_group("plateau"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, smoke):
    """A running JupyterLab over a copy of the notebooks, set to the smoke profile, and of the first four stages.

    Yields its URL and its folder.
    """
    home = tmp_path_factory.mktemp("lab")
    undone = shutil.ignore_patterns(*LATER, "checkpoints", "metrics.jsonl")
    shutil.copytree(smoke("plateau")[0], home / "outputs", ignore=undone)
    for folder in ("notebooks", "params"):
        shutil.copytree(ROOT / folder, home / folder)
    for path in (home / "notebooks").glob("*.ipynb"):
        path.write_text(path.read_text().replace('profile = \\"quick\\"', 'profile = \\"smoke\\"'))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "STEPLADDER_HEADLESS"}
    environment |= {"STEPLADDER_ROOT": str(home), "STEPLADDER_OUTPUTS": str(home / "outputs")}
    environment |= {"JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data")}
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password="]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=home, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{url}/api", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield url, home
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def page():
    """A browser page large enough to hold a notebook."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1400, "height": 1200})
        browser.close()


def recorded(home: Path, name: str) -> str | None:
    """When the result of a stage was recorded, or None."""
    return (Run(home / "outputs" / "plateau" / "smoke").result(name) or {}).get("finished")


def run_all(page, url: str, home: Path, name: str) -> None:
    """Open a notebook, wait for its kernel, run all its cells, and wait for the result it records last.

    Run All Cells before the kernel is idle starts no cell at all. JupyterLab renders only the cells in view, so the end
    is read from the disk and not from the page.
    """
    earlier = recorded(home, name)
    page.goto(f"{url}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", timeout=60_000)
    page.wait_for_selector("text=| Idle", timeout=60_000)  # of the status bar
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    begun = time.monotonic()
    while recorded(home, name) in (None, earlier):
        assert time.monotonic() - begun < RUN_SECONDS, f"{name} recorded nothing"
        page.wait_for_timeout(500)


def scroll_to(page, selector: str):
    """Scroll the notebook until `selector` is rendered; JupyterLab keeps only the cells in view in the page."""
    found = page.locator(selector).first
    page.mouse.move(700, 600)
    page.mouse.wheel(0, -100_000)
    for _ in range(60):
        page.wait_for_timeout(200)
        if found.count():
            found.scroll_into_view_if_needed()
            return found
        page.mouse.wheel(0, 600)
    raise AssertionError(f"{selector} never came into view")


def test_a_new_user_moves_a_slider_and_trains_where_the_ladder_ended(lab, page):
    url, home = lab
    run = Run(home / "outputs" / "plateau" / "smoke", home)
    states = run.states()
    assert {states[part.name].state for part in before(LATER[0])} == {"done"}, states
    for name in (SLIDER, *LATER):
        run_all(page, url, home, name)
        page.screenshot(path=str(home / f"{name}.png"))
        if name == SLIDER:
            move_the_slider(page, home)
    assert {state.state for state in run.states().values()} == {"done"}, run.states()


def move_the_slider(page, home: Path) -> None:
    """The picture beside the slider changes with it."""
    slider = scroll_to(page, ".widget-slider .noUi-handle")
    picture = page.locator(".widget-output img").first
    picture.wait_for(timeout=60_000)
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    page.wait_for_function("b => document.querySelector('.widget-output img')?.src !== b", arg=before, timeout=60_000)
    page.wait_for_timeout(500)
    page.screenshot(path=str(home / "slider.png"))
