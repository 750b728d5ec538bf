"""Patches: where they are cut, how they are turned, and that everything in one stays together."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.config import ParameterError, check
from stepladder.data import shards
from stepladder.studies.scroll.data import conversion, kaggle, sheets
from stepladder.studies.scroll.data.cases import Volumes
from stepladder.studies.scroll.data.distance import squared_distance
from stepladder.studies.scroll.data.patches import ARRAYS, Patches, symmetry, turned
from stepladder.studies.scroll.params import ScrollParams

SHAPE = (24, 40, 36)


def params(**model) -> ScrollParams:
    return ScrollParams(study="scroll", model={"patch": [16, 16, 16], **model})


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Shards of three volumes of two scrolls."""
    folder, settings_ = tmp_path_factory.mktemp("set"), params()
    rows = [("1", "A"), ("2", "A"), ("3", "B")]
    kaggle.write_table(folder, rows)
    for number, (id, _) in enumerate(rows):
        kaggle.write_volume(folder, id, *sheets.volume(5, number, sheets.Style.of(5, number), SHAPE))
    found = []
    for asset in kaggle.assets([folder], settings_):
        found.append(folder / f"{asset.id}.h5")
        shards.write(found[-1], conversion.convert(asset, settings_), "recipe")
    return found


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def test_plain_samples_are_the_cells_of_the_volume(paths):
    data = Patches(paths, params())
    assert len(data) == len(data.groups) == len(data.clusters) > 6
    assert set(data.groups) == {"scroll_A", "scroll_B"} and set(data.clusters) == {"1", "2", "3"}
    assert sum(data.weights.values()) == pytest.approx(1)
    for index in range(len(data)):
        sample, (volume, z, y, x) = data.sample(index), data.cell_C4[index]
        box = np.s_[z : z + 16, y : y + 16, x : x + 16]
        shard = data.shards[volume]
        said = shard.attributes
        assert np.array_equal(sample["label_ZYX"], shard.array("label_ZYX")[box])
        assert np.array_equal(sample["distance_ZYX"], shard.array("distance_ZYX")[box])
        plain = (shard.array("image_ZYX")[box] - said["mean"]) / said["std"]
        assert np.allclose(sample["image_ZYX"], plain, atol=1e-5)
        assert (sample["label_ZYX"] == 1).any(), "no cell is all air"
        assert sample["index"] == index


def test_types_and_shapes_are_the_same_for_every_sample(paths):
    data = Patches(paths, params())
    for rng in (None, generator(1)):
        sample = data.sample(0, rng)
        assert {name: sample[name].dtype for name in ARRAYS} == {name: np.dtype(kind) for name, kind in ARRAYS.items()}
        assert all(sample[name].shape == (16, 16, 16) and sample[name].flags.c_contiguous for name in ARRAYS)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([(16, 16, 16), (12, 16, 16), (10, 12, 14)]))
def test_a_turned_patch_is_a_patch_of_a_turned_world(seed, patch):
    """Image, label, distance and medial surface of an augmented sample agree as they do in the volume."""
    rng = np.random.default_rng(seed)
    mask = rng.random(patch) < 0.05
    axes, flips = symmetry(np.array(patch), generator(seed))
    assert turned(mask, axes, flips).shape == patch
    again = squared_distance(turned(mask, axes, flips), 64)
    assert np.array_equal(turned(squared_distance(mask, 64), axes, flips), again)


def test_all_symmetries_of_the_cube_occur():
    array = np.arange(27).reshape(3, 3, 3)
    found = {turned(array, *symmetry(np.array([3, 3, 3]), generator(seed))).tobytes() for seed in range(1000)}
    assert len(found) == 48


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_label_distance_and_medial_surface_stay_together(paths, seed):
    data = Patches(paths, params())
    sample = data.sample(seed % len(data), generator(seed))
    assert np.array_equal(sample["distance_ZYX"] == 0, sample["label_ZYX"] == 1)
    assert (sample["label_ZYX"][sample["skeleton_ZYX"] == 1] == 1).all()
    away = np.abs(np.diff(np.sqrt(sample["distance_ZYX"]), axis=0)).max()
    assert away <= 1.0001, "a distance changes by at most one from voxel to voxel, also after turning"


def test_intensity_changes_are_mild(paths):
    data, still = Patches(paths, params()), Patches(paths, params(augment=False))
    for seed in range(20):
        plain, changed = still.sample(0, generator(seed)), data.sample(0, generator(seed))
        assert abs(changed["image_ZYX"].mean() - plain["image_ZYX"].mean()) < 0.25
        assert 0.89 < changed["image_ZYX"].std() / plain["image_ZYX"].std() < 1.11


