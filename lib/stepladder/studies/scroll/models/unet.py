"""A residual-encoder 3-D U-Net: the network family of the winners, small enough to learn on a CPU in minutes.

Decisions:
- Residual blocks in the encoder, one plain convolution per level in the decoder, instance norm, leaky ReLU, strided
  convolutions down and transposed ones up: nnU-Net's ResEnc design (Isensee et al., nnU-Net Revisited, MICCAI 2024),
  which every prize of the surface-detection challenge was won with. The encoder grows by one block per level.
- Our own, not MONAI's: MONAI is a heavy dependency, and its U-Nets are not the ones that win; the design fits a page.
- One logit per voxel. The last bias starts at the odds of a sheet, so an untrained network answers "empty".
- Any volume of at least two voxels per axis: the end is padded to a multiple of 2^(levels - 1) with the border's
  values and cut off again.
- Single device. `optimizer_step` is a plain number that training sets before each step (see `losses`).

Shape legend: B batch, C channels, Z Y X voxels.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import TrainingPhase
from stepladder.studies.scroll.params import ScrollParams

SHEET_SHARE = 0.05  # of voxels, about; decides only what an untrained network answers
START = 0.01  # the last layer's initial weights, as a share of the usual
SLOPE = 0.01  # of leaky ReLU below zero


class UNet(nn.Module):
    """Three-dimensional U-Net that says of every voxel whether it belongs to a sheet.

    Attributes:
        settings: the section `params.model`: patch, loss weights, overlap.
        post: the section `params.evaluation.post` (`postprocess.PostParams`), applied by `inference.predict`.
        reach: voxels at which distances are cut off (`params.conversion.truncate`).
        optimizer_step: number of the optimizer step under way.
    """

    def __init__(self, params: ScrollParams) -> None:
        super().__init__()
        settings = params.model
        self.settings, self.post, self.reach = settings, params.evaluation.post, params.conversion.truncate
        self.optimizer_step = 0
        widths = [settings.width * 2**level for level in range(settings.levels)]
        self.first = nn.Conv3d(1, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.encoders = nn.ModuleList(
            nn.Sequential(*(Block(width, settings.dropout) for _ in range(settings.blocks + level)))
            for level, width in enumerate(widths)
        )
        self.ups = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.decoders = nn.ModuleList(Merge(width) for width in widths[:-1])
        self.last = nn.Conv3d(widths[0], 1, 1)
        with torch.no_grad():
            assert self.last.bias is not None
            self.last.weight.mul_(START)
            self.last.bias.fill_(math.log(SHEET_SHARE / (1 - SHEET_SHARE)))

    def forward(self, image_BZYX: Tensor) -> Tensor:
        """Logits (B, Z, Y, X) of "this voxel belongs to a sheet"."""
        size = image_BZYX.shape[1:]
        x_BCZYX = self.first(_padded(image_BZYX[:, None], 2 ** len(self.downs)))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=False):
            skips.append(encoder(x_BCZYX))
            x_BCZYX = down(skips[-1])
        x_BCZYX = self.encoders[-1](x_BCZYX)
        for up, decoder, skip in zip(reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True):
            x_BCZYX = decoder(up(x_BCZYX), skip)
        return self.last(x_BCZYX)[:, 0, : size[0], : size[1], : size[2]]


class Block(nn.Module):
    """Two convolutions beside a straight way: act(x + norm(conv(dropout(act(norm(conv(x)))))))."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(channels, channels), nn.InstanceNorm3d(channels, affine=True)
        self.conv2, self.norm2 = _convolution(channels, channels), nn.InstanceNorm3d(channels, affine=True)
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Features (B, C, Z, Y, X) of the shape of the input."""
        y_BCZYX = self.dropout(_active(self.norm1(self.conv1(x_BCZYX))))
        return _active(x_BCZYX + self.norm2(self.conv2(y_BCZYX)))


class Merge(nn.Module):
    """What comes up from below, joined with the encoder's of the same level: act(norm(conv([below, skip])))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = _convolution(2 * channels, channels), nn.InstanceNorm3d(channels, affine=True)

    def forward(self, below_BCZYX: Tensor, skip_BCZYX: Tensor) -> Tensor:
        """Features (B, C, Z, Y, X) of the shape of both inputs."""
        return _active(self.norm(self.conv(torch.cat([below_BCZYX, skip_BCZYX], dim=1))))


def build(params: ScrollParams) -> UNet:
    """A freshly initialised network."""
    return UNet(params)


def phases(params: ScrollParams) -> list[TrainingPhase]:
    """The stages of training: one."""
    return [TrainingPhase("sheets", params.training.steps)]


def _convolution(channels_in: int, channels_out: int) -> nn.Conv3d:
    """3 x 3 x 3 without bias, which the norm behind it would take away."""
    return nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False)


def _active(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE)


def _padded(x_BCZYX: Tensor, multiple: int) -> Tensor:
    """`x` with every axis lengthened at its end to a multiple of `multiple`, at least twice it, by its last values.

    Twice, because instance norm needs more than one voxel at the deepest level.
    """
    missing = [max(-n % multiple, 2 * multiple - n) for n in x_BCZYX.shape[2:]]
    pad = [amount for n in reversed(missing) for amount in (0, n)]
    return functional.pad(x_BCZYX, pad, mode="replicate") if any(pad) else x_BCZYX
