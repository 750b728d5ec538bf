"""Three-dimensional scenes: one description, rendered to PNG headless and to a stand-alone HTML page.

Decisions:
- A `Scene` is panels of named items (meshes, voxels, lines, points) with categories: every face has a category id, a
  palette gives its name and colour, and the legend comes from what is really there. Units are on the axes.
- A mesh coloured by a quantity has a `Bar` instead: faces have one of its `SHADES`, told by a colour bar.
- `render` makes a PNG of it, `web` a page. Both frame it alike: `frame` is what the camera sees of a panel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Palette = Mapping[int, tuple[str, str]]  # category id -> (name, hex colour)
SHADES = 256  # of a colour bar


@dataclass(frozen=True)
class Bar:
    """A quantity from `low` to `high` told by a matplotlib colour map; `label` names it, with its unit."""

    label: str
    low: float
    high: float
    colours: str

    def shades(self, values: np.ndarray) -> np.ndarray:
        """The shade of every value, uint8 from 0 at `low` to 255 at `high`; values beyond take the nearest."""
        share = (np.asarray(values, dtype=np.float64) - self.low) / ((self.high - self.low) or 1.0)
        return np.clip(share * SHADES, 0, SHADES - 1).astype(np.uint8)

    def table(self) -> np.ndarray:
        """Colour of every shade, uint8 of shape (256, 3)."""
        from matplotlib import colormaps

        return colormaps[self.colours](np.linspace(0, 1, SHADES), bytes=True)[:, :3]


@dataclass(frozen=True)
class Mesh:
    """Triangles `faces_M3` over `points_N3`; `category_M` colours each face by the palette, or by the bar's shades."""

    points_N3: np.ndarray
    faces_M3: np.ndarray
    category_M: np.ndarray
    palette: Palette
    opacity: float = 1.0
    bar: Bar | None = None


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
        note: a sentence below the picture on how it is to be read; empty where nothing needs to be said.
    """

    title: str
    panels: tuple[Panel, ...]
    unit: str = "m"
    azimuth: float = -60.0
    elevation: float = 35.0
    columns: int = field(default=2)
    note: str = ""


class Frame(NamedTuple):
    """What a camera sees of a panel, along parallel rays: the middle of what is drawn, shape (3,), and its extent."""

    focus: np.ndarray
    width: float
    height: float
    depth: float


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


def _quad(axis: int, side: int) -> np.ndarray:
    """Corners of one face of the unit cube, shape (4, 3), counter-clockwise seen from outside."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    corners = np.zeros((4, 3), dtype=np.int64)
    corners[:, axis] = side
    corners[:, u] = [0, 1, 1, 0]
    corners[:, v] = [0, 0, 1, 1]
    return corners if side else corners[::-1]


def camera_direction(scene: Scene) -> np.ndarray:
    """Unit vector from the scene towards the camera, shape (3,)."""
    azimuth, elevation = np.radians([scene.azimuth, scene.elevation])
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def frame(scene: Scene, panel: Panel) -> Frame:
    """What the scene's camera sees of `panel`; up is the z axis, as far as the camera does not look along it."""
    toward = camera_direction(scene)
    right = np.cross([0.0, 0.0, 1.0], toward)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(toward, right), toward])
    seen = np.concatenate([points for item in panel.items for points in vertices(item)]) @ axes.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    return Frame((low + high) / 2 @ axes, *(high - low).tolist())


def face_colours(mesh: Mesh) -> np.ndarray:
    """Colour of every face, uint8 of shape (faces, 3)."""
    if mesh.bar:
        return mesh.bar.table()[mesh.category_M]
    table = np.zeros((256, 3), dtype=np.uint8)
    for category, (_, colour) in mesh.palette.items():
        table[category] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return table[mesh.category_M]


def drawn(panel: Panel) -> Panel:
    """The panel without meshes that have no face: a model may well predict nothing."""
    return Panel(panel.title, tuple(item for item in panel.items if isinstance(item, Lines) or len(item.faces_M3)))


def bars(scene: Scene) -> dict[Bar, list[int]]:
    """The colour bars of a scene, each with the places of the panels that it explains."""
    found: dict[Bar, list[int]] = {}
    for place, panel in enumerate(scene.panels):
        for bar in dict.fromkeys(item.bar for item in drawn(panel).items if isinstance(item, Mesh) and item.bar):
            found.setdefault(bar, []).append(place)
    return found


def vertices(item: Mesh | Lines) -> list[np.ndarray]:
    """Points of an item, arrays of shape (points, 3)."""
    return list(item.polylines) if isinstance(item, Lines) else [item.points_N3]
