"""The universal latent operator: one family for grids, meshes and particles, trained as one network in field space.

    encoder -> latent tokens -> PDE-T (U-shaped transformer, conditioned) -> any-point decoder -> increment

Decisions:
- The answer is state + increment; a steady problem (another field is asked) has no state to add to.
- On grids, spectral layers at full resolution stand before and after the latent part: tokens carry what is global and
  conditional, the layers carry detail. They hear the conditioning vector too.
- The conservative head takes the mean off the increment where the equation conserves the mean and the domain is
  periodic, so mass stays exactly what it was; for all other equations it does nothing.
- With `carry` the increment is added to the state moved by a distance, linear in coefficient x dt: a network told
  the speed of an advection finds out that the field is carried along, and is left with what else happens.
- The co-moving frame (see `frame.py`) is part of the grid's network, on for the equations that have one.
- Channels are divided by their size on the way in and multiplied on the way out. Sizes are buffers, so a checkpoint
  carries them; they are 1 until `fit_scale` sets them.
- No lazy modules and no complex weights: every parameter exists, real, before the first batch.

Shape legend: B batch, X points (in `*X`: all axes of a grid), Q queries, L tokens, D axes, C channels, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.pde import frame
from stepladder.studies.pde.blocks import UTransformer
from stepladder.studies.pde.conditioning import Conditioning
from stepladder.studies.pde.decoder import AnyPointDecoder
from stepladder.studies.pde.encoders import GraphEncoder, GridEncoder
from stepladder.studies.pde.equations import BOUNDARIES, COEFFICIENTS, EQUATIONS
from stepladder.studies.pde.places import grid_places, scattered_places
from stepladder.studies.pde.rollout import position_key, state_key
from stepladder.studies.pde.spectral import SpectralMix
from stepladder.study import Batch

GAIN = 20.0  # lets the weight of a distance learn faster than the rest: it has to be found before details matter
CONSERVED = tuple(equation.conserved for equation in EQUATIONS.values())


@dataclass(frozen=True)
class Size:
    """How large the latent part is.

    Attributes:
        width: length of a token.
        depth: blocks on each side of each level of the U.
        levels: levels of the U.
        heads: attention heads.
        conditioning: width of the conditioning vector.
    """

    width: int = 64
    depth: int = 1
    levels: int = 1
    heads: int = 4
    conditioning: int = 32


class GridOperator(nn.Module):
    """The operator on regular grids of one or more axes.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        size: the latent part.
        channels, modes: channels and Fourier modes of the full-resolution layers.
        before, after: full-resolution layers before and after the latent part.
        patch: points of a patch along each axis; must divide the grid.
        periodic: whether all grids are periodic; if not, they are padded and the layers are told where they are.
        conservative: keep the mean of conserved fields exactly.
        carry: add the increment to the state moved by a learned distance (periodic grids of one axis).
        answers: channels of the answer of a steady problem; None: the next state.
    """

    def __init__(
        self,
        axes: int,
        fields: int,
        size: Size = Size(),
        *,
        channels: int = 32,
        modes: int = 32,
        before: int = 2,
        after: int = 2,
        patch: int = 8,
        periodic: bool = True,
        conservative: bool = True,
        carry: bool = False,
        answers: int | None = None,
    ) -> None:
        super().__init__()
        self.axes, self.periodic, self.conservative, self.steady = axes, periodic, conservative, answers is not None
        self.register_buffer("scale_C", torch.ones(fields))
        self.register_buffer("answer_scale_C", torch.ones(answers or fields))
        self.conditioning = Conditioning(size.conditioning)
        self.lift = nn.Linear(fields + (0 if periodic else axes), channels)
        self.told = nn.Linear(size.conditioning, channels)
        self.before = nn.ModuleList(FineLayer(axes, channels, modes, size.conditioning) for _ in range(before))
        self.encoder = GridEncoder(axes, channels, patch, size.width)
        self.latent = UTransformer(size.width, size.depth, size.levels, size.heads, axes, size.conditioning)
        self.decoder = AnyPointDecoder(axes, channels, size.width, size.heads)
        self.after = nn.ModuleList(FineLayer(axes, channels, modes, size.conditioning) for _ in range(after))
        self.head = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, answers or fields)
        )
        self.read = nn.Linear(channels, fields)
        self.distance = nn.Linear(len(COEFFICIENTS), 1, bias=False) if carry else None
        if self.distance is not None:
            nn.init.zeros_(self.distance.weight)

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, *X, C)."""
        state = batch[state_key(batch)]
        if self.axes > 1 or not self.periodic:
            return self._answer(batch, state)
        points_B = frame.observer(batch, state)
        velocity_B11 = frame.velocity(batch, points_B)
        return frame.rolled(self._answer(batch, state - velocity_B11), points_B) + velocity_B11

    def reconstruct(self, batch: Batch, position_BQD: Tensor | None = None) -> Tensor:
        """The present state, read from its tokens alone, at the grid's points or at places in 0..1 of the domain."""
        state = batch[state_key(batch)]
        condition_BW = self.conditioning(batch)
        local = self._before(state, condition_BW)
        token_BLW, place_1LD = self.encoder(local, self.periodic)
        at_BQD = self._places(state) if position_BQD is None else position_BQD * (1.0 if self.periodic else 0.5)
        fields = self.read(self.decoder(at_BQD, token_BLW, place_1LD)) * self.scale_C
        return fields if position_BQD is not None else fields.unflatten(1, state.shape[1:-1])

    def carried(self, batch: Batch) -> Tensor:
        """How far a step of `carry` moves the state, in periods: linear in coefficient x dt, (B, 1)."""
        travelled_BK = batch["coefficient_K"] * batch["dt"][:, None]
        return GAIN * self.distance(travelled_BK)

    def _answer(self, batch: Batch, state: Tensor) -> Tensor:
        condition_BW = self.conditioning(batch)
        local = self._before(state, condition_BW)
        token_BLW, place_1LD = self.encoder(local, self.periodic)
        token_BLW = self.latent(token_BLW, place_1LD, condition_BW)
        read_BXC = self.decoder(self._places(state), token_BLW, place_1LD)
        x = _pad(local + read_BXC.unflatten(1, state.shape[1:-1]), self.periodic)
        for layer in self.after:
            x = layer(x, condition_BW)
        answer = self.head(_crop(x, state.shape, self.periodic)) * self.answer_scale_C
        if self.steady:
            return answer
        if self.distance is not None:
            state = frame.moved(state[:, None], self.carried(batch))[:, 0]
        return state + (_without_mean(answer, batch) if self.conservative and self.periodic else answer)

    def _before(self, state: Tensor, condition_BW: Tensor) -> Tensor:
        x = state / self.scale_C
        if not self.periodic:
            places = self._places(state).unflatten(1, state.shape[1:-1]).expand(len(state), *[-1] * (self.axes + 1))
            x = torch.cat([x, places], dim=-1)
        told = self.told(condition_BW).view(len(x), *[1] * self.axes, -1)
        x = _pad(self.lift(x) + told, self.periodic)
        for layer in self.before:
            x = layer(x, condition_BW)
        return _crop(x, state.shape, self.periodic)

    def _places(self, state: Tensor) -> Tensor:
        return grid_places(tuple(state.shape[1:-1]), self.periodic, state.device)[None]


