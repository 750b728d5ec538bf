"""The eight turns and mirror images of an image, and what they do to maps that speak of directions.

Decisions:
- An image turned by 90 degrees shows its roofs turned: sectors move by four, slopes and doubled angles of lines turn
  with them. Averaging maps without turning what they say would average north with east.
- The image is padded before it is turned, so that cells of all eight lie over the same pixels.

A symmetry is (quarters, mirrored): turned counter-clockwise by so many quarters as seen, then mirrored left to right.

Shape legend: B batch, C colours or channels, Y X pixels, V U cells; F G D as in `network.MAPS`.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from stepladder.studies.roofs.data.labels import SECTORS, STRIDE
from stepladder.studies.roofs.models.network import padded

SYMMETRIES = tuple(itertools.product(range(4), (False, True)))
Maps = dict[str, Tensor]


def averaged(network: Callable[[Tensor], Maps], image_BCYX: Tensor) -> Maps:
    """Maps of an image, averaged over its eight symmetries, each turned back before."""
    whole, total = padded(image_BCYX), dict[str, Tensor]()
    for symmetry in SYMMETRIES:
        maps = network(turned(whole, *symmetry))
        for name, value in maps.items():
            back = turned_back(name, value.float(), *symmetry) / len(SYMMETRIES)
            total[name] = total[name] + back if name in total else back
    rows, columns = (-(-side // STRIDE) for side in image_BCYX.shape[2:])
    return {name: value[..., :rows, :columns] for name, value in total.items()}


def turned(value: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """An image or map (..., rows, columns) turned and mirrored, whatever it speaks of."""
    value = torch.rot90(value, quarters, (-2, -1))
    return value.flip(-1) if mirrored else value


def turned_back(name: str, value: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """The map `name` of a turned image as that of the image itself."""
    value = torch.rot90(value.flip(-1) if mirrored else value, -quarters, (-2, -1))
    if name == "face_BFVU":
        return value[:, _sectors(value.shape[1], quarters, mirrored)]
    if name == "slope_BGVU":
        return _slopes(value, quarters, mirrored)
    if name == "direction_BDVU":
        # Half a turn of the doubled angle for each quarter; a mirror turns its sine over.
        sign = torch.tensor([1.0, -1.0 if mirrored else 1.0]) * (-1.0) ** quarters
        return value * sign.to(value.device)[:, None, None]
    return value


def _sectors(classes: int, quarters: int, mirrored: bool) -> list[int]:
    """For each class of the image itself: which class it is in the turned one. What has no sector stays."""
    of_turned = [(sector - quarters * SECTORS // 4) % SECTORS for sector in range(SECTORS)]
    seen = [-sector % SECTORS for sector in of_turned] if mirrored else of_turned
    return [*seen, *range(SECTORS, classes)]


def _slopes(slope_BGVU: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """East and north of the image itself from those of the turned one."""
    east_BVU, north_BVU = slope_BGVU.unbind(1)
    if mirrored:
        east_BVU = -east_BVU
    for _ in range(quarters):  # clockwise: north becomes east
        east_BVU, north_BVU = north_BVU, -east_BVU
    return torch.stack([east_BVU, north_BVU], dim=1)
