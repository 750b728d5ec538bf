"""Where things are: the package, the project around it, and the outputs."""

import os
from pathlib import Path

from stepladder.core.config import ParameterError

PACKAGE = Path(__file__).parents[1]


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
