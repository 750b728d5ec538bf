"""Which volumes there are, which scroll each is from, and what is missing."""

import numpy as np
import pytest

from stepladder.core.config import ParameterError
from stepladder.core.schema import SplitParams
from stepladder.core.types import StudyError
from stepladder.data import splits
from stepladder.studies.scroll.data import kaggle
from stepladder.studies.scroll.data.faults import write_zarr
from stepladder.studies.scroll.params import ScrollParams

CUBE = np.random.default_rng(0).integers(0, 255, (6, 7, 8)).astype(np.uint8)


def params(**data) -> ScrollParams:
    return ScrollParams(study="scroll", data={"source": "mirror", **data})


def write(folder, *rows):
    """A set of volumes (id, scroll), all alike."""
    kaggle.write_table(folder, rows)
    for id, _ in rows:
        kaggle.write_volume(folder, id, CUBE, CUBE % 3)
    return folder


def test_volumes_are_found_with_their_scrolls_in_order(tmp_path):
    write(tmp_path, ("20", "B"), ("10", "A"), ("30", "A"))
    found = kaggle.assets([tmp_path], params())
    assert [(asset.id, asset.group) for asset in found] == [
        ("10", "scroll_A"), ("20", "scroll_B"), ("30", "scroll_A"),
    ]  # fmt: skip
    image, label = kaggle.parts(found[0])
    assert image == tmp_path / "train_images/10.tif" and label == tmp_path / "train_labels/10.tif"
    assert found[0].files == (image, label), "the image first"
    assert found[0].meta["bytes"] == image.stat().st_size + label.stat().st_size


def test_a_set_may_lie_one_folder_down_and_sets_add_up(tmp_path):
    write(tmp_path / "kaggle" / "one", ("10", "A"))
    write(tmp_path / "two", ("11", "B"))
    found = kaggle.assets([tmp_path / "kaggle", tmp_path / "two"], params())
    assert [asset.id for asset in found] == ["10", "11"]
    write(tmp_path / "three", ("10", "C"))
    with pytest.raises(StudyError, match="'10' is there twice"):
        kaggle.assets([tmp_path / "kaggle", tmp_path / "three"], params())


def test_other_formats_keep_the_layout(tmp_path):
    write(tmp_path, ("10", "A"))
    (tmp_path / "train_images/10.tif").unlink()
    write_zarr(tmp_path / "train_images/10.zarr", CUBE, version=3)
    (asset,) = kaggle.assets([tmp_path], params())
    image, label = kaggle.parts(asset)
    assert image.name == "10.zarr" and label.name == "10.tif"
    assert all(path.is_file() for path in asset.files), "chunks count one by one, so that a changed one is noticed"
    assert sum("10.zarr" in str(path) for path in asset.files) >= 2


def test_a_volume_in_two_formats_is_refused(tmp_path):
    write(tmp_path, ("10", "A"))
    write_zarr(tmp_path / "train_images/10.zarr", CUBE, version=3)
    with pytest.raises(StudyError, match=r"train_images/ holds volume '10' twice, 10\.tif and 10\.zarr: keep one"):
        kaggle.assets([tmp_path], params())


def test_a_label_without_row_and_image_is_named(tmp_path):
    write(tmp_path, ("10", "A"))
    (tmp_path / "train_labels/11.tif").write_bytes((tmp_path / "train_labels/10.tif").read_bytes())
    _, lone = kaggle.assets([tmp_path], params())
    with pytest.raises(StudyError, match=r"train_labels/11\.tif has no row in train\.csv"):
        kaggle.parts(lone)


def test_scrolls_narrow_and_unknown_ones_are_named_with_the_nearest(tmp_path):
    write(tmp_path, ("10", "26010"), ("20", "34117"))
    assert [asset.id for asset in kaggle.assets([tmp_path], params(scrolls=["34117"]))] == ["20"]
    with pytest.raises(StudyError, match=r"'26011'.*did you mean '26010'"):
        kaggle.assets([tmp_path], params(scrolls=["26011"]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,fold\n10,0\n", r"no column 'scroll_id' \(it has id, fold\)"),
        ("name,scroll_id\n10,0\n", "no column 'id'"),
        ("id,scroll_id\n10,A\n10,B\n", "'10' twice"),
        ("id,scroll_id\n10,A\n11,\n", "line 3: id and scroll_id"),
        ("", "not a table"),
        ('id,scroll_id\n10,A\n"11', "not a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_name(tmp_path, text, reason):
    write(tmp_path, ("10", "A"))
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(StudyError, match=reason) as caught:
        kaggle.assets([tmp_path], params())
    assert "train.csv" in str(caught.value)


def test_ids_keep_their_leading_zeros(tmp_path):
    write(tmp_path, ("007", "01"))
    (asset,) = kaggle.assets([tmp_path], params())
    assert (asset.id, asset.group) == ("007", "scroll_01")


def test_a_whole_scroll_is_held_out_and_too_few_scrolls_are_refused(tmp_path):
    write(tmp_path, *((f"{number}", "ABC"[number % 3]) for number in range(9)))
    found = kaggle.assets([tmp_path], params())
    divided = splits.split(found, params().splits, seed=0)
    scrolls = {name: {asset.group for asset in found if asset.id in divided[name]} for name in splits.NAMES}
    assert all(len(groups) == 1 for groups in scrolls.values()) and len(set().union(*scrolls.values())) == 3
    two = [asset for asset in found if asset.group != "scroll_C"]
    with pytest.raises(ParameterError, match=r"scroll_A, scroll_B.*without a leak: use splits\.by: asset"):
        splits.split(two, SplitParams(), seed=0)


def test_the_real_set_is_read(shared_data):
    found = kaggle.assets([shared_data / "scroll/flyem_medulla_kaggle_layout"], params())
    assert [(asset.id, asset.group) for asset in found] == [(f"v{n}000", f"scroll_{n}") for n in range(4)]


def test_the_archive_of_the_competition_is_taken_apart_into_the_same_set(tmp_path):
    import zipfile

    from stepladder.data import fetch

    write(tmp_path / "set", ("10", "A"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "set"))
        archive.writestr("test_images/99.tif", b"not wanted")
    plan = fetch.plan(kaggle.source(tmp_path / "set.zip", "kaggle"), tmp_path / "raw")
    fetch.fetch(plan)
    (asset,) = kaggle.assets([plan.root], params())
    assert kaggle.parts(asset)[0].read_bytes() == (tmp_path / "set/train_images/10.tif").read_bytes()
    assert not (plan.root / "test_images").exists()
