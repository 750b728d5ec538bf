"""The third stage: a student that draws a residual in one or two evaluations instead of its teacher's many.

Consistency distillation (Song et al., ICML 2023) for a straight-line flow: the student maps any point of a path to the
path's end, `f(x, tau) = x + (1 - tau) v(x, tau)`, which is the identity at tau = 1. It is trained to say the same at a
point and at the next point of the teacher's path, where it is asked through slowly averaged weights.

Decisions:
- The student begins as a copy of the teacher's velocity network: of a perfectly straight flow it is right at once. The
  copy is made at its first training loss, when the teacher has been trained.
- The slow weights follow once per optimizer step, at its first loss.
- More steps: the answer is noised back to a later time and asked again.

Shape legend: B batch, C fields; X (in `*X`) stands for all axes of space.
"""

import copy

import torch
from torch import Tensor, nn

from stepladder.core.types import Batch, Loss
from stepladder.data import draws
from stepladder.studies.pde.models.stages.flow import ResidualFlow, activity, along, between, told, wrong


class ConsistencyStudent(nn.Module):
    """A few-step sampler distilled from a `ResidualFlow`, which stays outside.

    Args:
        teacher: a flow of the same shape.
        grid: points of the teacher's path that training uses.
        evaluations: of a draw.
        average: how slowly the weights it is compared with follow, per optimizer step.
    """

    def __init__(self, teacher: ResidualFlow, grid: int = 16, evaluations: int = 1, average: float = 0.95) -> None:
        super().__init__()
        self.grid, self.evaluations, self.average = grid, evaluations, average
        self.fast, self.slow = copy.deepcopy(teacher.backbone), copy.deepcopy(teacher.backbone)
        self.register_buffer("begun", torch.tensor(False))
        self.colour = copy.deepcopy(teacher.colour)
        self._followed: int | None = None

    def end(self, network: nn.Module, batch: Batch, forecast: Tensor, x: Tensor, tau_B: Tensor) -> Tensor:
        """Where `network` says the path through `x` at `tau` ends."""
        return x + (1 - along(tau_B, x)) * network(told(batch, forecast, x, tau_B))

    def loss(self, batch: Batch, forecast: Tensor, teacher: ResidualFlow, optimizer_step: int = 0) -> Loss:
        """Mean square of the difference between a point's end and the next point's end on the teacher's path."""
        if self.training:
            self._prepare(teacher, optimizer_step)
        with torch.no_grad():
            residual = teacher.colour.whitened(wrong(batch, forecast))
            noise = draws.randn_like(residual)
            tau_B = (draws.rand(len(noise), device=noise.device) * self.grid).floor() / self.grid
            x = between(noise, residual, tau_B)
            later = x + teacher.velocity(batch, forecast, x, tau_B) / self.grid
            wanted = self.end(self.slow, batch, forecast, later, tau_B + 1 / self.grid)
        total = (self.end(self.fast, batch, forecast, x, tau_B) - wanted).square().mean()
        return Loss(total, {"consistency": total.detach()})

    @torch.no_grad()
    def _prepare(self, teacher: ResidualFlow, optimizer_step: int) -> None:
        """Begin as the teacher; then let the slow weights follow, once in every optimizer step."""
        if not self.begun:
            for network in (self.fast, self.slow):
                network.load_state_dict(teacher.backbone.state_dict())
            self.colour.load_state_dict(teacher.colour.state_dict())
            self.begun.fill_(True)
        elif optimizer_step != self._followed:
            for slow, fast in zip(self.slow.parameters(), self.fast.parameters(), strict=True):
                slow.lerp_(fast, 1 - self.average)
        self._followed = optimizer_step

    def draw(self, batch: Batch, forecast: Tensor, noise: Tensor, evaluations: int | None = None) -> Tensor:
        """The forecast plus a residual drawn in a few evaluations from `noise` (B, *X, C)."""
        steps, x = evaluations or self.evaluations, noise
        for step in range(steps):
            tau_B = torch.full((len(x),), step / steps, device=x.device)
            x = self.end(self.fast, batch, forecast, between(noise, x, tau_B) if step else noise, tau_B)
        return forecast + activity(batch, forecast) * self.colour.coloured(x)
