"""A hip roof and a gable roof drawn by hand, turned out of the axes, with everything known: for tests of data."""

from pathlib import Path

import numpy as np
from shapely import Polygon, affinity

from stepladder.core.types import Asset
from stepladder.data import shards
from stepladder.studies.roofs.data import conversion, derive
from stepladder.studies.roofs.data.derive import Segment
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import BACKGROUND, LINES, NO_FACE
from stepladder.studies.roofs.params import RoofsParams

GSD = 0.1
HIP = [  # 20 m x 10 m: polygon in pixels, bearing
    ([(20, 20), (220, 20), (170, 70), (70, 70)], 0),
    ([(220, 20), (220, 120), (170, 70)], 90),
    ([(220, 120), (20, 120), (70, 70), (170, 70)], 180),
    ([(20, 120), (20, 20), (70, 70)], 270),
]


def params(**model) -> RoofsParams:
    """Crops of 64 pixels, with `model` on top."""
    return RoofsParams.model_validate({"study": "roofs", "model": {"crop": 64, **model}})


def segments(degrees: float = 17.0, shift=(0, 0)) -> list[Segment]:
    """The hip roof, turned clockwise by `degrees`."""

    def place(points):
        return affinity.translate(affinity.rotate(Polygon(points), degrees, origin=(120, 70)), *shift)

    return [Segment(place(points), (bearing + degrees) % 360, 40.0) for points, bearing in HIP]


def labelled(images: int = 1, side: tuple[int, int] = (150, 250), **changes) -> Labelled:
    """Images of the roof, each turned by another angle, with every label; colours tell faces apart."""
    derived = [derive.from_segments(segments(17.0 + 5 * number), side, GSD) for number in range(images)]
    face_NYX = np.stack([one.face_YX for one in derived])
    rng = np.random.default_rng(0)
    image_NYXC = (face_NYX[..., None] * np.array([12, 9, 7]) + rng.integers(0, 30, (*face_NYX.shape, 3))).astype(
        np.uint8
    )
    rise_NYX = np.stack([one.rise_YX for one in derived])
    lines = [np.column_stack([np.full(len(one.lines_L5), n), one.lines_L5]) for n, one in enumerate(derived)]
    superstructure_NYX = np.full(face_NYX.shape, BACKGROUND, np.uint8)
    superstructure_NYX[:, 60:70, 100:120] = 0
    values = {
        "image_NYXC": image_NYXC.astype(np.uint8),
        "gsd_m": GSD,
        "superstructure_NYX": superstructure_NYX,
        "face_id_NYX": np.stack([one.face_id_YX for one in derived]),
        "face_NYX": face_NYX,
        "slope_NYXG": np.stack([one.slope_YXG for one in derived]),
        "outline_NYX": (face_NYX != NO_FACE).astype(np.uint8),
        "lines_LF": np.concatenate(lines).astype(np.float32),
        "line_types": LINES,
        "rise_NYX": rise_NYX,
        "height_NYX": np.where(np.isnan(rise_NYX), 0, rise_NYX + 4).astype(np.float16),
        "facts": {"source": "drawn", "north_up": True},
    }
    return Labelled(**{**values, **changes})


def shard(folder: Path, given: Labelled, name: str = "drawn_1", group: str = "drawn") -> Path:
    """The shard of `given` in `folder`."""
    path = folder / f"{name}.h5"
    shards.write(path, conversion.content(Asset(name, group, ()), given), "recipe")
    return path
