"""Two methods on the same questions: is the difference more than chance, and what could not have been seen at all?

Decisions:
- Both answered the same questions, so only those count on which they differ (McNemar 1947), by the exact binomial test:
  small numbers of differences are the rule here. Two lists of accuracies, tested as if of different questions, hide
  what pairing shows and show what is not there.
- Intervals resample families (a photograph and its crops are one) like all of evaluation: `metrics.compare`.
- Beside every accuracy stands its half width: 124 questions cannot show 5 points.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class McNemar:
    """Questions that only one of two methods answers rightly.

    Attributes:
        first, second: how many only the first, only the second one has right.
        p: chance of a split as uneven, were both equally good; two-sided, exact.
    """

    first: int
    second: int
    p: float


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> McNemar:
    """The exact test of two methods' right answers (booleans) to the same N questions.

    Raises:
        ValueError: the two are of different length.
    """
    first_N, second_N = np.asarray(first_N, bool), np.asarray(second_N, bool)
    if first_N.shape != second_N.shape:
        raise ValueError(f"{first_N.size} and {second_N.size} answers: both methods must answer the same questions")
    one, two = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    return McNemar(one, two, exact(one, two))


def exact(one: int, two: int) -> float:
    """Two-sided chance of a split `one` to `two` or a more uneven one, of a fair coin."""
    return min(1.0, 2 * float(stats.binom.cdf(min(one, two), one + two, 0.5)))


def half_width(accuracy: float, count: int, confidence: float = 0.95) -> float:
    """Half the width of the interval of an accuracy over `count` independent questions (Wilson 1927).

    Unlike the usual one it is not zero where all answers are right.
    """
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    spread = math.sqrt(accuracy * (1 - accuracy) / count + z**2 / (4 * count**2))
    return z * spread / (1 + z**2 / count)


def detectable(count: int, differing: float) -> float:
    """The smallest difference of two accuracies that `mcnemar` calls more than chance; nan where none can be.

    Args:
        count: questions that both answered.
        differing: share of them that only one has right.
    """
    pairs = round(count * differing)
    leads = (2 * one - pairs for one in range((pairs + 1) // 2, pairs + 1) if exact(one, pairs - one) < LEVEL)
    return next(leads, math.nan) / count
