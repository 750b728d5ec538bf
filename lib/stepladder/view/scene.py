"""Three-dimensional scenes: one description, rendered to PNG headless and to a stand-alone HTML page.

Decisions:
- A `Scene` is panels of named items (meshes, voxels, lines, points) with categories: every face has a category id, a
  palette gives its name and colour, and the legend comes from what is really there. Units are on the axes.
- PNG: VTK through pyvista, off screen. VTK can segfault where GL libraries are missing, so it is tried once in a child
  process; where that fails matplotlib draws instead and the caption says so. Titles, legend and scale are always
  matplotlib's, so pictures look alike whichever renderer drew them.
- HTML: plotly with its script embedded: one file, no network, classes switched on and off in the legend. It is also
  the live viewer in JupyterLab; trame is never imported.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepladder.core import files
from stepladder.core.study import Check

Palette = Mapping[int, tuple[str, str]]  # category id -> (name, hex colour)
EXTERNAL = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?https?:", re.IGNORECASE)
LEGEND_INCHES, SWATCH_INCHES, LETTER_INCHES = 1.6, 0.55, 0.07  # width of a legend's column at least; of its parts
MARGIN = 1.04  # of what is drawn, around it
FALLBACK_FACES = 120_000
PROBE = """
import pyvista
plotter = pyvista.Plotter(off_screen=True, window_size=(64, 64))
plotter.add_mesh(pyvista.Sphere(), color="red")
image = plotter.screenshot(return_img=True)
assert image.std() > 1
"""


@dataclass(frozen=True)
class Mesh:
    """Triangles `faces_M3` over `points_N3`; `category_M` colours each face by the palette."""

    points_N3: np.ndarray
    faces_M3: np.ndarray
    category_M: np.ndarray
    palette: Palette
    opacity: float = 1.0


@dataclass(frozen=True)
class Lines:
    """Polylines, each of shape (points, 3), in one colour under one name."""

    polylines: tuple[np.ndarray, ...]
    name: str
    colour: str = "#111827"
    width: float = 2.0


@dataclass(frozen=True)
class Panel:
    """One view of a scene: a title and what is drawn in it."""

    title: str
    items: tuple[Mesh | Lines, ...]


@dataclass(frozen=True)
class Scene:
    """Panels side by side, seen from the same camera.

    Attributes:
        title: shown above.
        panels: at least one.
        unit: unit of all coordinates; empty where they have none in common, as a surface lifted by values.
        azimuth, elevation: where the camera stands, in degrees (azimuth counter-clockwise from the x axis).
        columns: panels per row.
    """

    title: str
    panels: tuple[Panel, ...]
    unit: str = "m"
    azimuth: float = -60.0
    elevation: float = 35.0
    columns: int = field(default=2)


def voxels(occ_XYZ: np.ndarray, palette: Palette, size: float, origin: tuple[float, float, float], empty: int) -> Mesh:
    """The visible faces of labelled voxels as a mesh: a face shows where the voxel behind it is empty."""
    padded = np.pad(occ_XYZ, 1, constant_values=empty)
    quads, categories = [], []
    for axis in range(3):
        for side in (0, 1):
            neighbour = np.roll(padded, 1 if side == 0 else -1, axis=axis)[1:-1, 1:-1, 1:-1]
            cell_M3 = np.argwhere((occ_XYZ != empty) & (neighbour == empty))
            corner_43 = _quad(axis, side)
            quads.append(cell_M3[:, None, :] + corner_43)
            categories.append(occ_XYZ[tuple(cell_M3.T)])
    corners = np.concatenate(quads).reshape(-1, 3)
    points, inverse = np.unique(corners, axis=0, return_inverse=True)
    quad_M4 = inverse.reshape(-1, 4)
    faces = np.concatenate([quad_M4[:, [0, 1, 2]], quad_M4[:, [0, 2, 3]]])
    category = np.concatenate(categories)
    return Mesh(points * size + np.asarray(origin), faces, np.concatenate([category, category]), palette)


def render(scene: Scene | Figure, path: Path, size: Sequence[int] = (1000, 700)) -> str:
    """Draw `scene` to a PNG at `path`, each panel about `size` pixels; the name of the renderer that drew it."""
    drawn = picture(scene, size)
    with files.atomic(path) as temporary:
        drawn.savefig(temporary, format="png")
    plt.close(drawn)
    return "matplotlib" if isinstance(scene, Figure) else renderer()


def picture(scene: Scene | Figure, size: Sequence[int] = (1000, 700)) -> Figure:
    """`scene` as a matplotlib figure: panels, titles with extents, a legend of what is drawn; a figure as it is."""
    if isinstance(scene, Figure):
        return scene
    columns = min(scene.columns, len(scene.panels))
    rows = -(-len(scene.panels) // columns)
    width, height = size[0] / 100, size[1] / 100
    scale = 1.0 if columns == 1 else 0.75
    figure = plt.figure(figsize=(width * columns * scale, height * rows * scale + 0.7), dpi=100)
    name = renderer()
    for number, panel in enumerate(map(_drawn, scene.panels), 1):
        if not panel.items:
            axis = figure.add_subplot(rows, columns, number)
            axis.text(0.5, 0.5, "nothing here", ha="center", color="#6b7280")
            axis.axis("off")
        elif name == "vtk":
            axis = figure.add_subplot(rows, columns, number)
            axis.imshow(_vtk(scene, panel, size), interpolation="antialiased")
            axis.axis("off")
        else:
            axis = figure.add_subplot(rows, columns, number, projection="3d")
            _matplotlib(scene, panel, axis)
        axis.set_title(f"{panel.title}  ({_extent(panel, scene.unit)})" if scene.unit else panel.title)
    figure.suptitle(scene.title, x=0.01, ha="left", fontsize=12)
    swatch = {"edgecolor": "#b8b5ad", "linewidth": 0.4}
    handles = [Patch(facecolor=colour, label=label, **swatch) for label, colour in _legend(scene).items()]
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    wide = max(LEGEND_INCHES, SWATCH_INCHES + LETTER_INCHES * longest)
    columns_of_legend = max(1, min(len(handles), int(figure.get_figwidth() / wide)))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns_of_legend)
    return figure


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
    x, y, z = 1.7 * _direction(scene)
    axes = {f"{name}axis": {"title": f"{name} ({scene.unit})" if scene.unit else name} for name in "xyz"}
    page.update_scenes(aspectmode="data", camera={"eye": {"x": x, "y": y, "z": z}}, **axes)
    page.update_layout(
        title=scene.title, paper_bgcolor="#fbfaf7", margin={"l": 0, "r": 0, "t": 60, "b": 0}, height=420 * rows + 80
    )
    assert isinstance(page, go.Figure)
    return page


@functools.cache
def renderer() -> str:
    """`vtk` where an off-screen picture comes out of a child process, else `matplotlib`.

    VTK's windows without a screen are tried in turn (EGL, then OSMesa); the one that works is kept in the environment,
    because VTK left to choose first looks for an X server and complains on standard error.
    """
    for window in ("vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow"):
        environment = {**os.environ, "VTK_DEFAULT_OPENGL_WINDOW": window}
        try:
            done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=60, env=environment)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = window
            return "vtk"
    return "matplotlib"


def _drawn(panel: Panel) -> Panel:
    """The panel without meshes that have no face: a model may well predict nothing."""
    return Panel(panel.title, tuple(item for item in panel.items if isinstance(item, Lines) or len(item.faces_M3)))


def _quad(axis: int, side: int) -> np.ndarray:
    """Corners of one face of the unit cube, shape (4, 3), counter-clockwise seen from outside."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    corners = np.zeros((4, 3), dtype=np.int64)
    corners[:, axis] = side
    corners[:, u] = [0, 1, 1, 0]
    corners[:, v] = [0, 0, 1, 1]
    return corners if side else corners[::-1]


