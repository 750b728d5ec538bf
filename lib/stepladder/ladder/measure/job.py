"""What a trial runs: the samples, the order they are drawn in, and the step. Built anew in every child process.

Decisions:
- A job is named by `module:function` and the keyword arguments of that function (JSON types), so that a child process,
  which shares nothing with its parent, can open the same one. `study_job` opens the real training of a run; tests name
  emulated jobs and reference workloads the same way.
- A job knows nothing of probes. The probes (`probes.py`) time what it gives them.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from stepladder.training.setting import Setting
from stepladder.training.step import Clock

Key = Any  # what addresses one sample; hashable
Stepper = Callable[[int, Any, Clock], Tensor | float]  # (number of the pass, collated batch, clock) -> loss


class Job(Protocol):
    """One training job, as the ladder sees it."""

    device: torch.device

    def samples(self) -> Dataset:
        """The samples, addressed by the keys of `order`; what loader processes hold (picklable)."""
        ...

    def order(self, batch: int, count: int) -> Sequence[list[Key]]:
        """Keys of the first `count` batches of `batch` samples, in the order of training."""
        ...

    def stepper(self, setting: Setting) -> Stepper:
        """A fresh model and optimizer at `setting`, as a function that makes one forward pass and its backward.

        Every `setting.accumulate`-th call ends with an optimizer step. It laps the clock after the phases
        `host_to_device`, `forward`, `backward`, `optimizer`.
        """
        ...

    def fake_bytes(self, setting: Setting) -> int | None:
        """Bytes of weights, activations, gradients and optimizer at `setting`, by fake tensors; None where unknown."""
        ...


def open_job(name: str, arguments: dict[str, Any]) -> Job:
    """The job `module:function` of `arguments`.

    Raises:
        ValueError: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        opener = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no job {name!r} ({error}); name it as module:function") from error
    return opener(**arguments)
