"""Report pages, drawn from a run's files alone: one per stage, one per run, and an index over all runs.

Decisions:
- Every page is one HTML file that needs no network: pictures, styles and curves are inside. Only links between pages,
  and to stand-alone 3-D scenes, lead out of it, and they are relative, so a copied outputs folder still works.
- States come from `Run.status` and `Run.stage_state`, the same as everywhere: what is stale or died is shown so.
- Pages name the device, the versions and the commit; not the host, for pages are made to be passed on.
"""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from stepladder import curve, files, freeze, markup
from stepladder.params import ParameterError, load
from stepladder.paths import outputs_root, project_root
from stepladder.run import Run, runs
from stepladder.stages import stage as find_stage
from stepladder.story import Step, Story

QUIET = ("cell_start", "cell_end", "heartbeat", "progress", "check", "stage_start", "stage_end", "stage_skipped")
LAST_EVENTS = 30
NOTEBOOK_LINK = re.compile(r'href="(\d\d_\w+)\.ipynb"')


def stage_page(run: Run, stage: str) -> Path:
    """Write `<run>/<stage>/report.html` from the executed notebook; returns its path.

    Raises:
        ParameterError: the stage has no executed notebook.
    """
    name = find_stage(stage).name
    folder = run.folder / name
    if not (folder / "notebook.ipynb").exists():
        raise ParameterError(f"no executed notebook of {name} in {run.study}/{run.name}: run that stage first")
    nb = freeze.read(folder / "notebook.ipynb")
    story = Story(run)
    step = next(step for step in story.steps if step.name == name)
    parts = [
        f'<nav><a href="../report.html">{escape(run.study)}/{escape(run.name)}</a></nav>',
        f"<h1>{name[:2]} {escape(name[3:].replace('_', ' '))} {markup.pill(step.state)}</h1>",
        f'<p class="reason">{escape(step.reason)}</p>' if step.reason else "",
        markup.facts({"took": markup.duration(step.seconds) or None, **story.provenance}),
        markup.checks(step.checks) if step.checks else "",
        _parameters_read(story.values, find_stage(name).sections),
        NOTEBOOK_LINK.sub(r'href="../report.html#\1"', freeze.body(nb, folder)),
    ]
    path = folder / "report.html"
    files.write_text(path, markup.page(f"{run.study}/{run.name} {name}", "\n".join(parts)))
    return path


def run_page(run: Run) -> Path:
    """Write `<run>/report.html`: stages, checks, tables, figures, loss, parameters, events; returns its path."""
    story = Story(run)
    strip = [(s.name, s.state, s.small_print, f"#{s.name}" if s.has_content else None) for s in story.steps]
    parts = [
        '<nav><a href="../../index.html">all runs</a></nav>',
        f"<h1>{escape(run.study)}/{escape(run.name)} {markup.pill(story.state)}</h1>",
        f'<p class="reason">{escape(story.reason)}</p>',
        markup.strip(strip),
        markup.facts(
            {
                "profile": story.values.get("profile"),
                "started (UTC)": markup.moment(story.status.get("started")) or None,
                "walked in": markup.duration(story.seconds) or None,
                "attempts": story.status.get("attempts"),
                **story.provenance,
            }
        ),
        *(_stage_section(run, step) for step in story.steps if step.has_content),
        _parameters_changed(run, story.values),
        _events(run),
    ]
    path = run.folder / "report.html"
    files.write_text(path, markup.page(f"{run.study}/{run.name}", "\n".join(parts)))
    return path


def index(root: Path) -> Path:
    """Write `index.html` of the outputs folder over all runs, newest first; returns its path."""
    outputs = outputs_root(root)
    rows = [_index_row(Story(run), outputs) for run in runs(root)]
    columns = ("state", "run", "stages", "loss", "walked in", "started (UTC)", "profile", "device")
    head = "".join(f"<th>{column}</th>" for column in columns)
    found = f'<table class="index"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    nothing = "<p>No run yet. Start one with <code>stepladder run plateau</code>.</p>"
    listed = f'<div class="scroll">{found}</div>' if rows else nothing
    path = outputs / "index.html"
    files.write_text(path, markup.page("Stepladder runs", f"<h1>Runs</h1>{listed}"))
    return path


def _stage_section(run: Run, step: Step) -> str:
    """One stage on the run's page: checks, tables, curve, figures, and the way to its own page."""
    title = f"{step.name[:2]} {step.name[3:].replace('_', ' ')}"
    page = run.folder / step.name / "report.html"
    link = f' <small><a href="{step.name}/report.html">executed notebook</a></small>' if page.exists() else ""
    checks = step.checks
    failed = any(not check["ok"] for check in checks)
    shown = markup.checks(checks) if checks else ""
    word = f"{len(checks)} check{'s' if len(checks) > 1 else ''} passed"
    folded = shown if failed or not checks else f"<details><summary>{word}</summary>{shown}</details>"
    tables = (markup.table(t["columns"], t["rows"], t["title"], t.get("note", "")) for t in _tables(step.result))
    loss = _loss(run) if step.name == "05_training" else ""
    pictures = "".join(_figures(run.folder / step.name))
    parts = [
        f'<h2 id="{step.name}">{escape(title)} {markup.pill(step.state)}{link}</h2>',
        f'<p class="reason">{escape(step.reason)}</p>' if step.reason else "",
        folded,
        *tables,
        loss,
        f'<div class="figures">{pictures}</div>' if pictures else "",
    ]
    return "\n".join(part for part in parts if part)


