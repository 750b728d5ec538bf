"""Evaluation cases: whole images as they are, of huge rasters windows, lines cut off where the picture ends."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import default_collate

from stepladder.studies.roofs.data.cases import Cases, clipped
from stepladder.studies.roofs.data.crops import IMAGENET_MEAN, IMAGENET_STD
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import CHANNELS, IGNORE, LINES, UNTYPED
from tests.studies.roofs import drawn_roofs
from tests.studies.roofs.drawn_roofs import labelled, params


def test_a_case_is_a_whole_image(tmp_path):
    given_ = labelled(2)
    data = Cases([drawn_roofs.shard(tmp_path, given_)], params())
    assert len(data) == 2 and list(data.clusters) == ["drawn_1", "drawn_1"] and list(data.groups) == ["drawn"] * 2
    case = data.sample(1)
    image_YXC = case["image_CYX"].transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN
    assert np.allclose(255 * image_YXC, given_.image_NYXC[1], atol=1e-3)
    assert np.array_equal(case["face_YX"], given_.face_NYX[1]) and case["face_id_YX"].dtype == np.int32
    assert np.array_equal(case["slope_GYX"], given_.slope_NYXG[1].transpose(2, 0, 1))
    assert np.array_equal(case["rise_labelled_YX"] == 1, np.isfinite(given_.rise_NYX[1]))
    assert case["focus_YX"].all() and case["line_labelled_YX"].all() and case["line_types_K"].all()
    assert case["north_up"] == 1 and case["gsd_m"] == pytest.approx(0.1)
    batch = default_collate([case])
    assert batch["lines_LF"].shape == (1, len(case["lines_LF"]), 5) and batch["image_CYX"].shape == (1, 3, 150, 250)


def test_what_a_source_does_not_label_is_absent(tmp_path):
    bare = Labelled(np.zeros((1, 90, 70, 3), np.uint8), 0.1, lines_LF=np.array([[0, 5, 5, 60, 5, UNTYPED]], np.float32))
    case = Cases([drawn_roofs.shard(tmp_path, bare)], params()).sample(0)
    assert (case["outline_YX"] == IGNORE).all() and not case["rise_labelled_YX"].any() and not case["face_id_YX"].any()
    assert case["line_types_K"].tolist() == [0] * UNTYPED + [1] and case["lines_LF"].tolist() == [
        [5, 5, 60, 5, UNTYPED]
    ]
    assert case["north_up"] == 0 and all(np.isfinite(value).all() for value in case.values())


def test_the_focus_and_labelled_places_are_the_readers(tmp_path):
    focus_NYX = np.zeros((1, 150, 250), np.uint8)
    focus_NYX[0, 20:90, 30:200] = 1
    given_ = labelled(focus_NYX=focus_NYX, line_labelled_NYX=focus_NYX, line_types=("eave",))
    case = Cases([drawn_roofs.shard(tmp_path, given_)], params()).sample(0)
    assert np.array_equal(case["focus_YX"], focus_NYX[0]) and np.array_equal(case["line_labelled_YX"], focus_NYX[0])
    assert case["line_types_K"].tolist() == [int(k in (LINES.index("eave"), UNTYPED)) for k in range(CHANNELS)]


def test_a_huge_raster_is_cut_to_windows_with_roofs(tmp_path):
    outline_NYX = np.zeros((1, 1000, 2100), np.uint8)
    outline_NYX[0, 500:600, 1500:1600] = 1
    bare = Labelled(np.zeros((1, 1000, 2100, 3), np.uint8), 0.1, outline_NYX=outline_NYX)
    data = Cases([drawn_roofs.shard(tmp_path, bare)], params())
    assert 1 <= len(data) <= 2
    for index in range(len(data)):
        case = data.sample(index)
        assert case["image_CYX"].shape == (3, 1000, 1024) and (case["outline_YX"] == 1).sum() > 0


@given(st.lists(st.tuples(*[st.integers(-60, 160)] * 4), min_size=1, max_size=5))
def test_lines_are_cut_as_geometry_says(ends):
    lines_L5 = np.array([(*line, 2) for line in ends if line[:2] != line[2:]], np.float32).reshape(-1, 5)
    box = shapely.box(20, 10, 90, 60)
    wanted = [shapely.intersection(shapely.LineString([line[:2], line[2:4]]), box) for line in lines_L5]
    wanted = [line for line in wanted if line.length >= 1.001]
    found = clipped(lines_L5, (slice(10, 60), slice(20, 90)))
    found = [shapely.LineString(line[:4].reshape(2, 2) + np.array([20, 10])) for line in found]
    found = [line for line in found if line.length >= 1.001]
    assert len(found) == len(wanted)
    assert all(one.hausdorff_distance(other) < 1e-3 for one, other in zip(found, wanted, strict=True))
