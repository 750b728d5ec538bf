"""Sets of statements that are true or false of a picture: NLVR (Suhr et al., 2017) and VSR (Liu et al., 2023).

Decisions:
- The statement becomes a question with the choices "true" and "false".
- Statements of one family (NLVR writes each for several pictures, VSR several for one picture) are never divided:
  neither between assets nor, so, between splits.
- A statement whose picture is not here (VSR's belong to COCO and are not shared with it) or cannot be decoded is
  counted, not guessed, and so is a line that is no statement. A picture outside the folder of its set is not here.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.data.images.decode import Undecodable, picture
from stepladder.studies.captions.data.layout import TRUE_FALSE, Item
from stepladder.studies.captions.data.readers.content import Content, plain

BLOCK = 50  # statements of one asset, or more to keep a family together
LOOKED_AT = 10  # lines, to know what a file is
CHOICES = ("true", "false")
QUESTION = "True or false? {}"


def assets(raw: Sequence[Path], weights: tuple[Path, ...]) -> list[Asset]:
    """Blocks of the sets below `raw`: the files of an asset are its pictures, behind them the set itself."""
    found = list[Asset]()
    for folder in raw:
        for path in sorted(folder.rglob("*.jsonl")):
            group = _group(path)
            for number, block in enumerate(_blocks(path) if group else ()):
                here = tuple(dict.fromkeys(_place(path, row) for row in block))
                name = f"{group}_{path.stem}_{number:03d}"
                found.append(Asset(name, group, here, (path, *weights), split_group=name, meta={"block": number}))
    return found


def read(asset: Asset) -> Content:
    """Pictures and statements of a block.

    Raises:
        StudyError: a picture or the set cannot be read.
    """
    path = asset.neighbours[0]
    try:
        block = _blocks(path)[asset.meta["block"]]
    except (ValueError, KeyError, IndexError) as error:
        raise StudyError(
            f"{path.name} is not the set that {asset.id} was made of ({error}); take stock again"
        ) from error
    frames, keys, places, issues = list[np.ndarray](), list[str](), dict[Path, int](), list[Issue]()
    for place in asset.files:
        try:
            frames.append(picture(place.read_bytes())[None])
        except Undecodable as error:
            issues.append(Issue(f"picture {error.outcome}", 1, f"{place.name}: {error}"))
            continue
        places[place] = len(keys)
        keys.append(place.stem)
    items = [_item(row, (places[place],), asset.group) for row in block if (place := _place(path, row)) in places]
    if not items:
        first = issues[0].example if issues else "the set has changed, take stock again"
        raise StudyError(f"{asset.id} of {path.name} holds no picture that can be decoded: {first}")
    return Content(keys, frames, items, [*issues, *(_lost(path) if asset.meta["block"] == 0 else ())])


def _item(row: Mapping[str, Any], pictures: tuple[int, ...], group: str) -> Item:
    answer = CHOICES[0] if str(row["label"]).lower() in ("1", "true") else CHOICES[1]
    asked = QUESTION.format(plain(str(row.get("sentence") or row.get("caption"))))
    return Item(pictures, asked, answer, TRUE_FALSE, CHOICES, group, plain(_family(row)))


def _lost(path: Path) -> list[Issue]:
    """What of a whole set is no statement on a picture here; told once, by its first block."""
    rows = list(_rows(path))
    here = sum(_is_here(path, row) for row in rows)
    kinds = {"picture of a statement is not here": sum(map(bool, rows)) - here, "line is no statement": rows.count({})}
    return [Issue(kind, count, path.name) for kind, count in kinds.items() if count]


def _group(path: Path) -> str:
    """Which set a file of lines is; nothing where it is another's."""
    return next((name for row in itertools.islice(_rows(path), LOOKED_AT) if (name := _set_of(row))), "")


def _set_of(row: Mapping[str, Any]) -> str:
    if {"sentence", "label", "image", "identifier"} <= row.keys():
        return "nlvr"
    return "vsr" if {"caption", "label", "image", "relation"} <= row.keys() else ""


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Statements of a file, line by line; `{}` for a line that is none."""
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield _row(line)


def _row(line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) and _set_of(row) and isinstance(row["image"], str) else {}


def _blocks(path: Path) -> list[list[Mapping[str, Any]]]:
    """Statements whose pictures are here in blocks, families whole."""
    families: dict[str, list[Mapping[str, Any]]] = {}
    for row in _rows(path):
        if _is_here(path, row):
            families.setdefault(_family(row), []).append(row)
    blocks = list[list[Mapping[str, Any]]]()
    for name in sorted(families):
        if not blocks or len(blocks[-1]) >= BLOCK:
            blocks.append([])
        blocks[-1] += families[name]
    return blocks


def _family(row: Mapping[str, Any]) -> str:
    """NLVR: the number of the sentence; VSR: the picture."""
    return str(row["identifier"]).split("-")[0] if "identifier" in row else str(row["image"])


def _place(path: Path, row: Mapping[str, Any]) -> Path:
    return path.parent / row["image"]


def _is_here(path: Path, row: Mapping[str, Any]) -> bool:
    """Whether a statement's picture lies in the folder of its set: a list must not name files of others."""
    if not row or "\0" in row["image"]:
        return False
    place = _place(path, row)
    return place.is_file() and ".." not in Path(row["image"]).parts and place.is_relative_to(path.parent)
