"""What encoder, decoder and heads are made of.

Decisions:
- Norms see one cell at a time (layer norm over channels, as in ConvNeXt, Liu et al., CVPR 2022): statistics over a
  batch would make a step depend on how it is divided, and over a map they would make a raster's result depend on its
  tiles.
- Whatever changes resolution is symmetric (even kernels down, bilinear up), so a cell stands exactly over its own
  pixels: no half-pixel shift, and a mirrored image gives mirrored cells wherever the weights are symmetric.

Shape legend: B batch, C channels, V U rows and columns of cells.
"""

from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every cell by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_BCVU: Tensor) -> Tensor:
        """Features (B, C, V, U)."""
        return self.norm(x_BCVU.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a straight way: x + conv(act(norm(conv(act(norm(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = ChannelNorm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = ChannelNorm(channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCVU: Tensor) -> Tensor:
        """Features (B, C, V, U) of the shape of the input."""
        y_BCVU = self.conv1(functional.relu(self.norm1(x_BCVU)))
        return x_BCVU + self.conv2(functional.relu(self.norm2(y_BCVU)))


def half(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 4 x 4 convolution of stride 2 whose cells stand over the middle of what they see."""
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def double(x_BCVU: Tensor) -> Tensor:
    """Features at twice the resolution, bilinear."""
    return functional.interpolate(x_BCVU, scale_factor=2.0, mode="bilinear", align_corners=False)
