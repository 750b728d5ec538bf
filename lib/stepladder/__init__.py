"""Stepladder: from ten samples to full training, one gated step at a time.

`import stepladder` offers what a script needs (see `api`): `run`, `find`, `runs` and `study`.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

OFFERED = ("find", "run", "runs", "study")  # names of `api`; what they stand on is imported at their first use


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in OFFERED:
        return getattr(import_module(".api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    """As installed; of a source tree that is only on the path, as its pyproject.toml says."""
    metadata = import_module("importlib.metadata")
    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:
        text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        return import_module("tomllib").loads(text)["project"]["version"]


def __dir__() -> list[str]:
    return [*globals(), "__version__", *OFFERED]
