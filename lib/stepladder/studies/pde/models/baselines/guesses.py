"""Guesses that need neither training nor a solver: nothing changes, or everything is at its mean.

Decisions:
- The spatial mean of the state is a legal guess where the mean is conserved, and a good one late: it stands in every
  table. Persistence alone would flatter any network.
- Particles go straight on, or stand still.
"""

import torch
from torch import Tensor

from stepladder.core.types import Batch, Prediction
from stepladder.studies.pde.data.dataset import key


def answer_name(batch: Batch) -> str:
    """Key of the forecast of a batch: `u_BTXC`, `u_BTYXC` ... by its grid."""
    return key(batch, "target_").replace("target_", "u_B")


def persistence(batch: Batch) -> Prediction:
    """Nothing changes; particles keep their velocity; a steady answer is 0."""
    state, truth = batch[key(batch, "input_")], batch[key(batch, "target_")]
    if state.shape[-1] != truth.shape[-1] or _steady(batch):
        return {answer_name(batch): torch.zeros_like(truth)}
    if "type_X" in batch:
        return {answer_name(batch): _straight_on(state, truth)}
    return {answer_name(batch): state[:, None].expand_as(truth).clone()}


def spatial_mean(batch: Batch) -> Prediction:
    """The mean of the state everywhere; of particles, they stand still; of a steady problem, 0."""
    state, truth = batch[key(batch, "input_")], batch[key(batch, "target_")]
    if _steady(batch):
        return {answer_name(batch): torch.zeros_like(truth)}
    if "type_X" in batch:
        still = torch.cat(
            [state[..., : state.shape[-1] // 2], torch.zeros_like(state[..., state.shape[-1] // 2 :])], -1
        )
        return {answer_name(batch): still[:, None].expand_as(truth).clone()}
    mean = state.mean(tuple(range(1, state.ndim - 1)), keepdim=True)
    return {answer_name(batch): mean[:, None].expand_as(truth).clone()}


def _steady(batch: Batch) -> bool:
    return bool((batch["dt"] == 0).any())


def _straight_on(state: Tensor, truth: Tensor) -> Tensor:
    """Particles with constant velocity."""
    half = state.shape[-1] // 2
    frames = torch.arange(1, truth.shape[1] + 1, device=state.device, dtype=state.dtype)
    moved = state[:, None, :, :half] + frames[:, None, None] * state[:, None, :, half:]
    return torch.cat([moved, state[:, None, :, half:].expand_as(moved)], dim=-1)
