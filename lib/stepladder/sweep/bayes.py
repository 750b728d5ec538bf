"""Where to try next: a Gaussian process over the unit cube, and the point with the largest expected improvement.

Decisions:
- Matern 5/2 with one length for all axes and a little noise, both taken by the likelihood from a short list: with the
  ten or twenty trials of a sweep finer fitting would be fitting noise.
- The candidates are random points, as many as make the maximum hard to miss in a few dimensions.

Formulas: Rasmussen and Williams (2006), equations 2.23 to 2.30 and 4.17; expected improvement: Jones et al. (1998).
Shape legend: N trials, M candidates, D axes.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

FIRST = 5  # trials drawn at random before the process is asked
LENGTHS, NOISES = (0.1, 0.2, 0.4, 0.8, 1.6), (1e-4, 1e-2, 1e-1)  # of the cube's side; of the variance
CANDIDATES = 2000


def propose(tried_ND: np.ndarray, loss_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The next point of the unit cube, (D,): the lower a loss the better."""
    candidate_MD = rng.random((CANDIDATES, tried_ND.shape[1]))
    mean_M, deviation_M, best = _posterior(tried_ND, loss_N, candidate_MD)
    gain_M = best - mean_M
    ratio_M = gain_M / deviation_M
    density_M = np.exp(-0.5 * ratio_M**2) / np.sqrt(2 * np.pi)
    return candidate_MD[np.argmax(gain_M * ndtr(ratio_M) + deviation_M * density_M)]


def _posterior(
    tried_ND: np.ndarray, loss_N: np.ndarray, candidate_MD: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and standard deviation at the candidates and the best mean so far, of standardised losses."""
    y_N = (loss_N - loss_N.mean()) / (loss_N.std() or 1.0)
    fits = [_fit(tried_ND, y_N, length, noise) for length in LENGTHS for noise in NOISES]
    _, length, factor, weight_N = max(fits, key=lambda found: found[0])
    kernel_MN = _matern(candidate_MD, tried_ND, length)
    variance_M = 1 - (kernel_MN * cho_solve(factor, kernel_MN.T).T).sum(1)
    best = float((_matern(tried_ND, tried_ND, length) @ weight_N).min())
    return kernel_MN @ weight_N, np.sqrt(np.maximum(variance_M, 1e-12)), best


def _fit(tried_ND: np.ndarray, y_N: np.ndarray, length: float, noise: float) -> tuple[float, float, tuple, np.ndarray]:
    """Log likelihood of a length and a noise, the length, the factored kernel and the weights of the trials."""
    kernel_NN = _matern(tried_ND, tried_ND, length) + noise * np.eye(len(y_N))
    factor = cho_factor(kernel_NN, lower=True)
    weight_N = cho_solve(factor, y_N)
    return float(-0.5 * y_N @ weight_N - np.log(np.diag(factor[0])).sum()), length, factor, weight_N


def _matern(a_ND: np.ndarray, b_MD: np.ndarray, length: float) -> np.ndarray:
    distance_NM = np.sqrt(5) * np.linalg.norm(a_ND[:, None] - b_MD[None], axis=-1) / length
    return (1 + distance_NM + distance_NM**2 / 3) * np.exp(-distance_NM)
