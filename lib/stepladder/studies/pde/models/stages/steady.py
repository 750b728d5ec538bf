"""The fourth stage: a prior for steady problems that corrects an answer by what the equation says is wrong with it.

Decisions:
- Darcy's residual is `div(a grad u) + f` in flux form, the permeability at a face being the harmonic mean of its two
  cells, u = 0 on the walls: the scheme behind the data, up to its treatment of the rim.
- Each round sees the given field, the present answer and its residual, and adds a correction. Rounds share weights, so
  more of them may be taken than were trained. The first answer is the operator's, handed in.
- Sizes of answers and residuals come from the first training batch.

Shape legend: B batch, Y X axes of a square grid.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch, Loss
from stepladder.studies.pde.data import scales
from stepladder.studies.pde.data.equations import COEFFICIENTS
from stepladder.studies.pde.models.operator.losses import relative_l2
from stepladder.studies.pde.models.operator.model import GridOperator
from stepladder.studies.pde.models.operator.rollout import state_key, target_key


def darcy_residual(a_BYX: Tensor, u_BYX: Tensor, force_B: Tensor, dx_B: Tensor) -> Tensor:
    """`div(a grad u) + f` at cell centres, u = 0 on the walls half a cell beyond the outer centres: (B, Y, X)."""
    total = force_B[:, None, None].expand_as(u_BYX)
    for axis in (1, 2):
        a, u = a_BYX.movedim(axis, -1), u_BYX.movedim(axis, -1)
        inner = 2 * a[..., 1:] * a[..., :-1] / (a[..., 1:] + a[..., :-1]) * u.diff(dim=-1)
        first, last = 2 * a[..., :1] * u[..., :1], -2 * a[..., -1:] * u[..., -1:]
        flux = torch.cat([first, inner, last], dim=-1)
        total = total + (flux.diff(dim=-1) / dx_B[:, None, None] ** 2).movedim(-1, axis)
    return total


class SteadyPrior(nn.Module):
    """Rounds of correction after an operator's answer, for Darcy's problem.

    Args:
        channels, modes: of the correcting network.
        rounds: corrections.
        patch: points of a patch along each axis; must divide the grid.
    """

    def __init__(self, channels: int = 24, modes: int = 8, rounds: int = 4, patch: int = 8) -> None:
        super().__init__()
        self.rounds = rounds
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(2))  # of the answer and of its residual
        self.scaled: Tensor
        self.register_buffer("scaled", torch.tensor(False))
        layers: dict[str, Any] = {"channels": channels, "modes": modes, "before": 1, "after": 1, "patch": patch}
        self.correct: Any = GridOperator(2, 3, **layers, periodic=False, answers=1)
        self.correct.read = None  # nothing teaches it to read tokens back, and copies (DDP) wait for every gradient
        for parameter in self.correct.head[-1].parameters():
            nn.init.zeros_(parameter)

    def answers(self, batch: Batch, first: Tensor) -> list[Tensor]:
        """The answer `first` (B, Y, X, 1) and that after every round."""
        key, answers = state_key(batch), [first]
        for _ in range(self.rounds):
            u = answers[-1]
            wrong = residual(batch, u)[..., None] / self.scale[1]
            told = torch.cat([batch[key], u / self.scale[0], functional.softsign(wrong)], dim=-1)
            answers.append(u + self.scale[0] * self.correct({**batch, key: told}))
        return answers

    def loss(self, batch: Batch, first: Tensor) -> Loss:
        """Relative error after every round, averaged: every round must help."""
        if self.training and not self.scaled:
            self.fit_scale(batch, first)
        truth = batch[target_key(batch)][:, 0]
        errors = torch.stack([relative_l2(u, truth) for u in self.answers(batch, first)[1:]])
        return Loss(errors.mean(), {"first": errors[0].detach(), "last": errors[-1].detach()})

    @torch.no_grad()
    def fit_scale(self, batch: Batch, first: Tensor) -> None:
        """Set the sizes of answers and of their residuals from a batch."""
        self.scale.copy_(torch.cat([scales.size(first), scales.size(residual(batch, first)[..., None])]))
        self.scaled.fill_(True)


def residual(batch: Batch, u_BYX1: Tensor) -> Tensor:
    """What Darcy's equation says is wrong with an answer: (B, Y, X)."""
    force_B = batch["coefficient_K"][:, COEFFICIENTS.index("force")]
    return darcy_residual(batch[state_key(batch)][..., 0], u_BYX1[..., 0], force_B, batch["dx"])
