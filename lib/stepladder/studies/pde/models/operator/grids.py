"""The operator on regular grids (see `model.py` for what it shares with the one on meshes and particles).

Decisions:
- Spectral layers at full resolution stand before and after the latent part: tokens carry what is global and
  conditional, the layers carry detail. They hear the conditioning vector too.
- The conservative head takes the mean off the increment where the equation conserves the mean and the domain is
  periodic, so mass stays exactly what it was; for all other equations it does nothing.
- With `carry` the increment is added to the state moved by a distance, linear in coefficient x dt: a network told
  the speed of an advection finds out that the field is carried along, and is left with what else happens.
- With `diffuse` the answer is smoothed by the heat kernel of the sample's viscosity or diffusion: how fast waves fade
  is known, and a network told four viscosities cannot guess what lies between them as well as the kernel knows it.
- The co-moving frame (see `frame.py`) is part of the network, on for the equations that have one.

Shape legend: B batch, X points (in `*X`: all axes), Q queries, L tokens, D axes, C channels, W width.
"""

import torch
from torch import Tensor, nn

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import BOUNDARIES, COEFFICIENTS, EQUATIONS
from stepladder.studies.pde.data.places import grid_places
from stepladder.studies.pde.models.operator import frame
from stepladder.studies.pde.models.operator.blocks import UTransformer
from stepladder.studies.pde.models.operator.conditioning import Conditioning
from stepladder.studies.pde.models.operator.decoder import AnyPointDecoder
from stepladder.studies.pde.models.operator.encoders import GridEncoder
from stepladder.studies.pde.models.operator.fine import FineLayer, cropped, padded
from stepladder.studies.pde.models.operator.rollout import state_key, target_key
from stepladder.studies.pde.models.operator.sizes import Size
from stepladder.studies.pde.models.operator.spectral import diffused

