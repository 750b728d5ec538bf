"""Crops: everything in one stays together, whatever is done to it."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import ShardContent
from stepladder.data import shards
from stepladder.studies.roofs.data import crops, targets
from stepladder.studies.roofs.data.crops import Crops, Window
from stepladder.studies.roofs.data.labels import CHANNELS, FLAT, IGNORE, LINES, NO_FACE, SECTORS, UNTYPED
from stepladder.studies.roofs.data.turns import Turn
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs import drawn_roofs
from tests.studies.roofs.drawn_roofs import labelled, params

TURNS = st.builds(Turn, st.integers(0, 3), st.booleans())


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The shard of two images with every label."""
    return drawn_roofs.shard(tmp_path_factory.mktemp("whole"), labelled(2))


@pytest.fixture(scope="module")
def outlines(tmp_path_factory):
    """The shard of a source that gives outlines only, in an image that is smaller than a crop."""
    given_ = labelled(1, (40, 50))
    bare = type(given_)(given_.image_NYXC, 0.2, outline_NYX=np.ones((1, 40, 50), np.uint8))
    return drawn_roofs.shard(tmp_path_factory.mktemp("outlines"), bare, "bare", "airs")


def test_plain_samples_are_the_cells_of_the_images(whole):
    data = Crops([whole], params())
    assert len(data) == len(data.groups) == len(data.clusters) > 10
    assert set(data.groups) == {"drawn"} and data.weights == {"drawn": 1}
    for index in range(len(data)):
        sample, (_, number, y, x) = data.sample(index), data.cell_W4[index]
        shard, box = data.shards[0], np.s_[number, y : y + 64, x : x + 64]
        assert np.array_equal(sample["face_YX"], shard.array("face_NYX")[box])
        assert np.array_equal(sample["superstructure_YX"], shard.array("superstructure_NYX")[box])
        assert np.allclose(
            sample["rise_YX"][sample["rise_labelled_YX"] == 1],
            shard.array("rise_NYX")[box][sample["rise_labelled_YX"] == 1],
        )
        back_YXC = sample["image_CYX"].transpose(1, 2, 0) * crops.IMAGENET_STD + crops.IMAGENET_MEAN
        assert np.allclose(back_YXC * 255, shard.array("image_NYXC")[box], atol=1e-3)
        assert (sample["face_YX"] != NO_FACE).any() or sample["closeness_KVU"].any(), "no cell is all ground"


def test_every_sample_has_the_same_names_shapes_and_finite_numbers(whole, outlines):
    data = Crops([whole, outlines], params())
    shapes = [
        {name: (np.shape(value), np.asarray(value).dtype) for name, value in data.sample(index, rng).items()}
        for index in (0, len(data) - 1)
        for rng in (None, generator(1))
    ]
    assert all(one == shapes[0] for one in shapes)
    for index in range(len(data)):
        assert all(np.isfinite(value).all() for value in data.sample(index, generator(index)).values())


def test_what_a_source_does_not_label_is_said_of_no_pixel(outlines):
    sample = Crops([outlines], params()).sample(0)
    assert (sample["superstructure_YX"] == IGNORE).all() and (sample["face_YX"] == IGNORE).all()
    for name in ("rise_labelled_YX", "height_labelled_YX", "line_labelled_KVU", "closeness_KVU", "slope_GYX"):
        assert not sample[name].any(), name
    assert (sample["outline_YX"][:40, :50] == 1).all(), "the image"
    assert (sample["outline_YX"][40:] == IGNORE).all() and (sample["outline_YX"][:, 50:] == IGNORE).all(), "beyond it"


def test_the_same_seed_gives_the_same_sample_also_in_another_process(whole):
    data = Crops([whole], params())
    again = pickle.loads(pickle.dumps(data))
    one, other = data.sample(3, generator(7)), again.sample(3, generator(7))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not np.array_equal(one["image_CYX"], data.sample(3, generator(8))["image_CYX"])


@given(TURNS, st.floats(0, 360))
def test_turning_a_crop_turns_its_bearings(turn, bearing):
    """A marked way down: the label of it after the turn is that of the turned way down."""
    way_2 = np.array([np.sin(np.radians(bearing)), -np.cos(np.radians(bearing))])
    from_2, to_2 = turn.of_points(np.array([[32.0, 32.0], 32 + 10 * way_2]), 64)
    right, down = (to_2 - from_2) / 10
    assert turn.of_slopes(np.array([way_2[0], -way_2[1]])) == pytest.approx([right, -down], abs=1e-9)
    sector = np.uint8(round(bearing / 22.5) % SECTORS)
    seen = np.degrees(np.arctan2(right, -down)) % 360
    off = abs(turn.of_faces(sector[None, None])[0, 0] * 22.5 - seen)
    assert min(off, 360 - off) <= 11.25 + 1e-6
    assert turn.of_faces(np.array([[FLAT, NO_FACE, IGNORE]], np.uint8)).tolist() == [[FLAT, NO_FACE, IGNORE]]


