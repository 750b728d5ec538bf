import shlex
import traceback

import pytest

from stepladder.core import config, files, lock, profiles, run, stages
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from tests import pipeline
from tests.core.secret_samples import BARE

ROOT = run.Path(__file__).parents[2]
LADDER = "04_scaling"


@pytest.fixture
def made(outputs):
    checked = profiles.load(ROOT, "plateau", "quick")
    opened = Run.of(ROOT, checked)
    opened.begin(checked)
    return opened, checked


def with_(checked, **sections):
    return config.check(type(checked), config.merge(checked.model_dump(), sections))


def walked(made, count=7):
    """A run whose first stages are done, without their notebooks."""
    opened, checked = made
    for part in STAGES[:count]:
        opened.finish_stage(part.name, checked, [])
    return opened, checked


def states(opened, checked=None):
    """One letter per stage: done, stale, missing."""
    found = opened.states(checked and checked.model_dump(mode="json"))
    return "".join(state.state[0] for state in found.values())


def test_no_record_of_a_run_tells_a_secret(made):
    opened, _ = made
    token = BARE["GitHub fine-grained"]
    try:
        try:
            raise ConnectionError(f"GET https://host/f?X-Amz-Signature={token[:40]}")
        except ConnectionError as error:
            raise ValueError(f"cannot read b'{token}'") from error
    except ValueError:
        told = traceback.format_exc()
    opened.event(
        "mirror_failed", reason=told, detail={"headers": [{"Authorization": f"Bearer {token}"}]}, password="hunter"
    )
    opened.set_status("failed", told, notes=(token,))
    written = (opened.folder / "events.jsonl").read_text() + (opened.folder / "run.json").read_text()
    assert token not in written and token[:40] not in written and "hunter" not in written
    assert "direct cause" in written and "cannot read b'(hidden)'" in written


def test_a_stage_is_done_then_stale_when_what_it_reads_changes(made):
    opened, checked = walked(made)
    assert states(opened) == "ddddddd"
    assert states(opened, with_(checked, view={"samples": 3})) == "dddddds"
    assert states(opened, with_(checked, evaluation={"samples": 3})) == "dddddss"
    assert states(opened, with_(checked, training={"learning_rate": 0.5})) == "ddsssss"
    assert states(opened, with_(checked, conversion={"voxel_m": 0.5})) == "dssssss"
    assert states(opened, with_(checked, seed=5)) == "sssssss"


def test_a_stale_stage_says_why_and_what_stands_on_it_says_so(made):
    opened, checked = walked(made)
    found = opened.states(with_(checked, training={"steps": 130}).model_dump(mode="json"))
    assert found["03_smoke_test"].reason == f"training.steps {checked.training.steps} -> 130"
    assert "training.steps" in found["05_training"].reason
    found = opened.states(with_(checked, splits={"buffer": 9.0}).model_dump(mode="json"))
    assert found["02_conversion"].reason.startswith("splits.buffer")


def test_nothing_after_a_missing_stage_is_done(made):
    opened, _ = walked(made)
    (opened.folder / "03_smoke_test" / "result.json").unlink()
    assert states(opened) == "ddmssss"
    assert "03_smoke_test was made again" in opened.states()["04_scaling"].reason


def test_a_stage_made_again_makes_everything_after_it_stale(made):
    opened, checked = walked(made)
    changed = with_(checked, conversion={"voxel_m": 0.5})
    opened.finish_stage("02_conversion", changed, [])
    assert states(opened, changed) == "ddsssss"


def test_an_edited_ladder_makes_training_stale_and_leaves_the_ladder_alone(made):
    opened, checked = made
    aside = opened.make_aside(LADDER)
    files.write_json(aside / "ladder.json", {"chosen": {"workers": 1, "batch": 2}})
    for part in STAGES:
        opened.finish_stage(part.name, checked, [], made=aside if part.name == LADDER else None)
    assert states(opened) == "ddddddd"
    files.write_json(opened.folder / run.CHOICE, {"chosen": {"workers": 0, "batch": 2}, "more": "text"})
    assert states(opened) == "ddddsss"
    assert "ladder.json {'workers': 1" in opened.states()["05_training"].reason


def test_results_hold_the_parameters_they_were_made_with(made):
    opened, checked = walked(made)
    kept = opened.result("05_training")["key"]["parameters"]
    assert kept["training.learning_rate"] == checked.training.learning_rate and kept["model.width"]
    assert not [name for name in kept if name.startswith(("view.", "evaluation.samples"))]


def test_a_stage_may_not_read_what_its_key_does_not_hold(made):
    _, checked = made
    may = checked.only(stages.readable("05_training"), stages.hidden("05_training"))
    assert may.training.steps == checked.training.steps and may.evaluation.batch
    for read in (lambda: may.view.samples, lambda: may.evaluation.samples):
        with pytest.raises(ParameterError, match="is read where it does not count"):
            read()


