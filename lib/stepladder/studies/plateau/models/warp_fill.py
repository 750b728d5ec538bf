"""warp_fill, our forecaster for a static city: warp what was seen, learn only what comes into view.

In a static world the past windows, seen from the future pose, are most of the answer and cost no parameter. So the
network starts there instead of below it, and has to learn only what the past did not hold, and to mend what it blurred.

Decisions:
- All past frames are fused in the frame of each future ego, by the true poses, the future ones included (as ego_warp;
  `occworld` must forecast its own). Unlike OccWorld, each future frame is answered at once, with no error fed back.
- Scores are evidence + network. Evidence is a small learned table: what a warped label says about a known voxel, and
  what the present window's label at that place says about one newly revealed (a street tends to go on as it is). It
  starts at "the label itself" and "empty", and the network's last layer near zero: an untrained model *is* the fused
  warp, exactly, and still every parameter gets a gradient in the first step.
- The network sees the window from above: heights are channels of a small 2-D U-Net. It knows the static classes only
  (others, barrier, surfaces, manmade, vegetation, free); a moving thing would count as "others".
- The loss weighs newly revealed and occupied voxels more and adds soft IoU terms, because cross entropy alone answers
  "empty" wherever it is unsure. Each part is a mean over samples, whatever the batch.

Shape legend: B batch, T past frames, F future frames, N windows (B x F), X Y Z voxels, C static classes or channels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch, Check, Loss, Prediction, TrainingPhase
from stepladder.data import draws
from stepladder.studies.plateau.data.citygml.classes import EMPTY, FINE, OCC3D
from stepladder.studies.plateau.models.motion import fuse
from stepladder.studies.plateau.params import PlateauParams

STATIC = sorted({fine.occ3d for fine in FINE} | {0, EMPTY})  # the Occ3D classes a city can hold; EMPTY is the last
NOTHING = len(STATIC) - 1
EMBEDDING = 8
EVIDENCE_KNOWN, EVIDENCE_UNKNOWN = 5.0, 3.0  # first scores of the warped label, and of EMPTY where unknown
START = 0.01  # the last layer's initial weights, as a share of the usual; far too small to overrule any evidence
GAIN = 8.0  # of all scores: their layers take steps of the usual size and must move far
FRAMES_PER_STEP = 2  # future frames a training step looks at, drawn anew each step
WEIGHT_NEW, WEIGHT_OCCUPIED = 2.0, 1.0  # added to the weight 1 of a voxel in the cross entropy


class WarpFill(nn.Module):
    """The fused warp of the past, mended by a U-Net seen from above (the module's docstring says how)."""

    def __init__(self, params: PlateauParams) -> None:
        super().__init__()
        model = params.model
        self.past, self.future, self.voxel_m = model.past, model.future, params.conversion.voxel_m
        self.label = nn.Embedding(len(STATIC), EMBEDDING)
        heights = model.window[2]
        self.net = UNet((2 * EMBEDDING + 1) * heights, len(STATIC) * heights, model.width, model.levels, model.dropout)
        self.evidence = nn.Embedding.from_pretrained(_evidence(), freeze=False)
        static_18 = torch.tensor([STATIC.index(c) if c in STATIC else 0 for c in range(len(OCC3D))])
        self.static_18: Tensor
        self.register_buffer("static_18", static_18, persistent=False)  # Occ3D class -> static class
        self.register_buffer("occ3d_C", torch.tensor(STATIC, dtype=torch.uint8), persistent=False)  # and back

    def forward(self, fused_NXYZ: Tensor, known_NXYZ: Tensor, present_NXYZ: Tensor) -> Tensor:
        """Class scores (N, C, Z, X, Y) of windows in which the past has been fused (Occ3D labels).

        `present_NXYZ` is the present window, unmoved: a street tends to go on as it is.
        """
        # Occ3D labels to static classes, heights to the front: they become channels.
        fused_NZXY, present_NZXY = (self.static_18[x.int()].permute(0, 3, 1, 2) for x in (fused_NXYZ, present_NXYZ))
        known_NZXY = known_NXYZ.permute(0, 3, 1, 2)
        labels = [self.label(x).permute(0, 1, 4, 2, 3).flatten(1, 2) for x in (fused_NZXY, present_NZXY)]
        net_NCZXY = self.net(torch.cat([*labels, known_NZXY.to(labels[0].dtype)], dim=1)).unflatten(
            1, (len(STATIC), -1)
        )
        # The first rows of the table speak for known voxels, the others for unknown ones by their present label.
        row_NZXY = torch.where(known_NZXY, fused_NZXY, present_NZXY + len(STATIC))
        return GAIN * (net_NCZXY + self.evidence(row_NZXY).permute(0, 4, 1, 2, 3))

    def fused(self, occ_BTXYZ: Tensor, pose_BT4: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        """The past frames as they lie in future frame `frame` (from 0): labels and known, both (B, X, Y, Z)."""
        past = self.past
        return fuse(occ_BTXYZ[:, :past], pose_BT4[:, :past], pose_BT4[:, past + frame], self.voxel_m)


class UNet(nn.Module):
    """Residual blocks at halving resolutions, with skips; any window size, odd ones too."""

    def __init__(self, channels_in: int, channels_out: int, width: int, levels: int, dropout: float) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.first = nn.Conv2d(channels_in, width, 1)
        self.encoders = nn.ModuleList(Block(w, dropout) for w in widths)
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1) for w in widths[:-1])
        self.ups = nn.ModuleList(nn.Conv2d(2 * w, w, 1) for w in reversed(widths[:-1]))
        self.decoders = nn.ModuleList(Block(w, dropout) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, channels_out, 1)
        with torch.no_grad():
            for parameter in self.last.parameters():
                parameter.mul_(START)

    def forward(self, x_NCXY: Tensor) -> Tensor:
        """Logits in the channels of a plane of the same size."""
        x_NCXY, skips = self.first(x_NCXY), []
        for encoder, down in zip(self.encoders, self.downs, strict=False):
            x_NCXY = encoder(x_NCXY)
            skips.append(x_NCXY)
            x_NCXY = down(x_NCXY)
        x_NCXY = self.encoders[-1](x_NCXY)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            skip_NCXY = skips.pop()
            # Enlarged to the skip's own size, which may be odd.
            x_NCXY = decoder(skip_NCXY + functional.interpolate(up(x_NCXY), size=skip_NCXY.shape[2:], mode="nearest"))
        return self.last(functional.silu(x_NCXY))


