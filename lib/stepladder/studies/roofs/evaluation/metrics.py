"""The metrics of roofs: one row each, additive over images, 1 for the truth.

Decisions:
- What one image adds to a metric is a sum: a metric is micro, over all test images, and a class's IoU one quotient of
  summed pixels. What is usual per image (macro IoU, as annotators are compared) or not additive is in `tables`.
- A class counts where the truth has it; drawn where there is none it costs the classes it is drawn over.
- Superstructures count where `focus_YX` is 1 alone: RID's annotators drew those of one building of an image, and its
  neighbours' must not be false. All else counts wherever its own labels say so: on the focus, which is that roof,
  outlines could not be too large nor eaves beside it.
- A line is right within 2 pixels; F over lengths as in `lines`. Lines of no type are scored as "any line" alone.
- Heights count on roofs: where outlines are labelled, else where the truth is 2 m and more. Lawns are easy.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, LINES, SECTORS, SUPERSTRUCTURES, UNTYPED
from stepladder.studies.roofs.evaluation import areas, lines
from stepladder.studies.roofs.params import RoofsParams

Arrays = Mapping[str, np.ndarray]  # of one image, without the axis B
PITCH, RISE, HEIGHT = 5.0, 0.5, 1.0  # degrees, metres, metres
STOREY = 2.0  # metres above ground from which something is built, where no outline says so
FACE_NAMES = (*(f"{360 / SECTORS * sector:g}°" for sector in range(SECTORS)), "flat", "no face")


class Part(NamedTuple):
    """One image's share of one part of a metric, as `Record` keeps it."""

    name: str
    numerator: float
    denominator: float
    support: float


class Metric(NamedTuple):
    """A row of the table of metrics.

    Attributes:
        name: as tables show it.
        task: which it belongs to, of `labels.TASKS`.
        needs: keys of a prediction without which a method has not answered.
        parts: truth, prediction and parameters to the parts of one image.
        told: what is printed beside it.
    """

    name: str
    task: str
    needs: tuple[str, ...]
    parts: Callable[[Arrays, Arrays, RoofsParams], Iterable[Part]]
    told: str


# What counts where ----------------------------------------------------------------------------------------------------


def labelled(truth: Arrays, name: str) -> np.ndarray:
    """Mask of the pixels at which a map of classes is labelled and looked at."""
    known_YX = truth[name] != IGNORE
    return known_YX & (truth["focus_YX"] != 0) if name == "superstructure_YX" else known_YX


def roofs(truth: Arrays) -> np.ndarray:
    """Mask of roofs: by outlines where there are any labels of them, else by height above ground."""
    if (truth["outline_YX"] != IGNORE).any():
        return truth["outline_YX"] == 1
    return truth["height_YX"] >= STOREY


def measured(truth: Arrays, name: str) -> np.ndarray:
    """Mask of the roof pixels at which metres (`rise` or `height`) are labelled."""
    known_YX = truth[f"{name}_labelled_YX"] != 0
    return known_YX & roofs(truth) if name == "height" else known_YX


def outlines(mask_YX: np.ndarray) -> np.ndarray:
    """Number of the roof at every pixel, 0 none: parts of a mask that hang together by an edge."""
    return ndimage.label(mask_YX)[0]


def drawn(guess: Arrays, params: RoofsParams) -> np.ndarray:
    """Lines (L, 6) of a prediction sure enough to be drawn."""
    return guess["lines_LF"][guess["lines_LF"][:, 5] >= params.evaluation.line_threshold]


def line_area(truth: Arrays) -> np.ndarray:
    """Mask of the pixels in which lines are labelled."""
    return truth["line_labelled_YX"] != 0


# Metrics --------------------------------------------------------------------------------------------------------------


def _class_iou(
    truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray, names: tuple[str, ...]
) -> Iterable[Part]:
    if valid_YX.any():
        hit_C, union_C, true_C = areas.counts(truth_YX, guess_YX, len(names), valid_YX)
        for name, hit, union, true in zip(names, hit_C, union_C, true_C, strict=True):
            yield Part(name, float(hit), float(union), float(true))


