"""What 06_evaluation tells beside the metrics: numbers that are usual per image, or that do not add up over images.

Decisions:
- Superstructures *per image*: macro over the classes present in an image, then the mean over images, the rule by which
  annotators are compared (`agreement`). The metric "superstructure IoU" is micro; the two differ.
- sAP over all images at once, of lines whose middle lies where lines are labelled; every line counts, by its score,
  whatever the threshold of drawing.
- Outlines as polygons of the model's own vectoriser; the truth's follow its mask within a pixel. PoLiS, C-IoU and the
  ratio of corners are means over the pairs found at an IoU above 0.5, PoLiS in metres.
- Heights of at most `PIXELS` pixels an image, evenly taken; alignment is by scale and shift of each image.
- A method is any function of a batch, asked once per case; a table it says nothing to is left out. Of an image only
  what a table needs is kept, for predictions are large.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from rasterio import features
from shapely import Polygon
from shapely.geometry.base import BaseGeometry
from torch.utils.data import default_collate

from stepladder.core.types import Baseline, Dataset
from stepladder.evaluation.metrics import choose
from stepladder.studies.roofs.data.labels import BACKGROUND, SUPERSTRUCTURES, UNTYPED
from stepladder.studies.roofs.evaluation import areas, heights, lines, polygons
from stepladder.studies.roofs.evaluation.calibration import Reliability
from stepladder.studies.roofs.evaluation.metrics import Arrays, labelled, line_area, measured
from stepladder.studies.roofs.evaluation.scoring import image_of
from stepladder.studies.roofs.models.vector import outlines
from stepladder.studies.roofs.params import RoofsParams

PIXELS: Final = 50_000  # of an image whose heights are compared
METRES: Final = ("rise", "height")
FOLLOWS: Final = 1.0  # pixels the truth's polygons may leave its mask

Of = Callable[[Arrays, Arrays, RoofsParams], Any]  # one image's share of a table, None of nothing


@torch.inference_mode()
def analysis_tables(predict: Baseline, cases: Dataset, params: RoofsParams) -> dict[str, pd.DataFrame]:
    """Tables by title, of at most `evaluation.samples` cases spread evenly.

    Args:
        predict: the model's or a rival's answer to a batch of one image; it may lack keys.
        cases: whole images.
        params: of the run.
    """
    kept: dict[str, list[Any]] = {title: [] for title in TABLES}
    for index in choose(cases, params.evaluation.samples):
        batch = default_collate([cases.sample(int(index), None)])
        truth, guess = image_of(batch, 0), image_of(predict(batch), 0)
        for title, (of_image, _) in TABLES.items():
            found = of_image(truth, guess, params)
            kept[title] += [] if found is None else [found]
    return {title: table(kept[title]) for title, (_, table) in TABLES.items() if kept[title]}


def _superstructures(truth: Arrays, guess: Arrays, params: RoofsParams) -> np.ndarray | None:
    """IoU of every class, and last of any."""
    valid_YX = labelled(truth, "superstructure_YX")
    if "superstructure_SYX" not in guess or not valid_YX.any():
        return None
    truth_YX, guess_YX = truth["superstructure_YX"], guess["superstructure_SYX"].argmax(axis=0)
    class_C = areas.image_ious(truth_YX, guess_YX, len(SUPERSTRUCTURES), valid_YX)
    return np.append(class_C, areas.iou(truth_YX != BACKGROUND, guess_YX != BACKGROUND, valid_YX))


def _superstructure_table(found: Sequence[np.ndarray]) -> pd.DataFrame:
    """One row a class: its mean over the images that hold it; the macro mean of an image over all images."""
    iou_NC = np.array(found)
    rows = [(name, iou_N[~np.isnan(iou_N)]) for name, iou_N in zip((*SUPERSTRUCTURES, "any"), iou_NC.T, strict=True)]
    rows.insert(0, ("mean of the classes present", np.nanmean(iou_NC[:, :-1], axis=1)))
    return pd.DataFrame([{"class": name, "IoU": v.mean(), "images": len(v)} for name, v in rows if len(v)])


def _lines(truth: Arrays, guess: Arrays, params: RoofsParams) -> lines.Scored | None:
    if "lines_LF" not in guess or not truth["line_types_K"][UNTYPED]:
        return None
    area_YX = line_area(truth)
    true, found = (side[lines.in_middle(side, area_YX)] for side in (truth["lines_LF"], guess["lines_LF"]))
    return lines.Scored(true[:, :4], found[:, :4], found[:, 5], (area_YX.shape[1], area_YX.shape[0]))


def _line_table(found: Sequence[lines.Scored]) -> pd.DataFrame:
    """sAP at every threshold, and mAP-J."""
    rows = {f"sAP{threshold}": lines.sap(found, threshold) for threshold in lines.THRESHOLDS}
    rows["mAP-J"] = float(np.mean([lines.junction_ap(found, distance) for distance in lines.JUNCTIONS]))
    count = sum(len(image.truth_L4) for image in found)
    return pd.DataFrame([{"metric": name, "%": value, "true lines": count} for name, value in rows.items()])


def _outlines(truth: Arrays, guess: Arrays, params: RoofsParams) -> dict[str, float] | None:
    """Sums over the roofs of an image."""
    valid_YX, gsd_m = labelled(truth, "outline_YX"), float(truth["gsd_m"])
    if "outline_YX" not in guess or not valid_YX.any():
        return None
    smallest = params.evaluation.smallest / gsd_m**2
    true = traced((truth["outline_YX"] == 1) & valid_YX)
    ours = outlines.polygons(np.where(valid_YX, guess["outline_YX"], 0.0))
    matched = polygons.find(true, ours, smallest=smallest)
    pairs = [(true[of], ours[by]) for by, of in matched.pairs]
    return {
        "found": len(pairs),
        "false": matched.false,
        "missed": matched.missed,
        "PoLiS (m)": sum(gsd_m * polygons.polis(*pair) for pair in pairs),
        "C-IoU": sum(polygons.corner_iou(*pair) for pair in pairs),
        "N ratio": sum(polygons.corner_ratio(*pair) for pair in pairs),
    }


def _outline_table(found: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Precision, recall and F1 of roofs, and the means over those found."""
    total = pd.DataFrame(found).sum()
    right, false, missed = (int(total[name]) for name in ("found", "false", "missed"))
    rates = polygons.Found(((0, 0),) * right, false, missed)
    row = {"found": right, "false": false, "missed": missed}
    row |= {"precision": rates.precision, "recall": rates.recall, "F1": rates.f1}
    means = {name: total[name] / right if right else np.nan for name in ("PoLiS (m)", "C-IoU", "N ratio")}
    return pd.DataFrame([row | means])


