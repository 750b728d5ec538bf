"""Faces, slopes, typed lines and rise from planar segments, as RID draws them: polygon, bearing, pitch, gutter.

Decisions:
- A face is a plane through its gutter: rise = tan(pitch) x distance from the gutter, up the face. RID rounds pitches to
  5 degrees and gutters are drawn by hand, so two planes rarely meet exactly; by how much is told, not mended.
- A shared border is typed by which way the two faces fall, not by heights, which are too uncertain: both away from it
  is a ridge (level) or a hip (sloping), both towards it a valley. Planes that do not meet along it (see `_meet`), and a
  flat face beside one that falls, have a height break. Faces of one plane have no line between them.
- A free border is an eave where it runs along the gutter or is level and the face falls towards it, else a gable; all
  round a flat face it is an eave.
- A border of a face whose bearing or pitch nobody gave is a line of unknown type.
- Where polygons overlap, the smaller one lies on top.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely
from rasterio.features import rasterize
from shapely import MultiPolygon, Polygon

from stepladder.core.types import Issue
from stepladder.studies.roofs.data import borders
from stepladder.studies.roofs.data.borders import Border
from stepladder.studies.roofs.data.labels import FLAT, FLAT_BELOW, IGNORE, LINES, NO_FACE, SECTORS, UNTYPED

RIDGE, HIP, VALLEY, EAVE, GABLE, HEIGHT_BREAK = range(len(LINES))
TOLERANCE_M = 0.2  # borders of two faces that are no further apart are one: a pixel or two of RID
LEVEL = np.sin(np.radians(22.5))  # a line is level where it runs nearer to a face's contours than to its way down
BREAK_M = 0.5  # heights that differ by less meet
AWAY = 0.1  # rise over run of a face that falls clearly towards a border, or away from it
TWIST = 0.35  # rise over run by which two planes that meet differ along their border, as drawn in RID
SAME_PLANE = np.tan(np.radians(5))  # change of slope across a border that is none


@dataclass(frozen=True)
class Segment:
    """One plane of a roof.

    Attributes:
        polygon: in pixels, x right and y down, 0 at the outer corner of the first pixel; may reach beyond the image.
        bearing_deg: compass bearing of the way down, from the image's top; None where nobody gave it or nothing falls.
        pitch_deg: degrees from the horizontal; not a number where nobody gave it.
        gutters: polylines (M, 2) in pixels along its eaves; none where nobody drew one.
    """

    polygon: Polygon | MultiPolygon
    bearing_deg: float | None
    pitch_deg: float
    gutters: Sequence[np.ndarray] = ()

    @property
    def flat(self) -> bool:
        """Whether it falls nowhere, as far as drainage is not meant."""
        return self.pitch_deg < FLAT_BELOW

    @property
    def known(self) -> bool:
        """Whether its plane's slope is known."""
        return self.flat or (self.bearing_deg is not None and 0 < self.pitch_deg < 90)

    @property
    def down_2(self) -> np.ndarray:
        """Rise over run along x and y on the way down; 0 where it is flat or not known."""
        if self.flat or self.bearing_deg is None or not self.known:
            return np.zeros(2)
        bearing = np.radians(self.bearing_deg)
        return np.tan(np.radians(self.pitch_deg)) * np.array([np.sin(bearing), -np.cos(bearing)])

    @property
    def face(self) -> int:
        """Class of the task `face`."""
        if self.flat or self.bearing_deg is None or not self.known:
            return FLAT if self.flat else IGNORE
        return round(self.bearing_deg * SECTORS / 360) % SECTORS

    @property
    def foot(self) -> float:
        """Fall from the origin to the lowest gutter, else corner, in pixels: rise is this less `down_2 @ point`."""
        if self.polygon.is_empty:
            return float("nan")
        if self.gutters:
            return max(float((_middles(line_M2) @ self.down_2).max()) for line_M2 in self.gutters)
        return float((shapely.get_coordinates(self.polygon) @ self.down_2).max())

    @property
    def top(self) -> float:
        """Fall from the origin to the highest corner, in pixels."""
        return float((shapely.get_coordinates(self.polygon) @ self.down_2).min())


@dataclass(frozen=True)
class Derived:
    """What follows from the segments of one image.

    Attributes:
        face_id_YX: uint16, 1 + place of the segment in the list, 0 none.
        face_YX: uint8 as in `labels`: sector of the compass, FLAT, NO_FACE.
        slope_YXG: float16, rise over run towards east and north on the way down; 0 where nothing falls.
        lines_L5: float32 x0, y0, x1, y1, type as in `labels`; may reach beyond the image.
        rise_YX: float16 metres above the eave of the face; NaN where that is not known, and off the roofs.
        facts: as of `facts`.
        issues: counted skips and repairs.
    """

    face_id_YX: np.ndarray
    face_YX: np.ndarray
    slope_YXG: np.ndarray
    lines_L5: np.ndarray
    rise_YX: np.ndarray
    facts: Mapping[str, Any]
    issues: tuple[Issue, ...]


