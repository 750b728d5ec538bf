"""Thin lines painted in a mask as straight segments: middle lines of the strokes, cut where they bend or meet."""

from __future__ import annotations

from collections import Counter

import numpy as np
import shapely
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize

BEND = 2.5  # pixels a stroke may leave a straight line
BLUNT = 7.0  # pixels; a shorter piece between two others is a corner that the skeleton rounded off
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
        points_M2 = _sharp(shapely.get_coordinates(shapely.simplify(_from_a_corner(stroke), BEND)))
        for end, before in ((0, 1), (-1, -2)) if not stroke.is_closed else ():
            if degree[_pixel(points_M2[end])] == 1:
                points_M2[end] += _beyond(points_M2[end], points_M2[before], reach_YX)
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
    return shapely.linestrings(np.concatenate([points_M2[start:-1], points_M2[: start + 1]]))


def _sharp(points_M2: np.ndarray) -> np.ndarray:
    """A polyline whose corners are points: a piece shorter than `BLUNT`, a corner cut off, shrinks to its middle."""
    points = list(points_M2)
    k = 0
    while k + 1 < len(points) and len(points) > 2:
        if np.linalg.norm(points[k + 1] - points[k]) >= BLUNT:
            k += 1
        elif k == 0:  # ends stay where they meet others
            del points[1]
        else:
            last = k + 2 == len(points)
            points[k : k + 2] = [points[k + 1] if last else (points[k] + points[k + 1]) / 2]
    return np.array(points)


def _strokes(thin_YX: np.ndarray) -> list[shapely.LineString]:
    """Chains of neighbouring pixels between ends and crossings, as lines through (x, y) of the pixels."""
    edges = [np.zeros((0, 2, 2))]
    beside_YX, below_YX = thin_YX[:, :-1] & thin_YX[:, 1:], thin_YX[:-1] & thin_YX[1:]
    edges += [_edges(beside_YX, (0, 0), (1, 0)), _edges(below_YX, (0, 0), (0, 1))]
    falls_YX = thin_YX[:-1, :-1] & thin_YX[1:, 1:] & ~thin_YX[:-1, 1:] & ~thin_YX[1:, :-1]
    climbs_YX = thin_YX[1:, :-1] & thin_YX[:-1, 1:] & ~thin_YX[:-1, :-1] & ~thin_YX[1:, 1:]
    edges += [_edges(falls_YX, (0, 0), (1, 1)), _edges(climbs_YX, (0, 1), (1, 0))]
    pairs = np.concatenate(edges)
    return _merged(list(shapely.linestrings(pairs)))


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


def _beyond(end_2: np.ndarray, before_2: np.ndarray, reach_YX: np.ndarray) -> np.ndarray:
    """By how much a free end is drawn out: half the stroke's width, the way it goes."""
    way_2 = end_2 - before_2
    x, y = _pixel(end_2)
    return way_2 / max(float(np.hypot(*way_2)), 1.0) * max(reach_YX[y, x] - 0.5, 0)
