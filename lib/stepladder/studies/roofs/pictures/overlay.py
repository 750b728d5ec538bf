"""Labels over images: all labels of a training sample, and the roof plan of a case, truth beside prediction.

Decisions:
- Every map of a sample lies over the same pale image in the colours of `style`, so that a shifted or mirrored label is
  seen at once; what its source does not label is striped, and a panel that is all stripes says so.
- A roof plan is what a roofer would draw: faces by bearing, typed lines, the outline. Truth left, prediction right, on
  the same image. Outside the building that is scored the image is veiled.
- A prediction may lack anything, and may find nothing: then a sentence stands in its place.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from stepladder.core.types import Prediction, Sample
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, NO_FACE, UNTYPED
from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import style
from stepladder.view.style import INK

COLUMNS, INCHES = 3, 3.1  # of a preview, and of one of its panels
HEIGHTS = {"rise": "rise above the eave", "height": "height above ground"}
LINE_SHOWN = 0.05  # closeness from which a cell is drawn
VEIL = 0.55  # of white over what is not scored
OUTLINE_LOOK = {"colors": "white", "linewidths": 1.4, "linestyles": [(0, (4, 2))]}


def preview(sample: Sample, params: RoofsParams) -> Figure:
    """The image of a training sample beside its label maps; `params` says nothing that is drawn."""
    rgb_YXC, gsd_m = style.pixels(sample["image_CYX"]), float(sample["gsd_m"])
    panels = {"image": _image, "superstructures": _superstructures, "faces": _faces, "outline": _outline}
    panels |= {"lines": _lines} | {HEIGHTS[name]: _height(name) for name in _heights_of(sample)}
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(INCHES * COLUMNS + 0.5, (INCHES + 0.25) * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    handles = []
    for axis, (title, panel) in zip(axes.flat, panels.items(), strict=False):
        handles += panel(axis, sample, rgb_YXC)
        axis.set_title(title)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    style.scale_bar(axes[0, 0], rgb_YXC.shape, gsd_m)
    for axis in axes[:, 0]:
        axis.set_ylabel("y (pixels)")
    for place in range(COLUMNS):
        lowest = max(row for row in range(rows) if row * COLUMNS + place < len(panels))
        axes[lowest, place].set_xlabel("x (pixels)")
    figure.suptitle(style.size_told(rgb_YXC.shape, gsd_m), x=0.01, ha="left", fontsize=10)
    style.add_legend(figure, handles)
    return figure


def _heights_of(sample: Sample) -> list[str]:
    """The heights that are labelled anywhere; `rise` where neither is."""
    return [name for name in HEIGHTS if np.any(sample.get(f"{name}_labelled_YX", 0))] or ["rise"]


def _image(axis: Axes, sample: Sample, rgb_YXC: np.ndarray) -> list[Any]:
    style.draw(axis, rgb_YXC, rgb_YXC.shape)
    return []


def _superstructures(axis: Axes, sample: Sample, rgb_YXC: np.ndarray) -> list[Any]:
    labels_YX = sample["superstructure_YX"]
    clear = {value: entry for value, entry in style.SUPERSTRUCTURE.items() if value != BACKGROUND}
    return _classes(axis, labels_YX, clear, rgb_YXC) + style.shown_superstructures(labels_YX)


def _faces(axis: Axes, sample: Sample, rgb_YXC: np.ndarray) -> list[Any]:
    labels_YX = sample["face_YX"]
    handles = _classes(axis, labels_YX, style.FACE, rgb_YXC)
    if (labels_YX <= FLAT).any():
        style.compass(axis, np.unique(labels_YX).tolist())
    return handles


def _outline(axis: Axes, sample: Sample, rgb_YXC: np.ndarray) -> list[Any]:
    labels_YX = sample["outline_YX"]
    return _classes(axis, labels_YX, {1: style.OUTLINE[1]}, rgb_YXC) + style.legend_of(labels_YX, style.OUTLINE, (0,))


def _classes(axis: Axes, labels_YX: np.ndarray, palette: Any, rgb_YXC: np.ndarray) -> list[Any]:
    """A map of classes over the pale image; the handle of stripes where any are."""
    style.draw(axis, style.in_grey(rgb_YXC), rgb_YXC.shape)
    style.draw(axis, style.painted(labels_YX, palette, 0.8), rgb_YXC.shape)
    return _unlabelled(axis, np.asarray(labels_YX) == IGNORE)


def _unlabelled(axis: Axes, where: np.ndarray) -> list[Any]:
    if where.all():
        words = {"ha": "center", "va": "center", "color": INK, "transform": axis.transAxes}
        axis.text(0.5, 0.5, style.NOT_LABELLED, bbox={"facecolor": "white", "linewidth": 0}, **words)
    return [style.striped()] * bool(where.any())


def _stripe(axis: Axes, where: np.ndarray, shape: tuple[int, ...]) -> None:
    """Stripes over an image of `shape` where a map of any resolution says so."""
    rows, columns = (np.linspace(0, n, m, endpoint=False).astype(int) for n, m in zip(where.shape, shape, strict=False))
    stripes_YXC = style.stripes(shape)
    stripes_YXC[..., 3] = where[rows][:, columns]
    style.draw(axis, stripes_YXC, shape)


def _lines(axis: Axes, sample: Sample, rgb_YXC: np.ndarray) -> list[Any]:
    """The nearest line of every cell in the colour of its type, the fainter the further off."""
    style.draw(axis, style.in_grey(rgb_YXC), rgb_YXC.shape)
    closeness_KVU, labelled_KVU = np.asarray(sample["closeness_KVU"]), np.asarray(sample["line_labelled_KVU"]) > 0
    near_KVU = np.where(labelled_KVU, closeness_KVU, 0)
    near_KVU[UNTYPED] -= 1e-3  # a line that has a type is shown as such
    kind_VU = near_KVU.argmax(axis=0)
    colour_VUC = np.array([(*to_rgb(colour), 1) for colour in style.LINE_COLOURS])[kind_VU]
    colour_VUC[..., 3] = np.clip(near_KVU.max(axis=0), 0, 1)
    unknown_VU = ~labelled_KVU.any(axis=0)
    colour_VUC[..., 3] *= ~unknown_VU
    style.draw(axis, colour_VUC, rgb_YXC.shape)
    _stripe(axis, unknown_VU, rgb_YXC.shape)
    shown = kind_VU[(near_KVU.max(axis=0) > LINE_SHOWN) & ~unknown_VU]
    return _unlabelled(axis, unknown_VU) + style.legend_of_lines(shown.tolist())


def _height(name: str) -> Callable[[Axes, Sample, np.ndarray], list[Any]]:
    """A panel of metres, with a colour bar of its own."""

    def draw(axis: Axes, sample: Sample, rgb_YXC: np.ndarray) -> list[Any]:
        labelled_YX = np.asarray(sample.get(f"{name}_labelled_YX", np.zeros(rgb_YXC.shape[:2]))) > 0
        style.draw(axis, style.stripes(rgb_YXC.shape), rgb_YXC.shape)
        if labelled_YX.any():
            values_YX = np.where(labelled_YX, np.asarray(sample[f"{name}_YX"], dtype=np.float32), np.nan)
            drawn = style.draw(axis, values_YX, rgb_YXC.shape, cmap=style.METRES)
            axis.figure.colorbar(drawn, ax=axis, label="metres", shrink=0.8, pad=0.02)
        return _unlabelled(axis, ~labelled_YX)

    return draw


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
    figure = Figure(figsize=(inches * count + 0.5, tall + 1.1), layout="constrained")
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
        y, x = ((np.arange(n) + 0.5) * m / n for n, m in zip(side["outline_YX"].shape, shape, strict=False))
        axis.contour(x, y, side["outline_YX"], levels=[0.5], **OUTLINE_LOOK)
        handles.append(style.outline_handle())
    return handles + draw_lines(axis, side.get("lines_LF", np.zeros((0, 5))), width)


def draw_lines(axis: Axes, lines_LF: np.ndarray, width: float = 2.0) -> list[Any]:
    """Typed lines with a white rim; `lines_LF` holds x0, y0, x1, y1, type first."""
    if not len(lines_LF):
        return []
    kinds = lines_LF[:, 4].astype(int)
    colours = [style.LINE_COLOURS[kind] for kind in kinds]
    ends = lines_LF[:, :4].reshape(-1, 2, 2)
    axis.add_collection(LineCollection(ends, colors="white", linewidths=1.6 * width, capstyle="round"), autolim=False)
    axis.add_collection(LineCollection(ends, colors=colours, linewidths=width, capstyle="round"), autolim=False)
    return style.legend_of_lines(kinds.tolist())


def superstructures(case: Sample, prediction: Prediction | None) -> Figure | None:
    """Superstructures over the image, truth beside prediction; None where neither side knows any."""
    truth_YX = np.asarray(case["superstructure_YX"])
    sides = {"truth": truth_YX} if (truth_YX != IGNORE).any() else {}
    if "superstructure_SYX" in (found := first(prediction)):
        sides["prediction"] = found["superstructure_SYX"].argmax(axis=0)
    if not sides:
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
