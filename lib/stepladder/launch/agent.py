"""The agent of a job on its box: it runs the job, and ends it when that is right, whoever else is there to see.

Decisions:
- It is the dead man's switch: a job ends when it is done, over budget or time, stuck, or told to, though the laptop
  that began it may be gone for ever. If the agent itself dies, Linux ends the job with it.
- What had done all there was to do when it was asked to end is done.
- Ending is asking first: SIGTERM reaches the training, which saves; after the grace time everything of the job is
  killed.
- Hours and dollars are reckoned by a clock that nobody can set. Dollars are those of this machine; what was spent
  elsewhere is in the terms.
- Progress is what the records say: new metrics, new events but heartbeats. A process that computes nothing is stuck.
- Between the checkpoints of the parameters it asks for further ones (`05_training/save-now`), as often as the machine's
  hazard makes right; they change no result.
- `ended.json` is written last; room for it is kept free, so that a full disk cannot hide how a job ended.
"""

import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from stepladder.core import files, progress
from stepladder.core.files import Json
from stepladder.core.jsonlines import Tail
from stepladder.launch import policy
from stepladder.launch.job import JOB, Job
from stepladder.machine import processes, signals

BEAT = 1.0  # seconds between two looks
LAST = 1 << 14  # bytes of a log's end that are looked at for a reason
RESERVE = 1 << 20  # bytes kept free for the last record
SAVE_NOW = "05_training/save-now"
ENDINGS = {0: "done", 75: "preempted", 124: "timeout", 137: "oom", 143: "preempted"}
STATES = {"budget": "timeout", "hours": "timeout", "stuck": "timeout", "stopped": "preempted"}


@dataclass(frozen=True)
class Terms:
    """On what terms a machine works at a job.

    Attributes:
        price: dollars per hour of this machine.
        budget: dollars that it may still cost; None: no limit.
        hours: hours that it may still take; None: no limit.
        stuck_minutes: minutes without progress after which it is ended.
        between: mean hours between losses of the machine; None: it is never lost.
        save, restart: seconds that a checkpoint takes, as far as is known, and starting again on another machine.
        grace: seconds between asking and killing.
        on_end: `keep` or `poweroff`.
        fetch_minutes: minutes to be fetched from before it powers off.
        outputs: the outputs folder, where the job works in place; None: one of its own.
        root: the code.
    """

    root: str
    price: float = 0.0
    budget: float | None = None
    hours: float | None = None
    stuck_minutes: float = 30.0
    between: float | None = None
    save: float = 10.0
    restart: float = 60.0
    grace: float = signals.GRACE_SECONDS
    on_end: str = "keep"
    fetch_minutes: float = 30.0
    outputs: str | None = None


