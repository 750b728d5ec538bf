"""A hip roof whose every label follows from its box: samples, cases and predictions for tests of pictures."""

import numpy as np
import torch

from stepladder.core.types import ShardContent
from stepladder.data import shards
from stepladder.studies.roofs.data.crops import IMAGENET_MEAN, IMAGENET_STD
from stepladder.studies.roofs.data.labels import BACKGROUND, CHANNELS, FLAT, IGNORE, NO_FACE, SUPERSTRUCTURES, UNTYPED

SIDE, GSD = 128, 0.1
BOX = np.array([24.0, 36.0, 104.0, 92.0])  # x0, y0, x1, y1 in pixels
FLAT_BOX = np.array([4.0, 96.0, 44.0, 124.0])  # a garage
PITCH = 35.0
RIDGE, HIP, EAVE = 0, 1, 3


def lines() -> np.ndarray:
    """x0, y0, x1, y1, type of the ridge, four hips, and eight eaves; (13, 5)."""
    x0, y0, x1, y1 = BOX
    half, middle = (y1 - y0) / 2, (y0 + y1) / 2
    west, east = (x0 + half, middle), (x1 - half, middle)
    rows = [(*west, *east, RIDGE)]
    rows += [(x0, y0, *west, HIP), (x0, y1, *west, HIP), (x1, y0, *east, HIP), (x1, y1, *east, HIP)]
    for left, top, right, bottom in (BOX, FLAT_BOX):
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        rows += [(*a, *b, EAVE) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    return np.array(rows, dtype=np.float32)


def maps() -> dict[str, np.ndarray]:
    """Every dense label of the scene, and `rgb_YXC`."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    x0, y0, x1, y1 = BOX
    away_NYX = np.stack([y - y0, x1 - x, y1 - y, x - x0])  # from the north, east, south, west eave
    inside = away_NYX.min(axis=0) > 0
    left, top, right, bottom = FLAT_BOX
    garage = (x > left) & (x < right) & (y > top) & (y < bottom)
    side = away_NYX.argmin(axis=0)
    face = np.where(inside, 4 * side, np.where(garage, FLAT, NO_FACE)).astype(np.uint8)
    steep = np.tan(np.radians(PITCH))
    bearing = np.radians(90.0 * side)
    slope = np.where(inside, steep * np.stack([np.sin(bearing), np.cos(bearing)]), 0)
    rise = np.where(inside, steep * GSD * away_NYX.min(axis=0), 0)
    parts = np.full((SIDE, SIDE), BACKGROUND, np.uint8)
    parts[70:86, 50:80], parts[45:52, 60:66], parts[58:63, 86:90] = 0, 2, 4
    shade = np.array([0.55, 0.75, 1.0, 0.7])[side]
    rgb = np.where(
        (inside | garage)[..., None],
        np.array([170, 90, 70]) * np.where(inside, shade, 0.9)[..., None],
        np.array([95, 120, 70]),
    )
    rgb = np.where((parts < BACKGROUND)[..., None], np.array([40, 45, 70]), rgb)
    noise = np.random.default_rng(0).normal(0, 8, rgb.shape)
    return {
        "rgb_YXC": np.clip(rgb + noise, 0, 255).astype(np.uint8),
        "superstructure_YX": parts,
        "face_YX": face,
        "face_id_YX": np.where(inside, side + 1, 5 * garage).astype(np.int32),
        "slope_GYX": slope.astype(np.float32),
        "outline_YX": (inside | garage).astype(np.uint8),
        "rise_YX": rise.astype(np.float32),
        "height_YX": (rise + 3.0 * (inside | garage)).astype(np.float32),
    }


def image(rgb_YXC: np.ndarray) -> np.ndarray:
    """The image as the network takes it, float32 (C, Y, X)."""
    return ((rgb_YXC / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1).astype(np.float32)


def sample(labelled: bool = True) -> dict:
    """A training sample; with `labelled` false one of outlines only, as of AIRS."""
    found, cells = maps(), SIDE // 4
    every = np.ones((SIDE, SIDE), np.uint8)
    row = {name: found[name] for name in ("superstructure_YX", "face_YX", "outline_YX", "slope_GYX")}
    row |= {"image_CYX": image(found["rgb_YXC"]), "gsd_m": np.float32(GSD), "index": 0}
    row |= {"rise_YX": found["rise_YX"], "height_YX": found["height_YX"]}
    row |= {"rise_labelled_YX": every * labelled, "height_labelled_YX": every * 0}
    row |= {"closeness_KVU": closeness(), "line_labelled_KVU": np.full((CHANNELS, cells, cells), labelled, np.uint8)}
    if not labelled:
        row |= {name: np.full((SIDE, SIDE), IGNORE, np.uint8) for name in ("superstructure_YX", "face_YX")}
    return row


def closeness() -> np.ndarray:
    """1 - distance / 8 pixels to the nearest line of every type, at the middles of cells."""
    v, u = np.mgrid[: SIDE // 4, : SIDE // 4] * 4 + 2.0
    found = np.zeros((CHANNELS, *v.shape), np.float32)
    for x0, y0, x1, y1, kind in lines():
        along = np.array([x1 - x0, y1 - y0])
        share = np.clip(((u - x0) * along[0] + (v - y0) * along[1]) / (along**2).sum(), 0, 1)
        far = np.hypot(u - x0 - share * along[0], v - y0 - share * along[1])
        for channel in (int(kind), UNTYPED):
            found[channel] = np.maximum(found[channel], 1 - np.minimum(far, 8) / 8)
    return found


def case() -> dict:
    """An evaluation case with every label."""
    found = maps()
    row = {name: found[name] for name in found if name != "rgb_YXC"}
    every = np.ones((SIDE, SIDE), np.uint8)
    row |= {"image_CYX": image(found["rgb_YXC"]), "gsd_m": np.float32(GSD), "north_up": True, "index": 0}
    row |= {"rise_labelled_YX": every, "height_labelled_YX": 0 * every, "focus_YX": every, "lines_LF": lines()}
    return row | {"line_labelled_YX": every, "line_types_K": np.ones(CHANNELS, np.uint8)}


def prediction(shift: int = 2) -> dict[str, torch.Tensor]:
    """What a fair model would find: everything, `shift` pixels to the right."""
    found = {name: np.roll(values, shift, axis=-1) for name, values in maps().items() if name != "rgb_YXC"}
    moved = lines() + np.array([shift, 0, shift, 0, 0], np.float32)
    scored = np.column_stack([moved, np.linspace(0.95, 0.35, len(moved))])
    eye = np.eye(len(SUPERSTRUCTURES), dtype=np.float32), np.eye(NO_FACE + 1, dtype=np.float32)
    answer = {
        "superstructure_BSYX": eye[0][found["superstructure_YX"]].transpose(2, 0, 1),
        "face_BFYX": eye[1][found["face_YX"]].transpose(2, 0, 1),
        "outline_BYX": found["outline_YX"].astype(np.float32),
        "slope_BGYX": found["slope_GYX"],
        "rise_BYX": found["rise_YX"] * 0.9,
        "height_BYX": found["height_YX"],
        "face_id_BYX": found["face_id_YX"],
        "lines_BLF": scored.astype(np.float32),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values))[None] for name, values in answer.items()}


def nothing() -> dict[str, torch.Tensor]:
    """The prediction of a model that finds no roof at all."""
    empty = {name: torch.zeros_like(values) for name, values in prediction().items()}
    empty["face_BFYX"][:, NO_FACE], empty["superstructure_BSYX"][:, BACKGROUND] = 1, 1
    return empty | {"lines_BLF": torch.zeros((1, 0, 6))}


def shard(folder, name: str, source: str, without: tuple[str, ...] = ()):
    """A converted shard of the house at `folder/name.h5`, without some of its arrays, as `source` would make it."""
    found = maps()
    arrays = {"image_NYXC": found["rgb_YXC"][None], "face_NYX": found["face_YX"][None]}
    arrays |= {name: found[name.replace("_N", "_")][None] for name in ("superstructure_NYX", "outline_NYX")}
    arrays |= {"rise_NYX": found["rise_YX"][None].astype(np.float16)}
    arrays |= {"lines_LF": np.column_stack([np.zeros(len(lines())), lines()]).astype(np.float32)}
    arrays = {key: value for key, value in arrays.items() if key not in without}
    held = {"superstructure_NYX": "superstructure", "face_NYX": "face", "outline_NYX": "outline"}
    held |= {"lines_LF": "line", "rise_NYX": "rise"}
    tasks = [task for key, task in held.items() if key in arrays]
    types = ["ridge", "hip", "eave"] if "lines_LF" in arrays else []
    facts = {"group": source, "source": source, "gsd_m": GSD, "tasks": tasks, "line_types": types}
    shards.write(path := folder / f"{name}.h5", ShardContent(arrays, attributes=facts), "recipe")
    return path


class Cases:
    """A data set of `count` times the same case, as of source `group`."""

    def __init__(self, count: int = 3, group: str = "rid"):
        self.groups, self.clusters = np.array([group] * count), np.array([f"house_{k}" for k in range(count)])

    def __len__(self) -> int:
        return len(self.groups)

    def sample(self, index: int, rng) -> dict:
        return case() | {"index": index}


def shaky(batch) -> dict[str, torch.Tensor]:
    """A prediction that is the worse the higher the case's index: shifted, less sure, and with false lines."""
    index = int(batch["index"][0])
    rng, found = np.random.default_rng(index), prediction(index)
    found["superstructure_BSYX"] = found["superstructure_BSYX"] * 4 + torch.from_numpy(
        rng.normal(0, 1.3, tuple(found["superstructure_BSYX"].shape)).astype(np.float32)
    )
    found["superstructure_BSYX"] = found["superstructure_BSYX"].softmax(1)
    noise = torch.from_numpy(rng.normal(0, 0.25, tuple(found["outline_BYX"].shape)).astype(np.float32))
    found["outline_BYX"] = (0.1 + 0.8 * found["outline_BYX"] + noise).clamp(0, 1)
    false = np.column_stack([rng.uniform(0, SIDE, (6, 4)), rng.integers(0, 6, 6), rng.uniform(0, 1, 6)])
    lines_LF = found["lines_BLF"][0] + torch.from_numpy(np.pad(rng.normal(0, 1, (13, 4)), ((0, 0), (0, 2))))
    found["lines_BLF"] = torch.cat([lines_LF, torch.from_numpy(false)]).float()[None]
    return found
