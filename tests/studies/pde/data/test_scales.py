"""Sizes of channels from data: units do not matter, the first batch decides, and a checkpoint carries what it said."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.pde.data import scales
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.operator.model import GraphOperator, GridOperator, Size
from tests.studies.pde.batches import grid_batch, mesh_batch, particle_batch

SMALL = Size(width=16, heads=2, conditioning=8)


def grid_operator() -> GridOperator:
    torch.manual_seed(0)
    return GridOperator(1, 1, SMALL, channels=8, modes=6, patch=4)


@settings(max_examples=8, deadline=None)
@given(st.floats(-3, 3))
def test_units_do_not_matter(power: float) -> None:
    """A network that learns from the same data in another unit gives the same answer in that unit."""
    batch, unit = grid_batch(equation="advection"), 10.0**power
    other = {**batch, "input_XC": unit * batch["input_XC"], "target_TXC": unit * batch["target_TXC"]}
    answers = []
    for told in (batch, other):
        network = grid_operator()
        scales.fit(network, told)
        answers.append(network(told))
    torch.testing.assert_close(answers[1], unit * answers[0], rtol=1e-4, atol=1e-4 * unit)


def test_the_first_batch_decides_and_the_checkpoint_carries_it() -> None:
    network, batch = grid_operator(), grid_batch(equation="advection")
    scales.fit(network, batch)
    wanted = (batch["target_TXC"][:, 0] - batch["input_XC"]).square().mean().sqrt()
    torch.testing.assert_close(network.answer_scale_C[0], wanted)
    scales.fit(network, grid_batch(seed=1))
    torch.testing.assert_close(network.answer_scale_C[0], wanted)
    other = GridOperator(1, 1, SMALL, channels=8, modes=6, patch=4)
    other.load_state_dict(network.state_dict())
    scales.fit(other, grid_batch(seed=2))
    assert torch.equal(other(batch), network(batch))


def test_the_mean_wind_is_not_part_of_a_size() -> None:
    """Burgers is solved in a moving frame: a wind of whole points per step changes neither state nor answer there."""
    still, speed = grid_batch(), 2 / 32 / 0.1
    frames = torch.stack([frame.roll(2 * (t + 1), 1) for t, frame in enumerate(still["target_TXC"].unbind(1))], 1)
    windy = {**still, "input_XC": still["input_XC"] + speed, "target_TXC": frames + speed}
    for one, two in zip(grid_operator().asked(still), grid_operator().asked(windy), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_particles_are_measured_by_their_change_of_displacement() -> None:
    network, batch = GraphOperator(2, 4, SMALL, supernodes=4, particles=True), particle_batch()
    batch["target_TXC"] = 1.1 * batch["target_TXC"]
    scales.fit(network, batch)
    moved = batch["input_XC"][..., 2:]
    torch.testing.assert_close(network.scale_C, moved.square().mean((0, 1)).sqrt())
    change = batch["target_TXC"][:, 0, :, 2:] - moved - (moved - batch["before_XD"])
    torch.testing.assert_close(network.answer_scale_C, change.square().mean((0, 1)).sqrt())


def test_a_steady_answer_is_measured_itself_and_nothing_is_divided_by_zero() -> None:
    network, batch = GraphOperator(2, 1, SMALL, supernodes=4, answers=1), mesh_batch()
    scales.fit(network, batch | {"input_XC": torch.zeros_like(batch["input_XC"])})
    torch.testing.assert_close(network.answer_scale_C[0], batch["target_TXC"].square().mean().sqrt())
    assert network.scale_C.tolist() == [1.0]


def test_two_processes_measure_what_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.randn(10, 7, 2)
    mine, theirs = whole[:4], whole[4:].double().flatten(0, -2)
    monkeypatch.setattr(scales.dist, "is_initialized", lambda: True)
    others = torch.cat([theirs.square().sum(0), theirs.new_tensor([len(theirs)])])
    monkeypatch.setattr(scales.dist, "all_reduce", lambda sums: sums.add_(others))
    torch.testing.assert_close(scales.size(mine), whole.square().mean((0, 1)).sqrt())


def test_networks_without_sizes_are_left_alone() -> None:
    network = FNO(1, 1, channels=8, modes=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scales.fit(network, grid_batch())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
