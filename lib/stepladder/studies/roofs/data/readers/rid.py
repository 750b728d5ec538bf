"""RID, the roof information dataset (Krapf et al. 2022): five aligned targets from its masks and its vectors.

Decisions:
- Two forms are read: that of the repository, `images/<id>.png` with `superstructures/<id>_<annotator>.png`,
  `outlines/<id>_<annotator>.png` and `vectors/<id>.json`; and that of mediaTUM, folders of GeoTIFF or PNG images, of
  masks and of split lists (CRLF, `.png` names whatever the images are), with the village's tables.
- Vectors are the better label where both are there. Masks of the repository know the building in the middle alone: off
  it, superstructures and outlines come from the vectors, and where there are none they count as not labelled.
- In an outline mask 0 is roof. In a mask of segments the last class (5, 9 or 17) is background and 0 faces north; with
  fewer than 16 sectors a face is known as flat or none, its sector is not.
- Where a mask says roof and no segment lies, the face is not labelled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.studies.roofs.data import derive
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, LINES, NO_FACE
from stepladder.studies.roofs.data.readers import images, polygons, ridvectors
from stepladder.studies.roofs.data.readers.images import Picture
from stepladder.studies.roofs.data.readers.rasters import shown
from stepladder.studies.roofs.data.readers.ridvectors import Vectors
from stepladder.studies.roofs.params import RoofsConversion

SOURCE = "rid"
LICENCE = "vectors LGPL-3.0; imagery of Google, non-commercial fair use: never publish"
REVIEWED = "reviewed"
ANNOTATORS = (REVIEWED, *(f"labeler{k}" for k in range(1, 6)))
IMAGE_FOLDERS = ("images", "images_roof_centered_geotiff", "images_roof_centered_png")
MARKS = ("superstructures", "vectors", "masks_superstructures", "masks_segments")
LISTS = "filenames_train_val_test_split"
TABLE = f"_{REVIEWED}.csv"  # how the names of the village's tables end; those of the first round are worse
BACKGROUNDS = {5: 4, 9: 8, 17: 16}  # last class of a mask of segments -> its sectors
GSD_M = 0.1  # of an image that does not say where it lies


def assets(files: Sequence[Path]) -> list[Asset]:
    """One asset an image; its masks and vectors follow it, the village's tables are its neighbours."""
    there = set(files)
    folders = {path.parent for path in files if path.parent.name in IMAGE_FOLDERS}
    roots = sorted({folder.parent for folder in folders if _is_rid(folder.parent)})
    return [asset for root in roots for asset in _of_root(root, there)]


def absent(files: Sequence[Path]) -> list[str]:
    """Images that a split list names and no folder holds."""
    lists = [path for path in files if path.parent.name == LISTS and path.suffix == ".txt"]
    named = {name for path in lists for name in listed(path)}
    return sorted(named - {path.stem for path in files if path.parent.name in IMAGE_FOLDERS}) if named else []


