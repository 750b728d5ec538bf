"""Every hook of `.pre-commit-config.yaml` works: pre-commit runs it on a dirty file in a repository of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / ".pre-commit-config.yaml"
HOOKS = {hook["id"]: hook for repo in yaml.safe_load(CONFIG.read_text())["repos"] for hook in repo["hooks"]}
NOTEBOOK = Path("notebooks/03_smoke_test.ipynb")
CELL = new_code_cell("x = 1", id="kept", execution_count=7, metadata={"tags": ["parameters"]})
CELL.outputs = [new_output("stream", name="stdout", text="secret")]
EXECUTED = nbformat.writes(new_notebook(cells=[CELL]))
DIRTY = {
    "ruff": (Path("tool.py"), "import sys\nimport os\n\nprint(os.name, sys.path)\n"),
    "ruff-format": (Path("tool.py"), "x = {'a':1}\n"),
    "strip": (NOTEBOOK, EXECUTED),
    "lint": (NOTEBOOK, EXECUTED),
}

pytestmark = pytest.mark.slow  # pre-commit makes itself at home in every new repository


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with the project's hooks and settings, and this interpreter's tools as its `.venv`."""
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / ".cache"))
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name in (CONFIG.name, "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(hook: str, repository: Path, path: Path) -> subprocess.CompletedProcess:
    """What pre-commit does with a file, or all of a folder, that is about to be committed."""
    subprocess.run(["git", "add", CONFIG.name, path], cwd=repository, check=True)
    command = [sys.executable, "-m", "pre_commit", "run", hook]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})


def dirty(hook: str, repository: Path) -> Path:
    """The file this hook should not let pass, written."""
    file, text = DIRTY[hook]
    (repository / file).parent.mkdir(exist_ok=True)
    (repository / file).write_text(text)
    return file


def test_every_hook_is_tried_here() -> None:
    assert set(DIRTY) == set(HOOKS)
    assert all(hook["language"] == "system" for hook in HOOKS.values())  # nothing is downloaded


@pytest.mark.parametrize(
    ("hook", "clean"),
    [("ruff", "import os\nimport sys\n\nprint(os.name, sys.path)\n"), ("ruff-format", 'x = {"a": 1}\n')],
)
def test_python_is_put_right(hook: str, clean: str, repository: Path) -> None:
    file = dirty(hook, repository)
    assert run(hook, repository, file).returncode == 1
    assert (repository / file).read_text() == clean
    assert run(hook, repository, file).returncode == 0


def test_notebooks_lose_outputs_and_counts_but_not_their_tags(repository: Path) -> None:
    file = dirty("strip", repository)
    assert run("strip", repository, file).returncode == 1
    (cell,) = json.loads((repository / file).read_text())["cells"]
    assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cell["metadata"] == {"tags": ["parameters"]} and cell["id"] == "kept"
    assert run("strip", repository, file).returncode == 0


def test_a_notebook_out_of_style_is_refused(repository: Path) -> None:
    done = run("lint", repository, dirty("lint", repository))
    assert done.returncode == 1 and "03_smoke_test.ipynb: cell 1: the title must be" in done.stdout, done.stdout


def test_notebooks_of_the_project_pass_unchanged(repository: Path) -> None:
    shutil.copytree(ROOT / "notebooks", repository / "notebooks", ignore=shutil.ignore_patterns(".*"))
    done = run("strip", repository, Path("notebooks"))
    assert done.returncode == 0 and "Passed" in done.stdout, done.stdout
