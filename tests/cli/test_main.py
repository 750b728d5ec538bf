import os
import re
from importlib.metadata import PackageNotFoundError, version

import pytest
from typer.testing import CliRunner

from stepladder import api
from stepladder.cli import console, main
from stepladder.core import claim, files, profiles, study
from stepladder.core.config import ParameterError
from stepladder.core.lock import Leased
from stepladder.core.run import Run
from stepladder.notebooks import runner
from stepladder.notebooks.outcome import Outcome
from tests.conftest import ROOT


@pytest.fixture
def call(outputs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments: str):
        return CliRunner().invoke(main.app, list(arguments), catch_exceptions=True)

    return invoke


def ends(outcome):
    """Stands for `run_pipeline`: the run begins, and ends as told."""

    def run_pipeline(run, stages, checked, root, *options, **named):
        run.begin(checked)
        return outcome

    return run_pipeline


def test_help_teaches_the_first_command_and_the_exit_codes(call):
    text = call("--help").output
    assert "stepladder run plateau" in text and "75" in text
    for command in ("run", "status", "report", "params", "doctor", "lint", "lab"):
        assert command in text


def test_params_lists_studies_and_explains_a_section(call):
    assert "plateau: " in call("params").output and "quick" in call("params").output
    text = call("params", "plateau", "training").output
    assert "training.learning_rate" in text and "AdamW" in text and "model.width" not in text


def test_a_misspelt_study_names_the_nearest_before_anything_runs(call, outputs):
    result = call("run", "platau")
    assert isinstance(result.exception, ParameterError) and "did you mean 'plateau'" in str(result.exception)
    assert not outputs.exists()


def test_a_wrong_value_is_refused_before_a_kernel_starts(call, monkeypatch):
    monkeypatch.setattr(runner, "run_pipeline", lambda *a, **k: pytest.fail("a kernel was started"))
    result = call("run", "plateau", "--set", "training.steps=many")
    assert "training.steps" in str(result.exception) and "'many'" in str(result.exception)


@pytest.mark.parametrize(
    ("state", "code"), [("done", 0), ("failed", 1), ("preempted", 75), ("timeout", 124), ("oom", 137)]
)
def test_the_exit_code_tells_how_the_run_ended(call, monkeypatch, state, code):
    monkeypatch.setattr(runner, "run_pipeline", ends(Outcome(state, code, "because")))
    result = call("run", "plateau")
    assert result.exit_code == code
    assert "report: " in result.output and ("because" in result.output) == (code != 0)


def test_what_runs_is_what_was_asked_for(call, monkeypatch):
    seen = {}

    def run_pipeline(run, stages, checked, root, force, listener, overrides):
        seen.update(run=run.name, stages=stages, steps=checked.training.steps, force=force, overrides=overrides)
        return Outcome("done", 0, "")

    monkeypatch.setattr(runner, "run_pipeline", run_pipeline)
    call("run", "plateau", "--run", "mine", "--stages", "5-6", "--set", "training.steps=7", "--force")
    assert seen == {
        "run": "mine",
        "stages": ["05_training", "06_evaluation"],
        "steps": 7,
        "force": True,
        "overrides": {"training": {"steps": 7}},
    }


@pytest.mark.parametrize(
    ("text", "numbers"), [("1-7", "1234567"), ("4", "4"), ("2-3,7", "237"), ("05_training", "5"), ("7,1", "17")]
)
def test_stages_are_chosen_in_the_order_of_the_road(text, numbers):
    assert "".join(name[1] for name in api.select(text)) == numbers


def test_status_shows_dead_runs_too(call, outputs):
    run = begun("left")
    with run.locked():
        run.set_status("running")
    text = call("status").output
    assert "plateau/left" in text and "stale" in text and "done" not in text


def test_status_of_a_launched_run_says_where_it_is_and_how_to_follow_or_end_it(call, outputs):
    run = begun("away")
    claimed = {"job": "j", "state": "running", "machine": "box1/hostA", "doing": "starting", "spent": 1.2}
    files.write_json(run.folder / claim.PATH, claimed)
    both, one = call("status").output, call("status", "plateau/away").output
    for text in (both, one):
        assert "running" in text and "on box1/hostA: starting, $1.20 so far" in text
    assert "follow it with: stepladder logs -f plateau/away; end it with: stepladder stop plateau/away" in one
    assert "go on with" not in one
    refused = str(call("run", "plateau/away").exception)
    assert "running on box1/hostA" in refused and "stepladder stop plateau/away" in refused
    assert "launched from here" in str(call("run", "plateau/away", "--forget").exception)
    assert run.overrides("quick") == {"seed": 3}


