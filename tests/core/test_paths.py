import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.core import paths
from stepladder.core.config import ParameterError

ROOT = Path(__file__).parents[2]


def test_the_root_is_found_from_below_and_its_absence_explained(tmp_path, monkeypatch):
    monkeypatch.delenv("STEPLADDER_ROOT", raising=False)
    assert paths.project_root(ROOT / "tests") == ROOT
    with pytest.raises(ParameterError, match="notebooks/ and params/"):
        paths.project_root(tmp_path)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A Python with a `stepladder` beside it in `project/.venv/bin`, none on the PATH, seen from the project."""
    folder = tmp_path / "project" / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "stepladder").write_text("#!/bin/sh\necho it runs\n")
    (folder / "stepladder").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path / "project")
    return folder


def test_the_command_is_named_as_the_shell_here_finds_it(environment, monkeypatch, tmp_path):
    assert paths.command() == ".venv/bin/stepladder"
    assert subprocess.check_output(paths.command(), shell=True, text=True) == "it runs\n"
    monkeypatch.chdir(tmp_path)
    assert subprocess.check_output(paths.command(), shell=True, text=True) == "it runs\n"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert subprocess.check_output(paths.command(), shell=True, text=True) == "it runs\n"
    monkeypatch.setenv("PATH", f"{environment}:/bin")
    assert paths.command() == "stepladder"


def test_another_installations_command_is_not_taken_for_this_one(environment, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "stepladder").write_text("#!/bin/sh\n")
    (other / "stepladder").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:/bin")
    assert paths.command() == ".venv/bin/stepladder"
    (environment / "stepladder").unlink()
    assert paths.command() == f"{environment}/python -m stepladder.cli"
