"""LagrangeBench's layout (Toshev et al., NeurIPS 2023): `<split>.h5` with `00000/position`, and `metadata.json` beside.

Positions are (frames, particles, dimensions) in a periodic or walled box; `particle_type` is an integer each. The
neighbour lists that a network needs are found once, here, with the box's periods respected.

Decisions:
- `dt` of the metadata is the step of the solver; a frame lasts `write_every` of them (1 where it is not told).
- One set of particle types for all trajectories: a file where they differ is refused.
"""

import json
from pathlib import Path

import h5py
import numpy as np
from scipy.spatial import cKDTree

from stepladder.core.types import StudyError
from stepladder.studies.pde.data.readers.fields import Fields, Take

NEEDED = ("dim", "dt", "bounds", "periodic_boundary_conditions", "default_connectivity_radius")


def length(file: h5py.File) -> int:
    """Number of trajectories."""
    return len(file)


def read(file: h5py.File, take: Take) -> Fields:
    """The part `take`; `u` holds positions, `facts` the box, the connectivity radius and the published statistics.

    Raises:
        StudyError: no metadata beside the file, a key missing in it, or trajectories of different sizes or types.
    """
    path = Path(file.filename)
    facts = _metadata(path)
    rows = sorted(file)[take.rows]
    shapes = {file[row]["position"].shape for row in rows}
    if len(shapes) > 1:
        raise StudyError(f"{path.name}: trajectories of different sizes {sorted(shapes)}: split the file by size")
    u = np.stack([file[row]["position"][take.frames] for row in rows]).astype(np.float32)
    if u.shape[-1] != facts["dim"]:
        raise StudyError(f"{path.name}: positions are {u.shape[-1]}-dimensional, metadata.json says {facts['dim']}")
    types_P = _types(file, rows, u.shape[2])
    times_T = np.arange(u.shape[1]) * facts["dt"] * facts.get("write_every", 1) * take.every_frame
    periodic = all(facts["periodic_boundary_conditions"])
    boundary, names = "periodic" if periodic else "wall", tuple("xyz"[: facts["dim"]])
    return Fields("particles", "lagrangian", names, u, times_T, boundary=boundary, types_P=types_P, facts=facts)


def neighbours(position_P: np.ndarray, radius: float, box: np.ndarray | None) -> np.ndarray:
    """Pairs of particles nearer than `radius`, int32 (E, 2), each once, lower number first.

    Args:
        position_P: (P, D) positions.
        radius: of the neighbourhood, in the positions' unit.
        box: (D,) periods of a box that begins at 0; None: no periods.
    """
    if box is not None:
        position_P = np.mod(position_P.astype(np.float64), box)
        position_P = np.where(position_P >= box, 0.0, position_P)  # rounding can reach the period itself
    tree = cKDTree(position_P, boxsize=box)
    return np.sort(tree.query_pairs(radius, output_type="ndarray").astype(np.int32), axis=1)


def _types(file: h5py.File, rows: list[str], count: int) -> np.ndarray:
    """The types of the `count` particles, int32 (P,), the same in all trajectories `rows`."""
    name = Path(file.filename).name
    types_P = np.asarray(file[rows[0]]["particle_type"], dtype=np.int32)
    if types_P.shape != (count,):
        raise StudyError(
            f"{name}: particle_type of {rows[0]} has shape {types_P.shape}, but there are {count} particles"
        )
    for row in rows[1:]:
        if not np.array_equal(file[row]["particle_type"], types_P):
            raise StudyError(f"{name}: particle_type of {row} is not that of {rows[0]}: split the file by types")
    return types_P


def _metadata(path: Path) -> dict:
    beside = path.with_name("metadata.json")
    if not beside.exists():
        raise StudyError(f"{path.name}: no metadata.json beside it: dt, box and radius are unknown; fetch it too")
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(f"{path.name}: metadata.json beside it cannot be read ({error}); fetch it again") from None
    missing = [key for key in NEEDED if key not in facts]
    if missing:
        raise StudyError(f"{path.name}: metadata.json lacks {', '.join(missing)}")
    return facts
