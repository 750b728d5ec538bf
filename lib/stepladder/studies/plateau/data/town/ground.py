"""A raster of taken ground, which keeps the things of a synthetic town from standing in each other."""

import numpy as np

CELL_M = 0.5


class Ground:
    """Which cells of the ground are taken."""

    def __init__(self, points_N2: np.ndarray, margin: float):
        self.low = points_N2.min(axis=0) - margin
        self.taken_XY = np.zeros(np.ceil((points_N2.max(axis=0) + margin - self.low) / CELL_M).astype(int), bool)

    def take(self, convex_N2: np.ndarray, margin: float = 0.0, force: bool = False) -> bool:
        """Take a convex polygon (counter-clockwise) if it and `margin` metres around it are free, or by force."""
        window, distance_XY = self._outside(convex_N2, margin + CELL_M)
        if not force and self.taken_XY[window][distance_XY < margin].any():
            return False
        self.taken_XY[window] |= distance_XY < CELL_M / 2
        return True

    def _outside(self, convex_N2: np.ndarray, margin: float) -> tuple[tuple[slice, slice], np.ndarray]:
        """Cells near a polygon, and how far their centres lie outside of it."""
        first = np.maximum(((convex_N2.min(axis=0) - margin - self.low) / CELL_M).astype(int), 0)
        last = ((convex_N2.max(axis=0) + margin - self.low) / CELL_M).astype(int) + 1
        window = slice(first[0], last[0]), slice(first[1], last[1])
        shape = self.taken_XY[window].shape
        x, y = (self.low[a] + (first[a] + np.arange(shape[a]) + 0.5) * CELL_M for a in (0, 1))
        distance_XY = np.full(shape, -np.inf)
        for a, b in zip(convex_N2, np.roll(convex_N2, -1, axis=0), strict=True):
            outward = np.array([b[1] - a[1], a[0] - b[0]]) / np.linalg.norm(b - a)
            distance_XY = np.maximum(distance_XY, (outward[0] * (x - a[0]))[:, None] + outward[1] * (y - a[1]))
        return window, distance_XY
