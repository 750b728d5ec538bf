"""Incompressible Navier-Stokes in two dimensions, periodic: vorticity form, pseudo-spectral.

`w_t + u . grad w = nu lap w + curl f`, `u = (psi_y, -psi_x)`, `-lap psi = w`, and a dye `c_t + u . grad c = nu lap c`
(PDEBench's `particles`). PDEBench's own set has walls; ours is periodic and its files say so.

Decisions:
- Convection in flux form with the 2/3 rule, so total vorticity and dye are conserved to rounding.
- `rate_arakawa` discretises convection on the grid in a way that shares nothing with the spectral one; tests hold the
  two together.
"""

import numpy as np

from stepladder.studies.pde.data.solvers import spectral


def solve(
    w_NYX: np.ndarray,
    dye_NYX: np.ndarray,
    curl_NYX: np.ndarray,
    nu: float,
    times_T: np.ndarray,
    length: float = 1.0,
    courant: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Velocity (N, T, Y, X, 2) and dye (N, T, Y, X) at `times_T`, float64.

    Args:
        w_NYX: vorticity at `times_T[0]`; its mean is taken as 0.
        dye_NYX: concentration at `times_T[0]`.
        curl_NYX: curl of the force, constant in time.
        nu: viscosity, also of the dye.
        times_T: increasing times.
        length: edge of the square.
        courant: a step is at most `courant / (k_max max|u|)` long.
    """
    points = w_NYX.shape[-1]
    flow = _Flow(points, length)
    # Channel 0 is vorticity, which the force drives; channel 1 is the dye, which nothing drives.
    force = np.stack([np.fft.rfft2(curl_NYX), np.zeros_like(np.fft.rfft2(curl_NYX))], axis=1) * flow.kept

    def convect(v_NCYK: np.ndarray) -> np.ndarray:
        # Products on the grid, derivatives in Fourier space: -div(u w), which has no mean, so nothing is lost.
        carried, (x_speed, y_speed) = np.fft.irfft2(v_NCYK, (points, points)), flow.velocity(v_NCYK[:, 0])
        flux_x, flux_y = np.fft.rfft2(x_speed[:, None] * carried), np.fft.rfft2(y_speed[:, None] * carried)
        return force - 1j * flow.kept * (flow.kx * flux_x + flow.ky * flux_y)

    def longest_step(v_NCYK: np.ndarray) -> float:
        # The fastest flow turns the phase of the shortest wave by at most `courant`; slow flows still take moderate
        # steps.
        fastest = max(np.abs(part).max() for part in flow.velocity(v_NCYK[:, 0]))
        return min(courant / (flow.highest * max(fastest, 1e-9)), 0.05 * length)

    begin = np.fft.rfft2(np.stack([w_NYX, dye_NYX], axis=1)) * flow.kept
    # A periodic velocity has no mean vorticity.
    begin[:, 0, 0, 0] = 0
    states = spectral.integrate(begin, -nu * flow.square, convect, times_T, longest_step)
    velocity = [np.stack(flow.velocity(v[:, 0]), axis=-1) for v in states]
    return np.stack(velocity, axis=1), np.stack([np.fft.irfft2(v[:, 1], (points, points)) for v in states], axis=1)


class _Flow:
    """Wave numbers of a square and the velocity that a vorticity drives."""

    def __init__(self, points: int, length: float):
        self.points = points
        self.kx = spectral.wavenumbers(points, length)
        self.ky = 2 * np.pi * np.fft.fftfreq(points, length / points)[:, None]
        self.square = self.kx**2 + self.ky**2
        kept_y = np.abs(np.fft.fftfreq(points, 1 / points)) < points / 3
        self.kept = spectral.kept(points) * kept_y[:, None]
        self.highest = self.kx[: points // 3].max()

    def velocity(self, w_NYK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y components (N, Y, X)."""
        # -lap psi = w is a division by k^2; the mean of psi is free and taken as 0.
        stream = w_NYK / np.where(self.square > 0, self.square, np.inf)
        size = (self.points, self.points)
        return np.fft.irfft2(1j * self.ky * stream, size), np.fft.irfft2(-1j * self.kx * stream, size)


def curl(field_YXC: np.ndarray, length: float = 1.0) -> np.ndarray:
    """Curl (Y, X) of a periodic plane field (x and y component)."""
    flow = _Flow(len(field_YXC), length)
    x_part, y_part = (np.fft.rfft2(field_YXC[..., i]) for i in (0, 1))
    return np.fft.irfft2(1j * (flow.kx * y_part - flow.ky * x_part), field_YXC.shape[:2])


def rate_arakawa(w_YX: np.ndarray, nu: float, length: float = 1.0) -> np.ndarray:
    """`w_t` on the grid: Arakawa's Jacobian (1966), five-point Laplacian, periodic Poisson equation of the same."""
    points, h = len(w_YX), length / len(w_YX)
    # Eigenvalues of the second difference: the same Laplacian as `spread` below, inverted by FFT.
    lap = (2 * np.cos(2 * np.pi * np.arange(points) / points) - 2) / h**2
    symbol = lap[:, None] + lap
    symbol[0, 0] = np.inf
    stream = np.fft.ifft2(-np.fft.fft2(w_YX) / symbol).real

    def at(field: np.ndarray, x: int, y: int) -> np.ndarray:
        return np.roll(field, (-y, -x), axis=(0, 1))

    def jacobian(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        # Arakawa's three forms of the Jacobian; their mean conserves energy and enstrophy on the grid.
        plain = (at(p, 1, 0) - at(p, -1, 0)) * (at(q, 0, 1) - at(q, 0, -1))
        plain -= (at(p, 0, 1) - at(p, 0, -1)) * (at(q, 1, 0) - at(q, -1, 0))
        flux = at(p, 1, 0) * (at(q, 1, 1) - at(q, 1, -1)) - at(p, -1, 0) * (at(q, -1, 1) - at(q, -1, -1))
        flux -= at(p, 0, 1) * (at(q, 1, 1) - at(q, -1, 1)) - at(p, 0, -1) * (at(q, 1, -1) - at(q, -1, -1))
        turned = at(q, 0, 1) * (at(p, 1, 1) - at(p, -1, 1)) - at(q, 0, -1) * (at(p, 1, -1) - at(p, -1, -1))
        turned -= at(q, 1, 0) * (at(p, 1, 1) - at(p, 1, -1)) - at(q, -1, 0) * (at(p, -1, 1) - at(p, -1, -1))
        return (plain + flux + turned) / (12 * h**2)

    spread = (at(w_YX, 1, 0) + at(w_YX, -1, 0) + at(w_YX, 0, 1) + at(w_YX, 0, -1) - 4 * w_YX) / h**2
    return jacobian(stream, w_YX) + nu * spread