class Agent:
    """Runs one job to its end.

    Args:
        folder: the job's folder.
        job: what was asked.
        terms: the terms.
        secrets: environment variables for the job.
    """

    def __init__(self, folder: Path, job: Job, terms: Terms, secrets: dict[str, str]) -> None:
        self.folder, self.job, self.terms = folder, job, terms
        self.outputs = Path(terms.outputs) if terms.outputs else folder / "outputs"
        self.run_folder = self.outputs / job.study / job.run
        self.environment = os.environ | secrets | self._own()
        self.began, self.began_at = time.monotonic(), time.time()
        self.cause = self.reason = ""
        self._told = False
        self._deadline = 0.0
        self._progress = Progress(self.run_folder, terms.save)

    def run(self) -> int:
        """Run the job; its exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed connection is no reason
        (self.folder / "reserve").write_bytes(bytes(RESERVE))
        files.write_json(self.folder / "terms.json", asdict(self.terms))
        files.write_json(self.folder / "agent.json", processes.identity())
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.terms.root,
                env=self.environment,
                start_new_session=True,
                preexec_fn=partial(signals.die_with_parent, signal.SIGTERM, os.getpid()),
            )
        while (code := child.poll()) is None:
            for look in (partial(self._look, child), self._beat):
                try:
                    look()
                except Exception:  # a damaged record: it is told in agent.log, and the job is not to die of it
                    traceback.print_exc()
            time.sleep(BEAT)
        self._end(code)
        return code

    @property
    def spent(self) -> float:
        """Dollars so far."""
        return self.terms.price * self.seconds / policy.HOUR

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def command(self) -> list[str]:
        """What runs."""
        name = self.job.name
        if self.job.what == "walk":
            settings = [f"--set={key}={_yaml(value)}" for key, value in self.job.settings.items()]
            numbers = ",".join(stage[:2].lstrip("0") for stage in self.job.stages)
            force = ["--force"] if self.job.force else []
            walk = ["run", name, "--profile", self.job.profile, "--stages", numbers, *settings, *force]
            return [sys.executable, "-m", "stepladder.cli", *walk]
        if self.job.what == "train":
            params = self.run_folder / "05_training" / "params.yaml"
            return [sys.executable, "-m", "stepladder.training.worker", str(self.run_folder), str(params)]
        return [sys.executable, "-m", "stepladder.ladder.run_ladder", str(self.run_folder)]

    def _own(self) -> dict[str, str]:
        return {
            "STEPLADDER_ROOT": self.terms.root,
            "STEPLADDER_OUTPUTS": str(self.outputs),
            "STEPLADDER_HEADLESS": "1",
            "PYTHONPATH": f"{self.terms.root}/lib",
            "PYTHONUNBUFFERED": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            JOB: self.job.id,
        }

    def _asked(self, signum: int, frame: Any) -> None:
        self._told = True

    def _look(self, child: "subprocess.Popen[bytes]") -> None:
        """End the job where that is right now; kill it where it does not end."""
        if not self.cause:
            self.cause, self.reason = self._why()
            if self.cause:
                self._deadline = time.monotonic() + self.terms.grace
                _signal(child.pid, signal.SIGTERM)
        elif time.monotonic() > self._deadline:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if not self.cause:
            self._pace()

    def _why(self) -> tuple[str, str]:
        """Why the job has to end now, as a word and in words; empty where it may go on."""
        terms = self.terms
        if (self.folder / "stop.json").exists():
            return "stopped", str((files.read_object(self.folder / "stop.json") or {}).get("reason", ""))
        if self._told:
            return "preempted", "the machine is being taken away (SIGTERM)"
        account = policy.Account(terms.budget, terms.hours, self.spent, self.seconds / policy.HOUR)
        saving = 2 * self._progress.save  # it may be saving just now, and saves once more when it is asked to stop
        if over := policy.may_go_on(account, terms.price, saving, 2 * BEAT):
            return over.partition(":")[0], over
        silent = self._progress.silent()
        if silent > terms.stuck_minutes * 60:
            return "stuck", f"no progress for {progress.duration(silent)}"
        return "", ""

    def _pace(self) -> None:
        """Ask for a checkpoint where the last one is too old."""
        interval = policy.interval(self._progress.save, self.terms.restart, policy.Hazard(self.terms.between))
        if interval is None or progress.trainer(self.run_folder) is None:
            return
        times = [path.stat().st_mtime for path in self.run_folder.glob("checkpoints/step_*/COMMITTED")]
        asked = self.run_folder / SAVE_NOW
        begun = self._progress.first
        since = min(time.time() - max(times, default=0.0), time.monotonic() - begun if begun else 0.0)
        if since > interval and not asked.exists():
            asked.touch()

    def _beat(self) -> None:
        """Leave a sign of life."""
        beat = {"seconds": round(self.seconds, 1), "spent": self.spent, "ending": self.cause, "reason": self.reason}
        training = progress.training(self.run_folder)
        if training:
            beat |= {"training": {**asdict(training), "left": training.left}}
        with suppress(OSError):  # a full disk: the next beat may find room
            files.write_json(self.folder / "beat.json", beat)

    def _end(self, code: int) -> None:
        """Say how it ended, once nothing of it is left."""
        from stepladder.launch import box  # which starts agents

        for pid in box.members(self.job.id):
            if pid != os.getpid():
                _signal(pid, signal.SIGKILL)
        cause = self.cause if self.cause and code else ENDINGS.get(code, "failed")
        told = self._told_reason()
        (self.folder / "reserve").unlink(missing_ok=True)
        record: Json = {
            "cause": cause,
            "state": STATES.get(cause, cause),
            "code": code,
            "reason": (self.reason if code else "") or told or f"exit code {code}",
            "seconds": self.seconds,
            "spent": self.spent,
        }
        files.write_json(self.folder / "ended.json", record)
        if self.terms.on_end == "poweroff":
            self._power_off()

    def _told_reason(self) -> str:
        """What the job itself says of its end: in its record, if that is of this start, else last of all it printed."""
        path = self.run_folder / ("run.json" if self.job.what == "walk" else "05_training/outcome.json")
        with suppress(ValueError, OSError):
            if self.job.what != "ladder" and path.stat().st_mtime > self.began_at:
                return str((files.read_object(path) or {}).get("reason", ""))
        with (self.folder / "log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST))
            lines = log.read().decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line), "")

    def _power_off(self) -> None:
        """Switch the machine off, once it was fetched from or nobody came."""
        patience = time.monotonic() + self.terms.fetch_minutes * 60
        while time.monotonic() < patience and self.folder.exists() and not (self.folder / "released").exists():
            time.sleep(BEAT)
        command = ["poweroff"] if os.geteuid() == 0 else ["sudo", "-n", "poweroff"]
        subprocess.run(command, check=False)


class Progress:
    """Whether a run goes on, told by its records.

    Attributes:
        save: seconds that its last checkpoint took; before the first what was expected.
        first: when the first step was seen, by `time.monotonic`; None before.
    """

    def __init__(self, folder: Path, save: float) -> None:
        self.save = save
        self._metrics, self._events = folder / "metrics.jsonl", Tail(folder / "events.jsonl")
        self._size = -1
        self._last = time.monotonic()
        self.first: float | None = None

    def silent(self) -> float:
        """Seconds since anything was done."""
        size = self._metrics.stat().st_size if self._metrics.exists() else 0
        news = [event for event in self._events.read() if event.get("kind") != "heartbeat"]
        saves = [event["seconds"] for event in news if event.get("kind") == "checkpoint" and "seconds" in event]
        self.save = float(saves[-1]) if saves else self.save
        if size != self._size or news:
            if self._size >= 0 and size != self._size and self.first is None:
                self.first = time.monotonic()
            self._size, self._last = size, time.monotonic()
        return time.monotonic() - self._last


def _yaml(value: Any) -> str:
    """A value on a command line, as `config.parse_assignment` reads it."""
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
