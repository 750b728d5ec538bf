"""Samples per second from the times at which steps ended.

Decisions:
- With k loader processes batches arrive in bursts of k, so the time of one step says nothing: a median step time is up
  to four times too short. A round is k steps; the rate is samples over the total time of whole rounds.
- A trial ends as soon as its verdict is sure (`settled`).
- The caller leaves out the first two rounds: they are fed by what the loader prepared before the clock started, and
  with them the mean of the first 20 steps is up to 90 % too fast.
- The interval comes from the spread of the rounds (Student's t: there are few of them). It holds what varies inside one
  trial; two trials of the same setting differ by more, which is the search's business.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
ENOUGH = 0.04  # of the rate: a narrower interval changes no verdict
AS_FORECAST = 0.1  # a rate that surely lies this near to its forecast needs no narrower interval


def throughput(ends: Sequence[float], begin: float, batch: int, rounds: int) -> tuple[float, float]:
    """Samples per second and the half-width of their 95 % interval.

    Args:
        ends: when each timed step ended, in seconds; steps after the last whole round are left out.
        begin: when the step before the first timed one ended.
        batch: samples of one step.
        rounds: steps of one round: the number of loader processes, 1 without any.

    Raises:
        ValueError: there is not one whole round.
    """
    whole = len(ends) // rounds
    if not whole:
        raise ValueError(f"{len(ends)} steps hold no whole round of {rounds}: time at least as many steps as workers")
    # Only the ends of rounds: within a round batches come in bursts. The rate is all samples over all the time.
    round_ends = np.array([begin, *ends[rounds - 1 : whole * rounds : rounds]])
    rate = float(batch * rounds * whole / (round_ends[-1] - begin))
    return rate, rate * min(1.0, relative_half_width(np.diff(round_ends)))


def settled(rate: float, half_width: float, expected: float | None = None) -> bool:
    """Whether more rounds would change no verdict: the interval is narrow, or lies about the forecast as a whole.

    Args:
        rate, half_width: see `throughput`.
        expected: the forecast of the rate; None without one.
    """
    as_forecast = expected is not None and abs(rate - expected) + half_width < AS_FORECAST * expected
    return half_width < ENOUGH * rate or as_forecast


def relative_half_width(values: Sequence[float] | np.ndarray) -> float:
    """Half-width of the 95 % interval of the mean of `values`, over that mean; infinite for fewer than two."""
    count = len(values)
    if count < 2:
        return math.inf
    # Two-sided quantile: half of what lies outside on either side.
    t = stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    return float(t * np.std(values, ddof=1) / math.sqrt(count) / np.mean(values))
