"""Checkpoints: a folder per step that is either whole and verified, or ignored.

Decisions:
- `checkpoints/step_00000050/state.pt` is written beside its place and renamed; `COMMITTED` (JSON with step, stage,
  size and SHA-256) is written last. What has no `COMMITTED`, or does not match it, is skipped and reported.
- Whoever wants a checkpoint that is damaged gets the newest whole one instead, and is told. Where all are damaged,
  training sets them aside and begins anew (see `loop`); everybody else gets an error with the way out.
- Only folders named as above count. Whatever else lies among them is somebody else's: never read, never deleted.
- What a checkpoint holds is said in `contents`, and where training stands in `Progress`.
- Kept: the newest few, and for each of them the best of its stage by validation loss, so that training can go on from
  any of them as if the later ones had never been.
"""

import contextlib
import pickle
import re
import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from stepladder.core import files, records
from stepladder.core.errors import Damaged
from stepladder.core.paths import command
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.training.contents import judged
from stepladder.training.trainable import match_weights

NAME = re.compile(r"step_(\d{8,})")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read, with the way out."""


class DamagedError(CheckpointError):
    """A checkpoint that is not what was written; the text says in what."""


@dataclass(frozen=True)
class Progress:
    """Where training stands, beside the tensors.

    Attributes:
        step: optimizer steps done, over all stages.
        stage: name of the stage the last of them belonged to.
        best: `step` and `loss` of the best validation of that stage, or None.
        config_fingerprint: what decides the course of training (see `schedule.config_fingerprint`).
        code: hash of the code that wrote it.
        plateau: an `optimize.Plateau` as it tells of itself, where the schedule is that one.
    """

    step: int = 0
    stage: str = ""
    best: dict[str, Any] | None = None
    config_fingerprint: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    plateau: dict[str, Any] | None = None


Report = Callable[..., None]  # like `Run.event`


def save(folder: Path, state: dict[str, Any], progress: Progress) -> Path:
    """Write one checkpoint.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    place = folder / f"step_{progress.step:08d}"
    try:
        if place.is_dir():  # unfinished or damaged, or the step would not be made again
            shutil.rmtree(place)
        place.mkdir(parents=True)
        with files.atomic(place / "state.pt") as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        written = place / "state.pt"
        seal: dict[str, Any] = {"sha256": files.file_sha256(written), "bytes": written.stat().st_size}
        if state.get("given"):
            seal["given"] = state["given"]
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
    return [(step, place) for step, place in _places(folder) if (place / "COMMITTED").is_file()]


def newest(
    folder: Path, report: Report, wanted: Callable[[Progress], bool] = lambda progress: True
) -> tuple[dict[str, Any], Progress] | None:
    """State and progress of the newest whole checkpoint that is wanted, or None; damaged ones are reported, skipped."""
    return _first_whole((place for _, place in committed(folder)), report, wanted)


def progress_of(place: Path) -> Progress:
    """What a checkpoint says of itself; `DamagedError` where that is not what was written."""
    seal = _seal(place)
    return Progress(**{name: seal[name] for name in Progress.__dataclass_fields__ if name in seal})


def read(folder: Path, step: int) -> dict[str, Any]:
    """The state of the checkpoint of `step`; `DamagedError` where it is damaged or not there."""
    return state_in(folder / f"step_{step:08d}")


def best_of(folder: Path) -> Path:
    """The best checkpoint by validation loss of the last stage (the last one where nothing was validated).

    Raises:
        CheckpointError: there is none.
    """
    places = dict(committed(folder))
    place = places.get(_best(places.values()))
    if place is None:
        raise CheckpointError(f"no whole checkpoint in {folder}")
    return place


def sha256_of(place: Path) -> str:
    """What a checkpoint says is the SHA-256 of its state; `DamagedError` where it says nothing."""
    return _seal(place)["sha256"]


def state_in(place: Path) -> dict[str, Any]:
    """The state of the checkpoint in a folder; `DamagedError` where it is damaged or not there."""
    return _read(place)[0]


def rotate(folder: Path, keep: int, step: int) -> None:
    """Delete all checkpoints up to `step` but the `keep` newest and the best of each, and what a kill left unfinished.

    So whichever of them training goes on from, the one it may return to is there. One whose seal is damaged neither
    counts nor is deleted: a person may want to look at it.
    """
    for _, place in _places(folder):
        if not (place / "COMMITTED").exists():
            shutil.rmtree(place, ignore_errors=True)
    sealed = [(at, place) for at, place in committed(folder) if at <= step and _sealed(place)]
    bests = {(progress_of(place).best or {}).get("step") for _, place in sealed[:keep]}
    for at, place in sealed[keep:]:
        if at not in bests:
            (place / "COMMITTED").unlink()  # first, so that a half-deleted checkpoint is not believed
            shutil.rmtree(place, ignore_errors=True)


