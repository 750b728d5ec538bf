"""Filling the plan of a town: what stands where.

Order matters: streets and river take their ground first, then the blocks with a special use, then houses along every
street, then hedges and trees in what is left. The random generator is drawn from in that order.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stepladder.studies.plateau.data.citygml import solids
from stepladder.studies.plateau.data.citygml.gml import Feature
from stepladder.studies.plateau.data.town import features as make
from stepladder.studies.plateau.data.town.ground import Ground
from stepladder.studies.plateau.data.town.plan import BANK_W, ROWS, WATER_W, Block, Plan, Street

LAND = {
    "houses": make.DWELLINGS, "flats": make.DWELLINGS, "school": make.PUBLIC, "shop": make.COMMERCE,
    "park": make.PARK, "shrine": make.PUBLIC, "paddy": make.PADDY,
}  # fmt: skip
ROOFS = (("gabled", 0.45), ("hipped", 0.3), ("flat", 0.15), ("shed", 0.1))


class Site:
    """One town under construction. `fine` says whether a map position lies in a tile of the better quality."""

    def __init__(self, plan: Plan, rng: np.random.Generator, fine: Callable[[np.ndarray], bool]):
        self.plan, self.rng, self.fine = plan, rng, fine
        self.made: list[Feature] = []
        lines = np.concatenate([street.line_N2 for street in plan.streets])
        self.ground = Ground(lines, margin=75.0)

    def features(self) -> list[Feature]:
        """Build the town, once."""
        self.streets()
        self.river()
        for block in self.plan.blocks:
            self.made.append(make.ground_use(self.plan.outline(block), LAND[block.use]))
            if block.use != "houses":
                getattr(self, block.use)(block)
        for rank in ("boulevard", "main", "lane"):
            for street in self.plan.streets:
                if street.rank == rank:
                    self.houses(street)
        self.trees()
        self.roadside()
        self.surroundings()
        return self.made

    # Streets and river

    def streets(self) -> None:
        """Roads, crossings and the bridge; LOD3 for main roads where the tile is of the better quality."""
        plan = self.plan
        for street in plan.streets:
            left, right = street.strip(street.width / 2 + 0.3, -street.width / 2 - 0.3)
            for i in range(len(left) - 1):
                self.ground.take(np.array([right[i], right[i + 1], left[i + 1], left[i]]), force=True)
            middle = street.line_N2.mean(axis=0)
            self.made.append(make.road(plan, street, 3 if street.rank != "lane" and self.fine(middle) else 1))
            if street.rank == "bridge":
                self.made.append(make.bridge(plan, street))
        major = {node for street in plan.streets if street.rank != "lane" for node in street.nodes}
        for node, outline in plan.crossings.items():
            self.ground.take(outline, force=True)
            lod = 3 if node in major and self.fine(outline.mean(axis=0)) else 1
            self.made.append(make.crossing(plan, outline, lod))

    def river(self) -> None:
        """The water, the ground it takes, and a fence along the near bank, open at the bridge."""
        plan = self.plan
        u = np.arange(-plan.half_width - 70, plan.half_width + 90, 20.0)
        far, south, near, north, rail = (
            plan.to_map(np.stack(np.broadcast_arrays(u, w), axis=-1))
            for w in (BANK_W[0], WATER_W[0], WATER_W[1], BANK_W[3], BANK_W[3] + 0.4)
        )
        self.made.append(make.river(plan, near, south))
        for i in range(len(u) - 1):
            self.ground.take(np.array([far[i], far[i + 1], north[i + 1], north[i]]), force=True)
        gap = np.linalg.norm(rail - plan.bridge, axis=1) < 26
        for piece in np.split(np.arange(len(u)), np.flatnonzero(np.diff(gap)) + 1):
            if len(piece) > 1 and not gap[piece[0]]:
                self.made.append(make.fence(rail[piece], plan.height(rail[piece])))

    # Blocks with a special use

    def slab(self, block: Block, a: float, b: float, width: float, depth: float) -> np.ndarray:
        """A rectangle at (a, b), shares of the block from west to east and south to north, along its streets."""
        south_west, south_east, north_east, north_west = self.plan.outline(block)[[0, 5, 10, 15]]
        centre = (1 - b) * ((1 - a) * south_west + a * south_east) + b * ((1 - a) * north_west + a * north_east)
        along = (1 - b) * (south_east - south_west) + b * (north_east - north_west)
        return solids.rectangle(centre, along / np.linalg.norm(along), width, depth)

    def length(self, block: Block) -> float:
        """Metres along the shorter of a block's southern and northern side."""
        south_west, south_east, north_east, north_west = self.plan.outline(block)[[0, 5, 10, 15]]
        return float(min(np.linalg.norm(south_east - south_west), np.linalg.norm(north_east - north_west)))

    def raise_building(
        self, outline: np.ndarray, eaves: float, ridge: float, roof: solids.Roof, usage: str, storeys: int, lod: int = 2
    ) -> Feature:
        """Raise a building on the lowest ground below its outline."""
        base = round(float(self.plan.height(outline).min()), 2)
        return make.building(outline, base, eaves, ridge, roof, usage, storeys, lod)

    def school(self, block: Block) -> None:
        """Three storeys along the northern side, a gymnasium, a yard with a fence and a row of trees."""
        width = 0.54 * self.length(block)
        self.made.append(
            self.raise_building(self.slab(block, 0.4, 0.74, width, 11), 11.4, 11.4, "flat", make.SCHOOL, 3)
        )
        self.made.append(self.raise_building(self.slab(block, 0.87, 0.5, 16, 21), 8.0, 10.5, "gabled", make.SCHOOL, 1))
        outline = self.plan.outline(block, 1.0)
        line = np.concatenate([outline, outline[:1]])
        self.made.append(make.fence(line, self.plan.height(line), 1.5))
        for a in np.linspace(0.06, 0.72, 8):
            self.plant(self.slab(block, a, 0.08, 1, 1).mean(axis=0), 7.0, 5.0, 1)
        self.reserve(block)

    def flats(self, block: Block) -> None:
        """Build three equal slabs of five storeys, all facing south."""
        width = min(35.0, 0.27 * self.length(block))
        for a in (0.17, 0.5, 0.83):
            outline = self.slab(block, a, 0.62, width, 10)
            self.made.append(self.raise_building(outline, 14.6, 14.6, "flat", make.FLATS, 5))
            self.shrubs(self.slab(block, a, 0.18, 0.7 * width, 2.0), 0.9)
        self.reserve(block)

    def shop(self, block: Block) -> None:
        """Build a convenience store behind its car park."""
        self.made.append(self.raise_building(self.slab(block, 0.5, 0.75, 24, 13), 4.8, 4.8, "flat", make.SHOP, 1))
        self.shrubs(self.slab(block, 0.5, 0.06, 20, 1.0), 0.8)
        self.reserve(block)

    def park(self, block: Block) -> None:
        """Plant a grove in a corner and trees around a lawn."""
        self.shrubs(self.slab(block, 0.2, 0.75, 16, 9), 6.0)
        for a, b in [(0.1 + 0.16 * k, 0.1) for k in range(6)] + [(0.9, 0.4), (0.9, 0.7)]:
            self.plant(self.slab(block, a, b, 1, 1).mean(axis=0), self.rng.uniform(6, 9), 4.6, 2)
        self.reserve(block)

    def shrine(self, block: Block) -> None:
        """Build a hall under a hipped roof, among tall trees."""
        self.made.append(self.raise_building(self.slab(block, 0.5, 0.7, 12, 10), 4.4, 8.4, "hipped", make.TEMPLE, 1))
        for a, b, width, depth in ((0.16, 0.5, 11, 24), (0.84, 0.5, 11, 24), (0.5, 0.97, 26, 3)):
            self.shrubs(self.slab(block, a, b, width, depth), 8.5)
        self.reserve(block)

    def paddy(self, block: Block) -> None:
        """Leave the block a paddy field: nothing is built or planted."""
        self.reserve(block)

    def reserve(self, block: Block) -> None:
        """Keep houses out of a block."""
        self.ground.take(self.plan.outline(block)[[0, 5, 10, 15]], force=True)

    def plant(self, spot: np.ndarray, height: float, crown: float, lod: int) -> None:
        """Plant a tree."""
        base = round(float(self.plan.height(spot[None])[0]), 2)
        self.made.append(make.tree(spot, base, float(height), crown, lod))

    def shrubs(self, outline: np.ndarray, height: float) -> None:
        """Plant a hedge, shrubbery or grove."""
        self.made.append(make.grove(outline, round(float(self.plan.height(outline).min()), 2), height))

    # Along the streets

    def houses(self, street: Street) -> None:
        """Lots on both sides: houses, some shops on main roads; fewer outside the ring road and in the country."""
        country = max(node[1] for node in street.nodes) < 0
        for side in (1, -1):
            share = 0.22 if country else 0.5 if side == self.outer(street) else 0.95
            for along, spot, lot in self.lots(street, 11.0, 14.5):
                if self.rng.random() < share:
                    front = side * np.array([-along[1], along[0]])
                    edge = spot + front * street.width / 2
                    if street.rank != "lane" and self.rng.random() < 0.35:
                        self.town_house(edge, along, front, lot)
                    else:
                        self.house(edge, along, front, lot)

    def lots(self, street: Street, least: float, most: float) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """(direction, point on the centre line, width) of successive lots along a street."""
        steps = np.linalg.norm(np.diff(street.line_N2, axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(steps)])
        start, lot = 1.0, self.rng.uniform(least, most)
        while start + lot < along[-1]:
            middle = start + lot / 2
            k = min(int(np.searchsorted(along, middle)) - 1, len(steps) - 1)
            direction = (street.line_N2[k + 1] - street.line_N2[k]) / steps[k]
            yield direction, street.line_N2[k] + (middle - along[k]) * direction, lot
            start, lot = start + lot, self.rng.uniform(least, most)

    def town_house(self, edge: np.ndarray, along: np.ndarray, front: np.ndarray, lot: float) -> None:
        """Two to four storeys of shops and flats close to a main road, if there is room.

        `edge` is the middle of the lot's border with the street, `front` points from there into the lot.
        """
        width, depth = min(lot - 1.6, self.rng.uniform(9.5, 13)), self.rng.uniform(9, 12)
        storeys = int(self.rng.integers(2, 5))
        centre = edge + front * (self.rng.uniform(0.9, 1.4) + depth / 2)
        outline = solids.rectangle(centre, along, width, depth)
        lod = self.lod(centre)
        if self.ground.take(outline, margin=1.0):
            tall = 3.3 * storeys + 0.6
            self.made.append(self.raise_building(outline, tall, tall, "flat", make.SHOP, storeys, lod))

    def house(self, edge: np.ndarray, along: np.ndarray, front: np.ndarray, lot: float) -> None:
        """A detached house of two storeys, if there is room; now and then with a garage, a hedge, a tree behind."""
        rng = self.rng
        width, depth = min(lot - rng.uniform(2.2, 3.5), 11.0), rng.uniform(7.0, 9.5)
        (eaves, slope), (garage, hedge, tree) = rng.uniform((5.4, 0.4), (6.2, 0.52)), rng.random(3) < 0.2
        roof: Any = str(rng.choice([name for name, _ in ROOFS], p=[share for _, share in ROOFS]))
        centre = edge + front * (rng.uniform(1.4, 3.2) + depth / 2)
        short, long = sorted((width, depth))
        outline = solids.rectangle(centre, along if width == long else front, long, short)
        lod = self.lod(centre)
        if not self.ground.take(outline, margin=1.0):
            return
        rise = {"flat": 0.0, "shed": 0.25 * short}.get(roof, slope * short / 2)
        home = self.raise_building(outline, eaves, eaves + rise, roof, make.HOUSE, 2, lod)
        beside = solids.rectangle(centre + along * (width / 2 + 1.4) - front * (depth / 2 - 2.6), along, 2.8, 5.2)
        if garage and lod == 2 and self.ground.take(beside, margin=-0.3):
            home = make.in_parts(home, self.raise_building(beside, 2.5, 2.5, "flat", make.HOUSE, 1))
        self.made.append(home)
        if hedge:
            self.hedge(edge + front * 0.75 + along * 0.2 * lot, along, 0.5 * lot)
        if tree:
            self.garden_tree(centre + front * (depth / 2 + 2.2))

    def lod(self, spot: np.ndarray) -> int:
        """Level of detail of a building there: LOD2 is more frequent in a tile of the better quality."""
        return 2 if self.rng.random() < (0.5 if self.fine(spot) else 0.4) else 1

    def hedge(self, spot: np.ndarray, along: np.ndarray, length: float) -> None:
        """Plant a hedge along the street, if there is room."""
        outline = solids.rectangle(spot, along, length, 0.5)
        if self.ground.take(outline, margin=-0.1):
            self.shrubs(outline, 1.3)

    def garden_tree(self, spot: np.ndarray) -> None:
        """Plant a tree, if there is room."""
        if self.ground.take(solids.rectangle(spot, np.array([1.0, 0.0]), 2.6, 2.6), margin=0.0):
            self.plant(spot, self.rng.uniform(4, 6), 3.2, 1)

    def trees(self) -> None:
        """Both sides of the boulevard; cherry trees between the river-side road and the river."""
        for street in self.plan.streets:
            river_side = street.nodes[0][1] == street.nodes[1][1] == 0
            if street.rank == "boulevard" or river_side:
                for along, spot, _ in self.lots(street, 13.5, 15.5):
                    left = np.array([-along[1], along[0]])
                    for offset in (-street.width / 2 - 1.2,) if river_side else (-3.95, 3.95):
                        place = spot + offset * left
                        lod = 2 if self.fine(place) and not river_side else 1
                        self.plant(place, self.rng.uniform(5.5, 7.5), 4.0, lod)

    def roadside(self) -> None:
        """Set utility poles along lanes and lights along main roads."""
        for street in self.plan.streets:
            lane = street.rank == "lane"
            for along, spot, _ in () if street.rank == "bridge" else self.lots(street, 28, 34):
                offset = street.width / 2 + (0.35 if lane else -0.4)
                place = spot + offset * np.array([-along[1], along[0]])
                base = round(float(self.plan.height(place[None])[0]), 2)
                self.made.append(make.pole(place, base, 10.0 if lane else 8.0, make.POLE if lane else make.LIGHT))

    # Around the town

    def outer(self, street: Street) -> int:
        """The side of a ring road that looks out of the town: 1 left, -1 right, 0 for any other street."""
        (i, j), (i_end, j_end) = street.nodes
        if i == i_end in (0, self.plan.columns):
            return 1 if i == 0 else -1
        return int(j == j_end == ROWS)

    def surroundings(self) -> None:
        """Fields outside the ring road, paddies on the south bank, and the terrain under all of it."""
        for street in self.plan.streets:
            out = self.outer(street)
            if out:
                near, far = street.strip(out * (street.width / 2 + 0.5), out * 30.0)
                self.made.append(make.ground_use(np.concatenate([near, far[::-1]])[::out], make.FIELD))
            elif max(node[1] for node in street.nodes) < 0:
                far, near = street.strip(-45.0, -street.width / 2 - 1.5)
                self.made.append(make.ground_use(np.concatenate([far, near[::-1]]), make.PADDY))
        self.made.append(make.terrain(self.plan, self.plan.relief()))
