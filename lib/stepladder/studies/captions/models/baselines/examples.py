"""What a rival learns from: the items of training shards as ids, texts and pooled vision features.

Decisions:
- Rivals see what the model sees: vision features, question and answer of the training pictures, nothing else.
- A picture is its features' mean over places, once whole and once for each quarter: what is where matters to captions.
- Of very long lists a rival takes items drawn from all of them, so that fitting takes seconds at any length.

Shape legend: I items, N pictures of a shard, M pictures of an item, P places, F features, G pooled features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from pathlib import Path

import numpy as np

from stepladder.core.types import Batch, StudyError
from stepladder.data.shards import Shard

MOST = 3000  # items that a rival is fitted to
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
    """The items of training shards; of more than `MOST` some, drawn the same way every time.

    Raises:
        StudyError: there is no item in them.
    """
    counts = [len(Shard(path).array("answer_ends_I")) for path in shards]
    total = sum(counts)
    if not total:
        raise StudyError(f"no item in {len(counts)} training shards: nothing can be learnt of them")
    # Drawn, not every n-th: items of a picture follow each other in a rhythm, captions first.
    drawn = np.sort(np.random.default_rng(0).permutation(total)[:MOST])
    ends = np.cumsum(counts)
    parts = [
        drawn[(drawn >= end - count) & (drawn < end)] - (end - count) for end, count in zip(ends, counts, strict=True)
    ]
    return _joined([_of_shard(Shard(path), places) for path, places in zip(shards, parts, strict=True) if len(places)])


def _of_shard(shard: Shard, places: np.ndarray) -> Examples:
    """Items `places` of a shard; features of their pictures alone are looked at."""
    told = json.loads(bytes(shard.array("items_S")))
    told = [told[place] for place in places]
    return Examples(
        questions=_pieces(shard, "prompt", places),
        answers=_pieces(shard, "answer", places),
        texts=[item["answer"] for item in told],
        kinds=[int(item["kind"]) for item in told],
        families=np.array([str(item["family"]) for item in told]),
        pooled_IG=_pooled(shard, shard.array("pictures_IM")[places]),
    )


def _pooled(shard: Shard, pictures_IM: np.ndarray) -> np.ndarray:
    """Features of every item's pictures, each picture pooled once; kept as float16, or as int8 with their scale."""
    scales = shard.array("vision_scale_NPF") if "vision_scale_NPF" in shard.names else None
    vision_NPF, of_picture = shard.array("vision_NPF"), dict[int, np.ndarray]()
    for place in np.unique(pictures_IM[pictures_IM >= 0]).tolist():
        vision_PF = vision_NPF[place] if scales is None else vision_NPF[place] * scales[place]
        of_picture[place] = pooled(vision_PF)
    return np.stack([np.mean([of_picture[place] for place in row_M[row_M >= 0]], axis=0) for row_M in pictures_IM])


def _pieces(shard: Shard, name: str, places: np.ndarray) -> list[tuple[int, ...]]:
    """Ids of items; `ends` say where each one's end."""
    ids_K, ends_I = shard.array(f"{name}_ids_K"), shard.array(f"{name}_ends_I")
    starts_I = np.concatenate([[0], ends_I[:-1]])
    return [tuple(ids_K[starts_I[place] : ends_I[place]].tolist()) for place in places]


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
