import os
import subprocess
import sys

import pytest

from stepladder import files, params, run
from stepladder.params import ParameterError
from stepladder.run import Run
from stepladder.stages import STAGES

ROOT = run.Path(__file__).parents[1]


@pytest.fixture
def made(outputs):
    checked = params.load(ROOT, "plateau", "quick")
    return Run.open(ROOT, checked), checked


def with_(checked, **sections):
    return params.check(type(checked), params.merge(checked.model_dump(), sections))


def test_a_stage_is_done_then_stale_when_what_it_reads_changes(made):
    opened, checked = made
    assert opened.stage_state("01_inventory", checked) == "missing"
    opened.finish_stage("01_inventory", checked, [])
    assert opened.stage_state("01_inventory", checked) == "done"
    assert opened.stage_state("01_inventory", with_(checked, evaluation={"samples": 3})) == "done"
    assert opened.stage_state("01_inventory", with_(checked, seed=5)) == "stale"


def test_a_change_upstream_makes_everything_after_it_stale(made):
    opened, checked = made
    for stage in STAGES[:3]:
        opened.finish_stage(stage.name, checked, [])
    changed = with_(checked, conversion={"voxel_m": 0.5})
    assert opened.stage_state("01_inventory", changed) == "done"
    assert opened.stage_state("02_conversion", changed) == "stale"
    opened.finish_stage("02_conversion", changed, [])
    assert opened.stage_state("03_smoke_test", changed) == "stale"


def test_an_edited_ladder_makes_training_stale_and_leaves_the_ladder_alone(made):
    opened, checked = made
    ladder = opened.stage_folder("04_scaling") / "ladder.json"
    files.write_json(ladder, {"chosen": {"workers": 1, "batch": 2}})
    for stage in STAGES[:5]:
        opened.finish_stage(stage.name, checked, [])
    files.write_json(ladder, {"chosen": {"workers": 0, "batch": 2}})
    assert opened.stage_state("04_scaling", checked) == "done"
    assert opened.stage_state("05_training", checked) == "stale"


def test_changed_code_makes_a_stage_stale(made, monkeypatch):
    opened, checked = made
    opened.finish_stage("01_inventory", checked, [])
    monkeypatch.setattr(run, "code_hash", lambda stage, study: "other")
    assert opened.stage_state("01_inventory", checked) == "stale"


def test_a_model_change_does_not_convert_again(made):
    opened, checked = made
    for stage in STAGES[:3]:
        opened.finish_stage(stage.name, checked, [])
    changed = with_(checked, model={"width": 48})
    assert opened.stage_state("02_conversion", changed) == "done"
    assert opened.stage_state("03_smoke_test", changed) == "stale"


def test_a_run_whose_process_is_gone_is_stale_never_done(made):
    opened, _ = made
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    opened.set_status("running")
    assert opened.status()["state"] == "running"
    record = files.read_json(opened.folder / "run.json")
    files.write_json(opened.folder / "run.json", record | {"pid": child.pid})
    assert opened.status()["state"] == "stale"


def test_a_pid_given_to_another_process_is_not_taken_for_the_run(made):
    opened, _ = made
    opened.set_status("running")
    record = files.read_json(opened.folder / "run.json")
    files.write_json(opened.folder / "run.json", record | {"pid_started": record["pid_started"] - 1})
    assert opened.status()["state"] == "stale"


def test_a_run_of_another_host_lives_by_its_heartbeat(made, monkeypatch):
    opened, _ = made
    opened.set_status("running")
    record = files.read_json(opened.folder / "run.json")
    files.write_json(opened.folder / "run.json", record | {"host": "elsewhere"})
    assert opened.status()["state"] == "running"
    monkeypatch.setattr(run, "HEARTBEAT_SECONDS", -1.0)
    assert opened.status()["state"] == "stale"


def test_attempts_are_counted_and_provenance_kept(made):
    opened, _ = made
    opened.set_status("running")
    opened.set_status("preempted", "asked to stop")
    opened.set_status("running")
    opened.set_status("done")
    record = opened.status()
    assert record["attempts"] == 2 and record["exit_code"] == 0
    assert record["python"] and record["torch"] and record["pid"] == os.getpid()


def test_stages_are_found_by_number_and_misspelt_ones_named():
    assert run.stage("4").name == run.stage("04").name == "04_scaling"
    with pytest.raises(ParameterError, match="did you mean '05_training'"):
        run.stage("05_trainin")


def test_every_stage_names_real_sections_and_code():
    from stepladder.params import Parameters

    for stage in STAGES:
        assert set(stage.sections) <= set(Parameters.model_fields)
        assert all(entry.startswith("{") or (run.PACKAGE / entry).exists() for entry in stage.code), stage
        assert run.code_hash(stage, "plateau")


def test_the_root_is_found_from_below_and_its_absence_explained(tmp_path, monkeypatch):
    monkeypatch.delenv("STEPLADDER_ROOT", raising=False)
    assert run.project_root(ROOT / "tests") == ROOT
    with pytest.raises(ParameterError, match="notebooks/ and params/"):
        run.project_root(tmp_path)
