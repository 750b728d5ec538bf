"""A small transformer over patches, after DiT (Peebles and Xie, ICCV 2023), used as an operator: attention and AdaLN.

Decisions:
- The plain transformer that the U-shaped one is held against: all tokens at one level, the same blocks and AdaLN,
  a linear read-out of patches, no full-resolution layers. Increments.

Shape legend: B batch, X (in `*X`: all axes) points, L tokens, W width.
"""

from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch
from stepladder.studies.pde.data.places import grid_places
from stepladder.studies.pde.models.operator.blocks import Block
from stepladder.studies.pde.models.operator.conditioning import Conditioning
from stepladder.studies.pde.models.operator.patches import cut, joined
from stepladder.studies.pde.models.operator.rollout import state_key


class DiT(nn.Module):
    """Transformer over the patches of periodic grids.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        patch: points of a patch along each axis; must divide the grid.
        width, heads, layers: of the transformer.
        conditioning: width of the conditioning vector.
        answers: channels of the answer of a steady problem; None: the next state.
    """

    def __init__(
        self,
        axes: int,
        fields: int,
        patch: int = 4,
        width: int = 80,
        heads: int = 4,
        layers: int = 4,
        conditioning: int = 32,
        answers: int | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.steady = patch, answers is not None
        self.conditioning = Conditioning(conditioning)
        self.embed = nn.Linear(fields * patch**axes, width)
        self.blocks = nn.ModuleList(Block(width, heads, axes, conditioning) for _ in range(layers))
        self.head = nn.Linear(width, (answers or fields) * patch**axes)

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, *X, C)."""
        state = batch[state_key(batch)]
        token = self.embed(cut(state, self.patch))
        shape, token_BLW = token.shape[1:-1], token.flatten(1, -2)
        condition_BW, place_1LD = self.conditioning(batch), grid_places(tuple(shape), True, state.device)[None]
        for block in self.blocks:
            token_BLW = block(token_BLW, place_1LD, condition_BW)
        token_BLW = functional.layer_norm(token_BLW, token_BLW.shape[-1:])
        answer = joined(self.head(token_BLW).unflatten(1, shape), self.patch)
        return answer if self.steady else state + answer