def traced(mask_YX: np.ndarray) -> list[BaseGeometry]:
    """Polygons of a mask's connected parts, with holes, in pixels; corners simplified within `FOLLOWS`."""
    shapes = features.shapes(mask_YX.astype(np.uint8), mask=mask_YX)
    whole = [Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in shapes]
    return [polygons.valid(polygon.simplify(FOLLOWS)) for polygon in whole]


def _heights(truth: Arrays, guess: Arrays, params: RoofsParams) -> dict[tuple[str, str], np.ndarray] | None:
    """Errors in metres by what is measured and where."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for name in METRES:
        known_YX = truth[f"{name}_labelled_YX"] != 0
        if f"{name}_YX" in guess and known_YX.any():
            true_YX, ours_YX, roof_YX = truth[f"{name}_YX"], guess[f"{name}_YX"], measured(truth, name)
            found[name, "everywhere it is known"] = _some(heights.errors(true_YX, ours_YX, known_YX))
            found[name, "on roofs"] = _some(heights.errors(true_YX, ours_YX, roof_YX))
            aligned_YX = heights.aligned(true_YX, ours_YX, roof_YX)
            found[name, "on roofs, scale and shift aligned"] = _some(heights.errors(true_YX, aligned_YX, roof_YX))
    return found or None


def _some(error_N: np.ndarray) -> np.ndarray:
    return error_N[:: max(1, -(-len(error_N) // PIXELS))]


def _height_table(found: Sequence[dict[tuple[str, str], np.ndarray]]) -> pd.DataFrame:
    rows = []
    for key in dict.fromkeys(key for image in found for key in image):
        error_N = np.concatenate([image[key] for image in found if key in image])
        values = {f"{name} (m)": value for name, value in heights.statistics(error_N).items()}
        rows.append({"what": key[0], "where": key[1], **values, "pixels": len(error_N)})
    return pd.DataFrame(rows)


def _probabilities(truth: Arrays, guess: Arrays, params: RoofsParams) -> dict[str, Reliability] | None:
    """How sure and how right: of the class taken for a superstructure, and of "roof"."""
    found: dict[str, Reliability] = {}
    for name, key in (("superstructure", "superstructure_SYX"), ("outline", "outline_YX")):
        valid_YX, label_YX = labelled(truth, f"{name}_YX"), truth[f"{name}_YX"]
        if key in guess and valid_YX.any():
            sure_YX = guess[key].max(axis=0) if name == "superstructure" else guess[key]
            right_YX = label_YX == (guess[key].argmax(axis=0) if name == "superstructure" else 1)
            found[name] = Reliability()
            found[name].add(sure_YX[valid_YX], right_YX[valid_YX])
    return found or None


def _calibration_table(found: Sequence[dict[str, Reliability]]) -> pd.DataFrame:
    """Expected calibration error of both probabilities."""
    whole: dict[str, Reliability] = {}
    for image in found:
        for name, part in image.items():
            whole.setdefault(name, Reliability()).merge(part)
    return pd.DataFrame(
        [{"of": name, "expected error": r.error, "pixels": int(r.count_K.sum())} for name, r in whole.items()]
    )


TABLES: Final[dict[str, tuple[Of, Callable[[list[Any]], pd.DataFrame]]]] = {
    "Superstructures, image by image": (_superstructures, _superstructure_table),
    "Lines: structural average precision": (_lines, _line_table),
    "Outlines as polygons": (_outlines, _outline_table),
    "Heights in metres": (_heights, _height_table),
    "Calibration of probabilities": (_probabilities, _calibration_table),
}
