"""Pictures of one case: the roof plan, superstructures, heights, and the roof in space, truth beside prediction.

Decisions:
- Heights of truth and prediction have one colour bar; what nobody labelled is striped, and the error stands above.
- In space every face is a plane: its slope is the mean of the face, its level the median of the rise where that is
  known, else its lowest corner is an eave. Faces come from the map of instances, simplified together, so that
  neighbours keep their common edge; truth and prediction are made alike. Walls are drawn down to where the eave is
  known to be, or three metres, which the note says.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from stepladder.core.types import Picture, Prediction, Sample
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import overlay, planes, style
from stepladder.view.scene import Panel, Scene

PLAN = (
    "The roof plan over the image: faces coloured by the compass bearing they fall to, typed lines, outline dashed. "
    "Outside what is scored the image is pale."
)
PARTS = "Superstructures over the image."
SOLID = "The roof as planes, coloured by the compass bearing they fall to, with its lines in space."
HEIGHT_CAPTION: Final = {
    "rise": "Metres above the eave of the same building, one colour bar for all; stripes: not labelled.",
    "height": "Metres above the ground, one colour bar for all; stripes: not labelled.",
}


def scenes(case: Sample, prediction: Prediction | None, params: RoofsParams) -> dict[str, Picture]:
    """Pictures of an evaluation case by name, `roof` in space last; what neither side knows is left out.

    `prediction` may be None, lack any key, or hold nothing: a sentence then stands in the place of what is missing.
    """
    pictures = {"plan": Picture(overlay.roof_plan(case, prediction, params), PLAN)}
    if parts := overlay.superstructures(case, prediction):
        pictures["superstructures"] = Picture(parts, PARTS)
    for name in overlay.HEIGHTS:
        if figure := heights(case, prediction, name):
            pictures[name] = Picture(figure, HEIGHT_CAPTION[name])
    return pictures | {"roof": Picture(solid(case, prediction, params), SOLID)}


def heights(case: Sample, prediction: Prediction | None, name: str) -> Figure | None:
    """Truth and prediction of `rise` or `height` in metres, side by side; None where the case has no label of it."""
    labelled_YX = np.asarray(case[f"{name}_labelled_YX"]) > 0
    if not labelled_YX.any():
        return None
    truth_YX = np.where(labelled_YX, np.asarray(case[f"{name}_YX"], dtype=np.float32), np.nan)
    sides = {"truth": truth_YX}
    guess_YX = overlay.first(prediction).get(f"{name}_YX")
    if guess_YX is not None:
        sides[f"prediction: {_error_told(truth_YX, guess_YX, case)}"] = guess_YX
    figure, axes = overlay.side_by_side(len(sides), truth_YX.shape, inches=4.2)
    scale = _common_scale(list(sides.values()))
    for axis, (title, values_YX) in zip(axes, sides.items(), strict=True):
        style.draw(axis, style.stripes(truth_YX.shape), truth_YX.shape)
        drawn = style.draw(axis, values_YX, truth_YX.shape, cmap=style.METRES, **scale)
        axis.set(title=title, xlabel="x (pixels)")
        style.scale_bar(axis, truth_YX.shape, float(case["gsd_m"]))
    axes[0].set_ylabel("y (pixels)")
    figure.colorbar(drawn, ax=list(axes), label=f"{overlay.HEIGHTS[name]} (metres)", shrink=0.85, pad=0.02)
    if not labelled_YX.all():
        style.add_legend(figure, [style.striped()])
    return figure


def _common_scale(values: list[np.ndarray]) -> dict[str, float]:
    """One range for all: from 0, or the lowest below it, to the highest; never empty."""
    found = np.concatenate([part[np.isfinite(part)] for part in values])
    low, high = min(0.0, float(found.min())), float(found.max())
    return {"vmin": low, "vmax": max(high, low + 0.1)}


def _error_told(truth_YX: np.ndarray, guess_YX: np.ndarray, case: Sample) -> str:
    """The mean error on roofs in words."""
    on_roof = np.isfinite(truth_YX) & (np.asarray(case["outline_YX"]) == 1)
    if not on_roof.any():
        return "no roof is labelled"
    return f"off by {np.abs(guess_YX - truth_YX)[on_roof].mean():.2g} m on roofs, on average"


def solid(case: Sample, prediction: Prediction | None, params: RoofsParams) -> Scene:
    """The roof of a case in space: the true one where faces are labelled, and beside it the one that was found."""
    gsd_m, found = float(case["gsd_m"]), overlay.first(prediction)
    panels = []
    if np.any(case["face_id_YX"]):
        panels.append(_panel("truth", _true_maps(case), gsd_m))
    if prediction is not None:
        panels.append(_panel("prediction", _found_maps(found, params.evaluation.line_threshold), gsd_m))
    panels = panels or [Panel("truth: this source labels no faces", ())]
    return Scene("The roof in space", tuple(panels), unit="m", azimuth=-65.0, elevation=38.0, note=planes.NOTE)


def _panel(title: str, maps: Mapping[str, Any], gsd_m: float) -> Panel:
    items = planes.roof(maps, gsd_m) if np.any(maps.get("face_id_YX", 0)) else ()
    return Panel(title if items else f"{title}: no face was found", items)


def _true_maps(case: Sample) -> dict[str, np.ndarray]:
    maps = {name: np.asarray(case[name]) for name in ("face_id_YX", "face_YX", "slope_GYX", "lines_LF")}
    for name in overlay.HEIGHTS:
        if np.any(labelled_YX := np.asarray(case[f"{name}_labelled_YX"]) > 0):
            maps[f"{name}_YX"] = np.where(labelled_YX, np.asarray(case[f"{name}_YX"], dtype=np.float64), np.nan)
    return maps


def _found_maps(found: Mapping[str, np.ndarray], threshold: float) -> dict[str, np.ndarray]:
    kept = ("face_id_YX", "slope_GYX", "rise_YX", "height_YX")
    return {name: found[name] for name in kept if name in found} | overlay.found_of(found, threshold)
