"""A sixth study is two folders and nothing else: the template walks the whole road in a copy of the project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder import files

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_template_becomes_a_study_by_two_folders(tmp_path):
    project = tmp_path / "project"
    for folder in ("lib", "notebooks", "params"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    template = project / "lib" / "stepladder" / "testing" / "template"
    shutil.copytree(template, project / "lib" / "stepladder" / "studies" / "discs")
    shutil.move(project / "lib" / "stepladder" / "studies" / "discs" / "params", project / "params" / "discs")
    profile = project / "params" / "discs" / "quick.yaml"
    profile.write_text(profile.read_text().replace("study: template", "study: discs"))

    environment = {**os.environ, "PYTHONPATH": str(project / "lib"), "OMP_NUM_THREADS": "1"}
    environment |= {"STEPLADDER_ROOT": str(project), "STEPLADDER_OUTPUTS": str(tmp_path / "outputs")}
    command = [sys.executable, "-m", "stepladder.cli", "run", "discs"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    run = tmp_path / "outputs" / "discs" / "quick"
    metrics = files.read_json(run / "06_evaluation" / "result.json")["metrics"]
    assert metrics["model"]["IoU"] > metrics["all_background"]["IoU"]
    assert (run / "report.html").exists()
