"""Layers at full resolution, which stand before and after the latent part of the operator on grids.

Decisions:
- Tokens carry what is global; these layers carry detail. They hear the physics as a factor on their Fourier modes,
  where it costs the least.
- A grid that is not periodic gets zeros beyond its far ends, so that what is spectral does not join its two ends.

Shape legend: B batch, X (in `*X`: all axes) points, C channels, W width of the conditioning vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde.models.operator.spectral import SpectralMix


class FineLayer(nn.Module):
    """Spectral mixing, scaled by the physics, beside a pointwise layer; then GELU: (B, *X, C) -> the same.

    Args:
        axes: axes of space.
        channels: channels in and out.
        modes: Fourier modes of each axis.
        conditioning: width of the conditioning vector.
    """

    def __init__(self, axes: int, channels: int, modes: int, conditioning: int) -> None:
        super().__init__()
        self.spectral, self.pointwise = SpectralMix(axes, channels, modes), nn.Linear(channels, channels)
        self.scale = nn.Linear(conditioning, channels)
        nn.init.zeros_(self.scale.weight)
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor, condition_BW: Tensor) -> Tensor:
        """The layer's output (B, *X, C) for `x` of that shape and `condition` (B, W)."""
        return functional.gelu(self.spectral(x, self.scale(condition_BW)) + self.pointwise(x))


def padded(x: Tensor, periodic: bool) -> Tensor:
    """A grid that is not periodic, with zeros beyond its far ends: an eighth of every axis."""
    if periodic:
        return x
    shape: Sequence[int] = x.shape[1:-1]
    return functional.pad(x, [0, 0, *[side for size in reversed(shape) for side in (0, (size + 7) // 8)]])


def cropped(x: Tensor, shape: torch.Size, periodic: bool) -> Tensor:
    """The inverse of `padded` for a grid of `shape` (B, *X, C)."""
    if periodic:
        return x
    for axis, size in enumerate(shape[1:-1], 1):
        x = x.narrow(axis, 0, size)
    return x
