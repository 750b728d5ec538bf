"""Roofs as files and reports: other programs read what was written, and metres are the geodesic ones."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Geod

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.models.vector import files, measure, roofs
from tests.studies.roofs.models.vector.test_roofs import GSD, PITCH, gable

MERCATOR = Georeference("EPSG:3857", (0.2, 0, 1_364_000, 0, -0.2, 6_140_000))  # 48 degrees north: 0.134 m
UTM = Georeference("EPSG:32632", (0.2, 0, 690_000, 0, -0.2, 5_334_000))
DEGREES = Georeference("EPSG:4326", (2.5e-6, 0, 12.25, 0, -1.8e-6, 48.2))
TURNED = Georeference("EPSG:32632", (0.16, 0.12, 690_000, 0.12, -0.16, 5_334_000))
PLACES = {"mercator": MERCATOR, "utm": UTM, "degrees": DEGREES, "turned": TURNED}
STEEP = 1 / np.cos(np.radians(PITCH))


@pytest.fixture
def found() -> list[roofs.Roof]:
    return roofs.vectorise(gable(), GSD)


def geodesic(polygon: shapely.Geometry) -> float:
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(polygon)[0])


def test_a_gable_roof_measures_what_geometry_says(found: list[roofs.Roof]):
    said = measure.measure(found[0], GSD)
    assert said["plan_m2"] == pytest.approx(16 * 8, rel=0.01) and said["area_m2"] == pytest.approx(
        128 * STEEP, rel=0.01
    )
    assert said["ridge_m"] == pytest.approx(16, rel=0.01) and said["eave_m"] == pytest.approx(32, rel=0.01)
    assert said["gable_m"] == pytest.approx(16 * STEEP, rel=0.01) and said["perimeter_m"] == pytest.approx(48, rel=0.01)
    assert said["pitch_deg"] == pytest.approx(PITCH, abs=0.1) and said["eave_height_m"] == pytest.approx(5, abs=0.01)
    assert said["hip_m"] == said["valley_m"] == 0 and said["whole"]


@pytest.mark.parametrize("place", PLACES)
def test_plan_and_lengths_are_geodesic(found: list[roofs.Roof], place: str):
    said = measure.measure(found[0], 123.0, PLACES[place])
    outline = shapely.transform(found[0].outline, PLACES[place].to_lonlat)
    assert said["plan_m2"] == pytest.approx(geodesic(outline), rel=1e-3)
    assert said["perimeter_m"] == pytest.approx(Geod(ellps="WGS84").geometry_length(outline.exterior), rel=1e-3)


def test_azimuths_count_from_true_north(found: list[roofs.Roof]):
    plain, turned = (measure.report(found, GSD, place).faces["azimuth_deg"].to_numpy() for place in (UTM, TURNED))
    off = (turned - plain + np.degrees(np.arctan2(0.12, 0.16))) % 360
    assert np.minimum(off, 360 - off).max() < 0.1


@pytest.mark.parametrize("place", PLACES)
def test_geojson_is_read_by_others_and_keeps_areas(found: list[roofs.Roof], place: str, tmp_path: Path):
    path = files.geojson(found, PLACES[place], tmp_path / "roofs.geojson")
    table = geopandas.read_file(path)
    assert table.crs == "EPSG:4326" and table["layer"].value_counts().to_dict() == {
        "lines": 7,
        "faces": 2,
        "outlines": 1,
    }
    written = table[table["layer"] == "faces"]
    assert written.geometry.map(geodesic).sum() == pytest.approx(written["plan_m2"].sum(), rel=1e-3)
    assert written.geometry.is_valid.all() and written.geometry.map(lambda face: face.exterior.is_ccw).all()


def test_geojson_follows_the_standard(found: list[roofs.Roof], tmp_path: Path):
    text = files.geojson(found, UTM, tmp_path / "roofs.geojson").read_text()
    held = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert held["type"] == "FeatureCollection" and "crs" not in held
    places = np.concatenate([shapely.get_coordinates(shapely.geometry.shape(f["geometry"])) for f in held["features"]])
    assert np.array_equal(places, places.round(7)) and (abs(places) < (180, 90)).all()


@pytest.mark.parametrize("place", PLACES)
def test_geopackage_keeps_the_crs_and_every_corner(found: list[roofs.Roof], place: str, tmp_path: Path):
    path = files.geopackage(found, PLACES[place], tmp_path / "roofs.gpkg")
    assert sorted(name for name, _ in pyogrio.list_layers(path)) == ["faces", "lines", "outlines"]
    faces, outlines = (geopandas.read_file(path, layer=name) for name in ("faces", "outlines"))
    assert faces.crs == PLACES[place].crs
    back = shapely.transform(outlines.geometry[0], PLACES[place].from_crs)
    assert back.hausdorff_distance(found[0].outline) < 1e-3
    assert faces["azimuth_deg"].notna().all()


def test_an_image_without_crs_is_written_in_metres(found: list[roofs.Roof], tmp_path: Path):
    table = geopandas.read_file(files.geopackage(found, None, tmp_path / "roofs.gpkg", GSD), layer="faces")
    assert table.crs is not None and table.crs.axis_info[0].unit_name == "metre"
    assert table.area.tolist() == pytest.approx(table["plan_m2"].tolist()) and table.total_bounds[3] < 0


@pytest.mark.parametrize(("write", "said"), [(files.geojson, "GeoPackage in metres"), (files.geopackage, "gsd_m")])
def test_pixels_are_never_written_as_coordinates(write, said: str, found: list[roofs.Roof], tmp_path: Path):
    with pytest.raises(StudyError, match=said):
        write(found, None, tmp_path / "roofs.geojson")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_and_no_roof_is_a_valid_file(found: list[roofs.Roof], tmp_path: Path):
    for some in (found, []):
        package = files.geopackage(some, UTM, tmp_path / "roofs.gpkg")
        text = files.geojson(some, UTM, tmp_path / "roofs.geojson")
        assert len(geopandas.read_file(package, layer="outlines")) == len(some)
        assert len(json.loads(text.read_text())["features"]) == 10 * len(some)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_report_tells_every_face_and_the_totals(found: list[roofs.Roof]):
    said = measure.report(found, GSD)
    assert said.faces["faces_to"].tolist() in (["N", "S"], ["S", "N"]) and len(said.lines) == 7
    text = said.markdown()
    assert (
        "Roof report: 1 roofs" in text and "| ridge | 1 | 16.0 |" in text and "| height of the eave, m | 5.0 |" in text
    )
    assert "<h3>Faces</h3>" in said.html()


def test_a_report_of_nothing_and_of_an_unknown_pitch():
    assert "Roof report: 0 roofs" in measure.report([], GSD).markdown()
    bare = {name: value for name, value in gable().items() if name in ("outline_YX", "lines_LF")}
    said = measure.report(roofs.vectorise(bare, GSD), GSD)
    assert said.faces["area_m2"].sum() == pytest.approx(128, rel=0.01) and "| - |" in said.markdown()
