"""Metrics of polygons: how many are found, how near their corners lie, and whether they have as many as needed.

Decisions:
- F1 is SpaceNet's, as solaris computes it: guesses in order of falling confidence, each takes the free true polygon it
  overlaps best, and is right if that IoU is *above* 0.5. Both sides leave out what is smaller than `smallest`: truth
  of less, guesses of not more (sic: solaris' 20 square pixels).
- Guesses that cross themselves are mended by a buffer of 0; an invalid true polygon cannot be found.
- PoLiS (Avbelj et al., IEEE GRSL 2015): half the mean distance of either polygon's corners to the other's boundary.
- C-IoU and N ratio (Zorzi et al., PolyWorld, CVPR 2022): C = 1 - |N_guess - N_truth| / (N_guess + N_truth), and their
  ratio N_guess / N_truth, of corners; too many corners are punished where IoU is blind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

LEAST = 0.5  # IoU above which a polygon is found


@dataclass(frozen=True)
class Found:
    """Who found whom: pairs (guess, truth) of places in the two lists, and how many are left over on either side."""

    pairs: tuple[tuple[int, int], ...]
    false: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of guesses that are right; 0 of none."""
        return _share(len(self.pairs), len(self.pairs) + self.false)

    @property
    def recall(self) -> float:
        """Share of true polygons that are found; 0 of none."""
        return _share(len(self.pairs), len(self.pairs) + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both; 0 where nothing is found."""
        return _share(2 * self.precision * self.recall, self.precision + self.recall)


def find(
    truth: Sequence[BaseGeometry],
    guess: Sequence[BaseGeometry],
    confidence: Sequence[float] | None = None,
    least: float = LEAST,
    smallest: float = 0.0,
) -> Found:
    """Match guesses with truth as SpaceNet does.

    Args:
        truth, guess: polygons in any unit of length, the same for both.
        confidence: of the guesses; without, they come in the order given (so do equal ones).
        least: IoU that a match exceeds.
        smallest: area below which polygons are left out; 0 leaves out none, not even a guess without area.
    """
    kept = [place for place, polygon in enumerate(truth) if polygon.area >= smallest]
    asked = [place for place, polygon in enumerate(guess) if not smallest or polygon.area > smallest]
    if confidence is not None:
        asked.sort(key=lambda place: -confidence[place])
    tree, free, pairs = shapely.STRtree([truth[place] for place in kept]), set(range(len(kept))), []
    for place in asked:
        mended = valid(guess[place])
        near = sorted(free.intersection(tree.query(mended).tolist()))
        overlap = [iou(mended, truth[kept[other]]) for other in near]
        if overlap and max(overlap) > least:
            best = near[int(np.argmax(overlap))]
            free.discard(best)
            pairs.append((place, kept[best]))
    return Found(tuple(pairs), len(asked) - len(pairs), len(free))


def iou(one: BaseGeometry, two: BaseGeometry) -> float:
    """Intersection over union of two polygons; 0 where one is not valid, or both are empty."""
    if not (one.is_valid and two.is_valid):
        return 0.0
    both = one.intersection(two).area
    return _share(both, one.area + two.area - both)


def valid(polygon: BaseGeometry) -> BaseGeometry:
    """The polygon, mended where it crosses itself."""
    return polygon if polygon.is_valid else polygon.buffer(0)


def polis(one: BaseGeometry, two: BaseGeometry) -> float:
    """PoLiS distance of two polygons in their unit of length: symmetric, 0 for the same corners."""
    return (_to_boundary(one, two) + _to_boundary(two, one)) / 2


def _to_boundary(one: BaseGeometry, two: BaseGeometry) -> float:
    """Mean distance of the corners of a polygon, those of its holes too, from the boundary of another."""
    return float(shapely.distance(shapely.points(corners(one)), two.boundary).mean())


def corners(polygon: BaseGeometry) -> np.ndarray:
    """Corners of a polygon (N, 2), each once: a ring's last point repeats its first."""
    rings = shapely.get_rings(polygon)
    return np.concatenate([shapely.get_coordinates(ring)[:-1] for ring in rings])


def corner_ratio(truth: BaseGeometry, guess: BaseGeometry) -> float:
    """N ratio: corners of the guess over corners of the truth; 1 is best."""
    return len(corners(guess)) / len(corners(truth))


def corner_iou(truth: BaseGeometry, guess: BaseGeometry) -> float:
    """C-IoU: IoU times how alike the numbers of corners are; 1 for the same polygon."""
    many, true = len(corners(guess)), len(corners(truth))
    return iou(truth, valid(guess)) * (1 - abs(many - true) / (many + true))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
