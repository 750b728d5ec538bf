"""Which network a profile means, how it is trained and asked; with the later stages (see `plan`) beside it.

Decisions:
- What a network must know before it sees data (axes, fields, whether grids are periodic, whether the problem is steady)
  stands in the profile: a model is built from parameters alone, and a sample of another shape is refused by name.
- The forecast is autoregressive: as many frames as the sample's target has.
- `kept` tells who answers: the operator, until the gate of a later stage says that it is better. It is a buffer, so a
  checkpoint carries the verdict.
- An ensemble's noise is seeded by its member alone and is the same for all samples of a batch: the same question gets
  the same answer, in any process and any company.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stepladder.core.config import ParameterError, nearest
from stepladder.core.types import Batch, Loss, Prediction, StudyError
from stepladder.studies.pde.data import scales
from stepladder.studies.pde.data.dataset import key
from stepladder.studies.pde.models.baselines.afno import AFNO
from stepladder.studies.pde.models.baselines.dit import DiT
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.baselines.unet import UNet
from stepladder.studies.pde.models.operator.losses import training_loss
from stepladder.studies.pde.models.operator.model import operator_of
from stepladder.studies.pde.models.operator.rollout import roll
from stepladder.studies.pde.models.operator.symmetries import varied
from stepladder.studies.pde.models.stages.consistency import ConsistencyStudent
from stepladder.studies.pde.models.stages.flow import ResidualFlow
from stepladder.studies.pde.models.stages.steady import SteadyPrior
from stepladder.studies.pde.params import PdeModel, PdeParams

STAGES = ("operator", "flow", "consistency", "steady")


class Forecaster(nn.Module):
    """A network with the weights of its losses and the shape of the samples it takes, and what later stages add.

    Args:
        network: batch -> next state, or answer.
        model: the profile's section.
        members: size of an ensemble, where the forecast is drawn.
    """

    def __init__(self, network: nn.Module, model: PdeModel, members: int = 8):
        super().__init__()
        self.network, self.model, self.members = network, model, members
        self.kept: Tensor
        self.register_buffer("kept", torch.tensor(0))
        self.optimizer_step = 0
        if model.flow_steps:
            self.flow = ResidualFlow(model.axes, model.fields, model.channels, model.modes)
        if model.student_steps:
            self.student = ConsistencyStudent(self.flow, evaluations=max(1, self.flow.evaluations // 4))
        if model.prior_steps:
            self.prior = SteadyPrior(patch=model.patch)

    @property
    def answering(self) -> str:
        """The stage whose forecast `predict` gives."""
        return STAGES[int(self.kept)]

    def keep(self, phase: str) -> None:
        """From now on `phase` answers."""
        self.kept.fill_(STAGES.index(phase))

    def loss(self, batch: Batch, phase: str = "operator") -> Loss:
        """The stage's training loss, in training on random equivalents of the samples (see `symmetries`)."""
        self._check(batch)
        if self.training and self.model.augment:
            batch = varied(batch)
        if phase == "operator":
            if self.training and self.model.fit_scale:
                scales.fit(self.network, batch)
            reconstruct = self.model.reconstruct if hasattr(self.network, "reconstruct") else 0.0
            return training_loss(self.network, batch, reconstruct, self.model.unrolled)
        with torch.no_grad():
            forecast = self.network(batch)
        if phase == "flow":
            return self.flow.loss(batch, forecast)
        if phase == "consistency":
            return self.student.loss(batch, forecast, self.flow, self.optimizer_step)
        return self.prior.loss(batch, forecast)

    @torch.no_grad()
    def fit(self, batch: Batch, phase: str) -> None:
        """Let a whole batch decide what the stage takes from data: sizes of channels, spectrum of residuals."""
        self._check(batch)
        if phase == "operator" and self.model.fit_scale:
            scales.fit(self.network, batch)
        elif phase == "flow":
            self.flow.fit(batch, self.network(batch))
        elif phase == "steady":
            self.prior.fit_scale(batch, self.network(batch))

    def predict(self, batch: Batch) -> Prediction:
        """All frames of the target, from the state alone; of an ensemble, its mean."""
        self._check(batch)
        name = key(batch, "target_").replace("target_", "u_B")
        return {name: self.ensemble(batch, self.answering).mean(0)}

    def ensemble(self, batch: Batch, phase: str, evaluations: int | None = None) -> Tensor:
        """Rollouts as `phase` forecasts them, (M, B, T, *X, C): one, or `members` where they are drawn."""
        frames = batch[key(batch, "target_")].shape[1]
        members = self.members if phase in ("flow", "consistency") else 1
        return torch.stack(
            [roll(self._stepper(phase, member, evaluations), batch, frames) for member in range(members)]
        )

    def _stepper(self, phase: str, member: int, evaluations: int | None) -> Callable[[Batch], Tensor]:
        """Batch -> next state, as `phase` says it."""
        if phase == "operator":
            return self.network
        if phase == "steady":
            return lambda batch: self.prior.answers(batch, self.network(batch))[-1]
        sampler, generator = self.flow if phase == "flow" else self.student, torch.Generator().manual_seed(member)

        def step(batch: Batch) -> Tensor:
            forecast = self.network(batch)
            noise = torch.randn((1, *forecast.shape[1:]), generator=generator).to(forecast).expand_as(forecast)
            return sampler.draw(batch, forecast, noise, evaluations)

        return step

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
        wanted, answered = batch[key(batch, "target_")].shape[-1], model.answers or model.fields
        if wanted != answered:
            raise StudyError(
                f"{wanted} fields are asked, the network answers {answered}: model.answers = {model.answers} is the "
                "number of fields of a steady answer, 0 in time"
            )


def build(params: PdeParams) -> Forecaster:
    """The network of a profile, freshly initialised; `ParameterError` where its name is unknown."""
    model = params.model
    if model.name not in BUILDERS:
        raise ParameterError(f"no network {model.name!r}{nearest(model.name, BUILDERS)}")
    return Forecaster(BUILDERS[model.name](model), model, params.evaluation.members)


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


BUILDERS = {"operator": operator_of, "fno": _fno, "unet": _unet, "afno": _afno, "dit": _dit}