def test_a_mirror_is_not_named_in_a_key_and_where_it_is_not_here_the_shards_count(made, tmp_path):
    opened, checked = made
    here = with_(checked, data={"source": "mirror", "mirror": str(tmp_path)})
    opened.finish_stage("01_inventory", here, [])
    assert str(tmp_path) not in (opened.folder / "01_inventory" / "result.json").read_text()
    assert states(opened, here)[0] == "d"
    assert states(opened, with_(here, data={"mirror": "/not/on/this/machine"}))[0] == "d"
    (tmp_path / "other").mkdir()
    assert states(opened, with_(here, data={"mirror": str(tmp_path / "other")}))[0] == "s"
    assert states(opened, checked)[0] == "s"


# Files a result stands for --------------------------------------------------------------------------------------------


def test_what_a_result_vouches_for_is_looked_at(made):
    opened, checked = made
    shard = opened.data / "shards" / "r" / "a.h5"
    files.write_text(shard, "data")
    opened.finish_stage("01_inventory", checked, [])
    opened.finish_stage("02_conversion", checked, [], vouched=[shard])
    assert states(opened)[:2] == "dd"
    files.write_text(shard, "dat2")
    assert states(opened)[:2] == "dd"  # of the same size: only reading it tells
    assert opened.states(verify=True)["02_conversion"].reason == "a.h5 holds other bytes"
    files.write_text(shard, "longer")
    assert opened.states()["02_conversion"].reason == "a.h5 has another size"
    shard.unlink()
    assert opened.states()["02_conversion"].reason == "a.h5 is missing"


def test_what_was_made_aside_takes_its_place_at_the_end_and_figures_that_are_gone_are_missed(made):
    opened, checked = made
    for text in ("old", "new picture"):
        aside = opened.make_aside("01_inventory")
        files.write_text(aside / "figures" / f"{text[:3]}.png", text)
        if text != "old":
            assert (opened.folder / "01_inventory" / "figures" / "old.png").read_text() == "old"
            assert states(opened)[0] == "d"
        opened.finish_stage("01_inventory", checked, [], made=aside)
    left = opened.folder / "01_inventory" / "figures"
    assert [path.name for path in left.iterdir()] == ["new.png"]
    (left / "new.png").unlink()
    assert "figures/new.png is missing" in opened.states()["01_inventory"].reason


def test_what_a_dead_process_made_aside_is_cleared_and_that_of_a_living_one_is_not(made):
    opened, _ = made
    dead = opened.folder / "01_inventory" / f"{run.aside.PREFIX}-1-1"
    files.write_json(dead / "owner.json", {**run.processes.identity(), "pid": 2**22 + 1})
    elsewhere = opened.folder / "01_inventory" / f"{run.aside.PREFIX}-2-2"
    files.write_json(elsewhere / "owner.json", {**run.processes.identity(), "boot": "another"})
    opened.make_aside("01_inventory")
    assert not dead.exists() and elsewhere.exists()


def test_a_result_from_before_keys_is_stale(made):
    opened, _ = made
    files.write_json(opened.stage_folder("01_inventory") / "result.json", {"hash": "1", "checks": []})
    assert states(opened)[0] == "s"


def test_a_result_edited_by_hand_is_stale_and_one_that_cannot_be_read_is_missing(made):
    opened, _ = walked(made)
    path = opened.folder / "06_evaluation" / "result.json"
    files.write_json(path, {**files.read_json(path), "metrics": {"IoU": 1.0}})
    assert opened.states()["06_evaluation"].reason == "result.json was edited"
    path.write_text('{"half')
    assert states(opened) == "dddddms"


def test_a_ladder_file_that_is_gone_is_made_again(made):
    opened, checked = made
    aside = opened.make_aside(LADDER)
    files.write_json(aside / "ladder.json", {"chosen": None})
    for part in STAGES[:4]:
        opened.finish_stage(part.name, checked, [], made=aside if part.name == LADDER else None)
    assert states(opened)[:4] == "dddd"
    (opened.folder / run.CHOICE).unlink()
    assert states(opened)[3] == "s"


def test_a_run_behind_a_link_finds_its_data(made, tmp_path):
    opened, checked = made
    shard = opened.data / "shards" / "r" / "a.h5"
    files.write_text(shard, "data")
    opened.finish_stage("01_inventory", checked, [], vouched=[shard])
    elsewhere = tmp_path / "disk" / "quick"
    elsewhere.parent.mkdir()
    opened.folder.rename(elsewhere)
    opened.folder.symlink_to(elsewhere)
    assert states(opened)[0] == "d"


@pytest.mark.parametrize("given", [{"run": "other"}, {"profile": "smoke"}, {"study": "pde"}])
def test_what_names_the_run_cannot_be_set(made, given):
    with pytest.raises(ParameterError, match="it names the run"):
        made[0].resolve("quick", given)


def test_a_mirror_that_is_not_there_is_refused_when_it_is_asked_for(made):
    with pytest.raises(ParameterError, match="there is no such folder"):
        made[0].resolve("quick", {"data": {"source": "mirror", "mirror": "/no/such/mirror"}})


