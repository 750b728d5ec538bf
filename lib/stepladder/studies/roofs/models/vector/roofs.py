"""A prediction as roofs: outline, faces that fill it, and the lines between them, all sharing their corners."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from rasterio import features
from shapely import Polygon

from stepladder.core.types import StudyError
from stepladder.studies.roofs.models.vector import faces, graph, lines, outlines, seams
from stepladder.studies.roofs.models.vector.faces import Face, Line

LINE_THRESHOLD: Final = 0.1  # score of a line that may divide faces: those that fall alike are joined again
SMALLEST: Final = 4.0  # square metres of a roof


@dataclass(frozen=True)
class Roof:
    """One roof, in pixels of its image.

    Attributes:
        outline: polygon, with holes where a yard is open.
        faces: they fill the outline and do not overlap.
        lines: every edge of the faces, straight, once.
        eave: metres from the ground to the eave; NaN where no height is known.
        whole: whether all of it is in the image.
    """

    outline: Polygon
    faces: tuple[Face, ...]
    lines: tuple[Line, ...]
    eave: float = float("nan")
    whole: bool = True


def vectorise(
    prediction: Mapping[str, np.ndarray],
    gsd_m: float,
    line_threshold: float = LINE_THRESHOLD,
    smallest: float = SMALLEST,
) -> list[Roof]:
    """Roofs of one image.

    Args:
        prediction: without batch axis: outline_YX (probability of roof); where known lines_LF (x0, y0, x1, y1, type,
            score), slope_GYX (rise over run towards east and north), height_YX and rise_YX (metres).
        gsd_m: true metres per pixel.
        line_threshold: score from which a line counts.
        smallest: square metres below which a roof is left out.
    """
    if not gsd_m > 0:
        raise StudyError(f"gsd_m = {gsd_m}: metres per pixel must be positive; without them nothing can be measured")
    if "outline_YX" not in prediction:
        raise StudyError(
            "the prediction has no outline_YX: roofs are made inside outlines; let the model learn `outline`"
        )
    lines_LF = np.asarray(prediction.get("lines_LF", np.zeros((0, 6))), np.float64)
    lines_LF = lines_LF[np.isfinite(lines_LF).all(axis=1) & (lines_LF[:, 5] >= line_threshold)]
    tree = shapely.STRtree(np.asarray(shapely.linestrings(lines_LF[:, :4].reshape(-1, 2, 2))))
    found = outlines.polygons(prediction["outline_YX"], max(smallest / gsd_m**2, outlines.LEAST))
    near = (np.sort(tree.query(outline.buffer(graph.ALONG), predicate="intersects")) for outline in found)
    return [_roof(outline, lines_LF[some], prediction) for outline, some in zip(found, near, strict=True)]


def face_ids(roofs: Sequence[Roof], shape: tuple[int, int]) -> np.ndarray:
    """Faces as a raster, int32 of `shape` (rows, columns): 1, 2, ... in the order of roofs and faces, 0 elsewhere."""
    polygons = [face.polygon for roof in roofs for face in roof.faces]
    if not polygons:
        return np.zeros(shape, np.int32)
    return features.rasterize(zip(polygons, range(1, len(polygons) + 1), strict=True), shape, dtype="int32")


def _roof(outline: Polygon, lines_LF: np.ndarray, maps: faces.Maps) -> Roof:
    shape = maps["outline_YX"].shape
    lines_LF = np.concatenate([lines_LF, _seams(outline, lines_LF, maps)])
    edges, _ = graph.divided(outline, lines_LF)
    found = faces.faces(graph.cells(edges, outline), edges, lines_LF, maps)
    edges_of = faces.lines(outline, found, lines_LF, shape)
    eave = float(faces.measured([outline], maps)[0, faces.EAVE_HEIGHT])
    inside = shapely.box(0, 0, *shape[::-1]).buffer(-faces.CUT).contains(outline)
    return Roof(outline, tuple(found), tuple(edges_of), eave, bool(inside))


def _seams(outline: Polygon, lines_LF: np.ndarray, maps: faces.Maps) -> np.ndarray:
    """Lines where the slope changes and neither a line nor the border is, in the pixels of the image."""
    box, number_YX = faces.window([outline], maps["outline_YX"].shape)
    found_LF = seams.seams(number_YX > 0, faces.stacked(maps, box)[:2])
    found_LF[:, :4] += np.tile([box[1].start, box[0].start], 2)
    segments = np.asarray(shapely.linestrings(lines_LF[:, :4].reshape(-1, 2, 2)))
    known = shapely.union_all([outline.boundary, *segments])
    places_LS = shapely.points(lines.along(found_LF[:, :4], 5))
    return found_LF[(np.asarray(shapely.distance(places_LS, known)) > seams.BESIDE).sum(axis=1) >= 2]
