"""Forces between pairs: what they conserve, and that they turn with the particles."""

import torch

from stepladder.studies.pde.data import scales
from stepladder.studies.pde.models.operator.forces import PairForces
from stepladder.studies.pde.models.operator.model import GraphOperator, Size
from stepladder.studies.pde.models.operator.symmetries import varied
from tests.studies.pde.batches import particle_batch
from tests.studies.pde.learning import learned


def boxed(periodic: bool = True, **changes) -> dict:
    """Particles in a box of edge 1 that is periodic or walled."""
    batch = particle_batch(**changes)
    return {
        **batch,
        "boundary": torch.full_like(batch["boundary"], 0 if periodic else 4),
    }


def operator(conservative: bool = True) -> GraphOperator:
    """Every particle is a supernode, so that moving them along does not choose others."""
    torch.manual_seed(0)
    size = Size(width=16, heads=2, conditioning=8)
    return GraphOperator(2, 4, size, supernodes=30, particles=True, conservative=conservative)


def kept(batch: dict) -> torch.Tensor:
    """Momentum that changes as it did last: of particles left to themselves, not at all."""
    return (2 * batch["input_XC"][..., 2:] - batch["before_XD"]).sum(1)


def test_momentum_stays_whatever_was_learnt() -> None:
    batch, network = boxed(), operator()
    learned(network, batch, steps=3)
    after, expected = network(batch)[..., 2:].sum(1), kept(batch)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)
    free = operator(conservative=False)
    assert (free(batch)[..., 2:].sum(1) - expected).abs().max() > 1e-3


def test_forces_turn_with_the_particles() -> None:
    torch.manual_seed(0)
    forces, batch = PairForces(8), boxed()
    known, edge, place = torch.randn(2, 30, 8), batch["edge_E2"], batch["position_XD"]
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    turned = forces(known, (place - 0.5) @ turn + 0.5, edge)
    torch.testing.assert_close(turned, forces(known, place, edge) @ turn, rtol=1e-4, atol=1e-5)


def test_a_force_reaches_across_the_border_of_a_periodic_box() -> None:
    """Moving everything along, so that pairs straddle the border, changes no acceleration; a wall would."""
    batch, network = boxed(), operator()
    moved = (batch["position_XD"] + 0.37) % 1
    state = torch.cat([moved, batch["input_XC"][..., 2:]], dim=-1)
    along = {**batch, "position_XD": moved, "input_XC": state}
    torch.testing.assert_close(network(along)[..., 2:], network(batch)[..., 2:], rtol=1e-3, atol=1e-4)
    walled = {**along, "boundary": torch.full_like(batch["boundary"], 4)}
    assert (network(walled)[..., 2:] - network(batch)[..., 2:]).abs().max() > 1e-2


def test_padding_pushes_nobody() -> None:
    batch, network = boxed(), operator()
    torch.testing.assert_close(network({**batch, "edge_E2": batch["edge_E2"][:, :-1]}), network(batch))


def test_a_size_from_data_keeps_forces_on_their_line() -> None:
    batch, network = boxed(count=3), operator()
    batch["target_TXC"] = batch["target_TXC"] * torch.tensor([1.0, 1.0, 1.1, 1.3])
    scales.fit(network, batch)
    assert network.answer_scale_C[0] != network.answer_scale_C[1]
    torch.testing.assert_close(network(batch)[..., 2:].sum(1), kept(batch), rtol=0, atol=1e-5)


def test_a_turned_box_holds_the_same_particles() -> None:
    torch.manual_seed(3)
    batch = boxed(count=6)
    turned = varied(batch)
    assert not torch.equal(turned["position_XD"], batch["position_XD"])
    apart = [torch.cdist(told["position_XD"], told["position_XD"]) for told in (turned, batch)]
    torch.testing.assert_close(*apart, rtol=0, atol=1e-3)
    now, ahead = turned["input_XC"], turned["target_TXC"][:, 0]
    torch.testing.assert_close(now[..., :2] + ahead[..., 2:], ahead[..., :2], rtol=0, atol=1e-5)
    assert ((turned["position_XD"] >= 0) & (turned["position_XD"] <= 1)).all()
