"""From the texts of rings, as a reader meets them, to triangles with a class and a feature.

Decisions:
- Numbers stay text until thousands of rings are at hand, then the whole block is parsed (by Arrow: six times as fast
  as numpy and correctly rounded), projected and triangulated in one go. So a reader costs little per ring, and a
  relief of millions of triangles never lies in memory as text.
- A polygon is used whole or not at all: a missing or bad number, an unknown height (9999) or a place outside Japan
  drops it, counted.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stepladder.studies.plateau.data.citygml import geo
from stepladder.studies.plateau.data.citygml.polygons import Polygons, open_rings, triangulate
from stepladder.studies.plateau.data.citygml.raw import Tally

BLOCK = 1 << 16  # rings processed together: enough to be fast, little enough to hold as text
JAPAN = (20.0, 122.0, 46.5, 155.0)  # south, west, north, east, degrees
SENTINEL = 9000.0  # m; -9999 and 9999 stand for "unknown", and Japan ends at 3776


class Rings:
    """Polygons as they are read, feature by feature; `triangles` gives what became of them.

    Attributes:
        features: (id, theme, kind, level of detail) of every feature finished.
        zone: EPSG code of the plane-rectangular zone; 0 takes the one nearest to the first usable coordinate.
        dimensions: how many numbers a corner has: latitude, longitude and, with 3, height.
    """

    def __init__(self, zone: int, tally: Tally) -> None:
        self.features: list[tuple[str, str, str, int]] = []
        self.zone = zone
        self.dimensions = 3
        self._tally = tally
        self._texts: list[str | None] = []  # rings of the block at hand
        self._rings: list[int] = []  # how many rings each polygon of the block has
        self._polygons = 0  # polygons of the blocks before
        self._labels: list[tuple[int, int]] = []  # class, number of polygons
        self._owners: list[tuple[int, int]] = []  # row of `features` or -1, number of polygons
        self._owned = 0
        self._triangles = [np.empty((0, 3, 3))]
        self._polygon_of = [np.empty(0, dtype=np.int64)]

    def add(self, label: int, texts: list[str | None], rings_of_each: list[int]) -> None:
        """Take polygons of one class: the texts of their rings, outline first, and the rings of each polygon."""
        self._texts += texts
        self._rings += rings_of_each
        self._labels.append((label, len(rings_of_each)))
        if len(self._texts) >= BLOCK:
            self._finish_block()

    def finish(self, name: str, theme: str, kind: str, lod: int) -> None:
        """All polygons since the last call belong to this feature."""
        self._own(len(self.features))
        self.features.append((name, theme, kind, lod))

    def drop(self) -> None:
        """All polygons since the last call are unwanted."""
        self._own(-1)

    def triangles(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All triangles (N, 3, 3) in metres, their classes (N) and features (N), in the order they were read."""
        self.drop()  # whatever belongs to no feature
        self._finish_block()
        # Every triangle knows its polygon, every polygon its class and feature: two look-ups.
        polygon_N = np.concatenate(self._polygon_of)
        label_N = _spread(self._labels)[polygon_N].astype(np.uint8)
        feature_N = _spread(self._owners)[polygon_N].astype(np.int32)
        owned_N = feature_N >= 0
        return np.concatenate(self._triangles)[owned_N], label_N[owned_N], feature_N[owned_N]

    def _own(self, row: int) -> None:
        """Give the polygons since the last call to a row of `features`."""
        count = self._polygons + len(self._rings)
        self._owners.append((row, count - self._owned))
        self._owned = count

    def _finish_block(self) -> None:
        """Turn the texts at hand into triangles."""
        if not self._texts:
            return
        # Text to numbers, polygons checked, projected, cut: each once for the whole block.
        value, numbers_R = parse_numbers(self._texts)
        rings_P = np.array(self._rings, dtype=np.int64)
        polygons, kept = usable(value, numbers_R, rings_P, self.dimensions, self._tally)
        if len(kept):
            corner_V3 = polygons.corner_V3
            self.zone = self.zone or geo.zone_of(*corner_V3[0, :2])
            corner_V3[:, 0], corner_V3[:, 1] = geo.projector(self.zone)(corner_V3[:, 0], corner_V3[:, 1])
            corner_T3, polygon_T = triangulate(polygons, self._tally)
            self._triangles.append(corner_V3[corner_T3])
            self._polygon_of.append(self._polygons + kept[polygon_T])
        self._polygons += len(self._rings)
        self._texts, self._rings = [], []


def usable(
    value: np.ndarray, numbers_R: np.ndarray, rings_P: np.ndarray, dimensions: int, tally: Tally
) -> tuple[Polygons, np.ndarray]:
    """Polygons of open rings (latitude, longitude, height), and which of all they are; the others are counted.

    `value` holds the numbers of all rings in a row, `numbers_R` how many each ring has, `rings_P` how many rings each
    polygon has.
    """
    owner_R = np.repeat(np.arange(len(rings_P)), rings_P)
    # A ring whose numbers do not divide into corners spoils its whole polygon.
    torn_R = (numbers_R % dimensions != 0) | (numbers_R == 0)
    tally.add("ring of incomplete coordinates", torn_R.sum())
    whole_P = np.bincount(owner_R, torn_R, minlength=len(rings_P)) == 0
    whole_R = whole_P[owner_R]
    # Without heights (two dimensions) they are 0.
    corner_V3 = np.zeros((numbers_R[whole_R].sum() // dimensions, 3))
    corner_V3[:, :dimensions] = value[np.repeat(whole_R, numbers_R)].reshape(-1, dimensions)
    polygons = Polygons(corner_V3, numbers_R[whole_R] // dimensions, rings_P[whole_P])
    polygons, placed_P = _placed(polygons, tally)
    polygons, open_P = open_rings(polygons, tally)
    return polygons, np.flatnonzero(whole_P)[placed_P][open_P]


def parse_numbers(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all texts in a row (float64, correctly rounded) and how many each text holds.

    A text with a word that is no number becomes as many NaN as it has words.
    """
    # All words of all texts in one array, with the offsets of each text.
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
    # A polygon is dropped for the first reason that any of its corners gives, and counted under that one.
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
