"""A tiny static town of labelled blocks and windows cut from it: batches as the models see them, without any files."""

import numpy as np
import torch

from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.params import PlateauParams

ROAD, WALK, TERRAIN, MANMADE, TREE = 11, 13, 14, 15, 16


def params(window=(20, 20, 6), voxel_m=0.8, **model) -> PlateauParams:
    """Parameters with a small window; `model` sets further fields of the model section."""
    frames = model.get("past", 3) + model.get("future", 6)
    return PlateauParams(
        study="plateau",
        conversion={"voxel_m": voxel_m, "frames": max(frames, 2)},
        model={"window": list(window), "past": 3, "width": 8, "levels": 2, "codes": 16, **model},
    )


def town(size: int, height: int, seed: int) -> np.ndarray:
    """Labels (size, size, height): ground in layer 1, a road along x, hollow houses and trees beside it."""
    rng = np.random.default_rng(seed)
    grid = np.full((size, size, height), EMPTY, np.uint8)
    grid[:, :, 1] = TERRAIN
    middle = size // 2
    grid[:, middle - 3 : middle + 3, 1] = WALK
    grid[:, middle - 2 : middle + 2, 1] = ROAD
    for _ in range(size * size // 60):
        x, y = rng.integers(0, size - 10, 2)
        w, d, top = rng.integers(4, 10), rng.integers(4, 10), rng.integers(3, height + 1)
        if y > middle + 3 or y + d < middle - 3:
            grid[x : x + w, y : y + d, 2:top] = MANMADE
            grid[x + 1 : x + w - 1, y + 1 : y + d - 1, 2 : top - 1] = EMPTY
    for _ in range(size * size // 200):
        x, y = rng.integers(0, size, 2)
        if abs(y - middle) > 3:
            grid[x, y, 2 : rng.integers(3, height + 1)] = TREE
    return grid


def cut(grid: np.ndarray, pose_4: np.ndarray, shape: tuple[int, int, int], voxel_m: float) -> np.ndarray:
    """The window around a pose (metres from the grid's corner), each voxel labelled by the cell its centre lies in."""
    nx, ny, nz = shape
    x, y = np.meshgrid((np.arange(nx) + 0.5 - nx / 2), (np.arange(ny) + 0.5 - ny / 2), indexing="ij")
    cos, sin = np.cos(pose_4[3]), np.sin(pose_4[3])
    i = np.floor(cos * x - sin * y + pose_4[0] / voxel_m).astype(int)
    j = np.floor(sin * x + cos * y + pose_4[1] / voxel_m).astype(int)
    k = np.floor(np.arange(nz) + 0.5 + pose_4[2] / voxel_m).astype(int)
    inside = (
        ((i >= 0) & (i < grid.shape[0]) & (j >= 0) & (j < grid.shape[1]))[..., None] & (k >= 0) & (k < grid.shape[2])
    )
    clip = [np.clip(v, 0, n - 1) for v, n in zip((i, j, k), grid.shape, strict=True)]
    return np.where(inside, grid[clip[0][..., None], clip[1][..., None], clip[2]], EMPTY).astype(np.uint8)


def drive(
    grid: np.ndarray, frames: int, step_m: float, voxel_m: float, rng: np.random.Generator, bend=0.02
) -> np.ndarray:
    """Poses (frames, 4) along the road with a gentle random bend (radians per frame); 0 is a straight drive."""
    size = grid.shape[0] * voxel_m
    start = [size * 0.3 + rng.uniform(0, size * 0.1), size / 2 + rng.uniform(-2, 2) * (bend > 0), 0.0]
    yaw = rng.uniform(-bend, bend) * 4 + np.cumsum(np.full(frames, rng.uniform(-bend, bend)))
    steps = step_m * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    place = np.array(start[:2]) + np.cumsum(steps, axis=0) - steps
    return np.column_stack([place, np.full(frames, start[2]), yaw])


def batch(params: PlateauParams, count: int, seed: int = 0, step_m: float = 0.8, bend: float = 0.02) -> dict:
    """`count` clips of one town, collated as the loader does."""
    model, voxel_m = params.model, params.conversion.voxel_m
    rng = np.random.default_rng(seed)
    grid = town(96, model.window[2], seed)
    frames = model.past + model.future
    poses = [drive(grid, frames, step_m, voxel_m, rng, bend) for _ in range(count)]
    occ = np.stack([[cut(grid, pose, tuple(model.window), voxel_m) for pose in path] for path in poses])
    pose = np.stack([path - np.append(path[0, :3], 0) for path in poses]).astype(np.float32)
    return {"occ_TXYZ": torch.from_numpy(occ), "pose_T4": torch.from_numpy(pose), "index": torch.arange(count)}
