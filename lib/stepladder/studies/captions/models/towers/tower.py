"""What a tower is, and which belong to which size.

Decisions:
- `tiny` are the classes of Gemma 3 and Wan from small configurations with random weights of a fixed seed: they see, as
  every random projection does, and cost nothing. `small` is EfficientNet-Lite0 as ImageNet trained it, 49 places, and a
  Wan autoencoder trained here on drawn pictures (see `own`). `gemma3_4b` is SigLIP and the VAE of Cosmos, by path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepladder.core.types import StudyError
from stepladder.studies.captions.params import CaptionsConversion

GREY = 128  # of the blank picture


class Vision(Protocol):
    """A network that sees one picture."""

    key: str
    side: int  # pixels of the square it sees

    def __call__(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Features (N, P, F) float32 of uint8 squares."""
        ...


class World(Protocol):
    """An autoencoder of one or more frames."""

    key: str
    side: int

    def __call__(self, frames_NTYXC: np.ndarray) -> np.ndarray:
        """Normalised latents (N, T', V, U, C) float32 of 1 + 4n uint8 frames, T' = 1 + n."""
        ...


@dataclass(frozen=True)
class Towers:
    """The two frozen towers of a size."""

    vision: Vision
    world: World

    @property
    def keys(self) -> dict[str, str]:
        """What identifies them."""
        return {"vision": self.vision.key, "world": self.world.key}


def towers(conversion: CaptionsConversion, files: Sequence[Path] = ()) -> Towers:
    """The towers of a size; `files` are the weights that an asset names (its neighbours).

    Raises:
        StudyError: weights are missing, or are not those that are known by hash.
    """
    settings: Any = conversion  # frozen, so it can be hashed, which its type does not say
    return _towers(settings, tuple(files))


@cache
def _towers(conversion: CaptionsConversion, files: tuple[Path, ...]) -> Towers:
    if conversion.size == "tiny":
        from stepladder.studies.captions.models.towers import tiny

        return Towers(tiny.Siglip(), tiny.Wan())
    if conversion.size == "small":
        from stepladder.studies.captions.models.towers import lite, own

        if not files:
            raise StudyError("size small needs the weights of its world tower, which 02_conversion gathers: run it")
        return Towers(lite.Lite(), own.OwnWan(files[0]))
    from stepladder.studies.captions.models.towers import given

    return Towers(given.Siglip(conversion), given.CosmosVae(conversion))
