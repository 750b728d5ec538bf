"""The `stepladder` command: walk the road, look at runs, read parameters, examine the machine.

Every command is a thin call into the package; errors a person can mend are one sentence, not a traceback.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from stepladder.cli.artifacts import app as artifacts
from stepladder.cli.console import COLOURS, Narrator, console, find_run
from stepladder.cli.sweep import sweep
from stepladder.core import config, study
from stepladder.core.config import ParameterError
from stepladder.core.lock import Leased
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.run import EXIT_CODES, Run, StageState, runs
from stepladder.core.stages import STAGES
from stepladder.core.stages import stage as find_stage

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
app.command()(sweep)


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="Study to walk; `stepladder params` lists them.")],
    profile: Annotated[str, typer.Option(help="Profile: params/STUDY/PROFILE.yaml.")] = "quick",
    run_name: Annotated[
        str | None, typer.Option("--run", help="Folder in outputs/STUDY/; the profile's name if not given.")
    ] = None,
    stages: Annotated[str, typer.Option(help="Which notebooks: `4`, `1-4` or `5,6`.")] = "1-7",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as training.steps=10; repeat.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Run stages even when nothing they read has changed.")] = False,
    forget: Annotated[bool, typer.Option(help="Forget what was set earlier in this run: back to the profile.")] = False,
) -> None:
    """Walk the road: run the notebooks of a study, skipping what is done.

    What is set once holds for the run from then on, in notebooks too.

    Examples: `stepladder run plateau`, `stepladder run plateau --set training.steps=500`.
    """
    from stepladder.notebooks import runner
    from stepladder.report import pages as report

    root = project_root()
    given = config.merge(*(config.parse_assignment(text) for text in settings or []))
    study.find(name)  # a misspelt study is refused before its folder is looked for
    opened = Run(outputs_root(root) / name / (run_name or profile), root)
    checked, overrides = opened.resolve(profile, given, forget)
    console.print(f"{name}/{checked.run}: profile {profile}, {len(select(stages))} stages")
    with Narrator() as narrator:
        outcome = runner.run_pipeline(opened, select(stages), checked, root, force, narrator, overrides=overrides)
    if outcome.state != "done":
        console.print(f"[red]{outcome.state}[/]: {outcome.reason}", soft_wrap=True)
    if opened.values():  # else it ended before its first stage began
        console.print(f"report: {_shown(report.run_page(opened))}", soft_wrap=True)
        report.index(root)
    raise typer.Exit(outcome.exit_code)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Only this study.")] = None,
    verify: Annotated[bool, typer.Option(help="Read every file that results vouch for, not only its size.")] = False,
) -> None:
    """Show every run: its state and how far each stage is."""
    table = Table("run", "state", "attempts", *(stage.name[:2] for stage in STAGES), "reason")
    for found in runs(project_root(), name):
        record = found.status()
        cells = [_stage_cell(state) for state in found.states(verify=verify).values()]
        colour = COLOURS.get(record["state"], "yellow")
        state = f"[{colour}]{record['state']}[/]"
        table.add_row(
            f"{found.study}/{found.name}", state, str(record.get("attempts", 0)), *cells, record.get("reason", "")
        )
    console.print(table)


@app.command()
def stop(name: Annotated[str, typer.Argument(metavar="STUDY/RUN", help="As in `stepladder status`.")]) -> None:
    """Ask the training of a run, begun in a notebook on this machine, to save and stop; the next start goes on."""
    from stepladder.training import process

    running = process.stop(find_run(name))
    console.print(f"{name}: training has saved and stopped" if running else f"{name}: no training is running here")


@app.command()
def report(name: Annotated[str, typer.Argument(metavar="STUDY/RUN", help="As in `stepladder status`.")]) -> None:
    """Build a run's report page and the index over all runs again, from the files alone."""
    from stepladder.report import pages

    found = find_run(name)
    for stage in STAGES:
        if (found.folder / stage.name / "notebook.ipynb").exists():
            pages.stage_page(found, stage.name)
    console.print(f"report: {_shown(pages.run_page(found))}", soft_wrap=True)
    console.print(f"index:  {_shown(pages.index(found.root))}", soft_wrap=True)


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
    for row in config.table(study.find(name).Params, section):
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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab at the notebooks; further options go to JupyterLab."""
    if not (Path(sys.executable).parent / "jupyter-lab").exists():
        raise ParameterError("JupyterLab is not installed: `make lab`, or pip install -c constraints.txt -e '.[lab]'")
    root = project_root()
    os.chdir(root)
    first = "--LabApp.default_url=/lab/tree/notebooks/01_inventory.ipynb"
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", first, *context.args])


def select(text: str) -> list[str]:
    """Stage names of `4`, `1-4`, `5,6` or full names, in the order of the road."""
    chosen = set()
    for part in text.split(","):
        first, dash, last = (
            part.strip().partition("-") if part.strip()[:1].isdigit() and "_" not in part else (part.strip(), "", "")
        )
        low = find_stage(first).name
        high = find_stage(last).name if dash else low
        chosen |= {stage.name for stage in STAGES if low <= stage.name <= high}
    return [stage.name for stage in STAGES if stage.name in chosen]


def main() -> None:
    """Entry point; errors a person can mend end with one sentence and exit code 1."""
    try:
        app()
    except (ParameterError, OSError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(EXIT_CODES["preempted"] if isinstance(error, Leased) else 1)


def _stage_cell(state: StageState) -> str:
    return "[dim]-[/]" if state.state == "missing" else f"[{COLOURS.get(state.state, 'yellow')}]{state.state}[/]"


def _shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    main()
