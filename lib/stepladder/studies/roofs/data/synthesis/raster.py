"""From metres to pixels: polygons filled exactly, and smooth noise. A pixel is inside where its middle is."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Canvas:
    """`side` x `side` pixels of `gsd` metres, the outer corner of the first at the origin; `pad` more all around."""

    side: int
    gsd: float
    pad: int = 0

    @property
    def size(self) -> int:
        """Pixels along a side, with the padding."""
        return self.side + 2 * self.pad

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return (self.size, self.size)

    @property
    def inner(self) -> Window:
        """The pixels without the padding."""
        span = slice(self.pad, self.pad + self.side)
        return span, span

    def pixel(self, point_N2: np.ndarray) -> np.ndarray:
        """(N, 2) pixels of metres."""
        return np.asarray(point_N2) / self.gsd + self.pad

    def metres(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """x (1, X) and y (Y, 1) of the middles of a window's pixels."""
        x_X = (np.arange(window[1].start, window[1].stop) + 0.5 - self.pad) * self.gsd
        y_Y = (np.arange(window[0].start, window[0].stop) + 0.5 - self.pad) * self.gsd
        return x_X[None], y_Y[:, None]

    def window(self, point_N2: np.ndarray, margin: float = 0) -> Window:
        """Pixels of the bounding box of points in metres, `margin` metres larger; may be empty."""
        low_2 = np.floor(self.pixel(np.min(point_N2, axis=0) - margin)).astype(int).clip(0, self.size)
        high_2 = np.ceil(self.pixel(np.max(point_N2, axis=0) + margin)).astype(int).clip(0, self.size)
        return slice(low_2[1], high_2[1]), slice(low_2[0], high_2[0])

    def fill(self, geometry: BaseGeometry) -> tuple[Window, np.ndarray]:
        """The window of a polygon with any number of rings and parts, and which of its pixels are inside."""
        if geometry.is_empty:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
        window = self.window(shapely.get_coordinates(geometry))
        rows, columns = (part.stop - part.start for part in window)
        y_R = np.arange(window[0].start, window[0].stop) + 0.5
        edge_E4 = np.concatenate([_edges(self.pixel(shapely.get_coordinates(ring))) for ring in _rings(geometry)])
        x0_E, y0_E, x1_E, y1_E = edge_E4.T
        crosses_ER = (y0_E[:, None] <= y_R) & (y1_E[:, None] > y_R)
        edge_N, row_N = np.nonzero(crosses_ER)
        share_N = (y_R[row_N] - y0_E[edge_N]) / (y1_E - y0_E)[edge_N]
        x_N = x0_E[edge_N] + share_N * (x1_E - x0_E)[edge_N]
        column_N = np.ceil(x_N - 0.5).astype(int) - window[1].start
        count_RC = np.bincount(row_N * (columns + 1) + column_N.clip(0, columns), minlength=rows * (columns + 1))
        return window, (count_RC.reshape(rows, columns + 1)[:, :columns].cumsum(axis=1) % 2).astype(bool)

    def mask(self, geometry: BaseGeometry) -> np.ndarray:
        """(Y, X) which pixels are inside, padding included."""
        mask_YX = np.zeros(self.shape, bool)
        window, inside = self.fill(geometry)
        mask_YX[window] = inside
        return mask_YX

    def distance(self, start_2: np.ndarray, end_2: np.ndarray, reach: float) -> tuple[Window, np.ndarray]:
        """The window around a line, and the metres of its pixels to it; `reach` metres on all sides."""
        window = self.window(np.array([start_2, end_2]), reach)
        x, y = self.metres(window)
        along_2 = end_2 - start_2
        share = ((x - start_2[0]) * along_2[0] + (y - start_2[1]) * along_2[1]) / max(float(along_2 @ along_2), 1e-12)
        share = share.clip(0, 1)
        return window, np.hypot(x - start_2[0] - share * along_2[0], y - start_2[1] - share * along_2[1])


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """(Y, X) smooth noise of about unit variance whose blobs are `cell` pixels large."""
    if cell <= 1:
        return rng.standard_normal(shape, dtype=np.float32)
    weight_YG, weight_XG = (_between(length, cell) for length in shape)
    grid = rng.standard_normal((weight_YG.shape[1], weight_XG.shape[1]), dtype=np.float32)
    return 1.5 * (weight_YG @ grid @ weight_XG.T)


def _between(length: int, cell: float) -> np.ndarray:
    """(length, grid points) weights of smooth interpolation."""
    place = np.arange(length) / cell
    before = place.astype(int)
    share = place - before
    share = share * share * (3 - 2 * share)
    weight = np.zeros((length, int(before[-1]) + 2), np.float32)
    weight[np.arange(length), before] = 1 - share
    weight[np.arange(length), before + 1] = share
    return weight


def _rings(geometry: BaseGeometry) -> list[BaseGeometry]:
    return list(shapely.get_rings(shapely.get_parts(geometry)))


def _edges(ring_P2: np.ndarray) -> np.ndarray:
    """(E, 4) edges that do not run level, each upwards in y: neighbours cut the same line at the same place."""
    edge_E4 = np.column_stack([ring_P2[:-1], ring_P2[1:]])
    edge_E4 = np.where((edge_E4[:, 1] > edge_E4[:, 3])[:, None], edge_E4[:, [2, 3, 0, 1]], edge_E4)
    return edge_E4[edge_E4[:, 1] < edge_E4[:, 3]]
