"""The setting of a training: everything that may change without changing what is learnt.

`batch` is the samples of one forward pass, `batch * accumulate` those of one optimizer step, which is held constant
unless a person releases it.
"""

from dataclasses import dataclass
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

    def __str__(self) -> str:
        plural = "" if self.workers == 1 else "s"
        said = [f"{self.workers} worker{plural}", f"batch {self.batch}"]
        said += [f"{self.threads} threads"] if self.threads != 1 else []
        said += [f"prefetch {self.prefetch}"] if self.prefetch != 2 and self.workers else []
        said += [f"accumulate {self.accumulate}"] if self.accumulate != 1 else []
        said += [self.precision] if self.precision != "float32" else []
        said += ["checkpointing"] if self.checkpointing else []
        said += ["compiled"] if self.compile else []
        return ", ".join(said)

    def applied(self, training: TrainingParams) -> TrainingParams:
        """The training parameters with this setting in force."""
        return training.model_copy(
            update={
                "batch": self.batch * self.accumulate,
                "accumulate": self.accumulate,
                "workers": self.workers,
                "prefetch": self.prefetch,
                "threads": self.threads,
                "precision": self.precision,
                "activation_checkpointing": self.checkpointing,
                "compile": self.compile,
            }
        )
