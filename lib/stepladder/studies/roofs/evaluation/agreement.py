"""How far people agree with each other: the band beside every result on RID, and the golden test of our IoU.

Decisions:
- By the rule of RID's paper (Krapf et al., 2022): every pair of annotators, every image, plain IoU of every class that
  at least one of the two drew there, background included. `mean` is the macro mean of a pair in an image, then the
  mean over pairs and images; a class's value is the mean over those pairs and images that hold it.
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


def pairwise(images: Sequence[Sequence[np.ndarray]], classes: int) -> np.ndarray:
    """IoU of every class for each pair of annotators in each image: float (pairs x images, classes), nan where absent.

    Args:
        images: for every image its masks (Y, X) of class ids, one an annotator.
        classes: how many there are.
    """
    pairs = [pair for masks in images for pair in itertools.combinations(masks, 2)]
    return np.array([areas.image_ious(one_YX, two_YX, classes) for one_YX, two_YX in pairs])


def of_rid(folder: Path) -> Agreement:
    """Agreement of the annotators in the folder `rid`, over all images whose masks lie there.

    Raises:
        StudyError: no image there has masks of annotators.
    """
    names = sorted(path.name.removesuffix("_labeler1.png") for path in folder.glob("superstructures/*_labeler1.png"))
    if not names:
        raise StudyError(f"{folder / 'superstructures'} holds no *_labeler1.png: name the folder of RID's test masks")
    drawn = [_masks(folder / "superstructures", name) for name in names]
    outlines = [[mask_YX == ROOF for mask_YX in _masks(folder / "outlines", name)] for name in names]
    by_class_NC = pairwise(drawn, len(SUPERSTRUCTURES))
    any_class_N2 = pairwise([[mask_YX != BACKGROUND for mask_YX in masks] for masks in drawn], 2)
    return Agreement(
        mean=float(np.nanmean(by_class_NC, axis=1).mean()),
        classes=dict(zip(SUPERSTRUCTURES, np.nanmean(by_class_NC, axis=0).tolist(), strict=True)),
        any_class=float(np.nanmean(any_class_N2[:, 1])),
        outline=float(np.nanmean(pairwise(outlines, 2)[:, 1])),
    )


def _masks(folder: Path, name: str) -> list[np.ndarray]:
    from PIL import Image

    return [np.asarray(Image.open(folder / f"{name}_labeler{number}.png")) for number in range(1, ANNOTATORS + 1)]
