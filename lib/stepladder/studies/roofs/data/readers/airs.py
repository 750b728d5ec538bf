"""AIRS (Chen et al. 2019): tiles of Christchurch, New Zealand, with a mask of roofs each.

Decisions:
- The layout is that of the published archives: `{train,val,test}/{image,label}/christchurch_N.tif`, beside each label a
  picture of it (`_vis`), which is no label, and lists `train.txt`, `val.txt`. The list `test.txt` is missing in the
  copies that are about: folders decide which part a tile is of, and the list's absence is told.
- A tile has 10,000 x 10,000 pixels and is read piece by piece (see `pieces`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.readers import images, pieces
from stepladder.studies.roofs.data.readers.rasters import Box, shown
from stepladder.studies.roofs.params import RoofsConversion

SOURCE = "airs"
LICENCE = "imagery LINZ CC BY 4.0; labels for research, cite the paper"
PARTS = ("train", "val", "test")
NAME = "christchurch_"
GSD_M = 0.075  # as published


def assets(files: Sequence[Path]) -> list[Asset]:
    """One asset a tile: image, then label where it is there."""
    there = set(files)
    tiles = sorted(path for path in files if _is_image(path))
    return [_asset(path, there) for path in tiles]


def absent(files: Sequence[Path]) -> list[str]:
    """Lists that are not there, images without label, labels without image."""
    tiles = [path for path in files if _is_image(path)]
    lists = {path.parent.parent.with_name(f"{path.parent.parent.name}.txt") for path in tiles} - set(files)
    bare = {_label(path) for path in tiles} - set(files)
    lonely = {
        path.parent.parent / "image" / path.name
        for path in files
        if path.parent.name == "label" and path.name.startswith(NAME) and not path.stem.endswith("_vis")
    } - set(files)
    return sorted(
        "/".join(path.parts[-3:] if path.suffix == ".tif" else path.parts[-1:]) for path in lists | bare | lonely
    )


def read(asset: Asset, conversion: RoofsConversion) -> Labelled:
    """A tile's pieces and their roofs. `StudyError` where there is no label, or one of another size or with classes."""
    image, *labels = asset.files
    if not labels:
        raise StudyError(f"{shown(image)} has no label {shown(_label(image))}: fetch it, or take the image away")
    picture = images.open_picture(image, conversion)

    def outline(box: Box):
        return images.binary(labels[0], images.read_mask(labels[0], picture.shape, box))

    missing = asset.meta["missing"]
    issues = (Issue("list of a part is missing; folders decide", 1, missing),) if missing else ()
    facts = {"source": SOURCE, "licence": LICENCE, "part": asset.meta["part"]}
    return pieces.outlined(picture, outline, GSD_M, facts, issues)


def _asset(image: Path, there: set[Path]) -> Asset:
    part = image.parent.parent
    table = part.with_name(f"{part.name}.txt")
    label = _label(image)
    own = (image, label) if label in there else (image,)
    meta = {"licence": LICENCE, "part": part.name, "missing": "" if table in there else table.name}
    return Asset(f"{part.name}_{image.stem}", SOURCE, own, meta=meta)


def _is_image(path: Path) -> bool:
    return (
        path.name.startswith(NAME)
        and path.suffix == ".tif"
        and path.parent.name == "image"
        and path.parent.parent.name in PARTS
        and not path.stem.endswith("_vis")
    )


def _label(image: Path) -> Path:
    return image.parent.parent / "label" / image.name
