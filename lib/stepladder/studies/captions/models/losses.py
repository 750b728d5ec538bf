"""What training makes small: how unlikely the assistant's tokens are, of the arm that the phase trains.

Decisions:
- The mean over the supervised tokens of a sample, then over samples: a batch may be divided however one likes, and a
  long caption does not outweigh an answer of one word.
- The phase is the arm: each control for itself, and the trained arm. The language model learns from text alone, with
  words in the places of pictures (see `told`).

Shape legend: B batch, T tokens, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional

from stepladder.core.types import Batch, Check, Loss, TrainingPhase
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.models import told
from stepladder.studies.captions.models.network import Captioner


def loss(model: Captioner, batch: Batch, phase: TrainingPhase) -> Loss:
    """Mean negative log-probability per supervised token, in nats; part `correct`: how many are the likeliest."""
    if phase.name == "language":
        read, x_BTH = told.in_words(model.language, batch, model.tokenizer.special.margin)
    else:
        read, x_BTH = model.read(batch, phase.name if phase.name in model.controls else "trained")
    logits_BTV = model.logits(x_BTH, read["kinds_T"])[:, :-1].float()
    labels_BT = read["labels_T"][:, 1:]
    nats_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), labels_BT, ignore_index=IGNORED, reduction="none")
    right_BT = (logits_BTV.detach().argmax(2) == labels_BT).float()
    return Loss(by_sample(nats_BT, labels_BT), {"correct": by_sample(right_BT, labels_BT)})


def can_start(batch: Batch) -> Check:
    """Whether there is something to see and something to learn in a batch: both are lost without an error.

    A collator that supervises nothing has a loss of zero, and a reader that fills in zeros one that falls all the same.
    """
    supervised_B = (batch["labels_T"] != IGNORED).sum(1)
    seen_B = [batch[name].float().flatten(1).abs().amax(1) for name in ("vision_MPF", "world_MTVUC")]
    faults = {
        "no supervised token": int((supervised_B == 0).sum()),
        "vision features that are all zero": int((seen_B[0] == 0).sum()),
        "world features that are all zero": int((seen_B[1] == 0).sum()),
    }
    told = "; ".join(f"{count} of {len(supervised_B)} samples have {what}" for what, count in faults.items() if count)
    words = f"{float(supervised_B.float().mean()):.1f} supervised tokens a sample, every picture seen"
    return Check("pictures are seen and answers are learnt", not told, told or words)


def by_sample(values_BT: Tensor, labels_BT: Tensor) -> Tensor:
    """The mean over supervised positions of each sample, then over samples."""
    supervised_BT = labels_BT != IGNORED
    sums_B = torch.where(supervised_BT, values_BT, 0.0).sum(1)
    return (sums_B / supervised_BT.sum(1).clamp(min=1)).mean()
