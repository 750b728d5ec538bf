"""What decides the physics, as one vector: coefficients, steps, boundary type, equation; and how blocks listen to it.

Decisions:
- A coefficient enters three times: by sign and order of magnitude (viscosities differ by powers of ten), as it is, and
  times dt, because what moves a field is speed x time: a linear function of it is a distance.
- Blocks are steered by AdaLN (Peebles and Xie, ICCV 2023): the vector gives scale, shift and gate. They start at
  "no change, gate open", so that an untrained network already computes and trains from the first step on.

Shape legend: B batch, K coefficients, W width of the vector, C channels; X stands for all axes of space.
"""

import torch
from torch import Tensor, nn

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import BOUNDARIES, COEFFICIENTS, EQUATIONS

FINEST = 1e-4  # coefficients below it look like 0
FEATURES = 3 * len(COEFFICIENTS) + 2


def features(batch: Batch) -> Tensor:
    """Numbers of a batch that describe the physics, about 1 in size: (B, `FEATURES`)."""
    coefficient_BK, dx_B1, dt_B1 = (
        batch["coefficient_K"].float(),
        batch["dx"].float()[:, None],
        batch["dt"].float()[:, None],
    )
    magnitude_BK = torch.asinh(coefficient_BK / FINEST) / 4
    steps = [torch.log10(dx_B1 + FINEST) / 2, torch.log10(dt_B1 + FINEST) / 2]
    return torch.cat([magnitude_BK, coefficient_BK, coefficient_BK * dt_B1, *steps], dim=-1)


class Conditioning(nn.Module):
    """Batch -> one vector per sample, from `coefficient_K`, `dx`, `dt`, `equation` and `boundary`.

    Args:
        width: length of the vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.equation, self.boundary = nn.Embedding(len(EQUATIONS), width), nn.Embedding(len(BOUNDARIES), width)
        self.numbers = nn.Sequential(nn.Linear(FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, batch: Batch) -> Tensor:
        """The vector (B, W)."""
        named_BW = self.equation(batch["equation"]) + self.boundary(batch["boundary"])
        return nn.functional.silu(self.numbers(features(batch)) + 0.1 * named_BW)


class Modulation(nn.Module):
    """Scale, shift and gate of one layer: `condition` (B, W) -> three (B, 1, C); starts at scale 1, shift 0, gate 1."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 3 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition_BW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, shift, gate, each (B, 1, C), to be used as `scale * x + shift` and `gate * y`."""
        scale, shift, gate = self.linear(condition_BW)[:, None].chunk(3, dim=-1)
        return 1 + scale, shift, 1 + gate
