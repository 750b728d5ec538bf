"""A launched job, told from files alone: what was asked, what happened on which machine, how it stands.

    outputs/<study>/<run>/launch/job.json         what was asked; written once
                                 state.json       how it stands; written by its supervisor
                                 attempts.jsonl   what happened on each machine, a line each
                                 supervisor.log   what the supervisor printed
                                 box.log          what the job printed on its machine
    on the box, <folder>/jobs/<id>/job.json       the same job
                                   agent.json     the process that watches it there (see `processes.identity`)
                                   beat.json      that process's last sign of life
                                   ended.json     how it ended; written last
                                   log            what it printed
                                   outputs/       the run's outputs there

Decisions:
- A job belongs to a run and runs as that run: one at a time. While it is queued or running, the run is claimed
  (see `core.claim`): nothing else may walk it here.
- Nobody has to live for a state to be told: readers look at these files, and at whether the supervisor's process lives.
- No secret is in any of them, only names of environment variables.
"""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.core import claim, files, jsonlines
from stepladder.core.config import ParameterError
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.provenance import now
from stepladder.core.run import Run
from stepladder.core.secrets import redacted
from stepladder.machine import processes

FOLDER = claim.FOLDER
JOB = claim.JOB  # environment variable that tells the processes of a job which one they belong to
What = Literal["walk", "train", "ladder"]


@dataclass(frozen=True)
class Job:
    """What was asked for.

    Attributes:
        id: name of the job, unique.
        study, run, profile: whose run it is.
        what: `walk`: stages, by the runner; `train`: the training process alone, for 05 in a notebook; `ladder`: the
            search of 04 alone.
        stages: full names, for a walk.
        settings: parameters that differ from the profile, flat: `training.steps` -> 200.
        target: name of the target.
        budget: dollars that it may cost in all; None: no limit.
        hours: hours of machines that it may take in all; None: no limit.
        restarts: losses in a row, with no checkpoint won between them, after which the next machine is still tried.
        stuck_minutes: minutes without progress after which it is ended.
        secrets: names of environment variables whose values go to the job's environment.
        created: when it was asked for.
    """

    study: str
    run: str
    profile: str
    target: str
    what: What = "walk"
    stages: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    force: bool = False
    budget: float | None = None
    hours: float | None = None
    restarts: int = 5
    stuck_minutes: float = 30.0
    secrets: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    created: str = field(default_factory=now)

    @property
    def name(self) -> str:
        """STUDY/RUN."""
        return f"{self.study}/{self.run}"

    def asks_the_same(self, other: "Job") -> bool:
        """Whether another job wants the same thing, whatever it may cost."""
        mine, theirs = asdict(self), asdict(other)
        return all(mine[name] == theirs[name] for name in ("study", "run", "profile", "what", "stages", "settings"))


def write(job: Job, path: Path) -> None:
    """Write a job as JSON."""
    files.write_json(path, asdict(job))


def read(path: Path) -> Job | None:
    """The job in a file; None where there is none.

    Raises:
        Damaged: the file holds no job.
    """
    found = files.read_object(path)
    if found is None:
        return None
    try:
        return Job(**{**found, "stages": tuple(found["stages"]), "secrets": tuple(found["secrets"])})
    except (KeyError, TypeError) as error:
        raise Damaged(path, f"is no job ({error})") from None


def of(run: Run) -> Job | None:
    """The job that a run was launched with last; None where it never was."""
    return read(run.folder / FOLDER / "job.json")


@dataclass
class State:
    """How a job stands.

    Attributes:
        job: its id.
        state: `queued` or `running` (the run is claimed), or one of the states a run may end in.
        reason: why, in words.
        machine: where it runs, as TARGET/HOST; None while there is none.
        attempt: number of the machine, from 1.
        spent: dollars so far, over all attempts.
        hours: hours of machines so far, over all attempts.
        price: dollars per hour of the machine at hand.
        began: when the job began on the machine at hand, seconds since 1970 by this machine's clock; None before.
        heard: when the machine was heard last, seconds since 1970 by this machine's clock; None before.
        clock: seconds by which the machine's clock is ahead of this one.
        supervisor: its process (see `processes.identity`).
        doing: what the supervisor is doing, in words: `sending 3.1 GB of data`.
    """

    job: str
    state: str = "queued"
    reason: str = ""
    machine: str | None = None
    attempt: int = 0
    spent: float = 0.0
    hours: float = 0.0
    price: float = 0.0
    began: float | None = None
    heard: float | None = None
    clock: float = 0.0
    supervisor: Json = field(default_factory=dict[str, Any])
    doing: str = ""

    @property
    def is_claim(self) -> bool:
        """Whether the job still has its run."""
        return self.state in claim.STATES

    @property
    def is_watched(self) -> bool:
        """Whether its supervisor lives, here."""
        return processes.is_alive(self.supervisor)


def write_state(run: Run, state: State) -> None:
    """Tell how a job stands. Only for its supervisor, and for who begins it."""
    files.write_json(run.folder / claim.PATH, asdict(state))


def state_of(run: Run) -> State | None:
    """How the job of a run stands; None where the run was never launched, or is a copy of one that was.

    Raises:
        Damaged: the record cannot be read.
    """
    path = run.folder / claim.PATH
    found = files.read_object(path)
    try:
        return None if found is None or claim.is_anothers(run.folder) else State(**found)
    except TypeError as error:
        raise Damaged(path, f"is no state of a job ({error})") from None


def note(run: Run, kind: str, **fields: Any) -> None:
    """Add a line to `attempts.jsonl`: `kind` with the time and what belongs to it; secrets in it are hidden."""
    jsonlines.append(run.folder / FOLDER / "attempts.jsonl", redacted({"time": now(), "kind": kind, **fields}))


def attempts(run: Run) -> list[Json]:
    """All lines of `attempts.jsonl` that tell something."""
    return [line for line in jsonlines.read(run.folder / FOLDER / "attempts.jsonl") if "kind" in line]


def refuse_claimed(run: Run) -> None:
    """`ParameterError` where a job has the run."""
    state = state_of(run)
    if state and state.is_claim:
        raise ParameterError(claim.refusal(run.folder) or "")
