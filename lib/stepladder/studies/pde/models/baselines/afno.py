"""The adaptive Fourier neural operator (Guibas et al., ICLR 2022): a transformer whose token mixing is spectral.

Decisions:
- As published: patches -> tokens; per layer a norm, a two-layer MLP on the Fourier coefficients of all tokens (block
  diagonal weights shared by all modes, soft shrinkage), a norm, a feed-forward layer. Increments.
- Weights are pairs of real numbers.

Shape legend: B batch, X (in `*X`: all axes) points, K blocks, C channels of a block, W width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch
from stepladder.studies.pde.models.baselines.fno import everywhere
from stepladder.studies.pde.models.operator.conditioning import FEATURES, features
from stepladder.studies.pde.models.operator.patches import cut, joined
from stepladder.studies.pde.models.operator.rollout import state_key
from stepladder.studies.pde.models.operator.spectral import pair_matrix


class AFNO(nn.Module):
    """Adaptive Fourier neural operator on periodic grids.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        patch: points of a patch along each axis; must divide the grid.
        width: length of a token.
        layers: layers.
        blocks: diagonal blocks of the spectral weights; must divide `width`.
        shrink: threshold of the soft shrinkage of Fourier coefficients.
        answers: channels of the answer of a steady problem; None: the next state.
    """

    def __init__(
        self,
        axes: int,
        fields: int,
        patch: int = 2,
        width: int = 112,
        layers: int = 4,
        blocks: int = 4,
        shrink: float = 1e-3,
        answers: int | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.steady = patch, answers is not None
        self.embed, self.physics = nn.Linear(fields * patch**axes, width), nn.Linear(FEATURES, width)
        self.layers = nn.ModuleList(_Layer(width, blocks, shrink) for _ in range(layers))
        self.head = nn.Linear(width, (answers or fields) * patch**axes)

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, *X, C)."""
        state = batch[state_key(batch)]
        x = self.embed(cut(state, self.patch)) + everywhere(self.physics(features(batch)), state)
        for layer in self.layers:
            x = layer(x)
        answer = joined(self.head(x), self.patch)
        return answer if self.steady else state + answer


class _Layer(nn.Module):
    def __init__(self, width: int, blocks: int, shrink: float) -> None:
        super().__init__()
        self.norm1, self.norm2, self.shrink = nn.LayerNorm(width), nn.LayerNorm(width), shrink
        scale = 1 / math.sqrt(width / blocks)
        self.weights_2KPCC = nn.Parameter(
            scale * torch.randn(2, blocks, 2, width // blocks, width // blocks) / math.sqrt(2)
        )
        self.bias_2K1C = nn.Parameter(torch.zeros(2, blocks, 1, 2 * width // blocks))
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._mixed(self.norm1(x))
        return x + self.feed(self.norm2(x))

    def _mixed(self, x: Tensor) -> Tensor:
        """The two-layer MLP over the Fourier coefficients of the token grid, plus the tokens themselves."""
        axes, blocks = tuple(range(1, x.ndim - 1)), self.weights_2KPCC.shape[1]
        spectrum = torch.fft.rfftn(x, dim=axes, norm="ortho")
        kept = torch.view_as_real(spectrum).flatten(0, -3).unflatten(1, (blocks, -1))  # (N, K, C, 2)
        pairs_KNC = kept.permute(1, 0, 3, 2).flatten(2)
        first, second = (pair_matrix(weight_KPCC) for weight_KPCC in self.weights_2KPCC)
        hidden = functional.gelu(pairs_KNC @ first + self.bias_2K1C[0])
        mixed = functional.softshrink(hidden @ second + self.bias_2K1C[1], self.shrink)
        pairs = mixed.unflatten(2, (2, -1)).permute(1, 0, 3, 2).flatten(1, 2).contiguous()
        mixed_spectrum = torch.view_as_complex(pairs).view_as(spectrum)
        return x + torch.fft.irfftn(mixed_spectrum, s=x.shape[1:-1], dim=axes, norm="ortho")
