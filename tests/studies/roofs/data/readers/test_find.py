"""One folder with everything in it: each source finds its own, names are unique, and nothing found is said plainly."""

from pathlib import Path

import pytest

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.readers import find
from stepladder.studies.roofs.data.synthesis.layouts import synthesize
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.data.readers import test_airs, test_rid, test_roofline, test_simpleroof
from tests.studies.roofs.data.readers.layouts import params


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    root = tmp_path / ".cache" / "raw"  # a raw folder may lie in a hidden one
    test_rid.repository(root / "rid")
    test_airs.tile(root / "airs", "train", 1, test_airs.half())
    test_simpleroof.crop(root / "simpleroof", "train_1")
    test_roofline.mat(root / "roofline" / "imdb.mat", test_roofline.fields(3), "NCXY")
    test_airs.tif(root / "own" / "Straße 5 (neu).tif", test_airs.colours(32, 32), **test_airs.PLACE)
    test_airs.tif(root / "own" / "Straße 5 (neu)_mask.tif", test_airs.half(32), **test_airs.PLACE)
    for folder in (root / ".trash", root / "__MACOSX"):
        test_simpleroof.crop(folder, "train_2")
    return root


def test_every_source_finds_its_own(everything: Path) -> None:
    found = find.assets([everything], params())
    assert [asset.id for asset in found] == [
        "rid_17", "roofline_000000", "airs_train_christchurch_1", "simpleroof_train_1", "georeferenced_Straße_5_neu_",
    ]  # fmt: skip
    assert all("licence" in asset.meta for asset in found)
    assert find.inventory([everything], params())["assets"].tolist() == [1, 1, 1, 1, 1]
    west, _, east, _ = found[0].region
    assert east - west == pytest.approx(256 * 0.1 / 0.663, rel=0.1), "metres of Web Mercator"


def test_sources_can_be_chosen(everything: Path) -> None:
    assert [asset.group for asset in find.assets([everything], params(sources=["airs", "rid"]))] == ["rid", "airs"]


def test_the_order_is_that_of_names_whatever_the_disk_says(everything: Path) -> None:
    folders = [everything / name for name in ("own", "airs", "rid", "simpleroof", "roofline")]
    assert find.assets(folders, params()) == find.assets([everything], params())


def test_nothing_found_names_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"(?s)nothing of airs lies in .*christchurch_N\.tif") as caught:
        find.assets([tmp_path], params(sources=["airs"]))
    assert "imdb.mat" not in str(caught.value)


def test_one_image_twice_is_named(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        test_simpleroof.crop(tmp_path / folder / "crops", "train_1")
    assert [asset.id for asset in find.assets([tmp_path], params())] == [
        "simpleroof_a_crops_train_1", "simpleroof_b_crops_train_1",
    ]  # fmt: skip
    for folder in ("x", "y"):
        test_simpleroof.crop(tmp_path / folder / "a" / "crops", "train_1")
    with pytest.raises(StudyError, match="is there 3 times"):
        find.assets([tmp_path], params())


def test_overlapping_images_stay_together_unless_all_hang_together(tmp_path: Path) -> None:
    def place(columns: list[int]) -> list[str]:
        for number, column in enumerate(columns):
            transform = test_airs.from_origin(1_570_000 + column, 5_180_000, 0.1, 0.1)
            for kind, array in (("image", test_airs.colours(64, 64)), ("label", test_airs.half())):
                path = tmp_path / str(columns) / "train" / kind / f"christchurch_{number}.tif"
                test_airs.tif(path, array, crs="EPSG:2193", transform=transform)
        return [asset.split_group for asset in find.assets([tmp_path / str(columns)], params())]

    assert place([0, 3, 1000, 2000]) == ["airs_overlap_airs_train_christchurch_0"] * 2 + ["", ""]
    assert place([0, 3, 6, 9]) == [""] * 4, "a chain: the buffer must do"


def test_synthetic_scenes_carry_our_licence_in_whatever_layout(tmp_path):
    made = RoofsParams.model_validate({"study": "roofs", "data": {"synthetic": 3, "side": 64, "block": 1}})
    synthesize(tmp_path, 3, 0, made)
    assert {asset.meta["licence"] for asset in find.assets([tmp_path], made)} == {find.LICENCE}
    mirrored = made.model_copy(update={"data": made.data.model_copy(update={"source": "mirror"})})
    assert find.LICENCE not in {asset.meta["licence"] for asset in find.assets([tmp_path], mirrored)}
