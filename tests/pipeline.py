"""Tiny notebooks and a runner in its own process, for the drills of test_runner.py (also run as a script)."""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat

import stepladder.core.run
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.notebooks.runner import run_pipeline

PARAMETERS = Parameters(study="toy", run="walk")
OPEN = """
from stepladder.core.schema import Parameters
from stepladder.core.paths import project_root
from stepladder.core.run import Run
checked = Parameters(study=study, profile=profile, run=run, seed=seed, tracking=tracking)
opened = Run.of(project_root(), checked)
"""
FINISH = "opened.finish_stage({name!r}, checked, checks=[{{'name': 'sane', 'ok': True, 'reason': 'it is'}}])"
PATIENCE = 300.0  # seconds to wait for a process: a loaded machine must not fail a test, a hanging one must
FIRST, SECOND = "01_inventory", "02_conversion"


def bare() -> dict[str, str]:
    """Stands for `provenance.environment`, which imports torch."""
    return {"device": "cpu"}


def project(root: Path, **bodies: str) -> Path:
    """A project at `root` with one notebook for each `name=code of its middle cell`."""
    (root / "params").mkdir(parents=True, exist_ok=True)
    (root / "notebooks").mkdir(exist_ok=True)
    for name, body in bodies.items():
        name = {"first": FIRST, "second": SECOND}[name]
        nbformat.write(notebook(name, body), root / "notebooks" / f"{name}.ipynb")
    return root


def notebook(name: str, *bodies: str) -> nbformat.NotebookNode:
    """A stage's notebook: parameters, open, the given cells, finish."""
    code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    parameters = code("study = 'toy'\nprofile = 'quick'\nrun = 'walk'\nseed = 0\ntracking = ['jsonl']")
    parameters.metadata["tags"] = ["parameters"]
    middle = [cell for body in bodies for cell in (text("A cell."), code(body))]
    cells = [text(f"# {name}"), parameters, code(OPEN), text("## Work"), *middle, code(FINISH.format(name=name))]
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nb


def open_run(root: Path) -> Run:
    """The run the notebooks write to."""
    return Run.of(root, PARAMETERS)


def runner(root: Path, **options: float) -> subprocess.Popen:
    """`run_pipeline` over the project's notebooks in a process of its own; its exit code is the outcome's."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEPLADDER_")} | {"OMP_NUM_THREADS": "1"}
    arguments = [f"{key}={value}" for key, value in options.items()]
    return subprocess.Popen([sys.executable, __file__, str(root), *arguments], env=environment)


def wait_for(condition, seconds: float = PATIENCE) -> None:
    """Wait until `condition()`; fail loudly when it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def main() -> None:
    stepladder.core.run.environment = bare
    root = Path(sys.argv[1])
    options = {key: float(value) for key, value in (text.split("=") for text in sys.argv[2:])}
    names = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    sys.exit(run_pipeline(open_run(root), names, PARAMETERS, root, **options).exit_code)


if __name__ == "__main__":
    main()
