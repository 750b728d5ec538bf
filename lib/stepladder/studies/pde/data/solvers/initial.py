"""Initial conditions and coefficient fields by the published recipes (Takamoto et al., PDEBench, 2022).

Decisions:
- Everything is drawn trajectory by trajectory from Philox keyed by (seed, number): trajectory 7 is the same whether ten
  or ten thousand are made, and blocks can be made apart.
- The recipe is kept to the letter where it shows in the data: wave numbers are divided by the distance of the first
  and last cell centre, so these two carry the same value; an inactive mode is a constant, so states have a mean.
"""

import numpy as np

MODES, DRAWS = 4, 2
WINDOW_WIDTH = 0.01


def generator(seed: int, number: int) -> np.random.Generator:
    """The generator of one trajectory."""
    return np.random.Generator(np.random.Philox(key=[seed, number]))


def centres(points: int, length: float = 1.0, start: float = 0.0) -> np.ndarray:
    """Centres of `points` equal cells of an interval."""
    return start + (np.arange(points) + 0.5) * (length / points)


class Waves:
    """Sums of a few sines with sign flips and windows: initial states of one-dimensional tasks.

    `u(x) = sum_k A_k sin(2 pi n_k x / span + phi_k)` over four modes with A in U(0, 1), phi in U(0, 2 pi). Two draws
    with replacement choose the active ones (drawn twice: twice the wave number); n_k = 0 for the rest. A tenth of the
    states is made positive, half are turned over, a tenth is cut by a smooth window.

    Args:
        seed: of the data set.
        numbers: of the trajectories.
        span: the wave numbers' unit of length, `x[-1] - x[0]` in the recipe.
        unit: scale each state to 0 ... 1, as the reaction-diffusion task does.
    """

    def __init__(self, seed: int, numbers: range, span: float, unit: bool = False):
        drawn = [_draw_waves(generator(seed, number)) for number in numbers]
        self.wave_NM, self.amplitude_NM, self.phase_NM = (np.stack(part) for part in list(zip(*drawn, strict=True))[:3])
        self.absolute_N, self.sign_N, self.window_N2 = (np.stack(part) for part in list(zip(*drawn, strict=True))[3:])
        self.span, self.unit = span, unit

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values at positions of shape (X,) common to all, or (N, X): float64 (N, X)."""
        x = np.broadcast_to(x, (len(self.sign_N), x.shape[-1]))
        # Four modes for each trajectory, summed; then the odd ones out: made positive, turned over, cut by a window.
        angle = 2 * np.pi / self.span * self.wave_NM[:, :, None] * x[:, None] + self.phase_NM[:, :, None]
        u = (self.amplitude_NM[:, :, None] * np.sin(angle)).sum(axis=1)
        u = np.where(self.absolute_N[:, None], np.abs(u), u) * self.sign_N[:, None]
        rise, fall = ((x - edge[:, None]) / WINDOW_WIDTH for edge in self.window_N2.T)
        window = 0.5 * (np.tanh(rise) - np.tanh(fall))
        u = np.where(np.isfinite(self.window_N2[:, :1]), u * np.nan_to_num(window, nan=1.0), u)
        return _to_unit(u) if self.unit else u


def _draw_waves(rng: np.random.Generator) -> tuple:
    """Wave numbers, amplitudes, phases, whether absolute, sign, and the window's edges (NaN: no window)."""
    # A mode drawn twice has twice the wave number, one never drawn is a constant.
    active = np.bincount(rng.integers(0, MODES, DRAWS), minlength=MODES)
    amplitude, phase = rng.uniform(0, 1, MODES), rng.uniform(0, 2 * np.pi, MODES)
    absolute, sign = rng.random() < 0.1, rng.choice([-1.0, 1.0])
    edges = np.array([rng.uniform(0.1, 0.45), rng.uniform(0.55, 0.9)])
    window = edges if rng.random() < 0.1 else np.full(2, np.nan)
    return active * np.arange(1, MODES + 1), amplitude, phase, absolute, sign, window


def _to_unit(u_NX: np.ndarray) -> np.ndarray:
    low_N1 = u_NX.min(axis=1, keepdims=True)
    return (u_NX - low_N1) / (u_NX.max(axis=1, keepdims=True) - low_N1)


def two_valued(seed: int, numbers: range, points: int, values: tuple[float, float] = (0.1, 1.0)) -> np.ndarray:
    """Darcy's coefficient fields (N, Y, X): five random Gaussian bumps, cut at their mean into two values."""
    x = centres(points)
    fields = []
    for number in numbers:
        rng = generator(seed, number)
        height, width = rng.uniform(-1, 1, (5, 1, 1)), rng.uniform(0.05, 0.25, (5, 1, 1))
        middle_Y, middle_X = rng.uniform(0, 1, (2, 5, 1, 1))
        square = (x[:, None] - middle_Y) ** 2 + (x - middle_X) ** 2
        bumps_YX = (height * np.exp(-square / (2 * width**2))).sum(axis=0)
        fields.append(np.where(bumps_YX > bumps_YX.mean(), values[1], values[0]))
    return np.stack(fields)


def random_field(seed: int, numbers: range, points: int, tau: float = 7.0, power: float = 2.5) -> np.ndarray:
    """Periodic Gaussian random fields (N, Y, X) on the unit square, covariance `~ (|k|^2 + tau^2)^-power`.

    Zero mean, unit root mean square (Li et al., Fourier Neural Operator, 2021, up to the scale).
    """
    k = 2 * np.pi * np.fft.fftfreq(points, 1 / points)
    # White noise, filtered in Fourier space; without the mean.
    spectrum_YX = (k[:, None] ** 2 + k**2 + tau**2) ** (-power / 2)
    spectrum_YX[0, 0] = 0
    noise = np.stack([generator(seed, number).standard_normal((points, points)) for number in numbers])
    field = np.fft.ifft2(np.fft.fft2(noise) * spectrum_YX).real
    return field / np.sqrt((field**2).mean(axis=(1, 2), keepdims=True))


def white_noise(seed: int, numbers: range, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values (N, *shape)."""
    return np.stack([generator(seed, number).standard_normal(shape) for number in numbers])
