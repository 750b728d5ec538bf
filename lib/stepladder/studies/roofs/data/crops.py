"""Training crops: squares cut out of mapped images with every label a source gives, turned and resized as one.

Decisions:
- Plain samples are the cells of a fixed tiling that show a roof, so validation sees the same places every time. In
  training a cell only says about where: the corner is drawn within half a crop around it.
- A crop is a square window of whole pixels, resized to `model.crop`. Its scale is then exact, for `model.gsd` and for
  the random changes of size alike: a point (x, y) of the image lies at ((x - x0) z, (y - y0) z). Ground per pixel
  changes with it; heights and slopes do not.
- Turning a crop turns what its labels say: bearings and slopes count from the image's top, where north was.
- Targets of lines are computed from the vectors after all that, at the middles of the cells: exact at every scale and
  angle, with lines that end just outside. Beside a line of unknown type nothing is claimed of types.
- Every sample has the same names and shapes. What a source does not label, and what lies beyond the image, is
  IGNORE in maps of classes and 0 in the masks `..._labelled_...`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch.nn.functional import interpolate

from stepladder.core.types import Box, Sample
from stepladder.data.shards import Shard
from stepladder.studies.roofs.data import targets
from stepladder.studies.roofs.data.interest import BLOCK
from stepladder.studies.roofs.data.labels import IGNORE, LINES, STRIDE, UNTYPED
from stepladder.studies.roofs.data.turns import AS_IT_IS, Turn
from stepladder.studies.roofs.params import RoofsParams

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
GAIN, SHIFT, TINT = 0.2, 0.1, 0.06  # largest change of contrast and of brightness, and of each colour's contrast
CLASSES = ("superstructure", "face", "outline")
HEIGHTS = ("rise", "height")


@dataclass(frozen=True)
class Window:
    """A square of an image and how it becomes a crop: `side` pixels from corner `x`, `y`, resized to `crop`, turned.

    It may reach beyond the image.
    """

    number: int
    x: int
    y: int
    side: int
    crop: int
    turn: Turn = AS_IT_IS

    @property
    def zoom(self) -> float:
        """Pixels of the crop per pixel of the image."""
        return self.crop / self.side

    def places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row (Y, 1) and column (1, X) of the image's pixel nearest to each of the crop's; (Y, X) those outside."""
        offset_C = (np.arange(self.crop) * 2 + 1) * self.side // (2 * self.crop)
        row_Y1, column_1X = (offset_C + self.y)[:, None], (offset_C + self.x)[None, :]
        outside_YX = (row_Y1 < 0) | (row_Y1 >= shape[0]) | (column_1X < 0) | (column_1X >= shape[1])
        return row_Y1.clip(0, shape[0] - 1), column_1X.clip(0, shape[1] - 1), outside_YX

    def of_points(self, point_P2: np.ndarray) -> np.ndarray:
        """Where points of the image, x and y, lie in the crop."""
        return self.turn.of_points((point_P2 - (self.x, self.y)) * self.zoom, self.crop)


