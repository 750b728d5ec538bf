"""The second stage: what the operator cannot know, as a distribution over its error, by flow matching.

Noise is carried into residuals (truth less the operator's forecast) along straight lines: at time tau a sample is
`(1 - tau) noise + tau residual`, and the network learns the velocity `residual - noise` of such lines (Lipman et al.,
ICLR 2023; Liu et al., ICLR 2023). Integrated from noise, it draws residuals.

Decisions:
- The target depends on tau through the noised input, and the network is told tau: a generative model, not a second
  regression.
- Residuals are measured by the size of the forecast's own increment (a quiet flow is forecast more exactly), and
  whitened (see `colour`): they are far smoother than noise. The first training batch decides the spectrum.
- The operator is not part of it: its forecast is handed in, so nothing of it can learn here.

Shape legend: B batch, M members of an ensemble, C fields; X (in `*X`) stands for all axes of space.
"""

import torch
from torch import Tensor, nn

from stepladder.core.types import Batch, Loss
from stepladder.data import draws
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.operator.rollout import state_key, target_key
from stepladder.studies.pde.models.stages.colour import Colour

TINY = 1e-8
STILL = 0.01


class ResidualFlow(nn.Module):
    """Draws of what a forecast is wrong by, on periodic grids.

    Args:
        axes, fields: of the state.
        channels, modes, layers: of the velocity network, an FNO.
        evaluations: Euler steps of a draw.
    """

    def __init__(
        self, axes: int, fields: int, channels: int = 32, modes: int = 32, layers: int = 3, evaluations: int = 8
    ) -> None:
        super().__init__()
        self.evaluations = evaluations
        self.colour = Colour(fields, modes)
        self.backbone = FNO(axes, 3 * fields + 1, channels, modes, layers, answers=fields)

    def velocity(self, batch: Batch, forecast: Tensor, x: Tensor, tau_B: Tensor) -> Tensor:
        """Velocity at the noised, whitened residuals `x` (B, *X, C) of times `tau`."""
        return self.backbone(told(batch, forecast, x, tau_B))

    def loss(self, batch: Batch, forecast: Tensor) -> Loss:
        """Mean square of the velocity's error at random times; each sample's of its own."""
        if self.training and not self.colour.fitted:
            self.fit(batch, forecast)
        residual = wrong(batch, forecast)
        # White, so that no scale of it drowns in the noise it is carried from.
        residual = self.colour.whitened(residual)
        noise, tau_B = draws.randn_like(residual), draws.rand(len(residual), device=residual.device)
        velocity = self.velocity(batch, forecast, between(noise, residual, tau_B), tau_B)
        # The velocity of a straight line is its end less its beginning, whatever the time.
        total = (velocity - (residual - noise)).square().mean()
        return Loss(total, {"flow": total.detach()})

    def fit(self, batch: Batch, forecast: Tensor) -> None:
        """Take the spectrum of residuals from a batch."""
        self.colour.fit(wrong(batch, forecast))

    def draw(self, batch: Batch, forecast: Tensor, noise: Tensor, evaluations: int | None = None) -> Tensor:
        """The forecast plus the residual that `noise` (B, *X, C) is carried to, by default in `self.evaluations`."""
        steps, x = evaluations or self.evaluations, noise
        for step in range(steps):
            # Euler steps from noise (tau 0) towards a residual (tau 1).
            tau_B = torch.full((len(x),), step / steps, device=x.device)
            x = x + self.velocity(batch, forecast, x, tau_B) / steps
        return forecast + activity(batch, forecast) * self.colour.coloured(x)


def wrong(batch: Batch, forecast: Tensor) -> Tensor:
    """What a forecast is wrong by, in units of its own increment, so that quiet and lively samples weigh alike."""
    return (batch[target_key(batch)][:, 0] - forecast) / activity(batch, forecast)


def activity(batch: Batch, forecast: Tensor) -> Tensor:
    """Root mean square of the forecast's increment of every sample and field, to multiply (B, *X, C).

    At least `STILL` of the state's own, so that a forecast of no change has a size too.
    """
    # Mean squares over space, per sample and field.
    axes, state = tuple(range(1, forecast.ndim - 1)), batch[state_key(batch)]
    moved, size = ((forecast - state).square().mean(axes, True), state.square().mean(axes, True))
    return torch.maximum(moved, STILL**2 * size).sqrt().clamp_min(TINY)


def told(batch: Batch, forecast: Tensor, x: Tensor, tau_B: Tensor) -> Batch:
    """The batch as a velocity network takes it: noised residual, forecast, state and time in one field."""
    key, time = state_key(batch), along(tau_B, x).expand_as(x[..., :1])
    return {**batch, key: torch.cat([x, forecast, batch[key], time], dim=-1)}


def between(noise: Tensor, residual: Tensor, tau_B: Tensor) -> Tensor:
    """The point at time `tau` of the straight line from noise to residual."""
    tau = along(tau_B, noise)
    return (1 - tau) * noise + tau * residual


def along(tau_B: Tensor, x: Tensor) -> Tensor:
    """One number per sample, shaped to multiply `x` (B, ...)."""
    return tau_B.view(-1, *[1] * (x.ndim - 1))


def crps(members: Tensor, truth: Tensor) -> Tensor:
    """Continuous ranked probability score of an ensemble (M, B, ...), mean over all but the batch: (B,).

    `mean |x_i - y| - 1/2 mean_{i != j} |x_i - x_j|`, the fair estimator (Ferro, 2014); of one member, the absolute
    error.
    """
    count = len(members)
    error = (members - truth).abs().mean(0)
    # All pairs, one member against all at a time, so that memory stays that of M members; i = j adds nothing.
    spread = torch.zeros_like(error)
    for member in members:
        spread = spread + (members - member).abs().sum(0)
    score = error - 0.5 * spread / max(count * (count - 1), 1)
    return score.flatten(1).mean(1)
