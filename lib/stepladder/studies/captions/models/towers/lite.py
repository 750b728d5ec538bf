"""EfficientNet-Lite0 as a vision tower: 49 places of 1,280 features, as ImageNet trained it."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stepladder.core.files import fingerprint
from stepladder.networks import lite0

PREPARED = 1  # version of how a picture is brought to the network
BATCH = 16  # pictures in one pass


class Lite:
    """The features before its average: each of 7 x 7 places knows which of a thousand things it may be part of."""

    side = 224

    def __init__(self) -> None:
        self.network = lite0.pretrained().eval().requires_grad_(False)
        self.key = fingerprint([lite0.SHA256, self.side, PREPARED])

    @torch.no_grad()
    def __call__(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Features (N, 49, 1280) of uint8 squares of 224 pixels."""
        parts = [pixels_NYXC[first : first + BATCH] for first in range(0, len(pixels_NYXC), BATCH)]
        seen = [places(self.network.encoder, self.network.top, torch.from_numpy(part)).numpy() for part in parts]
        return np.concatenate(seen)


def places(encoder: lite0.Lite0, top: nn.Module, pixels_NYXC: torch.Tensor) -> torch.Tensor:
    """Features (N, 49, 1280) of the network for uint8 squares of 224 pixels."""
    mean, std = (
        pixels_NYXC.new_tensor(each, dtype=torch.float32) for each in (lite0.IMAGENET_MEAN, lite0.IMAGENET_STD)
    )
    image_NCYX = ((pixels_NYXC.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    deep_NFVU = functional.relu6(top(encoder(image_NCYX)[-1]))
    return deep_NFVU.flatten(2).transpose(1, 2)
