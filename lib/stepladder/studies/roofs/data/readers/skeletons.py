"""Thin lines painted in a mask as straight segments: middle lines of the strokes, cut where they bend or meet."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import shapely
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize

BEND = 2.5  # pixels a stroke may leave a straight line
BLUNT = 9.0  # pixels; a shorter piece between two others is a corner that the skeleton rounded off
ROUND = 3  # pixels at both ends of a side that its corners may bend
PARALLEL = 0.2  # sine of the angle below which two sides do not meet in a point
SHORTEST = 4.0  # pixels; what is shorter is a spur of the skeleton


def segments(mask_YX: np.ndarray) -> np.ndarray:
    """Segments (L, 4) of the strokes in a mask: x0, y0, x1, y1 in pixels, 0 at the outer corner of the first pixel.

    A skeleton ends half a stroke early at free ends; they are drawn out by as much.
    """
    mask_YX = np.pad(mask_YX.astype(bool), 1)
    strokes = _without_spurs(_strokes(skeletonize(mask_YX)))
    reach_YX = distance_transform_edt(mask_YX)
    degree = _degrees(strokes)
    found = [np.zeros((0, 4))]
    for stroke in strokes:
        path_P2 = shapely.get_coordinates(_from_a_corner(stroke))
        points_M2 = _sharp(path_P2, stroke.is_closed)
        for end, before in ((0, 1), (-1, -2)):
            if degree[pixel := _pixel(path_P2[end])] == 1:
                points_M2[end] += _beyond(points_M2[end] - points_M2[before], reach_YX[pixel[::-1]])
        found.append(np.hstack([points_M2[:-1], points_M2[1:]]))
    lines_L4 = np.vstack(found)
    lengths = np.hypot(lines_L4[:, 2] - lines_L4[:, 0], lines_L4[:, 3] - lines_L4[:, 1])
    return lines_L4[lengths >= SHORTEST] - 0.5  # the pad of one pixel, less half for the middle of a pixel


def _without_spurs(strokes: list[shapely.LineString]) -> list[shapely.LineString]:
    """Strokes without the short ones that end freely, and what they parted joined again."""
    degree = _degrees(strokes)
    kept = [s for s in strokes if s.length >= SHORTEST or min(degree[end] for end in _ends(s)) > 1]
    return _merged(kept)


def _merged(strokes: list[shapely.LineString]) -> list[shapely.LineString]:
    return list(shapely.get_parts(shapely.line_merge(shapely.multilinestrings(strokes)))) if strokes else []


def _from_a_corner(stroke: shapely.LineString) -> shapely.LineString:
    """A closed stroke begun at its point farthest from where it began, which is a corner; others as they are."""
    points_M2 = shapely.get_coordinates(stroke)
    if not stroke.is_closed:
        return stroke
    start = int(np.argmax(np.linalg.norm(points_M2 - points_M2[0], axis=1)))
    return shapely.LineString(np.concatenate([points_M2[start:-1], points_M2[: start + 1]]))


def _sharp(path_P2: np.ndarray, closed: bool) -> np.ndarray:
    """Corners and ends of a chain of pixels. Sides are fitted between its bends; where two meet, there is the corner.

    A skeleton rounds corners off by half a stroke: its pixels there count for no side, and a piece shorter than `BLUNT`
    is such a corner.
    """
    bends_M2 = shapely.get_coordinates(shapely.simplify(shapely.linestrings(path_P2), BEND))
    where = [0, *(int(np.argmin(np.abs(path_P2 - bend_2).sum(1))) for bend_2 in bends_M2[1:-1]), len(path_P2) - 1]
    spans = _sides(path_P2, [(a, b) for a, b in pairwise(where) if np.hypot(*(path_P2[b] - path_P2[a])) >= BLUNT])
    if not spans:
        return path_P2[[0, -1]]
    sides = [_fitted(path_P2[a + ROUND : b - ROUND + 1]) for a, b in spans]
    gaps_2 = [(path_P2[one[1]] + path_P2[two[0]]) / 2 for one, two in pairwise(spans)]
    corners = [_meeting(*two, gap_2) for two, gap_2 in zip(pairwise(sides), gaps_2, strict=True)]
    if closed and corners:
        seam_2 = _meeting(sides[-1], sides[0], path_P2[0])
        return np.array([seam_2, *corners, seam_2])
    return np.array([_beside(path_P2[0], *sides[0]), *corners, _beside(path_P2[-1], *sides[-1])])


def _sides(path_P2: np.ndarray, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last pixel of each side: pieces that go the same way are one."""
    sides = spans[:1]
    for first, last in spans[1:]:
        before_2, way_2 = (path_P2[b] - path_P2[a] for a, b in (sides[-1], (first, last)))
        sine = (before_2[0] * way_2[1] - before_2[1] * way_2[0]) / np.hypot(*before_2) / np.hypot(*way_2)
        if abs(sine) < PARALLEL and before_2 @ way_2 > 0:
            sides[-1] = (sides[-1][0], last)
        else:
            sides.append((first, last))
    return sides


