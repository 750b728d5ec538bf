"""Pictures as the towers see them, and their features as shards keep them.

Decisions:
- A picture is squashed to the square a tower sees, as Gemma 3's processor does, by bicubic antialiased resampling. What
  the vision tower sees is kept: pages show it, and a tower that learns needs it.
- Features are kept in float16, or in int8 with a scale per row of features: half the bytes, and an
  error of at most half a step of 127 to the largest of a row. The error on the features stands in the shard.

Shape legend: N pictures, T frames, Y X pixels, C colours, P places, F features, R rows of features.
"""

import numpy as np
from PIL import Image

LEVELS = 127  # of an int8 to either side of zero


def square(image_YXC: np.ndarray, side: int) -> np.ndarray:
    """A picture as a square of `side` pixels, uint8."""
    if image_YXC.shape[:2] == (side, side):
        return image_YXC
    return np.asarray(Image.fromarray(image_YXC).resize((side, side), Image.Resampling.BICUBIC))


def steps(frames_TYXC: np.ndarray, count: int) -> np.ndarray:
    """`count` frames spread evenly over a scene, the first included; of a still picture, itself `count` times."""
    return frames_TYXC[np.linspace(0, len(frames_TYXC) - 1, count).round().astype(int)]


def quantised(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (..., F) as int8 and the scale (..., 1) of every row, float16: value = int8 x scale."""
    largest = np.abs(features).max(-1, keepdims=True).astype(np.float32)
    scale = np.maximum(largest / LEVELS, np.float32(1e-7)).astype(np.float16)
    scale = np.where(scale * np.float32(LEVELS) < largest, np.nextafter(scale, np.float16(np.inf)), scale)
    return np.rint(features / scale.astype(np.float32)).clip(-LEVELS, LEVELS).astype(np.int8), scale


def error(features: np.ndarray, kept: np.ndarray, scale: np.ndarray | None = None) -> float:
    """Root mean square of what keeping changed, in units of the features' own root mean square."""
    back = kept.astype(np.float32) * (1.0 if scale is None else scale.astype(np.float32))
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(features - back, dtype=np.float64)))) / max(size, 1e-12)
