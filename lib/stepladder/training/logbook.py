"""The numbers of steps, from the device to `metrics.jsonl`.

Decisions:
- They stay on the device until a sync point: reading one makes the host wait for the GPU. At a sync point one tensor,
  one reduction over the ranks and one wait serve all steps since the last.
- A loss or gradient that is not finite stops training there, before anything is saved.
- Speed is that of training alone: pauses (validation, saving) are taken out.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from stepladder.core.schema import TrainingParams
from stepladder.training.parallel import DistributedContext
from stepladder.training.step import StepResult
from stepladder.training.tracking import Tracker

HEARTBEAT_SECONDS = 60.0  # between events that say the training lives


class TrainingError(ValueError):
    """Training that cannot go on, with the reason and the way out."""


@dataclass(slots=True)
class Pending:
    """A step whose numbers are still on the device."""

    step: int
    phase: str
    rate: float
    result: StepResult
    time: float


class Logbook:
    """What the steps of a training said.

    Args:
        training: the parameters in force.
        distributed: this process among the others.
        report: takes events, like `Run.event`.
    """

    def __init__(self, training: TrainingParams, distributed: DistributedContext, report: Callable[..., None]):
        self.training, self.distributed, self.report = training, distributed, report
        self.tracker = Tracker()
        self._pending: list[Pending] = []
        self._beat = time.monotonic()  # of the last heartbeat
        self._logged, self._logged_step = time.time(), 0  # of the last logged step; pauses shift it

    def open(self, tracker: Tracker, step: int) -> None:
        """Begin to write to `tracker`, at `step`."""
        self.tracker, self._logged, self._logged_step = tracker, time.time(), step

    def note(self, step: int, phase: str, rate: float, result: StepResult) -> None:
        """Keep what a step said until the next `write`."""
        self._pending.append(Pending(step, phase, rate, result, time.time()))

    def pause(self, seconds: float) -> None:
        """Take a pause out of the speed."""
        self._logged += seconds

    def write(self, scaled: bool = False) -> None:
        """Write the metrics of the steps since the last call; all ranks must call it after the same step.

        Args:
            scaled: gradients are scaled (float16), so that one that is not finite only makes its step be skipped.

        Raises:
            TrainingError: a loss or gradient is not finite.
        """
        scalars = [value.float() for line in self._pending for value in line.result.scalars()]
        values = iter(self.distributed.total(torch.stack(scalars)).tolist() if scalars else ())
        norms = torch.stack([line.result.norm for line in self._pending]).tolist() if scalars else ()
        for line, norm in zip(self._pending, norms, strict=True):
            names = ("loss", *(f"loss_{part}" for part in line.result.parts))
            named: dict[str, float] = {name: next(values) for name in names}
            if not math.isfinite(named["loss"]) or not (math.isfinite(norm) or scaled):
                self._not_finite(line.step, named, norm)
            if line.step % self.training.log_every == 0:
                self._log(line, named, norm)
        self._pending.clear()
        if time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            self.report("heartbeat", stage="05_training", step=self._logged_step)
            self._beat = time.monotonic()

    def _log(self, line: Pending, named: dict[str, float], norm: float) -> None:
        speed = (line.step - self._logged_step) * self.training.batch / max(line.time - self._logged, 1e-9)
        self._logged, self._logged_step = line.time, line.step
        told = {"lr": line.rate, "norm": norm, "samples_per_s": round(speed, 3), "time": round(line.time, 3)}
        self.tracker.log({"step": line.step, "stage": line.phase, **named, **told})

    def _not_finite(self, step: int, values: dict[str, float], norm: float) -> None:
        shown = ", ".join(f"{name} = {value:g}" for name, value in {**values, "gradient norm": norm}.items())
        self.report("not_finite", step=step, values=shown)
        raise TrainingError(
            f"step {step} is not finite ({shown}); checkpoints before it are kept. Lower training.learning_rate, "
            "use precision bfloat16 or float32, or look at the samples of this step"
        )
