"""The best size for a budget of operations, from a law of parameters and samples and the price of a sample.

Decisions:
- torch counts operations (`cost.project.training_flops`): matrix products, convolutions and attention, forward and
  backward. What it does not count stands in `NOT_COUNTED` and is printed beside the numbers.
- Between sizes that were counted, operations per sample follow k N^p. An exponent below 1 says that a part of the work
  (what happens per point, say) grows slower than the parameters.
- With C = k N^p S the law E + A N^-a + B S^-b has one minimum over N, in closed form:
  N = (a A / (p b B))^(1 / (a + p b)) (C / k)^(b / (a + p b)); for p = 1 it is Hoffmann's (2022, equation 4).
- Every replicate of the law has its own minimum: the band of the recommendation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stepladder.scaling.law import Band, Law

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


@dataclass(frozen=True)
class Optimum:
    """The size that reaches the lowest loss for `flops`, the samples it then sees, and that loss."""

    flops: float
    parameters: Band
    samples: Band
    loss: Band


def best(law: Law, price: Price, flops: float) -> Optimum:
    """The minimum of a law of (parameters, samples) under a budget of operations."""
    exponent_R, decay_R = law.exponent_RK.T
    size_R, time_R = law.added(0, 1.0), law.added(1, 1.0)  # A and B
    both_R = exponent_R + price.power * decay_R
    ratio_R = exponent_R * size_R / (price.power * decay_R * time_R)
    log_R = (np.log(ratio_R) + decay_R * np.log(flops / price.scale)) / both_R
    parameters_R = np.exp(np.clip(log_R, 0.0, 80.0))  # an exponent that is not told may ask for anything
    samples_R = price.samples(flops, parameters_R)
    loss_R = law.floor_R + size_R * parameters_R**-exponent_R + time_R * samples_R**-decay_R
    return Optimum(flops, *(law.band(values_R) for values_R in (parameters_R, samples_R, loss_R)))


def table(law: Law, price: Price, budgets: Sequence[float], sizes: dict[str, int]) -> pd.DataFrame:
    """One row per budget: the best size with its band, the nearest size that was measured, samples, expected loss."""
    largest, smallest = max(sizes.values()), min(sizes.values())
    rows = []
    for flops in budgets:
        found = best(law, price, flops)
        wanted = float(found.parameters.value)
        nearest = min(sizes, key=lambda name: abs(np.log(sizes[name] / wanted)))
        outside = "larger than any" if wanted > largest else "smaller than any" if wanted < smallest else nearest
        rows.append(
            {
                "FLOPs": f"{flops:.2g}",
                "parameters": _count(wanted),
                "low": _count(found.parameters.low),
                "high": _count(found.parameters.high),
                "measured size": outside,
                "samples": _count(found.samples.value),
                "expected": float(found.loss.value),
            }
        )
    return pd.DataFrame(rows)


def _count(value: float) -> str:
    """A number of things; the many that an exponent which is not told may ask for in short."""
    return f"{value:,.0f}" if value < 1e10 else f"{value:.0e}"
