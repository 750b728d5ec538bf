"""What training makes small: how unlikely the assistant's tokens are, of the arm that the phase trains.

Decisions:
- The mean over the supervised tokens of a sample, then over samples: a batch may be divided however one likes, and a
  long caption does not outweigh an answer of one word.
- The phase is the arm: text alone for the language model, each control for itself, and the trained arm.

Shape legend: B batch, T tokens, V vocabulary.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from stepladder.core.types import Batch, Loss, TrainingPhase
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.models.network import Captioner

ARM_OF_PHASE: Final = {"language": "text_only", "world_constant": "world_constant", "pooled": "pooled"}


def loss(model: Captioner, batch: Batch, phase: TrainingPhase) -> Loss:
    """Mean negative log-probability per supervised token, in nats; part `correct`: how many are the likeliest."""
    read, x_BTH = model.read(batch, ARM_OF_PHASE.get(phase.name, "trained"))
    logits_BTV = model.logits(x_BTH, read["kinds_T"])[:, :-1].float()
    labels_BT = read["labels_T"][:, 1:]
    nats_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), labels_BT, ignore_index=IGNORED, reduction="none")
    right_BT = (logits_BTV.detach().argmax(2) == labels_BT).float()
    return Loss(by_sample(nats_BT, labels_BT), {"correct": by_sample(right_BT, labels_BT)})


def by_sample(values_BT: Tensor, labels_BT: Tensor) -> Tensor:
    """The mean over supervised positions of each sample, then over samples."""
    supervised_BT = labels_BT != IGNORED
    sums_B = torch.where(supervised_BT, values_BT, 0.0).sum(1)
    return (sums_B / supervised_BT.sum(1).clamp(min=1)).mean()