@dataclass(frozen=True)
class Typed:
    """Lines between faces, and metres by which the planes on both sides of each ridge disagree."""

    lines: list[tuple[Border, int]] = field(default_factory=list)
    disagreement_m: list[float] = field(default_factory=list)


def from_segments(segments: Sequence[Segment], shape: tuple[int, int], gsd_m: float) -> Derived:
    """Rasters, lines and rise of an image of `shape` (rows, columns) and `gsd_m` metres per pixel."""
    segments, issues = mended(segments)
    face_id_YX = _ids(segments, shape)
    typed = lines(segments, gsd_m)
    return Derived(
        face_id_YX=face_id_YX,
        face_YX=np.array([NO_FACE, *(segment.face for segment in segments)], np.uint8)[face_id_YX],
        slope_YXG=(_downs(segments) * (1, -1)).astype(np.float16)[face_id_YX],
        lines_L5=array(typed),
        rise_YX=_rise(segments, face_id_YX, gsd_m),
        facts=facts(typed, gsd_m),
        issues=(*issues, *_issues(segments, typed)),
    )


def mended(segments: Sequence[Segment]) -> tuple[list[Segment], list[Issue]]:
    """The same faces in the same order with valid polygons, empty ones where nothing is left, and what was mended."""
    valid = [_valid(segment.polygon) for segment in segments]
    counts = {
        "polygon of a face crosses itself, mended": sum(not segment.polygon.is_valid for segment in segments),
        "face without area, left out": sum(polygon.is_empty for polygon in valid),
    }
    issues = [Issue(kind, count) for kind, count in counts.items() if count]
    return [replace(segment, polygon=polygon) for segment, polygon in zip(segments, valid, strict=True)], issues


