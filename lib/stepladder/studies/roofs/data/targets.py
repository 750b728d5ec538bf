"""What the line heads learn, from vectors: closeness to the nearest line of each type, its direction, its ends.

A cell is STRIDE x STRIDE pixels; distances are measured from its middle to the line itself, so nothing is drawn first.
"""

import math

import numpy as np

from stepladder.studies.roofs.data.labels import CHANNELS, STRIDE, UNTYPED

REACH = 8.0  # pixels from a line at which closeness is 0
SPREAD = 4.0  # pixels: standard deviation of the bump at the end of a line


def line_maps(lines_L5: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Targets of a square of `side` pixels.

    Args:
        lines_L5: x0, y0, x1, y1 in pixels of the square and type; lines may lie outside.

    Returns:
        closeness_KVU: float32, 1 on a line of the type, 0 from REACH pixels on; the last channel is of any line.
        direction_DVU: float32, cosine and sine of twice the angle of the nearest line within reach, else 0.
        junction_VU: float32, a bump of SPREAD pixels at both ends of every line.
    """
    cells = side // STRIDE
    closeness_KVU = np.zeros((CHANNELS, cells, cells), np.float32)
    direction_DVU = np.zeros((2, cells, cells), np.float32)
    junction_VU = np.zeros((cells, cells), np.float32)
    for *ends, kind in lines_L5.tolist():
        if box := _near(ends, 4 * SPREAD, cells):
            _add_ends(ends, box, junction_VU[box])
        if box := _near(ends, REACH, cells):
            near_VU = _closeness(ends, box)
            at = (UNTYPED, *box)
            nearest_VU = near_VU > closeness_KVU[at]
            direction_DVU[0][box][nearest_VU], direction_DVU[1][box][nearest_VU] = _doubled(ends)
            for channel in {int(kind), UNTYPED}:
                np.maximum(closeness_KVU[channel][box], near_VU, out=closeness_KVU[channel][box])
    return {"closeness_KVU": closeness_KVU, "direction_DVU": direction_DVU, "junction_VU": junction_VU}


def _near(ends: list[float], reach: float, cells: int) -> tuple[slice, slice] | None:
    """Rows and columns of the cells whose middles may be within `reach` of a line; None where there are none."""
    x0, y0, x1, y1 = ends
    spans = []
    for low, high in ((min(y0, y1), max(y0, y1)), (min(x0, x1), max(x0, x1))):
        first = max(math.ceil((low - reach) / STRIDE - 0.5), 0)
        last = min(math.floor((high + reach) / STRIDE - 0.5), cells - 1)
        if first > last:
            return None
        spans.append(slice(first, last + 1))
    return spans[0], spans[1]


def _middles(box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """(1, U) x and (V, 1) y of the middles of some cells, in pixels."""
    y_V, x_U = (((np.arange(part.start, part.stop) + 0.5) * STRIDE).astype(np.float32) for part in box)
    return x_U[None, :], y_V[:, None]


def _closeness(ends: list[float], box: tuple[slice, slice]) -> np.ndarray:
    """1 - distance / REACH of middles of cells to a line between two points, 0 from REACH on."""
    (x0, y0, x1, y1), (x_1U, y_V1) = ends, _middles(box)
    along_x, along_y = x1 - x0, y1 - y0
    along_VU = ((x_1U - x0) * along_x + (y_V1 - y0) * along_y) / max(along_x**2 + along_y**2, 1e-12)
    along_VU = along_VU.clip(0, 1)
    off_VU = np.hypot(x_1U - x0 - along_VU * along_x, y_V1 - y0 - along_VU * along_y)
    return 1 - np.minimum(off_VU, REACH) / REACH


def _doubled(ends: list[float]) -> tuple[float, float]:
    """Cosine and sine of twice a line's angle: the same from either end."""
    angle = 2 * math.atan2(ends[3] - ends[1], ends[2] - ends[0])
    return math.cos(angle), math.sin(angle)


def _add_ends(ends: list[float], box: tuple[slice, slice], junction_VU: np.ndarray) -> None:
    """Raise a bump at both ends of a line; where bumps meet the higher one counts."""
    x_1U, y_V1 = _middles(box)
    for x, y in (ends[:2], ends[2:]):
        square_VU = (x_1U - x) ** 2 + (y_V1 - y) ** 2
        np.maximum(junction_VU, np.exp(-square_VU / (2 * SPREAD**2)), out=junction_VU)