@given(TURNS, st.integers(0, 63), st.integers(0, 63))
def test_maps_and_points_turn_alike(turn, row, column):
    map_YX = np.zeros((64, 64), np.uint8)
    map_YX[row, column] = 1
    x, y = turn.of_points(np.array([column + 0.5, row + 0.5]), 64)
    assert turn.of_map(map_YX)[int(y), int(x)] == 1


@settings(max_examples=30)
@given(TURNS, st.integers(40, 100), st.integers(-30, 120), st.integers(-30, 220))
def test_labels_of_a_window_agree_with_each_other(whole, turn, side, y, x):
    """However it is cut, resized and turned: slopes fit classes, heights fall along slopes."""
    data = Crops([whole], params())
    shard, window = data.shards[0], Window(1, x, y, side, 64, turn)
    maps = crops._maps(shard, window)
    known_YX = maps["face_YX"] < SECTORS
    seen_YX = np.degrees(np.arctan2(*maps["slope_GYX"])) % 360
    off_YX = np.abs(seen_YX - maps["face_YX"] * 22.5)[known_YX]
    assert (np.minimum(off_YX, 360 - off_YX) <= 11.3).all()
    inner_YX = known_YX[1:-1, 1:-1].copy()
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner_YX &= maps["face_YX"][dy : dy + 62, dx : dx + 62] == maps["face_YX"][1:-1, 1:-1]
    metres = 0.1 / window.zoom  # of ground between two pixels
    down_YX, right_YX = np.gradient(maps["rise_YX"], metres)
    fall_GN = np.stack([-right_YX, down_YX])[:, 1:-1, 1:-1][:, inner_YX]
    slope_GN = maps["slope_GYX"][:, 1:-1, 1:-1][:, inner_YX]
    if inner_YX.sum() > 500:  # pixels are shown once or twice: single steps are rough, their sum is not
        assert (fall_GN * slope_GN).sum() == pytest.approx((slope_GN**2).sum(), rel=0.1)


def test_scale_changes_the_ground_per_pixel_and_no_height(whole):
    plain = Crops([whole], params(augment=False, crop=128)).sample(0)
    finer = Crops([whole], params(augment=False, crop=128, gsd=0.05)).sample(0)
    assert plain["gsd_m"] == pytest.approx(0.1) and finer["gsd_m"] == pytest.approx(0.05)
    assert np.array_equal(finer["face_YX"], plain["face_YX"][:64, :64].repeat(2, 0).repeat(2, 1)), (
        "half as much is seen"
    )
    assert np.array_equal(finer["rise_YX"], plain["rise_YX"][:64, :64].repeat(2, 0).repeat(2, 1))
    assert np.array_equal(finer["slope_GYX"], plain["slope_GYX"][:, :64, :64].repeat(2, 1).repeat(2, 2))


def test_targets_of_lines_against_a_drawing_by_brute_force():
    rng = np.random.default_rng(1)
    lines_L5 = np.column_stack([rng.uniform(-20, 84, (9, 4)), rng.integers(0, CHANNELS, 9)])
    maps = targets.line_maps(lines_L5, 64)
    y, x = (np.mgrid[:16, :16] + 0.5) * 4
    share_S = np.linspace(0, 1, 2001)
    for channel in range(CHANNELS):
        wanted = lines_L5 if channel == UNTYPED else lines_L5[lines_L5[:, 4] == channel]
        points = [one[:2] + share_S[:, None] * (one[2:4] - one[:2]) for one in wanted]
        apart = [np.hypot(x[..., None] - p[:, 0], y[..., None] - p[:, 1]).min(axis=2) for p in points]
        nearest = np.min(apart, axis=0) if apart else np.full((16, 16), np.inf)
        assert np.allclose(maps["closeness_KVU"][channel], 1 - np.minimum(nearest, 8) / 8, atol=2e-3)
        if channel == UNTYPED:
            along = lines_L5[np.argmin(apart, axis=0), 2:4] - lines_L5[np.argmin(apart, axis=0), :2]
            angle = np.arctan2(along[..., 1], along[..., 0])
            clear = (nearest < 7.9) & (np.diff(np.sort(apart, axis=0)[:2], axis=0)[0] > 0.01)
            assert np.allclose(maps["direction_DVU"][0][clear], np.cos(2 * angle)[clear], atol=1e-5)
            assert np.allclose(maps["direction_DVU"][1][clear], np.sin(2 * angle)[clear], atol=1e-5)
    ends = lines_L5[:, :4].reshape(-1, 2)
    square = ((x[..., None] - ends[:, 0]) ** 2 + (y[..., None] - ends[:, 1]) ** 2).min(axis=2)
    assert np.allclose(maps["junction_VU"], np.exp(-square / 32), atol=4e-4)


