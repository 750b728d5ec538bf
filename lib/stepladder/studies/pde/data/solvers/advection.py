"""Advection `u_t + beta u_x = 0` on a periodic interval: the exact solution, and a scheme to check it against.

PDEBench stores the numerical solution of a second-order scheme; here the initial state is shifted exactly.
"""

from collections.abc import Callable

import numpy as np


def solve(
    initial: Callable[[np.ndarray], np.ndarray], beta: float, x_X: np.ndarray, times_T: np.ndarray, length: float = 1.0
) -> np.ndarray:
    """`initial(x - beta t)` continued with the period `length`, float64 (N, T, X).

    Args:
        initial: values (N, X) at positions (X,) of one period that begins half a cell before `x_X[0]`.
        beta: speed.
        x_X: centres of equal cells.
        times_T: times; the initial state is that of time 0.
    """
    # Every point looks back along its path, wrapped into the one period that `initial` knows.
    start = x_X[0] - 0.5 * (x_X[1] - x_X[0])
    return np.stack([initial(start + (x_X - start - beta * t) % length) for t in times_T], axis=1)


def shift_spectrum(u_NX: np.ndarray, beta: float, times_T: np.ndarray, length: float = 1.0) -> np.ndarray:
    """The same from sampled values, by turning the phases of their Fourier series: exact where u is band-limited."""
    points = u_NX.shape[1]
    k = 2 * np.pi * np.fft.rfftfreq(points, length / points)
    turned = np.fft.rfft(u_NX)[:, None] * np.exp(-1j * beta * np.outer(times_T - times_T[0], k))
    return np.fft.irfft(turned, points)
