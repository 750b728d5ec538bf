"""How forecasts are scored: field space, from the first state on, autoregressively, per trajectory.

Decisions:
- The headline is nRMSE, divided frame by frame as PDEBench does, averaged over frames and trajectories; its parts are
  equal stretches of the rollout, so that a table shows where an error comes from. L2RE and VRMSE stand beside it,
  because published tables use any of the three.
- Spatially constant truths have no spread to compare with: their frames are left out of VRMSE, and counted out of its
  support.
- Boundary and Fourier errors are of grids only. Particles are scored by their displacement from the first state.
- A latent-space number is never a score.
"""

import torch
from torch import Tensor

from stepladder.core.types import Batch, Prediction, Record
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.dataset import key
from stepladder.studies.pde.evaluation import metrics
from stepladder.studies.pde.models.baselines import classical
from stepladder.studies.pde.params import PdeParams

STRETCHES = 4  # parts of a rollout, at most
FLAT = 1e-4  # spread of a frame, as a share of its size, below which it counts as constant
SINGLE = 1e-6  # share of a field's size to which single precision knows its mean
ROLLOUT, FIRST, LAST = "@rollout", "@first step", "@last step"


def answer(prediction: Prediction) -> Tensor:
    """The forecast of a prediction, (B, T, *space, C)."""
    return prediction[key(prediction, "u_B")]


def score(batch: Batch, prediction: Prediction, params: PdeParams) -> list[Record]:
    """Records of every trajectory of the batch.

    Metrics: `nRMSE@rollout` (parts: stretches of the rollout), `nRMSE@first step`, `nRMSE@last step`, `L2RE@rollout`,
    `VRMSE@rollout`, `drift@rollout` (error of the mean over space, beyond the truth's own), `RMSE`, `max`, and on grids
    `boundary`, `fourier low`, `fourier mid`, `fourier high`, as far as the grid shows such waves. All are better when
    lower.
    """
    guess, truth = _comparable(batch, prediction)
    nrmse_BT = metrics.nrmse(guess, truth)
    tables = {f"L2RE{ROLLOUT}": metrics.relative_l2(guess, truth)}
    if truth.shape[1] > 1:
        tables |= {f"nRMSE{FIRST}": nrmse_BT[:, 0], f"nRMSE{LAST}": nrmse_BT[:, -1]}
    tables[f"drift{ROLLOUT}"] = _drift(batch, guess, truth).mean(1)
    tables |= {"RMSE": metrics.rmse(guess, truth).mean(1), "max": metrics.largest(guess, truth).mean(1)}
    if _on_grid(batch):
        tables["boundary"] = metrics.boundary(guess, truth).mean(1)
        tables |= {f"fourier {name}": error_BT.mean(1) for name, error_BT in metrics.fourier(guess, truth).items()}
    records = [
        Record(item, f"nRMSE{ROLLOUT}", float(nrmse_BT[item, frames].mean()), 1.0, part)
        for item in range(len(truth))
        for part, frames in stretches(truth.shape[1]).items()
    ]
    records += [Record(i, name, float(v), 1.0) for name, values in tables.items() for i, v in enumerate(values)]
    return records + _vrmse(guess, truth)


def stretches(frames: int) -> dict[str, slice]:
    """Equal stretches of a rollout by name, `steps 1-5`; as many of `STRETCHES` as divide it."""
    count = next(n for n in range(STRETCHES, 0, -1) if frames % n == 0)
    size = frames // count
    if size == 1:
        return {f"step {first + 1}": slice(first, first + 1) for first in range(frames)}
    return {f"steps {first + 1}-{first + size}": slice(first, first + size) for first in range(0, frames, size)}


def protocol(params: PdeParams) -> dict[str, str]:
    """What is printed beside every number."""
    horizon = params.evaluation.horizon
    unit = "block of trajectories" if params.splits.by == "asset" else "group (equation and coefficients)"
    return {
        "space": "physical fields on all points of the shard's grid or mesh",
        "rollout": "autoregressive from the first state alone, "
        + (f"{horizon} frames" if horizon else "to the trajectory's end"),
        "split": f"by {unit}; no trajectory is in two splits, by asset no first state either",
        "frames": f"every {params.conversion.every_frame * params.model.stride}. frame of the file",
        "nRMSE": "root mean square error over that of the truth, per field and frame, then averaged (PDEBench's form)",
        "L2RE": "norm of the error over norm of the truth, over space and time at once, per trajectory",
        "VRMSE": "root mean square error over the truth's spread, per frame (The Well); constant frames left out",
        "drift": "error of the mean over space, averaged over frames; where an equation conserves the mean, less what "
        "the truth's own mean drifts by thinning and rounding",
        "fourier": "error by wave number: 0-3, 4-11, 12 and above; per trajectory, where PDEBench takes a batch's",
        "particles": "displacements from the first state",
        "baselines": "persistence, spatial mean of the first state, classical solvers on about "
        f"{classical.COARSE} cells ({classical.COARSE // 2} along an axis of Darcy's problem and of flow; reaction and "
        "diffusion in two dimensions on all points with steps ten times as long) and on all points; all are given the "
        "coefficients",
        "intervals": "bootstrap over trajectories",
    }


def _comparable(batch: Batch, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Forecast and truth in double precision; of particles, their displacements from the first state."""
    truth = batch[key(batch, "target_")].double()
    guess = answer(prediction).to(truth.device).double()
    if _equation(batch) == "lagrangian":
        half = truth.shape[-1] // 2
        start = batch[key(batch, "input_")].double()[:, None, ..., :half]
        return guess[..., :half] - start, truth[..., :half] - start
    return guess, truth


def _drift(batch: Batch, guess: Tensor, truth: Tensor) -> Tensor:
    """Error of the mean over space, (B, T).

    A thinned truth of a conservation law drifts a little itself, and single precision rounds: that much is no error of
    a forecast that conserves.
    """
    error_BT = metrics.conserved(guess, truth)
    conserved = [equations.EQUATIONS[equations.NAMES[number]].conserved for number in batch["equation"].tolist()]
    if not any(conserved):
        return error_BT
    start = batch[key(batch, "input_")].double()[:, None].expand_as(truth)
    size_BT = truth.square().mean(tuple(range(2, truth.ndim))).sqrt()
    own_BT = metrics.conserved(start, truth) + SINGLE * size_BT
    return (error_BT - own_BT * torch.tensor(conserved, device=truth.device)[:, None]).clamp_min(0)


def _vrmse(guess: Tensor, truth: Tensor) -> list[Record]:
    """VRMSE over the frames whose truth is not constant; absent where none is left."""
    space = tuple(range(2, truth.ndim - 1))
    spread = (truth - truth.mean(space, keepdim=True)).square().mean(space).sqrt()
    rough_BT = (spread > FLAT * truth.square().mean(space).sqrt()).all(-1) & (spread > 0).all(-1)
    values_BT = torch.where(rough_BT, metrics.vrmse(guess, truth), 0.0)
    return [
        Record(item, f"VRMSE{ROLLOUT}", float(values.sum()), float(rough.sum()), "", float(rough.sum()))
        for item, (values, rough) in enumerate(zip(values_BT, rough_BT, strict=True))
    ]


def _on_grid(batch: Batch) -> bool:
    return "edge_E2" not in batch


def _equation(batch: Batch) -> str:
    return equations.NAMES[int(batch["equation"][0])]
