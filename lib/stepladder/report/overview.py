"""The index over all runs, study by study: the best and the latest run with their sentences, then a row for each.

Decisions:
- It is made again at the end of every walk, so what it costs must not grow with what lies there unchanged: a run is one
  entry of plain JSON, remembered while nothing it is made of has changed (`Memory`).
- A run is the best by the main metric of the study's newest evaluation; runs are scored on test samples of their own,
  and the page says so.
"""

import json
import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stepladder.core import claim, closure, files
from stepladder.core.files import Json
from stepladder.core.memory import Memory
from stepladder.core.paths import outputs_root
from stepladder.core.run import Run, runs
from stepladder.core.stages import STAGES
from stepladder.report import curve, html
from stepladder.report.card import Card, study_title
from stepladder.report.summary import RunSummary

SPARKS = 200  # records of training that a row's curve is drawn from
RECORDS = ("params.yaml", "overrides.yaml", "run.json", "events.jsonl", "metrics.jsonl", "report.html", claim.PATH)


def index(root: Path) -> Path:
    """Write `index.html` of the outputs folder over all runs, by study, newest first; returns its path."""
    outputs = outputs_root(root)
    studies: dict[str, list[Json]] = {}
    with closure.one_look():
        memory, code = Memory(outputs / ".index.json", by=_made_by()), dict[str, str]()
        for run in runs(root):
            if run.study not in code:
                code[run.study] = _code(run)
            name, summarize = f"{run.study}/{run.name} {code[run.study]}", cache(partial(RunSummary, run))
            entry = json.loads(memory.made(name, partial(_entry, summarize), partial(_sources, summarize)))
            studies.setdefault(run.study, []).append(entry)
        memory.save()
    groups = [_group(name, entries) for name, entries in studies.items()]
    return html.write(outputs / "index.html", "index.html", groups=groups)


def _entry(summarize: Callable[[], RunSummary]) -> str:
    """A run on the index as JSON: its row and its card as HTML, its score as (metric, value, which is better)."""
    summary = summarize()
    run, card = summary.run, Card(summary)
    page = run.folder / "report.html"
    place = f"{run.study}/{run.name}/{page.name}" if page.exists() else None
    score = [card.score.metric, card.score.value, card.score.better] if card.score else None
    values: dict[str, Any] = {"summary": summary, "card": card, "page": place}
    drawn = curve.sparkline(summary.metrics(SPARKS))
    row, told = html.render("index_row.html", sparkline=drawn, **values), html.render("index_card.html", **values)
    return json.dumps({"row": str(row), "card": str(told), "score": score})


def _group(name: str, entries: list[Json]) -> Json:
    """A study on the index: its rows, and under a label the cards of the best and the latest run."""
    best, latest = _best(entries), entries[0]
    label = f"Best {best['score'][0]}, on its own test samples" if best else ""
    shown = [(label, best)] if best and best is not latest else []
    shown += [("Latest, and best" if best is latest and len(entries) > 1 else "Latest", latest)]
    cards = [(words, Markup(entry["card"])) for words, entry in shown]
    return {
        "name": name,
        "title": study_title(name),
        "cards": cards,
        "rows": [Markup(entry["row"]) for entry in entries],
    }


def _best(entries: list[Json]) -> Json | None:
    """Of the runs that share the newest one's main metric, the one with the best value; of equals the newest."""
    scored = [entry for entry in entries if entry["score"]]
    if not scored:
        return None
    metric, _, better = scored[0]["score"]
    sign = 1 if better == "higher" else -1
    return max((e for e in scored if e["score"][0] == metric), key=lambda entry: sign * entry["score"][1])


def _sources(summarize: Callable[[], RunSummary]) -> list[Path] | None:
    """The files that an entry is made of; None for a run that goes on or died: there the processes of now count too."""
    summary = summarize()
    if summary.is_open:
        return None
    run = summary.run
    profiles = run.root / "params" / run.study  # one of which may be the next step
    found = [*(run.folder / name for name in RECORDS), profiles, *sorted(profiles.glob("*.yaml"))]
    for part in STAGES:
        found.append(run.folder / part.name)  # a notebook that opens the stage makes a folder there
        result = summary.result(part.name)
        names = (*result.get("files", {}), *result.get("sizes", {}))
        found += [run.folder / part.name / name for name in ("result.json", "notebook.ipynb")]
        found += [Path(os.path.normpath(run.folder / name)) for name in names]
    data = summary.values.get("data")
    mirror = data.get("mirror") if isinstance(data, Mapping) else None
    return [*found, Path(str(mirror).removeprefix("file://"))]  # whether it is here decides, too


def _code(run: Run) -> str:
    """Digest of the code that the results of a study would be made by now."""
    return files.fingerprint([closure.of_stage(run.root, part.name, run.study) for part in STAGES])


def _made_by() -> str:
    """Digest of the code that judges runs and draws entries, templates included."""
    places = (Path(__file__).parent, Path(closure.__file__).parent)
    own = sorted(path for place in places for path in place.rglob("*") if path.suffix in (".py", ".html"))
    return files.fingerprint([files.file_sha256(path) for path in own])
