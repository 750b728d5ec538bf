"""From a raw file to a shard: whole trajectories with everything a sample must know beside them.

Decisions:
- An asset is a block of trajectories of one file, so that a file of ten thousand can be divided between splits without
  dividing a trajectory, converted side by side, and read in slices that fit into memory.
- Coefficients are stored for each trajectory, coordinates and times with the fields, units and boundary type as
  attributes: nothing that decides the physics is left in a file name.
- Grids are thinned as PDEBench thins them (every n-th point and frame), never averaged: a point of a coarse shard is a
  point of the file.
- Neighbours of particles are found here, once, for every frame; and how far the points of a mesh are from its borders.
- A particle file of a single long trajectory is cut in time, as often as its metadata's length of a test sequence fits,
  so that it can be divided between splits; no two stretches share a frame.

Arrays: `u_NTXC` float32 (grid axes X, YX or ZYX in the file's own order; X also counts points of a mesh and particles),
`time_T` float64, `coefficient_NK` float32 in the order of `equations.COEFFICIENTS`, `position_XD` or `position_NXD`
float32 (grid: the coordinates of every point), and where there are any `given_NXC`, `cell_M3`, `edge_E2`, `type_X`;
with triangles `distance_NX2` or `distance_X2` (see `border_distances`); of particles `edge_NTE2` int32, with -1.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stepladder.core import files
from stepladder.core.types import Asset, Issue, ShardContent, StudyError
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.readers import particles, source
from stepladder.studies.pde.data.readers.fields import Fields, Take
from stepladder.studies.pde.params import PdeParams

AXES = ("", "X", "YX", "ZYX")  # letters of a grid's space axes by their number
UNEVEN = 0.01  # difference between steps of a coordinate, as a share of a step, above which it is refused
MOST_EDGES = 64  # of a particle, above which the radius is refused


def assets(raw: Sequence[Path], params: PdeParams) -> list[Asset]:
    """Blocks of trajectories of every raw file below the folders `raw`, in order of file name.

    A file that cannot be read, or holds nothing, is one asset whatever groups are asked for, so that conversion can say
    why.

    Raises:
        StudyError: two files would become one shard, or a group that is asked for is not there.
    """
    paths = sorted((path for folder in raw for path in _files(Path(folder))), key=lambda path: (path.name, str(path)))
    found = [asset for path in paths for asset in _blocks(path, params)]
    known: dict[str, Path] = {}
    for asset in found:
        other = known.setdefault(asset.id, asset.files[0])
        if other != asset.files[0]:
            raise StudyError(f"{other} and {asset.files[0]} would both become {asset.id}.h5: rename one of them")
    unread = {asset.id for asset in found if not asset.meta["trajectories"]}
    groups = sorted({asset.group for asset in found if asset.id not in unread})
    wanted = _wanted(groups, params.data.groups)
    return [asset for asset in found if asset.id in unread or asset.group in wanted]


def _wanted(groups: Sequence[str], names: Sequence[str]) -> set[str]:
    """The groups that are asked for, each by its name or the beginning of it; all where none is named."""
    chosen = {name: {group for group in groups if f"{group} ".startswith(f"{name} ")} for name in names}
    for name, found in chosen.items():
        if groups and not found:
            raise StudyError(f"data.groups names {name!r}; there are {', '.join(groups)}")
    return set().union(*chosen.values()) if names else set(groups)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in source.ENDINGS]


def _blocks(path: Path, params: PdeParams) -> list[Asset]:
    """The assets of one file."""
    name, conversion = _identifier(path), params.conversion
    neighbours = tuple(other for other in [path.with_name("metadata.json")] if other.exists())
    try:
        first = source.peek(path)  # refuses what has no known layout; only then a length means something
        count = source.length(path)
    except StudyError:
        count = 0
    if count == 0:
        return [Asset(name, path.stem, (path,), neighbours, meta={"first": 0, "trajectories": 0})]
    count = min(count, conversion.most or count)
    scalars = {key: float(value) for key, value in first.coefficients.items() if np.ndim(value) == 0}
    group = equations.group(first.equation, scalars)
    return [
        Asset(name + part, group, (path,), neighbours, split_group=_split_group(first, meta), meta=meta)
        for part, meta in _parts(first, count, conversion.block, conversion.every_frame).items()
    ]


def _split_group(first: Fields, meta: Mapping[str, Any]) -> str:
    """Equal for blocks, of any files, that begin with the same first state (of a steady problem: the same question)."""
    if "frames" in meta:  # stretches of one trajectory, which share no frame
        return ""
    asked = first.given if equations.EQUATIONS[first.equation].steady else None
    state = first.u[0, 0] if asked is None else asked[0]  # of a problem in time the given field is often the same
    return f"{hashlib.sha256(np.ascontiguousarray(state).data).hexdigest()[:16]}/{meta['first']}"


def _parts(first: Fields, count: int, block: int, every_frame: int) -> dict[str, dict[str, Any]]:
    """How a file is divided: ending of a part's name -> what it takes; an undivided file has one part, `""`."""
    frames, stretch = first.u.shape[1], first.facts.get("sequence_length_test", 0)
    pieces = round(frames / stretch) if first.kind == "particles" and count == 1 and stretch else 1
    if pieces > 1:
        cuts = np.linspace(0, -(-frames // every_frame), pieces + 1).astype(int).tolist()
        spans = [{"begin": begin, "frames": end - begin} for begin, end in itertools.pairwise(cuts)]
        return {f"_part{n:03d}": {"first": 0, "trajectories": 1, **span} for n, span in enumerate(spans)}
    starts = range(0, count, block)
    names = [f"_block{number:03d}" if len(starts) > 1 else "" for number in range(len(starts))]
    taken = [{"first": start, "trajectories": min(block, count - start)} for start in starts]
    return dict(zip(names, taken, strict=True))


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
    fields = _moving(_stretch(source.read(path, take), asset.meta), path.name)
    if len(fields.u) == 0:
        raise StudyError(f"{path.name} holds no trajectory")
    _check_even(fields, path.name)
    if len(fields.times_T) < 2 and not equations.EQUATIONS[fields.equation].steady:
        raise StudyError(f"{path.name}: one frame is left of a time-dependent problem: lower conversion.every_frame")
    return ShardContent(arrays(fields, path.name), attributes=_facts(asset, fields, path), issues=fields.issues)


def _check_even(fields: Fields, name: str) -> None:
    """Refuse times and grids whose steps are not alike: a sample tells one dt and one dx."""
    axes = fields.axes if fields.kind == "grid" else ()
    for what, values in {"t": fields.times_T, **{f"axis {n} of space": axis for n, axis in enumerate(axes)}}.items():
        steps = np.diff(np.asarray(values, dtype=np.float64))
        if not np.isfinite(values).all() or (len(steps) and (steps[0] == 0 or np.ptp(steps) > UNEVEN * abs(steps[0]))):
            raise StudyError(
                f"{name}: {what} is not evenly spaced ({np.array2string(values, threshold=6, precision=4)})"
            )


def _stretch(fields: Fields, meta: Mapping[str, Any]) -> Fields:
    """The frames of a part that is a stretch of time, whose own time begins anew; all frames of other parts."""
    if "frames" not in meta:
        return fields
    begin, count = meta["begin"], meta["frames"]
    return replace(fields, u=fields.u[:, begin : begin + count], times_T=fields.times_T[:count])


def _moving(fields: Fields, name: str) -> Fields:
    """Particles without frames that repeat the one before: the longest run of frames between such.

    LagrangeBench's 3D_LJ has its first 43 training frames in pairs, two steps apart: differences of them are no
    velocities. What is left out is counted.
    """
    if fields.kind != "particles":
        return fields
    repeats_T = (np.diff(fields.u, axis=1) == 0).all(axis=(2, 3)).any(axis=0)
    cuts = [0, *(np.flatnonzero(repeats_T) + 1).tolist(), fields.u.shape[1]]
    begin, end = max(itertools.pairwise(cuts), key=lambda run: run[1] - run[0])
    if end - begin == fields.u.shape[1]:
        return fields
    issue = Issue("frame left out: near one that repeats its predecessor", fields.u.shape[1] - (end - begin), name)
    kept = {"u": fields.u[:, begin:end], "times_T": fields.times_T[: end - begin]}
    return replace(fields, **kept, issues=(*fields.issues, issue))


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
        place = fields.points_PD
        assert place is not None, "a mesh has points"
        own = place.ndim == 3
        result["position_NXD" if own else "position_XD"] = place.astype(np.float32)
        result["edge_E2"] = fields.edges_E2
        if fields.cells_M3 is not None:
            result["cell_M3"] = fields.cells_M3
            given_NPD = place if own else place[None]
            far_NX2 = np.stack([border_distances(points_PD, fields.cells_M3) for points_PD in given_NPD])
            result["distance_NX2" if own else "distance_X2"] = far_NX2 if own else far_NX2[0]
    else:
        result |= {"type_X": fields.types_P, "edge_NTE2": _neighbours(fields, name)}
    return result


def _coefficients(fields: Fields, count: int) -> np.ndarray:
    """Coefficients of every trajectory, float32 (N, K)."""
    columns = {symbol: np.broadcast_to(value, count) for symbol, value in fields.coefficients.items()}
    for symbol, column in columns.items():
        if not np.isfinite(column).all():
            raise StudyError(f"coefficient {symbol} is {column[~np.isfinite(column)][0]}: mend the file")
    rows = [{symbol: float(column[n]) for symbol, column in columns.items()} for n in range(count)]
    return np.stack([equations.vector(fields.equation, row) for row in rows])


def _neighbours(fields: Fields, name: str) -> np.ndarray:
    """Pairs of near particles in every frame, int32 (N, T, E, 2), padded with -1."""
    radius = float(fields.facts["default_connectivity_radius"])
    box = np.ptp(np.asarray(fields.facts["bounds"], dtype=np.float64), axis=1)
    flags = fields.facts["periodic_boundary_conditions"]
    periodic = all(flags)
    if any(flags) and not periodic:
        raise StudyError(f"{name}: periodic along some axes only ({flags}): boxes are periodic or walled")
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
    every = fields.space[0] // points
    if fields.space[0] % points or any(there % every for there in fields.space):
        there = " x ".join(map(str, fields.space))
        raise StudyError(f"{path.name}: {there} points cannot be thinned to conversion.points = {points}")
    return every


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


def border_rings(points_PD: np.ndarray, cells_M3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the points on the outer border of a mesh, and of those around holes (may be none).

    A border is made of edges that belong to one triangle only; the one that reaches farthest is the outer one.
    """
    edges_E2 = np.sort(np.concatenate([cells_M3[:, [0, 1]], cells_M3[:, [1, 2]], cells_M3[:, [0, 2]]]), axis=1)
    unique_E2, counts_E = np.unique(edges_E2, axis=0, return_counts=True)
    rim_E2 = unique_E2[counts_E == 1]
    graph = coo_array((np.ones(len(rim_E2)), tuple(rim_E2.T)), shape=(len(points_PD),) * 2)
    ring_P = connected_components(graph, directed=False)[1]
    rim_R = np.unique(rim_E2)
    found = [rim_R[ring_P[rim_R] == ring] for ring in np.unique(ring_P[rim_R])]
    found.sort(key=lambda ring: -np.ptp(points_PD[ring], axis=0).sum())
    return found[0], np.concatenate([np.empty(0, int), *found[1:]])


def border_distances(points_PD: np.ndarray, cells_M3: np.ndarray) -> np.ndarray:
    """How far every point is from the outer border and from the nearest hole, float32 (P, 2).

    Distances go to border points and are shares of the mesh's extent; where there is no hole the second one is 1.
    """
    extent = np.ptp(points_PD, axis=0).max()
    columns = [
        cKDTree(points_PD[ring]).query(points_PD)[0] / extent if len(ring) else np.ones(len(points_PD))
        for ring in border_rings(points_PD, cells_M3)
    ]
    return np.stack(columns, axis=1).astype(np.float32)
