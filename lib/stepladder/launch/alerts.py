"""Alerts of a launched job: what a person wants to be told at once, and where that goes.

Decisions:
- What there is to be told follows from the records alone (`occurrences`), each under a name of its own. Told is what
  was not there at the look before, so every occurrence is told once, also by the next supervisor.
- Every alert is an event of the run. The rules of the profile (`launch.alerts`) say where else it goes: an alert of
  Weights & Biases, a webhook, a command. Those are told aside and within bounds: a dead webhook delays no job.
- What cannot be delivered is an event too, never an error. A webhook's address is a secret: only the name of the
  environment variable that holds it is ever written.
"""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.config import check
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.jsonlines import Tail
from stepladder.core.provenance import now
from stepladder.core.run import Run
from stepladder.core.schema import AlertRule, LaunchParams, level
from stepladder.core.secrets import redact
from stepladder.launch import job as jobs
from stepladder.launch.job import FOLDER, Job, State

TOLD = f"{FOLDER}/alerts.json"
NO_PROGRESS = ("heartbeat", "alert", "alert_failed")  # events that come without any
WEBHOOK_SECONDS, COMMAND_SECONDS = 10.0, 30.0
OVER = "over_budget"
CAUSES = {"preempted": "preempted", "budget": OVER, "hours": OVER, "stuck": "stalled"}  # of endings
ENDS = {"done": "finished", "preempted": ""}  # of a job; any other failed


