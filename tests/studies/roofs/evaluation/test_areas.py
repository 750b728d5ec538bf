"""IoU of classes and of boundary bands: against loops, and the authors' recipe on OpenCV."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepladder.studies.roofs.evaluation import areas

maps = arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 1, 2, 255]))
guesses = arrays(np.uint8, (7, 9), elements=st.integers(0, 2))


@given(maps, guesses, arrays(bool, (7, 9)))
def test_iou_of_classes_is_that_of_sets_of_pixels(truth_YX, guess_YX, valid_YX):
    found_C = areas.image_ious(truth_YX, guess_YX, 3, valid_YX)
    for number, value in enumerate(found_C):
        looked_at = [at for at in np.ndindex(truth_YX.shape) if valid_YX[at] and truth_YX[at] != 255]
        one, two = ({at for at in looked_at if mask[at] == number} for mask in (truth_YX, guess_YX))
        assert value == len(one & two) / len(one | two) if one | two else np.isnan(value)


def test_absent_class_is_left_out_of_the_mean_and_never_counts_as_right():
    truth_YX = np.zeros((4, 4), dtype=np.uint8)
    assert np.isnan(areas.image_ious(truth_YX, truth_YX, 3)[1:]).all()
    assert np.nanmean(areas.image_ious(truth_YX, truth_YX, 3)) == 1


def test_per_image_and_micro_differ_as_their_names_say():
    """A small image that is all wrong weighs half per image, and hardly anything micro."""
    big, small = np.ones((100, 100), dtype=np.uint8), np.ones((2, 2), dtype=np.uint8)
    pairs = [(big, big), (small, 1 - small)]
    per_image = np.mean([areas.iou(truth, guess) for truth, guess in pairs])
    hit, union = np.sum([np.array(areas.counts(truth, guess, 2)[:2])[:, 1] for truth, guess in pairs], axis=0)
    assert (per_image, hit / union) == (0.5, 10000 / 10004)


@pytest.mark.parametrize("seed", range(3))
def test_boundary_band_is_that_of_the_authors_code(seed):
    """`mask_to_boundary` of Cheng et al.: pad by one, erode `dilation` times by 3 x 3, take the difference."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(seed)
    mask_YX = cv2.GaussianBlur(rng.random((90, 120)), (0, 0), 6) > 0.5
    dilation = max(1, round(0.02 * np.hypot(90, 120)))
    padded = cv2.copyMakeBorder(mask_YX.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=dilation)[1:-1, 1:-1]
    assert np.array_equal(areas.boundary(mask_YX), mask_YX.astype(np.uint8) - eroded != 0)


def test_boundary_iou_feels_a_shift_that_iou_hardly_feels():
    truth_YX = np.zeros((200, 200), dtype=bool)
    truth_YX[20:180, 20:180] = True
    guess_YX = np.roll(truth_YX, 3, axis=1)
    assert areas.iou(truth_YX, guess_YX) > 0.95
    assert areas.boundary_iou(truth_YX, guess_YX) < 0.75
    assert areas.boundary_iou(truth_YX, truth_YX) == 1
