"""What a shard holds: image, label and everything derived from them, each checked against its definition."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from stepladder.core.config import ParameterError, check
from stepladder.data import shards
from stepladder.data.shards import Shard
from stepladder.studies.scroll.data import conversion, kaggle, labels, sheets
from stepladder.studies.scroll.params import ScrollParams

SHAPE = (20, 28, 24)


def params(**sections) -> ScrollParams:
    return ScrollParams(study="scroll", model={"patch": [16, 16, 16]}, **sections)


def converted(folder, image_ZYX, label_ZYX, **sections):
    """Content of the shard of one volume."""
    kaggle.write_table(folder, [("1", "A")])
    kaggle.write_volume(folder, "1", image_ZYX, label_ZYX)
    settings_ = params(**sections)
    (asset,) = kaggle.assets([folder], settings_)
    return conversion.convert(asset, settings_)


@pytest.fixture(scope="module")
def pair():
    return sheets.volume(1, 0, sheets.Style.of(1, 0), SHAPE)


@pytest.fixture(scope="module")
def content(pair, tmp_path_factory):
    return converted(tmp_path_factory.mktemp("set"), *pair)


def test_image_and_label_are_kept_as_they_are(content, pair):
    image_ZYX, label_ZYX = pair
    assert np.array_equal(content.arrays["image_ZYX"], image_ZYX)
    assert np.array_equal(content.arrays["label_ZYX"], label_ZYX)
    assert not content.issues and not content.compressed


def test_distances_are_those_of_the_whole_volume_cut_off(content, pair):
    full = ndimage.distance_transform_edt(pair[1] != 1) ** 2
    assert np.array_equal(content.arrays["distance_ZYX"], np.minimum(np.rint(full), 64).astype(np.uint8))


def test_the_cut_off_is_a_parameter(pair, tmp_path):
    content = converted(tmp_path, *pair, conversion={"truncate": 3})
    assert content.arrays["distance_ZYX"].max() == 9 and content.attributes["truncate"] == 3


def test_the_medial_surface_lies_in_the_surface(content, pair):
    medial = content.arrays["skeleton_ZYX"]
    assert medial.dtype == np.uint8 and set(np.unique(medial)) == {0, 1}
    assert (pair[1][medial == 1] == 1).all() and 0.2 < medial.sum() / (pair[1] == 1).sum() < 0.8


def test_places_are_surface_voxels_spread_evenly_and_shuffled(content, pair, tmp_path, monkeypatch):
    sheet = pair[1] == 1
    place_N3 = content.arrays["foreground_N3"]
    assert place_N3.dtype == np.int32 and len(np.unique(place_N3, axis=0)) == len(place_N3) == sheet.sum()
    assert sheet[tuple(place_N3.T)].all()
    monkeypatch.setattr(conversion, "MOST_PLACES", 200)
    few_N3 = converted(tmp_path, *pair).arrays["foreground_N3"]
    assert len(few_N3) == 200 and sheet[tuple(few_N3.T)].all()
    middle = np.median(place_N3[:, 0])
    for part_N3 in (few_N3, few_N3[:100]):
        assert abs((part_N3[:, 0] < middle).mean() - (place_N3[:, 0] < middle).mean()) < 0.15


def test_statistics_are_exact(content, pair):
    said = content.attributes
    assert said["mean"] == pytest.approx(pair[0].mean()) and said["std"] == pytest.approx(pair[0].std())
    for rank, value in said["percentiles"].items():
        assert abs(value - np.percentile(pair[0], float(rank))) <= 1
    assert said["labels"] == {name: (pair[1] == value).sum() for name, value in labels.NAMES.items()}


def test_provenance_says_what_a_shard_was_made_from(content):
    said = content.attributes
    assert said["group"] == "scroll_A" and said["truncate"] == 8 and said["licence"] and said["units"]
    assert [source["name"] for source in said["sources"]] == ["train_images/1.tif", "train_labels/1.tif"]
    assert all(len(source["sha256"]) == 64 for source in said["sources"])


def test_the_median_filter_is_off_unless_asked_for(pair, tmp_path):
    filtered = converted(tmp_path, *pair, conversion={"median": True})
    assert np.array_equal(filtered.arrays["image_ZYX"], ndimage.median_filter(pair[0], size=3))
    assert filtered.attributes["median"]


def test_a_shard_is_mapped_array_by_array(content, tmp_path):
    shards.write(tmp_path / "1.h5", content, "recipe")
    shard = Shard(tmp_path / "1.h5")
    for name, array in content.arrays.items():
        assert np.array_equal(shard.array(name), array) and not shard.array(name).flags.writeable
    assert str(tmp_path / "1.h5") in Path("/proc/self/maps").read_text()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["u2", "i2", "f4"]),
    low=st.integers(-3000, 3000),
    width=st.integers(10, 20000),
    seed=st.integers(0, 99),
)
def test_a_window_is_linear_and_ends_where_it_says(kind, low, width, seed):
    rng = np.random.default_rng(seed)
    low = abs(low) if kind == "u2" else low
    image_ZYX = rng.uniform(low - 0.2 * width, low + 1.2 * width, (4, 5, 6)).clip(0 if kind == "u2" else None)
    image_ZYX = image_ZYX.astype(kind)
    found = conversion._to_bytes(image_ZYX, [low, low + width], "name", [])
    exact = ((image_ZYX.astype(np.float64) - low) / width).clip(0, 1) * 255
    assert found.dtype == np.uint8 and np.abs(found - exact).max() <= 0.51
    assert (found[image_ZYX <= low] == 0).all() and (found[image_ZYX >= low + width] == 255).all()


def test_other_types_become_bytes_by_the_percentiles_of_the_volume(pair, tmp_path):
    kaggle.write_table(tmp_path, [("1", "A")])
    kaggle.write_volume(tmp_path, "1", *pair)
    (tmp_path / "train_images/1.tif").unlink()
    raw_XYZ = (pair[0].astype(np.int16).transpose(2, 1, 0) * 10) - 1000
    nibabel.save(nibabel.Nifti1Image(raw_XYZ, np.eye(4)), tmp_path / "train_images/1.nii.gz")
    (asset,) = kaggle.assets([tmp_path], params())
    image_ZYX = conversion.convert(asset, params()).arrays["image_ZYX"]
    low, high = np.percentile(pair[0], [0.5, 99.5])
    assert (image_ZYX[pair[0] <= low] == 0).all() and (image_ZYX[pair[0] >= high] == 255).all()
    assert np.corrcoef(image_ZYX.reshape(-1), pair[0].reshape(-1))[0, 1] > 0.99


@pytest.mark.parametrize("part", ["train_images", "train_labels"])
def test_nothing_is_learnt_from_a_slice_whose_image_or_label_is_missing(pair, tmp_path, part):
    kaggle.write_table(tmp_path, [("1", "A")])
    kaggle.write_volume(tmp_path, "1", *pair)
    (tmp_path / part / "1.tif").unlink()
    (tmp_path / part / "1").mkdir()
    for z, slice_YX in enumerate(pair[part == "train_labels"]):
        if z != 9:
            tifffile.imwrite(tmp_path / part / "1" / f"{z:02d}.tif", slice_YX)
    (asset,) = kaggle.assets([tmp_path], params())
    content = conversion.convert(asset, params())
    assert [issue.kind for issue in content.issues] == ["slice is missing, read as zero"]
    expected = pair[1].copy()
    expected[9] = labels.UNKNOWN
    assert np.array_equal(content.arrays["label_ZYX"], expected)
    assert not content.arrays["skeleton_ZYX"][9].any() and 9 not in content.arrays["foreground_N3"][:, 0]


def test_a_shard_does_not_depend_on_the_model(content, pair, tmp_path):
    """The road keeps a shard when the patch changes, so nothing in it may speak of the patch."""
    kaggle.write_table(tmp_path, [("1", "A")])
    kaggle.write_volume(tmp_path, "1", *pair)
    large = ScrollParams(study="scroll", model={"patch": [64, 64, 64]})
    (asset,) = kaggle.assets([tmp_path], large)
    again = conversion.convert(asset, large)
    assert again.attributes == content.attributes and again.issues == content.issues


def test_a_window_that_falls_is_refused():
    values = {"study": "scroll", "conversion": {"window": [200.0, 100.0]}}
    with pytest.raises(ParameterError, match=r"conversion\.window = \[200\.0, 100\.0\]"):
        check(ScrollParams, values)
