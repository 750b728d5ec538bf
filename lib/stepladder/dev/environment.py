"""`environment.yml` for conda users, generated from `pyproject.toml`, which stays the only source of truth.

A test fails when the file is not in step. Only python, pip and torch's CPU-or-CUDA choice are conda's business here;
everything else comes from pip under `constraints.txt`, so conda users run what was tested.
"""

import tomllib
from pathlib import Path

EXTRAS = ("plateau", "scroll", "lab", "test")


def conda_file(root: Path) -> str:
    """The text of `environment.yml`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    python = project["requires-python"].removeprefix(">=")
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
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
        "      - --editable .",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write `environment.yml` of the project in the current folder."""
    Path("environment.yml").write_text(conda_file(Path.cwd()))


if __name__ == "__main__":
    main()
