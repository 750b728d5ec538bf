"""The vision tower in the model: computed features answer as cached ones do, and a released tower learns."""

import pytest
import torch
from torch.utils.data import default_collate

from stepladder.core.types import StudyError
from stepladder.data import shards
from stepladder.data.shards import Shard
from stepladder.studies.captions.data import conversion
from stepladder.studies.captions.data.dataset import Pairs
from stepladder.studies.captions.models import losses, network, phases
from stepladder.studies.captions.models.towers import own
from tests.studies.captions import drawn_tars
from tests.studies.captions.captioned import parameters


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A shard of size small, whose world tower has hardly learnt."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "STEPS", 2)
        patch.setattr(own, "JUDGED", 4)
        weights = own.weights(folder)
    asset = drawn_tars.tar(folder, count=2, questions=())
    asset = type(asset)(asset.id, asset.group, asset.files, (weights,))
    shards.write(folder / "a.h5", conversion.convert(asset, parameters()), "recipe")
    return folder / "a.h5"


def batch_of(path, settings):
    pairs = Pairs([path], settings)
    return default_collate([pairs.sample(index, None) for index in range(len(pairs))])


def model_of(settings):
    torch.manual_seed(0)
    return network.build(settings)


def test_computed_features_are_the_cached_ones_and_so_are_the_logits(path):
    logits = {}
    for vision in ("cached", "computed"):
        settings = parameters(vision=vision)
        with torch.no_grad():
            logits[vision] = model_of(settings).eval()(batch_of(path, settings))
    size = logits["cached"].square().mean().sqrt()
    assert float((logits["computed"] - logits["cached"]).square().mean().sqrt()) < 2e-3 * float(size)


def test_computed_features_are_those_of_the_picture_in_the_batch(path):
    settings = parameters(vision="computed")
    batch, model = batch_of(path, settings), model_of(settings).eval()
    assert batch["pixels_MYXC"].shape[-3:] == Shard(path).array("pixels_NYXC").shape[1:]
    with torch.no_grad():
        before = model(batch)
        after = model({**batch, "pixels_MYXC": 255 - batch["pixels_MYXC"]})
    assert not torch.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize("vision", ["computed", "released"])
def test_a_gradient_reaches_the_vision_tower_when_it_is_released_and_only_then(path, vision):
    settings = parameters(vision=vision)
    model, batch = model_of(settings), batch_of(path, settings)
    phase = phases.phases(settings)[-1]
    for name, parameter in model.named_parameters():  # as the loop does
        parameter.requires_grad_(name.startswith(phase.trainable))
    losses.loss(model, batch, phase).total.backward()
    tower = [p for name, p in model.named_parameters() if "encoder" in name and "vision" in name]
    assert tower
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in tower]
    assert any(reached) == (vision == "released")


def test_size_tiny_has_nothing_to_release():
    with pytest.raises(StudyError, match=r"model\.vision"):
        network.build(parameters("tiny", vision="released"))
