"""Voxels of triangles: exact against an independent separating-axis test, in any order, in any box."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from stepladder.studies.plateau.data.citygml import reader
from stepladder.studies.plateau.data.citygml.classes import BY_NAME
from stepladder.studies.plateau.data.tiles.voxelize import columns, voxelize

ROOF, WALL, ROAD, TERRAIN = (BY_NAME[name].id for name in ("roof", "wall", "road", "terrain"))

# Eighths of a voxel near zero: every product below is exact in float64, so touching is decided without rounding.
eighths = st.integers(-24, 24).map(lambda n: n / 8)
lattice = st.integers(-3, 3).map(float)
corner = st.tuples(*[st.one_of(eighths, lattice)] * 3)
triangle = st.tuples(corner, corner, corner)


def brute_force(triangle_33: np.ndarray) -> set[tuple[int, ...]]:
    """Unit voxels a triangle meets: thirteen axes for every box of its bounding box, boxes half-open."""
    edges = np.roll(triangle_33, -1, axis=0) - triangle_33
    axes = [*np.eye(3), np.cross(edges[0], edges[1]), *(np.cross(edge, unit) for edge in edges for unit in np.eye(3))]
    low, high = np.floor(triangle_33.min(0)).astype(int), np.floor(triangle_33.max(0)).astype(int)
    boxes_K3 = np.array(list(product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)))))
    meet_K = np.all([overlap(triangle_33, boxes_K3, axis) for axis in axes], axis=0)
    return set(map(tuple, boxes_K3[meet_K].tolist()))


def overlap(triangle_33: np.ndarray, boxes_K3: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Whether the shadows of a triangle and of half-open unit boxes on an axis meet."""
    shadow, place_K = triangle_33 @ axis, boxes_K3 @ axis
    top_K, bottom_K = place_K + axis.clip(0).sum(), place_K + axis.clip(None, 0).sum()
    # The box's extreme corner belongs to it only when no upper face takes part.
    above = shadow.min() < top_K if (axis > 0).any() else shadow.min() <= top_K
    below = shadow.max() > bottom_K if (axis < 0).any() else shadow.max() >= bottom_K
    return above & below


def found(triangles: np.ndarray, voxel_m: float = 1.0, **options) -> set[tuple[int, ...]]:
    triangles = np.asarray(triangles, float).reshape(-1, 3, 3)
    return {tuple(row) for row in voxelize(triangles, np.full(len(triangles), ROOF), voxel_m, **options)[0].tolist()}


@settings(max_examples=200, deadline=None)
@given(triangle)
@example(((0, 0, 0), (0, 0, 0), (0, 0, 0)))  # a point
@example(((0.5, 0, 0), (0.5, 2, 2), (0.5, 1, 1)))  # a segment
@example(((0, 0, 0), (3, 3, 3), (-3, -3, -3)))  # a segment through lattice points
@example(((1, 0, 0), (1, 2, 0), (1, 0, 2)))  # in a lattice plane
@example(((0, 0, 1), (2, 1, 0), (1, 2, 0.5)))
def test_same_voxels_as_the_separating_axis_test(corners):
    triangle_33 = np.array(corners, float)
    assert found(triangle_33) == brute_force(triangle_33)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 5.0))
