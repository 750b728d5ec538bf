"""A made-up study of two tasks, whose samples are labelled for both, one, or none of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from stepladder.core.study import Study
from stepladder.training.tasks import combine

TWO = ("a", "b")
UNITS = 3  # numbers that a sample has of each task


class Net(nn.Module):
    """A trunk that both tasks share, and a head for each."""

    def __init__(self, learned: bool = False):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(8, UNITS) for task in TWO})
        if learned:
            self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.zeros(1)) for task in TWO})

    def forward(self, x_BC: Tensor) -> dict[str, Tensor]:
        shared = self.trunk(x_BC)
        return {task: layer(shared) for task, layer in self.heads.items()}


class TwoTasks:
    """The parts of a study that a step uses."""

    fit = Study.fit

    def tasks(self, model):
        return {task: (f"heads.{task}.",) for task in TWO}

    def label_counts(self, batch):
        return {task: batch[f"known_{task}_BU"].sum() for task in TWO}

    def loss(self, model, batch, phase):
        answer = model(batch["x_BC"])
        errors = {task: (answer[task] - batch[f"{task}_BU"]) ** 2 * batch[f"known_{task}_BU"] for task in TWO}
        return combine(model, {task: error.sum() for task, error in errors.items()}, self.label_counts(batch))


def batch_of(rows: int | Iterable[int], labelled: Sequence[tuple[bool, bool]] | None = None) -> dict[str, Tensor]:
    """The samples `rows`; `labelled` says of each, by its number or its place, which tasks it is labelled for."""
    numbers = list(range(rows) if isinstance(rows, int) else rows)
    made = [torch.Generator().manual_seed(number) for number in numbers]
    x_BC = torch.stack([torch.randn(4, generator=one) for one in made])
    targets = {f"{task}_BU": torch.stack([torch.randn(UNITS, generator=one) for one in made]) for task in TWO}
    said = [(True, True)] * len(numbers)
    if labelled is not None:
        said = [labelled[n] if max(numbers) < len(labelled) else labelled[p] for p, n in enumerate(numbers)]
    known_TB = torch.tensor(said, dtype=torch.float32).T
    known = {f"known_{task}_BU": known_TB[t][:, None].expand(-1, UNITS).clone() for t, task in enumerate(TWO)}
    return {"x_BC": x_BC, **targets, **known}
