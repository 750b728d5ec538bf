"""Mixing over periodic grids in Fourier space, with real-valued weights.

Decisions:
- Weights are pairs of real numbers, never complex parameters: distributed training has a long history of refusing
  complex tensors (pytorch #71613, #80080). The complex product is one real matrix product twice as wide.
- The transform along an axis is a product with a matrix of cosines and sines of the modes that are kept. At the few
  hundred points and some dozens of modes used here this is faster on a CPU than an FFT of which most is thrown away
  (128 points, 32 modes: 7.0 against 12.3 ms), keeps mixed precision possible, and any number of points works.
- Coefficients are means over the grid, so weights do not depend on the resolution.

Shape legend: B batch, X Y axes of space, M modes of an axis, C channels.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

_known: dict[tuple[int, int, torch.device], tuple[Tensor, Tensor]] = {}


def harmonics(points: int, modes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrices to and from the real Fourier coefficients of modes 0..modes - 1 on `points` equidistant points.

    They are made once and kept, unless they are fake tensors, which a count of memory or operations asks for.

    Returns:
        (2M, X), cosines above negative sines, with 1 / points in it; and its inverse on band-limited functions (X, 2M).
    """
    place = (points, modes, device)
    if place in _known:
        return _known[place]
    with torch.inference_mode(False):  # training takes them too
        made = _harmonics(points, modes, device)
    if type(made[0]) is Tensor:
        _known[place] = made
    return made


def _harmonics(points: int, modes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    angle_MX = 2 * math.pi * torch.outer(torch.arange(modes), torch.arange(points) / points)
    there = torch.cat([angle_MX.cos(), -angle_MX.sin()])
    # A real field's negative modes mirror the positive ones: all but the mean count twice on the way back.
    weight_M1 = torch.full((modes, 1), 2.0)
    weight_M1[0] = 1.0
    if 2 * (modes - 1) == points:
        weight_M1[-1] = 1.0  # the highest mode of an even grid is its own mirror image
    return (there / points).to(device), (there * weight_M1.repeat(2, 1)).T.contiguous().to(device)


class SpectralMix(nn.Module):
    """Channels mixed mode by mode along each axis, axes summed: a global periodic convolution (B, *X, C) -> (B, *X, C).

    One axis: the layer of the Fourier neural operator (Li et al., ICLR 2021). Several: its factorised form
    (Tran et al., ICLR 2023), whose weights grow with the modes of an axis, not with their product.

    Args:
        axes: axes of space.
        channels: channels in and out.
        modes: modes kept of each axis; at most half the points + 1.
    """

    def __init__(self, axes: int, channels: int, modes: int) -> None:
        super().__init__()
        scale = 0.5 / math.sqrt(channels * axes)
        self.weight_DMPCC = nn.Parameter(scale * torch.randn(axes, modes, 2, channels, channels))

    def forward(self, x: Tensor, scale_BC: Tensor | None = None) -> Tensor:
        """`x` (B, *X, C); `scale` multiplies the answer's channels, in Fourier space where that costs the least."""
        total: Any = sum(self._along(x, axis + 1, one, scale_BC) for axis, one in enumerate(self.weight_DMPCC))
        return total

    def _along(self, x: Tensor, axis: int, weight_MPCC: Tensor, scale_BC: Tensor | None) -> Tensor:
        x = x.movedim(axis, -2)
        points, modes = x.shape[-2], min(len(weight_MPCC), x.shape[-2] // 2 + 1)
        there, back = harmonics(points, modes, x.device)
        rest, channels = x.shape[:-2], x.shape[-1]
        # Cosine and sine coefficients by one matrix product along the axis; all other axes are folded into rows.
        spectrum = (there.to(x.dtype) @ x.reshape(-1, points, channels)).unflatten(1, (2, modes))
        spectrum_MNC = spectrum.permute(2, 0, 1, 3).flatten(2)  # real beside imaginary part
        # One matrix per mode: the complex product as a real one twice as wide.
        mixed = torch.bmm(spectrum_MNC, pair_matrix(weight_MPCC[:modes])).unflatten(2, (2, channels))
        mixed_NMC = mixed.permute(1, 2, 0, 3).flatten(1, 2)
        # Scaling commutes with the inverse transform, and there are mostly fewer coefficients than points.
        if scale_BC is not None:
            mixed_NMC = (mixed_NMC.unflatten(0, (len(x), -1)) * scale_BC[:, None, None]).flatten(0, 1)
        return (back.to(x.dtype) @ mixed_NMC).unflatten(0, rest).movedim(-2, axis)


def diffused(u_BXC: Tensor, spread_B: Tensor) -> Tensor:
    """Fields after u_t = nu u_xx for a time dt, on one periodic axis: mode k fades by exp(-(2 pi k)^2 spread).

    Args:
        u_BXC: the fields.
        spread_B: nu dt / length^2 of each sample.
    """
    spectrum_BKC = torch.fft.rfft(u_BXC, dim=1)
    wave_K = 2 * math.pi * torch.arange(spectrum_BKC.shape[1], device=u_BXC.device)
    # Exact: diffusion is diagonal in Fourier space.
    left_BK = torch.exp(-spread_B[:, None] * wave_K.square())
    return torch.fft.irfft(spectrum_BKC * left_BK[..., None], n=u_BXC.shape[1], dim=1)


def pair_matrix(weight_MPCC: Tensor) -> Tensor:
    """Pairs of real matrices (real, imaginary part) as the real matrices of the complex products: (M, 2C, 2C)."""
    real, imaginary = weight_MPCC.unbind(1)
    return torch.cat([torch.cat([real, imaginary], -1), torch.cat([-imaginary, real], -1)], -2)
