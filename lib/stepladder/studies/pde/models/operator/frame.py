"""The co-moving frame: equations that look the same to every uniformly moving observer are solved where the mean rests.

u_t + u u_x = ... keeps its form under u -> u - c, x -> x - c t (Galilei). So a network need not learn the same wave at
every mean velocity: the state is seen by an observer who moves with its mean, and the answer is moved back.

Decisions:
- The observer's velocity is rounded to whole grid points per step, so moving there and back is exact. What is left of
  the mean (at most half a point per step) stays in the state, where the network sees it.
- Only equations in `GALILEAN`, on periodic grids of one axis, have such an observer; for all others the velocity is 0.

Shape legend: B batch, T frames, X points, K modes, C channels.
"""

import math

import torch
from torch import Tensor

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import BOUNDARIES, number

GALILEAN = ("burgers", "korteweg_de_vries")
TINY = 1e-9  # steady problems have no dt


def galilean(batch: Batch) -> Tensor:
    """Whether each sample's equation and boundary allow a moving observer: bool (B,)."""
    numbers = torch.tensor([number(name) for name in GALILEAN], device=batch["equation"].device)
    return torch.isin(batch["equation"], numbers) & (batch["boundary"] == BOUNDARIES.index("periodic"))


def observer(batch: Batch, state_BXC: Tensor) -> Tensor:
    """Points per step, a whole number, that the observer of each sample moves: int64 (B,)."""
    points_B = torch.round(state_BXC.mean((1, 2)) * batch["dt"] / batch["dx"].clamp_min(TINY))
    return torch.where(galilean(batch), points_B, 0.0).long()


def velocity(batch: Batch, points_B: Tensor) -> Tensor:
    """The observer's velocity in the units of the state: (B, 1, 1)."""
    return (points_B * batch["dx"] / batch["dt"].clamp_min(TINY))[:, None, None]


def rolled(state_BXC: Tensor, points_B: Tensor) -> Tensor:
    """Every sample moved by its number of points on its periodic grid."""
    places_BX = (torch.arange(state_BXC.shape[1], device=state_BXC.device) - points_B[:, None]) % state_BXC.shape[1]
    return state_BXC.gather(1, places_BX[..., None].expand_as(state_BXC))


def moved(u_BTXC: Tensor, distance_BT: Tensor) -> Tensor:
    """Fields moved along their periodic axis by `distance` (in periods)."""
    points = u_BTXC.shape[2]
    spectrum_BTKC = torch.fft.rfft(u_BTXC, dim=2)
    angle_BTK = -2 * math.pi * distance_BT[..., None] * torch.arange(spectrum_BTKC.shape[2], device=u_BTXC.device)
    turned = spectrum_BTKC * torch.polar(torch.ones_like(angle_BTK), angle_BTK)[..., None]
    return torch.fft.irfft(turned, n=points, dim=2)
