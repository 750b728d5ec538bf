"""One machine's work at a job, seen from here: prepare it, start the job, follow it, settle, give the machine back.

Decisions:
- Every step may be done twice: what is there already is not sent again, a job that runs is not started again. So a
  supervisor that was killed goes on wherever the one before it was.
- What the machine itself says decides: `new`, `running`, `ended`, or `lost` where its agent is gone without a word. One
  that was given up and answers again is found at work, and followed on, if the job has been nowhere else since.
- Settling: everything the job leaves comes home and is verified by hash; only then its folder there is deleted. What a
  machine says that it leaves is taken only where the job may write it (`box.leaves`).
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.core.files import Json
from stepladder.core.paths import outputs_root
from stepladder.core.run import Run
from stepladder.core.units import counted, readable
from stepladder.launch import box
from stepladder.launch.hosts import Host, HostError, LocalHost, SshHost, Unreachable
from stepladder.launch.job import Job
from stepladder.launch.mirror import Mirror
from stepladder.launch.targets import Target

JOBS = "jobs"  # folder of jobs on a machine
KNOWN_HOSTS = ".ssh/known_hosts"  # below the outputs folder
WHERE = "launch/where.json"  # how the machine at hand is reached
AGAIN = 3.0  # seconds before a machine that does not answer is asked again
LONGEST_LOOK = 30.0  # seconds between two looks beyond which this machine was asleep, whatever the clock says
LONG = 3600.0  # seconds that settling may take
ANSWERS = {"clean": {"left", "on_the_card", "gone"}, "sums": set[str]()}  # what each at least says; else the state
Answer = TypeVar("Answer")


class Lost(Exception):
    """A machine does not answer any more."""


class Silence:
    """How long a machine has been silent while somebody listened: a laptop that sleeps listens to nobody.

    Args:
        patience: seconds that it may be silent.
    """

    def __init__(self, patience: float) -> None:
        self._patience, self._heard = patience, 0.0
        self._seconds, self._looked = 0.0, time.time()

    def is_over(self, heard: float = 0.0) -> bool:
        """Whether it has been silent for too long; to be asked again and again.

        Args:
            heard: when it was heard last, whatever the clock: another value than before means that it was.
        """
        now = time.time()
        awake = min(max(0.0, now - self._looked), LONGEST_LOOK)
        self._seconds = self._seconds + awake if heard == self._heard else 0.0
        self._heard, self._looked = heard, now
        return self._seconds > self._patience


class Bad(Exception):
    """A machine is not what was promised; its text says in what."""


@dataclass(frozen=True)
class Where:
    """How a job's machine is used: what `prepare` found out, kept on the disk for the next supervisor.

    Attributes:
        attempt: the job and the number of the machine.
        machine: TARGET/HOST.
        python, code: the Python and the code there.
        folder: the job's folder there.
        events: bytes of `events.jsonl` that it was sent.
        clock: seconds by which its clock is ahead of ours.
        facts: what its examination told.
    """

    attempt: str
    machine: str
    python: str
    code: str
    folder: str
    events: int = 0
    clock: float = 0.0
    facts: Json | None = None

    def command(self, name: str) -> list[str]:
        """A command of `box` about this job."""
        return [
            *("env", f"PYTHONPATH={self.code}/lib", f"STEPLADDER_ROOT={self.code}"),
            *(self.python, "-m", "stepladder.launch.box", name, self.folder),
        ]


def host_of(root: Path, name: str, target: Target) -> Host:
    """The machine TARGET/HOST.

    Raises:
        Unreachable, HostError: it does not answer, or refuses.
    """
    outputs = outputs_root(root).absolute()
    if target.kind == "local":
        return LocalHost(name, outputs / ".box")
    return SshHost(name, name.partition("/")[2], target.folder, outputs / KNOWN_HOSTS)


def machines(name: str, target: Target) -> list[str]:
    """Names of a target's machines, best first."""
    return [f"{name}/here"] if target.kind == "local" else [f"{name}/{host}" for host in target.hosts]


