"""Scenes as pages: rotate, zoom, switch classes on and off in the legend.

Plotly with its script embedded: one file, no network. It is also the live viewer in JupyterLab; trame is never
imported.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from stepladder.core import files
from stepladder.core.types import Check
from stepladder.view.scene import Lines, Mesh, Scene, camera_direction

EXTERNAL = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?https?:", re.IGNORECASE)


def checks(folder: Path) -> list[Check]:
    """The gates of a folder of pictures: none is blank, every page stands alone."""
    pictures = sorted(folder.glob("*.png"))
    blank = [path.name for path in pictures if plt.imread(path)[..., :3].std() < 0.02]
    pages = sorted(folder.glob("*.html"))
    linked = [path.name for path in pages if EXTERNAL.search(path.read_text(encoding="utf-8"))]
    return [
        Check("pictures are not blank", bool(pictures) and not blank, ", ".join(blank) or f"{len(pictures)} pictures"),
        Check("scenes stand alone", not linked, ", ".join(linked) or f"{len(pages)} pages load nothing from outside"),
    ]


def save_html(scene: Scene, path: Path) -> None:
    """Write `scene` as one stand-alone HTML page: rotate, zoom, switch classes on and off."""
    with files.atomic(path) as temporary:
        figure(scene).write_html(temporary, include_plotlyjs=True, full_html=True, config={"displaylogo": False})


def figure(scene: Scene):
    """`scene` as a plotly figure (the live viewer in JupyterLab)."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    columns = min(scene.columns, len(scene.panels))
    rows = -(-len(scene.panels) // columns)
    specs = [[{"type": "scene"}] * columns] * rows
    titles = [panel.title for panel in scene.panels]
    page = make_subplots(
        rows, columns, specs=specs, subplot_titles=titles, horizontal_spacing=0.01, vertical_spacing=0.05
    )
    seen: set[str] = set()
    for number, panel in enumerate(scene.panels):
        for trace in (trace for item in panel.items for trace in _traces(item)):
            trace.update(legendgroup=trace.name, showlegend=trace.name not in seen)
            seen.add(trace.name)
            page.add_trace(trace, row=number // columns + 1, col=number % columns + 1)
    x, y, z = 1.7 * camera_direction(scene)
    unit = f" ({scene.unit})" if scene.unit else ""
    axes: dict[str, Any] = {f"{name}axis": {"title": f"{name}{unit}"} for name in "xyz"}
    page.update_scenes(aspectmode="data", camera={"eye": {"x": x, "y": y, "z": z}}, **axes)
    page.update_layout(
        title=scene.title, paper_bgcolor="#fbfaf7", margin={"l": 0, "r": 0, "t": 60, "b": 0}, height=420 * rows + 80
    )
    assert isinstance(page, go.Figure)
    return page


def _traces(item: Mesh | Lines) -> list:
    import plotly.graph_objects as go

    if isinstance(item, Lines):
        gap = np.full((1, 3), np.nan)
        x, y, z = np.concatenate([np.concatenate([line, gap]) for line in item.polylines]).astype(np.float32).T
        return [go.Scatter3d(x=x, y=y, z=z, mode="lines", name=item.name, line={"color": item.colour, "width": 4})]
    traces = []
    for category in np.unique(item.category_M):
        faces = item.faces_M3[item.category_M == category]
        used, local = np.unique(faces, return_inverse=True)
        x, y, z = item.points_N3[used].astype(np.float32).T
        i, j, k = local.reshape(-1, 3).astype(np.uint32).T
        name, colour = item.palette[int(category)]
        light = {"ambient": 0.6, "diffuse": 0.6, "specular": 0.0}
        look = {"color": colour, "opacity": item.opacity, "flatshading": True, "lighting": light}
        traces.append(go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, name=name, hoverinfo="name", **look))
    return traces
