"""A study in memory of two tasks: groups of samples are labelled for the one, for the other, and for both."""

import numpy as np
from pydantic import Field

from stepladder.core.schema import MixedTrainingParams, Parameters, Section
from stepladder.core.study import Study
from stepladder.core.types import Check, TrainingPhase
from tests.training.two_tasks import Net, TwoTasks, sample_of

GROUPS = {"a": (True, False), "b": (False, True), "c": (True, True)}


class PairModel(Section):
    """What the tests turn."""

    learned: bool = Field(False, description="the weights of the tasks are learnt")
    groups: list[str] = Field(["a", "b", "c"], description="groups of the training samples")
    stages: int = Field(1, description="stages of training")


class PairParams(Parameters):
    """Parameters of the study."""

    model: PairModel = PairModel()
    training: MixedTrainingParams = MixedTrainingParams.defaults()


class PairData:
    """Samples that are a function of their index, seven of each group."""

    def __init__(self, groups: list[str], offset: int):
        self.groups, self.offset, self.weights = np.repeat(groups, 7), offset, {}
        self.clusters = np.arange(len(self.groups)).astype(str)

    def __len__(self) -> int:
        return len(self.groups)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict:
        made = sample_of(self.offset + index, GROUPS[str(self.groups[index])])
        noise = 0 if rng is None else rng.normal(size=4).astype(np.float32) * 0.1
        return {**{name: value.numpy() for name, value in made.items()}, "x_C": made["x_C"].numpy() + noise}


class Pair(TwoTasks):
    """The parts of the Study interface that training uses."""

    name, title, card, Params, accept = "pair", "Pair", "", PairParams, Study.accept

    def dataset(self, shards, params, keep_clear=()):
        training = shards[0].stem == "train"
        return PairData(params.model.groups, 0) if training else PairData(["a", "b", "c"], 1000)

    evaluation_dataset = dataset

    def model(self, params):
        return Net(params.model.learned)

    def phases(self, params):
        return [TrainingPhase(f"stage {number}", params.training.steps) for number in range(params.model.stages)]

    def can_start(self, phase, model, batch):
        return Check("ready", True, "")


study = Pair()
