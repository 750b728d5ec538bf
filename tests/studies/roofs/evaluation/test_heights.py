"""Errors of heights: by hand, and unmoved by what they must not feel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepladder.studies.roofs.evaluation import heights

metres = arrays(np.float64, (5, 6), elements=st.floats(0, 30))


def test_statistics_by_hand():
    found = heights.statistics(np.array([-1.0, 0, 1, 4]))
    assert found == pytest.approx({"RMSE": np.sqrt(18 / 4), "MAE": 1.5, "NMAD": 1.4826 * 1.0})


def test_only_labelled_pixels_count():
    truth_YX, guess_YX = np.array([[1.0, np.nan, 3.0]]), np.array([[2.0, 9.0, 9.0]])
    assert heights.errors(truth_YX, guess_YX, np.array([[1, 1, 0]])) == pytest.approx([1.0])
    assert np.isnan(heights.statistics(np.zeros(0))["RMSE"])


def test_nmad_is_deaf_to_an_outlier_and_to_a_common_shift():
    error_N = np.random.default_rng(0).normal(5, 2, 20_001)
    error_N[0] = 1e6
    assert heights.statistics(error_N)["NMAD"] == pytest.approx(2, rel=0.03)


@given(metres, st.floats(0.1, 5), st.floats(-10, 10))
def test_alignment_undoes_scale_and_shift(truth_YX, scale, shift):
    if np.ptp(truth_YX) > 0.1:
        aligned_YX = heights.aligned(truth_YX, truth_YX * scale + shift)
        assert aligned_YX == pytest.approx(truth_YX, abs=1e-5)


@given(metres, metres)
def test_alignment_is_least_squares(truth_YX, guess_YX):
    if np.ptp(guess_YX) > 0.1:
        scale, shift = np.polyfit(guess_YX.ravel(), truth_YX.ravel(), 1)
        assert heights.aligned(truth_YX, guess_YX) == pytest.approx(scale * guess_YX + shift, abs=1e-4)


def test_constant_guess_becomes_the_mean():
    assert heights.aligned(np.array([[1.0, 3.0]]), np.zeros((1, 2))) == pytest.approx(np.full((1, 2), 2.0))
