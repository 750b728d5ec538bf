"""Polygons and lines of a vector file made fit for rasters: repaired or counted, painted, cut to the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from stepladder.core.types import Issue

POLYGONAL = ("Polygon", "MultiPolygon")


def repaired(geometries: Iterable[BaseGeometry | None], names: Iterable[object]) -> tuple[list, list[Issue]]:
    """Valid polygons, one for each geometry, None where there is no area, and what was done, counted.

    A polygon that crosses itself becomes the area its border goes round (GEOS `make_valid`); points and lines that
    come of it, or were there before, have no area and are dropped.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    mended = []
    for geometry, name in zip(geometries, names, strict=True):
        polygon, kind = _repaired(geometry)
        mended.append(polygon)
        if kind:
            counts[kind] += 1
            examples.setdefault(kind, str(name))
    return mended, [Issue(kind, count, examples[kind]) for kind, count in counts.items()]


def _repaired(geometry: BaseGeometry | None) -> tuple[BaseGeometry | None, str]:
    """The area of a geometry, and what was wrong with it."""
    if geometry is None or geometry.is_empty:
        return None, "polygon left out: empty"
    if geometry.geom_type in POLYGONAL and geometry.is_valid:
        return shapely.force_2d(geometry), ""
    kind = "polygon repaired: it crossed or touched itself"
    if geometry.geom_type not in POLYGONAL and geometry.geom_type != "GeometryCollection":
        return None, f"geometry left out: a {geometry.geom_type} has no area"
    areas = [part for part in shapely.get_parts(shapely.make_valid(geometry)) if part.geom_type in POLYGONAL]
    area = shapely.force_2d(shapely.union_all(areas))
    return (area, kind) if area.area > 0 else (None, "polygon left out: it has no area")


def painted(shapes: Sequence[tuple[BaseGeometry, int]], shape: tuple[int, int], background: int) -> np.ndarray:
    """uint8 map in which each polygon's pixels (those whose middle it holds) have its number; later ones on top."""
    out_YX = np.full(shape, background, np.uint8)
    if shapes:
        rasterize(shapes, out=out_YX)
    return out_YX


def cut(lines_LF: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Lines (crop, x0, y0, x1, y1, ...) cut to an image of `shape`; those outside, and points, are dropped."""
    if not len(lines_LF):
        return lines_LF
    strings = shapely.linestrings(lines_LF[:, 1:5].reshape(-1, 2, 2).astype(np.float64))
    inside = np.asarray(shapely.clip_by_rect(strings, 0, 0, shape[1], shape[0]))
    there = shapely.length(inside) > 0
    ends_L4 = np.array([shapely.get_coordinates(line)[[0, -1]].ravel() for line in inside[there]]).reshape(-1, 4)
    return np.column_stack([lines_LF[there, :1], ends_L4, lines_LF[there, 5:]]).astype(np.float32)
