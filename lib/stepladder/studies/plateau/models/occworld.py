"""OccWorld re-implemented: forecast a scene as a sentence of code maps, with the ego's motion as a companion token.

W. Zheng et al., "OccWorld: Learning a 3D Occupancy World Model for Autonomous Driving" (ECCV 2024; reference code
under Apache-2.0). Written anew in plain PyTorch with the published layer shapes: at the published configuration
(window 200 x 200 x 16, width 64, 512 codes, 16 frames) it has exactly 72,385,578 parameters, 14,168,272 of them in the
tokenizer, which is frozen in the second stage.

Decisions:
- Two stages: "tokenizer" learns to write a window as codes, "world" learns which codes come next. `can_start` refuses
  the second on a tokenizer that reconstructs nothing, because that failure is silent in the loss.
- The ego token of frame t is the step that led to t, and the route command at t. The reference feeds the step that
  *leaves* t, which tells the model one step of the future.
- The ego's future pose is never given: `predict` feeds its own forecast steps back. The route command (left, right,
  straight over the next 3 s) is given, as published; at prediction the present frame's command is held.
- Dropout acts in the world model only, so codes are the same in training and evaluation.

Shape legend: B batch, T frames, F future frames, C channels, H W latent map, K codes, M modes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import Batch, Check, Loss, Prediction, StudyError, TrainingPhase
from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.models.motion import relative
from stepladder.studies.plateau.models.tokenizer import Tokenizer, sizes, tokenizer_loss
from stepladder.studies.plateau.models.world import World
from stepladder.studies.plateau.params import PlateauParams

COMMAND_S, COMMAND_M = 3.0, 2.0  # a route command looks 3 s ahead; more than 2 m to a side is a turn
WEIGHTS = {"cross entropy": 10.0, "lovasz": 1.0, "codebook": 1.0, "codes": 1.0, "ego": 0.1}
ADMIT_IOU, ADMIT_CODES = 0.2, 4
LEAST_WINDOW = 13  # voxels; 13 -> 7 -> 4 in the tokenizer, then 2 -> 1 in the world model


class OccWorld(nn.Module):
    """OccWorld: a tokenizer of windows, and a world model that forecasts its codes and the ego's path."""

    def __init__(self, params: PlateauParams) -> None:
        super().__init__()
        model = params.model
        self.past, self.future, self.window = model.past, model.future, tuple(model.window)
        self.command_frames = round(COMMAND_S / params.conversion.frame_s)
        self.tokenizer = Tokenizer(model.window[2], model.width, model.codes)
        shape = sizes(*model.window[:2])[-1]
        self.world = World(2 * model.width, shape, model.codes, params.conversion.frames, model.dropout)

    def forward(self, occ_BTXYZ: Tensor, pose_BT4: Tensor, phase: str) -> dict[str, Tensor]:
        """Loss parts of one batch in stage "tokenizer" or "world", unweighted."""
        if phase == "tokenizer":
            occ_NXYZ = occ_BTXYZ.flatten(0, 1)
            scores_NXYZC, _, codebook = self.tokenizer(occ_NXYZ)
            return tokenizer_loss(scores_NXYZC, occ_NXYZ, codebook, samples=len(occ_BTXYZ))
        # Teacher forcing: from the true codes up to frame t, the codes and the step of frame t + 1.
        code_BTCHW, index_BTHW = self.codes(occ_BTXYZ)
        step_BT2 = steps_taken(pose_BT4)
        mode_BTM = commands(pose_BT4, self.command_frames)
        scores_BTKHW, move_BTM2 = self.world(code_BTCHW[:, :-1], step_BT2[:, :-1], mode_BTM[:, :-1])
        return {
            "codes": functional.cross_entropy(scores_BTKHW.flatten(0, 1), index_BTHW[:, 1:].flatten(0, 1)),
            "ego": _ego_loss(move_BTM2, step_BT2[:, 1:], mode_BTM[:, :-1]),
        }

    @torch.no_grad()
    def codes(self, occ_BTXYZ: Tensor) -> tuple[Tensor, Tensor]:
        """Quantised latents (B, T, C, H, W) and their indices (B, T, H, W)."""
        code_NCHW, index_NHW, _ = self.tokenizer.quantise(self.tokenizer.encode(occ_BTXYZ.flatten(0, 1)))
        return code_NCHW.unflatten(0, occ_BTXYZ.shape[:2]), index_NHW.unflatten(0, occ_BTXYZ.shape[:2])

    @torch.no_grad()
    def forecast(self, occ_BTXYZ: Tensor, pose_BT4: Tensor) -> Prediction:
        """Labels and path of the future frames from the past ones, frame by frame.

        Returns `occ_BFXYZ` uint8 and `path_BF2`, the ego's forecast steps added up in metres. Of the future it reads
        the present frame's route command only.
        """
        past = self.past
        code_BTCHW, _ = self.codes(occ_BTXYZ[:, :past])
        step_BT2 = steps_taken(pose_BT4)[:, :past]
        mode_BTM = commands(pose_BT4[:, : past + self.future], self.command_frames)[:, :past]
        for _ in range(self.future):
            scores_BTKHW, move_BTM2 = self.world(code_BTCHW, step_BT2, mode_BTM)
            # The likeliest code of the last frame, and the step in the commanded mode, become the next input.
            next_BHWC = self.tokenizer.codebook(scores_BTKHW[:, -1].argmax(1))
            next_B2 = (move_BTM2[:, -1] * mode_BTM[:, -1, :, None]).sum(1)
            code_BTCHW = torch.cat([code_BTCHW, next_BHWC.permute(0, 3, 1, 2)[:, None]], dim=1)
            step_BT2 = torch.cat([step_BT2, next_B2[:, None]], dim=1)
            mode_BTM = torch.cat([mode_BTM, mode_BTM[:, -1:]], dim=1)
        frames = [self.tokenizer.decode(c, self.window).argmax(-1).byte() for c in code_BTCHW[:, past:].unbind(1)]
        return {"occ_BFXYZ": torch.stack(frames, dim=1), "path_BF2": step_BT2[:, past:].cumsum(1)}


