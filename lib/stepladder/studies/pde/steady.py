"""The fourth stage: a prior for steady problems that corrects an answer by what the equation says is wrong with it.

Decisions:
- Darcy's residual is `div(a grad u) + f` in flux form, the permeability at a face being the harmonic mean of its two
  cells, u = 0 on the walls: the scheme behind the data, up to its treatment of the rim.
- Each round sees the given field, the present answer and its residual, and adds a correction. Rounds share weights, so
  more of them may be taken than were trained. The first answer is the operator's, frozen.
- Judged by the error and by the residual's size: `flow.better`.

Shape legend: B batch, Y X axes of a square grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde.equations import COEFFICIENTS
from stepladder.studies.pde.losses import relative_l2
from stepladder.studies.pde.operator import GridOperator
from stepladder.studies.pde.rollout import state_key, target_key
from stepladder.study import Batch, Loss


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
    """Rounds of correction after a frozen operator, for Darcy's problem.

    Args:
        operator: a trained network, given field -> answer.
        channels, modes: of the correcting network.
        rounds: corrections.
    """

    def __init__(self, operator: nn.Module, channels: int = 24, modes: int = 8, rounds: int = 4) -> None:
        super().__init__()
        self.operator, self.rounds = operator.requires_grad_(False), rounds
        self.register_buffer("scale", torch.ones(2))  # of the answer and of its residual
        self.correct = GridOperator(2, 3, channels=channels, modes=modes, before=1, after=1, periodic=False, answers=1)
        nn.init.zeros_(self.correct.head[-1].weight)
        nn.init.zeros_(self.correct.head[-1].bias)

    def forward(self, batch: Batch) -> Tensor:
        """The answer (B, Y, X, 1) after all rounds."""
        return self.answers(batch)[-1]

    def answers(self, batch: Batch) -> list[Tensor]:
        """The operator's answer and that after every round."""
        given, key = batch[state_key(batch)], state_key(batch)
        answers = [self.operator(batch)]
        for _ in range(self.rounds):
            u = answers[-1]
            wrong = self.residual(batch, u)[..., None] / self.scale[1]
            told = torch.cat([given, u / self.scale[0], functional.softsign(wrong)], dim=-1)
            answers.append(u + self.scale[0] * self.correct({**batch, key: told}))
        return answers

    def residual(self, batch: Batch, u_BYX1: Tensor) -> Tensor:
        """What the equation says is wrong with an answer: (B, Y, X)."""
        force_B = batch["coefficient_K"][:, COEFFICIENTS.index("force")]
        return darcy_residual(batch[state_key(batch)][..., 0], u_BYX1[..., 0], force_B, batch["dx"])

    @torch.no_grad()
    def fit_scale(self, batch: Batch) -> None:
        """Set the sizes of answers and residuals from a batch."""
        u = self.operator(batch)
        self.scale.copy_(torch.stack([u.square().mean().sqrt(), self.residual(batch, u).square().mean().sqrt()]))

    def loss(self, batch: Batch) -> Loss:
        """Relative error after every round, averaged: every round must help."""
        truth = batch[target_key(batch)][:, 0]
        errors = torch.stack([relative_l2(u, truth) for u in self.answers(batch)[1:]])
        return Loss(errors.mean(), {"first": errors[0].detach(), "last": errors[-1].detach()})
