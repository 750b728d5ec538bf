"""Fields on scattered points: COMSOL's text exports (PINNacle), deepxde's arrays, Raissi's MATLAB files.

Decisions:
- COMSOL columns say themselves what they hold, `u (m/s) @ t=0.1`: fields, units, times and parameters come from there.
- Points without a value (a grid that covers more than the domain) are left out and counted.
- Where there are no triangles, edges join each point to its nearest ones.
"""

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import scipy.io
import scipy.io.matlab
from scipy.spatial import cKDTree

from stepladder.core.types import Issue, StudyError
from stepladder.studies.pde.data.readers.fields import Fields

NEIGHBOURS = 6
COLUMN = re.compile(r"(?P<name>\w+)(?: \((?P<unit>[^)]*)\))?(?: @ (?P<key>\w+)=(?P<value>\S+))?$")


def near_edges(points_PD: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """Edges that join each point to its `count` nearest ones, int32 (E, 2), each once, lower number first."""
    near_PK = cKDTree(points_PD).query(points_PD, k=min(count + 1, len(points_PD)))[1]
    own_P1 = np.arange(len(points_PD))[:, None]
    pairs = np.stack(np.broadcast_arrays(own_P1, near_PK), axis=-1).reshape(-1, 2)
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0).astype(np.int32)


def read_comsol(path: Path) -> Fields:
    """A text export of COMSOL: header lines that begin with `%`, then one line per node.

    A file without header is read as coordinates and one field, and counted.

    Raises:
        StudyError: lines of different lengths, fewer nodes than the header says, a header that fits no column, a column
            that stands twice, a parameter of two values.
    """
    header: dict[str, str] = {}
    columns: list[str] = []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("%"):
            key, colon, value = line[1:].partition(":")
            if colon:
                header[key.strip()] = value.strip()
            else:
                columns = re.split(r"\s{2,}", line[1:].strip())
        elif line.strip():
            rows.append(line.split())
    if not rows or len({len(row) for row in rows}) != 1:
        raise StudyError(f"{path.name}: lines of different lengths: not a COMSOL table, or cut short")
    table = np.array(rows, dtype=np.float64)
    expected = int(header.get("Nodes", len(table)))
    if len(table) < expected:
        raise StudyError(f"{path.name}: {len(table)} nodes, but its header says {expected}: cut short, fetch it again")
    dims = int(header.get("Dimension", str(table.shape[1] - 1)))
    if not 0 < dims < table.shape[1]:
        raise StudyError(f"{path.name}: {table.shape[1]} columns cannot be {dims} coordinates and a field")
    issues = () if columns else (Issue("file without header", 1, path.name),)
    columns = columns or [*"xyz"[:dims], "u"]
    if len(columns) != table.shape[1]:
        raise StudyError(f"{path.name}: {table.shape[1]} columns, but its header names {len(columns)}")
    return _comsol_fields(path.name, table[:, :dims], columns[dims:], table[:, dims:], header, issues)


def _comsol_fields(
    name: str, points_PD: np.ndarray, columns: list[str], values_PK: np.ndarray, header: dict[str, str], issues: tuple
) -> Fields:
    """Columns sorted into fields and times; a parameter other than the time must be the same for all."""
    told = [match for column in columns if (match := COLUMN.match(column))]
    if len(told) < len(columns):
        bad = next(column for column in columns if not COLUMN.match(column))
        raise StudyError(f"{name}: column {bad!r} does not read as `field (unit) @ key=value`")
    names = tuple(dict.fromkeys(match["name"] for match in told))
    times = list(dict.fromkeys(float(match["value"]) if match["key"] == "t" else 0.0 for match in told))
    if len(names) * len(times) != len(columns):
        raise StudyError(f"{name}: {len(columns)} columns are not {len(names)} fields at {len(times)} times each")
    u = np.empty((1, len(times), len(points_PD), len(names)), dtype=np.float32)
    coefficients: dict[str, float] = {}
    filled: set[tuple[int, int]] = set()
    for match, column_P in zip(told, values_PK.T, strict=True):
        key, value = match["key"], float(match["value"] or 0)
        if key not in (None, "t") and coefficients.setdefault(key, value) != value:
            raise StudyError(f"{name}: {key} is {coefficients[key]:g} and {value:g}: split the file by {key}")
        place = (times.index(value) if key == "t" else 0, names.index(match["name"]))
        if place in filled:
            raise StudyError(f"{name}: column {match[0]!r} stands twice: take one of them out")
        filled.add(place)
        u[0, place[0], :, place[1]] = column_P
    units = {match["name"]: match["unit"] or "1" for match in told}
    facts = {"units": units, "length_unit": header.get("Length unit", ""), "model": header.get("Model", "")}
    known = {key: value for key, value in coefficients.items() if key == "Re"}
    return scattered(name, points_PD, u, np.array(times), names, known, {**facts, "told": coefficients}, issues)


