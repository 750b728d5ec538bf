"""What 06_evaluation shows of the test cases beside its scores: the worst of them, and where and why they fail.

Decisions:
- Of at most `MOST` cases, spread evenly over the set; a figure of which the cases hold nothing is left out.
- People stand beside the model only on real images of RID: their agreement says nothing of made scenes.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.utils.data import default_collate

from stepladder.core.types import Batch, Dataset, Prediction, Sample
from stepladder.evaluation import metrics
from stepladder.studies.roofs.data.labels import UNTYPED
from stepladder.studies.roofs.evaluation import heights
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import charts, gallery, overlay, style
from stepladder.studies.roofs.pictures.evidence import Evidence

MOST: Final = 24
RID: Final = "rid"


@torch.inference_mode()
def analysis(
    predict: Callable[[Batch], Prediction], cases: Dataset, params: RoofsParams
) -> dict[str, pd.DataFrame | Figure]:
    """Figures and tables by title, of up to `MOST` test cases.

    Args:
        predict: answers a batch of one image with a prediction; it may leave out keys.
        cases: evaluation cases.
        params: of the run.
    """
    indices = [int(index) for index in metrics.choose(cases, MOST)]

    def case_of(number: int) -> tuple[Sample, Prediction]:
        sample = cases.sample(indices[number], None)
        return sample, predict(default_collate([sample]))

    evidence = Evidence()
    for number, index in enumerate(indices):
        sample, prediction = case_of(number)
        truth = {name: np.asarray(value) for name, value in sample.items()}
        evidence.add(truth, overlay.first(prediction), str(cases.groups[index]), params)
    found: dict[str, pd.DataFrame | Figure] = {}
    if order := evidence.worst_first():
        found["The worst first"] = gallery.figure(order, evidence.scores, case_of, params)
    return found | _figures(evidence) | _people(evidence, params) | _tables(evidence)


def _figures(evidence: Evidence) -> dict[str, pd.DataFrame | Figure]:
    found: dict[str, pd.DataFrame | Figure] = {}
    if evidence.confusion.any():
        found["Superstructures taken for others"] = charts.confusion(evidence.confusion)
    if any(sums[1] for sums in evidence.bands.values()):
        found["Boundaries of outlines"] = charts.boundaries(evidence.bands)
    if any(len(image.truth_L4) for image in evidence.scored.get(UNTYPED, ())):
        found["Lines"] = charts.line_curves(evidence.scored)
    if evidence.reliability:
        found["Are probabilities true"] = charts.reliability(evidence.reliability)
    return found


def _people(evidence: Evidence, params: RoofsParams) -> dict[str, pd.DataFrame | Figure]:
    """The model beside RID's annotators, of real images of RID."""
    rid = {number for number, group in enumerate(evidence.groups) if group == RID}
    class_ious = [values for number, values in evidence.class_ious if number in rid]
    if params.data.source == "synthetic" or not class_ious:
        return {}
    outline_ious = [value for number, value in evidence.outline_ious if number in rid]
    return {"Beside the annotators": charts.beside_people(np.array(class_ious), outline_ious)}


def _tables(evidence: Evidence) -> dict[str, pd.DataFrame | Figure]:
    """Errors of heights in metres: root mean square, mean, and robust; as predicted, and after scale and shift."""
    rows = []
    for told, errors in (("as predicted", evidence.errors), ("after scale and shift", evidence.aligned)):
        for name, own in errors.items():
            error_N = np.concatenate(own)
            told_of = {"what": style.HEIGHTS[name], "guess": told, "images": len(own), "pixels": len(error_N)}
            rows.append({**told_of, **{f"{key} (m)": value for key, value in heights.statistics(error_N).items()}})
    return {"Errors of heights": pd.DataFrame(rows)} if rows else {}
