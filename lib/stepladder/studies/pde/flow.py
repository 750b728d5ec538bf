"""The second stage: what the operator cannot know, as a distribution over its error, by flow matching.

Noise is carried into residuals (truth less the operator's forecast) along straight lines: at time tau a sample is
`(1 - tau) noise + tau residual`, and the network learns the velocity `residual - noise` of such lines (Lipman et al.,
ICLR 2023; Liu et al., ICLR 2023). Integrated from noise, it draws residuals.

Decisions:
- The target depends on tau through the noised input, and the network is told tau: a generative model, not a second
  regression.
- Residuals are divided by their root mean square (`scale_C`, a buffer), because errors are far smaller than fields.
- The operator inside is frozen: a stage adds, it does not change what was there.
- `better` is the stage's gate: a stage that does not beat its predecessor on validation is not kept.

Shape legend: B batch, M members of an ensemble, C fields; X (in `*X`) stands for all axes of space.
"""

import torch
from torch import Tensor, nn

from stepladder.studies.pde.fno import FNO
from stepladder.studies.pde.rollout import state_key, target_key
from stepladder.study import Batch, Check, Loss


class ResidualFlow(nn.Module):
    """Forecasts of a frozen operator plus a residual drawn by a flow, on periodic grids.

    Args:
        operator: a trained network, batch -> next state.
        axes, fields: of the state.
        channels, modes, layers: of the velocity network, an FNO.
        steps: Euler steps of a draw in `forward`.
    """

    def __init__(
        self,
        operator: nn.Module,
        axes: int,
        fields: int,
        channels: int = 32,
        modes: int = 32,
        layers: int = 3,
        steps: int = 8,
    ) -> None:
        super().__init__()
        self.operator, self.steps = operator.requires_grad_(False), steps
        self.register_buffer("scale_C", torch.ones(fields))
        self.backbone = FNO(axes, 3 * fields + 1, channels, modes, layers, answers=fields)

    def velocity(self, batch: Batch, forecast: Tensor, x: Tensor, tau_B: Tensor) -> Tensor:
        """Velocity at the noised residuals `x` (B, *X, C) of times `tau`."""
        state = batch[state_key(batch)]
        tau = tau_B.view(-1, *[1] * (x.ndim - 1)).expand_as(x[..., :1])
        return self.backbone({**batch, state_key(batch): torch.cat([x, forecast, state, tau], dim=-1)})

    def loss(self, batch: Batch) -> Loss:
        """Mean square of the velocity's error at random times; times and noise from torch's global generator."""
        with torch.no_grad():
            forecast = self.operator(batch)
        residual = (batch[target_key(batch)][:, 0] - forecast) / self.scale_C
        noise, tau_B = torch.randn_like(residual), torch.rand(len(residual), device=residual.device)
        tau = tau_B.view(-1, *[1] * (residual.ndim - 1))
        velocity = self.velocity(batch, forecast, (1 - tau) * noise + tau * residual, tau_B)
        total = (velocity - (residual - noise)).square().mean()
        return Loss(total, {"flow": total.detach()})

    @torch.no_grad()
    def fit_scale(self, batch: Batch) -> None:
        """Set the size of residuals from a batch."""
        residual = batch[target_key(batch)][:, 0] - self.operator(batch)
        self.scale_C.copy_(residual.flatten(0, -2).square().mean(0).sqrt().clamp_min(1e-12))

    def draw(self, batch: Batch, noise: Tensor, steps: int) -> Tensor:
        """The forecast plus the residual that `noise` (B, *X, C) is carried to in `steps` Euler steps."""
        forecast, x = self.operator(batch), noise
        for step in range(steps):
            tau_B = torch.full((len(x),), step / steps, device=x.device)
            x = x + self.velocity(batch, forecast, x, tau_B) / steps
        return forecast + self.scale_C * x

    def forward(self, batch: Batch) -> Tensor:
        """One draw: the next state (B, *X, C)."""
        return self.draw(batch, torch.randn_like(batch[state_key(batch)]), self.steps)

    def ensemble(self, batch: Batch, members: int) -> Tensor:
        """Independent draws of the next state: (M, B, *X, C)."""
        return torch.stack([self(batch) for _ in range(members)])


def crps(members: Tensor, truth: Tensor) -> Tensor:
    """Continuous ranked probability score of an ensemble (M, B, ...), mean over all but the batch: (B,).

    `mean |x_i - y| - 1/2 mean_{i != j} |x_i - x_j|`, the fair estimator (Ferro, 2014); of one member, the absolute
    error.
    """
    count = len(members)
    error = (members - truth).abs().mean(0)
    spread = torch.zeros_like(error)
    for member in members:
        spread = spread + (members - member).abs().sum(0)
    score = error - 0.5 * spread / max(count * (count - 1), 1)
    return score.flatten(1).mean(1)


def better(stage: str, metric: str, before: float, after: float) -> Check:
    """The gate of a stage: whether its validation `metric` (lower is better) beats its predecessor's."""
    ok = after < before
    verdict = "kept" if ok else "not kept, its predecessor stays"
    reason = f"{metric} {before:.4g} before, {after:.4g} after: {stage} is {verdict}"
    return Check(stage, ok, reason, value=after, limit=before)
