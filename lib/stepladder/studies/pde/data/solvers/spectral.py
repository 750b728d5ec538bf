"""Integrating-factor Runge-Kutta in Fourier space: the stepper of every pseudo-spectral solver here.

Decisions:
- The linear, diagonal part of the equation is integrated exactly (an integrating factor), so diffusion never limits
  the step; the rest takes the classical fourth-order Runge-Kutta scheme (Lawson 1967).
- The step is chosen anew before every stored frame from the state itself: smooth late times take long steps.
- Products of two fields are freed of aliasing by the 2/3 rule (Orszag 1971).
"""

import math
from collections.abc import Callable

import numpy as np

Spectrum = np.ndarray
Term = Callable[[Spectrum], Spectrum]


def integrate(
    v: Spectrum, linear: np.ndarray, nonlinear: Term, times_T: np.ndarray, longest_step: Callable[[Spectrum], float]
) -> list[Spectrum]:
    """States of `v' = linear * v + nonlinear(v)` at `times_T`, the first of which is `v` itself.

    Args:
        v: Fourier coefficients, trajectories first.
        linear: factor of every coefficient, real, not positive; broadcast against `v`.
        nonlinear: the rest of the right-hand side.
        times_T: increasing times.
        longest_step: the longest step that is stable and accurate for a state.
    """
    states = [v]
    for span in np.diff(times_T):
        # Equal steps that end exactly at the stored time; the rounding of a ratio must not cost a step.
        steps = max(1, math.ceil(span / longest_step(v) - 1e-9))
        dt = span / steps
        half = np.exp(linear * (0.5 * dt))
        for _ in range(steps):
            v = step(v, half, nonlinear, dt)
        states.append(v)
    return states


def step(v: Spectrum, half: np.ndarray, nonlinear: Term, dt: float) -> Spectrum:
    """One step of length `dt`; `half` is the exact propagator of the linear part over `dt / 2`."""
    # Classical Runge-Kutta for exp(-linear t) v, written in v: whatever is half a step older is carried along by
    # `half`.
    k1 = nonlinear(v)
    moved = half * v
    k2 = nonlinear(moved + (0.5 * dt) * (half * k1))
    k3 = nonlinear(moved + (0.5 * dt) * k2)
    k4 = nonlinear(half * (moved + dt * k3))
    return half * (moved + (dt / 6) * (half * k1 + 2 * (k2 + k3))) + (dt / 6) * k4


def wavenumbers(points: int, length: float) -> np.ndarray:
    """Angular wave numbers of `numpy.fft.rfft` of `points` samples of a period `length`."""
    return 2 * np.pi * np.fft.rfftfreq(points, length / points)


def kept(points: int) -> np.ndarray:
    """1 for the wave numbers of `rfft` that the 2/3 rule keeps, 0 for the others."""
    return (np.arange(points // 2 + 1) < points / 3).astype(float)
