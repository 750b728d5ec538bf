"""`environment.yml` for conda users, generated from `pyproject.toml`, which stays the only source of truth.

A test fails when the file is not in step. Only python, pip and torch's CPU-or-CUDA choice are conda's business here;
everything else comes from pip under `constraints.txt`, so conda users run what was tested. They get the base,
JupyterLab and the default study; every further study is a comment, for its packages are not for everybody.
"""

import tomllib
from pathlib import Path

from stepladder.core.study import names

DEFAULT = "plateau"  # the study that `make demo` and the notebooks begin with


def conda_file(root: Path) -> str:
    """The text of `environment.yml`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    python = project["requires-python"].removeprefix(">=")
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["lab"], *extras[DEFAULT]]
    lines = [
        "# Generated from pyproject.toml by `make environment`; do not edit.",
        f"name: {project['name']}",
        "channels: [conda-forge, nodefaults]",
        "dependencies:",
        f"  - python={python}",
        "  - pip",
        "  - pip:",
        "      - --constraint constraints.txt",
        *(f"      - {requirement}" for requirement in dict.fromkeys(requirements)),
        f"      - --editable .  # with the study {DEFAULT}",
        *(_further(study, extras.get(study)) for study in names() if study != DEFAULT),
    ]
    return "\n".join(lines) + "\n"


def _further(study: str, extra: list[str] | None) -> str:
    """One line that tells how to add a study."""
    if not extra:
        return f"      # the study {study} needs nothing more"
    return f"      # - --editable .[{study}]  # for the study {study}: take this line instead of the last"


def main() -> None:
    """Write `environment.yml` of the project in the current folder."""
    Path("environment.yml").write_text(conda_file(Path.cwd()))


if __name__ == "__main__":
    main()
