"""What is gathered of a set of cases for the figures of 06_evaluation: sums and short lists, never whole maps.

Decisions:
- Each case is predicted once, its maps are counted and let go: 24 images of 512 pixels would be a gigabyte of them.
- Everything is taken where evaluation looks: labelled, and in the focus of the case.
- A case's score, by which the gallery is sorted, is the mean of what it has of: superstructure IoU over classes
  present, outline IoU, F1 of lines of any type.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from stepladder.studies.roofs.data.labels import LINES, SUPERSTRUCTURES, UNTYPED
from stepladder.studies.roofs.evaluation import areas, heights, lines, metrics
from stepladder.studies.roofs.evaluation.calibration import Reliability
from stepladder.studies.roofs.evaluation.lines import Scored
from stepladder.studies.roofs.params import RoofsParams

Arrays = Mapping[str, np.ndarray]
WIDTHS: Final = (0.005, 0.01, 0.02, 0.04, 0.08)  # of the band along boundaries, shares of the image's diagonal
EVERY: Final = 3  # rows and columns between pixels whose probability is looked at
CLASSES: Final = len(SUPERSTRUCTURES)


@dataclass
class Evidence:
    """Sums over cases.

    Attributes:
        scores: of every case, in order; nan where nothing could be scored.
        groups: of every case.
        confusion: pixels by true and predicted superstructure.
        class_ious: IoU of every superstructure class in every case that labels them, with the case's number.
        outline_ious: IoU of outlines, the same.
        bands: share of the diagonal -> pixels in both boundary bands, and in either.
        scored: line type (`UNTYPED`: any) -> lines of every image that labels it.
        reliability: name of what is probable -> sums by bin.
        errors, aligned: `rise` or `height` -> errors in metres of every case, as predicted, and after scale and shift.
    """

    scores: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((CLASSES, CLASSES)))
    class_ious: list[tuple[int, np.ndarray]] = field(default_factory=list)
    outline_ious: list[tuple[int, float]] = field(default_factory=list)
    bands: dict[float, np.ndarray] = field(default_factory=lambda: {width: np.zeros(2) for width in WIDTHS})
    scored: dict[int, list[Scored]] = field(default_factory=lambda: defaultdict(list))
    reliability: dict[str, Reliability] = field(default_factory=lambda: defaultdict(Reliability))
    errors: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    aligned: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))

    def add(self, truth: Arrays, guess: Arrays, group: str, params: RoofsParams) -> None:
        """Take in one case and its prediction, both of one image."""
        parts = [self._superstructures(truth, guess), self._outline(truth, guess), self._lines(truth, guess, params)]
        self._heights(truth, guess)
        found = [value for value in parts if np.isfinite(value)]
        self.scores.append(float(np.mean(found)) if found else float("nan"))
        self.groups.append(group)

    def _superstructures(self, truth: Arrays, guess: Arrays) -> float:
        valid_YX = metrics.labelled(truth, "superstructure_YX")
        if "superstructure_SYX" not in guess or not valid_YX.any():
            return float("nan")
        probability_SYX, truth_YX = guess["superstructure_SYX"], truth["superstructure_YX"]
        class_YX = probability_SYX.argmax(axis=0)
        pairs = CLASSES * truth_YX[valid_YX].astype(int) + class_YX[valid_YX]
        self.confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
        ious = areas.image_ious(truth_YX, class_YX, CLASSES, valid_YX)
        self.class_ious.append((len(self.scores), ious))
        self._probable("superstructure", probability_SYX.max(axis=0), class_YX == truth_YX, valid_YX)
        return float(np.nanmean(ious))

    def _outline(self, truth: Arrays, guess: Arrays) -> float:
        valid_YX = metrics.labelled(truth, "outline_YX")
        if "outline_YX" not in guess or not valid_YX.any():
            return float("nan")
        roof_YX, found_YX = truth["outline_YX"] == 1, guess["outline_YX"] >= 0.5
        for width, sums in self.bands.items():
            sums += areas.boundary_counts(roof_YX, found_YX, valid_YX, width)
        self._probable("outline", guess["outline_YX"], roof_YX, valid_YX)
        self.outline_ious.append((len(self.scores), value := areas.iou(roof_YX, found_YX, valid_YX)))
        return value

    def _probable(self, name: str, probability_YX: np.ndarray, right_YX: np.ndarray, valid_YX: np.ndarray) -> None:
        thin = (slice(None, None, EVERY),) * 2
        keep = valid_YX[thin]
        self.reliability[name].add(probability_YX[thin][keep], right_YX[thin][keep])

    def _lines(self, truth: Arrays, guess: Arrays, params: RoofsParams) -> float:
        if "lines_LF" not in guess or not truth["line_types_K"][UNTYPED]:
            return float("nan")
        area_YX = metrics.line_area(truth)
        true_LF, found_LF = (_inside(sides["lines_LF"], area_YX) for sides in (truth, guess))
        for kind in range(len(LINES)):
            if truth["line_types_K"][kind]:
                one, two = (side[side[:, 4] == kind] for side in (true_LF, found_LF))
                self.scored[kind].append(_scored(one, two, area_YX.shape))
        self.scored[UNTYPED].append(_scored(true_LF, found_LF, area_YX.shape))
        right, predicted, found, true = lines.placement(true_LF, metrics.drawn(guess, params), area_YX)
        return (right + found) / (predicted + true) if predicted + true else float("nan")

    def _heights(self, truth: Arrays, guess: Arrays) -> None:
        for name in ("rise", "height"):
            key, valid_YX = f"{name}_YX", metrics.measured(truth, name)
            if key in guess and valid_YX.any():
                self.errors[name].append(heights.errors(truth[key], guess[key], valid_YX))
                nearer_YX = heights.aligned(truth[key], guess[key], valid_YX)
                self.aligned[name].append(heights.errors(truth[key], nearer_YX, valid_YX))

    def worst_first(self) -> list[int]:
        """Numbers of the cases that have a score, the worst first."""
        return [int(place) for place in np.argsort(self.scores, kind="stable") if np.isfinite(self.scores[place])]


def _inside(lines_LF: np.ndarray, area_YX: np.ndarray) -> np.ndarray:
    """The lines whose middle lies in the area that is looked at."""
    x, y = ((lines_LF[:, 0] + lines_LF[:, 2]) / 2, (lines_LF[:, 1] + lines_LF[:, 3]) / 2)
    rows, columns = area_YX.shape
    return lines_LF[area_YX[y.astype(int).clip(0, rows - 1), x.astype(int).clip(0, columns - 1)]]


def _scored(true_LF: np.ndarray, found_LF: np.ndarray, shape: Any) -> Scored:
    return Scored(true_LF[:, :4], found_LF[:, :4], found_LF[:, 5], (shape[1], shape[0]))
