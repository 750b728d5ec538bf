"""The street a site lies at: coordinates along and across it, and the lots of its houses."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon

from stepladder.studies.roofs.data.synthesis.envelope import rectangle, turn

LOTS = (19.0, 25.0)  # metres from house to house along the street, and from row to row


@dataclass(frozen=True, eq=False)
class Street:
    """A straight street beside the middle of an image of `extent` x `extent` metres.

    u runs along it, v across, both in metres from the middle of the image; `angle` is that of u in the image, radians;
    the middle of the street lies at v = `across`.
    """

    extent: float
    angle: float
    across: float

    @property
    def middle_2(self) -> np.ndarray:
        """The middle of the image, x and y in metres."""
        return np.full(2, self.extent / 2)

    @property
    def frame(self) -> Polygon:
        """The image."""
        return shapely.box(0, 0, self.extent, self.extent)

    def point(self, uv_N2: np.ndarray) -> np.ndarray:
        """x, y of u, v."""
        return np.asarray(uv_N2) @ turn(self.angle).T + self.middle_2

    def place(self, point_N2: np.ndarray) -> np.ndarray:
        """u, v of x, y."""
        return (np.asarray(point_N2) - self.middle_2) @ turn(self.angle)

    def box(self, u0: float, v0: float, u1: float, v1: float) -> Polygon:
        """The polygon of a rectangle in u, v."""
        return Polygon(self.point(rectangle(u0, v0, u1, v1)))

    def lots(self) -> list[np.ndarray]:
        """u, v of the middles of lots, nearest first: the first is that of the main house."""
        many = int(np.ceil(0.75 * self.extent / LOTS[0])) + 1
        rows = [0.0, 2 * self.across, -LOTS[1], 2 * self.across + LOTS[1], -2 * LOTS[1]]
        lots = [np.array([number * LOTS[0], v]) for v in rows for number in range(-many, many + 1)]
        return sorted(lots, key=lambda lot_2: float(np.hypot(*lot_2)))