class Crops:
    """The crops of some shards, as the `Dataset` of the Study interface.

    Args:
        shards: paths of converted assets.
        params: of the run; `crop`, `gsd`, `augment` and `scale` are read from `model`.
        keep_clear: regions of other splits' images, in metres: images that come nearer than `splits.buffer` are left
            out, because they show the same ground.
    """

    groups: np.ndarray
    clusters: np.ndarray
    weights: Mapping[str, float]

    def __init__(self, shards: Sequence[Path], params: RoofsParams, keep_clear: Sequence[Box] = ()):
        self.model = params.model
        opened = [Shard(path) for path in shards]
        self.shards = [shard for shard in opened if is_clear(shard, keep_clear, params.splits.buffer)]
        found = [cells(shard, self._side(shard)) for shard in self.shards]
        shard_W = np.repeat(np.arange(len(found)), [len(cell_W3) for cell_W3 in found])
        self.cell_W4 = np.column_stack([shard_W, np.concatenate([np.zeros((0, 3), np.int64), *found])])
        self.groups = np.array([self.shards[shard].attributes["group"] for shard in shard_W], dtype=str)
        self.clusters = np.array([self.shards[shard].path.stem for shard in shard_W], dtype=str)
        names, counts = np.unique(self.groups, return_counts=True)
        self.weights = dict(zip(names.tolist(), (counts / counts.sum()).tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.cell_W4)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Cell `index`; with `rng` a square near it, turned, resized and changed a little in colour.

        Returns:
            image_CYX: float32, colours by the mean and deviation of ImageNet.
            superstructure_YX, face_YX, outline_YX: uint8 as in `labels`, IGNORE where not labelled.
            slope_GYX: float32, rise over run towards right and up on the way down.
            rise_YX, height_YX: float32 metres; rise_labelled_YX, height_labelled_YX: uint8, 1 where they are known.
            closeness_KVU, direction_DVU, junction_VU: float32, see `targets`.
            line_labelled_KVU: uint8, 1 where the source says whether there is a line of the type.
            gsd_m: float32, metres of ground per pixel of the crop.
            index: `index`.
        """
        place, number, y, x = self.cell_W4[index].tolist()
        shard, dice = self.shards[place], rng if self.model.augment else None
        window = self._window(shard, number, y, x, rng, dice)
        return {
            "image_CYX": _image(shard, window, dice),
            **_maps(shard, window),
            **_lines(shard, window),
            "gsd_m": np.float32(shard.attributes["gsd_m"] / window.zoom),
            "index": int(index),
        }

    def _side(self, shard: Shard, scale: float = 1.0) -> int:
        """Pixels of a shard's images that make a crop; `scale` above 1 shows things larger."""
        zoom = scale * (shard.attributes["gsd_m"] / self.model.gsd if self.model.gsd else 1.0)
        return max(round(self.model.crop / zoom), 1)

    def _window(
        self, shard: Shard, number: int, y: int, x: int, rng: Generator | None, dice: Generator | None
    ) -> Window:
        """The window of a cell; with `rng` moved, with `dice` also resized and turned."""
        side = self._side(shard)
        if dice is not None:
            side = self._side(shard, float(np.exp(dice.uniform(-1, 1) * np.log1p(self.model.scale))))
        if rng is not None:
            rows, columns = shard.array("image_NYXC").shape[1:3]
            y, x = _moved(y, side, rows, rng), _moved(x, side, columns, rng)
        turn = Turn.drawn(dice) if dice is not None else AS_IT_IS
        return Window(number, x, y, side, self.model.crop, turn)


def is_clear(shard: Shard, keep_clear: Sequence[Box], buffer: float) -> bool:
    """Whether an image keeps `buffer` metres from all of some regions; one whose place is not known does."""
    if (region := shard.attributes.get("region")) is None:
        return True
    x0, y0, x1, y1 = region
    return not any(
        x0 < right + buffer and left - buffer < x1 and y0 < top + buffer and bottom - buffer < y1
        for left, bottom, right, top in keep_clear
    )


def cells(shard: Shard, side: int) -> np.ndarray:
    """(W, 3) image, y, x of the squares of a tiling that show a roof; without any, those with labels; else all."""
    interest_NVU = shard.array("interest_NVU")
    crops, rows, columns = shard.array("image_NYXC").shape[:3]
    cell_W3 = np.array(list(product(range(crops), starts(rows, side), starts(columns, side))))
    value_W = np.array([_interest(interest_NVU[number], y, x, side) for number, y, x in cell_W3.tolist()])
    return cell_W3[value_W == value_W.max()]


def starts(length: int, side: int) -> list[int]:
    """Corners of a tiling of one axis; the last cell is moved back to end at the edge, a short axis has one cell."""
    return [*range(0, length - side, side), max(length - side, 0)]


def _interest(interest_VU: np.ndarray, y: int, x: int, side: int) -> int:
    """The highest interest of the blocks that a cell touches."""
    v, u = (slice(start // BLOCK, -(-(start + side) // BLOCK)) for start in (y, x))
    return int(interest_VU[v, u].max())


def _moved(start: int, side: int, length: int, rng: Generator) -> int:
    """A corner up to half a side away, in the image; an image that is smaller comes to lie anywhere in the square."""
    low, high = sorted((0, length - side))
    return int(np.clip(start + rng.integers(-(side // 2), side // 2 + 1), low, high))


def _image(shard: Shard, window: Window, dice: Generator | None) -> np.ndarray:
    """(C, Y, X) float32 colours of a window; beyond the image the mean of ImageNet."""
    image_YXC = shard.array("image_NYXC")[window.number]
    rows, columns = image_YXC.shape[:2]
    full_YXC = np.empty((window.side, window.side, 3), np.float32)
    full_YXC[:] = IMAGENET_MEAN * 255
    y0, x0 = max(window.y, 0), max(window.x, 0)
    y1, x1 = min(window.y + window.side, rows), min(window.x + window.side, columns)
    full_YXC[y0 - window.y : y1 - window.y, x0 - window.x : x1 - window.x] = image_YXC[y0:y1, x0:x1]
    gain_C, shift_C = _colours(dice)
    full_CYX = np.ascontiguousarray(window.turn.of_map(full_YXC).transpose(2, 0, 1))
    if window.side != window.crop:
        full_CYX = _resized(full_CYX, window.crop)
    full_CYX *= (gain_C / (255 * IMAGENET_STD))[:, None, None]
    full_CYX += ((shift_C - IMAGENET_MEAN) / IMAGENET_STD)[:, None, None]
    return full_CYX


def normalised(image_YXC: np.ndarray) -> np.ndarray:
    """(C, Y, X) float32 of bytes, by the mean and deviation of ImageNet."""
    image_CYX = image_YXC.transpose(2, 0, 1).astype(np.float32, order="C")
    image_CYX /= (255 * IMAGENET_STD)[:, None, None]
    image_CYX -= (IMAGENET_MEAN / IMAGENET_STD)[:, None, None]
    return image_CYX


def _resized(image_CYX: np.ndarray, side: int) -> np.ndarray:
    """Bilinear, smoothed where it shrinks."""
    batch_BCYX = torch.from_numpy(image_CYX)[None]
    return interpolate(batch_BCYX, (side, side), mode="bilinear", antialias=True)[0].numpy()


def _colours(dice: Generator | None) -> tuple[np.ndarray, np.ndarray]:
    """(C,) factor and summand of every colour of 0 .. 1: contrast and brightness of all, and a tint."""
    if dice is None:
        return np.ones(3, np.float32), np.zeros(3, np.float32)
    gain_C = 1 + dice.uniform(-GAIN, GAIN) + dice.uniform(-TINT, TINT, 3)
    return gain_C.astype(np.float32), np.full(3, dice.uniform(-SHIFT, SHIFT), np.float32)


def _maps(shard: Shard, window: Window) -> Sample:
    """Classes, slopes and heights of a window."""
    places = window.places(shard.array("image_NYXC").shape[1:3])

    def cut(name: str, absent: float, kind: type) -> np.ndarray:
        return _cut(shard, name, window, places, absent, kind)

    maps: Sample = {f"{task}_YX": cut(f"{task}_NYX", IGNORE, np.uint8) for task in CLASSES}
    maps["face_YX"] = window.turn.of_faces(maps["face_YX"])
    slope_YXG = cut("slope_NYXG", 0, np.float32)
    maps["slope_GYX"] = np.ascontiguousarray(window.turn.of_slopes(slope_YXG).transpose(2, 0, 1))
    for task in HEIGHTS:
        metres_YX = cut(f"{task}_NYX", np.nan, np.float32)
        known_YX = np.isfinite(metres_YX)
        maps[f"{task}_YX"] = np.where(known_YX, metres_YX, np.float32(0))
        maps[f"{task}_labelled_YX"] = known_YX.astype(np.uint8)
    return maps


def _cut(
    shard: Shard,
    name: str,
    window: Window,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    absent: float,
    kind: type,
) -> np.ndarray:
    """A label at the pixels of a crop, turned; `absent` beyond the image and where the source does not give it."""
    row_Y1, column_1X, outside_YX = places
    if name not in shard.names:
        more = (2,) if name.endswith("G") else ()
        return np.full((window.crop, window.crop, *more), absent, kind)
    label_YXZ = shard.array(name)[window.number][row_Y1, column_1X].astype(kind)
    label_YXZ[outside_YX] = absent
    return np.ascontiguousarray(window.turn.of_map(label_YXZ))


def _lines(shard: Shard, window: Window) -> Sample:
    """Targets of lines, and of which types something is said where."""
    if "lines_LF" not in shard.names:
        maps = targets.line_maps(np.zeros((0, 5)), window.crop)
        return {**maps, "line_labelled_KVU": np.zeros(maps["closeness_KVU"].shape, np.uint8)}
    lines_L5 = lines_of(shard, window)
    maps = targets.line_maps(lines_L5, window.crop)
    labelled_KVU = np.zeros(maps["closeness_KVU"].shape, np.uint8)
    labelled_KVU[[*map(LINES.index, shard.attributes["line_types"]), UNTYPED]] = _line_labelled(shard, window)
    untyped_L5 = lines_L5[lines_L5[:, 4] == UNTYPED]
    if len(untyped_L5):
        labelled_KVU[:UNTYPED] &= targets.line_maps(untyped_L5, window.crop)["closeness_KVU"][UNTYPED] == 0
    return {**maps, "line_labelled_KVU": labelled_KVU}


def lines_of(shard: Shard, window: Window) -> np.ndarray:
    """(L, 5) x0, y0, x1, y1, type of the lines of a window's image, in pixels of the crop."""
    lines_LF = shard.array("lines_LF")
    lines_LF = lines_LF[lines_LF[:, 0] == window.number]
    ends_L22 = window.of_points(lines_LF[:, 1:5].reshape(-1, 2, 2).astype(np.float64))
    return np.column_stack([ends_L22.reshape(-1, 4), lines_LF[:, 5]])


def _line_labelled(shard: Shard, window: Window) -> np.ndarray:
    """(V, U) uint8: whether lines are labelled at the middles of cells; never beyond the image."""
    row_Y1, column_1X, outside_YX = window.places(shard.array("image_NYXC").shape[1:3])
    middle = slice(STRIDE // 2, None, STRIDE)
    labelled_VU = (~outside_YX[middle, middle]).astype(np.uint8)
    if "line_labelled_NYX" in shard.names:
        labelled_VU &= shard.array("line_labelled_NYX")[window.number][row_Y1[middle], column_1X[:, middle]] == 1
    return window.turn.of_map(labelled_VU)
