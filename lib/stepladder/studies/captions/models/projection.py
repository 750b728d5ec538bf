"""From features of frozen towers to vectors that a language model reads: all that is trained, and its controls.

Decisions:
- Vision features are averaged over the cells of a coarser square (16 tokens of 49 places), normalised, and sent through
  a small network. Gemma has a projector of its own, which is averaging, norm and one matrix (see `gemma.Projector`).
- World latents become tokens in one of four ways. `linear` and `mlp` give every place of every frame a token: the
  plan's 4,096. `pooled` averages over cells, `resampler` asks by learnt queries (as in Perceiver, Jaegle et al., 2021);
  both give as many as `model.world_tokens` says, next to the question.
- Where there is time, every frame is told which one it is. Averages are taken over places and never over frames.
- Brackets are two rows of our own: trained and saved with the projection, not two unused rows of a frozen table.
- The controls have the same task and about the same cost: constants in the place of world tokens, and least and largest
  latents, 2 numbers per channel. Each has brackets and vision projection of its own, for it is trained by itself.

Shape legend: B batch, M pictures, P places, F features, T frames, V U rows and columns, C latent channels, W tokens of
a picture, H channels of the language model.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.sequence import Features
from stepladder.studies.captions.params import CaptionsParams

HEADS = 4  # of the resampler's attention, which is narrow
NARROW = 64  # its channels


class Bridge(nn.Module):
    """All that stands between frozen towers and a frozen language model, for one arm; begins by the run's seed.

    Attributes:
        vision_projection: features of pictures (B, M, P, F) to (B, M, tokens, H); None where one is published.
        world_projection: latents (B, M, T, V, U, C) to (B, M, W, H); None without a world tower.
        brackets: two rows, before and after world tokens; None without a world tower.
    """

    def __init__(self, params: CaptionsParams, width: int, kind: str) -> None:
        super().__init__()
        published, has_world = params.conversion.size == "gemma3_4b", params.model.world
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            self.vision_projection = None if published else pictures(params, width)
            self.world_projection = world(params, width, kind) if has_world else None
            self.brackets = nn.Embedding(2, width) if has_world else None

    def pictures(self, x_BMPF: Tensor, given: nn.Module | None) -> Tensor:
        """Vectors of all pictures' image positions, (B, M x tokens, H); by the `given` projector without one here."""
        project = self.vision_projection or given
        assert project is not None, "a projector is trained where none was published"
        return project(x_BMPF).flatten(1, 2)

    def world(self, x_BMTVUC: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of all pictures' world positions, (B, M x W, H), and of the brackets around each, (2, H)."""
        assert self.world_projection is not None and self.brackets is not None, "asked only where there is a world"
        return self.world_projection(x_BMTVUC).flatten(1, 2), self.brackets.weight


class Vision(nn.Module):
    """Tokens of a picture from its vision features: averages over cells, norm, network of one hidden layer."""

    def __init__(self, features: Features, width: int) -> None:
        super().__init__()
        self.tokens = features.tokens
        self.norm = nn.LayerNorm(features.channels)
        self.network = nn.Sequential(nn.Linear(features.channels, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x_BMPF: Tensor) -> Tensor:
        """(B, M, tokens, H)."""
        return self.network(self.norm(averaged(x_BMPF, self.tokens)))


class Places(nn.Module):
    """A token of every place of every frame, by one matrix (`linear`) or a network of one hidden layer (`mlp`)."""

    def __init__(self, latents: int, frames: int, width: int, deep: bool) -> None:
        super().__init__()
        hidden = [nn.Linear(latents, width), nn.GELU(), nn.Linear(width, width)]
        self.network = nn.Sequential(*hidden) if deep else nn.Linear(latents, width)
        self.time = Time(frames, width)

    def forward(self, x_BMTVUC: Tensor) -> Tensor:
        """(B, M, frames x places, H)."""
        return self.time(self.network(x_BMTVUC)).flatten(2, 4)


class Pooled(nn.Module):
    """So many tokens of all frames: averages over cells, frames side by side as channels, then a network."""

    def __init__(self, latents: int, frames: int, tokens: int, width: int) -> None:
        super().__init__()
        self.cells = cells(tokens)
        self.network = nn.Sequential(nn.Linear(frames * latents, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x_BMTVUC: Tensor) -> Tensor:
        """(B, M, W, H)."""
        x_NCVU = x_BMTVUC.flatten(0, 2).permute(0, 3, 1, 2)
        x_BMTCW = functional.adaptive_avg_pool2d(x_NCVU, self.cells).flatten(2).unflatten(0, x_BMTVUC.shape[:3])
        return self.network(x_BMTCW.flatten(2, 3).transpose(2, 3))


class Resampler(nn.Module):
    """So many learnt queries ask all places of all frames, which are told where and when they are."""

    def __init__(self, features: Features, frames: int, tokens: int, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(features.latents, NARROW)
        self.row, self.column = (nn.Parameter(0.5 * torch.randn(features.side, NARROW)) for _ in "VU")
        self.time = Time(frames, NARROW)
        self.norm = nn.LayerNorm(NARROW)
        self.queries = nn.Parameter(torch.randn(tokens, NARROW))
        self.key, self.value = nn.Linear(NARROW, NARROW, bias=False), nn.Linear(NARROW, NARROW, bias=False)
        self.network = nn.Sequential(nn.LayerNorm(NARROW), nn.Linear(NARROW, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x_BMTVUC: Tensor) -> Tensor:
        """(B, M, W, H)."""
        x_BMTVUD = self.read(x_BMTVUC) + self.row[:, None] + self.column
        x_NSD = self.norm(self.time(x_BMTVUD)).flatten(2, 4).flatten(0, 1)
        query_NWD = self.queries.expand(len(x_NSD), -1, -1)
        query, key, value = heads(query_NWD), heads(self.key(x_NSD)), heads(self.value(x_NSD))
        found_NWD = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.network(query_NWD + found_NWD).unflatten(0, x_BMTVUC.shape[:2])


class Constants(nn.Module):
    """Learnt vectors in the place of world tokens, whatever the picture."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.constants = nn.Parameter(torch.randn(tokens, width))

    def forward(self, x_BMTVUC: Tensor) -> Tensor:
        """(B, M, W, H)."""
        return self.constants.expand(*x_BMTVUC.shape[:2], -1, -1)


class Extremes(nn.Module):
    """Least and largest latents of every frame, as that many tokens."""

    def __init__(self, latents: int, frames: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.network = nn.Sequential(
            nn.Linear(2 * frames * latents, NARROW), nn.GELU(), nn.Linear(NARROW, tokens * width)
        )

    def forward(self, x_BMTVUC: Tensor) -> Tensor:
        """(B, M, W, H)."""
        extremes = [x_BMTVUC.amin((3, 4)), x_BMTVUC.amax((3, 4))]
        return self.network(torch.cat(extremes, dim=-1).flatten(2)).unflatten(2, (self.tokens, -1))


class Time(nn.Module):
    """Tells frames which one they are; one frame needs no telling, and has no parameters for it."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(0.5 * torch.randn(frames, 1, 1, width)) if frames > 1 else None

    def forward(self, x_BMTVUH: Tensor) -> Tensor:
        """The same shape."""
        return x_BMTVUH if self.rows is None else x_BMTVUH + self.rows


def pictures(params: CaptionsParams, width: int) -> nn.Module:
    """What makes tokens of pictures: ours, or Gemma's own projector without its published weights."""
    features = sequence.FEATURES[params.conversion.size]
    if params.conversion.size == "small":
        return Vision(features, width)
    from stepladder.studies.captions.models import gemma  # takes seconds

    return gemma.Projector(features, width)


def world(params: CaptionsParams, width: int, kind: str) -> nn.Module:
    """What makes world tokens: one of `model.projection`, or of the controls."""
    features, frames = sequence.FEATURES[params.conversion.size], sequence.frames(params)
    tokens = sequence.world_tokens(params)
    match kind:
        case "linear" | "mlp":
            return Places(features.latents, frames, width, deep=kind == "mlp")
        case "pooled":
            return Pooled(features.latents, frames, tokens, width)
        case "world_constant":
            return Constants(tokens, width)
        case "extremes":
            return Extremes(features.latents, frames, tokens, width)
        case _:
            return Resampler(features, frames, tokens, width)


def heads(x_NWD: Tensor) -> Tensor:
    """Channels divided among heads: (N, heads, W, channels of a head)."""
    return x_NWD.unflatten(2, (HEADS, -1)).transpose(1, 2)


def averaged(x_BMPF: Tensor, tokens: int) -> Tensor:
    """Averages over the cells of a coarser square, (B, M, tokens, F); what is as coarse already is left as it is."""
    if x_BMPF.shape[2] == tokens:
        return x_BMPF
    side, coarse = math.isqrt(x_BMPF.shape[2]), math.isqrt(tokens)
    x_NFVU = x_BMPF.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
    return functional.adaptive_avg_pool2d(x_NFVU, coarse).flatten(2).transpose(1, 2).unflatten(0, x_BMPF.shape[:2])


def cells(tokens: int) -> tuple[int, int]:
    """Rows and columns of a grid of so many cells, as near to a square as can be."""
    rows = next(rows for rows in range(math.isqrt(tokens), 0, -1) if tokens % rows == 0)
    return rows, tokens // rows
