"""Any size goes in, one map per task comes out, and no cell knows of another batch or another place's statistics."""

import pytest
import torch

from stepladder.studies.roofs.data.labels import TASKS
from stepladder.studies.roofs.models import losses, network
from tests.studies.roofs.models.batches import params


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return network.build(params()).eval()


@pytest.mark.parametrize("size", [(80, 80), (81, 127), (33, 690), (64, 96), (5, 3)])
def test_maps_have_a_cell_for_every_four_pixels(model, size):
    maps = model(torch.randn(2, 3, *size))
    channels = {name: count for task in TASKS for name, count in network.MAPS[task].items()}
    assert set(maps) == set(channels)
    for name, value in maps.items():
        axes = (2, *(() if name.endswith("_BVU") else (channels[name],)), *(-(-side // 4) for side in size))
        assert value.shape == axes and value.isfinite().all(), name
    assert maps["rise_BVU"].min() >= 0 and maps["height_BVU"].min() >= 0


def test_only_heads_of_the_asked_tasks_exist_and_their_parameters_have_their_names():
    asked = params(tasks=["line", "height"], balance="learned")
    model = network.build(asked)
    assert set(model(torch.randn(1, 3, 64, 64))) == {*network.MAPS["line"], *network.MAPS["height"]}
    names = {name for name, _ in model.named_parameters()}
    own = tuple(prefix for prefixes in losses.tasks(model).values() for prefix in prefixes)
    assert all(name.startswith((*own, "encoder.", "decoder.", "log_variance.")) for name in names)
    assert {"log_variance.line", "log_variance.height"} <= names


def test_a_batch_is_its_images_one_by_one(model):
    images = torch.randn(3, 3, 64, 64)
    together, alone = model(images), model(images[1:2])
    assert all(torch.allclose(together[name][1], alone[name][0], atol=1e-5) for name in alone)


def test_the_quick_network_is_small():
    asked = params(width=16, decoder=32)
    assert sum(p.numel() for p in network.build(asked).parameters()) < 1_000_000