def test_without_augmentation_only_the_place_is_drawn(paths):
    data = Patches(paths, params(augment=False))
    image = data.shards[data.cell_C4[0, 0]].array("image_ZYX")
    windows = np.lib.stride_tricks.sliding_window_view(image, (16, 16, 16))
    said = data.shards[data.cell_C4[0, 0]].attributes
    for seed in range(5):
        raw = np.rint(data.sample(0, generator(seed))["image_ZYX"] * said["std"] + said["mean"]).astype(np.uint8)
        assert (windows == raw).all(axis=(3, 4, 5)).any()


@pytest.mark.parametrize("foreground", [0.0, 0.7, 1.0])
def test_foreground_is_the_share_of_patches_around_a_surface_voxel(paths, foreground):
    """A volume with one surface voxel in a corner: only patches that were asked to hold it do."""
    data = Patches(paths, params(foreground=foreground))
    corner = np.array([[0, 0, 0]], np.int32)
    data.shards[0]._arrays["foreground_N3"] = corner  # the voxel is in reach of the patch at the corner only
    holds = [data._place(data.shards[0], generator(seed)) == [0, 0, 0] for seed in range(400)]
    assert np.mean(holds) == pytest.approx(foreground, abs=0.07)


def test_every_place_of_the_volume_can_be_drawn_and_none_outside(paths):
    data = Patches(paths, params(foreground=0.0))
    corner_N3 = np.array([data._place(data.shards[0], generator(seed)) for seed in range(600)])
    assert (corner_N3.min(axis=0) == 0).all() and (corner_N3.max(axis=0) == np.array(SHAPE) - 16).all()


def test_the_same_generator_gives_the_same_sample_also_in_another_process(paths):
    data = Patches(paths, params())
    other = pickle.loads(pickle.dumps(data))
    for seed in range(5):
        one, two = data.sample(seed, generator(seed)), other.sample(seed, generator(seed))
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_volume_without_surface_gives_one_cell(paths, tmp_path):
    content = conversion.ShardContent(
        arrays={
            "image_ZYX": np.arange(8000, dtype=np.uint8).reshape(20, 20, 20),
            **{f"{name}_ZYX": np.zeros((20, 20, 20), np.uint8) for name in ("label", "distance", "skeleton")},
            "foreground_N3": np.zeros((0, 3), np.int32),
        },
        attributes={"group": "scroll_C", "mean": 1.0, "std": 2.0},
    )
    shards.write(tmp_path / "4.h5", content, "recipe")
    data = Patches([tmp_path / "4.h5"], params())
    assert len(data) == 1 and not data.sample(0, generator(0))["label_ZYX"].any()


def test_whole_volumes_are_the_cases(paths):
    cases = Volumes(paths, params())
    assert len(cases) == 3 and cases.clusters.tolist() == ["1", "2", "3"]
    assert cases.groups.tolist() == ["scroll_A", "scroll_A", "scroll_B"]
    sample = cases.sample(1)
    assert set(sample) == {"image_ZYX", "label_ZYX", "index"} and sample["image_ZYX"].shape == SHAPE
    assert sample["image_ZYX"].dtype == np.float32 and sample["label_ZYX"].dtype == np.int64
    assert sample["image_ZYX"].mean() == pytest.approx(0, abs=1e-4)
    assert sample["image_ZYX"].std() == pytest.approx(1, abs=1e-4)
    assert np.array_equal(sample["image_ZYX"], pickle.loads(pickle.dumps(cases)).sample(1)["image_ZYX"])


def test_a_case_is_normalised_as_its_patches_are(paths):
    """A network must not meet other intensities when it is scored than when it learnt."""
    whole, patches = Volumes(paths, params()).sample(0)["image_ZYX"], Patches(paths, params())
    z, y, x = patches.cell_C4[0, 1:]
    assert np.array_equal(patches.sample(0)["image_ZYX"], whole[z : z + 16, y : y + 16, x : x + 16])


def test_a_patch_too_small_for_the_levels_is_refused():
    values = {"study": "scroll", "model": {"patch": [16, 16, 4], "levels": 4}}
    with pytest.raises(ParameterError, match=r"model\.patch = \[16, 16, 4\]: 4 levels need at least 16"):
        check(ScrollParams, values)
