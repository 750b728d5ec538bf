"""Tasks of a study whose samples are labelled for some of them only: one loss, whoever takes which part of a batch.

Decisions:
- In a step a task's loss is its sum over all labelled units (pixels, images) of the global batch, divided by their
  number there. It is counted over micro-batches and ranks before the first forward pass, so that neither changes it.
- A task that nothing in a step labels learns nothing: parameters that serve it alone have no gradient then. A gradient
  of zeros would not do, for AdamW decays weights and goes on by momentum. Where no task is labelled, nothing learns.
- Learned weights are log variances (Kendall, Gal and Cipolla, CVPR 2018): a task costs exp(-s) * mean + s / 2. They are
  parameters of the model, `log_variance.<task>`, which serve that task alone.
- Outside a step, where nobody counts beforehand, the numbers of the batch itself hold.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.core.config import nearest
from stepladder.core.study import Study
from stepladder.core.types import Batch, Loss
from stepladder.training.parallel import DistributedContext
from stepladder.training.trainable import ContractError

LEARNED = "log_variance"  # member of a model that learns the weights of its tasks: a `ParameterDict` by task
Counts = Mapping[str, Tensor] | Mapping[str, float]  # task -> number of labelled units


@dataclass(frozen=True)
class TaskLoss(Loss):
    """A loss that can be made again by other numbers of labelled units: see `combine`."""

    sums: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    weights: Mapping[str, float] = field(default_factory=dict[str, float])


def combine(
    model: nn.Module, sums: Mapping[str, Tensor], counts: Counts, weights: Mapping[str, float] = MappingProxyType({})
) -> TaskLoss:
    """The loss of several tasks: the sum over tasks of weight times (sum over labelled units) / (their number).

    Args:
        model: where it has a `ParameterDict` called `log_variance`, weights are learned, on top of the given ones.
        sums: task -> sum of the loss over the labelled units of the batch, a scalar. A task without any has a sum of
            zero that depends on its parameters all the same: mask, and never skip.
        counts: task -> number of those units; inside a step, the share of the batch in that of the whole step.
        weights: task -> its weight; 1 where nothing is said.

    Returns:
        Its parts are the tasks' means. A task without labelled units costs 0; its part is missing where numbers are
        known to the host, and nan where they are tensors, which are not waited for.
    """
    learned: Mapping[str, Tensor] = getattr(model, LEARNED, {})
    terms, parts = list[Tensor](), dict[str, Tensor]()
    for task, summed in sums.items():
        count, mean = counts[task], _mean(summed.float(), counts[task])
        terms.append(_weighed(mean, count, learned.get(task)) * weights.get(task, 1.0))
        if isinstance(count, Tensor):
            parts[task] = torch.where(count > 0, mean.detach(), torch.nan)
        elif count:
            parts[task] = mean.detach()
    return TaskLoss(torch.stack(terms).sum(), parts, sums, weights)


def with_sums(loss: Loss) -> TaskLoss:
    """The loss of a study with tasks; `ContractError` where it was not made by `combine`."""
    if not isinstance(loss, TaskLoss):
        raise ContractError("the study has tasks, so its loss must return what stepladder.training.tasks.combine makes")
    return loss


def recounted(model: nn.Module, loss: Loss, counts: Counts) -> TaskLoss:
    """The same loss by other numbers of labelled units."""
    loss = with_sums(loss)
    return combine(model, loss.sums, counts, loss.weights)


def _mean(summed: Tensor, count: Tensor | float) -> Tensor:
    return summed / (torch.where(count > 0, count, 1.0) if isinstance(count, Tensor) else count or 1.0)


def _weighed(mean: Tensor, count: Tensor | float, log_variance: Tensor | None) -> Tensor:
    """exp(-s) * mean + s / 2; without a log variance the mean, and without labelled units 0."""
    if log_variance is None:
        return mean
    s = log_variance.float().sum()  # one number, whatever its shape
    return torch.exp(-s) * mean + s / 2 * (count > 0)


class Tasks:
    """The tasks that a study teaches a model.

    Args:
        study: says them, and counts labelled units.
        model: the study's model.

    Raises:
        ContractError: a prefix names no parameter, or a parameter is said to serve two tasks alone.
    """

    def __init__(self, study: Study[Any], model: nn.Module):
        self._study, self._prefixes = study, dict(study.tasks(model))
        named, owner = [name for name, _ in model.named_parameters()], dict[str, str]()
        for task, prefixes in self._prefixes.items():
            for prefix in prefixes:
                if not any(name.startswith(prefix) for name in named):
                    hint = nearest(prefix, {name.rsplit(".", 1)[0] for name in named})
                    raise ContractError(f"task {task!r} names {prefix!r}, but no parameter starts so{hint}")
            for name in filter(self._serves(task), named):
                if owner.setdefault(name, task) != task:
                    raise ContractError(f"{name} is said to serve {owner[name]} alone, and {task} alone")

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prefixes)

    def _serves(self, task: str) -> Callable[[str], bool]:
        """Whether a parameter, by its name, serves `task` alone."""
        return lambda name: name.startswith(self._prefixes[task]) or name == f"{LEARNED}.{task}"

    def own(self, model: nn.Module, tasks: Collection[str]) -> list[nn.Parameter]:
        """Parameters that serve one of `tasks` alone."""
        return [p for name, p in model.named_parameters() if any(self._serves(task)(name) for task in tasks)]

    def shared(self, model: nn.Module) -> list[nn.Parameter]:
        """Parameters that learn now and serve no task alone."""
        own = {id(parameter) for parameter in self.own(model, self._prefixes)}
        return [p for p in model.parameters() if p.requires_grad and id(p) not in own]

    def counts(self, batches: Sequence[Batch], distributed: DistributedContext | None = None) -> dict[str, float]:
        """Task -> labelled units in `batches`, over all ranks."""
        distributed = distributed or DistributedContext()
        each = [self.labelled(batch) for batch in batches]
        totals = [torch.stack([one[task].double().cpu() for one in each]).sum() for task in self]
        return dict(zip(self, distributed.total(torch.stack(totals).to(distributed.device)).tolist(), strict=True))

    def labelled(self, batch: Batch) -> Mapping[str, Tensor]:
        """Task -> labelled units in a batch of any size, in scalars.

        Raises:
            ContractError: the study does not count one of its tasks.
        """
        counted = self._study.label_counts(batch)
        if missing := [task for task in self if task not in counted]:
            raise ContractError(f"label_counts of the study does not count {', '.join(missing)}")
        return counted

    def silence(self, model: nn.Module, counts: Mapping[str, float]) -> None:
        """Take the gradients away from what serves only tasks without labelled units; where all have none, from all."""
        absent = [task for task, count in counts.items() if not count]
        for parameter in model.parameters() if len(absent) == len(counts) else self.own(model, absent):
            parameter.grad = None
