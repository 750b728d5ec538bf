"""Where an image lies on Earth: pixels to coordinates and back, and how many true metres a pixel is wide.

Decisions:
- Points are pixels as everywhere in the study: 0 at the outer corner of the first pixel. The six numbers are in the
  order of rasterio, so `rasterio.transform.Affine(*transform)` is the same map.
- Metres are measured on the ellipsoid, never taken from the CRS: a metre of EPSG:3857 is cos(latitude) metres of
  ground, a unit of a state plane may be a foot, and one of EPSG:4326 is a degree.
- North is the grid's: where axes of the CRS and true north differ (up to 3 degrees at the edge of a UTM zone), a
  bearing differs as much, which a face's sector of 22.5 degrees does not notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from stepladder.core.types import StudyError

LONLAT = "EPSG:4326"
ELLIPSOID = Geod(ellps="WGS84")
UPRIGHT = 0.02  # slope of an axis, about one degree, below which an image counts as not turned


@dataclass(frozen=True)
class Georeference:
    """A coordinate reference system and the affine map from pixels to it.

    Attributes:
        crs: "EPSG:3857" or well-known text.
        transform: a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    def __post_init__(self) -> None:
        if not np.isfinite(self.transform).all() or np.linalg.det(self._matrix) == 0:
            raise StudyError(f"the transform {self.transform} maps a pixel to no area: it is not a georeference")

    @property
    def north_up(self) -> bool:
        """Whether rows run to the south and columns to the east of the grid (within a degree)."""
        a, b, _, d, e, _ = self.transform
        return a > 0 > e and abs(b) <= UPRIGHT * abs(e) and abs(d) <= UPRIGHT * abs(a)

    def to_crs(self, points_N2: np.ndarray) -> np.ndarray:
        """Pixels (x, y) as coordinates of the CRS, in its own unit, east first."""
        return np.asarray(points_N2, np.float64).reshape(-1, 2) @ self._matrix.T + self._origin

    def from_crs(self, points_N2: np.ndarray) -> np.ndarray:
        """Coordinates of the CRS, east first, as pixels (x, y)."""
        return np.linalg.solve(self._matrix, (np.asarray(points_N2, np.float64).reshape(-1, 2) - self._origin).T).T

    def to_lonlat(self, points_N2: np.ndarray) -> np.ndarray:
        """Pixels (x, y) as longitude and latitude in degrees (WGS 84)."""
        return reproject(self.to_crs(points_N2), self.crs, LONLAT)

    def to_pixels(self, lonlat_N2: np.ndarray) -> np.ndarray:
        """Longitude and latitude in degrees (WGS 84) as pixels (x, y)."""
        return self.from_crs(reproject(lonlat_N2, LONLAT, self.crs))

    def metres_per_pixel(self, at: tuple[float, float]) -> float:
        """Square root of the ground, in square metres, that the pixel around the point `at` (x, y) covers.

        Two short geodesics along row and column span the area: one pixel is too small for the polygon area of a
        geodesic library, whose error is about 0.1 square metres.
        """
        x, y = at
        west, east, north, south = self.to_lonlat(
            np.array([(x - 0.5, y), (x + 0.5, y), (x, y - 0.5), (x, y + 0.5)], np.float64)
        )
        along_row, _, width = ELLIPSOID.inv(*west, *east)
        along_column, _, height = ELLIPSOID.inv(*north, *south)
        return float(np.sqrt(width * height * abs(np.sin(np.radians(along_column - along_row)))))

    def window(self, x: float, y: float) -> Georeference:
        """The same for an image whose first corner is this one's pixel (x, y)."""
        a, b, _, d, e, _ = self.transform
        (c, f) = self.to_crs(np.array([(x, y)]))[0]
        return Georeference(self.crs, (a, b, float(c), d, e, float(f)))

    @property
    def _matrix(self) -> np.ndarray:
        a, b, _, d, e, _ = self.transform
        return np.array([(a, b), (d, e)], np.float64)

    @property
    def _origin(self) -> np.ndarray:
        return np.array([self.transform[2], self.transform[5]], np.float64)


def from_bounds(west: float, south: float, east: float, north: float, shape: Sequence[int]) -> Georeference:
    """An image of `shape` (rows, columns) with north up that fills a rectangle of longitude and latitude."""
    rows, columns = shape
    return Georeference(LONLAT, ((east - west) / columns, 0.0, west, 0.0, (south - north) / rows, north))


def reproject(points_N2: np.ndarray, source: str, target: str) -> np.ndarray:
    """Points of the CRS `source` in that of `target`, east (longitude) first in both.

    Raises:
        StudyError: a CRS that PROJ does not know or that has no place on Earth, or a point outside its area.
    """
    points_N2 = np.asarray(points_N2, np.float64).reshape(-1, 2)
    if source == target:
        return points_N2
    moved_N2 = np.stack(_transformer(source, target).transform(points_N2[:, 0], points_N2[:, 1]), axis=1)
    if not np.isfinite(moved_N2).all():
        raise StudyError(
            f"{points_N2[~np.isfinite(moved_N2).all(1)][0]} of {_short(source)} has no place in {_short(target)}"
        )
    return moved_N2


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    try:
        return Transformer.from_crs(CRS(source), CRS(target), always_xy=True)
    except ProjError as error:
        raise StudyError(f"no way from {_short(source)} to {_short(target)}: {error}; give the raster a CRS") from error


def _short(crs: str) -> str:
    return crs if len(crs) <= 40 else crs[:37] + "..."
