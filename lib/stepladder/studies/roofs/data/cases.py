"""Evaluation cases: whole images with everything that is known of them; of huge rasters, windows.

Decisions:
- An image of up to LARGEST pixels along each side is one case, whatever its size. A larger raster is cut to windows of
  WINDOW pixels, of which those with labels are scored.
- Lines are cut off at the border of the case: nobody can find an end that is not seen.
- What a source does not label is IGNORE, NaN-free 0 with a mask, or absent from `line_types_K`, as in training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stepladder.core.types import Sample
from stepladder.data.shards import Shard
from stepladder.studies.roofs.data import crops
from stepladder.studies.roofs.data.labels import CHANNELS, IGNORE, LINES, UNTYPED
from stepladder.studies.roofs.params import RoofsParams

LARGEST, WINDOW = 2048, 1024
SHORTEST = 1.0  # pixels: what is left of a line at the border and shorter is no line

Box = tuple[slice, slice]


class Cases:
    """The images of some shards, as the `Dataset` of the Study interface; sizes differ, so collate one at a time.

    Args:
        shards: paths of converted assets.
        params: of the run.
    """

    groups: np.ndarray
    clusters: np.ndarray
    weights: Mapping[str, float]

    def __init__(self, shards: Sequence[Path], params: RoofsParams):
        self.shards = [Shard(path) for path in shards]
        self.cases = [(shard, *case) for shard in self.shards for case in cases(shard)]
        self.groups = np.array([shard.attributes["group"] for shard, *_ in self.cases], dtype=str)
        self.clusters = np.array([shard.path.stem for shard, *_ in self.cases], dtype=str)
        self.weights = dict.fromkeys(self.groups.tolist(), 1.0)

    def __len__(self) -> int:
        return len(self.cases)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Case `index`; nothing is augmented, so `rng` is not used.

        Returns:
            image_CYX, superstructure_YX, face_YX, outline_YX, slope_GYX, rise_YX, rise_labelled_YX, height_YX,
            height_labelled_YX: as in `crops.Crops.sample`.
            face_id_YX: int32, number of the face, 0 none.
            focus_YX: uint8, 1 where evaluation counts.
            lines_LF: float32 (L, 5) x0, y0, x1, y1, type in pixels, within the case.
            line_labelled_YX: uint8, 1 where lines are labelled; line_types_K: uint8, 1 for types that are, last: any.
            gsd_m: float32 metres per pixel; north_up: whether bearings count from north; index: `index`.
        """
        shard, number, box = self.cases[index]
        classes = {f"{task}_YX": _map(shard, f"{task}_NYX", number, box, IGNORE) for task in crops.CLASSES}
        focus_YX = _map(shard, "focus_NYX", number, box, 1)
        return {
            "image_CYX": crops.normalised(shard.array("image_NYXC")[number][box]),
            **classes,
            "face_id_YX": _map(shard, "face_id_NYX", number, box, 0).astype(np.int32),
            "slope_GYX": _slope(shard, number, box),
            **_metres(shard, "rise", number, box),
            **_metres(shard, "height", number, box),
            "focus_YX": focus_YX,
            **_lines(shard, number, box),
            "gsd_m": np.float32(shard.attributes["gsd_m"]),
            "north_up": int(shard.attributes["north_up"]),
            "index": int(index),
        }


def cases(shard: Shard) -> list[tuple[int, Box]]:
    """Image and window of every case of a shard."""
    images, rows, columns = shard.array("image_NYXC").shape[:3]
    if max(rows, columns) <= LARGEST:
        return [(number, (slice(0, rows), slice(0, columns))) for number in range(images)]
    return [
        (number, (slice(y, min(y + WINDOW, rows)), slice(x, min(x + WINDOW, columns))))
        for number, y, x in crops.cells(shard, WINDOW).tolist()
    ]


def _map(shard: Shard, name: str, number: int, box: Box, absent: int) -> np.ndarray:
    """A map of a case; `absent` everywhere where the source does not give it."""
    if name in shard.names:
        return np.array(shard.array(name)[number][box])
    return np.full([part.stop - part.start for part in box], absent, np.uint8)


def _slope(shard: Shard, number: int, box: Box) -> np.ndarray:
    """(G, Y, X) float32."""
    if "slope_NYXG" not in shard.names:
        return np.zeros([2, *(part.stop - part.start for part in box)], np.float32)
    return np.ascontiguousarray(shard.array("slope_NYXG")[number][box].transpose(2, 0, 1).astype(np.float32))


def _metres(shard: Shard, task: str, number: int, box: Box) -> Sample:
    """Heights, 0 where they are not known, and where they are."""
    if f"{task}_NYX" not in shard.names:
        nothing_YX = np.zeros([part.stop - part.start for part in box], np.uint8)
        return {f"{task}_YX": nothing_YX.astype(np.float32), f"{task}_labelled_YX": nothing_YX}
    metres_YX = shard.array(f"{task}_NYX")[number][box].astype(np.float32)
    known_YX = np.isfinite(metres_YX)
    return {f"{task}_YX": np.where(known_YX, metres_YX, 0), f"{task}_labelled_YX": known_YX.astype(np.uint8)}


def _lines(shard: Shard, number: int, box: Box) -> Sample:
    """Lines within a case, where they are labelled, and which types are."""
    types_K = np.zeros(CHANNELS, np.uint8)
    if "lines_LF" not in shard.names:
        return {
            "lines_LF": np.zeros((0, 5), np.float32),
            "line_labelled_YX": _map(shard, "", number, box, 0),
            "line_types_K": types_K,
        }
    types_K[[*map(LINES.index, shard.attributes["line_types"]), UNTYPED]] = 1
    lines_LF = shard.array("lines_LF")
    lines_LF = lines_LF[lines_LF[:, 0] == number, 1:]
    return {
        "lines_LF": clipped(lines_LF, box),
        "line_labelled_YX": _map(shard, "line_labelled_NYX", number, box, 1),
        "line_types_K": types_K,
    }


def clipped(lines_L5: np.ndarray, box: Box) -> np.ndarray:
    """What of lines lies in a box, in its own coordinates (Liang and Barsky, 1984)."""
    (rows, columns), lines_L5 = box, np.array(lines_L5, np.float64)
    start_L2 = lines_L5[:, :2] - (columns.start, rows.start)
    along_L2 = lines_L5[:, 2:4] - lines_L5[:, :2]
    size_2 = np.array([columns.stop - columns.start, rows.stop - rows.start])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing_S_L2 = np.stack([-start_L2 / along_L2, (size_2 - start_L2) / along_L2])
    outside_L2 = (along_L2 == 0) & ((start_L2 < 0) | (start_L2 > size_2))
    still = along_L2 == 0
    enter_L = np.where(still, 0, crossing_S_L2.min(axis=0)).max(axis=1).clip(0, 1)
    leave_L = np.where(still, 1, crossing_S_L2.max(axis=0)).min(axis=1).clip(0, 1)
    long_L = (leave_L - enter_L) * np.hypot(*along_L2.T) >= SHORTEST
    kept_L = long_L & ~outside_L2.any(axis=1)
    ends = [start_L2 + share_L[:, None] * along_L2 for share_L in (enter_L, leave_L)]
    return np.column_stack([*ends, lines_L5[:, 4]])[kept_L].astype(np.float32)