def load_model(
    study: Study,
    params: Parameters,
    folder: Path,
    which: Literal["best", "last"] = "best",
    report: Report = lambda kind, **fields: None,
) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model for evaluation, on the CPU in evaluation mode, with averaged weights where they were kept.

    A damaged checkpoint is reported, and the newest whole one takes its place.

    Args:
        study, params: make the model.
        folder: `Run.checkpoints`.
        which: best by validation loss of the last stage (the last where nothing was validated), or the last.
        report: told of every checkpoint that is skipped, like `Run.event`.

    Returns:
        The model, and the facts of its checkpoint: step, stage, best, sha256, which, average, and `said`: its step in
        words, with the reason where it is another than the one that was asked for.

    Raises:
        CheckpointError: there is no checkpoint, or all are damaged.
        ContractError: it does not fit the model of `params`.
    """
    places = dict(committed(folder))
    name = f"{params.study}/{params.run}"
    if not places:
        raise CheckpointError(f"no checkpoint in {folder}: run 05_training first")
    wanted = _best(places.values()) if which == "best" else max(places)
    faults: dict[int, str] = {}

    def skipped(kind: str, **fields: Any) -> None:
        faults[fields["step"]] = fields["reason"]
        report(kind, **fields)

    order = [folder / f"step_{wanted:08d}", *(place for step, place in places.items() if step != wanted)]
    found = _first_whole(order, skipped)
    if found is None:
        told = "; ".join(f"{folder.name}/step_{step:08d}: {reason}" for step, reason in faults.items())
        named = " ".join(shlex.quote(part) for part in (params.study, "--profile", params.profile, "--run", params.run))
        raise CheckpointError(
            f"no checkpoint of {name} can be used ({told}): put one back from a copy, or train again with "
            f"`{command()} run {named} --stages 5 --force`, which sets them aside"
        )
    state, progress = found
    said = f"step {progress.step}"
    if faults:
        said += f", the newest whole one: the {which} one (step {wanted}) cannot be used ({faults[wanted]})"
    model = study.model(params)
    match_weights(model, state["model"], state.get("given", {}))
    model.load_state_dict(judged(state)["model"], strict=False)  # looked at; the given ones are there already
    seal = _seal(folder / f"step_{progress.step:08d}")["sha256"]
    average = state["average"] is not None
    return model.eval(), {**vars(progress), "which": which, "sha256": seal, "average": average, "said": said}


def whole(folder: Path) -> list[Path]:
    """Files of the last checkpoint and of the best: what a trained run stands for."""
    places = dict(committed(folder))
    if not places:
        return []
    kept = sorted({max(places), _best(places.values())} & set(places))
    return [places[step] / name for step in kept for name in ("state.pt", "COMMITTED")]


def _places(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of all checkpoints, unfinished ones too, newest first."""
    named = [(NAME.fullmatch(place.name), place) for place in folder.glob("step_*")]
    return sorted(((int(match[1]), place) for match, place in named if match and place.is_dir()), reverse=True)


def _best(newest_first: Iterable[Path]) -> int:
    """The step whose weights were the best when the newest readable checkpoint was written."""
    seal = next((_seal(place) for place in newest_first if _sealed(place)), {"step": 0, "best": None})
    return (seal["best"] or seal)["step"]


def _first_whole(
    places: Iterable[Path], report: Report, wanted: Callable[[Progress], bool] = lambda progress: True
) -> tuple[dict[str, Any], Progress] | None:
    """State and progress of the first of `places` that is wanted and whole; damaged ones before it are reported."""
    for place in places:
        try:
            if wanted(progress_of(place)):
                return _read(place)
        except DamagedError as fault:
            report("checkpoint_skipped", step=int(place.name[5:]), reason=str(fault))
    return None


def _read(place: Path) -> tuple[dict[str, Any], Progress]:
    """State and progress of a checkpoint, after a look at every byte; `DamagedError` with what is wrong."""
    seal, path = _seal(place), place / "state.pt"
    try:
        if not path.is_file():
            raise DamagedError("state.pt is not a file" if path.exists() else "state.pt is gone")
        if path.stat().st_size != seal["bytes"]:
            raise DamagedError(f"state.pt has {path.stat().st_size} bytes instead of {seal['bytes']}")
        if files.file_sha256(path) != seal["sha256"]:
            raise DamagedError("state.pt does not match its SHA-256")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DamagedError(f"state.pt cannot be read: {error.strerror or error}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedError(f"state.pt cannot be loaded: {str(error).splitlines()[0]}") from error
    return state, progress_of(place)


def _sealed(place: Path) -> bool:
    """Whether a checkpoint says of itself what training writes."""
    with contextlib.suppress(DamagedError):
        return bool(_seal(place))
    return False


def _seal(place: Path) -> dict[str, Any]:
    """What `COMMITTED` says of a checkpoint; `DamagedError` where that is not what was written."""
    try:
        seal = records.read(place / "COMMITTED")
    except Damaged as error:
        raise DamagedError(f"COMMITTED {error.why}") from error
    if seal is None:
        raise DamagedError("it is not there")
    if place.name != f"step_{seal['step']:08d}":
        raise DamagedError(f"it is the checkpoint of step {seal['step']} under another name")
    return seal
