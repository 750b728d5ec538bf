"""The plan of a synthetic town: terrain, river, streets, blocks. Everything else is placed along it.

A small Japanese town on the north bank of a river. Its streets are a grid warped by two formulas, so that all of them
connect by construction: `half_disc` rounds the upper corners (the outermost streets become a curved ring road), and the
river's curve shears the whole (streets run along the river). A boulevard leads to the one bridge and over it to a
country road among paddies. Near the river the ground is a plain that falls gently downstream; away from it, it rises.

Coordinates: (s, t) in the grid, s from -1 to 1 and t from 0 (river side) to 1; (u, w) metres along and away from the
river; (x, y) metres of the map.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from stepladder.studies.plateau.data.citygml import solids

ROUNDING = 0.75  # of `half_disc`: 0 keeps the rectangle, 1 makes half an ellipse
HEIGHT_M = 250.0  # from the river-side road to the top of the ring road
SOUTH_M = -49.0  # the country road on the south bank
BANK_W = np.array([-40.5, -35.5, -13.5, -8.5])  # breaklines of the river's bed, south to north
BANK_Z = np.array([0.0, -3.2, -3.2, 0.0])  # ground on them, relative to the plain
WATER_Z = -2.4
WATER_W = (-37.4, -11.6)  # a little into the banks, so that no gap shows
ROWS = 6
GRID_M = 10.0  # of the terrain's TIN
AROUND_M = 75.0  # how far the TIN reaches beyond the streets

FOOTWAY, PLANTING, LANE, CARRIAGEWAY, CROSSING = 2000, 5010, 1010, 1000, 1020
PROFILES = {  # rank -> strips from left to right: (code, width in metres)
    "boulevard": ((FOOTWAY, 2.6), (PLANTING, 1.4), (LANE, 3.25), (LANE, 3.25), (PLANTING, 1.4), (FOOTWAY, 2.6)),
    "main": ((FOOTWAY, 2.5), (LANE, 3.25), (LANE, 3.25), (FOOTWAY, 2.5)),
    "bridge": ((FOOTWAY, 2.0), (CARRIAGEWAY, 6.0), (FOOTWAY, 2.0)),
    "lane": ((CARRIAGEWAY, 5.2),),
}
Node = tuple[int, int]


@dataclass(frozen=True)
class Street:
    """A piece of street between two crossings: its centre line runs from where one crossing ends to the next."""

    line_N2: np.ndarray
    nodes: tuple[Node, Node]
    rank: str

    @property
    def width(self) -> float:
        """Metres between the outer edges, footways included."""
        return sum(width for _, width in PROFILES[self.rank])

    def strip(self, left: float, right: float) -> tuple[np.ndarray, np.ndarray]:
        """The two edges of a strip between `left` and `right` metres (positive to the left of the centre line)."""
        return solids.offset(self.line_N2, left), solids.offset(self.line_N2, right)

    def outline(self, margin: float = 0.0) -> np.ndarray:
        """The street's surface as a ring, counter-clockwise, widened by `margin` on both sides."""
        left, right = self.strip(self.width / 2 + margin, -self.width / 2 - margin)
        return np.concatenate([right, left[::-1]])


@dataclass(frozen=True)
class Block:
    """Cells [i0, i1) x [j0, j1) of the grid, for one use."""

    i0: int
    i1: int
    j0: int
    j1: int
    use: str


