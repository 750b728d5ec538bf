"""The stored grid of a tile: a slab of voxels that follows the ground.

Decisions:
- A city's streets climb farther than its houses are tall, so every column has its own first layer: `below_m` under the
  ground at the column's centre. 35 layers of 0.4 m hold what a 6.4 m high window can see; a hill costs nothing.
- The ground itself is painted here, per column, between its lowest and highest height over the column's square. So it
  has no holes on slopes, and roads without height lie in it instead of near it (`ground.cover`).
- What does not fit in the slab is counted, not forgotten.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from stepladder.core.types import Box, Issue, StudyError
from stepladder.studies.plateau.data.citygml.classes import BY_NAME, EMPTY
from stepladder.studies.plateau.data.tiles.ground import (  # numba's cache here does not see changes of bilinear
    Ground,
    bilinear,
)
from stepladder.studies.plateau.data.tiles.voxelize import RANK, columns
from stepladder.studies.plateau.params import PlateauConversion


@dataclass(frozen=True)
class Relief:
    """Labelled voxels in layers above a base that follows the ground.

    Attributes:
        voxels_XYL: uint8 fine class ids (`EMPTY` where nothing is); layer 0 of a column lies at its base.
        base_XY: int16 absolute z index of layer 0: floor((ground - below_m) / voxel_m).
        origin: absolute voxel index of [0, 0] in x and y.
        voxel_m: edge of a voxel.
        issues: voxels that lie above or below the stored layers, counted.
    """

    voxels_XYL: np.ndarray
    base_XY: np.ndarray
    origin: tuple[int, int]
    voxel_m: float
    issues: tuple[Issue, ...] = ()


def layers(params: PlateauConversion) -> int:
    """Number of stored layers."""
    return round((params.height_m + params.below_m) / params.voxel_m)


def build(
    index_M3: np.ndarray,
    label_M: np.ndarray,
    ground: Ground,
    box: Box,
    params: PlateauConversion,
    cover_XY: np.ndarray | None = None,
) -> Relief:
    """The stored grid over `box`.

    Args:
        index_M3, label_M: surface voxels as `voxelize` returns them; those outside `box` are left out.
        ground: height field that covers `box`.
        box: x_min, y_min, x_max, y_max in metres.
        params: `voxel_m`, `height_m` and `below_m`.
        cover_XY: class of the ground in every column (`ground.cover`); None: terrain everywhere.

    Raises:
        StudyError: when heights in voxels exceed 16 bits.
    """
    x0, y0, x1, y1 = columns(box, params.voxel_m)
    if np.abs(ground.node_XY).max() + params.below_m > 32_000 * params.voxel_m:
        raise StudyError(f"ground beyond 32,000 voxels of {params.voxel_m} m: use a larger conversion.voxel_m")
    if cover_XY is None:
        cover_XY = np.full((x1 - x0, y1 - y0), BY_NAME["terrain"].id, dtype=np.uint8)
    voxels_XYL = np.full((x1 - x0, y1 - y0, layers(params)), EMPTY, dtype=np.uint8)
    base_XY = np.empty((x1 - x0, y1 - y0), dtype=np.int16)
    lattice = ground.node_XY, ground.origin, ground.step_m
    _lay_ground(voxels_XYL, base_XY, cover_XY, x0, y0, *lattice, params.voxel_m, params.below_m)
    above, below = _place(voxels_XYL, base_XY, x0, y0, index_M3, label_M, RANK)
    counts = {"voxel above the stored layers": above, "voxel below the stored layers": below}
    issues = tuple(Issue(kind, int(count)) for kind, count in counts.items() if count)
    return Relief(voxels_XYL, base_XY, (x0, y0), params.voxel_m, issues)


@njit(cache=True)
def _lay_ground(voxels_XYL, base_XY, cover_XY, x0, y0, node_XY, origin, step_m, voxel_m, below_m):
    """Set every column's base, and paint the ground between its lowest and highest corner."""
    nx, ny, nl = voxels_XYL.shape
    for i in range(nx):
        west, east = (x0 + i) * voxel_m, (x0 + i + 1) * voxel_m
        # Corners are shared: the northern two of a column are the southern two of the next.
        a = bilinear(node_XY, origin, step_m, west, y0 * voxel_m)
        b = bilinear(node_XY, origin, step_m, east, y0 * voxel_m)
        for j in range(ny):
            north = (y0 + j + 1) * voxel_m
            c, d = bilinear(node_XY, origin, step_m, west, north), bilinear(node_XY, origin, step_m, east, north)
            centre = bilinear(node_XY, origin, step_m, (west + east) / 2, north - voxel_m / 2)
            # Layers count from `below_m` below the column's centre; the ground spans all heights of its corners.
            base = int(np.floor((centre - below_m) / voxel_m))
            low, high = int(np.floor(min(a, b, c, d) / voxel_m)), int(np.floor(max(a, b, c, d) / voxel_m))
            base_XY[i, j] = base
            voxels_XYL[i, j, max(0, low - base) : min(nl, high - base + 1)] = cover_XY[i, j]
            a, b = c, d


@njit(cache=True)
def _place(voxels_XYL, base_XY, x0, y0, index_M3, label_M, rank):
    """Write voxels into the grid, higher rank first; how many lie above and below its layers."""
    nx, ny, nl = voxels_XYL.shape
    above, below = 0, 0
    for m in range(len(label_M)):
        i, j = index_M3[m, 0] - x0, index_M3[m, 1] - y0
        if not (0 <= i < nx and 0 <= j < ny):
            continue
        layer = index_M3[m, 2] - base_XY[i, j]
        if layer < 0:
            below += 1
        elif layer >= nl:
            above += 1
        elif rank[label_M[m]] > rank[voxels_XYL[i, j, layer]]:
            voxels_XYL[i, j, layer] = label_M[m]
    return above, below
