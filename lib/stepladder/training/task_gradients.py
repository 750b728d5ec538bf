"""How tasks pull at what they share: the size of each task's gradient there, and the cosines between them.

Decisions:
- Gradients are of a task's part of the loss as it enters the total, with respect to the parameters that learn and serve
  no task alone. A cosine below zero: what helps the one hurts the other (Yu et al., NeurIPS 2020).
- They are taken on a few fixed validation samples, as many as a micro-batch has, chosen so that every task is labelled
  in them where that can be. So they show the weights' change alone, and depend on the size of a micro-batch.
- Nothing of training is touched: `torch.autograd.grad` fills no `.grad`, the model is in evaluation mode, and random
  numbers are drawn aside. Sharded models (FSDP2) are left out: their parameters are whole inside a forward pass only.
"""

import itertools
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from stepladder.core.schema import TrainingParams
from stepladder.core.types import Batch, Dataset
from stepladder.data import draws
from stepladder.data.sampling import slots, torch_seed, validation_batches
from stepladder.training.parallel import DistributedContext
from stepladder.training.step import StepModule, TrainState, autocast, to_device
from stepladder.training.tasks import Tasks, combine, with_sums
from stepladder.training.tracking import COSINE, GRADIENT
from stepladder.training.trainable import set_modes


def choose(tasks: Tasks, data: Dataset, order: Iterable[int], size: int) -> Batch:
    """At most `size` samples: of those in `order` the first that label a task not labelled before, then others."""
    first, others, seen = list[Batch](), list[Batch](), set[str]()
    for index in order:
        sample = data.sample(index, None)
        labelled = {task for task, count in tasks.labelled(default_collate([sample])).items() if count > 0}
        if labelled - seen:
            first.append(sample)
        elif len(others) < size:
            others.append(sample)
        seen |= labelled
        if seen >= set(tasks) and len(first) + len(others) >= size:
            break
    return default_collate([*first, *others][:size])


class TaskGradients:
    """The gradients of a training's tasks, on samples that are chosen when they are first asked for.

    Args:
        step_module: the loss, not wrapped by DDP.
        data: validation samples.
        training: the parameters in force.
        seed: decides the order in which the fixed validation samples are looked through.
        distributed: this process among the others: the first alone measures.
    """

    def __init__(
        self,
        step_module: StepModule,
        data: Dataset,
        training: TrainingParams,
        seed: int,
        distributed: DistributedContext,
    ):
        self._step_module, self._data, self._training, self._seed = step_module, data, training, seed
        sharded = training.shard and distributed.world > 1
        self._wanted = bool(step_module.tasks) and distributed.first and not sharded
        self._size = len(slots(training.batch, 0, distributed.world, 0, training.accumulate))

    @cached_property
    def _batch(self) -> Batch:
        training = self._training
        fixed = validation_batches(len(self._data), training.batch, training.validation_batches)
        places = list(dict.fromkeys(index for batch in fixed for _, index in batch))
        order = np.random.Generator(np.random.Philox(key=self._seed)).permutation(places).tolist()
        return choose(self._step_module.tasks, self._data, order, self._size)

    def measure(self, train_state: TrainState) -> dict[str, float]:
        """Norms and cosines by their names in the metrics; nothing where they are not measured."""
        shared = self._step_module.tasks.shared(train_state.model) if self._wanted else []
        if not shared:
            return {}
        device = train_state.distributed.device
        train_state.model.eval()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # else the ranks' states would differ
            gradients = _gradients(self._step_module, train_state, to_device(self._batch, device), shared)
        set_modes(train_state.model)
        return _told(gradients)


def _told(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    norms = {task: float(torch.linalg.vector_norm(gradient)) for task, gradient in gradients.items()}
    told = {f"{GRADIENT}{task}": norm for task, norm in norms.items()}
    for one, two in itertools.combinations(gradients, 2):
        if norms[one] and norms[two]:  # nothing points nowhere
            told[f"{COSINE}{one}~{two}"] = float(gradients[one] @ gradients[two]) / (norms[one] * norms[two])
    return told


def _gradients(
    step_module: StepModule, train_state: TrainState, batch: Batch, shared: list[torch.nn.Parameter]
) -> Mapping[str, Tensor]:
    """Task -> its gradient, one long vector in double precision on the CPU."""
    model, device = train_state.model, train_state.distributed.device
    counts = step_module.tasks.counts([batch])
    count = len(next(iter(batch.values())))
    with draws.at(torch_seed(train_state.seed, 0), range(count), count, device), torch.enable_grad():
        with autocast(train_state.training, device):
            loss = with_sums(step_module.study.loss(model, batch, step_module.phase))
        found: dict[str, Tensor] = {}
        for task in filter(counts.get, loss.sums):
            own = combine(model, {task: loss.sums[task]}, counts, loss.weights).total
            pieces = torch.autograd.grad(own, shared, retain_graph=True, allow_unused=True, materialize_grads=True)
            found[task] = torch.cat([piece.flatten().double().cpu() for piece in pieces])
    return found
