"""PDE-T: a U-shaped transformer over latent tokens that know where they are and which physics holds.

Decisions:
- Tokens of grids, meshes and particles are alike: a vector and a place. Attention turns queries and keys by angles
  proportional to their places (rotary positions, Su et al., 2021), so that it depends on offsets, not on a grid.
  Angles are whole multiples of 2 pi per period, so that a periodic domain has no seam.
- Queries and keys are normalised before they are turned, which keeps logits bounded in mixed precision.
- The U: neighbours in token order are merged in pairs on the way down and split on the way up, with a skip. Tokens come
  in Morton order (see `places.py`), so pairs are neighbours in space in any number of dimensions.
- AdaLN on every layer (see `conditioning.py`).

Shape legend: B batch, L tokens, Q queries, D axes of space, W width, H heads, F frequencies.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde.models.operator.conditioning import Modulation


class Attention(nn.Module):
    """Multi-head attention of queries at places to tokens at places; places in periods of the domain (0..1).

    Args:
        width: length of a query.
        heads: heads; `width / heads` must be even.
        axes: axes of space; they take the turns in turn.
        tokens: length of a token.
    """

    def __init__(self, width: int, heads: int, axes: int, tokens: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(tokens, 2 * width)
        self.out = nn.Linear(width, width)
        self.sharpness = nn.Parameter(torch.full((heads, 1, 1), math.log(4.0)))
        pairs = width // heads // 2
        # Pairs of channels take the axes in turn; each round of axes turns once more often per period (rotary places
        # that are exact on a periodic domain).
        turns_F = torch.arange(pairs) // axes + 1
        axis_FD = functional.one_hot(torch.arange(pairs) % axes, axes)
        self.turn_DF: Tensor
        self.register_buffer("turn_DF", (axis_FD * turns_F[:, None]).T.float() * 2 * math.pi, persistent=False)

    def forward(self, x_BQW: Tensor, place_BQD: Tensor, token_BLW: Tensor, place_BLD: Tensor) -> Tensor:
        """What every query gathers from the tokens: (B, Q, W)."""
        query, (key, value) = self.query(x_BQW), self.key_value(token_BLW).chunk(2, dim=-1)
        query, key, value = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (query, key, value))
        # Normalised queries and keys with a learned sharpness keep attention bounded, whatever the resolution.
        query = self._turn(functional.normalize(query, dim=-1), place_BQD) * self.sharpness.exp()
        key = self._turn(functional.normalize(key, dim=-1), place_BLD)
        query = query.expand(len(key), -1, -1, -1)
        gathered_BHQV = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.out(gathered_BHQV.transpose(1, 2).flatten(2))

    def _turn(self, x: Tensor, place: Tensor) -> Tensor:
        # multiplied and summed, not a matrix product: autocast would round places and angles to three digits
        angle = (place[..., None] * self.turn_DF).sum(-2)[:, None]
        cos, sin = angle.cos(), angle.sin()
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Block(nn.Module):
    """Attention among tokens, then a feed-forward layer; both modulated, both residual.

    Args:
        width: length of a token.
        heads: attention heads.
        axes: axes of space.
        conditioning: width of the conditioning vector.
    """

    def __init__(self, width: int, heads: int, axes: int, conditioning: int) -> None:
        super().__init__()
        self.modulate_attention, self.modulate_feed = Modulation(conditioning, width), Modulation(conditioning, width)
        self.attention = Attention(width, heads, axes, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, token_BLW: Tensor, place_BLD: Tensor, condition_BW: Tensor) -> Tensor:
        """Tokens of the same shape."""
        # AdaLN: the conditioning vector scales and shifts what goes in and gates what comes out.
        scale, shift, gate = self.modulate_attention(condition_BW)
        normed = scale * functional.layer_norm(token_BLW, token_BLW.shape[-1:]) + shift
        token_BLW = token_BLW + gate * self.attention(normed, place_BLD, normed, place_BLD)
        scale, shift, gate = self.modulate_feed(condition_BW)
        normed = scale * functional.layer_norm(token_BLW, token_BLW.shape[-1:]) + shift
        return token_BLW + gate * self.feed(normed)


class UTransformer(nn.Module):
    """Blocks at falling, then rising numbers of tokens. Tokens must come in an order in which pairs are neighbours.

    Args:
        width: length of a token, the same at all levels.
        depth: blocks on the way down and on the way up, at each level.
        levels: levels; the tokens must be divisible by 2 ** (levels - 1).
        heads, axes, conditioning: see `Block`.
    """

    def __init__(self, width: int, depth: int, levels: int, heads: int, axes: int, conditioning: int) -> None:
        super().__init__()

        def stack() -> nn.ModuleList:
            return nn.ModuleList(Block(width, heads, axes, conditioning) for _ in range(depth))

        self.down, self.up = (
            nn.ModuleList(stack() for _ in range(levels)),
            nn.ModuleList(stack() for _ in range(levels - 1)),
        )
        self.merge = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(levels - 1))
        self.split = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(levels - 1))

    def forward(self, token_BLW: Tensor, place_BLD: Tensor, condition_BW: Tensor) -> Tensor:
        """Tokens of the same shape."""
        above = []
        for level, blocks in enumerate(self.down):
            if level:
                if token_BLW.shape[1] % 2:
                    raise ValueError(
                        f"model.levels = {len(self.down)}: {token_BLW.shape[1]} tokens cannot be merged in pairs at "
                        f"level {level + 1}; take fewer levels or another model.patch"
                    )
                # Neighbours in the order of tokens are neighbours in space: a pair becomes one token at their middle.
                above.append((token_BLW, place_BLD))
                token_BLW = self.merge[level - 1](token_BLW.unflatten(1, (-1, 2)).flatten(2))
                place_BLD = place_BLD.unflatten(1, (-1, 2)).mean(2)
            for block in blocks.children():
                token_BLW = block(token_BLW, place_BLD, condition_BW)
        for split, blocks in zip(self.split, self.up, strict=True):
            # Every token is split in two again and added to what stood there on the way down.
            skip_BLW, place_BLD = above.pop()
            token_BLW = skip_BLW + split(token_BLW).unflatten(-1, (2, -1)).flatten(1, 2)
            for block in blocks.children():
                token_BLW = block(token_BLW, place_BLD, condition_BW)
        return token_BLW
