"""Labels and predictions over the image of a case: the roof plan and superstructures, truth beside prediction.

Decisions:
- A roof plan is what a roofer would draw: faces by bearing, typed lines, the outline. Truth left, prediction right, on
  the same image. Outside the building that is scored the image is veiled.
- A prediction may lack anything, and may find nothing: then a sentence stands in its place.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from stepladder.core.types import Prediction, Sample
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, NO_FACE
from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import style
from stepladder.studies.roofs.pictures.preview import preview as preview
from stepladder.view.style import INK

VEIL = 0.55  # of white over what is not scored
OUTLINE_LOOK = {"colors": "white", "linewidths": 1.4, "linestyles": [(0, (4, 2))]}


def first(prediction: Prediction | None) -> dict[str, np.ndarray]:
    """The first image's part of a prediction as numpy arrays, under the names without their batch axis."""
    return scoring.image_of(prediction or {}, 0)


def roof_plan(case: Sample, prediction: Prediction | None, params: RoofsParams) -> Figure:
    """Faces, typed lines and outline over the image: truth, and beside it what was found, where there is a prediction.

    Lines are those of a score from `evaluation.line_threshold` on.
    """
    found = first(prediction)
    sides = {"truth": truth_of(case)}
    if prediction is not None:
        sides["prediction"] = found_of(found, params.evaluation.line_threshold)
    rgb_YXC, gsd_m = style.pixels(case["image_CYX"]), float(case["gsd_m"])
    figure, axes = side_by_side(len(sides), rgb_YXC.shape)
    absent = {"truth": "nothing of a plan is labelled", "prediction": "it says nothing of a plan"}
    handles = []
    for axis, (title, side) in zip(axes, sides.items(), strict=True):
        style.draw(axis, veiled(rgb_YXC, case), rgb_YXC.shape)
        handles += draw_plan(axis, side, rgb_YXC.shape)
        axis.set(title=f"{title}: {told(side) if side else absent[title]}", xlabel="x (pixels)")
        style.scale_bar(axis, rgb_YXC.shape, gsd_m)
    axes[0].set_ylabel("y (pixels)")
    style.add_legend(figure, handles, columns=8)
    return figure


def side_by_side(count: int, shape: tuple[int, ...], inches: float = 5.0) -> tuple[Figure, Any]:
    """A figure of `count` panels in a row for images of `shape`, with room for a legend; and its axes, (count,)."""
    tall = inches * np.clip(shape[0] / shape[1], 0.4, 2.0)
    figure = Figure(figsize=(inches * count + 0.5, tall + 1.1), layout="compressed")
    return figure, figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]


def truth_of(case: Sample) -> dict[str, np.ndarray]:
    """`face_YX`, `lines_LF` (x0, y0, x1, y1, type) and `outline_YX` (bool) of a case; absent where not labelled."""
    side: dict[str, np.ndarray] = {}
    if (np.asarray(case["face_YX"]) != IGNORE).any():
        side["face_YX"] = np.asarray(case["face_YX"])
    if np.any(case["line_types_K"]):
        side["lines_LF"] = np.asarray(case["lines_LF"])
    if (np.asarray(case["outline_YX"]) != IGNORE).any():
        side["outline_YX"] = np.asarray(case["outline_YX"]) == 1
    return side


def found_of(found: Mapping[str, np.ndarray], threshold: float) -> dict[str, np.ndarray]:
    """The same of a prediction: faces only where one was made, lines only of a score of at least `threshold`."""
    side: dict[str, np.ndarray] = {}
    if "face_FYX" in found:
        face_YX = found["face_FYX"].argmax(axis=0)
        side["face_YX"] = np.where(found["face_id_YX"] > 0, face_YX, NO_FACE) if "face_id_YX" in found else face_YX
    if "lines_LF" in found:
        side["lines_LF"] = found["lines_LF"][found["lines_LF"][:, 5] >= threshold]
    if "outline_YX" in found:
        side["outline_YX"] = found["outline_YX"] > 0.5
    return side


def told(side: Mapping[str, np.ndarray]) -> str:
    """What a side of the plan holds in words: `12 lines, 34% of the image is roof`; `no roof here` of none."""
    words = []
    if len(side.get("lines_LF", ())):
        words.append(f"{len(side['lines_LF'])} lines")
    if np.any(side.get("outline_YX", False)):
        words.append(f"{side['outline_YX'].mean():.0%} of the image is roof")
    elif (side.get("face_YX", np.array(NO_FACE)) <= FLAT).any():
        words.append("faces")
    return ", ".join(words) or "no roof here"


