"""Checkpoints survive what disks and people do to them."""

import resource

import pytest

from stepladder.core import files
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


def damage(run, step, how):
    place = run.checkpoints / f"step_{step:08d}"
    file = place / "state.pt"
    if how == "flipped":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif how == "gone":
        file.unlink()
    elif how == "unsealed":
        (place / "COMMITTED").unlink()
    elif how == "seal cut":
        (place / "COMMITTED").write_text('{"step": 12, "sha')


@pytest.mark.drill
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "unsealed", "seal cut"])
def test_a_damaged_newest_checkpoint_is_skipped_and_told(half_way, make_run, how):
    damage(half_way, 12, how)
    train_here(half_way)
    assert half_way.events("resumed")[-1]["step"] == 10
    if how != "unsealed":  # without its seal it never was a checkpoint
        assert half_way.events("checkpoint_skipped")[-1]["step"] == 12
    whole = make_run("whole")
    train_here(whole)
    assert untimed(half_way) == untimed(whole)


@pytest.mark.drill
def test_a_full_disk_is_a_clear_error_and_earlier_checkpoints_stay(half_way):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # no file may grow larger, as on a full disk
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
    best = files.read_json(half_way.checkpoints / "step_00000012/COMMITTED")["best"]["step"]
    damage(half_way, best, "flipped")
    with pytest.raises(CheckpointError, match=r"best checkpoint \(step 7\) .* use which='last'"):
        load_model(study, params, half_way.checkpoints)
    assert load_model(study, params, half_way.checkpoints, "last")[1]["step"] == 12


def test_what_a_kill_left_unfinished_does_not_count_and_is_cleared(half_way):
    unfinished = half_way.checkpoints / "step_00000013"
    unfinished.mkdir()
    (unfinished / ".state.pt.x.part").write_bytes(b"half")
    train_here(half_way)
    assert half_way.events("resumed")[-1]["step"] == 12 and not unfinished.exists()
