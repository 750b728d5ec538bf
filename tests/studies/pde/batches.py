"""Small batches as the study's data sets make them."""

import torch

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import BOUNDARIES, COEFFICIENTS, number


def grid_batch(
    axes: int = 1, points: int = 32, count: int = 3, fields: int = 1, equation: str = "burgers", seed: int = 0
) -> Batch:
    """Smooth random periodic states and two frames after each."""
    torch.manual_seed(seed)
    letters = "ZYX"[-axes:]
    shape = (count, *[points] * axes, fields)
    state, ahead = _smooth(shape), _smooth(shape)
    return {
        f"input_{letters}C": state,
        f"target_T{letters}C": torch.stack([state + 0.1 * ahead, state + 0.2 * ahead], dim=1),
        f"position_{letters}D": torch.zeros(count, *[points] * axes, axes),
        **physics(count, equation, dx=1 / points),
    }


def physics(count: int, equation: str, dx: float) -> Batch:
    """What decides the physics, the same for all samples."""
    return {
        "coefficient_K": torch.full((count, len(COEFFICIENTS)), 0.01),
        "dx": torch.full((count,), dx),
        "dt": torch.full((count,), 0.1),
        "equation": torch.full((count,), number(equation)),
        "boundary": torch.full((count,), BOUNDARIES.index("periodic")),
    }


def mesh_batch(points: int = 40, count: int = 2, seed: int = 0) -> Batch:
    """Points in the unit square, each with an edge to the next; the field is smooth; the last edge is padding."""
    torch.manual_seed(seed)
    position = torch.rand(count, points, 2)
    edge = torch.stack([torch.arange(points - 1), torch.arange(1, points)], dim=-1).expand(count, -1, -1)
    state = (3 * position).sin().sum(-1, keepdim=True)
    return {
        "input_XC": state,
        "target_TXC": torch.stack([0.9 * state], dim=1),
        "position_XD": position,
        "edge_E2": torch.cat([edge, torch.full((count, 1, 2), -1)], dim=1),
        **physics(count, "poisson", dx=0.1),
    }


def particle_batch(points: int = 30, count: int = 2, seed: int = 0) -> Batch:
    """Particles in a box with displacements of about a hundredth of it."""
    batch = mesh_batch(points, count, seed)
    position = batch["position_XD"]
    moved = 0.01 * torch.randn_like(position)
    later = torch.cat([position + moved, moved], dim=-1)
    equation = torch.full((count,), number("lagrangian"))
    state = torch.cat([position, moved], dim=-1)
    told = {"input_XC": state, "target_TXC": later[:, None], "equation": equation, "before_XD": 0.9 * moved}
    return {**batch, **told, "box_2D": torch.tensor([[0.0, 0.0], [1.0, 1.0]]).expand(count, -1, -1)}


def _smooth(shape: tuple[int, ...]) -> torch.Tensor:
    axes = tuple(range(1, len(shape) - 1))
    spectrum = torch.fft.rfftn(torch.randn(shape), dim=axes)
    for axis in axes:
        modes = torch.arange(spectrum.shape[axis])
        low = torch.minimum(modes, shape[axis] - modes) <= 3
        spectrum = spectrum * low.view([-1 if a == axis else 1 for a in range(len(shape))])
    return 3 * torch.fft.irfftn(spectrum, s=shape[1:-1], dim=axes)
