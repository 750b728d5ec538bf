"""How far people agree with each other: the band beside every result on RID, and the golden test of our IoU.

Decisions:
- By the rule of RID's paper (Krapf et al., 2022): every pair of annotators, every image, plain IoU of every class that
  at least one of the two drew there, background included. `mean` is the macro mean of a pair in an image, then the
  mean over pairs and images; a class's value is the mean over those pairs and images that hold it.
- A model is scored on the reviewed roof, not on the lawn around it, which is easily background: `inside` compares the
  annotators there too, by the same rule, and that is what stands beside a model.
- IoU is symmetric, so the paper's 20 ordered pairs of five annotators are our 10.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.labels import BACKGROUND, SUPERSTRUCTURES
from stepladder.studies.roofs.evaluation import areas

ANNOTATORS = 5
ROOF = 0  # in RID's outline masks, 1 is what is not roof


@dataclass(frozen=True)
class Agreement:
    """IoU between annotators, 0 to 1.

    Attributes:
        mean: of superstructures, macro over the classes present in a pair of masks.
        classes: superstructure -> IoU where one of the two drew it.
        any_class: of "any superstructure".
        outline: of roof outlines.
    """

    mean: float
    classes: dict[str, float]
    any_class: float
    outline: float


def pairwise(
    images: Sequence[Sequence[np.ndarray]], classes: int, valid: Sequence[np.ndarray | None] | None = None
) -> np.ndarray:
    """IoU of every class for each pair of annotators in each image: float (pairs x images, classes), nan where absent.

    Args:
        images: for every image its masks (Y, X) of class ids, one an annotator.
        classes: how many there are.
        valid: for every image where it is looked at (Y, X), None for everywhere.
    """
    return np.array(
        [
            areas.image_ious(one_YX, two_YX, classes, valid_YX)
            for masks, valid_YX in zip(images, valid or [None] * len(images), strict=True)
            for one_YX, two_YX in itertools.combinations(masks, 2)
        ]
    )


def of_rid(folder: Path, inside: bool = False) -> Agreement:
    """Agreement of the annotators in the folder `rid`, over all images whose masks lie there.

    With `inside`, superstructures are compared on the reviewed roof alone, as a model's are.

    Raises:
        StudyError: no image there has masks of annotators.
    """
    names = sorted(path.name.removesuffix("_labeler1.png") for path in folder.glob("superstructures/*_labeler1.png"))
    if not names:
        raise StudyError(f"{folder / 'superstructures'} holds no *_labeler1.png: name the folder of RID's test masks")
    drawn = [_masks(folder / "superstructures", name) for name in names]
    outlines = [[mask_YX == ROOF for mask_YX in _masks(folder / "outlines", name)] for name in names]
    roofs = [_mask(folder / "outlines" / f"{name}_reviewed.png") == ROOF if inside else None for name in names]
    by_class_NC = pairwise(drawn, len(SUPERSTRUCTURES), roofs)
    any_class_N2 = pairwise([[mask_YX != BACKGROUND for mask_YX in masks] for masks in drawn], 2, roofs)
    return Agreement(
        mean=float(np.nanmean(by_class_NC, axis=1).mean()),
        classes=dict(zip(SUPERSTRUCTURES, np.nanmean(by_class_NC, axis=0).tolist(), strict=True)),
        any_class=float(np.nanmean(any_class_N2[:, 1])),
        outline=float(np.nanmean(pairwise(outlines, 2)[:, 1])),
    )


def _masks(folder: Path, name: str) -> list[np.ndarray]:
    return [_mask(folder / f"{name}_labeler{number}.png") for number in range(1, ANNOTATORS + 1)]


def _mask(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))
