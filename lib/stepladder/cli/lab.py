"""`stepladder lab`: JupyterLab at the notebooks, of this machine or of a rented one."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

import stepladder
from stepladder.cli.console import console
from stepladder.core.config import ParameterError
from stepladder.core.paths import command, project_root

On = Annotated[
    str | None, typer.Option("--on", metavar="TARGET", help="Of that machine (params/targets.yaml), through a tunnel.")
]
Stop = Annotated[bool, typer.Option("--stop", help="End the Lab of that machine and its kernels.")]


def lab(context: typer.Context, on: On = None, stop: Stop = False) -> None:
    """Open JupyterLab at the notebooks; further options go to JupyterLab.

    With `--on` it is that of another machine, through a tunnel that comes back after sleep and a cut link. Ctrl-C
    closes the tunnel, the Lab there goes on; `--stop` ends it. Of further options it knows `--no-browser`, `--port=N`.
    """
    if on is None:
        if stop:
            raise ParameterError("--stop needs --on TARGET: a Lab of this machine ends with Ctrl-C where it was begun")
        _open_here(context.args)
    elif stop:
        _end_there(on)
    else:
        _open_there(on, *_asked(context.args))


def _open_here(options: list[str]) -> None:
    if not (Path(sys.executable).parent / "jupyter-lab").exists():
        raise ParameterError("JupyterLab is not installed: `make lab`, or pip install -c constraints.txt -e '.[lab]'")
    root = project_root()
    os.chdir(root)
    first = "--LabApp.default_url=/lab/tree/notebooks/01_inventory.ipynb"
    paths = [str(Path(stepladder.__file__).parent / "notebooks" / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    # Our defaults, which a person's own settings overrule: else JupyterLab begins by asking whether it may fetch news.
    environment = os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths))}
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", first, *options], environment)


def _asked(options: list[str]) -> tuple[int | None, bool]:
    """The port, and whether a browser may be opened."""
    port, browser = None, True
    for option in options:
        name, _, value = option.partition("=")
        if name == "--no-browser":
            browser = False
        elif name == "--port" and value.isdigit():
            port = int(value)
        else:
            raise ParameterError(f"{option} is unknown with --on: there are --no-browser and --port=N")
    return port, browser


def _open_there(on: str, port: int | None, browser: bool) -> None:
    from stepladder.launch import tunnel

    place = tunnel.prepare(project_root(), on, _say)
    port = port or tunnel.free_port()

    def shown(page: Path) -> None:
        _say(f"JupyterLab of {place.host.name}: http://127.0.0.1:{port}/lab")
        if not (browser and webbrowser.open(page.as_uri())):
            _say(f"open {page} in a browser: it leads there with the token, which is written nowhere else")

    try:
        tunnel.open_lab(place, port, _say, shown)
    except KeyboardInterrupt:
        _say(
            f"\nthe tunnel is closed; the Lab on {place.host.name} goes on. Come back: `{command()} lab --on {on}`; end"
        )
        _say(f"it: `{command()} lab --on {on} --stop`")


def _end_there(on: str) -> None:
    from stepladder.launch import tunnel

    ran = tunnel.stop(project_root(), on)
    _say(f"the Lab on {on} has ended; a training that was begun there goes on" if ran else f"no Lab runs on {on}")


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)
