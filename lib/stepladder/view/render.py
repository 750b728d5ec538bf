"""Scenes as pictures: rendered headless, with titles, legend and scale.

VTK through pyvista, off screen. VTK can segfault where GL libraries are missing, so it is tried once in a child
process; where that fails matplotlib draws instead and the caption says so. Titles, legend and scale are always
matplotlib's, so pictures look alike whichever renderer drew them.
"""

import functools
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepladder.core import files
from stepladder.view.scene import Lines, Panel, Scene, bars, camera_direction, drawn, face_colours, frame, vertices
from stepladder.view.style import MUTED, PAPER, RIVAL

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
    places = [(rows, columns, number) for number in range(1, len(scene.panels) + 1)]
    axes = [_draw(figure, place, scene, drawn(panel), size) for place, panel in zip(places, scene.panels, strict=True)]
    _colour_bars(figure, axes, scene)
    figure.suptitle(scene.title, x=0.01, ha="left", fontsize=12)
    _add_legend(figure, legend(scene), scene.note)
    return figure


def _draw(figure: Figure, place: tuple[int, int, int], scene: Scene, panel: Panel, size: Sequence[int]) -> Axes:
    """One panel at its place, under its title and extent."""
    flat = not panel.items or renderer() == "vtk"
    axis: Any = figure.add_subplot(*place, projection=None if flat else "3d")
    axis.axis("off")
    if not panel.items:
        axis.text(0.5, 0.5, "nothing here", ha="center", color=MUTED)
    elif flat:
        axis.imshow(_vtk(scene, panel, size), interpolation="antialiased")
    else:
        _matplotlib(scene, panel, axis)
    axis.set_title(f"{panel.title}  ({_extent(panel, scene.unit)})" if scene.unit else panel.title)
    return axis


def _colour_bars(figure: Figure, axes: Sequence[Axes], scene: Scene) -> None:
    """A bar below the panels it explains."""
    for bar, places in bars(scene).items():
        shades = ScalarMappable(Normalize(bar.low, bar.high), bar.colours)
        own = [axes[place] for place in places]
        figure.colorbar(
            shades, ax=own, location="bottom", label=bar.label, fraction=0.06, pad=0.03, aspect=40, shrink=0.6
        )


def _add_legend(figure: Figure, entries: Mapping[str, str], note: str) -> None:
    """What is drawn in which colour, in as many columns as the figure is wide; above it the note."""
    swatch = {"edgecolor": RIVAL, "linewidth": 0.4}
    handles = [Patch(facecolor=colour, label=label, **swatch) for label, colour in entries.items()]
    wide = max([LEGEND_INCHES, *(SWATCH_INCHES + LETTER_INCHES * len(label) for label in entries)])
    columns = max(1, min(len(handles), int(figure.get_figwidth() / wide)))
    words = textwrap.fill(note, int(figure.get_figwidth() / LETTER_INCHES))
    look = {"title": words, "title_fontsize": 8, "alignment": "left", "loc": "outside lower left"}
    if handles or note:
        figure.legend(handles=handles, ncols=columns, **look)


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


def plotter(scene: Scene, size: Sequence[int], panels: Sequence[Panel] = ()) -> Any:
    """A pyvista plotter that holds `panels` of the scene (all of them where none are named) as a grid, framed."""
    import pyvista

    shown = [panel for panel in map(drawn, panels or scene.panels) if panel.items]
    columns = max(1, min(scene.columns, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    look: dict[str, Any] = {"shape": (rows, columns), "border": False, "lighting": "light kit"}
    held: Any = pyvista.Plotter(off_screen=True, window_size=list(size), **look)
    for number, panel in enumerate(shown):
        held.subplot(*divmod(number, columns))
        _fill(held, panel)
        _fit(held, scene, panel, (size[0] // columns, size[1] // rows))
    return held


def _vtk(scene: Scene, panel: Panel, size: Sequence[int]) -> np.ndarray:
    held = plotter(scene, size, [panel])
    held.enable_anti_aliasing("ssaa")
    image = held.screenshot(return_img=True)
    held.close()
    return image


def _fill(plotter: Any, panel: Panel) -> None:
    """The items of a panel in the plotter's present subplot."""
    import pyvista

    plotter.set_background(PAPER)
    for item in panel.items:
        if isinstance(item, Lines):
            for polyline in item.polylines:
                plotter.add_mesh(pyvista.lines_from_points(polyline), color=item.colour, line_width=item.width + 1)
            continue
        mesh = pyvista.PolyData.from_regular_faces(item.points_N3.astype(np.float32), item.faces_M3)
        mesh.cell_data["rgb"] = face_colours(item)
        plotter.add_mesh(mesh, scalars="rgb", rgb=True, opacity=item.opacity, ambient=0.25, diffuse=0.8, specular=0.0)


def _fit(plotter, scene: Scene, panel: Panel, size: Sequence[int]) -> None:
    """Parallel projection along the scene's direction that just holds everything, whatever its shape."""
    seen, toward = frame(scene, panel), camera_direction(scene)
    camera = plotter.camera
    camera.parallel_projection = True
    away = toward * (np.linalg.norm(seen[1:]) + 1)
    camera.focal_point, camera.position, camera.up = seen.focus, seen.focus + away, (0, 0, 1)
    camera.parallel_scale = MARGIN / 2 * max(seen.height, seen.width * size[1] / size[0])
    plotter.renderer.ResetCameraClippingRange()


def _matplotlib(scene: Scene, panel: Panel, axis) -> None:
    """Painter's algorithm for machines without GL: faces turned to the camera, thinned to what matplotlib can sort."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    points = np.concatenate([p for item in panel.items for p in vertices(item)])
    for item in panel.items:
        if isinstance(item, Lines):
            for polyline in item.polylines:
                axis.plot(*polyline.T, color=item.colour, linewidth=item.width / 2)
            continue
        corners = item.points_N3[item.faces_M3]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        kept = np.flatnonzero(normal @ camera_direction(scene) > 0)
        kept = kept[:: -(-len(kept) // FALLBACK_FACES) or 1]
        corners, normal = corners[kept], normal[kept]
        shade = 0.6 + 0.4 * np.abs(normal @ np.array([0.3, 0.5, 0.8]))
        colour = face_colours(item)[kept] / 255 * shade[:, None]
        colour = np.clip(colour, 0, 1)
        axis.add_collection3d(Poly3DCollection(corners, facecolors=colour, edgecolors=colour, linewidths=0.4))
    low, high = points.min(axis=0), points.max(axis=0)
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2] + 1e-6))
    axis.set_box_aspect(np.maximum(high - low, 1e-3 * (high - low).max()))
    axis.view_init(elev=scene.elevation, azim=scene.azimuth)
    axis.axis("off")


def legend(scene: Scene) -> dict[str, str]:
    """Name -> colour of everything that is really drawn."""
    entries: dict[str, str] = {}
    for item in (item for panel in scene.panels for item in panel.items):
        if isinstance(item, Lines):
            entries[item.name] = item.colour
        elif not item.bar:
            entries |= dict(item.palette[int(category)] for category in np.unique(item.category_M))
    return entries


def _extent(panel: Panel, unit: str) -> str:
    """`80 x 80 x 6 m` of a panel."""
    points = np.concatenate([p for item in panel.items for p in vertices(item)] or [np.zeros((1, 3))])
    return " x ".join(f"{value:.0f}" for value in np.ptp(points, axis=0)) + f" {unit}"
