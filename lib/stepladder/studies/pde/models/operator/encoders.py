"""Encoders: fields on a grid, a mesh or particles -> latent tokens with places, and local features at every point.

Decisions:
- A grid is cut into patches; a mesh or a cloud passes messages along its edges, then gathers at supernodes: points
  picked far from each other in space, each gathering the points nearest to it (after UPT, Alkin et al., 2024).
- Messages know the offset of their ends, the short way round a periodic box. A cloud without edges (a mesh given as
  points) gathers at supernodes only.
- There are several times more edges than points, so what can be computed at points is: an edge only adds up what its
  two ends and its offset say, and bends it.
- What one point knows is kept beside the tokens: the decoder needs it where detail matters.
- Tokens come in Morton order, see `places.py`.

Shape legend: B batch, X Y axes of a grid, N points, E edges, L tokens, D axes of space, C channels, W token width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde.data.places import (
    farthest,
    grid_order,
    grid_places,
    morton,
    short_way,
    squared_distances,
    take,
)
from stepladder.studies.pde.models.operator.patches import cut

EDGE = 10.0  # edges are short against a period: offsets are multiplied by it


class GridEncoder(nn.Module):
    """Patches of `patch` points along every axis -> tokens: (B, *X, C) -> (B, L, W) and places (1, L, D).

    Args:
        axes: axes of space.
        channels: channels of the grid.
        patch: points of a patch along each axis; must divide the grid.
        width: length of a token.
    """

    def __init__(self, axes: int, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(channels * patch**axes, width)

    def forward(self, x: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
        """Tokens and the places of their middles; ValueError when the patch does not divide the grid."""
        shape, patch = x.shape[1:-1], self.patch
        coarse = tuple(size // patch for size in shape)
        token_BLW = self.embed(cut(x, patch)).flatten(1, -2)
        # A token stands for a patch: its place is the patch's middle, not its first point.
        middle = (patch - 1) / (2 * patch)
        place_LD = grid_places(coarse, periodic, x.device)
        place_1LD = (place_LD + middle * (1.0 if periodic else 0.5) / torch.tensor(coarse, device=x.device))[None]
        # In an order in which neighbours are pairs, as the transformer merges them.
        order_L = grid_order(coarse, x.device)
        return token_BLW[:, order_L], place_1LD[:, order_L]


class GraphEncoder(nn.Module):
    """Points with edges -> tokens at supernodes, and features of every point.

    Args:
        axes: axes of space.
        channels: channels of the points.
        width: length of tokens and of point features.
        supernodes: tokens; at most the number of points.
        rounds: rounds of message passing.
    """

    def __init__(self, axes: int, channels: int, width: int, supernodes: int, rounds: int) -> None:
        super().__init__()
        self.supernodes = supernodes
        self.lift = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))
        self.rounds = nn.ModuleList(Messages(axes, width) for _ in range(rounds))
        self.gather = nn.Sequential(nn.Linear(width + axes, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x_BNC: Tensor, place_BND: Tensor, edge_BE2: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, L, W), their places (B, L, D), features of the points (B, N, W); edges of -1 are padding."""
        point_BNW = self.lift(x_BNC)
        for messages in self.rounds if edge_BE2 is not None else ():
            point_BNW = messages(point_BNW, place_BND, edge_BE2)
        # Supernodes by farthest-point sampling cover the domain evenly; Morton order makes neighbours in space
        # neighbours in the list.
        place_BLD = take(place_BND, farthest(place_BND, self.supernodes))
        place_BLD = take(place_BLD, morton(place_BLD))
        # Every point speaks to its nearest supernode, and says where it lies from there; offsets are short, so they are
        # multiplied up.
        nearest_BN = squared_distances(place_BND, place_BLD).argmin(-1)
        offset_BND = short_way(place_BND - take(place_BLD, nearest_BN))
        said_BNW = self.gather(torch.cat([point_BNW, offset_BND * self.supernodes], dim=-1))
        return _mean_by(said_BNW, nearest_BN, self.supernodes), place_BLD, point_BNW


class Messages(nn.Module):
    """One round: every edge says something both ways, every point takes the mean of what it hears; residual.

    Args:
        axes: axes of space.
        width: length of point features.
    """

    def __init__(self, axes: int, width: int) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.offset = nn.Linear(axes + 1, width)
        self.hear = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, point_BNW: Tensor, place_BND: Tensor, edge_BE2: Tensor) -> Tensor:
        """Point features of the same shape."""
        normed = functional.layer_norm(point_BNW, point_BNW.shape[-1:])
        # Every edge stands once in the data and is used in both directions; padding (-1) points at 0 and is weighed 0.
        both_BE2 = torch.cat([edge_BE2, edge_BE2.flip(-1)], dim=1)
        real_BE1 = (both_BE2[..., :1] >= 0).to(normed.dtype)
        source_BE, target_BE = both_BE2.clamp_min(0).unbind(-1)
        # The offset goes the short way round a periodic domain; its length is given too.
        offset = EDGE * short_way(take(place_BND, source_BE) - take(place_BND, target_BE))
        offset = torch.cat([offset, offset.norm(dim=-1, keepdim=True)], dim=-1)
        ends = take(self.source(normed), source_BE) + take(self.target(normed), target_BE)
        said = functional.gelu(ends + self.offset(offset)) * real_BE1
        heard = _mean_by(said, target_BE, point_BNW.shape[1], real_BE1)
        return point_BNW + self.hear(torch.cat([normed, heard], dim=-1))


def _mean_by(x_BNC: Tensor, group_BN: Tensor, groups: int, weight_BN1: Tensor | None = None) -> Tensor:
    """Mean of the rows of every group: (B, groups, C); 0 for empty groups."""
    x_BNC = x_BNC.float()  # 16 bits count to 256
    weight_BN1 = torch.ones_like(x_BNC[..., :1]) if weight_BN1 is None else weight_BN1
    total = x_BNC.new_zeros(len(x_BNC), groups, x_BNC.shape[-1])
    total = total.scatter_add(1, group_BN[..., None].expand_as(x_BNC), x_BNC)
    count = total.new_zeros(len(x_BNC), groups, 1).scatter_add(1, group_BN[..., None], weight_BN1)
    return total / count.clamp_min(1)
