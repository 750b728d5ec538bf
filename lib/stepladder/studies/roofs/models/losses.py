"""What a batch costs, task by task: sums over what is labelled, and how much that is.

Decisions:
- A task's loss is `sums[task] / counts[task]`, both added over micro-batches and ranks before they are divided: a mean
  over labelled pixels (of lines: labelled cells) of labelled samples. Whatever is not labelled is replaced before any
  arithmetic (`torch.where`), so it costs exactly zero and its gradient is exactly zero, never NaN.
- Dice and the scale-invariant part are ratios within a sample; they count with the sample's labelled pixels, so that
  they add up like everything else.
- Superstructures, outlines and heights are compared at full resolution with up-sampled maps: a chimney is smaller than
  a cell. Faces are large and have 18 classes: their pixels are compared with the map of their cell, the same sum for a
  sixteenth of the memory.
- Background is 93 % of a RID image. Cross entropy alone learns it first and last; Dice of the classes that a sample
  shows is what makes rare ones count.
- Closeness and junctions are soft targets: of their cross entropy the entropy of the target is taken off, so the truth
  costs zero.

Shape legend: B batch, Y X pixels, V U cells, P the 16 pixels of a cell; S F G O K D as in `network.MAPS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepladder.core.types import Batch, Loss, TrainingPhase
from stepladder.studies.roofs.data.labels import IGNORE, NO_FACE, STRIDE, UNTYPED
from stepladder.training.tasks import combine

BAND = 2  # pixels on either side of a boundary that are its band
RARE = 9.0  # weight of a cell on a line or junction, less that of one far from any
SCALE_FREE = 0.5  # how much of an error common to a sample is forgiven in the scale-invariant part (Eigen et al., 2014)


def tasks(model: Any) -> dict[str, tuple[str, ...]]:
    """Task that is learnt -> prefixes of the parameters that serve it alone."""
    return {task: (f"heads.{task}.",) for task in model.settings.tasks}


def loss(model: Any, batch: Batch, phase: TrainingPhase) -> Loss:
    """Weighted mean losses of the tasks this batch, or inside a step any batch of it, has labels for."""
    return combine(model, sums(model(batch["image_CYX"]), batch), counts(batch), model.settings.task_weights)


def sums(outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Task -> sum of its loss over labelled units of the batch, for every task the network has a head for."""
    # In float32 from here on: sums over a million pixels do not fit 16 bits.
    outputs = {name: value.float() for name, value in outputs.items()}
    return {task: part(outputs, batch) for task, (first, part) in PARTS.items() if first in outputs}


def counts(batch: Batch) -> dict[str, Tensor]:
    """Task -> number of labelled pixels (of lines: cells) of the batch, a float."""
    of_classes = {task: batch[f"{task}_YX"] != IGNORE for task in ("superstructure", "face", "outline")}
    of_metres = {task: batch[f"{task}_labelled_YX"] > 0 for task in ("rise", "height")}
    lines = {"line": batch["line_labelled_KVU"].amax(1) > 0}
    return {task: known.sum().float() for task, known in (of_classes | lines | of_metres).items()}


