"""The card on top of a run's page: what was trained on what, how good it is, what limits it, what to do next, the bill.

Decisions:
- What is wrong comes first: a run that stopped or is not finished says where and why, and stages that are stale are
  named, for then the sentences below tell of other parameters, code or data.
- Its sentences are those that 06_evaluation and 04_scaling recorded; nothing is measured or judged here.
- One next step, one command: go on where the run is not done, else train longer where the model is better in no metric,
  else the study's real files where the data were made on the spot, else hand the model on.
- A study's title is read from its file, without importing the study, which would cost more than the page.
"""

import ast
import shlex
from dataclasses import dataclass
from functools import cache
from typing import Any

from stepladder.core import closure
from stepladder.core.config import ParameterError, flat, read_yaml
from stepladder.core.files import Json
from stepladder.core.stages import visible
from stepladder.report import html
from stepladder.report.summary import RunSummary, Step

STOPPED = ("failed", "oom", "preempted", "lost", "timeout", "stale")
SENTENCE = "In one sentence"  # title under which `stage.note` keeps what it says
BETTER = "better"  # verdict of `evaluation.rivals`


@dataclass(frozen=True)
class Next:
    """What to do next, in words, and the command that does it."""

    words: str
    command: str


@dataclass(frozen=True)
class Score:
    """The model's value in a run's main metric, and whether a `higher` or a `lower` one is better."""

    metric: str
    value: float
    better: str


class Card:
    """What stands on top of a run's page."""

    def __init__(self, summary: RunSummary):
        self.summary = summary
        self._steps = {step.name: step for step in summary.steps}

    @property
    def title(self) -> str:
        """What the study calls itself."""
        return study_title(self.summary.run.study)

    @property
    def states(self) -> list[str]:
        """State of the run, and `stale` beside it where it stands on stale stages."""
        state = self.summary.state
        return [state, "stale"] if self._stale and state != "stale" else [state]

    @property
    def troubles(self) -> list[str]:
        """What a reader must know before the numbers: where the run stopped and why, what is stale, what is missing."""
        return [text for text in (self._stopped, *self._damaged, self._stale, self._missing) if text]

    @property
    def ended(self) -> str:
        """How the run ended, and what of its records is damaged; empty where the troubles tell it."""
        return "" if self._stopped else self.summary.reason

    @property
    def subject(self) -> str:
        """What was trained on what: network, parameters, steps, samples; as the results hold them."""
        made = self._value("05_training", "key", {}).get("parameters") or self._asked
        network = made.get("model.name", "a network")
        count, samples = self._value("03_smoke_test", "parameters"), self._value("02_conversion", "samples")
        steps, batch = self._value("05_training", "steps"), made.get("training.batch")
        size = f" of {count:,} parameters" if count else ""
        data = f"{samples:,} training samples ({_source(made)})" if samples else f"data: {_source(made)}"
        if not steps:
            return f"{network}{size}, not trained yet; {data}."
        each = f" of {batch} samples" if batch else ""
        return f"{network}{size}, trained for {steps:,} steps{each} on {data}."

    @property
    def verdict(self) -> str:
        """What 06_evaluation says of the model beside its strongest rival."""
        return sentence(self._steps["06_evaluation"])

    @property
    def score(self) -> Score | None:
        """The main metric of an evaluation that is done; None where there is none."""
        gains = self._value("06_evaluation", "gains", [])
        value = gains[0].get("model") if gains else None
        if self._steps["06_evaluation"].state != "done" or value is None:
            return None
        return Score(gains[0]["metric"], value, self._value("06_evaluation", "better", "higher"))

    @property
    def setting(self) -> str:
        """What 04_scaling says of this machine and the setting it chose."""
        return sentence(self._steps["04_scaling"])

    @property
    def bill(self) -> dict[str, str]:
        """What the run cost: time of its stages, hours of training, dollars, the price of the same elsewhere.

        Dollars are those of all machines where it was launched, setting up and losses among them.
        """
        rows = {row["quantity"]: row for row in self._value("05_training", "bill", [])}
        hours, dollars = (rows.get(name, {}).get("real") for name in ("hours", "dollars"))
        told, machines = {"all stages": html.duration(self.summary.seconds)}, self.summary.machines
        if hours is not None:
            told["training"] = html.duration(hours * 3600)
        if machines:
            told["launched"] = machines.sentence
        elif hours is not None:
            told["dollars"] = _dollars(dollars) if dollars is not None else "this machine has no price"
        return told | {"training on the cheapest rented GPU": _cheapest(self._value("04_scaling", "prices", []))}

    @property
    def next(self) -> Next:
        """The one thing to do next."""
        walk = self._walk()
        if self.summary.is_launched:
            return Next("It was launched; follow it:", f"stepladder logs -f {shlex.quote(self.summary.title)}")
        if self.summary.state == "running":
            return Next("It is running; see how far it is:", "stepladder status")
        if self._stopped:
            return Next("When the cause is mended, go on where it stopped:", walk)
        if self._stale:
            return Next("Make again what is stale:", walk)
        if self._missing:
            return Next("Go on with the next stage:", walk)
        verdicts = [row.get("verdict") for row in self._value("06_evaluation", "gains", [])]
        if verdicts and BETTER not in verdicts:
            steps = 2 * int(self._asked.get("training.steps", 1))
            return Next("It is better in no metric yet; train twice as long:", f"{walk} --set training.steps={steps}")
        if self._asked.get("data.source") == "synthetic" and (real := _real_profile(self.summary)):
            return Next("Its data were made on the spot; the same on real files:", real)
        name = shlex.quote(self.summary.title)
        return Next("Hand the model on:", f"stepladder artifact publish {name} --to URL")

    def _value(self, stage: str, name: str, default: Any = None) -> Any:
        """One value of a stage's result; the default also where it holds none."""
        found = self._steps[stage].result.get(name)
        return default if found is None else found

    @property
    def _asked(self) -> Json:
        """The run's parameters, flat; as far as a page may tell them."""
        return visible("07_visualization", self.summary.values)

    @property
    def _stopped(self) -> str:
        """Where the run stopped and why; nothing of a run walked by hand, whose stages tell."""
        summary = self.summary
        if summary.by_hand or summary.state not in STOPPED:
            return ""
        word = {"oom": "ran out of memory", "stale": "ended without a word", "timeout": "ran out of time"}
        word["lost"] = "has lost its machine"
        return f"The run {word.get(summary.state, summary.state)}: {summary.reason or 'no reason was left'}."

    @property
    def _damaged(self) -> list[str]:
        """Stages whose result is there and cannot be read."""
        return [
            f"{s.title}: {s.reason}." for s in self.summary.steps if s.state == "stale" and s.reason and not s.result
        ]

    @property
    def _stale(self) -> str:
        """The stages whose results belong to other parameters, code or data, with the first one's reason."""
        stale = [step for step in self.summary.steps if step.state == "stale" and step.result]
        if not stale:
            return ""
        names = "All stages" if len(stale) == len(self.summary.steps) else ", ".join(step.title for step in stale)
        verb = "is" if len(stale) == 1 else "are"
        return f"{names} {verb} stale, so the numbers are of before: {stale[0].reason}."

    @property
    def _missing(self) -> str:
        """The stages that have not run; nothing where something worse is told."""
        missing = [step.title for step in self.summary.steps if not step.result]
        if not missing or self._stopped or self.summary.is_launched or self.summary.state == "running":
            return ""
        return f"Not finished: {', '.join(missing)} {'has' if len(missing) == 1 else 'have'} no result yet."

    def _walk(self) -> str:
        """The command that walks the run on."""
        profile, name = self._profile, self.summary.run.name
        shown = "" if profile == "quick" else f" --profile {shlex.quote(profile)}"
        run = "" if name == profile else f" --run {shlex.quote(name)}"
        return f"stepladder run {shlex.quote(self.summary.run.study)}{shown}{run}"

    @property
    def _profile(self) -> str:
        return self.summary.profile or "quick"


