import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from stepladder.view import render, web
from stepladder.view import scene as view
from stepladder.view.scene import Panel, Scene
from tests.view.conftest import PALETTE


@pytest.mark.parametrize("name", ["vtk", "matplotlib"])
def test_both_renderers_draw_what_is_there(scene, tmp_path, monkeypatch, name):
    if name == "vtk" and render.renderer() != "vtk":
        pytest.skip("VTK cannot render off screen on this machine")
    monkeypatch.setattr(render, "renderer", lambda: name)
    render.render(scene, tmp_path / "a.png", (300, 200))
    pixels = (plt.imread(tmp_path / "a.png")[..., :3] * 255).round()
    for colour in ("#c9803f", "#7a6a86"):
        want = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        hue = pixels / (np.linalg.norm(pixels, axis=-1, keepdims=True) + 1e-6)
        close = (hue @ (want / np.linalg.norm(want))) > 0.998
        assert close.sum() > 100, f"{name} drew no {colour}"


@pytest.mark.parametrize("name", ["vtk", "matplotlib"])
def test_a_panel_without_a_face_is_said_to_be_empty(scene, tmp_path, monkeypatch, name):
    if name == "vtk" and render.renderer() != "vtk":
        pytest.skip("no GL library here")
    monkeypatch.setattr(render, "renderer", lambda: name)
    nothing = view.voxels(np.zeros((3, 3, 3), np.uint8), PALETTE, 1.0, (0, 0, 0), 0)
    drawn = render.picture(Scene("Test", (*scene.panels, Panel("forecast", (nothing,)))))
    assert [text.get_text() for text in drawn.axes[1].texts] == ["nothing here"]
    web.save_html(Scene("Test", (Panel("forecast", (nothing,)),)), tmp_path / "empty.html")


def test_a_machine_without_gl_falls_back_and_says_so(monkeypatch):
    monkeypatch.setattr(render, "PROBE", "import os; os.abort()")
    render.renderer.cache_clear()
    assert render.renderer() == "matplotlib"
    render.renderer.cache_clear()
    monkeypatch.undo()


def test_a_flat_figure_is_drawn_as_it_is(tmp_path):
    flat = Figure()
    flat.subplots().plot([0, 1])
    assert render.picture(flat) is flat
    assert render.render(flat, tmp_path / "flat.png") == "matplotlib"
    assert web.checks(tmp_path)[0].ok
