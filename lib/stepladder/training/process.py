"""Starting, following and stopping the training process from a notebook.

Decisions:
- Training runs in a process of its own, so a crash or an out-of-memory kill there never takes the notebook down.
- The job is known by `05_training/job.json`: its process (machine, pid, start time) and its key. `start` attaches to a
  job of the same parameters and data that still runs, so the notebook can be closed and opened again; another one is
  refused, for its checks and metrics would pass for the wrong ones. Code that has changed meanwhile is no reason to
  refuse: the result is stamped with the code that ran, and is stale.
- In a person's JupyterLab the job outlives the kernel. Under an engine it dies with it, saving first: nothing may go on
  holding a GPU that nobody watches.
- A kernel that is told to stop (`Preempted`) passes SIGTERM on, waits for the checkpoint, and stops then.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stepladder.core import files, lock
from stepladder.core.config import ParameterError, dump
from stepladder.core.identity import Key
from stepladder.core.records import Job as JobRecord
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.machine import processes
from stepladder.machine.oom import Memory
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, schedule, worker

TAIL = 15  # lines of the log shown with an error


class TrainingFailed(RuntimeError):
    """The training process failed; the text says why and where its log is."""


class OutOfMemoryError(TrainingFailed):
    """The training process ran out of memory, of the GPU or of the machine."""


@dataclass
class Job:
    """A training process, started here or found running.

    Attributes:
        run: its run.
        pid: process id of its agent.
        code: digests of the code it runs.
        attached: whether it was found running rather than started.
    """

    run: Run
    pid: int
    code: Mapping[str, str] = field(default_factory=dict)
    attached: bool = False
    _child: subprocess.Popen | None = None
    _before: Memory = field(default_factory=Memory.read)

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.run.folder / "05_training" / "train.log"

    def running(self) -> bool:
        """Whether the process still runs."""
        if self._child is not None:
            return self._child.poll() is None
        return processes.is_alive(_job_file(self.run))

    def follow(self, on_metrics: Callable[[list[dict[str, Any]]], None] | None = None, poll: float = 0.5) -> str:
        """Wait for the end, handing over new lines of metrics; returns the reason in words.

        Args:
            on_metrics: called with every batch of new lines, those already written included. When training resumes
                some steps come again; the later line counts.
            poll: seconds between looks.

        Raises:
            Preempted: the job was preempted, or this kernel was told to stop and the job has saved and stopped.
            OutOfMemoryError, TrainingFailed: it failed.
            KeyboardInterrupt: a person interrupted; in JupyterLab the job goes on, under an engine it saves and stops.
        """
        tail = Tail(self.run.folder / "metrics.jsonl")
        try:
            while self.running():
                self._hand_over(tail, on_metrics)
                time.sleep(poll)
        except Preempted:
            self.stop()
            raise
        except KeyboardInterrupt:
            if _headless():
                self.stop()
            raise
        self._hand_over(tail, on_metrics)
        return self._conclude()

    def stop(self) -> None:
        """Ask the job to save and stop, and wait until it has."""
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
        while self.running():
            time.sleep(0.05)

    def _hand_over(self, tail: "Tail", on_metrics: Callable[[list[dict[str, Any]]], None] | None) -> None:
        lines = tail.read()
        if lines and on_metrics:
            on_metrics(lines)

    def _conclude(self) -> str:
        """The reason of the end in words, or the exception that fits it."""
        told = files.read_json(worker.outcome_path(self.run)) or {}
        code = self._child.returncode if self._child else None
        state, reason = told.get("state"), told.get("reason", "")
        if state == "done" and code in (0, None):
            return reason
        if state == "preempted" or code in (worker.PREEMPTED, -signal.SIGTERM):
            raise Preempted(reason or "training was stopped by a signal")
        killed = code in (worker.KILLED, -signal.SIGKILL) or not told
        proof = self._before.killed_since(Memory.read()) if killed else None
        reason = reason or f"the training process was killed or lost (exit code {code})"
        text = "; ".join(part for part in (reason, proof) if part) + f"\n{self._last_lines()}"
        raise OutOfMemoryError(text) if state == "oom" or proof else TrainingFailed(text)

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return f"last lines of {self.log.relative_to(self.run.folder)}:\n" + "\n".join(lines[-TAIL:])


class Tail:
    """New whole lines of a growing JSON-lines file; a file that was cut short is read anew."""

    def __init__(self, path: Path):
        self._path, self._offset, self._inode = path, 0, 0

    def read(self) -> list[dict[str, Any]]:
        """Records written since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.decode().splitlines()]


