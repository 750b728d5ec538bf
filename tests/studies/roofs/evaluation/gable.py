"""A gable roof with a dormer as an evaluation case, made by hand: every task labelled, or only some."""

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import default_collate

from stepladder.core.types import Asset, Batch
from stepladder.data import shards
from stepladder.studies.roofs.data import conversion, targets
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import BACKGROUND, CHANNELS, IGNORE, LINES, NO_FACE, STRIDE, TASKS

SIZE = (96, 128)  # rows, columns
NORTH, SOUTH = 0, 8  # sectors
RIDGE, EAVE, GABLE = (LINES.index(name) for name in ("ridge", "eave", "gable"))


def case(tasks: tuple[str, ...] = TASKS, gsd_m: float = 0.2) -> dict[str, Any]:
    """A roof from (24, 20) to (104, 76), its ridge along y = 48, at 35 degrees; labelled for `tasks` only."""
    roof_YX = np.zeros(SIZE, dtype=bool)
    roof_YX[20:76, 24:104] = True
    row_Y1 = np.arange(SIZE[0])[:, None] + 0.5
    north_YX, slope = roof_YX & (row_Y1 < 48), np.tan(np.radians(35))
    rise_YX = np.where(roof_YX, (28 - np.abs(row_Y1 - 48)) * gsd_m * slope, 0)
    superstructure_YX = np.full(SIZE, BACKGROUND)
    superstructure_YX[56:66, 40:52] = 1
    sample = {
        "image_CYX": np.random.default_rng(0).normal(size=(3, *SIZE)) * 0.1 + 2.0 * roof_YX - north_YX,
        "superstructure_YX": superstructure_YX,
        "face_YX": np.where(roof_YX, np.where(north_YX, NORTH, SOUTH), NO_FACE),
        "face_id_YX": np.where(roof_YX, np.where(north_YX, 1, 2), 0),
        "slope_GYX": np.stack([0 * rise_YX, np.where(roof_YX, np.where(north_YX, slope, -slope), 0)]),
        "outline_YX": roof_YX,
        "rise_YX": rise_YX,
        "rise_labelled_YX": roof_YX,
        "height_YX": np.where(roof_YX, 5 + rise_YX, 0),
        "height_labelled_YX": np.ones(SIZE),
        "focus_YX": np.ones(SIZE),
        "lines_LF": np.array(
            [
                [24, 48, 104, 48, RIDGE],
                [24, 20, 104, 20, EAVE],
                [24, 76, 104, 76, EAVE],
                [24, 20, 24, 76, GABLE],
                [104, 20, 104, 76, GABLE],
            ]
        ),
        "line_labelled_YX": np.ones(SIZE),
        "line_types_K": np.ones(CHANNELS),
    }
    return _typed(sample, tasks) | {"gsd_m": np.float32(gsd_m), "north_up": True, "index": 0}


def batch(tasks: tuple[str, ...] = TASKS) -> Batch:
    """The case alone, collated."""
    return default_collate([case(tasks)])


def _typed(sample: dict[str, np.ndarray], tasks: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The types of the contract; what belongs to no task of `tasks` says that it is not labelled."""
    for name in ("superstructure", "face", "outline"):
        if name not in tasks:
            sample[f"{name}_YX"] = np.full(SIZE, IGNORE)
    for name in ("rise", "height"):
        if name not in tasks:
            sample[f"{name}_labelled_YX"] = np.zeros(SIZE)
    if "line" not in tasks:
        sample |= {"lines_LF": np.zeros((0, 5)), "line_labelled_YX": np.zeros(SIZE), "line_types_K": np.zeros(CHANNELS)}
    floats = ("image_CYX", "slope_GYX", "rise_YX", "height_YX", "lines_LF")
    return {
        name: value.astype(np.float32 if name in floats else np.int32 if name == "face_id_YX" else np.uint8)
        for name, value in sample.items()
    }


def values(records: list) -> dict[str, float | None]:
    """Metric -> value of one image's records: mean over parts with support; None without."""
    found: dict[str, list[float]] = {}
    for record in records:
        kept = found.setdefault(record.metric, [])
        if record.support and record.denominator:
            kept.append(record.numerator / record.denominator)
    return {name: float(np.mean(parts)) if parts else None for name, parts in found.items()}


def crop(tasks: tuple[str, ...] = TASKS, seed: int = 0) -> dict[str, Any]:
    """The same as a training sample: targets of lines instead of lines; `seed` draws its noise."""
    sample = case(tasks)
    maps = targets.line_maps(sample.pop("lines_LF"), SIZE[1])
    cells = SIZE[0] // STRIDE
    labelled_KVU = np.broadcast_to(sample.pop("line_types_K")[:, None, None], maps["closeness_KVU"][:, :cells].shape)
    noise_CYX = np.random.default_rng(seed).normal(size=(3, *SIZE), scale=0.1)
    sample["image_CYX"] = (sample["image_CYX"] + noise_CYX).astype(np.float32)
    return sample | {name: value[..., :cells, :] for name, value in maps.items()} | {"line_labelled_KVU": labelled_KVU}


def shard(path: Path, tasks: tuple[str, ...] = TASKS) -> Path:
    """The case as a shard, converted as the study does."""
    sample = case(tasks)
    image_CYX = (sample["image_CYX"] * 40 + 120).clip(0, 255).astype(np.uint8)
    given: dict[str, Any] = {
        f"{name}_NYX": sample[f"{name}_YX"][None] for name in ("superstructure", "outline") if name in tasks
    }
    if "face" in tasks:
        slope_NYXG = sample["slope_GYX"].transpose(1, 2, 0)[None].astype(np.float16)
        given |= {"face_NYX": sample["face_YX"][None], "slope_NYXG": slope_NYXG}
        given["face_id_NYX"] = sample["face_id_YX"][None].astype(np.uint16)
    if "line" in tasks:
        lines_L5 = sample["lines_LF"]
        given |= {
            "lines_LF": np.column_stack([np.zeros(len(lines_L5)), lines_L5]).astype(np.float32),
            "line_types": LINES,
        }
    for name in ("rise", "height"):
        if name in tasks:
            metres_YX = np.where(sample[f"{name}_labelled_YX"] != 0, sample[f"{name}_YX"], np.nan)
            given[f"{name}_NYX"] = metres_YX[None].astype(np.float16)
    image_NYXC = np.ascontiguousarray(image_CYX.transpose(1, 2, 0))[None]
    labelled = Labelled(image_NYXC, gsd_m=float(sample["gsd_m"]), facts={"source": "rid"}, **given)
    shards.write(path, conversion.content(Asset(path.stem, "rid", ()), labelled), "recipe")
    return path
