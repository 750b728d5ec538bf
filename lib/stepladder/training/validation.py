"""The loss on fixed validation samples: same samples, same noise every time, so that two differ by the weights only."""

import contextlib
from collections.abc import Iterator, Sequence

import torch

from stepladder.core.types import Batch
from stepladder.data import draws
from stepladder.data.sampling import Draw, slots, torch_seed
from stepladder.training.step import StepModule, TrainState, autocast, to_device
from stepladder.training.trainable import set_modes


@torch.no_grad()
def validation_losses(
    step_module: StepModule, train_state: TrainState, fixed: Sequence[Sequence[Draw]], stream: Iterator[Batch]
) -> dict[str, float]:
    """Mean loss and parts over `fixed`, with averaged weights where they are kept, over all ranks.

    Args:
        step_module: the loss, not wrapped by DDP.
        train_state: the training under way.
        fixed: this rank's part of the validation batches.
        stream: hands over these batches, one after the other.
    """
    training, distributed, ema = train_state.training, train_state.distributed, train_state.ema
    own, sums = slots(training.batch, distributed.rank, distributed.world), {}
    train_state.model.eval()
    with ema.applied() if ema else contextlib.nullcontext():
        for number, part in enumerate(fixed, 1):  # 0 is the stream of the steps
            batch, seed = to_device(next(stream), distributed.device), torch_seed(train_state.seed, 0, number)
            with draws.at(seed, own, training.batch, distributed.device), autocast(training, distributed.device):
                total, parts = step_module(batch)
            # This rank's part of the batch: shares sum to 1 over batches and ranks.
            share = len(part) / (len(fixed) * training.batch)
            named = {"validation_loss": total, **{f"validation_loss_{name}": value for name, value in parts.items()}}
            sums = {name: sums.get(name, 0.0) + value.float() * share for name, value in named.items()}
    set_modes(train_state.model)
    reduced = distributed.total(torch.stack(list(sums.values()))).tolist()
    return dict(zip(sums, reduced, strict=True))
