"""What a training goes back to: the checkpoint it continues, or the best one of a stage; all ranks to the same.

Decisions:
- Where every checkpoint is damaged, or all are of another training, they are set aside with their metrics and this
  training begins anew. Where only later ones are of another, because a setting changes on the way, those alone are.
- Whether the best checkpoint of a stage can be read is agreed on: one rank that cannot decides for all.
"""

import shutil
from collections.abc import Callable
from typing import Any

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.training import checkpoint, schedule
from stepladder.training.checkpoint import DamagedError, Progress
from stepladder.training.parallel import DistributedContext


def find(
    run: Run, now: dict[str, Any], distributed: DistributedContext, report: Callable[..., None]
) -> tuple[dict[str, Any], Progress] | None:
    """State and progress of the newest whole checkpoint of this training; None where it begins anew.

    Args:
        run: whose checkpoints.
        now: the fingerprint of this training (see `schedule.config_fingerprint`).
        distributed: this process among the others.
        report: takes events, like `Run.event`.
    """
    damaged: list[int] = []
    others: list[Progress] = []  # newest first

    def skipped(kind: str, **fields: Any) -> None:
        damaged.append(fields["step"])
        report(kind, **fields)

    def ours(progress: Progress) -> bool:
        if not schedule.continues(progress.config_fingerprint, now, progress.step):
            others.append(progress)
        return progress not in others

    found = checkpoint.newest(run.checkpoints, skipped, ours)
    if others or (damaged and not found):
        name, why = "damaged", dict[str, Any](damaged=damaged)
        if others:
            before = others[0].config_fingerprint
            name, why = files.fingerprint(before)[:8], {"changed": schedule.changed(before, now)}
        distributed.wait()  # the others may still be reading
        if distributed.first:
            set_aside(run, name, found[1].step if found else None, **why)
    return found


def best(run: Run, step: int, distributed: DistributedContext, report: Callable[..., None]) -> dict[str, Any] | None:
    """The state of the checkpoint of `step`; None, and told, where any rank finds it damaged."""
    state, fault = None, "another rank cannot read it"
    try:
        state = checkpoint.read(run.checkpoints, step)
    except DamagedError as error:
        fault = str(error)
    [failed] = distributed.largest(float(state is None))
    if failed:
        report("checkpoint_skipped", step=step, reason=f"{fault}; the last weights of the stage are judged instead")
        return None
    return state


def set_aside(run: Run, name: str, after: int | None = None, **why: Any) -> str:
    """Move checkpoints and metrics to a folder of their own, named after `name`, and say why; the folder's name.

    Args:
        run: whose.
        name: what makes them another's.
        after: move only checkpoints of later steps, and copy the metrics; training cuts them when it goes on.
        why: told with the event.
    """
    number = 1
    while (place := run.folder / f"set_aside_{name}_{number}").exists():
        number += 1
    place.mkdir()
    metrics = run.folder / "metrics.jsonl"
    if after is None:
        for path in (run.checkpoints, metrics):
            if path.exists():
                path.rename(place / path.name)
    else:
        (place / run.checkpoints.name).mkdir()
        for step, path in checkpoint.committed(run.checkpoints):
            if step > after:
                path.rename(place / run.checkpoints.name / path.name)
        if metrics.exists():
            shutil.copy2(metrics, place)
        why |= {"after": after}
    run.event("checkpoints_set_aside", folder=place.name, **why)
    return place.name
