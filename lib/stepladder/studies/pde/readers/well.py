"""The Well's HDF5 layout (Ohana et al., NeurIPS 2024): grids, coordinates, boundary masks, fields by tensor order.

Root attributes say `dataset_name`, `grid_type`, `n_spatial_dims`, `n_trajectories`, `simulation_parameters`; groups
`dimensions`, `boundary_conditions`, `scalars`, `t0_fields`, `t1_fields` and `t2_fields` hold the rest. A field is
(trajectories, frames, x[, y[, z]][, D[, D]]); those that do not vary by sample or in time lack these axes.
"""

from pathlib import Path

import h5py
import numpy as np

from stepladder.studies.pde.equations import BOUNDARIES
from stepladder.studies.pde.readers.fields import Fields, Take
from stepladder.study import StudyError

ORDERS = ("t0_fields", "t1_fields", "t2_fields")
AXES = "xyz"


def length(file: h5py.File) -> int:
    """Number of trajectories."""
    return int(file.attrs["n_trajectories"])


def read(file: h5py.File, take: Take) -> Fields:
    """The part `take`: every field that varies in time, as channels; simulation parameters go into `facts`.

    Raises:
        StudyError: the grid is not cartesian, or nothing varies in time.
    """
    name = Path(file.filename).name
    grid, dims = str(file.attrs.get("grid_type", "cartesian")), int(file.attrs["n_spatial_dims"])
    if grid != "cartesian":
        raise StudyError(f"{name}: grid_type {grid!r} is not read, only 'cartesian'")
    axes = tuple(np.asarray(file["dimensions"][letter], dtype=np.float64).ravel() for letter in AXES[:dims])
    names, channels = [], []
    for order, group in enumerate(ORDERS):
        for key, dataset in file.get(group, {}).items():
            if not dataset.attrs["time_varying"]:
                continue
            values = _field(dataset, take, axes, f"{name}: {group}/{key}")
            for part in np.ndindex(*(dims,) * order):
                names.append(key + "".join(f"_{AXES[i]}" for i in part))
                channels.append(values[(..., *part)])
    if not channels:
        raise StudyError(f"{name}: no field varies in time")
    times_T = np.asarray(file["dimensions/time"], dtype=np.float64)
    times_T = (times_T[0] if times_T.ndim > 1 else times_T)[take.frames]
    facts = {"dataset": str(file.attrs["dataset_name"]), "parameters": _scalars(file)}
    thinned = tuple(axis[take.points] for axis in axes)
    u = np.stack(channels, axis=-1).astype(np.float32)
    return Fields("grid", "well", tuple(names), u, times_T, thinned, boundary=_boundary(file), facts=facts)


def _field(dataset: h5py.Dataset, take: Take, axes: tuple[np.ndarray, ...], place: str) -> np.ndarray:
    """One field as (N, T, *space, *tensor), in the thinned grid."""
    varies, space = bool(dataset.attrs["sample_varying"]), tuple(len(axis) for axis in axes)
    start = 1 + varies
    if dataset.shape[start : start + len(axes)] != space:
        raise StudyError(f"{place} has shape {dataset.shape}, but the coordinates say {space}: wrong axis order")
    cut = (*([take.rows] if varies else []), take.frames, *(take.points,) * len(axes))
    values = dataset[cut]
    if varies:
        return values
    count = length(dataset.file) if take.count is None else take.count
    return np.broadcast_to(values, (count, *values.shape))


def _scalars(file: h5py.File) -> dict[str, float]:
    """Simulation parameters that are one number for the whole file."""
    found = {str(key): file["scalars"].get(key) for key in file.attrs.get("simulation_parameters", ())}
    return {key: float(np.asarray(value)) for key, value in found.items() if value is not None and value.size == 1}


def _boundary(file: h5py.File) -> str:
    """The boundary type, `mixed` where sides differ."""
    kinds = {str(group.attrs["bc_type"]).lower() for group in file.get("boundary_conditions", {}).values()}
    return kinds.pop() if len(kinds) == 1 and kinds <= set(BOUNDARIES) else "mixed"
