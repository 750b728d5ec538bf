"""The tasks the solvers can make, as files in PDEBench's exact layout: what is offline stands in for what is published.

Decisions:
- Keys, axis order, types, attributes and the time coordinate that is one longer than the data are PDEBench's, so that
  its files and ours go through the same reader. Attributes beyond those say how a file was made.
- Points, frames and trajectories may be fewer. One-dimensional tasks are solved on at least `FINE` cells and thinned,
  because a coarse solution would be a wrong truth.
- File names are PDEBench's, with a number before the ending where a task is made of several files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from stepladder.core import files
from stepladder.core.types import StudyError
from stepladder.studies.pde.data.solvers import advection, burgers, darcy, initial, navier_stokes, reaction_diffusion

FINE = 512  # cells a one-dimensional task is solved on at least
VERSION = 1


@dataclass(frozen=True)
class Job:
    """One file to be made: `trajectories` on `points` points, numbered from `first` among those of `seed`."""

    coefficients: Mapping[str, float]
    trajectories: int
    points: int
    seed: int
    first: int = 0

    @property
    def numbers(self) -> range:
        """Numbers of the trajectories: the same number is the same initial state, whatever file it is in."""
        return range(self.first, self.first + self.trajectories)

    @property
    def every(self) -> int:
        """Fine cells from one stored point to the next."""
        return max(1, -(-FINE // self.points))

    @property
    def fine(self) -> int:
        """Cells it is solved on."""
        return self.every * self.points


@dataclass(frozen=True)
class Task:
    """How one kind of file is made.

    Attributes:
        name: of the file, with a place for every coefficient.
        coefficients: the published ones, used where none are given.
        write: fills an open file.
    """

    name: str
    coefficients: Mapping[str, float]
    write: Callable[[h5py.File, Job], None]


def make(folder: Path, equation: str, job: Job, number: int | None = None) -> Path:
    """Write one file to `folder` and return its path; the same arguments give the same bytes.

    A file that these arguments made before is kept, so that what was converted from it stays valid.

    Raises:
        StudyError: no such task, or a coefficient it does not have.
    """
    if equation not in TASKS:
        raise StudyError(f"no solver for {equation!r}; known: {', '.join(TASKS)}")
    task = TASKS[equation]
    unknown = sorted(set(job.coefficients) - set(task.coefficients))
    if unknown:
        raise StudyError(f"{equation} has no coefficient {unknown[0]!r}; it has {', '.join(task.coefficients)}")
    told = {**task.coefficients, **job.coefficients}
    job = Job(told, job.trajectories, job.points, job.seed, job.first)
    stem, dot, ending = task.name.format(**{key: f"{value:g}" for key, value in told.items()}).rpartition(".")
    path = Path(folder) / (f"{stem}{dot}{ending}" if number is None else f"{stem}_{number:03d}{dot}{ending}")
    wanted = files.fingerprint([equation, vars(job), VERSION])
    if recipe(path) != wanted:
        with files.atomic(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
            task.write(file, job)
            file.attrs["solver"] = f"stepladder {equation} {VERSION}, seed {job.seed}, trajectories from {job.first}"
            file.attrs["recipe"] = wanted
    return path


def recipe(path: Path) -> str | None:
    """What a file was made from, as a fingerprint; None where it is not a file that `make` made."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return file.attrs.get("recipe")
    except OSError:
        return None


def _write_line(file: h5py.File, u_NTX: np.ndarray, x_X: np.ndarray, step: float, **attributes: float) -> None:
    """The layout `tensor`."""
    file.create_dataset("tensor", data=u_NTX.astype(np.float32), track_times=False)
    file.create_dataset("x-coordinate", data=x_X.astype(np.float32), track_times=False)
    times = np.arange(u_NTX.shape[1] + 1) * step
    file.create_dataset("t-coordinate", data=times.astype(np.float32), track_times=False)
    file.attrs.update(attributes)


def _waves(job: Job, unit: bool = False) -> tuple[np.ndarray, initial.Waves]:
    """Fine cell centres and the initial states on them."""
    x_X = initial.centres(job.fine)
    return x_X, initial.Waves(job.seed, job.numbers, x_X[-1] - x_X[0], unit)


def _burgers(file: h5py.File, job: Job) -> None:
    x_X, waves = _waves(job)
    u = burgers.solve(waves(x_X), job.coefficients["eps"], np.linspace(0, 2, 201))
    _write_line(file, u[:, :, :: job.every], x_X[:: job.every], 0.01, Nu=job.coefficients["eps"])


