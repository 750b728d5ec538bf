"""What training costs in floating-point operations, counted and then continued to sizes that were not counted.

Decisions:
- torch counts (`ladder.cost.training_flops`): matrix products, convolutions and attention, forward and backward. What
  it does not count stands in `NOT_COUNTED` and is printed beside the numbers.
- Between sizes, operations per sample follow k N^p. An exponent below 1 says that a part of the work (what happens per
  point, say) grows slower than the parameters.
"""

from dataclasses import dataclass

import numpy as np

from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.core.types import Batch
from stepladder.cost.project import training_flops

NOT_COUNTED = "FFTs, element-wise operations, normalisation and the optimizer's update are not counted."


@dataclass(frozen=True)
class Price:
    """Operations of training on one sample with N parameters: `scale` N ^ `power`."""

    scale: float
    power: float

    @classmethod
    def fit(cls, parameters_P: np.ndarray, flops_P: np.ndarray) -> "Price":
        """The line through logarithms; parameters and operations per sample of several sizes."""
        power, log_scale = np.polyfit(np.log(parameters_P), np.log(flops_P), 1)
        return cls(float(np.exp(log_scale)), float(power))

    def of(self, parameters: np.ndarray) -> np.ndarray:
        """Floating-point operations of training on one sample."""
        return self.scale * np.asarray(parameters, dtype=float) ** self.power

    def samples(self, flops: float, parameters: np.ndarray) -> np.ndarray:
        """Number of samples that `flops` operations are enough for."""
        return flops / self.of(parameters)


def per_sample(study: Study, params: Parameters, batch: Batch) -> float:
    """Operations of forward and backward on one sample in the first stage of training (see `NOT_COUNTED`)."""
    first, _ = training_flops(study, params, batch)
    return first
