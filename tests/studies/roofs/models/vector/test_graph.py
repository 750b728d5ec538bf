"""Lines and an outline as a planar graph: ends meet, crossings vanish, loose ends reach the next line."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stepladder.studies.roofs.models.vector import graph

OUTLINE = shapely.box(10, 10, 90, 50)


def lines(*ends: tuple[float, ...]) -> np.ndarray:
    """Untyped lines with scores as given last."""
    return np.array([(*end[:4], 6, *end[4:]) for end in ends], float)


def areas(lines_LF: np.ndarray) -> list[float]:
    edges, _ = graph.divided(OUTLINE, lines_LF)
    return sorted(cell.area for cell in graph.cells(edges, OUTLINE))


def test_an_end_near_a_corner_goes_into_it():
    assert areas(lines((13, 12, 88, 46, 0.9))) == pytest.approx([1600, 1600])


def test_an_end_near_the_border_goes_onto_it():
    assert areas(lines((50, 13, 50, 47, 0.9))) == pytest.approx([1600, 1600])


def test_a_loose_end_runs_on_to_what_it_meets_first():
    assert areas(lines((10, 30, 90, 30, 0.9), (50, 10, 50, 20, 0.9))) == pytest.approx([800, 800, 1600])


def test_an_end_in_the_middle_of_nowhere_bounds_no_face():
    assert areas(lines((45, 30, 55, 30, 0.9))) == pytest.approx([3200])


def test_of_two_that_cross_the_better_stays():
    assert areas(lines((10, 30, 90, 30, 0.9), (30, 10, 70, 50, 0.5))) == pytest.approx([1600, 1600])


def test_a_line_along_the_border_is_none_of_the_inside():
    _, inner = graph.divided(OUTLINE, lines((12, 12, 88, 13, 0.9), (50, 10, 50, 50, 0.9)))
    assert inner.tolist() == [False, True]


@settings(max_examples=60)
@given(arrays.arrays(float, st.tuples(st.integers(0, 12), st.just(4)), elements=st.floats(0, 100)))
def test_whatever_the_lines_the_cells_fill_the_outline(ends: np.ndarray):
    lines_LF = np.column_stack([ends, np.full(len(ends), 6), np.linspace(1, 0.5, len(ends))])
    edges, _ = graph.divided(OUTLINE, lines_LF)
    cells = graph.cells(edges, OUTLINE)
    assert all(cell.is_valid for cell in cells)
    assert sum(cell.area for cell in cells) == pytest.approx(OUTLINE.area, rel=1e-3)
    assert shapely.union_all(cells).area == pytest.approx(OUTLINE.area, rel=1e-3)
