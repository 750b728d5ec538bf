"""Pictures of one case: the roof plan, superstructures, heights, and the roof in space, truth beside prediction.

Decisions:
- Heights of truth and prediction have one colour bar; what nobody labelled is striped, and the error stands above.
- In space every face is a plane: its slope is the mean of the face, its level the median of the rise where that is
  known, else its lowest corner is an eave. Faces come from the map of instances, simplified together, so that
  neighbours keep their common edge; truth and prediction are made alike. Walls are drawn down to where the eave is
  known to be, or three metres, which the note says. Where neither side has a face, heights are drawn as a relief.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from stepladder.core.types import Picture, Prediction, Sample
from stepladder.studies.roofs.evaluation import metrics
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import overlay, planes, style
from stepladder.view.scene import Lines, Mesh, Panel, Scene

PLAN = (
    "The roof plan over the image: faces coloured by the compass bearing they fall to, typed lines, outline dashed. "
    "Outside what is scored the image is pale."
)
PARTS = "Superstructures over the image."
Arrays = Mapping[str, np.ndarray]
LOWEST_M: Final = 1.0  # that the colours of heights reach
SOLID = "The roof as planes, coloured by the compass bearing they fall to, with its lines in space."
HEIGHT_CAPTION: Final = {
    "rise": "Metres above the eave of the same building, one colour bar for all; stripes: not labelled.",
    "height": "Metres above the ground, one colour bar for all; stripes: not labelled.",
}


def scenes(case: Sample, prediction: Prediction | None, params: RoofsParams) -> dict[str, Picture]:
    """Pictures of an evaluation case by name, the roof plan and the roof in space last; what nobody knows is left out.

    `prediction` may be None, lack any key, or hold nothing: a sentence then stands in the place of what is missing.
    """
    pictures: dict[str, Picture] = {}
    if parts := overlay.superstructures(case, prediction):
        pictures["superstructures"] = Picture(parts, PARTS)
    for name in style.HEIGHTS:
        if figure := heights(case, prediction, name):
            pictures[name] = Picture(figure, HEIGHT_CAPTION[name])
    pictures["plan"] = Picture(overlay.roof_plan(case, prediction, params), PLAN)
    scene = solid(case, prediction, params)
    return pictures | ({"roof": Picture(scene, SOLID)} if scene else {})


def heights(case: Sample, prediction: Prediction | None, name: str) -> Figure | None:
    """Truth and prediction of `rise` or `height` in metres, side by side; None where the case has no label of it."""
    labelled_YX = np.asarray(case[f"{name}_labelled_YX"]) > 0
    if not labelled_YX.any():
        return None
    truth_YX = np.where(labelled_YX, np.asarray(case[f"{name}_YX"], dtype=np.float32), np.nan)
    sides = {"truth": truth_YX}
    guess_YX = overlay.first(prediction).get(f"{name}_YX")
    if guess_YX is not None:
        sides[f"prediction: {_error_told(truth_YX, guess_YX, metrics.measured(case, name))}"] = guess_YX
    figure, axes = overlay.side_by_side(len(sides), truth_YX.shape, inches=4.2)
    scale = _common_scale(list(sides.values()))
    for axis, (title, values_YX) in zip(axes, sides.items(), strict=True):
        style.draw(axis, style.stripes(truth_YX.shape), truth_YX.shape)
        drawn = style.draw(axis, values_YX, truth_YX.shape, cmap=style.METRES, **scale)
        axis.set(title=title, xlabel="x (pixels)")
        style.scale_bar(axis, truth_YX.shape, float(case["gsd_m"]))
    axes[0].set_ylabel("y (pixels)")
    figure.colorbar(drawn, ax=list(axes), label=f"{style.HEIGHTS[name]} (metres)", shrink=0.85, pad=0.02)
    if not labelled_YX.all():
        style.add_legend(figure, [style.striped()])
    return figure


def _common_scale(values: list[np.ndarray]) -> dict[str, float]:
    """One range for all: from 0, or the lowest below it, to the highest; never empty."""
    found = np.concatenate([part[np.isfinite(part)] for part in values])
    low, high = min(0.0, float(found.min())), float(found.max())
    return {"vmin": low, "vmax": max(high, low + 0.1)}


def _error_told(truth_YX: np.ndarray, guess_YX: np.ndarray, looked_at_YX: np.ndarray) -> str:
    """The mean error where evaluation looks, in words."""
    if not looked_at_YX.any():
        return "no roof is labelled"
    return f"off by {np.abs(guess_YX - truth_YX)[looked_at_YX].mean():.2g} m on roofs, on average"


def solid(case: Sample, prediction: Prediction | None, params: RoofsParams) -> Scene | None:
    """The true and the predicted roof in space: faces as planes, else heights as a relief; None of neither."""
    maps = {"truth": _true_maps(case)}
    if prediction is not None:
        maps["prediction"] = _found_maps(overlay.first(prediction), params.evaluation.line_threshold)
    drawn = _as_planes(maps, float(case["gsd_m"])) or _as_relief(maps, float(case["gsd_m"]))
    panels = [Panel(title, items) for title, items in drawn.items()]
    shown = [panel for panel in panels if panel.items]
    if not shown:
        return None
    notes = [planes.NOTE] if any(planes.walled(panel) for panel in shown) else []
    notes += [f"There is nothing to draw in the {panel.title}." for panel in panels if not panel.items]
    return Scene("The roof in space", tuple(shown), unit="m", azimuth=-65.0, elevation=38.0, note=" ".join(notes))


def _as_planes(maps: Mapping[str, Arrays], gsd_m: float) -> dict[str, tuple[Mesh | Lines, ...]]:
    """Title -> faces and lines in space; empty where no side has a face."""
    items = {title: planes.roof(own, gsd_m) if "face_id_YX" in own else () for title, own in maps.items()}
    return items if any(items.values()) else {}


def _as_relief(maps: Mapping[str, Arrays], gsd_m: float) -> dict[str, tuple[Mesh, ...]]:
    """Title -> heights above the ground as a surface, in the same colours; nothing where a side has none."""
    known = {title: own["height_YX"] for title, own in maps.items() if "height_YX" in own}
    highest = max([LOWEST_M, *(float(np.nanmax(height_YX)) for height_YX in known.values())])
    return {title: planes.relief(known[title], gsd_m, highest) if title in known else () for title in maps}


def _true_maps(case: Sample) -> dict[str, np.ndarray]:
    maps = {name: np.asarray(case[name]) for name in ("face_id_YX", "face_YX", "slope_GYX", "lines_LF")}
    for name in style.HEIGHTS:
        if np.any(labelled_YX := np.asarray(case[f"{name}_labelled_YX"]) > 0):
            maps[f"{name}_YX"] = np.where(labelled_YX, np.asarray(case[f"{name}_YX"], dtype=np.float64), np.nan)
    return maps


def _found_maps(found: Mapping[str, np.ndarray], threshold: float) -> dict[str, np.ndarray]:
    kept = ("face_id_YX", "slope_GYX", "rise_YX", "height_YX")
    return {name: found[name] for name in kept if name in found} | overlay.found_of(found, threshold)
