"""The stored grid: follows the ground without holes, keeps what fits, counts what does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from stepladder.core.types import StudyError
from stepladder.studies.plateau.data.citygml.classes import BY_NAME, EMPTY
from stepladder.studies.plateau.data.tiles.ground import Ground
from stepladder.studies.plateau.data.tiles.relief import Relief, build, layers
from stepladder.studies.plateau.data.tiles.voxelize import voxelize
from stepladder.studies.plateau.params import PlateauConversion

ROAD, TERRAIN, WALL, BASE = (BY_NAME[name].id for name in ("road", "terrain", "wall", "building base"))
PARAMS = PlateauConversion(voxel_m=0.5, height_m=6.0, below_m=1.0)
BOX = (10.0, 20.0, 30.0, 36.0)
NOTHING = np.zeros((0, 3), np.int32), np.zeros(0, np.uint8)


def hilly(seed: int, roughness: float = 6.0) -> Ground:
    return Ground(np.random.default_rng(seed).uniform(0, roughness, (16, 16)), (-2, 0), 5.0)


def level(height: float) -> Ground:
    return Ground(np.full((16, 16), height), (-2, 0), 5.0)


def absolute(relief: Relief) -> dict[tuple[int, int, int], int]:
    """Voxels that are not empty, by absolute index."""
    i, j, k = np.nonzero(relief.voxels_XYL != EMPTY)
    index = np.stack([i + relief.origin[0], j + relief.origin[1], k + relief.base_XY[i, j]], axis=1)
    return dict(zip(map(tuple, index.tolist()), relief.voxels_XYL[i, j, k].tolist(), strict=True))


def test_shapes_and_origin():
    relief = build(*NOTHING, level(3.2), BOX, PARAMS)
    assert relief.voxels_XYL.shape == (40, 32, 14) and relief.voxels_XYL.dtype == np.uint8
    assert relief.base_XY.shape == (40, 32) and relief.base_XY.dtype == np.int16
    assert relief.origin == (20, 40) and relief.issues == ()
    assert layers(PlateauConversion()) == 35


def test_level_ground_is_one_layer_thick():
    relief = build(*NOTHING, level(3.2), BOX, PARAMS)
    assert (relief.base_XY == 4).all()  # floor((3.2 - 1.0) / 0.5)
    assert {k for _, _, k in absolute(relief)} == {6}
    assert set(absolute(relief).values()) == {TERRAIN}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_hole_in_the_ground_on_slopes(seed):
    """Every point of the ground lies in a ground voxel, so neighbouring columns always meet."""
    ground = hilly(seed)
    relief = build(*NOTHING, ground, BOX, PARAMS)
    x, y = np.random.default_rng(seed).uniform(BOX[:2], BOX[2:], (2000, 2)).T
    points = np.stack([x, y, ground.height(x, y)], axis=1)
    assert set(map(tuple, np.floor(points / 0.5).astype(int).tolist())) <= set(absolute(relief))


def test_first_layer_follows_the_ground():
    ground = hilly(5)
    relief = build(*NOTHING, ground, BOX, PARAMS)
    x, y = np.meshgrid(10.25 + 0.5 * np.arange(40), 20.25 + 0.5 * np.arange(32), indexing="ij")
    assert_array_equal(relief.base_XY, np.floor((ground.height(x, y) - 1.0) / 0.5))


def test_roads_take_the_place_of_terrain_not_of_buildings():
    cover_XY = np.full((40, 32), TERRAIN, np.uint8)
    cover_XY[:10] = ROAD
    index = np.array([[22, 45, 6], [23, 45, 6], [60, 45, 6]], np.int32)  # the last one lies outside
    label = np.array([BASE, WALL, WALL], np.uint8)
    stored = absolute(build(index, label, level(3.2), BOX, PARAMS, cover_XY))
    assert stored[22, 45, 6] == BASE and stored[23, 45, 6] == WALL
    assert stored[24, 45, 6] == ROAD and stored[35, 45, 6] == TERRAIN
    assert len(stored) == 40 * 32


def test_what_does_not_fit_is_counted():
    column = np.stack([np.full(40, 25), np.full(40, 50), np.arange(-10, 30)], axis=1).astype(np.int32)
    relief = build(column, np.full(40, WALL, np.uint8), level(3.2), BOX, PARAMS)
    stored = absolute(relief)
    assert [k for k in range(-10, 30) if stored.get((25, 50, k)) == WALL] == list(range(4, 18))
    counts = {issue.kind.split()[1]: issue.count for issue in relief.issues}
    assert counts == {"above": 12, "below": 14}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(0, 20))
def test_two_boxes_store_the_same_where_they_overlap(seed, dx, dy):
    rng = np.random.default_rng(seed)
    triangles = rng.uniform((5, 15, 0), (45, 50, 9), (30, 3, 3))
    label = rng.choice([WALL, ROAD, BASE], 30).astype(np.uint8)
    other = (BOX[0] + dx * 0.5, BOX[1] + dy * 0.5, BOX[2] + dx * 0.5, BOX[3] + dy * 0.5)
    grids = [build(*voxelize(triangles, label, 0.5, box), hilly(7), box, PARAMS) for box in (BOX, other)]
    here, there = (absolute(grid) for grid in grids)
    shared = {v for v in here if 20 + dx <= v[0] < 60 and 40 + dy <= v[1] < 72}
    assert shared == {v for v in there if 20 + dx <= v[0] < 60 and 40 + dy <= v[1] < 72}
    assert all(here[v] == there[v] for v in shared)


def test_heights_beyond_sixteen_bits_are_refused():
    with pytest.raises(StudyError, match="voxel_m"):
        build(*NOTHING, level(3776.0), BOX, PlateauConversion(voxel_m=0.1))
