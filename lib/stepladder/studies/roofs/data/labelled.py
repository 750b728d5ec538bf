"""What every reader returns: images of one asset with all that their source knows of them, and nothing it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepladder.core.types import Issue
from stepladder.studies.roofs.data.georeference import Georeference


@dataclass(frozen=True)
class Labelled:
    """One image, or several of equal size. None: this source does not label it (see `labels` for classes and units).

    Attributes:
        image_NYXC: uint8, red, green, blue.
        gsd_m: true metres of ground per pixel, measured on the ellipsoid where the image has a place.
        georeference: of the one image; None for several, or where the place is not known.
        superstructure_NYX: uint8, id of the superstructure, 255 not labelled.
        face_id_NYX: uint16, number of the face in its image, 0 none.
        face_NYX: uint8, sector of the bearing, 16 flat, 17 no face, 255 not labelled.
        slope_NYXG: float16, rise over run to the east and north, pointing down: tan(pitch) (sin bearing, cos bearing);
            0 where `face_NYX` >= 16.
        outline_NYX: uint8, 1 roof, 0 not, 255 not labelled.
        lines_LF: float32, crop, x0, y0, x1, y1, type (6 untyped), in pixels.
        line_types: the types this source labels completely; empty with lines given: only "a line is here".
        line_labelled_NYX: uint8, 1 where lines are labelled at all; None with lines given: everywhere.
        rise_NYX: float16, metres above the eave, NaN not labelled.
        height_NYX: float16, metres above the ground, NaN not labelled.
        focus_NYX: uint8, 1 where evaluation counts; None: everywhere.
        issues: what was skipped and repaired, counted.
        facts: JSON: source, licence, annotator, north_up, roof types and the like.
    """

    image_NYXC: np.ndarray
    gsd_m: float
    georeference: Georeference | None = None
    superstructure_NYX: np.ndarray | None = None
    face_id_NYX: np.ndarray | None = None
    face_NYX: np.ndarray | None = None
    slope_NYXG: np.ndarray | None = None
    outline_NYX: np.ndarray | None = None
    lines_LF: np.ndarray | None = None
    line_types: tuple[str, ...] = ()
    line_labelled_NYX: np.ndarray | None = None
    rise_NYX: np.ndarray | None = None
    height_NYX: np.ndarray | None = None
    focus_NYX: np.ndarray | None = None
    issues: tuple[Issue, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def tasks(self) -> tuple[str, ...]:
        """Which of `labels.TASKS` the source labels at all."""
        given = {
            "superstructure": self.superstructure_NYX,
            "face": self.face_NYX,
            "outline": self.outline_NYX,
            "line": self.lines_LF,
            "rise": self.rise_NYX,
            "height": self.height_NYX,
        }
        return tuple(task for task, label in given.items() if label is not None)
