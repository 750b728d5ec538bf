"""What a person asks of the launcher: launch, follow, list, stop. Everything goes through files and one process.

Decisions:
- `launch` refuses before anything is paid; then it leaves the records and a supervisor of its own session behind. A
  closed terminal, a Ctrl-C, a closed laptop change nothing.
- The same launch again attaches: to the job under way, or with a new supervisor to one whose supervisor is gone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stepladder.core import files, lock
from stepladder.core.config import ParameterError
from stepladder.core.errors import Damaged
from stepladder.core.paths import command, outputs_root
from stepladder.core.run import Run
from stepladder.core.secrets import redact
from stepladder.core.units import counted, readable
from stepladder.launch import code, ledger, refusals, targets
from stepladder.launch import job as jobs
from stepladder.launch.job import FOLDER, Job, State
from stepladder.launch.targets import Target

POLL = 0.5  # seconds between two looks at a state
FETCH = f"{FOLDER}/fetch"
BEGUN = 60.0  # seconds that a supervisor may take to say that it is there


def launch(run: Run, job: Job) -> State:
    """Launch a job, or attach to the same one under way; how it stands now.

    Raises:
        ParameterError: it cannot be launched, or another job has the run; nothing has been paid for.
    """
    (run.folder / FOLDER).mkdir(parents=True, exist_ok=True)
    if not ((state := jobs.state_of(run)) and state.is_claim):
        _wait_for_the_last(run)  # which draws its pages under the lock that is taken next
    with files.locked(run.folder / FOLDER):
        state, earlier = jobs.state_of(run), jobs.of(run)
        if state and state.is_claim and earlier:
            if not earlier.asks_the_same(job):
                jobs.refuse_claimed(run)
            return watched(run)
        if reasons := refusals.refusals(run.root, job, targets.target(run.root, job.target)):
            raise ParameterError("\n".join(reasons))
        with run.locked():  # nobody walks it here
            for name in ("stop.json", "where.json", "offset.json", "attempts.jsonl", "box.log"):
                (run.folder / FOLDER / name).unlink(missing_ok=True)
            if targets.target(run.root, job.target).kind != "local":
                code.look(run.root).keep(run.folder / code.KEPT)
            jobs.write(job, run.folder / FOLDER / "job.json")
            jobs.write_state(run, State(job.id))
    return watched(run)


def plan(run: Run, job: Job) -> list[str]:
    """What a launch would do and what ends it, in sentences, before anything is paid.

    Raises:
        ParameterError: every reason why it cannot be launched.
    """
    state, earlier = jobs.state_of(run), jobs.of(run)
    if state and state.is_claim and earlier and earlier.asks_the_same(job):
        return [f"{job.name} was launched on {earlier.target} and is {state.state}: looking on"]
    found = targets.target(run.root, job.target)
    if reasons := refusals.refusals(run.root, job, found):
        raise ParameterError("\n".join(reasons))
    begun = "the run that is there" if (run.folder / "params.yaml").exists() else "a new run"
    stages = ", ".join(job.stages) or refusals.first_stage(job)
    told = [f"{job.name}: {begun}, profile {job.profile}, {stages}, on {job.target}", _limits(job, found)]
    if found.kind != "local":
        tree = code.look(run.root)
        from stepladder.launch import data  # slow to import, and the table of jobs needs this module

        asked = data.wanted(run, refusals.first_stage(job), force=job.force)
        size = sum(facts["bytes"] for facts in asked.values())
        told += [f"code: {tree}", *tree.warnings]
        told += [
            f"data: {counted(len(asked), 'file')}, {readable(size)}; only what is missing there is sent, nothing raw"
        ]
    return told


def _limits(job: Job, target: Target) -> str:
    """Every limit in force, and what it means in money."""
    price = target.dollars_per_hour + target.disk_dollars_per_hour
    pays = f" (pays for {job.budget / price:.3g} h)" if job.budget is not None and price else ""
    told = {
        f"${price:.2f} an hour": price,
        f"budget ${job.budget or 0:.2f}{pays}": job.budget is not None,
        f"at most {job.hours or 0:g} h": job.hours is not None,
        "no limit of dollars or hours": job.budget is None and job.hours is None,
        f"ended after {job.stuck_minutes:g} min without progress": True,
        f"lost after {target.lost_minutes:g} min of silence": target.kind != "local",
        f"at most {counted(job.restarts, 'restart')} in a row without a new checkpoint": target.kind != "local",
        f"powered off at the end, {target.fetch_minutes:g} min to be fetched from": target.on_end == "poweroff",
    }
    return "limits: " + ", ".join(words for words, holds in told.items() if holds)


def watched(run: Run) -> State:
    """How the job of a run stands; a supervisor is started where it needs one and none lives.

    Raises:
        ParameterError: it was never launched, or a supervisor ends at once; what it said.
    """
    state = jobs.state_of(run)
    if state is None:
        raise ParameterError(f"run {run.study}/{run.name} was never launched")
    if not state.is_claim or state.is_watched or lock.holder(run.folder / FOLDER):
        return state
    with (run.folder / FOLDER / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "stepladder.launch.supervisor", str(run.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "STEPLADDER_ROOT": str(run.root.absolute())},
            start_new_session=True,
        )
    patience = time.monotonic() + BEGUN
    while time.monotonic() < patience and child.poll() is None:
        state = jobs.state_of(run)
        if state and state.is_watched:
            return state
        time.sleep(0.05)
    state = jobs.state_of(run)
    if state and state.is_claim and (child.poll() or 0) > 0 and not lock.holder(run.folder / FOLDER):
        said = (run.folder / FOLDER / "supervisor.log").read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise ParameterError(f"the supervisor of {run.study}/{run.name} cannot go on: {said[-1]}")
    return state or State("")


def follow(run: Run, on_state: Callable[[State], None]) -> State:
    """Look on until the job has ended; `on_state` is called with every look. Interrupting it stops nothing there."""
    while True:
        state = watched(run)
        on_state(state)
        if not state.is_claim:
            return state
        time.sleep(POLL)


def stop(run: Run, reason: str = "stopped by a person", wait: bool = True) -> State:
    """Have the job save and stop, everything brought home and the machine given back; how it ended.

    Raises:
        ParameterError: no job has the run.
    """
    state = jobs.state_of(run)
    if state is None or not state.is_claim:
        raise ParameterError(f"no job of {run.study}/{run.name} is under way: `{command()} jobs` lists them")
    files.write_json(run.folder / FOLDER / "stop.json", {"reason": redact(reason)})
    state = watched(run)
    while wait and state.is_claim:
        time.sleep(POLL)
        state = watched(run)
    return state


def fetch(run: Run) -> str:
    """Bring the newest checkpoint home now, whatever the pace; what is here then, in words."""
    state = jobs.state_of(run)
    if state and not state.is_claim and state.state != "lost" and _is_unsettled(run, state):
        jobs.write_state(run, replace(state, state="running"))  # its files are still there: a supervisor brings them
    state, asked = watched(run), run.folder / FETCH
    if state.is_claim:
        asked.touch()
    while asked.exists() and state.is_claim:
        time.sleep(POLL)
        state = watched(run)
    asked.unlink(missing_ok=True)
    steps = sorted(place.parent.name[5:].lstrip("0") for place in run.folder.glob("checkpoints/step_*/COMMITTED"))
    words = f"checkpoints of step {', '.join(steps)}" if steps else "no checkpoint"
    return f"{run.study}/{run.name}: {state.state}; here are its records and {words}"


def _wait_for_the_last(run: Run) -> None:
    """Wait until the supervisor of the job before, which has ended, has drawn its pages and gone."""
    patience = time.monotonic() + BEGUN
    while lock.holder(run.folder / FOLDER):
        if time.monotonic() > patience:
            raise ParameterError(
                f"the supervisor of the last job of {run.study}/{run.name} is still at work: try again"
            )
        time.sleep(0.1)


def _is_unsettled(run: Run, state: State) -> bool:
    """Whether what a job left is still on its machine."""
    return any(use.job == state.job and use.machine == state.machine for use in ledger.living(run.root))


def draw(run: Run) -> str:
    """Draw a run's page and the index as they are now; why not, where that cannot be done: it undoes nothing.

    One draws after the other, so what the last one has seen stays: a job's end, a notebook that records it.
    """
    from stepladder.report import pages  # slow to import

    try:
        with files.locked(run.folder / FOLDER):
            pages.run_page(run)
            pages.index(run.root)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def all_jobs(root: Path) -> list[tuple[Run, Job, State]]:
    """All runs that were launched, the newest first; one whose records are damaged is left out."""
    found: list[tuple[Run, Job, State]] = []
    for path in outputs_root(root).glob(f"*/*/{FOLDER}/job.json"):
        run = Run(path.parents[1], root)
        try:
            job, state = jobs.of(run), jobs.state_of(run)
        except Damaged:
            continue
        if job and state:
            found.append((run, job, state))
    return sorted(found, key=lambda one: one[1].created, reverse=True)
