"""From maps to lines: directions along ridges, means of cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepladder.studies.roofs.data import targets
from stepladder.studies.roofs.data.labels import STRIDE, UNTYPED
from stepladder.studies.roofs.evaluation import lines
from stepladder.studies.roofs.models.baselines import ridges


@given(st.floats(0, 180))
def test_direction_runs_along_the_line(degrees):
    along = 80 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    maps = targets.line_maps(np.array([[*(64 - along), *(64 + along), UNTYPED]]), 128)
    on_VU = maps["closeness_KVU"][UNTYPED] > 0.6
    on_VU[[0, 1, -2, -1]] = on_VU[:, [0, 1, -2, -1]] = False
    found_DN = ridges.directions(maps["closeness_KVU"][UNTYPED])[:, on_VU]
    found_DN /= np.linalg.norm(found_DN, axis=0)
    assert (found_DN * maps["direction_DVU"][:, on_VU]).sum(axis=0).mean() > np.cos(np.radians(2 * 6))


def test_line_is_drawn_from_closeness_and_junctions_alone():
    line = np.array([[20, 30, 100, 90, 0.0]])
    maps = targets.line_maps(line, 128)
    found_LF = ridges.extracted(maps["closeness_KVU"], maps["junction_VU"])
    right, predicted, found, true = lines.placement(line, found_LF)
    assert min(right / predicted, found / true) > 0.95
    assert found_LF[0, 4] == 0


@given(arrays(np.float64, (10, 7), elements=st.floats(0, 1)))
def test_cells_are_means_and_those_at_the_border_are_filled(map_YX):
    cell_VU = ridges.to_cells(map_YX)
    assert cell_VU.shape == (3, 2)
    assert cell_VU[1, 0] == pytest.approx(map_YX[4:8, :STRIDE].mean())
    assert ridges.to_cells(np.ones((5, 6, 2))) == pytest.approx(np.ones((2, 2, 2)))
