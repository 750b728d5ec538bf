"""The `stepladder` command: walk the road, look at runs, read parameters, examine the machine.

Every command is a thin call into the package; errors a person can mend are one sentence, not a traceback.
"""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import stepladder
from stepladder import api
from stepladder.cli import launching
from stepladder.cli.artifacts import app as artifacts
from stepladder.cli.console import Narrator, console, shown
from stepladder.cli.hub import app as hub
from stepladder.cli.lab import lab
from stepladder.cli.options import Force, Forget, Named, Profile, RunName, Settings, Stages, Walked
from stepladder.cli.rollback import rollback
from stepladder.cli.status import status
from stepladder.cli.sweep import sweep
from stepladder.core import config, study
from stepladder.core.config import ParameterError
from stepladder.core.lock import Leased
from stepladder.core.paths import project_root
from stepladder.core.run import EXIT_CODES
from stepladder.core.secrets import redact
from stepladder.core.stages import STAGES
from stepladder.core.units import counted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Take a dataset from ten samples to full training, one gated step at a time.

    Start with `stepladder run plateau`: seven notebooks on a small procedural town, then the path of the report.
    Run it again and finished stages are skipped; change a parameter and only what depends on it runs again.

    Exit codes: 0 done, 1 failed, 75 preempted (run the same command again), 124 timed out, 137 out of memory.""",
)
app.add_typer(artifacts, name="artifact")
app.add_typer(hub, name="hub")


def _print_version(asked: bool) -> None:
    if asked:
        console.print(f"stepladder {stepladder.__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
]


@app.callback()
def common(version: Version = False) -> None:
    """Options of the command itself."""


@app.command()
def run(
    name: Walked,
    profile: Profile = None,
    run_name: RunName = None,
    stages: Stages = "1-7",
    settings: Settings = None,
    force: Force = False,
    forget: Forget = False,
) -> None:
    """Walk the road: run the notebooks of a study, skipping what is done.

    What is set once holds for the run from then on, in notebooks too.

    Examples: `stepladder run plateau`, `stepladder run plateau --set training.steps=500`.
    """
    given = config.merge(*(config.parse_assignment(text) for text in settings or []))
    opened, used = api.meant(name, profile, run_name)
    console.print(f"{opened.study}/{opened.name}: profile {used}, {counted(len(api.select(stages)), 'stage')}")
    with Narrator() as narrator:
        outcome = api.run(name, profile, run_name, given, stages, force, forget, narrator)
    if outcome.state != "done":
        console.print(f"[red]{outcome.state}[/]: {outcome.reason}", soft_wrap=True)
    try:
        if opened.values():  # else it ended before its first stage began
            from stepladder.report import pages

            console.print(f"report: {shown(pages.run_page(opened))}", soft_wrap=True)
            pages.index(opened.root)
    except OSError as error:  # a full disk: how it ended counts all the same
        console.print(f"[red]no report:[/] {escape(str(error))}", soft_wrap=True)
    raise typer.Exit(outcome.exit_code)


app.command()(status)


app.command()(launching.launch)
app.command("jobs")(launching.list_jobs)
app.command()(launching.logs)
app.command()(launching.fetch)
app.command()(launching.stop)
app.command()(launching.machines)
app.command()(rollback)


@app.command()
def report(
    name: Named,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Build a run's report page and the index over all runs again, from the files alone."""
    from stepladder.report import pages

    found = api.find(name)
    for stage in STAGES:
        if (found.folder / stage.name / "notebook.ipynb").exists():
            pages.stage_page(found, stage.name)
    page = pages.run_page(found)
    console.print(f"report: {shown(page)}", soft_wrap=True)
    console.print(f"index:  {shown(pages.index(found.root))}", soft_wrap=True)
    if show and not webbrowser.open(page.resolve().as_uri()):
        console.print(f"no browser was found here; open {page.resolve().as_uri()} in one", soft_wrap=True)


@app.command("params")
def parameters(
    name: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study; none lists studies and profiles.")
    ] = None,
    section: Annotated[str | None, typer.Argument(help="Only this section, as `training`.")] = None,
) -> None:
    """List studies and profiles, or explain every parameter of a study."""
    if name is None:
        for known in study.names():
            profiles = sorted(path.stem for path in (project_root() / "params" / known).glob("*.yaml"))
            console.print(f"{known}: {', '.join(profiles)}")
        return
    table = Table("parameter", "type", "default", "meaning")
    for row in config.table(study.schema(name), section):
        table.add_row(row["name"], row["type"], row["default"], row["meaning"])
    console.print(table)


@app.command()
def doctor() -> None:
    """Examine this machine: Python, torch, GPU, memory and disk limits, graphics, writable outputs."""
    from stepladder.cli.doctor import examine

    checks = examine(project_root())
    for check in checks:
        console.print(
            f"{'[green]ok[/]  ' if check.ok else '[red]BAD[/] '} {check.name:18} {check.reason}", soft_wrap=True
        )
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


app.command()(sweep)


@app.command()
def plan(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="YAML of a plan's numbers; docs/ladder.md shows one.")],
) -> None:
    """Print where a plan's numbers contradict each other, with the right ones; exit code 1 when they do."""
    from stepladder.cost import plan as linter

    raise typer.Exit(linter.main(path))


@app.command()
def lint() -> None:
    """Check the notebooks against the house style."""
    from stepladder.dev import lint as style

    problems = [
        problem for path in sorted((project_root() / "notebooks").glob("*.ipynb")) for problem in style.lint(path)
    ]
    for problem in problems:
        console.print(problem, soft_wrap=True)
    console.print(f"{len(problems)} problems")
    raise typer.Exit(1 if problems else 0)


app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(lab)


def main() -> None:
    """Entry point; errors a person can mend end with one sentence and exit code 1."""
    try:
        app()
    except (ParameterError, OSError) as error:
        console.print(f"[red]error:[/] {escape(redact(str(error)))}", soft_wrap=True, markup=True)
        sys.exit(EXIT_CODES["preempted"] if isinstance(error, Leased) else 1)


if __name__ == "__main__":
    main()
