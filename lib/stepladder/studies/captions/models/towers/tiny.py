"""The towers of size `tiny`: the classes of Gemma 3 and Wan, small and with random weights of a fixed seed.

Decisions:
- They exist so that the whole road runs through the true classes in seconds. What they see is a random projection.
- The random weights are drawn under a generator of their own: nobody's seed moves, and nobody's moves them.
"""

from typing import Any

import numpy as np
import torch

from stepladder.core.files import fingerprint
from stepladder.studies.captions.models.towers import wan

SEED, PREPARED = 20, 1
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
CHANNELS, WIDTH, WORLD_SIDE = 4, 8, 64


class Siglip:
    """16 places of 32 features."""

    side = VISION["image_size"]

    def __init__(self) -> None:
        from transformers import SiglipVisionConfig, SiglipVisionModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.model = SiglipVisionModel(SiglipVisionConfig(**VISION, vision_use_head=False)).eval()
        self.model.requires_grad_(False)
        self.key = fingerprint(["siglip", VISION, SEED, PREPARED])

    @torch.no_grad()
    def __call__(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Features (N, 16, 32) of uint8 squares of 56 pixels."""
        image_NCYX = (torch.from_numpy(pixels_NYXC).float() / 127.5 - 1).permute(0, 3, 1, 2)
        return self.model(pixel_values=image_NCYX).last_hidden_state.numpy()


class Wan(wan.Wan):
    """Latents of 4 channels in 8 x 8 places."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = wan.autoencoder(CHANNELS, WIDTH)
        super().__init__(model, WORLD_SIDE, fingerprint(["wan", CHANNELS, WIDTH, WORLD_SIDE, SEED, PREPARED]))
