"""Which assets lie below the raw folders: tars of pictures with texts, and sets of true or false statements.

Decisions:
- A tar is an asset, whoever made it; its index is made where there is none. Its group is the folder it lies in where
  that says something, so results are split by where pictures come from.
- The towers' weights, where they lie in files here, are part of every asset (neighbours): others make other shards. Of
  a name at the hub the commit is, which is a parameter.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stepladder.core.types import Asset, StudyError
from stepladder.studies.captions.data.readers import statements
from stepladder.studies.captions.models.towers import own
from stepladder.studies.captions.params import CaptionsConversion, CaptionsParams

LAYOUTS = "*.tar with K.jpg, K.txt, K.json; NLVR's or VSR's *.jsonl beside its pictures"


def assets(raw: Sequence[Path], params: CaptionsParams) -> list[Asset]:
    """Assets by id.

    Raises:
        StudyError: there is nothing, or two assets have one name.
    """
    weights = _weights(raw, params.conversion)
    found = [*_tars(raw, weights), *statements.assets(raw, weights)]
    if not found:
        searched = ", ".join(folder.name for folder in raw)
        raise StudyError(f"no pictures with texts lie in {searched}; known layouts: {LAYOUTS}")
    names = [asset.id for asset in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"two assets are called {twice[0]!r}: rename one of the files")
    return sorted(found, key=lambda asset: asset.id)


def _weights(raw: Sequence[Path], conversion: CaptionsConversion) -> tuple[Path, ...]:
    """Files of weights that features depend on, and the tokenizer's."""
    if conversion.size == "small":
        return tuple(own.place_of(folder) for folder in raw if own.place_of(folder).is_file())[:1]
    named = [Path(name) for name in (conversion.weights, conversion.world_weights) if name]
    folders = [folder for folder in named if folder.is_dir()] if conversion.size == "gemma3_4b" else []
    patterns = ("*.safetensors", "tokenizer.json", "config.json")
    return tuple(sorted({path for folder in folders for pattern in patterns for path in folder.rglob(pattern)}))


def _tars(raw: Sequence[Path], weights: tuple[Path, ...]) -> Iterator[Asset]:
    for folder in raw:
        for path in sorted(folder.rglob("*.tar")):
            moving = path.stem.startswith("moving")
            name = path.stem if path.parent == folder or moving else f"{path.parent.name[:8]}_{path.stem}"
            yield Asset(name, "moving" if moving else "pictures", (path,), weights)
