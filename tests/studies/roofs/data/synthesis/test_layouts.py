"""Files of synthetic scenes are those of the published sets, read here by nothing of ours."""

import csv
import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image

from stepladder.studies.roofs.data.labels import SUPERSTRUCTURES
from stepladder.studies.roofs.data.synthesis import layouts
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.scenes import scene

SIDE, GSD = 64, 0.25


def params(**data) -> RoofsParams:
    return RoofsParams(study="roofs", data={"side": SIDE, "gsd": GSD, "block": 2} | data)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    layouts.synthesize(folder, 6, 0, params())
    return folder


def test_the_same_seed_writes_the_same_bytes_wherever_more_were_made_before(raw, tmp_path):
    sources = layouts.synthesize(tmp_path, 9, 0, params())
    many = digests(tmp_path)
    layouts.synthesize(tmp_path, 6, 0, params())
    assert digests(tmp_path) == digests(raw)
    own = [name for name in digests(raw) if name.endswith((".png", ".json")) or "christchurch" in name]
    assert all(many[name] == digests(raw)[name] for name in own), "an asset is the same whatever the count"
    assert sources[0].url == str(tmp_path) and set(sources[0].members) == {"rid/*", "roofline/*", "airs/*"}
    layouts.synthesize(tmp_path, 6, 1, params())
    assert not set(digests(tmp_path).values()) & {digests(raw)[name] for name in own if "/images/" in name}


def test_a_layout_that_is_not_asked_for_any_more_is_removed_and_other_files_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    layouts.synthesize(tmp_path, 3, 0, params())
    layouts.synthesize(tmp_path, 2, 0, params(layouts=["airs"]))
    assert {name.split("/")[0] for name in digests(tmp_path)} == {"airs", "mine.txt"}


