"""`stepladder launch` and its verbs as a person meets them: what is refused, and the way out that is named."""

import pytest
from typer.testing import CliRunner

from stepladder.cli import main
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from stepladder.launch import job as jobs
from stepladder.launch import launching
from stepladder.launch.job import Job, State
from stepladder.machine import processes
from tests.conftest import ROOT
from tests.launch.test_costs import forecast, lost_then_done

LAUNCH = ("launch", "pde", "--profile", "smoke", "--on", "local")


@pytest.fixture
def call(outputs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(launching.subprocess, "Popen", lambda *a, **k: pytest.fail("a supervisor was started"))
    return lambda *arguments: CliRunner().invoke(main.app, list(arguments), catch_exceptions=True)


@pytest.fixture
def refused(call):
    """The sentence with which a command ends."""

    def sentence(*arguments):
        result = call(*arguments)
        assert result.exit_code and result.exception is not None
        return str(result.exception)

    return sentence


@pytest.fixture
def under_way(outputs):
    """A job of all stages that is running and watched."""
    run = Run(outputs / "pde" / "smoke", ROOT)
    job = Job("pde", "smoke", "smoke", "local", stages=tuple(stage.name for stage in STAGES))
    return begun(run, job, state="running", machine="local/here", attempt=1)


def begun(run, job, **state):
    jobs.write(job, run.folder / "launch" / "job.json")
    jobs.write_state(run, State(job.id, **{"supervisor": processes.identity(), **state}))
    return run


@pytest.mark.parametrize("command", [("launch", "pde", "--on", "lokal"), ("lab", "--on", "lokal")])
def test_an_unknown_target_names_the_nearest_and_the_file_where_targets_are(refused, command):
    said = refused(*command)
    assert "did you mean 'local'" in said and "params/targets.yaml" in said


def test_a_misspelt_study_is_refused_before_a_target_is_looked_for(refused):
    assert "did you mean 'pde'" in refused("launch", "pdx", "--on", "local")


@pytest.mark.parametrize("verb", ["jobs", "logs", "fetch", "stop", "rollback"])
def test_a_run_that_is_not_there_names_the_nearest(refused, under_way, verb):
    under_way.begin(under_way.resolve("smoke", {})[0])
    assert "did you mean 'pde/smoke'" in refused(verb, "pde/smok")


def test_no_jobs_are_no_error_and_the_way_to_one_is_told(call):
    result = call("jobs")
    assert result.exit_code == 0 and "launch --help" in result.output


@pytest.mark.parametrize("verb", ["jobs", "logs", "fetch"])
def test_what_was_never_launched_says_so(refused, outputs, verb):
    run = Run(outputs / "pde" / "here", ROOT)
    run.begin(run.resolve("smoke", {})[0])
    assert "pde/here was never launched" in refused(verb, "pde/here")


def test_stopping_a_run_where_nothing_runs_says_so(call, outputs):
    run = Run(outputs / "pde" / "here", ROOT)
    run.begin(run.resolve("smoke", {})[0])
    result = call("stop", "pde/here")
    assert result.exit_code == 0 and "no training is running here" in result.output


def test_nothing_can_be_done_for_nothing_and_all_reasons_are_told_at_once(refused, outputs):
    said = refused(*LAUNCH, "--budget", "0", "--hours", "-1", "--stuck", "0")
    assert "budget = 0: nothing can be done with that; leave it out for no limit" in said
    assert "hours = -1" in said and "stuck_minutes = 0" in said
    assert not outputs.exists()


def test_a_stage_whose_work_is_not_done_names_the_command_that_does_it(refused, outputs):
    said = refused(*LAUNCH, "--stages", "4-7")
    assert "01_inventory" in said and "run pde --profile smoke --stages 1-3" in said
    assert not outputs.exists()


def test_an_unknown_stage_or_parameter_is_named_with_the_known_ones(refused):
    assert "no stage '8'" in refused(*LAUNCH, "--stages", "8")
    assert "did you mean 'budget'" in refused(*LAUNCH, "--set", "launch.budgt=3")


def test_a_dry_run_tells_the_limits_and_writes_nothing(call, outputs):
    result = call(*LAUNCH, "--budget", "5", "--hours", "2", "--dry-run")
    assert result.exit_code == 0
    assert "budget $5.00" in result.output and "at most 2 h" in result.output
    assert not outputs.exists()


def test_the_same_launch_again_looks_on(call, under_way):
    result = call(*LAUNCH, "--budget", "3", "--detach")  # whatever it may cost
    assert result.exit_code == 0 and "is running: looking on" in result.output
    assert jobs.of(under_way).budget is None


def test_another_launch_of_the_same_run_is_refused_with_the_ways_out(refused, under_way):
    said = refused(*LAUNCH, "--stages", "1-2")
    assert "run pde/smoke is running on local/here" in said
    assert "jobs`" in said and "stop pde/smoke`" in said
    assert len(jobs.of(under_way).stages) == 7


def test_a_machine_that_nobody_knows_cannot_be_forgotten(refused, outputs):
    assert "did you mean 'local'" in refused("machines", "--forget", "locl/here")
    assert not outputs.exists()


def test_a_job_in_full_has_its_bill_beside_the_forecast(call, outputs):
    run = Run(outputs / "pde" / "smoke", ROOT)
    params = run.resolve("smoke", {})[0]
    run.begin(params)
    rows = [forecast("A100 SXM4 40 GB", 4.0, 2.0), forecast("H200 141 GB", 2.0, 1.0)]
    run.finish_stage("04_scaling", params, [], prices=rows)
    begun(run, Job("pde", "smoke", "smoke", "local"), state="done", machine="local/here")
    lost_then_done(run)
    run.event("training_stage", stage="fill", step=0, end=200, total=200)
    text = call("jobs", "pde/smoke").output
    assert "7.88" in text and "9.62" in text and "beside the forecast" in text and "+105%" in text
