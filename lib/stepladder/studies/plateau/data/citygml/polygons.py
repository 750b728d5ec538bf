"""Polygons with holes in space -> triangles that lie on them.

Decisions:
- Polygons travel as three flat arrays (all corners, corners per ring, rings per polygon), so cleaning, normals and the
  common cases (triangles and quadrilaterals, over 80 % of a city) are whole-array arithmetic; only the rest meets
  earcut, one polygon at a time, on the coordinate plane its normal points to most.
- A quadrilateral is cut along the diagonal that leaves both halves the most alike its normal, which is right for
  concave ones too.
- Triangles keep their polygon's orientation, so an outward-facing solid stays outward-facing.
"""

from dataclasses import dataclass

import mapbox_earcut
import numpy as np

from stepladder.studies.plateau.data.citygml.raw import Tally

LEAST_AREA = 1e-6  # m2: below one square millimetre a polygon or triangle covers nothing
AREA_TOLERANCE = 0.02  # relative: triangles that cover more or less than this show a bent or self-crossing polygon
OTHER_AXES = np.array([[1, 2], [2, 0], [0, 1]])  # the plane seen along x, y, z, keeping the sense of rotation


@dataclass(frozen=True)
class Polygons:
    """Polygons as flat arrays; the first ring of a polygon is its outline, the others are holes.

    Attributes:
        corner_V3: coordinates of all corners; a closed ring repeats its first corner at its end.
        corners_R: number of corners of each ring.
        rings_P: number of rings of each polygon, at least 1.
    """

    corner_V3: np.ndarray
    corners_R: np.ndarray
    rings_P: np.ndarray

    @property
    def owner_R(self) -> np.ndarray:
        """The polygon each ring belongs to."""
        return np.repeat(np.arange(len(self.rings_P)), self.rings_P)

    def outline_P(self) -> np.ndarray:
        """The outline ring of each polygon."""
        return _starts(self.rings_P)

    def keep(self, keep_R: np.ndarray, keep_P: np.ndarray) -> "Polygons":
        """Only the rings and polygons wanted; a dropped polygon takes its rings along."""
        keep_R = keep_R & keep_P[self.owner_R]
        rings_P = np.bincount(self.owner_R[keep_R], minlength=len(self.rings_P))[keep_P]
        return Polygons(self.corner_V3[np.repeat(keep_R, self.corners_R)], self.corners_R[keep_R], rings_P)


def open_rings(polygons: Polygons, tally: Tally) -> tuple[Polygons, np.ndarray]:
    """Drop the corner that closes each ring, then rings of fewer than three corners; also which polygons are left (P).

    A ring that was not closed is used as it is and counted; so are the polygons and holes that are dropped.
    """
    # A ring is closed when its last corner repeats its first.
    corners_R, first_R = polygons.corners_R, _starts(polygons.corners_R)
    last_R = first_R + corners_R - 1
    closed_R = (polygons.corner_V3[first_R] == polygons.corner_V3[last_R]).all(axis=1) & (corners_R > 1)
    tally.add("open ring closed", np.sum(~closed_R & (corners_R > 2)))
    keep_V = np.ones(len(polygons.corner_V3), dtype=bool)
    keep_V[last_R[closed_R]] = False
    opened = Polygons(polygons.corner_V3[keep_V], corners_R - closed_R, polygons.rings_P)
    # A polygon lives by its outline; a degenerate hole alone is dropped and the polygon stays whole.
    whole_R = opened.corners_R >= 3
    whole_P = whole_R[opened.outline_P()]
    tally.add("degenerate polygon", int(np.sum(~whole_P)))
    tally.add("degenerate hole", int(np.sum(~whole_R & whole_P[opened.owner_R])) if len(whole_R) else 0)
    return opened.keep(whole_R, whole_P), whole_P


