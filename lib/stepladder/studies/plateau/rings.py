"""Rings as a reader meets them, text by text, and what becomes of them: polygons with a class and a feature.

Decisions:
- Numbers stay text until thousands of rings are at hand, then Arrow parses them all: six times as fast as numpy, and
  correctly rounded. So a relief of millions of triangles never lies in memory as text.
- A polygon is used whole or not at all: a missing or bad number, an unknown height (9999) or a place outside Japan
  drops it, counted.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stepladder.studies.plateau.polygons import Polygons, open_rings
from stepladder.studies.plateau.raw import Tally

FLUSH = 1 << 16  # rings parsed together: enough to be fast, little enough to hold as text
JAPAN = (20.0, 122.0, 46.5, 155.0)  # south, west, north, east, degrees
SENTINEL = 9000.0  # m; -9999 and 9999 stand for "unknown", and Japan ends at 3776


class Rings:
    """Polygons as they are read, feature by feature.

    Attributes:
        features: (id, theme, kind, level of detail) of every feature finished.
    """

    def __init__(self, tally: Tally) -> None:
        self.features: list[tuple[str, str, str, int]] = []
        self._tally = tally
        self._pending: list[str | None] = []
        self._values: list[np.ndarray] = [np.empty(0)]
        self._numbers: list[np.ndarray] = [np.empty(0, dtype=np.int64)]  # how many numbers each ring has
        self._rings: list[int] = []  # how many rings each polygon has
        self._labels: list[tuple[int, int]] = []  # class, number of polygons
        self._owners: list[tuple[int, int]] = []  # row of `features` or -1, number of polygons
        self._owned = 0

    def add(self, label: int, texts: list[str | None], rings_of_each: list[int]) -> None:
        """Take polygons of one class: the texts of their rings, outline first, and the rings of each polygon."""
        self._pending += texts
        self._rings += rings_of_each
        self._labels.append((label, len(rings_of_each)))
        if len(self._pending) >= FLUSH:
            self._flush()

    def finish(self, name: str, theme: str, kind: str, lod: int) -> None:
        """All polygons since the last call belong to this feature."""
        self._own(len(self.features))
        self.features.append((name, theme, kind, lod))

    def drop(self) -> None:
        """All polygons since the last call are unwanted."""
        self._own(-1)

    def polygons(self, dimensions: int) -> tuple[Polygons, np.ndarray, np.ndarray]:
        """All usable polygons with open rings (latitude, longitude, height), their classes and features (P).

        `dimensions` is how many numbers a corner has; with 2 the height is 0.
        """
        self.drop()  # whatever belongs to no feature
        self._flush()
        value, numbers_R = np.concatenate(self._values), np.concatenate(self._numbers)
        label_P, feature_P = _spread(self._labels).astype(np.uint8), _spread(self._owners).astype(np.int32)
        rings_P = np.array(self._rings, dtype=np.int64)
        owner_R = np.repeat(np.arange(len(rings_P)), rings_P)
        torn_R = (numbers_R % dimensions != 0) | (numbers_R == 0)
        self._tally.add("ring of incomplete coordinates", torn_R.sum())
        kept_P = (feature_P >= 0) & (np.bincount(owner_R, torn_R, minlength=len(rings_P)) == 0)
        kept_R = kept_P[owner_R]
        corner_V3 = np.zeros((numbers_R[kept_R].sum() // dimensions, 3))
        corner_V3[:, :dimensions] = value[np.repeat(kept_R, numbers_R)].reshape(-1, dimensions)
        polygons = Polygons(corner_V3, numbers_R[kept_R] // dimensions, rings_P[kept_P])
        polygons, placed_P = _placed(polygons, self._tally)
        polygons, whole_P = open_rings(polygons, self._tally)
        kept = np.flatnonzero(kept_P)[placed_P][whole_P]
        return polygons, label_P[kept], feature_P[kept]

    def _own(self, row: int) -> None:
        """Give the polygons since the last call to a row of `features`."""
        self._owners.append((row, len(self._rings) - self._owned))
        self._owned = len(self._rings)

    def _flush(self) -> None:
        """Turn the texts at hand into numbers."""
        if self._pending:
            value, numbers_R = parse_numbers(self._pending)
            self._values.append(value)
            self._numbers.append(numbers_R)
            self._pending = []


def parse_numbers(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all texts in a row (float64, correctly rounded) and how many each text holds.

    A text with a word that is no number becomes as many NaN as it has words.
    """
    words = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(pa.array([text or "" for text in texts], pa.string())))
    try:
        return pc.cast(words.values, pa.float64()).to_numpy(), np.diff(words.offsets.to_numpy())
    except pa.ArrowInvalid:  # an empty or broken text somewhere: find it the slow way
        rows = [_numbers(text or "") for text in texts]
        return np.concatenate(rows), np.array([len(row) for row in rows])


def _numbers(text: str) -> np.ndarray:
    """Numbers of one text; NaN for each word where one of them is no number."""
    words = text.split()
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return np.full(len(words), np.nan)


def _placed(polygons: Polygons, tally: Tally) -> tuple[Polygons, np.ndarray]:
    """The polygons that lie in Japan at a known height, and which of all (P) they are; the others are counted."""
    lat_V, lon_V, height_V = polygons.corner_V3.T
    south, west, north, east = JAPAN
    number_V = np.isfinite(polygons.corner_V3).all(axis=1)
    inside_V = (lat_V >= south) & (lat_V <= north) & (lon_V >= west) & (lon_V <= east)
    owner_V = np.repeat(polygons.owner_R, polygons.corners_R)
    good_P = np.ones(len(polygons.rings_P), dtype=bool)
    for kind, bad_V in (
        ("polygon with a coordinate that is not a number", ~number_V),
        ("polygon with a height of 9999 or -9999", np.abs(height_V) >= SENTINEL),
        ("polygon outside Japan", ~inside_V),
    ):
        bad_P = good_P & (np.bincount(owner_V, bad_V, minlength=len(good_P)) > 0)
        tally.add(kind, bad_P.sum())
        good_P &= ~bad_P
    return polygons.keep(np.ones(len(polygons.corners_R), dtype=bool), good_P), good_P


def _spread(pairs: list[tuple[int, int]]) -> np.ndarray:
    """Values repeated by their counts, from pairs (value, count)."""
    value, count = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return np.repeat(value, count)
