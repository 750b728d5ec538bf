"""Rivals that return lines: which of them to draw is fitted to training images.

Decisions:
- Scores of rivals mean anything (lengths, edge strengths). Above the least score that gives the best F on some training
  images a line is drawn; scores are changed so that this one becomes the run's threshold. Their order, and so sAP,
  stays.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from stepladder.core.types import Batch, Prediction, Sample
from stepladder.studies.roofs.data.labels import UNTYPED
from stepladder.studies.roofs.evaluation import lines

CHOICES = 12  # scores tried

Detector = Callable[[np.ndarray], np.ndarray]  # image (C, Y, X) as the network gets it -> lines (L, 6), any score > 0


class DrawnLines:
    """A detector of lines whose scores say which to draw: fitted to some cases, all it found where none has lines.

    Args:
        detector: of one image.
        cases: evaluation cases of training images.
        threshold: score from which a line is drawn; the fitted least score becomes this one.
    """

    def __init__(self, detector: Detector, cases: Iterable[Sample], threshold: float):
        self.detector, self.threshold = detector, threshold
        self.least = best_score([(case, detector(case["image_CYX"])) for case in cases if has_lines(case)])

    def __call__(self, batch: Batch) -> Prediction:
        """Lines of the images; nothing where nobody labelled lines, for some detectors are slow."""
        if not bool(batch["line_types_K"].any()):
            return {}
        (image_CYX,) = batch["image_CYX"].cpu().numpy()
        lines_LF = self.detector(image_CYX)
        odds = self.least * (1 - self.threshold) / self.threshold
        lines_LF[:, 5] /= lines_LF[:, 5] + max(odds, 1e-9)  # increasing, and `least` becomes `threshold`
        return {"lines_BLF": torch.from_numpy(lines_LF)[None]}


def has_lines(case: Sample) -> bool:
    """Whether lines of a case are labelled, and there are some."""
    return bool(case["line_types_K"][UNTYPED]) and len(case["lines_LF"]) > 0


def best_score(found: list[tuple[Sample, np.ndarray]]) -> float:
    """The least score to be drawn at which F at 2 pixels is best over some cases and the lines found there."""
    score_L = np.concatenate([lines_LF[:, 5] for _, lines_LF in found]) if found else np.zeros(0)
    if not len(score_L):
        return 0.0
    choices = np.quantile(score_L, np.linspace(0, 1, CHOICES, endpoint=False))
    return float(max(choices, key=lambda least: _f1(found, least)))


def _f1(found: list[tuple[Sample, np.ndarray]], least: float) -> float:
    sums = np.zeros(4)
    for case, lines_LF in found:
        sums += lines.placement(case["lines_LF"], lines_LF[lines_LF[:, 5] >= least], case["line_labelled_YX"])
    right, predicted, true_found, true = sums
    return (right + true_found) / max(predicted + true, 1e-9)
