"""Every loss falls when a voxel moves the right way, and nobody learns from what nobody labelled."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import TrainingPhase
from stepladder.studies.scroll.models import losses, unet
from stepladder.training.step import lone_train_state, train_step
from tests.studies.scroll import small_sheets

STAGE = TrainingPhase("sheets", 10)


def parts(logit, batch):
    """Every loss of a batch with given logits."""
    known = (batch["label_ZYX"] != 2).float()
    truth = (batch["label_ZYX"] == 1).float()
    probability = logit.sigmoid()
    return {
        "cross entropy": losses.cross_entropy(logit, truth, known),
        "dice": losses.dice(probability, truth, known),
        "skeleton": losses.skeleton_recall(probability, batch["skeleton_ZYX"], known),
        "boundary": losses.boundary(probability, batch["distance_ZYX"], known),
    }


# where each loss has an opinion, and of which sign the gradient of a logit must be there
OPINIONS = {
    "cross entropy": {"sheet": -1, "background": 1},
    "dice": {"sheet": -1, "background": 1},
    "skeleton": {"skeleton": -1, "rest": 0},
    "boundary": {"sheet": 0, "background": 1},
}


@pytest.mark.parametrize("name", OPINIONS)
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 3.0))
def test_gradients_point_the_right_way_everywhere(name, seed, scale):
    batch = small_sheets.batch(seed=seed)
    torch.manual_seed(seed)
    logit = (scale * torch.randn(batch["label_ZYX"].shape)).requires_grad_()
    (gradient,) = torch.autograd.grad(parts(logit, batch)[name], logit)
    label, skeleton = batch["label_ZYX"], batch["skeleton_ZYX"] * (batch["label_ZYX"] != 2) == 1
    places = {"sheet": label == 1, "background": label == 0, "skeleton": skeleton, "rest": ~skeleton}
    for place, sign in OPINIONS[name].items():
        assert (gradient[places[place]].sign() == sign).all(), place
    assert (gradient[label == 2] == 0).all()


@pytest.mark.parametrize("name", OPINIONS)
def test_moving_one_voxel_the_right_way_lowers_the_loss(name):
    batch = small_sheets.batch(count=1)
    logit = torch.zeros(batch["label_ZYX"].shape)
    at_sheet, off_sheet = (tuple((batch[key] == value).nonzero()[-1]) for key, value in PLACES[name])
    for place, step in ((at_sheet, 0.5), (off_sheet, -0.5)):
        moved = logit.clone()
        moved[place] += step
        change = parts(moved, batch)[name] - parts(logit, batch)[name]
        assert change <= 0 and (change < 0 or name in {"boundary", "skeleton"})
    moved = logit.clone()
    moved[(batch["label_ZYX"] == 2)] += 5
    assert parts(moved, batch)[name] == parts(logit, batch)[name]


PLACES = {name: [("skeleton_ZYX", 1), ("label_ZYX", 0)] for name in OPINIONS}


def test_far_false_voxels_cost_more_in_the_boundary_loss():
    distance = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 1, 1, 4)
    probability = torch.full_like(distance, 0.5).requires_grad_()
    losses.boundary(probability, distance, torch.ones_like(distance)).backward()
    assert probability.grad.flatten().tolist() == [0.0, 0.25, 0.5, 0.75]


def test_losses_without_anything_to_say_are_zero_not_nan():
    batch = {name: torch.zeros_like(value) for name, value in small_sheets.batch().items()}
    batch["label_ZYX"][:] = 2
    logit = torch.randn(batch["label_ZYX"].shape, requires_grad=True)
    values = parts(logit, batch)
    assert all(value.item() == 0 for value in values.values())
    sum(values.values()).backward()
    assert (logit.grad == 0).all()


def test_a_batch_is_the_mean_of_its_samples():
    model, batch = network(boundary=0.1, skeleton=0.5), small_sheets.batch(count=3)
    whole = losses.loss(model, batch, STAGE)
    single = [losses.loss(model, {k: v[i : i + 1] for k, v in batch.items()}, STAGE) for i in range(3)]
    for name in whole.parts:
        assert torch.isclose(whole.parts[name], torch.stack([s.parts[name] for s in single]).mean(), atol=1e-6)


def network(**model):
    torch.manual_seed(0)
    return unet.build(small_sheets.params(**model))


def test_the_total_is_the_weighted_sum_of_its_parts():
    result = losses.loss(network(boundary=0.1, skeleton=0.5), small_sheets.batch(), STAGE)
    p = result.parts
    expected = p["cross entropy"] + p["dice"] + 0.5 * p["skeleton"] + 0.1 * p["boundary"]
    assert torch.isclose(result.total, expected) and not any(part.requires_grad for part in p.values())


def test_the_interval_counts_optimizer_steps_and_a_skipped_part_is_absent():
    model, batch = network(boundary=0.1, boundary_every=3), small_sheets.batch()
    computed = []
    for step in range(7):
        model.optimizer_step = step
        micro = ["boundary" in losses.loss(model, batch, STAGE).parts for _ in range(2)]  # two micro-batches of a step
        assert micro[0] == micro[1]
        computed.append(micro[0])
    assert computed == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_tells_the_step_under_accumulation_and_after_a_resume(accumulate):
    class Study:
        loss, tasks = staticmethod(losses.loss), staticmethod(lambda model: {})

    params, batch = small_sheets.params(boundary_every=3), small_sheets.batch(count=4)
    training = params.training.model_copy(update={"batch": 4, "accumulate": accumulate})
    micros = [{name: value[part::accumulate] for name, value in batch.items()} for part in range(accumulate)]
    train_state = lone_train_state(Study(), unet.build(params), STAGE, training, seed=0)
    steps = (0, 1, 2, 3, 7, 9)  # resumed at 7: nothing is counted, so nothing can be lost
    computed = ["boundary" in train_step(train_state, step, micros).parts for step in steps]
    assert computed == [True, False, False, True, False, True]


def test_validation_always_computes_every_part():
    model = network(boundary=0.1, boundary_every=3)
    model.optimizer_step = 1
    with torch.no_grad():
        assert "boundary" in losses.loss(model, small_sheets.batch(), STAGE).parts


def test_parts_of_weight_zero_are_absent():
    result = losses.loss(network(boundary=0.0, skeleton=0.0), small_sheets.batch(), STAGE)
    assert set(result.parts) == {"cross entropy", "dice"}


@pytest.mark.parametrize("flips", [(), (1,), (2, 3)])
def test_stored_and_computed_distances_give_the_same_loss(flips):
    batch = {name: value.flip(flips) if value.ndim == 4 else value for name, value in small_sheets.batch().items()}
    stored = losses.loss(network(boundary=0.1, distance="precomputed"), batch, STAGE)
    batch.pop("distance_ZYX")
    computed = losses.loss(network(boundary=0.1, distance="on_device"), batch, STAGE)
    assert torch.equal(stored.total, computed.total)
