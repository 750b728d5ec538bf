"""A roof in space from its maps: faces as planes over simplified polygons, walls below them, lines upon them.

Decisions:
- x is east, y north, z up, in metres; the image's lower left corner is the origin, the ground is at 0.
- Polygons of faces are taken from the map of instances on the pixels' edges and simplified as one coverage: an edge two
  faces share stays shared.
- Level of a plane: the median of the rise over its face; where no rise is known, its lowest corner is an eave.
- An edge of one face only has a wall below it, and so has one whose neighbour lies lower.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import shapely
from rasterio.features import shapes
from shapely import Polygon

from stepladder.studies.roofs.data.labels import FLAT, FLAT_BELOW, SECTORS
from stepladder.studies.roofs.models.vector import solid
from stepladder.studies.roofs.models.vector.faces import Face
from stepladder.studies.roofs.models.vector.roofs import Roof
from stepladder.studies.roofs.pictures import style
from stepladder.view.scene import Bar, Lines, Mesh, Palette, Panel

SIMPLE: Final = 0.025  # of the side of a square as large as the roofs: a corner goes whose triangle is below its square
NEAR_PIXELS: Final = 2.0  # faces this much further off than the nearest are as near
BESIDE_PIXELS: Final = 8.0  # from the middle of a line to the face it bounds, at most
LEAST_EAVE_M: Final = 1.5  # lower eaves are no answer
SMALLEST_PIXELS: Final = 12  # below, a face is noise and not drawn
WALL_M: Final = 3.0  # of a wall whose height nobody knows
RELIEF_CELLS: Final = 160  # of a relief along its longer side
LIFT_M: Final = 0.06  # of lines above their planes, so that they are seen
WALL: Final = SECTORS + 2
PALETTE: Final[Palette] = {**style.FACE, WALL: ("wall", "#efece4")}
NOTE: Final = f"Where nobody knows the eave's height above the ground, walls are drawn {WALL_M:g} m high."


@dataclass(frozen=True)
class Plane:
    """One face: its polygon in pixels, its class, and z = level + across * x + along * y in metres over pixels."""

    polygon: Polygon
    sector: int
    level: float
    across: float
    along: float

    def z(self, points_N2: np.ndarray) -> np.ndarray:
        """Height of the plane in metres at points in pixels."""
        return self.level + points_N2[:, 0] * self.across + points_N2[:, 1] * self.along


def roof(maps: Mapping[str, np.ndarray], gsd_m: float) -> tuple[Mesh | Lines, ...]:
    """Meshes and lines of a roof in metres; nothing where no face is large enough.

    Args:
        maps: `face_id_YX`, `face_YX` (class of face), and where known `slope_GYX` (east, north; rise over run),
            `rise_YX`, `height_YX` in metres (NaN: not known), `lines_LF` (x0, y0, x1, y1, type, ...).
        gsd_m: metres per pixel.
    """
    found = list(_planes(maps, gsd_m))
    if not found:
        return ()
    rows = maps["face_id_YX"].shape[0]
    found = [replace(plane, level=plane.level + _eave(maps)) for plane in found]
    mesh = _mesh(found, rows, gsd_m)
    return (mesh, *_lines(found, maps.get("lines_LF", np.zeros((0, 5))), rows, gsd_m))


def of_roofs(found: Sequence[Roof], rows: int, gsd_m: float) -> tuple[Mesh | Lines, ...]:
    """Roofs that were vectorised, as they are exported, in the same colours; nothing where there is none.

    `rows` is the height of their image in pixels.
    """
    made = [solid.solid(each, gsd_m, origin=(0.0, float(rows))) for each in found if each.faces]
    if not made:
        return ()
    starts = np.cumsum([0, *(len(each.points_N3) for each in made)])
    colours = [np.array([*map(_sector_of, each.faces), WALL], np.uint8) for each in found if each.faces]
    shown = [each.part_M != solid.FLOOR for each in made]
    triangles = [each.triangles_M3[s] + start for each, s, start in zip(made, shown, starts, strict=False)]
    categories = [colour[each.face_M[s]] for each, s, colour in zip(made, shown, colours, strict=True)]
    points = np.concatenate([each.points_N3 for each in made])
    mesh = Mesh(points, np.concatenate(triangles), np.concatenate(categories), PALETTE)
    edges = [edge for each in made for edge in each.lines]
    return (mesh, *(_typed(kind, edges) for kind in sorted({kind for kind, _ in edges})))


def _sector_of(face: Face) -> int:
    """Class of a face that was vectorised; one whose slope nobody knows is drawn as flat."""
    if not face.pitch >= FLAT_BELOW or np.isnan(face.bearing):
        return FLAT
    return round(face.bearing * SECTORS / 360) % SECTORS


def _typed(kind: int, edges: Sequence[tuple[int, np.ndarray]]) -> Lines:
    raised = tuple(ends + np.array([0, 0, LIFT_M]) for own, ends in edges if own == kind)
    return Lines(raised, style.LINE[kind][0], style.LINE[kind][1], 4.0)


def walled(panel: Panel) -> bool:
    """Whether a panel shows walls."""
    return any(isinstance(item, Mesh) and item.palette is PALETTE for item in panel.items)


def relief(height_YX: np.ndarray, gsd_m: float, highest: float) -> tuple[Mesh, ...]:
    """Heights above the ground (NaN: 0) as a surface in metres, coloured up to `highest`; nothing where all is flat."""
    step = max(1, -(-max(height_YX.shape) // RELIEF_CELLS))
    z_YX = np.nan_to_num(np.asarray(height_YX[::step, ::step], dtype=np.float64))
    if z_YX.max() < LIFT_M:
        return ()
    rows, columns = z_YX.shape
    y, x = np.mgrid[:rows, :columns].reshape(2, -1) * step + 0.5 * step
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    faces = np.concatenate([corner + np.array([0, columns, 1]), corner + np.array([1, columns, columns + 1])])
    bar = Bar("height above ground (m)", 0.0, highest, style.METRES)
    points = _in_space(np.column_stack([x, y, z_YX.ravel()]), height_YX.shape[0], gsd_m)
    return (Mesh(points, faces, bar.shades(z_YX.ravel()[faces].mean(axis=1)), {}, bar=bar),)


def _planes(maps: Mapping[str, np.ndarray], gsd_m: float) -> Iterator[Plane]:
    """The faces that are large enough, as planes."""
    ids_YX = np.ascontiguousarray(maps["face_id_YX"], dtype=np.int32)
    traced = [(int(value), shapely.geometry.shape(shape)) for shape, value in shapes(ids_YX, mask=ids_YX > 0)]
    traced = [(value, polygon) for value, polygon in traced if polygon.area >= SMALLEST_PIXELS]
    if not traced:
        return
    # Corners at every pixel, so that edges of neighbours match wherever a third face begins.
    fine = shapely.segmentize([polygon for _, polygon in traced], 1.0)
    for (value, _), polygon in zip(
        traced, shapely.coverage_simplify(fine, SIMPLE * np.sqrt((ids_YX > 0).sum())), strict=True
    ):
        if not polygon.is_empty:
            yield _plane(polygon, ids_YX == value, maps, gsd_m)


def _plane(polygon: Polygon, where_YX: np.ndarray, maps: Mapping[str, np.ndarray], gsd_m: float) -> Plane:
    east, north = maps["slope_GYX"][:, where_YX].mean(axis=1) if "slope_GYX" in maps else (0.0, 0.0)
    across, along = -gsd_m * float(east), gsd_m * float(north)  # x goes east and y south, and the slope is the way down
    rise = maps["rise_YX"][where_YX] if "rise_YX" in maps else np.full(1, np.nan)
    if np.isfinite(rise).any():
        y, x = np.nonzero(where_YX)
        level = float(np.nanmedian(rise - (x + 0.5) * across - (y + 0.5) * along))
    else:
        level = -float((np.asarray(polygon.exterior.coords) @ np.array([across, along])).min())
    return Plane(polygon, _sector(where_YX, maps, float(east), float(north)), level, across, along)


def _sector(where_YX: np.ndarray, maps: Mapping[str, np.ndarray], east: float, north: float) -> int:
    """Class of a face: the most frequent of its pixels, else by its slope."""
    if "face_YX" in maps and (known_N := maps["face_YX"][where_YX])[known_N <= FLAT].size:
        return int(np.bincount(known_N[known_N <= FLAT]).argmax())
    if np.hypot(east, north) < np.tan(np.radians(FLAT_BELOW)):
        return FLAT
    return round(np.arctan2(east, north) / (2 * np.pi) * SECTORS) % SECTORS


def _eave(maps: Mapping[str, np.ndarray]) -> float:
    """Height of the eaves above the ground in metres; `WALL_M` where not both heights are known, or make no sense."""
    if "height_YX" not in maps or "rise_YX" not in maps:
        return WALL_M
    between = (maps["height_YX"] - maps["rise_YX"])[maps["face_id_YX"] > 0]
    eave_m = float(np.nanmedian(between)) if np.isfinite(between).any() else 0.0
    return eave_m if eave_m >= LEAST_EAVE_M else WALL_M


def _mesh(found: list[Plane], rows: int, gsd_m: float) -> Mesh:
    """Faces and walls as triangles, faces in the colour of their sector."""
    triangles, categories = [], []
    for plane in found:
        own = _triangles(plane)
        triangles.append(own)
        categories.append(np.full(len(own), plane.sector))
    walls = _walls(found)
    triangles.append(walls)
    categories.append(np.full(len(walls), WALL))
    points = np.concatenate(triangles).reshape(-1, 3)
    faces = np.arange(len(points)).reshape(-1, 3)
    return Mesh(_in_space(points, rows, gsd_m), faces, np.concatenate(categories).astype(np.uint8), PALETTE)


def _in_space(points_N3: np.ndarray, rows: int, gsd_m: float) -> np.ndarray:
    """Pixels and metres up -> metres east, north, up."""
    return np.column_stack([points_N3[:, 0] * gsd_m, (rows - points_N3[:, 1]) * gsd_m, points_N3[:, 2]])


def _triangles(plane: Plane) -> np.ndarray:
    """Triangles (T, 3, 3) of a face: x, y in pixels, z in metres."""
    parts = shapely.get_parts(shapely.constrained_delaunay_triangles(plane.polygon))
    corners = np.array([np.asarray(part.exterior.coords)[:3] for part in parts]).reshape(-1, 2)
    return np.column_stack([corners, plane.z(corners)]).reshape(-1, 3, 3)


def _walls(found: list[Plane]) -> np.ndarray:
    """Triangles (T, 3, 3) between every edge and what lies below it: the lower neighbour, or the ground."""
    edges = {edge: plane for plane in found for edge in _edges(plane.polygon)}
    walls = []
    for (start, end), plane in edges.items():
        ends_22 = np.array([start, end])
        top_2 = plane.z(ends_22)
        neighbour = edges.get((end, start))
        low_2 = neighbour.z(ends_22) if neighbour else np.zeros(2)
        if (top_2 - low_2).max() > LIFT_M:
            a, b, c, d = (
                np.array([*at, z]) for at, z in zip([start, end, end, start], [*top_2, *low_2[::-1]], strict=True)
            )
            walls += [(a, c, b), (a, d, c)]
    return np.array(walls).reshape(-1, 3, 3)


def _edges(polygon: Polygon) -> Iterator[tuple[Any, Any]]:
    """Directed edges of all rings, the face on the same side of each."""
    for ring in (shape := shapely.geometry.polygon.orient(polygon)).exterior, *shape.interiors:
        corners = [tuple(corner) for corner in ring.coords]
        yield from itertools.pairwise(corners)


def _lines(found: list[Plane], lines_LF: np.ndarray, rows: int, gsd_m: float) -> Iterator[Lines]:
    """The typed lines on their faces, one item to a type; those of houses that are not drawn are left out."""
    middles = shapely.points(lines_LF[:, :4].reshape(-1, 2, 2).mean(axis=1))
    far_PL = np.stack([shapely.distance(plane.polygon, middles) for plane in found])
    lines_LF = lines_LF[far_PL.min(axis=0) <= BESIDE_PIXELS]
    for kind in sorted(set(lines_LF[:, 4].astype(int))):
        ends_M22 = lines_LF[lines_LF[:, 4].astype(int) == kind][:, :4].reshape(-1, 2, 2)
        raised = np.concatenate([ends_M22, _heights(found, ends_M22)[..., None] + LIFT_M], axis=-1)
        ends_M23 = _in_space(raised.reshape(-1, 3), rows, gsd_m).reshape(-1, 2, 3)
        yield Lines(tuple(ends_M23), style.LINE[kind][0], style.LINE[kind][1], 4.0)


def _heights(found: list[Plane], ends_M22: np.ndarray) -> np.ndarray:
    """Height of both ends of lines (M, 2) on the faces beside them; of two faces, that of the higher."""
    middles = shapely.points(ends_M22.mean(axis=1))
    far_PM = np.stack([shapely.distance(plane.polygon, middles) for plane in found])
    z_PM2 = np.stack([plane.z(ends_M22.reshape(-1, 2)).reshape(-1, 2) for plane in found])
    beside_PM = far_PM <= far_PM.min(axis=0) + NEAR_PIXELS
    return np.where(beside_PM[..., None], z_PM2, -np.inf).max(axis=0)
