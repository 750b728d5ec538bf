"""Large rasters as several images of equal size: cut without a rest, read window by window, labels with them.

Decisions:
- A raster of at most `LARGEST` rows and columns stays whole. A larger one is cut into equal pieces of about `PIECE`:
  tiles of AIRS (10,000) and INRIA (5,000) into pieces of 1,000, without a rest; where there is one, pieces overlap.
- A piece without any data (the black rim of a mosaic) is left out and counted.
- Where a raster is cut, its pieces keep their places in the facts: `corners` are their first pixels in the raster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stepladder.core.types import Issue, StudyError
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import IGNORE
from stepladder.studies.roofs.data.readers.images import Picture
from stepladder.studies.roofs.data.readers.rasters import Box, shown

LARGEST, PIECE = 2048, 1024


def boxes(shape: tuple[int, int]) -> list[Box]:
    """Rows and columns of the pieces of a raster, row by row, all of one size."""
    rows, columns = (_spans(side) for side in shape)
    return [(row, column) for row in rows for column in columns]


def outlined(
    picture: Picture,
    outline: Callable[[Box], np.ndarray],
    gsd_m: float,
    facts: Mapping[str, Any],
    issues: tuple[Issue, ...] = (),
) -> Labelled:
    """The pieces of a picture with their outlines.

    Args:
        picture: the raster.
        outline: 1 roof, 0 not, of a box of rows and columns.
        gsd_m: metres per pixel where the picture does not say.
        facts: what is known of the raster.
        issues: counted so far.

    Raises:
        StudyError: no piece holds any data.
    """
    images, outlines, corners = [], [], []
    every = boxes(picture.shape)
    for box in every:
        image_YXC, there_YX = picture.read(box)
        if there_YX.any():
            images.append(image_YXC)
            outlines.append(np.where(there_YX, outline(box), IGNORE).astype(np.uint8))
            corners.append([box[1].start, box[0].start])
    if not images:
        raise StudyError(f"{shown(picture.path)} holds no data at all: every pixel is nodata")
    if empty := len(every) - len(images):
        issues = (*issues, Issue("piece left out: no data", empty, picture.path.name))
    place = picture.georeference
    return Labelled(
        image_NYXC=np.stack(images),
        gsd_m=picture.gsd_m or gsd_m,
        georeference=place.window(*corners[0]) if place and len(images) == 1 else None,
        outline_NYX=np.stack(outlines),
        issues=issues,
        facts={
            "north_up": place is None or place.north_up,
            "gsd_known": place is not None,
            "crs": place.crs if place else None,
            "transform": list(place.transform) if place else None,
            "corners": corners,
            **facts,
        },
    )


def _spans(side: int) -> list[slice]:
    count = 1 if side <= LARGEST else math.ceil(side / PIECE)
    length = math.ceil(side / count)
    starts = np.rint(np.linspace(0, side - length, count)).astype(int)
    return [slice(int(start), int(start) + length) for start in starts]
