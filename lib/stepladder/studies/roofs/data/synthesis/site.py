"""Where things are: houses in rows along a street, paths, hedges, trees and cars; metres, all as shapes.

Decisions:
- Houses of a street look along it, a little turned; the main one stands near the middle of the image. What would touch
  another house is left out.
- Trees mostly stand clear of roofs; a few overhang one, as in real images, and hide part of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon

from stepladder.studies.roofs.data.synthesis import plans
from stepladder.studies.roofs.data.synthesis.envelope import rectangle, turn
from stepladder.studies.roofs.data.synthesis.furniture import Item, furnish
from stepladder.studies.roofs.data.synthesis.plans import Building

CLEAR = 2.0  # metres between houses
LOTS = (19.0, 25.0)  # metres from house to house along the street, and from row to row


@dataclass(frozen=True, eq=False)
class Tree:
    """A crown: middle and radius in metres, height of its top, and what it looks like.

    `wave_H` are amplitudes of its outline's harmonics, as shares of the radius; `phase_H` radians.
    """

    middle_2: np.ndarray
    radius: float
    top: float
    kind: str
    tone: float
    wave_H: np.ndarray
    phase_H: np.ndarray

    def edge(self, angle: np.ndarray) -> np.ndarray:
        """Metres from the middle to the outline in directions `angle` (radians)."""
        order = np.arange(2, 2 + len(self.wave_H))
        return self.radius * (1 + (np.cos(angle[..., None] * order + self.phase_H) * self.wave_H).sum(axis=-1))

    @property
    def polygon(self) -> Polygon:
        """The outline as a polygon."""
        angle = np.linspace(0, 2 * np.pi, 33)[:-1]
        return Polygon(self.middle_2 + self.edge(angle)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]))


@dataclass(frozen=True, eq=False)
class Patch:
    """Something on the ground: its polygon, its material, its height and its brightness (0 to 1)."""

    polygon: shapely.Geometry
    material: str
    height: float = 0.0
    tone: float = 0.5


@dataclass(frozen=True, eq=False)
class Site:
    """Everything in a scene. `houses[0]` is the main one; `items` and `houses` go together; `street` is (angle, v)."""

    houses: tuple[Building, ...]
    items: tuple[tuple[Item, ...], ...]
    patches: tuple[Patch, ...]
    trees: tuple[Tree, ...]
    street_angle: float
    street_place: float


def site(rng: np.random.Generator, extent: float) -> Site:
    """A random site of `extent` x `extent` metres."""
    middle_2 = np.full(2, extent / 2)
    angle, across = rng.uniform(0, 2 * np.pi), rng.uniform(13, 18)
    houses = _houses(rng, extent, middle_2, angle, across)
    items = tuple(tuple(furnish(rng, house)) for house in houses)
    covered = shapely.union_all([house.outline for house in houses])
    patches = tuple(_patches(rng, houses, covered, middle_2, angle, across, extent))
    trees = tuple(_trees(rng, covered, middle_2, angle, across, extent))
    return Site(tuple(houses), items, patches, trees, angle, across)


def _houses(
    rng: np.random.Generator, extent: float, middle_2: np.ndarray, angle: float, across: float
) -> list[Building]:
    """The main house, and those of its neighbours that reach into the image."""
    frame = shapely.box(0, 0, extent, extent)
    largest = 0.85 * extent
    first = plans.building(rng, largest)
    centre_2 = np.asarray(first.outline.centroid.coords[0])
    heading = angle + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.06)
    shift_2 = middle_2 + rng.uniform(-0.06, 0.06, 2) * extent - turn(heading) @ centre_2
    houses = [plans.placed(first, heading, shift_2)]
    for lot_2 in _lots(extent, across):
        place_2 = middle_2 + turn(angle) @ (lot_2 + rng.uniform(-2, 2, 2))
        if rng.random() < 0.2 or frame.distance(shapely.Point(place_2)) > 12:
            continue
        house = plans.building(rng)
        house = plans.placed(house, angle + rng.choice([0, np.pi / 2, np.pi]) + rng.normal(0, 0.06), place_2)
        near = any(house.outline.distance(other.outline) < CLEAR for other in houses)
        if not near and house.outline.intersects(frame) and _beside_street(house, middle_2, angle, across):
            houses.append(house)
    return houses


def _lots(extent: float, across: float) -> list[np.ndarray]:
    """Places of neighbours in coordinates of the street (along, across), the main house at the origin, nearest first."""
    many = int(np.ceil(0.75 * extent / LOTS[0])) + 1
    rows = [0.0, 2 * across, -LOTS[1], 2 * across + LOTS[1], -2 * LOTS[1]]
    lots = [np.array([u * LOTS[0], v]) for v in rows for u in range(-many, many + 1) if u or v]
    return sorted(lots, key=lambda lot_2: float(np.hypot(*lot_2)))


def _beside_street(house: Building, middle_2: np.ndarray, angle: float, across: float) -> bool:
    v_P = (shapely.get_coordinates(house.outline) - middle_2) @ turn(angle)[:, 1]
    return bool((np.abs(v_P - across) > 4.5).all())


def _patches(
    rng: np.random.Generator,
    houses: Sequence[Building],
    covered: shapely.Geometry,
    middle_2: np.ndarray,
    angle: float,
    across: float,
    extent: float,
) -> Iterator[Patch]:
    """Lots, terraces, drives, hedges, the street and what stands on them, from the ground up."""
    place = _Place(middle_2, angle)
    for lot_2 in [np.zeros(2), *_lots(extent, across)]:
        u, v = lot_2
        lawn = place.box(u - LOTS[0] / 2, v - LOTS[1] / 2, u + LOTS[0] / 2, v + LOTS[1] / 2)
        yield Patch(lawn, str(rng.choice(["grass", "grass", "grass", "meadow", "gravel", "soil"])), 0, rng.random())
    for house in houses:
        yield from _yard(rng, house, place, across)
    if rng.random() < 0.9:
        yield from _street(rng, place, across, extent)
    yield from _hedges(rng, place, covered, extent)
    for _ in range(int(rng.poisson(extent**2 / 90))):
        spot = place.box(*_around(rng, extent, rng.uniform(0.3, 1.6), rng.uniform(0.3, 2.2)))
        if spot.distance(covered) > 0.5:
            yield Patch(spot, str(rng.choice(["clutter", "clutter", "soil", "shed"])), rng.uniform(0.2, 1.2), rng.random())
    if rng.random() < 0.15:
        pool = shapely.Point(middle_2 + rng.uniform(-0.4, 0.4, 2) * extent).buffer(rng.uniform(1.2, 2.2))
        if pool.distance(covered) > 1:
            yield Patch(pool, "pool", 0.3, rng.random())


@dataclass(frozen=True, eq=False)
class _Place:
    """Coordinates of the street: u along it, v across, from the middle of the image."""

    middle_2: np.ndarray
    angle: float

    def box(self, u0: float, v0: float, u1: float, v1: float) -> Polygon:
        return Polygon(rectangle(u0, v0, u1, v1) @ turn(self.angle).T + self.middle_2)

    def of(self, point_N2: np.ndarray) -> np.ndarray:
        return (point_N2 - self.middle_2) @ turn(self.angle)


def _around(rng: np.random.Generator, extent: float, width: float, depth: float) -> tuple[float, float, float, float]:
    u, v = rng.uniform(-0.7, 0.7, 2) * extent
    return u, v, u + width, v + depth


def _yard(rng: np.random.Generator, house: Building, place: _Place, across: float) -> Iterator[Patch]:
    """A strip around the house, a terrace, and a drive to the street with a car on it."""
    uv_P2 = place.of(shapely.get_coordinates(house.outline))
    (u0, v0), (u1, v1) = uv_P2.min(axis=0), uv_P2.max(axis=0)
    yield Patch(house.outline.buffer(rng.uniform(0.2, 0.8), join_style="mitre"), "paving", 0, rng.random())
    u = rng.uniform(u0, max(u0, u1 - 4))
    back = v0 - rng.uniform(1.5, 4) if v1 < across else v1 + rng.uniform(1.5, 4)
    yield Patch(place.box(u, min(back, v1), u + rng.uniform(3, 6), max(back, v0)), "paving", 0, rng.random())
    u = rng.choice([u0 - 1.5, u1 - 1.5, (u0 + u1) / 2])
    low, high = sorted((across, (v0 + v1) / 2))
    yield Patch(place.box(u, low, u + rng.uniform(2.5, 4), high), str(rng.choice(["paving", "gravel"])), 0, rng.random())
    if rng.random() < 0.5:
        edge = v1 + 0.7 if v1 < across else v0 - 5.2
        yield from _car(place, rng, u + 0.5, edge, True)


def _street(rng: np.random.Generator, place: _Place, across: float, extent: float) -> Iterator[Patch]:
    half, far = rng.uniform(2.3, 3.2), extent
    tone = rng.random()
    yield Patch(place.box(-far, across - half - 1.6, far, across + half + 1.6), "paving", 0, rng.random())
    yield Patch(place.box(-far, across - half - 0.15, far, across + half + 0.15), "kerb", 0, 0.5)
    yield Patch(place.box(-far, across - half, far, across + half), "asphalt", 0, tone)
    if rng.random() < 0.3:
        for u in np.arange(-far, far, 6.0):
            yield Patch(place.box(u, across - 0.07, u + 3, across + 0.07), "marking", 0, 0.8)
    for _ in range(int(rng.poisson(extent / 20))):
        side = rng.choice([-half + 0.2, half - 2.0])
        yield from _car(place, rng, rng.uniform(-0.7, 0.7) * extent, across + side, False)


def _car(place: _Place, rng: np.random.Generator, u: float, v: float, upright: bool) -> Iterator[Patch]:
    """A body, its glass, its roof."""
    tone = float(rng.choice([0.0, 0.15, 0.5, 0.75, 1.0]))
    material = str(rng.choice(["car", "car", "car", "red car", "blue car"]))
    for (a0, b0, a1, b1), kind, height in (
        ((0.0, 0.0, 4.3, 1.8), material, 0.9),
        ((1.0, 0.12, 3.9, 1.68), "glass", 1.3),
        ((1.6, 0.22, 3.3, 1.58), material, 1.4),
    ):
        corner = (u + b0, v + a0, u + b1, v + a1) if upright else (u + a0, v + b0, u + a1, v + b1)
        yield Patch(place.box(*corner).buffer(0.15), kind, height, tone)


def _hedges(rng: np.random.Generator, place: _Place, covered: shapely.Geometry, extent: float) -> Iterator[Patch]:
    """Along the borders of lots."""
    many = int(np.ceil(0.75 * extent / LOTS[0])) + 1
    for number in range(-many, many):
        if rng.random() < 0.5:
            u = (number + 0.5) * LOTS[0] + rng.normal(0, 0.5)
            low = rng.uniform(-LOTS[1] / 2, 0)
            strip = place.box(u, low, u + rng.uniform(0.5, 1.2), low + rng.uniform(4, 14))
            yield Patch(strip.difference(covered.buffer(0.5)), "hedge", rng.uniform(1.0, 2.0), rng.random())


def _trees(
    rng: np.random.Generator, covered: shapely.Geometry, middle_2: np.ndarray, angle: float, across: float, extent: float
) -> Iterator[Tree]:
    """Trees and shrubs of the gardens; one in six may reach over a roof."""
    shapely.prepare(covered)
    for _ in range(int(rng.poisson(max(2.0, extent**2 / 75)))):
        middle = middle_2 + rng.uniform(-0.6, 0.6, 2) * extent
        shrub = rng.random() < 0.5
        radius = rng.uniform(0.4, 1.1) if shrub else rng.uniform(1.2, 3.6)
        apart = covered.distance(shapely.Point(middle))
        on_street = abs((middle - middle_2) @ turn(angle)[:, 1] - across) < 4
        if on_street or apart < (0.6 if rng.random() < 0.17 else 1.15) * radius:
            continue
        kind = str(rng.choice(["leaf", "leaf", "leaf", "conifer", "blossom", "bare"], p=[0.3, 0.2, 0.15, 0.15, 0.08, 0.12]))
        top = radius * rng.uniform(1.0, 1.6) if shrub else rng.uniform(4, 6) + 1.3 * radius
        wave_H = rng.uniform(0.02, 0.09, 5)
        yield Tree(middle, radius, top, kind, rng.random(), wave_H, rng.uniform(0, 2 * np.pi, 5))
