"""Losses by hand, and symmetries that turn solutions into solutions."""

import math

import numpy as np
import torch

from stepladder.studies.pde.data.solvers import burgers
from stepladder.studies.pde.models.operator import frame, symmetries
from stepladder.studies.pde.models.operator.losses import relative_l2, training_loss
from stepladder.studies.pde.models.operator.model import GridOperator, Size
from stepladder.studies.pde.models.operator.rollout import roll
from tests.studies.pde.batches import grid_batch, physics

EPS = 0.3


def burgers_batch(count: int = 6, points: int = 64) -> dict:
    """True solutions of smooth states, dt 0.1, two frames."""
    rng = np.random.default_rng(3)
    x = 2 * np.pi * np.arange(points) / points
    u = sum(rng.normal(size=(count, 1)) * np.sin(k * x + rng.uniform(0, 6, (count, 1))) for k in (1, 2))
    u_NTX = burgers.solve(u + rng.normal(size=(count, 1)), EPS, np.array([0.0, 0.1, 0.2]))
    u = torch.from_numpy(u_NTX).float()[..., None]
    batch = {"input_XC": u[:, 0], "target_TXC": u[:, 1:], "position_XD": torch.zeros(count, points, 1)}
    batch |= physics(count, "burgers", 1 / points)
    batch["coefficient_K"] *= 0
    batch["coefficient_K"][:, 0] = EPS / math.pi
    return batch


def test_relative_error_by_hand() -> None:
    truth = torch.tensor([[[3.0], [4.0]], [[0.0], [2.0]]])
    guess = truth + torch.tensor([[[0.0], [5.0]], [[1.0], [0.0]]])
    assert relative_l2(guess, truth).item() == (1.0 + 0.5) / 2
    assert relative_l2(truth, truth).item() < 1e-6


def test_the_parts_of_the_loss_add_up() -> None:
    torch.manual_seed(0)
    network, batch = GridOperator(1, 1, Size(width=16, heads=2), channels=8, modes=8, patch=4), grid_batch()
    loss = training_loss(network, batch, reconstruct=0.5, unrolled=2.0)
    parts = loss.parts
    total = parts["step"] + 0.5 * parts["reconstruct"] + 2.0 * parts["unrolled"]
    torch.testing.assert_close(loss.total.detach(), total)
    frames = roll(network, batch, 2)
    torch.testing.assert_close(parts["unrolled"], relative_l2(frames[:, 1], batch["target_TXC"][:, 1]).detach())


def test_varied_solutions_are_solutions() -> None:
    torch.manual_seed(0)
    batch = burgers_batch()
    varied = symmetries.varied(batch)
    assert (varied["input_XC"] - batch["input_XC"]).abs().amax((1, 2)).min() > 0.05
    solved = burgers.solve(varied["input_XC"][..., 0].double().numpy(), EPS, np.array([0.0, 0.1, 0.2]))
    np.testing.assert_allclose(varied["target_TXC"][..., 0].numpy(), solved[:, 1:], atol=2e-4)


def test_what_has_no_symmetry_stays() -> None:
    batch = grid_batch(axes=2)
    assert symmetries.varied(batch) is batch
    closed = grid_batch() | {"boundary": torch.ones(3, dtype=torch.long)}
    torch.testing.assert_close(symmetries.varied(closed)["target_TXC"], closed["target_TXC"], rtol=0, atol=1e-5)


def test_advection_is_moved_but_never_turned_or_boosted() -> None:
    torch.manual_seed(0)
    batch = grid_batch(equation="advection", count=8)
    varied = symmetries.varied(batch)
    torch.testing.assert_close(varied["input_XC"].mean(1), batch["input_XC"].mean(1), rtol=0, atol=1e-5)
    spectra = [torch.fft.rfft(b["input_XC"], dim=1).abs() for b in (varied, batch)]
    torch.testing.assert_close(spectra[0], spectra[1], rtol=1e-3, atol=1e-3)


def test_the_observer_moves_whole_points_and_comes_back() -> None:
    batch = burgers_batch()
    points_B = frame.observer(batch, batch["input_XC"])
    rest = batch["input_XC"] - frame.velocity(batch, points_B)
    assert (rest.mean((1, 2)) * 0.1 * 64).abs().max() <= 0.5 + 1e-4
    assert torch.equal(frame.rolled(frame.rolled(rest, points_B), -points_B), rest)
    assert frame.observer(batch | {"equation": torch.ones(6, dtype=torch.long)}, batch["input_XC"]).abs().sum() == 0