class Plan:
    """Terrain, streets and blocks of one town.

    `origin` is the map position of the middle of the river-side road, `half_width` metres from there to either end of
    it; `angle` turns the town counter-clockwise (radians).
    """

    def __init__(self, rng: np.random.Generator, origin: tuple[float, float], half_width: float, angle: float):
        self.origin, self.half_width, self.angle = np.array(origin), half_width, angle
        self.columns = max(3, round(half_width / 38) // 2 * 2 + 1)
        self.phase = rng.uniform(0, 2 * np.pi, 3)
        self.plain_z = rng.uniform(15, 40)
        self.s = (
            np.linspace(-1, 1, self.columns + 1) + np.pad(rng.uniform(-0.2, 0.2, self.columns - 1), 1) / self.columns
        )
        self.t = np.linspace(0, 1, ROWS + 1) + np.pad(rng.uniform(-0.12, 0.12, ROWS - 1), 1) / ROWS
        self.boulevard = int(rng.choice([self.columns // 2 - 1, self.columns // 2 + 2]))
        self.blocks = self._blocks(rng)
        self.streets = self._streets()

    # Coordinates

    def river(self, u: np.ndarray) -> np.ndarray:
        """How far the river, and the town with it, swings to the left at `u` metres along it."""
        return 11.0 * np.sin(2 * np.pi * u / 520 + self.phase[0])

    def to_map(self, uw_N2: np.ndarray) -> np.ndarray:
        """Map position (x, y) of a grid position (u, w)."""
        u, v = uw_N2[..., 0], uw_N2[..., 1] + self.river(uw_N2[..., 0])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.origin + np.stack([u * cos - v * sin, u * sin + v * cos], axis=-1)

    def from_map(self, xy_N2: np.ndarray) -> np.ndarray:
        """Grid position (u, w) of a map position (x, y)."""
        x, y = np.moveaxis(xy_N2 - self.origin, -1, 0)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u = x * cos + y * sin
        return np.stack([u, y * cos - x * sin - self.river(u)], axis=-1)

    def half_disc(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Grid position to map position."""
        u = self.half_width * s * np.sqrt(1 - 0.5 * ROUNDING * t**2)
        w = HEIGHT_M * t * np.sqrt(1 - 0.5 * ROUNDING * s**2)
        return self.to_map(np.stack(np.broadcast_arrays(u, w), axis=-1))

    def height(self, xy_N2: np.ndarray) -> np.ndarray:
        """Ground height (m) at map positions (N, 2)."""
        u, w = np.moveaxis(self.from_map(xy_N2), -1, 0)
        rise = np.clip((w - 20) / 150, 0, 1)
        rise = rise**2 * (3 - 2 * rise)
        hills = (
            5.5
            + 2.2 * np.sin(2 * np.pi * u / 430 + self.phase[1])
            + 1.5 * np.sin(2 * np.pi * (u + w) / 300 + self.phase[2])
        )
        return self.plain(u) + rise * hills + np.interp(w, BANK_W, BANK_Z)

    def plain(self, u: np.ndarray) -> np.ndarray:
        """Height of the river's plain `u` metres along it: 3 m of fall per kilometre."""
        return self.plain_z - 0.003 * u

    def water(self, xy_N2: np.ndarray) -> np.ndarray:
        """Height of the river's surface."""
        return self.plain(self.from_map(xy_N2)[..., 0]) + WATER_Z

    @property
    def bridge(self) -> np.ndarray:
        """Map position of the middle of the bridge."""
        return self.to_map(np.array([self.half_width * self.s[self.boulevard], BANK_W[1:3].mean()]))

    def relief(self) -> solids.Rings:
        """Triangles of the ground near streets: a 10 m grid, with breaklines at the edges of the river's bed."""
        u = np.arange(-self.half_width - 80, self.half_width + 81, GRID_M)
        w = np.unique(
            np.concatenate([np.arange(SOUTH_M - 80, BANK_W[0], GRID_M), BANK_W, np.arange(0, HEIGHT_M + 81, GRID_M)])
        )
        point_UW2 = self.to_map(np.stack(np.meshgrid(u, w, indexing="ij"), axis=-1))
        point_UW3 = np.concatenate([point_UW2, self.height(point_UW2)[..., None]], axis=-1)
        centre_UW2 = (point_UW2[:-1, :-1] + point_UW2[1:, 1:]) / 2
        kept = cKDTree(np.concatenate([street.line_N2 for street in self.streets])).query(centre_UW2)[0] < AROUND_M
        rings = []
        for i, j in np.argwhere(kept):
            a, b, c, d = point_UW3[i, j], point_UW3[i + 1, j], point_UW3[i + 1, j + 1], point_UW3[i, j + 1]
            rings += [np.array([a, b, c]), np.array([a, c, d])]
        return rings

    # Streets

    def node(self, node: Node) -> np.ndarray:
        """Map position of a crossing; row -1 is the country road on the south bank."""
        i, j = node
        if j < 0:
            return self.to_map(np.array([self.half_width * self.s[i], SOUTH_M]))
        return self.half_disc(self.s[i], self.t[j])

    def _rank(self, a: Node, b: Node) -> str:
        if a[1] != b[1] and min(a[1], b[1]) < 0:
            return "bridge"
        if a[0] == b[0] == self.boulevard:
            return "boulevard"
        ring = a[0] == b[0] in (0, self.columns) or (a[1] == b[1] and a[1] in (0, ROWS))
        return "main" if ring else "lane"

    def _edges(self) -> list[tuple[Node, Node]]:
        """Pairs of crossings: the grid without what superblocks swallow, the bridge, the country road."""
        edges = [((i, j), (i + 1, j)) for j in range(-1, ROWS + 1) for i in range(self.columns)]
        edges += [((i, j), (i, j + 1)) for j in range(ROWS) for i in range(self.columns + 1)]
        swallowed = {((i, b.j0), (i, b.j0 + 1)) for b in self.blocks for i in range(b.i0 + 1, b.i1)}
        return [*(edge for edge in edges if edge not in swallowed), ((self.boulevard, -1), (self.boulevard, 0))]

    def _line(self, a: Node, b: Node) -> np.ndarray:
        """Centre line from crossing to crossing, a point every 12 m or so; it follows the warp of the grid."""
        if min(a[1], b[1]) < 0:
            ends = self.from_map(np.stack([self.node(a), self.node(b)]))
            count = max(2, int(np.linalg.norm(ends[1] - ends[0]) / 12) + 1)
            return self.to_map(np.linspace(ends[0], ends[1], count))
        length = np.linalg.norm(self.node(b) - self.node(a))
        share = np.linspace(0, 1, max(2, int(length / 12) + 1))
        s = self.s[a[0]] + share * (self.s[b[0]] - self.s[a[0]])
        return self.half_disc(s, self.t[a[1]] + share * (self.t[b[1]] - self.t[a[1]]))

    def _streets(self) -> list[Street]:
        whole = [Street(self._line(a, b), (a, b), self._rank(a, b)) for a, b in self._edges()]
        arms: dict[Node, list[float]] = {}
        for street in whole:
            for node in street.nodes:
                arms.setdefault(node, []).append(street.width)
        reach = {node: 0.575 * max(widths) if len(widths) > 1 else 0.0 for node, widths in arms.items()}
        return [Street(trim(s.line_N2, reach[s.nodes[0]], reach[s.nodes[1]]), s.nodes, s.rank) for s in whole]

    @cached_property
    def crossings(self) -> dict[Node, np.ndarray]:
        """Crossing -> its surface (N, 2): the hull of the ends of the streets that meet there."""
        ends: dict[Node, list[np.ndarray]] = {}
        for street in self.streets:
            left, right = street.strip(street.width / 2, -street.width / 2)
            for node, row in zip(street.nodes, (0, -1), strict=True):
                ends.setdefault(node, []).extend([left[row], right[row]])
        return {node: solids.hull(np.array(points)) for node, points in ends.items() if len(points) > 2}

    # Blocks

    def _blocks(self, rng: np.random.Generator) -> list[Block]:
        """Divide the grid: two cells each for a school and flats, one for a park and the like, houses elsewhere."""
        free = {(i, j) for i in range(self.columns) for j in range(ROWS)}
        blocks = []
        for use, cells in (("school", 2), ("flats", 2), ("shop", 1), ("park", 1), ("shrine", 1), ("paddy", 1)):
            fits = [
                (i, j) for i, j in sorted(free) if self._suits(use, i, j) and {(i + k, j) for k in range(cells)} <= free
            ]
            fits = [(i, j) for i, j in fits if cells == 1 or i + 1 != self.boulevard]
            i, j = fits[rng.integers(len(fits))]
            free -= {(i + k, j) for k in range(cells)}
            blocks.append(Block(i, i + cells, j, j + 1, use))
        return blocks + [Block(i, i + 1, j, j + 1, "houses") for i, j in sorted(free)]

    def _suits(self, use: str, i: int, j: int) -> bool:
        if use == "shop":
            return i in (self.boulevard - 1, self.boulevard)
        if use == "paddy":
            return i in (0, self.columns - 1)
        return (
            1 <= i < self.columns - (2 if use in ("school", "flats") else 1) and j < ROWS - 1
        )  # cells shrink outwards

    def outline(self, block: Block, inset: float = 0.3) -> np.ndarray:
        """The block's ground between its streets (N, 2), counter-clockwise, `inset` metres inside their edges."""
        west, east = (self._width((i, block.j0), (i, block.j0 + 1)) / 2 + inset for i in (block.i0, block.i1))
        south, north = (self._width((block.i0, j), (block.i0 + 1, j)) / 2 + inset for j in (block.j0, block.j1))
        s0, s1, t0, t1 = self.s[block.i0], self.s[block.i1], self.t[block.j0], self.t[block.j1]
        corner = self.half_disc(np.array([s0, s1, s1, s0]), np.array([t0, t0, t1, t1]))
        length = np.linalg.norm(np.roll(corner, -1, axis=0) - corner, axis=1)
        wide, high = (s1 - s0) / length[[0, 2]].min(), (t1 - t0) / length[[1, 3]].min()
        s0, s1, t0, t1 = s0 + west * wide, s1 - east * wide, t0 + south * high, t1 - north * high
        share = np.linspace(0, 1, 6)[:-1]
        s = np.concatenate([s0 + share * (s1 - s0), 0 * share + s1, s1 + share * (s0 - s1), 0 * share + s0])
        t = np.concatenate([0 * share + t0, t0 + share * (t1 - t0), 0 * share + t1, t1 + share * (t0 - t1)])
        return self.half_disc(s, t)

    def _width(self, a: Node, b: Node) -> float:
        return sum(width for _, width in PROFILES[self._rank(a, b)])


def trim(line_N2: np.ndarray, start: float, end: float) -> np.ndarray:
    """The polyline without its first `start` and its last `end` metres."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line_N2, axis=0), axis=1))])
    low, high = start, along[-1] - end
    keep = (along > low + 0.5) & (along < high - 0.5)
    stations = np.concatenate([[low], along[keep], [high]])
    return np.column_stack([np.interp(stations, along, line_N2[:, axis]) for axis in (0, 1)])
