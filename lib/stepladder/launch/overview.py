"""Launched jobs at a glance: a row for each, told from files alone, for `stepladder jobs` and for `lab.jobs()`.

Decisions:
- A row says what a person who pays asks: does it run, where, how far is it, what has it cost, how long will it take.
- The time left is that of the training at its rate of now, as `status` tells it. What stops a job before that, the
  budget, stands beside the dollars.
- A machine that says nothing is told of after `SILENT` seconds, long before it is given up: the rest is of then.
- Dollars are written as words: a notebook takes what stands between two dollar signs for a formula.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from stepladder.core import claim, launched
from stepladder.core.progress import Training, duration
from stepladder.core.run import Run
from stepladder.launch import launching
from stepladder.launch.job import Job, State

COLUMNS = ("run", "state", "machine", "doing", "dollars", "time left", "remark")
SILENT = 10.0  # seconds without a word from the machine after which that is said; it sends one every second


@dataclass(frozen=True)
class Row:
    """A job at a glance, in words; `job` is its id, `is_open` tells whether it can still be stopped."""

    run: Run
    job: str
    state: str
    machine: str
    doing: str
    dollars: str
    left: str
    remark: str
    is_open: bool

    @property
    def name(self) -> str:
        """STUDY/RUN."""
        return f"{self.run.study}/{self.run.name}"

    def cells(self) -> tuple[str, ...]:
        """Under `COLUMNS`."""
        return self.name, self.state, self.machine, self.doing, self.dollars, self.left, self.remark


def rows(root: Path) -> list[Row]:
    """All jobs that were launched from here, newest first."""
    return [row(*found) for found in launching.all_jobs(root)]


def row(run: Run, job: Job, state: State) -> Row:
    """One job."""
    training = _training(run)
    left = training.left if training else None
    return Row(
        run=run,
        job=job.id,
        state=state.state,
        machine=state.machine or "-",
        doing=f"step {_step(training)}" if training else _work(run) or "-",
        dollars=spent(job, state),
        left=duration(left) if left is not None else "-",
        remark=remark(state),
        is_open=state.is_claim,
    )


def sentence(run: Run, job: Job, state: State) -> str:
    """How a job stands, in one sentence: the machine, how far it is there, dollars so far; not how it ended."""
    again = f" (machine {state.attempt})" if state.attempt > 1 else ""
    place = f"{_stands(state)} {state.machine}{again}" if state.machine else f"{state.state}, no machine"
    work = _work(run) or ("starting" if state.state == "running" and not state.doing else "")
    said = [place, work, remark(state) if state.is_claim else "", f"{spent(job, state)} dollars"]
    return "; ".join(part for part in said if part)


def spent(job: Job, state: State) -> str:
    """Dollars so far, and those that it may take: `0.42 of 5`."""
    so_far = "under 0.01" if 0 < state.spent < 0.01 else f"{state.spent:,.2f}"
    return so_far + (f" of {job.budget:g}" if job.budget is not None else "")


def remark(state: State) -> str:
    """What else is to say: what is being done, why it stands as it does, and whether nobody watches it."""
    told = [state.doing if state.is_claim else "", state.reason]
    if state.is_claim and not state.is_watched:
        told.append("nobody here watches it: launch the same again")
    elif state.state == "running" and not state.doing and (silent := time.time() - (state.heard or 0.0)) > SILENT:
        told.append(f"no word from it for {duration(silent)}" if state.heard else "")
    return "; ".join(part for part in told if part)


def _stands(state: State) -> str:
    """How it stands with its machine: what is queued with one is being prepared there, and paid for."""
    return "preparing" if state.state == "queued" else f"{state.state} on"


def _training(run: Run) -> Training | None:
    """How far its training is; None where it is not at it."""
    job = claim.of(run.folder)
    return launched.training(run.folder, job) if job and job["state"] == "running" else None


def _work(run: Run) -> str:
    """What it does on its machine, in words; empty where it does nothing there."""
    job = claim.of(run.folder)
    return launched.work(run.folder, job) if job and job["state"] == "running" else ""


def _step(training: Training) -> str:
    return f"{training.step}" + (f" of {training.total}" if training.total else "")
