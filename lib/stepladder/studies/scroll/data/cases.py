"""Evaluation cases: whole volumes, because a surface that is whole in every patch may still be torn in the volume."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stepladder.core.types import Sample
from stepladder.data.shards import Shard
from stepladder.studies.scroll.data.patches import normalise
from stepladder.studies.scroll.params import ScrollParams


class Volumes:
    """The volumes of some shards, as the `Dataset` of the Study interface; shapes differ, so collate one at a time.

    Args:
        shards: paths of converted volumes.
        params: of the run.
    """

    groups: np.ndarray
    clusters: np.ndarray
    weights: Mapping[str, float]

    def __init__(self, shards: Sequence[Path], params: ScrollParams):
        self.shards = [Shard(path) for path in shards]
        self.groups = np.array([shard.attributes["group"] for shard in self.shards], dtype=str)
        self.clusters = np.array([shard.path.stem for shard in self.shards], dtype=str)
        self.weights = dict.fromkeys(self.groups.tolist(), 1.0)

    def __len__(self) -> int:
        return len(self.shards)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Volume `index`; nothing is augmented, so `rng` is not used.

        Returns:
            image_ZYX: float32, of mean 0 and standard deviation 1.
            label_ZYX: int64, 0 background, 1 surface, 2 ignore.
            index: `index`.
        """
        shard = self.shards[index]
        image_ZYX = np.array(shard.array("image_ZYX"), dtype=np.float32)
        normalise(image_ZYX, shard)
        return {
            "image_ZYX": image_ZYX,
            "label_ZYX": np.asarray(shard.array("label_ZYX"), dtype=np.int64),
            "index": int(index),
        }
