"""Triangles to voxels: the exact set of voxels a labelled surface passes through.

Decisions:
- A voxel (i, j, k) is the half-open box [i h, (i+1) h) x [j h, (j+1) h) x [k h, (k+1) h); it is occupied when a point
  of a triangle lies in it. So every point belongs to one voxel, a wall on a lattice plane is one voxel thick, not two,
  and a triangle without area is simply the segment or point it is.
- The test is the separating-axis test (Akenine-Möller 2001) in the factored form of Schwarz and Seidel (2010): box
  normals, the triangle's plane, and three edges in each of three projections. A half-open box is the limit of closed
  boxes [a, b - e] for e -> 0, so an axis whose extreme corner is excluded must be passed with > instead of >=.
- Work is per column of the projection in which the triangle is largest; there it crosses at most four voxels. Only
  candidates are found by division (with a margin); every voxel is then decided by sums of products of coordinates
  relative to the triangle's own first voxel, so cutting to a box cannot change the answer.
- Triangles are walked twice: once to find the lowest and highest voxel of every column, once to paint labels into a
  buffer that holds just those stretches. That needs no sort, and memory follows the surface, not the volume.
- Where surfaces of several classes meet, the higher `classes.PRIORITY` wins (then the higher id), in any order.
"""

from collections import namedtuple
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from stepladder.studies.plateau.data.citygml.classes import EMPTY, PRIORITY

if TYPE_CHECKING:  # stepladder.core.study imports torch, which would double the memory of a process that only voxelises
    from stepladder.core.types import Box

RANK = PRIORITY.astype(np.int32) * 256 + np.arange(256, dtype=np.int32)  # decides between labels in one voxel
RANK[EMPTY] = -1
MARGIN = 1e-6  # voxels; candidates are taken this much too generously
STRICT = 1e-300  # `value >= STRICT` means `value > 0`
FLAT = 2.0**-40  # a normal shorter than this times length cubed may point anywhere: the triangle is a segment

# One triangle at work. Its axes are renamed u, v, w, with w along the largest component of the normal, and its
# coordinates are counted in voxels from its own first voxel.
#   corner_33: corners.                 edge_94: a, b, c and threshold t of nine edge tests a p + b q + c >= t.
#   plane_5: normal, and the plane at the far and the near corner of voxel (0, 0, 0); strict_2: their thresholds.
#   reach_32: first voxel and the one beyond, per axis.     place_24: column and z as affine functions of (1, u, v, w).
#   cells: the voxels of one row: column, z.
Work = namedtuple("Work", "corner_33 edge_94 plane_5 strict_2 reach_32 place_24 cells")


