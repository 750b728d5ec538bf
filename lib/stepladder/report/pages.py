"""Report pages, drawn from a run's files alone: one per stage, one per run, and an index over all runs.

Decisions:
- Every page is one HTML file that needs no network: pictures, styles and curves are inside. Only links between pages,
  and to stand-alone 3-D scenes, lead out of it, and they are relative, so a copied outputs folder still works.
- A run's page opens with its card (see `card`); then what a reader wants first: results, training, ladder, data. The
  inventory, the same for every run of a study, is last and folded.
- States come from `Run.status` and `Run.states`, the same as everywhere: what is stale or died is shown so.
- A stage's numbers stand beside the parameters they were made with, which its result holds; not beside those that the
  run has been asked for since.
- Pages name the device, the versions and the commit; not the host, for pages are made to be passed on. Only while a
  launched run is away its page says where, by the names in `params/targets.yaml`. Its bill tells machines by target,
  number and card.
- What a page shows is gathered here; how it looks stands in `templates`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stepladder.core import files, remarks
from stepladder.core.config import ParameterError, flat
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.paths import project_root
from stepladder.core.profiles import load
from stepladder.core.records import Result
from stepladder.core.run import Run
from stepladder.core.stages import stage as find_stage
from stepladder.core.stages import visible
from stepladder.core.units import digits
from stepladder.report import curve, html, static_notebook
from stepladder.report.card import Card
from stepladder.report.overview import index as index
from stepladder.report.sanitize import picture
from stepladder.report.summary import RunSummary, Step

QUIET = ("cell_start", "cell_end", "heartbeat", "progress", "check", "stage_start", "stage_end", "stage_skipped")
QUIET += ("converted", "checkpoint")
GOOD = ("done", "converted")  # states of events that are routine
LAST_EVENTS = 30
WIDE, FLAT = 1000, 2.4  # pixels, and times its height, from which a picture needs a whole width to be read
DRAWN = 4000  # records of training that a loss curve is drawn from
ORDER = ("06", "07", "05", "04", "03", "02", "01")  # of the stages on a run's page, as a reader wants them
LEADS = ("07_visualization", "06_evaluation", "05_training", "02_conversion")  # where the picture on top is looked for
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
        remarked=_remarked(run, found.name),
        notebook=Markup(NOTEBOOK_LINK.sub(r'href="../report.html#\1"', cells)),
    )


def run_page(run: Run) -> Path:
    """Write `<run>/report.html`: stages, checks, tables, figures, loss, parameters, events; returns its path."""
    summary = RunSummary(run)
    values = _values(summary)
    changed, unchanged = _changed(summary, values)
    events = run.events()
    steps = sorted(summary.steps, key=lambda step: ORDER.index(step.name[:2]))
    sections = [_section(summary, step) for step in steps]
    sections = _once([section for section in sections if section["step"].has_content or section["remarks"]])
    lead = _lead(sections)
    return html.write(
        run.folder / "report.html",
        "run.html",
        summary=summary,
        card=Card(summary),
        lead=lead,
        sections=sections,
        values=values,
        changed=changed,
        unchanged=unchanged,
        told=list(_told(events))[-LAST_EVENTS:],
        events=sorted(Counter(event["kind"] for event in events).items()),
    )


def _section(summary: RunSummary, step: Step) -> dict[str, Any]:
    """One stage on the run's page: what it says, remarks, its tables but the checks, its curve, its figures."""
    run = summary.run
    tables = step.result.get("tables", [])
    sentences = [table.get("note") for table in tables if not table["columns"]]
    figures = list(_figures(run.folder / step.name))
    drawn = any(figure["name"] == "curve" for figure in figures)
    return {
        "step": step,
        "has_page": (run.folder / step.name / "report.html").exists(),
        "notes": [text for text in sentences if text],
        "remarks": _remarked(run, step.name),
        "tables": [table for table in tables if table["title"] != "Checks" and table["rows"]],
        "loss": curve.loss(summary.metrics(DRAWN)) if step.name == "05_training" and not drawn else "",
        "figures": figures,
    }


