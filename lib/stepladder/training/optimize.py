"""The update: AdamW, schedules of its rate, and averaged weights.

The schedule `plateau` goes by validation losses: what it remembers of them is a part of the checkpoint.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.core.schema import TrainingParams
from stepladder.training.trainable import given_prefixes

DECAY_PART = 0.2  # share of a wsd schedule that decays


def make_optimizer(model: nn.Module, training: TrainingParams) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; vectors (biases, norms) are not decayed. The rate is set by the caller."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=training.learning_rate, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, learning_rate: float, weight_decay: float) -> None:
    """The rate of the next step, and the decay of matrices, which may change on the way."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        if group["params"][0].ndim >= 2:
            group["weight_decay"] = weight_decay


def learning_rate_factor(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Factor of the peak rate at `step` of a stage of `steps`: linear warm-up, then the schedule.

    cosine: to zero (Loshchilov and Hutter, 2017). linear: to zero. wsd: constant, then linear to zero over the last
    fifth (Hu et al., MiniCPM, 2024). constant: one; plateau too, which `Plateau` cuts.
    """
    warmup = min(warmup, steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    if schedule == "linear":
        return (steps - step) / (steps - warmup)
    decay = math.ceil(DECAY_PART * (steps - warmup))
    if schedule == "wsd" and step >= steps - decay:
        return (steps - step) / (decay + 1)
    return 1.0


@dataclass(frozen=True)
class Plateau:
    """What the schedule `plateau` knows of the validation losses of a stage; as torch's `ReduceLROnPlateau`.

    Attributes:
        best: the lowest loss that counted as better than the one before; infinite before the first.
        waited: validations since then, or since the last cut.
        cuts: how often the rate was cut.
    """

    best: float = math.inf
    waited: int = 0
    cuts: int = 0

    def after(self, loss: float, training: TrainingParams) -> "Plateau":
        """What is known after one more validation."""
        # Of a loss below zero (log variances) a share of its size, where torch would take a worse one for better.
        if loss < self.best * (1 - math.copysign(training.plateau_threshold, self.best)):
            return Plateau(loss, 0, self.cuts)
        if self.waited < training.plateau_patience:
            return Plateau(self.best, self.waited + 1, self.cuts)
        return Plateau(self.best, 0, self.cuts + 1)

    def factor(self, training: TrainingParams) -> float:
        """Factor of the rate that the schedule says."""
        return max(training.plateau_factor**self.cuts, training.plateau_floor)

    def told(self) -> dict[str, Any]:
        """As a checkpoint keeps it; of an infinite loss JSON knows nothing."""
        return {**asdict(self), "best": self.best if math.isfinite(self.best) else None}

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> "Plateau":
        """What a checkpoint has kept; the beginning where that is nothing."""
        return cls(**{**told, "best": math.inf if told["best"] is None else told["best"]}) if told else cls()


class EMA:
    """Exponential moving average of the parameters (Polyak averaging), warmed up by min(decay, (1 + t) / (10 + t)).

    What the model is given stands still, and needs no average.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        prefixes = given_prefixes(model)
        own = {name: value for name, value in model.named_parameters() if not name.startswith(prefixes)}
        self._live, self._names = [parameter.detach() for parameter in own.values()], list(own)
        self.values = {n: p.clone() for n, p in zip(self._names, self._live, strict=True)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters after `step` earlier updates."""
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), self._live, 1 - keep)  # pyright: ignore[reportPrivateImportUsage] (torch has no public one)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model carries the averaged parameters inside the block."""
        own = [parameter.clone() for parameter in self._live]
        self._set(self.values.values())
        try:
            yield
        finally:
            self._set(own)

    def settle(self) -> None:
        """The model carries the averaged parameters from now on."""
        self._set(self.values.values())

    @torch.no_grad()
    def _set(self, values: Iterable[Tensor]) -> None:
        for live, value in zip(self._live, values, strict=True):
            live.copy_(value)
