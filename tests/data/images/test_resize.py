"""Resizing: img2dataset's sizes, OpenCV's area means, borders and crops where they belong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.images import resize
from stepladder.data.images.decode import picture

MODES = ("no", "border", "keep_ratio", "keep_ratio_largest", "center_crop")
SIDES = st.integers(1, 70)
IMG2DATASET = "captions/rom1504__img2dataset/tests"


def noise(height: int, width: int) -> np.ndarray:
    """A picture in which every pixel tells."""
    rng = np.random.Generator(np.random.Philox(key=[height, width]))
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def theirs(image_YXC: np.ndarray, side: int, mode: str, only_smaller: bool) -> tuple[int, int]:
    """Height and width by img2dataset 1.47 (`resizer.py`, and `smallest_max_size`, `longest_max_size` it calls)."""
    height, width = image_YXC.shape[:2]
    measured = min(height, width) if mode in ("keep_ratio", "center_crop") else max(height, width)
    if mode == "no" or (only_smaller and measured <= side):
        return height, width
    if mode in ("border", "center_crop"):
        return side, side
    return max(1, round(height * side / measured)), max(1, round(width * side / measured))


@given(SIDES, SIDES, SIDES, st.sampled_from(MODES), st.booleans())
def test_sizes_are_those_of_img2dataset(height: int, width: int, side: int, mode: Any, only_smaller: bool) -> None:
    image_YXC = noise(height, width)
    found_YXC = resize.resize(image_YXC, side, mode, only_smaller)
    assert found_YXC.shape[:2] == theirs(image_YXC, side, mode, only_smaller) and found_YXC.dtype == np.uint8
    assert resize.changes(image_YXC, side, mode, only_smaller) == (found_YXC is not image_YXC)


@pytest.mark.parametrize("side", [256, 512])
@pytest.mark.parametrize(("mode", "only_smaller"), [(mode, only) for mode in MODES for only in (False, True)])
def test_its_own_reference_pictures_have_the_sizes_it_asks_for(
    shared_data: Path, side: int, mode: Any, only_smaller: bool
) -> None:
    for path in (shared_data / IMG2DATASET / "resize_test_image").iterdir():
        image_YXC = picture(path.read_bytes())
        expected = theirs(image_YXC, side, mode, only_smaller)
        assert resize.resize(image_YXC, side, mode, only_smaller).shape[:2] == expected


def test_smaller_is_opencvs_mean_over_areas(shared_data: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    for path in sorted((shared_data / IMG2DATASET / "resize_test_image").iterdir()):
        image_YXC = picture(path.read_bytes())
        for side in (37, 64, 100, 118):
            height, width = theirs(image_YXC, side, "keep_ratio", True)
            area_YXC = cv2.resize(image_YXC, (width, height), interpolation=cv2.INTER_AREA)
            assert np.abs(resize.resize(image_YXC, side, "keep_ratio").astype(int) - area_YXC).max() <= 1


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_smaller_keeps_the_mean(height: int, width: int, data: st.DataObject) -> None:
    image_YXC = noise(height, width)
    found_YXC = resize.shrunk(image_YXC, data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    np.testing.assert_allclose(found_YXC.mean(axis=(0, 1)), image_YXC.mean(axis=(0, 1)), atol=0.5)


def test_larger_is_near_opencvs_lanczos(shared_data: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    image_YXC = picture((shared_data / IMG2DATASET / "resize_test_image/416_264.jpg").read_bytes())
    found_YXC = resize.resize(image_YXC, 600, "keep_ratio", only_smaller=False).astype(int)
    lanczos_YXC = cv2.resize(image_YXC, found_YXC.shape[1::-1], interpolation=cv2.INTER_LANCZOS4)
    assert np.abs(found_YXC - lanczos_YXC).mean() < 1


def test_a_border_is_white_and_around_the_picture() -> None:
    image_YXC = np.zeros((30, 10, 3), np.uint8)
    found_YXC = resize.resize(image_YXC, 15, "border")
    assert (found_YXC[:, 5:10] == 0).all() and (found_YXC[:, :5] == 255).all() and (found_YXC[:, 10:] == 255).all()


@given(SIDES, SIDES, st.integers(1, 20))
def test_a_crop_is_the_middle_of_keep_ratio(height: int, width: int, side: int) -> None:
    image_YXC = noise(height, width)
    whole_YXC = resize.resize(image_YXC, side, "keep_ratio", only_smaller=False)
    top, left = (whole_YXC.shape[0] - side) // 2, (whole_YXC.shape[1] - side) // 2
    cropped_YXC = resize.resize(image_YXC, side, "center_crop", only_smaller=False)
    np.testing.assert_array_equal(cropped_YXC, whole_YXC[top : top + side, left : left + side])


def test_a_line_of_pixels_keeps_one_row() -> None:
    assert resize.resize(noise(1, 900), 64, "keep_ratio_largest").shape == (1, 64, 3)
