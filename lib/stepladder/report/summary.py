"""What a run's files tell about it: the state of every stage and of the whole, times, and where it was made.

States come from `Run.status` and `Run.states`, the same as everywhere: what is stale or died is shown so. Nothing here
imports a study.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stepladder.core.config import read_yaml
from stepladder.core.files import Json
from stepladder.core.records import Result
from stepladder.core.run import Run, StageState
from stepladder.core.stages import STAGES
from stepladder.report import html


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
        self.values = read_yaml(run.folder / "params.yaml")
        self.status = run.status()
        self.by_hand = not (run.folder / "run.json").exists()

    @property
    def title(self) -> str:
        """Study and name of the run."""
        return f"{self.run.study}/{self.run.name}"

    @cached_property
    def steps(self) -> list[Step]:
        """All stages, in order."""
        last: dict[str, dict[str, Any]] = {}
        checks: dict[str, dict[str, Any]] = {stage.name: {} for stage in STAGES}
        for event in self.run.events():
            if event["kind"] in ("stage_start", "stage_end"):
                last[event["stage"]] = event
            if event["kind"] == "stage_start":
                checks[event["stage"]] = {}
            if event["kind"] == "check":
                checks[event["stage"]][event["name"]] = event
        return [self._step(name, last.get(name), list(found.values())) for name, found in checks.items()]

    @cached_property
    def _states(self) -> dict[str, StageState]:
        """How the stages stand."""
        return self.run.states(self.values)

    @property
    def state(self) -> str:
        """State of the run; of one walked by hand in JupyterLab, that of its furthest stage."""
        if not self.by_hand:
            return self.status["state"]
        return next((step.state for step in reversed(self.steps) if step.state != "missing"), "missing")

    @property
    def reason(self) -> str:
        """Why it is in this state, in words."""
        return "walked by hand, in notebooks" if self.by_hand else self.status.get("reason", "")

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

    def _step(self, name: str, event: dict[str, Any] | None, checks: list[dict[str, Any]]) -> Step:
        """One stage, from its last event, its result, and the checks it noted since it began."""
        result, found = self.run.result(name) or {}, self._states[name]
        state, reason, seconds = found.state, found.reason if result else "", None
        if event and event["kind"] == "stage_end":
            seconds = event["seconds"]
            if state != "done" and event["state"] != "done" and event["time"] > result.get("finished", ""):
                state, reason = event["state"], event["reason"]
        elif event and self.status["state"] == "running":
            state, reason = "running", ""
        elif event and state != "done":
            state, reason = "stale", "its runner is gone without a word"
        has_notebook = (self.run.folder / name / "notebook.ipynb").exists()
        return Step(name, state, reason, seconds, result, result.get("checks") or checks, has_notebook)
