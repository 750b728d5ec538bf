"""Four jobs whose samples and steps are slept: real loader processes, no load on the machine, the same on any.

MLPerf Storage emulates accelerators in this way. The numbers are those of a published comparison of loader settings:
A and B are bound by data, C by its step, D by either. Keys are sample numbers; a sample always takes the same time.
"""

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stepladder.ladder.measure.job import Key, Stepper
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

WORKERS, BATCHES = [0, 1, 2, 3, 4, 6, 8], [1, 2, 4, 8]
KINDS = 512  # different sample times


@dataclass(frozen=True)
class Times:
    """Seconds: mean and coefficient of variation of a sample, and a step of `fixed + each * batch`."""

    sample: float
    spread: float
    fixed: float
    each: float

    def rate(self, setting: Setting) -> float:
        """Samples per second in theory: the slower of loader and step, or both in turn without loader processes."""
        step = self.fixed + self.each * setting.batch
        if not setting.workers:
            return setting.batch / (self.sample * setting.batch + step)
        return min(setting.workers / self.sample, setting.batch / step)


JOBS = {
    "A": Times(0.06, 0.25, 0.02, 0.03),
    "B": Times(0.15, 0.5, 0.05, 0.01),
    "C": Times(0.004, 0.3, 0.15, 0.02),
    "D": Times(0.03, 0.4, 0.03, 0.002),
}


@dataclass
class Sleeping(Dataset):
    """Samples that take their time and hold four numbers."""

    seconds_N: np.ndarray

    def __getitem__(self, key: int) -> Tensor:
        time.sleep(self.seconds_N[key % len(self.seconds_N)])
        return torch.ones(4)


@dataclass
class Emulated:
    """A `Job` that sleeps. Beyond `largest` samples a step runs out of memory, as torch would say it."""

    times: Times
    largest: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def samples(self) -> Dataset:
        """See `Job`."""
        shape = 1 / self.times.spread**2
        rng = np.random.default_rng(0)
        seconds_N = rng.gamma(shape, self.times.sample / shape, KINDS)
        return Sleeping(seconds_N * self.times.sample / seconds_N.mean())

    def order(self, batch: int, count: int) -> list[list[Key]]:
        """See `Job`."""
        return np.arange(batch * count).reshape(count, batch).tolist()

    def stepper(self, setting: Setting) -> Stepper:
        """See `Job`."""

        def step(number: int, batch: Tensor, clock: Clock) -> float:
            if self.largest and len(batch) > self.largest:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(batch)} GiB")
            time.sleep(self.times.fixed + self.times.each * len(batch))
            clock.lap("forward")
            return 1.0

        return step

    def fake_bytes(self, setting: Setting) -> int | None:
        """Nothing is known of memory."""
        return None


def job(name: str, largest: int | None = None) -> Emulated:
    """The job `name` of `JOBS`; see `stepladder.ladder.measure.job.open_job`."""
    return Emulated(JOBS[name], largest)