def superstructure(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Cross entropy and Dice of the classes a sample shows."""
    label_BYX = batch["superstructure_YX"].long()
    logit_BSYX = upsampled(outputs["superstructure_BSVU"])
    entropy = functional.cross_entropy(logit_BSYX, label_BYX, ignore_index=IGNORE, reduction="sum")
    return entropy + dice_of_classes(logit_BSYX.softmax(1), label_BYX)


def face(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Cross entropy of the sector, and the absolute error of both slopes (rise over run) on faces."""
    label_BPVU = cells(batch["face_YX"]).long()
    known_BPVU, is_face_BPVU = label_BPVU != IGNORE, label_BPVU < NO_FACE
    log_BFVU = outputs["face_BFVU"].log_softmax(1)
    log_BPVU = log_BFVU.gather(1, torch.where(known_BPVU, label_BPVU, 0))
    wrong = -torch.where(known_BPVU, log_BPVU, 0.0).sum()
    for axis in range(2):
        slope_BPVU = torch.where(is_face_BPVU, cells(batch["slope_GYX"][:, axis]), 0.0)
        answer_BPVU = torch.where(is_face_BPVU, outputs["slope_BGVU"][:, axis, None], 0.0)
        wrong = wrong + (answer_BPVU - slope_BPVU).abs().sum()
    return wrong


def outline(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Binary cross entropy and Dice of roofs, and of the band along their boundaries."""
    label_BYX = batch["outline_YX"]
    known_BYX, roof_BYX = label_BYX != IGNORE, label_BYX == 1
    truths = roof_BYX, band(roof_BYX, known_BYX & ~roof_BYX)
    pairs = zip(upsampled(outputs["outline_BOVU"]).unbind(1), truths, strict=True)
    return torch.stack([two_classes(logit_BYX, truth_BYX, known_BYX) for logit_BYX, truth_BYX in pairs]).sum()


def line(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Closeness of every labelled type, direction near lines, and junctions; per cell the mean over its types."""
    known_BKVU = batch["line_labelled_KVU"] > 0
    close_BKVU = torch.where(known_BKVU, batch["closeness_KVU"], 0.0)
    types_BVU = known_BKVU.sum(1).clamp(min=1)
    each_BKVU = soft_entropy(outputs["line_BKVU"], close_BKVU, known_BKVU)
    total = (each_BKVU.sum(1) / types_BVU).sum()

    any_BVU = known_BKVU.any(1)
    near_BVU = torch.where(known_BKVU[:, UNTYPED], close_BKVU[:, UNTYPED], 0.0)
    error_BVU = (outputs["direction_BDVU"] - batch["direction_DVU"]).abs().sum(1)
    total = total + torch.where(near_BVU > 0, error_BVU * near_BVU, 0.0).sum()
    return total + soft_entropy(outputs["junction_BVU"], torch.where(any_BVU, batch["junction_VU"], 0.0), any_BVU).sum()


def rise(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Error of the height above the eave."""
    return metres(outputs["rise_BVU"], batch["rise_YX"], batch["rise_labelled_YX"] > 0)


def height(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Error of the height above ground."""
    return metres(outputs["height_BVU"], batch["height_YX"], batch["height_labelled_YX"] > 0)


PARTS: dict[str, tuple[str, Callable[[Mapping[str, Tensor], Batch], Tensor]]] = {
    "superstructure": ("superstructure_BSVU", superstructure),
    "face": ("face_BFVU", face),
    "outline": ("outline_BOVU", outline),
    "line": ("line_BKVU", line),
    "rise": ("rise_BVU", rise),
    "height": ("height_BVU", height),
}
"""Task -> the map that shows it is learnt, and its loss."""


def dice_of_classes(probability_BSYX: Tensor, label_BYX: Tensor) -> Tensor:
    """Labelled pixels of a sample times 1 - the mean Dice of the classes it shows, summed over samples."""
    known_BYX = label_BYX != IGNORE
    classes = torch.arange(probability_BSYX.shape[1], device=label_BYX.device)
    truth_BSYX = label_BYX[:, None] == classes[:, None, None]
    probability_BSYX = torch.where(known_BYX[:, None], probability_BSYX, 0.0)
    both_BS, truth_BS = (probability_BSYX * truth_BSYX).sum((2, 3)), truth_BSYX.sum((2, 3))
    loss_BS = 1 - (2 * both_BS + 1) / (probability_BSYX.sum((2, 3)) + truth_BS + 1)
    shown_BS = truth_BS > 0
    loss_B = torch.where(shown_BS, loss_BS, 0.0).sum(1) / shown_BS.sum(1).clamp(min=1)
    return (loss_B * known_BYX.sum((1, 2))).sum()


def two_classes(logit_BYX: Tensor, truth_BYX: Tensor, known_BYX: Tensor) -> Tensor:
    """Binary cross entropy of labelled pixels, and Dice."""
    logit_BYX = torch.where(known_BYX, logit_BYX, 0.0)
    each_BYX = functional.binary_cross_entropy_with_logits(logit_BYX, truth_BYX.float(), reduction="none")
    return torch.where(known_BYX, each_BYX, 0.0).sum() + dice(logit_BYX.sigmoid(), truth_BYX, known_BYX)


def dice(probability_BYX: Tensor, truth_BYX: Tensor, known_BYX: Tensor) -> Tensor:
    """Labelled pixels of a sample times 1 - (2 sum(p t) + 1) / (sum p + sum t + 1), summed over samples."""
    probability_BYX = torch.where(known_BYX, probability_BYX, 0.0)
    truth_BYX = truth_BYX & known_BYX
    both_B, all_B = (probability_BYX * truth_BYX).sum((1, 2)), probability_BYX.sum((1, 2)) + truth_BYX.sum((1, 2))
    return ((1 - (2 * both_B + 1) / (all_B + 1)) * known_BYX.sum((1, 2))).sum()


def soft_entropy(logit: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy of a soft target less the target's own entropy, 1 + 9 target times; 0 where not known."""
    logit = torch.where(known, logit, 0.0)
    own = torch.special.entr(target) + torch.special.entr(1 - target)
    each = functional.binary_cross_entropy_with_logits(logit, target, reduction="none") - own
    return torch.where(known, each * (1 + RARE * target), 0.0)


def metres(answer_BVU: Tensor, truth_BYX: Tensor, known_BYX: Tensor) -> Tensor:
    """Absolute error in metres plus mean(d^2) - 0.5 mean(d)^2 with d = log(1 + answer) - log(1 + truth).

    The second part is that of Eigen et al. (NIPS 2014), of 1 + h because the ground is 0; the means are a sample's and
    count with its labelled pixels.
    """
    answer_BYX = torch.where(known_BYX, upsampled(answer_BVU[:, None])[:, 0], 0.0)
    truth_BYX = torch.where(known_BYX, truth_BYX, 0.0)
    d_BYX = answer_BYX.log1p() - truth_BYX.clamp(min=0).log1p()
    known_B = known_BYX.sum((1, 2)).clamp(min=1)
    scale_free = (d_BYX**2).sum() - SCALE_FREE * (d_BYX.sum((1, 2)) ** 2 / known_B).sum()
    return (answer_BYX - truth_BYX).abs().sum() + scale_free


def band(inside_BYX: Tensor, outside_BYX: Tensor) -> Tensor:
    """Whether a pixel is within `BAND` pixels of both sides of a boundary."""
    sides = [functional.max_pool2d(side.float(), 2 * BAND + 1, 1, BAND) > 0 for side in (inside_BYX, outside_BYX)]
    return sides[0] & sides[1]


def cells(value_BYX: Tensor) -> Tensor:
    """Pixels (B, Y, X) by cell: (B, 16, V, U)."""
    rows, columns = value_BYX.shape[1] // STRIDE, value_BYX.shape[2] // STRIDE
    return value_BYX.reshape(-1, rows, STRIDE, columns, STRIDE).permute(0, 2, 4, 1, 3).flatten(1, 2)


def upsampled(value_BCVU: Tensor) -> Tensor:
    """A map at full resolution, bilinear; cells keep their places."""
    return functional.interpolate(value_BCVU, scale_factor=float(STRIDE), mode="bilinear", align_corners=False)
