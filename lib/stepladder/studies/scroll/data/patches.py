"""Training patches: small cubes cut out of mapped volumes, around surfaces more often than not.

Decisions:
- Plain samples are the cells of a fixed tiling that hold a fair share of surface, so validation sees the same places
  every time and none that is all air. In training a cell only says which volume: the place is drawn afresh, around a
  surface voxel for `model.foreground` of the draws (as the 10th-place solution does) and anywhere for the others.
- Augmentation is the symmetries of the cube (mirror images and quarter turns): a permutation of axes and some flips.
  Distance map and medial surface keep their values exactly, so nothing has to be computed again.
- Intensities are normalised by the mean and deviation of the whole volume, known since conversion.
- Surface voxels of a cell are counted on the first ones of the shuffled list, so opening 786 volumes reads 40 MB.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core.types import Sample, StudyError
from stepladder.data.shards import Shard
from stepladder.studies.scroll.params import ScrollParams

COUNTED = 4096  # surface voxels that a tiling is judged by
FAIR = 0.5  # of the mean share of a cell: what a cell must hold to be kept
GAIN, SHIFT = 0.1, 0.1  # largest relative change of contrast, and of brightness in standard deviations
ARRAYS = {
    "image_ZYX": np.float32,
    "label_ZYX": np.int64,
    "distance_ZYX": np.float32,
    "skeleton_ZYX": np.float32,
}  # in a shard all are uint8


class Patches:
    """The patches of some shards, as the `Dataset` of the Study interface.

    Args:
        shards: paths of converted volumes.
        params: of the run; patch, share of foreground and augmentation are read from `model`.

    Raises:
        StudyError: a volume is smaller than the patch.
    """

    groups: np.ndarray
    clusters: np.ndarray
    weights: Mapping[str, float]

    def __init__(self, shards: Sequence[Path], params: ScrollParams):
        self.params, self.patch = params, np.array(params.model.patch)
        self.shards = [Shard(path) for path in shards]
        corners = [cells(shard, self.patch) for shard in self.shards]
        volume_C = np.repeat(np.arange(len(corners)), [len(corner_K3) for corner_K3 in corners])
        self.cell_C4 = np.column_stack([volume_C, np.concatenate([np.zeros((0, 3), np.int64), *corners])])
        self.groups = np.array([self.shards[volume].attributes["group"] for volume in volume_C], dtype=str)
        self.clusters = np.array([self.shards[volume].path.stem for volume in volume_C], dtype=str)
        names, counts = np.unique(self.groups, return_counts=True)
        self.weights = dict(zip(names.tolist(), (counts / counts.sum()).tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.cell_C4)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Cell `index`; with `rng` another place of its volume, turned and changed a little in intensity.

        Returns:
            image_ZYX: float32, of mean 0 and standard deviation 1 over its volume.
            label_ZYX: int64, 0 background, 1 surface, 2 ignore.
            distance_ZYX: float32 squared voxels to the nearest surface voxel, cut off.
            skeleton_ZYX: float32, 1 on the medial surface.
            index: `index`.
        """
        volume, *corner = self.cell_C4[index].tolist()
        shard = self.shards[volume]
        if rng is not None:
            corner = self._place(shard, rng)
        box = tuple(slice(start, start + side) for start, side in zip(corner, self.patch.tolist(), strict=True))
        cut: dict[str, Any] = {name: shard.array(name)[box] for name in ARRAYS}
        dice = rng if self.params.model.augment else None
        if dice is not None:
            axes, flips = symmetry(self.patch, dice)
            cut = {name: turned(array_ZYX, axes, flips) for name, array_ZYX in cut.items()}
        sample: Sample = {name: np.ascontiguousarray(cut[name]).astype(kind) for name, kind in ARRAYS.items()}
        gain, shift = dice.uniform((-GAIN, -SHIFT), (GAIN, SHIFT)) if dice is not None else (0.0, 0.0)
        normalise(sample["image_ZYX"], shard, gain, shift)
        return {**sample, "index": int(index)}

    def _place(self, shard: Shard, rng: np.random.Generator) -> list[int]:
        """Corner of a patch that holds a surface voxel, or anywhere."""
        last_3 = np.array(shard.array("label_ZYX").shape) - self.patch
        places_N3 = shard.array("foreground_N3")
        if len(places_N3) and rng.random() < self.params.model.foreground:
            corner_3 = places_N3[rng.integers(len(places_N3))] - rng.integers(0, self.patch)
            return np.clip(corner_3, 0, last_3).tolist()
        return rng.integers(0, last_3 + 1).tolist()


def cells(shard: Shard, patch_3: np.ndarray) -> np.ndarray:
    """(K, 3) corners of the tiling's cells that hold a fair share of surface; the first one where there is none."""
    shape = shard.array("label_ZYX").shape
    if (shape < patch_3).any():
        raise StudyError(
            f"{shard.path.stem} is {tuple(shape)} voxels, smaller than model.patch = {patch_3.tolist()}: "
            "use a smaller patch, or drop the volume's row from train.csv"
        )
    corner_K3 = np.array(list(product(*(_starts(n, side) for n, side in zip(shape, patch_3.tolist(), strict=True)))))
    place_N3 = np.asarray(shard.array("foreground_N3")[:COUNTED])
    inside_KN = ((place_N3 >= corner_K3[:, None]) & (place_N3 < corner_K3[:, None] + patch_3)).all(axis=2)
    held_K = inside_KN.sum(axis=1)
    return corner_K3[held_K >= max(FAIR * held_K.mean(), 1)] if held_K.any() else corner_K3[:1]


def symmetry(patch_3: np.ndarray, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A random symmetry of a patch: an order of its axes that keeps the shape, and the axes to flip after that."""
    axes = np.arange(3)
    for side in np.unique(patch_3):
        same = np.flatnonzero(patch_3 == side)
        axes[same] = rng.permutation(same)
    return tuple(axes.tolist()), tuple(np.flatnonzero(rng.random(3) < 0.5).tolist())


def turned(array_ZYX: np.ndarray, axes: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    """A view with the axes in another order and then flipped."""
    return np.flip(array_ZYX.transpose(axes), flips)


def normalise(image_ZYX: np.ndarray, shard: Shard, gain: float = 0.0, shift: float = 0.0) -> None:
    """To mean 0 and deviation 1 of the whole volume, in place; then times 1 + `gain`, plus `shift` deviations."""
    image_ZYX -= np.float32(shard.attributes["mean"])
    image_ZYX *= np.float32((1 + gain) / shard.attributes["std"])
    image_ZYX += np.float32(shift)


def _starts(length: int, side: int) -> list[int]:
    """Corners of a tiling of one axis; the last cell is moved back to end at the edge."""
    return [*range(0, length - side, side), length - side]
