"""Sets of statements that are true or false of a picture: NLVR (Suhr et al., 2017) and VSR (Liu et al., 2023).

Decisions:
- The statement becomes a question with the choices "true" and "false".
- Statements of one family (NLVR writes each for several pictures, VSR several for one picture) are never divided:
  neither between assets nor, so, between splits.
- A statement whose picture is not here (VSR's belong to COCO and are not shared with it) is counted, not guessed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.data.images.decode import Undecodable, picture
from stepladder.studies.captions.data.layout import TRUE_FALSE, Item
from stepladder.studies.captions.data.readers.content import Content

BLOCK = 50  # statements of one asset, or more to keep a family together
CHOICES = ("true", "false")
QUESTION = "True or false? {}"


def assets(raw: Sequence[Path], weights: tuple[Path, ...]) -> list[Asset]:
    """Blocks of the sets below `raw`: the files of an asset are its pictures, behind them the set itself."""
    found = list[Asset]()
    for folder in raw:
        for path in sorted(folder.rglob("*.jsonl")):
            group = _group(path)
            for number, block in enumerate(_blocks(path) if group else ()):
                pictures = dict.fromkeys(_place(path, row) for row in block)
                here = tuple(place for place in pictures if place.is_file())
                if here:
                    name = f"{group}_{path.stem}_{number:03d}"
                    meta = {"block": number}
                    found.append(Asset(name, group, here, (path, *weights), split_group=name, meta=meta))
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
    places = {place: number for number, place in enumerate(asset.files)}
    frames = [_decoded(place) for place in asset.files]
    items, lost = list[Item](), 0
    for row in block:
        place = places.get(_place(path, row))
        if place is None:
            lost += 1
            continue
        answer = CHOICES[0] if str(row["label"]).lower() in ("1", "true") else CHOICES[1]
        sentence = str(row.get("sentence") or row.get("caption")).strip()
        asked = QUESTION.format(sentence)
        items.append(Item((place,), asked, answer, TRUE_FALSE, CHOICES, asset.group, _family(row)))
    issues = [Issue("picture of a statement is not here", lost, path.name)] if lost else []
    return Content([place.stem for place in asset.files], frames, items, issues)


def _decoded(path: Path) -> np.ndarray:
    try:
        return picture(path.read_bytes())[None]
    except Undecodable as error:
        raise StudyError(f"{path.name} cannot be decoded: {error}") from error


def _group(path: Path) -> str:
    """Which set a file of lines is; nothing where it is another's."""
    row = next(_rows(path), None) or {}
    if {"sentence", "label", "image", "identifier"} <= row.keys():
        return "nlvr"
    return "vsr" if {"caption", "label", "image", "relation"} <= row.keys() else ""


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except ValueError:
        return


def _blocks(path: Path) -> list[list[Mapping[str, Any]]]:
    """Statements in blocks, families whole."""
    families: dict[str, list[Mapping[str, Any]]] = {}
    for row in _rows(path):
        families.setdefault(_family(row), []).append(row)
    blocks: list[list[Mapping[str, Any]]] = [[]]
    for name in sorted(families):
        if len(blocks[-1]) >= BLOCK:
            blocks.append([])
        blocks[-1] += families[name]
    return blocks


def _family(row: Mapping[str, Any]) -> str:
    """NLVR: the number of the sentence; VSR: the picture."""
    return str(row["identifier"]).split("-")[0] if "identifier" in row else str(row["image"])


def _place(path: Path, row: Mapping[str, Any]) -> Path:
    return path.parent / row["image"]
