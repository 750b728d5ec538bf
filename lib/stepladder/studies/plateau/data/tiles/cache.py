"""Parsed surfaces, kept so that each raw file is parsed once although nine tiles need it.

Decisions:
- An entry is named by the file's SHA-256, the zone it was projected to and the reader's own source code, so it can
  never be stale: a changed file or reader is another entry.
- Files of themes delivered by second mesh (10 km: terrain, land use, water) are stored in pieces of 1 km, so a tile
  loads only what is near. A feature that reaches over several pieces is cut between triangles.
- The index of an entry is written last; a lock per entry (released by the system when a process dies) lets several
  processes convert neighbouring tiles without parsing the same file twice.
"""

from dataclasses import asdict, replace
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core import closure, files
from stepladder.core.types import Box, Issue
from stepladder.studies.plateau.data.citygml import reader
from stepladder.studies.plateau.data.citygml.raw import Tally
from stepladder.studies.plateau.data.citygml.surfaces import BOUNDS, Surfaces, concatenate

PIECE_M = 1000.0


def surfaces_of(path: Path, zone: int, box: Box, folder: Path | None) -> Surfaces:
    """Surfaces of a raw file that meet `box` (metres in `zone`), from the cache in `folder` where there is one.

    Raises `StudyError`, naming the file, where it cannot be read.
    """
    if folder is None:
        return reader.read(path, zone).clip(box)
    home = folder / files.fingerprint([files.file_sha256(path), zone, _reader()])
    with files.locked(home):
        if not (home / "index.json").exists():
            _store(reader.read(path, zone), home)
    index = files.read_json(home / "index.json")
    near = [piece["name"] for piece in index["pieces"] if _meet(piece["bounds"], box)]
    pieces = [Surfaces.load(home / name) for name in near or ["0.npz"]]
    issues = tuple(Issue(**issue) for issue in index["issues"])
    return replace(concatenate(pieces).clip(box), issues=issues)


@once
def _reader() -> str:
    """Hash of the code that reads raw files."""
    return files.fingerprint(closure.of_modules(__name__, within=closure.study_home("plateau")))


def _store(surfaces: Surfaces, home: Path) -> None:
    pieces = []
    for number, piece in enumerate(_pieces(surfaces)):
        piece.save(home / f"{number}.npz")
        bounds = [*piece.features[list(BOUNDS[:2])].min(), *piece.features[["x_max", "y_max"]].max()]
        pieces.append({"name": f"{number}.npz", "bounds": bounds})
    issues = [asdict(issue) for issue in surfaces.issues]
    files.write_json(home / "index.json", {"pieces": pieces, "issues": issues})


def _pieces(surfaces: Surfaces) -> list[Surfaces]:
    """`surfaces` whole, or cut by the kilometre of each triangle's south-west corner where they spread over many."""
    features = surfaces.features
    spread = max(features.x_max.max() - features.x_min.min(), features.y_max.max() - features.y_min.min(), 0.0)
    if not spread > 3 * PIECE_M:
        return [surfaces]
    square_N2 = np.floor(surfaces.triangles_N33[..., :2].min(axis=1) / PIECE_M).astype(np.int64)
    part_P3, part_N = np.unique(np.column_stack((square_N2, surfaces.feature_N)), axis=0, return_inverse=True)
    order_N = np.argsort(part_N, kind="stable")
    rows = features[["id", "theme", "kind", "lod"]].to_numpy()[part_P3[:, 2]]
    described = [(f"{row[0]}@{x},{y}", *row[1:]) for row, (x, y, _) in zip(rows, part_P3, strict=True)]
    triangles_N33, label_N = surfaces.triangles_N33[order_N], surfaces.label_N[order_N]
    whole = Surfaces.of(triangles_N33, label_N, part_N[order_N], described, surfaces.zone, Tally())
    _, square_P = np.unique(part_P3[:, :2], axis=0, return_inverse=True)
    return [whole.select(square_P == square) for square in range(square_P.max() + 1)]


def _meet(bounds: list[Any], box: Box) -> bool:
    """Whether two boxes touch; a piece without features has no bounds and meets nothing."""
    if bounds[0] is None:
        return False
    return bounds[0] <= box[2] and bounds[2] >= box[0] and bounds[1] <= box[3] and bounds[3] >= box[1]