@dataclass(frozen=True)
class Alert:
    """Something to be told.

    Attributes:
        kind: one of `schema.ALERTS`, or the level of a metric as the rule names it.
        text: a sentence.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Seen:
    """How a job stands, as its records say.

    Attributes:
        job, state: the job, and how it stands.
        attempts: the lines of its `attempts.jsonl`.
        not_finite: the events of losses that were not finite.
        metrics: the last value of every metric.
        mark: what changes with progress.
        still: seconds since that changed.
    """

    job: Job
    state: State
    attempts: Sequence[Json] = ()
    not_finite: Sequence[Json] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mark: str = ""
    still: float = 0.0


def occurrences(seen: Seen, params: LaunchParams) -> dict[str, Alert]:
    """All that there is to be told of a job, each under a name that no other occurrence has."""
    found: dict[str, Alert] = {}
    for number, event in enumerate(seen.not_finite):  # two of one millisecond are two
        words = f"step {event.get('step')} is not finite ({event.get('values')})"
        found[f"nan {number} {event['time']}"] = Alert("nan", words)
    for number, line in enumerate(seen.attempts):
        if alert := _of_attempt(line):
            found[OVER if alert.kind == OVER else f"{alert.kind} {number}"] = alert
    state, job = seen.state, seen.job
    if state.state == "running" and seen.still > 60 * params.stalled_minutes:
        found[f"stalled since {seen.mark}"] = Alert("stalled", f"no progress for {seen.still / 60:.0f} minutes")
    if job.budget is not None and state.spent > job.budget:
        found[OVER] = Alert(OVER, f"{state.spent:.2f} of {job.budget:.2f} dollars are spent")
    for name in sorted({name for rule in params.alerts for name in rule.when}):
        if words := _passed(name, seen.metrics):
            found[f"level {name}"] = Alert(name, words)
    return found


def _of_attempt(line: Json) -> Alert | None:
    """What a line of `attempts.jsonl` is worth being told."""
    place, why = line.get("machine") or "a machine", line.get("why") or line.get("reason") or ""
    if line["kind"] == "lost":
        return Alert("lost", f"{place} is lost: {why}")
    if line["kind"] == "ended" and line.get("ending") in CAUSES:
        return Alert(CAUSES[line["ending"]], f"ended on {place}: {why}")
    if line["kind"] == "finished" and (kind := ENDS.get(str(line.get("state")), "failed")):
        return Alert(kind, f"the job is over, {line.get('state')}: {why}")
    return None


def _passed(name: str, metrics: Mapping[str, Any]) -> str:
    """That a metric has passed the level of a rule, in words; empty where it has not."""
    found = level(name)
    value = metrics.get(found[0]) if found else None
    if found is None or not isinstance(value, int | float):
        return ""
    passed = value > found[2] if found[1] else value < found[2]
    return f"{found[0]} = {value:.4g} at step {metrics.get('step')} ({name})" if passed else ""


class Alerts:
    """Looks at a job's records every few seconds and tells what is new.

    Args:
        run, job: whose.
        params: what to watch for and where it goes; None: as the run's parameters say.
    """

    def __init__(self, run: Run, job: Job, params: LaunchParams | None = None):
        self.run, self.job = run, job
        self.params = params or check(LaunchParams, run.values().get("launch") or {})
        self._events, self._metrics = Tail(run.folder / "events.jsonl"), Tail(run.folder / "metrics.jsonl")
        self._not_finite: list[Json] = []
        self._values: dict[str, Any] = {}
        self._mark, self._since = "", time.monotonic()
        self._senders: list[threading.Thread] = []
        self._told = self._read()

    def look(self, state: State) -> list[Alert]:
        """Tell what is new since the last look; returns that. Never waits, never fails for what cannot be delivered."""
        found = occurrences(self._seen(state), self.params)
        if self._told is None:  # what happened before the job began is none of its
            self._told = [name for name, alert in found.items() if alert.kind == "nan" or level(alert.kind)]
        fresh = [alert for name, alert in found.items() if name not in self._told]
        if list(found) != self._told:
            self._told = list(found)
            files.write_json(self.run.folder / TOLD, {"job": self.job.id, "told": self._told})
        for alert in fresh:
            self.run.event("alert", alert=alert.kind, text=alert.text, job=self.job.id)
            self._send(alert, state)
        return fresh

    def close(self, seconds: float = WEBHOOK_SECONDS + COMMAND_SECONDS) -> None:
        """Wait until what is under way is delivered, `seconds` at most in all."""
        patience = time.monotonic() + seconds
        for sender in self._senders:
            sender.join(max(patience - time.monotonic(), 0.0))

    def _read(self) -> list[str] | None:
        """What has been told of this job, by an earlier supervisor; None at the first look."""
        try:
            kept = files.read_object(self.run.folder / TOLD) or {}
        except Damaged:
            return None
        return list(kept["told"]) if kept.get("job") == self.job.id else None

    def _seen(self, state: State) -> Seen:
        events, lines = self._events.read(), self._metrics.read()
        for line in lines:
            self._values |= line
        self._not_finite += [event for event in events if event.get("kind") == "not_finite" and "time" in event]
        progress = [event.get("time") for event in events if event.get("kind") not in NO_PROGRESS]
        if lines or progress or not self._mark:
            self._mark, self._since = now(), time.monotonic()
        still = time.monotonic() - self._since
        attempts = jobs.attempts(self.run)
        return Seen(self.job, state, attempts, self._not_finite, self._values, self._mark, still)

    def _send(self, alert: Alert, state: State) -> None:
        """Begin to tell an alert wherever the rules say."""
        body = {
            **vars(alert),
            "alert": alert.kind,
            "text": redact(f"{self.job.name}: {alert.text}"),
            **{"study": self.job.study, "run": self.job.run, "job": self.job.id, "time": now()},
            **{"state": state.state, "machine": state.machine, "spent": round(state.spent, 4)},
            "step": self._values.get("step"),
        }
        del body["kind"]
        for rule in self.params.alerts:
            if alert.kind in rule.when:
                for way, tell in ways(rule, self.run):
                    sender = threading.Thread(target=self._deliver, args=(way, tell, body), daemon=True)
                    self._senders.append(sender)
                    sender.start()

    def _deliver(self, way: str, tell: Callable[[Json], None], body: Json) -> None:
        try:
            tell(body)
        except Exception as error:  # whatever somebody else's service throws, the job goes on
            reason = redact(f"{type(error).__name__}: {error}")
            self.run.event("alert_failed", alert=body["alert"], way=way, reason=reason, job=self.job.id)


def ways(rule: AlertRule, run: Run) -> list[tuple[str, Callable[[Json], None]]]:
    """The ways on which a rule's alerts go, by name."""
    found: list[tuple[str, Callable[[Json], None]]] = []
    if rule.wandb:
        found.append(("wandb", lambda body: _wandb(run, body)))
    if variable := rule.webhook:
        found.append((f"webhook {variable}", lambda body: _webhook(variable, body)))
    if rule.command:
        found.append((f"command {Path(rule.command[0]).name}", lambda body: _command(rule.command, body)))
    return found


def _webhook(variable: str, body: Json) -> None:
    url = os.environ.get(variable, "")
    if not url.startswith(("http://", "https://")):  # the address itself is never told
        raise ValueError(f"environment variable {variable} holds no address" if url else f"{variable} is not set")
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head, method="POST")
    try:
        urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS).close()
    except urllib.error.HTTPError as error:
        raise OSError(f"it answered {error.code}") from None


def _command(argv: Sequence[str], body: Json) -> None:
    done = subprocess.run(
        argv, input=json.dumps(body).encode(), capture_output=True, timeout=COMMAND_SECONDS, check=False
    )
    if done.returncode:
        raise OSError(f"it ended with code {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")


def _wandb(run: Run, body: Json) -> None:
    """An alert in a run of its own: who opened the training's run here would end it with this."""
    from stepladder.training.tracking import open_wandb

    name = f"{run.study}-{run.name}-alerts"
    opened = open_wandb(run.study, run.folder / FOLDER, name=name, id=name, resume="allow", job_type="alerts")
    opened.alert(title=f"{run.name}: {body['alert']}"[:63], text=body["text"], wait_duration=0)
    opened.finish()
