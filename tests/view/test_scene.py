import os
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from stepladder.view import scene as view
from stepladder.view.scene import Lines, Panel, Scene

PALETTE = {1: ("house", "#c9803f"), 2: ("road", "#7a6a86")}


@pytest.fixture
def scene():
    occ = np.zeros((12, 10, 5), np.uint8)
    occ[:, :, 0] = 2
    occ[2:6, 2:6, :4] = 1
    path = Lines((np.array([[0.0, 0, 3], [10, 8, 3]]),), "path", "#d98e04")
    return Scene("Test", (Panel("truth", (view.voxels(occ, PALETTE, 0.5, (0, 0, 0), 0), path)),))


def test_one_voxel_has_six_faces_and_two_touching_ones_ten():
    occ = np.zeros((3, 3, 3), np.uint8)
    occ[1, 1, 1] = 1
    assert len(view.voxels(occ, PALETTE, 1.0, (0, 0, 0), 0).faces_M3) == 12
    occ[1, 1, 2] = 1
    assert len(view.voxels(occ, PALETTE, 1.0, (0, 0, 0), 0).faces_M3) == 20


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**30))
def test_the_surface_of_voxels_is_closed_and_encloses_their_volume(seed):
    occ = (np.random.default_rng(seed).random((4, 4, 4)) < 0.4).astype(np.uint8)
    mesh = view.voxels(occ, PALETTE, 1.0, (0, 0, 0), 0)
    a, b, c = (mesh.points_N3[mesh.faces_M3[:, i]] for i in range(3))
    assert np.isclose(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6, occ.sum())  # divergence theorem


@pytest.mark.parametrize("name", ["vtk", "matplotlib"])
def test_both_renderers_draw_what_is_there(scene, tmp_path, monkeypatch, name):
    if name == "vtk" and view.renderer() != "vtk":
        pytest.skip("VTK cannot render off screen on this machine")
    monkeypatch.setattr(view, "renderer", lambda: name)
    view.render(scene, tmp_path / "a.png", (300, 200))
    pixels = (plt.imread(tmp_path / "a.png")[..., :3] * 255).round()
    for colour in ("#c9803f", "#7a6a86"):
        want = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        hue = pixels / (np.linalg.norm(pixels, axis=-1, keepdims=True) + 1e-6)
        close = (hue @ (want / np.linalg.norm(want))) > 0.998
        assert close.sum() > 100, f"{name} drew no {colour}"


@pytest.mark.parametrize("name", ["vtk", "matplotlib"])
def test_a_panel_without_a_face_is_said_to_be_empty(scene, tmp_path, monkeypatch, name):
    if name == "vtk" and view.renderer() != "vtk":
        pytest.skip("no GL library here")
    monkeypatch.setattr(view, "renderer", lambda: name)
    nothing = view.voxels(np.zeros((3, 3, 3), np.uint8), PALETTE, 1.0, (0, 0, 0), 0)
    drawn = view.picture(Scene("Test", (*scene.panels, Panel("forecast", (nothing,)))))
    assert [text.get_text() for text in drawn.axes[1].texts] == ["nothing here"]
    view.save_html(Scene("Test", (Panel("forecast", (nothing,)),)), tmp_path / "empty.html")


def test_a_machine_without_gl_falls_back_and_says_so(monkeypatch):
    monkeypatch.setattr(view, "PROBE", "import os; os.abort()")
    view.renderer.cache_clear()
    assert view.renderer() == "matplotlib"
    view.renderer.cache_clear()
    monkeypatch.undo()


def test_the_html_page_stands_alone_and_names_every_class(scene, tmp_path):
    view.save_html(scene, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert not view.EXTERNAL.search(text)
    assert all(re.search(f'"name":"{name}"', text) for name in ("house", "road", "path"))


def test_a_flat_figure_is_drawn_as_it_is(tmp_path):
    flat = Figure()
    flat.subplots().plot([0, 1])
    assert view.picture(flat) is flat
    assert view.render(flat, tmp_path / "flat.png") == "matplotlib"
    assert view.checks(tmp_path)[0].ok


def test_a_blank_picture_fails_the_gate(tmp_path):
    plt.imsave(tmp_path / "blank.png", np.ones((10, 10, 3)))
    assert not view.checks(tmp_path)[0].ok
    assert not view.checks(tmp_path / "nothing")[0].ok


def test_a_page_that_loads_from_outside_fails_the_gate(tmp_path):
    (tmp_path / "a.html").write_text("<script src='https://somewhere/x.js'></script>")
    assert not view.checks(tmp_path)[1].ok


def test_trame_is_never_imported(scene, tmp_path):
    import sys

    view.render(scene, tmp_path / "a.png", (200, 150))
    assert not [name for name in sys.modules if name.startswith("trame")]
    assert os.environ.get("VTK_DEFAULT_OPENGL_WINDOW") or view.renderer() == "matplotlib"
