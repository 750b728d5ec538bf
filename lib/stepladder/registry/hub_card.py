"""The model card that goes with the weights: whose data, what was measured and how, what it is not good for.

Numbers come from what 06_evaluation left, never from here: where it was not run, or is stale, the card says so plainly
and has none. Its sentences stand before its tables, so that a model without effect cannot look like one with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.registry.publish import card_says

EVALUATION = "06_evaluation"
HEADER = """---
license: other
license_name: see-model-card
license_link: README.md
tags:
- stepladder
- {study}
---
"""
LOADING = """```python
from stepladder.registry import hub

pulled = hub.load("OWNER/NAME", revision="COMMIT")  # the commit's 40 digits, which the push printed
pulled.tensors  # name -> tensor, the same bits that were trained
pulled.restore(model)  # into `find("{study}").model(params)`; refuses a model that does not fit
```"""


@dataclass(frozen=True)
class Scores:
    """What is known of a checkpoint's quality.

    Attributes:
        found: `metrics.json` of 06_evaluation; None where it does not tell of this checkpoint.
        sentences: of 06, the study's own among them.
        why_not: in words, where there is none.
    """

    found: dict[str, Any] | None = None
    sentences: list[str] = field(default_factory=list)
    why_not: str = ""


def scores(run: Run, final: bool) -> Scores:
    """What 06_evaluation found, where it is done and about this checkpoint."""
    if not final:
        return Scores(why_not="This is a checkpoint of a training under way: 06_evaluation was not run on it.")
    state = run.states()[EVALUATION]
    result, found = run.result(EVALUATION), files.read_object(run.folder / EVALUATION / "metrics.json")
    if state.state != "done" or result is None or found is None:
        told = "was not run" if state.state == "missing" else f"is {state.state} ({state.reason})"
        return Scores(why_not=f"06_evaluation {told}: nothing is known of how good this model is.")
    told = [result.get("sentence"), *(table.get("note") for table in result.get("tables", []) if not table["columns"])]
    return Scores(found, list(dict.fromkeys(text for text in told if text)))


def card(study: Study[Any], params: Parameters, facts: Mapping[str, Any], found: Scores) -> str:
    """The card as markdown with a YAML header, a function of its arguments alone."""
    parts = [
        HEADER.format(study=facts["study"]),
        f"# {study.title}: {facts['study']}/{facts['run']}, step {facts['step']:,}",
        f"Trained with profile `{params.profile}`; parameters, checkpoint and identities: `stepladder.json`.",
        _given(facts["given"]),
        "## Data, weights it builds on, licences",
        _said(study.card, "Source"),
        _said(study.card, "Licence"),
        "## How it was measured",
        table(pd.DataFrame(study.protocol(params).items(), columns=["what", "how"])),
        "## What was measured",
        *(_numbers(found.found, found.sentences) if found.found else [f"**{found.why_not}**"]),
        "## Limits and known defects",
        _said(study.card, "Known defects"),
        "The numbers hold for the test split named above and say nothing of other data.",
        "## Load it",
        LOADING.format(study=facts["study"]),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def table(frame: pd.DataFrame) -> str:
    """A table in markdown."""
    rows = [[str(name) for name in frame.columns], ["---"] * len(frame.columns)]
    rows += [[str(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in frame.to_numpy()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _said(card: str, heading: str) -> str:
    text = card_says(card, heading)
    return f"**{heading}.** {text}" if text else f"**{heading}.** The study's card does not say."


def _given(given: Mapping[str, str]) -> str:
    """Which weights are not here."""
    if not given:
        return "All weights of the model are here."
    told = "; ".join(f"`{prefix}` = {json.dumps(identity)}" for prefix, identity in given.items())
    return f"Weights that are made or fetched elsewhere are not here, and the model is nothing without them: {told}."


def _numbers(found: Mapping[str, Any], sentences: list[str]) -> list[str]:
    """The sentences, then every leading metric of every method with its interval."""
    from stepladder.evaluation import metrics

    summary = pd.DataFrame(found["summary"])
    summary[["value", "low", "high"]] = summary[["value", "low", "high"]].astype(float)
    overall = summary[summary["group"] == "all"]
    wide = metrics.wide(overall, metrics.headline(overall)).drop(columns="group")
    return [*sentences, table(wide), "In brackets: intervals by bootstrap over what is independent in the test split."]
