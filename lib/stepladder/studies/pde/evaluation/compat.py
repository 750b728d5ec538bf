"""PDEBench's split and averaging, reproduced with its faults, so that numbers can be laid beside the published ones.

What its evaluation does otherwise than its paper says (read in the public code, written anew here):
- Metrics are summed over batches and divided by the *index* of the last batch: 20 batches are divided by 19, one batch
  by zero. `faults=False` divides by their number.
- There is no validation split: the single-file loader tests on the first tenth, the multi-group loader on the last.
- The first `initial_step` frames are given and left out (10 in one dimension and in the tables; earlier versions scored
  them, and of Darcy scored the coefficient as part of the answer).
- The largest error is the largest over a batch, and the conserved error a root of a batch mean: both depend on the
  batch size (50; 20 for compressible flow).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stepladder.studies.pde.evaluation import metrics


def split(count: int, loader: Literal["single", "groups"]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of PDEBench's training and test set out of `count` trajectories."""
    rows, tenth, rest = np.arange(count), int(count * 0.1), int(count * (1 - 0.1))
    return (rows[tenth:], rows[:tenth]) if loader == "single" else (rows[:rest], rows[rest:])


def score(
    prediction: Tensor, truth: Tensor, initial_step: int = 10, batch: int = 50, faults: bool = True
) -> dict[str, float]:
    """PDEBench's table of one test set.

    Args:
        prediction, truth: (N, T, *space, C), all frames; the first `initial_step` are left out of every figure.
        initial_step: frames the model was given.
        batch: trajectories of a batch.
        faults: divide by the index of the last batch, as published.

    Raises:
        ValueError: one batch only, which the published averaging divides by zero; shapes that differ; no frame after
            the first `initial_step`.
    """
    if prediction.shape != truth.shape or truth.shape[1] <= initial_step:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} need one shape and more than "
            f"initial_step = {initial_step} frames (Darcy's answer has one: initial_step=0)"
        )
    count = -(-len(truth) // batch)
    divisor = count - 1 if faults else count
    if divisor == 0:
        raise ValueError(
            f"{len(truth)} trajectories are one batch of {batch}: the published averaging divides by zero; "
            "use a smaller batch or faults=False"
        )
    pairs = zip(prediction.split(batch), truth.split(batch), strict=True)
    cut = [(p[:, initial_step:], t[:, initial_step:]) for p, t in pairs]
    tables = [_batch(p, t) for p, t in cut]
    return {name: float(sum(table[name] for table in tables)) / divisor for name in tables[0]}


def _batch(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """The figures of one batch, averaged as published."""
    space, error = tuple(range(2, truth.ndim - 1)), prediction - truth
    waves_TKC = metrics.spectrum(error).square().mean(0).sqrt()
    low, high = metrics.LOW, metrics.HIGH
    figures = {
        "RMSE": metrics.rmse(prediction, truth).mean(),
        "nRMSE": metrics.nrmse(prediction, truth).mean(),
        "cRMSE": error.mean(space).square().mean(0).sqrt().mean(),
        "max": error.abs().amax((0, *space)).mean(),
        "bRMSE": metrics.boundary(prediction, truth).mean(),
        "fRMSE low": waves_TKC[:, :low].mean(),
        "fRMSE mid": waves_TKC[:, low:high].mean(),
        "fRMSE high": waves_TKC[:, high:].mean() if waves_TKC.shape[1] > high else torch.zeros(()),
    }
    return figures
