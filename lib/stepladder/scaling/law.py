"""The law L = E + sum of A_k x_k^-a_k, fitted to measured losses, with bands (Hoffmann et al., 2022, approach 3).

With two axes, parameters N and data D, it is L(N, D) = E + A N^-a + B D^-b.

Decisions:
- What is fitted are logarithms of losses, by Huber's loss, so that one bad run does not bend the law. All numbers of
  the law are positive because their logarithms are fitted. A term is described by what it adds at the middle of the
  measured range, which the data know, and not by A, which is its value at x = 1, far outside.
- The surface has several valleys: the fit starts from many places and keeps the best.
- Bands come from a bootstrap over runs: points of one run belong together. A forecast of a new run also carries the
  scatter of single runs around the law.
- Data may not tell a term. Then its band spans everything, and `terms` says so in words instead of a number's look.

Shape legend: P points, K axes, R replicates (row 0 is the fit itself), T parameters of the law: 1 + 2 K.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

PATIENCE = {"ftol": 1e-6, "xtol": 1e-5, "gtol": 1e-8, "max_nfev": 60}  # of a fit from one start
HUBER = 0.1  # residuals of a log loss beyond this count linearly
EXPONENTS = (0.01, 4.0)  # what an exponent may be
DEPTH = 9.0  # a term is nothing when it is exp(-9) of the smallest loss
VALUES, RUNS = 3, 4  # different values of an axis that a term needs at least, and runs that a band needs
SURE = 3.0  # a number is identified when the ends of its band are within this factor
SEEN = 0.02  # share of the smallest loss below which a term or the floor is not seen


class LawError(ValueError):
    """Losses no law can be fitted to, with what is missing."""


class Band(NamedTuple):
    """Values with the ends of their intervals, arrays of one shape or numbers."""

    value: Any
    low: Any
    high: Any

    def at(self, place: int) -> "Band":
        """The band at one place of several, as numbers."""
        return Band(*(float(part[place]) for part in self))


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        axes: name of every axis, such as parameters.
        x_PK, loss_P: what was fitted.
        theta_RT: logarithms of the floor E, of every term at `centre_K`, and of every exponent.
        confidence: coverage of the bands.
        seed: of the scatter in forecasts.
    """

    axes: tuple[str, ...]
    x_PK: np.ndarray
    loss_P: np.ndarray
    theta_RT: np.ndarray
    confidence: float
    seed: int

    @property
    def centre_K(self) -> np.ndarray:
        """Middle of the measured range of every axis (geometric mean)."""
        return np.exp(np.log(self.x_PK).mean(0))

    @property
    def floor_R(self) -> np.ndarray:
        """The floor E of every replicate, (R,)."""
        return np.exp(self.theta_RT[:, 0])

    @property
    def exponent_RK(self) -> np.ndarray:
        """The exponents a_k of every replicate, (R, K)."""
        return np.exp(self.theta_RT[:, 1 + len(self.axes) :])

    @property
    def residual_P(self) -> np.ndarray:
        """Logarithm of measured over fitted loss, (P,)."""
        return np.log(self.loss_P / self.replicates(self.x_PK)[0])

    def added(self, axis: int, x: float) -> np.ndarray:
        """What the term of `axis` adds to the loss at `x`, (R,)."""
        return np.exp(self.theta_RT[:, 1 + axis]) * (x / self.centre_K[axis]) ** -self.exponent_RK[:, axis]

    def replicates(self, x_PK: np.ndarray) -> np.ndarray:
        """Losses at `x_PK` by every replicate, (R, P)."""
        away_PK = np.log(np.asarray(x_PK, dtype=float) / self.centre_K)
        return np.exp(_terms(self.theta_RT, away_PK)).sum(-1)

    def predict(self, x_PK: np.ndarray, scatter: bool = False) -> Band:
        """Losses at `x_PK` with bands, (P,) each; with `scatter` those of single new runs rather than of the law."""
        # Row 0 is the fit itself, the others are its bootstrap.
        loss_RP = self.replicates(x_PK)
        drawn_RP = loss_RP[1:]
        if scatter:
            rng = np.random.Generator(np.random.Philox(key=self.seed))
            # Residuals of a fit are smaller than the scatter, for the fit has bent towards them: widened by the degrees
            # of freedom it used up.
            free = max(1, len(self.loss_P) - self.theta_RT.shape[1])
            widened_P = self.residual_P * np.sqrt(len(self.loss_P) / free)
            drawn_RP = drawn_RP * np.exp(rng.choice(widened_P, drawn_RP.shape))
        return self.band(np.concatenate([loss_RP[:1], drawn_RP]))

    def band(self, values_R: np.ndarray) -> Band:
        """The fit's value and the percentiles over replicates of anything computed from them, along the first axis."""
        # Percent on either side.
        tail = 50 * (1 - self.confidence)
        low, high = np.percentile(values_R[1:], [tail, 100 - tail], axis=0)
        return Band(values_R[0], low, high)

    def terms(self) -> pd.DataFrame:
        """The floor and every exponent: value, band, what the term adds at both ends, and whether the data tell it."""
        least = float(self.loss_P.min())
        floor = self.band(self.floor_R)
        rows = [_row("E (floor)", floor, _floor_verdict(floor, least))]
        for axis, name in enumerate(self.axes):
            exponent = self.band(self.exponent_RK[:, axis])
            ends = self.x_PK[:, axis].min(), self.x_PK[:, axis].max()
            first, last = (self.added(axis, x) for x in ends)
            verdict = _exponent_verdict(exponent, self.band(first - last), least)
            rows.append(
                _row(f"exponent of {name}", exponent, verdict) | {"adds at first": first[0], "at last": last[0]}
            )
        return pd.DataFrame(rows).reindex(
            columns=["number", "value", "low", "high", "adds at first", "at last", "told"]
        )

    def formula(self) -> str:
        """The law in one line, as `0.0021 + 3.4 parameters^-0.42 + ...`."""
        pieces = [f"{self.floor_R[0]:.3g}"]
        for axis, name in enumerate(self.axes):
            exponent = self.exponent_RK[0, axis]
            pieces.append(f"{self.added(axis, 1.0)[0]:.3g} {name}^-{exponent:.3g}")
        return " + ".join(pieces)


