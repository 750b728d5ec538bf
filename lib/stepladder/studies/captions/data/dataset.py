"""Items of many shards as sequences with their features: what a training step takes.

Decisions:
- Opening reads a few numbers per item and no features; those are looked at in the mapped files.
- Sequences are built here from ids, so that how many tokens a picture takes is a matter of the model's parameters and
  converts nothing again.
- An item that does not fit into the sequence is no sample and is counted; a shard all of whose items do not fit, or of
  other towers than its neighbours, is refused by name.
- What is independent of others is a family (a photograph with its crops, a scene): intervals resample those.

Shape legend: as of `conversion`, and T tokens, M pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepladder.core.types import Sample, StudyError
from stepladder.data.shards import Shard
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import MOST_PICTURES
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.params import CaptionsParams


@dataclass(frozen=True)
class Place:
    """Where an item lies."""

    shard: int
    item: int


class Pairs:
    """Items with their pictures' features, plain: there is nothing to augment in what frozen towers saw.

    Args:
        shards: converted shards of one split.
        params: of the run.

    Raises:
        StudyError: shards come from different towers or tokenizers, or nothing fits `model.length`.
    """

    def __init__(self, shards: Sequence[Path], params: CaptionsParams):
        self.params = params
        self.shards = [Shard(path) for path in shards]
        self._check_pixels()
        self._check_made_alike()
        self._features = sequence.FEATURES[params.conversion.size]
        self._world, self._special = sequence.world_tokens(params), tokenizer(params.conversion).special
        self.places, self.left_out = self._fitting()
        if self.shards and not self.places:
            raise StudyError(
                f"no item of {len(self.shards)} shards fits model.length = {params.model.length}: raise it"
            )
        facts = [(self.shards[place.shard].attributes, place.item) for place in self.places]
        self.groups = np.array([attributes["groups"][item] for attributes, item in facts], dtype=str)
        self.clusters = np.array([attributes["families"][item] for attributes, item in facts], dtype=str)

    @property
    def weights(self) -> Mapping[str, float]:
        """Every item counts alike."""
        names, counts = np.unique(self.groups, return_counts=True)
        return dict(zip(names.tolist(), (counts / max(counts.sum(), 1)).tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """Sequence and features of an item; see `conversion` for what is kept."""
        place = self.places[index]
        shard = self.shards[place.shard]
        rows = pictures(shard, place.item)
        tokens_T, kinds_T, labels_T = self.built(place)
        sample: Sample = {"tokens_T": tokens_T, "kinds_T": kinds_T, "labels_T": labels_T, **self.features(shard, rows)}
        if self.params.model.vision != "cached":
            sample["pixels_MYXC"] = _padded(shard.array("pixels_NYXC")[rows])
        return {**sample, "pictures": np.int64(len(rows))}

    def built(self, place: Place) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, kinds and labels of an item (see `sequence.build`)."""
        shard = self.shards[place.shard]
        return sequence.build(
            ids(shard, "prompt", place.item),
            ids(shard, "answer", place.item),
            self._special,
            [self._features.tokens] * len(pictures(shard, place.item)),
            self._world,
            self.params.model.length,
        )

    def features(self, shard: Shard, rows: Sequence[int]) -> Sample:
        """vision_MPF and world_MTVUC float16 of pictures of a shard, zero where there are fewer than M."""
        return {
            "vision_MPF": _padded(_kept(shard, "vision_NPF", rows)),
            "world_MTVUC": _padded(_kept(shard, "world_NTVUC", rows)),
        }

    def _fitting(self) -> tuple[list[Place], int]:
        """Items that fit the sequence, and how many do not."""
        found, left_out = list[Place](), 0
        special = self._special
        turns = 2 + len(special.user) + len(special.line) + len(special.model) + 1  # begin, two ends
        picture = self._features.tokens + 2 * special.margin + (self._world + 2 if self._world else 0)
        for number, shard in enumerate(self.shards):
            prompt_I, answer_I = (np.diff(shard.array(f"{name}_ends_I"), prepend=0) for name in ("prompt", "answer"))
            pictures_I = (shard.array("pictures_IM") >= 0).sum(1)
            fits_I = turns + picture * pictures_I + prompt_I + answer_I <= self.params.model.length
            found += [Place(number, int(item)) for item in np.flatnonzero(fits_I)]
            left_out += int((~fits_I).sum())
        return found, left_out

    def _check_pixels(self) -> None:
        """A tower that runs in the step needs pictures as large as it sees them."""
        if self.params.model.vision != "cached" and not self.params.conversion.whole_pixels:
            raise StudyError(
                f"model.vision = {self.params.model.vision!r} reads pixels, and conversion.whole_pixels = false keeps "
                "small ones: set it to true and run 02_conversion again"
            )

    def _check_made_alike(self) -> None:
        """Features of different towers are different languages."""
        made = {str((shard.attributes["towers"], shard.attributes["tokenizer"])): shard.path for shard in self.shards}
        if len(made) > 1:
            names = " and ".join(path.name for path in list(made.values())[:2])
            raise StudyError(f"{names} were made by different towers or tokenizers: run 02_conversion again")
        own = tokenizer(self.params.conversion).digest
        for shard in self.shards[:1]:
            if shard.attributes["tokenizer"] != own:
                raise StudyError(f"the ids of {shard.path.name} are another tokenizer's: run 02_conversion again")


def pictures(shard: Shard, item: int) -> list[int]:
    """Places of an item's pictures in its shard."""
    row_M = shard.array("pictures_IM")[item]
    return row_M[row_M >= 0].tolist()


def ids(shard: Shard, name: str, item: int) -> list[int]:
    """Ids of an item's prompt or answer."""
    ends_I = shard.array(f"{name}_ends_I")
    first = int(ends_I[item - 1]) if item else 0
    return shard.array(f"{name}_ids_K")[first : int(ends_I[item])].tolist()


def _kept(shard: Shard, name: str, rows: Sequence[int]) -> np.ndarray:
    """Features of pictures as float16, whatever they are kept in."""
    kept, scale = shard.array(name)[rows], name.replace("_", "_scale_")
    return (kept * shard.array(scale)[rows].astype(np.float32)).astype(np.float16) if scale in shard.names else kept


def _padded(values: np.ndarray) -> np.ndarray:
    """Values of up to M pictures as exactly M, the rest zero."""
    return np.concatenate([values, np.zeros((MOST_PICTURES - len(values), *values.shape[1:]), values.dtype)])
