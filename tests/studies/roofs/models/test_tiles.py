"""Tiles cover every cell once in sum, keep places, and say what a single pass says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.crops import normalised
from stepladder.studies.roofs.data.readers.images import open_picture
from stepladder.studies.roofs.models import network, tiles
from tests.studies.roofs.models.batches import params

AXES = st.tuples(st.integers(1, 900), st.sampled_from([96, 160, 256]), st.integers(0, 8), st.integers(0, 4))


@settings(max_examples=60)
@given(axis=AXES)
def test_weights_of_all_tiles_add_up_to_one_in_every_cell(axis):
    size, tile, overlap, halo = axis
    rows = tiles.grid((size, 8), tile, 4 * overlap % 32, 4 * halo % 16).rows
    total, before = torch.zeros(rows.cells), -1
    for number in range(rows.count):
        weight, seen = rows.weight(number), rows.seen(number)
        total[seen] += weight
        assert weight.min() >= 0 and seen.start % 8 == 0 and seen.start > before
        before = seen.start
        inner = rows.halo // 4
        assert number == 0 or (weight[:inner] == 0).all()
        assert number == rows.count - 1 or (weight[len(weight) - inner :] == 0).all()
    assert torch.allclose(total, torch.ones(rows.cells), atol=1e-6)


@settings(max_examples=20)
@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), classes=st.sampled_from([1, 300]))
def test_what_is_said_of_a_place_arrives_there_for_any_number_of_classes(size, classes):
    """A network that repeats its image: nothing is moved by half a pixel, mirrored, or cut at 255 classes."""

    def echo(image):
        cells = torch.nn.functional.avg_pool2d(image[:, :1], 4, ceil_mode=True)
        return {"map": cells.expand(-1, classes, -1, -1) + torch.arange(classes)[:, None, None]}

    image = torch.rand(1, 3, *size)
    assert torch.allclose(tiles.tiled(echo, image, 96, 16, 8)["map"], echo(image)["map"], rtol=1e-5)


def test_tiles_with_a_halo_as_wide_as_the_networks_reach_are_a_single_pass():
    """The own encoder reaches 339 pixels; nothing else, such as statistics of the tile, has a say."""
    torch.manual_seed(0)
    model, image = network.build(params()).eval(), torch.randn(1, 3, 800, 1003)
    with torch.no_grad():
        whole, cut = model(image), tiles.tiled(model, image, 768, 32, 352)
    assert len(tiles.grid((800, 1003), 768, 32, 352)) > 1
    for name, value in whole.items():
        assert torch.allclose(cut[name], value, atol=1e-5), name


def test_one_tile_is_a_single_pass_to_the_last_bit():
    torch.manual_seed(0)
    model, image = network.build(params()).eval(), torch.randn(1, 3, 100, 90)
    with torch.no_grad():
        whole, cut = model(image), tiles.tiled(model, image, 128, 32, 8)
    assert all(torch.equal(cut[name], value) for name, value in whole.items())


def test_tiles_without_room_are_refused_with_the_way_out():
    with pytest.raises(StudyError, match="at least overlap"):
        tiles.grid((500, 500), 64, 32, 8)


LARGEST, MEAN = 0.05, 0.001  # differences of probabilities, of an untrained network with a halo of 64 pixels


@pytest.mark.slow
@pytest.mark.parametrize("tile", [384, 512, 768, 1024])
def test_a_real_mosaic_looks_the_same_through_tiles_of_any_size(mosaic, tile):
    """2048 x 2048 pixels of Kampala. Beyond 64 pixels only coarse levels see; trained, they differ by a thousandth."""
    model, image, whole = mosaic
    with torch.no_grad():
        cut = tiles.tiled(model, image, tile, 64, 64)
    for name in ("outline_BOVU", "line_BKVU", "junction_BVU"):
        difference = (cut[name].sigmoid() - whole[name].sigmoid()).abs()
        assert difference.max() < LARGEST and difference.mean() < MEAN, name


@pytest.fixture(scope="module")
def mosaic(shared_data):
    """An untrained network, the mosaic, and what the network says of it in a single pass."""
    path = shared_data / "roofs" / "outlines_oam" / "kampala_a.tif"
    if not path.exists():
        pytest.skip(f"no {path.name} in the real data")
    torch.manual_seed(0)
    settings = params(decoder=8, tasks=["outline", "line"])
    image_YXC, _ = open_picture(path, settings.conversion).whole()
    model, image = network.build(settings).eval(), torch.from_numpy(normalised(image_YXC))[None]
    with torch.no_grad():
        return model, image, model(image)