def fit(
    axes: Sequence[str],
    x_PK: np.ndarray,
    loss_P: np.ndarray,
    runs: Sequence[object],
    replicates: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Law:
    """Fit a law and bootstrap it over runs.

    Args:
        axes: name of every axis.
        x_PK: where losses were measured, positive.
        loss_P: the losses, positive.
        runs: (P,) what belongs together in the bootstrap.
        replicates: of the bootstrap.
        confidence: coverage of the bands.
        seed: of the bootstrap.

    Raises:
        LawError: too few points or values, or a loss that is not positive.
    """
    x_PK, loss_P = np.asarray(x_PK, dtype=float), np.asarray(loss_P, dtype=float)
    _check(axes, x_PK, loss_P, len(set(runs)))
    # Logarithms, measured from the middle of the range: there a term and its exponent are least entangled.
    away_PK, log_P = np.log(x_PK) - np.log(x_PK).mean(0), np.log(loss_P)
    best = _solve(away_PK, log_P, _starts(log_P, len(axes)))
    # A resampled fit lies near the whole one; one more start lets it leave that valley.
    few = [best, *_starts(log_P, len(axes), shares=(0.5,), exponents=(0.5,))]
    rng, drawn = np.random.Generator(np.random.Philox(key=seed)), [best]
    for _ in range(replicates):
        place = _resample(rng, np.asarray(runs), x_PK)
        drawn.append(_solve(away_PK[place], log_P[place], few))
    return Law(tuple(axes), x_PK, loss_P, np.stack(drawn), confidence, seed)


def _check(axes: Sequence[str], x_PK: np.ndarray, loss_P: np.ndarray, runs: int) -> None:
    needed = 2 * len(axes) + 2
    if len(loss_P) < needed:
        raise LawError(f"{len(loss_P)} losses are too few for a law of {' and '.join(axes)}: it needs {needed} or more")
    if runs < RUNS:
        raise LawError(f"{runs} runs are too few for a band of a law of {' and '.join(axes)}: it needs {RUNS} or more")
    if not (np.isfinite(loss_P).all() and (loss_P > 0).all()):
        raise LawError("a law is of positive, finite losses: leave out runs that diverged")
    for axis, name in enumerate(axes):
        count = len(np.unique(x_PK[:, axis]))
        if count < VALUES:
            raise LawError(f"{count} values of {name} are too few: three or more tell an exponent")


def _terms(theta_RT: np.ndarray, away_PK: np.ndarray) -> np.ndarray:
    """Logarithms of the floor and of every term, (R, P, 1 + K)."""
    axes = away_PK.shape[1]
    exponent_RK = np.exp(theta_RT[:, 1 + axes :])
    term_RPK = theta_RT[:, None, 1 : 1 + axes] - exponent_RK[:, None] * away_PK
    return np.concatenate([np.broadcast_to(theta_RT[:, None, :1], (*term_RPK.shape[:2], 1)), term_RPK], axis=-1)


def _solve(away_PK: np.ndarray, log_P: np.ndarray, starts: Sequence[np.ndarray]) -> np.ndarray:
    """The best of the fits from every start, (T,)."""
    axes = away_PK.shape[1]

    def residual(theta_T: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(_terms(theta_T[None], away_PK)[0], axis=-1) - log_P

    def slope(theta_T: np.ndarray) -> np.ndarray:
        terms = _terms(theta_T[None], away_PK)[0]
        # d log(sum of terms) / d log(term) is the term's share; an exponent enters its term times the distance from the
        # middle, and its own logarithm is what is fitted.
        share = np.exp(terms - np.logaddexp.reduce(terms, axis=-1, keepdims=True))  # of every term in the loss
        return np.concatenate([share, -share[:, 1:] * np.exp(theta_T[1 + axes :]) * away_PK], axis=1)

    # Huber's loss: a run that went wrong pulls linearly, not by its square.
    bounds = _bounds(log_P, axes)
    fits = [
        least_squares(residual, np.clip(start, *bounds), slope, bounds, loss="huber", f_scale=HUBER, **PATIENCE)
        for start in starts
    ]
    return min(fits, key=lambda found: found.cost).x


def _bounds(log_P: np.ndarray, axes: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = log_P.min() - DEPTH, log_P.max() + 1.0
    first, last = np.log(EXPONENTS)
    return np.array([low, *[low] * axes, *[first] * axes]), np.array([log_P.min(), *[high] * axes, *[last] * axes])


def _starts(
    log_P: np.ndarray,
    axes: int,
    shares: Sequence[float] = (0.03, 0.8),
    exponents: Sequence[float] = (0.2, 0.8),
) -> list[np.ndarray]:
    """Starts with the floor at `shares` of the smallest loss and all combinations of `exponents`."""
    starts = []
    for share, *exponent_K in itertools.product(shares, *[exponents] * axes):
        floor = share * np.exp(log_P.min())
        # What the floor leaves of a usual loss is divided equally among the axes.
        rest = max(np.exp(np.median(log_P)) - floor, 0.1 * floor) / axes
        starts.append(np.log([floor, *[rest] * axes, *exponent_K]))
    return starts


def _resample(rng: np.random.Generator, runs_P: np.ndarray, x_PK: np.ndarray) -> np.ndarray:
    """Points of as many runs as there are, drawn with replacement; drawn again where an axis has too few values left.

    A draw that lost an axis would tell nothing of its term, whatever the data tell.
    """
    # Whole runs are drawn: points of one run share its luck, and drawing them one by one would make bands too narrow.
    names, members = np.unique(runs_P), {}
    for name in names:
        members[name] = np.flatnonzero(runs_P == name)
    while True:
        place = np.concatenate([members[name] for name in rng.choice(names, len(names))])
        if all(len(np.unique(column)) >= VALUES for column in x_PK[place].T):
            return place


def _row(name: str, band: Band, verdict: str) -> dict[str, object]:
    return {"number": name, **{end: float(value) for end, value in band._asdict().items()}, "told": verdict}


def _floor_verdict(floor: Band, least: float) -> str:
    if floor.low < SEEN * least:
        return f"not told: anything up to {floor.high:.2g}"
    return "yes" if floor.high <= SURE * floor.low else f"not told: {floor.low:.2g} to {floor.high:.2g}"


def _exponent_verdict(exponent: Band, fall: Band, least: float) -> str:
    if fall.low < SEEN * least:
        return "not told: the loss hardly depends on it here"
    if exponent.high <= SURE * exponent.low:
        return "yes"
    return f"not told: {exponent.low:.2g} to {exponent.high:.2g}"


@dataclass(frozen=True)
class Laws:
    """What is known of one metric.

    Attributes:
        name: of the loss: the metric, or 1 less the metric.
        data: law of parameters and units, at the longest budget.
        time: law of parameters and samples drawn, at the most data.
        forecast: of the run outside the grid.
        measured: what that run reached; None without one.
    """

    name: str
    data: Law
    time: Law
    forecast: Band
    measured: float | None = None

    @property
    def verdict(self) -> str:
        """`hit` or `miss`, or that there is nothing to judge."""
        if self.measured is None:
            return "not measured"
        return "hit" if self.forecast.low <= self.measured <= self.forecast.high else "miss"
