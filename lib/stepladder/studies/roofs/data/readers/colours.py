"""Stored values as colours: which bands, what becomes 0 and 255, palettes, inks, and what can be seen through.

Decisions:
- Values: 8 bits as they are; others from the 1st and 99th percentile of the whole raster, all bands alike, so that
  every window of it looks the same; or from `conversion.window`. A single band becomes three, a palette its colours.
- What is see-through is laid on white.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.readers.rasters import decoded, shown
from stepladder.studies.roofs.params import RoofsConversion

LOOK = 1024  # rows and columns at most that percentiles are taken from
PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class Colours:
    """How the stored bands of one raster become colours.

    Attributes:
        bands: those read, counted from 1.
        window: the stored values that become 0 and 255; None: they are bytes and stay.
        palette_NC: colour (red, green, blue, alpha) of every index; None: values are colours themselves.
        ink: the bands are cyan, magenta, yellow, black.
        alpha: the band that tells how solid a pixel is.
    """

    bands: tuple[int, ...]
    window: tuple[float, float] | None = None
    palette_NC: np.ndarray | None = None
    ink: bool = False
    alpha: int | None = None

    def image(self, values_CYX: np.ndarray, alpha_YX: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """image_YXC as bytes, and whether each pixel holds anything, of the values of `bands` and of `alpha`."""
        values_YXC = np.moveaxis(values_CYX, 0, -1)
        if self.palette_NC is not None:
            colour_YXC = self.palette_NC[values_YXC[..., 0]]
            return on_white(colour_YXC[..., :3], colour_YXC[..., 3]), colour_YXC[..., 3] > 0
        image_YXC = stretched(values_YXC, self.window)
        if self.ink:
            image_YXC = printed(image_YXC)
        elif image_YXC.shape[-1] == 1:
            image_YXC = np.repeat(image_YXC, 3, axis=-1)
        if alpha_YX is not None:
            image_YXC = on_white(image_YXC, stretched(alpha_YX, (0, opaque(alpha_YX))))
        return np.ascontiguousarray(image_YXC), np.asarray(np.isfinite(values_YXC).all(-1))


def look(source: rasterio.DatasetReader, conversion: RoofsConversion) -> Colours:
    """How the bands of a raster become colours; looks at all of it, coarsely, where values need a window."""
    path, kinds = Path(source.name), source.colorinterp
    alpha = next((band for band, kind in enumerate(kinds, start=1) if kind == ColorInterp.alpha), None)
    if kinds[0] == ColorInterp.palette:
        return Colours((1,), palette_NC=_palette(source), alpha=alpha)
    ink = kinds[:4] == (ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black)
    plain = source.count - (alpha is not None)
    bands = (1, 2, 3, 4) if ink else (1,) if plain < 3 else tuple(conversion.bands)
    if max(bands) > source.count or min(bands) < 1:
        raise StudyError(f"{shown(path)} has {source.count} bands, conversion.bands asks for {list(conversion.bands)}")
    window = given(conversion)
    if window is None and source.dtypes[0] != "uint8":
        window = _percentiles(source, bands)
    return Colours(bands, window, ink=ink, alpha=alpha)


def given(conversion: RoofsConversion) -> tuple[float, float] | None:
    """The window of values that the parameters give."""
    return None if conversion.window is None else (conversion.window[0], conversion.window[1])


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
    values = decoded(path, lambda: source.read(bands, out_shape=(len(bands), rows, columns), masked=True))
    known = np.ma.compressed(values).astype(np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        raise StudyError(f"{shown(path)} holds no data at all: every pixel is nodata or not a number")
    low, high = np.percentile(known, PERCENTILES)
    return float(low), float(high if high > low else low + 1)


def stretched(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Values with the two of `window` at 0 and 255, as bytes; what is not a number becomes 0. None: as they are."""
    if window is None:
        return values
    low, high = window
    share = (np.nan_to_num(values.astype(np.float32), nan=low) - low) / (high - low)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def printed(ink_YXC: np.ndarray) -> np.ndarray:
    """Red, green, blue of cyan, magenta, yellow and black, all bytes."""
    paper_YXC = 255.0 - ink_YXC
    return np.rint(paper_YXC[..., :3] * paper_YXC[..., 3:] / 255).astype(np.uint8)


def on_white(image_YXC: np.ndarray, alpha_YX: np.ndarray) -> np.ndarray:
    """Colours laid on white, `alpha_YX` from 0 (clear) to 255 (solid)."""
    share_YX1 = alpha_YX[..., None] / np.float32(255)
    return np.rint(image_YXC * share_YX1 + 255 * (1 - share_YX1)).astype(np.uint8)


def opaque(alpha: np.ndarray) -> float:
    """The value of a solid pixel in an alpha band."""
    return float(np.iinfo(alpha.dtype).max) if np.issubdtype(alpha.dtype, np.integer) else 1.0
