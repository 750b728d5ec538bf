"""Heights of everything in a scene, and what of it lies in the shadow of what."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stepladder.studies.roofs.data.synthesis.envelope import Face
from stepladder.studies.roofs.data.synthesis.plans import Building
from stepladder.studies.roofs.data.synthesis.raster import Canvas, noise
from stepladder.studies.roofs.data.synthesis.site import Site
from stepladder.studies.roofs.data.synthesis.trees import Tree

SOFT = 0.25  # metres above a surface at which a ray is wholly blocked: the sun is no point, and edges are pixels


@dataclass(frozen=True)
class Sun:
    """Compass bearing it stands at and height above the horizon, degrees."""

    bearing: float
    elevation: float

    @cached_property
    def towards_3(self) -> np.ndarray:
        """Unit vector to the sun: x east, y south, z up."""
        bearing, elevation = np.radians([self.bearing, self.elevation])
        level = np.cos(elevation)
        return np.array([level * np.sin(bearing), -level * np.cos(bearing), np.sin(elevation)])


@dataclass(frozen=True, eq=False)
class Surface:
    """What is seen of a site, padding included.

    Attributes:
        bare_YX: metres above the ground without trees and without what stands on roofs.
        height_YX: metres above the ground of what is seen.
        face_YX: place of the face in `faces`, -1 where there is no roof; trees are looked through.
        tree_YX: place of the tree, -1 where none hides what is below.
        faces: all faces of all houses; `owner_F` is the house of each.
    """

    bare_YX: np.ndarray
    height_YX: np.ndarray
    face_YX: np.ndarray
    tree_YX: np.ndarray
    faces: list[Face]
    owner_F: np.ndarray


def surface(rng: np.random.Generator, site: Site, canvas: Canvas) -> Surface:
    """Heights of a site on a canvas."""
    height_YX = np.zeros(canvas.shape, np.float32)
    for patch in site.patches:
        if patch.height > 0:
            window, inside = canvas.fill(patch.polygon)
            height_YX[window][inside] = patch.height
    faces, owner_F, face_YX = roofs(site.houses, canvas)
    roof_YX = face_YX >= 0
    plane_F3 = np.array([face.plane_3 for face in faces])
    x_1X, y_Y1 = canvas.metres((slice(0, canvas.size), slice(0, canvas.size)))
    a_N, b_N, c_N = plane_F3[face_YX[roof_YX]].T
    y_N, x_N = np.nonzero(roof_YX)
    height_YX[roof_YX] = a_N * x_1X[0, x_N] + b_N * y_Y1[y_N, 0] + c_N
    bare_YX = np.where(roof_YX, height_YX, 0)
    for item in (item for items in site.items for item in items if item.rise > 0):
        window, inside = canvas.fill(item.polygon)
        height_YX[window][inside] += item.rise
    tree_YX = np.full(canvas.shape, -1, np.int16)
    lumps_YX = noise(rng, canvas.shape, 0.45 / canvas.gsd) + 0.6 * noise(rng, canvas.shape, 1)
    for place, tree in enumerate(site.trees):
        _grow(tree, place, canvas, lumps_YX, height_YX, tree_YX)
    return Surface(bare_YX, height_YX, face_YX, tree_YX, faces, owner_F)


def roofs(houses: Sequence[Building], canvas: Canvas) -> tuple[list[Face], np.ndarray, np.ndarray]:
    """All faces, the house of each, and (Y, X) the place of the face seen from above, -1 none."""
    faces = [face for house in houses for face in house.faces]
    owner_F = np.repeat(np.arange(len(houses)), [len(house.faces) for house in houses])
    face_YX = np.full(canvas.shape, -1, np.int16)
    for place, face in enumerate(faces):
        window, inside = canvas.fill(face.polygon)
        face_YX[window][inside] = place
    return faces, owner_F, face_YX


def _grow(
    tree: Tree, place: int, canvas: Canvas, lumps_YX: np.ndarray, height_YX: np.ndarray, tree_YX: np.ndarray
) -> None:
    """Add a crown where it stands above what is there."""
    window = canvas.window(tree.middle_2[None], 1.5 * tree.radius)
    x, y = canvas.metres(window)
    x, y = x - tree.middle_2[0], y - tree.middle_2[1]
    share = np.hypot(x, y) / tree.edge(np.arctan2(y, x))
    lumps = lumps_YX[window]
    if tree.kind == "conifer":
        top = tree.top * (1 - 0.75 * share) + 0.25 * lumps
    else:
        top = tree.top * (0.5 + 0.5 * np.sqrt(np.maximum(0, 1 - share**2))) + 0.22 * lumps * min(1, tree.radius)
    inside = (share + 0.06 * lumps < 1) & (top > height_YX[window])
    if tree.kind == "bare":
        inside &= lumps > 0.35
    height_YX[window][inside] = top[inside]
    tree_YX[window][inside] = place


def shadow(height_YX: np.ndarray, sun: Sun, gsd: float) -> np.ndarray:
    """(Y, X) 0 in the sun to 1 in the shadow.

    The highest ray from below is found by doubling: what blocks within 2 n steps blocks within n, or within n of the
    place n steps nearer to the sun.
    """
    east, south, up = sun.towards_3
    level = np.hypot(east, south)
    fall = up / level * gsd  # metres a ray sinks per pixel
    step_2 = np.array([south, east]) / level
    blocked_YX = _ahead(height_YX, step_2) - fall
    steps, most = 1, float(height_YX.max())
    while steps * fall < most:
        np.maximum(blocked_YX, _ahead(blocked_YX, steps * step_2) - steps * fall, out=blocked_YX)
        steps *= 2
    return ((blocked_YX - height_YX) / SOFT).clip(0, 1)


def _ahead(value_YX: np.ndarray, step_2: np.ndarray) -> np.ndarray:
    """The value `step_2` (rows, columns) further on, between pixels; beyond the border that of the border."""
    whole_2 = np.floor(step_2).astype(int)
    share_y, share_x = step_2 - whole_2
    shape_2 = value_YX.shape
    rows, columns = ((np.arange(shape_2[axis] + 1) + whole_2[axis]).clip(0, shape_2[axis] - 1) for axis in (0, 1))
    value = value_YX[rows[:, None], columns]
    value = value[:-1] * np.float32(1 - share_y) + value[1:] * np.float32(share_y)
    return value[:, :-1] * np.float32(1 - share_x) + value[:, 1:] * np.float32(share_x)
