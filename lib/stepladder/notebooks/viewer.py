"""A scene to turn with the mouse, inside a person's JupyterLab: pyvista's viewer, served by trame.

Decisions:
- The browser draws (`client`): the geometry is sent once, turning costs the kernel nothing, and a machine without GL
  libraries can show it.
- JupyterLab's own address leads to the viewer (`jupyter-server-proxy`): what reaches the notebook through a tunnel
  reaches the scene, no further port is opened to the network, and the server's token guards both.
- Nothing is loaded from outside this machine.
- trame comes with the extra `lab`; without it there is the picture and its page. It is never imported headless.
"""

import importlib.util
import os
from html import escape
from typing import Any

import numpy as np

from stepladder.view import render
from stepladder.view.scene import Scene, bars

SIZE = (960, 620)


def available() -> bool:
    """Whether trame is installed, what leads to it through JupyterLab, and what VTK needs."""
    installed = all(importlib.util.find_spec(name) for name in ("trame_pyvista", "jupyter_server_proxy"))
    return installed and render.renderer() == "vtk"


def key(scene: Scene) -> str:
    """What the viewer has no letters for, as HTML: the panels row by row, what colours mean, the scene's note."""
    said = [f"<b>{escape(scene.title)}</b>", "Row by row: " + escape("; ".join(panel.title for panel in scene.panels))]
    square = '<span style="background: {}; padding: 0 .6em; margin-right: .3em"></span>{}'
    said.append(" &nbsp; ".join(square.format(colour, escape(name)) for name, colour in render.legend(scene).items()))
    said += [f"{escape(bar.label)}: {bar.low:.3g} to {bar.high:.3g}" for bar in bars(scene)]
    return "<br>".join(filter(None, [*said, escape(scene.note)]))


async def live(scene: Scene) -> Any:
    """A widget that shows `scene`, all its panels; the first call starts the viewer's server."""
    from trame_pyvista.jupyter import show_trame

    await _serve()
    plotter = render.plotter(scene, SIZE)
    for renderer in plotter.renderers:
        _step_back(renderer.camera)
    plotter.link_views()
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/") + "proxy/"
    return show_trame(plotter, mode="client", server_proxy_enabled=True, server_proxy_prefix=prefix, collapse_menu=True)


async def _serve() -> None:
    """Start pyvista's server in this kernel, once.

    `trame_pyvista.jupyter.launch_server` would also prepare `trame_vtklocal`, which downloads a program.
    """
    import pyvista
    from trame.widgets import html, vtk, vuetify3
    from trame_pyvista.widgets import get_server

    server: Any = get_server(pyvista.global_theme.trame.jupyter_server_name)
    if server.running:
        return
    for widgets in (html, vtk, vuetify3):
        widgets.initialize(server)
    quiet = {"open_browser": False, "show_connection_info": False, "disable_logging": True}
    server.start(exec_mode="task", host="127.0.0.1", port=0, timeout=0, **quiet)
    await server.ready


def _step_back(camera: Any) -> None:
    """The browser draws in perspective only: stand where it shows what the parallel projection would."""
    focus, position = np.array(camera.focal_point), np.array(camera.position)
    depth = np.linalg.norm(position - focus)
    distance = camera.parallel_scale / np.tan(np.radians(camera.view_angle / 2)) + depth / 2
    camera.parallel_projection = False
    camera.position = focus + (position - focus) / depth * distance
