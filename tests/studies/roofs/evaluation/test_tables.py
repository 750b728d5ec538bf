"""Tables beside the metrics: perfect for the truth, right for a known fault, absent where nothing is said."""

import numpy as np
import pytest
import torch

from stepladder.studies.roofs.data.labels import TASKS
from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.evaluation.tables import TABLES, analysis_tables, traced
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.evaluation import gable

PARAMS = RoofsParams(study="roofs")


class Cases:
    """Some cases, as a data set."""

    def __init__(self, *tasks: tuple[str, ...]):
        self.cases = [gable.case(names) for names in tasks]
        self.groups = self.clusters = np.array(["rid"] * len(self.cases))
        self.weights = {"rid": 1.0}

    def __len__(self) -> int:
        return len(self.cases)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> dict:
        return self.cases[index]


def truth(batch):
    return scoring.oracle(batch, PARAMS)


def test_tables_of_the_truth_are_perfect():
    found = analysis_tables(truth, Cases(TASKS, ("line",), ("outline", "height")), PARAMS)
    assert list(found) == list(TABLES)
    superstructures, precision, outlines, heights, calibration = found.values()
    assert superstructures["IoU"].tolist() == [1] * len(superstructures)
    assert set(superstructures["class"]) == {"mean of the classes present", "dormer", "background", "any"}
    assert precision["%"].tolist() == pytest.approx([100] * 4)
    assert outlines.iloc[0][["found", "false", "missed", "F1"]].tolist() == [2, 0, 0, 1]
    assert outlines.iloc[0][["C-IoU", "N ratio"]].tolist() == pytest.approx([1, 1], abs=0.02)
    assert (heights["RMSE (m)"] < 1e-6).all()
    assert (calibration["expected error"] == 0).all()


def test_known_fault_is_told_in_its_unit():
    """Everything 3 m too high: 3 m of RMSE, none of NMAD, none after alignment."""

    def high(batch):
        return {"height_BYX": truth(batch)["height_BYX"] + 3}

    (table,) = analysis_tables(high, Cases(TASKS), PARAMS).values()
    roof = table.set_index("where").loc["on roofs"]
    assert roof[["RMSE (m)", "MAE (m)", "NMAD (m)"]].tolist() == pytest.approx([3, 3, 0], abs=1e-5)
    assert table.set_index("where").loc["on roofs, scale and shift aligned", "RMSE (m)"] < 1e-5


def test_outline_one_pixel_too_wide_has_its_distance_in_metres():
    def wide(batch):
        outline_BYX = torch.nn.functional.max_pool2d(truth(batch)["outline_BYX"][:, None], 3, 1, 1)[:, 0]
        return {"outline_BYX": outline_BYX}

    tables = analysis_tables(wide, Cases(("outline",)), PARAMS)
    row = tables["Outlines as polygons"].iloc[0]
    assert row["PoLiS (m)"] == pytest.approx((1 + np.sqrt(2)) / 2 * 0.2, rel=0.15)
    assert row["N ratio"] == 1


def test_method_that_says_nothing_has_no_tables():
    assert analysis_tables(lambda batch: {}, Cases(TASKS), PARAMS) == {}
    assert analysis_tables(truth, Cases(()), PARAMS) == {}


def test_traced_polygons_have_holes_and_few_corners():
    mask_YX = np.zeros((40, 50), dtype=bool)
    mask_YX[5:35, 5:45] = True
    mask_YX[15:25, 20:30] = False
    (polygon,) = traced(mask_YX)
    assert polygon.area == mask_YX.sum()
    assert (len(polygon.exterior.coords), len(polygon.interiors)) == (5, 1)
