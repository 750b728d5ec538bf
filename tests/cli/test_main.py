import pytest
from typer.testing import CliRunner

from stepladder.cli import console, main
from stepladder.core.config import ParameterError
from stepladder.core.lock import Leased
from stepladder.notebooks import runner
from stepladder.notebooks.outcome import Outcome


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
    assert "".join(name[1] for name in main.select(text)) == numbers


def test_status_shows_dead_runs_too(call, monkeypatch):
    monkeypatch.setattr(runner, "run_pipeline", ends(Outcome("done", 0, "")))
    call("run", "plateau", "--run", "left")
    text = call("status").output
    assert "plateau/left" in text and "stale" in text and "done" not in text


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
