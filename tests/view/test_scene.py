import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.view import scene
from tests.view.conftest import PALETTE


def test_one_voxel_has_six_faces_and_two_touching_ones_ten():
    occ = np.zeros((3, 3, 3), np.uint8)
    occ[1, 1, 1] = 1
    assert len(scene.voxels(occ, PALETTE, 1.0, (0, 0, 0), 0).faces_M3) == 12
    occ[1, 1, 2] = 1
    assert len(scene.voxels(occ, PALETTE, 1.0, (0, 0, 0), 0).faces_M3) == 20


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**30))
def test_the_surface_of_voxels_is_closed_and_encloses_their_volume(seed):
    occ = (np.random.default_rng(seed).random((4, 4, 4)) < 0.4).astype(np.uint8)
    mesh = scene.voxels(occ, PALETTE, 1.0, (0, 0, 0), 0)
    a, b, c = (mesh.points_N3[mesh.faces_M3[:, i]] for i in range(3))
    assert np.isclose(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6, occ.sum())  # divergence theorem
