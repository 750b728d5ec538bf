"""How a prediction of roofs is scored, what the truth would say, and what is printed beside every number.

Decisions:
- Every image has a record of every metric of the tasks the run learns: where the image is not labelled, or a method
  says nothing, one without support. So all methods are seen on the same images, and the main metric is first for all.
"""

from collections.abc import Mapping

import numpy as np
import torch

from stepladder.core.types import Batch, Prediction, Record
from stepladder.studies.roofs.data.labels import BACKGROUND, FACES, IGNORE, NO_FACE, SUPERSTRUCTURES
from stepladder.studies.roofs.evaluation import areas, metrics
from stepladder.studies.roofs.evaluation.metrics import Part
from stepladder.studies.roofs.models.baselines import hed
from stepladder.studies.roofs.params import RoofsParams


def score(batch: Batch, prediction: Prediction, params: RoofsParams) -> list[Record]:
    """Records of every image and metric; support 0 where an image is not labelled or the prediction lacks the key."""
    records = []
    for item in range(len(batch["image_CYX"])):
        truth, guess = image_of(batch, item), image_of(prediction, item)
        for metric in metrics.of_tasks(params):
            parts = list(metric.parts(truth, guess, params)) if set(metric.needs) <= guess.keys() else []
            parts = parts or [Part("", 0.0, 0.0, 0.0)]
            records += [Record(item, metric.name, part[1], part[2], part.name, part.support) for part in parts]
    return records


def image_of(tensors: Mapping[str, torch.Tensor], item: int) -> dict[str, np.ndarray]:
    """One image of a batch or prediction as arrays; names lose the axis B."""
    return {name.replace("_B", "_"): value[item].cpu().numpy() for name, value in tensors.items()}


def oracle(batch: Batch, params: RoofsParams) -> Prediction:
    """The truth in the form of a prediction; what is not labelled is background, no face, no roof, 0 m."""
    superstructure_BYX, face_BYX = batch["superstructure_YX"].long(), batch["face_YX"].long()
    outline_BYX = (batch["outline_YX"] == 1).float()
    return {
        "superstructure_BSYX": _one_hot(superstructure_BYX, BACKGROUND, len(SUPERSTRUCTURES)),
        "face_BFYX": _one_hot(face_BYX, NO_FACE, FACES),
        "slope_BGYX": batch["slope_GYX"].float(),
        "outline_BYX": outline_BYX,
        "boundary_BYX": torch.stack([torch.from_numpy(areas.boundary(o.numpy())) for o in outline_BYX.cpu()]).float(),
        "lines_BLF": torch.cat([batch["lines_LF"].float(), torch.ones_like(batch["lines_LF"][..., :1])], dim=-1),
        "face_id_BYX": batch["face_id_YX"].int(),
        "rise_BYX": batch["rise_YX"].float(),
        "height_BYX": batch["height_YX"].float(),
    }


def _one_hot(label_BYX: torch.Tensor, otherwise: int, classes: int) -> torch.Tensor:
    filled = label_BYX.where(label_BYX != IGNORE, torch.full_like(label_BYX, otherwise))
    return torch.nn.functional.one_hot(filled, classes).permute(0, 3, 1, 2).float()


def protocol(params: RoofsParams) -> dict[str, str]:
    """What is printed beside every number."""
    split = "source" if params.splits.by == "group" else "file"
    resampled = f"resampled to {params.model.gsd:g} m per pixel" if params.model.gsd else "at their own resolution"
    return {
        "space": f"whole images, {resampled}; superstructures on the building annotated (RID: the one in the middle)",
        "split": f"by {split}",
        "averaging": "micro: summed over all test images before dividing; classes, types weigh the same",
        "left out": "pixels, lines and tasks that a source does not label; classes and types the truth does not hold; "
        f"faces and roofs below {params.evaluation.smallest:g} m²",
        "lines": f"drawn from a score of {params.evaluation.line_threshold:g}",
        "inference": f"tiles of {params.model.tile} pixels that share {params.model.overlap}, {params.model.halo} at "
        f"their border thrown away{', eight turns averaged' if params.model.tta else ''}",
        "rivals": f"fitted to training images alone{f'; hed left out: {reason}' if (reason := hed.missing()) else ''}",
        **{metric.name: metric.told for metric in metrics.of_tasks(params)},
    }
