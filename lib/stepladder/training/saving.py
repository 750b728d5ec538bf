"""When a training saves: every so many steps, or as often as what a save costs and how often machines die make best.

Decisions:
- The best interval between saves of C seconds is sqrt(2 C M) seconds where an interruption comes every M seconds on
  average (Young, CACM 1974): half an interval is lost with each, which is then as much as all saves take.
- C and the seconds of a step are measured in this very process: the first checkpoint comes after FIRST steps, and every
  one corrects the next. The slowest rank counts, and all ranks come to the same step.
- No result depends on it (see `schedule`): what a checkpoint holds is the same whenever it is written.
"""

import math
import time

from stepladder.core.schema import TrainingParams
from stepladder.training.parallel import DistributedContext

FIRST = 20  # steps of a process before its first checkpoint, where the interval is measured
HOUR = 3600.0


class Saves:
    """At which steps checkpoints are due.

    Args:
        training: `checkpoint_every`, or 0 and `interruption_hours`.
        distributed: this process among the others.
    """

    def __init__(self, training: TrainingParams, distributed: DistributedContext):
        self._every, self._mean = training.checkpoint_every, training.interruption_hours * HOUR
        self._distributed = distributed
        self._since, self._step, self._next = 0.0, 0, 0

    def open(self, step: int) -> None:
        """Begin to count, at `step`."""
        self._since, self._step, self._next = time.monotonic(), step, step + FIRST

    def due(self, step: int) -> bool:
        """Whether a checkpoint follows `step`."""
        return step % self._every == 0 if self._every else step >= self._next

    def done(self, step: int, seconds: float) -> None:
        """A checkpoint of `step` is written, which took so many seconds; where they are measured, all ranks ask."""
        if self._every:
            return
        now = time.monotonic()
        of_a_step = (now - seconds - self._since) / max(1, step - self._step)
        seconds, of_a_step = self._distributed.largest(seconds, of_a_step)
        self._next = step + interval(seconds, of_a_step, self._mean)
        self._since, self._step = now, step


def interval(save: float, step: float, mean: float) -> int:
    """Steps between checkpoints that lose the least time, at least one.

    Args:
        save: seconds of a save.
        step: seconds of a step, with all that is done between saves.
        mean: seconds between two interruptions, on average.
    """
    return max(1, round(math.sqrt(2 * save * mean) / max(step, 1e-9)))
