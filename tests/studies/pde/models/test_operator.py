"""The latent operator on grids, meshes and particles: shapes, symmetries, conservation, conditioning, learning."""

import pytest
import torch

from stepladder.studies.pde.data import scales
from stepladder.studies.pde.data.equations import COEFFICIENTS, number
from stepladder.studies.pde.data.places import farthest, grid_order, grid_places, morton, take
from stepladder.studies.pde.models.operator import frame
from stepladder.studies.pde.models.operator.blocks import Attention, UTransformer
from stepladder.studies.pde.models.operator.decoder import nearest_offset
from stepladder.studies.pde.models.operator.encoders import GraphEncoder
from stepladder.studies.pde.models.operator.losses import relative_l2, training_loss
from stepladder.studies.pde.models.operator.model import GraphOperator, GridOperator, Size
from stepladder.studies.pde.models.operator.rollout import state_key
from tests.studies.pde.batches import grid_batch, mesh_batch, particle_batch
from tests.studies.pde.learning import learned

SMALL = Size(width=16, heads=2, conditioning=8)


def grid_operator(axes: int = 1, **kind) -> GridOperator:
    torch.manual_seed(0)
    return GridOperator(axes, 1, kind.pop("size", SMALL), channels=8, modes=6, patch=4, **kind)


def graph_operator(**kind) -> GraphOperator:
    torch.manual_seed(0)
    return GraphOperator(2, kind.pop("fields", 1), SMALL, supernodes=8, **kind)


def silent(network: torch.nn.Module, batch: dict) -> list[str]:
    """Parameters that no loss reaches. Rows of other equations and boundaries count as one parameter."""
    training_loss(network, batch, reconstruct=1.0).total.backward()
    return [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("periodic", [True, False])
def test_grids(axes: int, periodic: bool) -> None:
    network, batch = grid_operator(axes, periodic=periodic), grid_batch(axes)
    assert network(batch).shape == batch[state_key(batch)].shape == network.reconstruct(batch).shape
    assert network.reconstruct(batch, torch.rand(3, 7, axes)).shape == (3, 7, 1)
    assert silent(network, batch) == []
    assert not any(p.is_complex() for p in network.parameters())


def test_meshes_and_particles() -> None:
    for network, batch in (
        (graph_operator(), mesh_batch()),
        (graph_operator(particles=True, fields=4), particle_batch()),
    ):
        assert network(batch).shape == batch["input_XC"].shape == network.reconstruct(batch).shape
        assert silent(network, batch) == []
    steady = graph_operator(answers=3)
    assert steady(mesh_batch()).shape == (2, 40, 3)


def test_moving_a_grid_by_patches_moves_the_answer() -> None:
    network, batch = grid_operator(size=Size(width=16, heads=2, levels=1)), grid_batch()
    moved = network({**batch, "input_XC": batch["input_XC"].roll(12, 1)})
    torch.testing.assert_close(moved, network(batch).roll(12, 1), rtol=1e-4, atol=1e-5)


def test_the_same_seen_by_a_moving_observer() -> None:
    network, batch = grid_operator(), grid_batch()
    speed = 2 / 32 / 0.1  # two points per step
    seen = network({**batch, "input_XC": batch["input_XC"] + speed})
    torch.testing.assert_close(seen, network(batch).roll(2, 1) + speed, rtol=1e-4, atol=1e-5)


def test_the_mean_is_kept_exactly_where_it_is_conserved() -> None:
    batch = grid_batch()
    before = batch["input_XC"].mean(1)
    assert (grid_operator()(batch).mean(1) - before).abs().max() < 1e-6
    assert (grid_operator(conservative=False)(batch).mean(1) - before).abs().max() > 1e-4
    other = batch | {"equation": torch.full((3,), number("reaction_diffusion"))}
    assert (grid_operator()(other).mean(1) - before).abs().max() > 1e-4


def test_physics_is_heard() -> None:
    """After one step of training (modulations start at `no change`) every fact changes the answer."""
    network, batch = grid_operator(), grid_batch()
    learned(network, batch, steps=3)
    answer = network(batch)
    for key, value in {"coefficient_K": 0.5, "dt": 0.2, "equation": 1, "boundary": 1}.items():
        told = {**batch, key: torch.full_like(batch[key], value)}
        assert (network(told) - answer).abs().max() > 1e-5, key


def test_a_carried_field_is_found_out() -> None:
    """Told its speed, an operator that may carry learns how far a wave goes, also at a speed it never saw."""
    batch, speeds = grid_batch(equation="advection", count=8), torch.tensor([0.1, 0.3, 0.6, 1.0]).repeat(2)
    batch["coefficient_K"] = torch.zeros_like(batch["coefficient_K"])
    batch["coefficient_K"][:, COEFFICIENTS.index("speed")] = speeds
    ahead = frame.moved(batch["input_XC"][:, None], speeds[:, None] * 0.1)
    network = grid_operator(carry=True, before=0, after=0)
    learned(network, batch | {"target_TXC": ahead}, steps=60, rate=1e-2)
    told = {**batch, "coefficient_K": batch["coefficient_K"] * 0.5}
    carried = frame.moved(batch["input_XC"][:, None], network.carried(told, batch["input_XC"].shape[1]))
    truth = frame.moved(batch["input_XC"][:, None], 0.5 * speeds[:, None] * 0.1)
    assert relative_l2(carried[:, 0], truth[:, 0]) < 0.05 < relative_l2(batch["input_XC"], truth[:, 0])


def test_mixed_precision_does_not_round_what_is_carried() -> None:
    batch, network = grid_batch(equation="advection"), grid_operator(carry=True, diffuse=True)
    torch.nn.init.constant_(network.distance.weight, 0.123456)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.carried(batch, 32), network.carried(batch, 32).float())
        answer = network(batch)
    assert answer.dtype == torch.float32 and network.carried(batch, 32).dtype == torch.float32
    torch.testing.assert_close(answer, network(batch), rtol=0.1, atol=0.1)


