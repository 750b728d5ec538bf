"""Symmetries: what they make of a solution is a solution."""

import numpy as np
import torch

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import BOUNDARIES, COEFFICIENTS, number
from stepladder.studies.pde.data.solvers import advection, darcy
from stepladder.studies.pde.data.solvers.initial import two_valued
from stepladder.studies.pde.models.operator.symmetries import varied
from stepladder.studies.pde.models.stages.steady import darcy_residual
from tests.studies.pde.batches import grid_batch


def darcy_batch(count: int = 6, points: int = 12, first: float = 0.5) -> Batch:
    """Solved samples; the first points lie `first` cells from the wall."""
    a_NYX = two_valued(0, range(count), points)
    axis = (torch.arange(points) + first) / points
    return {
        "input_YXC": torch.from_numpy(a_NYX).float()[..., None],
        "target_TYXC": torch.from_numpy(darcy.solve(a_NYX)).float()[:, None, ..., None],
        "position_YXD": torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).expand(count, -1, -1, -1),
        "coefficient_K": torch.eye(len(COEFFICIENTS))[COEFFICIENTS.index("force")].expand(count, -1),
        "dx": torch.full((count,), 1 / points),
        "dt": torch.zeros(count),
        "equation": torch.full((count,), number("darcy")),
        "boundary": torch.full((count,), BOUNDARIES.index("dirichlet")),
    }


def test_a_turned_square_is_solved_by_the_turned_answer() -> None:
    torch.manual_seed(0)
    batch = darcy_batch()
    turned = varied(batch)
    changed = (turned["input_YXC"] != batch["input_YXC"]).flatten(1).any(1)
    assert changed.any()
    force, dx = torch.ones(6), batch["dx"]
    residual = darcy_residual(turned["input_YXC"][..., 0], turned["target_TYXC"][:, 0, ..., 0], force, dx)
    assert residual.abs().max() < 1e-3, "single precision, divided by dx squared"


def test_a_first_row_on_the_wall_stays_there() -> None:
    torch.manual_seed(0)
    batch = darcy_batch(first=0.0)
    batch["target_TYXC"][:, :, 0], batch["target_TYXC"][:, :, :, 0] = 0, 0
    turned = varied(batch)["target_TYXC"]
    assert (turned[:, :, 0] == 0).all() and (turned[:, :, :, 0] == 0).all() and (turned[:, :, 1:, 1:] != 0).all()


def test_other_equations_on_a_square_are_left_alone() -> None:
    batch = grid_batch(2, equation="reaction_diffusion_2d") | {"position_YXD": torch.rand(3, 32, 32, 2)}
    assert torch.equal(varied(batch)["input_YXC"], batch["input_YXC"])


def test_moved_advection_is_advection() -> None:
    torch.manual_seed(0)
    batch = grid_batch(equation="advection")
    truth = advection.shift_spectrum(batch["input_XC"][..., 0].double().numpy(), 0.4, np.array([0.0, 0.1]))[:, 1]
    batch["target_TXC"] = torch.from_numpy(truth).float()[:, None, :, None]
    moved = varied(batch)
    again = advection.shift_spectrum(moved["input_XC"][..., 0].double().numpy(), 0.4, np.array([0.0, 0.1]))[:, 1]
    np.testing.assert_allclose(moved["target_TXC"][:, 0, :, 0].numpy(), again, atol=1e-5)


def test_a_thinned_grid_of_centres_is_not_mirrored() -> None:
    torch.manual_seed(0)
    batch = darcy_batch(count=16, first=0.25)
    turned, swapped = varied(batch)["input_YXC"], batch["input_YXC"].transpose(1, 2)
    same = (turned == batch["input_YXC"]).flatten(1).all(1) | (turned == swapped).flatten(1).all(1)
    assert same.all() and not torch.equal(turned, batch["input_YXC"])


def test_an_oblong_is_mirrored_and_never_swapped() -> None:
    torch.manual_seed(0)
    batch = darcy_batch()
    oblong = {name: value[:, :8] if name.endswith("YXC") and name[0] == "i" else value for name, value in batch.items()}
    oblong["target_TYXC"] = batch["target_TYXC"][:, :, :8]
    assert varied(oblong)["input_YXC"].shape == (6, 8, 12, 1)
