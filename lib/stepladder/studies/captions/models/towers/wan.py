"""The Wan autoencoder as a world tower, whatever its size: frames in [-1, 1] to normalised latents.

Decisions:
- The class is that of diffusers, which the world model Cosmos-Predict2 uses too. It takes 1 + 4n frames.
- Its input lies in [-1, 1] and its latents are normalised by the means and deviations that its configuration names:
  leaving out either makes other numbers without an error.
- The mean of the latents is taken, not a draw: features must be the same every time.
"""

from typing import Any

import numpy as np
import torch

LIMIT = 16  # frames of pictures in one pass


class Wan:
    """A frozen autoencoder.

    Args:
        model: diffusers' `AutoencoderKLWan`.
        side: pixels of the square it sees.
        key: what identifies weights and preparation.
    """

    def __init__(self, model: Any, side: int, key: str):
        self.model, self.side, self.key = model.eval().requires_grad_(False), side, key
        parameter = next(model.parameters())
        self._place = {"device": parameter.device, "dtype": parameter.dtype}

    @torch.no_grad()
    def __call__(self, frames_NTYXC: np.ndarray) -> np.ndarray:
        """Latents (N, 1 + n, V, U, C) float32 of 1 + 4n uint8 frames."""
        count = max(1, LIMIT // frames_NTYXC.shape[1])
        parts = [frames_NTYXC[first : first + count] for first in range(0, len(frames_NTYXC), count)]
        return np.concatenate([self.latents(torch.from_numpy(part)).float().cpu().numpy() for part in parts])

    def latents(self, frames_NTYXC: torch.Tensor) -> torch.Tensor:
        """The same on tensors."""
        video_NCTYX = (frames_NTYXC.to(**self._place) / 127.5 - 1).permute(0, 4, 1, 2, 3)
        mean_NCTVU = self.model.encode(video_NCTYX).latent_dist.mode()
        config = self.model.config
        mean, std = (
            mean_NCTVU.new_tensor(each)[:, None, None, None] for each in (config.latents_mean, config.latents_std)
        )
        return ((mean_NCTVU - mean) / std).permute(0, 2, 3, 4, 1)


def autoencoder(channels: int, width: int, **more: Any) -> Any:
    """A small autoencoder of the class, 8 x 8 pixels and 4 frames to a latent, freshly initialised."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=width,
        z_dim=channels,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],  # the spelling is diffusers'
        **{"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels, **more},
    )
