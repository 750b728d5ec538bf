"""Forces between pairs of particles: what one end of an edge gains in momentum, the other loses.

Decisions:
- A force acts along the line between its two ends, and its strength is a function of their distance and of the sum of
  what is known about them. So momentum is conserved exactly, whatever the network has learnt: this is the
  conservative head of particles, as taking the mean off is that of grids.
- Distances are in units of the mean spacing, and told as they are and as logarithm. Strengths fall off as a power of
  the distance that is learnt: forces between atoms vary over orders of magnitude, and the weak ones act the longest.

Shape legend: B batch, X particles, E edges, D axes of space, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde.data.places import short_way, take

FALL = 4.0  # power of the distance, to begin with
SMALLEST = 0.1  # distance whose power is told, in mean spacings


class PairForces(nn.Module):
    """Features of particles -> the sum of forces on each of them: (B, X, W) -> (B, X, D).

    Args:
        width: length of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.known, self.distance = nn.Linear(width, width), nn.Linear(2, width)
        self.strength = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        self.fall = nn.Parameter(torch.tensor([FALL]))  # with an axis, along which FSDP can divide it

    def forward(self, point_BXW: Tensor, place_BXD: Tensor, edge_BE2: Tensor) -> Tensor:
        """Forces; every edge stands once, those of -1 are padding."""
        real_BE1 = (edge_BE2[..., :1] >= 0).to(point_BXW.dtype)
        one_BE, two_BE = edge_BE2.clamp_min(0).unbind(-1)
        spacing = place_BXD.shape[1] ** (-1 / place_BXD.shape[2])
        offset_BED = short_way(take(place_BXD, one_BE) - take(place_BXD, two_BE)) / spacing
        far_BE1 = offset_BED.norm(dim=-1, keepdim=True).clamp_min(SMALLEST)
        known_BXW = self.known(functional.layer_norm(point_BXW, point_BXW.shape[-1:]))
        both_BEW = take(known_BXW, one_BE) + take(known_BXW, two_BE)
        strength_BE1 = self.strength(both_BEW + self.distance(torch.cat([far_BE1, far_BE1.log()], dim=-1)))
        force_BED = strength_BE1 * far_BE1 ** -(self.fall + 1) * offset_BED * real_BE1
        on_BXD = torch.zeros_like(place_BXD).scatter_add(1, one_BE[..., None].expand_as(force_BED), force_BED)
        return on_BXD.scatter_add(1, two_BE[..., None].expand_as(force_BED), -force_BED)