def test_same_voxels_for_any_size_and_far_from_the_origin(seed, voxel_m):
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(-1, 1, (3, 3)) * rng.choice([0.01, 1, 6], 3) + rng.integers(-100_000, 100_000, 3)
    metres = scaled * voxel_m
    assert found(metres, voxel_m) == brute_force(metres / voxel_m)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_point_of_a_triangle_escapes(seed):
    rng = np.random.default_rng(seed)
    triangle_33 = rng.uniform(-20, 20, (3, 3))
    weights = rng.dirichlet([0.5, 0.5, 0.5], 500)
    points = {tuple(row) for row in np.floor(weights @ triangle_33).astype(int).tolist()}
    assert points <= found(triangle_33)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_slivers_are_never_torn(seed):
    """Nearly collinear corners, as triangulation leaves them: the plane is noise, the long edge must stay whole."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, (2, 3)) * rng.choice([4, 40, 200])
    c = a + rng.uniform() * (b - a) + rng.normal(size=3) * 10 ** rng.uniform(-17, -5)
    on_edge = a + np.linspace(0, 1, 2000)[:, None] * (b - a)
    inside = np.abs(on_edge - np.round(on_edge)).min(1) > 1e-3  # a sliver's plane is that uncertain
    assert {tuple(row) for row in np.floor(on_edge[inside]).astype(int).tolist()} <= found([a, b, c])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-12, 6), st.integers(-12, 6), st.integers(1, 14), st.integers(1, 14))
def test_a_box_only_leaves_out_what_lies_outside(seed, x0, y0, width, depth):
    rng = np.random.default_rng(seed)
    triangles = rng.uniform(-8, 8, (12, 3, 3))
    label = rng.choice([ROOF, WALL, TERRAIN], 12).astype(np.uint8)
    whole, whole_label = voxelize(triangles, label, 0.4)
    box = (x0 * 0.4, y0 * 0.4, (x0 + width) * 0.4, (y0 + depth) * 0.4)
    inside = ((whole[:, :2] >= [x0, y0]) & (whole[:, :2] < [x0 + width, y0 + depth])).all(1)
    index, index_label = voxelize(triangles, label, 0.4, box)
    assert_array_equal(index, whole[inside])
    assert_array_equal(index_label, whole_label[inside])


def test_columns_of_a_box_are_those_it_meets():
    assert columns((80.0, -80.0, 80.4, -79.7), 0.4) == (200, -200, 201, -199)
    assert columns((0.1, 0.1, 0.3, 0.5), 0.4) == (0, 0, 1, 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_labels_do_not_depend_on_the_order_and_priority_wins(seed):
    rng = np.random.default_rng(seed)
    triangles = rng.uniform(-3, 3, (10, 3, 3))
    label = rng.choice([ROOF, WALL, ROAD, TERRAIN], 10).astype(np.uint8)
    index, winner = voxelize(triangles, label, 1.0)
    shuffle = rng.permutation(10)
    again, again_winner = voxelize(triangles[shuffle], label[shuffle], 1.0)
    assert_array_equal(index, again)
    assert_array_equal(winner, again_winner)
    claims = [(found(t), n) for t, n in zip(triangles, label, strict=True)]
    order = [TERRAIN, ROAD, ROOF, WALL]
    for voxel, chosen in zip(map(tuple, index.tolist()), winner, strict=True):
        assert chosen == max((n for cells, n in claims if voxel in cells), key=order.index)


def test_sorted_unique_and_typed():
    rng = np.random.default_rng(0)
    index, label = voxelize(rng.uniform(-9, 9, (30, 3, 3)), np.full(30, WALL), 0.5)
    assert index.dtype == np.int32 and label.dtype == np.uint8 and len(index) == len(label)
    assert_array_equal(index, np.unique(index, axis=0))


def test_a_wall_on_a_lattice_plane_is_one_voxel_thick():
    wall = [[(1.5, 0.2, 0.2), (1.5, 3.8, 0.2), (1.5, 3.8, 3.8)]]
    assert {x for x, _, _ in found(wall, 0.5)} == {3}


def test_a_big_flat_surface_is_covered_without_holes():
    square = np.array([[(0, 0, 5.1), (300, 0, 5.1), (300, 300, 5.1)], [(0, 0, 5.1), (300, 300, 5.1), (0, 300, 5.1)]])
    index, _ = voxelize(square, np.full(2, ROAD), 0.5, (0.0, 0.0, 300.0, 300.0))
    assert len(index) == 600 * 600 and set(index[:, 2]) == {10}


def test_nothing_gives_nothing():
    index, label = voxelize(np.zeros((0, 3, 3)), np.zeros(0, np.uint8), 0.4)
    assert index.shape == (0, 3) and label.shape == (0,)


@pytest.mark.slow
def test_same_voxels_as_open3d_on_a_real_tile(shared_data):
    """open3d's boxes are closed; on real coordinates, none of which lies on the lattice, that makes no difference."""
    o3d = pytest.importorskip("open3d")
    tile = reader.read(shared_data / "plateau/20202_matsumoto/udx/bldg/54372798_bldg_6697_op.gml.gz")
    middle = np.median(tile.triangles_N33.reshape(-1, 3), axis=0)
    near = np.abs(tile.triangles_N33.mean(axis=1) - middle)[:, :2].max(axis=1) < 100
    triangles = tile.triangles_N33[near]
    theirs = closed_voxels(o3d, triangles, 0.5)
    assert len(theirs) > 100_000
    assert found(triangles, 0.5) == theirs


def test_cells_touched_only_at_an_edge_are_the_difference_to_open3d():
    """A slanted side that runs through edges of the lattice: closed boxes beyond touch it there, ours do not."""
    o3d = pytest.importorskip("open3d")
    wall = np.array([[(2.0, 0.25, 0.25), (2.0, 3.75, 0.25), (2.0, 3.75, 3.75)]])  # y = z through (1, 1), (2, 2), (3, 3)
    ours, theirs = found(wall), closed_voxels(o3d, wall, 1.0)
    assert ours < theirs
    assert theirs - ours == {(2, 0, 1), (2, 1, 2), (2, 2, 3)}


def closed_voxels(o3d, triangles: np.ndarray, voxel_m: float) -> set[tuple[int, ...]]:
    """Voxels by open3d, on our lattice (with a voxel to spare around them, which its own bounds would cut)."""
    corner = np.floor(triangles.min((0, 1)) / voxel_m) - 2
    points = o3d.utility.Vector3dVector((triangles - corner * voxel_m).reshape(-1, 3))
    mesh = o3d.geometry.TriangleMesh(points, o3d.utility.Vector3iVector(np.arange(len(points)).reshape(-1, 3)))
    top = triangles.max((0, 1)) - corner * voxel_m + 2 * voxel_m
    grid = o3d.geometry.VoxelGrid.create_from_triangle_mesh_within_bounds(mesh, voxel_m, np.zeros(3), top)
    return {tuple(int(n) for n in voxel.grid_index + corner) for voxel in grid.get_voxels()}
