"""Rasters opened by GDAL: refused by their size before anything is decoded, and every failure named.

The end of a PNG is looked for, because GDAL fills one that is cut short in silence.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from stepladder.core.types import StudyError

MOST_PIXELS = 400_000_000  # four times the largest tile of any known set
PNG_END, SLACK = b"IEND", 1024  # the last chunk of a PNG, and how far from the file's end it may lie
Box = tuple[slice, slice]  # rows, columns


def shown(path: Path) -> str:
    """Folder and name of a file, for messages."""
    return f"{path.parent.name}/{path.name}"


def opened(path: Path) -> rasterio.DatasetReader:
    """A raster, of at most `MOST_PIXELS` pixels; `StudyError` where it is larger, cut short or none."""
    if not path.exists():
        raise StudyError(f"{shown(path)}: no such file; check the raw folder or fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
    except RasterioError as error:
        raise unreadable(path, error) from error
    refuse_bomb(path, *source.shape)
    if source.driver == "PNG" and PNG_END not in path.read_bytes()[-SLACK:]:
        raise StudyError(f"{shown(path)} cannot be decoded (it is cut short); fetch it again")
    return source


def decoded(path: Path, read: Callable[[], np.ndarray]) -> np.ndarray:
    """What `read` returns; a failure of GDAL as a `StudyError` that names the file."""
    try:
        return read()
    except RasterioError as error:
        raise unreadable(path, error) from error


def refuse_bomb(path: Path, rows: int, columns: int) -> None:
    """`StudyError` for an image of more than `MOST_PIXELS` pixels."""
    if rows * columns > MOST_PIXELS:
        raise StudyError(
            f"{shown(path)} claims {rows} x {columns} pixels, more than {MOST_PIXELS:,}; it is not decoded: "
            "cut it into tiles if it is what it says"
        )


def unreadable(path: Path, error: Exception) -> StudyError:
    """What to say of a file that a library gave up on."""
    return StudyError(f"{shown(path)} cannot be decoded ({error}); fetch it again")


def window_of(box: Box) -> Window:
    """A box of rows and columns as rasterio takes it."""
    return Window.from_slices(*box)
