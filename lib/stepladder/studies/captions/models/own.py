"""A language model of our own: a small causal transformer in plain torch, trained on the text of the offline corpus.

Decisions:
- What is common now: normalisation by the root mean square before every part (Zhang and Sennrich, 2019), rotary
  positions (Su et al., 2021), gated units (Shazeer, "GLU variants", 2020), one table for tokens in and out.
- The table is small, so that an untrained model says nearly the same of every token, and what is read of it is scaled
  to about one per channel: that is what a projection's vectors have to be like.
- Padding stands on the right, so a causal mask is all there is to mask.
- Blocks are members of one `ModuleList`: recomputation, compilation and division over processes go by it.

Shape legend: B batch, T tokens, H channels, K heads, D channels of a head, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.captions.models.language import Language

HEAD = 32  # channels of an attention head, at most
SPREAD = 0.02  # standard deviation of weights at first
BASE = 10_000.0  # of the wavelengths of rotary positions


class Transformer(Language):
    """See `language.Language`.

    Args:
        vocabulary: rows of the table.
        width: channels, a multiple of 8.
        layers: blocks.
    """

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.width, self.projector = width, None
        self.table = nn.Embedding(vocabulary, width)
        blocks = [Block(width) for _ in range(layers)]
        self.blocks, self.head = nn.ModuleList(blocks), blocks[0].attention.head
        self.norm = nn.RMSNorm(width)
        self.apply(_begin)

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Vectors of about one per channel, (B, T, H)."""
        return self.table(tokens_BT) / SPREAD

    def hidden(self, x_BTH: Tensor, kinds_BT: Tensor) -> Tensor:
        """What the blocks make of a sequence; `kinds_BT` is for those who tell pictures apart."""
        turn_2TD = rotations(x_BTH.shape[1], self.head, x_BTH)
        for block in self.blocks:
            x_BTH = block(x_BTH, turn_2TD)
        return self.norm(x_BTH)

    def logits(self, hidden_BTH: Tensor) -> Tensor:
        """Scores by the same table."""
        return hidden_BTH @ self.table.weight.T

    def attention(self, x_BTH: Tensor, kinds_BT: Tensor) -> list[Tensor]:
        """Mean over heads, by layer: (B, T, T)."""
        turn_2TD = rotations(x_BTH.shape[1], self.head, x_BTH)
        found = []
        for block in self.blocks:
            assert isinstance(block, Block)
            found.append(block.attention.weights(block.before(x_BTH), turn_2TD))
            x_BTH = block(x_BTH, turn_2TD)
        return found


class Block(nn.Module):
    """Attention and a gated unit, each added to what it read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.attention = nn.RMSNorm(width), Attention(width)
        self.between, self.unit = nn.RMSNorm(width), Gated(width)

    def forward(self, x_BTH: Tensor, turn_2TD: Tensor) -> Tensor:
        """The same shape."""
        x_BTH = x_BTH + self.attention(self.before(x_BTH), turn_2TD)
        return x_BTH + self.unit(self.between(x_BTH))


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = math.gcd(width, HEAD)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x_BTH: Tensor, turn_2TD: Tensor) -> Tensor:
        """The same shape."""
        q_BKTD, k_BKTD, v_BKTD = self._heads(x_BTH, turn_2TD)
        y_BKTD = functional.scaled_dot_product_attention(q_BKTD, k_BKTD, v_BKTD, is_causal=True)
        return self.out(y_BKTD.transpose(1, 2).flatten(2))

    def weights(self, x_BTH: Tensor, turn_2TD: Tensor) -> Tensor:
        """How much each position attends to each, mean over heads: (B, T, T)."""
        q_BKTD, k_BKTD, _ = self._heads(x_BTH, turn_2TD)
        scores_BKTT = q_BKTD @ k_BKTD.transpose(2, 3) / math.sqrt(self.head)
        later_TT = torch.ones_like(scores_BKTT[0, 0], dtype=torch.bool).triu(1)
        return scores_BKTT.masked_fill(later_TT, -math.inf).softmax(-1).mean(1)

    def _heads(self, x_BTH: Tensor, turn_2TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_BKTD, k_BKTD, v_BKTD = self.qkv(x_BTH).unflatten(2, (3, -1, self.head)).permute(2, 0, 3, 1, 4)
        return turned(q_BKTD, turn_2TD), turned(k_BKTD, turn_2TD), v_BKTD


class Gated(nn.Module):
    """out(silu(gate(x)) * up(x)), eight thirds as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 8 * (width // 3)
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x_BTH: Tensor) -> Tensor:
        """The same shape."""
        return self.out(functional.silu(self.gate(x_BTH)) * self.up(x_BTH))


def rotations(length: int, head: int, like: Tensor) -> Tensor:
    """Cosines and sines of the angles of every position, (2, T, D / 2), of the type of `like`."""
    rate_D = BASE ** -(torch.arange(0, head, 2, device=like.device) / head)
    angle_TD = torch.arange(length, device=like.device)[:, None] * rate_D
    return torch.stack([angle_TD.cos(), angle_TD.sin()]).to(like.dtype)


def turned(x_BKTD: Tensor, turn_2TD: Tensor) -> Tensor:
    """Each pair of channels (d, d + D / 2) turned by the angle of its position."""
    one, two = x_BKTD.chunk(2, dim=-1)
    cos_TD, sin_TD = turn_2TD
    return torch.cat([one * cos_TD - two * sin_TD, one * sin_TD + two * cos_TD], dim=-1)


def _begin(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=SPREAD)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
