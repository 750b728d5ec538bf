"""Scenes as plotly figures, for pages.

Decisions:
- Rays are parallel, and each panel's box is given, so that `page.html` can frame it (see `frames`).
- The light falls from where the camera first stands, and what it does not reach is only a little darker: no side that
  is seen lies in the dark.
- A scene whose axes have no unit in common, such as a surface lifted by values, has no axes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from stepladder.view.scene import SHADES, Bar, Lines, Mesh, Panel, Scene, bars, camera_direction, drawn, frame, vertices
from stepladder.view.style import MUTED, PAPER

PAD = 0.01  # around what is drawn, as a share of its longest side
GAP = 0.01  # between panels, as a share of the page
STEPS = 8192  # places along the longest side of a mesh
LINE = "#e5e2da"
AXIS_TICKS = 6  # numbers of the longest axis
BAR_PIXELS, BAR_TICKS = 64, 5  # height of a colour bar with its label, and its numbers
SWATCH_PIXELS, LETTER_PIXELS = 56, 7  # width of a legend's parts
FAR, UPWARDS = 1e5, np.array([0.0, 0.0, 0.3])  # of the light, in plotly's units; how far it is raised
LIGHT = {"ambient": 0.55, "diffuse": 0.5, "specular": 0.0, "roughness": 1.0, "fresnel": 0.0}
SMALL = {"facenormalsepsilon": 0.0, "vertexnormalsepsilon": 0.0}  # plotly's own leave small faces without light


def figure(scene: Scene) -> Any:
    """`scene` as a plotly figure; the page that shows it frames its panels by `frames`."""
    from plotly.subplots import make_subplots

    rows, columns = shape(scene)
    specs = [[{"type": "scene"}] * columns] * rows
    titles = [panel.title if drawn(panel).items else f"{panel.title}: nothing here" for panel in scene.panels]
    page: Any = make_subplots(
        rows, columns, specs=specs, subplot_titles=titles, horizontal_spacing=GAP, vertical_spacing=4 * GAP
    )
    scales = {bar: _numbered("coloraxis", number) for number, bar in enumerate(bars(scene))}
    named: set[Any] = {None}
    for number, panel in enumerate(scene.panels):
        for trace in (trace for item in drawn(panel).items for trace in _traces(item, scene, scales)):
            trace.update(showlegend=trace.name not in named, legendgroup=trace.name)
            trace.update(scene=_numbered("scene", number))
            named.add(trace.name)
            page.add_trace(trace)
        page.update_layout({_numbered("scene", number): _space(scene, panel)})
    for bar, places in bars(scene).items():
        domains = [page.layout[_numbered("scene", place)].domain.x for place in places]
        page.update_layout({scales[bar]: _colour_axis(bar, min(domains)[0], max(domains)[1])})
    page.update_layout(
        template="none",
        paper_bgcolor=PAPER,
        margin={"l": 8, "r": 8 + _legend_pixels(named), "t": 32, "b": BAR_PIXELS if scales else 8, "autoexpand": False},
        legend={"itemsizing": "constant"},
    )
    return page


def _legend_pixels(names: set[Any]) -> int:
    """Width of a legend of these names, 0 of none."""
    return max((SWATCH_PIXELS + LETTER_PIXELS * len(name) for name in names if name), default=0)


def shape(scene: Scene) -> tuple[int, int]:
    """Rows and columns of panels."""
    columns = min(scene.columns, len(scene.panels))
    return -(-len(scene.panels) // columns), columns


def frames(scene: Scene) -> list[dict[str, Any]]:
    """Of every panel that is not empty: sides of its box, the middle of what is seen from the box's, and its extent."""
    toward, framed = camera_direction(scene).tolist(), []
    for number, panel in enumerate(map(drawn, scene.panels)):
        if panel.items:
            (low, high), seen = _box(panel), frame(scene, panel)
            sides, focus = (high - low).tolist(), (seen.focus - (low + high) / 2).tolist()
            place = {"scene": _numbered("scene", number), "sides": sides, "focus": focus, "toward": toward}
            framed.append({**place, "width": seen.width, "height": seen.height})
    return framed


def _numbered(name: str, number: int) -> str:
    """Plotly's name of the number-th of its kind: `scene`, `scene2`, and so on."""
    return f"{name}{number + 1}" if number else name


