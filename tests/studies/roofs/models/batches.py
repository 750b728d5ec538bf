"""Batches as the samples of the roofs study are collated: gable roofs of flat colour, every task labelled."""

import torch

from stepladder.core.types import Batch
from stepladder.studies.roofs.data.labels import BACKGROUND, CHANNELS, IGNORE, NO_FACE, UNTYPED
from stepladder.studies.roofs.params import RoofsParams

TASK_KEYS = {
    "superstructure": "superstructure_YX",
    "face": "face_YX",
    "outline": "outline_YX",
    "line": "line_labelled_KVU",
    "rise": "rise_labelled_YX",
    "height": "height_labelled_YX",
}


def params(**model) -> RoofsParams:
    """Parameters with a network of 8 channels."""
    return RoofsParams.model_validate(
        {"study": "roofs", "profile": "test", "model": {"width": 8, "decoder": 16, "crop": 64, **model}}
    )


def batch(count: int = 2, side: int = 64, seed: int = 0, without: tuple[str, ...] = ()) -> Batch:
    """`count` images, each with one roof whose ridge runs east; tasks named in `without` are not labelled."""
    generator = torch.Generator().manual_seed(seed)
    made = [_one(side, generator) for _ in range(count)]
    result = {name: torch.stack([one[name] for one in made]) for name in made[0]}
    for task in without:
        result[TASK_KEYS[task]][:] = 0 if TASK_KEYS[task].endswith(("KVU", "labelled_YX")) else IGNORE
    return result


def _one(side: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    top, left = (int(n) for n in torch.randint(4, side // 4, (2,), generator=generator))
    high, wide = (int(n) for n in torch.randint(side // 3, side // 2, (2,), generator=generator))
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    roof = (y > top) & (y < top + high) & (x > left) & (x < left + wide)
    ridge = top + high / 2
    north = roof & (y < ridge)
    face = torch.where(roof, torch.where(north, 0, 8), NO_FACE)
    sign = torch.where(north, 1.0, -1.0) * roof
    window = roof & ((y - top - high / 4).abs() < 2) & ((x - left - wide / 2).abs() < 3)
    rise = torch.where(roof, 0.5 * (high / 2 - (y - ridge).abs()) * 0.1, 0.0)
    v, u = torch.meshgrid(4 * torch.arange(side // 4) + 2.0, 4 * torch.arange(side // 4) + 2.0, indexing="ij")
    distance = torch.hypot(v - ridge, (u - left - wide / 2).abs().sub(wide / 2).clamp(min=0))
    ends = torch.hypot(v - ridge, (u - left - wide / 2).abs() - wide / 2)
    close = 1 - distance.clamp(max=8) / 8
    closeness = torch.zeros(CHANNELS, *close.shape)
    closeness[0] = closeness[UNTYPED] = close
    colour = 0.3 * torch.randn(3, side, side, generator=generator)
    return {
        "image_CYX": colour + 1.5 * roof + 1.0 * north - 2.0 * window,
        "superstructure_YX": torch.where(window, 2, BACKGROUND).to(torch.uint8),
        "face_YX": face.to(torch.uint8),
        "outline_YX": roof.to(torch.uint8),
        "slope_GYX": torch.stack([torch.zeros_like(sign), 0.5 * sign]),
        "rise_YX": rise,
        "rise_labelled_YX": torch.ones(side, side, dtype=torch.uint8),
        "height_YX": torch.where(roof, rise + 4, 0.0),
        "height_labelled_YX": torch.ones(side, side, dtype=torch.uint8),
        "closeness_KVU": closeness,
        "direction_DVU": torch.stack([torch.ones_like(close), torch.zeros_like(close)]),
        "junction_VU": (-(ends**2) / (2 * 4**2)).exp(),
        "line_labelled_KVU": torch.ones(closeness.shape, dtype=torch.uint8),
        "gsd_m": torch.tensor(0.1),
        "index": torch.tensor(0),
    }