def test_what_fades_is_known() -> None:
    """An operator that says nothing yet fades waves as the heat equation does, each at its own viscosity."""
    batch, network = grid_batch(equation="reaction_diffusion"), grid_operator(diffuse=True)
    torch.nn.init.zeros_(network.head[-1].weight)
    torch.nn.init.zeros_(network.head[-1].bias)
    x = torch.arange(32) / 32
    nu = torch.tensor([0.01, 0.1, 1.0])
    batch["coefficient_K"] = torch.zeros_like(batch["coefficient_K"])
    batch["coefficient_K"][:, COEFFICIENTS.index("diffusion")] = nu
    batch["input_XC"] = 1 + (4 * torch.pi * x).sin().expand(3, -1)[..., None]
    left = torch.exp(-nu * (4 * torch.pi) ** 2 * 0.1)
    truth = 1 + left[:, None, None] * (batch["input_XC"] - 1)
    torch.testing.assert_close(network(batch), truth, rtol=0, atol=1e-5)


def test_ten_samples_by_heart_and_read_back() -> None:
    network, batch = grid_operator(), grid_batch(count=10, points=16)
    assert learned(network, batch, steps=90, reconstruct=0.1) < 0.03
    loss = training_loss(network, batch, reconstruct=0.1)
    assert loss.parts["reconstruct"] < 0.5


@pytest.mark.slow
def test_a_mesh_and_particles_by_heart() -> None:
    batch = mesh_batch()
    assert learned(graph_operator(), batch, steps=60) < 0.03  # persistence: 0.11
    particles, network = particle_batch(), graph_operator(particles=True, fields=4)
    scales.fit(network, particles)
    start = training_loss(network, particles).parts["step"]
    assert learned(network, particles, steps=40) < 0.5 * start


def test_a_steady_answer_does_not_hold_the_question() -> None:
    network, batch = grid_operator(2, periodic=False, answers=1), grid_batch(2)
    torch.nn.init.zeros_(network.head[-1].weight)
    torch.nn.init.zeros_(network.head[-1].bias)
    assert network(batch).abs().max() == 0


def test_padding_edges_say_nothing() -> None:
    batch, network = mesh_batch(), graph_operator()
    without = {**batch, "edge_E2": batch["edge_E2"][:, :-1]}
    torch.testing.assert_close(network(batch), network(without))