def sentence(step: Step) -> str:
    """The one sentence of a stage: as its result names it, or as `stage.note` kept it."""
    notes = [table.get("note", "") for table in step.result.get("tables", []) if table["title"] == SENTENCE]
    return step.result.get("sentence") or (notes[-1] if notes else "")


@cache
def study_title(name: str) -> str:
    """The title a study gives itself; its name where its file tells none, or cannot be read as Python."""
    path = closure.study_home(name) / closure.ENTRY
    try:
        tree: ast.AST = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return name
    found = (
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if any(isinstance(target, ast.Name) and target.id == "title" for target in node.targets)
    )
    return next(found, name)


def _source(parameters: Json) -> str:
    """Where the data came from, in words."""
    words = {"synthetic": "made on the spot", "mirror": "real files", "remote": "fetched files"}
    return words.get(parameters.get("data.source", ""), "source unknown")


def _real_profile(summary: RunSummary) -> str:
    """The command for a profile of the study on real files, the same network before others; empty without one."""
    study, network = summary.run.study, dict(flat(summary.values)).get("model.name")
    found: list[tuple[bool, str, str]] = []
    for path in (summary.run.root / "params" / study).glob("*.yaml"):
        try:
            profile = dict(flat(read_yaml(path)))
        except ParameterError:
            continue
        source = profile.get("data.source")
        if source in ("mirror", "remote"):
            folder = " --set data.mirror=FOLDER" if source == "mirror" else ""
            found.append((profile.get("model.name") != network, path.stem, folder))
    if not found:
        return ""
    _, name, folder = min(found)
    return f"stepladder run {shlex.quote(study)} --profile {shlex.quote(name)}{folder}"


def _cheapest(prices: list[Json]) -> str:
    """The cheapest rented machine that fits, with hours and dollars; empty where nothing is priced."""
    priced = [row for row in prices if row.get("dollars") is not None]
    if not priced:
        return ""
    best = min(priced, key=lambda row: row["dollars"])
    seconds = best["hours"] * 3600
    shown = html.duration(seconds) if seconds >= 1 else "under a second"
    return f"{shown}, {_dollars(best['dollars'])} ({best['GPU']}, estimated)"


def _dollars(value: float) -> str:
    """Dollars as people read them."""
    return f"${value:,.2f}" if value >= 0.01 else "under 1 cent"