def _box(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """The corners of a box around what is drawn, with some air, so that even a plane has a height."""
    points = np.concatenate([points for item in panel.items for points in vertices(item)])
    low, high = points.min(axis=0), points.max(axis=0)
    pad = PAD * (float((high - low).max()) or 1.0)
    return low - pad, high + pad


def _space(scene: Scene, panel: Panel) -> dict[str, Any]:
    """Axes and camera of a panel."""
    shown = drawn(panel)
    ends_32 = np.stack(_box(shown), axis=1) if shown.items else np.array([[0.0, 1.0]] * 3)
    look = {"visible": bool(scene.unit and shown.items), "showbackground": False, "gridcolor": LINE, "zeroline": False}
    ticks = (
        (AXIS_TICKS * np.ptp(ends_32, axis=1) / np.ptp(ends_32, axis=1).max()).round().clip(2)
    )  # a short side has room for few
    axes = {
        f"{name}axis": {
            **look,
            "range": ends.tolist(),
            "nticks": int(count),
            "title": {"text": f"{name} ({scene.unit})"},
        }
        for name, ends, count in zip("xyz", ends_32, ticks, strict=True)
    }
    return {"aspectmode": "manual", "camera": {"projection": {"type": "orthographic"}}, **axes}


def _colour_axis(bar: Bar, left: float, right: float) -> dict[str, Any]:
    """A colour bar in the middle below `left` to `right`, shares of the page's width."""
    table = [[place / (SHADES - 1), f"rgb({r}, {g}, {b})"] for place, (r, g, b) in enumerate(bar.table())]
    ticks = np.linspace(0, SHADES, BAR_TICKS)
    values = bar.low + ticks / SHADES * (bar.high - bar.low)
    told = {"tickvals": ticks.tolist(), "ticktext": [f"{value:.3g}" for value in values]}
    place = {"orientation": "h", "x": (left + right) / 2, "y": 0, "yanchor": "top", "len": 0.6 * (right - left)}
    title = {"text": bar.label, "side": "bottom", "font": {"color": MUTED}}
    colourbar = {**told, **place, "title": title, "thickness": 12, "outlinewidth": 0}
    return {"cmin": 0, "cmax": SHADES, "colorscale": table, "colorbar": colourbar}


def _traces(item: Mesh | Lines, scene: Scene, scales: dict[Bar, str]) -> Iterator[Any]:
    """A trace for lines, one for a mesh with a colour bar, one for every category of any other mesh."""
    import plotly.graph_objects as go

    # Away from the camera: plotly's normals point away from who looks.
    light = dict(zip("xyz", (-FAR * (camera_direction(scene) + UPWARDS)).tolist(), strict=True))
    lit = {"flatshading": True, "lighting": LIGHT | SMALL, "lightposition": light}
    if isinstance(item, Lines):
        gap = np.full((1, 3), np.nan)
        x, y, z = np.concatenate([np.concatenate([line, gap]) for line in item.polylines]).astype(np.float32).T
        yield go.Scatter3d(
            x=x, y=y, z=z, mode="lines", name=item.name, line={"color": item.colour, "width": item.width + 1}
        )
    elif item.bar:
        shade = {"intensity": item.category_M, "intensitymode": "cell", "coloraxis": scales[item.bar]}
        yield go.Mesh3d(**_triangles(item, item.category_M == item.category_M), **shade, **lit, hoverinfo="skip")
    else:
        for category in np.unique(item.category_M):
            name, colour = item.palette[int(category)]
            look = {"color": colour, "name": name, "hoverinfo": "name", "opacity": item.opacity}
            yield go.Mesh3d(**_triangles(item, item.category_M == category), **look, **lit)


def _triangles(item: Mesh, kept_M: np.ndarray) -> dict[str, np.ndarray]:
    """The faces `kept_M` of a mesh, with the points that they use."""
    used, local = np.unique(item.faces_M3[kept_M], return_inverse=True)
    points, corners = _rounded(item.points_N3[used]), local.reshape(-1, 3).astype(np.uint32)
    return {**dict(zip("xyz", points.T, strict=True)), **dict(zip("ijk", corners.T, strict=True))}


def _rounded(points_N3: np.ndarray) -> np.ndarray:
    """Points in steps of a power of two, fine beyond any screen: they pack better then."""
    step = 2.0 ** np.floor(np.log2(max(float(np.ptp(points_N3, axis=0).max()), 1e-9) / STEPS))
    return (np.round(points_N3 / step) * step).astype(np.float32)
