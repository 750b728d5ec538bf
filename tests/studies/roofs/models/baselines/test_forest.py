"""Forests: they learn what can be seen, answer only what was labelled, and say the same whatever the strips."""

import numpy as np
import pytest
import torch

from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.models.baselines import forest
from stepladder.studies.roofs.models.baselines.forest import ClassHeights, Forest
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.evaluation import gable

PARAMS = RoofsParams(study="roofs")


@pytest.fixture(scope="module")
def fitted() -> Forest:
    return Forest([gable.crop(seed=seed) for seed in (1, 2)], seed=0)


def test_roof_that_can_be_seen_is_found(fitted):
    found = gable.values(scoring.score(gable.batch(), fitted(gable.batch()), PARAMS))
    assert min(found[name] for name in ("outline IoU", "outline F1", "pitch within 5°", "face F1")) > 0.9
    assert found["rise within 0.5 m"] > 0.8
    assert found["height within 1 m"] > 0.8


def test_lines_are_found_where_they_were_learnt(fitted):
    drawn = {"lines_BLF": torch.from_numpy(fitted.lines(gable.case()["image_CYX"]))[None]}
    assert gable.values(scoring.score(gable.batch(), drawn, PARAMS))["line F1"] > 0.6


def test_only_what_was_labelled_is_answered():
    lone = Forest([gable.crop(("outline",))], seed=0)
    assert set(lone(gable.batch())) == {"outline_BYX"}
    assert lone.lines(gable.case()["image_CYX"]).shape == (0, 6)
    assert Forest([], seed=0)(gable.batch()) == {}


def test_same_seed_same_answer(fitted):
    again = Forest([gable.crop(seed=seed) for seed in (1, 2)], seed=0)(gable.batch())
    for name, value in fitted(gable.batch()).items():
        assert torch.equal(value, again[name])


def test_answers_do_not_depend_on_strips(fitted, monkeypatch):
    image_CYX = np.concatenate([gable.case()["image_CYX"]] * 3, axis=1)[:, :270]
    whole = fitted.at(image_CYX, ["outline", "rise", "line6"])
    monkeypatch.setattr(forest, "STRIP", 128)
    for name, value in fitted.at(image_CYX, ["outline", "rise", "line6"]).items():
        assert value.shape[-2:] == ((270, 128) if name != "line6" else (68, 32))
        assert np.abs(value - whole[name]).mean() < 0.01


def test_rarer_classes_are_drawn_more_often_than_their_share():
    label_N = np.array([0] * 9900 + [1] * 100 + [255] * 5000, dtype=np.uint8)
    at = forest.rarer(label_N, 500, np.random.default_rng(0))
    assert (label_N[at] == 1).sum() == pytest.approx(500 / 11, abs=2)
    assert (label_N[at] == 255).sum() == 0
    assert len(forest.rarer(np.full(9, 255, np.uint8), 5, np.random.default_rng(0))) == 0


def test_class_heights_are_the_medians_of_what_the_forest_sees(fitted):
    found = ClassHeights(fitted, [gable.crop()])(gable.batch())
    case = gable.case()
    for name, where_YX in (("roof", case["outline_YX"] == 1), ("ground", case["outline_YX"] == 0)):
        median = np.median(case["height_YX"][where_YX])
        assert float(found["height_BYX"][0].numpy()[where_YX].mean()) == pytest.approx(median, abs=0.3), name


def test_parts_of_one_class_are_faces():
    class_YX = np.full((6, 9), 17)
    class_YX[1:3, 1:3], class_YX[1:3, 6:8], class_YX[4, 1:3] = 0, 0, 4
    number_YX = forest.parts(class_YX)
    assert len(np.unique(number_YX)) == 4
    assert number_YX[0, 0] == 0
    assert number_YX[1, 1] != number_YX[1, 6]
