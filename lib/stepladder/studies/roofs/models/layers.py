"""What encoder, decoder and heads are made of.

Decisions:
- The encoder has no norms. Statistics over a batch would make a step depend on how it is divided; over a map they would
  make a raster's result depend on its tiles; over the channels of a cell they hide how strong an edge is. Blocks that
  start as the identity need none (Zhang et al., Fixup, ICLR 2019). Measured on RID: after 100 steps at a rate of 0.001
  roofs have an IoU of 0.60 without norms, 0.42 with those over channels.
- Where maps are read off, features are brought to one size, each cell by itself.
- Whatever changes resolution is symmetric (even kernels down, bilinear up), so a cell stands exactly over its own
  pixels and nothing is moved by half a pixel.

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
    """Two 3 x 3 convolutions beside a straight way: x + conv(act(conv(act(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolution(channels, channels, 3), convolution(channels, channels, 3)
        nn.init.zeros_(self.conv2.weight)  # a fresh block changes nothing

    def forward(self, x_BCVU: Tensor) -> Tensor:
        """Features (B, C, V, U) of the shape of the input."""
        return x_BCVU + self.conv2(functional.relu(self.conv1(functional.relu(x_BCVU))))


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of what comes in; its cells stand over the middle of what they see.

    An even kernel needs stride 2.
    """
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=(kernel - stride) // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def double(x_BCVU: Tensor) -> Tensor:
    """Features at twice the resolution, bilinear."""
    return functional.interpolate(x_BCVU, scale_factor=2.0, mode="bilinear", align_corners=False)
