"""From features at strides 4, 8, 16, 32 to one map at stride 4, by a feature pyramid (Lin et al., CVPR 2017).

Decisions:
- What comes from below is added, not stacked: cheap, and the number of channels is the same everywhere.
- The decoder ends at stride 4. Heads are small there, and their maps are up-sampled, which a plan with heads at stride
  1 and 512 channels cannot pay for.

Shape legend: B batch, C channels, V U rows and columns of cells.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.roofs.models.layers import Block, ChannelNorm, convolution, double


class Pyramid(nn.Module):
    """Feature pyramid that ends at the finest of its inputs."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(convolution(width, channels, 1) for width in widths)
        self.blocks = nn.ModuleList(Block(channels) for _ in widths[:-1])
        self.norm = ChannelNorm(channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, C, V, U) at the resolution of the first of `features`, which are given finest first."""
        x_BCVU = self.sides[-1](features[-1])
        for feature, side, block in reversed(list(zip(features[:-1], self.sides, self.blocks, strict=False))):
            x_BCVU = block(side(feature) + double(x_BCVU))
        return functional.relu(self.norm(x_BCVU))
