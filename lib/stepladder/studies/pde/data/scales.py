"""Sizes of channels, taken from data: the first batch a network learns from says how large states and answers are.

Data-dependent initialisation as in Glow (Kingma and Dhariwal, NeurIPS 2018). A displacement of a particle is a
thousandth of its box, a pressure a thousand times a velocity; without this a network spends its first steps, or all of
them, on finding that out.

Decisions:
- What is measured is what the network sees and what it has to say: the state in the observer's frame, and the increment
  (of a steady problem the answer; of particles the change of displacement). `asked` of each operator says which.
- Sizes and the flag that they are known are buffers: a checkpoint carries them, and the same weights give the same
  answer whatever is fed later. Evaluation never sets them.
- No branch looks at the flag, so a GPU does not wait for it and fake tensors can count memory; known sizes are written
  back over themselves.
- Training hands over the whole first batch beforehand (`Study.fit`). Where nobody has, the first loss decides; all
  training processes take part in its mean.
- Networks without the buffers (the baselines) are left alone.
"""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from stepladder.core.types import Batch

SMALLEST = 1e-12  # a channel that is zero in the whole batch keeps its unit


@torch.no_grad()
def fit(network: Any, batch: Batch) -> None:
    """Set `scale_C` and `answer_scale_C` of a network from `batch`, once: nothing changes where they are known."""
    if not hasattr(network, "fitted"):
        return
    for scale_C, example in zip((network.scale_C, network.answer_scale_C), network.asked(batch), strict=True):
        scale_C.copy_(torch.where(network.fitted, scale_C, size(example)))
    network.fitted.fill_(True)


def size(example: Tensor) -> Tensor:
    """Root mean square of every channel (..., C) over all samples of all processes: (C,); 1 where it is zero."""
    rows_NC = example.detach().double().flatten(0, -2)
    sums = torch.cat([rows_NC.square().sum(0), rows_NC.new_full((1,), len(rows_NC))])
    sums = over_processes(sums)
    size_C = (sums[:-1] / sums[-1]).sqrt()
    return torch.where(size_C > SMALLEST, size_C, 1.0).to(example.dtype)


def over_processes(sums: Tensor) -> Tensor:
    """The sum of `sums` over all training processes (in place)."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
    return sums
