"""Centre lines of roads: polygons of driveable classes -> raster -> skeleton -> a graph of branches.

Decisions:
- PLATEAU's LOD1 roads are areas without lanes or direction. Their skeleton is the centre line, and the distance
  transform at the skeleton is half the width: both come from one 0.5 m raster, anchored at the projection's origin.
- A skeleton grows a twig into every corner of a polygon: dead ends not much longer than the road is wide are dropped.
- A crossing of wide roads becomes two junctions a few metres apart. Junctions whose discs overlap are one junction.
- A dart is a branch with a direction: dart 2b runs branch b from tail to head, 2b + 1 runs it back. Joining branches
  here and finding routes in `paths` are both "which dart follows which".
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
from scipy import ndimage
from scipy.ndimage import gaussian_filter1d
from skimage.morphology import skeletonize

from stepladder.core.types import Box

PIXEL_M = 0.5
CRACK_M2 = 20.0  # a smaller hole in the road surface is a gap between polygons, a sign or a tree, not a block
TWIG_WIDTHS, TWIG_M = 1.5, 20.0  # a dead end shorter than either leads nowhere
DISC = 1.5  # junctions nearer than this many radii of the wider one are one crossing
CAR_M = 2.5  # no car drives through anything narrower
LINE_SIGMA = 2.0  # pixels; takes the staircase out of a line of pixels


@dataclass(frozen=True)
class Branch:
    """A piece of centre line between two nodes.

    Attributes:
        tail, head: rows of the nodes it starts and ends at (the same for a loop).
        line_K2: its points in projected metres.
        half_K: half the width of the road at each point, metres.
    """

    tail: int
    head: int
    line_K2: np.ndarray
    half_K: np.ndarray

    @property
    def length(self) -> float:
        """Length in metres."""
        return float(np.hypot(*np.diff(self.line_K2, axis=0).T).sum())


@dataclass(frozen=True)
class CentreLines:
    """A road network: nodes, each with its position and the radius of the disc of road around it, and branches."""

    node_N2: np.ndarray
    radius_N: np.ndarray
    branches: tuple[Branch, ...]

    def length(self, region: Box) -> float:
        """Metres of centre line inside `region`, by the middle of each segment."""
        x_min, y_min, x_max, y_max = region
        total = 0.0
        for branch in self.branches:
            x, y = (0.5 * (branch.line_K2[1:] + branch.line_K2[:-1])).T
            inside = (x >= x_min) & (x < x_max) & (y >= y_min) & (y < y_max)
            total += float(np.hypot(*np.diff(branch.line_K2, axis=0).T)[inside].sum())
        return total


def find(triangles_N32: np.ndarray, box: Box) -> CentreLines:
    """Centre lines of the road surface.

    Args:
        triangles_N32: triangles of driveable surface in plan, projected metres, any orientation.
        box: where to look; roads are cut at its edge.
    """
    if len(triangles_N32) == 0:
        return CentreLines(np.zeros((0, 2)), np.zeros(0), ())
    low, high = triangles_N32.min(axis=(0, 1)), triangles_N32.max(axis=(0, 1))
    origin = np.floor(np.maximum(box[:2], low) / PIXEL_M).astype(np.int64) - 1
    shape = np.maximum(np.ceil(np.minimum(box[2:], high) / PIXEL_M).astype(np.int64) + 1 - origin, 1)
    road_YX = np.zeros((shape[1], shape[0]), dtype=np.bool_)
    _fill(triangles_N32 / PIXEL_M - origin, road_YX)
    road_YX = _without_cracks(road_YX)
    half_YX = ndimage.distance_transform_edt(road_YX) * PIXEL_M
    lines = _trace(skeletonize(road_YX), half_YX, origin)
    wide = tuple(b for b in lines.branches if 2 * np.median(b.half_K) >= CAR_M)
    return _merge_junctions(_prune(replace(lines, branches=wide)))


def follow(next_D: Sequence[int]) -> list[list[int]]:
    """Chains of darts, each dart in exactly one: `next_D[d]` is the dart after `d`, or -1 where a chain ends.

    No dart may follow two others. Chains with a beginning come first, then closed ones from their lowest dart.
    """
    led_to = {dart for dart in next_D if dart >= 0}
    starts = [dart for dart in range(len(next_D)) if dart not in led_to]
    chains, seen = [], set()
    for start in (*starts, *range(len(next_D))):
        chain, dart = [], start
        while dart >= 0 and dart not in seen:
            seen.add(dart)
            chain.append(dart)
            dart = next_D[dart]
        if chain:
            chains.append(chain)
    return chains


def leaving(branches: Sequence[Branch]) -> dict[int, list[int]]:
    """node -> the darts that leave it; the darts that reach it are their reverses, `dart ^ 1`."""
    darts: dict[int, list[int]] = defaultdict(list)
    for number, branch in enumerate(branches):
        darts[branch.tail].append(2 * number)
        darts[branch.head].append(2 * number + 1)
    return darts


def along(dart: int, branches: Sequence[Branch]) -> tuple[np.ndarray, np.ndarray]:
    """Points and half widths of a dart's branch, in the dart's direction."""
    branch = branches[dart >> 1]
    step = -1 if dart & 1 else 1
    return branch.line_K2[::step], branch.half_K[::step]


@numba.njit(cache=True)
def _fill(triangles_N32: np.ndarray, mask_YX: np.ndarray) -> None:
    """Set every pixel whose centre lies in a triangle; coordinates in pixels, row by row between the crossed edges."""
    rows, columns = mask_YX.shape
    for n in range(triangles_N32.shape[0]):
        t = triangles_N32[n]
        first = max(0, int(np.ceil(t[:, 1].min() - 0.5)))
        last = min(rows - 1, int(np.floor(t[:, 1].max() - 0.5)))
        for row in range(first, last + 1):
            y, left, right = row + 0.5, np.inf, -np.inf
            for k in range(3):
                p, q = t[k], t[(k + 1) % 3]
                if (p[1] <= y) != (q[1] <= y):
                    x = p[0] + (y - p[1]) / (q[1] - p[1]) * (q[0] - p[0])
                    left, right = min(left, x), max(right, x)
            if left <= right:
                for column in range(max(0, int(np.ceil(left - 0.5))), min(columns - 1, int(np.floor(right - 0.5))) + 1):
                    mask_YX[row, column] = True


def _without_cracks(road_YX: np.ndarray) -> np.ndarray:
    """The road surface with its small holes filled and hairline gaps between neighbouring polygons closed."""
    closed_YX = ndimage.binary_closing(road_YX, np.ones((3, 3))) | road_YX
    hole_YX, _ = ndimage.label(~closed_YX)
    small = np.bincount(hole_YX.ravel()) * PIXEL_M**2 < CRACK_M2
    small[0] = False
    return closed_YX | small[hole_YX]


def _trace(skeleton_YX: np.ndarray, half_YX: np.ndarray, origin: np.ndarray) -> CentreLines:
    """The graph of a one-pixel-wide skeleton: pixels without exactly two neighbours are nodes, or touch one."""
    skeleton_YX = np.pad(skeleton_YX, 1)
    half, width = np.pad(half_YX, 1).ravel(), skeleton_YX.shape[1]
    steps = [dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    pixel_S = np.flatnonzero(skeleton_YX)
    simple_S = skeleton_YX.ravel()[pixel_S[:, None] + np.array(steps)].sum(axis=1) == 2
    free = dict.fromkeys(pixel_S[simple_S].tolist())  # in the order of pixels, so that the graph is the same every time
    node_YX = skeleton_YX.copy()
    node_YX.ravel()[pixel_S[simple_S]] = False
    node, pixels = ndimage.label(node_YX, np.ones((3, 3)))[0].ravel(), []
    for start in pixel_S[~simple_S].tolist():
        for first in (start + step for step in steps):
            if first in free:
                pixels.append(_walk(start, first, free, node, steps))
    while free:  # what is left are rings without a junction: open each at its first pixel
        start = next(iter(free))
        del free[start]
        node[start] = node.max() + 1
        pixels.append(_walk(start, next(start + step for step in steps if start + step in free), free, node, steps))

    def metres(line: np.ndarray) -> np.ndarray:  # the pad took one pixel, the centre of a pixel is half a pixel in
        return (np.column_stack((line % width, line // width)) - 0.5 + origin) * PIXEL_M

    branches = [
        Branch(
            node[line[0]] - 1,
            node[line[-1]] - 1,
            gaussian_filter1d(metres(line), LINE_SIGMA, 0, mode="nearest"),
            half[line],
        )
        for line in map(np.array, pixels)
    ]
    at = np.flatnonzero(node)
    members = np.bincount(node[at] - 1)
    node_N2 = np.column_stack([np.bincount(node[at] - 1, column) / members for column in metres(at).T])
    radius_N = np.zeros(len(members))
    np.maximum.at(radius_N, node[at] - 1, half[at])
    return CentreLines(node_N2, radius_N, tuple(branches))


def _walk(start: int, first: int, free: dict[int, None], node: np.ndarray, steps: list[int]) -> list[int]:
    """The line of pixels from node pixel `start` over `first` to the next node; takes its pixels out of `free`."""
    line = [start, first]
    while line[-1] in free:
        del free[line[-1]]
        here, before = line[-1], line[-2]
        line.append(next(p for p in (here + step for step in steps) if p != before and (p in free or node[p])))
    return line


def _prune(lines: CentreLines) -> CentreLines:
    """Without twigs, branches joined where only two meet, until nothing changes."""
    while True:
        joined = _join(lines)
        degree = np.bincount([end for b in joined.branches for end in (b.tail, b.head)], minlength=len(joined.node_N2))
        kept = tuple(b for b in joined.branches if not _is_twig(b, degree, joined.radius_N))
        lines = replace(lines, branches=kept)
        if len(kept) == len(joined.branches):
            return lines


def _is_twig(branch: Branch, degree_N: np.ndarray, radius_N: np.ndarray) -> bool:
    """Whether a branch is a short dead end (or a speck, or a loop within its own junction)."""
    dead = degree_N[branch.tail] == 1 or degree_N[branch.head] == 1
    width = 2 * max(radius_N[branch.tail], radius_N[branch.head])
    return (dead or branch.tail == branch.head) and branch.length < max(TWIG_WIDTHS * width, TWIG_M)


def _join(lines: CentreLines) -> CentreLines:
    """Branches that meet two at a node as one branch."""
    next_D = [-1] * (2 * len(lines.branches))
    for darts in leaving(lines.branches).values():
        if len(darts) == 2:
            next_D[darts[0] ^ 1], next_D[darts[1] ^ 1] = darts[1], darts[0]
    chains = [
        chain for chain in follow(next_D) if min(chain, key=lambda dart: dart >> 1) & 1 == 0
    ]  # not its reverse too
    return replace(lines, branches=tuple(_concatenate(chain, lines.branches) for chain in chains))


def _concatenate(chain: list[int], branches: Sequence[Branch]) -> Branch:
    pieces = [along(dart, branches) for dart in chain]
    first, last = branches[chain[0] >> 1], branches[chain[-1] >> 1]
    return Branch(
        tail=first.head if chain[0] & 1 else first.tail,
        head=last.tail if chain[-1] & 1 else last.head,
        line_K2=np.concatenate([line for line, _ in pieces]),
        half_K=np.concatenate([half for _, half in pieces]),
    )


def _merge_junctions(lines: CentreLines) -> CentreLines:
    """Junctions within the disc of a wider one, and joined to it there, become part of it."""
    into_N = np.arange(len(lines.node_N2))
    taken = np.zeros(len(into_N), dtype=bool)
    reach: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for branch in lines.branches:
        reach[branch.tail].append((branch.head, branch.length))
        reach[branch.head].append((branch.tail, branch.length))
    for node in np.argsort(-lines.radius_N, kind="stable").tolist():
        if not taken[node]:
            near = [other for other, metres in reach[node] if metres < DISC * lines.radius_N[node] and not taken[other]]
            into_N[near] = node
            taken[[node, *near]] = bool(near)
    moved = [replace(b, tail=int(into_N[b.tail]), head=int(into_N[b.head])) for b in lines.branches]
    kept = tuple(b for b in moved if b.tail != b.head or b.length > 2 * DISC * lines.radius_N[b.tail])
    return replace(lines, branches=kept)
