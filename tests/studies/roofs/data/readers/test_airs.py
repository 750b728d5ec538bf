"""Tiles of Christchurch: folders decide, the missing list is told, large ones are read by window."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.readers import find, pieces, read
from tests.studies.roofs.data.readers.layouts import colours, params, tif

PLACE = {"crs": "EPSG:2193", "transform": from_origin(1_570_000, 5_180_000, 0.075, 0.075)}


def tile(root: Path, part: str, number: int, label: np.ndarray | None, side: int = 64) -> None:
    tif(root / part / "image" / f"christchurch_{number}.tif", colours(side, side, number), **PLACE)
    if label is not None:
        tif(root / part / "label" / f"christchurch_{number}.tif", label, **PLACE)
        tif(root / part / "label" / f"christchurch_{number}_vis.tif", np.stack([label * 255] * 3, -1), **PLACE)


def half(side: int = 64, top: int = 1) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 2] = top
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "airs"
    for number, part in enumerate(("train", "val", "test")):
        tile(root, part, number, half(top=255 if part == "val" else 1))
    for part in ("train", "val"):
        (root / f"{part}.txt").write_text("christchurch_0.tif\n")
    return root


def test_every_part_is_read_and_the_missing_list_is_told(root: Path) -> None:
    found = find.assets([root], params())
    assert [asset.id for asset in found] == [
        "airs_test_christchurch_2", "airs_train_christchurch_0", "airs_val_christchurch_1",
    ]  # fmt: skip
    told = {asset.meta["part"]: read.read(asset, params()) for asset in found}
    for labelled in told.values():
        assert np.array_equal(labelled.outline_NYX[0], half()), "0/1 and 0/255 are the same"
        assert labelled.gsd_m == pytest.approx(0.075, rel=1e-3) and labelled.tasks == ("outline",)
    assert [issue.example for issue in told["test"].issues] == ["test.txt"] and not told["train"].issues
    assert find.inventory([root], params())["missing"].tolist() == ["test.txt"]


def test_a_tile_without_a_label_or_with_another_size_is_named(root: Path) -> None:
    tile(root, "test", 9, None)
    tile(root, "test", 8, half(32))
    found = {asset.id: asset for asset in find.assets([root], params())}
    with pytest.raises(StudyError, match=r"image/christchurch_9\.tif has no label label/christchurch_9\.tif"):
        read.read(found["airs_test_christchurch_9"], params())
    with pytest.raises(StudyError, match=r"christchurch_8\.tif has 32 x 32 pixels, its image 64 x 64"):
        read.read(found["airs_test_christchurch_8"], params())
    assert "test/label/christchurch_9.tif" in find.inventory([root], params())["missing"].iloc[0]


@pytest.mark.parametrize(("side", "count"), [(64, 1), (2048, 1), (5000, 25), (10_000, 100)])
def test_known_tiles_are_cut_without_a_rest(side: int, count: int) -> None:
    spans = pieces.spans(side)
    assert len(spans) ** 2 == count and sum(span.stop - span.start for span in spans) == side


@given(side=st.integers(1, 30_000))
def test_any_raster_is_covered_by_pieces_of_one_size(side: int) -> None:
    spans = pieces.spans(side)
    assert len({span.stop - span.start for span in spans}) == 1 and spans[0].start == 0 and spans[-1].stop == side
    assert all(after.start <= before.stop for before, after in itertools.pairwise(spans)), "no gap"


def test_a_large_tile_is_read_by_window_and_its_pieces_know_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LARGEST", 50)
    monkeypatch.setattr(pieces, "PIECE", 40)
    image = colours(100, 100)
    image[:50, 50:] = 0
    label = np.random.default_rng(0).integers(0, 2, (100, 100)).astype(np.uint8)
    tif(tmp_path / "train" / "image" / "christchurch_1.tif", image, nodata=0, **PLACE)
    tif(tmp_path / "train" / "label" / "christchurch_1.tif", label, **PLACE)
    labelled = read.read(find.assets([tmp_path], params())[0], params())
    assert labelled.georeference is None and labelled.image_NYXC.shape[1:] == (34, 34, 3)
    for place, (x, y) in enumerate(labelled.facts["corners"]):
        assert np.array_equal(labelled.image_NYXC[place], image[y : y + 34, x : x + 34])
        known = labelled.outline_NYX[place] < 255
        assert np.array_equal(labelled.outline_NYX[place][known], label[y : y + 34, x : x + 34][known])
    assert any(issue.kind == "piece left out: no data" and issue.count == 1 for issue in labelled.issues)
