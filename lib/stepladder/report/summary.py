"""What a run's files tell about it: the state of every stage and of the whole, times, and where it was made.

States come from `Run.status` and `Run.states`, the same as everywhere: what is stale or died is shown so. Nothing here
imports a study.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stepladder.core import claim, jsonlines, records
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.records import Result
from stepladder.core.run import GONE, Run, StageState
from stepladder.core.stages import STAGES
from stepladder.report import html

if TYPE_CHECKING:
    from stepladder.report.machines import Machines


@dataclass(frozen=True)
class Step:
    """One stage of a run as its page shows it."""

    name: str
    state: str
    reason: str
    seconds: float | None
    result: Result | Json  # empty where there is none
    checks: list[Json]
    has_notebook: bool

    @property
    def title(self) -> str:
        """Number and name, as people read them."""
        return self.name.replace("_", " ")

    @property
    def small_print(self) -> str:
        """State, time and how many checks passed."""
        passed = f"{sum(c['ok'] for c in self.checks)}/{len(self.checks)} checks" if self.checks else ""
        state = "not run" if self.state == "missing" else self.state
        return " · ".join(part for part in (state, html.duration(self.seconds), passed) if part)

    @property
    def has_content(self) -> bool:
        """Whether there is anything to show."""
        return self.has_notebook or bool(self.result)


class RunSummary:
    """What a run's files tell."""

    def __init__(self, run: Run):
        self.run = run
        self.status = run.status()
        self._fault = ""  # of the events, once they are read
        self.is_launched = claim.of(run.folder) is not None
        self.by_hand = not self.is_launched and not os.path.lexists(run.folder / "run.json")

    @cached_property
    def values(self) -> dict[str, Any]:
        """The run's parameters; empty where they cannot be read, which `reason` says."""
        try:
            return self.run.values()
        except Damaged:
            return {}

    @property
    def profile(self) -> str:
        """Name of the profile; empty where nobody knows it any more."""
        return str(self.values.get("profile", ""))

    @property
    def is_open(self) -> bool:
        """Whether a process walks the run, here or on another machine, or did and never said how it ended."""
        died = self.status.get("reason", "").startswith(GONE)
        return self.is_launched or died or self.status["state"] in ("running", "open")

    @property
    def title(self) -> str:
        """Study and name of the run."""
        return f"{self.run.study}/{self.run.name}"

    def metrics(self, most: int) -> list[Json]:
        """About `most` records of training, evenly spread however many there are, and as many of validation."""
        told = jsonlines.sample(self.run.folder / "metrics.jsonl", most, holding='"validation_loss"')
        return [line for line in told if records.is_step(line)]

    @cached_property
    def steps(self) -> list[Step]:
        """All stages, in order."""
        last: dict[str, Json] = {}
        checks: dict[str, dict[str, Json]] = {stage.name: {} for stage in STAGES}
        events = self.run.events()
        self._fault = f"events.jsonl: {events.fault}" if events.fault else ""
        for event in events:
            name = event.get("stage")
            if name not in checks:
                continue
            if event["kind"] in ("stage_start", "stage_end"):
                last[name] = event
            if event["kind"] == "stage_start":
                checks[name] = {}
            if event["kind"] == "check" and {"name", "ok", "reason"} <= event.keys():
                checks[name][str(event["name"])] = event
        return [self._step(name, last.get(name), list(found.values())) for name, found in checks.items()]

    @cached_property
    def _states(self) -> dict[str, StageState]:
        """How the stages stand."""
        return self.run.states(self.values or None, results=self._results)

    @cached_property
    def _results(self) -> dict[str, Result | Damaged | None]:
        return self.run.results()

    def result(self, name: str) -> Result | Json:
        """The result of a stage; empty where there is none that can be read."""
        found = self._results[name]
        return {} if found is None or isinstance(found, Damaged) else found

    @property
    def state(self) -> str:
        """State of the run; of one walked by hand in JupyterLab, that of its furthest stage."""
        if not self.by_hand:
            return self.status["state"]
        return next((step.state for step in reversed(self.steps) if step.state != "missing"), "missing")

    @property
    def reason(self) -> str:
        """Why it is in this state, in words."""
        told = "walked by hand, in notebooks" if self.by_hand else self.status.get("reason", "")
        results = [f"{step.name}: {self._states[step.name].reason}" for step in self.steps if self._is_damaged(step)]
        return "; ".join(part for part in (told, *results, self._fault) if part)

    def _is_damaged(self, step: Step) -> bool:
        return self._states[step.name].is_damaged

    @property
    def seconds(self) -> float | None:
        """Time of the last run of every stage, together."""
        return sum(step.seconds or 0 for step in self.steps) or None

    @property
    def provenance(self) -> dict[str, Any]:
        """Where and from what it was made, without naming the host."""
        status = self.status
        commit, changes = status.get("commit"), status.get("dirty")
        dirty = f", modified ({changes[:6]})" if changes else ""
        return {
            "device": status.get("device"),
            "torch": status.get("torch"),
            "Python": status.get("python"),
            "commit": f"{commit[:10]}{dirty}" if commit else None,
        }

    @cached_property
    def machines(self) -> "Machines | None":
        """What the machines of a launched run cost; None where it was not launched."""
        if not (self.run.folder / claim.FOLDER / "attempts.jsonl").exists():
            return None
        from stepladder.report import machines  # slow to import, and few runs need it

        return machines.of(self.run)

    def _step(self, name: str, event: dict[str, Any] | None, checks: list[dict[str, Any]]) -> Step:
        """One stage, from its last event, its result, and the checks it noted since it began."""
        result, found = self.result(name), self._states[name]
        state, reason, seconds = found.state, found.reason if result or found.is_damaged else "", None
        if event and event["kind"] == "stage_end":
            seconds = _number(event.get("seconds"))
            ended = event.get("state", "done")
            if state != "done" and ended != "done" and event["time"] > result.get("finished", ""):
                state, reason = str(ended), str(event.get("reason", ""))
        elif event and (self.is_launched or self.status["state"] == "running"):
            state, reason = self.status["state"], ""
        elif event and state != "done":
            state, reason = "stale", "its runner is gone without a word"
        has_notebook = (self.run.folder / name / "notebook.ipynb").exists()
        return Step(name, state, reason, seconds, result, result.get("checks") or checks, has_notebook)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None
