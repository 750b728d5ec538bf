"""Roofs in space: pitch, height, area and walls of a hip roof known by geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.roofs.data.labels import FLAT
from stepladder.studies.roofs.models.vector import roofs
from stepladder.studies.roofs.pictures import planes
from stepladder.view.scene import Lines, Mesh
from tests.studies.roofs.pictures import houses

STEEP = np.tan(np.radians(houses.PITCH))
RIDGE_M = STEEP * houses.GSD * (houses.BOX[3] - houses.BOX[1]) / 2


def maps(*names):
    found = houses.maps()
    return {name: found[name] for name in ("face_id_YX", "face_YX", "slope_GYX", *names)} | {"lines_LF": houses.lines()}


def faces(mesh, sector):
    """Corners (M, 3, 3) of the triangles of a category."""
    return mesh.points_N3[mesh.faces_M3[mesh.category_M == sector]]


def normals(corners):
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    across *= np.sign(across[:, 2:])
    return across / np.linalg.norm(across, axis=1, keepdims=True)


def area(corners):
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2


@pytest.mark.parametrize("known", [("rise_YX",), ()])
def test_faces_fall_the_way_and_as_steeply_as_they_should(known):
    mesh, *_ = planes.roof(maps(*known), houses.GSD)
    for sector, east, north in ((0, 0, 1), (4, 1, 0), (8, 0, -1), (12, -1, 0)):
        expected = np.array([east * STEEP, north * STEEP, 1]) / np.hypot(STEEP, 1)
        assert np.allclose(normals(faces(mesh, sector)), expected, atol=1e-3)
        assert faces(mesh, sector)[..., 2].max() == pytest.approx(planes.WALL_M + RIDGE_M, abs=0.1)
        assert faces(mesh, sector)[..., 2].min() == pytest.approx(planes.WALL_M, abs=0.1)


def test_a_face_without_a_class_takes_its_colour_from_its_slope():
    found = maps("rise_YX")
    with_classes, *_ = planes.roof(found, houses.GSD)
    without, *_ = planes.roof({name: found[name] for name in found if name != "face_YX"}, houses.GSD)
    assert np.array_equal(with_classes.category_M, without.category_M)


def test_areas_are_those_in_plan_over_the_cosine_of_the_pitch():
    mesh, *_ = planes.roof(maps("rise_YX"), houses.GSD)
    x0, y0, x1, y1 = houses.BOX * houses.GSD
    sloped = np.concatenate([faces(mesh, sector) for sector in (0, 4, 8, 12)])
    assert area(sloped) == pytest.approx((x1 - x0) * (y1 - y0) / np.cos(np.radians(houses.PITCH)), rel=0.03)
    left, top, right, bottom = houses.FLAT_BOX * houses.GSD
    assert area(faces(mesh, FLAT)) == pytest.approx((right - left) * (bottom - top), rel=0.03)


def test_eaves_lie_as_high_as_is_known_and_three_metres_where_it_is_not():
    def lowest(own):
        mesh, *_ = planes.roof(own, houses.GSD)
        assert faces(mesh, planes.WALL)[..., 2].min() == 0
        return faces(mesh, 8)[..., 2].min()

    assert lowest(maps("rise_YX")) == pytest.approx(planes.WALL_M, abs=0.1)
    assert lowest(maps("rise_YX") | {"height_YX": houses.maps()["rise_YX"] + 5.0}) == pytest.approx(5.0, abs=0.1)
    assert lowest(maps("rise_YX") | {"height_YX": houses.maps()["rise_YX"]}) == pytest.approx(planes.WALL_M, abs=0.1)


def test_a_vectorised_roof_has_the_same_faces_in_the_same_colours():
    found = {name.replace("_B", "_"): value[0].numpy() for name, value in houses.prediction(0).items()}
    made = roofs.vectorise({name: found[name] for name in found if name != "height_YX"}, houses.GSD)
    mesh, *lines = planes.of_roofs(made, houses.SIDE, houses.GSD)
    own, *_ = planes.roof(maps("rise_YX"), houses.GSD)
    for sector in (0, 4, 8, 12, FLAT):
        assert area(faces(mesh, sector)) == pytest.approx(area(faces(own, sector)), rel=0.06)
        for corner in (np.min, np.max):
            one, two = (corner(faces(side, sector), axis=(0, 1))[:2] for side in (mesh, own))
            assert one == pytest.approx(two, abs=0.3)
    assert {"ridge", "hip", "eave"} <= {item.name for item in lines}
    assert planes.of_roofs([], houses.SIDE, houses.GSD) == ()


def test_x_is_east_and_y_is_north_in_metres():
    mesh, *_ = planes.roof(maps("rise_YX"), houses.GSD)
    north, south = (faces(mesh, sector)[..., 1].mean() for sector in (0, 8))
    east, west = (faces(mesh, sector)[..., 0].mean() for sector in (4, 12))
    assert north > south and east > west
    assert mesh.points_N3[:, 0].max() <= houses.SIDE * houses.GSD


def test_lines_lie_on_their_faces():
    lines = {item.name: item for item in planes.roof(maps("rise_YX"), houses.GSD) if isinstance(item, Lines)}
    (ridge,) = lines["ridge"].polylines
    assert np.allclose(ridge[:, 2], planes.WALL_M + RIDGE_M + planes.LIFT_M, atol=0.05)
    assert np.linalg.norm(np.diff(ridge, axis=0)) == pytest.approx(2.4, abs=0.01)
    assert {len(lines["hip"].polylines), len(lines["eave"].polylines)} == {4, 8}


def test_a_relief_is_as_high_as_its_map():
    height_YX = np.full((300, 200), np.nan)
    height_YX[100:200, 50:150] = 7.0
    (mesh,) = planes.relief(height_YX, 0.5, 7.0)
    assert isinstance(mesh, Mesh) and mesh.points_N3[:, 2].max() == 7 and mesh.category_M.max() == 255
    assert planes.relief(np.zeros((9, 9)), 0.5, 1.0) == ()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_any_map_of_faces_can_be_drawn(seed, coarse):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 5, (6, 6))
    ids_YX = np.kron(small, np.ones((4 * coarse, 4 * coarse), int)).astype(np.int32)
    drawn = {"face_id_YX": ids_YX, "face_YX": np.where(ids_YX > 0, ids_YX % 17, 17).astype(np.uint8)}
    drawn |= {"slope_GYX": rng.normal(size=(2, *ids_YX.shape)), "lines_LF": rng.uniform(0, 24, (3, 6)).round()}
    drawn["lines_LF"][:, 4] %= 7
    for item in planes.roof(drawn, 0.1):
        points = item.points_N3 if isinstance(item, Mesh) else np.concatenate(item.polylines)
        assert np.isfinite(points).all()
