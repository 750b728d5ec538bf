"""Conversion: what a reader found becomes a shard, odd values are taken out and counted, nothing is invented."""

import numpy as np
import pytest

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.data.shards import Shard
from stepladder.studies.roofs.data import conversion, interest
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import IGNORE, LINES, UNTYPED
from stepladder.studies.roofs.data.readers import find
from stepladder.studies.roofs.data.synthesis import layouts
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs import drawn_roofs
from tests.studies.roofs.drawn_roofs import labelled

ASSET = Asset("a1", "drawn", ())


def counted(content) -> dict[str, int]:
    return {issue.kind: issue.count for issue in content.issues}


def test_a_shard_holds_what_the_reader_gave(tmp_path):
    given = labelled(2)
    shard = Shard(drawn_roofs.shard(tmp_path, given))
    for name in (
        "image_NYXC",
        "superstructure_NYX",
        "face_NYX",
        "face_id_NYX",
        "slope_NYXG",
        "outline_NYX",
        "lines_LF",
    ):
        assert np.array_equal(shard.array(name), getattr(given, name)), name
    assert np.array_equal(shard.array("rise_NYX"), given.rise_NYX, equal_nan=True)
    said = shard.attributes
    assert said["group"] == "drawn" and said["gsd_m"] == 0.1 and said["north_up"] is True
    assert said["tasks"] == ["superstructure", "face", "outline", "line", "rise", "height"]
    assert said["line_types"] == list(LINES) and said["lines"]["hip"] == 8 and said["crs"] is None


def test_what_is_not_labelled_is_not_stored():
    bare = Labelled(labelled().image_NYXC, 0.1, outline_NYX=labelled().outline_NYX)
    content = conversion.content(ASSET, bare)
    assert {*content.arrays, *content.compressed} == {"image_NYXC", "outline_NYX", "interest_NVU"}
    assert content.attributes["tasks"] == ["outline"] and content.attributes["line_types"] == []
    assert content.attributes["licence"] == "not stated"


def test_the_place_is_kept():
    transform = (0.1, 0.0, 500_000.0, 0.0, -0.1, 5_300_000.0)
    content = conversion.content(ASSET, labelled(georeference=Georeference("EPSG:32632", transform)))
    assert content.attributes["crs"] == "EPSG:32632" and content.attributes["transform"] == list(transform)


def test_odd_values_are_taken_out_and_counted():
    given = labelled()
    odd = {
        name: getattr(given, name).copy() for name in ("superstructure_NYX", "face_NYX", "outline_NYX", "height_NYX")
    }
    odd["superstructure_NYX"][0, :2, :3] = 9
    odd["face_NYX"][0, 0, :4] = 18
    odd["outline_NYX"][0, 0, :5] = 2
    odd["height_NYX"][0, 0, :2] = np.inf, -2000
    odd["height_NYX"][0, 1, 0] = np.nan
    bad = [[0, 1, 1, 1, 1, 0], [0, np.nan, 1, 9, 9, 0], [7, 1, 1, 9, 9, 0], [0, 1, 1, 9, 9, 42]]
    odd["lines_LF"] = np.concatenate([given.lines_LF, np.array(bad, np.float32)])
    content = conversion.content(ASSET, labelled(**odd, issues=(Issue("told by the reader", 3),)))
    assert (
        counted(content)["told by the reader"] == 3 and counted(content)["line without length or place, dropped"] == 3
    )
    assert counted(content)["type of line does not exist, read as unknown"] == 1
    assert counted(content)["height is no building's, read as not labelled"] == 2
    counts = [issue.count for issue in content.issues if issue.kind == "class does not exist, read as not labelled"]
    assert sorted(counts) == [4, 5, 6]
    arrays = content.arrays
    assert (arrays["superstructure_NYX"][0, :2, :3] == IGNORE).all() and (
        arrays["outline_NYX"][0, 0, :5] == IGNORE
    ).all()
    assert np.isnan(arrays["height_NYX"][0, 0, :2]).all() and np.isfinite(arrays["height_NYX"][0, 2:]).all()
    assert len(arrays["lines_LF"]) == len(given.lines_LF) + 1 and arrays["lines_LF"][-1, 5] == UNTYPED


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"outline_NYX": np.zeros((1, 149, 250), np.uint8)}, "outline_NYX is \\(1, 149, 250\\)"),
        ({"rise_NYX": np.zeros((2, 150, 250), np.float16)}, "rise_NYX"),
        ({"gsd_m": 0.0}, "metres per pixel"),
        ({"gsd_m": float("nan")}, "metres per pixel"),
        ({"image_NYXC": np.zeros((1, 150, 250, 4), np.uint8)}, "not \\(N, Y, X, 3\\) bytes"),
    ],
)
def test_what_would_be_read_out_of_step_is_refused(changes, named):
    with pytest.raises(StudyError, match=f"a1: .*{named}"):
        conversion.content(ASSET, labelled(**changes))


def test_no_lines_is_not_the_same_as_lines_not_labelled():
    none = conversion.content(ASSET, labelled(lines_LF=np.zeros((0, 6), np.float32)))
    unknown = conversion.content(ASSET, labelled(lines_LF=None, line_types=()))
    assert none.arrays["lines_LF"].shape == (0, 6) and "lines_LF" not in unknown.arrays


def test_nothing_labelled_is_told():
    assert counted(conversion.content(ASSET, Labelled(labelled().image_NYXC, 0.1))) == {"nothing is labelled": 1}


def test_interest_is_where_roofs_are():
    outline_NYX = np.full((1, 100, 130), IGNORE, np.uint8)
    outline_NYX[0, :64, :64] = 0
    outline_NYX[0, 40, 10] = 1
    found = interest.interest(Labelled(np.zeros((1, 100, 130, 3), np.uint8), 0.1, outline_NYX=outline_NYX))
    assert found.shape == (1, 4, 5)
    assert found[0, :2, :2].tolist() == [[1, 1], [2, 1]] and not found[0, 2:].any() and not found[0, :, 2:].any()


def test_a_line_alone_is_of_interest():
    lines_LF = np.array([[0, 10, 10, 120, 90, UNTYPED]], np.float32)
    found = interest.interest(Labelled(np.zeros((1, 100, 130, 3), np.uint8), 0.1, lines_LF=lines_LF))
    assert found.min() == 1 and found[0, 0, 0] == found[0, 2, 3] == 2


@pytest.mark.parametrize("layout", ["rid", "roofline", "airs"])
def test_every_layout_converts(tmp_path, layout):
    params = RoofsParams.model_validate({"study": "roofs", "data": {"layouts": [layout], "side": 128, "block": 2}})
    layouts.synthesize(tmp_path, 1, 1, params)
    (asset,) = find.assets([tmp_path], params)
    content = conversion.convert(asset, params)
    assert content.attributes["source"] == layout == asset.group
    tasks = {"rid": {"superstructure", "face", "outline", "line", "rise"}, "roofline": {"line", "height"}}
    assert set(content.attributes["tasks"]) == tasks.get(layout, {"outline"})