def scattered(
    name: str,
    points_PD: np.ndarray,
    u: np.ndarray,
    times_T: np.ndarray,
    names: tuple[str, ...],
    coefficients: dict[str, float],
    facts: dict,
    issues: tuple = (),
) -> Fields:
    """Fields on points, those without a value left out and counted; edges to the nearest ones."""
    if len(points_PD) != u.shape[2]:
        raise StudyError(f"{name}: {len(points_PD)} points, but values of {u.shape[2]}: cut short, or not one set")
    there_P = np.isfinite(u).all(axis=(0, 1, 3))
    if not there_P.any():
        raise StudyError(f"{name}: no point has a value")
    if not there_P.all():
        issues = (*issues, Issue("point without a value left out", int((~there_P).sum()), name))
    points_PD, u = points_PD[there_P], u[:, :, there_P]
    edges_E2 = near_edges(points_PD)
    return Fields(
        "mesh",
        "points",
        names,
        u,
        times_T,
        points_PD=points_PD,
        coefficients=coefficients,
        boundary="mixed",
        edges_E2=edges_E2,
        facts=facts,
        issues=issues,
    )


def read_deepxde(path: Path) -> Fields:
    """deepxde's reference solutions: `X_test` (P, D) and `y_ref` (P, C), NaN outside the domain."""
    try:
        with np.load(path) as arrays:
            missing = {"X_test", "y_ref"} - set(arrays)
            if missing:
                raise StudyError(f"{path.name}: no array {', '.join(sorted(missing))}, only {', '.join(arrays)}")
            points_PD, values_PC = arrays["X_test"], arrays["y_ref"]
    except StudyError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StudyError(f"{path.name} cannot be read ({error}); fetch it again") from None
    u, names = values_PC[None, None].astype(np.float32), tuple(f"u{i}" for i in range(values_PC.shape[1]))
    return scattered(path.name, points_PD, u, np.zeros(1), names, {}, {})


# What scipy's reader raises for a file that is cut or none of MATLAB's.
DAMAGED = (OSError, ValueError, TypeError, IndexError, NotImplementedError, zlib.error, scipy.io.matlab.MatReadError)
# Raissi's references: name in the file -> equation, name of its solution, time and space, coefficient.
MATLAB = {
    "burgers": ("burgers", "usol", "t", "x", {"eps": 0.01}, "dirichlet"),
    "kdv": ("korteweg_de_vries", "uu", "tt", "x", {"nu": 0.0025}, "periodic"),
    "ac": ("allen_cahn", "uu", "tt", "x", {"nu": 1e-4}, "periodic"),
}


def read_matlab(path: Path) -> Fields:
    """Raissi's reference solutions (Raissi et al., 2019): one trajectory on a line, or vorticity on scattered points.

    The coefficients are those of the paper; the files do not hold them.
    """
    try:
        content = scipy.io.loadmat(path)
    except DAMAGED as error:
        raise StudyError(f"{path.name} cannot be read ({error}); fetch it again") from None
    if {"x", "y", "w"} <= set(content):
        points_PD = np.stack([content["x"].ravel(), content["y"].ravel()], axis=1)
        u = content["w"].reshape(1, 1, -1, 1).astype(np.float32)
        return scattered(path.name, points_PD, u, np.zeros(1), ("vorticity",), {}, {})
    known = next((row for word, row in MATLAB.items() if word in path.stem.lower().split("_")), None)
    if known is None:
        raise StudyError(f"{path.name}: which equation? Its name must hold one of {', '.join(MATLAB)}")
    equation, solution, time, space, coefficients, boundary = known
    missing = {solution, time, space} - set(content)
    if missing:
        held = sorted(key for key in content if not key.startswith("__"))
        raise StudyError(f"{path.name}: no variable {', '.join(sorted(missing))}, only {', '.join(held)}")
    u_XT, x_X, times_T = content[solution], content[space].ravel(), content[time].ravel()
    if u_XT.shape != (len(x_X), len(times_T)):
        raise StudyError(f"{path.name}: {solution} has shape {u_XT.shape}, not ({len(x_X)}, {len(times_T)})")
    u = u_XT.T[None, ..., None].astype(np.float32)
    issues = (Issue("coefficient from the paper, not in the file", 1, path.name),)
    return Fields("grid", equation, ("u",), u, times_T, (x_X,), None, coefficients, boundary, issues=issues)
