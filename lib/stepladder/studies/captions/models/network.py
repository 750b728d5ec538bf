"""The captioner: frozen language model, trained bridge from the towers to it, and every arm it is compared in.

Decisions:
- An arm says what is left out of the sequence, whose features are read, and which bridge reads them: `ARM`. All arms
  go through the same lines, so that they differ in nothing else.
- World off is the plain model: positions that are left out are not there at all (`sequence.without`).
- A control has a bridge of its own, with a vision projection of its own: it is trained beside the real one, from the
  same beginning and for as long. `untrained` is that beginning, made again from the seed of the run.
- Features of our vision tower are standardised by what the first step sees (`fit`): most of what they say is the same
  for every picture, and a projection would learn that first.
- Towers are no part of the model while their features come from shards. A released vision tower is.
- What no phase trains and `build` makes again is told in `given`, so that checkpoints may leave it out.
- Single device.

Shape legend: B batch, M pictures, P places, F features, T tokens or frames, V U rows and columns of latents, C latent
channels, H channels of the language model, N positions of a kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from stepladder.core.types import Batch
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import CLOSE, IMAGE, OPEN, WORLD
from stepladder.studies.captions.data.tokenizer import Tokenizer, tokenizer
from stepladder.studies.captions.models import language
from stepladder.studies.captions.models.projection import Bridge
from stepladder.studies.captions.params import CaptionsParams

SPREAD: Final = 0.05  # added to standard deviations: features that hardly ever say anything are not shouted
BRACKETED: Final = (OPEN, WORLD, CLOSE)
CONTROL: Final = {"world_constant": "world_constant", "pooled": "extremes"}  # arm -> what makes its world tokens


@dataclass(frozen=True)
class Arm:
    """How an arm reads a batch.

    Attributes:
        vision, world: where its features come from: `own`, `other` (another picture's), `blank`, `zero`, or `none`:
            then the sequence has no such positions.
        bridge: `trained`, `untrained`, or the name of a control.
    """

    vision: str = "own"
    world: str = "own"
    bridge: str = "trained"


ARM: Final[Mapping[str, Arm]] = {
    "base": Arm(vision="none", world="none"),
    "untrained": Arm(bridge="untrained"),
    "trained": Arm(),
    "world_zero": Arm(world="zero"),
    "world_shuffled": Arm(world="other"),
    "world_constant": Arm(bridge="world_constant"),
    "pooled": Arm(bridge="pooled"),
    "shuffled": Arm(vision="other", world="other"),
    "blank": Arm(vision="blank", world="blank"),
    "text_only": Arm(vision="none", world="none"),
}


class Captioner(Bridge):
    """Reads pictures and a question, and says how likely every next token is.

    Attributes:
        settings, conversion, evaluation: sections of the parameters.
        language: see `language.Language`.
        controls: a bridge of its own for each of `model.controls`.
        seen_2F: mean and standard deviation of every vision feature (size: small).
        vision_tower: makes vision features of pixels; None while they come from shards.
        given: prefix of parameter names -> identity of weights that no phase trains and `build` makes again.
        optimizer_step: number of the optimizer step under way.
    """

    def __init__(self, params: CaptionsParams) -> None:
        spoken = language.build(params)
        super().__init__(params, spoken.width, params.model.projection)
        self.language = spoken
        self.settings, self.conversion, self.evaluation = params.model, params.conversion, params.evaluation
        self.optimizer_step = 0
        named = params.model.controls if params.model.world else []
        self.controls = nn.ModuleDict({name: Bridge(params, spoken.width, CONTROL[name]) for name in named})
        self.vision_tower = _tower(params)
        channels = sequence.FEATURES[params.conversion.size].channels
        self.register_buffer("seen_2F", torch.stack([torch.zeros(channels), torch.ones(channels)]))
        self.seen_2F: Tensor
        self.given: Mapping[str, str] = language.given(params)
        self._params, self._begun = params, list[Bridge]()  # in a list: no part of the model

    @property
    def tokenizer(self) -> Tokenizer:
        """What its ids mean."""
        return tokenizer(self.conversion)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that this model has: without world tokens or controls there is less to compare."""
        bridges = {"trained", "untrained", *self.controls}
        of_world = {name for name in ARM if name.startswith("world_")}
        return tuple(
            n for n, arm in ARM.items() if arm.bridge in bridges and (self.settings.world or n not in of_world)
        )

    @property
    def others(self) -> tuple[str, ...]:
        """The arms beside the trained one that `evaluation.arms` asks for and this model has."""
        return tuple(arm for arm in self.arms if arm in self.evaluation.arms and arm != "trained")

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Take mean and spread of vision features from a batch, once; Gemma's projector has a norm of its own."""
        if self.conversion.size != "small":
            return
        x_NPF = batch["vision_MPF"].float().flatten(0, 1)
        there_N1 = (x_NPF.abs().amax((1, 2), keepdim=True)[..., 0] > 0).float()
        weight_NP1 = (there_N1 / (there_N1.sum() * x_NPF.shape[1]))[..., None]
        mean_F = (weight_NP1 * x_NPF).sum((0, 1))
        spread_F = (weight_NP1 * (x_NPF - mean_F).square()).sum((0, 1)).sqrt() + SPREAD
        fresh = (self.seen_2F[0] == 0).all()
        self.seen_2F.copy_(torch.where(fresh, torch.stack([mean_F, spread_F]), self.seen_2F))

    def forward(self, batch: Batch, arm: str = "trained") -> Tensor:
        """Scores of the next token at every position of the arm's sequence, (B, T, vocabulary)."""
        read, x_BTH = self.read(batch, arm)
        return self.logits(x_BTH, read["kinds_T"])

    def logits(self, x_BTH: Tensor, kinds_BT: Tensor) -> Tensor:
        """Scores of what is read as vectors."""
        spoken = self.language
        return spoken.logits(spoken.hidden(x_BTH, kinds_BT))

    def read(self, batch: Batch, arm: str = "trained") -> tuple[Batch, Tensor]:
        """The sequence of an arm, and the vectors that stand in it, (B, T, H)."""
        how = self._how(arm)
        batch = self._without(batch, how)
        kinds_BT, bridge = batch["kinds_T"], self._bridge(how.bridge)
        x_BTH = self.language.embed(batch["tokens_T"])
        if how.vision != "none":
            seen_BNH = bridge.pictures(self._vision(batch, how.vision), self.language.projector)
            x_BTH = placed(x_BTH, kinds_BT == IMAGE, seen_BNH)
        if how.world != "none":
            world_BNH, brackets_2H = bridge.world(_world(batch, how.world))
            x_BTH = placed(x_BTH, kinds_BT == WORLD, world_BNH)
            for kind, row_H in ((OPEN, brackets_2H[0]), (CLOSE, brackets_2H[1])):
                x_BTH = torch.where((kinds_BT == kind)[..., None], row_H.to(x_BTH.dtype), x_BTH)
        return batch, x_BTH

    def _how(self, name: str) -> Arm:
        arm = ARM[name]
        if name == "base" and self.conversion.size == "gemma3_4b":
            arm = Arm(world="none")  # what was published knows pictures
        return arm if self.settings.world else Arm(arm.vision, "none", arm.bridge)

    def _without(self, batch: Batch, how: Arm) -> Batch:
        """The batch without the positions that an arm has no use for, and as much shorter as every item is at least."""
        gone = [*((IMAGE,) if how.vision == "none" else ()), *(BRACKETED if how.world == "none" else ())]
        if not gone or (gone == [*BRACKETED] and not self.settings.world):
            return batch
        margin = self.tokenizer.special.margin
        features, tokens = sequence.FEATURES[self.conversion.size], sequence.world_tokens(self._params)
        fewer = (how.vision == "none") * (features.tokens + 2 * margin)
        fewer += (how.world == "none" and tokens > 0) * (tokens + 2)
        return sequence.cut(sequence.without(batch, *gone, margin=margin), batch["kinds_T"].shape[1] - fewer)

    def _vision(self, batch: Batch, whose: str) -> Tensor:
        """Vision features of every picture, standardised: (B, M, P, F)."""
        mean_F, spread_F = self.seen_2F
        return (self._seen(batch, whose) - mean_F) / spread_F

    def _seen(self, batch: Batch, whose: str) -> Tensor:
        if whose == "other":
            return batch["other_vision_MPF"].float()
        if whose == "blank":
            return batch["blank_vision_PF"][:, None].expand_as(batch["vision_MPF"]).float()
        if self.vision_tower is not None:
            pixels = batch["pixels_MYXC"]
            return self.vision_tower(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]).float()
        return batch["vision_MPF"].float()

    def _bridge(self, name: str) -> Bridge:
        if name == "trained":
            return self
        if name == "untrained":
            return self._beginning()
        bridge = self.controls[name]
        assert isinstance(bridge, Bridge)
        return bridge

    def _beginning(self) -> Bridge:
        """The bridge as it was initialised; no parameter of the model, and where the model is."""
        if not self._begun:
            self._begun.append(Bridge(self._params, self.language.width, self.settings.projection).eval())
        return self._begun[0].to(next(self.language.parameters()).device)