def triangulate(polygons: Polygons, tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of polygons whose rings are open and have three corners or more.

    Returns corner_T3 (int64 rows of `corner_V3`) and polygon_T (ascending). Polygons of no area, and those earcut
    cannot cut, yield none and are counted; bent or self-crossing ones are counted and kept.
    """
    start_R = _starts(polygons.corners_R)
    start_P = start_R[polygons.outline_P()]
    corners_P = np.add.reduceat(polygons.corners_R, polygons.outline_P()) if len(start_P) else start_P
    # Relative to each polygon's first corner: products of map coordinates would lose the millimetres.
    local_V3 = polygons.corner_V3 - np.repeat(polygons.corner_V3[start_P], corners_P, axis=0)
    normal_R3 = _ring_normals(local_V3, polygons.corners_R)
    normal_P3 = normal_R3[polygons.outline_P()]
    flat_P = np.linalg.norm(normal_P3, axis=1) <= 2 * LEAST_AREA
    tally.add("degenerate polygon", flat_P.sum())

    # Three classes: as it is, cut along a diagonal, cut by earcut.
    simple_P = (polygons.rings_P == 1) & ~flat_P
    three = np.flatnonzero(simple_P & (corners_P == 3))
    four = np.flatnonzero(simple_P & (corners_P == 4))
    rest = np.flatnonzero(~flat_P & ~(simple_P & (corners_P <= 4)))
    quads_T3 = _cut_quads(local_V3, start_P[four], normal_P3[four])
    ears_T3, polygon_E = _cut_ears(local_V3, polygons, start_P, corners_P, normal_P3, rest)
    corner_T3 = np.concatenate([start_P[three, None] + np.arange(3), quads_T3, ears_T3])
    polygon_T = np.concatenate([three, np.repeat(four, 2), polygon_E])

    # Turned to face as their polygon does, then sorted by polygon; slivers are left out.
    normal_T3 = _triangle_normals(local_V3, corner_T3)
    area_T = 0.5 * np.linalg.norm(normal_T3, axis=1)
    backward_T = np.einsum("td,td->t", normal_T3, normal_P3[polygon_T]) < 0
    corner_T3[backward_T, 1:] = corner_T3[backward_T, :0:-1]
    _count_misfits(polygons, normal_R3, polygon_T, area_T, ~flat_P, tally)
    order = np.argsort(polygon_T, kind="stable")
    order = order[area_T[order] > LEAST_AREA]
    return corner_T3[order], polygon_T[order]


def _count_misfits(
    polygons: Polygons,
    normal_R3: np.ndarray,
    polygon_T: np.ndarray,
    area_T: np.ndarray,
    used_P: np.ndarray,
    tally: Tally,
) -> None:
    """Count polygons whose triangles do not cover them: cut to nothing, bent out of plane or crossing themselves."""
    # Outline less holes is what the triangles should cover.
    signed_R = 0.5 * np.linalg.norm(normal_R3, axis=1)
    signed_R[~np.isin(np.arange(len(signed_R)), polygons.outline_P())] *= -1
    area_P = np.bincount(polygons.owner_R, signed_R, minlength=len(used_P))
    covered_P = np.bincount(polygon_T, area_T, minlength=len(used_P))
    empty_P = used_P & (covered_P == 0)
    tally.add("polygon that cannot be triangulated", empty_P.sum())
    bent_P = used_P & ~empty_P & (np.abs(covered_P - area_P) > AREA_TOLERANCE * area_P + LEAST_AREA)
    tally.add("bent or self-crossing polygon, kept", bent_P.sum())


def _ring_normals(local_V3: np.ndarray, corners_R: np.ndarray) -> np.ndarray:
    """Newell normal of each ring (R, 3): its length is twice the ring's area."""
    if not len(corners_R):
        return np.empty((0, 3))
    start_R = _starts(corners_R)
    # Each corner's successor, which at the end of a ring is its first corner.
    following_V = np.arange(1, len(local_V3) + 1)
    following_V[start_R + corners_R - 1] = start_R
    return np.add.reduceat(np.cross(local_V3, local_V3[following_V]), start_R)


def _triangle_normals(corner_V3: np.ndarray, corner_T3: np.ndarray) -> np.ndarray:
    """Normal of each triangle (T, 3): its length is twice the triangle's area."""
    origin_T3 = corner_V3[corner_T3[:, 0]]
    return np.cross(corner_V3[corner_T3[:, 1]] - origin_T3, corner_V3[corner_T3[:, 2]] - origin_T3)


def _cut_quads(local_V3: np.ndarray, start_Q: np.ndarray, normal_Q3: np.ndarray) -> np.ndarray:
    """Two triangles (2Q, 3) of each quadrilateral, side by side."""
    cuts = np.array([[[0, 1, 2], [0, 2, 3]], [[1, 2, 3], [1, 3, 0]]])
    worst_C = []
    for cut in cuts:
        # A diagonal is as good as its worse half; one that lies outside a concave corner faces backwards and is
        # negative.
        both = [np.einsum("qd,qd->q", _triangle_normals(local_V3, start_Q[:, None] + half), normal_Q3) for half in cut]
        worst_C.append(np.minimum(*both))
    better_Q = (worst_C[1] > worst_C[0]).astype(int)
    return (start_Q[:, None, None] + cuts[better_Q]).reshape(-1, 3)


def _cut_ears(
    local_V3: np.ndarray,
    polygons: Polygons,
    start_P: np.ndarray,
    corners_P: np.ndarray,
    normal_P3: np.ndarray,
    wanted: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (T, 3) of the `wanted` polygons by earcut, and the polygon of each (T)."""
    # Earcut works in a plane: the coordinate plane in which the polygon is largest.
    axes_V2 = np.repeat(OTHER_AXES[np.abs(normal_P3).argmax(axis=1)], corners_P, axis=0)
    plane_V2 = np.take_along_axis(local_V3, axes_V2, axis=1)
    end_R = np.cumsum(polygons.corners_R) - np.repeat(start_P, polygons.rings_P)  # within the polygon, as earcut counts
    end_R = end_R.astype(np.uint32)
    first_R = polygons.outline_P()
    cut, counts = [], []
    for p in wanted.tolist():
        start, ring = start_P[p], first_R[p]
        corners = mapbox_earcut.triangulate_float64(
            plane_V2[start : start + corners_P[p]], end_R[ring : ring + polygons.rings_P[p]]
        )
        cut.append(corners + start)
        counts.append(len(corners) // 3)
    corner_T3 = np.concatenate([np.empty(0, dtype=np.int64), *cut]).reshape(-1, 3)
    return corner_T3, np.repeat(wanted, np.array(counts, dtype=int))


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each group begins in a flat array, given the groups' sizes."""
    return np.cumsum(counts) - counts
