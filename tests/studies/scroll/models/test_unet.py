"""The network takes any patch, starts empty, keeps its parameter names, and learns."""

import copy

import pytest
import torch

from stepladder.core.types import TrainingPhase
from stepladder.studies.scroll.models import losses, unet
from stepladder.studies.scroll.params import ScrollParams
from tests.studies.scroll import small_sheets


def network(**model):
    torch.manual_seed(0)
    return unet.build(small_sheets.params(**model))


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 9, 30), (5, 8, 33), (2, 3, 4)])
def test_any_patch_keeps_its_shape(shape):
    assert network(levels=3)(torch.randn(2, *shape)).shape == (2, *shape)


def test_padding_changes_nothing_where_none_is_needed():
    model, image = network().eval(), torch.randn(1, 16, 16, 16)
    assert torch.equal(model(image), model(image.clone()))
    assert model(image[:, :15]).shape == (1, 15, 16, 16)


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_network_answers_empty(seed):
    torch.manual_seed(seed)
    model = unet.build(small_sheets.params())
    assert model(torch.randn(1, 16, 16, 16)).sigmoid().max() < 0.2


def test_names_of_parameters_are_those_of_saved_checkpoints():
    names = {name.rsplit(".", 1)[0] for name in network().state_dict()}
    block = {"conv1", "norm1", "conv2", "norm2"}
    encoders = {f"encoders.{level}.{number}.{part}" for level, number in ((0, 0), (1, 0), (1, 1)) for part in block}
    assert names == encoders | {"first", "downs.0", "ups.0", "decoders.0.conv", "decoders.0.norm", "last"}


def test_the_default_size_suits_a_cpu():
    model = unet.build(ScrollParams(study="scroll"))
    assert 300_000 < sum(p.numel() for p in model.parameters()) < 1_000_000


def test_every_parameter_gets_a_gradient():
    model = network(levels=3, dropout=0.1).train()
    losses.loss(model, small_sheets.batch(), TrainingPhase("sheets", 1)).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_it_learns_a_batch_by_heart():
    model, batch = network(), small_sheets.batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    values = []
    for _ in range(30):
        total = losses.loss(model, batch, TrainingPhase("sheets", 30)).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.5 * values[0]


def test_a_copy_is_whole():
    model = network()
    twin = copy.deepcopy(model)
    image = torch.randn(1, 16, 16, 16)
    assert torch.equal(model(image), twin(image)) and twin.optimizer_step == 0


def test_there_is_one_stage():
    params = small_sheets.params()
    (phase,) = unet.phases(params)
    assert phase.steps == params.training.steps
