"""Where no line was found though the slope changes: straight seams between the planes that a slope map shows.

Decisions:
- Slopes of a roof are few. The commonest slope takes all pixels that fall nearly so, then the commonest of the rest,
  until few are left: no number of faces is asked for, and a blurred ridge makes no face of its own.
- Between two planes lies a straight line, so the pixel borders between two patches are fitted as an outline's side is.
  What is not straight (a dormer's three sides at once) is no seam.
- A seam is a line of little evidence: it divides faces, which merge again if they fall alike after all.
"""

from typing import Final

import cv2
import numpy as np
from scipy import ndimage

from stepladder.studies.roofs.data.labels import UNTYPED

BIN: Final = 0.1  # rise over run: width of a bin of slopes
BINS: Final = 61  # towards each side: from -3 to 3, 72 degrees
ALIKE: Final = 0.25  # rise over run: slopes of one plane differ by less
PLANES: Final = 8  # at most, on one roof
LEFT: Final = 0.05  # share of a roof's pixels that may belong to no plane
PATCH: Final = 60  # pixels of a patch
SHORTEST: Final = 10  # pixel borders of a seam
STRAIGHT: Final = 2.5  # pixels, root mean square, that borders may lie beside a seam
BESIDE: Final = 8.0  # pixels from a known line within which a seam is that line
SCORE: Final = 0.1


def seams(inside_YX: np.ndarray, slope_GYX: np.ndarray) -> np.ndarray:
    """Lines (seams, 6) between the planes of a roof: x0, y0, x1, y1, UNTYPED, SCORE.

    Args:
        inside_YX: which pixels are of the roof.
        slope_GYX: rise over run towards east and north; not a number where not known.
    """
    patch_YX = patches(inside_YX & np.isfinite(slope_GYX).all(axis=0), np.nan_to_num(slope_GYX).astype(np.float32))
    found = [_fitted(border_PE) for border_PE in borders(patch_YX)]
    return np.array([ends for ends in found if ends is not None], float).reshape(-1, 6)


def patches(inside_YX: np.ndarray, slope_GYX: np.ndarray) -> np.ndarray:
    """Connected parts of one slope, numbered from 1; every pixel inside belongs to the nearest; 0 outside."""
    plane_YX = np.zeros(inside_YX.shape, int)
    plane_YX[inside_YX] = planes(np.stack([cv2.medianBlur(part, 5) for part in slope_GYX])[:, inside_YX].T)
    patch_YX = np.zeros(inside_YX.shape, int)
    for plane in range(1, plane_YX.max(initial=0) + 1):
        part_YX, count = ndimage.label(ndimage.binary_opening(plane_YX == plane, np.ones((3, 3))))
        large = np.flatnonzero(np.bincount(part_YX.ravel(), minlength=count + 1)[1:] >= PATCH) + 1
        patch_YX += np.where(np.isin(part_YX, large), part_YX + patch_YX.max(), 0)
    if not patch_YX.any():
        return patch_YX
    nearest = ndimage.distance_transform_edt(patch_YX == 0, return_distances=False, return_indices=True)
    return np.where(inside_YX, patch_YX[tuple(nearest)], 0)


def planes(slope_NG: np.ndarray) -> np.ndarray:
    """Number of the plane each pixel belongs to (N,), the commonest first; 0 for those that fall like few others."""
    bin_NG = np.clip(np.round(slope_NG / BIN) + BINS // 2, 0, BINS - 1).astype(int)
    bin_N, plane_N = bin_NG[:, 0] * BINS + bin_NG[:, 1], np.zeros(len(slope_NG), int)
    for plane in range(1, PLANES + 1):
        rest_N = plane_N == 0
        if np.count_nonzero(rest_N) <= LEFT * len(rest_N):
            break
        common_G = (np.array(divmod(int(np.bincount(bin_N[rest_N]).argmax()), BINS)) - BINS // 2) * BIN
        near_N = rest_N & (np.linalg.norm(slope_NG - common_G, axis=1) < ALIKE)
        if not near_N.any():  # steeper than all bins
            break
        plane_N[rest_N & (np.linalg.norm(slope_NG - np.median(slope_NG[near_N], axis=0), axis=1) < ALIKE)] = plane
    return plane_N


def borders(patch_YX: np.ndarray) -> list[np.ndarray]:
    """Middles (P, 2) of the pixel borders between every two patches that meet, in pixels."""
    pairs, places = [], []
    for one, two, (right, down) in (
        (patch_YX[:, :-1], patch_YX[:, 1:], (1.0, 0.5)),
        (patch_YX[:-1], patch_YX[1:], (0.5, 1.0)),
    ):
        row, column = np.nonzero((one != two) & (one > 0) & (two > 0))
        pairs.append(np.sort(np.stack([one[row, column], two[row, column]], axis=1), axis=1))
        places.append(np.stack([column + right, row + down], axis=1))
    pair_N2, place_NE = np.concatenate(pairs), np.concatenate(places)
    group_N = np.unique(pair_N2, axis=0, return_inverse=True)[1]
    order = np.argsort(group_N, kind="stable")
    return np.split(place_NE[order], np.flatnonzero(np.diff(group_N[order])) + 1) if len(order) else []


def _fitted(border_PE: np.ndarray) -> tuple[float, ...] | None:
    """The straight line along pixel borders, or None where they are few or bent."""
    if len(border_PE) < SHORTEST:
        return None
    middle_E = border_PE.mean(axis=0)
    _, spread, axes = np.linalg.svd(border_PE - middle_E, full_matrices=False)
    if spread[1] > STRAIGHT * np.sqrt(len(border_PE)):
        return None
    along_P = (border_PE - middle_E) @ axes[0]
    return (*(middle_E + along_P.min() * axes[0]), *(middle_E + along_P.max() * axes[0]), UNTYPED, SCORE)
