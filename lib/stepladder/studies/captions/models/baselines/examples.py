"""What a rival learns from: the items of training shards as ids, texts and pooled vision features.

Decisions:
- Rivals see what the model sees: vision features, question and answer of the training pictures, nothing else.
- A picture is its features' mean over places, once whole and once for each quarter: what is where matters to captions.
- Of very long lists a rival takes items spread evenly over them, so that fitting takes seconds at any length.

Shape legend: I items, N pictures of a shard, M pictures of an item, P places, F features, G pooled features.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from pathlib import Path

import numpy as np

from stepladder.core.types import Batch, StudyError
from stepladder.data.shards import Shard

MOST = 20_000  # items that a rival is fitted to
QUARTERS = 2  # rows and columns of the coarse grid beside the whole


@dataclass(frozen=True)
class Examples:
    """Items of all training shards.

    Attributes:
        questions, answers: token ids, without special ones.
        texts: the answers in words.
        kinds: of `layout.ITEMS`, by number.
        families: names of what is independent of others.
        pooled_IG: features of an item's pictures.
    """

    questions: list[tuple[int, ...]]
    answers: list[tuple[int, ...]]
    texts: list[str]
    kinds: list[int]
    families: np.ndarray
    pooled_IG: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


def read(shards: Sequence[Path]) -> Examples:
    """The items of training shards.

    Raises:
        StudyError: there is no item in them.
    """
    parts = [_of_shard(Shard(path)) for path in shards]
    total = sum(len(part) for part in parts)
    if not total:
        raise StudyError(f"no item in {len(parts)} training shards: nothing can be learnt of them")
    taken = set(((np.arange(min(total, MOST)) + 0.5) * total / min(total, MOST)).astype(int).tolist())
    starts = np.cumsum([0, *(len(part) for part in parts)])
    places = [[i for i in range(len(part)) if start + i in taken] for part, start in zip(parts, starts, strict=False)]
    return _joined([_some(part, kept) for part, kept in zip(parts, places, strict=True) if kept])


def _of_shard(shard: Shard) -> Examples:
    told = json.loads(bytes(shard.array("items_S")))
    pooled_NG = np.stack([pooled(vision_PF) for vision_PF in _vision(shard)])
    pictures_IM = shard.array("pictures_IM")
    return Examples(
        questions=_pieces(shard, "prompt"),
        answers=_pieces(shard, "answer"),
        texts=[item["answer"] for item in told],
        kinds=[int(item["kind"]) for item in told],
        families=np.array([str(item["family"]) for item in told]),
        pooled_IG=np.stack([pooled_NG[places_M[places_M >= 0]].mean(axis=0) for places_M in pictures_IM]),
    )


def _vision(shard: Shard) -> Iterator[np.ndarray]:
    """Features (P, F) of every picture, one after the other; kept as float16, or as int8 with their scale."""
    scales = shard.array("vision_scale_NPF") if "vision_scale_NPF" in shard.names else None
    for place, vision_PF in enumerate(shard.array("vision_NPF")):
        yield vision_PF if scales is None else vision_PF * scales[place]


def _pieces(shard: Shard, name: str) -> list[tuple[int, ...]]:
    """Ids of every item; `ends` say where each one's end."""
    ends_I = shard.array(f"{name}_ends_I")
    return [tuple(piece.tolist()) for piece in np.split(shard.array(f"{name}_ids_K"), ends_I)[: len(ends_I)]]


def _some(examples: Examples, places: list[int]) -> Examples:
    return Examples(
        questions=[examples.questions[place] for place in places],
        answers=[examples.answers[place] for place in places],
        texts=[examples.texts[place] for place in places],
        kinds=[examples.kinds[place] for place in places],
        families=examples.families[places],
        pooled_IG=examples.pooled_IG[places],
    )


def _joined(parts: list[Examples]) -> Examples:
    return Examples(
        questions=[one for part in parts for one in part.questions],
        answers=[one for part in parts for one in part.answers],
        texts=[one for part in parts for one in part.texts],
        kinds=[one for part in parts for one in part.kinds],
        families=np.concatenate([part.families for part in parts]),
        pooled_IG=np.concatenate([part.pooled_IG for part in parts]),
    )


def pooled(vision_PF: np.ndarray) -> np.ndarray:
    """Features of one picture (P places, a square grid) as their mean, then those of its quarters: (5 F,)."""
    side = isqrt(len(vision_PF))
    grid_YXF = vision_PF[: side * side].reshape(side, side, -1).astype(np.float32)
    ends = np.linspace(0, side, QUARTERS + 1)
    spans = [slice(int(low), max(int(np.ceil(high)), 1)) for low, high in pairwise(ends)]
    quarters = [grid_YXF[rows, columns].mean(axis=(0, 1)) for rows in spans for columns in spans]
    return np.concatenate([grid_YXF.mean(axis=(0, 1)), *quarters])


def of_case(batch: Batch, place: int) -> np.ndarray:
    """Pooled features (G,) of the pictures of item `place` of a batch."""
    count = int(batch["pictures"][place])
    vision_MPF = batch["vision_MPF"][place][:count].float().cpu().numpy()
    return np.mean([pooled(vision_PF) for vision_PF in vision_MPF], axis=0)


def choices_of(batch: Batch, place: int) -> list[tuple[int, ...]]:
    """Token ids of every choice of item `place`, end of turn included; a caption has its reference alone."""
    rows_CL = batch["choice_ids_CL"][place]
    return [tuple(row_L[row_L >= 0].tolist()) for row_L in rows_CL if bool((row_L >= 0).any())]
