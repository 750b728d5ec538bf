"""The loss on fixed validation samples: same samples, same noise every time, so that two differ by the weights only.

Of a study with tasks the loss of each is its sum over all labelled units of all validation batches, divided by their
number. A task that nothing in them labels has no value.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stepladder.core.types import Batch
from stepladder.data import draws
from stepladder.data.sampling import Draw, slots, torch_seed
from stepladder.training.logbook import TrainingError
from stepladder.training.parallel import DistributedContext
from stepladder.training.step import StepModule, TrainState, autocast, to_device
from stepladder.training.tasks import TaskLoss, combine, with_sums
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

    Raises:
        TrainingError: the study has tasks, and no validation sample is labelled for any.
    """
    training, distributed, ema = train_state.training, train_state.distributed, train_state.ema
    own = slots(training.batch, distributed.rank, distributed.world)
    means = (_MeansOfTasks if step_module.tasks else _Means)(step_module, distributed)
    train_state.model.eval()
    with ema.applied() if ema else contextlib.nullcontext():
        for number, part in enumerate(fixed, 1):  # 0 is the stream of the steps
            batch, seed = to_device(next(stream), distributed.device), torch_seed(train_state.seed, 0, number)
            with draws.at(seed, own, training.batch, distributed.device), autocast(training, distributed.device):
                # This rank's part of the batch: shares sum to 1 over batches and ranks.
                means.add(batch, len(part) / (len(fixed) * training.batch))
        values = means.values()
    set_modes(train_state.model)
    return values


class _Means:
    """The mean loss and its parts."""

    def __init__(self, step_module: StepModule, distributed: DistributedContext):
        self._step_module, self._distributed = step_module, distributed
        self._sums: dict[str, Any] = {}

    def add(self, batch: Batch, share: float) -> None:
        """Take in a batch, which is so much of the whole."""
        total, parts = self._step_module(batch)
        for name, value in _named(total, parts).items():
            self._sums[name] = self._sums.get(name, 0.0) + value.float() * share

    def values(self) -> dict[str, float]:
        """The means over all ranks."""
        reduced = self._distributed.total(torch.stack(list(self._sums.values()))).tolist()
        return dict(zip(self._sums, reduced, strict=True))


class _MeansOfTasks:
    """The mean loss of every task over its labelled units, and their weighted sum."""

    def __init__(self, step_module: StepModule, distributed: DistributedContext):
        self._step_module, self._distributed = step_module, distributed
        self._loss: TaskLoss | None = None  # the last one
        self._sums_T2: Tensor | float = 0.0  # of each task: loss, and labelled units

    def add(self, batch: Batch, share: float) -> None:
        """Take in a batch; its share is in the numbers of its labelled units."""
        module = self._step_module
        counts = module.tasks.labelled(batch)
        self._loss = loss = with_sums(module(batch, ask=lambda model: module.study.loss(model, batch, module.phase)))
        pairs = [torch.stack([summed.double(), counts[task].double()]) for task, summed in loss.sums.items()]
        self._sums_T2 = self._sums_T2 + torch.stack(pairs)

    def values(self) -> dict[str, float]:
        """The means over all ranks, without those of tasks that nothing labels."""
        assert isinstance(self._sums_T2, Tensor) and self._loss is not None, "there is at least one batch"
        summed_T, count_T = self._distributed.total(self._sums_T2).unbind(1)
        sums, counts = (dict(zip(self._loss.sums, of_T, strict=True)) for of_T in (summed_T, count_T.tolist()))
        if not any(counts.values()):
            raise TrainingError(
                f"no validation sample is labelled for any of the tasks {', '.join(sums)}: nothing can be judged; "
                "look at the splits, or raise training.validation_batches"
            )
        weights = self._loss.weights
        whole = self._step_module({}, ask=lambda model: combine(model, sums, counts, weights))
        return {name: float(value) for name, value in _named(whole.total, whole.parts).items()}


def _named(total: Tensor, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"validation_loss": total, **{f"validation_loss_{name}": value for name, value in parts.items()}}
