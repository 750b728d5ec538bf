"""Pages of scenes: they stand alone, are small, say what they lack, and show in a browser what the picture shows."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from stepladder.view import render, web
from stepladder.view import scene as view
from stepladder.view.scene import Bar, Mesh, Panel, Scene
from stepladder.view.web import EXTERNAL, SCRIPT

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--enable-unsafe-swiftshader",
]
DRAWN = 60_000  # milliseconds a page may take on a busy machine
NEAR = 25  # of 255, by which a colour may differ through light


def content(page):
    """What a page draws: data, layout and frames."""
    packed = re.search('packed = "([^"]*)"', page.read_text()).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_a_page_names_every_class_and_loads_nothing_from_outside(scene, tmp_path):
    web.save_html(scene, tmp_path / "a.html")
    assert not EXTERNAL.search((tmp_path / "a.html").read_text())
    assert [trace["name"] for trace in content(tmp_path / "a.html")["data"]] == ["house", "road", "path"]


def test_pages_of_a_folder_share_one_script_and_are_the_same_every_time(scene, tmp_path):
    for name in "abc":
        web.save_html(scene, tmp_path / f"{name}.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html", "c.html", SCRIPT]
    assert len({(tmp_path / f"{name}.html").read_bytes() for name in "abc"}) == 1
    assert (tmp_path / "a.html").stat().st_size < 20_000
    assert web.checks(tmp_path)[1].ok


def test_a_page_without_its_script_fails_the_gate(scene, tmp_path):
    web.save_html(scene, tmp_path / "a.html")
    (tmp_path / SCRIPT).unlink()
    check = web.checks(tmp_path)[1]
    assert not check.ok and SCRIPT in check.reason


def test_words_of_a_scene_are_no_markup(scene, tmp_path):
    wicked = Scene("<script>alert(1)</script>", scene.panels, note="</script>$title & <b>")
    web.save_html(wicked, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "alert" in text and "<script>alert" not in text and "<b>" not in text


def test_a_blank_picture_fails_the_gate(tmp_path):
    plt.imsave(tmp_path / "blank.png", np.ones((10, 10, 3)))
    assert not web.checks(tmp_path)[0].ok
    assert not web.checks(tmp_path / "nothing")[0].ok


def test_a_page_that_loads_from_outside_fails_the_gate(tmp_path):
    (tmp_path / "a.html").write_text("<script src='https://somewhere/x.js'></script>")
    assert not web.checks(tmp_path)[1].ok


def test_values_have_one_colour_bar_below_the_panels_that_share_it():
    fields = Bar("u", -1.0, 3.0, "RdBu_r"), Bar("error", 0.0, 0.5, "Oranges")
    panels = [Panel(name, (slope(bar),)) for name, bar in zip("abc", (fields[0], *fields), strict=True)]
    scene = Scene("Test", tuple(panels), unit="", columns=3)
    layout = web.plotted.figure(scene).layout
    assert layout.coloraxis.colorbar.title.text == "u" and layout.coloraxis2.colorbar.title.text == "error"
    assert layout.coloraxis.colorbar.ticktext == ("-1", "0", "1", "2", "3")
    assert layout.coloraxis.colorbar.x == pytest.approx(1 / 3, abs=0.01)  # between the two panels that it explains
    picture = render.picture(scene, (300, 200))
    assert {axis.get_xlabel() for axis in picture.axes} >= {"u", "error"} and not picture.legends


def slope(bar):
    """Two triangles, the lower and the upper end of a bar."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], float)
    shades = bar.shades(np.array([bar.low, bar.high]))
    assert shades.tolist() == [0, 255]
    return Mesh(points, np.array([[0, 1, 2], [1, 3, 2]]), shades, {}, bar=bar)


