"""Metres are true ones and places are PROJ's and GDAL's, whatever the CRS, its unit and how the image is turned."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Proj

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.georeference import Georeference, from_bounds

rasterio = pytest.importorskip("rasterio")
MERCATOR_RADIUS = 6378137.0
E2 = 0.00669437999014  # squared eccentricity of WGS 84


def mercator(lon: float, lat: float, size: float) -> Georeference:
    x, y = Proj("EPSG:3857")(lon, lat)
    return Georeference("EPSG:3857", (size, 0.0, x, 0.0, -size, y))


@given(lat=st.floats(-75, 75), lon=st.floats(-179, 179), size=st.floats(0.05, 2))
def test_web_mercator_metres_shrink_with_the_cosine_of_latitude(lat: float, lon: float, size: float) -> None:
    metres = mercator(lon, lat, size).metres_per_pixel((0, 0))
    assert metres == pytest.approx(size * math.cos(math.radians(lat)), rel=0.007)  # sphere against ellipsoid
    sine = math.sin(math.radians(lat))
    across = 6378137 / math.sqrt(1 - E2 * sine**2)  # radii of curvature of WGS 84, from any textbook of geodesy
    along = across * (1 - E2) / (1 - E2 * sine**2)
    exact = size * math.cos(math.radians(lat)) * math.sqrt(across * along) / MERCATOR_RADIUS
    assert metres == pytest.approx(exact, rel=1e-5)


@given(lat=st.floats(-80, 80), lon=st.floats(-179, 179))
def test_degrees_are_measured_on_the_ellipsoid(lat: float, lon: float) -> None:
    step = 1e-4  # large enough (11 m) for the polygon area of the oracle
    place = from_bounds(lon - step, lat - step, lon + step, lat + step, (2, 2))
    corners = place.to_lonlat(np.array([(0.5, 0.5), (1.5, 0.5), (1.5, 1.5), (0.5, 1.5)]))
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(corners[:, 0], corners[:, 1])
    assert place.metres_per_pixel((1, 1)) == pytest.approx(math.sqrt(abs(area)), rel=1e-3)


def test_feet_are_not_metres() -> None:
    new_york = "EPSG:2263"  # state plane in US survey feet
    x, y = Proj(new_york)(-73.98, 40.75)
    metres = Georeference(new_york, (0.5, 0.0, x, 0.0, -0.5, y)).metres_per_pixel((0, 0))
    assert metres == pytest.approx(0.5 * 1200 / 3937, rel=1e-4)


@given(angle=st.floats(0, 2 * math.pi), size=st.floats(0.05, 2))
def test_a_turned_image_keeps_its_size_and_its_places(angle: float, size: float) -> None:
    c, s = size * math.cos(angle), size * math.sin(angle)
    place = Georeference("EPSG:32636", (c, s, 453000.0, s, -c, 33000.0))
    assert place.metres_per_pixel((50, 50)) == pytest.approx(size, rel=5e-4)  # scale factor of UTM
    points = np.array([(0.0, 0.0), (10.5, 3.25), (511.0, 0.5)])
    ours = place.to_crs(points)
    theirs = [rasterio.transform.Affine(*place.transform) @ tuple(point) for point in points]
    assert np.allclose(ours, theirs, atol=1e-8)
    assert np.allclose(place.to_pixels(place.to_lonlat(points)), points, atol=1e-3)
    assert place.north_up == (math.degrees(min(angle, 2 * math.pi - angle)) < 1.1458 or angle > 6.2632)


def test_pixels_of_gdal_are_ours_plus_half() -> None:
    place = mercator(11.8, 48.1, 0.15)
    middle = rasterio.transform.xy(rasterio.transform.Affine(*place.transform), 7, 3)  # row, column: the middle
    assert np.allclose(place.to_crs(np.array([(3.5, 7.5)])), [middle])


def test_a_window_keeps_places() -> None:
    place = mercator(11.8, 48.1, 0.15)
    assert np.allclose(place.window(100, 40).to_lonlat(np.array([(1, 2)])), place.to_lonlat(np.array([(101, 42)])))


def test_a_crs_without_a_place_is_refused_with_the_way_out() -> None:
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    with pytest.raises(StudyError, match="give the raster a CRS"):
        Georeference(local, (1, 0, 0, 0, -1, 0)).metres_per_pixel((0, 0))
    with pytest.raises(StudyError, match="give the raster a CRS"):
        Georeference("EPSG:999999", (1, 0, 0, 0, -1, 0)).to_lonlat(np.zeros((1, 2)))
    with pytest.raises(StudyError, match="no place"):
        Georeference("EPSG:3857", (1, 0, 0, 0, -1, 0)).to_pixels(np.array([(0.0, 1000.0)]))
    with pytest.raises(StudyError, match="not a georeference"):
        Georeference("EPSG:3857", (0, 0, 0, 0, -1, 0))
