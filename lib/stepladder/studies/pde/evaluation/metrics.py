"""Error measures by formula, per trajectory, for fields (..., T, *space, C) on any grid.

Sources: PDEBench (Takamoto et al., 2022) for RMSE, nRMSE, maximum, conserved, boundary and Fourier errors; The Well
(Ohana et al., 2024) for VRMSE; the space-time relative L2 is the one of the neural-operator papers. They are written
from the formulas.

Decisions:
- Every function takes prediction and truth of shape (B, T, *space, C) and returns one number per trajectory and frame,
  (B, T), fields averaged, unless it says otherwise: who averages, and in which order, is visible in the caller.
- Three relative errors in use give different numbers for the same prediction: `nrmse` divides frame by frame,
  `relative_l2` once over space and time, `vrmse` by the spread instead of the size. Tables name which.
- Where the truth is zero the ratio has a floor (`TINY`), and a perfect prediction scores 0.

Shape legend: B trajectories, T frames, C fields; space is everything between T and C.
"""

import torch
from torch import Tensor

TINY = 1e-12
LOW, HIGH = 4, 12  # first wave numbers of the middle and the high band


def _space(u: Tensor) -> tuple[int, ...]:
    return tuple(range(2, u.ndim - 1))


def rmse(prediction: Tensor, truth: Tensor) -> Tensor:
    """Root of the mean square over space, mean over fields: (B, T)."""
    return _root(prediction - truth).mean(-1)


def nrmse(prediction: Tensor, truth: Tensor) -> Tensor:
    """RMSE over the root mean square of the truth, per field and frame, mean over fields: (B, T)."""
    return (_root(prediction - truth) / _root(truth).clamp_min(TINY)).mean(-1)


def relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Norm of the error over norm of the truth, over space and time at once, mean over fields: (B,)."""
    axes = (1, *_space(truth))
    size = truth.square().sum(axes).sqrt().clamp_min(TINY)
    return ((prediction - truth).square().sum(axes).sqrt() / size).mean(-1)


def vrmse(prediction: Tensor, truth: Tensor) -> Tensor:
    """RMSE over the standard deviation of the truth, per field and frame, mean over fields: (B, T)."""
    spread = _root(truth - truth.mean(_space(truth), keepdim=True))
    return (_root(prediction - truth) / spread.clamp_min(TINY)).mean(-1)


def largest(prediction: Tensor, truth: Tensor) -> Tensor:
    """The largest error over space, averaged over fields: (B, T)."""
    return (prediction - truth).abs().amax(_space(truth)).mean(-1)


def conserved(prediction: Tensor, truth: Tensor) -> Tensor:
    """Absolute error of the mean over space (PDEBench: of the sum over cells, divided by their number): (B, T)."""
    return (prediction - truth).mean(_space(truth)).abs().mean(-1)


def boundary(prediction: Tensor, truth: Tensor) -> Tensor:
    """Root of the mean square over the cells at the grid's edges; in 2-D, as published, corners count twice: (B, T)."""
    square, total, cells = (prediction - truth).square(), 0, 0
    for axis in _space(truth):
        for place in (0, square.shape[axis] - 1):
            face = square.select(axis, place)
            total = total + face.flatten(2, -2).sum(2) if face.ndim > 3 else total + face
            cells += face.flatten(2, -2).shape[2] if face.ndim > 3 else 1
    return torch.as_tensor(total / cells).sqrt().mean(-1)


def fourier(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Error by wave number, per trajectory: means over `low` (0-3), `mid` (4-11) and `high` (12-), (B, T) each.

    In one dimension `|rfft(error)| / n`; in two and three, squares are summed over rings of integer radius
    `floor(|k|)` among the wave numbers that are not negative, as published, before the root. A band of which the grid
    shows no wave number is left out.
    """
    bands_BTKC = spectrum(prediction - truth)
    parts = {"low": bands_BTKC[:, :, :LOW], "mid": bands_BTKC[:, :, LOW:HIGH], "high": bands_BTKC[:, :, HIGH:]}
    return {name: part_BTKC.mean((2, 3)) for name, part_BTKC in parts.items() if part_BTKC.shape[2]}


def spectrum(u: Tensor) -> Tensor:
    """Amplitude by wave number: (B, T, K, C); see `fourier`."""
    axes = _space(u)
    if len(axes) == 1:
        return torch.fft.rfft(u, dim=2).abs() / u.shape[2]
    cells = u[0, 0, ..., 0].numel()
    half = [u.shape[axis] // 2 for axis in axes]
    power = torch.fft.fftn(u, dim=axes).abs().square()
    for axis, count in zip(axes, half, strict=True):
        power = power.narrow(axis, 0, count)
    grids = torch.meshgrid(*(torch.arange(count, device=u.device) for count in half), indexing="ij")
    radius = torch.stack(grids).double().square().sum(0).sqrt().floor().long().flatten()
    rings = min(half)
    flat, inside = power.flatten(2, -2), radius < rings
    sums = flat.new_zeros(*flat.shape[:2], rings, flat.shape[-1])
    return sums.index_add_(2, radius[inside], flat[:, :, inside]).sqrt() / cells


def _root(u: Tensor) -> Tensor:
    """Root mean square over space: (B, T, C)."""
    return u.square().mean(_space(u)).sqrt()
