"""Turned images give turned maps, and what maps say of directions turns with them."""

import pytest
import torch
from torch.nn import functional

from stepladder.studies.roofs.data.labels import FACES, FLAT, NO_FACE
from stepladder.studies.roofs.models import network, symmetry
from tests.studies.roofs.models.batches import params


def surveyor(image_BCYX):
    """Exact maps of a relief (the first colour is its height): the way down, its sector, and the angle across it."""
    height = functional.avg_pool2d(image_BCYX[:, :1], 4)
    padded = functional.pad(height, (1, 1, 1, 1), mode="replicate")[:, 0]
    east, south = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    down_east, down_north = -east, south
    bearing = torch.atan2(down_east, down_north).rad2deg()
    sector = (bearing / 22.5).round().long() % 16
    sector = torch.where(torch.hypot(east, south) < 1e-6, FLAT, sector)
    sector = torch.where(height[:, 0] == 0, NO_FACE, sector)
    ridge = torch.atan2(south, east) + torch.pi / 2  # along the contour, in image coordinates
    return {
        "face_BFVU": functional.one_hot(sector, FACES).movedim(-1, 1).float(),
        "slope_BGVU": torch.stack([down_east, down_north], 1),
        "direction_BDVU": torch.stack([(2 * ridge).cos(), (2 * ridge).sin()], 1),
        "height_BVU": height[:, 0],
    }


def relief():
    """A pyramid-like roof on flat ground, and waves, so that all sectors occur."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing="ij")
    roof = (20 - torch.maximum((y - 40).abs() / 2, (x - 30.3).abs())).clamp(min=0) + (x / 17).sin() * (y / 23).cos()
    return torch.stack([roof, torch.rand(96, 64), torch.rand(96, 64)])[None]


def test_who_measures_exactly_says_the_same_of_all_eight():
    image = relief()
    alone, together = surveyor(image), symmetry.averaged(surveyor, image)
    assert alone["face_BFVU"].amax((2, 3)).sum() > 10  # most sectors occur
    for name, value in alone.items():
        assert torch.allclose(together[name], value, atol=1e-5), name


@pytest.mark.parametrize(("quarters", "mirrored"), symmetry.SYMMETRIES)
@pytest.mark.parametrize("size", [(64, 96), (50, 83)])
def test_averaged_maps_of_a_turned_image_are_the_turned_maps(quarters, mirrored, size):
    torch.manual_seed(0)
    model, image = network.build(params()).eval(), torch.randn(1, 3, *size)
    if size != (64, 96):
        image = network.padded(image)  # where cells are full, a turn takes cells to cells
    with torch.no_grad():
        one = symmetry.averaged(model, image)
        other = symmetry.averaged(model, symmetry.turned(image, quarters, mirrored))
    for name, value in one.items():
        back = symmetry.turned_back(name, other[name], quarters, mirrored)
        assert torch.allclose(back, value, atol=1e-4), name


def test_odd_sides_keep_their_cells():
    torch.manual_seed(0)
    model, image = network.build(params()).eval(), torch.randn(1, 3, 51, 83)
    with torch.no_grad():
        alone, together = model(image), symmetry.averaged(model, image)
    assert {name: value.shape for name, value in alone.items()} == {n: v.shape for n, v in together.items()}
