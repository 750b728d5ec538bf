"""Starting, following and stopping the training process from a notebook.

Decisions:
- Training runs in a process of its own, so a crash or an out-of-memory kill there never takes the notebook down.
- The job is known by `05_training/job.json`: its process (machine, pid, start time) and its key. `start` attaches to a
  job of the same parameters and data that still runs, so the notebook can be closed and opened again; another one is
  refused, for its checks and metrics would pass for the wrong ones. Code that has changed meanwhile is no reason to
  refuse: the result is stamped with the code that ran, and is stale.
- In a person's JupyterLab the job outlives the kernel. Under an engine it dies with it, saving first: nothing may go on
  holding a GPU that nobody watches.
- How a job is followed, here or on another machine, stands in `following`.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import pandas as pd

from stepladder.core import files, lock, progress, records
from stepladder.core.config import ParameterError, dump
from stepladder.core.errors import Damaged
from stepladder.core.identity import Key
from stepladder.core.paths import command
from stepladder.core.records import Job as JobRecord
from stepladder.core.run import Run
from stepladder.core.schema import LaunchParams, Parameters
from stepladder.core.study import Study
from stepladder.machine import processes
from stepladder.machine.oom import Memory
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, schedule, worker
from stepladder.training.following import Following, OutOfMemoryError, TrainingFailed, headless, last_lines


@dataclass
class Job(Following):
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

    def where(self) -> str:
        """Its process."""
        return f"process {self.pid}"

    def ask_to_stop(self) -> None:
        """Ask the job to save and stop, without waiting."""
        if self.running():
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, signal.SIGTERM)

    def ending(self) -> str:
        """Why a job that runs no more has ended, in words, or the exception that fits it (see `follow`)."""
        told = worker.outcome(self.run)
        code = self._child.returncode if self._child else None
        state, reason = told.get("state"), told.get("reason", "")
        if state == "done" and code in (0, None):
            return reason
        if state == "preempted" or code in (worker.PREEMPTED, -signal.SIGTERM):
            raise Preempted(reason or "training was stopped by a signal")
        killed = code in (worker.KILLED, -signal.SIGKILL) or not told
        proof = self._before.killed_since(Memory.read()) if killed else None
        reason = reason or f"the training process was killed or lost (exit code {code})"
        text = "; ".join(part for part in (reason, proof) if part) + f"\n{last_lines(self.run, self.log)}"
        raise OutOfMemoryError(text) if state == "oom" or proof else TrainingFailed(text)


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


def start(run: Run, params: Parameters, launch: LaunchParams | None = None) -> Following:
    """Start training in a process of its own, or attach to the one of this run that still runs.

    Args:
        run: the run.
        params: what 05_training may read.
        launch: where, if elsewhere (see `launch.training`).

    Raises:
        ParameterError: a job with other parameters or data runs, here or on another machine; or 04_scaling is not done.
    """
    if launch and launch.on:
        from stepladder.launch import training

        return training.train(run, params, launch)
    with run.locked():  # of two who start at once one starts, the other attaches
        key = schedule.job_key(run, params)
        found = _job_file(run)
        if found:
            return Job(run, found["pid"], same(run, Key(**found["key"]), key), attached=True)
        return _begin(run, params, key)


def _begin(run: Run, params: Parameters, key: Key) -> Job:
    """Start a training process; see `start`."""
    folder = run.stage_folder("05_training")
    run.require("04_scaling", params.model_dump(mode="json"))
    lock.wait_for_other_machines(folder, f"training of {run.study}/{run.name}")
    for name in ("job.json", "outcome.json"):
        try:
            records.read(folder / name)
        except Damaged as error:
            run.set_aside(error)
    worker.outcome_path(run).unlink(missing_ok=True)
    files.write_text(folder / "params.yaml", dump(params.model_dump(mode="json")))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", worker.PARENT: str(os.getpid()) if headless() else ""}
    command = [sys.executable, "-m", "stepladder.training.worker", str(run.folder), str(folder / "params.yaml")]
    with (folder / "train.log").open("ab") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    record = {**processes.identity(child.pid), "run": f"{run.study}/{run.name}", "key": asdict(key)}
    files.write_json(folder / "job.json", record)
    return Job(run, child.pid, key.code, _child=child)


def stop(run: Run) -> bool:
    """Ask the training process of a run to save and stop, and wait until it has; whether one was running here."""
    found = progress.trainer(run.folder)  # begun by a notebook or by hand
    if found is None or not processes.is_here(found):
        return False
    with suppress(ProcessLookupError):  # it has ended since
        os.kill(found["pid"], signal.SIGTERM)
    while processes.is_alive(found):
        time.sleep(0.05)
    return True


def same(run: Run, own: Key, key: Key) -> Mapping[str, str]:
    """Digests of the code that a running job of the key `own` runs; `ParameterError` where another `key` is asked."""
    if changed := replace(own, code={}).differences(replace(key, code={})):
        raise ParameterError(
            f"a training of {run.study}/{run.name} is running with other settings ({changed}): stop it with "
            f"`{command()} stop {shlex.quote(f'{run.study}/{run.name}')}` (it saves first), or wait for its end"
        )
    if changed := own.differences(key):
        print(f"attached to a job that began with other code: {changed}; its result will be stale")
    return own.code


def _job_file(run: Run) -> JobRecord | None:
    """The record of this run's own job (a copied folder holds another's) where it runs on this machine."""
    try:
        found = cast(JobRecord | None, records.read(run.folder / "05_training" / "job.json"))
    except Damaged:  # it is written anew with the next job; a second training beside one, its lock keeps out
        return None
    own = found and found["run"] == f"{run.study}/{run.name}" and processes.is_alive(found)
    return found if own else None
