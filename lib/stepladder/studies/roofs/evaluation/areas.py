"""Metrics of areas: intersection over union, of classes and of bands along boundaries.

Decisions:
- Pixels that are not labelled, or not to be looked at, belong to neither mask: every function takes `valid_YX`.
- A class that neither mask holds is absent: its IoU is nan and left out of a mean, never 1.
- Two ways of averaging, and every number says which: *per image* (macro over the classes present in one image, then
  the mean over images, as RID's paper and the annotators' agreement), and *micro* (intersections and unions summed over
  all images first, then one quotient per class; what records of `scoring` make).
"""

import numpy as np
from scipy import ndimage

BAND = 0.02  # width of the band of boundary IoU as a share of the diagonal: Cheng et al., CVPR 2021


def counts(
    truth_YX: np.ndarray, guess_YX: np.ndarray, classes: int, valid_YX: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of every class: (intersection_C, union_C, truth_C), int64. What is not `valid_YX` counts nowhere.

    Truth ids from `classes` on (such as 255, not labelled) are never valid; there are at most 100 classes.
    """
    known_YX = truth_YX < classes
    keep_YX = known_YX if valid_YX is None else known_YX & (valid_YX != 0)
    pair_YX = truth_YX.astype(np.int16) * np.int16(classes) + guess_YX.astype(np.int16)
    pair_N = pair_YX.ravel() if keep_YX.all() else pair_YX[keep_YX]
    table_CC = np.bincount(pair_N, minlength=classes**2).reshape(classes, classes)
    hit_C, truth_C, guess_C = np.diagonal(table_CC).copy(), table_CC.sum(axis=1), table_CC.sum(axis=0)
    return hit_C, truth_C + guess_C - hit_C, truth_C


def ious(hit_C: np.ndarray, union_C: np.ndarray) -> np.ndarray:
    """Intersection over union of every class, nan where the class is absent."""
    return np.divide(hit_C, union_C, out=np.full(np.shape(union_C), np.nan), where=np.asarray(union_C) > 0)


def image_ious(
    truth_YX: np.ndarray, guess_YX: np.ndarray, classes: int, valid_YX: np.ndarray | None = None
) -> np.ndarray:
    """IoU of every class in one image; nan where neither holds it. Its nanmean is the macro IoU per image."""
    hit_C, union_C, _ = counts(truth_YX, guess_YX, classes, valid_YX)
    return ious(hit_C, union_C)


def iou(truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray | None = None) -> float:
    """IoU of two masks of one image; nan where both are empty."""
    return float(image_ious(truth_YX.astype(bool), guess_YX.astype(bool), 2, valid_YX)[1])


def boundary(mask_YX: np.ndarray, share: float = BAND) -> np.ndarray:
    """The pixels of a mask that lie within d of its boundary, d = `share` of the image's diagonal, at least a pixel.

    As the authors' code: what a square of 2 d + 1 pixels would erode, and the mask ends at the image's border.
    """
    width = max(1, round(share * float(np.hypot(*mask_YX.shape))))
    inner_YX = ndimage.minimum_filter(mask_YX.astype(np.uint8), 2 * width + 1, mode="constant", cval=0)
    return mask_YX.astype(bool) & (inner_YX == 0)


def boundary_counts(
    truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray | None = None, share: float = BAND
) -> tuple[int, int]:
    """Pixels of the intersection and of the union of two masks, each cut to the band along its own boundary.

    Where something is not valid, the masks are cut first: both get the same boundary there.
    """
    keep_YX = np.ones(truth_YX.shape, dtype=bool) if valid_YX is None else valid_YX.astype(bool)
    one_YX, two_YX = (boundary(mask_YX.astype(bool) & keep_YX, share) for mask_YX in (truth_YX, guess_YX))
    return int(np.count_nonzero(one_YX & two_YX)), int(np.count_nonzero(one_YX | two_YX))


def boundary_iou(
    truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray | None = None, share: float = BAND
) -> float:
    """Boundary IoU of one image (Cheng et al., Boundary IoU, CVPR 2021); nan where both masks are empty."""
    hit, union = boundary_counts(truth_YX, guess_YX, valid_YX, share)
    return hit / union if union else float("nan")


def instances(
    truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray | None = None, smallest: float = 0.0
) -> tuple[int, int, int]:
    """Numbers of instances that match, are true, and are guessed, of two maps of ids (0 none); float areas in pixels.

    A match overlaps by an IoU above one half. Instances of a map do not overlap, so each has at most one such partner
    and no order of confidence matters (`polygons.find` is for those that may). Those below `smallest` are left out.
    """
    keep_YX = np.ones(truth_YX.shape, dtype=bool) if valid_YX is None else valid_YX.astype(bool)
    truth_N, guess_N = (_without_small(map_YX[keep_YX], smallest) for map_YX in (truth_YX, guess_YX))
    both_N = (truth_N > 0) & (guess_N > 0)
    pair_P2, overlap_P = np.unique(np.stack([truth_N[both_N], guess_N[both_N]], 1), axis=0, return_counts=True)
    union_P = np.bincount(truth_N)[pair_P2[:, 0]] + np.bincount(guess_N)[pair_P2[:, 1]] - overlap_P
    true, guessed = (len(np.unique(id_N[id_N > 0])) for id_N in (truth_N, guess_N))
    return int(np.count_nonzero(2 * overlap_P > union_P)), true, guessed


def _without_small(id_N: np.ndarray, smallest: float) -> np.ndarray:
    _, number_N, count = np.unique(id_N, return_inverse=True, return_counts=True)
    return np.where((id_N > 0) & (count[number_N] >= smallest), number_N + 1, 0)
