"""Sets with one thing wrong in each: what conversion must refuse by name, or repair and count.

Every fault is a whole small set (train.csv, train_images/, train_labels/) in a folder of its own, so that nothing but
the fault can be to blame. Contents depend on `seed` only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import zarr

from stepladder.studies.scroll.data import kaggle, sheets

SHAPE = (24, 32, 32)
ID, SCROLL = "000", "90001"


def faults(folder: Path, seed: int) -> dict[str, Path]:
    """Write every fault to `folder/<name>`; name -> folder of the set."""
    folder = Path(folder)
    image_ZYX, label_ZYX = sheets.volume(seed, 0, sheets.Style.of(seed, 0), SHAPE)
    for name, damage in DAMAGES.items():
        kaggle.write_table(folder / name, [(ID, SCROLL)])
        kaggle.write_volume(folder / name, ID, image_ZYX, label_ZYX)
        damage(folder / name, image_ZYX, label_ZYX)
    return {name: folder / name for name in DAMAGES}


def write_zarr(folder: Path, array_ZYX: np.ndarray, version: Literal[2, 3], chunk: int = 16) -> None:
    """An OME-Zarr pyramid of one level, of Zarr version 2 or 3, with 7.91 micrometres between voxels."""
    group = zarr.open_group(str(folder), mode="w", zarr_format=version)
    array = group.create_array("0", shape=array_ZYX.shape, chunks=(chunk,) * 3, dtype=array_ZYX.dtype)
    array[...] = array_ZYX
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [7.91, 7.91, 7.91]}
    scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}]
    version_2, version_3 = {"multiscales": scales}, {"ome": {"version": "0.5", "multiscales": scales}}
    group.attrs.update(version_2 if version == 2 else version_3)


def _image(folder: Path) -> Path:
    return folder / kaggle.IMAGES / f"{ID}.tif"


def _label(folder: Path) -> Path:
    return folder / kaggle.LABELS / f"{ID}.tif"


def truncated(part: Callable[[Path], Path]) -> Callable[..., None]:
    """A stack cut in the middle of a page."""

    def damage(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
        path = part(folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])

    return damage


def other_shape(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """The label has fewer slices than the image."""
    kaggle.write_volume(folder, ID, image_ZYX, label_ZYX[:-2])


def no_scroll_column(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """train.csv does not say which scroll a volume is from."""
    (folder / kaggle.TABLE).write_text(f"id,fold\n{ID},0\n")


def empty_table(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """train.csv is there and empty."""
    (folder / kaggle.TABLE).write_text("")


def no_table(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """train.csv is not there."""
    (folder / kaggle.TABLE).unlink()


def no_row(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """A second image that train.csv does not name."""
    kaggle.write_volume(folder, "001", image_ZYX, label_ZYX)


def no_image(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """train.csv names a volume that is not there, as it does 20 times in the real set."""
    _image(folder).unlink()


def no_label(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """The image has no label."""
    _label(folder).unlink()


def value_three(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """Seven voxels of the label are 3."""
    label_ZYX = label_ZYX.copy()
    label_ZYX[12, 12, 5:12] = 3
    kaggle.write_volume(folder, ID, image_ZYX, label_ZYX)


def missing_chunks(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """The image is an OME-Zarr of which one chunk got lost."""
    _image(folder).unlink()
    write_zarr(folder / kaggle.IMAGES / f"{ID}.zarr", image_ZYX, version=2)
    (folder / kaggle.IMAGES / f"{ID}.zarr" / "0" / "0.1.1").unlink()


def cut_chunk(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """The image is an OME-Zarr of which one chunk is cut."""
    _image(folder).unlink()
    write_zarr(folder / kaggle.IMAGES / f"{ID}.zarr", image_ZYX, version=3)
    chunk = folder / kaggle.IMAGES / f"{ID}.zarr" / "0" / "c" / "0" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:100])


def not_a_number(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """A float image with three voxels that are not numbers."""
    _image(folder).unlink()
    float_ZYX = image_ZYX.astype(np.float32) / 255
    float_ZYX[10, 10, 10:13] = np.nan, np.inf, -np.inf
    write_zarr(folder / kaggle.IMAGES / f"{ID}.zarr", float_ZYX, version=3)


def constant(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """An image that shows nothing."""
    kaggle.write_volume(folder, ID, np.full_like(image_ZYX, 7), label_ZYX)


def no_surface(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """A label without any surface."""
    kaggle.write_volume(folder, ID, image_ZYX, np.where(label_ZYX == 1, np.uint8(0), label_ZYX))


def unknown_format(folder: Path, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """The image is a file of another kind."""
    _image(folder).rename(folder / kaggle.IMAGES / ID)


DAMAGES: dict[str, Callable[[Path, np.ndarray, np.ndarray], None]] = {
    "truncated_image": truncated(_image),
    "truncated_label": truncated(_label),
    "other_shape": other_shape,
    "no_scroll_column": no_scroll_column,
    "empty_table": empty_table,
    "no_table": no_table,
    "no_row": no_row,
    "no_image": no_image,
    "no_label": no_label,
    "value_three": value_three,
    "missing_chunks": missing_chunks,
    "cut_chunk": cut_chunk,
    "not_a_number": not_a_number,
    "constant": constant,
    "no_surface": no_surface,
    "unknown_format": unknown_format,
}
