"""Tiny files in the layouts of the sources, for the tests of their readers."""

from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from stepladder.studies.roofs.params import RoofsParams


def params(conversion: dict[str, object] | None = None, **data: object) -> RoofsParams:
    return RoofsParams.model_validate({"study": "roofs", "data": data, "conversion": conversion or {}})


def png(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def tif(path: Path, array: np.ndarray, **options: object) -> Path:
    """A GeoTIFF of (Y, X) or (Y, X, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values_CYX = np.moveaxis(np.atleast_3d(array), -1, 0)
    count, height, width = values_CYX.shape
    profile = {"driver": "GTiff", "dtype": array.dtype, "count": count, "height": height, "width": width} | options
    with rasterio.open(path, "w", **profile) as target:
        target.write(values_CYX)
    return path


def colours(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (rows, columns, 3), np.uint8)
