"""Blurred faces: img2dataset's rule, its own reference picture, and nothing outside the boxes."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.images import blur as blurring
from stepladder.data.images.blur import blur
from stepladder.data.images.decode import picture

FILES = "captions/rom1504__img2dataset/tests/blur_test_files"
shares = st.floats(-0.5, 1.5, allow_nan=False)


def boxes_of(folder: Path) -> list[tuple[float, float, float, float]]:
    """The face in its reference picture."""
    parquet = pytest.importorskip("pyarrow.parquet")
    return [tuple(box) for box in parquet.read_table(folder / "test_bbox.parquet").to_pylist()[0]["bboxes"]]


def by_opencv(image_YXC: np.ndarray, boxes, share: float) -> np.ndarray:
    """img2dataset's `BoundingBoxBlurrer` in its own words, with OpenCV's exact Gaussian."""
    cv2 = pytest.importorskip("cv2")
    height, width = image_YXC.shape[:2]
    picture_YXC, mask_YX, longest = image_YXC / np.float32(255), np.zeros((height, width), np.float32), 0
    for box in boxes:
        x0, y0, x1, y1 = (int(edge * size) for edge, size in zip(box, (width, height) * 2, strict=True))
        longest = max(longest, longer := max(x1 - x0, y1 - y0))
        x0, y0, x1, y1 = (
            int(edge + sign * 0.1 * longer) for edge, sign in zip((x0, y0, x1, y1), (-1, -1, 1, 1), strict=True)
        )
        mask_YX[max(y0, 0) : y1, max(x0, 0) : x1] = 1
    size = 2 * math.ceil(4 * share * longest) + 1
    soft_YXC, mask_YX = (cv2.GaussianBlur(one, (size, size), share * longest) for one in (picture_YXC, mask_YX))
    return (255 * (picture_YXC * (1 - mask_YX[..., None]) + soft_YXC * mask_YX[..., None])).astype(int)


def test_the_rule_is_img2datasets(shared_data: Path) -> None:
    folder = shared_data / FILES
    image_YXC, boxes = picture((folder / "original.png").read_bytes()), boxes_of(folder)
    several = [*boxes, (0.1, 0.05, 0.4, 0.2), (0.9, 0.9, 1.0, 1.0)]
    for chosen in (boxes, several):
        difference = np.abs(blur(image_YXC, chosen) - by_opencv(image_YXC, chosen, 0.1))
        assert difference.max() <= 6 and difference.mean() < 0.5


def test_its_reference_picture_is_the_same_face_less_blurred(shared_data: Path, monkeypatch) -> None:
    """Its library drew sigma at random when the file was made; with what it drew the picture is the same."""
    folder = shared_data / FILES
    image_YXC, boxes = picture((folder / "original.png").read_bytes()), boxes_of(folder)
    reference_YXC = picture((folder / "blurred.png").read_bytes()).astype(int)
    drawn = min(
        np.arange(0.03, 0.05, 0.001),
        key=lambda share: np.abs(by_opencv(image_YXC, boxes, share) - reference_YXC).mean(),
    )
    assert np.abs(by_opencv(image_YXC, boxes, drawn) - reference_YXC).mean() < 0.15
    ours_YXC = blur(image_YXC, boxes).astype(int)
    y0, y1, x0, x1 = 230, 320, 240, 330  # well inside the face
    detail = [
        np.abs(np.diff(one_YXC[y0:y1, x0:x1], axis=0)).mean()
        for one_YXC in (image_YXC.astype(int), reference_YXC, ours_YXC)
    ]
    assert detail[0] > 3 * detail[1] > 3 * detail[2]


@given(st.lists(st.tuples(shares, shares, shares, shares), max_size=3))
def test_nothing_changes_far_from_boxes_and_no_box_is_an_error(boxes) -> None:
    rng = np.random.Generator(np.random.Philox(5))
    image_YXC = rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)
    before = image_YXC.copy()
    found_YXC = blur(image_YXC, boxes)
    assert found_YXC.shape == image_YXC.shape and (image_YXC == before).all()
    if not any(min(box[2], 1) > max(box[0], 0) and min(box[3], 1) > max(box[1], 0) for box in boxes):
        assert found_YXC is image_YXC


@pytest.mark.parametrize(
    "box", [(0.5, 0.5, 0.4, 0.6), (math.nan, 0, 1, 1), (0, 0, math.inf, 1), (2, 2, 3, 3), (0.1, 0.1, 0.1, 0.1)]
)
def test_a_box_without_area_changes_nothing(box) -> None:
    image_YXC = np.zeros((20, 20, 3), np.uint8)
    assert blur(image_YXC, [box]) is image_YXC


def test_working_near_the_boxes_alone_is_working_on_all(monkeypatch) -> None:
    rng = np.random.Generator(np.random.Philox(6))
    image_YXC = rng.integers(0, 256, (200, 300, 3)).astype(np.uint8)
    boxes = [(0.4, 0.4, 0.5, 0.5), (0.45, 0.3, 0.5, 0.42)]
    near_YXC = blur(image_YXC, boxes)
    monkeypatch.setattr(blurring, "REACH", 1000)
    assert np.abs(near_YXC.astype(int) - blur(image_YXC, boxes)).max() <= 1
    assert (near_YXC[:20] == image_YXC[:20]).all() and (near_YXC[100, 140] != image_YXC[100, 140]).any()
