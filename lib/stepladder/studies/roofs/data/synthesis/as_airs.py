"""Scenes as AIRS publishes its tiles: GeoTIFF with a 0/1 label and a 0/255 one to look at; none lists test tiles."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from stepladder.studies.roofs.data.synthesis.scene import Scene

CRS = "EPSG:2193"  # New Zealand Transverse Mercator, metres
CORNER = (1_570_000.0, 5_180_000.0)  # in Christchurch
SPLITS = ("train", "val", "train", "test")  # of tiles in turn
LISTED = ("train", "val")


def write(folder: Path, scenes: Iterator[list[Scene]], numbers: list[int]) -> set[Path]:
    """`{train,val,test}/{image,label}/christchurch_N.tif`, the labels to look at, and the lists of train and val."""
    made, listed = set[Path](), {split: list[str]() for split in SPLITS}
    for place, (number, (scene,)) in enumerate(zip(numbers, scenes, strict=True)):
        split, name = SPLITS[place % len(SPLITS)], f"christchurch_{number}"
        listed[split].append(f"{name}.tif")
        made.add(_tif(folder / split / "image" / f"{name}.tif", scene.image_YXC, scene.gsd, number))
        made.add(_tif(folder / split / "label" / f"{name}.tif", scene.outline_YX[..., None], scene.gsd, number))
        seen_YX1 = 255 * scene.outline_YX[..., None]
        made.add(_tif(folder / split / "label" / f"{name}_vis.tif", seen_YX1, scene.gsd, number))
    for split in LISTED:
        path = folder / f"{split}.txt"
        path.write_text("".join(f"{name}\n" for name in listed[split]))
        made.add(path)
    return made


def _tif(path: Path, image_YXC: np.ndarray, gsd: float, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns, bands = image_YXC.shape
    east, north = CORNER[0] + 1000.0 * (number % 50), CORNER[1] - 1000.0 * (number // 50)
    profile = {"driver": "GTiff", "dtype": "uint8", "width": columns, "height": rows, "count": bands, "crs": CRS}
    with rasterio.open(
        path, "w", **profile, transform=Affine(gsd, 0, east, 0, -gsd, north), compress="deflate"
    ) as file:
        file.write(np.ascontiguousarray(image_YXC.transpose(2, 0, 1)))
    return path
