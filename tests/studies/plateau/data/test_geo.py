"""Mesh codes and zones against the standard's own examples, and each other."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.plateau.data.citygml import geo

LAT, LON = st.floats(20, 46), st.floats(122, 154)
DIGITS = st.sampled_from([4, 6, 8, 9, 10])


@pytest.mark.parametrize(
    ("code", "south", "west", "height", "width"),
    [
        ("5438", 36, 138, 40 / 60, 1),  # the example of JIS X 0410: 36 N, 138 E
        ("543823", 36 + 10 / 60, 138 + 22.5 / 60, 5 / 60, 7.5 / 60),
        ("54382343", 36 + 12 / 60, 138 + 24.75 / 60, 30 / 3600, 45 / 3600),
        ("543823431", 36 + 12 / 60, 138 + 24.75 / 60, 15 / 3600, 22.5 / 3600),
        ("5438234342", 36 + 12.25 / 60, 138 + 24.75 / 60 + 33.75 / 3600, 7.5 / 3600, 11.25 / 3600),
    ],
)
def test_bounds_of_known_meshes(code, south, west, height, width):
    expected = (south, west, south + height, west + width)
    assert geo.mesh_bounds(code) == pytest.approx(expected, abs=1e-12)


def test_a_known_place_lies_in_its_mesh():
    assert geo.mesh_code(35.6812, 139.7671) == "53394611"  # Tokyo station


@given(LAT, LON, DIGITS)
def test_a_point_lies_within_its_mesh(lat, lon, digits):
    south, west, north, east = geo.mesh_bounds(geo.mesh_code(lat, lon, digits))
    assert south - 1e-8 <= lat < north and west - 1e-8 <= lon < east


@given(LAT, LON, DIGITS)
def test_centre_and_south_west_corner_give_the_code_back(lat, lon, digits):
    code = geo.mesh_code(lat, lon, digits)
    south, west, north, east = geo.mesh_bounds(code)
    assert geo.mesh_code((south + north) / 2, (west + east) / 2, digits) == code
    assert geo.mesh_code(south, west, digits) == code


@given(LAT, LON, DIGITS)
def test_neighbours_touch_and_are_mutual(lat, lon, digits):
    code = geo.mesh_code(lat, lon, digits)
    around = geo.neighbours(code)
    assert len({code, *around}) == 9
    south, west, north, east = geo.mesh_bounds(code)
    for other in around:
        assert code in geo.neighbours(other)
        s, w, n, e = geo.mesh_bounds(other)
        assert max(s, south) <= min(n, north) and max(w, west) <= min(e, east)


def test_finer_meshes_nest():
    codes = [geo.mesh_code(34.691, 135.503, digits) for digits in (4, 6, 8, 9, 10)]
    assert all(fine.startswith(coarse) for coarse, fine in pairwise(codes))


@pytest.mark.parametrize("code", ["", "533", "533985", "5339452", "533945255", "53394525a", "５３３９"])
def test_what_is_no_mesh_code_is_named(code):
    with pytest.raises(geo.MeshError, match="not a mesh code"):
        geo.mesh_bounds(code)


def test_places_without_a_mesh_are_named():
    with pytest.raises(geo.MeshError, match="digits"):
        geo.mesh_code(35.0, 139.0, 7)
    for lat, lon in ((35.0, 99.0), (-1.0, 139.0), (35.0, 200.0), (67.0, 139.0)):
        with pytest.raises(geo.MeshError, match="no mesh"):
            geo.mesh_code(lat, lon)


@pytest.mark.parametrize(
    ("city", "lat", "lon", "zone"),
    [
        ("13104", 35.69, 139.70, 6677),
        ("27100", 34.69, 135.50, 6674),
        ("20202", 36.24, 137.97, 6676),
        ("40130", 33.59, 130.40, 6670),
        ("04100", 38.27, 140.87, 6678),
        ("47201", 26.21, 127.68, 6683),
        ("43206", 32.93, 130.56, 6670),
    ],
)
def test_zone_of_well_known_cities(city, lat, lon, zone):
    assert geo.zone_of(lat, lon) == geo.zone_of_city(city) == zone


def test_a_city_on_a_border_has_one_official_zone():
    assert geo.zone_of_city("28100") == 6673  # Kobe, whose east lies nearer to the origin of zone VI
    assert geo.zone_of_city("01100") is None


def test_every_prefecture_but_hokkaido_has_a_zone():
    assert [code for code in range(1, 48) if geo.zone_of_city(f"{code:02d}000") is None] == [1]


def test_projection_is_easting_and_northing_of_the_surveys_own_example():
    """The example of the Geospatial Information Authority's calculator (bl2xy): X is north there, Y is east."""
    x, y = geo.projector(6677)(np.array([36.103774791666666]), np.array([140.08785504166664]))
    assert (x[0], y[0]) == pytest.approx((22_916.2436, 11_543.6883), abs=1e-3)


def test_every_zone_is_zero_at_its_origin():
    for number, (lat, lon) in enumerate(geo.ORIGINS):
        np.testing.assert_allclose(geo.projector(geo.FIRST_ZONE + number)(lat, lon), 0, atol=1e-6)


def test_a_zone_that_does_not_exist_is_named():
    with pytest.raises(geo.MeshError, match="6668"):
        geo.projector(6668)
