"""What a run's files tell about it: the state of every stage and of the whole, times, and where it was made.

States come from `Run.status` and `Run.stage_state`, the same as everywhere: what is stale or died is shown so. Nothing
here imports a study; a result whose study is not installed cannot be checked and is believed.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stepladder import markup
from stepladder.params import ParameterError, read_yaml
from stepladder.run import STAGES, Run


@dataclass(frozen=True)
class Step:
    """One stage of a run as its page shows it."""

    name: str
    state: str
    reason: str
    seconds: float | None
    result: dict[str, Any]
    checks: list[dict[str, Any]]
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
        return " · ".join(part for part in (state, markup.duration(self.seconds), passed) if part)

    @property
    def has_content(self) -> bool:
        """Whether there is anything to show."""
        return self.has_notebook or bool(self.result)


class Story:
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
        dirty = f", modified ({status['dirty'][:6]})" if status.get("dirty") else ""
        return {
            "device": status.get("device"),
            "torch": status.get("torch"),
            "Python": status.get("python"),
            "commit": f"{status['commit'][:10]}{dirty}" if status.get("commit") else None,
        }

    def _step(self, name: str, event: dict[str, Any] | None, checks: list[dict[str, Any]]) -> Step:
        """One stage, from its last event, its result, and the checks it noted since it began."""
        result = self.run.result(name) or {}
        state, reason, seconds = self._recorded_state(name, result), "", None
        if event and event["kind"] == "stage_end":
            seconds = event["seconds"]
            if not result:
                state, reason = event["state"], event["reason"]
        elif event and not result:
            state = "running" if self.status["state"] == "running" else "stale"
            reason = "" if state == "running" else "its runner is gone without a word"
        has_notebook = (self.run.folder / name / "notebook.ipynb").exists()
        return Step(name, state, reason, seconds, result, result.get("checks") or checks, has_notebook)

    def _recorded_state(self, name: str, result: dict[str, Any]) -> str:
        """`done`, `stale` or `missing`; a result that cannot be checked here (study not installed) is believed."""
        try:
            return self.run.stage_state(name, _Saved(self.values))
        except ParameterError:
            return "done" if result else "missing"


class _Saved:
    """Saved parameters where only their values are asked for, so that no study need be imported to draw a page."""

    def __init__(self, values: dict[str, Any]):
        self.values, self.study = values, values["study"]

    def model_dump(self, mode: str) -> dict[str, Any]:
        """The values."""
        return self.values
