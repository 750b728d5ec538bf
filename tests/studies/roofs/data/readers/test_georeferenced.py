"""Rasters with outlines, whoever made them: paired by name, brought to the raster's pixels, repaired or counted."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from rasterio.transform import Affine, from_origin

from stepladder.core.types import Issue, StudyError
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.readers import find, georeferenced, images, read
from tests.studies.roofs.data.readers.layouts import colours, params, png, tif

UTM = "EPSG:32632"
PLACE = {"crs": UTM, "transform": from_origin(500_000, 5_300_000, 0.5, 0.5)}
HOUSE = shapely.box(500_010, 5_299_980, 500_020, 5_299_990)  # 20 x 20 pixels from column 20, row 20
SIDE = 64


def outlines(path: Path, shapes: list, crs: str | None = UTM, to: str | None = None) -> Path:
    table = geopandas.GeoDataFrame(geometry=shapes, crs=crs)
    (table.to_crs(to) if to else table).to_file(path)
    return path


def raster(path: Path, **options: object) -> Path:
    return tif(path, colours(SIDE, SIDE), **(PLACE | options))


def only(folder: Path) -> Labelled:
    (asset,) = find.assets([folder], params())
    return read.read(asset, params())


def house() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:40, 20:40] = 1
    return mask


@pytest.mark.parametrize(
    ("ending", "to"), [("geojson", "EPSG:4326"), ("gpkg", "EPSG:3857"), ("shp", None), ("fgb", None)]
)
def test_outlines_in_any_crs_lie_where_they_should(tmp_path: Path, ending: str, to: str | None) -> None:
    raster(tmp_path / "town.tif")
    outlines(tmp_path / f"town.{ending}", [HOUSE], to=to)
    labelled = only(tmp_path)
    assert np.array_equal(labelled.outline_NYX[0], house()) and labelled.georeference.crs == UTM
    assert labelled.gsd_m == pytest.approx(0.5, rel=5e-4) and labelled.facts["north_up"]


def test_a_turned_raster_turns_its_outlines(tmp_path: Path) -> None:
    turned = Affine.translation(500_000, 5_300_000) @ Affine.rotation(-30) @ Affine.scale(0.5, -0.5)
    raster(tmp_path / "town.tif", transform=turned)
    corners = [turned @ corner for corner in ((20, 20), (40, 20), (40, 40), (20, 40))]
    outlines(tmp_path / "town.geojson", [shapely.Polygon(corners)])
    labelled = only(tmp_path)
    assert np.array_equal(labelled.outline_NYX[0], house()) and not labelled.facts["north_up"]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/austin1.tif", "gt/austin1.tif"),  # INRIA
        ("train/image/12.tif", "train/label/12.tif"),  # WHU
        ("kampala_a.tif", "kampala_a_label.tif"),  # OAM
        ("my town.TIF", "my town.mask.png"),
    ],
)
def test_masks_are_paired_by_name(tmp_path: Path, image: str, label: str) -> None:
    raster(tmp_path / image)
    (png if label.endswith("png") else tif)(tmp_path / label, 255 * house())
    assert np.array_equal(only(tmp_path).outline_NYX[0], house())


def test_spacenets_names_are_paired_and_polygons_win_over_masks(tmp_path: Path) -> None:
    raster(tmp_path / "RGB-PanSharpen" / "RGB-PanSharpen_AOI_2_Vegas_img1.tif")
    raster(tmp_path / "RGB-PanSharpen" / "RGB-PanSharpen_AOI_2_Vegas_img11.tif")
    (tmp_path / "geojson" / "buildings").mkdir(parents=True)
    outlines(tmp_path / "geojson" / "buildings" / "buildings_AOI_2_Vegas_img1.geojson", [HOUSE])
    tif(tmp_path / "RGB-PanSharpen" / "AOI_2_Vegas_img1_mask.tif", np.zeros((SIDE, SIDE), np.uint8))
    assert only(tmp_path).outline_NYX.sum() == 400


def test_the_same_name_in_three_parts_is_three_assets(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        raster(tmp_path / part / "image" / "0.tif")
        tif(tmp_path / part / "label" / "0.tif", house())
    ids = [asset.id for asset in find.assets([tmp_path], params())]
    assert ids == [f"georeferenced_{part}_image_0" for part in ("test", "train", "val")]


def test_polygons_that_cross_are_empty_or_have_holes(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif")
    x, y = 500_000, 5_300_000
    bow_tie = shapely.Polygon([(x + 1, y - 1), (x + 6, y - 6), (x + 6, y - 1), (x + 1, y - 6)])
    holed = HOUSE.difference(shapely.box(500_012, 5_299_982, 500_018, 5_299_988))
    pair = shapely.MultiPolygon(
        [shapely.box(x + 25, y - 5, x + 28, y - 1), shapely.box(x + 25, y - 15, x + 28, y - 11)]
    )
    deep = shapely.force_3d(shapely.box(x + 1, y - 30, x + 4, y - 27), 3.5)
    outlines(tmp_path / "town.gpkg", [bow_tie, holed, pair, None, shapely.Polygon(), shapely.Point(x + 3, y - 3), deep])
    labelled = only(tmp_path)
    outline_YX = labelled.outline_NYX[0]
    assert outline_YX[20:40, 20:40].sum() == 400 - 144 and outline_YX[30, 30] == 0, "the hole stays"
    assert outline_YX[:32, 48:].sum() == 2 * 6 * 8 and outline_YX[50:, :10].sum() == 36
    assert outline_YX[:14, :14].sum() == pytest.approx(50, abs=12), "half of the bow tie's square"
    kinds = {issue.kind: issue.count for issue in labelled.issues}
    assert kinds["polygon left out: empty"] == 2 and kinds["geometry left out: a Point has no area"] == 1
    assert kinds["polygon repaired: it crossed or touched itself"] == 1


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif")
    tif(tmp_path / "town_mask.tif", house(), **PLACE)
    assert np.array_equal(only(tmp_path).outline_NYX[0], house())
    tif(tmp_path / "town_mask.tif", house(), crs=UTM, transform=from_origin(500_001, 5_300_000, 0.5, 0.5))
    with pytest.raises(StudyError, match=r"town_mask\.tif lies 2\.0 pixels off its image town\.tif"):
        only(tmp_path)


def test_pixels_without_data_are_not_labelled(tmp_path: Path) -> None:
    image = colours(SIDE, SIDE)
    image[:, 50:] = 0
    tif(tmp_path / "town.tif", image, nodata=0, **PLACE)
    tif(tmp_path / "town_label.tif", house(), **PLACE)
    outline_YX = only(tmp_path).outline_NYX[0]
    assert (outline_YX[:, 50:] == 255).all() and np.array_equal(outline_YX[:, :50], house()[:, :50])


def test_a_town_without_buildings_is_fine_and_buildings_elsewhere_are_not(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif")
    (tmp_path / "town.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert only(tmp_path).outline_NYX.sum() == 0
    lonlat = geopandas.GeoSeries([HOUSE], crs=UTM).to_crs("EPSG:4326")
    swapped = shapely.transform(lonlat[0], lambda points: points[:, ::-1])
    outlines(tmp_path / "town.geojson", [swapped], crs="EPSG:4326")
    with pytest.raises(StudyError, match=r"none of the 1 polygons of .*town\.geojson.*axes east, north"):
        only(tmp_path)


def test_without_a_crs_polygons_have_no_place_and_masks_do(tmp_path: Path) -> None:
    tif(tmp_path / "town.tif", colours(SIDE, SIDE))
    outlines(tmp_path / "town.geojson", [HOUSE])
    with pytest.raises(StudyError, match=r"town\.tif does not say where it lies.*give it a CRS"):
        only(tmp_path)
    (tmp_path / "town.geojson").unlink()
    tif(tmp_path / "town_mask.tif", house())
    labelled = only(tmp_path)
    assert labelled.georeference is None and not labelled.facts["gsd_known"]


def test_polygons_without_a_crs_are_taken_as_the_rasters_and_told(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif")
    outlines(tmp_path / "town.shp", [HOUSE], crs=None)
    labelled = only(tmp_path)
    assert np.array_equal(labelled.outline_NYX[0], house())
    assert Issue("polygons without a CRS: taken as the raster's", 1, "town.shp") in labelled.issues


def test_broken_files_are_named(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif")
    (tmp_path / "town.geojson").write_text('{"type": "FeatureCollection", "features": [{"type"')
    with pytest.raises(StudyError, match=r"town\.geojson cannot be read"):
        only(tmp_path)
    outlines(tmp_path / "town.geojson", [HOUSE])
    whole = (tmp_path / "town.tif").read_bytes()
    (tmp_path / "town.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match=r"town\.tif cannot be decoded"):
        only(tmp_path)


# Real files ----------------------------------------------------------------------------------------------------------


def test_kampala_measures_what_geodesy_says(shared_data: Path) -> None:
    folder = shared_data / "roofs" / "outlines_oam"
    labelled = only(folder)
    published = images.binary(folder, images.read_mask(folder / "kampala_a_label.tif", (2048, 2048)))
    assert (labelled.outline_NYX[0] != published).mean() < 1e-4
    told = json.loads((folder / "kampala_a.geojson").read_text())
    roofs = shapely.union_all([shapely.make_valid(shapely.geometry.shape(f["geometry"])) for f in told["features"]])
    corners = labelled.georeference.to_lonlat(np.array([(0, 0), (2048, 0), (2048, 2048), (0, 2048)]))
    ground = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(roofs.intersection(shapely.Polygon(corners)))[0])
    assert labelled.outline_NYX.sum() * labelled.gsd_m**2 == pytest.approx(ground, rel=0.002)
    assert "with credit" in labelled.facts["licence"]


def test_spacenets_sixteen_bits_and_feet_on_the_ground(shared_data: Path) -> None:
    labelled = only(shared_data / "roofs" / "spacenet_solaris")
    assert labelled.image_NYXC.shape == (1, 900, 900, 3) and labelled.facts["polygons"] == 43
    assert labelled.gsd_m == pytest.approx(0.49986, abs=1e-4) and 0.03 < labelled.outline_NYX.mean() < 0.05
    assert labelled.image_NYXC.min() == 0 and labelled.image_NYXC.max() == 255 and labelled.image_NYXC.std() > 30


def test_names_keep_what_tells_images_apart() -> None:
    assert georeferenced.key(Path("RGB-PanSharpen_AOI_2_Vegas_img1.tif")) == "aoi_2_vegas_img1"
    assert georeferenced.key(Path("kampala_a_label.tif")) == "kampala_a"
    assert georeferenced.key(Path("mask.png")) == "mask"
