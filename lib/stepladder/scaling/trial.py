"""One training at a constant rate with cooldown branches: the losses of several budgets for little more than one.

Decisions:
- The trunk runs at the peak rate after its warm-up. For every budget a branch leaves it, decays the rate linearly to
  zero over the last `cooldown` of that budget, is scored, and is thrown away; the trunk goes on from where it was left
  (Hägele et al., 2024). Every branch is what a run of that budget alone would have been.
- The step is the training's own (`training.step`), in the first stage of the study's training, in this process, without
  accumulation and without averaged weights: the decay does what averaging would.
- Scores are the study's own, on whole cases of the validation split: the test split stays unseen.
- Data sizes count independent units (trajectories, clips). They are taken in one order of the seed, so the units of a
  small size are among those of every larger one.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import default_collate

from stepladder.core.config import ParameterError
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.core.types import Dataset, Sample
from stepladder.data import mixing
from stepladder.data.sampling import Drawn, StepBatches
from stepladder.evaluation import metrics
from stepladder.training.parallel import DistributedContext
from stepladder.training.step import TrainState, lone_train_state, to_device, train_step
from stepladder.training.trainable import set_modes

LAST = 20  # steps whose mean loss stands for the training loss at the end


@dataclass(frozen=True)
class Schedule:
    """How a training is cut.

    Attributes:
        budgets: optimizer steps of every branch, decay included.
        cooldown: share of a budget over which the rate decays.
        seconds: after which no further branch is begun or finished.
        samples: cases that every branch is scored on, spread evenly.
    """

    budgets: tuple[int, ...]
    cooldown: float = 0.2
    seconds: float = math.inf
    samples: int = 16

    def leaves(self, budget: int) -> int:
        """The step at which the branch of `budget` leaves the trunk."""
        return budget - math.ceil(self.cooldown * budget)


class Subset:
    """The samples of the first `units` independent units of a data set, in the order of the seed.

    Raises:
        ParameterError: there are fewer units.
    """

    def __init__(self, whole: Dataset, units: int, seed: int):
        names = np.unique(whole.clusters)
        if units > len(names):
            raise ParameterError(
                f"ladder.scaling asks for {units} units of training data, the split holds {len(names)}: "
                "ask for fewer, or convert more data"
            )
        order = np.random.Generator(np.random.Philox(key=seed)).permutation(names)
        self._whole, self._index = whole, np.flatnonzero(np.isin(whole.clusters, order[:units]))
        self.groups, self.clusters = np.asarray(whole.groups)[self._index], np.asarray(whole.clusters)[self._index]
        self.weights = whole.weights

    def __len__(self) -> int:
        return len(self._index)

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """Sample `index` of those kept."""
        return self._whole.sample(int(self._index[index]), rng)


def train(
    study: Study, params: Parameters, data: Dataset, cases: Dataset, schedule: Schedule
) -> Iterator[dict[str, Any]]:
    """Train on `data` and score on `cases` at every budget, the smallest first.

    Yields:
        `steps, samples, loss` (mean training loss of the last steps), `scores` (metric -> value) and `cpu_s` so far.
        Budgets that `schedule.seconds` cuts off are missing.
    """
    begin, cpu = time.monotonic(), time.process_time()
    torch.manual_seed(params.seed)
    distributed = DistributedContext(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    model, phase = study.model(params).to(distributed.device), study.phases(params)[0]
    training = params.training.model_copy(update={"accumulate": 1, "ema": 0.0})
    train_state = lone_train_state(study, model, phase, training, params.seed, distributed)
    walk = _Walk(train_state, data, phase.learning_rate or training.learning_rate, begin + schedule.seconds)
    for budget in sorted(schedule.budgets):
        leaves = schedule.leaves(budget)
        if not walk.to(leaves, lambda step: 1.0):
            return
        trunk = walk.state()
        if not walk.to(budget, lambda step: (budget - step) / (budget - leaves + 1)):  # noqa: B023
            return
        samples = budget * training.batch
        told = {"steps": budget, "samples": samples, "loss": walk.loss()}
        scores = score(study, params, model, cases, schedule.samples)
        yield {**told, "scores": scores, "cpu_s": time.process_time() - cpu}
        walk.back_to(trunk)


class _Walk:
    """A training state on its way: steps, and back to where it was."""

    def __init__(self, train_state: TrainState, data: Dataset, rate: float, deadline: float):
        self.train_state, self.rate, self.deadline, self.step = train_state, rate, deadline, 0
        self._losses: list[torch.Tensor] = []
        self._drawn = Drawn(data, train_state.seed)
        order = mixing.order_of(data, train_state.training, train_state.seed)
        self._batches = StepBatches(order, train_state.training.batch, 0, 0)

    def to(self, end: int, factor: Callable[[int], float]) -> bool:
        """Steps up to `end` at the peak rate times `factor(step)`; False when time ran out on the way."""
        while self.step < end:
            if time.monotonic() > self.deadline:
                return False
            warm = min(1.0, (self.step + 1) / max(1, self.train_state.training.warmup))
            for group in self.train_state.optimizer.param_groups:
                group["lr"] = self.rate * warm * factor(self.step)
            (keys,) = self._batches.step(self.step)
            batch = default_collate([self._drawn[key] for key in keys])
            self._losses.append(train_step(self.train_state, self.step, [batch]).loss)
            self.step += 1
        return True

    def loss(self) -> float:
        """Mean training loss of the last steps."""
        return float(torch.stack(self._losses[-LAST:]).mean())

    def state(self) -> tuple[int, dict, dict]:
        """Everything a step changes."""
        parts = self.train_state.model, self.train_state.optimizer
        weights, moments = (copy.deepcopy(part.state_dict()) for part in parts)
        return self.step, weights, moments

    def back_to(self, state: tuple[int, dict, dict]) -> None:
        """Restore a state; the model learns again."""
        self.step, weights, moments = state
        del self._losses[self.step :]
        self.train_state.model.load_state_dict(weights)
        self.train_state.optimizer.load_state_dict(moments)
        set_modes(self.train_state.model)


@torch.inference_mode()
def score(study: Study, params: Parameters, model: nn.Module, cases: Dataset, count: int) -> dict[str, float]:
    """Every metric of the study over `count` cases spread evenly."""
    model.eval()
    device = next(model.parameters()).device
    rows = []
    chosen = metrics.choose(cases, count)
    for indices, batch in metrics.batches(cases, chosen, params.evaluation.batch):
        prediction = study.predict(model, to_device(batch, device))
        prediction = {name: value.cpu() for name, value in prediction.items()}
        for record in study.score(batch, prediction, params):
            rows.append(vars(record) | {"unit": str(indices[record.item])})
    return metrics.pooled(pd.DataFrame(rows))


def metric_names(study: Study, params: Parameters, cases: Dataset) -> list[str]:
    """Names of the metrics the study scores a case by."""
    batch = default_collate([cases.sample(0, None)])
    return list(dict.fromkeys(record.metric for record in study.score(batch, study.oracle(batch, params), params)))