def _loss(run: Run) -> str:
    """The loss curve with its caption, where there are metrics."""
    drawn = curve.loss(run.metrics())
    caption = "Loss against the optimizer step; averages of neighbouring steps where they lie close."
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>" if drawn else ""


def _tables(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Result tables, without the one that repeats the checks."""
    return (table for table in result.get("tables", []) if table["title"] != "Checks" and table["rows"])


def _figures(folder: Path) -> Iterator[str]:
    """The stage's pictures with their captions, oldest first; scenes without a picture as links."""
    pictures = sorted((folder / "figures").glob("*.png"), key=lambda path: (path.stat().st_mtime, path.name))
    for path in pictures:
        sidecar = files.read_json(path.with_suffix(".json")) or {}
        scene = path.with_suffix(".html")
        link = f"{folder.name}/figures/{scene.name}" if scene.exists() else None
        yield markup.figure(path, sidecar.get("caption", path.stem), link)
    for scene in sorted((folder / "figures").glob("*.html")):
        if not scene.with_suffix(".png").exists():
            address, name = f"{folder.name}/figures/{scene.name}", f"{scene.stem} in 3-D"
            yield f'<figure><a href="{escape(address, quote=True)}">{escape(name)}</a></figure>'


def _parameters_read(values: dict[str, Any], sections: tuple[str, ...]) -> str:
    """The parameters a stage reads, folded."""
    kept = {key: values[key] for key in ("study", "profile", "seed", *sections) if key in values}
    rows = [(name, value) for name, value in _flat(kept)]
    return f"<details><summary>parameters it reads</summary>{markup.table(('parameter', 'value'), rows)}</details>"


def _parameters_changed(run: Run, values: dict[str, Any]) -> str:
    """Parameters that differ from the profile's, and all of them, folded."""
    everything = markup.table(("parameter", "value"), _flat(values))
    folded = f"<details><summary>all parameters</summary>{everything}</details>"
    try:
        usual = dict(_flat(load(project_root(), run.study, values["profile"]).model_dump(mode="json")))
    except ParameterError as error:
        return f"<h2>Parameters</h2><p>The profile cannot be compared: {escape(str(error))}</p>{folded}"
    rows = [(k, v, usual.get(k, "")) for k, v in _flat(values) if k != "run" and v != usual.get(k)]
    profile = f"{run.study}/{values['profile']}"
    columns = ("parameter", "this run", f"profile {profile}")
    changed = markup.table(columns, rows) if rows else f"<p>All as in the profile {escape(profile)}.</p>"
    return f"<h2>Parameters</h2>{changed}{folded}"


def _events(run: Run) -> str:
    """What happened, without the routine: the last events and how often each kind occurred."""
    events = run.events()
    if not events:
        return ""
    told = [event for event in events if event["kind"] not in QUIET or event.get("state", "done") != "done"]
    rows = [(e["time"][:19].replace("T", " "), e["kind"], e.get("stage", ""), _rest(e)) for e in told[-LAST_EVENTS:]]
    counts: dict[str, int] = {}
    for event in events:
        counts[event["kind"]] = counts.get(event["kind"], 0) + 1
    summary = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    listed = (
        markup.table(("time (UTC)", "event", "stage", "what"), rows) if rows else "<p>Nothing out of the routine.</p>"
    )
    return f"<h2>Events</h2>{listed}<p><small>All in events.jsonl: {escape(summary)}.</small></p>"


def _rest(event: dict[str, Any]) -> str:
    """The fields of an event that have no column of their own."""
    return ", ".join(f"{key}: {value}" for key, value in event.items() if key not in ("time", "kind", "stage"))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters as (`training.steps`, 100)."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _index_row(story: Story, outputs: Path) -> str:
    run = story.run
    page = run.folder / "report.html"
    name = f"{escape(run.study)}/{escape(run.name)}"
    link = f'<a href="{escape(page.relative_to(outputs).as_posix(), quote=True)}">{name}</a>' if page.exists() else name
    cells = [
        markup.pill(story.state),
        f"{link}<br><small>{escape(story.reason)}</small>",
        markup.dots((step.name, step.state) for step in story.steps),
        curve.sparkline(run.metrics()),
        markup.duration(story.seconds),
        markup.moment(story.status.get("started")),
        escape(str(story.values.get("profile", ""))),
        escape(str(story.status.get("device") or "")),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
