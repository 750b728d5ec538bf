"""Thin lines painted in a mask as straight segments: middle lines of the strokes, cut where they bend or meet."""

from __future__ import annotations

import numpy as np
import shapely
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize

BEND = 1.5  # pixels a stroke may leave a straight line
SHORTEST = 4.0  # pixels; what is shorter is a spur of the skeleton


def segments(mask_YX: np.ndarray) -> np.ndarray:
    """Segments (L, 4) of the strokes in a mask: x0, y0, x1, y1 in pixels, 0 at the outer corner of the first pixel.

    A skeleton ends half a stroke early at free ends; they are drawn out by as much.
    """
    mask_YX = np.pad(mask_YX.astype(bool), 1)
    thin_YX = skeletonize(mask_YX)
    strokes = _strokes(thin_YX)
    reach_YX = distance_transform_edt(mask_YX)
    degree = _degrees(strokes)
    found = []
    for stroke in strokes:
        points_M2 = shapely.get_coordinates(stroke.simplify(BEND))
        first, last = (tuple(points_M2[k].astype(int)) for k in (0, -1))
        points_M2[0] += _beyond(points_M2[0], points_M2[1], reach_YX, degree.get(first, 1))
        points_M2[-1] += _beyond(points_M2[-1], points_M2[-2], reach_YX, degree.get(last, 1))
        found.append(np.hstack([points_M2[:-1], points_M2[1:]]))
    lines_L4 = np.vstack(found) if found else np.zeros((0, 4))
    lengths = np.hypot(lines_L4[:, 2] - lines_L4[:, 0], lines_L4[:, 3] - lines_L4[:, 1])
    return lines_L4[lengths >= SHORTEST] - 0.5  # the pad of one pixel, less half for the middle of a pixel


def _strokes(thin_YX: np.ndarray) -> list[shapely.LineString]:
    """Chains of neighbouring pixels between ends and crossings, as lines through (x, y) of the pixels."""
    edges = [np.zeros((0, 2, 2))]
    beside_YX, below_YX = thin_YX[:, :-1] & thin_YX[:, 1:], thin_YX[:-1] & thin_YX[1:]
    edges += [_edges(beside_YX, (0, 0), (1, 0)), _edges(below_YX, (0, 0), (0, 1))]
    falls_YX = thin_YX[:-1, :-1] & thin_YX[1:, 1:] & ~thin_YX[:-1, 1:] & ~thin_YX[1:, :-1]
    climbs_YX = thin_YX[1:, :-1] & thin_YX[:-1, 1:] & ~thin_YX[:-1, :-1] & ~thin_YX[1:, 1:]
    edges += [_edges(falls_YX, (0, 0), (1, 1)), _edges(climbs_YX, (0, 1), (1, 0))]
    pairs = np.concatenate(edges)
    if not len(pairs):
        return []
    return [part for part in shapely.get_parts(shapely.line_merge(shapely.multilinestrings(pairs))) if part.length]


def _edges(there_YX: np.ndarray, first: tuple[int, int], last: tuple[int, int]) -> np.ndarray:
    """Pairs of pixels (x, y) at two offsets from each place of `there_YX`."""
    yx = np.argwhere(there_YX)[:, ::-1].astype(np.float64)
    return np.stack([yx + first, yx + last], axis=1)


def _degrees(strokes: list[shapely.LineString]) -> dict[tuple[int, int], int]:
    """How many strokes end in a pixel."""
    degrees: dict[tuple[int, int], int] = {}
    for stroke in strokes:
        for x, y in shapely.get_coordinates(stroke)[[0, -1]].astype(int):
            degrees[(int(x), int(y))] = degrees.get((int(x), int(y)), 0) + 1
    return degrees


def _beyond(end_2: np.ndarray, before_2: np.ndarray, reach_YX: np.ndarray, degree: int) -> np.ndarray:
    """By how much a free end is drawn out: half the stroke's width, the way it goes."""
    if degree > 1:
        return np.zeros(2)
    way_2 = end_2 - before_2
    x, y = end_2.astype(int)
    return way_2 / max(float(np.hypot(*way_2)), 1.0) * max(reach_YX[y, x] - 0.5, 0)
