"""The scene to turn: only in a person's JupyterLab, from JupyterLab's own address; elsewhere its picture."""

import asyncio
import socket
import subprocess
import sys

import numpy as np
import pytest

from stepladder.notebooks import lab, viewer
from stepladder.view import render
from stepladder.view.scene import Panel, Scene, voxels

PALETTE = {1: ("house", "#cc3333")}
HEADLESS = """
import asyncio, sys
from tests.notebooks.test_viewer import scene
from stepladder.notebooks import lab
asyncio.run(lab.StageContext.view(None, scene()))
print([name for name in sys.modules if name.startswith(("trame", "wslink"))])
"""


def scene(panels=1):
    cube = np.zeros((4, 4, 3), dtype=int)
    cube[1:3, 1:3, :2] = 1
    return Scene("a house", tuple(Panel(str(n), (voxels(cube, PALETTE, 1.0, (0, 0, 0), 0),)) for n in range(panels)))


@pytest.mark.slow
def test_headless_a_scene_is_a_picture_and_no_viewer_is_imported():
    said = subprocess.check_output([sys.executable, "-c", HEADLESS], text=True)
    assert said.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_in_jupyterlab_a_scene_can_be_turned_and_exported(monkeypatch):
    pytest.importorskip("trame_pyvista")
    if render.renderer() != "vtk":
        pytest.skip("VTK draws nothing on this machine")
    shown = []
    monkeypatch.setattr(lab, "interactive", lambda: True)
    monkeypatch.setattr(lab, "display", lambda data, **kwargs: shown.append(data))
    asyncio.run(lab.StageContext.view(None, scene(2)))
    told, seen = shown
    assert "a house" in told.data
    assert "application/vnd.jupyter.widget-view+json" in seen, "JupyterLab shows the richest: the viewer"
    assert seen["image/png"].startswith(b"\x89PNG"), "an export shows the picture"


@pytest.mark.slow
def test_the_viewer_is_reached_through_jupyterlab(monkeypatch):
    pytest.importorskip("trame_pyvista")
    if render.renderer() != "vtk":
        pytest.skip("VTK draws nothing on this machine")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *names, **kwargs: pytest.fail(f"looks for {names[0]}"))
    assert asyncio.run(viewer.live(scene())).src.startswith("/user/me/proxy/")
    assert "trame_vtklocal.module" not in sys.modules, "it downloads a program"


@pytest.mark.parametrize(("panels", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (4, (2, 2))])
def test_panels_stand_in_a_grid(panels, shape):
    if render.renderer() != "vtk":
        pytest.skip("VTK draws nothing on this machine")
    held = render.plotter(scene(panels), (200, 200))
    assert held.shape == shape
    held.close()


def test_beside_the_viewer_stands_what_its_panels_and_colours_are():
    two = scene(2)
    told = viewer.key(Scene("<a house>", tuple(Panel(f"<{p.title}>", p.items) for p in two.panels), note="cut & dried"))
    assert "Row by row: &lt;0&gt;; &lt;1&gt;" in told and "&lt;a house&gt;" in told and "cut &amp; dried" in told
    assert "background: #cc3333" in told and told.count("house") == 2  # title and colour
