"""The training of a notebook on a rented machine: 05's training process or 04's search, followed from here.

Decisions:
- Only that process runs there. What it writes appears in the run's folder here as it is made, so the notebook draws,
  judges and records as ever; it differs in where it looks whether the job still goes (`launch/state.json`).
- `launch/key.json` keeps what the job was started with, as `05_training/job.json` does of a local one. To attach,
  parameters and data must be the same; the result is stamped with the code that was sent.
- A training that has ended well while nobody looked is taken as it is: no machine is rented to find that out. A search
  is taken once: when its result has been recorded, asking again means measuring again.
- A job is followed as long as somebody here watches it. Where its supervisor is gone, the cell says so and ends: run
  again it attaches, and the supervisor is started anew. The machine goes on meanwhile, within its limits.
- In JupyterLab nothing ends the job but its button and `stepladder stop`. Under an engine a cell that is told to stop
  stops the job, as it does with one that runs here.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stepladder.core import config, files, records
from stepladder.core import study as studies
from stepladder.core.config import ParameterError
from stepladder.core.identity import Key
from stepladder.core.paths import command
from stepladder.core.run import Run
from stepladder.core.schema import LaunchParams, Parameters
from stepladder.launch import job as jobs
from stepladder.launch import launching, overview
from stepladder.launch.job import Job, State
from stepladder.launch.targets import LOCAL, target
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, process, schedule, worker
from stepladder.training.following import Following, OutOfMemoryError, TrainingFailed, last_lines

KEY = f"{jobs.FOLDER}/key.json"
KEPT = "04_scaling/kept"  # what a search leaves there


@dataclass
class RemoteJob(Following):
    """A training on another machine, launched here or found under way.

    Attributes:
        run: its run.
        job: what was asked for.
        code: digests of the code it runs.
        attached: whether it was found rather than launched.
    """

    run: Run
    job: Job
    code: Mapping[str, str] = field(default_factory=dict[str, str])
    attached: bool = False
    begins = "was launched"
    lasts = "closing this tab, or the laptop, does not stop it"

    @property
    def log(self) -> Path:
        """What it printed there, as far as it has come."""
        return self.run.folder / jobs.FOLDER / "box.log"

    @property
    def state(self) -> State:
        """How it stands."""
        found = jobs.state_of(self.run)
        return found if found and found.job == self.job.id else State(self.job.id, "failed", "another job took its run")

    def running(self) -> bool:
        """Whether it has not ended, and somebody here watches it."""
        state = self.state
        return state.is_claim and state.is_watched

    def where(self) -> str:
        """The machine, how far it is there, dollars so far, time left."""
        return overview.sentence(self.run, self.job, self.state)

    def ask_to_stop(self) -> None:
        """Ask the job to save and stop, without waiting."""
        with suppress(ParameterError):  # it has ended since
            launching.stop(self.run, wait=False)

    def ending(self) -> str:
        """See `Following`; a job that nobody watches, or for which no machine is left, has failed."""
        state = self.state
        reason = self._reason(state)
        if state.state == "done":
            return reason
        if state.state == "preempted":
            raise Preempted(reason)
        text = f"{reason}{self._way_on(state)}\n{last_lines(self.run, self.log)}"
        raise OutOfMemoryError(text) if state.state == "oom" else TrainingFailed(text)

    def _reason(self, state: State) -> str:
        """Why it ended: what the training said itself, where it did; else what its supervisor says."""
        told = worker.outcome(self.run) if self.job.what == "train" else {}
        own = told.get("reason", "") if told.get("state") == state.state else ""
        return own or state.reason or f"the {self.noun} is {state.state}"

    def _way_on(self, state: State) -> str:
        if state.state == "lost":
            return (
                f": no machine has it now. Run this cell again to try those of {self.job.target} again, or go on here "
                'from the newest checkpoint with launch = {"on": None} in the parameters (`--on local` of `launch`)'
            )
        if not state.is_claim:
            return ""
        name = f"{self.run.study}/{self.run.name}"
        place = f"; {state.machine} goes on by itself within its limits" if state.machine else ""
        return f": its supervisor is gone{place}. Run this cell again to take it up, or `{command()} stop {name}`"


@dataclass
class RemoteSearch(RemoteJob):
    """The search of 04 on another machine; it leaves `ladder.json` and its trials' logs in `04_scaling/kept`."""

    noun = "search"

    def where(self) -> str:
        """The machine, what was tried there, dollars so far."""
        begun = records.seconds({"time": self.job.created})
        tried = [event for event in self.run.events("rung") if records.seconds(event) - self.state.clock >= begun]
        rates = [event["rate"] for event in tried if event.get("rate")]
        best = f", the best {max(rates):.3g} samples/s" if rates else ""
        return super().where() + (f"; {len(tried)} settings tried{best}" if tried else "")

    def news(self) -> list[dict[str, Any]]:
        """Nothing: a search has no curve."""
        return []


