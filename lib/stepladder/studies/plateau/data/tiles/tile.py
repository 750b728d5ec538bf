"""One tile of a city: raw files in, labelled grid, roads, drives and clips out.

Decisions:
- A tile is converted from its own files and its neighbours', clipped to the tile's region and a halo, so that a window
  near the edge sees what a city there would show, and a feature that spills over the border is whole. Files are read
  in an order that does not depend on whose they are: two neighbouring tiles agree bit for bit where they overlap.
- What lies on the ground (flat LOD1 roads, land use, LOD3 lanes not a metre off it) colours the ground, so street and
  terrain are one surface; everything else is voxelised where it stands.
- The tile's own file that cannot be read is an error; a neighbour that is missing or cannot be read is a counted issue.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from stepladder.core import files
from stepladder.core.types import Asset, Box, ShardContent, StudyError
from stepladder.studies.plateau.data.citygml.classes import FINE, OCC3D, TO_OCC3D
from stepladder.studies.plateau.data.citygml.raw import Tally
from stepladder.studies.plateau.data.citygml.surfaces import Surfaces, concatenate
from stepladder.studies.plateau.data.tiles import cache, centrelines, ground, paths, relief
from stepladder.studies.plateau.data.tiles.assets import assets, missing
from stepladder.studies.plateau.data.tiles.centrelines import CentreLines
from stepladder.studies.plateau.data.tiles.ground import Ground
from stepladder.studies.plateau.data.tiles.relief import Relief
from stepladder.studies.plateau.data.tiles.voxelize import columns, voxelize
from stepladder.studies.plateau.params import PlateauConversion, PlateauParams

__all__ = ["assets", "convert", "surfaces_in"]

PROVENANCE = {
    "licence": "PLATEAU site policy, Public Data License 1.0 (compatible with CC BY 4.0)",
    "attribution": "出典：国土交通省 PLATEAU",
    "units": "metres in the plane-rectangular zone; radians counter-clockwise from east",
}
DRIVEABLE = OCC3D.index("driveable_surface")
GROUND_THEMES = ("tran", "luse", "wtr")
NEAR_M = 1.0  # surfaces of these themes that are nearer to the ground are the ground's


def convert(asset: Asset, params: PlateauParams, folder: Path | None = None) -> ShardContent:
    """Convert one tile to arrays.

    Args:
        asset: a tile as `assets` finds them.
        params: `conversion` and `seed` are read.
        folder: where parsed surfaces are kept for the neighbouring tiles; None: parsed every time.

    Returns:
        Arrays `voxels_XYL` (uint8 fine classes) and `base_XY` (int16) as in `Relief`, `pose_P4` (float64) and `path_P`
        (int32) as in `Paths`, `clip_C` (int32 row of each clip's first pose), and compressed `centre_L2` (float64
        points of the centre lines, metres), `branch_L` (int32 branch of each point), `surface_N33` (float32 triangles
        of the region that stand on the ground, metres from the box's corner) and `surface_label_N` (uint8 classes).

    Raises:
        StudyError: one of the tile's own files cannot be read.
    """
    conversion, region = params.conversion, asset.region
    assert region is not None, f"{asset.id} is a tile of a mesh"
    box = _stored(region, conversion)
    # More than the box is read, for the ground is interpolated from what lies beyond.
    surfaces = surfaces_in(_grown(box, ground.REACH_M), asset, folder)
    field, near = Ground.of(surfaces, box, conversion.voxel_m), surfaces.clip(box)
    # What lies on the ground only colours it; what stands is voxelised.
    laid, standing = _divide(near, field)
    grid = _voxels(near, laid, standing, field, box, conversion)
    road_N = TO_OCC3D[near.label_N] == DRIVEABLE
    lines = centrelines.find(near.triangles_N33[road_N, :, :2], box)
    # Roads that do not lie on the ground (bridges) have a height field of their own.
    deck = _decks(near.triangles_N33[road_N & standing], box)
    seed = (params.conversion.seed, int(asset.meta["mesh"]))
    drives = paths.drive(lines, region, (field.height, deck.height), conversion, seed)
    return ShardContent(
        arrays={
            "voxels_XYL": grid.voxels_XYL,
            "base_XY": grid.base_XY,
            "pose_P4": drives.pose_P4,
            "path_P": drives.path_P,
            "clip_C": drives.clips(conversion.frames, conversion.stride),
        },
        compressed=_centre_lines(lines) | _standing_surfaces(near, standing, region, box),
        attributes={
            **_facts(asset, grid, near),
            **PROVENANCE,
            "box": box,
            "road_km": lines.length(region) / 1000,
            "paths": len(np.unique(drives.path_P)),
        },
        issues=(*surfaces.issues, *field.issues, *grid.issues),
    )


def surfaces_in(box: Box, asset: Asset, folder: Path | None = None) -> Surfaces:
    """All features of a tile's files and its neighbours' that meet `box`; issues are of the tile's own files.

    Raises `StudyError` where one of the tile's own files cannot be read.
    """
    tally, parts = Tally(), []
    for path in sorted((*asset.files, *asset.neighbours), key=lambda path: (path.name, str(path))):
        own = path in asset.files
        try:
            part = cache.surfaces_of(path, asset.meta["zone"], box, folder)
        except StudyError as error:
            if own:
                raise
            tally.add("neighbour cannot be read", example=str(error))
            continue
        parts.append(part if own else replace(part, issues=()))
    if issue := missing(asset):
        tally.add(issue.kind, issue.count, issue.example)
    whole = concatenate(parts)
    return replace(whole, issues=(*whole.issues, *tally.issues()))


def _stored(region: Box, conversion: PlateauConversion) -> Box:
    """`region` and its halo, out to whole voxels."""
    x0, y0, x1, y1 = columns(_grown(region, conversion.halo_m), conversion.voxel_m)
    voxel = conversion.voxel_m
    return x0 * voxel, y0 * voxel, x1 * voxel, y1 * voxel


def _grown(box: Box, margin_m: float) -> Box:
    return box[0] - margin_m, box[1] - margin_m, box[2] + margin_m, box[3] + margin_m


def _divide(surfaces: Surfaces, field: Ground) -> tuple[np.ndarray, np.ndarray]:
    """Which triangles lie on the ground, and which stand on their own; those of the relief are neither (both (N,))."""
    corner_N33, features = surfaces.triangles_N33, surfaces.features
    flat_N = features.flat.to_numpy()[surfaces.feature_N]
    theme_N = features.theme.to_numpy()[surfaces.feature_N]
    # A triangle of these themes that keeps near the ground at all corners is the ground's.
    above_N3 = corner_N33[..., 2] - field.height(corner_N33[..., 0], corner_N33[..., 1])
    near_N = np.isin(theme_N, GROUND_THEMES) & (np.abs(above_N3).max(axis=1) < NEAR_M)
    relief_N = theme_N == "dem"
    laid_N = (flat_N | near_N) & ~relief_N
    return laid_N, ~laid_N & ~relief_N


def _voxels(
    near: Surfaces, laid_N: np.ndarray, standing_N: np.ndarray, field: Ground, box: Box, conversion: PlateauConversion
) -> Relief:
    """The stored grid: the ground in the colours of what lies on it, and what stands."""
    voxel_m = conversion.voxel_m
    cover_XY = ground.cover(near.triangles_N33[laid_N], near.label_N[laid_N], box, voxel_m)
    index_M3, label_M = voxelize(near.triangles_N33[standing_N], near.label_N[standing_N], voxel_m, box)
    return relief.build(index_M3, label_M, field, box, conversion, cover_XY)


def _decks(triangles_N33: np.ndarray, box: Box) -> Ground:
    """Height of driveable surfaces that do not lie on the ground, on nodes 1 m apart; NaN where there is none."""
    x0, y0, x1, y1 = columns(box, 1.0)
    lattice = np.array([x0, y0, x1 - x0 + 1, y1 - y0 + 1])
    return Ground(ground.rasterise(np.ascontiguousarray(triangles_N33), lattice, 1.0), (x0, y0), 1.0)


def _centre_lines(lines: CentreLines) -> dict[str, np.ndarray]:
    points = [branch.line_K2 for branch in lines.branches]
    return {
        "centre_L2": np.concatenate([np.zeros((0, 2)), *points]),
        "branch_L": np.repeat(np.arange(len(points), dtype=np.int32), [len(line) for line in points]),
    }


def _standing_surfaces(near: Surfaces, standing_N: np.ndarray, region: Box, box: Box) -> dict[str, np.ndarray]:
    """Triangles of the region that stand on the ground, for pictures of the city as it is."""
    centre_N2 = near.triangles_N33[..., :2].mean(axis=1)
    inside_N = ((centre_N2 >= region[:2]) & (centre_N2 <= region[2:])).all(axis=1) & standing_N
    corner = np.array([*box[:2], 0.0])
    return {
        "surface_N33": (near.triangles_N33[inside_N] - corner).astype(np.float32),
        "surface_label_N": near.label_N[inside_N],
    }


def _facts(asset: Asset, grid: Relief, near: Surfaces) -> dict[str, Any]:
    """What a shard says about itself: place, lattice, contents, sources."""
    counts = _histogram(grid.voxels_XYL.reshape(-1))
    themes = near.features.theme.value_counts()
    return {
        "group": asset.group,
        "mesh": asset.meta["mesh"],
        "zone": asset.meta["zone"],
        "region": asset.region,
        "voxel_m": grid.voxel_m,
        "origin": grid.origin,
        "layers": grid.voxels_XYL.shape[2],
        "voxels": {fine.name: int(counts[fine.id]) for fine in FINE if counts[fine.id]},
        "features": {theme: int(count) for theme, count in themes.items()},
        "ground": "terrain model" if "dem" in themes else "building bases" if "bldg" in themes else "none",
        "sources": [{"name": path.name, "sha256": files.file_sha256(path)} for path in asset.files],
    }


@njit(cache=True)
def _histogram(label_V: np.ndarray) -> np.ndarray:
    """How often each of the 256 values occurs (`np.bincount` would copy a grid to eight times its size)."""
    count_256 = np.zeros(256, dtype=np.int64)
    for label in label_V:
        count_256[label] += 1
    return count_256
