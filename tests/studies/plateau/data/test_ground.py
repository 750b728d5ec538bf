"""The ground: relief as it is, building bases smoothed, the same bits from whichever tile one looks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from stepladder.studies.plateau.data.citygml import reader
from stepladder.studies.plateau.data.citygml.classes import BY_NAME
from stepladder.studies.plateau.data.citygml.raw import Tally
from stepladder.studies.plateau.data.citygml.surfaces import Surfaces, concatenate
from stepladder.studies.plateau.data.tiles.ground import CELL_M, REACH_M, Ground, cover

BOX = (1000.0, -500.0, 1200.0, -300.0)
ROAD, FOOTWAY, TERRAIN, WALL = (BY_NAME[name].id for name in ("road", "footway", "terrain", "wall"))


def surfaces(triangles: np.ndarray, theme: str) -> Surfaces:
    """Every triangle a feature of its own."""
    triangles = np.asarray(triangles, float).reshape(-1, 3, 3)
    rows = np.arange(len(triangles))
    described = [(f"{theme}_{row}", theme, "Building", 1) for row in rows]
    return Surfaces.of(triangles, np.full(len(rows), WALL), rows, described, 6674, Tally())


def houses(base_N3: np.ndarray) -> Surfaces:
    """Upright triangles of 8 m that stand on the given points."""
    return surfaces(base_N3[:, None, :] + [[-4.0, 0, 0], [4.0, 0, 0], [0, 0, 6.0]], "bldg")


def plane(a: float, b: float, c: float):
    return lambda x, y: a * (x - 1100) + b * (y + 400) + c


def scattered(rng: np.random.Generator, count: int, low: tuple, high: tuple, height) -> np.ndarray:
    xy = rng.uniform(low, high, (count, 2))
    return np.column_stack([xy, height(xy[:, 0], xy[:, 1])])


slope = st.floats(-0.3, 0.3)


@settings(max_examples=25, deadline=None)
@given(slope, slope, st.floats(-10, 700), st.sampled_from([0.25, 0.4, 0.5, 1.0, 7.0]))
def test_relief_is_reproduced(a, b, c, voxel_m):
    height = plane(a, b, c)
    corners = np.array([(x, y, height(x, y)) for x, y in ((900, -600), (1300, -600), (1300, -200), (900, -200))])
    ground = Ground.of(surfaces(corners[[[0, 1, 2], [0, 2, 3]]], "dem"), BOX, voxel_m)
    x, y = np.random.default_rng(0).uniform(BOX[:2], BOX[2:], (200, 2)).T
    assert ground.issues == ()
    assert_allclose(ground.height(x, y), height(x, y), atol=1e-6)


def test_building_bases_give_the_slope_they_stand_on():
    height = plane(0.03, -0.02, 12.0)
    base = scattered(np.random.default_rng(1), 1500, (500, -1000), (1700, 200), height)
    ground = Ground.of(houses(base), BOX, 0.4)
    x, y = np.random.default_rng(2).uniform(BOX[:2], BOX[2:], (500, 2)).T
    off = np.abs(ground.height(x, y) - height(x, y))
    assert off.max() < np.hypot(0.03, 0.02) * CELL_M * np.sqrt(2)  # a cell's house stands somewhere in the cell
    assert np.median(off) < 0.2


def test_basements_and_roofs_without_a_house_do_not_dent_the_ground():
    rng = np.random.default_rng(3)
    base = scattered(rng, 1500, (500, -1000), (1700, 200), plane(0.01, 0.0, 5.0))
    odd = scattered(rng, 12, (1000, -500), (1200, -300), lambda x, y: np.where(x < 1100, -25.0, 40.0))
    x, y = rng.uniform(BOX[:2], BOX[2:], (500, 2)).T
    without = Ground.of(houses(base), BOX, 0.4).height(x, y)
    with_odd = Ground.of(houses(np.concatenate([base, odd])), BOX, 0.4).height(x, y)
    assert np.abs(with_odd - without).max() < 1.0


def test_relief_goes_over_into_building_bases_without_a_step():
    height = plane(0.0, 0.0, 30.0)
    relief = np.array([(x, y, 30.0) for x, y in ((900, -600), (1100, -600), (1100, -200), (900, -200))])
    base = scattered(np.random.default_rng(4), 300, (500, -1000), (1700, 200), height)
    ground = Ground.of(concatenate([surfaces(relief[[[0, 1, 2], [0, 2, 3]]], "dem"), houses(base)]), BOX, 0.4)
    x = np.linspace(BOX[0], BOX[2], 300)
    assert_allclose(ground.height(x, np.full(300, -400.0)), 30.0, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(40, 160))
def test_two_tiles_agree_bit_for_bit_where_they_overlap(seed, shift):
    """Each tile sees only what lies within reach of it, in its own order."""
    rng = np.random.default_rng(seed)
    bases = scattered(rng, 700, (-200, -1700), (2600, 900), lambda x, y: 20 * np.sin(x / 90) + rng.normal(size=len(x)))
    relief = rng.uniform((1050, -420, 5), (1250, -320, 9), (20, 3, 3))
    east = (BOX[0] + shift, BOX[1] + shift / 3, BOX[2] + shift, BOX[3] + shift / 3)
    grounds = []
    for box in (BOX, east):
        near = (bases[:, :2] > np.array(box[:2]) - REACH_M).all(1) & (bases[:, :2] < np.array(box[2:]) + REACH_M).all(1)
        parts = surfaces(rng.permutation(relief), "dem"), houses(rng.permutation(bases[near]))
        grounds.append(Ground.of(concatenate(parts), box, 0.4))
    x, y = rng.uniform(east[:2], BOX[2:], (500, 2)).T
    assert_array_equal(grounds[0].height(x, y), grounds[1].height(x, y))


def test_reach_stays_within_the_ring_of_neighbours():
    """Tiles are 0.92 km deep; the margin of 80 m around one and features that spill over its border need room too."""
    assert REACH_M + 80 < 900


def test_without_anything_in_reach_the_ground_is_zero_and_counted():
    far = houses(np.array([[1100.0 + 3 * REACH_M, -400.0, 50.0]]))
    ground = Ground.of(far, BOX, 0.4)
    assert not ground.node_XY.any()
    assert [issue.count for issue in ground.issues] == [ground.node_XY.size]


def test_features_without_heights_say_nothing_about_the_ground():
    flat = [[(1100, -400, 0), (1110, -400, 0), (1100, -390, 0)]]
    standing = [[(1150, -350, 33), (1158, -350, 33), (1154, -350, 39)]]
    ground = Ground.of(surfaces(flat + standing, "bldg"), BOX, 0.4)
    assert_allclose(ground.height(1100.0, -400.0), 33.0)


def test_cover_is_what_one_sees_from_above():
    def square(x0, y0, x1, y1):
        return [[(x0, y0, 3.0), (x1, y0, 7.0), (x1, y1, 7.0)], [(x0, y0, 3.0), (x1, y1, 7.0), (x0, y1, 3.0)]]

    triangles = np.array(square(2.1, -9, 5.9, 9) + square(-9, 4.1, 5.9, 6.9))
    label = np.array([ROAD, ROAD, FOOTWAY, FOOTWAY], np.uint8)
    cover_XY = cover(triangles, label, (0.0, 0.0, 8.0, 8.0), 1.0)
    expected = np.full((8, 8), TERRAIN)
    expected[2:6] = ROAD
    expected[:6, 4:7] = FOOTWAY  # priority 52 over 50
    assert_array_equal(cover_XY, expected)


def test_real_relief(shared_data):
    """A real (small) relief: the ground keeps its heights at its own corners, up to the bend between two nodes."""
    relief = reader.read(shared_data / "plateau/14201_yokosuka/udx/dem/523965_dem_6697_05_op.gml.gz")
    corners = relief.triangles_N33.reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    ground = Ground.of(relief, (low[0], low[1], high[0], high[1]), 0.4)
    off = np.abs(ground.height(corners[:, 0], corners[:, 1]) - corners[:, 2])
    assert np.median(off) < 0.5 and ground.node_XY.max() < high[2] + 0.1