class Attempt:
    """A job on one machine.

    Args:
        run, job, target: whose, what and where.
        machine: TARGET/HOST.
        number: of the attempt, from 1.
        tell: called with what is being done, in words.
        note: called with what happened, for the record: kind and fields.

    Attributes:
        heard: when the machine was heard last, seconds since 1970.
        worked: seconds that the job's agent has told of.
    """

    def __init__(
        self,
        run: Run,
        job: Job,
        target: Target,
        machine: str,
        number: int,
        tell: Callable[[str], None],
        note: Callable[..., None],
    ) -> None:
        self.run, self.job, self.target, self.machine = run, job, target, machine
        self.where = _kept(run, job, machine)
        self.name = self.where.attempt if self.where else f"{job.id}-{number}"
        self.tell, self.note = tell, note
        self.heard = time.time()
        self.worked = 0.0
        self._began = time.monotonic()
        self.host: Host | None = None

    @property
    def seconds(self) -> float:
        """Seconds that the machine has been used, by clocks that nobody can set: its agent's, or this process's."""
        return max(self.worked, time.monotonic() - self._began)

    @property
    def in_place(self) -> bool:
        """Whether the job works on the run's own folder."""
        return self.target.kind == "local"

    def patiently(self, ask: Callable[[Host], Answer]) -> Answer:
        """What the machine answers, asked again while it cannot be reached.

        Raises:
            Lost: it has not been heard for `lost_minutes`.
        """
        silence = Silence(60 * self.target.lost_minutes)
        while True:
            try:
                self.host = self.host or host_of(self.run.root, self.machine, self.target)
                answer = ask(self.host)
                self.heard = time.time()
                return answer
            except Unreachable as error:
                if silence.is_over():
                    raise Lost(str(error)) from None
                self.tell(f"waiting for {self.machine}: {error}")
                time.sleep(AGAIN)

    def status(self) -> Json:
        """How the job stands there; `new` where it was never brought there."""
        where = self.where
        return {"state": "new"} if where is None else self._ask(where, "status")

    def prepare(self) -> None:
        """Bring code, environment and data, and look at the machine before data moves.

        Raises:
            Bad: it is not what was promised.
            HostError: something cannot be done there.
        """
        from stepladder.launch import preparation

        self.where = self.patiently(lambda host: preparation.prepare(self, host))
        files.write_json(self.run.folder / WHERE, vars(self.where))

    def start(self, terms: Json) -> None:
        """Begin the job there; at once where it runs already."""
        assert self.where is not None
        secrets = {name: os.environ[name] for name in self.job.secrets if name in os.environ}
        begun = {"terms": {**terms, "root": self.where.code}, "secrets": secrets}
        told = self._ask(self.where, "start", json.dumps(begun).encode() + b"\n")
        if told["state"] not in ("running", "ended"):
            raise HostError(f"{self.machine}: the job did not start: see {self.where.folder}/agent.log there")

    def follow(self) -> Mirror:
        """The job's records, from now on coming home."""
        assert self.where is not None and self.host is not None
        prefixes = () if self.in_place else box.PREFIXES[self.job.what]
        command = self.where.command("stream")
        return Mirror(self.host, command, self.run.folder, prefixes, self.name, self.where.events)

    def stop(self, reason: str) -> None:
        """Ask the job to save and stop; `follow` shows when it has."""
        assert self.where is not None
        where = self.where
        record = json.dumps({"reason": reason}).encode()
        into = ["sh", "-c", 'cat > "$0.new" && mv "$0.new" "$0"', f"{where.folder}/stop.json"]
        self.patiently(lambda host: host.call(into, record))

    def end(self, reason: str) -> int:
        """Have the job save and stop, and wait until it has; the step of its newest checkpoint there, 0 for none."""
        assert self.where is not None
        self._ask(self.where, "stop", f"{reason}\n".encode(), timeout=LONG)
        told = self._ask(self.where, "sums", timeout=LONG)
        steps = [name.split("/")[-2][5:] for name in told if name.endswith("/COMMITTED")]
        return max((int(step) for step in steps if step.isdigit()), default=0)

    def settle(self) -> int:
        """Bring everything home and verify it; bytes that moved.

        Raises:
            HostError: something did not arrive as it is there.
        """
        assert self.where is not None
        where, outputs = self.where, self.run.folder.parent.parent
        told = self._ask(where, "sums", timeout=LONG)
        if astray := [name for name, facts in told.items() if not _is_left(self.job, name, facts)]:
            raise HostError(f"{self.machine} tells of a file {astray[0]!r}, which is none of its business")
        missing = _differing(outputs, told)
        size = sum(told[name]["bytes"] for name in missing)
        self.tell(f"bringing {counted(len(missing), 'file')} home ({readable(size)})" if missing else "all is home")
        moved = self.patiently(lambda host: host.pull(f"{where.folder}/outputs", outputs, missing)) if missing else None
        if wrong := _differing(outputs, told):
            raise HostError(f"{self.machine}: {wrong[0]} did not come home whole; nothing there was deleted")
        return moved.bytes if moved else 0

    def clean(self) -> Json:
        """End what is left of the job there and delete it; what the machine says of it."""
        if self.where is None:  # it did not get as far as having a Python there
            self.patiently(lambda host: host.call(["rm", "-rf", f"{host.folder}/{JOBS}/{self.job.id}"]))
            return {}
        told = self._ask(self.where, "clean")
        if told["left"] or told["on_the_card"] or not told["gone"]:
            raise HostError(f"{self.machine}: the job cannot be removed there ({told}): look at {self.where.folder}")
        return told

    def _ask(self, where: Where, command: str, stdin: bytes = b"", timeout: float = 120.0) -> Json:
        said = self.patiently(lambda host: host.call(where.command(command), stdin, timeout))
        with suppress(ValueError):
            told = json.loads(said)
            if isinstance(told, dict) and ANSWERS.get(command, {"state"}) <= cast(Json, told).keys():
                return cast(Json, told)
        raise HostError(f"{self.machine}: {command} says {said[:80]!r}, no answer: does a shell's profile print there?")


def _is_left(job: Job, name: str, facts: Any) -> bool:
    """Whether a machine may say of a file that the job leaves it."""
    inside = not any(part in ("", ".", "..") for part in name.split("/")) and box.leaves(job, name)
    return inside and isinstance(facts, dict) and facts.keys() == {"bytes", "sha256"} and type(facts["bytes"]) is int


def _differing(outputs: Path, told: Json) -> list[str]:
    """Files that are not here as a machine tells of them; the log that both sides write has more lines here."""
    return [
        name for name, facts in told.items() if not name.endswith("/events.jsonl") and not _equal(outputs / name, facts)
    ]


def _equal(path: Path, facts: Json) -> bool:
    return path.is_file() and path.stat().st_size == facts["bytes"] and files.file_sha256(path) == facts["sha256"]


def _kept(run: Run, job: Job, machine: str) -> Where | None:
    """How the machine was used, where it is the one that the job was brought to last: then it may still be at it."""
    with suppress(ParameterError, TypeError):
        found = Where(**(files.read_object(run.folder / WHERE) or {}))
        return found if found.machine == machine and found.attempt.startswith(f"{job.id}-") else None
    return None
