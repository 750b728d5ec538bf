"""Rivals that do not look at the image: nothing anywhere, and the average roof.

Decisions:
- `nothing` answers every task, with the emptiest answer there is: what any method must beat.
- `average` answers in metres and degrees alone: medians over the roofs of the training crops, the same everywhere. The
  median is the constant of least absolute error.
"""

from collections.abc import Iterable

import numpy as np
import torch

from stepladder.core.types import Batch, Prediction, Sample
from stepladder.studies.roofs.data.labels import BACKGROUND, FACES, FLAT, NO_FACE, SUPERSTRUCTURES


def nothing(batch: Batch) -> Prediction:
    """Background, no face, no roof, no line, flat ground."""
    images, _, *size = batch["image_CYX"].shape
    superstructure_BSYX, face_BFYX = torch.zeros(images, len(SUPERSTRUCTURES), *size), torch.zeros(images, FACES, *size)
    superstructure_BSYX[:, BACKGROUND], face_BFYX[:, NO_FACE] = 1, 1
    zero_BYX = torch.zeros(images, *size)
    return {
        "superstructure_BSYX": superstructure_BSYX,
        "face_BFYX": face_BFYX,
        "slope_BGYX": torch.zeros(images, 2, *size),
        "face_id_BYX": zero_BYX.int(),
        "lines_BLF": torch.zeros(images, 0, 6),
        **{f"{name}_BYX": zero_BYX for name in ("outline", "boundary", "rise", "height")},
    }


class Average:
    """Median rise, height and pitch of the roofs of training crops, everywhere; nothing of what none of them labels."""

    def __init__(self, crops: Iterable[Sample]):
        seen: dict[str, list[np.ndarray]] = {}
        for crop in crops:
            for name, value_N in on_roofs(crop).items():
                seen.setdefault(name, []).append(value_N)
        joined = {name: np.concatenate(values) for name, values in seen.items()}
        self.value = {name: float(np.median(value_N)) for name, value_N in joined.items() if len(value_N)}

    def __call__(self, batch: Batch) -> Prediction:
        """Constant maps."""
        images, _, *size = batch["image_CYX"].shape
        found = {
            f"{name}_BYX": torch.full((images, *size), self.value[name])
            for name in ("rise", "height")
            if name in self.value
        }
        if "slope" in self.value:  # towards the south: only its size is meant
            found["slope_BGYX"] = torch.zeros(images, 2, *size)
            found["slope_BGYX"][:, 1] = -self.value["slope"]
        return found


def on_roofs(sample: Sample) -> dict[str, np.ndarray]:
    """Labelled rise, height and steepness (rise over run) on what stands above the ground, (N,) each."""
    rise_YX, height_YX = sample["rise_labelled_YX"] != 0, sample["height_labelled_YX"] != 0
    return {
        "rise": sample["rise_YX"][rise_YX],
        "height": sample["height_YX"][height_YX & (sample["height_YX"] >= STOREY)],
        "slope": np.hypot(*sample["slope_GYX"])[sample["face_YX"] <= FLAT],
    }


STOREY = 2.0  # metres: what is lower is no roof
