"""Tars of drawn pictures with captions and questions, still or moving, and what the smallest towers make of them."""

import json
from pathlib import Path

import numpy as np

from stepladder.core.types import Asset
from stepladder.data import shards
from stepladder.data.images import tars
from stepladder.studies.captions.data import conversion
from stepladder.studies.captions.data.synthesis.drawing import jpeg, pictures
from tests.studies.captions.captioned import parameters

QUESTIONS = (
    {"question": "True or false? It is red.", "answer": "true", "kind": "true_false", "choices": ["true", "false"]},
    {"question": "Where is it?", "answer": "left", "kind": "relation", "choices": ["left", "right", "above"]},
)


def members(key, image, caption="", facts=None, later=()):
    """The files of one sample of a tar."""
    found = [(f"{key}.jpg", image if isinstance(image, bytes) else jpeg(image))]
    found += [(f"{key}.frame{number:02d}.jpg", jpeg(frame)) for number, frame in enumerate(later, 1)]
    found += [(f"{key}.txt", caption if isinstance(caption, bytes) else caption.encode())] if caption else []
    return (
        [*found, (f"{key}.json", facts if isinstance(facts, bytes) else json.dumps(facts).encode())] if facts else found
    )


def tar(folder: Path, name="00000", count=5, seed=1, families=None, questions=QUESTIONS) -> Asset:
    """A tar of drawn pictures, each with a caption and questions."""
    rows = []
    for number, image in enumerate(pictures(count, seed, 64)):
        facts = {"family": families[number] if families else f"scene {number}", "questions": list(questions)}
        rows += members(f"{number:04d}", image, f"Drawing number {number}.", facts)
    return written(folder, name, rows)


def written(folder: Path, name, rows, group="pictures") -> Asset:
    """The asset of a tar of these members."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tar"
    tars.write(path, rows)
    return Asset(name, group, (path,))


def moving(folder: Path, count=2, frames=5) -> Asset:
    """A tar of scenes that grow brighter from frame to frame."""
    rows = []
    for number, image in enumerate(pictures(count, 3, 64)):
        later = [np.clip(image.astype(int) + 20 * step, 0, 255).astype(np.uint8) for step in range(1, frames)]
        rows += members(f"{number:04d}", image, f"It moves, {number}.", {"family": f"m{number}"}, later)
    return written(folder, "moving00000", rows, "moving")


def params(steps=0, features="float16", **model):
    """Parameters of size tiny."""
    made = parameters("tiny", steps, **model)
    return made.model_copy(update={"conversion": made.conversion.model_copy(update={"features": features})})


def shard(asset: Asset, settings, folder: Path | None = None) -> Path:
    """The shard of an asset."""
    path = (folder or asset.files[0].parent) / f"{asset.id}.h5"
    shards.write(path, conversion.convert(asset, settings), "recipe")
    return path
