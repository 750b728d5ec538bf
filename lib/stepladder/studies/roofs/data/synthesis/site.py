"""Where things are: houses in rows along a street, with what lies and grows around them; metres, all as shapes.

Houses look along their street, a little turned, the main one near the middle of the image. What would come too near to
another house, or stand on the street, is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from stepladder.studies.roofs.data.synthesis import grounds, plans
from stepladder.studies.roofs.data.synthesis.envelope import turn
from stepladder.studies.roofs.data.synthesis.furniture import Item, furnish
from stepladder.studies.roofs.data.synthesis.grounds import Patch
from stepladder.studies.roofs.data.synthesis.plans import Building
from stepladder.studies.roofs.data.synthesis.street import Street
from stepladder.studies.roofs.data.synthesis.trees import Tree, trees

CLEAR = 2.0  # metres between houses
KERB = 4.5  # metres from the middle of the street to the nearest roof
FILLED = 0.85  # share of the image the main house may be long


@dataclass(frozen=True, eq=False)
class Site:
    """Everything in a scene. `houses[0]` is the main one; `items[k]` are the things on the roofs of `houses[k]`."""

    houses: tuple[Building, ...]
    items: tuple[tuple[Item, ...], ...]
    patches: tuple[Patch, ...]
    trees: tuple[Tree, ...]


def site(rng: np.random.Generator, extent: float) -> Site:
    """A random site of `extent` x `extent` metres."""
    street = Street(extent, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(13, 18)))
    houses = [_main(rng, street)]
    for lot_2 in street.lots()[1:]:
        if rng.random() < 0.85 and street.frame.distance(shapely.Point(street.point(lot_2))) < 10:
            house = _neighbour(rng, street, lot_2)
            if _has_room(house, houses, street):
                houses.append(house)
    items = tuple(tuple(furnish(rng, house)) for house in houses)
    covered = shapely.union_all([house.outline for house in houses])
    patches = tuple(grounds.patches(rng, street, houses, covered))
    return Site(tuple(houses), items, patches, tuple(trees(rng, street, covered)))


def _main(rng: np.random.Generator, street: Street) -> Building:
    house = plans.building(rng, FILLED * street.extent)
    centre_2 = np.asarray(house.outline.centroid.coords[0])
    angle = street.angle + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.06)
    away_2 = rng.uniform(-0.06, 0.06, 2) * street.extent
    return plans.placed(house, float(angle), street.middle_2 + away_2 - turn(angle) @ centre_2)


def _neighbour(rng: np.random.Generator, street: Street, lot_2: np.ndarray) -> Building:
    angle = street.angle + rng.choice([0, np.pi / 2, np.pi]) + rng.normal(0, 0.06)
    return plans.placed(plans.building(rng), float(angle), street.point(lot_2 + rng.uniform(-2, 2, 2)))


def _has_room(house: Building, houses: Sequence[Building], street: Street) -> bool:
    """Whether a house is in the image, apart from the others and off the street."""
    v_P = street.place(shapely.get_coordinates(house.outline))[:, 1]
    off_street = (np.abs(v_P - street.across) > KERB).all()
    apart = all(house.outline.distance(other.outline) >= CLEAR for other in houses)
    return bool(off_street and apart and house.outline.intersects(street.frame))
