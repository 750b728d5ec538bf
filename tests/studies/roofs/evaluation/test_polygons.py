"""Polygons against solaris' own evaluation files, and hand-made ones."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.roofs.evaluation import polygons

gpd = pytest.importorskip("geopandas")
pd = pytest.importorskip("pandas")
CSVS = {"": "sample_%s.csv", "SN2_": "SN2_sample_%s.csv"}


@pytest.fixture
def solaris(shared_data) -> Path:
    folder = shared_data / "roofs" / "spacenet_solaris"
    if not folder.is_dir():
        pytest.skip("the folder roofs/spacenet_solaris of real files is absent")
    return folder


@pytest.mark.parametrize("challenge", CSVS)
def test_csv_files_give_what_solaris_expects_exactly(solaris, challenge):
    truth, guess = (pd.read_csv(solaris / (CSVS[challenge] % name)) for name in ("truth", "preds"))
    expected = pd.read_csv(solaris / f"{challenge}test_results_full.csv")
    for row in expected.itertuples():
        true, ours = truth[truth["ImageId"] == row.imageID], guess[guess["ImageId"] == row.imageID]
        shapes = (shapely.from_wkt(table["PolygonWKT_Pix"].tolist()) for table in (true, ours))
        found = polygons.find(*shapes, ours["Confidence"].tolist(), smallest=20)
        assert (len(found.pairs), found.false, found.missed) == (row.TruePos, row.FalsePos, row.FalseNeg)
        assert (found.precision, found.recall, found.f1) == (row.Precision, row.Recall, row.F1Score)


def test_geojson_files_give_what_solaris_expects_exactly(solaris):
    truth, guess = (gpd.read_file(solaris / name) for name in ("gt.geojson", "pred.geojson"))
    found = polygons.find(list(truth.geometry), list(guess.geometry), guess["conf"].tolist())
    assert (len(found.pairs), found.false, found.missed) == (8, 20, 20)
    assert found.precision == found.recall == found.f1 == 0.2857142857142857


def test_aircraft_by_class_give_the_mean_f1_solaris_expects(solaris):
    """Its `eval_vector` files: F1 of each class of the truth over three images, then the mean."""
    pairs = [
        tuple(gpd.read_file(path) for path in (file, solaris / "eval_vector" / "preds" / file.name))
        for file in sorted((solaris / "eval_vector" / "gt").glob("*.geojson"))
    ]
    classes = set().union(*(truth["make"] for truth, _ in pairs))
    assert np.mean([_f1_of(pairs, name) for name in classes]).round(2) == 0.83


def _f1_of(pairs: Iterable, name: str) -> float:
    right = wrong = 0
    for truth, guess in pairs:
        true, ours = truth[truth["make"] == name], guess[guess["class"] == name]
        found = polygons.find(list(true.geometry), list(ours.geometry), ours["confidence"].tolist())
        right, wrong = right + 2 * len(found.pairs), wrong + found.false + found.missed
    return right / (right + wrong)


def test_surer_guess_takes_the_polygon_and_the_other_is_false():
    square, smaller = shapely.box(0, 0, 10, 10), shapely.box(0, 0, 10, 8)
    found = polygons.find([square], [square, smaller], [0.1, 0.9])
    assert (found.pairs, found.false, found.missed) == (((1, 0),), 1, 0)


def test_overlap_of_exactly_half_is_no_match():
    found = polygons.find([shapely.box(0, 0, 2, 1)], [shapely.box(0, 0, 1, 1)])
    assert (found.f1, found.missed) == (0, 1)


def test_guess_that_crosses_itself_is_mended_and_empty_ones_are_false():
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    assert polygons.find([shapely.box(0, 0, 2, 2)], [bow, shapely.Polygon()]).false == 2
    assert polygons.find([], []).f1 == 0


def test_polis_of_a_shifted_square_is_by_hand():
    """Corners of a unit square shifted by 0.1 lie 0.1 or 0 from the other's boundary: half and half."""
    one, two = shapely.box(0, 0, 1, 1), shapely.box(0.1, 0, 1.1, 1)
    assert polygons.polis(one, two) == pytest.approx(0.05)
    assert polygons.polis(one, one) == 0


@given(st.floats(0.1, 3), st.floats(-2, 2))
def test_polis_is_symmetric_and_scales(factor, shift):
    one, two = shapely.box(0, 0, 4, 3), shapely.Polygon([(shift, 0), (5, 1), (3, 4)])
    there, back = polygons.polis(one, two), polygons.polis(two, one)
    larger = [shapely.affinity.scale(shape, factor, factor, origin=(0, 0)) for shape in (one, two)]
    assert there == pytest.approx(back)
    assert polygons.polis(*larger) == pytest.approx(factor * there)


def test_too_many_corners_cost_c_iou_though_iou_is_one():
    square = shapely.box(0, 0, 4, 4)
    dense = square.segmentize(1)
    assert polygons.corner_ratio(square, dense) == 4
    assert polygons.iou(square, dense) == 1
    assert polygons.corner_iou(square, dense) == pytest.approx(1 - 12 / 20)
