"""Faces of a roof: cells of its planar graph with one plane each, and what the edges between them are.

Decisions:
- A face falls as the median of the slope map inside it says: a chimney or a dormer nobody drew does not move it.
- Neighbours that fall alike are one face unless a line between them is strong; what is too small to be a face goes to
  the neighbour with whom it shares most.
- An edge has the type of the line that was found there. Where none was found, or nobody can type it, the faces say:
  both fall away from a ridge (level) or hip (sloping), both towards a valley; a border is an eave where its face falls
  towards it, else a gable. An edge where no line was found has score 0.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from rasterio import features
from shapely import LineString, Polygon

from stepladder.studies.roofs.data.labels import FLAT_BELOW, LINES, UNTYPED
from stepladder.studies.roofs.models.vector.outlines import GRID

RIDGE, HIP, VALLEY, EAVE, GABLE, HEIGHT_BREAK = range(len(LINES))
HEIGHT: Final = 3  # channel of `stacked`
EAVE_HEIGHT: Final = 4  # and another
LEAST: Final = 20.0  # square pixels of a face
THIN: Final = 1.0  # pixels, half the width of a face
ALIKE: Final = 0.12  # difference of two slopes (rise over run) that is none: 6 degrees at a pitch of 20
STRONG: Final = 0.5  # score of a line that keeps faces apart though they fall alike
WEAK: Final = 0.3  # score of a line that keeps faces apart whose slopes nobody knows
BESIDE: Final = 6.0  # pixels between an edge and the line that says its type
TOWARDS: Final = 0.35  # part of a face's fall that goes across an edge, from which it falls towards it or away
CUT: Final = 1.0  # pixels from the image's border, where a roof is cut off
LEVEL: Final = np.cos(np.radians(22.5))


Maps = Mapping[str, np.ndarray]  # a prediction without batch axis; arrays on disk will do, they are read by windows
Box = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Face:
    """One plane of a roof.

    Attributes:
        polygon: in pixels.
        bearing: compass bearing of the way down, degrees from the image's top; NaN where it is flat or not known.
        pitch: degrees from the horizontal; NaN where it is not known.
        score: probability that a pixel inside is roof, the median, 0 to 1.
        height: metres above the ground at its centroid, the mean; NaN where it is not known.
    """

    polygon: Polygon
    bearing: float
    pitch: float
    score: float
    height: float = float("nan")

    @property
    def slope_G(self) -> np.ndarray:
        """Rise over run towards the east and north, on the way down; 0 where flat, NaN where not known."""
        if np.isnan(self.bearing):
            return np.full(2, np.nan if np.isnan(self.pitch) else 0.0)
        bearing = np.radians(self.bearing)
        return np.tan(np.radians(self.pitch)) * np.array([np.sin(bearing), np.cos(bearing)])


@dataclass(frozen=True)
class Line:
    """A straight edge of a roof.

    Attributes:
        start, end: (2,) in pixels.
        type: id in `labels.LINES`, or UNTYPED.
        score: of the line found there; 0 where none was and the faces tell the type.
        faces: numbers of the one or two faces it bounds.
    """

    start: np.ndarray
    end: np.ndarray
    type: int
    score: float
    faces: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """Name of the type."""
        return LINES[self.type] if self.type < UNTYPED else "untyped"


def faces(cells: list[Polygon], edges: np.ndarray, lines_LF: np.ndarray, maps: Maps) -> list[Face]:
    """Cells of a graph as faces, those that are one plane joined; the largest first.

    Args:
        cells, edges: of `graph`.
        lines_LF: x0, y0, x1, y1, type, score of the lines found.
        maps: the prediction.
    """
    value_CM = measured(cells, maps)
    area_C = shapely.area(cells)
    group_C = np.arange(len(cells))
    strength_E = np.array([evidence(edge, lines_LF)[1] for edge in edges])
    border = [(a, b, edge, strength_E[e]) for e, edge in enumerate(edges) for a, b in [_sides(edge, cells)] if b >= 0]
    for a, b, _, strength in border:
        off = np.linalg.norm(value_CM[a, :2] - value_CM[b, :2])
        if strength < (WEAK if np.isnan(off) else STRONG * (off < ALIKE)):
            group_C[group_C == group_C[b]] = group_C[a]
    for cell in np.flatnonzero((area_C < LEAST) | (area_C < THIN * shapely.length(cells))):
        shared: dict[int, float] = {}
        for a, b, edge, _ in border:
            if cell in (a, b):
                other = int(group_C[a + b - cell])
                shared[other] = shared.get(other, 0.0) + edge.length
        if shared:
            group_C[group_C == group_C[cell]] = max(shared, key=lambda other: shared[other])
    groups = [np.flatnonzero(group_C == group) for group in np.unique(group_C)]
    found = [
        _face(cells[g[0]], value_CM[g[0]]) if len(g) == 1 else _joined([cells[c] for c in g], maps) for g in groups
    ]
    return sorted(found, key=lambda face: -face.polygon.area)


def stacked(maps: Maps, box: Box) -> np.ndarray:
    """What faces are measured by, (5, Y, X) in a box: slope east and north, probability of roof, height, eave's height.

    What a prediction lacks is NaN. The eave is at the height above ground less the rise above the eave.
    """
    roof_YX = np.asarray(maps["outline_YX"][box], np.float32)
    slope_GYX, height_YX, rise_YX = (
        np.asarray(maps[name][..., *box]) if name in maps else np.full_like(roof_YX, np.nan)
        for name in ("slope_GYX", "height_YX", "rise_YX")
    )
    east_YX, north_YX = np.broadcast_to(slope_GYX, (2, *roof_YX.shape))
    return np.stack([east_YX, north_YX, roof_YX, height_YX, height_YX - rise_YX]).astype(np.float32)


def measured(polygons: Sequence[Polygon], maps: Maps) -> np.ndarray:
    """Medians (P, 5) of `stacked` over the pixels inside polygons, of `HEIGHT` the mean; NaN where none is known."""
    box, number_YX = window(polygons, maps["outline_YX"].shape)
    map_CYX = stacked(maps, box)
    return np.array([_middle(map_CYX[:, number_YX == number]) for number in range(1, len(polygons) + 1)])


def window(polygons: Sequence[Polygon], shape: tuple[int, ...]) -> tuple[Box, np.ndarray]:
    """Rows and columns of an image of `shape` that polygons touch, and which of them (from 1, 0 none) a pixel is in."""
    left, top, right, bottom = shapely.total_bounds(polygons)
    x, y = np.clip([int(left), int(top)], 0, shape[::-1])
    down, across = np.clip([int(bottom) + 1, int(right) + 1], (y, x), shape)
    box = slice(int(y), int(down)), slice(int(x), int(across))
    if down == y or across == x:
        return box, np.zeros((down - y, across - x), np.int32)
    moved = [shapely.transform(polygon, lambda place: place - (x, y)) for polygon in polygons]
    numbers = zip(moved, range(1, len(moved) + 1), strict=True)
    return box, np.asarray(features.rasterize(numbers, (int(down - y), int(across - x)), dtype="int32"))


def _middle(value_CN: np.ndarray) -> np.ndarray:
    known = [values[np.isfinite(values)] for values in value_CN]
    middle = [np.mean if channel == HEIGHT else np.median for channel in range(len(known))]
    return np.array([of(values) if len(values) else np.nan for of, values in zip(middle, known, strict=True)])


def lines(outline: Polygon, found: list[Face], lines_LF: np.ndarray, shape: tuple[int, ...]) -> list[Line]:
    """Edges of the faces of one roof: straight, each between the same two faces, with type and score.

    Where an image of `shape` (rows, columns) cuts the roof off, the edge is untyped: it is none of the roof's.
    """
    frame = shapely.box(0, 0, shape[1], shape[0]).boundary
    rings = [ring for face in found for ring in shapely.get_parts(face.polygon.boundary)]
    whole = shapely.union_all([outline.boundary, *rings], grid_size=GRID)
    result = []
    for edge in shapely.get_parts(shapely.line_merge(whole) if whole.geom_type == "MultiLineString" else whole):
        place_NE = shapely.get_coordinates(shapely.simplify(edge, 1 / 16))
        result += [_line(np.array(ends), found, lines_LF, frame) for ends in itertools.pairwise(place_NE)]
    return result


def evidence(edge: LineString, lines_LF: np.ndarray) -> tuple[int, float]:
    """Type and score of the line that was found along an edge; UNTYPED and 0 where none was."""
    if not len(lines_LF):
        return UNTYPED, 0.0
    along = np.asarray(shapely.linestrings(lines_LF[:, :4].reshape(-1, 2, 2)))
    places = np.asarray(
        shapely.points([edge.interpolate(share, normalized=True).coords[0] for share in (0.25, 0.5, 0.75)])
    )
    near_L = (shapely.distance(along[:, None], places[None]) <= BESIDE).all(axis=1)
    step_E = np.subtract(edge.coords[-1], edge.coords[0])
    step_LE = lines_LF[:, 2:4] - lines_LF[:, :2]
    parallel_L = np.abs(step_LE @ step_E) >= 0.9 * np.linalg.norm(step_LE, axis=1) * np.linalg.norm(step_E)
    score_L = np.where(near_L & parallel_L, lines_LF[:, 5], -1.0)
    best = int(score_L.argmax())
    return (int(lines_LF[best, 4]), float(score_L[best])) if score_L[best] >= 0 else (UNTYPED, 0.0)


def concluded(ends_PE: np.ndarray, sides: list[Face]) -> int:
    """Type of an edge by how the one or two faces beside it fall."""
    along_E = (ends_PE[1] - ends_PE[0]) / max(float(np.linalg.norm(ends_PE[1] - ends_PE[0])), 1e-9)
    falls = []
    for side in sides:
        away_E = np.array(side.polygon.representative_point().coords[0]) - ends_PE.mean(axis=0)
        normal_E = np.array([-along_E[1], along_E[0]])
        normal_E = normal_E if normal_E @ away_E >= 0 else -normal_E  # from the edge into the face
        down_E = side.slope_G * (1, -1)
        steep = float(np.linalg.norm(down_E))
        falls.append((float(down_E @ normal_E), abs(float(down_E @ along_E)) <= np.sqrt(1 - LEVEL**2) * steep, steep))
    if not falls or any(np.isnan(fall) for fall, *_ in falls):
        return UNTYPED
    away = [fall > TOWARDS * steep > 0 for fall, _, steep in falls]
    towards = [fall < -TOWARDS * steep < 0 for fall, _, steep in falls]
    if len(falls) == 1:
        return EAVE if towards[0] or falls[0][2] == 0 else GABLE
    if all(away):
        return RIDGE if all(level for _, level, _ in falls) else HIP
    return VALLEY if all(towards) else HEIGHT_BREAK


def _line(ends_PE: np.ndarray, found: list[Face], lines_LF: np.ndarray, frame: shapely.Geometry) -> Line:
    (start_E, end_E), edge = ends_PE, LineString(ends_PE)
    sides = tuple(n for n, face in enumerate(found) if face.polygon.distance(edge.centroid) <= 1 / 16)[:2]
    on_frame = shapely.distance(shapely.points([start_E, edge.centroid.coords[0], end_E]), frame) <= CUT
    if on_frame.all():
        return Line(start_E, end_E, UNTYPED, 0.0, sides)
    kind, score = evidence(edge, lines_LF)
    if kind == UNTYPED:
        kind = concluded(ends_PE, [found[n] for n in sides])
    return Line(start_E, end_E, kind, score, sides)


def _sides(edge: LineString, cells: list[Polygon]) -> tuple[int, int]:
    """Numbers of the cells on both sides of an edge, -1 where there is none."""
    one, two = np.array(edge.coords[0]), np.array(edge.coords[1])
    step = (two - one) / np.linalg.norm(two - one)
    beside = np.array([-step[1], step[0]]) / 16
    numbers = []
    for place in ((one + two) / 2 + beside, (one + two) / 2 - beside):
        hits = np.flatnonzero(shapely.contains_xy(cells, *place))
        numbers.append(int(hits[0]) if len(hits) else -1)
    return max(numbers), min(numbers)


def _joined(parts: list[Polygon], maps: Maps) -> Face:
    polygon: Any = shapely.union_all(parts, grid_size=GRID)
    return _face(polygon, measured([polygon], maps)[0])


def _face(polygon: Polygon, value_M: np.ndarray) -> Face:
    pitch = float(np.degrees(np.arctan(np.linalg.norm(value_M[:2]))))
    bearing = float(np.degrees(np.arctan2(*value_M[:2])) % 360) if pitch >= FLAT_BELOW else np.nan
    return Face(polygon, bearing, pitch, float(value_M[2]), float(value_M[HEIGHT]))