Remote = TypeVar("Remote", bound=RemoteJob)


def train(run: Run, params: Parameters, launch: LaunchParams) -> RemoteJob:
    """Launch the training of a run, or attach to the one that is under way or has ended well meanwhile.

    Args:
        run: the run.
        params: what 05_training may read.
        launch: where, and for how much.

    Raises:
        ParameterError: another job has the run, this one cannot be launched, or 04_scaling is not done.
    """
    values = params.model_dump(mode="json")
    key, asked = schedule.job_key(run, params), _asked(run, "train", launch)
    found = _standing(RemoteJob, run, asked, key)
    if found and (found.attached or _is_complete(run, params)):
        return found
    run.require("04_scaling", values)
    files.write_text(run.stage_folder("05_training") / "params.yaml", config.dump(values))
    worker.outcome_path(run).unlink(missing_ok=True)
    return _launch(RemoteJob(run, asked, key.code), key)


def search(run: Run, params: Parameters, launch: LaunchParams) -> RemoteSearch:
    """Launch the search of 04, or attach to the one that is under way or has ended well meanwhile (see `train`)."""
    key, asked = run.key("04_scaling", params.model_dump(mode="json")), _asked(run, "ladder", launch)
    found, kept = _standing(RemoteSearch, run, asked, key), run.folder / KEPT / "ladder.json"
    if found and (found.attached or (kept.exists() and not _is_recorded(run, found.job))):
        return found
    kept.unlink(missing_ok=True)
    return _launch(RemoteSearch(run, asked, key.code), key)


def _asked(run: Run, what: jobs.What, launch: LaunchParams) -> Job:
    """The job that a notebook asks for."""
    profile, place = run.values()["profile"], target(run.root, launch.on or LOCAL)
    return Job(
        study=run.study,
        run=run.name,
        profile=profile,
        target=launch.on or LOCAL,
        what=what,
        settings=dict(config.flat(run.overrides(profile))),
        budget=launch.budget if launch.budget is not None else place.budget,
        hours=launch.hours if launch.hours is not None else place.hours,
        restarts=launch.restarts,
        stuck_minutes=launch.stuck_minutes,
        secrets=tuple(place.secrets),
    )


def _standing(kind: type[Remote], run: Run, asked: Job, key: Key) -> Remote | None:
    """The run's last job where it is what is asked for: under way (then attached to), or done with this very key.

    Raises:
        ParameterError: it is under way with other parameters or data.
    """
    job, state = jobs.of(run), jobs.state_of(run)
    if job is None or state is None or not job.asks_the_same(asked):
        return None
    told = files.read_object(run.folder / KEY) or {}
    own = Key(**told["key"]) if told.get("job") == job.id else None
    if state.is_claim:
        code = process.same(run, own, key) if own else {}
        launching.launch(run, asked)  # attaches, and starts its supervisor where that is gone
        return kind(run, job, code, attached=True)
    return kind(run, job, own.code) if own and state.state == "done" and not own.differences(key) else None


def _launch(found: Remote, key: Key) -> Remote:
    """Launch a job, and keep what it is started with."""
    if launching.launch(found.run, found.job).job != found.job.id:
        raise ParameterError(f"{found.job.name} was launched by somebody else just now: run this cell again to attach")
    files.write_json(found.run.folder / KEY, {"job": found.job.id, "key": asdict(key)})
    return found


def _is_complete(run: Run, params: Parameters) -> bool:
    """Whether the checkpoint of the last step is here."""
    reached = max([step for step, _ in checkpoint.committed(run.checkpoints)], default=0)
    return reached >= process.planned_steps(studies.find(run.study), params)


def _is_recorded(run: Run, job: Job) -> bool:
    """Whether a result of 04 has been recorded since a job was asked for."""
    return str((run.result("04_scaling") or {}).get("finished", "")) > job.created
