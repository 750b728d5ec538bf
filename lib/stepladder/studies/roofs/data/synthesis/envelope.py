"""Roofs as exact planes: faces are where one plane is the visible one.

Decisions:
- A wing is a convex polygon of ground with a roof that is the lowest of some planes: gable, hip, mansard, flat. What
  is seen from above is the highest of several wings: valleys, dormers, garages under an overhang follow from one rule.
- A plane is (a, b, c): z = a x + b y + c, all in metres, x right (east), y down (south), as in the image.
- Faces come from clipping convex polygons, nothing is sampled. Only then vertices are rounded, to a tenth of a
  millimetre: rounded any earlier, neighbours would part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import shapely
from shapely import Polygon
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

GRID = 1e-5  # metres vertices of faces are rounded to
FINE = (1e-9, 1e-8, 1e-7)  # metres vertices are rounded to on the way; GEOS now and then fails on one of them
TIE = 1e-9  # metres by which two planes may differ and be one
SMALLEST = 1e-3  # square metres below which a face is a left-over of rounding


@dataclass(frozen=True, eq=False)
class Wing:
    """A convex part of a roof.

    Attributes:
        polygon_P2: its ground plan, metres.
        planes_K3: its roof is the lowest of these planes.
        roof: number of the roof it belongs to; roofs of one number share their eave and become one outline.
        part: "roof" or "dormer".
    """

    polygon_P2: np.ndarray
    planes_K3: np.ndarray
    roof: int = 0
    part: str = "roof"

    def moved(self, angle: float, shift_2: np.ndarray) -> "Wing":
        """Turned by `angle` radians about the origin, then shifted."""
        turn_22 = turn(angle)
        polygon_P2 = self.polygon_P2 @ turn_22.T + shift_2
        slope_K2 = self.planes_K3[:, :2] @ turn_22.T
        offset_K = self.planes_K3[:, 2] - slope_K2 @ shift_2
        return Wing(polygon_P2, np.column_stack([slope_K2, offset_K]), self.roof, self.part)


@dataclass(frozen=True, eq=False)
class Face:
    """One visible plane of a roof: `polygon` in metres, `plane_3`, the number of its roof and its part."""

    polygon: Polygon
    plane_3: np.ndarray
    roof: int
    part: str

    @property
    def pitch(self) -> float:
        """Degrees from the horizontal."""
        return float(np.degrees(np.arctan(np.hypot(*self.plane_3[:2]))))

    @property
    def slope_2(self) -> np.ndarray:
        """Rise over run of the way down, towards east and north: y points south."""
        return np.array([-self.plane_3[0], self.plane_3[1]])

    @property
    def bearing(self) -> float:
        """Compass bearing of the way down, degrees; 0 where it is level."""
        east, north = self.slope_2
        return float(np.degrees(np.arctan2(east, north)) % 360)

    def height(self, point_N2: np.ndarray) -> np.ndarray:
        """(N,) metres above the ground at points."""
        return point_N2 @ self.plane_3[:2] + self.plane_3[2]


@dataclass(frozen=True, eq=False)
class _Cell:
    """Where plane `plane_3` is the lowest of its wing."""

    wing: int
    polygon_P2: np.ndarray
    plane_3: np.ndarray


def turn(angle: float) -> np.ndarray:
    """(2, 2) rotation by `angle` radians, from x towards y."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """(4, 2) corners."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def clip(polygon_P2: np.ndarray, plane_3: np.ndarray) -> np.ndarray:
    """Part of a convex polygon where a plane is positive (Sutherland and Hodgman, 1974); (0, 2) where none is."""
    value_P = polygon_P2 @ plane_3[:2] + plane_3[2]
    if (value_P >= -TIE).all():
        return polygon_P2
    if (value_P <= TIE).all():
        return np.zeros((0, 2))
    points = []
    for here, place in enumerate(value_P):
        after = (here + 1) % len(value_P)
        if place >= 0:
            points.append(polygon_P2[here])
        if place * value_P[after] < 0:
            share = place / (place - value_P[after])
            points.append(polygon_P2[here] + share * (polygon_P2[after] - polygon_P2[here]))
    return _apart(np.array(points))


