"""The command `stepladder rollback`."""

from typing import Annotated

import typer

from stepladder import api
from stepladder.cli.console import console
from stepladder.cli.options import Named
from stepladder.core import config


def rollback(
    name: Named,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What changes, as training.learning_rate=1e-4; repeat."),
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Go back to the checkpoint of this step; the last good one if not given.")
    ] = None,
) -> None:
    """Roll a training back to its last good checkpoint and change settings from there on; nothing is deleted.

    Example: `stepladder rollback plateau/quick --set training.learning_rate=1e-4`. The next start goes on from there.
    """
    run = api.find(name)
    given = dict(config.flat(config.merge(*(config.parse_assignment(text) for text in settings or []))))

    from stepladder.training import rollback as training  # slow to import: a name that is not there is said before

    done = training.rollback(run, given, step)
    console.print(f"{name}: back to step {done.step} of {done.reached} ({done.why})", soft_wrap=True)
    for key, value in done.assignments.items():
        console.print(f"set for this run: {key} = {value}", soft_wrap=True)
    console.print(f"go on with `{run.command()}`", soft_wrap=True)