def voxelize(
    triangles_N33: np.ndarray, label_N: np.ndarray, voxel_m: float, box: "Box | None" = None
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that labelled triangles pass through, sorted by (x, y, z).

    Args:
        triangles_N33: triangle, corner, coordinate (x, y, z) in metres; finite.
        label_N: uint8 label of every triangle (any but `classes.EMPTY`).
        voxel_m: edge of a voxel in metres.
        box: only voxels whose column meets this rectangle (see `columns`); None: all.

    Returns:
        index_M3: int32 voxel indices, `floor(coordinate / voxel_m)`.
        label_M: uint8 label of every voxel.
    """
    triangles_N33 = np.ascontiguousarray(triangles_N33, dtype=np.float64)
    label_N = np.ascontiguousarray(label_N, dtype=np.uint8)
    assert triangles_N33.shape == (len(label_N), 3, 3) and np.isfinite(triangles_N33).all()
    assert not (label_N == EMPTY).any(), "EMPTY is not a label of a surface"
    if len(label_N) == 0:
        return np.zeros((0, 3), np.int32), np.zeros(0, np.uint8)
    if box is None:
        # No box: the columns that the triangles themselves span.
        low, high = triangles_N33[..., :2].min((0, 1)), triangles_N33[..., :2].max((0, 1))
        limits = np.concatenate([np.floor(low / voxel_m), np.floor(high / voxel_m) + 1]).astype(np.int64)
    else:
        limits = np.array(columns(box, voxel_m), dtype=np.int64)
    low_C, start_C = _stretches(triangles_N33, voxel_m, limits)
    buffer = np.full(start_C[-1], EMPTY, dtype=np.uint8)
    count = _paint(triangles_N33, label_N, voxel_m, limits, RANK, low_C, start_C, buffer)
    return _collect(limits, low_C, start_C, buffer, count)


def columns(box: "Box", voxel_m: float) -> tuple[int, int, int, int]:
    """First column in x and y that meets `box` (metres) and the first beyond it: x0, y0, x1, y1.

    A face within a millionth of a voxel of the lattice counts as on it, so `80.0` is 200 voxels of 0.4 m exactly.
    """
    x0, y0, x1, y1 = (edge / voxel_m for edge in box)
    first = np.floor(x0 + MARGIN), np.floor(y0 + MARGIN)
    beyond = np.ceil(x1 - MARGIN), np.ceil(y1 - MARGIN)
    return int(first[0]), int(first[1]), int(beyond[0]), int(beyond[1])


@njit(cache=True)
def _stretches(triangles_N33, voxel_m, limits):
    """Lowest voxel of every column, and where each column's stretch starts in the buffer (one entry more)."""
    ny = limits[3] - limits[1]
    total = (limits[2] - limits[0]) * ny
    low_C = np.full(total, 2**31 - 1, np.int32)
    high_C = np.full(total, -(2**31), np.int32)
    # First walk: which heights every column reaches.
    work = _workspace(triangles_N33, voxel_m)
    for n in range(len(triangles_N33)):
        rows = _enter(triangles_N33[n], voxel_m, limits, work)
        for u in range(rows[0], rows[1]):
            for m in range(_row(u, work)):
                column, z = work.cells[m, 0], work.cells[m, 1]
                low_C[column] = min(low_C[column], z)
                high_C[column] = max(high_C[column], z)
    # Stretches end to end; an untouched column takes no room.
    start_C = np.zeros(total + 1, np.int64)
    for c in range(total):
        start_C[c + 1] = start_C[c] + max(0, np.int64(high_C[c]) - low_C[c] + 1)
    return low_C, start_C


@njit(cache=True)
def _paint(triangles_N33, label_N, voxel_m, limits, rank, low_C, start_C, buffer):
    """Write the winning label of every voxel into `buffer`; the number of voxels written."""
    work = _workspace(triangles_N33, voxel_m)
    count = 0
    for n in range(len(triangles_N33)):
        label = label_N[n]
        rows = _enter(triangles_N33[n], voxel_m, limits, work)
        for u in range(rows[0], rows[1]):
            for m in range(_row(u, work)):
                column = work.cells[m, 0]
                # The voxel's place in its column's stretch. A voxel counts once, when it is first written.
                place = start_C[column] + work.cells[m, 1] - low_C[column]
                before = buffer[place]
                count += before == EMPTY
                if rank[label] > rank[before]:
                    buffer[place] = label
    return count


@njit(cache=True)
def _collect(limits, low_C, start_C, buffer, count):
    """Voxels of the buffer in order of x, y, z, and their labels."""
    index_M3, label_M = np.empty((count, 3), np.int32), np.empty(count, np.uint8)
    ny = limits[3] - limits[1]
    m = 0
    for c in range(len(low_C)):
        x, y = limits[0] + c // ny, limits[1] + c % ny
        for place in range(start_C[c], start_C[c + 1]):
            if buffer[place] != EMPTY:
                index_M3[m, 0], index_M3[m, 1] = x, y
                index_M3[m, 2] = low_C[c] + place - start_C[c]
                label_M[m] = buffer[place]
                m += 1
    return index_M3, label_M


@njit(cache=True)
def _workspace(triangles_N33, voxel_m):
    """Room for one triangle, and for the cells of its longest row (at most five to a column, few without area)."""
    longest = 0.0
    for n in range(len(triangles_N33)):
        for axis in range(3):
            a, b, c = triangles_N33[n, 0, axis], triangles_N33[n, 1, axis], triangles_N33[n, 2, axis]
            longest = max(longest, max(a, b, c) - min(a, b, c))
    cells = np.empty((5 * int(longest / voxel_m) + 64, 2), np.int64)
    reach_32, place_24 = np.empty((3, 2), np.int64), np.empty((2, 4), np.int64)
    return Work(np.empty((3, 3)), np.empty((9, 4)), np.empty(5), np.empty(2), reach_32, place_24, cells)


@njit(cache=True)
def _enter(triangle_33, voxel_m, limits, work):
    """Prepare `work` for a triangle; the rows u (first, beyond) it may touch."""
    # Coordinates relative to the triangle's own first voxel: small numbers keep their digits far from the origin.
    axes, first, flat = _frame(triangle_33, voxel_m)
    for k in range(3):
        axis = axes[k]
        top = 0.0
        for i in range(3):
            work.corner_33[i, k] = triangle_33[i, axis] / voxel_m - first[axis]
            top = max(top, work.corner_33[i, k])
        # Voxels from the first to the last corner, cut to the box in x and y.
        work.reach_32[k, 0], work.reach_32[k, 1] = 0, int(top) + 1
        if axis < 2:  # x and y are limited, z is not
            work.reach_32[k, 0] = max(0, limits[axis] - int(first[axis]))
            work.reach_32[k, 1] = min(int(top) + 1, limits[axis + 2] - int(first[axis]))
    # All three projections (u v, v w, w u), three edges each.
    for k in range(3):
        _edges(work.corner_33, k, (k + 1) % 3, work.edge_94[3 * k : 3 * k + 3])
    _plane(work.corner_33, flat, work.plane_5, work.strict_2)
    _locate(first, axes, limits, work.place_24)
    return work.reach_32[0, 0], work.reach_32[0, 1]


@njit(cache=True)
def _frame(triangle_33, voxel_m):
    """Which axes become u, v, w; the first voxel in x, y, z; whether the triangle has no area.

    w lies along the normal, and v is z where it can be (neighbours in memory); without area, u is the longest side.
    """
    x, dx = _extent(triangle_33, 0, voxel_m)
    y, dy = _extent(triangle_33, 1, voxel_m)
    z, dz = _extent(triangle_33, 2, voxel_m)
    nx, ny, nz = _normal(triangle_33 / voxel_m)
    # Without area the normal may point anywhere, so the longest side decides.
    steepest, longest = max(abs(nx), abs(ny), abs(nz)), max(dx, dy, dz)
    flat = steepest <= FLAT * longest * longest * longest
    if flat:
        axes = (0, 2, 1) if dx == longest else (1, 2, 0) if dy == longest else (2, 0, 1)
    else:
        axes = (0, 1, 2) if abs(nz) == steepest else (1, 2, 0) if abs(nx) == steepest else (0, 2, 1)
    return axes, (x, y, z), flat


@njit(cache=True)
def _extent(triangle_33, axis, voxel_m):
    """First voxel of a triangle along an axis, and its length in voxels."""
    a, b, c = triangle_33[0, axis], triangle_33[1, axis], triangle_33[2, axis]
    return np.floor(min(a, b, c) / voxel_m), (max(a, b, c) - min(a, b, c)) / voxel_m


@njit(cache=True)
def _normal(corner_33):
    """Cross product of two sides: normal to the triangle, twice its area long."""
    ax, bx = corner_33[1, 0] - corner_33[0, 0], corner_33[2, 0] - corner_33[0, 0]
    ay, by = corner_33[1, 1] - corner_33[0, 1], corner_33[2, 1] - corner_33[0, 1]
    az, bz = corner_33[1, 2] - corner_33[0, 2], corner_33[2, 2] - corner_33[0, 2]
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@njit(cache=True)
def _locate(first, axes, limits, place_24):
    """Column and z of voxel (u, v, w) as affine functions: constant and three factors each."""
    ny = limits[3] - limits[1]
    place_24[0, 0] = (int(first[0]) - limits[0]) * ny + int(first[1]) - limits[1]
    place_24[1, 0] = int(first[2])
    for k in range(3):
        place_24[0, k + 1] = (ny, 1, 0)[axes[k]]
        place_24[1, k + 1] = axes[k] == 2


@njit(cache=True)
def _plane(corner_33, flat, plane_5, strict_2):
    """The plane at a voxel (u, v, w): n . (u, v, w) + c, one c for its corner farthest along n, one for the nearest."""
    n = (0.0, 0.0, 0.0) if flat else _normal(corner_33)
    # A half-open box and a plane meet when its extreme corners lie on either side. A corner on a face that the box does
    # not own must lie strictly beyond.
    offset = n[0] * corner_33[0, 0] + n[1] * corner_33[0, 1] + n[2] * corner_33[0, 2]
    plane_5[0], plane_5[1], plane_5[2] = n
    plane_5[3] = max(n[0], 0.0) + max(n[1], 0.0) + max(n[2], 0.0) - offset
    plane_5[4] = min(n[0], 0.0) + min(n[1], 0.0) + min(n[2], 0.0) - offset
    strict_2[0] = STRICT if max(n[0], n[1], n[2]) > 0 else 0.0
    strict_2[1] = STRICT if min(n[0], n[1], n[2]) < 0 else 0.0


@njit(cache=True)
def _edges(corner_33, p, q, edge_34):
    """Tests of the three edges projected on axes p, q: a voxel's extreme corner must lie on the inner side."""
    a1, b1 = corner_33[1, p] - corner_33[0, p], corner_33[1, q] - corner_33[0, q]
    a2, b2 = corner_33[2, p] - corner_33[0, p], corner_33[2, q] - corner_33[0, q]
    # Inner normals whichever way the triangle turns in this projection.
    side = 1.0 if a1 * b2 - b1 * a2 >= 0 else -1.0
    for i in range(3):
        j = (i + 1) % 3
        a = -side * (corner_33[j, q] - corner_33[i, q])
        b = side * (corner_33[j, p] - corner_33[i, p])
        edge_34[i, 0], edge_34[i, 1] = a, b
        edge_34[i, 2] = max(a, 0.0) + max(b, 0.0) - (a * corner_33[i, p] + b * corner_33[i, q])
        edge_34[i, 3] = STRICT if max(a, b) > 0 else 0.0


@njit(cache=True)
def _row(u, work):
    """Find the voxels of row u; their number. `work.cells` holds them."""
    place, e, plane = work.place_24, work.edge_94, work.plane_5
    # What the triangle can touch between u and u + 1, from its edges.
    v0, v1 = _span(work.corner_33, u, 1, work.reach_32)
    w0, w1 = _span(work.corner_33, u, 2, work.reach_32)
    nu, nv, nw = plane[0], plane[1], plane[2]
    count = 0
    for v in range(v0, v1):
        # The whole column misses the triangle in this projection.
        if not _inside(e, 0, u, v):
            continue
        level = nu * u + nv * v
        first, beyond = w0, w1
        if nw != 0.0:
            # Where the plane passes this column; the margin makes up for the division, the tests below decide.
            one, two = -(level + plane[3]) / nw, -(level + plane[4]) / nw
            first = max(first, int(np.ceil(min(one, two) - MARGIN)))
            beyond = min(beyond, int(np.floor(max(one, two) + MARGIN)) + 1)
        for w in range(first, beyond):
            far, near = level + nw * w + plane[3], level + nw * w + plane[4]
            crosses = far >= work.strict_2[0] and -near >= work.strict_2[1]
            if crosses and _inside(e, 3, v, w) and _inside(e, 6, w, u):
                work.cells[count, 0] = place[0, 0] + place[0, 1] * u + place[0, 2] * v + place[0, 3] * w
                work.cells[count, 1] = place[1, 0] + place[1, 1] * u + place[1, 2] * v + place[1, 3] * w
                count += 1
    return count


@njit(cache=True)
def _inside(edge_94, first, p, q):
    """Whether voxel (p, q) of a projection passes its three edge tests."""
    for i in range(first, first + 3):  # noqa: SIM110 (numba knows no generators)
        if edge_94[i, 0] * p + edge_94[i, 1] * q + edge_94[i, 2] < edge_94[i, 3]:
            return False
    return True


@njit(cache=True)
def _span(corner_33, u, axis, reach_32):
    """Voxels (first, beyond) along `axis` that the triangle can touch between u and u + 1."""
    low, high = np.inf, -np.inf
    for i in range(3):
        j = (i + 1) % 3
        if corner_33[i, 0] > corner_33[j, 0]:
            i, j = j, i
        # The edge from p to q, cut to the slab [u, u + 1]; its ends there bound the triangle.
        p, q = corner_33[i, 0], corner_33[j, 0]
        if q < u or p > u + 1:
            continue
        slope = (corner_33[j, axis] - corner_33[i, axis]) / (q - p) if q > p else 0.0
        a = corner_33[i, axis] + slope * (max(p, float(u)) - p) if p < q else corner_33[i, axis]
        b = corner_33[i, axis] + slope * (min(q, u + 1.0) - p) if p < q else corner_33[j, axis]
        low, high = min(low, a, b), max(high, a, b)
    first = max(reach_32[axis, 0], int(np.floor(low - MARGIN)))
    return first, min(reach_32[axis, 1], int(np.floor(high + MARGIN)) + 1)
