"""Rivals that do not look: emptiness answers everything, the average only what somebody labelled."""

import numpy as np
import pytest

from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.models.baselines.constant import Average, nothing
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.evaluation import gable

PARAMS = RoofsParams(study="roofs")


def test_nothing_answers_every_metric_and_finds_nothing():
    batch = gable.batch()
    found = gable.values(scoring.score(batch, nothing(batch), PARAMS))
    assert None not in found.values()
    assert found["outline IoU"] == found["line F1"] == found["face F1"] == found["height within 1 m"] == 0
    assert set(nothing(batch)) == set(scoring.oracle(batch, PARAMS))


def test_average_is_the_median_roof():
    crop = gable.crop()
    found = Average([crop, crop])(gable.batch())
    rise_N = crop["rise_YX"][crop["rise_labelled_YX"] == 1]
    assert float(found["rise_BYX"].min()) == float(found["rise_BYX"].max()) == pytest.approx(np.median(rise_N))
    assert float(found["height_BYX"][0, 0, 0]) == pytest.approx(5 + np.median(rise_N), abs=0.3)
    score = gable.values(scoring.score(gable.batch(), found, PARAMS))
    assert score["pitch within 5°"] == 1
    assert score["outline IoU"] is None


def test_average_of_what_nobody_labelled_is_no_answer():
    assert Average([gable.crop(("outline",))])(gable.batch()) == {}
    assert Average([])(gable.batch()) == {}