def planned_steps(study: Study, params: Parameters) -> int:
    """Optimizer steps of all stages together."""
    return schedule.spans(study, params)[-1].end


def plan_table(run: Run, study: Study, params: Parameters) -> pd.DataFrame:
    """What training will do, a row per stage; `done` counts the steps that a checkpoint already holds."""
    training = worker.in_force(run, params)
    reached = max([step for step, _ in checkpoint.committed(run.checkpoints)], default=0)
    rows = []
    for span in schedule.spans(study, params):
        done = min(max(reached - span.begin, 0), span.phase.steps)
        trains = ", ".join(prefix or "everything" for prefix in span.phase.trainable)
        rate = span.phase.learning_rate or training.learning_rate
        rows.append(
            {"stage": span.phase.name, "trains": trains, "steps": span.phase.steps, "done": done, "peak rate": rate}
        )
    setting = {name: getattr(training, name) for name in ("batch", "workers", "processes", "precision")}
    return pd.DataFrame(rows).assign(**setting)


def start(run: Run, params: Parameters) -> Job:
    """Start training in a process of its own, or attach to the one of this run that still runs.

    Raises:
        ParameterError: a job with other parameters or data runs, here or on another machine; or 04_scaling is not done.
    """
    with run.locked():  # of two who start at once one starts, the other attaches
        key = schedule.job_key(run, params)
        found = _job_file(run)
        if found:
            return Job(run, found["pid"], _same(run, found, key), attached=True)
        return _begin(run, params, key)


def _begin(run: Run, params: Parameters, key: Key) -> Job:
    """Start a training process; see `start`."""
    folder = run.stage_folder("05_training")
    run.require("04_scaling", params.model_dump(mode="json"))
    lock.wait_for_other_machines(folder, f"training of {run.study}/{run.name}")
    worker.outcome_path(run).unlink(missing_ok=True)
    files.write_text(folder / "params.yaml", dump(params.model_dump(mode="json")))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", worker.DIE_WITH_PARENT: "1" if _headless() else ""}
    command = [sys.executable, "-m", "stepladder.training.worker", str(run.folder), str(folder / "params.yaml")]
    with (folder / "train.log").open("ab") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    record = {**processes.identity(child.pid), "run": f"{run.study}/{run.name}", "key": asdict(key)}
    files.write_json(folder / "job.json", record)
    run.event("training_started", pid=child.pid, processes=params.training.processes)
    return Job(run, child.pid, key.code, _child=child)


def stop(run: Run) -> bool:
    """Ask the training process of a run to save and stop, and wait until it has; whether one was running here."""
    found = _job_file(run)
    if not found:
        return False
    Job(run, found["pid"], attached=True).stop()
    return True


def _same(run: Run, found: JobRecord, key: Key) -> Mapping[str, str]:
    """Digests of the code that a running job runs; `ParameterError` where it is not the job that is asked for."""
    own = Key(**found["key"])
    if changed := replace(own, code={}).differences(replace(key, code={})):
        raise ParameterError(
            f"a training of {run.study}/{run.name} is running with other settings ({changed}): stop it with "
            f"`stepladder stop {run.study}/{run.name}` (it saves first), or wait for its end"
        )
    if changed := own.differences(key):
        print(f"attached to a job that began with other code: {changed}; its result will be stale")
    return own.code


def _headless() -> bool:
    """Whether no person's JupyterLab is watching."""
    return "JPY_SESSION_NAME" not in os.environ or "STEPLADDER_HEADLESS" in os.environ


def _job_file(run: Run) -> JobRecord | None:
    """The record of this run's own job (a copied folder holds another's) where it runs on this machine."""
    found: JobRecord | None = files.read_json(run.folder / "05_training" / "job.json")
    own = found and found["run"] == f"{run.study}/{run.name}" and processes.is_alive(found)
    return found if own else None
