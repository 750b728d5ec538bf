"""What a tree of processes takes while a trial runs: level and growth of its memory, and waiting that others caused.

Decisions:
- Growth is the slope of the resident sets, which cost a tenth of a millisecond to read; the level that is reported is
  the proportional set size. Reading takes at most `READING_SHARE` of the time.
- What grows for ever must still grow in the second half of the readings: a cache that fills and levels off is no leak.
- A trial is contended by the share of its time that it spent ready, waiting for a CPU. Where its own processes use
  nearly all CPUs they wait for each other, and nobody else is to blame.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtrit

from stepladder.ladder.measure.estimate import CONFIDENCE
from stepladder.machine import limits

READING_SHARE = 0.05
LEAST_READINGS = 4  # of one half, for a slope
LEAST_RISE = 1 << 20  # bytes; less is the small change of allocators
POLLUTED_BELOW = 0.9  # of the CPUs: who uses more waits for itself


def growth(at: Sequence[float], levels: Sequence[float]) -> float:
    """Slope of `levels` over `at` where they surely still grow in the second half of the readings, else 0.

    Sure: the slopes of all readings and of the later half are positive by their 95 % intervals, and the later half
    rises by `LEAST_RISE`. The slope of the later half is what is returned.
    """
    half = len(levels) // 2
    if half < LEAST_READINGS:
        return 0.0
    # The later half alone: what fills up at the start of a trial is over by then.
    slope = _sure_slope(at[half:], levels[half:])
    rises = slope * (at[-1] - at[half]) >= LEAST_RISE and _sure_slope(at, levels) > 0
    return slope if rises else 0.0


def _sure_slope(at: Sequence[float], levels: Sequence[float]) -> float:
    """Least-squares slope, 0 where its 95 % interval holds 0."""
    x, y = np.asarray(at, float), np.asarray(levels, float)
    x, y = x - x.mean(), y - y.mean()
    # Least squares through the centred readings, and the standard error of that slope.
    slope = x @ y / (x @ x)
    error = math.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x @ x))
    return float(slope) if slope > stdtrit(len(x) - 2, (1 + CONFIDENCE) / 2) * error else 0.0


class Levels:
    """Memory of a process tree and of the device over the passes, read for at most `READING_SHARE` of the time.

    Attributes:
        at: passes after which it was read.
        host: summed resident sets, bytes.
        device: bytes allocated there.
    """

    def __init__(self, root: int, device: torch.device):
        self.root, self.cuda = root, device.type == "cuda"
        self.at: list[int] = []
        self.host: list[int] = []
        self.device: list[int] = []
        self._family: list[int] = []
        self._spent = 0.0

    def due(self, elapsed: float) -> bool:
        """Whether there is time for a reading, `elapsed` seconds after the start."""
        return self._spent <= READING_SHARE * elapsed

    def read(self, number: int) -> float:
        """Take the levels after pass `number`; the seconds it took."""
        begin = time.perf_counter()
        self._family = self._family or limits.family(self.root)  # the loader processes stay the same
        self.at.append(number)
        self.host.append(limits.resident_memory(self._family))
        self.device.append(torch.cuda.memory_allocated() if self.cuda else 0)
        spent = time.perf_counter() - begin
        self._spent += spent
        return spent

    def grow(self) -> bool:
        """Whether memory of the processes or of the device surely grows."""
        return growth(self.at, self.host) > 0 or growth(self.at, self.device) > 0


@dataclass(frozen=True)
class Queue:
    """CPU and run-queue seconds of a process tree at one moment."""

    root: int
    cpu: float
    wait: float
    at: float

    @classmethod
    def now(cls, root: int) -> "Queue":
        """The reading of this moment."""
        return cls(root, *limits.cpu_and_queue(limits.family(root)), time.monotonic())

    def contended(self) -> float:
        """Share of the time since then in which our processes were kept waiting by others."""
        now = Queue.now(self.root)
        cpu, wait = now.cpu - self.cpu, now.wait - self.wait
        if cpu + wait <= 0 or cpu >= POLLUTED_BELOW * limits.cpus() * (now.at - self.at):
            return 0.0
        return wait / (cpu + wait)
