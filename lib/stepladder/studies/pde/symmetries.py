"""Symmetries of equations on periodic grids of one axis: from one trajectory, others that are solutions just as well.

Decisions:
- Any equation here may be moved along a periodic axis. Burgers' equation may also be turned over with its axis,
  u(x) -> -u(-x), and seen by a moving observer (see `frame.py`), which changes the mean.
- Moves are by any distance, not by whole points: a network that is blind to moves by whole points still has to learn
  where a front lies between two. They are turns of Fourier phases, exact for fields the grid resolves (Burgers,
  eps 0.01, 128 points, half a point: 0.0017 relative error in the worst frame on average, 0.0001 at the median).
- The observer's velocity stays within half a point per step: the co-moving frame takes out the rest.
- Random numbers come from torch's global generator, as dropout's do, so a resumed run repeats them.

Shape legend: B batch, T frames, X points, C channels.
"""

import torch

from stepladder.studies.pde import frame
from stepladder.studies.pde.equations import BOUNDARIES, number
from stepladder.studies.pde.rollout import state_key, target_key
from stepladder.study import Batch


def varied(batch: Batch) -> Batch:
    """The batch, each sample replaced by a random equivalent one; only periodic grids of one axis change."""
    state, target = state_key(batch), target_key(batch)
    if state != "input_XC" or "edge_E2" in batch:
        return batch
    u_BTXC = torch.cat([batch[state][:, None], batch[target]], dim=1)
    count, frames, points, _ = u_BTXC.shape
    random_3B = torch.rand(3, count, device=u_BTXC.device)
    periodic_B = batch["boundary"] == BOUNDARIES.index("periodic")
    over_B = (batch["equation"] == number("burgers")) & periodic_B & (random_3B[0] < 0.5)
    u_BTXC = torch.where(over_B[:, None, None, None], -u_BTXC.flip(2), u_BTXC)
    slow_B = (random_3B[1] - 0.5) * frame.galilean(batch)  # points per step
    distance_BT = random_3B[2, :, None] + slow_B[:, None] * torch.arange(frames, device=u_BTXC.device) / points
    u_BTXC = frame.moved(u_BTXC, distance_BT * periodic_B[:, None]) + frame.velocity(batch, slow_B)[:, None]
    return {**batch, state: u_BTXC[:, 0], target: u_BTXC[:, 1:]}
