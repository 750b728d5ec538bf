"""Three-dimensional scenes: one description, rendered to PNG headless and to a stand-alone HTML page.

Decisions:
- A `Scene` is panels of named items (meshes, voxels, lines, points) with categories: every face has a category id, a
  palette gives its name and colour, and the legend comes from what is really there. Units are on the axes.
- `render` makes a PNG of it, `web` a page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Palette = Mapping[int, tuple[str, str]]  # category id -> (name, hex colour)


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


def face_colours(mesh: Mesh) -> np.ndarray:
    """Colour of every face, uint8 of shape (faces, 3)."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for category, (_, colour) in mesh.palette.items():
        table[category] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return table[mesh.category_M]


def vertices(item: Mesh | Lines) -> list[np.ndarray]:
    """Points of an item, arrays of shape (points, 3)."""
    return list(item.polylines) if isinstance(item, Lines) else [item.points_N3]
