"""Symmetries of equations: from one trajectory, others that are solutions just as well.

Decisions:
- Periodic grids of one axis: any equation here may be moved along the axis. Burgers' equation may also be turned over
  with its axis, u(x) -> -u(-x), and seen by a moving observer (see `frame.py`), which changes the mean.
- Moves are by any distance, not by whole points: a network that is blind to moves by whole points still has to learn
  where a front lies between two. They are turns of Fourier phases, exact for fields the grid resolves (Burgers,
  eps 0.01, 128 points, half a point: 0.0017 relative error in the worst frame on average, 0.0001 at the median).
- The observer's velocity stays within half a point per step: the co-moving frame takes out the rest.
- Darcy's problem on a square: the eight turns and reflections of the square. Where the first points lie on the wall and
  the last ones before the other, as in neuraloperator's file, a reflection leaves the first row where it is. A thinned
  grid of cell centres lies askew between its walls: nothing is mirrored there.
- Particles in a cubic box: the turns and reflections of the cube. Right for forces between particles only, not in a
  field (gravity, an inlet): a profile that asks for `model.augment` says so.
- Each sample has random numbers of its own (`data.draws`), whatever stands beside it in a batch.

Shape legend: B batch, T frames, X points (Y X of a square grid), D axes of space, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from stepladder.core.types import Batch
from stepladder.data import draws
from stepladder.studies.pde.data.equations import BOUNDARIES, number
from stepladder.studies.pde.models.operator import frame
from stepladder.studies.pde.models.operator.rollout import position_key, state_key, target_key

SQUARE = ("darcy", "darcy_indicator")


def varied(batch: Batch) -> Batch:
    """The batch, each sample replaced by a random equivalent one; unchanged where no symmetry is known."""
    if "box_2D" in batch:
        return _turned_box(batch)
    if "edge_E2" in batch:
        return batch
    if state_key(batch) == "input_XC":
        return _moved_line(batch)
    square_B = torch.isin(batch["equation"], torch.tensor([number(name) for name in SQUARE]).to(batch["equation"]))
    return _turned_square(batch, square_B) if bool(square_B.any()) else batch


def _moved_line(batch: Batch) -> Batch:
    """Trajectories on a periodic axis: moved, turned over, in a wind."""
    state, target = state_key(batch), target_key(batch)
    u_BTXC = torch.cat([batch[state][:, None], batch[target]], dim=1)
    count, frames, points, _ = u_BTXC.shape
    random_3B = draws.rand(count, 3, device=u_BTXC.device).T
    periodic_B = batch["boundary"] == BOUNDARIES.index("periodic")
    over_B = (batch["equation"] == number("burgers")) & periodic_B & (random_3B[0] < 0.5)
    u_BTXC = torch.where(over_B[:, None, None, None], -u_BTXC.flip(2), u_BTXC)
    slow_B = (random_3B[1] - 0.5) * frame.galilean(batch)  # points per step
    distance_BT = random_3B[2, :, None] + slow_B[:, None] * torch.arange(frames, device=u_BTXC.device) / points
    u_BTXC = frame.moved(u_BTXC, distance_BT * periodic_B[:, None]) + frame.velocity(batch, slow_B)[:, None]
    return {**batch, state: u_BTXC[:, 0], target: u_BTXC[:, 1:]}


def _turned_square(batch: Batch, square_B: Tensor) -> Batch:
    """Scalar fields on a square grid: each of two flips and the swap of the axes happens to half of the samples."""
    random_3B = (draws.rand(len(square_B), 3, device=square_B.device).T < 0.5) & square_B
    first_B, dx_B = batch[position_key(batch)][:, 0, 0].abs().amax(-1), batch["dx"]
    on_wall_B, centred_B = first_B < dx_B / 100, (first_B - dx_B / 2).abs() < dx_B / 100
    rows, columns = batch[state_key(batch)].shape[1:3]
    random_3B &= torch.stack([on_wall_B | centred_B] * 2 + [torch.full_like(on_wall_B, rows == columns)])
    turned = {}
    for name, y in ((state_key(batch), 1), (target_key(batch), 2)):
        u = batch[name]
        down_B, over_B, swap_B = random_3B.view(3, -1, *[1] * (u.ndim - 1))
        u = torch.where(down_B, _mirrored(u, y, on_wall_B), u)
        u = torch.where(over_B, _mirrored(u, y + 1, on_wall_B), u)
        turned[name] = torch.where(swap_B, u.transpose(y, y + 1), u) if rows == columns else u
    return {**batch, **turned}


def _mirrored(u: Tensor, axis: int, on_wall_B: Tensor) -> Tensor:
    """Fields mirrored along an axis; a first row on the wall stays."""
    over = u.flip(axis)
    return torch.where(on_wall_B.view(-1, *[1] * (u.ndim - 1)), over.roll(1, axis), over)


def _turned_box(batch: Batch) -> Batch:
    """Particles: axes mirrored about the middle of the box and, where it is a cube, put in another order."""
    box_B2D, places = batch["box_2D"], (state_key(batch), target_key(batch), position_key(batch))
    count, _, axes = box_B2D.shape
    extent_BD, device = box_B2D[:, 1] - box_B2D[:, 0], box_B2D.device
    cube_B1 = (extent_BD == extent_BD[:, :1]).all(1, keepdim=True)
    order_BD = torch.where(cube_B1, draws.rand(count, axes, device=device).argsort(1), torch.arange(axes).to(device))
    sign_BD1 = 1.0 - 2.0 * (draws.rand(count, axes, 1, device=device) < 0.5)
    turn_BDD = functional.one_hot(order_BD, axes) * sign_BD1
    middle_BD = box_B2D.mean(1)
    turned = {}
    for name in (*places, "before_XD"):
        parts = batch[name].unflatten(-1, (-1, axes))  # positions, then displacements, which have no middle
        middle = torch.stack([middle_BD * (name in places), torch.zeros_like(middle_BD)], 1)[:, : parts.shape[-2]]
        middle = middle.view(count, *[1] * (parts.ndim - 3), -1, axes)
        turn = turn_BDD.view(count, *[1] * (parts.ndim - 3), axes, axes)
        turned[name] = ((parts - middle) @ turn + middle).flatten(-2)
    return {**batch, **turned}
