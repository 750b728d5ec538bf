"""What a network must beat: guesses (`guesses`), fits (`fits`), and classical solvers on coarse grids, which are here.

Decisions:
- Every method sees what the network sees: the state, the coefficients, the steps; and answers all frames of the sample.
- Classical solvers run on fewer cells than the sample has and are interpolated back. That is the honest rival: it costs
  less than a network and needs no training.
- Where an equation has no solver here, the method falls back to the strongest guess for its kind (persistence; constant
  velocity for particles), so that tables of mixed tasks have no holes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import signal

from stepladder.core.types import Baseline, Batch, Prediction
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.dataset import Trajectories, key
from stepladder.studies.pde.data.solvers import advection, burgers, darcy, navier_stokes, reaction_diffusion
from stepladder.studies.pde.models.baselines.fits import MOST_FEATURES, MeanAnswer, Nearest, Ridge, SteadyRidge
from stepladder.studies.pde.models.baselines.guesses import answer_name, persistence, spatial_mean

COARSE = 32  # cells along an axis of the coarse solver


def baselines(train: Sequence[Path], stride: int = 1) -> dict[str, Baseline]:
    """Trivial baselines first, the strong ones last; some are fitted to steps of `stride` frames of the shards `train`.

    A steady problem has no state to persist: its trivial guess is the mean of the training answers. What would only
    repeat a guess (a linear step of particles, a solver of an equation that has none here) is left out.
    """
    tables = [Trajectories(Path(path)) for path in train]
    found: dict[str, Baseline] = {"persistence": persistence, "spatial_mean": spatial_mean}
    if all(table.steady for table in tables):
        found = {"mean_answer": MeanAnswer(train), "nearest": (nearest := Nearest(train))}
        if nearest.questions.shape[1] <= MOST_FEATURES:
            found["ridge"] = SteadyRidge(train)
    elif any(table.kind == "grid" for table in tables):
        found["ridge"] = Ridge(train, stride)
    if any(table.equation in SOLVERS for table in tables):
        found["coarse_solver"] = lambda batch: solver(batch, COARSE)
        found["fine_solver"] = lambda batch: solver(batch, None)
    return found


def solver(batch: Batch, cells: int | None) -> Prediction:
    """A classical solver with `cells` cells along each axis, or all of the sample's; else `persistence`."""
    guess = persistence(batch)[answer_name(batch)]
    for item, number in enumerate(batch["equation"].tolist()):
        solve = SOLVERS.get(equations.NAMES[number])
        if solve is not None and _solvable(batch, item):
            guess[item] = torch.as_tensor(solve(_Question(batch, item), cells), dtype=guess.dtype)
    return {answer_name(batch): guess}


def _solvable(batch: Batch, item: int) -> bool:
    """Not flow between walls, as PDEBench's own files have it (the solver is periodic), and Darcy's on squares only."""
    name, space = equations.NAMES[int(batch["equation"][item])], batch[key(batch, "target_")].shape[2:-1]
    if name == "navier_stokes":
        return equations.BOUNDARIES[int(batch["boundary"][item])] == "periodic"
    return name != "darcy" or len(set(space)) == 1


class _Question:
    """One sample of a batch as a solver needs it."""

    def __init__(self, batch: Batch, item: int):
        self.state = batch[key(batch, "input_")][item].double().cpu().numpy()
        driver = next((name for name in batch if name.startswith("given_")), None)
        self.driver = None if driver is None else batch[driver][item].double().cpu().numpy()
        self.frames = batch[key(batch, "target_")].shape[1]
        name = equations.NAMES[int(batch["equation"][item])]
        self.coefficients = equations.symbols(name, batch["coefficient_K"][item].cpu().numpy())
        self.length = self.state.shape[0] * float(batch["dx"][item])
        self.times = np.arange(self.frames + 1) * float(batch["dt"][item])


def _burgers(question: _Question, cells: int | None) -> np.ndarray:
    eps, state = question.coefficients["eps"], question.state[:, 0]
    if cells is None:
        return burgers.solve(state[None], eps, question.times, question.length)[0, 1:, :, None]
    # On few cells always by finite volumes: a spectral solution would ring.
    coarse = _coarser(state, cells)
    u_TX = burgers.solve_volumes(coarse[None], eps, question.times, question.length)[0, 1:]
    return _finer(u_TX, len(state))[..., None]