def build(params: CaptionsParams) -> Captioner:
    """A freshly initialised captioner; with published weights where `conversion.size` says so."""
    return Captioner(params)


def placed(x_BTH: Tensor, at_BT: Tensor, values_BNH: Tensor) -> Tensor:
    """`x_BTH` with values in the marked positions, in their order; there may be more values than positions."""
    number_BT = (at_BT.cumsum(1) - 1).clamp(min=0)
    chosen_BTH = values_BNH.gather(1, number_BT[..., None].expand(-1, -1, values_BNH.shape[2]))
    return torch.where(at_BT[..., None], chosen_BTH.to(x_BTH.dtype), x_BTH)


def _world(batch: Batch, whose: str) -> Tensor:
    """World latents of every picture, (B, M, T, V, U, C)."""
    own_BMTVUC = batch["world_MTVUC"].float()
    match whose:
        case "zero":
            return torch.zeros_like(own_BMTVUC)
        case "other":
            return batch["other_world_MTVUC"].float()
        case "blank":
            return batch["blank_world_TVUC"][:, None].expand_as(own_BMTVUC).float()
        case _:
            return own_BMTVUC


def _tower(params: CaptionsParams) -> nn.Module | None:
    if params.model.vision == "cached":
        return None
    from stepladder.studies.captions.models import towers  # whoever reads cached features needs none

    return towers.vision(params)
