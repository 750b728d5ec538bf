"""Clips: runs of consecutive poses with the occupancy around each, cut from tile shards on the fly.

Decisions:
- A shard stores the city once; a frame is a turned window of it. So augmentation is free: another pose, another window.
- The static world seen from two poses must agree. Mirroring therefore reflects the whole world about its east axis
  (windows left to right, y and yaw change sign), and a sideways shift moves every pose along its own left.
- Groups are municipalities, drawn in proportion to their kilometres of road: by bytes a few would drown the rest.
- Clips overlap (their starts are `stride` frames apart), so the unit that intervals resample is a stretch of `frames`
  poses of one path: clips that start in the same stretch share it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stepladder.core.types import Box, Sample
from stepladder.data.shards import Shard
from stepladder.studies.plateau.data.citygml.classes import TO_OCC3D
from stepladder.studies.plateau.data.samples import windows
from stepladder.studies.plateau.params import PlateauParams

SHIFT_M = 1.0  # largest sideways shift in training


class Clips:
    """The clips of some shards, as the `Dataset` of the Study interface.

    Args:
        shards: paths of converted tiles.
        params: of the run; the window, the frames and the augmentation are read from it.
        keep_clear: boxes in projected metres; a clip with a window nearer to one than `splits.buffer` is left out.
    """

    groups: np.ndarray
    clusters: np.ndarray
    weights: Mapping[str, float]

    def __init__(self, shards: Sequence[Path], params: PlateauParams, keep_clear: Sequence[Box] = ()):
        self.params = params
        self.shards = [Shard(path) for path in shards]
        frames, reach = params.conversion.frames, _reach(params) + params.splits.buffer
        rows, groups, clusters, kilometres = [], [], [], {}
        for number, shard in enumerate(self.shards):
            pose_P4, path_P = shard.array("pose_P4"), shard.array("path_P")
            group, first_of_path = str(shard.attributes["group"]), np.searchsorted(path_P, path_P)
            kilometres[group] = kilometres.get(group, 0.0) + shard.attributes["road_km"]
            near_P = _near(pose_P4, keep_clear, reach)
            for row in shard.array("clip_C").tolist():
                if not near_P[row : row + frames].any():
                    rows.append((number, row))
                    groups.append(group)
                    clusters.append(f"{shard.path.stem}/{path_P[row]}/{(row - first_of_path[row]) // frames}")
        self.rows = np.array(rows, dtype=np.int64).reshape(-1, 2)
        self.groups, self.clusters = np.array(groups, dtype=str), np.array(clusters, dtype=str)
        present = {group: kilometres[group] for group in dict.fromkeys(groups)}
        self.weights = {group: km / sum(present.values()) for group, km in present.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Clip `index`; mirrored and shifted by chance with `rng` (where `model.augment` says so), plain without.

        Returns:
            occ_TXYZ: uint8 Occ3D classes of each frame's window; x forward, y left, z up.
            pose_T4: float32 x, y, z in metres relative to the first frame (axes east, north, up) and yaw in radians.
            index: `index`.
        """
        number, row = self.rows[index]
        shard, model, conversion = self.shards[number], self.params.model, self.params.conversion
        pose_T4 = np.array(shard.array("pose_P4")[row : row + conversion.frames])
        dice = rng if model.augment else None
        if dice is not None:
            pose_T4 = shifted(pose_T4, dice.uniform(-SHIFT_M, SHIFT_M))
        pose_T4[:, 2] = on_lattice(pose_T4[:, 2], shard.attributes["voxel_m"], model.z_min_m)
        occ_TXYZ = windows.cut(
            shard.array("voxels_XYL"),
            shard.array("base_XY"),
            shard.attributes["origin"],
            pose_T4,
            tuple(model.window),
            shard.attributes["voxel_m"],
            model.z_min_m,
            TO_OCC3D,
        )
        pose_T4[:, :3] -= pose_T4[0, :3]
        if dice is not None and dice.random() < 0.5:
            occ_TXYZ, pose_T4 = mirrored(occ_TXYZ, pose_T4)
        return {"occ_TXYZ": occ_TXYZ, "pose_T4": pose_T4.astype(np.float32), "index": int(index)}


def on_lattice(z_T: np.ndarray, voxel_m: float, z_min_m: float) -> np.ndarray:
    """Heights of the ego moved to where the floor of its window lies on a layer of the grid, at most half a voxel.

    A window is cut in whole layers. Were the pose finer than that, a climb of two centimetres could move a whole window
    by one layer that the pose knows nothing of, and no warp could follow it.
    """
    return np.floor((z_T + z_min_m) / voxel_m + 0.5) * voxel_m - z_min_m


def shifted(pose_T4: np.ndarray, left_m: float) -> np.ndarray:
    """Poses moved `left_m` metres to their own left."""
    left_T2 = np.column_stack((-np.sin(pose_T4[:, 3]), np.cos(pose_T4[:, 3])))
    return np.column_stack((pose_T4[:, :2] + left_m * left_T2, pose_T4[:, 2:]))


def mirrored(occ_TXYZ: np.ndarray, pose_T4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A clip in the world reflected about the east axis: left becomes right in every window."""
    return np.ascontiguousarray(occ_TXYZ[:, :, ::-1]), pose_T4 * np.array([1.0, -1.0, 1.0, -1.0])


def _reach(params: PlateauParams) -> float:
    """Half the diagonal of the window in plan, metres."""
    return 0.5 * float(np.hypot(params.model.window[0], params.model.window[1])) * params.conversion.voxel_m


def _near(pose_P4: np.ndarray, boxes: Sequence[Box], distance: float) -> np.ndarray:
    """Whether each pose lies nearer than `distance` metres to any of `boxes`."""
    near_P = np.zeros(len(pose_P4), dtype=bool)
    for x_min, y_min, x_max, y_max in boxes:
        x, y = pose_P4[:, 0], pose_P4[:, 1]
        away_x, away_y = np.maximum(x_min - x, x - x_max), np.maximum(y_min - y, y - y_max)
        near_P |= np.hypot(np.maximum(away_x, 0), np.maximum(away_y, 0)) < distance
    return near_P
