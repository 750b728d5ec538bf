"""Each step of the post-processing repairs what it is for and leaves the rest alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepladder.studies.scroll.evaluation import metrics, topology
from stepladder.studies.scroll.models import postprocess
from stepladder.studies.scroll.params import PostParams

MASKS = arrays(bool, (6, 6, 6), elements=st.booleans())
OFF = PostParams(smallest=0, plug=False, patch=False, closing=0.0, fill=0)


def plate(shape=(9, 12, 12), z=4, thick=2):
    mask = np.zeros(shape, dtype=bool)
    mask[z : z + thick] = True
    return mask


def test_small_components_go_and_large_ones_stay():
    mask = plate()
    mask[0, 0, :3] = True
    assert np.array_equal(postprocess.drop_small(mask, 4), plate())
    assert np.array_equal(postprocess.drop_small(mask, 3), mask)
    assert not postprocess.drop_small(np.zeros_like(mask), 4).any()


def test_plugging_closes_what_leaks_diagonally_with_the_fewest_voxels():
    mask = np.zeros((3, 4, 4), dtype=bool)
    mask[1, [0, 1, 2, 3], [0, 1, 2, 3]] = True  # a diagonal wall
    plugged = postprocess.plug(mask)
    assert (plugged & mask == mask).all() and plugged.sum() == 4 + 3
    assert topology.components(plugged, 6).max() == 1


@settings(max_examples=25)
@given(mask=MASKS)
def test_plugging_only_adds_and_leaves_nothing_to_plug(mask):
    plugged = postprocess.plug(mask)
    assert (plugged | mask == plugged).all() and np.array_equal(postprocess.plug(plugged), plugged)
    assert topology.components(plugged, 6).max(initial=0) == topology.components(plugged, 26).max(initial=0)


def test_the_table_of_plugs_adds_least():
    table = postprocess.plugs()
    assert table[0b11110000] == table[0b00000001] == table[0] == table[255] == 0  # connected already
    assert bin(table[0b10000001]).count("1") == 2  # opposite corners need two voxels between them
    assert all(int(add) & code == 0 for code, add in enumerate(table))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_large_hole_of_a_slanted_sheet_is_patched_in_its_slope(axis):
    height = np.arange(20) // 3 + 2
    whole = np.zeros((12, 20, 20), dtype=bool)
    for x, z in enumerate(height):
        whole[z : z + 2, :, x] = True
    torn = whole.copy()
    torn[:, 6:13, 7:14] = False
    whole, torn = (np.moveaxis(mask, 0, axis) for mask in (whole, torn))
    patched = postprocess.patch(torn)
    assert topology.betti(torn)[1] == 1 and topology.betti(patched) == (1, 0, 0)
    assert metrics.dice(whole, patched) > 0.97 and (patched & torn == torn).all()


def test_a_sheet_without_holes_is_not_patched():
    folded = plate() | plate(z=0)
    folded[:, :, 0] = True
    assert np.array_equal(postprocess.patch(folded), folded)


def test_closing_mends_a_slit_but_joins_no_sheets():
    slit = plate()
    slit[:, 5, 2:10] = False
    assert np.array_equal(postprocess.close(slit, 2.5), plate())
    two = plate(z=2) | plate(z=6)
    assert np.array_equal(postprocess.close(two, 2.5), two)


def rolled():
    """A sheet folded like a U, with a second one in its fold that touches nothing."""
    outer = np.zeros((9, 12, 14), dtype=bool)
    outer[1], outer[7], outer[1:8, :, 0] = True, True, True
    inner = np.zeros_like(outer)
    inner[4, 2:10, 4:12] = True
    return outer, inner


def test_closing_joins_no_sheets_where_one_is_rolled_round_the_other():
    outer, inner = rolled()
    closed = postprocess.close(outer | inner, 3.5)
    assert topology.components(closed).max() == 2 and (closed & (outer | inner) == (outer | inner)).all()
    assert topology.components(postprocess.close(outer, 3.5)).max() == 1
    assert (postprocess.close(outer, 3.5) & inner).any(), "alone it would have closed over the other one's place"


def test_patching_joins_no_sheets():
    torn = plate((9, 16, 16), thick=1)
    torn[:, 3:13, 3:13] = False
    plug = np.zeros_like(torn)
    plug[4, 7:9, 7:9] = True  # a sheet of its own in the hole
    patched = postprocess.patch(torn | plug)
    assert topology.components(patched).max() == 2
    assert np.array_equal(postprocess.patch(torn), plate((9, 16, 16), thick=1))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), radius=st.sampled_from([1.0, 1.5, 2.0]))
def test_growing_steps_add_only_and_join_nothing(seed, radius):
    mask = np.random.default_rng(seed).random((8, 9, 10)) < 0.08
    count = topology.components(mask).max()
    for grown in (postprocess.close(mask, radius), postprocess.patch(mask)):
        assert (grown & mask == mask).all() and topology.components(grown).max() == count


def test_closing_treats_the_border_like_the_inside():
    assert np.array_equal(postprocess.close(plate(), 3.0), plate())


def test_small_cavities_are_filled_and_large_ones_are_not():
    mask = np.ones((9, 9, 16), dtype=bool)
    mask[3, 3, 3] = mask[3, 3, 4] = False
    mask[3:6, 3:6, 9:12] = False
    mask[0, 0, 0] = False  # reaches the border: no cavity
    filled = postprocess.fill(mask, 2)
    assert filled[3, 3, 3] and filled[3, 3, 4] and not filled[4, 4, 10] and not filled[0, 0, 0]
    assert postprocess.fill(mask, 27)[4, 4, 10]


@settings(max_examples=10)
@given(seed=st.integers(0, 100))
def test_the_chain_is_its_steps_and_empty_stays_empty(seed):
    probability = np.random.default_rng(seed).random((8, 8, 8))
    params = PostParams(smallest=5, closing=1.0, fill=5)
    names, masks = zip(*postprocess.steps(probability, params), strict=True)
    assert names[0] == "threshold" and len(names) == 6
    assert np.array_equal(masks[-1], postprocess.chain(probability, params))
    assert not postprocess.chain(np.zeros((4, 5, 6)), params).any()


def test_everything_off_is_the_threshold():
    probability = np.linspace(0, 1, 27).reshape(3, 3, 3)
    assert np.array_equal(postprocess.chain(probability, OFF), probability >= 0.5)


def test_the_ablation_adds_one_step_at_a_time():
    label = plate().astype(np.uint8)
    probability = np.where(plate(), 0.9, 0.1)
    probability[:, 5, 5] = 0.1  # a hole
    probability[0, 0, 0] = 0.9  # a speck
    table = postprocess.ablation(probability, label, PostParams(smallest=5, closing=2.0))
    assert list(table["step"][:2]) == ["threshold", "drop small components"]
    assert table["SurfaceDice@2"].is_monotonic_increasing and table["SurfaceDice@2"].iloc[-1] == 1.0
    assert table["Dice"].iloc[-1] == 1.0 > table["Dice"].iloc[0]
    assert list(table["voxels"])[:2] == [287, 286]
