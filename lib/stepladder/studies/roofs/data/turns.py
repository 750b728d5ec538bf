"""Turns by quarters and mirror images of a square crop, and what they do to maps, points, bearings and slopes."""

from dataclasses import dataclass

import numpy as np

from stepladder.studies.roofs.data.labels import SECTORS


@dataclass(frozen=True)
class Turn:
    """One of the eight symmetries of a square: first mirrored left to right, then turned anticlockwise."""

    quarters: int = 0
    mirrored: bool = False

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Turn":
        """One of the eight, each as likely."""
        return cls(int(rng.integers(4)), bool(rng.integers(2)))

    def of_map(self, map_YXZ: np.ndarray) -> np.ndarray:
        """A map whose first two axes are rows and columns: a view."""
        return np.rot90(map_YXZ[:, ::-1] if self.mirrored else map_YXZ, self.quarters)

    def of_points(self, point_P2: np.ndarray, side: float) -> np.ndarray:
        """x, y in a square of `side`."""
        x_P, y_P = point_P2[..., 0], point_P2[..., 1]
        if self.mirrored:
            x_P = side - x_P
        for _ in range(self.quarters % 4):
            x_P, y_P = y_P, side - x_P
        return np.stack([x_P, y_P], axis=-1)

    def of_slopes(self, slope_G: np.ndarray) -> np.ndarray:
        """(..., 2) towards right and up, which is east and north before the turn."""
        east, north = slope_G[..., 0], slope_G[..., 1]
        if self.mirrored:
            east = -east
        for _ in range(self.quarters % 4):
            east, north = -north, east
        return np.stack([east, north], axis=-1)

    def of_faces(self, face_YX: np.ndarray) -> np.ndarray:
        """Sectors of the compass; classes beyond them stay."""
        sector_YX = SECTORS - face_YX if self.mirrored else face_YX  # of bytes: what wraps is taken modulo 16 anyway
        turned_YX = (sector_YX - np.uint8(SECTORS // 4 * (self.quarters % 4))) % SECTORS
        return np.where(face_YX < SECTORS, turned_YX, face_YX).astype(np.uint8)


AS_IT_IS = Turn()
