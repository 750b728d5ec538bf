"""Pictures of one case: the roof plan, superstructures, heights, and the roof in space, truth beside prediction.

Decisions:
- Heights of truth and prediction have one colour bar; what nobody labelled is striped, and the error stands above.
- In space the prediction is what would be exported; the truth is made of its labels: every face a plane of their mean
  slope, at the level of their rise. Both stand on the ground; where nobody knows how high the eaves are, the note says
  what is drawn. Where neither side has a face, heights are drawn as a relief.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from matplotlib.figure import Figure

from stepladder.core.types import Picture, Prediction, Sample
from stepladder.studies.roofs.evaluation import metrics
from stepladder.studies.roofs.models.vector import roofs
from stepladder.studies.roofs.models.vector import solid as solids
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
VECTORS: Final = {"outline_YX", "lines_LF", "slope_GYX"}  # what roofs are made of
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
    return pictures | ({"roof": Picture(scene, SOLID, _meshes(case, prediction, params))} if scene else {})


def heights(case: Sample, prediction: Prediction | None, name: str) -> Figure | None:
    """Truth and prediction of `rise` or `height` in metres, side by side; None where the case has no label of it."""
    if (truth_YX := _true_metres(case, name)) is None:
        return None
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
    if np.isnan(truth_YX).any():
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
    gsd_m, found = float(case["gsd_m"]), overlay.first(prediction)
    drawn = {"truth": planes.roof(_true_maps(case), gsd_m)}
    if prediction is not None:
        drawn["prediction"] = _found_roofs(found, case, params)
    if not any(drawn.values()):
        drawn = _reliefs(case, found)
    panels = [Panel(title, items) for title, items in drawn.items()]
    shown = [panel for panel in panels if panel.items]
    if not shown:
        return None
    notes = [planes.NOTE] if any(planes.walled(panel) for panel in shown) else []
    notes += [f"There is nothing to draw in the {panel.title}." for panel in panels if not panel.items]
    return Scene("The roof in space", tuple(shown), unit="m", azimuth=-65.0, elevation=38.0, note=" ".join(notes))


def _found_roofs(found: Arrays, case: Sample, params: RoofsParams) -> tuple[Mesh | Lines, ...]:
    """Roofs that are looked at, as exported; of a method that answers in part, planes over its faces, or nothing."""
    gsd_m = float(case["gsd_m"])
    if not found.keys() >= VECTORS:
        return planes.roof(found, gsd_m) if "face_id_YX" in found else ()
    return planes.of_roofs(_vectorised(found, case, params), len(case["focus_YX"]), gsd_m)


def _vectorised(found: Arrays, case: Sample, params: RoofsParams) -> list[roofs.Roof]:
    """The roofs in a prediction that evaluation looks at."""
    focus_YX = np.asarray(case["focus_YX"]) > 0
    made = roofs.vectorise(found, float(case["gsd_m"]), smallest=params.evaluation.smallest)
    return [each for each in made if _in(each, focus_YX)]


def _meshes(case: Sample, prediction: Prediction | None, params: RoofsParams) -> dict[str, Callable[[Path], object]]:
    """The predicted roofs as files for other programs, where there are any."""
    found = overlay.first(prediction)
    if not (found.keys() >= VECTORS and (made := _vectorised(found, case, params))):
        return {}
    gsd_m = float(case["gsd_m"])

    def write(path: Path) -> object:
        return solids.export([solids.solid(roof, gsd_m) for roof in made], path)

    return dict.fromkeys((".glb", ".obj"), write)


def _in(found: roofs.Roof, where_YX: np.ndarray) -> bool:
    """Whether a roof covers any of the pixels `where_YX`."""
    left, top, right, bottom = (int(edge) for edge in found.outline.bounds)
    y, x = np.nonzero(where_YX[top : bottom + 1, left : right + 1])
    return bool(shapely.contains_xy(found.outline, x + left + 0.5, y + top + 0.5).any())


def _true_maps(case: Sample) -> dict[str, np.ndarray]:
    """Maps of the faces that are looked at, with NaN for metres nobody labelled."""
    maps = {name: np.asarray(case[name]) for name in ("face_id_YX", "face_YX", "slope_GYX", "lines_LF")}
    looked_at = np.unique(maps["face_id_YX"][np.asarray(case["focus_YX"]) > 0])
    maps["face_id_YX"] = np.where(np.isin(maps["face_id_YX"], looked_at), maps["face_id_YX"], 0)
    return maps | {f"{name}_YX": metres for name in style.HEIGHTS if (metres := _true_metres(case, name)) is not None}


def _true_metres(case: Sample, name: str) -> np.ndarray | None:
    """Metres with NaN where nobody labelled them; None where nobody did at all."""
    labelled_YX = np.asarray(case[f"{name}_labelled_YX"]) > 0
    return np.where(labelled_YX, np.asarray(case[f"{name}_YX"], np.float64), np.nan) if labelled_YX.any() else None


def _reliefs(case: Sample, found: Arrays) -> dict[str, tuple[Mesh, ...]]:
    """Title -> heights above the ground as a surface, in the same colours; nothing where a side has none."""
    known = {"truth": _true_metres(case, "height"), "prediction": found.get("height_YX")}
    highest = max([LOWEST_M, *(float(np.nanmax(metres_YX)) for metres_YX in known.values() if metres_YX is not None)])
    gsd_m = float(case["gsd_m"])
    return {title: planes.relief(own, gsd_m, highest) if own is not None else () for title, own in known.items()}
