"""OccWorld: published size, causality, straight-through gradients, gates, and an honest start."""

import pytest
import torch

from stepladder.core.types import StudyError
from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.evaluation import scoring
from stepladder.studies.plateau.models import occworld
from stepladder.studies.plateau.models.tokenizer import Tokenizer, lovasz_softmax, sizes
from stepladder.studies.plateau.models.world import World
from stepladder.studies.plateau.params import PlateauParams
from tests.studies.plateau import block_town
from tests.studies.plateau.evaluation.test_scoring import metrics


@pytest.fixture(scope="module")
def params():
    return block_town.params(past=3, future=2, window=(20, 20, 4), width=4)


@pytest.fixture(scope="module")
def batch(params):
    return block_town.batch(params, 2, bend=0.05)


def untrained(params, seed=0):
    torch.manual_seed(seed)
    return occworld.build(params).eval()


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_configuration_has_exactly_the_published_parameters():
    published = PlateauParams(study="plateau", model={"name": "occworld", "width": 64})
    with torch.device("meta"):
        model = occworld.build(published)
    assert count(model) == 72_385_578
    assert count(model.tokenizer) == 14_168_272
    assert count(model.world) == 58_217_306


def test_stages_cover_every_parameter_once_and_the_second_freezes_the_tokenizer(params):
    tokenizer, world = occworld.phases(params)
    for name, _ in untrained(params).named_parameters():
        assert name.startswith(tokenizer.trainable) != name.startswith(world.trainable)
    assert world.trainable == ("world",) and tokenizer.steps == params.model.tokenizer_steps


@pytest.mark.parametrize("shape", [(6, 6), (5, 7)])
def test_a_later_frame_never_changes_an_earlier_output(shape):
    torch.manual_seed(0)
    world = World(8, shape, codes=11, frames=6, dropout=0.0).eval()
    code_BTCHW, step_BT2 = torch.randn(1, 5, 8, *shape), torch.randn(1, 5, 2)
    mode_BTM = torch.nn.functional.one_hot(torch.randint(0, 3, (1, 5)), 3).float()
    scores, moves = world(code_BTCHW, step_BT2, mode_BTM)
    for frame in range(1, 5):
        other_code, other_step, other_mode = code_BTCHW.clone(), step_BT2.clone(), mode_BTM.clone()
        other_code[:, frame:] += 1
        other_step[:, frame:] -= 1
        other_mode[:, frame:] = mode_BTM[:, frame:].roll(1, -1)
        changed_scores, changed_moves = world(other_code, other_step, other_mode)
        assert torch.equal(changed_scores[:, :frame], scores[:, :frame])
        assert torch.equal(changed_moves[:, :frame], moves[:, :frame])
        assert not torch.allclose(changed_scores[:, frame:], scores[:, frame:])


def test_a_shorter_sequence_gives_the_same_first_outputs():
    """So autoregression sees what training saw."""
    torch.manual_seed(0)
    world = World(8, (4, 4), codes=11, frames=6, dropout=0.0).eval()
    code_BTCHW, step_BT2, mode_BTM = torch.randn(2, 5, 8, 4, 4), torch.randn(2, 5, 2), torch.rand(2, 5, 3)
    whole, _ = world(code_BTCHW, step_BT2, mode_BTM)
    part, _ = world(code_BTCHW[:, :3], step_BT2[:, :3], mode_BTM[:, :3])
    assert torch.allclose(whole[:, :3], part, atol=1e-5)


def test_quantising_picks_the_nearest_code_and_passes_gradients_straight_through():
    torch.manual_seed(0)
    tokenizer = Tokenizer(heights=4, width=4, codes=6)
    with torch.no_grad():
        tokenizer.codebook.weight.normal_()
    z_NCHW = torch.randn(2, 8, 3, 3, requires_grad=True)
    code_NCHW, index_NHW, loss = tokenizer.quantise(z_NCHW)
    distance = torch.cdist(z_NCHW.permute(0, 2, 3, 1).flatten(0, 2), tokenizer.codebook.weight)
    assert torch.equal(index_NHW.flatten(), distance.argmin(1))
    assert torch.allclose(code_NCHW.permute(0, 2, 3, 1), tokenizer.codebook(index_NHW), atol=1e-6)
    upstream = torch.randn_like(code_NCHW)
    code_NCHW.backward(upstream, retain_graph=True)
    assert torch.equal(z_NCHW.grad, upstream)  # as if nothing stood in between
    assert tokenizer.codebook.weight.grad is None  # the codebook learns from its own loss only
    loss.backward()
    assert tokenizer.codebook.weight.grad[index_NHW.unique()].abs().sum(1).gt(0).all()


@pytest.mark.parametrize("phase", [0, 1])
def test_gradient_reaches_every_trainable_parameter_and_no_other(batch, params, phase):
    model, phase = untrained(params).train(), occworld.phases(params)[phase]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(phase.trainable))
    occworld.loss(model, batch, phase).total.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == name.startswith(phase.trainable), name


