"""The real training of a run as a job of the ladder: its samples in their order, and its step at any setting.

Decisions:
- It gets the parameters of the stage, and from the run's folder the shards and splits that `02_conversion` left.
- The step is the training's own (`training.step`), one forward pass at a time, because the loader delivers forward
  passes and the ladder times what arrives between them.
- The first training stage stands for all.
- Of a study with tasks a pass goes by its own numbers of labelled units, and every task learns: those of the passes to
  come are not known yet, and the time and memory that are asked for do not depend on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepladder.core.config import check
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.stages import hidden, readable
from stepladder.core.study import Study, find
from stepladder.core.types import Dataset
from stepladder.data import loading, mixing
from stepladder.data.sampling import Drawn, Order, StepBatches
from stepladder.ladder.forecast import memory
from stepladder.ladder.measure.job import Job, Key, Stepper
from stepladder.training import parallel, step
from stepladder.training.parallel import DistributedContext
from stepladder.training.setting import Setting
from stepladder.training.step import Clock, TrainState


def open(run: str, values: dict[str, Any]) -> Job:  # the word of `job.open_job`
    """The training of the run folder `run` with the parameters `values`."""
    folder, study = Run(Path(run)), find(values["study"])
    params = check(study.Params, values).only(readable("04_scaling"), hidden("04_scaling"))
    train, *_ = loading.datasets(folder, study, params)
    return StudyJob(study, params, train, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@dataclass
class StudyJob:
    """See `job.Job` for what each member promises."""

    study: Study
    params: Parameters
    train: Dataset
    device: torch.device

    def samples(self) -> Drawn:
        """Training samples by key, augmented as in training."""
        return Drawn(self.train, self.params.seed)

    def order(self, batch: int, count: int) -> Sequence[list[Key]]:
        """Batches of keys in training's order; of all groups by their shares, for few passes stand for all of it."""
        shares = mixing.shares(self.train, self.params.training)
        order = Order(self.train.groups, shares, self.params.seed)
        return list(StepBatches(order, batch, 0, count))

    def stepper(self, setting: Setting) -> Stepper:
        """A fresh model under `setting`, as passes that can be timed."""
        return _passes(self.train_state(setting))

    def train_state(self, setting: Setting) -> TrainState:
        """A fresh model under `setting`, with its optimizer."""
        training = setting.of_one(self.params.training)
        torch.manual_seed(self.params.seed)
        model = self.study.model(self.params).to(self.device)
        parallel.prepare(model, training)
        phase = self.study.phases(self.params)[0]
        distributed = DistributedContext(device=self.device)
        return step.lone_train_state(self.study, model, phase, training, self.params.seed, distributed)

    def fake_bytes(self, setting: Setting) -> int | None:
        """Bytes a pass takes on the device, counted with fake tensors."""
        on_cpu = replace(self, device=torch.device("cpu"))  # fake tensors take as much there, and need no device
        return memory.fake_bytes(on_cpu, setting)


def _passes(train_state: TrainState) -> Stepper:
    """`train_step` of `train_state`, one micro-batch a call."""
    parts = train_state.training.accumulate

    def one(number: int, batch: Any, clock: Clock) -> Tensor:
        optimizer_step, micro = divmod(number, parts)
        _, total, _ = step.forward_backward(train_state, optimizer_step, micro, batch, clock.lap)
        if micro == parts - 1:
            step.update(train_state, optimizer_step)
            clock.lap("optimizer")
        return total

    return one
