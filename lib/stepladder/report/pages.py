"""Report pages, drawn from a run's files alone: one per stage, one per run, and an index over all runs.

Decisions:
- Every page is one HTML file that needs no network: pictures, styles and curves are inside. Only links between pages,
  and to stand-alone 3-D scenes, lead out of it, and they are relative, so a copied outputs folder still works.
- States come from `Run.status` and `Run.states`, the same as everywhere: what is stale or died is shown so.
- A stage's numbers stand beside the parameters they were made with, which its result holds; not beside those that the
  run has been asked for since.
- Pages name the device, the versions and the commit; not the host, for pages are made to be passed on.
- What a page shows is gathered here; how it looks stands in `templates`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stepladder.core import files
from stepladder.core.config import ParameterError, flat
from stepladder.core.files import Json
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.profiles import load
from stepladder.core.records import Result
from stepladder.core.run import Run, runs
from stepladder.core.stages import stage as find_stage
from stepladder.core.stages import visible
from stepladder.report import curve, html, static_notebook
from stepladder.report.sanitize import picture
from stepladder.report.summary import RunSummary, Step

QUIET = ("cell_start", "cell_end", "heartbeat", "progress", "check", "stage_start", "stage_end", "stage_skipped")
LAST_EVENTS = 30
NOTEBOOK_LINK = re.compile(r'href="(\d\d_\w+)\.ipynb"')


def stage_page(run: Run, stage: str) -> Path:
    """Write `<run>/<stage>/report.html` from the executed notebook; returns its path.

    Raises:
        ParameterError: the stage has no executed notebook.
    """
    found = find_stage(stage)
    folder = run.folder / found.name
    if not (folder / "notebook.ipynb").exists():
        raise ParameterError(f"no executed notebook of {found.name} in {run.study}/{run.name}: run that stage first")
    cells = static_notebook.body(static_notebook.read(folder / "notebook.ipynb"), folder)
    summary = RunSummary(run)
    return html.write(
        folder / "report.html",
        "stage.html",
        summary=summary,
        step=next(step for step in summary.steps if step.name == found.name),
        read=_made_with(run.result(found.name)) or visible(found.name, summary.values),
        notebook=Markup(NOTEBOOK_LINK.sub(r'href="../report.html#\1"', cells)),
    )


def run_page(run: Run) -> Path:
    """Write `<run>/report.html`: stages, checks, tables, figures, loss, parameters, events; returns its path."""
    summary = RunSummary(run)
    values = _values(summary)
    changed, unchanged = _changed(summary, values)
    events = run.events()
    return html.write(
        run.folder / "report.html",
        "run.html",
        summary=summary,
        sections=[_section(run, step) for step in summary.steps if step.has_content],
        values=values,
        changed=changed,
        unchanged=unchanged,
        told=list(_told(events))[-LAST_EVENTS:],
        events=sorted(Counter(event["kind"] for event in events).items()),
    )


def index(root: Path) -> Path:
    """Write `index.html` of the outputs folder over all runs, newest first; returns its path."""
    outputs = outputs_root(root)
    found = [(RunSummary(run), run.folder / "report.html") for run in runs(root)]
    summaries = [(summary, page.relative_to(outputs).as_posix() if page.exists() else None) for summary, page in found]
    return html.write(outputs / "index.html", "index.html", summaries=summaries, sparkline=curve.sparkline)


def _section(run: Run, step: Step) -> dict[str, Any]:
    """One stage on the run's page: its tables but the one that repeats the checks, its loss curve, its figures."""
    return {
        "step": step,
        "has_page": (run.folder / step.name / "report.html").exists(),
        "tables": [t for t in step.result.get("tables", []) if t["title"] != "Checks" and t["rows"]],
        "loss": curve.loss(run.metrics()) if step.name == "05_training" else "",
        "figures": list(_figures(run.folder / step.name)),
    }


def _figures(folder: Path) -> Iterator[dict[str, Any]]:
    """The stage's pictures with their captions, oldest first; then scenes without a picture."""
    pictures = sorted((folder / "figures").glob("*.png"), key=lambda path: (path.stat().st_mtime, path.name))
    scenes = {path.stem: f"{folder.name}/figures/{path.name}" for path in sorted((folder / "figures").glob("*.html"))}
    for path in pictures:
        caption = (files.read_json(path.with_suffix(".json")) or {}).get("caption", path.stem)
        image = picture(path.read_bytes(), "image/png", caption or path.stem)
        yield {"image": image, "caption": caption, "scene": scenes.pop(path.stem, None)}
    for name, scene in scenes.items():
        yield {"image": "", "caption": f"{name} in 3-D", "scene": scene}


def _made_with(result: Result | Json | None) -> dict[str, Any]:
    """The parameters a result was made with."""
    return (result or {}).get("key", {}).get("parameters", {})


def _values(summary: RunSummary) -> dict[str, Any]:
    """Parameters as the results were made with them; what was asked for since, and not made yet, stands beside."""
    made: dict[str, Any] = {}
    for step in summary.steps:
        made |= _made_with(step.result)
    asked = dict(flat(summary.values))
    return {k: v if made.get(k, v) == v else f"{made[k]} (asked for since: {v})" for k, v in asked.items()}


def _changed(summary: RunSummary, values: dict[str, Any]) -> tuple[list[tuple[str, Any, Any]], str]:
    """Parameters that differ from the profile's as (name, here, there); where there are none, why, in words."""
    try:
        usual = load(project_root(), summary.run.study, values["profile"]).model_dump(mode="json")
    except ParameterError as error:
        return [], f"The profile cannot be compared: {error}"
    there = dict(flat(usual))
    rows = [(k, v, there.get(k, "")) for k, v in values.items() if k != "run" and v != there.get(k)]
    return rows, f"All as in the profile {summary.run.study}/{values['profile']}."


def _told(events: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """What happened, without the routine: time, kind, stage, and the fields that have no column of their own."""
    for event in events:
        if event["kind"] not in QUIET or event.get("state", "done") != "done":
            rest = ", ".join(f"{key}: {value}" for key, value in event.items() if key not in ("time", "kind", "stage"))
            yield event["time"][:19].replace("T", " "), event["kind"], event.get("stage", ""), rest
