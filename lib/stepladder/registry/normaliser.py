"""Mean and standard deviation of the arrays of a training split: facts that go with the data.

Only the training split is looked at, so no test value leaks into a normalised input. Arrays whose last axis is called C
are told per channel, others as one. Values that are not finite are left out and counted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def facts(train: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """`mean`, `std`, `values` and `not_finite` of every floating array of at least two axes, over all shards.

    Raises:
        OSError: a shard cannot be read.
    """
    sums: dict[str, np.ndarray] = {}
    for path in train:
        with h5py.File(path, "r", locking=False) as file:
            for name, array in file.items():
                if array.dtype.kind == "f" and array.ndim > 1:
                    channels = array.shape[-1] if name.endswith("C") else 1
                    sums[name] = sums.get(name, 0) + sum((_sums(row, channels) for row in array), np.zeros((4, 1)))
    return {name: _moments(rows) for name, rows in sorted(sums.items())}


def _sums(row: np.ndarray, channels: int) -> np.ndarray:
    """Count, sum, sum of squares and count of not finite values, each per channel: (4, channels)."""
    values_NC = np.asarray(row, dtype=np.float64).reshape(-1, channels)
    sound_NC = np.isfinite(values_NC)
    kept_NC = np.where(sound_NC, values_NC, 0.0)
    return np.stack([sound_NC.sum(0), kept_NC.sum(0), (kept_NC**2).sum(0), (~sound_NC).sum(0)])


def _moments(sums: np.ndarray) -> dict[str, Any]:
    """The facts of one array from its sums."""
    count, total, squares, broken = sums
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0))
    return {
        "mean": [float(f"{value:.9g}") for value in mean],
        "std": [float(f"{value:.9g}") for value in std],
        "values": int(count.sum()),
        "not_finite": int(broken.sum()),
    }
