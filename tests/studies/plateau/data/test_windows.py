"""Windows: plain slices where the ego stands on the lattice, turned where it turns, the same from any shard."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from stepladder.studies.plateau.data.citygml.classes import BY_NAME, EMPTY, FINE, TO_OCC3D
from stepladder.studies.plateau.data.samples.windows import cut
from stepladder.studies.plateau.data.tiles.ground import Ground
from stepladder.studies.plateau.data.tiles.relief import build
from stepladder.studies.plateau.data.tiles.voxelize import voxelize
from stepladder.studies.plateau.params import PlateauConversion

FINE_IDS = np.array([c.id for c in FINE] + [EMPTY] * len(FINE), np.uint8)
SAME = np.arange(256, dtype=np.uint8)
H = 0.5


def grid(seed: int, nx: int = 40, ny: int = 36, nl: int = 10, base: int = 4) -> tuple[np.ndarray, np.ndarray]:
    voxels_XYL = np.random.default_rng(seed).choice(FINE_IDS, (nx, ny, nl))
    return voxels_XYL, np.full((nx, ny), base, np.int16)


def window(voxels_XYL, base_XY, pose, shape=(8, 6, 4), origin=(100, -50), table=SAME, z_min_m=0.0) -> np.ndarray:
    return cut(voxels_XYL, base_XY, origin, np.array([pose], float), shape, H, z_min_m, table)[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(4, 36), st.integers(3, 33), st.integers(4, 10))
def test_an_unturned_window_on_the_lattice_is_a_slice(seed, i, j, k):
    voxels, base = grid(seed)
    seen = window(voxels, base, ((100 + i) * H, (-50 + j) * H, k * H, 0.0))
    assert_array_equal(seen, voxels[i - 4 : i + 4, j - 3 : j + 3, k - 4 : k])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(0, 3), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_quarter_turns_are_rot90(seed, turns, dx, dy):
    """Turning the ego counter-clockwise turns what it sees clockwise."""
    voxels, base = grid(seed)
    x, y = (100 + 20) * H, (-50 + 18) * H
    straight = window(voxels, base, (x, y, 3.0, 0.0), shape=(8, 8, 4))
    turned = window(voxels, base, (x + dx * H, y + dy * H, 3.0, turns * np.pi / 2), shape=(8, 8, 4))
    assert_array_equal(turned, np.rot90(straight, -turns, axes=(0, 1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_voxel_is_the_stored_one_at_its_centre(seed):
    rng = np.random.default_rng(seed)
    voxels, base = grid(seed % 100)
    base += rng.integers(0, 5, base.shape).astype(np.int16)
    x, y, z, yaw = rng.uniform((50, -25, 0, -7), (70, -7, 6, 7))
    seen = window(voxels, base, (x, y, z, yaw), z_min_m=-0.7)
    for i, j, k in np.ndindex(seen.shape):
        ahead, left, up = (i + 0.5 - 4) * H, (j + 0.5 - 3) * H, -0.7 + (k + 0.5) * H
        east = x + np.cos(yaw) * ahead - np.sin(yaw) * left
        north = y + np.sin(yaw) * ahead + np.cos(yaw) * left
        column, row = int(np.floor(east / H)) - 100, int(np.floor(north / H)) + 50
        expected = EMPTY
        if 0 <= column < 40 and 0 <= row < 36:
            layer = int(np.floor((z + up) / H)) - base[column, row]
            expected = voxels[column, row, layer] if 0 <= layer < 10 else EMPTY
        assert seen[i, j, k] == expected


def test_outside_the_grid_is_empty():
    voxels, base = np.full((40, 36, 10), 21, np.uint8), np.full((40, 36), 4, np.int16)
    assert (window(voxels, base, (1e4, -1e4, 3.0, 1.0)) == EMPTY).all()
    assert (window(voxels, base, (60.0, -16.0, 500.0, 0.3)) == EMPTY).all()
    assert (window(voxels, base, (60.0, -16.0, -500.0, 0.3)) == EMPTY).all()
    corner = window(voxels, base, (50.0, -25.0, 3.0, 0.0))  # the ego stands on the grid's first corner
    assert (corner[4:, 3:] == 21).all() and (corner[:4] == EMPTY).all() and (corner[:, :3] == EMPTY).all()
    low = window(voxels, base, (60.0, -16.0, 1.0, 0.0))  # layers start at 2 m
    assert (low[..., :2] == EMPTY).all() and (low[..., 2:] == 21).all()


def test_labels_pass_through_the_table():
    voxels, base = grid(0)
    pose = (60.0, -16.0, 3.0, 0.4)
    assert_array_equal(window(voxels, base, pose, table=TO_OCC3D), TO_OCC3D[window(voxels, base, pose)])


def test_poses_are_independent_and_memory_maps_will_do(tmp_path):
    voxels, base = grid(3)
    stored = np.memmap(tmp_path / "grid", np.uint8, "w+", shape=voxels.shape)
    stored[:] = voxels
    stored.flush()
    mapped = np.memmap(tmp_path / "grid", np.uint8, "r", shape=voxels.shape)
    poses = np.array([(60 + t, -16, 3, 0.1 * t) for t in range(5)], float)
    together = cut(mapped, base, (100, -50), poses, (8, 6, 4), H, 0.0, SAME)
    assert together.dtype == np.uint8 and together.shape == (5, 8, 6, 4)
    for pose, frame in zip(poses, together, strict=True):
        assert_array_equal(frame, window(voxels, base, pose))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_two_overlapping_shards_show_the_same_window(seed):
    rng = np.random.default_rng(seed)
    ground = Ground(rng.uniform(0, 4, (30, 30)), (-30_000, 20_000), 5.0)
    x, y = -149_950.0, 100_060.0
    triangles = rng.uniform((x - 30, y - 30, 0), (x + 60, y + 60, 8), (40, 3, 3))
    label = rng.choice([BY_NAME[name].id for name in ("roof", "wall", "road")], 40).astype(np.uint8)
    params = PlateauConversion(voxel_m=H, height_m=7.0, below_m=1.0)
    boxes = (x - 20, y - 20, x + 30, y + 30), (x - 13.5, y - 12, x + 50, y + 41)
    poses = np.column_stack([rng.uniform(x + 2, x + 14, 20), rng.uniform(y + 2, y + 14, 20), np.full(20, 3.0)])
    poses = np.column_stack([poses, rng.uniform(-4, 4, 20)])
    seen = []
    for box in boxes:
        relief = build(*voxelize(triangles, label, H, box), ground, box, params)
        seen.append(cut(relief.voxels_XYL, relief.base_XY, relief.origin, poses, (20, 20, 8), H, -1.0))
    assert (seen[0] != EMPTY).any()
    assert_array_equal(*seen)
