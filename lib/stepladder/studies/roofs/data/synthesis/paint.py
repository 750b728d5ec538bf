"""Colours of everything in a scene as it would look in even light: materials of ground, roofs, their things, trees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from shapely import Polygon

from stepladder.studies.roofs.data.synthesis import edges
from stepladder.studies.roofs.data.synthesis.furniture import Item
from stepladder.studies.roofs.data.synthesis.plans import Building, Frame
from stepladder.studies.roofs.data.synthesis.raster import Canvas, Window, noise
from stepladder.studies.roofs.data.synthesis.site import Site
from stepladder.studies.roofs.data.synthesis.surface import Surface


@dataclass(frozen=True)
class Material:
    """A colour, how much its brightness differs from piece to piece, and how mottled it is: fine, medium, coarse."""

    colour: tuple[float, float, float]
    spread: float = 0.2
    mottle: tuple[float, float, float] = (0.04, 0.04, 0.04)


GROUND: Final[Mapping[str, Material]] = {
    "grass": Material((0.37, 0.42, 0.27), 0.25, (0.07, 0.05, 0.06)),
    "meadow": Material((0.43, 0.44, 0.31), 0.25, (0.09, 0.06, 0.07)),
    "gravel": Material((0.58, 0.56, 0.52), 0.2, (0.08, 0.03, 0.03)),
    "soil": Material((0.43, 0.38, 0.31), 0.25, (0.09, 0.06, 0.05)),
    "paving": Material((0.60, 0.59, 0.57), 0.3, (0.04, 0.02, 0.03)),
    "kerb": Material((0.66, 0.65, 0.63), 0.1),
    "asphalt": Material((0.50, 0.50, 0.50), 0.25, (0.03, 0.02, 0.03)),
    "marking": Material((0.85, 0.85, 0.83), 0.05),
    "clutter": Material((0.60, 0.56, 0.50), 1.0, (0.08, 0.05, 0.0)),
    "shed": Material((0.45, 0.36, 0.28), 0.5, (0.06, 0.02, 0.0)),
    "pool": Material((0.30, 0.55, 0.66), 0.2, (0.03, 0.03, 0.0)),
    "car": Material((0.55, 0.56, 0.58), 1.5, (0.02, 0.0, 0.0)),
    "red car": Material((0.60, 0.16, 0.13), 0.4, (0.02, 0.0, 0.0)),
    "blue car": Material((0.18, 0.28, 0.48), 0.4, (0.02, 0.0, 0.0)),
    "glass": Material((0.13, 0.15, 0.18), 0.1, (0.02, 0.0, 0.0)),
    "hedge": Material((0.24, 0.32, 0.17), 0.3, (0.16, 0.12, 0.05)),
}

TILES: Final = {  # colour -> how often
    (0.60, 0.33, 0.24): 22,
    (0.69, 0.42, 0.29): 14,
    (0.50, 0.29, 0.22): 16,
    (0.42, 0.30, 0.25): 12,
    (0.30, 0.30, 0.32): 18,
    (0.45, 0.44, 0.43): 10,
    (0.36, 0.33, 0.31): 8,
}
MEMBRANES: Final = ((0.58, 0.56, 0.53), (0.42, 0.42, 0.42), (0.70, 0.69, 0.67), (0.44, 0.45, 0.35))
CROWNS: Final = {
    "leaf": (0.30, 0.37, 0.19),
    "conifer": (0.20, 0.28, 0.19),
    "blossom": (0.72, 0.68, 0.63),
    "bare": (0.40, 0.36, 0.30),
}
TILE = (0.30, 0.36)  # metres of a tile across and up the face
TABLE = 4096  # brightnesses of single tiles


def colours(rng: np.random.Generator, site: Site, surface: Surface, canvas: Canvas) -> np.ndarray:
    """(Y, X, 3) float32 colours of a canvas without padding; `surface` has been cut to it."""
    brush = Brush(rng, canvas)
    brush.ground(site)
    for place, house in enumerate(site.houses):
        brush.roof(house, surface.face_YX, surface.owner_F == place)
        for item in site.items[place]:
            if item.kind in THINGS:
                THINGS[item.kind](brush, item)
    brush.crowns(site, surface.tree_YX)
    return brush.colour_YXC


class Brush:
    """A canvas being painted; the noise of all materials is drawn once."""

    def __init__(self, rng: np.random.Generator, canvas: Canvas) -> None:
        self.rng, self.canvas = rng, canvas
        self.colour_YXC = np.zeros((*canvas.shape, 3), np.float32)
        cells = (1.0, 0.5 / canvas.gsd, 3.0 / canvas.gsd)
        self.noise_3YX = np.stack([noise(rng, canvas.shape, cell) for cell in cells])
        self.hue_YX = noise(rng, canvas.shape, 2.0 / canvas.gsd)
        self.table = rng.standard_normal(TABLE).astype(np.float32)

    def material(self, name: str, tone: float) -> np.ndarray:
        """(Y, X, 3) the whole canvas in one material."""
        material = GROUND[name]
        grain_YX = np.tensordot(np.array(material.mottle, np.float32), self.noise_3YX, 1)
        colour_3 = np.array(material.colour, np.float32) * np.float32(1 + material.spread * (tone - 0.5))
        return (1 + grain_YX)[..., None] * colour_3

    def ground(self, site: Site) -> None:
        """Lawns first, everything on them after."""
        made: dict[str, np.ndarray] = {}
        self.colour_YXC[:] = self.material("grass", 0.5)
        for patch in site.patches:
            window, inside = self.canvas.fill(patch.polygon)
            if inside.any():
                if patch.material not in made:
                    made[patch.material] = self.material(patch.material, 0.5)
                lift = 1 + GROUND[patch.material].spread * (patch.tone - 0.5)
                self.colour_YXC[window][inside] = made[patch.material][window][inside] * np.float32(lift)
        warm_YX = 0.02 * self.hue_YX
        self.colour_YXC[..., 0] *= 1 + warm_YX
        self.colour_YXC[..., 2] *= 1 - warm_YX

    def roof(self, house: Building, face_YX: np.ndarray, own_F: np.ndarray) -> None:
        """Rows of tiles on what slopes, a membrane on what is flat, and the lines between."""
        first = int(np.argmax(own_F))
        tile_3 = self._tiles()
        membrane_3 = np.array(MEMBRANES[self.rng.integers(len(MEMBRANES))])
        for place, face in enumerate(house.faces, first):
            window, inside = self._seen(face_YX, place, face.polygon)
            if not inside.any():
                continue
            x, y = (np.broadcast_to(axis, inside.shape)[inside] for axis in self.canvas.metres(window))
            grain_N = self.noise_3YX[:, window[0], window[1]][:, inside]
            if face.pitch < 12:
                colour_N3 = membrane_3 * (1 + np.array([0.03, 0.03, 0.06]) @ grain_N)[:, None]
            else:
                uv_N2 = Frame.of(face).place(np.column_stack([x, y]))
                colour_N3 = self._tiled(tile_3, uv_N2, float(np.cos(np.radians(face.pitch))), grain_N)
            self.colour_YXC[window][inside] = colour_N3
        self._caps(house, tile_3)

    def _seen(self, face_YX: np.ndarray, place: int, polygon: Polygon) -> tuple[Window, np.ndarray]:
        window = self.canvas.window(shapely.get_coordinates(polygon))
        return window, face_YX[window] == place

    def _tiles(self) -> np.ndarray:
        share = np.array(list(TILES.values()), float)
        colour_3 = np.array(list(TILES))[self.rng.choice(len(TILES), p=share / share.sum())]
        return colour_3 * self.rng.uniform(0.88, 1.1) * (1 + self.rng.normal(0, 0.02, 3))

    def _tiled(self, colour_3: np.ndarray, uv_N2: np.ndarray, lean: float, grain_3N: np.ndarray) -> np.ndarray:
        """(N, 3) rows of tiles up the face, each tile of its own brightness, and weather."""
        across, up = TILE[0], TILE[1] * lean
        row_N, in_row_N = np.divmod(uv_N2[:, 1] / up, 1)
        column_N, in_tile_N = np.divmod(uv_N2[:, 0] / across + 0.5 * (row_N % 2), 1)
        key_N = (row_N.astype(int) * 73856093 ^ column_N.astype(int) * 19349663) % TABLE
        sharp = min(1.0, up / (4 * self.canvas.gsd))  # rows finer than pixels are not seen
        relief_N = 0.10 * sharp * (in_row_N - 0.5) + 0.06 * sharp * np.cos(2 * np.pi * in_tile_N)
        bright_N = 1 + relief_N + 0.05 * self.table[key_N] + np.array([0.02, 0.03, 0.06]) @ grain_3N
        return colour_3 * bright_N[:, None]

    def _caps(self, house: Building, tile_3: np.ndarray) -> None:
        """Tiles along ridges and hips, metal in valleys and gutters, boards along gables."""
        metal_3 = np.array([0.40, 0.39, 0.38]) * self.rng.uniform(0.7, 1.2)
        cap_3 = tile_3 * self.rng.choice([0.8, 1.2, 1.35])
        looks = {
            edges.RIDGE: (cap_3, 0.26, 0.8),
            edges.HIP: (cap_3, 0.26, 0.8),
            edges.VALLEY: (metal_3, 0.25, 0.7),
            edges.EAVE: (metal_3, 0.16, 0.8),
            edges.GABLE: (cap_3, 0.14, 0.6),
            edges.HEIGHT_BREAK: (metal_3, 0.12, 0.7),
        }
        for line in house.lines:
            colour_3, width, opacity = looks[line.kind]
            if house.faces[line.face].pitch < 12 and line.kind == edges.EAVE:
                colour_3, width = metal_3 * 1.4, 0.3  # the wall that stands around a flat roof
            window, distance = self.canvas.distance(line.start_2, line.end_2, width + self.canvas.gsd)
            self.blend(window, opacity * self.edge(width / 2 - distance), colour_3)

    def edge(self, inside_m: np.ndarray) -> np.ndarray:
        """Cover of pixels whose middles lie `inside_m` metres inside something."""
        return (inside_m / self.canvas.gsd + 0.5).clip(0, 1)

    def blend(self, window: Window, cover_YX: np.ndarray, colour_3: np.ndarray) -> None:
        """Paint with a cover of 0 to 1."""
        part_YXC = self.colour_YXC[window]
        part_YXC += cover_YX[..., None].astype(np.float32) * (np.asarray(colour_3, np.float32) - part_YXC)

    def inside(self, item: Item) -> tuple[Window, np.ndarray, np.ndarray, np.ndarray]:
        """Window and mask of an item, and u, v of the window's pixels from its corner."""
        window, inside = self.canvas.fill(item.polygon)
        x, y = self.canvas.metres(window)
        u = x * item.frame.along_2[0] + y * item.frame.along_2[1] - item.origin_2[0]
        v = x * item.frame.up_2[0] + y * item.frame.up_2[1] - item.origin_2[1]
        return window, inside, u, v

    def modules(self, item: Item) -> None:
        """Dark panes with light gaps."""
        window, inside, u, v = self.inside(item)
        glass_3 = np.array([[0.11, 0.14, 0.24], [0.09, 0.10, 0.13], [0.15, 0.20, 0.33]][int(item.tone * 2.99)])
        self.blend(window, inside * 1.0, glass_3)
        for place, cell in ((u, item.cell_2[0]), (v, item.cell_2[1])):
            gap = np.abs((place / cell + 0.5) % 1 - 0.5) * cell
            self.blend(window, inside * 0.55 * self.edge(0.03 - gap), np.array([0.55, 0.57, 0.60]))

    def pane(self, item: Item) -> None:
        """A roof window: a frame, and glass that is dark or shows the sky."""
        window, inside, u, v = self.inside(item)
        sky = item.tone > 0.75
        self.blend(window, inside * 0.9, np.array([0.36, 0.35, 0.34]))
        size_2 = np.ptp(item.frame.place(np.array(item.polygon.exterior.coords)), axis=0)
        within = np.minimum(np.minimum(u, size_2[0] - u), np.minimum(v, size_2[1] - v)) - 0.1
        self.blend(window, self.edge(within), np.array([0.62, 0.66, 0.70] if sky else [0.15, 0.17, 0.20]))

    def stack(self, item: Item) -> None:
        """A chimney: its head, and the dark of its flue."""
        window, inside, u, v = self.inside(item)
        head_3 = np.array([[0.48, 0.30, 0.24], [0.52, 0.50, 0.48], [0.30, 0.30, 0.31]][int(item.tone * 2.99)])
        self.blend(window, inside * 1.0, head_3)
        size_2 = np.ptp(item.frame.place(np.array(item.polygon.exterior.coords)), axis=0)
        flue = np.hypot(u - size_2[0] / 2, v - size_2[1] / 2)
        self.blend(window, self.edge(0.14 - flue), np.array([0.08, 0.08, 0.08]))

    def rungs(self, item: Item) -> None:
        """A ladder or a step of a sweep: bars with roof between."""
        window, inside, _, v = self.inside(item)
        bar = np.abs((v / 0.3 + 0.5) % 1 - 0.5) * 0.3
        metal_3 = np.array([0.62, 0.60, 0.57]) * (0.6 + 0.5 * item.tone)
        self.blend(window, inside * (0.45 + 0.5 * self.edge(0.05 - bar)), metal_3)

    def vent(self, item: Item) -> None:
        """A pipe, a dish, a hatch."""
        window, inside, *_ = self.inside(item)
        self.blend(window, inside * 0.95, np.array([0.60, 0.59, 0.57]) * (0.35 + item.tone))

    def crowns(self, site: Site, tree_YX: np.ndarray) -> None:
        """Trees over everything."""
        if not site.trees:
            return
        colour_T3 = np.array([np.array(CROWNS[tree.kind]) * (0.8 + 0.45 * tree.tone) for tree in site.trees])
        seen_YX = tree_YX >= 0
        grain_N = 1 + np.array([0.10, 0.08, 0.05]) @ self.noise_3YX[:, seen_YX]
        self.colour_YXC[seen_YX] = colour_T3[tree_YX[seen_YX]] * grain_N[:, None]


THINGS: Final = {
    "pvmodule": Brush.modules,
    "window": Brush.pane,
    "chimney": Brush.stack,
    "ladder": Brush.rungs,
    "unknown": Brush.vent,
}
