"""How fast and how right the solvers are: Burgers at PDEBench's size, and every cross-check that can be a number.

Run `python tests/benchmarks/bench_solvers.py`. Speed: 200 trajectories on 1024 points, 201 frames to t = 2, one thread.
Accuracy: half the step, spectral against finite volumes, and Raissi's published file (skipped where it is not there).
The record is tests/benchmarks/records/solvers.json.
"""

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.io
from scipy.interpolate import CubicSpline

from stepladder.dev import records
from stepladder.studies.pde.data.solvers import advection, burgers, darcy, initial, navier_stokes, reaction_diffusion

ROOT = Path(__file__).resolve().parents[2]
POINTS, TRAJECTORIES, CHECKED = 1024, 200, 4
TARGET_S = 60.0  # CPU-seconds for the 200 trajectories of eps = 0.01, on one of two cores


def main() -> None:
    """Measure, print, record."""
    record: dict[str, Any] = {
        "points": POINTS,
        "trajectories": TRAJECTORIES,
        "frames": 201,
        "target_cpu_s": TARGET_S,
        "burgers_cpu_s_per_200": {f"eps {eps:g}": speed(eps, count) for eps, count in CASES.items()},
        "burgers_checks": burgers_checks(),
        "raissi_relative_l2": raissi(),
        "others": others(),
    }
    for name, value in record.items():
        print(f"{name}: {value}")
    records.write(__file__, record)


# eps -> trajectories that are timed; where fewer than 200, the time is scaled up
CASES = {0.01: TRAJECTORIES, 0.1: 25, 1.0: 25, 0.001: 8}


def states(count: int, points: int = POINTS, unit: bool = False) -> np.ndarray:
    """Initial states of the published recipe."""
    x = initial.centres(points)
    return initial.Waves(2022, range(count), x[-1] - x[0], unit)(x)


def speed(eps: float, count: int) -> float:
    """CPU-seconds for 200 trajectories."""
    u = states(count)
    begin = time.process_time()
    burgers.solve(u, eps, np.linspace(0, 2, 201))
    return (time.process_time() - begin) * TRAJECTORIES / count


def burgers_checks() -> dict[str, float]:
    """Relative L2 over all frames of 0.1 and a few trajectories."""
    u, times = states(CHECKED), np.linspace(0, 2, 21)
    truth = burgers.solve_spectral(u, 0.01, times)
    return {
        "half the step": relative(burgers.solve_spectral(u, 0.01, times, courant=0.5), truth),
        "finite volumes, 1024 cells": relative(burgers.solve_volumes(u, 0.01, times), truth),
        "spectral, 512 points": relative(burgers.solve_spectral(u[:, ::2], 0.01, times), truth[:, :, ::2]),
    }


def raissi() -> float | None:
    """Relative L2 to the published reference; None where the file is not there."""
    shared = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    path = shared / "pde" / "pinns_burgers_shock.mat"
    if not path.exists():
        return None
    file = scipy.io.loadmat(path)
    x = initial.centres(POINTS, 2.0, -1.0)
    u_TX = burgers.solve_spectral(-np.sin(np.pi * x)[None], 0.01, file["t"][:, 0], 2.0)[0]
    around = np.concatenate([x - 2, x, x + 2])
    return relative(np.stack([CubicSpline(around, np.tile(u, 3))(file["x"][:, 0]) for u in u_TX]), file["usol"].T)


def others() -> dict[str, dict[str, float]]:
    """CPU milliseconds per trajectory of the other solvers, and the relative L2 that half the step changes."""
    times, unit = np.linspace(0, 1, 101), states(8, unit=True)
    noise = initial.white_noise(0, range(2), (64, 64, 2))
    vorticity = 5 * initial.random_field(0, range(2), 64)
    still = np.zeros_like(vorticity)
    flow_times = np.linspace(0, 2, 21)

    def fisher(step: float = 5e-4) -> np.ndarray:
        return reaction_diffusion.solve_1d(unit, 0.5, 1.0, times, longest_step=step)

    def fitzhugh(step: float = 0.025) -> np.ndarray:
        return reaction_diffusion.solve_2d(noise, np.linspace(0, 5, 101), step)

    def flow(courant: float = 1.0) -> np.ndarray:
        return navier_stokes.solve(vorticity, vorticity, still, 0.01, flow_times, courant=courant)[0]

    def shift() -> np.ndarray:
        return advection.shift_spectrum(states(8), 0.4, np.linspace(0, 2, 201))

    return {
        "advection, 1024 points": {"ms": milliseconds(shift, 8)},
        "fisher, 1024 points": {"ms": milliseconds(fisher, 8), "half the step": relative(fisher(2.5e-4), fisher())},
        "fitzhugh-nagumo, 64 x 64": {
            "ms": milliseconds(fitzhugh, 2),
            "half the step": relative(fitzhugh(0.0125), fitzhugh()),
        },
        "navier-stokes, 64 x 64": {"ms": milliseconds(flow, 2), "half the step": relative(flow(0.5), flow())},
        "darcy, 128 x 128": {"ms": milliseconds(lambda: darcy.solve(initial.two_valued(0, range(2), 128)), 2)},
    }


def milliseconds(solve, count: int) -> float:
    """CPU milliseconds per trajectory."""
    begin = time.process_time()
    solve()
    return 1000 * (time.process_time() - begin) / count


def relative(one: np.ndarray, two: np.ndarray) -> float:
    """Norm of the difference over norm of the second."""
    return float(np.linalg.norm(one - two) / np.linalg.norm(two))


if __name__ == "__main__":
    main()