@pytest.mark.parametrize("seed", range(5))
def test_untrained_never_scores_above_all_empty_in_any_metric(batch, params, seed):
    """It starts at the prior, so it answers EMPTY everywhere; absent classes give it nothing for free."""
    prediction = occworld.predict(untrained(params, seed), batch)
    assert (prediction["occ_BFXYZ"] == EMPTY).all()
    ours = metrics(scoring.score(batch, prediction, params))
    empty = metrics(scoring.score(batch, scoring.baselines(params)["all_empty"](batch), params))
    assert set(ours) == set(empty) and all(ours[name] <= empty[name] for name in empty)


def test_predict_reads_no_future_labels_and_of_the_future_path_the_route_command_only(batch, params):
    model, past = untrained(params), params.model.past
    with torch.no_grad():  # so that answers differ between inputs
        model.tokenizer.codebook.weight.normal_()
        model.tokenizer.decoder.last.weight.mul_(50)
    before = occworld.predict(model, batch)
    blind = {**batch, "occ_TXYZ": batch["occ_TXYZ"].clone(), "pose_T4": batch["pose_T4"].clone()}
    blind["occ_TXYZ"][:, past:] = 0
    blind["pose_T4"][:, past:, :2] += 0.01
    after = occworld.predict(model, blind)
    assert before["occ_BFXYZ"].unique().numel() > 1
    assert torch.equal(before["occ_BFXYZ"], after["occ_BFXYZ"]) and torch.equal(before["path_BF2"], after["path_BF2"])


def test_steps_are_seen_from_the_frame_before():
    pose_BT4 = torch.tensor([[[0.0, 0, 0, torch.pi / 2], [0, 3, 0, torch.pi / 2], [-2, 3, 0, torch.pi]]])
    assert torch.allclose(occworld.steps_taken(pose_BT4), torch.tensor([[[0.0, 0], [3, 0], [0, 2]]]), atol=1e-5)


def test_commands_say_left_right_or_straight():
    angle = torch.linspace(0, 1, 8)
    left = torch.stack([20 * angle.sin(), 20 - 20 * angle.cos(), angle * 0, angle], dim=1)
    right = left * torch.tensor([1.0, -1, 1, -1])
    straight = torch.stack([angle * 20, angle * 0, angle * 0, angle * 0], dim=1)
    command_BTM = occworld.commands(torch.stack([left, right, straight]), frames=6)
    assert command_BTM[:, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert (command_BTM.sum(-1) == 1).all() and command_BTM[0, -1].tolist() == [0, 0, 1]


def test_lovasz_is_zero_for_a_perfect_answer_and_one_for_a_certain_wrong_one():
    label_V = torch.tensor([0, 0, 1, 2])
    perfect_VC = torch.nn.functional.one_hot(label_V, 3).float()
    assert lovasz_softmax(perfect_VC, label_V).item() == 0
    assert lovasz_softmax(perfect_VC.roll(1, 1), label_V).item() == pytest.approx(1)
    half_VC = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])  # class 0: IoU 1/2; class 1: IoU 2/3
    loss = lovasz_softmax(half_VC, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(1 - (1 / 2 + 2 / 3) / 2)


def test_the_world_stage_refuses_an_untrained_tokenizer_in_words(batch, params):
    tokenizer, world = occworld.phases(params)
    model = untrained(params)
    assert occworld.can_start(tokenizer, model, batch).ok
    check = occworld.can_start(world, model, batch)
    assert not check.ok and check.value == 0 < check.limit
    assert "not trained" in check.reason and "model.tokenizer_steps" in check.reason


@pytest.mark.slow
def test_a_trained_tokenizer_is_admitted_the_world_learns_and_a_collapsed_codebook_is_refused():
    params = block_town.params(past=2, future=2, window=(16, 16, 4), width=4, codes=32)
    batch, model = block_town.batch(params, 2, bend=0.05), untrained(params).train()
    for phase, steps in zip(occworld.phases(params), (80, 40), strict=True):
        check = occworld.can_start(phase, model, batch)
        assert check.ok, check.reason
        learning = [p for name, p in model.named_parameters() if name.startswith(phase.trainable)]
        optimizer, totals = torch.optim.AdamW(learning, 5e-3), []
        for _ in range(steps):
            optimizer.zero_grad()
            value = occworld.loss(model, batch, phase)
            value.total.backward()
            optimizer.step()
            totals.append(value.total.item())
        assert totals[-1] < 0.2 * totals[0]
    values = metrics(scoring.score(batch, occworld.predict(model.eval(), batch), params))
    assert values["IoU"] > 0.8
    with torch.no_grad():
        model.tokenizer.codebook.weight[:] = model.tokenizer.codebook.weight[0]
    check = occworld.can_start(phase, model, batch)
    assert not check.ok and "1 codes" in check.reason


def test_a_window_too_small_is_refused_with_the_way_out():
    with pytest.raises(StudyError, match=r"model.window = \[12, 20, 4\].*at least 13.*warp_fill"):
        occworld.build(block_town.params(window=(12, 20, 4)))


@pytest.mark.parametrize("window", [(18, 22, 3), (13, 13, 4)])
def test_odd_sizes_come_back_whole(window):
    params = block_town.params(past=2, future=1, window=window, width=4)
    batch, model = block_town.batch(params, 1), untrained(params)
    assert occworld.predict(model, batch)["occ_BFXYZ"].shape == (1, 1, *window)
    assert model.codes(batch["occ_TXYZ"])[1].shape[2:] == sizes(*window[:2])[-1]
