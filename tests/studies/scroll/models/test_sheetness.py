"""Baselines without learning: right eigenvalues, right polarity, and a filter that finds what a threshold loses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.filters import threshold_otsu

from stepladder.studies.scroll.evaluation import metrics
from stepladder.studies.scroll.models.baselines import sheetness
from tests.studies.scroll import small_sheets


@settings(max_examples=20)
@given(matrix=arrays(np.float64, (5, 3, 3), elements=st.floats(-10, 10)))
def test_eigenvalues_equal_numpys(matrix):
    symmetric = matrix + matrix.transpose(0, 2, 1)
    pairs = {(a, b): symmetric[:, a, b] for a in range(3) for b in range(a, 3)}
    assert np.allclose(np.stack(sheetness.eigenvalues(pairs), -1), np.linalg.eigvalsh(symmetric), atol=1e-4)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), share=st.floats(0.1, 0.9))
def test_otsu_separates_as_skimage_does(seed, share):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(4000) < share, rng.normal(0, 0.5, 4000), rng.normal(4, 0.5, 4000))
    mine, theirs = sheetness.otsu(values), threshold_otsu(values)
    assert np.mean((values > mine) != (values > theirs)) < 0.005


def test_otsu_of_nothing_and_of_a_constant():
    assert sheetness.otsu(np.zeros(0)) == 0 and sheetness.otsu(np.full(5, 2.0)) == 2


@pytest.mark.parametrize("sign", [1, -1])
def test_polarity_is_found_without_a_label(sign):
    image, label = small_sheets.volume((24, 32, 32))
    assert sheetness.stronger(sign * image)[1] == (sign == 1)
    assert np.array_equal(sheetness.sheetness(sign * image), sheetness.sheetness(image))
    inside = sheetness.intensity_threshold(sign * image)[label == 1].mean()
    assert inside > sheetness.intensity_threshold(sign * image)[label == 0].mean() + 0.3


def test_the_ridge_filter_answers_sheets_more_than_tubes_and_blobs():
    z, y, x = np.meshgrid(*[np.arange(25) - 12] * 3, indexing="ij")
    answers = [
        sheetness.ridges((np.abs(shape) < 1.5).astype(np.float32))[0][12, 12, 12]
        for shape in (z, np.hypot(z, y), np.sqrt(z**2 + y**2 + x**2))
    ]
    assert answers[0] > 5 * max(answers[1:])


def test_the_filter_beats_the_threshold_where_the_density_is_uneven():
    image, label = small_sheets.volume((24, 40, 80), noise=0.3)
    scores = {m.__name__: metrics.scores(label, m(image)) for m in (sheetness.intensity_threshold, sheetness.sheetness)}
    assert scores["sheetness"]["SurfaceDice@2"] > scores["intensity_threshold"]["SurfaceDice@2"] + 0.1
    assert scores["sheetness"]["Dice"] > 0.7


@pytest.mark.parametrize("method", [sheetness.all_empty, sheetness.intensity_threshold, sheetness.sheetness])
def test_a_constant_volume_holds_no_sheets(method):
    assert not method(np.full((8, 8, 8), 3.0, dtype=np.float32)).any()
