"""The towers of size `gemma3_4b`: SigLIP of Gemma 3 and the autoencoder of Cosmos, from given weights.

Decisions:
- Weights come from a folder, or from a hub at a pinned commit: a name alone is refused, and so is a branch or a tag
  in the place of a commit, since those move.
- Of Cosmos-Predict2 the autoencoder alone is loaded (126,892,531 parameters). The pipeline around it brings a text
  encoder, a safety checker and a world model of two billion parameters that none of this uses.
- Of Gemma 3 the vision tower alone: its projector is the language model's (see `models.gemma`).
- Both in bfloat16 on a card, float32 elsewhere. They see 896 and 512 pixels.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepladder.core.files import fingerprint
from stepladder.core.types import StudyError
from stepladder.studies.captions.models.towers import wan
from stepladder.studies.captions.params import CaptionsConversion

PREPARED = 1
COMMIT = re.compile("[0-9a-f]{40}")
WORLD_SIDE = 512
BATCH = 8  # pictures in one pass


class Siglip:
    """4,096 places of 1,152 features, averaged to 256 by Gemma's own rule of 4 x 4 before they are kept."""

    side = 896

    def __init__(self, conversion: CaptionsConversion) -> None:
        from transformers import Gemma3ForConditionalGeneration

        name, revision = pinned("conversion.weights", conversion.weights, conversion.revision)
        source: Any = Gemma3ForConditionalGeneration
        whole = source.from_pretrained(name, revision=revision, dtype=_dtype())
        self.model = whole.model.vision_tower.to(_device()).eval().requires_grad_(False)
        self.key = fingerprint(["gemma3_4b", identity(name, revision), self.side, PREPARED])

    @torch.no_grad()
    def __call__(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Features (N, 256, 1152) of uint8 squares of 896 pixels."""
        parts = [self._pass(pixels_NYXC[first : first + BATCH]) for first in range(0, len(pixels_NYXC), BATCH)]
        return np.concatenate(parts)

    def _pass(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        image_NCYX = (torch.from_numpy(pixels_NYXC).to(_device(), _dtype()) / 127.5 - 1).permute(0, 3, 1, 2)
        places_NPF = self.model(pixel_values=image_NCYX).last_hidden_state
        return pooled(places_NPF).float().cpu().numpy()


class CosmosVae(wan.Wan):
    """Latents of 16 channels in 64 x 64 places."""

    def __init__(self, conversion: CaptionsConversion) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

        name, revision = pinned("conversion.world_weights", conversion.world_weights, conversion.world_revision)
        model: Any = AutoencoderKLWan.from_pretrained(name, subfolder="vae", revision=revision, torch_dtype=_dtype())
        key = fingerprint(["cosmos vae", identity(name, revision), WORLD_SIDE, PREPARED])
        super().__init__(model.to(_device()), WORLD_SIDE, key)


class Places(torch.nn.Module):
    """SigLIP of Gemma 3 from pixels to 256 places, as a part of a model."""

    def __init__(self, conversion: CaptionsConversion) -> None:
        super().__init__()
        self.tower = Siglip(conversion).model

    def forward(self, pixels_NYXC: torch.Tensor) -> torch.Tensor:
        """Features (N, 256, 1152) of uint8 squares of 896 pixels."""
        place = next(self.tower.parameters())
        image_NCYX = (pixels_NYXC.to(place.dtype) / 127.5 - 1).permute(0, 3, 1, 2)
        return pooled(self.tower(pixel_values=image_NCYX).last_hidden_state)


def pinned(parameter: str, name: str | None, revision: str | None) -> tuple[str, str | None]:
    """A folder, or a name at the hub with the commit it is pinned to.

    Raises:
        StudyError: nothing is named, or a name at the hub without a whole commit (40 hexadecimal digits).
    """
    if not name:
        raise StudyError(f"{parameter} is empty: name a folder of weights, or a repository of the hub and its commit")
    if Path(name).is_dir():
        return name, None
    if not COMMIT.fullmatch(revision or ""):
        raise StudyError(
            f"{parameter} = {name!r} is no folder here, so it names a repository: pin its commit, all 40 digits of it, "
            f"not {revision!r}"
        )
    return name, revision


def identity(name: str, revision: str | None) -> list[str]:
    """What identifies weights: the commit, or the hashes that a folder's files have."""
    if revision:
        return [name, revision]
    from stepladder.core.files import file_sha256

    return [f"{path.name} {file_sha256(path)}" for path in sorted(Path(name).rglob("*.safetensors"))]


def pooled(places_NPF: torch.Tensor, side: int = 16) -> torch.Tensor:
    """Places averaged to `side` x `side`, row by row, as Gemma 3's projector does before its norm."""
    count, places, features = places_NPF.shape
    whole = int(places**0.5)
    map_NFVU = places_NPF.transpose(1, 2).reshape(count, features, whole, whole)
    return torch.nn.functional.avg_pool2d(map_NFVU, whole // side).flatten(2).transpose(1, 2)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32
