"""The universal latent operator: one family for grids, meshes and particles, trained as one network in field space.

    encoder -> latent tokens -> PDE-T (U-shaped transformer, conditioned) -> any-point decoder -> increment

Decisions:
- `grids.GridOperator` and `graphs.GraphOperator` share tokens, transformer, decoder and conditioning; they differ in
  how a state becomes tokens and what stands beside them at full resolution.
- The answer is state + increment; a steady problem (another field is asked) has no state to add to.
- Channels are divided by their size on the way in and multiplied on the way out. Sizes are buffers, so a checkpoint
  carries them; they are 1 until the first training batch sets them (see `scales.py`).
- No lazy modules and no complex weights: every parameter exists, real, before the first batch.
"""

from typing import Any

from torch import nn

from stepladder.studies.pde.models.operator.graphs import GraphOperator
from stepladder.studies.pde.models.operator.grids import GridOperator
from stepladder.studies.pde.models.operator.sizes import Size
from stepladder.studies.pde.params import PdeModel

__all__ = ["GraphOperator", "GridOperator", "Size", "operator_of"]


def operator_of(model: PdeModel) -> nn.Module:
    """The operator a profile's `model` section describes, freshly initialised."""
    size = Size(model.width, model.depth, model.levels, model.heads, model.conditioning)
    common: dict[str, Any] = {"answers": model.answers or None, "conservative": model.conservative}
    if model.kind == "grid":
        layers = {"channels": model.channels, "modes": model.modes, "before": model.before, "after": model.after}
        physics = {"periodic": model.periodic, "carry": model.carry, "diffuse": model.diffuse}
        network: Any = GridOperator(model.axes, model.fields, size, **layers, **physics, patch=model.patch, **common)
    else:
        graph = {"supernodes": model.supernodes, "rounds": model.rounds, "particles": model.kind == "particles"}
        network = GraphOperator(model.axes, model.fields, size, **graph, **common)
    if not model.reconstruct:
        network.read = None  # nothing would teach it to read tokens back
    return network
