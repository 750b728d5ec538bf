"""One small network of every kind that the studies have, each with its stages and a batch to learn from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from stepladder.core.schema import Parameters
from stepladder.core.study import Study, find
from stepladder.core.types import Batch, TrainingPhase
from stepladder.studies.pde.params import PdeParams
from tests.studies.pde.batches import grid_batch, mesh_batch, particle_batch
from tests.studies.plateau import block_town
from tests.studies.scroll import small_sheets


@dataclass(frozen=True)
class Network:
    """What a study trains, by the parameters that say so."""

    params: Parameters
    batch: Callable[[int], Batch]  # of so many samples

    @property
    def study(self) -> Study:
        """The study itself."""
        return find(self.params.study)

    @property
    def phases(self) -> list[TrainingPhase]:
        """Its stages."""
        return self.study.phases(self.params)

    def model(self) -> nn.Module:
        """Freshly initialised, the same every time."""
        torch.manual_seed(0)
        return self.study.model(self.params)


def _plateau(**model) -> Network:
    params = block_town.params(past=3, future=2, window=(20, 20, 4), dropout=0.3, **model)
    return Network(params, lambda count: block_town.batch(params, count, bend=0.05))


def _scroll(**model) -> Network:
    return Network(small_sheets.params(dropout=0.3, **model), lambda count: small_sheets.batch(count))


def _pde(batch: Callable[..., Batch], **model) -> Network:
    small = {"width": 16, "channels": 16, "modes": 6, "patch": 4, "heads": 2, "conditioning": 16, "layers": 3}
    values = {"study": "pde", "model": {**small, **model}, "training": {"steps": 4}}
    return Network(PdeParams.model_validate(values), lambda count: batch(count=count))


def _darcy(count: int) -> Batch:
    batch = grid_batch(2, points=16, count=count, equation="darcy")
    return {**batch, "input_YXC": batch["input_YXC"].exp(), "target_TYXC": batch["target_TYXC"][:, :1]}


STAGES = {"flow_steps": 4, "student_steps": 4}
DARCY = {"axes": 2, "answers": 1, "periodic": False, "prior_steps": 4}
MESH = {"kind": "mesh", "axes": 2, "fields": 1, "answers": 1, "supernodes": 8, "reconstruct": 0.0}
PARTICLES = {"kind": "particles", "axes": 2, "fields": 4, "supernodes": 8, "reconstruct": 0.0, "augment": True}
NETWORKS = {
    "plateau warp_fill": _plateau(name="warp_fill"),
    "plateau occworld": _plateau(name="occworld", width=4),
    "scroll": _scroll(),
    "pde grid": _pde(grid_batch, name="operator", augment=True, depth=2, levels=2, **STAGES),
    "pde darcy": _pde(_darcy, name="operator", augment=True, **DARCY),
    "pde mesh": _pde(mesh_batch, name="operator", **MESH),
    "pde particles": _pde(particle_batch, name="operator", **PARTICLES),
    **{f"pde {name}": _pde(grid_batch, name=name) for name in ("fno", "unet", "afno", "dit")},
}
CASES = [(name, phase.name) for name, network in NETWORKS.items() for phase in network.phases]


def stage(name: str, phase: str) -> tuple[Network, TrainingPhase]:
    """A network and one of its stages, by their names."""
    network = NETWORKS[name]
    return network, next(one for one in network.phases if one.name == phase)
