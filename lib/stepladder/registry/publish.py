"""From a finished run, or any folder, to an artifact: manifest, judgement, blobs, and the manifest last.

Decisions:
- Paths of a run's artifact are those below the outputs folder. So fetched into another outputs folder it *is* that
  part of the run there: with the results of 01_inventory and 02_conversion beside the shards, the road goes on at
  03_smoke_test, and a walk from the beginning skips both stages as long as parameters and conversion code are the same.
- No modification time of a raw file is faked. A shard's recipe contains the times of files that do not travel; whoever
  changes the conversion needs the raw files and converts anew, as ever.
- Nothing stale is published: what the manifest says of code and parameters would not be true.
- Order decides what a kill can leave: blobs first, then the manifest, then the aliases. Publishing again goes on.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stepladder.core import files, names, study
from stepladder.core.config import check
from stepladder.core.provenance import environment, now
from stepladder.core.run import CHOICE, Run
from stepladder.core.schema import Parameters
from stepladder.data.shards import Shard
from stepladder.data.splits import NAMES
from stepladder.registry import leaks, normaliser, secrecy
from stepladder.registry.index import LARGEST, LONGEST, RECEIPTS, Entry, Manifest, Registry, checked, dump
from stepladder.registry.store import RegistryError
from stepladder.registry.unpack import ENDINGS

PARALLEL = 4  # blobs side by side
DATA_STAGES = ("01_inventory", "02_conversion")
MODEL_STAGES = (*DATA_STAGES, "03_smoke_test", "04_scaling", "05_training")
SECTIONS = ("seed", "data", "conversion", "splits")  # parameters that decide the shards


@dataclass(frozen=True)
class Published:
    """What a publication did."""

    name: str
    version: str
    moved: int
    manifest: Manifest


def publish_run(
    registry: Registry,
    run: Run,
    kind: Literal["shards", "checkpoints"] = "shards",
    name: str | None = None,
    aliases: Sequence[str] = (),
    held_out: Sequence[str] = (),
    licence: str | None = None,
    trusted: Sequence[str] = (),
) -> Published:
    """Publish the shards of a run, or its best and last checkpoints.

    Args:
        registry: where to.
        run: a run whose 02_conversion (for checkpoints: 05_training) is done.
        kind: which files.
        name: of the artifact; `<study>-<run>`, with `-model` for checkpoints, where none is given.
        aliases: beside `latest`.
        held_out: groups or coefficients that only the test split may hold.
        licence: the study's card's where none is given.
        trusted: paths of the artifact that are known to hold no secret.

    Raises:
        ParameterError: the run lacks the result that is to be published.
        Leak: the splits leak.
        RegistryError: the stage is stale, a file holds a secret, or the store refuses.
    """
    if held_out and kind == "checkpoints":
        raise RegistryError("what is held out is judged by the data: name it when you publish the shards")
    params = _settled(run, "02_conversion" if kind == "shards" else "05_training")
    conversion, outputs = run.require("02_conversion"), run.folder.parent.parent
    shards = {asset: run.folder.parent / path for asset, path in conversion["shards"].items()}
    by_split = {split: [shards[asset] for asset in conversion["splits"][split]] for split in NAMES}
    if kind == "shards":
        leaks.check_rows(by_split, run.name)
        entries = [_shard_entry(asset, path, outputs) for asset, path in shards.items()]
        paths = _records(run, DATA_STAGES)
    else:
        entries, paths = [], [*_records(run, MODEL_STAGES), *_checkpoints(run)]
    told = {
        "name": name or f"{run.study}-{run.name}{'-model' if kind == 'checkpoints' else ''}",
        "kind": kind,
        "splits": {split: conversion["splits"][split] for split in NAMES} if kind == "shards" else {},
        "split_by": conversion["splits"]["by"],
        "held_out": list(held_out),
        "normaliser": normaliser.facts(by_split["train"]),
        "files": [*entries, *(_entry(path, outputs) for path in paths)],
    }
    manifest = checked({**_origin(run, params, licence), **told, **_publication()}, f"{run.study}/{run.name}")
    return _publish(registry, manifest, outputs, aliases, trusted)


def publish_folder(
    registry: Registry,
    folder: Path,
    name: str,
    licence: str,
    source: str = "",
    aliases: Sequence[str] = (),
    unpack: bool = False,
    trusted: Sequence[str] = (),
) -> Published:
    """Publish every file below `folder`; with `unpack`, archives among them are fetched as folders.

    Raises:
        RegistryError: the folder is empty, a file holds a secret, or the store refuses.
    """
    found = (path for path in folder.rglob("*") if path.is_file())
    paths = sorted(path for path in found if path.relative_to(folder).parts[0] != RECEIPTS)
    if not paths:
        raise RegistryError(f"{folder}: no files to publish; give a folder that holds some")
    archives = {path for path in paths if unpack and path.name.endswith(ENDINGS)}
    entries = [_entry(path, folder, unpack=path in archives) for path in paths]
    told = {"name": name, "kind": "files", "licence": licence, "source": source, "files": entries}
    manifest = checked({**told, **_publication()}, str(folder))
    return _publish(registry, manifest, folder, aliases, trusted)


def _publish(
    registry: Registry, manifest: Manifest, root: Path, aliases: Sequence[str], trusted: Sequence[str]
) -> Published:
    """Judge a manifest and bring it and its files to the store."""
    leaks.check(manifest)
    text = dump(manifest)
    if len(text.encode()) > LARGEST:
        raise RegistryError(f"{manifest.name}: {len(manifest.files):,} files are too many: pack them as an archive")
    if flaw := secrecy.text_flaw(text):
        raise RegistryError(f"the manifest of {manifest.name}: {flaw}; take it out and publish again")
    for entry in manifest.files:
        if entry.path not in trusted and (flaw := _secret(root / entry.path, entry)):
            raise RegistryError(
                f"{entry.path}: {flaw}; take it out and publish again (if it is none: --trust {entry.path})"
            )
    distinct = {entry.sha256: entry for entry in manifest.files}
    with ThreadPoolExecutor(PARALLEL) as pool:
        moved = sum(pool.map(lambda entry: _put(registry, entry, root), distinct.values()))
    version = registry.add(manifest, ("latest", *aliases))
    return Published(manifest.name, version, moved, manifest)


def _put(registry: Registry, entry: Entry, root: Path) -> int:
    """Store one file, unless it has changed since it was hashed; bytes moved."""
    path = root / entry.path
    moved = registry.store.put(entry.sha256, path)
    if moved and files.file_sha256(path) != entry.sha256:
        registry.store.drop(entry.sha256)
        raise RegistryError(f"{entry.path}: it changed while it was published; publish again when nothing writes to it")
    return moved


def _entry(path: Path, root: Path, **facts: Any) -> Entry:
    """A file as the manifest tells it."""
    size, place = path.stat().st_size, path.relative_to(root).as_posix()
    if flaw := names.flaw(place, LONGEST):
        raise RegistryError(f"{names.shown(place)}: {flaw}; rename it and publish again")
    return Entry(path=place, sha256=files.file_sha256(path), bytes=size, **facts)


def _shard_entry(asset: str, path: Path, outputs: Path) -> Entry:
    facts = Shard(path).attributes
    kept = {"group": str(facts["group"]), "recipe": facts["recipe"], "sources": list(facts.get("sources", []))}
    return _entry(path, outputs, asset=asset, **kept)


def _settled(run: Run, stage: str) -> Parameters:
    """The parameters of a run whose `stage` is done and not stale."""
    run.require(stage)
    return check(study.find(run.study).Params, run.values())


def _records(run: Run, stages: Sequence[str]) -> list[Path]:
    """What these stages left in the run, pictures included: the results stand for all of it."""
    left = [run.folder / name for stage in stages for name in (run.result(stage) or {}).get("sizes", {})]
    records = [run.folder / stage / "result.json" for stage in stages]
    return sorted({path for path in (*left, *records, run.folder / CHOICE) if path.exists()})


def _checkpoints(run: Run) -> list[Path]:
    """Files of the last checkpoint and of the best."""
    from stepladder.training import checkpoint

    found = checkpoint.whole(run.checkpoints)
    if not found:
        raise RegistryError(f"{run.study}/{run.name} has no checkpoint: run 05_training first")
    return found


def _origin(run: Run, params: Parameters, licence: str | None) -> dict[str, Any]:
    """Where the files of a run come from, and what others may do with them."""
    card = study.find(run.study).card
    return {
        "licence": licence or card_says(card, "Licence"),
        "source": card_says(card, "Source"),
        "study": run.study,
        "run": run.name,
        "profile": params.profile,
        "parameters": _deciding(params),
    }


def _deciding(params: Parameters) -> dict[str, Any]:
    """Parameters that decide the shards; where a mirror lay on this machine is nobody's business."""
    values = {key: value for key, value in params.model_dump(mode="json").items() if key in SECTIONS}
    return {**values, "data": {**values["data"], "mirror": None}}


def card_says(card: str, heading: str) -> str:
    """What a study's card says under a heading, on one line."""
    match = re.search(rf"\*\*{heading}\.\*\*\s+(.*?)(?=\s+\*\*\w|\n\s*\n|\Z)", card, re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def _publication() -> dict[str, Any]:
    """When and by what it is published: commit, uncommitted changes, versions."""
    facts = environment()
    return {"created": now(), "code": {key: facts.get(key) for key in ("commit", "dirty", "python", "torch")}}


def _secret(path: Path, entry: Entry) -> str:
    """What a file would give away; of a shard, what its attributes would."""
    found = secrecy.flaw(path)
    if not found and entry.asset:
        found = secrecy.text_flaw(repr(dict(Shard(path).attributes)), os.environ)
    return found
