"""What a run is doing now, told from its files alone: whoever started it, in whatever way. See `launched` for others.

Decisions:
- Four things are evidence, in this order: a training that lives (its lock, or its job's process), a walk that holds the
  run's lock, a notebook whose kernel lives and has opened a stage, and what has been left behind. So a run walked by
  papermill or by hand has a true state too, though nobody wrote a `run.json`.
- How far a training is, its own metrics say: the rate is that of the last records of this start, pauses for validation
  and saving included, because a person who asks for the time left waits for those too.
- Of metrics only the end is read, of events only the lines that are asked for.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from stepladder.core import aside, files, jsonlines, lock, records
from stepladder.core.files import Json
from stepladder.core.records import Status
from stepladder.core.stages import STAGES
from stepladder.core.units import digits
from stepladder.machine import processes

TRAINING = "05_training"
GONE = "its process is gone without a word"
WINDOW = 200  # records of metrics that the rate is taken from
RECENT = 500  # events in which the stage and the cell under way are looked for
SILENT = 120.0  # seconds without a record after which that is said


@dataclass(frozen=True)
class Training:
    """A training under way.

    Attributes:
        step: optimizer steps done, over all its stages.
        total: steps it will do; None until it has said so.
        phase: its stage of training.
        rate: steps per second, pauses included; None until two records are there.
        silent: seconds since its last record.
    """

    step: int
    total: int | None
    phase: str
    rate: float | None
    silent: float

    @property
    def left(self) -> float | None:
        """Seconds that remain at this rate; None while that cannot be told."""
        return max(self.total - self.step, 0) / self.rate if self.total and self.rate else None

    def __str__(self) -> str:
        """`step 312 of 2000 (fill), 4.1 steps/s, 7 min left`."""
        words = f"step {self.step}" + (f" of {self.total}" if self.total else "")
        words += f" ({self.phase})" if self.phase else ""
        words += f", {digits(self.rate, 2)} steps/s" if self.rate else ""
        words += f", {duration(self.left)} left" if self.left is not None else ""
        return words + (f", silent for {duration(self.silent)}" if self.silent > SILENT else "")


def status(folder: Path, record: Status | None) -> Status:
    """The state of a run walked here that a reader may believe; `record` is its `run.json`, where there is one.

    `stale` where the record says running and nothing of the run lives; where there is no record, what the files say.
    """
    record = record or _left(folder)
    if doing := training(folder):
        return {**record, "state": "running", "reason": f"{TRAINING}: {doing}"}
    if record["state"] == "running" and lock.holder(folder) is not None:
        return {**record, "reason": under_way(folder) or record["reason"]}
    stage = opened(folder)
    reading = f"{stage} is open in a notebook" if stage else ""
    if record["state"] == "running":
        reason = "; ".join(filter(None, [GONE, reading]))
        return {**record, "state": "stale", "reason": reason}
    return {**record, "state": "open", "reason": reading} if stage else record


def training(folder: Path, now: float | None = None) -> Training | None:
    """How far the training of the run in `folder` is; None where none is alive, here or on another machine."""
    process = trainer(folder)
    if process is None:
        return None
    began = max([processes.born(process), *map(records.seconds, told(folder, "training_started")[-1:])])
    now = time.time() if now is None else now
    return trained(folder, began, now) or Training(0, None, "", None, now - began)


def trained(folder: Path, began: float, now: float) -> Training | None:
    """How far the records since `began` say that a training is; None where they say nothing.

    Args:
        folder: the run's.
        began: when it started, in seconds since 1970 by the clock that its records bear.
        now: the time by that clock.
    """
    said: Json = {}  # by this start; what an earlier one said of its stages is over
    for kind in ("resumed", "training_stage"):
        for event in told(folder, kind)[-1:]:
            if records.seconds(event) >= began:
                said |= event
                began = records.seconds(event) if kind == "resumed" else began
    own = _of_one_start([line for line in _steps(folder) if line["time"] >= began])
    if not said and not own:
        return None
    begun, total = (said[name] if isinstance(said.get(name), int) else None for name in ("step", "total"))
    last: Json = own[-1] if own else {"step": begun or 0, "time": records.seconds(said)}
    steps, seconds = (float(last[name] - own[0][name]) if own else 0.0 for name in ("step", "time"))
    return Training(
        step=last["step"],
        total=total,
        phase=str(last.get("stage") or said.get("stage", "")),
        rate=steps / seconds if steps > 0 and seconds > 0 else None,
        silent=max(now - last["time"], 0.0),
    )


def _steps(folder: Path) -> list[Json]:
    """The last lines of metrics that bear a step and a time."""
    lines = jsonlines.last(folder / "metrics.jsonl", WINDOW)
    return [line for line in lines if records.is_step(line) and "time" in line]


def _of_one_start(lines: list[Json]) -> list[Json]:
    """The lines since steps or the time went back: there another start goes on, perhaps on another machine."""
    pairs = enumerate(pairwise(lines), 1)
    back = [number for number, (old, new) in pairs if new["step"] < old["step"] or new["time"] < old["time"]]
    return lines[back[-1] :] if back else lines


def opened(folder: Path) -> str | None:
    """The stage that a living notebook of this machine has open, the latest where there are several; or None."""
    living: dict[Path, float] = {}
    for path in folder.glob(f"*/{aside.PREFIX}-*/{aside.OWNER}"):
        if processes.is_alive(_record(path)):
            with suppress(OSError):  # its stage has finished since
                living[path] = path.stat().st_mtime
    return max(living, key=living.__getitem__).parents[1].name if living else None


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `40 s`, `7 min`, `2 h 5 min`, `3 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def trainer(folder: Path) -> Json | None:
    """The process that trains this run: who holds the training's lock, or the process of its job, still starting."""
    place = folder / TRAINING
    job = _record(place / "job.json")
    # A copied folder holds the job of another run.
    mine = job is not None and job.get("run") == f"{folder.parent.name}/{folder.name}"
    return lock.holder(place) or (job if mine and processes.is_alive(job) else None)


