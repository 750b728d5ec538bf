"""Trees and shrubs of gardens. Most stand clear of roofs; some reach over one, as really they do, and hide part."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from stepladder.studies.roofs.data.synthesis.street import LOTS, Street

KINDS = {"leaf": 0.6, "conifer": 0.16, "blossom": 0.08, "bare": 0.16}


@dataclass(frozen=True, eq=False)
class Tree:
    """A crown: middle and radius in metres, height of its top, its kind, its brightness (0 to 1).

    `wave_H` are amplitudes of its outline's harmonics from the second on, as shares of the radius; `phase_H` radians.
    """

    middle_2: np.ndarray
    radius: float
    top: float
    kind: str
    tone: float
    wave_H: np.ndarray
    phase_H: np.ndarray

    def edge(self, angle: np.ndarray) -> np.ndarray:
        """Metres from the middle to the outline in directions `angle`, radians."""
        order = np.arange(2, 2 + len(self.wave_H))
        return self.radius * (1 + (np.cos(angle[..., None] * order + self.phase_H) * self.wave_H).sum(axis=-1))

    @property
    def polygon(self) -> Polygon:
        """The outline."""
        angle = np.linspace(0, 2 * np.pi, 33)[:-1]
        return Polygon(self.middle_2 + self.edge(angle)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]))


def trees(rng: np.random.Generator, street: Street, covered: BaseGeometry) -> Iterator[Tree]:
    """All of a site; `covered` is what houses stand on."""
    shapely.prepare(covered)
    for _ in range(int(rng.poisson(max(3.0, street.extent**2 / 45)))):
        middle_2 = street.middle_2 + rng.uniform(-0.6, 0.6, 2) * street.extent
        radius = rng.uniform(0.4, 1.1) if rng.random() < 0.5 else rng.uniform(1.2, 3.4)
        yield from _standing(street, covered, _tree(rng, middle_2, radius), 1.1)
    edge = covered.boundary
    for _ in range(int(rng.poisson(street.extent**2 / 300))):
        radius = rng.uniform(1.5, 4.2)
        beside_2 = np.array(edge.interpolate(rng.random(), normalized=True).coords[0])
        tree = _tree(rng, beside_2 + rng.normal(0, 0.6, 2) * radius, radius)
        yield from _standing(street, covered, tree, 0.2)
    for lot_2 in street.lots()[:7]:
        if rng.random() < 0.4:
            yield from _row(rng, street, covered, lot_2)


def _row(rng: np.random.Generator, street: Street, covered: BaseGeometry, lot_2: np.ndarray) -> Iterator[Tree]:
    """Shrubs along the back of a lot."""
    count, size = int(rng.integers(4, 12)), rng.uniform(0.6, 1.3)
    start_2 = lot_2 + np.array([rng.uniform(-0.5, 0) * LOTS[0], -LOTS[1] / 2 + rng.normal(0, 0.5)])
    for place in range(count):
        middle_2 = street.point(start_2 + np.array([place * 1.3 * size, rng.normal(0, 0.2)]))
        yield from _standing(street, covered, _tree(rng, middle_2, size * rng.uniform(0.7, 1.2)), 1.0)


def _tree(rng: np.random.Generator, middle_2: np.ndarray, radius: float) -> Tree:
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    top = radius * rng.uniform(1.0, 1.6) if radius < 1.2 else rng.uniform(3, 5) + 1.2 * radius
    return Tree(middle_2, radius, top, kind, rng.random(), rng.uniform(0.02, 0.09, 5), rng.uniform(0, 2 * np.pi, 5))


def _standing(street: Street, covered: BaseGeometry, tree: Tree, clear: float) -> Iterator[Tree]:
    """The tree, unless it would stand on the street or nearer to a roof than `clear` times its radius."""
    on_street = abs(street.place(tree.middle_2)[1] - street.across) < 3.5
    if not on_street and covered.distance(shapely.Point(tree.middle_2)) >= clear * tree.radius:
        yield tree
