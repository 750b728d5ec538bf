"""Where tokens sit: places in periods of the domain, an order in which neighbours follow each other, spread-out picks.

Decisions:
- A periodic grid or box fills one period (0..1, the end left out). Everything else fills at most half of one, so that
  its ends are far apart for attention that turns by whole periods, and every offset may go the short way round.
- Morton order (interleaved bits of the coordinates) keeps pairs, quadruples ... of consecutive tokens close in space.
  On grids the coordinates are whole numbers of tokens, or the bits would cut through them.
- Supernodes are farthest-point samples, started at the point nearest the first corner: spread evenly, no randomness.

Shape legend: B batch, N points, L tokens, D axes of space.
"""

from typing import Any

import torch
from torch import Tensor

BITS = 10  # per axis


def grid_places(shape: tuple[int, ...], periodic: bool, device: torch.device) -> Tensor:
    """Places of a grid's points in the order of `flatten`: (N, D)."""
    reach = 1.0 if periodic else 0.5
    ticks = [torch.arange(size, device=device) * (reach / size) for size in shape]
    return torch.stack(torch.meshgrid(*ticks, indexing="ij"), dim=-1).flatten(0, -2)


def scattered_places(position_BND: Tensor, known_BND: Tensor | None = None) -> Tensor:
    """Places of scattered points: the box of `known` (default: the points themselves) scaled to half a period."""
    known_BND = position_BND if known_BND is None else known_BND
    low_B1D = known_BND.amin(1, keepdim=True)
    extent_B11 = (known_BND.amax(1, keepdim=True) - low_B1D).amax(-1, keepdim=True)
    return (position_BND - low_B1D) / (2 * extent_B11.clamp_min(1e-9))


def boxed_places(position_BND: Tensor, box_B2D: Tensor, periodic_B: Tensor) -> Tensor:
    """Places of points in a box (lower and upper corner), which fills a period where it is periodic, else half of one.

    A fixed box keeps what distances mean; the points' own extent (`scattered_places`) would change with every frame.
    """
    low_B1D, high_B1D = box_B2D.split(1, dim=1)
    share_BND = (position_BND - low_B1D) / (high_B1D - low_B1D)
    return torch.where(periodic_B[:, None, None], share_BND % 1, share_BND / 2)


def short_way(offset: Tensor) -> Tensor:
    """Offsets of places, the short way round a period; those of places in half a period stay as they are."""
    return offset - offset.round()


def squared_distances(place_BND: Tensor, other_BLD: Tensor) -> Tensor:
    """Squared distances of all pairs, the short way round: (B, N, L)."""
    axes = zip(place_BND.unbind(-1), other_BLD.unbind(-1), strict=True)
    total: Any = sum(short_way(one_BN[:, :, None] - other_BL[:, None]).square() for one_BN, other_BL in axes)
    return total


def waves(place_BND: Tensor, count: int) -> Tensor:
    """Sines and cosines of places, of 1 .. `count` waves to a period: (B, N, 2 D count).

    A network that is told coordinates alone learns what varies quickly last (Tancik et al., NeurIPS 2020).
    """
    turns_F = 2 * torch.pi * torch.arange(1, count + 1, device=place_BND.device)
    angle = (place_BND[..., None] * turns_F).flatten(2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def morton(place_BLD: Tensor) -> Tensor:
    """Indices (B, L) that put places within 0..1 into Morton order."""
    cell_BLD = (place_BLD * 2**BITS).long().clamp(0, 2**BITS - 1)
    axes = place_BLD.shape[-1]
    code_BL = torch.zeros_like(cell_BLD[..., 0])
    for bit in range(BITS):
        for axis in range(axes):
            code_BL |= ((cell_BLD[..., axis] >> bit) & 1) << (bit * axes + axes - 1 - axis)
    return code_BL.argsort(dim=1, stable=True)


def grid_order(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Indices (L,) that put the tokens of a grid, in the order of `flatten`, into Morton order."""
    numbers = torch.meshgrid(*(torch.arange(size, device=device) for size in shape), indexing="ij")
    return morton(torch.stack(numbers, dim=-1).flatten(0, -2)[None] / 2**BITS)[0]


def farthest(place_BND: Tensor, count: int) -> Tensor:
    """Indices (B, count) of points spread as far as possible from each other (Gonzalez, 1985)."""
    picks = [(place_BND - place_BND.amin(1, keepdim=True)).square().sum(-1).argmin(1)]
    distance_BN = torch.full(place_BND.shape[:2], torch.inf, device=place_BND.device)
    for _ in range(count - 1):
        last_B1D = take(place_BND, picks[-1][:, None])
        distance_BN = torch.minimum(distance_BN, short_way(place_BND - last_B1D).square().sum(-1))
        picks.append(distance_BN.argmax(1))
    return torch.stack(picks, dim=1)


def take(x_BNC: Tensor, index_BL: Tensor) -> Tensor:
    """Rows `index` of every sample: (B, L, C)."""
    return x_BNC.gather(1, index_BL[..., None].expand(-1, -1, x_BNC.shape[-1]))
