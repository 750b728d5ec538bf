"""From the network's maps at stride 4 to what it says of every pixel.

Decisions:
- Maps are up-sampled before they are squashed: logits, slopes and metres are what may be averaged.

Shape legend: B batch, Y X pixels, V U cells; S F G O K D as in `network.MAPS`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from stepladder.core.types import Batch, Prediction
from stepladder.studies.roofs.models import symmetry, tiles
from stepladder.studies.roofs.models.losses import upsampled

Maps = dict[str, Tensor]


@torch.no_grad()
def predict(model: Any, batch: Batch) -> Prediction:
    """Probabilities, slopes and metres of images; keys as in the contract of `answers`."""
    settings, image_BCYX = model.settings, batch["image_CYX"]
    maps = tiles.tiled(speaker(model), image_BCYX, settings.tile, settings.overlap, settings.halo)
    return answers(maps, image_BCYX.shape[2:])


def speaker(model: Any) -> Callable[[Tensor], Maps]:
    """The network as tiles ask it: with test-time augmentation where its settings say so."""
    return functools.partial(symmetry.averaged, model) if model.settings.tta else model


def answers(maps: Mapping[str, Tensor], size: tuple[int, ...]) -> Prediction:
    """Maps at stride 4 as probabilities (classes, outline, boundary), slopes and metres of (Y, X) = `size` pixels.

    Lines, directions and junctions stay at stride 4, lines and junctions as probabilities.
    """
    pixels = {name: _pixels(value, size) for name, value in maps.items() if name not in LINES}
    cells = {name: value.float() for name, value in maps.items() if name in LINES}
    found: Prediction = {}
    if "superstructure_BSVU" in pixels:
        found["superstructure_BSYX"] = pixels["superstructure_BSVU"].softmax(1)
    if "face_BFVU" in pixels:
        found |= {"face_BFYX": pixels["face_BFVU"].softmax(1), "slope_BGYX": pixels["slope_BGVU"]}
    if "outline_BOVU" in pixels:
        found["outline_BYX"], found["boundary_BYX"] = pixels["outline_BOVU"].sigmoid().unbind(1)
    if "line_BKVU" in cells:
        found |= {"line_BKVU": cells["line_BKVU"].sigmoid(), "direction_BDVU": cells["direction_BDVU"]}
        found["junction_BVU"] = cells["junction_BVU"].sigmoid()
    for task in ("rise", "height"):
        if f"{task}_BVU" in pixels:
            found[f"{task}_BYX"] = pixels[f"{task}_BVU"]
    return found


LINES = ("line_BKVU", "direction_BDVU", "junction_BVU")


def _pixels(value: Tensor, size: tuple[int, ...]) -> Tensor:
    """A map (B, V, U) or (B, C, V, U) at full resolution, cut to the image."""
    whole = upsampled(value.float()) if value.ndim == 4 else upsampled(value.float()[:, None])[:, 0]
    return whole[..., : size[0], : size[1]]
