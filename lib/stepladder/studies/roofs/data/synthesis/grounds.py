"""What lies on the ground: lawns, terraces, drives, the street, cars, and what people leave in gardens.

Things come from the ground up: a later one covers an earlier one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from stepladder.studies.roofs.data.synthesis.plans import Building
from stepladder.studies.roofs.data.synthesis.street import LOTS, Street

LAWNS = ("grass", "grass", "grass", "grass", "meadow", "meadow", "gravel", "soil")
PAINTS = ("car", "car", "car", "red car", "blue car")
CAR = (4.3, 1.8)  # metres
CAR_TONES = (0.0, 0.15, 0.5, 0.75, 1.0)  # from black to white


@dataclass(frozen=True, eq=False)
class Patch:
    """Something on the ground: its polygon, its material, its height and its brightness (0 to 1)."""

    polygon: BaseGeometry
    material: str
    height: float = 0.0
    tone: float = 0.5


def patches(
    rng: np.random.Generator, street: Street, houses: Sequence[Building], covered: BaseGeometry
) -> Iterator[Patch]:
    """Everything on the ground; `covered` is what houses stand on."""
    for u, v in street.lots():
        lawn = street.box(u - LOTS[0] / 2, v - LOTS[1] / 2, u + LOTS[0] / 2, v + LOTS[1] / 2)
        yield Patch(lawn, str(rng.choice(LAWNS)), 0, rng.random())
    for house in houses:
        yield from _yard(rng, house, street)
    if rng.random() < 0.9:
        yield from _road(rng, street)
    yield from _fences(rng, street, covered)
    yield from _clutter(rng, street, covered)


def _yard(rng: np.random.Generator, house: Building, street: Street) -> Iterator[Patch]:
    """A strip around the house, beds, a terrace away from the street, and a drive to it with a car."""
    (u0, v0), (u1, v1) = (op(street.place(shapely.get_coordinates(house.outline)), axis=0) for op in (np.min, np.max))
    towards = 1 if v1 < street.across else -1  # the side of the house that looks at the street
    front, back = (v1, v0) if towards > 0 else (v0, v1)
    yield Patch(house.outline.buffer(rng.uniform(0.15, 0.6), join_style="mitre"), "paving", 0, rng.random())
    for _ in range(int(rng.integers(0, 4))):
        u, v = rng.uniform(u0 - 3, u1 + 1), rng.uniform(v0 - 3, v1 + 1)
        yield Patch(
            street.box(u, v, u + rng.uniform(1, 4), v + rng.uniform(0.6, 2)).buffer(0.3), "soil", 0, rng.random()
        )
    u = rng.uniform(u0, max(u0, u1 - 4))
    terrace = sorted((back - towards * rng.uniform(1.5, 4), back + towards * 2))
    yield Patch(street.box(u, terrace[0], u + rng.uniform(3, 6), terrace[1]), "paving", 0, rng.random())
    u = float(rng.choice([u0 - 1.5, u1 - 1.5, (u0 + u1) / 2]))
    drive = sorted((street.across, (v0 + v1) / 2))
    surface = str(rng.choice(["paving", "paving", "gravel"]))
    yield Patch(street.box(u, drive[0], u + rng.uniform(2.5, 4), drive[1]), surface, 0, rng.random())
    if rng.random() < 0.5:
        yield from _car(rng, street, u + 0.5, front + towards * (CAR[0] / 2 + 0.8) - CAR[0] / 2, upright=True)


def _road(rng: np.random.Generator, street: Street) -> Iterator[Patch]:
    """Pavements, kerbs, the roadway, sometimes marked, with cars at its sides."""
    half, far, middle = rng.uniform(2.3, 3.2), street.extent, street.across
    for beside, material in ((1.6, "paving"), (0.15, "kerb"), (0.0, "asphalt")):
        strip = street.box(-far, middle - half - beside, far, middle + half + beside)
        yield Patch(strip, material, 0, rng.random())
    if rng.random() < 0.3:
        for u in np.arange(-far, far, 6.0):
            yield Patch(street.box(u, middle - 0.07, u + 3, middle + 0.07), "marking", 0, 0.8)
    for _ in range(int(rng.poisson(street.extent / 15))):
        side = float(rng.choice([-half + 0.2, half - CAR[1] - 0.2]))
        yield from _car(rng, street, rng.uniform(-0.7, 0.7) * street.extent, middle + side, upright=False)


def _car(rng: np.random.Generator, street: Street, u: float, v: float, *, upright: bool) -> Iterator[Patch]:
    """Its body, its glass, its roof; `upright`: it stands across the street."""
    tone, paint = float(rng.choice(CAR_TONES)), str(rng.choice(PAINTS))
    for front, side, back, material, height in (
        (0.0, 0.0, 0.0, paint, 0.9),
        (1.0, 0.12, 0.4, "glass", 1.3),
        (1.6, 0.22, 1.0, paint, 1.4),
    ):
        corners = (front, side, CAR[0] - back, CAR[1] - side)
        a0, b0, a1, b1 = (corners[1], corners[0], corners[3], corners[2]) if upright else corners
        yield Patch(street.box(u + a0, v + b0, u + a1, v + b1).buffer(0.12), material, height, tone)


def _fences(rng: np.random.Generator, street: Street, covered: BaseGeometry) -> Iterator[Patch]:
    """Low hedges and walls along the borders of lots."""
    clear = covered.buffer(0.5)
    for u, v in street.lots()[:9]:
        if rng.random() < 0.6:
            edge, low = u + LOTS[0] / 2 + rng.normal(0, 0.4), v - rng.uniform(0.1, 0.5) * LOTS[1]
            strip = street.box(edge, low, edge + rng.uniform(0.4, 1.1), low + rng.uniform(4, 16))
            material = str(rng.choice(["hedge", "hedge", "clutter"]))
            yield Patch(strip.difference(clear), material, rng.uniform(0.8, 2.0), rng.random())


def _clutter(rng: np.random.Generator, street: Street, covered: BaseGeometry) -> Iterator[Patch]:
    """Sheds, tables, sand, bins; rarely a pool."""
    for _ in range(int(rng.poisson(street.extent**2 / 60))):
        u, v = rng.uniform(-0.7, 0.7, 2) * street.extent
        spot = street.box(u, v, u + rng.uniform(0.3, 1.6), v + rng.uniform(0.3, 2.2))
        if spot.distance(covered) > 0.5:
            material = str(rng.choice(["clutter", "clutter", "soil", "shed"]))
            yield Patch(spot, material, rng.uniform(0.2, 1.2), rng.random())
    pool = shapely.Point(street.middle_2 + rng.uniform(-0.4, 0.4, 2) * street.extent).buffer(rng.uniform(1.2, 2.2))
    if rng.random() < 0.15 and pool.distance(covered) > 1:
        yield Patch(pool, "pool", 0.3, rng.random())
