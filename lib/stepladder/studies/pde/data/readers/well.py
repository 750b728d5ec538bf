"""The Well's HDF5 layout (Ohana et al., NeurIPS 2024): grids, coordinates, boundary masks, fields by tensor order.

Root attributes say `dataset_name`, `grid_type`, `n_spatial_dims`, `n_trajectories`, `simulation_parameters`; groups
`dimensions`, `boundary_conditions`, `scalars`, `t0_fields`, `t1_fields` and `t2_fields` hold the rest. A field is
(trajectories, frames, x[, y[, z]][, D[, D]]); those that do not vary by sample, in time or along an axis lack these
axes (along an axis of space: or have one point there, as The Well's own loader wants it).

Decisions:
- Fields that move are the state, fields that stay are the given field; which is which stands in `facts`.
- The Well names no equation, so no coefficient has a place in the common vector: parameters go into `facts`, and an
  issue says that a model is not told them.
- The number of trajectories that the file tells is held against its arrays.
"""

from pathlib import Path

import h5py
import numpy as np

from stepladder.core.types import Issue, StudyError
from stepladder.studies.pde.data.equations import BOUNDARIES
from stepladder.studies.pde.data.readers.fields import Fields, Take, shared_times

ORDERS = ("t0_fields", "t1_fields", "t2_fields")
AXES = "xyz"


def length(file: h5py.File) -> int:
    """Number of trajectories; `StudyError` where the attribute and the arrays disagree."""
    count = int(file.attrs["n_trajectories"])
    for group in ORDERS:
        for key, dataset in file.get(group, {}).items():
            if dataset.attrs["sample_varying"] and len(dataset) != count:
                name = Path(file.filename).name
                raise StudyError(f"{name}: n_trajectories is {count}, but {group}/{key} holds {len(dataset)}")
    return count


def read(file: h5py.File, take: Take) -> Fields:
    """The part `take`: fields that vary in time as channels of `u`, the others as channels of `given`.

    `facts` names the channels of `given` and holds the simulation parameters.

    Raises:
        StudyError: the grid is not cartesian, nothing varies in time, times differ between trajectories, or a shape
            fits neither the coordinates nor the number of trajectories.
    """
    name = Path(file.filename).name
    grid, dims = str(file.attrs.get("grid_type", "cartesian")), int(file.attrs["n_spatial_dims"])
    if grid != "cartesian":
        raise StudyError(f"{name}: grid_type {grid!r} is not read, only 'cartesian'")
    axes = tuple(np.asarray(file["dimensions"][letter], dtype=np.float64).ravel() for letter in AXES[:dims])
    times_T = shared_times(file["dimensions/time"][()], name)
    lengths = (length(file), len(times_T), *(len(axis) for axis in axes))
    moving: list[tuple[str, np.ndarray]] = []
    constant: list[tuple[str, np.ndarray]] = []
    for order, group in enumerate(ORDERS):
        for key, dataset in file.get(group, {}).items():
            values = _field(dataset, take, lengths, (dims,) * order, f"{name}: {group}/{key}")
            for part in np.ndindex(*(dims,) * order):
                channel = key + "".join(f"_{AXES[i]}" for i in part)
                if dataset.attrs["time_varying"]:
                    moving.append((channel, values[(..., *part)]))
                else:
                    constant.append((channel, values[(slice(None), 0, ..., *part)]))
    if not moving:
        raise StudyError(f"{name}: no field varies in time")
    parameters = _parameters(file)
    told = ", ".join(f"{key} = {value}" for key, value in parameters.items())
    issues = (Issue("parameter that the model is not told", len(parameters), f"{name}: {told}"),) if told else ()
    return Fields(
        "grid",
        "well",
        tuple(channel for channel, _ in moving),
        _stacked(moving),
        times_T[take.frames],
        tuple(axis[take.points] for axis in axes),
        boundary=_boundary(file),
        given=_stacked(constant) if constant else None,
        facts={
            "dataset": str(file.attrs["dataset_name"]),
            "parameters": parameters,
            "given": [channel for channel, _ in constant],
        },
        issues=issues,
    )


def _field(
    dataset: h5py.Dataset, take: Take, lengths: tuple[int, ...], tensor: tuple[int, ...], place: str
) -> np.ndarray:
    """One field as (N, T, *space, *tensor), thinned; T is 1 where it does not vary in time.

    Args:
        lengths: of the whole file: trajectories, frames, points along each axis.
    """
    space = np.broadcast_to(dataset.attrs.get("dim_varying", True), len(lengths) - 2)
    varies = np.array([dataset.attrs["sample_varying"], dataset.attrs["time_varying"], *space], dtype=bool)
    there = varies.copy()
    if dataset.ndim != varies.sum() + len(tensor):
        there[2:] = True  # axes along which it does not vary have one point
    stored = np.where(varies, lengths, 1)[there]
    if dataset.shape != (*stored, *tensor):
        raise StudyError(
            f"{place} has shape {dataset.shape}, but number of trajectories, times and coordinates say "
            f"{(*stored.tolist(), *tensor)}: wrong axis order or cut short"
        )
    cuts = (take.rows, take.frames, *(take.points,) * len(space))
    values = dataset[tuple(cut for cut, kept in zip(cuts, there, strict=True) if kept)]
    values = np.expand_dims(values, tuple(np.flatnonzero(~there).tolist()))
    wanted = [len(range(n)[cut]) for n, cut in zip(lengths, cuts, strict=True)]
    wanted[1] = values.shape[1]
    return np.broadcast_to(values, (*wanted, *tensor))


def _stacked(channels: list[tuple[str, np.ndarray]]) -> np.ndarray:
    return np.stack([values for _, values in channels], axis=-1).astype(np.float32)


def _parameters(file: h5py.File) -> dict[str, float | str]:
    """Simulation parameters and scalars by name: a number, or how many where they vary by trajectory or in time."""
    scalars, names = file.get("scalars", {}), file.attrs.get("simulation_parameters", ())
    named = {name.decode() if isinstance(name, bytes) else str(name) for name in names} | set(scalars)
    return {name: _shown(scalars[name][()] if name in scalars else file.attrs.get(name, ())) for name in sorted(named)}


def _shown(value: object) -> float | str:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return str(value)
    return float(f"{array.ravel()[0]:.7g}") if array.size == 1 else f"{array.size} values"


def _boundary(file: h5py.File) -> str:
    """The boundary type, `mixed` where sides differ."""
    kinds = {str(group.attrs["bc_type"]).lower() for group in file.get("boundary_conditions", {}).values()}
    return kinds.pop() if len(kinds) == 1 and kinds <= set(BOUNDARIES) else "mixed"