def _once(sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sections without the pictures that an earlier one shows under the same name and caption: 07 draws 02's again."""
    seen: dict[tuple[str, str], str] = {}
    for section in sections:
        found = {(figure["name"], figure["caption"]): figure for figure in section["figures"]}
        section["figures"] = [figure for key, figure in found.items() if key not in seen]
        section["elsewhere"] = sorted({seen[key] for key in found if key in seen})
        seen |= {key: section["step"].name for key in found if key not in seen}
    return sections


def _remarked(run: Run, stage: str) -> list[Markup]:
    """A person's remarks on a stage, as HTML."""
    return [static_notebook.remark(one["text"]) for one in remarks.read(run.folder / stage)]


def _lead(sections: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The picture on top, taken out of its section: a shown sample of 07, else the furthest stage's last picture."""
    by_stage = {section["step"].name: section for section in sections}
    for stage in LEADS:
        section = by_stage.get(stage)
        pictures = [figure for figure in section["figures"] if figure["image"]] if section else []
        if not section or not pictures:
            continue
        shown = [f"sample_{number}" for number in section["step"].result.get("shown", [])]
        lead = next((figure for figure in pictures if figure["name"] in shown), pictures[-1])
        section["figures"] = [figure for figure in section["figures"] if figure is not lead]
        return {**lead, "stage": section["step"].name}
    return None


def _figures(folder: Path) -> Iterator[dict[str, Any]]:
    """The stage's pictures with their captions, oldest first; then scenes without a picture."""
    pictures = sorted((folder / "figures").glob("*.png"), key=lambda path: (path.stat().st_mtime, path.name))
    scenes = {path.stem: f"{folder.name}/figures/{path.name}" for path in sorted((folder / "figures").glob("*.html"))}
    for path in pictures:
        caption = _caption(path)
        data = path.read_bytes()
        image, scene = picture(data, "image/png", caption), scenes.pop(path.stem, None)
        row = {"name": path.stem, "image": image, "kind": _kind(data), "caption": caption, "scene": scene}
        endings = [ending for ending in _sidecar(path).get("files") or [] if path.with_suffix(ending).exists()]
        yield row | {"files": [f"{folder.name}/figures/{path.stem}{ending}" for ending in endings]}
    for name, scene in scenes.items():
        yield {"name": name, "image": "", "kind": "", "caption": f"{name} in 3-D", "scene": scene, "files": []}


def _kind(png: bytes) -> str:
    """CSS classes of a picture by its size: `wide` has a row to itself, `flat` is much wider than high."""
    width, height = (int.from_bytes(png[place : place + 4], "big") for place in (16, 20))
    return " ".join(name for name, told in (("wide", width > WIDE), ("flat", width > FLAT * height)) if told)


def _caption(path: Path) -> str:
    """What is written under a picture; its name where nobody can read it."""
    return str(_sidecar(path).get("caption") or path.stem)


def _sidecar(path: Path) -> Mapping[str, Any]:
    """What is kept beside a picture; nothing where nobody can read it."""
    try:
        return files.read_object(path.with_suffix(".json")) or {}
    except Damaged:
        return {}


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
        usual = load(project_root(), summary.run.study, summary.profile).model_dump(mode="json")
    except ParameterError as error:
        return [], f"The profile cannot be compared: {error}"
    there = dict(flat(usual))
    rows = [(k, v, there.get(k, "")) for k, v in values.items() if k != "run" and v != there.get(k)]
    return rows, f"All as in the profile {summary.run.study}/{summary.profile}."


def _told(events: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """What happened, without the routine: time, kind, stage, and the fields that have no column of their own."""
    for event in events:
        if event["kind"] not in QUIET or event.get("state", "done") not in GOOD:
            fields = {k: v for k, v in event.items() if k not in ("time", "kind", "stage") and v not in ("", None, [])}
            rest = ", ".join(f"{name}: {_short(value)}" for name, value in fields.items())
            yield event["time"][:19].replace("T", " "), event["kind"], event.get("stage", ""), rest


def _short(value: Any) -> Any:
    """A value of an event as people read it: a fraction to four significant digits, of a long list its length."""
    if isinstance(value, float):
        return digits(value, 4)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(one)}" for name, one in value.items())
    if isinstance(value, list):
        return f"{len(value)} entries" if len(value) > 3 else "; ".join(str(_short(one)) for one in value)
    return value
