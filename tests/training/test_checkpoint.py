"""Checkpoints survive what disks and people do to them."""

import resource
import shutil

import pytest
import torch

from stepladder.core import files, jsonlines
from stepladder.machine.signals import Preempted
from stepladder.training.checkpoint import CheckpointError, load_model
from stepladder.training.trainable import ContractError
from stepladder.training.worker import read_parameters
from tests.training.conftest import train_here, untimed


@pytest.fixture
def half_way(make_run):
    """A run stopped at step 12, with checkpoints at 10 and 12."""
    run, asked = make_run(), iter(range(1, 100))
    with pytest.raises(Preempted):
        train_here(run, lambda: next(asked) >= 12)
    return run


DAMAGES = [
    *("flipped", "cut", "empty", "gone", "a folder", "unreadable", "other weights"),
    *("seal cut", "seal empty", "seal of a list", "seal without fields", "seal of another step", "seal a folder"),
    *("seal with a text as step", "seal with a number as best", "seal with a list in best"),
]


def damage(run, step, how):
    place = run.checkpoints / f"step_{step:08d}"
    file, seal = place / "state.pt", place / "COMMITTED"
    if how == "flipped":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "gone":
        file.unlink()
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    elif how == "unreadable":
        file.unlink()
        file.symlink_to(file)  # root may read whatever is there, but not go round in circles
    elif how == "other weights":
        torch.save({"model": {}}, file)
    elif how == "unsealed":
        (place / "COMMITTED").unlink()
    elif how == "seal cut":
        seal.write_text('{"step": 12, "sha')
    elif how == "seal empty":
        seal.write_bytes(b"\0" * 200)
    elif how == "seal of a list":
        seal.write_text("[12]")
    elif how == "seal without fields":
        seal.write_text('{"step": 12}')
    elif how == "seal of another step":
        files.write_json(seal, {**files.read_json(seal), "step": step + 1})
    elif how.startswith("seal with"):
        wrong = {"step": str(step)} if "step" in how else {"best": 3 if "number" in how else {"step": [], "loss": 1.0}}
        files.write_json(seal, files.read_json(seal) | wrong)
    elif how == "seal a folder":
        seal.unlink()
        seal.mkdir()


@pytest.mark.drill
@pytest.mark.parametrize("how", [*DAMAGES, "unsealed"])
def test_a_damaged_newest_checkpoint_is_skipped_and_told(half_way, make_run, how):
    damage(half_way, 12, how)
    train_here(half_way)
    assert half_way.events("resumed")[-1]["step"] == 10
    if how not in ("unsealed", "seal a folder"):  # without its seal it never was a checkpoint
        assert half_way.events("checkpoint_skipped")[-1]["step"] == 12
    whole = make_run("whole")
    train_here(whole)
    assert untimed(half_way) == untimed(whole)


@pytest.mark.drill
def test_a_full_disk_is_a_clear_error_and_earlier_checkpoints_stay(half_way):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (half_way.checkpoints / "step_00000012/state.pt").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))  # no file may grow larger, as on a full disk
    try:
        with pytest.raises(CheckpointError) as error:
            train_here(half_way)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for part in ("cannot write the checkpoint of step 14", "File too large", "step 12 is whole", "Free space"):
        assert part in str(error.value)
    assert not list(half_way.checkpoints.glob("*/.*.part"))
    train_here(half_way)
    assert half_way.events("resumed")[-1]["step"] == 12


def test_an_unwritable_folder_is_a_clear_error(make_run):
    run = make_run()
    run.checkpoints.write_text("a file stands where the folder should be")
    with pytest.raises(CheckpointError, match=r"the checkpoint of step 5 .*there is no earlier checkpoint"):
        train_here(run)


def test_loading_names_what_is_wrong(half_way, make_run):
    study, params = read_parameters(half_way)
    empty = make_run("empty")
    with pytest.raises(CheckpointError, match="run 05_training first"):
        load_model(study, params, empty.checkpoints)
    wider = params.model_copy(update={"model": params.model.model_copy(update={"width": 8})})
    with pytest.raises(ContractError, match=r"mismatched: first.0.bias \(16,\) != \(8,\)"):
        load_model(study, wider, half_way.checkpoints)


@pytest.mark.drill
@pytest.mark.parametrize("how", DAMAGES)
def test_in_place_of_a_damaged_best_checkpoint_the_newest_whole_one_is_used_and_said(half_way, how):
    damage(half_way, 7, how)
    model, facts = load_model(*read_parameters(half_way), half_way.checkpoints, report=half_way.event)
    whole = torch.load(half_way.checkpoints / "step_00000012/state.pt", weights_only=True)
    assert facts["step"] == 12 and facts["best"]["step"] == 7
    assert all(torch.equal(value, whole["average"][name]) for name, value in model.state_dict().items())
    if how != "seal a folder":
        event = half_way.events("checkpoint_skipped")[-1]
        assert event["step"] == 7 and f"the best one (step 7) cannot be used ({event['reason']})" in facts["said"]
    assert facts["said"].startswith("step 12, the newest whole one: the best one (step 7) cannot be used")


