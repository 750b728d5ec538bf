"""One volume of the set as a shard: everything a training step would otherwise compute again for every sample.

Decisions:
- Decoding, filtering, statistics, distance map, medial surface and the list of surface voxels are made here, once. A
  training step then copies a patch out of mapped bytes.
- Arrays are bytes, uncompressed and mapped: CT noise does not compress, and a random patch of a map costs a copy.
- Images of other types become 8-bit by a linear window: `conversion.window`, or the 0.5th and 99.5th percentile of the
  volume. What is not a number becomes the window's lower end and is counted.
- Label values other than 0, 1 and 2 become 2 (ignore) and are counted: neither guessed nor trained on. So does the
  label of a slice whose image or label is missing. A missing chunk is not so treated: in Zarr it means the fill value.
- Distances are measured in the whole volume, so a patch knows of a sheet just outside it.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from stepladder.core.types import Asset, Issue, ShardContent, StudyError
from stepladder.studies.scroll.data import kaggle, volumes
from stepladder.studies.scroll.data.distance import squared_distance
from stepladder.studies.scroll.data.labels import NAMES, SHEET, UNKNOWN
from stepladder.studies.scroll.data.readers.volume import WHOLE, Volume
from stepladder.studies.scroll.data.skeleton import medial_surface
from stepladder.studies.scroll.params import ScrollConversion, ScrollParams

PERCENTILES = (0.5, 50.0, 99.5)
MOST_PLACES = 200_000  # surface voxels kept for sampling
SAMPLED = 2_000_000  # voxels that percentiles of a volume are taken from


def convert(asset: Asset, params: ScrollParams) -> ShardContent:
    """Convert one volume to arrays.

    Args:
        asset: as `kaggle.assets` finds it.
        params: `conversion`, `seed` and `data.source` are read.

    Returns:
        Mapped arrays, all of the volume's shape except the last: `image_ZYX` uint8; `label_ZYX` uint8 as in `labels`;
        `distance_ZYX` uint8, squared voxels to the nearest surface voxel, at most `conversion.truncate` squared;
        `skeleton_ZYX` uint8, 1 on the medial surface; `foreground_N3` int32, z y x of at most `MOST_PLACES` surface
        voxels, spread evenly and shuffled, so that any first part is a fair sample.

    Raises:
        StudyError: image or label is missing or cannot be read, their shapes differ, or the image is constant.
    """
    image_path, label_path = kaggle.parts(asset)
    conversion, issues = params.conversion, []
    image, label = (volumes.open_volume(path, conversion.level) for path in (image_path, label_path))
    if image.shape != label.shape:
        raise StudyError(f"{image.name} is {image.shape} but {label.name} is {label.shape}: fetch both again")
    image_ZYX = _image(image, conversion, issues)
    label_ZYX = _label(label, issues)
    label_ZYX[[*image.absent_Z, *label.absent_Z]] = UNKNOWN
    sheet_ZYX = label_ZYX == SHEET
    issues += [*image.gaps(WHOLE), *label.gaps(WHOLE)]
    if not sheet_ZYX.any():
        issues.append(Issue("no surface is labelled", 1, asset.id))
    return ShardContent(
        arrays={
            "image_ZYX": image_ZYX,
            "label_ZYX": label_ZYX,
            "distance_ZYX": squared_distance(sheet_ZYX, conversion.truncate**2),
            "skeleton_ZYX": medial_surface(sheet_ZYX).view(np.uint8),
            "foreground_N3": _places(sheet_ZYX, params.conversion.seed),
        },
        attributes={
            "group": asset.group,
            "scroll": asset.meta["scroll"],
            **_statistics(image_ZYX, image.name),
            "labels": {name: int(np.count_nonzero(label_ZYX == value)) for name, value in NAMES.items()},
            "spacing": image.spacing,
            "units": "voxels; spacing in micrometres along z, y, x where the file says it",
            "truncate": conversion.truncate,
            "median": conversion.median,
            "licence": asset.meta["licence"],
            "sources": [{"name": v.name, "sha256": volumes.digest(v.path)} for v in (image, label)],
        },
        issues=issues,
    )


def _image(volume: Volume, conversion: ScrollConversion, issues: list[Issue]) -> np.ndarray:
    """The image as bytes, filtered where that is asked for."""
    image_ZYX = volume.read(WHOLE)
    if image_ZYX.dtype != np.uint8 or conversion.window:
        image_ZYX = _to_bytes(image_ZYX, conversion.window, volume.name, issues)
    return ndimage.median_filter(image_ZYX, size=3) if conversion.median else image_ZYX


def _to_bytes(image_ZYX: np.ndarray, window: list[float] | None, name: str, issues: list[Issue]) -> np.ndarray:
    """0 at the lower end of the window and below, 255 at the upper end and above."""
    image_ZYX = image_ZYX.astype(np.float32)
    bad_ZYX = ~np.isfinite(image_ZYX)
    if count := int(np.count_nonzero(bad_ZYX)):
        issues.append(Issue("voxel is not a number, read as darkest", count, name))
    low, high = window or _bulk(image_ZYX[~bad_ZYX], name)
    image_ZYX[bad_ZYX] = low
    return np.rint((image_ZYX - low).clip(0, high - low) * np.float32(255 / (high - low))).astype(np.uint8)


def _bulk(values_V: np.ndarray, name: str) -> tuple[float, float]:
    """The outer percentiles of a volume's finite values."""
    low, high = np.percentile(values_V[:: 1 + len(values_V) // SAMPLED], PERCENTILES[::2]) if len(values_V) else (0, 0)
    if low >= high:
        raise StudyError(f"{name} holds one value only: there is no image in it; fetch it again")
    return float(low), float(high)


def _label(volume: Volume, issues: list[Issue]) -> np.ndarray:
    """The label as bytes 0, 1, 2."""
    label_ZYX = volume.read(WHOLE)
    known_ZYX = np.isin(label_ZYX, tuple(NAMES.values()))
    if count := int(np.count_nonzero(~known_ZYX)):
        example = f"{volume.name}: {label_ZYX[~known_ZYX][0]}"
        issues.append(Issue("label value is not 0, 1 or 2, read as ignore", count, example))
    return np.where(known_ZYX, label_ZYX, UNKNOWN).astype(np.uint8)


def _places(sheet_ZYX: np.ndarray, seed: int) -> np.ndarray:
    """(N, 3) int32 z, y, x of surface voxels."""
    flat_N = np.flatnonzero(sheet_ZYX)
    if len(flat_N) > MOST_PLACES:
        flat_N = flat_N[np.linspace(0, len(flat_N) - 1, MOST_PLACES).astype(np.int64)]
    np.random.Generator(np.random.Philox(key=seed)).shuffle(flat_N)
    return np.stack(np.unravel_index(flat_N, sheet_ZYX.shape), axis=1).astype(np.int32)


def _statistics(image_ZYX: np.ndarray, name: str) -> dict[str, Any]:
    """Mean, standard deviation and percentiles of the bytes of an image, exact, from their histogram."""
    count_256 = sum(np.bincount(slice_YX.reshape(-1), minlength=256) for slice_YX in image_ZYX)
    value_256, voxels = np.arange(256), image_ZYX.size
    mean = float(count_256 @ value_256 / voxels)
    std = float(np.sqrt(count_256 @ (value_256 - mean) ** 2 / voxels))
    if std == 0:
        raise StudyError(f"{name} holds one value only: there is no image in it; fetch it again")
    ranks = np.array(PERCENTILES) / 100 * (voxels - 1)
    found = np.searchsorted(np.cumsum(count_256), ranks, side="right")
    return {"mean": mean, "std": std, "percentiles": dict(zip(map(str, PERCENTILES), found.tolist(), strict=True))}
