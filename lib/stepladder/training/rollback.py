"""Rolling a training back: to a good checkpoint, to go on from there with another setting.

Decisions:
- What is set holds from the checkpoint's step on, as a line of `training.changes`. So what was done stays in the
  parameters: training from the beginning with them ends with the same weights (see `schedule`).
- A checkpoint is good when it is whole and the loss had not gone wrong by then. Wrong is, within a stage of training: a
  loss that is not finite, a validation loss above the best before by more than 05's own gate allows
  (`checks.WORSE`), or a median of the last losses above the lowest such median by half.
- Nothing is deleted: later checkpoints are set aside with the metrics, and an event tells.
- Only what can change on the way may be set. Anything else makes another training, which begins anew.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from stepladder.core import claim, lock, progress, records
from stepladder.core.config import ParameterError, check, merge, nearest, nested
from stepladder.core.paths import command
from stepladder.core.run import Run
from stepladder.core.schema import Change
from stepladder.training import checkpoint, resume, schedule, worker
from stepladder.training.checks import WORSE, above

SETTABLE = [f"training.{name}" for name in Change.model_fields if name != "after"]
ROSE = 1.5  # of the lowest median of losses, above which training has gone wrong
LAST = 10  # losses in a median


@dataclass(frozen=True)
class Rollback:
    """What a roll-back would do.

    Attributes:
        step: of the checkpoint that training goes on from.
        reached: of the newest checkpoint.
        why: how it was chosen, in words.
        assignments: the parameters to set, flat.
    """

    step: int
    reached: int
    why: str
    assignments: dict[str, Any]


def rollback(run: Run, settings: Mapping[str, Any], step: int | None = None) -> Rollback:
    """Go back to the last good checkpoint of a run, or to that of `step`, and set what changes from there on.

    Training goes on from there the next time it is started. Later checkpoints are set aside, and the event
    `rolled_back` tells.

    Args:
        run: its run, which is not at work.
        settings: what changes from there on, flat, as `{"training.learning_rate": 1e-4}`.
        step: the checkpoint to go back to; None: the last good one.

    Returns:
        What was done.

    Raises:
        ParameterError: the run is at work, there is no such checkpoint, or a setting cannot change on the way.
    """
    refuse_at_work(run)
    with run.locked(), lock.hold(run.stage_folder("05_training"), f"roll-back of {run.study}/{run.name}"):
        done = plan(run, settings, step)
        given = merge(*(nested(name, value) for name, value in done.assignments.items()))
        run.begin(*run.resolve(run.values()["profile"], given))
        aside = resume.set_aside(run, "rolled_back", done.step) if done.reached > done.step else None
        told = {name: getattr(done, name) for name in ("step", "reached", "why", "assignments")}
        run.event("rolled_back", **told, folder=aside)
    return done


def plan(run: Run, settings: Mapping[str, Any], step: int | None = None) -> Rollback:
    """What `rollback` would do; nothing is changed."""
    unknown = next((name for name in settings if name not in SETTABLE), None)
    if unknown is not None:
        raise ParameterError(f"{unknown!r} cannot change on the way{nearest(unknown, SETTABLE)}")
    reached = max((at for at, _ in checkpoint.committed(run.checkpoints)), default=None)
    if reached is None:
        raise ParameterError(f"{run.study}/{run.name} has no checkpoint: there is nothing to roll back to")
    at, why = _chosen(run, step)
    _refuse_without_effect(run, settings, at)
    earlier = worker.read_parameters(run)[1].training.changes
    wanted = check(Change, {"after": at, **{name.partition(".")[2]: value for name, value in settings.items()}})
    changes = _changed(earlier, wanted)
    return Rollback(at, reached, why, {"training.changes": [change.model_dump() for change in changes]})


def refuse_at_work(run: Run) -> None:
    """`ParameterError` where the run trains, is walked, or is launched, with the way out."""
    if refusal := claim.refusal(run.folder):
        raise ParameterError(f"{refusal}: stop it first")
    if progress.trainer(run.folder) is not None:
        name = shlex.quote(f"{run.study}/{run.name}")
        raise ParameterError(f"{name} is training: stop it first with `{command()} stop {name}` (it saves)")


def fault(metrics: Sequence[Mapping[str, Any]], step: int) -> str | None:
    """What had gone wrong by `step`, in words; None where nothing had."""
    past = [line for line in metrics if line["step"] <= step]
    own = [line for line in past if line.get("stage") == past[-1].get("stage")]
    losses, validation = ([line[name] for line in own if name in line] for name in ("loss", "validation_loss"))
    if not all(value is not None and math.isfinite(value) for value in (*losses, *validation)):
        return "a loss is not finite"
    if validation and above(validation[-1], min(validation), WORSE):
        return f"its validation loss {validation[-1]:.4g} is above the best before, {min(validation):.4g}"
    medians = [median(losses[at - LAST : at]) for at in range(LAST, len(losses) + 1)]
    if medians and above(medians[-1], min(medians), ROSE):
        return f"its loss {medians[-1]:.4g} is far above the lowest before, {min(medians):.4g}"
    return None


def _chosen(run: Run, wanted: int | None) -> tuple[int, str]:
    """The step to go back to, and why that one."""
    places = dict(checkpoint.committed(run.checkpoints))
    if wanted is not None and wanted not in places:
        raise ParameterError(f"there is no checkpoint of step {wanted} (kept: {', '.join(map(str, sorted(places)))})")
    study, params = worker.read_parameters(run)
    now, end = schedule.config_fingerprint(run, study, params, worker.in_force(run, params)), _spans(run)[-1].end
    metrics = [line for line in run.metrics() if records.is_step(line)] if wanted is None else []
    passed: list[str] = []
    for step in places if wanted is None else [wanted]:
        wrong = _unusable(run, step, now, end) or (fault(metrics, step) if metrics else None)
        if wrong is None:
            said = "as asked" if wanted is not None else "the newest good one" if passed else "the newest"
            return step, "; ".join([said, *passed])
        passed.append(f"not step {step}: {wrong}")
    raise ParameterError(
        f"no checkpoint to roll back to ({'; '.join(passed)}): choose another with --step (kept: "
        f"{', '.join(map(str, sorted(places)))}), or train anew"
    )


def _unusable(run: Run, step: int, now: dict[str, Any], end: int) -> str | None:
    """Why training cannot go on from a checkpoint; None where it can."""
    if step >= end:
        return "it is the end of training"
    try:
        checkpoint.read(run.checkpoints, step)
    except checkpoint.DamagedError as error:
        return str(error)
    before = checkpoint.progress_of(run.checkpoints / f"step_{step:08d}").config_fingerprint
    if schedule.continues(before, now, step):
        return None
    return f"it is of another training ({', '.join(schedule.changed(before, now))})"


def _changed(earlier: Sequence[Change], wanted: Change) -> list[Change]:
    """Changes after a roll-back: those before it, what came at its step and is set now; no later one."""
    kept = [change for change in earlier if change.after < wanted.after]
    at = [change for change in earlier if change.after == wanted.after]
    both = wanted.model_copy(update={**(at[0].model_dump() if at else {}), **wanted.model_dump()})
    return [*kept, both] if len(both.model_dump()) > 1 else kept


def _refuse_without_effect(run: Run, settings: Mapping[str, Any], step: int) -> None:
    """Refuse a learning rate where every stage of training still to come has its own."""
    spans = [span for span in _spans(run) if span.end > step]
    if "training.learning_rate" in settings and all(span.phase.learning_rate for span in spans):
        names = ", ".join(span.phase.name for span in spans)
        raise ParameterError(f"training.learning_rate has no effect after step {step}: {names} has its own rate")


def _spans(run: Run) -> list[schedule.PhaseSpan]:
    study, params = worker.read_parameters(run)
    return schedule.spans(study, params)