def _apart(polygon_P2: np.ndarray) -> np.ndarray:
    """Without vertices that stand on the one before: rounding puts them in the wrong order, and the border crosses."""
    return polygon_P2[np.abs(polygon_P2 - np.roll(polygon_P2, 1, axis=0)).max(axis=1) > TIE]


def faces(wings: Sequence[Wing]) -> list[Face]:
    """Visible faces of the highest of `wings`; pieces of one plane that touch are one face."""
    cells = [cell for place, wing in enumerate(wings) for cell in _cells(place, wing)]
    keyed = []
    for cell in cells:
        wing = wings[cell.wing]
        visible = _visible(cell, cells)
        if visible.area > SMALLEST:
            keyed.append(((wing.roof, wing.part, *np.round(cell.plane_3, 5) + 0.0), visible, cell.plane_3))
    keyed.sort(key=lambda item: item[0])
    found = []
    for (roof, part, *_), group in groupby(keyed, key=lambda item: item[0]):
        _, pieces, planes = zip(*group, strict=True)
        whole = merged(pieces)
        found += [Face(piece, planes[0], roof, part) for piece in _polygons(whole)]
    return found


def merged(pieces: Sequence[BaseGeometry]) -> BaseGeometry:
    """Their union, without the seams and spikes that rounding leaves: those collapse on the grid."""
    whole = shapely.union_all(shapely.set_precision(pieces, GRID), grid_size=GRID)
    return shapely.set_precision(whole, 10 * GRID)  # what is as narrow as the first grid collapses on the second


def _cells(place: int, wing: Wing) -> Iterator[_Cell]:
    for plane_3 in wing.planes_K3:
        polygon_P2 = wing.polygon_P2
        for other_3 in wing.planes_K3:
            if other_3 is not plane_3 and len(polygon_P2):
                polygon_P2 = clip(polygon_P2, other_3 - plane_3)
        if len(polygon_P2) >= 3 and Polygon(polygon_P2).area > SMALLEST:
            yield _Cell(place, polygon_P2, plane_3)


def _visible(cell: _Cell, cells: Sequence[_Cell]) -> BaseGeometry:
    """What no cell of another wing lies above."""
    whole = Polygon(cell.polygon_P2)
    for other in cells:
        if other.wing != cell.wing and len(cover_P2 := _cover(other, cell)) >= 3:
            whole = shapely.MultiPolygon(_polygons(_without(whole, Polygon(cover_P2))))
    return whole


def _without(whole: BaseGeometry, cover: Polygon) -> BaseGeometry:
    """`whole` less `cover`. Without a grid GEOS at times leaves covers in that nearly touch a border."""
    for grid in FINE[:-1]:
        try:
            return shapely.difference(whole, cover, grid_size=grid)
        except GEOSException:
            continue
    return shapely.difference(whole, cover, grid_size=FINE[-1])


def _cover(other: _Cell, cell: _Cell) -> np.ndarray:
    """Where `other` lies above `cell`; of two that are one plane the earlier counts as the higher."""
    if (other.polygon_P2.min(axis=0) >= cell.polygon_P2.max(axis=0)).any() or (
        other.polygon_P2.max(axis=0) <= cell.polygon_P2.min(axis=0)
    ).any():
        return np.zeros((0, 2))
    above_3 = other.plane_3 - cell.plane_3
    if np.abs(other.polygon_P2 @ above_3[:2] + above_3[2]).max() < TIE:
        return other.polygon_P2 if other.wing < cell.wing else np.zeros((0, 2))
    return clip(other.polygon_P2, above_3)


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    parts = [part for part in shapely.get_parts(geometry) if isinstance(part, Polygon) and part.area > SMALLEST]
    return [shapely.orient_polygons(part) for part in parts]
