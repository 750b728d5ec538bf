"""Sheets without learning: the honest baselines.

Decisions:
- `all_empty` says nothing. `intensity_threshold` is Otsu's threshold of each volume. `sheetness` is the strong cheap
  one, a ridge filter: the Hessian's largest eigenvalue where it outweighs the middle one (after Sato et al., Medical
  Image Analysis 1998, and Descoteaux et al., A geometric flow for segmenting vasculature, 2008).
- No label is looked at. The scale is fixed a priori: sheets are about two voxels thick, and the second derivative of a
  Gaussian answers a bar of width w most at sigma = w / 2.
- Bright or dark: thin sheets bend the intensity more than the wide spaces between them, so the polarity whose response
  has the larger 95th percentile wins. The threshold is Otsu's of that response where it is not zero.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage

from stepladder.core.types import Baseline, Batch, Prediction
from stepladder.studies.scroll.models import postprocess
from stepladder.studies.scroll.params import ScrollParams

SIGMA = 1.0  # voxels
STRONG = 95  # percentile of the response by which polarities are compared
BINS = 256


def all_empty(image_ZYX: np.ndarray) -> np.ndarray:
    """Predict no sheet anywhere."""
    return np.zeros(image_ZYX.shape, dtype=bool)


def intensity_threshold(image_ZYX: np.ndarray) -> np.ndarray:
    """What is brighter than Otsu's threshold, or darker where sheets are dark."""
    _, bright = stronger(image_ZYX)
    return (image_ZYX > otsu(image_ZYX)) == bright


def sheetness(image_ZYX: np.ndarray) -> np.ndarray:
    """Predict sheet where the ridge filter answers strongly."""
    response_ZYX, _ = stronger(image_ZYX)
    return response_ZYX > otsu(response_ZYX[response_ZYX > 0])


def stronger(image_ZYX: np.ndarray) -> tuple[np.ndarray, bool]:
    """The ridge filter's response to sheets of the polarity it answers more strongly, and whether that is bright."""
    bright_ZYX, dark_ZYX = ridges(image_ZYX)
    bright = bool(np.percentile(bright_ZYX, STRONG) >= np.percentile(dark_ZYX, STRONG))
    return (bright_ZYX if bright else dark_ZYX), bright


def ridges(image_ZYX: np.ndarray, sigma: float = SIGMA) -> tuple[np.ndarray, np.ndarray]:
    """Responses to bright and to dark sheets: max(0, -l1 - |l2|) and max(0, l3 - |l2|), eigenvalues l1 <= l2 <= l3.

    A sheet bends along one axis only; a tube bends along two and a blob along three, which |l2| takes away.
    """
    low_ZYX, middle_ZYX, high_ZYX = eigenvalues(hessian(image_ZYX, sigma))
    return np.maximum(-low_ZYX - np.abs(middle_ZYX), 0), np.maximum(high_ZYX - np.abs(middle_ZYX), 0)


def hessian(image_ZYX: np.ndarray, sigma: float) -> dict[tuple[int, int], np.ndarray]:
    """Second derivatives of the Gaussian-smoothed image by pair of axes (0, 0) to (2, 2), float32."""
    image = np.asarray(image_ZYX, dtype=np.float32)
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    return {
        pair: ndimage.gaussian_filter(image, sigma, order=[pair.count(axis) for axis in range(3)], mode="nearest")
        for pair in pairs
    }


def eigenvalues(matrix: dict[tuple[int, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of symmetric 3 x 3 matrices, ascending: Smith, Communications of the ACM 4(4), 1961."""
    mean = (matrix[0, 0] + matrix[1, 1] + matrix[2, 2]) / 3
    a, b, c = (matrix[axis, axis] - mean for axis in range(3))
    d, e, f = matrix[0, 1], matrix[0, 2], matrix[1, 2]
    spread = np.sqrt((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6)
    spread = np.maximum(spread, np.float32(1e-10))  # its cube still is a float32
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    angle = np.arccos(np.clip(determinant / (2 * spread**3), -1, 1)) / 3
    high = mean + 2 * spread * np.cos(angle)
    low = mean + 2 * spread * np.cos(angle + np.float32(2 * np.pi / 3))
    return low, 3 * mean - high - low, high


def otsu(values: np.ndarray) -> float:
    """Threshold that parts `values` into two classes of largest between-class variance: Otsu, 1979; 256 bins."""
    if values.size == 0:
        return 0.0
    count, edges = np.histogram(values, BINS)
    middle = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(count), np.cumsum(count * middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (total[-1] * below / below[-1] - total) ** 2 / (below * (below[-1] - below))
    return (
        float(edges[1:][np.argmax(np.nan_to_num(between[:-1]))]) if values.max() > values.min() else float(values.max())
    )


def baselines(params: ScrollParams) -> dict[str, Baseline]:
    """Baselines by name, trivial ones first, the strong cheap one last.

    sheetness_post: the ridge filter's mask after the post-processing of `params.evaluation.post`.
    """

    def sheetness_post(image_ZYX: np.ndarray) -> np.ndarray:
        return postprocess.chain(sheetness(image_ZYX).astype(np.float32), params.evaluation.post)

    methods = (all_empty, intensity_threshold, sheetness, sheetness_post)
    return {method.__name__: _by_volume(method) for method in methods}


def _by_volume(method: Callable[[np.ndarray], np.ndarray]) -> Baseline:
    """A method of one image as one of a batch."""

    def baseline(batch: Batch) -> Prediction:
        masks = [torch.from_numpy(method(image)) for image in batch["image_ZYX"].cpu().numpy()]
        mask_BZYX = torch.stack(masks).to(torch.uint8)
        return {"mask_BZYX": mask_BZYX, "probability_BZYX": mask_BZYX.float()}

    return baseline
