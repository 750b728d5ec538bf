"""A U-Net (Ronneberger et al., 2015) on periodic grids, as operator papers use it.

Decisions:
- Three levels, two convolutions of three points each, group norm, GELU; increments. Ends wrap around.
- The physics is added after the first convolution, the same at every point.

Shape legend: B batch, X (in `*X`: all axes) points, C channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch
from stepladder.studies.pde.models.baselines.fno import everywhere
from stepladder.studies.pde.models.operator.conditioning import FEATURES, features
from stepladder.studies.pde.models.operator.rollout import state_key


class UNet(nn.Module):
    """U-Net on periodic grids of one or two axes, whose points must be divisible by four.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        channels: channels of the finest level; the next two have twice and four times as many.
        answers: channels of the answer of a steady problem; None: the next state.
    """

    def __init__(self, axes: int, fields: int, channels: int = 40, answers: int | None = None) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        convolution = (nn.Conv1d, nn.Conv2d)[axes - 1]
        self.steady = answers is not None
        self.pool = (functional.avg_pool1d, functional.avg_pool2d)[axes - 1]
        self.lift, self.physics = nn.Linear(fields, c1), nn.Linear(FEATURES, c1)
        self.down = nn.ModuleList(_Level(convolution, *pair) for pair in ((c1, c1), (c1, c2), (c2, c3)))
        self.up = nn.ModuleList(_Level(convolution, *pair) for pair in ((c3 + c2, c2), (c2 + c1, c1)))
        self.head = nn.Linear(c1, answers or fields)

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, *X, C)."""
        state = batch[state_key(batch)]
        x = (self.lift(state) + everywhere(self.physics(features(batch)), state)).movedim(-1, 1)
        skips: list[Tensor] = []
        for number, level in enumerate(self.down):
            x = level(self.pool(x, 2) if number else x)
            skips.append(x)
        skips.pop()
        for level in self.up:
            x = level(torch.cat([functional.interpolate(x, scale_factor=2), skips.pop()], dim=1))
        answer = self.head(x.movedim(1, -1))
        return answer if self.steady else state + answer


class _Level(nn.Module):
    def __init__(self, convolution: type[nn.Module], before: int, after: int) -> None:
        super().__init__()
        channels: Sequence[int] = (before, after, after)
        layers: list[nn.Module] = []
        for number in range(2):
            layers.append(convolution(channels[number], after, 3, padding=1, padding_mode="circular"))
            layers += [nn.GroupNorm(4, after), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
