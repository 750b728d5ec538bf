"""Moving labelled windows between ego frames: what a static city looks like from another pose.

Decisions:
- Labels are gathered, never blended: each target voxel takes the label of the source voxel that holds its centre.
- The ego turns in the plane only, so a window's columns stay columns: one gather of columns by (x, y) and one of
  heights by z. The lower face of the window cancels, so it is no argument.
- A pose is (x, y, z, yaw): metres in world axes and radians counter-clockwise from east; all poses of a batch item
  share one origin. Voxel (i, j, k) has its centre at ((i + 0.5 - nx/2) h, (j + 0.5 - ny/2) h) ahead and to the left.
- A voxel is *known* where its centre lies inside a source window; everything else is EMPTY and not known.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stepladder.studies.plateau.data.citygml.classes import EMPTY


def relative(pose_from_N4: Tensor, pose_to_N4: Tensor) -> Tensor:
    """Pose `to` as seen from pose `from`: (..., 4) of metres ahead, to the left and up, and radians to the left."""
    delta_N4 = pose_to_N4 - pose_from_N4
    x_N, y_N, z_N, turn_N = delta_N4.unbind(-1)
    cos_N, sin_N = pose_from_N4[..., 3].cos(), pose_from_N4[..., 3].sin()
    return torch.stack([cos_N * x_N + sin_N * y_N, cos_N * y_N - sin_N * x_N, z_N, turn_N], dim=-1)


def compose(pose_N4: Tensor, step_N4: Tensor) -> Tensor:
    """The pose reached from `pose` by `step`; inverse of `relative`: `compose(a, relative(a, b)) == b`."""
    x_N, y_N, z_N, turn_N = step_N4.unbind(-1)
    cos_N, sin_N = pose_N4[..., 3].cos(), pose_N4[..., 3].sin()
    return pose_N4 + torch.stack([cos_N * x_N - sin_N * y_N, sin_N * x_N + cos_N * y_N, z_N, turn_N], dim=-1)


def warp(occ_BXYZ: Tensor, pose_from_B4: Tensor, pose_to_B4: Tensor, voxel_m: float) -> tuple[Tensor, Tensor]:
    """Labels seen from one ego frame, as they lie in another.

    Args:
        occ_BXYZ: uint8 labels in the frame of `pose_from_B4`.
        pose_from_B4, pose_to_B4: poses in metres and radians, in common world axes.
        voxel_m: edge of a voxel in metres.

    Returns:
        `occ_BXYZ` uint8 in the frame of `pose_to_B4`, EMPTY where unknown, and `known_BXYZ` bool.
    """
    view = _look_up(pose_from_B4, pose_to_B4, tuple(occ_BXYZ.shape[1:]), voxel_m)
    return _gather(occ_BXYZ, view).masked_fill(~view.known_BXYZ, EMPTY), view.known_BXYZ


def fuse(occ_BTXYZ: Tensor, pose_BT4: Tensor, pose_to_B4: Tensor, voxel_m: float) -> tuple[Tensor, Tensor]:
    """Several frames of a static world seen from one pose; what any frame knows is known.

    The frame that has a voxel centre nearest to the target's decides (the newest among equals): frames sample the same
    surfaces at different places, so choosing the nearest sample undoes much of the loss of a single nearest-voxel warp.

    Args and returns as in `warp`, with a time axis T (oldest first) in the sources.
    """
    fused_BXYZ = torch.full_like(occ_BTXYZ[:, 0], EMPTY)
    nearest_BXYZ = torch.full(fused_BXYZ.shape, torch.inf, device=fused_BXYZ.device)
    for frame in reversed(range(occ_BTXYZ.shape[1])):
        # Newest first; an older frame must be nearer by more than rounding.
        view = _look_up(pose_BT4[:, frame], pose_to_B4, tuple(fused_BXYZ.shape[1:]), voxel_m)
        better_BXYZ = view.known_BXYZ & (view.miss_BXYZ < nearest_BXYZ - 1e-5)
        fused_BXYZ = torch.where(better_BXYZ, _gather(occ_BTXYZ[:, frame], view), fused_BXYZ)
        nearest_BXYZ = torch.where(better_BXYZ, view.miss_BXYZ, nearest_BXYZ)
    return fused_BXYZ, nearest_BXYZ.isfinite()


def seen(pose_BT4: Tensor, pose_to_B4: Tensor, shape: tuple[int, ...], voxel_m: float) -> Tensor:
    """Which voxels of the window at `pose_to` lie in any of the windows at `pose_BT4`: (B, X, Y, Z) bool."""
    masks = [_look_up(pose_B4, pose_to_B4, shape, voxel_m).known_BXYZ for pose_B4 in pose_BT4.unbind(1)]
    return torch.stack(masks).any(0)


def carry_on(pose_BT4: Tensor, frames: int) -> Tensor:
    """Poses (B, frames, 4) of an ego that repeats its last step: its speed, climb and turn rate stay as they are."""
    last_B4 = pose_BT4[:, -1]
    step_B4 = relative(pose_BT4[:, -2], last_B4) if pose_BT4.shape[1] > 1 else torch.zeros_like(last_B4)
    poses = []
    for _ in range(frames):
        last_B4 = compose(last_B4, step_B4)
        poses.append(last_B4)
    return torch.stack(poses, dim=1)


@dataclass(frozen=True)
class _View:
    """Where each target voxel comes from; numbers are clamped into the window where nothing is known."""

    column_BXY: Tensor  # x * ny + y of the source voxel
    height_BZ: Tensor
    known_BXYZ: Tensor  # whether the source voxel exists
    miss_BXYZ: Tensor  # squared distance in voxels between the target's centre and the source voxel's


def _look_up(pose_from_B4: Tensor, pose_to_B4: Tensor, shape: tuple[int, ...], voxel_m: float) -> _View:
    """Computed in float64, so that a shift by whole voxels is exact."""
    nx, ny, nz = shape
    step_B4 = relative(pose_from_B4.double(), pose_to_B4.double())
    ahead_B11, left_B11, up_B11, turn_B11 = (part_B[:, None, None] for part_B in step_B4.unbind(1))
    x_X, y_Y, z_Z = (torch.arange(n, device=step_B4.device, dtype=torch.float64) + 0.5 for n in shape)
    # Target centres about the ego in the middle of the window, turned and shifted into the source's window.
    x_X1, y_1Y = (x_X - nx / 2)[:, None], (y_Y - ny / 2)[None]
    x_BXY = turn_B11.cos() * x_X1 - turn_B11.sin() * y_1Y + ahead_B11 / voxel_m + nx / 2
    y_BXY = turn_B11.sin() * x_X1 + turn_B11.cos() * y_1Y + left_B11 / voxel_m + ny / 2
    z_BZ = z_Z + up_B11[:, 0] / voxel_m
    # Turns are about the vertical, so columns and heights are looked up apart.
    flat_BXY = (x_BXY >= 0) & (x_BXY < nx) & (y_BXY >= 0) & (y_BXY < ny)
    tall_BZ = (z_BZ >= 0) & (z_BZ < nz)
    column_BXY = x_BXY.floor().long().clamp(0, nx - 1) * ny + y_BXY.floor().long().clamp(0, ny - 1)
    miss_BXY = (x_BXY.frac() - 0.5).square() + (y_BXY.frac() - 0.5).square()
    miss_BXYZ = miss_BXY.float()[..., None] + (z_BZ.frac() - 0.5).square().float()[:, None, None]
    known_BXYZ = flat_BXY[..., None] & tall_BZ[:, None, None]
    return _View(column_BXY, z_BZ.floor().long().clamp(0, nz - 1), known_BXYZ, miss_BXYZ)


def _gather(occ_BXYZ: Tensor, view: _View) -> Tensor:
    """The label of each target voxel's source, known or not."""
    batch, nx, ny, nz = occ_BXYZ.shape
    # Whole columns first, then heights within them: two small index maps in place of one for every voxel.
    row_BXY = view.column_BXY + torch.arange(batch, device=occ_BXYZ.device)[:, None, None] * (nx * ny)
    columns_BPZ = occ_BXYZ.reshape(-1, nz).index_select(0, row_BXY.flatten()).view(batch, nx * ny, nz)
    return columns_BPZ.gather(2, view.height_BZ[:, None].expand(-1, nx * ny, -1)).view_as(occ_BXYZ)
