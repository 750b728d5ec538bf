"""One network for all that is known of a roof: an encoder, a decoder to stride 4, and a head for each task.

Decisions:
- Every task has a head of its own with parameters below `heads.<task>`, so that a batch without a task's labels leaves
  that head exactly as it is. Tasks that are not learnt have no head.
- Heads answer at stride 4; who needs pixels up-samples what comes out, a few channels instead of the decoder's many.
- Heights are metres that cannot be negative (softplus). The last biases start near what most cells are: background, no
  face, no roof, no line.
- Any size: the end is padded to a multiple of the coarsest stride with the border's values and cut off again.
- Single device. `optimizer_step` is a plain number that training sets before each step.

Shape legend: B batch, C colours or channels, Y X pixels, V U rows and columns of cells; S F G O K D: see `MAPS`.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.networks import lite0
from stepladder.studies.roofs.data.labels import (
    BACKGROUND,
    CHANNELS,
    FACES,
    NO_FACE,
    STRIDE,
    SUPERSTRUCTURES,
)
from stepladder.studies.roofs.models.decoder import Pyramid
from stepladder.studies.roofs.models.encoder import Residual
from stepladder.studies.roofs.models.layers import ChannelNorm
from stepladder.studies.roofs.params import RoofsParams

COARSEST: Final = 32  # stride of the last level of every encoder

MAPS: Final[dict[str, dict[str, int]]] = {
    "superstructure": {"superstructure_BSVU": len(SUPERSTRUCTURES)},
    "face": {"face_BFVU": FACES, "slope_BGVU": 2},  # G: east, north
    "outline": {"outline_BOVU": 2},  # O: roof, band along its boundary
    "line": {"line_BKVU": CHANNELS, "direction_BDVU": 2, "junction_BVU": 1},  # D: cos and sin of the doubled angle
    "rise": {"rise_BVU": 1},
    "height": {"height_BVU": 1},
}
"""Task -> maps its head answers with -> channels."""


class Network(nn.Module):
    """Encoder, decoder and heads.

    Attributes:
        settings: the section `params.model`: tasks, weights, tiles.
        conversion: the section `params.conversion`: which bands of a raster are colours, and what their values mean.
        smallest: of `params.evaluation`: square metres of a roof.
        log_variance: task -> logarithm of its uncertainty, where weights are learnt (`balance: learned`).
        optimizer_step: number of the optimizer step under way.
    """

    def __init__(self, params: RoofsParams) -> None:
        super().__init__()
        self.settings = settings = params.model
        self.conversion = params.conversion
        self.smallest = params.evaluation.smallest
        self.optimizer_step = 0
        self.encoder = _encoder(params)
        self.decoder = Pyramid(self.encoder.widths, settings.decoder)
        self.heads = nn.ModuleDict({task: Head(settings.decoder, MAPS[task]) for task in settings.tasks})
        learnt = settings.tasks if settings.balance == "learned" else []
        self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in learnt})

    def forward(self, image_BCYX: Tensor) -> dict[str, Tensor]:
        """Maps at stride 4 by name (see `MAPS`), of ceil(Y / 4) x ceil(X / 4) cells: logits, slopes and metres."""
        cells = [-(-side // STRIDE) for side in image_BCYX.shape[2:]]
        x_BCVU = self.decoder(self.encoder(padded(image_BCYX)))[..., : cells[0], : cells[1]]
        return {name: value for head in self.heads.values() for name, value in head(x_BCVU).items()}


class Head(nn.Module):
    """Maps of one task from the decoder's features: a 3 x 3 convolution, then one of 1 x 1 per map."""

    def __init__(self, channels: int, maps: dict[str, int]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), ChannelNorm(channels)
        self.maps = nn.ModuleDict({name: nn.Conv2d(channels, count, 1) for name, count in maps.items()})
        for name, last in self.maps.items():
            assert isinstance(last, nn.Conv2d)
            _begin(name, last)

    def forward(self, x_BCVU: Tensor) -> dict[str, Tensor]:
        """Maps by name."""
        x_BCVU = functional.relu(self.norm(self.conv(x_BCVU)))
        return {name: _answer(name, last(x_BCVU)) for name, last in self.maps.items()}


def build(params: RoofsParams) -> Network:
    """A freshly initialised network, with published weights in its encoder where `params.model.weights` says so."""
    return Network(params)


def _encoder(params: RoofsParams) -> Residual | lite0.Lite0:
    settings = params.model
    if settings.encoder == "own":
        return Residual(settings.width)
    return lite0.pretrained().encoder if settings.weights == "imagenet" else lite0.Lite0()


def _answer(name: str, value_BCVU: Tensor) -> Tensor:
    """What a head says, in its unit: metres are not negative, and maps of one value per cell have no channels."""
    if name in {"rise_BVU", "height_BVU"}:
        value_BCVU = functional.softplus(value_BCVU)
    return value_BCVU[:, 0] if name.endswith("_BVU") else value_BCVU


@torch.no_grad()
def _begin(name: str, last: nn.Conv2d) -> None:
    """Start near what most cells are."""
    assert last.bias is not None
    last.bias.fill_({"outline_BOVU": -1.0, "line_BKVU": -2.5, "junction_BVU": -3.0}.get(name, 0.0))
    for one, likely in (("superstructure_BSVU", BACKGROUND), ("face_BFVU", NO_FACE)):
        if name == one:
            last.bias[likely] = 2.0


def padded(image_BCYX: Tensor) -> Tensor:
    """The image, each side lengthened at its end to a multiple of the coarsest stride, by its border's values."""
    rows, columns = (-side % COARSEST for side in image_BCYX.shape[2:])
    return functional.pad(image_BCYX, (0, columns, 0, rows), mode="replicate") if rows or columns else image_BCYX
