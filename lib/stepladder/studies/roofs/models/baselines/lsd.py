"""The line segment detector of von Gioi et al. (LSD, PAMI 2010), as OpenCV has it: the rival without learning.

Decisions:
- The longer the surer: LSD's own measure (number of false alarms) orders worse on roofs than length, here measured in
  the frame of 128 x 128 of sAP. On grey images, as OpenCV reads them.
- OpenCV 5 returns (N, 4), OpenCV 4 (N, 1, 4): always reshaped.
"""

import cv2
import numpy as np

from stepladder.studies.roofs.data.crops import IMAGENET_MEAN, IMAGENET_STD
from stepladder.studies.roofs.data.labels import UNTYPED
from stepladder.studies.roofs.evaluation import lines


def detect(image_CYX: np.ndarray) -> np.ndarray:
    """Segments of one image: float32 (L, 6) x0, y0, x1, y1 in pixels, type (none), length in the 128 x 128 frame."""
    return segments(grey(bytes_of(image_CYX)))


def segments(grey_YX: np.ndarray) -> np.ndarray:
    """The same, of a grey image of bytes."""
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(np.ascontiguousarray(grey_YX))[0]
    ends_L4 = np.zeros((0, 4), np.float32) if found is None else found.reshape(-1, 4)
    columns = [ends_L4, np.full(len(ends_L4), UNTYPED), lengths(ends_L4, grey_YX.shape)]
    return np.column_stack(columns).astype(np.float32)


def lengths(lines_L4: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Lengths (L,) in the frame of 128 x 128 of lines in an image of `shape`, (Y, X)."""
    ends_L22 = lines.framed(lines_L4, (shape[1], shape[0]))
    return np.linalg.norm(ends_L22[:, 1] - ends_L22[:, 0], axis=1)


def bytes_of(image_CYX: np.ndarray) -> np.ndarray:
    """The image (Y, X, C) of bytes that was normalised for the network."""
    image_YXC = image_CYX.transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN
    return np.clip(np.rint(255 * image_YXC), 0, 255).astype(np.uint8)


def grey(image_YXC: np.ndarray) -> np.ndarray:
    """Luminance of bytes."""
    return cv2.cvtColor(image_YXC, cv2.COLOR_RGB2GRAY)