class FineLayer(nn.Module):
    """Spectral mixing, scaled by the physics, beside a pointwise layer; then GELU: (B, *X, C) -> the same.

    Args:
        axes: axes of space.
        channels: channels in and out.
        modes: Fourier modes of each axis.
        conditioning: width of the conditioning vector.
    """

    def __init__(self, axes: int, channels: int, modes: int, conditioning: int) -> None:
        super().__init__()
        self.spectral, self.pointwise = SpectralMix(axes, channels, modes), nn.Linear(channels, channels)
        self.scale = nn.Linear(conditioning, channels)
        nn.init.zeros_(self.scale.weight)
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor, condition_BW: Tensor) -> Tensor:
        """`x` (B, *X, C), `condition` (B, W)."""
        return functional.gelu(self.spectral(x, self.scale(condition_BW)) + self.pointwise(x))


class GraphOperator(nn.Module):
    """The operator on meshes and particles: points with places and edges.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        size: the latent part.
        supernodes: latent tokens; at most the number of points, divisible by 2 ** (levels - 1).
        rounds: rounds of message passing.
        particles: the state is position and displacement; the answer moves the points.
        answers: channels of the answer of a steady problem; None: the next state.
    """

    def __init__(
        self,
        axes: int,
        fields: int,
        size: Size = Size(),
        *,
        supernodes: int = 64,
        rounds: int = 2,
        particles: bool = False,
        answers: int | None = None,
    ) -> None:
        super().__init__()
        self.axes, self.particles, self.steady = axes, particles, answers is not None
        out = axes if particles else answers or fields
        self.register_buffer("scale_C", torch.ones(fields - axes if particles else fields))
        self.register_buffer("answer_scale_C", torch.ones(out))
        self.conditioning = Conditioning(size.conditioning)
        channels = len(self.scale_C) + axes
        self.encoder = GraphEncoder(axes, channels, size.width, supernodes, rounds)
        self.latent = UTransformer(size.width, size.depth, size.levels, size.heads, axes, size.conditioning)
        self.decoder = AnyPointDecoder(axes, size.width, size.width, size.heads)
        self.head, self.read = nn.Linear(size.width, out), nn.Linear(size.width, len(self.scale_C))

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, X, C)."""
        state = batch[state_key(batch)]
        condition_BW = self.conditioning(batch)
        place_BXD, token_BLW, place_BLD, point_BXW = self._encode(batch)
        token_BLW = self.latent(token_BLW, place_BLD, condition_BW)
        read_BXW = point_BXW + self.decoder(place_BXD, token_BLW, place_BLD)
        answer = self.head(read_BXW) * self.answer_scale_C
        if self.steady:
            return answer
        if not self.particles:
            return state + answer
        moved = state[..., self.axes :] + answer
        return torch.cat([state[..., : self.axes] + moved, moved], dim=-1)

    def reconstruct(self, batch: Batch, position_BQD: Tensor | None = None) -> Tensor:
        """The fields of the state read back from the tokens alone, at the points or at any positions: (B, Q, C)."""
        place_BXD, token_BLW, place_BLD, _ = self._encode(batch)
        known_BXD = batch[position_key(batch)]
        at_BQD = place_BXD if position_BQD is None else scattered_places(position_BQD, known_BXD)
        fields = self.read(self.decoder(at_BQD, token_BLW, place_BLD)) * self.scale_C
        if not self.particles or position_BQD is not None:
            return fields
        return torch.cat([known_BXD, fields], dim=-1)

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state = batch[state_key(batch)]
        place_BXD = scattered_places(batch[position_key(batch)])
        fields = (state[..., self.axes :] if self.particles else state) / self.scale_C
        told = torch.cat([fields, torch.zeros_like(place_BXD) if self.particles else place_BXD], dim=-1)
        return place_BXD, *self.encoder(told, place_BXD, batch.get("edge_E2"))


def fit_scale(network: nn.Module, state: Tensor, answer: Tensor) -> None:
    """Set a network's scales to the root mean squares of example states and answers (increments, where it adds)."""
    with torch.no_grad():
        for buffer, example in ((network.scale_C, state), (network.answer_scale_C, answer)):
            buffer.copy_(example.flatten(0, -2).square().mean(0).sqrt().clamp_min(1e-12))


def _without_mean(answer: Tensor, batch: Batch) -> Tensor:
    """The increment less its mean, where the sample's equation conserves the mean on its periodic domain."""
    conserved_B = torch.tensor(CONSERVED, device=answer.device)[batch["equation"]]
    conserved_B &= batch["boundary"] == BOUNDARIES.index("periodic")
    mean = answer.mean(tuple(range(1, answer.ndim - 1)), keepdim=True)
    return answer - mean * conserved_B.view(-1, *[1] * (answer.ndim - 1))


def _pad(x: Tensor, periodic: bool) -> Tensor:
    """A grid that is not periodic, with zeros beyond its far ends: an eighth of every axis."""
    if periodic:
        return x
    shape: Sequence[int] = x.shape[1:-1]
    return functional.pad(x, [0, 0, *[side for size in reversed(shape) for side in (0, (size + 7) // 8)]])


def _crop(x: Tensor, shape: torch.Size, periodic: bool) -> Tensor:
    """The inverse of `_pad` for a grid of `shape` (B, *X, C)."""
    if periodic:
        return x
    for axis, size in enumerate(shape[1:-1], 1):
        x = x.narrow(axis, 0, size)
    return x
