"""Triangulation: whatever the shape and its position in space, triangles cover it exactly and look the same way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.plateau.data.citygml.polygons import Polygons, open_rings, triangulate
from stepladder.studies.plateau.data.citygml.raw import Tally


def pack(*polygons: list[np.ndarray]) -> Polygons:
    """Polygons from lists of rings."""
    flat = [np.asarray(ring, dtype=float) for rings in polygons for ring in rings]
    counts = np.array([len(ring) for ring in flat], dtype=np.int64)
    return Polygons(np.concatenate(flat), counts, np.array([len(rings) for rings in polygons], dtype=np.int64))


def star(count: int, seed: int) -> np.ndarray:
    """A simple polygon, mostly concave, counter-clockwise in the plane."""
    rng = np.random.default_rng(seed)
    angle = (np.arange(count) + 0.8 * rng.random(count)) * 2 * np.pi / count
    radius = 2 + 8 * rng.random(count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(count)], axis=1)


def turned(ring_N3: np.ndarray, seed: int) -> np.ndarray:
    """The ring in a random plane, far from the origin as in real coordinates."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return ring_N3 @ rotation.T + [-47_132.0, 27_757.0, 610.0]


def vector_area(triangles_N33: np.ndarray) -> np.ndarray:
    """Sum of the triangles' normals, half their length: for flat polygons its size is the area."""
    a, b, c = triangles_N33.transpose(1, 0, 2)
    return 0.5 * np.cross(b - a, c - a)


def ring_area(ring_N3: np.ndarray) -> np.ndarray:
    """The same of a ring, by Newell's sum."""
    local = ring_N3 - ring_N3[0]
    return 0.5 * np.cross(local, np.roll(local, -1, axis=0)).sum(axis=0)


@given(st.lists(st.tuples(st.integers(3, 12), st.integers(0, 999)), min_size=1, max_size=8), st.integers(0, 999))
def test_triangles_cover_each_polygon_once_and_look_its_way(shapes, seed):
    outlines = [turned(star(count, own), seed) for count, own in shapes]
    polygons, tally = pack(*[[outline] for outline in outlines]), Tally()
    corner_T3, polygon_T = triangulate(polygons, tally)
    assert (np.diff(polygon_T) >= 0).all()
    for number, outline in enumerate(outlines):
        parts = vector_area(polygons.corner_V3[corner_T3[polygon_T == number]])
        whole = ring_area(outline)
        assert len(parts) <= len(outline) - 2
        np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-4)
        assert np.linalg.norm(parts, axis=1).sum() == pytest.approx(np.linalg.norm(whole), rel=1e-6, abs=1e-4)
    assert tally.issues() == ()


@given(st.integers(3, 9), st.integers(0, 999))
def test_holes_are_left_out(count, seed):
    square = 15.0 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    outline, hole = turned(square, seed), turned(star(count, seed)[::-1], seed)
    polygons = pack([outline, hole])
    corner_T3, _ = triangulate(polygons, Tally())
    area = np.linalg.norm(vector_area(polygons.corner_V3[corner_T3]), axis=1).sum()
    assert area == pytest.approx(900 - np.linalg.norm(ring_area(hole)), rel=1e-6)


def test_a_concave_quadrilateral_is_cut_inside():
    arrow = np.array([[0, 0, 0], [4, 0, 0], [1, 1, 0], [0, 4, 0]], dtype=float)
    for first in range(4):
        polygons = pack([np.roll(arrow, first, axis=0)])
        corner_T3, _ = triangulate(polygons, Tally())
        areas = vector_area(polygons.corner_V3[corner_T3])[:, 2]
        assert (areas > 0).all() and areas.sum() == pytest.approx(4)


def test_what_has_no_area_is_counted():
    line = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]
    tally = Tally()
    corner_T3, polygon_T = triangulate(pack([line], [star(6, 1)]), tally)
    assert set(polygon_T.tolist()) == {1} and corner_T3.min() == 4
    assert [(issue.kind, issue.count) for issue in tally.issues()] == [("degenerate polygon", 1)]


def test_a_polygon_that_crosses_itself_is_counted():
    bow = [[0, 0, 0], [4, 4, 0], [4, 0, 0], [0, 3, 0]]
    tally = Tally()
    triangulate(pack([bow]), tally)
    assert [issue.kind for issue in tally.issues()] == ["bent or self-crossing polygon, kept"]


def test_nothing_gives_nothing():
    empty = Polygons(np.empty((0, 3)), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    corner_T3, polygon_T = triangulate(empty, Tally())
    assert corner_T3.shape == (0, 3) and polygon_T.shape == (0,)


def test_closing_corners_go_and_bad_rings_are_counted():
    square = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], dtype=float)
    closed, speck = np.vstack([square, square[:1]]), np.array([[1, 1, 0], [2, 1, 0], [1, 1, 0]], dtype=float)
    tally = Tally()
    opened, whole_P = open_rings(pack([closed], [square], [speck], [closed, speck]), tally)
    assert whole_P.tolist() == [True, True, False, True]
    assert opened.corners_R.tolist() == [4, 4, 4] and opened.rings_P.tolist() == [1, 1, 1]
    counts = {issue.kind: issue.count for issue in tally.issues()}
    assert counts == {"open ring closed": 1, "degenerate polygon": 1, "degenerate hole": 1}
