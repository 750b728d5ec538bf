"""The competition's metrics against cases computed by hand and against independent libraries."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import euler_number
from skimage.metrics import variation_of_information

from stepladder.studies.scroll.evaluation import metrics, topology
from stepladder.studies.scroll.models import postprocess

MASKS = arrays(bool, (6, 5, 7), elements=st.booleans())
EMPTY = np.zeros((12, 10, 10), dtype=bool)


def plate(z, thick=1):
    mask = EMPTY.copy()
    mask[z : z + thick] = True
    return mask


# Faces of a plate one voxel thick lie at z and z + 1, with equal areas. Shifted by 3, only the faces nearest to the
# other plate are within 2 voxels of it: half of both surfaces.
@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.5), (4, 0.0)])
def test_surface_dice_of_shifted_plates(shift, expected):
    assert metrics.surface_dice(plate(3), plate(3 + shift)) == pytest.approx(expected, abs=1e-12)


def test_surface_dice_weighs_by_area():
    """A plate and the same plate with a far second one of twice as many faces away."""
    both = plate(1) | plate(9)
    assert metrics.surface_dice(plate(1), both) == pytest.approx(2 / 3)


def test_tolerance_is_in_voxels_and_inclusive():
    assert metrics.surface_dice(plate(3), plate(4), tolerance=1.0) == 1.0
    assert metrics.surface_dice(plate(3), plate(4), tolerance=0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("truth", "guess", "expected"), [(EMPTY, EMPTY, 1.0), (plate(3), EMPTY, 0.0), (EMPTY, plate(3), 0.0)]
)
def test_empty_masks(truth, guess, expected):
    assert metrics.surface_dice(truth, guess) == metrics.dice(truth, guess) == expected
    assert metrics.voi_score(EMPTY, EMPTY) == topology.euler_score(EMPTY, EMPTY) == 1.0


def test_surface_areas_of_known_neighbourhoods():
    area = metrics.surface_areas()
    triangle, rectangle = math.sqrt(3) / 8, math.sqrt(2) / 2  # one corner cut off; one edge cut off
    assert area[0b00000001] == pytest.approx(triangle) and area[0b00000011] == pytest.approx(rectangle)
    assert area[0b00001111] == pytest.approx(1.0)  # a plane
    assert area[0b00001001] == pytest.approx(2 * triangle)  # two corners that touch along an edge of the voxel grid
    assert np.allclose(area, area[::-1])  # a mask and its complement
    assert (area[1:255] > 0).all() and area[0] == area[255] == 0
    assert area.sum() == pytest.approx(241.3431397)  # of the published table of the definition


def test_surface_area_of_a_cube_is_that_of_its_marching_cubes_mesh():
    cube = np.zeros((8, 8, 8), dtype=bool)
    cube[2:6, 2:6, 2:6] = True
    area = metrics.surface_areas()[metrics.neighbourhoods(cube)].sum()
    assert area == pytest.approx(6 * 9 + 12 * 3 * math.sqrt(2) / 2 + 8 * math.sqrt(3) / 8)


@settings(max_examples=25)
@given(truth=MASKS, guess=MASKS)
def test_surface_dice_is_symmetric_and_blind_to_mirrors_and_margins(truth, guess):
    value = metrics.surface_dice(truth, guess)
    assert 0 <= value <= 1
    assert metrics.surface_dice(guess, truth) == pytest.approx(value)
    assert metrics.surface_dice(truth[::-1], guess[::-1]) == pytest.approx(value)
    assert metrics.surface_dice(np.pad(truth, 3), np.pad(guess, 3)) == pytest.approx(value)


@settings(max_examples=25)
@given(mask=MASKS)
def test_the_truth_scores_exactly_one(mask):
    label = mask.astype(np.uint8)
    assert set(metrics.scores(label, mask).values()) == {1.0}


@settings(max_examples=25)
@given(truth=MASKS, guess=MASKS)
def test_voi_equals_skimage_on_the_union(truth, guess):
    union = truth | guess
    if union.any():
        labels = [topology.components(mask)[union] for mask in (truth, guess)]
        assert metrics.voi(truth, guess) == pytest.approx(tuple(variation_of_information(*labels)), abs=1e-9)


def test_voi_tells_splits_from_merges():
    whole, halves = plate(3), plate(3)
    halves[:, 5] = False
    split, merge = metrics.voi(whole, halves)
    assert split > 0.9 and merge == pytest.approx(0)  # 4/10 and 5/10 of the plate, 1/10 missed; nothing joined
    assert metrics.voi(halves, whole) == pytest.approx((merge, split))
    assert metrics.voi_score(whole, halves) == pytest.approx(1 / (1 + 0.3 * split))


def test_diagonal_voxels_are_one_component():
    mask = np.eye(3, dtype=bool)[None]
    assert topology.components(mask).max() == 1 and topology.components(mask, 6).max() == 3


def test_what_nobody_labelled_does_not_count():
    label, guess = plate(3).astype(np.uint8), plate(3)
    label[6:] = 2
    guess[6:] = True
    assert set(metrics.scores(label, guess).values()) == {1.0}


def ring():
    mask = np.zeros((3, 5, 5), dtype=bool)
    mask[1, 1:4, 1:4] = True
    mask[1, 2, 2] = False
    return mask


def shell():
    mask = np.ones((3, 3, 3), dtype=bool)
    mask[1, 1, 1] = False
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (EMPTY, (0, 0, 0)),
        (plate(3), (1, 0, 0)),
        (plate(1) | plate(5), (2, 0, 0)),
        (ring(), (1, 1, 0)),
        (shell(), (1, 0, 1)),
    ],
)
def test_betti_numbers(mask, expected):
    assert topology.betti(mask) == expected


@settings(max_examples=25)
@given(mask=MASKS)
def test_euler_characteristic_equals_skimage(mask):
    assert topology.euler(mask) == euler_number(mask, connectivity=1)


def test_voxels_that_touch_along_an_edge_alone_do_not_hold_together():
    """As in Betti matching, where voxels are the corners of the complex."""
    stairs = np.zeros((3, 6, 6), dtype=bool)
    stairs[1, np.arange(5), np.arange(5)] = True
    assert topology.betti(stairs) == (5, 0, 0)
    stairs[1, np.arange(5), np.arange(1, 6)] = True
    assert topology.betti(stairs) == (1, 0, 0)


@settings(max_examples=15)
@given(mask=MASKS)
def test_betti_numbers_do_not_depend_on_the_order_of_axes(mask):
    assert topology.betti(mask) == topology.betti(mask.transpose(2, 0, 1)) == topology.betti(mask[:, ::-1])


def test_plugging_is_worth_something_to_the_topology_score():
    """A wall that leaks along edges is many pieces; the winner gained most of his points here."""
    z, y, _ = np.indices((24, 24, 24))
    wall, whole = z == y, postprocess.plug(z == y)
    assert topology.euler_score(whole, wall) < 0.1 and topology.euler_score(whole, whole) == 1.0


def test_octants_cover_the_volume_once():
    count = np.zeros((7, 4, 5), dtype=int)
    for octant in topology.octants(count.shape):
        count[octant] += 1
    assert (count == 1).all() and len(topology.octants(count.shape)) == 8


def test_the_topology_score_counts_features_by_dimension():
    """An octant with a plate against one with a plate that has two holes: tunnels invented, or not found.

    The one component of an octant never dies, so it counts for nothing.
    """
    truth = np.zeros((16, 16, 16), dtype=bool)
    truth[3, 0:8, 0:8] = True
    guess = truth.copy()
    guess[3, 2, 2] = guess[3, 5, 5] = False
    assert topology.euler_score(truth, guess) == pytest.approx(0.5 / 2.5)
    assert topology.euler_score(guess, truth) == 0
    truth[6, 0:8, 0:8] = guess[6, 0:8, 0:8] = True  # a second plate, found
    assert topology.euler_score(truth, guess) == pytest.approx((0.34 * 1 + 0.33 * 0.5 / 2.5) / 0.67)
    assert topology.euler_score(guess, truth) == pytest.approx((0.34 * 1 + 0.33 * 0) / 0.67)


def test_the_stand_in_never_takes_the_name_of_the_real_score(monkeypatch):
    label = plate(3).astype(np.uint8)
    assert topology.name() == "euler_score" and "topo" not in metrics.scores(label, plate(3))
    result = SimpleNamespace(num_matched=[1, 0, 0], num_unmatched_input1=[1, 0, 0], num_unmatched_input2=[0, 1, 0])
    module = SimpleNamespace(__spec__=object(), compute_matching=lambda *masks, **options: result)
    monkeypatch.setitem(sys.modules, "betti_matching", module)
    scores = metrics.scores(label, plate(3))
    assert "euler_score" not in scores
    assert scores["topo"] == pytest.approx((0.34 * 2 / 3 + 0.33 * 0) / 0.67)  # eight octants, all alike
