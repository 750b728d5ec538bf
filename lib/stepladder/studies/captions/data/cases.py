"""Items as evaluation takes them: with their words, the choices as ids, and another picture to be shuffled with.

Decisions:
- The other picture is of another family, the same every time and for every arm. So "shuffled" asks what is lost when
  the picture is somebody else's, not when it is itself again. Where no family has more than half of the cases, each is
  the other of exactly one: shuffling changes who sees what, never what is seen.
- Kinds of items are interleaved: wherever a few cases are taken evenly from all (as evaluation does), every kind is
  among them by about its share. Shards hold a picture's items side by side, so even steps could meet one kind alone.
- A caption is a question with one choice, its own text: so its likelihood is asked as that of any answer.
- Texts are bytes of UTF-8 in arrays of fixed size, ended by zeros.

Shape legend: as of `dataset`, and S bytes, C choices, L ids of a choice.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stepladder.core.types import Sample, StudyError
from stepladder.studies.captions.data import conversion
from stepladder.studies.captions.data.dataset import Pairs, Place, pictures
from stepladder.studies.captions.data.layout import MOST_CHOICES, MOST_PICTURES, Item
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.params import CaptionsParams

TEXT, CHOICES = 1024, MOST_CHOICES  # bytes of a text, choices of an item
SEED = 1  # of where in its part of the order a case lies


class Cases(Pairs):
    """See `Pairs` for the arguments; every sample holds what scoring and pages read beside it."""

    def __init__(self, shards: Sequence[Path], params: CaptionsParams):
        super().__init__(shards, params)
        self._words = tokenizer(params.conversion)
        self._items = [conversion.items_of(shard.array("items_S")) for shard in self.shards]
        self._others = others(self.clusters)

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """The item with its words, choices, pictures, and the features of another and of a blank picture."""
        place, other = self.places[index], self.places[self.other(index)]
        shard, item = self.shards[place.shard], self._items[place.shard][place.item]
        count = len(item.pictures)
        others = self.shards[other.shard], (pictures(self.shards[other.shard], other.item) * MOST_PICTURES)[:count]
        shown = _whole(shard.array("pixels_NYXC")[list(item.pictures)])
        told = {f"other_{name}": value for name, value in self.features(*others).items()}
        blank = {name: shard.array(name) for name in ("blank_vision_PF", "blank_world_TVUC")}
        return {**super().sample(index, None), "pixels_MYXC": shown, **told, **blank, **self._texts(item)}

    def other(self, index: int) -> int:
        """A case of another family; itself where there is none."""
        return int(self._others[index])

    def item(self, index: int) -> Item:
        """A case in words."""
        place: Place = self.places[index]
        return self._items[place.shard][place.item]

    def _fitting(self) -> tuple[list[Place], int]:
        """Items that fit, their kinds interleaved."""
        places, left_out = super()._fitting()
        kinds = [int(self.shards[place.shard].array("kind_I")[place.item]) for place in places]
        return [places[index] for index in interleaved(kinds)], left_out

    def _texts(self, item: Item) -> Sample:
        choices, right = (item.choices or (item.answer,)), -1
        if item.choices:
            if item.answer not in item.choices or len(item.choices) > CHOICES:
                raise StudyError(f"the answer {item.answer!r} must be one of at most {CHOICES} choices: {item.choices}")
            right = item.choices.index(item.answer)
        rows = [[*self._words.encode(choice), self._words.special.end] for choice in choices]
        choice_ids_CL = np.full((CHOICES, self.params.model.length), -1, np.int64)
        for row, ids in zip(choice_ids_CL, rows, strict=False):
            row[: len(ids)] = ids[: len(row)]  # the answer fits; a wrong choice may be longer than it
        return {
            "question_S": encoded(item.question),
            "reference_S": encoded(item.answer),
            "choices_CS": np.stack([encoded(choice) for choice in (*item.choices, *[""] * CHOICES)[:CHOICES]]),
            "choice_ids_CL": choice_ids_CL,
            "choices": np.int64(len(choices)),
            "answer": np.int64(right),
            "kind": np.int64(item.kind),
        }


def others(clusters: np.ndarray) -> np.ndarray:
    """For every case the index of one of another cluster (itself where there is none).

    Sorted by cluster and moved on by the size of the largest one, nobody meets their own, unless that one has more than
    half of the cases; then whoever would takes those of other clusters in turn.
    """
    order = np.argsort(clusters, kind="stable")
    found = np.arange(len(clusters))
    if not len(clusters):
        return found
    found[order] = np.roll(order, -np.unique(clusters, return_counts=True)[1].max())
    for turn, index in enumerate(np.flatnonzero(clusters[found] == clusters)):
        strangers = np.flatnonzero(clusters != clusters[index])
        found[index] = strangers[turn % len(strangers)] if len(strangers) else index
    return found


def interleaved(kinds: Sequence[int]) -> list[int]:
    """Indices in an order in which every kind is spread evenly, without a rhythm that even steps could fall in with.

    The r-th of n of a kind lies in the r-th of n equal parts of the whole, drawn at random (with one seed) where in it.
    """
    totals, seen = Counter(kinds), Counter[int]()
    within = np.random.default_rng(SEED).random(len(kinds))
    at = list[tuple[float, int]]()
    for index, kind in enumerate(kinds):
        at.append(((seen[kind] + float(within[index])) / totals[kind], index))
        seen[kind] += 1
    return [index for _, index in sorted(at)]


def encoded(text: str, size: int = TEXT) -> np.ndarray:
    """A text as `size` bytes of UTF-8, zeros behind it; what is longer is cut at a character."""
    whole = text.encode()[:size].decode(errors="ignore").encode()
    return np.frombuffer(whole + bytes(size - len(whole)), np.uint8).copy()


def decoded(text_S: np.ndarray) -> str:
    """The text in an array of bytes."""
    return bytes(np.asarray(text_S, np.uint8)).rstrip(b"\0").decode(errors="replace")


def _whole(pixels_NYXC: np.ndarray) -> np.ndarray:
    """Pictures of up to M as exactly M."""
    empty = np.zeros((MOST_PICTURES - len(pixels_NYXC), *pixels_NYXC.shape[1:]), np.uint8)
    return np.concatenate([pixels_NYXC, empty])
