"""From the probability of roof to outlines: polygons with holes, their sides straight and, where they look it, square.

Decisions:
- A polygon follows the pixels exactly first; Douglas-Peucker finds its corners, and each edge is then the line of least
  squared distances through all of its pixel borders, not the chord between two of them: corners are good to a fraction
  of a pixel, and the area stays.
- Edges that run along or across the dominant direction, within what their length lets one know, are turned to it.
  Others stay as fitted: a roof with a slanting side keeps it.
- `buildingregulariser` was measured on turned L-shapes of 110 pixels: 280 ms a polygon (it starts processes) and areas
  off by up to 1.9 %; this takes a millisecond or two and is within 0.3 %. So it is not used.
- What regularising would spoil (overlap with the pixels below `KEPT`) keeps its simplified shape.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import shapely
from rasterio import features
from shapely import Polygon

GRID: Final = 1 / 64  # pixels corners are rounded to, so that everything built on them meets exactly
LEAST: Final = 30.0  # square pixels of an outline, or of a hole in one
TOLERANCE: Final = 2.0  # pixels a corner stands out from the chord of its neighbours
OFFSET: Final = 2.0  # pixels between parallel neighbours that are one edge
SQUARE: Final = 5.0  # degrees from the dominant direction within which every edge is turned to it
LEEWAY: Final = 1.5  # pixels the ends of an edge may be moved for it: short ones turn further
MOST: Final = 20.0  # degrees, but no further than that
PARALLEL: Final = np.sin(np.radians(15))
KEPT: Final = 0.9


class Edge(NamedTuple):
    """A side of a polygon: the middles of the pixel borders it stands for (P, 2), a point on it and its direction."""

    border_PE: np.ndarray
    middle_E: np.ndarray
    along_E: np.ndarray

    @property
    def length(self) -> float:
        """Pixels, about."""
        return float(np.ptp(self.border_PE @ self.along_E)) + 1.0


def polygons(roof_YX: np.ndarray, least: float = LEAST, threshold: float = 0.5) -> list[Polygon]:
    """Outlines in pixels of what is roof with a probability of at least `threshold`.

    Args:
        roof_YX: probability; what is not a number is no roof.
        least: square pixels below which a part, or a hole, is left out.
    """
    mask_YX = (np.asarray(roof_YX) >= threshold).astype(np.uint8)
    shapes = features.shapes(mask_YX, mask=mask_YX.astype(bool))
    raw = [Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in shapes]
    found = [regularised(_without_small_holes(polygon, least)) for polygon in raw if polygon.area >= least]
    rounded = shapely.get_parts(shapely.set_precision(found, GRID))
    return [polygon for polygon in rounded if polygon.area >= least]


def regularised(polygon: Polygon) -> Polygon:
    """A polygon along pixel borders with straight, and where it looks it square, sides."""
    simple: Any = polygon.simplify(TOLERANCE)
    if simple.is_empty or not simple.is_valid:
        return polygon
    rings = [
        edges(np.array(ring.coords), np.array(corners.coords))
        for ring, corners in zip(_rings(polygon), _rings(simple), strict=True)
    ]
    heading = dominant([edge for ring in rings for edge in ring])
    rings = [corners_of(joined([squared(edge, heading) for edge in ring])) for ring in rings]
    if len(rings[0]) < 3:
        return simple
    result = Polygon(rings[0], [ring for ring in rings[1:] if len(ring) >= 3])
    good = result.is_valid and result.intersection(polygon).area >= KEPT * result.union(polygon).area
    return result if good else simple


def edges(ring_PE: np.ndarray, corner_QE: np.ndarray) -> list[Edge]:
    """Sides of a closed ring along pixel borders, between some of its own vertices."""
    fine_PE = np.array(shapely.segmentize(shapely.LineString(ring_PE), 1.0).coords)
    border_PE = (fine_PE[1:] + fine_PE[:-1]) / 2
    at = [int(np.flatnonzero((fine_PE == corner).all(axis=1))[0]) for corner in corner_QE[:-1]]
    first, starts = min(at), sorted(at)
    border_PE = np.roll(border_PE, -first, axis=0)
    parts = np.split(border_PE, np.array(starts[1:]) - first)
    return [fitted(part) for part in parts if len(part)]


def fitted(border_PE: np.ndarray) -> Edge:
    """The line of least squared distances through pixel borders, in their order."""
    middle_E = border_PE.mean(axis=0)
    x, y = (border_PE - middle_E).T
    angle = np.arctan2(2 * (x @ y), x @ x - y @ y) / 2
    along_E = np.array([np.cos(angle), np.sin(angle)])
    forward = (border_PE[-1] - border_PE[0]) @ along_E
    return Edge(border_PE, middle_E, -along_E if forward < 0 else along_E)


def dominant(sides: list[Edge]) -> float:
    """Direction, modulo a right angle, that most of the length of the sides has within `SQUARE`; radians."""
    angle_E = np.array([np.arctan2(side.along_E[1], side.along_E[0]) for side in sides])
    length_E = np.array([side.length for side in sides])
    off_EE = _turn(angle_E[None] - angle_E[:, None])
    near_EE = np.abs(off_EE) <= np.radians(SQUARE)
    best = int((near_EE * length_E).sum(axis=1).argmax())
    # Long sides know their direction best: their error falls with the length to the power 1.5.
    weight_E = near_EE[best] * length_E**3
    return float(angle_E[best] + (weight_E * off_EE[best]).sum() / weight_E.sum())


def squared(side: Edge, heading: float) -> Edge:
    """The side turned about its middle to the direction `heading` or across it, if it is nearly so."""
    angle = np.arctan2(side.along_E[1], side.along_E[0])
    off = float(_turn(np.array(angle - heading)))
    allowed = max(SQUARE, min(MOST, np.degrees(np.arctan(2 * LEEWAY / side.length))))
    if abs(off) > np.radians(allowed):
        return side
    return side._replace(along_E=np.array([np.cos(angle - off), np.sin(angle - off)]))


def joined(sides: list[Edge]) -> list[Edge]:
    """Sides with those neighbours made one that run the same way within `OFFSET` of each other."""
    sides = list(sides)
    at = 0
    while len(sides) > 3 and at < len(sides):
        one, two = sides[at], sides[(at + 1) % len(sides)]
        step = two.middle_E - one.middle_E
        beside = max(abs(_cross(one.along_E, step)), abs(_cross(two.along_E, step)))
        if abs(_cross(one.along_E, two.along_E)) < PARALLEL and one.along_E @ two.along_E > 0 and beside <= OFFSET:
            longer = one if one.length >= two.length else two
            both = fitted(np.concatenate([one.border_PE, two.border_PE]))
            sides[at] = both._replace(along_E=longer.along_E)
            del sides[(at + 1) % len(sides)]
            at = max(0, at - 2)
        else:
            at += 1
    return sides


def corners_of(sides: list[Edge]) -> np.ndarray:
    """Corners (Q, 2): where neighbours meet; parallel ones are joined by a step across."""
    corners = []
    for one, two in zip(sides, [*sides[1:], *sides[:1]], strict=True):
        across = _cross(one.along_E, two.along_E)
        if abs(across) >= PARALLEL:
            corners.append(one.middle_E + one.along_E * _cross(two.middle_E - one.middle_E, two.along_E) / across)
        else:
            between = (one.border_PE[-1] + two.border_PE[0]) / 2
            corners += [s.middle_E + s.along_E * ((between - s.middle_E) @ s.along_E) for s in (one, two)]
    return np.array(corners).reshape(-1, 2)


def _rings(polygon: Polygon) -> list[shapely.LinearRing]:
    return [polygon.exterior, *polygon.interiors]


def _without_small_holes(polygon: Polygon, least: float) -> Polygon:
    return Polygon(polygon.exterior, [ring for ring in polygon.interiors if Polygon(ring).area >= least])


def _turn(angle: np.ndarray) -> np.ndarray:
    """Angles modulo a right angle, between -45 and 45 degrees; radians."""
    return (angle + np.pi / 4) % (np.pi / 2) - np.pi / 4


def _cross(a_E: np.ndarray, b_E: np.ndarray) -> float:
    return float(a_E[0] * b_E[1] - a_E[1] * b_E[0])
