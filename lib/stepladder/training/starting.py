"""Weights that a training starts from instead of random ones: `training.start_from`.

Decisions:
- Three things can be named: a run, as `study/run` beside this one (its best checkpoint, with averaged weights where
  they were kept); the folder of one checkpoint; a file of safetensors.
- It fits exactly, or training does not begin: what of the model is missing in it and what of it the model lacks must be
  said beforehand, by prefixes that all name something. So a wrong file, a wrong prefix or a model of another shape is
  never loaded "successfully", with half of it random.
- The SHA-256 of the weights is part of what decides the training: with others under the same name it is another one.
  A run that goes on from its own checkpoint reads them no more.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stepladder.core import identity
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.core.schema import TrainingParams
from stepladder.training import checkpoint, contents
from stepladder.training.checkpoint import CheckpointError
from stepladder.training.trainable import ContractError, differing, given, misfits, some

RUN = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Origin:
    """Where weights come from: a file of safetensors, or the folder of a checkpoint; and their SHA-256."""

    path: Path
    sha256: str

    def read(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The weights by name, and the identities of what the model that had them was given.

        Raises:
            ParameterError: they cannot be read.
        """
        try:
            if self.path.is_dir():
                state = contents.judged(checkpoint.state_in(self.path))
                return state["model"], state.get("given", {})
            return _safetensors(self.path), {}
        except CheckpointError as error:
            raise ParameterError(f"parameter 'training.start_from': {self.path.name}: {error}") from error


def find(run: Run, training: TrainingParams) -> Origin | None:
    """What `training.start_from` names; None where it names nothing.

    Raises:
        ParameterError: there is no such thing, or it is the run itself.
    """
    named = training.start_from
    if named is None:
        return None
    path = Path(named)
    if path.is_file() and path.suffix == ".safetensors":
        return Origin(path, identity.content(path, run.hashes))
    folder = run.folder.parents[1] / named
    if RUN.fullmatch(named) and (folder / "checkpoints").is_dir():
        if folder.resolve() == run.folder.resolve():
            raise ParameterError(f"parameter 'training.start_from' = {named!r}: a run cannot start from itself")
        return _checkpoint(named, folder / "checkpoints")
    if path.is_dir():
        return _checkpoint(named, path)
    raise ParameterError(
        f"parameter 'training.start_from' = {named!r}: it is no run beside this one (study/run), no folder of a "
        "checkpoint and no file *.safetensors"
    )


def begin(model: nn.Module, origin: Origin, training: TrainingParams) -> dict[str, Any]:
    """Load the weights of `origin` into a fresh model; every rank must call it.

    Returns:
        What is told of it: tensors and parameters loaded, tensors missing and surplus.

    Raises:
        ContractError: they do not fit as `training.start_from_missing` and `start_from_surplus` say.
    """
    weights, identities = origin.read()
    found = misfits(model, weights)
    faults = [
        *_unsaid("missing", found["missing"], training.start_from_missing),
        *_unsaid("surplus", found["surplus"], training.start_from_surplus),
        *([f"other shapes: {some(found['mismatched'])}"] if found["mismatched"] else []),
    ]
    if origin.path.is_dir():
        shared = given(model).keys() & identities.keys()
        faults += differing(*({name: side[name] for name in shared} for side in (given(model), identities)))
    if faults:
        raise ContractError(f"the weights of training.start_from do not fit the model: {'; '.join(faults)}")
    taken = {name: value for name, value in weights.items() if name not in found["surplus"]}
    contents.load_some(model, taken)
    return {
        "tensors": len(taken),
        "parameters": sum(value.numel() for value in taken.values()),
        "missing": len(found["missing"]),
        "surplus": len(found["surplus"]),
    }


def _unsaid(what: str, names: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """What is wrong with names that are missing or surplus, given the prefixes that were said beforehand, in words."""
    unsaid = [name for name in names if not name.startswith(tuple(prefixes))]
    idle = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
    told = [f"{what}: {some(unsaid)} (where that is meant, name prefixes in training.start_from_{what})"]
    return [
        *(told if unsaid else []),
        *(f"training.start_from_{what} names {prefix!r}, but nothing so called is {what}" for prefix in idle),
    ]


def _checkpoint(named: str, folder: Path) -> Origin:
    """The checkpoint in a folder, or the best of those in it."""
    try:
        place = folder if checkpoint.NAME.fullmatch(folder.name) else checkpoint.best_of(folder)
        return Origin(place, checkpoint.sha256_of(place))
    except CheckpointError as error:
        raise ParameterError(f"parameter 'training.start_from' = {named!r}: {error}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError  # of the extras of studies that use it
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"parameter 'training.start_from' = {path.name!r} needs the package safetensors, which is not installed"
        ) from error
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ParameterError(f"parameter 'training.start_from': {path.name} cannot be read: {error}") from error
