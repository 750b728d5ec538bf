"""How far mesh points are from their borders: a square with a hole, by hand."""

import numpy as np

from stepladder.studies.pde.data.conversion import border_distances, border_rings


def square(holes: bool) -> tuple[np.ndarray, np.ndarray]:
    """A 6 x 6 grid of points of a unit square as triangles; the middle cell may be missing."""
    y, x = np.mgrid[:6, :6]
    points = np.stack([x.ravel(), y.ravel()], axis=1) / 5.0
    corners = [(r, c) for r in range(5) for c in range(5) if not (holes and (r, c) == (2, 2))]
    at = [r * 6 + c for r, c in corners]
    cells = np.array([cell for n in at for cell in ((n, n + 1, n + 6), (n + 1, n + 7, n + 6))])
    return points, cells


def test_the_outer_border_and_the_hole_are_told_apart() -> None:
    points, cells = square(holes=True)
    outer, hole = border_rings(points, cells)
    assert len(outer) == 20 and sorted(hole) == [14, 15, 20, 21]
    far_P2 = border_distances(points, cells)
    assert (far_P2[outer, 0] == 0).all() and (far_P2[hole, 1] == 0).all()
    assert np.isclose(far_P2[14, 0], 0.4) and np.isclose(far_P2[13, 1], 0.2) and np.isclose(far_P2[0, 1], 0.4 * 2**0.5)


def test_without_a_hole_nothing_is_near_one() -> None:
    points, cells = square(holes=False)
    assert len(border_rings(points, cells)[1]) == 0
    assert (border_distances(points, cells)[:, 1] == 1).all()
