"""The competition's metrics of one volume, by their exact definition.

Decisions:
- Surface Dice is DeepMind's (Nikolov et al., arXiv 1809.04430): a surface element for every 2 x 2 x 2 neighbourhood
  that is neither full nor empty, as large as the marching-cubes surface in it, counted as hit when the other mask has a
  surface element within the tolerance. Spacing 1, tolerance in voxels (2 in the competition).
- Where a neighbourhood is ambiguous the definition draws the surface of whichever phase holds fewer corners; our areas
  equal those of the published package in all 256 cases.
- "Within the tolerance" is a dilation by a ball, not a distance transform: equal, and a tenth of the time and memory.
- VOI compares 26-connected components on the union of both foregrounds, in bits; its score is 1 / (1 + alpha VOI) with
  the competition text's alpha of 0.3 (the official package's default is 1).
- Two empty masks are equal (1); one empty mask has nothing right (surface Dice 0).

All masks are bool arrays (Z, Y, X) in which unlabelled voxels are already background, as `scores` makes them.
"""

import functools
import itertools

import numpy as np

from stepladder.studies.scroll.data.labels import SHEET, UNKNOWN
from stepladder.studies.scroll.evaluation import topology

TOLERANCE, ALPHA = 2.0, 0.3
CORNERS = tuple(itertools.product((0, 1), repeat=3))  # of a 2 x 2 x 2 neighbourhood, the first the highest bit


def scores(label_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> dict[str, float]:
    """Every metric of one volume, higher is better; label 2 is background in truth and guess.

    Names: "SurfaceDice@2", "VOI score", "topo" or "euler_score" (see `topology.name`), "Dice".
    """
    truth_ZYX, guess_ZYX = label_ZYX == SHEET, (guess_ZYX != 0) & (label_ZYX != UNKNOWN)
    return {
        f"SurfaceDice@{TOLERANCE:g}": surface_dice(truth_ZYX, guess_ZYX),
        "VOI score": voi_score(truth_ZYX, guess_ZYX),
        topology.name(): topology.score(truth_ZYX, guess_ZYX),
        "Dice": dice(truth_ZYX, guess_ZYX),
    }


def surface_dice(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """Share of both surfaces that lies within `tolerance` voxels of the other one, by area."""
    if not (truth_ZYX.any() and guess_ZYX.any()):
        return float(truth_ZYX.any() == guess_ZYX.any())
    # Surfaces lie where the masks are; the rest of the volume need not be looked at.
    box = bounding_box(truth_ZYX | guess_ZYX)
    truth, guess = (neighbourhoods(mask[box]) for mask in (truth_ZYX, guess_ZYX))
    # A surface element is a hit when the other mask has one within the tolerance; hits are weighed by area.
    near_truth, near_guess = (dilate(surface_elements(code), tolerance) for code in (truth, guess))
    area = surface_areas()
    hit = area[truth[near_guess]].sum() + area[guess[near_truth]].sum()
    return float(hit / (_area(truth) + _area(guess)))


def voi(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> tuple[float, float]:
    """Variation of information of the components, in bits: (split, merge).

    Split is H(guess | truth), what the guess cuts apart; merge is H(truth | guess), what it joins (Meila, Comparing
    clusterings, 2007). What only one mask holds is the component "background" of the other.
    """
    union_ZYX = truth_ZYX | guess_ZYX
    if not union_ZYX.any():
        return 0.0, 0.0
    truth_V, guess_V = (topology.components(mask)[union_ZYX].astype(np.int64) for mask in (truth_ZYX, guess_ZYX))
    # Both numbers of a voxel as one: the joint histogram of the two labellings.
    pairs, count_P = np.unique(truth_V * (guess_V.max() + 1) + guess_V, return_counts=True)
    truth_P, guess_P = np.divmod(pairs, guess_V.max() + 1)
    in_truth_P, in_guess_P = np.bincount(truth_V)[truth_P], np.bincount(guess_V)[guess_P]
    split, merge = (float(-(count_P @ np.log2(count_P / whole)) / len(truth_V)) for whole in (in_truth_P, in_guess_P))
    return split + 0.0, merge + 0.0  # no negative zero


def voi_score(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray, alpha: float = ALPHA) -> float:
    """1 / (1 + alpha (split + merge)): 1 for equal components."""
    return 1 / (1 + alpha * sum(voi(truth_ZYX, guess_ZYX)))


def dice(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> float:
    """2 |both| / (|truth| + |guess|), 1 when both are empty. Not part of the competition."""
    total = np.count_nonzero(truth_ZYX) + np.count_nonzero(guess_ZYX)
    return float(2 * np.count_nonzero(truth_ZYX & guess_ZYX) / total) if total else 1.0


def neighbourhoods(mask_ZYX: np.ndarray) -> np.ndarray:
    """Code 0 to 255 of the 2 x 2 x 2 voxels around every corner: uint8 (Z + 1, Y + 1, X + 1), empty outside."""
    padded = np.pad(mask_ZYX, 1).astype(np.uint8)
    code = np.zeros(tuple(n + 1 for n in mask_ZYX.shape), dtype=np.uint8)
    for bit, corner in zip(range(7, -1, -1), CORNERS, strict=True):
        place = tuple(slice(start, start + n) for start, n in zip(corner, code.shape, strict=True))
        code |= padded[place] << np.uint8(bit)
    return code


def surface_elements(code_ZYX: np.ndarray) -> np.ndarray:
    """Mask of the neighbourhoods that hold surface: neither empty nor full."""
    return (code_ZYX != 0) & (code_ZYX != 255)


@functools.cache
def surface_areas() -> np.ndarray:
    """Area of the surface in each of the 256 neighbourhoods, in squared voxels: Lorensen and Cline, 1987.

    The surface is that of the phase with at most four corners, so that a mask and its complement have the same.
    """
    from skimage.measure import marching_cubes, mesh_surface_area

    area = np.zeros(256)
    for code in range(1, 255):
        corners = np.unpackbits(np.uint8(code)).reshape(2, 2, 2)
        fewer = corners if corners.sum() <= 4 else 1 - corners
        points, faces, *_ = marching_cubes(fewer.astype(np.float32), 0.5, method="lorensen")
        area[code] = mesh_surface_area(points, faces)
    return area


def dilate(mask_ZYX: np.ndarray, radius: float) -> np.ndarray:
    """Every voxel with one of `mask_ZYX` within `radius` (Euclidean, in voxels)."""
    reach = int(radius)
    padded = np.pad(mask_ZYX, reach)
    result = np.zeros_like(mask_ZYX)
    # The mask shifted by every offset of the ball, or-ed: no distances in floating point.
    for offset in np.argwhere(ball(radius)):
        result |= padded[tuple(slice(o, o + n) for o, n in zip(offset, mask_ZYX.shape, strict=True))]
    return result


def ball(radius: float) -> np.ndarray:
    """The voxels within `radius` of the middle one, as a bool cube."""
    axis = np.arange(-int(radius), int(radius) + 1)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return z**2 + y**2 + x**2 <= radius**2


def bounding_box(mask_ZYX: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds everything set in a mask that is not empty."""
    box = []
    for axis in range(3):
        set_N = np.flatnonzero(mask_ZYX.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(set_N[0]), int(set_N[-1]) + 1))
    return tuple(box)


def _area(code_ZYX: np.ndarray) -> float:
    return surface_areas()[code_ZYX[surface_elements(code_ZYX)]].sum()
