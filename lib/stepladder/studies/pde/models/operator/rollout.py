"""Autoregressive rollouts: a network's own answers are its next states.

Decisions:
- A network takes a batch and returns the next state, in the shape of the present one. The batch carries everything
  else (coefficients, steps, places), so that grids, meshes and particles roll alike.
- Particles take their places with them: after a step `position` follows the state, and `before_XD` is the displacement
  that led to the state before.

Shape legend: B batch, T frames, D axes of space, C channels; X stands for all axes of space.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import number

Network = Callable[[Batch], Tensor]


def state_key(batch: Batch) -> str:
    """Name of the state in a batch: `input_XC`, `input_YXC` ..."""
    return next(name for name in batch if name.startswith("input_"))


def target_key(batch: Batch) -> str:
    """Name of the frames to forecast: `target_TXC`, `target_TYXC` ..."""
    return next(name for name in batch if name.startswith("target_"))


def position_key(batch: Batch) -> str:
    """Name of the coordinates: `position_XD`, `position_YXD` ..."""
    return next(name for name in batch if name.startswith("position_"))


def advanced(batch: Batch, state: Tensor) -> Batch:
    """The batch one step later: the same physics at a new state."""
    later = {**batch, state_key(batch): state}
    if bool((batch["equation"] == number("lagrangian")).all()):
        half = state.shape[-1] // 2
        later |= {position_key(batch): state[..., :half], "before_XD": batch[state_key(batch)][..., half:]}
    return later


def roll(network: Network, batch: Batch, steps: int) -> Tensor:
    """`steps` frames after the state of `batch`, each from the one before: (B, T, *X, C)."""
    frames = []
    for _ in range(steps):
        frames.append(network(batch))
        batch = advanced(batch, frames[-1])
    return torch.stack(frames, dim=1)
