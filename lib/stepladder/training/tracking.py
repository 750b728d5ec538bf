"""Tracking: `metrics.jsonl` is the truth; W&B and TensorBoard mirror it.

Decisions:
- A record is one flat line: `step` (optimizer steps done), `stage`, then either `loss`, `loss_<part>`, `lr`, `norm`, or
  `validation_loss`, `validation_loss_<part>`, and with these, of a study with tasks, `task_gradient/<task>` and
  `task_cosine/<a>~<b>` (see `task_gradients`). Tasks that nothing was labelled for are left out. Keys in WALL depend on
  the machine; all others are a pure function of the parameters and the data (those of task gradients also of the size
  of a micro-batch), so a resumed run's lines equal an uninterrupted one's.
- Lines past the checkpoint that training resumes from are cut before it goes on: no step is ever told twice.
- A mirror that fails is reported once and left alone. Training never stops for it. `replay` fills any mirror later.
- W&B is offline unless WANDB_API_KEY or WANDB_MODE is set; it is sent parameters without anything that looks secret,
  and neither code, git state nor console.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stepladder.core import files, jsonlines
from stepladder.core.schema import Parameters
from stepladder.core.secrets import redact, redacted

GRADIENT, COSINE = "task_gradient/", "task_cosine/"  # beginnings of names; a cosine's ends `a~b`
WALL = ("time", "seconds", "samples_per_s")
Record = dict[str, Any]
Report = Callable[..., None]  # like `Run.event`


class Tracker:
    """Somewhere metrics go; this one nowhere, as on all ranks but the first."""

    def log(self, record: Record) -> None:
        """Take one record."""

    def finish(self, state: str) -> None:
        """The run ended as `state` (see `run.STATES`)."""


class Jsonl(Tracker):
    """`metrics.jsonl`, held open: one `write` per record, so a kill loses at most the line in hand.

    Args:
        path: the file.
        step: records past this step belong to a future that is about to be lived again; they are cut.

    Attributes:
        damaged: lines that were no records (a kill, a power cut, a full disk); they are kept beside the file.
    """

    def __init__(self, path: Path, step: int):
        self.damaged = jsonlines.keep(path, lambda record: _step(record) <= step)
        self._writer = jsonlines.Writer(path)

    def log(self, record: Record) -> None:
        """Append one record."""
        self._writer.write(record)

    def finish(self, state: str) -> None:
        """Close the file."""
        self._writer.close()


class Wandb(Tracker):
    """Mirror in Weights & Biases. One run id per run folder, so a resumed run continues where it is synchronised."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        study, name, config = folder.parent.name, folder.name, redacted(config)
        own = f"{study}-{name}-{files.fingerprint(config)[:8]}"
        self._run = open_wandb(study, folder / "05_training", name=name, id=own, resume="allow", config=config)

    def log(self, record: Record) -> None:
        """Log the record's numbers at its step."""
        self._run.log(numbers(record), step=record["step"])

    def finish(self, state: str) -> None:
        """Close the run; anything but done is marked as failed."""
        if state == "preempted":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if state == "done" else 1)


def open_wandb(project: str, folder: Path, **options: Any) -> Any:
    """A run of W&B in `folder`: offline unless the environment says otherwise, without code, git state or console."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    online = "WANDB_API_KEY" in os.environ or "WANDB_MODE" in os.environ
    quiet = wandb.Settings(console="off", disable_git=True, save_code=False, x_disable_meta=True)
    mode = None if online else "offline"
    return wandb.init(project=f"stepladder-{project}", dir=str(folder), mode=mode, settings=quiet, **options)


class TensorBoard(Tracker):
    """Mirror as TensorBoard event files in `05_training/tensorboard`."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "05_training" / "tensorboard"))

    def log(self, record: Record) -> None:
        """Write the record's numbers at its step."""
        for name, value in numbers(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def finish(self, state: str) -> None:
        """Write what is buffered."""
        self._writer.close()


MIRRORS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {"wandb": Wandb, "tensorboard": TensorBoard}


class Guarded(Tracker):
    """A mirror whose failure is reported once and never felt by training."""

    def __init__(self, name: str, make: Callable[[], Tracker], report: Report):
        self._name, self._report = name, report
        self._tracker: Tracker | None = None
        self._try(lambda: setattr(self, "_tracker", make()))

    def log(self, record: Record) -> None:
        """Pass the record on, while the mirror works."""
        if tracker := self._tracker:
            self._try(lambda: tracker.log(record))

    def finish(self, state: str) -> None:
        """Pass the end on, while the mirror works."""
        if tracker := self._tracker:
            self._try(lambda: tracker.finish(state))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever a third-party service throws, training goes on
            self._tracker = None
            self._report("mirror_failed", mirror=self._name, reason=redact(f"{type(error).__name__}: {error}"))


class All(Tracker):
    """The record file and every mirror a run asks for in `tracking`.

    Args:
        folder: the run's folder.
        params: its parameters.
        step: the step training starts from (see `Jsonl`).
        report: receives the one event of a failing mirror, and of a damaged record file, like `Run.event`.
    """

    def __init__(self, folder: Path, params: Parameters, step: int, report: Report):
        config = params.model_dump(mode="json")
        mirrors = [name for name in params.tracking if name in MIRRORS]
        kept = Jsonl(folder / "metrics.jsonl", step)
        if kept.damaged:
            report("damaged", file="metrics.jsonl", lines=kept.damaged, kept_as="metrics.jsonl.damaged")
        self._trackers: list[Tracker] = [kept]
        self._trackers += [Guarded(name, partial(MIRRORS[name], folder, config), report) for name in mirrors]

    def log(self, record: Record) -> None:
        """Log everywhere."""
        for tracker in self._trackers:
            tracker.log(record)

    def finish(self, state: str) -> None:
        """End everywhere."""
        for tracker in self._trackers:
            tracker.finish(state)


def replay(folder: Path, tracker: Tracker) -> int:
    """Feed the recorded metrics of the run in `folder` to `tracker`; returns the number of records."""
    number = 0
    for line in jsonlines.each(folder / "metrics.jsonl"):
        tracker.log(line)
        number += 1
    tracker.finish((files.read_object(folder / "run.json") or {}).get("state", "done"))
    return number


def numbers(record: Record) -> dict[str, float]:
    """The numbers of a record that a curve can show: all but its step and the time of day."""
    return {k: v for k, v in record.items() if k not in ("step", "time") and isinstance(v, int | float)}


def _step(record: Record) -> float:
    """The step of a record; one that tells none belongs to no future."""
    step = record.get("step")
    return step if isinstance(step, int | float) else 0
