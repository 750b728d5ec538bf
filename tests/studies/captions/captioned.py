"""Parameters, batches and models that the tests of this study share: small enough for milliseconds."""

import functools

import numpy as np
import torch

from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.sequence import SEQUENCE
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.models import network
from stepladder.studies.captions.params import CaptionsParams

QUESTION = "Describe this image simply."
ANSWERS = ("A red square left of a blue circle.", "A cat.", "No.")
PLACES = {"tiny": 16, "small": 49}


def parameters(size="small", steps=0, **model) -> CaptionsParams:
    """Parameters with a narrow language model."""
    model = {"length": 96, "width": 32, "layers": 2, "world_tokens": 4, **model}
    return CaptionsParams(study="captions", conversion={"size": size, "world_steps": steps}, model=model)


def batch_of(params, answers=ANSWERS, pictures=(1, 2, 1), most=2, seed=0):
    """A batch of items with random features, of up to `most` pictures each."""
    generator, ours = torch.Generator().manual_seed(seed), tokenizer(params.conversion)
    features, world = sequence.FEATURES[params.conversion.size], sequence.world_tokens(params)
    rows = [
        sequence.build(
            ours.encode(QUESTION),
            ours.encode(text),
            ours.special,
            [features.tokens] * count,
            world,
            params.model.length,
        )
        for text, count in zip(answers, pictures, strict=True)
    ]
    batch = {n: torch.from_numpy(np.stack(part)) for n, part in zip(SEQUENCE, zip(*rows, strict=True), strict=True)}
    vision = (len(rows), most, PLACES[params.conversion.size], features.channels)
    latents = (len(rows), most, sequence.frames(params), features.side, features.side, features.latents)
    for prefix in ("", "other_"):
        batch[f"{prefix}vision_MPF"] = torch.randn(vision, generator=generator).half()
        batch[f"{prefix}world_MTVUC"] = torch.randn(latents, generator=generator).half()
    batch["blank_vision_PF"] = torch.zeros(vision[:1] + vision[2:]).half()
    batch["blank_world_TVUC"] = torch.zeros(latents[:1] + latents[2:]).half()
    return batch


@functools.cache
def model_of(size="small", **model):
    """A model as it begins; do not change it."""
    torch.manual_seed(0)
    return network.build(parameters(size, **model)).eval()
