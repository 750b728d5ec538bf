"""Golden notebooks: executed smoke runs kept in `tests/golden/`, against which nbval compares a fresh execution.

Decisions:
- `make golden` walks the `smoke` profile of a study with our engine and keeps the executed notebooks, stamped with the
  hash of the source they were made from. A stale, empty or local copy fails a test, because nbval alone would pass
  notebooks without outputs.
- nbval executes them in the order of the road, into a fresh outputs folder. It does not look at pictures or at
  measured tables; the metrics behind them are compared with a tolerance, since CPUs differ in the last digits.
- What nbval left is a finished smoke run like any other, and other tests go on from it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from stepladder.core import files
from stepladder.core.paths import project_root
from stepladder.core.stages import STAGES
from stepladder.core.study import names

PROFILE = "smoke"
TOLERANCE = 0.05  # of a metric: absolute up to 1, relative beyond
CELL_SECONDS = 300
LOCAL_PATH = re.compile(r"/(?:home|root|work|tmp|Users)/[\w.-]+")


def folder(root: Path, study: str) -> Path:
    """Where the golden notebooks of a study lie."""
    return root / "tests" / "golden" / study


def make(root: Path, study: str) -> None:
    """Walk the smoke profile of `study` in a fresh outputs folder and keep the executed notebooks and metrics."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "stepladder.cli", "run", study, "--profile", PROFILE]
        subprocess.run(command, check=True, cwd=root, env={**os.environ, "STEPLADDER_OUTPUTS": outputs})
        run = Path(outputs) / study / PROFILE
        target = folder(root, study)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for stage in STAGES:
            notebook = nbformat.read(run / stage.name / "notebook.ipynb", as_version=4)
            nbformat.write(scrubbed(notebook, source_hash(root, stage.name)), target / f"{stage.name}.ipynb")
        files.write_json(target / "metrics.json", files.read_json(run / "06_evaluation" / "result.json")["metrics"])


def walk(root: Path, study: str, outputs: Path) -> int:
    """Execute the golden notebooks of `study` under nbval, in order, into the folder `outputs`; nbval's exit code."""
    notebooks = [str(folder(root, study) / f"{stage.name}.ipynb") for stage in STAGES]
    options = ["--nbval", "--nbval-sanitize-with", str(root / "tests" / "golden" / "sanitize.cfg")]
    options += ["--nbval-cell-timeout", str(CELL_SECONDS), "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "STEPLADDER_OUTPUTS": str(outputs), "STEPLADDER_HEADLESS": "1"}
    return subprocess.run([sys.executable, "-m", "pytest", *options, *notebooks], cwd=root, env=environment).returncode


def moved(root: Path, study: str, outputs: Path) -> list[str]:
    """How the metrics of a walk in `outputs` differ from the golden ones, in words."""
    fresh = files.read_json(outputs / study / PROFILE / "06_evaluation" / "result.json")
    return differences(files.read_json(folder(root, study) / "metrics.json"), fresh["metrics"])


def check(root: Path, study: str) -> int:
    """Execute the golden notebooks of `study` in a fresh folder and compare the metrics; 0 when all agree."""
    with tempfile.TemporaryDirectory() as outputs:
        if code := walk(root, study, Path(outputs)):
            return code
        found = moved(root, study, Path(outputs))
    print("\n".join(found) or f"{study}: metrics agree with the golden run within {TOLERANCE}")
    return 1 if found else 0


def differences(golden: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    """Every metric that differs from the golden one by more than the tolerance, in words."""
    problems = [f"method {name} is missing or new" for name in set(golden) ^ set(fresh)]
    for method in sorted(set(golden) & set(fresh)):
        for metric, value in golden[method].items():
            other = fresh[method].get(metric)
            missing = (value is None) != (other is None)
            if missing or (value is not None and abs(value - other) > TOLERANCE * max(1, abs(value))):
                problems.append(f"{method} {metric}: {other} now, {value} in the golden run")
    return problems


def scrubbed(notebook: nbformat.NotebookNode, stamp: str) -> nbformat.NotebookNode:
    """The notebook without traces of where and when it ran, stamped with the hash of its source."""
    kept = ("kernelspec", "language_info")
    notebook.metadata = {key: notebook.metadata[key] for key in kept if key in notebook.metadata} | {"source": stamp}
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)  # nbval does not look at pictures
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def source_hash(root: Path, stage: str) -> str:
    """Hash of the cells of a source notebook, without its metadata."""
    notebook = nbformat.read(root / "notebooks" / f"{stage}.ipynb", as_version=4)
    return files.fingerprint([[cell.cell_type, cell.source] for cell in notebook.cells])


def problems(root: Path, study: str) -> list[str]:
    """Why the golden notebooks of `study` cannot serve: missing, stale, without outputs, or holding a local path."""
    found = []
    for stage in STAGES:
        path = folder(root, study) / f"{stage.name}.ipynb"
        if not path.exists():
            found.append(f"{path.name} is missing")
            continue
        notebook = nbformat.read(path, as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        if notebook.metadata.get("source") != source_hash(root, stage.name):
            found.append(f"{path.name} is stale: its source has changed")
        if len(outputs) < 5 or any(output.output_type == "error" for output in outputs):
            found.append(f"{path.name} holds {len(outputs)} outputs or an error")
        if local := LOCAL_PATH.search(path.read_text(encoding="utf-8")):
            found.append(f"{path.name} holds a local path: {local.group()}")
    return found


def main() -> None:
    """`python -m stepladder.dev.golden make|check [STUDY ...]`; all studies where none is named."""
    root, (action, *chosen) = project_root(), sys.argv[1:]
    for name in chosen or names():
        if code := {"make": make, "check": check}[action](root, name):
            sys.exit(code)


if __name__ == "__main__":
    main()
