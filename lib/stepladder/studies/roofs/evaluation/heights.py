"""Metrics of heights in metres, where they are labelled.

Decisions:
- NMAD (normalised median absolute deviation, Hoehle and Hoehle, ISPRS J. 2009) is 1.4826 times the median distance
  from the median error: the standard deviation of normal errors, deaf to outliers.
- No relative error and no delta < 1.25: the ground is 0 m, where both explode.
- After alignment: the guess times a scale plus a shift, both by least squares in the image, which is what a network
  of relative depth is measured by.
"""

import numpy as np

NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def errors(truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray | None = None) -> np.ndarray:
    """Guess less truth in metres at the valid pixels whose truth is a number, (N,) float64."""
    keep_YX = np.isfinite(truth_YX) if valid_YX is None else np.isfinite(truth_YX) & (valid_YX != 0)
    return guess_YX[keep_YX].astype(float) - truth_YX[keep_YX].astype(float)


def statistics(error_N: np.ndarray) -> dict[str, float]:
    """RMSE, MAE and NMAD in metres of errors in metres; nan of none."""
    if not len(error_N):
        return dict.fromkeys(("RMSE", "MAE", "NMAD"), float("nan"))
    return {
        "RMSE": float(np.sqrt(np.mean(error_N**2))),
        "MAE": float(np.abs(error_N).mean()),
        "NMAD": float(NORMAL * np.median(np.abs(error_N - np.median(error_N)))),
    }


def aligned(truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray | None = None) -> np.ndarray:
    """The guess after the scale and shift of least squares at the valid pixels, (Y, X) float64.

    A constant guess becomes the mean of the truth; where nothing is valid the guess stays as it is.
    """
    keep_YX = np.isfinite(truth_YX) if valid_YX is None else np.isfinite(truth_YX) & (valid_YX != 0)
    guess_N, truth_N = guess_YX[keep_YX].astype(float), truth_YX[keep_YX].astype(float)
    if not len(truth_N):
        return guess_YX.astype(float)
    spread_N = guess_N - guess_N.mean()
    power = float(spread_N @ spread_N)
    scale = float(spread_N @ (truth_N - truth_N.mean())) / power if power > 1e-12 else 0.0
    return scale * (guess_YX.astype(float) - guess_N.mean()) + truth_N.mean()
