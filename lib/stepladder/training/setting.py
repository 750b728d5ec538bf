"""The setting of a training: everything that may change without changing what is learnt.

`batch` is the samples of one forward pass of one process; `batch * accumulate * processes` are those of one optimizer
step, which is held constant unless a person releases it.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from stepladder.core.schema import TrainingParams

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, order=True)
class Setting:
    """One candidate: what the machine is asked to do for the same training."""

    workers: int = 0  # loader processes; 0 loads in the training process itself
    batch: int = 1  # samples of one forward pass
    threads: int = 1  # intra-op threads of the training process
    prefetch: int = 2  # batches each loader process prepares ahead
    accumulate: int = 1  # forward passes per optimizer step
    precision: Precision = "float32"
    checkpointing: bool = False  # recompute activations in backward
    compile: bool = False  # torch.compile
    processes: int = 1  # training processes, each of which does the above

    def __str__(self) -> str:
        plural = "" if self.workers == 1 else "s"
        said = [f"{self.workers} worker{plural}", f"batch {self.batch}"]
        said += [f"{self.threads} threads"] if self.threads != 1 else []
        said += [f"prefetch {self.prefetch}"] if self.prefetch != 2 and self.workers else []
        said += [f"accumulate {self.accumulate}"] if self.accumulate != 1 else []
        said += [self.precision] if self.precision != "float32" else []
        said += ["checkpointing"] if self.checkpointing else []
        said += ["compiled"] if self.compile else []
        said += [f"in each of {self.processes} processes"] if self.processes != 1 else []
        return ", ".join(said)

    def applied(self, training: TrainingParams) -> TrainingParams:
        """The training parameters with this setting in force, in `training.processes` processes.

        Where those are not as many as it was made for, accumulation makes up for it: passes are no larger than here,
        and the samples of an optimizer step are the same.
        """
        total, processes = self.batch * self.accumulate * self.processes, training.processes
        accumulate = max(1, min(math.ceil(total / (self.batch * processes)), total // processes))
        return training.model_copy(
            update={
                "batch": total,
                "accumulate": accumulate,
                "workers": self.workers,
                "prefetch": self.prefetch,
                "threads": self.threads,
                "precision": self.precision,
                "activation_checkpointing": self.checkpointing,
                "compile": self.compile,
            }
        )

    def of_one(self, training: TrainingParams) -> TrainingParams:
        """The training parameters of what one of the processes does, for a single process that does it alone."""
        return replace(self, processes=1).applied(training.model_copy(update={"processes": 1}))
