"""The third stage: a student that draws a residual in one or two evaluations instead of its teacher's many.

Consistency distillation (Song et al., ICML 2023) for a straight-line flow: the student maps any point of a path to the
path's end, `f(x, tau) = x + (1 - tau) v(x, tau)`, which is the identity at tau = 1. It is trained to say the same at a
point and at the next point of the teacher's path, where it is asked through slowly averaged weights.

Decisions:
- The student is the teacher's velocity network, copied: of a perfectly straight flow it would be right at once.
- More steps: the answer is noised back to a later time and asked again.
- Judged by its error against the teacher's at fewer evaluations (`flow.better`, and the profile of 06).

Shape legend: B batch, C fields; X (in `*X`) stands for all axes of space.
"""

import copy

import torch
from torch import Tensor, nn

from stepladder.studies.pde.flow import ResidualFlow
from stepladder.studies.pde.rollout import state_key, target_key
from stepladder.study import Batch, Loss


class ConsistencyStudent(nn.Module):
    """A few-step sampler distilled from a `ResidualFlow`.

    Args:
        teacher: a trained flow; frozen.
        grid: points of the teacher's path that training uses.
        steps: evaluations of a draw in `forward`.
        average: how slowly the weights it is compared with follow, per training step.
    """

    def __init__(self, teacher: ResidualFlow, grid: int = 16, steps: int = 1, average: float = 0.95) -> None:
        super().__init__()
        self.teacher, self.grid, self.steps, self.average = teacher.requires_grad_(False), grid, steps, average
        self.student = copy.deepcopy(teacher.backbone).requires_grad_(True)
        self.slow = copy.deepcopy(teacher.backbone)

    def end(self, network: nn.Module, batch: Batch, forecast: Tensor, x: Tensor, tau_B: Tensor) -> Tensor:
        """Where `network` says the path through `x` at `tau` ends."""
        state, tau = batch[state_key(batch)], tau_B.view(-1, *[1] * (x.ndim - 1))
        told = torch.cat([x, forecast, state, tau.expand_as(x[..., :1])], dim=-1)
        return x + (1 - tau) * network({**batch, state_key(batch): told})

    def loss(self, batch: Batch) -> Loss:
        """Mean square of the difference between a point's end and the next point's end on the teacher's path."""
        with torch.no_grad():
            forecast = self.teacher.operator(batch)
            residual = (batch[target_key(batch)][:, 0] - forecast) / self.teacher.scale_C
            noise = torch.randn_like(residual)
            tau_B = torch.randint(self.grid, (len(noise),), device=noise.device) / self.grid
            tau = tau_B.view(-1, *[1] * (noise.ndim - 1))
            x = (1 - tau) * noise + tau * residual
            later = x + self.teacher.velocity(batch, forecast, x, tau_B) / self.grid
            wanted = self.end(self.slow, batch, forecast, later, tau_B + 1 / self.grid)
        total = (self.end(self.student, batch, forecast, x, tau_B) - wanted).square().mean()
        return Loss(total, {"consistency": total.detach()})

    @torch.no_grad()
    def follow(self) -> None:
        """Let the slow weights follow the student's: once after every optimizer step."""
        for slow, fast in zip(self.slow.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.average)

    def draw(self, batch: Batch, noise: Tensor, steps: int) -> Tensor:
        """The forecast plus a residual drawn in `steps` evaluations from `noise` (B, *X, C)."""
        forecast, x = self.teacher.operator(batch), noise
        for step in range(steps):
            tau = step / steps
            x = (1 - tau) * noise + tau * x if step else noise
            x = self.end(self.student, batch, forecast, x, torch.full((len(x),), tau, device=x.device))
        return forecast + self.teacher.scale_C * x

    def forward(self, batch: Batch) -> Tensor:
        """One draw: the next state (B, *X, C)."""
        return self.draw(batch, torch.randn_like(batch[state_key(batch)]), self.steps)
