"""Grids as grids of patches, and back.

Shape legend: B batch, X (in `*X`: all axes) points, P points of a patch, C channels.
"""

from torch import Tensor


def cut(x: Tensor, patch: int) -> Tensor:
    """(B, *X, C) -> (B, *(X / patch), C * patch ** axes); ValueError when the patch does not divide the grid."""
    shape = x.shape[1:-1]
    if any(size % patch for size in shape):
        raise ValueError(f"a grid of {tuple(shape)} points cannot be cut into patches of {patch}; take a divisor")
    for axis in range(len(shape)):  # the patch's own axes go to the end, after the channels
        x = x.unflatten(axis + 1, (-1, patch)).movedim(axis + 2, -1)
    return x.flatten(len(shape) + 1)


def joined(x: Tensor, patch: int) -> Tensor:
    """The inverse of `cut`."""
    axes = x.ndim - 2
    x = x.unflatten(-1, (-1, *[patch] * axes))
    for axis in reversed(range(axes)):
        x = x.movedim(-1, axis + 2).flatten(axis + 1, axis + 2)
    return x
