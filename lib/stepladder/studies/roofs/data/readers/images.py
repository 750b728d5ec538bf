"""Images and masks on disk, whatever their format: three bytes a pixel, upright, with what has no data marked.

Decisions:
- JPEG is read by Pillow, which says when a file is cut short where GDAL fills the rest with grey; everything else by
  GDAL, which reads windows, 16 bits and places. The number of pixels is looked at before any is decoded.
- What has no data (nodata, an alpha of 0, not a number) is marked, and no label counts there.
- An orientation that a camera noted (EXIF) is carried out; a raster with a place on Earth has none.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image, UnidentifiedImageError

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.data.readers.colours import Colours, given, look, stretched
from stepladder.studies.roofs.data.readers.rasters import (
    Box,
    decoded,
    opened,
    refuse_bomb,
    shown,
    unreadable,
    window_of,
)
from stepladder.studies.roofs.params import RoofsConversion

ORIENTATION = 0x0112  # number of the EXIF tag
JPEG = (".jpg", ".jpeg")
IMAGES = (*JPEG, ".png", ".tif", ".tiff")
Pixels = tuple[np.ndarray, np.ndarray]  # image_YXC uint8, and whether a pixel has data_YX


@dataclass(frozen=True)
class Picture:
    """An image on disk, opened.

    Attributes:
        path: its file.
        shape: rows and columns as `read` gives them.
        georeference: where it lies; None where the file does not say.
        read: image_YXC (uint8) of a box of rows and columns, and whether each pixel has data.
    """

    path: Path
    shape: tuple[int, int]
    georeference: Georeference | None
    read: Callable[[Box], Pixels]

    def whole(self) -> Pixels:
        """The whole image."""
        return self.read((slice(0, self.shape[0]), slice(0, self.shape[1])))

    @property
    def gsd_m(self) -> float | None:
        """True metres of ground per pixel in its middle; None where the file does not say."""
        rows, columns = self.shape
        return self.georeference and self.georeference.metres_per_pixel((columns / 2, rows / 2))


def open_picture(path: Path, conversion: RoofsConversion) -> Picture:
    """Open an image.

    Raises:
        StudyError: it cannot be decoded, has more than `rasters.MOST_PIXELS` pixels, or lacks a band of
            `conversion.bands`.
    """
    if path.suffix.lower() in JPEG:
        image_YXC = stretched(_photograph(path), given(conversion))
        return _loaded(path, image_YXC, np.ones(image_YXC.shape[:2], bool))
    with opened(path) as source:
        georeference, shape = _place(source), source.shape
        colours = look(source, conversion)
    turn = 1 if georeference else _orientation(path)
    picture = Picture(path, shape, georeference, lambda box: _raster(path, box, colours))
    return picture if turn == 1 else _loaded(path, *(upright(array, turn) for array in picture.whole()))


def place(path: Path) -> Georeference | None:
    """Where a raster lies; None where it does not say. `StudyError` where it cannot be opened."""
    with opened(path) as source:
        return _place(source)


def read_mask(path: Path, shape: tuple[int, int], box: Box | None = None) -> np.ndarray:
    """Class ids of a mask (its first band) in a box of rows and columns, uint8 or as stored.

    Args:
        path: a picture whose values are ids.
        shape: rows and columns of the image it belongs to.
        box: of rows and columns; None: all.

    Raises:
        StudyError: it cannot be read, or is of another size than the image.
    """
    with opened(path) as source:
        if source.shape != tuple(shape):
            raise StudyError(
                f"{shown(path)} has {source.shape[0]} x {source.shape[1]} pixels, its image {shape[0]} x {shape[1]}: "
                "a mask must lie on its image pixel by pixel; make it again, or take it away"
            )
        return decoded(path, lambda: source.read(1, window=box and window_of(box)))


def check_ids(path: Path, ids: np.ndarray, most: int) -> np.ndarray:
    """`ids`, unless one is larger than `most`: `StudyError` naming it and the file."""
    if ids.size and (worst := int(ids.max())) > most:
        raise StudyError(f"{shown(path)} holds class {worst}; classes end at {most}: it is of another set of classes")
    return ids


def binary(path: Path, mask_YX: np.ndarray) -> np.ndarray:
    """A mask of 0 and 1, or of 0 and 255, as 0 and 1; `StudyError` for any other value."""
    values = np.unique(mask_YX)
    if not (set(values.tolist()) <= {0, 1} or set(values.tolist()) <= {0, 255}):
        raise StudyError(
            f"{shown(path)} holds the values {', '.join(map(str, values[:6]))}; a mask of roofs holds 0 and 1, or 0 "
            "and 255: is it a picture, or a map of classes?"
        )
    return (mask_YX > 0).astype(np.uint8)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Rows and columns of an array as a viewer shows them, from the number of the EXIF tag (1 to 8)."""
    turned = np.swapaxes(array, 0, 1) if orientation >= 5 else array
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return np.ascontiguousarray(turned[rows, columns])


# JPEG ----------------------------------------------------------------------------------------------------------------


def _photograph(path: Path) -> np.ndarray:
    """A JPEG as image_YXC, upright, in red, green and blue whatever it stores."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                refuse_bomb(path, image.height, image.width)
                turn = image.getexif().get(ORIENTATION, 1)
                return upright(np.asarray(image.convert("RGB")), turn if turn in range(1, 9) else 1)
    except Image.DecompressionBombError:
        raise StudyError(f"{shown(path)} claims more pixels than any photograph has; it is not decoded") from None
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise unreadable(path, error) from error


def _loaded(path: Path, image_YXC: np.ndarray, there_YX: np.ndarray) -> Picture:
    rows, columns = there_YX.shape
    return Picture(path, (rows, columns), None, lambda box: (image_YXC[box], there_YX[box]))


def _orientation(path: Path) -> int:
    """The EXIF orientation of a file that is no JPEG; 1 where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turn = image.getexif().get(ORIENTATION, 1)
        return turn if turn in range(1, 9) else 1
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return 1


# Rasters -------------------------------------------------------------------------------------------------------------


def _place(source: rasterio.DatasetReader) -> Georeference | None:
    if source.crs is None:
        return None
    code = source.crs.to_epsg()
    a, b, c, d, e, f = tuple(source.transform)[:6]
    return Georeference(f"EPSG:{code}" if code else source.crs.to_wkt(), (a, b, c, d, e, f))


def _raster(path: Path, box: Box, colours: Colours) -> Pixels:
    with opened(path) as source:
        window = window_of(box)
        values_CYX = decoded(path, lambda: source.read(colours.bands, window=window))
        there_YX = decoded(path, lambda: source.dataset_mask(window=window)) > 0
        alpha_YX = None if colours.alpha is None else decoded(path, lambda: source.read(colours.alpha, window=window))
    image_YXC, holds_YX = colours.image(values_CYX, alpha_YX)
    return image_YXC, there_YX & holds_YX
