"""Whether labels can be right, decided by geometry and physics, not by names of files: gates of 02 for every source.

Decisions:
- What is asked is what roofs obey. They are islands in the ground; faces cover what outlines call roof; the background
  is the commonest class. Eaves and gables have roof on one side, ridges, hips and valleys on both; roofs fall away from
  a ridge and towards a valley. A height climbs as its face is steep, starts at the eave, takes many values, and is some
  metres.
- Each was a silent fault of a reader that somebody trained on: a mask `> 0` that made the ground a roof, channels read
  in another order, lines that were overwritten, heights made up from classes. None raises an error; all train.
- Sources are judged whole, from a few images spread over their shards: a single image may be odd, a source may not.
- Where a source says too little for a question, there is no check of it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stepladder.core.types import Check
from stepladder.data.shards import Shard
from stepladder.studies.roofs.data.labels import BACKGROUND, SECTORS, SUPERSTRUCTURES
from stepladder.studies.roofs.data.probes import View
from stepladder.studies.roofs.data.questions import QUESTIONS, Question, shares

MOST = 60  # images a source is judged by
FACE_NAMES = (*(f"bearing {22.5 * k:g}" for k in range(SECTORS)), "flat", "no face")
OUTLINE_NAMES = ("ground", "roof")
EXPECTED = {  # task, class -> lowest and highest share of labelled pixels; of images about 50 m wide or more
    ("superstructure", "background"): (0.5, 0.9999),
    **{("superstructure", name): (0.0, 0.2) for name in SUPERSTRUCTURES[:BACKGROUND]},
    ("face", "no face"): (0.05, 0.98),
    **{("face", name): (0.0, 0.5) for name in FACE_NAMES[:SECTORS]},
    ("outline", "roof"): (0.01, 0.75),
    ("outline", "ground"): (0.25, 0.99),
}
TYPICAL = {  # source, task, class -> share in the 18 test images of RID given, as read here
    **{
        ("rid", "superstructure", name): share
        for name, share in zip(
            SUPERSTRUCTURES, (0.0156, 0.0143, 0.0035, 0.0012, 0.0012, 0.0066, 0.0063, 0.0042, 0.947), strict=True
        )
    },
    ("rid", "face", "no face"): 0.807,
    ("rid", "face", "flat"): 0.0164,
    ("rid", "outline", "roof"): 0.195,
    ("rid", "outline", "ground"): 0.805,
}
NAMES = {"superstructure": SUPERSTRUCTURES, "face": FACE_NAMES, "outline": OUTLINE_NAMES}


def checks(shards: Sequence[Path]) -> list[Check]:
    """One verdict for every source and question that its labels can answer."""
    return [
        _verdict(source, question, answer)
        for source, views in viewed(shards).items()
        for question in QUESTIONS
        if (answer := question.ask(views)) is not None
    ]


def table(shards: Sequence[Path]) -> pd.DataFrame:
    """Classes of every source beside what is expected: source, task, class, share, typical, least, most, ok.

    `typical` is the share in the source's real images, NaN where none were at hand.
    """
    rows = []
    for source, views in viewed(shards).items():
        for task, names in NAMES.items():
            share_S = shares(views, task, len(names))
            for name, share in zip(names, share_S, strict=True):
                least, most = EXPECTED.get((task, name), (0.0, 1.0))
                typical = TYPICAL.get((source, task, name), np.nan)
                rows.append((source, task, name, float(share), typical, least, most, bool(least <= share <= most)))
    columns = ["source", "task", "class", "share", "typical", "least", "most", "ok"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="share").reset_index(drop=True)


def viewed(shards: Sequence[Path]) -> dict[str, list[View]]:
    """Source -> up to MOST images, spread evenly over its shards."""
    groups: dict[str, list[tuple[Shard, int]]] = {}
    for shard in map(Shard, shards):
        images = [(shard, number) for number in range(len(shard.array("image_NYXC")))]
        groups.setdefault(str(shard.attributes["source"]), []).extend(images)
    return {source: [View(*images[k]) for k in _spread(len(images))] for source, images in groups.items()}


def _spread(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, MOST).round().astype(int)).tolist() if count > MOST else [*range(count)]


def _verdict(source: str, question: Question, answer: tuple[float, float, float]) -> Check:
    value, least, most = answer
    ok = bool(least <= value <= most)
    told = (
        f"{value:.3g}, expected {least:g} to {most:g}"
        if np.isfinite(most)
        else f"{value:.3g}, expected {least:g} or more"
    )
    reason = told if ok else f"{told}: {question.fault}"
    return Check(f"{source}: {question.name}", ok, reason, float(value))
