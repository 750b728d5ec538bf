"""Typed lines of exact faces: two faces meet where their edges run over each other, else an edge is free.

The types are those that `derive` gives drawn segments, decided here with exact heights: a height break where one face
ends above the other; a valley where the roof is hollow; a ridge or a hip where it is not, level or sloping; a free edge
is an eave where the face falls out over it and it is level, or the face is flat, else a gable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely

from stepladder.studies.roofs.data.labels import FLAT_BELOW, LINES
from stepladder.studies.roofs.data.synthesis.envelope import Face

RIDGE, HIP, VALLEY, EAVE, GABLE, HEIGHT_BREAK = range(len(LINES))
NEAR = 4e-4  # metres two edges may lie apart and be one
SHORTEST = 0.1  # metres of a line
STEP = 0.1  # metres of height from which faces do not meet
LEVEL = np.sin(np.radians(22.5))  # sine of the angle to a face's contours below which a line is level
SAME_SLOPE = 1e-3  # rise over run


@dataclass(frozen=True, eq=False)
class Line:
    """A straight line from `start_2` to `end_2` in metres, its type, and the face (place in the list) it borders."""

    start_2: np.ndarray
    end_2: np.ndarray
    kind: int
    face: int
    other: int = -1

    @property
    def length(self) -> float:
        """Metres in plan."""
        return float(np.hypot(*(self.end_2 - self.start_2)))


@dataclass(frozen=True, eq=False)
class _Edge:
    """An edge of a face, which lies on the side of `-normal_2`."""

    start_2: np.ndarray
    along_2: np.ndarray
    length: float
    face: int

    @property
    def normal_2(self) -> np.ndarray:
        return np.array([self.along_2[1], -self.along_2[0]])

    def piece(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        return self.start_2 + low * self.along_2, self.start_2 + high * self.along_2


def lines(faces: Sequence[Face]) -> list[Line]:
    """All lines of the faces of one building; what goes on straight between the same faces is one line."""
    edges = [edge for place, face in enumerate(faces) for edge in _edges(face, place)]
    found = [line for edge in edges for line in _of_edge(edge, edges, faces)]
    return [line for line in _joined(found) if line.length >= SHORTEST]


def _edges(face: Face, place: int) -> Iterator[_Edge]:
    for ring in shapely.get_rings(shapely.orient_polygons(face.polygon)):
        point_P2 = shapely.get_coordinates(ring)
        for start_2, end_2 in pairwise(point_P2):
            length = float(np.hypot(*(end_2 - start_2)))
            if length > NEAR:
                yield _Edge(start_2, (end_2 - start_2) / length, length, place)


def _of_edge(edge: _Edge, edges: Sequence[_Edge], faces: Sequence[Face]) -> Iterator[Line]:
    """Lines along an edge: those it shares with later faces, and where it is free."""
    covered = []
    for other in edges:
        if other.face != edge.face and (span := _beside(edge, other)):
            covered.append(span)
            kind = _shared(faces[edge.face], faces[other.face], edge, *span)
            if edge.face < other.face and kind is not None:
                yield Line(*edge.piece(*span), kind, edge.face, other.face)
    for low, high in _gaps(covered, edge.length):
        if high - low > 10 * NEAR:
            yield Line(*edge.piece(low, high), _free(faces[edge.face], edge), edge.face)


def _beside(edge: _Edge, other: _Edge) -> tuple[float, float] | None:
    """From where to where along `edge` another one runs over it, the other way round; None: nowhere."""
    if other.along_2 @ edge.along_2 > -0.99:
        return None
    end_22 = np.array(other.piece(0, other.length))[::-1] - edge.start_2
    (near, far), off_2 = end_22 @ edge.along_2, end_22 @ edge.normal_2
    low, high = max(float(near), 0.0), min(float(far), edge.length)
    apart = np.abs(np.interp([low, high], [near, far], off_2)).max()
    return (low, high) if apart <= NEAR <= high - low else None


def _shared(face: Face, other: Face, edge: _Edge, low: float, high: float) -> int | None:
    """Type of a common edge; None where the faces are one plane."""
    ends_22 = np.array(edge.piece(low, high))
    if np.abs(face.height(ends_22) - other.height(ends_22)).max() > STEP:
        return HEIGHT_BREAK
    bend = float((other.plane_3[:2] - face.plane_3[:2]) @ edge.normal_2)  # how much steeper it goes on upwards
    if abs(bend) < SAME_SLOPE:
        return None
    if bend > 0:
        return VALLEY
    return RIDGE if (_slant(face, edge) + _slant(other, edge)) / 2 < LEVEL else HIP


def _slant(face: Face, edge: _Edge) -> float:
    """Sine of the angle between an edge and the contours of a face."""
    return float(abs(face.plane_3[:2] @ edge.along_2) / max(np.hypot(*face.plane_3[:2]), SAME_SLOPE))


def _free(face: Face, edge: _Edge) -> int:
    falls_out = face.plane_3[:2] @ edge.normal_2 < 0
    return EAVE if face.pitch < FLAT_BELOW or (falls_out and _slant(face, edge) < LEVEL) else GABLE


def _gaps(covered: Sequence[tuple[float, float]], length: float) -> Iterator[tuple[float, float]]:
    """What the intervals `covered` leave of 0 .. `length`."""
    reached = 0.0
    for low, high in sorted(covered):
        if low > reached:
            yield reached, low
        reached = max(reached, high)
    if reached < length:
        yield reached, length


def _joined(found: Sequence[Line]) -> list[Line]:
    """Pieces between the same faces that touch and go on straight become one."""
    whole: list[Line] = []
    for line in found:
        while (before := next((item for item in whole if _goes_on(item, line)), None)) is not None:
            whole.remove(before)
            line = _both(before, line)
        whole.append(line)
    return whole


def _goes_on(one: Line, other: Line) -> bool:
    if (one.kind, one.face, one.other) != (other.kind, other.face, other.other):
        return False
    ends = np.array([one.start_2, one.end_2])[:, None] - np.array([other.start_2, other.end_2])
    along_2, beside_2 = one.end_2 - one.start_2, other.end_2 - other.start_2
    straight = abs(along_2[0] * beside_2[1] - along_2[1] * beside_2[0]) < 10 * NEAR * one.length * other.length
    return bool(straight and np.hypot(ends[..., 0], ends[..., 1]).min() < 10 * NEAR)


def _both(one: Line, other: Line) -> Line:
    points_42 = np.array([one.start_2, one.end_2, other.start_2, other.end_2])
    place_4 = points_42 @ (one.end_2 - one.start_2)
    return Line(points_42[place_4.argmin()], points_42[place_4.argmax()], one.kind, one.face, one.other)
