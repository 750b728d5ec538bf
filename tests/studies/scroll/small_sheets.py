"""Small parameters and volumes for tests of the scroll study's model and scores."""

import numpy as np
import torch

from stepladder.studies.scroll.data.distance import squared_distance
from stepladder.studies.scroll.data.skeleton import medial_surface
from stepladder.studies.scroll.params import ScrollParams


def params(**model) -> ScrollParams:
    """A tiny network, patch and post-processing, with `model` on top."""
    values = {
        "study": "scroll",
        "model": {"patch": [16, 16, 16], "width": 4, "levels": 2, **model},
        "evaluation": {"post": {"smallest": 20, "fill": 20}},
    }
    return ScrollParams.model_validate(values)


def volume(shape=(24, 24, 24), seed=0, noise=0.5):
    """Image float32 and label int64 of bright wavy sheets; a corner is not labelled."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    height = z + 2 * np.sin(y / 5 + rng.uniform(0, 6)) + rng.uniform(-0.3, 0.3) * x
    label = ((height + rng.uniform(0, 8)) % 8 < 2).astype(np.int64)
    image = (label - 0.5) * 2 + noise * rng.standard_normal(shape) + 0.05 * x  # uneven density
    label[:4, :4, :4] = 2
    return image.astype(np.float32), label


def batch(count=2, shape=(16, 16, 16), seed=0):
    """A collated training batch with everything the losses read."""
    rows = []
    for number in range(count):
        image, label = volume(shape, seed + number)
        distance, skeleton = squared_distance(label == 1, 64), medial_surface(label == 1)
        rows.append((image, label, distance.astype(np.float32), skeleton.astype(np.float32)))
    names = ("image_ZYX", "label_ZYX", "distance_ZYX", "skeleton_ZYX")
    arrays = zip(names, zip(*rows, strict=True), strict=True)
    return {"index": torch.arange(count), **{name: torch.from_numpy(np.stack(column)) for name, column in arrays}}
