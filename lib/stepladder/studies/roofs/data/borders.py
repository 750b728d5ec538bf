"""Where planar faces meet: straight pieces of border that two polygons share, and pieces that are free.

Decisions:
- Everything is done edge by edge: a piece of an edge is shared where an edge of another face runs beside it, the other
  way round, no further off than a tolerance. So a face may meet several others along one edge, and drawn gaps and
  overlaps of a pixel do not matter.
- A shared piece lies midway between the two edges. Pieces shorter than the tolerance are no border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Geometry

PARALLEL = np.cos(np.radians(20))  # edges that differ more in direction do not run beside each other
STRAIGHT = np.cos(np.radians(10))  # pieces that differ less in direction go on as one


@dataclass(frozen=True, eq=False)
class Border:
    """A straight piece of the border of face `left`; `right` lies beyond it, -1 where no face does.

    `start_2` and `end_2` are x, y in pixels; seen from start to end `left` lies on the side of `-normal_2`.
    """

    left: int
    right: int
    start_2: np.ndarray
    end_2: np.ndarray

    @property
    def length(self) -> float:
        """Pixels from start to end."""
        return float(np.hypot(*(self.end_2 - self.start_2)))

    @property
    def along_2(self) -> np.ndarray:
        """Unit vector from start to end."""
        return (self.end_2 - self.start_2) / self.length

    @property
    def normal_2(self) -> np.ndarray:
        """Unit vector out of face `left`."""
        along_x, along_y = self.along_2
        return np.array([along_y, -along_x])

    @property
    def middle_2(self) -> np.ndarray:
        """The point between start and end."""
        return (self.start_2 + self.end_2) / 2


def find(polygons: Sequence[Geometry], tolerance: float) -> list[Border]:
    """Shared and free pieces of the borders of `polygons`, shared ones once (`left` < `right`); lengths in pixels."""
    edge_E22, face_E = _edges(polygons)
    if not len(face_E):
        return []
    covered_E: list[list[tuple[float, float]]] = [[] for _ in face_E]
    found = []
    for one, other in _neighbours(edge_E22, face_E, tolerance):
        if span := _beside(edge_E22[one], edge_E22[other], tolerance):
            low, high, ends_22 = span
            covered_E[one].append((low, high))
            if face_E[one] < face_E[other]:
                found.append(Border(int(face_E[one]), int(face_E[other]), *ends_22))
    for (start_2, end_2), face, covered in zip(edge_E22, face_E, covered_E, strict=True):
        length = float(np.hypot(*(end_2 - start_2)))
        unit_2 = (end_2 - start_2) / length
        found += [
            Border(int(face), -1, start_2 + low * unit_2, start_2 + high * unit_2)
            for low, high in _gaps(covered, length)
            if high - low > tolerance
        ]
    return found


def joined(borders: Sequence[Border], tolerance: float) -> list[Border]:
    """Borders between the same faces that go on straight become one."""
    groups: dict[tuple[int, int], list[Border]] = {}
    for border in borders:
        group = groups.setdefault((border.left, border.right), [])
        while (before := next((item for item in group if _goes_on(item, border, tolerance)), None)) is not None:
            group.remove(before)
            border = _both(before, border)
        group.append(border)
    return [border for group in groups.values() for border in group]


def _edges(polygons: Sequence[Geometry]) -> tuple[np.ndarray, np.ndarray]:
    """(E, 2, 2) start and end of every edge, outer rings turning one way and holes the other; (E,) its polygon."""
    edges, faces = [np.zeros((0, 2, 2))], [np.zeros(0, np.int64)]
    for place, polygon in enumerate(polygons):
        for part in shapely.get_parts(shapely.orient_polygons(polygon)):
            for ring in shapely.get_rings(part):
                point_P2 = shapely.get_coordinates(ring)
                pair_P22 = np.stack([point_P2[:-1], point_P2[1:]], axis=1)
                edges.append(pair_P22[np.hypot(*(pair_P22[:, 1] - pair_P22[:, 0]).T) > 0])
                faces.append(np.full(len(edges[-1]), place))
    return np.concatenate(edges), np.concatenate(faces)


def _neighbours(edge_E22: np.ndarray, face_E: np.ndarray, tolerance: float) -> np.ndarray:
    """(N, 2) pairs of edges of different faces that come near each other and run opposite ways."""
    lines = np.asarray(shapely.linestrings(edge_E22))
    pair_N2 = shapely.STRtree(lines).query(lines, predicate="dwithin", distance=tolerance).T
    along_E2 = edge_E22[:, 1] - edge_E22[:, 0]
    along_E2 /= np.hypot(*along_E2.T)[:, None]
    cosine_N = (along_E2[pair_N2[:, 0]] * along_E2[pair_N2[:, 1]]).sum(axis=1)
    return pair_N2[(face_E[pair_N2[:, 0]] != face_E[pair_N2[:, 1]]) & (cosine_N < -PARALLEL)]


def _beside(one_22: np.ndarray, other_22: np.ndarray, tolerance: float) -> tuple[float, float, np.ndarray] | None:
    """From where to where `other` runs beside `one`, in pixels along it, and (2, 2) the line midway; None: nowhere."""
    length = float(np.hypot(*(one_22[1] - one_22[0])))
    unit_2 = (one_22[1] - one_22[0]) / length
    normal_2 = np.array([unit_2[1], -unit_2[0]])
    far, near = (other_22 - one_22[0]) @ unit_2  # the other edge runs back
    off_far, off_near = (other_22 - one_22[0]) @ normal_2
    steepness = (off_far - off_near) / (far - near)
    low, high = max(near, 0.0), min(far, length)
    if abs(steepness) > 0:  # where the distance to the other edge is within the tolerance
        bounds = sorted(near + (side * tolerance - off_near) / steepness for side in (-1, 1))
        low, high = max(low, bounds[0]), min(high, bounds[1])
    elif abs(off_near) > tolerance:
        return None
    if high - low <= tolerance:
        return None
    off_2 = off_near + steepness * (np.array([low, high]) - near)
    return low, high, one_22[0] + np.array([low, high])[:, None] * unit_2 + off_2[:, None] / 2 * normal_2


def _gaps(covered: Sequence[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    """What the intervals `covered` leave of 0 .. `length`."""
    gaps, reached = [], 0.0
    for low, high in sorted(covered):
        gaps.append((reached, low))
        reached = max(reached, high)
    return [*gaps, (reached, length)]


def _goes_on(one: Border, other: Border, tolerance: float) -> bool:
    """Whether one border begins where the other ends, in about the same direction."""
    apart = min(np.hypot(*(one.end_2 - other.start_2)), np.hypot(*(other.end_2 - one.start_2)))
    return bool(apart <= 2 * tolerance and one.along_2 @ other.along_2 > STRAIGHT)


def _both(one: Border, other: Border) -> Border:
    """From the first start to the last end of two borders that run the same way."""
    starts, ends = (one.start_2, other.start_2), (one.end_2, other.end_2)
    start_2 = min(starts, key=lambda point_2: float(point_2 @ one.along_2))
    end_2 = max(ends, key=lambda point_2: float(point_2 @ one.along_2))
    return Border(one.left, one.right, start_2, end_2)
