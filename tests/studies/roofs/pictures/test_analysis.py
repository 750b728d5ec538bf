"""Figures of evaluation: what they draw is what the metrics say, and people stand beside real images only."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.roofs.data.labels import BACKGROUND, SUPERSTRUCTURES, UNTYPED
from stepladder.studies.roofs.evaluation import agreement, lines
from stepladder.studies.roofs.evaluation.lines import Scored
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import analysis, charts, gallery
from stepladder.studies.roofs.pictures.evidence import Evidence
from tests.studies.roofs.pictures import houses

MADE = RoofsParams.model_validate({"study": "roofs"})
REAL = RoofsParams.model_validate({"study": "roofs", "data": {"source": "mirror", "mirror": "somewhere"}})
PEOPLE = "Beside the annotators"


def evidence(*shifts):
    found = Evidence()
    for shift in shifts:
        guess = {name.replace("_B", "_"): value[0].numpy() for name, value in houses.prediction(shift).items()}
        found.add(houses.case(), guess, "rid", MADE)
    return found


@pytest.fixture(scope="module")
def shown():
    return analysis.analysis(houses.shaky, houses.Cases(4), REAL)


def test_every_figure_has_its_title_and_the_worst_come_first(shown):
    assert list(shown) == [
        "The worst first",
        "Superstructures taken for others",
        "Boundaries of outlines",
        "Lines",
        "Are probabilities true",
        PEOPLE,
        "Errors of heights",
    ]
    titles = [axis.get_title() for axis in shown["The worst first"].axes if axis.get_title()]
    scores = [float(title.split(": ")[1]) for title in titles]
    assert scores[:3] == sorted(scores[:3]) and scores[-1] == max(scores)


def test_people_stand_beside_real_images_of_rid_only():
    assert PEOPLE not in analysis.analysis(houses.shaky, houses.Cases(1), MADE)
    assert PEOPLE not in analysis.analysis(houses.shaky, houses.Cases(1, "roofline"), REAL)


def test_a_method_that_answers_nothing_leaves_no_figure():
    assert analysis.analysis(lambda batch: {}, houses.Cases(2), REAL) == {}


def test_the_truth_scores_one_and_what_is_shifted_more_scores_less():
    scores = evidence(0, 2, 6).scores
    assert scores[0] == pytest.approx(1) and scores[0] > scores[1] > scores[2]
    assert evidence(0, 2, 6).worst_first() == [2, 1, 0]


def test_bands_grow_easier_with_their_width_when_an_outline_is_shifted():
    ious = [hit / either for hit, either in evidence(3).bands.values()]
    assert ious == sorted(ious) and ious[0] < 0.6


def test_height_errors_are_those_of_the_prediction():
    found = evidence(0)
    rise = houses.maps()["rise_YX"]
    assert np.sort(found.errors["rise"][0]) == pytest.approx(np.sort(-0.1 * rise.ravel()), abs=1e-5)
    assert np.abs(found.aligned["rise"][0]).max() < 1e-4  # nine tenths of the truth: a scale mends it


def test_rows_of_the_confusion_add_up_and_absent_classes_have_none():
    pixels = np.zeros((9, 9))
    pixels[0, 0], pixels[0, BACKGROUND], pixels[BACKGROUND, BACKGROUND] = 30, 10, 100
    axis = charts.confusion(pixels).axes[0]
    share = axis.images[0].get_array()
    assert share.shape == (2, 2) and np.allclose(share.sum(axis=1), 1)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["pvmodule", "background"]
    assert {text.get_text() for text in axis.texts} == {"75%", "25%", "100%"}


@given(st.integers(0, 2**32 - 1))
def test_the_area_below_the_drawn_curve_is_the_average_precision(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 128, (6, 4))
    guess = np.concatenate([truth[:4] + rng.normal(0, 1.5, (4, 4)), rng.uniform(0, 128, (5, 4))])
    images = [Scored(truth, guess, rng.uniform(0, 1, 9), (128, 128))]
    recall, precision = charts.curve(images, 10)
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # precision at a recall is the best one from there on
    assert 100 * (np.diff(recall) @ highest[1:]) == pytest.approx(lines.sap(images, 10))


def test_curves_of_lines_are_drawn_for_labelled_types_in_their_colours():
    figure = charts.line_curves(evidence(0).scored)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "sAP5 = 100.0", "sAP10 = 100.0", "sAP15 = 100.0"
    ]  # fmt: skip
    assert [text.get_text().split(":")[0] for text in figure.axes[1].get_legend().get_texts()] == [
        "ridge",
        "hip",
        "eave",
    ]


def test_lines_of_any_type_are_gathered_where_no_type_is_labelled():
    case = houses.case()
    case["line_types_K"][:UNTYPED] = 0
    found = Evidence()
    guess = {name.replace("_B", "_"): value[0].numpy() for name, value in houses.prediction(0).items()}
    found.add(case, guess, "simpleroof", MADE)
    assert list(found.scored) == [UNTYPED]


def test_a_gallery_of_few_cases_shows_none_twice():
    assert list(gallery.chosen([4]).values()) == [4]
    assert gallery.chosen([5, 4, 3, 2, 1, 0]) == {"worst": 5, "worst 2": 4, "worst 3": 3, "median": 2, "best": 0}


def test_forgetting_is_what_was_lost_since_the_best():
    rows = []
    for step, first, second in ((0, 0.0, 0.0), (10, 0.6, 0.1), (20, 0.2, 0.7)):
        rows += [(step, "sequential", "rid", "IoU", first), (step, "sequential", "airs", "IoU", second)]
        rows += [(step, "mixed", "rid", "IoU", first + 0.2 * step / 10 * (step == 20))]
    table = pd.DataFrame(rows, columns=["step", "schedule", "source", "metric", "value"])
    figure = charts.forgetting(table)
    assert [axis.get_title() for axis in figure.axes] == [
        "sequential: up to 0.40 forgotten", "mixed: nothing forgotten"
    ]  # fmt: skip
    assert [text.get_text() for text in figure.axes[0].texts] == ["-0.40", "kept"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rid: IoU", "airs: IoU"]


@pytest.mark.slow
def test_what_people_reach_is_what_their_masks_say(shared_data):
    found = agreement.of_rid(shared_data / "roofs" / "rid")
    assert found.mean == pytest.approx(charts.PEOPLE.mean, abs=1e-3)
    assert found.outline == pytest.approx(charts.PEOPLE.outline, abs=1e-3)
    for name in SUPERSTRUCTURES:
        assert found.classes[name] == pytest.approx(charts.PEOPLE.classes[name], abs=1e-3)
