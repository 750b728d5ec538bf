"""The operator on meshes and particles (see `model.py` for what it shares with the one on grids).

Decisions:
- Points of a mesh know their place, as waves of several lengths, and how far the borders are
  (`conversion.border_distances`).
- Particles know their places in their box, walled or periodic, so that a distance means the same in every frame; what
  they are told of themselves is their velocity only, because forces depend on offsets.
- What changed a particle's velocity in the last step does so again, and the head says what is different now: so a
  thermostat's friction or gravity, which no state shows, is kept as it was. In 3D_LJ friction is most of it.
- The conservative head of particles gives forces between pairs (see `forces.py`): those of now less those of the frame
  before. Without it the difference is read from a particle's own features.
- Read-outs are modulated by the physics, as in a DiT's last layer.

Shape legend: B batch, X points, Q queries, L tokens, D axes, C channels, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch
from stepladder.studies.pde.data.equations import BOUNDARIES
from stepladder.studies.pde.data.places import boxed_places, scattered_places, waves
from stepladder.studies.pde.models.operator.blocks import UTransformer
from stepladder.studies.pde.models.operator.conditioning import Conditioning, Modulation
from stepladder.studies.pde.models.operator.decoder import AnyPointDecoder
from stepladder.studies.pde.models.operator.encoders import GraphEncoder
from stepladder.studies.pde.models.operator.forces import PairForces
from stepladder.studies.pde.models.operator.rollout import position_key, state_key, target_key
from stepladder.studies.pde.models.operator.sizes import Size

WAVES = 6  # along each axis, by which the points of a mesh are told where they are


class GraphOperator(nn.Module):
    """The operator on meshes and particles: points with places and edges.

    Args:
        axes: axes of space.
        fields: channels of the state and, unless `answers` says otherwise, of the answer.
        size: the latent part.
        supernodes: latent tokens; at most the number of points, divisible by 2 ** (levels - 1).
        rounds: rounds of message passing.
        particles: the state is position and displacement, with `before_XD` and `box_2D` beside it; the answer moves
            the points.
        answers: channels of the answer of a steady problem; None: the next state.
        conservative: particles act on each other only, so that momentum is conserved exactly.
    """

    def __init__(
        self,
        axes: int,
        fields: int,
        size: Size = Size(),  # noqa: B008
        *,
        supernodes: int = 64,
        rounds: int = 2,
        particles: bool = False,
        answers: int | None = None,
        conservative: bool = False,
    ) -> None:
        super().__init__()
        self.axes, self.particles, self.steady = axes, particles, answers is not None
        self.conservative = conservative and particles
        out = axes if particles else answers or fields
        self.register_buffer("fitted", torch.tensor(False))
        self.scale_C: Tensor
        self.register_buffer("scale_C", torch.ones(fields - axes if particles else fields))
        self.answer_scale_C: Tensor
        self.register_buffer("answer_scale_C", torch.ones(out))
        self.conditioning = Conditioning(size.conditioning)
        channels = len(self.scale_C) + (0 if particles else axes * (1 + 2 * WAVES) + 2) + size.conditioning
        self.encoder = GraphEncoder(axes, channels, size.width, supernodes, rounds)
        self.latent = UTransformer(size.width, size.depth, size.levels, size.heads, axes, size.conditioning)
        self.decoder = AnyPointDecoder(axes, size.width, size.width, size.heads)
        self.modulate = Modulation(size.conditioning, size.width)
        self.head: nn.Module = PairForces(size.width)
        if not self.conservative:
            hidden = 2 * size.width
            self.head = nn.Sequential(nn.Linear(size.width, hidden), nn.GELU(), nn.Linear(hidden, out))
        self.read = nn.Linear(size.width, len(self.scale_C))

    def forward(self, batch: Batch) -> Tensor:
        """The next state, or the answer of a steady problem: (B, X, C)."""
        state = batch[state_key(batch)]
        condition_BW = self.conditioning(batch)
        place_BXD, token_BLW, place_BLD, point_BXW = self._encode(batch, condition_BW)
        token_BLW = self.latent(token_BLW, place_BLD, condition_BW)
        # Tokens read back at every point, beside the point's own features from message passing.
        read_BXW = point_BXW + self.decoder(place_BXD, token_BLW, place_BLD)
        # The physics decides how much of what was read counts, as in a DiT's last layer.
        scale, shift, gate = self.modulate(condition_BW)
        read_BXW = read_BXW + gate * (scale * functional.layer_norm(read_BXW, read_BXW.shape[-1:]) + shift)
        answer = (self._forces(batch, read_BXW) if self.conservative else self.head(read_BXW)) * self._answer_size()
        if self.steady:
            return answer
        if not self.particles:
            return state + answer
        moved = state[..., self.axes :]
        # The last change of velocity happens again; the answer says what is different now.
        moved = moved + (moved - batch["before_XD"]) + answer
        return torch.cat([state[..., : self.axes] + moved, moved], dim=-1)

    def _forces(self, batch: Batch, read_BXW: Tensor) -> Tensor:
        """Pair forces at the particles' positions less those at the positions of the frame before: (B, X, D)."""
        # The same network at two frames: what both forces share is in the last change of velocity already.
        position_BXD, moved_BXD = batch[state_key(batch)].split(self.axes, dim=-1)
        places = (self._places(batch, position_BXD), self._places(batch, position_BXD - moved_BXD))
        now, before = (self.head(read_BXW, place_BXD, batch["edge_E2"]) for place_BXD in places)
        return now - before

    def _answer_size(self) -> Tensor:
        """Sizes of the answer; of forces one for all axes, or they would leave the line between their ends."""
        return self.answer_scale_C.square().mean().sqrt() if self.conservative else self.answer_scale_C

    def reconstruct(self, batch: Batch, position_BQD: Tensor | None = None) -> Tensor:
        """The fields of the state read back from the tokens alone, at the points or at any positions: (B, Q, C)."""
        place_BXD, token_BLW, place_BLD, _ = self._encode(batch, self.conditioning(batch))
        known_BXD = batch[position_key(batch)]
        at_BQD = place_BXD if position_BQD is None else self._places(batch, position_BQD)
        fields = self.read(self.decoder(at_BQD, token_BLW, place_BLD)) * self.scale_C
        if not self.particles or position_BQD is not None:
            return fields
        return torch.cat([known_BXD, fields], dim=-1)

    def asked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the network sees, and what it ought to add to it or, if steady, to answer: (B, X, C) both."""
        state, truth = batch[state_key(batch)], batch[target_key(batch)][:, 0]
        if self.particles:
            state, truth = state[..., self.axes :], truth[..., self.axes :]
            truth = truth - (state - batch["before_XD"])
        return state, truth if self.steady else truth - state

    def _encode(self, batch: Batch, condition_BW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state = batch[state_key(batch)]
        place_BXD = self._places(batch, batch[position_key(batch)])
        fields = (state[..., self.axes :] if self.particles else state) / self.scale_C
        condition_BXW = condition_BW[:, None].expand(-1, place_BXD.shape[1], -1)
        told = [fields, condition_BXW]
        if not self.particles:  # whose forces depend on offsets only
            border_BX2 = batch.get("distance_X2", torch.ones_like(place_BXD[..., :1]).expand(-1, -1, 2))
            told += [place_BXD, waves(place_BXD, WAVES), border_BX2]
        told = torch.cat(told, dim=-1)
        return place_BXD, *self.encoder(told, place_BXD, batch.get("edge_E2"))

    def _places(self, batch: Batch, position_BXD: Tensor) -> Tensor:
        """Places of positions: in the box of particles, else in the extent of the mesh."""
        if not self.particles:
            return scattered_places(position_BXD, batch[position_key(batch)])
        return boxed_places(position_BXD, batch["box_2D"], batch["boundary"] == BOUNDARIES.index("periodic"))
