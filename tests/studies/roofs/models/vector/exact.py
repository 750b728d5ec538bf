"""Maps as a perfect network would give them, by the formulas of the targets, from lines alone."""

import numpy as np

from stepladder.studies.roofs.data.labels import CHANNELS, STRIDE, UNTYPED

REACH = 8.0  # pixels over which closeness falls to 0
SIGMA = 4.0  # pixels of a junction's Gaussian


def maps(lines_LF: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`line_KVU, direction_DVU, junction_VU` of an image of `shape` with lines of columns x0, y0, x1, y1, type."""
    rows, columns = (-(-side // STRIDE) for side in shape)
    v, u = np.mgrid[:rows, :columns]
    cell_CE = np.stack([u.ravel(), v.ravel()], axis=1) * STRIDE + STRIDE / 2
    line_KC = np.zeros((CHANNELS, len(cell_CE)), np.float32)
    direction_DC = np.zeros((2, len(cell_CE)), np.float32)
    junction_C = np.zeros(len(cell_CE), np.float32)
    if len(lines_LF):
        distance_CL = distances(cell_CE, lines_LF)
        close_CL = 1 - np.minimum(distance_CL, REACH) / REACH
        kind_L = lines_LF[:, 4].astype(int)
        for kind in range(UNTYPED):
            line_KC[kind] = close_CL[:, kind_L == kind].max(axis=1, initial=0)
        line_KC[UNTYPED] = close_CL.max(axis=1)
        step_LE = lines_LF[:, 2:4] - lines_LF[:, :2]
        doubled_L = 2 * np.arctan2(step_LE[:, 1], step_LE[:, 0])
        direction_DC[:] = np.stack([np.cos(doubled_L), np.sin(doubled_L)])[:, distance_CL.argmin(axis=1)]
        ends = lines_LF[:, :4].reshape(-1, 2)
        junction_C[:] = np.exp(-(((cell_CE[:, None] - ends) ** 2).sum(-1).min(axis=1)) / (2 * SIGMA**2))
    grid = (rows, columns)
    return line_KC.reshape(-1, *grid), direction_DC.reshape(-1, *grid), junction_C.reshape(grid)


def distances(point_CE: np.ndarray, lines_LF: np.ndarray) -> np.ndarray:
    """Distance of every point to every segment, shape (points, lines)."""
    start, step = lines_LF[:, :2], lines_LF[:, 2:4] - lines_LF[:, :2]
    along = ((point_CE[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-9)
    return np.linalg.norm(start + np.clip(along, 0, 1)[..., None] * step - point_CE[:, None], axis=-1)