def test_rid_is_laid_out_as_published(raw):
    rid = raw / "rid"
    assert sorted(path.name for path in (rid / "images").iterdir()) == ["0.png", "3.png"]
    for kind in ("superstructures", "outlines"):
        names = {path.name for path in (rid / kind).iterdir()}
        assert names == {
            f"{n}_{who}.png" for n in (0, 3) for who in ("reviewed", *(f"labeler{k}" for k in range(1, 6)))
        }
    mask_YX = np.array(Image.open(rid / "superstructures" / "0_reviewed.png"))
    roof_YX = np.array(Image.open(rid / "outlines" / "0_reviewed.png")) == 0
    assert mask_YX.shape == (SIDE, SIDE) and mask_YX.max() == SUPERSTRUCTURES.index("background")
    assert (mask_YX[~roof_YX] == SUPERSTRUCTURES.index("background")).all(), "only the house in the middle"
    assert roof_YX[SIDE // 2 - 3 : SIDE // 2 + 3, SIDE // 2 - 3 : SIDE // 2 + 3].any() and 0.05 < roof_YX.mean() < 0.9


def test_labellers_differ_a_little(raw):
    for number in (0, 3):
        reviewed, *others = (
            np.array(Image.open(raw / "rid/outlines" / f"{number}_{who}.png")) == 0
            for who in ("reviewed", *(f"labeler{k}" for k in range(1, 6)))
        )
        agreement = [(reviewed & other).sum() / (reviewed | other).sum() for other in others]
        assert min(agreement) > 0.85 and max(agreement) <= 1 and len(set(agreement)) > 1


def test_vectors_of_rid_fall_as_their_azimuths_say_and_hang_at_their_gutters(raw):
    told = json.loads((raw / "rid/vectors/0.json").read_text())
    assert told["size"] == [SIDE, SIDE] and told["crs"] == "EPSG:4326"
    west, south, east, north = told["bounds_lonlat"]
    geod = pyproj.Geod(ellps="WGS84")
    for line in (((west, north), (east, north)), ((west, south), (west, north))):
        assert geod.inv(*line[0], *line[1])[2] == pytest.approx(SIDE * GSD, rel=1e-4)
    areas = {area["id"] for area in told["pv_areas"]}
    for segment in told["segments"]:
        assert segment["pv_area_id"] in areas
        assert segment["azimuth_pv"] is None or -180 <= segment["azimuth_pv"] <= 180
        if segment["azimuth_pv"] is not None and segment["gutter_px"]:
            bearing = np.radians(segment["azimuth_pv"] + 180)
            down_2 = np.array([np.sin(bearing), -np.cos(bearing)])
            gutter_2 = np.mean(segment["gutter_px"][0], axis=0)
            corner_P2 = np.array(segment["polygons_px"][0][0])
            assert gutter_2 @ down_2 == pytest.approx((corner_P2 @ down_2).max(), abs=0.02), "lowest is the gutter"


def test_tables_of_the_village_are_in_latitude_and_longitude(raw):
    rows = list(csv.DictReader((raw / "rid/segments_reviewed.csv").open()))
    told = [json.loads((raw / f"rid/vectors/{n}.json").read_text()) for n in (0, 3)]
    assert len(rows) == sum(len(one["segments"]) for one in told)
    west, _, east, north = told[0]["bounds_lonlat"]
    point_P2 = shapely.get_coordinates(shapely.from_wkt(rows[0]["segment"]))
    pixel_2 = told[0]["segments"][0]["polygons_px"][0][0][0]
    assert point_P2[0, 1] == pytest.approx(west + pixel_2[0] / SIDE * (east - west), abs=1e-9)
    assert point_P2[0, 0] < north < 49 and list(rows[0])[:4] == ["Unnamed: 0.1", "Unnamed: 0", "id", "pv_area_id"]
    for name in ("pv_areas", "obstacles"):
        assert list(csv.DictReader((raw / f"rid/{name}_reviewed.csv").open()))


def test_roofline_is_a_file_of_matlab_with_eave_ridge_hip_and_metres(raw):
    path = raw / "roofline/imdb.mat"
    assert path.read_bytes()[:20] == b"MATLAB 7.3 MAT-file,"
    with h5py.File(path) as file:
        images, depths, elements = (file["imdb"][name][:] for name in ("images", "depths", "elements"))
    assert images.shape == (4, 3, SIDE, SIDE) and images.dtype == np.uint8, "two blocks of two crops"
    assert depths.shape == (4, SIDE, SIDE) and depths.dtype == np.float32 and 2 < depths.max() < 25
    assert elements.shape == images.shape and set(np.unique(elements)) == {0, 255}
    assert (elements[:, 0] > 0).sum() > (elements[:, 2] > 0).sum(), "eaves are longer than hips"
    roof = depths > 2
    assert roof[elements[:, 1] > 0].mean() > 0.9, "ridges lie high"


def test_airs_is_tiles_with_labels_lists_and_no_list_of_the_test(raw, tmp_path):
    layouts.synthesize(tmp_path, 4, 0, params(layouts=["airs"]))
    assert not (tmp_path / "airs/test.txt").exists()
    assert (tmp_path / "airs/train.txt").read_text().split() == ["christchurch_0.tif", "christchurch_2.tif"]
    assert (tmp_path / "airs/val.txt").read_text().split() == ["christchurch_1.tif"]
    for split, number in (("train", 0), ("val", 1), ("test", 3)):
        folder = tmp_path / "airs" / split
        with rasterio.open(folder / "image" / f"christchurch_{number}.tif") as image:
            assert image.count == 3 and image.crs.to_epsg() == 2193 and image.res == pytest.approx((GSD, GSD))
        with rasterio.open(folder / "label" / f"christchurch_{number}.tif") as label:
            mask_YX = label.read(1)
        with rasterio.open(folder / "label" / f"christchurch_{number}_vis.tif") as seen:
            assert np.array_equal(seen.read(1), 255 * mask_YX) and set(np.unique(mask_YX)) == {0, 1}


def test_an_asset_is_the_scene_of_its_seed_and_number():
    (made,) = layouts.asset(params().data, "rid", 0, 3)
    (again,) = layouts.asset(params().data, "airs", 0, 3)
    assert np.array_equal(made.image_YXC, again.image_YXC) and len(layouts.asset(params().data, "roofline", 0, 1)) == 2
    assert scene(0).image_YXC.shape == (128, 128, 3)
