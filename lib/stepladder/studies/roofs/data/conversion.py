"""One asset as a shard: what a reader found, checked once, so that a training step copies and never asks.

Decisions:
- Readers give what their source says (`labelled.Labelled`); here values that mean nothing are taken out and counted: a
  class that does not exist becomes "not labelled", a height that is no number too, a line without length is dropped.
- An array that the source does not give is absent from the shard: nothing is invented, and nothing is stored for it.
- What training reads at random lies contiguous; what few read is compressed. `interest_NVU` says of every block of the
  image whether anything is labelled there and whether there is a roof, so that opening a tile of 10,000 x 10,000 pixels
  reads 100 KB to find its crops (see `interest`).
- Images of one asset have one size and one scale.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, ShardContent, StudyError
from stepladder.studies.roofs.data.interest import interest
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import BACKGROUND, CHANNELS, FACES, IGNORE, LINES, UNTYPED
from stepladder.studies.roofs.data.readers import read
from stepladder.studies.roofs.params import RoofsParams

COMPRESSED = ("face_id_NYX", "focus_NYX", "line_labelled_NYX")
CLASSES = {"superstructure_NYX": BACKGROUND + 1, "face_NYX": FACES, "outline_NYX": 2, "line_labelled_NYX": 2}
HIGHEST_M = 1000.0  # above that a height is no building's


def convert(asset: Asset, params: RoofsParams) -> ShardContent:
    """Convert one asset to arrays; of the parameters only `conversion` is read.

    Returns:
        The arrays of `labelled.Labelled` that the source gives, by the same names, and `interest_NVU` uint8.

    Raises:
        StudyError: a file cannot be read or used; it is named.
    """
    return content(asset, read.read(asset, params))


def content(asset: Asset, given: Labelled) -> ShardContent:
    """The shard of what a reader found in an asset.

    Raises:
        StudyError: an array has not the shape of the image, or the scale is no length.
    """
    _fits(asset, given)
    cleaned, issues = clean(given)
    arrays = {f.name: getattr(cleaned, f.name) for f in fields(cleaned) if "_" in f.name and _is_array(cleaned, f.name)}
    arrays["interest_NVU"] = interest(cleaned)
    compressed = {name: arrays.pop(name) for name in (*COMPRESSED, "interest_NVU") if name in arrays}
    return ShardContent(arrays, compressed, _attributes(asset, cleaned), issues)


def clean(given: Labelled) -> tuple[Labelled, list[Issue]]:
    """Without values that mean nothing, and how many there were."""
    issues, changed = list(given.issues), {}
    for name, classes in CLASSES.items():
        if (label_NYX := getattr(given, name)) is not None:
            changed[name] = _known_classes(name, label_NYX, classes, issues)
    for name in ("rise_NYX", "height_NYX"):
        if (metres_NYX := getattr(given, name)) is not None:
            changed[name] = _known_metres(name, metres_NYX, issues)
    if given.lines_LF is not None:
        changed["lines_LF"] = _known_lines(given, issues)
    if not given.tasks:
        issues.append(Issue("nothing is labelled"))
    return replace(given, **changed), issues


def _fits(asset: Asset, given: Labelled) -> None:
    """Refuse arrays of other shapes, which would be read out of step without an error."""
    if given.image_NYXC.ndim != 4 or given.image_NYXC.shape[3] != 3 or given.image_NYXC.dtype != np.uint8:
        raise StudyError(
            f"{asset.id}: the image is {given.image_NYXC.shape} {given.image_NYXC.dtype}, not (N, Y, X, 3) bytes"
        )
    if not 0 < given.gsd_m < 100:
        raise StudyError(f"{asset.id}: {given.gsd_m} metres per pixel is no scale of an image; mend its georeference")
    shape = given.image_NYXC.shape[:3]
    for f in fields(given):
        if "NYX" in f.name and _is_array(given, f.name) and getattr(given, f.name).shape[:3] != shape:
            raise StudyError(
                f"{asset.id}: {f.name} is {getattr(given, f.name).shape}, the image {shape}: they must be of one size"
            )


def _is_array(given: Labelled, name: str) -> bool:
    return isinstance(getattr(given, name), np.ndarray)


def _known_classes(name: str, label_NYX: np.ndarray, classes: int, issues: list[Issue]) -> np.ndarray:
    """Classes that exist, else IGNORE."""
    odd_NYX = (label_NYX >= classes) & (label_NYX != IGNORE)
    if not odd_NYX.any():
        return label_NYX.astype(np.uint8)
    example = f"{name}: {label_NYX[odd_NYX][0]}"
    issues.append(Issue("class does not exist, read as not labelled", int(odd_NYX.sum()), example))
    return np.where(odd_NYX, IGNORE, label_NYX).astype(np.uint8)


def _known_metres(name: str, metres_NYX: np.ndarray, issues: list[Issue]) -> np.ndarray:
    """Finite heights, else NaN."""
    odd_NYX = ~np.isnan(metres_NYX) & ~(np.abs(metres_NYX) <= HIGHEST_M)
    if odd_NYX.any():
        example = f"{name}: {metres_NYX[odd_NYX][0]}"
        issues.append(Issue("height is no building's, read as not labelled", int(odd_NYX.sum()), example))
    return np.where(odd_NYX, np.nan, metres_NYX).astype(np.float16)


def _known_lines(given: Labelled, issues: list[Issue]) -> np.ndarray:
    """Lines with two ends, in a crop there is; types that do not exist become UNTYPED."""
    assert given.lines_LF is not None
    lines_LF = np.array(given.lines_LF, np.float32).reshape(-1, 6)
    crop_L, kind_L = lines_LF[:, 0], lines_LF[:, 5]
    good_L = np.isfinite(lines_LF).all(axis=1) & (crop_L >= 0) & (crop_L < len(given.image_NYXC))
    good_L &= np.hypot(*(lines_LF[:, 3:5] - lines_LF[:, 1:3]).T) > 0
    if bad := int((~good_L).sum()):
        issues.append(Issue("line without length or place, dropped", bad))
    lines_LF = lines_LF[good_L]
    odd_L = ~np.isin(lines_LF[:, 5], range(CHANNELS))
    if odd := int(odd_L.sum()):
        issues.append(Issue("type of line does not exist, read as unknown", odd, f"{kind_L[good_L][odd_L][0]:g}"))
    lines_LF[odd_L, 5] = UNTYPED
    return lines_LF


def _attributes(asset: Asset, given: Labelled) -> dict[str, Any]:
    """Provenance, units, and how much of what there is."""
    place = given.georeference
    facts: Mapping[str, Any] = given.facts
    return {
        **facts,
        "group": asset.group,
        "source": facts.get("source", asset.group),
        "licence": asset.meta.get("licence", facts.get("licence", "not stated")),
        "north_up": bool(facts.get("north_up", place.north_up if place else False)),
        "gsd_m": float(given.gsd_m),
        "tasks": list(given.tasks),
        "line_types": list(given.line_types),
        "region": asset.region,
        "crs": place.crs if place else facts.get("crs"),
        "transform": list(place.transform) if place else facts.get("transform"),
        "units": "lines: pixels, 0 at the outer corner of the first; rise and height: metres; slope: rise over run",
        "lines": _line_counts(given),
    }


def _line_counts(given: Labelled) -> dict[str, int]:
    """Type -> number of lines."""
    if given.lines_LF is None:
        return {}
    count_K = np.bincount(given.lines_LF[:, 5].astype(int), minlength=CHANNELS)
    return dict(zip((*LINES, "untyped"), count_K.tolist(), strict=True))
