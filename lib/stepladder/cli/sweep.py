"""The command `stepladder sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from stepladder import api
from stepladder.cli.console import console
from stepladder.cli.options import Profile, RunName, Settings, Walked
from stepladder.core import config, profiles


def sweep(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="YAML in W&B's sweep schema.")],
    name: Walked,
    profile: Profile = None,
    run_name: RunName = None,
    settings: Settings = None,
) -> None:
    """Try settings of a sweep file on a run's converted data; leaves a table in outputs/STUDY/RUN/sweeps/.

    Example: `stepladder sweep rates.yaml pde`. Call it again and it goes on where it was.
    """
    from stepladder.sweep import space
    from stepladder.sweep import sweep as sweeps

    run, used = api.meant(name, profile, run_name)
    given = config.merge({"run": run.name}, *(config.parse_assignment(text) for text in settings or []))
    opened = sweeps.open_sweep(path, run, profiles.load(run.root, run.study, used, given))
    for key in space.IDLE:
        if getattr(opened.space.file, key) is not None:
            console.print(f"`{key}` is for W&B's agents and without meaning here")
    metric = opened.space.file.metric
    best = opened.run(lambda line: console.print(_words(line, metric.name), soft_wrap=True))
    _print_table(sweeps.table(opened.lines()))
    told = f"best of {len(opened.lines())} trials: {_words(best, metric.name)}" if best else "no trial has a score"
    console.print(told, soft_wrap=True)
    raise typer.Exit(0 if best else 1)


def _words(line: dict[str, Any], metric: str) -> str:
    setting = ", ".join(f"{name} = {_short(value)}" for name, value in line["setting"].items())
    ending = f"{metric} {line['score']:.4g}" if line["score"] is not None else line["reason"]
    return f"trial {line['trial']}: {setting}: {ending} ({line['cpu_s']:.1f} CPU-s)"


def _print_table(rows: Any) -> None:
    table = Table(*(str(column) for column in rows.columns))
    for row in rows.itertuples(index=False):
        table.add_row(*(_short(value) for value in row))
    console.print(table)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
