"""What a prediction becomes in files: bands, their types and names, the value for "no data", and GeoTIFFs of them.

Decisions:
- Classes are ids with the probability of that class beside them; what is measured keeps its unit as 32-bit floats.
- Everything has the pixels and the CRS of its raster. What is said of cells is written as cells, with the same corner
  and a pixel four times as large: that is its true resolution, and nothing is shifted by half a pixel.
- "No data" is the largest value of a type of ids, and NaN of floats.

Shape legend: Y X pixels or cells.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window
from torch import Tensor

from stepladder.core.types import Prediction
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.data.labels import LINES, STRIDE

BLOCK: Final = 512  # pixels of a block of a file along each side

MEASURED: Final[dict[str, tuple[str, tuple[str, ...], int]]] = {
    "slope": ("slope_BGYX", ("east", "north"), 1),
    "outline": ("outline_BYX", ("roof",), 1),
    "boundary": ("boundary_BYX", ("boundary",), 1),
    "line": ("line_BKVU", (*LINES, "any"), STRIDE),
    "direction": ("direction_BDVU", ("cos 2a", "sin 2a"), STRIDE),
    "junction": ("junction_BVU", ("junction",), STRIDE),
    "rise": ("rise_BYX", ("metres above the eave",), 1),
    "height": ("height_BYX", ("metres above ground",), 1),
}
"""Name of a file -> name in the prediction, bands, pixels per value."""


@dataclass(frozen=True)
class Layer:
    """A file's worth of values.

    Attributes:
        values: (bands, Y, X).
        bands: what each is.
        stride: pixels of the raster along each side of a value.
    """

    values: np.ndarray
    bands: tuple[str, ...]
    stride: int = 1

    @property
    def nodata(self) -> float:
        """The value that says "no data"."""
        return np.iinfo(self.values.dtype).max if self.values.dtype.kind == "u" else float("nan")

    def without(self, there_YX: np.ndarray) -> "Layer":
        """The layer without values where the raster has no data; a cell has some where one of its pixels has."""
        rows, columns = self.values.shape[1:]
        missing = [(0, n * self.stride - size) for n, size in zip((rows, columns), there_YX.shape, strict=True)]
        there_VU = np.pad(there_YX, missing).reshape(rows, self.stride, columns, self.stride).max((1, 3))
        values = np.where(there_VU, self.values, np.array(self.nodata, self.values.dtype))
        return Layer(values, self.bands, self.stride)


def layers(found: Prediction) -> dict[str, Layer]:
    """Name of a file -> its layer, for all that a prediction of one image holds."""
    made = {}
    for task, name in (("superstructure", "superstructure_BSYX"), ("face", "face_BFYX")):
        if name in found:
            made |= classified(task, found[name][0])
    for file, (name, bands, stride) in MEASURED.items():
        if name in found:
            values = found[name][0].cpu().numpy().astype(np.float32)
            made[file] = Layer(values.reshape(len(bands), *values.shape[-2:]), bands, stride)
    return made


def classified(task: str, probability_CYX: Tensor) -> dict[str, Layer]:
    """The likeliest class of every pixel, and its probability; more than 255 classes take two bytes."""
    best = probability_CYX.max(0)
    kind = np.uint8 if len(probability_CYX) <= np.iinfo(np.uint8).max else np.uint16
    return {
        task: Layer(best.indices[None].cpu().numpy().astype(kind), ("class",)),
        f"{task}_probability": Layer(best.values[None].cpu().numpy().astype(np.float32), ("probability",)),
    }


def created(path: Path, layer: Layer, shape: tuple[int, int], place: Georeference | None) -> Any:
    """A GeoTIFF open for writing layers like `layer` of a raster of `shape` rows and columns at `place`."""
    rows, columns = (-(-side // layer.stride) for side in shape)
    options: dict[str, Any] = {"crs": place.crs, "transform": scaled(place, layer.stride)} if place else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=rows,
            width=columns,
            count=len(layer.bands),
            dtype=layer.values.dtype,
            nodata=layer.nodata,
            tiled=True,
            blockxsize=BLOCK // layer.stride,
            blockysize=BLOCK // layer.stride,
            compress="deflate",
            bigtiff="if_safer",
            interleave="band",
            **options,
        )
    for number, band in enumerate(layer.bands, start=1):
        file.set_band_description(number, band)
    return file


def scaled(place: Georeference, stride: int) -> rasterio.Affine:
    """The map from cells of `stride` pixels to coordinates: the same corner, larger steps."""
    a, b, c, d, e, f = place.transform
    return rasterio.Affine(a * stride, b * stride, c, d * stride, e * stride, f)


def window(rows: slice, columns: slice, stride: int) -> Window:
    """A box of pixels that begins at a cell, as a window of a file with `stride` pixels per value."""
    top, left = rows.start // stride, columns.start // stride
    return Window(left, top, -(-columns.stop // stride) - left, -(-rows.stop // stride) - top)  # pyright: ignore[reportCallIssue]
