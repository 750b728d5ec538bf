"""The course of a training: its stages in steps, and what decides whether a checkpoint may be continued.

Decisions:
- Seed, data, model and what shapes the updates make the fingerprint. A checkpoint of another one is set aside with its
  metrics, never deleted and never continued: half of one experiment and half of another is neither.
- What only changes speed or bookkeeping (workers, processes, accumulation, precision, compile, intervals) may differ
  between starts. Changed code may too, and is noted: a fix must not cost a week of training.
"""

from dataclasses import dataclass
from typing import Any

from stepladder.core import closure, files
from stepladder.core.identity import Key
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.stages import visible
from stepladder.core.study import Study
from stepladder.core.types import TrainingPhase
from stepladder.data.shards import recipe_of

SPEED = {  # of `training`: what may differ between starts; all else shapes it, fields that a study adds too
    *("accumulate", "workers", "prefetch", "processes", "threads", "use_ladder", "precision", "compile"),
    *("activation_checkpointing", "shard", "validate_every", "validation_batches", "checkpoint_every", "keep"),
    *("log_every", "overfit_threshold"),
}
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
    values = training.model_dump(mode="json")
    shaping = {f"training.{name}": value for name, value in values.items() if name not in SPEED}
    stages = [[phase.name, phase.steps, list(phase.trainable), phase.learning_rate] for phase in study.phases(params)]
    return {"seed": params.seed, "data": data(run), "stages": stages, **model, **shaping}


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
    return Key(values, code_read(run.study), files.plain({"the data": data(run), "ladder.json": run.chosen}))


def set_aside(run: Run, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Move checkpoints and metrics of the training `before` to a folder of their own, and say what changed."""
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    number = 1
    while (place := run.folder / f"set_aside_{files.fingerprint(before)[:8]}_{number}").exists():
        number += 1
    place.mkdir()
    for path in (run.checkpoints, run.folder / "metrics.jsonl"):
        if path.exists():
            path.rename(place / path.name)
    run.event("checkpoints_set_aside", folder=place.name, changed=changed)
