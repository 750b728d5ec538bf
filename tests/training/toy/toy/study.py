"""A study in memory, for tests of training: noisy samples, a small model with dropout, every consumed index noted."""

import os
import time
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import nn

from stepladder.core.schema import Parameters, Section
from stepladder.core.study import Study
from stepladder.core.types import Check, Loss, TrainingPhase


class ToyModel(Section):
    """What the tests turn."""

    width: int = Field(16, description="hidden units")
    dropout: float = Field(0.2, description="dropout in training")
    noise: float = Field(0.1, description="augmentation")
    samples: int = Field(20, description="training samples")
    stages: list[str] = Field(["all"], description="names of the stages; each trains its part")
    can_start: bool = Field(True, description="verdict of the gate")
    nan_at: int = Field(-1, description="index of a training sample whose target is nan")
    worsens: bool = Field(False, description="every validation is worse than the one before")
    sleep: float = Field(0.0, description="seconds a step takes at least")
    keep_if_better: bool = Field(False, description="every stage is judged at its end")
    given: str = Field("", description="identity of the first part, which is given then")
    eat: int = Field(0, description="megabytes each step takes and never gives back")


class ToyParams(Parameters):
    """Parameters of the toy study."""

    model: ToyModel = ToyModel()


class ToyData:
    """Samples that are a function of their index."""

    def __init__(self, count: int, params: ToyParams, offset: int):
        self.params, self.offset = params, offset
        self.groups = np.array(["a", "b"])[np.arange(count) % 2]
        self.clusters = np.arange(count).astype(str)
        self.weights = {}

    def __len__(self) -> int:
        return len(self.groups)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict:
        own = np.random.default_rng(self.offset + index)
        x_C = own.normal(size=4).astype(np.float32)
        y = np.float32(x_C.sum() if index != self.params.model.nan_at else np.nan)
        if rng is not None:
            x_C = x_C + rng.normal(size=4).astype(np.float32) * self.params.model.noise
        return {"x_C": x_C.astype(np.float32), "y": y, "index": index}


class Net(nn.Module):
    """Two parts, so that stages can train one of them; of the second a layer stands outside of all blocks."""

    def __init__(self, width, dropout):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, width), nn.Dropout(dropout), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout), nn.Tanh())
        self.second_out = nn.Linear(width, 1)

    def forward(self, x_BC):
        return self.second_out(self.second(self.first(x_BC)))[:, 0]


class Toy:
    """The parts of the Study interface that training uses."""

    name, title, card, Params, fit, tasks = "toy", "Toy", "", ToyParams, Study.fit, Study.tasks

    def dataset(self, shards, params, keep_clear=()):
        self.params = params
        training = shards[0].stem == "train"
        return ToyData(params.model.samples, params, 0) if training else ToyData(6, params, 1000)

    def evaluation_dataset(self, shards, params, keep_clear=()):
        return self.dataset(shards, params, keep_clear)

    def model(self, params):
        net = Net(params.model.width, params.model.dropout)
        if params.model.given:
            nn.init.eye_(net.first[0].weight)
            nn.init.zeros_(net.first[0].bias)
            net.given = {"first.": params.model.given}
        return net

    def phases(self, params):
        parts = {"all": ("",), "first": ("first",), "second": ("second",)}
        keep_if_better = params.model.keep_if_better
        return [
            TrainingPhase(name, params.training.steps, parts[name], None, keep_if_better)
            for name in params.model.stages
        ]

    def can_start(self, phase, model, batch):
        finite = bool(torch.isfinite(model(batch["x_C"])).all())
        return Check("ready", finite and self.params.model.can_start, "the toy was told to refuse")

    def accept(self, phase, model, cases, params):
        self.concluded = {name: value.clone() for name, value in model.state_dict().items()}
        return Check("kept", len(cases) == 6 and not model.training, f"{phase.name} is kept")

    def loss(self, model, batch, phase):
        if model.training:
            self._consume(batch)
        elif self.params.model.worsens:
            self.validations = getattr(self, "validations", 0) + 1
            return Loss(torch.tensor(float(self.validations)))
        error_B = model(batch["x_C"]) - batch["y"]
        return Loss((error_B**2).mean(), {"absolute": error_B.abs().mean()})

    def _consume(self, batch):
        time.sleep(self.params.model.sleep)
        self.eaten = [*getattr(self, "eaten", []), torch.ones(self.params.model.eat * 250_000)]
        if os.environ.get("TOY_LOG"):
            with Path(os.environ["TOY_LOG"]).open("a") as file:
                file.write(" ".join(str(int(i)) for i in batch["index"]) + "\n")


study = Toy()
