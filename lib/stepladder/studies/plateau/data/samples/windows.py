"""Windows: what surrounds the ego, cut from a stored grid at any position and heading.

Decisions:
- A window is computed when it is asked for; storing cities instead of frames saves a factor of hundreds on disk.
- Every voxel of the window takes the stored voxel its centre falls in (floor). Labels are not interpolated.
- The ego turns about the vertical axis only, so a column of the window lies in one stored column: one look-up in the
  grid, then a run of bytes along z.
- Outside the stored columns or layers nothing is known, and the window says `EMPTY`.
"""

import numpy as np
from numba import njit

from stepladder.studies.plateau.data.citygml.classes import EMPTY, TO_OCC3D


def cut(
    voxels_XYL: np.ndarray,
    base_XY: np.ndarray,
    origin_2: tuple[int, int] | np.ndarray,
    pose_T4: np.ndarray,
    shape: tuple[int, ...],
    voxel_m: float,
    z_min_m: float,
    table_256: np.ndarray = TO_OCC3D,
) -> np.ndarray:
    """Windows around the ego at T poses.

    Args:
        voxels_XYL: uint8 stored labels, layers along the last axis (may be memory-mapped).
        base_XY: int16 absolute z index of layer 0 of every column.
        origin_2: absolute voxel index of column [0, 0].
        pose_T4: x, y, z (metres; z on the ground) and yaw (radians, counter-clockwise from east) of the ego; finite.
        shape: voxels of a window ahead/behind, left/right, up.
        voxel_m: edge of a voxel, of the window as of the grid.
        z_min_m: lower face of the window relative to the ego.
        table_256: label of the window for every stored label.

    Returns:
        occ_TXYZ: uint8; voxel (i, j, k) is centred at ((i + 0.5 - nx / 2) h, (j + 0.5 - ny / 2) h,
            z_min_m + (k + 0.5) h) in the ego's frame (x forward, y left, z up).
    """
    pose_T4 = np.ascontiguousarray(pose_T4, dtype=np.float64)
    occ_TXYZ = np.full((len(pose_T4), *shape), EMPTY, dtype=np.uint8)
    grid = np.asarray(voxels_XYL), np.asarray(base_XY), int(origin_2[0]), int(origin_2[1])
    _cut(occ_TXYZ, *grid, pose_T4, float(voxel_m), float(z_min_m), table_256)
    return occ_TXYZ


@njit(cache=True)
def _cut(occ_TXYZ, voxels_XYL, base_XY, x0, y0, pose_T4, voxel_m, z_min_m, table_256):
    """Fill `occ_TXYZ`, which is empty."""
    frames, nx, ny, nz = occ_TXYZ.shape
    for t in range(frames):
        x, y = pose_T4[t, 0] / voxel_m, pose_T4[t, 1] / voxel_m
        bottom = int(np.floor((pose_T4[t, 2] + z_min_m) / voxel_m + 0.5))
        cosine, sine = np.cos(pose_T4[t, 3]), np.sin(pose_T4[t, 3])
        for i in range(nx):
            ahead = i + 0.5 - nx / 2
            for j in range(ny):
                left = j + 0.5 - ny / 2
                column = int(np.floor(x + cosine * ahead - sine * left)) - x0
                row = int(np.floor(y + sine * ahead + cosine * left)) - y0
                if 0 <= column < voxels_XYL.shape[0] and 0 <= row < voxels_XYL.shape[1]:
                    offset = bottom - base_XY[column, row]  # layer of the window's lowest voxel
                    first, beyond = max(0, -offset), min(nz, voxels_XYL.shape[2] - offset)
                    if first < beyond:
                        stored = voxels_XYL[column, row, first + offset : beyond + offset]
                        seen = occ_TXYZ[t, i, j, first:beyond]
                        for k in range(len(stored)):
                            seen[k] = table_256[stored[k]]