def test_order_of_points_does_not_matter() -> None:
    torch.manual_seed(0)
    network, batch = graph_operator(), mesh_batch()
    order = torch.randperm(40)
    place = torch.empty_like(order)
    place[order] = torch.arange(40)
    edge = torch.where(batch["edge_E2"] < 0, -1, place[batch["edge_E2"].clamp_min(0)])
    shuffled = {**batch, "edge_E2": edge}
    shuffled |= {key: batch[key][:, order] for key in ("input_XC", "position_XD")}
    torch.testing.assert_close(network(shuffled), network(batch)[:, order], rtol=1e-4, atol=1e-5)


def test_a_patch_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="patches of 4"):
        grid_operator()(grid_batch(points=30))


def test_the_u_needs_no_other_shapes() -> None:
    torch.manual_seed(0)
    network = UTransformer(16, depth=1, levels=3, heads=2, axes=2, conditioning=8)
    tokens, places = torch.randn(2, 16, 16), torch.rand(2, 16, 2)
    assert network(tokens, places, torch.randn(2, 8)).shape == tokens.shape


def test_morton_neighbours_are_neighbours() -> None:
    place = grid_places((8, 8), True, torch.device("cpu"))[None]
    ordered = take(place, morton(place))
    pairs = ordered.unflatten(1, (-1, 4))
    assert (pairs.amax(2) - pairs.amin(2)).max() == 1 / 8  # every four are a square of two by two


def test_supernodes_are_spread() -> None:
    torch.manual_seed(0)
    cloud = torch.cat([0.01 * torch.rand(1, 90, 2), torch.rand(1, 10, 2)], dim=1)
    picks = take(cloud, farthest(cloud, 8))
    assert (torch.cdist(picks, picks) + 9 * torch.eye(8)).min() > 0.1


def test_supernodes_hear_their_points_only() -> None:
    torch.manual_seed(0)
    encoder, place = GraphEncoder(2, 1, 8, supernodes=4, rounds=1), torch.rand(1, 20, 2)
    field = torch.zeros(1, 20, 1)
    changed = field.clone()
    changed[0, 5] = 1.0
    tokens = [encoder(x, place, None)[0] for x in (field, changed)]
    assert int(((tokens[0] - tokens[1]).abs().sum(-1) > 0).sum()) == 1


def test_offsets_go_the_short_way_round() -> None:
    offset = nearest_offset(torch.tensor([[[0.95]]]), torch.tensor([[[0.05], [0.5]]]))
    torch.testing.assert_close(offset, torch.tensor([[[-0.1]]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(14, 14), (12, 12), (8, 8), (6, 6, 6)])
def test_tokens_that_are_merged_are_neighbours(shape: tuple[int, ...]) -> None:
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij"), -1).flatten(0, -2)
    pairs = places[grid_order(shape, torch.device("cpu"))].unflatten(0, (-1, 2))
    assert ((pairs[:, 0] - pairs[:, 1]).abs().sum(-1) == 1).all()


def test_mixed_precision_does_not_round_places() -> None:
    attention = Attention(16, 2, 1, 16)
    places, x = (torch.arange(1024) / 1024)[None, :, None], torch.zeros(1, 2, 1024, 8) + 1.0
    with torch.autocast("cpu", torch.bfloat16):
        turned = attention._turn(x, places)
    assert torch.equal(turned, attention._turn(x, places)) and len(turned[0, 0].unique(dim=0)) == 1024


def test_too_many_levels_for_the_tokens_are_named() -> None:
    network = GridOperator(1, 1, Size(8, 1, 3, 2, 8), channels=8, modes=4, patch=4)
    with pytest.raises(ValueError, match=r"model.levels = 3: 3 tokens cannot be merged in pairs at level 3"):
        network(grid_batch(points=24))


def test_what_is_carried_goes_half_as_far_round_twice_the_length() -> None:
    batch, network = grid_batch(equation="advection"), grid_operator(carry=True)
    torch.nn.init.constant_(network.distance.weight, 0.1)
    longer = {**batch, "dx": 2 * batch["dx"]}
    torch.testing.assert_close(network.carried(longer, 32), network.carried(batch, 32) / 2)