def _fitted(points_P2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and direction of the line nearest to points, in least squares."""
    middle_2 = points_P2.mean(0)
    return middle_2, np.linalg.svd(points_P2 - middle_2, full_matrices=False)[2][0]


def _beside(point_2: np.ndarray, middle_2: np.ndarray, way_2: np.ndarray) -> np.ndarray:
    """The point of a line that is nearest to a point."""
    return middle_2 + (point_2 - middle_2) @ way_2 * way_2


def _meeting(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray], gap_2: np.ndarray) -> np.ndarray:
    """Where two lines meet, if that is near the gap between them; else the gap's middle."""
    ways_22 = np.column_stack([one[1], -two[1]])
    if abs(np.linalg.det(ways_22)) < PARALLEL:
        return gap_2
    met_2 = one[0] + np.linalg.solve(ways_22, two[0] - one[0])[0] * one[1]
    return met_2 if np.linalg.norm(met_2 - gap_2) < BLUNT else gap_2


def _strokes(thin_YX: np.ndarray) -> list[shapely.LineString]:
    """Chains of neighbouring pixels between ends and crossings, as lines through (x, y) of the pixels."""
    edges = [np.zeros((0, 2, 2))]
    beside_YX, below_YX = thin_YX[:, :-1] & thin_YX[:, 1:], thin_YX[:-1] & thin_YX[1:]
    edges += [_edges(beside_YX, (0, 0), (1, 0)), _edges(below_YX, (0, 0), (0, 1))]
    falls_YX = thin_YX[:-1, :-1] & thin_YX[1:, 1:] & ~thin_YX[:-1, 1:] & ~thin_YX[1:, :-1]
    climbs_YX = thin_YX[1:, :-1] & thin_YX[:-1, 1:] & ~thin_YX[:-1, :-1] & ~thin_YX[1:, 1:]
    edges += [_edges(falls_YX, (0, 0), (1, 1)), _edges(climbs_YX, (0, 1), (1, 0))]
    pairs = np.concatenate(edges)
    return _merged([shapely.LineString(pair) for pair in pairs])


def _edges(there_YX: np.ndarray, first: tuple[int, int], last: tuple[int, int]) -> np.ndarray:
    """Pairs of pixels (x, y) at two offsets from each place of `there_YX`."""
    yx = np.argwhere(there_YX)[:, ::-1].astype(np.float64)
    return np.stack([yx + first, yx + last], axis=1)


def _degrees(strokes: list[shapely.LineString]) -> Counter[tuple[int, int]]:
    """How many strokes end in a pixel."""
    return Counter(end for stroke in strokes for end in _ends(stroke))


def _ends(stroke: shapely.LineString) -> list[tuple[int, int]]:
    return [_pixel(point_2) for point_2 in shapely.get_coordinates(stroke)[[0, -1]]]


def _pixel(point_2: np.ndarray) -> tuple[int, int]:
    x, y = point_2.astype(int).tolist()
    return x, y


def _beyond(way_2: np.ndarray, reach: float) -> np.ndarray:
    """By how much a free end is drawn out the way it goes: to the border of the stroke, `reach` from its last pixel."""
    return way_2 / max(float(np.hypot(*way_2)), 1.0) * max(reach - 0.5, 0)
