"""The Roofline set (Alidoost et al. 2019): crops of Potsdam and Zeebrugge with heights and three kinds of lines.

Decisions:
- `imdb.mat` is MATLAB's HDF5 (v7.3). h5py shows its axes turned round, (N, C, X, Y); a copy written by Python has
  MATLAB's own, (Y, X, C, N). The axis of three colours tells which.
- Channels of `elements` are eave, ridge, hip, in this order. There is no class of valleys, so they are not labelled:
  `line_types` says so.
- Strokes become segments (see `skeletons`). `depths` is an nDSM in metres: height above the ground; negative ones, the
  noise of a matching, are the ground.
- Crops lie in the order they were cut in, neighbours show the same houses: `data.block` of them are one asset.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import LINES
from stepladder.studies.roofs.data.readers import skeletons
from stepladder.studies.roofs.data.readers.rasters import shown

SOURCE = "roofline"
LICENCE = "none stated; cite Alidoost et al. 2019"
NAME = "imdb.mat"
FIELDS = ("images", "depths", "elements")
CHANNELS = ("eave", "ridge", "hip")
GSD_M = 0.1  # not published


def assets(files: Sequence[Path], block: int) -> list[Asset]:
    """One asset per `block` neighbouring crops; of a file that cannot be opened one, whose reading says why."""
    return [asset for path in sorted(files) if path.name == NAME for asset in _blocks(path, block)]


def read(asset: Asset) -> Labelled:
    """Crops of one block, with heights and typed lines.

    Raises:
        StudyError: the file is no HDF5, lacks a field, or a field has another shape than the images.
    """
    path, first = asset.files[0], asset.meta["first"]
    with _opened(path) as fields:
        count = asset.meta["count"] or crops(path)
        part = slice(first, first + count)
        image_NYXC = _bytes(_part(fields["images"], path, part))
        depth_NYX = _part(fields["depths"], path, part)
        element_NYXK = _part(fields["elements"], path, part)
        gsd_m = float(fields.attrs.get("gsd_m", GSD_M))
        known = "gsd_m" in fields.attrs
    for name, field in (("depths", depth_NYX), ("elements", element_NYXK)):
        if field.shape[:3] != image_NYXC.shape[:3]:
            raise StudyError(f"{shown(path)}: {name} has the shape {field.shape}, images {image_NYXC.shape}")
    below = int((depth_NYX < 0).sum())
    return Labelled(
        image_NYXC=image_NYXC,
        gsd_m=gsd_m,
        height_NYX=np.maximum(depth_NYX, 0).astype(np.float16),
        lines_LF=_lines(element_NYXK),
        line_types=tuple(sorted(CHANNELS, key=LINES.index)),
        issues=(Issue("height below the ground, set to 0", below, path.name),) if below else (),
        facts={"source": SOURCE, "licence": LICENCE, "north_up": True, "gsd_known": known, "first": first},
    )


def crops(path: Path) -> int:
    """How many crops a file holds; `StudyError` where it cannot be told."""
    with _opened(path) as fields:
        images = fields["images"]
        return images.shape[-1] if _matlab_order(images, path) else images.shape[0]


def _blocks(path: Path, block: int) -> list[Asset]:
    try:
        count = crops(path)
    except StudyError:  # reading it says why
        return [Asset("000000", SOURCE, (path,), meta={"licence": LICENCE, "first": 0, "count": 0})]
    starts = range(0, count, block)
    return [
        Asset(
            f"{start:06}",
            SOURCE,
            (path,),
            meta={"licence": LICENCE, "first": start, "count": min(block, count - start)},
        )
        for start in starts
    ]


@contextmanager
def _opened(path: Path) -> Generator[h5py.Group]:
    """The group that holds the fields: the file itself, or the struct `imdb` in it."""
    try:
        file = h5py.File(path)
    except OSError as error:
        raise StudyError(
            f"{shown(path)} is no HDF5 file ({error}): fetch it again, or save one of MATLAB before v7.3 anew"
        ) from error
    with file:
        group = file["imdb"] if isinstance(file.get("imdb"), h5py.Group) else file
        there = [name for name in group if not name.startswith("#")]
        if missing := [name for name in FIELDS if name not in there]:
            raise StudyError(f"{shown(path)} has no field {missing[0]!r}; it has {', '.join(there) or 'none'}")
        yield group


def _matlab_order(field: h5py.Dataset, path: Path) -> bool:
    """Whether axes are (Y, X, C, N) rather than (N, C, X, Y)."""
    if field.ndim == 4 and (field.shape[1] == 3) != (field.shape[2] == 3):
        return field.shape[2] == 3
    raise StudyError(f"{shown(path)}: images has the shape {field.shape}; known are (N, 3, X, Y) and (Y, X, 3, N)")


def _part(field: h5py.Dataset, path: Path, part: slice) -> np.ndarray:
    """Crops of a field as (N, Y, X) or (N, Y, X, C), whichever way its axes lie."""
    matlab = _matlab_order(field.parent["images"], path)
    try:
        array = np.moveaxis(field[..., part], -1, 0) if matlab else field[part]
    except (OSError, ValueError) as error:
        raise StudyError(f"{shown(path)}: {field.name} cannot be read ({error}); fetch it again") from error
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3 if matlab else 1] != 3):
        raise StudyError(f"{shown(path)}: {field.name} has the shape {field.shape}; expected one or three channels")
    return np.ascontiguousarray(
        array if matlab else np.swapaxes(array, -1, -2) if array.ndim == 3 else array.transpose(0, 3, 2, 1)
    )


def _bytes(image_NYXC: np.ndarray) -> np.ndarray:
    """Colours as bytes, whether stored as bytes, up to 255 or up to 1."""
    if image_NYXC.dtype == np.uint8:
        return image_NYXC
    scale = 255 if image_NYXC.size and image_NYXC.max() <= 1 else 1
    return np.clip(np.rint(image_NYXC * scale), 0, 255).astype(np.uint8)


def _lines(element_NYXK: np.ndarray) -> np.ndarray:
    """Segments (L, 6) of all crops: crop, x0, y0, x1, y1, type."""
    half = element_NYXK.max(initial=0) / 2
    found = [np.zeros((0, 6))]
    for crop, element_YXK in enumerate(element_NYXK):
        for k, name in enumerate(CHANNELS):
            lines_L4 = skeletons.segments(element_YXK[..., k] > half)
            kinds = np.full((len(lines_L4), 1), LINES.index(name))
            found.append(np.hstack([np.full((len(lines_L4), 1), crop), lines_L4, kinds]))
    return np.vstack(found).astype(np.float32)
