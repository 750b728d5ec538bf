"""The any-point decoder: queries at any places read features from latent tokens by cross-attention.

Decisions:
- A query is its offset to the nearest token and nothing else; attention turns with the places (see `blocks.py`). So any
  place can be asked, and on a periodic grid the decoder moves with its input.
- What the encoder knows about the input's own points is added to the answer by the caller. Queries are then the same
  for all samples on a grid, and are computed once: at full resolution that is most of the decoder's price.

Shape legend: B batch, Q queries, L tokens, D axes of space, W width, C channels.
"""

from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde.data.places import short_way
from stepladder.studies.pde.models.operator.blocks import Attention


class AnyPointDecoder(nn.Module):
    """Tokens and queries -> features at the queries.

    Args:
        axes: axes of space.
        channels: channels of queries and answers.
        width: length of a token.
        heads: attention heads.
    """

    def __init__(self, axes: int, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.Linear(axes, channels), nn.GELU(), nn.Linear(channels, channels))
        self.attention = Attention(channels, heads, axes, width)

    def forward(self, place_BQD: Tensor, token_BLW: Tensor, place_BLD: Tensor) -> Tensor:
        """Features (B, Q, C); places may have a batch axis of 1."""
        spacing = place_BLD.shape[1] ** (1 / place_BLD.shape[2])
        query_BQC = self.query(nearest_offset(place_BQD, place_BLD) * spacing)
        token_BLW = functional.layer_norm(token_BLW, token_BLW.shape[-1:])
        return self.attention(query_BQC, place_BQD, token_BLW, place_BLD)


def nearest_offset(place_BQD: Tensor, place_BLD: Tensor) -> Tensor:
    """From the nearest token to every query, the short way round a period: (B, Q, D)."""
    offset_BQLD = short_way(place_BQD[:, :, None] - place_BLD[:, None])
    nearest_BQ = offset_BQLD.square().sum(-1).argmin(2)
    return offset_BQLD.gather(2, nearest_BQ[:, :, None, None].expand(-1, -1, 1, place_BQD.shape[-1]))[:, :, 0]
