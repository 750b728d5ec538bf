"""The layout of the surface-detection competition: train.csv, train_images/<id>.tif, train_labels/<id>.tif.

Decisions:
- Every study volume comes in this layout, whatever its format: `<id>` may also be a NIfTI or NRRD file, an OME-Zarr
  folder or a folder of tif slices. One layout, one reader, one way to say which scroll a volume is from.
- A row of train.csv is an asset. Where its image or label is missing (20 of the 806 rows of the real set) conversion
  names it in a failed row; one without a row is named too, because nobody knows which scroll it is from.
- The column `scroll_id` is what splits go by. Without it nothing starts: a guess would train on the test scroll.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from stepladder.core import files
from stepladder.core.config import nearest
from stepladder.core.types import Asset, Source, StudyError
from stepladder.studies.scroll.data import volumes
from stepladder.studies.scroll.data.readers.volume import shown
from stepladder.studies.scroll.params import ScrollParams

LICENCES = {"synthetic": "Apache-2.0 (made by this project)"}
LICENCE = "that of the source; CC BY-NC 4.0 for the Kaggle set"
TABLE, IMAGES, LABELS = "train.csv", "train_images", "train_labels"
COLUMNS = ("id", "scroll_id")
MEMBERS = (f"*{TABLE}", f"*{IMAGES}/*", f"*{LABELS}/*")
NO_SCROLL = "unknown"


@dataclass(frozen=True)
class Entry:
    """A volume of the set: its id, its scroll, and its image and label where they are there."""

    id: str
    scroll: str
    table: Path
    image: Path | None
    label: Path | None


def assets(raw: Sequence[Path], params: ScrollParams) -> list[Asset]:
    """The volumes below the folders `raw` of the scrolls that `params.data` asks for, in the order of their ids.

    Files of an asset are those of its image and then those of its label; of a volume without an image, train.csv.
    `meta` holds the name of the scroll, and `bytes`.

    Raises:
        StudyError: there is no train.csv, it lacks a column, a volume is named twice, or no such scroll is there.
    """
    found = [entry for folder in sets(raw) for entry in entries(folder)]
    ids = pd.Series([entry.id for entry in found])
    if ids.duplicated().any():
        raise StudyError(f"volume {ids[ids.duplicated()].iloc[0]!r} is there twice: keep one set, or rename it")
    known = {entry.scroll for entry in found}
    for scroll in params.data.scrolls:
        if scroll not in known:
            raise StudyError(f"data.scrolls names {scroll!r}, which is not in the data{nearest(scroll, known)}")
    wanted = [entry for entry in found if not params.data.scrolls or entry.scroll in params.data.scrolls]
    licence = LICENCES.get(params.data.source, LICENCE)
    return [_asset(entry, licence) for entry in sorted(wanted, key=lambda entry: entry.id)]


def sets(raw: Sequence[Path]) -> list[Path]:
    """Folders with a train.csv: the raw folders themselves or the ones in them. `StudyError` where there is none."""
    tables = [
        table for folder in raw for table in (*Path(folder).glob(TABLE), *sorted(Path(folder).glob(f"*/{TABLE}")))
    ]
    if not tables:
        searched = ", ".join(Path(folder).name for folder in raw)
        raise StudyError(f"no {TABLE} in {searched}: without it nobody knows which scroll a volume is from")
    return [table.parent for table in tables]


def entries(folder: Path) -> list[Entry]:
    """Every volume of one set: the rows of train.csv, then images and labels without a row."""
    table = _table(folder / TABLE)
    images, labels = _found(folder / IMAGES), _found(folder / LABELS)
    scroll_of = dict(zip(table["id"], table["scroll_id"], strict=True))
    if len(scroll_of) < len(table):
        raise StudyError(f"{TABLE} names {table['id'][table['id'].duplicated()].iloc[0]!r} twice: keep one row")
    ids = dict.fromkeys([*scroll_of, *images, *labels])
    return [Entry(id, scroll_of.get(id, NO_SCROLL), folder / TABLE, images.get(id), labels.get(id)) for id in ids]


def parts(asset: Asset) -> tuple[Path, Path]:
    """Image and label of an asset. `StudyError` naming what is missing, and the way out."""
    image, label = (_part(asset, folder) for folder in (IMAGES, LABELS))
    if asset.meta["scroll"] == NO_SCROLL:
        named = shown(image or label or asset.files[0])
        raise StudyError(f"{named} has no row in {TABLE}: add one that says which scroll it is from")
    if image is None:
        raise StudyError(f"{asset.id} stands in {TABLE} but {IMAGES}/ holds no such volume: fetch it, or drop the row")
    if label is None:
        raise StudyError(f"{IMAGES}/{image.name} has no label in {LABELS}/: fetch it, or drop its row from {TABLE}")
    return image, label


def _part(asset: Asset, folder: str) -> Path | None:
    """The file or folder of an asset that lies directly in `folder`."""
    lines = ((path, *path.parents) for path in asset.files)
    return next((place for line in lines for place in line if place.parent.name == folder), None)


def _asset(entry: Entry, licence: str) -> Asset:
    own = [path for part in (entry.image, entry.label) if part for path in volumes.raw_files(part)]
    own = own if entry.image else [entry.table, *own]
    size = sum(path.stat().st_size for path in own)
    meta = {"scroll": entry.scroll, "bytes": size, "licence": licence}
    return Asset(entry.id, f"scroll_{entry.scroll}", tuple(own), meta=meta)


def _table(path: Path) -> pd.DataFrame:
    """train.csv as text; `StudyError` naming the file and what is wrong with it."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise StudyError(f"{shown(path)} is not a table ({error}); fetch it again") from None
    for column in COLUMNS:
        if column not in table:
            raise StudyError(
                f"{shown(path)} has no column {column!r} (it has {', '.join(table.columns)}): "
                "splits go by scroll, so nothing can start without it"
            )
    if (table[list(COLUMNS)] == "").any(axis=None):
        row = int((table[list(COLUMNS)] == "").any(axis=1).to_numpy().argmax()) + 2
        raise StudyError(f"{shown(path)}, line {row}: id and scroll_id must not be empty")
    return table


def _found(folder: Path) -> dict[str, Path]:
    """Volumes that lie directly in a folder, by id; `StudyError` where one is there in two formats."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("[!.]*")):
        id = volumes.stem(path)
        if id in found:
            raise StudyError(f"{folder.name}/ holds volume {id!r} twice, {found[id].name} and {path.name}: keep one")
        found[id] = path
    return found


# Writing -------------------------------------------------------------------------------------------------------------


def write_table(folder: Path, rows: Iterable[tuple[str, str]]) -> None:
    """train.csv of rows (id, scroll_id)."""
    files.write_text(folder / TABLE, "\n".join([",".join(COLUMNS), *(",".join(row) for row in rows)]) + "\n")


def write_volume(folder: Path, id: str, image_ZYX: np.ndarray, label_ZYX: np.ndarray) -> None:
    """One volume as packed tif stacks, a page for each z; equal arrays make equal bytes."""
    for part, array_ZYX in ((IMAGES, image_ZYX), (LABELS, label_ZYX)):
        with files.atomic(folder / part / f"{id}.tif") as temporary:
            tifffile.imwrite(temporary, array_ZYX, compression=_compression(), photometric="minisblack")


def source(folder: Path | str, name: str) -> Source:
    """A set in this layout (a folder, or an archive) as a source of raw files."""
    return Source(str(folder), name, MEMBERS)


def _compression() -> str:
    """The competition's own, or what tifffile can do by itself on a machine without imagecodecs."""
    return "lzw" if find_spec("imagecodecs") else "zlib"
