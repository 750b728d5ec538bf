"""How much memory a step takes, told before anybody tries: ours by fake tensors, the plan's by arithmetic.

Decisions:
- The plan this study learns from up-samples 512 channels to full resolution and hangs its heads there. At 1024 x 1024
  and a batch of 16 one such tensor takes 34 GB, more than the card it was planned for has, and training keeps several.
- Ours runs on fake tensors, which have shapes and no data: forward and backward of one step, counted by the ladder's
  `Ledger`, and AdamW by arithmetic. That is the tensors alone; libraries and kernels come on top, which 04 measures.

Shape legend: as in `data.crops`.
"""

from typing import Final

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from stepladder.core.types import Batch, TrainingPhase
from stepladder.core.units import readable
from stepladder.ladder.forecast.memory import Ledger
from stepladder.studies.roofs.data.labels import CHANNELS, STRIDE
from stepladder.studies.roofs.models import losses, network
from stepladder.studies.roofs.params import RoofsParams
from stepladder.training.step import DTYPES

PLANNED_CHANNELS: Final = 512  # of the plan's features at full resolution
FLOAT: Final = 4  # bytes


def stride_one_bytes(side: int, batch: int, channels: int = PLANNED_CHANNELS) -> int:
    """Bytes of one float32 tensor of `channels` at full resolution of a batch of square crops of `side` pixels."""
    return batch * channels * side**2 * FLOAT


def step_bytes(params: RoofsParams) -> int:
    """Peak bytes of tensors in one optimizer step of a micro-batch, in the precision of `params.training`."""
    training = params.training
    precision = DTYPES[training.precision]
    with FakeTensorMode(), Ledger() as ledger:
        model = network.build(params)
        batch = empty(params.model.crop, training.batch // training.accumulate)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            total = losses.loss(model, batch, TrainingPhase("roofs", 1)).total
        total.backward()
    # AdamW keeps two numbers for each parameter from the first step on.
    return ledger.peak + 2 * sum(FLOAT * parameter.numel() for parameter in model.parameters())


def sentence(params: RoofsParams) -> str:
    """What heads at full resolution would need at these settings, and what ours do."""
    side, batch = params.model.crop, params.training.batch // params.training.accumulate
    return (
        f"Crops of {side} x {side}, {batch} at a time: one tensor of {PLANNED_CHANNELS} channels at full resolution, "
        f"as the plan's heads have it, takes {readable(stride_one_bytes(side, batch))}; with heads at stride {STRIDE} "
        f"all tensors of a step take {readable(step_bytes(params))} ({params.training.precision})."
    )


def empty(side: int, count: int) -> Batch:
    """A batch of crops as `data.crops` makes them, without their values."""
    cells = side // STRIDE
    floats = {"image_CYX": (3, side, side), "slope_GYX": (2, side, side), "direction_DVU": (2, cells, cells)}
    floats |= {"closeness_KVU": (CHANNELS, cells, cells), "junction_VU": (cells, cells)}
    floats |= {"rise_YX": (side, side), "height_YX": (side, side)}
    maps = ("superstructure_YX", "face_YX", "outline_YX", "rise_labelled_YX", "height_labelled_YX")
    labels = dict.fromkeys(maps, (side, side)) | {"line_labelled_KVU": (CHANNELS, cells, cells)}
    return {name: torch.empty(count, *shape) for name, shape in floats.items()} | {
        name: torch.empty(count, *shape, dtype=torch.uint8) for name, shape in labels.items()
    }
