"""What nobody labelled costs nothing, and what is labelled is learnt."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.roofs.data.labels import FACES, IGNORE, SUPERSTRUCTURES, TASKS
from stepladder.studies.roofs.models import losses, network
from tests.studies.roofs.models.batches import batch, params


def answered(one, model=None):
    torch.manual_seed(0)
    model = model or network.build(params())
    return model, losses.sums(model(one["image_CYX"]), one)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_without_labels_costs_exactly_nothing_and_moves_nothing(task):
    one = batch(without=(task,))
    model, found = answered(one)
    assert losses.counts(one)[task] == 0 and found[task].item() == 0.0
    found[task].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all((gradient == 0).all() for gradient in gradients)  # NaN would not be equal


@pytest.mark.parametrize("task", TASKS)
def test_the_others_move_no_parameter_of_an_absent_head(task):
    model, found = answered(batch(without=(task,)))
    sum(found.values()).backward()
    own = [p for name, p in model.named_parameters() if name.startswith(losses.tasks(model)[task])]
    assert own and all((p.grad == 0).all() for p in own)


def test_even_rubbish_where_nothing_is_labelled_gives_no_nan():
    one = batch(without=TASKS)
    for name, value in one.items():
        if value.is_floating_point() and name != "image_CYX":
            value[:] = math.nan
    model, found = answered(one)
    sum(found.values()).backward()
    assert all(value.item() == 0 for value in found.values())
    assert all((p.grad == 0).all() for p in model.parameters())


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), count=st.integers(2, 4))
def test_sums_and_counts_of_a_batch_are_those_of_its_samples(seed, count):
    whole = batch(count, seed=seed)
    whole["face_YX"][0] = IGNORE
    whole["height_labelled_YX"][1, :, :20] = 0
    model, together = answered(whole)
    parts = [{name: value[n : n + 1] for name, value in whole.items()} for n in range(count)]
    alone = [answered(part, model)[1] for part in parts]
    for task in TASKS:
        assert torch.allclose(together[task], sum(one[task] for one in alone), rtol=1e-4)
        assert losses.counts(whole)[task] == sum(losses.counts(part)[task] for part in parts)


def truth(one):
    """Maps that say the truth as clearly as cells can."""
    big = 5.0
    of_cell = lambda value: losses.cells(value).mode(1).values.long()  # noqa: E731
    hot = lambda value, n: big * torch.nn.functional.one_hot(value, n).movedim(-1, 1).float()  # noqa: E731
    return {
        "superstructure_BSVU": hot(of_cell(one["superstructure_YX"]), len(SUPERSTRUCTURES)),
        "face_BFVU": hot(of_cell(one["face_YX"]), FACES),
        "slope_BGVU": torch.nn.functional.avg_pool2d(one["slope_GYX"], 4),
        "line_BKVU": one["closeness_KVU"].logit(1e-6),
        "direction_BDVU": one["direction_DVU"],
        "junction_BVU": one["junction_VU"].logit(1e-6),
        "rise_BVU": torch.nn.functional.avg_pool2d(one["rise_YX"][:, None], 4)[:, 0],
        "height_BVU": torch.nn.functional.avg_pool2d(one["height_YX"][:, None], 4)[:, 0],
    }


@pytest.mark.parametrize("task", [task for task in TASKS if task != "outline"])
def test_the_truth_costs_far_less_than_an_untrained_network(task):
    one = batch()
    _, untrained = answered(one)
    best = losses.sums(truth(one), one)
    assert best[task] < 0.5 * untrained[task]
    if task == "line":
        assert abs(best[task] / losses.counts(one)[task]) < 1e-4


def test_the_loss_of_heights_is_that_of_eigen_and_the_absolute_error():
    answer, metres = torch.rand(1, 8, 8) * 5, torch.rand(1, 32, 32) * 5
    known = torch.rand(1, 32, 32) > 0.3
    up = losses.upsampled(answer[:, None])[:, 0][known]
    d = torch.log(1 + up) - torch.log(1 + metres[known])
    expected = (up - metres[known]).abs().mean() + d.square().mean() - 0.5 * d.mean() ** 2
    assert torch.allclose(losses.metres(answer, metres, known) / known.sum(), expected, rtol=1e-4)


def test_the_band_lies_two_pixels_on_either_side_and_not_where_nobody_looked():
    label = torch.zeros(1, 9, 12)
    label[..., 6:] = 1
    label[:, 0] = IGNORE
    found = losses.band(label == 1, label == 0)
    assert found[0, 5].tolist() == [4 <= x < 8 for x in range(12)]
    label[..., :6] = IGNORE
    assert not losses.band(label == 1, label == 0).any()
