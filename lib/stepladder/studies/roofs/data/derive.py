"""Faces, slopes, typed lines and rise from planar segments, as RID draws them: polygon, bearing, pitch, gutter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from shapely import MultiPolygon, Polygon

from stepladder.core.types import Issue


@dataclass(frozen=True)
class Segment:
    """One plane of a roof.

    Attributes:
        polygon: in pixels, x right and y down, 0 at the outer corner of the first pixel; may reach beyond the image.
        bearing_deg: compass bearing of the way down, from the image's top; None where the plane is flat.
        pitch_deg: degrees from the horizontal.
        gutters: polylines (M, 2) in pixels along its eaves; none where nobody drew one.
    """

    polygon: Polygon | MultiPolygon
    bearing_deg: float | None
    pitch_deg: float
    gutters: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Derived:
    """What follows from the segments of one image.

    Attributes:
        face_id_YX: uint16, 1 + place of the segment in the list, 0 none.
        face_YX: uint8 as in `labels`: sector of the compass, FLAT, NO_FACE.
        slope_YXG: float16, rise over run towards east and north on the way down; 0 where nothing falls.
        lines_L5: float32 x0, y0, x1, y1, place of the type in `labels.LINES`; may reach beyond the image.
        rise_YX: float16 metres above the eave of the face; NaN where that is not known, and off the roofs.
        facts: number and metres of every type of line, and by how much two planes disagree at their ridge.
        issues: counted skips and repairs.
    """

    face_id_YX: np.ndarray
    face_YX: np.ndarray
    slope_YXG: np.ndarray
    lines_L5: np.ndarray
    rise_YX: np.ndarray
    facts: Mapping[str, Any]
    issues: tuple[Issue, ...]


def from_segments(segments: Sequence[Segment], shape: tuple[int, int], gsd_m: float) -> Derived:
    """Rasters, lines and rise of an image of `shape` (rows, columns) and `gsd_m` metres per pixel."""
    raise NotImplementedError
