"""Lines and an outline as one planar graph: ends meet, lines are split where they meet, loose ends reach the next one.

Decisions:
- The outline is the graph's border. A line along it only tells what the border is there (eave, gable); the others are
  inner lines, and where they leave the outline they are cut off.
- Ends of inner lines go to a corner of the outline before they go to its nearest place: a hip ends in a corner.
- An end that meets nothing is extended along its own line to what comes first, border or line, within `EXTEND`. Ends
  that still meet nothing bound no face; polygonizing leaves them out.
- Of two lines that cross, the better stays: roofs have no such edges, and crosswise ones are what extraction invents.
- Nodes are rounded to a grid of 1/64 pixel, on which shapely's noding is exact: no slits, no crossings left over.
"""

from typing import Final

import numpy as np
import shapely
from shapely import LineString, MultiLineString, Point, Polygon

from stepladder.studies.roofs.models.vector.outlines import GRID

ALONG: Final = 6.0  # pixels from the border within which a line belongs to it
CORNER: Final = 8.0  # pixels from an end to a corner of the outline
MEET: Final = 6.0  # pixels from an end to a line or to the border
EXTEND: Final = 24.0  # pixels a loose end is lengthened


def divided(outline: Polygon, lines_LF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split an outline and its lines (x0, y0, x1, y1, type, score) into a planar graph.

    Returns:
        Edges (geometries of two or more points, which meet only at their ends), and which of the lines are inner ones.
    """
    border = outline.boundary
    inner_L = is_inner(border, outline, lines_LF)
    inner_L[inner_L] = uncrossed(lines_LF[inner_L])
    inner = [LineString(ends) for ends in _meeting(outline, lines_LF[inner_L, :4].reshape(-1, 2, 2)) if _long(ends)]
    whole = shapely.set_precision(shapely.union_all([border, *inner], grid_size=GRID), GRID)
    return shapely.get_parts(whole), inner_L


def is_inner(border: shapely.Geometry, outline: Polygon, lines_LF: np.ndarray) -> np.ndarray:
    """Which lines lie inside, and not along the border: bool (lines,)."""
    if not len(lines_LF):
        return np.zeros(0, bool)
    share_S1 = np.linspace(0.1, 0.9, 5)[:, None]
    place_LSE = lines_LF[:, None, :2] * (1 - share_S1) + lines_LF[:, None, 2:4] * share_S1
    points = shapely.points(place_LSE)
    away_LS = np.asarray(shapely.distance(points, border)) > ALONG
    inside_LS = np.asarray(shapely.contains(outline, points))
    return away_LS.any(axis=1) & (inside_LS.mean(axis=1) >= 0.5)


def uncrossed(lines_LF: np.ndarray) -> np.ndarray:
    """Which lines cross no better one, more than `MEET` from their own ends: bool (lines,)."""
    step_LE = lines_LF[:, 2:4] - lines_LF[:, :2]
    short_LE = step_LE * np.minimum(MEET / np.maximum(np.linalg.norm(step_LE, axis=1, keepdims=True), GRID), 0.25)
    ends_LPE = np.stack([lines_LF[:, :2] + short_LE, lines_LF[:, 2:4] - short_LE], axis=1)
    inner = np.asarray(shapely.linestrings(ends_LPE))
    line_C, other_C = shapely.STRtree(inner).query(inner, predicate="crosses")
    kept_L = np.zeros(len(lines_LF), bool)
    for line in np.argsort(-lines_LF[:, 5], kind="stable"):
        kept_L[line] = not kept_L[other_C[line_C == line]].any()
    return kept_L


def cells(edges: np.ndarray, outline: Polygon) -> list[Polygon]:
    """The polygons the edges enclose inside the outline; the outline itself where rounding leaves none."""
    found = shapely.get_parts(shapely.polygonize(edges))
    return [cell for cell in found if outline.contains(cell.representative_point())] or [outline]


def _meeting(outline: Polygon, ends_LPE: np.ndarray) -> np.ndarray:
    """Ends (lines, 2, 2) moved to where they meet the outline or another line."""
    corner_CE = shapely.get_coordinates(outline)
    ends_LPE = ends_LPE.copy()
    node_NE, node_LP = np.unique(ends_LPE.reshape(-1, 2), axis=0, return_inverse=True)
    node_LP = node_LP.reshape(-1, 2)
    moved_NE = np.array([_onto_border(node, outline, corner_CE) for node in node_NE]).reshape(-1, 2)
    ends_LPE = moved_NE[node_LP]
    border = outline.boundary
    for node in np.flatnonzero(np.bincount(node_LP.ravel()) == 1):
        line, end = (int(found[0]) for found in np.nonzero(node_LP == node))
        if border.distance(Point(ends_LPE[line, end])) > GRID:
            others = MultiLineString(list(np.delete(ends_LPE, line, axis=0)))
            ends_LPE[line, end] = _reached(ends_LPE[line, 1 - end], ends_LPE[line, end], others, border)
    return ends_LPE


def _onto_border(place_E: np.ndarray, outline: Polygon, corner_CE: np.ndarray) -> np.ndarray:
    """A node at the nearest corner or border of the outline, or where it is if neither is near."""
    off_C = np.linalg.norm(corner_CE - place_E, axis=1)
    if off_C.min() <= CORNER:
        return corner_CE[off_C.argmin()]
    point = Point(place_E)
    border = outline.boundary
    if border.distance(point) <= MEET:
        return np.array(border.interpolate(border.project(point)).coords[0])
    return place_E


def _reached(start_E: np.ndarray, end_E: np.ndarray, others: MultiLineString, border: shapely.Geometry) -> np.ndarray:
    """A loose end on the line it nearly touches, or lengthened to what it meets first; where it is, if nothing is."""
    point = Point(end_E)
    if others.distance(point) <= MEET:
        return shapely.get_coordinates(shapely.shortest_line(others, point))[0]
    along_E = (end_E - start_E) / max(float(np.linalg.norm(end_E - start_E)), GRID)
    ahead = LineString([end_E, end_E + EXTEND * along_E])
    met = shapely.get_coordinates(shapely.intersection(ahead, shapely.union_all([others, border])))
    return met[np.linalg.norm(met - end_E, axis=1).argmin()] if len(met) else end_E


def _long(ends_PE: np.ndarray) -> bool:
    return float(np.linalg.norm(ends_PE[1] - ends_PE[0])) > 2 * GRID