def _vtk(scene: Scene, panel: Panel, size: tuple[int, int]) -> np.ndarray:
    import pyvista

    plotter = pyvista.Plotter(off_screen=True, window_size=size, lighting="light kit")
    plotter.set_background("#fbfaf7")
    for item in panel.items:
        if isinstance(item, Lines):
            for polyline in item.polylines:
                plotter.add_mesh(pyvista.lines_from_points(polyline), color=item.colour, line_width=item.width + 1)
            continue
        mesh = pyvista.PolyData.from_regular_faces(item.points_N3.astype(np.float32), item.faces_M3)
        mesh.cell_data["rgb"] = _colours(item)
        plotter.add_mesh(mesh, scalars="rgb", rgb=True, opacity=item.opacity, ambient=0.25, diffuse=0.8, specular=0.0)
    plotter.enable_anti_aliasing("ssaa")
    _fit(plotter, scene, panel, size)
    image = plotter.screenshot(return_img=True)
    plotter.close()
    return image


def _fit(plotter, scene: Scene, panel: Panel, size: Sequence[int]) -> None:
    """Parallel projection along the scene's direction that just holds everything, whatever its shape."""
    toward = _direction(scene)
    right = np.cross([0.0, 0.0, 1.0], toward)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(toward, right), toward])
    seen = np.concatenate([points for item in panel.items for points in _points(item)]) @ frame.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    focus, extent = (low + high) / 2 @ frame, high - low
    camera = plotter.camera
    camera.parallel_projection = True
    camera.focal_point, camera.position, camera.up = focus, focus + toward * (np.linalg.norm(extent) + 1), (0, 0, 1)
    camera.parallel_scale = MARGIN / 2 * max(extent[1], extent[0] * size[1] / size[0])
    plotter.renderer.ResetCameraClippingRange()