def _advection(file: h5py.File, job: Job) -> None:
    x_X, waves = _waves(job)
    kept = x_X[:: job.every]
    u = advection.solve(waves, job.coefficients["beta"], x_X, np.linspace(0, 2, 201))[:, :, :: job.every]
    _write_line(file, u, kept, 0.01, beta=job.coefficients["beta"])


def _reaction_diffusion(file: h5py.File, job: Job) -> None:
    x_X, waves = _waves(job, unit=True)
    nu, rho = job.coefficients["nu"], job.coefficients["rho"]
    u = reaction_diffusion.solve_1d(waves(x_X), nu, rho, np.linspace(0, 1, 101))
    _write_line(file, u[:, :, :: job.every], x_X[:: job.every], 0.01, Nu=nu, rho=rho)


def _darcy(file: h5py.File, job: Job) -> None:
    a_NYX = initial.two_valued(job.seed, job.numbers, job.points)
    u = darcy.solve(a_NYX, job.coefficients["beta"])[:, None]
    for name, data in (("nu", a_NYX), ("tensor", u)):
        file.create_dataset(name, data=data.astype(np.float32), track_times=False)
    for name in ("x-coordinate", "y-coordinate"):
        file.create_dataset(name, data=initial.centres(job.points).astype(np.float32), track_times=False)
    file.create_dataset("t-coordinate", data=np.zeros(1, np.float32), track_times=False)
    file.attrs["beta"] = job.coefficients["beta"]


def _reaction_diffusion_2d(file: h5py.File, job: Job) -> None:
    noise = initial.white_noise(job.seed, job.numbers, (job.points, job.points, 2))
    times, x = np.linspace(0, 5, 101), initial.centres(job.points, 2.0, -1.0)
    uv = reaction_diffusion.solve_2d(noise, times)
    for number, frames in zip(job.numbers, uv, strict=True):
        group = file.create_group(f"{number:04d}")
        group.create_dataset("data", data=frames.astype(np.float32), compression="lzf", track_times=False)
        group.attrs.update({"Du": reaction_diffusion.DU, "Dv": reaction_diffusion.DV, "k": reaction_diffusion.K})
        for name, axis in (("x", x), ("y", x), ("t", times)):
            group.create_dataset(f"grid/{name}", data=axis.astype(np.float32), track_times=False)


def _navier_stokes(file: h5py.File, job: Job) -> None:
    x = initial.centres(job.points)
    vorticity = 5 * initial.random_field(job.seed, job.numbers, job.points)
    dye = initial.random_field(job.seed + 1, job.numbers, job.points)
    # Kolmogorov's force, of which PDEBench's random one is a relative: f = (sin 4 pi y, 0) / 10, its curl
    # -0.4 pi cos 4 pi y
    force = np.zeros((job.trajectories, job.points, job.points, 2))
    force[..., 0] = 0.1 * np.sin(4 * np.pi * x)[:, None]
    curl = np.broadcast_to(-0.4 * np.pi * np.cos(4 * np.pi * x)[:, None], dye.shape)
    times = np.linspace(0, 2, 21)
    velocity, carried = navier_stokes.solve(vorticity, dye, curl, job.coefficients["nu"], times)
    chunk = (1, 1, job.points, job.points)
    for name, data in (("velocity", velocity), ("particles", carried[..., None])):
        packed = {"compression": "lzf", "shuffle": True, "chunks": (*chunk, data.shape[-1]), "track_times": False}
        file.create_dataset(name, data=data.astype(np.float32), **packed)
    file.create_dataset("force", data=force.astype(np.float32), track_times=False)
    file.create_dataset("t", data=np.tile(times.astype(np.float32), (job.trajectories, 1)), track_times=False)
    file.attrs.update({"nu": job.coefficients["nu"], "boundary": "periodic"})


TASKS = {
    "burgers": Task("1D_Burgers_Sols_Nu{eps}.hdf5", {"eps": 0.01}, _burgers),
    "advection": Task("1D_Advection_Sols_beta{beta}.hdf5", {"beta": 0.1}, _advection),
    "reaction_diffusion": Task("ReacDiff_Nu{nu}_Rho{rho}.hdf5", {"nu": 0.5, "rho": 1.0}, _reaction_diffusion),
    "darcy": Task("2D_DarcyFlow_beta{beta}_Train.hdf5", {"beta": 1.0}, _darcy),
    "reaction_diffusion_2d": Task("2D_diff-react_NA_NA.h5", {}, _reaction_diffusion_2d),
    "navier_stokes": Task("ns_incom_inhom_2d_512-0_nu{nu}.h5", {"nu": 0.01}, _navier_stokes),
}