# Asking -------------------------------------------------------------------------------------------------------------


def test_a_stale_stage_is_refused_by_name_with_the_command(made):
    opened, checked = walked(made)
    changed = with_(checked, training={"steps": 3}).model_dump(mode="json")
    assert opened.require("02_conversion", changed)["stage"] == "02_conversion"
    with pytest.raises(
        ParameterError, match=r"05_training of run plateau/quick is stale \(training.steps .*`stepladder run plateau"
    ):
        opened.require("05_training", changed)


def test_asking_writes_nothing(outputs):
    checked = profiles.load(ROOT, "plateau", "quick")
    opened = Run.of(ROOT, checked)
    assert set(states(opened)) == {"m"} and opened.status()["state"] == "new"
    opened.resolve("quick", {"training": {"steps": 5}})
    assert not outputs.exists()


def test_what_is_set_once_holds_for_the_run_until_it_is_forgotten(made):
    opened, _ = made
    checked, overrides = opened.resolve("quick", {"training": {"steps": 5}})
    assert overrides == {"training": {"steps": 5}}
    opened.begin(checked, overrides)
    again, kept = opened.resolve("quick", {"view": {"samples": 1}})
    assert again.training.steps == 5 and kept == {"training": {"steps": 5}, "view": {"samples": 1}}
    usual = profiles.load(ROOT, "plateau", "quick")
    assert opened.resolve("quick", {}, forget=True)[0] == usual
    assert opened.resolve("quick", {"training": {"steps": usual.training.steps}})[1] == {}  # set back by hand
    assert opened.resolve("smoke", {})[1] == {}  # nothing of another profile


# State of the whole -------------------------------------------------------------------------------------------------


def test_a_run_whose_holder_is_gone_is_stale_never_done(made):
    opened, _ = made
    with opened.locked():
        opened.set_status("running")
        assert opened.status()["state"] == "running"
    assert opened.status()["state"] == "stale"


def test_a_run_of_another_machine_lives_by_its_signs(made, monkeypatch):
    opened, _ = made
    opened.set_status("running")
    other = {**run.processes.identity(), "boot": "another", "token": "t", "released": False}
    files.write_json(opened.folder / ".lock" / "00000001", other)
    assert opened.status()["state"] == "running"
    monkeypatch.setattr(lock, "LEASE", -1.0)
    assert opened.status()["state"] == "stale"


def test_attempts_are_counted_and_provenance_kept(made, monkeypatch):
    opened, _ = made
    opened.set_status("running")
    opened.set_status("preempted", "asked to stop")
    opened.set_status("running")
    opened.set_status("done")
    record = opened.status()
    assert record["attempts"] == 2 and record["exit_code"] == 0
    assert record["python"] and record["torch"] and record["process"]["pid"] == run.os.getpid()


def test_stages_are_found_by_number_and_misspelt_ones_named():
    assert stages.stage("4").name == stages.stage("04").name == "04_scaling"
    with pytest.raises(ParameterError, match="did you mean '05_training'"):
        stages.stage("05_trainin")


def test_every_stage_names_real_sections():
    from stepladder.core.schema import Parameters

    for part in STAGES:
        assert {section.partition(".")[0] for section in part.sections} <= set(Parameters.model_fields)


def test_a_study_that_is_not_installed_can_be_looked_at(tmp_path, monkeypatch):
    root = pipeline.project(tmp_path, first="1")
    monkeypatch.setenv("STEPLADDER_ROOT", str(root))
    opened = pipeline.open_run(root)
    opened.finish_stage(pipeline.FIRST, pipeline.PARAMETERS, [])
    assert opened.states(pipeline.PARAMETERS.model_dump(mode="json"))[pipeline.FIRST].state == "done"


def test_a_figures_folder_on_another_disk_is_not_followed(made, tmp_path):
    opened, checked = made
    for text in ("first", "second"):
        aside = opened.make_aside("01_inventory")
        files.write_text(aside / "figures" / "a.png", text)
        opened.finish_stage("01_inventory", checked, [], made=aside)
        if text == "first":
            (opened.folder / "01_inventory" / "figures").rename(tmp_path / "elsewhere")
            (opened.folder / "01_inventory" / "figures").symlink_to(tmp_path / "elsewhere")
    assert (opened.folder / "01_inventory" / "figures" / "a.png").read_text() == "second"
    assert (tmp_path / "elsewhere" / "a.png").read_text() == "first"


def test_the_command_of_a_run_can_be_pasted_whatever_the_run_is_called(outputs, monkeypatch):
    monkeypatch.setattr("stepladder.core.run.command", lambda: "stepladder")
    for name in ("renamed run", "a;b", "$HOME", "it's"):
        typed = shlex.split(Run(outputs / "plateau" / name, ROOT).command())
        assert typed[-1] == name and typed[:3] == ["stepladder", "run", "plateau"]
