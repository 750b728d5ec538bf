"""From a map that is high on lines to lines, by the extractor of our own network: for rivals that answer with maps."""

import numpy as np
from scipy import ndimage

from stepladder.studies.roofs.data.labels import CHANNELS, STRIDE, UNTYPED

SMOOTH = 1.0  # cells: over which directions are averaged


def extracted(line_KVU: np.ndarray, junction_VU: np.ndarray | None = None) -> np.ndarray:
    """Lines (L, 6) of maps of cells, 0 to 1; the last channel is of any line. Directions follow from it."""
    from stepladder.studies.roofs.models.vector.lines import extract

    junction_VU = np.zeros(line_KVU.shape[1:], np.float32) if junction_VU is None else junction_VU
    return extract(line_KVU, directions(line_KVU[UNTYPED]), junction_VU)


def untyped(line_VU: np.ndarray) -> np.ndarray:
    """Maps (K, V, U) of which only "any line" is known."""
    line_KVU = np.zeros((CHANNELS, *line_VU.shape), np.float32)
    line_KVU[UNTYPED] = line_VU
    return line_KVU


def directions(line_VU: np.ndarray) -> np.ndarray:
    """Cosine and sine of twice the angle along ridges, (D, V, U): across them the structure tensor is largest.

    The tensor of Foerstner and Guelch (1987): smoothed products of derivatives; its doubled angle is that of the
    gradient, and a ridge runs at a right angle to it.
    """
    y_VU, x_VU = (ndimage.gaussian_filter(line_VU, SMOOTH / 2, order=order) for order in ((1, 0), (0, 1)))
    xx_VU, xy_VU, yy_VU = (ndimage.gaussian_filter(p, SMOOTH) for p in (x_VU**2, x_VU * y_VU, y_VU**2))
    return -np.stack([xx_VU - yy_VU, 2 * xy_VU]).astype(np.float32)


def to_cells(map_YX: np.ndarray) -> np.ndarray:
    """Mean of a map, or of maps (Y, X, K), in every cell of STRIDE pixels; cells cut by the border are filled."""
    rows, columns = (-size % STRIDE for size in map_YX.shape[:2])
    padded = np.pad(map_YX, [(0, rows), (0, columns), *[(0, 0)] * (map_YX.ndim - 2)], mode="edge")
    v, u = (size // STRIDE for size in padded.shape[:2])
    return padded.reshape(v, STRIDE, u, STRIDE, *padded.shape[2:]).mean(axis=(1, 3))
