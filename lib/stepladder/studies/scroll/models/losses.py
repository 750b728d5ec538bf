"""The loss: what is a sheet, what is not, and nothing of what nobody labelled.

Decisions:
- Label 2 (not labelled) never counts: every part multiplies by `known` before it sums, so the gradient there is exactly
  zero. The plan this study learns from turned it into background.
- Every part is a mean over the samples of the batch, so micro-batches and ranks add up to the whole batch.
- The boundary part is one-sided and needs the truth's distance map only. Descent lowers the probability of far false
  sheets most. The distance of a thresholded prediction has no gradient and is not in a loss.
- A part that is not computed is absent from `Loss.parts`; no stand-in takes its name.
- `boundary_every` counts optimizer steps. The training step tells the model its number (`model.optimizer_step`), which
  is the same for all micro-batches and ranks of a step and after a resume. Without gradients (validation) the part is
  always computed, so validation losses can be compared.
- `distance: on_device` computes the map from the augmented label where the step runs; the same numbers as the stored
  map but for sheets beyond the patch's border.

Shape legend: B batch, Z Y X voxels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepladder.core.types import Batch, Loss, TrainingPhase
from stepladder.studies.scroll.data.distance import squared_distance
from stepladder.studies.scroll.data.labels import SHEET, UNKNOWN


def loss(model: Any, batch: Batch, phase: TrainingPhase) -> Loss:
    """Cross entropy + Dice + weighted skeleton recall and boundary loss of one batch.

    Reads `image_ZYX`, `label_ZYX`, `skeleton_ZYX` and `distance_ZYX` (squared voxels) of the batch, and the weights of
    `model.settings`.
    """
    settings, label_BZYX = model.settings, batch["label_ZYX"]
    # In float32 from here on: sums over a million voxels do not fit 16 bits.
    logit_BZYX = model(batch["image_ZYX"]).float()
    probability_BZYX, known_BZYX = logit_BZYX.sigmoid(), (label_BZYX != UNKNOWN).float()
    # Voxels nobody labelled are no sheet here, and `known` takes them out of every part.
    truth_BZYX = (label_BZYX == SHEET).float()
    parts = {
        "cross entropy": cross_entropy(logit_BZYX, truth_BZYX, known_BZYX),
        "dice": dice(probability_BZYX, truth_BZYX, known_BZYX),
    }
    weights = {"cross entropy": 1.0, "dice": 1.0, "skeleton": settings.skeleton, "boundary": settings.boundary}
    if settings.skeleton:
        parts["skeleton"] = skeleton_recall(probability_BZYX, batch["skeleton_ZYX"], known_BZYX)
    if settings.boundary and due(model.optimizer_step, settings.boundary_every):
        # The stored map knows sheets beyond the patch; the one made here costs no disk.
        stored = settings.distance == "precomputed"
        distance_BZYX = batch["distance_ZYX"] if stored else distance_map(label_BZYX, model.reach)
        parts["boundary"] = boundary(probability_BZYX, distance_BZYX, known_BZYX)
    total: Any = sum(weights[name] * part for name, part in parts.items())
    return Loss(total, {name: part.detach() for name, part in parts.items()})


def due(step: int, every: int) -> bool:
    """Whether a part that comes every `every` optimizer steps is computed in `step`; always without gradients."""
    return step % every == 0 or not torch.is_grad_enabled()


def cross_entropy(logit_BZYX: Tensor, truth_BZYX: Tensor, known_BZYX: Tensor) -> Tensor:
    """Binary cross entropy, mean over known voxels, then over samples."""
    each_BZYX = functional.binary_cross_entropy_with_logits(logit_BZYX, truth_BZYX, reduction="none")
    return _mean(each_BZYX * known_BZYX, known_BZYX)


def dice(probability_BZYX: Tensor, truth_BZYX: Tensor, known_BZYX: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum p + sum t + 1) over known voxels, mean over samples (Milletari et al., 2016)."""
    probability_BV, truth_BV = (probability_BZYX * known_BZYX).flatten(1), (truth_BZYX * known_BZYX).flatten(1)
    # The 1 keeps the ratio defined, and a patch without sheet at a loss of nearly 0 when nothing is predicted.
    both_B = (probability_BV * truth_BV).sum(1)
    return 1 - ((2 * both_B + 1) / (probability_BV.sum(1) + truth_BV.sum(1) + 1)).mean()


def skeleton_recall(probability_BZYX: Tensor, skeleton_BZYX: Tensor, known_BZYX: Tensor) -> Tensor:
    """1 - sum(p s) / sum(s) over known voxels, mean over samples; 0 for a sample without skeleton.

    s marks the sheet's medial surface (Kirchhoff et al., Skeleton Recall Loss, ECCV 2024): a hole in a sheet costs as
    much where the sheet is thin as where it is thick.
    """
    skeleton_BZYX = skeleton_BZYX * known_BZYX
    return _mean((1 - probability_BZYX) * skeleton_BZYX, skeleton_BZYX)


def boundary(probability_BZYX: Tensor, distance_BZYX: Tensor, known_BZYX: Tensor) -> Tensor:
    """Mean of d p over known voxels, in voxels; d is 0 on the sheet (after Kervadec et al., MIDL 2019).

    `distance_BZYX` is the squared distance to the nearest sheet voxel, cut off.
    """
    return _mean(distance_BZYX.sqrt() * probability_BZYX * known_BZYX, known_BZYX)


def distance_map(label_BZYX: Tensor, reach: int) -> Tensor:
    """Squared distance of every voxel to the nearest sheet voxel of its own sample, at most reach^2, as float32."""
    return squared_distance(label_BZYX == SHEET, reach**2).float()


def _mean(value_BZYX: Tensor, weight_BZYX: Tensor) -> Tensor:
    """Sum of (already weighted) values over the sum of weights, per sample; mean over samples. 0 without weight."""
    return (value_BZYX.flatten(1).sum(1) / weight_BZYX.flatten(1).sum(1).clamp(min=1)).mean()