@pytest.mark.parametrize("turn", [Turn(k, m) for k in range(4) for m in (False, True)], ids=str)
def test_lines_turn_with_the_image(whole, turn):
    shard = Crops([whole], params()).shards[0]
    plain, turned = (crops._lines(shard, Window(0, 60, 20, 96, 64, way)) for way in (Turn(), turn))
    back = turn.of_map(plain["closeness_KVU"].transpose(1, 2, 0)).transpose(2, 0, 1)
    assert np.allclose(turned["closeness_KVU"], back, atol=1e-5) and plain["closeness_KVU"][:3].any()
    assert np.allclose(turned["junction_VU"], turn.of_map(plain["junction_VU"]), atol=1e-5)


def test_types_are_claimed_only_where_they_are_known(tmp_path):
    given_ = labelled()
    untyped = np.array([[0, 10, 10, 60, 10, UNTYPED]], np.float32)
    some = labelled(lines_LF=np.concatenate([given_.lines_LF, untyped]), line_types=("eave", "ridge"))
    sample = Crops([drawn_roofs.shard(tmp_path, some)], params(augment=False)).sample(0)
    said_KVU = sample["line_labelled_KVU"]
    assert said_KVU[UNTYPED].all() and not said_KVU[[LINES.index("hip"), LINES.index("valley")]].any()
    beside_VU = targets.line_maps(untyped[:, 1:], 64)["closeness_KVU"][UNTYPED] > 0
    assert np.array_equal(said_KVU[LINES.index("ridge")], ~beside_VU) and beside_VU.any()


def test_a_line_just_outside_the_crop_is_felt_inside(whole):
    data = Crops([whole], params())
    lines_L5 = crops.lines_of(data.shards[0], Window(0, 40, 40, 64, 64))
    outside = ((lines_L5[:, :4] < 0) | (lines_L5[:, :4] > 64)).any(axis=1)
    assert outside.any(), "lines are not cut off"


def test_training_needs_none_of_the_readers_packages():
    code = "import sys; from stepladder.studies.roofs.data import cases, crops; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "rasterio",
        "shapely",
        "cv2",
        "sklearn",
        "geopandas",
        "pyogrio",
        "pyproj",
        "skimage",
        "trimesh",
        "matplotlib",
    }
    assert not heavy & set(loaded)


def test_huge_rasters_give_crops_only_where_roofs_are(tmp_path):
    outline_NYX = np.zeros((1, 1000, 1200), np.uint8)
    outline_NYX[0, 300:340, 700:760] = 1
    bare = labelled()
    given_ = type(bare)(np.zeros((1, 1000, 1200, 3), np.uint8), 0.1, outline_NYX=outline_NYX)
    data = Crops([drawn_roofs.shard(tmp_path, given_)], params())
    assert 1 <= len(data) <= 6
    assert any((data.sample(index)["outline_YX"] == 1).any() for index in range(len(data)))


@pytest.mark.parametrize(("gap", "buffer", "left"), [(-1.0, 0.0, 0), (0.0, 0.0, 1), (3.0, 2.0, 1), (3.0, 4.0, 0)])
def test_images_that_come_near_another_split_are_left_out(tmp_path, gap, buffer, left):
    checked = RoofsParams.model_validate({"study": "roofs", "splits": {"buffer": buffer}})
    arrays = {"image_NYXC": np.zeros((1, 64, 64, 3), np.uint8), "interest_NVU": np.ones((1, 2, 2), np.uint8)}
    attributes = {"group": "rid", "gsd_m": 0.1, "line_types": [], "region": [0.0, 0.0, 6.4, 6.4]}
    shards.write(tmp_path / "a.h5", ShardContent(arrays, attributes=attributes), "r")
    assert len(Crops([tmp_path / "a.h5"], checked, [(6.4 + gap, 0.0, 20.0, 6.4)])) == left
