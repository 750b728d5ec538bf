"""What lies on both sides of lines, and how regions hang together: the measurements `sanity` judges labels by."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import cast

import numpy as np
from scipy import ndimage

from stepladder.data.shards import Shard
from stepladder.studies.roofs.data.cases import Box, clipped
from stepladder.studies.roofs.data.interest import BLOCK
from stepladder.studies.roofs.data.labels import FLAT, LINES, NO_FACE

LARGEST = 2048  # pixels of a raster that are looked at along each side
ASIDE_M = 0.8  # metres from a line at which both its sides are looked at
LEAST_PX = 3.0  # but at least so many pixels, which is where strokes of a few pixels end
SHORTEST_M = 2.0  # metres of a line that is looked at
PLACES = (0.25, 0.5, 0.75)  # along it
BUILT = 0.2  # of the 99th percentile of heights, above which something is a roof where nothing else tells


@dataclass(frozen=True)
class View:
    """One image of a shard; of a huge raster the part where most roofs are."""

    shard: Shard
    number: int

    @cached_property
    def box(self) -> Box:
        """Rows and columns looked at."""
        rows, columns = self.shard.array("image_NYXC").shape[1:3]
        corner = (0, 0) if max(rows, columns) <= LARGEST else _busiest(self.shard.array("interest_NVU")[self.number])
        y, x = (min(start, max(length - LARGEST, 0)) for start, length in zip(corner, (rows, columns), strict=True))
        return slice(y, min(y + LARGEST, rows)), slice(x, min(x + LARGEST, columns))

    def map(self, task: str) -> np.ndarray | None:
        """The label `<task>_NYX`; None where the source does not give it."""
        name = f"{task}_NYX"
        return self.shard.array(name)[self.number][self.box] if name in self.shard.names else None

    @cached_property
    def slope_YXG(self) -> np.ndarray | None:
        """Rise over run towards right and up on the way down; None where the source does not give it."""
        name = "slope_NYXG"
        return self.shard.array(name)[self.number][self.box].astype(np.float32) if name in self.shard.names else None

    @cached_property
    def lines_L5(self) -> np.ndarray | None:
        """Lines within the box, in its pixels; None where the source does not label any."""
        if "lines_LF" not in self.shard.names:
            return None
        lines_LF = self.shard.array("lines_LF")
        return clipped(lines_LF[lines_LF[:, 0] == self.number, 1:], self.box)

    @property
    def gsd_m(self) -> float:
        """Metres per pixel."""
        return float(self.shard.attributes["gsd_m"])

    @property
    def line_types(self) -> Sequence[str]:
        """The types of lines that the source labels."""
        return self.shard.attributes["line_types"]

    @cached_property
    def roof_YX(self) -> np.ndarray | None:
        """Where a roof is, by the first of outline, faces, rise and height that is given."""
        if (outline_YX := self.map("outline")) is not None:
            return outline_YX == 1
        if (face_YX := self.map("face")) is not None:
            return face_YX < NO_FACE
        if (rise_YX := self.map("rise")) is not None:
            return np.isfinite(rise_YX)
        return (
            None if (height_YX := self.map("height")) is None else height_YX > BUILT * np.nanpercentile(height_YX, 99)
        )

    @cached_property
    def metres_YX(self) -> np.ndarray | None:
        """Height, or else rise."""
        height_YX = self.map("height")
        metres_YX = self.map("rise") if height_YX is None else height_YX
        return None if metres_YX is None else metres_YX.astype(np.float32)

    @cached_property
    def probes(self) -> "Probes":
        """Places beside its lines."""
        return _beside(self)


@dataclass(frozen=True)
class Probes:
    """Places beside lines: type of the line, whether roof is on its two sides, and whether it is a crest.

    `crest_P` is above 0 where the roof falls away on both sides together, below 0 where it falls towards the line, NaN
    where that is not known.
    """

    kind_P: np.ndarray
    roof_P2: np.ndarray
    crest_P: np.ndarray
    inner_rise_P: np.ndarray  # metres of rise on the side that is roof, where one is

    def of(self, name: str) -> "Probes":
        """Those of lines of one type."""
        own_P = self.kind_P == LINES.index(name)
        return Probes(self.kind_P[own_P], self.roof_P2[own_P], self.crest_P[own_P], self.inner_rise_P[own_P])


def probed(views: Sequence[View]) -> Probes:
    """Places beside all lines of some images whose roofs are known."""
    empty = Probes(np.zeros(0), np.zeros((0, 2), bool), np.zeros(0), np.zeros(0))
    whole = [empty, *(view.probes for view in views if view.lines_L5 is not None and view.roof_YX is not None)]
    names = [f.name for f in fields(Probes)]
    return Probes(*(np.concatenate([getattr(one, name) for one in whole]) for name in names))


def islands(mask_YX: np.ndarray) -> int:
    """Regions of a mask that do not touch the border of the image; pixels that touch at a corner hang together."""
    region_YX, count = cast("tuple[np.ndarray, int]", ndimage.label(mask_YX, np.ones((3, 3))))
    rim = np.concatenate([region_YX[0], region_YX[-1], region_YX[:, 0], region_YX[:, -1]])
    return count - len(np.unique(rim[rim > 0]))


def climb(view: View) -> np.ndarray:
    """(N,) inside faces that fall: how steeply heights climb as a share of the slope, 1 where both are right."""
    metres_YX, slope_YXG, face_YX = view.metres_YX, view.slope_YXG, view.map("face")
    if metres_YX is None or slope_YXG is None or face_YX is None:
        return np.zeros(0)
    down_YX, right_YX = np.gradient(metres_YX, view.gsd_m)
    centre, around = face_YX[1:-1, 1:-1], (face_YX[1:-1, :-2], face_YX[1:-1, 2:], face_YX[:-2, 1:-1], face_YX[2:, 1:-1])
    inside_YX = (centre < FLAT) & np.all([other == centre for other in around], axis=0)
    fall_NG = np.stack([-right_YX, down_YX], axis=2)[1:-1, 1:-1][inside_YX]
    slope_NG = slope_YXG[1:-1, 1:-1][inside_YX]
    return (fall_NG * slope_NG).sum(axis=1) / (slope_NG**2).sum(axis=1)


def _busiest(interest_VU: np.ndarray) -> tuple[int, int]:
    """Corner of the part of a raster that shows most roofs, on a grid of half its size."""
    step = LARGEST // 2 // BLOCK
    corners = [(v, u) for v in range(0, len(interest_VU), step) for u in range(0, interest_VU.shape[1], step)]
    v, u = max(corners, key=lambda c: int(interest_VU[c[0] : c[0] + 2 * step, c[1] : c[1] + 2 * step].sum()))
    return v * BLOCK, u * BLOCK


def _beside(view: View) -> Probes:
    """Probes of one image."""
    lines_L5, roof_YX = view.lines_L5, view.roof_YX
    assert lines_L5 is not None and roof_YX is not None
    along_L2 = lines_L5[:, 2:4] - lines_L5[:, :2]
    length_L = np.hypot(*along_L2.T)
    long_L = length_L * view.gsd_m >= SHORTEST_M
    lines_L5, along_L2, length_L = lines_L5[long_L], along_L2[long_L], length_L[long_L]
    normal_L2 = np.column_stack([along_L2[:, 1], -along_L2[:, 0]]) / length_L[:, None]
    aside = max(ASIDE_M / view.gsd_m, LEAST_PX)
    middle_P2 = np.concatenate([lines_L5[:, :2] + share * along_L2 for share in PLACES])
    normal_P2, kind_P = np.tile(normal_L2, (len(PLACES), 1)), np.tile(lines_L5[:, 4], len(PLACES))
    sides = [middle_P2 - aside * normal_P2, middle_P2 + aside * normal_P2]
    inside_P = np.all([_inside(point_P2, roof_YX.shape) for point_P2 in sides], axis=0)
    middle_P2, normal_P2, kind_P = middle_P2[inside_P], normal_P2[inside_P], kind_P[inside_P]
    sides = [point_P2[inside_P] for point_P2 in sides]
    roof_P2 = np.stack([_at(roof_YX, point_P2) for point_P2 in sides], axis=1)
    return Probes(
        kind_P, roof_P2, _crest(view, middle_P2, normal_P2, sides, roof_P2), _inner_rise(view, sides, roof_P2)
    )


def _crest(
    view: View, middle_P2: np.ndarray, normal_P2: np.ndarray, sides: Sequence[np.ndarray], roof_P2: np.ndarray
) -> np.ndarray:
    """By slopes, or else by heights: above 0 where both sides fall away together; NaN where a side is no roof."""
    if view.slope_YXG is not None:
        downs = [_at(view.slope_YXG, point_P2) * (1, -1) for point_P2 in sides]
        crest_P = ((downs[1] - downs[0]) * normal_P2).sum(axis=1)
    elif view.metres_YX is not None:
        low, top, high = (_at(view.metres_YX, point_P2) for point_P2 in (sides[0], middle_P2, sides[1]))
        crest_P = 2 * top - low - high
    else:
        crest_P = np.full(len(middle_P2), np.nan)
    return np.where(roof_P2.all(axis=1), crest_P, np.nan)


def _inner_rise(view: View, sides: Sequence[np.ndarray], roof_P2: np.ndarray) -> np.ndarray:
    """Rise on the one side that is roof; NaN where none or both are."""
    rise_YX = view.map("rise")
    if rise_YX is None:
        return np.full(len(roof_P2), np.nan)
    rise_P2 = np.stack([_at(rise_YX, point_P2) for point_P2 in sides], axis=1).astype(np.float32)
    return np.where(roof_P2.sum(axis=1) == 1, np.where(roof_P2[:, 0], rise_P2[:, 0], rise_P2[:, 1]), np.nan)


def _inside(point_P2: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.all((point_P2 >= 0) & (point_P2 < (shape[1], shape[0])), axis=1)


def _at(map_YX: np.ndarray, point_P2: np.ndarray) -> np.ndarray:
    """Values of a map at points inside it."""
    x_P, y_P = np.floor(point_P2).astype(int).T
    return map_YX[y_P, x_P]
