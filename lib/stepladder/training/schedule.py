"""The course of a training: its stages in steps, and what decides whether a checkpoint may be continued.

Decisions:
- Seed, data, model and what shapes the updates make the fingerprint. A checkpoint of another one is set aside with its
  metrics, never deleted and never continued: half of one experiment and half of another is neither.
- What only changes speed or bookkeeping (workers, processes, accumulation, precision, compile, intervals) may differ
  between starts. Changed code may too, and is noted: a fix must not cost a week of training.
- Settings that change on the way (`training.changes`) are part of the course, each from its step on. So a checkpoint is
  of this training where both changed the same up to its step: what comes later has not touched it. Those after the
  last such one are set aside alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepladder.core import closure, files
from stepladder.core.config import ParameterError
from stepladder.core.identity import Key
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.stages import visible
from stepladder.core.study import Study
from stepladder.core.types import TrainingPhase
from stepladder.data.shards import recipe_of

SPEED = {  # of `training`: what may differ between starts; all else shapes it, fields that a study adds too
    *("accumulate", "workers", "prefetch", "processes", "threads", "use_ladder", "precision", "compile", "shard"),
    *("activation_checkpointing", "activation_offload", "validate_every", "validation_batches"),
    *("checkpoint_every", "interruption_hours", "keep", "log_every", "overfit_threshold"),
}
CHANGES = "training.changes"
PLATEAU = {"plateau_factor", "plateau_patience", "plateau_threshold", "plateau_floor"}  # count with that schedule alone
BY_VALIDATION = {"validate_every", "validation_batches"}  # shape the updates with it
START = {"start_from", "start_from_missing", "start_from_surplus"}  # the first stands there as a digest, if at all
PROCESS = "stepladder.training.worker"


@dataclass(frozen=True)
class PhaseSpan:
    """A stage and its place among all optimizer steps."""

    phase: TrainingPhase
    begin: int
    end: int


def spans(study: Study, params: Parameters) -> list[PhaseSpan]:
    """The stages of a training and the optimizer steps each takes."""
    result, begin = [], 0
    for phase in study.phases(params):
        result.append(PhaseSpan(phase, begin, begin + phase.steps))
        begin += phase.steps
    return result


def config_fingerprint(run: Run, study: Study, params: Parameters, training: TrainingParams) -> dict[str, Any]:
    """Everything that decides the course of training, by name."""
    model = {f"model.{name}": value for name, value in params.model.model_dump(mode="json").items()}
    values = training.model_dump(mode="json", exclude={"changes"})
    if changes := [change.model_dump() for change in training.changes]:
        values["changes"] = changes  # none: as if there were no such field, which fingerprints of old do not have
    silent = SPEED - BY_VALIDATION if training.schedule == "plateau" else SPEED | PLATEAU
    shaping = {f"training.{name}": value for name, value in values.items() if name not in silent | START}
    if training.start_from:
        shaping["training.start_from"] = started_from(run, training)  # whatever its name
    stages = [[phase.name, phase.steps, list(phase.trainable), phase.learning_rate] for phase in study.phases(params)]
    return {"seed": params.seed, "data": data(run), "stages": stages, **model, **shaping}


def continues(before: dict[str, Any], now: dict[str, Any], step: int) -> bool:
    """Whether a checkpoint of `step` with fingerprint `before` is one of the training with fingerprint `now`."""
    past = [[change for change in one.get(CHANGES, []) if change["after"] < step] for one in (before, now)]
    return past[0] == past[1] and set(changed(before, now)) <= {CHANGES}


def at(training: TrainingParams, step: int) -> TrainingParams:
    """The training parameters in force after `step` optimizer steps."""
    values: dict[str, Any] = {}
    for change in training.changes:
        if change.after <= step:
            values |= change.model_dump(exclude={"after"})
    return training.model_copy(update=values) if values else training


def started_from(run: Run, training: TrainingParams) -> str:
    """SHA-256 of the weights that a training starts from."""
    from stepladder.training import starting  # with torch, which who only asks for a course does without

    origin = starting.find(run, training)
    assert origin is not None, "training.start_from names nothing"
    return origin.sha256


def data(run: Run) -> str:
    """Hash of the splits and of what every shard was made by; the same again when the same data is converted again."""
    result = run.result("02_conversion")
    assert result is not None, f"02_conversion of {run.folder} has no result"
    recipes = {asset: recipe_of(run.folder.parent / path) for asset, path in result["shards"].items()}
    return files.fingerprint([result["splits"], recipes])


def code(study: str) -> str:
    """Hash of the code that training runs."""
    return files.fingerprint(code_read(study))


def code_read(study: str) -> dict[str, str]:
    """Digest of every file that decides what the training process of a study does."""
    return closure.of_modules(PROCESS, f"stepladder.studies.{study}.study")


def job_key(run: Run, params: Parameters) -> Key:
    """What a training process is started with: parameters, code, data, and the setting that the ladder chose."""
    values = visible("05_training", params.model_dump(mode="json"))
    inputs: dict[str, Any] = {"the data": data(run), "ladder.json": run.chosen}
    if params.training.start_from:
        inputs["the weights of training.start_from"] = started_from(run, params.training)
    return Key(values, code_read(run.study), files.plain(inputs))


def check_plateau(training: TrainingParams, validated: bool) -> None:
    """Refuse the schedule `plateau` with a `ParameterError` where nothing is validated."""
    if training.schedule == "plateau" and not validated:
        raise ParameterError(
            "parameter 'training.schedule' = 'plateau': there is no validation sample that it could go by; give the "
            "split validation something, or choose another schedule"
        )


def check_shard(spans: Sequence[PhaseSpan], training: TrainingParams) -> None:
    """Refuse `training.shard` with a `ParameterError` where stages train different parameters."""
    if training.shard and len({span.phase.trainable for span in spans}) > 1:
        raise ParameterError(
            f"parameter 'training.shard': the stages {', '.join(span.phase.name for span in spans)} train different "
            "parameters, which a sharded model cannot change on the way: set training.shard to false"
        )


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of what differs between the fingerprints of two trainings."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
