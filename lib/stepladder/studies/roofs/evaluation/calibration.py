"""Are probabilities true? Of all pixels given 0.8, eight in ten should be right.

Decisions:
- Expected calibration error (Guo et al., ICML 2017): bins of equal width, the gap between mean probability and share of
  right answers, weighted by the pixels in a bin.
- Counts are kept, not means, so that tables of several images add up.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

BINS = 10


@dataclass
class Reliability:
    """Sums by bin of probability over all that was `add`ed; bins are of equal width from 0 to 1."""

    count_K: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    confidence_K: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    right_K: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def add(self, probability_N: np.ndarray, right_N: np.ndarray) -> None:
        """Take in probabilities 0 to 1, and whether what they spoke of came true; both (N,)."""
        bin_N = np.clip((np.asarray(probability_N, dtype=float) * BINS).astype(int), 0, BINS - 1)
        self.count_K += np.bincount(bin_N, minlength=BINS)
        self.confidence_K += np.bincount(bin_N, probability_N, minlength=BINS)
        self.right_K += np.bincount(bin_N, right_N, minlength=BINS)

    def merge(self, other: "Reliability") -> None:
        """Take in all that another one has taken in."""
        self.count_K += other.count_K
        self.confidence_K += other.confidence_K
        self.right_K += other.right_K

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1; nan of nothing."""
        total = self.count_K.sum()
        return float(np.abs(self.confidence_K - self.right_K).sum() / total) if total else float("nan")

    def table(self) -> pd.DataFrame:
        """One row a bin that holds pixels: `from, to, pixels, probability, right` (mean probability, share right)."""
        edges = np.linspace(0, 1, BINS + 1)
        table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "pixels": self.count_K.astype(int)})
        with np.errstate(invalid="ignore"):
            table["probability"], table["right"] = self.confidence_K / self.count_K, self.right_K / self.count_K
        return table[table["pixels"] > 0].reset_index(drop=True)
