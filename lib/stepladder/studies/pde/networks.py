"""Which network a profile means, and how it is trained and asked.

Decisions:
- What a network must know before it sees data (axes, fields, whether grids are periodic, whether the problem is steady)
  stands in the profile: a model is built from parameters alone, and a sample of another shape is refused by name.
- The forecast is autoregressive: as many frames as the sample's target has.
"""

from torch import nn

from stepladder.params import ParameterError, nearest
from stepladder.studies.pde.afno import AFNO
from stepladder.studies.pde.dataset import key
from stepladder.studies.pde.dit import DiT
from stepladder.studies.pde.fno import FNO
from stepladder.studies.pde.losses import training_loss
from stepladder.studies.pde.operator import GraphOperator, GridOperator, Size
from stepladder.studies.pde.params import PdeModel, PdeParams
from stepladder.studies.pde.rollout import roll
from stepladder.studies.pde.symmetries import varied
from stepladder.studies.pde.unet import UNet
from stepladder.study import Batch, Loss, Prediction, StudyError


class Forecaster(nn.Module):
    """A network with the weights of its losses and the shape of the samples it takes."""

    def __init__(self, network: nn.Module, model: PdeModel):
        super().__init__()
        self.network, self.model = network, model

    def loss(self, batch: Batch) -> Loss:
        """The training loss (see `losses`), in training on random equivalents of the samples (see `symmetries`)."""
        self._check(batch)
        if self.training and self.model.augment:
            batch = varied(batch)
        reconstruct = self.model.reconstruct if hasattr(self.network, "reconstruct") else 0.0
        return training_loss(self.network, batch, reconstruct, self.model.unrolled)

    def predict(self, batch: Batch) -> Prediction:
        """All frames of the target, from the state alone."""
        self._check(batch)
        target = key(batch, "target_")
        return {target.replace("target_", "u_B"): roll(self.network, batch, batch[target].shape[1])}

    def _check(self, batch: Batch) -> None:
        """Refuse samples the network was not built for."""
        name = key(batch, "input_")
        fields, model = batch[name].shape[-1], self.model
        axes = len(name.removeprefix("input_")) - 1 if model.kind == "grid" else batch["position_XD"].shape[-1]
        if (axes, fields) != (model.axes, model.fields):
            raise StudyError(
                f"samples have {axes} axes and {fields} fields, the network was built for model.axes = {model.axes} "
                f"and model.fields = {model.fields}: set these in the profile"
            )


def build(params: PdeParams) -> Forecaster:
    """The network of a profile, freshly initialised; `ParameterError` where its name is unknown."""
    model = params.model
    if model.name not in BUILDERS:
        raise ParameterError(f"no network {model.name!r}{nearest(model.name, BUILDERS)}")
    return Forecaster(BUILDERS[model.name](model), model)


def _operator(model: PdeModel) -> nn.Module:
    size = Size(model.width, model.depth, model.levels, model.heads, model.conditioning)
    shape = {"answers": model.answers or None}
    if model.kind == "grid":
        layers = {"channels": model.channels, "modes": model.modes, "before": model.before, "after": model.after}
        told = {"patch": model.patch, "periodic": model.periodic, "conservative": model.conservative}
        return GridOperator(model.axes, model.fields, size, **layers, **told, carry=model.carry, **shape)
    graph = {"supernodes": model.supernodes, "rounds": model.rounds, "particles": model.kind == "particles"}
    return GraphOperator(model.axes, model.fields, size, **graph, **shape)


def _fno(model: PdeModel) -> nn.Module:
    return FNO(model.axes, model.fields, model.channels, model.modes, model.layers, model.answers or None)


def _unet(model: PdeModel) -> nn.Module:
    return UNet(model.axes, model.fields, model.channels, model.answers or None)


def _afno(model: PdeModel) -> nn.Module:
    size = {"patch": model.patch, "width": model.width, "layers": model.layers}
    return AFNO(model.axes, model.fields, **size, answers=model.answers or None)


def _dit(model: PdeModel) -> nn.Module:
    size = {"patch": model.patch, "width": model.width, "heads": model.heads, "layers": model.layers}
    return DiT(model.axes, model.fields, **size, answers=model.answers or None)


BUILDERS = {"operator": _operator, "fno": _fno, "unet": _unet, "afno": _afno, "dit": _dit}
