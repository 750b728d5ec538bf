"""Arguments and options that several commands take: one name and one meaning for the same thing."""

from typing import Annotated

import typer

Walked = Annotated[
    str, typer.Argument(metavar="STUDY[/RUN]", help="Study to walk, or one of its runs; `params` lists studies.")
]
Named = Annotated[str, typer.Argument(metavar="STUDY/RUN", help="As in `status`.")]
Profile = Annotated[
    str | None,
    typer.Option(help="params/STUDY/PROFILE.yaml; the run's own if not given, `quick` where it has none."),
]
RunName = Annotated[
    str | None, typer.Option("--run", help="Folder in outputs/STUDY/; the profile's name if not given.")
]
Stages = Annotated[str, typer.Option(help="Which notebooks: `4`, `1-4` or `5,6`.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as training.steps=10; repeat.")
]
Force = Annotated[bool, typer.Option(help="Run stages even when nothing they read has changed.")]
Forget = Annotated[bool, typer.Option(help="Forget what was set earlier in this run: back to the profile.")]