def listed(path: Path) -> list[str]:
    """Names of images in a split list, without their endings, whatever ends its lines and parts its folders."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").replace("\\", "/").splitlines()
    return [line.strip().rpartition("/")[2].rpartition(".")[0] for line in lines if line.strip()]


def read(asset: Asset, conversion: RoofsConversion) -> Labelled:
    """All that RID knows of one image.

    Raises:
        StudyError: a file cannot be used, or the annotator asked for has no mask of it.
    """
    picture = images.open_picture(asset.files[0], conversion)
    image_YXC, _ = picture.whole()
    vectors, place = _vectors(asset, picture)
    gsd_m = place.metres_per_pixel((picture.shape[1] / 2, picture.shape[0] / 2)) if place else GSD_M
    own_YX = _outline(asset, picture, conversion.annotator)
    facts = {
        "source": SOURCE,
        "licence": LICENCE,
        "annotator": conversion.annotator,
        "north_up": place is None or place.north_up,
        "gsd_known": place is not None,
        "roof_types": dict(Counter(vectors.roof_types)) if vectors else {},
        "lists": asset.meta.get("lists", ""),
    }
    faces = _derived(vectors, own_YX, picture.shape, gsd_m) if vectors else _masked_faces(asset, picture)
    facts |= faces.pop("facts", {})
    issues = (*(vectors.issues if vectors else ()), *faces.pop("issues", ()))
    return Labelled(
        image_NYXC=image_YXC[None],
        gsd_m=gsd_m,
        georeference=place,
        superstructure_NYX=_first(_superstructures(asset, picture, conversion.annotator, vectors, own_YX)),
        outline_NYX=_first(_outlines(vectors, own_YX, faces.get("face_NYX"), picture.shape)),
        focus_NYX=_first(_focus(asset, picture, own_YX)),
        issues=issues,
        facts=facts,
        **faces,
    )


# Finding -------------------------------------------------------------------------------------------------------------


def _is_rid(root: Path) -> bool:
    return any(path.is_dir() and path.name.startswith(MARKS) for path in root.iterdir())


def _of_root(root: Path, there: set[Path]) -> list[Asset]:
    """Assets of one copy of RID; of an image in two formats the GeoTIFF, which knows its place."""
    found = {path.stem: path for name in IMAGE_FOLDERS for path in _pictures(root / name, there)}
    found |= {path.stem: path for name in IMAGE_FOLDERS for path in _pictures(root / name, there) if _is_tif(path)}
    masks = sorted(p for p in there if p.parent.parent == root and p.parent not in {f.parent for f in found.values()})
    tables = tuple(sorted(p for p in there if p.name.endswith(TABLE) and p.parent in (root, root / "data")))
    lists = {path.stem: set(listed(path)) for path in sorted(there) if path.parent.name == LISTS}
    of_image: dict[str, list[Path]] = {}
    for path in masks:
        of_image.setdefault(re.sub(r"_(reviewed|labeler\d)$", "", path.stem), []).append(path)
    assets = []
    for stem in sorted(found):
        own = (found[stem], *of_image.get(stem, ()))
        meta = {"licence": LICENCE, "lists": ", ".join(name for name, names in lists.items() if stem in names)}
        alone = any(path.parent.name == "vectors" for path in own)
        assets.append(Asset(stem, SOURCE, own, () if alone else tables, meta=meta))
    return assets


def _pictures(folder: Path, there: set[Path]) -> list[Path]:
    return sorted(p for p in there if p.parent == folder and p.suffix.lower() in images.IMAGES)


def _is_tif(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")


def _mask(asset: Asset, folder: str, annotator: str) -> Path | None:
    """The annotator's mask in a folder of the repository, or the one in mediaTUM's folder of that name."""
    for path in asset.files[1:]:
        if path.parent.name == folder and path.stem.endswith(f"_{annotator}"):
            return path
        if path.parent.name == f"masks_{folder}_{annotator}":
            return path
    others = [p for p in asset.files[1:] if p.parent.name == folder or p.parent.name.startswith(f"masks_{folder}_")]
    if others and annotator != REVIEWED:
        raise StudyError(
            f"{shown(asset.files[0])} has no mask in {folder} by {annotator!r}; it has {shown(others[0])}: "
            f"set conversion.annotator to one of {', '.join(ANNOTATORS)} that is there"
        )
    return None


# Reading -------------------------------------------------------------------------------------------------------------


def _vectors(asset: Asset, picture: Picture) -> tuple[Vectors | None, Georeference | None]:
    for path in asset.files[1:]:
        if path.parent.name == "vectors":
            return ridvectors.of_image(path, picture.shape)
    if asset.neighbours and picture.georeference:
        return ridvectors.of_village(asset.neighbours, picture.georeference, picture.shape), picture.georeference
    return None, picture.georeference


def _outline(asset: Asset, picture: Picture, annotator: str) -> np.ndarray | None:
    """Where the annotator saw the roof in the middle; None where there is no such mask."""
    path = _mask(asset, "outlines", annotator)
    return None if path is None else images.binary(path, images.read_mask(path, picture.shape)) == 0


def _focus(asset: Asset, picture: Picture, own_YX: np.ndarray | None) -> np.ndarray | None:
    """The building in the middle as reviewed, whoever annotates, so that all are scored on the same pixels."""
    reviewed_YX = None if own_YX is None else _outline(asset, picture, REVIEWED)
    chosen_YX = own_YX if reviewed_YX is None else reviewed_YX
    return None if chosen_YX is None else chosen_YX.astype(np.uint8)


def _superstructures(
    asset: Asset, picture: Picture, annotator: str, vectors: Vectors | None, own_YX: np.ndarray | None
) -> np.ndarray | None:
    path = _mask(asset, "superstructures", annotator)
    drawn_YX = None
    if vectors is not None:
        order = sorted(vectors.superstructures, key=lambda item: item[1])  # as RID paints its masks
        drawn_YX = polygons.painted(order, picture.shape, BACKGROUND)
    if path is None:
        return drawn_YX
    mask_YX = images.check_ids(path, images.read_mask(path, picture.shape), BACKGROUND)
    if own_YX is None:
        return mask_YX
    elsewhere_YX = np.full_like(mask_YX, IGNORE) if drawn_YX is None else drawn_YX
    return np.where(own_YX | (mask_YX < BACKGROUND), mask_YX, elsewhere_YX)


def _outlines(
    vectors: Vectors | None, own_YX: np.ndarray | None, face_NYX: np.ndarray | None, shape: tuple[int, int]
) -> np.ndarray | None:
    """Roofs: the building in the middle by its mask, the others by their polygons; without both, by faces."""
    if vectors is None:
        if own_YX is not None:
            return np.where(own_YX, 1, IGNORE).astype(np.uint8)
        return None if face_NYX is None else (face_NYX[0] != NO_FACE).astype(np.uint8)
    areas = [*(segment.polygon for segment in vectors.segments), *vectors.buildings]
    if own_YX is None:
        return polygons.painted([(area, 1) for area in areas], shape, 0)
    others = [area for area in areas if not _mostly(polygons.painted([(area, 1)], shape, 0), own_YX)]
    return np.maximum(polygons.painted([(area, 1) for area in others], shape, 0), own_YX)


def _mostly(part_YX: np.ndarray, whole_YX: np.ndarray) -> bool:
    """Whether more than half of the pixels of a part lie in `whole_YX`."""
    return 2 * int(part_YX[whole_YX].sum()) > int(part_YX.sum())


def _derived(vectors: Vectors, own_YX: np.ndarray | None, shape: tuple[int, int], gsd_m: float) -> dict[str, Any]:
    """Faces, lines and rise from the segments, as fields of `Labelled`."""
    derived = derive.from_segments(vectors.segments, shape, gsd_m)
    face_YX = derived.face_YX
    if own_YX is not None:
        face_YX = np.where(own_YX & (face_YX == NO_FACE), IGNORE, face_YX).astype(np.uint8)
    lines_LF = np.column_stack([np.zeros(len(derived.lines_L5)), derived.lines_L5]).astype(np.float32)
    return {
        "face_id_NYX": derived.face_id_YX[None],
        "face_NYX": face_YX[None],
        "slope_NYXG": derived.slope_YXG[None],
        "rise_NYX": derived.rise_YX[None],
        "lines_LF": polygons.cut(lines_LF, shape),
        "line_types": LINES,
        "issues": derived.issues,
        "facts": dict(derived.facts),
    }


def _masked_faces(asset: Asset, picture: Picture) -> dict[str, Any]:
    """Faces from a mask of segments, as fields of `Labelled`; nothing where there is none."""
    found = [path for path in asset.files[1:] if path.parent.name.startswith("masks_segments")]
    if not found:
        return {}
    path = min(found, key=lambda path: not path.parent.name.endswith(REVIEWED))
    mask_YX = images.read_mask(path, picture.shape)
    last = int(mask_YX.max())
    if last not in BACKGROUNDS:
        raise StudyError(
            f"{shown(path)} ends at class {last}; a mask of segments ends at its background, 5, 9 or 17: with none of "
            "it nobody knows how many sectors it has"
        )
    sectors = BACKGROUNDS[last]
    face_YX = np.where(mask_YX == last, NO_FACE, np.where(mask_YX == sectors, FLAT, mask_YX)).astype(np.uint8)
    issues: Iterable[Issue] = ()
    if sectors < FLAT:
        face_YX[mask_YX < sectors] = IGNORE
        issues = [Issue("face without its sector: the mask knows fewer than 16", int((mask_YX < sectors).sum()))]
    return {"face_NYX": face_YX[None], "issues": issues}


def _first(array_YX: np.ndarray | None) -> np.ndarray | None:
    return None if array_YX is None else np.ascontiguousarray(array_YX[None])
