"""Do truth and prediction have the same topology: components, tunnels and cavities?

Decisions:
- The competition's `topo` matches features by Betti matching (Stucki et al., ICML 2023) with the compiled package
  `betti_matching` (Betti-Matching-3D, not on PyPI). Where it is importable, `topo` is scored with it.
- Where it is not, `euler_score` stands in, under its own name: Betti numbers from the Euler characteristic and
  components, counted octant by octant, without asking whether the features lie at the same place. No matching can
  match more than the smaller number, so per volume `euler_score` is an upper bound of `topo`, not an estimate.
- Both count alike. Voxels are the corners of the complex, so sheets hold together by faces alone (6-connected) and the
  background leaks through edges and corners (26-connected); that is what plugging is worth. The first component of an
  octant counts for nothing: it never dies in a filtration, and Betti matching knows only what is born and dies.
- Both: volume cut into 2 x 2 x 2 octants, counts summed, F1 = 2 m / (p + g) per dimension (0.5 / (p + 0.5) when g = 0),
  weights 0.34, 0.33, 0.33 over the dimensions that occur; 1 when none does.
"""

import functools
import importlib.util
import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np

Count = Callable[[np.ndarray, np.ndarray], list]  # masks of truth and guess -> features of truth, of guess, matched
WEIGHTS = (0.34, 0.33, 0.33)  # components, tunnels, cavities


def name() -> str:
    """`topo` where Betti matching is installed, else `euler_score`."""
    return "topo" if importlib.util.find_spec("betti_matching") else "euler_score"


def score(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> float:
    """The score called `name()` of two masks."""
    return f1(truth_ZYX, guess_ZYX, _matched if name() == "topo" else _smaller)


def euler_score(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> float:
    """The stand-in, whether or not Betti matching is installed."""
    return f1(truth_ZYX, guess_ZYX, _smaller)


def f1(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray, count: Count) -> float:
    """Weighted F1 over dimensions; `count(truth, guess)` gives (features of truth, of guess, matched) of an octant."""
    counts_3D = np.sum([count(truth_ZYX[o], guess_ZYX[o]) for o in octants(truth_ZYX.shape)], axis=0)
    value = weight = 0.0
    for share, real, said, matched in zip(WEIGHTS, *counts_3D.tolist(), strict=True):
        # A dimension that neither has says nothing and takes no weight.
        if real or said:
            value += share * (2 * matched / (real + said) if real else 0.5 / (said + 0.5))
            weight += share
    return value / weight if weight else 1.0


def octants(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The eight parts of a volume, halved along each axis (the first half takes the odd voxel)."""
    halves = [(slice(0, -(-n // 2)), slice(-(-n // 2), n)) for n in shape]
    return list(itertools.product(*halves))


def components(mask_ZYX: np.ndarray, connectivity: Literal[6, 18, 26] = 26) -> np.ndarray:
    """Connected components, numbered from 1; 0 is background."""
    import cc3d

    return cc3d.connected_components(np.ascontiguousarray(mask_ZYX, dtype=np.uint8), connectivity=connectivity)


def betti(mask_ZYX: np.ndarray) -> tuple[int, int, int]:
    """Components (6-connected), tunnels and cavities of a mask: b1 = b0 + b2 - Euler characteristic."""
    parts = int(components(mask_ZYX, 6).max(initial=0))
    cavities = int(components(~np.pad(mask_ZYX, 1)).max()) - 1  # the outside is no cavity
    return parts, parts + cavities - euler(mask_ZYX), cavities


def euler(mask_ZYX: np.ndarray) -> int:
    """Euler characteristic of voxels joined by faces: voxels - pairs + squares of four - cubes of eight."""
    total = 0
    for wide in itertools.product((0, 1), repeat=3):  # along which axes the element is two voxels long
        # An element of the complex is there where all voxels at its corners are: shifted views, and-ed together.
        corners = itertools.product(*(range(1 + more) for more in wide))
        shape = np.subtract(mask_ZYX.shape, wide).clip(0)
        parts = [mask_ZYX[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))] for corner in corners]
        total += (-1) ** sum(wide) * int(np.count_nonzero(functools.reduce(np.logical_and, parts)))
    return total


def _smaller(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> list:
    """Features of truth, of guess, and the smaller of the two; without the one component that never dies."""
    real, said = (np.maximum(np.subtract(betti(mask), (1, 0, 0)), 0) for mask in (truth_ZYX, guess_ZYX))
    return [real, said, np.minimum(real, said)]


def _matched(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> list:
    """Features of truth, of guess, and matched ones, by Betti matching of the sublevel sets of the complements."""
    import betti_matching  # pyright: ignore[reportMissingImports] (optional, on no index)

    # Inside 0 and outside 1: the sublevel set at 0 is the mask.
    inverted = [np.ascontiguousarray(~mask, dtype=np.float64) for mask in (guess_ZYX, truth_ZYX)]
    result = betti_matching.compute_matching(
        *inverted, include_input1_unmatched_pairs=True, include_input2_unmatched_pairs=True
    )
    matched, only_guess, only_truth = (
        np.asarray(counts)[:3]
        for counts in (result.num_matched, result.num_unmatched_input1, result.num_unmatched_input2)
    )
    return [matched + only_truth, matched + only_guess, matched]
