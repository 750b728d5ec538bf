"""Metrics of lines: structural average precision, and the share of line that is where it should be.

Decisions:
- **The 128-scale rule.** sAP (Zhou, Qi and Ma, L-CNN, ICCV 2019) measures squared pixels of a 128 x 128 frame: end
  points are scaled by 128 / width and 128 / height, whatever the image's size or proportions. Papers that keep another
  frame print other numbers; ours are L-CNN's.
- A line has no direction, so the smaller of the two ways to pair end points counts. As in L-CNN's code a line is
  compared with the truth line nearest to it, and a second line at a truth line already found is false.
- Lines are ordered by score over the whole set, not image by image, and precision is made monotone before the area
  below the curve is taken. All numbers of sAP are per cent, as everywhere.
- Placement: samples along lines, at most half a pixel apart, are right within `tolerance` of a line of the other
  side. Precision is over predicted length, recall over true length, and F is (right predicted + right true) over
  (predicted + true) length: additive over images, like the Dice coefficient of surfaces.

Lines are float (L, 4 or more): x0, y0, x1, y1 in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

FRAME = 128.0  # pixels along each side of the frame in which end points are compared
THRESHOLDS = (5, 10, 15)  # squared pixels of that frame
JUNCTIONS = (0.5, 1.0, 2.0)  # pixels of that frame: mAP-J is the mean over them
TOLERANCE = 2.0  # pixels of the image
STEP = 0.5  # pixels between samples along a line


@dataclass(frozen=True)
class Scored:
    """Lines of one image: truth (L, 4), guess (M, 4), the guess's scores (M,), and the image's size (width, height)."""

    truth_L4: np.ndarray
    guess_M4: np.ndarray
    score_M: np.ndarray
    size: tuple[int, int]


def sap(images: Sequence[Scored], threshold: float) -> float:
    """Structural average precision in per cent over a whole set; nan where no image has a true line."""
    total = sum(len(image.truth_L4) for image in images)
    score_N = np.concatenate([image.score_M for image in images]) if images else np.zeros(0)
    hit_N = np.concatenate([hits(image, threshold) for image in images]) if images else np.zeros(0, dtype=bool)
    return 100 * average_precision(hit_N[np.argsort(-score_N, kind="stable")], total)


def hits(image: Scored, threshold: float) -> np.ndarray:
    """For each guess whether it finds a true line, (M,) bool: nearer than `threshold`, and the first to find it."""
    found_M = np.zeros(len(image.guess_M4), dtype=bool)
    if not len(image.truth_L4):
        return found_M
    apart_ML = distances(*(framed(lines, image.size) for lines in (image.guess_M4, image.truth_L4)))
    used: set[int] = set()
    for guess in np.argsort(-image.score_M, kind="stable"):
        nearest = int(apart_ML[guess].argmin())
        if apart_ML[guess, nearest] < threshold and nearest not in used:
            used.add(nearest)
            found_M[guess] = True
    return found_M


def framed(lines_L4: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """End points (L, 2, 2) in the frame of 128 x 128."""
    return lines_L4[:, :4].reshape(-1, 2, 2).astype(float) * (FRAME / np.array(size, dtype=float))


def distances(one_M22: np.ndarray, two_L22: np.ndarray) -> np.ndarray:
    """Sum of squared distances of both end points, paired the better way round: (M, L)."""
    apart_MLPP = ((one_M22[:, None, :, None] - two_L22[None, :, None, :]) ** 2).sum(axis=-1)
    straight, crossed = apart_MLPP.trace(axis1=2, axis2=3), apart_MLPP[:, :, ::-1].trace(axis1=2, axis2=3)
    return np.minimum(straight, crossed)


def average_precision(hit_N: np.ndarray, total: int) -> float:
    """Area below the curve of precision over recall, hits in order of falling score; nan where nothing is true.

    Precision at a recall is the best one at that recall or beyond (as in PASCAL VOC 2010).
    """
    if not total:
        return float("nan")
    found_N = np.cumsum(hit_N)
    precision_N = found_N / np.arange(1, len(hit_N) + 1)
    best_N = np.maximum.accumulate(precision_N[::-1])[::-1]
    return float(np.diff(found_N / total, prepend=0) @ best_N)


def junction_ap(images: Sequence[Scored], threshold: float) -> float:
    """Average precision of end points in per cent: right within `threshold` pixels of the 128 x 128 frame (mAP-J).

    The junctions of an image are the distinct end points of its lines; a guessed one has its best line's score.
    """
    ordered, total = [], 0
    for image in images:
        truth_J2 = np.unique(framed(image.truth_L4, image.size).reshape(-1, 2), axis=0)
        order = np.argsort(-image.score_M, kind="stable")
        ends_J2, first_J = np.unique(
            framed(image.guess_M4[order], image.size).reshape(-1, 2), axis=0, return_index=True
        )
        score_J = image.score_M[order][first_J // 2]
        ordered.append((score_J, _nearest_once(ends_J2, score_J, truth_J2, threshold)))
        total += len(truth_J2)
    score_N, hit_N = (np.concatenate(part) for part in zip(*ordered, strict=True)) if ordered else (np.zeros(0),) * 2
    return 100 * average_precision(hit_N[np.argsort(-score_N, kind="stable")], total)


def _nearest_once(guess_J2: np.ndarray, score_J: np.ndarray, truth_J2: np.ndarray, threshold: float) -> np.ndarray:
    found_J = np.zeros(len(guess_J2), dtype=bool)
    if not (len(truth_J2) and len(guess_J2)):
        return found_J
    apart_J, nearest_J = KDTree(truth_J2).query(guess_J2)
    used: set[int] = set()
    for place in np.argsort(-score_J, kind="stable"):
        if apart_J[place] < threshold and nearest_J[place] not in used:
            used.add(nearest_J[place])
            found_J[place] = True
    return found_J


def samples(lines_L4: np.ndarray, valid_YX: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Points along lines and the length each stands for: (N, 2) x, y and (N,), pixels.

    Points outside the image or where it is not `valid_YX` are left out.
    """
    ends_L22 = np.asarray(lines_L4, dtype=float)[:, :4].reshape(-1, 2, 2)
    length_L = np.linalg.norm(ends_L22[:, 1] - ends_L22[:, 0], axis=1)
    count_L = np.maximum(1, np.ceil(length_L / STEP)).astype(int)
    line_N = np.repeat(np.arange(len(ends_L22)), count_L)
    place_N = np.arange(len(line_N)) - np.repeat(np.cumsum(count_L) - count_L, count_L)
    along_N1 = ((place_N + 0.5) / count_L[line_N])[:, None]
    point_N2 = ends_L22[line_N, 0] * (1 - along_N1) + ends_L22[line_N, 1] * along_N1
    weight_N = (length_L / count_L)[line_N]
    if valid_YX is None:
        return point_N2, weight_N
    keep_N = _looked_at(point_N2, valid_YX)
    return point_N2[keep_N], weight_N[keep_N]


