"""Large rasters as several images of equal size: cut without a rest, read band by band, labels with them.

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
    all_rows, all_columns = (spans(side) for side in picture.shape)
    most = len(all_rows) * len(all_columns)
    shape = tuple(side[0].stop - side[0].start for side in (all_rows, all_columns))
    image_NYXC, outline_NYX = np.empty((most, *shape, 3), np.uint8), np.empty((most, *shape), np.uint8)
    corners: list[list[int]] = []
    for rows in all_rows:
        band = (rows, slice(0, picture.shape[1]))  # whole rows: files are mostly stored in strips of them
        (image_YXC, there_YX), outline_YX = picture.read(band), outline(band)
        for columns in all_columns:
            if there_YX[:, columns].any():
                image_NYXC[len(corners)] = image_YXC[:, columns]
                outline_NYX[len(corners)] = np.where(there_YX[:, columns], outline_YX[:, columns], IGNORE)
                corners.append([columns.start, rows.start])
    if not corners:
        raise StudyError(f"{shown(picture.path)} holds no data at all: every pixel is nodata")
    if empty := most - len(corners):
        issues = (*issues, Issue("piece left out: no data", empty, picture.path.name))
    place = picture.georeference
    return Labelled(
        image_NYXC=image_NYXC[: len(corners)],
        gsd_m=picture.gsd_m or gsd_m,
        georeference=place.window(*corners[0]) if place and len(corners) == 1 else None,
        outline_NYX=outline_NYX[: len(corners)],
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


def spans(side: int) -> list[slice]:
    """Rows (or columns) of the pieces of a raster with `side` of them, all of one length."""
    count = 1 if side <= LARGEST else math.ceil(side / PIECE)
    length = math.ceil(side / count)
    starts = np.rint(np.linspace(0, side - length, count)).astype(int)
    return [slice(int(start), int(start) + length) for start in starts]