def _superstructure(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    class_YX, valid_YX = guess["superstructure_SYX"].argmax(axis=0), labelled(truth, "superstructure_YX")
    yield from _class_iou(truth["superstructure_YX"], class_YX, valid_YX, SUPERSTRUCTURES)


def _any_superstructure(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    class_YX, valid_YX = guess["superstructure_SYX"].argmax(axis=0), labelled(truth, "superstructure_YX")
    yield from _mask_iou(truth["superstructure_YX"] != BACKGROUND, class_YX != BACKGROUND, valid_YX)


def _face(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    yield from _class_iou(truth["face_YX"], guess["face_FYX"].argmax(axis=0), labelled(truth, "face_YX"), FACE_NAMES)


def _outline(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    yield from _mask_iou(truth["outline_YX"] == 1, guess["outline_YX"] >= 0.5, labelled(truth, "outline_YX"))


def _mask_iou(truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray) -> Iterable[Part]:
    hit_C, union_C, true_C = areas.counts(truth_YX, guess_YX, 2, valid_YX)
    if valid_YX.any():
        yield Part("", float(hit_C[1]), float(union_C[1]), float(true_C[1]))


def _boundary(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    valid_YX = labelled(truth, "outline_YX")
    if valid_YX.any():
        roof_YX = truth["outline_YX"] == 1
        hit, union = areas.boundary_counts(roof_YX, guess["outline_YX"] >= 0.5, valid_YX)
        yield Part("", hit, union, float(np.count_nonzero(roof_YX & valid_YX)))


def _any_line(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    if truth["line_types_K"][UNTYPED]:
        yield _placed("", truth["lines_LF"], drawn(guess, params), line_area(truth))


def _typed_line(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    found_LF, valid_YX = drawn(guess, params), line_area(truth)
    for number, name in enumerate(LINES):
        if truth["line_types_K"][number]:
            true_LF, own_LF = (side[side[:, 4] == number] for side in (truth["lines_LF"], found_LF))
            yield _placed(name, true_LF, own_LF, valid_YX)


def _placed(name: str, truth_L4: np.ndarray, guess_M4: np.ndarray, valid_YX: np.ndarray) -> Part:
    right, predicted, found, true = lines.placement(truth_L4, guess_M4, valid_YX)
    return Part(name, right + found, predicted + true, true)


def _instances(
    truth_YX: np.ndarray, guess_YX: np.ndarray, valid_YX: np.ndarray, gsd_m: float, params: RoofsParams
) -> Iterable[Part]:
    if valid_YX.any():
        smallest = params.evaluation.smallest / gsd_m**2
        found, true, guessed = areas.instances(truth_YX, guess_YX, valid_YX, smallest)
        yield Part("", 2.0 * found, float(true + guessed), float(true))


def _face_polygons(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    valid_YX = labelled(truth, "face_YX")
    yield from _instances(truth["face_id_YX"], guess["face_id_YX"], valid_YX, float(truth["gsd_m"]), params)


def _outline_polygons(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    roof_YX, guess_YX = outlines(truth["outline_YX"] == 1), outlines(guess["outline_YX"] >= 0.5)
    yield from _instances(roof_YX, guess_YX, labelled(truth, "outline_YX"), float(truth["gsd_m"]), params)


def pitch(slope_GYX: np.ndarray) -> np.ndarray:
    """Degrees from the horizontal, of rise over run towards east and north."""
    return np.degrees(np.arctan(np.hypot(*slope_GYX.astype(np.float64))))


def _pitch(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    face_YX = labelled(truth, "face_YX") & (truth["face_YX"] <= FLAT)
    apart_YX = np.abs(pitch(truth["slope_GYX"]) - pitch(guess["slope_GYX"]))
    yield from _within(apart_YX, PITCH, face_YX)


def _rise(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    yield from _within(np.abs(truth["rise_YX"] - guess["rise_YX"]), RISE, measured(truth, "rise"))


def _height(truth: Arrays, guess: Arrays, params: RoofsParams) -> Iterable[Part]:
    yield from _within(np.abs(truth["height_YX"] - guess["height_YX"]), HEIGHT, measured(truth, "height"))


def _within(apart_YX: np.ndarray, limit: float, valid_YX: np.ndarray) -> Iterable[Part]:
    count = float(np.count_nonzero(valid_YX))
    if count:
        yield Part("", float(np.count_nonzero(apart_YX[valid_YX] <= limit)), count, count)


METRICS = (
    Metric(
        "superstructure IoU",
        "superstructure",
        ("superstructure_SYX",),
        _superstructure,
        "mean over classes, background included",
    ),
    Metric("outline IoU", "outline", ("outline_YX",), _outline, "of roofs, probability 0.5 and more"),
    Metric("line F1", "line", ("lines_LF",), _any_line, "of lengths within 2 pixels, whatever the type"),
    Metric("face IoU", "face", ("face_FYX",), _face, "mean over 16 bearings, flat and no face"),
    Metric(
        "superstructure IoU, any",
        "superstructure",
        ("superstructure_SYX",),
        _any_superstructure,
        "of all but background",
    ),
    Metric(
        "outline boundary IoU",
        "outline",
        ("outline_YX",),
        _boundary,
        "of bands 2 % of the diagonal wide (Cheng et al., 2021)",
    ),
    Metric("line F1 by type", "line", ("lines_LF",), _typed_line, "the same, mean over types that are labelled"),
    Metric("face F1", "face", ("face_id_YX",), _face_polygons, "of faces that overlap by an IoU above 0.5"),
    Metric("outline F1", "outline", ("outline_YX",), _outline_polygons, "of roofs that overlap by an IoU above 0.5"),
    Metric("pitch within 5°", "face", ("slope_GYX",), _pitch, "share of the area of faces"),
    Metric("rise within 0.5 m", "rise", ("rise_YX",), _rise, "share of the area where the rise above eaves is known"),
    Metric("height within 1 m", "height", ("height_YX",), _height, "share of the roofs' area; ground left out"),
)


def of_tasks(params: RoofsParams) -> list[Metric]:
    """Those of the tasks a run learns, the main one first."""
    return [metric for metric in METRICS if metric.task in params.model.tasks]