def shown(page, shot, size, drawn=True):
    """A screenshot of a page opened from disk in Chromium, as soon as plotly has drawn it, and the text it says."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": size[0], "height": size[1]})
        opened.goto(page.as_uri())
        if drawn:
            opened.wait_for_function("document.querySelectorAll('canvas').length > 0", timeout=DRAWN)
            opened.wait_for_timeout(3000)
        opened.screenshot(path=str(shot))
        text = opened.inner_text("body")
        browser.close()
    return (plt.imread(shot)[..., :3] * 255).round(), text


def covered(pixels, colour):
    """Whether each pixel has the hue of `colour`, in light or shade."""
    want = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    hue = pixels / (np.linalg.norm(pixels, axis=-1, keepdims=True) + 1e-6)
    return (hue @ (want / np.linalg.norm(want))) > 0.998


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="no Chromium here")
@pytest.mark.parametrize("size", [(1300, 800), (500, 900)])
def test_the_browser_shows_all_of_the_scene_large_and_light(tmp_path, size):
    """The house fills most of its panel, is cut off nowhere, and its roof has the colour of the legend.

    Its faces are small, as those of a city: plotly leaves such faces without light unless it is told not to.
    """
    occ = np.zeros((96, 80, 40), np.uint8)
    occ[:, :, :8] = 2
    occ[16:48, 16:48, :32] = 1
    palette = {1: ("house", "#c9803f"), 2: ("road", "#7a6a86")}
    scene = Scene("Test", (Panel("truth", (view.voxels(occ, palette, 0.06, (0, 0, 0), 0),)),))
    web.save_html(scene, tmp_path / "a.html")
    pixels, _ = shown(tmp_path / "a.html", tmp_path / "a.png", size)
    drawn = covered(pixels, "#7a6a86") | covered(pixels, "#c9803f")
    drawn[:, int(0.85 * size[0]) :] = False  # the legend
    rows, columns = (np.flatnonzero(drawn.sum(axis=axis) > 3) for axis in (1, 0))
    assert rows[0] > 0 and rows[-1] < size[1] - 1 and columns[0] > 0
    share = max((rows[-1] - rows[0]) / size[1], (columns[-1] - columns[0]) / size[0])
    assert 0.6 < share < 0.98
    house = pixels[covered(pixels, "#c9803f") & drawn]
    assert (np.abs(house - [0xC9, 0x80, 0x3F]).max(axis=1) < NEAR).mean() > 0.3
    assert house.mean(axis=0)[0] > 0.7 * 0xC9


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="no Chromium here")
def test_a_page_for_jupyterlab_draws_without_a_neighbour(scene, tmp_path):
    """JupyterLab's server sandboxes pages, which keeps them from every file that asks for a login."""
    web.save_html(scene, tmp_path / "a.html", alone=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"] and web.checks(tmp_path)[1].ok
    pixels, text = shown(tmp_path / "a.html", tmp_path / "a.png", (600, 400))
    assert covered(pixels, "#c9803f").sum() > 100 and "cannot" not in text


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="no Chromium here")
def test_a_page_without_its_script_says_so(scene, tmp_path):
    web.save_html(scene, tmp_path / "a.html")
    (tmp_path / SCRIPT).unlink()
    _, text = shown(tmp_path / "a.html", tmp_path / "a.png", (600, 400), drawn=False)
    assert f"{SCRIPT} cannot be reached" in text


HEADLESS = """
import os, sys
import numpy as np
from stepladder.view import render
from stepladder.view.scene import Lines, Panel, Scene
render.render(Scene("a line", (Panel("one", (Lines((np.eye(3),), "path", "#d98e04"),)),)), sys.argv[1], (200, 150))
assert not [name for name in sys.modules if name.startswith("trame")]
assert os.environ.get("VTK_DEFAULT_OPENGL_WINDOW") or render.renderer() == "matplotlib"
"""


@pytest.mark.slow
def test_trame_is_never_imported(tmp_path):
    """In a process of its own: here another test may have opened a viewer."""
    subprocess.run([sys.executable, "-c", HEADLESS, str(tmp_path / "a.png")], check=True)