def under_way(folder: Path, since: float = 0.0) -> str:
    """The stage that a walk is in, its cell and how far that is, in words; empty where nothing tells.

    Args:
        folder: the run's.
        since: events before that, in seconds since 1970 by the clock that they bear, tell nothing.
    """
    recent = jsonlines.last(folder / "events.jsonl", RECENT)
    recent = [event for event in recent if not since or (records.is_event(event) and records.seconds(event) >= since)]
    names = [stage.name for stage in STAGES]
    stages = [event["stage"] for event in recent if event.get("stage") in names]
    if not stages:
        return ""
    cells = [(number, event) for number, event in enumerate(recent) if event.get("kind") == "cell_start"]
    number, cell = cells[-1] if cells else (0, dict[str, Any]())
    if cell.get("stage") != stages[-1]:
        return stages[-1]
    texts = [str(event.get("text")) for event in recent[number:] if event.get("kind") == "progress"]
    return ", ".join([stages[-1], f"cell {cell.get('cell')} of {cell.get('of')}: {cell.get('title')}", *texts[-1:]])


def _left(folder: Path) -> Status:
    """The state of a run that nobody wrote a record of: a person, or papermill, ran its notebooks."""
    done = [stage.name for stage in STAGES if (folder / stage.name / "result.json").exists()]
    ended = _record(folder / TRAINING / "outcome.json") or {}
    if TRAINING not in done and ended.get("state") in ("failed", "oom", "preempted"):
        reason = str(ended.get("reason", "")).strip().splitlines()[-1:]
        return {"state": ended["state"], "reason": ": ".join([TRAINING, *reason])}
    if len(done) == len(STAGES):
        return {"state": "done", "reason": "by hand, notebook by notebook"}
    if not (folder / "params.yaml").exists():
        return {"state": "new", "reason": "not begun"}
    return {"state": "begun", "reason": f"{len(done)} of {len(STAGES)} stages have a result"}


def told(folder: Path, *kinds: str) -> list[Json]:
    """The events of a run of some kinds, in order; lines that name none of them are not parsed."""
    names = [kind.encode() for kind in kinds]
    lines = jsonlines.lines(folder / "events.jsonl")
    found = (jsonlines.parse(line) for line in lines if any(name in line for name in names))
    return [event for event in found if event and event.get("kind") in kinds and records.is_event(event)]


def _record(path: Path) -> Json | None:
    """A small record; None where it is not there or damaged."""
    try:
        found: Any = files.read_json(path)
    except (OSError, ValueError):
        return None
    return cast(Json, found) if isinstance(found, dict) else None
