"""The Fourier neural operator (Li et al., ICLR 2021), the baseline every operator paper is held against.

Decisions:
- As published: lift, four layers of spectral mixing beside a pointwise layer with GELU between, a two-layer head. It
  predicts an increment, which a careful re-training found better than the state itself.
- Several axes keep the published joint modes (both signs on all axes but the last), with weights as real pairs.
- The physics enters after the lift, as a linear function of the conditioning features, the same at every point.

Shape legend: B batch, X (in `*X`: all axes) points, M modes, C channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch
from stepladder.studies.pde.models.operator.conditioning import FEATURES, features
from stepladder.studies.pde.models.operator.rollout import state_key
from stepladder.studies.pde.models.operator.spectral import SpectralMix, pair_matrix


class FNO(nn.Module):
    """Fourier neural operator on periodic grids.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        channels: channels of the hidden layers.
        modes: Fourier modes kept of each axis.
        layers: spectral layers.
        answers: channels of the answer of a steady problem; None: the next state.
    """

    def __init__(
        self, axes: int, fields: int, channels: int = 32, modes: int = 32, layers: int = 4, answers: int | None = None
    ) -> None:
        super().__init__()
        mix = SpectralMix if axes == 1 else JointSpectralMix
        self.steady = answers is not None
        self.lift, self.physics = nn.Linear(fields, channels), nn.Linear(FEATURES, channels)
        self.spectral = nn.ModuleList(mix(axes, channels, modes) for _ in range(layers))
        self.pointwise = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(channels, 128), nn.GELU(), nn.Linear(128, answers or fields))

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, *X, C)."""
        state = batch[state_key(batch)]
        x = self.lift(state) + everywhere(self.physics(features(batch)), state)
        for number, (spectral, pointwise) in enumerate(zip(self.spectral, self.pointwise, strict=True), 1):
            x = spectral(x) + pointwise(x)
            if number < len(self.spectral):
                x = functional.gelu(x)
        answer = self.head(x)
        return answer if self.steady else state + answer


class JointSpectralMix(nn.Module):
    """Channels mixed at every joint mode of all axes: (B, *X, C) -> (B, *X, C).

    Args:
        axes: axes of space, two or more.
        channels: channels in and out.
        modes: modes kept of each axis: 0..modes - 1 of the last, both signs of the others; at most half the points.
    """

    def __init__(self, axes: int, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        shape = [2 * modes] * (axes - 1) + [modes]
        self.weight_MPCC = nn.Parameter(
            0.5 / math.sqrt(channels) * torch.randn(math.prod(shape), 2, channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The mixed channels (B, *X, C) of `x`, of the same shape."""
        shape, axes = x.shape[1:-1], tuple(range(1, x.ndim - 1))
        if 2 * self.modes > min(shape):
            raise ValueError(f"model.modes = {self.modes}: {tuple(shape)} points show {min(shape) // 2} at most")
        x = x.float()  # there is no transform of 16 bits
        spectrum = torch.fft.rfftn(x, dim=axes, norm="forward")
        kept = spectrum[self._corner(shape)]
        pairs_MBC = torch.view_as_real(kept.flatten(1, -2)).permute(1, 0, 3, 2).flatten(2)
        mixed_MBC = torch.bmm(pairs_MBC, pair_matrix(self.weight_MPCC)).float()
        mixed_BMC2 = mixed_MBC.unflatten(2, (2, -1)).permute(1, 0, 3, 2)
        placed = torch.zeros_like(spectrum)
        placed[self._corner(shape)] = torch.view_as_complex(mixed_BMC2.contiguous()).view_as(kept)
        return torch.fft.irfftn(placed, s=shape, dim=axes, norm="forward")

    def _corner(self, shape: torch.Size) -> tuple:
        """Index of the kept modes in a spectrum of a grid of `shape`."""
        low = torch.arange(self.modes)
        signs = [torch.cat([low, size - self.modes + low]) for size in shape[:-1]]
        return (slice(None), *torch.meshgrid(*signs, low, indexing="ij"))


def everywhere(vector_BC: Tensor, state: Tensor) -> Tensor:
    """One vector per sample, at every point of the state's grid."""
    return vector_BC.view(len(vector_BC), *[1] * (state.ndim - 2), -1)
