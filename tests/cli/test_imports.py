"""What a command or a trial does not use it does not import: asked by names, in processes of their own."""

import subprocess
import sys

import pytest

from stepladder.core import profiles
from stepladder.core.run import Run
from stepladder.core.study import find, names, schema
from tests.conftest import ROOT

HEAVY = ("torch", "pandas", "matplotlib", "pyvista", "scipy", "IPython", "numpy", "h5py", "requests")
PICTURES = ("matplotlib", "pandas", "pyvista", "IPython", "plotly", "requests")


def imported(code: str, watched: tuple[str, ...]) -> list[str]:
    """Which of the watched packages are imported once `code` has run."""
    ending = f"\nimport sys; print('imported', *(name for name in {watched} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def command(*arguments: str) -> str:
    """Code that runs a `stepladder` command and goes on."""
    return f"from stepladder.cli.main import app\napp({list(arguments)}, standalone_mode=False)"


@pytest.fixture
def begun(outputs):
    """A run that has begun."""
    checked = profiles.load(ROOT, "plateau", "quick")
    run = Run.of(ROOT, checked)
    run.begin(checked)
    return run


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["status", "plateau/quick"], ["params", "pde", "model"]])
def test_looking_imports_nothing_that_computes(begun, arguments):
    assert imported(command(*arguments), HEAVY) == []


def test_a_missing_stage_is_refused_before_anything_that_computes_is_imported(outputs):
    code = (
        "import stepladder\ntry:\n    stepladder.run('pde', stages='5')\nexcept ValueError as error:\n    print(error)"
    )
    assert imported(code, HEAVY) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_trial_draws_no_pictures(name):
    """The process of a trial: the warm one's imports, the study, its samples' code, a model and its step."""
    code = f"""
from stepladder.core import profiles
from stepladder.core.paths import project_root
from stepladder.core.study import find
from stepladder.ladder.measure import study_job, trial
from stepladder.training.setting import Setting
import torch
params = profiles.load(project_root(), {name!r}, "smoke")
study_job.StudyJob(find({name!r}), params, None, torch.device("cpu")).stepper(Setting(workers=0, batch=1))
"""
    assert imported(code, PICTURES) == []


@pytest.mark.parametrize("name", names())
def test_the_light_face_of_a_study_is_its_own(name):
    assert schema(name) is find(name).Params
