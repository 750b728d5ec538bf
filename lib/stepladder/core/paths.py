"""Where things are: the package, the project around it, the outputs, and the command itself."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from stepladder.core.config import ParameterError

PACKAGE = Path(__file__).parents[1]
NAME = "stepladder"


def project_root(start: Path | None = None) -> Path:
    """The folder that holds `notebooks/` and `params/`, from `$STEPLADDER_ROOT` or upwards from `start` (or here)."""
    if os.environ.get("STEPLADDER_ROOT"):
        return Path(os.environ["STEPLADDER_ROOT"])
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    raise ParameterError(f"no project above {start}: a folder with notebooks/ and params/ (or set STEPLADDER_ROOT)")


def outputs_root(root: Path) -> Path:
    """Where runs are kept: `$STEPLADDER_OUTPUTS` or `outputs/` of the project."""
    return Path(os.environ.get("STEPLADDER_OUTPUTS") or root / "outputs")


def command() -> str:
    """The command `stepladder` as it can be typed here, for hints that are pasted into a terminal.

    Plain where the shell finds the one of this environment; else its path from here, in a notebook from the project's
    folder, where a terminal of JupyterLab opens.
    """
    own = Path(sys.executable).parent / NAME
    found = shutil.which(NAME)
    if found and Path(found).parent.resolve() == own.parent.resolve():
        return NAME
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m {NAME}.cli"
    here = project_root() if Path(sys.argv[0]).stem == "ipykernel_launcher" else Path.cwd()
    return shlex.quote(os.path.relpath(own, here) if own.is_relative_to(here) else str(own))