def placement(
    truth_L4: np.ndarray, guess_M4: np.ndarray, valid_YX: np.ndarray | None = None, tolerance: float = TOLERANCE
) -> tuple[float, float, float, float]:
    """Lengths in pixels: right of the guess, all of the guess, found of the truth, all of the truth."""
    (truth_N2, truth_N), (guess_N2, guess_N) = (samples(lines, valid_YX) for lines in (truth_L4, guess_M4))
    right_N, found_N = _near(guess_N2, truth_N2, tolerance), _near(truth_N2, guess_N2, tolerance)
    return (*_lengths(guess_N, right_N), *_lengths(truth_N, found_N))


def _lengths(weight_N: np.ndarray, right_N: np.ndarray) -> tuple[float, float]:
    return float(weight_N[right_N].sum()), float(weight_N.sum())


def _near(point_N2: np.ndarray, other_M2: np.ndarray, tolerance: float) -> np.ndarray:
    if not (len(point_N2) and len(other_M2)):
        return np.zeros(len(point_N2), dtype=bool)
    return KDTree(other_M2).query(point_N2, distance_upper_bound=tolerance + 1e-9)[0] <= tolerance


def in_middle(lines_L4: np.ndarray, valid_YX: np.ndarray) -> np.ndarray:
    """Whether the middle of each line lies in the image where it is valid, (L,) bool."""
    return _looked_at((lines_L4[:, :2] + lines_L4[:, 2:4]) / 2, valid_YX)


def _looked_at(point_N2: np.ndarray, valid_YX: np.ndarray) -> np.ndarray:
    """Whether the pixel below each point is in the image and valid."""
    x_N, y_N = np.floor(point_N2).astype(int).T
    inside_N = (x_N >= 0) & (y_N >= 0) & (x_N < valid_YX.shape[1]) & (y_N < valid_YX.shape[0])
    return inside_N & (valid_YX[y_N.clip(0, valid_YX.shape[0] - 1), x_N.clip(0, valid_YX.shape[1] - 1)] != 0)
