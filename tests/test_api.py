"""`import stepladder` in a script: the few names it offers, cheap until they are used."""

import re
import subprocess
import sys

import pytest

import stepladder
from stepladder.core.config import ParameterError
from stepladder.notebooks import runner
from stepladder.notebooks.outcome import Outcome
from tests.conftest import ROOT


def walks(monkeypatch) -> dict:
    """What `run_pipeline` is called with, instead of walking."""
    seen = {}

    def run_pipeline(run, stages, checked, root, force, listener, overrides):
        seen.update(run=run.name, profile=checked.profile, stages=stages, force=force, overrides=overrides)
        run.begin(checked, overrides)
        return Outcome("done", 0, "")

    monkeypatch.setattr(runner, "run_pipeline", run_pipeline)
    return seen


def test_a_run_is_that_of_the_command(outputs, monkeypatch):
    seen = walks(monkeypatch)
    outcome = stepladder.run("plateau", "smoke", settings={"training.steps": 7, "view": {"samples": 3}}, stages="5-6")
    assert outcome.state == "done"
    assert seen == {
        "run": "smoke",
        "profile": "smoke",
        "stages": ["05_training", "06_evaluation"],
        "force": False,
        "overrides": {"training": {"steps": 7}, "view": {"samples": 3}},
    }
    assert [run.name for run in stepladder.runs("plateau")] == ["smoke"] and stepladder.runs("pde") == []
    assert stepladder.find("plateau/smoke").values()["training"]["steps"] == 7


def test_a_run_that_has_begun_keeps_its_own_profile(outputs, monkeypatch):
    seen = walks(monkeypatch)
    stepladder.run("plateau", "smoke", run="mine")
    stepladder.run("plateau/mine", settings={"seed": 3})
    assert (seen["run"], seen["profile"]) == ("mine", "smoke")
    stepladder.run("plateau/mine", "quick")
    assert seen["profile"] == "quick"
    stepladder.run("plateau", run="other")
    assert (seen["run"], seen["profile"]) == ("other", "quick")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"study": "platau"}, "did you mean 'plateau'"),
        ({"study": "plateau/one", "run": "two"}, "two different runs"),
        ({"study": "plateau", "stages": "8"}, "no stage '8'"),
        ({"study": "plateau", "settings": {"training.step": 1}}, "did you mean 'steps'"),
        ({"study": "plateau", "stages": "5"}, "run plateau --stages 1-5"),
    ],
)
def test_what_cannot_be_is_refused_before_a_kernel_starts(outputs, monkeypatch, arguments, words):
    monkeypatch.setattr(runner, "_run_stage", lambda *a, **k: pytest.fail("a kernel was started"))
    with pytest.raises(ParameterError, match=re.escape(words)):
        stepladder.run(**arguments)


def test_names_are_offered_and_others_are_none(outputs):
    assert {"run", "find", "runs", "study", "__version__"} <= set(dir(stepladder))
    assert stepladder.study("pde").name == "pde" and re.match(r"\d+\.\d+", stepladder.__version__)
    with pytest.raises(AttributeError, match="'walk'"):
        _ = stepladder.walk
    with pytest.raises(ParameterError, match="no run 'pde/nothing'"):
        stepladder.find("pde/nothing")


@pytest.mark.slow
def test_the_example_of_the_docs_runs_as_it_stands(outputs):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "start.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout.splitlines()[0] and int(done.stdout.split()[-1]) > 0