def _matplotlib(scene: Scene, panel: Panel, axis) -> None:
    """Painter's algorithm for machines without GL: faces turned to the camera, thinned to what matplotlib can sort."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    points = np.concatenate([p for item in panel.items for p in _points(item)])
    for item in panel.items:
        if isinstance(item, Lines):
            for polyline in item.polylines:
                axis.plot(*polyline.T, color=item.colour, linewidth=item.width / 2)
            continue
        corners = item.points_N3[item.faces_M3]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        kept = np.flatnonzero(normal @ _direction(scene) > 0)
        kept = kept[:: -(-len(kept) // FALLBACK_FACES) or 1]
        corners, normal = corners[kept], normal[kept]
        shade = 0.6 + 0.4 * np.abs(normal @ np.array([0.3, 0.5, 0.8]))
        colour = _colours(item)[kept] / 255 * shade[:, None]
        colour = np.clip(colour, 0, 1)
        axis.add_collection3d(Poly3DCollection(corners, facecolors=colour, edgecolors=colour, linewidths=0.4))
    low, high = points.min(axis=0), points.max(axis=0)
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2] + 1e-6))
    axis.set_box_aspect(np.maximum(high - low, 1e-3 * (high - low).max()))
    axis.view_init(elev=scene.elevation, azim=scene.azimuth)
    axis.axis("off")


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


def _direction(scene: Scene) -> np.ndarray:
    azimuth, elevation = np.radians([scene.azimuth, scene.elevation])
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def _colours(mesh: Mesh) -> np.ndarray:
    """Colour of every face, uint8 of shape (faces, 3)."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for category, (_, colour) in mesh.palette.items():
        table[category] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return table[mesh.category_M]


def _legend(scene: Scene) -> dict[str, str]:
    """Name -> colour of everything that is really drawn."""
    entries: dict[str, str] = {}
    for item in (item for panel in scene.panels for item in panel.items):
        if isinstance(item, Lines):
            entries[item.name] = item.colour
        else:
            entries |= dict(item.palette[int(category)] for category in np.unique(item.category_M))
    return entries


def _points(item: Mesh | Lines) -> list[np.ndarray]:
    return list(item.polylines) if isinstance(item, Lines) else [item.points_N3]


def _extent(panel: Panel, unit: str) -> str:
    """`80 x 80 x 6 m` of a panel."""
    points = np.concatenate([p for item in panel.items for p in _points(item)] or [np.zeros((1, 3))])
    return " x ".join(f"{value:.0f}" for value in np.ptp(points, axis=0)) + f" {unit}"