def test_a_whole_checkpoint_needs_no_words(half_way):
    study, params = read_parameters(half_way)
    assert load_model(study, params, half_way.checkpoints)[1]["said"] == "step 7"
    assert load_model(study, params, half_way.checkpoints, "last")[1]["said"] == "step 12"
    damage(half_way, 12, "cut")
    assert load_model(study, params, half_way.checkpoints)[1]["said"] == "step 7"
    assert load_model(study, params, half_way.checkpoints, "last")[1]["step"] == 10


@pytest.mark.drill
def test_where_all_are_damaged_the_files_and_the_command_are_named_and_training_begins_anew(half_way, make_run):
    study, params = read_parameters(half_way)
    for step, how in ((7, "flipped"), (10, "seal cut"), (12, "cut")):
        damage(half_way, step, how)
    with pytest.raises(CheckpointError) as error:
        load_model(study, params, half_way.checkpoints)
    for part in (
        "checkpoints/step_00000007: state.pt does not match its SHA-256",
        "step_00000012: state.pt has 1000 bytes",
    ):
        assert part in str(error.value)
    assert "`stepladder run toy --profile quick --run run --stages 5 --force`" in str(error.value)
    lines = len(half_way.metrics())
    train_here(half_way)
    event = half_way.events("checkpoints_set_aside")[-1]
    aside = half_way.folder / event["folder"]
    assert event["damaged"] == [12, 10, 7] and (aside / "checkpoints/step_00000007/state.pt").exists()
    assert len(jsonlines.read(aside / "metrics.jsonl")) == lines
    whole = make_run("whole")
    train_here(whole)
    assert untimed(half_way) == untimed(whole)


@pytest.mark.drill
def test_what_else_lies_among_checkpoints_is_neither_used_nor_touched(half_way, make_run):
    place = half_way.checkpoints
    strays = (".ipynb_checkpoints", "lost+found", "step_abc", "step_0000100 (copy)", "step_", "step_1")
    for name in strays:
        (place / name).mkdir()
        (place / name / "state.pt").write_bytes(b"x")
    shutil.copytree(place / "step_00000012", place / "step_00000012 (copy)")
    shutil.copytree(place / "step_00000012", place / "step_00000099")  # renamed by hand
    (place / "step_00000002").mkdir()
    (place / "step_00000002" / ".state.pt.x.part").write_bytes(b"half")  # of a kill: cleared
    (place / "step_00000050").write_text("a file")
    (place / "step_00000051").symlink_to(place / "nowhere")
    left = {path.name for path in place.iterdir()} - {f"step_{step:08d}" for step in (2, 7, 10, 12)}
    assert load_model(*read_parameters(half_way), place)[1]["step"] == 7
    train_here(half_way)
    assert half_way.events("resumed")[-1]["step"] == 12
    assert "another name" in half_way.events("checkpoint_skipped")[-1]["reason"]
    assert left <= {path.name for path in place.iterdir()}
    assert not (place / "step_00000002").exists()
    assert sum((place / f"step_{step:08d}/COMMITTED").exists() for step in range(13, 31)) >= 2, "strays count as kept"
    whole = make_run("whole")
    train_here(whole)
    assert untimed(half_way) == untimed(whole)


@pytest.mark.drill
def test_a_judged_stage_whose_best_checkpoint_is_damaged_ends_with_its_last_weights(make_run):
    values = {"model": {"worsens": True, "keep_if_better": True}, "training": {"keep": 99}}
    run, asked = make_run(values=values), iter(range(1, 100))
    with pytest.raises(Preempted):
        train_here(run, lambda: next(asked) >= 12)
    damage(run, 7, "flipped")
    concluded = train_here(run).study.concluded
    event = run.events("checkpoint_skipped")[-1]
    assert event["step"] == 7 and "the last weights of the stage are judged instead" in event["reason"]
    end = torch.load(run.checkpoints / "step_00000030/state.pt", weights_only=True)
    assert all(torch.equal(end["model"][name], value) for name, value in concluded.items())
    told = [line["validation_loss"] for line in run.metrics() if "validation_loss" in line]
    best = files.read_json(run.checkpoints / "step_00000030/COMMITTED")["best"]
    assert best == {"step": 30, "loss": told[-1]}


def test_what_a_kill_left_unfinished_does_not_count_and_is_cleared(half_way):
    unfinished = half_way.checkpoints / "step_00000013"
    unfinished.mkdir()
    (unfinished / ".state.pt.x.part").write_bytes(b"half")
    train_here(half_way)
    assert half_way.events("resumed")[-1]["step"] == 12 and not unfinished.exists()