def _valid(polygon: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """What a polygon covers, however its border was drawn."""
    if polygon.is_valid:
        return polygon
    return MultiPolygon([p for p in shapely.get_parts(shapely.get_parts(shapely.make_valid(polygon))) if p.area > 0])


def lines(segments: Sequence[Segment], gsd_m: float) -> Typed:
    """Typed lines of all borders of `segments`; no line where two faces are one plane."""
    tolerance = TOLERANCE_M / gsd_m
    pieces = borders.find([segment.polygon for segment in segments], tolerance)
    kinds: dict[int, list[Border]] = {}
    for piece in pieces:
        kind = _kind(segments, piece, gsd_m)
        if kind is not None:
            kinds.setdefault(kind, []).append(piece)
    found = [(border, kind) for kind, group in sorted(kinds.items()) for border in borders.joined(group, tolerance)]
    apart = [abs(_step(segments[b.left], segments[b.right], b)) * gsd_m for b, kind in found if kind == RIDGE]
    return Typed(found, apart)


def array(typed: Typed) -> np.ndarray:
    """(L, 5) float32 x0, y0, x1, y1, type."""
    rows = [(*border.start_2, *border.end_2, kind) for border, kind in typed.lines]
    return np.array(rows, np.float32).reshape(-1, 5)


def facts(typed: Typed, gsd_m: float) -> dict[str, Any]:
    """Number and metres of every type of line, and how far planes disagree at ridges."""
    names = (*LINES, "untyped")
    lengths: dict[str, list[float]] = {name: [] for name in names}
    for border, kind in typed.lines:
        lengths[names[kind]].append(border.length * gsd_m)
    apart_m = typed.disagreement_m
    median, p90 = np.percentile(apart_m, [50, 90]).round(2).tolist() if apart_m else (None, None)
    return {
        "lines": {name: len(found) for name, found in lengths.items()},
        "lines_m": {name: round(sum(found), 1) for name, found in lengths.items()},
        "ridge_disagreement_m": {"median": median, "p90": p90},
    }


def _kind(segments: Sequence[Segment], border: Border, gsd_m: float) -> int | None:
    """Type of the line at a border; None where there is none."""
    if border.right >= 0:
        return _shared(segments[border.left], segments[border.right], border, gsd_m)
    return _free(segments[border.left], border, TOLERANCE_M / gsd_m)


def _shared(left: Segment, right: Segment, border: Border, gsd_m: float) -> int | None:
    """Type of the line between two faces; None where they are one plane."""
    if not (left.known and right.known):
        return UNTYPED
    if left.flat and right.flat:
        return None
    if left.flat or right.flat or not _meet(left, right, border, gsd_m):
        return HEIGHT_BREAK
    bend = sum(_falls(left, right, border))
    if abs(bend) < SAME_PLANE:
        return None
    if bend > 0:
        return VALLEY
    return RIDGE if (_slant(left, border) + _slant(right, border)) / 2 < LEVEL else HIP


def _falls(left: Segment, right: Segment, border: Border) -> tuple[float, float]:
    """Rise over run at which two faces fall towards their border."""
    return float(left.down_2 @ border.normal_2), -float(right.down_2 @ border.normal_2)


def _meet(left: Segment, right: Segment, border: Border, gsd_m: float) -> bool:
    """Whether two planes meet at a border, as far as can be told from faces that each begin at their own gutter.

    They fall alike along it. Where both fall away from it or both towards it, that is enough. Else they lie at one
    height, or one has no gutter of its own and the lower one ends at the border, as below the break of a mansard.
    """
    if abs((left.down_2 - right.down_2) @ border.along_2) > TWIST:
        return False
    falls = _falls(left, right, border)
    if max(falls) < -AWAY or min(falls) > AWAY:
        return True
    lower = right if falls[0] > falls[1] else left
    ends = lower.top - lower.down_2 @ border.middle_2
    apart = _step(left, right, border) if left.gutters and right.gutters else ends
    return bool(abs(apart) * gsd_m <= BREAK_M)


def _slant(segment: Segment, border: Border) -> float:
    """Sine of the angle between a border and the contours of a face: 0 along them, 1 up or down the face."""
    return float(abs(segment.down_2 @ border.along_2) / np.hypot(*segment.down_2))


def _step(left: Segment, right: Segment, border: Border) -> float:
    """By how many pixels `left` lies above `right` at the middle of their border, each above its own gutter."""
    return left.foot - right.foot - float((left.down_2 - right.down_2) @ border.middle_2)


def _free(segment: Segment, border: Border, tolerance: float) -> int:
    """Eave, gable, or unknown."""
    if not segment.known:
        return UNTYPED
    if segment.flat or _along_gutter(segment, border, tolerance):
        return EAVE
    falls_out = segment.down_2 @ border.normal_2 > 0
    return EAVE if falls_out and _slant(segment, border) < LEVEL else GABLE


def _along_gutter(segment: Segment, border: Border, tolerance: float) -> bool:
    """Whether both ends of a border lie at a gutter."""
    ends = shapely.points([border.start_2, border.end_2])
    return any((shapely.distance(shapely.linestrings(line), ends) <= tolerance).all() for line in segment.gutters)


def _middles(line_M2: np.ndarray) -> np.ndarray:
    """Middles of the pieces of a polyline: what a gutter's height is measured at."""
    return (line_M2[1:] + line_M2[:-1]) / 2


def _downs(segments: Sequence[Segment]) -> np.ndarray:
    """(1 + segments, 2) falls along x and y; the first is that of no face."""
    return np.array([np.zeros(2), *(segment.down_2 for segment in segments)])


def _ids(segments: Sequence[Segment], shape: tuple[int, int]) -> np.ndarray:
    """1 + place of the face a pixel's middle lies in, 0 none."""
    drawn = [(segment.polygon, place) for place, segment in enumerate(segments, 1) if not segment.polygon.is_empty]
    drawn.sort(key=lambda item: -item[0].area)
    return rasterize(drawn, shape, dtype=np.uint16) if drawn else np.zeros(shape, np.uint16)


def _rise(segments: Sequence[Segment], face_id_YX: np.ndarray, gsd_m: float) -> np.ndarray:
    """Metres above the eave at the middle of every pixel; a flat face has its eave at its own height."""
    foot_F = np.array([np.nan, *(segment.foot if segment.known else np.nan for segment in segments)])
    down_F2 = _downs(segments)
    y_Y1, x_1X = np.ogrid[: face_id_YX.shape[0], : face_id_YX.shape[1]]
    fall_YX = down_F2[face_id_YX, 0] * (x_1X + 0.5) + down_F2[face_id_YX, 1] * (y_Y1 + 0.5)
    return (np.maximum(foot_F[face_id_YX] - fall_YX, 0) * gsd_m).astype(np.float16)


def _issues(segments: Sequence[Segment], typed: Typed) -> Iterator[Issue]:
    """What is not known of faces, and ridges at which two planes do not meet."""
    if count := sum(not segment.known for segment in segments):
        yield Issue("face without bearing or pitch: neither class nor slope", count)
    if count := sum(segment.known and not segment.flat and not segment.gutters for segment in segments):
        yield Issue("face without gutter: it rises from its lowest corner", count)
    apart_m = [apart for apart in typed.disagreement_m if apart > BREAK_M]
    if apart_m:
        yield Issue(f"planes disagree at their ridge by more than {BREAK_M} m", len(apart_m), f"{max(apart_m):.1f} m")
