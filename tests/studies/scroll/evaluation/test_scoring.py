"""The study's scores: perfect is perfect, empty is not, an untrained network is no wonder, a volume counts once."""

import pandas as pd
import pytest
import torch

from stepladder.evaluation import metrics
from stepladder.studies.scroll.evaluation import scoring
from stepladder.studies.scroll.models import inference, unet
from stepladder.studies.scroll.models.baselines import sheetness
from stepladder.studies.scroll.pictures import analysis
from tests.studies.scroll import small_sheets

PARAMS = small_sheets.params()


def values(records):
    """Every metric over a batch, as evaluation computes it."""
    table = pd.DataFrame([{**vars(record), "unit": str(record.item)} for record in records])
    return {name: metrics.metric_value(rows, sorted(rows["unit"].unique())) for name, rows in table.groupby("metric")}


def scores(batch, prediction):
    return values(scoring.score(batch, prediction, PARAMS))


@pytest.fixture(scope="module")
def batch():
    return small_sheets.batch(2, (24, 24, 24))


def test_a_perfect_prediction_scores_one_in_everything(batch):
    assert set(scores(batch, scoring.oracle(batch)).values()) == {1.0}


def test_baselines_are_ordered_and_the_strong_one_is_strong(batch):
    table = {name: scores(batch, method(batch)) for name, method in sheetness.baselines(PARAMS).items()}
    assert list(table) == ["all_empty", "intensity_threshold", "sheetness", "sheetness_post"]
    surface = [table[name]["SurfaceDice@2"] for name in table]
    assert surface[0] == 0 and surface[1] < min(surface[2:]) and min(surface[2:]) > 0.9


def test_an_untrained_network_beats_no_baseline(batch):
    torch.manual_seed(0)
    own = scores(batch, inference.predict(unet.build(PARAMS).eval(), batch))
    best = [scores(batch, method(batch)) for method in sheetness.baselines(PARAMS).values()]
    assert all(value <= max(table[name] for table in best) + 0.02 for name, value in own.items())


def test_predicted_sheets_where_nobody_labelled_cost_nothing(batch):
    prediction = scoring.oracle(batch)
    prediction["mask_BZYX"] = torch.where(batch["label_ZYX"] == 2, 1, prediction["mask_BZYX"])
    assert set(scores(batch, prediction).values()) == {1.0}


def test_a_metric_is_the_mean_over_volumes(batch):
    """One volume predicted perfectly, one not at all: one half, whatever they hold."""
    prediction = scoring.oracle(batch)
    prediction["mask_BZYX"][1] = 0
    result = scores(batch, prediction)
    assert result["SurfaceDice@2"] == result["Dice"] == 0.5
    assert all(record.denominator == 1 for record in scoring.score(batch, prediction, PARAMS))


def test_the_analysis_shows_each_step_and_what_came_out(batch):
    class Cases:
        def sample(self, index, rng):
            return {"image_ZYX": batch["image_ZYX"][index].numpy(), "label_ZYX": batch["label_ZYX"][index].numpy()}

    torch.manual_seed(0)
    table, figure = analysis.analysis(unet.build(PARAMS), Cases(), PARAMS).values()
    assert table["step"].iloc[0] == "threshold" and len(table) > 3
    titles = " ".join(axis.get_title() + axis.get_title("left") for axis in figure.axes)
    assert "label" in titles and "prediction" in titles


def test_the_protocol_explains_every_metric(batch):
    protocol = scoring.protocol(PARAMS)
    assert {record.metric for record in scoring.score(batch, scoring.oracle(batch), PARAMS)} <= set(protocol)
    assert "0.3" in protocol["VOI score"] and "16 x 16 x 16" in protocol["inference"]
