"""The world model of OccWorld: a spatial-temporal U-Net over code maps, with an ego branch beside it.

Decisions:
- Time is causal attention per pixel, space is convolution per frame: an output frame never depends on a later one.
- A query stream (frame t, asked for t + 1) reads a memory stream (frames up to t); both share all convolutions.
- Layer shapes are the published ones, oddities included: the norm in front of the convolutions is over height and width
  in the encoder, over channels as well in the middle and in the decoder, so weights belong to one window size.

Shape legend: B batch, T frames, C channels, H W code map, K codes, M modes; N any batch, L places of a map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.data import draws

HEADS = 8
TEMPORAL_LAYERS = 6
EGO_LAYERS = 2
MODES = 3  # left, right, straight


class World(nn.Module):
    """Spatial-temporal U-Net over code maps with an ego branch: frame t of the output speaks about t + 1.

    Args:
        channels: channels of a code; the levels have once, twice and four times as many.
        shape: height and width of a code map; the lower levels have halves, rounded down.
        codes: entries of the codebook.
        frames: longest sequence; time embeddings exist for 0..frames - 1.
        dropout: in attention weights and feed-forward layers.
    """

    def __init__(self, channels: int, shape: tuple[int, int], codes: int, frames: int, dropout: float) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        s1 = shape
        s2, s3 = (s1[0] // 2, s1[1] // 2), (s1[0] // 4, s1[1] // 4)
        self.time, self.ego_time = nn.Embedding(frames, c1), nn.Embedding(frames, c1)
        self.ego_in = nn.Sequential(nn.Linear(2 + MODES, c1), nn.ReLU(), nn.Linear(c1, c1))
        self.encoders = nn.ModuleList([Level(c1, c1, s1, dropout, True), Level(c1, c2, s2, dropout, True)])
        self.downs = nn.ModuleList([nn.Conv2d(c1, c1, 2, stride=2), nn.Conv2d(c2, c2, 2, stride=2)])
        self.middle = nn.Sequential(Convolutions(c2, c3, (c2, *s3)), Convolutions(c3, c3, (c3, *s3)))
        self.ego_middle = _mlp(c2, c3)
        self.ups = nn.ModuleList([nn.ConvTranspose2d(c3, c2, 2, stride=2), nn.ConvTranspose2d(c2, c1, 2, stride=2)])
        self.ego_ups = nn.ModuleList([nn.Linear(c3, c2), nn.Linear(c2, c1)])
        self.decoders = nn.ModuleList([Level(2 * c2, c2, s2, dropout, False), Level(2 * c1, c1, s1, dropout, False)])
        self.out = nn.Conv2d(c1, codes, 3, padding=1)
        self.ego_out = nn.Sequential(nn.Linear(c1, c1), nn.Linear(c1, c1), nn.ReLU(), nn.Linear(c1, MODES * 2))

    def forward(self, code_BTCHW: Tensor, step_BT2: Tensor, mode_BTM: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the next frame's codes (B, T, K, H, W) and its step in each mode (B, T, M, 2) in metres."""
        now = torch.arange(code_BTCHW.shape[1], device=code_BTCHW.device)
        ego_BTC = self.ego_in(torch.cat([step_BT2, mode_BTM], dim=-1))
        # Every frame asks for the next one: the query carries the time to come, the memory the time it is of.
        scene = [code_BTCHW + self.time(t)[:, :, None, None] for t in (now + 1, now)]  # the query, the memory
        ego = [ego_BTC + self.ego_time(t) for t in (now + 1, now)]
        skips = []
        for level, down in zip(self.encoders, self.downs, strict=True):
            scene, ego = level(scene, ego)
            skips.append((scene, ego))
            scene = [_per_frame(down, x) for x in scene]
        scene, ego = [_per_frame(self.middle, x) for x in scene], [self.ego_middle(x) for x in ego]
        for level, up, ego_up in zip(self.decoders, self.ups, self.ego_ups, strict=True):
            skip_scene, skip_ego = skips.pop()
            # Enlarged, mended where halving dropped an odd row, and beside what was there on the way down.
            scene = [torch.cat([_grow(_per_frame(up, x), s), s], dim=2) for x, s in zip(scene, skip_scene, strict=True)]
            ego = [torch.cat([ego_up(x), s], dim=2) for x, s in zip(ego, skip_ego, strict=True)]
            scene, ego = level(scene, ego)
        return _per_frame(self.out, scene[0]), self.ego_out(ego[0]).unflatten(-1, (MODES, 2))


