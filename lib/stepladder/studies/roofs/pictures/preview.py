"""A training sample beside its labels: every map over the same pale image.

Decisions:
- Every map lies over the same pale image in the colours of `style`, so that a shifted or mirrored label is seen at
  once; what its source does not label is striped, and a panel that is all stripes says so.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from stepladder.core.types import Sample
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, UNTYPED
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import style
from stepladder.view.style import INK

COLUMNS, INCHES = 3, 3.1  # of the figure, and of one panel
LINE_SHOWN: Final = 0.05  # closeness from which a cell is drawn


def preview(sample: Sample, params: RoofsParams) -> Figure:
    """The image of a training sample beside its label maps; `params` says nothing that is drawn."""
    rgb_YXC, gsd_m = style.pixels(sample["image_CYX"]), float(sample["gsd_m"])
    panels = {"image": _image, "superstructures": _superstructures, "faces": _faces, "outline": _outline}
    panels |= {"lines": _lines} | {style.HEIGHTS[name]: _height(name) for name in _heights_of(sample)}
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
    return [name for name in style.HEIGHTS if np.any(sample.get(f"{name}_labelled_YX", 0))] or ["rise"]


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
    unknown_VU = np.asarray(~labelled_KVU.any(axis=0))
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
