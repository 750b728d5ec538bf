"""`stepladder hub push`: a trained model to a hub, by huggingface_hub. Thin: one call into the package."""

from typing import Annotated

import typer

from stepladder.api import find
from stepladder.cli.console import console
from stepladder.cli.options import Named

app = typer.Typer(no_args_is_help=True, help="Send a trained model with its card to a hub, as Hugging Face's.")


@app.callback()
def hub() -> None:
    """Options of all of them: none."""


@app.command()
def push(
    name: Named,
    repo: Annotated[str, typer.Option("--repo", metavar="NAME", help="OWNER/NAME, or NAME: the token's owner's.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody read it; private if not given.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Send every checkpoint while the training runs, the best one at its end.")
    ] = False,
    variable: Annotated[
        str, typer.Option("--token-from", metavar="VARIABLE", help="Environment variable that holds the token.")
    ] = "HF_TOKEN",
) -> None:
    """Send the best checkpoint of a run with its model card and numbers; nothing that was sent is sent again."""
    run = find(name)

    from stepladder.registry import hub as pushing
    from stepladder.registry.hub_api import Client

    client = Client(repo, variable)
    if follow:
        done = pushing.follow(run, client, public, tell=lambda text: console.print(text, soft_wrap=True, markup=False))
    else:
        done = pushing.push(run, client, public)
    what = f"sent {', '.join(done.sent)}" if done.sent else "there already, nothing sent"
    console.print(f"{done.repo}@{done.commit}: step {done.step}, {what}", soft_wrap=True, markup=False)
