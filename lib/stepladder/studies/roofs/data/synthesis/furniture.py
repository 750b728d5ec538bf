"""What stands or lies on a roof: modules, windows, chimneys, ladders, vents; each on one face, apart from others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from stepladder.studies.roofs.data.synthesis.envelope import Face, rectangle
from stepladder.studies.roofs.data.synthesis.plans import MAIN, Building, Frame

MODULE = (1.05, 1.7)  # metres of a photovoltaic module: across and up the face
TRIES = 8


@dataclass(frozen=True, eq=False)
class Item:
    """A thing on a roof.

    Attributes:
        kind: of `labels.SUPERSTRUCTURES`.
        polygon: metres.
        frame: of the face it lies on; u, v of its texture count from `origin_2`.
        cell_2: metres of one module across and up the face, in plan.
        rise: metres it stands out of the roof, for its shadow.
        tone: brightness of its own, 0 to 1.
    """

    kind: str
    polygon: Polygon
    frame: Frame
    origin_2: np.ndarray
    cell_2: tuple[float, float] = MODULE
    rise: float = 0.0
    tone: float = 0.5


def furnish(rng: np.random.Generator, house: Building) -> list[Item]:
    """Things on the roofs of a house; the dormers it is built with among them."""
    items = [item for face in house.faces if face.part == "dormer" for item in _dormer(face)]
    large = [face for face in house.faces if face.part == "roof" and face.roof == MAIN and face.polygon.area > 8]
    for face in large:
        items += _on_face(rng, face)
    return items


def _dormer(face: Face) -> Iterator[Item]:
    yield Item("dormer", face.polygon, Frame.of(face), np.zeros(2))


def _on_face(rng: np.random.Generator, face: Face) -> list[Item]:
    """Things on one face, the large ones first; each keeps 30 cm from the others."""
    lean = float(np.cos(np.radians(face.pitch)))
    level = face.pitch < 5
    frame, free = Frame.of(face), face.polygon.buffer(-0.35, join_style="mitre")
    items: list[Item] = []
    for kind, count in _wishes(rng, level, face.polygon.area):
        for _ in range(count):
            spot = _spot(rng, frame, free, kind, lean)
            if spot is None:
                break
            items.append(spot)
            free = free.difference(spot.polygon.buffer(0.3, join_style="mitre"))
    return items


def _wishes(rng: np.random.Generator, level: bool, area: float) -> Iterator[tuple[str, int]]:
    """How many of each kind a face would like to have."""
    if rng.random() < 0.42:
        yield "pvmodule", int(rng.integers(1, 3))
    if rng.random() < 0.6:
        yield "window", int(rng.integers(1, 2 + min(5, int(area / 12))))
    if rng.random() < (0.25 if level else 0.45):
        yield "chimney", int(rng.integers(1, 3))
    if not level and rng.random() < 0.45:
        yield "ladder", 1
    if rng.random() < 0.6:
        yield "unknown", int(rng.integers(1, 5))


def _spot(rng: np.random.Generator, frame: Frame, free: BaseGeometry, kind: str, lean: float) -> Item | None:
    """A thing of `kind` somewhere in `free`; None where no room was found."""
    if free.is_empty:
        return None
    shapely.prepare(free)
    low_2, high_2 = (op(frame.place(shapely.get_coordinates(free)), axis=0) for op in (np.min, np.max))
    for attempt in range(TRIES):
        width, height, rise, cell_2 = _measures(rng, kind, lean, high_2 - low_2, attempt)
        room_2 = high_2 - low_2 - (width, height)
        if (room_2 <= 0).any():
            continue
        corner_2 = low_2 + room_2 * (rng.random(), _share(rng, kind))
        polygon = Polygon(frame.point(rectangle(0, 0, width, height) + corner_2))
        if free.contains(polygon):
            return Item(kind, polygon, frame, corner_2, cell_2, rise, float(rng.random()))
    return None


def _share(rng: np.random.Generator, kind: str) -> float:
    """How far up the face: chimneys stand near the ridge."""
    return float({"chimney": rng.uniform(0.7, 1.0), "window": rng.uniform(0.2, 0.8)}.get(kind, rng.random()))


def _measures(
    rng: np.random.Generator, kind: str, lean: float, room_2: np.ndarray, attempt: int
) -> tuple[float, float, float, tuple[float, float]]:
    """Metres in plan across and up the face, metres out of it, and the size of a module; smaller with each attempt."""
    if kind == "pvmodule":
        across, up = MODULE if rng.random() < 0.7 else MODULE[::-1]
        cell_2 = (across, up * lean)
        most = np.maximum(1, (0.9 - 0.09 * attempt) * room_2 / cell_2).astype(int)
        columns, rows = rng.integers(np.maximum(1, most // 2), most + 1)
        return columns * cell_2[0], rows * cell_2[1], 0.1, cell_2
    if kind == "window":
        width = rng.choice([0.66, 0.78, 0.94, 1.14])
        return float(width), float(rng.uniform(1.0, 1.4) * lean), 0.05, MODULE
    if kind == "chimney":
        return rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9), rng.uniform(0.8, 1.6), MODULE
    if kind == "ladder":
        if rng.random() < 0.5:
            return 0.45, rng.uniform(1.5, 4.5) * lean, 0.05, MODULE
        return rng.uniform(0.6, 1.5), 0.35, 0.1, MODULE
    width, depth = rng.uniform(0.25, 0.8, 2) if rng.random() < 0.75 else rng.uniform(0.8, 2.2, 2)
    return float(width), float(depth), rng.uniform(0.2, 0.6), MODULE
