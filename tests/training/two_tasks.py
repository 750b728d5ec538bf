"""A made-up study of two tasks, whose samples are labelled for both, one, or none of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

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
        return {task: batch[f"known_{task}_U"].sum() for task in TWO}

    def loss(self, model, batch, phase):
        answer = model(batch["x_C"])
        errors = {task: (answer[task] - batch[f"{task}_U"]) ** 2 * batch[f"known_{task}_U"] for task in TWO}
        return combine(model, {task: error.sum() for task, error in errors.items()}, self.label_counts(batch))


def sample_of(number: int, labelled: tuple[bool, bool]) -> dict[str, Tensor]:
    """Sample `number`, labelled for these of the tasks."""
    generator = torch.Generator().manual_seed(number)
    x_C, a_U, b_U = (torch.randn(length, generator=generator) for length in (4, UNITS, UNITS))
    known = {f"known_{task}_U": torch.full((UNITS,), float(told)) for task, told in zip(TWO, labelled, strict=True)}
    return {"x_C": x_C, "a_U": a_U, "b_U": b_U, **known}


def batch_of(rows: int | Iterable[int], labelled: Sequence[tuple[bool, bool]] | None = None) -> dict[str, Tensor]:
    """The samples `rows`; `labelled` says of each, by its number or else its place, which tasks it is labelled for."""
    numbers = list(range(rows) if isinstance(rows, int) else rows)
    said = [(True, True)] * len(numbers)
    if labelled is not None:
        said = [labelled[n] if max(numbers) < len(labelled) else labelled[p] for p, n in enumerate(numbers)]
    return default_collate([sample_of(n, tasks) for n, tasks in zip(numbers, said, strict=True)])
