"""JupyterLab as a new user meets it, in Debian's headless Chromium.

The walk begins where the smoke walk's ladder ended: what 01, 03 and 04 do is told by their golden notebooks. The four
notebooks that are run here are those that do more for a person than for nbval: sliders, a training that is followed,
left and stopped, a scene to turn, a form.
"""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import psutil
import pytest
from playwright.sync_api import Error as PlaywrightError

from stepladder.core.run import Run
from stepladder.core.stages import before

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # a scene is drawn without a GPU
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
    with jupyterlab(home, STEPLADDER_ROOT=str(home), STEPLADDER_OUTPUTS=str(home / "outputs")) as url:
        yield url, home


@contextmanager
def jupyterlab(home: Path, **environment: str) -> Iterator[str]:
    """A running JupyterLab in a folder; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    usual = {k: v for k, v in os.environ.items() if k != "STEPLADDER_HEADLESS"}
    usual |= {"JUPYTER_CONFIG_DIR": f"{home}-lab/config", "JUPYTER_DATA_DIR": f"{home}-lab/data"}
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password="]
    with home.with_name(f"{home.name}-lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=home, env=usual | environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/api", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def tab():
    """Opens a tab large enough to hold a notebook."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield lambda: browser.new_page(viewport={"width": 1400, "height": 1200})
        browser.close()


def recorded(home: Path, name: str) -> str | None:
    """When the result of a stage was recorded, or None."""
    return (Run(home / "outputs" / "plateau" / "smoke").result(name) or {}).get("finished")


def open_notebook(page, url: str, name: str) -> None:
    """Open a notebook and wait until its cells can be run: Run All Cells before the kernel is there starts none."""
    page.goto(f"{url}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", timeout=60_000)
    status = page.locator("text=/\\| (Idle|Busy)/").first  # of the status bar
    try:
        status.wait_for(timeout=30_000)
    except PlaywrightError:  # what a person does who waits in vain for a kernel
        page.reload()
        status.wait_for(timeout=60_000)


def press_run_all(page) -> None:
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")


def wait_for(page, condition, what: str) -> None:
    """Wait for what is on the disk: JupyterLab renders only the cells in view."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < RUN_SECONDS, f"waited in vain for {what}"
        page.wait_for_timeout(200)


def run_all(page, url: str, home: Path, name: str) -> None:
    """Open a notebook, run all its cells, and wait for the result it records last."""
    earlier = recorded(home, name)
    open_notebook(page, url, name)
    press_run_all(page)
    wait_for(page, lambda: recorded(home, name) not in (None, earlier), f"the result of {name}")


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


def test_a_new_user_moves_sliders_leaves_a_training_and_turns_a_scene(lab, tab):
    url, home = lab
    run = Run(home / "outputs" / "plateau" / "smoke", home)
    states = run.states()
    assert {states[part.name].state for part in before(LATER[0])} == {"done"}, states
    page = tab()
    run_all(page, url, home, SLIDER)
    move_the_slider(page, home / "02.png")
    page = leave_a_training_and_come_back(page, tab, url, home, run)
    run_all(page, url, home, LATER[1])
    move_the_slider(page, home / "06.png")
    run_all(page, url, home, LATER[2])
    turn_the_scene(page, home / "07.png")
    assert {state.state for state in run.states().values()} == {"done"}, run.states()
    set_in_the_form(page)
    assert run.states()[LATER[2]].reason == "view.samples 1 -> 2"


def move_the_slider(page, shot: Path) -> None:
    """The picture beside the slider changes with it."""
    slider = scroll_to(page, ".widget-slider .noUi-handle")
    picture = page.locator(".widget-output img").first
    picture.wait_for(timeout=60_000)
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    page.wait_for_function("b => document.querySelector('.widget-output img')?.src !== b", arg=before, timeout=60_000)
    page.screenshot(path=str(shot))


def leave_a_training_and_come_back(page, tab, url: str, home: Path, run: Run):
    """A tab closed in the midst of a training, opened and run again: it attaches. The button saves and stops.

    Training is halted meanwhile, so that it cannot end too early. Returns the tab.
    """
    before_it = len(run.events("training_started"))  # of the smoke walk
    open_notebook(page, url, LATER[0])
    press_run_all(page)
    wait_for(page, lambda: len(run.metrics()) >= 2, "the first steps")
    halt(run, signal.SIGSTOP)
    page.wait_for_timeout(3000)  # the cell draws and waits
    page.close()
    page = tab()
    open_notebook(page, url, LATER[0])
    press_run_all(page)
    scroll_to(page, "text=attached to the training that runs")
    scroll_to(page, "button:has-text('Save and stop')")
    page.locator(".jp-OutputArea-output img").first.wait_for(timeout=60_000)
    page.screenshot(path=str(home / "05.png"))
    assert len(run.events("training_started")) == before_it + 1, "the training of the closed tab is the only one"
    page.click("button:has-text('Save and stop')")
    halt(run, signal.SIGCONT)
    wait_for(page, lambda: outcome(run) == "preempted", "the end of the training")
    assert recorded(home, LATER[0]) is None, "the cells below did not run"
    run_all(page, url, home, LATER[0])
    last = max(line["step"] for line in run.metrics())
    assert (last, len(run.events("training_started"))) == (12, before_it + 2)
    return page


def halt(run: Run, signum: int) -> None:
    """Halt the training process, or let it go on."""
    record = json.loads((run.folder / LATER[0] / "job.json").read_text())
    for worker in psutil.Process(record["pid"]).children(recursive=True):
        worker.send_signal(signum)


def outcome(run: Run) -> str | None:
    path = run.folder / LATER[0] / "outcome.json"
    return json.loads(path.read_text())["state"] if path.exists() else None


def turn_the_scene(page, shot: Path) -> None:
    """The browser draws the scene in space, and another picture once it is dragged."""
    frame = scroll_to(page, "iframe.pyvista")
    page.frame_locator("iframe.pyvista").locator("canvas").first.wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    first, box = frame.screenshot(), frame.bounding_box()
    assert plt.imread(io.BytesIO(first))[..., :3].std() > 0.02, "the canvas is not blank"
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 30, steps=5)
    page.mouse.up()
    page.wait_for_timeout(1500)
    page.screenshot(path=str(shot))
    assert frame.screenshot() != first


def set_in_the_form(page) -> None:
    """A value typed into the form holds for the run."""
    scroll_to(page, "button:has-text('Set for this run')")
    page.get_by_label("samples", exact=True).fill("2")
    page.get_by_label("samples", exact=True).press("Enter")
    page.click("button:has-text('Set for this run')")
    page.locator("text=set for this run: run this cell again").wait_for(timeout=30_000)
