"""Reaction and diffusion: Fisher's equation in one dimension, FitzHugh-Nagumo in two.

Decisions:
- 1-D, `u_t = nu u_xx + rho u (1 - u)`, periodic: Strang splitting of two flows that are each solved exactly, the
  logistic reaction in closed form and diffusion in Fourier space. It keeps 0 <= u <= 1 and is stable at any step.
- 2-D, `u_t = Du lap u + u - u^3 - k - v`, `v_t = Dv lap v + u - v`, no flow through the walls: the same idea is not
  possible for the reaction, so diffusion goes into an integrating factor in the cosine basis of the five-point
  Laplacian, and the rest takes fourth-order Runge-Kutta.
- Each has a second scheme that shares nothing with it (`solve_1d_lines`, `solve_2d_explicit`): tests compare them.
"""

import math

import numpy as np
from scipy import fft
from scipy.integrate import solve_ivp

from stepladder.studies.pde.data.solvers import spectral

DU, DV, K = 1e-3, 5e-3, 5e-3  # the published coefficients in two dimensions
SIDE = 2.0  # of the square (-1, 1)^2


def solve_1d(
    u_NX: np.ndarray, nu: float, rho: float, times_T: np.ndarray, length: float = 1.0, longest_step: float = 5e-4
) -> np.ndarray:
    """Fisher's equation from `u_NX` (0 to 1) at `times_T`, float64 (N, T, X); second order in the step."""
    points = u_NX.shape[1]
    k = spectral.wavenumbers(points, length)
    u, frames = u_NX, [u_NX]
    for span in np.diff(times_T):
        steps = math.ceil(span / longest_step - 1e-9)
        dt = span / steps
        spread = np.exp(-nu * k**2 * dt)
        for _ in range(steps):
            # Strang splitting: half a reaction, a whole diffusion, half a reaction, each of them exact.
            u = _logistic(u, rho * dt / 2)
            u = np.fft.irfft(spread * np.fft.rfft(u), points)
            u = _logistic(u, rho * dt / 2)
        frames.append(u)
    return np.stack(frames, axis=1)


def _logistic(u: np.ndarray, rate_time: float) -> np.ndarray:
    """Exact solution of `u' = rho u (1 - u)` after `rate_time = rho t`."""
    return u / (u + np.exp(-rate_time) * (1 - u))


def solve_1d_lines(u_NX: np.ndarray, nu: float, rho: float, times_T: np.ndarray, length: float = 1.0) -> np.ndarray:
    """The same by the method of lines: second differences and an implicit stepper with error control, one by one."""
    dx = length / u_NX.shape[1]

    def rate(_: float, u: np.ndarray) -> np.ndarray:
        return nu * (np.roll(u, 1) - 2 * u + np.roll(u, -1)) / dx**2 + rho * u * (1 - u)

    span, control = (times_T[0], times_T[-1]), {"method": "BDF", "rtol": 1e-8, "atol": 1e-10}
    return np.stack([solve_ivp(rate, span, u, t_eval=times_T, **control).y.T for u in u_NX])


def solve_2d(uv_NYXC: np.ndarray, times_T: np.ndarray, longest_step: float = 0.025) -> np.ndarray:
    """FitzHugh-Nagumo from `uv_NYXC` (activator, inhibitor) at `times_T`, float64 (N, T, Y, X, 2)."""
    points = uv_NYXC.shape[1]
    # Walls without flux: cosines are the eigenfunctions of the second difference between mirrored cells.
    lap = (2 * np.cos(np.pi * np.arange(points) / points) - 2) * (points / SIDE) ** 2
    linear_YXC = (lap[:, None] + lap)[..., None] * np.array([DU, DV])

    def react(w_NYXC: np.ndarray) -> np.ndarray:
        return fft.dctn(_reaction(fft.idctn(w_NYXC, axes=(1, 2))), axes=(1, 2))

    frames = spectral.integrate(fft.dctn(uv_NYXC, axes=(1, 2)), linear_YXC, react, times_T, lambda _: longest_step)
    return np.stack([uv_NYXC, *(fft.idctn(frame, axes=(1, 2)) for frame in frames[1:])], axis=1)


def solve_2d_explicit(uv_NYXC: np.ndarray, times_T: np.ndarray, longest_step: float = 2e-3) -> np.ndarray:
    """The same by explicit midpoint steps on the grid; first the walls' ghost cells, then five-point differences."""
    per_area, frames, uv = (uv_NYXC.shape[1] / SIDE) ** 2, [uv_NYXC], uv_NYXC

    def rate(uv: np.ndarray) -> np.ndarray:
        walled = np.pad(uv, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        around = walled[:, :-2, 1:-1] + walled[:, 2:, 1:-1] + walled[:, 1:-1, :-2] + walled[:, 1:-1, 2:]
        return per_area * (around - 4 * uv) * np.array([DU, DV]) + _reaction(uv)

    for span in np.diff(times_T):
        # Explicit midpoint: the rate half a step ahead carries the whole step.
        steps = math.ceil(span / longest_step - 1e-9)
        for _ in range(steps):
            uv = uv + span / steps * rate(uv + 0.5 * span / steps * rate(uv))
        frames.append(uv)
    return np.stack(frames, axis=1)


def _reaction(uv: np.ndarray) -> np.ndarray:
    u, v = uv[..., 0], uv[..., 1]
    return np.stack([u - u**3 - K - v, u - v], axis=-1)
