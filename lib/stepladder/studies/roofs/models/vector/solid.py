"""A roof in space: its faces at their heights, walls down to the ground, and a floor; as meshes, GLB and OBJ files.

Decisions:
- Pitch and bearing say how a face tilts, not how high it lies. Heights of corners and faces are solved together by
  least squares: a corner lies on the plane of every face that meets there; faces lie where the height map has them,
  else their eaves at the eave's height. Faces that share an edge agree along it, even where pitches do not quite fit.
- Only along a height break a place has several heights: those faces around it share one that are joined otherwise. The
  break is closed by an upright wall, as the outline is down to the ground.
- Everything follows from the triangles of the plan: an edge that no second one of the same surface has gets a wall, and
  an upright edge is divided at all heights of its place. So the mesh is closed, whatever the plan.
- Without any height eaves lie `WALL` metres above the ground; that is a picture, not a measurement.
- Coordinates are metres: x east, y north, z up, from the pixel `origin`. GLB has y up, as glTF demands.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.data.labels import LINES
from stepladder.studies.roofs.models.vector import measure
from stepladder.studies.roofs.models.vector.measure import KINDS
from stepladder.studies.roofs.models.vector.outlines import GRID
from stepladder.studies.roofs.models.vector.roofs import Roof
from stepladder.view.scene import Lines, Mesh

EAVE, HEIGHT_BREAK = LINES.index("eave"), LINES.index("height_break")
WALL: Final = 3.0  # metres from the ground to an eave of which nothing is known
LOWEST: Final = 0.1  # metres above the ground of any part of a roof
SEEN, EAVES, SOMEWHERE = (
    0.5,
    0.3,
    1e-3,
)  # weights of a face's height, of an eave's, of any corner's, against 1 for planes
FACE, WALLS, FLOOR = range(3)  # parts of the mesh
COLOURS: Final = {FACE: (178, 96, 72, 255), WALLS: (222, 214, 200, 255), FLOOR: (120, 120, 120, 255)}

NAMES: Final = {FACE: "roof", WALLS: "wall"}
LINE_COLOURS: Final = ("#d62728", "#ff7f0e", "#1f77b4", "#2ca02c", "#9467bd", "#111827", "#7f7f7f")

Place = tuple[int, int]  # a corner of the plan, in units of GRID
Edge = tuple[Place, Place]
Corner = tuple[int, Place]  # of a face


@dataclass(frozen=True)
class Solid:
    """A roof in space, in metres.

    Attributes:
        points_N3: x east, y north, z up; the ground is z = 0.
        triangles_M3: counter-clockwise seen from outside.
        part_M: FACE, WALLS or FLOOR.
        face_M: number of the face a triangle of the roof, or the floor below it, belongs to; -1 for walls.
        lines: type id and ends (2, 3) of every edge of the roof.
    """

    points_N3: np.ndarray
    triangles_M3: np.ndarray
    part_M: np.ndarray
    face_M: np.ndarray
    lines: tuple[tuple[int, np.ndarray], ...]


def solid(
    roof: Roof, gsd_m: float, georeference: Georeference | None = None, origin: tuple[float, float] = (0.0, 0.0)
) -> Solid:
    """The closed mesh of a roof, and its edges.

    Args:
        roof: of `roofs.vectorise`.
        gsd_m: true metres per pixel, used where there is no `georeference`.
        origin: pixel (x, y) that is the origin.
    """
    metres_22 = measure.scale(roof, gsd_m, georeference)
    triangles = plan(roof)
    owner = {(t[k], t[k - 2]): face for face, t in triangles for k in range(3)}
    broken = breaks(roof, owner)
    height = heights(roof, corners(owner, broken), np.linalg.norm(metres_22, axis=0))
    made = _Mesh(height)
    for face, places in triangles:
        made.add([(place, height[face, place]) for place in places], FACE, face)
        made.add([(place, 0.0) for place in reversed(places)], FLOOR, face)
    for (one, two), face in owner.items():
        other = owner.get((two, one))
        if other is None:
            made.wall([(place, height[face, place], 0.0) for place in (one, two)])
        elif frozenset((one, two)) in broken and face < other:
            made.wall([(place, height[face, place], height[other, place]) for place in (one, two)])

    def metres(place_NE: np.ndarray) -> np.ndarray:
        return (place_NE - origin) @ metres_22.T

    ends = [(line.type, _ends(line, height)) for line in roof.lines]
    lines = tuple((kind, np.column_stack([metres(e[:, :2]), e[:, 2]])) for kind, e in ends)
    return made.solid(metres, lines)


def plan(roof: Roof) -> list[tuple[int, tuple[Place, Place, Place]]]:
    """Triangles of the plan: number of the face and three places, counter-clockwise with north up."""
    corner_NE = np.unique(np.concatenate([shapely.get_coordinates(face.polygon) for face in roof.faces]), axis=0)
    result = []
    for number, face in enumerate(roof.faces):
        for part in shapely.get_parts(shapely.constrained_delaunay_triangles(_completed(face.polygon, corner_NE))):
            place_3 = [
                tuple(np.round(place / GRID).astype(int).tolist()) for place in np.array(part.exterior.coords)[:3]
            ]
            (a, b), (c, d), (e, f) = place_3
            clockwise = (c - a) * (f - b) - (d - b) * (e - a)  # y runs down, so a positive one is clockwise
            if clockwise:
                result.append((number, tuple(place_3[::-1] if clockwise > 0 else place_3)))
    return result


def breaks(roof: Roof, owner: dict[Edge, int]) -> set[frozenset[Place]]:
    """Edges of the plan that lie on a height break between two faces."""
    lines = [shapely.LineString([line.start, line.end]) for line in roof.lines if line.type == HEIGHT_BREAK]
    shared = [(one, two) for (one, two), face in owner.items() if owner.get((two, one), face) != face]
    if not lines or not shared:
        return set()
    middle_NE = np.mean(shared, axis=1) * GRID
    near_N = shapely.distance(shapely.points(middle_NE), shapely.union_all(lines)) <= 4 * GRID
    return {frozenset(edge) for edge, near in zip(shared, near_N, strict=True) if near}


def corners(owner: dict[Edge, int], broken: set[frozenset[Place]]) -> dict[Corner, int]:
    """Number of the vertex that a face has at a place: faces that meet along an edge which is no break share it."""
    number = {corner: n for n, corner in enumerate({(face, place) for edge, face in owner.items() for place in edge})}
    joined = [
        (number[face, place], number[owner[two, one], place])
        for (one, two), face in owner.items()
        if (two, one) in owner and frozenset((one, two)) not in broken
        for place in (one, two)
    ]
    one, two = np.array(joined, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one)), (one, two)), shape=(len(number), len(number)))
    vertex = connected_components(graph, directed=False)[1]
    return {corner: int(vertex[n]) for corner, n in number.items()}


def heights(roof: Roof, vertex: dict[Corner, int], metres_2: np.ndarray) -> dict[Corner, float]:
    """Metres above the ground of every corner, by least squares; `metres_2` is the size of a pixel.

    Unknown are the heights of vertices and, for each face, that of its plane at the image's first corner.
    """
    vertices = max(vertex.values()) + 1
    foot = roof.eave if np.isfinite(roof.eave) else WALL
    fall_F2 = np.nan_to_num([face.slope_G for face in roof.faces]) * (1, -1) * metres_2  # metres down per pixel
    ends = [end for line in roof.lines if line.type == EAVE for end in (line.start, line.end)]
    eave = {tuple(np.round(end / GRID).astype(int).tolist()) for end in ends}
    rows: list[tuple[dict[int, float], float, float]] = []  # coefficients, value, weight
    for (face, place), z in vertex.items():
        rows.append(({z: 1.0, vertices + face: -1.0}, -float(fall_F2[face] @ np.array(place) * GRID), 1.0))
        unseen = place in eave and np.isnan(roof.faces[face].height)
        rows.append(({z: 1.0}, foot, EAVES if unseen else SOMEWHERE))
    for number, face in enumerate(roof.faces):
        if np.isfinite(face.height):
            fall = float(fall_F2[number] @ face.polygon.centroid.coords[0])
            rows.append(({vertices + number: 1.0}, face.height + fall, SEEN))
    entries = [(r, column, weight * value) for r, (row, _, weight) in enumerate(rows) for column, value in row.items()]
    row, column, value = np.array(entries).T
    shape = (len(rows), vertices + len(roof.faces))
    system = coo_array((value, (row.astype(int), column.astype(int))), shape=shape).tocsr()
    solved = lsqr(system, np.array([v * weight for _, v, weight in rows]), atol=1e-12, btol=1e-12, iter_lim=10_000)[0]
    # Rounded, so that equal heights are one vertex.
    return {corner: round(max(float(solved[z]), LOWEST), 4) for corner, z in vertex.items()}


def drawn(solids: Sequence[Solid]) -> tuple[Mesh | Lines, ...]:
    """Roofs, made with one `origin`, as items of a `view.scene` panel: roof and walls as one mesh, edges by type."""
    starts = np.cumsum([0, *(len(some.points_N3) for some in solids)])
    shown = [some.part_M != FLOOR for some in solids]
    triangles = [some.triangles_M3[s] + start for some, s, start in zip(solids, shown, starts, strict=False)]
    parts = [some.part_M[s] for some, s in zip(solids, shown, strict=True)]
    if not triangles:
        return ()
    points_N3 = np.concatenate([some.points_N3 for some in solids])
    palette = {part: (name, "#{:02x}{:02x}{:02x}".format(*COLOURS[part])) for part, name in NAMES.items()}
    body = Mesh(points_N3, np.concatenate(triangles), np.concatenate(parts), palette)
    edges = defaultdict(list)
    for kind, ends in (edge for some in solids for edge in some.lines):
        edges[kind].append(ends)
    return body, *(Lines(tuple(edges[kind]), KINDS[kind], LINE_COLOURS[kind], 3.0) for kind in sorted(edges))


def mesh(some: Solid) -> Any:
    """A `trimesh.Trimesh` of a roof, coloured by part; vertices are shared, so it can be asked whether it is closed."""
    import trimesh

    colour_M4 = np.array([COLOURS[part] for part in range(3)], np.uint8)[some.part_M]
    return trimesh.Trimesh(some.points_N3, some.triangles_M3, face_colors=colour_M4, process=False)


def export(solids: Sequence[Solid], path: Path) -> Path:
    """Write roofs, made with one `origin`, as GLB (y up) or OBJ (z up); returns `path`.

    Raises:
        StudyError: the name ends otherwise, or there is no roof.
    """
    import trimesh

    path = Path(path)
    if path.suffix.lower() not in (".glb", ".obj"):
        raise StudyError(f"{path.name}: a roof in space is written as .glb or .obj")
    if not solids:
        raise StudyError(f"{path.name}: there is no roof to write; lower the threshold, or look at the outline map")
    scene = trimesh.Scene({f"roof_{number}": mesh(some) for number, some in enumerate(solids, 1)})
    if path.suffix.lower() == ".glb":
        scene.apply_transform(np.array([(1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    scene.export(part, file_type=path.suffix.lower()[1:])
    return part.replace(path)


class _Mesh:
    """Vertices and triangles as they come; a vertex is a place and a height."""

    def __init__(self, height: dict[Corner, float]):
        self.levels: dict[Place, set[float]] = defaultdict(set)
        for (_, place), z in height.items():
            self.levels[place].add(z)
        self.number: dict[tuple[Place, float], int] = {}
        self.triangles: list[tuple[list[int], int, int]] = []

    def add(self, corners: Sequence[tuple[Place, float]], part: int, face: int) -> None:
        self.triangles.append(([self.number.setdefault(c, len(self.number)) for c in corners], part, face))

    def wall(self, sides: Sequence[tuple[Place, float, float]]) -> None:
        """An upright wall between two places, each with the height along its face and where the wall ends."""
        one, two = (self._between(*side) for side in sides)
        while len(one) > 1 or len(two) > 1:
            shorter = one if len(one) >= len(two) else two
            self.add([two[0], one[0], shorter[1]], WALLS, -1)
            shorter.pop(0)

    def _between(self, place: Place, begin: float, end: float) -> list[tuple[Place, float]]:
        inner = [z for z in self.levels[place] if min(begin, end) < z < max(begin, end)]
        chain = [begin, *sorted(inner, reverse=begin > end), *([end] if end != begin else [])]
        return [(place, z) for z in chain]

    def solid(self, metres: Callable[[np.ndarray], np.ndarray], lines: tuple[tuple[int, np.ndarray], ...]) -> Solid:
        """The mesh; `metres` takes pixels (N, 2) to metres."""
        place_N2, z_N = (np.array(values, float) for values in zip(*self.number, strict=True))
        triangles, parts, faces = (np.array(values, int) for values in zip(*self.triangles, strict=True))
        return Solid(np.column_stack([metres(place_N2 * GRID), z_N]), triangles, parts, faces, lines)


def _ends(line: Any, height: dict[Corner, float]) -> np.ndarray:
    """Ends of an edge in pixels and metres up, (2, 3): on the higher face where there are two."""
    places = [tuple(np.round(end / GRID).astype(int).tolist()) for end in (line.start, line.end)]
    z = [max((height[face, p] for face in line.faces if (face, p) in height), default=0.0) for p in places]
    return np.column_stack([np.array(places) * GRID, z])


def _completed(polygon: shapely.Polygon, corner_NE: np.ndarray) -> shapely.Polygon:
    """The polygon with every corner of others that lies on one of its edges, so that triangles meet at corners only."""

    def ring(line: shapely.LinearRing) -> np.ndarray:
        place_NE = np.array(line.coords)
        parts = []
        for one, two in itertools.pairwise(place_NE):
            step, away_NE = two - one, corner_NE - one
            share_N = away_NE @ step / (step @ step)
            across_N = np.abs(away_NE[:, 0] * step[1] - away_NE[:, 1] * step[0]) / np.linalg.norm(step)
            on_N = (across_N < GRID) & (share_N > 1e-6) & (share_N < 1 - 1e-6)
            parts += [one[None], corner_NE[on_N][np.argsort(share_N[on_N])]]
        return np.concatenate(parts)

    return shapely.Polygon(ring(polygon.exterior), [ring(hole) for hole in polygon.interiors])
