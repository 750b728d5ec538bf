"""Burgers' equation `u_t + (u^2 / 2)_x = (eps / pi) u_xx` on a periodic interval.

Decisions:
- `eps` is what PDEBench writes in its file names as Nu; the viscosity is eps / pi.
- eps >= 0.01: pseudo-spectral, exact diffusion, fourth order. Below, shocks are as thin as a cell and a spectral
  solution would ring; there a second-order finite-volume scheme (MUSCL, monotonized central limiter) is used.
- The mean of u is conserved and only carries the rest along (Galilean invariance): the spectral solver works in the
  frame that moves with it and turns the phases back at the end, which allows longer steps.
- Trajectories are solved a few at a time, so that a state stays in the processor's cache.
"""

import math

import numpy as np

from stepladder.studies.pde.data.solvers import spectral

SMOOTH = 0.01  # least eps that the spectral solver takes
BLOCK = 25  # trajectories solved at a time


def solve(u_NX: np.ndarray, eps: float, times_T: np.ndarray, length: float = 1.0) -> np.ndarray:
    """Solutions at `times_T`, float64 (N, T, X), by the scheme that suits `eps`.

    Args:
        u_NX: initial values at the centres of equal cells; their time is `times_T[0]`.
        eps: pi times the viscosity, above 0.
        times_T: increasing times.
        length: the period.
    """
    scheme = solve_spectral if eps >= SMOOTH else solve_volumes
    blocks = [u_NX[first : first + BLOCK] for first in range(0, len(u_NX), BLOCK)]
    return np.concatenate([scheme(block, eps, times_T, length) for block in blocks])


def solve_spectral(
    u_NX: np.ndarray, eps: float, times_T: np.ndarray, length: float = 1.0, courant: float = 1.0
) -> np.ndarray:
    """Pseudo-spectral solution; a step is at most `courant / (k_max max|u - mean|)` long (stable below about 2.8)."""
    points = u_NX.shape[1]
    k, kept = spectral.wavenumbers(points, length), spectral.kept(points)
    # In the frame that moves with the mean, speeds are smaller and steps longer.
    mean_N1 = u_NX.mean(axis=1, keepdims=True)
    # -(u^2 / 2)_x in Fourier space, freed of aliasing by the 2/3 rule.
    factor = -0.5j * k * kept

    def transport(v_NK: np.ndarray) -> np.ndarray:
        u = np.fft.irfft(v_NK, points)
        u *= u
        return factor * np.fft.rfft(u)

    def longest_step(v_NK: np.ndarray) -> float:
        return courant / (k[kept > 0].max() * max(np.abs(np.fft.irfft(v_NK, points)).max(), 1e-9))

    begin = np.fft.rfft(u_NX - mean_N1) * kept
    states = spectral.integrate(begin, -(eps / math.pi) * k**2, transport, times_T, longest_step)
    # Back to the frame at rest: a shift is a turn of phases.
    shifted = [v * np.exp(-1j * k * mean_N1 * (t - times_T[0])) for v, t in zip(states, times_T, strict=True)]
    u_NTX = np.stack([np.fft.irfft(v, points) for v in shifted], axis=1) + mean_N1[:, None]
    # The first frame as it was given, with the wave numbers that the rule cut off.
    u_NTX[:, 0] = u_NX
    return u_NTX


def solve_volumes(
    u_NX: np.ndarray, eps: float, times_T: np.ndarray, length: float = 1.0, courant: float = 0.5
) -> np.ndarray:
    """Finite-volume solution: MUSCL with the monotonized central limiter (van Leer 1977), Godunov's flux, Heun in time.

    A step is `courant / (max|u| / dx + 2 nu / dx^2)` long: above 1 a step would make new extremes.
    """
    dx, nu = length / u_NX.shape[1], eps / math.pi
    u, frames = np.array(u_NX, dtype=np.float64), [u_NX]
    for span in np.diff(times_T):
        # the largest |u| never grows: one bound holds for the whole span
        steps = math.ceil(span * (np.abs(u).max() / dx + 2 * nu / dx**2) / courant)
        dt = span / steps
        for _ in range(steps):
            # Heun: the mean of the state and of two Euler steps on it, which makes new extremes only where those do.
            first = u + dt * _rate(u, dx, nu)
            u = 0.5 * (u + first + dt * _rate(first, dx, nu))
        frames.append(u)
    return np.stack(frames, axis=1)


def _rate(u_NX: np.ndarray, dx: float, nu: float) -> np.ndarray:
    """Time derivative of the cell means."""
    forward = np.roll(u_NX, -1, axis=1) - u_NX
    backward = np.roll(forward, 1, axis=1)
    central = 0.5 * (forward + backward)
    least = np.minimum(2 * np.minimum(forward, backward), central)
    most = np.maximum(2 * np.maximum(forward, backward), central)
    slope = np.maximum(least, 0) + np.minimum(most, 0)  # the smallest of the three where signs agree, else 0
    # What lies on either side of each cell's upper face.
    below, above = u_NX + 0.5 * slope, np.roll(u_NX - 0.5 * slope, -1, axis=1)
    # Godunov's flux of u^2 / 2: the larger of what either side pushes through the face
    flux = 0.5 * np.maximum(np.maximum(below, 0) ** 2, np.minimum(above, 0) ** 2) - (nu / dx) * forward
    return (np.roll(flux, 1, axis=1) - flux) / dx
