"""OME-Zarr pyramids of Zarr 2 and 3, and bare Zarr arrays."""

from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from stepladder.core.types import Issue
from stepladder.studies.scroll.data.readers.volume import (
    MICROMETRES,
    Box3,
    Spacing,
    Volume,
    VolumeError,
    guarded,
    shown,
)


def pyramid(path: Path, level: int) -> Volume:
    """Open an OME-Zarr pyramid (Zarr 2 or 3), or a bare array."""
    root = zarr.open(str(path), mode="r")
    array, spacing = (root, None) if isinstance(root, zarr.Array) else _level(root, path, level)
    leading = array.ndim - 3
    if leading < 0 or any(length != 1 for length in array.shape[:leading]):
        raise VolumeError(f"{shown(path)} has the shape {array.shape}; needed is Z, Y, X behind axes of length one")

    def read(box: Box3) -> np.ndarray:
        return np.asarray(array[(0,) * leading + box])

    def gaps(box: Box3) -> tuple[Issue, ...]:
        absent = _absent_chunks(path / array.path, array, (slice(None),) * leading + box)
        example = f"{shown(path)}/{absent[0]}" if absent else ""
        return (Issue("chunk is missing, read as fill value", len(absent), example),) if absent else ()

    shape = tuple(array.shape[leading:])
    return Volume(path, shape, np.dtype(array.dtype), spacing, guarded(path, read), gaps)


def _level(group: zarr.Group, path: Path, level: int) -> tuple[zarr.Array, Spacing | None]:
    """One level of a pyramid and its spacing; the metadata lie under `ome` since version 0.5."""
    attributes: Any = dict(group.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        raise VolumeError(f"{shown(path)} is a Zarr group without `multiscales`: name the array inside it")
    datasets = scales[0]["datasets"]
    if level >= len(datasets):
        raise VolumeError(f"{shown(path)} has {len(datasets)} levels; conversion.level = {level} is not one of them")
    steps = datasets[level].get("coordinateTransformations", [])
    scale = next((step["scale"] for step in steps if step["type"] == "scale"), None)
    units = [axis.get("unit", "") for axis in scales[0].get("axes", []) if isinstance(axis, dict)]
    known = scale is not None and len(units) == len(scale) and all(unit in MICROMETRES for unit in units[-3:])
    spacing = None
    if scale is not None and known:
        spacing = tuple(s * MICROMETRES[u] for s, u in zip(scale[-3:], units[-3:], strict=True))
    return cast(zarr.Array, group[datasets[level]["path"]]), spacing


def _absent_chunks(folder: Path, array: zarr.Array, box: tuple[slice, ...]) -> list[str]:
    """Names of the chunk files (shard files, where an array is sharded) of a box that are not there."""
    stored = getattr(array, "shards", None) or array.chunks
    ranges = [
        range(part.indices(length)[0] // size, -(-part.indices(length)[1] // size))
        for part, length, size in zip(box, array.shape, stored, strict=True)
    ]
    keys = (array.metadata.encode_chunk_key(place) for place in product(*ranges))
    return [f"{array.path}/{key}".lstrip("/") for key in keys if not (folder / key).exists()]