def _advection(question: _Question, cells: int | None) -> np.ndarray:
    state = question.state[:, 0]
    start = state if cells is None else _coarser(state, cells)
    u_TX = advection.shift_spectrum(start[None], question.coefficients["beta"], question.times, question.length)[0, 1:]
    return _finer(u_TX, len(state))[..., None]


def _reaction_diffusion(question: _Question, cells: int | None) -> np.ndarray:
    state, told = question.state[:, 0], question.coefficients
    start = state if cells is None else _coarser(state, cells)
    step = 5e-4 if cells is None else 1e-2
    u_NTX = reaction_diffusion.solve_1d(start[None], told["nu"], told["rho"], question.times, question.length, step)
    return _finer(u_NTX[0, 1:], len(state))[..., None]


def _darcy(question: _Question, cells: int | None) -> np.ndarray:
    a_YX = question.state[..., 0]
    # Flux through layers averages resistances one way and conductances the other; the geometric mean lies between.
    coarse = a_YX if cells is None or cells >= len(a_YX) else _blocks(a_YX, max(cells // 2, 4))
    u_YX = darcy.solve(coarse[None], question.coefficients["beta"])[0]
    fine = torch.nn.functional.interpolate(torch.as_tensor(u_YX)[None, None], size=a_YX.shape, mode="bilinear")
    return fine[0].numpy()[..., None]


def _reaction_diffusion_2d(question: _Question, cells: int | None) -> np.ndarray:
    step = 0.025 if cells is None else 0.25
    return reaction_diffusion.solve_2d(question.state[None], question.times, step)[0, 1:]


def _navier_stokes(question: _Question, cells: int | None) -> np.ndarray:
    """Periodic flow only; on coarse grids every n-th point."""
    points = len(question.state)
    every = 1 if cells is None else max(1, points // max(cells // 2, 8))
    assert question.driver is not None, "a flow is driven by a force"
    state, force = question.state[::every, ::every], question.driver[::every, ::every]
    vorticity, curl = (navier_stokes.curl(field[..., :2], question.length) for field in (state, force))
    started = vorticity[None], state[None, ..., 2], curl[None]
    velocity, dye = navier_stokes.solve(*started, question.coefficients["nu"], question.times, question.length)
    # a uniform wind carries the rest along, and vorticity does not know it; ours starts without one
    u_TYXC = np.concatenate([velocity[0, 1:], dye[0, 1:, ..., None]], axis=-1)
    return _periodic_finer(u_TYXC, points)


SOLVERS: dict[str, Callable[[_Question, int | None], np.ndarray]] = {
    "burgers": _burgers,
    "advection": _advection,
    "reaction_diffusion": _reaction_diffusion,
    "darcy": _darcy,
    "reaction_diffusion_2d": _reaction_diffusion_2d,
    "navier_stokes": _navier_stokes,
}


def _coarser(u_X: np.ndarray, cells: int) -> np.ndarray:
    """Means over equal runs of points."""
    return u_X.reshape(_divisor(len(u_X), cells), -1).mean(axis=1)


def _blocks(a_YX: np.ndarray, cells: int) -> np.ndarray:
    """Geometric means over square blocks of a positive coefficient."""
    cells = _divisor(len(a_YX), cells)
    return np.exp(np.log(a_YX).reshape(cells, -1, cells, len(a_YX) // cells).mean(axis=(1, 3)))


def _divisor(points: int, cells: int) -> int:
    """The most cells, up to `cells`, that divide `points`; `points` where that would be less than half of `cells`."""
    # Whole runs of points only.
    most = max(n for n in range(1, min(cells, points) + 1) if points % n == 0)
    return most if 2 * most > cells else points


def _finer(u_TX: np.ndarray, points: int) -> np.ndarray:
    """Periodic linear interpolation of cell means at the points of a finer grid of the same interval."""
    cells = u_TX.shape[1]
    if cells == points:
        return u_TX
    # The fine centres in units of coarse cells, from the first coarse centre on.
    place = (np.arange(points) + 0.5) * cells / points - 0.5
    left, share = np.floor(place).astype(int), place % 1
    return (1 - share) * u_TX[:, left % cells] + share * u_TX[:, (left + 1) % cells]


def _periodic_finer(u_TYXC: np.ndarray, points: int) -> np.ndarray:
    """Fourier interpolation of a periodic field to `points` points along both axes, which it shares points with."""
    for axis in (1, 2):
        if u_TYXC.shape[axis] < points:
            u_TYXC = signal.resample(u_TYXC, points, axis=axis)
    return u_TYXC
