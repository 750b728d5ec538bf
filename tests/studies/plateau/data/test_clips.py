"""Clips: windows and poses tell the same story, plain and augmented."""

import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

from stepladder.core.schema import SplitParams
from stepladder.core.types import Dataset
from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.data.samples.clips import SHIFT_M, Clips, mirrored, shifted
from stepladder.studies.plateau.models import motion
from stepladder.studies.plateau.params import PlateauConversion, PlateauModel
from tests.studies.plateau.town_tiles import COARSE, convert, params, unpack


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three tiles of the town: two of one municipality, one of the other."""
    folder = tmp_path_factory.mktemp("clips")
    return convert(unpack(folder), folder / "shards", params(), count=3)


@pytest.fixture(scope="module")
def clips(shards):
    return Clips(shards, params())


def rng(seed):
    return np.random.Generator(np.random.Philox(seed))


def agreement(sample, voxel_m, first=0, second=1):
    """How well frame `first`, moved by the poses, explains frame `second`, apart from rounding.

    The share of occupied voxels of either that have a voxel of the same class next to them in the other.
    """
    occ, pose = (torch.as_tensor(sample[name]) for name in ("occ_TXYZ", "pose_T4"))
    moved, known = motion.warp(occ[first][None], pose[first][None], pose[second][None], voxel_m)
    moved, known, truth = moved[0].numpy(), known[0].numpy(), occ[second].numpy()
    inner = np.zeros_like(known)
    inner[2:-2, 2:-2, 2:-2] = known[2:-2, 2:-2, 2:-2]
    inner &= ~maximum_filter(~known, 5)
    explained = []
    for one, other in ((moved, truth), (truth, moved)):
        same = np.zeros_like(known)
        for label in np.unique(one[one != EMPTY]):
            same |= (one == label) & maximum_filter(other == label, 3)
        explained.append(same[inner & (one != EMPTY)].mean())
    return min(explained)


def test_clips_are_a_dataset_of_both_municipalities(clips):
    assert isinstance(clips, Dataset)
    assert len(clips) == len(clips.groups) == len(clips.clusters) > 100
    assert set(clips.weights) == set(clips.groups) and sum(clips.weights.values()) == pytest.approx(1)
    kilometres = {}
    for shard in clips.shards:
        group = shard.attributes["group"]
        kilometres[group] = kilometres.get(group, 0) + shard.attributes["road_km"]
    one, two = sorted(kilometres)
    assert clips.weights[one] / clips.weights[two] == pytest.approx(kilometres[one] / kilometres[two])


def test_a_sample_is_what_the_interface_promises(clips):
    sample = clips.sample(7, None)
    assert sample["occ_TXYZ"].shape == (16, 80, 80, 8) and sample["occ_TXYZ"].dtype == np.uint8
    assert sample["pose_T4"].shape == (16, 4) and sample["pose_T4"].dtype == np.float32
    assert sample["index"] == 7 and (sample["pose_T4"][0, :3] == 0).all()
    assert {11, 14, 15, EMPTY} <= set(np.unique(sample["occ_TXYZ"])) and sample["occ_TXYZ"].max() == EMPTY
    steps = np.hypot(*np.diff(sample["pose_T4"][:, :2], axis=0).T)
    assert (steps > 0.5).all() and (steps < 4.01).all(), "8 m/s at most, every half second"


def test_the_same_generator_gives_the_same_sample_and_none_gives_the_plain_one(clips):
    one, same, other, plain = (clips.sample(3, g) for g in (rng(1), rng(1), rng(2), None))
    assert np.array_equal(one["occ_TXYZ"], same["occ_TXYZ"]) and np.array_equal(one["pose_T4"], same["pose_T4"])
    assert not np.array_equal(one["occ_TXYZ"], other["occ_TXYZ"])
    still = Clips([shard.path for shard in clips.shards], params(model=PlateauModel(window=[80, 80, 8], augment=False)))
    assert np.array_equal(still.sample(3, rng(1))["occ_TXYZ"], plain["occ_TXYZ"])


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10**6), seed=st.one_of(st.none(), st.integers(0, 10**6)), step=st.integers(1, 3))
def test_poses_and_windows_tell_the_same_story_plain_and_augmented(clips, index, seed, step):
    sample = clips.sample(index % len(clips), None if seed is None else rng(seed))
    assert agreement(sample, COARSE.voxel_m, 5, 5 + step) > 0.95


def test_the_story_falls_apart_when_only_half_of_a_clip_is_mirrored(clips):
    turns = [abs(np.diff(clips.sample(index)["pose_T4"][:, 3]).sum()) for index in range(0, len(clips), 5)]
    sample = clips.sample(5 * int(np.argmax(turns)))
    assert max(turns) > 0.5
    occ_TXYZ, pose_T4 = mirrored(sample["occ_TXYZ"], sample["pose_T4"])
    assert agreement({"occ_TXYZ": occ_TXYZ, "pose_T4": pose_T4}, COARSE.voxel_m, 0, 8) > 0.95
    for halves in ({"occ_TXYZ": occ_TXYZ}, {"pose_T4": pose_T4}):
        assert agreement({**sample, **halves}, COARSE.voxel_m, 0, 8) < 0.9


def test_mirroring_twice_is_nothing_and_augmentation_does_both(clips):
    sample = clips.sample(11)
    again = mirrored(*mirrored(sample["occ_TXYZ"], sample["pose_T4"]))
    assert np.array_equal(again[0], sample["occ_TXYZ"]) and np.array_equal(again[1], sample["pose_T4"])
    yaws = np.array([clips.sample(11, rng(seed))["pose_T4"][0, 3] for seed in range(40)])
    flipped = np.isclose(yaws, -sample["pose_T4"][0, 3], atol=1e-6)
    assert 8 < flipped.sum() < 32 and np.isclose(yaws[~flipped], sample["pose_T4"][0, 3], atol=1e-6).all()


@given(st.floats(-SHIFT_M, SHIFT_M), st.floats(-np.pi, np.pi))
def test_a_shift_goes_to_the_left_of_the_heading(left, yaw):
    moved = shifted(np.array([[3.0, 4.0, 5.0, yaw]]), left)[0]
    away = (moved[0] - 3 + 1j * (moved[1] - 4)) * np.exp(-1j * yaw)
    assert abs(away - 1j * left) < 1e-9 and moved[2] == 5 and moved[3] == yaw


def test_clips_that_come_near_a_held_out_region_are_left_out(clips, shards):
    region = clips.shards[1].attributes["region"]
    reach = 0.5 * np.hypot(80, 80) * COARSE.voxel_m
    kept = [Clips(shards, with_buffer(buffer), [tuple(region)]) for buffer in (0.0, 100.0)]
    assert len(clips) > len(kept[0]) > len(kept[1]) > 0
    for buffer, some in zip((0.0, 100.0), kept, strict=True):
        distances = [pose_distances(some, index, region).min() for index in range(len(some))]
        assert min(distances) >= reach + buffer
        assert 1 not in some.rows[:, 0], "a tile is nearer than anything to itself"


def with_buffer(buffer):
    return params().model_copy(update={"splits": SplitParams(buffer=buffer)})


def pose_distances(clips, index, region):
    number, row = clips.rows[index]
    x, y = clips.shards[number].array("pose_P4")[row : row + 16, :2].T
    away = np.maximum(region[0] - x, x - region[2]), np.maximum(region[1] - y, y - region[3])
    return np.hypot(np.maximum(away[0], 0), np.maximum(away[1], 0))


def test_clips_of_one_stretch_share_a_unit_and_units_never_span_paths(clips):
    path_of = [shard.array("path_P") for shard in clips.shards]
    for unit in np.unique(clips.clusters):
        rows = clips.rows[clips.clusters == unit]
        assert len(rows) <= 2, "starts are half a clip apart"
        assert len({(number, path_of[number][row]) for number, row in rows.tolist()}) == 1
        assert np.ptp(rows[:, 1]) < 16


@pytest.mark.slow
def test_a_pickled_dataset_gives_the_same_samples_in_another_process(clips):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        sample = pool.submit(pickle.loads(pickle.dumps(clips)).sample, 2, rng(0)).result()
    assert np.array_equal(sample["occ_TXYZ"], clips.sample(2, rng(0))["occ_TXYZ"])
    assert len(pickle.dumps(clips)) < 1_000_000, "shards travel by name"


@pytest.mark.slow
def test_no_roads_no_clips(tmp_path):
    settings = params(themes=["bldg"])
    clips = Clips(convert(unpack(tmp_path), tmp_path / "shards", settings, count=1), settings)
    assert len(clips) == 0 and clips.weights == {}


@pytest.mark.slow
def test_the_story_holds_on_a_real_tile(tmp_path):
    folder = Path(os.environ.get("STEPLADDER_SHARED_DATA", Path(__file__).parents[5] / "shared" / "data")) / "plateau"
    if not folder.exists():
        pytest.skip("real PLATEAU files are not here: set STEPLADDER_SHARED_DATA")
    settings = params(PlateauConversion(), PlateauModel(), tiles=["51357354"])
    clips = Clips(convert(folder / "27100_osaka", tmp_path, settings), settings)
    assert len(clips) > 500
    scores = [agreement(clips.sample(index, rng(index)), 0.4) for index in range(0, len(clips), 50)]
    assert min(scores) > 0.95