class Level(nn.Module):
    """One resolution: time per pixel by causal attention, space by convolutions, the ego by both.

    In the encoder the ego looks at the map before it has been through time, in the decoder after.
    """

    def __init__(self, before: int, after: int, shape: tuple[int, int], dropout: float, ego_first: bool) -> None:
        super().__init__()
        self.ego_first = ego_first
        self.time = nn.ModuleList(TimeLayer(before, dropout) for _ in range(TEMPORAL_LAYERS))
        self.ego = nn.ModuleList(EgoLayer(before, dropout) for _ in range(EGO_LAYERS))
        self.space = nn.Sequential(
            Convolutions(before, after, shape if ego_first else (before, *shape)),
            Convolutions(after, after, shape if ego_first else (after, *shape)),
        )
        self.ego_mlp = _mlp(before, after)

    def forward(self, scene: list[Tensor], ego: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """`scene` and `ego` are [query, memory] of (B, T, C, H, W) and (B, T, C)."""
        asked_BTCHW, memory_BTCHW = scene
        ego_BTC = ego[0]
        if self.ego_first:
            ego_BTC = self._look(ego_BTC, ego[1], asked_BTCHW)
        asked_BTCHW = self._remember(asked_BTCHW, memory_BTCHW)
        if not self.ego_first:
            ego_BTC = self._look(ego_BTC, ego[1], asked_BTCHW)
        scene = [_per_frame(self.space, x) for x in (asked_BTCHW, memory_BTCHW)]
        return scene, [self.ego_mlp(x) for x in (ego_BTC, ego[1])]

    def _remember(self, asked_BTCHW: Tensor, memory_BTCHW: Tensor) -> Tensor:
        batch, _, _, height, width = asked_BTCHW.shape
        # Every place of the map is a sequence of its own: time is looked at place by place.
        x_NTC, memory_NTC = (x.permute(0, 3, 4, 1, 2).flatten(0, 2) for x in (asked_BTCHW, memory_BTCHW))
        for layer in self.time:
            x_NTC = layer(x_NTC, memory_NTC)
        return x_NTC.unflatten(0, (batch, height, width)).permute(0, 3, 4, 1, 2)

    def _look(self, ego_BTC: Tensor, memory_BTC: Tensor, scene_BTCHW: Tensor) -> Tensor:
        # All places of the frame's map, for the ego to look at.
        map_NLC = scene_BTCHW.flatten(0, 1).flatten(2).transpose(1, 2)
        for layer in self.ego:
            ego_BTC = layer(ego_BTC, memory_BTC, map_NLC)
        return ego_BTC


class TimeLayer(nn.Module):
    """Causal attention to the memory, then a feed-forward layer; residual, normalised after each."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.norm1 = Attention(channels, dropout), nn.LayerNorm(channels)
        self.feed, self.norm2 = _feed_forward(channels, dropout), nn.LayerNorm(channels)

    def forward(self, x_NTC: Tensor, memory_NTC: Tensor) -> Tensor:
        """Tokens over time, each after what it has seen: (N, T, C)."""
        x_NTC = self.norm1(x_NTC + self.attention(x_NTC, memory_NTC, causal=True))
        return self.norm2(x_NTC + self.feed(x_NTC))


class EgoLayer(nn.Module):
    """Causal attention to the ego's memory, attention to the frame's own map, then a feed-forward layer."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.time, self.norm1 = Attention(channels, dropout), nn.LayerNorm(channels)
        self.space, self.norm2 = Attention(channels, dropout), nn.LayerNorm(channels)
        self.feed, self.norm3 = _feed_forward(channels, dropout), nn.LayerNorm(channels)

    def forward(self, x_BTC: Tensor, memory_BTC: Tensor, map_NLC: Tensor) -> Tensor:
        """Poses over time, each after a look at its frame's map: (B, T, C)."""
        x_BTC = self.norm1(x_BTC + self.time(x_BTC, memory_BTC, causal=True))
        looked_N1C = self.space(x_BTC.flatten(0, 1)[:, None], map_NLC, causal=False)
        x_BTC = self.norm2(x_BTC + looked_N1C.view_as(x_BTC))
        return self.norm3(x_BTC + self.feed(x_BTC))


class Attention(nn.Module):
    """Multi-head attention of `x` to `memory`; causal: place t sees places 0..t of the memory."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.qkv, self.out, self.dropout = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels), dropout

    def forward(self, x_NTC: Tensor, memory_NLC: Tensor, causal: bool) -> Tensor:
        """What every query gathers: (N, T, C); with `causal` from its own time and before."""
        channels = x_NTC.shape[-1]
        # One weight holds all three: queries are of `x`, keys and values of the memory.
        weight, bias = self.qkv.weight, self.qkv.bias
        q_NTC = functional.linear(x_NTC, weight[:channels], bias[:channels])
        k_NLC, v_NLC = functional.linear(memory_NLC, weight[channels:], bias[channels:]).chunk(2, dim=-1)
        q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in (q_NTC, k_NLC, v_NLC))
        if self.training and self.dropout:
            y = _attention(q, k, v, causal, self.dropout)
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


class Convolutions(nn.Module):
    """relu(shortcut(x) + conv(relu(conv(norm(x))))); `shape` is what the norm is over: (H, W) or (C, H, W)."""

    def __init__(self, before: int, after: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(list(shape))
        self.conv1, self.conv2 = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Maps of the same size, with `after` channels."""
        y_NCHW = self.conv2(functional.relu(self.conv1(self.norm(x_NCHW))))
        return functional.relu(self.shortcut(x_NCHW) + y_NCHW)


def _attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, dropout: float) -> Tensor:
    """Attention with dropout of its weights, drawn for each sample alone (torch's own draws for the whole batch)."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if causal:
        earlier = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~earlier, float("-inf"))
    return draws.dropout(scores.softmax(-1), dropout) @ v


def _per_frame(layer: nn.Module, x_BTCHW: Tensor) -> Tensor:
    return layer(x_BTCHW.flatten(0, 1)).unflatten(0, x_BTCHW.shape[:2])


def _grow(x_BTCHW: Tensor, like_BTCHW: Tensor) -> Tensor:
    """Zeros at the far edges where halving has dropped an odd row or column."""
    rows, columns = (like_BTCHW.shape[axis] - x_BTCHW.shape[axis] for axis in (-2, -1))
    return functional.pad(x_BTCHW, (0, columns, 0, rows))


def _mlp(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Linear(after, after), nn.ReLU())


def _feed_forward(channels: int, dropout: float) -> nn.Sequential:
    """Four times as wide inside (GELU), dropout after each layer."""
    return nn.Sequential(
        nn.Linear(channels, 4 * channels),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(4 * channels, channels),
        nn.Dropout(dropout),
    )
