"""Squares, frames and kept features: bounds that hold whatever the numbers are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from stepladder.studies.captions.data import features

VALUES = st.floats(-6e4, 6e4, width=32, allow_nan=False)


@given(arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=6), elements=VALUES))
def test_int8_differs_by_at_most_half_a_step_of_its_row(values):
    kept, scale = features.quantised(values)
    assert kept.dtype == np.int8
    assert scale.shape == (*values.shape[:-1], 1)
    back = kept.astype(np.float64) * scale.astype(np.float64)
    assert (np.abs(back - values) <= 0.5001 * scale.astype(np.float64) + 1e-9).all()
    # The step is no larger than it must be: float16 rounds by 2 ** -11, its smallest numbers by 6e-8.
    assert (scale <= np.abs(values).max(-1, keepdims=True) / 127 * 1.002 + 2e-7).all()


def test_rows_of_zeros_come_back_as_zeros():
    kept, scale = features.quantised(np.zeros((3, 4), np.float32))
    assert not kept.any()
    assert np.isfinite(scale).all()


def test_the_error_is_told_in_units_of_the_features():
    values = np.random.default_rng(0).normal(size=(50, 200)).astype(np.float32)
    kept, scale = features.quantised(values)
    step = np.sqrt(np.mean(np.square(scale.astype(float)))) / 12**0.5  # of rounding evenly, as textbooks have it
    assert features.error(values, kept, scale) == pytest.approx(step / values.std(), rel=0.05)
    assert features.error(1000 * values, *features.quantised(1000 * values)) == pytest.approx(
        features.error(values, kept, scale), rel=0.02
    )
    assert features.error(values, values.astype(np.float16)) < 3e-4 < features.error(values, kept, scale)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 24))
def test_a_square_is_pillows_bicubic_one(rows, columns, side):
    image = np.random.default_rng(rows * 41 + columns).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    found = features.square(image, side)
    assert found.shape == (side, side, 3)
    if (rows, columns) == (side, side):
        np.testing.assert_array_equal(found, image)
    else:
        np.testing.assert_array_equal(found, np.asarray(Image.fromarray(image).resize((side, side), Image.BICUBIC)))


@given(st.integers(1, 30), st.integers(1, 17))
def test_frames_are_spread_in_order_from_the_first_to_the_last(frames, count):
    scene = np.arange(frames)[:, None, None, None]
    taken = features.steps(scene, count).ravel()
    assert len(taken) == count
    assert taken[0] == 0
    assert (np.diff(taken) >= 0).all()
    if count > 1:
        assert taken[-1] == frames - 1
        assert np.ptp(np.diff(taken)) <= 1
