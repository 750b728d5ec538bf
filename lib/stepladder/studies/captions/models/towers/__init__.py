"""Frozen towers, which run once per picture: what a vision network and a video autoencoder make of it.

Decisions:
- A tower is known by its `key`: a hash of its weights' bytes and of how a picture is brought to it. Shards carry the
  keys of what made them, so features of other weights are noticed, not used.
- Pictures are squashed to a square, as Gemma 3 does: nothing at the sides is lost, and every place has a feature.
- Towers compute in float32 (the large ones in bfloat16 on a card) and are asked for a batch at a time.
- A vision tower can also stand in the model (`vision`): computed in every step, to measure what the shards save, or
  released to learn.

Shape legend: N pictures, T frames, Y X pixels, C colours or channels, P places, F features, V U rows and columns of
latents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from stepladder.core.types import StudyError

if TYPE_CHECKING:
    from stepladder.studies.captions.params import CaptionsParams


class Places(nn.Module):
    """EfficientNet-Lite0 from pixels to places, as a part of a model."""

    def __init__(self) -> None:
        super().__init__()
        from stepladder.networks import lite0

        whole = lite0.pretrained()
        self.encoder, self.top = whole.encoder, whole.top

    def forward(self, pixels_NYXC: Tensor) -> Tensor:
        """Features (N, 49, 1280) of uint8 squares of 224 pixels."""
        from stepladder.studies.captions.models.towers.lite import places

        return places(self.encoder, self.top, pixels_NYXC)


def vision(params: CaptionsParams) -> nn.Module:
    """The vision tower of a size as a part of the model.

    Raises:
        StudyError: the size has none.
    """
    if params.conversion.size == "small":
        return Places()
    if params.conversion.size == "gemma3_4b":
        from stepladder.studies.captions.models.towers import given

        return given.Places(params.conversion)
    raise StudyError(
        "size tiny sees by random weights, which nothing is gained by releasing: set model.vision to cached"
    )
