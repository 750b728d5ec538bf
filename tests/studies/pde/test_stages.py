"""The later stages: flow, consistency student, steady prior, and the gate between stages."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from stepladder.studies.pde.consistency import ConsistencyStudent
from stepladder.studies.pde.equations import BOUNDARIES, COEFFICIENTS, number
from stepladder.studies.pde.flow import ResidualFlow, better, crps
from stepladder.studies.pde.solvers import darcy
from stepladder.studies.pde.solvers.initial import two_valued
from stepladder.studies.pde.steady import SteadyPrior, darcy_residual
from stepladder.study import Batch

from .batches import grid_batch


class Persistence(nn.Module):
    """The operator that says nothing changes."""

    def forward(self, batch: Batch) -> torch.Tensor:
        return batch["input_XC"]


class Nothing(nn.Module):
    """The operator that answers zero."""

    def forward(self, batch: Batch) -> torch.Tensor:
        return torch.zeros_like(batch["input_YXC"])


def noisy_batch(count: int, seed: int = 0) -> Batch:
    """Truth is the state plus white noise of 0.1 that nobody can foresee."""
    batch = grid_batch(points=16, count=count, seed=seed)
    batch["target_TXC"] = (batch["input_XC"] + 0.1 * torch.randn_like(batch["input_XC"]))[:, None]
    return batch


def fitted(network: nn.Module, batches: list[Batch], steps: int, rate: float = 1e-2) -> nn.Module:
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate)
    for step in range(steps):
        optimizer.zero_grad()
        network.loss(batches[step % len(batches)]).total.backward()
        optimizer.step()
        if isinstance(network, ConsistencyStudent):
            network.follow()
    return network


def flow() -> ResidualFlow:
    torch.manual_seed(0)
    return ResidualFlow(Persistence(), 1, 1, channels=16, modes=9, layers=2)


def test_crps_by_hand() -> None:
    truth = torch.zeros(1, 4, 1)
    pair = torch.stack([truth + 1, truth + 3])
    assert crps(pair, truth).item() == 2 - 0.5 * 2
    assert crps(pair[:1], truth).item() == 1
    assert crps(torch.stack([truth, truth]), truth).item() == 0


@pytest.fixture(scope="module")
def trained_flow() -> ResidualFlow:
    network = flow()
    network.fit_scale(noisy_batch(40))
    return fitted(network, [noisy_batch(40, seed) for seed in range(1, 9)], 110)


@pytest.mark.slow
def test_the_flow_learns_how_wrong_the_operator_is(trained_flow: ResidualFlow) -> None:
    """Draws spread as the truth does around the forecast, so their CRPS beats the sure forecast's."""
    batch = noisy_batch(20, seed=9)
    with torch.no_grad():
        members, sure = trained_flow.ensemble(batch, 8), batch["input_XC"][None]
    truth = batch["target_TXC"][:, 0]
    assert 0.06 < (members - sure).std() < 0.14
    assert crps(members, truth).mean() < 0.85 * crps(sure, truth).mean()


@pytest.mark.slow
def test_the_student_learns_to_do_it_in_one_step(trained_flow: ResidualFlow) -> None:
    """From the same noise, one evaluation lands nearer to the teacher's sixteen than the copied network did."""
    student, batch = ConsistencyStudent(trained_flow, grid=8, average=0.8), noisy_batch(20, seed=9)
    noise = torch.randn_like(batch["input_XC"])
    with torch.no_grad():
        wanted = trained_flow.draw(batch, noise, 16)
        before = (student.draw(batch, noise, 1) - wanted).square().mean()
    fitted(student, [noisy_batch(40, seed) for seed in range(1, 9)], 40, rate=3e-3)
    with torch.no_grad():
        after = (student.draw(batch, noise, 1) - wanted).square().mean()
    assert after < 0.7 * before


def test_the_velocity_knows_the_time() -> None:
    network, batch = flow(), grid_batch(points=16)
    x = torch.randn(3, 16, 1)
    early, late = (network.velocity(batch, batch["input_XC"], x, torch.full((3,), tau)) for tau in (0.1, 0.9))
    assert (early - late).abs().max() > 1e-3


def test_stages_leave_what_was_there() -> None:
    """Only the new part learns, and all of it does."""
    torch.manual_seed(0)
    teacher, batch = flow(), noisy_batch(4)
    for network, part in ((ConsistencyStudent(teacher), "student."), (flow(), "backbone.")):
        before = copy.deepcopy(network.state_dict())
        learning = {name for name, p in network.named_parameters() if p.requires_grad and "slow." not in name}
        assert learning and all(name.startswith(part) for name in learning)
        network.loss(batch).total.backward()
        assert all(p.grad is not None for name, p in network.named_parameters() if name in learning)
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())


def test_a_student_of_a_straight_flow_is_right_at_once() -> None:
    """A constant velocity means straight paths: one evaluation then does what the teacher needs many for."""
    teacher, batch = flow(), grid_batch(points=16)
    head = teacher.backbone.head[-1]
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, 0.7)
    noise = torch.randn(3, 16, 1)
    student = ConsistencyStudent(teacher)
    assert student.loss(batch).total < 1e-10
    torch.testing.assert_close(student.draw(batch, noise, 1), teacher.draw(batch, noise, 16), rtol=1e-5, atol=1e-5)


def darcy_batch(count: int, points: int = 12) -> Batch:
    a_NYX = two_valued(0, range(count), points)
    u_NYX = darcy.solve(a_NYX)
    coefficient_BK = torch.zeros(count, len(COEFFICIENTS))
    coefficient_BK[:, COEFFICIENTS.index("force")] = 1.0
    return {
        "input_YXC": torch.from_numpy(a_NYX).float()[..., None],
        "target_TYXC": torch.from_numpy(u_NYX).float()[:, None, ..., None],
        "coefficient_K": coefficient_BK,
        "dx": torch.full((count,), 1 / points),
        "dt": torch.zeros(count),
        "equation": torch.full((count,), number("darcy")),
        "boundary": torch.full((count,), BOUNDARIES.index("dirichlet")),
    }


def test_solutions_have_no_residual() -> None:
    a_NYX = two_valued(1, range(2), 16)
    u = torch.from_numpy(darcy.solve(a_NYX, beta=2.0))
    force, dx = torch.full((2,), 2.0, dtype=u.dtype), torch.full((2,), 1 / 16, dtype=u.dtype)
    residual = darcy_residual(torch.from_numpy(a_NYX), u, force, dx)
    assert residual.abs().max() < 1e-8
    bent = darcy_residual(torch.from_numpy(a_NYX), 1.1 * u, force, dx)
    np.testing.assert_allclose(bent.numpy(), -0.2, atol=1e-8)


def test_rounds_of_correction_help() -> None:
    torch.manual_seed(0)
    batch = darcy_batch(8, points=16)
    prior = SteadyPrior(Nothing(), channels=8, modes=4, rounds=2)
    prior.scale.copy_(torch.tensor([batch["target_TYXC"].square().mean().sqrt(), 1.0]))
    assert len(prior.answers(batch)) == 3
    fitted(prior, [batch], 25)
    parts = prior.loss(batch).parts
    assert parts["last"] < parts["first"] < 1.0


def test_the_gate_says_what_it_saw() -> None:
    kept, dropped = better("flow", "nRMSE", 0.02, 0.01), better("flow", "nRMSE", 0.02, 0.03)
    assert kept.ok and "kept" in kept.reason and "0.01" in kept.reason
    assert not dropped.ok and "predecessor stays" in dropped.reason
