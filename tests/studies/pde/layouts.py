"""Tiny files with the exact structure of every published layout: keys, shapes, types, attributes, compression."""

import json
from pathlib import Path

import h5py
import numpy as np
import torch

FRAMES, POINTS = 5, 8
RNG = np.random.Generator(np.random.Philox(0))


def values(*shape: int) -> np.ndarray:
    """Random numbers, float32."""
    return RNG.standard_normal(shape).astype(np.float32)


def axis(points: int) -> np.ndarray:
    """Cell centres of (0, 1), float32."""
    return ((np.arange(points) + 0.5) / points).astype(np.float32)


def tensor(path: Path, shape: tuple[int, ...] = (3, FRAMES, POINTS), **attributes: float) -> Path:
    """Advection, Burgers, reaction-diffusion: `tensor`, `x-coordinate`, a `t-coordinate` one longer than the data."""
    with h5py.File(path, "w") as file:
        file["tensor"] = values(*shape)
        file["x-coordinate"], file["t-coordinate"] = axis(POINTS), 0.01 * np.arange(FRAMES + 1, dtype=np.float32)
        file.attrs.update(attributes)
    return path


def darcy(path: Path, **attributes: float) -> Path:
    """Darcy: `tensor` (N, 1, X, Y), `nu` (N, X, Y), `x-coordinate`, `y-coordinate`."""
    with h5py.File(path, "w") as file:
        file["tensor"], file["nu"] = values(3, 1, POINTS, POINTS), np.abs(values(3, POINTS, POINTS)) + 0.1
        file["x-coordinate"], file["y-coordinate"] = axis(POINTS), axis(POINTS)
        file.attrs.update(attributes)
    return path


def flow(path: Path, dims: int, **attributes: float) -> Path:
    """Compressible flow: `density`, `pressure`, `Vx` and so on, coordinates for every axis."""
    with h5py.File(path, "w") as file:
        for name in ("density", "pressure", *("Vx", "Vy", "Vz")[:dims]):
            file[name] = values(2, FRAMES, *(POINTS,) * dims)
        for letter in "xyz"[:dims]:
            file[f"{letter}-coordinate"] = axis(POINTS)
        file["t-coordinate"] = 0.05 * np.arange(FRAMES + 1, dtype=np.float32)
        file.attrs.update(attributes)
    return path


def groups(path: Path, dims: int, fields: int, config: str = "sim: {seed: 0}\n") -> Path:
    """Sorption, 2-D reaction, shallow water: a group for each trajectory, lzf, `grid/x`, `grid/t`, attribute config."""
    with h5py.File(path, "w") as file:
        for number in range(3):
            group = file.create_group(f"{number:04d}")
            group.create_dataset("data", data=values(FRAMES, *(POINTS,) * dims, fields), compression="lzf")
            for letter in "xy"[:dims]:
                group[f"grid/{letter}"] = axis(POINTS)
            group["grid/t"] = 0.05 * np.arange(FRAMES, dtype=np.float32)
            group.attrs["config"] = config
    return path


def incompressible(path: Path, batch: int = 2) -> Path:
    """Incompressible flow: `velocity`, `particles` (lzf, shuffled, one frame to a chunk), `force`, `t` (N, T)."""
    with h5py.File(path, "w") as file:
        for name, fields in (("velocity", 2), ("particles", 1)):
            shape = (batch, FRAMES, POINTS, POINTS, fields)
            packed = {"compression": "lzf", "shuffle": True, "chunks": (1, 1, POINTS, POINTS, fields)}
            file.create_dataset(name, data=values(*shape), **packed)
        file["force"] = values(batch, POINTS, POINTS, 2)
        file["t"] = np.tile(0.005 * np.arange(FRAMES, dtype=np.float32), (batch, 1))
    return path


