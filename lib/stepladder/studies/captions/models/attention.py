"""How much of its attention the language model gives to world tokens, layer by layer.

What is asked is the answer: positions whose next token is supervised. A share of what they are among what is visible
means nothing was looked for there; zero in most layers means that world tokens lie beyond a window.

Shape legend: B batch, T tokens, L layers.
"""

import torch
from torch import Tensor

from stepladder.core.types import Batch
from stepladder.studies.captions.data.layout import WORLD
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.models.network import Captioner


@torch.no_grad()
def share(model: Captioner, batch: Batch, arm: str = "trained") -> Tensor:
    """Share of attention on world tokens, mean over heads and over the positions that answer: (B, L), from 0 to 1."""
    read, x_BTH = model.read(batch, arm)
    # A position answers where the token after it is supervised.
    answers_BT = (read["labels_T"] != IGNORED).roll(-1, dims=1)
    world_BT = read["kinds_T"] == WORLD
    layers = model.language.attention(x_BTH, read["kinds_T"])
    return torch.stack([_share(weights_BTT, answers_BT, world_BT) for weights_BTT in layers], dim=1)


def _share(weights_BTT: Tensor, answers_BT: Tensor, world_BT: Tensor) -> Tensor:
    on_world_BT = torch.where(world_BT[:, None], weights_BTT, 0.0).sum(2)
    return torch.where(answers_BT, on_world_BT, 0.0).sum(1) / answers_BT.sum(1).clamp(min=1)