GAIN = 20.0  # lets the weight of a distance learn faster than the rest: it has to be found before details matter
CONSERVED = tuple(equation.conserved for equation in EQUATIONS.values())
DIFFUSIVE = [COEFFICIENTS.index(name) for name in ("viscosity", "diffusion")]


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
        diffuse: smooth the answer by the heat kernel of the coefficients (periodic grids of one axis).
    """

    def __init__(
        self,
        axes: int,
        fields: int,
        size: Size = Size(),  # noqa: B008
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
        diffuse: bool = False,
    ) -> None:
        super().__init__()
        self.axes, self.periodic, self.conservative, self.steady = axes, periodic, conservative, answers is not None
        self.diffuse = diffuse
        self.register_buffer("fitted", torch.tensor(False))
        self.scale_C: Tensor
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
        # On one periodic axis the network works in a moving frame (see `frame`): what only travels need not be learnt.
        points_B = frame.observer(batch, state)
        velocity_B11 = frame.velocity(batch, points_B)
        return frame.rolled(self._answer(batch, state - velocity_B11), points_B) + velocity_B11

    def asked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the network sees, and what it ought to add to it or, if steady, to answer: (B, *X, C) both."""
        state, truth = batch[state_key(batch)], batch[target_key(batch)][:, 0]
        if self.steady:
            return state, truth
        if self.axes == 1 and self.periodic:
            points_B = frame.observer(batch, state)
            velocity_B11 = frame.velocity(batch, points_B)
            # The truth as the moving observer sees it, or the network would be asked to learn the movement.
            state, truth = state - velocity_B11, frame.rolled(truth - velocity_B11, -points_B)
        return state, truth - state

    def reconstruct(self, batch: Batch, position_BQD: Tensor | None = None) -> Tensor:
        """The present state, read from its tokens alone, at the grid's points or at places in 0..1 of the domain."""
        state = batch[state_key(batch)]
        condition_BW = self.conditioning(batch)
        # Only encoder and decoder: what is read here can come from nowhere but the tokens.
        local = self._before(state, condition_BW)
        token_BLW, place_1LD = self.encoder(local, self.periodic)
        at_BQD = self._places(state) if position_BQD is None else position_BQD * (1.0 if self.periodic else 0.5)
        fields = self.read(self.decoder(at_BQD, token_BLW, place_1LD)) * self.scale_C
        return fields if position_BQD is not None else fields.unflatten(1, state.shape[1:-1])

    def carried(self, batch: Batch, points: int) -> Tensor:
        """How far a step of `carry` moves a state of `points`, in periods: linear in coefficient x dt, (B, 1).

        Multiplied and summed, not a matrix product: autocast would round the distance to three digits.
        """
        assert self.distance is not None, "a network without `carry`"
        travelled_BK = batch["coefficient_K"] * batch["dt"][:, None]
        length_B1 = batch["dx"][:, None] * points
        return GAIN * (travelled_BK * self.distance.weight).sum(1, keepdim=True) / length_B1

    def _answer(self, batch: Batch, state: Tensor) -> Tensor:
        condition_BW = self.conditioning(batch)
        # Two paths: fine layers at full resolution, and tokens through the transformer, read back at every point.
        local = self._before(state, condition_BW)
        token_BLW, place_1LD = self.encoder(local, self.periodic)
        token_BLW = self.latent(token_BLW, place_1LD, condition_BW)
        read_BXC = self.decoder(self._places(state), token_BLW, place_1LD)
        # Both meet here, and the last fine layers mend what a patch cannot resolve.
        x = padded(local + read_BXC.unflatten(1, state.shape[1:-1]), self.periodic)
        for layer in self.after:
            x = layer(x, condition_BW)
        answer = self.head(cropped(x, state.shape, self.periodic)) * self.answer_scale_C
        if self.steady:
            return answer
        # The state is moved by a learned distance first, the increment only corrects that.
        if self.distance is not None:
            state = frame.moved(state[:, None], self.carried(batch, state.shape[1]))[:, 0]
        # Exactly conserved, not approximately: the increment's mean is taken out.
        ahead = state + (_without_mean(answer, batch) if self.conservative and self.periodic else answer)
        return diffused(ahead, self._spread(batch, state)) if self.diffuse else ahead

    def _spread(self, batch: Batch, state: Tensor) -> Tensor:
        """Viscosity or diffusion x dt, in squares of the domain's length: (B,)."""
        diffusivity_B = batch["coefficient_K"][:, DIFFUSIVE].sum(1)
        return diffusivity_B * batch["dt"] / (batch["dx"] * state.shape[1]) ** 2

    def _before(self, state: Tensor, condition_BW: Tensor) -> Tensor:
        x = state / self.scale_C
        if not self.periodic:
            # Walls break the symmetry: the fine layers must know where they are.
            places = self._places(state).unflatten(1, state.shape[1:-1]).expand(len(state), *[-1] * (self.axes + 1))
            x = torch.cat([x, places], dim=-1)
        # The physics, the same at every point.
        told = self.told(condition_BW).view(len(x), *[1] * self.axes, -1)
        x = padded(self.lift(x) + told, self.periodic)
        for layer in self.before:
            x = layer(x, condition_BW)
        return cropped(x, state.shape, self.periodic)

    def _places(self, state: Tensor) -> Tensor:
        return grid_places(tuple(state.shape[1:-1]), self.periodic, state.device)[None]


def _without_mean(answer: Tensor, batch: Batch) -> Tensor:
    """The increment less its mean, where the sample's equation conserves the mean on its periodic domain."""
    conserved_B = torch.tensor(CONSERVED, device=answer.device)[batch["equation"]]
    conserved_B &= batch["boundary"] == BOUNDARIES.index("periodic")
    mean = answer.mean(tuple(range(1, answer.ndim - 1)), keepdim=True)
    return answer - mean * conserved_B.view(-1, *[1] * (answer.ndim - 1))