def draw_plan(
    axis: Axes, side: Mapping[str, np.ndarray], shape: tuple[int, ...], compass: bool = True, width: float = 2.0
) -> list[Any]:
    """Faces, outline and lines of one side over what `axis` shows; handles of the legend."""
    handles: list[Any] = []
    if "face_YX" in side:
        style.draw(
            axis, style.painted(np.where(side["face_YX"] == IGNORE, NO_FACE, side["face_YX"]), style.FACE, 0.45), shape
        )
        if compass and (side["face_YX"] <= FLAT).any():
            style.compass(axis, np.unique(side["face_YX"]).tolist(), 0.15)
    if np.any(side.get("outline_YX", False)) and not side["outline_YX"].all():
        roof_YX = style.thinned(side["outline_YX"])
        y, x = ((np.arange(n) + 0.5) * m / n for n, m in zip(roof_YX.shape, shape, strict=False))
        axis.contour(x, y, roof_YX, levels=[0.5], colors=INK, linewidths=2.0, alpha=0.6)
        axis.contour(x, y, roof_YX, levels=[0.5], **OUTLINE_LOOK)
        handles.append(style.outline_handle())
    return handles + draw_lines(axis, side.get("lines_LF", np.zeros((0, 5))), width)


def draw_lines(axis: Axes, lines_LF: np.ndarray, width: float = 2.0) -> list[Any]:
    """Typed lines with a white rim; `lines_LF` holds x0, y0, x1, y1, type first."""
    if not len(lines_LF):
        return []
    kinds = lines_LF[:, 4].astype(int)
    colours = [style.LINE_COLOURS[kind] for kind in kinds]
    ends = list(lines_LF[:, :4].reshape(-1, 2, 2))
    axis.add_collection(LineCollection(ends, colors="white", linewidths=1.6 * width, capstyle="round"), autolim=False)
    axis.add_collection(LineCollection(ends, colors=colours, linewidths=width, capstyle="round"), autolim=False)
    return style.legend_of_lines(kinds.tolist())


def superstructures(case: Sample, prediction: Prediction | None) -> Figure | None:
    """Superstructures over the image, truth beside prediction; None where nothing is labelled and nothing found."""
    truth_YX = np.asarray(case["superstructure_YX"])
    sides = {"truth": truth_YX} if (truth_YX != IGNORE).any() else {}
    if "superstructure_SYX" in (found := first(prediction)):
        sides["prediction"] = found["superstructure_SYX"].argmax(axis=0)
    if not any(np.isin(labels_YX, (BACKGROUND, IGNORE), invert=True).any() for labels_YX in sides.values()):
        return None
    rgb_YXC = style.pixels(case["image_CYX"])
    figure, axes = side_by_side(len(sides), rgb_YXC.shape)
    clear = {value: entry for value, entry in style.SUPERSTRUCTURE.items() if value != BACKGROUND}
    handles = []
    for axis, (title, labels_YX) in zip(axes, sides.items(), strict=True):
        style.draw(axis, veiled(rgb_YXC, case), rgb_YXC.shape)
        shown_YX = np.where(labels_YX == IGNORE, BACKGROUND, labels_YX)
        style.draw(axis, style.painted(shown_YX, clear, 0.7), rgb_YXC.shape)
        handles += style.shown_superstructures(shown_YX)
        nothing = "" if (shown_YX != BACKGROUND).any() else ": none found"
        axis.set(title=title + nothing, xlabel="x (pixels)")
        style.scale_bar(axis, rgb_YXC.shape, float(case["gsd_m"]))
    axes[0].set_ylabel("y (pixels)")
    style.add_legend(figure, handles, columns=8)
    return figure


def veiled(rgb_YXC: np.ndarray, case: Sample) -> np.ndarray:
    """The image, paler where evaluation does not look."""
    if np.all(focus_YX := np.asarray(case["focus_YX"]) > 0):
        return rgb_YXC
    paler = (rgb_YXC * (1 - VEIL) + 255 * VEIL).astype(np.uint8)
    return np.where(focus_YX[..., None], rgb_YXC, paler)
