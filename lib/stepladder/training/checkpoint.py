"""Checkpoints: a folder per step that is either whole and verified, or ignored.

Decisions:
- `checkpoints/step_00000050/state.pt` is written beside its place and renamed; `COMMITTED` (JSON with step, stage,
  size and SHA-256) is written last. What has no `COMMITTED`, or does not match it, is skipped and reported.
- A checkpoint holds everything a step changes: weights, optimizer, averaged weights, scaler, stage, step, best
  validation loss. Sampling, schedules and random numbers are functions of the step and need nothing.
- Kept: the newest few, and the best by validation loss of the current stage. The optimizer's state is named by
  parameter, so it does not depend on the number of ranks.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.checkpoint import state_dict as gathered
from torch.distributed.tensor import DTensor, distribute_tensor

from stepladder.core import files
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.training.step import TrainState
from stepladder.training.trainable import match_weights

WHOLE = gathered.StateDictOptions(full_state_dict=True, cpu_offload=True)
SPREAD = gathered.StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read, with the way out."""


@dataclass(frozen=True)
class Progress:
    """Where training stands, beside the tensors.

    Attributes:
        step: optimizer steps done, over all stages.
        stage: name of the stage the last of them belonged to.
        best: `step` and `loss` of the best validation of that stage, or None.
        config_fingerprint: what decides the course of training (see `schedule.config_fingerprint`).
        code: hash of the code that wrote it.
    """

    step: int = 0
    stage: str = ""
    best: dict[str, Any] | None = None
    config_fingerprint: dict[str, Any] = field(default_factory=dict)
    code: str = ""


Report = Callable[..., None]  # like `Run.event`


def state_of(model: nn.Module, train_state: TrainState) -> dict[str, Any]:
    """All tensors of a training, whole and on the CPU. Every rank must call it."""
    return {
        "model": gathered.get_model_state_dict(model, options=WHOLE),
        "optimizer": gathered.get_optimizer_state_dict(model, train_state.optimizer, options=WHOLE),
        "average": {n: _whole(v) for n, v in train_state.ema.values.items()} if train_state.ema else None,
        "scaler": train_state.scaler.state_dict() if train_state.scaler else None,
    }


def restore_model(state: dict[str, Any], model: nn.Module) -> None:
    """Load the weights; `ContractError` when they are not exactly the model's."""
    match_weights(model, state["model"])
    gathered.set_model_state_dict(model, state["model"], options=SPREAD)


def restore_train_state(state: dict[str, Any], model: nn.Module, train_state: TrainState) -> None:
    """Load what belongs to a stage under way: optimizer, averaged weights, scaler."""
    gathered.set_optimizer_state_dict(model, train_state.optimizer, state["optimizer"], options=SPREAD)
    for name, value in (state["average"] or {}).items():
        assert train_state.ema is not None, "averaged weights of a training that keeps none"
        own = train_state.ema.values[name]
        own.copy_(distribute_tensor(value, own.device_mesh, own.placements) if isinstance(own, DTensor) else value)
    if train_state.scaler and state["scaler"]:
        train_state.scaler.load_state_dict(state["scaler"])


def save(folder: Path, state: dict[str, Any], progress: Progress) -> Path:
    """Write one checkpoint.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    place = folder / f"step_{progress.step:08d}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with files.atomic(place / "state.pt") as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        written = place / "state.pt"
        seal = {"sha256": files.file_sha256(written), "bytes": written.stat().st_size}
        files.write_json(place / "COMMITTED", {**vars(progress), **seal})
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        newest = next(iter(committed(folder)), None)
        kept = f"the checkpoint of step {newest[0]} is whole" if newest else "there is no earlier checkpoint"
        raise CheckpointError(
            f"cannot write the checkpoint of step {progress.step} in {folder.name}/{place.name}: {reason}; {kept}. "
            "Free space (or set STEPLADDER_OUTPUTS to another disk) and run again"
        ) from error
    return place


def committed(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of all checkpoints that were finished, newest first."""
    found = [(int(seal.parent.name.split("_")[1]), seal.parent) for seal in folder.glob("step_*/COMMITTED")]
    return sorted(found, reverse=True)


def newest(folder: Path, report: Report) -> tuple[dict[str, Any], Progress] | None:
    """State and progress of the newest whole checkpoint, or None; each damaged one is reported and skipped."""
    for step, place in committed(folder):
        fault = _fault(place)
        if fault is None:
            return _read(place)
        report("checkpoint_skipped", step=step, reason=fault)
    return None


def read(folder: Path, step: int) -> dict[str, Any]:
    """The state of the checkpoint of `step`; `CheckpointError` where it is damaged or not there."""
    place = folder / f"step_{step:08d}"
    if fault := _fault(place):
        raise CheckpointError(f"the checkpoint of step {step} cannot be used: {fault}; delete it and run again")
    return _read(place)[0]


def rotate(folder: Path, keep: int, best: int | None) -> None:
    """Delete all checkpoints but the `keep` newest and that of step `best`, and what a kill left unfinished."""
    for place in folder.glob("step_*"):
        if not (place / "COMMITTED").exists():
            shutil.rmtree(place)
    for step, place in committed(folder)[keep:]:
        if step != best:
            (place / "COMMITTED").unlink()  # first, so that a half-deleted checkpoint is not believed
            shutil.rmtree(place)


def load_model(
    study: Study, params: Parameters, folder: Path, which: Literal["best", "last"] = "best"
) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model for evaluation, on the CPU in evaluation mode, with averaged weights where they were kept.

    Args:
        study, params: make the model.
        folder: `Run.checkpoints`.
        which: best by validation loss of the last stage (the last where nothing was validated), or the last.

    Returns:
        The model, and the facts of its checkpoint: step, stage, best, sha256, which, average.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ContractError: it does not fit the model of `params`.
    """
    places = dict(committed(folder))
    if not places:
        raise CheckpointError(f"no checkpoint in {folder}: run 05_training first")
    last = max(places)
    best = (files.read_json(places[last] / "COMMITTED")["best"] or {}).get("step", last)
    step = best if which == "best" else last
    fault = _fault(places[step]) if step in places else "it is not there"
    if fault:
        other = "last" if which == "best" else "best"
        raise CheckpointError(f"the {which} checkpoint (step {step}) cannot be used: {fault}; use which={other!r}")
    state, progress = _read(places[step])
    model = study.model(params)
    match_weights(model, state["model"])
    model.load_state_dict({**state["model"], **(state["average"] or {})})
    seal = files.read_json(places[step] / "COMMITTED")["sha256"]
    return model.eval(), {**vars(progress), "which": which, "sha256": seal, "average": state["average"] is not None}


def whole(folder: Path) -> list[Path]:
    """Files of the last checkpoint and of the best: what a trained run stands for."""
    places = dict(committed(folder))
    if not places:
        return []
    best = (files.read_json(places[max(places)] / "COMMITTED")["best"] or {}).get("step", max(places))
    kept = sorted({max(places), best} & set(places))
    return [places[step] / name for step in kept for name in ("state.pt", "COMMITTED")]


def _fault(place: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        seal = files.read_json(place / "COMMITTED")
        if files.file_sha256(place / "state.pt") != seal["sha256"]:
            return "state.pt does not match its SHA-256"
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _read(place: Path) -> tuple[dict[str, Any], Progress]:
    seal = files.read_json(place / "COMMITTED")
    state = torch.load(place / "state.pt", map_location="cpu", weights_only=True)
    return state, Progress(**{name: seal[name] for name in Progress.__dataclass_fields__})


def _whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor's full value on the CPU, gathered where it is sharded."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).cpu()
