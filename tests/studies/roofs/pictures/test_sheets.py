"""The overview of converted data: frames tell the split, and counts are those of the shards."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, LINES, SUPERSTRUCTURES
from stepladder.studies.roofs.data.sanity import EXPECTED
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import sheets
from stepladder.view.style import SPLIT_COLOURS
from tests.studies.roofs.pictures import houses

PARAMS = RoofsParams.model_validate({"study": "roofs"})
OUTLINES = ("superstructure_NYX", "face_NYX", "rise_NYX", "lines_LF")
SPLITS = {"train": ["one"], "validation": ["two"], "test": ["tile"]}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    made = [houses.shard(folder, name, "rid") for name in ("one", "two")]
    return [*made, houses.shard(folder, "tile", "airs", OUTLINES)]


def test_pictures_come_by_name_with_captions(paths):
    pictures = sheets.figures(paths, SPLITS, PARAMS)
    assert list(pictures) == ["sheet", "tasks", "classes", "lines", "bearings"]
    assert all(picture.caption.endswith(".") for picture in pictures.values())


def test_what_no_source_labels_has_no_picture(paths):
    assert list(sheets.figures(paths[2:], SPLITS, PARAMS)) == ["sheet", "tasks"]


def test_every_image_is_framed_in_the_colour_of_its_split(paths):
    figure = sheets.sheet(paths, SPLITS)
    frames = [to_hex(axis.spines["left"].get_edgecolor()) for axis in figure.axes[:3]]
    assert frames == list(SPLIT_COLOURS.values())
    assert figure.axes[2].get_title().splitlines() == ["tile", "airs"]


def test_the_sheet_shows_every_source_before_it_shows_one_twice(paths, monkeypatch):
    monkeypatch.setattr(sheets, "MOST_SHOWN", 2)
    figure = sheets.sheet(paths, SPLITS)
    assert [axis.get_title().split()[0] for axis in figure.axes] == ["one", "tile"]
    assert "2 of 3 shards" in figure.get_suptitle()


def test_counts_are_those_of_the_house(paths):
    counted = sheets.tally(paths)
    assert list(counted) == ["airs", "rid"] and counted["rid"].images == 2
    assert dict(zip(LINES, counted["rid"].lines, strict=False)) == {
        "ridge": 2, "hip": 8, "valley": 0, "eave": 16, "gable": 0, "height_break": 0
    }  # fmt: skip
    x0, y0, x1, y1 = houses.BOX
    left, top, right, bottom = houses.FLAT_BOX
    around = 2 * ((x1 - x0) + (y1 - y0) + (right - left) + (bottom - top)) * houses.GSD
    assert counted["rid"].metres[LINES.index("eave")] == pytest.approx(2 * around)
    garage = (right - left) * (bottom - top) * houses.GSD**2
    assert counted["rid"].sectors[FLAT] == pytest.approx(2 * garage, rel=0.02)
    parts = houses.maps()["superstructure_YX"]
    assert counted["rid"].superstructures.tolist() == (2 * np.bincount(parts.ravel(), minlength=9)).tolist()
    assert not counted["airs"].superstructures.any()


def test_large_images_are_counted_in_part_and_come_to_the_same(paths, monkeypatch):
    whole = sheets.tally(paths)["rid"].superstructures
    monkeypatch.setattr(sheets, "MOST_PIXELS", houses.SIDE**2 // 4)
    thinned = sheets.tally(paths)["rid"].superstructures
    assert thinned.sum() == whole.sum() and thinned[BACKGROUND] == pytest.approx(whole[BACKGROUND], rel=0.01)


def test_the_matrix_tells_how_many_images_carry_what(paths):
    axis = sheets.tasks(sheets.tally(paths)).axes[0]
    cells = [text.get_text() for text in axis.texts]
    assert cells[:6] == ["-", "-", "1", "-", "-", "-"] and cells[6:] == ["2", "2", "2", "2\n3 types", "2", "-"]


def test_classes_stand_beside_what_is_expected(paths):
    figure = sheets.figures(paths, SPLITS, PARAMS)["classes"].drawing
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert told == {"rid", "rid, its public masks", "passes the checks"}
    for name, share in zip(SUPERSTRUCTURES, sheets.PUBLIC["rid"], strict=True):
        least, most = EXPECTED["superstructure", name]
        assert least <= share <= most


@pytest.mark.slow
def test_what_is_expected_of_rid_is_what_its_masks_hold(shared_data):
    from PIL import Image

    folder = shared_data / "roofs" / "rid" / "superstructures"
    masks = [np.array(Image.open(path)) for path in sorted(folder.glob("*_reviewed.png"))]
    share = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=9) / sum(m.size for m in masks)
    assert share == pytest.approx(sheets.PUBLIC["rid"], abs=2e-5)
