"""Truncated exact distance transform: squared distance to the nearest voxel of a mask, cut off at a cap, as uint8.

Decisions:
- A loss only needs to know how near the sheet is, up to a few voxels. Cut off at K voxels the transform is a separable
  min-plus filter over shifts below K (Felzenszwalb and Huttenlocher, Theory of Computing 2012, with the parabola cut
  off): a few passes over one byte per voxel, where a full transform holds float64 of the whole volume.
- One algorithm for numpy and torch, so the map stored at conversion and the map computed on a GPU after augmentation
  are equal to the last bit.
- Exact: equal to `min(distance**2, cap)` of a full transform, whatever the cap.
"""

from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

AXES = (-3, -2, -1)
MOST = 255  # largest cap that fits a byte


def squared_distance(mask_ZYX: np.ndarray | Tensor, cap: int) -> Any:
    """Squared Euclidean distance in voxels from every voxel to the nearest voxel of the mask, at most `cap`.

    Args:
        mask_ZYX: boolean (or anything true and false), Z, Y and X last; leading axes are a batch. A tensor is worked
            on where it lies, CPU or GPU.
        cap: largest value, 1 to 255: the square of the distance of interest. An empty mask gives `cap` everywhere.

    Returns:
        uint8 of the same shape and kind as the mask.

    Raises:
        ValueError: `cap` does not fit a byte.
    """
    if not 1 <= cap <= MOST:
        raise ValueError(f"cap = {cap} must be 1 to {MOST}: at most 15 voxels, squared")
    if isinstance(mask_ZYX, Tensor):
        library, near_ZYX = torch, torch.where(mask_ZYX.bool(), 0, cap).to(torch.uint8)
    else:
        library, near_ZYX = np, np.where(np.asarray(mask_ZYX, dtype=bool), np.uint8(0), np.uint8(cap))
    # Squared distance is a sum over axes, so the least over all shifts is found one axis at a time.
    for axis in AXES:
        near_ZYX = _along(near_ZYX, axis, cap, library)
    return near_ZYX


def _along(near_ZYX: Any, axis: int, cap: int, library: Any) -> Any:
    """The least of `near + shift**2` over all shifts along one axis; `library` is numpy or torch."""
    # Shifts from the root of the cap on add at least the cap and can win nowhere.
    best_ZYX, shifted_ZYX = near_ZYX + 0, library.empty_like(near_ZYX)
    for shift in range(1, min(isqrt(cap - 1) + 1, near_ZYX.shape[axis])):
        step = shift * shift
        library.clip(near_ZYX, None, cap - step, out=shifted_ZYX)  # first, so that the sum passes neither cap nor byte
        shifted_ZYX += step
        # One clipped copy serves both directions: to the left neighbour and to the right one.
        left, right = _part(axis, slice(None, -shift)), _part(axis, slice(shift, None))
        library.minimum(best_ZYX[left], shifted_ZYX[right], out=best_ZYX[left])
        library.minimum(best_ZYX[right], shifted_ZYX[left], out=best_ZYX[right])
    return best_ZYX


def _part(axis: int, part: slice) -> tuple[Any, ...]:
    """An index that takes `part` of one of the last three axes."""
    return (..., *(part if other == axis else slice(None) for other in AXES))
