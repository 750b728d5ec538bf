"""Images and masks on disk, whatever their format: three bytes a pixel, upright, with what has no data marked.

Decisions:
- JPEG is read by Pillow, which says when a file is cut short where GDAL fills the rest with grey; everything else by
  GDAL, which reads windows, 16 bits and places. The end of a PNG is looked for, because GDAL fills that too. The number
  of pixels is looked at before any is decoded.
- Values: 8 bits as they are; others from the 1st and 99th percentile of the whole raster, all bands alike, so that
  every window of it looks the same; or from `conversion.window`. A single band becomes three, a palette its colours.
- What is see-through is laid on white. What has no data (nodata, an alpha of 0, not a number) is marked, and no label
  counts there.
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
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.params import RoofsConversion

MOST_PIXELS = 400_000_000  # four times the largest tile of any known set
LOOK = 1024  # rows and columns at most that percentiles are taken from
PERCENTILES = (1.0, 99.0)
ORIENTATION = 0x0112  # number of the EXIF tag
PNG_END, SLACK = b"IEND", 1024  # the last chunk of a PNG, and how far from the file's end it may lie
JPEG = (".jpg", ".jpeg")
IMAGES = (*JPEG, ".png", ".tif", ".tiff")
Box = tuple[slice, slice]  # rows, columns
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


def shown(path: Path) -> str:
    """Folder and name of a file, for messages."""
    return f"{path.parent.name}/{path.name}"


def open_picture(path: Path, conversion: RoofsConversion) -> Picture:
    """Open an image.

    Raises:
        StudyError: it cannot be decoded, has more than `MOST_PIXELS` pixels or lacks a band of `conversion.bands`.
    """
    if path.suffix.lower() in JPEG:
        image_YXC = _photograph(path)
        return _loaded(path, _window8(image_YXC, conversion), np.ones(image_YXC.shape[:2], bool), None)
    with _opened(path) as source:
        georeference, shape = _place(source), source.shape
        colours = _colours(source, conversion)
    turn = 1 if georeference else _orientation(path)
    picture = Picture(path, shape, georeference, lambda box: _raster(path, box, colours))
    return picture if turn == 1 else _loaded(path, *(upright(array, turn) for array in picture.whole()), None)


def read_mask(path: Path, shape: tuple[int, int], box: Box | None = None) -> np.ndarray:
    """Class ids of a mask (its first band) in a box of rows and columns, uint8 or as stored.

    Args:
        path: a picture whose values are ids.
        shape: rows and columns of the image it belongs to.
        box: of rows and columns; None: all.

    Raises:
        StudyError: it cannot be read, or is of another size than the image.
    """
    with _opened(path) as source:
        if source.shape != tuple(shape):
            raise StudyError(
                f"{shown(path)} has {source.shape[0]} x {source.shape[1]} pixels, its image {shape[0]} x {shape[1]}: "
                "a mask must lie on its image pixel by pixel; make it again, or take it away"
            )
        return _decoded(path, lambda: source.read(1, window=box and _window(box)))


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
                _refuse_bomb(path, image.height, image.width)
                turn = image.getexif().get(ORIENTATION, 1)
                return upright(np.asarray(image.convert("RGB")), turn if turn in range(1, 9) else 1)
    except Image.DecompressionBombError:
        raise StudyError(f"{shown(path)} claims more pixels than any photograph has; it is not decoded") from None
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise _unreadable(path, error) from error


def _loaded(path: Path, image_YXC: np.ndarray, there_YX: np.ndarray, georeference: Georeference | None) -> Picture:
    rows, columns = there_YX.shape
    return Picture(path, (rows, columns), georeference, lambda box: (image_YXC[box], there_YX[box]))


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


@dataclass(frozen=True)
class _Colours:
    """How stored bands become colours: which bands, their values for 0 and 255, and what else they may be."""

    bands: tuple[int, ...]
    window: tuple[float, float] | None
    palette_NC: np.ndarray | None
    ink: bool
    alpha: int | None


def _opened(path: Path) -> rasterio.DatasetReader:
    if not path.exists():
        raise StudyError(f"{shown(path)}: no such file; check the raw folder or fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
    except RasterioError as error:
        raise _unreadable(path, error) from error
    _refuse_bomb(path, *source.shape)
    if source.driver == "PNG" and PNG_END not in path.read_bytes()[-SLACK:]:
        raise StudyError(f"{shown(path)} cannot be decoded (it is cut short); fetch it again")
    return source


def _place(source: rasterio.DatasetReader) -> Georeference | None:
    if source.crs is None:
        return None
    code = source.crs.to_epsg()
    a, b, c, d, e, f = tuple(source.transform)[:6]
    return Georeference(f"EPSG:{code}" if code else source.crs.to_wkt(), (a, b, c, d, e, f))


def _colours(source: rasterio.DatasetReader, conversion: RoofsConversion) -> _Colours:
    """How the bands of a raster become colours; looks at all of it, coarsely, where values need a window."""
    path, kinds = Path(source.name), source.colorinterp
    alpha = next((band for band, kind in enumerate(kinds, start=1) if kind == ColorInterp.alpha), None)
    if kinds[0] == ColorInterp.palette:
        return _Colours((1,), None, _palette(source), False, alpha)
    ink = kinds[:4] == (ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black)
    plain = source.count - (alpha is not None)
    bands = (1, 2, 3, 4) if ink else (1,) if plain < 3 else tuple(conversion.bands)
    if max(bands) > source.count or min(bands) < 1:
        raise StudyError(f"{shown(path)} has {source.count} bands, conversion.bands asks for {list(conversion.bands)}")
    window = conversion.window and (conversion.window[0], conversion.window[1])
    if window is None and source.dtypes[0] != "uint8":
        window = _percentiles(source, bands)
    return _Colours(bands, window, None, ink, alpha)


def _palette(source: rasterio.DatasetReader) -> np.ndarray:
    """Colours (red, green, blue, alpha) of every index."""
    table_NC = np.zeros((256, 4), np.uint8)
    for index, colour in source.colormap(1).items():
        table_NC[index] = colour
    return table_NC


def _percentiles(source: rasterio.DatasetReader, bands: tuple[int, ...]) -> tuple[float, float]:
    """The values that become 0 and 255, from at most `LOOK` rows and columns spread over the whole raster."""
    rows, columns = (min(side, LOOK) for side in source.shape)
    path = Path(source.name)
    values = _decoded(path, lambda: source.read(bands, out_shape=(len(bands), rows, columns), masked=True))
    known = values.compressed().astype(np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        raise StudyError(f"{shown(path)} holds no data at all: every pixel is nodata or not a number")
    low, high = np.percentile(known, PERCENTILES)
    return float(low), float(high if high > low else low + 1)


def _raster(path: Path, box: Box, colours: _Colours) -> Pixels:
    with _opened(path) as source:
        window = _window(box)
        values_CYX = _decoded(path, lambda: source.read(colours.bands, window=window))
        there_YX = _decoded(path, lambda: source.dataset_mask(window=window)) > 0
        alpha_YX = None if colours.alpha is None else _decoded(path, lambda: source.read(colours.alpha, window=window))
    if np.issubdtype(values_CYX.dtype, np.floating):
        there_YX &= np.isfinite(values_CYX).all(0)
    image_YXC = np.moveaxis(values_CYX, 0, -1)
    if colours.palette_NC is not None:
        colour_YXC = colours.palette_NC[image_YXC[..., 0]]
        return _on_white(colour_YXC[..., :3], colour_YXC[..., 3]), there_YX & (colour_YXC[..., 3] > 0)
    image_YXC = _stretched(image_YXC, colours.window)
    if colours.ink:
        image_YXC = _printed(image_YXC)
    image_YXC = np.repeat(image_YXC, 3, axis=-1) if image_YXC.shape[-1] == 1 else image_YXC
    if alpha_YX is not None:
        image_YXC = _on_white(image_YXC, _stretched(alpha_YX, (0, _opaque(alpha_YX))))
    return np.ascontiguousarray(image_YXC), there_YX


def _window8(image_YXC: np.ndarray, conversion: RoofsConversion) -> np.ndarray:
    return _stretched(image_YXC, conversion.window and (conversion.window[0], conversion.window[1]))


def _stretched(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Values with the two of `window` at 0 and 255, as bytes; what is not a number becomes 0."""
    if window is None:
        return values
    low, high = window
    share = (np.nan_to_num(values.astype(np.float32), nan=low) - low) / (high - low)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _opaque(alpha: np.ndarray) -> float:
    return float(np.iinfo(alpha.dtype).max) if np.issubdtype(alpha.dtype, np.integer) else 1.0


def _printed(ink_YXC: np.ndarray) -> np.ndarray:
    """Red, green, blue of cyan, magenta, yellow and black."""
    paper_YXC = 255.0 - ink_YXC
    return np.rint(paper_YXC[..., :3] * paper_YXC[..., 3:] / 255).astype(np.uint8)


def _on_white(image_YXC: np.ndarray, alpha_YX: np.ndarray) -> np.ndarray:
    share_YX1 = alpha_YX[..., None] / np.float32(255)
    return np.rint(image_YXC * share_YX1 + 255 * (1 - share_YX1)).astype(np.uint8)


def _window(box: Box) -> Window:
    rows, columns = box
    return Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)


def _refuse_bomb(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MOST_PIXELS:
        raise StudyError(
            f"{shown(path)} claims {rows} x {columns} pixels, more than {MOST_PIXELS:,}; it is not decoded: "
            "cut it into tiles if it is what it says"
        )


def _decoded(path: Path, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return read()
    except RasterioError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StudyError:
    return StudyError(f"{shown(path)} cannot be decoded ({error}); fetch it again")
