"""A few steps of training, for tests."""

import torch
from torch import nn

from stepladder.core.types import Batch
from stepladder.studies.pde.models.operator.losses import training_loss


def learned(network: nn.Module, batch: Batch, steps: int, rate: float = 1e-2, **weights: float) -> float:
    """The one-step loss after `steps` steps on one batch."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = training_loss(network, batch, **weights)
        optimizer.zero_grad()
        loss.total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return float(training_loss(network, batch, **weights).parts["step"])
