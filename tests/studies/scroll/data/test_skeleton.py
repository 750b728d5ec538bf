"""The medial surface lies inside the sheets, is thin, and leaves no sheet out."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from stepladder.studies.scroll.data.skeleton import medial_surface

MASKS = arrays.arrays(
    bool, arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12), elements=st.booleans()
)


@settings(max_examples=60)
@given(MASKS)
def test_inside_the_label_and_in_every_component(sheet_ZYX):
    medial_ZYX = medial_surface(sheet_ZYX)
    assert not (medial_ZYX & ~sheet_ZYX).any()
    component_ZYX, count = ndimage.label(sheet_ZYX, np.ones((3, 3, 3)))
    assert set(np.unique(component_ZYX[medial_ZYX])) == set(range(1, count + 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thickness", [1, 2, 3, 4, 5])
def test_a_plate_becomes_its_middle_layer(axis, thickness):
    sheet = np.zeros((20, 20, 20), bool)
    sheet.swapaxes(0, axis)[7 : 7 + thickness] = True
    layers = np.flatnonzero(medial_surface(sheet).swapaxes(0, axis).any(axis=(1, 2)))
    assert layers.tolist() == [7 + (thickness - 1) // 2]
    assert medial_surface(sheet).sum() == 400, "without holes"


def test_a_curved_sheet_is_thinned_everywhere_and_not_torn():
    z, y, x = np.indices((40, 40, 40)) - 19.5
    shell = np.abs(np.sqrt(z**2 + y**2 + x**2) - 14) < 2
    medial = medial_surface(shell)
    assert 0.2 < medial.sum() / shell.sum() < 0.4, "four voxels thick: about a quarter is left"
    assert ndimage.distance_transform_edt(~medial)[shell].max() <= 3.5
    component, _ = ndimage.label(medial, np.ones((3, 3, 3)))
    assert np.bincount(component[medial]).max() > 0.98 * medial.sum()
