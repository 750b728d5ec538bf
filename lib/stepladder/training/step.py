"""One optimizer step.

Decisions:
- The loss of a step is the mean over its global batch, whatever the number of ranks and micro-batches: each
  micro-batch's mean counts with its share of the samples. Of a study with tasks each task's loss is the mean over its
  labelled units of the global batch (see `tasks`).
- Random numbers of the step (dropout, noise) are functions of (seed, step, slot of the sample), see `data.draws`: a
  step depends neither on what ran before it nor on how its batch is divided among processes and micro-batches.
- Values stay tensors on the device; whoever logs them decides when to wait for them.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.core.schema import TrainingParams
from stepladder.core.study import Study
from stepladder.core.types import Batch, TrainingPhase
from stepladder.data import draws
from stepladder.data.sampling import slots, torch_seed
from stepladder.training.optimize import EMA, make_optimizer
from stepladder.training.parallel import DistributedContext, synchronize_gradients
from stepladder.training.tasks import Tasks, recounted
from stepladder.training.trainable import set_trainable

Watch = Callable[[Mapping[str, float] | None], None]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class StepModule(nn.Module):
    """The study's loss as a forward pass, so that DDP and FSDP2 wrap exactly what a step runs.

    Questions to the study go through the same door: a sharded model is only whole inside a forward pass.
    """

    def __init__(self, study: Study, model: nn.Module, phase: TrainingPhase):
        super().__init__()
        self.study, self.model, self.phase = study, model, phase
        self.tasks = Tasks(study, model)
        draws.by_slot(model)

    def forward(
        self, batch: Batch, ask: Callable[[nn.Module], Any] | None = None, counts: Mapping[str, float] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]] | Any:
        """Total loss and its detached parts, by `counts` of labelled units; with `ask` its answer about the model."""
        if ask:
            return ask(self.model)
        loss = self.study.loss(self.model, batch, self.phase)
        if counts is not None:
            loss = recounted(self.model, loss, counts)
        return loss.total, {name: part.detach() for name, part in loss.parts.items()}


class Clock:
    """Where the time of steps goes: `lap(phase)` adds the seconds since the lap before to `phase`."""

    def __init__(self, device: torch.device):
        self.seconds: dict[str, float] = defaultdict(float)
        self._cuda = device.type == "cuda"
        self._since = self._now()

    def start(self) -> None:
        """Forget the time since the last lap."""
        self._since = self._now()

    def lap(self, phase: str) -> None:
        """Attribute the time since the last lap to `phase`."""
        now = self._now()
        self.seconds[phase] += now - self._since
        self._since = now

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


@dataclass
class TrainState:
    """Everything one optimizer step reads and changes."""

    module: nn.Module  # a StepModule, perhaps inside DDP
    model: nn.Module  # the model inside it
    optimizer: torch.optim.Optimizer
    training: TrainingParams
    seed: int
    distributed: DistributedContext = field(default_factory=DistributedContext)
    ema: EMA | None = None
    begin: int = 0  # number of the first step, from which the average is warmed up
    scaler: torch.amp.GradScaler | None = None
    tasks: Tasks | None = None  # where samples may lack the labels of some
    trainable: list[nn.Parameter] = field(init=False)  # what the optimizer changes

    def __post_init__(self) -> None:
        self.trainable = [p for group in self.optimizer.param_groups for p in group["params"]]


@dataclass(slots=True)
class StepResult:
    """Of one step, over this rank's part of the batch: sums to be added over ranks, and the gradient's norm."""

    loss: Tensor
    parts: dict[str, Tensor]
    norm: Tensor

    def scalars(self) -> list[Tensor]:
        """What is to be added over ranks: the loss, and its parts in their order."""
        return [self.loss, *self.parts.values()]


def train_step(
    train_state: TrainState, step: int, micros: Iterable[Batch], clock: Clock | None = None, watch: Watch | None = None
) -> StepResult:
    """One optimizer step over this rank's micro-batches.

    Args:
        train_state: what is trained.
        step: global number of the step; seeds dropout.
        micros: collated micro-batches, `training.accumulate` of them.
        clock: receives the seconds of the phases load, host_to_device, forward, backward and optimizer.
        watch: called between backward and update, with the labelled units of the step by task, where there are tasks.
    """
    lap = clock.lap if clock else _no_lap
    loss, parts, counts = None, {}, None
    if train_state.tasks:
        micros = list(micros)
        counts = train_state.tasks.counts(micros, train_state.distributed)
    for micro, batch in enumerate(micros):
        lap("load")
        # Each micro-batch counts with its share of the global batch, so the sums are means over the whole of it.
        share, total, pieces = forward_backward(train_state, step, micro, batch, lap, counts)
        loss = _plus(loss, _times(total, share))
        parts = {name: _plus(parts.get(name), _times(piece, share)) for name, piece in pieces.items()}
    assert loss is not None, "a step has at least one micro-batch"
    if train_state.tasks and counts:
        train_state.tasks.silence(train_state.model, counts)
    if watch:
        watch(counts)
    norm = update(train_state, step)
    lap("optimizer")
    return StepResult(loss, parts, norm)


def forward_backward(
    train_state: TrainState,
    step: int,
    micro: int,
    batch: Batch,
    lap: Callable[[str], None],
    counts: Mapping[str, float] | None = None,
) -> tuple[float, Tensor, dict[str, Tensor]]:
    """Add the gradients of micro-batch `micro` of optimizer step `step`.

    The model is told the step (`model.optimizer_step`), for losses that are not computed in every one. `counts` are the
    labelled units of the step's global batch; without them those of the micro-batch itself count.

    Returns:
        Its share of the global batch, its detached mean loss, and the parts of that.
    """
    training, distributed, last = train_state.training, train_state.distributed, train_state.training.accumulate - 1
    batch = to_device(batch, distributed.device)
    lap("host_to_device")
    train_state.model.optimizer_step = step  # pyright: ignore[reportArgumentType] (torch thinks of tensors only)
    share = size(batch) / training.batch
    # With several micro-batches gradients stay on their rank until the last one's backward.
    if last:
        synchronize_gradients(train_state.module, micro == last)
    own = slots(training.batch, distributed.rank, distributed.world, micro, training.accumulate)
    with draws.at(torch_seed(train_state.seed, step), own, training.batch, distributed.device):
        with autocast(training, distributed.device):
            total, pieces = train_state.module(batch, **own_counts(counts, share))
        lap("forward")
        scaled = _times(total, share * distributed.world)  # gradients are averaged over ranks
        # Inside too: what is computed again in backward draws again.
        (train_state.scaler.scale(scaled) if train_state.scaler else scaled).backward()
    lap("backward")
    return share, total.detach(), pieces


def update(train_state: TrainState, step: int) -> Tensor:
    """Clip, step, average; returns the norm of the gradient before clipping."""
    optimizer, scaler = train_state.optimizer, train_state.scaler
    if all(parameter.grad is None for parameter in train_state.trainable):  # nothing was labelled
        return torch.zeros((), device=train_state.distributed.device)
    # Gradients of float16 were scaled up against underflow; they are clipped at their true size.
    if scaler:
        scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(train_state.trainable, train_state.training.clip_norm)
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    # None and not zero: no memory for gradients between steps, and no kernel to clear them.
    optimizer.zero_grad(set_to_none=True)
    if train_state.ema:
        train_state.ema.update(step - train_state.begin)
    # A sharded model's norm is a sharded tensor.
    whole = getattr(norm, "full_tensor", None)
    return whole() if whole else norm


def make_train_state(
    module: nn.Module,
    model: nn.Module,
    training: TrainingParams,
    seed: int,
    distributed: DistributedContext | None = None,
    tasks: Tasks | None = None,
) -> TrainState:
    """A training state of what is trainable now (see `set_trainable`).

    Args:
        module: the `StepModule`, perhaps distributed.
        model: the model inside it, on the device of `distributed`.
        training: training parameters, with the batch and workers in force.
        seed: seed of the run.
        distributed: this process among the others; alone by default.
        tasks: those of the `StepModule`.
    """
    distributed = distributed or DistributedContext()
    scaled = training.precision == "float16" and distributed.device.type == "cuda"
    return TrainState(
        module=module,
        model=model,
        optimizer=make_optimizer(model, training),
        training=training,
        seed=seed,
        distributed=distributed,
        ema=EMA(model, training.ema) if training.ema else None,
        scaler=torch.amp.GradScaler("cuda") if scaled else None,
        tasks=tasks or None,
    )


def lone_train_state(
    study: Study,
    model: nn.Module,
    phase: TrainingPhase,
    training: TrainingParams,
    seed: int,
    distributed: DistributedContext | None = None,
) -> TrainState:
    """A training state of `phase` in a single process, as smoke tests and the ladder's trials need it."""
    set_trainable(model, phase)
    module = StepModule(study, model, phase)
    return make_train_state(module, model, training, seed, distributed, module.tasks)


def own_counts(counts: Mapping[str, float] | None, share: float) -> dict[str, dict[str, float]]:
    """What a micro-batch is told of the labelled units of a step: the part that it will count with."""
    return {} if counts is None else {"counts": {task: count * share for task, count in counts.items()}}


def autocast(training: TrainingParams, device: torch.device) -> contextlib.AbstractContextManager:
    """The precision of forward passes."""
    if training.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[training.precision])


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on `device`; other values unchanged."""
    if device.type == "cpu":
        return batch
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}


def size(batch: Batch) -> int:
    """Samples of a collated batch."""
    return len(next(iter(batch.values())))


def _times(value: Tensor, factor: float) -> Tensor:
    return value if factor == 1 else value * factor  # one process without accumulation pays for no extra kernel


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    return value if total is None else total + value


_no_lap: Callable[[str], None] = lambda phase: None  # noqa: E731
