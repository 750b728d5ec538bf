"""From a raw file to a shard: whole trajectories with everything a sample must know beside them.

Decisions:
- An asset is a block of trajectories of one file, so that a file of ten thousand can be divided between splits without
  dividing a trajectory, converted side by side, and read in slices that fit into memory.
- Coefficients are stored for each trajectory, coordinates and times with the fields, units and boundary type as
  attributes: nothing that decides the physics is left in a file name.
- Grids are thinned as PDEBench thins them (every n-th point and frame), never averaged: a point of a coarse shard is a
  point of the file.
- Neighbours of particles are found here, once, for every frame.

Arrays: `u_NTXC` float32 (grid axes X, YX or ZYX in the file's own order; X also counts points of a mesh and particles),
`time_T` float64, `coefficient_NK` float32 in the order of `equations.COEFFICIENTS`, `position_XD` or `position_NXD`
float32 (grid: the coordinates of every point), and where there are any `given_NXC`, `cell_M3`, `edge_E2`, `type_X`, and
for particles `edge_NTE2` int32, padded with -1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepladder import files
from stepladder.studies.pde import equations
from stepladder.studies.pde.params import PdeParams
from stepladder.studies.pde.readers import particles, source
from stepladder.studies.pde.readers.fields import Fields, Take
from stepladder.study import Asset, ShardContent, StudyError

AXES = ("", "X", "YX", "ZYX")  # letters of a grid's space axes by their number
MOST_EDGES = 64  # of a particle, above which the radius is refused


def assets(raw: Sequence[Path], params: PdeParams) -> list[Asset]:
    """Blocks of trajectories of every raw file below the folders `raw`, in order of file name.

    A file that cannot be read is one asset, so that conversion can say why.
    """
    paths = sorted((path for folder in raw for path in _files(Path(folder))), key=lambda path: path.name)
    found = [asset for path in paths for asset in _blocks(path, params)]
    wanted = params.data.groups
    return [asset for asset in found if not wanted or any(asset.group.startswith(name) for name in wanted)]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in source.ENDINGS]


def _blocks(path: Path, params: PdeParams) -> list[Asset]:
    """The assets of one file."""
    name, conversion = _identifier(path), params.conversion
    neighbours = tuple(other for other in [path.with_name("metadata.json")] if other.exists())
    try:
        count = source.length(path)
        first = source.peek(path)
    except StudyError:
        return [Asset(name, path.stem, (path,), neighbours, meta={"first": 0, "trajectories": 0})]
    count = min(count, conversion.most or count)
    scalars = {key: float(value) for key, value in first.coefficients.items() if np.ndim(value) == 0}
    group, starts = equations.group(first.equation, scalars), range(0, count, conversion.block)
    return [
        Asset(
            name if len(starts) == 1 else f"{name}_block{start // conversion.block:03d}",
            group,
            (path,),
            neighbours,
            meta={"first": start, "trajectories": min(conversion.block, count - start)},
        )
        for start in starts
    ]


def _identifier(path: Path) -> str:
    """The file's name without ending; of a split called by its role (`train.h5`), with its folder's."""
    return f"{path.parent.name}_{path.stem}" if path.stem in ("train", "valid", "test") else path.stem


def convert(asset: Asset, params: PdeParams, cache: Path | None = None) -> ShardContent:
    """One block of trajectories as arrays (see the module).

    Raises:
        StudyError: the file cannot be read or used, or its grid cannot be thinned as asked.
    """
    path, conversion = asset.files[0], params.conversion
    every_point = _thinning(path, conversion.points)
    take = Take(asset.meta["first"], asset.meta["trajectories"] or None, every_point, conversion.every_frame)
    fields = source.read(path, take)
    if len(fields.times_T) < 2 and not equations.EQUATIONS[fields.equation].steady:
        raise StudyError(f"{path.name}: one frame is left of a time-dependent problem: lower conversion.every_frame")
    return ShardContent(arrays(fields, path.name), attributes=_facts(asset, fields, path), issues=fields.issues)


def arrays(fields: Fields, name: str = "fields") -> dict[str, np.ndarray]:
    """The arrays of a shard."""
    count, letters = len(fields.u), AXES[len(fields.space)] if fields.kind == "grid" else "X"
    result = {
        f"u_NT{letters}C": fields.u,
        "time_T": fields.times_T.astype(np.float64),
        "coefficient_NK": _coefficients(fields, count),
    }
    if fields.given is not None:
        result[f"given_N{letters}C"] = fields.given
    if fields.kind == "grid":
        position = np.stack(np.meshgrid(*fields.axes, indexing="ij"), axis=-1)
        result[f"position_{letters}D"] = position.astype(np.float32)
    elif fields.kind == "mesh":
        own = fields.points_PD.ndim == 3
        result["position_NXD" if own else "position_XD"] = fields.points_PD.astype(np.float32)
        result["edge_E2"] = fields.edges_E2
        if fields.cells_M3 is not None:
            result["cell_M3"] = fields.cells_M3
    else:
        result |= {"type_X": fields.types_P, "edge_NTE2": _neighbours(fields, name)}
    return result


def _coefficients(fields: Fields, count: int) -> np.ndarray:
    """Coefficients of every trajectory, float32 (N, K)."""
    columns = {symbol: np.broadcast_to(value, count) for symbol, value in fields.coefficients.items()}
    rows = [{symbol: float(column[n]) for symbol, column in columns.items()} for n in range(count)]
    return np.stack([equations.vector(fields.equation, row) for row in rows])


def _neighbours(fields: Fields, name: str) -> np.ndarray:
    """Pairs of near particles in every frame, int32 (N, T, E, 2), padded with -1."""
    radius = float(fields.facts["default_connectivity_radius"])
    box = np.ptp(np.asarray(fields.facts["bounds"], dtype=np.float64), axis=1)
    periodic = all(fields.facts["periodic_boundary_conditions"])
    if periodic and 2 * radius > box.min():
        radius = 0.5 * float(box.min())  # farther particles would be their own images' neighbours
    low = np.asarray(fields.facts["bounds"])[:, 0]
    pairs = [[particles.neighbours(frame - low, radius, box if periodic else None) for frame in u] for u in fields.u]
    most = max((len(frame) for row in pairs for frame in row), default=0)
    if most > MOST_EDGES * fields.u.shape[2]:
        raise StudyError(f"{name}: {most} pairs of {fields.u.shape[2]} particles within {radius:g}: too large a radius")
    edges = np.full((*fields.u.shape[:2], max(most, 1), 2), -1, dtype=np.int32)
    for n, row in enumerate(pairs):
        for t, frame in enumerate(row):
            edges[n, t, : len(frame)] = frame
    return edges


def _thinning(path: Path, points: int) -> int:
    """Every how many points of a file's grid are kept to have `points` along its first axis."""
    fields = source.peek(path)
    if not points or fields.kind != "grid":
        return 1
    there = fields.space[0]
    if there % points:
        raise StudyError(f"{path.name}: {there} points cannot be thinned to conversion.points = {points}")
    return there // points


def _facts(asset: Asset, fields: Fields, path: Path) -> dict[str, Any]:
    """What a shard says about itself."""
    equation = equations.EQUATIONS[fields.equation]
    scalars = {key: float(value) for key, value in fields.coefficients.items() if np.ndim(value) == 0}
    return {
        "group": asset.group,
        "kind": fields.kind,
        "equation": fields.equation,
        "formula": equation.formula,
        "fields": list(fields.names),
        "coefficients": scalars,
        "boundary": fields.boundary,
        "steady": len(fields.times_T) == 1,
        "first": asset.meta["first"],
        "units": fields.facts.get("units", "dimensionless"),
        "facts": dict(fields.facts),
        "sources": [{"name": path.name, "bytes": path.stat().st_size, "sha256": files.file_sha256(path)}],
        "licence": "as its source says; files made here: Apache-2.0",
    }