def well(path: Path, boundary: str = "PERIODIC") -> Path:
    """The Well: a scalar and a vector field in two dimensions, one of them the same for all trajectories."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"dataset_name": "tiny", "grid_type": "cartesian", "n_spatial_dims": 2, "n_trajectories": 3})
        file.attrs["simulation_parameters"] = ["gamma"]
        file["dimensions/time"] = 0.1 * np.arange(FRAMES, dtype=np.float32)
        file["dimensions/x"], file["dimensions/y"] = axis(POINTS), axis(6)
        file["scalars/gamma"] = np.float32(1.4)
        side = file.create_group("boundary_conditions/x_border")
        side["mask"], side.attrs["bc_type"] = np.ones(POINTS, bool), boundary
        _well_field(file, "t0_fields/density", (3, FRAMES, POINTS, 6), sample_varying=True, time_varying=True)
        _well_field(file, "t0_fields/mask", (POINTS, 6), sample_varying=False, time_varying=False)
        _well_field(file, "t1_fields/velocity", (3, FRAMES, POINTS, 6, 2), sample_varying=True, time_varying=True)
        file.create_group("t2_fields")
    return path


def _well_field(file: h5py.File, name: str, shape: tuple[int, ...], **attributes: bool) -> None:
    file[name] = values(*shape)
    file[name].attrs.update({**attributes, "dim_varying": [True, True]})


def lagrangian(folder: Path, particles: int = 6, periodic: bool = True, **changes: object) -> Path:
    """LagrangeBench: `train.h5` with groups `00000`, `metadata.json` beside; a box of edge 1, radius 0.3."""
    folder.mkdir(parents=True, exist_ok=True)
    start = RNG.uniform(0, 1, (particles, 2))
    with h5py.File(folder / "train.h5", "w") as file:
        for number in range(2):
            steps = np.cumsum(RNG.normal(0.02, 0.01, (FRAMES, particles, 2)), axis=0)
            file[f"{number:05d}/position"] = np.mod(start + steps, 1.0).astype(np.float32)
            file[f"{number:05d}/particle_type"] = np.zeros(particles, np.int32)
    facts = {
        "dim": 2,
        "dt": 0.1,
        "bounds": [[0.0, 1.0], [0.0, 1.0]],
        "periodic_boundary_conditions": [periodic] * 2,
        "default_connectivity_radius": 0.3,
    }
    (folder / "metadata.json").write_text(json.dumps({**facts, **changes}))
    return folder / "train.h5"


def torch_files(folder: Path) -> dict[str, Path]:
    """neuraloperator's Burgers, Darcy and car, PINA's holed Poisson mesh, by name."""
    y = torch.randn(4, 3, 8, dtype=torch.float64)
    nodes = torch.rand(5, 3)
    car = {"vertices": torch.rand(9, 3), "vertex_normals": torch.rand(9, 3), "press": torch.rand(1, 9)}
    contents = {
        "burgers": {"x": y[:, 0], "y": y, "visc": torch.tensor([[0.01]], dtype=torch.float64)},
        "darcy": {"x": torch.rand(4, 6, 6) > 0.5, "y": torch.rand(4, 6, 6)},
        "poisson": {
            "x": nodes,
            "y": nodes.flip(0),
            "u": torch.rand(5, 3),
            "mu": torch.rand(3, 2),
            "edge_index": torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 4, 0]]),
            "triang": torch.tensor([[0, 1, 2], [2, 3, 4]]),
        },
        "car": [car, {**car, "press": torch.rand(1, 9)}],
    }
    paths = {name: folder / f"{name}.pt" for name in contents}
    for name, content in contents.items():
        torch.save(content, paths[name])
    return paths


COMSOL = """% Model:              tiny.mph
% Dimension:          2
% Nodes:              4
% Expressions:        4
% Description:        velocity
% Length unit:        m
% x                       y                        u (m/s) @ t=0            u (m/s) @ t=0.5          p (Pa) @ t=0             p (Pa) @ t=0.5
0                         0                        1                        2                        3                        4
0                         1                        5                        6                        7                        8
1                         0                        9                        10                       11                       12
1                         1                        13                       14                       15                       16
"""  # noqa: E501
