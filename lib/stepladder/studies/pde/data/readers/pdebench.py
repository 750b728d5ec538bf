"""PDEBench's HDF5 layouts (Takamoto et al., NeurIPS 2022), all of them, read in slices.

| layout | datasets | who |
| --- | --- | --- |
| `tensor` | `tensor` (N, T, X), `x-coordinate`, `t-coordinate` | advection, Burgers, reaction-diffusion |
| `darcy` | `tensor` (N, 1, X, Y) the answer, `nu` (N, X, Y) the coefficient, `x-`, `y-coordinate` | Darcy |
| `fields` | `density`, `pressure`, `Vx` [`Vy` [`Vz`]], each (N, T, X[, Y[, Z]]) | compressible flow |
| `groups` | groups `0000` ...: `data` (T, X[, Y], C), `grid/x`, `grid/t` | sorption, 2-D reaction, shallow water |
| `incompressible` | `velocity`, `particles`, `force` (N, T, H, W, C), `t` | incompressible flow |

Decisions:
- `t-coordinate` holds one time more than there are frames; the last is dropped. Any other length is an error.
- A coefficient comes from the file's attribute, else from its name (counted), else the file is refused: a field whose
  coefficient is lost cannot be learned from honestly.
- Grouped and incompressible files tell coefficients in the YAML text of their attribute `config`. Where they do not,
  the published ones are taken (counted), because these files were published with one set only.
- Axes are checked against the lengths of the coordinates, and a transposed file is refused, never guessed around.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import h5py
import numpy as np
import yaml

from stepladder.core.types import Issue, StudyError
from stepladder.studies.pde.data.equations import EQUATIONS
from stepladder.studies.pde.data.readers.fields import Fields, Take, shared_times

NUMBER = r"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"  # PDEBench also writes `1.e-8`
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast: one text for each of 10,000 trajectories
FLOW = ("density", "pressure", "Vx", "Vy", "Vz")
WORDS = {"advection": "advection", "burgers": "burgers", "reacdiff": "reaction_diffusion", "darcy": "darcy"}
# symbol -> how attributes and file names spell it
SPELLINGS = {
    "eps": ("Nu", "nu", "epsilon", "eps"),
    "beta": ("beta",),
    "nu": ("Nu", "nu", "NU"),
    "rho": ("rho", "Rho"),
    "eta": ("eta", "Eta"),
    "zeta": ("zeta", "Zeta"),
    "M": ("M",),
}
GROUPED = {
    "diff-sorp": ("diffusion_sorption", ("concentration",), {"D": 5e-4}),
    "diff-react": ("reaction_diffusion_2d", ("activator", "inhibitor"), {"Du": 1e-3, "Dv": 5e-3, "k": 5e-3}),
    "rdb": ("shallow_water", ("height",), {}),
}
INCOMPRESSIBLE = {"nu": 0.01}


def layout(file: h5py.File) -> str | None:
    """Which layout a file has; None where it is no file of PDEBench."""
    keys = set(file)
    if "tensor" in keys:
        return "darcy" if "nu" in keys else "tensor"
    if "density" in keys and "Vx" in keys:
        return "fields"
    if {"velocity", "particles"} <= keys:
        return "incompressible"
    return "groups" if any(_is_row(file, name) and "data" in file[name] for name in file) else None


def length(file: h5py.File) -> int:
    """Number of trajectories."""
    kind = layout(file)
    if kind == "groups":
        return len(_rows(file))
    return len(file[{"fields": "density", "incompressible": "velocity"}.get(kind or "", "tensor")])


def read(file: h5py.File, take: Take) -> Fields:
    """The part `take` of an open file; see the module for the layouts.

    Raises:
        StudyError: a dataset or coefficient is missing, or axes do not fit the coordinates.
    """
    readers: dict[str, Callable[[h5py.File, Take], Fields]] = {
        "tensor": _tensor,
        "darcy": _darcy,
        "fields": _flow,
        "groups": _groups,
        "incompressible": _incompressible,
    }
    return readers[layout(file) or ""](file, take)


def _tensor(file: h5py.File, take: Take) -> Fields:
    name = Path(file.filename).name
    equation = next((found for word, found in WORDS.items() if word in name.lower()), None)
    if equation is None:
        raise StudyError(f"{name}: which equation? The name of a `tensor` file must hold one of {', '.join(WORDS)}")
    x_X, times = _coordinate(file, "x-coordinate"), _coordinate(file, "t-coordinate")
    tensor = file["tensor"]
    _check_axes(name, "tensor", tensor.shape, times, (x_X,))
    coefficients, issues = coefficients_of(name, file.attrs, equation)
    u = tensor[take.rows, take.frames, take.points].astype(np.float32)[..., None]
    times_T = times[: tensor.shape[1]][take.frames]
    return Fields("grid", equation, ("u",), u, times_T, (x_X[take.points],), None, coefficients, issues=issues)


def _darcy(file: h5py.File, take: Take) -> Fields:
    name = Path(file.filename).name
    axes = tuple(_coordinate(file, f"{letter}-coordinate") for letter in "xy")
    _check_axes(name, "tensor", file["tensor"].shape, np.zeros(1), axes)
    coefficients, issues = coefficients_of(name, file.attrs, "darcy")
    _check_shape(file, "nu", (len(file["tensor"]), *file["tensor"].shape[2:]))
    place = take.rows, take.points, take.points
    u = file["tensor"][(place[0], slice(None), *place[1:])].astype(np.float32)[..., None]
    given = file["nu"][place].astype(np.float32)[..., None]
    thinned = tuple(axis[take.points] for axis in axes)
    times = np.zeros(1)
    return Fields("grid", "darcy", ("u",), u, times, thinned, None, coefficients, "dirichlet", given, issues=issues)


def _flow(file: h5py.File, take: Take) -> Fields:
    name = Path(file.filename).name
    names = tuple(field for field in FLOW if field in file)
    space = file["density"].ndim - 2
    missing = set(FLOW[: 2 + space]) - set(names)
    if missing:
        raise StudyError(f"{name}: {space}-dimensional flow needs {', '.join(sorted(missing))}; has {', '.join(file)}")
    axes = tuple(_coordinate(file, f"{letter}-coordinate") for letter in "xyz"[:space])
    times = _coordinate(file, "t-coordinate")
    _check_axes(name, "density", file["density"].shape, times, axes)
    for field in names:
        _check_shape(file, field, file["density"].shape)
    equation = f"compressible_{space}d"
    coefficients, issues = coefficients_of(name, file.attrs, equation)
    place = (take.rows, take.frames, *(take.points,) * space)
    u = np.stack([file[field][place].astype(np.float32) for field in names], axis=-1)
    boundary = "outflow" if "trans" in name else "periodic"
    times_T = times[: file["density"].shape[1]][take.frames]
    thinned = tuple(axis[take.points] for axis in axes)
    return Fields("grid", equation, names, u, times_T, thinned, None, coefficients, boundary, issues=issues)


def _groups(file: h5py.File, take: Take) -> Fields:
    name = Path(file.filename).name
    known = next((row for word, row in GROUPED.items() if word in name), None)
    if known is None:
        raise StudyError(f"{name}: which equation? The name of a grouped file must hold one of {', '.join(GROUPED)}")
    equation, names, published = known
    every = _rows(file)
    rows = every[take.rows]
    first = file[rows[0]]
    axes = tuple(np.asarray(first[f"grid/{letter}"]) for letter in "xy" if f"grid/{letter}" in first)
    for row in rows:
        _check_shape(file, f"{row}/data", (*first["data"].shape[:-1], len(names)))
        _check_shape(file, f"{row}/grid/t", first["grid/t"].shape)
    times = shared_times(np.stack([file[row]["grid/t"] for row in rows]), name)
    _check_axes(name, f"{rows[0]}/data", (1, *first["data"].shape[:-1]), times, axes)
    coefficients, issues = _published(name, _alike(file, [every[0], *rows], published), published)
    place = (take.frames, *(take.points,) * len(axes))
    u = np.stack([file[row]["data"][place].astype(np.float32) for row in rows])
    thinned, times_T = tuple(axis[take.points] for axis in axes), times[: first["data"].shape[0]][take.frames]
    boundary = EQUATIONS[equation].boundary
    return Fields("grid", equation, names, u, times_T, thinned, None, coefficients, boundary, issues=issues)


def _incompressible(file: h5py.File, take: Take) -> Fields:
    name, whole = Path(file.filename).name, file["velocity"].shape
    for key, shape in {"velocity": (*whole[:-1], 2), "particles": (*whole[:-1], 1)}.items():
        _check_shape(file, key, shape)
    _check_shape(file, "force", (whole[0], *whole[2:4], 2))
    place = (take.rows, take.frames, take.points, take.points)
    velocity, dye = (file[key][place].astype(np.float32) for key in ("velocity", "particles"))
    force = file["force"][(take.rows, take.points, take.points)].astype(np.float32)
    rows, columns = whole[2:4]
    # the published files hold no coordinates: the box is the unit square, cells are equal
    axes = tuple(((np.arange(n) + 0.5) / n)[take.points] for n in (rows, columns))
    times = shared_times(file["t"][()], name)
    _check_axes(name, "velocity", whole[:-1], times, (np.zeros(rows), np.zeros(columns)))
    coefficients, issues = _published(name, _told(file.attrs, INCOMPRESSIBLE, name), INCOMPRESSIBLE)
    u = np.concatenate([velocity, dye], axis=-1)
    boundary = _text(file.attrs.get("boundary", "wall"))
    names = ("Vx", "Vy", "dye")
    times_T = times[: whole[1]][take.frames]
    return Fields("grid", "navier_stokes", names, u, times_T, axes, None, coefficients, boundary, force, issues=issues)


def _rows(file: h5py.File) -> list[str]:
    """Names of the groups that hold a trajectory each, in order; whatever else the root holds is no trajectory."""
    return sorted(name for name in file if _is_row(file, name))


def _is_row(file: h5py.File, name: str) -> bool:
    return name.isdigit() and isinstance(file[name], h5py.Group)


def _alike(file: h5py.File, rows: list[str], symbols: Collection[str]) -> dict[str, float]:
    """Coefficients that the groups `rows` tell; refused where they differ, because a file is one group of results."""
    name, first = Path(file.filename).name, None
    for row in rows if symbols else ():
        told = _told({**file.attrs, **file[row].attrs}, symbols, f"{name}: {row}")
        first = told if first is None else first
        if told != first:
            raise StudyError(f"{name}: {row} has the coefficients {told}, not {first}: split the file by coefficients")
    return first or {}


def _told(attributes: Mapping[str, object], symbols: Collection[str], place: str) -> dict[str, float]:
    """Coefficients by symbol that attributes tell, or else the YAML text of the attribute `config`."""
    try:
        config = yaml.load(_text(attributes.get("config", "")), Loader=YAML)
    except yaml.YAMLError as error:
        raise StudyError(f"{place}: the attribute config is no YAML ({error}); mend or delete it") from None
    config = config if isinstance(config, dict) else {}
    inner = config.get("sim")
    places = (attributes, inner if isinstance(inner, dict) else {}, config)
    found: dict[str, float] = {}
    for symbol in symbols:
        words = SPELLINGS.get(symbol, (symbol,))
        value = next((known[word] for known in places for word in words if word in known), None)
        if value is not None:
            found[symbol] = float(np.asarray(value).ravel()[0])  # YAML reads `1E-3`, which has no point, as text
    return found


def _published(
    name: str, told: Mapping[str, float], published: Mapping[str, float]
) -> tuple[dict[str, float], tuple[Issue, ...]]:
    """All coefficients: those that are told, the others as published and counted."""
    missing = {symbol: value for symbol, value in published.items() if symbol not in told}
    kind = "coefficient from the published configuration"
    issues = tuple(Issue(kind, 1, f"{name}: {symbol}={value:g}") for symbol, value in missing.items())
    return {**published, **told}, issues


def coefficients_of(
    name: str, attributes: Mapping[str, object], equation: str
) -> tuple[dict[str, float], tuple[Issue, ...]]:
    """Coefficients of a file by symbol, from its attributes or else its name.

    Raises:
        StudyError: neither tells one that the equation has.
    """
    found: dict[str, float] = {}
    issues: list[Issue] = []
    for symbol in EQUATIONS[equation].symbols:
        spellings = SPELLINGS[symbol]
        told = next((attributes[word] for word in spellings if word in attributes), None)
        match = re.search(rf"(?:^|_|Sols_)(?:{'|'.join(spellings)}){NUMBER}(?=[_.]|$)", name)
        if told is None and match is None:
            raise StudyError(
                f"{name}: coefficient {symbol!r} is neither an attribute nor in the file's name; "
                f"add the attribute {spellings[0]!r}"
            )
        found[symbol] = float(match[1]) if told is None and match else float(np.asarray(told).ravel()[0])
        if told is None:
            issues.append(Issue("coefficient taken from the file name", 1, f"{name}: {symbol}={found[symbol]:g}"))
        elif match is not None and not np.isclose(float(match[1]), found[symbol], rtol=1e-3):
            raise StudyError(
                f"{name}: attribute says {symbol}={found[symbol]:g}, its name {match[1]}: one is wrong, rename it"
            )
    return found, tuple(issues)


def _coordinate(file: h5py.File, key: str) -> np.ndarray:
    if key not in file:
        raise StudyError(f"{Path(file.filename).name}: no dataset {key!r}, only {', '.join(sorted(file))}")
    return np.asarray(file[key], dtype=np.float64)


def _check_axes(name: str, key: str, shape: tuple[int, ...], times: np.ndarray, axes: tuple[np.ndarray, ...]) -> None:
    """Refuse `shape` where it is not (trajectories, frames, points ...) by the lengths of the coordinates."""
    space = tuple(len(axis) for axis in axes)
    right = len(shape) == 2 + len(space) and shape[2:] == space and len(times) - shape[1] in (0, 1)
    if not right:
        raise StudyError(
            f"{name}: {key} has shape {shape}, but coordinates say (trajectories, {len(times)} or one less frames, "
            f"{', '.join(map(str, space))} points): wrong axis order or a file cut short"
        )


def _check_shape(file: h5py.File, key: str, right: tuple[int, ...]) -> None:
    """Refuse a dataset whose shape is not that of its companions."""
    if file[key].shape != right:
        name = Path(file.filename).name
        raise StudyError(f"{name}: {key} has shape {file[key].shape}, not {right} as the others: mixed or cut short")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
