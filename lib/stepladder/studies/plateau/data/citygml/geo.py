"""Where things are: Japan's plane-rectangular zones and its grid of mesh codes.

Decisions:
- A city is converted in one zone (EPSG 6669 to 6687, JGD2011), because windows are cut in metres. Officially a zone
  follows prefectures, so `zone_of_city` is the rule; `zone_of` (nearest origin) is for files that name no city and may
  differ from it near a border, which shifts the scale by a few centimetres per kilometre at most.
- Mesh codes (JIS X 0410) are computed in whole numbers of the finest cell (7.5" x 11.25"), so edges are exact.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pyproj

GEOGRAPHIC = 6668  # JGD2011; the horizontal part of 6697, which PLATEAU files name
FIRST_ZONE = 6669

# Latitude and longitude of the origins of zones I to XIX, degrees (Ministry of Land, notification 9 of 2002).
ORIGINS = np.array(
    [
        (33, 129.5), (33, 131), (36, 132 + 1 / 6), (33, 133.5), (36, 134 + 1 / 3), (36, 136), (36, 137 + 1 / 6),
        (36, 138.5), (36, 139 + 5 / 6), (40, 140 + 5 / 6), (44, 140.25), (44, 142.25), (44, 144.25), (26, 142),
        (26, 127.5), (26, 124), (26, 131), (20, 136), (26, 154),
    ]
)  # fmt: skip

# Prefectures (first two digits of a municipality code) that lie in one zone; Hokkaido (01) spreads over three.
PREFECTURES = {
    1: (42,), 2: (40, 41, 43, 44, 45, 46), 3: (32, 34, 35), 4: (36, 37, 38, 39), 5: (28, 31, 33),
    6: (18, 24, 25, 26, 27, 29, 30), 7: (16, 17, 21, 23), 8: (15, 19, 20, 22), 9: (7, 8, 9, 10, 11, 12, 13, 14),
    10: (2, 3, 4, 5, 6), 15: (47,),
}  # fmt: skip
ZONE_OF_PREFECTURE = {prefecture: zone for zone, codes in PREFECTURES.items() for prefecture in codes}

# Cells of one mesh in units of the finest cell, by number of digits: 1st, 2nd, 3rd, half and quarter mesh.
CELLS = {4: 320, 6: 40, 8: 4, 9: 2, 10: 1}
LAT_CELLS, LON_CELLS = 480, 320  # finest cells per degree


class MeshError(ValueError):
    """A mesh code or zone that does not exist."""


def zone_of(lat: float, lon: float) -> int:
    """EPSG code of the plane-rectangular zone whose origin is nearest (degrees in)."""
    return FIRST_ZONE + int(np.argmin(np.sum((ORIGINS - (lat, lon)) ** 2, axis=1)))


def zone_of_city(code: str) -> int | None:
    """EPSG code of a municipality's official zone; None in Hokkaido, where the code does not decide it.

    `code` is the 5-digit municipality code, such as "27100". Outlying islands (Ogasawara, Sakishima, Daito, Amami)
    count with the main part of their prefecture.
    """
    prefecture = int(code[:2])
    return FIRST_ZONE - 1 + ZONE_OF_PREFECTURE[prefecture] if prefecture in ZONE_OF_PREFECTURE else None


@lru_cache
def projector(epsg: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A function (lat_N, lon_N) in degrees -> (x_N easting, y_N northing) in metres of zone `epsg`."""
    if not FIRST_ZONE <= epsg < FIRST_ZONE + len(ORIGINS):
        raise MeshError(f"zone {epsg} is not a plane-rectangular zone of JGD2011: use EPSG 6669 to 6687")
    transformer = pyproj.Transformer.from_crs(GEOGRAPHIC, epsg, always_xy=True)
    return lambda lat_N, lon_N: transformer.transform(lon_N, lat_N)


def mesh_code(lat: float, lon: float, digits: int = 8) -> str:
    """Code of the mesh that holds a point (degrees): 4, 6, 8 (third mesh, about 1 km), 9 or 10 digits."""
    # The nudge (0.2 mm) keeps a point on a cell's south or west edge in that cell despite rounding.
    return _encode(int(np.floor(lat * LAT_CELLS + 1e-6)), int(np.floor(lon * LON_CELLS + 1e-6)), digits)


def mesh_bounds(code: str) -> tuple[float, float, float, float]:
    """South, west, north and east edge of a mesh in degrees: (lat0, lon0, lat1, lon1)."""
    row, column, size = _decode(code)
    return row / LAT_CELLS, column / LON_CELLS, (row + size) / LAT_CELLS, (column + size) / LON_CELLS


def neighbours(code: str) -> list[str]:
    """Codes of the 8 meshes of the same size around `code`, from south-west to north-east by rows."""
    row, column, size = _decode(code)
    steps = [(north, east) for north in (-1, 0, 1) for east in (-1, 0, 1) if (north, east) != (0, 0)]
    return [_encode(row + north * size, column + east * size, len(code)) for north, east in steps]


def _encode(row: int, column: int, digits: int) -> str:
    """Mesh code of the cell whose finest south-west cell is (row, column), counted from 0 N, 0 E."""
    column -= 100 * LON_CELLS
    if digits not in CELLS or not (0 <= row < 66 * LAT_CELLS and 0 <= column < 100 * LON_CELLS):
        raise MeshError(f"no mesh of {digits} digits there: 4, 6, 8, 9 or 10 digits cover 0-66 N, 100-200 E")
    code = f"{row // 320:02d}{column // 320:02d}{row % 320 // 40}{column % 320 // 40}{row % 40 // 4}{column % 40 // 4}"
    half = 1 + 2 * (row % 4 // 2) + column % 4 // 2  # numbered 1 SW, 2 SE, 3 NW, 4 NE
    quarter = 1 + 2 * (row % 2) + column % 2
    return f"{code}{half}{quarter}"[:digits]


def _decode(code: str) -> tuple[int, int, int]:
    """Row and column of a mesh's south-west finest cell, counted from 0 N, 0 E, and its edge in finest cells."""
    digits = [int(digit) for digit in code] if code.isascii() and code.isdigit() else []
    if len(digits) not in CELLS or max(digits[4:6], default=0) > 7 or not {1, 2, 3, 4}.issuperset(digits[8:]):
        raise MeshError(f"{code!r} is not a mesh code: JIS X 0410 has 4, 6, 8, 9 or 10 digits, such as 53394525")
    row, column = 320 * int(code[:2]), 320 * int(code[2:4])
    for place, size in ((4, 40), (6, 4)):
        if len(digits) > place:
            row, column = row + size * digits[place], column + size * digits[place + 1]
    for half, size in zip(digits[8:], (2, 1), strict=False):
        row, column = row + size * ((half - 1) // 2), column + size * ((half - 1) % 2)
    return row, column + 100 * LON_CELLS, CELLS[len(code)]
