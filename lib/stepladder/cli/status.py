"""`stepladder status`: all runs in a table, or one in full."""

import shlex
from contextlib import suppress
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from stepladder.api import find
from stepladder.cli.console import COLOURS, console, shown
from stepladder.core import claim, config
from stepladder.core.config import ParameterError, nearest
from stepladder.core.errors import Damaged
from stepladder.core.paths import command, project_root
from stepladder.core.run import Run, runs
from stepladder.core.stages import STAGES
from stepladder.core.study import names


def status(
    name: Annotated[
        str | None, typer.Argument(metavar="[STUDY[/RUN]]", help="Only this study, or this run in full.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Read every file that results vouch for, not only its size.")] = False,
) -> None:
    """Show every run: what it is doing or how it ended, and how far each stage is.

    What trains tells its step, rate and time left, whoever started it, on whatever machine. `status STUDY/RUN` shows
    one run in full.
    """
    if name and "/" in name:
        _print_run(find(name), verify)
        return
    found = runs(project_root(), name)
    known = {*names(), *(run.study for run in runs(project_root()))}
    if name is not None and name not in known:
        raise ParameterError(f"no study {name!r}{nearest(name, known)}")
    if not found:
        of = f" of {name}" if name else ""
        console.print(f"no run{of} yet; start one with `{command()} run {name or 'plateau'}`", soft_wrap=True)
        return
    table = Table("run", "state", "attempts", *(stage.name[:2] for stage in STAGES), "reason")
    for run in found:
        record, stages = run.status(), run.states(verify=verify).values()
        cells = [_coloured(state.state) if state.state != "missing" else "[dim]-[/]" for state in stages]
        attempts = str(record.get("attempts", 0) or "-")
        table.add_row(f"{run.study}/{run.name}", _coloured(record["state"]), attempts, *cells, escape(record["reason"]))
    console.print(table)


def _print_run(run: Run, verify: bool) -> None:
    """One run: its state, its stages with reasons, what was set in it, and the command that goes on."""
    record, states = run.status(), run.states(verify=verify)
    _say(f"{run.study}/{run.name}: {_coloured(record['state'])}  {escape(record['reason'])}")
    facts = {"folder": shown(run.folder), "attempts": record.get("attempts"), "began": record.get("started")}
    facts |= {"device": record.get("device"), "torch": record.get("torch")}
    _say(escape(", ".join(f"{name} {value}" for name, value in facts.items() if value)))
    with suppress(Damaged):  # the state has said so
        profile = run.values().get("profile", "")
        changed = ", ".join(f"{key} = {value}" for key, value in config.flat(run.overrides(profile)))
        _say(escape(f"profile {profile}; set in this run: {changed or 'nothing, all as in the profile'}"))
    table = Table("stage", "state", "finished (UTC)", "reason")
    for name, state in states.items():
        finished = str((run.result(name) or {}).get("finished", ""))[:19].replace("T", " ")
        table.add_row(name, _coloured(state.state), finished, escape(state.reason))
    console.print(table)
    if claim.of(run.folder):
        name = shlex.quote(f"{run.study}/{run.name}")
        _say(escape(f"follow it with: {command()} logs -f {name}; end it with: {command()} stop {name}"))
    elif any(state.state != "done" for state in states.values()) and record["state"] not in ("running", "open"):
        _say(escape(f"go on with: {run.command()}"))
    if (run.folder / "report.html").exists():
        _say(escape(f"report: {shown(run.folder / 'report.html')}"))


def _say(text: str) -> None:
    console.print(text, soft_wrap=True)


def _coloured(state: str) -> str:
    return f"[{COLOURS.get(state, 'yellow')}]{state}[/]"