def steps_taken(pose_BT4: Tensor) -> Tensor:
    """Metres ahead and to the left from the frame before, in that frame's axes: (B, T, 2); zero for the first frame."""
    step_BT2 = relative(pose_BT4[:, :-1], pose_BT4[:, 1:])[..., :2]
    return functional.pad(step_BT2, (0, 0, 1, 0))


def commands(pose_BT4: Tensor, frames: int) -> Tensor:
    """Route command (B, T, 3) one-hot left, right, straight: where the ego is `frames` later, or at the end.

    A turn is more than 2 m to a side as seen from the frame's own pose (the convention of nuScenes planning).
    """
    last = pose_BT4.shape[1] - 1
    # Near the end the future is shorter: the last pose stands for it.
    later_T = (torch.arange(last + 1, device=pose_BT4.device) + frames).clamp(max=last)
    left_BT = relative(pose_BT4, pose_BT4[:, later_T])[..., 1]
    turn_BTM = torch.stack([left_BT > COMMAND_M, left_BT < -COMMAND_M, left_BT.abs() <= COMMAND_M], dim=-1)
    return turn_BTM.to(pose_BT4.dtype)


def build(params: PlateauParams) -> nn.Module:
    """A freshly initialised OccWorld; `StudyError` for a window too small for its four halvings."""
    if min(params.model.window[:2]) < LEAST_WINDOW:
        raise StudyError(
            f"model.window = {params.model.window} is too small for occworld, which halves its sides four times: "
            f"make both at least {LEAST_WINDOW}, or use model.name = warp_fill"
        )
    return OccWorld(params)


def phases(params: PlateauParams) -> list[TrainingPhase]:
    """The tokenizer first, then the world model with the tokenizer frozen."""
    return [
        TrainingPhase("tokenizer", params.model.tokenizer_steps, trainable=("tokenizer",)),
        TrainingPhase("world", params.training.steps, trainable=("world",)),
    ]


def loss(model: Any, batch: Batch, phase: TrainingPhase) -> Loss:
    """Published weights: 10 cross entropy + Lovasz + codebook; then cross entropy of codes + 0.1 x L2 of the ego."""
    parts = model(batch["occ_TXYZ"], batch["pose_T4"], phase.name)
    total: Any = sum(WEIGHTS[name] * part for name, part in parts.items())
    return Loss(total, {name: part.detach() for name, part in parts.items()})


def predict(model: Any, batch: Batch) -> Prediction:
    """Autoregressive forecast; the model's own ego motion, see the module's docstring."""
    return model.forecast(batch["occ_TXYZ"], batch["pose_T4"])


def can_start(phase: TrainingPhase, model: nn.Module, batch: Batch) -> Check:
    """Refuses stage "world" while the tokenizer cannot reconstruct `batch`.

    An untrained tokenizer reconstructs emptiness (IoU 0) and a collapsed one says the same everywhere with few codes.
    """
    name = "tokenizer is trained"
    if phase.name != "world":
        return Check(name, True, f"stage {phase.name!r} needs no trained tokenizer")
    iou, used = reconstruction(model, batch["occ_TXYZ"])
    measured = f"it reconstructs occupied space with IoU {iou:.2f} using {used} codes"
    needed = f"at least {ADMIT_IOU} and {ADMIT_CODES} codes"
    if iou >= ADMIT_IOU and used >= ADMIT_CODES:
        return Check(name, True, f"{measured} ({needed} needed)", iou, ADMIT_IOU)
    way_out = "train the stage 'tokenizer' longer (model.tokenizer_steps) or resume from a run that has"
    return Check(name, False, f"the tokenizer is not trained: {measured}, {needed} needed; {way_out}", iou, ADMIT_IOU)


@torch.no_grad()
def reconstruction(model: Any, occ_BTXYZ: Tensor) -> tuple[float, int]:
    """IoU of occupied voxels after coding and decoding, and the number of codes in use."""
    truth_NXYZ = occ_BTXYZ.flatten(0, 1)
    scores_NXYZC, index_NHW, _ = model.tokenizer(truth_NXYZ)
    guess, truth = scores_NXYZC.argmax(-1) != EMPTY, truth_NXYZ != EMPTY
    return ((guess & truth).sum() / (guess | truth).sum().clamp(min=1)).item(), len(index_NHW.unique())


def _ego_loss(move_BTM2: Tensor, step_BT2: Tensor, mode_BTM: Tensor) -> Tensor:
    """Mean distance in metres between forecast and true displacement, both added up over time, in the true mode."""
    # Summed steps: an early error moves all that follows, and is paid for each time.
    error_BTM2 = move_BTM2.cumsum(1) - step_BT2.cumsum(1)[:, :, None]
    return (torch.linalg.vector_norm(error_BTM2, dim=-1) * mode_BTM).sum(-1).mean()
