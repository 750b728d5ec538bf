"""Losses in field space: relative errors of a reconstruction, of one step, and of a short rollout.

Decisions:
- Errors are relative, per sample and frame: a quiet state counts as much as a violent one. In a careful study of
  PDEBench's networks (pdebench-fno-audit) this alone halved the error.
- The rollout part trains a network on its own answers; it costs as many passes as frames, so it is off by default: at
  equal CPU time one step with more updates was better (research: .104 against .171).
- Reconstruction trains encoder and any-point decoder without time, so that tokens mean fields.

Shape legend: B batch, T frames, C channels; X stands for all axes of space.
"""

from typing import Any

import torch
from torch import Tensor

from stepladder.core.types import Batch, Loss
from stepladder.studies.pde.models.operator.rollout import advanced, state_key, target_key

TINY = 1e-8


def relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Norm of the error over norm of the truth, over space, per sample and channel; their mean. Both are (B, *X, C)."""
    axes = tuple(range(1, truth.ndim - 1))
    error_BC = (prediction - truth).square().sum(axes)
    return (error_BC / truth.square().sum(axes).clamp_min(TINY) + TINY**2).sqrt().mean()


def training_loss(network: Any, batch: Batch, reconstruct: float = 0.0, unrolled: float = 0.0) -> Loss:
    """One step, plus `reconstruct` x reconstruction, plus `unrolled` x the mean error of later frames."""
    truth, answer = batch[target_key(batch)], network(batch)
    parts = {"step": relative_l2(answer, truth[:, 0])}
    total = parts["step"]
    if reconstruct:
        parts["reconstruct"] = relative_l2(network.reconstruct(batch), batch[state_key(batch)])
        total = total + reconstruct * parts["reconstruct"]
    if unrolled and truth.shape[1] > 1:
        errors = []
        for frame in truth[:, 1:].unbind(1):
            batch = advanced(batch, answer)
            answer = network(batch)
            errors.append(relative_l2(answer, frame))
        parts["unrolled"] = torch.stack(errors).mean()
        total = total + unrolled * parts["unrolled"]
    return Loss(total, {name: part.detach() for name, part in parts.items()})
