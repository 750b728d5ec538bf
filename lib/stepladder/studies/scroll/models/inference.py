"""From a network that sees patches to the probability of a whole volume.

Decisions:
- Windows of the training patch, overlapping, blended by a Gaussian of an eighth of the window (as nnU-Net does): a
  voxel is told by the windows in whose middle it lies. Windows are spread evenly, and the last ends at the border.
- A volume smaller than the patch in some axis is seen whole in that axis; the network pads inside.
- Logits are blended, then squashed.
- Sums stay on the volume's device; the windows of a volume run one by one, so memory is that of one patch.

Shape legend: B batch, Z Y X voxels.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stepladder.core.types import Batch, Prediction
from stepladder.studies.scroll.models import postprocess

SIGMA = 1 / 8  # of the window's length
LEAST = 1e-3  # of the largest weight, so that every voxel counts for something


@torch.no_grad()
def predict(model: Any, batch: Batch) -> Prediction:
    """`probability_BZYX` float32 and, after post-processing, `mask_BZYX` uint8, of patches or whole volumes."""
    settings = model.settings
    probability_BZYX = torch.stack(
        [sliding_window(model, image, settings.patch, settings.overlap).sigmoid() for image in batch["image_ZYX"]]
    )
    masks = [postprocess.chain(p.cpu().numpy(), model.post) for p in probability_BZYX]
    mask_BZYX = torch.stack([torch.from_numpy(mask).to(torch.uint8) for mask in masks])
    return {"probability_BZYX": probability_BZYX, "mask_BZYX": mask_BZYX}


def sliding_window(
    network: Callable[[Tensor], Tensor], image_ZYX: Tensor, patch: Sequence[int], overlap: float
) -> Tensor:
    """Logits (Z, Y, X) float32 of a volume, blended from windows.

    Args:
        network: images (1, z, y, x) -> logits of the same shape.
        image_ZYX: the volume, normalised.
        patch: voxels of a window.
        overlap: least share of a window that the next one covers again, from 0 to below 1.
    """
    window = [min(side, size) for side, size in zip(patch, image_ZYX.shape, strict=True)]
    weight_zyx = gaussian(window).to(image_ZYX.device)
    total_ZYX, weights_ZYX = (torch.zeros(image_ZYX.shape, device=image_ZYX.device) for _ in range(2))
    for corner in itertools.product(*(starts(n, w, overlap) for n, w in zip(image_ZYX.shape, window, strict=True))):
        place = tuple(slice(start, start + side) for start, side in zip(corner, window, strict=True))
        total_ZYX[place] += network(image_ZYX[place][None])[0].float() * weight_zyx
        weights_ZYX[place] += weight_zyx
    return total_ZYX / weights_ZYX


def starts(size: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: evenly from 0 to `size - window`, no further apart than the overlap allows."""
    step = max(1.0, window * (1 - overlap))
    count = -int(-(size - window) // step) + 1
    return [round(number * (size - window) / max(count - 1, 1)) for number in range(count)]


def gaussian(window: Sequence[int]) -> Tensor:
    """Weights of a window's voxels, 1 in the middle, at least `LEAST`."""
    weight = torch.ones(())
    for side in window:
        from_middle = torch.arange(side) - (side - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (from_middle / (SIGMA * side)) ** 2)
    return weight.clamp(min=LEAST)
