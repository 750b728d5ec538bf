"""Darcy flow `-div(a grad u) = beta` on the unit square with u = 0 on its border.

Decisions:
- PDEBench runs a pseudo-time to the steady state; here the steady equations are solved directly: cell-centred finite
  volumes with harmonic means at faces (the exact flux of a piecewise constant coefficient), one sparse LU per field.
- `solve_elements` is linear finite elements on triangles, assembled apart; tests hold the two together.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve


def solve(a_NYX: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Steady solutions at cell centres, float64 (N, Y, X), for coefficients `a_NYX` > 0 of square cells."""
    return np.stack([_volumes(a_YX.astype(np.float64), beta) for a_YX in a_NYX])


def _volumes(a_YX: np.ndarray, beta: float) -> np.ndarray:
    points = len(a_YX)
    cell_YX = np.arange(points**2).reshape(points, points)
    # Every inner face once, as the two cells it parts.
    faces = [(cell_YX[:-1], cell_YX[1:]), (cell_YX[:, :-1], cell_YX[:, 1:])]
    one, two = (np.concatenate([pair[side].ravel() for pair in faces]) for side in (0, 1))
    a = a_YX.ravel()
    # Flux through a face per difference of u; the cells' size cancels in two dimensions.
    through = sparse.coo_matrix((2 * a[one] * a[two] / (a[one] + a[two]), (one, two)), shape=(points**2,) * 2)
    through = through + through.T
    wall = np.zeros_like(a_YX)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        wall[edge] += 2 * a_YX[edge]  # the border is half a cell away
    # What leaves a cell through its faces and walls equals what beta makes in it.
    matrix = sparse.diags(through.sum(axis=1).A1 + wall.ravel()) - through
    return spsolve(matrix.tocsc(), np.full(points**2, beta / points**2)).reshape(points, points)


def solve_elements(a_YX: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """The same for one field with linear elements, two triangles to each cell: values at the corners (Y + 1, X + 1)."""
    points = len(a_YX)
    corner = np.arange((points + 1) ** 2).reshape(points + 1, points + 1)
    here, right, up, across = (c.ravel() for c in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]))
    triangle_M3 = np.concatenate([np.stack([right, across, here], 1), np.stack([up, here, across], 1)])
    # right-angled triangles, the right angle first: the stiffness does not depend on their size
    local_33 = np.array([[2.0, -1, -1], [-1, 1, 0], [-1, 0, 1]]) / 2
    # Every triangle's stiffness, scaled by its cell; entries that meet at a corner are summed by the sparse matrix.
    values_M33 = np.tile(a_YX.ravel(), 2)[:, None, None] * local_33
    row, column = (
        np.broadcast_to(index, values_M33.shape) for index in (triangle_M3[:, :, None], triangle_M3[:, None])
    )
    stiff = sparse.coo_matrix((values_M33.ravel(), (row.ravel(), column.ravel()))).tocsc()
    inner = corner[1:-1, 1:-1].ravel()
    # A third of each triangle's source goes to each of its corners.
    load = np.bincount(triangle_M3.ravel(), minlength=corner.size) * beta / (6 * points**2)
    u = np.zeros(corner.size)
    u[inner] = spsolve(stiff[inner][:, inner], load[inner])
    return u.reshape(corner.shape)
