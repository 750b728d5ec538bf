"""Which assets lie below the raw folders: tars of pictures with texts, and sets of true or false statements.

Decisions:
- A tar is an asset, whoever made it; its index is made where there is none. Its group is the folder it lies in where
  that says something, so results are split by where pictures come from.
- The world tower's weights, where they are made here, are part of every asset (a neighbour): others make other shards.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stepladder.core.types import Asset, StudyError
from stepladder.studies.captions.data.readers import statements
from stepladder.studies.captions.models.towers import own
from stepladder.studies.captions.params import CaptionsParams

LAYOUTS = "*.tar with K.jpg, K.txt, K.json; NLVR's or VSR's *.jsonl beside its pictures"


def assets(raw: Sequence[Path], params: CaptionsParams) -> list[Asset]:
    """Assets by id.

    Raises:
        StudyError: there is nothing, or two assets have one name.
    """
    weights = tuple(own.place_of(folder) for folder in raw if own.place_of(folder).is_file())[:1]
    weights = weights if params.conversion.size == "small" else ()
    found = [*_tars(raw, weights), *statements.assets(raw, weights)]
    if not found:
        searched = ", ".join(folder.name for folder in raw)
        raise StudyError(f"no pictures with texts lie in {searched}; known layouts: {LAYOUTS}")
    names = [asset.id for asset in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"two assets are called {twice[0]!r}: rename one of the files")
    return sorted(found, key=lambda asset: asset.id)


def _tars(raw: Sequence[Path], weights: tuple[Path, ...]) -> Iterator[Asset]:
    for folder in raw:
        for path in sorted(folder.rglob("*.tar")):
            moving = path.stem.startswith("moving")
            name = path.stem if path.parent == folder or moving else f"{path.parent.name[:8]}_{path.stem}"
            yield Asset(name, "moving" if moving else "pictures", (path,), weights)