def begun(name):
    """A run of plateau that has begun."""
    checked = profiles.load(ROOT, "plateau", "quick", {"run": name})
    run = Run.of(ROOT, checked)
    run.begin(checked, {"seed": 3})
    return run


def test_status_of_one_run_tells_reasons_settings_and_the_way_on(call, outputs, monkeypatch):
    run = begun("mine")
    files.write_json(run.stage_folder("01_inventory") / "result.json", {"finished": "2026-11-30T12:00:00Z"})
    text = call("status", "plateau/mine").output
    assert "1 of 7 stages have a result" in text and "profile quick; set in this run: seed = 3" in text
    assert "2026-11-30 12:00:00" in text and "made before results had keys" in text and "no result yet" in text
    assert "go on with: stepladder run plateau --profile quick --run mine" in text
    walks = []
    monkeypatch.setattr(runner, "run_pipeline", lambda run, *a, **k: walks.append(run.name) or Outcome("done", 0, ""))
    call("run", "plateau/mine")
    assert walks == ["mine"]


def test_a_damaged_run_is_told_and_hides_no_other(call, outputs):
    (begun("torn").folder / "params.yaml").write_text("{")
    begun("well")
    both, one = call("status").output, call("status", "plateau/torn").output
    assert "plateau/well" in both and "params.yaml" in both and "params.yaml" in one and "--forget" in one


def test_status_of_what_there_is_not_is_an_error_with_the_nearest_name(call, outputs):
    begun("mine")
    for name, words in {"plateua": "did you mean 'plateau'", "plateau/mime": "did you mean 'plateau/mine'"}.items():
        result = call("status", name)
        assert isinstance(result.exception, ParameterError) and words in str(result.exception)
    assert "no run of pde yet" in call("status", "pde").output


def test_the_version_is_told(call):
    assert call("--version").output == f"stepladder {version('stepladder')}\n"


def test_the_same_thing_has_the_same_option_in_every_command_that_runs(call):
    shared = {"--profile", "--run", "--set"}
    for command, more in {"run": {"--stages", "--force", "--forget"}, "sweep": set()}.items():
        assert shared | more <= set(re.findall(r"--[a-z]+", call(command, "--help").output))


def test_a_missing_stage_is_named_with_the_command_that_makes_it(call, monkeypatch):
    monkeypatch.setattr(runner, "_run_stage", lambda *a, **k: pytest.fail("a kernel was started"))
    said = str(call("run", "pde", "--stages", "5").exception)
    assert "01_inventory of run pde/quick has no result" in said and "`stepladder run pde --stages 1-5`" in said


def test_a_study_whose_packages_are_missing_is_refused_with_how_to_install_them(call, monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(study.metadata, "version", version)
    said = str(call("run", "scroll").exception)
    assert "needs connected-components-3d, imagecodecs" in said and "make demo STUDY=scroll" in said


def test_waiting_for_another_machines_lease_ends_with_75(call, monkeypatch, capsys):
    def leased(*arguments, **options):
        raise Leased("held by process 7 on elsewhere, another machine; run the same command again in 31 s")

    monkeypatch.setattr(runner, "run_pipeline", leased)
    monkeypatch.setattr("sys.argv", ["stepladder", "run", "plateau"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 75


def test_why_a_stage_runs_is_said_in_one_line(capsys):
    console.Narrator()("stage_start", "05_training", reason="training.steps 120 -> 130")
    assert "05_training        runs: training.steps 120 -> 130" in capsys.readouterr().out


def test_report_of_an_unknown_run_names_the_known(call):
    result = call("report", "plateau/nothing")
    assert "no run 'plateau/nothing'" in str(result.exception)


def test_jupyterlab_begins_without_a_question_and_a_persons_settings_come_first(call, monkeypatch):
    from_jupyter = pytest.importorskip("jupyter_server.services.config")
    given = {}
    monkeypatch.setattr(os, "execve", lambda program, words, environment: given.update(words=words, **environment))
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/a/persons/own")
    call("lab", "--no-browser", "--port=8899")
    assert given["words"][-2:] == ["--no-browser", "--port=8899"]
    ours, theirs = given["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert theirs == "/a/persons/own"
    manager = from_jupyter.ConfigManager(config_dir_name="labconfig", read_config_path=[f"{ours}/labconfig"])
    assert manager.get("default_setting_overrides")["@jupyterlab/apputils-extension:notification"] == {
        "fetchNews": "false"
    }
