"""How forecasts of a static city are scored, and the baselines they stand beside.

Decisions:
- IoU asks "occupied or not", mIoU asks "which class". A class without ground truth is left out; the OccWorld
  reference scores it 1, which puts an untrained model above 50 % on a city where most of the 17 classes never occur.
- Everything is also scored on *newly revealed* voxels only: those outside every past window, given the true poses.
  The warp of the past knows nothing there, so there a learned model shows what it is worth.
- Numerators and denominators are summed over all clips before they are divided (as in the reference), and one
  `bincount` over (clip, horizon, revealed, truth, guess) yields every figure.

Shape legend: B batch, T frames, F future frames, H horizons, R known or newly revealed, C classes (truth, guess).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stepladder.core.types import Baseline, Batch, Prediction, Record
from stepladder.studies.plateau.data.citygml.classes import EMPTY, OCC3D
from stepladder.studies.plateau.models.motion import carry_on, fuse, seen, warp
from stepladder.studies.plateau.params import PlateauParams

HORIZONS_S = (1, 2, 3)
CLASSES = len(OCC3D)


def horizons(params: PlateauParams) -> dict[str, int]:
    """Horizon name -> number of its future frame from 0: {"1s": 1, "2s": 3, "3s": 5} at 2 Hz; those that exist.

    A forecast too short for 1 s is scored at its last frame.
    """
    frames = {f"{s}s": round(s / params.conversion.frame_s) - 1 for s in HORIZONS_S}
    last = params.model.future - 1
    return {name: f for name, f in frames.items() if f <= last} or {
        f"{(last + 1) * params.conversion.frame_s:g}s": last
    }


def baselines(params: PlateauParams) -> dict[str, Baseline]:
    """Baselines by name, trivial ones first, the strong cheap one last.

    all_empty: nothing anywhere. copy_last: the present window, as if the ego stood still.
    ego_warp_constant_velocity: the present window seen from the pose reached by repeating the last step.
    ego_warp: the present window seen from the true future pose.
    fused_warp: all past windows seen from the true future pose; what an untrained warp_fill answers.
    """
    past, future, voxel_m = params.model.past, params.model.future, params.conversion.voxel_m

    def all_empty(batch: Batch) -> Prediction:
        return {"occ_BFXYZ": torch.full_like(batch["occ_TXYZ"][:, past : past + future], EMPTY)}

    def copy_last(batch: Batch) -> Prediction:
        return {"occ_BFXYZ": batch["occ_TXYZ"][:, past - 1 : past].expand(-1, future, -1, -1, -1)}

    def ego_warp_constant_velocity(batch: Batch) -> Prediction:
        return _warped(batch, carry_on(batch["pose_T4"][:, :past].double(), future), past, voxel_m)

    def ego_warp(batch: Batch) -> Prediction:
        return _warped(batch, batch["pose_T4"][:, past : past + future], past, voxel_m)

    def fused_warp(batch: Batch) -> Prediction:
        occ_BTXYZ, pose_BT4 = batch["occ_TXYZ"][:, :past], batch["pose_T4"]
        to_BF4 = pose_BT4[:, past : past + future]
        frames = [fuse(occ_BTXYZ, pose_BT4[:, :past], to_B4, voxel_m)[0] for to_B4 in to_BF4.unbind(1)]
        return {"occ_BFXYZ": torch.stack(frames, dim=1)}

    methods = (all_empty, copy_last, ego_warp_constant_velocity, ego_warp, fused_warp)
    return {method.__name__: method for method in methods}


def score(batch: Batch, prediction: Prediction, params: PlateauParams) -> list[Record]:
    """Records of every clip of the batch, at every horizon, on all voxels and on newly revealed ones.

    Metrics: "IoU@1s", "mIoU@1s", "IoU new@1s", "mIoU new@1s" and so on for each horizon, and "IoU", "mIoU", "IoU new",
    "mIoU new": the mean over horizons (of mIoU: over all pairs of horizon and class present).
    """
    table = horizons(params)
    counts_BHRCC = confusion(batch, prediction, params)
    records = []
    for suffix, counts_BHCC in (("", counts_BHRCC.sum(2)), (" new", counts_BHRCC[:, :, 1])):
        for h, horizon in enumerate(table):
            # The same counts serve twice: alone at their horizon, and as a part of the mean over horizons.
            occupied = _occupied(counts_BHCC[:, h])
            for metric, part in ((f"IoU{suffix}@{horizon}", ""), (f"IoU{suffix}", horizon)):
                records += _records(metric, [part], occupied)
            classes = _per_class(counts_BHCC[:, h])
            records += _records(f"mIoU{suffix}@{horizon}", list(OCC3D[:EMPTY]), classes)
            records += _records(f"mIoU{suffix}", [f"{name}@{horizon}" for name in OCC3D[:EMPTY]], classes)
    return records


def confusion(batch: Batch, prediction: Prediction, params: PlateauParams) -> np.ndarray:
    """Voxel counts int64 (B, H, R, C, C): per clip, horizon, known (0) or newly revealed (1), truth and guess."""
    past, frames = params.model.past, list(horizons(params).values())
    truth_BHXYZ = batch["occ_TXYZ"][:, [past + f for f in frames]]
    guess_BHXYZ = prediction["occ_BFXYZ"][:, frames].to(truth_BHXYZ.device)
    new_BHXYZ = newly_revealed(batch, params)[:, frames]
    batch_size, count = truth_BHXYZ.shape[:2]
    # One number per voxel (clip, horizon, known or new, truth, guess), counted in one pass.
    place_BH = torch.arange(batch_size * count, device=truth_BHXYZ.device).view(batch_size, count, 1, 1, 1)
    cell = (place_BH * 2 + new_BHXYZ) * CLASSES**2 + truth_BHXYZ.int() * CLASSES + guess_BHXYZ.int()
    counts = torch.bincount(cell.flatten(), minlength=batch_size * count * 2 * CLASSES**2)
    return counts.view(batch_size, count, 2, CLASSES, CLASSES).cpu().numpy()


def newly_revealed(batch: Batch, params: PlateauParams) -> Tensor:
    """Voxels of each future window (B, F, X, Y, Z) that no past window holds, given the true poses."""
    past, future = params.model.past, params.model.future
    pose_BT4, shape = batch["pose_T4"], tuple(batch["occ_TXYZ"].shape[2:])
    known = [
        seen(pose_BT4[:, :past], pose_BT4[:, frame], shape, params.conversion.voxel_m)
        for frame in range(past, past + future)
    ]
    return ~torch.stack(known, dim=1)


def class_table(frames: Iterable[np.ndarray | Tensor]) -> pd.DataFrame:
    """Voxels of each Occ3D class over all `frames` (uint8 labels): columns class, voxels, share of occupied voxels."""
    counts = np.zeros(CLASSES, dtype=np.int64)
    for occ in frames:
        counts += np.bincount(np.asarray(occ).ravel(), minlength=CLASSES)
    share = counts / max(counts[:EMPTY].sum(), 1)
    share[EMPTY] = np.nan
    return pd.DataFrame({"class": OCC3D, "voxels": counts, "share of occupied": share})


def protocol(params: PlateauParams) -> dict[str, str]:
    """What is printed beside every number."""
    model, conversion = params.model, params.conversion
    size = " x ".join(f"{n * conversion.voxel_m:g}" for n in model.window)
    split = "municipality" if params.splits.by == "group" else "tile"
    return {
        "space": f"labelled voxels of {conversion.voxel_m:g} m in the ego's window of {size} m, Occ3D classes",
        "split": f"by {split}, windows at least {params.splits.buffer:g} m apart",
        "horizons": f"{', '.join(horizons(params))} ahead; {model.past} past frames, {conversion.frame_s:g} s apart",
        "IoU": "occupied or empty; intersection and union summed over clips, then divided; 'IoU': mean of horizons",
        "mIoU": "mean over classes of IoU per class; 'mIoU' is the mean over all pairs of class and horizon",
        "absent classes": "left out where the scored voxels hold no ground truth of the class, never scored 1",
        "newly revealed": "only voxels outside every past window, given the true poses",
        "poses": "all methods know the past poses; ego_warp, fused_warp and warp_fill are given the true future poses; "
        "ego_warp_constant_velocity repeats the last step; occworld forecasts its own motion and is given the route "
        "command (left, right, straight) of the present frame; all_empty and copy_last use none",
    }


def _warped(batch: Batch, pose_BF4: Tensor, past: int, voxel_m: float) -> Prediction:
    """The present window (frame past - 1 only) as it lies in each of the frames `pose_BF4`."""
    occ_BXYZ, pose_B4 = batch["occ_TXYZ"][:, past - 1], batch["pose_T4"][:, past - 1]
    frames = [warp(occ_BXYZ, pose_B4, to_B4, voxel_m)[0] for to_B4 in pose_BF4.unbind(1)]
    return {"occ_BFXYZ": torch.stack(frames, dim=1)}


def _occupied(counts_BCC: np.ndarray) -> np.ndarray:
    """Intersection, union and ground truth of occupied voxels: (B, 1, 3)."""
    # Occupied is every class but EMPTY, the last; which class it is does not matter here.
    both = counts_BCC[:, :EMPTY, :EMPTY].sum((1, 2))
    truth, guess = counts_BCC[:, :EMPTY].sum((1, 2)), counts_BCC[:, :, :EMPTY].sum((1, 2))
    return np.stack([both, truth + guess - both, truth], axis=-1)[:, None]


def _per_class(counts_BCC: np.ndarray) -> np.ndarray:
    """Intersection, union and ground truth of each class but EMPTY: (B, 17, 3)."""
    both = np.diagonal(counts_BCC, axis1=1, axis2=2)
    truth, guess = counts_BCC.sum(2), counts_BCC.sum(1)
    return np.stack([both, truth + guess - both, truth], axis=-1)[:, :EMPTY]


def _records(metric: str, parts: list[str], figures_BP3: np.ndarray) -> list[Record]:
    """One record per clip and part, without those that neither truth nor guess holds."""
    return [
        Record(item, metric, float(both), float(union), part, float(truth))
        for item, figures_P3 in enumerate(figures_BP3.tolist())
        for part, (both, union, truth) in zip(parts, figures_P3, strict=True)
        if union > 0
    ]
