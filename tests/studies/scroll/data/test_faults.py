"""Every fault is refused by name, or repaired and counted; none passes in silence or harms another volume."""

import re

import numpy as np
import pytest

from stepladder.core.types import StudyError
from stepladder.data import convert
from stepladder.data.shards import Shard
from stepladder.studies.scroll.data import conversion, faults, kaggle, labels
from stepladder.studies.scroll.params import ScrollParams

PARAMS = ScrollParams(study="scroll", model={"patch": [16, 16, 16]})

REFUSED = {
    "no_scroll_column": r"no_scroll_column/train\.csv has no column 'scroll_id'",
    "empty_table": r"empty_table/train\.csv is not a table",
    "no_table": r"no train\.csv in no_table",
}
FAILED = {
    "truncated_image": r"train_images/000\.tif is cut: page \d+ of the stack is missing; fetch it again",
    "truncated_label": r"train_labels/000\.tif is cut",
    "other_shape": r"train_images/000\.tif is \(24, 32, 32\) but train_labels/000\.tif is \(22, 32, 32\)",
    "no_row": r"train_images/001\.tif has no row in train\.csv",
    "no_image": r"000 stands in train\.csv but train_images/ holds no such volume",
    "no_label": r"train_images/000\.tif has no label",
    "cut_chunk": r"train_images/000\.zarr cannot be read",
    "constant": r"train_images/000\.tif holds one value only",
    "unknown_format": r"train_images/000 is of no known format",
}
COUNTED = {
    "value_three": ("label value is not 0, 1 or 2, read as ignore", 7),
    "missing_chunks": ("chunk is missing, read as fill value", 1),
    "not_a_number": ("voxel is not a number, read as darkest", 3),
    "no_surface": ("no surface is labelled", 1),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return faults.faults(tmp_path_factory.mktemp("faults"), seed=0)


def contents(folder) -> conversion.ShardContent:
    (asset,) = kaggle.assets([folder], PARAMS)
    return conversion.convert(asset, PARAMS)


def test_every_fault_has_its_verdict(sets):
    assert set(sets) == {*REFUSED, *FAILED, *COUNTED}


@pytest.mark.drill
@pytest.mark.parametrize("name", REFUSED)
def test_a_set_that_cannot_be_divided_by_scroll_does_not_start(sets, name):
    with pytest.raises(StudyError, match=REFUSED[name]):
        kaggle.assets([sets[name]], PARAMS)


@pytest.mark.drill
@pytest.mark.parametrize("name", FAILED)
def test_a_volume_that_cannot_be_used_is_named(sets, name):
    asset = kaggle.assets([sets[name]], PARAMS)[-1]
    assert all(path.is_file() for path in asset.files), "its row can be shown before it is converted"
    with pytest.raises(StudyError, match=FAILED[name]):
        conversion.convert(asset, PARAMS)


@pytest.mark.drill
@pytest.mark.parametrize("name", COUNTED)
def test_what_is_repaired_is_counted(sets, name):
    (issue,) = contents(sets[name]).issues
    assert (issue.kind, issue.count) == COUNTED[name]
    assert re.search(r"000", issue.example), "an example names the volume"


def test_unknown_labels_become_ignore_and_nothing_else_changes(sets):
    label = contents(sets["value_three"]).arrays["label_ZYX"]
    sound = contents(sets["missing_chunks"]).arrays["label_ZYX"]
    assert (label[12, 12, 5:12] == labels.UNKNOWN).all()
    rest = np.ones(label.shape, bool)
    rest[12, 12, 5:12] = False
    assert np.array_equal(label[rest], sound[rest])


def test_numbers_that_are_none_do_not_spread(sets):
    image = contents(sets["not_a_number"]).arrays["image_ZYX"]
    assert (image[10, 10, 10:13] == 0).all() and 30 < image.mean() < 220 and image.max() == 255


def test_a_volume_smaller_than_the_patch_is_refused_by_the_data_set(sets, tmp_path):
    from stepladder.data import shards
    from stepladder.studies.scroll.data.patches import Patches

    large = PARAMS.model_copy(update={"model": PARAMS.model.model_copy(update={"patch": [48, 16, 16]})})
    (asset,) = kaggle.assets([sets["value_three"]], large)
    shards.write(tmp_path / "000.h5", conversion.convert(asset, large), "recipe")
    with pytest.raises(StudyError, match=r"000 is \(24, 32, 32\) voxels, smaller than model\.patch = \[48, 16, 16\]"):
        Patches([tmp_path / "000.h5"], large)
    assert len(Patches([tmp_path / "000.h5"], PARAMS)) > 0


@pytest.mark.drill
def test_one_broken_volume_harms_no_other(sets, tmp_path):
    assets = kaggle.assets([sets["no_row"]], PARAMS)
    report = convert.convert(assets, PARAMS, tmp_path, convert.Inline()).set_index("asset")
    assert report.loc["000", "state"] == "converted" and report.loc["001", "state"] == "failed"
    assert "train.csv" in report.loc["001", "reason"]
    assert Shard(tmp_path / report.loc["000", "shard"]).array("image_ZYX").shape == faults.SHAPE
