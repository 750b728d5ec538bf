import subprocess
from pathlib import Path

import pytest

from stepladder.core import profiles
from stepladder.core.run import Run
from stepladder.launch import code
from stepladder.launch import job as jobs
from stepladder.launch.job import Job, State
from stepladder.launch.refusals import first_stage, refusals
from stepladder.launch.targets import LOCAL, Target

ROOT = Path(__file__).parents[2]
SSH = Target(hosts=["one"])


@pytest.fixture
def run(outputs):
    """A run with two stages done."""
    checked = profiles.load(ROOT, "pde", "smoke", {"run": "walk"})
    run = Run.of(ROOT, checked)
    run.begin(checked)
    for number in ("01", "02"):
        run.finish_stage(number, checked, [])
    return run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Only the code of a small project is looked through for secrets."""
    real = code.secrets_in
    monkeypatch.setattr(code, "secrets_in", lambda found: [] if found.root == ROOT else real(found))


def job(**fields) -> Job:
    return Job(
        **{"study": "pde", "run": "walk", "profile": "smoke", "target": "box1", "stages": ("03_smoke_test",), **fields}
    )


def told(where: Target = SSH, **fields) -> str:
    return "\n".join(refusals(ROOT, job(**fields), where))


def test_what_can_be_launched_is_not_refused(run):
    assert told(budget=5.0, hours=2.0) == ""
    assert told(stages=("01_inventory", "02_conversion")) == ""
    assert told(Target(kind="local"), target=LOCAL) == ""


@pytest.mark.parametrize("limit", ["budget", "hours"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_limits_with_which_nothing_can_be_done_are_refused(run, limit, value):
    assert f"{limit} = " in told(**{limit: value})


def test_stages_that_nothing_stands_before_are_refused_with_the_command(run):
    found = told(stages=("04_scaling", "05_training"))
    assert "03_smoke_test" in found and "--stages 1-3" in found
    assert "03_smoke_test" in told(what="train", stages=())
    assert told(stages=("03_smoke_test", "04_scaling")) == ""


def test_parameters_that_change_what_was_done_are_refused_as_for_any_walk(run):
    assert "01_inventory" in told(settings={"data.synthetic": 9})
    assert "did you mean" in told(settings={"training.stepz": 3})


def test_everything_that_is_wrong_is_told_at_once(run, monkeypatch):
    for name in ("ABSENT_TOKEN", "ABSENT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    wrong = Target(hosts=["one"], index="ABSENT_INDEX", secrets=["ABSENT_TOKEN"], gpu="RTX 409", extras=["s4"])
    found = told(wrong, budget=0, stages=("05_training",))
    for words in ("ABSENT_TOKEN", "ABSENT_INDEX", "RTX 4090", "'s4'", "budget = 0", "03_smoke_test"):
        assert words in found


def test_a_study_that_is_none_is_named_once(run):
    assert told(study="pda").count("'pda'") == 1


def test_a_run_that_a_job_has_is_refused(run):
    jobs.write_state(run, State("other", "running", machine="box1/one"))
    assert "running on box1/one" in told()


def test_raw_data_of_a_folder_here_is_refused_only_where_it_would_be_read(run, tmp_path):
    settings = {"data.source": "mirror", "data.mirror": str(tmp_path)}
    assert "raw data is not sent" in told(stages=("01_inventory",), settings=settings)
    assert "raw data is not sent" not in told(
        Target(kind="local"), target=LOCAL, stages=("01_inventory",), settings=settings
    )


def test_a_project_without_git_or_with_a_secret_is_refused(run, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("params", "notebooks", "pyproject.toml"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(project)], check=True)
    assert "git init" in "\n".join(refusals(project, job(stages=("01_inventory",)), SSH))
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    (project / "lib" / "stepladder" / "launch").mkdir(parents=True)
    (project / "lib" / "stepladder" / "launch" / "box.py").write_text("")
    (project / ".gitignore").write_text("lib/\n")  # as many projects have it
    (ignored,) = refusals(project, job(stages=("01_inventory",)), SSH)
    assert "git ignores lib/stepladder" in ignored
    (project / ".gitignore").unlink()
    assert refusals(project, job(stages=("01_inventory",)), SSH) == []
    (project / ".env").write_text("X=1")
    assert ".env: its name" in "\n".join(refusals(project, job(stages=("01_inventory",)), SSH))


def test_the_first_stage_is_that_of_what_is_asked_for():
    assert first_stage(job(stages=("06_evaluation", "05_training"))) == "05_training"
    assert first_stage(job(what="ladder", stages=())) == "04_scaling"
    assert first_stage(job(stages=())) == "01_inventory"
