"""Our own encoder: a small residual network whose features stand at strides 4, 8, 16 and 32.

Decisions:
- Small enough to learn on two cores: with the default width 0.9 million parameters, of which two thirds stand at
  stride 32, where they cost least.
- Full resolution is left at once by a convolution of stride 2, and features begin at stride 4: at stride 1 a 1024 x
  1024 image with 512 channels takes 2 GB, which is why the plan's model never trained.
- Channels double from level to level, so all levels cost about the same time.

Shape legend: B batch, C channels, Y X pixels, V U rows and columns of cells.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.roofs.models.layers import Block, convolution

BLOCKS = 2  # residual blocks per level
LEVELS = 4


class Residual(nn.Module):
    """Residual encoder.

    Attributes:
        widths: channels at strides 4, 8, 16, 32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = [width * 2**level for level in range(LEVELS)]
        self.stem = convolution(3, width, 4, stride=2)
        pairs = itertools.pairwise([width, *self.widths])
        self.downs = nn.ModuleList(convolution(a, b, 4 if a == b else 2, stride=2) for a, b in pairs)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Block(channels) for _ in range(BLOCKS))) for channels in self.widths
        )

    def forward(self, image_BCYX: Tensor) -> list[Tensor]:
        """Features at strides 4, 8, 16, 32 of images whose sides are multiples of 32."""
        x_BCVU = functional.relu(self.stem(image_BCYX))
        features = []
        for down, level in zip(self.downs, self.levels, strict=True):
            x_BCVU = level(down(x_BCVU))
            features.append(x_BCVU)
        return features
