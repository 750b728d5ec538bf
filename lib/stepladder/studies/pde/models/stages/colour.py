"""The spectrum of residuals: noise that is drawn with it has the scales of what it is to become.

A forecast's error is smooth where viscosity smooths, so white noise would have to be taken off again at every wave
number that holds almost nothing, and what is left of it grows in a rollout. Here every ring of wave numbers has a size.

Decisions:
- Rings are those of `floor(|k|)`; wave numbers beyond the last ring share its size. So the module needs no grid size.
- The transform is orthonormal: whitened residuals have unit variance.

Shape legend: B batch, X (in `*X`: all axes) points, K rings, C fields.
"""

from typing import Any

import torch
from torch import Tensor, nn

from stepladder.studies.pde.data import scales

TINY = 1e-12


class Colour(nn.Module):
    """Sizes of residuals by wave number, on periodic grids.

    Args:
        fields: of the state.
        rings: wave numbers that have a size of their own.
    """

    def __init__(self, fields: int, rings: int) -> None:
        super().__init__()
        self.scale_KC: Tensor
        self.register_buffer("scale_KC", torch.ones(rings, fields))
        self.fitted: Tensor
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, residual: Tensor) -> None:
        """Take the sizes from examples (B, *X, C): root mean squares over samples and the wave numbers of a ring."""
        # Mean power of every wave number, summed by ring and divided by the number of wave numbers in it.
        power = scales.over_processes(_spectrum(residual).abs().square().sum(0).flatten(0, -2))
        power = power / scales.over_processes(power.new_full((1,), len(residual)))
        ring, rings = self._rings(residual).flatten(), len(self.scale_KC)
        total = torch.zeros_like(self.scale_KC).index_add_(0, ring, power)
        count = torch.bincount(ring, minlength=rings)[:, None]
        known = (total / count.clamp_min(1)).sqrt().clamp_min(TINY)
        last = int(ring.max())  # a coarse grid has fewer rings
        self.scale_KC.copy_(known[torch.arange(rings, device=ring.device).clamp_max(last)])
        self.fitted.fill_(True)

    def whitened(self, residual: Tensor) -> Tensor:
        """Residuals (B, *X, C) with the same size at all wave numbers."""
        return self._scaled(residual, 1 / self.scale_KC)

    def coloured(self, white: Tensor) -> Tensor:
        """The inverse of `whitened`."""
        return self._scaled(white, self.scale_KC)

    def _scaled(self, x: Tensor, scale_KC: Tensor) -> Tensor:
        axes = tuple(range(1, x.ndim - 1))
        spectrum = _spectrum(x) * scale_KC[self._rings(x)]
        return torch.fft.irfftn(spectrum, s=x.shape[1:-1], dim=axes, norm="ortho")

    def _rings(self, x: Tensor) -> Tensor:
        """Ring of every wave number of the half spectrum of a grid."""
        *others, last = x.shape[1:-1]
        # Whole wave numbers of each axis; the last one has only the half spectrum of a real field.
        numbers = [torch.fft.fftfreq(size, 1 / size, device=x.device) for size in others]
        numbers.append(torch.fft.rfftfreq(last, 1 / last, device=x.device))
        squares: Any = sum(grid.square() for grid in torch.meshgrid(*numbers, indexing="ij"))
        return squares.sqrt().floor().long().clamp_max(len(self.scale_KC) - 1)


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfftn(x, dim=tuple(range(1, x.ndim - 1)), norm="ortho")