class Block(nn.Module):
    """x + conv(dropout(silu(norm(conv(silu(norm(x)))))))."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x_NCXY: Tensor) -> Tensor:
        """Maps of the same shape."""
        y_NCXY = self.conv1(functional.silu(self.norm1(x_NCXY)))
        return x_NCXY + self.conv2(self.dropout(functional.silu(self.norm2(y_NCXY))))


def build(params: PlateauParams) -> nn.Module:
    """A freshly initialised WarpFill, which answers like the fused warp."""
    return WarpFill(params)


def phases(params: PlateauParams) -> list[TrainingPhase]:
    """The stages of training: one."""
    return [TrainingPhase("fill", params.training.steps)]


def can_start(phase: TrainingPhase, model: nn.Module, batch: Batch) -> Check:
    """Let every stage start: there is nothing to wait for."""
    return Check("stage may start", True, f"stage {phase.name!r} starts from the warped past and needs nothing trained")


def loss(model: Any, batch: Batch, phase: TrainingPhase) -> Loss:
    """Weighted cross entropy + soft IoU on all voxels and on newly revealed ones, of a random few future frames.

    The frames are drawn from torch's global generator: the same ones for all samples of a step.
    """
    occ_BTXYZ, pose_BT4 = batch["occ_TXYZ"], batch["pose_T4"]
    # A few future frames keep a step small; in the long run each has its turn.
    frames = sorted(draws.permutation(model.future)[:FRAMES_PER_STEP])
    fused, known = zip(*(model.fused(occ_BTXYZ, pose_BT4, frame) for frame in frames), strict=True)
    truth_BFXYZ = occ_BTXYZ[:, [model.past + frame for frame in frames]]
    fused_BFXYZ, known_BFXYZ = torch.stack(fused, dim=1), torch.stack(known, dim=1)
    present_BFXYZ = occ_BTXYZ[:, model.past - 1, None].expand_as(fused_BFXYZ)
    # Frames go along with the batch: each is answered on its own.
    scores_NCZXY = model(*(x.flatten(0, 1) for x in (fused_BFXYZ, known_BFXYZ, present_BFXYZ)))
    truth_NZXY, known_NZXY = (x.flatten(0, 1).permute(0, 3, 1, 2) for x in (truth_BFXYZ, known_BFXYZ))
    parts = _loss_parts(scores_NCZXY.float(), model.static_18[truth_NZXY.int()], ~known_NZXY)
    total: Any = sum(parts.values())
    return Loss(total, {name: part.detach() for name, part in parts.items()})


@torch.no_grad()
def predict(model: Any, batch: Batch) -> Prediction:
    """`occ_BFXYZ` uint8: the likeliest class of every voxel of every future frame, given the true future poses."""
    frames = []
    for frame in range(model.future):  # one at a time: scores of a full window are large
        fused = model.fused(batch["occ_TXYZ"], batch["pose_T4"], frame)
        scores_BCZXY = model(*fused, batch["occ_TXYZ"][:, model.past - 1])
        frames.append(model.occ3d_C[scores_BCZXY.argmax(1).permute(0, 2, 3, 1)])
    return {"occ_BFXYZ": torch.stack(frames, dim=1)}


def _evidence() -> Tensor:
    """Scores of each class (columns) for a known label (C rows) and for the present label of an unknown voxel (C more).

    Before training, the first are for the label itself and the second for "empty", whatever the label.
    """
    known_CC = EVIDENCE_KNOWN * torch.eye(len(STATIC))
    unknown_CC = EVIDENCE_UNKNOWN * torch.eye(len(STATIC))[[NOTHING] * len(STATIC)]
    return torch.cat([known_CC, unknown_CC]) / GAIN


def _loss_parts(scores_NCZXY: Tensor, truth_NZXY: Tensor, new_NZXY: Tensor) -> dict[str, Tensor]:
    """The parts of the loss, each a mean over windows."""
    log_NCV, truth_NV, new_NV = scores_NCZXY.flatten(2).log_softmax(1), truth_NZXY.flatten(1), new_NZXY.flatten(1)
    # Gathered once: the log-probability of the true class, and of nothing.
    picked_N2V = log_NCV.gather(1, torch.stack([truth_NV, torch.full_like(truth_NV, NOTHING)], dim=1))
    weight_NV = 1 + WEIGHT_NEW * new_NV + WEIGHT_OCCUPIED * (truth_NV != NOTHING)
    # Soft IoU twice: over all voxels, and over the newly revealed ones.
    mask_NMV = torch.stack([torch.ones_like(new_NV), new_NV], dim=1).to(log_NCV.dtype)
    iou_NM = soft_iou(log_NCV.exp(), picked_N2V.exp(), truth_NV, mask_NMV)
    return {
        "cross entropy": -((weight_NV * picked_N2V[:, 0]).sum(1) / weight_NV.sum(1)).mean(),
        "iou": 1 - iou_NM[:, 0].mean(),
        "iou new": 1 - iou_NM[:, 1].mean(),
    }


def soft_iou(probability_NCV: Tensor, picked_N2V: Tensor, truth_NV: Tensor, mask_NMV: Tensor) -> Tensor:
    """Soft IoU (N, M) on each of M masks: half for "occupied or not", half for the mean over classes present.

    Soft IoU: sum(p y) / sum(p + y - p y) with probability p and truth y (Rahman and Wang, ISVC 2016, eq. 3).
    `picked_N2V` holds the probabilities of the true class and of NOTHING (free space).
    """
    label_NMV = truth_NV[:, None].expand_as(mask_NMV)
    zeros_NMC = mask_NMV.new_zeros(*mask_NMV.shape[:2], len(STATIC))
    # Sums by class without a one-hot copy of the volume: what is right, what is true, what is guessed.
    both_NMC = zeros_NMC.scatter_add(2, label_NMV, picked_N2V[:, :1] * mask_NMV)
    truth_NMC = zeros_NMC.scatter_add(2, label_NMV, mask_NMV)
    guess_NMC = mask_NMV @ probability_NCV.transpose(1, 2)
    # Occupied or not: 1 - p(nothing), where something is.
    both_NM = ((1 - picked_N2V[:, 1:]) * mask_NMV * (label_NMV != NOTHING)).sum(2)
    occupied_NM = _ratio(both_NM, truth_NMC[..., :NOTHING].sum(2), guess_NMC[..., :NOTHING].sum(2))
    present_NMC = truth_NMC[..., :NOTHING] > 0
    classes_NMC = _ratio(both_NMC, truth_NMC, guess_NMC)[..., :NOTHING] * present_NMC
    return (occupied_NM + classes_NMC.sum(2) / present_NMC.sum(2).clamp(min=1)) / 2


def _ratio(both: Tensor, truth: Tensor, guess: Tensor) -> Tensor:
    return both / (truth + guess - both).clamp(min=1e-6)
